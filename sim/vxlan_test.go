package sim

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vethlab/sim/trace"
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

// A tunnel's end that is heard of from another address is sent to there, but by
// the way to where it was, until a route changes.
func TestTunnelEndMoves(t *testing.T) {
	l := newLab(t, "h1 h2 h3", `
		h1# ip link add eth0 type veth peer name eth0 netns h2
		h1# ip link add eth1 type veth peer name eth0 netns h3
		h1# ip addr add 10.0.0.1/24 dev eth0
		h1# ip addr add 10.0.9.1/24 dev eth1
		h1# ip link set eth0 up
		h1# ip link set eth1 up
		h2# ip addr add 10.0.0.2/24 dev eth0
		h2# ip link set eth0 up
		h1# ip link add vx0 type vxlan id 42 dstport 4789 local 10.0.0.1 remote 10.0.0.2
		h2# ip link add vx0 type vxlan id 42 dstport 4789 local 10.0.0.2 remote 10.0.0.1
		h1# ip link set vx0 up
		h2# ip link set vx0 up
		h1# ip addr add 10.1.0.1/24 dev vx0
		h2# ip addr add 10.1.0.2/24 dev vx0`)
	l.run("h1# ping -c 1 10.1.0.2")
	v := l.Node("h1").link("vx0").vxlan
	v.snoop(l.Node("h2").link("vx0").mac, ipAt("10.0.9.2")) // as a packet from there does
	for _, c := range []struct{ change, by string }{
		{"h1# sysctl -w net.ipv4.conf.eth0.arp_announce=1", "eth0"}, // which routes have nothing to do with
		{"h1# ip route add 10.7.0.0/24 dev eth1", "eth1"},
	} {
		l.try(t, c.change)
		want := "h1 route " + c.by + " forward 64 in 10.0.0.1 → 10.0.9.2"
		if got := journeyOf(l.run("h1# ping -c 1 10.1.0.2").Traces, "ICMP echo request", 1); !slices.Contains(got, want) {
			t.Errorf("after %s no %q in\n%s", c.change, want, strings.Join(got, "\n"))
		}
	}
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
	mac := MAC(0x02_00_00_00_00_09)
	for _, ip := range []string{"10.0.0.2", "10.0.0.3"} {
		r := NeighRequest{Mode: Add, Dev: "br0", IP: netip.MustParseAddr(ip), MAC: &mac}
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

// tunnel joins two nodes; each has an end of it, up.
const tunnel = `
	h1# ip link add eth0 type veth peer name eth0 netns h2
	h1# ip addr add 10.0.0.1/24 dev eth0
	h1# ip link set eth0 up
	h2# ip addr add 10.0.0.2/24 dev eth0
	h2# ip link set eth0 up
	h1# ip link add vx0 type vxlan id 42 dstport 4789 local 10.0.0.1 remote 10.0.0.2
	h2# ip link add vx0 type vxlan id 42 dstport 4789 local 10.0.0.2 remote 10.0.0.1
	h1# ip link set vx0 up
	h2# ip link set vx0 up
	h1# ip addr add 10.1.0.1/24 dev vx0
	h2# ip addr add 10.1.0.2/24 dev vx0
`

// Which frames share a port of the packets around them, as measured on Linux 6.18.
func TestFlowPort(t *testing.T) {
	packetOf := func(src, dst IP, proto uint8, sport, dport uint16, hash uint32) *packet {
		return &packet{header: header{etherType: ethIP, src: src, dst: dst, proto: proto, sport: sport, dport: dport}, hash: hash}
	}
	arp := func(src, dst IP) *packet { return &packet{header: header{etherType: ethARP, src: src, dst: dst}} }
	piece := packetOf(1, 2, protoUDP, 5, 53, 0)
	piece.flags = ipMF
	for _, c := range []struct {
		name string
		a, b *packet
		same bool
	}{
		{"ARP of two", arp(1, 2), arp(2, 3), true},
		{"an echo and its reply", packetOf(1, 2, protoICMP, 7, 7, 0), packetOf(2, 1, protoICMP, 7, 7, 0), true},
		{"two pings", packetOf(1, 2, protoICMP, 7, 7, 0), packetOf(1, 2, protoICMP, 8, 8, 0), true},
		{"pings to two", packetOf(1, 2, protoICMP, 7, 7, 0), packetOf(1, 3, protoICMP, 7, 7, 0), false},
		{"two sockets of the same ports", packetOf(1, 2, protoTCP, 5, 80, 10), packetOf(1, 2, protoTCP, 5, 80, 11), false},
		{"both ways of what no socket sends", packetOf(1, 2, protoTCP, 5, 80, 0), packetOf(2, 1, protoTCP, 80, 5, 0), true},
		{"two connections", packetOf(1, 2, protoTCP, 5, 80, 0), packetOf(1, 2, protoTCP, 6, 80, 0), false},
		{"pieces, that show no ports", piece, packetOf(1, 2, protoUDP, 9, 99, 0), false},
	} {
		h, l4 := c.a.flowHash()
		k, _ := c.b.flowHash()
		if p, q := flowPort(h), flowPort(k); (p == q) != c.same || p < 32768 || p >= 61000 {
			t.Errorf("%s: ports %d and %d", c.name, p, q)
		}
		if want := c.a.proto == protoTCP; l4 != want {
			t.Errorf("%s: ports took part: %v", c.name, l4)
		}
	}
}

// What a tunnel's end sends on into the tunnel keeps its port when that was of a
// connection's; an ARP request or an echo gets one of the packet's it came in.
func TestFlowPortSentOn(t *testing.T) {
	l := newLab(t, "h1 h2", tunnel+`
		h2# ip addr del 10.1.0.2/24 dev vx0
		h2# ip link add br0 type bridge
		h2# ip link set vx0 master br0
		h2# ip link set br0 up`)
	for _, dev := range l.byName["h2"].links {
		if dev.port != nil {
			dev.port.hairpin = true // bridge link set dev vx0 hairpin on
		}
	}
	ports := map[string]map[uint16]bool{}
	for _, tr := range l.run("h1# ping -c 1 -W 0.1 10.1.0.9").Traces {
		for _, hop := range tr.Hops {
			for _, s := range hop.Steps {
				if s.Point == trace.Tunnel && s.After.Outer != nil {
					if ports[hop.Node] == nil {
						ports[hop.Node] = map[uint16]bool{}
					}
					ports[hop.Node][s.After.Outer.SrcPort] = true
				}
			}
		}
	}
	if len(ports["h1"]) != 1 || len(ports["h2"]) != 1 {
		t.Fatalf("ports %v", ports)
	}
	for p := range ports["h1"] {
		if ports["h2"][p] {
			t.Errorf("both send from %d", p)
		}
	}
}

// A frame for an end in the same namespace takes no packet (encap_bypass_if_local),
// and its sender is learned to be behind 127.0.0.1.
func TestTunnelOfTheSameNode(t *testing.T) {
	l := newLab(t, "h1 h2", tunnel+`
		h1# ip netns add c
		h1# ip link add vx1 type vxlan id 43 dstport 4789 remote 10.0.0.1
		h1# ip link add vx2 type vxlan id 43 dstport 4790 remote 10.0.0.1
		h1# ip link set vx1 up
		h1# ip link set vx2 up
		h1# ip addr add 10.3.0.1/24 dev vx1
		h1# ip addr add 10.4.0.1/24 dev vx2`)
	res := l.run("h1# ping -c 1 -W 0.2 10.3.0.2")
	if got := strings.Join(journeyOf(res.Traces, "ARP who-has 10.3.0.2", 1), "\n"); got != "h1 tx vx1\nh1 rx vx1\nunclaimed at h1: unclaimed" {
		t.Errorf("the question went\n%s", got)
	}
	n := l.byName["h1"]
	if e := n.links[len(n.links)-2].vxlan.find(n.links[len(n.links)-2].mac); e == nil || e.remotes[0] != loopbackIP {
		t.Errorf("learned: %+v", e)
	}
	l.run("h1# ip link set vx1 down") // vx2's own port remains open: nobody has its VNI at another
	res = l.run("h1# ping -c 1 -W 0.2 10.4.0.2")
	if got := journeyOf(res.Traces, "ARP who-has 10.4.0.2", 1); len(got) < 2 || got[1] != "h1 rx vx2" {
		t.Errorf("the question went %v", got)
	}
}

// A packet around a frame that nobody takes is refused; the frame ends there, but
// a question ends with whom it was for.
func TestTunnelRefused(t *testing.T) {
	l := newLab(t, "h1 h2", tunnel+`
		h2# ip link set vx0 down
		h1# ip netns add c
		h1# ip link add v1 type veth peer name eth0 netns c
		h1# ip link add br0 type bridge
		h1# ip link set v1 master br0
		h1# ip link set vx0 master br0
		h1# ip link set v1 up
		h1# ip link set br0 up
		h1# ip addr add 10.2.0.1/24 dev br0
		c# ip link set eth0 up
		c# ip addr add 10.2.0.9/24 dev eth0`)
	res := l.run("c# ping -c 1 -W 0.2 10.2.0.7")
	got := journeyOf(res.Traces, "ARP who-has 10.2.0.7", 1)
	if len(got) < 2 || got[len(got)-1] != "delivered at h2: refused" || got[len(got)-2] != "h2 socket in 10.0.0.1 → 10.0.0.2" {
		t.Errorf("for nobody: %v", got)
	}
	res = l.run("c# ping -c 1 10.2.0.1")
	if got := journeyOf(res.Traces, "ARP who-has 10.2.0.1", 1); got[len(got)-1] != "delivered at h1: delivered" {
		t.Errorf("for the bridge's node: %v", got)
	}
	res = l.run(`
		h1# ip neigh flush dev br0
		h1# ping -c 1 10.2.0.9`) // the tunnel's port is the newest: flooded first
	if got := journeyOf(res.Traces, "ARP who-has 10.2.0.9", 1); got[len(got)-1] != "delivered at c: delivered" {
		t.Errorf("for the container: %v", got)
	}
}

// A frame for everybody goes to each end in a packet of its own.
func TestTunnelFlood(t *testing.T) {
	l := newLab(t, "h1 h2 h3", `
		h1# ip link add br0 type bridge
		h1# ip link add p2 type veth peer name eth0 netns h2
		h1# ip link add p3 type veth peer name eth0 netns h3
		h1# ip link set p2 master br0
		h1# ip link set p3 master br0
		h1# ip link set p2 up
		h1# ip link set p3 up
		h1# ip link set br0 up
		h1# ip addr add 10.0.0.1/24 dev br0
		h2# ip addr add 10.0.0.2/24 dev eth0
		h2# ip link set eth0 up
		h3# ip addr add 10.0.0.3/24 dev eth0
		h3# ip link set eth0 up
		h1# ip link add vx0 type vxlan id 42 dstport 4789 remote 10.0.0.2
		h2# ip link add vx0 type vxlan id 42 dstport 4789 remote 10.0.0.1
		h3# ip link add vx0 type vxlan id 42 dstport 4789 remote 10.0.0.1
		h1# ip link set vx0 up
		h2# ip link set vx0 up
		h3# ip link set vx0 up
		h1# ip addr add 10.1.0.1/24 dev vx0
		h2# ip addr add 10.1.0.2/24 dev vx0
		h3# ip addr add 10.1.0.3/24 dev vx0`)
	for _, dev := range l.byName["h1"].links {
		if dev.vxlan != nil { // bridge fdb append 00:00:00:00:00:00 dev vx0 dst 10.0.0.3
			dev.vxlan.fdb[0].remotes = append(dev.vxlan.fdb[0].remotes, ipOf(netip.MustParseAddr("10.0.0.3")))
		}
	}
	l.run("h1# ping -c 1 10.0.0.2")
	l.run("h1# ping -c 1 10.0.0.3")
	got := strings.Join(journeyOf(l.run("h1# ping -c 1 10.1.0.3").Traces, "ARP who-has 10.1.0.3", 1), "\n")
	for _, want := range []string{"h1 tunnel vx0 in 10.0.0.1 → 10.0.0.2\n", "h1 tunnel vx0 in 10.0.0.1 → 10.0.0.3\n", "h2 tunnel vx0\nh2 rx vx0\n", "h3 tunnel vx0\nh3 rx vx0\n", "\ndelivered at h3: delivered"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// A packet too large with its frame goes in pieces, of which each is a packet;
// the frame's journey goes on where they are put together.
func TestTunnelPieces(t *testing.T) {
	l := newLab(t, "h1 h2", tunnel)
	l.run("h1# ping -c 1 10.1.0.2")
	res := l.run("h1# ping -c 1 -s 1472 10.1.0.2")
	l.wants(res, "ICMP echo request", 1, `
		h1 route vx0 forward 64
		h1 OUTPUT pass 64
		h1 POSTROUTING pass 64
		h1 tx vx0 64
		h1 tunnel vx0 64 in 10.0.0.1 → 10.0.0.2
		h1 route eth0 forward 64 in 10.0.0.1 → 10.0.0.2
		h1 OUTPUT pass 64 in 10.0.0.1 → 10.0.0.2
		h1 POSTROUTING pass 64 in 10.0.0.1 → 10.0.0.2
		h2 INPUT pass 64 in 10.0.0.1 → 10.0.0.2
		h2 tunnel vx0 64
		h2 rx vx0 64
		h2 PREROUTING pass 64
		h2 route local 64
		h2 INPUT pass 64
		h2 socket 64
		delivered at h2: delivered`)
	l.wants(res, "fragment of UDP", 1, `
		h1 tx eth0 64
		h2 rx eth0 64
		h2 PREROUTING pass 64
		h2 route local 64
		delivered at h2: reassembled`)
}

// A node tells of no error while it sends an answer of the kernel's own
// (icmp_xmit_lock, net/ipv4/icmp.c).
func TestNoErrorWithinAnAnswer(t *testing.T) {
	l := newLab(t, "h1 h2", tunnel+`
		h2# iptables -A OUTPUT -p icmp -j REJECT`)
	for _, tr := range l.run("h1# ping -c 1 -W 0.2 10.0.0.2").Traces {
		if strings.HasPrefix(tr.Summary, "ICMP") && tr.Summary != "ICMP echo request" && tr.Summary != "ICMP echo reply" {
			t.Errorf("%s: %v", tr.Summary, written(&tr))
		}
	}
}

// A tunnel that answers ARP itself does so for the neighbours it was told of, and
// lets no question through (arp_reduce).
func TestTunnelAnswersARP(t *testing.T) {
	l := newLab(t, "h1 c1", `
		h1# ip link add eth0 type veth peer name eth0 netns c1
		h1# ip link add br0 type bridge
		h1# ip link add vx0 mtu 1450 type vxlan id 42 dstport 4789 proxy l2miss l3miss
		h1# ip link set eth0 master br0
		h1# ip link set vx0 master br0
		h1# ip link set eth0 up
		h1# ip link set vx0 up
		h1# ip link set br0 up
		c1# ip addr add 10.5.0.2/24 dev eth0
		c1# ip link set eth0 up`)
	mac := MAC(0x02_42_0a_05_00_04)
	if f := l.byName["h1"].NeighChange(NeighRequest{Mode: Add, Dev: "vx0", IP: netip.MustParseAddr("10.5.0.4"), MAC: &mac}); f != nil {
		t.Fatal(f)
	}
	known := l.run("c1# ping -c 1 -W 0.2 10.5.0.4")
	l.wants(known, "ARP who-has 10.5.0.4", 1, `
		c1 tx eth0
		h1 rx eth0
		h1 rx br0
		h1 tx vx0
		delivered at h1: delivered`)
	l.wants(known, "ARP 10.5.0.4 is-at 02:42:0a:05:00:04", 1, `
		h1 rx vx0
		h1 bridge br0
		h1 tx eth0
		c1 rx eth0
		delivered at c1: delivered`)
	l.wants(l.run("c1# ping -c 1 -W 0.2 10.5.0.9"), "ARP who-has 10.5.0.9", 1, `
		c1 tx eth0
		h1 rx eth0
		h1 rx br0
		h1 tx vx0
		unbridged at h1: no-tunnel`)
}
