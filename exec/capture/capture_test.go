package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

func frame(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func eth() *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
}

func ip(src, dst string, proto layers.IPProtocol, ttl uint8) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: ttl, Id: 77, Protocol: proto,
		SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
}

// A packet has one key before and after NAT and forwarding, in a capture and in
// nft's trace, which cuts the transport header off after 20 bytes.
func TestKey(t *testing.T) {
	segment := func(src, dst string, sport, dport layers.TCPPort, ttl uint8) []byte {
		return frame(t, eth(), ip(src, dst, layers.IPProtocolTCP, ttl), &layers.TCP{SrcPort: sport, DstPort: dport, Seq: 5, SYN: true,
			Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}}}})
	}
	d := NewDecoder()
	before, k1, _, ok1 := d.Frame(segment("172.18.0.8", "203.0.113.10", 4000, 80, 64))
	b := segment("10.24.254.11", "203.0.113.10", 61000, 80, 63)
	after, k2, _, ok2 := d.Frame(b)
	cut, k3, ok3 := d.Packet(b[14:34], b[34:54])
	if !ok1 || !ok2 || !ok3 || k1 != k2 || k2 != k3 {
		t.Errorf("keys %x, %x, %x; decoded %v, %v, %v", k1, k2, k3, ok1, ok2, ok3)
	}
	if before.Src.String() != "172.18.0.8" || after.SrcPort != 61000 || cut.DstPort != 80 || cut.TCPFlags != "SYN" || cut.TTL != 63 {
		t.Errorf("headers %+v, %+v, %+v", before, after, cut)
	}
	_, other, _, _ := d.Frame(frame(t, eth(), ip("172.18.0.8", "203.0.113.10", layers.IPProtocolTCP, 64), &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 6, SYN: true}))
	if other == k1 {
		t.Error("another packet of the flow has the same key")
	}
}

// A node that asks by two links for one address asks twice.
func TestKeyOfARP(t *testing.T) {
	ask := func(mac byte) []byte {
		e := eth()
		e.EthernetType = layers.EthernetTypeARP
		return frame(t, e, &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
			SourceHwAddress: []byte{2, 0, 0, 0, 0, mac}, SourceProtAddress: []byte{10, 0, 1, 2}, DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 0, 1, 1}})
	}
	d := NewDecoder()
	_, k1, _, ok1 := d.Frame(ask(1))
	_, k2, _, ok2 := d.Frame(ask(2))
	_, again, _, _ := d.Frame(ask(1))
	if !ok1 || !ok2 || k1 == k2 || k1 != again {
		t.Errorf("keys %x, %x, %x; decoded %v, %v", k1, k2, again, ok1, ok2)
	}
}

// The kernel hands over whatever a lab puts on a wire.
func FuzzFrame(f *testing.F) {
	f.Add(frame(f, eth(), ip("10.0.0.1", "10.0.0.2", layers.IPProtocolTCP, 64), &layers.TCP{SYN: true}))
	f.Add(frame(f, eth(), ip("10.0.0.1", "10.0.0.2", layers.IPProtocolICMPv4, 64), &layers.ICMPv4{TypeCode: 0x0300}, gopacket.Payload("12345678")))
	d := NewDecoder()
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, _, _, ok := d.Frame(b); ok {
			_ = h.Summary()
		}
		if len(b) > 20 {
			d.Packet(b[:20], b[20:])
		}
	})
}

type still map[string]*state.Node

func (s still) Node(name string) *state.Node      { return s[name] }
func (s still) Tunnel(port uint16) bool           { return port == 4789 }
func (s still) Counters(string) map[string]uint64 { return nil }
func (s still) Conns(name string) []state.Conn {
	if n := s[name]; n != nil {
		return n.Conns
	}
	return nil
}

// seen writes a journey's points on one line.
func seen(tr trace.Trace) string {
	var s []string
	for _, h := range tr.Hops {
		for _, st := range h.Steps {
			s = append(s, strings.TrimSpace(fmt.Sprintf("%s:%s %s", h.Node, st.Point, st.Dev)))
		}
	}
	return strings.Join(s, ", ")
}

func assembleAll(v View, in func(*Assembler)) (traces []trace.Trace) {
	a := NewAssembler(v, func(tr trace.Trace) { traces = append(traces, tr) })
	in(a)
	a.Flush(time.Now(), true)
	return traces
}

func header(src, dst string) trace.Header {
	return trace.Header{Proto: "icmp", ICMPType: 8, Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), TTL: 64}
}

// Beyond the rate at which hooks are traced, a rewrite is still seen, and said
// to have been only seen.
func TestAssembleWithoutHooks(t *testing.T) {
	h, nat := header("172.18.0.8", "203.0.113.10"), header("10.24.254.11", "203.0.113.10")
	got := assembleAll(still{}, func(a *Assembler) {
		a.Sighting(Sighting{Seq: 3, Node: "host", Dev: "eth0", Out: true, At: 300, Header: nat, Key: 1})
		a.Sighting(Sighting{Seq: 1, Node: "ns1", Dev: "veth1", Out: true, At: 100, Header: h, Key: 1})
		a.Sighting(Sighting{Seq: 2, Node: "host", Dev: "veth0", At: 200, Header: h, Key: 1})
	})
	if len(got) != 1 || seen(got[0]) != "ns1:tx veth1, host:rx veth0, host:conntrack, host:tx eth0" {
		t.Fatalf("%d journeys: %v", len(got), got)
	}
	if s := got[0].Hops[1].Steps[1]; s.Evidence != trace.Captured || !s.Rewritten() {
		t.Errorf("the rewrite: %+v", s)
	}
	if err := got[0].Validate(); err != nil {
		t.Error(err)
	}
}

// A packet that two routers pass back and forth is one journey of many hops.
func TestAssembleLoop(t *testing.T) {
	got := assembleAll(still{}, func(a *Assembler) {
		for i := range 6 {
			node := []string{"a", "b"}[i%2]
			h := header("10.0.0.1", "198.51.100.7")
			h.TTL -= uint8(i)
			a.Sighting(Sighting{Seq: uint64(2 * i), Node: node, Dev: "eth0", At: int64(100 * i), Header: h, Key: 9})
			a.Sighting(Sighting{Seq: uint64(2*i + 1), Node: node, Dev: "eth0", Out: true, At: int64(100*i + 50), Header: h, Key: 9})
		}
	})
	if len(got) != 1 || len(got[0].Hops) != 6 {
		t.Fatalf("%d journeys: %v", len(got), got)
	}
}

// A bridge floods; only the one who was asked for matters.
func TestAssembleFlood(t *testing.T) {
	arp := trace.Header{Proto: "arp", ARPOp: "request", Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.3")}
	owner := &state.Node{Links: []state.Link{{Name: "eth0", Addrs: []state.Addr{{Prefix: netip.MustParsePrefix("10.0.0.3/24")}}}}}
	got := assembleAll(still{"a": {}, "b": {}, "c": owner}, func(a *Assembler) {
		a.Sighting(Sighting{Seq: 1, Node: "a", Dev: "eth0", Out: true, At: 1, Header: arp, Key: 2})
		a.Sighting(Sighting{Seq: 2, Node: "c", Dev: "eth0", At: 2, Header: arp, Key: 2})
		a.Sighting(Sighting{Seq: 3, Node: "b", Dev: "eth0", At: 3, Header: arp, Key: 2})
	})
	if len(got) != 1 || seen(got[0]) != "a:tx eth0, c:rx eth0" || strings.Join(got[0].Also, " ") != "b" || got[0].Disposition != trace.Delivered {
		t.Errorf("%d journeys: %+v", len(got), got)
	}
}

// Packets belong to one flow across NAT, in both directions.
func TestFlow(t *testing.T) {
	f := flows{}
	a := netip.MustParseAddr
	request := trace.Header{Proto: "tcp", Src: a("10.24.254.93"), Dst: a("10.24.254.11"), SrcPort: 4000, DstPort: 8088}
	id, reply := f.of(request, 1)
	f.conn(state.Conn{Proto: "tcp", Orig: state.Tuple{Src: a("10.24.254.93"), Dst: a("10.24.254.11"), SrcPort: 4000, DstPort: 8088},
		Reply: state.Tuple{Src: a("172.18.0.8"), Dst: a("172.18.0.1"), SrcPort: 8000, DstPort: 4000}})
	answer := trace.Header{Proto: "tcp", Src: a("172.18.0.8"), Dst: a("172.18.0.1"), SrcPort: 8000, DstPort: 4000}
	id2, reply2 := f.of(answer, 2)
	if id != id2 || reply || !reply2 {
		t.Errorf("%q (reply %v), %q (reply %v)", id, reply, id2, reply2)
	}
}

// Who opens a connection began it, also where conntrack knows it only from the
// answer on: -j CT --notrack for what comes in.
func TestFlowOfUntracked(t *testing.T) {
	a := netip.MustParseAddr
	syn := trace.Header{Proto: "tcp", TCPFlags: "SYN", Src: a("10.0.2.11"), Dst: a("10.0.1.2"), SrcPort: 4000, DstPort: 80}
	answer := trace.Header{Proto: "tcp", TCPFlags: "SYN,ACK", Src: a("10.0.1.2"), Dst: a("10.0.2.11"), SrcPort: 80, DstPort: 4000}
	c := state.Conn{Proto: "tcp", Orig: state.Tuple{Src: a("10.0.1.2"), Dst: a("10.0.2.11"), SrcPort: 80, DstPort: 4000},
		Reply: state.Tuple{Src: a("10.0.2.11"), Dst: a("10.0.1.2"), SrcPort: 4000, DstPort: 80}}
	for name, known := range map[string]int{"before": 0, "between": 1, "after": 2} {
		f := flows{}
		var ids []string
		var replies []bool
		for i, h := range []trace.Header{syn, answer, syn, answer} {
			if i == known {
				f.conn(c)
			}
			h.TCPFlags = []string{"SYN", "SYN,ACK", "ACK", "ACK"}[i]
			id, reply := f.of(h, int64(i+1))
			ids, replies = append(ids, id), append(replies, reply)
		}
		if len(slices.Compact(ids)) != 1 || !slices.Equal(replies, []bool{false, true, false, true}) {
			t.Errorf("conntrack knows it %s: %q, replies %v", name, ids, replies)
		}
	}
}

// A busy kernel may leave a packet lying between two devices: its journey is
// one all the same. What has arrived is told at once.
func TestAssemblePause(t *testing.T) {
	var got []trace.Trace
	a := NewAssembler(still{}, func(tr trace.Trace) { got = append(got, tr) })
	h := header("172.18.0.8", "203.0.113.10")
	a.Sighting(Sighting{Seq: 1, Node: "ns1", Dev: "veth1", Out: true, At: 100, Header: h, Key: 1})
	if left, _ := a.Flush(time.Now().Add(Patience/2), false); left != 1 || len(got) != 0 {
		t.Fatalf("half a journey was told: %v, %d under way", got, left)
	}
	a.Sighting(Sighting{Seq: 2, Node: "host", Dev: "veth0", At: 50e6, Header: h, Key: 1})
	for i, point := range []trace.Point{trace.Prerouting, trace.Input} {
		for _, edge := range []Edge{First, Last} {
			a.Hook(Hook{Node: "host", ID: uint32(i), Point: point, Edge: edge, Verdict: trace.Pass, Header: h, Key: 1, HasKey: true})
		}
	}
	if left, _ := a.Flush(time.Now().Add(Idle), false); left != 0 || len(got) != 1 || len(got[0].Hops) != 2 || got[0].Disposition != trace.Delivered {
		t.Errorf("%d under way; told: %+v", left, got)
	}
}

// What became of an answer may be known before what became of the question: it
// is the answer all the same.
func TestAnswerToldFirst(t *testing.T) {
	for _, c := range []struct {
		name             string
		question, answer trace.Header
	}{
		{"echo", header("10.0.0.1", "10.0.0.2"), trace.Header{Proto: "icmp", Src: netip.MustParseAddr("10.0.0.2"), Dst: netip.MustParseAddr("10.0.0.1")}},
		{"tcp", trace.Header{Proto: "tcp", TCPFlags: "SYN", SrcPort: 4000, DstPort: 80, Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2")},
			trace.Header{Proto: "tcp", TCPFlags: "RST,ACK", SrcPort: 80, DstPort: 4000, Src: netip.MustParseAddr("10.0.0.2"), Dst: netip.MustParseAddr("10.0.0.1")}},
	} {
		var got []trace.Trace
		a := NewAssembler(still{}, func(tr trace.Trace) { got = append(got, tr) })
		a.Sighting(Sighting{Seq: 1, Node: "a", Dev: "eth0", Out: true, At: time.Now().UnixNano(), Header: c.question, Key: 1})
		a.Hook(Hook{Node: "b", Point: trace.Output, Edge: First, Verdict: trace.Pass, Header: c.answer, Key: 2, HasKey: true})
		a.Hook(Hook{Node: "b", Point: trace.Output, Table: "filter", Chain: "OUTPUT", Rule: 1, Verdict: trace.Drop, Header: c.answer, Key: 2, HasKey: true})
		a.Flush(time.Now().Add(Idle), false)
		a.Flush(time.Now(), true)
		if len(got) != 2 || got[0].Node != "b" || !got[0].Reply || got[1].Reply || got[0].Flow != got[1].Flow {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
