package capture

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/gopacket" // pure-Go decoders; BSD-3
	"github.com/google/gopacket/layers"

	"vethlab/sim/trace"
)

// Key recognises a packet wherever it is seen again: it is made of what neither
// forwarding nor NAT touches (IP id, sequence numbers, ICMP sequence, the first
// bytes of the payload), and of nothing else.
type Key uint64

// Decoder turns frames into headers. It is not safe for concurrent use.
type Decoder struct {
	eth  layers.Ethernet
	arp  layers.ARP
	ip   layers.IPv4
	tcp  layers.TCP
	udp  layers.UDP
	icmp layers.ICMPv4
	rest gopacket.Payload

	frame   *gopacket.DecodingLayerParser
	packet  *gopacket.DecodingLayerParser
	decoded []gopacket.LayerType
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder {
	d := new(Decoder)
	parts := []gopacket.DecodingLayer{&d.eth, &d.arp, &d.ip, &d.tcp, &d.udp, &d.icmp, &d.rest}
	d.frame = gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, parts...)
	d.packet = gopacket.NewDecodingLayerParser(layers.LayerTypeIPv4, parts...)
	d.frame.IgnoreUnsupported, d.packet.IgnoreUnsupported = true, true
	return d
}

// Frame decodes an Ethernet frame. ok is false for what is neither ARP nor IPv4.
func (d *Decoder) Frame(b []byte) (h trace.Header, k Key, payload []byte, ok bool) {
	d.rest = nil
	// An error means that a layer was cut short; what came before it counts.
	_ = d.frame.DecodeLayers(b, &d.decoded)
	return d.header()
}

// Packet decodes an IPv4 packet that may be cut off after 20 bytes of its
// transport header, as nft's trace delivers it.
func (d *Decoder) Packet(network, transport []byte) (h trace.Header, k Key, ok bool) {
	d.rest = nil
	if len(network) < 20 {
		return h, 0, false
	}
	b := append(append(make([]byte, 0, 64), network[:min(len(network), int(network[0]&15)*4)]...), transport...)
	_ = d.packet.DecodeLayers(b, &d.decoded)
	h, k, _, ok = d.header()
	return h, k, ok
}

func (d *Decoder) header() (h trace.Header, k Key, payload []byte, ok bool) {
	sum := fnv.New64a()
	mix := func(vs ...uint64) {
		var b [8]byte
		for _, v := range vs {
			binary.BigEndian.PutUint64(b[:], v)
			sum.Write(b[:])
		}
	}
	first12 := func(b []byte) { sum.Write(b[:min(12, len(b))]) }
	for _, t := range d.decoded {
		switch t {
		case layers.LayerTypeEthernet:
			h.SrcMAC, h.DstMAC = d.eth.SrcMAC.String(), d.eth.DstMAC.String()
		case layers.LayerTypeARP:
			h.Proto, ok = "arp", true
			h.Src, _ = netip.AddrFromSlice(d.arp.SourceProtAddress)
			h.Dst, _ = netip.AddrFromSlice(d.arp.DstProtAddress)
			h.ARPOp = map[uint16]string{1: "request", 2: "reply"}[d.arp.Operation]
			if d.arp.Operation == 2 {
				h.ARPMAC = mac(d.arp.SourceHwAddress)
			}
			mix(0x0806, uint64(d.arp.Operation))
			sum.Write(d.arp.SourceHwAddress) // a node may ask by two links for one address
			sum.Write(d.arp.SourceProtAddress)
			sum.Write(d.arp.DstProtAddress)
		case layers.LayerTypeIPv4:
			h.Src, _ = netip.AddrFromSlice(d.ip.SrcIP)
			h.Dst, _ = netip.AddrFromSlice(d.ip.DstIP)
			h.TTL, h.ID, h.Len = d.ip.TTL, d.ip.Id, int(d.ip.Length)
			h.FragOffset, h.MoreFragments = int(d.ip.FragOffset)*8, d.ip.Flags&layers.IPv4MoreFragments != 0
			// IGMP is the kernel's own housekeeping of multicast, and no lesson's.
			h.Proto, ok = strconv.Itoa(int(d.ip.Protocol)), d.ip.Protocol != layers.IPProtocolIGMP
			mix(uint64(d.ip.Id), uint64(d.ip.Length), uint64(d.ip.Protocol), uint64(d.ip.FragOffset))
		case layers.LayerTypeICMPv4:
			h.Proto = "icmp"
			h.ICMPType, h.ICMPCode = d.icmp.TypeCode.Type(), d.icmp.TypeCode.Code()
			mix(uint64(d.icmp.TypeCode))
			if h.ICMPType == layers.ICMPv4TypeEchoRequest || h.ICMPType == layers.ICMPv4TypeEchoReply {
				h.ICMPID, h.ICMPSeq = d.icmp.Id, d.icmp.Seq
				mix(uint64(d.icmp.Seq))
				first12(d.icmp.Payload) // the time at which it was sent
			} else if p := d.icmp.Payload; len(p) >= 8 {
				sum.Write(p[2:6]) // the length and id of the packet it complains about
			}
			payload = d.icmp.Payload
		case layers.LayerTypeTCP:
			h.Proto = "tcp"
			h.SrcPort, h.DstPort = uint16(d.tcp.SrcPort), uint16(d.tcp.DstPort)
			h.TCPSeq, h.TCPAck, h.TCPFlags = d.tcp.Seq, d.tcp.Ack, flags(&d.tcp)
			mix(uint64(d.tcp.Seq), uint64(d.tcp.Ack))
			sum.Write([]byte(h.TCPFlags))
			payload = d.tcp.Payload
		case layers.LayerTypeUDP:
			h.Proto = "udp"
			h.SrcPort, h.DstPort = uint16(d.udp.SrcPort), uint16(d.udp.DstPort)
			first12(d.udp.Payload)
			payload = d.udp.Payload
		}
	}
	// The 20 bytes nft gives of a TCP header with options are too few for
	// gopacket: the fixed part is read here.
	if p := d.ip.Payload; ok && h.Proto == "6" && !h.Fragment() && len(p) >= 20 {
		d.tcp = layers.TCP{}
		short := append([]byte(nil), p[:20]...)
		short[12] = 5<<4 | short[12]&1
		if d.tcp.DecodeFromBytes(short, gopacket.NilDecodeFeedback) == nil {
			h.Proto = "tcp"
			h.SrcPort, h.DstPort = uint16(d.tcp.SrcPort), uint16(d.tcp.DstPort)
			h.TCPSeq, h.TCPAck, h.TCPFlags = d.tcp.Seq, d.tcp.Ack, flags(&d.tcp)
			mix(uint64(d.tcp.Seq), uint64(d.tcp.Ack))
			sum.Write([]byte(h.TCPFlags))
		}
	}
	if name := protoNames[h.Proto]; name != "" && h.Fragment() {
		h.Proto = name // what a fragment holds is not decoded
	}
	return h, Key(sum.Sum64()), payload, ok
}

var protoNames = map[string]string{"1": "icmp", "6": "tcp", "17": "udp"}

func mac(b []byte) string {
	s := make([]string, len(b))
	for i, c := range b {
		s[i] = fmt.Sprintf("%02x", c)
	}
	return strings.Join(s, ":")
}

func flags(t *layers.TCP) string {
	var s []string
	for _, f := range []struct {
		on   bool
		name string
	}{{t.SYN, "SYN"}, {t.FIN, "FIN"}, {t.RST, "RST"}, {t.PSH, "PSH"}, {t.ACK, "ACK"}, {t.URG, "URG"}} {
		if f.on {
			s = append(s, f.name)
		}
	}
	return strings.Join(s, ",")
}
