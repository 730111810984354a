package sim

import (
	"slices"
	"strings"

	"vethlab/sim/rule"
)

// Changing chains: emptying them, setting their counters to zero, deleting and
// renaming them, setting a policy (iptables/nft.c).

func (t *ruleTx) flush(c *rule.Command, id tableID) *rule.Error {
	if !c.Named && c.Verbose == 0 && !t.there[id] {
		return nil // nft_rule_flush
	}
	// Messages about rules of what is flushed are never sent (batch_chain_flush).
	t.refused = slices.DeleteFunc(t.refused, func(r badMessage) bool {
		return strings.HasPrefix(r.Message, "RULE_") && r.table == id && (!c.Named || r.chain == c.Chain)
	})
	if c.Named {
		ch := t.builtin(id, c.Chain)
		if ch == nil {
			return c.Refused(noSuch)
		}
		if c.Verbose > 0 {
			t.out.WriteString("Flushing chain `" + ch.name + "'\n")
		}
		t.clear(ch)
		return nil
	}
	if c.Verbose > 0 {
		for _, h := range rule.Hooks(c.Table) {
			t.builtin(id, h.String())
		}
	}
	for _, ch := range t.inOrder(id, true) {
		if c.Verbose > 0 {
			t.out.WriteString("Flushing chain `" + ch.name + "'\n")
		}
		t.clear(ch)
	}
	return nil
}

// zero sets counters to zero. A rule that has counted is made anew, and so
// forgets what its matches remember (__nft_chain_zero_counters).
func (t *ruleTx) zero(c *rule.Command, id tableID) *rule.Error {
	if c.Then != 0 {
		t.zeroListed(c, id)
	}
	all := t.inOrder(id, c.Verbose > 0)
	if c.Named {
		ch := t.chain(id, c.Chain)
		if ch == nil && len(t.refused) == 0 {
			return c.Refused(noSuch)
		}
		all = []*chain{ch}
	}
	if len(t.refused) > 0 {
		return nil
	}
	for _, ch := range all {
		if c.Verbose > 0 {
			t.out.WriteString("Zeroing chain `" + ch.name + "'\n")
		}
		set(t, &ch.packets, 0)
		set(t, &ch.bytes, 0)
		set(t, &ch.counts, true)
		for i, r := range ch.rules {
			if r.packets != 0 || r.bytes != 0 {
				t.renew(ch, i)
			}
		}
	}
	return nil
}

// zeroListed makes the built-in chains that -L lists although nobody has made
// them: the message that sets their counters creates them, if the table exists.
func (t *ruleTx) zeroListed(c *rule.Command, id tableID) {
	for _, h := range rule.Hooks(c.Table) {
		name := h.String()
		switch {
		case c.Named && c.Chain != name || t.chain(id, name) != nil:
		case t.n.nf.tables[id] != nil:
			t.builtin(id, name)
		default:
			if c.Verbose > 0 {
				t.out.WriteString("Zeroing chain `" + name + "'\n")
			}
			t.refuse(c, "CHAIN_ZERO", enoent, "chain "+name)
		}
	}
}

// renew puts a rule's like in its place, with nothing counted.
func (t *ruleTx) renew(c *chain, i int) {
	nr := newRule(c, c.rules[i].Rule)
	nr.jump = c.rules[i].jump
	rules := slices.Clone(c.rules)
	rules[i] = nr
	set(t, &c.rules, rules)
}

func (t *ruleTx) zeroNum(c *rule.Command, id tableID) *rule.Error {
	ch := t.chain(id, c.Chain)
	switch {
	case ch == nil:
		return c.Refused(badRule)
	case c.Num <= len(ch.rules): // a number too high is no error
		t.renew(ch, c.Num-1)
	}
	return nil
}

// deleteChain removes a chain, or all. A built-in chain goes, too, when it is
// empty and its policy ACCEPT; it is listed all the same.
func (t *ruleTx) deleteChain(c *rule.Command, id tableID) *rule.Error {
	all := t.inOrder(id, c.Verbose > 0)
	if c.Named {
		ch := t.chain(id, c.Chain)
		if ch == nil {
			return c.Refused(noSuch)
		}
		if ch.builtin && ch.drop {
			return c.Refused("Directory not empty")
		}
		all = []*chain{ch}
	}
	for _, ch := range all {
		if c.Verbose > 0 && !ch.builtin {
			t.out.WriteString("Deleting chain `" + ch.name + "'\n")
		}
		if ch.builtin && !c.Named && (ch.drop || len(ch.rules) > 0) {
			if t.forgotten == nil {
				t.forgotten = map[*chain]bool{}
			}
			t.forgotten[ch] = true
			continue
		}
		used := slices.ContainsFunc(ch.table.chains, func(o *chain) bool {
			return slices.ContainsFunc(o.rules, func(r *nfRule) bool { return r.jump == ch })
		})
		if used || len(ch.rules) > 0 {
			t.refuse(c, "CHAIN_DEL", ebusy, "chain "+ch.name)
			continue
		}
		set(t, &ch.table.chains, slices.DeleteFunc(slices.Clone(ch.table.chains), func(o *chain) bool { return o == ch }))
	}
	return nil
}

func (t *ruleTx) setPolicy(c *rule.Command, id tableID) *rule.Error {
	if c.Policy != "DROP" && c.Policy != "ACCEPT" && c.Policy != "-" {
		e := c.Refused("Bad policy name")
		if c.Line == 0 {
			e.Text = strings.TrimSuffix(e.Text, "\n") + " Run `dmesg' for more information.\n"
		}
		return e
	}
	ch := t.builtin(id, c.Chain)
	if ch == nil || !ch.builtin {
		return c.Refused("Bad built-in chain name")
	}
	if c.Policy != "-" {
		set(t, &ch.drop, c.Policy == "DROP")
	}
	// iptables-restore may give counters along; -P sets them to nothing, even with -c.
	var packets, bytes uint64
	if c.Verb == rule.DeclareChain {
		packets, bytes = c.Packets, c.Bytes
	}
	set(t, &ch.packets, packets)
	set(t, &ch.bytes, bytes)
	set(t, &ch.counts, true)
	return nil
}

func (t *ruleTx) rename(c *rule.Command, id tableID) *rule.Error {
	if t.chainKnown(id, c.NewName) {
		return c.Refused("File exists")
	}
	ch := t.chain(id, c.Chain)
	if ch == nil {
		return c.Refused(noSuch)
	}
	if ch.builtin {
		return &rule.Error{Text: "not simulated: a new name for a built-in chain\n", Status: rule.NotSimulated}
	}
	set(t, &ch.name, c.NewName)
	for _, o := range ch.table.chains {
		for _, r := range o.rules {
			if r.jump == ch {
				renamed := *r.Rule
				renamed.Target = &rule.Jump{Chain: c.NewName, Goto: r.isGoto}
				set(t, &r.Rule, &renamed)
			}
		}
	}
	return nil
}
