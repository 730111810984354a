package sim

import (
	"slices"
	"time"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// VXLAN: Ethernet frames inside UDP packets (drivers/net/vxlan/vxlan_core.c,
// RFC 7348). The packet around the frame is an ordinary packet of the
// namespace that the device was made in, and meets its OUTPUT, routes and INPUT.
//
//	frame ─ tx vxlan ─ tunnel ─ route ─ OUTPUT ─ POSTROUTING ─ tx eth ┄┄ rx eth ─ PREROUTING ─ route ─ INPUT ─ tunnel ─ rx vxlan ─ frame
//	                            └──────────── the outer packet ────────────────────────────────────────┘
//
// In a journey the steps between the two tunnel steps show the frame's own
// packet, with the one around it as Header.Outer.

// vxlan is what makes a link a tunnel end (struct vxlan_dev).
type vxlan struct {
	ns       *Netns // whose sockets and routes carry it; the device may have moved on
	vni      uint32
	port     uint16
	local    IP // 0: chosen by the route
	remote   IP // where frames for unknown addresses go; 0: nowhere
	learning bool
	proxy    bool // ARP is answered here, and goes no further
	l2miss   bool // what it does not know is told to those who listen: nobody does here
	l3miss   bool
	fdb      map[MAC]*vxlanEntry
}

// vxlanEntry says behind which tunnel ends a MAC address is (struct vxlan_fdb).
// That of 00:00:00:00:00:00 is for every address that is not known.
type vxlanEntry struct {
	mac       MAC
	remotes   []IP
	permanent bool // put there by hand, or with the device
	static    bool // by hand, as static
	used      int64
	ways      []vxlanWay // to the remotes, where packets went
}

// vxlanWay is a route that was looked up, kept as long as no route changes
// (dst_cache of struct vxlan_rdst). It is of the entry and not of the address: a
// remote that is heard of from elsewhere is sent to by the way to where it was.
// The kernel has one for each CPU.
type vxlanWay struct {
	route route
	gen   uint32
}

// way returns the place for the route to a remote.
func (e *vxlanEntry) way(remote int) *vxlanWay {
	for len(e.ways) <= remote {
		e.ways = append(e.ways, vxlanWay{})
	}
	return &e.ways[remote]
}

// vxlanAgeing is FDB_AGE_DEFAULT.
const vxlanAgeing = 300 * time.Second

func newVXLAN(n *Netns, _ *Link) *vxlan {
	return &vxlan{ns: n, learning: true, fdb: map[MAC]*vxlanEntry{}}
}

// addDefault makes the entry for unknown addresses that a device with a remote
// begins with (__vxlan_dev_create).
func (v *vxlan) addDefault() {
	if v.remote != 0 {
		v.fdb[0] = &vxlanEntry{remotes: []IP{v.remote}, permanent: true}
	}
}

// find returns the entry for a MAC address, or nil (vxlan_find_mac).
func (v *vxlan) find(mac MAC) *vxlanEntry {
	e := v.fdb[mac]
	if e != nil && v.expired(e) {
		delete(v.fdb, mac)
		return nil
	}
	return e
}

func (v *vxlan) expired(e *vxlanEntry) bool {
	return !e.permanent && !e.static && v.ns.w.now-e.used > int64(vxlanAgeing)
}

// flush forgets what was learned (vxlan_stop).
func (v *vxlan) flush() {
	for mac, e := range v.fdb {
		if !e.permanent && !e.static {
			delete(v.fdb, mac)
		}
	}
}

// vxlanXmit sends a frame into the tunnel: to the end behind which its
// destination is, or to all ends there are for unknown ones (vxlan_xmit).
func (w *World) vxlanXmit(dev *Link, p *packet) {
	v := dev.vxlan
	if v.proxy && p.isARP() {
		w.vxlanARP(dev, p)
		return
	}
	e := v.find(p.dstMAC)
	if e == nil {
		e = v.find(0)
	} else {
		e.used = w.now
	}
	if e == nil || len(e.remotes) == 0 {
		w.end(p, ending{disposition: trace.Unbridged, code: trace.CodeNoTunnel, dev: dev})
		return
	}
	for i, to := range e.remotes[1:] {
		w.vxlanXmitOne(dev, w.clone(p), to, e.way(i+1))
	}
	w.vxlanXmitOne(dev, p, e.remotes[0], e.way(0))
}

// vxlanARP answers a question in the name of a neighbour that the device knows
// for good. Any other ARP ends here (arp_reduce).
func (w *World) vxlanARP(dev *Link, p *packet) {
	known := (*neigh)(nil)
	if !p.arpReply && !p.dst.multicast() && !p.dst.loopback() {
		known = dev.neighLookup(p.dst, false)
	}
	if known == nil || !known.state.connected() {
		w.end(p, ending{disposition: trace.Unbridged, code: trace.CodeNoTunnel, dev: dev})
		return
	}
	a := w.newPacket()
	a.etherType, a.arpReply = ethARP, true
	a.src, a.dst, a.arpMAC = p.dst, p.src, known.mac
	a.srcMAC, a.dstMAC = known.mac, p.arpMAC
	a.len = 28
	a.ns = dev.ns
	w.end(p, ending{disposition: trace.Delivered, code: trace.CodeDelivered})
	w.depart(a, arpFlow(a.dst, a.src), true)
	w.netifRx(dev, a)
}

// vxlanOverhead is what the tunnel adds to a frame's IP packet within the outer
// one: its Ethernet header, and the headers of VXLAN, UDP and IP.
const vxlanOverhead = 14 + 8 + 8 + 20

// tunnelRecursionLimit is like xmitRecursionLimit, for tunnels, which count as
// devices that are sending, too (IP_TUNNEL_RECURSION_LIMIT, iptunnel_xmit).
const tunnelRecursionLimit = 5

// vxlanXmitOne wraps a frame into a packet for one tunnel end (vxlan_xmit_one).
func (w *World) vxlanXmitOne(dev *Link, p *packet, to IP, way *vxlanWay) {
	v := dev.vxlan
	n := v.ns
	r, errno := dev.vxlanRoute(to, p.mark, way)
	if errno != 0 || to == 0 || r.dev == dev {
		w.end(p, ending{disposition: trace.NoRouteTo, code: trace.CodeNoRoute, ip: to})
		return
	}
	if r.local { // encap_bypass_if_local
		w.vxlanBypass(dev, p)
		return
	}
	if mtu := n.pathMTU(&r, to) - vxlanOverhead; int(p.len) > mtu { // skb_tunnel_check_pmtu
		if p.route.row != nil && p.ns == dev.ns {
			dev.ns.updatePMTU(flowi{dst: p.dst, iif: dev.ns.lo}, mtu)
		}
		if dev.port != nil && w.tunnelTooBig(dev, p, mtu) {
			return
		}
	}
	if w.xmits > tunnelRecursionLimit {
		w.loops(p)
		return
	}
	o := w.newPacket()
	o.etherType, o.proto, o.ttl = ethIP, protoUDP, n.defaultTTL()
	o.src, o.dst, o.dport = r.src, to, v.port
	hash, l4 := p.flowHash()
	o.sport = flowPort(hash)
	o.len = p.len + vxlanOverhead
	o.mark, o.inner = p.mark, p
	if n != p.ns {
		o.mark = 0
	}
	// A hash without ports is forgotten (skb_clear_hash_if_not_l4). The packet's own
	// is asked for by nft's trace, which is on in a lab, and stays with the frame.
	if p.hash = hash; !l4 {
		p.hash, _ = o.flowHash()
	}
	p.weakHash, o.hash = false, p.hash
	o.vni = v.vni
	o.flow, o.reply = p.flow, p.reply
	o.ns = n
	o.id = n.nextID()
	outer := o.header
	s := w.note(p, atTunnel, dev)
	s.after = p.journey.within(p, &outer)
	o.trail, o.carried = p.trail, p.carry()
	o.seen = unseen
	o.route, o.routed = r, true
	w.xmits++
	w.ipLocalOut(n, o)
	w.xmits--
}

// vxlanRoute finds the way to a tunnel end, and keeps it (udp_tunnel_dst_lookup). A
// marked packet's is its own.
func (dev *Link) vxlanRoute(to IP, mark uint32, way *vxlanWay) (route, int) {
	v := dev.vxlan
	n := v.ns
	if mark == 0 && way.route.dev != nil && way.gen == n.fib.gen {
		return way.route, 0
	}
	var oif *Link
	if dev.parent != nil && dev.parent.ns == n {
		oif = dev.parent
	}
	r, errno := n.routeOutput(to, v.local, oif, mark, 0)
	if errno == 0 && mark == 0 && r.dev != dev {
		*way = vxlanWay{r, n.fib.gen}
	}
	return r, errno
}

// vxlanBypass hands a frame for a tunnel end of the same namespace to that end's
// device, without a packet around it (vxlan_encap_bypass).
func (w *World) vxlanBypass(dev *Link, p *packet) {
	v := dev.vxlan
	to, _ := v.ns.vxlanEnd(v.port, v.vni)
	if to == nil {
		w.end(p, ending{disposition: trace.Unbridged, code: trace.CodeNoTunnel, dev: dev})
		return
	}
	if to.vxlan.learning {
		to.vxlan.snoop(p.srcMAC, loopbackIP)
	}
	p.typ, p.physIn, p.physOut = toHost, nil, nil
	w.netifRx(to, p)
}

// vxlanEnd finds the device that has a port and a VNI (vxlan_vs_find_vni). open
// says that some device has the port.
func (n *Netns) vxlanEnd(port uint16, vni uint32) (dev *Link, open bool) {
	for _, m := range n.w.nodes {
		for _, l := range m.links {
			if v := l.vxlan; v != nil && v.ns == n && v.port == port && l.up {
				open = true
				if v.vni == vni {
					dev = l
				}
			}
		}
	}
	return dev, open
}

// flowPort makes the source port of an outer packet of the frame's hash: packets
// of one conversation have the same, so that routers can spread conversations
// (udp_flow_src_port, include/net/udp.h).
func flowPort(hash uint32) uint16 {
	hash ^= hash >> 15
	hash *= 0x2c1b3c6d
	hash ^= hash >> 12
	return 32768 + uint16(hash%(61000-32768))
}

// flowHash returns what tells a packet's conversation from others (skb_get_hash).
// What a connected socket sends has a hash of the socket's own
// (skb_set_hash_from_sk). Of the rest addresses and ports are hashed, the same in
// both directions (__flow_hash_consistentify, net/core/flow_dissector.c); of ARP
// nothing. l4 says that ports took part, or a socket: such a hash stays with the
// packet wherever it goes.
func (p *packet) flowHash() (hash uint32, l4 bool) {
	switch {
	case p.hash != 0:
		return p.hash, !p.weakHash
	case p.isARP():
		return 1, false
	}
	a, b := p.src, p.dst
	var sport, dport uint16
	if l4 = (p.proto == protoTCP || p.proto == protoUDP) && p.first() && p.flags&ipMF == 0; l4 {
		sport, dport = p.sport, p.dport
	}
	if a > b || a == b && sport > dport {
		a, b, sport, dport = b, a, dport, sport
	}
	return uint32(a)*0x9e3779b1 ^ uint32(b)*0x85ebca6b ^ (uint32(sport)<<16|uint32(dport))*0xc2b2ae35 ^ uint32(p.proto) | 1, l4
}

// vxlanRcv takes an outer packet that came to a tunnel's port, and lets the
// frame in by the device that it is for (vxlan_rcv). It reports whether
// somebody has that port.
func (w *World) vxlanRcv(n *Netns, o *packet) bool {
	dev, open := n.vxlanEnd(o.dport, o.vni)
	if !open {
		return false
	}
	if o.inner == nil || dev == nil {
		w.end(o, ending{disposition: trace.Unbridged, code: trace.CodeNoTunnel, dev: o.in})
		return true
	}
	p, v := o.inner, dev.vxlan
	// lo sums what is inside (its hw_enc_features are none), and the sum outside is looked at then.
	if o.wrong && o.in == n.lo || p.srcMAC == dev.mac || v.learning && v.snoop(p.srcMAC, o.src) {
		w.vanish(o)
		return true
	}
	p.trail, p.mark = o.trail, o.mark
	p.seen = unseen
	p.ns = n
	p.scrub(dev.ns)
	s := w.note(p, atTunnel, dev)
	outer := o.header
	s.before = p.journey.within(p, &outer)
	w.discard(o)
	w.netifRx(dev, p)
	return true
}

// snoop learns that a MAC address is behind a tunnel end (vxlan_snoop). It
// reports whether the frame is to be dropped: an entry put there by hand says
// otherwise.
func (v *vxlan) snoop(mac MAC, from IP) (drop bool) {
	now := v.ns.w.now
	e := v.find(mac)
	switch {
	case e == nil:
		v.fdb[mac] = &vxlanEntry{mac: mac, remotes: []IP{from}, used: now}
	case e.remotes[0] == from:
	case e.permanent || e.static:
		return true
	default:
		e.remotes[0], e.used = from, now
	}
	return false
}

func (v *vxlan) snapFDB(dev *Link) (rows []state.FDB) {
	for _, mac := range sortedMACs(v.fdb) {
		e := v.fdb[mac]
		if v.expired(e) {
			continue
		}
		for _, ip := range e.remotes {
			rows = append(rows, state.FDB{MAC: e.mac.String(), Dev: dev.name, Local: e.permanent, Static: e.static && !e.permanent, Dst: ip.String()})
		}
	}
	return rows
}

func sortedMACs[E any](m map[MAC]E) []MAC {
	macs := make([]MAC, 0, len(m))
	for mac := range m {
		macs = append(macs, mac)
	}
	slices.Sort(macs)
	return macs
}
