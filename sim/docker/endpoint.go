package docker

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vethlab/sim/op"
)

// A container's way into a network: the veth pair, and the sandbox that its
// inner end is put in.
//
//	before the container's process     createEndpoint   address; the pair; the outer end to the bridge, up
//	                                   mapPorts         rules and docker-proxy, for the endpoint of the default route
//	the process                        start            a network namespace
//	in it                              populate         lo up; inner end moved in, named eth0, MAC, address, up; default route
//
// (libnetwork: bridge.CreateEndpoint, endpoint.sbJoin, sandbox.SetKey and
// populateNetworkResources, osl.AddInterface.)

// createEndpoint gives a container an address in a network and makes its pair.
func (c *call) createEndpoint(ct *Container, n *Network, ep *Endpoint) (err error) {
	ips := ct.HostIPs
	defer func() {
		if err != nil {
			ct.HostIPs = ips
		}
	}()
	switch n.Driver {
	case "null", "host":
		return nil
	case "overlay":
		if err := c.attachOverlay(ct, n, ep); err != nil {
			c.deleteEndpoint(n, ep)
			return err
		}
		return nil
	}
	ep.IP, err = n.allocate(ep.WantIP)
	if err != nil {
		return err
	}
	ep.MAC = ct.MAC
	if ep.MAC == "" || ep.Outward {
		ep.MAC = macOf(ep.IP)
	}
	ep.Gateway = netip.Addr{}
	if len(n.Pools) > 0 {
		ep.Gateway = n.Pools[0].Gateway
	}
	if !ep.Outward {
		ct.HostIPs = append(ct.HostIPs, ep.IP)
	}
	defer func() {
		if err == nil {
			return
		}
		c.deleteEndpoint(n, ep)
		if l := (lost{}); !errors.As(err, &l) { // (*network).addEndpoint
			err = refuse(System, "failed to create endpoint %s on network %s: %s", ct.Name, n.Name, reason(err))
		}
	}()
	if ep.HostDev, err = c.ifname("veth", 7); err != nil {
		return err
	}
	if ep.PeerDev, err = c.ifname("veth", 7); err != nil {
		return err
	}
	if err := c.do("ip link add name %s type veth peer name %s", ep.HostDev, ep.PeerDev); err != nil {
		return refuse(System, "failed to add the host (%s) <=> sandbox (%s) pair interfaces: %s", ep.HostDev, ep.PeerDev, reason(err))
	}
	if n.MTU != 0 {
		for _, dev := range []string{ep.HostDev, ep.PeerDev} {
			if err := c.do("ip link set dev %s mtu %d", dev, n.MTU); err != nil {
				return refuse(System, "failed to set MTU on host interface %s: %s", dev, reason(err))
			}
		}
	}
	if err := c.do("ip link set dev %s master %s", ep.HostDev, n.Bridge); err != nil {
		return refuse(System, "adding interface %s to bridge %s failed: %s", ep.HostDev, n.Bridge, reason(err))
	}
	if !c.d.Config.UserlandProxy {
		if err := c.do("bridge link set dev %s hairpin on", ep.HostDev); err != nil {
			return err
		}
	}
	return c.do("ip link set dev %s up", ep.HostDev)
}

// reason is what a primitive was refused for, as the daemon has it from the kernel
// by its netlink library: an errno's text, in small letters.
func reason(err error) string {
	r := (*Refused)(nil)
	if !errors.As(err, &r) {
		return err.Error()
	}
	if f := r.Result.Failure; f != nil && f.What == "" && f.Errno != 0 {
		return strings.ToLower(op.Strerror(f.Errno))
	}
	text := r.Error()
	for _, prefix := range []string{"RTNETLINK answers: ", "Error: ", "sysctl: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return strings.ToLower(strings.TrimSuffix(text, "."))
}

// deleteEndpoint takes the pair away, where it still is, and gives the address
// back.
func (c *call) deleteEndpoint(n *Network, ep *Endpoint) {
	if n.Driver == "overlay" {
		_ = c.leaveOverlay(n, ep) // a lost lab says so at the next line, too
		ep.HostDev = ""
	}
	if ep.HostDev != "" {
		if host, err := c.host(); err == nil && (host.Link(ep.HostDev) != nil || c.explain) {
			_ = c.try("ip link del %s", ep.HostDev) // it may have gone with its namespace
		}
	}
	if ep.IP.IsValid() {
		n.free(ep.IP)
	}
	ep.IP, ep.Gateway = netip.Addr{}, netip.Addr{}
	ep.MAC, ep.HostDev, ep.PeerDev, ep.Dev = "", "", "", ""
}

// populate puts an endpoint into the container's namespace.
func (c *call) populate(ct *Container, n *Network, ep *Endpoint) error {
	if n.userDefined() && n.Driver != "null" && n.Driver != "host" {
		if err := c.startResolver(ct); err != nil {
			return err
		}
	}
	if ep.PeerDev != "" {
		if err := c.enter(ct, n, ep, "eth", n.Pools[0].Subnet.Bits()); err != nil {
			return err
		}
	}
	if ep != c.gatewayEndpoint(ct) {
		return nil
	}
	err := c.within(ct, "ip route add default via %s dev %s", ep.Gateway, ep.Dev)
	if _, refused := err.(*Refused); refused { // sandbox.updateGateway
		return refuse(System, "failed to set gateway while updating gateway: %s", reason(err))
	}
	return err
}

// enter moves the inner end of a pair into the container, under the first free
// name.
func (c *call) enter(ct *Container, n *Network, ep *Endpoint, prefix string, bits int) error {
	ep.Dev = fmt.Sprintf("%s%d", prefix, ct.NextDev)
	ct.NextDev++
	if err := c.do("ip link set dev %s netns %s", ep.PeerDev, ct.pid()); err != nil {
		return refuse(System, "failed to add interface %s to sandbox: failed to set namespace on link %q: %s", ep.PeerDev, ep.PeerDev, reason(err))
	}
	address := netip.PrefixFrom(ep.IP, bits)
	for _, step := range []struct{ line, wrong string }{ // osl/interface_linux.go
		{"ip link set dev " + ep.PeerDev + " name " + ep.Dev, fmt.Sprintf("error renaming interface %q to %q", ep.PeerDev, ep.Dev)},
		{"ip link set dev " + ep.Dev + " address " + ep.MAC, fmt.Sprintf("error setting interface %q MAC to %q", ep.PeerDev, ep.MAC)},
		{fmt.Sprintf("ip addr add %s broadcast + dev %s", address, ep.Dev), fmt.Sprintf("error setting interface %q IP to %s", ep.PeerDev, address)},
		{"ip link set dev " + ep.Dev + " up", fmt.Sprintf("failed to set link %q up", ep.Dev)},
	} {
		if err := c.within(ct, "%s", step.line); err != nil {
			if l := (lost{}); errors.As(err, &l) {
				return err
			}
			return refuse(System, "failed to add interface %s to sandbox: %s: %s", ep.PeerDev, step.wrong, reason(err))
		}
	}
	return nil
}

// sorted are the container's endpoints in the order of dockerd's sandbox
// (libnetwork, (*endpoint).Less): the first with a gateway has the default route.
func (c *call) sorted(ct *Container) []*Endpoint {
	eps := slices.Clone(ct.Endpoints)
	slices.SortStableFunc(eps, func(a, b *Endpoint) int {
		if a.Outward || b.Outward {
			if b.Outward {
				return -1
			}
			return 1
		}
		na, nb := c.d.networkByID(a.Network), c.d.networkByID(b.Network)
		if na == nil || nb == nil {
			return 0
		}
		if na.Internal != nb.Internal {
			if nb.Internal {
				return -1
			}
			return 1
		}
		if a.Gateway.IsValid() != b.Gateway.IsValid() {
			if a.Gateway.IsValid() {
				return -1
			}
			return 1
		}
		return strings.Compare(na.Name, nb.Name)
	})
	return eps
}

// gatewayEndpoint is the one that gives the default route, among those that have
// been joined; nil if there is none.
func (c *call) gatewayEndpoint(ct *Container) *Endpoint {
	for _, ep := range c.sorted(ct) {
		if ep.Gateway.IsValid() && ep.IP.IsValid() {
			return ep
		}
	}
	return nil
}

// externalTo gives ports to the endpoint that now has the default route, and
// takes them from the one that had it.
func (c *call) externalTo(ct *Container, before *Endpoint) error {
	now := c.gatewayEndpoint(ct)
	if now == before {
		return nil
	}
	if before != nil && len(before.Mappings) > 0 {
		if err := c.unmapPorts(ct, c.d.networkByID(before.Network), before); err != nil {
			return err
		}
	}
	if now == nil {
		return nil
	}
	n := c.d.networkByID(now.Network)
	if n == nil || n.Internal || n.Driver != "bridge" {
		return nil
	}
	if err := c.mapPorts(ct, n, now); err != nil {
		if _, is := err.(lost); is {
			return err
		}
		return refuse(System, "driver failed programming external connectivity on endpoint %s (%s): %v", ct.Name, now.ID, err)
	}
	return c.linkContainers(ct, n, now, true)
}

// connect takes a container that runs into one more network.
func (c *call) connect(ct *Container, n *Network, ep *Endpoint) (err error) {
	if !ct.Running {
		ct.Endpoints = append(ct.Endpoints, ep)
		ct.number(ep)
		return nil
	}
	before := c.gatewayEndpoint(ct)
	if ep.ID == "" {
		ep.ID = c.newID()
	}
	if err := c.createEndpoint(ct, n, ep); err != nil {
		return err
	}
	ct.Endpoints = append(ct.Endpoints, ep)
	ct.number(ep)
	defer func() {
		if err != nil {
			ct.Endpoints = slices.DeleteFunc(ct.Endpoints, func(e *Endpoint) bool { return e == ep })
			c.deleteEndpoint(n, ep)
		}
	}()
	if err := c.writeHosts(ct); err != nil {
		return err
	}
	gateway := c.gatewayEndpoint(ct)
	if gateway == ep && before != nil {
		if err := c.within(ct, "ip route del default via %s dev %s", before.Gateway, before.Dev); err != nil {
			return err
		}
	}
	if err := c.populate(ct, n, ep); err != nil {
		return err
	}
	if err := c.externalTo(ct, before); err != nil {
		return err
	}
	return c.defaultGateway(ct)
}

// number notes when an endpoint came to its container.
func (ct *Container) number(ep *Endpoint) {
	ct.Joins++
	ep.Order = ct.Joins
}

// disconnect takes a container out of a network (sandbox.clearNetworkResources,
// endpoint.sbLeave).
func (c *call) disconnect(ct *Container, n *Network, force bool) error {
	ep := ct.endpoint(n)
	if ep == nil {
		return refuse(System, "container %s is not connected to network %s", ct.ID, n.Name)
	}
	if !ct.Running {
		ct.Endpoints = slices.DeleteFunc(ct.Endpoints, func(e *Endpoint) bool { return e == ep })
		return nil
	}
	before := c.gatewayEndpoint(ct)
	if before == ep && len(ep.Mappings) > 0 {
		if err := c.unmapPorts(ct, n, ep); err != nil {
			return err
		}
	}
	// dockerd moves the inner end back to the machine and deletes it there; here
	// the pair is deleted by its outer end, which leaves the same.
	if ep.Dev != "" {
		if err := c.within(ct, "ip link set dev %s down", ep.Dev); err != nil {
			return err
		}
	}
	ct.Endpoints = slices.DeleteFunc(ct.Endpoints, func(e *Endpoint) bool { return e == ep })
	c.deleteEndpoint(n, ep)
	if n.userDefined() && n.Driver != "overlay" {
		ct.HostIPs = nil // libnetwork forgets every line with the container's name
	}
	now := c.gatewayEndpoint(ct)
	if now != nil && now != before {
		if err := c.within(ct, "ip route add default via %s dev %s", now.Gateway, now.Dev); err != nil {
			return err
		}
		if err := c.externalTo(ct, nil); err != nil {
			return err
		}
	}
	if err := c.defaultGateway(ct); err != nil {
		return err
	}
	if err := c.tellNames(); err != nil {
		return err
	}
	return c.writeHosts(ct)
}
