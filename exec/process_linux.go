package exec

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vethlab/exec/sandbox"
	"vethlab/sim/op"
)

// roleTool is what a process is re-executed as to become a tool: it takes on
// the machine's view, and then execs.
const roleTool = "tool"

// Variables that tell a re-executed process where it is.
const (
	machineVar = "VETHLAB_MACHINE"
	nodeVar    = "VETHLAB_NODE"
)

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
	if _, err := osexec.LookPath(argv[0]); err != nil {
		return failed(&op.Failure{What: op.NoTool, Name: argv[0]}), nil
	}
	cmd := sandbox.Self(roleTool, argv...)
	cmd.Env = append(cmd.Env, machineVar+"="+n.machine, nodeVar+"="+cmp.Or(n.hostname, n.name))
	if len(n.files) > 0 {
		files, err := json.Marshal(n.files)
		if err != nil {
			return op.Result{}, err
		}
		cmd.Env = append(cmd.Env, filesVar+"="+string(files))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS, Setpgid: true}
	return in.finish(ctx, n, cmd, stdin)
}

// probe runs ping, curl or iptables with arguments of our own making. They need
// the node's network and nothing of its machine, so they start without what run
// does before a tool, which costs more than the tool.
func (in *inside) probe(ctx context.Context, n *node, argv []string) (op.Result, error) {
	path, err := osexec.LookPath(argv[0])
	if err != nil {
		return failed(&op.Failure{What: op.NoTool, Name: argv[0]}), nil
	}
	cmd := &osexec.Cmd{Path: path, Args: argv, Env: sandbox.Self("").Env[1:], SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	return in.finish(ctx, n, cmd, "")
}

// finish starts a prepared command in a node and waits for its end or the context's.
func (in *inside) finish(ctx context.Context, n *node, cmd *osexec.Cmd, stdin string) (op.Result, error) {
	cmd.Stdin = strings.NewReader(stdin)
	out, errs := &capped{}, &capped{}
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.WaitDelay = 200 * time.Millisecond // a child left behind may hold the pipes open
	err := n.enter(func() error { return in.start(cmd) })
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

// runTool is the tool's process: in the node's network namespace already, in
// mount and uts namespaces of its own.
func runTool() {
	machine, node := os.Getenv(machineVar), os.Getenv(nodeVar)
	os.Unsetenv(machineVar)
	os.Unsetenv(nodeVar)
	err := sandbox.EnterMachine(machine, node)
	if text := os.Getenv(filesVar); err == nil && text != "" {
		var files map[string]string
		if err = json.Unmarshal([]byte(text), &files); err == nil {
			err = bindFiles(files)
		}
	}
	os.Unsetenv(filesVar)
	if err == nil {
		err = sandbox.LimitTool()
	}
	if err == nil {
		var path string
		if path, err = osexec.LookPath(os.Args[0]); err == nil {
			err = unix.Exec(path, os.Args, os.Environ())
		}
	}
	fmt.Fprintf(os.Stderr, "vethlab: %s: %v\n", os.Args[0], err)
	os.Exit(126)
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

// start starts a child and remembers that somebody waits for it.
func (in *inside) start(cmd *osexec.Cmd) error {
	children.RLock()
	defer children.RUnlock()
	if err := cmd.Start(); err != nil {
		return err
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
		return op.Result{}, err
	}
	p := &process{cmd: cmd, node: n.name, argv: argv, done: make(chan struct{})}
	in.mu.Lock()
	in.procs[cmd.Process.Pid] = p
	in.mu.Unlock()
	go func() {
		_ = cmd.Wait() // how it ended matters to nobody
		in.waited(cmd)
		in.mu.Lock()
		delete(in.procs, cmd.Process.Pid)
		in.mu.Unlock()
		close(p.done)
		in.touch(n)
	}()
	said := make([]byte, 512)
	k, _ := r.Read(said) // the end of the pipe without a word means that it died
	if msg := string(said[:k]); msg != "ready" {
		<-p.done
		return op.Result{Status: 1, Stderr: msg}, nil
	}
	in.touch(n)
	return op.Result{}, nil
}

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
		<-p.done
	}
	if len(victims) == 0 {
		return op.Result{Status: 1}, nil // as pkill(1) says that nothing matched
	}
	return op.Result{}, nil
}
