package sim

import "vethlab/sim/trace"

// macvlan in bridge mode: several MAC addresses on one device, each in a
// namespace of its own (drivers/net/macvlan.c).
//
//	macvlan a ──┬─▶ macvlan b        straight across, by way of the parent's receiving side
//	            └─▶ parent ─▶ wire   everything else; never to the parent's own node
//
// The parent's own packets go out to the wire as well: a node cannot reach its
// macvlans by way of the parent.

// macvlanHandleFrame gives a frame that came in by the parent to the macvlan it
// is for (macvlan_handle_frame). It reports whether it took the frame; a
// broadcast it copies, and leaves to the parent too.
func (w *World) macvlanHandleFrame(parent *Link, p *packet) bool {
	if p.dstMAC.multicast() {
		if parent.macvlan(p.srcMAC) == nil { // the others have seen what one of them sent
			w.macvlanBroadcast(parent, p, nil)
		}
		return false
	}
	l := parent.macvlan(p.dstMAC)
	if l == nil {
		return false
	}
	if !l.up {
		w.end(p, ending{disposition: trace.NoCarrier, code: trace.CodeNoCarrier, ns: l.ns, dev: l})
		return true
	}
	w.arrive(l, p)
	w.received(l, p)
	return true
}

// macvlanXmit sends a frame out of a macvlan (macvlan_queue_xmit).
func (w *World) macvlanXmit(l *Link, p *packet) {
	parent := l.parent
	if parent == nil {
		w.vanish(p)
		return
	}
	if p.dstMAC.multicast() {
		w.macvlanBroadcast(parent, p, l)
	} else if parent.macvlan(p.dstMAC) != nil {
		w.forwardTo(parent, p)
		return
	}
	w.devXmit(parent, p)
}

// macvlanBroadcast gives copies of a frame to the macvlans of a parent, but not
// to the one that sent it.
func (w *World) macvlanBroadcast(parent *Link, p *packet, from *Link) {
	for _, l := range parent.uppers {
		if l.kind == kindMacvlan && l != from && l.up {
			c := w.clone(p)
			c.scrub(l.ns)
			w.netifRx(l, c)
		}
	}
}

// macvlan returns the macvlan on a device that has a MAC address (macvlan_hash_lookup).
func (l *Link) macvlan(mac MAC) *Link {
	for _, u := range l.uppers {
		if u.kind == kindMacvlan && u.mac == mac && u.up {
			return u
		}
	}
	return nil
}
