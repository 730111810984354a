package agree_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// generate makes a random case: a world, a transcript that furnishes it,
// changes it and sends packets through it. The same seed makes the same case.
//
// What it makes is mostly sane, or no packet would come far, and in places not.
func generate(seed uint64) *testCase {
	g := &gen{r: rand.New(rand.NewPCG(seed, 0x76657468)), seed: seed}
	shapes := []func(){g.pair, g.line, g.lan, g.lan, g.docker, g.docker, g.docker, g.overlay, g.macvlan, g.triangle}
	shapes[g.n(len(shapes))]()
	g.routes()
	g.servers()
	g.settings()
	for range g.n(6) {
		g.change()
	}
	for range 2 + g.n(4) {
		g.probe()
	}
	half := len(g.lines)
	for range 2 + g.n(5) {
		for range g.n(3) {
			g.change()
		}
		if len(g.undo) > 0 && g.one(3) {
			k := g.n(len(g.undo))
			g.lines = append(g.lines, g.undo[k])
			g.undo = slices.Delete(g.undo, k, k+1)
		}
		for range 1 + g.n(3) {
			g.probe()
		}
	}
	c := &testCase{Nodes: g.specs(), Setup: g.setup, Lines: g.lines}
	if g.one(2) && !slices.ContainsFunc(g.lines[:half], counts) {
		// The port a tunnel sends from is a hash whose seed is in no snapshot: what
		// it sent before is another connection to the model.
		var forget []string
		for _, n := range g.nodes {
			if slices.ContainsFunc(n.devs, func(d *gdev) bool { return d.name == "vx0" }) {
				forget = append(forget, n.name+"# conntrack -F")
			}
		}
		c.Lines = slices.Insert(c.Lines, half, forget...)
		c.Half = half + len(forget)
	}
	return c
}

// counts reports whether a line makes a rule that counts the packets it meets:
// how far it is no listing tells, and no snapshot.
func counts(line string) bool {
	return strings.Contains(line, " -m limit ") || strings.Contains(line, " -m statistic ")
}

// unmodelled are the programs that the model answers with "not simulated" or
// does not have: no case uses them.
var unmodelled = []string{"nc", "traceroute", "conntrack", "ping -i"}

func has(program string) bool { return !slices.Contains(unmodelled, program) }

type gen struct {
	r     *rand.Rand
	seed  uint64
	nodes []*gnode
	setup []string // wiring, and what makes the kernel fast
	lines []string // the transcript
	undo  []string // lines that take something away again
	nets  int
	last  string // the probe before
	chain int
}

type gnode struct {
	name    string
	kind    state.Kind
	devs    []*gdev
	forward bool
	chains  map[string][]string // table → user chains
	ports   []int               // served
}

type gdev struct {
	node   *gnode
	name   string
	net    int // 0: no address
	host   int
	port   bool // of a bridge
	bridge bool
}

func (d *gdev) addr() string { return fmt.Sprintf("10.0.%d.%d", d.net, d.host) }

func (g *gen) n(n int) int             { return g.r.IntN(n) }
func (g *gen) one(in int) bool         { return g.r.IntN(in) == 0 }
func (g *gen) pick(s ...string) string { return s[g.n(len(s))] }

func (g *gen) node(name string, kind state.Kind) *gnode {
	n := &gnode{name: name, kind: kind, chains: map[string][]string{}}
	g.nodes = append(g.nodes, n)
	if kind == state.Machine && !g.one(6) {
		g.setupf(n, "ip link set lo up")
	}
	if kind == state.Machine {
		g.setupf(n, unlimited)
	}
	return n
}

// unlimited lets a node tell of every error: when the next may be told depends on
// the moment, and what was told before is in no snapshot (icmpv4_xrlim_allow).
const unlimited = "sysctl -qw net.ipv4.icmp_ratelimit=0"

func (g *gen) specs() (specs []op.NodeSpec) {
	for _, n := range g.nodes {
		if n.kind != state.Container {
			specs = append(specs, op.NodeSpec{Name: n.name, Kind: n.kind})
		}
	}
	return specs
}

func (g *gen) do(n *gnode, format string, args ...any) {
	g.lines = append(g.lines, n.name+"# "+fmt.Sprintf(format, args...))
}

func (g *gen) setupf(n *gnode, format string, args ...any) {
	g.setup = append(g.setup, n.name+"# "+fmt.Sprintf(format, args...))
}

// dev notes a device that was made. impatient says where the line goes that
// makes it give up an unanswered ARP request soon.
func (g *gen) dev(n *gnode, name string) *gdev {
	d := &gdev{node: n, name: name}
	n.devs = append(n.devs, d)
	if n.kind == state.Container && len(n.devs) == 1 {
		g.do(n, unlimited)
	}
	line := fmt.Sprintf("%s# sysctl -qw net.ipv4.neigh.%s.retrans_time_ms=20", n.name, name)
	if n.kind == state.Container || g.started() {
		g.lines = append(g.lines, line)
	} else if n.kind != state.Switch {
		g.setup = append(g.setup, line)
	}
	return d
}

func (g *gen) started() bool { return len(g.lines) > 0 }

// veth wires two nodes of the world.
func (g *gen) veth(a *gnode, x string, b *gnode, y string) (*gdev, *gdev) {
	g.setupf(a, "ip link add %s%s type veth peer name %s netns %s", x, g.mac(), y, b.name)
	return g.dev(a, x), g.dev(b, y)
}

// mac gives a port an address: a bridge takes the lowest of its ports', and
// whether that is the one that is taken away must not be chance.
func (g *gen) mac() string {
	return fmt.Sprintf(" address 02:00:00:00:%02x:%02x", 1+g.n(200), 1+g.n(250))
}

func (g *gen) net() int { g.nets++; return g.nets }

func (g *gen) up(d *gdev) { g.do(d.node, "ip link set %s up", d.name) }

func (g *gen) address(d *gdev, net, host int) {
	d.net, d.host = net, host
	g.up(d)
	bits := 24
	if g.one(20) {
		bits = 16
	}
	g.do(d.node, "ip addr add %s/%d dev %s", d.addr(), bits, d.name)
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
		g.do(n, "sysctl -qw net.ipv4.neigh.%s.retrans_time_ms=20", name)
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
	g.setupf(a, "sysctl -qw net.ipv4.neigh.%s.retrans_time_ms=20", x)
	g.setupf(b, "sysctl -qw net.ipv4.neigh.%s.retrans_time_ms=20", y)
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
		c := g.node(fmt.Sprintf("c%d", i+1), state.Container)
		port := fmt.Sprintf("v%d", i+1)
		g.do(host, "ip netns add %s", c.name)
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
			c := g.node("c"+d.node.name, state.Container)
			g.do(d.node, "ip netns add %s", c.name)
			g.do(d.node, "ip link add v1%s type veth peer name eth0 netns %s", g.mac(), c.name)
			p := &gdev{node: d.node, name: "v1"}
			d.node.devs = append(d.node.devs, p)
			e := g.dev(c, "eth0")
			g.address(e, over, 21+i)
			g.do(d.node, "ip link add br0 type bridge")
			g.do(d.node, "sysctl -qw net.ipv4.neigh.br0.retrans_time_ms=20")
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
		c := g.node(fmt.Sprintf("c%d", i+1), state.Container)
		g.do(host, "ip netns add %s", c.name)
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

// hosts are the nodes that have addresses.
func (g *gen) hosts() (ns []*gnode) {
	for _, n := range g.nodes {
		if slices.ContainsFunc(n.devs, func(d *gdev) bool { return d.net > 0 }) {
			ns = append(ns, n)
		}
	}
	return ns
}

func (g *gen) host() *gnode { h := g.hosts(); return h[g.n(len(h))] }

func (g *gen) anyDev(n *gnode) *gdev { return n.devs[g.n(len(n.devs))] }

// ip picks an address of somebody.
func (g *gen) ip() string {
	n := g.host()
	for {
		if d := g.anyDev(n); d.net > 0 {
			return d.addr()
		}
	}
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
	switch g.n(8) {
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
	}
	g.do(n, "sysctl -w %s=%s", key, value)
}

// change changes something.
func (g *gen) change() {
	n := g.host()
	d := g.anyDev(n)
	switch k := g.n(100); {
	case k < 50:
		g.rule(n)
	case k < 60:
		g.sysctl()
	case k < 66:
		g.route(n)
	case k < 71:
		g.policy(n)
	case k < 75:
		host := 100 + g.n(100)
		net := 1 + g.n(g.nets)
		bits := g.pick("24", "32", "16")
		g.do(n, "ip addr add 10.0.%d.%d/%s dev %s", net, host, bits, d.name)
		g.undo = append(g.undo, fmt.Sprintf("%s# ip addr del 10.0.%d.%d/%s dev %s", n.name, net, host, bits, d.name))
	case k < 79:
		if d.net > 0 {
			g.undo = append(g.undo, fmt.Sprintf("%s# ip addr del %s/24 dev %s", n.name, d.addr(), d.name))
		}
	case k < 85:
		for _, d := range n.devs {
			if d.port {
				g.do(n, "bridge link set dev %s %s %s", d.name, g.pick("hairpin", "hairpin", "isolated", "isolated", "learning", "flood"), g.pick("on", "on", "off"))
				if g.one(2) {
					return
				}
			}
		}
	case k < 87:
		g.do(n, "ip link set %s mtu %d", d.name, []int{576, 900, 1280, 1400, 1500, 9000}[g.n(6)])
	case k < 89:
		g.undo = append(g.undo, fmt.Sprintf("%s# ip link set %s down", n.name, d.name), fmt.Sprintf("%s# ip link del %s", n.name, d.name))
	case k < 91:
		g.do(n, "ip neigh flush dev %s", d.name)
	case k < 93:
		g.do(n, "ip neigh replace %s lladdr 02:00:00:00:00:%02x dev %s nud permanent", g.ip(), 1+g.n(9), d.name)
	case k < 96 && has("conntrack"):
		g.do(n, "conntrack %s", g.pick("-F", "-D -p icmp", "-D -p tcp", "-D -p udp", "-D -s "+g.ip()))
	default:
		g.do(n, "ip addr add 192.168.%d.1/24 dev %s", 1+g.n(5), g.pick("lo", d.name))
	}
}

func (g *gen) route(n *gnode) {
	dst := g.pick(fmt.Sprintf("10.0.%d.0/24", 1+g.n(g.nets+1)), g.ip(), "198.51.100.0/24", "default", "10.0.0.0/16")
	line := ""
	switch g.n(6) {
	case 0:
		line = g.pick("blackhole", "unreachable", "prohibit") + " " + dst
	case 1:
		line = dst + " dev " + g.anyDev(n).name
	case 2:
		line = dst + " via " + g.ip() + " dev " + g.anyDev(n).name + " onlink"
	default:
		line = dst + " via " + g.ip()
	}
	if g.one(4) && !strings.Contains(line, "hole") {
		line += " src " + g.ip()
	}
	if g.one(3) {
		line += fmt.Sprintf(" metric %d", 1+g.n(50))
	}
	g.do(n, "ip route %s %s", g.pick("add", "add", "replace"), line)
	g.undo = append(g.undo, n.name+"# ip route del "+line)
}

func (g *gen) policy(n *gnode) {
	table := 100 + g.n(3)
	sel := g.pick("from "+g.ip(), "to "+g.ip(), fmt.Sprintf("from 10.0.%d.0/24", 1+g.n(g.nets)), "fwmark 1", "fwmark 2", "iif "+g.anyDev(n).name, "from all")
	line := fmt.Sprintf("ip rule add %s table %d", sel, table)
	if g.one(3) {
		line += fmt.Sprintf(" pref %d", 1000+g.n(100))
	}
	g.do(n, "%s", line)
	g.undo = append(g.undo, n.name+"# "+strings.Replace(line, " add ", " del ", 1))
	g.do(n, "ip route add %s table %d", g.pick("default via "+g.ip(), "unreachable default", "blackhole 10.0.0.0/16", fmt.Sprintf("10.0.%d.0/24 via %s", 1+g.n(g.nets), g.ip())), table)
}

var builtin = map[string][]string{
	"raw":    {"PREROUTING", "OUTPUT"},
	"mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
	"nat":    {"PREROUTING", "PREROUTING", "INPUT", "OUTPUT", "POSTROUTING", "POSTROUTING"},
	"filter": {"INPUT", "FORWARD", "FORWARD", "OUTPUT"},
}

// rule makes, or takes away, a rule.
func (g *gen) rule(n *gnode) {
	table := g.pick("filter", "filter", "filter", "nat", "nat", "nat", "mangle", "raw")
	chain := builtin[table][g.n(len(builtin[table]))]
	ipt := "iptables"
	if table != "filter" {
		ipt += " -t " + table
	}
	switch k := g.n(40); {
	case k == 0:
		g.do(n, "%s -P %s %s", ipt, chain, g.pick("ACCEPT", "DROP"))
		return
	case k == 1:
		g.undo = append(g.undo, fmt.Sprintf("%s# %s -F %s", n.name, ipt, chain))
	case k == 2:
		g.undo = append(g.undo, fmt.Sprintf("%s# %s -F", n.name, ipt))
	case k == 3:
		g.undo = append(g.undo, fmt.Sprintf("%s# %s -Z", n.name, ipt))
	case k < 8:
		g.chain++
		user := fmt.Sprintf("U%d", g.chain)
		g.do(n, "%s -N %s", ipt, user)
		g.do(n, "%s -A %s -%s %s", ipt, chain, g.pick("j", "j", "j", "g"), user)
		n.chains[table] = append(n.chains[table], user)
		chain = user
	}
	if users := n.chains[table]; len(users) > 0 && g.one(3) {
		chain = users[g.n(len(users))]
	}
	spec := g.spec(n, table, chain)
	if g.one(4) {
		g.do(n, "%s -I %s %s", ipt, chain, spec)
	} else {
		g.do(n, "%s -A %s %s", ipt, chain, spec)
	}
	g.undo = append(g.undo, fmt.Sprintf("%s# %s -D %s %s", n.name, ipt, chain, spec))
}

func (g *gen) spec(n *gnode, table, chain string) string {
	var w []string
	add := func(format string, args ...any) { w = append(w, fmt.Sprintf(format, args...)) }
	not := func() string {
		if g.one(6) {
			return "! "
		}
		return ""
	}
	in := chain == "PREROUTING" || chain == "INPUT" || chain == "FORWARD"
	out := chain == "POSTROUTING" || chain == "OUTPUT" || chain == "FORWARD"
	proto := g.pick("", "", "icmp", "icmp", "tcp", "tcp", "udp")
	if table == "nat" {
		proto = g.pick("", "icmp", "tcp", "tcp", "tcp", "udp")
	}
	if proto != "" {
		add("-p %s", proto)
	}
	if g.one(4) {
		add("%s-s %s", not(), g.pick(g.ip(), fmt.Sprintf("10.0.%d.0/24", 1+g.n(g.nets)), "10.0.0.0/8"))
	}
	if g.one(4) {
		add("%s-d %s", not(), g.pick(g.ip(), fmt.Sprintf("10.0.%d.0/24", 1+g.n(g.nets)), "10.0.0.0/8"))
	}
	if in && g.one(4) {
		add("%s-i %s", not(), g.pick(g.anyDev(n).name, "eth+", "lo"))
	}
	if out && g.one(4) {
		add("%s-o %s", not(), g.pick(g.anyDev(n).name, "eth+", "lo"))
	}
	port := func() string { return g.pick("80", "80", "8080", "53", "81") }
	switch proto {
	case "icmp":
		if g.one(3) {
			add("--icmp-type %s", g.pick("echo-request", "echo-reply", "destination-unreachable", "time-exceeded", "fragmentation-needed"))
		}
	case "tcp":
		switch g.n(6) {
		case 0, 1:
			add("--dport %s", port())
		case 2:
			add("--sport %s", port())
		case 3:
			add("%s--syn", not())
		case 4:
			add("-m multiport %s %s,%s", g.pick("--dports", "--ports", "--sports"), port(), port())
		}
	case "udp":
		if g.one(2) {
			add("--dport %s", port())
		}
	}
	if g.one(3) {
		g.match(n, add, not, in)
	}
	add("-j %s", g.target(n, table, chain, proto))
	return strings.Join(w, " ")
}

func (g *gen) match(n *gnode, add func(string, ...any), not func() string, in bool) {
	switch g.n(16) {
	case 0, 1:
		add("-m conntrack %s--ctstate %s", not(), g.pick("NEW", "ESTABLISHED", "RELATED,ESTABLISHED", "INVALID", "DNAT", "SNAT", "UNTRACKED"))
	case 2:
		add("-m state --state %s", g.pick("NEW", "ESTABLISHED,RELATED"))
	case 3, 4:
		add("-m addrtype %s--%s-type %s", not(), g.pick("dst", "dst", "src"), g.pick("LOCAL", "LOCAL", "UNICAST", "BROADCAST"))
	case 5:
		add("-m mark %s--mark %s", not(), g.pick("1", "2", "0x1/0x1"))
	case 6:
		add("-m connmark %s--mark %s", not(), g.pick("1", "2"))
	case 7:
		add("-m comment --comment %s", g.pick("one", "'two words'"))
	case 8:
		add("-m limit --limit 1/hour --limit-burst %d", 1+g.n(4))
	case 9:
		add("-m iprange %s--%s-range 10.0.1.1-10.0.%d.20", not(), g.pick("src", "dst"), 1+g.n(g.nets))
	case 10:
		if in {
			add("-m physdev --physdev-in %s", g.anyDev(n).name)
		}
	case 11:
		add("-m statistic --mode nth --every %d --packet %d", 2+g.n(2), g.n(2))
	case 12:
		add("-m rpfilter %s", g.pick("", "--invert", "--loose", "--validmark"))
	case 13:
		add("-m owner %s--uid-owner 0", not())
	case 14:
		add("-m conntrack --ctproto %s", g.pick("tcp", "icmp"))
	case 15:
		add("-m conntrack --ctorigdst %s", g.ip())
	}
}

func (g *gen) target(n *gnode, table, chain, proto string) string {
	if users := n.chains[table]; len(users) > 0 && g.one(8) {
		return users[g.n(len(users))]
	}
	switch table {
	case "raw":
		return g.pick("ACCEPT", "DROP", "CT --notrack", "NOTRACK", "TRACE", "RETURN")
	case "mangle":
		return g.pick("ACCEPT", "DROP", "MARK --set-mark 1", "MARK --set-mark 2", "MARK --set-xmark 0x1/0x1", "CONNMARK --set-mark 1", "CONNMARK --save-mark", "CONNMARK --restore-mark", "RETURN")
	case "nat":
		ported := proto == "tcp" || proto == "udp"
		up := chain == "POSTROUTING" || chain == "INPUT"
		switch {
		case g.one(12):
			return g.pick("ACCEPT", "RETURN", "DROP")
		case up && ported:
			return g.pick("MASQUERADE", "MASQUERADE", "SNAT --to-source "+g.ip(), "SNAT --to-source "+g.ip()+":5000", "SNAT --to-source 10.0.1.77", "MASQUERADE --to-ports 6000-6000")
		case up:
			return g.pick("MASQUERADE", "MASQUERADE", "SNAT --to-source "+g.ip(), "SNAT --to-source 10.0.1.77", fmt.Sprintf("NETMAP --to 10.0.%d.0/24", 1+g.n(g.nets)))
		case ported:
			return g.pick("DNAT --to-destination "+g.ip(), "DNAT --to-destination "+g.ip()+":80", "DNAT --to-destination "+g.ip()+":80", "REDIRECT", "REDIRECT --to-ports 80", "DNAT --to-destination 127.0.0.1:80")
		}
		return g.pick("DNAT --to-destination "+g.ip(), "DNAT --to-destination "+g.ip(), "REDIRECT", fmt.Sprintf("NETMAP --to 10.0.%d.0/24", 1+g.n(g.nets)))
	}
	return g.pick("ACCEPT", "ACCEPT", "ACCEPT", "DROP", "DROP", "RETURN", "LOG --log-prefix 'x: '", "REJECT",
		"REJECT --reject-with "+g.pick("icmp-host-unreachable", "icmp-net-unreachable", "icmp-admin-prohibited", "icmp-proto-unreachable", "tcp-reset"))
}

// probe sends something; sometimes the same again, so that a connection's entry matters.
func (g *gen) probe() {
	if g.last != "" && g.one(4) {
		g.lines = append(g.lines, g.last)
		return
	}
	n := g.host()
	dst := g.ip()
	switch g.n(24) {
	case 0:
		dst = fmt.Sprintf("10.0.%d.%d", 1+g.n(g.nets), 200+g.n(50))
	case 1:
		dst = "198.51.100.7"
	case 2:
		dst = "127.0.0.1"
	case 3:
		dst = fmt.Sprintf("10.0.%d.255", 1+g.n(g.nets))
	case 4:
		dst = fmt.Sprintf("10.0.%d.%d", 1+g.n(g.nets), 1+g.n(21))
	}
	port := g.pick("80", "80", "80", "8080", "81")
	if g.one(2) { // somebody who serves something
		m := g.host()
		if len(m.ports) > 0 {
			port = fmt.Sprint(m.ports[g.n(len(m.ports))])
			if d := g.anyDev(m); d.net > 0 {
				dst = d.addr()
			}
		}
	}
	switch k := g.n(20); {
	case k < 10 || k >= 19 && !has("traceroute"):
		w := "ping -c1 -W0.2"
		if g.one(8) && has("ping -i") {
			w = "ping -c2 -i0.05 -W0.2"
		}
		if g.one(5) {
			w += fmt.Sprintf(" -s %d", []int{1, 8, 500, 1000, 1472, 1473, 3000}[g.n(7)])
		}
		if g.one(5) {
			w += " -M do"
		}
		if g.one(8) {
			w += fmt.Sprintf(" -t %d", 1+g.n(3))
		}
		if g.one(8) {
			w += " -I " + g.pick(g.anyDev(n).name, g.ip())
		}
		g.last = n.name + "# " + w + " " + dst
	case k < 17 || k < 19 && !has("nc"):
		g.last = fmt.Sprintf("%s# curl -s -m0.3 http://%s:%s/", n.name, dst, port)
	case k < 19:
		w := "nc -u -q0"
		if g.one(3) {
			w += " -p 5000"
		}
		g.last = fmt.Sprintf("%s# echo hello | %s %s %s", n.name, w, dst, g.pick("53", "53", "5353"))
	default:
		g.last = fmt.Sprintf("%s# traceroute -n -q1 -N1 -w0.2 -m3 %s", n.name, dst)
	}
	g.lines = append(g.lines, g.last)
}
