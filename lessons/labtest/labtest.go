// Package labtest has a lab for tests of what stands before the labs: it does
// as it is told, and keeps what it was asked to do.
package labtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"vethlab/lessons"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// Labs makes labs, and keeps them in the order they were made.
type Labs struct {
	Fail error // Open's answer, when set

	mu   sync.Mutex
	made []*Lab
}

// Open is a lessons.Opener.
func (l *Labs) Open(ctx context.Context, w op.World) (lessons.Backend, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Fail != nil {
		return nil, l.Fail
	}
	lab := &Lab{nodes: []string{"host"}, dead: make(chan struct{})}
	for _, n := range w.Nodes {
		if n.Name != "host" {
			lab.nodes = append(lab.nodes, n.Name)
		}
	}
	l.made = append(l.made, lab)
	return lab, nil
}

// Made returns the labs made so far.
func (l *Labs) Made() []*Lab {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.made)
}

// Last returns the lab made last.
func (l *Labs) Last() *Lab {
	made := l.Made()
	return made[len(made)-1]
}

// Lab is a lab with a node "host". It knows `ip netns`; ping and every other
// operation succeed, ping with one journey. sleep, and a tool in the
// background, last until the request is cut short or the lab dies.
type Lab struct {
	mu     sync.Mutex
	nodes  []string
	done   []string // "host# ip netns add ns1"
	watch  func(op.Event)
	dead   chan struct{}
	died   bool
	closed bool
	ended  atomic.Int32
}

var errDead = errors.New("the lab's process ended: signal: killed")

// Apply does an operation.
func (l *Lab) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.died {
		return op.Result{}, errDead
	}
	_, node = op.SplitAt(node)
	if !slices.Contains(l.nodes, node) {
		return op.Result{Failure: &op.Failure{What: op.NoNetns, Name: node}, Status: 1}, nil
	}
	l.done = append(l.done, node+"# "+o.String())
	switch o := o.(type) {
	case op.NetnsAdd:
		if slices.Contains(l.nodes, o.Name) {
			return op.Result{Failure: &op.Failure{What: op.NetnsUsed, Name: o.Name}, Status: 1}, nil
		}
		l.nodes = append(l.nodes, o.Name)
	case op.NetnsDel:
		l.nodes = slices.DeleteFunc(l.nodes, func(n string) bool { return n == o.Name })
	case op.Ping:
		h := trace.Header{Proto: "icmp", Dst: o.Dst}
		return op.Result{Output: "1 received\n", Traces: []trace.Trace{{ID: "t1", Summary: "ICMP echo request", Disposition: trace.Delivered,
			Node: node, Evidence: trace.Captured,
			Hops: []trace.Hop{{Node: node, Steps: []trace.Step{{Point: trace.Output, Before: h, After: h, Evidence: trace.Reported}}}}}}}, nil
	case op.Sleep:
		return l.wait(ctx)
	case op.Tool:
		if o.Background {
			return l.wait(ctx)
		}
	}
	return op.Result{}, nil
}

// wait wants mu, and lets go of it meanwhile.
func (l *Lab) wait(ctx context.Context) (op.Result, error) {
	l.mu.Unlock()
	defer l.mu.Lock()
	defer l.ended.Add(1)
	select {
	case <-ctx.Done():
		return op.Result{}, ctx.Err()
	case <-l.dead:
		return op.Result{}, errDead
	}
}

// Ended counts the sleeps and background tools that are over.
func (l *Lab) Ended() int { return int(l.ended.Load()) }

// Snapshot lists the nodes.
func (l *Lab) Snapshot(ctx context.Context) (*state.Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.died {
		return nil, errDead
	}
	s := &state.Snapshot{Version: state.Version}
	for _, n := range l.nodes {
		s.Nodes = append(s.Nodes, state.Node{Name: n, Mounted: true, IptablesVariant: "nf_tables"})
	}
	return s, nil
}

// Close ends the lab.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.die()
	return nil
}

// Closed reports whether Close was called.
func (l *Lab) Closed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// die wants mu.
func (l *Lab) die() {
	if !l.died {
		l.died = true
		close(l.dead)
	}
}

// Watch keeps fn for Tell.
func (l *Lab) Watch(fn func(op.Event)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watch = fn
}

// Tell has the lab tell something unasked.
func (l *Lab) Tell(e op.Event) {
	l.mu.Lock()
	fn := l.watch
	l.mu.Unlock()
	if fn != nil {
		fn(e)
	}
}

// Kill ends the lab as kill -9 would: without warning. Whoever watches is told.
func (l *Lab) Kill() {
	l.mu.Lock()
	l.die()
	l.mu.Unlock()
	l.Tell(op.Event{Lost: "signal: killed"})
}

// Done lists what the lab did, as "host# ip netns add ns1".
func (l *Lab) Done() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.done)
}

// Lesson returns a lesson of four steps for such a lab: "one" and "two" make a
// namespace each and ping, "slow" changes something and then sleeps, "four"
// makes a third namespace. Step "two" has a question with the options a and b.
func Lesson() *lessons.Lesson {
	text := func(s string) lessons.Text { return lessons.Text{"en": s} }
	line := func(s string) lessons.Line { return lessons.Line{Node: "host", Text: s} }
	return &lessons.Lesson{
		ID: "test", World: "test", Title: text("A test"),
		Start: op.World{Name: "test", Nodes: []op.NodeSpec{{Name: "host", Kind: state.Machine}, {Name: "client", Kind: state.Machine}}},
		Steps: []lessons.Step{
			{ID: "one", Title: text("One"), Commands: []lessons.Line{line("ip netns add ns1"), line("ping -c 1 10.0.0.1")},
				Checks: []lessons.Check{{Netns: &lessons.NetnsCheck{Name: "ns1"}}}},
			{ID: "two", Title: text("Two"), Commands: []lessons.Line{line("ip netns add ns2"), line("ping -c 1 10.0.0.2")},
				Predict: &lessons.Predict{Question: text("?"), Options: []lessons.Option{{ID: "a", Label: text("a")}, {ID: "b", Label: text("b")}}}},
			{ID: "slow", Title: text("Slow"), Commands: []lessons.Line{line("sysctl -w net.ipv4.ip_forward=1"), line("sleep 1000")}},
			{ID: "four", Title: text("Four"), Commands: []lessons.Line{line("ip netns add ns4")}},
		},
	}
}
