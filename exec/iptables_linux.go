package exec

import (
	"bytes"
	"errors"
	"fmt"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	gipt "github.com/coreos/go-iptables/iptables" // runs iptables and reads its errors; Apache-2.0
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// iptables makes rules with the machine's own iptables: what a learner lists
// with `iptables -S` must have been made by it (see nftables' "incompatible,
// use nft tool").
type iptables struct {
	once   sync.Once
	ipt    *gipt.IPTables
	err    error
	formed sync.Once
	form   string // see variant
}

// find looks for the machine's iptables; it fails when there is none.
func (t *iptables) find() (*gipt.IPTables, error) {
	t.once.Do(func() {
		children.RLock()
		defer children.RUnlock()
		t.ipt, t.err = gipt.New(gipt.Timeout(5))
	})
	return t.ipt, t.err
}

// variant is the form of the machine's iptables, "nf_tables" or "legacy"; empty
// where there is none.
func (t *iptables) variant() string {
	t.formed.Do(func() {
		path, err := osexec.LookPath("iptables")
		if err != nil {
			return
		}
		t.form = "legacy" // before 1.8 there was no other, and it did not say so
		program, err := filepath.EvalSymlinks(path)
		if err == nil && filepath.Base(program) == "xtables-nft-multi" {
			t.form = "nf_tables"
			return
		}
		if err == nil && filepath.Base(program) == "xtables-legacy-multi" {
			return
		}
		children.RLock()
		defer children.RUnlock()
		if out, err := osexec.Command(path, "--version").Output(); err == nil && bytes.Contains(out, []byte("nf_tables")) {
			t.form = "nf_tables"
		}
	})
	return t.form
}

// apply changes a node's rules.
func (t *iptables) apply(n *node, o op.Op) (op.Result, error) {
	ipt, err := t.find()
	if err != nil && !errors.Is(err, osexec.ErrNotFound) {
		return op.Result{}, fmt.Errorf("find iptables: %w", err)
	}
	if err != nil {
		return failed(&op.Failure{What: op.NoTool, Name: "iptables"}), nil
	}
	children.RLock() // go-iptables starts iptables; see reap
	defer children.RUnlock()
	err = n.enter(func() error {
		switch o := o.(type) {
		case op.RuleAppend:
			return ipt.Append(tableName(o.Table), o.Chain, o.Spec...)
		case op.RuleInsert:
			return ipt.Insert(tableName(o.Table), o.Chain, o.Pos, o.Spec...)
		case op.RuleDelete:
			return ipt.Delete(tableName(o.Table), o.Chain, o.Spec...)
		case op.RuleDeleteAt:
			return ipt.DeleteById(tableName(o.Table), o.Chain, o.Pos)
		case op.ChainNew:
			return ipt.NewChain(tableName(o.Table), o.Chain)
		case op.ChainDel:
			return ipt.DeleteChain(tableName(o.Table), o.Chain)
		case op.PolicySet:
			return ipt.ChangePolicy(tableName(o.Table), o.Chain, o.Policy)
		}
		return fmt.Errorf("not a rule: %T", o)
	})
	var said *gipt.Error
	if errors.As(err, &said) {
		// go-iptables puts its command line before what iptables said.
		_, msg, _ := strings.Cut(said.Error(), fmt.Sprintf("exit status %d: ", said.ExitStatus()))
		return op.Result{Status: said.ExitStatus(), Stderr: msg}, nil
	}
	return op.Result{}, err
}

func tableName(name string) string {
	if name == "" {
		return "filter"
	}
	return name
}

// rulesChanged notes that the node's rules or their counters may have changed.
func (n *node) rulesChanged() {
	n.mu.Lock()
	n.tablesOK, n.dirty = false, true
	n.mu.Unlock()
}

// tables returns the node's rules as they are now, without fresh counters.
func (in *inside) tables(n *node) []state.Table {
	n.mu.Lock()
	ok, t := n.tablesOK, n.tables
	n.mu.Unlock()
	if ok {
		return t
	}
	return in.readTables(n)
}

// readTables reads the node's rules and counters with iptables-save, where the
// rules changed since the last time.
func (in *inside) readTables(n *node) []state.Table {
	variant := in.iptables.variant()
	if variant == "" || n.packet == nil {
		return nil
	}
	n.mu.Lock()
	n.tablesOK = true // a change that comes from here on is a change again
	n.mu.Unlock()
	save := func() ([]state.Table, error) {
		var out bytes.Buffer
		err := n.enter(func() error {
			cmd := osexec.Command("iptables-save", "-c")
			cmd.Stdout = &out
			children.RLock()
			defer children.RUnlock()
			return cmd.Run()
		})
		return parseSave(out.String()), err
	}
	var tables []state.Table
	var err error
	if variant == "nf_tables" {
		tables, err = n.rules.read(int(n.ns.Fd()), save)
	} else {
		tables, err = save()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.tablesOK = false
		return n.tables
	}
	n.tables = tables
	return n.tables
}

// parseSave reads what `iptables-save -c` prints (iptables-save(8)).
func parseSave(text string) []state.Table {
	var tables []state.Table
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			tables = append(tables, state.Table{Name: line[1:]})
		case strings.HasPrefix(line, ":") && len(tables) > 0:
			// :FORWARD DROP [12:1008]
			f := strings.Fields(line[1:])
			if len(f) != 3 {
				continue
			}
			c := state.Chain{Name: f[0]}
			if f[1] != "-" {
				c.Policy = f[1]
			}
			c.Packets, c.Bytes = counters(f[2])
			t := &tables[len(tables)-1]
			t.Chains = append(t.Chains, c)
		case strings.HasPrefix(line, "[") && len(tables) > 0:
			// [1:84] -A POSTROUTING -s 172.18.0.0/16 ! -o br-demo -j MASQUERADE
			count, rest, _ := strings.Cut(line, " ")
			rest, ok := strings.CutPrefix(rest, "-A ")
			chain, spec, _ := strings.Cut(rest, " ")
			if c := tables[len(tables)-1].Chain(chain); ok && c != nil {
				r := state.Rule{Spec: spec}
				r.Packets, r.Bytes = counters(count)
				c.Rules = append(c.Rules, r)
			}
		}
	}
	return tables
}

func counters(s string) (packets, bytes uint64) {
	p, b, _ := strings.Cut(strings.Trim(s, "[]"), ":")
	packets, _ = strconv.ParseUint(p, 10, 64)
	bytes, _ = strconv.ParseUint(b, 10, 64)
	return packets, bytes
}
