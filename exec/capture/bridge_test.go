package capture

import (
	"testing"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// What a bridge kept, and why, as far as its table and its ports prove it.
func TestSwitched(t *testing.T) {
	const far, own = "02:00:00:00:00:12", "02:00:00:00:00:03"
	port := func(name string) state.Link {
		return state.Link{Name: name, Type: "veth", MTU: 1500, Up: true, Carrier: true, Master: "br0", Port: &state.BridgePort{State: "forwarding", Flood: true}}
	}
	for _, c := range []struct {
		name     string
		dst      string
		change   func(n *state.Node)
		code     string
		dev      string
		byBridge bool // it left by the bridge device itself
	}{
		{"isolated", far, func(n *state.Node) { n.Link("v1").Port.Isolated, n.Link("v2").Port.Isolated = true, true }, trace.CodeIsolated, "v2", false},
		{"one isolated", far, func(n *state.Node) { n.Link("v2").Port.Isolated = true }, trace.CodeUnclaimed, "", false},
		{"blocked", far, func(n *state.Node) { n.Link("v2").Port.State = "blocking" }, trace.CodePortState, "v2", false},
		{"blocked where it came in", far, func(n *state.Node) { n.Link("v1").Port.State = "blocking" }, trace.CodePortState, "v1", false},
		{"hairpin", far, func(n *state.Node) { n.FDB[0].Dev = "v1" }, trace.CodeHairpin, "v1", false},
		{"from the bridge itself", far, func(n *state.Node) { n.Link("v2").Port.State = "disabled" }, trace.CodePortState, "v2", true},
		{"unknown, and no port floods", "02:00:00:00:00:77", func(n *state.Node) { n.Link("v2").Port.Flood = false }, trace.CodeUnclaimed, "", false},
		{"too large for its port", far, func(n *state.Node) { n.Link("v2").MTU = 1396 }, trace.CodeTooBig, "v2", false},
		{"room for a tag", far, func(n *state.Node) { n.Link("v2").MTU = 1397; n.Link("v2").Port.Isolated = true }, trace.CodeUnclaimed, "", false},
		{"from the bridge, and too large", far, func(n *state.Node) { n.Link("v2").MTU = 1280 }, trace.CodeTooBig, "v2", true},
		{"unknown, and too large for all", "02:00:00:00:00:77", func(n *state.Node) { n.Link("v2").MTU = 1280 }, trace.CodeTooBig, "v2", false},
		{"for the node itself", own, func(n *state.Node) {}, trace.CodeUnclaimed, "", false},
	} {
		n := &state.Node{Name: "host", Links: []state.Link{{Name: "br0", Type: "bridge", Up: true, Carrier: true, MAC: own}, port("v1"), port("v2")},
			FDB: []state.FDB{{MAC: far, Dev: "v2"}, {MAC: own, Dev: "br0", Local: true}}}
		c.change(n)
		h := header("10.0.2.11", "10.0.2.12")
		h.DstMAC, h.Len = c.dst, 1401
		s := Sighting{Node: "host", Dev: "v1", At: 100, Header: h, Key: 1, Other: true}
		if c.byBridge {
			s.Dev, s.Out, s.Other = "br0", true, false
		}
		got := assembleAll(still{"host": n}, func(a *Assembler) { a.Sighting(s) })
		if len(got) != 1 || got[0].Code != c.code || got[0].Args["dev"] != c.dev {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// A packet that is translated on its bridge leaves by the bridge device before
// FORWARD, when its new destination's MAC address had to be asked for.
func TestBridgedDNAT(t *testing.T) {
	h, to := header("10.0.2.11", "10.0.2.1"), header("10.0.2.11", "10.0.2.12")
	n := &state.Node{Name: "host", Sysctls: map[string]string{"net.bridge.bridge-nf-call-iptables": "1"},
		Links: []state.Link{{Name: "br0", Type: "bridge", Up: true}, {Name: "v1", Master: "br0"}, {Name: "v2", Master: "br0"}}}
	got := assembleAll(still{"host": n}, func(a *Assembler) {
		a.Sighting(Sighting{Seq: 1, Node: "host", Dev: "v1", At: 100, Header: h, Key: 1})
		a.Hook(hook("host", trace.Prerouting, First, 1, h, "br0", ""))
		rule := hook("host", trace.Prerouting, NoEdge, 1, h, "br0", "")
		rule.Table, rule.Chain, rule.Rule, rule.Verdict = "nat", "PREROUTING", 1, trace.Dnat
		a.Hook(rule)
		a.Hook(hook("host", trace.Prerouting, Last, 1, to, "br0", ""))
		a.Sighting(Sighting{Seq: 2, Node: "host", Dev: "br0", Out: true, At: 200, Header: to, Key: 1})
		a.Hook(hook("host", trace.Forward, First, 1, to, "br0", "br0"))
		a.Hook(hook("host", trace.Forward, Last, 1, to, "br0", "br0"))
		a.Sighting(Sighting{Seq: 3, Node: "host", Dev: "v2", Out: true, At: 300, Header: to, Key: 1})
	})
	want := "host:rx v1, host:PREROUTING, host:bridge br0, host:tx br0, host:FORWARD, host:tx v2"
	if len(got) != 1 || seen(got[0]) != want {
		t.Fatalf("%s\nwant %s", seen(got[0]), want)
	}
}
