package sim

import (
	"strings"
	"testing"
)

// bridged is a host with two containers a and b on its bridge, and c beyond a
// network of its own.
const bridged = `
	host# ip link add br0 type bridge
	host# ip link set br0 up
	host# ip addr add 172.18.0.1/16 dev br0
	host# ip link add v1 type veth peer name eth0 netns a
	host# ip link set v1 master br0
	host# ip link set v1 up
	a# ip link set eth0 up
	a# ip addr add 172.18.0.2/16 dev eth0
	a# ip route add default via 172.18.0.1
	host# ip link add v2 type veth peer name eth0 netns b
	host# ip link set v2 master br0
	host# ip link set v2 up
	b# ip link set eth0 up
	b# ip addr add 172.18.0.3/16 dev eth0
	b# ip route add default via 172.18.0.1
	host# ip link add eth0 type veth peer name eth0 netns c
	host# ip link set eth0 up
	host# ip addr add 10.0.0.1/24 dev eth0
	c# ip link set eth0 up
	c# ip addr add 10.0.0.2/24 dev eth0
	c# ip route add default via 10.0.0.1
	host# sysctl -w net.ipv4.ip_forward=1
`

func TestRouted(t *testing.T) {
	l := newLab(t, "host a b c", bridged)
	res := l.run("a# ping -c 1 10.0.0.2")
	l.wants(res, "ICMP echo request", 1, `
		a route eth0 forward 64
		a OUTPUT pass 64
		a POSTROUTING pass 64
		a tx eth0 64
		host rx v1 64
		host PREROUTING pass 64
		host rx br0 64
		host route eth0 forward 64
		host FORWARD pass 63
		host POSTROUTING pass 63
		host tx eth0 63
		c rx eth0 63
		c PREROUTING pass 63
		c route local 63
		c INPUT pass 63
		c socket 63
		delivered at c: delivered`)
}

func TestBridged(t *testing.T) {
	l := newLab(t, "host a b c", bridged)
	res := l.run("a# ping -c 1 172.18.0.3")
	l.wants(res, "ARP who-has 172.18.0.3", 1, `
		a tx eth0
		host rx v1
		host rx br0
		host tx v2
		b rx eth0
		delivered at b: delivered`)
	l.wants(res, "ICMP echo request", 1, `
		a route eth0 forward 64
		a OUTPUT pass 64
		a POSTROUTING pass 64
		a tx eth0 64
		host rx v1 64
		host PREROUTING pass 64
		host bridge br0 64
		host FORWARD pass 64
		host POSTROUTING pass 64
		host tx v2 64
		b rx eth0 64
		b PREROUTING pass 64
		b route local 64
		b INPUT pass 64
		b socket 64
		delivered at b: delivered`)
	// Without br_netfilter, a bridge is a bridge.
	res = l.run(`host# sysctl -w net.bridge.bridge-nf-call-iptables=0
		a# ping -c 1 172.18.0.3`)
	l.wants(res, "ICMP echo reply", 1, `
		b route eth0 forward 64
		b OUTPUT pass 64
		b POSTROUTING pass 64
		b tx eth0 64
		host rx v2 64
		host bridge br0 64
		host tx v1 64
		a rx eth0 64
		a PREROUTING pass 64
		a route local 64
		a INPUT pass 64
		a socket 64
		delivered at a: delivered`)
}

func TestPortFlags(t *testing.T) {
	l := newLab(t, "host a b c", bridged)
	l.run("a# ping -c 1 172.18.0.3")
	l.Node("host").link("v1").port.isolated = true
	l.Node("host").link("v2").port.isolated = true
	res := l.run("a# ping -c 1 172.18.0.3")
	if got := strings.Join(journeyOf(res.Traces, "ICMP echo request", 1), "\n"); !strings.HasSuffix(got, "unbridged at host: isolated") {
		t.Errorf("between isolated ports:\n%s", got)
	}
	if res = l.run("a# ping -c 1 172.18.0.1"); res.Status != 0 {
		t.Errorf("from an isolated port to the bridge itself: %s", res.Output)
	}
}

func TestErrors(t *testing.T) {
	l := newLab(t, "host a b c", bridged)
	for _, x := range []struct{ line, packet, ends, prints string }{
		{"a# ping -c 1 -t 1 10.0.0.2", "ICMP time to live exceeded", "delivered at a: delivered", "Time to live exceeded"},
		{"host# ip link set eth0 mtu 1400", "", "", ""},
		{"c# ip link set eth0 mtu 1400", "", "", ""},
		{"a# ping -c 1 -M do -s 1450 10.0.0.2", "ICMP fragmentation needed", "delivered at a: delivered", "(mtu = 1400)"},
		{"a# ping -c 1 -s 3000 10.0.0.2", "ICMP echo request", "delivered at c: delivered", "1 received"},
		{"host# ip route add prohibit 10.7.0.0/16", "", "", ""},
		{"a# ping -c 1 10.7.0.1", "ICMP communication prohibited", "delivered at a: delivered", "Packet filtered"},
		{"host# ip route add blackhole 10.8.0.0/16", "", "", ""},
		{"a# ping -c 1 10.8.0.1", "ICMP echo request", "no-route at host: blackhole", "0 received"},
		{"host# sysctl -w net.ipv4.ip_forward=0", "", "", ""},
		{"a# ping -c 1 10.0.0.2", "ICMP echo request", "forwarding-off at host: forwarding-off", "0 received"},
	} {
		res := l.run(x.line)
		if x.packet == "" {
			continue
		}
		if got := strings.Join(journeyOf(res.Traces, x.packet, 1), "\n"); !strings.HasSuffix(got, "\n"+x.ends) {
			t.Errorf("%s: %s went\n%s\nnot to %s", x.line, x.packet, got, x.ends)
		}
		if !strings.Contains(res.Output, x.prints) {
			t.Errorf("%s printed\n%s\nwithout %q", x.line, res.Output, x.prints)
		}
	}
}

// A neighbour that does not answer is asked for three times, a second apart;
// then the sender is told.
func TestUnanswered(t *testing.T) {
	l := newLab(t, "host a b c", bridged)
	res := l.run("a# ping -c 1 -W 5 172.18.0.99")
	l.wants(res, "ICMP host unreachable", 1, `
		a route lo local 64
		a OUTPUT pass 64
		a POSTROUTING pass 64
		a tx lo 64
		a rx lo 64
		a PREROUTING pass 64
		a route local 64
		a INPUT pass 64
		a socket 64
		delivered at a: delivered`)
	asked := 0
	for i := range res.Traces {
		if res.Traces[i].Summary == "ARP who-has 172.18.0.99" {
			asked++
		}
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}
