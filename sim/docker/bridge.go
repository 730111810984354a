package docker

import (
	"errors"
	"fmt"
	"net/netip"
)

// The bridge driver (libnetwork, drivers/bridge): a network is a bridge of the
// machine, its address the network's gateway, and the rules about it.

const defaultBridge = "docker0"

// subnet is the network's first pool; an invalid prefix where it has none.
func (n *Network) subnet() netip.Prefix {
	if len(n.Pools) == 0 {
		return netip.Prefix{}
	}
	return n.Pools[0].Subnet
}

// address is what the bridge has: the gateway, with the length of the subnet.
func (n *Network) address() netip.Prefix {
	return netip.PrefixFrom(n.Pools[0].Gateway, n.Pools[0].Subnet.Bits())
}

// bridgeUp makes a network's bridge and its rules, or makes those that are there
// what they should be: createNetwork.
func (c *call) bridgeUp(n *Network) error {
	host, err := c.host()
	if err != nil {
		return err
	}
	link := host.Link(n.Bridge)
	switch {
	case link != nil && link.Type != "bridge":
		return fmt.Errorf("existing interface %s is not a bridge", n.Bridge)
	case link == nil && n.Default && n.Bridge != defaultBridge:
		return fmt.Errorf("bridge device with non default name %s must be created manually", n.Bridge)
	case link == nil:
		if err := c.do("ip link add name %s address %s type bridge", n.Bridge, c.randomMAC()); err != nil {
			return err
		}
	}

	var now netip.Prefix // the address that gives way
	want := n.address()
	if link != nil {
		for i, a := range link.Addrs {
			if i == 0 || want.Masked().Contains(a.Prefix.Addr()) {
				now = a.Prefix
			}
			if want.Masked().Contains(a.Prefix.Addr()) {
				break
			}
		}
	}
	if now != want {
		if now.IsValid() {
			if err := c.do("ip addr del %s dev %s", now, n.Bridge); err != nil {
				return err
			}
		}
		broadcast := "broadcast + "
		if want.Bits() > 30 {
			broadcast = ""
		}
		if err := c.do("ip addr add %s %sdev %s", want, broadcast, n.Bridge); err != nil {
			if l := (lost{}); errors.As(err, &l) {
				return err
			}
			return fmt.Errorf("failed to add IPv4 address %s to bridge: %s", want, reason(err))
		}
	}
	if !c.d.Config.UserlandProxy {
		if host.Sysctls["net.ipv4.conf."+n.Bridge+".route_localnet"] != "1" {
			if err := c.do("sysctl -w net.ipv4.conf.%s.route_localnet=1", n.Bridge); err != nil {
				return err
			}
		}
	}
	if c.d.Config.IPTables {
		if err := c.networkRules(n); err != nil {
			return err
		}
		if err := c.isolate(n, true); err != nil {
			return err
		}
		if !n.ICC && host.Sysctls["net.ipv4.ip_forward"] == "1" && host.Sysctls["net.bridge.bridge-nf-call-iptables"] == "0" {
			if err := c.do("sysctl -w net.bridge.bridge-nf-call-iptables=1"); err != nil {
				return err
			}
		}
	}
	return c.do("ip link set %s up", n.Bridge)
}

// bridgeDown removes a network's bridge, where the driver made it, and its
// rules: deleteNetwork.
func (c *call) bridgeDown(n *Network) error {
	if !n.Default && n.OwnBridge {
		host, err := c.host()
		if err != nil {
			return err
		}
		if host.Link(n.Bridge) != nil {
			if err := c.do("ip link del %s", n.Bridge); err != nil {
				return err
			}
		}
	}
	if !c.d.Config.IPTables {
		return nil
	}
	return c.removeRules(n)
}

// linkContainers makes the rules for a container's links on a network without
// inter-container communication, or takes them away (driver.link): for its
// parents, over its own exposed ports, and for its children, over theirs.
func (c *call) linkContainers(ct *Container, n *Network, ep *Endpoint, on bool) error {
	if n.ICC || !c.d.Config.IPTables {
		return nil
	}
	how := appendRule
	if !on {
		how = deleteRule
	}
	pair := func(parent, child netip.Addr, ports []Port) error {
		for _, p := range ports {
			for _, r := range linkRules(n, parent, child, p) {
				if err := c.program(how, r); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, other := range c.d.Containers {
		at := other.endpoint(n)
		if at == nil || !at.IP.IsValid() || other == ct {
			continue
		}
		for _, l := range other.Links { // a parent: it was linked to this container
			if l.Container == ct.Name {
				if err := pair(at.IP, ep.IP, ct.Exposed); err != nil {
					return err
				}
			}
		}
		for _, l := range ct.Links { // a child
			if l.Container == other.Name {
				if err := pair(ep.IP, at.IP, other.Exposed); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
