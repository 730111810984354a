package docker

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The daemon's chains and rules (libnetwork, drivers/bridge/setup_ip_tables.go,
// iptables/iptables.go, firewall_linux.go):
//
//	filter FORWARD ─▶ DOCKER-USER                  whoever administers the machine
//	               ─▶ DOCKER-ISOLATION-STAGE-1 ─▶ DOCKER-ISOLATION-STAGE-2   networks are kept apart
//	               for each network: established, ─▶ DOCKER (published ports), out, among its containers
//	nat PREROUTING, OUTPUT ─▶ DOCKER               published ports: DNAT
//	nat POSTROUTING                                MASQUERADE for each network and published port
//
// dockerd asks iptables -C before it adds or removes a rule. Here that question
// goes to a firewall: the rules as the snapshot had them when the command began,
// and what the command did to them since.

// Chains of the daemon's own.
const (
	dockerChain    = "DOCKER"
	isolationFirst = "DOCKER-ISOLATION-STAGE-1"
	isolationLast  = "DOCKER-ISOLATION-STAGE-2"
	userChain      = "DOCKER-USER"
)

// rule is a rule in the words that dockerd gives to iptables, and in those of
// iptables-save, by which it is found again.
type rule struct {
	table, chain string
	args         string
	saved        string // "" when the words are the same
}

func (r rule) text() string {
	if r.saved != "" {
		return r.saved
	}
	return r.args
}

// firewall is what a machine's tables hold: rules as iptables-save prints them,
// by table and chain.
type firewall map[[2]string][]string

// firewall looks the rules up once for each command.
func (c *call) firewall() (firewall, error) {
	if c.fw == nil {
		host, err := c.host()
		if err != nil {
			return nil, err
		}
		c.fw = firewall{}
		for _, t := range host.Tables {
			for _, ch := range t.Chains {
				rules := make([]string, 0, len(ch.Rules))
				for _, r := range ch.Rules {
					rules = append(rules, r.Spec)
				}
				c.fw[[2]string{t.Name, ch.Name}] = rules
			}
		}
	}
	return c.fw, nil
}

// iptables does a command of iptables; of table filter nothing is said.
func (c *call) iptables(table, words string) error {
	if table != "filter" {
		words = "-t " + table + " " + words
	}
	err := c.do("iptables %s", words)
	if r, refused := err.(*Refused); refused {
		return &ruleRefused{words, r}
	}
	return err
}

// ruleRefused is a command of iptables that failed.
type ruleRefused struct {
	words string
	*Refused
}

func (r *ruleRefused) Error() string {
	return fmt.Sprintf("iptables failed: iptables --wait %s: %s%s (exit status %d)", r.words, r.Result.Output, r.Result.Stderr, r.Result.Status)
}

// exists is iptables -C.
func (c *call) exists(r rule) (bool, error) {
	fw, err := c.firewall()
	return slices.Contains(fw[[2]string{r.table, r.chain}], r.text()), err
}

// The ways a rule is programmed: dockerd's -I, -A and -D.
const (
	insertRule = "-I"
	appendRule = "-A"
	deleteRule = "-D"
)

// program adds a rule that is not there, or removes one that is.
func (c *call) program(how string, r rule) error {
	there, err := c.exists(r)
	if err != nil || there != (how == deleteRule) {
		return err
	}
	return c.rewrite(how, r)
}

// rewrite adds or removes a rule without a look.
func (c *call) rewrite(how string, r rule) error {
	if err := c.iptables(r.table, how+" "+r.chain+" "+r.args); err != nil {
		return err
	}
	fw, err := c.firewall()
	if err != nil {
		return err
	}
	key := [2]string{r.table, r.chain}
	switch how {
	case insertRule:
		fw[key] = slices.Insert(fw[key], 0, r.text())
	case appendRule:
		fw[key] = append(fw[key], r.text())
	case deleteRule:
		if i := slices.Index(fw[key], r.text()); i >= 0 {
			fw[key] = slices.Delete(fw[key], i, i+1)
		}
	}
	return nil
}

// enable programs a rule at the top of its chain, or takes it away.
func (c *call) enable(on bool, rules ...rule) error {
	how := insertRule
	if !on {
		how = deleteRule
	}
	for _, r := range rules {
		if err := c.program(how, r); err != nil {
			return err
		}
	}
	return nil
}

// newChain makes a chain that is not there.
func (c *call) newChain(table, name string) error {
	fw, err := c.firewall()
	if err != nil {
		return err
	}
	key := [2]string{table, name}
	if _, there := fw[key]; there {
		return nil
	}
	if err := c.iptables(table, "-N "+name); err != nil {
		return err
	}
	fw[key] = nil
	return nil
}

// removeChain empties a chain, and deletes it where nothing jumps to it.
func (c *call) removeChain(table, name string) error {
	fw, err := c.firewall()
	if err != nil {
		return err
	}
	key := [2]string{table, name}
	if _, there := fw[key]; !there {
		return nil
	}
	if err := c.iptables(table, "-F "+name); err != nil {
		return err
	}
	fw[key] = nil
	for k, rules := range fw {
		if k[0] == table && slices.ContainsFunc(rules, func(r string) bool { return strings.HasSuffix(r, "-j "+name) }) {
			return nil
		}
	}
	if err := c.iptables(table, "-X "+name); err != nil {
		return err
	}
	delete(fw, key)
	return nil
}

// returnRule is the last rule of a chain that lets go of what it had no word for.
func returnRule(chain string) rule { return rule{"filter", chain, "-j RETURN", ""} }

// jumpFirst puts the jump to a chain at the top of FORWARD, wherever it was.
func (c *call) jumpFirst(chain string) error {
	r := rule{"filter", "FORWARD", "-j " + chain, ""}
	if err := c.program(deleteRule, r); err != nil {
		return err
	}
	return c.rewrite(insertRule, r)
}

// setupChains takes away what an earlier daemon left, and makes the chains anew:
// setupIPChains.
func (c *call) setupChains() error {
	before := []rule{
		{"nat", "PREROUTING", "-m addrtype --dst-type LOCAL -j DOCKER", ""},
		outputRule(true),
		outputRule(false),
	}
	for _, r := range before {
		if err := c.program(deleteRule, r); err != nil {
			return err
		}
	}
	chains := [][2]string{{"nat", dockerChain}, {"filter", dockerChain}, {"filter", isolationFirst}, {"filter", isolationLast}}
	for _, ch := range chains {
		if err := c.removeChain(ch[0], ch[1]); err != nil {
			return err
		}
	}
	for _, ch := range chains {
		if err := c.newChain(ch[0], ch[1]); err != nil {
			return err
		}
	}
	for _, ch := range []string{isolationFirst, isolationLast} {
		if err := c.program(appendRule, returnRule(ch)); err != nil {
			return err
		}
	}
	return nil
}

// outputRule sends what the machine itself sends to one of its addresses to
// DOCKER; with docker-proxy, but for 127.0.0.0/8.
func outputRule(proxy bool) rule {
	r := rule{"nat", "OUTPUT", "-m addrtype --dst-type LOCAL -j DOCKER", ""}
	if proxy {
		r.args = "-m addrtype --dst-type LOCAL -j DOCKER ! --dst 127.0.0.0/8"
		r.saved = "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER"
	}
	return r
}

// setupUserChain makes DOCKER-USER, and sees to it that it comes first: after
// every network (arrangeUserFilterRule).
func (c *call) setupUserChain() error {
	if !c.d.Config.IPTables {
		return nil
	}
	if err := c.newChain("filter", userChain); err != nil {
		return err
	}
	if err := c.program(appendRule, returnRule(userChain)); err != nil {
		return err
	}
	return c.jumpFirst(userChain)
}

// networkRules makes the rules of a bridge network: setupIPTables.
func (c *call) networkRules(n *Network) error {
	if n.Internal {
		if err := c.internalRules(n, true); err != nil {
			return err
		}
	} else {
		if err := c.trafficRules(n, true); err != nil {
			return err
		}
		for _, r := range []rule{{"nat", "PREROUTING", "-m addrtype --dst-type LOCAL -j DOCKER", ""}, outputRule(c.d.Config.UserlandProxy)} {
			if err := c.program(appendRule, r); err != nil {
				return err
			}
		}
		if err := c.enable(true, bridgeJumps(n)...); err != nil {
			if r, is := err.(*ruleRefused); is {
				return refuse(System, "Failed to program FILTER chain: %v", r)
			}
			return err
		}
	}
	return c.jumpFirst(isolationFirst)
}

// isolate keeps a network apart from the others, or no longer (setINC).
func (c *call) isolate(n *Network, on bool) error {
	if n.Internal {
		return nil
	}
	return c.enable(on,
		rule{"filter", isolationFirst, fmt.Sprintf("-i %s ! -o %s -j %s", n.Bridge, n.Bridge, isolationLast), ""},
		rule{"filter", isolationLast, fmt.Sprintf("-o %s -j DROP", n.Bridge), ""})
}

// removeRules takes the rules of a bridge network away, in the order in which
// the driver registered how.
func (c *call) removeRules(n *Network) error {
	if n.Internal {
		return c.internalRules(n, false)
	}
	if err := c.trafficRules(n, false); err != nil {
		return err
	}
	if err := c.enable(false, bridgeJumps(n)...); err != nil {
		return err
	}
	return c.isolate(n, false)
}

// bridgeJumps are the rules for what goes to the network's containers.
func bridgeJumps(n *Network) []rule {
	return []rule{
		{"filter", "FORWARD", fmt.Sprintf("-o %s -j %s", n.Bridge, dockerChain), ""},
		{"filter", "FORWARD", fmt.Sprintf("-o %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", n.Bridge), ""},
	}
}

// trafficRules are those for what the network's containers send
// (setupIPTablesInternal).
func (c *call) trafficRules(n *Network, on bool) error {
	nat := "MASQUERADE"
	if n.SNAT.IsValid() {
		nat = "SNAT --to-source " + n.SNAT.String()
	}
	var rules []rule
	if n.Masq {
		rules = append(rules, rule{"nat", "POSTROUTING", fmt.Sprintf("-s %s ! -o %s -j %s", n.subnet(), n.Bridge, nat), ""})
	}
	hairpin := !c.d.Config.UserlandProxy
	if n.Masq && !hairpin {
		rules = append(rules, rule{"nat", dockerChain, fmt.Sprintf("-i %s -j RETURN", n.Bridge), ""})
	}
	if hairpin {
		rules = append(rules, rule{"nat", "POSTROUTING", fmt.Sprintf("-m addrtype --src-type LOCAL -o %s -j %s", n.Bridge, nat),
			fmt.Sprintf("-o %s -m addrtype --src-type LOCAL -j %s", n.Bridge, nat)})
	}
	if err := c.enable(on, rules...); err != nil {
		return err
	}
	if err := c.iccRules(n, on); err != nil {
		return err
	}
	return c.enable(on, rule{"filter", "FORWARD", fmt.Sprintf("-i %s ! -o %s -j ACCEPT", n.Bridge, n.Bridge), ""})
}

// internalRules shut a network's way out (setupInternalNetworkRules).
func (c *call) internalRules(n *Network, on bool) error {
	err := c.enable(on,
		rule{"filter", isolationFirst, fmt.Sprintf("-i %s ! -d %s -j DROP", n.Bridge, n.subnet()), fmt.Sprintf("! -d %s -i %s -j DROP", n.subnet(), n.Bridge)},
		rule{"filter", isolationFirst, fmt.Sprintf("-o %s ! -s %s -j DROP", n.Bridge, n.subnet()), fmt.Sprintf("! -s %s -o %s -j DROP", n.subnet(), n.Bridge)})
	if err != nil {
		return err
	}
	return c.iccRules(n, on)
}

// iccRules let a network's containers reach each other, or forbid it (setIcc).
func (c *call) iccRules(n *Network, on bool) error {
	accept := rule{"filter", "FORWARD", fmt.Sprintf("-i %s -o %s -j ACCEPT", n.Bridge, n.Bridge), ""}
	drop := rule{"filter", "FORWARD", fmt.Sprintf("-i %s -o %s -j DROP", n.Bridge, n.Bridge), ""}
	wanted, other, how := accept, drop, insertRule
	if !n.ICC {
		wanted, other, how = drop, accept, appendRule
	}
	if !on {
		return c.program(deleteRule, wanted)
	}
	if err := c.program(deleteRule, other); err != nil {
		return err
	}
	return c.program(how, wanted)
}

// forwardRules are those of one published port (ChainInfo.Forward).
func (c *call) forwardRules(n *Network, ip netip.Addr, m Mapping) []rule {
	dst, savedDst := "0/0", ""
	if !m.HostIP.IsUnspecified() {
		dst, savedDst = m.HostIP.String(), "-d "+m.HostIP.String()+"/32 "
	}
	in, savedIn := "", ""
	if c.d.Config.UserlandProxy {
		in, savedIn = " ! -i "+n.Bridge, "! -i "+n.Bridge+" "
	}
	return []rule{
		{"nat", dockerChain, fmt.Sprintf("-p %s -d %s --dport %d -j DNAT --to-destination %s:%d%s", m.Proto, dst, m.HostPort, ip, m.Port.Port, in),
			fmt.Sprintf("%s%s-p %s -m %s --dport %d -j DNAT --to-destination %s:%d", savedDst, savedIn, m.Proto, m.Proto, m.HostPort, ip, m.Port.Port)},
		{"filter", dockerChain, fmt.Sprintf("! -i %s -o %s -p %s -d %s --dport %d -j ACCEPT", n.Bridge, n.Bridge, m.Proto, ip, m.Port.Port),
			fmt.Sprintf("-d %s/32 ! -i %s -o %s -p %s -m %s --dport %d -j ACCEPT", ip, n.Bridge, n.Bridge, m.Proto, m.Proto, m.Port.Port)},
		{"nat", "POSTROUTING", fmt.Sprintf("-p %s -s %s -d %s --dport %d -j MASQUERADE", m.Proto, ip, ip, m.Port.Port),
			fmt.Sprintf("-s %s/32 -d %s/32 -p %s -m %s --dport %d -j MASQUERADE", ip, ip, m.Proto, m.Proto, m.Port.Port)},
	}
}

// linkRules let two linked containers of a network without inter-container
// communication speak over one port (ChainInfo.Link).
func linkRules(n *Network, parent, child netip.Addr, p Port) []rule {
	one := func(src, dst netip.Addr, port string) rule {
		return rule{"filter", dockerChain,
			fmt.Sprintf("-i %s -o %s -p %s -s %s -d %s --%s %d -j ACCEPT", n.Bridge, n.Bridge, p.Proto, src, dst, port, p.Port),
			fmt.Sprintf("-s %s/32 -d %s/32 -i %s -o %s -p %s -m %s --%s %d -j ACCEPT", src, dst, n.Bridge, n.Bridge, p.Proto, p.Proto, port, p.Port)}
	}
	return []rule{one(parent, child, "dport"), one(child, parent, "sport")}
}
