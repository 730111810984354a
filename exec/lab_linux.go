package exec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"vethlab/exec/sandbox"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Lab is a lab on the real kernel, seen from the server.
type Lab struct {
	proc *sandbox.Process

	mu      sync.Mutex
	enc     *json.Encoder
	next    int
	waiting map[int]chan response
	watch   []func(op.Event)
	lost    string // why the lab died; empty while it lives
	closed  atomic.Bool
	gone    chan struct{} // closed when lost is set
}

// cancelGrace is how long an operation that was given up may take to say what
// it did until then.
const cancelGrace = 2 * time.Second

// maxMessage bounds what a sandbox may say at once, in bytes: it is not to be
// trusted with the server's memory.
const maxMessage = 32 << 20

// writeTimeout bounds how long a sandbox may leave what it is told unread.
const writeTimeout = 10 * time.Second

// openTimeout bounds how long a world may take to be furnished.
const openTimeout = 30 * time.Second

// Open makes a lab with the given world, furnished and ready.
func Open(ctx context.Context, w op.World) (*Lab, error) { return Options{}.Open(ctx, w) }

// Open makes a lab with these options.
func (o Options) Open(ctx context.Context, w op.World) (*Lab, error) {
	world, err := toWire(w)
	if err != nil {
		return nil, err
	}
	proc, err := sandbox.Start(role, o.Iptables)
	if err != nil {
		return nil, err
	}
	l := newLab(proc)
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if _, err := l.call(ctx, request{Method: "open", V: wireVersion, World: world}); err != nil {
		l.Close()
		return nil, fmt.Errorf("make the world %s: %w", w.Name, err)
	}
	return l, nil
}

func newLab(proc *sandbox.Process) *Lab {
	l := &Lab{proc: proc, enc: json.NewEncoder(proc.Conn), waiting: map[int]chan response{}, gone: make(chan struct{})}
	go l.receive()
	return l
}

// Pid is the process of the sandbox's init on the machine.
func (l *Lab) Pid() int { return l.proc.Pid }

// Apply does an operation in a node. If ctx ends before it does, the result
// may hold what it did until then, beside the error.
func (l *Lab) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	b, err := op.Marshal(o)
	if err != nil {
		return op.Result{}, err
	}
	r, err := l.call(ctx, request{Method: "apply", Node: node, Op: b})
	if r.Result == nil {
		return op.Result{}, err
	}
	return *r.Result, err
}

// Snapshot reads the state of all nodes from the kernel.
func (l *Lab) Snapshot(ctx context.Context) (*state.Snapshot, error) {
	r, err := l.call(ctx, request{Method: "snapshot"})
	return r.Snapshot, err
}

// Watch calls fn for every event from now on, one at a time.
func (l *Lab) Watch(fn func(op.Event)) {
	l.mu.Lock()
	l.watch = append(l.watch, fn)
	l.mu.Unlock()
	_, _ = l.call(context.Background(), request{Method: "watch"}) // fails only when the lab is lost, which fn hears
}

// Close ends the lab with everything in it.
func (l *Lab) Close() error {
	l.closed.Store(true)
	l.proc.Kill()
	return nil
}

// LostError says that the lab died.
type LostError struct{ Why string }

func (e *LostError) Error() string { return "the lab died: " + e.Why }

func (l *Lab) call(ctx context.Context, r request) (response, error) {
	ch := make(chan response, 1)
	l.mu.Lock()
	if l.lost != "" {
		defer l.mu.Unlock()
		return response{}, &LostError{l.lost}
	}
	l.next++
	r.ID = l.next
	l.waiting[r.ID] = ch
	l.say(r)
	l.mu.Unlock()
	select {
	case resp := <-ch:
		return resp, answerError(resp)
	case <-l.gone:
		select {
		case resp := <-ch: // it was answered just before the end
			return resp, answerError(resp)
		default:
			return response{}, &LostError{l.lost}
		}
	case <-ctx.Done():
		l.mu.Lock()
		if l.lost == "" {
			l.say(request{Method: "cancel", Of: r.ID})
		}
		l.mu.Unlock()
		select { // what was done until now, if it comes soon
		case resp := <-ch:
			return resp, ctx.Err()
		case <-l.gone:
		case <-time.After(cancelGrace):
		}
		l.mu.Lock()
		delete(l.waiting, r.ID)
		l.mu.Unlock()
		return response{}, ctx.Err()
	}
}

// say wants mu. A sandbox that takes nothing in is of no use: then receive finds
// the connection closed.
func (l *Lab) say(r request) {
	_ = l.proc.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // closed: Encode says so
	if err := l.enc.Encode(r); err != nil {
		_ = l.proc.Conn.Close()
	}
}

func answerError(r response) error {
	if r.Err != "" {
		return errors.New(r.Err)
	}
	return nil
}

// receive reads what the sandbox says until it dies.
func (l *Lab) receive() {
	in := &io.LimitedReader{R: l.proc.Conn}
	dec := json.NewDecoder(in)
	for {
		var r response
		in.N = maxMessage
		err := dec.Decode(&r)
		if in.N == 0 {
			err = fmt.Errorf("it said more than %d MiB at once", maxMessage>>20)
		}
		if err != nil {
			l.die(err)
			return
		}
		l.mu.Lock()
		watch := l.watch
		ch := l.waiting[r.ID]
		delete(l.waiting, r.ID)
		l.mu.Unlock()
		switch {
		case r.Event != nil:
			for _, fn := range watch {
				fn(*r.Event)
			}
		case ch != nil:
			ch <- r
		}
	}
}

func (l *Lab) die(err error) {
	l.proc.Kill()
	why := l.proc.Why()
	if !errors.Is(err, io.EOF) {
		why += " (" + err.Error() + ")"
	}
	l.mu.Lock()
	closed := l.closed.Load()
	if closed {
		why = "it was closed"
	}
	l.lost = why
	watch := l.watch
	l.mu.Unlock()
	close(l.gone)
	if !closed {
		for _, fn := range watch {
			fn(op.Event{Lost: why})
		}
	}
}
