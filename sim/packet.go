package sim

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"vethlab/sim/trace"
)

// IP is an IPv4 address as a number, so that comparing and masking cost nothing.
type IP uint32

// IPOf returns an address as a number; 0 when it is none of IPv4.
func IPOf(a netip.Addr) IP { return ipOf(a) }

func ipOf(a netip.Addr) IP {
	if !a.Is4() {
		return 0
	}
	b := a.As4()
	return IP(binary.BigEndian.Uint32(b[:]))
}

// Addr returns the address in the standard library's form.
func (ip IP) Addr() netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(ip))
	return netip.AddrFrom4(b)
}

func (ip IP) String() string { return ip.Addr().String() }

func (ip IP) loopback() bool  { return ip>>24 == 127 }
func (ip IP) multicast() bool { return ip>>28 == 0xe }
func (ip IP) broadcast() bool { return ip == 0xffffffff }

// zeronet: the rest of 0/8 is like any other network (ipv4_is_zeronet, since Linux 5.3).
func (ip IP) zeronet() bool { return ip == 0 }

// mask returns the netmask of a prefix length.
func mask(bits int) IP { return IP(^uint64(0) << (32 - bits)) }

// MAC is an Ethernet address as a number, for the same reason; 0 is none.
type MAC uint64

// MACOf returns the address that the first six bytes make.
func MACOf(b []byte) MAC {
	return MAC(binary.BigEndian.Uint16(b))<<32 | MAC(binary.BigEndian.Uint32(b[2:6]))
}

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", byte(m>>40), byte(m>>32), byte(m>>24), byte(m>>16), byte(m>>8), byte(m))
}

func (m MAC) multicast() bool { return m>>40&1 == 1 }

const broadcastMAC MAC = 0xffff_ffff_ffff

// EtherTypes (include/uapi/linux/if_ether.h).
const (
	ethIP  = 0x0800
	ethARP = 0x0806
)

// Protocols of IP (include/uapi/linux/in.h).
const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
)

// Flags of a TCP segment, and of an IP packet.
const (
	tcpFIN = 1 << iota
	tcpSYN
	tcpRST
	tcpPSH
	tcpACK
	tcpURG
)
const (
	ipDF = 1 << iota // don't fragment
	ipMF             // more fragments
)

// header is what a packet looks like on the wire: a value, so that a step of a
// journey can keep what it was before and after.
type header struct {
	// In this order there is no gap between the fields but one, and comparing two
	// headers is comparing bytes: note does it at every step.
	srcMAC, dstMAC MAC
	arpMAC         MAC // ARP: the sender's hardware address
	etherType      uint16

	src, dst   IP // ARP: sender's and target's protocol address
	proto      uint8
	ttl        uint8
	tos        uint8
	flags      uint8 // ipDF, ipMF
	id         uint16
	fragOffset uint16 // bytes
	len        int32  // bytes of the IP packet

	sport, dport uint16 // ICMP echo: both are the identifier
	seq, ack     uint32
	icmpInfo     uint32 // "fragmentation needed": the next hop's MTU
	icmpType     uint8
	icmpCode     uint8
	tcpFlags     uint8
	arpReply     bool
	icmpSeq      uint16

	// outer is set on a packet that travels inside another (VXLAN): the headers
	// of the packet around it. It is never changed once set.
	outer *header
}

// packet is one packet under way: its header, and what the kernel keeps beside
// it in struct sk_buff.
type packet struct {
	header
	payload []byte  // of TCP or UDP; shared, never changed
	quoted  *header // in an ICMP error: the header of the packet it is about
	opts    *tcpOptions
	inner   *packet // VXLAN: the frame inside
	carried *header // its header: what a journey shows of this packet, with its own around it
	vni     uint32
	wrong   bool         // its checksum, around a frame, became so when it was translated
	whole   *wholePacket // of a fragment: what it is a piece of
	fragMax uint16       // of a packet put together from fragments: the largest of them
	// mayFragment: its own node splits it in spite of ipDF, should another way out
	// than the one it was made for be too narrow (skb->ignore_df).
	mayFragment bool

	ns     *Netns // the namespace it is in now
	in     *Link  // the device it came in by; nil when it was made here
	route  route  // once decided: skb_dst
	routed bool
	mark   uint32
	typ    packetType
	// physIn and physOut are the bridge's ports while br_netfilter shows a
	// bridged packet to the IP hooks (struct nf_bridge_info).
	physIn, physOut *Link
	bridgedDNAT     bool  // it waits for ARP to tell the new destination on its own bridge
	bridgedSrc      MAC   // its source until then
	ct              *conn // its connection's entry; nil before conntrack has looked, and when untracked
	ctInfo          ctInfo
	untracked       bool
	hash            uint32 // skb->hash; 0: not asked for yet
	weakHash        bool   // it is of addresses alone (not skb->l4_hash)
	tracing         bool   // a TRACE rule or nft's nftrace was met
	sock            *socket

	flow  *flow
	reply bool // it goes back to whoever began the flow
	trail
}

// packetType says whom a frame is for (skb->pkt_type, eth_type_trans).
type packetType uint8

const (
	toHost packetType = iota
	toBroadcast
	toMulticast
	toOther    // somebody else's MAC address
	toLoopback // a copy of what this node sent to everybody (PACKET_LOOPBACK)
)

// clone makes a copy that goes its own way, as skb_clone does for flooding.
func (w *World) clone(p *packet) *packet {
	c := w.newPacket()
	*c = *p
	c.trail = w.rec.fork(p)
	return c
}

// writable is the header to somebody who is about to change it
// (skb_ensure_writable): the next step of the journey shows it anew.
func (p *packet) writable() *header {
	if strict {
		p.check()
	}
	p.seen = unseen
	return &p.header
}

func (p *packet) setMACs(src, dst MAC) {
	h := p.writable()
	h.srcMAC, h.dstMAC = src, dst
}

func (h *header) isARP() bool { return h.etherType == ethARP }

// first reports whether the packet carries the beginning of its transport
// header: later fragments have no ports.
func (h *header) first() bool { return h.fragOffset == 0 }

var protoNames = map[uint8]string{protoICMP: "icmp", protoTCP: "tcp", protoUDP: "udp"}

// tcpFlagNames are in the order in which a trace writes them.
var tcpFlagNames = []struct {
	bit  uint8
	name string
}{{tcpSYN, "SYN"}, {tcpFIN, "FIN"}, {tcpRST, "RST"}, {tcpPSH, "PSH"}, {tcpACK, "ACK"}, {tcpURG, "URG"}}

// public writes the header in the form of a trace.
func (h *header) public() trace.Header {
	t := trace.Header{SrcMAC: h.srcMAC.String(), DstMAC: h.dstMAC.String(), Src: h.src.Addr(), Dst: h.dst.Addr()}
	if h.srcMAC == 0 && h.dstMAC == 0 {
		t.SrcMAC, t.DstMAC = "", ""
	}
	if h.outer != nil {
		o := h.outer.public()
		t.Outer = &o
	}
	if h.isARP() {
		t.Proto, t.ARPOp = "arp", "request"
		if h.arpReply {
			t.ARPOp, t.ARPMAC = "reply", h.arpMAC.String()
		}
		return t
	}
	t.Proto = protoNames[h.proto]
	if t.Proto == "" {
		t.Proto = fmt.Sprint(h.proto)
	}
	t.TTL, t.ID, t.Len = h.ttl, h.id, int(h.len)
	t.FragOffset, t.MoreFragments = int(h.fragOffset), h.flags&ipMF != 0
	switch {
	case t.Fragment():
	case h.proto == protoICMP:
		t.ICMPType, t.ICMPCode, t.ICMPID, t.ICMPSeq = h.icmpType, h.icmpCode, h.sport, h.icmpSeq
	case h.proto == protoTCP:
		t.SrcPort, t.DstPort, t.TCPSeq, t.TCPAck = h.sport, h.dport, h.seq, h.ack
		t.TCPFlags = tcpFlagText(h.tcpFlags)
	case h.proto == protoUDP:
		t.SrcPort, t.DstPort = h.sport, h.dport
	}
	return t
}

func tcpFlagText(flags uint8) string {
	s := ""
	for _, f := range tcpFlagNames {
		if flags&f.bit != 0 {
			if s != "" {
				s += ","
			}
			s += f.name
		}
	}
	return s
}
