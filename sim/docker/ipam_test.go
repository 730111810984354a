package docker

import (
	"net/netip"
	"slices"
	"testing"
)

// The lowest free address is given out, never the first or the last of the pool;
// a range counts by its host part.
func TestRequest(t *testing.T) {
	p := Pool{Subnet: netip.MustParsePrefix("10.2.0.0/29")}
	for _, want := range []string{"10.2.0.1", "10.2.0.2", "10.2.0.3"} {
		if a, err := p.request(netip.Addr{}); err != nil || a.String() != want {
			t.Fatalf("%v, %v, want %s", a, err, want)
		}
	}
	n := Network{Name: "net1", ID: "x", Pools: []Pool{p}}
	n.free(netip.MustParseAddr("10.2.0.2"))
	if a, err := n.allocate(netip.Addr{}); err != nil || a.String() != "10.2.0.2" {
		t.Errorf("%v, %v: not the lowest", a, err)
	}
	for want, words := range map[string]string{
		"10.2.0.1": "Address already in use", "10.2.0.0": "Address already in use", "10.2.0.7": "Address already in use",
		"10.3.0.1": "Invalid address 10.3.0.1: It does not belong to any of this network's subnets",
	} {
		if _, err := n.allocate(netip.MustParseAddr(want)); err == nil || err.Error() != words {
			t.Errorf("%s: %v", want, err)
		}
	}
	for range 3 {
		if _, err := n.allocate(netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
	if a, err := n.allocate(netip.Addr{}); err == nil {
		t.Errorf("%v out of a full pool", a)
	}
	p = Pool{Subnet: netip.MustParsePrefix("10.2.0.0/16"), Range: netip.MustParsePrefix("172.17.1.0/30")}
	if a, err := p.request(netip.Addr{}); err != nil || a.String() != "10.2.1.0" {
		t.Errorf("%v, %v: a range of another network", a, err)
	}
}

func TestPredefined(t *testing.T) {
	pools, err := predefined(defaultPools)
	if err != nil || len(pools) != 31 || pools[0].String() != "172.17.0.0/16" || pools[14].String() != "172.31.0.0/16" || pools[30].String() != "192.168.240.0/20" {
		t.Errorf("%v, %v", pools, err)
	}
	for _, bad := range []PoolBase{{"nonsense", 24}, {"10.0.0.0/16", 8}, {"10.0.0.0/16", 0}, {"10.0.0.0/8", 32}, {"fd00::/64", 80}} {
		if pools, err := predefined([]PoolBase{bad}); err == nil {
			t.Errorf("%v: %d pools", bad, len(pools))
		}
	}
	many := slices.Repeat([]PoolBase{{"10.0.0.0/16", 32}}, 4)
	if pools, err := predefined(many); err != nil || len(pools) != maxPools {
		t.Errorf("%d pools, %v", len(pools), err)
	}
	if pools, err := predefined(append(many, PoolBase{"10.1.0.0/16", 16})); err == nil {
		t.Errorf("%d pools", len(pools))
	}
}

// A swarm gives addresses out in a row: one that was given back comes again when
// all others have had their turn, and one that was asked for does not count.
func TestNext(t *testing.T) {
	p := Pool{Subnet: netip.MustParsePrefix("10.2.0.0/29")}
	n := Network{Pools: []Pool{p}}
	for _, step := range []struct{ want, got, back string }{
		{"", "10.2.0.1", ""}, {"", "10.2.0.2", "10.2.0.2"}, {"10.2.0.5", "10.2.0.5", ""}, {"", "10.2.0.3", ""},
		{"", "10.2.0.4", ""}, {"", "10.2.0.6", ""}, {"", "10.2.0.2", ""},
	} {
		want, _ := netip.ParseAddr(step.want)
		a, err := n.Pools[0].next(want)
		if err != nil || a.String() != step.got {
			t.Fatalf("%v, %v, want %s", a, err, step.got)
		}
		if step.back != "" {
			n.free(netip.MustParseAddr(step.back))
		}
	}
	if a, err := n.Pools[0].next(netip.Addr{}); err == nil {
		t.Errorf("%s out of an empty pool", a)
	}
}

// A swarm's next subnet is the next of its base that overlaps with none, and also
// of millions it is soon found.
func TestFreeSubnet(t *testing.T) {
	network := func(subnets ...string) *Network {
		n := &Network{}
		for _, s := range subnets {
			n.Pools = append(n.Pools, Pool{Subnet: netip.MustParsePrefix(s)})
		}
		return n
	}
	for _, c := range []struct {
		base  string
		size  int
		next  int
		taken []string
		want  string
	}{
		{"10.0.0.0/8", 24, 0, nil, "10.0.0.0/24"},
		{"10.0.0.0/8", 24, 1, []string{"10.0.0.0/24", "10.0.1.0/25"}, "10.0.2.0/24"},
		{"10.0.0.0/8", 24, 0, []string{"10.0.0.0/9", "10.128.0.16/28"}, "10.128.1.0/24"},
		{"10.0.0.0/8", 24, 0, []string{"0.0.0.0/1"}, ""},
		{"10.0.0.0/30", 30, 1, nil, "10.0.0.0/30"},
		{"10.0.0.0/24", 26, 3, []string{"10.0.0.192/26", "10.0.0.0/25"}, "10.0.0.128/26"},
		{"0.0.0.0/0", 0, 0, []string{"10.0.0.0/8"}, ""},
		{"8.0.0.0/5", 29, 5, []string{"12.0.0.0/6", "10.0.0.0/7", "9.0.0.0/8", "8.0.0.0/8"}, ""},
	} {
		cl := &Cluster{Base: netip.MustParsePrefix(c.base), Size: c.size, NextPool: c.next, Networks: []*Network{network(c.taken...)}}
		for range 1000 { // of 2^24, one by one, this would take minutes
			cl.NextPool = c.next
			if got := cl.freeSubnet(); got != c.want {
				t.Fatalf("%+v: %q", c, got)
			}
		}
	}
}
