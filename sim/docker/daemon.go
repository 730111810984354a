package docker

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// dockerd's start, stop and restart (moby, daemon/daemon_unix.go
// initNetworkController; libnetwork, controller.go). What it made in the kernel
// stays when it stops: the next start takes it over.

// dockerd is the command dockerd. It comes back at once, whether it was put in
// the background or not.
func (c *call) dockerd() (int, error) {
	f := daemonFlags()
	operands, err := f.read(c.argv[1:])
	switch {
	case err == errHelp:
		c.out.WriteString(f.help())
		return 0, nil
	case err != nil:
		fmt.Fprintf(&c.errs, "Status: %v\nSee 'dockerd --help'., Code: 125\n", err)
		return 1, nil
	case len(operands) > 0:
		fmt.Fprintf(&c.errs, "\"dockerd\" accepts no argument(s).\nSee 'dockerd --help'.\n\nUsage:  dockerd [OPTIONS]\n\n%s\n", f.short)
		return 1, nil
	case f.named("version").on():
		fmt.Fprintf(&c.out, "Docker version %s, build 5d6db84\n", clientVersion)
		return 0, nil
	}
	if f.named("explain").on() && !c.explain {
		c.tell = true
		return 0, nil
	}
	for _, name := range []string{"ipv6", "ip6tables", "rootless"} {
		if f.named(name).on() {
			fmt.Fprintf(&c.errs, "not simulated: dockerd --%s\n", name)
			return 95, nil
		}
	}
	if err := c.startDaemon(f); err != nil {
		if l := (lost{}); errors.As(err, &l) {
			return 1, err
		}
		fmt.Fprintln(&c.errs, err)
		return 1, nil
	}
	return 0, nil
}

// service is systemctl … docker, and service docker ….
func (c *call) service() (int, error) {
	verb := ""
	for _, a := range c.argv[1:] {
		if !isUnit(a) && !strings.HasPrefix(a, "-") {
			verb = a
		}
	}
	switch verb {
	case "start", "stop", "restart":
	case "is-active":
		state, status := "inactive", 3
		if c.d.Running {
			state, status = "active", 0
		}
		fmt.Fprintln(&c.out, state)
		return status, nil
	case "status":
		state, status := "inactive (dead)", 3
		if c.d.Running {
			state, status = "active (running)", 0
		}
		fmt.Fprintf(&c.out, "● docker.service - Docker Application Container Engine\n     Active: %s\n", state)
		return status, nil
	default:
		fmt.Fprintf(&c.errs, "not simulated: %s %s\n", c.argv[0], strings.Join(c.argv[1:], " "))
		return 95, nil
	}
	if verb != "start" {
		if err := c.stopDaemon(); err != nil {
			return 1, err
		}
	}
	if verb == "stop" || c.d.Running {
		return 0, nil
	}
	err := c.startDaemon(daemonFlags())
	if l := (lost{}); errors.As(err, &l) {
		return 1, err
	}
	if err != nil {
		c.errs.WriteString("Job for docker.service failed because the control process exited with error code.\n" +
			"See \"systemctl status docker.service\" and \"journalctl -xeu docker.service\" for details.\n")
		return 1, nil
	}
	return 0, nil
}

func (c *call) startDaemon(f *flagSet) error {
	cfg, err := c.configure(f)
	switch {
	case err != nil:
		return err
	case c.d.Running:
		return errors.New("failed to start daemon: pid file found, ensure docker is not running or delete /var/run/docker.pid")
	}
	if err := cfg.verify(); err != nil {
		return fmt.Errorf("failed to start daemon: %w", err)
	}
	c.d.Config, c.d.NextPool = cfg, 0
	c.d.Ports = nil
	if err := c.startNetworks(); err != nil {
		if l := (lost{}); errors.As(err, &l) {
			return err
		}
		return fmt.Errorf("failed to start daemon: Error initializing network controller: %w", err)
	}
	c.d.Running = true
	if err := c.rejoin(); err != nil {
		return err
	}
	for _, ct := range slices.Clone(c.d.Containers) {
		if restarts(ct) {
			if err := c.start(ct); err != nil {
				if l := (lost{}); errors.As(err, &l) {
					return err
				}
			}
		}
	}
	return nil
}

// restarts reports whether a container is started with the daemon
// (restartmanager.ShouldRestart).
func restarts(ct *Container) bool {
	switch policy, _, _ := strings.Cut(ct.Restart, ":"); policy {
	case "always":
		return ct.StartedAt != 0
	case "unless-stopped":
		return !ct.Stopped && ct.StartedAt != 0
	case "on-failure":
		return ct.ExitCode != 0
	}
	return false
}

// stopDaemon ends the containers, and leaves everything else.
func (c *call) stopDaemon() error {
	if !c.d.Running {
		return nil
	}
	for _, ct := range slices.Clone(c.d.Containers) {
		if !ct.Running {
			continue
		}
		stopped := ct.Stopped
		if err := c.stop(ct, false); err != nil {
			return err
		}
		ct.Stopped = stopped
	}
	if c.d.Swarm != nil {
		for _, b := range slices.Clone(c.d.Swarm.Boxes) {
			if err := c.partDown(b, true); err != nil {
				return err
			}
		}
	}
	c.d.Running = false
	return nil
}

// startNetworks does in the kernel what a starting daemon does there.
func (c *call) startNetworks() error {
	cfg := &c.d.Config
	// The bridge driver (configure).
	if cfg.IPTables {
		if err := c.setupChains(); err != nil {
			return err
		}
	}
	if cfg.IPForward {
		if err := c.forwarding(); err != nil {
			return err
		}
	}
	// Its networks, as its store has them: by ID (populateNetworks).
	stored := slices.DeleteFunc(slices.Clone(c.d.Networks), func(n *Network) bool { return n.Driver != "bridge" })
	slices.SortFunc(stored, func(a, b *Network) int { return cmp.Compare(a.ID, b.ID) })
	for _, n := range stored {
		if err := c.bridgeUp(n); err != nil {
			if l := (lost{}); errors.As(err, &l) {
				return err
			}
		}
	}
	if _, err := predefined(cfg.Pools); err != nil {
		return fmt.Errorf("error obtaining controller instance: %w", err)
	}
	for _, n := range c.d.Networks {
		for i := range n.Pools {
			p := &n.Pools[i]
			p.Used = nil
			if p.Gateway.IsValid() {
				p.take(p.Gateway)
			}
			for _, a := range p.Aux {
				p.take(a)
			}
		}
	}
	for _, special := range []struct{ name, driver string }{{"none", "null"}, {"host", "host"}} {
		if slices.ContainsFunc(c.d.Networks, func(n *Network) bool { return n.Name == special.name }) {
			continue
		}
		c.d.Networks = append(c.d.Networks, &Network{ID: c.newID(), Name: special.name, Driver: special.driver, Scope: "local", Created: c.now()})
		if err := c.setupUserChain(); err != nil {
			return err
		}
	}
	// The default bridge is made anew.
	old := ""
	if i := slices.IndexFunc(c.d.Networks, func(n *Network) bool { return n.Default }); i >= 0 {
		if err := c.bridgeDown(c.d.Networks[i]); err != nil {
			return err
		}
		old = c.d.Networks[i].ID
		c.d.Networks = slices.Delete(c.d.Networks, i, i+1)
		if len(cfg.Pools) > 0 {
			if err := c.removeDocker0(); err != nil {
				return err
			}
		}
	}
	if cfg.DisableBridge {
		return c.removeDocker0()
	}
	if err := c.makeDefault(); err != nil {
		return err
	}
	// Containers know the network by its name.
	now := c.d.Networks[len(c.d.Networks)-1].ID
	for _, ct := range c.d.Containers {
		for _, ep := range ct.Endpoints {
			if ep.Network == old {
				ep.Network = now
			}
		}
	}
	return nil
}

// forwarding switches forwarding on, and where it was off sees to it that
// nothing passes by default (setupIPForwarding).
func (c *call) forwarding() error {
	host, err := c.host()
	if err != nil || host.Sysctls["net.ipv4.ip_forward"] == "1" {
		return err
	}
	if err := c.do("sysctl -w net.ipv4.ip_forward=1"); err != nil || !c.d.Config.IPTables {
		return err
	}
	return c.do("iptables -P FORWARD DROP")
}

func (c *call) removeDocker0() error {
	host, err := c.host()
	if err != nil || host.Link(defaultBridge) == nil {
		return err
	}
	return c.do("ip link del %s", defaultBridge)
}

// makeDefault makes the network bridge (initBridgeDriver).
func (c *call) makeDefault() error {
	cfg := &c.d.Config
	n := &Network{ID: c.newID(), Name: "bridge", Driver: "bridge", Scope: "local", Created: c.now(), Default: true, OwnBridge: true,
		Bridge: cmp.Or(cfg.Bridge, defaultBridge), ICC: cfg.ICC, Masq: cfg.IPMasq, MTU: cmp.Or(cfg.MTU, 1500)}
	bind := netip.IPv4Unspecified()
	if cfg.IP != "" {
		bind, _ = netip.ParseAddr(cfg.IP) // checked when it was read
	}
	n.HostIP = bind
	n.Options = map[string]string{
		"com.docker.network.bridge.default_bridge":       "true",
		"com.docker.network.bridge.enable_icc":           strconv.FormatBool(n.ICC),
		"com.docker.network.bridge.enable_ip_masquerade": strconv.FormatBool(n.Masq),
		"com.docker.network.bridge.host_binding_ipv4":    bind.String(),
		"com.docker.network.bridge.name":                 n.Bridge,
		"com.docker.network.driver.mtu":                  strconv.Itoa(n.MTU),
	}
	var asked IPAMConfig
	host, err := c.host()
	if err != nil {
		return err
	}
	var fixed netip.Prefix
	if cfg.FixedCIDR != "" {
		fixed, err = netip.ParsePrefix(cfg.FixedCIDR)
	}
	badFixed := err
	var now netip.Prefix
	if link := host.Link(n.Bridge); link != nil && len(link.Addrs) > 0 {
		now = link.Addrs[0].Prefix
		for _, a := range link.Addrs {
			if fixed.IsValid() && fixed.Masked().Contains(a.Prefix.Addr()) {
				now = a.Prefix
				break
			}
		}
	} else if now, err = c.firstFree(); err != nil {
		return err
	}
	asked.Subnet = now.Masked().String()
	if now.Addr() != now.Masked().Addr() {
		asked.Gateway = now.Addr().String()
	}
	if cfg.BIP != "" {
		bip, err := netip.ParsePrefix(cfg.BIP)
		if err != nil {
			return fmt.Errorf("invalid CIDR address: %s", cfg.BIP)
		}
		asked.Subnet, asked.Gateway = bip.Masked().String(), bip.Addr().String()
	}
	if badFixed != nil {
		return fmt.Errorf("invalid CIDR address: %s", cfg.FixedCIDR)
	}
	if fixed.IsValid() {
		asked.IPRange = fixed.Masked().String()
	}
	if cfg.Gateway != "" {
		asked.AuxAddress = map[string]string{"DefaultGatewayIPv4": cfg.Gateway}
	}
	n.IPAM = []IPAMConfig{asked}
	if err := c.newNetwork(n); err != nil {
		if l := (lost{}); errors.As(err, &l) {
			return err
		}
		return fmt.Errorf("Error creating default \"bridge\" network: %w", err) //nolint:staticcheck // the daemon's words
	}
	return nil
}
