package capture

import (
	"os"
	"sync"
)

// queue reads a non-blocking socket either as things come or, on demand, all
// that has come so far: what a command caused is in the socket's queue when the
// command ends, so draining it then misses nothing.
type queue struct {
	f  *os.File
	mu sync.Mutex
	// one reads one datagram; it reports false when none has queued.
	one func(fd int) bool
}

// read waits until something has queued and reads all of it. It returns an
// error when the socket was closed.
func (q *queue) read() error {
	c, err := q.f.SyscallConn()
	if err != nil {
		return err
	}
	return c.Read(func(fd uintptr) bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		some := false
		for q.one(int(fd)) {
			some = true
		}
		return some
	})
}

// Run reads until the socket is closed.
func (q *queue) Run() {
	for q.read() == nil {
	}
}

// Drain reads what has queued, without waiting.
func (q *queue) Drain() {
	q.control(func(fd int) {
		q.mu.Lock()
		defer q.mu.Unlock()
		for q.one(fd) {
		}
	})
}

func (q *queue) control(fn func(fd int)) {
	if c, err := q.f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { fn(int(fd)) }) // an error means it was closed
	}
}

// Close closes the socket and ends Run.
func (q *queue) Close() error { return q.f.Close() }
