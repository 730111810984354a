package cmdline

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"mvdan.cc/sh/v3/shell"

	"vethlab/sim/op"
)

func on(b bool) *bool                   { return &b }
func pfx(s string) netip.Prefix         { return netip.MustParsePrefix(s) }
func adr(s string) netip.Addr           { return netip.MustParseAddr(s) }
func words(line string) []string        { w, _ := shell.Fields(line, nil); return w }
func spec(s string) []string            { return strings.Fields(s) }
func bgless(s string) string            { return strings.TrimSuffix(s, " &") }
func tool(line string) op.Tool          { return op.Tool{Argv: words(line)} }
func route(dst string) op.Route         { return op.Route{Dst: pfx(dst)} }
func via(dst, gw string) op.Route       { r := route(dst); r.Via = adr(gw); return r }
func dev(r op.Route, d string) op.Route { r.Dev = d; return r }

var parsed = []struct {
	line string
	want op.Op
	node string
}{
	{"ip netns add ns1", op.NetnsAdd{Name: "ns1"}, ""},
	{"ip netns del ns1", op.NetnsDel{Name: "ns1"}, ""},
	{"ip netns delete ns1", op.NetnsDel{Name: "ns1"}, ""},
	{"ip net a ns1", op.NetnsAdd{Name: "ns1"}, ""},
	{"/sbin/ip netns add ns1", op.NetnsAdd{Name: "ns1"}, ""},
	{"sudo ip netns add ns1", op.NetnsAdd{Name: "ns1"}, ""},
	{"ip netns list", tool("ip netns list"), ""},
	{"ip netns", tool("ip netns"), ""},

	{"ip link add veth0 type veth peer name veth1", op.LinkAdd{Name: "veth0", Kind: "veth", Peer: "veth1"}, ""},
	{"ip link add name veth0 type veth peer veth1", op.LinkAdd{Name: "veth0", Kind: "veth", Peer: "veth1"}, ""},
	{"ip link add dev veth0 type veth peer name veth1 netns ns1", op.LinkAdd{Name: "veth0", Kind: "veth", Peer: "veth1", PeerNetns: "ns1"}, ""},
	{"ip l a veth0 type veth", op.LinkAdd{Name: "veth0", Kind: "veth"}, ""},
	{"ip link add br0 type bridge", op.LinkAdd{Name: "br0", Kind: "bridge"}, ""},
	{"ip link add br0 address 02:42:AC:00:00:01 mtu 1450 type bridge", op.LinkAdd{Name: "br0", Kind: "bridge", MAC: "02:42:ac:00:00:01", MTU: 1450}, ""},
	{"ip link add br0 type bridge stp_state 1", tool("ip link add br0 type bridge stp_state 1"), ""},
	{"ip link add link eth0 name mv0 type macvlan mode bridge", op.LinkAdd{Name: "mv0", Kind: "macvlan", Parent: "eth0"}, ""},
	{"ip link add mv0 link eth0 type macvlan mode private", tool("ip link add mv0 link eth0 type macvlan mode private"), ""},
	{"ip link add vx0 type vxlan id 42 dev eth0 remote 10.0.0.2 local 10.0.0.1 dstport 4789",
		op.LinkAdd{Name: "vx0", Kind: "vxlan", VNI: 42, Parent: "eth0", Remote: adr("10.0.0.2"), Local: adr("10.0.0.1"), Port: 4789}, ""},
	{"ip link add vx0 mtu 1450 type vxlan id 42 dstport 4789 proxy l2miss l3miss",
		op.LinkAdd{Name: "vx0", Kind: "vxlan", MTU: 1450, VNI: 42, Port: 4789, Proxy: true, L2Miss: true, L3Miss: true}, ""},
	{"ip link add vx0 type vxlan id 42 dstport 4789 nolearning", tool("ip link add vx0 type vxlan id 42 dstport 4789 nolearning"), ""},
	{"ip link add vx0 type vxlan id 42 dstport 0", tool("ip link add vx0 type vxlan id 42 dstport 0"), ""},
	{"ip link add dummy0 type dummy", tool("ip link add dummy0 type dummy"), ""},
	{"ip link add veth0 up type veth", tool("ip link add veth0 up type veth"), ""},
	{"ip link del veth0", op.LinkDel{Name: "veth0"}, ""},
	{"ip link delete dev veth0", op.LinkDel{Name: "veth0"}, ""},
	{"ip link del dev a", op.LinkDel{Name: "a"}, ""},
	{"ip link del a", tool("ip link del a"), ""}, // it begins address
	{"ip link set br up", tool("ip link set br up"), ""},
	{"ip link add ty type bridge", tool("ip link add ty type bridge"), ""},
	{"ip link add name ty type bridge", op.LinkAdd{Name: "ty", Kind: "bridge"}, ""},
	{"ip link set veth1 netns ns1", op.LinkSet{Name: "veth1", Netns: "ns1"}, ""},
	{"ip link set dev veth1 up", op.LinkSet{Name: "veth1", Up: on(true)}, ""},
	{"ip l s up dev veth1", op.LinkSet{Name: "veth1", Up: on(true)}, ""},
	{"ip link set veth1 down name eth0 mtu 1400 addr 02:00:00:00:00:01", op.LinkSet{Name: "veth1", Up: on(false), NewName: "eth0", MTU: 1400, MAC: "02:00:00:00:00:01"}, ""},
	{"ip link set veth0 master br0 up", op.LinkSet{Name: "veth0", Master: "br0", Up: on(true)}, ""},
	{"ip link set veth0 nomaster", op.LinkSet{Name: "veth0", NoMaster: true}, ""},
	{"ip link set veth0 promisc on", tool("ip link set veth0 promisc on"), ""},
	{"ip link set veth0", tool("ip link set veth0"), ""},
	{"ip link set veth0 up down", tool("ip link set veth0 up down"), ""},

	{"ip addr add 172.18.0.1/16 dev br-demo", op.AddrAdd{Dev: "br-demo", Prefix: pfx("172.18.0.1/16")}, ""},
	{"ip a a 10.0.0.5 dev eth0", op.AddrAdd{Dev: "eth0", Prefix: pfx("10.0.0.5/32")}, ""},
	{"ip address add 10.0.0.5/24 brd + dev eth0 label eth0:1", op.AddrAdd{Dev: "eth0", Prefix: pfx("10.0.0.5/24"), Broadcast: "+", Label: "eth0:1"}, ""},
	{"ip addr del 10.0.0.5/24 dev eth0", op.AddrDel{Dev: "eth0", Prefix: pfx("10.0.0.5/24")}, ""},
	{"ip addr flush dev eth0", op.AddrFlush{Dev: "eth0"}, ""},
	{"ip addr add fe80::1/64 dev eth0", tool("ip addr add fe80::1/64 dev eth0"), ""},
	{"ip addr add 10/8 dev eth0", tool("ip addr add 10/8 dev eth0"), ""},
	{"ip a s", tool("ip a s"), ""},
	{"ip a", tool("ip a"), ""},
	{"ip -br addr show", tool("ip -br addr show"), ""},

	{"ip route add default via 172.18.0.1", op.RouteAdd{Route: via("0.0.0.0/0", "172.18.0.1")}, ""},
	{"ip r a 10.5.0.0/16 via inet 10.0.0.1 dev eth0 src 10.0.0.5 metric 100 table 7 scope link onlink",
		op.RouteAdd{Route: op.Route{Dst: pfx("10.5.0.0/16"), Via: adr("10.0.0.1"), Dev: "eth0", Src: adr("10.0.0.5"), Metric: 100, Table: 7, Scope: "link", Onlink: true}}, ""},
	{"ip route add to 10.5.0.1 dev eth0 table main", op.RouteAdd{Route: dev(route("10.5.0.1/32"), "eth0")}, ""},
	{"ip route add blackhole 10.5.0.0/16", op.RouteAdd{Route: op.Route{Type: "blackhole", Dst: pfx("10.5.0.0/16")}}, ""},
	{"ip ro rep 0/0 via 10.0.0.1", tool("ip ro rep 0/0 via 10.0.0.1"), ""},
	{"ip route replace default via 10.0.0.1", op.RouteReplace{Route: via("0.0.0.0/0", "10.0.0.1")}, ""},
	{"ip route del default", op.RouteDel{Route: route("0.0.0.0/0")}, ""},
	{"ip route add default via 10.0.0.1 proto static", tool("ip route add default via 10.0.0.1 proto static"), ""},
	{"ip route get 1.1.1.1", tool("ip route get 1.1.1.1"), ""},
	{"ip r", tool("ip r"), ""},
	{"ip -4 route add default via 10.0.0.1", op.RouteAdd{Route: via("0.0.0.0/0", "10.0.0.1")}, ""},
	{"ip neigh flush dev eth0", op.NeighFlush{Dev: "eth0"}, ""},
	{"ip n f dev eth0", op.NeighFlush{Dev: "eth0"}, ""},
	{"ip neigh flush all", tool("ip neigh flush all"), ""},

	{"ip -n ns1 link set lo up", op.LinkSet{Name: "lo", Up: on(true)}, "ns1"},
	{"ip -netns ns1 addr show", tool("ip addr show"), "ns1"},
	{"ip netns exec ns1 ip link set lo up", op.LinkSet{Name: "lo", Up: on(true)}, "ns1"},
	{"ip netns exec ns1 ping -c1 10.0.0.1", op.Ping{Dst: adr("10.0.0.1"), Count: 1}, "ns1"},
	{"ip netns exec ns1 bash -c 'ip a'", tool("bash -c 'ip a'"), "ns1"},
	{"ip netns exec ns1 ip netns exec ns2 ip a", tool("ip netns exec ns1 ip netns exec ns2 ip a"), ""},
	{"ip -all netns exec ip a", tool("ip -all netns exec ip a"), ""},
	{"nsenter --net=/var/run/netns/ns1 ip link set lo up", op.LinkSet{Name: "lo", Up: on(true)}, "ns1"},
	{"nsenter -n/run/netns/ns1 ip a", tool("ip a"), "ns1"},
	{"nsenter -t 5 -n ip a", tool("nsenter -t 5 -n ip a"), ""},
	{"sudo ip netns exec ns1 ip link set lo up", op.LinkSet{Name: "lo", Up: on(true)}, "ns1"},

	{"brctl addbr br0", op.LinkAdd{Name: "br0", Kind: "bridge"}, ""},
	{"brctl addif br0 veth0", op.LinkSet{Name: "veth0", Master: "br0", Free: true}, ""},
	{"brctl delif br0 veth0", tool("brctl delif br0 veth0"), ""},
	{"brctl delbr br0", tool("brctl delbr br0"), ""},
	{"brctl show", tool("brctl show"), ""},
	{"brctl addif br0 a b", tool("brctl addif br0 a b"), ""},

	{"ifconfig lo up", op.LinkSet{Name: "lo", Up: on(true)}, ""},
	{"ifconfig lo down", op.LinkSet{Name: "lo", Up: on(false)}, ""},
	{"ifconfig eth0 10.0.0.1/24", tool("ifconfig eth0 10.0.0.1/24"), ""},
	{"ifconfig", tool("ifconfig"), ""},
	{"route add default gw 10.0.0.1", tool("route add default gw 10.0.0.1"), ""},
	{"route del default gw 10.0.0.1", op.RouteDel{Route: via("0.0.0.0/0", "10.0.0.1")}, ""},
	{"route del default gw 10.0.0.1 dev eth0", op.RouteDel{Route: dev(via("0.0.0.0/0", "10.0.0.1"), "eth0")}, ""},
	{"route del default gw 10.0.0.1 eth0", op.RouteDel{Route: dev(via("0.0.0.0/0", "10.0.0.1"), "eth0")}, ""},
	{"route del -net 10.5.0.0/16 gw 10.0.0.1", op.RouteDel{Route: via("10.5.0.0/16", "10.0.0.1")}, ""},
	{"route del -net 10.5.0.0 netmask 255.255.0.0 dev eth0", op.RouteDel{Route: dev(route("10.5.0.0/16"), "eth0")}, ""},
	{"route del -host 10.5.0.9 dev eth0", op.RouteDel{Route: dev(route("10.5.0.9/32"), "eth0")}, ""},
	{"route add -net 10.5.0.1 netmask 255.255.0.0 dev eth0", tool("route add -net 10.5.0.1 netmask 255.255.0.0 dev eth0"), ""},
	{"route del -net 10.5.0.0/16", op.RouteDel{Route: route("10.5.0.0/16")}, ""},
	{"route del default gw 10.0.0.1", op.RouteDel{Route: via("0.0.0.0/0", "10.0.0.1")}, ""},
	{"route -n", tool("route -n"), ""},

	{"iptables -A FORWARD -i br-demo ! -o br-demo -j ACCEPT", op.RuleAppend{Table: "filter", Chain: "FORWARD", Spec: spec("-i br-demo ! -o br-demo -j ACCEPT")}, ""},
	{"iptables -t nat -A POSTROUTING -s 172.18.0.0/16 ! -o br-demo -j MASQUERADE",
		op.RuleAppend{Table: "nat", Chain: "POSTROUTING", Spec: spec("-s 172.18.0.0/16 ! -o br-demo -j MASQUERADE")}, ""},
	{"iptables -A POSTROUTING -t nat -j MASQUERADE", op.RuleAppend{Table: "nat", Chain: "POSTROUTING", Spec: spec("-j MASQUERADE")}, ""},
	{"iptables -p tcp -A INPUT --dport 22 -j DROP -w 5", op.RuleAppend{Table: "filter", Chain: "INPUT", Spec: spec("-p tcp --dport 22 -j DROP")}, ""},
	{"iptables --table=nat --append PREROUTING -p tcp -m tcp --dport 8088 -j DNAT --to-destination 172.18.0.8:8000",
		op.RuleAppend{Table: "nat", Chain: "PREROUTING", Spec: spec("-p tcp -m tcp --dport 8088 -j DNAT --to-destination 172.18.0.8:8000")}, ""},
	{"iptables -w -tnat -AOUTPUT -j ACCEPT", op.RuleAppend{Table: "nat", Chain: "OUTPUT", Spec: spec("-j ACCEPT")}, ""},
	{"iptables -A INPUT -m comment --comment -A -j ACCEPT", op.RuleAppend{Table: "filter", Chain: "INPUT", Spec: spec("-m comment --comment -A -j ACCEPT")}, ""},
	{"iptables -A INPUT -m comment --comment 'two words' -j ACCEPT", op.RuleAppend{Table: "filter", Chain: "INPUT", Spec: []string{"-m", "comment", "--comment", "two words", "-j", "ACCEPT"}}, ""},
	{"iptables -I FORWARD -j DROP", op.RuleInsert{Table: "filter", Chain: "FORWARD", Pos: 1, Spec: spec("-j DROP")}, ""},
	{"iptables -I FORWARD 3 -j DROP", op.RuleInsert{Table: "filter", Chain: "FORWARD", Pos: 3, Spec: spec("-j DROP")}, ""},
	{"iptables -I FORWARD 0 -j DROP", tool("iptables -I FORWARD 0 -j DROP"), ""},
	{"iptables -D FORWARD 2", op.RuleDeleteAt{Table: "filter", Chain: "FORWARD", Pos: 2}, ""},
	{"iptables -D FORWARD -j DROP", op.RuleDelete{Table: "filter", Chain: "FORWARD", Spec: spec("-j DROP")}, ""},
	{"iptables --check FORWARD -j DROP", op.RuleCheck{Table: "filter", Chain: "FORWARD", Spec: spec("-j DROP")}, ""},
	{"iptables -N DOCKER -t nat", op.ChainNew{Table: "nat", Chain: "DOCKER"}, ""},
	{"iptables -X", op.ChainDel{Table: "filter"}, ""},
	{"iptables -X DOCKER", op.ChainDel{Table: "filter", Chain: "DOCKER"}, ""},
	{"iptables -F", op.ChainFlush{Table: "filter"}, ""},
	{"iptables -F -t nat", op.ChainFlush{Table: "nat"}, ""},
	{"iptables -Z FORWARD", op.ChainZero{Table: "filter", Chain: "FORWARD"}, ""},
	{"iptables -P FORWARD DROP", op.PolicySet{Table: "filter", Chain: "FORWARD", Policy: "DROP"}, ""},
	{"iptables -nvL", tool("iptables -nvL"), ""},
	{"iptables -t nat -S", tool("iptables -t nat -S"), ""},
	{"iptables -L -n -v --line-numbers", tool("iptables -L -n -v --line-numbers"), ""},
	{"iptables -t nope -A FORWARD -j ACCEPT", tool("iptables -t nope -A FORWARD -j ACCEPT"), ""},
	{"iptables -A FORWARD -D FORWARD", tool("iptables -A FORWARD -D FORWARD"), ""},
	{"iptables -R FORWARD 1 -j ACCEPT", tool("iptables -R FORWARD 1 -j ACCEPT"), ""},
	{"iptables-legacy -A FORWARD -j ACCEPT", tool("iptables-legacy -A FORWARD -j ACCEPT"), ""},

	{"sysctl -w net.ipv4.ip_forward=1", op.SysctlSet{Key: "net.ipv4.ip_forward", Value: "1"}, ""},
	{"sysctl net/ipv4/ip_forward=0", op.SysctlSet{Key: "net.ipv4.ip_forward", Value: "0"}, ""},
	{"sysctl -w net/ipv4/conf/eth0.5/rp_filter=2", op.SysctlSet{Key: "net.ipv4.conf.eth0/5.rp_filter", Value: "2"}, ""},
	{"sysctl -qw net.ipv4.ip_forward=1", op.SysctlSet{Key: "net.ipv4.ip_forward", Value: "1"}, ""},
	{"sysctl -w 'net.ipv4.ping_group_range=0 100'", op.SysctlSet{Key: "net.ipv4.ping_group_range", Value: "0 100"}, ""},
	{"sysctl net.ipv4.ip_forward", tool("sysctl net.ipv4.ip_forward"), ""},
	{"sysctl -w a.b=1 c.d=2", tool("sysctl -w a.b=1 c.d=2"), ""},
	{"sysctl -w ../../etc/passwd=1", tool("sysctl -w ../../etc/passwd=1"), ""},
	{"sysctl -a", tool("sysctl -a"), ""},

	{"ping -c1 203.0.113.10", op.Ping{Dst: adr("203.0.113.10"), Count: 1}, ""},
	{"ping 10.0.0.1 -nc 3 -W 0.5 -s 1000 -t 1 -I eth0 -M do",
		op.Ping{Dst: adr("10.0.0.1"), Count: 3, Wait: 500 * time.Millisecond, Size: 1000, TTL: 1, From: "eth0", DF: true}, ""},
	{"ping -c1 example.test", tool("ping -c1 example.test"), ""},
	{"ping 10.0.0.1", tool("ping 10.0.0.1"), ""},
	{"ping -q -c1 10.0.0.1", tool("ping -q -c1 10.0.0.1"), ""},
	{"curl -s http://10.24.254.11:8088/", op.HTTPGet{URL: "http://10.24.254.11:8088/", Silent: true}, ""},
	{"curl -sm2 10.24.254.11:8088", op.HTTPGet{URL: "10.24.254.11:8088", Silent: true, Timeout: 2 * time.Second}, ""},
	{"curl --max-time 1.5 -v -I http://a/", op.HTTPGet{URL: "http://a/", Timeout: 1500 * time.Millisecond, Verbose: true, Head: true}, ""},
	{"curl --connect-timeout 2 http://a/", op.HTTPGet{URL: "http://a/", Timeout: 2 * time.Second}, ""},
	{"curl -o /dev/null http://a/", tool("curl -o /dev/null http://a/"), ""},
	{"curl https://a/", tool("curl https://a/"), ""},
	{"curl file:///etc/passwd", tool("curl file:///etc/passwd"), ""},
	{"python3 -m http.server", op.HTTPServe{Port: 8000}, ""},
	{"python3 -m http.server 80 --bind 127.0.0.1", op.HTTPServe{Port: 80, Bind: adr("127.0.0.1")}, ""},
	{"python3 -m http.server --directory /tmp 80", tool("python3 -m http.server --directory /tmp 80"), ""},
	{"python3 -c 1", tool("python3 -c 1"), ""},
	{"dnsmasq --address=/example.test/203.0.113.10", op.DNSServe{Names: map[string]netip.Addr{"example.test": adr("203.0.113.10")}}, ""},
	{"dnsmasq -dkA /a.test/b.test/10.0.0.1", op.DNSServe{Names: map[string]netip.Addr{"a.test": adr("10.0.0.1"), "b.test": adr("10.0.0.1")}}, ""},
	{"dnsmasq", tool("dnsmasq"), ""},
	{"pkill python3", op.ProcKill{Name: "python3"}, ""},
	{"pkill -f http.server", op.ProcKill{Name: "http.server"}, ""},
	{"pkill .", op.ProcKill{}, ""},
	{"pkill -9 python3", tool("pkill -9 python3"), ""},
	{"sleep 0.2", op.Sleep{Duration: 200 * time.Millisecond}, ""},
	{"sleep 1m 2", op.Sleep{Duration: 62 * time.Second}, ""},
	{"sleep infinity", tool("sleep infinity"), ""},
	{"tcpdump -ni eth0", tool("tcpdump -ni eth0"), ""},
	{"conntrack -L", tool("conntrack -L"), ""},
}

func TestParse(t *testing.T) {
	for _, tt := range parsed {
		c, err := Parse(words(tt.line))
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		if !reflect.DeepEqual(c.Op, tt.want) || c.Node != tt.node {
			t.Errorf("%s:\n got  %T%+v in %q\n want %T%+v in %q", tt.line, c.Op, c.Op, c.Node, tt.want, tt.want, tt.node)
		}
		roundTrip(t, c.Op)
	}
}

// roundTrip holds an operation against its own canonical text.
func roundTrip(t *testing.T, o op.Op) {
	t.Helper()
	if tl, ok := o.(op.Tool); ok {
		o = op.Tool{Argv: tl.Argv}
	}
	fields, err := shell.Fields(bgless(o.String()), func(string) string { return "" })
	if err != nil {
		t.Errorf("%s: not shell text: %v", o, err)
		return
	}
	c, err := Parse(fields)
	if err != nil || c.Node != "" || !reflect.DeepEqual(c.Op, o) {
		t.Errorf("%s\n is   %#v\n read %#v, %v", o, o, c.Op, err)
	}
}

// Every operation of the set, so that none can be left out of the parser.
func TestCanonicalTextReadsBack(t *testing.T) {
	seen := map[string]bool{}
	for _, tt := range parsed {
		seen[reflect.TypeOf(tt.want).Name()] = true
	}
	for _, name := range []string{"NetnsAdd", "NetnsDel", "LinkAdd", "LinkDel", "LinkSet", "AddrAdd", "AddrDel", "AddrFlush",
		"RouteAdd", "RouteReplace", "RouteDel", "NeighFlush", "SysctlSet", "RuleAppend", "RuleInsert", "RuleDelete", "RuleDeleteAt",
		"RuleCheck", "ChainNew", "ChainDel", "ChainFlush", "ChainZero", "PolicySet", "Ping", "HTTPGet", "HTTPServe", "DNSServe",
		"ProcKill", "Sleep", "Tool"} {
		if !seen[name] {
			t.Errorf("no command in the table becomes %s", name)
		}
		if _, err := op.Unmarshal([]byte(`{"op":"` + name + `","args":{}}`)); err != nil && strings.Contains(err.Error(), "unknown name") {
			t.Errorf("%s is no operation any more", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, tt := range parsed {
		f.Add(strings.Join(words(tt.line), "\x00"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		argv := strings.Split(line, "\x00") // no word of a command line can hold a NUL
		c, err := Parse(argv)
		if err != nil {
			u, ok := err.(*UsageError)
			if !ok || u.Status == 0 || !strings.HasSuffix(u.Stderr, "\n") {
				t.Errorf("%q: %#v", argv, err)
			}
			return
		}
		c.Finish(op.Result{Status: 1, Failure: &op.Failure{What: op.NoDevice, Name: "x"}})
		if _, isTool := c.Op.(op.Tool); !isTool {
			roundTrip(t, c.Op)
		}
	})
}

func TestSysctlKey(t *testing.T) {
	for in, want := range map[string]string{
		"net.ipv4.ip_forward": "net.ipv4.ip_forward", "net/ipv4/ip_forward": "net.ipv4.ip_forward",
		"net/ipv4/conf/eth0.5/rp_filter": "net.ipv4.conf.eth0/5.rp_filter", "net.ipv4.conf.eth0/5.rp_filter": "net.ipv4.conf.eth0/5.rp_filter",
		"": "", "kernel": "", "/net/ipv4": "", "net..x": "", "net/../x": "", "net/./x": "", "../x": "", "net.ipv4.": "",
	} {
		if got := SysctlKey(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := SysctlPath("net.ipv4.conf.eth0/5.rp_filter"); got != "/proc/sys/net/ipv4/conf/eth0.5/rp_filter" {
		t.Error(got)
	}
}
