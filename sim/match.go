package sim

import (
	"strings"

	"vethlab/sim/rule"
)

// Whether a rule applies to a packet. The types are sim/rule's; beside each is
// named what the kernel evaluates it with.

// ifMatch is a rule.Iface made ready to be compared: no string is cut for a packet.
type ifMatch struct {
	name   string
	asked  bool
	prefix bool
	not    bool
}

func newIfMatch(i rule.Iface) ifMatch {
	m := ifMatch{name: i.Name, asked: !i.Any(), not: i.Not}
	m.name, m.prefix = strings.CutSuffix(i.Name, "+")
	if i.Name == "" {
		m.prefix = true
	}
	return m
}

func (m *ifMatch) matches(l *Link) bool {
	if !m.asked {
		return true
	}
	name := ""
	if l != nil {
		name = l.name
	}
	if m.prefix {
		return strings.HasPrefix(name, m.name) != m.not
	}
	return (name == m.name) != m.not
}

// matchState is what a match remembers from packet to packet.
type matchState struct {
	count int64 // Limit: nanoseconds of credit; Nth: packets
	last  int64 // Limit: when that was
}

// newRule makes a rule ready to be matched. A jump to a chain is left to whoever
// knows the chains.
func newRule(c *chain, r *rule.Rule) *nfRule {
	nr := &nfRule{Rule: r, chain: c, in: newIfMatch(r.In), out: newIfMatch(r.Out)}
	nr.verdict, _ = r.Target.(rule.Verdict)
	if j, ok := r.Target.(*rule.Jump); ok {
		nr.isGoto = j.Goto
	}
	for i, m := range r.Matches {
		var s matchState
		switch m := m.(type) {
		case *rule.Limit:
			s.count = limitCost(m) * int64(m.Burst)
		case *rule.Nth:
			s.count = int64(m.Every-1) - int64(m.Packet)
		default:
			continue
		}
		if nr.state == nil {
			nr.state = make([]matchState, len(r.Matches))
		}
		nr.state[i] = s
	}
	return nr
}

// needsConntrack reports whether connections must be tracked for the rule
// (who calls nf_ct_netns_get).
func (r *nfRule) needsConntrack() bool {
	for _, m := range r.Matches {
		switch m.(type) {
		case *rule.Conntrack, *rule.State, *rule.ConnmarkMatch:
			return true
		}
	}
	switch t := r.Target.(type) {
	case *rule.Connmark, *rule.SNAT, *rule.DNAT, *rule.Masquerade, *rule.Redirect, *rule.Netmap:
		return true
	case *rule.CT: // xt_ct_tg_check: --notrack needs nothing
		return !t.Notrack
	}
	return false
}

// matches reports whether the rule applies to the packet: all its parts must.
func (w *World) matches(v *visitor, r *nfRule, p *packet) bool {
	switch {
	case !r.Src.Contains(uint32(p.src)), !r.Dst.Contains(uint32(p.dst)):
		return false
	case !r.in.matches(v.in), !r.out.matches(v.out):
		return false
	case r.Proto != 0 && (r.Proto == p.proto) == r.NotProto:
		return false
	case r.Fragment == rule.LaterFragment && p.first(), r.Fragment == rule.NotFragment && !p.first():
		return false
	}
	for i, m := range r.Matches {
		if !w.match(v, r, i, m, p) {
			return false
		}
	}
	return true
}

func (w *World) match(v *visitor, r *nfRule, i int, m rule.Match, p *packet) bool {
	switch m := m.(type) {
	case *rule.TCP: // tcp_mt
		return p.proto == protoTCP && p.first() && m.Src.Contains(p.sport) && m.Dst.Contains(p.dport) &&
			(p.tcpFlags&m.FlagMask == m.Flags) != m.NotFlags && (m.Option == 0 || tcpHasOption(p, m.Option) != m.NotOption)
	case *rule.UDP: // udp_mt
		return p.proto == protoUDP && p.first() && m.Src.Contains(p.sport) && m.Dst.Contains(p.dport)
	case *rule.ICMP: // icmp_match
		return p.proto == protoICMP && p.first() &&
			(m.Type == rule.AnyICMP || p.icmpType == m.Type && p.icmpCode >= m.CodeLo && p.icmpCode <= m.CodeHi) != m.Not
	case *rule.Conntrack:
		return w.matchConntrack(m, p)
	case *rule.State: // state_mt
		return (m.States&ctStateOf(p) != 0) != m.Not
	case *rule.AddrType:
		return matchAddrType(v, m, p)
	case *rule.Multiport:
		return matchMultiport(m, p)
	case *rule.MarkMatch: // mark_mt
		return (p.mark&m.Mask == m.Value) != m.Not
	case *rule.ConnmarkMatch: // connmark_mt
		return p.ct != nil && (p.ct.mark&m.Mask == m.Value) != m.Not
	case *rule.MAC: // mac_mt
		return p.in != nil && p.in.kind != kindLoopback && (p.srcMAC == MACOf(m.Source[:])) != m.Not
	case *rule.Comment:
		return true
	case *rule.Limit:
		return w.matchLimit(m, &r.state[i])
	case *rule.IPRange: // iprange_mt4
		return (m.Src == nil || m.Src.Contains(uint32(p.src))) && (m.Dst == nil || m.Dst.Contains(uint32(p.dst)))
	case *rule.Physdev:
		return matchPhysdev(m, p)
	case *rule.Owner:
		return matchOwner(m, p)
	case *rule.RPFilter:
		return matchRPFilter(v, m, p) != m.Invert
	case *rule.Nth: // statistic_mt
		s := &r.state[i]
		if s.count == int64(m.Every-1) {
			s.count = 0
			return !m.Not
		}
		s.count++
		return m.Not
	case *rule.PktType: // pkttype_mt
		return (uint8(p.typ) == uint8(m.Type)) != m.Not
	case *rule.Length: // length_mt
		return m.Contains(uint32(p.len))
	case *rule.TTL: // ttl_mt
		switch m.Op {
		case rule.TTLEqual:
			return p.ttl == m.Value
		case rule.TTLNot:
			return p.ttl != m.Value
		case rule.TTLLess:
			return p.ttl < m.Value
		case rule.TTLGreater:
			return p.ttl > m.Value
		}
	}
	return false
}

// tcpHasOption says which options the model's segments carry: those that
// Linux puts into a SYN (maximum segment size, SACK permitted, timestamps, window
// scale), timestamps in every other one, none in a reset.
func tcpHasOption(p *packet, option uint8) bool {
	switch option {
	case 1, 8:
		return p.tcpFlags&tcpRST == 0
	case 2, 3, 4:
		return p.tcpFlags&tcpSYN != 0
	}
	return false
}

// ctStateOf is what the packet is to conntrack.
func ctStateOf(p *packet) rule.CTStates {
	switch {
	case p.untracked:
		return rule.Untracked
	case p.ct == nil:
		return rule.Invalid
	case p.ctInfo == ctNew:
		return rule.New
	case p.ctInfo == ctRelated || p.ctInfo == ctRelatedReply:
		return rule.Related
	}
	return rule.Established
}

// matchConntrack: conntrack_mt.
func (w *World) matchConntrack(m *rule.Conntrack, p *packet) bool {
	ct := p.ct
	if m.States != nil {
		s := ctStateOf(p)
		if ct != nil && ct.status&ctSrcNAT != 0 {
			s |= rule.SNATed
		}
		if ct != nil && ct.status&ctDstNAT != 0 {
			s |= rule.DNATed
		}
		if (m.States.States&s != 0) == m.States.Not {
			return false
		}
	}
	if ct == nil {
		return m.States != nil
	}
	o, r := &ct.tuples[original], &ct.tuples[reply]
	net := func(n *rule.Net, ip IP) bool { return n == nil || n.Contains(uint32(ip)) }
	port := func(x *rule.Ports, port uint16) bool { return x == nil || x.Contains(port) }
	if m.Dir != rule.AnyDir && (m.Dir == rule.Original) != (p.ctInfo.dir() == original) {
		return false
	}
	if !net(m.OrigSrc, o.src) || !net(m.OrigDst, o.dst) || !net(m.ReplSrc, r.src) || !net(m.ReplDst, r.dst) {
		return false
	}
	if m.Proto != nil && (m.Proto.Proto == o.proto) == m.Proto.Not {
		return false
	}
	if !port(m.OrigSrcPort, o.sport) || !port(m.OrigDstPort, o.dport) || !port(m.ReplSrcPort, r.sport) || !port(m.ReplDstPort, r.dport) {
		return false
	}
	if s := m.Status; s != nil {
		var has rule.CTStatus
		for _, f := range [...]struct {
			is  ctStatus
			bit rule.CTStatus
		}{{ctExpected, rule.Expected}, {ctSeenReply, rule.SeenReply}, {ctAssured, rule.Assured}, {ctConfirmed, rule.Confirmed}} {
			if ct.status&f.is != 0 {
				has |= f.bit
			}
		}
		if (has&s.Status != 0) == s.Not {
			return false
		}
	}
	if m.Expire != nil {
		left := max(0, ct.expires-w.now) / 1e9
		if !m.Expire.Contains(uint32(left)) {
			return false
		}
	}
	return true
}

// matchAddrType: addrtype_mt_v1.
func matchAddrType(v *visitor, m *rule.AddrType, p *packet) bool {
	var dev *Link
	switch {
	case m.LimitIn:
		dev = v.in
	case m.LimitOut:
		dev = v.out
	}
	is := func(ip IP, types rule.AddrTypes) bool {
		return types&(1<<p.ns.addrTypeIn(ip, tableLocal, dev)) != 0
	}
	return (m.Src == 0 || is(p.src, m.Src) != m.NotSrc) && (m.Dst == 0 || is(p.dst, m.Dst) != m.NotDst)
}

// matchMultiport: multiport_mt.
func matchMultiport(m *rule.Multiport, p *packet) bool {
	if !p.first() {
		return false
	}
	for _, ports := range m.Ports {
		if m.Side != rule.DstPort && ports.Contains(p.sport) || m.Side != rule.SrcPort && ports.Contains(p.dport) {
			return !m.Not
		}
	}
	return m.Not
}

// limitCost is the credit that a packet takes, in nanoseconds.
func limitCost(m *rule.Limit) int64 { return int64(m.Unit) * 1e9 / int64(m.Rate) }

// matchLimit: nft_limit_eval.
func (w *World) matchLimit(m *rule.Limit, s *matchState) bool {
	cost := limitCost(m)
	if s.last != 0 {
		s.count = min(s.count+w.now-s.last, cost*int64(m.Burst))
	}
	s.last = w.now
	if s.count < cost {
		return false
	}
	s.count -= cost
	return true
}

// matchPhysdev: physdev_mt. What did not come over a bridge matches only what
// is asked with a "!".
func matchPhysdev(m *rule.Physdev, p *packet) bool {
	if p.physIn == nil && p.physOut == nil {
		return m.Bridged != rule.Yes && m.IsIn != rule.Yes && m.IsOut != rule.Yes &&
			(m.In.Any() || m.In.Not) && (m.Out.Any() || m.Out.Not)
	}
	asked := func(a rule.Ask, is bool) bool { return a == rule.NotAsked || (a == rule.Yes) == is }
	if !asked(m.Bridged, p.physOut != nil) || !asked(m.IsIn, p.physIn != nil) || !asked(m.IsOut, p.physOut != nil) {
		return false
	}
	if !m.In.Any() && p.physIn != nil && !m.In.Contains(p.physIn.name) {
		return false
	}
	return m.Out.Any() || p.physOut != nil && m.Out.Contains(p.physOut.name)
}

// matchOwner: owner_mt. Every program of a lab runs as its root. What the
// kernel itself answers comes from a socket, too (icmp_sk, tcp_sk), but that
// belongs to nobody of the lab; the reset of a REJECT has none.
func matchOwner(m *rule.Owner, p *packet) bool {
	s := p.sock
	switch {
	case s != nil && s.closed && s.tcp != nil && s.tcp.state == tcpTimeWait: // the kernel's own answers (tcp_v4_timewait_ack)
		return m.Socket != rule.No && (m.UID == nil || m.UID.Not) && (m.GID == nil || m.GID.Not)
	case s != nil && s.orphan:
	case s != nil:
		return m.Socket != rule.No && (m.UID == nil || m.UID.Contains(0)) && (m.GID == nil || m.GID.Contains(0))
	case p.in == nil && !(p.proto == protoTCP && p.ctInfo == ctRelatedReply):
		return m.Socket != rule.No && (m.UID == nil || m.UID.Not) && (m.GID == nil || m.GID.Not)
	}
	// All that is asked must be asked with a "!".
	return m.Socket != rule.Yes && (m.UID == nil || m.UID.Not) && (m.GID == nil || m.GID.Not)
}

// matchRPFilter: rpfilter_mt, before --invert.
func matchRPFilter(v *visitor, m *rule.RPFilter, p *packet) bool {
	if v.in == nil || v.in.kind == kindLoopback {
		return true
	}
	if p.dst.multicast() && p.src.zeronet() {
		return p.dst>>8 == 0xe00000 // 224.0.0.0/24
	}
	fl := flowi{dst: p.src, tos: p.tos, ignoreLinkstate: true}
	if !p.dst.multicast() && !p.dst.broadcast() {
		fl.src = p.dst
	}
	if m.ValidMark {
		fl.mark = p.mark
	}
	r, errno := p.ns.fibLookup(&fl)
	if errno != 0 || r.typ != rtnUnicast && (r.typ != rtnLocal || !m.AcceptLocal) {
		return false
	}
	return m.Loose || r.dev == v.in
}
