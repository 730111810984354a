package docker

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Published ports: what -p and --expose say (go-connections/nat), which port of
// the host it becomes (libnetwork, portallocator), and the rules and the
// docker-proxy that make it so (portmapper, drivers/bridge/port_mapping.go).

// parsePublish reads the texts of -p: [[HOSTIP:][HOSTPORT[-END]]:]PORT[-END][/PROTO].
func parsePublish(specs []string) (ports []Port, bindings []Binding, err error) {
	for _, spec := range specs {
		ps, bs, err := parsePort(spec)
		if err != nil {
			return nil, nil, err
		}
		if len(bindings)+len(bs) > maxPorts {
			return nil, nil, errManyPorts
		}
		for _, p := range ps {
			if !slices.Contains(ports, p) {
				ports = append(ports, p)
			}
		}
		bindings = append(bindings, bs...)
	}
	return ports, bindings, nil
}

// maxPorts bounds the ports of a container, published or exposed.
const maxPorts = 1024

var errManyPorts = fmt.Errorf("not simulated: more than %d ports of a container", maxPorts)

func parsePort(spec string) (ports []Port, bindings []Binding, err error) {
	raw, proto, _ := strings.Cut(spec, "/")
	if proto == "" {
		proto = "tcp"
	}
	parts := strings.Split(raw, ":")
	ip, host, inner := "", "", parts[len(parts)-1]
	switch len(parts) {
	case 1:
	case 2:
		host = parts[0]
	case 3:
		ip, host = parts[0], parts[1]
	default:
		ip, host = strings.Join(parts[:len(parts)-2], ":"), parts[len(parts)-2]
	}
	if ip != "" && strings.HasPrefix(ip, "[") || strings.Contains(ip, ":") {
		bare, _, err := net.SplitHostPort(ip + ":")
		if err != nil {
			return nil, nil, fmt.Errorf("Invalid ip address %v: %s", ip, err) //nolint:staticcheck // the client's words
		}
		ip = bare
	}
	var hostIP netip.Addr
	if ip != "" {
		if hostIP, err = netip.ParseAddr(ip); err != nil {
			return nil, nil, fmt.Errorf("Invalid ip address: %s", ip) //nolint:staticcheck
		}
	}
	if inner == "" {
		return nil, nil, fmt.Errorf("No port specified: %s<empty>", spec) //nolint:staticcheck
	}
	low, high, err := portRange(inner)
	if err != nil {
		return nil, nil, fmt.Errorf("Invalid containerPort: %s", inner) //nolint:staticcheck
	}
	var hostLow, hostHigh uint16
	if host != "" {
		if hostLow, hostHigh, err = portRange(host); err != nil {
			return nil, nil, fmt.Errorf("Invalid hostPort: %s", host) //nolint:staticcheck
		}
	}
	// One port may have a range of the host's to choose from.
	if host != "" && high-low != hostHigh-hostLow && high != low {
		return nil, nil, fmt.Errorf("Invalid ranges specified for container and host Ports: %s and %s", inner, host) //nolint:staticcheck
	}
	if p := strings.ToLower(proto); !slices.Contains([]string{"tcp", "udp", "sctp"}, p) {
		return nil, nil, fmt.Errorf("Invalid proto: %s", proto) //nolint:staticcheck
	}
	if hostIP.IsValid() && !hostIP.Is4() {
		return nil, nil, fmt.Errorf("not simulated: -p with an IPv6 address")
	}
	if strings.EqualFold(proto, "sctp") {
		return nil, nil, fmt.Errorf("not simulated: SCTP")
	}
	for i := range int(high-low) + 1 {
		b := Binding{Port: Port{strings.ToLower(proto), low + uint16(i)}, HostIP: hostIP}
		if host != "" {
			b.HostLow, b.HostEnd = hostLow+uint16(i), hostLow+uint16(i)
			if low == high {
				b.HostEnd = hostHigh
			}
		}
		ports = append(ports, b.Port)
		bindings = append(bindings, b)
	}
	return ports, bindings, nil
}

// portRange reads PORT or PORT-PORT (nat.ParsePortRange).
func portRange(s string) (low, high uint16, err error) {
	from, to, ranged := strings.Cut(s, "-")
	a, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return 0, 0, err
	}
	b := a
	if ranged {
		if b, err = strconv.ParseUint(to, 10, 16); err != nil {
			return 0, 0, err
		}
		if b < a {
			return 0, 0, fmt.Errorf("Invalid range specified for the Port: %s", s)
		}
	}
	return uint16(a), uint16(b), nil
}

// exposeText reads an --expose: PORT[-PORT][/PROTO].
func exposeText(spec string) ([]Port, error) {
	if strings.Contains(spec, ":") {
		return nil, fmt.Errorf("invalid port format for --expose: %s", spec)
	}
	raw, proto, _ := strings.Cut(spec, "/")
	proto = strings.ToLower(cmp.Or(proto, "tcp"))
	low, high, err := portRange(raw)
	if err != nil {
		return nil, fmt.Errorf("invalid range format for --expose: %s, error: %s", spec, err)
	}
	if proto != "tcp" && proto != "udp" && proto != "sctp" {
		return nil, fmt.Errorf("invalid proto: %s", proto)
	}
	var ports []Port
	for i := range int(high-low) + 1 {
		ports = append(ports, Port{proto, low + uint16(i)})
	}
	return ports, nil
}

// sortPorts sorts ports by number, then by protocol.
func sortPorts(ports []Port) {
	slices.SortFunc(ports, func(a, b Port) int { return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto)) })
}

// PortsInUse are the ports that a daemon has given out, and where its searches
// for free ones ended.
type PortsInUse struct {
	Used map[string]bool // "0.0.0.0/tcp/8088"
	Last map[string]int  // "0.0.0.0/tcp/32768-60999"
}

// Ports that a random one is out of: net.ipv4.ip_local_port_range.
const firstRandom, lastRandom = 32768, 60999

// takePort gives out a port of an address: the one there is to choose from, or
// the next free one of the range after the last.
func (d *Daemon) takePort(ip netip.Addr, proto string, low, high uint16) (uint16, error) {
	if d.Ports == nil {
		d.Ports = &PortsInUse{map[string]bool{}, map[string]int{}}
	}
	at := ip.String() + "/" + proto + "/"
	if low > 0 && low == high {
		key := at + strconv.Itoa(int(low))
		if d.Ports.Used[key] {
			return 0, fmt.Errorf("Bind for %s:%d failed: port is already allocated", ip, low) //nolint:staticcheck // the daemon's words
		}
		d.Ports.Used[key] = true
		return low, nil
	}
	from, to := int(low), int(high)
	if from == 0 {
		from, to = firstRandom, lastRandom
	}
	search := fmt.Sprintf("%s%d-%d", at, from, to)
	port, known := d.Ports.Last[search]
	if !known {
		port = to
	}
	for range to - from + 1 {
		if port++; port > to {
			port = from
		}
		if key := at + strconv.Itoa(port); !d.Ports.Used[key] {
			d.Ports.Used[key], d.Ports.Last[search] = true, port
			return uint16(port), nil
		}
	}
	return 0, fmt.Errorf("all ports are allocated")
}

func (d *Daemon) releasePort(m Mapping) {
	if d.Ports != nil {
		delete(d.Ports.Used, fmt.Sprintf("%s/%s/%d", m.HostIP, m.Proto, m.HostPort))
	}
}

// wanted are the bindings of a container in the order in which the daemon makes
// them: the highest fixed port of the host first, then the highest of the
// container (nat.SortPortMap). With -P, every exposed port has one.
func (ct *Container) wanted() []Binding {
	all := slices.Clone(ct.Bindings)
	if ct.PublishAll {
		for _, p := range ct.Exposed {
			if !slices.ContainsFunc(all, func(b Binding) bool { return b.Port == p }) {
				all = append(all, Binding{Port: p})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Binding) int {
		return cmp.Or(cmp.Compare(b.HostLow, a.HostLow), cmp.Compare(b.Port.Port, a.Port.Port), cmp.Compare(b.Proto, a.Proto))
	})
	// All of one port together, at the place of its first.
	var grouped []Binding
	for _, b := range all {
		if slices.ContainsFunc(grouped, func(g Binding) bool { return g.Port == b.Port }) {
			continue
		}
		for _, x := range all {
			if x.Port == b.Port {
				grouped = append(grouped, x)
			}
		}
	}
	return grouped
}

// mapPorts publishes a container's ports by one of its endpoints. What it had
// done when something fails is undone.
func (c *call) mapPorts(ct *Container, n *Network, ep *Endpoint) error {
	for _, b := range ct.wanted() {
		m := Mapping{Port: b.Port, HostIP: b.HostIP}
		if !m.HostIP.IsValid() {
			m.HostIP = n.HostIP
		}
		if !m.HostIP.IsValid() {
			m.HostIP = netip.IPv4Unspecified()
		}
		var err error
		for range 10 { // a random port may be somebody else's
			if err = c.mapPort(n, ep, b, &m); err == nil || b.HostLow != 0 {
				break
			}
			if _, is := err.(lost); is {
				return err
			}
		}
		if err != nil {
			if undo := c.unmapPorts(ct, n, ep); undo != nil {
				return undo
			}
			return err
		}
		ep.Mappings = append(ep.Mappings, m)
	}
	return nil
}

func (c *call) mapPort(n *Network, ep *Endpoint, b Binding, m *Mapping) (err error) {
	if m.HostPort, err = c.d.takePort(m.HostIP, m.Proto, b.HostLow, b.HostEnd); err != nil {
		return err
	}
	if c.d.Config.IPTables {
		for _, r := range c.forwardRules(n, ep.IP, *m) {
			if err := c.program(appendRule, r); err != nil {
				if f, is := err.(*ruleRefused); is {
					if r.table == "filter" {
						f.words = "-t filter " + f.words
					}
					c.d.releasePort(*m)
					return refuse(System, " (%v)", f)
				}
				return err
			}
		}
	}
	if err = c.listenFor(m, ep.IP); err == nil {
		return nil
	}
	if _, is := err.(lost); is {
		return err
	}
	if undo := c.unforward(n, ep, *m); undo != nil {
		return undo
	}
	c.d.releasePort(*m)
	return err
}

// listenFor starts a port's docker-proxy. Without docker-proxy, dockerd itself
// has a socket there, on which it takes nothing: only whether it could have one
// matters.
func (c *call) listenFor(m *Mapping, to netip.Addr) error {
	where := net.JoinHostPort(m.HostIP.String(), strconv.Itoa(int(m.HostPort)))
	if !c.d.Config.UserlandProxy {
		host, err := c.host()
		if err != nil {
			return err
		}
		if !m.HostIP.IsUnspecified() && !host.LocalAddr(m.HostIP) {
			return fmt.Errorf("listen %s4 %s: bind: cannot assign requested address", m.Proto, where)
		}
		for _, l := range host.Listeners {
			if l.Proto == m.Proto && l.Port == m.HostPort && (l.Addr == m.HostIP || l.Addr.IsUnspecified() || m.HostIP.IsUnspecified()) {
				return fmt.Errorf("listen %s4 %s: bind: address already in use", m.Proto, where)
			}
		}
		return nil
	}
	res, err := c.result(c.d.Machine, fmt.Sprintf("docker-proxy -proto %s -host-ip %s -host-port %d -container-ip %s -container-port %d &",
		m.Proto, m.HostIP, m.HostPort, to, m.Port.Port))
	if r, refused := err.(*Refused); refused {
		why := r.Error()
		if i := strings.Index(why, "] "); i >= 0 {
			why = why[i+2:] // OSError: [Errno 98] Address already in use
		}
		if i := strings.LastIndex(why, ": "); i >= 0 {
			why = why[i+2:]
		}
		return fmt.Errorf("Error starting userland proxy: listen %s4 %s: bind: %s", m.Proto, where, strings.ToLower(why)) //nolint:staticcheck // the daemon's words
	}
	if err != nil {
		return err
	}
	m.Proxy, _ = strconv.Atoi(strings.TrimSpace(res.Output))
	return nil
}

// unforward takes a port's rules away.
func (c *call) unforward(n *Network, ep *Endpoint, m Mapping) error {
	if !c.d.Config.IPTables {
		return nil
	}
	for _, r := range c.forwardRules(n, ep.IP, m) {
		if err := c.program(deleteRule, r); err != nil {
			return err
		}
	}
	return nil
}

// unmapPorts takes back what mapPorts did, port by port.
func (c *call) unmapPorts(_ *Container, n *Network, ep *Endpoint) error {
	for _, m := range ep.Mappings {
		if m.Proxy != 0 {
			if err := c.try("kill -INT %d", m.Proxy); err != nil {
				return err
			}
		}
		if err := c.unforward(n, ep, m); err != nil {
			return err
		}
		c.d.releasePort(m)
	}
	ep.Mappings = nil
	return nil
}
