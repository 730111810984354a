package sim

import "testing"

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
