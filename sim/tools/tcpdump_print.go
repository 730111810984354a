package tools

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"vethlab/sim"
)

// What tcpdump prints of a packet: its print-*.c, for the protocols that the
// model has.

// protocolNumbers are those of the model.
var protocolNumbers = map[string]int{"icmp": 1, "tcp": 6, "udp": 17}

// network prints a packet from its network header on. named says whether the
// protocol's name comes first: it does where the link header was not printed.
func (t *tcpdump) network(f *sim.Frame, named bool) {
	b, h := &t.out, &f.Header
	if h.Proto == "arp" { // arp_print
		if named {
			b.WriteString("ARP, ")
		}
		if t.verbose {
			b.WriteString("Ethernet (len 6), IPv4 (len 4), ")
		}
		if h.ARPOp == "reply" {
			fmt.Fprintf(b, "Reply %s is-at %s", t.host(h.Src), h.ARPMAC)
		} else {
			fmt.Fprintf(b, "Request who-has %s tell %s", t.host(h.Dst), t.host(h.Src))
		}
		fmt.Fprintf(b, ", length %d", arpLen)
		return
	}
	if named {
		b.WriteString("IP ")
	}
	if t.verbose {
		t.ipHeader(f)
		b.WriteString("\n    ")
	}
	t.ip(f)
}

// ipHeader prints what -v tells of the IP header (ip_print).
func (t *tcpdump) ipHeader(f *sim.Frame) {
	h := &f.Header
	flags := "none"
	switch {
	case f.DF:
		flags = "DF"
	case h.MoreFragments:
		flags = "+"
	}
	fmt.Fprintf(&t.out, "(tos 0x%x, ttl %d, id %d, offset %d, flags [%s], proto %s (%d), length %d)", f.TOS, h.TTL, h.ID, h.FragOffset, flags,
		strings.ToUpper(h.Proto), protocolNumbers[h.Proto], h.Len)
}

func (t *tcpdump) ip(f *sim.Frame) {
	b, h := &t.out, &f.Header
	if h.FragOffset > 0 {
		proto := h.Proto
		if t.numeric {
			proto = fmt.Sprintf("ip-proto-%d", protocolNumbers[h.Proto])
		}
		fmt.Fprintf(b, "%s > %s: %s", t.host(h.Src), t.host(h.Dst), proto)
		return
	}
	switch h.Proto {
	case "icmp":
		fmt.Fprintf(b, "%s > %s: ", t.host(h.Src), t.host(h.Dst))
		t.icmp(f)
	case "tcp":
		fmt.Fprintf(b, "%s.%s > %s.%s: ", t.host(h.Src), t.port(h.SrcPort, "tcp"), t.host(h.Dst), t.port(h.DstPort, "tcp"))
		t.tcp(f)
	case "udp":
		fmt.Fprintf(b, "%s.%s > %s.%s: ", t.host(h.Src), t.port(h.SrcPort, "udp"), t.host(h.Dst), t.port(h.DstPort, "udp"))
		t.udp(f)
	default:
		fmt.Fprintf(b, "%s > %s:  ip-proto-%s %d", t.host(h.Src), t.host(h.Dst), h.Proto, h.Len-20)
	}
}

func (t *tcpdump) host(a netip.Addr) string {
	if name := t.names[sim.IPOf(a)]; name != "" && !t.numeric {
		return name
	}
	return a.String()
}

func (t *tcpdump) port(p uint16, proto string) string {
	if name := serviceName(p, proto); name != "" && !t.numeric {
		return name
	}
	return fmt.Sprint(p)
}

// Texts of an unreachable (unreach2str, print-icmp.c).
var unreachTexts = map[uint8]string{0: "net %s unreachable", 1: "host %s unreachable", 5: "%s unreachable - source route failed", 6: "net %s unreachable - unknown",
	7: "host %s unreachable - unknown", 8: "%s unreachable - source host isolated", 9: "net %s unreachable - admin prohibited",
	10: "host %s unreachable - admin prohibited", 11: "net %s unreachable - tos prohibited", 12: "host %s unreachable - tos prohibited",
	13: "host %s unreachable - admin prohibited filter", 14: "host %s unreachable - host precedence violation", 15: "host %s unreachable - precedence cutoff"}

func (t *tcpdump) icmp(f *sim.Frame) {
	h := &f.Header
	text := ""
	about := ""
	if f.About != nil {
		about = t.host(f.About.Header.Dst)
	}
	switch h.ICMPType {
	case 0, 8:
		text = fmt.Sprintf("echo %s, id %d, seq %d", orElse(h.ICMPType == 0, "reply", "request"), h.ICMPID, h.ICMPSeq)
	case 3:
		switch q := f.About; {
		case h.ICMPCode == 2 && q != nil:
			text = fmt.Sprintf("%s protocol %d unreachable", about, protocolNumbers[q.Header.Proto])
		case h.ICMPCode == 3 && q != nil:
			text = fmt.Sprintf("%s %s port %s unreachable", about, q.Header.Proto, t.port(q.Header.DstPort, q.Header.Proto))
		case h.ICMPCode == 4:
			text = about + " unreachable - need to frag"
			if f.MTU != 0 {
				text += fmt.Sprintf(" (mtu %d)", f.MTU)
			}
		case unreachTexts[h.ICMPCode] != "":
			text = fmt.Sprintf(unreachTexts[h.ICMPCode], about)
		}
	case 5:
		text = fmt.Sprintf("redirect %s to %s %s", about, orElse(h.ICMPCode == 1, "host", "net"), t.host(f.Gateway.Addr()))
	case 11:
		text = orElse(h.ICMPCode == 0, "time exceeded in-transit", "ip reassembly time exceeded")
	default:
		text = fmt.Sprintf("type-#%d", h.ICMPType)
	}
	fmt.Fprintf(&t.out, "ICMP %s, length %d", text, h.Len-20)
	if t.verbose && f.About != nil {
		t.out.WriteString("\n\t")
		t.ipHeader(f.About)
		t.out.WriteString("\n    ")
		quiet := t.quiet
		t.quiet = t.quiet || f.About.Header.Proto == "tcp" // all that is quoted of it are ports and a number
		t.ip(f.About)
		t.quiet = quiet
	}
}

// conversation is a TCP connection, the same from both ends.
type conversation struct{ a, b netip.AddrPort }

func (t *tcpdump) tcp(f *sim.Frame) {
	b, h := &t.out, &f.Header
	if t.quiet {
		fmt.Fprintf(b, "tcp %d", f.DataLen)
		return
	}
	has := map[string]bool{}
	for name := range strings.SplitSeq(h.TCPFlags, ",") {
		has[name] = true
	}
	flags := ""
	for _, x := range [][2]string{{"FIN", "F"}, {"SYN", "S"}, {"RST", "R"}, {"PSH", "P"}, {"ACK", "."}, {"URG", "U"}} {
		if has[x[0]] {
			flags += x[1]
		}
	}
	fmt.Fprintf(b, "Flags [%s]", orElse(flags == "", "none", flags))
	if t.verbose {
		have, want := tcpChecksums(f)
		fmt.Fprintf(b, ", cksum 0x%04x ", have)
		if have == want {
			b.WriteString("(correct)")
		} else {
			fmt.Fprintf(b, "(incorrect -> 0x%04x)", want)
		}
	}
	seq, ack := h.TCPSeq, h.TCPAck
	if has["ACK"] && !t.seqs {
		src, dst := netip.AddrPortFrom(h.Src, h.SrcPort), netip.AddrPortFrom(h.Dst, h.DstPort)
		rev := src.Compare(dst) > 0
		k := conversation{src, dst}
		if rev {
			k = conversation{dst, src}
		}
		first := t.conversations[k]
		switch {
		case first == nil || has["SYN"]:
			first = &[2]uint32{seq, ack - 1}
			if rev {
				first = &[2]uint32{ack - 1, seq}
			}
			t.conversations[k] = first
		case rev:
			seq, ack = seq-first[1], ack-first[0]
		default:
			seq, ack = seq-first[0], ack-first[1]
		}
	}
	if f.DataLen > 0 || has["SYN"] || has["FIN"] || has["RST"] {
		fmt.Fprintf(b, ", seq %d", seq)
		if f.DataLen > 0 {
			fmt.Fprintf(b, ":%d", seq+uint32(f.DataLen))
		}
	}
	if has["ACK"] {
		fmt.Fprintf(b, ", ack %d", ack)
	}
	fmt.Fprintf(b, ", win %d", f.Window)
	switch {
	case f.MSS != 0:
		fmt.Fprintf(b, ", options [mss %d,sackOK,TS val %d ecr %d,nop,wscale %d]", f.MSS, f.Stamp, f.Echo, f.WScale)
	case f.Options > 0:
		fmt.Fprintf(b, ", options [nop,nop,TS val %d ecr %d]", f.Stamp, f.Echo)
	}
	fmt.Fprintf(b, ", length %d", f.DataLen)
	if f.DataLen > 0 && (httpPort(h.SrcPort) || httpPort(h.DstPort)) {
		t.http(f.Payload)
	}
}

func httpPort(p uint16) bool { return p == 80 || p == 8080 || p == 3128 }

// http prints the first line of a request or an answer, with -v all of it
// (txtproto_print).
func (t *tcpdump) http(data []byte) {
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	if t.verbose {
		fmt.Fprintf(&t.out, ": HTTP, length: %d", len(data))
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
			t.out.WriteString("\n\t" + line)
		}
		return
	}
	line, _, _ := strings.Cut(text, "\n")
	first, _, _ := strings.Cut(line, " ")
	if strings.HasPrefix(first, "HTTP/") || first == "GET" || first == "HEAD" || first == "POST" {
		t.out.WriteString(": HTTP: " + line)
	} else {
		t.out.WriteString(": HTTP")
	}
}

func (t *tcpdump) udp(f *sim.Frame) {
	b, h := &t.out, &f.Header
	switch {
	case t.quiet:
	case f.Inner != nil:
		fmt.Fprintf(b, "VXLAN, flags [I] (0x08), vni %d\n", f.VNI)
		if t.link {
			fmt.Fprintf(b, "%s > %s, ethertype %s, length %d: ", sentFrom(f.Inner), sentTo(f.Inner),
				orElse(f.Inner.Header.Proto == "arp", "ARP (0x0806)", "IPv4 (0x0800)"), orElse(f.Inner.Header.Proto == "arp", arpLen, f.Inner.Header.Len)+14)
		}
		t.network(f.Inner, !t.link)
		return
	case h.SrcPort == 53 || h.DstPort == 53:
		if text := dnsText(f.Payload, f.DataLen); text != "" {
			b.WriteString(text)
			return
		}
	}
	fmt.Fprintf(b, "UDP, length %d", f.DataLen)
}

// dnsText writes a question or an answer of DNS (domain_print); "" for what
// the model does not know of it.
func dnsText(m []byte, length int) string {
	if length < 12 {
		return fmt.Sprintf("domain [length %d < 12] (invalid)", length)
	}
	if len(m) < 12 {
		return ""
	}
	id, flags := binary.BigEndian.Uint16(m), binary.BigEndian.Uint16(m[2:])
	counts := [4]uint16{}
	for i := range counts {
		counts[i] = binary.BigEndian.Uint16(m[4+2*i:])
	}
	name := func(at int) (string, int) {
		s, end := "", 0
		for jumps := 0; at < len(m) && m[at] != 0 && jumps < 20; {
			if m[at]&0xc0 == 0xc0 && at+1 < len(m) {
				if end == 0 {
					end = at + 2
				}
				at = int(m[at]&0x3f)<<8 | int(m[at+1])
				jumps++
				continue
			}
			n := int(m[at])
			s += string(m[at+1:min(len(m), at+1+n)]) + "."
			at += 1 + n
		}
		if end == 0 {
			end = at + 1
		}
		return orElse(s == "", ".", s), end
	}
	types := map[uint16]string{1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA"}
	kind := func(at int) uint16 {
		if at+2 <= len(m) {
			return binary.BigEndian.Uint16(m[at:])
		}
		return 0
	}
	question, at := name(12)
	asked := types[kind(at)]
	at += 4
	var b strings.Builder
	if flags&0x8000 == 0 {
		fmt.Fprintf(&b, "%d%s %s? %s", id, orElse(flags&0x100 != 0, "+", ""), asked, question)
	} else {
		codes := []string{"", " FormErr", " ServFail", " NXDomain", " NotImp", " Refused"}
		code := ""
		if int(flags&15) < len(codes) {
			code = codes[flags&15]
		}
		marks := orElse(flags&0x400 != 0, "*", "") + orElse(flags&0x80 == 0, "-", "")
		fmt.Fprintf(&b, "%d%s%s %d/%d/%d", id, code, marks, counts[1], counts[2], counts[3])
		for i := range counts[1] {
			_, at = name(at)
			k := kind(at)
			n := int(kind(at + 8))
			data := at + 10
			if data+n > len(m) {
				return ""
			}
			fmt.Fprintf(&b, "%s %s", orElse(i > 0, ",", ""), types[k])
			if k == 1 && n == 4 {
				fmt.Fprintf(&b, " %s", netip.AddrFrom4([4]byte(m[data:data+4])))
			}
			at = data + n
		}
	}
	fmt.Fprintf(&b, " (%d)", length)
	return b.String()
}

// tcpChecksums are a segment's checksum as it is on a veth, where only the
// pseudo-header has been summed (CHECKSUM_PARTIAL), and as it would have to be.
func tcpChecksums(f *sim.Frame) (have, want uint16) {
	h := &f.Header
	src, dst := h.Src.As4(), h.Dst.As4()
	var pseudo bytes.Buffer
	pseudo.Write(src[:])
	pseudo.Write(dst[:])
	length := h.Len - 20
	pseudo.Write([]byte{0, 6, byte(length >> 8), byte(length)})
	var s bytes.Buffer
	put := func(v any) { _ = binary.Write(&s, binary.BigEndian, v) } // a Buffer takes all
	flags := uint16(0)
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} {
		if strings.Contains(h.TCPFlags, name) {
			flags |= 1 << i
		}
	}
	put([]uint16{h.SrcPort, h.DstPort})
	put([]uint32{h.TCPSeq, h.TCPAck})
	put([]uint16{uint16((20+f.Options)/4)<<12 | flags, f.Window, 0, 0})
	switch {
	case f.MSS != 0:
		put([]uint16{0x0204, uint16(f.MSS), 0x0402, 0x080a})
		put([]uint32{f.Stamp, f.Echo})
		put([]uint16{0x0103, 0x0300 | uint16(f.WScale)})
	case f.Options > 0:
		put([]uint16{0x0101, 0x080a})
		put([]uint32{f.Stamp, f.Echo})
	}
	s.Write(f.Payload)
	sum := func(sum uint32, data []byte) uint32 {
		for i := 0; i < len(data); i += 2 {
			if i+1 < len(data) {
				sum += uint32(data[i])<<8 | uint32(data[i+1])
			} else {
				sum += uint32(data[i]) << 8
			}
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		return sum
	}
	p := sum(0, pseudo.Bytes())
	return uint16(p), ^uint16(sum(p, s.Bytes()))
}
