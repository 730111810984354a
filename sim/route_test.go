package sim

import (
	"testing"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// A gateway that is an address of the node's own is none: the destination is
// asked for on the link (rt_set_nexthop: only a next hop of scope link is one).
func TestOwnGateway(t *testing.T) {
	l := newLab(t, "a b", `
		a# ip link add eth0 type veth peer name eth0 netns b
		a# ip link set eth0 up
		b# ip link set eth0 up
		a# ip addr add 10.0.1.1/24 dev eth0
		b# ip addr add 10.0.1.2/24 dev eth0
		b# ip addr add 10.9.0.2/16 dev eth0`)
	for _, step := range []func(){
		func() { l.try(t, "a# ip route add 10.9.0.0/16 via 10.0.1.1") },
		func() { // and in a world made from this one
			w, err := FromSnapshot(l.snapshot(), Options{Start: l.now})
			if err != nil {
				t.Fatal(err)
			}
			l.World = w
		},
	} {
		step()
		res := l.run("a# ping -c1 10.9.0.2")
		if res.Status != 0 {
			t.Errorf("no answer:\n%s%s", res.Output, res.Stderr)
		}
		if r, _ := l.Node("a").routeOutput(ipAt("10.9.0.2"), 0, nil, 0, 0); r.gateway != 0 || r.row.gateway != ipAt("10.0.1.1") {
			t.Errorf("it goes by way of %v", r.gateway)
		}
	}
}

// A socket that is connected asks for its route twice, the second time with the
// source that it found: so ping and curl fail at once where a policy rule for
// that source refuses, while a packet without a connection would leave.
func TestConnectAsksTwice(t *testing.T) {
	l := newLab(t, "a b", `
		a# ip link add eth0 type veth peer name eth0 netns b
		a# ip link set eth0 up
		b# ip link set eth0 up
		a# ip addr add 10.0.1.1/24 dev eth0
		b# ip addr add 10.0.1.2/24 dev eth0
		a# ip route add blackhole 10.0.0.0/16 table 101`)
	n := l.Node("a")
	if f := n.PolicyChange(PolicyRequest{Policy: policyFrom("10.0.1.1", 101)}); f != nil {
		t.Fatal(f)
	}
	if res := l.try(t, "a# ping -c1 10.0.1.2"); res.Status != 2 || res.Stderr != "ping: connect: Invalid argument\n" {
		t.Errorf("ping: %d %q", res.Status, res.Stderr)
	}
	if res := l.try(t, "a# curl -s -m1 http://10.0.1.2/"); res.Status != 7 {
		t.Errorf("curl: %d", res.Status)
	}
	s := n.Start("test").UDP()
	if errno := s.SendTo(ipAt("10.0.1.2"), 9, nil); errno != 0 {
		t.Errorf("sendto: %s", op.Strerror(errno))
	}
}

// Whoever answers asks for the way with the address that was asked for as its
// source: a policy rule for that source can leave the asker without an answer.
func TestNoWayBackByPolicy(t *testing.T) {
	l := newLab(t, "a b", `
		a# ip link add eth0 type veth peer name eth0 netns b
		a# ip link set eth0 up
		b# ip link set eth0 up
		a# ip addr add 10.0.1.1/24 dev eth0
		b# ip addr add 10.0.1.2/24 dev eth0`)
	if f := l.Node("b").PolicyChange(PolicyRequest{Policy: policyFrom("10.0.1.2", 102)}); f != nil {
		t.Fatal(f)
	}
	l.try(t, "b# ip route add unreachable default table 102")
	for _, c := range []struct{ line, summary string }{
		{"a# ping -c1 -W1 10.0.1.2", "ICMP echo request"},
		{"a# curl -s -m1 http://10.0.1.2/", "TCP SYN"},
	} {
		res := l.run(c.line)
		if j := journeyOf(res.Traces, c.summary, 1); len(j) == 0 || j[len(j)-1] != "no-way-back at b: no-way-back" {
			t.Errorf("%s: %q", c.line, j)
		}
	}
}

func policyFrom(src string, table int) state.Policy {
	return state.Policy{From: src, Table: table}
}
