package sim

import (
	"slices"
	"strings"
	"time"

	"vethlab/sim/op"
)

// Process is a program that runs in a node. It is written as what it does when
// something happens: its sockets wake it (Socket.Wake), and its timers (After).
// Between those nothing of it runs, so that any number of programs can be under
// way in a world while operations are done.
type Process struct {
	w     *World
	ns    *Netns // its network namespace, which it keeps alive
	PID   int
	Name  string   // as ps and ss show it (PR_SET_NAME, prctl(2))
	Args  []string // its command line
	socks []*Socket
	ended bool
	onEnd []func()

	waits int // timers of its own that are set

	// interrupted and terminated are what SIGINT and SIGTERM do; nil ends the
	// process.
	interrupted, terminated func()
}

// Start starts a process of that command line. Its name is its first word.
func (n *Netns) Start(args ...string) *Process {
	w := n.w
	w.pid++
	p := &Process{w: w, ns: n, PID: w.pid, Name: args[0], Args: args}
	n.procs = append(n.procs, p)
	return p
}

// Netns returns the namespace the process runs in.
func (p *Process) Netns() *Netns { return p.ns }

// Now is the time on the world's clock, in nanoseconds since 1970.
func (p *Process) Now() int64 { return p.w.now }

// Timer is something that a process will do later.
type Timer struct {
	t *timer
	p *Process
}

// Stop keeps the timer from going off. A nil timer is fine.
func (t *Timer) Stop() {
	if t != nil && !t.t.dead {
		t.t.stop()
		t.p.waits--
	}
}

// After calls fn when d has passed, if the process still runs.
func (p *Process) After(d time.Duration, fn func()) *Timer {
	p.waits++
	t := &Timer{p: p}
	t.t = p.w.after(d, func() {
		t.t.dead = true
		p.waits--
		if !p.ended {
			fn()
		}
	})
	return t
}

// OnEnd calls fn when the process ends.
func (p *Process) OnEnd(fn func()) { p.onEnd = append(p.onEnd, fn) }

// OnInterrupt has fn called when the process is interrupted (SIGINT), instead
// of ending it.
func (p *Process) OnInterrupt(fn func()) { p.interrupted = fn }

// Interrupt does what Ctrl-C does.
func (p *Process) Interrupt() {
	if p.interrupted != nil && !p.ended {
		p.interrupted()
		return
	}
	p.Exit()
}

// OnTerminate has fn called when the process is killed (SIGTERM), instead of
// ending it.
func (p *Process) OnTerminate(fn func()) { p.terminated = fn }

// Terminate does what kill(1) does.
func (p *Process) Terminate() {
	if p.terminated != nil && !p.ended {
		p.terminated()
		return
	}
	p.Exit()
}

// Waits reports whether the process has set a timer: something will happen even
// when nothing arrives.
func (p *Process) Waits() bool { return p.waits > 0 }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool { return p.ended }

// Exit ends the process: the kernel closes its sockets (do_exit, kernel/exit.c).
func (p *Process) Exit() {
	if p.ended {
		return
	}
	p.ended = true
	for _, s := range slices.Clone(p.socks) {
		s.Close()
	}
	n := p.ns
	n.procs = slices.DeleteFunc(n.procs, func(q *Process) bool { return q == p })
	for _, fn := range p.onEnd {
		fn()
	}
	p.w.unused(n)
}

// Wait lets time pass until the process has ended. One that has not when the
// limit is reached, or when the operation is given up, is interrupted; then it
// reports true.
func (p *Process) Wait(limit time.Duration) (interrupted bool) { return p.w.finish(p, limit) }

// Idle lets time pass for what runs in the background, until it has all come to
// rest or the limit is reached.
func (w *World) Idle(limit time.Duration) { w.run(w.now+int64(limit), nil) }

// command is the process's command line as one string.
func (p *Process) command() string { return strings.Join(p.Args, " ") }

// Processes are those that run in the namespace, oldest first.
func (n *Netns) Processes() []*Process { return slices.Clone(n.procs) }

// procKill ends the background processes whose command line holds name, as
// pkill -f does. An empty name means all.
func (w *World) procKill(n *Netns, name string) op.Result {
	killed := false
	for _, p := range n.Processes() {
		if strings.Contains(p.command(), name) {
			p.Terminate()
			killed = true
		}
	}
	if !killed {
		return op.Result{Status: 1} // as pkill(1) says that nothing matched
	}
	return op.Result{}
}
