package agree_test

import (
	"context"
	"strings"
	"testing"

	"vethlab/lessons"
	"vethlab/sim/agree"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/tools"
)

func openModel(ctx context.Context, w op.World) (lessons.Backend, error) {
	l, err := tools.Open(ctx, w)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func modelFrom(s *state.Snapshot) (lessons.Backend, error) {
	l, err := tools.FromSnapshot(s)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// In a halved case the model begins with what the snapshot holds, and runs only
// what comes after it.
func TestHalved(t *testing.T) {
	c := &testCase{Nodes: []op.NodeSpec{{Name: "a", Kind: state.Machine}}, Half: 1,
		Lines: []string{"a# ip addr add 10.0.0.1/24 dev lo", "a# ip addr add 10.0.0.2/24 dev lo"}}
	w, err := c.world()
	if err != nil {
		t.Fatal(err)
	}
	lab, err := openModel(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSide(t.Context(), lab, agree.NewRenderer())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.line(t.Context(), "a# ip addr add 10.9.9.9/24 dev lo"); err != nil {
		t.Fatal(err)
	}
	middle, err := lab.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run, err := c.follow(t.Context(), w, middle)
	if err != nil {
		t.Fatal(err)
	}
	after := strings.Join(run.State, "\n")
	if len(run.Commands) != 1 || !strings.Contains(after, "10.9.9.9/24") || !strings.Contains(after, "10.0.0.2/24") || strings.Contains(after, "10.0.0.1/24") {
		t.Errorf("%d commands, and then\n%s", len(run.Commands), after)
	}
}
