package tools

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vethlab/sim/state"
)

// Bad input: what nobody should type, and somebody will. Each line is typed on
// this machine's own programs and in a simulated lab, which have to say the same
// and hold the same afterwards; and where nothing is said of leaving something,
// what was there before.
var badInput = []struct {
	before string // lines that furnish both machines
	line   string
	leaves bool // the kernel keeps a part of it
	usage  bool // it is told how to use the program, with status 0
}{
	// Names of 16 characters and more: the kernel holds 15.
	{line: "ip link add abcdefghijklmnop type bridge"},
	{line: "ip link add name abcdefghijklmnop type bridge"},
	{line: "ip link add x type veth peer name abcdefghijklmnop"},
	{line: "ip link add x type veth peer abcdefghijklmnop"},
	{line: "ip link set a0 name abcdefghijklmnop"},
	{line: "ip addr add 10.9.0.1/24 dev abcdefghijklmnop"},
	{line: "ip addr add 10.9.0.1/24 dev a0 label a0:abcdefghijklm"},
	{line: "ip route add 10.9.0.0/24 dev abcdefghijklmnop"},
	{line: "ip rule add iif abcdefghijklmnop table 7"},
	{line: "brctl addbr abcdefghijklmnop", leaves: true},
	{line: "brctl addif br0 abcdefghijklmnop"}, // of which it says the whole name
	{line: "ifconfig abcdefghijklmnop up"},
	{line: "iptables -A INPUT -i abcdefghijklmnop -j ACCEPT"},
	{line: "iptables -N abcdefghijklmnopqrstuvwxyzabc"},
	{line: "iptables -A INPUT -j abcdefghijklmnopqrstuvwxyzabc"},

	// Names that are none.
	{line: "ip link add . type bridge"},
	{line: "ip link add a/b type bridge"},
	{line: "ip link add name a/b type bridge"},
	{line: "ip link add x:1 type bridge"},
	{line: "ip netns add a/b"},
	{line: "ip netns add .."},
	{line: "iptables -N -x"},
	{line: "iptables -N 'a b'"},
	{line: "iptables -N ACCEPT"},

	// Flags that nobody knows.
	{line: "ip --frob link"},
	{line: "ip link show --frob"},
	{line: "ip addr add 10.9.0.1/24 dev a0 frob"},
	{line: "ip route add 10.9.0.0/24 dev a0 frob 1"},
	{line: "bridge --frob link"},
	{line: "brctl --frob"},
	{line: "brctl frob br0"},
	{line: "iptables --frob"},
	{line: "iptables -A INPUT --frob -j ACCEPT"},
	{line: "iptables -A INPUT -p tcp --frob 1 -j ACCEPT"},
	{line: "iptables -Q"},
	{line: "iptables -A INPUT -m frob -j ACCEPT"},
	{line: "iptables -A INPUT -j frob"},
	{line: "iptables -A INPUT -j REJECT --frob"},
	{line: "iptables-save --frob"},
	{line: "iptables-restore --frob"},
	{line: "sysctl --frob", usage: true},
	{line: "ifconfig a0 frob"},
	{line: "route frob"},

	// Words that are missing.
	{line: "ip link add"},
	{line: "ip link add x"},
	{line: "ip link add x type"},
	{line: "ip link set"},
	{line: "ip addr add"},
	{line: "ip addr add 10.9.0.1/24"},
	{line: "ip route add"},
	{line: "ip route add 10.9.0.0/24"},
	{line: "ip netns add"},
	{line: "iptables"},
	{line: "iptables -A"},
	{line: "iptables -A INPUT -j"},
	{line: "iptables -A INPUT -p tcp --dport"},
	{line: "brctl addif br0"},
	{line: "sysctl -w"},

	// Numbers and addresses out of range.
	{line: "ip addr add 10.9.0.1/33 dev a0"},
	{line: "ip addr add 10.9.0.300/24 dev a0"},
	{line: "ip addr add 10.9.0.1/255.0.255.0 dev a0"},
	{line: "ip link set a0 mtu 67"},
	{line: "ip link set a0 mtu 65536"},
	{line: "ip link set a0 mtu 99999999999"},
	{line: "ip link set a0 address zz"},
	{line: "ip link set a0 address ff:ff:ff:ff:ff:ff"},
	{line: "ip route add 10.9.0.1/24 dev a0"},
	{line: "ip route add default via 9.9.9.9"},
	{line: "ip route add 10.9.0.0/24 dev a0 metric -1"},
	{line: "ip route add 10.9.0.0/24 dev a0 table x"},
	{line: "iptables -A INPUT -p tcp --dport 65536 -j ACCEPT"},
	{line: "iptables -A INPUT -p tcp --dport 90:80 -j ACCEPT"},
	{line: "iptables -A INPUT -s 10.0.0.0/33 -j ACCEPT"},
	{line: "iptables -A INPUT -p 256 -j ACCEPT"},
	{line: "iptables -I INPUT 9 -j ACCEPT"},
	{line: "iptables -D INPUT 9"},
	{line: "sysctl -w net.ipv4.ip_forward=abc"},
	{line: "sysctl -w net.ipv4.conf.a0.rp_filter=99999999999"},

	// Addresses that overlap.
	{line: "ip addr add 10.0.0.1/24 dev a0"},
	{line: "ip addr add 10.0.0.1/16 dev a0", leaves: true},
	{line: "ip addr add 10.0.0.2/24 dev a0", leaves: true},
	{line: "ip addr add 10.0.0.1/24 dev b0", leaves: true},
	{line: "ip addr add 10.0.0.77/25 dev b0", leaves: true},
	{line: "ip addr add 10.0.0.2/24 dev a0 scope link"},
	{before: "ip route add 10.7.0.0/16 dev a0", line: "ip route add 10.7.0.0/16 dev b0"},
	{before: "ip route add 10.7.0.0/16 dev a0", line: "ip route add 10.7.0.0/16 dev a0 metric 5", leaves: true},

	// What is there already, or is not.
	{line: "ip link add a0 type bridge"},
	{line: "ip link add x type veth peer name x"},
	{line: "ip link set a0 name b0"},
	{line: "ip link del nope"},
	{line: "ip link del lo"},
	{line: "ip link set a0 master a1"},
	{line: "ip link set br0 master br0"},
	{line: "ip link set a0 netns nope"},
	{line: "ip netns del nope"},
	{line: "ip -n nope link"},
	{line: "ip netns exec nope true"},
	{line: "brctl addbr br0"},
	{line: "brctl delbr br0"},
	{line: "brctl addif a0 a1"},
	{line: "iptables -N INPUT"},
	{line: "iptables -X NOPE"},
	{before: "iptables -N A", line: "iptables -N A"},
	{before: "iptables -N A\niptables -A INPUT -j A", line: "iptables -X A"},
	{before: "iptables -N A\niptables -A A -j ACCEPT", line: "iptables -X A"},

	// Rules that lead in a circle: the kernel refuses what a packet could meet.
	{before: "iptables -N A", line: "iptables -A A -j A", leaves: true},
	{before: "iptables -N A\niptables -A INPUT -j A", line: "iptables -A A -j A"},
	{before: "iptables -N A\niptables -A A -j A", line: "iptables -A INPUT -j A"},
	{before: "iptables -N A\niptables -N B\niptables -A A -j B\niptables -A INPUT -j A", line: "iptables -A B -g A"},
	{line: "iptables -A INPUT -j INPUT"},
	{line: "iptables -t nat -A PREROUTING -j POSTROUTING"},

	// Targets where they cannot be.
	{line: "iptables -A INPUT -j MASQUERADE"},
	{line: "iptables -t nat -A PREROUTING -j MASQUERADE"},
	{line: "iptables -t nat -A POSTROUTING -j DNAT --to-destination 1.2.3.4"},
	{line: "iptables -t nat -A PREROUTING -j DROP"},
	{line: "iptables -P INPUT REJECT"},
	{line: "iptables -P NOPE DROP"},

	// Several things at once, one of them wrong. (Of two parts of a link's change
	// the kernel keeps the first: do_setlink.)
	{line: "ip link set a0 mtu 1400 address zz"},
	{line: "ip link set a0 address 02:00:00:00:00:99 mtu 67", leaves: true},
	{line: "ip link set a0 mtu 1400 master lo", leaves: true},
	{line: "ip link add x mtu 1400 address 02:00:00:00:00:99 master nope type bridge"},
	{line: "ip link add x type veth peer name y netns nope"},
	{line: "sysctl -w net.ipv4.ip_forward=1 net.ipv4.nope=1", leaves: true},
	{line: "iptables -A INPUT -s 1.2.3.4,nope -j ACCEPT"},
	{line: "iptables -A INPUT -s 1.2.3.4,5.6.7.8 -p tcp --dport x -j ACCEPT"},
}

var badInputScene = "ip link set lo up\nip link add a0 address 02:00:00:00:00:a0 type veth peer name a1 address 02:00:00:00:00:a1\n" +
	"ip link add b0 address 02:00:00:00:00:b0 type veth peer name b1 address 02:00:00:00:00:b1\nip link add br0 address 02:00:00:00:00:bb type bridge\n" +
	"ip link set a0 up\nip link set a1 up\nip link set b0 up\nip link set b1 up\nip link set br0 up\nip addr add 10.0.0.1/24 dev a0"

var badInputState = []string{"ip -j link", "ip -j addr", "ip -j route show table all", "ip -j rule", "bridge -j link", "ip netns", "iptables-save",
	"sysctl net.ipv4.ip_forward net.ipv4.conf.a0.rp_filter"}

func TestBadInput(t *testing.T) {
	needPrograms(t, "ip", "bridge", "brctl", "iptables", "sysctl", "ifconfig", "route")
	needIptables(t)
	for _, c := range badInput {
		t.Run(c.line, func(t *testing.T) {
			t.Parallel()
			m, err := newRealMachine()
			if err != nil {
				t.Fatal(err)
			}
			defer m.close()
			l, err := newSimMachine()
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			both := func(line string) (ours, theirs said) {
				argv := split(line)
				if theirs, err = m.run(argv); err != nil {
					t.Fatal(err)
				}
				ours = l.typed("host", argv)
				for _, s := range []*said{&ours, &theirs} { // the kernel is late to look at carriers, see play
					s.stdout = strings.ReplaceAll(withoutDates(s.stdout), `"NO-CARRIER",`, "")
				}
				return normal(argv, nil, ours), normal(argv, nil, theirs)
			}
			for line := range strings.Lines(badInputScene + "\n" + c.before) {
				if ours, theirs := both(strings.TrimSpace(line)); ours != theirs || ours.status != 0 {
					t.Fatalf("%s\nthe machine: %v\nsimulated: %v", line, theirs, ours)
				}
			}
			held := func() (all []said) {
				for _, line := range badInputState {
					ours, theirs := both(line)
					if ours != theirs {
						x, y := apart(ours, theirs)
						t.Errorf("%s\nthe machine: %v\nsimulated:   %v", line, y, x)
					}
					all = append(all, ours)
				}
				return all
			}
			before := held()
			ours, theirs := both(c.line)
			if ours != theirs {
				t.Errorf("the machine: %v\nsimulated:   %v", theirs, ours)
			}
			if ours.status == 0 && !c.leaves && !c.usage {
				t.Errorf("accepted: %v", ours)
			}
			if after := held(); slices.Equal(before, after) == c.leaves {
				t.Errorf("it leaves something: %v, want %v", !c.leaves, c.leaves)
			}
		})
	}
}

// split splits a line at blanks, but for what stands between single quotes.
func split(line string) (all []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			all = append(all, part)
		} else {
			all = append(all, strings.Fields(part)...)
		}
	}
	return all
}

// Every program of iptables' is there by its name, or says that it is not.
func TestIptablesNames(t *testing.T) {
	lab := newBareLab(t)
	for _, name := range []string{"iptables", "iptables-nft", "/usr/sbin/iptables"} {
		if res := runTool(t, lab, "", name, "-S", "INPUT"); res.Status != 0 || res.Output != "-P INPUT ACCEPT\n" {
			t.Errorf("%s: %+v", name, res)
		}
	}
	for _, name := range []string{"iptables-save", "iptables-nft-save"} {
		if res := runTool(t, lab, "", name); res.Status != 0 || res.Stderr != "" {
			t.Errorf("%s: %+v", name, res)
		}
	}
	for _, name := range []string{"iptables-restore", "iptables-nft-restore"} {
		if res := runTool(t, lab, "*filter\n:INPUT DROP [0:0]\nCOMMIT\n", name); res.Status != 0 {
			t.Errorf("%s: %+v", name, res)
		}
	}
	for _, name := range []string{"iptables-legacy", "iptables-legacy-save", "iptables-legacy-restore", "ip6tables", "ip6tables-save", "arptables", "ebtables", "nft"} {
		if res := runTool(t, lab, "", name, "-L"); res.Status != 95 || res.Stderr != "not simulated: "+name+"\n" {
			t.Errorf("%s: %+v", name, res)
		}
	}
}

// A thousand namespaces, each with a link into one bridge, which has no room for
// more than 1,023 (BR_MAX_PORTS).
func TestThousandNodes(t *testing.T) {
	const n = 1000
	lab := newBareLab(t)
	began := time.Now()
	typed := func(line string) said { return lab.typed("host", strings.Fields(line)) }
	must := func(format string, args ...any) {
		t.Helper()
		if s := typed(fmt.Sprintf(format, args...)); s.status != 0 {
			t.Fatalf("%s: %v", fmt.Sprintf(format, args...), s)
		}
	}
	must("ip link add br0 type bridge")
	must("ip link set br0 up")
	for i := range n {
		must("ip netns add n%d", i)
		must("ip link add v%d type veth peer name eth0 netns n%d", i, i)
		must("ip link set v%d master br0", i)
		must("ip link set v%d up", i)
		must("ip -n n%d addr add 10.0.%d.%d/16 dev eth0", i, i/250, i%250+1)
		must("ip -n n%d link set eth0 up", i)
	}
	t.Logf("%d nodes: %v", n, time.Since(began))
	if s := lab.typed("n999", strings.Fields("ping -c1 -W1 10.0.0.1")); s.status != 0 {
		t.Errorf("the last node does not reach the first: %v", s)
	}
	for i := range 12 {
		must("ip link add w%d type veth peer name u%d", i, i)
	}
	for i := range 12 {
		must("ip link set w%d master br0", i)
		if i < 11 {
			must("ip link set u%d master br0", i)
		}
	}
	if s := typed("ip link set u11 master br0"); s != (said{stderr: "RTNETLINK answers: Exchange full\n", status: 2}) {
		t.Errorf("port 1,024: %v", s)
	}
	if s := typed("brctl addif br0 u11"); s != (said{stderr: "can't add u11 to bridge br0: Exchange full\n", status: 1}) {
		t.Errorf("port 1,024: %v", s)
	}
	snap, err := lab.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(snap.Nodes) != n+1 {
		t.Errorf("%d nodes", len(snap.Nodes))
	}
	again, err := FromSnapshot(snap)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	twice, err := again.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := state.Diff(snap.Canonical(), twice.Canonical()); len(d) > 0 {
		t.Errorf("%d differences, as %v", len(d), d[0])
	}
	t.Logf("and all that was asked of them: %v", time.Since(began))
}
