package sim

import (
	"net/netip"
	"strings"
	"testing"
)

func TestVXLAN(t *testing.T) {
	l := newLab(t, "h1 h2", `
		h1# ip link add eth0 type veth peer name eth0 netns h2
		h1# ip addr add 10.0.0.1/24 dev eth0
		h1# ip link set eth0 up
		h2# ip addr add 10.0.0.2/24 dev eth0
		h2# ip link set eth0 up
		h1# ip link add vx0 type vxlan id 42 dstport 4789 local 10.0.0.1 remote 10.0.0.2 dev eth0
		h2# ip link add vx0 type vxlan id 42 dstport 4789 local 10.0.0.2 remote 10.0.0.1 dev eth0
		h1# ip link set vx0 up
		h2# ip link set vx0 up
		h1# ip addr add 10.1.0.1/24 dev vx0
		h2# ip addr add 10.1.0.2/24 dev vx0`)
	l.wants(l.run("h1# ping -c 1 10.1.0.2"), "ICMP echo request", 1, `
		h1 route vx0 forward 64
		h1 OUTPUT pass 64
		h1 POSTROUTING pass 64
		h1 tx vx0 64
		h1 tunnel vx0 64 in 10.0.0.1 → 10.0.0.2
		h1 route eth0 forward 64 in 10.0.0.1 → 10.0.0.2
		h1 OUTPUT pass 64 in 10.0.0.1 → 10.0.0.2
		h1 POSTROUTING pass 64 in 10.0.0.1 → 10.0.0.2
		h1 tx eth0 64 in 10.0.0.1 → 10.0.0.2
		h2 rx eth0 64 in 10.0.0.1 → 10.0.0.2
		h2 PREROUTING pass 64 in 10.0.0.1 → 10.0.0.2
		h2 route local 64 in 10.0.0.1 → 10.0.0.2
		h2 INPUT pass 64 in 10.0.0.1 → 10.0.0.2
		h2 tunnel vx0 64
		h2 rx vx0 64
		h2 PREROUTING pass 64
		h2 route local 64
		h2 INPUT pass 64
		h2 socket 64
		delivered at h2: delivered`)
}

// A tunnel whose packets leave by the bridge that it is a port of.
func TestTunnelThroughItself(t *testing.T) {
	l := newLab(t, "h1", `
		h1# ip link add br0 type bridge
		h1# ip link set br0 address 02:00:00:00:00:01
		h1# ip addr add 10.0.0.1/24 dev br0
		h1# ip link set br0 up
		h1# ip link add vx0 type vxlan id 42 dstport 4789 remote 10.0.0.2
		h1# ip link set vx0 master br0
		h1# ip link set vx0 up`)
	for _, ip := range []string{"10.0.0.2", "10.0.0.3"} {
		r := NeighRequest{Mode: Add, Dev: "br0", IP: netip.MustParseAddr(ip), MAC: &MAC{2, 0, 0, 0, 0, 9}}
		if f := l.byName["h1"].NeighChange(r); f != nil {
			t.Fatal(f)
		}
	}
	res := l.run("h1# ping -c 1 -W 0.2 10.0.0.3")
	got := strings.Join(journeyOf(res.Traces, "ICMP echo request", 1), "\n")
	if n := strings.Count(got, "tx vx0"); n != 3 { // as on Linux 6.18
		t.Errorf("vx0 sent %d times:\n%s", n, got)
	}
	if !strings.Contains(got, "\nlooped at h1") {
		t.Errorf("it did not end as a loop:\n%s", got)
	}
}
