package lessons

import (
	"context"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Backend is a lab: one learner's world, simulated or on the kernel.
//
// Apply returns an error only when the lab itself failed (it died, the context
// ended); an operation that the kernel refused is a Result with a Status. An
// Apply to a node that does not exist is a Failure of kind op.NoNetns.
// Result.Traces holds the journeys of the packets that the operation sent, and
// is complete when Apply returns. When ctx ends first, the result may hold what
// was done until then, beside the error. Apply may be called from several goroutines;
// operations are done one at a time, but for tools in the background.
type Backend interface {
	Apply(ctx context.Context, node string, o op.Op) (op.Result, error)
	Snapshot(ctx context.Context) (*state.Snapshot, error)
	Close() error
}

// Live is a Backend that tells what happens in it without being asked.
type Live interface {
	// Watch calls fn, from one goroutine at a time, for every event from now
	// on, until the lab closes. The last event of a lab that died has Lost set.
	Watch(fn func(op.Event))
}

// Opener makes a lab with the given world, furnished and ready.
type Opener func(ctx context.Context, w op.World) (Backend, error)
