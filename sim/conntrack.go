package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"vethlab/sim/state"
)

// Connection tracking: which packets belong together. A connection is two
// tuples: what its first packet looked like, and what the answer will look
// like. As long as nothing rewrites, the second is the first turned round; NAT
// edits the second (nat.go).
//
//	first packet ──▶ nfConntrackIn: no entry? make one (NEW), known to nobody yet
//	                 … hooks: NAT edits the reply tuple, rules may drop the packet …
//	                 nfConfirm at the last hook: both tuples go into the table
//	answer       ──▶ nfConntrackIn: found by the reply tuple: ESTABLISHED
//
// It runs only in a namespace where a rule asks for it (nf_ct_netns_get), and
// follows net/netfilter/nf_conntrack_core.c.

// tuple is one direction of a connection (struct nf_conntrack_tuple).
type tuple struct {
	src, dst     IP
	sport, dport uint16 // ICMP: the identifier, and type<<8|code
	proto        uint8
}

// ICMP messages that conntrack tells apart beside those of deliver.go (RFC 792).
const (
	icmpSourceQuench = 4
	icmpParameter    = 12
	icmpTimestamp    = 13
	icmpInfo         = 15
	icmpAddress      = 17
)

// icmpError reports whether the message is about another packet (icmp_is_err,
// include/linux/icmp.h).
func icmpError(typ uint8) bool {
	switch typ {
	case icmpDestUnreach, icmpSourceQuench, icmpRedirect, icmpTimeExceeded, icmpParameter:
		return true
	}
	return false
}

// icmpAnswer returns the type that answers a type, or asks for it (the table
// invmap of nf_conntrack_proto_icmp.c); ok is false where there is none.
func icmpAnswer(typ uint8) (answer uint8, ok bool) {
	switch typ {
	case icmpEcho:
		return icmpEchoReply, true
	case icmpEchoReply:
		return icmpEcho, true
	case icmpTimestamp, icmpInfo, icmpAddress:
		return typ + 1, true
	case icmpTimestamp + 1, icmpInfo + 1, icmpAddress + 1:
		return typ - 1, true
	}
	return 0, false
}

// tupleOf reads a packet's tuple (nf_ct_get_tuple). A later fragment has none.
func tupleOf(h *header) (t tuple, ok bool) {
	if !h.first() {
		return t, false
	}
	t = tuple{src: h.src, dst: h.dst, proto: h.proto}
	switch h.proto {
	case protoTCP, protoUDP:
		t.sport, t.dport = h.sport, h.dport
	case protoICMP:
		t.sport, t.dport = h.sport, uint16(h.icmpType)<<8|uint16(h.icmpCode)
	}
	return t, true
}

// inverted is the tuple of the answer (nf_ct_invert_tuple).
func (t tuple) inverted() (tuple, bool) {
	r := tuple{src: t.dst, dst: t.src, sport: t.dport, dport: t.sport, proto: t.proto}
	if t.proto == protoICMP {
		answer, ok := icmpAnswer(uint8(t.dport >> 8))
		if !ok {
			return r, false
		}
		r.sport, r.dport = t.sport, uint16(answer)<<8|t.dport&0xff
	}
	return r, true
}

// turned is inverted for a tuple of an entry, which always has an answer.
func (t tuple) turned() tuple {
	r, _ := t.inverted()
	return r
}

func (t tuple) public() state.Tuple {
	s := state.Tuple{Src: t.src.Addr(), Dst: t.dst.Addr(), SrcPort: t.sport, DstPort: t.dport}
	if t.proto == protoICMP {
		s.DstPort, s.ICMPType = 0, uint8(t.dport>>8)
	}
	return s
}

// ctInfo is what a packet is to its connection (enum ip_conntrack_info).
type ctInfo uint8

const (
	ctEstablished ctInfo = iota
	ctRelated
	ctNew
	ctEstablishedReply
	ctRelatedReply
)

// direction is an index into a connection's tuples.
type direction uint8

const (
	original direction = iota
	reply
)

func (i ctInfo) dir() direction {
	if i >= ctEstablishedReply {
		return reply
	}
	return original
}

// ctStatus are the properties of an entry (enum ip_conntrack_status).
type ctStatus uint16

const (
	ctExpected ctStatus = 1 << iota
	ctSeenReply
	ctAssured
	ctConfirmed
	ctSrcNAT
	ctDstNAT
	_
	ctSrcNATDone
	ctDstNATDone
	ctDying
)

const ctNAT = ctSrcNAT | ctDstNAT

// conn is an entry of the table (struct nf_conn).
type conn struct {
	tuples  [2]tuple
	status  ctStatus
	id      uint32
	mark    uint32
	expires int64 // on the world's clock
	masq    *Link // MASQUERADE chose an address of this link
	tcp     tcpTrack
	stream  int64 // UDP: from then on it is more than a question and an answer
	told    ctTold
}

// conntrack is a namespace's table of connections (struct netns_ct).
type conntrack struct {
	users    int // rules that need it
	table    map[tuple]ctEntry
	bySource map[source][]*conn // newest first: what a source was translated to
	lastID   uint32
	sweepAt  int // entries, from which on those that expired are looked for
	sysctls  *ctSysctls

	listeners []*ctListener
	by        int // the process that has entries removed just now
}

type ctEntry struct {
	*conn
	dir direction
}

// source is the half of a tuple that SNAT changes (struct nf_conntrack_man).
type source struct {
	ip    IP
	port  uint16
	proto uint8
}

// String writes the entry as a trace names it.
func (c *conn) String() string {
	o, r := c.tuples[original], c.tuples[reply]
	if o.proto == protoICMP {
		return fmt.Sprintf("icmp %s → %s, reply %s → %s", o.src, o.dst, r.src, r.dst)
	}
	return fmt.Sprintf("%s %s:%d → %s:%d, reply %s:%d → %s:%d", protoName(o.proto),
		o.src, o.sport, o.dst, o.dport, r.src, r.sport, r.dst, r.dport)
}

func protoName(p uint8) string {
	if name := protoNames[p]; name != "" {
		return name
	}
	return strconv.Itoa(int(p))
}

// ctKeep takes note of one more rule that needs connection tracking, or of
// one less. With the first the hooks appear, with the last they go
// (nf_ct_netns_get, nf_ct_netns_put); the entries stay until they expire.
func (n *Netns) ctKeep(users int) { n.ct.users += users }

// ctFind looks a tuple up (nf_conntrack_find_get). What has expired is gone.
func (n *Netns) ctFind(t tuple) (ctEntry, bool) {
	e, ok := n.ct.table[t]
	if ok && e.expires <= n.w.now {
		n.ctKill(e.conn)
		return ctEntry{}, false
	}
	return e, ok
}

// taken reports whether an entry other than c has the tuple
// (nf_conntrack_tuple_taken).
func (n *Netns) taken(t tuple, c *conn) bool {
	e, ok := n.ctFind(t)
	return ok && e.conn != c
}

// ctKill takes an entry out of the table (nf_ct_kill).
func (n *Netns) ctKill(c *conn) {
	if c.status&ctDying != 0 {
		return
	}
	if len(n.ct.listeners) > 0 && c.status&ctConfirmed != 0 {
		n.changed(c, ConnDestroy)
	}
	c.status |= ctDying
	for _, t := range c.tuples {
		if n.ct.table[t].conn == c {
			delete(n.ct.table, t)
		}
	}
	s := c.source()
	if left := slices.DeleteFunc(n.ct.bySource[s], func(x *conn) bool { return x == c }); len(left) == 0 {
		delete(n.ct.bySource, s)
	} else {
		n.ct.bySource[s] = left
	}
}

func (c *conn) source() source {
	t := &c.tuples[original]
	return source{t.src, t.sport, t.proto}
}

// attach ties an answer that the node itself makes to the connection of the
// packet it is about: an ICMP error, the reset of a REJECT (nf_conntrack_attach).
func (p *packet) attach(about *packet) {
	p.ct = about.ct
	if p.ct == nil {
		return
	}
	p.ctInfo = ctRelated
	if about.ctInfo.dir() == original {
		p.ctInfo = ctRelatedReply
	}
}

// resetCT makes a packet forget its connection, as happens when it leaves by
// a device other than lo (skb_scrub_packet: nf_reset_ct, nf_reset_trace).
func (p *packet) resetCT() { p.ct, p.ctInfo, p.untracked, p.tracing = nil, 0, false, false }

// nfConntrackIn finds the packet's connection, or begins one
// (nf_conntrack_in). It reports whether the packet may go on.
func (w *World) nfConntrackIn(p *packet) bool {
	if p.ct != nil || p.untracked {
		return true // seen before (loopback), or not to be tracked
	}
	n := p.ns
	if p.proto == protoICMP && p.first() {
		if p.icmpType > 18 { // NR_ICMP_TYPES: the highest type that is known
			return true
		}
		if icmpError(p.icmpType) {
			n.inetError(p)
			return true
		}
	}
	for {
		c, info := n.resolveNormalCT(p)
		if c == nil {
			return true
		}
		switch n.handlePacket(p, c, info) {
		case ctInvalid:
			return true
		case ctRepeat:
			continue
		case ctDrop:
			return false
		}
		p.ct, p.ctInfo = c, info
		if info == ctEstablishedReply {
			c.status |= ctSeenReply
		}
		return true
	}
}

// resolveNormalCT returns the packet's entry and what the packet is to it;
// none when the packet can belong to none (resolve_normal_ct).
func (n *Netns) resolveNormalCT(p *packet) (*conn, ctInfo) {
	t, ok := tupleOf(&p.header)
	if !ok {
		return nil, 0
	}
	e, ok := n.ctFind(t)
	switch {
	case !ok:
		answer, ok := t.inverted()
		if !ok {
			return nil, 0
		}
		return &conn{tuples: [2]tuple{t, answer}}, ctNew
	case e.dir == reply:
		return e.conn, ctEstablishedReply
	case e.status&ctSeenReply != 0:
		return e.conn, ctEstablished
	}
	return e.conn, ctNew
}

// ctVerdict is what a protocol's tracker says of a packet.
type ctVerdict uint8

const (
	ctAccept  ctVerdict = iota
	ctInvalid           // it belongs to no connection
	ctRepeat            // its entry was of an older connection: look again
	ctDrop
)

// handlePacket tells the connection of the packet (nf_conntrack_handle_packet).
func (n *Netns) handlePacket(p *packet, c *conn, info ctInfo) ctVerdict {
	set := n.ct.settings()
	switch p.proto {
	case protoTCP:
		return n.tcpPacket(p, c, info)
	case protoUDP:
		n.udpPacket(c, set)
	case protoICMP:
		// Only a question begins a connection (nf_conntrack_icmp_packet).
		switch uint8(c.tuples[original].dport >> 8) {
		case icmpEcho, icmpTimestamp, icmpInfo, icmpAddress:
		default:
			return ctInvalid
		}
		n.refresh(c, set.icmp)
	default:
		n.refresh(c, set.generic)
	}
	return ctAccept
}

// udpPacket: once it has gone to and fro for two seconds, it is a stream
// (nf_conntrack_udp_packet).
func (n *Netns) udpPacket(c *conn, set *ctSysctls) {
	if c.status&ctConfirmed == 0 {
		c.stream = n.w.now + 2e9
	}
	if c.status&ctSeenReply != 0 && n.w.now > c.stream {
		n.refresh(c, set.udpStream)
		c.status |= ctAssured
		return
	}
	n.refresh(c, set.udp)
}

// refresh gives the entry so many seconds from now (nf_ct_refresh_acct).
func (n *Netns) refresh(c *conn, seconds int) { c.expires = n.w.now + int64(seconds)*1e9 }

// inetError finds the connection that an ICMP error is about
// (nf_conntrack_inet_error): the packet is related to it and gets no entry of
// its own. One about a packet that nobody knows is invalid.
func (n *Netns) inetError(p *packet) {
	if p.quoted == nil {
		return
	}
	t, ok := tupleOf(p.quoted)
	if !ok {
		return
	}
	inner, ok := t.inverted()
	if !ok {
		return
	}
	e, ok := n.ctFind(inner)
	// The error goes to whoever sent the packet that it quotes.
	if !ok || e.tuples[e.dir].dst != p.dst {
		return
	}
	p.ct, p.ctInfo = e.conn, ctRelated
	if e.dir == reply {
		p.ctInfo = ctRelatedReply
	}
}

// nfConfirm puts a new connection into the table, once its first packet has
// passed all hooks (nf_confirm, __nf_conntrack_confirm). It reports whether
// the packet may go on: when somebody else has taken one of the tuples since,
// it may not.
func (w *World) nfConfirm(p *packet) bool {
	c, n := p.ct, p.ns
	if c == nil {
		return true
	}
	if c.status&ctConfirmed != 0 || p.ctInfo.dir() != original {
		if len(n.ct.listeners) > 0 && c.status&ctDying == 0 {
			n.changed(c, ConnUpdate)
		}
		return true
	}
	if n.taken(c.tuples[original], c) || n.taken(c.tuples[reply], c) {
		return p.proto == protoUDP && n.resolveClash(p)
	}
	n.insert(c)
	if len(n.ct.listeners) > 0 {
		n.changed(c, ConnNew)
	}
	return true
}

// resolveClash lets a packet join the connection that was faster with the same
// tuples (nf_ct_resolve_clash). Protocols that can lose packets may.
func (n *Netns) resolveClash(p *packet) bool {
	e, ok := n.ctFind(p.ct.tuples[original])
	if !ok || e.dir != original || e.tuples != p.ct.tuples {
		return false
	}
	p.ct = e.conn
	return true
}

func (n *Netns) insert(c *conn) {
	if n.ct.table == nil {
		n.ct.table, n.ct.bySource, n.ct.sweepAt = map[tuple]ctEntry{}, map[source][]*conn{}, 1024
	}
	if len(n.ct.table) > n.ct.sweepAt {
		n.ctSweep()
		n.ct.sweepAt = max(1024, 2*len(n.ct.table))
	}
	n.ct.lastID++
	c.id = n.ct.lastID
	c.status |= ctConfirmed
	n.ct.table[c.tuples[original]] = ctEntry{c, original}
	n.ct.table[c.tuples[reply]] = ctEntry{c, reply}
	if c.status&ctSrcNATDone != 0 {
		s := c.source()
		n.ct.bySource[s] = slices.Insert(n.ct.bySource[s], 0, c)
	}
}

// ctSweep takes out what has expired (gc_worker).
func (n *Netns) ctSweep() {
	for t, e := range n.ct.table {
		if t == e.tuples[original] && e.expires <= n.w.now {
			n.ctKill(e.conn)
		}
	}
}

// conns returns the entries, oldest first.
func (n *Netns) conns() []*conn {
	n.ctSweep()
	all := make([]*conn, 0, len(n.ct.table)/2)
	for _, e := range n.ct.table {
		if e.dir == original {
			all = append(all, e.conn)
		}
	}
	slices.SortFunc(all, func(a, b *conn) int { return cmp.Compare(a.id, b.id) })
	return all
}

func (n *Netns) publicConn(c *conn) state.Conn {
	s := state.Conn{ID: c.id, Proto: protoName(c.tuples[original].proto), Orig: c.tuples[original].public(), Reply: c.tuples[reply].public(),
		Replied: c.status&ctSeenReply != 0, Assured: c.status&ctAssured != 0, SrcNAT: c.status&ctSrcNAT != 0, DstNAT: c.status&ctDstNAT != 0,
		Mark: c.mark, Timeout: int(max(0, c.expires-n.w.now+int64(jiffy)-1) / 1e9)}
	if c.tuples[original].proto == protoTCP {
		s.State = ctTCPNames[c.tcp.state]
	}
	return s
}

// Conns lists the connections, oldest first: conntrack -L.
func (n *Netns) Conns() []state.Conn { return n.w.snapConns(n) }

// ConnsDelete removes the connections that match for a process, and returns
// them: conntrack -D.
func (n *Netns) ConnsDelete(by int, match func(state.Conn) bool) []state.Conn {
	n.ct.by = by
	defer func() { n.ct.by = 0 }()
	var gone []state.Conn
	for _, c := range n.conns() {
		if s := n.publicConn(c); match(s) {
			n.ctKill(c)
			gone = append(gone, s)
		}
	}
	return gone
}

// ConnsFlush removes all connections for a process: conntrack -F.
func (n *Netns) ConnsFlush(by int) {
	n.ct.by = by
	defer func() { n.ct.by = 0 }()
	n.ctKillIf(func(*conn) bool { return true })
}

func (n *Netns) ctKillIf(match func(*conn) bool) {
	for _, c := range n.conns() {
		if match(c) {
			n.ctKill(c)
		}
	}
}

// masqueradeDown forgets the connections that MASQUERADE gave an address of a
// link that went down (masq_device_event, nf_nat_masquerade.c).
func (n *Netns) masqueradeDown(l *Link) {
	n.ctKillIf(func(c *conn) bool { return c.masq == l })
}

// masqueradeGone forgets those that MASQUERADE gave this address of the link:
// it was removed (masq_inet_event).
func (n *Netns) masqueradeGone(l *Link, ip IP) {
	n.ctKillIf(func(c *conn) bool { return c.masq == l && c.tuples[reply].dst == ip })
}

// snapConns returns the connections for a snapshot.
func (w *World) snapConns(n *Netns) []state.Conn {
	if len(n.ct.table) == 0 {
		return nil
	}
	var all []state.Conn
	for _, c := range n.conns() {
		all = append(all, n.publicConn(c))
	}
	return all
}

// restoreConns puts a snapshot's connections into the table. What a snapshot
// does not hold is concluded: where a namespace translates at all, an entry has
// been through the nat hooks.
func (w *World) restoreConns(n *Netns, all []state.Conn) {
	for _, s := range all {
		proto, ok := protoNumber(s.Proto)
		if !ok {
			continue
		}
		c := &conn{tuples: [2]tuple{privateTuple(proto, s.Orig), privateTuple(proto, s.Reply)}, mark: s.Mark, expires: w.now + int64(s.Timeout)*1e9 + 5e8}
		for _, f := range []struct {
			is  bool
			bit ctStatus
		}{{s.Replied, ctSeenReply}, {s.Assured, ctAssured}, {s.SrcNAT, ctSrcNAT}, {s.DstNAT, ctDstNAT}} {
			if f.is {
				c.status |= f.bit
			}
		}
		if n.nf.nat() {
			c.status |= ctSrcNATDone | ctDstNATDone
		}
		if proto == protoTCP {
			c.tcp.restore(s.State)
		}
		n.insert(c)
		if s.ID != 0 {
			c.id, n.ct.lastID = s.ID, max(n.ct.lastID, s.ID)
		}
	}
}

func protoNumber(name string) (uint8, bool) {
	for number, s := range protoNames {
		if s == name {
			return number, true
		}
	}
	i, err := strconv.ParseUint(name, 10, 8)
	return uint8(i), err == nil
}

func privateTuple(proto uint8, s state.Tuple) tuple {
	t := tuple{src: ipOf(s.Src), dst: ipOf(s.Dst), sport: s.SrcPort, dport: s.DstPort, proto: proto}
	if proto == protoICMP {
		t.dport = uint16(s.ICMPType) << 8
	}
	return t
}
