package exec

import (
	"bytes"
	"fmt"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// A command of Docker's is a dozen changes of rules. An execution of iptables
// for each costs 1.2 ms, and ten times that where it takes a rule away: the
// kernel lets the socket go only after a grace period. So a change that soon
// follows another goes to an iptables-restore --noflush that stays, one
// transaction each, in 0.3 ms:
//
//	iptables -A …       (go-iptables)
//	iptables -D …  ──▶  *filter ⏎ -D … ⏎ COMMIT ⏎  ──▶ iptables-restore, until some other operation comes
//	iptables -I …  ──▶  *nat ⏎ -I … ⏎ COMMIT ⏎     ──▶
//
// It is iptables' own code that makes the rule, and each change is done before
// the next begins. One that fails ends iptables-restore with nothing changed;
// then iptables does it again, for its own words and status.
//
// What a rule held on to, such as the tracking of connections, the kernel lets go
// after a grace period, for which iptables waits when it ends
// (nf_tables_trans_destroy_flush_work, net/netfilter/nf_tables_api.c). Whatever
// may send a packet waits for the end of iptables-restore.

// restorer is a node's iptables-restore.
type restorer struct {
	mu     sync.Mutex
	last   time.Time // when a rule was changed last
	proc   *process
	stdin  *os.File
	took   bool     // it took something away
	ending *process // one that did so, and was told to end
	cannot bool     // the kernel does not tell when it is done
}

// soon is how soon a change must follow another to go this way; idle is when
// no more are expected. patience is for an iptables-restore that somebody keeps
// from its work: a learner's program may have stopped it (SIGSTOP).
const soon, idle, patience = 300 * time.Millisecond, time.Second, 2 * time.Second

// restoreLine is the operation as a line of iptables-restore's input, without
// its table; empty where its words would have to be quoted.
func restoreLine(o op.Op) (table, line string) {
	var words []string
	switch o := o.(type) {
	case op.RuleAppend:
		table, words = o.Table, append([]string{"-A", o.Chain}, o.Spec...)
	case op.RuleInsert:
		table, words = o.Table, append([]string{"-I", o.Chain, strconv.Itoa(max(1, o.Pos))}, o.Spec...)
	case op.RuleDelete:
		table, words = o.Table, append([]string{"-D", o.Chain}, o.Spec...)
	case op.RuleDeleteAt:
		table, words = o.Table, []string{"-D", o.Chain, strconv.Itoa(o.Pos)}
	case op.ChainNew:
		table, words = o.Table, []string{"-N", o.Chain}
	case op.ChainDel:
		table, words = o.Table, []string{"-X", o.Chain}
	case op.PolicySet:
		table, words = o.Table, []string{"-P", o.Chain, o.Policy}
	}
	for _, w := range words {
		if w == "" || w == "-t" || strings.HasPrefix(w, "--t") || strings.ContainsFunc(w, func(r rune) bool {
			return r <= ' ' || r > '~' || strings.ContainsRune("\"'\\#`$;[]", r)
		}) {
			return "", ""
		}
	}
	if len(words) == 0 {
		return "", ""
	}
	return tableName(table), strings.Join(words, " ")
}

// change makes a change of rules, if it soon follows another. It reports whether
// it did; then the change succeeded.
func (in *inside) change(n *node, o op.Op) bool {
	r := &n.restorer
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.last
	r.last = time.Now()
	table, line := restoreLine(o)
	// A process of ours would keep a container's namespace.
	if n.kind != state.Machine || r.cannot || line == "" || r.last.Sub(before) > soon || in.iptables.variant() != "nf_tables" {
		return false
	}
	gen := n.rules.now(int(n.ns.Fd()))
	if gen == 0 {
		return false
	}
	if r.proc == nil && r.start(in, n) != nil {
		return false
	}
	p := r.proc
	if _, err := fmt.Fprintf(r.stdin, "*%s\n%s\nCOMMIT\n", table, line); err != nil {
		r.stop()
		return false
	}
	// That it reads again is told by nobody: it is looked at until it does.
	for began := time.Now(); ; time.Sleep(50 * time.Microsecond) {
		select {
		case <-p.done: // it failed
			r.stop()
			return false
		default:
		}
		waits, err := awaitsInput(p.cmd.Process.Pid, r.stdin)
		switch {
		case waits && n.rules.now(int(n.ns.Fd())) != gen:
			r.last, r.took = time.Now(), r.took || takes(o)
			time.AfterFunc(idle, func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				if time.Since(r.last) >= idle {
					r.stop()
				}
			})
			return true
		case err != nil, waits && time.Since(began) > 50*time.Millisecond, time.Since(began) > patience:
			// It waits for more before it does anything, or cannot tell that it is done.
			end(p)
			r.cannot = true
			r.stop()
			return n.rules.now(int(n.ns.Fd())) != gen // a change is made whole or not at all
		}
	}
}

// awaitsInput reports whether a process has read all of a pipe and waits for
// more on its standard input: what it does with a line it does before it reads
// on (/proc/PID/syscall, proc(5)).
func awaitsInput(pid int, pipe *os.File) (bool, error) {
	if unread, err := unix.IoctlGetInt(int(pipe.Fd()), unix.TIOCINQ); err != nil || unread > 0 {
		return false, err
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	if os.IsNotExist(err) || err == syscall.ESRCH { // it has just ended, or this kernel does not tell
		if _, there := os.Stat(fmt.Sprintf("/proc/%d/stat", pid)); there != nil {
			return false, nil
		}
	}
	return bytes.HasPrefix(b, fmt.Appendf(nil, "%d 0x0 ", unix.SYS_READ)), err
}

func (r *restorer) start(in *inside, n *node) error {
	path, err := osexec.LookPath("iptables-restore")
	if err != nil {
		return err
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := &osexec.Cmd{Path: path, Args: []string{"iptables-restore", "--noflush"}, Env: toolEnv(), Stdin: theirs, SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	if err := n.enter(func() error { return in.start(cmd) }); err != nil {
		ours.Close()
		return err
	}
	p := &process{cmd: cmd, node: n.name, argv: cmd.Args, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // that it failed is enough to know
		in.waited(cmd)
		close(p.done)
	}()
	r.proc, r.stdin = p, ours
	return nil
}

// stop lets iptables-restore end.
func (r *restorer) stop() {
	if r.proc == nil {
		return
	}
	r.stdin.Close()
	if r.took {
		r.ending = r.proc
	}
	r.proc, r.stdin, r.took = nil, nil, false
}

// rest ends it before something is done that could see it, and waits until what
// it took away is gone.
func (r *restorer) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop()
	if r.ending != nil {
		select {
		case <-r.ending.done:
		case <-time.After(patience):
			end(r.ending)
		}
		r.ending = nil
	}
}

// end ends a process at once, and waits until it has.
func end(p *process) {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// takes reports whether an operation takes something away.
func takes(o op.Op) bool {
	switch o.(type) {
	case op.RuleDelete, op.RuleDeleteAt, op.ChainDel:
		return true
	}
	return false
}
