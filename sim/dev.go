package sim

import "vethlab/sim/trace"

// Devices: how a frame leaves by one and arrives at another (net/core/dev.c,
// and the drivers of veth and lo).

// receive takes a frame that arrived at a device (__netif_receive_skb_core).
func (w *World) receive(dev *Link, p *packet) {
	if dev.gone || dev.ns == nil {
		w.vanish(p)
		return
	}
	w.arrive(dev, p)
	if len(p.journey.steps) > w.maxSteps() {
		w.loops(p)
		return
	}
	w.received(dev, p)
}

// arrive notes a frame's arrival, and for whom it is (eth_type_trans).
func (w *World) arrive(dev *Link, p *packet) {
	p.ns, p.in = dev.ns, dev
	switch {
	case p.typ == toLoopback:
	case !p.dstMAC.multicast():
		switch {
		case p.dstMAC == dev.mac:
			p.typ = toHost
		case dev.bridge == nil || p.typ != toHost:
			p.typ = toOther
		}
	case p.dstMAC == broadcastMAC:
		p.typ = toBroadcast
	default:
		p.typ = toMulticast
	}
	if p.typ == toLoopback { // no packet socket sees it (packet_rcv, net/packet/af_packet.c)
		return
	}
	w.note(p, atRX, dev)
	if len(dev.ns.taps) > 0 {
		w.tapped(dev, p, false)
	}
}

// received hands a frame to whoever owns the device, or to its protocol.
func (w *World) received(dev *Link, p *packet) {
	if p.typ != toLoopback {
		if dev.master != nil {
			w.brHandleFrame(dev, p)
			return
		}
		if len(dev.uppers) > 0 && w.macvlanHandleFrame(dev, p) {
			return
		}
	}
	switch p.etherType {
	case ethIP:
		w.ipRcv(dev, p)
	case ethARP:
		w.arpRcv(dev, p)
	default:
		w.end(p, ending{disposition: trace.Unclaimed, code: trace.CodeUnclaimed})
	}
}

// loops ends a packet that goes round in circles.
func (w *World) loops(p *packet) {
	w.end(p, ending{disposition: trace.Looped, code: trace.CodeLooped})
}

// xmitRecursionLimit is how often a device without a queue may send by another
// one in the act of sending: a tunnel whose packets leave by the bridge that it
// is a port of would do so forever (XMIT_RECURSION_LIMIT of net/core/dev.h,
// "Dead loop on virtual device").
const xmitRecursionLimit = 8

// devXmit sends a frame out of a device (__dev_queue_xmit).
func (w *World) devXmit(dev *Link, p *packet) {
	p.ns = dev.ns
	if !dev.carrier() {
		// Without carrier a device has the queue that drops all (noop_qdisc);
		// no packet socket sees what goes in there.
		w.end(p, ending{disposition: trace.NoCarrier, code: trace.CodeNoCarrier, dev: dev})
		return
	}
	if len(p.journey.steps) > w.maxSteps() || w.xmits > xmitRecursionLimit {
		w.loops(p)
		return
	}
	w.xmits++
	w.note(p, atTX, dev)
	if len(dev.ns.taps) > 0 {
		w.tapped(dev, p, true)
	}
	switch dev.kind {
	case kindLoopback: // loopback_xmit: the route and the connection stay with the packet
		w.netifRx(dev, p)
	case kindVeth:
		w.forwardTo(dev.peer, p)
	case kindBridge: // it drops in silence, as the tunnel below does
		drops := w.drops
		w.brDevXmit(dev, p)
		w.drops = drops
	case kindMacvlan:
		w.macvlanXmit(dev, p)
	case kindVXLAN:
		drops := w.drops
		w.vxlanXmit(dev, p)
		w.drops = drops
	}
	w.xmits--
}

// forwardTo puts a frame on another device's doorstep (__dev_forward_skb).
func (w *World) forwardTo(to *Link, p *packet) {
	if to == nil || !to.up {
		w.drops++
		w.end(p, ending{disposition: trace.NoCarrier, code: trace.CodeNoCarrier, dev: to})
		return
	}
	// is_skb_forwardable leaves room for a VLAN tag.
	if int(p.len) > to.mtu+4 && p.etherType == ethIP {
		w.drops++
		w.end(p, ending{disposition: trace.TooBig, code: trace.CodeTooBig, ns: to.ns, dev: to, mtu: to.mtu})
		return
	}
	p.scrub(to.ns)
	w.netifRx(to, p)
}

// scrub makes a packet forget what it was to the device it left by
// (skb_scrub_packet). Its mark it loses only on the way to another namespace.
func (p *packet) scrub(to *Netns) {
	p.typ = toHost
	p.route, p.routed = route{}, false
	p.physIn, p.physOut, p.fragMax, p.mayFragment = nil, nil, 0, false
	p.resetCT()
	p.sock = nil
	if p.ns != to {
		p.mark = 0
	}
}

// linkUp is told when a link was switched on: with arp_notify it announces its
// addresses (inetdev_event, NETDEV_UP).
func (n *Netns) linkUp(l *Link) { n.w.arpAnnounce(l) }

// linkDown forgets what was known by way of a link that was switched off
// (neigh_ifdown, vxlan_stop, masq_device_event).
func (n *Netns) linkDown(l *Link) {
	n.w.neighFlush(l, true)
	if l.vxlan != nil {
		l.vxlan.flush()
	}
	n.masqueradeDown(l)
}

// linkGone forgets a link that is deleted, or moves elsewhere.
func (n *Netns) linkGone(l *Link) { n.w.neighFlush(l, true) }

// carrierChanged forgets the neighbours of a link that lost its carrier
// (neigh_carrier_down).
func (n *Netns) carrierChanged(l *Link) {
	if !l.carrierOn {
		n.w.neighFlush(l, false)
	}
}

// macChanged follows a link's new MAC address (neigh_changeaddr,
// br_fdb_changeaddr, br_fdb_change_mac_address).
func (n *Netns) macChanged(l *Link, old MAC) {
	n.w.neighFlush(l, true)
	switch {
	case l.bridge != nil:
		l.fdbForgetLocal(nil, old)
		l.fdbLocal(nil, l.mac)
	case l.master != nil:
		l.master.fdbForgetLocal(l, old)
		l.master.fdbLocal(l, l.mac)
	}
	if l.up {
		n.w.arpAnnounce(l)
	}
}

// addrAdded is told of a new address.
func (n *Netns) addrAdded(*Link, *ifAddr) {}

// addrGone is told of an address that was taken away.
func (n *Netns) addrGone(l *Link, a *ifAddr) { n.masqueradeGone(l, a.ip) }
