package exec

import (
	"cmp"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vethlab/exec/capture"
	"vethlab/sim/state"
)

// snapshot reads the state of all nodes; with all unset only of those that
// changed since they were last read.
func (in *inside) snapshot(all bool) *state.Snapshot {
	s := &state.Snapshot{Version: state.Version, Spawned: int(in.spawned.Load())}
	nodes := in.all()
	for _, n := range nodes {
		if all {
			n.rulesChanged()
			in.touch(n)
		}
	}
	for _, n := range nodes {
		st := *in.fresh(n)
		st.Netns, st.Conns = n.inode, n.connections()
		in.mu.Lock()
		st.Mounted = n.mounted
		if !n.mounted {
			st.Keeper = n.keeper
		}
		in.mu.Unlock()
		s.Nodes = append(s.Nodes, st)
	}
	return s
}

// fresh returns the node's state without its connections, read anew when
// something changed.
func (in *inside) fresh(n *node) *state.Node {
	n.mu.Lock()
	dirty, neighs, settings, traffic, last, keys := n.dirty || n.state == nil, n.neighs, n.settings, n.traffic, n.state, n.keys
	n.dirty, n.neighs, n.settings, n.traffic, n.keys = false, false, false, false, nil // a change from here on is a change again
	n.mu.Unlock()
	if !dirty && !neighs && !settings && !traffic && len(keys) == 0 {
		return last
	}
	st := &state.Node{}
	switch {
	case dirty:
		st = in.readNode(n)
		settings = settings || last == nil || !slices.EqualFunc(last.Links, st.Links, func(a, b state.Link) bool { return a.Name == b.Name })
	default:
		*st = *last
		if neighs {
			n.readNeighs(st)
		}
	}
	if settings {
		_ = n.enter(func() error { // left out where they cannot be read
			st.Sysctls = n.readSysctls(st)
			return nil
		})
	} else if st.Sysctls = last.Sysctls; len(keys) > 0 {
		st.Sysctls = maps.Clone(last.Sysctls)
		_ = n.enter(func() error {
			for _, key := range keys {
				readSysctl(st.Sysctls, key, sysctlFile(key))
			}
			return nil
		})
	}
	if traffic || last == nil {
		st.Listeners = n.listeners(in.processNames(n))
	} else {
		st.Listeners = last.Listeners
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state = st
	return st
}

// readNode reads a node's state from the kernel, but for its settings and who
// listens. What cannot be read because it went away meanwhile is left out.
func (in *inside) readNode(n *node) *state.Node {
	st := &state.Node{Name: n.name, Kind: n.kind, Netns: n.inode, Links: []state.Link{}, Routes: []state.Route{}}
	n.mu.Lock()
	if len(n.links) > 0 {
		st.NetnsLinks = maps.Clone(n.links)
	}
	macSet := maps.Clone(n.macSet)
	n.mu.Unlock()
	if n.kind == state.Container {
		st.Machine = n.machine
	}
	links, err := retry(n.handle.LinkList)
	if err != nil {
		return st
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	nsids := in.nsids(n)
	var ports map[int]*state.BridgePort
	if slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().MasterIndex != 0 }) {
		ports = n.readPorts()
	}
	for _, l := range links {
		link := n.readLink(l, names, nsids, ports[l.Attrs().Index])
		link.MACSet = link.Type == "bridge" && macSet[link.Name]
		st.Links = append(st.Links, link)
	}
	if addrs, err := retry(func() ([]netlink.Addr, error) { return n.handle.AddrList(nil, netlink.FAMILY_V4) }); err == nil {
		for _, a := range addrs {
			if l := st.Link(names[a.LinkIndex]); l != nil {
				l.Addrs = append(l.Addrs, readAddr(a, l.Name))
			}
		}
	}
	routes, err := retry(func() ([]netlink.Route, error) {
		return n.handle.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err == nil {
		for _, r := range routes {
			if r.Table != unix.RT_TABLE_LOCAL && r.Flags&unix.RTM_F_CLONED == 0 {
				st.Routes = append(st.Routes, readRoute(r, names))
			}
		}
	}
	if rules, err := retry(func() ([]netlink.Rule, error) { return n.handle.RuleList(netlink.FAMILY_V4) }); err == nil {
		for _, r := range rules {
			st.Policies = append(st.Policies, readPolicy(r))
		}
	}
	n.readNeighs(st)
	if n.packet != nil {
		st.Tables = in.tables(n)
		st.IptablesVariant = in.iptables.variant()
	}
	return st
}

// readNeighs reads the neighbours and the bridges' forwarding entries; the links
// are there.
func (n *node) readNeighs(st *state.Node) {
	names := map[int]string{}
	for _, l := range st.Links {
		names[l.Index] = l.Name
	}
	st.Neighs, st.FDB = nil, nil
	if neighs, err := retry(func() ([]netlink.Neigh, error) { return n.handle.NeighList(0, netlink.FAMILY_V4) }); err == nil {
		for _, e := range neighs {
			if ip, ok := netip.AddrFromSlice(e.IP.To4()); ok && e.State != netlink.NUD_NOARP {
				st.Neighs = append(st.Neighs, state.Neigh{IP: ip, MAC: e.HardwareAddr.String(), Dev: names[e.LinkIndex], State: nudStates[e.State]})
			}
		}
	}
	if fdb, err := retry(func() ([]netlink.Neigh, error) { return n.handle.NeighList(0, unix.AF_BRIDGE) }); err == nil {
		for _, e := range fdb {
			if e.Flags&netlink.NTF_SELF != 0 && e.IP == nil || e.Vlan != 0 {
				continue // multicast addresses a device listens to
			}
			f := state.FDB{MAC: e.HardwareAddr.String(), Dev: names[e.LinkIndex], Local: e.State&netlink.NUD_PERMANENT != 0, Static: e.State&netlink.NUD_NOARP != 0}
			if e.IP != nil {
				f.Dst = e.IP.String()
			}
			st.FDB = append(st.FDB, f)
		}
	}
}

// connections reads the node's conntrack table, oldest first. It is left out
// where it cannot be read.
func (n *node) connections() []state.Conn {
	if n.packet == nil || n.unconnected() {
		return nil
	}
	conns, _ := capture.Conns(int(n.ns.Fd()))
	slices.SortFunc(conns, func(a, b state.Conn) int { return cmp.Compare(a.ID, b.ID) })
	return conns
}

// unconnected reports whether the node's conntrack table is empty. To list even
// an empty one the kernel walks through the machine's whole
// (ctnetlink_dump_table, net/netfilter/nf_conntrack_netlink.c): 1.5 ms, where
// the count is had in 20 µs.
func (n *node) unconnected() bool {
	b, err := n.counts.read("/proc/sys/net/netfilter/nf_conntrack_count", n)
	return err == nil && string(b) == "0\n" // a node that is going is looked at the slow way
}

// Conns implements capture.View. A table that is not empty is slow to list, so
// it is done only when something changed.
func (in *inside) Conns(name string) []state.Conn {
	n := in.node(name)
	if n == nil {
		return nil
	}
	n.mu.Lock()
	ok, conns := n.connsOK, n.conns
	n.connsOK = true // a change from here on is a change again
	n.mu.Unlock()
	if ok {
		return conns
	}
	conns = n.connections()
	n.mu.Lock()
	n.conns = conns
	n.mu.Unlock()
	return conns
}

var nudStates = map[int]string{netlink.NUD_INCOMPLETE: "INCOMPLETE", netlink.NUD_REACHABLE: "REACHABLE", netlink.NUD_STALE: "STALE",
	netlink.NUD_DELAY: "DELAY", netlink.NUD_PROBE: "PROBE", netlink.NUD_FAILED: "FAILED", netlink.NUD_NOARP: "NOARP", netlink.NUD_PERMANENT: "PERMANENT"}

// nsids tells which node is behind each of the ids by which this node's kernel
// names other namespaces (rtnetlink's RTM_GETNSID).
func (in *inside) nsids(n *node) map[int]*node {
	ids := map[int]*node{}
	for _, m := range in.all() {
		if m == n {
			continue
		}
		if id, err := n.handle.GetNetNsIdByFd(int(m.ns.Fd())); err == nil && id >= 0 {
			ids[id] = m
		}
	}
	return ids
}

func (n *node) readLink(l netlink.Link, names map[int]string, nsids map[int]*node, port *state.BridgePort) state.Link {
	a := l.Attrs()
	s := state.Link{
		Index: a.Index, Name: a.Name, Type: l.Type(), MAC: a.HardwareAddr.String(), MTU: a.MTU,
		Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
		State: strings.ToUpper(a.OperState.String()), Master: names[a.MasterIndex],
	}
	if a.RawFlags&unix.IFF_LOOPBACK != 0 {
		s.Type = "loopback"
	}
	switch l := l.(type) {
	case *netlink.Veth:
		s.PeerIndex = a.ParentIndex
		peer := n
		if a.NetNsID >= 0 {
			peer = nsids[a.NetNsID]
		}
		if peer != nil {
			s.PeerNode, s.PeerName = peer.name, peer.linkName(a.ParentIndex)
		}
	case *netlink.Bridge:
		s.Ageing = ageing(l)
	case *netlink.Macvlan:
		s.Parent = names[a.ParentIndex]
		if m := nsids[a.NetNsID]; a.NetNsID >= 0 && m != nil { // it was moved away from it
			s.Parent, s.ParentNode = m.linkName(a.ParentIndex), m.name
		}
	case *netlink.Vxlan:
		s.Parent = names[l.VtepDevIndex]
		beneath := nsids[a.NetNsID]
		if a.NetNsID < 0 {
			beneath = nil
		}
		if beneath != nil { // it was moved away from where its tunnel begins
			s.Parent = ""
			if l.VtepDevIndex != 0 {
				s.Parent, s.ParentNode = beneath.linkName(l.VtepDevIndex), beneath.name
			}
		}
		s.VXLAN = &state.VXLAN{ID: l.VxlanId, Port: l.Port, Learning: l.Learning, Proxy: l.Proxy, L2Miss: l.L2miss, L3Miss: l.L3miss}
		if l.SrcAddr != nil {
			s.VXLAN.Local = l.SrcAddr.String()
		}
		if l.Group != nil {
			s.VXLAN.Remote = l.Group.String()
		}
		if beneath != nil {
			s.VXLAN.Node = beneath.name
		}
	}
	if s.Master != "" {
		s.Port = port
	}
	return s
}

var scopes = map[int]string{int(netlink.SCOPE_UNIVERSE): "global", int(netlink.SCOPE_LINK): "link", int(netlink.SCOPE_HOST): "host"}

func readAddr(a netlink.Addr, dev string) state.Addr {
	ones, _ := a.Mask.Size()
	ip, _ := netip.AddrFromSlice(a.IP.To4())
	s := state.Addr{Prefix: netip.PrefixFrom(ip, ones), Scope: scopes[a.Scope]}
	if a.Broadcast != nil {
		s.Broadcast = a.Broadcast.String()
	}
	if a.Label != dev {
		s.Label = a.Label
	}
	addrRest(a, &s)
	return s
}

func readRoute(r netlink.Route, names map[int]string) state.Route {
	s := state.Route{Table: r.Table, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Dev: names[r.LinkIndex], Metric: r.Priority,
		Proto: r.Protocol.String(), Scope: scopes[int(r.Scope)], Type: "unicast",
		Onlink: r.Flags&int(netlink.FLAG_ONLINK) != 0, Down: r.Flags&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) != 0}
	for name, t := range routeTypes {
		if t == r.Type && name != "" {
			s.Type = name
		}
	}
	if r.Dst != nil {
		ones, _ := r.Dst.Mask.Size()
		ip, _ := netip.AddrFromSlice(r.Dst.IP.To4())
		s.Dst = netip.PrefixFrom(ip, ones)
	}
	for to, ip := range map[*string]net.IP{&s.Via: r.Gw, &s.Src: r.Src} {
		if ip != nil {
			*to = ip.String()
		}
	}
	return s
}

// readSysctls reads the settings of state.Sysctls, and of each device those
// that the state package names, and those that somebody wrote.
func (n *node) readSysctls(st *state.Node) map[string]string {
	m := map[string]string{}
	for _, key := range state.Sysctls {
		readSysctl(m, key, strings.ReplaceAll(key, ".", "/"))
	}
	for _, l := range st.Links {
		for _, key := range []string{"forwarding", "rp_filter", "route_localnet", "arp_ignore", "proxy_arp"} {
			readSysctl(m, "net.ipv4.conf."+l.Name+"."+key, "net/ipv4/conf/"+l.Name+"/"+key)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for key := range n.written {
		readSysctl(m, key, sysctlFile(key))
	}
	return m
}

// sysctlFile is where a setting is in /proc/sys: eth0/5 is the device eth0.5.
func sysctlFile(key string) string { return strings.NewReplacer(".", "/", "/", ".").Replace(key) }

func readSysctl(m map[string]string, key, file string) {
	if b, err := os.ReadFile("/proc/sys/" + file); err == nil {
		m[key] = strings.TrimSpace(string(b))
	}
}

// processNames returns, by inode, the sockets of the node's servers and tools
// with the command lines of their owners.
func (in *inside) processNames(n *node) map[string][]string {
	in.mu.Lock()
	defer in.mu.Unlock()
	names := map[string][]string{}
	owned := func(pid int, p *process) {
		if p.node != n.name {
			return
		}
		dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
		fds, err := os.ReadDir(dir)
		if err != nil {
			return
		}
		for _, fd := range fds {
			to, err := os.Readlink(dir + fd.Name())
			if inode, ok := strings.CutPrefix(to, "socket:["); err == nil && ok {
				names[strings.TrimSuffix(inode, "]")] = p.argv
			}
		}
	}
	for pid, p := range in.procs {
		owned(pid, p)
	}
	for pid, p := range in.tools {
		owned(pid, p)
	}
	return names
}

// errorCounters are what the kernel counts when it drops a packet between two
// hooks (snmp_counter.rst in the kernel's documentation).
var errorCounters = map[string]bool{
	"IpInHdrErrors": true, "IpInAddrErrors": true, "IpInUnknownProtos": true, "IpInDiscards": true, "IpOutDiscards": true,
	"IpOutNoRoutes": true, "IpExtInNoRoutes": true, "TcpExtIPReversePathFilter": true, "IcmpOutErrors": true,
}

// readCounters reads the node's error counters (/proc/net/snmp, netstat).
func (n *node) readCounters() map[string]uint64 {
	m := map[string]uint64{}
	for _, file := range []string{"snmp", "netstat"} {
		b, err := n.counts.read("/proc/thread-self/net/"+file, n)
		if err != nil {
			break // a node that is going has no counters
		}
		// Two lines each: "Ip: Forwarding DefaultTTL …", "Ip: 1 64 …".
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		for i := 0; i+1 < len(lines); i += 2 {
			keys, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
			for j := 1; j < len(keys) && j < len(values); j++ {
				name := strings.TrimSuffix(keys[0], ":") + keys[j]
				if v, err := strconv.ParseUint(values[j], 10, 64); err == nil && errorCounters[name] {
					m[name] = v
				}
			}
		}
	}
	return m
}

// kept are files of a node's /proc that are read again and again: opened once,
// in the node, they stay the node's.
type kept struct {
	mu    sync.Mutex
	files map[string]*os.File
	buf   []byte
}

// read returns what a file says now.
func (k *kept) read(name string, n *node) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.files[name]
	if f == nil {
		err := n.enter(func() (err error) {
			f, err = os.Open(name)
			return err
		})
		if err != nil {
			return nil, err
		}
		if k.files == nil {
			k.files = map[string]*os.File{}
		}
		k.files[name] = f
	}
	if k.buf == nil {
		k.buf = make([]byte, 16<<10)
	}
	m, err := f.ReadAt(k.buf, 0)
	if err == io.EOF {
		err = nil
	}
	return slices.Clone(k.buf[:m]), err
}

func (k *kept) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.files {
		f.Close()
	}
}
