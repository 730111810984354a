package exec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vethlab/sim/op"
	"vethlab/sim/trace"
)

// Apply does an operation in a node and waits until what it caused was seen.
func (in *inside) Apply(ctx context.Context, name string, data json.RawMessage) (op.Result, error) {
	o, err := op.Unmarshal(data)
	if err != nil {
		return op.Result{}, err
	}
	if t, ok := o.(op.Tool); !ok || !t.Background {
		in.apply.Lock()
		defer in.apply.Unlock()
	}
	n := in.nodeIn(name)
	if n == nil {
		in.rescan() // somebody may have made it since
		n = in.nodeIn(name)
	}
	if n == nil {
		_, name = op.SplitAt(name)
		return failed(&op.Failure{What: op.NoNetns, Name: name, Errno: int(unix.ENOENT)}), nil
	}
	if t, ok := o.(op.Tool); ok && t.Background {
		defer n.rulesChanged()
		return in.run(ctx, n, t.Argv, t.Stdin)
	}
	if t, ok := o.(op.Tool); ok {
		if res, done := fileTool(n, t); done {
			return res, nil
		}
	}
	var traces []trace.Trace
	in.mu.Lock()
	in.collect, in.room, in.from = &traces, maxSteps, time.Now().UnixNano()
	in.mu.Unlock()
	sends := op.Probe(o)
	if sends {
		for _, m := range in.all() {
			now := m.readCounters()
			m.mu.Lock()
			m.counters, m.traffic = now, true // that somebody listens is not told of
			m.mu.Unlock()
		}
	}
	if sends || movesNames(o) {
		for _, m := range in.all() {
			m.restorer.rest()
		}
	}
	res, err := in.do(ctx, n, o)
	switch {
	case movesNames(o) || in.running(): // not every change is told of: a setting's is not
		for _, m := range in.all() { // ip netns exec
			in.touch(m)
		}
	case alone(o) && err == nil:
		n.mu.Lock()
		n.keys = append(n.keys, o.(op.SysctlSet).Key)
		n.mu.Unlock()
		signalTo(in.wake)
	case !sends && told(o):
		n.mu.Lock()
		n.dirty = true // the news may be on its way yet
		n.mu.Unlock()
		signalTo(in.wake)
	case !sends:
		in.touch(n)
	}
	if !in.building {
		in.settle(ctx)
	}
	if movesNames(o) {
		in.rescan()
	}
	if !in.building && movesCarriers(o) {
		in.syncCarriers()
	}
	in.mu.Lock()
	in.collect = nil
	in.mu.Unlock()
	slices.SortStableFunc(traces, func(a, b trace.Trace) int { return int(min(1, max(-1, a.Start-b.Start))) })
	res.Traces = traces
	return res, err
}

// told reports whether the kernel tells of all that an operation changes: it
// changes no setting of a device that was there, and no socket.
func told(o op.Op) bool {
	switch o.(type) {
	case op.AddrAdd, op.AddrDel, op.AddrFlush, op.RouteAdd, op.RouteReplace, op.RouteDel, op.NeighFlush,
		op.RuleAppend, op.RuleInsert, op.RuleDelete, op.RuleDeleteAt, op.RuleCheck, op.ChainNew, op.ChainDel, op.ChainFlush, op.ChainZero, op.PolicySet:
		return true
	}
	return false
}

// alone reports whether an operation changes one setting and no other: those of
// the neighbours' tables have no bearing on each other.
func alone(o op.Op) bool {
	s, ok := o.(op.SysctlSet)
	return ok && strings.HasPrefix(s.Key, "net.ipv4.neigh.")
}

// running reports whether a tool runs in the background.
func (in *inside) running() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.tools) > 0
}

// movesNames reports whether an operation may make or end a namespace, or do
// anything else.
// What goes on in the background may at any time: a snapshot looks again, and so
// does whoever names a node that is not known.
func movesNames(o op.Op) bool {
	switch o.(type) {
	case op.NetnsAdd, op.NetnsDel, op.Tool, op.Spawn, op.ProcKill, op.Sleep, op.FileWrite:
		return true
	}
	return false
}

// failed is what a refused operation came to; sim/cmdline puts it in words.
func failed(f *op.Failure) op.Result { return op.Result{Status: 1, Failure: f} }

// result makes an operation's result of the kernel's answer.
func result(err error) (op.Result, error) {
	if err == nil {
		return op.Result{}, nil
	}
	var f *op.Failure
	if errors.As(err, &f) {
		return failed(f), nil
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		f = &op.Failure{Errno: int(errno)}
		// netlink appends the kernel's own sentence to the errno's.
		if _, msg, ok := strings.Cut(err.Error(), errno.Error()+": "); ok {
			f.Message = msg
		}
		return failed(f), nil
	}
	return op.Result{}, err
}

// do does an operation. An error means that the lab failed, not the operation.
func (in *inside) do(ctx context.Context, n *node, o op.Op) (op.Result, error) {
	switch o := o.(type) {
	case op.NetnsAdd:
		return result(in.netnsAdd(n, o.Name))
	case op.NetnsDel:
		return result(in.netnsDel(n, o.Name))
	case op.LinkAdd:
		return result(in.linkAdd(n, o))
	case op.LinkDel:
		return result(n.withLink(o.Name, n.handle.LinkDel))
	case op.LinkSet:
		l, err := n.link(o.Name)
		if err != nil {
			return result(in.linkSetLacks(n, o, err))
		}
		return result(in.linkSet(n, l, o))
	case op.AddrAdd:
		return result(n.withLink(o.Dev, func(l netlink.Link) error { return n.handle.AddrAdd(l, address(o.Prefix, o.Broadcast, o.Label)) }))
	case op.AddrDel:
		return result(n.withLink(o.Dev, func(l netlink.Link) error { return n.handle.AddrDel(l, address(o.Prefix, "", "")) }))
	case op.AddrFlush:
		return result(n.withLink(o.Dev, n.addrFlush))
	case op.RouteAdd:
		return result(n.route4(o.Route, false, n.handle.RouteAdd))
	case op.RouteReplace:
		return result(n.route4(o.Route, false, n.handle.RouteReplace))
	case op.RouteDel:
		return result(n.route4(o.Route, true, n.handle.RouteDel))
	case op.NeighFlush:
		return result(n.withLink(o.Dev, n.neighFlush))
	case op.SysctlSet:
		return result(n.sysctlSet(o.Key, o.Value))
	case op.RuleAppend, op.RuleInsert, op.RuleDelete, op.RuleDeleteAt, op.ChainNew, op.ChainDel, op.PolicySet:
		defer n.rulesChanged()
		if o, ok := o.(op.ChainDel); ok && o.Chain == "" { // all of them: go-iptables has no word for that
			return in.run(ctx, n, strings.Fields(o.String()), "")
		}
		if in.change(n, o) {
			return op.Result{}, nil
		}
		return in.iptables.apply(n, o)
	case op.RuleCheck, op.ChainFlush, op.ChainZero:
		// go-iptables has no call that does just this, and says what iptables says.
		defer n.rulesChanged()
		return in.probe(ctx, n, o.(interface{ Argv() []string }).Argv())
	case op.Ping:
		if o.Wait == 0 {
			o.Wait = time.Second
		}
		return in.probe(ctx, n, o.Argv())
	case op.HTTPGet:
		if o.Timeout == 0 {
			o.Timeout = 5 * time.Second
		}
		if n.named(o.URL) {
			return in.run(ctx, n, o.Argv(), "") // which sees the node's hosts and resolv.conf
		}
		return in.probe(ctx, n, o.Argv())
	case op.HTTPServe:
		return in.serveHTTP(n, o)
	case op.DNSServe:
		return in.serveDNS(n, o)
	case op.ProcKill:
		return in.kill(n, o.Name)
	case op.Sleep:
		select {
		case <-time.After(o.Duration):
		case <-ctx.Done():
		}
		return op.Result{}, nil
	case op.Spawn:
		return in.spawn(n, o)
	case op.FileWrite:
		if err := in.fileWrite(n, o); err != nil {
			why := err
			if at, is := errors.AsType[*os.PathError](err); is {
				why = at.Err
			}
			return op.Result{Status: 1, Stderr: fmt.Sprintf("bash: %s: %s\n", o.Path, sentence(why.Error()))}, nil
		}
		return op.Result{}, nil
	case op.Tool:
		defer n.rulesChanged()
		defer in.awaitKilled(o.Argv)
		return in.run(ctx, n, o.Argv, o.Stdin)
	}
	return op.Result{}, fmt.Errorf("the kernel backend does not know %T", o)
}

// netnsAdd does what `ip netns add` does: a namespace pinned by a bind mount.
func (in *inside) netnsAdd(n *node, name string) error {
	path := filepath.Join(netnsDir(n.machine), name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
	if errors.Is(err, os.ErrExist) {
		return &op.Failure{What: op.NetnsUsed, Name: name, Errno: int(unix.EEXIST)}
	}
	if err != nil {
		return err
	}
	f.Close()
	ns, err := newNS(path)
	if err != nil {
		os.Remove(path)
		return err
	}
	ns.Close() // rescan finds it and opens it as a node
	return nil
}

// netnsDel takes the name away. The namespace lives on while something uses it.
func (in *inside) netnsDel(n *node, name string) error {
	path := filepath.Join(netnsDir(n.machine), name)
	if _, err := os.Lstat(path); err != nil {
		return &op.Failure{What: op.NoNetns, Name: name, Errno: int(unix.ENOENT)}
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return os.Remove(path)
}

// withLink looks a link up by name and hands it to fn.
func (n *node) withLink(name string, fn func(netlink.Link) error) error {
	l, err := n.link(name)
	if err != nil {
		return err
	}
	return fn(l)
}

func (n *node) link(name string) (netlink.Link, error) {
	l, err := n.handle.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) || errors.Is(err, unix.EINVAL) && len(name) > 15 {
		return nil, &op.Failure{What: op.NoDevice, Name: name, Errno: int(unix.ENODEV)}
	}
	return l, err
}

// target finds the namespace that a link is to be moved to: a name in the
// machine's /run/netns, a pid, or, while the world is made, any node.
func (in *inside) target(n *node, name string) (*os.File, error) {
	if in.building {
		if m := in.node(name); m != nil {
			return os.NewFile(dup(m.ns), name), nil
		}
	}
	path := filepath.Join(netnsDir(n.machine), name)
	if pid, err := strconv.Atoi(name); err == nil {
		path = fmt.Sprintf("/proc/%d/ns/net", pid)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		if _, isPid := strconv.Atoi(name); isPid == nil {
			return nil, &op.Failure{Errno: int(unix.ESRCH)}
		}
		return nil, &op.Failure{What: op.NoNetns, Name: name, Errno: int(unix.ENOENT)}
	}
	return f, nil
}

func dup(f *os.File) uintptr {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return ^uintptr(0)
	}
	return uintptr(fd)
}

func (in *inside) linkAdd(n *node, o op.LinkAdd) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = o.Name, o.MTU
	if o.MAC != "" {
		mac, err := net.ParseMAC(o.MAC)
		if err != nil {
			return &op.Failure{Errno: int(unix.EINVAL)}
		}
		attrs.HardwareAddr = mac
	}
	if o.Kind == "bridge" {
		n.choseMAC(o.Name, o.MAC != "")
	}
	parent := 0
	if o.Parent != "" {
		p, err := n.link(o.Parent)
		if err != nil {
			return err
		}
		parent = p.Attrs().Index
	}
	switch o.Kind {
	case "veth":
		v := &netlink.Veth{LinkAttrs: attrs, PeerName: o.Peer, PeerTxQLen: -1} // the kernel's own choice, as with ip
		if o.Peer == "" {
			v.PeerName = "veth%d" // the kernel puts in the first free number
		}
		if o.MTU != 0 && (o.Peer != "" || o.PeerNetns != "") {
			v.PeerMTU = 1500 // ip would not give it the one's, as the library would
		}
		if o.PeerNetns != "" {
			f, err := in.target(n, o.PeerNetns)
			if err != nil {
				return err
			}
			defer f.Close()
			v.PeerNamespace = netlink.NsFd(int(f.Fd()))
		}
		return n.handle.LinkAdd(v)
	case "bridge":
		return n.handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	case "macvlan":
		attrs.ParentIndex = parent
		return n.handle.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
	case "vxlan":
		return n.handle.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: o.VNI, Port: o.Port, VtepDevIndex: parent, Learning: true,
			Proxy: o.Proxy, L2miss: o.L2Miss, L3miss: o.L3Miss,
			SrcAddr: ipOf(o.Local), Group: ipOf(o.Remote)})
	}
	return &op.Failure{Errno: int(unix.EOPNOTSUPP)}
}

// choseMAC notes whether a bridge's address is one that somebody chose
// (NET_ADDR_SET, which rtnetlink does not tell).
func (n *node) choseMAC(bridge string, chose bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if chose {
		n.macSet[bridge] = true
	} else {
		delete(n.macSet, bridge)
	}
}

func ipOf(a netip.Addr) net.IP {
	if !a.IsValid() {
		return nil
	}
	return a.AsSlice()
}

// linkSetLacks is what is said of a link that is not there: ip looks for all
// else that its words name first, brctl only afterwards.
func (in *inside) linkSetLacks(n *node, o op.LinkSet, missing error) error {
	if o.Free {
		return missing
	}
	if o.Netns != "" {
		f, err := in.target(n, o.Netns)
		if failure, ok := errors.AsType[*op.Failure](err); ok && failure.What == op.NoNetns {
			return err
		}
		if err == nil {
			f.Close()
		}
	}
	if o.Master != "" {
		if _, err := n.link(o.Master); err != nil {
			return err
		}
	}
	return missing
}

// linkSet applies the parts of `ip link set` in the order iproute2's single
// message has for the kernel (do_setlink, net/core/rtnetlink.c): the namespace
// first, then address, MTU, name, master and the flags.
func (in *inside) linkSet(n *node, l netlink.Link, o op.LinkSet) error {
	h := n.handle
	if o.Netns != "" {
		f, err := in.target(n, o.Netns)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := h.LinkSetNsFd(l, int(f.Fd())); err != nil {
			return err
		}
		if h, err = netlink.NewHandleAt(netns.NsHandle(f.Fd()), unix.NETLINK_ROUTE); err != nil {
			return err
		}
		defer h.Close()
		askForSentences(h)
		if l, err = h.LinkByName(o.Name); err != nil {
			return err
		}
	}
	if o.MAC != "" {
		mac, err := net.ParseMAC(o.MAC)
		if err != nil {
			return &op.Failure{Errno: int(unix.EINVAL)}
		}
		if err := h.LinkSetHardwareAddr(l, mac); err != nil {
			return err
		}
		n.choseMAC(o.Name, true)
	}
	if o.MTU != 0 {
		if err := h.LinkSetMTU(l, o.MTU); err != nil {
			return err
		}
	}
	if o.NewName != "" {
		if err := h.LinkSetName(l, o.NewName); err != nil {
			return err
		}
	}
	if o.Master != "" {
		m, err := n.link(o.Master)
		if err != nil {
			return err
		}
		if o.Free && l.Attrs().MasterIndex != 0 {
			return &op.Failure{Name: o.Name, Errno: int(unix.EBUSY)}
		}
		if err := h.LinkSetMasterByIndex(l, m.Attrs().Index); err != nil {
			return err
		}
	}
	if o.NoMaster {
		if err := h.LinkSetNoMaster(l); err != nil {
			return err
		}
	}
	if o.Up != nil && *o.Up {
		return h.LinkSetUp(l)
	}
	if o.Up != nil {
		return h.LinkSetDown(l)
	}
	return nil
}

func address(p netip.Prefix, broadcast, label string) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p), Label: label}
	switch broadcast {
	case "":
		a.Broadcast = net.IPv4zero // as `ip addr add` does: none, where the library would choose one
	case "+": // the library's choice: the last address of the network
	default:
		a.Broadcast = net.ParseIP(broadcast)
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func (n *node) addrFlush(l netlink.Link) error {
	addrs, err := retry(func() ([]netlink.Addr, error) { return n.handle.AddrList(l, netlink.FAMILY_V4) })
	if err != nil {
		return err
	}
	for _, a := range addrs {
		// Removing a primary address takes its secondaries along.
		if err := n.handle.AddrDel(l, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return err
		}
	}
	return nil
}

func (n *node) neighFlush(l netlink.Link) error {
	neighs, err := retry(func() ([]netlink.Neigh, error) { return n.handle.NeighList(l.Attrs().Index, netlink.FAMILY_V4) })
	if err != nil {
		return err
	}
	for _, e := range neighs {
		if e.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) == 0 {
			if err := n.handle.NeighDel(&e); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	return nil
}

var routeTypes = map[string]int{"": unix.RTN_UNICAST, "unicast": unix.RTN_UNICAST, "blackhole": unix.RTN_BLACKHOLE,
	"unreachable": unix.RTN_UNREACHABLE, "prohibit": unix.RTN_PROHIBIT}

var routeScopes = map[string]netlink.Scope{"global": netlink.SCOPE_UNIVERSE, "link": netlink.SCOPE_LINK, "host": netlink.SCOPE_HOST}

// route4 makes the message that `ip route` would make of a route (iproute_modify,
// iproute2's ip/iproute.c).
func (n *node) route4(r op.Route, del bool, send func(*netlink.Route) error) error {
	m := &netlink.Route{Dst: ipNet(r.Dst), Gw: ipOf(r.Via), Src: ipOf(r.Src), Priority: r.Metric, Table: r.Table,
		Type: routeTypes[r.Type], Protocol: unix.RTPROT_BOOT, Family: netlink.FAMILY_V4}
	if r.Dev != "" {
		l, err := n.link(r.Dev)
		if err != nil {
			return err
		}
		m.LinkIndex = l.Attrs().Index
	}
	if r.Onlink {
		m.Flags = int(netlink.FLAG_ONLINK)
	}
	switch scope, ok := routeScopes[r.Scope]; {
	case ok:
		m.Scope = scope
	case del:
		m.Scope, m.Protocol = netlink.SCOPE_NOWHERE, 0
		if r.Type == "" {
			m.Type = 0
		}
	case m.Type == unix.RTN_UNICAST && !r.Via.IsValid():
		m.Scope = netlink.SCOPE_LINK
	}
	return send(m)
}

// sysctlSet writes a kernel setting. Only net.* is the node's own: the others
// are the machine's, and not writable here anyway.
func (n *node) sysctlSet(key, value string) error {
	path := "/proc/sys/" + sysctlFile(key)
	if strings.Contains(path, "..") || !strings.HasPrefix(path, "/proc/sys/net/") {
		return &op.Failure{What: op.NoSysctl, Name: key, Errno: int(unix.EACCES)}
	}
	err := n.enter(func() error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteString(value + "\n")
		return err
	})
	var errno syscall.Errno
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &op.Failure{What: op.NoSysctl, Name: key, Errno: int(unix.ENOENT)}
	case errors.As(err, &errno):
		return &op.Failure{Name: key, Errno: int(errno)}
	}
	if err == nil {
		n.mu.Lock()
		n.written[key] = true
		n.mu.Unlock()
	}
	return err
}

// retry repeats a dump that the kernel says changed while it was read.
func retry[T any](dump func() (T, error)) (v T, err error) {
	for range 10 {
		if v, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return v, err
}

// named reports whether a page's server goes by a name, which the files of a
// container decide about.
func (n *node) named(page string) bool {
	if !strings.Contains(page, "://") {
		page = "http://" + page
	}
	u, err := url.Parse(page)
	if err != nil || n.keeper == 0 {
		return false
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err != nil
}
