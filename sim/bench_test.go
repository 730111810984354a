package sim

import (
	"testing"

	"vethlab/sim/trace"
)

// A Docker host as the lessons build it, between a client and a container:
// DNAT to the container, MASQUERADE outwards, Docker's rules in FORWARD, a
// bridge with br_netfilter. The container drops what reaches it, so that
// nothing comes back.
const dockerLike = `
host# ip link add eth0 type veth peer name eth0 netns client
host# ip link set eth0 up
host# ip addr add 10.24.254.11/24 dev eth0
host# ip link add docker0 type bridge
host# ip link set docker0 up
host# ip addr add 172.17.0.1/16 dev docker0
host# ip link add veth1 type veth peer name eth0 netns web
host# ip link set veth1 master docker0
host# ip link set veth1 up
host# sysctl -w net.ipv4.ip_forward=1
host# iptables -P FORWARD DROP
host# iptables -N DOCKER
host# iptables -N DOCKER-USER
host# iptables -A DOCKER-USER -j RETURN
host# iptables -A FORWARD -j DOCKER-USER
host# iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
host# iptables -A FORWARD -o docker0 -j DOCKER
host# iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
host# iptables -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p udp -m udp --dport 80 -j ACCEPT
host# iptables -t nat -N DOCKER
host# iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
host# iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
host# iptables -t nat -A DOCKER ! -i docker0 -p udp -m udp --dport 8088 -j DNAT --to-destination 172.17.0.2:80
client# ip link set eth0 up
client# ip addr add 10.24.254.93/24 dev eth0
web# ip link set eth0 up
web# ip addr add 172.17.0.2/16 dev eth0
web# ip route add default via 172.17.0.1
web# iptables -t raw -A PREROUTING -p udp -j DROP
`

const benchNodes = "host client web"

// benchHops are the nodes that a packet passes on its way from client to web.
const benchHops = 3

// The host's address and published port.
const (
	benchTo   IP = 10<<24 | 24<<16 | 254<<8 | 11
	benchPort    = 8088
)

var benchFlow = &flow{id: "bench"}

// benchWorld is the docker-like world, with the connection known and the
// neighbours found.
func benchWorld(tb testing.TB) *sender {
	tb.Helper()
	w := newLab(tb, benchNodes, dockerLike).World
	s := &sender{World: w, node: w.Node("client")}
	r, errno := s.node.routeOutput(benchTo, 0, nil, 0, 0)
	if errno != 0 {
		tb.Fatal("errno", errno)
	}
	s.route = r
	for range 100 {
		s.onePacket()
	}
	t := w.rec.journeys[0].trace()
	if len(t.Hops) != benchHops || t.Node != "web" || t.Disposition != trace.Dropped {
		tb.Fatalf("not the way that was meant: %d hops, %s", len(t.Hops), t.Reason)
	}
	return s
}

// sender sends from the client to the published port, as a connected socket
// does: the route is decided once.
type sender struct {
	*World
	node  *Netns
	route route
}

// onePacket sends one UDP packet and records its journey.
func (s *sender) onePacket() {
	s.rec.begin()
	p := s.newPacket()
	p.etherType, p.proto, p.ttl, p.src, p.dst, p.sport, p.dport, p.len = ethIP, protoUDP, 64, s.route.src, benchTo, 40000, benchPort, 32
	p.ns, p.route, p.routed = s.node, s.route, true
	s.depart(p, benchFlow, false)
	s.ipLocalOut(s.node, p)
	s.drain()
}

// Once a connection is known, a packet's way costs no memory that was not there
// already: journeys, packets and queues are used again.
func TestNoAllocationPerHop(t *testing.T) {
	s := benchWorld(t)
	if n := testing.AllocsPerRun(1000, s.onePacket); n > 0 {
		t.Errorf("%v allocations for each packet that passes a docker-like host", n)
	}
}
