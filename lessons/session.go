package lessons

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Session is one learner's lab and place in a lesson: what was run, what came
// of it, and what the learner guessed. It does one thing at a time, and may be
// called from any goroutine.
//
// What changed the lab is kept as a log of operations. A lab that died, or one
// taken back to an earlier step, is a fresh lab on which the log is played
// again; so nothing the learner did is lost with a lab but its counters, ARP
// and conntrack entries.
type Session struct {
	lesson *Lesson
	open   Opener
	model  Modeller      // nil: nothing is foretold
	limit  time.Duration // for one operation
	tell   func(Update)  // told of what nobody asked for
	base   context.Context
	close  context.CancelFunc
	ending sync.WaitGroup // labs that are being closed

	mu    sync.Mutex
	state LabState
	why   string                  // Lost: how
	stop  context.CancelCauseFunc // of the request that runs; nil when none does
	ends  chan struct{}           // closed when that request is over
	lab   *tap                    // nil while there is none
	built int                     // counts the labs made, to tell late news of an old one
	snap  *state.Snapshot

	log     []op.Line // at most maxLog
	place   int       // steps done
	begun   []int     // by step: length of log before it
	ended   []int     // by step: length of log after it
	steps   []Taken   // one for each step done, and one more when the last try broke
	own     []ownRan
	guesses map[string]string
}

// A lab is rebuilt from at most so many operations, and bytes that their tools
// were called with and given to read.
const maxLog, maxLogBytes = 20_000, 4 << 20

// held is how many bytes the tools of a log hold.
func held(log []op.Line) int {
	n := 0
	for _, l := range log {
		if t, ok := l.Op.(op.Tool); ok {
			n += len(t.Stdin)
			for _, a := range t.Argv {
				n += len(a)
			}
		}
	}
	return n
}

type ownRan struct {
	Ran
	at int // length of log after it
}

// LabState says how a session's lab is.
type LabState string

// The states of a lab.
const (
	LabNone       LabState = "none" // not begun, or put to sleep
	LabStarting   LabState = "starting"
	LabReady      LabState = "ready"
	LabRunning    LabState = "running"
	LabRebuilding LabState = "rebuilding"
	LabLost       LabState = "lost" // it died; Rebuild makes it anew
)

// Update is a piece of news from a session. One field is set.
type Update struct {
	Status   *Status
	Begin    *Begun
	Ran      *CommandRan
	Forecast *StepForecast // before the step's first command
	Step     *Taken
	Snapshot *state.Snapshot // after a command
	Event    *op.Event       // from the lab: packets, a trace, a snapshot
}

// Status tells how the lab is and where in the lesson the learner is.
type Status struct {
	State LabState
	Why   string // LabLost: how it was lost
	Next  string // the step to run next; empty when the lesson is done
	// Guesses are the options chosen so far, by step.
	Guesses map[string]string
	// History is set when it is not what the Updates so far amount to.
	History *History
}

// History is what a page that joins late has missed.
type History struct {
	Steps []Taken
	Own   []Ran
}

// Begun says that a command begins.
type Begun struct {
	Step  string // empty for the learner's own
	Index int    // which of the step's commands, from 0
	Total int
	Line  Line
}

// CommandRan is a command that ended.
type CommandRan struct {
	Step  string // empty for the learner's own
	Index int
	Ran
}

// StepForecast is what the model says a step will do.
type StepForecast struct {
	Step string
	*Forecast
}

// Taken is a step that was run.
type Taken struct {
	ID    string
	State TakenState
	Ran   []Ran
	Check []CheckResult
	Guess string
	// Answer, Observed and Explained are as in StepOutcome.
	Answer, Observed string
	Explained        bool
	Forecast         *Forecast // nil when none was made
}

// TakenState says what became of a step.
type TakenState string

// What can become of a step.
const (
	StepDone    TakenState = "done"
	StepFailed  TakenState = "failed"  // a check did not hold
	StepBroken  TakenState = "broken"  // the lab died or the step was stopped; it is still to be run
	StepSkipped TakenState = "skipped" // replayed by Goto, without what only sends packets or looks
)

// Refusal is an error that says what to do about it.
type Refusal struct{ Code, Text, Do string }

func (r *Refusal) Error() string { return r.Text }

var (
	errStopped = &Refusal{"stopped", "It was stopped.", "The lab is as it was before; run the step again when you like."}
	errTimeout = errors.New("timeout")
)

// NewSession makes a session without a lab; Start makes the lab. model, unless
// nil, foretells what each step will do. limit is how long one operation may
// take. tell is called for what happens unasked (a lab
// that dies, packets); it must return quickly, and may be called by several
// goroutines.
func NewSession(l *Lesson, open Opener, model Modeller, limit time.Duration, tell func(Update)) *Session {
	s := &Session{lesson: l, open: open, model: model, limit: limit, tell: tell, state: LabNone, guesses: map[string]string{}}
	s.base, s.close = context.WithCancel(context.Background())
	return s
}

// Close ends what runs and closes the lab. The session is of no use afterwards.
func (s *Session) Close() {
	s.close()
	s.drop(LabNone, "")
	s.ending.Wait()
}

// Sleep closes the lab and keeps the log, so that Start brings it back as it
// was. It reports false, and does nothing, while something runs.
func (s *Session) Sleep() bool {
	s.mu.Lock()
	busy := s.stop != nil
	s.mu.Unlock()
	if busy {
		return false
	}
	s.drop(LabNone, "")
	return true
}

// Status tells how the session is, with its whole history.
func (s *Session) Status() Status { return s.status(true) }

// Snapshot is the last one taken of the lab, or nil.
func (s *Session) Snapshot() *state.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snap
}

// Start makes the lab unless there is one already, or one being made.
func (s *Session) Start(tell func(Update)) error {
	s.mu.Lock()
	st := s.state
	s.mu.Unlock()
	if st != LabNone {
		return nil
	}
	err := s.do(LabStarting, tell, nil, func(ctx context.Context) error { return s.build(ctx, tell) })
	if r := (*Refusal)(nil); errors.As(err, &r) && r.Code == "busy" {
		return nil // somebody else starts it
	}
	return err
}

// Run runs the next step of the lesson.
func (s *Session) Run(step string, tell func(Update)) error {
	_, i, err := s.find(step)
	if err != nil {
		return err
	}
	return s.do(LabRunning, tell, func() error {
		switch {
		case i < s.place:
			return &Refusal{"already-run", fmt.Sprintf("Step %q has been run already.", step),
				"Use “run again”: it takes the lab back to before the step first."}
		case i > s.place:
			return &Refusal{"out-of-order", fmt.Sprintf("Step %q builds on steps that have not been run; the next one is %q.", step, s.next()),
				"Run the next step, or go to this one: the steps between are then done for you."}
		}
		return s.needLab()
	}, func(ctx context.Context) error { return s.runStep(ctx, i, tell) })
}

// Again takes the lab back to before a step, and runs the step.
func (s *Session) Again(step string, tell func(Update)) error {
	_, i, err := s.find(step)
	if err != nil {
		return err
	}
	return s.do(LabRebuilding, tell, func() error {
		if i > s.place {
			return &Refusal{"out-of-order", fmt.Sprintf("Step %q has not been run yet; the next one is %q.", step, s.next()), "Run the next step."}
		}
		return nil
	}, func(ctx context.Context) error {
		s.mu.Lock()
		guess, guessed := s.guesses[step]
		s.mu.Unlock()
		s.rewind(i, false)
		if guessed {
			s.guess(step, guess)
		}
		if err := s.build(ctx, tell); err != nil {
			return err
		}
		s.become(LabRunning, true, tell)
		return s.runStep(ctx, i, tell)
	})
}

// Goto makes the lab anew as it was (or, further on, as it will be) before a
// step or, when done is set, after it. What the learner did later is undone.
func (s *Session) Goto(step string, done bool, tell func(Update)) error {
	_, i, err := s.find(step)
	if err != nil {
		return err
	}
	return s.do(LabRebuilding, tell, nil, func(ctx context.Context) error {
		s.rewind(i, done)
		if err := s.build(ctx, tell); err != nil {
			return err
		}
		to := i
		if done {
			to++
		}
		for s.place < to {
			if err := s.skipStep(ctx, s.place, tell); err != nil {
				return err
			}
		}
		s.become(LabReady, true, tell)
		return s.look(ctx, tell)
	})
}

// Rebuild makes the lab anew, to where it was.
func (s *Session) Rebuild(tell func(Update)) error {
	return s.do(LabRebuilding, tell, nil, func(ctx context.Context) error { return s.build(ctx, tell) })
}

// Predict keeps the learner's guess for a step that has not been run.
func (s *Session) Predict(step, option string) error {
	st, i, err := s.find(step)
	if err != nil {
		return err
	}
	if st.Predict == nil || !slices.ContainsFunc(st.Predict.Options, func(o Option) bool { return o.ID == option }) {
		return &Refusal{"unknown-option", fmt.Sprintf("Step %q has no option %q.", step, option), "Reload the page."}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < len(s.begun) {
		return &Refusal{"already-run", "The packets have answered that already.", "Go back a step to guess afresh."}
	}
	s.guesses[step] = option
	return nil
}

// Command runs a line of the learner's own in a node.
func (s *Session) Command(node, text string, tell func(Update)) error {
	if strings.TrimSpace(text) == "" {
		return &Refusal{"bad-message", "The command is empty.", "Type a command."}
	}
	return s.do(LabRunning, tell, func() error {
		if err := s.needLab(); err != nil {
			return err
		}
		if s.snap != nil && s.snap.Node(node) == nil {
			var names []string
			for _, n := range s.snap.Nodes {
				names = append(names, n.Name)
			}
			return &Refusal{"unknown-node", fmt.Sprintf("There is no node %q.", node), "The lab's nodes are " + strings.Join(names, ", ") + "."}
		}
		return nil
	}, func(ctx context.Context) error {
		l := Line{Node: node, Text: text}
		tell(Update{Begin: &Begun{Total: 1, Line: l}})
		lab, err := s.up()
		if err != nil {
			return err
		}
		failed := func(err error) error {
			if errors.Is(err, errTimeout) {
				return &Refusal{"timeout-own", fmt.Sprintf("The command took longer than %v and was ended.", s.limit), "Give it an end, as in “ping -c 3”, or stop it with Ctrl C."}
			}
			return s.failed(ctx, err)
		}
		out, err := lab.shell.Run(ctx, node, text, nil)
		switch syntax, ok := errors.AsType[*SyntaxError](err); {
		case ok:
			out.Stderr, err = "syntax error at "+syntax.Error()+"\n", nil
		case context.Cause(ctx) == errStopped:
			err = nil // as asked; the status says it
		case err != nil && out.Stdout == "" && out.Traces == nil:
			return failed(err)
		}
		r := Ran{l, out}
		s.keep(r)
		tell(Update{Ran: &CommandRan{Ran: r}})
		if err != nil {
			return failed(err)
		}
		after, cancel := context.WithTimeout(s.base, s.limit) // ctx may have been stopped
		defer cancel()
		return s.look(after, tell)
	})
}

// Stop interrupts what runs. A step is undone, and ends with the error
// "stopped". A command of the learner's own ends with status 130, as with
// Ctrl-C, and what it did so far stays.
func (s *Session) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop(errStopped)
	}
}

// keep remembers a command of the learner's own, and forgets the oldest beyond
// what a page that joins late needs.
func (s *Session) keep(r Ran) {
	const most, bytes = 50, 1 << 20
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own = append(s.own, ownRan{r, len(s.log)})
	size := 0
	for i := len(s.own) - 1; i >= 0; i-- {
		o := &s.own[i]
		size += len(o.Stdout) + len(o.Stderr) + 8192*len(o.Traces)
		if len(s.own)-i > most || size > bytes && i < len(s.own)-1 {
			s.own = slices.Clone(s.own[i+1:])
			break
		}
	}
}

// do runs fn as the one thing that happens now. may, with mu held, has the
// last word on whether it can.
func (s *Session) do(doing LabState, tell func(Update), may func() error, fn func(context.Context) error) error {
	s.mu.Lock()
	for s.stop != nil && s.state == LabLost { // it was cancelled when the lab died, and is about to end
		ends := s.ends
		s.mu.Unlock()
		<-ends
		s.mu.Lock()
	}
	err := s.base.Err()
	switch {
	case err != nil:
		err = &Refusal{"lost", "The lab was closed.", "Reload the page."}
	case s.stop != nil:
		err = &Refusal{"busy", "The lab is " + string(s.state) + ".", "Wait until it is done, or stop it."}
	case may != nil:
		err = may()
	}
	if err != nil {
		s.mu.Unlock()
		return err
	}
	ctx, stop := context.WithCancelCause(s.base)
	ends := make(chan struct{})
	s.stop, s.ends = stop, ends
	s.mu.Unlock()

	defer func() {
		stop(nil)
		s.mu.Lock()
		s.stop, s.ends = nil, nil
		close(ends)
		if s.lab != nil {
			s.state, s.why = LabReady, ""
		}
		s.mu.Unlock()
		st := s.status(doing == LabRebuilding || doing == LabStarting)
		tell(Update{Status: &st})
	}()
	s.become(doing, false, tell)
	return fn(ctx)
}

// needLab wants mu.
func (s *Session) needLab() error {
	if s.lab != nil {
		return nil
	}
	return lost(cmp.Or(s.why, "There is no lab."))
}

// up returns the lab, unless it was lost this moment.
func (s *Session) up() (*tap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lab, s.needLab()
}

func (s *Session) find(step string) (*Step, int, error) {
	st, i := s.lesson.Step(step)
	if st == nil {
		return nil, 0, &Refusal{"unknown-step", fmt.Sprintf("The lesson %q has no step %q.", s.lesson.ID, step), "Reload the page: the lesson may have changed."}
	}
	return st, i, nil
}

// next wants mu.
func (s *Session) next() string {
	if s.place < len(s.lesson.Steps) {
		return s.lesson.Steps[s.place].ID
	}
	return ""
}

func (s *Session) status(history bool) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{State: s.state, Why: s.why, Next: s.next(), Guesses: maps.Clone(s.guesses)}
	if history {
		st.History = &History{Steps: append([]Taken{}, s.steps...), Own: []Ran{}}
		for _, o := range s.own {
			st.History.Own = append(st.History.Own, o.Ran)
		}
	}
	return st
}

func (s *Session) become(st LabState, history bool, tell func(Update)) {
	s.mu.Lock()
	s.state, s.why = st, ""
	s.mu.Unlock()
	status := s.status(history)
	tell(Update{Status: &status})
}

func (s *Session) guess(step, option string) {
	s.mu.Lock()
	s.guesses[step] = option
	s.mu.Unlock()
}

// runStep runs step i, which is the next one.
func (s *Session) runStep(ctx context.Context, i int, tell func(Update)) error {
	step := &s.lesson.Steps[i]
	lab, err := s.up()
	if err != nil {
		return err
	}
	s.mark(i)
	forecast := s.model.ForeseeStep(ctx, lab, step)
	if forecast != nil {
		tell(Update{Forecast: &StepForecast{step.ID, forecast}})
	}
	out, err := RunStep(ctx, lab.shell, lab, step, Observer{
		Begin: func(n int, l Line) {
			tell(Update{Begin: &Begun{step.ID, n, len(step.Commands), l}})
		},
		End: func(n int, r Ran) {
			tell(Update{Ran: &CommandRan{step.ID, n, r}})
			s.look(ctx, tell) // RunStep will meet the same error
		},
	})
	forecast = forecast.Compared(&out)
	s.mu.Lock()
	t := Taken{ID: step.ID, State: StepDone, Ran: out.Ran, Check: out.Checks, Guess: s.guesses[step.ID], Answer: out.Answer, Observed: out.Observed, Explained: out.Explained, Forecast: forecast}
	s.mu.Unlock()
	switch {
	case err != nil:
		t.State = StepBroken
	case !out.OK():
		t.State = StepFailed
	}
	s.take(i, t, err == nil)
	tell(Update{Step: &t})
	if err == nil {
		s.saw(out.Snapshot, tell)
		return nil
	}
	err = s.failed(ctx, err)
	s.unmark(i)
	s.mu.Lock()
	alive := s.lab != nil
	s.mu.Unlock()
	if !alive {
		return err
	}
	// The step was cut short: make the lab as it was before it.
	again, cancel := context.WithTimeout(s.base, s.limit)
	defer cancel()
	s.become(LabRebuilding, false, tell)
	if e := s.build(again, tell); e != nil {
		return e
	}
	return err
}

// skipStep brings the lab to after step i, which is the next one, without what
// only sends packets or looks.
func (s *Session) skipStep(ctx context.Context, i int, tell func(Update)) error {
	lab, err := s.up()
	if err != nil {
		return err
	}
	s.mark(i)
	step := &s.lesson.Steps[i]
	if err := Replay(ctx, lab, []*Step{step}); err != nil {
		s.unmark(i)
		return s.failed(ctx, err)
	}
	s.take(i, Taken{ID: step.ID, State: StepSkipped}, true)
	return nil
}

// mark notes where in the log step i begins.
func (s *Session) mark(i int) {
	s.mu.Lock()
	s.begun = append(s.begun[:i], len(s.log))
	s.mu.Unlock()
}

// unmark forgets what step i did: it was cut short.
func (s *Session) unmark(i int) {
	s.mu.Lock()
	s.log, s.begun = s.log[:s.begun[i]], s.begun[:i]
	s.mu.Unlock()
}

// take keeps what step i came to; over says that the next step is due.
func (s *Session) take(i int, t Taken, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(slices.Clip(s.steps[:i]), t)
	if over {
		s.ended = append(s.ended[:i], len(s.log))
		s.place = i + 1
	}
}
