package capture

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vethlab/sim/trace"
)

// Key recognises a packet wherever it is seen again: it is made of what neither
// forwarding nor NAT touches (IP id, sequence numbers, ICMP sequence, the first
// bytes of the payload), and of nothing else.
type Key uint64

// Decoder turns frames into headers: Ethernet, ARP (RFC 826), IPv4 (RFC 791),
// ICMP (RFC 792), TCP (RFC 9293) and UDP (RFC 768). It is not safe for
// concurrent use.
//
// It is our own for what a library costs each process of a lab at its start:
// gopacket's tables of protocols take 3 ms and 2.6 MB, whoever uses them or not.
// The tests hold it against gopacket.
type Decoder struct {
	sum  hash.Hash64
	word [8]byte
	macs map[[6]byte]string // as text
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder { return &Decoder{sum: fnv.New64a(), macs: map[[6]byte]string{}} }

// Frame decodes an Ethernet frame. ok is false for what is neither ARP nor IPv4.
func (d *Decoder) Frame(b []byte) (h trace.Header, k Key, payload []byte, ok bool) {
	const size = 14
	if len(b) < size {
		return h, 0, nil, false
	}
	d.sum.Reset()
	switch rest := b[size:]; binary.BigEndian.Uint16(b[12:]) {
	case unix.ETH_P_ARP:
		ok = d.arp(&h, rest)
	case unix.ETH_P_IP:
		payload, ok = d.ip(&h, rest)
	}
	h.DstMAC, h.SrcMAC = d.mac(b), d.mac(b[6:])
	return h, Key(d.sum.Sum64()), payload, ok
}

// Packet decodes an IPv4 packet that may be cut off after 20 bytes of its
// transport header, as nft's trace delivers it.
func (d *Decoder) Packet(network, transport []byte) (h trace.Header, k Key, ok bool) {
	if len(network) < ipv4Size {
		return h, 0, false
	}
	d.sum.Reset()
	b := append(append(make([]byte, 0, 64), network[:min(len(network), int(network[0]&15)*4)]...), transport...)
	_, ok = d.ip(&h, b)
	return h, Key(d.sum.Sum64()), ok
}

// mix adds numbers to the key.
func (d *Decoder) mix(vs ...uint64) {
	for _, v := range vs {
		binary.BigEndian.PutUint64(d.word[:], v)
		d.sum.Write(d.word[:])
	}
}

// beginning adds what a payload begins with to the key: as much of it as nft's
// trace delivers after a header of 8 bytes.
func (d *Decoder) beginning(b []byte) { d.sum.Write(b[:min(12, len(b))]) }

func (d *Decoder) arp(h *trace.Header, b []byte) bool {
	// Hardware and protocol type and their sizes, operation, then who asks and
	// who is asked for: 6 and 4 bytes each.
	const size = 28
	if len(b) < size || b[4] != 6 || b[5] != 4 {
		return false
	}
	h.Proto = "arp"
	op := binary.BigEndian.Uint16(b[6:])
	h.Src, h.Dst = netip.AddrFrom4([4]byte(b[14:])), netip.AddrFrom4([4]byte(b[24:]))
	switch op {
	case 1:
		h.ARPOp = "request"
	case 2:
		h.ARPOp, h.ARPMAC = "reply", d.mac(b[8:])
	}
	d.mix(unix.ETH_P_ARP, uint64(op))
	d.sum.Write(b[14:18])
	d.sum.Write(b[24:28])
	return true
}

const ipv4Size = 20 // without options

// ip decodes an IPv4 packet and what it carries. ok is false for IGMP, too: it
// is the kernel's own housekeeping of multicast, and no lesson's.
func (d *Decoder) ip(h *trace.Header, b []byte) (payload []byte, ok bool) {
	if len(b) < ipv4Size {
		return nil, false
	}
	size, length := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || size < ipv4Size || length < size || len(b) < size {
		return nil, false
	}
	const more, offset = 1 << 13, 1<<13 - 1 // of the third word: flags and offset
	frag, proto := binary.BigEndian.Uint16(b[6:]), b[9]
	h.Len, h.ID, h.TTL = length, binary.BigEndian.Uint16(b[4:]), b[8]
	h.FragOffset, h.MoreFragments = int(frag&offset)*8, frag&more != 0
	h.Src, h.Dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	d.mix(uint64(h.ID), uint64(length), uint64(proto), uint64(frag&offset))
	rest := b[size:min(length, len(b))]
	switch h.Proto = strconv.Itoa(int(proto)); proto {
	case unix.IPPROTO_ICMP:
		h.Proto = "icmp"
		if !h.Fragment() { // what a fragment holds is not decoded
			payload = d.icmp(h, rest)
		}
	case unix.IPPROTO_TCP:
		h.Proto = "tcp"
		if !h.Fragment() {
			payload = d.tcp(h, rest)
		}
	case unix.IPPROTO_UDP:
		h.Proto = "udp"
		if !h.Fragment() {
			payload = d.udp(h, rest)
		}
	}
	return payload, proto != unix.IPPROTO_IGMP
}

func (d *Decoder) icmp(h *trace.Header, b []byte) []byte {
	const echoReply, echoRequest = 0, 8
	if len(b) < 8 {
		return nil
	}
	payload := b[8:]
	h.ICMPType, h.ICMPCode = b[0], b[1]
	d.mix(uint64(b[0]), uint64(b[1]))
	if b[0] == echoRequest || b[0] == echoReply {
		h.ICMPID, h.ICMPSeq = binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
		d.mix(uint64(h.ICMPSeq))
		d.beginning(payload) // the time at which it was sent
	} else if len(payload) >= 8 {
		d.sum.Write(payload[2:6]) // the length and id of the packet it complains about
	}
	return payload
}

func (d *Decoder) tcp(h *trace.Header, b []byte) []byte {
	const size = 20 // without options
	if len(b) < size {
		return nil
	}
	h.SrcPort, h.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	h.TCPSeq, h.TCPAck = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	h.TCPFlags = flagNames[b[13]&63]
	d.mix(uint64(h.TCPSeq), uint64(h.TCPAck), uint64(b[13]&63))
	return b[min(int(b[12]>>4)*4, len(b)):]
}

func (d *Decoder) udp(h *trace.Header, b []byte) []byte {
	if len(b) < 8 {
		return nil
	}
	h.SrcPort, h.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	d.beginning(b[8:])
	return b[8:]
}

// mac writes the address that b begins with.
func (d *Decoder) mac(b []byte) string {
	key := [6]byte(b)
	s, ok := d.macs[key]
	if !ok {
		if len(d.macs) > 1000 {
			clear(d.macs)
		}
		s = fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
		d.macs[key] = s
	}
	return s
}

// flagNames are TCP's flags as text, by the lower six bits of their byte.
var flagNames = func() (names [64]string) {
	for bits := range names {
		var s []string
		for _, f := range []struct {
			bit  int
			name string
		}{{1 << 1, "SYN"}, {1 << 0, "FIN"}, {1 << 2, "RST"}, {1 << 3, "PSH"}, {1 << 4, "ACK"}, {1 << 5, "URG"}} {
			if bits&f.bit != 0 {
				s = append(s, f.name)
			}
		}
		names[bits] = strings.Join(s, ",")
	}
	return names
}()
