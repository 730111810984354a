package lessons

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"vethlab/sim/agree"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// Modeller makes a model of a lab from what the lab holds: a lab of its own, in
// which commands can be tried before they are run.
//
//	lab ── Snapshot ──▶ Modeller ──▶ model ── the step's commands ──▶ Forecast
//	 └──── the same commands, after the model ──────────────────────▶ what happened
type Modeller func(ctx context.Context, s *state.Snapshot) (Backend, error)

// Forecast is what the model said of a step, or of a line of the learner's own,
// before it was run. The kernel is the judge: a forecast changes nothing of what
// a lesson does, and one that cannot be made says why.
type Forecast struct {
	Before   *state.Snapshot // what it was made from
	Ran      []Foreseen      // one for each command, as far as the model went
	Snapshot *state.Snapshot // after the last; nil unless it went through all
	// Answer and Observed are the step's prediction as the model answers it.
	Answer, Observed string
	// Missing says why the model did not go on, or did not begin; "" when it
	// went through all commands. It begins with "not simulated: ".
	Missing string
	// State holds, once the step was run, where the lab then differed from what
	// the model expected.
	State []agree.Difference
}

// Foreseen is a command that the model ran.
type Foreseen struct {
	Ran
	Missing string // a listing that the model does not know: "not simulated: …"
	// Differences holds, once the step was run, what the command came to otherwise.
	Differences []agree.Difference
}

// thinking is how long a lesson waits for the model, which needs some
// milliseconds for what a lesson does.
const thinking = 2 * time.Second

const notSimulated = "not simulated: "

// foresee has the model run lines, from the state the lab is in.
func (m Modeller) foresee(ctx context.Context, snap *state.Snapshot, lines []Line) Forecast {
	ctx, cancel := context.WithTimeout(ctx, thinking)
	defer cancel()
	done := make(chan Forecast, 1)
	go func() {
		var f Forecast
		defer func() {
			if p := recover(); p != nil {
				f.Missing = panicked(p)
			}
			done <- f
		}()
		f.Missing = m.play(ctx, snap, lines, &f)
	}()
	select {
	case f := <-done:
		return f
	case <-ctx.Done(): // whatever it still does, nobody waits for it
		return Forecast{Missing: notSimulated + "the model took too long"}
	}
}

// play runs lines in a model of snap, and returns why it stopped early.
func (m Modeller) play(ctx context.Context, snap *state.Snapshot, lines []Line, f *Forecast) string {
	lab, err := m(ctx, snap)
	if err != nil {
		return sentenceOf(err)
	}
	defer lab.Close()
	model := &model{Backend: lab}
	sh := NewShell(model)
	defer sh.Close()
	for _, l := range lines {
		out, err := sh.Run(ctx, l.Node, l.Text, nil)
		if err != nil {
			return sentenceOf(err)
		}
		missing, changes := model.missed()
		if missing != "" && changes {
			return missing
		}
		for i := range out.Traces {
			out.Traces[i].ID = "model-" + out.Traces[i].ID // the lab counts its own from 1, too
		}
		f.Ran = append(f.Ran, Foreseen{Ran: Ran{l, out}, Missing: missing})
	}
	after, err := lab.Snapshot(ctx)
	if err != nil {
		return sentenceOf(err)
	}
	f.Snapshot = after
	return ""
}

func sentenceOf(err error) string {
	text := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		text = "the model took too long"
	}
	return notSimulated + strings.TrimPrefix(text, notSimulated)
}

func panicked(p any) string {
	return notSimulated + fmt.Sprintf("the model met a defect of its own (%.200s)", fmt.Sprint(p))
}

// Defect is what an operation comes to in which the model panicked with p: it
// is not simulated, and the lab goes on.
func Defect(p any) op.Result { return op.Result{Status: 95, Stderr: panicked(p) + "\n"} }

// model is a model's backend as a forecast uses it: a panic in it is a command
// that is not simulated, and what is not simulated is noted.
type model struct {
	Backend
	mu      sync.Mutex
	missing string
	changes bool // what was missing may change the lab
}

func (m *model) Apply(ctx context.Context, node string, o op.Op) (res op.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			res, err = Defect(p), nil
		}
		if res.Status == 95 && strings.HasPrefix(res.Stderr, notSimulated) {
			m.mu.Lock()
			m.changes = m.changes || !op.Probe(o) || sends(o)
			if m.missing == "" {
				m.missing, _, _ = strings.Cut(res.Stderr, "\n")
			}
			m.mu.Unlock()
		}
	}()
	return m.Backend.Apply(ctx, node, o)
}

// sends reports whether o sends packets, which ARP, conntrack and the counters
// remember.
func sends(o op.Op) bool {
	switch o.(type) {
	case op.Ping, op.HTTPGet:
		return true
	}
	return false
}

// missed returns what was not simulated since it was last asked.
func (m *model) missed() (missing string, changes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	missing, changes = m.missing, m.changes
	m.missing, m.changes = "", false
	return missing, changes
}

// ForeseeStep is the model's forecast of a step, made from the lab's state
// before it. Give Compared what then happened. It is nil where there is no
// model.
func (m Modeller) ForeseeStep(ctx context.Context, b Backend, s *Step) *Forecast {
	if m == nil {
		return nil
	}
	snap, err := b.Snapshot(ctx)
	if err != nil {
		return &Forecast{Missing: sentenceOf(err)}
	}
	f := m.foresee(ctx, snap, s.Commands)
	f.Before = snap
	if f.Missing == "" {
		ran := make([]Ran, len(f.Ran))
		for i, r := range f.Ran {
			ran[i] = r.Ran
		}
		f.Answer, f.Observed, _ = answer(s, f.Snapshot, ran)
	}
	return &f
}

// Compared returns f with where the step, once it was run, came otherwise than
// foreseen. It is nil where f is.
func (f *Forecast) Compared(out *StepOutcome) *Forecast {
	if f == nil {
		return nil
	}
	g := *f // f was told already, and may be read meanwhile
	g.Ran = slices.Clone(f.Ran)
	c := agree.New()
	if g.Before != nil {
		c.Switches(g.Before)
	}
	for i := range min(len(g.Ran), len(out.Ran)) {
		r := &g.Ran[i]
		if r.Missing == "" {
			r.Differences = out.Ran[i].Outcome.Compare(c, r.Line, r.Outcome)
		}
	}
	if f.Snapshot != nil && out.Snapshot != nil {
		g.State = c.State(out.Snapshot, f.Snapshot)
	}
	return &g
}

// Differences lists all that the step came to otherwise.
func (f *Forecast) Differences() (all []agree.Difference) {
	for _, r := range f.Ran {
		all = append(all, r.Differences...)
	}
	return append(all, f.State...)
}

// Compare holds what a line came to on the kernel and in the model against
// each other; see package agree for what counts.
func (o Outcome) Compare(c *agree.Comparison, l Line, model Outcome) []agree.Difference {
	return c.Command(l.Node, l.Text, o.forAgree(), model.forAgree())
}

func (o Outcome) forAgree() agree.Outcome {
	return agree.Outcome{Status: o.Status, Stdout: o.Stdout, Stderr: o.Stderr, Traces: withoutConfirmations(o.Traces)}
}

// withoutConfirmations leaves out the ARP exchanges by which a node makes sure
// of a neighbour it knows: a request to that neighbour's own MAC address, and
// the answer. The kernel sends it five seconds after it used an entry that was
// stale (delay_first_probe_time, neigh_timer_handler in net/core/neighbour.c),
// so it falls into whatever command runs then; when that is depends on how long
// the learner reads, and no snapshot tells.
func withoutConfirmations(traces []trace.Trace) []trace.Trace {
	const broadcast = "ff:ff:ff:ff:ff:ff"
	sorted := slices.SortedStableFunc(slices.Values(traces), func(a, b trace.Trace) int { return cmp.Compare(a.Start, b.Start) })
	asked := map[string]bool{} // flows whose last request was such a one
	return slices.DeleteFunc(sorted, func(t trace.Trace) bool {
		if len(t.Hops) == 0 || len(t.Hops[0].Steps) == 0 {
			return false
		}
		h := t.Hops[0].Steps[0].Before
		if h.Proto != "arp" || h.Outer != nil {
			return false
		}
		if h.ARPOp == "request" {
			asked[t.Flow] = h.DstMAC != "" && h.DstMAC != broadcast
		}
		return asked[t.Flow]
	})
}
