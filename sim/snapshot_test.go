package sim

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"vethlab/sim/state"
)

// Links that share a network were there one after the other, and are again.
func TestSnapshotSharedNetwork(t *testing.T) {
	l := newLab(t, "host", `
		host# ip link add v1 type veth peer name v2
		host# ip link add br0 type bridge
		host# ip link set v1 up
		host# ip link set v2 up
		host# ip link set br0 up
		host# ip addr add 10.0.1.1/24 dev br0
		host# ip addr add 10.0.1.2/24 dev v2
		host# ip addr add 10.0.1.3/24 dev v1`)
	w, err := FromSnapshot(l.snapshot(), Options{Start: l.now})
	if err != nil {
		t.Fatal(err)
	}
	var before, after []string
	for _, r := range l.Node("host").Routes() {
		before = append(before, r.String())
	}
	for _, r := range w.Node("host").Routes() {
		after = append(after, r.String())
	}
	if strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	l := newLab(t, "host client", `
		host# ip netns add ns1
		host# ip link add br0 type bridge
		host# ip link set br0 up
		host# ip addr add 172.18.0.1/16 brd + dev br0
		host# ip link add veth0 type veth peer name eth0 netns ns1
		host# ip link set veth0 master br0
		host# ip link set veth0 up
		ns1# ip link set eth0 up
		ns1# ip addr add 172.18.0.2/16 dev eth0
		ns1# ip addr add 172.18.0.3/16 dev eth0
		ns1# ip route add default via 172.18.0.1
		ns1# ip route add blackhole 10.9.0.0/16
		ns1# ip route add 10.8.0.0/16 via 172.18.0.7 metric 5 table 100
		host# ip link add to-client type veth peer name eth0 netns client
		host# ip link set to-client up
		client# ip link set eth0 up
		host# ip addr add 10.0.0.1/24 dev to-client
		client# ip addr add 10.0.0.2/24 dev eth0
		client# ip link add link eth0 name mv type macvlan mode bridge
		host# ip link add vx type vxlan id 7 remote 10.0.0.2 dstport 4789 dev to-client
		host# sysctl -w net.ipv4.ip_forward=1
		host# sysctl -w net.ipv4.neigh.br0.retrans_time_ms=500
		host# sysctl -w net.ipv4.conf.to-client.rp_filter=1
		host# iptables -t nat -A POSTROUTING -s 172.18.0.0/16 ! -o br0 -j MASQUERADE
		host# iptables -P FORWARD DROP`)
	before := l.snapshot()
	w, err := FromSnapshot(before, Options{Start: l.now})
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, before, w.snapshot())

	// Both worlds go on alike.
	on := []string{"host# ip link set veth0 down", "host# ip addr del 10.0.0.1/24 dev to-client", "ns1# ip addr del 172.18.0.2/16 dev eth0",
		"host# ip link add x type veth peer name y", "host# ip netns del ns1"}
	for _, line := range on {
		node, o := parse(t, line)
		for _, world := range []*World{l.World, w} {
			if res, err := world.Apply(t.Context(), node, o); err != nil || res.Status != 0 {
				t.Fatalf("%s: %+v, %v", line, res, err)
			}
		}
	}
	for _, d := range state.Diff(l.snapshot().Canonical(), w.snapshot().Canonical()) {
		t.Errorf("after the same commands: %s", d)
	}
}

func sameJSON(t *testing.T, a, b *state.Snapshot) {
	t.Helper()
	for _, d := range state.Diff(a, b) {
		t.Error(d)
	}
}

// TestKernelSnapshot makes a world of what was recorded on Linux 6.18 with
// `vethlab shell --backend kernel --world docker-host --json`.
func TestKernelSnapshot(t *testing.T) {
	b, err := os.ReadFile("testdata/kernel-snapshot.json")
	if err != nil {
		t.Fatal(err)
	}
	var s state.Snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	w, err := FromSnapshot(&s, Options{Start: 1767225600e9})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range state.Diff(&s, w.snapshot()) {
		// The model tells more, and an address nobody answered for in the
		// meantime is not asked for again.
		if d.A != "" && d.A != "INCOMPLETE" {
			t.Error(d)
		}
	}
	if len(s.Nodes) < 5 || len(s.Node("host").Links) < 4 {
		t.Error("the recording holds too little")
	}
}

func TestBadSnapshot(t *testing.T) {
	good := func() *state.Snapshot {
		l := newLab(t, "host", `
			host# ip link add name a type veth peer name b
			host# ip link set dev a up
			host# ip addr add 10.0.0.1/24 dev a`)
		return l.snapshot()
	}
	for want, spoil := range map[string]func(*state.Snapshot){
		"version 9":             func(s *state.Snapshot) { s.Version = 9 },
		"a name of its own":     func(s *state.Snapshot) { s.Nodes = append(s.Nodes, s.Nodes[0]) },
		`kind "boat"`:           func(s *state.Snapshot) { s.Nodes[0].Kind = "boat" },
		"no loopback":           func(s *state.Snapshot) { s.Nodes[0].Links = s.Nodes[0].Links[1:] },
		"the name is taken":     func(s *state.Snapshot) { s.Nodes[0].Links[2].Name = s.Nodes[0].Links[1].Name },
		"the index 2 is taken":  func(s *state.Snapshot) { s.Nodes[0].Links[2].Index = 2 },
		`type "wireguard"`:      func(s *state.Snapshot) { s.Nodes[0].Links[1].Type = "wireguard" },
		"is no MAC address":     func(s *state.Snapshot) { s.Nodes[0].Links[1].MAC = "xyz" },
		"is no bridge":          func(s *state.Snapshot) { s.Nodes[0].Links[1].Master = "b" },
		`no parent "q"`:         func(s *state.Snapshot) { s.Nodes[0].Links[1].Parent = "q" },
		"its own parent":        func(s *state.Snapshot) { s.Nodes[0].Links[1].Parent = s.Nodes[0].Links[1].Name },
		"no device":             func(s *state.Snapshot) { s.Nodes[0].Routes[0].Dev = "q" },
		"not complete":          func(s *state.Snapshot) { s.Nodes[0].Routes[0].Type = "odd" },
		"policy rule":           func(s *state.Snapshot) { s.Nodes[0].Policies[0].From = "x" },
		`cannot be "-1"`:        func(s *state.Snapshot) { s.Nodes[0].Sysctls["net.ipv4.ip_default_ttl"] = "-1" },
		"a vxlan link needs":    func(s *state.Snapshot) { s.Nodes[0].Links[1].Type = "vxlan" },
		"peer a of host is":     func(s *state.Snapshot) { s.Nodes[0].Links[2].PeerName = s.Nodes[0].Links[2].Name },
		"not of IPv4":           func(s *state.Snapshot) { s.Nodes[0].Links[2].Addrs = []state.Addr{{}} },
		"no broadcast address":  func(s *state.Snapshot) { s.Nodes[0].Links[2].Addrs[0].Broadcast = "x" },
		"has one loopback link": func(s *state.Snapshot) { s.Nodes[0].Links[1].Type = "loopback" },
		"cannot have that name": func(s *state.Snapshot) { s.Nodes[0].Links[1].Name = "a/b" },
		"cannot have an MTU of": func(s *state.Snapshot) { s.Nodes[0].Links[1].MTU = -1 },
		"or none":               func(s *state.Snapshot) { s.Nodes[0].Links[1].Index = 0 },
	} {
		s := good()
		spoil(s)
		if w, err := FromSnapshot(s, Options{}); err == nil || w != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := FromSnapshot(nil, Options{}); err == nil {
		t.Error("nothing makes a world")
	}
}
