package sim

import (
	"maps"
	"slices"
	"time"

	"vethlab/sim/state"
)

// snapshot writes the world's whole state down.
func (w *World) snapshot() *state.Snapshot {
	s := &state.Snapshot{Version: state.Version, Spawned: w.spawned}
	for _, n := range w.nodes {
		s.Nodes = append(s.Nodes, n.snapshot())
	}
	return s
}

func (n *Netns) snapshot() state.Node {
	s := state.Node{Name: n.name, Kind: n.kind, Netns: n.inode, Mounted: n.pin != "" || n.kind != state.Container,
		Links: []state.Link{}, Routes: []state.Route{}, NetnsLinks: maps.Clone(n.netnsLinks)}
	if n.kind == state.Container {
		s.Machine = n.machine
		if n.pin == "" && len(n.procs) > 0 {
			s.Keeper = n.procs[0].PID
		}
	}
	for _, l := range n.links {
		s.Links = append(s.Links, l.snapshot())
	}
	for _, r := range n.Routes() {
		if r.Table != tableLocal || r.Proto != "kernel" {
			s.Routes = append(s.Routes, r)
		}
	}
	for i := range n.fib.policies {
		s.Policies = append(s.Policies, n.fib.policies[i].state())
	}
	s.Neighs = n.snapNeighs()
	s.FDB = n.snapFDB()
	s.Sysctls = n.snapSysctls()
	s.Listeners = append(n.snapListeners(), n.tunnelSockets()...)
	if n.kind != state.Switch {
		s.Tables = n.snapTables()
		s.IptablesVariant = n.variant
		s.Conns = n.w.snapConns(n)
	}
	return s
}

// tunnelSockets are the kernel's own sockets, which take what comes out of
// tunnels (vxlan_open, drivers/net/vxlan/vxlan_core.c).
func (n *Netns) tunnelSockets() (ls []state.Listener) {
	for _, m := range n.w.nodes {
		for _, l := range m.links {
			if v := l.vxlan; v != nil && v.ns == n && l.up {
				s := state.Listener{Proto: "udp", Addr: IP(0).Addr(), Port: v.port}
				if !slices.ContainsFunc(ls, func(t state.Listener) bool { return t.Port == s.Port }) {
					ls = append(ls, s)
				}
			}
		}
	}
	return ls
}

func (l *Link) snapshot() state.Link {
	s := state.Link{Index: l.index, Name: l.name, Type: string(l.kind), MTU: l.mtu, Up: l.up,
		Carrier: l.carrier(), State: l.operstate(), Qdisc: "noop"}
	if l.mac != 0 {
		s.MAC = l.mac.String()
	}
	if l.everUp {
		s.Qdisc = "noqueue"
	}
	if l.master != nil {
		s.Master = l.master.name
	}
	if p := l.port; p != nil {
		s.Port = &state.BridgePort{State: p.state.String(), No: p.no, Hairpin: p.hairpin, Isolated: p.isolated, Learning: p.learning, Flood: p.flood}
	}
	switch {
	case l.peer != nil:
		s.PeerNode, s.PeerName, s.PeerIndex = l.peer.ns.name, l.peer.name, l.peer.index
		if l.peer.ns != l.ns {
			id := l.ns.nsid(l.peer.ns)
			s.PeerNsid = &id
		}
	case l.far != nil: // known from a snapshot alone
		s.PeerNode, s.PeerName, s.PeerIndex, s.PeerNsid = l.far.PeerNode, l.far.PeerName, l.far.PeerIndex, l.far.PeerNsid
	}
	if l.parent != nil {
		s.Parent = l.parent.name
		if l.parent.ns != l.ns {
			s.ParentNode = l.parent.ns.name
		}
	}
	if v := l.vxlan; v != nil {
		s.VXLAN = &state.VXLAN{ID: int(v.vni), Port: int(v.port), Learning: v.learning, Proxy: v.proxy, L2Miss: v.l2miss, L3Miss: v.l3miss}
		if v.local != 0 {
			s.VXLAN.Local = v.local.String()
		}
		if v.remote != 0 {
			s.VXLAN.Remote = v.remote.String()
		}
		if v.ns != l.ns {
			s.VXLAN.Node = v.ns.name
		}
	}
	if l.bridge != nil {
		s.MACSet = l.bridge.macSet
	}
	if b := l.bridge; b != nil && b.ageing != bridgeAgeing {
		n := int(b.ageing / (10 * time.Millisecond))
		s.Ageing = &n
	}
	for _, a := range l.addrs {
		t := state.Addr{Prefix: a.prefix(), Scope: scopeName(a.scope), Label: a.labelled(l), Secondary: a.secondary,
			Metric: int(a.metric), NoRoute: a.noRoute}
		if a.broadcast != 0 {
			t.Broadcast = a.broadcast.String()
		}
		if a.peer != a.ip {
			t.Peer = a.peer.Addr()
		}
		s.Addrs = append(s.Addrs, t)
	}
	return s
}

// Routes are the rows of all tables, the local one's too, in the order in
// which the kernel lists them.
func (n *Netns) Routes() []state.Route {
	var rows []state.Route
	for _, id := range n.fib.ids() {
		for _, r := range n.fib.tables[id].all() {
			rows = append(rows, r.state())
		}
	}
	return rows
}

func (r *fibRow) state() state.Route {
	s := state.Route{Table: r.table, Type: r.typ.String(), Dst: r.prefix(), Proto: protName(r.proto), Scope: scopeName(r.scope),
		Metric: int(r.metric), Onlink: r.onlink, TOS: int(r.tos), Down: r.linkdown}
	if r.gateway != 0 {
		s.Via = r.gateway.String()
	}
	if r.dev != nil {
		s.Dev = r.dev.name
	}
	if r.prefsrc != 0 {
		s.Src = r.prefsrc.String()
	}
	return s
}

// linkSysctls are those that a snapshot has of every link.
var linkSysctls = []string{"forwarding", "rp_filter", "route_localnet", "arp_ignore", "proxy_arp"}

// snapSysctls are the settings that every snapshot has, and those that somebody
// wrote.
func (n *Netns) snapSysctls() map[string]string {
	m := map[string]string{}
	for _, key := range state.Sysctls {
		if s, ok := n.setting(key); ok {
			m[key] = s.read()
		}
	}
	for _, l := range n.links {
		for _, name := range linkSysctls {
			if s, ok := n.confSetting(l.name, name); ok {
				m["net.ipv4.conf."+l.name+"."+name] = s.read()
			}
		}
	}
	for key := range n.written {
		if s, ok := n.setting(key); ok {
			m[key] = s.read()
		}
	}
	return m
}
