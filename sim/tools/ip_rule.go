package tools

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vethlab/sim"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// ip rule (ip/iprule.c).
func (i *iproute) doRule() {
	switch verb := i.verb("rule", "list", "lst", "show", "save", "restore", "add", "delete", "flush", "help"); verb {
	case "", "list", "lst", "show":
		i.ruleList(false)
	case "flush":
		i.ruleList(true)
	case "add":
		i.ruleModify(true)
	case "delete":
		i.ruleModify(false)
	case "save", "restore":
		notSimulated("ip rule %s", verb)
	default:
		i.usage("rule")
	}
}

// mark reads FWMARK[/MASK].
func (i *iproute) mark(v string) (mark, mask int, masked bool) {
	m, slash, masked := strings.Cut(v, "/")
	mark = u32(m, "fwmark value is invalid\n")
	if masked {
		mask = u32(slash, "fwmask value is invalid\n")
	}
	return mark, mask, masked
}

// ports reads N or N-M as sscanf's "%hu-%hu" does.
func ports(v, msg string) {
	_, rest, ok := strtoul(v, 10)
	if ok && strings.HasPrefix(rest, "-") {
		return
	}
	if !ok {
		invarg(msg, v)
	}
}

// ruleModify is ip rule add and delete (iprule_modify).
func (i *iproute) ruleModify(add bool) {
	if !i.more() {
		fail(1, `"ip rule %s" requires arguments.`, orElse(add, "add", "del"))
	}
	r := sim.PolicyRequest{Delete: !add}
	family, tabled, unknown, kind := i.family, false, "", 0
	for i.more() {
		word := i.take()
		switch {
		case word == "not":
			r.Not = true
		case word == "from" || word == "to":
			p := prefixOf(i.next(), family)
			ipv6(p.family)
			text := ""
			if !p.any {
				text = p.netip().String()
			}
			if word == "from" {
				r.From = text
			} else {
				r.To = text
			}
		case matches(word, "preference"), matches(word, "order"), matches(word, "priority"):
			r.Priority, r.HasPriority = u32(i.next(), "preference value is invalid\n"), true
		case word == "tos" || matches(word, "dsfield"):
			r.TOS = lookup(i.next(), "TOS value is invalid\n", readTOS)
		case word == "fwmark":
			mark, mask, masked := i.mark(i.next())
			r.Mark, r.HasMark = uint32(mark), true
			if r.Mask, r.HasMask = uint32(mask), masked; masked && mask == 0 && mark != 0 {
				unknown = "fwmark with a mask of 0"
			}
		case matches(word, "realms"):
			i.next()
			unknown = "realms"
		case matches(word, "protocol"):
			r.Proto = name(lookup(i.next(), "\"protocol\" value is invalid\n", readProto), protoNames)
		case matches(word, "tun_id"):
			number(i.next(), "\"tun_id\" value is invalid\n", 1<<64-1)
			unknown = "tun_id"
		case matches(word, "table") || word == "lookup":
			r.Table, tabled = lookup(i.next(), "invalid table ID\n", readTable), true
		case matches(word, "suppress_prefixlength") || word == "sup_pl":
			v := i.next()
			n, ok := integer(v)
			if !ok || n < 0 {
				invarg("suppress_prefixlength value is invalid\n", v)
			}
			r.Suppress = &n
		case matches(word, "suppress_ifgroup") || word == "sup_group":
			i.next()
			unknown = "suppress_ifgroup"
		case word == "dev" || word == "iif":
			v := i.next()
			if !validName(v) {
				invarg(`"iif"/"dev" not a valid ifname`, v)
			}
			r.Iif = v
		case word == "oif":
			v := i.next()
			if !validName(v) {
				invarg(`"oif" not a valid ifname`, v)
			}
			r.Oif = v
		case word == "l3mdev":
			unknown, tabled = word, true
		case word == "uidrange":
			v := i.next()
			if _, rest, ok := strtoul(v, 10); !ok || !strings.HasPrefix(rest, "-") {
				invarg("invalid UID range\n", v)
			}
			unknown = word
		case word == "nat" || matches(word, "map-to"):
			i.next()
			unknown = "nat"
		case word == "ipproto":
			i.next()
			unknown = word
		case word == "sport":
			ports(i.next(), "invalid port range\n")
			unknown = word
		case word == "dport":
			ports(i.next(), "invalid dport range\n")
			unknown = word
		default:
			if word == "type" {
				word = i.next()
			}
			switch {
			case matches(word, "help"):
				i.usage("rule")
			case matches(word, "goto"):
				r.Action = "goto"
				r.Goto = u32(i.next(), "invalid target\n")
			case matches(word, "nop"):
				r.Action = "nop"
			default:
				kind = lookup(word, "Failed to parse rule type", readType)
				r.Action = typeName(kind)
			}
			tabled = true
		}
	}
	ipv6(family)
	if unknown != "" {
		notSimulated("ip rule … %s", unknown)
	}
	if !tabled && add {
		r.Table = tableMain
	}
	switch r.Action {
	case "unicast":
		r.Action = "" // RTN_UNICAST is FR_ACT_TO_TBL
	case "", "goto", "nop", "blackhole", "unreachable", "prohibit":
	default:
		notSimulated("ip rule … %s", r.Action)
	}
	i.request(func(k *sim.Netns) *op.Failure { return k.PolicyChange(r) })
}

// ruleList is ip rule show and flush (iprule_list_flush_or_save).
func (i *iproute) ruleList(flush bool) {
	family := orDefault(i.family, "inet")
	var conds []func(p state.Policy) bool
	must := func(fn func(p state.Policy) bool) { conds = append(conds, fn) }
	never := func(state.Policy) bool { return false }
	within := func(p prefix, s string) bool {
		if !p.given || p.family == "" {
			return true
		}
		q, err := netip.ParsePrefix(s)
		if s == "" || err != nil {
			return p.bits == 0
		}
		return p.bits <= q.Bits() && p.contains(q.Addr())
	}
	for i.more() {
		word := i.take()
		switch {
		case matches(word, "preference"), matches(word, "order"), matches(word, "priority"):
			n := u32(i.next(), "preference value is invalid\n")
			must(func(p state.Policy) bool { return p.Priority == n })
		case word == "not":
			must(func(p state.Policy) bool { return p.Not })
		case word == "tos" || word == "dsfield":
			n := lookup(i.next(), "TOS value is invalid\n", readTOS)
			must(func(p state.Policy) bool { return p.TOS == n })
		case word == "fwmark":
			mark, mask, masked := i.mark(i.next())
			if mark != 0 {
				must(func(p state.Policy) bool { return p.Mark == uint32(mark) })
			}
			if masked && mask != 0 {
				must(func(p state.Policy) bool {
					return p.Mask == uint32(mask) || p.Mask == 0 && p.Mark != 0 && uint32(mask) == ^uint32(0)
				})
			}
		case word == "dev" || word == "iif":
			v := i.next()
			if !validName(v) {
				invarg(`"iif"/"dev" not a valid ifname`, v)
			}
			must(func(p state.Policy) bool { return p.Iif == v })
		case word == "oif":
			v := i.next()
			if !validName(v) {
				invarg(`"oif" not a valid ifname`, v)
			}
			must(func(p state.Policy) bool { return p.Oif == v })
		case word == "l3mdev":
			must(never)
		case word == "uidrange":
			v := i.next()
			if _, rest, ok := strtoul(v, 10); !ok || !strings.HasPrefix(rest, "-") {
				invarg("invalid UID range\n", v)
			}
			must(never)
		case matches(word, "tun_id"):
			if number(i.next(), "\"tun_id\" value is invalid\n", 1<<64-1) != 0 {
				must(never)
			}
		case matches(word, "lookup"), matches(word, "table"):
			if n := lookup(i.next(), "table id value is invalid\n", readTable); n > 0 {
				must(func(p state.Policy) bool { return p.Table == n })
			}
		case matches(word, "from"), matches(word, "src"):
			q := prefixOf(i.next(), family)
			must(func(p state.Policy) bool { return within(q, p.From) })
		case matches(word, "protocol"):
			v := i.next()
			n, ok := readProto(v)
			if !ok && v != "all" {
				invarg("invalid \"protocol\"\n", v)
			}
			if flush && v != "all" {
				must(func(p state.Policy) bool { m, _ := readProto(orDefault(p.Proto, "unspec")); return m == n })
			}
		case word == "ipproto":
			i.next()
			must(never)
		case word == "sport":
			ports(i.next(), "invalid port range\n")
			must(never)
		case word == "dport":
			ports(i.next(), "invalid dport range\n")
			must(never)
		default:
			if matches(word, "dst") || matches(word, "to") {
				word = i.next()
			}
			q := prefixOf(word, family)
			must(func(p state.Policy) bool { return within(q, p.To) })
		}
	}
	ipv6(family)
	chosen := slices.DeleteFunc(slices.Clone(i.state().Policies), func(p state.Policy) bool {
		return slices.ContainsFunc(conds, func(fn func(state.Policy) bool) bool { return !fn(p) })
	})
	if flush {
		for _, p := range chosen {
			if p.Priority == 0 {
				continue // the kernel tells no priority of that one
			}
			i.request(func(k *sim.Netns) *op.Failure {
				return k.PolicyChange(sim.PolicyRequest{Policy: p, Delete: true, HasPriority: true, HasMark: p.Mark != 0, HasMask: p.Mask != 0})
			})
		}
		i.begin()
		i.end()
		return
	}
	i.begin()
	for _, p := range chosen {
		i.rule(p)
	}
	i.end()
}

// rule prints a rule (print_rule).
func (i *iproute) rule(p state.Policy) {
	i.open("")
	i.num("priority", "%d:\t", p.Priority)
	if p.Not {
		i.null("not", "not ")
	}
	i.selector("from ", "src", "srclen", p.From, true)
	i.selector(" to ", "dst", "dstlen", p.To, false)
	if p.TOS != 0 {
		i.str("tos", " tos %s", i.tosText(p.TOS))
	}
	if p.Mark != 0 || p.Mask != 0 {
		i.hex("fwmark", " fwmark %s", uint64(p.Mark))
		if p.Mask != 0 {
			i.hex("fwmask", "/%s", uint64(p.Mask))
		}
	}
	for _, f := range []struct{ key, dev string }{{"iif", p.Iif}, {"oif", p.Oif}} {
		if f.dev == "" {
			continue
		}
		i.text(" %s ", f.key)
		i.cstr(cyan, f.key, "%s", f.dev)
		if i.state().Link(f.dev) == nil {
			i.null(f.key+"_detached", " [detached]")
		}
	}
	if p.Table != 0 {
		i.str("table", " lookup %s", i.tableText(p.Table))
		if p.Suppress != nil {
			i.num("suppress_prefixlen", " suppress_prefixlength %d", *p.Suppress)
		}
	}
	switch p.Action {
	case "":
	case "goto":
		i.num("goto", " goto %d", p.Goto)
		if !slices.ContainsFunc(i.state().Policies, func(q state.Policy) bool { return q.Priority == p.Goto }) {
			i.null("unresolved", " [unresolved]")
		}
	case "nop":
		i.null("nop", " nop")
	default:
		i.str("action", " %s", i.typeText(p.Action))
	}
	proto, _ := readProto(orDefault(p.Proto, "unspec"))
	if proto != 0 && p.Proto != "kernel" || i.details > 0 {
		i.str("protocol", " proto %s", orElse(i.numeric, fmt.Sprint(proto), name(proto, protoNames)))
	}
	i.text("\n")
	i.close()
}

// selector prints the addresses a rule is for; all of them only of the source.
func (i *iproute) selector(word, key, lenKey, text string, all bool) {
	p, err := netip.ParsePrefix(text)
	switch {
	case text == "" || err != nil:
		if all {
			i.str(key, word+"%s", "all")
		}
		return
	case p.Bits() == 0 && all:
		i.str(key, word+"%s", "all")
		return
	}
	i.text("%s", word)
	i.cstr(magenta, key, "%s", p.Addr().String())
	if p.Bits() != 32 {
		i.num(lenKey, "/%d", p.Bits())
	}
}
