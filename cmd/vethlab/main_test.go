package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vethlab/exec"
)

// asVethlab makes a test binary behave as the program itself: the same code,
// without a second build, also for a user who may not build.
const asVethlab = "VETHLAB_TEST_AS_VETHLAB"

// programs are what the test binary is started as, by its first argument.
var programs = map[string]func(args []string) error{packetSender: sendPackets, nameServer: serveNames}

func TestMain(m *testing.M) {
	exec.Init()
	if len(os.Args) > 1 && programs[os.Args[1]] != nil {
		if err := programs[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(asVethlab) != "" {
		os.Unsetenv(asVethlab)
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// vethlab is a command of the program, to be run in a process of its own.
func vethlab(args ...string) *osexec.Cmd {
	cmd := osexec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "vethlab"
	cmd.Env = append(os.Environ(), asVethlab+"=1")
	return cmd
}

// server is `vethlab serve` in a process of its own, with a TMPDIR of its own.
type server struct {
	cmd *osexec.Cmd
	url string // http://127.0.0.1:PORT
	tmp string

	mu   sync.Mutex
	said bytes.Buffer // what it printed
	gone chan struct{}
}

// user is who runs a server.
type user struct {
	name string
	cred *syscall.Credential // nil: whoever runs the test
}

// users are those a lab must work for: root and an unprivileged user, or only
// the latter when the test itself is unprivileged.
func users() []user {
	if os.Getuid() == 0 {
		return []user{{"root", nil}, {"nobody", &syscall.Credential{Uid: 65534, Gid: 65534}}}
	}
	return []user{{"unprivileged", nil}}
}

// serveAs starts a server of a user on a free port.
func serveAs(t *testing.T, u user) *server {
	t.Helper()
	tmp, err := os.MkdirTemp("", "vethlab-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	if u.cred != nil {
		if err := os.Chown(tmp, int(u.cred.Uid), int(u.cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := vethlab("serve", "--listen", "127.0.0.1:0", "--backend", "kernel")
	cmd.Dir = "/"
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp, "HOME="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.cred}
	s := startServer(t, cmd)
	s.tmp = tmp
	return s
}

// startServer runs cmd, a `vethlab serve`, and waits until it says where it is.
func startServer(t *testing.T, cmd *osexec.Cmd) *server {
	t.Helper()
	s := &server{cmd: cmd, gone: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = w, w
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.gone
		r.Close()
	})
	go func() {
		s.cmd.Wait()
		close(s.gone)
	}()
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(io.TeeReader(r, s))
		for lines.Scan() {
			if _, at, ok := strings.Cut(lines.Text(), "vethlab is at "); ok {
				found <- strings.TrimSuffix(at, "/")
			}
		}
	}()
	select {
	case s.url = <-found:
	case <-s.gone:
		t.Fatalf("the server ended before it served: %s", s.output())
	case <-time.After(time.Minute):
		t.Fatalf("no address after a minute: %s", s.output())
	}
	return s
}

func (s *server) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(b)
}

func (s *server) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}
