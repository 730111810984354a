package trace

import (
	"net/netip"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	h := Header{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2")}
	moved := h
	moved.Src = netip.MustParseAddr("10.0.0.9")
	good := func() Trace {
		return Trace{ID: "p1", Disposition: Delivered, Hops: []Hop{{Node: "a", Steps: []Step{
			{Point: RX, Before: h, After: h, Evidence: Captured}, {Point: Postrouting, Before: h, After: moved, Evidence: Reported}, {Point: TX, Before: moved, After: moved, Evidence: Captured}}}}}
	}
	tr := good()
	if err := tr.Validate(); err != nil || !tr.Hops[0].Steps[1].Rewritten() || tr.Hops[0].Steps[0].Rewritten() {
		t.Errorf("a good journey: %v", err)
	}
	for want, spoil := range map[string]func(*Trace){
		"no hops":             func(t *Trace) { t.Hops = nil },
		"is empty":            func(t *Trace) { t.Hops[0].Steps = nil },
		"unknown disposition": func(t *Trace) { t.Disposition = "lost" },
		"unknown point":       func(t *Trace) { t.Hops[0].Steps[0].Point = "here" },
		"no evidence":         func(t *Trace) { t.Hops[0].Steps[0].Evidence = "" },
		"begins with":         func(t *Trace) { t.Hops[0].Steps[2].Before = h },
	} {
		tr := good()
		spoil(&tr)
		if err := tr.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
