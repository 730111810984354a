package exec

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// What a snapshot says of the rules is what iptables-save says, however it was
// read: after changes of every kind, and with counters that rose meanwhile.
func TestRuleset(t *testing.T) {
	b := open(t)
	look := func(what string) {
		t.Helper()
		s, err := b.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := parseSave(b.do("a", sh("iptables-save -c")).Output)
		got := s.Node("a").Tables
		for _, ts := range [][]state.Table{got, want} {
			for i := range ts {
				for j := range ts[i].Chains {
					ts[i].Chains[j].Absent, ts[i].Chains[j].Counts = false, false
				}
			}
		}
		if g, w := render(got), render(want); g != w {
			t.Errorf("%s: a snapshot has\n%s\niptables-save says\n%s", what, g, w)
		}
	}
	look("nothing")
	for _, line := range []string{
		"iptables -A INPUT -p icmp", "ping -c2 -i.2 -W1 10.0.0.2", "iptables -P FORWARD DROP", "iptables -N mine", "iptables -A mine -j RETURN",
		"iptables -I OUTPUT -j mine", "ping -c1 -W1 10.0.0.2", "iptables -t nat -A POSTROUTING -j MASQUERADE", "ping -c1 -W1 10.0.0.2",
		"iptables -Z", "iptables -D OUTPUT 1", "iptables -F", "ping -c1 -W1 10.0.0.2", "iptables -X mine", "iptables -t nat -F", "iptables -A INPUT -p icmp -c 7 700",
	} {
		b.do("a", sh(line))
		look(line)
	}
	b.do("a", op.RuleAppend{Chain: "OUTPUT", Spec: []string{"-j", "ACCEPT"}})
	look("an operation")
}

func render(ts []state.Table) string {
	var text strings.Builder
	for _, tab := range ts {
		for _, c := range tab.Chains {
			text.WriteString(strings.Join([]string{tab.Name, c.Name, c.Policy, count(c.Packets), count(c.Bytes)}, " ") + "\n")
			for _, r := range c.Rules {
				text.WriteString("  " + r.Spec + " " + count(r.Packets) + " " + count(r.Bytes) + "\n")
			}
		}
	}
	return text.String()
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

// spent is how many milliseconds fn takes.
func spent(fn func() error, b *testing.B) float64 {
	began := time.Now()
	if err := fn(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began).Seconds() * 1000
}

// BenchmarkTool compares a tool in a node with the same in a shell script: ip
// netns exec, which prepares the same view of a namespace.
func BenchmarkTool(b *testing.B) {
	l, err := Open(b.Context(), op.World{Name: "a", Nodes: []op.NodeSpec{{Name: "a", Kind: state.Machine}}})
	if err != nil {
		b.Skipf("no lab can be made here: %v", err)
	}
	defer l.Close()
	const times = 100
	script := op.Tool{Argv: []string{"sh", "-c", "ip netns add c; i=0; while [ $i -lt 100 ]; do ip netns exec c cat /etc/hosts; i=$((i+1)); done"}}
	tool := op.Tool{Argv: []string{"cat", "-", "/etc/hosts"}}
	for b.Loop() {
		ours := spent(func() error {
			for range times {
				if _, err := l.Apply(b.Context(), "a", tool); err != nil {
					return err
				}
			}
			return nil
		}, b)
		theirs := spent(func() error { _, err := l.Apply(b.Context(), "a", script); return err }, b)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(ours/times, "ms/tool")
		b.ReportMetric(theirs/times, "ms/script's")
		b.ReportMetric(theirs/ours, "script/lab")
		b.Logf("a tool: cat in a node %.2f ms, with all that comes with it; from a shell script, by ip netns exec, %.2f ms (ratio %.1f)", ours/times, theirs/times, theirs/ours)
		if _, err := l.Apply(b.Context(), "a", op.NetnsDel{Name: "c"}); err != nil {
			b.Fatal(err)
		}
	}
}
