package sim

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// TestControlPlane plays commands that the kernel was asked, many of which it
// refuses, and wants its answers: the tools' words and exit statuses.
func TestControlPlane(t *testing.T) {
	b, err := os.ReadFile("testdata/control.txt")
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, "host", "")
	command, got := "", []string(nil)
	var want []string
	check := func() {
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); command != "" && g != w {
			t.Errorf("%s\nanswers\n%s\nnot\n%s", command, g, w)
		}
	}
	n := 0
	for _, line := range lines(string(b)) {
		if !strings.Contains(line, "# ") || strings.HasPrefix(line, "(") {
			want = append(want, line)
			continue
		}
		check()
		n++
		command, want, got = line, nil, nil
		node, text, _ := strings.Cut(line, "# ")
		c, err := cmdline.Parse(strings.Fields(text))
		if err != nil {
			t.Fatal(line, err)
		}
		if _, tool := c.Op.(op.Tool); tool { // ip's own word
			want = nil
			command = ""
			continue
		}
		res, err := l.Apply(t.Context(), node, c.Op)
		if err != nil {
			t.Fatal(line, err)
		}
		res = c.Finish(res)
		got = lines(res.Output + res.Stderr)
		if res.Status != 0 {
			got = append(got, fmt.Sprintf("(status %d)", res.Status))
		}
	}
	check()
	if n < 60 {
		t.Errorf("only %d commands", n)
	}
}

// find returns a link of a snapshot.
func find(t *testing.T, l *lab, node, link string) state.Link {
	t.Helper()
	s := l.Node(node).State()
	x := s.Link(link)
	if x == nil {
		t.Fatalf("%s has no %s", node, link)
	}
	return *x
}

func TestCarrier(t *testing.T) {
	l := newLab(t, "host", `
		host# ip link add br0 type bridge
		host# ip link set br0 up
		host# ip link add name a type veth peer name b
		host# ip link add link b name m type macvlan mode bridge
		host# ip link set dev m up`)
	// As `ip link` on Linux 6.18 told, after each command.
	for _, step := range []struct{ command, want string }{
		{"", "br0 UNKNOWN true, a DOWN false, b DOWN false, m LOWERLAYERDOWN false"},
		{"ip link set dev a up", "br0 UNKNOWN true, a LOWERLAYERDOWN false, b DOWN false, m LOWERLAYERDOWN false"},
		{"ip link set dev b up", "br0 UNKNOWN true, a UP true, b UP true, m UP true"},
		{"ip link set dev a master br0", "br0 UP true, a UP true, b UP true, m UP true"},
		{"ip link set dev b down", "br0 DOWN false, a LOWERLAYERDOWN false, b DOWN false, m LOWERLAYERDOWN false"},
		{"ip link set dev b up", "br0 UP true, a UP true, b UP true, m UP true"},
		{"ip link set dev a nomaster", "br0 DOWN false, a UP true, b UP true, m UP true"},
	} {
		if step.command != "" {
			node, o := parse(t, "host# "+step.command)
			if res, _ := l.Apply(t.Context(), node, o); res.Status != 0 {
				t.Fatal(step.command, res)
			}
		}
		var got []string
		for _, name := range []string{"br0", "a", "b", "m"} {
			x := find(t, l, "host", name)
			got = append(got, fmt.Sprint(name, " ", x.State, " ", x.Carrier))
		}
		if g := strings.Join(got, ", "); g != step.want {
			t.Errorf("after %q: %s, not %s", step.command, g, step.want)
		}
	}
	if x := find(t, l, "host", "br0"); x.MAC != "" {
		t.Errorf("a bridge whose last port left has the address %s, not none", x.MAC)
	}
}

func TestPromoteSecondaries(t *testing.T) {
	for promote, want := range map[string]string{"0": "", "1": "10.0.0.2/24 10.0.0.3/24"} {
		l := newLab(t, "host", `
			host# ip link add name a type veth peer name b
			host# ip link set dev a up
			host# sysctl -w net.ipv4.conf.a.promote_secondaries=`+promote+`
			host# ip addr add 10.0.0.1/24 dev a
			host# ip addr add 10.0.0.2/24 dev a
			host# ip addr add 10.0.0.3/24 dev a
			host# ip addr del 10.0.0.1/24 dev a`)
		var got []string
		for _, a := range find(t, l, "host", "a").Addrs {
			got = append(got, a.Prefix.String())
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("promote_secondaries=%s leaves %q, not %q", promote, g, want)
		}
		src := ""
		for _, r := range l.Node("host").State().Routes {
			src += r.Src
		}
		if wantSrc := map[string]string{"0": "", "1": "10.0.0.2"}[promote]; src != wantSrc {
			t.Errorf("promote_secondaries=%s: the network is reached as %q, not %q", promote, src, wantSrc)
		}
	}
}

func TestNetnsDies(t *testing.T) {
	l := newLab(t, "host", `
		host# ip netns add ns1
		host# ip link add name a type veth peer name b netns ns1
		host# ip netns del ns1`)
	if l.Node("ns1") != nil || l.Node("host").link("a") != nil {
		t.Error("a namespace that nothing uses dies, and its veth's other end with it")
	}
	l = newLab(t, "host", `
		host# ip netns add ns1
		host# ip link add name a type veth peer name b netns ns1
`)
	if res, err := l.Apply(t.Context(), "ns1", op.HTTPServe{Port: 80}); err != nil || res.Status != 0 {
		t.Fatal(res, err)
	}
	l.try(t, "host# ip netns del ns1")
	if n := l.Node("ns1"); n == nil || n.State().Mounted || l.Node("host").link("a") == nil {
		t.Error("a process keeps its namespace alive, and the namespace its links")
	}
	l.Node("ns1").procs[0].Exit()
	if l.Node("ns1") != nil || l.Node("host").link("a") != nil {
		t.Error("with its last process a nameless namespace dies")
	}
}

func TestPolicies(t *testing.T) {
	l := newLab(t, "host", `
		host# ip link add name a type veth peer name b
		host# ip link set dev a up
		host# ip addr add 10.0.0.1/24 dev a
		host# ip route add default via 10.0.0.7
		host# ip route add default via 10.0.0.8 table 100`)
	n := l.Node("host")
	via := func(mark uint32) string {
		r, errno := n.routeOutput(ipAt("9.9.9.9"), 0, nil, mark, 0)
		return fmt.Sprint(r.gateway, " ", errno)
	}
	if f := n.PolicyChange(PolicyRequest{Policy: state.Policy{Mark: 7, Table: 100}, HasMark: true}); f != nil {
		t.Fatal(f)
	}
	if p := n.fib.policies[1]; p.priority != 32765 {
		t.Errorf("the first rule of one's own has priority %d, not 32765", p.priority)
	}
	if a, b := via(7), via(0); a != "10.0.0.8 0" || b != "10.0.0.7 0" {
		t.Errorf("marked by way of %s, others of %s", a, b)
	}
	if f := n.PolicyChange(PolicyRequest{Policy: state.Policy{Priority: 32765, Mark: 7, Table: 100}, HasMark: true, HasPriority: true}); f == nil || f.Errno != eexist {
		t.Errorf("the same rule again: %v", f)
	}
	if f := n.PolicyChange(PolicyRequest{Policy: state.Policy{Mark: 7}, Delete: true}); f != nil {
		t.Error(f)
	}
	if f := n.PolicyChange(PolicyRequest{Policy: state.Policy{Mark: 7}, Delete: true}); f == nil || f.Errno != enoent {
		t.Errorf("deleted twice: %v", f)
	}
	if a := via(7); a != "10.0.0.7 0" {
		t.Errorf("without the rule by way of %s", a)
	}
}

// TestMany: what nobody would do by hand stays quick.
func TestMany(t *testing.T) {
	l := newLab(t, "host", `
		host# ip link add br0 type bridge
		host# ip link set br0 up
		host# ip addr add 10.0.0.1/8 dev br0`)
	n := l.Node("host")
	for i := range 10_000 {
		dst := IP(192<<24 | 168<<16 | i<<2)
		if f := n.RouteChange(RouteRequest{Mode: Add, Type: "unicast", Proto: "static", Dst: (&fibRow{dst: dst, bits: 30}).prefix(), Via: ipAt("10.0.0.9").Addr()}); f != nil {
			t.Fatal(f)
		}
	}
	for i := range 1000 {
		if f := n.NetnsAdd(fmt.Sprint("ns", i)); f != nil {
			t.Fatal(f)
		}
		if f := n.LinkAdd(op.LinkAdd{Name: fmt.Sprint("v", i), Kind: "veth", Peer: "eth0", PeerNetns: fmt.Sprint("ns", i)}); f != nil {
			t.Fatal(f)
		}
		if f := n.LinkSet(op.LinkSet{Name: fmt.Sprint("v", i), Master: "br0"}); f != nil {
			t.Fatal(f)
		}
	}
	s := l.snapshot()
	if len(s.Nodes) != 1001 || len(s.Nodes[0].Routes) != 10_001 || len(s.Nodes[0].Links) != 1002 {
		t.Errorf("%d nodes, %d routes, %d links", len(s.Nodes), len(s.Nodes[0].Routes), len(s.Nodes[0].Links))
	}
}

func ipAt(s string) (ip IP) {
	p, _ := parsePrefix(s)
	return ipOf(p.Addr())
}
