package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vethlab/lessons"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// lesson runs `vethlab lesson` with args and without a kernel.
func lesson(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	c := lessonCmd{printer: printer{stdout: &out, stderr: &errs}, ctx: t.Context(), on: backends{kernel: func(context.Context, op.World) (lessons.Backend, error) {
		return nil, errors.New("no kernel today")
	}}}
	status = c.run(args)
	return status, out.String(), errs.String()
}

func TestLessonUsage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   string
		status int
		says   string // on standard error, or on standard output when the status is 0
	}{
		{"", 2, "usage: vethlab lesson list"},
		{"--help", 0, "usage: vethlab lesson list"},
		{"run --help", 0, "usage: vethlab lesson list"},
		{"scrpt", 2, `there is no "lesson scrpt"; did you mean "script"?; there are: list, run, lint, script`},
		{"list", 0, "  16 steps  Docker's bridge network, by hand"},
		{"list all", 2, `unexpected argument "all"`},
		{"run", 2, "which lesson? there are: bridge-by-hand"},
		{"run bridge-by-hnad", 2, `there is no lesson "bridge-by-hnad"; did you mean "bridge-by-hand"?; there are: bridge-by-hand`},
		{"run ../bridge-by-hand", 2, `there is no lesson "../bridge-by-hand"`},
		{"run bridge-by-hand twice", 2, `unexpected argument "twice"`},
		{"run --backend docker bridge-by-hand", 2, `--backend "docker": want auto, sim, kernel or both`},
		{"run bridge-by-hand --lang de", 2, `--lang "de": want en, zh-CN, zh-TW`},
		{"run bridge-by-hand --speed 2", 2, "flag provided but not defined: -speed"},
		{"run bridge-by-hand --backend kernel", 1, "the lab could not be made: no kernel today"},
		{"script", 2, "which lesson?"},
		{"script bridge-by-hand", 0, "run host ip netns add ns1\n"},
		{"script bridge-by-hand --lang zh-CN", 0, "# 手工搭建 Docker 的 bridge 网络\n"},
		{"lint", 0, "lessons, 0 warnings"},
		{"lint " + file, 2, "is not a directory"},
		{"lint " + t.TempDir(), 2, "no lesson in"},
		{"lint " + filepath.Join(file, "none"), 2, "not a directory"},
	} {
		status, stdout, stderr := lesson(t, strings.Fields(tt.args)...)
		said := stderr
		if tt.status == 0 {
			said = stdout
		}
		if status != tt.status || !strings.Contains(said, tt.says) {
			t.Errorf("lesson %s: status %d, not %d, or it does not say %q:\n%s%s", tt.args, status, tt.status, tt.says, stdout, stderr)
		}
		if status == 0 && stderr != "" || status == 2 && stdout != "" {
			t.Errorf("lesson %s: spoke on the wrong stream:\n%s%s", tt.args, stdout, stderr)
		}
	}
}

func TestLessonLint(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "mine"), 0o700); err != nil {
		t.Fatal(err)
	}
	yaml := "world: empty\nsteps:\n  - id: one\n    run: ip link\n"
	if err := os.WriteFile(filepath.Join(dir, "mine", "lesson.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := lesson(t, "lint", dir)
	if status != 1 || !strings.Contains(stdout, dir+"/mine/lesson.yaml:4:10: expected \"NODE# COMMAND\"") || !strings.Contains(stderr, "4 errors, 0 warnings") {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}

// A quietLab does everything with success and holds nothing.
type quietLab struct{ lost error }

func (l quietLab) Apply(context.Context, string, op.Op) (op.Result, error) {
	return op.Result{Output: "hello\n"}, l.lost
}
func (quietLab) Snapshot(context.Context) (*state.Snapshot, error) { return &state.Snapshot{}, nil }
func (quietLab) Close() error                                      { return nil }

func TestLessonRunStatus(t *testing.T) {
	l := &lessons.Lesson{ID: "x", Title: lessons.Text{"en": "X"}, Steps: []lessons.Step{{
		ID: "one", Title: lessons.Text{"en": "One"},
		Commands: []lessons.Line{{Node: "host", Text: "ls /"}},
		Checks:   []lessons.Check{{Command: &lessons.CommandCheck{Node: "host", Text: "ls", Prints: "hello"}}},
		Predict: &lessons.Predict{Question: lessons.Text{"en": "How?"},
			Options: []lessons.Option{{ID: "well", Value: "0", Label: lessons.Text{"en": "`Well`"}}},
			Answer:  lessons.Selector{Command: &lessons.CommandCheck{Node: "host", Text: "ls"}, Field: "status"}},
	}}}
	play := func(asJSON bool, lab quietLab) (int, string) {
		var out bytes.Buffer
		c := lessonCmd{printer: printer{stdout: &out, stderr: &out, json: asJSON}, ctx: t.Context(), lang: "en",
			on: backends{kernel: func(context.Context, op.World) (lessons.Backend, error) { return lab, nil }}}
		return c.play(l, onKernel), out.String()
	}
	status, out := play(false, quietLab{})
	if status != 0 || !strings.Contains(out, "1 of 1 steps did what they promise.") || !strings.Contains(out, "● Well") {
		t.Errorf("status %d\n%s", status, out)
	}
	if status, out := play(false, quietLab{errors.New("it died")}); status != 1 || !strings.Contains(out, "it died") {
		t.Errorf("a lost lab: status %d\n%s", status, out)
	}
	_, out = play(true, quietLab{})
	var events []string
	for sc := bufio.NewScanner(strings.NewReader(out)); sc.Scan(); {
		var e struct {
			Event, Answer string
			Stdout        *string
		}
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, sc.Text())
		}
		if e.Event == "step" && e.Answer != "well" || e.Event == "command" && (e.Stdout == nil || *e.Stdout != "hello\n") {
			t.Errorf("%s", sc.Text())
		}
		events = append(events, e.Event)
	}
	if got := strings.Join(events, " "); got != "lesson command step state" {
		t.Errorf("events: %s", got)
	}

	l.Steps[0].Checks[0].Command.Prints = "goodbye"
	status, out = play(false, quietLab{})
	if status != 1 || !strings.Contains(out, "✗ host# …ls… prints \"goodbye\"\n      got: \"hello\\n\"") {
		t.Errorf("status %d\n%s", status, out)
	}
}
