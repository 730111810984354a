package state

import (
	"net/netip"
	"slices"
)

// Query is what a routing decision goes by (struct flowi4). What is not set
// matches only what asks for nothing.
type Query struct {
	Dst, Src netip.Addr
	// Iif is the link a packet came in by. For one that is made here, or for the
	// answer to one, the kernel takes lo: so does an empty Iif.
	Iif  string
	Oif  string // the link a socket is bound to
	Mark uint32
	TOS  int
}

// Lookup finds the route of a packet to ip that is made here and has no source yet.
func (n *Node) Lookup(ip netip.Addr) *Route { return n.Route(Query{Dst: ip}) }

// Route finds the route for a packet that is not for the node itself: it asks
// the tables that the policy rules name, in their order (fib_rules_lookup,
// net/core/fib_rules.c). The result may be one that refuses (Type blackhole,
// …); it is nil where no table has an answer, or a policy rule refuses.
func (n *Node) Route(q Query) *Route {
	if q.Iif == "" {
		q.Iif = "lo"
	}
	if len(n.Policies) == 0 {
		return n.lookup(254, &q)
	}
	for i := 0; i < len(n.Policies); i++ {
		p := &n.Policies[i]
		if p.matches(&q) == p.Not {
			continue
		}
		switch p.Action {
		case "blackhole", "unreachable", "prohibit":
			return nil
		case "goto":
			if to := slices.IndexFunc(n.Policies, func(q Policy) bool { return q.Priority == p.Goto }); to > i {
				i = to - 1
			}
			continue
		case "nop":
			continue
		}
		if r := n.lookup(p.Table, &q); r != nil && (p.Suppress == nil || r.Type != "unicast" || r.Dst.Bits() > *p.Suppress) {
			if r.Type == "throw" {
				continue
			}
			return r
		}
	}
	return nil
}

// lookup finds a table's row: longest prefix first, then lowest metric
// (fib_table_lookup, net/ipv4/fib_trie.c). A route whose link has no carrier
// counts, unless ignore_routes_with_linkdown says otherwise.
func (n *Node) lookup(table int, q *Query) *Route {
	var best *Route
	for i := range n.Routes {
		r := &n.Routes[i]
		if r.Table != table || !r.Dst.Contains(q.Dst) || r.TOS != 0 && r.TOS != q.TOS&0x1c || q.Oif != "" && r.Dev != "" && r.Dev != q.Oif ||
			r.Down && n.Sysctls["net.ipv4.conf."+r.Dev+".ignore_routes_with_linkdown"] == "1" {
			continue
		}
		if best == nil || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Metric < best.Metric {
			best = r
		}
	}
	return best
}

// matches: fib_rule_match and fib4_rule_match.
func (p *Policy) matches(q *Query) bool {
	mask := p.Mask
	if mask == 0 && p.Mark != 0 {
		mask = ^uint32(0)
	}
	return (p.Iif == "" || p.Iif == q.Iif) && (p.Oif == "" || p.Oif == q.Oif) && (p.Mark^q.Mark)&mask == 0 &&
		within(q.Src, p.From) && within(q.Dst, p.To) && (p.TOS == 0 || p.TOS == q.TOS&^3)
}

// within reports whether an address is in a prefix, written as a policy rule
// has it: an address, a prefix, or "" for all.
func within(ip netip.Addr, prefix string) bool {
	if prefix == "" {
		return true
	}
	if a, err := netip.ParseAddr(prefix); err == nil {
		return a == ip
	}
	p, err := netip.ParsePrefix(prefix)
	return err == nil && p.Contains(ip)
}
