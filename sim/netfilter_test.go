package sim

import (
	"slices"
	"strings"
	"testing"

	"vethlab/sim/rule"
	"vethlab/sim/state"
)

// router is a machine between two others.
const router = `
	client# ip link add eth0 type veth peer name left netns host
	host# ip link add right type veth peer name eth0 netns server
	host# ip link set left up
	host# ip link set right up
	client# ip link set eth0 up
	server# ip link set eth0 up
	client# ip addr add 10.1.0.2/24 dev eth0
	host# ip addr add 10.1.0.1/24 dev left
	host# ip addr add 10.2.0.1/24 dev right
	server# ip addr add 10.2.0.2/24 dev eth0
	client# ip route add default via 10.1.0.1
	server# ip route add default via 10.2.0.1
	host# sysctl -w net.ipv4.ip_forward=1`

func routerLab(t *testing.T, rules string) *lab {
	return newLab(t, "client host server", router+rules)
}

func TestPrioritiesOrderTheHooks(t *testing.T) {
	l := routerLab(t, `
		host# iptables -A OUTPUT -j ACCEPT
		host# iptables -t nat -A OUTPUT -p udp -j REDIRECT
		host# iptables -t mangle -A OUTPUT -j MARK --set-mark 1
		host# iptables -t raw -A OUTPUT -s 192.0.2.1 -j NOTRACK`)
	res := l.run("host# ping -c1 -W1 10.2.0.2")
	l.wants(res, "ICMP echo request", 1, `
		host route right forward 64
		host OUTPUT raw OUTPUT policy ACCEPT 64
		host OUTPUT mangle OUTPUT 1 other 64
		host OUTPUT mangle OUTPUT policy ACCEPT 64
		host OUTPUT nat OUTPUT policy ACCEPT 64
		host OUTPUT filter OUTPUT 1 ACCEPT 64
		host POSTROUTING pass 64
		host tx right 64
		server rx eth0 64
		server PREROUTING pass 64
		server route local 64
		server INPUT pass 64
		server socket 64
		delivered at server: delivered`)
}

func TestChainsCallEachOther(t *testing.T) {
	l := routerLab(t, `
		host# iptables -N A
		host# iptables -N B
		host# iptables -N C
		host# iptables -A A -j B
		host# iptables -A A -j RETURN
		host# iptables -A A -j DROP
		host# iptables -A B -s 10.1.0.2
		host# iptables -A B -g C
		host# iptables -A B -j DROP
		host# iptables -A C -s 192.0.2.1
		host# iptables -A FORWARD -j A
		host# iptables -P FORWARD DROP`)
	res := l.run("client# ping -c1 -W1 10.2.0.2")
	l.wants(res, "ICMP echo request", 1, `
		client route eth0 forward 64
		client OUTPUT pass 64
		client POSTROUTING pass 64
		client tx eth0 64
		host rx left 64
		host PREROUTING pass 64
		host route right forward 64
		host FORWARD filter FORWARD 1 jump 63
		host FORWARD filter A 1 jump 63
		host FORWARD filter B 1 other 63
		host FORWARD filter B 2 goto 63
		host FORWARD filter A 2 RETURN 63
		host FORWARD filter FORWARD policy DROP 63
		dropped at host: policy-drop`)
	c := l.Node("host").nf.tables[tableFilter].chain("FORWARD")
	if c.packets != 1 || c.bytes != 84 || c.rules[0].packets != 1 || c.rules[0].bytes != 84 {
		t.Errorf("counted %d:%d and %d:%d, want 1:84 twice", c.packets, c.bytes, c.rules[0].packets, c.rules[0].bytes)
	}
}

// Two clients of one masquerading host use the same port to the same server:
// the second gets another one, of the same sort.
func TestSourcePortIsUnique(t *testing.T) {
	n := routerLab(t, "\nhost# iptables -t nat -A POSTROUTING -j MASQUERADE").Node("host")
	to := &rule.NATRange{HasAddr: true, MinAddr: 0x0a020001, MaxAddr: 0x0a020001}
	for _, sort := range []struct{ port, low, high uint16 }{{80, 1, 511}, {700, 600, 1023}, {40000, 1024, 65535}} {
		var got []uint16
		for client := range 3 {
			first := tuple{src: IP(0x0a010002 + client), dst: 0x0a020002, sport: sort.port, dport: 80, proto: protoUDP}
			c := &conn{tuples: [2]tuple{first, first.turned()}, expires: n.w.now + 1e10}
			n.setupNAT(c, to, manipSrc)
			n.insert(c)
			port := c.tuples[reply].dport
			if c.tuples[reply].dst != 0x0a020001 || port < sort.low || port > sort.high || slices.Contains(got, port) {
				t.Errorf("client %d with port %d became %v, after %v", client, sort.port, c, got)
			}
			got = append(got, port)
		}
		if got[0] != sort.port {
			t.Errorf("the first kept port %d, not %d", got[0], sort.port)
		}
	}
}

// What iptables -t nat adds later does not touch an entry that has been through
// the nat hooks, although its packets are still NEW.
func TestLaterRuleLeavesEntriesAlone(t *testing.T) {
	l := routerLab(t, "\nhost# iptables -t nat -A POSTROUTING -s 192.0.2.1 -j MASQUERADE")
	n := l.Node("host")
	first := tuple{src: 0x0a010002, dst: 0x0a020002, sport: 1, dport: icmpEcho << 8, proto: protoICMP}
	c := &conn{tuples: [2]tuple{first, first.turned()}, expires: n.w.now + 30e9}
	n.nullBinding(c, manipDst)
	n.nullBinding(c, manipSrc)
	n.insert(c)
	l.run("host# iptables -t nat -A POSTROUTING -j MASQUERADE")
	n.setupNAT(c, &rule.NATRange{HasAddr: true, MinAddr: 1, MaxAddr: 1}, manipSrc)
	if c.status&ctNAT != 0 || c.tuples[reply] != first.turned() {
		t.Errorf("the entry became %v", c)
	}
}

func TestTCPStates(t *testing.T) {
	n := routerLab(t, "").Node("host")
	type segment struct {
		from  direction
		flags uint8
		data  int
		want  ctTCPState
	}
	for _, test := range []struct {
		name     string
		segments []segment
		left     int // seconds
		assured  bool
	}{
		{"opened", []segment{{original, tcpSYN, 0, ctTCPSynSent}}, 120, false},
		{"answered", []segment{{original, tcpSYN, 0, ctTCPSynSent}, {reply, tcpSYN | tcpACK, 0, ctTCPSynRecv}}, 60, false},
		{"established", []segment{{original, tcpSYN, 0, ctTCPSynSent}, {reply, tcpSYN | tcpACK, 0, ctTCPSynRecv}, {original, tcpACK, 0, ctTCPEstablished}}, 432000, true},
		{"data not acknowledged", []segment{{original, tcpSYN, 0, ctTCPSynSent}, {reply, tcpSYN | tcpACK, 0, ctTCPSynRecv}, {original, tcpACK, 0, ctTCPEstablished},
			{original, tcpACK | tcpPSH, 9, ctTCPEstablished}}, 300, true},
		{"closed", []segment{{original, tcpSYN, 0, ctTCPSynSent}, {reply, tcpSYN | tcpACK, 0, ctTCPSynRecv}, {original, tcpACK, 0, ctTCPEstablished},
			{original, tcpFIN | tcpACK, 0, ctTCPFinWait}, {reply, tcpACK, 0, ctTCPCloseWait}, {reply, tcpFIN | tcpACK, 0, ctTCPLastAck}, {original, tcpACK, 0, ctTCPTimeWait}}, 120, true},
		{"reset", []segment{{original, tcpSYN, 0, ctTCPSynSent}, {reply, tcpSYN | tcpACK, 0, ctTCPSynRecv}, {original, tcpACK, 0, ctTCPEstablished}, {reply, tcpRST | tcpACK, 0, ctTCPClose}}, 10, true},
		{"picked up", []segment{{original, tcpACK, 0, ctTCPEstablished}}, 300, false},
	} {
		c := &conn{tuples: [2]tuple{{proto: protoTCP, sport: 1}, {proto: protoTCP, dport: 1}}}
		next := [2]uint32{1000, 5000}
		for i, s := range test.segments {
			p := &packet{}
			p.proto, p.tcpFlags, p.seq, p.payload = protoTCP, s.flags, next[s.from], make([]byte, s.data)
			if s.flags&tcpACK != 0 {
				p.ack = next[1-s.from]
			}
			next[s.from] = segmentEnd(p)
			info := ctNew
			switch {
			case s.from == reply:
				info = ctEstablishedReply
			case c.status&ctSeenReply != 0:
				info = ctEstablished
			}
			if v := n.tcpPacket(p, c, info); v != ctAccept || c.tcp.state != s.want {
				t.Errorf("%s, segment %d: verdict %d, state %s, want %s", test.name, i+1, v, ctTCPNames[c.tcp.state], ctTCPNames[s.want])
			}
			c.status |= ctConfirmed
			if s.from == reply {
				c.status |= ctSeenReply
			}
		}
		if left := int((c.expires - n.w.now) / 1e9); left != test.left || c.status&ctAssured != 0 != test.assured {
			t.Errorf("%s: %d s left, assured %v; want %d s, %v", test.name, left, c.status&ctAssured != 0, test.left, test.assured)
		}
	}
}

func TestSnapshotKeepsTables(t *testing.T) {
	l := routerLab(t, `
		host# iptables -t nat -A POSTROUTING -s 10.1.0.0/24 -o right -j MASQUERADE
		host# iptables -N A
		host# iptables -A FORWARD -j A
		host# iptables -P FORWARD DROP
		host# iptables -A A -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT`)
	l.run("client# ping -c1 -W1 10.2.0.2")
	n := l.Node("host")
	before, conns := n.snapTables(), l.snapConns(n)
	if err := n.restoreTables(before); err != nil {
		t.Fatal(err)
	}
	if after := n.snapTables(); !slices.EqualFunc(before, after, sameTable) {
		t.Errorf("the tables were\n%+v\nand became\n%+v", before, after)
	}
	n.ConnsFlush(0)
	l.restoreConns(n, conns)
	if after := l.snapConns(n); !slices.Equal(conns, after) || len(after) != 1 {
		t.Errorf("the connections were\n%+v\nand became\n%+v", conns, after)
	}
}

func sameTable(a, b state.Table) bool {
	return a.Name == b.Name && slices.EqualFunc(a.Chains, b.Chains, func(x, y state.Chain) bool {
		return x.Name == y.Name && x.Policy == y.Policy && x.Packets == y.Packets && x.Absent == y.Absent && x.Counts == y.Counts && slices.Equal(x.Rules, y.Rules)
	})
}

func TestRuleWords(t *testing.T) {
	got := ruleWords(`-s 10.0.0.0/8 -m comment --comment "it says \"no\" \\ twice" -j DROP`)
	want := []string{"-s", "10.0.0.0/8", "-m", "comment", "--comment", `it says "no" \ twice`, "-j", "DROP"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", strings.Join(got, "|"), strings.Join(want, "|"))
	}
}
