package exec

import (
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"vethlab/exec/sandbox"
)

// A tool sees its machine: the machine's /run, the /sys of its network
// namespace, the files of its container, a hostname. That view is made once for
// each node, in a mount and a uts namespace, and a tool begins in copies of them:
//
//	view of host ── copied (clone) ──▶ ip addr         each copy ends with its tool,
//	             └─ copied ──────────▶ sh -c 'mount …' whatever that mounted in it
//
// The tool is started from a thread of this process that has entered the view,
// so that no program of ours runs between. Until it is the tool it holds what
// this process holds, CAP_SYS_PTRACE among it, and so no other tool can touch
// it (ShieldInit); the view itself is open to none of them: the way to it leads
// through /proc/1, which they may not look into.
type view struct{ mnt, uts *os.File }

func (v *view) close() {
	if v != nil {
		v.mnt.Close()
		v.uts.Close()
	}
}

// threads are the namespaces of this process's threads.
const threadMnt, threadUts = "/proc/thread-self/ns/mnt", "/proc/thread-self/ns/uts"

// starter is a thread that goes into views: it shares no root and no working
// directory with the others (unshare(CLONE_FS), setns(2)). It begins with the
// first job.
type starter struct {
	once sync.Once
	jobs chan starterJob
}

type starterJob struct {
	ns   *os.File
	view *view
	fn   func() error
	err  chan error
}

// do runs fn in the thread, in a network namespace and in a view; without a
// view, in mount and uts namespaces that are new.
func (s *starter) do(ns *os.File, v *view, fn func() error) error {
	s.once.Do(func() {
		s.jobs = make(chan starterJob)
		go s.run()
	})
	job := starterJob{ns, v, fn, make(chan error, 1)}
	s.jobs <- job
	return <-job.err
}

func (s *starter) run() {
	runtime.LockOSThread()
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "vethlab:", err) // without this thread the lab is of no use
		os.Exit(1)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		fail(fmt.Errorf("unshare: %w", err))
	}
	home, err := openView()
	if err != nil {
		fail(err)
	}
	for job := range s.jobs {
		err := job.enter()
		if err == nil {
			err = job.fn()
		}
		// Back at once: a thread in a namespace keeps it alive.
		if back := errors.Join(home.enter(), unix.Setns(int(limbo.Fd()), unix.CLONE_NEWNET)); back != nil {
			fail(fmt.Errorf("leave a view: %w", back))
		}
		job.err <- err
	}
}

func (j starterJob) enter() (err error) {
	if j.view == nil {
		err = unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS)
	} else {
		err = j.view.enter()
	}
	if err != nil {
		return fmt.Errorf("enter a view: %w", err)
	}
	if err := unix.Setns(int(j.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	return nil
}

func (v *view) enter() error {
	if err := unix.Setns(int(v.mnt.Fd()), unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.Setns(int(v.uts.Fd()), unix.CLONE_NEWUTS)
}

// openView opens what the calling thread sees.
func openView() (*view, error) {
	mnt, err := os.Open(threadMnt)
	if err != nil {
		return nil, err
	}
	uts, err := os.Open(threadUts)
	if err != nil {
		mnt.Close()
		return nil, err
	}
	return &view{mnt, uts}, nil
}

// newView makes the view of those who are in the network namespace ns on a
// machine, with files bound over (bindFiles).
func (s *starter) newView(ns *os.File, machine, hostname string, files map[string]string) (v *view, err error) {
	err = s.do(ns, nil, func() error {
		if err := sandbox.EnterMachine(machine, hostname); err != nil {
			return err
		}
		if err := bindFiles(files); err != nil {
			return err
		}
		v, err = openView()
		return err
	})
	return v, err
}

// viewOf returns the view of a node's tools.
func (in *inside) viewOf(n *node) (*view, error) {
	n.viewing.Lock()
	defer n.viewing.Unlock()
	if n.view == nil {
		v, err := in.starter.newView(n.ns, n.machine, n.hostName(), n.files)
		if err != nil {
			return nil, err
		}
		n.view = v
	}
	return n.view, nil
}

// startIn starts a command that sees a view, in a copy of it.
func (in *inside) startIn(ns *os.File, v *view, cmd *osexec.Cmd, start func() error) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS, Setpgid: true}
	err := in.starter.do(ns, v, start)
	if err == nil {
		sandbox.LimitTool(cmd.Process.Pid)
	}
	return err
}
