package lessons

import (
	"bytes"
	"net/netip"
	"testing"

	"vethlab/sim/trace"
)

// masqueraded is a ping's way out: from ns1, rewritten in host, to internet.
func masqueraded() trace.Trace {
	ip := netip.MustParseAddr
	h := trace.Header{Proto: "icmp", Src: ip("172.18.0.8"), Dst: ip("203.0.113.10"), TTL: 64}
	low := h
	low.TTL = 63
	out := low
	out.Src = ip("10.24.254.11")
	step := func(p trace.Point, dev string, h trace.Header) trace.Step {
		return trace.Step{Point: p, Dev: dev, Before: h, After: h, Evidence: trace.Reported}
	}
	at := func(s trace.Step, ns int64) trace.Step {
		s.At, s.Timed, s.Evidence = ns, true, trace.Captured
		return s
	}
	route := step(trace.RouteStep, "eth0", h)
	route.Verdict, route.Note = trace.Forwards, "default via 10.24.254.1 dev eth0"
	pre := step(trace.Prerouting, "", h)
	pre.Verdict = trace.Pass
	fwd := step(trace.Forward, "", low)
	fwd.Table, fwd.Chain, fwd.Rule, fwd.Verdict, fwd.RuleText = "filter", "FORWARD", 1, trace.Accept, "-i br-demo ! -o br-demo -j ACCEPT"
	post := step(trace.Postrouting, "", low)
	post.After = out
	post.Table, post.Chain, post.Rule, post.Verdict = "nat", "POSTROUTING", 1, trace.Masq
	post.Cause = "nat POSTROUTING rule 1: MASQUERADE"
	sock := step(trace.Socket, "", out)
	sock.Evidence = trace.Explained
	return trace.Trace{
		ID: "t1", Summary: "ICMP echo request", Disposition: trace.Delivered, Node: "internet", Reason: "delivered to internet",
		Code: trace.CodeDelivered, Evidence: trace.Reported,
		Hops: []trace.Hop{
			{Node: "ns1", Steps: []trace.Step{at(step(trace.TX, "eth0", h), 0)}},
			{Node: "host", Steps: []trace.Step{at(step(trace.RX, "veth0", h), 9_400), pre, route, fwd, post, at(step(trace.TX, "eth0", out), 41_000)}},
			{Node: "internet", Steps: []trace.Step{at(step(trace.RX, "eth0", out), 12_345_678), sock}},
		},
	}
}

func TestWriteTrace(t *testing.T) {
	tr := masqueraded()
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	WriteTraces(&b, []trace.Trace{tr})
	want := `1  ICMP echo request  172.18.0.8 → 203.0.113.10
  ns1       tx eth0                                        172.18.0.8 → 203.0.113.10    ttl 64  +0 µs
  host      rx veth0                                       172.18.0.8 → 203.0.113.10    ttl 64  +9 µs
            PREROUTING   no rule                           172.18.0.8 → 203.0.113.10    ttl 64
            route        default via 10.24.254.1 dev eth0  172.18.0.8 → 203.0.113.10    ttl 64
            FORWARD      filter rule 1 ACCEPT              172.18.0.8 → 203.0.113.10    ttl 63
                         └ -i br-demo ! -o br-demo -j ACCEPT
            POSTROUTING  nat rule 1 MASQUERADE             172.18.0.8 → 203.0.113.10    ttl 63
                         └ src 172.18.0.8 → 10.24.254.11  (nat POSTROUTING rule 1: MASQUERADE)
            tx eth0                                        10.24.254.11 → 203.0.113.10  ttl 63  +41 µs
  internet  rx eth0                                        10.24.254.11 → 203.0.113.10  ttl 63  +12 ms
            socket       arrived (explained)               10.24.254.11 → 203.0.113.10  ttl 63
  ✓ delivered to internet
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestWriteTracesSaysEachWayOnce(t *testing.T) {
	dead := masqueraded()
	dead.Hops = dead.Hops[:1]
	dead.Disposition, dead.Reason, dead.Evidence = trace.Vanished, "", trace.Explained
	dead.Node = "ns1"
	var b bytes.Buffer
	WriteTraces(&b, []trace.Trace{dead, masqueraded(), masqueraded(), masqueraded(), dead, {Summary: "nothing"}})
	got := b.String()
	for text, want := range map[string]int{
		"the same way as packet 2": 2, "\n3  ICMP": 1, "└ src": 1, "✗ vanished at ns1  (explained)\n": 2, "nothing": 0, "\n\n\n": 0,
	} {
		if n := bytes.Count(b.Bytes(), []byte(text)); n != want {
			t.Errorf("%q stands there %d times, want %d:\n%s", text, n, want, got)
		}
	}
}

func TestWriteTracePorts(t *testing.T) {
	tr := masqueraded()
	tr.Hops = tr.Hops[1:2]
	s := &tr.Hops[0].Steps[4]
	s.Before.SrcPort, s.After.SrcPort, s.Before.DstPort, s.After.DstPort = 4000, 1024, 80, 80
	var b bytes.Buffer
	WriteTraces(&b, []trace.Trace{tr})
	for _, want := range []string{"172.18.0.8:4000 → 203.0.113.10:80", "└ src 172.18.0.8:4000 → 10.24.254.11:1024  (nat"} {
		if !bytes.Contains(b.Bytes(), []byte(want)) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
