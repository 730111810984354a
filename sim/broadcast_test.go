package sim

import (
	"strings"
	"testing"
)

const neighbours = `
	a# ip link add br0 type bridge
	a# ip link add p1 type veth peer name eth0 netns b
	a# ip link add p2 type veth peer name eth0 netns c
	a# ip link set p1 master br0
	a# ip link set p2 master br0
	a# ip link set p1 up
	a# ip link set p2 up
	a# ip link set br0 up
	a# ip addr add 10.0.0.1/24 dev br0
	b# ip addr add 10.0.0.2/24 dev eth0
	b# ip link set eth0 up
	c# ip addr add 10.0.0.3/24 dev eth0
	c# ip link set eth0 up
`

// A question that several copies of are under way ends with the first who was
// asked, and else with a copy that was lost.
func TestBroadcastEnds(t *testing.T) {
	l := newLab(t, "a b c", neighbours)
	for _, c := range []struct{ ask, want, also string }{
		{"10.0.0.1", "delivered at a: delivered", "c"},
		{"10.0.0.3", "delivered at c: delivered", ""},
		{"10.0.0.9", "unclaimed", "c"},
	} {
		for _, tr := range l.run("b# ping -c 1 -W 0.1 " + c.ask).Traces {
			if tr.Summary != "ARP who-has "+c.ask {
				continue
			}
			got := written(&tr)
			if end := got[len(got)-1]; !strings.HasPrefix(end, c.want) || strings.Join(tr.Also, " ") != c.also {
				t.Errorf("who has %s: %s, also %v", c.ask, end, tr.Also)
			}
		}
	}
}

// Whether a packet is for everybody its route says: by a link that has no address
// of the network it is a packet like any, but for the MAC address.
func TestBroadcastByAnotherLink(t *testing.T) {
	l := newLab(t, "a b c", neighbours)
	if res := l.run("a# ping -c 1 -W 0.1 10.0.0.255"); res.Status != 2 || !strings.Contains(res.Stderr, "Then -b") {
		t.Errorf("status %d, %s", res.Status, res.Stderr)
	}
	res := l.run("a# ping -c 1 -W 0.1 -I p1 10.0.0.255")
	if got := journeyOf(res.Traces, "ICMP echo request", 1); res.Status != 1 || len(got) == 0 || got[len(got)-1] != "delivered at b: delivered" {
		t.Errorf("status %d, %s, %v", res.Status, res.Stderr, got)
	}
}
