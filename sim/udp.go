package sim

import (
	"vethlab/sim/trace"
)

// UDP returns a new datagram socket (socket(2), SOCK_DGRAM).
func (p *Process) UDP() *Socket { return p.socket(protoUDP) }

// udpBind gives a socket a port (udp_v4_get_port, net/ipv4/udp.c).
func (n *Netns) udpBind(s *Socket, port uint16) int {
	if port == 0 {
		port = n.freePort(false, func(port uint16) bool { return n.udpTaken(s, port) })
		if port == 0 {
			return eaddrinuse
		}
	} else if n.udpTaken(s, port) {
		return eaddrinuse
	}
	s.lport = port
	if !s.bound {
		s.bound = true
		n.socks.udp = append(n.socks.udp, s)
	}
	return 0
}

// udpTaken reports whether another socket has the port on an address of s
// (inet_rcv_saddr_equal).
func (n *Netns) udpTaken(s *Socket, port uint16) bool {
	for _, o := range n.socks.udp {
		if o != s && o.lport == port && !(o.ReusePort && s.ReusePort) && (o.dev == nil || s.dev == nil || o.dev == s.dev) && (o.local == 0 || s.local == 0 || o.local == s.local) {
			return true
		}
	}
	return false
}

// freePort chooses a port for a socket that names none, at random. A TCP
// connection takes an even one if it can (__inet_hash_connect,
// net/ipv4/inet_hashtables.c). 0: there is none left.
func (n *Netns) freePort(even bool, taken func(uint16) bool) uint16 {
	const count = portHigh - portLow + 1
	from := n.w.random.IntN(count)
	step := 1
	if even {
		from &^= 1
		step = 2
	}
	for round := range step {
		for i := 0; i < count; i += step {
			if port := uint16(portLow + (from+i+round)%count); !taken(port) {
				return port
			}
		}
	}
	return 0
}

// Connect names the other end (connect(2)). For a datagram socket nothing is
// sent; a TCP socket begins the handshake, and is woken when it is done.
func (s *Socket) Connect(ip IP, port uint16) int {
	if s.proto == protoTCP {
		return s.ns.w.tcpConnect(s, ip, port)
	}
	n := s.ns
	if ip == 0 { // a local address instead (__ip4_datagram_connect, net/ipv4/datagram.c)
		ip = 0x7f000001
	}
	r, errno := n.routeConnect(ip, s.local, s.dev, s.Mark, s.TOS)
	if errno != 0 {
		return errno
	}
	if r.typ == rtnBroadcast && !s.Broadcast {
		return eacces
	}
	if s.local == 0 {
		s.local = r.src
	}
	s.remote, s.rport = ip, port
	if s.proto == protoUDP && !s.bound {
		return n.udpBind(s, 0)
	}
	return 0
}

// SendTo sends a datagram (sendto(2)). For a connected socket ip and port are 0.
func (s *Socket) SendTo(ip IP, port uint16, payload []byte) int {
	if ip == 0 {
		ip, port = s.remote, s.rport
		if ip == 0 {
			return edestaddrreq
		}
	}
	if s.err != 0 {
		return s.Err()
	}
	n, w := s.ns, s.ns.w
	if !s.bound {
		if errno := n.udpBind(s, 0); errno != 0 {
			return errno
		}
	}
	if len(payload) > 0xffff-28 {
		return emsgsize
	}
	r, errno := n.routeOutput(ip, s.local, s.dev, s.Mark, s.TOS)
	if errno != 0 {
		return errno
	}
	if r.typ == rtnBroadcast && !s.Broadcast {
		return eacces
	}
	p := w.newPacket()
	p.src, p.dst, p.sport, p.dport = s.local, ip, s.lport, port
	if p.src == 0 {
		p.src = r.src
	}
	p.payload = payload
	p.len = int32(28 + len(payload))
	if errno := s.prepare(p, protoUDP, &r); errno != 0 {
		w.discard(p)
		return errno
	}
	f, reply := s.flowTo(p.src, ip, port)
	w.depart(p, f, reply)
	return w.send(s, n, p, r)
}

// prepare fills in what every packet of a socket has. It refuses a packet that
// is larger than the path takes and may not be split (__ip_append_data).
func (s *Socket) prepare(p *packet, proto uint8, r *route) int {
	p.etherType, p.proto, p.ttl, p.tos, p.mark = ethIP, proto, s.TTL, s.TOS, s.Mark
	if p.ttl == 0 {
		p.ttl = s.ns.defaultTTL()
	}
	mtu := s.ns.pathMTU(r, p.dst)
	if s.PMTU == PMTUDo && int(p.len) > mtu || p.len > 0xffff {
		if s.RecvErr {
			s.errors = append(s.errors, SocketError{Errno: emsgsize, Local: true, Info: uint32(mtu), Dst: p.dst, DstPort: p.dport, At: s.ns.w.now})
		}
		return emsgsize
	}
	switch fits := int(p.len) <= mtu; { // ip_dont_fragment, include/net/ip.h
	case s.PMTU == PMTUDo, s.PMTU != PMTUDont && fits && !s.ns.mtuLocked(r, p.dst):
		p.flags |= ipDF
	}
	p.mayFragment = s.PMTU != PMTUDo // ip_sk_ignore_df
	return 0
}

// udpRcv gives a datagram to the socket it is for (__udp4_lib_rcv).
func (w *World) udpRcv(n *Netns, p *packet) {
	if w.vxlanRcv(n, p) { // the encap_rcv of a tunnel's socket
		return
	}
	s := n.udpLookup(p.dst, p.src, p.dport, p.sport, p.iif())
	e := ending{disposition: trace.Delivered, code: trace.CodeDelivered}
	st := w.note(p, atSocket, nil)
	if s == nil && !n.local(p.dst) { // nobody is told (__udp4_lib_mcast_deliver)
		w.end(p, e)
		return
	}
	if s == nil {
		p.journey.remark(st, remark{code: trace.CodeRefused, port: p.dport})
		e.code, e.port = trace.CodeRefused, p.dport
		p.ct, p.ctInfo, p.untracked = nil, 0, false // nf_reset_ct
		w.answer(p, e, func() { w.icmpSend(p, icmpDestUnreach, icmpPortUnreach, 0) })
		return
	}
	d := Datagram{Src: p.src, Dst: p.dst, SrcPort: p.sport, TTL: p.ttl, Len: int(p.len) - 28, Payload: p.payload, At: w.now}
	s.meet(peer{p.src, p.sport, p.flow, !p.reply})
	w.end(p, e)
	s.deliver(d)
}

// udpLookup finds the socket for a datagram: of those that fit the one that
// says most (compute_score).
func (n *Netns) udpLookup(dst, src IP, dport, sport uint16, in *Link) *Socket {
	var best *Socket
	most := -1
	for _, s := range n.socks.udp {
		if s.lport != dport {
			continue
		}
		score := 0
		if s.local != 0 {
			if s.local != dst {
				continue
			}
			score += 4
		}
		if s.remote != 0 {
			if s.remote != src || s.rport != sport {
				continue
			}
			score += 8
		}
		if !s.fits(in) {
			continue
		}
		if s.dev != nil {
			score += 4
		}
		if score > most {
			best, most = s, score
		}
	}
	return best
}
