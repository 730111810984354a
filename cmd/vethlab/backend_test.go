package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"vethlab/lessons"
	"vethlab/lessons/labtest"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// contrary is a lab on which pings fail, and forwarding is on.
type contrary struct{ lessons.Backend }

func (c contrary) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	if _, ok := o.(op.Ping); ok {
		return op.Result{Status: 1, Stderr: "no\n"}, nil
	}
	return c.Backend.Apply(ctx, node, o)
}

func (c contrary) Snapshot(ctx context.Context) (*state.Snapshot, error) {
	s, err := c.Backend.Snapshot(ctx)
	if err == nil {
		s.Nodes[0].Sysctls = map[string]string{"net.ipv4.ip_forward": "1"}
	}
	return s, err
}

// both are two fake labs; with unlike, the simulator's is a contrary one.
func both(unlike bool) (backends, *labtest.Labs, *labtest.Labs) {
	kernel, sim := &labtest.Labs{}, &labtest.Labs{}
	open := sim.Open
	if unlike {
		open = func(ctx context.Context, w op.World) (lessons.Backend, error) {
			b, err := sim.Open(ctx, w)
			return contrary{b}, err
		}
	}
	return backends{kernel: kernel.Open, sim: open, why: func(context.Context, error) (string, string) {
		return "no user namespaces", "sysctl -w user.max_user_namespaces=1000"
	}}, kernel, sim
}

func shellOn(t *testing.T, on backends, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	c := shellCmd{printer: printer{stdout: &out, stderr: &errs}, stdin: strings.NewReader(stdin), on: on}
	status = c.run(args)
	return status, out.String(), errs.String()
}

func TestShellBoth(t *testing.T) {
	const transcript = "host# ip netns add ns1\nhost# ping -c1 10.0.0.1\n"
	on, kernel, sim := both(false)
	status, out, errs := shellOn(t, on, transcript, "--backend", "both")
	if status != 0 || errs != "" || strings.Count(out, "1 received") != 1 || !strings.HasSuffix(out, "The simulator and the kernel agree.\n") {
		t.Errorf("two alike: status %d, %q\n%s", status, errs, out)
	}
	for _, labs := range []*labtest.Labs{kernel, sim} {
		if got := labs.Last().Done(); !labs.Last().Closed() || len(got) != 2 {
			t.Errorf("a lab did %q, closed %v", got, labs.Last().Closed())
		}
	}

	on, _, _ = both(true)
	status, out, errs = shellOn(t, on, transcript, "--backend", "both")
	if status != 3 || errs != "" {
		t.Errorf("two unlike: status %d, %q", status, errs)
	}
	for _, want := range []string{"≠ status\n    kernel  0\n    model   1\n", "≠ journey\n", "≠ sysctl, afterwards\n    kernel  –\n    model   host sysctl net.ipv4.ip_forward=1\n", "differ in "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// One event of each kind for each backend, and one for each difference.
func TestShellBothJSON(t *testing.T) {
	on, _, _ := both(true)
	status, out, _ := shellOn(t, on, "host# ping -c1 10.0.0.1\n", "--backend", "both", "--json")
	var events []string
	for line := range strings.Lines(out) {
		var e struct{ Event, Backend, What, Model, Kernel string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if e.Event == "difference" && e.Model == e.Kernel {
			t.Errorf("no difference: %s", line)
		}
		events = append(events, strings.TrimSpace(e.Event+" "+e.Backend+e.What))
	}
	want := []string{"command sim", "command kernel", "trace kernel", "difference status", "difference stdout", "difference stderr", "difference journey", "difference sysctl", "state sim", "state kernel"}
	if status != 3 || !slices.Equal(events, want) {
		t.Errorf("status %d, events %q, want %q", status, events, want)
	}
}

// Where no kernel lab can be made, "auto" simulates and says why; who asks for
// the kernel by name is refused, and told what else there is.
func TestShellWithoutKernel(t *testing.T) {
	on, kernel, sim := both(false)
	kernel.Fail = errors.New("unshare: operation not permitted")
	status, out, errs := shellOn(t, on, "host# ping -c1 10.0.0.1\n")
	if status != 0 || !strings.Contains(out, "1 received") || !strings.Contains(errs, "this one is simulated") || !strings.Contains(errs, "why:  no user namespaces\n") {
		t.Errorf("auto: status %d\n%s%s", status, out, errs)
	}
	if status, out, errs = shellOn(t, on, "host# true\n", "--backend", "sim", "--json"); status != 0 || errs != "" || !strings.Contains(out, `"backend":"sim"`) {
		t.Errorf("sim: status %d\n%s%s", status, out, errs)
	}
	for _, name := range []string{"kernel", "both"} {
		status, _, errs := shellOn(t, on, "host# true\n", "--backend", name)
		if status != 1 || !strings.Contains(errs, "operation not permitted") || !strings.Contains(errs, "--backend sim") {
			t.Errorf("%s: status %d, %s", name, status, errs)
		}
	}
	if !sim.Last().Closed() {
		t.Error("a simulated lab was left open")
	}
}

func TestLessonBoth(t *testing.T) {
	for _, unlike := range []bool{false, true} {
		on, _, _ := both(unlike)
		var out bytes.Buffer
		c := lessonCmd{printer: printer{stdout: &out, stderr: &out}, ctx: t.Context(), lang: "en", on: on}
		l := labtest.Lesson()
		l.Steps = l.Steps[:1]
		status := c.play(l, onBoth)
		if !unlike && (status != 0 || !strings.Contains(out.String(), "The simulator and the kernel agree.")) ||
			unlike && (status != 3 || !strings.Contains(out.String(), "≠ status")) {
			t.Errorf("unlike %v: status %d\n%s", unlike, status, out.String())
		}
	}
}

// On the kernel, each step is foretold.
func TestLessonForetold(t *testing.T) {
	for want, model := range map[string]lessons.Modeller{
		"As the model had said.": func(ctx context.Context, s *state.Snapshot) (lessons.Backend, error) {
			w := op.World{}
			for _, n := range s.Nodes {
				w.Nodes = append(w.Nodes, op.NodeSpec{Name: n.Name})
			}
			return (&labtest.Labs{}).Open(ctx, w)
		},
		"Not as the model had said:\n    ≠ status\n        kernel  0\n        model   1": func(ctx context.Context, s *state.Snapshot) (lessons.Backend, error) {
			b, err := (&labtest.Labs{}).Open(ctx, op.World{Nodes: []op.NodeSpec{{Name: "client"}}})
			return contrary{b}, err
		},
		"No forecast: not simulated: vxlan": func(context.Context, *state.Snapshot) (lessons.Backend, error) {
			return nil, errors.New("vxlan")
		},
	} {
		on, _, _ := both(false)
		on.model = model
		var out bytes.Buffer
		c := lessonCmd{printer: printer{stdout: &out, stderr: &out}, ctx: t.Context(), lang: "en", on: on}
		l := labtest.Lesson()
		l.Steps = l.Steps[:1]
		if status := c.play(l, onKernel); status != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("want %q: status %d\n%s", want, status, out.String())
		}
	}
}
