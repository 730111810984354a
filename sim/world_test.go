package sim

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// lab is a world that tests give commands to.
type lab struct {
	*World
	t *testing.T
}

// newLab makes a world of machines with lo up, furnished by a transcript: lines
// "node# command".
func newLab(t testing.TB, nodes, transcript string) *lab {
	t.Helper()
	spec := op.World{Name: t.Name()}
	for _, n := range strings.Fields(nodes) {
		spec.Nodes = append(spec.Nodes, op.NodeSpec{Name: n, Kind: state.Machine})
		up := true
		spec.Setup = append(spec.Setup, op.Line{Node: n, Op: op.LinkSet{Name: "lo", Up: &up}})
	}
	for _, line := range lines(transcript) {
		node, o := parse(t, line)
		spec.Setup = append(spec.Setup, op.Line{Node: node, Op: o})
	}
	w, err := New(t.Context(), spec, Options{Start: 1767225600e9})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{World: w}
	l.t, _ = t.(*testing.T)
	return l
}

func lines(text string) (ls []string) {
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "//") {
			ls = append(ls, l)
		}
	}
	return ls
}

// parse reads a line "node# command".
func parse(t testing.TB, line string) (node string, o op.Op) {
	t.Helper()
	node, text, ok := strings.Cut(line, "# ")
	if !ok {
		t.Fatalf("no command: %q", line)
	}
	c, err := cmdline.Parse(strings.Fields(text))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if c.Node != "" {
		node = c.Node
	}
	return node, c.Op
}

// try runs one line.
func (l *lab) try(t testing.TB, line string) op.Result {
	t.Helper()
	node, o := parse(t, line)
	res, err := l.Apply(t.Context(), node, o)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return res
}

// run runs lines and returns the journeys of the last.
func (l *lab) run(text string) (res op.Result) {
	l.t.Helper()
	for _, line := range lines(text) {
		res = l.try(l.t, line)
		for _, tr := range res.Traces {
			if err := tr.Validate(); err != nil {
				l.t.Errorf("%s: %v", line, err)
			}
		}
	}
	return res
}

// journeyOf finds the nth journey of that summary and writes it down: a line for
// each step, and last how it ended.
func journeyOf(traces []trace.Trace, summary string, nth int) []string {
	for i := range traces {
		if traces[i].Summary == summary {
			if nth--; nth == 0 {
				return written(&traces[i])
			}
		}
	}
	return nil
}

func written(tr *trace.Trace) (ls []string) {
	for _, h := range tr.Hops {
		for _, s := range h.Steps {
			w := []string{h.Node, string(s.Point)}
			for _, x := range []string{s.Dev, s.Table, s.Chain} {
				if x != "" {
					w = append(w, x)
				}
			}
			if s.Rule > 0 {
				w = append(w, fmt.Sprint(s.Rule))
			}
			if s.Verdict != "" {
				w = append(w, string(s.Verdict))
			}
			if s.Before.TTL != 0 {
				w = append(w, fmt.Sprint(s.Before.TTL))
			}
			if from, to := end(s.Before.Src, s.After.Src, s.Before.SrcPort, s.After.SrcPort); from != to {
				w = append(w, "src", from, "→", to)
			}
			if from, to := end(s.Before.Dst, s.After.Dst, s.Before.DstPort, s.After.DstPort); from != to {
				w = append(w, "dst", from, "→", to)
			}
			if o := s.After.Outer; o != nil {
				w = append(w, "in", o.Src.String(), "→", o.Dst.String())
			}
			ls = append(ls, strings.Join(w, " "))
		}
	}
	return append(ls, fmt.Sprintf("%s at %s: %s", tr.Disposition, tr.Node, tr.Code))
}

func end(a, b netip.Addr, p, q uint16) (from, to string) {
	if p == q {
		return a.String(), b.String()
	}
	return netip.AddrPortFrom(a, p).String(), netip.AddrPortFrom(b, q).String()
}

// wants compares a journey with what it should be.
func (l *lab) wants(res op.Result, summary string, nth int, want string) {
	l.t.Helper()
	got := journeyOf(res.Traces, summary, nth)
	if g, w := strings.Join(got, "\n"), strings.Join(lines(want), "\n"); g != w {
		all := ""
		for i := range res.Traces {
			all += " | " + res.Traces[i].Summary
		}
		l.t.Errorf("%s %d went\n%s\nnot\n%s\n(all:%s)", summary, nth, g, w, all)
	}
}
