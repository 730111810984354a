// Package tools is the userland of a simulated lab: what ip, bridge, brctl,
// ifconfig, route, arp, iptables, sysctl and the others print, and what they ask
// of the kernel, which is a sim.World.
//
//	op.Op ──Lab.Apply──┬─ op.Tool ──▶ the program of that name in this package ──▶ methods of sim.World
//	                   └─ any other ───────────────────────────────────────────▶ World.Apply
//
// A program reads its words as the real one does, and prints what the real one
// prints, errors included; texts and exit statuses are those of Debian 12
// (iproute2 6.1, bridge-utils 1.7, net-tools 2.10, iptables 1.8.9, procps 4.0,
// util-linux 2.38). What it does not know it refuses by name with status 95: it
// never pretends.
package tools

import (
	"context"
	"path"
	"strings"
	"sync"

	"vethlab/sim"
	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// Lab is a simulated lab: a World and the programs its machines have.
// Operations are done one at a time, but for tools in the background; any
// goroutine may ask for them.
type Lab struct {
	mu     sync.Mutex // the world's
	world  *sim.World
	files  files
	closed context.Context // ends with Close: the life of what runs in the background
	close  context.CancelFunc

	watchMu sync.Mutex
	watch   []func(op.Event)
	seen    uint64 // sightings told so far
}

// Open makes a lab with the given world, furnished and ready.
func Open(ctx context.Context, w op.World) (*Lab, error) {
	l := newLab()
	var err error
	if l.world, err = sim.New(ctx, w, sim.Options{Start: start, HostsDir: l.textsIn}); err != nil {
		return nil, err
	}
	return l, nil
}

// FromSnapshot makes a lab that goes on from a snapshot, whichever backend it
// was taken from.
func FromSnapshot(s *state.Snapshot) (*Lab, error) {
	l := newLab()
	var err error
	if l.world, err = sim.FromSnapshot(s, sim.Options{Start: start, HostsDir: l.textsIn}); err != nil {
		return nil, err
	}
	return l, nil
}

// start is when a simulated lab's clock begins: 2026-01-01 00:00 UTC, in
// nanoseconds since 1970.
const start = 1_767_225_600 * 1_000_000_000

func newLab() *Lab {
	l := &Lab{}
	l.closed, l.close = context.WithCancel(context.Background())
	return l
}

// Apply does an operation in a node. See lessons.Backend.
func (l *Lab) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	t, ok := o.(op.Tool)
	if !ok || !t.Background {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	var res op.Result
	var err error
	if n := l.world.Named(node); n != nil {
		node = n.Name()
	} else {
		_, node = op.SplitAt(node)
	}
	if ok {
		res, err = l.run(ctx, node, t)
	} else if f, is := o.(op.FileWrite); is {
		res = (&call{ctx: ctx, lab: l, node: node}).put(f)
	} else if s, is := o.(op.Spawn); is && l.world.Node(node) != nil {
		if res = (&call{ctx: ctx, lab: l, node: node}).lacking(s); res.Status == 0 {
			res, err = l.world.Apply(ctx, node, o)
		}
	} else if unknown, is := (&call{ctx: ctx, lab: l, node: node}).unmodelledSetting(o); is && l.world.Node(node) != nil {
		res = unknown
	} else {
		if _, ok := o.(op.HTTPGet); ok && l.world.Node(node) != nil {
			(&call{ctx: ctx, lab: l, node: node}).resolver()
		}
		res, err = l.world.Apply(ctx, node, o)
	}
	if !ok || !t.Background {
		l.tell(res, op.Probe(o))
	}
	return res, err
}

// Snapshot returns the state of all nodes.
func (l *Lab) Snapshot(ctx context.Context) (*state.Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.world.Snapshot(ctx)
}

// Close ends the lab, and what runs in its background.
func (l *Lab) Close() error {
	l.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.world.Close()
}

// call is one run of a program.
type call struct {
	ctx        context.Context
	lab        *Lab
	node       string
	argv       []string // argv[0] is the program
	stdin      string
	background bool   // the lab's lock is not held: see (*call).locked
	started    func() // see op.Tool
	limit      *limit // of timeout(1), when that runs it
	outside    bool   // the files are the machine's, not the node's own

	out, err strings.Builder // stdout and stderr

	kept   *state.Node   // see state
	traces []trace.Trace // journeys of what the program sent: see apply
}

// program answers a command line. What it prints and its exit status are in
// the result; a Failure only where sim/cmdline words it.
type program func(c *call) op.Result

// programs are those a lab's machines have. Each file registers its own.
var programs = map[string]program{}

// unmodelled are programs that the kernel lab's machines have too, and that a
// simulated lab has only by name.
var unmodelled = map[string]bool{}

func init() {
	for _, name := range []string{"tc", "nft", "ethtool", "lsns", "unshare", "setpriv", "tracepath", "iptables-legacy", "iptables-nft",
		"iptables-translate", "ip6tables", "ip6tables-save", "ip6tables-restore", "arptables", "ebtables", "xtables-monitor", "rtmon", "rtacct",
		"nstat", "lnstat", "mii-tool", "nameif", "netstat", "iptunnel", "ipmaddr", "rarp", "slattach", "plipconfig", "wget", "nmap", "socat",
		"ps", "pgrep", "kill", "top", "free", "uptime", "w", "watch", "vmstat", "bash", "sh", "dash", "python3", "perl", "awk", "mawk", "sed", "grep",
		"egrep", "fgrep", "find", "xargs", "sort", "uniq", "wc", "head", "tail", "cut", "tr", "tee", "od", "diff", "cmp", "date", "uname",
		"whoami", "mount", "umount", "dmesg", "df", "du", "mkdir", "rmdir", "rm", "mv", "cp", "ln", "touch", "chmod", "chown", "dd", "seq",
		"stat", "install", "link", "unlink", "mktemp", "basename", "dirname", "getent", "timeout", "nohup", "nice", "printenv", "tty", "stty", "sync"} {
		unmodelled[name] = true
	}
}

// run runs a program in a node, to its end.
func (l *Lab) run(ctx context.Context, node string, t op.Tool) (op.Result, error) {
	if err := ctx.Err(); err != nil {
		return op.Result{}, err
	}
	c := &call{ctx: ctx, lab: l, node: node, argv: t.Argv, stdin: t.Stdin, background: t.Background, started: t.Started}
	exists := false
	c.locked(func() { exists = l.world.Node(node) != nil })
	if !exists {
		return op.Result{Status: 1, Failure: &op.Failure{What: op.NoNetns, Name: node, Errno: enoent}}, nil
	}
	res := c.exec()
	res.Traces = append(res.Traces, c.traces...)
	return res, ctx.Err()
}

// exec runs the program that argv names.
func (c *call) exec() (r op.Result) {
	defer c.caught(&r)
	if len(c.argv) == 0 {
		return op.Result{}
	}
	name := c.argv[0]
	if dir, base := path.Split(name); dir == "/bin/" || dir == "/sbin/" || dir == "/usr/bin/" || dir == "/usr/sbin/" {
		name = base
	}
	if p := programs[name]; p != nil {
		return p(c)
	}
	if unmodelled[name] {
		return sim.NotSimulated(name)
	}
	return op.Result{Status: 127, Failure: &op.Failure{What: op.NoTool, Name: c.argv[0]}}
}

// command does the command line that argv is, as a shell in the node would:
// what sim/cmdline has an operation for is one.
func (c *call) command() op.Result {
	cmd, err := cmdline.Parse(c.argv)
	if u, ok := err.(*cmdline.UsageError); ok {
		return op.Result{Stderr: u.Stderr, Status: u.Status}
	}
	if cmd.Node != "" {
		if n := c.named(cmd.Node); n != "" {
			c.node = n
		} else {
			c.node = cmd.Node
		}
	}
	if _, ok := cmd.Op.(op.Tool); !ok {
		return cmd.Finish(c.apply(c.node, cmd.Op))
	}
	c.argv = cmd.Argv()
	return c.exec()
}

// locked calls fn while nothing else uses the world.
func (c *call) locked(fn func()) {
	if c.background {
		c.lab.mu.Lock()
		defer c.lab.mu.Unlock()
	}
	fn()
}

// state is the node as it was when the program first asked.
func (c *call) state() *state.Node {
	if c.kept == nil {
		c.kept = &state.Node{Name: c.node}
		c.locked(func() {
			if n := c.lab.world.Node(c.node); n != nil {
				*c.kept = n.State()
			}
		})
	}
	return c.kept
}

// apply does an operation on behalf of the program, in a node. Its journeys
// become the program's.
func (c *call) apply(node string, o op.Op) (res op.Result) {
	c.kept = nil
	c.locked(func() { res, _ = c.lab.world.Apply(c.ctx, node, o) }) // ends with ctx, which run reports
	c.traces = append(c.traces, res.Traces...)
	res.Traces = nil
	return res
}

const (
	enoent = 2
	einval = 22
)
