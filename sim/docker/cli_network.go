package docker

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// docker network …: its command lines, and what they print (docker/cli,
// cli/command/network).

var networkCommands = []subcommand{
	{"connect", "Connect a container to a network", (*call).cliConnect},
	{"create", "Create a network", (*call).cliNetworkCreate},
	{"disconnect", "Disconnect a container from a network", (*call).cliDisconnect},
	{"inspect", "Display detailed information on one or more networks", (*call).cliNetworkInspect},
	{"ls", "List networks", (*call).cliNetworkList},
	{"prune", "Remove all unused networks", (*call).cliNetworkPrune},
	{"rm", "Remove one or more networks", (*call).cliNetworkRemove},
}

func (c *call) cliNetworkCreate(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] NETWORK", "Create a network", 1, 1)
	driver := f.text("driver", "d")
	driver.value = "bridge"
	options, labels := f.list("opt", "o"), f.list("label", "")
	internal, attachable, ingress := f.boolean("internal", ""), f.boolean("attachable", ""), f.boolean("ingress", "")
	scope := f.text("scope", "")
	ipv6, configOnly, configFrom := f.boolean("ipv6", ""), f.boolean("config-only", ""), f.text("config-from", "")
	ipam := f.text("ipam-driver", "")
	ipam.value = "default"
	subnets, ranges, gateways := f.list("subnet", ""), f.list("ip-range", ""), f.list("gateway", "")
	aux, ipamOptions := f.list("aux-address", ""), f.list("ipam-opt", "")
	args, status, done := c.parse(f, args)
	if done {
		return status, nil
	}
	for _, g := range []*flag{ipv6, configOnly, configFrom, ipamOptions} {
		if g.set && g.value != "false" {
			fmt.Fprintf(&c.errs, "not simulated: docker network create --%s\n", g.name)
			return 95, nil
		}
	}
	cfg, err := consolidate(several(subnets.list), several(ranges.list), several(gateways.list), pairs(aux.list))
	if err != nil {
		fmt.Fprintln(&c.errs, err)
		return 1, nil
	}
	if !c.connected() {
		return 1, nil
	}
	if ipam.value != "default" && ipam.value != "" {
		return c.fail(refuse(System, "failed to retrieve IPAM driver %q: plugin %q not found", ipam.value, ipam.value))
	}
	n, err := c.networkCreate(NetworkCreate{Name: args[0], Driver: driver.value, Scope: scope.value, Internal: internal.on(), Attach: attachable.on(),
		Ingress: ingress.on(), Options: pairs(options.list), Labels: pairs(labels.list), IPAM: cfg})
	if err != nil {
		return c.fail(err)
	}
	fmt.Fprintln(&c.out, n.ID)
	return 0, nil
}

// several are the values of a flag that takes some in one, with commas between.
func several(list []string) (all []string) {
	for _, v := range list {
		all = append(all, strings.Split(v, ",")...)
	}
	return all
}

// pairs reads KEY=VALUE texts.
func pairs(list []string) map[string]string {
	m := map[string]string{}
	for _, kv := range list {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}

// consolidate brings what the flags say of subnets together (consolidateIpam).
func consolidate(subnets, ranges, gateways []string, aux map[string]string) ([]IPAMConfig, error) {
	if len(subnets) < len(ranges) || len(subnets) < len(gateways) {
		return nil, fmt.Errorf("every ip-range or gateway must have a corresponding subnet")
	}
	var all []IPAMConfig
	for _, s := range subnets {
		for _, other := range all {
			a, err := matches(s, other.Subnet)
			if err != nil {
				return nil, err
			}
			b, err := matches(other.Subnet, s)
			if err != nil {
				return nil, err
			}
			if a || b {
				return nil, fmt.Errorf("multiple overlapping subnet configuration is not supported")
			}
		}
		all = append(all, IPAMConfig{Subnet: s})
	}
	// place gives a value to each subnet that it belongs to.
	place := func(value string, what string, take func(*IPAMConfig) error) error {
		found := false
		for i := range all {
			ok, err := matches(all[i].Subnet, value)
			if err != nil {
				return err
			}
			if ok {
				if err := take(&all[i]); err != nil {
					return err
				}
				found = true
			}
		}
		if !found {
			return fmt.Errorf("no matching subnet for %s %s", what, value)
		}
		return nil
	}
	for _, r := range ranges {
		if err := place(r, "range", func(cfg *IPAMConfig) error {
			if cfg.IPRange != "" {
				return fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", r, cfg.IPRange, cfg.Subnet)
			}
			cfg.IPRange = r
			return nil
		}); err != nil {
			return nil, err
		}
	}
	for _, g := range gateways {
		if err := place(g, "gateway", func(cfg *IPAMConfig) error {
			if cfg.Gateway != "" {
				return fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", g, cfg.Gateway, cfg.Subnet)
			}
			cfg.Gateway = g
			return nil
		}); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(aux)) {
		if err := place(aux[key], "aux-address", func(cfg *IPAMConfig) error {
			if cfg.AuxAddress == nil {
				cfg.AuxAddress = map[string]string{}
			}
			cfg.AuxAddress[key] = aux[key]
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// matches reports whether an address, or a network's, is in a subnet.
func matches(subnet, data string) (bool, error) {
	s, err := netip.ParsePrefix(subnet)
	if err != nil {
		return false, fmt.Errorf("invalid subnet: invalid CIDR address: %s", subnet)
	}
	if strings.Contains(data, "/") {
		p, err := netip.ParsePrefix(data)
		if err != nil {
			return false, fmt.Errorf("invalid CIDR address: %s", data)
		}
		return s.Contains(p.Addr()), nil
	}
	ip, err := netip.ParseAddr(data)
	return err == nil && s.Contains(ip), nil
}

const ingressWarning = "WARNING! Before removing the routing-mesh network, make sure all the nodes in your swarm run the same docker engine version. " +
	"Otherwise, removal may not be effective and functionality of newly create ingress networks will be impaired.\nAre you sure you want to continue? [y/N] "

func (c *call) cliNetworkRemove(path string, args []string) (int, error) {
	args, status, done := c.parse(newFlags(path, "NETWORK [NETWORK...]", "Remove one or more networks", 1, -1), args)
	if done {
		return status, nil
	}
	for _, name := range args {
		if !c.connected() {
			status = 1
			continue
		}
		n, err := c.findNetwork(name)
		if err == nil && n.Ingress {
			c.out.WriteString(ingressWarning)
			if answer := strings.ToLower(strings.TrimSpace(c.stdin)); answer != "y" && answer != "yes" {
				continue
			}
		}
		if err == nil {
			if err = c.networkRemove(n); err == nil {
				fmt.Fprintln(&c.out, name)
				continue
			}
		} else if e, is := err.(*Error); is && e.Kind == NotFound {
			fmt.Fprintf(&c.errs, "Error: No such network: %s\n", name)
			status = 1
			continue
		}
		if status, err = c.fail(err); err != nil {
			return status, err
		}
	}
	return status, nil
}

func (c *call) cliConnect(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] NETWORK CONTAINER", "Connect a container to a network", 2, 2)
	ip, links, aliases := f.text("ip", ""), f.list("link", ""), f.list("alias", "")
	links.check = linkText
	deaf := []*flag{f.text("ip6", ""), f.list("link-local-ip", ""), f.list("driver-opt", "")}
	args, status, done := c.parse(f, args)
	if done {
		return status, nil
	}
	for _, g := range deaf {
		if g.set {
			fmt.Fprintf(&c.errs, "not simulated: docker network connect --%s\n", g.name)
			return 95, nil
		}
	}
	if !c.connected() {
		return 1, nil
	}
	if err := c.connectTo(args[0], args[1], ip.value, several(aliases.list), links.list); err != nil {
		return c.fail(err)
	}
	return 0, nil
}

// connectTo is (*Daemon).ConnectToNetwork with its refusals.
func (c *call) connectTo(network, container, ip string, aliases, links []string) error {
	ct, unknown := c.lookup(container)
	find := c.findNetwork
	if unknown == nil && ct.Running {
		find = c.attachable
	}
	n, err := find(network)
	if err != nil {
		return err
	}
	if unknown != nil {
		return unknown
	}
	if err := plain(aliases...); err != nil {
		return err
	}
	if err := c.room(); err != nil {
		return err
	}
	ep := &Endpoint{Network: n.ID, Aliases: aliases}
	for _, l := range links {
		name, alias, ok := strings.Cut(l, ":")
		if !ok {
			alias = name
		}
		ep.Links = append(ep.Links, Link{name, alias})
	}
	if ct.NetworkMode == "host" || strings.HasPrefix(ct.NetworkMode, "container:") {
		return refuse(Invalid, "container sharing network namespace with another container or host cannot be connected to any other network")
	}
	if !n.userDefined() {
		switch {
		case ip != "":
			return refuse(Invalid, "user specified IP address is supported on user defined networks only")
		case len(aliases) > 0:
			return refuse(Invalid, "network-scoped alias is supported only for containers in user defined networks")
		}
	}
	if n.Driver == "host" {
		return refuse(Invalid, "container cannot be disconnected from host network or connected to host network")
	}
	for _, other := range ct.Endpoints {
		o := c.d.networkByID(other.Network)
		if o == nil || o == n {
			continue
		}
		if o.Driver == "null" || n.Driver == "null" {
			return refuse(Invalid, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
		}
	}
	if ip != "" {
		a, err := netip.ParseAddr(ip)
		if err != nil || !a.Is4() {
			return refuse(Invalid, "invalid IPv4 address: %s", ip)
		}
		if !n.OwnSubnet {
			return refuse(Invalid, "user specified IP address is supported only when connecting to networks with user configured subnets")
		}
		ep.WantIP = a
	}
	if ct.endpoint(n) != nil {
		if ct.Running {
			return refuse(Forbid, "endpoint with name %s already exists in network %s", ct.Name, n.Name)
		}
		ct.Endpoints = slices.DeleteFunc(ct.Endpoints, func(e *Endpoint) bool { return e.Network == n.ID })
	}
	return c.connect(ct, n, ep)
}

func (c *call) cliDisconnect(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] NETWORK CONTAINER", "Disconnect a container from a network", 2, 2)
	force := f.boolean("force", "f")
	args, status, done := c.parse(f, args)
	if done {
		return status, nil
	}
	if !c.connected() {
		return 1, nil
	}
	n, err := c.findNetwork(args[0])
	if err != nil {
		return c.fail(err)
	}
	ct, err := c.lookup(args[1])
	switch {
	case err != nil:
		return c.fail(err)
	case n.Driver == "host":
		return c.fail(refuse(Invalid, "container cannot be disconnected from host network or connected to host network"))
	case !ct.Running && ct.endpoint(n) == nil:
		return c.fail(refuse(System, "container %s is not connected to the network %s", ct.ID, n.Name))
	}
	if err := c.disconnect(ct, n, force.on()); err != nil {
		return c.fail(err)
	}
	return 0, nil
}

// NetworkRow is what a format of docker network ls can name.
type NetworkRow struct {
	ID, Name, Driver, Scope, IPv6, Internal, Labels, CreatedAt string
}

func (c *call) cliNetworkList(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS]", "List networks", 0, 0)
	quiet, whole, format, filter := f.boolean("quiet", "q"), f.boolean("no-trunc", ""), f.text("format", ""), f.list("filter", "f")
	_, status, done := c.parse(f, args)
	if done {
		return status, nil
	}
	if !c.connected() {
		return 1, nil
	}
	nets := slices.Clone(c.d.Networks)
	for _, kv := range filter.list {
		key, v, ok := strings.Cut(kv, "=")
		if !ok {
			fmt.Fprintln(&c.errs, "bad format of filter (expected name=value)")
			return 1, nil
		}
		keep := func(n *Network) bool { return true }
		switch key = strings.ToLower(strings.TrimSpace(key)); key {
		case "driver":
			keep = func(n *Network) bool { return n.Driver == v }
		case "name":
			keep = func(n *Network) bool { return strings.Contains(n.Name, v) }
		case "id":
			keep = func(n *Network) bool { return strings.Contains(n.ID, v) }
		case "scope":
			keep = func(n *Network) bool { return n.Scope == v }
		case "label":
			k, want, exact := strings.Cut(v, "=")
			keep = func(n *Network) bool {
				got, there := n.Labels[k]
				return there && (!exact || got == want)
			}
		case "type":
			if v != "custom" && v != "builtin" {
				return c.fail(refuse(Invalid, "invalid filter: 'type'='%s'", v))
			}
			keep = func(n *Network) bool { return predefinedName(n.Name) == (v == "builtin") }
		case "dangling":
			keep = func(n *Network) bool {
				return (len(c.d.attached(n)) == 0 && !predefinedName(n.Name)) == (v == "true" || v == "1")
			}
		default:
			return c.fail(refuse(Invalid, "Invalid filter '%s'", key))
		}
		nets = slices.DeleteFunc(nets, func(n *Network) bool { return !keep(n) })
	}
	slices.SortStableFunc(nets, func(a, b *Network) int { return strings.Compare(a.Name, b.Name) })
	var rows []NetworkRow
	for _, n := range nets {
		id := n.ID
		if !whole.on() {
			id = id[:12]
		}
		if quiet.on() && format.value == "" {
			fmt.Fprintln(&c.out, id)
			continue
		}
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
			labels = append(labels, k+"="+n.Labels[k])
		}
		rows = append(rows, NetworkRow{id, n.Name, n.driver(), n.Scope, "false", fmt.Sprint(n.Internal), strings.Join(labels, ","),
			time.Unix(0, 0).UTC().Add(n.Created).Format("2006-01-02 15:04:05 -0700 MST")})
	}
	if quiet.on() && format.value == "" {
		return 0, nil
	}
	return table(c, format.value, "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
		NetworkRow{"NETWORK ID", "NAME", "DRIVER", "SCOPE", "IPV6", "INTERNAL", "LABELS", "CREATED AT"}, rows)
}

func (c *call) cliNetworkInspect(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] NETWORK [NETWORK...]", "Display detailed information on one or more networks", 1, -1)
	format := f.text("format", "f")
	f.boolean("verbose", "v")
	args, status, done := c.parse(f, args)
	if done {
		return status, nil
	}
	if !c.d.Running {
		c.out.WriteString("[]\n")
		fmt.Fprintln(&c.errs, noDaemon)
		return 1, nil
	}
	var found []any
	var missing []string
	for _, name := range args {
		n, err := c.findNetwork(name)
		switch e, is := err.(*Error); {
		case err == nil:
			found = append(found, c.inspectNetwork(n))
		case is && e.Kind == NotFound:
			missing = append(missing, "Error: No such network: "+name)
		default:
			missing = append(missing, c.said(err))
		}
	}
	return c.render(format.value, found, missing)
}

// NetworkResource is a network as the API tells of it.
type NetworkResource struct {
	Name       string
	ID         string `json:"Id"`
	Created    time.Time
	Scope      string
	Driver     string
	EnableIPv6 bool
	IPAM       struct {
		Driver  string
		Options map[string]string
		Config  []IPAMConfig
	}
	Internal, Attachable, Ingress bool
	ConfigFrom                    struct{ Network string }
	ConfigOnly                    bool
	Containers                    map[string]EndpointResource
	Options                       map[string]string
	Labels                        map[string]string
	Peers                         []PeerResource `json:",omitempty"`
}

// PeerResource is a machine that takes part in an overlay network.
type PeerResource struct{ Name, IP string }

// EndpointResource is a container in it.
type EndpointResource struct {
	Name, EndpointID, MacAddress, IPv4Address, IPv6Address string
}

func (c *call) inspectNetwork(n *Network) any {
	if n.Driver == "overlay" {
		return c.inspectOverlay(n)
	}
	r := NetworkResource{Name: n.Name, ID: n.ID, Created: time.Unix(0, 0).UTC().Add(n.Created), Scope: n.Scope, Driver: n.Driver, Internal: n.Internal,
		Attachable: n.Attach, Ingress: n.Ingress, Options: n.Options, Labels: n.Labels, Containers: map[string]EndpointResource{}}
	r.IPAM.Driver = "default"
	r.IPAM.Config = slices.Clone(n.IPAM)
	if !predefinedName(n.Name) {
		r.IPAM.Options = map[string]string{}
	}
	for _, m := range []*map[string]string{&r.Options, &r.Labels} {
		if *m == nil {
			*m = map[string]string{}
		}
	}
	if len(r.IPAM.Config) == 0 {
		r.IPAM.Config = []IPAMConfig{}
		for _, p := range n.Pools {
			cfg := IPAMConfig{Subnet: p.Subnet.String()}
			if p.Gateway.IsValid() {
				cfg.Gateway = p.Gateway.String()
			}
			r.IPAM.Config = append(r.IPAM.Config, cfg)
		}
	}
	for _, ct := range c.d.attached(n) {
		ep := ct.endpoint(n)
		e := EndpointResource{Name: ct.Name, EndpointID: ep.ID, MacAddress: ep.MAC}
		if ep.IP.IsValid() {
			e.IPv4Address = netip.PrefixFrom(ep.IP, n.subnet().Bits()).String()
		}
		if ep.Outward {
			e.Name = "gateway_" + ct.ID[:12]
		}
		r.Containers[ct.ID] = e
	}
	if c.d.Swarm != nil {
		for _, b := range c.d.Swarm.Boxes {
			if ep := b.Box.endpoint(n); ep != nil {
				r.Containers[b.Box.Name] = EndpointResource{Name: "gateway_" + b.Box.Name, EndpointID: ep.ID, MacAddress: ep.MAC,
					IPv4Address: netip.PrefixFrom(ep.IP, n.subnet().Bits()).String()}
			}
		}
	}
	return r
}

// driver is what lists say: nothing for a network that the swarm's manager could
// give no subnet.
func (n *Network) driver() string {
	if n.Driver == "overlay" && len(n.Pools) == 0 {
		return ""
	}
	return n.Driver
}

// inspectOverlay tells of an overlay network: what its manager gave it, and, where
// this machine takes part, who is in it.
func (c *call) inspectOverlay(n *Network) any {
	r := NetworkResource{Name: n.Name, ID: n.ID, Created: time.Unix(0, 0).UTC().Add(n.Created), Scope: n.Scope, Driver: n.driver(), Internal: n.Internal,
		Attachable: n.Attach, Ingress: n.Ingress}
	if len(n.Pools) == 0 {
		return r
	}
	r.IPAM.Driver, r.IPAM.Config = "default", n.IPAM
	r.Options = maps.Clone(n.Options)
	if r.Options == nil {
		r.Options = map[string]string{}
	}
	r.Options["com.docker.network.driver.overlay.vxlanid_list"] = fmt.Sprint(n.VNI)
	if len(n.Labels) > 0 {
		r.Labels = n.Labels
	}
	b := c.d.part(n)
	if b == nil {
		return r
	}
	if r.Labels == nil {
		r.Labels = map[string]string{}
	}
	r.Containers = map[string]EndpointResource{}
	tell := func(key, name string, ep *Endpoint) {
		r.Containers[key] = EndpointResource{Name: name, EndpointID: ep.ID, MacAddress: ep.MAC, IPv4Address: netip.PrefixFrom(ep.IP, n.subnet().Bits()).String()}
	}
	for _, ct := range c.d.attached(n) {
		tell(ct.ID, ct.Name, ct.endpoint(n))
	}
	tell(b.Box.Name, n.Name+"-endpoint", b.Box.endpoint(n))
	cl, _ := c.cluster()
	for _, node := range cl.Nodes {
		if d := c.engine.daemons[node.Machine]; node.Left == 0 && d != nil && d.part(n) != nil {
			r.Peers = append(r.Peers, PeerResource{node.Gossip, node.Addr.String()})
		}
	}
	return r
}

func (c *call) cliNetworkPrune(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS]", "Remove all unused networks", 0, 0)
	force := f.boolean("force", "f")
	f.list("filter", "")
	_, status, done := c.parse(f, args)
	if done {
		return status, nil
	}
	if !force.on() {
		c.out.WriteString("WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue? [y/N] ")
		if answer := strings.ToLower(strings.TrimSpace(c.stdin)); answer != "y" && answer != "yes" {
			return 0, nil
		}
	}
	if !c.connected() {
		return 1, nil
	}
	var gone []string
	for _, n := range slices.Clone(c.d.Networks) {
		if predefinedName(n.Name) || slices.ContainsFunc(c.d.Containers, func(ct *Container) bool { return ct.endpoint(n) != nil && ct.Running }) {
			continue
		}
		if _, err := c.manages(); n.Ingress || n.Scope == "swarm" && err != nil {
			continue
		}
		if err := c.networkRemove(n); err != nil {
			if _, is := err.(lost); is {
				return 1, err
			}
			continue
		}
		gone = append(gone, n.Name)
	}
	if len(gone) > 0 {
		fmt.Fprintf(&c.out, "Deleted Networks:\n%s\n\n", strings.Join(gone, "\n"))
	}
	return 0, nil
}
