package exec

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"vethlab/exec/sandbox"
	"vethlab/sim/op"
)

// Sandboxes that do not do as they are told.
func registerHostile() {
	sandbox.Register("endless", func() {
		conn := os.NewFile(sandbox.Control, "control")
		fmt.Fprint(conn, `{"event":{"lost":"`)
		for b := make([]byte, 1<<20); ; {
			for i := range b {
				b[i] = 'a'
			}
			if _, err := conn.Write(b); err != nil {
				return
			}
		}
	})
	sandbox.Register("nonsense", func() {
		conn := os.NewFile(sandbox.Control, "control")
		fmt.Fprint(conn, `{"id":1,"result":{"Output":3}}`)
		select {}
	})
	sandbox.Register("forged", func() { // answers nobody asked for, events with nothing in them
		conn := os.NewFile(sandbox.Control, "control")
		for i := range 1000 {
			fmt.Fprintf(conn, `{"id":%d,"snapshot":{"nodes":[{}]}} {"event":{}} {} {"id":-1} {"event":{"trace":{"hops":[{}]}}}`, i)
		}
	})
	sandbox.Register("deaf", func() { select {} })
}

func hostile(t *testing.T, role string) *Lab {
	proc, err := sandbox.Start(role, "")
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(proc)
	t.Cleanup(func() { l.Close() })
	return l
}

// A sandbox that was taken over can say what it likes; the server lets go of it.
func TestHostileSandbox(t *testing.T) {
	for role, want := range map[string]string{"endless": "more than 32 MiB", "nonsense": "cannot unmarshal", "forged": "exit status 0"} {
		l := hostile(t, role)
		l.Watch(func(op.Event) {})
		select {
		case <-l.gone:
			if !strings.Contains(l.lost, want) {
				t.Errorf("%s: lost: %q, want %q in it", role, l.lost, want)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: the server still listens to it", role)
		}
	}
}

// However long a flood lasts, its result stays of a size to send.
func TestFloodResult(t *testing.T) {
	b := open(t)
	r := b.try("a", op.Tool{Argv: []string{"timeout", "8", "ping", "-f", "-q", "127.0.0.1"}})
	steps := 0
	for _, tr := range r.Traces {
		for _, h := range tr.Hops {
			steps += len(h.Steps)
		}
	}
	if steps < maxSteps/4 || steps > maxSteps+1000 {
		t.Errorf("%d journeys of %d steps", len(r.Traces), steps)
	}
}

// A sandbox that reads nothing must not hold up who closes it.
func TestDeafSandbox(t *testing.T) {
	l := hostile(t, "deaf")
	answered := make(chan error)
	go func() {
		_, err := l.Apply(context.Background(), "a", op.Tool{Argv: []string{"cat"}, Stdin: strings.Repeat("a", 8<<20)})
		answered <- err
	}()
	time.Sleep(300 * time.Millisecond) // the socket's buffer is full now
	began := time.Now()
	l.Close()
	if err := <-answered; err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("closed after %v: %v", time.Since(began), err)
	}
}
