package agree_test

import (
	"context"

	"vethlab/lessons"
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
