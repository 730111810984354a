package exec

import (
	"bytes"
	"errors"
	"fmt"
	osexec "os/exec"
	"strconv"
	"strings"
	"sync"

	gipt "github.com/coreos/go-iptables/iptables" // runs iptables and reads its errors; Apache-2.0
	"github.com/mdlayher/netlink"                 // messages and attributes; MIT
	"golang.org/x/sys/unix"

	"vethlab/exec/capture"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// iptables makes rules with the machine's own iptables: what a learner lists
// with `iptables -S` must have been made by it (see nftables' "incompatible,
// use nft tool").
type iptables struct {
	once    sync.Once
	ipt     *gipt.IPTables
	err     error
	variant string // nf_tables or legacy
}

// find looks for the machine's iptables; it fails when there is none.
func (t *iptables) find() (*gipt.IPTables, error) {
	t.once.Do(func() {
		children.RLock()
		defer children.RUnlock()
		if t.ipt, t.err = gipt.New(gipt.Timeout(5)); t.err != nil {
			return
		}
		out, err := osexec.Command("iptables", "--version").Output()
		if t.err = err; err != nil {
			return
		}
		t.variant = "legacy" // before 1.8 there was no other, and it did not say so
		if bytes.Contains(out, []byte("nf_tables")) {
			t.variant = "nf_tables"
		}
	})
	return t.ipt, t.err
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
			return ipt.Append(table(o.Table), o.Chain, o.Spec...)
		case op.RuleInsert:
			return ipt.Insert(table(o.Table), o.Chain, o.Pos, o.Spec...)
		case op.RuleDelete:
			return ipt.Delete(table(o.Table), o.Chain, o.Spec...)
		case op.RuleDeleteAt:
			return ipt.DeleteById(table(o.Table), o.Chain, o.Pos)
		case op.ChainNew:
			return ipt.NewChain(table(o.Table), o.Chain)
		case op.ChainDel:
			return ipt.DeleteChain(table(o.Table), o.Chain)
		case op.PolicySet:
			return ipt.ChangePolicy(table(o.Table), o.Chain, o.Policy)
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

func table(name string) string {
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

// readTables reads the node's rules and counters with iptables-save.
func (in *inside) readTables(n *node) []state.Table {
	if _, err := in.iptables.find(); err != nil || n.packet == nil {
		return nil
	}
	var out bytes.Buffer
	n.mu.Lock()
	n.tablesOK = true // a change that comes from here on is a change again
	n.mu.Unlock()
	var chains map[[2]string]bool
	if in.iptables.variant == "nf_tables" {
		var tables int
		var err error
		if tables, chains, err = readChains(int(n.ns.Fd())); err == nil && tables == 0 {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.tables = nil
			return nil // nobody used iptables here: iptables-save would say nothing
		}
	}
	err := n.enter(func() error {
		cmd := osexec.Command("iptables-save", "-c")
		cmd.Stdout = &out
		children.RLock()
		defer children.RUnlock()
		return cmd.Run()
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.tablesOK = false
		return n.tables
	}
	n.tables = parseSave(out.String())
	if chains != nil {
		for _, t := range n.tables {
			for i := range t.Chains {
				ch := &t.Chains[i]
				some, there := chains[[2]string{t.Name, ch.Name}]
				ch.Absent, ch.Counts = !there, some
			}
		}
	}
	return n.tables
}

// readChains tells what iptables-save does not: which chains the kernel has, by
// table and name (iptables-nft makes a built-in one when a command needs it),
// and which of them have counters; and how many tables there are, with chains or
// without. The capture's own are left out.
func readChains(nsfd int) (tables int, counts map[[2]string]bool, err error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: nsfd})
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	counts = map[[2]string]bool{}
	err = dumpTables(c, unix.NFT_MSG_GETTABLE, func(d *netlink.AttributeDecoder) {
		for d.Next() {
			if d.Type() == unix.NFTA_TABLE_NAME && d.String() != capture.TableName {
				tables++
			}
		}
	})
	if err != nil || tables == 0 {
		return tables, counts, err
	}
	err = dumpTables(c, unix.NFT_MSG_GETCHAIN, func(d *netlink.AttributeDecoder) {
		var key [2]string
		some := false
		for d.Next() {
			switch d.Type() {
			case unix.NFTA_CHAIN_TABLE:
				key[0] = d.String()
			case unix.NFTA_CHAIN_NAME:
				key[1] = d.String()
			case unix.NFTA_CHAIN_COUNTERS:
				some = true
			}
		}
		if key[0] != capture.TableName {
			counts[key] = some
		}
	})
	return tables, counts, err
}

// dumpTables calls fn with the attributes of each thing that an nftables dump
// lists for IPv4.
func dumpTables(c *netlink.Conn, what netlink.HeaderType, fn func(*netlink.AttributeDecoder)) error {
	msgs, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | what, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.NFPROTO_IPV4, 0, 0, 0},
	})
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if len(m.Data) < 4 {
			continue
		}
		if d, err := netlink.NewAttributeDecoder(m.Data[4:]); err == nil {
			fn(d)
		}
	}
	return nil
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
