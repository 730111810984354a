package sim

import (
	"slices"
	"strconv"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Netns is a network namespace (struct net, include/net/net_namespace.h): a
// node of the lab, with a network stack of its own.
type Netns struct {
	w       *World
	name    string
	kind    state.Kind
	machine string // for a container: the machine it lives in; else its own name
	variant string // in which form iptables keeps its rules: state.Node.IptablesVariant
	pin     string // the file of its machine's /run/netns that pins it; "": none
	inode   uint64
	dead    bool // the kernel has taken it away

	links  []*Link // by ifindex
	byName map[string]*Link
	lo     *Link
	nextIf int            // where the search for a free ifindex begins
	nsids  map[*Netns]int // the numbers it has for other namespaces (struct net.netns_ids)

	conf     devConf         // net.ipv4.conf.all
	dflt     devConf         // net.ipv4.conf.default
	sys      netConf         // the other settings
	written  map[string]bool // the settings that somebody wrote
	fib      fib
	inet     inetState // what IPv4 remembers beside its tables
	nf       netfilter
	ct       conntrack
	socks    sockets
	procs    []*Process
	taps     []*tap
	hostname string            // what its programs see (op.Spawn)
	files    map[string]string // so, too

	netnsLinks map[string]string // symbolic links in a machine's /run/netns: name → /proc/PID/ns/net
	resolver   Resolver

	ipID uint16 // of the packet sent last
}

// Name returns the node's name.
func (n *Netns) Name() string { return n.name }

// Now is the time in the world, in nanoseconds since 1970.
func (n *Netns) Now() int64 { return n.w.now }

// addNode makes a namespace as the kernel does: with a loopback device that is
// down (copy_net_ns, net/core/net_namespace.c).
func (w *World) addNode(name string, kind state.Kind, machine string) *Netns {
	w.inode++
	n := &Netns{w: w, name: name, kind: kind, machine: machine, inode: w.inode, nextIf: 1, variant: "nf_tables",
		byName: map[string]*Link{}, nsids: map[*Netns]int{}}
	if kind != state.Container {
		n.machine = name
	}
	w.nodes = append(w.nodes, n)
	w.byName[name] = n
	n.init()
	return n
}

// init gives a namespace what its subsystems begin with (ops_init).
func (n *Netns) init() {
	n.dflt, n.conf, n.sys = defaultConf, defaultConf, defaultNetConf
	n.conf.acceptSourceRoute = 0
	n.fib.init()
	n.lo = &Link{ns: n, name: "lo", kind: kindLoopback, mtu: 65536, carrierOn: true}
	n.register(n.lo, 0)
	for i, k := range confKeys { // as exec resets what a namespace inherits from the machine
		if k.name == "rp_filter" || k.name == "route_localnet" || k.name == "arp_ignore" {
			n.dflt.set |= 1 << i
		}
	}
}

// NetnsAdd makes a namespace that a file of the machine's /run/netns pins:
// `ip netns add` (netns_add, iproute2's ip/ipnetns.c).
func (n *Netns) NetnsAdd(name string) *op.Failure {
	if _, ok := n.NetnsLinks()[name]; ok || n.pinned(name) != nil {
		return &op.Failure{What: op.NetnsUsed, Name: name, Errno: eexist}
	}
	if len(n.w.nodes) >= maxNamespaces {
		return fail(enospc, "")
	}
	node := name
	for n.w.byName[node] != nil { // another machine, or a nameless predecessor, has the name
		node += "'"
	}
	n.w.addNode(node, state.Container, n.machine).pin = name
	return nil
}

// maxNamespaces and maxSpawned are how many network namespaces and processes a
// lab may have: a process that serves many labs holds them all.
const maxNamespaces, maxSpawned = 1024, 2048

// NetnsDel takes the name away. The namespace lives on while a process uses it.
func (n *Netns) NetnsDel(name string) *op.Failure {
	m := n.pinned(name)
	if _, ok := n.NetnsLinks()[name]; ok && m == nil {
		n.LinkNetns(name, "")
		return nil
	}
	if m == nil {
		return &op.Failure{What: op.NoNetns, Name: name, Errno: enoent}
	}
	m.pin = ""
	n.w.unused(m)
	return nil
}

// pinned returns the namespace that has a name in the machine's /run/netns.
func (n *Netns) pinned(name string) *Netns {
	if m := n.w.byName[name]; m != nil && m.pin == name && m.machine == n.machine {
		return m
	}
	for _, m := range n.w.nodes {
		if m.pin == name && m.machine == n.machine {
			return m
		}
	}
	return nil
}

// unused takes a namespace away if nothing uses it any more (put_net).
func (w *World) unused(n *Netns) {
	if n.kind != state.Container || n.pin != "" || len(n.procs) > 0 || n.dead {
		return
	}
	// cleanup_net, net/core/net_namespace.c: its devices die, and what hangs on
	// them elsewhere (default_device_exit_batch, net/core/dev.c).
	n.dead = true
	for len(n.links) > 1 {
		n.unregister(n.links[len(n.links)-1])
	}
	n.setDown(n.lo)
	n.linkGone(n.lo)
	for _, m := range w.nodes { // tunnels that began here and were moved away (vxlan_exit_batch_net)
		for _, l := range slices.Clone(m.links) {
			if l.vxlan != nil && l.vxlan.ns == n && l.ns == m {
				m.unregister(l)
			}
		}
		delete(m.nsids, n)
	}
	w.nodes = slices.DeleteFunc(w.nodes, func(m *Netns) bool { return m == n })
	delete(w.byName, n.name)
}

// netnsNamed finds the namespace that a command in n means: a name in the
// machine's /run/netns, a pid, or, while the world is made, any node.
func (n *Netns) netnsNamed(name string) (*Netns, *op.Failure) {
	if n.w.building {
		if m := n.w.byName[name]; m != nil {
			return m, nil
		}
	}
	if m := n.pinned(name); m != nil {
		return m, nil
	}
	if to, ok := n.NetnsLinks()[name]; ok {
		if m, _ := n.w.ofProcess(to); m != nil {
			return m, nil
		}
	}
	if pid, err := strconv.Atoi(name); err == nil {
		for _, m := range n.w.nodes {
			for _, p := range m.procs {
				if p.PID == pid {
					return m, nil
				}
			}
		}
		return nil, fail(esrch, "")
	}
	return nil, &op.Failure{What: op.NoNetns, Name: name, Errno: enoent}
}

// nsid is the number that n's kernel has for another namespace; it gets the
// first free one when it is first needed (peernet2id_alloc).
func (n *Netns) nsid(m *Netns) int {
	if id, ok := n.nsids[m]; ok {
		return id
	}
	used := map[int]bool{}
	for _, id := range n.nsids {
		used[id] = true
	}
	id := 0
	for used[id] {
		id++
	}
	n.nsids[m] = id
	return id
}

// link returns the link of that name, or nil.
func (n *Netns) link(name string) *Link { return n.byName[name] }

// linkAt returns the link of that ifindex, or nil.
func (n *Netns) linkAt(index int) *Link {
	if i, ok := slices.BinarySearchFunc(n.links, index, byIndex); ok {
		return n.links[i]
	}
	return nil
}

func byIndex(l *Link, index int) int { return l.index - index }

// find returns the link of that name, or the failure of a tool that looks for it.
func (n *Netns) find(name string) (*Link, *op.Failure) {
	if l := n.byName[name]; l != nil {
		return l, nil
	}
	return nil, &op.Failure{What: op.NoDevice, Name: name, Errno: enodev}
}

// fail is the kernel's refusal: an errno, and its own sentence if it has one.
func fail(errno int, message string) *op.Failure {
	return &op.Failure{Errno: errno, Message: message}
}

// Errors of the kernel (include/uapi/asm-generic/errno-base.h, errno.h).
const (
	eperm         = 1
	enoent        = 2
	esrch         = 3
	e2big         = 7
	eagain        = 11
	eacces        = 13
	ebusy         = 16
	eexist        = 17
	enodev        = 19
	einval        = 22
	enametoolong  = 36
	eloop         = 40
	enospc        = 28
	exfull        = 54
	eopnotsupp    = 95
	eafnosupport  = 97
	eaddrinuse    = 98
	eaddrnotavail = 99
	enetdown      = 100
	enetunreach   = 101
	enobufs       = 105
	etimedout     = 110
	econnrefused  = 111
	ehostunreach  = 113
)
