package agree_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"vethlab/sim/agree"
	"vethlab/sim/trace"
)

// A SYN that is repeated after a second counts once; one that is repeated
// sooner is another.
func TestRepeatedSYN(t *testing.T) {
	h := trace.Header{Proto: "tcp", Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), SrcPort: 40000, DstPort: 80, TCPFlags: "SYN", TTL: 64, Len: 60}
	syn := func(at time.Duration) trace.Trace {
		return trace.Trace{Start: int64(at), Flow: "tcp 1", Node: "a", Disposition: trace.Vanished, Code: trace.CodeVanished,
			Hops: []trace.Hop{{Node: "a", Steps: []trace.Step{{Point: trace.Output, Verdict: trace.Pass, Before: h, After: h}}}}}
	}
	for _, c := range []struct {
		again time.Duration
		want  int
	}{{1020 * time.Millisecond, 1}, {200 * time.Millisecond, 2}} {
		rec := agree.NewRenderer().Command("nc -w1 10.0.0.2 80", agree.Outcome{Traces: []trace.Trace{syn(0), syn(c.again)}})
		if len(rec.Journeys) != c.want {
			t.Errorf("repeated after %v: %d journeys, not %d: %q", c.again, len(rec.Journeys), c.want, rec.Journeys)
		}
	}
}

// conntrack's lines are in one order whatever time their entries have left.
func TestConntrackOrder(t *testing.T) {
	out := func(first, second string) string {
		return "icmp     1 " + first + " src=10.0.1.2 dst=10.0.1.1 type=8 code=0 id=5\nicmp     1 " + second + " src=10.0.1.2 dst=10.0.1.2 type=8 code=0 id=6\n"
	}
	text := "conntrack -L"
	a := agree.NewRenderer().Command(text, agree.Outcome{Stdout: out("29", "29")})
	b := agree.NewRenderer().Command(text, agree.Outcome{Stdout: out("30", "29")})
	if ds := agree.CompareRecords(&agree.Run{Commands: []agree.Record{a}}, &agree.Run{Commands: []agree.Record{b}}); len(ds) > 0 {
		t.Error(ds)
	}
}

// What is repeated after its command is over is of no command: nor are the question
// for the neighbour that it would go to, and the error that tells of his silence.
func TestLateWithoutNeighbour(t *testing.T) {
	a := netip.MustParseAddr
	one := func(at time.Duration, h trace.Header, d trace.Disposition) trace.Trace {
		return trace.Trace{Start: int64(at), Flow: h.Proto + h.TCPFlags[:min(3, len(h.TCPFlags))], Node: "e", Disposition: d, Code: trace.CodeNoNeighbour, Args: map[string]string{"ip": "10.0.3.1", "dev": "eth0"},
			Hops: []trace.Hop{{Node: "e", Steps: []trace.Step{{Point: trace.Output, Verdict: trace.Pass, Before: h, After: h}}}}}
	}
	const ms = time.Millisecond
	arp := trace.Header{Proto: "arp", ARPOp: "request", Src: a("10.0.4.2"), Dst: a("10.0.3.1")}
	arp2 := trace.Header{Proto: "arp", ARPOp: "request", Src: a("10.0.4.2"), Dst: a("10.0.3.9")}
	late := trace.Header{Proto: "tcp", TCPFlags: "SYN,ACK", Src: a("10.0.4.2"), Dst: a("10.0.3.1"), SrcPort: 80, DstPort: 40000}
	told := trace.Header{Proto: "icmp", ICMPType: 3, ICMPCode: 1, Src: a("10.0.4.2"), Dst: a("10.0.4.2")}
	rec := agree.NewRenderer().Command("curl http://10.0.1.1", agree.Outcome{Traces: []trace.Trace{
		one(1*ms, arp2, trace.Unclaimed), one(10*ms, late, trace.NoNeighbour), one(11*ms, arp, trace.Unclaimed), one(61*ms, told, trace.Delivered),
		one(71*ms, told, trace.Delivered), one(900*ms, arp, trace.Unclaimed)}})
	var got []string
	for _, j := range rec.Journeys {
		title, _, _ := strings.Cut(j, "\n")
		got = append(got, title)
	}
	if want := "arp request 10.0.4.2→10.0.3.9, icmp, arp request 10.0.4.2→10.0.3.1"; strings.Join(got, ", ") != want {
		t.Errorf("%q; want %q", strings.Join(got, ", "), want)
	}
}

// Which side of a connection closes first is chance, and so is what conntrack
// calls it meanwhile; that it closes is not, nor what came before.
func TestConntrackClosing(t *testing.T) {
	run := func(state string) *agree.Run {
		out := "tcp      6 " + state + " src=10.0.1.1 dst=10.0.1.2 sport=40000 dport=80 src=10.0.1.2 dst=10.0.1.1 sport=80 dport=40000 [ASSURED] mark=0 use=1\n"
		return &agree.Run{Commands: []agree.Record{agree.NewRenderer().Command("conntrack -L", agree.Outcome{Stdout: out})}}
	}
	for _, c := range []struct {
		kernel, model string
		same          bool
	}{
		{"30 LAST_ACK", "119 TIME_WAIT", true},
		{"299 ESTABLISHED", "431999 ESTABLISHED", true},
		{"431999 ESTABLISHED", "119 TIME_WAIT", false},
		{"119 SYN_SENT", "119 TIME_WAIT", false},
		{"9 CLOSE", "119 TIME_WAIT", false},
	} {
		if ds := agree.CompareRecords(run(c.kernel), run(c.model)); len(ds) == 0 != c.same {
			t.Errorf("%s and %s: %v", c.kernel, c.model, ds)
		}
	}
}

// The points of an ARP packet are in one order whatever numbers the names in them
// have: by what they say.
func TestARPOrder(t *testing.T) {
	a := netip.MustParseAddr
	arp := trace.Header{Proto: "arp", ARPOp: "reply", Src: a("10.0.2.1"), Dst: a("10.0.2.2"), SrcMAC: "02:00:00:00:00:01", DstMAC: "02:00:00:00:00:03"}
	in := arp
	in.Outer = &trace.Header{Proto: "udp", Src: a("10.0.1.1"), Dst: a("10.0.1.2"), SrcPort: 40000, DstPort: 4789, SrcMAC: "02:00:00:00:00:01", DstMAC: "02:00:00:00:00:02", TTL: 64, Len: 78}
	journey := func(at time.Duration, dev, to string) trace.Trace {
		h := arp
		h.DstMAC = to
		return trace.Trace{Start: int64(at), Node: "a", Disposition: trace.Delivered, Code: trace.CodeDelivered,
			Hops: []trace.Hop{{Node: "a", Steps: []trace.Step{{Point: trace.TX, Dev: dev, Before: h, After: h}}}}}
	}
	both := trace.Trace{Start: 9, Node: "a", Disposition: trace.Delivered, Code: trace.CodeDelivered,
		Hops: []trace.Hop{{Node: "a", Steps: []trace.Step{{Point: trace.TX, Dev: "br0", Before: arp, After: arp}, {Point: trace.TX, Dev: "br0", Before: in, After: in}}}}}
	run := func(first, second time.Duration) *agree.Run {
		r := agree.NewRenderer()
		rec := r.Command("ping 10.0.2.2", agree.Outcome{Traces: []trace.Trace{journey(first, "eth0", in.Outer.DstMAC), journey(second, "eth1", arp.DstMAC), both}})
		return &agree.Run{Commands: []agree.Record{rec}}
	}
	if ds := agree.CompareRecords(run(1, 2), run(2, 1)); len(ds) > 0 { // which came first is chance
		t.Error(ds)
	}
}
