package exec

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Rules that are changed one soon after the other are as those that each had an
// iptables to itself: the same tables, results and words of refusal.
func TestRestorer(t *testing.T) {
	t.Parallel() // it sleeps for most of its time
	words := strings.Fields
	ops := []op.Op{
		op.ChainNew{Table: "nat", Chain: "DOCKER"},
		op.RuleAppend{Table: "nat", Chain: "DOCKER", Spec: words("-p tcp -d 0/0 --dport 8001 -j DNAT --to-destination 172.17.0.2:80")},
		op.RuleAppend{Chain: "FORWARD", Spec: words("! -i docker0 -o docker0 -p tcp -d 172.17.0.2 --dport 80 -j ACCEPT")},
		op.RuleInsert{Chain: "FORWARD", Pos: 1, Spec: words("-o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")},
		op.RuleInsert{Chain: "FORWARD", Pos: 7, Spec: words("-j ACCEPT")}, // too far
		op.ChainNew{Table: "nat", Chain: "DOCKER"},                        // there already
		op.RuleAppend{Chain: "INPUT", Spec: []string{"-m", "comment", "--comment", "of several words", "-j", "ACCEPT"}},
		op.RuleAppend{Chain: "INPUT", Spec: words("-p icmp -j DROP")},
		op.RuleDelete{Chain: "INPUT", Spec: words("-p udp -j DROP")}, // no such rule
		op.RuleDelete{Chain: "INPUT", Spec: words("-p icmp -j DROP")},
		op.RuleDeleteAt{Chain: "FORWARD", Pos: 1},
		op.RuleAppend{Chain: "OUTPUT", Spec: words("-j NOWHERE")},
		op.RuleAppend{Chain: "NOWHERE", Spec: words("-j ACCEPT")},
		op.PolicySet{Chain: "FORWARD", Policy: "DROP"},
		op.PolicySet{Chain: "FORWARD", Policy: "DROP"},
		op.PolicySet{Chain: "FORWARD", Policy: "PERHAPS"},
		op.ChainDel{Table: "nat", Chain: "DOCKER"}, // it has a rule
		op.RuleAppend{Table: "mangle", Chain: "PREROUTING", Spec: words("-s 10.0.0.0/8 -j MARK --set-mark 1")},
		op.ChainNew{Chain: "last"},
		op.ChainDel{Chain: "last"},
		op.RuleAppend{Chain: "OUTPUT", Spec: words("-p tcp --dport 80x -j ACCEPT")},
		op.RuleInsert{Table: "nat", Chain: "POSTROUTING", Pos: 1, Spec: words("-p tcp -m conntrack --ctreplsrc 10.0.1.1 -j MASQUERADE")},
		op.RuleDelete{Table: "nat", Chain: "POSTROUTING", Spec: words("-p tcp -m conntrack --ctreplsrc 10.0.1.1 -j MASQUERADE")}, // the chain's last
	}
	quick, slow := open(t), open(t)
	var wants []op.Result
	for _, o := range ops {
		wants = append(wants, slow.try("a", o))
		time.Sleep(soon + 10*time.Millisecond)
	}
	for i, o := range ops {
		want := wants[i]
		if got := quick.try("a", o); got.Status != want.Status || got.Stderr != want.Stderr || got.Output != want.Output {
			t.Errorf("%s: status %d, %q; by iptables %d, %q", o, got.Status, got.Stderr, want.Status, want.Stderr)
		}
	}
	tables := func(b bench) []state.Table {
		s, err := b.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Node("a").Tables
	}
	if got, want := full(tables(quick)), full(tables(slow)); got != want {
		t.Errorf("the rules are\n%s\nby iptables\n%s", got, want)
	}
}

// What a rule held on to is gone before the next packet, as with iptables: here
// the tracking of connections.
func TestRestorerWaits(t *testing.T) {
	b := open(t)
	spec := strings.Fields("-m conntrack --ctstate NEW -j ACCEPT")
	for i := range 5 {
		b.do("a", op.RuleInsert{Chain: "OUTPUT", Pos: 1, Spec: spec})
		b.do("a", op.RuleDelete{Chain: "OUTPUT", Spec: spec})
		b.do("a", ping("10.0.0.2"))
		s, err := b.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if conns := s.Node("a").Conns; len(conns) > 0 {
			t.Fatalf("round %d: connections are tracked yet: %+v", i+1, conns)
		}
	}
}

// full renders tables with what iptables-save does not tell.
func full(ts []state.Table) string {
	text := render(ts)
	for _, tab := range ts {
		for _, c := range tab.Chains {
			text += fmt.Sprintln(tab.Name, c.Name, c.Absent, c.Counts)
		}
	}
	return text
}

// BenchmarkRules compares a dozen changes of rules, as a docker network create
// has them, with a shell script of iptables.
func BenchmarkRules(b *testing.B) {
	l, err := Open(b.Context(), op.World{Name: "a", Nodes: []op.NodeSpec{{Name: "a", Kind: state.Machine}}})
	if err != nil {
		b.Skipf("no lab can be made here: %v", err)
	}
	defer l.Close()
	const times = 6
	spec := strings.Fields("-i br0 ! -o br0 -j ACCEPT")
	script := op.Tool{Argv: []string{"sh", "-c", "for i in 1 2 3 4 5 6; do iptables -I FORWARD 1 -i br0 ! -o br0 -j ACCEPT; iptables -D FORWARD -i br0 ! -o br0 -j ACCEPT; done"}}
	for b.Loop() {
		theirs := spent(func() error { _, err := l.Apply(b.Context(), "a", script); return err }, b)
		ours := spent(func() error {
			for range times {
				for _, o := range []op.Op{op.RuleInsert{Chain: "FORWARD", Pos: 1, Spec: spec}, op.RuleDelete{Chain: "FORWARD", Spec: spec}} {
					if r, err := l.Apply(b.Context(), "a", o); err != nil || r.Status != 0 {
						return fmt.Errorf("%+v, %v", r, err)
					}
				}
			}
			return nil
		}, b)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(ours/times/2, "ms/change")
		b.ReportMetric(theirs/times/2, "ms/script's")
		b.ReportMetric(theirs/ours, "script/lab")
		b.Logf("rules: put in and taken out again, one after another, %.2f ms for each; by a shell script of iptables %.2f ms (ratio %.1f)", ours/times/2, theirs/times/2, theirs/ours)
	}
}

// Whoever stops iptables-restore stops no change of rules, and none is made twice.
func TestStoppedRestore(t *testing.T) {
	b := open(t)
	b.do("a", op.Spawn{Argv: []string{"sh", "-c", "while :; do pkill -STOP iptables-resto; done"}})
	for i := range 5 {
		b.do("a", op.RuleAppend{Chain: "INPUT", Spec: []string{"-p", "tcp", "--dport", strconv.Itoa(80 + i), "-j", "ACCEPT"}})
	}
	b.do("a", op.RuleDeleteAt{Chain: "INPUT", Pos: 1})
	b.do("a", op.RuleDeleteAt{Chain: "INPUT", Pos: 1})
	s, err := b.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range s.Node("a").Tables {
		for _, c := range table.Chains {
			if table.Name == "filter" && c.Name == "INPUT" && len(c.Rules) != 3 {
				t.Errorf("%d rules, not 3: %+v", len(c.Rules), c.Rules)
			}
		}
	}
	b.do("a", op.Ping{Dst: netip.MustParseAddr("127.0.0.1"), Count: 1})
}
