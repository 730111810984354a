//go:build linux

package main

import (
	"strings"
	"testing"

	"vethlab/exec"
	"vethlab/lessons"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// The lesson's state is built twice: by operations through netlink and
// go-iptables, and by the machine's own ip, brctl, iptables and sysctl. After
// each step both labs hold the same.
func TestTwoWays(t *testing.T) {
	lesson, err := lessons.Load("bridge-by-hand")
	if err != nil {
		t.Fatal(err)
	}
	var labs [2]*exec.Lab
	for i := range labs {
		if labs[i], err = exec.Open(t.Context(), lesson.Start); err != nil {
			t.Fatal(err)
		}
		defer labs[i].Close()
	}
	sh := lessons.NewShell(labs[0])
	real := 0
	for _, step := range lesson.Steps {
		for _, line := range step.Commands {
			out, err := sh.Run(t.Context(), line.Node, line.Text, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Ops) == 0 || op.Probe(out.Ops[0].Op) {
				continue // it only looks, or sends
			}
			o := op.Op(op.Tool{Argv: []string{"bash", "-c", line.Text}})
			switch out.Ops[0].Op.(type) {
			case op.HTTPServe, op.DNSServe, op.ProcKill: // the built-in servers' business
				o = out.Ops[0].Op
			default:
				real++
			}
			res, err := labs[1].Apply(t.Context(), line.Node, o)
			if err != nil {
				t.Fatal(err)
			}
			if res.Status != out.Status {
				t.Errorf("%s# %s: exit status %d by tools (%s), %d by operations (%s)", line.Node, line.Text,
					res.Status, strings.TrimSpace(res.Stderr), out.Status, strings.TrimSpace(out.Stderr))
			}
		}
		var snaps [2]*state.Snapshot
		for i, lab := range labs {
			if snaps[i], err = lab.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range state.Diff(snaps[0].Canonical(), snaps[1].Canonical()) {
			t.Errorf("after step %s, by operations and by tools: %s", step.ID, d)
		}
	}
	if real < 15 {
		t.Errorf("only %d commands were run by the machine's tools", real)
	}
}
