package tools

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// newBareLab is a lab with one machine, host, that has nothing but lo.
func newBareLab(t testing.TB) *Lab {
	t.Helper()
	lab, err := Open(context.Background(), op.World{Nodes: []op.NodeSpec{{Name: "host", Kind: state.Machine}}})
	if err != nil {
		t.Fatal(err)
	}
	return lab
}

func runTool(t testing.TB, lab *Lab, stdin string, argv ...string) op.Result {
	t.Helper()
	res, err := lab.Apply(context.Background(), "host", op.Tool{Argv: argv, Stdin: stdin})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// Ten thousand rules go in one by one and at once, and come out again.
func TestManyRules(t *testing.T) {
	const n = 10000
	lab := newBareLab(t)
	ctx := context.Background()
	began := time.Now()
	for i := range n {
		res, err := lab.Apply(ctx, "host", op.RuleAppend{Table: "filter", Chain: "FORWARD",
			Spec: []string{"-s", fmt.Sprintf("10.%d.%d.0/24", i/256, i%256), "-p", "tcp", "--dport", "80", "-j", "ACCEPT"}})
		if err != nil || res.Status != 0 {
			t.Fatalf("rule %d: %v %v", i, res, err)
		}
	}
	t.Logf("%d rules one by one: %v", n, time.Since(began))
	began = time.Now()
	saved := runTool(t, lab, "", "iptables-save").Output
	if got := strings.Count(saved, "\n-A FORWARD "); got != n {
		t.Fatalf("%d rules are saved", got)
	}
	for _, table := range []string{saved, strings.ReplaceAll(saved, "FORWARD", "INPUT")} {
		if res := runTool(t, lab, table, "iptables-restore"); res.Status != 0 {
			t.Fatal(res)
		}
	}
	if got := strings.Count(runTool(t, lab, "", "iptables", "-nL", "INPUT").Output, "\n"); got != n+2 {
		t.Fatalf("%d lines are listed", got)
	}
	t.Logf("saved, restored twice and listed: %v", time.Since(began))
	if res := runTool(t, lab, "", "iptables", "-D", "INPUT", "10000"); res.Status != 0 {
		t.Fatal(res)
	}
}

// Nothing of a table is changed when one of its lines is refused, and nothing at
// all when one is not simulated.
func TestRestoreAllOrNothing(t *testing.T) {
	lab := newBareLab(t)
	runTool(t, lab, "", "iptables", "-A", "INPUT", "-j", "ACCEPT")
	before := runTool(t, lab, "", "iptables", "-S").Output
	for text, status := range map[string]int{
		"*filter\n-A INPUT -j DROP\n-A INPUT -j NOPE\nCOMMIT\n":       2,
		"*filter\n-A INPUT -j DROP\n-A INPUT -j MASQUERADE\nCOMMIT\n": 4,
		"*filter\n-A INPUT -j DROP\n":                                 1,
		"*filter\n-A INPUT -j DROP\nCOMMIT\n*nat\n-A OUTPUT -m hashlimit --hashlimit-upto 1/s --hashlimit-name x\nCOMMIT\n": 95,
	} {
		if res := runTool(t, lab, text, "iptables-restore"); res.Status != status {
			t.Errorf("%q: status %d, want %d: %s", text, res.Status, status, res.Stderr)
		}
		if after := runTool(t, lab, "", "iptables", "-S").Output; after != before {
			t.Errorf("%q left\n%s", text, after)
		}
	}
}

// A chain keeps its jumps under a new name, and a rule refused leaves nothing.
func TestRenameKeepsJumps(t *testing.T) {
	lab := newBareLab(t)
	for _, s := range []string{"-N A", "-A INPUT -j A", "-E A B"} {
		if res := runTool(t, lab, "", append([]string{"iptables"}, strings.Fields(s)...)...); res.Status != 0 {
			t.Fatal(res)
		}
	}
	if got := runTool(t, lab, "", "iptables", "-S", "INPUT").Output; got != "-P INPUT ACCEPT\n-A INPUT -j B\n" {
		t.Error(got)
	}
	if res := runTool(t, lab, "", "iptables", "-A", "B", "-j", "B"); res.Status != 4 || !strings.Contains(res.Stderr, "Too many links") {
		t.Error(res)
	}
}
