package exec

import (
	"strings"
	"testing"

	"vethlab/sim/trace"
)

// A frame and the packet around it are one journey, from socket to socket.
func TestTunnel(t *testing.T) {
	b := open(t)
	b.do("a", sh(`ip link add vx0 type vxlan id 42 dstport 4789 local 10.0.0.1 remote 10.0.0.2 && ip link set vx0 up && ip addr add 10.1.0.1/24 dev vx0`))
	b.do("b", sh(`ip link add vx0 type vxlan id 42 dstport 4789 local 10.0.0.2 remote 10.0.0.1 && ip link set vx0 up && ip addr add 10.1.0.2/24 dev vx0 &&
		iptables -t mangle -A INPUT -p udp --dport 4789 -j MARK --set-mark 1`))
	b.do("a", ping("10.1.0.2")) // what is asked by ARP is known from here on
	traces := b.do("a", ping("10.1.0.2")).Traces
	if len(traces) != 2 {
		t.Fatalf("%d journeys", len(traces))
	}
	const want = "a route vx0, a OUTPUT, a POSTROUTING, a tx vx0, a tunnel vx0, a route eth0 in, a OUTPUT in, a POSTROUTING in, a tx eth0 in, " +
		"b rx eth0 in, b PREROUTING in, b route in, b INPUT in, b tunnel vx0 in, b rx vx0, b PREROUTING, b route, b INPUT, b socket"
	var got []string
	met := "" // the rule that the packet around the frame met
	for _, h := range traces[0].Hops {
		for _, s := range h.Steps {
			w := strings.TrimSpace(h.Node + " " + string(s.Point) + " " + s.Dev)
			if s.Before.Outer != nil {
				w += " in"
				met += s.RuleText
			}
			if len(got) == 0 || got[len(got)-1] != w { // of a hook each chain is told
				got = append(got, w)
			}
		}
	}
	if g := strings.Join(got, ", "); g != want || traces[0].Disposition != trace.Delivered || traces[0].Node != "b" {
		t.Errorf("went\n%s\nnot\n%s\n(%s at %s)", g, want, traces[0].Disposition, traces[0].Node)
	}
	if !strings.HasPrefix(met, "-p udp -m udp --dport 4789 -j MARK") {
		t.Errorf("met %q", met)
	}
	if err := traces[0].Validate(); err != nil {
		t.Error(err)
	}
}

// When the command that deletes a namespace is over, its macvlans answer no more.
func TestMacvlanOfDeletedNetns(t *testing.T) {
	b := open(t)
	b.do("a", sh(`ip netns add c && ip link add link eth0 name m1 type macvlan mode bridge && ip link set m1 netns c`))
	b.do("c", sh(`ip link set m1 up && ip addr add 10.0.0.3/24 dev m1`))
	if r := b.try("b", ping("10.0.0.3")); r.Status != 0 {
		t.Fatalf("it does not answer at all: %s", r.Output)
	}
	b.do("a", sh(`ip netns del c`))
	if r := b.try("b", ping("10.0.0.3")); r.Status == 0 {
		t.Errorf("it still answers: %s", r.Output)
	}
}
