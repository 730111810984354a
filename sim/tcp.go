package sim

import (
	"slices"
	"time"

	"vethlab/sim/trace"
)

// TCP as far as a lesson shows it: the handshake, data in segments that fit the
// path, acknowledgements, retransmission on the world's clock, the four ways to
// end (FIN, RST, an ICMP error, silence), TIME_WAIT. There is no flow control:
// a receiver has always room.

// tcpState is a connection's state (include/net/tcp_states.h).
type tcpState uint8

const (
	tcpClosed tcpState = iota
	tcpSynSent
	tcpSynRecv
	tcpEstablished
	tcpFinWait1
	tcpFinWait2
	tcpCloseWait
	tcpClosing
	tcpLastAck
	tcpTimeWait
)

var tcpStateNames = [...]string{"UNCONN", "SYN-SENT", "SYN-RECV", "ESTAB", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT"}

// tcpConn is a connection's memory (struct tcp_sock).
type tcpConn struct {
	state  tcpState
	parent *Socket // the listener, until it has accepted the connection
	flow   *flow
	reply  bool // this end answers

	iss, una, nxt uint32 // sent: first, oldest not acknowledged, next
	rcv           uint32 // expected next
	out           []byte // written, from una on
	fin           bool   // nothing comes after out
	in            []byte
	inEnd         bool // the other end's FIN came
	early         []segment

	peerMSS int
	ipID    uint16

	rto      time.Duration
	timeouts int // in a row
	probed   bool
	timer    *timer
	delayed  *timer // an acknowledgement that waits for company
	softErr  int
	window   int // congestion window, in segments
	dupAcks  int
	stamp    uint32 // the other end's latest timestamp
	born     int64
	asked    int // curl's request
	owned    int // calls of its program that are not over yet (sock_owned_by_user)
}

// segment is data that came before its turn.
type segment struct {
	seq  uint32
	data []byte
	fin  bool
}

// Constants of include/net/tcp.h and net/ipv4/tcp*.c.
const (
	tcpTimeoutInit   = time.Second // TCP_TIMEOUT_INIT
	tcpRTOMin        = 200 * time.Millisecond
	tcpRTOMax        = 120 * time.Second
	tcpDelayedAck    = 40 * time.Millisecond // TCP_DELACK_MIN
	tcpTimeWaitLen   = 60 * time.Second
	tcpInitCwnd      = 10
	tcpSynRetries    = 6
	tcpLinearTimeout = 4 // net.ipv4.tcp_syn_linear_timeouts
	tcpSynackRetries = 5
	tcpRetries2      = 15
)

// after reports whether sequence number a comes after b.
func after(a, b uint32) bool { return int32(a-b) > 0 }

// TCP returns a new stream socket (socket(2), SOCK_STREAM).
func (p *Process) TCP() *Socket { return p.socket(protoTCP) }

// tcpBind gives a socket a port of its own (inet_csk_get_port). Servers set
// SO_REUSEADDR: only another listener is in the way.
func (n *Netns) tcpBind(s *Socket, port uint16) int {
	taken := func(port uint16) bool {
		return slices.ContainsFunc(n.socks.listen, func(o *Socket) bool {
			return o != s && o.lport == port && !(o.ReusePort && s.ReusePort) && (o.local == 0 || s.local == 0 || o.local == s.local)
		})
	}
	if port == 0 {
		port = n.freePort(false, taken)
	}
	if port == 0 || taken(port) {
		return eaddrinuse
	}
	s.lport, s.bound = port, true
	return 0
}

// Listen has a stream socket wait for connections (listen(2)). Wake is called
// when there is one to Accept.
func (s *Socket) Listen(backlog int) int {
	if !s.bound {
		if errno := s.ns.tcpBind(s, 0); errno != 0 {
			return errno
		}
	}
	s.limit = max(1, backlog)
	s.ns.socks.listen = append(s.ns.socks.listen, s)
	return 0
}

// Accept takes the oldest established connection, or nil (accept(2)).
func (s *Socket) Accept() *Socket {
	if len(s.accept) == 0 {
		return nil
	}
	c := s.accept[0]
	s.accept = s.accept[1:]
	c.proc = s.proc
	c.tcp.parent = nil
	s.proc.socks = append(s.proc.socks, c)
	return c
}

// State returns the state of a stream socket as ss(8) writes it.
func (s *Socket) State() string {
	if s.tcp == nil {
		if s.limit > 0 {
			return "LISTEN"
		}
		return "UNCONN"
	}
	return tcpStateNames[s.tcp.state]
}

// Established reports whether the handshake is done.
func (s *Socket) Established() bool { return s.tcp != nil && s.tcp.state >= tcpEstablished }

// Read takes what has arrived. end is set when nothing more will come.
func (s *Socket) Read() (data []byte, end bool) {
	c := s.tcp
	if c == nil {
		return nil, true
	}
	data, c.in = c.in, nil
	return data, c.inEnd || c.state == tcpClosed
}

// Write sends data (write(2)).
func (s *Socket) Write(data []byte) int {
	c := s.tcp
	switch {
	case s.err != 0:
		return s.Err()
	case c == nil || c.state == tcpSynSent:
		return enotconn
	case c.fin || c.state != tcpEstablished && c.state != tcpCloseWait:
		return epipe
	}
	c.out = append(c.out, data...)
	s.ns.w.tcpOwn(s)
	s.ns.w.tcpOutput(s)
	return 0
}

// SoError is Err, or else an ICMP error that the connection goes on in spite of
// (getsockopt(2), SO_ERROR: sk_err_soft).
func (s *Socket) SoError() int {
	err := s.Err()
	if err == 0 && s.tcp != nil {
		err, s.tcp.softErr = s.tcp.softErr, 0
	}
	return err
}

// Unacked is how many bytes written have not been acknowledged.
func (s *Socket) Unacked() int {
	if s.tcp == nil {
		return 0
	}
	return len(s.tcp.out)
}

// CloseWrite says that nothing more will be written (shutdown(2), SHUT_WR).
func (s *Socket) CloseWrite() {
	c := s.tcp
	if c == nil || c.fin {
		return
	}
	switch c.state {
	case tcpEstablished:
		c.state = tcpFinWait1
	case tcpCloseWait:
		c.state = tcpLastAck
	default:
		return
	}
	c.fin = true
	s.ns.w.tcpOwn(s)
	s.ns.w.tcpOutput(s)
}

// tcpConnect sends the SYN (tcp_v4_connect, net/ipv4/tcp_ipv4.c).
func (w *World) tcpConnect(s *Socket, ip IP, port uint16) int {
	n := s.ns
	if ip == 0 {
		ip = 0x7f000001
	}
	r, errno := n.routeConnect(ip, s.local, s.dev, s.Mark, s.TOS)
	switch {
	case errno != 0:
		return errno
	case ip.multicast() || n.addrType(ip) == rtnBroadcast:
		return enetunreach
	}
	if s.local == 0 {
		s.local = r.src
	}
	s.remote, s.rport = ip, port
	if !s.bound {
		s.lport = n.freePort(true, func(port uint16) bool {
			_, ok := n.socks.conns[connKey{s.local, ip, port, s.rport}]
			return ok || slices.ContainsFunc(n.socks.listen, func(o *Socket) bool { return o.lport == port })
		})
		if s.lport == 0 {
			return eaddrnotavail
		}
		s.bound = true
	}
	if n.socks.conns == nil {
		n.socks.conns = map[connKey]*Socket{}
	}
	if _, ok := n.socks.conns[s.key()]; ok {
		return eaddrnotavail
	}
	n.socks.conns[s.key()] = s
	iss := w.random.Uint32()
	s.tcp = &tcpConn{state: tcpSynSent, iss: iss, una: iss, nxt: iss + 1, rto: tcpTimeoutInit, window: tcpInitCwnd, ipID: uint16(w.random.Uint32()),
		flow: newFlow(protoTCP, s.local, ip, s.lport, port), born: w.now}
	w.tcpOwn(s)
	w.tcpTransmit(s, tcpSYN, iss, nil)
	w.tcpArm(s)
	return 0
}

// tcpOwn says that the socket's program is in a call. What it sends comes to its
// end, and what comes of it comes back, before the call is over: a virtual link
// takes no time.
func (w *World) tcpOwn(s *Socket) {
	c := s.tcp
	c.owned++
	w.after(0, func() { c.owned-- })
}

// tcpRcv takes a segment (tcp_v4_rcv).
func (w *World) tcpRcv(n *Netns, p *packet) {
	if !n.local(p.dst) { // no connection, and no reset, is for everybody (tcp_v4_conn_request, tcp_v4_send_reset)
		w.note(p, atSocket, nil)
		w.end(p, ending{disposition: trace.Delivered, code: trace.CodeDelivered})
		return
	}
	opens := p.tcpFlags&(tcpSYN|tcpACK|tcpRST|tcpFIN) == tcpSYN
	s := n.socks.conns[connKey{p.dst, p.src, p.dport, p.sport}]
	listener := n.tcpListener(p.dst, p.dport, p.iif())
	if s != nil && s.tcp.state == tcpTimeWait && opens && listener != nil && after(p.seq, s.tcp.rcv) {
		w.tcpDone(s, 0) // TCP_TW_SYN: a new connection between the same ports
		s = nil
	}
	st := w.note(p, atSocket, nil)
	e := ending{disposition: trace.Delivered, code: trace.CodeDelivered}
	switch {
	case opens && listener != nil:
		p.journey.remark(st, remark{code: trace.CodeListens, port: p.dport})
	case opens && s == nil:
		p.journey.remark(st, remark{code: trace.CodeRefused, port: p.dport})
		e.code, e.port = trace.CodeRefused, p.dport
	}
	switch {
	case s != nil:
		q := *p
		w.end(p, e)
		w.tcpSegment(s, &q)
	case opens && listener != nil:
		w.answer(p, e, func() { w.tcpRequest(listener, p) })
	case p.tcpFlags&tcpRST != 0:
		w.end(p, e)
	case opens:
		w.answer(p, e, func() { w.tcpSendReset(n, p) })
	default:
		w.tcpSendReset(n, p)
		w.end(p, e)
	}
}

// tcpListener finds the listening socket for an address and port.
func (n *Netns) tcpListener(dst IP, port uint16, in *Link) *Socket {
	var best *Socket
	most := -1
	for _, s := range n.socks.listen {
		if s.lport != port || s.local != 0 && s.local != dst || !s.fits(in) {
			continue
		}
		score := 0
		if s.local != 0 {
			score++
		}
		if s.dev != nil {
			score += 2
		}
		if score > most {
			best, most = s, score
		}
	}
	return best
}

// tcpRequest answers a SYN (tcp_conn_request).
func (w *World) tcpRequest(l *Socket, p *packet) {
	n := l.ns
	if len(l.accept) > l.limit {
		return // the queue is full: the other end will try again
	}
	s := &Socket{ns: n, proto: protoTCP, local: p.dst, remote: p.src, lport: p.dport, rport: p.sport, dev: l.dev, bound: true, TTL: l.TTL, Mark: l.Mark, TOS: l.TOS, PMTU: l.PMTU}
	iss := w.random.Uint32()
	s.tcp = &tcpConn{state: tcpSynRecv, parent: l, iss: iss, una: iss, nxt: iss + 1, rcv: p.seq + 1, rto: tcpTimeoutInit, window: tcpInitCwnd,
		ipID: uint16(w.random.Uint32()), flow: p.flow, reply: !p.reply, born: w.now}
	s.tcp.heard(p)
	if n.socks.conns == nil {
		n.socks.conns = map[connKey]*Socket{}
	}
	n.socks.conns[s.key()] = s
	w.tcpTransmit(s, tcpSYN|tcpACK, iss, nil)
	w.tcpArm(s)
}

// heard takes the options of a segment.
func (c *tcpConn) heard(p *packet) {
	if p.opts != nil {
		c.stamp = p.opts.stamp
		if p.opts.mss != 0 {
			c.peerMSS = int(p.opts.mss)
		}
	}
}

// tcpSegment gives a segment to its connection (tcp_rcv_state_process,
// net/ipv4/tcp_input.c). p is a copy: its journey has ended.
func (w *World) tcpSegment(s *Socket, p *packet) {
	c := s.tcp
	flags, data := p.tcpFlags, p.payload
	if flags&tcpRST == 0 {
		c.heard(p)
	}
	switch c.state {
	case tcpSynSent:
		w.tcpSynSent(s, p)
		return
	case tcpTimeWait:
		if flags&tcpRST != 0 {
			w.tcpDone(s, 0)
		} else if len(data) > 0 || flags&(tcpSYN|tcpFIN) != 0 {
			w.tcpAck(s)
		}
		return
	case tcpSynRecv:
		if flags&(tcpSYN|tcpACK) == tcpSYN && p.seq+1 == c.rcv { // our SYN-ACK was lost
			w.tcpTransmit(s, tcpSYN|tcpACK, c.iss, nil)
			return
		}
	}
	switch {
	case flags&tcpRST != 0:
		if p.seq == c.rcv {
			errno := econnreset
			if c.state == tcpCloseWait {
				errno = epipe
			}
			w.tcpDone(s, errno)
		}
		return
	case flags&tcpSYN != 0:
		w.tcpAck(s) // a challenge, RFC 5961
		return
	case flags&tcpACK == 0:
		return
	}
	if c.state == tcpSynRecv {
		if p.ack != c.nxt {
			w.tcpSendReset(s.ns, p)
			return
		}
		l := c.parent
		if l.closed || len(l.accept) > l.limit {
			w.tcpSendReset(s.ns, p)
			w.tcpDone(s, 0)
			return
		}
		c.state, c.una, c.rto, c.timeouts = tcpEstablished, p.ack, tcpRTOMin, 0
		c.timer.stop()
		l.accept = append(l.accept, s)
		l.wake()
	}
	w.tcpAcked(s, p)
	if c.state == tcpClosed {
		return
	}
	w.tcpData(s, p)
}

// tcpSynSent takes the answer to a SYN (tcp_rcv_synsent_state_process).
func (w *World) tcpSynSent(s *Socket, p *packet) {
	c := s.tcp
	if p.tcpFlags&tcpACK == 0 || p.ack != c.nxt {
		if p.tcpFlags&(tcpACK|tcpRST) == tcpACK {
			w.tcpSendReset(s.ns, p)
		}
		return
	}
	if p.tcpFlags&tcpRST != 0 {
		w.tcpDone(s, econnrefused)
		return
	}
	if p.tcpFlags&tcpSYN == 0 {
		return
	}
	c.state, c.rcv, c.una = tcpEstablished, p.seq+1, p.ack
	c.rto, c.timeouts = tcpRTOMin, 0
	c.timer.stop()
	w.tcpAck(s)
	w.after(0, s.wake) // not before the other end has had the acknowledgement
}

// tcpAcked takes the acknowledgement that a segment carries (tcp_ack).
func (w *World) tcpAcked(s *Socket, p *packet) {
	c := s.tcp
	if !after(p.ack, c.una) {
		if p.ack == c.una && len(p.payload) == 0 && p.tcpFlags&tcpFIN == 0 && c.nxt != c.una {
			if c.dupAcks++; c.dupAcks == 3 {
				w.tcpRetransmit(s)
			}
		}
		return
	}
	if after(p.ack, c.nxt) {
		return
	}
	n := int(p.ack - c.una)
	finAcked := c.fin && n > len(c.out)
	c.out = c.out[min(n, len(c.out)):]
	c.una, c.dupAcks, c.timeouts, c.probed, c.rto, c.softErr = p.ack, 0, 0, false, tcpRTOMin, 0
	c.window++
	c.timer.stop()
	if c.una != c.nxt {
		w.tcpArm(s)
	}
	if finAcked {
		switch c.state {
		case tcpFinWait1:
			c.state = tcpFinWait2
			if s.closed { // nobody will read any more (net.ipv4.tcp_fin_timeout)
				c.timer = w.after(tcpTimeWaitLen, func() { w.tcpDone(s, 0) })
			}
		case tcpClosing:
			w.tcpTimeWait(s)
		case tcpLastAck:
			w.tcpDone(s, 0)
		}
		return
	}
	w.tcpOutput(s)
	if len(c.out) == 0 {
		s.wake()
	}
}

// tcpData takes a segment's data and FIN (tcp_data_queue, tcp_fin).
func (w *World) tcpData(s *Socket, p *packet) {
	c := s.tcp
	data, fin := p.payload, p.tcpFlags&tcpFIN != 0
	if len(data) == 0 && !fin || c.state == tcpTimeWait {
		return
	}
	if after(p.seq, c.rcv) { // a gap: say again what is expected
		if len(c.early) < 1024 {
			c.early = append(c.early, segment{p.seq, data, fin})
		}
		w.tcpAck(s)
		return
	}
	skip := c.rcv - p.seq
	length := uint32(len(data))
	if fin {
		length++
	}
	if skip >= length {
		w.tcpAck(s) // all of it is known
		return
	}
	if s.closed && len(data) > 0 && (c.state == tcpFinWait1 || c.state == tcpFinWait2) {
		w.tcpSendReset(s.ns, p) // nobody is there to read it
		w.tcpDone(s, 0)
		return
	}
	finished := w.tcpTake(s, segment{p.seq, data, fin})
	for again := true; again; {
		again = false
		for i, e := range c.early {
			if !after(e.seq, c.rcv) {
				c.early = slices.Delete(c.early, i, i+1)
				finished = w.tcpTake(s, e) || finished
				again = true
				break
			}
		}
	}
	switch {
	case c.state == tcpTimeWait || c.state == tcpClosing || !finished:
		w.tcpAck(s)
	default:
		c.delayed.stop()
		c.delayed = w.after(tcpDelayedAck, func() { w.tcpAck(s) }) // tcp_fin: pingpong mode
	}
	s.wake()
}

// tcpTake takes data in its turn, and reports whether the other end's FIN was reached.
func (w *World) tcpTake(s *Socket, g segment) bool {
	c := s.tcp
	skip := c.rcv - g.seq
	if int(skip) > len(g.data) {
		return false
	}
	c.in = append(c.in, g.data[skip:]...)
	c.rcv = g.seq + uint32(len(g.data))
	if !g.fin || c.inEnd {
		return false
	}
	c.rcv++
	c.inEnd = true
	switch c.state {
	case tcpEstablished, tcpSynRecv:
		c.state = tcpCloseWait
	case tcpFinWait1:
		c.state = tcpClosing
	case tcpFinWait2:
		w.tcpTimeWait(s)
	}
	return true
}

// tcpTimeWait ends a connection that this side closed first.
func (w *World) tcpTimeWait(s *Socket) {
	c := s.tcp
	c.state = tcpTimeWait
	c.timer.stop()
	c.timer = w.after(tcpTimeWaitLen, func() { w.tcpDone(s, 0) })
}

// tcpDone ends a connection, with what its program is told (tcp_done).
func (w *World) tcpDone(s *Socket, errno int) {
	c := s.tcp
	c.timer.stop()
	c.delayed.stop()
	c.state = tcpClosed
	s.ns.socks.remove(s)
	if errno != 0 {
		s.err = errno
	}
	s.wake()
}

// tcpClose closes a stream socket (tcp_close).
func (w *World) tcpClose(s *Socket) {
	c := s.tcp
	if c == nil {
		s.ns.socks.remove(s)
		for _, child := range s.accept { // inet_csk_listen_stop
			w.tcpAbort(child)
		}
		s.accept = nil
		return
	}
	switch c.state {
	case tcpClosed, tcpTimeWait, tcpClosing, tcpLastAck:
	case tcpSynSent, tcpSynRecv:
		w.tcpDone(s, 0)
	case tcpFinWait2:
		c.timer.stop()
		c.timer = w.after(tcpTimeWaitLen, func() { w.tcpDone(s, 0) })
	default:
		if len(c.in) > 0 { // somebody's data is lost: say so (RFC 2525, 2.17)
			w.tcpAbort(s)
			return
		}
		s.CloseWrite()
	}
}

// tcpAbort ends a connection with a reset (tcp_send_active_reset).
func (w *World) tcpAbort(s *Socket) {
	c := s.tcp
	w.tcpTransmit(s, tcpRST|tcpACK, c.nxt, nil)
	w.tcpDone(s, 0)
}

// tcpError takes an ICMP error about a segment of the namespace's, which came in
// by a device (tcp_v4_err).
func (w *World) tcpError(n *Netns, q *header, e SocketError, in *Link) {
	s := n.socks.conns[connKey{q.src, q.dst, q.sport, q.dport}]
	if s == nil {
		return
	}
	c := s.tcp
	if c.state == tcpSynRecv { // tcp_req_err
		if q.seq == c.iss && (e.Type == icmpTimeExceeded || e.Type == icmpDestUnreach && (e.Code == icmpNetUnreach || e.Code == icmpHostUnreach)) {
			w.tcpDone(s, 0)
		}
		return
	}
	if c.state == tcpTimeWait || after(c.una, q.seq) || after(q.seq, c.nxt) {
		return
	}
	if e.Type != icmpRedirect || c.owned == 0 {
		n.wayTold(q, &e, in, s)
	}
	switch {
	case e.Type == icmpRedirect:
	case e.Type == icmpDestUnreach && e.Code == icmpFragNeeded:
		if c.state >= tcpEstablished && s.PMTU != PMTUDont {
			w.tcpRetransmit(s) // in smaller pieces (tcp_simple_retransmit)
		}
	case c.state == tcpSynSent:
		w.tcpDone(s, e.Errno)
	default:
		c.softErr = e.Errno
	}
}
