package sim

import "testing"

const routerWorld = `
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

func TestThinPath(t *testing.T) {
	l := newLab(t, "host a b c", routerWorld)
	res := l.run("a# ping -c 1 10.0.0.2")
	t.Log(res.Output, res.Stderr)
	for i := range res.Traces {
		t.Log(res.Traces[i].Summary)
		for _, s := range written(&res.Traces[i]) {
			t.Log("   ", s)
		}
	}
	res = l.run("a# ping -c 1 172.18.0.3")
	t.Log(res.Output, res.Stderr)
	for i := range res.Traces {
		t.Log(res.Traces[i].Summary)
		for _, s := range written(&res.Traces[i]) {
			t.Log("   ", s)
		}
	}
}
