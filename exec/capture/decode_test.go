package capture

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket" // decoders to compare with; BSD-3
	"github.com/google/gopacket/layers"

	"vethlab/sim/trace"
)

// reference decodes a frame with gopacket. ok is false where it does not get as
// far as we do (a header cut short), or gets further.
func reference(b []byte) (h trace.Header, payload string, ok bool) {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	if p.ErrorLayer() != nil || len(p.Layers()) == 0 {
		return h, "", false
	}
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			h.SrcMAC, h.DstMAC = l.SrcMAC.String(), l.DstMAC.String()
		case *layers.ARP:
			if l.AddrType != layers.LinkTypeEthernet || l.Protocol != layers.EthernetTypeIPv4 || l.HwAddressSize != 6 || l.ProtAddressSize != 4 {
				return h, "", false
			}
			h.Proto, ok = "arp", true
			h.Src, _ = netip.AddrFromSlice(l.SourceProtAddress)
			h.Dst, _ = netip.AddrFromSlice(l.DstProtAddress)
			switch l.Operation {
			case layers.ARPRequest:
				h.ARPOp = "request"
			case layers.ARPReply:
				h.ARPOp, h.ARPMAC = "reply", mac(l.SourceHwAddress)
			}
			return h, "", true
		case *layers.IPv4:
			h.Src, _ = netip.AddrFromSlice(l.SrcIP)
			h.Dst, _ = netip.AddrFromSlice(l.DstIP)
			h.TTL, h.ID, h.Len = l.TTL, l.Id, int(l.Length)
			h.FragOffset, h.MoreFragments = int(l.FragOffset)*8, l.Flags&layers.IPv4MoreFragments != 0
			h.Proto = map[layers.IPProtocol]string{1: "icmp", 6: "tcp", 17: "udp"}[l.Protocol]
			if h.Fragment() {
				return h, "", h.Proto != "" && l.Version == 4
			}
		case *layers.ICMPv4:
			h.ICMPType, h.ICMPCode = l.TypeCode.Type(), l.TypeCode.Code()
			if h.ICMPType == layers.ICMPv4TypeEchoRequest || h.ICMPType == layers.ICMPv4TypeEchoReply {
				h.ICMPID, h.ICMPSeq = l.Id, l.Seq
			}
			return h, string(l.Payload), true
		case *layers.TCP:
			h.SrcPort, h.DstPort = uint16(l.SrcPort), uint16(l.DstPort)
			h.TCPSeq, h.TCPAck = l.Seq, l.Ack
			var fs []string
			for _, f := range []struct {
				on   bool
				name string
			}{{l.SYN, "SYN"}, {l.FIN, "FIN"}, {l.RST, "RST"}, {l.PSH, "PSH"}, {l.ACK, "ACK"}, {l.URG, "URG"}} {
				if f.on {
					fs = append(fs, f.name)
				}
			}
			h.TCPFlags = strings.Join(fs, ",")
			return h, string(l.Payload), true
		case *layers.UDP:
			if int(l.Length) != len(l.Contents)+len(l.Payload) {
				return h, "", false
			}
			h.SrcPort, h.DstPort = uint16(l.SrcPort), uint16(l.DstPort)
			return h, string(l.Payload), true
		}
	}
	return h, "", false
}

func mac(b []byte) string { return NewDecoder().mac(b) }

func frames(t testing.TB) map[string][]byte {
	fragment := ip("10.0.0.1", "10.0.0.2", layers.IPProtocolUDP, 64)
	fragment.FragOffset, fragment.Flags = 185, layers.IPv4MoreFragments
	options := ip("10.0.0.1", "10.0.0.2", layers.IPProtocolICMPv4, 1)
	options.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	who := func(op uint16) []byte {
		e := eth()
		e.EthernetType = layers.EthernetTypeARP
		return frame(t, e, &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: op, SourceHwAddress: []byte{2, 0, 0, 0, 0, 1}, SourceProtAddress: []byte{10, 0, 0, 1},
			DstHwAddress: []byte{0, 0, 0, 0, 0, 0}, DstProtAddress: []byte{10, 0, 0, 2}})
	}
	data := gopacket.Payload("0123456789abcdef")
	return map[string][]byte{
		"arp request": who(layers.ARPRequest),
		"arp reply":   who(layers.ARPReply),
		"echo request": frame(t, eth(), ip("10.0.0.1", "10.0.0.2", layers.IPProtocolICMPv4, 64),
			&layers.ICMPv4{TypeCode: 0x0800, Id: 4711, Seq: 3}, data),
		"icmp error with IP options": frame(t, eth(), options, &layers.ICMPv4{TypeCode: 0x0304}, gopacket.Payload(make([]byte, 28))),
		"tcp": frame(t, eth(), ip("10.0.0.1", "10.0.0.2", layers.IPProtocolTCP, 63), &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: 1 << 31, Ack: 7,
			SYN: true, ACK: true, Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}}}}),
		"tcp data": frame(t, eth(), ip("10.0.0.1", "10.0.0.2", layers.IPProtocolTCP, 63),
			&layers.TCP{SrcPort: 40000, DstPort: 80, PSH: true, ACK: true, FIN: true, URG: true}, data),
		"tcp reset": frame(t, eth(), ip("10.0.0.1", "10.0.0.2", layers.IPProtocolTCP, 63), &layers.TCP{RST: true}),
		"udp":       frame(t, eth(), ip("10.0.0.1", "10.0.0.2", layers.IPProtocolUDP, 64), &layers.UDP{SrcPort: 5000, DstPort: 6000}, data),
		"padded":    append(frame(t, eth(), ip("10.0.0.1", "10.0.0.2", layers.IPProtocolUDP, 64), &layers.UDP{SrcPort: 5000}), 0, 0, 0, 0, 0, 0),
		"fragment":  frame(t, eth(), fragment, data),
	}
}

// What we read of a frame is what gopacket reads of it.
func TestDecoder(t *testing.T) {
	d := NewDecoder()
	for name, b := range frames(t) {
		want, payload, _ := reference(b)
		got, _, data, ok := d.Frame(b)
		if !ok || got != want || string(data) != payload {
			t.Errorf("%s: %+v with %q, want %+v with %q", name, got, data, want, payload)
		}
	}
	igmp := frame(t, eth(), ip("10.0.0.1", "224.0.0.22", layers.IPProtocolIGMP, 1), gopacket.Payload("12345678"))
	if h, _, _, ok := d.Frame(igmp); ok {
		t.Errorf("IGMP is told of: %+v", h)
	}
	e := eth()
	e.EthernetType = layers.EthernetTypeIPv6
	if h, _, _, ok := d.Frame(frame(t, e, gopacket.Payload(make([]byte, 40)))); ok {
		t.Errorf("IPv6 is told of: %+v", h)
	}
}

// The kernel hands over whatever a lab puts on a wire.
func FuzzFrame(f *testing.F) {
	for _, b := range frames(f) {
		f.Add(b)
	}
	d := NewDecoder()
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, data, ok := d.Frame(b)
		if ok {
			_ = h.Summary()
		}
		if want, payload, both := reference(b); both && ok && (h != want || string(data) != payload) {
			t.Errorf("%+v with %q, want %+v with %q", h, data, want, payload)
		}
		if len(b) > 20 {
			d.Packet(b[:20], b[20:])
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	d := NewDecoder()
	all := frames(b)
	b.ReportAllocs()
	for b.Loop() {
		d.Frame(all["tcp data"])
	}
}
