package docker

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// docker swarm … and docker node …: their command lines, and what they print
// (docker/cli, cli/command/swarm, cli/command/node).

var swarmCommands = []subcommand{
	{"ca", "Display and rotate the root CA", nil},
	{"init", "Initialize a swarm", (*call).cliSwarmInit},
	{"join", "Join a swarm as a node and/or manager", (*call).cliSwarmJoin},
	{"join-token", "Manage join tokens", (*call).cliJoinToken},
	{"leave", "Leave the swarm", (*call).cliSwarmLeave},
	{"unlock", "Unlock swarm", nil},
	{"unlock-key", "Manage the unlock key", nil},
	{"update", "Update the swarm", nil},
}

var nodeCommands = []subcommand{
	{"demote", "Demote one or more nodes from manager in the swarm", nil},
	{"inspect", "Display detailed information on one or more nodes", nil},
	{"ls", "List nodes in the swarm", (*call).cliNodeList},
	{"promote", "Promote one or more nodes to manager in the swarm", nil},
	{"ps", "List tasks running on one or more nodes, defaults to current node", nil},
	{"rm", "Remove one or more nodes from the swarm", (*call).cliNodeRemove},
	{"update", "Update a node", nil},
}

// without refuses options that are not here.
func (c *call) without(path string, flags []*flag) bool {
	for _, g := range flags {
		if g.set {
			fmt.Fprintf(&c.errs, "not simulated: %s --%s\n", path, g.name)
			return true
		}
	}
	return false
}

func (c *call) cliSwarmInit(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS]", "Initialize a swarm", 0, 0)
	advertise := f.text("advertise-addr", "")
	f.text("listen-addr", "").deaf = true
	pools, size := f.list("default-addr-pool", ""), f.add(intKind, "default-addr-pool-mask-length", "")
	pools.check = func(s string) (string, error) {
		if p, err := netip.ParsePrefix(s); err != nil || !p.Addr().Is4() {
			return s, fmt.Errorf("invalid string being converted to CIDR: %s", s)
		}
		return s, nil
	}
	port := f.add(intKind, "data-path-port", "")
	availability := f.text("availability", "")
	var deaf []*flag
	for _, name := range []string{"cert-expiry", "data-path-addr", "dispatcher-heartbeat", "external-ca"} {
		deaf = append(deaf, f.text(name, ""))
	}
	for _, name := range []string{"autolock", "force-new-cluster"} {
		deaf = append(deaf, f.boolean(name, ""))
	}
	for _, name := range []string{"max-snapshots", "snapshot-interval", "task-history-limit"} {
		deaf = append(deaf, f.add(intKind, name, ""))
	}
	_, status, done := c.parse(f, args)
	if done {
		return status, nil
	}
	if c.without(path, deaf) {
		return 95, nil
	}
	if v := availability.value; availability.set && v != "active" && v != "pause" && v != "drain" {
		fmt.Fprintf(&c.errs, "invalid availability %q, only active, pause and drain are supported\n", v)
		return 1, nil
	}
	if !c.connected() {
		return 1, nil
	}
	if c.d.Swarm != nil {
		return c.fail(refuse(System, "%s", inSwarm))
	}
	data := 4789
	if port.set {
		if data = port.int(); data != 0 && (data < 1024 || data > 49151) {
			return c.fail(refuse(System, "invalid data path port number, %d is outside the range 1024 - 49151", data))
		}
		if data == 0 {
			data = 4789
		}
	}
	base, bits := netip.MustParsePrefix("10.0.0.0/8"), 24
	if len(pools.list) > 1 {
		fmt.Fprintf(&c.errs, "not simulated: %s with several --default-addr-pool\n", path)
		return 95, nil
	}
	if len(pools.list) == 1 {
		base = netip.MustParsePrefix(pools.list[0]) // checked when it was read
	}
	if size.set {
		bits = size.int()
	}
	if bits < base.Bits() || bits > 29 || bits-base.Bits() > 24 {
		return c.fail(refuse(System, "invalid default address pool: a network of length %d does not fit into %s", bits, base))
	}
	addr, at, err := c.advertised(advertise.value)
	if err != nil {
		return c.fail(err)
	}
	cl, me, err := c.swarmInit(addr, at, base, bits, data)
	if err != nil {
		return c.fail(err)
	}
	fmt.Fprintf(&c.out, "Swarm initialized: current node (%s) is now a manager.\n\nTo add a worker to this swarm, run the following command:\n\n"+
		"    docker swarm join --token %s %s:%d\n\nTo add a manager to this swarm, run 'docker swarm join-token manager' and follow the instructions.\n\n",
		me.ID, cl.Worker, me.Addr, me.Port)
	return 0, nil
}

// advertised is the address by which the others find this machine: what
// --advertise-addr says, or the only one it has (moby, daemon/cluster/listen_addr.go).
func (c *call) advertised(text string) (addr netip.Addr, port uint16, err error) {
	port = 2377
	host, err := c.host()
	if err != nil {
		return addr, 0, err
	}
	if text != "" {
		name, p, split := net.SplitHostPort(text)
		if split == nil {
			text = name
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil {
				return addr, 0, refuse(System, "%s", badAdvertise)
			}
			port = uint16(n)
		}
		if l := host.Link(text); l != nil {
			for _, a := range l.Addrs {
				if addr.IsValid() {
					return addr, 0, refuse(System, "interface %s has more than one IPv4 address (%s and %s)", text, addr, a.Prefix.Addr())
				}
				addr = a.Prefix.Addr()
			}
			if !addr.IsValid() {
				return addr, 0, refuse(System, "interface %s has no usable IPv4 or IPv6 address", text)
			}
			return addr, port, nil
		}
		if addr, err = netip.ParseAddr(text); err != nil || !addr.Is4() || addr.IsUnspecified() {
			return addr, 0, refuse(System, "%s", badAdvertise)
		}
		return addr, port, nil
	}
	dev := ""
	for _, l := range host.Links {
		if l.Type == "loopback" || !l.Up || slices.ContainsFunc(c.d.Networks, func(n *Network) bool { return n.Bridge == l.Name }) {
			continue
		}
		for _, a := range l.Addrs {
			switch {
			case !addr.IsValid():
				addr, dev = a.Prefix.Addr(), l.Name
			case dev == l.Name:
				return addr, 0, refuse(System, "could not choose an IP address to advertise since this system has multiple addresses on interface %s (%s and %s) - specify one with --advertise-addr", dev, addr, a.Prefix.Addr())
			default:
				return addr, 0, refuse(System, "could not choose an IP address to advertise since this system has multiple addresses on different interfaces (%s on %s and %s on %s) - specify one with --advertise-addr", addr, dev, a.Prefix.Addr(), l.Name)
			}
		}
	}
	if !addr.IsValid() {
		return addr, 0, refuse(System, "could not find the system's IP address - specify one with --advertise-addr")
	}
	return addr, port, nil
}

const badAdvertise = "advertise address must be a non-zero IP address or network interface (with optional port number)"

func (c *call) cliSwarmJoin(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] HOST:PORT", "Join a swarm as a node and/or manager", 1, 1)
	advertise, token := f.text("advertise-addr", ""), f.text("token", "")
	f.text("listen-addr", "").deaf = true
	deaf := []*flag{f.text("availability", ""), f.text("data-path-addr", "")}
	args, status, done := c.parse(f, args)
	if done {
		return status, nil
	}
	if c.without(path, deaf) {
		return 95, nil
	}
	if !c.connected() {
		return 1, nil
	}
	if c.d.Swarm != nil {
		return c.fail(refuse(System, "%s", inSwarm))
	}
	remote, err := netip.ParseAddrPort(args[0])
	if err != nil {
		a, bare := netip.ParseAddr(args[0])
		if bare != nil {
			return c.fail(refuse(System, "not simulated: a manager that is not named by its IPv4 address"))
		}
		remote = netip.AddrPortFrom(a, 2377)
	}
	var addr netip.Addr
	if advertise.set {
		if addr, _, err = c.advertised(advertise.value); err != nil {
			return c.fail(err)
		}
	}
	if err := c.swarmJoin(token.value, remote, addr); err != nil {
		return c.fail(err)
	}
	fmt.Fprintln(&c.out, "This node joined a swarm as a worker.")
	return 0, nil
}

func (c *call) cliJoinToken(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] (worker|manager)", "Manage join tokens", 1, 1)
	quiet, rotate := f.boolean("quiet", "q"), f.boolean("rotate", "")
	args, status, done := c.parse(f, args)
	if done {
		return status, nil
	}
	role := args[0]
	if role != "worker" && role != "manager" {
		fmt.Fprintln(&c.errs, "unknown role "+role)
		return 1, nil
	}
	if !c.connected() {
		return 1, nil
	}
	cl, err := c.manages()
	if err != nil {
		return c.fail(err)
	}
	token := &cl.Worker
	if role == "manager" {
		token = &cl.Manager
	}
	if rotate.on() {
		*token = (*token)[:len(*token)-25] + c.letters(25)
		if !quiet.on() {
			fmt.Fprintf(&c.out, "Successfully rotated %s join token.\n\n", role)
		}
	}
	if quiet.on() {
		fmt.Fprintln(&c.out, *token)
		return 0, nil
	}
	_, me := c.cluster()
	fmt.Fprintf(&c.out, "To add a %s to this swarm, run the following command:\n\n    docker swarm join --token %s %s:%d\n\n", role, *token, me.Addr, me.Port)
	return 0, nil
}

func (c *call) cliSwarmLeave(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS]", "Leave the swarm", 0, 0)
	force := f.boolean("force", "f")
	if _, status, done := c.parse(f, args); done {
		return status, nil
	}
	if !c.connected() {
		return 1, nil
	}
	if err := c.swarmLeave(force.on()); err != nil {
		return c.fail(err)
	}
	fmt.Fprintln(&c.out, "Node left the swarm.")
	return 0, nil
}

// NodeRow is what a format of docker node ls can name.
type NodeRow struct {
	ID, Self, Hostname, Status, Availability, ManagerStatus, TLSStatus, EngineVersion string
}

func (c *call) cliNodeList(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS]", "List nodes in the swarm", 0, 0)
	quiet, format := f.boolean("quiet", "q"), f.text("format", "")
	filter := f.list("filter", "f")
	if _, status, done := c.parse(f, args); done {
		return status, nil
	}
	if c.without(path, []*flag{filter}) {
		return 95, nil
	}
	if !c.connected() {
		return 1, nil
	}
	cl, err := c.manages()
	if err != nil {
		return c.fail(err)
	}
	_, me := c.cluster()
	nodes := slices.Clone(cl.Nodes)
	slices.SortFunc(nodes, func(a, b *SwarmNode) int { return strings.Compare(a.Machine, b.Machine) })
	var rows []NodeRow
	for _, n := range nodes {
		r := NodeRow{ID: n.ID, Self: "false", Hostname: n.Machine, Status: "Ready", Availability: "Active", TLSStatus: "Ready", EngineVersion: clientVersion}
		if c.down(n) {
			r.Status = "Down"
		}
		if n.Manager {
			r.ManagerStatus = "Leader"
		}
		if quiet.on() && format.value == "" {
			fmt.Fprintln(&c.out, n.ID)
			continue
		}
		if n == me {
			r.Self = "true"
		}
		rows = append(rows, r)
	}
	if quiet.on() && format.value == "" {
		return 0, nil
	}
	if format.value == "" || format.value == "table" {
		for i := range rows {
			rows[i].ID += map[string]string{"true": " *", "false": "  "}[rows[i].Self]
		}
	}
	return table(c, format.value, "table {{.ID}}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t{{.EngineVersion}}",
		NodeRow{"ID", "SELF", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS", "TLS STATUS", "ENGINE VERSION"}, rows)
}

// noSuchNode is said by the client, not the daemon.
type noSuchNode string

func (n noSuchNode) Error() string { return "Error: No such node: " + string(n) }

func (c *call) cliNodeRemove(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] NODE [NODE...]", "Remove one or more nodes from the swarm", 1, -1)
	force := f.boolean("force", "f")
	args, status, done := c.parse(f, args)
	if done {
		return status, nil
	}
	if !c.connected() {
		return 1, nil
	}
	return c.each(args, func(name string) error {
		cl, err := c.manages()
		if err != nil {
			return err
		}
		for i, n := range cl.Nodes {
			switch {
			case n.ID != name && n.Machine != name && (len(name) < 4 || !strings.HasPrefix(n.ID, name)):
				continue
			case n.Manager:
				return rpc("FailedPrecondition", "node %s is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal", n.ID)
			case !c.down(n) && !force.on():
				return rpc("FailedPrecondition", "node %s is not down and can't be removed", n.ID)
			}
			cl.Nodes = slices.Delete(cl.Nodes, i, i+1)
			for _, t := range slices.Clone(cl.Tasks) {
				if t.Node == n.ID {
					cl.giveBack(t.Network, t.IP)
				}
			}
			return nil
		}
		return noSuchNode(name)
	})
}
