package sim

import "vethlab/sim/state"

// Netns is a network namespace (struct net, include/net/net_namespace.h): a
// node of the lab, with a network stack of its own.
type Netns struct {
	w       *World
	name    string
	kind    state.Kind
	machine string // for a container: the machine it lives in
	mounted bool   // /run/netns/NAME pins it
	inode   uint64

	links  []*Link // by ifindex
	lo     *Link
	nextIf int // the ifindex that the next link gets

	conf  devConf // net.ipv4.conf.all
	dflt  devConf // net.ipv4.conf.default
	fib   fib
	neigh neighTable
	nf    netfilter
	ct    conntrack
	socks sockets
	procs []*process

	ipID uint16 // of the packet sent last
}

// Name returns the node's name.
func (n *Netns) Name() string { return n.name }

// addNode makes a namespace as the kernel does: with a loopback device that is down.
func (w *World) addNode(name string, kind state.Kind, machine string) *Netns {
	w.inode++
	n := &Netns{w: w, name: name, kind: kind, machine: machine, inode: w.inode, nextIf: 1}
	if kind != state.Container {
		n.machine = name
	}
	w.nodes = append(w.nodes, n)
	w.byName[name] = n
	n.init()
	return n
}

// link returns the link of that name, or nil.
func (n *Netns) link(name string) *Link {
	for _, l := range n.links {
		if l.name == name {
			return l
		}
	}
	return nil
}

// Errors of the kernel (include/uapi/asm-generic/errno-base.h, errno.h).
const (
	eperm         = 1
	enoent        = 2
	esrch         = 3
	e2big         = 7
	eacces        = 13
	ebusy         = 16
	eexist        = 17
	enodev        = 19
	einval        = 22
	enametoolong  = 36
	eloop         = 40
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
