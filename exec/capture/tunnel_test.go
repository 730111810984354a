package capture

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

func TestCarried(t *testing.T) {
	inner := frame(t, eth(), ip("10.0.2.1", "10.0.2.2", layers.IPProtocolICMPv4, 64), &layers.ICMPv4{TypeCode: 0x0800, Id: 5, Seq: 1}, gopacket.Payload("0123456789abcdef"))
	b := frame(t, eth(), ip("10.0.1.1", "10.0.1.2", layers.IPProtocolUDP, 64), &layers.UDP{SrcPort: 40000, DstPort: 4789},
		&layers.VXLAN{ValidIDFlag: true, VNI: 42}, gopacket.Payload(inner))
	outer, k, payload, ok := NewDecoder().Frame(b)
	c := NewDecoder().Carried(payload)
	if !ok || c == nil || c.VNI != 42 || c.Header.Src.String() != "10.0.2.1" || c.Header.ICMPSeq != 1 || outer.DstPort != 4789 {
		t.Fatalf("inside %+v: %+v", outer, c)
	}
	if _, key, _, _ := NewDecoder().Frame(inner); c.Key != key || c.Key == k {
		t.Errorf("the frame has the key %x inside, %x outside; the packet around it %x", c.Key, key, k)
	}
	for _, other := range []string{"", "GET / HTTP/1.1", "\x08\x00\x00\x00\x00\x00\x2a\x00", "\x08\x00\x00\x00\x00\x00\x2a\x00 not a frame of IPv4"} {
		if c := NewDecoder().Carried([]byte(other)); c != nil {
			t.Errorf("%q is said to carry %+v", other, c.Header)
		}
	}
}

// tunnels are two nodes with an end of the tunnel 42 each, and a third with none.
func tunnels() still {
	a := netip.MustParseAddr
	node := func(name, under, over, far string, vni int) *state.Node {
		return &state.Node{Name: name, Links: []state.Link{
			{Name: "eth0", Up: true, Carrier: true, MTU: 1500, Addrs: []state.Addr{{Prefix: netip.PrefixFrom(a(under), 24)}}},
			{Name: "vx0", Type: "vxlan", Up: true, Carrier: true, MTU: 1450, VXLAN: &state.VXLAN{ID: vni, Port: 4789, Local: under, Remote: far}, Addrs: []state.Addr{{Prefix: netip.PrefixFrom(a(over), 24)}}},
		},
			Routes:    []state.Route{{Table: 254, Type: "unicast", Dst: netip.MustParsePrefix("10.0.1.0/24"), Dev: "eth0"}, {Table: 254, Type: "unicast", Dst: netip.MustParsePrefix("10.0.2.0/24"), Dev: "vx0"}},
			Listeners: []state.Listener{{Proto: "udp", Port: 4789, Addr: a("0.0.0.0")}},
			FDB:       []state.FDB{{MAC: "00:00:00:00:00:00", Dev: "vx0", Dst: far}}}
	}
	c := &state.Node{Name: "c", Links: []state.Link{{Name: "eth0", Addrs: []state.Addr{{Prefix: netip.MustParsePrefix("10.0.1.3/24")}}}}}
	return still{"a": node("a", "10.0.1.1", "10.0.2.1", "10.0.1.2", 42), "b": node("b", "10.0.1.2", "10.0.2.2", "10.0.1.1", 42), "c": c}
}

// passage makes what is seen of a packet: of the frame, and of those around it.
type passage struct {
	*Assembler
	seq uint64
}

func (p *passage) saw(node, dev string, out bool, h trace.Header, k Key, carried *Carried) {
	p.seq++
	p.Sighting(Sighting{Seq: p.seq, Node: node, Dev: dev, Out: out, At: int64(p.seq) * 100, Header: h, Key: k, Carried: carried})
}

// met notes that a packet passed hooks of a node.
func (p *passage) met(node string, h trace.Header, k Key, points ...trace.Point) {
	p.seq++
	for _, at := range points {
		for _, edge := range []Edge{First, Last} {
			p.Hook(Hook{Node: node, ID: uint32(p.seq), Point: at, Edge: edge, Verdict: trace.Pass, Header: h, Key: k, HasKey: true, Oif: "eth0"})
		}
	}
}

func around(src, dst string, id uint16) trace.Header {
	return trace.Header{Proto: "udp", Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), SrcPort: 40000, DstPort: 4789, TTL: 64, ID: id, Len: 134}
}

func echo() trace.Header {
	h := header("10.0.2.1", "10.0.2.2")
	h.Len = 84
	return h
}

// seenIn is seen, with a mark at the steps that show the frame inside another packet.
func seenIn(tr trace.Trace) string {
	var s []string
	for _, h := range tr.Hops {
		for _, st := range h.Steps {
			in := ""
			if st.Before.Outer != nil {
				in = "in " + st.Before.Outer.Dst.String()
			}
			s = append(s, strings.Join(strings.Fields(h.Node+":"+string(st.Point)+" "+st.Dev+" "+in), " "))
		}
	}
	return strings.Join(s, ", ")
}

func told(t *testing.T, v View, in func(*passage)) trace.Trace {
	t.Helper()
	all := assembleAll(v, func(a *Assembler) { in(&passage{Assembler: a}) })
	if len(all) != 1 {
		for _, tr := range all {
			t.Log(seenIn(tr))
		}
		t.Fatalf("%d journeys", len(all))
	}
	if err := all[0].Validate(); err != nil {
		t.Error(err)
	}
	return all[0]
}

const throughTunnel = "a:OUTPUT, a:POSTROUTING, a:tx vx0, a:tunnel vx0, a:route eth0 in 10.0.1.2, a:OUTPUT in 10.0.1.2, a:POSTROUTING in 10.0.1.2, a:tx eth0 in 10.0.1.2, " +
	"b:rx eth0 in 10.0.1.2, b:PREROUTING in 10.0.1.2, b:route in 10.0.1.2, b:INPUT in 10.0.1.2, b:tunnel vx0 in 10.0.1.2, b:rx vx0, b:PREROUTING, b:route, b:INPUT, b:socket"

func TestTunnel(t *testing.T) {
	h, o := echo(), around("10.0.1.1", "10.0.1.2", 7)
	c := &Carried{42, h, 1}
	tr := told(t, tunnels(), func(p *passage) {
		p.met("b", o, 2, trace.Prerouting, trace.Input) // netfilter's reports come as they are read
		p.met("b", h, 1, trace.Prerouting, trace.Input)
		p.met("a", o, 2, trace.Output, trace.Postrouting)
		p.met("a", h, 1, trace.Output, trace.Postrouting)
		p.saw("a", "vx0", true, h, 1, nil)
		p.saw("a", "eth0", true, o, 2, c)
		p.saw("b", "eth0", false, o, 2, c)
		p.saw("b", "vx0", false, h, 1, nil)
	})
	if got := strings.Replace(seenIn(tr), "a:route eth0, ", "", 1); got != throughTunnel || tr.Disposition != trace.Delivered || tr.Node != "b" {
		t.Errorf("%s\n%s at %s", got, tr.Disposition, tr.Node)
	}
	if in := tr.Hops[0].Steps[4]; in.Point != trace.Tunnel || in.Before.Outer != nil || in.After.Outer == nil || in.After.Outer.ID != 7 || in.After.Src != h.Src {
		t.Errorf("into the tunnel: %+v", in)
	}
}

// A router between the ends translates the packet's source; the frame stays what it is.
func TestTunnelNAT(t *testing.T) {
	h, o, n := echo(), around("10.0.1.1", "10.0.1.2", 7), around("10.0.1.3", "10.0.1.2", 7)
	c := &Carried{42, h, 1}
	tr := told(t, tunnels(), func(p *passage) {
		p.saw("a", "vx0", true, h, 1, nil)
		p.saw("a", "eth0", true, o, 2, c)
		p.saw("c", "eth0", false, o, 2, c)
		p.saw("c", "eth1", true, n, 2, c)
		p.saw("b", "eth0", false, n, 2, c)
		p.saw("b", "vx0", false, h, 1, nil)
	})
	i := -1
	for k := range tr.Hops[1].Steps {
		if tr.Hops[1].Steps[k].Rewritten() {
			i = k
		}
	}
	if tr.Hops[1].Node != "c" || i != 1 || tr.Hops[1].Steps[i].After.Src != h.Src || tr.Hops[1].Steps[i].After.Outer.Src != n.Src {
		t.Errorf("%s; the rewrite: step %d", seenIn(tr), i)
	}
}

// Of a packet that OUTPUT drops nobody sees what is inside.
func TestTunnelDropped(t *testing.T) {
	h, o := echo(), around("10.0.1.1", "10.0.1.2", 7)
	tr := told(t, tunnels(), func(p *passage) {
		p.saw("a", "vx0", true, h, 1, nil)
		p.Hook(Hook{Node: "a", Point: trace.Output, Edge: First, Verdict: trace.Pass, Header: o, Key: 2, HasKey: true, Oif: "eth0"})
		p.Hook(Hook{Node: "a", Point: trace.Output, Table: "filter", Chain: "OUTPUT", Rule: 1, Verdict: trace.Drop, Header: o, Key: 2, HasKey: true, Oif: "eth0"})
	})
	if got := seenIn(tr); got != "a:tx vx0, a:tunnel vx0, a:route eth0 in 10.0.1.2, a:OUTPUT in 10.0.1.2" || tr.Disposition != trace.Dropped || tr.Code != trace.CodeRuleDrop {
		t.Errorf("%s: %s %s", got, tr.Disposition, tr.Code)
	}
}

// Also where nobody saw what a rule of OUTPUT made of it, the packet is around the frame.
func TestTunnelRedirected(t *testing.T) {
	h, o := echo(), around("10.0.1.1", "10.0.1.2", 7)
	v := tunnels()
	v["a"].Links[0].Addrs = nil
	tr := told(t, v, func(p *passage) {
		p.saw("a", "vx0", true, h, 1, nil)
		p.Hook(Hook{Node: "a", Point: trace.Output, Edge: First, Verdict: trace.Pass, Header: o, Key: 2, HasKey: true, Oif: "eth0"})
		p.Hook(Hook{Node: "a", Point: trace.Output, Table: "nat", Chain: "OUTPUT", Rule: 1, RuleText: "-j REDIRECT", Verdict: trace.Redirect, Header: o, Key: 2, HasKey: true, Oif: "eth0"})
	})
	last := tr.Last()
	if tr.Disposition != trace.NoRouteTo || last.Dst != h.Dst || last.Outer == nil || last.Outer.Dst.String() != "127.0.0.1" {
		t.Errorf("%s: %+v", tr.Disposition, last)
	}
}

// One ARP request is like the other, and they may go on for long: what is around
// the last, that nobody saw, is around it all the same.
func TestTunnelAskedForLong(t *testing.T) {
	h := trace.Header{Proto: "arp", ARPOp: "request", Src: netip.MustParseAddr("10.0.2.1"), Dst: netip.MustParseAddr("10.0.2.9")}
	all := assembleAll(tunnels(), func(a *Assembler) {
		p := &passage{Assembler: a}
		for i := range 5 {
			o := around("10.0.1.1", "10.0.1.2", uint16(i))
			o.Len = 28 + overhead
			p.saw("a", "vx0", true, h, 1, nil)
			a.open[1].first = time.Now().Add(-Patience * time.Duration(i)) // so long it has been under way
			p.met("a", o, Key(2+i), trace.Output, trace.Postrouting)
		}
	})
	if len(all) != 5 {
		t.Errorf("%d journeys", len(all))
	}
	for _, tr := range all {
		if got := seenIn(tr); !strings.HasPrefix(got, "a:tx vx0, a:tunnel vx0, a:route eth0 in 10.0.1.2") {
			t.Error(got)
		}
	}
}

// Who has the packet around a broadcast, and then a copy of it that is not for
// him, is one who got it, too.
func TestTunnelAlso(t *testing.T) {
	h := trace.Header{Proto: "arp", ARPOp: "request", Src: netip.MustParseAddr("10.0.2.1"), Dst: netip.MustParseAddr("10.0.2.9")}
	o := around("10.0.1.1", "10.0.1.2", 7)
	in := &Carried{42, h, 1}
	tr := told(t, tunnels(), func(p *passage) {
		p.saw("a", "vx0", true, h, 1, nil)
		p.saw("a", "eth0", true, o, 2, in)
		p.saw("c", "eth0", false, o, 2, in)
		p.met("c", o, 2, trace.Prerouting)
		p.saw("a", "eth0", true, h, 1, nil)
		p.saw("c", "eth0", false, h, 1, nil)
	})
	if got := seenIn(tr); strings.Contains(got, "c:rx eth0,") || strings.Join(tr.Also, " ") != "c" {
		t.Errorf("%s; also %v", got, tr.Also)
	}
}

// Where the packets that went around a frame end is where the frame ends, when
// it does not come out.
func TestTunnelEnds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(still)
		end    trace.Disposition
		code   string
	}{
		"nobody has the port":             {func(s still) { s["b"].Listeners = nil }, trace.Delivered, trace.CodeRefused},
		"nor is there a way back":         {func(s still) { s["b"].Listeners, s["b"].Routes = nil, nil }, trace.NoWayBack, trace.CodeNoWayBack},
		"another tunnel has it":           {func(s still) { s["b"].Links[1].VXLAN.ID = 43 }, trace.Unbridged, trace.CodeNoTunnel},
		"the device does not want itself": {func(still) {}, trace.Vanished, trace.CodeVanished},
	} {
		v := tunnels()
		c.change(v)
		h, o := echo(), around("10.0.1.1", "10.0.1.2", 7)
		in := &Carried{42, h, 1}
		tr := told(t, v, func(p *passage) {
			p.saw("a", "vx0", true, h, 1, nil)
			p.saw("a", "eth0", true, o, 2, in)
			p.saw("b", "eth0", false, o, 2, in)
			p.met("b", o, 2, trace.Prerouting, trace.Input)
		})
		if tr.Disposition != c.end || tr.Code != c.code || tr.Node != "b" {
			t.Errorf("%s: %s %s at %s", name, tr.Disposition, tr.Code, tr.Node)
		}
	}
}

// A frame that was in no packet afterwards had no way to the tunnel's end, or
// there is none.
func TestTunnelNotWrapped(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*state.Node)
		end    trace.Disposition
	}{
		"no end":        {func(n *state.Node) { n.FDB = nil }, trace.Unbridged},
		"no route":      {func(n *state.Node) { n.Routes = nil }, trace.NoRouteTo},
		"no source":     {func(n *state.Node) { n.Links[0].Addrs = nil }, trace.NoRouteTo},
		"nothing known": {func(*state.Node) {}, trace.Vanished},
	} {
		v := tunnels()
		c.change(v["a"])
		if tr := told(t, v, func(p *passage) { p.saw("a", "vx0", true, echo(), 1, nil) }); tr.Disposition != c.end || tr.Node != "a" {
			t.Errorf("%s: %s at %s", name, tr.Disposition, tr.Node)
		}
	}
}

// A frame for two ends goes in two packets; asked again, it is another journey.
func TestTunnelFlood(t *testing.T) {
	v := tunnels()
	v["c"].Links = append(v["c"].Links, state.Link{Name: "vx0", Type: "vxlan", Up: true, VXLAN: &state.VXLAN{ID: 42, Port: 4789}})
	arp := trace.Header{Proto: "arp", ARPOp: "request", Src: netip.MustParseAddr("10.0.2.1"), Dst: netip.MustParseAddr("10.0.2.2")}
	in := &Carried{42, arp, 1}
	got := assembleAll(v, func(a *Assembler) {
		p := &passage{Assembler: a}
		for i := range 2 {
			b, c := around("10.0.1.1", "10.0.1.2", uint16(7+i)), around("10.0.1.1", "10.0.1.3", uint16(7+i))
			kb, kc := Key(10+i), Key(20+i)
			p.saw("a", "vx0", true, arp, 1, nil)
			p.saw("a", "eth0", true, c, kc, in)
			p.saw("a", "eth0", true, b, kb, in)
			p.saw("c", "eth0", false, c, kc, in)
			p.saw("c", "vx0", false, arp, 1, nil)
			p.saw("b", "eth0", false, b, kb, in)
			p.saw("b", "vx0", false, arp, 1, nil)
		}
	})
	const want = "a:tx vx0, a:tunnel vx0, a:tx eth0 in 10.0.1.3, a:tunnel vx0, a:tx eth0 in 10.0.1.2, " +
		"c:rx eth0 in 10.0.1.3, c:tunnel vx0 in 10.0.1.3, c:rx vx0, b:rx eth0 in 10.0.1.2, b:tunnel vx0 in 10.0.1.2, b:rx vx0"
	if len(got) != 2 {
		t.Fatalf("%d journeys", len(got))
	}
	for _, tr := range got {
		if seenIn(tr) != want || tr.Disposition != trace.Delivered || tr.Node != "b" {
			t.Errorf("%s\n%s at %s", seenIn(tr), tr.Disposition, tr.Node)
		}
	}
}

// A frame for an end of the same node comes in without a packet around it.
func TestTunnelBypass(t *testing.T) {
	v := tunnels()
	v["a"].Links = append(v["a"].Links, state.Link{Name: "vx1", Type: "vxlan", Up: true, VXLAN: &state.VXLAN{ID: 42, Port: 4790}})
	tr := told(t, v, func(p *passage) {
		h := echo()
		p.saw("a", "vx0", true, h, 1, nil)
		p.saw("a", "vx1", false, h, 1, nil)
		p.met("a", h, 1, trace.Prerouting, trace.Input)
	})
	if got := seenIn(tr); got != "a:tx vx0, a:rx vx1, a:PREROUTING, a:route, a:INPUT, a:socket" || tr.Disposition != trace.Delivered {
		t.Errorf("%s: %s", got, tr.Disposition)
	}
}

// A question that a bridge takes for its own node and floods into a tunnel ends
// with the node, though a copy went further.
func TestTunnelBroadcastEnds(t *testing.T) {
	v := tunnels()
	v["a"].Links[1].Master = "br0"
	v["a"].Links = append(v["a"].Links, state.Link{Name: "br0", Type: "bridge", Addrs: []state.Addr{{Prefix: netip.MustParsePrefix("10.0.2.9/24")}}}, state.Link{Name: "v1", Type: "veth", Master: "br0"})
	arp := trace.Header{Proto: "arp", ARPOp: "request", Src: netip.MustParseAddr("10.0.2.21"), Dst: netip.MustParseAddr("10.0.2.9")}
	o := around("10.0.1.1", "10.0.1.2", 7)
	in := &Carried{42, arp, 1}
	ask := func(p *passage) {
		p.saw("ca", "eth0", true, arp, 1, nil)
		p.saw("a", "v1", false, arp, 1, nil)
		p.saw("a", "br0", false, arp, 1, nil)
		p.saw("a", "vx0", true, arp, 1, nil)
		p.saw("a", "eth0", true, o, 2, in)
		p.saw("b", "eth0", false, o, 2, in)
		p.met("b", o, 2, trace.Prerouting, trace.Input)
		p.saw("b", "vx0", false, arp, 1, nil)
	}
	if tr := told(t, v, ask); tr.Disposition != trace.Delivered || tr.Node != "a" || len(tr.Also) != 0 {
		t.Errorf("%s at %s, also %v", tr.Disposition, tr.Node, tr.Also)
	}
	v["a"].Links[2].Addrs = nil // nobody has the address: nor was the packet around it "for somebody"
	if tr := told(t, v, ask); tr.Disposition != trace.Unclaimed {
		t.Errorf("%s at %s", tr.Disposition, tr.Node)
	}
	v["b"].Listeners = nil // and where a copy was lost, that is its end
	lost := func(p *passage) {
		p.saw("a", "vx0", true, arp, 1, nil)
		p.saw("a", "eth0", true, o, 2, in)
		p.saw("b", "eth0", false, o, 2, in)
		p.met("b", o, 2, trace.Prerouting, trace.Input)
	}
	if tr := told(t, v, lost); tr.Code != trace.CodeRefused || tr.Node != "b" {
		t.Errorf("%s %s at %s", tr.Disposition, tr.Code, tr.Node)
	}
}

// Of several copies that were lost the last one tells the end.
func TestBroadcastLost(t *testing.T) {
	v := tunnels()
	v["b"].Listeners = nil
	v["c"].Sysctls = map[string]string{"net.ipv4.conf.eth0.forwarding": "0"}
	h := header("10.0.2.1", "10.0.9.255")
	o := around("10.0.1.1", "10.0.1.2", 7)
	in := &Carried{42, h, 1}
	tr := told(t, v, func(p *passage) {
		p.saw("a", "vx0", true, h, 1, nil)
		p.saw("a", "eth0", true, o, 2, in)
		p.saw("a", "v1", true, h, 1, nil)
		p.saw("b", "eth0", false, o, 2, in)
		p.met("b", o, 2, trace.Prerouting, trace.Input)
		p.saw("c", "eth0", false, h, 1, nil)
		p.met("c", h, 1, trace.Prerouting)
	})
	if tr.Disposition != trace.ForwardingOff || tr.Node != "c" {
		t.Errorf("%s at %s: %s", tr.Disposition, tr.Node, seenIn(tr))
	}
}

// A frame for a macvlan is seen by its parent first, at the same moment.
func TestMacvlan(t *testing.T) {
	h := header("10.0.0.1", "10.0.0.3")
	h.DstMAC = "02:00:00:00:00:0c"
	v := still{"host": {Name: "host", Links: []state.Link{{Name: "eth0"}}},
		"c": {Name: "c", Links: []state.Link{{Name: "m1", Type: "macvlan", MAC: h.DstMAC, Parent: "eth0", ParentNode: "host"}}}}
	see := func(p *passage) {
		p.saw("out", "eth0", true, h, 1, nil)
		for i, s := range []Sighting{{Node: "c", Dev: "m1"}, {Node: "host", Dev: "eth0", Other: true}} {
			s.Seq, s.At, s.Header, s.Key = uint64(10+i), 500, h, 1
			p.Sighting(s)
		}
	}
	if tr := told(t, v, see); seenIn(tr) != "out:tx eth0, host:rx eth0, c:rx m1" || len(tr.Also) != 0 {
		t.Errorf("%s, also %v", seenIn(tr), tr.Also)
	}
	v["c"].Links[0].MAC = "02:00:00:00:00:0d" // it was for somebody else
	if tr := told(t, v, see); seenIn(tr) != "out:tx eth0, c:rx m1" || strings.Join(tr.Also, " ") != "host" {
		t.Errorf("%s, also %v", seenIn(tr), tr.Also)
	}
}
