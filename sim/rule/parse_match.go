package rule

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// matches are the -m that this package knows: the option tables of
// extensions/libxt_*.c and libipt_*.c.
var matches map[string]*extension

// otherMatches are the -m that iptables has besides.
var otherMatches = setOf("ah bpf cgroup cluster connbytes connlabel connlimit cpu dccp devgroup dscp ecn esp hashlimit helper ipcomp " +
	"ipvs nfacct osf policy quota rateest realm recent sctp set socket string tcpmss time tos u32")

func setOf(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

const (
	bit0 = 1 << iota
	bit1
	bit2
	bit3
	bit4
	bit5
	bit6
)

func init() {
	matches = map[string]*extension{}
	for _, e := range []*extension{tcpMatch, udpMatch, icmpMatch, conntrackMatch, stateMatch, addrtypeMatch, multiportMatch, markMatch,
		connmarkMatch, macMatch, commentMatch, limitMatch, iprangeMatch, physdevMatch, ownerMatch, rpfilterMatch, statisticMatch,
		pkttypeMatch, lengthMatch, ttlMatch} {
		matches[e.name] = e
	}
}

var tcpMatch = &extension{name: "tcp", old: true, begin: func() any { return &TCP{Src: AllPorts, Dst: AllPorts} }, opts: []option{
	{name: "source-port", id: 0, arg: true, set: tcpSource},
	{name: "sport", id: 0, arg: true, set: tcpSource},
	{name: "destination-port", id: 1, arg: true, set: tcpDestination},
	{name: "dport", id: 1, arg: true, set: tcpDestination},
	{name: "syn", id: 2, set: func(c *given) {
		c.tcpFlagsOnce()
		c.tcpFlags("SYN,RST,ACK,FIN", "SYN")
	}},
	{name: "tcp-flags", id: 3, arg: true, set: func(c *given) {
		c.tcpFlagsOnce()
		if c.optind >= len(c.argv) || strings.HasPrefix(c.argv[c.optind], "-") || strings.HasPrefix(c.argv[c.optind], "!") {
			c.wrong("--tcp-flags requires two args.")
		}
		c.tcpFlags(c.arg, c.argv[c.optind])
		c.optind++
	}},
	{name: "tcp-option", id: 4, arg: true, set: func(c *given) {
		if c.seen&bit4 != 0 {
			c.wrong("Only one `--tcp-option' allowed")
		}
		n, ok := number(c.arg, 1, 255)
		if !ok {
			c.wrong("Bad TCP option \"%s\"", c.arg)
		}
		t := c.v.(*TCP)
		t.Option, t.NotOption = uint8(n), c.not
	}},
}}

func tcpSource(c *given) {
	if c.seen&bit0 != 0 {
		c.wrong("Only one `--source-port' allowed")
	}
	c.v.(*TCP).Src = c.tcpPorts()
}

func tcpDestination(c *given) {
	if c.seen&bit1 != 0 {
		c.wrong("Only one `--destination-port' allowed")
	}
	c.v.(*TCP).Dst = c.tcpPorts()
}

func (c *given) tcpPorts() Ports {
	lo, hi, isRange := strings.Cut(c.arg, ":")
	if !isRange {
		n := c.port(c.arg, "tcp")
		return Ports{n, n, c.not}
	}
	p := Ports{0, 65535, c.not}
	if lo != "" {
		p.Lo = c.port(lo, "tcp")
	}
	if hi != "" {
		p.Hi = c.port(hi, "tcp")
	}
	if p.Lo > p.Hi {
		c.wrong("invalid portrange (min > max)")
	}
	return p
}

func (c *given) tcpFlagsOnce() {
	if c.seen&(bit2|bit3) != 0 {
		c.wrong("Only one of `--syn' or `--tcp-flags'  allowed")
	}
}

var tcpFlagNames = []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"}

func (c *given) tcpFlags(mask, flags string) {
	read := func(s string) (f uint8) {
	words:
		for w := range strings.SplitSeq(s, ",") {
			switch {
			case w == "", strings.EqualFold(w, "NONE"):
				continue
			case strings.EqualFold(w, "ALL"):
				f = 0x3f
				continue
			}
			for i, n := range tcpFlagNames {
				if strings.EqualFold(w, n) {
					f |= 1 << i
					continue words
				}
			}
			c.wrong("Unknown TCP flag `%s'", w)
		}
		return f
	}
	t := c.v.(*TCP)
	t.FlagMask, t.Flags, t.NotFlags = read(mask), read(flags), c.not
}

var udpMatch = &extension{name: "udp", begin: func() any { return &UDP{Src: AllPorts, Dst: AllPorts} }, opts: []option{
	{name: "source-port", id: 0, arg: true, not: true, set: udpSource},
	{name: "sport", id: 0, arg: true, not: true, set: udpSource},
	{name: "destination-port", id: 1, arg: true, not: true, set: udpDestination},
	{name: "dport", id: 1, arg: true, not: true, set: udpDestination},
}}

func udpSource(c *given)      { c.v.(*UDP).Src = c.ports() }
func udpDestination(c *given) { c.v.(*UDP).Dst = c.ports() }

var icmpMatch = &extension{name: "icmp", begin: func() any { return &ICMP{Type: AnyICMP, CodeHi: 255} }, opts: []option{
	{name: "icmp-type", arg: true, not: true, must: true, set: func(c *given) {
		m := c.v.(*ICMP)
		m.Not = c.not
		var found *icmpName
		for i := range icmpNames {
			n := &icmpNames[i]
			if !abbreviates(c.arg, n.name) {
				continue
			}
			if found != nil {
				c.wrong("Ambiguous ICMP type `%s': `%s' or `%s'?", c.arg, found.name, n.name)
			}
			found = n
		}
		if found != nil {
			m.Type, m.CodeLo, m.CodeHi = found.typ, found.codeLo, found.codeHi
			return
		}
		lo, hi, rest, ok := icmpRange(c.arg)
		if !ok {
			c.wrong("Unknown ICMP type `%s'", c.arg)
		}
		m.Type = lo
		if rest != "" && rest[0] == '/' {
			if m.CodeLo, m.CodeHi, rest, ok = icmpRange(rest[1:]); !ok {
				c.wrong("Unknown ICMP code `%s'", c.arg)
			}
		}
		if rest != "" {
			c.wrong("unknown character %c", rest[0])
		}
		if hi != lo {
			c.wrong("ICMP type range not supported")
		}
	}},
}}

// icmpRange reads NUMBER or NUMBER:NUMBER.
func icmpRange(s string) (lo, hi uint8, rest string, ok bool) {
	n, rest, ok := numberPrefix(s, 0, 255)
	if !ok {
		return 0, 0, "", false
	}
	m := n
	if rest != "" && rest[0] == ':' {
		if m, rest, ok = numberPrefix(rest[1:], 0, 255); !ok {
			return 0, 0, "", false
		}
	}
	return uint8(n), uint8(m), rest, true
}

type icmpName struct {
	name                string
	typ, codeLo, codeHi uint8
}

// icmpNames are the names --icmp-type takes; of several for the same, -L prints
// the first.
var icmpNames = []icmpName{{"any", AnyICMP, 0, 255}, {"echo-reply", 0, 0, 255}, {"pong", 0, 0, 255},
	{"destination-unreachable", 3, 0, 255}, {"network-unreachable", 3, 0, 0}, {"host-unreachable", 3, 1, 1},
	{"protocol-unreachable", 3, 2, 2}, {"port-unreachable", 3, 3, 3}, {"fragmentation-needed", 3, 4, 4},
	{"source-route-failed", 3, 5, 5}, {"network-unknown", 3, 6, 6}, {"host-unknown", 3, 7, 7}, {"network-prohibited", 3, 9, 9},
	{"host-prohibited", 3, 10, 10}, {"TOS-network-unreachable", 3, 11, 11}, {"TOS-host-unreachable", 3, 12, 12},
	{"communication-prohibited", 3, 13, 13}, {"host-precedence-violation", 3, 14, 14}, {"precedence-cutoff", 3, 15, 15},
	{"source-quench", 4, 0, 255}, {"redirect", 5, 0, 255}, {"network-redirect", 5, 0, 0}, {"host-redirect", 5, 1, 1},
	{"TOS-network-redirect", 5, 2, 2}, {"TOS-host-redirect", 5, 3, 3}, {"echo-request", 8, 0, 255}, {"ping", 8, 0, 255},
	{"router-advertisement", 9, 0, 255}, {"router-solicitation", 10, 0, 255}, {"time-exceeded", 11, 0, 255}, {"ttl-exceeded", 11, 0, 255},
	{"ttl-zero-during-transit", 11, 0, 0}, {"ttl-zero-during-reassembly", 11, 1, 1}, {"parameter-problem", 12, 0, 255},
	{"ip-header-bad", 12, 0, 0}, {"required-option-missing", 12, 1, 1}, {"timestamp-request", 13, 0, 255}, {"timestamp-reply", 14, 0, 255},
	{"address-mask-request", 17, 0, 255}, {"address-mask-reply", 18, 0, 255}}

// ctStateNames in the order they are read in; the bits are CTStates'.
var ctStateNames = []string{"INVALID", "NEW", "ESTABLISHED", "RELATED", "UNTRACKED", "SNAT", "DNAT"}

var ctStatusNames = []string{"NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"}

var conntrackMatch = &extension{name: "conntrack", begin: func() any { return &Conntrack{} },
	check: func(p *parser, v any, seen uint32) {
		if seen == 0 {
			p.wrong("conntrack: At least one option is required")
		}
	},
	opts: []option{
		{name: "ctstate", id: 0, arg: true, not: true, set: func(c *given) {
			s := &CTStateSet{Not: c.not}
			for _, i := range nameList(c.arg, ctStateNames, func(rest string) { c.wrong("Bad ctstate \"%s\"", rest) }) {
				s.States |= 1 << i
			}
			c.v.(*Conntrack).States = s
		}},
		{name: "ctproto", id: 1, arg: true, not: true, set: func(c *given) {
			m := c.v.(*Conntrack)
			m.Proto = &CTProto{c.protoNumber(c.arg), c.not}
			// conntrack_mt_parse tests the inversion of --ctstatus here, whose bit
			// is the same as XT_INV_PROTO's.
			if m.Proto.Proto == 0 && m.Status != nil && m.Status.Not {
				c.wrong("conntrack: rule would never match protocol")
			}
		}},
		{name: "ctorigsrc", id: 2, arg: true, not: true, set: func(c *given) { c.v.(*Conntrack).OrigSrc = c.net() }},
		{name: "ctorigdst", id: 3, arg: true, not: true, set: func(c *given) { c.v.(*Conntrack).OrigDst = c.net() }},
		{name: "ctreplsrc", id: 4, arg: true, not: true, set: func(c *given) { c.v.(*Conntrack).ReplSrc = c.net() }},
		{name: "ctrepldst", id: 5, arg: true, not: true, set: func(c *given) { c.v.(*Conntrack).ReplDst = c.net() }},
		{name: "ctstatus", id: 6, arg: true, not: true, set: func(c *given) {
			s := &CTStatusSet{Not: c.not}
			for _, i := range nameList(c.arg, ctStatusNames, func(rest string) { c.wrong("Bad ctstatus \"%s\"", rest) }) {
				if i > 0 {
					s.Status |= 1 << (i - 1)
				}
			}
			c.v.(*Conntrack).Status = s
		}},
		{name: "ctexpire", id: 7, arg: true, not: true, set: func(c *given) {
			s := c.span(math.MaxUint32)
			c.v.(*Conntrack).Expire = &s
		}},
		{name: "ctorigsrcport", id: 8, arg: true, not: true, set: func(c *given) { c.v.(*Conntrack).OrigSrcPort = c.ctPorts() }},
		{name: "ctorigdstport", id: 9, arg: true, not: true, set: func(c *given) { c.v.(*Conntrack).OrigDstPort = c.ctPorts() }},
		{name: "ctreplsrcport", id: 10, arg: true, not: true, set: func(c *given) { c.v.(*Conntrack).ReplSrcPort = c.ctPorts() }},
		{name: "ctrepldstport", id: 11, arg: true, not: true, set: func(c *given) { c.v.(*Conntrack).ReplDstPort = c.ctPorts() }},
		{name: "ctdir", id: 12, arg: true, set: func(c *given) {
			switch {
			case strings.EqualFold(c.arg, "ORIGINAL"):
				c.v.(*Conntrack).Dir = Original
			case strings.EqualFold(c.arg, "REPLY"):
				c.v.(*Conntrack).Dir = Reply
			default:
				c.badValue("ctdir", c.arg)
			}
		}},
	}}

func (c *given) ctPorts() *Ports {
	p := c.ports()
	if p.Hi == 0 && p.Lo != 0 {
		panic(notSimulated("--%s %s", c.name, c.arg)) // never matches, and is listed as if it did
	}
	return &p
}

var stateMatch = &extension{name: "state", begin: func() any { return &State{} }, opts: []option{
	{name: "state", arg: true, not: true, must: true, set: func(c *given) {
		m := c.v.(*State)
		m.Not = c.not
		for _, i := range nameList(c.arg, ctStateNames[:5], func(rest string) {
			if rest == "" {
				c.wrong("\"--state\" requires a list of states with no spaces, e.g. ESTABLISHED,RELATED")
			}
			c.wrong("Bad state \"%s\"", rest)
		}) {
			m.States |= 1 << i
		}
	}},
}}

var addrTypeNames = []string{"UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT",
	"THROW", "NAT", "XRESOLVE"}

var addrtypeMatch = &extension{name: "addrtype", begin: func() any { return &AddrType{} },
	check: func(p *parser, v any, seen uint32) {
		if seen&(bit0|bit1) == 0 {
			p.wrong("addrtype: you must specify --src-type or --dst-type")
		}
	},
	opts: []option{
		{name: "src-type", id: 0, arg: true, not: true, set: func(c *given) {
			m := c.v.(*AddrType)
			m.Src, m.NotSrc = c.addrTypes(), c.not
		}},
		{name: "dst-type", id: 1, arg: true, not: true, set: func(c *given) {
			m := c.v.(*AddrType)
			m.Dst, m.NotDst = c.addrTypes(), c.not
		}},
		{name: "limit-iface-in", id: 2, excl: bit3, set: func(c *given) { c.v.(*AddrType).LimitIn = true }},
		{name: "limit-iface-out", id: 3, excl: bit2, set: func(c *given) { c.v.(*AddrType).LimitOut = true }},
	}}

func (c *given) addrTypes() (t AddrTypes) {
	for _, i := range nameList(c.arg, addrTypeNames, func(rest string) {
		if strings.Contains(rest, ",") {
			c.wrong("addrtype: bad type `%s'", rest)
		}
		c.wrong("addrtype: bad type \"%s\"", rest)
	}) {
		t |= 1 << i
	}
	return t
}

var multiportMatch = &extension{name: "multiport", begin: func() any { return &Multiport{} },
	check: func(p *parser, v any, seen uint32) {
		if seen == 0 {
			p.wrong("multiport expection an option")
		}
	},
	opts: []option{
		{name: "source-ports", id: 0, arg: true, not: true, excl: bit1 | bit2, set: func(c *given) { c.multiport(SrcPort) }},
		{name: "sports", id: 0, arg: true, not: true, excl: bit1 | bit2, set: func(c *given) { c.multiport(SrcPort) }},
		{name: "destination-ports", id: 1, arg: true, not: true, excl: bit0 | bit2, set: func(c *given) { c.multiport(DstPort) }},
		{name: "dports", id: 1, arg: true, not: true, excl: bit0 | bit2, set: func(c *given) { c.multiport(DstPort) }},
		{name: "ports", id: 2, arg: true, not: true, excl: bit0 | bit1, set: func(c *given) { c.multiport(EitherPort) }},
	}}

func (c *given) multiport(side PortSide) {
	var proto string
	const only = "multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP"
	if c.rule.NotProto {
		c.wrong(only)
	}
	switch c.rule.Proto {
	case 6:
		proto = "tcp"
	case 17:
		proto = "udp"
	case 136:
		proto = "udplite"
	case 132:
		proto = "sctp"
	case 33:
		proto = "dccp"
	case 0:
		c.wrong("multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'")
	default:
		c.wrong(only)
	}
	m := c.v.(*Multiport)
	m.Side, m.Not, m.Ports = side, c.not, nil
	count := 0
	words := strings.Split(c.arg, ",")
	for _, w := range words {
		if count >= 15 {
			c.wrong("too many ports specified")
		}
		lo, hi, isRange := strings.Cut(w, ":")
		if isRange && count == 14 {
			c.wrong("too many ports specified")
		}
		n := c.port(lo, proto)
		count++
		ports := Ports{Lo: n, Hi: n}
		if isRange {
			ports.Hi = c.port(hi, proto)
			count++
			if ports.Lo >= ports.Hi {
				c.wrong("invalid portrange specified")
			}
		}
		m.Ports = append(m.Ports, ports)
	}
}

var markMatch = &extension{name: "mark", begin: func() any { return &MarkMatch{} }, opts: []option{
	{name: "mark", arg: true, not: true, must: true, set: func(c *given) {
		m := c.v.(*MarkMatch)
		m.Value, m.Mask = c.markMask()
		m.Not = c.not
	}},
}}

var connmarkMatch = &extension{name: "connmark", begin: func() any { return &ConnmarkMatch{} }, opts: []option{
	{name: "mark", arg: true, not: true, must: true, set: func(c *given) {
		m := c.v.(*ConnmarkMatch)
		m.Value, m.Mask = c.markMask()
		m.Not = c.not
	}},
}}

var macMatch = &extension{name: "mac", begin: func() any { return &MAC{} }, opts: []option{
	{name: "mac-source", arg: true, not: true, must: true, set: func(c *given) {
		m := c.v.(*MAC)
		m.Source, m.Not = c.mac(), c.not
	}},
}}

// maxComment is how much of a comment the kernel keeps, in bytes (XT_MAX_COMMENT_LEN - 1).
const maxComment = 255

var commentMatch = &extension{name: "comment", begin: func() any { return &Comment{} }, opts: []option{
	{name: "comment", arg: true, must: true, set: func(c *given) { c.v.(*Comment).Text = cut(c.arg, maxComment) }},
}}

func cut(s string, n int) string { return s[:min(len(s), n)] }

// limitScale is what a period is counted in: ten thousandths of a second.
const limitScale = 10000

var limitUnits = []struct {
	name, short string
	seconds     uint32
}{{"day", "day", 86400}, {"hour", "hour", 3600}, {"minute", "min", 60}, {"second", "sec", 1}}

type limitArgs struct{ period, burst uint32 }

var limitMatch = &extension{name: "limit", begin: func() any { return &limitArgs{period: limitScale * 3600 / 3, burst: 5} }, opts: []option{
	{name: "limit", id: 0, arg: true, set: func(c *given) {
		bad := func() { c.wrong("bad rate \"%s\"'", c.arg) }
		mult := uint32(1)
		if _, unit, ok := strings.Cut(c.arg, "/"); ok {
			mult = 0
			for i := len(limitUnits) - 1; i >= 0; i-- {
				if unit != "" && mult == 0 && abbreviates(unit, limitUnits[i].name) {
					mult = limitUnits[i].seconds
				}
			}
			if mult == 0 {
				bad()
			}
		}
		r := uint32(atoi(c.arg))
		if r == 0 {
			bad()
		}
		period := limitScale * mult / r
		if period == 0 {
			c.wrong("Rate too fast \"%s\"", c.arg)
		}
		c.v.(*limitArgs).period = period
	}},
	{name: "limit-burst", id: 1, arg: true, set: func(c *given) { c.v.(*limitArgs).burst = uint32(c.uint(0, 10000)) }},
}, match: func(p *parser, v any) Match {
	// add_nft_limit (iptables/nft.c) makes packets a unit of the period, and
	// loses what the division leaves over.
	a := v.(*limitArgs)
	l := &Limit{Burst: a.burst}
	l.Rate, l.Unit = limitRate(a.period)
	if l.Burst == 0 {
		l.Burst = 5 // NFT_LIMIT_PKT_BURST_DEFAULT
	}
	return l
}}

// limitRate is a period as packets in a unit of seconds.
func limitRate(period uint32) (rate, unit uint32) {
	i := 1
	for ; i < len(limitUnits); i++ {
		m := limitUnits[i].seconds * limitScale
		if period > m || m/period < m%period {
			break
		}
	}
	unit = limitUnits[i-1].seconds
	return unit * limitScale / period, unit
}

var iprangeMatch = &extension{name: "iprange", begin: func() any { return &IPRange{} },
	check: func(p *parser, v any, seen uint32) {
		if seen == 0 {
			p.wrong("iprange match: You must specify `--src-range' or `--dst-range'")
		}
	},
	opts: []option{
		{name: "src-range", id: 0, arg: true, not: true, set: func(c *given) { c.v.(*IPRange).Src = c.addrSpan() }},
		{name: "dst-range", id: 1, arg: true, not: true, set: func(c *given) { c.v.(*IPRange).Dst = c.addrSpan() }},
	}}

func (c *given) addrSpan() *AddrSpan {
	from, to, isRange := strings.Cut(c.arg, "-")
	if !isRange {
		to = from
	}
	s := &AddrSpan{Not: c.not}
	for _, part := range []struct {
		word string
		addr *uint32
	}{{from, &s.Lo}, {to, &s.Hi}} {
		a, ok := dotted(part.word, false)
		if !ok {
			c.badValue(c.name, part.word)
		}
		*part.addr = a
	}
	if s.Lo > s.Hi {
		fmt.Fprintf(&c.notes, "xt_iprange: range %s-%s is reversed and will never match\n", from, to)
	}
	return s
}

var physdevMatch = &extension{name: "physdev", begin: func() any { return &Physdev{} },
	check: func(p *parser, v any, seen uint32) {
		if seen == 0 {
			p.wrong("PHYSDEV: no physdev option specified")
		}
	},
	opts: []option{
		{name: "physdev-in", id: 0, arg: true, not: true, set: func(c *given) { c.v.(*Physdev).In = c.physdev() }},
		{name: "physdev-out", id: 1, arg: true, not: true, set: func(c *given) { c.v.(*Physdev).Out = c.physdev() }},
		{name: "physdev-is-in", id: 2, not: true, set: func(c *given) { c.v.(*Physdev).IsIn = c.ask() }},
		{name: "physdev-is-out", id: 3, not: true, set: func(c *given) { c.v.(*Physdev).IsOut = c.ask() }},
		{name: "physdev-is-bridged", id: 4, not: true, set: func(c *given) { c.v.(*Physdev).Bridged = c.ask() }},
	}}

func (c *given) physdev() Iface {
	if c.arg == "" {
		panic(notSimulated("--%s ''", c.name))
	}
	return c.iface(c.arg, c.not)
}

func (c *given) ask() Ask {
	if c.not {
		return No
	}
	return Yes
}

// users and groups of a lab's machines that have names.
var (
	users  = map[string]uint32{"root": 0, "nobody": 65534}
	groups = map[string]uint32{"root": 0, "nogroup": 65534}
)

var ownerMatch = &extension{name: "owner", begin: func() any { return &Owner{} },
	check: func(p *parser, v any, seen uint32) {
		if seen == 0 {
			p.wrong("owner: At least one of --uid-owner, --gid-owner or --socket-exists is required")
		}
	},
	opts: []option{
		{name: "uid-owner", id: 0, arg: true, not: true, set: func(c *given) { c.v.(*Owner).UID = c.ids(users) }},
		{name: "gid-owner", id: 1, arg: true, not: true, set: func(c *given) { c.v.(*Owner).GID = c.ids(groups) }},
		{name: "socket-exists", id: 2, not: true, set: func(c *given) { c.v.(*Owner).Socket = c.ask() }},
		{name: "suppl-groups", id: 3, set: func(c *given) {
			m := c.v.(*Owner)
			if m.GID == nil {
				c.badValue("suppl-groups", "you need to use --gid-owner first")
			}
			m.SupplGroups = true
		}},
	}}

func (c *given) ids(names map[string]uint32) *Span {
	if id, ok := names[c.arg]; ok {
		return &Span{id, id, c.not}
	}
	const highest = math.MaxUint32 - 1
	lo, rest, ok := numberPrefix(c.arg, 0, highest)
	hi := lo
	if ok && rest != "" && (rest[0] == '-' || rest[0] == ':') {
		hi, rest, ok = numberPrefix(rest[1:], 0, highest)
	}
	if !ok || rest != "" {
		c.badValue(c.name, c.arg)
	}
	return &Span{uint32(lo), uint32(hi), c.not}
}

var rpfilterMatch = &extension{name: "rpfilter", begin: func() any { return &RPFilter{} }, opts: []option{
	{name: "loose", id: 0, set: func(c *given) { c.v.(*RPFilter).Loose = true }},
	{name: "validmark", id: 1, set: func(c *given) { c.v.(*RPFilter).ValidMark = true }},
	{name: "accept-local", id: 2, set: func(c *given) { c.v.(*RPFilter).AcceptLocal = true }},
	{name: "invert", id: 3, set: func(c *given) { c.v.(*RPFilter).Invert = true }},
}}

type statisticArgs struct {
	Nth
	nth bool // otherwise random
}

var statisticMatch = &extension{name: "statistic", begin: func() any { return &statisticArgs{} },
	check: func(p *parser, v any, seen uint32) {
		a := v.(*statisticArgs)
		switch {
		case !a.nth && seen&bit1 == 0:
			p.wrong("--probability must be specified when using random mode")
		case a.nth && seen&(bit2|bit3) == 0:
			p.wrong("--every and --packet must be specified when using nth mode")
		case a.Packet > uint32(max(int64(a.Every)-1, 0)):
			p.wrong("the --packet p must be 0 <= p <= n-1")
		}
	},
	opts: []option{
		{name: "mode", id: 0, arg: true, must: true, set: func(c *given) {
			switch c.arg {
			case "random":
				c.v.(*statisticArgs).nth = false
			case "nth":
				c.v.(*statisticArgs).nth = true
			default:
				c.wrong("Bad mode \"%s\"", c.arg)
			}
		}},
		{name: "probability", id: 1, arg: true, not: true, excl: bit2 | bit3, set: func(c *given) {
			f, err := strconv.ParseFloat(strings.TrimSpace(c.arg), 64)
			if err != nil || f < 0 || f > 1 {
				c.wrong("%s: bad value for option \"--%s\", or out of range (%d-%d).\n", c.ext, c.name, 0, 1)
			}
			c.v.(*statisticArgs).Not = c.not
		}},
		{name: "every", id: 2, arg: true, not: true, excl: bit1, also: bit3, set: func(c *given) {
			a := c.v.(*statisticArgs)
			a.Every = uint32(c.uint(1, math.MaxUint32))
			a.Not = a.Not || c.not
		}},
		{name: "packet", id: 3, arg: true, excl: bit1, also: bit2, set: func(c *given) {
			c.v.(*statisticArgs).Packet = uint32(c.uint(0, math.MaxUint32))
		}},
	},
	match: func(p *parser, v any) Match {
		a := v.(*statisticArgs)
		if !a.nth {
			panic(notSimulated("-m statistic --mode random"))
		}
		n := a.Nth
		return &n
	}}

var packetTypes = []struct {
	name string
	typ  PacketType
}{{"unicast", ToHost}, {"broadcast", ToBroadcast}, {"multicast", ToMulticast}, {"otherhost", ToOther},
	{"bcast", ToBroadcast}, {"mcast", ToMulticast}, {"host", ToHost}}

var pkttypeMatch = &extension{name: "pkttype", begin: func() any { return &PktType{} }, opts: []option{
	{name: "pkt-type", arg: true, not: true, must: true, set: func(c *given) {
		m := c.v.(*PktType)
		m.Not = c.not
		for _, t := range packetTypes {
			if strings.EqualFold(c.arg, t.name) {
				m.Type = t.typ
				return
			}
		}
		c.wrong("Bad packet type '%s'", c.arg)
	}},
}}

var lengthMatch = &extension{name: "length", begin: func() any { return &Length{} }, opts: []option{
	{name: "length", arg: true, not: true, must: true, set: func(c *given) { c.v.(*Length).Span = c.span(65535) }},
}}

var ttlMatch = &extension{name: "ttl", begin: func() any { return &TTL{} },
	check: func(p *parser, v any, seen uint32) {
		if seen == 0 {
			p.wrong("TTL match: You must specify one of `--ttl-eq', `--ttl-lt', `--ttl-gt")
		}
	},
	opts: []option{
		{name: "ttl-lt", id: 1, arg: true, excl: bit0 | bit2, set: func(c *given) { c.ttl(TTLLess) }},
		{name: "ttl-gt", id: 2, arg: true, excl: bit0 | bit1, set: func(c *given) { c.ttl(TTLGreater) }},
		{name: "ttl-eq", id: 0, arg: true, not: true, excl: bit1 | bit2, set: func(c *given) { c.ttl(TTLEqual) }},
		{name: "ttl", id: 0, arg: true, excl: bit1 | bit2, set: func(c *given) { c.ttl(TTLEqual) }},
	}}

func (c *given) ttl(o TTLOp) {
	m := c.v.(*TTL)
	m.Op, m.Value = o, uint8(c.uint(0, 255))
	if c.not {
		m.Op = TTLNot
	}
}

// protoNumber reads a protocol: xtables_parse_protocol.
func (p *parser) protoNumber(s string) uint8 {
	if n, ok := number(s, 0, 255); ok {
		return uint8(n)
	}
	n, ok := protocolNumber(s)
	if !ok {
		p.wrong("unknown protocol \"%s\" specified", s)
	}
	return n
}
