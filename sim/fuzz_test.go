package sim

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// FuzzEngine builds a world from bytes and sends traffic through it: whatever
// is connected to whatever, nothing panics, every journey holds together, and
// what goes in circles is stopped.
func FuzzEngine(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 1, 2, 0, 1, 4, 0, 9, 1, 0, 9})
	// Two bridges joined by two cables: a loop.
	f.Add([]byte{1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1, 2, 0, 0, 2, 0, 1, 2, 0, 2, 2, 1, 1, 2, 1, 2, 4, 0, 0, 9, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 96 {
			return
		}
		spec := op.World{Name: "fuzz"}
		names := []string{"n0", "n1", "n2"}
		for _, n := range names {
			spec.Nodes = append(spec.Nodes, op.NodeSpec{Name: n, Kind: state.Machine})
		}
		ctx := context.Background()
		w, err := New(ctx, spec, Options{})
		if err != nil {
			t.Fatal(err)
		}
		next := func() int {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b)
		}
		links := []string{"lo", "br0", "v0", "v1", "v2", "x0", "m0"}
		link := func() string { return links[next()%len(links)] }
		addr := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(next() % 3), byte(next() % 6)}) }
		up := true
		made := 0
		for range 24 {
			if len(data) == 0 {
				break
			}
			var o op.Op
			n := names[next()%len(names)]
			switch next() % 12 {
			case 0:
				a, b := w.Node(n), w.Node(names[next()%len(names)])
				w.Apply(ctx, a.name, op.LinkAdd{Name: links[2+made%3], Kind: "veth", Peer: "p" + links[2+made%3]})
				w.Apply(ctx, a.name, op.LinkSet{Name: "p" + links[2+made%3], NewName: links[2+(made+1)%3], Netns: b.name})
				made++
				continue
			case 1:
				o = op.LinkAdd{Name: "br0", Kind: "bridge"}
			case 2:
				o = op.LinkSet{Name: link(), Master: "br0"}
			case 3:
				o = op.LinkSet{Name: link(), Up: &up}
			case 4:
				o = op.AddrAdd{Dev: link(), Prefix: netip.PrefixFrom(addr(), 24)}
			case 5:
				o = op.RouteAdd{Route: op.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: addr()}}
			case 6:
				o = op.LinkAdd{Name: "x0", Kind: "vxlan", VNI: 1, Remote: addr(), Port: 4789}
			case 7:
				o = op.LinkAdd{Name: "m0", Kind: "macvlan", Parent: link()}
			case 8:
				o = op.SysctlSet{Key: "net.ipv4.ip_forward", Value: "1"}
			case 9:
				o = op.RuleAppend{Table: "nat", Chain: "PREROUTING", Spec: []string{"-p", "icmp", "-j", "DNAT", "--to-destination", addr().String()}}
			case 10:
				o = op.LinkDel{Name: link()}
			default:
				o = op.Ping{Dst: addr(), Count: 1, Wait: 100 * time.Millisecond, Size: next() * 16}
			}
			play(t, w, n, o)
		}
		for _, n := range names {
			play(t, w, n, op.Ping{Dst: addr(), Count: 1, Wait: 100 * time.Millisecond})
		}
		play(t, w, "n0", op.Sleep{Duration: 40 * time.Second})
		if _, err := w.Snapshot(ctx); err != nil {
			t.Error(err)
		}
	})
}

func play(t *testing.T, w *World, node string, o op.Op) {
	t.Helper()
	res, err := w.Apply(context.Background(), node, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range res.Traces {
		if err := res.Traces[i].Validate(); err != nil {
			t.Errorf("%s# %s: %v", node, o, err)
		}
	}
}
