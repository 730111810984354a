package tools

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vethlab/sim"
)

// Filter expressions (pcap-filter(7)), as far as they ask about what the model's
// packets have.

type pcapTest func(*sim.Frame) bool

// pcapParser reads an expression. A primitive without a qualifier takes the one
// before it: "port 80 or 443".
type pcapParser struct {
	*call
	filterWords
	last pcapQualifiers
}

// filterWords are what is left to read of an expression.
type filterWords struct{ words []string }

// word returns the word that comes next after i others; "" when there is none.
func (f *filterWords) word(i int) string {
	if i < len(f.words) {
		return f.words[i]
	}
	return ""
}

// take goes past the next word if it is one of these.
func (f *filterWords) take(words ...string) bool {
	if len(f.words) > 0 && slices.Contains(words, f.words[0]) {
		f.words = f.words[1:]
		return true
	}
	return false
}

type pcapQualifiers struct{ proto, dir, typ string }

// pcapFilter reads an expression; it ends the program where libpcap would.
func (c *call) pcapFilter(text string) pcapTest {
	for _, s := range []string{"(", ")", "[", "]", "&&", "||", "==", "!=", "<=", ">="} {
		text = strings.ReplaceAll(text, s, " "+s+" ")
	}
	p := &pcapParser{call: c}
	for _, w := range strings.Fields(text) {
		if len(w) == 2 && strings.ContainsAny(w, "&|=!<>") {
			p.words = append(p.words, w)
			continue
		}
		for _, s := range []string{"=", "!", "<", ">", "&", "|"} {
			w = strings.ReplaceAll(w, s, " "+s+" ")
		}
		p.words = append(p.words, strings.Fields(w)...)
	}
	if len(p.words) == 0 {
		return func(*sim.Frame) bool { return true }
	}
	test := p.expression()
	if len(p.words) > 0 {
		p.syntax()
	}
	return test
}

func (p *pcapParser) syntax() { fail(1, "tcpdump: can't parse filter expression: syntax error") }

func (p *pcapParser) next() string {
	if len(p.words) == 0 {
		p.syntax()
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

// expression reads tests joined by and and or, which bind equally.
func (p *pcapParser) expression() pcapTest {
	a := p.test()
	for {
		x := a
		switch {
		case p.take("and", "&&"):
			y := p.test()
			a = func(f *sim.Frame) bool { return x(f) && y(f) }
		case p.take("or", "||"):
			y := p.test()
			a = func(f *sim.Frame) bool { return x(f) || y(f) }
		default:
			return a
		}
	}
}

func (p *pcapParser) test() pcapTest {
	if p.take("not", "!") {
		x := p.test()
		return func(f *sim.Frame) bool { return !x(f) }
	}
	if p.take("(") {
		x := p.expression()
		if !p.take(")") {
			p.syntax()
		}
		return x
	}
	return p.primitive()
}

var pcapProtos = []string{"ether", "ip", "arp", "tcp", "udp", "icmp", "ip6", "rarp", "icmp6"}

func (p *pcapParser) primitive() pcapTest {
	var q pcapQualifiers
	if slices.Contains(pcapProtos, p.word(0)) {
		q.proto = p.next()
		if p.word(0) == "[" {
			return p.comparison(q.proto)
		}
	} else if p.word(0) == "less" || p.word(0) == "greater" {
		less := p.next() == "less"
		n := p.integer(p.next())
		return func(f *sim.Frame) bool { return less == (frameLen(f) <= n) && (less || frameLen(f) >= n) }
	} else if p.word(0) == "len" {
		return p.comparison("")
	}
	if p.word(0) == "src" || p.word(0) == "dst" {
		q.dir = p.next()
		if w := p.word(0); (w == "or" || w == "and") && len(p.words) > 1 && (p.words[1] == "src" || p.words[1] == "dst") {
			q.dir += w
			p.words = p.words[2:]
		}
	}
	switch p.word(0) {
	case "host", "net", "port", "portrange", "proto":
		q.typ = p.next()
	case "broadcast", "multicast":
		all := p.next() == "broadcast"
		return func(f *sim.Frame) bool {
			if all {
				return f.Header.DstMAC == "ff:ff:ff:ff:ff:ff"
			}
			return f.For == sim.ForGroup || f.For == sim.ForAll
		}
	}
	bare := q.dir == "" && q.typ == ""
	if bare && q.proto != "" && (p.word(0) == "" || slices.Contains([]string{"and", "or", "&&", "||", ")"}, p.word(0))) {
		return protoIs(q.proto)
	}
	if q == (pcapQualifiers{}) {
		if q = p.last; q == (pcapQualifiers{}) || q.typ == "" {
			q.typ = "host"
		}
	}
	if q.typ == "" {
		q.typ = "host"
	}
	p.last = q
	id := p.next()
	if slices.Contains([]string{"and", "or", "not", "(", ")", "&&", "||", "!"}, id) {
		p.syntax()
	}
	in := protoIs(q.proto)
	match := p.id(q, id)
	return func(f *sim.Frame) bool { return in(f) && match(f) }
}

func protoIs(proto string) pcapTest {
	return func(f *sim.Frame) bool {
		switch proto {
		case "", "ether":
			return true
		case "ip":
			return f.Header.Proto != "arp"
		}
		return f.Header.Proto == proto
	}
}

// either asks a question of the source, the destination, or both.
func either(dir string, src, dst bool) bool {
	switch dir {
	case "src":
		return src
	case "dst":
		return dst
	case "srcand", "dstand":
		return src && dst
	}
	return src || dst
}

func (p *pcapParser) id(q pcapQualifiers, id string) pcapTest {
	switch q.typ {
	case "host":
		if q.proto == "ether" {
			return func(f *sim.Frame) bool { return either(q.dir, f.Header.SrcMAC == id, f.Header.DstMAC == id) }
		}
		ip, err := netip.ParseAddr(id)
		if err != nil {
			known := ""
			for line := range strings.Lines(p.written()["/etc/hosts"]) {
				if f := strings.Fields(line); len(f) > 1 && slices.Contains(f[1:], id) {
					known = f[0]
				}
			}
			if ip, err = netip.ParseAddr(known); err != nil {
				fail(1, "tcpdump: unknown host '%s'", id)
			}
		}
		return func(f *sim.Frame) bool { return either(q.dir, f.Header.Src == ip, f.Header.Dst == ip) }
	case "net":
		n := p.network(id)
		return func(f *sim.Frame) bool { return either(q.dir, n.Contains(f.Header.Src), n.Contains(f.Header.Dst)) }
	case "port", "portrange":
		lo, hi := p.portOf(id), uint16(0)
		if from, to, ok := strings.Cut(id, "-"); ok && q.typ == "portrange" {
			lo, hi = p.portOf(from), p.portOf(to)
		}
		hi = max(lo, hi)
		return func(f *sim.Frame) bool {
			h := &f.Header
			if h.Proto != "tcp" && h.Proto != "udp" || h.FragOffset > 0 {
				return false
			}
			return either(q.dir, h.SrcPort >= lo && h.SrcPort <= hi, h.DstPort >= lo && h.DstPort <= hi)
		}
	case "proto":
		name := strings.TrimPrefix(id, `\`)
		switch n := p.number(name); {
		case q.proto == "ether" && (n == 0x0806 || name == "arp"):
			return protoIs("arp")
		case q.proto == "ether" && (n == 0x0800 || name == "ip"):
			return protoIs("ip")
		case q.proto == "ether":
			return func(*sim.Frame) bool { return false }
		default:
			return func(f *sim.Frame) bool {
				return f.Header.Proto == name || n >= 0 && protocolNumbers[f.Header.Proto] == n
			}
		}
	}
	p.syntax()
	return nil
}

// network reads 172.18.0.0/24, 172.18, or 10.0.0.0 mask 255.0.0.0.
func (p *pcapParser) network(id string) netip.Prefix {
	addr, bits, has := strings.Cut(id, "/")
	parts := strings.Split(addr, ".")
	length := 8 * len(parts)
	for len(parts) < 4 {
		parts = append(parts, "0")
	}
	ip, err := netip.ParseAddr(strings.Join(parts, "."))
	if err != nil || !ip.Is4() {
		fail(1, "tcpdump: unknown network '%s'", id)
	}
	if has {
		length = p.integer(bits)
	} else if p.take("mask") {
		mask, ok := address(p.next())
		if !ok {
			p.syntax()
		}
		for length = 0; length < 32 && mask&(1<<(31-length)) != 0; length++ {
		}
	}
	n, err := ip.Prefix(length)
	if err != nil {
		fail(1, "tcpdump: mask length must be <= 32")
	}
	if n.Addr() != ip {
		fail(1, "tcpdump: non-network bits set in \"%s\"", id)
	}
	return n
}

func (p *pcapParser) portOf(id string) uint16 {
	id, _, _ = strings.Cut(id, "-")
	if n, err := strconv.Atoi(id); err == nil {
		if n < 0 || n > 65535 {
			fail(1, "tcpdump: illegal port number %d > 65535", n)
		}
		return uint16(n)
	}
	for _, proto := range []string{"tcp", "udp"} {
		if n, ok := servicePort(id, proto); ok {
			return n
		}
	}
	fail(1, "tcpdump: unknown port '%s'", id)
	return 0
}

func (p *pcapParser) integer(s string) int {
	n := p.number(s)
	if n < 0 {
		p.syntax()
	}
	return n
}

// number reads a number; -1 when it is none.
func (p *pcapParser) number(s string) int {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return -1
	}
	return int(n)
}

func frameLen(f *sim.Frame) int {
	if f.Header.Proto == "arp" {
		return 14 + arpLen
	}
	return 14 + f.Header.Len
}

// Names of bytes and of their values.
var pcapNames = map[string]int{"icmptype": 0, "icmpcode": 1, "tcpflags": 13, "tcp-fin": 1, "tcp-syn": 2, "tcp-rst": 4, "tcp-push": 8, "tcp-ack": 16, "tcp-urg": 32,
	"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-redirect": 5, "icmp-echo": 8, "icmp-timxceed": 11}

// comparison reads what asks about a byte of a header: tcp[tcpflags] & tcp-syn != 0.
func (p *pcapParser) comparison(proto string) pcapTest {
	var value func(*sim.Frame) int
	if proto == "" {
		p.next() // len
		value = frameLen
	} else {
		p.next() // [
		at := p.constant()
		if !p.take("]") {
			p.syntax()
		}
		value = byteOf(proto, at)
	}
	for p.take("&") {
		x, mask := value, p.sum()
		value = func(f *sim.Frame) int { return x(f) & mask }
	}
	rel := p.next()
	want := p.sum()
	in := protoIs(proto)
	return func(f *sim.Frame) bool {
		if !in(f) || f.Header.FragOffset > 0 {
			return false
		}
		v := value(f)
		switch rel {
		case "=", "==":
			return v == want
		case "!=":
			return v != want
		case "<":
			return v < want
		case ">":
			return v > want
		case "<=":
			return v <= want
		}
		return v >= want
	}
}

// sum reads constants joined by |, perhaps in parentheses.
func (p *pcapParser) sum() int {
	if p.take("(") {
		n := p.sum()
		if !p.take(")") {
			p.syntax()
		}
		return n
	}
	n := p.constant()
	for p.take("|") {
		n |= p.constant()
	}
	return n
}

func (p *pcapParser) constant() int {
	w := p.next()
	if n, ok := pcapNames[w]; ok {
		return n
	}
	return p.integer(w)
}

// byteOf is a byte of a header that the model has.
func byteOf(proto string, at int) func(*sim.Frame) int {
	switch fmt.Sprint(proto, at) {
	case "icmp0":
		return func(f *sim.Frame) int { return int(f.Header.ICMPType) }
	case "icmp1":
		return func(f *sim.Frame) int { return int(f.Header.ICMPCode) }
	case "ip8":
		return func(f *sim.Frame) int { return int(f.Header.TTL) }
	case "ip1":
		return func(f *sim.Frame) int { return int(f.TOS) }
	case "ip9":
		return func(f *sim.Frame) int { return protocolNumbers[f.Header.Proto] }
	case "tcp13":
		return func(f *sim.Frame) int {
			n := 0
			for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} {
				if strings.Contains(f.Header.TCPFlags, name) {
					n |= 1 << i
				}
			}
			return n
		}
	}
	notSimulated("tcpdump with the filter %s[%d]", proto, at)
	return nil
}
