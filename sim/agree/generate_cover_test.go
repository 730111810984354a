package agree_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vethlab/sim/state"
)

// wanted are what random cases are to come upon, by what they are: patterns that
// some line of some case matches.
var wanted = map[string][]string{
	"links": {`type veth`, `type bridge`, `type macvlan mode bridge`, `type vxlan`, `link set \S+ up`, `link set \S+ down`, `link del`, `link set \S+ name`, `link set \S+ netns`,
		`link set \S+ master`, `link set \S+ mtu`, `brctl addif`, `bridge link set .* hairpin`, `isolated`, `learning`, `flood`},
	"addresses and routes": {`addr add .*/24`, `addr add .*/16`, `addr del`, `route add default via`, `route add .* metric`, `route .* onlink`, `blackhole`, `unreachable`,
		`prohibit`, `route replace`, `route del`, `rule add fwmark`, `rule add from`, `rule add to`, `rule add iif`, `rule del`, `route add .* table 10`},
	"neighbours": {`neigh flush`, `neigh replace .* permanent`},
	"namespaces": {`netns add`, `netns del`, `netns exec`, `ip -n `, `nsenter`},
	"settings":   {`rp_filter`, `route_localnet`, `arp_ignore`, `proxy_arp`, `bridge-nf-call-iptables`, `ip_forward`, `conf\.\S+\.forwarding`, `accept_local`, `default_ttl`, `echo \d+ > /proc/sys`},
	"tables":     {`-t raw`, `-t mangle`, `-t nat`, `iptables -A FORWARD`, `-N U1`, `-g U`, `-j U`, `-P \S+ DROP`, `-F`, `-Z`, `-I \S+ 1`, `-D \S+ 1`, `-X U`},
	"matches": {` -s `, ` -d `, `! -s`, ` -i eth\+`, `! -o`, `-p tcp`, `--dport`, `--sport`, `--syn`, `--tcp-flags`, `-p udp`, `--icmp-type`, `--ctstate`, `-m state`, `-m addrtype`, `-m multiport`,
		`-m mark`, `-m connmark`, `-m mac`, `-m comment`, `-m limit`, `-m iprange`, `-m physdev`, `-m owner`, `-m rpfilter`, `--mode nth`, `--ctproto`, `--ctdir`, `--ctorigdst`, `--ctstatus`},
	"targets": {`-j ACCEPT`, `-j DROP`, `-j RETURN`, `-j LOG`, `-j MARK`, `-j CONNMARK`, `-j SNAT`, `-j DNAT`, `-j MASQUERADE`, `-j REDIRECT`, `-j NETMAP`, `-j CT --notrack`, `-j NOTRACK`, `-j TRACE`,
		`-j REJECT$`, `icmp-net-unreachable`, `icmp-host-unreachable`, `icmp-port-unreachable`, `icmp-proto-unreachable`, `icmp-net-prohibited`, `icmp-host-prohibited`, `icmp-admin-prohibited`, `tcp-reset`},
	"probes": {`# ping -c1 .*10`, `ping -c[23] -i0.05`, `ping .* -s 3000`, `ping .* -M do`, `ping .* -M want`, `ping .* -t [123]`, `ping .* -I eth0`, `ping .* -I 10`, `ping .* -b`, `ping .*\.255`, `ping .* 127\.`,
		`curl -s `, `curl -sI`, `curl -sv`, `nc -u `, `nc -u .* -p 5000`, `nc -z`, `nc -nvz`, `nc -N`, `nc -lk 5000`, `nc -lk -u 5353`, `printf .* nc`,
		`traceroute -n`, `traceroute .* -I`, `traceroute .* -p 53`, `conntrack -L`, `conntrack -D`, `conntrack -F`, `python3 -m http.server`, `dnsmasq`, `pkill`},
	"listings": {`ip route get`, `ip route get .* iif`, `iptables -t \S+ -S`, `iptables -t \S+ -nL`, `ss -ltn`, `route -n`, `ip -br addr`, `brctl show`, `ip rule$`},
}

// What random cases are made of: everything that is wanted, and in half of them
// the model begins with the kernel's snapshot.
func TestGenerate(t *testing.T) {
	const n = 3000
	var lines strings.Builder
	halved, nodes := 0, map[int]int{}
	for seed := range uint64(n) {
		c := generate(seed)
		for _, l := range slices.Concat(c.Setup, c.Lines) {
			lines.WriteString(l + "\n")
		}
		if c.Half > 0 {
			halved++
			if slices.ContainsFunc(c.Lines[:c.Half], func(l string) bool { return strings.Contains(l, "-m limit") || strings.Contains(l, "-m statistic") }) {
				t.Errorf("seed %d: a rule that counts what it meets comes before the snapshot, which does not hold how far it is", seed)
			}
		}
		count := 0
		for _, s := range c.Nodes {
			if s.Kind != state.Container {
				count++
			}
		}
		for _, l := range c.Lines {
			if strings.Contains(l, "# ip netns add ") {
				count++
			}
		}
		nodes[count]++
		if again := generate(seed); fmt.Sprint(again) != fmt.Sprint(c) {
			t.Errorf("seed %d makes two cases", seed)
		}
	}
	for kind, patterns := range wanted {
		for _, p := range patterns {
			if !regexp.MustCompile(`(?m)` + p).MatchString(lines.String()) {
				t.Errorf("%s: no case has %q", kind, p)
			}
		}
	}
	if halved < n*45/100 || halved > n*55/100 {
		t.Errorf("in %d of %d cases the model begins with a snapshot, not in half", halved, n)
	}
	for k := 1; k <= 6; k++ {
		if nodes[k] == 0 {
			t.Errorf("no case has %d nodes: %v", k, nodes)
		}
	}
	t.Logf("nodes: %v; halved: %d of %d", nodes, halved, n)
}
