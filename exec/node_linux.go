package exec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	mnl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink" // links, addresses, routes, neighbours; Apache-2.0
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vethlab/exec/capture"
	"vethlab/exec/sandbox"
	"vethlab/sim/state"
)

// node is a network namespace and the sockets that act and watch in it. They
// keep the namespace alive: close lets it go.
type node struct {
	name    string
	kind    state.Kind
	machine string // whose /run it sees; its own name for a machine
	ns      *os.File
	inode   uint64
	mounted bool
	// keeper is the process that keeps the namespace, when no name pins it;
	// hostname and files are what it sees (op.Spawn).
	keeper   int
	hostname string
	files    map[string]string
	links    map[string]string // of a machine: the symbolic links in its /run/netns
	macSet   map[string]bool   // bridges whose address an operation chose

	handle *netlink.Handle
	packet *capture.Socket    // nil in a switch
	filter *capture.Netfilter // nil in a switch
	route  *mnl.Conn          // rtnetlink's notifications
	rules  ruleset
	counts kept
	diag   diag

	restorer restorer

	viewing sync.Mutex
	view    *view // what its tools see; nil until the first

	mu       sync.Mutex
	names    map[int]string // ifindex → name, forgotten when a link changes
	tables   []state.Table
	tablesOK bool            // tables are as the kernel has them
	written  map[string]bool // the settings that somebody wrote
	dirty    bool            // something changed since state was read
	settings bool            // so did, maybe, settings
	keys     []string        // these settings changed
	neighs   bool            // neighbours or forwarding entries changed
	traffic  bool            // packets came: who listens may have changed
	conns    []state.Conn
	connsOK  bool // conns are as the kernel has them, but for their timeouts
	state    *state.Node
	counters map[string]uint64 // at the beginning of the running command
}

// enter runs fn in a thread that is in the namespace. Whatever fn opens or
// starts belongs to it; a file of /proc/sys/net read there is the node's.
func (n *node) enter(fn func() error) error { return enterNS(n.ns, fn) }

// limbo is the namespace the process itself is in: empty, and nobody's.
var limbo *os.File

func enterNS(ns *os.File, fn func() error) error {
	runtime.LockOSThread()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	defer func() {
		// A thread that cannot go back is thrown away: it stays locked.
		if unix.Setns(int(limbo.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return fn()
}

// newNS makes a network namespace and, when at is not empty, pins it there.
func newNS(at string) (*os.File, error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("unshare: %w", err)
	}
	defer func() {
		if unix.Setns(int(limbo.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	if at != "" {
		if err := unix.Mount("/proc/thread-self/ns/net", at, "", unix.MS_BIND, ""); err != nil {
			return nil, fmt.Errorf("mount %s: %w", at, err)
		}
	}
	return os.Open("/proc/thread-self/ns/net")
}

func inodeOf(path string) (uint64, error) {
	var st syscall.Stat_t
	err := syscall.Stat(path, &st)
	return st.Ino, err
}

// baseline are settings every node begins with. A new namespace inherits IPv4's
// from the machine's first one (devinet_init_net, net/ipv4/devinet.c): what a
// Docker on the machine switched on would be on in the lesson. IPv6 is off, so
// that its neighbour discovery does not clutter the captures; and so are the
// reports that every bridge sends of the multicast group of those who snoop
// (br_ip4_multicast_join_snoopers, net/bridge/br_multicast.c), at random times.
var baseline = [][2]string{
	{"net/ipv6/conf/all/disable_ipv6", "1"},
	{"net/ipv6/conf/default/disable_ipv6", "1"},
	{"net/ipv4/ip_forward", "0"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/conf/all/route_localnet", "0"},
	{"net/ipv4/conf/default/route_localnet", "0"},
	{"net/ipv4/conf/all/arp_ignore", "0"},
	{"net/ipv4/conf/default/arp_ignore", "0"},
	{"net/ipv4/conf/all/proxy_arp", "0"},
	{"net/ipv4/conf/all/accept_redirects", "1"},
	{"net/ipv4/conf/all/send_redirects", "1"},
	{"net/ipv4/ping_group_range", "0 0"},
	{"net/ipv4/igmp_link_local_mcast_reports", "0"},
}

// openNode opens the sockets that act and watch in a namespace.
func (in *inside) openNode(name string, kind state.Kind, machine string, ns *os.File) (*node, error) {
	n := &node{name: name, kind: kind, machine: machine, ns: ns, mounted: true, names: map[int]string{}, written: map[string]bool{}, macSet: map[string]bool{}, dirty: true}
	fail := func(err error) (*node, error) {
		n.close()
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	var err error
	if n.inode, err = inodeOf(fmt.Sprintf("/proc/self/fd/%d", ns.Fd())); err != nil {
		return fail(err)
	}
	if n.handle, err = netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE); err != nil {
		return fail(err)
	}
	askForSentences(n.handle)
	err = n.enter(func() error {
		for _, kv := range baseline {
			// One that the kernel does not have needs no resetting.
			if err := os.WriteFile("/proc/sys/"+kv[0], []byte(kv[1]), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		if n.route, err = mnl.Dial(unix.NETLINK_ROUTE, nil); err != nil {
			return err
		}
		for _, g := range []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE} {
			if err := n.route.JoinGroup(g); err != nil {
				return err
			}
		}
		if kind == state.Switch {
			return nil
		}
		if err := capture.AddTable(int(ns.Fd())); err != nil {
			return err
		}
		if n.filter, err = capture.NewNetfilter(int(ns.Fd()), in.handlers(n)); err != nil {
			return err
		}
		n.packet, err = capture.NewSocket(n.linkName, func(s capture.Sighting) { in.sighting(n, s) })
		return err
	})
	if err != nil {
		return fail(err)
	}
	go n.listen(in)
	if n.packet != nil {
		go n.packet.Run()
		go n.filter.Run()
	}
	return n, nil
}

// listen marks the node dirty whenever rtnetlink tells of a change in it.
func (n *node) listen(in *inside) {
	for {
		msgs, err := n.route.Receive()
		if err != nil {
			if errors.Is(err, unix.ENOBUFS) { // some were lost: look at everything
				in.touch(n)
				continue
			}
			return // closed
		}
		more := false
		n.mu.Lock()
		for _, m := range msgs {
			switch m.Header.Type {
			case unix.RTM_NEWLINK, unix.RTM_DELLINK:
				clear(n.names)
				more = true
			case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
				n.neighs, n.traffic = true, true
			default:
				more = true
			}
		}
		n.dirty = n.dirty || more
		n.mu.Unlock()
		signalTo(in.wake)
	}
}

// linkName returns the name of an interface, or "if7" when it is gone.
func (n *node) linkName(index int) string {
	if index == 0 {
		return ""
	}
	n.mu.Lock()
	name, ok := n.names[index]
	n.mu.Unlock()
	if ok {
		return name
	}
	l, err := n.handle.LinkByIndex(index)
	if err != nil {
		return "if" + strconv.Itoa(index)
	}
	n.mu.Lock()
	n.names[index] = l.Attrs().Name
	n.mu.Unlock()
	return l.Attrs().Name
}

// drain reads what the node's sockets have queued.
func (n *node) drain() {
	if n.packet != nil {
		n.filter.Drain()
		n.packet.Drain()
	}
}

// close lets the namespace go.
func (n *node) close() {
	if n.route != nil {
		n.route.Close()
	}
	if n.filter != nil {
		n.filter.Close()
	}
	if n.packet != nil {
		n.packet.Close()
	}
	if n.handle != nil {
		n.handle.Close()
	}
	n.restorer.rest()
	n.rules.close()
	n.counts.close()
	n.diag.close()
	n.viewing.Lock()
	n.view.close()
	n.viewing.Unlock()
	n.ns.Close()
}

// hostName is what a node's tools see as their machine's name.
func (n *node) hostName() string {
	if n.hostname != "" {
		return n.hostname
	}
	return n.name[:min(len(n.name), 64)] // HOST_NAME_MAX
}

// netnsDir is where the names of a machine's namespaces are.
func netnsDir(machine string) string { return filepath.Join(sandbox.MachineRun(machine), "netns") }
