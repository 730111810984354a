package docker

import "slices"

// docker_gwbridge (libnetwork, default_gateway.go): a bridge network of the
// machine by which a container reaches the world whose networks give it no
// gateway, as overlay networks do not. Its containers do not see each other
// there. Ports are published on it.

const gwBridge = "docker_gwbridge"

// needsGateway reports whether a container has networks, and none of them gives it
// a way out (sandbox.needDefaultGW).
func (c *call) needsGateway(ct *Container) bool {
	need := false
	for _, ep := range ct.Endpoints {
		n := c.d.networkByID(ep.Network)
		if n == nil || ep.Outward || n.Driver == "null" || n.Driver == "host" || n.Internal || !ep.IP.IsValid() {
			continue
		}
		if ep.Gateway.IsValid() {
			return false
		}
		need = true
	}
	return need
}

// outward is a container's place in docker_gwbridge, or nil.
func (ct *Container) outward() *Endpoint {
	for _, ep := range ct.Endpoints {
		if ep.Outward {
			return ep
		}
	}
	return nil
}

// defaultGateway gives a container a place in docker_gwbridge where it needs one,
// and takes it away where it no longer does.
func (c *call) defaultGateway(ct *Container) error {
	has := ct.outward()
	need := c.needsGateway(ct)
	switch {
	case need == (has != nil):
		return nil
	case need:
		return c.addOutward(ct)
	}
	return c.removeOutward(ct, has)
}

func (c *call) addOutward(ct *Container) error {
	n, err := c.gatewayNetwork()
	if err != nil {
		return err
	}
	before := c.gatewayEndpoint(ct)
	ep := &Endpoint{ID: c.newID(), Network: n.ID, Outward: true}
	if err := c.createEndpoint(ct, n, ep); err != nil {
		return err
	}
	ct.Endpoints = append(ct.Endpoints, ep)
	ct.number(ep)
	if ct.Pid != 0 || ct.Box != "" {
		if err := c.populate(ct, n, ep); err != nil {
			return err
		}
	}
	return c.externalTo(ct, before)
}

func (c *call) removeOutward(ct *Container, ep *Endpoint) error {
	n := c.d.networkByID(ep.Network)
	if len(ep.Mappings) > 0 {
		if err := c.unmapPorts(ct, n, ep); err != nil {
			return err
		}
	}
	c.deleteEndpoint(n, ep)
	ct.Endpoints = slices.DeleteFunc(ct.Endpoints, func(e *Endpoint) bool { return e == ep })
	return nil
}

// gatewayNetwork is the network docker_gwbridge, which is made when it is first
// needed and stays.
func (c *call) gatewayNetwork() (*Network, error) {
	for _, n := range c.d.Networks {
		if n.Name == gwBridge {
			return n, nil
		}
	}
	n := &Network{ID: c.newID(), Name: gwBridge, Driver: "bridge", Scope: "local", Created: c.now(), Bridge: gwBridge, Masq: true, OwnBridge: true,
		Options: map[string]string{"com.docker.network.bridge.name": gwBridge, "com.docker.network.bridge.enable_icc": "false",
			"com.docker.network.bridge.enable_ip_masquerade": "true"}}
	return n, c.newNetwork(n)
}
