package sim

import (
	"slices"
	"strconv"
	"strings"

	"vethlab/sim/op"
	"vethlab/sim/rule"
)

// Changing the rules, as iptables-nft and nf_tables do it together. Commands go
// through two stages. First iptables looks at the tables as it read them and may
// refuse ("No chain/target/match by that name."); then it sends one transaction,
// of which the kernel refuses single messages ("RULE_APPEND failed (Invalid
// argument)"). If anything was refused nothing has changed.
//
// A table and its built-in chains come into being when a command first names
// them (nft_xt_builtin_init, iptables/nft.c).

// Iptables carries out commands as one transaction. line is the line of the
// COMMIT that iptables-restore read, 0 for a command line. out is what was printed.
func (n *Netns) Iptables(line int, commands ...*rule.Command) (out string, err *rule.Error) {
	t := &ruleTx{n: n, line: line}
	for id := range tableIDs {
		t.there[id] = n.nf.tables[id] != nil
	}
	defer func() {
		if len(t.undo) > 0 && err != nil {
			for _, undo := range slices.Backward(t.undo) {
				undo()
			}
		}
	}()
	for _, c := range commands {
		if err := t.do(c); err != nil {
			return t.out.String(), err
		}
	}
	if len(t.refused) > 0 {
		if t.refused[0].Line == 0 {
			t.refused = t.refused[:1]
		}
		var all []rule.Refusal
		for _, r := range t.refused {
			all = append(all, r.Refusal)
		}
		return t.out.String(), rule.Batch(commands[0].Prog, all...)
	}
	if len(t.undo) > 0 {
		n.ctKeep(t.users)
		n.rehook()
	}
	return t.out.String(), nil
}

// RuleTable is a table as iptables lists it.
func (n *Netns) RuleTable(name string) *rule.Table {
	l := &rule.Table{Name: name}
	id, ok := tableByName(name)
	var t *table
	if ok {
		t = n.nf.tables[id]
	}
	refs := map[*chain]int{}
	if t != nil {
		for _, c := range t.chains {
			for _, r := range c.rules {
				if r.jump != nil {
					refs[r.jump]++
				}
			}
		}
	}
	list := func(c *chain) rule.Chain {
		lc := rule.Chain{Name: c.name, Packets: c.packets, Bytes: c.bytes, References: refs[c]}
		if c.builtin {
			lc.Policy = c.policy()
		}
		for _, r := range c.rules {
			lc.Rules = append(lc.Rules, rule.Counted{Rule: r.Rule, Packets: r.packets, Bytes: r.bytes})
		}
		return lc
	}
	for _, h := range rule.Hooks(name) {
		if c := t.chain(h.String()); c != nil {
			l.Chains = append(l.Chains, list(c))
		} else {
			l.Chains = append(l.Chains, rule.Chain{Name: h.String(), Policy: "ACCEPT"})
		}
	}
	if t != nil {
		for _, c := range t.chains {
			if !c.builtin {
				l.Chains = append(l.Chains, list(c))
			}
		}
		l.Sort(len(rule.Hooks(name)))
	}
	return l
}

// RuleTables are the names of the tables that exist, in iptables-save's order.
func (n *Netns) RuleTables() (names []string) {
	for _, t := range rule.Tables {
		if id, ok := tableByName(t.Name); ok && n.nf.tables[id] != nil {
			names = append(names, t.Name)
		}
	}
	return names
}

func tableByName(name string) (tableID, bool) {
	for id := range tableIDs {
		if tableInfo[id].name == name {
			return id, true
		}
	}
	return 0, false
}

// ruleTx is a transaction.
type ruleTx struct {
	n       *Netns
	line    int
	undo    []func()
	refused []badMessage // by the kernel
	users   int          // of conntrack, more or fewer
	out     strings.Builder
	// forgotten are built-in chains that -X could not delete, and that iptables
	// therefore makes once more when it needs them: with policy ACCEPT.
	forgotten map[*chain]bool
	// there says which tables iptables found when it began, but for those it has
	// itself flushed since.
	there [tableIDs]bool
}

// badMessage is a message that the kernel does not take, about a rule of a chain.
type badMessage struct {
	rule.Refusal
	table tableID
	chain string
}

// What nft_strerror calls the ways to fail before the kernel is asked.
const (
	noSuch  = "No chain/target/match by that name"
	badRule = "Bad rule (does a matching rule exist in that chain?)"
)

// set changes a value until the transaction fails.
func set[T any](t *ruleTx, p *T, v T) {
	old := *p
	t.undo = append(t.undo, func() { *p = old })
	*p = v
}

func (t *ruleTx) do(c *rule.Command) *rule.Error {
	id, ok := tableByName(c.Table)
	if !ok {
		return &rule.Error{Text: "not simulated: iptables -t " + c.Table + "\n", Status: rule.NotSimulated}
	}
	if c.Verbose > 1 {
		return &rule.Error{Text: "not simulated: iptables -vv\n", Status: rule.NotSimulated}
	}
	switch c.Verb {
	case rule.Append, rule.Insert, rule.Replace, rule.Delete, rule.Check:
		for _, r := range c.Rules {
			if j, ok := r.Target.(*rule.Jump); ok && !t.chainKnown(id, j.Chain) {
				e := *c
				e.Line = t.line
				return e.NoChain(j.Chain)
			}
			if err := t.rule(c, id, r); err != nil {
				return err
			}
		}
		return nil
	case rule.List, rule.ListRules:
		out, ok := t.n.RuleTable(c.Table).Print(c)
		if !ok {
			return c.Incompatible()
		}
		t.out.WriteString(out)
		switch c.Then {
		case rule.Zero:
			return t.zero(c, id)
		case rule.ZeroNum:
			return t.zeroNum(c, id)
		}
		return nil
	case rule.DeleteNum:
		ch := t.chain(id, c.Chain)
		if ch == nil {
			return c.Refused(noSuch)
		}
		if c.Num > len(ch.rules) {
			return c.Refused("Index of deletion too big")
		}
		t.remove(ch, c.Num-1)
		return nil
	case rule.Flush:
		return t.flush(c, id)
	case rule.Zero:
		return t.zero(c, id)
	case rule.ZeroNum:
		return t.zeroNum(c, id)
	case rule.NewChain:
		tb := t.table(id)
		if t.chainKnown(id, c.Chain) {
			return c.Refused("Chain already exists")
		}
		t.newChain(tb, &chain{name: c.Chain})
		return nil
	case rule.DeleteChain:
		return t.deleteChain(c, id)
	case rule.SetPolicy:
		return t.setPolicy(c, id)
	case rule.Rename:
		return t.rename(c, id)
	case rule.ResetTable:
		if tb := t.n.nf.tables[id]; tb != nil {
			for _, ch := range tb.chains {
				for _, r := range ch.rules {
					t.use(r, -1)
				}
			}
			set(t, &t.n.nf.tables[id], nil)
		}
		t.there[id] = false
		return nil
	case rule.DeclareChain:
		if _, ok := rule.Builtin(c.Table, c.Chain); ok {
			return t.setPolicy(c, id)
		}
		tb := t.table(id)
		if ch := tb.chain(c.Chain); ch != nil {
			t.clear(ch)
		} else {
			t.newChain(tb, &chain{name: c.Chain})
		}
		return nil
	}
	return nil
}

// chainKnown reports whether a chain exists, or is built in: nft_chain_exists.
func (t *ruleTx) chainKnown(id tableID, name string) bool {
	_, builtin := rule.Builtin(tableInfo[id].name, name)
	return builtin || t.chain(id, name) != nil
}

// chain is a chain that exists, or nil.
func (t *ruleTx) chain(id tableID, name string) *chain { return t.n.nf.tables[id].chain(name) }

// table returns the table, made if need be.
func (t *ruleTx) table(id tableID) *table {
	tb := t.n.nf.tables[id]
	if tb == nil {
		tb = &table{id: id}
		set(t, &t.n.nf.tables[id], tb)
		if t.n.nf.legacy {
			for _, h := range rule.Hooks(tableInfo[id].name) {
				t.builtin(id, h.String())
			}
		}
	}
	return tb
}

// builtin returns a chain for a rule or a policy to go into, made if it is a
// built-in one: nft_xt_builtin_init.
func (t *ruleTx) builtin(id tableID, name string) *chain {
	tb := t.table(id)
	c := tb.chain(name)
	if t.forgotten[c] {
		delete(t.forgotten, c)
		set(t, &c.drop, false)
	}
	if h, ok := rule.Builtin(tableInfo[id].name, name); ok && c == nil {
		c = &chain{name: name, builtin: true, hook: hookPoint(h)}
		t.newChain(tb, c)
	}
	return c
}

func (t *ruleTx) newChain(tb *table, c *chain) {
	c.table = tb
	set(t, &tb.chains, append(slices.Clip(tb.chains), c))
}

// use takes note that a rule came (+1) or went (-1).
func (t *ruleTx) use(r *nfRule, d int) {
	if r.needsConntrack() {
		t.users += d
	}
}

// refuse notes that the kernel does not take a message.
func (t *ruleTx) refuse(c *rule.Command, message string, errno int, about string) {
	id, _ := tableByName(c.Table)
	t.refused = append(t.refused, badMessage{rule.Refusal{Line: c.Line, Message: message, Errno: ruleErrnos[errno], About: about}, id, c.Chain})
}

// ruleErrnos are the texts of what nf_tables answers with.
var ruleErrnos = map[int]string{2: "No such file or directory", 16: "Device or resource busy", 17: "File exists", 22: "Invalid argument",
	31: "Too many links", 95: "Operation not supported"}

// rule does what a command wants with one rule.
func (t *ruleTx) rule(c *rule.Command, id tableID, r *rule.Rule) *rule.Error {
	var ch *chain
	if c.Verb == rule.Append || c.Verb == rule.Insert {
		ch = t.builtin(id, c.Chain)
	} else {
		ch = t.chain(id, c.Chain)
	}
	find := func() int {
		if ch == nil {
			return -1
		}
		return slices.IndexFunc(ch.rules, func(o *nfRule) bool { return o.Equal(r) })
	}
	verbose := func() {
		if c.Verbose > 0 {
			t.out.WriteString(r.Verbose())
		}
	}
	switch c.Verb {
	case rule.Delete:
		i := find()
		if i < 0 {
			return c.Refused(badRule)
		}
		t.remove(ch, i)
		verbose()
		return nil
	case rule.Check:
		if find() < 0 {
			return c.Refused(badRule)
		}
		verbose()
		return nil
	}
	if c.Verb == rule.Append {
		verbose()
	}
	if ch == nil {
		return c.Refused(noSuch)
	}
	message, at := "RULE_APPEND", len(ch.rules)
	switch c.Verb {
	case rule.Insert:
		message = "RULE_INSERT"
		switch {
		case c.Num-1 > len(ch.rules):
			return c.Refused("Index of insertion too big")
		case c.Num > 1 && c.Num-1 == len(ch.rules):
			message = "RULE_APPEND" // one behind the last
		}
		at = c.Num - 1
	case rule.Replace:
		message, at = "RULE_REPLACE", c.Num-1
		if c.Num > len(ch.rules) {
			return c.Refused("Index of replacement too big")
		}
	}
	nr := newRule(ch, r)
	nr.packets, nr.bytes = c.Packets, c.Bytes
	if j, ok := r.Target.(*rule.Jump); ok {
		nr.jump = t.chain(id, j.Chain)
	}
	errno := r.Refusal(tableInfo[id].name, rule.Hook(ch.hook), ch.builtin)
	if j, ok := r.Target.(*rule.Jump); ok && errno == eopnotsupp && nr.jump == nil {
		if _, ok := rule.Builtin(tableInfo[id].name, j.Chain); ok {
			errno = enoent // a built-in chain that nobody has made
		}
	}
	if c.Verb != rule.Append {
		verbose()
	}
	if errno != 0 {
		t.refuse(c, message, errno, "rule in chain "+ch.name)
		return nil
	}
	if c.Verb == rule.Replace {
		t.use(ch.rules[at], -1)
		rules := slices.Clone(ch.rules)
		rules[at] = nr
		set(t, &ch.rules, rules)
	} else if at == len(ch.rules) {
		set(t, &ch.rules, append(ch.rules, nr))
	} else {
		set(t, &ch.rules, slices.Insert(slices.Clone(ch.rules), at, nr))
	}
	t.use(nr, 1)
	if nr.jump != nil || !ch.builtin && !reachableAnywhere(r) {
		errno = ch.table.validate()
	}
	if errno == 0 && len(t.refused) > 0 {
		errno = ch.table.validate() // a rule refused for what it leads to still stands in the transaction
	}
	if errno != 0 {
		t.refuse(c, message, errno, "rule in chain "+ch.name)
	}
	return nil
}

func reachableAnywhere(r *rule.Rule) bool {
	for h := rule.Prerouting; h <= rule.Postrouting; h++ {
		if !r.Reachable(h) {
			return false
		}
	}
	return true
}

// validate walks from each built-in chain through all it leads to, and returns
// an errno: every rule must be in its place, and no way may be longer than the
// stack (nft_chain_validate, net/netfilter/nf_tables_api.c). So a loop is found;
// but what no built-in chain leads to is not looked at.
func (t *table) validate() int {
	for _, base := range t.chains {
		if !base.builtin {
			continue
		}
		deepest := map[*chain]int{}
		var walk func(c *chain, level int) int
		walk = func(c *chain, level int) int {
			if level == maxJumps {
				return emlink
			}
			if d, ok := deepest[c]; ok && d >= level {
				return 0
			}
			deepest[c] = level
			for _, r := range c.rules {
				if !r.Reachable(rule.Hook(base.hook)) {
					return einval
				}
				if r.jump != nil {
					if errno := walk(r.jump, level+1); errno != 0 {
						return errno
					}
				}
			}
			return 0
		}
		if errno := walk(base, 0); errno != 0 {
			return errno
		}
	}
	return 0
}

const emlink = 31

func (t *ruleTx) remove(c *chain, i int) {
	t.use(c.rules[i], -1)
	set(t, &c.rules, slices.Delete(slices.Clone(c.rules), i, i+1))
}

func (t *ruleTx) clear(c *chain) {
	for _, r := range c.rules {
		t.use(r, -1)
	}
	if len(c.rules) > 0 {
		set(t, &c.rules, nil)
	}
}

// inOrder are the chains that exist as iptables goes through them: built-in ones
// by hook, then the users' in the order they were made, or by name.
func (t *ruleTx) inOrder(id tableID, byName bool) (all []*chain) {
	tb := t.n.nf.tables[id]
	if tb == nil {
		return nil
	}
	for _, h := range rule.Hooks(tableInfo[id].name) {
		if c := tb.chain(h.String()); c != nil {
			all = append(all, c)
		}
	}
	users := len(all)
	for _, c := range tb.chains {
		if !c.builtin {
			all = append(all, c)
		}
	}
	if byName {
		slices.SortFunc(all[users:], func(a, b *chain) int { return strings.Compare(a.name, b.name) })
	}
	return all
}

// iptables runs a command line of iptables for an operation.
func (n *Netns) iptables(table string, words ...string) op.Result {
	if table == "" {
		table = "filter"
	}
	c, err := rule.ParseCommand(append([]string{"iptables", "-t", table}, words...))
	if e, ok := err.(*rule.Error); ok {
		return op.Result{Stderr: e.Text, Status: e.Status}
	}
	out, e := n.Iptables(0, c)
	if e != nil {
		return op.Result{Output: out, Stderr: c.Notes + e.Text, Status: e.Status}
	}
	return op.Result{Output: out, Stderr: c.Notes}
}

// RuleAppend and the others below are the operations of the same names.
func (n *Netns) RuleAppend(o op.RuleAppend) op.Result {
	return n.iptables(o.Table, append([]string{"-A", o.Chain}, o.Spec...)...)
}

func (n *Netns) RuleInsert(o op.RuleInsert) op.Result {
	return n.iptables(o.Table, append([]string{"-I", o.Chain, strconv.Itoa(o.Pos)}, o.Spec...)...)
}

func (n *Netns) RuleDelete(o op.RuleDelete) op.Result {
	return n.iptables(o.Table, append([]string{"-D", o.Chain}, o.Spec...)...)
}

func (n *Netns) RuleDeleteAt(o op.RuleDeleteAt) op.Result {
	return n.iptables(o.Table, "-D", o.Chain, strconv.Itoa(o.Pos))
}

func (n *Netns) RuleCheck(o op.RuleCheck) op.Result {
	return n.iptables(o.Table, append([]string{"-C", o.Chain}, o.Spec...)...)
}

func (n *Netns) ChainNew(o op.ChainNew) op.Result { return n.iptables(o.Table, "-N", o.Chain) }

func (n *Netns) ChainDel(o op.ChainDel) op.Result {
	return n.iptables(o.Table, named("-X", o.Chain)...)
}

func (n *Netns) ChainFlush(o op.ChainFlush) op.Result {
	return n.iptables(o.Table, named("-F", o.Chain)...)
}

func (n *Netns) ChainZero(o op.ChainZero) op.Result {
	return n.iptables(o.Table, named("-Z", o.Chain)...)
}

func (n *Netns) PolicySet(o op.PolicySet) op.Result {
	return n.iptables(o.Table, "-P", o.Chain, o.Policy)
}

func named(verb, chain string) []string {
	if chain == "" {
		return []string{verb}
	}
	return []string{verb, chain}
}
