package state

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func sample() *Snapshot {
	return &Snapshot{Version: Version, Nodes: []Node{{
		Name: "host", Kind: Machine, Netns: 1,
		Links: []Link{
			{Index: 2, Name: "veth0", Type: "veth", MAC: "02:00:00:00:00:01", MTU: 1500, Up: true, Master: "br0", PeerNode: "ns1", PeerName: "veth1"},
			{Index: 3, Name: "br0", Type: "bridge", Addrs: []Addr{{Prefix: netip.MustParsePrefix("172.18.0.1/16"), Scope: "global"}}},
		},
		Routes: []Route{
			{Table: 254, Type: "unicast", Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: "10.0.0.1", Dev: "eth0"},
			{Table: 254, Type: "unicast", Dst: netip.MustParsePrefix("172.18.0.0/16"), Dev: "br0"},
			{Table: 254, Type: "unicast", Dst: netip.MustParsePrefix("172.18.5.0/24"), Dev: "late", Metric: 20},
			{Table: 254, Type: "unicast", Dst: netip.MustParsePrefix("172.18.5.0/24"), Dev: "first", Metric: 10},
		},
		Tables: []Table{{Name: "filter", Chains: []Chain{{Name: "FORWARD", Policy: "ACCEPT", Packets: 5, Rules: []Rule{{Spec: "-j DROP", Packets: 9}, {Spec: "-j ACCEPT"}}}}},
			{Name: "nat", Chains: []Chain{{Name: "OUTPUT", Policy: "ACCEPT"}}}},
	}}}
}

func TestDiff(t *testing.T) {
	a, b := sample(), sample()
	b.Nodes[0].Links[0], b.Nodes[0].Links[1] = b.Nodes[0].Links[1], b.Nodes[0].Links[0]
	b.Nodes[0].Links[1].MAC = "02:00:00:00:00:99"
	b.Nodes[0].Tables[0].Chains[0].Rules[0].Packets = 7
	b.Nodes[0].Tables = b.Nodes[0].Tables[:1] // a table nobody touched is as good as none
	if ds := Diff(a.Canonical(), b.Canonical()); len(ds) != 0 {
		t.Errorf("the same state differs: %v", ds)
	}
	b.Nodes[0].Links[1].Up = false
	rules := b.Nodes[0].Tables[0].Chains[0].Rules
	rules[0], rules[1] = rules[1], rules[0]
	b.Nodes[0].Routes = b.Nodes[0].Routes[1:]
	got := fmt.Sprint(Diff(a.Canonical(), b.Canonical()))
	for _, want := range []string{"host.links.veth0.up: true, false", "host.routes.0.0.0.0/0.via: 10.0.0.1, -", "spec: -j DROP, -j ACCEPT"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if a.Nodes[0].Tables[0].Chains[0].Packets != 5 || a.Nodes[0].Links[0].MAC == "" {
		t.Error("Canonical changed the original")
	}
}

func TestLookup(t *testing.T) {
	n := sample().Node("host")
	for dst, want := range map[string]string{"172.18.5.1": "first", "172.18.9.1": "br0", "8.8.8.8": "eth0"} {
		if r := n.Lookup(netip.MustParseAddr(dst)); r == nil || r.Dev != want {
			t.Errorf("%s goes by %v, not %s", dst, r, want)
		}
	}
	if r := n.Lookup(netip.MustParseAddr("8.8.8.8")); r.String() != "default via 10.0.0.1 dev eth0" {
		t.Errorf("the default route is written %q", r)
	}
}
