package sim

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Link is a network device (struct net_device).
type Link struct {
	ns     *Netns
	index  int
	name   string
	kind   linkKind
	mac    MAC
	mtu    int
	up     bool // IFF_UP
	gone   bool // it was deleted: nobody may use it
	everUp bool // it has had its queue since (noop until then)

	// carrierOn is what the driver says of the cable, whether the link is up or
	// not (netif_carrier_ok); watched, whether that ever changed, and with it the
	// operational state (linkwatch_fire_event).
	carrierOn, watched bool

	addrs []*ifAddr // in the order the kernel keeps them: primaries first within a scope
	conf  devConf   // net.ipv4.conf.NAME
	arp   neighConf // net.ipv4.neigh.NAME

	peer   *Link       // veth: the other end; nil when it is in no node
	far    *state.Link // veth without a peer: what a snapshot told of it
	parent *Link       // macvlan, vxlan: the device beneath
	uppers []*Link     // macvlans on it, and vxlans bound to it
	master *Link       // the bridge it is a port of
	port   *bridgePort // with a master: its settings there
	bridge *bridge     // when it is a bridge itself
	vxlan  *vxlan

	neighs  map[IP]*neigh // who is there (neigh.go)
	proxies map[IP]bool   // for whom it answers ARP (pneigh)
}

// linkKind is the sort of device, as `ip -d link` names it.
type linkKind string

const (
	kindLoopback linkKind = "loopback"
	kindVeth     linkKind = "veth"
	kindBridge   linkKind = "bridge"
	kindMacvlan  linkKind = "macvlan"
	kindVXLAN    linkKind = "vxlan"
)

const (
	ethDataLen    = 1500
	minMTU        = 68 // ETH_MIN_MTU
	maxMTU        = 65535
	vxlanHeadroom = 50 // VXLAN_HEADROOM: outer Ethernet, IP, UDP and VXLAN headers
	vxlanPort     = 8472
)

// LinkAdd makes a link (rtnl_newlink, net/core/rtnetlink.c).
func (n *Netns) LinkAdd(o op.LinkAdd) *op.Failure {
	// What ip(8) looks up before it asks the kernel.
	var parent *Link
	var f *op.Failure
	if o.Parent != "" {
		if parent, f = n.find(o.Parent); f != nil {
			return f
		}
	}
	peerNs := n
	if o.PeerNetns != "" {
		if peerNs, f = n.netnsNamed(o.PeerNetns); f != nil {
			return f
		}
	}
	l := &Link{ns: n, kind: linkKind(o.Kind), mtu: ethDataLen, carrierOn: true}
	if o.MAC != "" {
		if l.mac, f = parseMAC(o.MAC); f != nil {
			return f
		}
		if !l.mac.valid() { // the validate function of each kind
			if l.kind == kindVXLAN {
				return fail(eaddrnotavail, "Provided Ethernet address is not unicast")
			}
			return fail(eaddrnotavail, "")
		}
	} else {
		l.mac = n.w.randomMAC()
	}
	if l.kind == kindVeth && o.MTU != 0 && (o.MTU < minMTU || o.MTU > maxMTU) {
		return fail(einval, "") // veth_validate
	}
	if n.byName[o.Name] != nil {
		return fail(eexist, "")
	}
	switch l.kind {
	case kindVeth, kindBridge, kindMacvlan, kindVXLAN:
	default:
		return fail(eopnotsupp, "Unknown device type")
	}
	if len(o.Peer) > 15 || o.Peer != "" && !validName(o.Peer) {
		return fail(einval, "")
	}
	if o.MTU != 0 { // rtnl_create_link
		switch {
		case o.MTU < minMTU:
			return fail(einval, "mtu less than device minimum")
		case o.MTU > maxMTU:
			return fail(einval, "mtu greater than device maximum")
		}
		l.mtu = o.MTU
	}
	switch l.kind {
	case kindVeth:
		return n.addVeth(l, o, peerNs)
	case kindBridge:
		return n.addBridge(l, o)
	case kindMacvlan:
		return n.addMacvlan(l, o, parent)
	}
	return n.addVXLAN(l, o, parent)
}

// addVeth: veth_newlink, drivers/net/veth.c. The peer comes first.
func (n *Netns) addVeth(l *Link, o op.LinkAdd, peerNs *Netns) *op.Failure {
	peer := &Link{ns: peerNs, kind: kindVeth, mtu: ethDataLen, mac: n.w.randomMAC()}
	if o.Peer == "" && o.PeerNetns == "" { // what is said of the one counts for both
		peer.mtu = l.mtu // but for the address
	}
	if peer.name = o.Peer; peer.name == "" {
		peer.name = peerNs.freeName("veth%d")
	}
	if peerNs.byName[peer.name] != nil {
		return fail(eexist, "")
	}
	peerNs.register(peer, 0)
	peer.carrierOff()
	l.name = n.freeName(o.Name)
	if taken := n.byName[l.name] != nil; taken || len(l.name) > 15 || !validName(l.name) {
		peerNs.remove(peer)
		if taken { // by the peer
			return fail(eexist, "")
		}
		return fail(einval, "")
	}
	n.register(l, 0)
	l.carrierOff()
	l.peer, peer.peer = peer, l
	l.numberNamespaces()
	return nil
}

// addBridge: br_dev_newlink, net/bridge/br_netlink.c.
func (n *Netns) addBridge(l *Link, o op.LinkAdd) *op.Failure {
	if l.name = n.freeName(o.Name); len(l.name) > 15 || !validName(l.name) {
		return fail(einval, "")
	}
	l.bridge = newBridge(l)
	n.register(l, 0)
	l.fdbLocal(nil, l.mac)
	if o.MAC != "" {
		l.bridge.macSet = true
		n.w.changeBridgeID(l, l.mac)
	}
	return nil
}

// addMacvlan: macvlan_common_newlink, drivers/net/macvlan.c.
func (n *Netns) addMacvlan(l *Link, o op.LinkAdd, parent *Link) *op.Failure {
	if parent == nil {
		return fail(einval, "")
	}
	for parent.kind == kindMacvlan { // one on top of another stands beside it
		if parent.parent == nil {
			return fail(enodev, "")
		}
		parent = parent.parent
	}
	if o.MTU == 0 {
		l.mtu = parent.mtu
	} else if l.mtu > parent.mtu {
		return fail(einval, "")
	}
	switch { // macvlan_port_create
	case parent.kind == kindLoopback:
		return fail(einval, "")
	case parent.master != nil:
		return fail(ebusy, "")
	}
	if l.name, l.parent = n.freeName(o.Name), parent; len(l.name) > 15 || !validName(l.name) {
		return fail(einval, "")
	}
	n.register(l, 0)
	parent.uppers = append(parent.uppers, l)
	l.followCarrier()
	l.watched = true
	l.numberNamespaces()
	return nil
}

// addVXLAN: vxlan_newlink, drivers/net/vxlan/vxlan_core.c.
func (n *Netns) addVXLAN(l *Link, o op.LinkAdd, parent *Link) *op.Failure {
	v := newVXLAN(n, l)
	v.vni, v.local, v.remote = uint32(o.VNI), ipOf(o.Local), ipOf(o.Remote)
	v.proxy, v.l2miss, v.l3miss = o.Proxy, o.L2Miss, o.L3Miss
	if v.port = uint16(o.Port); v.port == 0 {
		v.port = vxlanPort
	}
	if v.remote.multicast() && parent == nil {
		return fail(einval, "Local interface required for multicast remote destination")
	}
	if parent != nil && (o.MTU == 0 || o.MTU > parent.mtu-vxlanHeadroom) {
		l.mtu = max(minMTU, parent.mtu-vxlanHeadroom) // vxlan_config_apply cuts it without a word
	}
	for _, m := range n.w.nodes { // vxlan_config_validate
		for _, other := range m.links {
			if x := other.vxlan; x != nil && x.ns == n && x.vni == v.vni && x.port == v.port {
				return fail(eexist, "A VXLAN device with the specified VNI already exists")
			}
		}
	}
	v.addDefault()
	if l.name, l.parent, l.vxlan = n.freeName(o.Name), parent, v; len(l.name) > 15 || !validName(l.name) {
		return fail(einval, "")
	}
	n.register(l, 0)
	if parent != nil {
		parent.uppers = append(parent.uppers, l)
	}
	return nil
}

// freeName fills the %d of a name with the first number that is free
// (__dev_alloc_name, net/core/dev.c).
func (n *Netns) freeName(name string) string {
	before, after, ok := strings.Cut(name, "%d")
	if !ok {
		return name
	}
	for i := 0; ; i++ {
		if s := before + strconv.Itoa(i) + after; n.byName[s] == nil {
			return s
		}
	}
}

// register puts a link into its namespace (register_netdevice): under the
// index it wants, if that is free, or else the next free one.
func (n *Netns) register(l *Link, want int) {
	if want == 0 || n.linkAt(want) != nil {
		for want = n.nextIf; n.linkAt(want) != nil; want++ {
		}
		n.nextIf = want + 1
	}
	l.ns, l.index = n, want
	l.conf, l.arp = n.dflt, defaultNeighConf
	i, _ := slices.BinarySearchFunc(n.links, want, byIndex)
	n.links = slices.Insert(n.links, i, l)
	n.w.links++
	n.byName[l.name] = l
}

// remove takes a link out of its namespace.
func (n *Netns) remove(l *Link) {
	n.links = slices.DeleteFunc(n.links, func(m *Link) bool { return m == l })
	n.w.links--
	delete(n.byName, l.name)
}

// LinkDel removes a link (rtnl_dellink).
func (n *Netns) LinkDel(name string) *op.Failure {
	l, f := n.find(name)
	if f != nil {
		return f
	}
	if l.kind == kindLoopback {
		return fail(eopnotsupp, "")
	}
	n.unregister(l)
	return nil
}

// unregister takes a link away with all that hangs on it
// (unregister_netdevice_many_notify, net/core/dev.c, and the dellink function
// of each kind).
func (n *Netns) unregister(l *Link) {
	if l.gone {
		return
	}
	l.gone = true
	if l.bridge != nil { // br_dev_delete
		for len(l.bridge.ports) > 0 {
			n.w.leaveBridge(l.bridge.ports[0])
		}
	}
	n.withdraw(l)
	n.remove(l)
	for _, u := range slices.Clone(l.uppers) { // macvlan_device_event, vxlan_netdevice_event
		u.ns.unregister(u)
	}
	if p := l.parent; p != nil {
		p.uppers = slices.DeleteFunc(p.uppers, func(u *Link) bool { return u == l })
	}
	if peer := l.peer; peer != nil { // veth_dellink
		l.peer, peer.peer = nil, nil
		peer.ns.unregister(peer)
	}
}

// withdraw takes a link out of use in its namespace: down, out of its bridge,
// its addresses and routes gone. It is what deletion and moving share
// (NETDEV_UNREGISTER).
func (n *Netns) withdraw(l *Link) {
	n.setDown(l)
	if l.master != nil {
		n.w.leaveBridge(l)
	}
	n.linkGone(l)
	n.inetdevDestroy(l)
}

func parseMAC(s string) (MAC, *op.Failure) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return 0, fail(einval, "")
	}
	return MACOf(hw), nil
}

// valid reports whether a device can have the address (is_valid_ether_addr).
func (m MAC) valid() bool { return !m.multicast() && m != 0 }

// randomMAC makes a locally administered address (eth_random_addr).
func (w *World) randomMAC() (m MAC) {
	r := w.random.Uint64()
	for range 6 {
		m, r = m<<8|MAC(r&0xff), r>>8
	}
	return m&^(1<<40) | 2<<40
}

// numberNamespaces gives numbers to the namespaces that a link's two halves
// are in, as telling of them does (rtnl_fill_link_netnsid).
func (l *Link) numberNamespaces() {
	other := l.beneath()
	if other == nil || other.ns == l.ns {
		return
	}
	l.ns.nsid(other.ns)
	if l.peer != nil {
		other.ns.nsid(l.ns)
	}
}

// beneath is the device that IFLA_LINK names (dev_get_iflink).
func (l *Link) beneath() *Link {
	if l.kind == kindVeth {
		return l.peer
	}
	return l.parent
}
