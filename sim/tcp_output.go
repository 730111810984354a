package sim

import "time"

// tcpOptions are what a segment says beside its header (RFC 7323, RFC 9293).
type tcpOptions struct {
	mss    uint16 // in a SYN
	window uint16 // of the header: as sent, not scaled
	stamp  uint32 // timestamp
	echo   uint32 // the other end's timestamp
}

// Sizes in bytes of the options that a segment carries: a SYN has mss, sackOK,
// a timestamp and the window's scale; others a timestamp.
const (
	tcpSynOptions = 20
	tcpOptionsLen = 12
)

// stampOf is the world's clock in the milliseconds that timestamps count.
func (w *World) stampOf() uint32 { return uint32(w.now / 1e6) }

// tcpTransmit sends one segment (__tcp_transmit_skb, net/ipv4/tcp_output.c).
func (w *World) tcpTransmit(s *Socket, flags uint8, seq uint32, data []byte) {
	c, n := s.tcp, s.ns
	c.delayed.stop()
	r, errno := n.routeOutput(s.remote, s.local, s.dev, s.Mark, s.TOS)
	if errno != 0 {
		return // it will be sent again
	}
	p := w.newPacket()
	p.src, p.dst, p.sport, p.dport = s.local, s.remote, s.lport, s.rport
	p.etherType, p.proto, p.ttl, p.tos, p.mark = ethIP, protoTCP, s.TTL, s.TOS, s.Mark
	if p.ttl == 0 {
		p.ttl = n.defaultTTL()
	}
	if s.PMTU != PMTUDont && !n.mtuLocked(&r, p.dst) { // ip_dont_fragment
		p.flags = ipDF
	}
	p.tcpFlags, p.seq, p.payload = flags, seq, data
	p.opts = &tcpOptions{stamp: w.stampOf(), echo: c.stamp, window: tcpWindow >> tcpScale}
	if flags&tcpACK != 0 {
		p.ack = c.rcv
	}
	options := tcpOptionsLen
	if flags&tcpSYN != 0 {
		options = tcpSynOptions
		p.opts.mss = uint16(max(256, min(r.dev.mtu, 0xffff)-40)) // ipv4_default_advmss
		p.opts.window = uint16(min(tcpWindow, int(p.opts.mss)*44))
	}
	p.len = int32(40 + options + len(data))
	if flags&tcpSYN == 0 || flags&tcpACK == 0 {
		c.ipID++
		p.id = c.ipID
	}
	w.depart(p, c.flow, c.reply)
	_ = w.send(s, n, p, r) // what is dropped here will be sent again
}

// The window that a new socket offers, and how it is scaled (tcp_select_initial_window).
const (
	tcpWindow = 64240
	tcpScale  = 7
)

// tcpAck acknowledges what has come (tcp_send_ack).
func (w *World) tcpAck(s *Socket) { w.tcpTransmit(s, tcpACK, s.tcp.nxt, nil) }

// tcpMSS is how much data a segment may carry now (tcp_current_mss).
func (s *Socket) tcpMSS() int {
	mss := s.tcp.peerMSS
	if mss == 0 {
		mss = 536
	}
	if r, errno := s.ns.routeOutput(s.remote, s.local, s.dev, s.Mark, s.TOS); errno == 0 {
		mss = min(mss, s.ns.pathMTU(&r, s.remote)-40)
	}
	return max(48, mss) - tcpOptionsLen // TCP_MIN_MSS
}

// tcpOutput sends what is written and not sent yet, as far as the congestion
// window allows (tcp_write_xmit).
func (w *World) tcpOutput(s *Socket) {
	c := s.tcp
	mss := s.tcpMSS()
	sent := int(c.nxt - c.una)
	began := sent == 0
	for sent < len(c.out) && sent < c.window*mss {
		k := min(mss, len(c.out)-sent)
		w.tcpPiece(s, sent, k)
		sent += k
		c.nxt += uint32(k)
	}
	if c.fin && sent == len(c.out) { // the FIN itself has not been sent
		c.nxt++
		w.tcpTransmit(s, tcpFIN|tcpACK, c.nxt-1, nil)
	}
	if c.nxt != c.una && (c.timer == nil || c.timer.dead || began) {
		w.tcpArm(s)
	}
}

// tcpPiece sends a piece of what is written. The last one is pushed.
func (w *World) tcpPiece(s *Socket, at, length int) {
	c := s.tcp
	flags := uint8(tcpACK)
	if at+length == len(c.out) {
		flags |= tcpPSH
	}
	w.tcpTransmit(s, flags, c.una+uint32(at), c.out[at:at+length:at+length])
}

// tcpRetransmit sends the oldest segment again (tcp_retransmit_skb).
func (w *World) tcpRetransmit(s *Socket) {
	c := s.tcp
	switch {
	case c.state == tcpSynSent:
		w.tcpTransmit(s, tcpSYN, c.iss, nil)
	case c.state == tcpSynRecv:
		w.tcpTransmit(s, tcpSYN|tcpACK, c.iss, nil)
	case len(c.out) > 0 && c.nxt != c.una:
		w.tcpPiece(s, 0, min(s.tcpMSS(), len(c.out), int(c.nxt-c.una)))
	case c.fin && c.nxt != c.una:
		w.tcpTransmit(s, tcpFIN|tcpACK, c.una, nil)
	}
}

// onWheel is when a timer of the kernel's fires that was set for d. It never
// fires early, and beyond 64 jiffies only every eighth (the timer wheel,
// kernel/time/timer.c): on the average half of that late. So a program's own
// second ends before a second of TCP's.
func onWheel(d time.Duration) time.Duration {
	if d >= 64*jiffy {
		return d + 4*jiffy
	}
	return d
}

// tcpArm sets the alarm for the next retransmission.
func (w *World) tcpArm(s *Socket) {
	c := s.tcp
	c.timer.stop()
	c.timer = w.after(onWheel(c.rto), func() { w.tcpTimeout(s) })
}

// tcpTimeout sends again what was not acknowledged in time, or gives up
// (tcp_retransmit_timer, net/ipv4/tcp_timer.c).
func (w *World) tcpTimeout(s *Socket) {
	c := s.tcp
	limit := tcpRetries2
	switch c.state {
	case tcpClosed:
		return
	case tcpSynSent:
		limit = tcpSynRetries + tcpLinearTimeout
	case tcpSynRecv:
		limit = tcpSynackRetries
	}
	if c.timeouts >= limit {
		errno := etimedout
		if c.softErr != 0 {
			errno = c.softErr
		}
		w.tcpDone(s, errno)
		return
	}
	w.tcpRetransmit(s)
	if c.state >= tcpEstablished && !c.probed {
		c.probed = true // a tail loss probe: the timeout begins with it (RFC 8985)
	} else {
		c.timeouts++
		if c.state != tcpSynSent || c.timeouts > tcpLinearTimeout {
			c.rto = min(2*c.rto, tcpRTOMax)
		}
		c.window = 1
	}
	w.tcpArm(s)
}

// tcpSendReset refuses a segment that belongs to no connection
// (tcp_v4_send_reset, net/ipv4/tcp_ipv4.c).
func (w *World) tcpSendReset(n *Netns, q *packet) {
	if q.tcpFlags&tcpRST != 0 || !n.local(q.dst) {
		return
	}
	r, errno := n.routeOutput(q.src, q.dst, nil, 0, 0)
	if errno != 0 {
		return
	}
	p := w.newPacket()
	p.etherType, p.proto, p.ttl, p.flags, p.len = ethIP, protoTCP, n.defaultTTL(), ipDF, 40
	p.src, p.dst, p.sport, p.dport = q.dst, q.src, q.dport, q.sport
	p.tcpFlags = tcpRST
	p.opts = &tcpOptions{}
	if q.tcpFlags&tcpACK != 0 {
		p.seq = q.ack
	} else {
		p.tcpFlags |= tcpACK
		p.ack = segmentEnd(q)
	}
	w.depart(p, q.flow, !q.reply)
	w.send(nil, n, p, r)
}
