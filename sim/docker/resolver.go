package docker

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The embedded DNS server (libnetwork, resolver.go, resolver_unix.go): in every
// container that is on a network which somebody made, something listens on
// 127.0.0.11, at ports chosen at random; rules inside the container lead port 53
// there. It answers for the containers of the same networks and asks the
// machine's name servers about the rest.
//
// dockerd has these sockets itself. Here a dnsmasq has them, whose directory of
// hosts files the daemon keeps up to date; both its ports have one number.

const resolverIP = "127.0.0.11"

// namesDir is where the names are that a container's name server knows.
func (ct *Container) namesDir() string {
	if ct.Box != "" {
		return "/var/lib/docker/network/files/" + ct.ID
	}
	return "/var/lib/docker/containers/" + ct.ID + "/names"
}

// startResolver gives a container its name server, when it comes to the first
// network that somebody made.
func (c *call) startResolver(ct *Container) error {
	if ct.Resolver != 0 {
		return c.tellNames()
	}
	text, servers, err := c.resolvConf(ct)
	if err != nil {
		return err
	}
	var forward []string
	for _, s := range servers {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() && len(forward) < 3 {
			forward = append(forward, "--server="+s)
		}
	}
	options := fields(optionLine, text)
	if !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "ndots") }) {
		options = append(options, "ndots:0")
	}
	if ct.Box == "" {
		if err := c.write(ct.file("resolv.conf"), resolvText([]string{resolverIP}, fields(searchLine, text), options)); err != nil {
			return err
		}
	}
	port := firstRandom + c.engine.random.IntN(lastRandom-firstRandom+1)
	ct.Resolver = port
	if err := c.do("mkdir -p %s", ct.namesDir()); err != nil {
		return err
	}
	if err := c.tellNames(); err != nil {
		return err
	}
	line := strings.Join(append([]string{"dnsmasq", "--listen-address=" + resolverIP, "--bind-interfaces", fmt.Sprintf("--port=%d", port),
		"--no-resolv", "--no-hosts", "--hostsdir=" + ct.namesDir()}, forward...), " ")
	if err := c.within(ct, "%s &", line); err != nil {
		return err
	}
	for _, rule := range []string{
		"-N DOCKER_OUTPUT",
		"-I OUTPUT -d " + resolverIP + " -j DOCKER_OUTPUT",
		"-N DOCKER_POSTROUTING",
		"-I POSTROUTING -d " + resolverIP + " -j DOCKER_POSTROUTING",
		fmt.Sprintf("-I DOCKER_OUTPUT -d %s -p udp --dport 53 -j DNAT --to-destination %s:%d", resolverIP, resolverIP, port),
		fmt.Sprintf("-I DOCKER_POSTROUTING -s %s -p udp --sport %d -j SNAT --to-source :53", resolverIP, port),
		fmt.Sprintf("-I DOCKER_OUTPUT -d %s -p tcp --dport 53 -j DNAT --to-destination %s:%d", resolverIP, resolverIP, port),
		fmt.Sprintf("-I DOCKER_POSTROUTING -s %s -p tcp --sport %d -j SNAT --to-source :53", resolverIP, port),
	} {
		if err := c.within(ct, "iptables -t nat %s", rule); err != nil {
			return err
		}
	}
	return nil
}

// stopResolver ends a container's name server, which would keep its namespace.
func (c *call) stopResolver(ct *Container) error {
	if ct.Resolver == 0 {
		return nil
	}
	ct.Resolver = 0
	var err error
	if ct.Box != "" {
		err = c.within(ct, "pkill -f %s", ct.namesDir())
	} else {
		_, err = c.result(ct.Node, "pkill -f "+ct.namesDir())
	}
	if l := (lost{}); errors.As(err, &l) {
		return err
	}
	return nil
}

// tellNames writes down, for every name server that runs, the names it answers
// for, where they have changed: those of this machine, and of its swarm.
func (c *call) tellNames() error {
	if err := c.tellOwnNames(); err != nil {
		return err
	}
	for _, d := range c.others() {
		if err := c.on(d, c.tellOwnNames); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) tellOwnNames() error {
	for _, ct := range c.d.Containers {
		if ct.Resolver == 0 {
			continue
		}
		text := c.names(ct)
		if text == ct.Names {
			continue
		}
		ct.Names = text
		if err := c.write(ct.namesDir()+"/hosts", text); err != nil {
			return err
		}
	}
	return nil
}

// names are those a container's name server answers for, in the form of
// hosts(5): the containers of its networks that run, by their names, aliases and
// short IDs, and its own links.
func (c *call) names(ct *Container) string {
	var b strings.Builder
	for _, ep := range ct.joined() {
		n := c.d.networkByID(ep.Network)
		if n == nil || !n.userDefined() || !ep.IP.IsValid() || ep.Outward {
			continue
		}
		all := c.d.Containers
		if n.Driver == "overlay" {
			all = slices.Clone(all)
			for _, d := range c.others() {
				all = append(all, d.Containers...)
			}
		}
		for _, other := range all {
			at := other.endpoint(n)
			if at == nil || !at.IP.IsValid() || at.Outward {
				continue
			}
			names := append([]string{other.Name}, at.Aliases...)
			for _, l := range ep.Links {
				if l.Container == other.Name || l.Container == other.ID {
					names = append(names, l.Alias)
				}
			}
			slices.Sort(names[1:])
			names = slices.Compact(names)
			for i := range len(names) {
				names = append(names, names[i]+"."+n.Name)
			}
			// The first is what an address is called (network.ResolveIP).
			fmt.Fprintf(&b, "%s %s.%s %s\n", at.IP, other.Name, n.Name, strings.Join(names, " "))
		}
	}
	return b.String()
}
