package sim

import (
	"slices"
	"strings"

	"vethlab/sim/rule"
	"vethlab/sim/state"
)

// What the tables hold, as a snapshot tells it, and tables made from a snapshot.
// rules.go is how commands change them.

// rulesChanged has the namespace's hooks follow its rules. Whoever changes a
// table calls it afterwards.
func (n *Netns) rulesChanged() {
	n.ct.users = 0
	for _, t := range n.nf.tables {
		if t == nil {
			continue
		}
		for _, c := range t.chains {
			for _, r := range c.rules {
				if r.needsConntrack() {
					n.ct.users++
				}
			}
		}
	}
	n.rehook()
}

// savedTables are the tables in the order in which iptables-save prints them.
var savedTables = [tableIDs]tableID{tableMangle, tableSecurity, tableRaw, tableFilter, tableNAT}

// listed are the table's chains as iptables lists them: the built-in ones in
// the order of their hooks, with nil for one that does not exist, then the
// users' by name.
func (t *table) listed() []*chain {
	var cs []*chain
	for _, h := range tableInfo[t.id].hooks {
		cs = append(cs, t.chain(h.String()))
	}
	for _, c := range t.chains {
		if !c.builtin {
			cs = append(cs, c)
		}
	}
	slices.SortFunc(cs[len(tableInfo[t.id].hooks):], func(a, b *chain) int { return strings.Compare(a.name, b.name) })
	return cs
}

// snapTables returns the tables for a snapshot.
func (n *Netns) snapTables() []state.Table {
	var all []state.Table
	for _, id := range savedTables {
		t := n.nf.tables[id]
		if t == nil {
			continue
		}
		s := state.Table{Name: t.name()}
		for i, c := range t.listed() {
			if c == nil {
				s.Chains = append(s.Chains, state.Chain{Name: tableInfo[id].hooks[i].String(), Policy: "ACCEPT", Absent: true})
				continue
			}
			sc := state.Chain{Name: c.name, Packets: c.packets, Bytes: c.bytes, Counts: c.counts}
			if c.builtin {
				sc.Policy = c.policy()
			}
			for _, r := range c.rules {
				sc.Rules = append(sc.Rules, state.Rule{Spec: r.String(), Packets: r.packets, Bytes: r.bytes})
			}
			s.Chains = append(s.Chains, sc)
		}
		all = append(all, s)
	}
	return all
}

func (c *chain) policy() string {
	if c.drop {
		return "DROP"
	}
	return "ACCEPT"
}

// restoreTables makes the tables of a snapshot. A rule that the model does not
// know is an error: without it the model would be wrong about every packet.
func (n *Netns) restoreTables(all []state.Table) error {
	n.nf.tables = [tableIDs]*table{}
	for _, s := range all {
		id := slices.IndexFunc(tableInfo[:], func(i tableFacts) bool { return i.name == s.Name })
		if id < 0 {
			return &rule.Error{Text: "not simulated: iptables -t " + s.Name + "\n", Status: rule.NotSimulated}
		}
		t := &table{id: tableID(id)}
		n.nf.tables[id] = t
		for _, sc := range s.Chains {
			if sc.Absent {
				continue
			}
			c := &chain{table: t, name: sc.Name, packets: sc.Packets, bytes: sc.Bytes, drop: sc.Policy == "DROP", counts: sc.Counts}
			if h, ok := rule.Builtin(s.Name, sc.Name); ok {
				c.builtin, c.hook = true, hookPoint(h)
			}
			t.chains = append(t.chains, c)
		}
		for _, sc := range s.Chains {
			c := t.chain(sc.Name)
			for _, sr := range sc.Rules {
				r, err := rule.Parse(s.Name, sc.Name, ruleWords(sr.Spec), func(name string) bool { return t.chain(name) != nil })
				if err != nil {
					return err
				}
				nr := newRule(c, r)
				nr.packets, nr.bytes = sr.Packets, sr.Bytes
				if j, ok := r.Target.(*rule.Jump); ok {
					nr.jump = t.chain(j.Chain)
				}
				c.rules = append(c.rules, nr)
			}
		}
	}
	n.rulesChanged()
	return nil
}

// ruleWords splits a rule that iptables-save printed into words: those with
// blanks are in quotes, and a backslash takes a quote's meaning
// (xtables_save_string, add_param_to_argv).
func ruleWords(spec string) []string {
	var words []string
	var w strings.Builder
	quoted, some := false, false
	for i := 0; i < len(spec); i++ {
		switch b := spec[i]; {
		case quoted && b == '\\' && i+1 < len(spec):
			i++
			w.WriteByte(spec[i])
		case b == '"':
			quoted, some = !quoted, true
		case !quoted && (b == ' ' || b == '\t'):
			if some {
				words = append(words, w.String())
				w.Reset()
				some = false
			}
		default:
			w.WriteByte(b)
			some = true
		}
	}
	if some {
		words = append(words, w.String())
	}
	return words
}
