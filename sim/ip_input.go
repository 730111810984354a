package sim

import "vethlab/sim/trace"

// What comes in (net/ipv4/ip_input.c).

// ipRcv takes an IP packet that came in by dev (ip_rcv).
func (w *World) ipRcv(dev *Link, p *packet) {
	if p.typ == toOther {
		w.end(p, ending{disposition: trace.Unclaimed, code: trace.CodeUnclaimed})
		return
	}
	p.in = dev
	if p.physIn != nil {
		// The bridge has shown it to PREROUTING already, and what br_netfilter
		// knew of it ends here (ip_sabotage_in).
		p.physIn, p.physOut = nil, nil
		w.ipRcvFinish(dev, p)
		return
	}
	p, ok := w.hookDefrag(hookPrerouting, p, dev)
	if !ok {
		return
	}
	dst := p.dst
	if !w.hook(hookPrerouting, p, dev, nil) {
		return
	}
	if p.dst != dst {
		p.routed = false // nf_nat_ipv4_pre_routing
	}
	w.ipRcvFinish(dev, p)
}

// ipRcvFinish routes the packet (ip_rcv_finish).
func (w *World) ipRcvFinish(dev *Link, p *packet) {
	n := dev.ns
	if !p.routed { // over lo, a packet brings its route with it
		if no := n.routeInput(p, dev); no != nil {
			w.refuseRoute(p, no)
			return
		}
		p.routed = true
	}
	if p.route.typ == rtnUnicast && p.typ != toHost && n.conf.dropUnicastInMulticast|dev.conf.dropUnicastInMulticast != 0 {
		w.end(p, ending{disposition: trace.Unclaimed, code: trace.CodeUnclaimed})
		return
	}
	w.noteRoute(p, p.route.local)
	if p.route.local {
		w.ipLocalDeliver(n, p)
		return
	}
	w.ipForward(n, p)
}

// noteRoute notes the decision.
func (w *World) noteRoute(p *packet, local bool) {
	r := &p.route
	if local && (r.input || p.in != nil) { // what came by lo keeps the route it left with
		s := w.note(p, atRoute, nil)
		s.verdict, s.by = trace.Local, localRow
		return
	}
	s := w.note(p, atRoute, r.dev)
	s.verdict, s.by = trace.Forwards, r.row
	if r.local {
		s.verdict, s.by = trace.Local, localRow
	}
}

// localRow stands for "local" and the destination in a step.
var localRow = &fibRow{typ: rtnLocal}

// refuseRoute ends a packet that has no route, and tells its sender where the
// kernel would (ip_error).
func (w *World) refuseRoute(p *packet, no *refusal) {
	dev := p.in
	e := ending{disposition: no.disposition, code: no.code, ip: no.ip, dev: dev}
	if no.disposition == trace.Unclaimed {
		w.end(p, e)
		return
	}
	s := w.note(p, atRoute, nil)
	s.verdict, s.by = trace.NoRoute, no.row
	p.journey.remark(s, remark{code: no.code, ip: no.ip})
	w.waits(p, e)
	if no.errno != 0 && dev.conf.forwarding != 0 {
		p.route = route{dev: p.ns.lo, input: true, typ: rtnUnreachable}
		code := uint8(icmpHostUnreach)
		switch no.errno {
		case enetunreach:
			code = icmpNetUnreach
		case eacces:
			code = icmpPktFiltered
		}
		if no.errno != einval && p.ns.errorAllowed(p.src) {
			w.icmpSend(p, icmpDestUnreach, code, 0)
		}
	}
	w.end(p, e)
}

// ipLocalDeliver takes what is for the node itself (ip_local_deliver).
func (w *World) ipLocalDeliver(n *Netns, p *packet) {
	if p.flags&ipMF != 0 || p.fragOffset != 0 {
		if p = w.defrag(n, p); p == nil {
			return
		}
	}
	if w.hook(hookInput, p, p.in, nil) {
		w.localDeliver(n, p)
	}
}
