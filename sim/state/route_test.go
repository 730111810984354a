package state

import (
	"net/netip"
	"testing"
)

// What the policy rules lead to which table, and a table that refuses.
func TestRoute(t *testing.T) {
	def := netip.MustParsePrefix("0.0.0.0/0")
	n := &Node{
		Routes: []Route{
			{Table: 254, Type: "unicast", Dst: def, Via: "10.0.0.1", Dev: "eth0"},
			{Table: 254, Type: "unicast", Dst: netip.MustParsePrefix("10.1.0.0/24"), Dev: "eth1", Down: true},
			{Table: 100, Type: "blackhole", Dst: netip.MustParsePrefix("192.0.2.0/24")},
			{Table: 101, Type: "unicast", Dst: def, Dev: "wg"},
		},
		Policies: []Policy{
			{Priority: 0, Table: 255},
			{Priority: 10, From: "10.9.0.0/16", Action: "unreachable"},
			{Priority: 20, Iif: "lo", Mark: 3, Table: 101},
			{Priority: 30, To: "192.0.2.7", Not: true, Table: 100},
			{Priority: 40, Iif: "eth1", Table: 101},
			{Priority: 32766, Table: 254},
		},
	}
	ip := netip.MustParseAddr
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{Dst: ip("8.8.8.8")}, "default via 10.0.0.1 dev eth0"},
		{Query{Dst: ip("8.8.8.8"), Src: ip("10.9.1.1")}, ""},
		{Query{Dst: ip("8.8.8.8"), Mark: 3}, "default dev wg"},
		{Query{Dst: ip("8.8.8.8"), Mark: 3, Iif: "eth0"}, "default via 10.0.0.1 dev eth0"},
		{Query{Dst: ip("8.8.8.8"), Iif: "eth1"}, "default dev wg"},
		{Query{Dst: ip("192.0.2.1")}, "blackhole 192.0.2.0/24"},
		{Query{Dst: ip("192.0.2.7")}, "default via 10.0.0.1 dev eth0"},
		{Query{Dst: ip("10.1.0.9")}, "10.1.0.0/24 dev eth1"}, // without carrier it is used all the same
		{Query{Dst: ip("10.1.0.9"), Oif: "eth0"}, "default via 10.0.0.1 dev eth0"},
	} {
		got := ""
		if r := n.Route(c.q); r != nil {
			got = r.String()
		}
		if got != c.want {
			t.Errorf("%+v goes by %q, not %q", c.q, got, c.want)
		}
	}
	n.Sysctls = map[string]string{"net.ipv4.conf.eth1.ignore_routes_with_linkdown": "1"}
	if r := n.Route(Query{Dst: ip("10.1.0.9")}); r.Dev != "eth0" {
		t.Errorf("a route without carrier is used: %v", r)
	}
}
