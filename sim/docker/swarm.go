package docker

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"vethlab/sim/state"
)

// Swarms (swarmkit, manager/allocator; moby, daemon/cluster): machines that know
// each other's containers. One of them, the manager, gives out the networks that
// all may use, their VNIs and every address in them. What it tells the others
// travels over TLS and gossip of the daemons' own; here they know at once, and
// nothing listens on 2377 and 7946.
//
// A swarm runs services, too, over IPVS. There are none here: its networks are
// for containers, which `docker run --net` attaches.

// Cluster is what a swarm's manager knows.
type Cluster struct {
	ID              string // 25 digits and letters
	Worker, Manager string // the tokens to join with
	Port            int    // UDP, of the tunnels: 4789
	Base            netip.Prefix
	Size            int           // the length of the networks cut from Base
	NextPool        int           // where the search for a free one goes on
	NextVNI         int           // of the next network
	Nodes           []*SwarmNode  // in the order they joined
	Networks        []*Network    // in the order they were made, ingress first
	Tasks           []*Attachment // the addresses in use
}

// SwarmNode is a machine in a swarm.
type SwarmNode struct {
	ID      string // 25 digits and letters
	Machine string
	Addr    netip.Addr // where the others find it; its tunnels' end
	Port    uint16     // of a manager
	Manager bool
	Gossip  string        // its name among the daemons
	Left    time.Duration `json:",omitempty"` // when it left
}

// Attachment is an address of a swarm's network, and who has it.
type Attachment struct {
	ID      string // of swarm's task
	Network string
	Node    string // the SwarmNode's ID
	IP      netip.Addr
	Balance bool // the node's own, for the balancing of services: lb-NETWORK, ingress-sbox
}

// Swarm is a machine's part in a swarm.
type Swarm struct {
	Cluster string
	Node    string
	Pending bool       `json:",omitempty"` // it wanted to join, and nobody answered
	Boxes   []*Balance // its namespaces for the networks it takes part in
	Tested  bool       // dockerd has seen that a tunnel can be moved
}

// Balance is a machine's part in one overlay network: the network's namespace,
// with bridge and tunnel, and the sandbox from which services would be balanced.
type Balance struct {
	Network string
	Netns   string     // 1-…: the network's
	Next    int        // veth0, veth1, … in it
	Peers   []Peer     // what the tunnel was told of others
	Box     *Container // lb_…, ingress_sbox
}

// Peer is an endpoint on another machine.
type Peer struct {
	IP   netip.Addr
	MAC  string
	VTEP netip.Addr
}

const (
	noManager = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
	noSwarm   = "This node is not part of a swarm"
	inSwarm   = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one."
	isWorker  = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager."
	lastOne   = "You are attempting to leave the swarm on a node that is participating as a manager. Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message."
	noAnswer  = "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the \"docker info\" command to see the current swarm status of your node."
	badToken  = "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster"
)

// firstVNI is the first that a swarm gives out (swarmkit; vxlanIDStart).
const firstVNI = 4096

// maxNodes bounds the machines a swarm knows: one that leaves and joins again is
// another.
const maxNodes = 1000

// rpc is a refusal of the manager's.
func rpc(code, format string, args ...any) error {
	return refuse(System, "rpc error: code = %s desc = %s", code, fmt.Sprintf(format, args...))
}

// swarmID returns an ID as swarmkit makes them.
func (c *call) swarmID() string { return c.letters(25) }

func (c *call) letters(n int) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, n)
	for i := range b {
		b[i] = digits[c.engine.random.IntN(len(digits))]
	}
	return string(b)
}

// cluster is the swarm that the daemon is in, and its part in it; nil, nil where
// it is in none.
func (c *call) cluster() (*Cluster, *SwarmNode) { return c.engine.member(c.d) }

func (e *Engine) member(d *Daemon) (*Cluster, *SwarmNode) {
	if d.Swarm == nil {
		return nil, nil
	}
	cl := e.clusters[d.Swarm.Cluster]
	if cl == nil {
		return nil, nil
	}
	for _, n := range cl.Nodes {
		if n.ID == d.Swarm.Node {
			return cl, n
		}
	}
	return nil, nil
}

// manages is the cluster of a manager; else the daemon's refusal.
func (c *call) manages() (*Cluster, error) {
	cl, me := c.cluster()
	switch {
	case me == nil:
		return nil, refuse(System, "%s", noManager)
	case !me.Manager:
		return nil, refuse(System, "%s", isWorker)
	}
	return cl, nil
}

// on does something as another machine's daemon.
func (c *call) on(d *Daemon, fn func() error) error {
	own, fw := c.d, c.fw
	c.d, c.fw = d, nil
	defer func() { c.d, c.fw = own, fw }()
	return fn()
}

// others are the daemons of the swarm that run, but this one.
func (c *call) others() (all []*Daemon) {
	cl, me := c.cluster()
	if me == nil {
		return nil
	}
	for _, n := range cl.Nodes {
		if d := c.engine.daemons[n.Machine]; n != me && n.Left == 0 && d != nil && d.Running {
			all = append(all, d)
		}
	}
	return all
}

// swarmInit makes a swarm, with this machine as its manager.
func (c *call) swarmInit(addr netip.Addr, port uint16, base netip.Prefix, size, dataPort int) (*Cluster, *SwarmNode, error) {
	cl := &Cluster{ID: c.swarmID(), Port: dataPort, Base: base, Size: size, NextVNI: firstVNI}
	secret := c.letters(50)
	cl.Worker, cl.Manager = c.token(secret), c.token(secret)
	me := &SwarmNode{ID: c.swarmID(), Machine: c.d.Machine, Addr: addr, Port: port, Manager: true, Gossip: c.hex(12)}
	cl.Nodes = []*SwarmNode{me}
	c.engine.clusters[cl.ID] = cl
	c.d.Swarm = &Swarm{Cluster: cl.ID, Node: me.ID}
	ingress := &Network{ID: c.swarmID(), Name: "ingress", Driver: "overlay", Scope: "swarm", Created: c.now(), Ingress: true}
	if err := c.allocateNetwork(cl, ingress); err != nil {
		return nil, nil, err
	}
	return cl, me, c.takeIngress(cl)
}

// takeIngress makes this machine's part of the ingress network. Where something is
// in its way dockerd writes that in its log, and tries again with every network
// that comes (daemon.SetupIngress).
func (c *call) takeIngress(cl *Cluster) error {
	for _, n := range cl.Networks {
		if !n.Ingress || c.d.part(n) != nil {
			continue
		}
		if err := c.takePart(n); err != nil {
			if l := (lost{}); errors.As(err, &l) {
				return err
			}
		}
	}
	return nil
}

func (c *call) token(secret string) string { return "SWMTKN-1-" + secret + "-" + c.letters(25) }

var tokenText = regexp.MustCompile(`^SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})$`)

// swarmJoin takes this machine into the swarm whose manager is at an address.
func (c *call) swarmJoin(token string, remote netip.AddrPort, addr netip.Addr) error {
	if c.d.Swarm != nil {
		return refuse(System, "%s", inSwarm)
	}
	m := tokenText.FindStringSubmatch(token)
	if token != "" && m == nil {
		return refuse(Invalid, "invalid join token")
	}
	s, err := c.look()
	if err != nil {
		return err
	}
	var cl *Cluster
	there := false
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Kind == state.Container || !n.LocalAddr(remote.Addr()) {
			continue
		}
		there = true
		d := c.engine.daemons[n.Name]
		if d == nil || !d.Running {
			continue
		}
		if k, its := c.engine.member(d); its != nil && its.Manager && its.Port == remote.Port() {
			cl = k
		}
	}
	switch {
	case !there:
		c.d.Swarm = &Swarm{Pending: true}
		return refuse(System, "%s", noAnswer)
	case cl == nil:
		return refuse(System, "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing dial tcp %s: connect: connection refused\"", remote)
	case m != nil && !strings.HasPrefix(cl.Worker, "SWMTKN-1-"+m[1]+"-"):
		return refuse(System, "remote CA does not match fingerprint. Expected: %s", c.hex(64))
	case token != cl.Worker && token != cl.Manager:
		return refuse(System, "%s", badToken)
	case len(cl.Nodes) > maxNodes:
		return refuse(System, "not simulated: a swarm that more than %d machines have joined", maxNodes)
	case token == cl.Manager:
		return refuse(System, "not simulated: a second manager")
	}
	if !addr.IsValid() { // from where it speaks to the manager
		host, err := c.host()
		if err != nil {
			return err
		}
		if r := host.Route(state.Query{Dst: remote.Addr()}); r != nil {
			if addr, err = netip.ParseAddr(r.Src); err != nil {
				if l := host.Link(r.Dev); l != nil && len(l.Addrs) > 0 {
					addr = l.Addrs[0].Prefix.Addr()
				}
			}
		}
	}
	me := &SwarmNode{ID: c.swarmID(), Machine: c.d.Machine, Addr: addr, Gossip: c.hex(12)}
	cl.Nodes = append(cl.Nodes, me)
	c.d.Swarm = &Swarm{Cluster: cl.ID, Node: me.ID}
	return c.takeIngress(cl)
}

// swarmLeave takes this machine out of its swarm. Its containers run on, without
// what they had of the swarm's networks.
func (c *call) swarmLeave(force bool) error {
	switch {
	case c.d.Swarm == nil:
		return refuse(System, "%s", noSwarm)
	case c.d.Swarm.Pending:
		c.d.Swarm = nil
		return nil
	}
	cl, me := c.cluster()
	if me.Manager && !force {
		return refuse(System, "%s", lastOne)
	}
	// The manager keeps what its containers had, until the machine is removed.
	kept := slices.DeleteFunc(slices.Clone(cl.Tasks), func(t *Attachment) bool { return t.Node != me.ID || t.Balance })
	for _, ct := range c.d.Containers {
		for _, ep := range slices.Clone(ct.Endpoints) {
			n := c.d.networkByID(ep.Network)
			if n == nil || n.Driver != "overlay" {
				continue
			}
			if !ct.Running {
				ct.Endpoints = slices.DeleteFunc(ct.Endpoints, func(e *Endpoint) bool { return e == ep })
				continue
			}
			ct.HostIPs = nil
			if err := c.disconnect(ct, n, true); err != nil {
				return err
			}
		}
	}
	for _, b := range slices.Clone(c.d.Swarm.Boxes) {
		if err := c.partDown(b, false); err != nil {
			return err
		}
	}
	c.d.Networks = slices.DeleteFunc(c.d.Networks, func(n *Network) bool { return n.Scope == "swarm" })
	cl.Tasks = append(slices.DeleteFunc(cl.Tasks, func(t *Attachment) bool { return t.Node == me.ID }), kept...)
	for _, t := range kept {
		if n := cl.network(t.Network); n != nil && len(n.Pools) > 0 {
			n.Pools[0].take(t.IP)
		}
	}
	me.Left = c.now()
	c.d.Swarm = nil
	c.engine.forgetSwarm(cl)
	return nil
}

// forgetSwarm forgets a swarm that no machine is in any more.
func (e *Engine) forgetSwarm(cl *Cluster) {
	for _, d := range e.daemons {
		if d.Swarm != nil && d.Swarm.Cluster == cl.ID {
			return
		}
	}
	delete(e.clusters, cl.ID)
}

// goneAfter is when a manager takes a machine that it no longer hears of to be
// down: a little more than the five seconds between two of its beats.
const goneAfter = 6 * time.Second

// down reports whether the manager takes a machine to be down.
func (c *call) down(n *SwarmNode) bool { return n.Left != 0 && c.now()-n.Left > goneAfter }

var dnsName = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`)

// overlayCreate makes a network of the swarm's. Nothing happens on any machine
// until a container comes to it.
func (c *call) overlayCreate(n *Network) (*Network, error) {
	cl, me := c.cluster()
	switch {
	case me == nil:
		return nil, refuse(System, "%s", noManager)
	case !me.Manager:
		return nil, refuse(Forbid, "Cannot create a multi-host network from a worker node. Please create the network from a manager node.")
	case !dnsName.MatchString(n.Name):
		return nil, rpc("InvalidArgument", "name must be valid as a DNS name component")
	}
	if _, wanted := n.Options["encrypted"]; wanted {
		return nil, refuse(System, "not simulated: -o encrypted (IPsec between the machines)")
	}
	if n.Ingress {
		return nil, rpc("AlreadyExists", "ingress network (%s) is already present", cl.Networks[0].ID)
	}
	n.ID, n.Scope = c.swarmID(), "swarm"
	if err := c.allocateNetwork(cl, n); err != nil {
		return nil, err
	}
	return n, c.takeIngress(cl)
}

// rejoin is what a daemon that starts again does in its swarm.
func (c *call) rejoin() error {
	cl, me := c.cluster()
	if me == nil {
		return nil
	}
	for _, t := range cl.Tasks {
		if n := cl.network(t.Network); t.Node == me.ID && t.Balance && n != nil && n.Ingress {
			local := c.d.networkByID(n.ID)
			if local == nil {
				local = n.local()
				c.d.Networks = append(c.d.Networks, local)
			}
			if err := c.partUp(local, t.IP); err != nil {
				if l := (lost{}); errors.As(err, &l) {
					return err
				}
				cl.giveBack(n.ID, t.IP)
			}
			break
		}
	}
	return c.takeIngress(cl)
}

// allocateNetwork gives a network its VNI and its subnet, and tells the manager's
// machine of it. One whose subnet overlaps with another's is there, but of no use.
func (c *call) allocateNetwork(cl *Cluster, n *Network) error {
	if len(n.IPAM) > 1 {
		return refuse(System, "not simulated: an overlay network with several subnets")
	}
	cl.Networks = append(cl.Networks, n)
	cl.assign(n)
	c.d.Networks = append(c.d.Networks, n.local())
	return nil
}

// overlap returns the subnet of a network's that overlaps with p.
func (cl *Cluster) overlap(p netip.Prefix) (subnet netip.Prefix, taken bool) {
	for _, n := range cl.Networks {
		for _, q := range n.Pools {
			if q.Subnet.Overlaps(p) {
				return q.Subnet, true
			}
		}
	}
	return netip.Prefix{}, false
}

// freeSubnet is the next network of Base's that overlaps with none, "" where there
// is none. The search goes on where the last one ended. A subnet that is taken is
// passed in one step: Base may have millions.
func (cl *Cluster) freeSubnet() string {
	base, host := cl.Base.Masked(), 32-cl.Size
	count := 1 << (cl.Size - base.Bits())
	for i := 0; i < count; {
		at := (cl.NextPool + i) % count
		p := netip.PrefixFrom(nth(base, uint32(at)<<host), cl.Size)
		q, taken := cl.overlap(p)
		if !taken {
			cl.NextPool = at + 1
			return p.String()
		}
		i += int(hostPart(last(q), base)>>host) - at + 1
	}
	return ""
}

// assign gives a network what it asks for, or the next free subnet.
func (cl *Cluster) assign(n *Network) {
	cfg := IPAMConfig{}
	if len(n.IPAM) > 0 {
		cfg = n.IPAM[0]
	} else {
		cfg.Subnet = cl.freeSubnet()
	}
	subnet, err := netip.ParsePrefix(cfg.Subnet)
	if err != nil {
		return
	}
	if _, taken := cl.overlap(subnet.Masked()); taken {
		return
	}
	p := Pool{Subnet: subnet.Masked()}
	if cfg.IPRange != "" {
		p.Range, _ = netip.ParsePrefix(cfg.IPRange) // the client has read it
	}
	gateway, _ := netip.ParseAddr(cfg.Gateway)
	if p.Gateway, err = p.request(gateway); err != nil {
		return
	}
	if p.Last = p.Gateway; gateway.IsValid() { // one that was asked for does not count
		p.Last = p.Subnet.Addr()
	}
	cfg.Gateway = p.Gateway.String()
	for name, text := range cfg.AuxAddress {
		if a, err := netip.ParseAddr(text); err == nil {
			p.take(a)
			if p.Aux == nil {
				p.Aux = map[string]netip.Addr{}
			}
			p.Aux[name] = a
		}
	}
	n.VNI = cl.NextVNI
	cl.NextVNI++
	n.Pools, n.IPAM, n.OwnSubnet = []Pool{p}, []IPAMConfig{cfg}, true
}

// local is a network as one machine knows it.
func (n *Network) local() *Network {
	l := *n
	l.Pools = slices.Clone(n.Pools)
	return &l
}

// network returns a network of the swarm's by its name or ID, or nil.
func (cl *Cluster) network(term string) *Network {
	for _, n := range cl.Networks {
		if n.Name == term || n.ID == term {
			return n
		}
	}
	return nil
}

// address gives somebody on a node an address of a network: the one that is
// wanted, or the next after the one given out last.
func (c *call) address(cl *Cluster, n *Network, node string, want netip.Addr, balance bool) (netip.Addr, error) {
	if len(n.Pools) == 0 {
		return netip.Addr{}, refuse(System, "%s", notAttached)
	}
	p := &n.Pools[0]
	a, err := p.next(want)
	if err != nil {
		return netip.Addr{}, refuse(System, "%s", notAttached)
	}
	cl.Tasks = append(cl.Tasks, &Attachment{ID: c.swarmID(), Network: n.ID, Node: node, IP: a, Balance: balance})
	return a, nil
}

// notAttached is said after twenty seconds in which the manager found no address.
const notAttached = "attaching to network failed, make sure your network options are correct and check manager logs: context deadline exceeded"

// next is request as swarms do it: addresses are given out in a row, and one that
// was given back comes again only after all others (ipamapi.AllocSerialPrefix).
func (p *Pool) next(want netip.Addr) (netip.Addr, error) {
	if want.IsValid() {
		return p.request(want)
	}
	size := uint32(1) << (32 - p.Subnet.Bits())
	from := uint32(0)
	if p.Last.IsValid() {
		from = hostPart(p.Last, p.Subnet)
	}
	for i := uint32(1); i <= size; i++ {
		at := (from + i) % size
		a := nth(p.Subnet, at)
		if p.free(a) && (!p.Range.IsValid() || p.Range.Contains(a)) {
			p.take(a)
			p.Last = a
			return a, nil
		}
	}
	return netip.Addr{}, errNoAddress
}

// giveBack ends an attachment.
func (cl *Cluster) giveBack(network string, ip netip.Addr) {
	cl.Tasks = slices.DeleteFunc(cl.Tasks, func(t *Attachment) bool { return t.Network == network && t.IP == ip })
	if n := cl.network(network); n != nil {
		n.free(ip)
	}
}

// attachable finds the network that a container is to be attached to: this
// machine's own, or one of the swarm's.
func (c *call) attachable(name string) (*Network, error) {
	n, err := c.findNetwork(name)
	if err == nil && n.Driver != "overlay" {
		return n, nil
	}
	cl, me := c.cluster()
	if me == nil {
		return n, err
	}
	if err == nil {
		name = n.Name
	}
	def := cl.network(name)
	switch {
	case def == nil:
		return nil, refuse(NotFound, "Could not attach to network %s: %v", name, rpc("NotFound", "network %s not found", name))
	case !def.Attach:
		return nil, refuse(System, "Could not attach to network %s: %v", name, rpc("PermissionDenied", "network %s not manually attachable", name))
	case !c.managed(cl):
		return nil, refuse(System, "%s", notAttached)
	}
	if n == nil {
		n = def.local()
		c.d.Networks = append(c.d.Networks, n)
	}
	return n, nil
}

// managed reports whether the swarm's manager runs.
func (c *call) managed(cl *Cluster) bool {
	return slices.ContainsFunc(cl.Nodes, func(n *SwarmNode) bool {
		d := c.engine.daemons[n.Machine]
		return n.Manager && n.Left == 0 && d != nil && d.Running
	})
}

// overlayRemove removes a network of the swarm's.
func (c *call) overlayRemove(n *Network) error {
	cl, err := c.manages()
	if err != nil {
		return err
	}
	for _, t := range cl.Tasks {
		if t.Network == n.ID && !t.Balance {
			return rpc("FailedPrecondition", "network %s is in use by task %s", n.ID, t.ID)
		}
	}
	if n.Ingress {
		return refuse(System, "not simulated: a swarm without its ingress network")
	}
	cl.Networks = slices.DeleteFunc(cl.Networks, func(x *Network) bool { return x.ID == n.ID })
	c.d.Networks = slices.DeleteFunc(c.d.Networks, func(x *Network) bool { return x.ID == n.ID })
	for _, waiting := range cl.Networks {
		if local := c.d.networkByID(waiting.ID); len(waiting.Pools) == 0 && local != nil {
			cl.assign(waiting)
			*local = *waiting.local()
		}
	}
	return nil
}
