package sim

import "vethlab/sim/trace"

// What passes through (net/ipv4/ip_forward.c).

// ipForward takes a packet on that is for somebody else (ip_forward).
func (w *World) ipForward(n *Netns, p *packet) {
	out := p.route.dev
	switch {
	case p.typ != toHost: // a broadcast frame with a packet for one
		w.end(p, ending{disposition: trace.Unclaimed, code: trace.CodeUnclaimed})
		return
	case p.ttl <= 1:
		w.waits(p, ending{disposition: trace.TTLExceeded, code: trace.CodeTTLExceeded})
		w.icmpSend(p, icmpTimeExceeded, 0, 0)
		w.end(p, ending{disposition: trace.TTLExceeded, code: trace.CodeTTLExceeded})
		return
	}
	if mtu := n.forwardMTU(&p.route, p.dst); int(p.len) > mtu && p.flags&ipDF != 0 {
		// ip_exceeds_mtu: what was put together from fragments counts by the largest of them
		if p.fragMax == 0 && !p.mayFragment || int(p.fragMax) > mtu {
			w.tooBig(p, out, mtu)
			return
		}
	}
	p.writable().ttl--
	if p.route.redirect {
		w.sendRedirect(n, p)
	}
	if !w.hook(hookForward, p, p.in, out) {
		return
	}
	w.ipOutput(n, p)
}

// tooBig ends a packet that may not be split, and tells its sender what would fit.
func (w *World) tooBig(p *packet, out *Link, mtu int) {
	e := ending{disposition: trace.TooBig, code: trace.CodeTooBig, dev: out, mtu: mtu}
	w.waits(p, e)
	w.icmpSend(p, icmpDestUnreach, icmpFragNeeded, uint32(mtu))
	w.end(p, e)
}
