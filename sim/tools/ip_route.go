package tools

import (
	"net/netip"
	"slices"

	"vethlab/sim"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// ip route (ip/iproute.c).
func (i *iproute) doRoute() {
	switch verb := i.verb("route", "add", "change", "=chg", "replace", "prepend", "append", "test", "delete", "list", "show", "lst", "get", "flush",
		"save", "restore", "showdump", "help"); verb {
	case "add":
		i.routeModify(sim.Add)
	case "change", "chg":
		i.routeModify(sim.Change)
	case "replace":
		i.routeModify(sim.Replace)
	case "prepend":
		i.routeModify(sim.Prepend)
	case "append":
		i.routeModify(sim.Append)
	case "test":
		i.routeModify(sim.Test)
	case "delete":
		i.routeModify(sim.Delete)
	case "", "list", "show", "lst":
		i.routeList(false)
	case "flush":
		i.routeList(true)
	case "get":
		i.routeGet()
	case "save", "restore", "showdump":
		notSimulated("ip route %s", verb)
	default:
		i.usage("route")
	}
}

// routeMetrics are the words for a path's metrics, with what may shorten them.
var routeMetrics = []struct {
	name  string
	short bool
}{{"mtu", false}, {"hoplimit", false}, {"advmss", false}, {"reordering", true}, {"rtt", false}, {"rto_min", false}, {"window", true},
	{"cwnd", true}, {"initcwnd", true}, {"initrwnd", true}, {"features", true}, {"quickack", true}, {"congctl", true}, {"rttvar", true},
	{"ssthresh", true}}

func metricWord(word string) string {
	for _, m := range routeMetrics {
		if word == m.name || m.short && matches(word, m.name) {
			return m.name
		}
	}
	return ""
}

// routeModify is all that changes a table but flush (iproute_modify).
func (i *iproute) routeModify(mode sim.Mode) {
	del := mode == sim.Delete
	r := sim.RouteRequest{Mode: mode, Table: tableMain}
	kind, scope, proto := 1, 0, 3 // unicast, global, boot
	if del {
		kind, scope, proto = 0, 255, 0
	}
	family, dev, unknown := i.family, "", ""
	var dst prefix
	via, scoped, tabled, nexthop, empty := false, false, false, false, false
	fill := func(p prefix) {
		if family == "" {
			family = p.family
		}
	}
words:
	for i.more() {
		word := i.take()
		switch metric := metricWord(word); {
		case word == "src":
			a := addr(i.next(), family)
			fill(a)
			r.Src, empty = a.addr, empty || a.empty()
		case word == "as":
			v := i.next()
			if v == "to" {
				v = i.next()
			}
			fill(addr(v, family))
			unknown = "as"
		case word == "via":
			if via {
				invarg("use nexthop syntax to specify multiple via\n", word)
			}
			via = true
			v := i.next()
			f := readFamily(v)
			if f == "" {
				f = family
			} else {
				v = i.next()
			}
			a := addr(v, f)
			fill(a)
			if a.family != family && a.family != "" {
				unknown = "via " + a.family
			}
			r.Via, empty = a.addr, empty || a.empty()
		case word == "from":
			a := prefixOf(i.next(), family)
			fill(a)
			if a.bits != 0 {
				unknown = "from"
			}
		case word == "tos" || matches(word, "dsfield"):
			r.TOS = uint8(lookup(i.next(), "\"tos\" value is invalid\n", readTOS))
		case word == "expires":
			u32(i.next(), "\"expires\" value is invalid\n")
			unknown = word
		case matches(word, "metric"), matches(word, "priority"), word == "preference":
			r.Metric = u32(i.next(), "\"metric\" value is invalid\n")
		case word == "scope":
			scope, scoped = lookup(i.next(), "invalid \"scope\" value\n", readScope), true
		case metric != "":
			v := i.next()
			if v == "lock" && metric != "features" && metric != "quickack" && metric != "rto_min" {
				v = i.next()
			}
			i.metricValue(metric, v)
			unknown = metric
		case matches(word, "realms"):
			i.next()
			unknown = "realms"
		case word == "onlink":
			r.Onlink = true
		case word == "nexthop":
			nexthop = true
			i.rest = append([]string{word}, i.rest...)
			break words
		case word == "nhid":
			u32(i.next(), "\"id\" value is invalid\n")
			unknown = word
		case matches(word, "protocol"):
			proto = lookup(i.next(), "\"protocol\" value is invalid\n", readProto)
		case matches(word, "table"):
			r.Table, tabled = lookup(i.next(), "\"table\" value is invalid\n", readTable), true
		case matches(word, "vrf"):
			invarg("Invalid VRF\n", i.next())
		case word == "dev" || word == "oif":
			dev = i.next()
		case matches(word, "pref"):
			v := i.next()
			if v != "low" && v != "medium" && v != "high" {
				number(v, "\"pref\" value is invalid\n", 255)
			}
			unknown = "pref"
		case word == "encap" || word == "ttl-propagate" || matches(word, "fastopen_no_cookie"):
			notSimulated("ip route … %s", word)
		default:
			if word == "to" {
				word = i.next()
			}
			if word == "" || word[0] < '0' || word[0] > '9' {
				if t, ok := readType(word); ok {
					kind, word = t, i.next()
				}
			}
			if matches(word, "help") {
				i.usage("route")
			}
			if dst.given {
				duparg2("to", word)
			}
			dst = prefixOf(word, family)
			fill(dst)
		}
	}
	if !dst.given {
		i.usage("route")
	}
	if dev != "" {
		if i.index(dev) == 0 {
			nodev(dev)
		}
		if l := i.indexed(i.index(dev)); l != nil {
			r.Dev = l.Name
		} else {
			r.NoDev = true
		}
	}
	if nexthop {
		i.nexthops(family)
	}
	if family == "" {
		family = "inet"
	}
	switch typeName(kind) {
	case "local", "nat", "broadcast", "anycast":
		if !tabled {
			r.Table = tableLocal
		}
	}
	if !scoped && family == "inet" {
		switch typeName(kind) {
		case "local", "nat":
			scope = 254
		case "broadcast", "multicast", "anycast":
			scope = 253
		case "unicast", "none":
			if del {
				scope = 255
			} else if !via && !nexthop {
				scope = 253
			}
		}
	}
	ipv6(family)
	if family == "link" {
		notSimulated("ip -0 route")
	}
	if nexthop {
		notSimulated("ip route … nexthop")
	}
	if empty {
		policyFailed()
	}
	if unknown != "" {
		notSimulated("ip route … %s", unknown)
	}
	if r.Dst = dst.netip(); dst.any {
		r.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if r.Table == 0 {
		r.Table = tableMain // RT_TABLE_UNSPEC
	}
	r.Type, r.Scope, r.Proto = typeName(kind), name(scope, scopeNames), name(proto, protoNames)
	if del {
		r.Type, r.Scope, r.Proto = orElse(kind == 0, "", r.Type), orElse(scope == 255, "", r.Scope), orElse(proto == 0, "", r.Proto)
	}
	i.request(func(k *sim.Netns) *op.Failure { return k.RouteChange(r) })
}

// metricValue reads the value of a path's metric, which the model does not use.
func (i *iproute) metricValue(metric, v string) {
	name := orElse(metric == "advmss", "mss", metric)
	msg := "\"" + name + "\" value is invalid\n"
	switch metric {
	case "features":
		if v != "ecn" {
			invarg("\"features\" value not valid\n", v)
		}
	case "congctl", "rtt", "rttvar", "rto_min":
	case "hoplimit":
		number(v, msg, 255)
	case "quickack":
		if u32(v, msg) > 1 {
			invarg("\"quickack\" value should be 0 or 1\n", v)
		}
	default:
		u32(v, msg)
	}
}

// nexthops reads the nexthops of a route of several paths, which the model
// does not have (parse_nexthops).
func (i *iproute) nexthops(family string) {
	for i.more() {
		if word := i.take(); word != "nexthop" {
			fail(255, `Error: "nexthop" or end of line is expected instead of "%s"`, word)
		}
		if !i.more() {
			fail(255, `Error: unexpected end of line after "nexthop"`)
		}
	path:
		for i.more() {
			switch i.peek() {
			case "via":
				i.take()
				v := i.next()
				f := readFamily(v)
				if f == "" {
					f = family
				} else {
					v = i.next()
				}
				if a := addr(v, f); family == "" {
					family = a.family
				}
			case "dev":
				i.take()
				if v := i.next(); i.index(v) == 0 {
					i.warn(`Cannot find device "%s"`, v)
					fail(255, "Error: cannot parse nexthop")
				}
			case "weight":
				i.take()
				v := i.next()
				if n, ok := unsigned(v, 1<<32-1); !ok || n == 0 || n > 256 {
					invarg("\"weight\" is invalid\n", v)
				}
			case "onlink":
				i.take()
			default:
				break path
			}
		}
	}
}

// routeFilter chooses the rows that a listing shows (filter_nlmsg).
type routeFilter struct {
	table                               int // 0 is all
	cached, flush                       bool
	tos, proto, scope, kind             int
	tosSet, protoSet, scopeSet, kindSet bool
	iif, oif                            string
	metric                              int
	metricSet                           bool
	via, src, root, match               prefix
	never                               bool // asks for what no row has
}

// orAll reads a number by its name, or "all", which asks for none.
func orAll(v, what string, read func(string) (int, bool)) (n int, asked bool) {
	n, ok := read(v)
	if !ok && v != "all" {
		invarg("invalid \""+what+"\"\n", v)
	}
	return n, v != "all"
}

func (i *iproute) routeList(flush bool) {
	f := routeFilter{table: tableMain, flush: flush}
	if flush && !i.more() {
		fail(1, `"ip route flush" requires arguments.`)
	}
	for i.more() {
		word := i.take()
		switch {
		case matches(word, "table"):
			v := i.next()
			n, ok := readTable(v)
			switch {
			case ok:
				f.table = n
			case v == "all":
				f.table = 0
			case v == "cache":
				f.cached = true
			case v == "help":
				i.usage("route")
			default:
				invarg("table id value is invalid\n", v)
			}
		case matches(word, "vrf"):
			invarg("Invalid VRF\n", i.next())
		case matches(word, "cached"), matches(word, "cloned"):
			f.cached = true
		case word == "tos" || matches(word, "dsfield"):
			f.tos, f.tosSet = lookup(i.next(), "TOS value is invalid\n", readTOS), true
		case matches(word, "protocol"):
			f.proto, f.protoSet = orAll(i.next(), "protocol", readProto)
		case matches(word, "scope"):
			f.scope, f.scopeSet = orAll(i.next(), "scope", readScope)
		case matches(word, "type"):
			f.kind, f.kindSet = lookup(i.next(), "node type value is invalid\n", readType), true
		case word == "dev" || word == "oif":
			f.oif = i.next()
		case word == "iif":
			f.iif = i.next()
		case word == "mark":
			f.never = u32(i.next(), "invalid mark value") != 0 || f.never
		case matches(word, "metric"), matches(word, "priority"), word == "preference":
			f.metric, f.metricSet = u32(i.next(), "\"metric\" value is invalid\n"), true
		case word == "via":
			v := i.next()
			fam := readFamily(v)
			if fam == "" {
				fam = i.family
			} else {
				v = i.next()
			}
			f.via = prefixOf(v, fam)
		case word == "src":
			f.src = prefixOf(i.next(), i.family)
		case matches(word, "realms"):
			i.next()
			notSimulated("ip route … realms")
		case matches(word, "from"):
			v := i.next()
			for _, w := range []string{"root", "match", "exact"} {
				if matches(v, w) {
					v = i.next()
					break
				}
			}
			f.never = prefixOf(v, i.family).bits != 0 || f.never
		default:
			if matches(word, "to") {
				word = i.next()
			}
			switch {
			case matches(word, "root"):
				f.root = prefixOf(i.next(), i.family)
			case matches(word, "match"):
				f.match = prefixOf(i.next(), i.family)
			default:
				if matches(word, "exact") {
					word = i.next()
				}
				f.match = prefixOf(word, i.family)
				f.root = f.match
			}
		}
	}
	if f.iif != "" {
		if i.index(f.iif) == 0 {
			nodev(f.iif)
		}
		f.never = true // only rows of the old route cache had one
	}
	if f.oif != "" {
		n := i.index(f.oif)
		if n == 0 {
			nodev(f.oif)
		}
		if l := i.indexed(n); l != nil {
			f.oif = l.Name
		} else {
			if !flush {
				i.begin()
			}
			fail(2, "RTNETLINK answers: No such device\n%s terminated", orElse(flush, "Flush", "Dump"))
		}
	}
	if flush && f.cached {
		return // iproute_flush_cache: there is no cache any more
	}
	if i.family == "inet6" || f.root.family == "inet6" || f.match.family == "inet6" {
		if flush {
			return
		}
		i.begin()
		i.end()
		return
	}
	rows := i.routes(f.table)
	if f.table != 0 && (flush || f.table != tableMain) && !i.hasTable(f.table) {
		if !flush {
			i.begin()
		}
		fail(2, "Error: ipv4: FIB table does not exist.\n%s terminated", orElse(flush, "Flush", "Dump"))
	}
	if flush {
		for _, r := range rows {
			if f.row(r) {
				i.deleteRow(r)
			}
		}
		return
	}
	i.begin()
	for _, r := range rows {
		if f.row(r) {
			i.routeRow(r, f)
		}
	}
	i.end()
}

// hasTable reports whether the kernel has such a table.
func (c *call) hasTable(table int) (has bool) {
	c.locked(func() {
		if n := c.lab.world.Node(c.node); n != nil {
			has = n.HasTable(table)
		}
	})
	return has
}

// routes are the rows of a table, or of all: each in the order of its trie, by
// prefix and then by length (fib_table_dump).
func (c *call) routes(table int) []state.Route {
	var rows []state.Route
	c.locked(func() {
		if n := c.lab.world.Node(c.node); n != nil {
			rows = n.Routes()
		}
	})
	if table != 0 {
		rows = slices.DeleteFunc(rows, func(r state.Route) bool { return r.Table != table })
	}
	return rows
}

func (f *routeFilter) row(r state.Route) bool {
	kind, _ := readType(r.Type)
	via, _ := netip.ParseAddr(r.Via)
	src, _ := netip.ParseAddr(r.Src)
	unset := netip.IPv4Unspecified()
	if !via.IsValid() {
		via = unset
	}
	if !src.IsValid() {
		src = unset
	}
	proto, _ := readProto(r.Proto)
	switch {
	case f.never, f.cached, f.oif != "" && r.Dev != f.oif, f.kindSet && kind != f.kind, f.tosSet && r.TOS != f.tos,
		f.protoSet && proto != f.proto && f.proto != 0, f.scopeSet && scopeNumber(r.Scope) != f.scope, f.metricSet && r.Metric != f.metric:
		return false
	case f.protoSet && f.proto == 0 && proto != 0:
		return false
	case f.root.given && (f.root.family != "" || f.root.plen) && (f.root.bits > r.Dst.Bits() || !f.root.contains(r.Dst.Addr())):
		return false
	case f.match.given && (f.match.family != "" || f.match.plen) && (f.match.bits < r.Dst.Bits() || !netip.PrefixFrom(f.match.addr, r.Dst.Bits()).Masked().Contains(r.Dst.Addr())):
		return false
	case f.via.given && f.via.family != "" && !f.via.contains(via), f.src.given && f.src.family != "" && !f.src.contains(src):
		return false
	}
	return true
}

// deleteRow takes away just that row, as a flush does.
func (i *iproute) deleteRow(r state.Route) {
	via, _ := netip.ParseAddr(r.Via)
	src, _ := netip.ParseAddr(r.Src)
	q := sim.RouteRequest{Mode: sim.Delete, Table: r.Table, Type: r.Type, Scope: r.Scope, Proto: r.Proto, Dst: r.Dst, TOS: uint8(r.TOS),
		Via: via, Dev: r.Dev, Src: src, Metric: r.Metric}
	i.request(func(k *sim.Netns) *op.Failure { return k.RouteChange(q) })
}

// routeRow prints a row of a table (print_route).
func (i *iproute) routeRow(r state.Route, f routeFilter) {
	i.open("")
	if (r.Type != "unicast" || i.details > 0) && !f.flush {
		i.str("type", "%s ", i.typeText(r.Type))
	}
	dst := "default"
	color := ""
	if r.Dst.Bits() > 0 {
		dst, color = orElse(r.Dst.Bits() == 32, r.Dst.Addr().String(), r.Dst.String()), magenta
	}
	i.cstr(color, "dst", "%s ", dst)
	if r.TOS != 0 && !f.tosSet {
		i.str("tos", "tos %s ", i.tosText(r.TOS))
	}
	if r.Via != "" && !(f.via.given && f.via.bits == 32) {
		i.via(r.Via)
	}
	if r.Dev != "" && f.oif == "" {
		i.dev("dev", r.Dev)
	}
	if (r.Table != tableMain || i.details > 0) && f.table == 0 {
		i.str("table", "table %s ", i.tableText(r.Table))
	}
	if proto, _ := readProto(r.Proto); (r.Proto != "boot" || i.details > 0) && !f.protoSet {
		i.str("protocol", "proto %s ", orElse(i.numeric, itoa(proto), r.Proto))
	}
	if (r.Scope != "global" || i.details > 0) && !f.scopeSet {
		i.str("scope", "scope %s ", orElse(i.numeric, itoa(scopeNumber(r.Scope)), r.Scope))
	}
	if r.Src != "" && !(f.src.given && f.src.bits == 32) {
		i.str("prefsrc", "", r.Src)
		i.text("src ")
		if !i.json {
			i.cstr(magenta, "", "%s ", r.Src)
		}
	}
	if r.Metric != 0 && !f.metricSet {
		i.num("metric", "metric %d ", r.Metric)
	}
	var flags []string
	if r.Onlink {
		flags = append(flags, "onlink")
	}
	if r.Down {
		flags = append(flags, "linkdown")
	}
	i.printer.list("flags", "%s ", flags)
	i.text("\n")
	i.close()
}

func (i *iproute) via(a string) {
	i.str("gateway", "", a)
	i.text("via ")
	if !i.json {
		i.cstr(magenta, "", "%s ", a)
	}
}

func (i *iproute) dev(key, dev string) {
	i.str(key, "", dev)
	i.text("%s ", key)
	if !i.json {
		i.cstr(cyan, "", "%s ", dev)
	}
}

func (i *iproute) typeText(t string) string {
	if i.numeric {
		n, _ := readType(t)
		return itoa(n)
	}
	return t
}

func (i *iproute) tosText(n int) string {
	if s, ok := tosNames[n]; ok && !i.numeric {
		return s
	}
	return "0x" + string("0123456789abcdef"[n>>4]) + string("0123456789abcdef"[n&15])
}

func (i *iproute) tableText(n int) string { return orElse(i.numeric, itoa(n), name(n, tableNames)) }
