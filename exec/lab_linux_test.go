package exec

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"testing"
	"time"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

func TestMain(m *testing.M) {
	Init()
	os.Exit(m.Run())
}

func ptr[T any](v T) *T { return &v }

func TestThin(t *testing.T) {
	ctx := context.Background()
	t0 := time.Now()
	l, err := Open(ctx, op.World{Name: "t", Nodes: []op.NodeSpec{{Name: "host", Kind: state.Machine}, {Name: "client", Kind: state.Machine}}, Setup: []op.Line{
		{Node: "host", Op: op.LinkAdd{Name: "eth0", Kind: "veth", Peer: "eth0", PeerNetns: "client"}},
		{Node: "host", Op: op.AddrAdd{Dev: "eth0", Prefix: netip.MustParsePrefix("10.0.0.1/24")}},
		{Node: "client", Op: op.AddrAdd{Dev: "eth0", Prefix: netip.MustParsePrefix("10.0.0.2/24")}},
		{Node: "client", Op: op.LinkSet{Name: "eth0", Up: ptr(true)}},
		{Node: "host", Op: op.LinkSet{Name: "eth0", Up: ptr(true)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Log("open", time.Since(t0))
	for _, o := range []op.Op{
		op.RuleAppend{Table: "filter", Chain: "OUTPUT", Spec: []string{"-p", "icmp", "-j", "ACCEPT"}},
		op.RuleAppend{Table: "nat", Chain: "POSTROUTING", Spec: []string{"-o", "eth0", "-j", "SNAT", "--to-source", "10.0.0.77"}},
		op.Ping{Dst: netip.MustParseAddr("10.0.0.2"), Count: 1},
		op.NetnsAdd{Name: "ns1"}, op.NetnsAdd{Name: "ns1"},
		op.Tool{Argv: []string{"sh", "-c", "ls -la /var/run/netns; ip netns; ip -n ns1 link; ip netns add ns2; id; mount | head -3; hostname"}},
		op.LinkDel{Name: "nope"},
		op.HTTPServe{Port: 80},
	} {
		t0 := time.Now()
		r, err := l.Apply(ctx, "host", o)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.MarshalIndent(r, "", " ")
		t.Logf("%s  %v\n%s\n%s", o, time.Since(t0), b, r.Output)
	}
	s, err := l.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.MarshalIndent(s, "", " ")
	t.Logf("%s", b)
}
