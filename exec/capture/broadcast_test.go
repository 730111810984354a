package capture

import (
	"net/netip"
	"testing"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// What a node sends to everybody comes back to itself first; the hooks are told
// of both, and a packet socket sees only what left.
func TestBroadcast(t *testing.T) {
	node := func(ip string) *state.Node {
		return &state.Node{Links: []state.Link{{Name: "eth0", Up: true, Carrier: true, Addrs: []state.Addr{{Prefix: netip.MustParsePrefix(ip)}}}}}
	}
	h := header("10.0.0.1", "10.0.0.255")
	drop := Hook{Node: "b", Point: trace.Input, Table: "filter", Chain: "INPUT", Rule: 1, Verdict: trace.Drop, Header: h, Key: 1, HasKey: true}
	for _, c := range []struct {
		name  string
		rest  func(*passage)
		steps string
		end   trace.Disposition
		node  string
	}{
		{"a neighbour takes it", func(p *passage) {
			p.saw("b", "eth0", false, h, 1, nil)
			p.met("b", h, 1, trace.Prerouting, trace.Input)
		}, ", b:rx eth0, b:PREROUTING, b:route, b:INPUT, b:socket", trace.Delivered, "b"},
		{"a neighbour drops it", func(p *passage) {
			p.saw("b", "eth0", false, h, 1, nil)
			p.met("b", h, 1, trace.Prerouting)
			p.Hook(drop)
		}, ", b:rx eth0, b:PREROUTING, b:route, b:INPUT", trace.Dropped, "b"},
		{"nobody is there", func(*passage) {}, "", trace.Delivered, "a"},
	} {
		tr := told(t, still{"a": node("10.0.0.1/24"), "b": node("10.0.0.2/24")}, func(p *passage) {
			p.met("a", h, 1, trace.Output, trace.Postrouting)
			p.met("a", h, 1, trace.Prerouting, trace.Input)
			p.met("a", h, 1, trace.Postrouting)
			p.saw("a", "eth0", true, h, 1, nil)
			c.rest(p)
		})
		want := "a:route eth0, a:OUTPUT, a:POSTROUTING, a:PREROUTING, a:route, a:INPUT, a:socket, a:POSTROUTING, a:tx eth0" + c.steps
		if got := seenIn(tr); got != want || tr.Disposition != c.end || tr.Node != c.node {
			t.Errorf("%s: %s\n%s at %s", c.name, got, tr.Disposition, tr.Node)
		}
	}
}

// Who answers a ping of everybody the settings say.
func TestEchoIsAnswered(t *testing.T) {
	n := &state.Node{Sysctls: map[string]string{}, Links: []state.Link{{Addrs: []state.Addr{{Prefix: netip.MustParsePrefix("10.0.0.1/24")}}}}}
	for _, c := range []struct {
		key, value, dst string
		answers         bool
	}{
		{"", "", "10.0.0.1", true},
		{"", "", "10.0.0.255", false},
		{"", "", "255.255.255.255", false},
		{"net.ipv4.icmp_echo_ignore_broadcasts", "0", "10.0.0.255", true},
		{"net.ipv4.icmp_echo_ignore_all", "1", "10.0.0.1", false},
	} {
		n.Sysctls = map[string]string{c.key: c.value}
		if s := (&builder{}).socket(n, header("10.0.0.2", c.dst)); (s.Code == trace.CodeEcho) != c.answers {
			t.Errorf("%s=%s, %s: %q", c.key, c.value, c.dst, s.Code)
		}
	}
}
