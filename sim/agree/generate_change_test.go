package agree_test

import (
	"fmt"
	"strings"
)

// What random cases change: addresses, links, routes, policies, neighbours,
// connections, and most of all rules.

// change changes something.
func (g *gen) change() {
	n := g.host()
	d := g.anyDev(n)
	switch k := g.n(100); {
	case k < 50:
		g.rule(n)
	case k < 60:
		g.sysctl()
	case k < 66:
		g.route(n)
	case k < 71:
		g.policy(n)
	case k < 75:
		host := 100 + g.n(100)
		net := 1 + g.n(g.nets)
		bits := g.pick("24", "32", "16")
		g.do(n, "ip addr add 10.0.%d.%d/%s dev %s", net, host, bits, d.name)
		g.undo = append(g.undo, fmt.Sprintf("%s# ip addr del 10.0.%d.%d/%s dev %s", n.name, net, host, bits, d.name))
	case k < 79:
		if d.net > 0 {
			g.undo = append(g.undo, fmt.Sprintf("%s# ip addr del %s/24 dev %s", n.name, d.addr(), d.name))
		}
	case k < 85:
		for _, d := range n.devs {
			if d.port {
				g.do(n, "bridge link set dev %s %s %s", d.name, g.pick("hairpin", "hairpin", "isolated", "isolated", "learning", "flood"), g.pick("on", "on", "off"))
				if g.one(2) {
					return
				}
			}
		}
	case k < 87:
		g.do(n, "ip link set %s mtu %d", d.name, []int{576, 900, 1280, 1400, 1500, 9000}[g.n(6)])
	case k < 89:
		g.undo = append(g.undo, fmt.Sprintf("%s# ip link set %s down", n.name, d.name), fmt.Sprintf("%s# ip link del %s", n.name, d.name))
	case k < 91:
		g.do(n, "ip neigh flush dev %s", d.name)
	case k < 93:
		g.do(n, "ip neigh replace %s lladdr 02:00:00:00:00:%02x dev %s nud permanent", g.ip(), 1+g.n(9), d.name)
	case k < 96:
		g.do(n, "conntrack %s", g.pick("-F", "-D -p icmp", "-D -p tcp", "-D -p udp", "-D -s "+g.ip(), "-D -d "+g.ip(), "-D -p tcp --dport 80"))
	default:
		g.do(n, "ip addr add 192.168.%d.1/24 dev %s", 1+g.n(5), g.pick("lo", d.name))
	}
}

func (g *gen) route(n *gnode) {
	dst := g.pick(fmt.Sprintf("10.0.%d.0/24", 1+g.n(g.nets+1)), g.ip(), "198.51.100.0/24", "default", "10.0.0.0/16")
	line := ""
	switch g.n(6) {
	case 0:
		line = g.pick("blackhole", "unreachable", "prohibit") + " " + dst
	case 1:
		line = dst + " dev " + g.anyDev(n).name
	case 2:
		line = dst + " via " + g.ip() + " dev " + g.anyDev(n).name + " onlink"
	default:
		line = dst + " via " + g.ip()
	}
	if g.one(4) && !strings.Contains(line, "hole") {
		line += " src " + g.ip()
	}
	if g.one(3) {
		line += fmt.Sprintf(" metric %d", 1+g.n(50))
	}
	g.do(n, "ip route %s %s", g.pick("add", "add", "replace"), line)
	g.undo = append(g.undo, n.name+"# ip route del "+line)
}

func (g *gen) policy(n *gnode) {
	table := 100 + g.n(3)
	sel := g.pick("from "+g.ip(), "to "+g.ip(), fmt.Sprintf("from 10.0.%d.0/24", 1+g.n(g.nets)), "fwmark 1", "fwmark 2", "iif "+g.anyDev(n).name, "from all")
	line := fmt.Sprintf("ip rule add %s table %d", sel, table)
	if g.one(3) {
		line += fmt.Sprintf(" pref %d", 1000+g.n(100))
	}
	g.do(n, "%s", line)
	g.undo = append(g.undo, n.name+"# "+strings.Replace(line, " add ", " del ", 1))
	g.do(n, "ip route add %s table %d", g.pick("default via "+g.ip(), "unreachable default", "blackhole 10.0.0.0/16", fmt.Sprintf("10.0.%d.0/24 via %s", 1+g.n(g.nets), g.ip())), table)
}

var builtin = map[string][]string{
	"raw":    {"PREROUTING", "OUTPUT"},
	"mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
	"nat":    {"PREROUTING", "PREROUTING", "INPUT", "OUTPUT", "POSTROUTING", "POSTROUTING"},
	"filter": {"INPUT", "FORWARD", "FORWARD", "OUTPUT"},
}

// rule makes, or takes away, a rule.
func (g *gen) rule(n *gnode) {
	table := g.pick("filter", "filter", "filter", "nat", "nat", "nat", "mangle", "raw")
	chain := builtin[table][g.n(len(builtin[table]))]
	ipt := "iptables"
	if table != "filter" {
		ipt += " -t " + table
	}
	switch k := g.n(42); {
	case k == 40:
		g.do(n, "%s -D %s %d", ipt, chain, 1+g.n(2))
		g.ruleGone()
		return
	case k == 41 && len(n.chains[table]) > 0:
		g.do(n, "%s -X %s", ipt, n.chains[table][0])
		return
	case k == 0:
		g.do(n, "%s -P %s %s", ipt, chain, g.pick("ACCEPT", "DROP"))
		return
	case k == 1:
		g.undo = append(g.undo, fmt.Sprintf("%s# %s -F %s", n.name, ipt, chain))
	case k == 2:
		g.undo = append(g.undo, fmt.Sprintf("%s# %s -F", n.name, ipt))
	case k == 3:
		g.undo = append(g.undo, fmt.Sprintf("%s# %s -Z", n.name, ipt))
	case k < 8:
		g.chain++
		user := fmt.Sprintf("U%d", g.chain)
		g.do(n, "%s -N %s", ipt, user)
		g.do(n, "%s -A %s -%s %s", ipt, chain, g.pick("j", "j", "j", "g"), user)
		n.chains[table] = append(n.chains[table], user)
		chain = user
	}
	if users := n.chains[table]; len(users) > 0 && g.one(3) {
		chain = users[g.n(len(users))]
	}
	spec := g.spec(n, table, chain)
	if g.one(4) {
		g.do(n, "%s -I %s %s%s", ipt, chain, g.pick("", "", "1 ", "2 "), spec)
	} else {
		g.do(n, "%s -A %s %s", ipt, chain, spec)
	}
	g.undo = append(g.undo, fmt.Sprintf("%s# %s -D %s %s", n.name, ipt, chain, spec))
}

func (g *gen) spec(n *gnode, table, chain string) string {
	var w []string
	add := func(format string, args ...any) { w = append(w, fmt.Sprintf(format, args...)) }
	not := func() string {
		if g.one(6) {
			return "! "
		}
		return ""
	}
	in := chain == "PREROUTING" || chain == "INPUT" || chain == "FORWARD"
	out := chain == "POSTROUTING" || chain == "OUTPUT" || chain == "FORWARD"
	proto := g.pick("", "", "icmp", "icmp", "tcp", "tcp", "udp")
	if table == "nat" {
		proto = g.pick("", "icmp", "tcp", "tcp", "tcp", "udp")
	}
	if proto != "" {
		add("-p %s", proto)
	}
	if g.one(4) {
		add("%s-s %s", not(), g.pick(g.ip(), fmt.Sprintf("10.0.%d.0/24", 1+g.n(g.nets)), "10.0.0.0/8"))
	}
	if g.one(4) {
		add("%s-d %s", not(), g.pick(g.ip(), fmt.Sprintf("10.0.%d.0/24", 1+g.n(g.nets)), "10.0.0.0/8"))
	}
	if in && g.one(4) {
		add("%s-i %s", not(), g.pick(g.anyDev(n).name, "eth+", "lo"))
	}
	if out && g.one(4) {
		add("%s-o %s", not(), g.pick(g.anyDev(n).name, "eth+", "lo"))
	}
	port := func() string { return g.pick("80", "80", "8080", "53", "81") }
	switch proto {
	case "icmp":
		if g.one(3) {
			add("%s--icmp-type %s", not(), g.pick("echo-request", "echo-reply", "destination-unreachable", "time-exceeded", "fragmentation-needed", "8", "3/3", "any"))
		}
	case "tcp":
		switch g.n(8) {
		case 5:
			add("%s--tcp-flags %s", not(), g.pick("SYN,ACK SYN", "FIN,SYN,RST,ACK SYN", "RST RST", "ALL NONE", "SYN,ACK SYN,ACK"))
		case 6:
			add("--dport %s", g.pick("80:90", ":100", "1024:"))
		case 0, 1:
			add("%s--dport %s", not(), port())
		case 2:
			add("--sport %s", port())
		case 3:
			add("%s--syn", not())
		case 4:
			add("-m multiport %s %s,%s", g.pick("--dports", "--dports", "--ports", "--sports"), port(), g.pick(port(), "5000:6000"))
		}
	case "udp":
		switch g.n(4) {
		case 0:
			add("%s--dport %s", not(), g.pick(port(), "5353", "33434:33534"))
		case 1:
			add("--sport %s", g.pick(port(), "5000"))
		case 2:
			add("-m multiport --dports 53,5353,%s", port())
		}
	}
	if g.one(3) {
		g.match(n, table, chain, proto, add, not)
	}
	if g.one(15) {
		g.match(n, table, chain, proto, add, not)
	}
	add("-j %s", g.target(n, table, chain, proto))
	return strings.Join(w, " ")
}

func (g *gen) match(n *gnode, table, chain, proto string, add func(string, ...any), not func() string) {
	in := chain == "PREROUTING" || chain == "INPUT" || chain == "FORWARD"
	k := g.n(20)
	// How many packets TCP makes of its data and acknowledgements depends on the
	// moment; nat sees only the first of a connection.
	if (k == 8 || k == 11) && (g.uncounted || table != "nat" && proto != "icmp" && proto != "udp") {
		k = 0
	}
	switch k {
	case 0, 1:
		add("-m conntrack %s--ctstate %s", not(), g.pick("NEW", "ESTABLISHED", "RELATED,ESTABLISHED", "INVALID", "DNAT", "SNAT", "UNTRACKED"))
	case 2:
		add("-m state %s--state %s", not(), g.pick("NEW", "ESTABLISHED,RELATED"))
	case 3, 4:
		add("-m addrtype %s--%s-type %s", not(), g.pick("dst", "dst", "src"), g.pick("LOCAL", "LOCAL", "UNICAST", "BROADCAST", "MULTICAST"))
	case 5:
		add("-m mark %s--mark %s", not(), g.pick("1", "2", "0x1/0x1"))
	case 6:
		add("-m connmark %s--mark %s", not(), g.pick("1", "2", "0x0/0x1"))
	case 7:
		add("-m comment --comment %s", g.pick("one", "'two words'"))
	case 8:
		add("-m limit --limit %s --limit-burst %d", g.pick("1/hour", "2/day"), 1+g.n(4))
	case 9:
		add("-m iprange %s--%s-range 10.0.1.1-10.0.%d.20", not(), g.pick("src", "dst"), 1+g.n(g.nets))
	case 10:
		switch {
		case chain == "FORWARD" || chain == "POSTROUTING":
			add("-m physdev %s", g.pick(not()+"--physdev-is-bridged", "--physdev-out "+g.anyDev(n).name, "--physdev-in "+g.anyDev(n).name, not()+"--physdev-is-in"))
		case in:
			add("-m physdev %s--physdev-in %s", not(), g.pick(g.anyDev(n).name, "p+"))
		}
	case 11:
		add("-m statistic --mode nth %s--every %d --packet %d", not(), 2+g.n(2), g.n(2))
	case 12:
		add("-m rpfilter %s", g.pick("", "--invert", "--loose", "--validmark", "--accept-local"))
	case 13:
		add("-m owner %s", g.pick(not()+"--uid-owner 0", not()+"--gid-owner 0", "--uid-owner 1000", not()+"--socket-exists"))
	case 14:
		add("-m conntrack %s--ctproto %s", not(), g.pick("tcp", "icmp", "udp"))
	case 15:
		add("-m conntrack %s--%s %s", not(), g.pick("ctorigdst", "ctorigsrc", "ctreplsrc", "ctrepldst"), g.ip())
	case 16:
		add("-m conntrack --ctdir %s", g.pick("ORIGINAL", "REPLY"))
	case 17:
		add("-m conntrack %s--ctstatus %s", not(), g.pick("SEEN_REPLY", "ASSURED", "CONFIRMED", "NONE"))
	case 18:
		if in && len(g.macs) > 0 {
			add("-m mac %s--mac-source %s", not(), g.macs[g.n(len(g.macs))])
		}
	case 19:
		if proto == "tcp" {
			add("-m conntrack --ctorigdstport %s", g.pick("80", "8080"))
		}
	}
}

func (g *gen) target(n *gnode, table, chain, proto string) string {
	if users := n.chains[table]; len(users) > 0 && g.one(8) {
		return users[g.n(len(users))]
	}
	switch table {
	case "raw":
		return g.pick("ACCEPT", "DROP", "CT --notrack", "NOTRACK", "TRACE", "RETURN")
	case "mangle":
		return g.pick("ACCEPT", "DROP", "MARK --set-mark 1", "MARK --set-mark 2", "MARK --set-xmark 0x1/0x1", "MARK --or-mark 2", "MARK --and-mark 1", "MARK --xor-mark 3",
			"CONNMARK --set-mark 1", "CONNMARK --set-xmark 0x2/0x3", "CONNMARK --save-mark", "CONNMARK --restore-mark", "CONNMARK --restore-mark --mask 0x1", "LOG", "RETURN")
	case "nat":
		ported := proto == "tcp" || proto == "udp"
		up := chain == "POSTROUTING" || chain == "INPUT"
		switch {
		case g.one(12):
			return g.pick("ACCEPT", "RETURN", "DROP")
		case up && ported:
			// A range of ports: whether a connection in TIME_WAIT gives up an only port
			// to the next is the chance of two sequence numbers (nf_seq_has_advanced).
			return g.pick("MASQUERADE", "MASQUERADE", "SNAT --to-source "+g.ip(), "SNAT --to-source "+g.ip()+":5000-5999", "SNAT --to-source 10.0.1.77", "MASQUERADE --to-ports 6000-6999", "MASQUERADE --to-ports 7000-7999",
				"SNAT --to-source "+g.ip()+":7100-7999")
		case up:
			return g.pick("MASQUERADE", "MASQUERADE", "SNAT --to-source "+g.ip(), "SNAT --to-source 10.0.1.77", fmt.Sprintf("NETMAP --to 10.0.%d.0/24", 1+g.n(g.nets)))
		case ported:
			return g.pick("DNAT --to-destination "+g.ip(), "DNAT --to-destination "+g.ip()+":80", "DNAT --to-destination "+g.ip()+":80", "REDIRECT", "REDIRECT --to-ports 80", "DNAT --to-destination 127.0.0.1:80", "DNAT --to-destination :80")
		}
		return g.pick("DNAT --to-destination "+g.ip(), "DNAT --to-destination "+g.ip(), "REDIRECT", fmt.Sprintf("NETMAP --to 10.0.%d.0/24", 1+g.n(g.nets)))
	}
	return g.pick("ACCEPT", "ACCEPT", "ACCEPT", "DROP", "DROP", "RETURN", "LOG --log-prefix 'x: '", "LOG --log-level 4 --log-uid", "REJECT",
		"REJECT --reject-with "+g.reject(proto))
}

// reject picks what a REJECT answers with; tcp-reset is refused where the rule is
// not of TCP alone.
func (g *gen) reject(proto string) string {
	if proto == "tcp" && g.one(2) || g.one(20) {
		return "tcp-reset"
	}
	return g.pick("icmp-net-unreachable", "icmp-host-unreachable", "icmp-port-unreachable", "icmp-proto-unreachable",
		"icmp-net-prohibited", "icmp-host-prohibited", "icmp-admin-prohibited")
}
