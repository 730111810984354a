package docker

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Networks as the daemon has them: made, found, removed (moby,
// daemon/network.go; libnetwork, network.go). The command line is in
// cli_network.go.

// NetworkCreate is what docker network create asks for.
type NetworkCreate struct {
	Name, Driver, Scope string
	Internal, Attach    bool
	Ingress             bool
	Options, Labels     map[string]string
	IPAM                []IPAMConfig
}

// findNetwork returns the network that a term names: its ID, its name, or the
// beginning of the ID of one alone ((*Daemon).FindNetwork).
func (c *call) findNetwork(term string) (*Network, error) {
	var named, begun []*Network
	for _, n := range c.d.Networks {
		switch {
		case n.ID == term:
			return n, nil
		case n.Name == term:
			named = append(named, n)
		case term != "" && strings.HasPrefix(n.ID, term):
			begun = append(begun, n)
		}
	}
	switch {
	case len(named) == 1:
		return named[0], nil
	case len(named) > 1:
		return nil, refuse(Invalid, "network %s is ambiguous (%d matches found on name)", term, len(named))
	case len(begun) == 1:
		return begun[0], nil
	case len(begun) > 1:
		return nil, refuse(Invalid, "network %s is ambiguous (%d matches found based on ID prefix)", term, len(begun))
	}
	return nil, refuse(NotFound, "network %s not found", term)
}

// predefinedName reports whether a network of that name is the daemon's own.
func predefinedName(name string) bool {
	return slices.Contains([]string{"bridge", "host", "none", "default"}, name)
}

// networkCreate makes a network that somebody asked for (createNetwork).
func (c *call) networkCreate(o NetworkCreate) (*Network, error) {
	if err := c.room(); err != nil {
		return nil, err
	}
	if predefinedName(o.Name) && o.Driver != "overlay" {
		return nil, refuse(Forbid, "operation is not permitted on predefined %s network", o.Name)
	}
	if o.Name == "" || slices.ContainsFunc(c.d.Networks, func(n *Network) bool { return n.Name == o.Name }) {
		return nil, refuse(Conflict, "network with name %s already exists", o.Name)
	}
	for _, cfg := range o.IPAM {
		p, err := netip.ParsePrefix(cfg.Subnet)
		if err != nil {
			return nil, refuse(System, "Invalid subnet %s : invalid CIDR address: %s", cfg.Subnet, cfg.Subnet)
		}
		if !p.Addr().Is4() {
			return nil, refuse(System, "not simulated: IPv6")
		}
	}
	n := &Network{ID: c.newID(), Name: o.Name, Driver: o.Driver, Scope: "local", Created: c.now(), Size: c.size(), Internal: o.Internal, Attach: o.Attach,
		Ingress: o.Ingress, Options: o.Options, Labels: o.Labels, IPAM: o.IPAM, OwnSubnet: len(o.IPAM) > 0}
	if n.Driver == "" {
		n.Driver = "bridge"
	}
	switch n.Driver {
	case "bridge":
	case "host", "null":
		return nil, refuse(Forbid, "only one instance of %q network is allowed", n.Driver)
	case "overlay":
		return c.overlayCreate(n)
	case "macvlan", "ipvlan":
		return nil, refuse(System, "not simulated: networks of driver %s", n.Driver)
	default:
		return nil, refuse(NotFound, "plugin %q not found", n.Driver)
	}
	if o.Scope == "swarm" {
		return nil, refuse(Forbid, "cannot create a swarm scoped network when swarm is not active")
	}
	n.ICC, n.Masq, n.OwnBridge = true, true, true
	next := c.d.NextPool
	if err := c.newNetwork(n); err != nil {
		if _, is := err.(*Error); !is {
			c.d.NextPool = next
		}
		return nil, err
	}
	return n, nil
}

// newNetwork gives a bridge network its addresses, its bridge and its rules
// (libnetwork, (*controller).NewNetwork).
func (c *call) newNetwork(n *Network) error {
	if err := c.addressing(n); err != nil {
		return err
	}
	if len(n.Pools) > 1 {
		return refuse(Forbid, "bridge driver doesn't support multiple subnets")
	}
	if err := n.readOptions(); err != nil {
		return err
	}
	host, err := c.host()
	if err != nil {
		return err
	}
	if n.Bridge == "" {
		n.Bridge = "br-" + n.ID[:12]
	}
	link := host.Link(n.Bridge)
	switch {
	case len(n.Bridge) > 15:
		return refuse(System, "failed to check bridge interface existence: numerical result out of range")
	case link != nil && link.Type != "bridge":
		return refuse(System, "existing interface %s is not a bridge", n.Bridge)
	}
	n.OwnBridge = link == nil
	for _, other := range c.d.Networks {
		if other.Driver == "bridge" && other.Bridge == n.Bridge {
			return refuse(Forbid, "cannot create network %s (%s): conflicts with network %s (%s): networks have same bridge name", n.ID, n.Bridge, other.ID, other.Bridge)
		}
	}
	if strings.ContainsAny(n.Bridge, "/: \t\n\v\f\r") { // dev_valid_name, net/core/dev.c
		return refuse(System, "invalid argument")
	}
	if err := c.bridgeUp(n); err != nil {
		if _, is := err.(*Refused); is {
			return refuse(System, "%s", reason(err))
		}
		return err
	}
	c.d.Networks = append(c.d.Networks, n)
	return c.setupUserChain()
}

// readOptions takes in what -o says of a bridge (networkConfiguration.fromLabels).
func (n *Network) readOptions() error {
	bad := func(key, value, why string) error {
		return refuse(Invalid, "failed to parse %s value: %s (%s)", key, value, why)
	}
	for _, key := range slices.Sorted(maps.Keys(n.Options)) {
		v := n.Options[key]
		var err error
		switch key {
		case "com.docker.network.bridge.name":
			n.Bridge = v
		case "com.docker.network.driver.mtu":
			if n.MTU, err = strconv.Atoi(v); err == nil && n.MTU < 0 {
				return refuse(Invalid, "invalid MTU number: %d", n.MTU)
			}
		case "com.docker.network.bridge.enable_icc":
			n.ICC, err = strconv.ParseBool(v)
		case "com.docker.network.bridge.enable_ip_masquerade":
			n.Masq, err = strconv.ParseBool(v)
		case "com.docker.network.bridge.host_binding_ipv4":
			if n.HostIP, err = netip.ParseAddr(v); err != nil {
				return bad(key, v, "nil ip")
			}
		case "com.docker.network.host_ipv4":
			if n.SNAT, err = netip.ParseAddr(v); err != nil {
				return bad(key, v, "nil ip")
			}
		case "com.docker.network.bridge.inhibit_ipv4", "com.docker.network.container_iface_prefix":
			return refuse(System, "not simulated: -o %s", key)
		}
		if err != nil {
			return bad(key, v, err.Error())
		}
	}
	return nil
}

// networkRemove removes a network that nothing uses (deleteNetwork).
func (c *call) networkRemove(n *Network) error {
	if predefinedName(n.Name) {
		return refuse(Forbid, "%s is a pre-defined network and cannot be removed", n.Name)
	}
	if n.Driver == "overlay" {
		return c.overlayRemove(n)
	}
	users := slices.Clone(c.d.Containers)
	if c.d.Swarm != nil {
		for _, b := range c.d.Swarm.Boxes {
			users = append(users, b.Box)
		}
	}
	for _, ct := range users {
		if (ct.Running || ct.Box != "") && ct.endpoint(n) != nil {
			return refuse(Forbid, "error while removing network: network %s id %s has active endpoints", n.Name, n.ID)
		}
	}
	if err := c.bridgeDown(n); err != nil {
		return err
	}
	c.d.Networks = slices.DeleteFunc(c.d.Networks, func(x *Network) bool { return x == n })
	return nil
}
