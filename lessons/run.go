package lessons

import (
	"context"
	"slices"
	"time"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Ran is a command line that was run, and what came of it.
type Ran struct {
	Line
	Outcome
}

// StepOutcome is what running a step came to.
type StepOutcome struct {
	Step     *Step
	Ran      []Ran           // one for each command, in order; fewer when the lab failed
	Snapshot *state.Snapshot // after the last command
	Checks   []CheckResult   // in the order of the lesson's checks
	// Answer is the ID of the option that the capture proved right, Observed
	// the value it was read from. Answer is empty when no option matches.
	Answer, Observed string
	Explained        bool // Observed was concluded from the state: nobody reported it
}

// OK reports whether every check held.
func (o *StepOutcome) OK() bool {
	return !slices.ContainsFunc(o.Checks, func(c CheckResult) bool { return !c.OK })
}

// Observer is told how a step goes. Either function may be nil.
type Observer struct {
	Begin func(index int, l Line)
	End   func(index int, r Ran)
}

// settle is how long RunStep waits for the kernel to finish what it does in
// the background: a namespace dies in a work queue (cleanup_net,
// net/core/net_namespace.c), some 80 ms after its last user.
const settle = 2 * time.Second

// RunStep runs a step's commands in a lab, looks at the lab, and holds what it
// sees against the step's checks and prediction. A command that fails does not
// stop the step: some are meant to. The error is the lab's (it died, ctx
// ended); the outcome then holds what was done until then.
func RunStep(ctx context.Context, sh *Shell, b Backend, s *Step, obs Observer) (StepOutcome, error) {
	out := StepOutcome{Step: s}
	for i, l := range s.Commands {
		if obs.Begin != nil {
			obs.Begin(i, l)
		}
		o, err := sh.Run(ctx, l.Node, l.Text, nil)
		if err != nil {
			return out, err
		}
		r := Ran{l, o}
		out.Ran = append(out.Ran, r)
		if obs.End != nil {
			obs.End(i, r)
		}
	}
	for deadline := time.Now().Add(settle); ; {
		snap, err := b.Snapshot(ctx)
		if err != nil {
			return out, err
		}
		out.Snapshot = snap
		out.Checks = Evaluate(s, snap, out.Ran)
		if out.OK() || !stateFailed(s, out.Checks) || time.Now().After(deadline) {
			break
		}
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	out.Answer, out.Observed, out.Explained = answer(s, out.Snapshot, out.Ran)
	return out, nil
}

// stateFailed reports whether a check of the state, which may yet come true,
// does not hold.
func stateFailed(s *Step, results []CheckResult) bool {
	for i, r := range results {
		if !r.OK && s.Checks[i].ofState() {
			return true
		}
	}
	return false
}

// Replay brings a fresh lab to where it was after the given steps: it runs
// what changes the state and leaves out what only sends traffic or looks (see
// op.Probe).
func Replay(ctx context.Context, b Backend, steps []*Step) error {
	sh := NewShell(changesOnly{b})
	defer sh.Close()
	for _, s := range steps {
		for _, l := range s.Commands {
			if _, err := sh.Run(ctx, l.Node, l.Text, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// changesOnly is a lab that answers probes with success and does not run them,
// but for docker's, which send nothing and whose words later lines may need.
type changesOnly struct{ Backend }

func (c changesOnly) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	if t, ok := o.(op.Tool); op.Probe(o) && !(ok && t.Argv[0] == "docker") {
		return op.Result{}, nil
	}
	return c.Backend.Apply(ctx, node, o)
}
