package capture

import (
	"testing"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// hook is an edge of a hook, as our table reports it.
func hook(node string, at trace.Point, e Edge, k Key, h trace.Header, devs ...string) Hook {
	r := Hook{Node: node, Point: at, Edge: e, Verdict: trace.Pass, Header: h, Key: k, HasKey: true}
	if len(devs) == 2 {
		r.Iif, r.Oif = devs[0], devs[1]
	}
	return r
}

// pieces returns a packet of 1501 bytes and the two it goes on in.
func pieces(src, dst string) (whole, first, last trace.Header) {
	whole = header(src, dst)
	whole.ID, whole.Len = 7, 1501
	first, last = whole, whole
	first.ICMPType, first.Len, first.MoreFragments = 0, 1500, true
	last.ICMPType, last.Len, last.FragOffset = 0, 21, 1480
	return whole, first, last
}

// A router with conntrack puts a packet together and splits it again: the packet
// is one journey, and each piece has one as far as it went. What a hook did to
// the whole is told of the whole.
func TestFragmentsThroughNAT(t *testing.T) {
	const w, f, l = 1, 2, 3
	sent, first, last := pieces("10.0.1.2", "10.0.2.2")
	natted, first2, last2 := pieces("10.0.2.1", "10.0.2.2")
	forwarded := sent
	forwarded.TTL, natted.TTL, first2.TTL, last2.TTL = 63, 63, 63, 63
	got := assembleAll(still{}, func(a *Assembler) {
		// The nodes report each for itself: in no order between them.
		a.Hook(hook("b", trace.Prerouting, First, f, first2, "eth0", ""))
		a.Hook(hook("b", trace.Prerouting, Last, f, first2, "eth0", ""))
		a.Hook(hook("b", trace.Prerouting, First, l, last2, "eth0", ""))
		a.Hook(hook("b", trace.Prerouting, Last, l, last2, "eth0", ""))
		a.Hook(hook("b", trace.Input, First, w, natted, "eth0", ""))
		a.Hook(hook("b", trace.Input, Last, w, natted, "eth0", ""))
		for _, e := range []Edge{First, Last} {
			a.Hook(hook("a", trace.Output, e, w, sent, "", "eth0"))
		}
		for _, e := range []Edge{First, Last} {
			a.Hook(hook("a", trace.Postrouting, e, w, sent, "", "eth0"))
		}
		a.Hook(hook("host", trace.Prerouting, First, f, first, "va", ""))
		a.Hook(hook("host", trace.Prerouting, First, l, last, "va", ""))
		a.Hook(hook("host", trace.Prerouting, Last, w, sent, "va", ""))
		for _, e := range []Edge{First, Last} {
			a.Hook(hook("host", trace.Forward, e, w, forwarded, "va", "vb"))
		}
		a.Hook(hook("host", trace.Postrouting, First, w, forwarded, "", "vb"))
		rule := hook("host", trace.Postrouting, NoEdge, w, forwarded, "", "vb")
		rule.Table, rule.Chain, rule.Rule, rule.Verdict = "nat", "POSTROUTING", 1, trace.Masq
		a.Hook(rule)
		a.Hook(hook("host", trace.Postrouting, Last, w, natted, "", "vb"))
		at := int64(0)
		see := func(node, dev string, out bool, k Key, h trace.Header) {
			at += 100
			a.Sighting(Sighting{Seq: uint64(at), Node: node, Dev: dev, Out: out, At: at, Header: h, Key: k})
		}
		see("a", "eth0", true, f, first)
		see("host", "va", false, f, first)
		see("a", "eth0", true, l, last)
		see("host", "va", false, l, last)
		see("host", "vb", true, f, first2)
		see("b", "eth0", false, f, first2)
		see("host", "vb", true, l, last2)
		see("b", "eth0", false, l, last2)
	})
	want := []struct{ seen, end string }{
		{"a:route eth0, a:OUTPUT, a:POSTROUTING, host:PREROUTING, host:route vb, host:FORWARD, host:POSTROUTING, b:INPUT", "delivered at b"},
		{"a:tx eth0, host:rx va, host:PREROUTING", "reassembled at host"},
		{"a:tx eth0, host:rx va, host:PREROUTING", "reassembled at host"},
		{"host:tx vb, b:rx eth0, b:PREROUTING, b:route", "reassembled at b"},
		{"host:tx vb, b:rx eth0, b:PREROUTING, b:route", "reassembled at b"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d journeys", len(got))
	}
	for i, w := range want {
		if s, e := seen(got[i]), got[i].Code+" at "+got[i].Node; s != w.seen || e != w.end {
			t.Errorf("journey %d: %s: %s\nwant %s: %s", i, s, e, w.seen, w.end)
		}
		if got[i].Flow != got[0].Flow || got[i].Reply {
			t.Errorf("journey %d is of the flow %s, and a reply: %v", i, got[i].Flow, got[i].Reply)
		}
	}
	if s := got[0].Hops[1].Steps[3]; s.After.Src != natted.Src || s.Rule != 1 {
		t.Errorf("the rewrite: %+v", s)
	}
}

// A packet of which a piece was lost ends in pieces; one whose pieces nobody saw
// ends where they wait.
func TestFragmentsLost(t *testing.T) {
	const w, f, l = 1, 2, 3
	whole, first, last := pieces("10.0.1.2", "10.0.1.1")
	view := still{"a": {Name: "a", Links: []state.Link{{Name: "eth0", Up: true, Carrier: true}},
		Neighs: []state.Neigh{{IP: whole.Dst, Dev: "eth0", State: "FAILED"}}}, "b": {Name: "b"}}
	out := func(a *Assembler) {
		for _, at := range []trace.Point{trace.Output, trace.Postrouting} {
			for _, e := range []Edge{First, Last} {
				a.Hook(hook("a", at, e, w, whole, "", "eth0"))
			}
		}
	}
	got := assembleAll(view, out)
	if len(got) != 1 || got[0].Code != trace.CodeNoNeighbour {
		t.Fatalf("unseen: %v", got)
	}
	got = assembleAll(view, func(a *Assembler) {
		out(a)
		for i, p := range []struct {
			k Key
			h trace.Header
		}{{f, first}, {l, last}} {
			a.Sighting(Sighting{Seq: uint64(2 * i), Node: "a", Dev: "eth0", Out: true, At: int64(200*i + 100), Header: p.h, Key: p.k})
			if p.k == f {
				a.Sighting(Sighting{Seq: uint64(2*i + 1), Node: "b", Dev: "eth0", At: int64(200*i + 200), Header: p.h, Key: p.k})
				a.Hook(hook("b", trace.Prerouting, First, f, first, "eth0", ""))
			}
		}
	})
	if len(got) != 3 || got[0].Code != trace.CodeFragmented || got[0].Node != "a" || got[1].Code != trace.CodeReassembly || got[1].Node != "b" || got[2].Disposition != trace.Vanished {
		t.Errorf("%v", got)
	}
}

// The headers of later fragments are those of the first, wherever that was seen too.
func TestSiblings(t *testing.T) {
	var s Siblings
	_, first, last := pieces("10.0.1.2", "10.0.2.2")
	first.SrcMAC = "02:00:00:00:00:01"
	s.Mend(2, true, &first)
	overwritten := last
	overwritten.Src, overwritten.TTL, overwritten.SrcMAC = header("10.0.2.1", "10.0.2.2").Src, 63, "02:00:00:00:00:09"
	h := overwritten
	if s.Mend(2, true, &h); h.Src != first.Src || h.TTL != 64 || h.SrcMAC != first.SrcMAC || h.FragOffset != 1480 || h.Len != 21 {
		t.Errorf("mended: %+v", h)
	}
	for _, where := range []struct {
		ifindex int
		out     bool
	}{{2, false}, {3, true}} {
		h := overwritten
		if s.Mend(where.ifindex, where.out, &h); h != overwritten {
			t.Errorf("at %v, where the first was not seen: %+v", where, h)
		}
	}
}
