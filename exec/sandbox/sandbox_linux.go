package sandbox

import (
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix" // the system calls the standard library leaves out; BSD-3
)

// Roles a re-executed process can take: what to run instead of main.
var roles = map[string]func(){}

// Register names a role. Call it from an init function, or before Main.
func Register(role string, run func()) { roles[role] = run }

// Main runs the role this process was re-executed for and then exits; in any
// other process it returns at once. Call it first in main, and in TestMain.
func Main() {
	role := os.Getenv(roleVar)
	if role == "" {
		return
	}
	run, ok := roles[role]
	if !ok {
		fmt.Fprintf(os.Stderr, "vethlab: unknown role %q\n", role)
		os.Exit(2)
	}
	os.Unsetenv(roleVar)
	run()
	os.Exit(0)
}

// Self returns a command that runs this program again in the given role, seen
// in ps under the name args.
func Self(role string, args ...string) *osexec.Cmd {
	return &osexec.Cmd{Path: "/proc/self/exe", Args: args, Env: []string{
		roleVar + "=" + role, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LANG=C.UTF-8", "TERM=dumb",
		"GOMAXPROCS=2", // the lab shares the machine with others
	}}
}

// Process is a running sandbox, seen from outside.
type Process struct {
	Conn net.Conn // the socket pair; the sandbox ends when it is closed
	Pid  int
	cmd  *osexec.Cmd
	done chan struct{}
	err  error
	said words
}

// roleInit is what a sandbox's first process is re-executed as: it furnishes the
// sandbox, gives up what no lesson needs, and then execs itself once more, so
// that every thread of what follows is under the same restrictions.
const roleInit = "sandbox"

// Variables that tell roleInit how.
const (
	thenVar     = "VETHLAB_THEN"
	iptablesVar = "VETHLAB_IPTABLES"
)

func init() { Register(roleInit, runInit) }

func runInit() {
	runtime.LockOSThread()
	then := os.Getenv(thenVar)
	closeOnExec(Control + 1) // what whoever started the server left open
	err := makeRoot(os.Getenv(iptablesVar))
	if err == nil {
		err = harden()
	}
	if err == nil {
		cmd := Self(then)
		if _, e := os.Stat(program); e == nil {
			cmd.Path = program
		}
		err = unix.Exec(cmd.Path, os.Args, cmd.Env)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// closeOnExec has the file descriptors from first on closed by the next exec.
func closeOnExec(first int) {
	if unix.CloseRange(uint(first), ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	const most = 1 << 16
	for fd := first; fd < most; fd++ { // before Linux 5.11
		unix.CloseOnExec(fd)
	}
}

// OpenControl returns the init's end of the socket pair. No program that the
// init starts has it: who has speaks to the server in the init's name.
func OpenControl() *os.File {
	unix.CloseOnExec(Control)
	return os.NewFile(Control, "control")
}

// Start makes a sandbox whose init runs the given role. iptables chooses the
// form of iptables in it, "nft" or "legacy"; empty leaves the machine's choice.
//
// The errors a machine can give here are EPERM (user namespaces are forbidden:
// AppArmor, seccomp, kernel.unprivileged_userns_clone), ENOSPC
// (user.max_user_namespaces is used up) and EINVAL (the kernel has none).
func Start(role, iptables string) (*Process, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "lab"), os.NewFile(uintptr(pair[1]), "lab")
	defer theirs.Close()
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	p := &Process{Conn: conn, done: make(chan struct{})}
	cmd := Self(roleInit, "vethlab-lab")
	cmd.Env = append(cmd.Env, thenVar+"="+role, iptablesVar+"="+iptables)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = &p.said
	cmd.SysProcAttr = Namespaces()
	if err := spawn(cmd); err != nil {
		conn.Close()
		return nil, fmt.Errorf("new namespaces: %w", err)
	}
	p.Pid, p.cmd = cmd.Process.Pid, cmd
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

var uids atomic.Uint32 // how many sandboxes there were

// Namespaces returns the attributes of a process that begins in six
// namespaces of its own and is root there.
//
// A cgroup namespace is not among them: its root may mount the control groups,
// and where the server's own belongs to the user who serves (systemd --user) it
// could freeze or kill the server, and leave directories behind.
//
// When root serves, each sandbox is a uid of its own, and has no other: limits
// that the kernel counts by uid are then one lab's, too.
//
// The network namespace made here is nobody's: it exists before the uid map is
// written, so that /proc/net in it belongs to the machine's root. Nodes are
// made later, from inside.
func Namespaces() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Setsid:     true, // no terminal of the machine's to write into (TIOCSTI)
		Pdeathsig:  syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: os.Getuid() != 0},
	}
	if os.Getuid() == 0 {
		uid := FirstUID + int(uids.Add(1)-1)%UIDs
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappingsEnableSetgroups = true
	} else {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// spawn starts cmd from a thread that lives as long as this process:
// PR_SET_PDEATHSIG fires when the thread that forked dies, not the process
// (prctl(2)), and Go may end a thread at any time.
func spawn(cmd *osexec.Cmd) error {
	spawner.Do(func() {
		go func() {
			runtime.LockOSThread()
			for job := range spawns {
				job.err <- job.cmd.Start()
			}
		}()
	})
	job := spawnJob{cmd, make(chan error)}
	spawns <- job
	return <-job.err
}

type spawnJob struct {
	cmd *osexec.Cmd
	err chan error
}

var (
	spawner sync.Once
	spawns  = make(chan spawnJob)
)

// Done is closed when the sandbox's init has died.
func (p *Process) Done() <-chan struct{} { return p.done }

// Why says how the init died and what it said last. Call it after Done.
func (p *Process) Why() string {
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	if said := strings.TrimSpace(p.said.String()); said != "" {
		return how + ": " + said
	}
	return how
}

// Kill ends the sandbox with everything in it. It does not wait for the kernel
// to take the namespaces back, which it does by itself in the background.
func (p *Process) Kill() {
	p.Conn.Close()
	_ = p.cmd.Process.Kill() // os.ErrProcessDone: it has died already, and Pid may be another's now
	<-p.done
}

// words keeps what a sandbox's init wrote to its standard error: the beginning,
// where a crash says why, and the end.
type words struct {
	mu          sync.Mutex
	first, last []byte
}

const wordsKept = 2048 // bytes at either end

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(b), wordsKept-len(w.first))
	w.first = append(w.first, b[:n]...)
	w.last = append(w.last, b[n:]...)
	if cut := len(w.last) - wordsKept; cut > 0 {
		w.last = append(w.last[:0], w.last[cut:]...)
	}
	return len(b), nil
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.last) == wordsKept {
		return string(w.first) + "\n…\n" + string(w.last)
	}
	return string(w.first) + string(w.last)
}
