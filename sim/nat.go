package sim

import (
	"math/bits"

	"vethlab/sim/rule"
	"vethlab/sim/trace"
)

// Network address translation. A rule of table nat decides once, for the first
// packet of a connection; it does so by editing the connection's reply tuple.
// From then on nobody asks the rules: every packet of the connection is made to
// look like the opposite of what the other direction looks like.
//
//	orig   172.18.0.8:40000 → 203.0.113.10:80      what the first packet was
//	reply  203.0.113.10:80  → 10.24.254.11:40000   what its answer will be
//	                          └─ SNAT wrote this: packets leave from it,
//	                             and what arrives for it goes to 172.18.0.8
//
// Where no rule applies, the connection is bound to what it is already (a null
// binding), so that a rule added later does not touch it either; only its
// source port may change, should somebody else have its tuple.
//
// It follows net/netfilter/nf_nat_core.c and nf_nat_proto.c.

// manip is the end of a packet that is rewritten (enum nf_nat_manip_type).
type manip uint8

const (
	manipSrc manip = iota
	manipDst
)

// manipAt is what may be rewritten at a hook (HOOK2MANIP).
func manipAt(h hookPoint) manip {
	if h == hookInput || h == hookPostrouting {
		return manipSrc
	}
	return manipDst
}

// done is the property of a connection whose rules were asked, nat the one of
// a connection that they rewrite.
func (m manip) done() ctStatus { return [2]ctStatus{ctSrcNATDone, ctDstNATDone}[m] }
func (m manip) nat() ctStatus  { return [2]ctStatus{ctSrcNAT, ctDstNAT}[m] }

// natHook translates the packet, after asking the rules when it is the first of
// its connection (nf_nat_ipv4_fn, nf_nat_inet_fn).
func (w *World) natHook(v *visitor, c *chain, p *packet) bool {
	ct, m := p.ct, manipAt(v.hook)
	if ct == nil {
		return true
	}
	before, asked := p.journey.look(p), len(p.journey.steps)
	switch {
	case (p.ctInfo == ctRelated || p.ctInfo == ctRelatedReply) && p.proto == protoICMP:
		if !icmpReplyTranslation(p, m) {
			w.lost(v, p)
			return false
		}
		w.rewrote(v, p, before, asked)
		return v.hook != hookOutput || w.natReroute(v, p)
	case p.ctInfo != ctEstablished && p.ctInfo != ctEstablishedReply && ct.status&m.done() == 0:
		if c != nil && !w.traverse(v, c, p) {
			return false
		}
		if ct.status&m.done() == 0 {
			p.ns.nullBinding(ct, m)
		}
	case v.hook == hookPostrouting && ct.masq != nil && ct.masq != v.out && p.ctInfo.dir() == original:
		// It leaves by another link than the one whose address it was given
		// (nf_nat_oif_changed): nobody would answer to that address there.
		p.ns.ctKill(ct)
		w.lost(v, p)
		return false
	}
	if natPacket(p, m) {
		w.rewrote(v, p, before, asked)
	}
	return v.hook != hookOutput || w.natReroute(v, p)
}

// natReroute finds a packet made here another way when it belongs to a
// connection whose destination is translated (nf_nat_ipv4_local_fn).
func (w *World) natReroute(v *visitor, p *packet) bool {
	d := p.ctInfo.dir()
	return p.ct.tuples[d].dst == p.ct.tuples[1-d].src || w.reroute(v, p)
}

// rewrote notes what NAT did to the packet, with the rule that asked for it or,
// when none did, with the connection's entry.
func (w *World) rewrote(v *visitor, p *packet, before int32, asked int) {
	j := p.journey
	if p.ends() == j.looks[before].ends() {
		return
	}
	if len(j.steps) > asked {
		switch s := &j.steps[len(j.steps)-1]; s.verdict {
		case trace.Snat, trace.Dnat, trace.Masq, trace.Redirect:
			s.after = j.look(p)
			return
		}
	}
	s := w.note(p, atConntrack, nil)
	s.before, s.by, s.hook = before, p.ct, v.hook
}

// ends are what NAT rewrites of a packet.
type ends struct {
	src, dst     IP
	sport, dport uint16
}

func (h *header) ends() ends { return ends{h.src, h.dst, h.sport, h.dport} }

// natPacket rewrites one end of a packet, if its connection's entry says so, and
// reports whether it does (nf_nat_packet).
func natPacket(p *packet, m manip) bool {
	status := m.nat()
	dir := p.ctInfo.dir()
	if dir == reply {
		status ^= ctNAT
	}
	if p.ct.status&status == 0 {
		return false
	}
	manipulate(p.writable(), &p.ct.tuples[1-dir], m)
	p.wrong = p.wrong || p.inner != nil && p.inner.unsummed()
	return true
}

// unsummed reports whether a packet's checksum is left to the link, which a
// virtual one never sums (CHECKSUM_PARTIAL). While that is so, the checksum of a
// packet around it is not mended right when it is translated
// (inet_proto_csum_replace4, net/core/utils.c).
func (p *packet) unsummed() bool {
	switch {
	case p.etherType != ethIP:
		return false
	case p.inner != nil:
		return true
	case p.proto == protoTCP: // but for the reset of a socket that is not there
		return p.opts == nil || p.opts.stamp != 0 || p.tcpFlags&tcpRST == 0
	}
	return p.proto == protoUDP && p.first() && p.flags&ipMF == 0
}

// manipulate makes one end of a packet what the tuple of the opposite direction
// says (nf_nat_manip_pkt): its source is where the answer goes, its destination
// where the answer comes from.
func manipulate(h *header, answer *tuple, m manip) {
	if m == manipSrc {
		h.src = answer.dst
	} else {
		h.dst = answer.src
	}
	switch h.proto {
	case protoTCP, protoUDP:
		switch {
		case !h.first(): // it has no ports
		case m == manipSrc:
			h.sport = answer.dport
		default:
			h.dport = answer.sport
		}
	case protoICMP:
		if h.first() && !icmpError(h.icmpType) && answer.proto == protoICMP {
			h.sport, h.dport = answer.sport, answer.sport // the identifier is the same for both ends
		}
	}
}

// nullBinding binds a connection to the address that it has
// (nf_nat_alloc_null_binding).
func (n *Netns) nullBinding(c *conn, m manip) {
	ip := c.tuples[reply].src
	if m == manipSrc {
		ip = c.tuples[reply].dst
	}
	n.setupNAT(c, &rule.NATRange{HasAddr: true, MinAddr: uint32(ip), MaxAddr: uint32(ip)}, m)
}

// setupNAT decides what one end of a new connection becomes
// (nf_nat_setup_info). It changes nothing of one that is in the table already.
func (n *Netns) setupNAT(c *conn, r *rule.NATRange, m manip) {
	if c.status&ctConfirmed != 0 {
		return
	}
	now := c.tuples[reply].turned()
	t := n.uniqueTuple(now, r, c, m)
	if t != now {
		c.tuples[reply] = t.turned()
		c.status |= m.nat()
	}
	c.status |= m.done()
}

// uniqueTuple finds a tuple in the range whose answers nobody else gets
// (get_unique_tuple): the old one, if it will do; the one that another
// connection from the same source was given; else the range's, with the first
// port that is free.
func (n *Netns) uniqueTuple(orig tuple, r *rule.NATRange, c *conn, m manip) tuple {
	random := r.Random || r.RandomFully
	used := func(t tuple) bool { return n.taken(t.turned(), c) }
	if m == manipSrc && !random {
		if inRange(orig, r) {
			if !used(orig) {
				return orig
			}
		} else if t, ok := n.appropriateSource(orig, r, c); ok && !used(t) {
			return t
		}
	}
	t := orig
	bestAddr(&t, r, m)
	if !random {
		if r.HasPort {
			if !r.HasBase && portInRange(t, r, m) && (r.MinPort == r.MaxPort || !used(t)) {
				return t
			}
		} else if !used(t) {
			return t
		}
	}
	return n.uniquePort(t, r, c, m)
}

// inRange reports whether the source of a tuple is in the range (nf_in_range).
func inRange(t tuple, r *rule.NATRange) bool {
	if r.HasAddr && (uint32(t.src) < r.MinAddr || uint32(t.src) > r.MaxAddr) {
		return false
	}
	return !r.HasPort || portInRange(t, r, manipSrc)
}

func portInRange(t tuple, r *rule.NATRange, m manip) bool {
	port := t.sport
	switch t.proto {
	case protoICMP:
	case protoTCP, protoUDP:
		if m == manipDst {
			port = t.dport
		}
	default:
		return true
	}
	return port >= r.MinPort && port <= r.MaxPort
}

// appropriateSource returns what the same source was translated to in another
// connection (find_appropriate_src).
func (n *Netns) appropriateSource(orig tuple, r *rule.NATRange, c *conn) (tuple, bool) {
	for _, other := range n.ct.bySource[source{orig.src, orig.sport, orig.proto}] {
		if other.expires <= n.w.now {
			continue
		}
		t := other.tuples[reply].turned()
		t.dst, t.dport = orig.dst, orig.dport
		if inRange(t, r) {
			return t, true
		}
	}
	return tuple{}, false
}

// bestAddr puts an address of the range into the tuple. Of several it is one
// that depends on both ends, so that a server sees a client come from the same
// address each time (find_best_ips_proto).
func bestAddr(t *tuple, r *rule.NATRange, m manip) {
	if !r.HasAddr {
		return
	}
	ip := r.MinAddr
	if r.MinAddr != r.MaxAddr {
		seed := bits.ReverseBytes32(uint32(t.dst)) // the kernel hashes bytes as they are on the wire
		if r.Persistent {
			seed = 0
		}
		hash := jhash4(bits.ReverseBytes32(uint32(t.src)), seed)
		scaled, _ := bits.Mul32(hash, r.MaxAddr-r.MinAddr+1) // reciprocal_scale
		ip += scaled
	}
	if m == manipSrc {
		t.src = IP(ip)
	} else {
		t.dst = IP(ip)
	}
}

// jhash4 is Bob Jenkins' hash of four words, of which only the first is not
// zero: an IPv4 address where an IPv6 one would fit (jhash2, include/linux/jhash.h).
func jhash4(word, seed uint32) uint32 {
	a := uint32(0xdeadbeef + 4<<2 + seed)
	b, c := a, a
	a += word
	for _, k := range []int{4, 6, 8, 16, 19, 4} { // __jhash_mix
		a -= c
		a ^= bits.RotateLeft32(c, k)
		c += b
		a, b, c = b, c, a
	}
	for _, k := range []int{14, 11, 25, 16, 4, 14, 24} { // __jhash_final
		c ^= b
		c -= bits.RotateLeft32(b, k)
		a, b, c = b, c, a
	}
	return b
}

// maxAttempts bounds the search for a port (NF_NAT_MAX_ATTEMPTS).
const maxAttempts = 128

// uniquePort searches the range for a port (or ICMP identifier) that is free
// (nf_nat_l4proto_unique_tuple). Without a range it is one of the same sort as
// the old: below 512, below 1024, or above.
func (n *Netns) uniquePort(t tuple, r *rule.NATRange, c *conn, m manip) tuple {
	key := &t.sport
	low, size := uint32(r.MinPort), uint32(r.MaxPort)-uint32(r.MinPort)+1
	switch t.proto {
	case protoICMP:
		if !r.HasPort {
			low, size = 0, 65536
		}
	case protoTCP, protoUDP:
		if m == manipDst {
			key = &t.dport
		}
		switch {
		case r.HasPort && r.MaxPort < r.MinPort:
			low, size = uint32(r.MaxPort), uint32(r.MinPort)-uint32(r.MaxPort)+1
		case r.HasPort:
		case m == manipDst:
			return t // a destination keeps its port
		case *key < 512:
			low, size = 1, 511
		case *key < 1024:
			low, size = 600, 424
		default:
			low, size = 1024, 64512
		}
	default:
		return t
	}
	var off uint16
	switch {
	case r.HasBase:
		off = *key - r.BasePort
	case r.Random || r.RandomFully || m != manipDst:
		off = uint16(n.w.random.Uint32())
	}
	for attempts := min(size, maxAttempts); ; attempts /= 2 {
		for i := range attempts {
			*key = uint16(low + uint32(off)%size)
			off++
			if !n.usedHarder(t, c, attempts-i) {
				return t
			}
		}
		if attempts >= size || attempts < 16 {
			return t
		}
		off = uint16(n.w.random.Uint32())
	}
}

// usedHarder is taken, but with few attempts left it may throw out a
// connection that is over (nf_nat_used_tuple_harder).
func (n *Netns) usedHarder(t tuple, c *conn, left uint32) bool {
	answer := t.turned()
	if left > maxAttempts/4 || t.proto != protoTCP || c.tcp.state != ctTCPSynSent {
		return n.taken(answer, c)
	}
	e, ok := n.ctFind(answer)
	switch {
	case !ok:
		return false
	case e.dir == original || e.tcp.state < ctTCPTimeWait || e.status&ctSrcNAT == 0,
		!seqAfter(c.tcp.seen[original].end, e.tcp.seen[original].end):
		return true
	}
	n.ctKill(e.conn)
	return false
}

// icmpReplyTranslation translates an ICMP error about a packet of a translated
// connection, outside and inside: whoever gets it must recognise what he sent
// (nf_nat_icmp_reply_translation). A redirect would be about the wrong way, and
// is dropped.
func icmpReplyTranslation(p *packet, m manip) bool {
	ct, dir := p.ct, p.ctInfo.dir()
	if p.icmpType == icmpRedirect && (ct.status&(ctSrcNATDone|ctDstNATDone) != ctSrcNATDone|ctDstNATDone || ct.status&ctNAT != 0) {
		return false
	}
	status := m.nat()
	if dir == reply {
		status ^= ctNAT
	}
	if ct.status&status == 0 {
		return true
	}
	answer := &ct.tuples[1-dir]
	if p.quoted != nil { // it went the opposite way
		inner, way := *p.quoted, answer.turned() // others may hold the same
		manipulate(&inner, &way, 1-m)
		p.quoted = &inner
	}
	manipulate(p.writable(), answer, m)
	return true
}
