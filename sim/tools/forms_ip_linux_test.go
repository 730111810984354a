package tools

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vethlab/sim/op"
)

// formsScene furnishes both machines before each batch.
var formsScene = []string{
	"ip netns add ns1",
	"ip link set lo up",
	"ip link add a0 address 02:00:00:00:00:a0 type veth peer name a1 address 02:00:00:00:00:a1",
	"ip link add b0 address 02:00:00:00:00:b0 type veth peer name b1 address 02:00:00:00:00:b1 netns ns1",
	"ip link add br0 address 02:00:00:00:00:bb type bridge",
	"ip link add c0 address 02:00:00:00:00:c0 type veth peer name c1 address 02:00:00:00:00:c1",
	"ip link set c0 master br0",
	"ip link set a0 up", "ip link set a1 up", "ip link set b0 up", "ip link set br0 up", "ip link set c0 up", "ip link set c1 up",
	"ip addr add 10.0.0.1/24 dev a0",
	"ip addr add 10.1.0.1/16 brd + dev br0",
	"ip route add 10.7.0.0/16 via 10.0.0.9",
	"ip route add default via 10.1.0.254",
	"ip route add blackhole 10.66.0.0/16",
	"ip route add 10.8.0.0/24 dev a0 table 100",
	"ip rule add from 10.0.0.0/24 lookup 100",
	"ip neigh add 10.0.0.5 lladdr 02:00:00:00:00:05 dev a0",
}

// A form is made of words and of marks: %dev a device, %new a name for a new
// one, and so on; see fill. What stands between [ ] is left out half the time;
// of what stands between ( ) one is taken.
var forms = []string{
	"ip link add %new [address %mac] [mtu %mtu] type veth [peer name %new [address %mac]]",
	"ip link add name %new address %mac type veth peer %new address %mac",
	"ip link add %new type veth peer name %new netns %ns",
	"ip link add %new [address %mac] [mtu %mtu] type bridge",
	"ip link add %new up type bridge",
	"ip link add link %dev name %new address %mac type macvlan [mode (bridge|bridge|bridge|foo)]",
	"ip link add %new [address %mac] type vxlan id %num [dstport (4789|0|70000|x)] [remote %ip] [local %ip] [dev %dev] [nolearning]",
	"ip link add %new type (nonsense|bridge|veth) [%word]",
	"ip link add %new",
	"ip link add",
	"ip link set [dev] %dev (up|down)",
	"ip link set [dev] %dev (up|down|up) [mtu %mtu] [address %mac]",
	"ip link set %dev name %new",
	"ip link set %dev address %mac",
	"ip link set %dev mtu %mtu",
	"ip link set %dev (master %bridge|nomaster|master %dev)",
	"ip link set %dev netns %ns",
	"ip link set %dev type bridge_slave (hairpin|isolated|learning|flood) (on|off|x)",
	"ip link set %dev type bridge ageing_time %num",
	"ip link set %dev %word",
	"ip link set",
	"ip link (del|delete|d) [dev] %dev",
	"ip link (del %word|foo|se %dev up|a)",
	"ip [-j] [-d] [-br] [-o] link [show] [%dev]",
	"ip [-j] link show (up|master %bridge|type (veth|bridge|vxlan|foo)|nomaster|dev %dev up)",

	"ip (addr|a|address) (add|replace|change|a|r) %prefix dev %dev",
	"ip addr add %prefix [(brd|broadcast|b) (+|-|%ip)] [label %label] [scope %scope] dev %dev",
	"ip addr add %prefix dev %dev [noprefixroute] [metric %num]",
	"ip addr add %ip peer %prefix dev %dev",
	"ip addr (add|del) [local] %prefix [valid_lft (forever|10)] dev %dev",
	"ip addr add %prefix",
	"ip addr add dev %dev",
	"ip addr (del|delete|d) %prefix dev %dev",
	"ip addr (del|delete) (10.0.0.1/24|10.1.0.1/16|10.0.0.1|10.1.0.1/24) dev (a0|br0)",
	"ip addr flush (dev %dev|scope %scope|to %prefix|label %label|dev %dev scope %scope|dev %dev (primary|secondary))",
	"ip addr flush [%word]",
	"ip [-4] [-j] [-br] [-o] [-d] (addr|a) [show] [dev] [%dev]",
	"ip [-j] addr show (up|to %prefix|scope %scope|label %label|primary|secondary|type veth|master %bridge|permanent|dynamic)",

	"ip (route|r|ro) (add|replace|append|prepend|change|del|a|d|test) %prefix [via %ip] [dev %dev] [src %ip] [metric %num] [table %table] [scope %scope] [proto %proto] [onlink] [tos (0x10|4|zz)]",
	"ip route add %net via %ip [dev %dev]",
	"ip route (add|replace|append) %net dev %dev [scope %scope]",
	"ip route (add|replace|append|del) (unicast|blackhole|unreachable|prohibit|throw|local|broadcast|b|foo) %net [dev %dev] [metric %num] [table %table]",
	"ip route (add|replace|del) default [via %ip] [dev %dev] [metric %num]",
	"ip route del %net [via %ip] [dev %dev] [proto %proto] [scope %scope]",
	"ip route del (10.7.0.0/16|default|10.66.0.0/16|10.0.0.0/24) [via (10.0.0.9|10.1.0.254)] [dev (a0|br0)] [table (main|100)]",
	"ip route (add|del)",
	"ip route add %net nexthop via %ip [weight %num] nexthop via %ip",
	"ip route flush (dev %dev|table %table|proto %proto|scope %scope|root %net|match %ip|exact %net|via %ip|type blackhole)",
	"ip route flush",
	"ip [-j] [-d] [-4] (route|r) [show|list]",
	"ip [-j] [-d] route show (table %table|table all|dev %dev|proto %proto|scope %scope|via %ip|src %ip|to %net|root %net|match %ip|exact %net|type (unicast|blackhole|local)|metric %num|%net)",
	"ip [-j] route get %ip [from %ip] [iif %dev] [oif %dev] [mark %num]",
	"ip route get %ip",

	"ip (rule|ru) (add|del) [not] [from %prefix] [to %prefix] [iif %dev] [oif %dev] [fwmark %mark] [priority %num] [tos (0x10|4|zz)] (table|lookup) %table",
	"ip rule (add|del) from %prefix (blackhole|unreachable|prohibit|nop|goto %num|foo)",
	"ip rule (add|del) (pref|priority|order) %num [table %table] [suppress_prefixlength %num] [proto %proto]",
	"ip rule (add|del)",
	"ip rule flush [table %table|proto %proto]",
	"ip [-j] [-d] rule [show] [from %prefix|to %prefix|table %table|priority %num|fwmark %mark|iif %dev]",

	"ip (neigh|n|neighbour) (add|replace|change|del|a) %host lladdr %mac [nud %nud] dev %dev",
	"ip neigh (add|replace|change|del) %host dev %dev [nud %nud]",
	"ip neigh (add|del) %host [lladdr %mac]",
	"ip neigh flush (dev %dev|all|to %net|nud %nud|dev %dev nud %nud)",
	"ip neigh flush",
	"ip [-j] [-br] neigh [show] [dev %dev|to %net|nud (all|%nud)|%host]",
	"ip neigh get %host dev %dev",

	"ip netns (add|del|delete|a) (ns1|ns2|ns3|a/b|.)",
	"ip [-j] netns [list|show]",
	"ip netns exec %ns ip (link|addr|route)",
	"ip -n %ns (link|route|addr|neigh|rule)",
	"ip -n %ns (link set %dev up|addr add %prefix dev b1|link set lo up|route add %net dev b1)",
	"ip netns (exec|identify|foo)",
	"ip %word %word",
	"ip -%word link",

	"bridge [-j] [-d] link [show] [dev %dev]",
	"bridge link set dev %dev (hairpin|isolated|learning|flood) (on|off|x)",
	"bridge [-j] fdb [show] [dev %dev|br %bridge|brport %dev|state (static|permanent|x)]",
	"bridge fdb (add|del|append|replace) %mac dev %dev [master|self] [static|dynamic|permanent|local] [dst %ip]",
	"brctl (addbr|delbr) %new", "brctl (addif|delif) %bridge %dev", "brctl show [%bridge]", "brctl (delbr|setageing) %bridge [%num]",
	"brctl hairpin %bridge %dev (on|off|x)",

	"route -n[e|ee|v]", // with names it would ask the resolver
	"route (add|del|add) [-net|-host] %net [netmask %mask] [gw %ip] [metric %num] [reject] [dev] [%dev]",
	"route (add|del) -net (10.9.0.0/16|10.9.0.0|192.168.0.0) [netmask (255.255.0.0|255.255.255.0)] (dev a0|br0|gw 10.0.0.9)",
	"route (add|del) -host %host [gw %ip] [dev %dev]",
	"route (add|del) default [gw] %ip [metric %num] [%dev]",
	"route (add|del|flush|foo) [%word]",
	"route [-%word]",

	"ifconfig [-a|-s|-v] [%dev]",
	"ifconfig %alias (up|down)",
	"ifconfig %alias %prefix [up]",
	"ifconfig %alias %host [netmask %mask] [broadcast %ip] [mtu %mtu] [up|down]",
	"ifconfig %alias (mtu %mtu|hw ether %mac|netmask %mask|broadcast %ip|-broadcast|arp|-arp|promisc|-promisc|multicast|0|0.0.0.0)",
	"ifconfig %dev [%word]",
	"ifconfig -%word",

	"arp -n[a|e|v] [-i %dev] [%host]",
	"arp [-i %dev] -s %host %mac [temp|perm] [dev %dev]",
	"arp -D -s %host %dev",
	"arp (-s|-d) [%host]",
	"arp [-i %dev] -d %host [dev %dev]",
	"arp -%word",

	"sysctl [-w] %key=%value", "sysctl [-n|-N|-e|-b] %key [%key]", "sysctl (-w|-q|-nw|-ew) %key=%value [%key=%value]", "sysctl -w %key", "sysctl %key.x", "sysctl net.ipv4.conf.%dev.rp_filter[=1]",
}

var formWords = map[string][]string{
	"dev":    strings.Fields("a0 a0 a0 a1 b0 br0 br0 c0 c1 lo x0 x1 v0 v1 nope if3 a ad"),
	"bridge": strings.Fields("br0 br0 br0 x0 v0 a0 nope"),
	"new":    strings.Fields("x0 x1 v0 v1 v2 a0 br0 abcdefghijklmno abcdefghijklmnop a/b . 7 x:1 a ty"),
	"ns":     strings.Fields("ns1 ns1 ns2 nope 99999"), // not 1: who is process 1 is the lab's affair
	"mac": strings.Fields("02:00:00:00:00:11 02:00:00:00:00:12 02:00:00:00:00:13 02:00:00:00:00:14 2:0:0:0:0:15 01:00:5e:00:00:01 00:00:00:00:00:00 " +
		"ff:ff:ff:ff:ff:ff 02:00:00:00:00 zz 02:00:00:00:00:11:22 10.0.0.1 02:00:00:00:00:1ff"),
	"mtu":   strings.Fields("1400 1500 68 67 9000 65535 65536 0 -1 0x500 abc 1280"),
	"num":   strings.Fields("1 5 5 10 100 42 0 -1 x 0x10 4294967295 4294967296 16777216"),
	"label": strings.Fields("a0:1 a0 br0:x foo abcdefghijklmnop a0* *"),
	"scope": strings.Fields("global link host link nowhere site 5 all x 300"),
	"proto": strings.Fields("static kernel boot dhcp 99 x 300 all"),
	"table": strings.Fields("main 100 100 7 default local 0 300 x all 4294967295"),
	"nud":   strings.Fields("permanent stale reachable noarp failed none p r x 0x40 3"),
	"mark":  strings.Fields("1 0x10 0x10/0xff 5/0 0 x 1/x"),
	"ip":    strings.Fields("10.0.0.9 10.0.0.1 10.1.0.254 10.1.0.1 10.0.0.9 192.0.2.1 127.0.0.1 0.0.0.0 255.255.255.255 10.0.0.255 224.0.0.1 10.0 10.0.0.300 x fd00::1 default 10.0.0.0 10.66.0.1 10.8.0.1"),
	"host":  strings.Fields("10.0.0.5 10.0.0.6 10.0.0.7 10.1.0.9 10.0.0.5 192.0.2.1 224.0.0.1 0.0.0.0 x 10.0.0.1 255.255.255.255"),
	"alias": strings.Fields("a0 a0 br0 a0:1 a0:1 br0:x c1 lo lo:0 nope nope:1 abcdefghijklmnopq"),
	"mask":  strings.Fields("255.255.255.0 255.255.0.0 255.255.255.255 255.0.0.0 0.0.0.0 255.0.255.0 x 24 255.255.255"),
	"prefix": strings.Fields("10.0.0.2/24 10.0.0.1/24 10.0.0.3 10.2.0.1/16 10.2.0.2/16 10.2.0.0/16 192.168.1.1/24 192.168.1.1/255.255.255.0 10.0.0.1/32 10.0.0.5/25 " +
		"127.0.0.2/8 0.0.0.0/0 10.3.0.1/0 10.3.0.1/31 10.3.0.0/31 10/8 x 10.0.0.1/33 10.0.0.1/x default fd00::1/64 224.0.0.1/4 255.255.255.255/32 10.9.0.0/16 all"),
	"net": strings.Fields("10.9.0.0/16 10.9.1.0/24 10.9.0.0/17 10.7.0.0/16 10.66.0.0/16 10.9.0.1/16 10.9.9.9 192.168.0.0/16 default 0.0.0.0/0 10.0.0.0/24 x 10/8 10.9.0.0/40 0.0.0.0 127.0.0.0/8 224.0.0.0/4"),
	"key": strings.Fields("net.ipv4.ip_forward net.ipv4.conf.all.rp_filter net.ipv4.conf.a0.rp_filter net/ipv4/conf/br0/forwarding net.ipv4.conf.all.forwarding " +
		"net.ipv4.conf.default.forwarding net.ipv4.conf.a0.route_localnet net.ipv4.conf.all.proxy_arp net.ipv4.ip_default_ttl net.ipv4.nope net.ipv4.conf.nope.rp_filter " +
		"nope net.ipv4.ping_group_range net.ipv4.conf.a0.arp_ignore net.bridge.bridge-nf-call-iptables net.ipv4.ip_local_port_range " +
		"net.ipv4.conf.all.accept_local net.ipv4.icmp_echo_ignore_all net.netfilter.nf_conntrack_udp_timeout net.ipv4.conf.lo.rp_filter net.ipv4.conf.c0.send_redirects"),
	"value": strings.Fields("0 1 1 2 -1 3 255 256 abc 1x 99999999999 0x1 010 +1 4294967295"),
	"word":  strings.Fields("foo x -z help? type link dev up name 5 -1 via table mtu netns master address show list h"),
}

// form makes a command line of a form.
func form(r *rand.Rand, f string) []string {
	for {
		open := strings.LastIndexAny(f, "[(")
		if open < 0 {
			break
		}
		end := open + strings.IndexAny(f[open:], "])")
		options := strings.Split(f[open+1:end], "|")
		chosen := options[r.IntN(len(options))]
		if f[open] == '[' && r.IntN(2) == 0 {
			chosen = ""
		}
		f = f[:open] + chosen + f[end+1:]
	}
	words := strings.Fields(f)
	for i, w := range words {
		words[i] = mark.ReplaceAllStringFunc(w, func(m string) string {
			pool := formWords[m[1:]]
			// The first of a pool are what is mostly meant.
			if r.IntN(3) > 0 {
				pool = pool[:(len(pool)+1)/2]
			}
			return pool[r.IntN(len(pool))]
		})
	}
	if r.IntN(12) == 0 && len(words) > 2 { // somebody mistyped
		i := 1 + r.IntN(len(words)-1)
		switch r.IntN(5) {
		case 0:
			words = slices.Delete(words, i, i+1)
		case 1:
			words = slices.Insert(words, i, words[i])
		case 2:
			words = slices.Insert(words, i, formWords["word"][r.IntN(len(formWords["word"]))])
		case 3:
			words[i] = words[i][:1+r.IntN(len(words[i]))]
		case 4:
			words = words[:i]
		}
	}
	return words
}

var jsonKey = regexp.MustCompile(`"(ifname|dst|priority|mac)":[^,]*`)

var mark = regexp.MustCompile(`%[a-z]+`)

// What two machines need not have in common: addresses nobody chose, the
// operational state and what follows from it (linkwatch lags behind), and the
// usage texts, which are not ours.
var (
	anyMAC    = regexp.MustCompile(`\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b`)
	ownMAC    = regexp.MustCompile(`^(02:00:00:00:00:..|01:00:5e:.*|33:33:.*|00:00:00:00:00:00|ff:ff:ff:ff:ff:ff|01:80:c2:.*)$`)
	operState = regexp.MustCompile(`"operstate":"[A-Z]+",|\bstate (UP|DOWN|UNKNOWN|LOWERLAYERDOWN) |linkdown |"linkdown"|(UP|DOWN|UNKNOWN|LOWERLAYERDOWN) +`)
	brctlMAC  = regexp.MustCompile(`8000\.[0-9a-f]{12}`)
	timers    = regexp.MustCompile(`(_timer"?:?) *-?[0-9]+\.[0-9]+`)
	pastPorts = regexp.MustCompile(`tso_max_size"?[: ][0-9]+`)                                         // a bridge keeps that of ports it had
	packets   = regexp.MustCompile(`(packets|dropped) [0-9]+(  bytes [0-9]+ \([0-9.]+ [KMGT]?i?B\)|)`) // IGMP's are among them, and when those leave is chance
	ifaceRow  = regexp.MustCompile(`(?m)^([0-9A-Za-z.:]+ +[0-9]+) [- 0-9a-z]+ ([BML]+)R?(U?)$`)        // of ifconfig -s, likewise
	families  = regexp.MustCompile(`(?m)^    [a-z0-9]+ \(.*\n?`)                                       // what net-tools was built for
	running   = regexp.MustCompile(`(flags=)[0-9]+|(RUNNING,)`)
	nsInode   = regexp.MustCompile(`net:\[[0-9]+\]`)
	v6        = regexp.MustCompile(`(?m)^33:33:.*\n`) // IPv6's groups
)

func normal(argv, dark []string, s said) said {
	if argv[0] == "arp" && !strings.Contains(s.stdout, "Usage:") || slices.ContainsFunc(argv, func(w string) bool { return w != "" && matches(w, "neighbour") }) {
		s.stdout = neighbours(s.stdout, argv, dark)
	}
	for _, text := range []*string{&s.stdout, &s.stderr} {
		if i := strings.Index(*text, "Usage:"); i >= 0 {
			*text = (*text)[:i] + "Usage\n"
		}
		*text = anyMAC.ReplaceAllStringFunc(*text, func(m string) string {
			if ownMAC.MatchString(m) {
				return m
			}
			return "MAC"
		})
		*text = operState.ReplaceAllString(*text, "")
		*text = brctlMAC.ReplaceAllString(*text, "8000.MAC")
		*text = timers.ReplaceAllString(*text, "${1}0.00")
		*text = pastPorts.ReplaceAllString(*text, "tso_max_size")
		*text = packets.ReplaceAllString(*text, "$1")
		*text = ifaceRow.ReplaceAllString(*text, "$1 $2$3")
		*text = families.ReplaceAllString(*text, "")
		*text = running.ReplaceAllString(*text, "$1")
		*text = nsInode.ReplaceAllString(*text, "net:[]")
		*text = v6.ReplaceAllString(*text, "")
	}
	s.stdout = strings.ReplaceAll(s.stdout, `["linkdown"]`, `[]`)
	return s
}

// neighbours puts a listing of neighbours into an order: the kernel's is that of
// a hash table with a secret (neigh_hash_grow). A bridge's own report of its
// groups, and so who is there to hear it, comes when the bridge likes
// (igmp_start_timer). And a link's neighbours go when it is noticed that it has
// lost its carrier, up to a second later (neigh_carrier_down, linkwatch_run_queue).
func neighbours(text string, argv, dark []string) string {
	sep := "\n"
	if strings.HasPrefix(text, "[") {
		text, sep = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(text, "]\n"), "["), "}"), "},"
	}
	rows := strings.Split(text, sep)
	rows = slices.DeleteFunc(rows, func(row string) bool {
		lost := slices.ContainsFunc(dark, func(dev string) bool {
			return strings.Contains(row, "dev "+dev+" ") || strings.Contains(row, `"dev":"`+dev+`"`) || strings.HasSuffix(row, " "+dev) || slices.Contains(argv, dev)
		})
		return row == "" || strings.Contains(row, "224.0.0.22") || lost && !strings.Contains(row, "PERM") && !strings.Contains(row, "NOARP") && !strings.Contains(row, " CM ")
	})
	slices.Sort(rows)
	return strings.Join(rows, sep)
}

// apart leaves of what two machines said only the lines the other did not say,
// and of those that are JSON, the parts.
func apart(a, b said) (said, said) {
	split := func(s string) []string {
		if strings.HasPrefix(s, "[{") {
			s = strings.ReplaceAll(s, "},{", "},\n{")
			var parts []string
			for _, o := range strings.Split(s, "\n") {
				for _, f := range strings.Split(o, ",") {
					parts = append(parts, strings.Join(jsonKey.FindAllString(o, 2), " ")+" … "+strings.Trim(f, "[]{}"))
				}
			}
			return parts
		}
		return strings.Split(s, "\n")
	}
	only := func(x, y string) string {
		lines := split(y)
		return strings.Join(slices.DeleteFunc(split(x), func(l string) bool { return slices.Contains(lines, l) }), "\n")
	}
	x, y := a, b
	x.stdout, y.stdout = only(a.stdout, b.stdout), only(b.stdout, a.stdout)
	return x, y
}

// formsState is what is compared after each batch.
var formsState = []string{"ip -j -d link", "ip -j addr", "ip -j route show table all", "ip -j rule", "ip -j neigh", "bridge -j -d link", "bridge fdb",
	"ip -n ns1 -j addr", "ip -n ns1 -j route show table all",
	"sysctl net.ipv4.ip_forward net.ipv4.conf.a0.rp_filter net.ipv4.conf.a0.forwarding net.ipv4.conf.default.forwarding net.ipv4.conf.all.rp_filter"}

// TestFormsIP holds ip, bridge, brctl, sysctl and route of a simulated lab against the
// machine's: each form has to be answered with the same words and status, and
// what the programs list after thirty of them has to be the same.
func TestFormsIP(t *testing.T) {
	needPrograms(t, "ip", "bridge", "brctl", "sysctl", "ifconfig", "route", "arp")
	// Of ifconfig's and arp's, one in two or three hundred is still answered
	// otherwise: they are tried when they are asked for.
	forms := slices.DeleteFunc(slices.Clone(forms), func(f string) bool {
		program, _, _ := strings.Cut(f, " ")
		return *formsOnly != "" && program != *formsOnly || *formsOnly == "" && (program == "ifconfig" || program == "arp")
	})
	inBatches(t, func(seed uint64) (formsBatch, error) {
		r := rand.New(rand.NewPCG(seed, 1))
		var lines [][]string
		for range 30 {
			lines = append(lines, form(r, forms[r.IntN(len(forms))]))
		}
		tried := len(lines)
		for _, line := range formsState {
			lines = append(lines, strings.Fields(line))
		}
		p, err := play(lines, false)
		if err == nil && p.differs < len(lines) { // unless it was only early
			p, err = play(lines[:p.differs+1], true)
		}
		if err != nil {
			return formsBatch{}, err
		}
		b := formsBatch{tried: min(p.differs, tried) - p.unknown, refused: p.refused, unknown: p.unknown}
		if p.differs == p.of {
			return b, nil
		}
		if lines, p, err = shrink(lines[:p.differs+1], p); err != nil {
			return b, err
		}
		b.difference = p.describe(lines)
		return b, err
	})
}

// played is what a play of forms on both machines came to.
type played struct {
	differs, of      int // the first form they answered differently, or the number of all
	ours, theirs     said
	refused, unknown int
	known            int // of knownForms
}

// knownForms are what the model answers otherwise, and why.
var knownForms = []struct {
	why string
	is  func(argv []string, ours, theirs said) bool
}{
	{"sysctl of a directory lists the settings that the model has, which are fewer than the kernel's", func(argv []string, ours, theirs said) bool {
		return argv[0] == "sysctl" && strings.Count(ours.stdout, "\n") > len(argv) && ours.status == theirs.status && ours.stderr == theirs.stderr
	}},
}

// describe says what differs, after what.
func (p played) describe(lines [][]string) string {
	var b strings.Builder
	for i, argv := range lines {
		if i == p.differs {
			ours, theirs := apart(p.ours, p.theirs)
			fmt.Fprintf(&b, "  $ %s\n    the machine: %s    simulated:   %s", strings.Join(argv, " "), theirs, ours)
			break
		}
		fmt.Fprintf(&b, "    %s\n", strings.Join(argv, " "))
	}
	return b.String()
}

// play types lines on a machine of each kind, until they answer differently.
// The kernel looks at the carriers of links up to a second after they changed
// (net/core/link_watch.c), which a patient play waits for each time.
func play(lines [][]string, patient bool) (p played, err error) {
	p.of = len(lines)
	m, err := newRealMachine()
	if err != nil {
		return p, err
	}
	defer m.close()
	l, err := newSimMachine()
	if err != nil {
		return p, err
	}
	defer l.Close()
	wait := func() error {
		sleep := []string{"sleep", "1.1"}
		l.typed("host", sleep)
		_, err := m.run(sleep)
		return err
	}
	both := func(argv []string) error {
		p.ours, p.theirs = l.typed("host", argv), said{}
		if p.ours.status == 95 {
			p.unknown++
			p.theirs = p.ours
			return nil
		}
		if p.theirs, err = m.run(argv); err == nil && p.theirs.status == 0 && slices.Contains(argv, "netns") {
			if _, err = m.try(noIPv6); err == nil {
				err = settled(m, l)
			}
		}
		var dark []string
		for _, link := range l.world.Node("host").State().Links {
			if !link.Carrier || !link.Up {
				dark = append(dark, link.Name)
			}
		}
		p.ours, p.theirs = normal(argv, dark, p.ours), normal(argv, dark, p.theirs)
		for _, k := range knownForms {
			if p.ours != p.theirs && k.is(argv, p.ours, p.theirs) {
				p.known++
				p.ours = p.theirs
			}
		}
		return err
	}
	for _, line := range formsScene {
		if err := both(strings.Fields(line)); err != nil {
			return p, err
		}
		if p.ours != p.theirs || p.unknown > 0 {
			return p, fmt.Errorf("the scene cannot be made: %s %v %v", line, p.ours, p.theirs)
		}
	}
	if patient {
		if err := wait(); err != nil {
			return p, err
		}
	}
	for i, argv := range lines {
		if err := both(argv); err != nil {
			return p, err
		}
		if p.ours != p.theirs && op.Probe(op.Tool{Argv: argv}) {
			if err := wait(); err != nil {
				return p, err
			}
			if err := both(argv); err != nil {
				return p, err
			}
		}
		if p.ours != p.theirs {
			p.differs = i
			return p, nil
		}
		switch {
		case p.theirs.status == 95:
		case p.theirs.status != 0:
			p.refused++
		case patient && !op.Probe(op.Tool{Argv: argv}) && slices.ContainsFunc(argv, func(w string) bool { return strings.HasPrefix(w, "l") || w == "brctl" || w == "netns" }):
			if err := wait(); err != nil {
				return p, err
			}
		}
	}
	p.differs = len(lines)
	return p, nil
}

// noIPv6 takes IPv6 out of the namespaces that ip made.
const noIPv6 = `for f in /run/netns/*; do nsenter --net=$f sh -c 'for c in all default; do echo 1 > /proc/sys/net/ipv6/conf/$c/disable_ipv6; done'; done 2>/dev/null`

// settled waits until the kernel has taken away what was in a namespace that was
// deleted, which it does later (cleanup_net, net/core/net_namespace.c).
func settled(m *realMachine, l *Lab) error {
	var want []string
	for _, link := range l.world.Node("host").State().Links {
		want = append(want, link.Name)
	}
	slices.Sort(want)
	for range 50 {
		ls, err := m.run([]string{"ls", "/sys/class/net"})
		if has := strings.Fields(ls.stdout); err != nil || !slices.ContainsFunc(has, func(name string) bool { return !slices.Contains(want, name) }) {
			return err
		}
		if _, err := m.run([]string{"sleep", "0.1"}); err != nil {
			return err
		}
	}
	return nil // which of them are there will differ
}

// shrink leaves out what the last line does not need to differ.
func shrink(lines [][]string, p played) ([][]string, played, error) {
	q, err := play(lines, false)
	if err != nil || q.differs < len(lines)-1 {
		return lines, p, err
	}
	patient := q.differs == len(lines)
	for i := len(lines) - 2; i >= 0; i-- {
		fewer := slices.Delete(slices.Clone(lines), i, i+1)
		q, err := play(fewer, patient)
		if err != nil {
			return lines, p, err
		}
		if q.differs == len(fewer)-1 {
			lines, p = fewer, q
		}
	}
	return lines, p, nil
}
