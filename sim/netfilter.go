package sim

import (
	"cmp"
	"fmt"
	"slices"

	"vethlab/sim/rule"
	"vethlab/sim/trace"
)

// Netfilter: at five points of its way a packet is shown to whoever registered
// there, in the order of their priorities (struct nf_hook_ops). A chain of
// iptables is one of them, conntrack another, NAT a third:
//
//	PREROUTING   raw −300 · conntrack −200 · mangle −150 · DNAT −100
//	INPUT        mangle −150 · filter 0 · SNAT 100 · confirm ∞
//	FORWARD      mangle −150 · filter 0
//	OUTPUT       raw −300 · conntrack −200 · mangle −150 · DNAT −100 · filter 0
//	POSTROUTING  mangle −150 · SNAT 100 · confirm ∞
//
// This file goes from one to the next and through the chains; match.go says
// whether a rule applies, target.go carries it out, rules.go changes the rules.

// hookPoint is one of the five points (enum nf_inet_hooks).
type hookPoint uint8

const (
	hookPrerouting hookPoint = iota
	hookInput
	hookForward
	hookOutput
	hookPostrouting
	hookPoints
)

// String is what a trace calls the point; a built-in chain has the same name.
func (h hookPoint) String() string { return string(points[h]) }

// tableID is one of iptables' tables.
type tableID uint8

const (
	tableRaw tableID = iota
	tableMangle
	tableNAT
	tableFilter
	tableSecurity
	tableIDs
)

// tableInfo says what the tables are called and where their built-in chains
// hook in (include/uapi/linux/netfilter_ipv4.h, enum nf_ip_hook_priorities).
var tableInfo = [tableIDs]tableFacts{
	tableRaw:      {"raw", []hookPoint{hookPrerouting, hookOutput}, [hookPoints]int{hookPrerouting: -300, hookOutput: -300}},
	tableMangle:   {"mangle", []hookPoint{hookPrerouting, hookInput, hookForward, hookOutput, hookPostrouting}, [hookPoints]int{-150, -150, -150, -150, -150}},
	tableNAT:      {"nat", []hookPoint{hookPrerouting, hookInput, hookOutput, hookPostrouting}, [hookPoints]int{hookPrerouting: -100, hookInput: 100, hookOutput: -100, hookPostrouting: 100}},
	tableFilter:   {"filter", []hookPoint{hookInput, hookForward, hookOutput}, [hookPoints]int{}},
	tableSecurity: {"security", []hookPoint{hookInput, hookForward, hookOutput}, [hookPoints]int{hookInput: 50, hookForward: 50, hookOutput: 50}},
}

type tableFacts struct {
	name     string
	hooks    []hookPoint // of its built-in chains
	priority [hookPoints]int
}

const (
	prioConntrack = -200
	prioConfirm   = 1<<31 - 1
)

// netfilter is what a namespace has registered (struct netns_nf).
type netfilter struct {
	legacy bool // iptables-legacy keeps the rules: a table has all its chains or is not there
	tables [tableIDs]*table
	hooks  [hookPoints][]hookOp // in the order of their priorities
}

// hookOp is something registered at a hook.
type hookOp struct {
	priority int
	kind     opKind
	chain    *chain // of opChain, and of opNAT when there is one
}

type opKind uint8

const (
	opChain     opKind = iota
	opConntrack        // nf_conntrack_in
	opNAT              // nf_nat_inet_fn, with the chain of table nat
	opConfirm          // nf_confirm
)

type table struct {
	id     tableID
	chains []*chain // the order in which they were made
}

// chain is a chain of rules. A built-in one that nobody has asked for does not
// exist: iptables lists it all the same, and no packet meets it.
type chain struct {
	table   *table
	name    string
	builtin bool
	hook    hookPoint // of a built-in chain
	drop    bool      // its policy
	// counts: somebody has set the counters of its policy, be it to zero (-P, -Z,
	// iptables-restore). Before that nothing is counted.
	counts  bool
	packets uint64 // that met the policy
	bytes   uint64
	rules   []*nfRule
}

// nfRule is a rule in its chain.
type nfRule struct {
	*rule.Rule
	chain          *chain
	packets, bytes uint64
	in, out        ifMatch
	verdict        rule.Verdict // of a target that is nothing but a verdict
	jump           *chain
	isGoto         bool
	state          []matchState // of the matches that remember something
}

// chain returns a table's chain of that name, or nil.
func (t *table) chain(name string) *chain {
	if t != nil {
		for _, c := range t.chains {
			if c.name == name {
				return c
			}
		}
	}
	return nil
}

// nat reports whether the namespace translates addresses: whether table nat has
// a built-in chain (nf_nat_register_fn).
func (nf *netfilter) nat() bool {
	t := nf.tables[tableNAT]
	return t != nil && slices.ContainsFunc(t.chains, func(c *chain) bool { return c.builtin })
}

// rehook works out what is registered at each hook.
func (n *Netns) rehook() {
	var hooks [hookPoints][]hookOp
	add := func(h hookPoint, op hookOp) { hooks[h] = append(hooks[h], op) }
	for _, t := range n.nf.tables {
		if t == nil || t.id == tableNAT {
			continue
		}
		for _, c := range t.chains {
			if c.builtin {
				add(c.hook, hookOp{tableInfo[t.id].priority[c.hook], opChain, c})
			}
		}
	}
	if n.nf.nat() {
		for _, h := range tableInfo[tableNAT].hooks {
			add(h, hookOp{tableInfo[tableNAT].priority[h], opNAT, n.nf.tables[tableNAT].chain(h.String())})
		}
	}
	if n.ct.users > 0 {
		for _, h := range []hookPoint{hookPrerouting, hookOutput} {
			add(h, hookOp{prioConntrack, opConntrack, nil})
		}
		for _, h := range []hookPoint{hookInput, hookPostrouting} {
			add(h, hookOp{prioConfirm, opConfirm, nil})
		}
	}
	for h := range hooks {
		slices.SortStableFunc(hooks[h], func(a, b hookOp) int { return cmp.Compare(a.priority, b.priority) })
	}
	n.nf.hooks = hooks
}

// visitor is a packet's stay at a hook (struct nf_hook_state).
type visitor struct {
	hook    hookPoint
	in, out *Link // as they were when the packet came to the hook
	asked   int   // how many steps the journey had then
}

// hook shows the packet to all that is registered at a hook (nf_hook_slow) and
// reports whether it may go on. If not, it has ended, or goes another way.
//
// Preconditions: p.ns is the namespace; at OUTPUT, p.route is decided.
func (w *World) hook(h hookPoint, p *packet, in, out *Link) bool {
	v := visitor{hook: h, in: in, out: out, asked: len(p.journey.steps)}
	ops := p.ns.nf.hooks[h]
	for i := range ops {
		op := &ops[i]
		ok := true
		switch op.kind {
		case opChain:
			ok = w.filterHook(&v, op.chain, p)
		case opNAT:
			ok = w.natHook(&v, op.chain, p)
		case opConntrack:
			if ok = w.nfConntrackIn(p); !ok {
				w.lost(&v, p)
			}
		case opConfirm:
			if ok = w.nfConfirm(p); !ok {
				w.lost(&v, p)
			}
		}
		if !ok {
			return false
		}
	}
	w.passed(&v, p)
	return true
}

// passed notes a hook at which nothing had anything to say.
func (w *World) passed(v *visitor, p *packet) {
	if len(p.journey.steps) == v.asked {
		w.note(p, point(v.hook), nil).verdict = trace.Pass
	}
}

// lost ends a packet that no rule dropped: conntrack or NAT would not have it.
func (w *World) lost(v *visitor, p *packet) {
	w.passed(v, p)
	w.vanish(p)
}

// filterHook takes a packet through a built-in chain. In mangle OUTPUT a rule
// may change what the route was chosen by: then it is chosen anew
// (nf_route_table_hook4, net/netfilter/nft_chain_route.c).
func (w *World) filterHook(v *visitor, c *chain, p *packet) bool {
	mark := p.mark
	if !w.traverse(v, c, p) {
		return false
	}
	if c.table.id == tableMangle && c.hook == hookOutput && p.mark != mark {
		return w.reroute(v, p)
	}
	return true
}

// maxJumps is how deep chains can call chains (NFT_JUMP_STACK_SIZE).
const maxJumps = 16

// traverse takes a packet through a built-in chain, whose policy decides when no
// rule did, and reports whether it was accepted (nft_do_chain,
// net/netfilter/nf_tables_core.c). If not, it has ended.
func (w *World) traverse(v *visitor, c *chain, p *packet) bool {
	if done := w.walk(v, c, p, 0); done != targetContinue {
		return done == targetAccept
	}
	if c.counts { // nft_update_chain_stats
		c.packets++
		c.bytes += uint64(p.len)
	}
	if c.drop {
		w.met(v, p, c, 0, trace.PolicyNo)
		w.end(p, ending{disposition: trace.Dropped, code: trace.CodePolicyDrop, by: c})
		return false
	}
	w.met(v, p, c, 0, trace.Policy)
	return true
}

// walk takes a packet through the rules of a chain and of those that it calls.
func (w *World) walk(v *visitor, c *chain, p *packet, depth int) targetVerdict {
	for i, r := range c.rules {
		if !w.matches(v, r, p) {
			continue
		}
		number := i + 1
		r.packets++
		r.bytes += uint64(p.len)
		done := targetContinue
		switch {
		case r.verdict == rule.Accept:
			w.met(v, p, r, number, trace.Accept)
			return targetAccept
		case r.verdict == rule.Drop:
			w.met(v, p, r, number, trace.Drop)
			w.end(p, ending{disposition: trace.Dropped, code: trace.CodeRuleDrop, by: r, rule: int32(number)})
			return targetGone
		case r.verdict == rule.Return:
			w.met(v, p, r, number, trace.Return)
			return targetContinue
		case r.jump != nil && r.isGoto: // and does not come back
			w.met(v, p, r, number, trace.Goto)
			return w.walk(v, r.jump, p, depth)
		case r.jump != nil:
			w.met(v, p, r, number, trace.Jump)
			if depth == maxJumps {
				w.vanish(p)
				return targetGone
			}
			done = w.walk(v, r.jump, p, depth+1)
		case r.Target == nil:
			w.met(v, p, r, number, trace.Unknown)
		default:
			done = w.target(v, number, r, p)
		}
		if done != targetContinue {
			return done
		}
	}
	return targetContinue
}

// met notes what decided: a *nfRule that matched, and its number; or the *chain
// whose policy it was.
func (w *World) met(v *visitor, p *packet, by any, number int, verdict trace.Verdict) {
	s := w.note(p, point(v.hook), nil)
	s.by, s.rule, s.verdict = by, int32(number), verdict
}

func (t *table) name() string { return tableInfo[t.id].name }

// String is the rule as iptables-save prints it, without "-A CHAIN".
func (r *nfRule) String() string { return r.Rule.String() }

var _ fmt.Stringer = (*nfRule)(nil)

// reroute finds a locally made packet a new way, after a hook gave it a new
// destination or mark (ip_route_me_harder, net/ipv4/netfilter.c). Where there
// is none the packet ends.
func (w *World) reroute(v *visitor, p *packet) bool {
	dev, errno := w.ipRouteMeHarder(p)
	if errno == 0 {
		return true
	}
	w.unrouted = errno
	w.passed(v, p)
	s := w.note(p, atRoute, dev)
	s.verdict = trace.NoRoute
	if p.src.loopback() && !p.dst.loopback() {
		p.journey.remark(s, remark{code: trace.CodeLoopbackReroute, ip: p.src})
		w.end(p, ending{disposition: trace.Martian, code: trace.CodeLoopbackReroute, ip: p.src, dev: dev})
		return false
	}
	p.journey.remark(s, remark{code: trace.CodeNoRoute, ip: p.dst})
	w.end(p, ending{disposition: trace.NoRouteTo, code: trace.CodeNoRoute, ip: p.dst})
	return false
}
