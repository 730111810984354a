package rule

// This file says which rules the kernel takes where.

// Errnos of a refusal; 0 is none.
const (
	enoent     = 2
	einval     = 22
	eopnotsupp = 95
)

const (
	pre  = 1 << Prerouting
	in   = 1 << Input
	fwd  = 1 << Forward
	out  = 1 << Output
	post = 1 << Postrouting
)

// Refusal tells why the kernel would not take the rule into a chain of a table:
// an errno, 0 when it would. hook is the chain's if it is a built-in one. This is
// what the kernel asks when a rule is made, of a user's chain less than of a
// built-in one: nft_match_init and nft_target_init (net/netfilter/nft_compat.c)
// with the checkentry functions of the modules.
func (r *Rule) Refusal(table string, hook Hook, builtin bool) int {
	if r.Src.Mask == 0 && r.Src.Not || r.Dst.Mask == 0 && r.Dst.Not {
		return einval // nothing left to compare: nft_payload_init
	}
	if r.Target == Queue {
		return enoent // no such target
	}
	var at int // the bits of the hook; none in a user's chain
	if builtin {
		at = 1 << hook
	}
	for _, m := range r.Matches {
		if need := protoOf(m); need != 0 && (r.Proto != need || r.NotProto) {
			return einval
		}
		if at&^hooksOf(m) != 0 {
			return einval
		}
		switch m := m.(type) {
		case *AddrType: // addrtype_mt_checkentry_v1
			if m.LimitIn && m.LimitOut || at&(pre|in) != 0 && m.LimitOut || at&(post|out) != 0 && m.LimitIn {
				return einval
			}
		case *Physdev: // physdev_mt_check
			if (m.Out != Iface{} || m.IsOut != NotAsked) && m.Bridged != Yes && at&out != 0 {
				return einval
			}
		case *RPFilter: // rpfilter_check
			if table != "raw" && table != "mangle" {
				return einval
			}
		case *Owner: // owner_check: a lab's user namespace has no id but 0
			if m.UID != nil && m.UID.Hi|m.UID.Lo != 0 || m.GID != nil && m.GID.Hi|m.GID.Lo != 0 {
				return einval
			}
		}
	}
	need, hooks := placeOf(r.Target)
	if need != "" && table != need || at&^hooks != 0 {
		return einval
	}
	switch t := r.Target.(type) {
	case *Reject: // reject_tg_check
		if t.With == TCPReset && (r.Proto != 6 || r.NotProto) {
			return einval
		}
	case *Jump:
		if _, ok := Builtin(table, t.Chain); ok {
			return eopnotsupp // nft_verdict_init
		}
	}
	return 0
}

// Reachable reports whether the rule may be met by packets of a hook. The kernel
// asks this of every rule that can be reached from a built-in chain, whenever a
// rule is added to the table: nft_match_validate and nft_target_validate.
func (r *Rule) Reachable(hook Hook) bool {
	for _, m := range r.Matches {
		if 1<<hook&^hooksOf(m) != 0 {
			return false
		}
	}
	_, hooks := placeOf(r.Target)
	return 1<<hook&^hooks == 0
}

const anywhere = pre | in | fwd | out | post

// hooksOf are the hooks at which a match works: .hooks of struct xt_match.
func hooksOf(m Match) int {
	switch m.(type) {
	case *MAC:
		return pre | in | fwd
	case *Owner:
		return out | post
	case *RPFilter:
		return pre
	}
	return anywhere
}

// protoOf is the protocol that a match is for, kept in the kernel's form of it:
// .proto of struct xt_match.
func protoOf(m Match) uint8 {
	switch m := m.(type) {
	case *TCP:
		if !m.native() {
			return 6
		}
	case *UDP:
		if *m == (UDP{AllPorts, AllPorts}) {
			return 17
		}
	case *ICMP:
		return 1
	}
	return 0
}

// placeOf is where a target works: .table and .hooks of struct xt_target. A
// table of "" is any.
func placeOf(t Target) (table string, hooks int) {
	switch t.(type) {
	case *Reject:
		return "filter", in | fwd | out
	case *SNAT:
		return "nat", in | post
	case *DNAT, *Redirect:
		return "nat", pre | out
	case *Masquerade:
		return "nat", post
	case *Netmap:
		return "nat", pre | in | out | post
	case *CT, *Notrack:
		return "raw", anywhere
	}
	return "", anywhere
}
