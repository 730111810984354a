package sim

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// FromSnapshot makes a world that goes on as the one a snapshot was taken of,
// whichever backend that was. What the world had learned in the meantime (ages,
// which random number comes next) is not in a snapshot, and begins anew.
func FromSnapshot(s *state.Snapshot, o Options) (*World, error) {
	if s == nil {
		return nil, fmt.Errorf("there is no snapshot")
	}
	if s.Version != state.Version {
		return nil, fmt.Errorf("the snapshot has version %d; this program reads version %d", s.Version, state.Version)
	}
	w := empty(o)
	w.spawned = s.Spawned
	for i := range s.Nodes {
		if err := w.restoreNode(&s.Nodes[i]); err != nil {
			return nil, fmt.Errorf("node %q: %w", s.Nodes[i].Name, err)
		}
	}
	for i, n := range w.nodes { // what a link hangs on may be in a later node
		for j := range s.Nodes[i].Links {
			if err := w.connect(n.byName[s.Nodes[i].Links[j].Name], &s.Nodes[i].Links[j]); err != nil {
				return nil, fmt.Errorf("node %q, link %q: %w", n.name, s.Nodes[i].Links[j].Name, err)
			}
		}
	}
	for i, n := range w.nodes {
		if err := n.restore(&s.Nodes[i]); err != nil {
			return nil, fmt.Errorf("node %q: %w", n.name, err)
		}
	}
	return w, nil
}

// restoreNode makes a node with its links, which know nothing of each other yet.
func (w *World) restoreNode(s *state.Node) error {
	switch s.Kind {
	case state.Machine, state.Container, state.Switch:
	default:
		return fmt.Errorf("kind %q is none of machine, container, switch", s.Kind)
	}
	if s.Name == "" || w.byName[s.Name] != nil {
		return fmt.Errorf("a node needs a name of its own")
	}
	n := w.addNode(s.Name, s.Kind, s.Machine)
	if s.Netns != 0 {
		n.inode = s.Netns
		w.inode = max(w.inode, s.Netns)
	}
	n.netnsLinks = maps.Clone(s.NetnsLinks)
	if s.Kind == state.Container && s.Mounted {
		n.pin = s.Name
		// A node whose name was taken has it with primes.
		if bare := strings.TrimRight(s.Name, "'"); w.byName[bare] != nil && bare != s.Name {
			n.pin = bare
		}
	}
	for i := range s.Links {
		if err := n.restoreLink(&s.Links[i]); err != nil {
			return fmt.Errorf("link %q: %w", s.Links[i].Name, err)
		}
	}
	if n.byName["lo"] == n.lo && !slices.ContainsFunc(s.Links, func(l state.Link) bool { return l.Type == string(kindLoopback) }) {
		return fmt.Errorf("there is no loopback link")
	}
	return nil
}

func (n *Netns) restoreLink(s *state.Link) error {
	l := &Link{ns: n, name: s.Name, kind: linkKind(s.Type), mtu: s.MTU, up: s.Up, carrierOn: true,
		everUp: s.Qdisc == "noqueue" || s.Qdisc == "" && s.Up}
	switch l.kind {
	case kindLoopback:
		if len(n.links) != 1 || n.links[0] != n.lo || s.Index != 1 {
			return fmt.Errorf("a node has one loopback link, and its index is 1")
		}
		n.remove(n.lo)
		n.lo = l
	case kindBridge:
		l.bridge = newBridge(l)
		l.bridge.macSet = s.MACSet
		if s.Ageing != nil {
			l.bridge.ageing = time.Duration(*s.Ageing) * 10 * time.Millisecond
		}
	case kindVXLAN:
		l.vxlan = newVXLAN(n, l)
		if err := l.vxlan.restore(s.VXLAN); err != nil {
			return err
		}
	case kindVeth, kindMacvlan:
	default:
		return fmt.Errorf("links of type %q are not simulated", s.Type)
	}
	switch {
	case len(s.Name) > 15 || !validName(s.Name):
		return fmt.Errorf("it cannot have that name")
	case n.byName[s.Name] != nil:
		return fmt.Errorf("the name is taken")
	case s.Index < 1 || n.linkAt(s.Index) != nil:
		return fmt.Errorf("the index %d is taken, or none", s.Index)
	case s.MTU < 0 || s.MTU > 1<<31-1:
		return fmt.Errorf("it cannot have an MTU of %d", s.MTU)
	}
	if s.MAC != "" {
		mac, f := parseMAC(s.MAC)
		if f != nil {
			return fmt.Errorf("%q is no MAC address", s.MAC)
		}
		l.mac = mac
	}
	n.register(l, s.Index)
	n.nextIf = max(n.nextIf, s.Index+1)
	if s.Up {
		l.carrierOn, l.watched = s.Carrier, s.State != "UNKNOWN"
	}
	return nil
}

func (v *vxlan) restore(s *state.VXLAN) error {
	if s == nil {
		return fmt.Errorf("a vxlan link needs its settings")
	}
	v.vni, v.port, v.learning = uint32(s.ID), uint16(s.Port), s.Learning
	v.proxy, v.l2miss, v.l3miss = s.Proxy, s.L2Miss, s.L3Miss
	for _, e := range []struct {
		text string
		ip   *IP
	}{{s.Local, &v.local}, {s.Remote, &v.remote}} {
		if e.text == "" {
			continue
		}
		a, err := netip.ParseAddr(e.text)
		if err != nil || !a.Is4() {
			return fmt.Errorf("%q is no IPv4 address", e.text)
		}
		*e.ip = ipOf(a)
	}
	return nil
}

// connect ties a link to its peer, its parent and its master.
func (w *World) connect(l *Link, s *state.Link) error {
	n := l.ns
	if s.Master != "" {
		br := n.byName[s.Master]
		if br == nil || br.bridge == nil {
			return fmt.Errorf("its master %q is no bridge of the node", s.Master)
		}
		l.master, l.port = br, newBridgePort()
		if p := s.Port; p != nil {
			l.port.no, l.port.hairpin, l.port.isolated, l.port.learning, l.port.flood = p.No, p.Hairpin, p.Isolated, p.Learning, p.Flood
			l.port.state = portState(max(0, slices.Index(portStates[:], p.State)))
		}
		if l.port.no == 0 {
			l.port.no = len(br.bridge.ports) + 1
		}
		// Newest first: a port's number is mostly its age.
		at, _ := slices.BinarySearchFunc(br.bridge.ports, l.port.no, func(p *Link, no int) int { return no - p.port.no })
		br.bridge.ports = slices.Insert(br.bridge.ports, at, l)
	}
	if s.Parent != "" {
		in := n
		if s.ParentNode != "" {
			in = w.byName[s.ParentNode]
		}
		if in == nil || in.byName[s.Parent] == nil {
			return fmt.Errorf("there is no parent %q", s.Parent)
		}
		l.parent = in.byName[s.Parent]
		for up := l.parent; up != nil; up = up.parent {
			if up == l {
				return fmt.Errorf("it is its own parent")
			}
		}
		l.parent.uppers = append(l.parent.uppers, l)
	}
	if l.vxlan != nil && s.VXLAN.Node != "" {
		if l.vxlan.ns = w.byName[s.VXLAN.Node]; l.vxlan.ns == nil {
			return fmt.Errorf("its tunnel begins in %q, which is no node", s.VXLAN.Node)
		}
	}
	if l.kind == kindVeth {
		l.watched = true
		if !s.Up {
			l.carrierOn = false
		}
		far := w.byName[s.PeerNode]
		var peer *Link
		if far != nil {
			peer = far.byName[s.PeerName]
		}
		switch {
		case peer == nil: // in a namespace that is no node
			l.far = s
		case peer == l || peer.kind != kindVeth || peer.peer != nil && peer.peer != l:
			return fmt.Errorf("its peer %s of %s is another's", s.PeerName, s.PeerNode)
		default:
			l.peer = peer
			if peer.peer == nil {
				peer.peer = l
			}
			if s.PeerNsid != nil && far != n {
				n.nsids[far] = *s.PeerNsid
			}
		}
	}
	return nil
}

// restore gives a node all that is not its links'.
func (n *Netns) restore(s *state.Node) error {
	n.variant = s.IptablesVariant
	for _, l := range n.links {
		if b := l.bridge; b != nil {
			n.restoreBridge(l)
		}
		if l.kind == kindMacvlan {
			l.watched = true
			if !l.up && l.parent != nil {
				l.carrierOn = l.parent.carrierOn
			}
		}
		l.numberNamespaces()
	}
	if err := n.restoreSysctls(s.Sysctls); err != nil {
		return err
	}
	for i := range s.Links {
		l := n.byName[s.Links[i].Name]
		for _, a := range s.Links[i].Addrs {
			if err := l.restoreAddr(a); err != nil {
				return fmt.Errorf("link %q: %w", l.name, err)
			}
		}
	}
	n.restoreAddrRoutes(s.Routes)
	// The addresses' routes to their networks are in the snapshot, if nobody
	// deleted them.
	n.fib.main = &fibTable{id: tableMain}
	n.fib.tables[tableMain] = n.fib.main
	for _, r := range s.Routes {
		if err := n.restoreRoute(r); err != nil {
			return fmt.Errorf("route %s: %w", &r, err)
		}
	}
	if err := n.restorePolicies(s.Policies); err != nil {
		return err
	}
	n.fibChanged()
	n.restoreNeighs(s.Neighs)
	n.restoreFDB(s.FDB)
	if err := n.restoreTables(s.Tables); err != nil {
		return err
	}
	n.w.restoreConns(n, s.Conns)
	tunnels := n.tunnelSockets()
	n.restoreListeners(slices.DeleteFunc(slices.Clone(s.Listeners), func(l state.Listener) bool {
		return slices.ContainsFunc(tunnels, func(t state.Listener) bool {
			return l.Process == "" && l.Proto == t.Proto && l.Addr == t.Addr && l.Port == t.Port
		})
	}))
	if s.Keeper != 0 {
		if len(n.procs) == 0 {
			n.Start("sleep", "infinity")
		}
		n.procs[0].PID = s.Keeper
		if s.Keeper <= op.FirstSpawn {
			n.w.pid = max(n.w.pid, s.Keeper)
		}
	}
	return nil
}

// restoreBridge guesses what of a bridge was set by hand: what does not follow
// from its ports.
func (n *Netns) restoreBridge(br *Link) {
	b := br.bridge
	mtu, mac := ethDataLen, br.mac
	for i, p := range b.ports {
		if i == 0 || p.mtu < mtu {
			mtu = p.mtu
		}
		if i == 0 || p.mac < mac {
			mac = p.mac
		}
	}
	b.mtuSet, b.macSet = br.mtu != mtu, b.macSet || br.mac != mac
	if !br.up && (len(b.ports) > 0 || br.mac == 0) { // it has had ports
		br.carrierOn, br.watched = false, true
	}
}

func (l *Link) restoreAddr(s state.Addr) error {
	scope, ok := scopeNumber(s.Scope)
	if !s.Prefix.IsValid() || !s.Prefix.Addr().Is4() || !ok {
		return fmt.Errorf("address %v with scope %q: not of IPv4", s.Prefix, s.Scope)
	}
	a := &ifAddr{ip: ipOf(s.Prefix.Addr()), bits: s.Prefix.Bits(), scope: scope, label: s.Label, metric: uint32(s.Metric), noRoute: s.NoRoute}
	if s.Broadcast != "" {
		b, err := netip.ParseAddr(s.Broadcast)
		if err != nil || !b.Is4() {
			return fmt.Errorf("address %v: %q is no broadcast address", s.Prefix, s.Broadcast)
		}
		a.broadcast = ipOf(b)
	}
	if a.label == "" {
		a.label = l.name
	}
	if a.peer = a.ip; s.Peer.IsValid() {
		a.peer = ipOf(s.Peer)
	}
	a.secondary = slices.ContainsFunc(l.addrs, func(b *ifAddr) bool { return b.sameNet(a) })
	l.addrs = append(l.addrs, a)
	l.conf.set = allSet
	return nil
}

func (n *Netns) restoreRoute(s state.Route) error {
	typ, ok := typeNumber(s.Type)
	scope, ok2 := scopeNumber(s.Scope)
	proto, ok3 := protNumber(s.Proto)
	if !ok || !ok2 || !ok3 || typ == rtnUnspec || !s.Dst.IsValid() || !s.Dst.Addr().Is4() || s.Dst.Masked() != s.Dst || s.Table < 1 {
		return fmt.Errorf("it is not complete")
	}
	r := &fibRow{table: s.Table, dst: ipOf(s.Dst.Addr()), bits: s.Dst.Bits(), tos: uint8(s.TOS), typ: typ, scope: scope, proto: proto,
		metric: uint32(s.Metric), onlink: s.Onlink, linkdown: s.Down, nhScope: scopeHost}
	for _, e := range []struct {
		text string
		ip   *IP
	}{{s.Via, &r.gateway}, {s.Src, &r.prefsrc}} {
		if e.text == "" {
			continue
		}
		a, err := netip.ParseAddr(e.text)
		if err != nil || !a.Is4() {
			return fmt.Errorf("%q is no IPv4 address", e.text)
		}
		*e.ip = ipOf(a)
	}
	if r.dev = n.byName[s.Dev]; r.dev == nil && typ.errno() == 0 {
		return fmt.Errorf("there is no device %q", s.Dev)
	}
	switch {
	case scope == scopeHost:
		r.nhScope = scopeNowhere
	case r.gateway != 0 && n.local(r.gateway):
	case r.gateway != 0:
		r.nhScope = scopeLink
	}
	t := n.fib.newTable(r.table)
	rows := t.at(r.dst, r.bits)
	at := findAlias(rows, r.tos, r.metric)
	for at < len(rows) && rows[at].tos == r.tos && rows[at].metric == r.metric { // behind those that came before it
		at++
	}
	t.set(r.dst, r.bits, slices.Insert(rows, at, r))
	return nil
}

// restoreAddrRoutes makes what follows from the addresses. Of links that share a
// network the one comes first whose route to it does: it was there first.
func (n *Netns) restoreAddrRoutes(main []state.Route) {
	type owned struct {
		l    *Link
		a    *ifAddr
		rank int
	}
	var all []owned
	for _, l := range n.links {
		for _, a := range l.addrs {
			rank := slices.IndexFunc(main, func(r state.Route) bool {
				return r.Table == tableMain && r.Dev == l.name && r.Dst == netip.PrefixFrom((a.peer&mask(a.bits)).Addr(), a.bits)
			})
			if rank < 0 {
				rank = len(main)
			}
			all = append(all, owned{l, a, rank})
		}
	}
	slices.SortStableFunc(all, func(a, b owned) int { return cmp.Compare(a.rank, b.rank) })
	for _, o := range all {
		n.addAddrRoutes(o.l, o.a)
	}
}

func (n *Netns) restorePolicies(all []state.Policy) error {
	if len(all) == 0 {
		return nil // a snapshot from before there were any in it
	}
	before := n.fib.policies
	n.fib.policies = nil
	for _, s := range all {
		p, f := policyOf(PolicyRequest{Policy: s})
		if f != nil {
			return fmt.Errorf("policy rule %d is not complete", s.Priority)
		}
		if s.Priority == 0 && s.Proto == "" || p.proto == 0 {
			p.proto = protKernel
		}
		n.fib.insert(p)
	}
	n.fib.custom = !slices.Equal(before, n.fib.policies)
	return nil
}

// restoreSysctls writes the settings as they are, without what writing them
// would do to others.
func (n *Netns) restoreSysctls(all map[string]string) error {
	for _, pass := range []string{"net.ipv4.conf.all.", "net.ipv4.conf.default.", ""} {
		for key, value := range all {
			if early := strings.HasPrefix(key, "net.ipv4.conf.all.") || strings.HasPrefix(key, "net.ipv4.conf.default."); early != (pass != "") ||
				!strings.HasPrefix(key, pass) {
				continue
			}
			if err := n.restoreSysctl(key, value); err != nil {
				return err
			}
			if name, ok := strings.CutPrefix(key, "net.ipv4.conf.default."); ok {
				for _, k := range confKeys {
					if k.name == name {
						for _, l := range n.links {
							*k.at(&l.conf) = *k.at(&n.dflt)
						}
					}
				}
			}
		}
	}
	if _, ok := all["net.ipv4.conf.all.accept_redirects"]; !ok && n.conf.forwarding != 0 {
		n.conf.acceptRedirects = 0 // what switching it on does (inet_forward_change)
	}
	return nil
}

func (n *Netns) restoreSysctl(key, value string) error {
	if key == "net.ipv4.ip_forward" {
		key = "net.ipv4.conf.all.forwarding"
	}
	if rest, ok := strings.CutPrefix(key, "net.ipv4.conf."); ok {
		dev, name, _ := cutLast(rest)
		c := n.confOf(dev)
		for i, k := range confKeys {
			if v, _, ok := readInt(value); k.name == name && ok && c != nil {
				*k.at(c) = v
				if !slices.Contains(state.Sysctls, key) && !slices.Contains(linkSysctls, name) {
					n.keepSysctl("net.ipv4.conf." + dev + "." + name)
				}
				if dev != "all" && dev != "default" && v != *k.at(&n.dflt) {
					c.set |= 1 << i
				}
				return nil
			}
		}
	}
	n.keepSysctl(key)
	s, ok := n.setting(key)
	if !ok || s.write == nil {
		return nil // a setting that the model does not have, or another version's
	}
	if s.write(value) != 0 {
		return fmt.Errorf("setting %s cannot be %q", key, value)
	}
	return nil
}

// confOf returns the settings of all, default or a link by its name, in either
// form.
func (n *Netns) confOf(dev string) *devConf {
	switch dev {
	case "all":
		return &n.conf
	case "default":
		return &n.dflt
	}
	for _, name := range []string{dev, swapDots(dev)} {
		if l := n.byName[name]; l != nil {
			return &l.conf
		}
	}
	return nil
}
