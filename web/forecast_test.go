package web

import (
	"context"
	"net/http/httptest"
	"testing"

	"vethlab/lessons"
	"vethlab/lessons/labtest"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Every page is told what the model says of a step, before the step begins, and
// one that joins late afterwards.
func TestForecastIsTold(t *testing.T) {
	labs := &labtest.Labs{}
	s, err := New(Config{Assets: pageFiles, Lessons: []*lessons.Lesson{labtest.Lesson()}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Use(Backend{Name: "kernel", Open: labs.Open, Model: func(ctx context.Context, s *state.Snapshot) (lessons.Backend, error) {
		return (&labtest.Labs{}).Open(ctx, op.World{}) // knows no ns1
	}})
	hs := httptest.NewServer(s)
	defer hs.Close()
	p := dial(t, hs, nil)
	p.open(t)
	all := p.do(t, Request{Type: "run", Step: "one"})
	var forecast, step int
	for i, m := range all {
		switch {
		case m.Forecast != nil:
			forecast = i
		case m.Begin != nil && forecast == 0:
			t.Error("a command began before the forecast was told")
		case m.Step != nil:
			step = i
		}
	}
	f := all[forecast].Forecast
	if f == nil || f.Step != "one" || len(f.Commands) != 2 || f.Commands[1].Index != 1 || len(f.Commands[1].Traces) != 1 || f.Differences != nil {
		t.Fatalf("forecast %+v", f)
	}
	if f = all[step].Step.Forecast; f == nil || len(f.Differences) == 0 || f.Differences[0].Kernel == "" {
		t.Errorf("after the step: %+v, want the differences", f)
	}
	late := dial(t, hs, p).open(t)
	if l := late[0].Lab; l == nil || l.Steps[0].Forecast == nil {
		t.Errorf("a page that joins late was told %+v", l)
	}
}
