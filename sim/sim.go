// Package sim is a model of Linux networking in one process: what a packet will
// do, and why, without a kernel.
//
// A World holds nodes (network namespaces) with their links, addresses, routes,
// rules, neighbours, connections and sockets. Operations change it or send
// traffic; everything happens on a clock of its own, so that a second of waiting
// costs nothing and the same operations always come to the same end.
//
// The path of an IPv4 packet, the same for every node. Each box is a function
// that carries the name of the kernel's; each file of this package is one
// subject of it:
//
//	   frame arrives                                                              frame leaves
//	        │ netifRx (engine.go)                                                        ▲ devXmit (dev.go)
//	        ▼                                                                            │
//	┌── receive ──┐   port of a bridge?   ┌───────────────────────────┐         ┌────────┴────────┐
//	│ (dev.go)    ├──────────────────────▶│ brHandleFrame (bridge.go) ├────────▶│ other ports     │
//	└──────┬──────┘                       └─────────────┬─────────────┘         └─────────────────┘
//	       │ ARP: arpRcv (arp.go)                       │ for the bridge itself
//	       ▼                                            ▼
//	┌─ ipRcv (ip_input.go) ───────────────────────────────────────────┐                  ▲
//	│ PREROUTING  raw −300 · conntrack −200 · mangle −150 · DNAT −100 │                  │ neighSend (neigh.go)
//	└──────┬──────────────────────────────────────────────────────────┘                  │
//	       ▼                                                                  ┌──────────┴──────────────────┐
//	routeInput (route.go) ── not for us ─▶ ipForward (ip_forward.go)          │ ipOutput (ip_output.go)     │
//	       │ for us                        FORWARD  mangle −150 · filter 0 ──▶│ POSTROUTING  mangle −150 ·  │
//	       ▼                                                                  │ SNAT 100 · confirm ∞        │
//	ipLocalDeliver (ip_input.go)           OUTPUT  raw −300 · conntrack −200  └──────────▲──────────────────┘
//	INPUT  mangle · filter · SNAT 100      · mangle −150 · DNAT −100 · filter 0          │
//	       ▼                                        ▲                                    │
//	localDeliver (deliver.go): sockets ──▶ routeOutput (route.go), ipLocalOut (ip_output.go)
//
// The numbers are the priorities of enum nf_ip_hook_priorities
// (include/uapi/linux/netfilter_ipv4.h); the order at each hook follows from
// them alone.
package sim

import (
	"context"
	"fmt"
	"math/rand/v2"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// World is a simulated lab. It is not safe for use by several goroutines.
type World struct {
	hostsDir func(machine, dir string) string // see Options

	nodes  []*Netns // in the order they were made
	byName map[string]*Netns

	engine
	rec   recorder
	drops int // frames that a driver dropped and told its sender of (NET_XMIT_DROP)
	// unrouted says why the last packet had no way that netfilter gave another
	// destination (NF_DROP_ERR).
	unrouted int
	random   *rand.Rand
	links    int    // of all nodes
	inode    uint64 // of the namespace made last
	pid      int    // of the process started last

	lastEchoID uint16 // the identifier that a ping was given last; 0 before the first

	spawned int // processes started by op.Spawn
}

// Options are what a World does not choose itself.
type Options struct {
	Seed  uint64 // of all its randomness: MAC addresses, ports, sequence numbers
	Start int64  // its clock's beginning, nanoseconds since 1970
	// HostsDir returns the text of all files in a directory of a machine, which
	// op.DNSServe.HostsDir names; nil where there are no files.
	HostsDir func(machine, dir string) string
}

// New makes a world and furnishes it.
func New(ctx context.Context, spec op.World, o Options) (*World, error) {
	w := empty(o)
	for _, n := range spec.Nodes {
		w.addNode(n.Name, n.Kind, n.Name)
	}
	w.building = true
	defer func() { w.building = false }()
	for i, l := range spec.Setup {
		res, err := w.Apply(ctx, l.Node, l.Op)
		if err != nil {
			return nil, err
		}
		if res.Status != 0 {
			return nil, fmt.Errorf("world %s, command %d: %s# %s: %s%w", spec.Name, i+1, l.Node, l.Op, res.Stderr, failure(res.Failure))
		}
	}
	return w, nil
}

func empty(o Options) *World {
	w := &World{byName: map[string]*Netns{}, random: rand.New(rand.NewPCG(o.Seed, 0)), inode: 4026532000, pid: 100}
	w.now, w.hostsDir = o.Start, o.HostsDir
	return w
}

// failure keeps a nil *op.Failure from becoming an error that is not nil.
func failure(f *op.Failure) error {
	if f == nil {
		return nil
	}
	return f
}

// Apply does an operation in a node. The result's journeys are those of all
// packets that moved meanwhile. It returns an error only when ctx has ended.
func (w *World) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	return w.Do(ctx, node, func(n *Netns) op.Result { return w.do(n, o) })
}

// Do is Apply for what a program in the node does: fn may start processes and
// wait for them.
func (w *World) Do(ctx context.Context, node string, fn func(*Netns) op.Result) (op.Result, error) {
	if err := ctx.Err(); err != nil {
		return op.Result{}, err
	}
	n := w.Named(node)
	if n == nil {
		_, name := op.SplitAt(node)
		return refused(&op.Failure{What: op.NoNetns, Name: name, Errno: enoent}), nil
	}
	w.rec.begin()
	w.ctx = ctx
	res := fn(n)
	w.settle()
	w.ctx = nil
	if !w.building {
		res.Traces = w.rec.traces()
	}
	return res, ctx.Err()
}

// refused is the result of an operation that the kernel refuses; sim/cmdline
// puts it in the tool's words. A nil failure is success.
func refused(f *op.Failure) op.Result {
	if f == nil {
		return op.Result{}
	}
	return op.Result{Status: 1, Failure: f}
}

// NotSimulated is the result of what the model does not know: it says so, and
// nothing has changed.
func NotSimulated(what string) op.Result {
	return op.Result{Status: 95, Stderr: "not simulated: " + what + "\n"}
}

func (w *World) do(n *Netns, o op.Op) op.Result {
	switch o := o.(type) {
	case op.NetnsAdd:
		return refused(n.NetnsAdd(o.Name))
	case op.NetnsDel:
		return refused(n.NetnsDel(o.Name))
	case op.LinkAdd:
		return refused(n.LinkAdd(o))
	case op.LinkDel:
		return refused(n.LinkDel(o.Name))
	case op.LinkSet:
		return refused(n.LinkSet(o))
	case op.AddrAdd:
		return refused(n.AddrAdd(o))
	case op.AddrDel:
		return refused(n.AddrDel(o))
	case op.AddrFlush:
		return refused(n.AddrFlush(o.Dev))
	case op.RouteAdd:
		return refused(n.RouteAdd(o.Route))
	case op.RouteReplace:
		return refused(n.RouteReplace(o.Route))
	case op.RouteDel:
		return refused(n.RouteDel(o.Route))
	case op.NeighFlush:
		return refused(n.NeighFlush(o.Dev))
	case op.SysctlSet:
		return refused(n.SysctlSet(o.Key, o.Value))
	case op.RuleAppend:
		return n.RuleAppend(o)
	case op.RuleInsert:
		return n.RuleInsert(o)
	case op.RuleDelete:
		return n.RuleDelete(o)
	case op.RuleDeleteAt:
		return n.RuleDeleteAt(o)
	case op.RuleCheck:
		return n.RuleCheck(o)
	case op.ChainNew:
		return n.ChainNew(o)
	case op.ChainDel:
		return n.ChainDel(o)
	case op.ChainFlush:
		return n.ChainFlush(o)
	case op.ChainZero:
		return n.ChainZero(o)
	case op.PolicySet:
		return n.PolicySet(o)
	case op.Ping:
		return w.ping(n, o)
	case op.HTTPGet:
		return w.httpGet(n, o)
	case op.HTTPServe:
		return w.httpServe(n, o)
	case op.DNSServe:
		return w.dnsServe(n, o)
	case op.ProcKill:
		return w.procKill(n, o.Name)
	case op.Sleep:
		w.sleep(o.Duration)
		return op.Result{}
	case op.Spawn:
		return n.Spawn(o)
	case op.Tool:
		if len(o.Argv) > 0 {
			return NotSimulated(o.Argv[0])
		}
	}
	return NotSimulated(o.String())
}

// Snapshot returns the whole state. A world made from it goes on as this one
// would.
func (w *World) Snapshot(context.Context) (*state.Snapshot, error) { return w.snapshot(), nil }

// Close ends the world. It holds nothing that would have to be given back.
func (w *World) Close() error { return nil }

// Node returns the node of that name, or nil.
func (w *World) Node(name string) *Netns { return w.byName[name] }

// Nodes returns all nodes in the order they were made.
func (w *World) Nodes() []*Netns { return w.nodes }
