package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// A socket is where a packet comes from and where it ends:
//
//	program ─ SendTo, Write ─▶ Socket ─ routeOutput ─ ipLocalOut ─▶
//	                             ▲                                   errors that travel back
//	program ◀─ Wake, Recv, Read ─┴─◀ udpRcv, tcpRcv, pingRcv ◀─ localDeliver ◀─ icmpError

// sockets are the sockets of a namespace (struct inet_hashinfo, udp_table,
// ping_table).
type sockets struct {
	udp    []*Socket // bound to a port, oldest first
	ping   []*Socket
	listen []*Socket
	conns  map[connKey]*Socket
}

// connKey names a TCP connection from its own end's point of view.
type connKey struct {
	local, remote IP
	lport, rport  uint16
}

// Socket is one end of a conversation (struct sock). What a program sets before
// it sends is exported; it calls the methods, which answer with an errno, 0
// when all went well.
type Socket struct {
	proc  *Process
	ns    *Netns
	proto uint8

	local, remote IP // 0: any, nobody
	lport, rport  uint16
	hash          uint32 // of what it sends once it is connected (sk_txhash); 0: not chosen yet
	dev           *Link  // SO_BINDTODEVICE
	bound         bool

	TTL       uint8    // IP_TTL; 0: the namespace's default
	TOS       uint8    // IP_TOS
	Mark      uint32   // SO_MARK
	PMTU      PMTUMode // IP_MTU_DISCOVER
	RecvErr   bool     // IP_RECVERR: errors go into a queue
	Broadcast bool     // SO_BROADCAST
	ReusePort bool     // SO_REUSEPORT: others that set it may listen on the port too
	// Wake is called when something has arrived: data, an error, a connection,
	// the other side's end.
	Wake func()

	err    int // sk_err: told once, by the next call
	errors []SocketError
	queue  []Datagram
	peers  []peer
	tcp    *tcpConn // a connection
	accept []*Socket
	limit  int // of accept: listen(2)'s backlog
	dns    *dnsServer
	to     string // of a docker-proxy: where it passes on to
	closed bool
	orphan bool // closed, and what close(2) itself sends has gone out (sock_orphan)
}

// socket is the name by which the rest of the package knows it.
type socket = Socket

// PMTUMode is what a socket does about packets larger than the path takes.
type PMTUMode uint8

// The modes of IP_MTU_DISCOVER (ip(7)).
const (
	PMTUWant PMTUMode = iota // split where needed, else don't-fragment
	PMTUDont
	PMTUDo // never split here
)

// Datagram is a message that arrived.
type Datagram struct {
	Src     IP
	Dst     IP
	SrcPort uint16
	TTL     uint8
	Seq     uint16 // ping
	Len     int    // of the message; Payload is nil where nobody looks at it
	Payload []byte
	At      int64
}

// SocketError is an entry of the error queue (struct sock_extended_err).
type SocketError struct {
	Errno      int
	Local      bool // found out before sending; else by an ICMP message
	From       IP   // who sent it
	Type, Code uint8
	Info       uint32 // the MTU
	Dst        IP     // the packet it is about: its destination,
	DstPort    uint16
	Seq        uint16 // and, of an echo request, its number
	TTL        uint8  // of the ICMP message
	At         int64
}

// peer is somebody a socket exchanges datagrams with.
type peer struct {
	ip    IP
	port  uint16
	flow  *flow
	reply bool
}

// The kernel's range of ports for sockets that name none
// (net.ipv4.ip_local_port_range).
const portLow, portHigh = 32768, 60999

func (p *Process) socket(proto uint8) *Socket {
	s := &Socket{proc: p, ns: p.ns, proto: proto}
	if p.ns.sys.noPMTUDisc != 0 { // inet_create
		s.PMTU = PMTUDont
	}
	p.socks = append(p.socks, s)
	return s
}

// Bind gives the socket a local address and port (bind(2)). An address of 0 is
// any, a port of 0 lets the kernel choose.
func (s *Socket) Bind(ip IP, port uint16) int {
	n := s.ns
	if ip != 0 && n.sys.nonlocalBind == 0 && !ip.broadcast() && !n.local(ip) && !(ip.multicast() || n.addrType(ip) == rtnBroadcast) {
		return eaddrnotavail // inet_addr_valid_or_nonlocal, include/net/inet_sock.h
	}
	s.local = ip
	switch s.proto {
	case protoUDP:
		return n.udpBind(s, port)
	case protoTCP:
		return n.tcpBind(s, port)
	}
	return 0
}

// BindDevice has the socket use one device only (SO_BINDTODEVICE).
func (s *Socket) BindDevice(name string) int {
	l := s.ns.link(name)
	if l == nil {
		return enodev
	}
	s.dev = l
	return 0
}

// Local returns the socket's own address and port.
func (s *Socket) Local() (IP, uint16) { return s.local, s.lport }

// Remote returns the other end's address and port.
func (s *Socket) Remote() (IP, uint16) { return s.remote, s.rport }

// Process returns the process that the socket belongs to; nil once it has none.
func (s *Socket) Process() *Process { return s.proc }

// Recv takes the oldest message that has arrived.
func (s *Socket) Recv() (Datagram, bool) {
	if len(s.queue) == 0 {
		return Datagram{}, false
	}
	d := s.queue[0]
	s.queue = s.queue[1:]
	return d, true
}

// Err returns the pending error and clears it (SO_ERROR).
func (s *Socket) Err() int {
	err := s.err
	s.err = 0
	return err
}

// RecvError takes the oldest entry of the error queue (MSG_ERRQUEUE).
func (s *Socket) RecvError() (SocketError, bool) {
	if len(s.errors) == 0 {
		return SocketError{}, false
	}
	e := s.errors[0]
	s.errors = s.errors[1:]
	return e, true
}

// Close closes the socket (close(2)).
func (s *Socket) Close() {
	if s.closed {
		return
	}
	s.closed = true
	if s.proc != nil {
		s.proc.socks = slices.DeleteFunc(s.proc.socks, func(x *Socket) bool { return x == s })
	}
	s.Wake = nil
	if s.proto == protoTCP {
		s.ns.w.tcpClose(s)
		s.orphan = true
		return
	}
	s.ns.socks.remove(s)
}

func (t *sockets) remove(s *Socket) {
	is := func(x *Socket) bool { return x == s }
	switch s.proto {
	case protoUDP:
		t.udp = slices.DeleteFunc(t.udp, is)
	case protoICMP:
		t.ping = slices.DeleteFunc(t.ping, is)
	case protoTCP:
		t.listen = slices.DeleteFunc(t.listen, is)
		if k := s.key(); t.conns[k] == s {
			delete(t.conns, k)
		}
	}
}

// fits reports whether a packet that came in by a device may be for a socket
// that is bound to one.
func (s *Socket) fits(in *Link) bool { return s.dev == nil || in == nil || s.dev == in }

// iif is the device that a packet counts as come in by. What a node sends itself
// goes over lo, but counts as come in by the link that has the address it is for
// (inet_iif; ip_route_output_key_hash_rcu keeps that link in rt_iif).
func (p *packet) iif() *Link {
	if r := &p.route; p.in == p.ns.lo && !r.input && r.row != nil && r.row.typ == rtnLocal {
		return r.row.dev
	}
	return p.in
}

func (s *Socket) key() connKey { return connKey{s.local, s.remote, s.lport, s.rport} }

func (s *Socket) wake() {
	if s.Wake != nil {
		s.Wake()
	}
}

// queueLimit bounds what waits in a socket (SO_RCVBUF).
const queueLimit = 256

func (s *Socket) deliver(d Datagram) {
	if len(s.queue) < queueLimit {
		s.queue = append(s.queue, d)
	}
	s.wake()
}

// fail sets the socket's error and wakes its program (sk_error_report).
func (s *Socket) fail(errno int) {
	s.err = errno
	s.wake()
}

// flowTo is the flow of a datagram to somebody: the one that their last message
// came in, or a new one.
func (s *Socket) flowTo(src, ip IP, port uint16) (*flow, bool) {
	for i := range s.peers {
		if q := &s.peers[i]; q.ip == ip && q.port == port {
			return q.flow, q.reply
		}
	}
	return s.meet(peer{ip, port, newFlow(s.proto, src, ip, s.lport, port), false})
}

// meet remembers somebody, if they are not known already.
func (s *Socket) meet(q peer) (*flow, bool) {
	for i := range s.peers {
		if o := &s.peers[i]; o.ip == q.ip && o.port == q.port {
			return o.flow, o.reply
		}
	}
	if len(s.peers) >= 64 {
		s.peers = s.peers[1:]
	}
	s.peers = append(s.peers, q)
	return q.flow, q.reply
}

// newFlow names a conversation by its first packet.
func newFlow(proto uint8, src, dst IP, sport, dport uint16) *flow {
	if proto == protoICMP {
		return &flow{fmt.Sprintf("icmp %s→%s #%d", src, dst, sport)}
	}
	return &flow{fmt.Sprintf("%s %s:%d→%s:%d", protoNames[proto], src, sport, dst, dport)}
}

// send hands a packet of the socket's to IP and says what became of it before
// it left the namespace: EPERM when a rule of OUTPUT or POSTROUTING dropped it
// (nf_hook_slow, net/netfilter/core.c), or why there is no way to where one sent it.
func (w *World) send(s *Socket, n *Netns, p *packet, r route) int {
	p.ns, p.sock, p.route, p.routed = n, s, r, true
	if s != nil && s.remote != 0 && s.proto != protoICMP { // of ICMP's sockets none was seen to have one
		if s.hash == 0 {
			w.hashes++
			s.hash = w.hashes * 0x9e3779b1
		}
		p.hash = s.hash
	}
	j, b, drops := p.journey, p.branch, w.drops
	w.unrouted = 0
	w.ipLocalOut(n, p)
	if w.drops > drops && s != nil && s.RecvErr {
		return enobufs // net_xmit_errno
	}
	switch e := j.branches[b].end; {
	case e.ns != n || len(j.branches) != 1:
	case e.disposition == trace.Dropped || e.disposition == trace.Rejected:
		return eperm
	case e.disposition == trace.Martian || e.disposition == trace.NoRouteTo:
		return w.unrouted
	}
	return 0
}

// restoreListeners makes the listening sockets of a snapshot again, with the
// servers behind them that the model knows.
func (n *Netns) restoreListeners(ls []state.Listener) {
	for _, l := range ls {
		ip := ipOf(l.Addr)
		switch {
		case l.Process == "python3" && l.Proto == "tcp":
			n.startHTTP(ip, l.Port, "python3", "-m", "http.server", strconv.Itoa(int(l.Port)))
		case l.Process == "dnsmasq" && l.Proto == "udp":
			n.startDNS(op.DNSServe{Names: servedNames(l.Names), Listen: listening(l.Addr), Port: int(l.Port)}, "dnsmasq")
		case l.Process == "dnsmasq" && !l.Addr.IsUnspecified(): // the same server's
		case l.Process == "docker-proxy" && l.To != "":
			if to, err := netip.ParseAddrPort(l.To); err == nil {
				n.startProxy([]string{"docker-proxy", "-proto", l.Proto, "-host-ip", l.Addr.String(), "-host-port", strconv.Itoa(int(l.Port)),
					"-container-ip", to.Addr().String(), "-container-port", strconv.Itoa(int(to.Port()))})
			}
		default:
			n.startSink(l, ip)
		}
	}
}

// startSink makes a listener of a program that the model does not know: it
// takes what comes, and says nothing.
func (n *Netns) startSink(l state.Listener, ip IP) {
	name := l.Process
	if name == "" {
		name = "?"
	}
	p := n.Start(name)
	if l.Proto == "udp" {
		s := p.UDP()
		s.Bind(ip, l.Port)
		s.Wake = func() { s.queue = nil }
		return
	}
	s := p.TCP()
	s.Bind(ip, l.Port)
	if name == "nc" {
		s.Listen(1)
	} else {
		s.Listen(128)
	}
	s.Wake = func() {
		for c := s.Accept(); c != nil; c = s.Accept() {
			c.Wake = func() { c.Read() }
		}
	}
}

// snapListeners lists the sockets that wait for others.
func (n *Netns) snapListeners() []state.Listener {
	var ls []state.Listener
	add := func(proto string, s *Socket) {
		l := state.Listener{Proto: proto, Addr: s.local.Addr(), Port: s.lport}
		if s.proc != nil {
			l.Process = s.proc.Name
		}
		l.Names, l.To = s.served(), s.to
		ls = append(ls, l)
	}
	for _, s := range n.socks.listen {
		add("tcp", s)
	}
	for _, s := range n.socks.udp {
		if s.remote == 0 {
			add("udp", s)
		}
	}
	return ls
}
