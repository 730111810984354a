package lessons_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vethlab/lessons"
	"vethlab/lessons/labtest"
	"vethlab/sim/agree"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// odd is a model that answers some operations in a way of its own.
type odd struct {
	lessons.Backend
	do func(ctx context.Context, o op.Op) (op.Result, bool)
}

func (m odd) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	if res, ok := m.do(ctx, o); ok {
		return res, nil
	}
	return m.Backend.Apply(ctx, node, o)
}

// modelled makes a model of the nodes a snapshot holds.
func modelled(do func(ctx context.Context, o op.Op) (op.Result, bool)) lessons.Modeller {
	return func(ctx context.Context, s *state.Snapshot) (lessons.Backend, error) {
		w := op.World{}
		for _, n := range s.Nodes {
			w.Nodes = append(w.Nodes, op.NodeSpec{Name: n.Name})
		}
		b, err := (&labtest.Labs{}).Open(ctx, w)
		return odd{b, do}, err
	}
}

// A step is foretold before its first command, from the state the lab is in,
// and held against what came.
func TestForecast(t *testing.T) {
	p := &pupil{labs: &labtest.Labs{}}
	p.Session = lessons.NewSession(labtest.Lesson(), p.labs.Open, modelled(func(_ context.Context, o op.Op) (op.Result, bool) {
		add, ok := o.(op.NetnsAdd)
		return op.Result{}, ok && add.Name == "ns2" // and makes no ns2
	}), time.Minute, p.tell)
	t.Cleanup(p.Close)
	must(t, p.Start(p.tell))
	must(t, p.Run("one", p.tell))
	must(t, p.Run("two", p.tell))
	var order []string
	for _, u := range p.told {
		switch {
		case u.Forecast != nil:
			order = append(order, "forecast "+u.Forecast.Step)
		case u.Begin != nil:
			order = append(order, "begin "+u.Begin.Line.Text)
		case u.Step != nil:
			order = append(order, "step "+u.Step.ID)
		}
	}
	if want := []string{"forecast one", "begin ip netns add ns1", "begin ping -c 1 10.0.0.1", "step one",
		"forecast two", "begin ip netns add ns2", "begin ping -c 1 10.0.0.2", "step two"}; !slices.Equal(order, want) {
		t.Errorf("told %q, want %q", order, want)
	}
	steps := p.Status().History.Steps
	one, two := steps[0].Forecast, steps[1].Forecast
	if len(one.Ran) != 2 || one.Missing != "" || len(one.State) != 0 || len(one.Ran[1].Traces) != 1 {
		t.Errorf("step one was foretold as %+v", one)
	}
	if id := one.Ran[1].Traces[0].ID; id != "model-t1" {
		t.Errorf("a foretold journey has the ID %q, which may be the lab's own", id)
	}
	if len(two.State) == 0 || two.State[0].What != "node" || two.State[0].Model != "" || !strings.Contains(two.State[0].Kernel, "ns2") {
		t.Errorf("step two differed in %v, want ns2, which the model did not make", two.State)
	}
}

// What the model does wrong is no concern of the lesson.
func TestForecastFails(t *testing.T) {
	on := func(res op.Result, match func(op.Op) bool) lessons.Modeller {
		return modelled(func(_ context.Context, o op.Op) (op.Result, bool) { return res, match(o) })
	}
	ping := func(o op.Op) bool { _, ok := o.(op.Ping); return ok }
	netns := func(o op.Op) bool { _, ok := o.(op.NetnsAdd); return ok }
	missing := op.Result{Status: 95, Stderr: "not simulated: this\n"}
	for _, tt := range []struct {
		name  string
		model lessons.Modeller
		want  string
		ran   int
	}{
		{"cannot be made", func(context.Context, *state.Snapshot) (lessons.Backend, error) { return nil, errors.New("no vlan") }, "not simulated: no vlan", 0},
		{"panics when made", func(context.Context, *state.Snapshot) (lessons.Backend, error) { panic("oh") }, "not simulated: the model met a defect of its own (oh)", 0},
		{"panics", modelled(func(_ context.Context, o op.Op) (op.Result, bool) {
			if ping(o) {
				panic("oh")
			}
			return op.Result{}, false
		}), "not simulated: the model met a defect of its own (oh)", 1},
		{"does not know a change", on(missing, netns), "not simulated: this", 0},
		{"does not know a probe", on(missing, ping), "not simulated: this", 1},
		{"hangs", modelled(func(context.Context, op.Op) (op.Result, bool) { select {} }), "not simulated: the model took too long", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &pupil{labs: &labtest.Labs{}}
			p.Session = lessons.NewSession(labtest.Lesson(), p.labs.Open, tt.model, time.Minute, p.tell)
			t.Cleanup(p.Close)
			must(t, p.Start(p.tell))
			must(t, p.Run("one", p.tell))
			st := p.Status().History.Steps[0]
			if st.State != lessons.StepDone || len(st.Ran) != 2 || st.Ran[1].Status != 0 {
				t.Errorf("the step came to %+v", st)
			}
			if st.Forecast.Missing != tt.want || len(st.Forecast.Ran) != tt.ran || st.Forecast.State != nil {
				t.Errorf("forecast %+v, want %q after %d commands", st.Forecast, tt.want, tt.ran)
			}
		})
	}
}

// A listing that the model does not know does not keep it from going on.
func TestForecastListing(t *testing.T) {
	l := labtest.Lesson()
	l.Steps[0].Commands = slices.Insert(l.Steps[0].Commands, 1, lessons.Line{Node: "host", Text: "ip -s link | cat"})
	m := modelled(func(_ context.Context, o op.Op) (op.Result, bool) {
		tool, ok := o.(op.Tool)
		return op.Result{Status: 95, Stderr: "not simulated: ip -s\n"}, ok && tool.Argv[0] == "ip"
	})
	lab, err := (&labtest.Labs{}).Open(t.Context(), l.Start)
	must(t, err)
	f := m.ForeseeStep(t.Context(), lab, &l.Steps[0])
	if f.Missing != "" || len(f.Ran) != 3 || f.Ran[0].Missing+f.Ran[2].Missing != "" || !strings.Contains(f.Ran[1].Missing, "ip -s") {
		t.Errorf("forecast %+v", f)
	}
}

// That a node makes sure of a neighbour it knows is no difference: it does so by
// a clock. That it asks for one it does not know is.
func TestForecastLeavesOutConfirmations(t *testing.T) {
	const mac1, mac2 = "02:00:00:00:00:01", "02:00:00:00:00:02"
	arp := func(at int64, opcode, from, to string) trace.Trace {
		a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		if opcode == "reply" {
			a, b = b, a
		}
		h := trace.Header{Proto: "arp", ARPOp: opcode, SrcMAC: from, DstMAC: to, Src: a, Dst: b}
		return trace.Trace{Flow: "arp", Reply: opcode == "reply", Start: at, Disposition: trace.Delivered, Node: "b",
			Hops: []trace.Hop{{Node: "a", Steps: []trace.Step{{Point: trace.TX, Dev: "eth0", Before: h, After: h, Evidence: trace.Captured}}}}}
	}
	line := lessons.Line{Node: "a", Text: "ping -c1 10.0.0.2"}
	for name, c := range map[string]struct {
		traces []trace.Trace
		want   int
	}{
		"confirms": {[]trace.Trace{arp(1, "request", mac1, mac2), arp(2, "reply", mac2, mac1)}, 0},
		"asks":     {[]trace.Trace{arp(1, "request", mac1, "ff:ff:ff:ff:ff:ff"), arp(2, "reply", mac2, mac1)}, 2},
		"confirms, and asks": {[]trace.Trace{arp(1, "request", mac1, mac2), arp(2, "reply", mac2, mac1),
			arp(3, "request", mac1, "ff:ff:ff:ff:ff:ff"), arp(4, "reply", mac2, mac1)}, 2},
	} {
		if ds := (lessons.Outcome{Traces: c.traces}).Compare(agree.New(), line, lessons.Outcome{}); len(ds) != c.want {
			t.Errorf("%s: %d differences, want %d: %v", name, len(ds), c.want, ds)
		}
	}
}
