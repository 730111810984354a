package main

import (
	"fmt"
	"strconv"

	"vethlab/lessons"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// difference is one thing on which the two backends do not agree.
type difference struct {
	Kind   string // status, stderr, journey, state
	Path   string // where: of the state, or of a journey
	Sim    string // "" where there is nothing
	Kernel string
}

type differenceEvent struct {
	Event  string `json:"event"` // difference
	Step   string `json:"step,omitempty"`
	Node   string `json:"node,omitempty"` // of the command; absent for the state in the end
	Text   string `json:"text,omitempty"`
	Kind   string `json:"kind"`
	Path   string `json:"path,omitempty"`
	Sim    string `json:"sim"`
	Kernel string `json:"kernel"`
}

// differ prints differences, and returns how many there are.
func (p *printer) differ(step string, l lessons.Line, ds []difference) int {
	for _, d := range ds {
		if p.json {
			p.event(differenceEvent{"difference", step, l.Node, l.Text, d.Kind, d.Path, d.Sim, d.Kernel})
			continue
		}
		where := d.Kind
		if d.Path != "" {
			where += " " + d.Path
		}
		fmt.Fprintf(p.stdout, "%s\n", p.paint(red, "≠ "+where))
		fmt.Fprintf(p.stdout, "    simulated  %s\n    kernel     %s\n", shown(d.Sim), shown(d.Kernel))
	}
	return len(ds)
}

// verdict ends a run on both backends.
func (p *printer) verdict(n int) {
	text := p.paint(green, "The simulator and the kernel agree.")
	switch {
	case n == 1:
		text = p.paint(red, "The simulator and the kernel differ in 1 place.")
	case n > 1:
		text = p.paint(red, fmt.Sprintf("The simulator and the kernel differ in %d places.", n))
	}
	fmt.Fprintf(p.stdout, "\n%s\n", text)
}

func shown(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// compareRan finds where a line came to something else on the two backends.
func compareRan(l lessons.Line, sim, kernel lessons.Outcome) (ds []difference) {
	if sim.Status != kernel.Status {
		ds = append(ds, difference{"status", "", strconv.Itoa(sim.Status), strconv.Itoa(kernel.Status)})
	}
	if sim.Stderr != kernel.Stderr {
		ds = append(ds, difference{"stderr", "", sim.Stderr, kernel.Stderr})
	}
	a, b := journeyEnds(sim.Traces), journeyEnds(kernel.Traces)
	for _, key := range b.keys {
		if a.ends[key] != b.ends[key] {
			ds = append(ds, difference{"journey", key, a.ends[key], b.ends[key]})
		}
	}
	for _, key := range a.keys {
		if _, ok := b.ends[key]; !ok {
			ds = append(ds, difference{"journey", key, a.ends[key], ""})
		}
	}
	return ds
}

type ends struct {
	keys []string
	ends map[string]string
}

// journeyEnds names each journey by its packet, and says how it ended.
func journeyEnds(traces []trace.Trace) ends {
	e := ends{ends: map[string]string{}}
	for i := range traces {
		t := &traces[i]
		if len(t.Hops) == 0 {
			continue
		}
		h := t.First()
		name := fmt.Sprintf("%s %s → %s", t.Summary, h.Src, h.Dst)
		key := name
		for n := 2; e.ends[key] != ""; n++ {
			key = fmt.Sprintf("%s #%d", name, n)
		}
		last := t.Last()
		e.keys = append(e.keys, key)
		e.ends[key] = fmt.Sprintf("%s at %s, %s → %s", t.Disposition, t.Node, last.Src, last.Dst)
	}
	return e
}

// compareState finds where the two labs are not the same.
func compareState(sim, kernel *state.Snapshot) (ds []difference) {
	for _, d := range state.Diff(sim.Canonical(), kernel.Canonical()) {
		ds = append(ds, difference{"state", d.Path, d.A, d.B})
	}
	return ds
}
