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
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			l := hostile(t, role)
			l.Watch(func(op.Event) {})
			select {
			case <-l.gone:
				if !strings.Contains(l.lost, want) {
					t.Errorf("lost: %q, want %q in it", l.lost, want)
				}
			case <-time.After(time.Minute):
				t.Error("the server still listens to it")
			}
		})
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
	if err := <-answered; err == nil || time.Since(began) > 30*time.Second {
		t.Errorf("closed after %v: %v", time.Since(began), err)
	}
}

// What a learner puts where a lab reads or writes for them holds up nothing, and
// what the kernel refuses them is an answer, not the end of the lab.
func TestHostileFiles(t *testing.T) {
	b := open(t)
	within := func(what string, fn func() op.Result, status int, says string) {
		t.Helper()
		began := time.Now()
		if r := fn(); r.Status != status || !strings.Contains(r.Stderr, says) || time.Since(began) > time.Minute {
			t.Errorf("%s: status %d, %q, after %v; want status %d, %q", what, r.Status, r.Stderr, time.Since(began), status, says)
		}
	}
	tool := func(script string) func() op.Result { return func() op.Result { return b.try("a", sh(script)) } }
	spawn := func(o op.Spawn) func() op.Result {
		o.Argv = []string{"sleep", "infinity"}
		return func() op.Result { return b.try("a", o) }
	}
	write := func(path string) func() op.Result {
		return func() op.Result { return b.try("a", op.FileWrite{Path: path, Text: "text\n"}) }
	}
	within("a fifo among the namespaces", tool("mkfifo /run/netns/pipe"), 0, "")
	within("a link moved into it", func() op.Result {
		r := b.try("a", op.LinkSet{Name: "eth0", Netns: "pipe"})
		if r.Failure == nil {
			t.Error("eth0 went through a pipe")
		}
		return r
	}, 1, "")
	within("fifo, symbolic link, directory", tool("mkfifo /tmp/fifo && ln -s /etc/passwd /tmp/out && ln -s /proc/1/mem /tmp/mem && mkdir /tmp/dir"), 0, "")
	within("a fifo written to", write("/tmp/fifo"), 1, "bash: /tmp/fifo: No such device or address")
	within("a symbolic link written to", write("/tmp/out"), 1, "bash: /tmp/out: ")
	within("init's memory written to", write("/tmp/mem"), 1, "bash: /tmp/mem: ")
	within("a directory written to", write("/tmp/dir"), 1, "bash: /tmp/dir: Is a directory")
	within("a fifo to mount on", spawn(op.Spawn{NewNet: true, Files: map[string]string{"/tmp/fifo": "/etc/passwd"}}), 0, "")
	within("nothing to mount", spawn(op.Spawn{NewNet: true, Files: map[string]string{"/etc/hosts": "/tmp/none"}}), 1, "no such file or directory")
	within("init's mounts to mount", spawn(op.Spawn{Files: map[string]string{"/etc/hosts": "/proc/1/ns/mnt"}}), 1, "operation not permitted")
	within("init's memory to mount", spawn(op.Spawn{NewNet: true, Files: map[string]string{"/etc/hosts": "/tmp/mem"}}), 1, "operation not permitted")
	within("a long hostname", spawn(op.Spawn{NewNet: true, Hostname: strings.Repeat("a", 65)}), 1, "sethostname: invalid argument")
	long := strings.Repeat("b", 80)
	within("a long name", func() op.Result { return b.try("a", op.NetnsAdd{Name: long}) }, 0, "")
	within("a tool in it", func() op.Result { return b.try(long, op.Tool{Argv: []string{"hostname"}}) }, 0, "")
	within("who heeds no signal", func() op.Result {
		return b.try("a", op.Spawn{Argv: []string{"sh", "-c", "trap : TERM; while :; do sleep 1; done"}})
	}, 0, "")
	within("killed", func() op.Result { return b.try("a", op.ProcKill{Name: "trap"}) }, 0, "")
}

// However many processes there are, init has threads left for what is its own.
func TestCrowdedLab(t *testing.T) {
	b := open(t)
	started, last := 0, op.Result{}
	for i := range 300 {
		if last = b.try("a", op.Spawn{Argv: []string{"docker-proxy", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", fmt.Sprint(8000 + i), "-container-ip", "10.0.0.2", "-container-port", "80"}}); last.Status != 0 {
			break
		}
		started++
	}
	if started < 50 || last.Status == 0 {
		t.Errorf("%d processes, then %+v", started, last)
	}
	b.do("a", op.Tool{Argv: []string{"true"}})
	b.do("a", op.ProcKill{Name: "docker-proxy"})
	b.do("a", op.HTTPServe{Port: 80})
}
