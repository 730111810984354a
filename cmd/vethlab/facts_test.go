//go:build linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"vethlab/lessons"
	"vethlab/sim/trace"
)

// A fact is a file of sim/testdata/facts: what Linux does that surprises, told
// in a comment, then shown. It holds on the kernel and on the simulator.
//
//	# A masqueraded reply never passes INPUT.
//	world: docker-host
//	ns1# ping -c1 203.0.113.10
//	-- journeys --
//	command 1 status 0
//	command 1 prints 1 received
//	command 1, ICMP echo reply 1: delivered at ns1
//	  internet route eth0 forward 64
//	  …
//
// Commands count from 1. A journey's lines are all its steps, as in
// journeys_test.go; * stands for digits that the kernel chooses.
type fact struct {
	world    string
	lines    []lessons.Line
	expected []expectation
}

type expectation struct {
	command int
	status  string // of the command; or
	prints  string // a part of its output; or
	packet  string // a journey:
	nth     int
	end     string
	steps   []string
}

var (
	expectStatus  = regexp.MustCompile(`^command (\d+) status (\d+)$`)
	expectPrint   = regexp.MustCompile(`^command (\d+) prints (.+)$`)
	expectJourney = regexp.MustCompile(`^command (\d+), (.+) (\d+): (.+)$`)
)

func readFact(t *testing.T, file string) (f fact) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, expected, ok := strings.Cut(string(data), "\n-- journeys --\n")
	if !ok || !strings.HasPrefix(text, "# ") {
		t.Fatalf("%s: expected a comment, a transcript, and -- journeys --", file)
	}
	before, transcript, ok := strings.Cut(text, "\nworld: ")
	if !ok {
		t.Fatalf("%s: expected world: NAME", file)
	}
	f.world, transcript, _ = strings.Cut(transcript, "\n")
	if f.lines, err = lessons.ParseTranscript(file, strings.Repeat("\n", strings.Count(before, "\n")+2)+transcript); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(expected) {
		trimmed := strings.TrimSpace(line)
		number := func(s string) int { n, _ := strconv.Atoi(s); return n }
		switch {
		case trimmed == "":
		case strings.HasPrefix(line, " ") && len(f.expected) > 0:
			e := &f.expected[len(f.expected)-1]
			e.steps = append(e.steps, trimmed)
		case expectStatus.MatchString(trimmed):
			m := expectStatus.FindStringSubmatch(trimmed)
			f.expected = append(f.expected, expectation{command: number(m[1]), status: m[2]})
		case expectPrint.MatchString(trimmed):
			m := expectPrint.FindStringSubmatch(trimmed)
			f.expected = append(f.expected, expectation{command: number(m[1]), prints: m[2]})
		case expectJourney.MatchString(trimmed):
			m := expectJourney.FindStringSubmatch(trimmed)
			f.expected = append(f.expected, expectation{command: number(m[1]), packet: m[2], nth: number(m[3]), end: m[4]})
		default:
			t.Fatalf("%s: not understood: %s", file, trimmed)
		}
	}
	if len(f.expected) == 0 {
		t.Fatalf("%s: nothing is expected", file)
	}
	return f
}

func TestFacts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../sim/testdata/facts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no facts: %v", err)
	}
	backends := []struct {
		name string
		open lessons.Opener
	}{
		{"simulator", openSim},
		{"kernel", openKernel},
	}
	for _, file := range files {
		f := readFact(t, file)
		for _, b := range backends {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+b.name, func(t *testing.T) {
				t.Parallel()
				f.play(t, b.open)
			})
		}
	}
}

func (f fact) play(t *testing.T, open lessons.Opener) {
	world, err := lessons.LoadWorld(f.world)
	if err != nil {
		t.Fatal(err)
	}
	lab, err := open(t.Context(), world)
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	sh := lessons.NewShell(lab)
	defer sh.Close()
	ran := make([]lessons.Outcome, len(f.lines))
	for i, l := range f.lines {
		if ran[i], err = sh.Run(t.Context(), l.Node, l.Text, nil); err != nil {
			t.Fatalf("%s# %s: %v", l.Node, l.Text, err)
		}
	}
	for _, e := range f.expected {
		if e.command < 1 || e.command > len(ran) {
			t.Errorf("there is no command %d", e.command)
			continue
		}
		l, out := f.lines[e.command-1], ran[e.command-1]
		printed := out.Stdout + out.Stderr
		where := fmt.Sprintf("command %d: %s# %s", e.command, l.Node, l.Text)
		switch {
		case e.status != "":
			if got := strconv.Itoa(out.Status); got != e.status {
				t.Errorf("%s\nstatus %s, want %s:\n%s", where, got, e.status, printed)
			}
		case e.prints != "":
			if !wildcard(e.prints, false).MatchString(printed) {
				t.Errorf("%s\nno %q in what it printed:\n%s", where, e.prints, printed)
			}
		default:
			e.compare(t, where, out.Traces)
		}
	}
}

func (e expectation) compare(t *testing.T, where string, traces []trace.Trace) {
	tr := find(traces, e.packet, e.nth)
	if tr == nil {
		var seen []string
		for _, tr := range traces {
			seen = append(seen, tr.Summary)
		}
		t.Errorf("%s\nno %s %d among %q", where, e.packet, e.nth, seen)
		return
	}
	if got := fmt.Sprintf("%s at %s", tr.Disposition, tr.Node); got != e.end {
		t.Errorf("%s\n%s %d: %s, want %s", where, e.packet, e.nth, got, e.end)
	}
	got := steps(*tr)
	for i := range max(len(got), len(e.steps)) {
		var g, w string
		if i < len(got) {
			g = strings.TrimSuffix(got[i], " ?")
		}
		if i < len(e.steps) {
			w = strings.TrimSuffix(e.steps[i], " ?")
		}
		if !wildcard(w, true).MatchString(g) {
			t.Errorf("%s\n%s %d, step %d\n got  %s\n want %s\nwhole journey:\n  %s", where, e.packet, e.nth, i+1,
				cmp.Or(g, "(nothing)"), cmp.Or(w, "(nothing)"), strings.Join(got, "\n  "))
			return
		}
	}
}

// wildcard makes a pattern of a text in which * stands for digits.
func wildcard(s string, whole bool) *regexp.Regexp {
	p := strings.ReplaceAll(regexp.QuoteMeta(s), `\*`, `\d+`)
	if whole {
		p = "^" + p + "$"
	}
	return regexp.MustCompile(p)
}
