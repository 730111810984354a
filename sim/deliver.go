package sim

import "vethlab/sim/trace"

// Types of ICMP, and codes of "destination unreachable", that the model makes or
// reads (include/uapi/linux/icmp.h).
const (
	icmpEchoReply    = 0
	icmpDestUnreach  = 3
	icmpRedirect     = 5
	icmpEcho         = 8
	icmpTimeExceeded = 11

	icmpNetUnreach  = 0
	icmpHostUnreach = 1
	icmpProtUnreach = 2
	icmpPortUnreach = 3
	icmpFragNeeded  = 4
)

// localDeliver hands a packet that INPUT let pass to its protocol
// (ip_protocol_deliver_rcu, net/ipv4/ip_input.c).
func (w *World) localDeliver(n *Netns, p *packet) {
	switch p.proto {
	case protoICMP:
		w.icmpRcv(n, p)
	case protoUDP:
		w.udpRcv(n, p)
	case protoTCP:
		w.tcpRcv(n, p)
	default:
		w.note(p, atSocket, nil)
		w.answer(p, ending{disposition: trace.Delivered, code: trace.CodeDelivered}, func() { w.icmpSend(p, icmpDestUnreach, icmpProtUnreach, 0) })
	}
}

// answer has the node answer p and then ends p. Unless there is no way to where
// p came from: then that is how p ends.
func (w *World) answer(p *packet, e ending, send func()) {
	n := p.ns
	if !n.local(p.src) {
		src := IP(0)
		if n.local(p.dst) {
			src = p.dst
		}
		if _, errno := n.routeOutput(p.src, src, nil, 0, 0); errno != 0 {
			s := w.note(p, atRoute, nil)
			s.verdict = trace.NoRoute
			p.journey.remark(s, remark{code: trace.CodeNoWayBack, ip: p.src})
			w.end(p, ending{disposition: trace.NoWayBack, code: trace.CodeNoWayBack, ip: p.src})
			return
		}
	}
	w.waits(p, e) // its end comes before what it leads to
	send()
	w.end(p, e)
}

// icmpRcv takes an ICMP message (icmp_rcv, net/ipv4/icmp.c).
func (w *World) icmpRcv(n *Netns, p *packet) {
	delivered := ending{disposition: trace.Delivered, code: trace.CodeDelivered}
	s := w.note(p, atSocket, nil)
	switch p.icmpType {
	case icmpEcho:
		if n.sys.echoIgnoreAll != 0 || p.route.toAll() && n.sys.echoIgnoreBroadcasts != 0 {
			w.end(p, delivered)
			return
		}
		p.journey.remark(s, remark{code: trace.CodeEcho})
		w.answer(p, delivered, func() { w.icmpEcho(n, p) })
	case icmpEchoReply:
		w.pingRcv(n, p, delivered)
	case icmpDestUnreach, icmpTimeExceeded, icmpRedirect:
		w.icmpTell(n, p, delivered)
	default:
		w.end(p, delivered)
	}
}

// icmpEcho answers an echo request (icmp_echo).
func (w *World) icmpEcho(n *Netns, q *packet) {
	src := q.dst
	if q.route.toAll() { // the address of the way out (fib_compute_spec_dst)
		src = 0
	}
	r, errno := n.routeOutput(q.src, src, nil, 0, q.tos)
	if errno != 0 {
		return
	}
	if src == 0 {
		src = r.src
	}
	p := w.newPacket()
	p.etherType, p.proto, p.ttl, p.tos = ethIP, protoICMP, n.defaultTTL(), q.tos
	p.src, p.dst = src, q.src
	p.icmpType, p.sport, p.dport, p.icmpSeq = icmpEchoReply, q.sport, q.dport, q.icmpSeq
	p.len, p.payload = q.len, q.payload
	w.depart(p, q.flow, !q.reply)
	w.icmpSending = true
	w.send(nil, n, p, r)
	w.icmpSending = false
}

// icmpErrno is what an "unreachable" message means to a socket, by its code,
// and whether it is final (icmp_err_convert).
var icmpErrno = [...]struct {
	errno int
	final bool
}{{enetunreach, false}, {ehostunreach, false}, {enoprotoopt, true}, {econnrefused, true}, {emsgsize, false}, {eopnotsupp, false},
	{enetunreach, true}, {ehostdown, true}, {enonet, true}, {enetunreach, true}, {ehostunreach, true}, {enetunreach, false},
	{ehostunreach, false}, {ehostunreach, true}, {ehostunreach, true}, {ehostunreach, true}}

// icmpTell tells the socket whose packet an ICMP error is about
// (icmp_unreach, icmp_redirect, icmp_socket_deliver). What an error says of the
// way counts only if there is such a socket.
func (w *World) icmpTell(n *Netns, p *packet, e ending) {
	q := p.quoted
	if q == nil {
		w.end(p, e)
		return
	}
	info := p.icmpInfo
	if p.icmpType == icmpDestUnreach && p.icmpCode == icmpFragNeeded {
		switch mode := n.sys.noPMTUDisc; {
		case mode == 2 || mode == 3 && q.proto != protoTCP: // icmp_tag_validation
			w.end(p, e)
			return
		case mode == 1: // it may be anything
			info = 0
		}
	}
	errno, final := ehostunreach, false // time exceeded
	if p.icmpType == icmpDestUnreach && int(p.icmpCode) < len(icmpErrno) {
		errno, final = icmpErrno[p.icmpCode].errno, icmpErrno[p.icmpCode].final
	}
	if p.icmpType == icmpRedirect {
		errno = eremoteio // no error, but ping wants to see it (ping_err)
	}
	told := SocketError{Errno: errno, From: p.src, Type: p.icmpType, Code: p.icmpCode, Info: info, Dst: q.dst, DstPort: q.dport,
		Seq: q.icmpSeq, TTL: p.ttl, At: w.now}
	quoted, in, iif := *q, p.in, p.iif()
	w.end(p, e)
	switch {
	case quoted.proto == protoICMP && quoted.icmpType == icmpEchoReply: // the kernel's own (icmp_err)
		n.wayTold(&quoted, &told, in, nil)
	case quoted.proto == protoICMP && quoted.icmpType == icmpEcho:
		n.pingError(&quoted, told, in, iif)
	case quoted.proto == protoUDP:
		if s := n.udpLookup(quoted.src, quoted.dst, quoted.sport, quoted.dport, in); s != nil {
			n.wayTold(&quoted, &told, in, s)
			s.udpError(told, final)
		}
	case quoted.proto == protoTCP:
		w.tcpError(n, &quoted, told, in)
	}
}

// wayTold takes in what an ICMP error says of the way that a packet took: how
// large one may be, or that there is a nearer gateway (ipv4_sk_update_pmtu,
// ipv4_sk_redirect). s is the socket that sent it, if one did.
func (n *Netns) wayTold(q *header, e *SocketError, in *Link, s *Socket) {
	fl := flowi{dst: q.dst, src: q.src, iif: n.lo}
	if s != nil {
		fl.oif, fl.mark, fl.tos = s.dev, s.Mark, s.TOS
	}
	switch {
	case e.Type == icmpDestUnreach && e.Code == icmpFragNeeded:
		n.updatePMTU(fl, int(e.Info))
	case e.Type == icmpRedirect && in != nil:
		n.redirected(in, e.From, fl, IP(e.Info))
	}
}

// udpError takes an ICMP error about a datagram of the socket's
// (__udp4_lib_err, net/ipv4/udp.c).
func (s *Socket) udpError(e SocketError, final bool) {
	if e.Type == icmpRedirect {
		return
	}
	if e.Errno == emsgsize && e.Code == icmpFragNeeded {
		if s.PMTU == PMTUDont {
			return
		}
		final = true
	}
	if s.RecvErr {
		s.errors = append(s.errors, e)
	} else if !final || s.remote == 0 {
		return
	}
	s.fail(e.Errno)
}
