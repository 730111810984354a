package lessons

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// A session's lab: how it is built, how it is lost, what is seen in it.

// rewind forgets what was done since before step i or, when done is set, since
// after it.
func (s *Session) rewind(i int, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case i >= s.place:
		s.steps = s.steps[:s.place] // a broken try is over
		return
	case done:
		s.log, i = s.log[:s.ended[i]], i+1
	default:
		s.log = s.log[:s.begun[i]]
	}
	s.place = i
	s.steps, s.begun, s.ended = s.steps[:i], s.begun[:i], s.ended[:i]
	s.own = slices.DeleteFunc(s.own, func(o ownRan) bool { return o.at > len(s.log) })
	for _, st := range s.lesson.Steps[i:] {
		delete(s.guesses, st.ID)
	}
}

// build makes a lab and plays the log on it.
func (s *Session) build(ctx context.Context, tell func(Update)) error {
	s.drop(s.state, "")
	s.mu.Lock()
	log := slices.Clone(s.log)
	s.mu.Unlock()
	if s.open == nil {
		return &Refusal{"no-kernel", "This machine cannot run the lab.", "Run “vethlab doctor” on it: it says what is missing."}
	}
	s.mu.Lock()
	built := s.built
	s.mu.Unlock()
	lab, err := s.open(ctx, s.lesson.Start)
	if err != nil {
		return s.notBuilt(ctx, built, "The lab could not be made", err)
	}
	s.mu.Lock()
	if s.built != built { // closed meanwhile
		s.mu.Unlock()
		lab.Close()
		return &Refusal{"lost", "The lab was closed.", "Reload the page."}
	}
	t := &tap{s: s, lab: lab, built: built}
	t.shell = NewShell(t)
	s.lab = t
	s.mu.Unlock()
	if live, ok := lab.(Live); ok {
		live.Watch(func(e op.Event) { s.event(built, e) })
	}
	for _, l := range log {
		if _, err := t.apply(ctx, l.Node, l.Op); err != nil {
			return s.notBuilt(ctx, built, fmt.Sprintf("The lab failed while it was rebuilt, at %q in %s", l.Op, l.Node), err)
		}
	}
	return s.look(ctx, tell)
}

func (s *Session) notBuilt(ctx context.Context, built int, what string, err error) error {
	if context.Cause(ctx) == errStopped {
		err = errors.New("it was stopped")
	}
	why := what + ": " + err.Error() + "."
	s.lose(built, why)
	return lost(why)
}

func lost(why string) *Refusal {
	return &Refusal{"lost", why, "Rebuild the lab: it comes back at the same step."}
}

// drop closes the lab, if there is one.
func (s *Session) drop(st LabState, why string) {
	s.mu.Lock()
	lab := s.lab
	s.lab, s.state, s.why = nil, st, why
	s.built++
	s.mu.Unlock()
	if lab != nil {
		// Not waited for: it may be the lab that calls, from Watch.
		s.ending.Go(func() { lab.shell.Close(); lab.lab.Close() })
	}
}

// event takes what lab number built tells.
func (s *Session) event(built int, e op.Event) {
	s.mu.Lock()
	if s.built != built {
		s.mu.Unlock()
		return
	}
	if e.Snapshot != nil {
		s.snap = e.Snapshot
	}
	s.mu.Unlock()
	if e.Lost != "" {
		s.lose(built, "The lab died: "+e.Lost)
		return
	}
	s.tell(Update{Event: &e})
}

// lose notes that lab number built is dead. What waits for it is cancelled.
func (s *Session) lose(built int, why string) {
	s.mu.Lock()
	if s.built != built {
		s.mu.Unlock()
		return
	}
	if s.stop != nil {
		s.stop(lost(why))
	}
	s.mu.Unlock()
	s.drop(LabLost, why)
	st := s.status(false)
	s.tell(Update{Status: &st})
}

// failed turns the error of a request into one that says what to do.
func (s *Session) failed(ctx context.Context, err error) error {
	var r *Refusal
	switch {
	case errors.As(context.Cause(ctx), &r), errors.As(err, &r):
		return r
	case errors.Is(err, errTimeout):
		return &Refusal{"timeout", fmt.Sprintf("A command took longer than %v and was ended.", s.limit), "The step is taken back: run it again."}
	}
	return &Refusal{"internal", err.Error(), "Rebuild the lab; if it happens again, it is a defect of vethlab."}
}

// look takes a snapshot and tells it.
func (s *Session) look(ctx context.Context, tell func(Update)) error {
	lab, err := s.up()
	if err != nil {
		return err
	}
	snap, err := lab.Snapshot(ctx)
	if err != nil {
		return s.failed(ctx, err)
	}
	s.saw(snap, tell)
	return nil
}

func (s *Session) saw(snap *state.Snapshot, tell func(Update)) {
	s.mu.Lock()
	s.snap = snap
	s.mu.Unlock()
	tell(Update{Snapshot: snap})
}

// tap is a lab as its shell sees it: with a limit on the time an operation may
// take, and what changed it written to the session's log.
type tap struct {
	s     *Session
	lab   Backend
	built int // which of the session's labs
	shell *Shell
}

func (t *tap) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	if tool, ok := o.(op.Tool); ok && tool.Background {
		// It may run for as long as the lab does, and is gone with it.
		res, err := t.lab.Apply(ctx, node, o)
		return res, t.failed(ctx, err)
	}
	if op.Probe(o) {
		return t.apply(ctx, node, o)
	}
	s := t.s
	s.mu.Lock()
	full := len(s.log) >= maxLog || held(s.log)+held([]op.Line{{Op: o}}) > maxLogBytes
	s.mu.Unlock()
	if full {
		return op.Result{Status: 1, Stderr: "vethlab: this lab has been changed so often, or given so much to read, that it could not be rebuilt after one more; go back to a step\n"}, nil
	}
	res, err := t.apply(ctx, node, o)
	if err == nil {
		s.mu.Lock()
		if s.built == t.built {
			s.log = append(s.log, op.Line{Node: node, Op: o})
		}
		s.mu.Unlock()
	}
	return res, err
}

func (t *tap) apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.s.limit, errTimeout)
	defer cancel()
	res, err := t.lab.Apply(ctx, node, o)
	return res, t.failed(ctx, err)
}

func (t *tap) Snapshot(ctx context.Context) (*state.Snapshot, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.s.limit, errTimeout)
	defer cancel()
	snap, err := t.lab.Snapshot(ctx)
	return snap, t.failed(ctx, err)
}

func (t *tap) Close() error { return nil } // the session's to close

// failed tells a lab that failed from a request that was cut short.
func (t *tap) failed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.s.lose(t.built, "The lab died: "+strings.TrimPrefix(err.Error(), "the lab died: "))
	return err
}
