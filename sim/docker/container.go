package docker

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vethlab/sim/op"
)

// A container's life: created, started, stopped, removed (moby, daemon/).

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// find returns the container of a name, or of the beginning of an ID that no
// other has; nil if there is none.
func (c *call) find(term string) *Container {
	ct, err := c.lookup(term)
	if err != nil {
		return nil
	}
	return ct
}

// lookup is find, with the daemon's refusal ((*Daemon).GetContainer).
func (c *call) lookup(term string) (*Container, error) {
	for _, ct := range c.d.Containers {
		if ct.ID == term || ct.Name == strings.TrimPrefix(term, "/") {
			return ct, nil
		}
	}
	var found *Container
	for _, ct := range c.d.Containers {
		if term != "" && strings.HasPrefix(ct.ID, term) {
			if found != nil {
				return nil, refuse(Invalid, "Multiple IDs found with provided prefix: %s", term)
			}
			found = ct
		}
	}
	if found == nil {
		return nil, refuse(NotFound, "No such container: %s", term)
	}
	return found, nil
}

// spec is what docker run and docker create ask for.
type spec struct {
	name string
	Container
	networks []string // --network; none: default
	aliases  []string
	ip       string
	links    []string // --link, as given
}

// userDefined reports whether a network mode names a network that somebody made.
func userDefined(mode string) bool {
	return !slices.Contains([]string{"", "default", "bridge", "host", "none"}, mode) && !strings.HasPrefix(mode, "container:") && mode != "container"
}

func (n *Network) userDefined() bool { return userDefined(n.Name) }

// plain refuses names that no name server could answer for, and that a line of a
// transcript could not hold: with a newline in it, or what a shell takes for more
// than a letter.
func plain(names ...string) error {
	for _, name := range names {
		if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(";|<>$`", r) }) {
			return refuse(Invalid, "not simulated: the name %q", name)
		}
	}
	return nil
}

// create makes a container that does not run yet (daemon/create.go).
func (c *call) create(s *spec) (*Container, error) {
	ct := &s.Container
	ct.Size = c.size()
	if err := c.room(); err != nil {
		return nil, err
	}
	if err := plain(append([]string{ct.Hostname, ct.Domainname}, s.aliases...)...); err != nil {
		return nil, err
	}
	mode := ct.NetworkMode
	isContainer := mode == "container" || strings.HasPrefix(mode, "container:")
	// verifyContainerSettings, runconfig.validateNetMode
	switch {
	case isContainer && strings.TrimPrefix(strings.TrimPrefix(mode, "container"), ":") == "":
		return nil, refuse(Invalid, "Invalid network mode: invalid container format container:<name|id>")
	case isContainer && ct.Hostname != "":
		return nil, refuse(Invalid, "conflicting options: hostname and the network mode")
	case isContainer && len(s.links) > 0:
		return nil, refuse(Invalid, "conflicting options: container type network can't be used with links. This would result in undefined behavior")
	case isContainer && len(ct.DNS) > 0:
		return nil, refuse(Invalid, "conflicting options: dns and the network mode")
	case isContainer && len(ct.ExtraHosts) > 0:
		return nil, refuse(Invalid, "conflicting options: custom host-to-IP mapping and the network mode")
	case (isContainer || mode == "host") && ct.MAC != "":
		return nil, refuse(Invalid, "conflicting options: mac-address and the network mode")
	case isContainer && (len(ct.Bindings) > 0 || ct.PublishAll):
		return nil, refuse(Invalid, "conflicting options: port publishing and the container type network mode")
	case isContainer && len(ct.Exposed) > 0:
		return nil, refuse(Invalid, "conflicting options: port exposing and the container type network mode")
	case mode == "host" && len(s.links) > 0:
		return nil, refuse(Invalid, "conflicting options: host type networking can't be used with links. This would result in undefined behavior")
	case ct.AutoRemove && ct.Restart != "" && ct.Restart != "no":
		return nil, refuse(Invalid, "can't create 'AutoRemove' container with restart policy")
	}
	switch policy, count, counted := strings.Cut(ct.Restart, ":"); policy {
	case "always", "unless-stopped", "no":
		if counted && count != "0" {
			return nil, refuse(Invalid, "maximum retry count cannot be used with restart policy '%s'", policy)
		}
	case "", "on-failure":
	default:
		return nil, refuse(Invalid, "invalid restart policy '%s'", policy)
	}
	if mode == "host" && (len(ct.Bindings) > 0 || ct.PublishAll) {
		fmt.Fprintln(&c.errs, "WARNING: Published ports are discarded when using host network mode")
	}
	for _, p := range imagePorts(ct.Image) {
		if !slices.Contains(ct.Exposed, p) && !isContainer {
			ct.Exposed = append(ct.Exposed, p)
		}
	}
	sortPorts(ct.Exposed)
	if mode != "host" && mode != "none" {
		host, err := c.host()
		if err != nil {
			return nil, err
		}
		if host.Sysctls["net.ipv4.ip_forward"] == "0" {
			fmt.Fprintln(&c.errs, "WARNING: IPv4 forwarding is disabled. Networking will not work.")
		}
	}
	ct.ID = c.newID()
	if err := c.reserve(ct, s.name); err != nil {
		return nil, err
	}
	if isContainer { // whom it joins is looked for when it starts, too
		if other := c.find(strings.TrimPrefix(mode, "container:")); other != nil {
			ct.NetworkMode = "container:" + other.ID
		}
	}
	if ct.Hostname == "" && !isContainer {
		if ct.Hostname = ct.ID[:12]; mode == "host" {
			ct.Hostname = c.d.Machine
		}
	}
	if ct.NetworkMode == "" {
		ct.NetworkMode = "default"
	}
	for _, l := range s.links {
		name, alias, ok := strings.Cut(l, ":")
		if !ok {
			alias = name
		}
		if name == "" {
			return nil, refuse(Invalid, "could not get container for : invalid name or ID supplied: \"\"")
		}
		child, err := c.lookup(name)
		if err != nil {
			return nil, refuse(Invalid, "could not get container for %s: %v", name, err)
		}
		if child.NetworkMode == "host" {
			return nil, refuse(Invalid, "conflicting options: host type networking can't be used with links. This would result in undefined behavior")
		}
		if strings.HasPrefix(child.NetworkMode, "container:") {
			return nil, refuse(Invalid, "conflicting options: container type network can't be used with links. This would result in undefined behavior")
		}
		ct.Links = append(ct.Links, Link{child.Name, alias})
	}
	if !isContainer {
		if err := c.firstEndpoint(s, ct); err != nil {
			return nil, err
		}
	}
	if err := c.do("mkdir -p /var/lib/docker/containers/%s", ct.ID); err != nil {
		return nil, err
	}
	ct.Created = c.now()
	c.d.Containers = append(c.d.Containers, ct)
	return ct, nil
}

// firstEndpoint notes the networks that a container is made for
// (updateContainerNetworkSettings).
func (c *call) firstEndpoint(s *spec, ct *Container) error {
	names := s.networks
	if len(names) == 0 {
		names = []string{"default"}
		s.ip, s.aliases = "", nil // the client tells the daemon of them only with a --network
	}
	if len(names) > 1 {
		return refuse(Invalid, "Container cannot be connected to network endpoints: %s", strings.Join(names, ", "))
	}
	name := names[0]
	if name == "default" {
		name = "bridge"
	}
	if name == "bridge" && c.d.Config.DisableBridge {
		return nil
	}
	n, err := c.findNetwork(name)
	if err != nil {
		if userDefined(name) { // it is looked for when the container starts
			ip, _ := parseIPv4(s.ip) // where the network is, a swarm's manager looks at it
			ct.Endpoints = []*Endpoint{{Network: "?" + name, Aliases: slices.Clone(s.aliases), WantIP: ip}}
			return nil
		}
		return err
	}
	if userDefined(s.networks0()) {
		ct.NetworkMode = n.Name
	}
	ep := &Endpoint{Network: n.ID, Aliases: slices.Clone(s.aliases)}
	if n.userDefined() {
		ep.Links, ct.Links = ct.Links, nil
	}
	if s.ip != "" {
		ip, err := parseIPv4(s.ip)
		if err != nil {
			return err
		}
		ep.WantIP = ip
	}
	ct.Endpoints = []*Endpoint{ep}
	ct.number(ep)
	return nil
}

func (s *spec) networks0() string {
	if len(s.networks) == 0 {
		return ""
	}
	return s.networks[0]
}

// reserve gives a container its name (daemon/names.go).
func (c *call) reserve(ct *Container, name string) error {
	if name == "" {
		name = c.freeName(ct.ID)
	}
	if !validName.MatchString(strings.TrimPrefix(name, "/")) {
		return refuse(Invalid, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	name = strings.TrimPrefix(name, "/")
	for _, other := range c.d.Containers {
		if other != ct && other.Name == name {
			return refuse(Conflict, "Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, other.ID)
		}
	}
	ct.Name = name
	return nil
}

// start gives a container its networks and its process (daemon/start.go).
func (c *call) start(ct *Container) (err error) {
	if ct.Running {
		return nil
	}
	isContainer := strings.HasPrefix(ct.NetworkMode, "container:")
	var other *Container
	if isContainer {
		id := strings.TrimPrefix(ct.NetworkMode, "container:")
		if other, err = c.lookup(id); err != nil {
			return err
		}
		if other == ct {
			return refuse(System, "cannot join own network")
		}
		if !other.Running {
			return refuse(Conflict, "cannot join network of a non running container: %s", id)
		}
		ct.Hostname, ct.Domainname = other.Hostname, other.Domainname
	}
	var done []*Endpoint
	defer func() {
		if err != nil {
			for _, ep := range done {
				if n := c.d.networkByID(ep.Network); n != nil {
					if len(ep.Mappings) > 0 {
						_ = c.unmapPorts(ct, n, ep) // as far as it goes
					}
					c.deleteEndpoint(n, ep)
				}
			}
			ct.Endpoints = slices.DeleteFunc(ct.Endpoints, func(ep *Endpoint) bool { return ep.Outward })
			if _, is := err.(*Error); is {
				ct.ExitCode = 128
			}
			ct.Pid, ct.Node = 0, ""
		}
	}()
	ct.NextDev, ct.HostIPs = 0, nil
	if !isContainer {
		if err := c.allocate(ct, &done); err != nil {
			return err
		}
	}
	for _, l := range ct.Links {
		if child := c.find(l.Container); child != nil && !child.Running {
			return refuse(System, "Cannot link to a non running container: /%s AS /%s/%s", child.Name, ct.Name, l.Alias)
		}
	}
	if err := c.process(ct, other); err != nil {
		return err
	}
	defer func() {
		if err != nil && ct.Pid > 0 {
			_ = c.stopResolver(ct) // as far as it goes
			_ = c.try("kill -9 %s", ct.pid())
		}
	}()
	if !isContainer && ct.NetworkMode != "host" {
		if err := c.within(ct, "ip link set dev lo up"); err != nil {
			return err
		}
		for _, ep := range c.sorted(ct) {
			if n := c.d.networkByID(ep.Network); n != nil {
				if err := c.populate(ct, n, ep); err != nil {
					if e, is := err.(*Error); is { // runc has a hook of dockerd's do it
						return refuse(e.Kind, "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: "+
							"error running hook #0: error running hook: exit status 1, stdout: , stderr: time=%q level=fatal msg=%q: unknown", time.Unix(0, int64(c.now())).UTC().Format(time.RFC3339), e.Text)
					}
					return err
				}
			}
		}
	}
	ct.Running, ct.Ran, ct.Stopped, ct.ExitCode, ct.StartedAt = true, true, false, 0, c.now()
	return nil
}

// allocate joins a container's networks before it has a process: the default
// bridge first, the others by their age (allocateNetwork).
func (c *call) allocate(ct *Container, done *[]*Endpoint) error {
	if err := c.write(ct.file("hostname"), ct.Hostname+"\n"); err != nil {
		return err
	}
	text, _, err := c.resolvConf(ct)
	if err != nil {
		return err
	}
	for _, ep := range ct.joined() {
		if name, unknown := strings.CutPrefix(ep.Network, "?"); unknown {
			n, err := c.attachable(name)
			if err != nil {
				return err
			}
			ep.Network = n.ID
		}
		n, err := c.attachable(ep.Network)
		if err != nil {
			return err
		}
		if !n.userDefined() {
			switch {
			case ep.WantIP.IsValid():
				return refuse(Invalid, "user specified IP address is supported on user defined networks only")
			case len(ep.Aliases) > 0:
				return refuse(Invalid, "network-scoped alias is supported only for containers in user defined networks")
			}
		} else if ep.WantIP.IsValid() && !n.OwnSubnet {
			return refuse(Invalid, "user specified IP address is supported only when connecting to networks with user configured subnets")
		}
		if n.userDefined() {
			for _, alias := range []string{ct.ID[:12], ct.Hostname} {
				if !slices.Contains(ep.Aliases, alias) && alias != ct.Name {
					ep.Aliases = append(ep.Aliases, alias)
				}
			}
		}
		before := c.gatewayEndpoint(ct)
		ep.ID = c.newID()
		if err := c.createEndpoint(ct, n, ep); err != nil {
			return err
		}
		*done = append(*done, ep)
		if len(*done) == 1 {
			if err := c.write(ct.file("resolv.conf"), text); err != nil {
				return err
			}
		}
		if err := c.writeHosts(ct); err != nil {
			return err
		}
		if err := c.externalTo(ct, before); err != nil {
			return err
		}
	}
	if len(ct.Endpoints) == 0 {
		if err := c.write(ct.file("resolv.conf"), text); err != nil {
			return err
		}
		return c.writeHosts(ct)
	}
	err = c.defaultGateway(ct)
	if ep := ct.outward(); ep != nil {
		*done = append(*done, ep)
	}
	return err
}

// process starts what runs in the container, and so makes its namespace.
func (c *call) process(ct, other *Container) error {
	o := op.Spawn{Argv: process(ct.Image, ct.Command), Hostname: ct.Hostname, Files: ct.files()}
	line := ""
	switch {
	case other != nil:
		o.Files = other.files()
		line = o.String()
		line = "nsenter -t " + other.pid() + " -n " + line
		ct.Node = other.Node
	case ct.NetworkMode == "host":
		line = o.String()
		ct.Node = c.d.Machine
	default:
		o.NewNet = true
		if len(ct.Name) <= 128 { // else it is longer than a node's may be
			o.Node = ct.Name
		}
		line = o.String()
		ct.Node = ct.Name
	}
	if c.explain {
		line += " pid=$!"
	}
	res, err := c.result(c.d.Machine, line)
	if err != nil {
		if r, is := err.(*Refused); is {
			return &Error{Kind: System, Text: fmt.Sprintf("failed to create shim task: OCI runtime create failed: %s: unknown", r.Error()), Code: 127}
		}
		return err
	}
	if c.explain {
		return nil
	}
	if ct.Pid, err = strconv.Atoi(strings.TrimSpace(res.Output)); err != nil {
		return refuse(System, "OCI runtime create failed: no process: unknown")
	}
	if o.NewNet {
		s, err := c.look()
		if err != nil {
			return err
		}
		for i := range s.Nodes {
			if s.Nodes[i].Keeper == ct.Pid {
				ct.Node = s.Nodes[i].Name
			}
		}
	}
	return nil
}

// exitCodes of processes that are told to stop: the sleeper is the first of its
// pid namespace in a real container and heeds no SIGTERM; the servers end.
func exitCode(ct *Container, killed bool) int {
	if killed || process(ct.Image, ct.Command)[0] == "sleep" {
		return 137
	}
	return 0
}

// stop ends a container's process (daemon/stop.go, daemon/kill.go).
func (c *call) stop(ct *Container, killed bool) error {
	if !ct.Running {
		return nil
	}
	signal := ""
	if killed {
		signal = "-9 "
	}
	code := exitCode(ct, killed)
	if err := c.stopResolver(ct); err != nil {
		return err
	}
	if err := c.do("kill %s%s", signal, ct.pid()); err != nil {
		if _, refused := err.(*Refused); !refused {
			return err
		}
	}
	if err := c.gone(ct); err != nil {
		return err
	}
	ct.Stopped = true
	return c.exited(ct, code)
}

// gone waits until a container's process has ended, and its namespace with it.
func (c *call) gone(ct *Container) error {
	if c.explain {
		return nil
	}
	for _, pid := range ct.Execs { // which in a container end with its first process, by the kernel (zap_pid_ns_processes)
		if _, err := c.apply(c.d.Machine, fmt.Sprintf("kill -9 %d", pid)); err != nil {
			return lost{err}
		}
	}
	ct.Execs = nil
	for range 100 {
		c.snap = nil
		if yes, err := c.alive(ct); err != nil || !yes {
			return err
		}
		if _, err := c.engine.lab.Apply(c.ctx, c.d.Machine, op.Sleep{Duration: 5 * time.Millisecond}); err != nil {
			return lost{err}
		}
	}
	return nil
}

// exited does what a daemon does when a container's process has ended
// (daemon/monitor.go): the sandbox goes, the ports and addresses are given back.
func (c *call) exited(ct *Container, code int) error {
	if err := c.stopResolver(ct); err != nil {
		return err
	}
	for _, ep := range slices.Backward(c.sorted(ct)) {
		n := c.d.networkByID(ep.Network)
		if n == nil {
			continue
		}
		if len(ep.Mappings) > 0 {
			if err := c.unmapPorts(ct, n, ep); err != nil {
				return err
			}
		}
		if err := c.linkContainers(ct, n, ep, false); err != nil {
			return err
		}
		if c.explain && !c.shared(ct) { // the pair has gone with the namespace
			ep.HostDev = ""
		}
		c.deleteEndpoint(n, ep)
	}
	ct.Endpoints = slices.DeleteFunc(ct.Endpoints, func(ep *Endpoint) bool { return ep.Outward })
	ct.Running, ct.Pid, ct.Node, ct.ExitCode, ct.EndedAt, ct.NextDev = false, 0, "", code, c.now(), 0
	ct.Names = ""
	if err := c.tellNames(); err != nil {
		return err
	}
	if ct.AutoRemove {
		return c.forget(ct)
	}
	return nil
}

// shared reports whether another container runs in this one's namespace.
func (c *call) shared(ct *Container) bool {
	return slices.ContainsFunc(c.d.Containers, func(o *Container) bool { return o.Running && o.NetworkMode == "container:"+ct.ID })
}

// forget removes a container that does not run.
func (c *call) forget(ct *Container) error {
	if err := c.do("rm -rf /var/lib/docker/containers/%s", ct.ID); err != nil {
		return err
	}
	c.d.Containers = slices.DeleteFunc(c.d.Containers, func(x *Container) bool { return x == ct })
	for _, x := range c.d.Containers {
		x.Links = slices.DeleteFunc(x.Links, func(l Link) bool { return l.Container == ct.Name })
	}
	return nil
}

// remove is docker rm (daemon/delete.go).
func (c *call) remove(ct *Container, force bool) error {
	if ct.Running {
		if !force {
			return refuse(Conflict, "You cannot remove a running container %s. Stop the container before attempting removal or force remove", ct.ID)
		}
		auto := ct.AutoRemove
		ct.AutoRemove = false
		err := c.stop(ct, true)
		ct.AutoRemove = auto
		if err != nil {
			return err
		}
	}
	return c.forget(ct)
}

// tend looks which containers have ended by themselves since the last command,
// and does what the daemon would have done then.
func (c *call) tend() error {
	if !c.d.Running {
		return nil
	}
	for _, ct := range slices.Clone(c.d.Containers) {
		if !ct.Running {
			continue
		}
		if yes, err := c.alive(ct); err != nil {
			return err
		} else if yes {
			continue
		}
		if err := c.exited(ct, 137); err != nil {
			return err
		}
		if slices.Contains([]string{"always", "unless-stopped", "on-failure"}, strings.Split(ct.Restart, ":")[0]) && !ct.Stopped {
			if err := c.start(ct); err != nil {
				if l, is := err.(lost); is {
					return l
				}
			}
		}
	}
	return nil
}

// alive reports whether a container's process still runs.
func (c *call) alive(ct *Container) (bool, error) {
	s, err := c.look()
	if err != nil {
		return false, err
	}
	if ct.Node != c.d.Machine && !strings.HasPrefix(ct.NetworkMode, "container:") {
		n := s.Node(ct.Node)
		if n == nil || !n.Mounted {
			return n != nil && n.Keeper == ct.Pid, nil
		}
	}
	res, err := c.engine.lab.Apply(c.ctx, c.d.Machine, op.Tool{Argv: []string{"test", "-e", "/proc/" + ct.pid() + "/ns/net"}})
	if err != nil {
		return false, lost{err}
	}
	return res.Status == 0, nil
}
