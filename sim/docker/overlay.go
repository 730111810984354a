package docker

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"vethlab/sim/state"
)

// Overlay networks (libnetwork, drivers/overlay): a bridge on each machine, in a
// namespace of the network's own, and a tunnel that joins the bridges.
//
//	web1 eth0 ══ veth1 ─┐                                                  ┌─ veth1 ══ eth0 web2
//	                    br0 ─ vxlan0 ┄┄ UDP 4789 from machine to machine ┄┄ vxlan0 ─ br0
//	lb   eth0 ══ veth0 ─┘ 1-NETWORK                              1-NETWORK └─ veth0 ══ eth0 lb
//	web1 eth1 ══ docker_gwbridge ── the world (gwbridge.go)
//
// The tunnel's device asks nobody where an address is. For every endpoint on
// another machine the daemon tells it two things: the MAC address that an IP
// address has (a permanent neighbour; the device answers ARP itself), and the
// machine behind which that MAC address is (a row of its forwarding table).
//
// dockerd keeps these namespaces in /var/run/docker/netns; here they are in
// /run/netns, where `ip netns` finds them.

// overlayMTU leaves room for what the tunnel puts around a packet: an Ethernet
// header, IP, UDP and VXLAN, 50 bytes.
const overlayMTU = 1450

// in does a line in a namespace that has a name.
func (c *call) in(netns, format string, args ...any) error {
	return c.do("ip netns exec %s %s", netns, fmt.Sprintf(format, args...))
}

// part is this machine's part in a network, or nil.
func (d *Daemon) part(n *Network) *Balance {
	if d.Swarm == nil {
		return nil
	}
	for _, b := range d.Swarm.Boxes {
		if b.Network == n.ID {
			return b
		}
	}
	return nil
}

// takePart makes this machine's part of a network: when it comes into a swarm
// that of the ingress network, of others when the first container comes.
func (c *call) takePart(n *Network) error {
	cl, me := c.cluster()
	local := c.d.networkByID(n.ID)
	if local == nil {
		local = n.local()
		c.d.Networks = append(c.d.Networks, local)
	}
	ip, err := c.address(cl, cl.network(n.ID), me.ID, netip.Addr{}, true)
	if err != nil {
		return err
	}
	if err := c.partUp(local, ip); err != nil {
		cl.giveBack(n.ID, ip)
		return err
	}
	return nil
}

// partUp makes a network's namespace on this machine, and the sandbox with the
// machine's own address in it ((*network).createLoadBalancerSandbox). Where
// something is in their way nothing is left of them, and why only dockerd's log
// would say.
func (c *call) partUp(n *Network, ip netip.Addr) (err error) {
	b := &Balance{Network: n.ID, Box: &Container{ID: c.newID(), Name: "lb-" + n.Name, Box: "lb_" + n.ID[:9], Node: c.d.Machine}}
	if n.Ingress {
		b.Box.Name, b.Box.Box = "ingress-sbox", "ingress_sbox"
	}
	box := b.Box
	defer func() {
		if l := (lost{}); err == nil || errors.As(err, &l) {
			return
		}
		err = refuse(System, "%s", notAttached)
		if c.d.part(n) != nil {
			err = cmp.Or(c.partDown(b, true), err)
		}
	}()
	if err := c.do("ip netns add %s", box.Box); err != nil {
		return err
	}
	ep := &Endpoint{ID: c.newID(), Network: n.ID, IP: ip}
	box.Endpoints = []*Endpoint{ep}
	c.d.Swarm.Boxes = append(c.d.Swarm.Boxes, b)
	if err := c.within(box, "ip link set dev lo up"); err != nil {
		return err
	}
	if err := c.joinOverlay(n, ep); err != nil {
		return err
	}
	if err := c.populate(box, n, ep); err != nil {
		return err
	}
	if n.Ingress {
		return c.defaultGateway(box)
	}
	return nil
}

// partDown takes this machine's part of a network away; its address there stays
// its own if keep says so.
func (c *call) partDown(b *Balance, keep bool) error {
	box := b.Box
	if err := c.stopResolver(box); err != nil {
		return err
	}
	if err := c.try("rm -rf %s", box.namesDir()); err != nil {
		return err
	}
	for _, ep := range slices.Clone(box.Endpoints) {
		n := c.d.networkByID(ep.Network)
		if ep.Outward {
			c.deleteEndpoint(n, ep)
			continue
		}
		if cl, _ := c.cluster(); cl != nil && !keep {
			cl.giveBack(ep.Network, ep.IP)
		}
		if err := c.tellPeers(n, ep, false); err != nil {
			return err
		}
	}
	lines := []string{"ip netns del " + box.Box}
	if b.Netns != "" {
		lines = append(lines, "ip netns exec "+b.Netns+" ip link del vxlan0", "ip netns del "+b.Netns)
	}
	for _, line := range lines {
		if err := c.try("%s", line); err != nil {
			return err
		}
	}
	c.d.Swarm.Boxes = slices.DeleteFunc(c.d.Swarm.Boxes, func(x *Balance) bool { return x == b })
	return nil
}

// networkNetns makes a network's namespace: its bridge, whose address is the
// network's gateway, and its tunnel (initSandbox, setupSubnetSandbox). The
// tunnel's packets are those of the machine, where the device was made.
func (c *call) networkNetns(n *Network, b *Balance) error {
	cl, _ := c.cluster()
	if !c.d.Swarm.Tested { // networkOnceInit: whether such a device can be moved
		c.d.Swarm.Tested = true
		for _, line := range []string{fmt.Sprintf("ip link add testvxlan type vxlan id 1 dstport %d proxy l2miss l3miss", cl.Port), "ip link del testvxlan"} {
			if err := c.try("%s", line); err != nil {
				return err
			}
		}
	}
	netns := "1-" + n.ID[:10]
	bridge, tunnel := fmt.Sprintf("ov-%06x-%s", n.VNI, n.ID[:5]), fmt.Sprintf("vx-%06x-%s", n.VNI, n.ID[:5])
	if err := c.do("ip netns add %s", netns); err != nil {
		return err
	}
	b.Netns = netns
	pool := n.Pools[0]
	for _, line := range []string{
		"ip link set dev lo up",
		"ip link add name " + bridge + " type bridge",
		"ip link set dev " + bridge + " name br0",
		fmt.Sprintf("ip addr add %s broadcast + dev br0", netip.PrefixFrom(pool.Gateway, pool.Subnet.Bits())),
		"ip link set dev br0 up",
	} {
		if err := c.in(b.Netns, "%s", line); err != nil {
			return err
		}
	}
	if err := c.do("ip link add name %s mtu %d type vxlan id %d dstport %d proxy l2miss l3miss", tunnel, overlayMTU, n.VNI, cl.Port); err != nil {
		return err
	}
	if err := c.port(b.Netns, tunnel, "vxlan0"); err != nil {
		return err
	}
	for _, p := range c.peers(n) {
		if err := c.tellTunnel(b, p, true); err != nil {
			return err
		}
	}
	return nil
}

// port moves a device into a network's namespace, as a port of its bridge.
func (c *call) port(netns, dev, name string) error {
	if err := c.do("ip link set dev %s netns %s", dev, netns); err != nil {
		return err
	}
	for _, line := range []string{"ip link set dev " + dev + " name " + name, "ip link set dev " + name + " master br0", "ip link set dev " + name + " up"} {
		if err := c.in(netns, "%s", line); err != nil {
			return err
		}
	}
	return nil
}

// joinOverlay makes an endpoint's pair, one end of it on the network's bridge, and
// tells the other machines of the endpoint (driver.Join).
func (c *call) joinOverlay(n *Network, ep *Endpoint) (err error) {
	b := c.d.part(n)
	if b.Netns == "" {
		if err := c.networkNetns(n, b); err != nil {
			return err
		}
	}
	if ep.MAC == "" {
		ep.MAC = macOf(ep.IP)
	}
	outer, err := c.ifname("veth", 7)
	if err != nil {
		return err
	}
	if ep.PeerDev, err = c.ifname("veth", 7); err != nil {
		return err
	}
	if err := c.do("ip link add name %s type veth peer name %s", outer, ep.PeerDev); err != nil {
		return err
	}
	if err := c.do("ip link set dev %s mtu %d", outer, overlayMTU); err != nil {
		return err
	}
	ep.HostDev = fmt.Sprintf("veth%d", b.Next)
	b.Next++
	if err := c.port(b.Netns, outer, ep.HostDev); err != nil {
		return err
	}
	if err := c.do("ip link set dev %s mtu %d", ep.PeerDev, overlayMTU); err != nil {
		return err
	}
	if err := c.do("ip link set dev %s address %s", ep.PeerDev, ep.MAC); err != nil {
		return err
	}
	return c.tellPeers(n, ep, true)
}

// attachOverlay gives a container an address in a network of the swarm's, and
// makes this machine's part of it where it has none yet.
func (c *call) attachOverlay(ct *Container, n *Network, ep *Endpoint) (err error) {
	cl, me := c.cluster()
	def := (*Network)(nil)
	if cl != nil {
		def = cl.network(n.ID)
	}
	if def == nil {
		return refuse(NotFound, "network %s not found", n.Name)
	}
	if ep.IP, err = c.address(cl, def, me.ID, ep.WantIP, false); err != nil {
		if c.d.part(n) == nil && !me.Manager {
			c.d.Networks = slices.DeleteFunc(c.d.Networks, func(x *Network) bool { return x == n })
		}
		return err
	}
	ct.HostIPs = append(ct.HostIPs, ep.IP)
	ep.MAC = ct.MAC
	if c.d.part(n) == nil {
		if err := c.takePart(n); err != nil {
			cl.giveBack(n.ID, ep.IP)
			ep.IP = netip.Addr{}
			return err
		}
	}
	return c.joinOverlay(n, ep)
}

// leaveOverlay takes an endpoint out of a network, and with the last one the
// machine's part of it (driver.Leave, DeleteEndpoint).
func (c *call) leaveOverlay(n *Network, ep *Endpoint) error {
	b := c.d.part(n)
	if b == nil || !ep.IP.IsValid() {
		return nil
	}
	if err := c.tellPeers(n, ep, false); err != nil {
		return err
	}
	if ep.HostDev != "" {
		netns, err := c.netns(b.Netns)
		if err != nil {
			return err
		}
		if c.explain || netns != nil && netns.Link(ep.HostDev) != nil {
			if err := c.in(b.Netns, "ip link del %s", ep.HostDev); err != nil {
				if _, refused := err.(*Refused); !refused {
					return err
				}
			}
		}
	}
	cl, me := c.cluster()
	cl.giveBack(n.ID, ep.IP)
	ep.IP = netip.Addr{}
	if slices.ContainsFunc(cl.Tasks, func(t *Attachment) bool { return t.Network == n.ID && t.Node == me.ID && !t.Balance }) {
		return nil
	}
	if err := c.partDown(b, false); err != nil {
		return err
	}
	if !me.Manager {
		c.d.Networks = slices.DeleteFunc(c.d.Networks, func(x *Network) bool { return x == n })
	}
	return nil
}

// endpoints are those that a daemon has in a network.
func (d *Daemon) endpoints(network string) (eps []*Endpoint) {
	add := func(ct *Container) {
		for _, ep := range ct.Endpoints {
			if ep.Network == network && ep.IP.IsValid() && ep.PeerDev != "" {
				eps = append(eps, ep)
			}
		}
	}
	if d.Swarm != nil {
		for _, b := range d.Swarm.Boxes {
			add(b.Box)
		}
	}
	for _, ct := range d.Containers {
		add(ct)
	}
	return eps
}

// peers are a network's endpoints on other machines.
func (c *call) peers(n *Network) (all []Peer) {
	for _, d := range c.others() {
		_, at := c.engine.member(d)
		for _, ep := range d.endpoints(n.ID) {
			all = append(all, Peer{ep.IP, ep.MAC, at.Addr})
		}
	}
	return all
}

// tellPeers tells the other machines that take part in a network of an endpoint
// that has come, or is going.
func (c *call) tellPeers(n *Network, ep *Endpoint, come bool) error {
	_, me := c.cluster()
	p := Peer{ep.IP, ep.MAC, me.Addr}
	for _, d := range c.others() {
		b := d.part(n)
		if b == nil || b.Netns == "" {
			continue
		}
		if err := c.on(d, func() error { return c.tellTunnel(b, p, come) }); err != nil {
			return err
		}
	}
	return nil
}

// tellTunnel tells a tunnel's device who a peer is and where, or forgets it
// (peerAddOp, peerDeleteOp).
func (c *call) tellTunnel(b *Balance, p Peer, come bool) error {
	at := slices.Index(b.Peers, p)
	if come == (at >= 0) {
		return nil
	}
	if come {
		b.Peers = append(b.Peers, p)
		if err := c.in(b.Netns, "ip neigh replace %s lladdr %s dev vxlan0 nud permanent", p.IP, p.MAC); err != nil {
			return err
		}
		return c.in(b.Netns, "bridge fdb replace %s dev vxlan0 dst %s self permanent", p.MAC, p.VTEP)
	}
	b.Peers = slices.Delete(b.Peers, at, at+1)
	lines := []string{fmt.Sprintf("bridge fdb del %s dev vxlan0 dst %s self", p.MAC, p.VTEP), fmt.Sprintf("ip neigh del %s dev vxlan0", p.IP)}
	netns, err := c.netns(b.Netns)
	if err != nil {
		return err
	}
	if netns != nil && slices.ContainsFunc(netns.FDB, func(f state.FDB) bool { return f.MAC == p.MAC && f.Dev == "vxlan0" && f.Dst == "" }) {
		lines = slices.Insert(lines, 1, fmt.Sprintf("bridge fdb del %s dev vxlan0 master", p.MAC)) // what the bridge has learned
	}
	for _, line := range lines {
		if err := c.try("ip netns exec %s %s", b.Netns, line); err != nil {
			return err
		}
	}
	return nil
}

// netns is the state of a namespace of the daemon's machine that has a name; nil
// where there is none.
func (c *call) netns(name string) (*state.Node, error) {
	s, err := c.look()
	if err != nil {
		return nil, err
	}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Machine == c.d.Machine && n.Mounted && n.NetnsName() == name {
			return n, nil
		}
	}
	return nil, nil
}
