package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"vethlab/web"
)

func TestCommandNames(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		stdout string
		stderr string
	}{
		{nil, 2, "", "vethlab serve"},
		{[]string{"help"}, 0, "Begin with: vethlab serve --open", ""},
		{[]string{"--help"}, 0, "vethlab doctor [--json]", ""},
		{[]string{"help", "serve"}, 0, "usage: vethlab serve", ""},
		{[]string{"version"}, 0, "vethlab ", ""},
		{[]string{"--version"}, 0, "vethlab ", ""},
		{[]string{"version", "x"}, 2, "", "takes no arguments"},
		{[]string{"serv"}, 2, "", `did you mean "serve"?`},
		{[]string{"docter"}, 2, "", `did you mean "doctor"?`},
		{[]string{"lessons"}, 2, "", `did you mean "lesson"?`},
		{[]string{"les"}, 2, "", `did you mean "lesson"?`},
		{[]string{"dance"}, 2, "", "The commands are serve, shell, lesson, doctor, version and help."},
		{[]string{"serve", "--port", "1"}, 2, "", "flag provided but not defined: -port"},
		{[]string{"serve", "x"}, 2, "", `unexpected argument "x"`},
		{[]string{"serve", "--backend", "magic"}, 2, "", "want auto, sim or kernel"},
		{[]string{"serve", "--max-labs", "0"}, 2, "", "more than 0"},
		{[]string{"serve", "--host", "http://x"}, 2, "", "without http://"},
		{[]string{"serve", "--listen", "nonsense"}, 1, "", "as in --listen 127.0.0.1:8642"},
		{[]string{"serve", "--listen", "192.0.2.1:8642"}, 1, "", "192.0.2.1 is not an address of this machine"},
	} {
		cmd := vethlab(c.args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != c.status || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("vethlab %s: status %d, want %d\nstdout %q, want %q\nstderr %q, want %q",
				strings.Join(c.args, " "), got, c.status, stdout.String(), c.stdout, stderr.String(), c.stderr)
		}
		if strings.Contains(stderr.String(), "did you mean") != strings.Contains(c.stderr, "did you mean") {
			t.Errorf("vethlab %s: %q", strings.Join(c.args, " "), stderr.String())
		}
	}
}

func TestPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	var stdout, stderr bytes.Buffer
	status := serve(context.Background(), []string{"--listen", ln.Addr().String()}, &stdout, &stderr)
	for _, want := range []string{fmt.Sprintf("port %d is in use", port), fmt.Sprintf("--listen 127.0.0.1:%d", port+1)} {
		if status != 1 || !strings.Contains(stderr.String(), want) {
			t.Errorf("status %d, %q; want 1 and %q", status, stderr.String(), want)
		}
	}
}

// The advice is tried against what this machine says.
func TestListenAdvice(t *testing.T) {
	for _, c := range []struct {
		err          syscall.Errno
		listen, want string
	}{
		{syscall.EADDRINUSE, "127.0.0.1:65535", "--listen 127.0.0.1:8642"},
		{syscall.EACCES, "127.0.0.1:80", "port 80 needs root"},
		{syscall.EADDRINUSE, "[::1]:8642", "--listen [::1]:8643"},
	} {
		if got := listenError(c.listen, fmt.Errorf("listen: %w", c.err)); !strings.Contains(got, c.want) {
			t.Errorf("%s: %v: %q, want %q", c.listen, c.err, got, c.want)
		}
	}
}

func TestExposure(t *testing.T) {
	for _, c := range []struct{ addr, browser, note string }{
		{"127.0.0.1:8642", "127.0.0.1:8642", ""},
		{"[::1]:8642", "[::1]:8642", ""},
		{"0.0.0.0:8642", "127.0.0.1:8642", "whoever can reach this address gets a lab"},
		{"[::]:8642", "127.0.0.1:8642", "--host NAME"},
		{"192.0.2.7:8642", "192.0.2.7:8642", "not encrypted"},
	} {
		a, err := net.ResolveTCPAddr("tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := browserHost(a); got != c.browser {
			t.Errorf("%s: to type %s, want %s", c.addr, got, c.browser)
		}
		note := exposure(a, nil)
		if (note == "") != (c.note == "") || !strings.Contains(note, c.note) {
			t.Errorf("%s: note %q, want %q", c.addr, note, c.note)
		}
	}
}

func TestServeStopsWhenTold(t *testing.T) {
	s := serveAs(t, users()[0])
	resp, err := http.Get(s.url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if !strings.Contains(string(b), `"ok":true`) {
		t.Errorf("health: %s", b)
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.gone:
	case <-time.After(time.Minute):
		t.Fatal("it serves on after SIGTERM")
	}
	if got := s.cmd.ProcessState.ExitCode(); got != 0 {
		t.Errorf("exit status %d, want 0: %s", got, s.output())
	}
}

// Where no user namespace can be made, serve says so once, with what to do, and
// simulates, which the page is told with the same reason; with --backend kernel
// it ends.
func TestServeWithoutKernel(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	barren := func(args ...string) *osexec.Cmd {
		cmd := osexec.Command("unshare", append([]string{"--user", "--map-root-user", "sh", "-c",
			`echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" "$@"`, self}, args...)...)
		cmd.Env = append(cmd.Environ(), asVethlab+"=1")
		return cmd
	}
	var stderr bytes.Buffer
	cmd := barren("serve", "--listen", "127.0.0.1:0", "--backend", "kernel")
	cmd.Stderr = &stderr
	cmd.Run()
	if strings.Contains(stderr.String(), "unshare:") {
		t.Skip("this test needs a user namespace to forbid further ones in: " + stderr.String())
	}
	if got := cmd.ProcessState.ExitCode(); got != 1 || !strings.Contains(stderr.String(), "max_user_namespaces") {
		t.Errorf("--backend kernel: status %d, %q; want 1 and the setting's name", got, stderr.String())
	}

	s := startServer(t, barren("serve", "--listen", "127.0.0.1:0"))
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+"/ws", http.Header{"Origin": {s.url}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	var m web.Message
	if err := conn.ReadJSON(&m); err != nil {
		t.Fatal(err)
	}
	if m.Hello == nil || m.Hello.Backend != "sim" || !strings.Contains(m.Hello.Reason+m.Hello.Fix, "max_user_namespaces") {
		t.Errorf("hello %+v, want the simulator, and why", m.Hello)
	}
	for end := time.Now().Add(time.Minute); !strings.Contains(s.output(), "vethlab doctor"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("serve does not say what is missing: %q", s.output())
		}
	}
	if n := strings.Count(s.output(), "cannot run here"); n != 1 {
		t.Errorf("said %d times that the kernel backend cannot run, want once: %s", n, s.output())
	}
}
