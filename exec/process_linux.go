package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vethlab/exec/sandbox"
	"vethlab/sim/op"
)

// nodeVar tells a re-executed process where it is.
const nodeVar = "VETHLAB_NODE"

// process is a background process of a node: a built-in server.
type process struct {
	cmd  *osexec.Cmd
	node string
	argv []string
	done chan struct{}
}

// outputLimit bounds what is kept of what a command prints, in bytes.
const outputLimit = 1 << 20

// run runs one of the machine's tools in a node, to its end or the context's.
func (in *inside) run(ctx context.Context, n *node, argv []string, stdin string) (op.Result, error) {
	if len(argv) == 0 {
		return op.Result{}, nil
	}
	path, err := osexec.LookPath(argv[0])
	if err != nil {
		return failed(&op.Failure{What: op.NoTool, Name: argv[0]}), nil
	}
	v, err := in.viewOf(n)
	if err != nil {
		return op.Result{}, err
	}
	cmd := &osexec.Cmd{Path: path, Args: argv, Env: toolEnv()}
	return in.finish(ctx, n, cmd, stdin, func() error {
		return in.startIn(n.ns, v, cmd, func() error { return in.start(cmd) })
	})
}

// toolEnv is the environment that the machine's tools begin with.
func toolEnv() []string { return sandbox.Self("").Env[1:] }

// probe runs ping, curl or iptables with arguments of our own making. They need
// the node's network and nothing of its machine, so they start without what run
// does before a tool, which costs more than the tool.
func (in *inside) probe(ctx context.Context, n *node, argv []string) (op.Result, error) {
	path, err := osexec.LookPath(argv[0])
	if err != nil {
		return failed(&op.Failure{What: op.NoTool, Name: argv[0]}), nil
	}
	cmd := &osexec.Cmd{Path: path, Args: argv, Env: toolEnv(), SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	return in.finish(ctx, n, cmd, "", func() error { return n.enter(func() error { return in.start(cmd) }) })
}

// finish has a prepared command started and waits for its end or the context's.
func (in *inside) finish(ctx context.Context, n *node, cmd *osexec.Cmd, stdin string, start func() error) (op.Result, error) {
	cmd.Stdin = strings.NewReader(stdin)
	out, errs := &capped{}, &capped{}
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.WaitDelay = 200 * time.Millisecond // a child left behind may hold the pipes open
	err := start()
	if refused, ok := errors.AsType[*os.PathError](err); ok && refused.Path == cmd.Path { // it cannot be exec'ed
		return op.Result{Status: 126, Stderr: fmt.Sprintf("vethlab: %s: %v\n", cmd.Args[0], refused.Err)}, nil
	}
	if err != nil {
		return op.Result{}, fmt.Errorf("start %s: %w", cmd.Args[0], err)
	}
	in.mu.Lock()
	in.tools[cmd.Process.Pid] = &process{cmd: cmd, node: n.name, argv: cmd.Args}
	in.mu.Unlock()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGINT) // as Ctrl-C does: ping and tcpdump sum up
		select {
		case <-ended:
		case <-time.After(300 * time.Millisecond):
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		}
	})
	_ = cmd.Wait() // how it ended is in ProcessState
	close(ended)
	stop()
	in.waited(cmd)
	res := op.Result{Output: out.String(), Stderr: errs.String(), Status: cmd.ProcessState.ExitCode()}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		res.Status = 128 + int(ws.Signal()) // as a shell says it
	}
	if ctx.Err() != nil {
		res.Stderr += "interrupted\n"
		res.Status = 130
	}
	return res, nil
}

// capped keeps the first part of what a command prints. Then it breaks the
// pipe, and SIGPIPE ends what would print for ever.
type capped struct {
	kept bytes.Buffer // not embedded: its ReadFrom would take all there is
	cut  bool
}

var errCut = errors.New("more than is kept")

func (c *capped) Write(b []byte) (int, error) {
	if room := outputLimit - c.kept.Len(); room < len(b) {
		c.cut = true
		c.kept.Write(b[:max(0, room)])
		return 0, errCut
	}
	return c.kept.Write(b)
}

func (c *capped) String() string {
	if c.cut {
		return c.kept.String() + fmt.Sprintf("\n… the rest is left out, after %d bytes\n", outputLimit)
	}
	return c.kept.String()
}

// children is held for reading while a child starts or, when nothing else
// remembers it, lives; see reap.
var children sync.RWMutex

// crowded reports whether the lab has so many processes and threads that no more
// are to stay: init, which needs a thread for each that it waits for, would soon
// be refused its own. That would be its end, and the lab's. A tool that comes to
// an end may still be run: to kill some, for instance.
func (in *inside) crowded() bool {
	in.mu.Lock()
	few := len(in.started) < 40
	in.mu.Unlock()
	if few {
		return false
	}
	tasks := 0
	names, err := filepath.Glob("/proc/[0-9]*/task")
	for _, name := range names {
		var st unix.Stat_t
		if unix.Stat(name, &st) == nil {
			tasks += int(st.Nlink) - 2 // a directory for each
		}
	}
	return err == nil && tasks > sandbox.Tasks
}

// start starts a child and remembers that somebody waits for it.
func (in *inside) start(cmd *osexec.Cmd) error {
	children.RLock()
	defer children.RUnlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	for what, most := range map[int]uint64{unix.RLIMIT_NPROC: sandbox.Tasks, unix.RLIMIT_NOFILE: sandbox.Files} {
		_ = unix.Prlimit(cmd.Process.Pid, what, &unix.Rlimit{Cur: most, Max: most}, nil) // it may have ended
	}
	in.mu.Lock()
	in.started[cmd.Process.Pid] = true
	in.mu.Unlock()
	return nil
}

// waited says that a child was waited for.
func (in *inside) waited(cmd *osexec.Cmd) {
	in.mu.Lock()
	delete(in.started, cmd.Process.Pid)
	delete(in.tools, cmd.Process.Pid)
	in.mu.Unlock()
}

// reap waits for the processes that lost their parents: they become children
// of a pid namespace's init (pid_namespaces(7)).
func (in *inside) reap() {
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, unix.SIGCHLD)
	for range sig {
		children.Lock() // no child is between its start and its entry in started
		for _, pid := range strangers(in) {
			reapIfOrphan(pid)
		}
		children.Unlock()
	}
}

// strangers are the sandbox's processes that nobody here waits for.
func strangers(in *inside) (pids []int) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // those that were read
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != 1 && !in.started[pid] {
			pids = append(pids, pid)
		}
	}
	return pids
}

func reapIfOrphan(pid int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return
	}
	// 17 (name) Z 1 …; the name may hold anything (proc_pid_stat(5)).
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return
	}
	var ppid int
	var st byte
	if _, err := fmt.Sscanf(string(b[i+2:]), "%c %d", &st, &ppid); err == nil && st == 'Z' && ppid == 1 {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}

// background starts a built-in server in a node. It returns when the server
// listens, or with what it said when it cannot.
func (in *inside) background(n *node, role string, argv, env []string) (op.Result, error) {
	if in.crowded() {
		return unmade(unix.EAGAIN)
	}
	cmd := sandbox.Self(role, argv...)
	cmd.Env = append(append(cmd.Env, nodeVar+"="+n.name), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe()
	if err != nil {
		return op.Result{}, err
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w}
	err = n.enter(func() error { return in.start(cmd) })
	w.Close()
	if err != nil {
		return unmade(err)
	}
	p := &process{cmd: cmd, node: n.name, argv: argv, done: make(chan struct{})}
	in.attend(n, p)
	said := make([]byte, 512)
	k, _ := r.Read(said) // the end of the pipe without a word means that it died
	if msg := string(said[:k]); msg != "ready" {
		<-p.done
		return op.Result{Status: 1, Stderr: msg}, nil
	}
	in.touch(n)
	return op.Result{}, nil
}

// attend keeps a process that was started among the lab's until it ends.
func (in *inside) attend(n *node, p *process) {
	pid := p.cmd.Process.Pid
	in.mu.Lock()
	in.procs[pid] = p
	in.mu.Unlock()
	go func() {
		_ = p.cmd.Wait() // how it ended matters to nobody
		in.waited(p.cmd)
		in.mu.Lock()
		delete(in.procs, pid)
		in.mu.Unlock()
		close(p.done)
		in.touch(n)
	}()
}

// killWait is how long pkill(1) is given to be heeded, so that the next command
// finds the port free.
const killWait = 2 * time.Second

// kill ends the background processes of a node whose command line holds name.
func (in *inside) kill(n *node, name string) (op.Result, error) {
	in.mu.Lock()
	var victims []*process
	for _, p := range in.procs {
		if p.node == n.name && strings.Contains(strings.Join(p.argv, " "), name) {
			victims = append(victims, p)
		}
	}
	in.mu.Unlock()
	for _, p := range victims {
		if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return op.Result{}, err
		}
		select {
		case <-p.done:
		case <-time.After(killWait): // it does not heed SIGTERM
		}
	}
	if len(victims) == 0 {
		return op.Result{Status: 1}, nil // as pkill(1) says that nothing matched
	}
	return op.Result{}, nil
}
