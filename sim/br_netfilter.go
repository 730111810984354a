package sim

import "vethlab/sim/trace"

// br_netfilter: bridged IP packets are shown to iptables as if they were routed
// (net/bridge/br_netfilter_hooks.c), when net.bridge.bridge-nf-call-iptables is
// 1. The rules see the bridge as the interface, and its ports as physdev.
//
//	in by a port ─ PREROUTING ─┬─ destination unchanged ─────── the bridge decides ─ FORWARD ─ POSTROUTING ─ out by a port
//	                           └─ DNAT ─ route ─┬─ on the same bridge: new MAC address ───┘
//	                                            └─ elsewhere, or this node: up, addressed to the bridge;
//	                                               PREROUTING is not asked a second time

// brNfPreRouting shows a bridged packet to PREROUTING (br_nf_pre_routing). It
// reports whether it took care of the packet.
func (w *World) brNfPreRouting(br, port *Link, p *packet) bool {
	n := br.ns
	if !n.sys.bridgeCallIptables && !br.bridge.callIptables {
		return false
	}
	other := p.typ == toOther
	if other {
		p.typ = toHost
	}
	p.physIn, p.physOut, p.in = port, nil, br
	dst := p.dst
	p, ok := w.hookDefrag(hookPrerouting, p, br)
	if !ok {
		return true
	}
	if !w.hook(hookPrerouting, p, br, nil) {
		return true
	}
	w.brNfPreRoutingFinish(br, port, p, other, p.dst != dst)
	return true
}

// brNfPreRoutingFinish sends a packet on whose destination PREROUTING may have
// changed (br_nf_pre_routing_finish).
func (w *World) brNfPreRoutingFinish(br, port *Link, p *packet, other, changed bool) {
	n := br.ns
	if other {
		p.typ = toOther
	}
	if changed {
		refuse := n.routeInput(p, br)
		switch {
		case refuse == nil && p.route.dev != br:
			// Routed elsewhere, or for the node itself: the bridge passes it up.
			p.routed = true
			p.writable().dstMAC, p.typ = br.mac, toHost
		case refuse == nil:
			w.brNfDNAT(port, p)
			return
		case refuse.disposition == trace.ForwardingOff || refuse.disposition == trace.NoRouteTo:
			// A refusal is a route too (ip_error), by way of lo: the bridge passes it
			// up, and there it ends. So what is translated to a neighbour on the same
			// bridge needs ip_forward.
			p.writable().dstMAC, p.typ = br.mac, toHost
		default:
			w.refuseRoute(p, refuse)
			return
		}
	}
	w.brHandleFrameFinish(port, p)
}

// brNfDNAT gives a packet whose new destination is on the bridge it came from
// the MAC address of that destination (br_nf_pre_routing_finish_bridge). When
// it is not known, the packet waits for ARP, and comes back by brDevXmit.
func (w *World) brNfDNAT(port *Link, p *packet) {
	br := port.master
	nb := br.neighLookup(p.route.nextHop(p.dst), true)
	if nb.state.connected() && nb.used != 0 {
		p.writable().dstMAC = nb.mac
		w.brHandleFrameFinish(port, p)
		return
	}
	p.bridgedDNAT, p.bridgedSrc = true, p.srcMAC
	w.neighSend(nb, p)
}

// brNfPreRoutingFinishSlow goes on with such a packet when ARP has answered
// (br_nf_pre_routing_finish_bridge_slow).
func (w *World) brNfPreRoutingFinishSlow(p *packet) {
	port := p.physIn
	p.bridgedDNAT = false
	p.writable().srcMAC, p.physOut = p.bridgedSrc, nil
	if port == nil || port.master == nil {
		w.vanish(p)
		return
	}
	w.brHandleFrameFinish(port, p)
}

// brNfForward shows a bridged packet to FORWARD and POSTROUTING on its way out
// by a port, and splits what is too large for it (br_nf_forward_ip,
// br_nf_dev_queue_xmit). It reports whether the packet may leave as it is.
func (w *World) brNfForward(br, to *Link, p *packet) bool {
	typ := p.typ
	p.typ = toHost
	p.physOut = to
	if !w.hook(hookForward, p, br, br) || !w.hook(hookPostrouting, p, nil, br) {
		return false
	}
	p.typ = typ
	mtu := to.mtu
	if p.fragMax != 0 {
		mtu = min(mtu, int(p.fragMax))
	}
	if int(p.len) <= mtu {
		return true
	}
	// br_nf_ip_fragment: into pieces for the bridge, which counts as the way out.
	if p.flags&ipDF != 0 || int(p.fragMax) > br.mtu {
		w.end(p, ending{disposition: trace.TooBig, code: trace.CodeTooBig, dev: to, mtu: to.mtu})
		return false
	}
	if mtu = br.mtu; p.fragMax != 0 {
		mtu = min(mtu, int(p.fragMax))
	}
	w.fragment(p, mtu, func(f *packet) {
		drops := w.drops
		w.brPushXmit(to, f)
		w.drops = drops // br_dev_queue_push_xmit tells nobody
	})
	return false
}
