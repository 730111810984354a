package sim

import (
	"vethlab/sim/rule"
	"vethlab/sim/trace"
)

// What a rule does with a packet that it matches. The types are sim/rule's;
// beside each is named what the kernel carries it out with.

// targetVerdict says where the packet goes after a target.
type targetVerdict uint8

const (
	targetContinue targetVerdict = iota // on to the next rule
	targetAccept                        // out of the chain, and on
	targetGone                          // nowhere
)

// target carries out the target of a rule, which has that number in its chain.
// Jumps and plain verdicts are traverse's.
func (w *World) target(v *visitor, number int, r *nfRule, p *packet) targetVerdict {
	switch t := r.Target.(type) {
	case *rule.Reject:
		w.met(v, p, r, number, trace.Reject)
		w.reject(v, t, p)
		w.end(p, ending{disposition: trace.Rejected, code: trace.CodeRuleReject, by: r, rule: int32(number)})
		return targetGone
	case *rule.SNAT:
		w.met(v, p, r, number, trace.Snat)
		p.ns.setupNAT(p.ct, &t.NATRange, manipSrc)
		return targetAccept
	case *rule.DNAT:
		w.met(v, p, r, number, trace.Dnat)
		p.ns.setupNAT(p.ct, &t.NATRange, manipDst)
		return targetAccept
	case *rule.Masquerade:
		w.met(v, p, r, number, trace.Masq)
		return w.masquerade(v, number, r, &t.NATRange, p)
	case *rule.Redirect:
		w.met(v, p, r, number, trace.Redirect)
		return w.redirect(v, number, r, &t.NATRange, p)
	case *rule.Netmap:
		// netmap_tg4. The kernel's trace has no word for it but ACCEPT.
		w.met(v, p, r, number, trace.Accept)
		m, ip := manipAt(v.hook), p.dst
		if m == manipSrc {
			ip = p.src
		}
		to := uint32(ip)&^t.To.Mask | t.To.Addr&t.To.Mask
		p.ns.setupNAT(p.ct, &rule.NATRange{HasAddr: true, MinAddr: to, MaxAddr: to}, m)
		return targetAccept
	}
	w.met(v, p, r, number, trace.Unknown)
	switch t := r.Target.(type) {
	case *rule.Mark: // mark_tg
		p.mark = p.mark&^t.Mask ^ t.Value
	case *rule.Connmark:
		connmark(t, p)
	case *rule.CT: // xt_ct_target_v1
		if t.Notrack {
			notrack(p)
		}
	case *rule.Notrack: // notrack_tg
		notrack(p)
	case *rule.Trace: // trace_tg
		p.tracing = true
	case *rule.Log: // log_tg: the kernel's log is not part of a lab
	}
	return targetContinue
}

// connmark: connmark_tg.
func connmark(t *rule.Connmark, p *packet) {
	if p.ct == nil {
		return
	}
	switch t.Op {
	case rule.SetConnmark:
		p.ct.mark = p.ct.mark&^t.CTMask ^ t.Value
	case rule.SaveConnmark:
		p.ct.mark = p.ct.mark&^t.CTMask ^ p.mark&t.NFMask
	case rule.RestoreConnmark:
		p.mark = p.mark&^t.NFMask ^ p.ct.mark&t.CTMask
	}
}

func notrack(p *packet) {
	if p.ct == nil {
		p.untracked = true
	}
}

// masquerade gives the packet the address of the link that it leaves by
// (nf_nat_masquerade_ipv4): the one of the next hop's net, if there is one.
func (w *World) masquerade(v *visitor, number int, r *nfRule, given *rule.NATRange, p *packet) targetVerdict {
	if p.ct.tuples[original].src == 0 {
		return targetAccept // a client that has no address yet (DHCP)
	}
	ip := v.out.selectAddr(p.route.nextHop(p.dst), scopeUniverse)
	if ip == 0 {
		return w.noAddress(number, r, p)
	}
	p.ct.masq = v.out
	to := *given
	to.HasAddr, to.MinAddr, to.MaxAddr = true, uint32(ip), uint32(ip)
	p.ns.setupNAT(p.ct, &to, manipSrc)
	return targetAccept
}

// redirect sends the packet to this node (nf_nat_redirect_ipv4): to the first
// address of the link that it came by, or to 127.0.0.1 when it was made here.
func (w *World) redirect(v *visitor, number int, r *nfRule, given *rule.NATRange, p *packet) targetVerdict {
	ip := IP(127<<24 | 1)
	if v.hook != hookOutput {
		ip = 0
		if v.in != nil && len(v.in.addrs) > 0 {
			ip = v.in.addrs[0].ip
		}
	}
	if ip == 0 {
		return w.noAddress(number, r, p)
	}
	to := *given
	to.HasAddr, to.MinAddr, to.MaxAddr = true, uint32(ip), uint32(ip)
	p.ns.setupNAT(p.ct, &to, manipDst)
	return targetAccept
}

// noAddress ends a packet that a rule should have given an address that the
// link has not.
func (w *World) noAddress(number int, r *nfRule, p *packet) targetVerdict {
	p.journey.steps[len(p.journey.steps)-1].verdict = trace.Drop
	w.end(p, ending{disposition: trace.Dropped, code: trace.CodeRuleDrop, by: r, rule: int32(number)})
	return targetGone
}

// rejectCodes are the codes of "destination unreachable" (reject_tg).
var rejectCodes = map[rule.RejectWith]uint8{
	rule.NetUnreachable: 0, rule.HostUnreachable: 1, rule.ProtUnreachable: 2, rule.PortUnreachable: 3,
	rule.NetProhibited: 9, rule.HostProhibited: 10, rule.AdminProhibited: 13,
}

// reject tells the sender (reject_tg).
func (w *World) reject(v *visitor, t *rule.Reject, p *packet) {
	if t.With == rule.TCPReset {
		w.sendReset(v, p)
		return
	}
	if p.physIn != nil && p.route.dev == nil {
		p.route = route{dev: v.in} // br_netfilter's bridge_parent_rtable
	}
	w.icmpSend(p, icmpDestUnreach, rejectCodes[t.With], 0)
}

// sendReset answers a segment with an RST, as if the destination did
// (nf_send_reset, net/ipv4/netfilter/nf_reject_ipv4.c).
func (w *World) sendReset(v *visitor, old *packet) {
	if old.proto != protoTCP || !old.first() || old.tcpFlags&tcpRST != 0 {
		return
	}
	n := old.ns
	if t := n.addrType(old.dst); t == rtnBroadcast || t == rtnMulticast {
		return
	}
	p := w.newPacket()
	p.ns, p.etherType, p.proto = n, ethIP, protoTCP
	p.src, p.dst, p.sport, p.dport = old.dst, old.src, old.dport, old.sport
	p.tcpFlags, p.flags, p.len = tcpRST, ipDF, 40
	if old.tcpFlags&tcpACK != 0 {
		p.seq = old.ack
	} else {
		p.tcpFlags |= tcpACK
		p.ack = segmentEnd(old)
	}
	if old.physIn != nil {
		// What was bridged is answered by the port it came in by, past all hooks,
		// with the destination's MAC address.
		p.srcMAC, p.dstMAC, p.ttl = old.dstMAC, old.srcMAC, n.defaultTTL()
		n.ctTCPClosing(old.ct)
		w.depart(p, old.flow, !old.reply)
		w.devXmit(old.physIn, p)
		return
	}
	// Only the destination itself may answer from an address of its own.
	var src IP
	if v.hook != hookForward || n.local(old.dst) {
		src = old.dst
	}
	r, errno := n.routeOutput(p.dst, src, nil, old.mark, 0)
	if errno != 0 {
		w.discard(p)
		return
	}
	p.attach(old)
	n.ctTCPClosing(old.ct)
	p.ttl = n.defaultTTL()
	p.route, p.routed = r, true
	w.depart(p, old.flow, !old.reply)
	w.ipLocalOut(n, p)
}
