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
// TestGenerate holds what it is to come upon.
//
//	shapes (generate_world_test.go) ─ routes, servers, settings
//	changes, rules (generate_change_test.go)    ┐
//	probes, listings (generate_probe_test.go)   ┴─ by turns
//
// What it makes is mostly sane, or no packet would come far, and in places not.
func generate(seed uint64) *testCase {
	g := &gen{r: rand.New(rand.NewPCG(seed, 0x76657468)), seed: seed}
	halved := g.one(2)
	g.uncounted = halved
	shapes := []func(){g.single, g.pair, g.line, g.lan, g.lan, g.docker, g.docker, g.docker, g.overlay, g.overlay, g.macvlan, g.triangle, g.twoLans}
	shapes[g.n(len(shapes))]()
	g.routes()
	g.servers()
	g.settings()
	// Most cases are small: what differs is seldom more when it is shrunk. Every
	// fourth is long, for what only comes of many changes and connections.
	changes, probes, rounds, each := 3, 1+g.n(2), 1+g.n(2), 2
	if g.one(4) {
		changes, probes, rounds, each = 6, 2+g.n(4), 2+g.n(4), 3
	}
	for range g.n(changes) {
		g.change()
	}
	for range probes {
		g.probe()
	}
	if halved {
		g.forget()
	}
	half := len(g.lines)
	g.uncounted = false
	for range rounds {
		for range g.n(each) {
			g.change()
		}
		if len(g.undo) > 0 && g.one(3) {
			k := g.n(len(g.undo))
			g.lines = append(g.lines, g.undo[k])
			g.ruleGone()
			g.undo = slices.Delete(g.undo, k, k+1)
		}
		for range 1 + g.n(each) {
			g.probe()
		}
	}
	c := &testCase{Nodes: g.specs(), Setup: g.setup, Lines: g.lines}
	if halved {
		c.Half = half
	}
	return c
}

// ruleGone waits, where a rule may just have gone, until it is forgotten that it
// needed conntrack, which the kernel does in its own time (nf_tables_trans_destroy_work).
func (g *gen) ruleGone() {
	node, text, _ := strings.Cut(g.lines[len(g.lines)-1], "# ")
	if strings.HasPrefix(text, "iptables ") {
		g.lines = append(g.lines, node+"# sleep 0.05")
	}
}

// forget ends a half. The port a tunnel sends from is a hash whose seed is in no
// snapshot: what it sent before would be another connection to the model. What
// ICMP told of a path, its MTU or a nearer gateway, is in none either; nor how
// often a neighbour was asked for that has not answered yet, which only nc over UDP
// does not wait for.
func (g *gen) forget() {
	if last := g.lines[len(g.lines)-1]; strings.Contains(last, "nc -u") {
		node, _, _ := strings.Cut(last, "# ")
		g.lines = append(g.lines, node+"# sleep 0.1")
	}
	for _, n := range g.nodes {
		g.do(n, "sysctl -qw net.ipv4.route.flush=1")
		if slices.ContainsFunc(n.devs, func(d *gdev) bool { return d.name == "vx0" }) {
			g.do(n, "conntrack -F")
		}
	}
}

type gen struct {
	r     *rand.Rand
	seed  uint64
	nodes []*gnode
	setup []string // wiring, and what makes the kernel fast
	lines []string // the transcript
	undo  []string // lines that take something away again
	nets  int
	last  string // the probe before
	// uncounted says that a snapshot comes. No rule may count the packets it meets
	// (limit, statistic): how far it is no listing tells, and no snapshot.
	uncounted bool
	chain     int
	macs      []string
}

type gnode struct {
	name    string
	kind    state.Kind
	machine *gnode // of a container
	devs    []*gdev
	forward bool
	chains  map[string][]string // table → user chains
	ports   []int               // served by web and name servers
	nc      []string            // "5000", "-u 5353": what nc listens on
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
		for _, line := range unredirected {
			g.setupf(n, "%s", line)
		}
	}
	return n
}

// unredirected lets nobody be told of a nearer gateway: when the next may be told
// depends on the moment, too, and has no setting (ip_rt_send_redirect).
var unredirected = []string{"sysctl -qw net.ipv4.conf.all.send_redirects=0", "sysctl -qw net.ipv4.conf.default.send_redirects=0"}

// unlimited lets a node tell of every error: when the next may be told depends on
// the moment, and what was told before is in no snapshot (icmpv4_xrlim_allow).
const unlimited = "sysctl -qw net.ipv4.icmp_ratemask=0"

// container makes a node of a machine's, by its command.
func (g *gen) container(machine *gnode, name string) *gnode {
	c := g.node(name, state.Container)
	c.machine = machine
	g.lines = append(g.lines, machine.name+"# ip netns add "+name)
	for _, line := range unredirected {
		g.lines = append(g.lines, name+"# "+line)
	}
	return c
}

func (g *gen) specs() (specs []op.NodeSpec) {
	for _, n := range g.nodes {
		if n.kind != state.Container {
			specs = append(specs, op.NodeSpec{Name: n.name, Kind: n.kind})
		}
	}
	return specs
}

// do adds a line to the transcript. What is for a container may be typed on its
// machine.
func (g *gen) do(n *gnode, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if n.machine != nil && g.one(8) {
		rest, isIP := strings.CutPrefix(text, "ip ")
		switch {
		case isIP && g.one(2):
			text = "ip -n " + n.name + " " + rest
		case g.one(4):
			text = "nsenter --net=/run/netns/" + n.name + " " + text
		default:
			text = "ip netns exec " + n.name + " " + text
		}
		n = n.machine
	}
	g.lines = append(g.lines, n.name+"# "+text)
}

func (g *gen) setupf(n *gnode, format string, args ...any) {
	g.setup = append(g.setup, n.name+"# "+fmt.Sprintf(format, args...))
}

// arpSettings make a link give up an unanswered ARP request soon, not ask a
// neighbour again that it knows, and believe of several answers the first: what
// is due when depends on how long the case takes, which no two runs have in common.
var arpSettings = []string{"retrans_time_ms=20", "delay_first_probe_time=60", "locktime=6000"}

// arp settles how a device asks for its neighbours, at once.
func (g *gen) arp(n *gnode, name string) {
	for _, s := range arpSettings {
		g.do(n, "sysctl -qw net.ipv4.neigh.%s.%s", name, s)
	}
}

// dev notes a device that was made.
func (g *gen) dev(n *gnode, name string) *gdev {
	d := &gdev{node: n, name: name}
	n.devs = append(n.devs, d)
	if n.kind == state.Container && len(n.devs) == 1 {
		g.do(n, unlimited)
	}
	for _, s := range arpSettings {
		line := fmt.Sprintf("%s# sysctl -qw net.ipv4.neigh.%s.%s", n.name, name, s)
		if n.kind == state.Container || g.started() {
			g.lines = append(g.lines, line)
		} else if n.kind != state.Switch {
			g.setup = append(g.setup, line)
		}
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
	m := fmt.Sprintf("02:00:00:00:%02x:%02x", 1+g.n(200), 1+g.n(250))
	g.macs = append(g.macs, m)
	return " address " + m
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
