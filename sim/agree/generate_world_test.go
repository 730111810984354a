package agree_test

import (
	"fmt"
	"slices"
	"strings"

	"vethlab/sim/state"
)

// The worlds of random cases: shapes of one to six nodes, the ways between
// them, what they serve and how they are set.

// single is a machine alone: with lo, perhaps with a bridge, perhaps with a wire
// whose both ends it holds.
func (g *gen) single() {
	n := g.node("host", state.Machine)
	if g.one(2) {
		g.setupf(n, "ip link set lo up")
	}
	n.forward = g.one(2)
	switch g.n(3) {
	case 0:
		g.bridge(n, "br0", nil, g.net())
	case 1:
		g.setupf(n, "ip link add x%s type veth peer name y", g.mac())
		x, y := g.dev(n, "x"), g.dev(n, "y")
		g.address(x, g.net(), 1)
		g.address(y, g.net(), 1)
	default:
		c := g.container(n, "c1")
		g.do(n, "ip link add v1%s type veth peer name eth0 netns c1", g.mac())
		x, y := g.dev(n, "v1"), g.dev(c, "eth0")
		net := g.net()
		g.address(x, net, 1)
		g.address(y, net, 2)
	}
}

// twoLans is two routers, a wire between them and a bridge behind each.
func (g *gen) twoLans() {
	r1, r2 := g.node("r1", state.Machine), g.node("r2", state.Machine)
	x, y := g.veth(r1, "eth0", r2, "eth0")
	net := g.net()
	g.address(x, net, 1)
	g.address(y, net, 2)
	for i, r := range []*gnode{r1, r2} {
		r.forward = !g.one(8)
		net := g.net()
		var ports []*gdev
		for k := range 1 + g.n(2) {
			h := g.node(fmt.Sprintf("h%d", 2*i+k+1), state.Machine)
			p, e := g.veth(r, fmt.Sprintf("p%d", k+1), h, "eth0")
			ports = append(ports, p)
			g.address(e, net, 11+k)
		}
		g.bridge(r, "br0", ports, net)
	}
}

// pair is two nodes and a wire.
func (g *gen) pair() {
	a, b := g.node("a", state.Machine), g.node("b", state.Machine)
	x, y := g.veth(a, "eth0", b, "eth0")
	net := g.net()
	g.address(x, net, 1)
	g.address(y, net, 2)
}

// line is two to four routers' worth of wires, one after another.
func (g *gen) line() {
	k := 3 + g.n(3)
	prev := g.node("a", state.Machine)
	for i := 1; i < k; i++ {
		n := g.node(string(rune('a'+i)), state.Machine)
		x, y := g.veth(prev, fmt.Sprintf("eth%d", len(prev.devs)), n, "eth0")
		net := g.net()
		g.address(x, net, 1)
		g.address(y, net, 2)
		if i < k-1 {
			n.forward = !g.one(8)
		}
		prev = n
	}
}

// triangle is three nodes, each wired to each: ways back differ from ways there.
func (g *gen) triangle() {
	var ns []*gnode
	for _, name := range []string{"a", "b", "c"} {
		n := g.node(name, state.Machine)
		n.forward = !g.one(4)
		ns = append(ns, n)
	}
	for i, a := range ns {
		b := ns[(i+1)%3]
		x, y := g.veth(a, "eth"+b.name, b, "eth"+a.name)
		net := g.net()
		g.address(x, net, 1)
		g.address(y, net, 2)
	}
}

// bridge puts ports into a bridge of n; the bridge gets an address unless n is a switch.
func (g *gen) bridge(n *gnode, name string, ports []*gdev, net int) *gdev {
	put := g.do
	if n.kind == state.Switch {
		put = g.setupf
	}
	put(n, "ip link add %s type bridge", name)
	br := &gdev{node: n, name: name, bridge: true}
	n.devs = append(n.devs, br)
	if n.kind != state.Switch {
		g.arp(n, name)
	} else {
		put(n, "sysctl -qw net.bridge.bridge-nf-call-iptables=0")
	}
	for _, p := range ports {
		p.port = true
		put(n, "ip link set %s up", p.name)
		if n.kind != state.Switch && g.one(4) {
			put(n, "brctl addif %s %s", name, p.name)
		} else {
			put(n, "ip link set %s master %s", p.name, name)
		}
	}
	put(n, "ip link set %s up", name)
	if n.kind != state.Switch {
		g.address(br, net, 1)
	}
	return br
}

// lan is a few hosts on a bridge: a switch, or a machine that is the gateway.
func (g *gen) lan() {
	k := 2 + g.n(3)
	kind := state.Machine
	if g.one(3) {
		kind = state.Switch
	}
	gw := g.node("gw", kind)
	net := g.net()
	var ports, ends []*gdev
	for i := range k {
		h := g.node(fmt.Sprintf("h%d", i+1), state.Machine)
		p, e := g.veth(gw, fmt.Sprintf("p%d", i+1), h, "eth0")
		ports, ends = append(ports, p), append(ends, e)
	}
	for i, e := range ends {
		g.address(e, net, 11+i)
	}
	g.bridge(gw, "br0", ports, net)
	if kind == state.Machine {
		gw.forward = !g.one(4)
		if g.one(2) {
			out := g.node("out", state.Machine)
			x, y := g.veth2(gw, "eth0", out, "eth0")
			net := g.net()
			g.address(x, net, 2)
			g.address(y, net, 1)
		}
	}
}

// veth2 wires nodes after the transcript began.
func (g *gen) veth2(a *gnode, x string, b *gnode, y string) (*gdev, *gdev) {
	g.setupf(a, "ip link add %s type veth peer name %s netns %s", x, y, b.name)
	for _, s := range arpSettings {
		g.setupf(a, "sysctl -qw net.ipv4.neigh.%s.%s", x, s)
		g.setupf(b, "sysctl -qw net.ipv4.neigh.%s.%s", y, s)
	}
	d, e := &gdev{node: a, name: x}, &gdev{node: b, name: y}
	a.devs, b.devs = append(a.devs, d), append(b.devs, e)
	return d, e
}

// docker is a machine with containers on a bridge, and a neighbour in its LAN.
func (g *gen) docker() {
	host, client := g.node("host", state.Machine), g.node("client", state.Machine)
	x, y := g.veth(host, "eth0", client, "eth0")
	lan := g.net()
	g.address(x, lan, 2)
	g.address(y, lan, 1)
	host.forward = !g.one(5)
	net := g.net()
	var ports, ends []*gdev
	for i := range 1 + g.n(3) {
		c := g.container(host, fmt.Sprintf("c%d", i+1))
		port := fmt.Sprintf("v%d", i+1)
		if g.one(2) {
			g.do(host, "ip link add %s%s type veth peer name eth0 netns %s", port, g.mac(), c.name)
		} else {
			g.do(host, "ip link add %s%s type veth peer name t%d", port, g.mac(), i+1)
			g.do(host, "ip link set t%d netns %s", i+1, c.name)
			g.do(c, "ip link set t%d name eth0", i+1)
		}
		if !g.one(5) {
			g.do(c, "ip link set lo up")
		}
		d := &gdev{node: host, name: port}
		host.devs = append(host.devs, d)
		g.arp(host, port)
		ports, ends = append(ports, d), append(ends, g.dev(c, "eth0"))
		g.address(ends[i], net, 11+i)
		g.undo = append(g.undo, fmt.Sprintf("host# ip netns del %s", c.name))
	}
	g.bridge(host, "br0", ports, net)
	if g.one(2) {
		g.do(host, "iptables -t nat -A POSTROUTING -s 10.0.%d.0/24 ! -o br0 -j MASQUERADE", net)
	}
	if g.one(2) {
		g.do(host, "iptables -t nat -A %s -p tcp --dport 8080 -j DNAT --to-destination %s:80", g.pick("PREROUTING", "PREROUTING", "OUTPUT"), ends[0].addr())
	}
}

// overlay is two machines with a tunnel over what is between them.
func (g *gen) overlay() {
	a, b := g.node("a", state.Machine), g.node("b", state.Machine)
	x, y := g.veth(a, "eth0", b, "eth0")
	under := g.net()
	g.address(x, under, 1)
	g.address(y, under, 2)
	over := g.net()
	vni := 1 + g.n(100)
	for i, d := range []*gdev{x, y} {
		peer := y
		if i == 1 {
			peer = x
		}
		port := "4789"
		if g.one(5) {
			port = "8472"
		}
		g.do(d.node, "ip link add vx0%s type vxlan id %d local %s remote %s dstport %s", g.mac(), vni, d.addr(), peer.addr(), port)
		v := g.dev(d.node, "vx0")
		if g.one(2) {
			c := g.container(d.node, "c"+d.node.name)
			g.do(d.node, "ip link add v1%s type veth peer name eth0 netns %s", g.mac(), c.name)
			p := &gdev{node: d.node, name: "v1"}
			d.node.devs = append(d.node.devs, p)
			g.arp(d.node, "v1")
			e := g.dev(c, "eth0")
			g.address(e, over, 21+i)
			g.do(d.node, "ip link add br0 type bridge")
			g.arp(d.node, "br0")
			for _, m := range []string{"v1", "vx0"} {
				g.do(d.node, "ip link set %s up", m)
				g.do(d.node, "ip link set %s master br0", m)
			}
			v.port, p.port = true, true
			br := &gdev{node: d.node, name: "br0", bridge: true}
			d.node.devs = append(d.node.devs, br)
			g.address(br, over, 1+i)
		} else {
			g.address(v, over, 1+i)
		}
	}
}

// macvlan is a machine whose containers share its interface.
func (g *gen) macvlan() {
	host, out := g.node("host", state.Machine), g.node("out", state.Machine)
	x, y := g.veth(host, "eth0", out, "eth0")
	net := g.net()
	g.address(x, net, 1)
	g.address(y, net, 2)
	for i := range 1 + g.n(2) {
		c := g.container(host, fmt.Sprintf("c%d", i+1))
		g.do(host, "ip link add link eth0 name m%d type macvlan mode bridge", i+1)
		g.do(host, "ip link set m%d netns %s", i+1, c.name)
		g.do(c, "ip link set lo up")
		g.address(g.dev(c, fmt.Sprintf("m%d", i+1)), net, 11+i)
		g.undo = append(g.undo, fmt.Sprintf("host# ip netns del %s", c.name))
	}
}

// on returns the devices with an address in a network.
func (g *gen) on(net int) (ds []*gdev) {
	for _, n := range g.nodes {
		for _, d := range n.devs {
			if d.net == net {
				ds = append(ds, d)
			}
		}
	}
	return ds
}

// routes gives every node a way to the networks it is not on.
func (g *gen) routes() {
	for _, n := range g.nodes {
		if n.forward {
			g.do(n, "sysctl -w net.ipv4.ip_forward=1")
		}
	}
	for _, n := range g.nodes {
		if n.kind == state.Switch || g.one(10) {
			continue
		}
		first := true
		for net := 1; net <= g.nets; net++ {
			if slices.ContainsFunc(n.devs, func(d *gdev) bool { return d.net == net }) {
				continue
			}
			via := g.nextHop(n, net)
			if via == nil || g.one(12) {
				continue
			}
			if first && g.one(2) {
				g.do(n, "ip route add default via %s", via.addr())
				g.undo = append(g.undo, n.name+"# ip route del default")
				break
			}
			first = false
			line := fmt.Sprintf("ip route add 10.0.%d.0/24 via %s", net, via.addr())
			if g.one(6) {
				line += fmt.Sprintf(" metric %d", 10*(1+g.n(3)))
			}
			g.do(n, "%s", line)
			g.undo = append(g.undo, n.name+"# "+strings.Replace(line, " add ", " del ", 1))
		}
	}
}

// nextHop finds the neighbour's interface by which n reaches a network.
func (g *gen) nextHop(n *gnode, net int) *gdev {
	type at struct {
		n     *gnode
		first *gdev
	}
	seen := map[*gnode]bool{n: true}
	queue := []at{{n, nil}}
	for len(queue) > 0 {
		cur := queue[0]
		queue = queue[1:]
		for _, d := range cur.n.devs {
			if d.net == 0 {
				continue
			}
			if d.net == net {
				return cur.first
			}
			for _, e := range g.on(d.net) {
				if !seen[e.node] {
					seen[e.node] = true
					first := cur.first
					if first == nil {
						first = e
					}
					queue = append(queue, at{e.node, first})
				}
			}
		}
	}
	return nil
}

// servers starts something to talk to.
func (g *gen) servers() {
	for range 1 + g.n(3) {
		n := g.host()
		port := 80
		if g.one(4) {
			port = 8080
		}
		if g.one(4) {
			if !slices.Contains(n.ports, 53) {
				n.ports = append(n.ports, 53)
				g.do(n, "dnsmasq --address=/example.test/192.0.2.1 &")
				g.undo = append(g.undo, n.name+"# pkill dnsmasq")
			}
			continue
		}
		if !slices.Contains(n.ports, port) {
			n.ports = append(n.ports, port)
			g.do(n, "python3 -m http.server %d &", port)
			g.undo = append(g.undo, n.name+"# pkill python3")
		}
	}
	if g.one(3) {
		g.listeners()
	}
}

// listeners starts nc, which takes what comes.
func (g *gen) listeners() {
	n := g.host()
	what := g.pick("5000", "-u 5353")
	if g.uncounted { // what nc answers to a connection is in no snapshot
		what = "-u 5353"
	}
	if slices.Contains(n.nc, what) {
		return
	}
	n.nc = append(n.nc, what)
	g.lines = append(g.lines, n.name+"# nc -lk "+what+" &", n.name+"# sleep 0.3") // it is under way before anybody asks
}

func (g *gen) settings() {
	for range g.n(3) {
		g.sysctl()
	}
}

func (g *gen) sysctl() {
	n := g.host()
	dev := g.pick("all", g.anyDev(n).name)
	key, value := "", ""
	switch g.n(14) {
	case 0, 1:
		key, value = "net.ipv4.conf."+dev+".rp_filter", g.pick("0", "1", "2")
	case 2:
		key, value = "net.ipv4.conf."+dev+".route_localnet", g.pick("0", "1")
	case 3:
		key, value = "net.ipv4.conf."+dev+".arp_ignore", g.pick("0", "1", "2")
	case 4:
		key, value = "net.ipv4.conf."+dev+".proxy_arp", g.pick("0", "1")
		for _, d := range n.devs { // or the answer comes at a random time within a second (pneigh_enqueue)
			g.do(n, "sysctl -qw net.ipv4.neigh.%s.proxy_delay=0", d.name)
		}
	case 5:
		key, value = "net.bridge.bridge-nf-call-iptables", g.pick("0", "1")
	case 6:
		key, value = "net.ipv4.ip_forward", g.pick("0", "1", "1")
	case 7:
		key, value = "net.ipv4.conf."+dev+".forwarding", g.pick("0", "1")
	case 8:
		key, value = "net.ipv4.conf."+dev+"."+g.pick("accept_local", "src_valid_mark", "accept_redirects", "accept_redirects", "shared_media"), g.pick("0", "1")
	case 9:
		key, value = "net.ipv4.conf."+dev+"."+g.pick("arp_announce", "arp_filter"), g.pick("0", "1")
	case 10:
		key, value = "net.ipv4.ip_default_ttl", g.pick("2", "32", "128")
	case 11:
		key, value = "net.ipv4."+g.pick("icmp_echo_ignore_all", "icmp_echo_ignore_broadcasts"), g.pick("0", "1")
	case 12:
		key, value = "net.ipv4."+g.pick("ip_no_pmtu_disc", "fwmark_reflect", "icmp_errors_use_inbound_ifaddr"), g.pick("0", "1")
	case 13:
		key, value = "net.netfilter."+g.pick("nf_conntrack_icmp_timeout", "nf_conntrack_udp_timeout", "nf_conntrack_tcp_timeout_syn_sent"), g.pick("20", "100")
	}
	switch {
	case g.one(6):
		g.lines = append(g.lines, fmt.Sprintf("%s# echo %s > /proc/sys/%s", n.name, value, strings.ReplaceAll(key, ".", "/")))
	case g.one(6):
		g.do(n, "sysctl %s=%s", key, value)
	default:
		g.do(n, "sysctl -w %s=%s", key, value)
	}
}
