package sim

import (
	"math"
	"net/netip"
	"slices"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// The policy database: which routing table a packet's route is looked up in
// (net/core/fib_rules.c, net/ipv4/fib_rules.c).

// policy is one of its rules (struct fib4_rule).
type policy struct {
	priority         int
	from, to         IP
	fromBits, toBits int
	iif, oif         string // a name: the link may come later
	tos              uint8
	mark, markMask   uint32
	not              bool
	action           policyAction
	goTo             int // priority of the rule to go on with
	table            int
	suppress         int // prefixes of this length and shorter do not count; -1: all do
	proto            uint8
}

// policyAction is what a rule does (FR_ACT_*).
type policyAction uint8

const (
	policyLookup policyAction = iota
	policyGoto
	policyNop
	policyBlackhole
	policyUnreachable
	policyProhibit
)

var policyActions = [...]string{"", "goto", "nop", "blackhole", "unreachable", "prohibit"}

// fibLookup finds the way for a packet: fib_lookup, include/net/ip_fib.h.
func (n *Netns) fibLookup(fl *flowi) (*fibRow, int) {
	f := &n.fib
	if !f.custom {
		r, errno := lookupMerged(f.local, f.main, fl)
		if errno != 0 {
			if t := f.tables[tableDefault]; t != nil {
				r, errno = t.lookup(fl)
			}
		}
		if errno == eagain {
			errno = enetunreach
		}
		return r, errno
	}
	for i := 0; i < len(f.policies); i++ {
		p := &f.policies[i]
		if !p.matches(n, fl) {
			continue
		}
		switch p.action {
		case policyBlackhole:
			return nil, einval
		case policyUnreachable:
			return nil, enetunreach
		case policyProhibit:
			return nil, eacces
		case policyGoto:
			// A target that is not there is gone past (fib_rules_lookup).
			if to := slices.IndexFunc(f.policies, func(q policy) bool { return q.priority == p.goTo }); to > i {
				i = to - 1
			}
			continue
		case policyNop:
			continue
		}
		r, errno := f.tables[p.table].lookup(fl)
		if errno == 0 && r.bits <= p.suppress || errno == eagain {
			continue
		}
		return r, errno
	}
	return nil, enetunreach
}

// matches: fib_rule_match.
func (p *policy) matches(n *Netns, fl *flowi) bool {
	ok := (p.iif == "" || fl.iif != nil && fl.iif.name == p.iif) &&
		(p.oif == "" || fl.oif != nil && fl.oif.name == p.oif) &&
		(p.mark^fl.mark)&p.markMask == 0 &&
		(p.from^fl.src)&mask(p.fromBits) == 0 && (p.to^fl.dst)&mask(p.toBits) == 0 &&
		(p.tos == 0 || p.tos == fl.tos&^3)
	return ok != p.not
}

// PolicyChange adds a rule or deletes one: `ip rule` (fib_newrule, fib_delrule).
func (n *Netns) PolicyChange(r PolicyRequest) *op.Failure {
	p, f := policyOf(r)
	if !r.HasPriority {
		p.priority = n.fib.defaultPriority()
	}
	switch {
	case f != nil:
		return f
	case p.tos&3 != 0:
		return fail(einval, "Invalid dsfield (tos): ECN bits must be 0")
	case p.action == policyGoto && p.goTo <= p.priority:
		return fail(einval, "Backward goto not supported")
	case r.Delete:
		return n.deletePolicy(&r, p)
	case p.action == policyLookup && p.table == 0: // fib_empty_table
		for p.table = 1; n.fib.tables[p.table] != nil; {
			p.table++
		}
		n.fib.newTable(p.table)
	}
	n.fib.custom = true                // fib4_rule_configure
	for _, e := range n.fib.policies { // rule_exists
		if e == p {
			return fail(eexist, "")
		}
	}
	n.fib.insert(p)
	n.fibChanged()
	return nil
}

// insert puts a rule behind those of the same priority.
func (f *fib) insert(p policy) {
	at := slices.IndexFunc(f.policies, func(e policy) bool { return e.priority > p.priority })
	if at < 0 {
		at = len(f.policies)
	}
	f.policies = slices.Insert(f.policies, at, p)
}

// defaultPriority is one less than the second rule's (fib_default_rule_pref).
func (f *fib) defaultPriority() int {
	if len(f.policies) > 1 && f.policies[1].priority > 0 {
		return f.policies[1].priority - 1
	}
	return 0
}

// deletePolicy deletes the first rule that has all that is named (rule_find).
func (n *Netns) deletePolicy(r *PolicyRequest, p policy) *op.Failure {
	at := slices.IndexFunc(n.fib.policies, func(e policy) bool {
		return (!r.HasPriority || e.priority == p.priority) && (r.Action == "" || e.action == p.action) && (p.table == 0 || e.table == p.table) &&
			(p.iif == "" || e.iif == p.iif) && (p.oif == "" || e.oif == p.oif) &&
			(p.mark == 0 || e.mark == p.mark) && (p.markMask == 0 || e.markMask == p.markMask) &&
			(p.fromBits == 0 || e.from == p.from && e.fromBits == p.fromBits) && (p.toBits == 0 || e.to == p.to && e.toBits == p.toBits) &&
			(p.tos == 0 || e.tos == p.tos) && (p.proto == 0 || e.proto == p.proto) && (r.Suppress == nil || e.suppress == p.suppress)
	})
	if at < 0 {
		return fail(enoent, "")
	}
	n.fib.policies = slices.Delete(n.fib.policies, at, at+1)
	n.fib.custom = true // fib4_rule_delete
	n.fibChanged()
	return nil
}

func policyOf(q PolicyRequest) (p policy, f *op.Failure) {
	p = policy{priority: q.Priority, iif: q.Iif, oif: q.Oif, mark: q.Mark, markMask: q.Mask, not: q.Not, table: q.Table, goTo: q.Goto, suppress: -1}
	if p.mark != 0 && p.markMask == 0 && !q.HasMask {
		p.markMask = math.MaxUint32
	}
	action := slices.Index(policyActions[:], q.Action)
	proto, ok := protNumber(q.Proto)
	if action < 0 || !ok || q.TOS < 0 || q.TOS > 255 || len(q.Iif) > 15 || len(q.Oif) > 15 {
		return p, fail(einval, "")
	}
	p.action, p.proto, p.tos = policyAction(action), proto, uint8(q.TOS)
	if q.Suppress != nil {
		p.suppress = *q.Suppress
	}
	for _, e := range []struct {
		text string
		ip   *IP
		bits *int
	}{{q.From, &p.from, &p.fromBits}, {q.To, &p.to, &p.toBits}} {
		if e.text == "" {
			continue
		}
		pre, ok := parsePrefix(e.text)
		if !ok {
			return p, fail(einval, "")
		}
		*e.ip, *e.bits = ipOf(pre.Addr()), pre.Bits()
	}
	return p, nil
}

// parsePrefix reads A.B.C.D/LEN or A.B.C.D.
func parsePrefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
		return netip.PrefixFrom(a, 32), true
	}
	p, err := netip.ParsePrefix(s)
	return p, err == nil && p.Addr().Is4()
}

func (p *policy) state() state.Policy {
	q := state.Policy{Priority: p.priority, Iif: p.iif, Oif: p.oif, Not: p.not, TOS: int(p.tos), Mark: p.mark,
		Action: policyActions[p.action], Goto: p.goTo, Table: p.table, Proto: protName(p.proto)}
	if p.fromBits > 0 {
		q.From = netip.PrefixFrom(p.from.Addr(), p.fromBits).String()
	}
	if p.toBits > 0 {
		q.To = netip.PrefixFrom(p.to.Addr(), p.toBits).String()
	}
	if p.markMask != math.MaxUint32 {
		q.Mask = p.markMask
	}
	if p.suppress >= 0 {
		q.Suppress = &p.suppress
	}
	return q
}
