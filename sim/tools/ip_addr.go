package tools

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"vethlab/sim"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// ip address (ip/ipaddress.c). The links above the addresses are ip_link_list.go's.
func (i *iproute) doAddr() {
	switch verb := i.verb("address", "add", "change", "=chg", "replace", "delete", "list", "show", "lst", "flush", "save", "showdump", "restore", "help"); verb {
	case "add":
		i.addrModify(sim.Add)
	case "change", "chg":
		i.addrModify(sim.Change)
	case "replace":
		i.addrModify(sim.Replace)
	case "delete":
		i.addrModify(sim.Delete)
	case "", "list", "show", "lst":
		i.list(false)
	case "flush":
		i.addrFlush()
	case "save", "showdump", "restore":
		notSimulated("ip address %s", verb)
	default:
		i.usage("addr")
	}
}

// addrFilter chooses what a listing shows.
type addrFilter struct {
	dev      string
	family   string
	to       prefix
	scope    int
	scopes   bool // scope counts
	up       bool
	flags    map[string]bool // secondary, permanent, noprefixroute: wanted or not
	label    string
	group    bool // of another group than the one all links are in
	grouped  bool // a group was named
	master   string
	nomaster bool
	kind     string
	slave    string
	oneline  bool
}

// readFilter reads the words of a listing (ipaddr_list_flush_or_save).
func (i *iproute) readFilter(object string, flush bool) addrFilter {
	f := addrFilter{family: i.family, flags: map[string]bool{}, oneline: i.oneline}
	for i.more() {
		word := i.take()
		switch {
		case word == "to":
			f.to = prefixOf(i.next(), f.family)
			if f.family == "" {
				f.family = f.to.family
			}
		case word == "scope":
			v := i.next()
			n, ok := readScope(v)
			if !ok && v != "all" {
				invarg("invalid \"scope\"\n", v)
			}
			f.scope, f.scopes = n, v != "all"
		case word == "up":
			f.up = true
		case f.flag(word):
		case word == "label":
			f.label = i.next()
		case word == "group":
			v := i.next()
			f.grouped = true
			if n, ok := integer(v); v != "default" && (!ok || n < 0) {
				invarg("Invalid \"group\" value\n", v)
			} else if v != "default" && n != 0 {
				f.group = true
			}
		case word == "master":
			v := i.next()
			n := i.index(v)
			if n == 0 {
				invarg("Device does not exist\n", v)
			}
			f.master, f.nomaster = fmt.Sprintf("if%d", n), false
			if l := i.indexed(n); l != nil {
				f.master = l.Name
			}
		case word == "vrf":
			invarg("Not a valid VRF name\n", i.next())
		case word == "nomaster":
			f.nomaster, f.master = true, ""
		case word == "type":
			v := i.next()
			if s, ok := strings.CutSuffix(v, "_slave"); ok {
				f.slave = s
			} else {
				f.kind = v
			}
		default:
			if word == "dev" {
				word = i.next()
			} else if matches(word, "help") {
				i.usage(object)
			}
			if f.dev != "" {
				duparg2("dev", word)
			}
			f.dev = word
		}
	}
	if f.dev != "" {
		n := i.index(f.dev)
		if n == 0 {
			fail(1, `Device "%s" does not exist.`, f.dev)
		}
		l := i.indexed(n)
		switch {
		case object == "link" && !f.grouped && (l == nil || l.Name != f.dev): // which is asked for by its name
			i.begin()
			i.end()
			fail(1, "RTNETLINK answers: No such device\nCannot send link get request: No such device")
		case l == nil && flush:
			fail(1, "RTNETLINK answers: No such device\nFlush terminated")
		case l == nil:
			i.begin()
			i.end()
			i.warn("RTNETLINK answers: No such device\nCannot send link request: No such device")
			quit(0)
		}
		f.dev = l.Name
	}
	return f
}

// addrFlags are flags of an address that a listing may ask for; of them only
// the first three are IPv4's.
var addrFlags = []string{"secondary", "permanent", "noprefixroute", "temporary", "nodad", "optimistic", "dadfailed", "home", "deprecated",
	"tentative", "mngtmpaddr", "autojoin", "stable-privacy"}

func (f *addrFilter) flag(word string) bool {
	name, want := word, true
	if s, ok := strings.CutPrefix(word, "-"); ok {
		name, want = s, false
	}
	switch name {
	case "dynamic":
		name, want = "permanent", !want
	case "primary":
		name, want = "secondary", !want
	case "temporary":
		name = "secondary"
	}
	if !slices.Contains(addrFlags, name) {
		return false
	}
	f.flags[name] = want
	return true
}

// addr reports whether an address is to be shown.
func (f *addrFilter) addr(l *state.Link, a state.Addr) bool {
	if f.family != "" && f.family != "inet" {
		return false
	}
	if f.scopes && scopeNames[f.scope] != a.Scope {
		return false
	}
	for flag, want := range f.flags {
		has := flag == "permanent" || flag == "secondary" && a.Secondary || flag == "noprefixroute" && a.NoRoute
		if has != want {
			return false
		}
	}
	if f.label != "" {
		if ok, err := path.Match(f.label, orDefault(a.Label, l.Name)); !ok || err != nil {
			return false
		}
	}
	return !f.to.given || f.to.contains(a.Prefix.Addr())
}

// link reports whether a link is in the kernel's answer, and whether ip shows it.
func (f *addrFilter) link(l *state.Link) (answered, shown bool) {
	kinds := []string{"veth", "bridge", "macvlan", "vxlan"}
	if f.dev == "" && (f.master != "" && l.Master != f.master || f.nomaster && l.Master != "" ||
		slices.Contains(kinds, f.kind) && l.Type != f.kind) {
		return false, false
	}
	if f.up && !l.Up || f.group || f.master != "" && l.Master != f.master || f.kind != "" && l.Type != f.kind {
		return true, false
	}
	if f.slave != "" && (l.Master == "" || f.slave != "bridge") {
		return true, false
	}
	return true, true
}

// addrInfos prints the addresses of a link (print_selected_addrinfo).
func (i *iproute) addrInfos(l *state.Link, f addrFilter) {
	i.openArray("addr_info")
	if f.family == "" || f.family == "inet" {
		for _, a := range l.Addrs {
			if f.up && !l.Up {
				continue
			}
			i.open("")
			if f.addr(l, a) {
				i.addrInfo(l, a, f)
			}
			i.close()
		}
	}
	i.closeArray()
	if i.brief {
		i.text("\n")
	}
}

func (i *iproute) addrInfo(l *state.Link, a state.Addr, f addrFilter) {
	if !i.brief {
		if f.oneline {
			i.num("index", "%d: ", l.Index)
			i.str("dev", "%s", l.Name)
		}
		i.str("family", "    %s ", "inet")
	}
	i.cstr(magenta, "local", "%s", a.Prefix.Addr().String())
	if a.Peer.IsValid() && !a.Peer.IsUnspecified() {
		i.text(" peer ")
		i.cstr(magenta, "address", "%s", a.Peer.String())
	}
	i.num("prefixlen", "/%d ", a.Prefix.Bits())
	if a.Metric != 0 {
		i.num("metric", "metric %d ", a.Metric)
	}
	if i.brief {
		return
	}
	if a.Broadcast != "" && a.Broadcast != "0.0.0.0" {
		i.text("brd ")
		i.cstr(magenta, "broadcast", "%s ", a.Broadcast)
	}
	i.str("scope", "scope %s ", orElse(i.numeric, itoa(scopeNumber(a.Scope)), a.Scope))
	if a.Secondary {
		i.flag("secondary", "secondary ")
	}
	if a.NoRoute {
		i.flag("noprefixroute", "noprefixroute ")
	}
	i.str("label", "%s", orDefault(a.Label, l.Name))
	i.nl()
	i.text("       valid_lft ")
	i.raw("valid_life_time", "4294967295", "forever")
	i.text(" preferred_lft ")
	i.raw("preferred_life_time", "4294967295", "forever")
	i.text("\n")
}

func scopeNumber(s string) int {
	n, _ := readScope(s)
	return n
}

// addrModify is ip address add, change, replace and delete (ipaddr_modify).
func (i *iproute) addrModify(mode sim.Mode) {
	var local, peer prefix
	var brd, lcl string
	var broadcast netip.Addr
	r := sim.AddrRequest{Mode: mode}
	family, dev, scoped, anycast, unknown := i.family, "", false, false, ""
	empty := false // an address without bytes was among them
	fill := func(p prefix) {
		empty = empty || p.empty()
		if family == "" {
			family = p.family
		}
	}
	lifetime := map[string]int{}
	for i.more() {
		word := i.take()
		switch {
		case word == "peer" || word == "remote":
			v := i.next()
			if peer.given && !peer.empty() {
				duparg("peer", v)
			}
			peer = prefixOf(v, family)
			fill(peer)
		case matches(word, "broadcast") || word == "brd":
			v := i.next()
			if brd != "" {
				duparg("broadcast", v)
			}
			if brd = v; v != "+" && v != "-" {
				a := addr(v, family)
				fill(a)
				broadcast = a.addr
			}
		case word == "anycast":
			v := i.next()
			if anycast {
				duparg("anycast", v)
			}
			fill(addr(v, family))
			anycast, unknown = true, "anycast"
		case word == "scope":
			v := i.next()
			n, ok := readScope(v)
			if !ok {
				invarg("invalid scope value.", v)
			}
			r.Scope, scoped = name(n, scopeNames), true
		case word == "dev":
			dev = i.next()
		case word == "label":
			r.Label = i.next()
		case matches(word, "metric"), matches(word, "priority"), matches(word, "preference"):
			r.Metric = u32(i.next(), "\"metric\" value is invalid\n")
		case matches(word, "valid_lft"), matches(word, "preferred_lft"):
			key := orElse(matches(word, "valid_lft"), "valid_lft", "preferred_lft")
			if _, again := lifetime[key]; again {
				duparg(key, word)
			}
			v := i.next()
			n, ok := unsigned(v, 1<<32-1)
			if v != "forever" && !ok {
				invarg(key+" value", v)
			}
			lifetime[key] = orElse(v == "forever", 1<<32-1, int(n))
		case slices.Contains(addrFlags, word):
			switch word {
			case "noprefixroute":
				r.NoRoute = true
			case "autojoin":
				unknown = word
			case "nodad", "optimistic", "home", "mngtmpaddr":
				if family != "inet6" {
					i.warn("Warning: %s option can be set only for IPv6 addresses", word)
				}
			default:
				i.warn("Warning: %s option is not mutable from userspace", word)
			}
		default:
			if word == "local" {
				word = i.next()
			}
			if matches(word, "help") {
				i.usage("addr")
			}
			if local.given && !local.empty() {
				duparg2("local", word)
			}
			lcl = word
			local = prefixOf(word, family)
			fill(local)
		}
	}
	if dev == "" {
		fail(1, `Not enough information: "dev" argument is required.`)
	}
	if !(peer.given && !peer.empty()) && local.given && !local.empty() {
		if mode == sim.Delete && local.family == "inet" && !local.plen {
			i.warn("Warning: Executing wildcard deletion to stay compatible with old scripts.\n"+
				"         Explicitly specify the prefix length (%s/%d) to avoid this warning.\n"+
				"         This special behaviour is likely to disappear in further releases,\n"+
				"         fix your scripts!", lcl, 32)
			r.Any = true
		} else {
			peer = local
			peer.given = false
		}
	}
	bits := peer.bits
	if bits == 0 {
		bits = local.bits
	}
	if (brd == "+" || brd == "-") && mode != sim.Delete {
		if family != "inet" {
			fail(1, "Broadcast can be set only for IPv4 addresses")
		}
		if p := peer; p.bits <= 30 && p.addr.Is4() {
			b := p.netip().Masked().Addr().As4()
			if brd == "+" {
				for k := range b {
					b[k] |= ^byte(0) >> max(0, min(8, p.bits-8*k))
				}
			}
			broadcast = netip.AddrFrom4(b)
		}
	}
	if !scoped && mode != sim.Delete && local.given && !local.empty() && local.addr.Is4() && local.addr.As4()[0] == 127 {
		r.Scope = "host"
	}
	index := i.index(dev)
	if index == 0 {
		nodev(dev)
	}
	if len(lifetime) > 0 {
		valid, preferred := 1<<32-1, 1<<32-1
		if n, ok := lifetime["valid_lft"]; ok {
			valid = n
		}
		if n, ok := lifetime["preferred_lft"]; ok {
			preferred = n
		}
		if valid == 0 {
			fail(1, "valid_lft is zero")
		}
		if valid < preferred {
			fail(1, "preferred_lft is greater than valid_lft")
		}
		if valid != 1<<32-1 || preferred != 1<<32-1 {
			unknown = "valid_lft"
		}
	}
	if unknown == "autojoin" && !local.addr.IsMulticast() {
		fail(1, "autojoin needs multicast address")
	}
	if family == "" || family == "link" {
		notSimulated("ip address without an address")
	}
	ipv6(family)
	if unknown != "" {
		notSimulated("ip address %s", unknown)
	}
	if empty || len(r.Label) > 15 {
		policyFailed()
	}
	if mode != sim.Delete && local.given && local.addr.IsUnspecified() {
		return // which the kernel takes for nothing (inet_rtm_newaddr)
	}
	r.Broadcast = broadcast
	if local.given && !local.empty() {
		r.Prefix = netip.PrefixFrom(local.addr, bits)
	} else if peer.given && !peer.empty() {
		r.Prefix = netip.PrefixFrom(peer.addr, bits)
		notSimulated("ip address with only a peer")
	} else if mode != sim.Delete {
		fail(2, "Error: ipv4: Local address is not supplied.")
	}
	l := i.indexed(index)
	if l == nil {
		fail(2, "Error: ipv4: Device not found.")
	}
	if r.Dev = l.Name; peer.given && !peer.empty() {
		r.Peer = peer.addr
	}
	// What an operation says is one.
	if mode == sim.Add && !scoped && r.Metric == 0 && !r.NoRoute && !r.Peer.IsValid() {
		o := op.AddrAdd{Dev: l.Name, Prefix: r.Prefix, Label: r.Label}
		if r.Broadcast.IsValid() {
			o.Broadcast = r.Broadcast.String()
		}
		i.do(i.node, o)
		return
	}
	i.request(func(k *sim.Netns) *op.Failure { return k.AddrChange(r) })
}

// addrFlush is ip address flush (ipaddr_flush): each address that the filter
// chooses is deleted, until none is left.
func (i *iproute) addrFlush() {
	if !i.more() {
		fail(1, "Flush requires arguments.")
	}
	if i.family == "link" {
		fail(1, "Cannot flush link addresses.")
	}
	f := i.readFilter("addr", true)
	for round := 0; round < 10; round++ {
		var found []sim.AddrRequest
		for k := range i.state().Links {
			l := &i.state().Links[k]
			if f.dev != "" && l.Name != f.dev {
				continue
			}
			for _, a := range l.Addrs {
				if f.addr(l, a) {
					found = append(found, sim.AddrRequest{Mode: sim.Delete, Dev: l.Name, Prefix: a.Prefix, Peer: a.Peer, Label: a.Label})
				}
			}
		}
		if len(found) == 0 {
			return
		}
		for _, r := range found {
			f := i.ask(i.node, func(k *sim.Netns) *op.Failure { return k.AddrChange(r) })
			if f != nil && f.Errno != 99 { // EADDRNOTAVAIL: went with its primary
				i.answer(op.AddrDel{}, f)
			}
		}
		if want, ok := f.flags["secondary"]; ok && !want {
			return // only one round: what was promoted stays
		}
	}
	fail(1, "*** Flush remains incomplete after 10 rounds. ***")
}
