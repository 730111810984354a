package tools

import (
	"vethlab/sim"
	"vethlab/sim/op"
)

// ip route get: which way a packet would go (iproute_get in ip/iproute.c).

// routeGet is ip route get (iproute_get).
func (i *iproute) routeGet() {
	var q sim.RouteQuery
	family, idev, odev, unknown := i.family, "", "", ""
	from, found, connected, short := prefix{}, false, false, false
	for i.more() {
		word := i.take()
		switch {
		case word == "tos" || matches(word, "dsfield"):
			q.TOS = uint8(lookup(i.next(), "TOS value is invalid\n", readTOS))
		case matches(word, "from"):
			v := i.next()
			if matches(v, "help") {
				i.usage("route")
			}
			from = prefixOf(v, family)
			if family == "" {
				family = from.family
			}
			if !from.any && !from.addr.IsUnspecified() {
				q.Src = from.addr
			}
			short = short || !from.empty() && from.bits != 32
		case matches(word, "iif"):
			idev = i.next()
		case matches(word, "mark"):
			q.Mark = uint32(u32(i.next(), "invalid mark value"))
		case matches(word, "oif") || word == "dev":
			odev = i.next()
		case matches(word, "notify"):
		case matches(word, "connected"):
			connected = true
		case matches(word, "vrf"):
			invarg("Invalid VRF\n", i.next())
		case matches(word, "uid"):
			if u32(i.next(), "invalid UID\n") != 0 {
				unknown = "uid"
			}
		case matches(word, "fibmatch"):
			unknown = "fibmatch"
		case word == "as":
			unknown = "as"
			v := i.next()
			if v == "to" {
				v = i.next()
			}
			addr(v, family)
		case matches(word, "sport"):
			q.SrcPort = uint16(number(i.next(), "invalid sport\n", 65535))
		case matches(word, "dport"):
			q.DstPort = uint16(number(i.next(), "invalid dport\n", 65535))
		case matches(word, "ipproto"):
			v := i.next()
			p, ok := map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17}[v]
			if n, isNumber := unsigned(v, 255); isNumber {
				p, ok = uint8(n), true
			}
			if !ok {
				invarg("Invalid \"ipproto\" value\n", v)
			}
			q.Proto = p
		default:
			if word == "to" {
				word = i.next()
			}
			if matches(word, "help") {
				i.usage("route")
			}
			p := prefixOf(word, family)
			if family == "" {
				family = p.family
			}
			if q.Dst = p.addr; family == "inet" && p.bits != 32 {
				i.warn("Warning: /%d as prefix is invalid, only /32 (or none) is supported.", p.bits)
			}
			found = true
		}
	}
	if !found {
		fail(1, "need at least a destination address")
	}
	for _, dev := range []string{idev, odev} {
		if dev != "" && i.index(dev) == 0 {
			nodev(dev)
		}
	}
	if idev != "" {
		q.Iif = i.device(idev).Name
	}
	if odev != "" && idev == "" { // of what came in nobody asks where it goes out
		if l := i.indexed(i.index(odev)); l != nil {
			q.Oif = l.Name
		} else {
			q.NoOif = true
		}
	}
	ipv6(family)
	if unknown != "" {
		notSimulated("ip route get … %s", unknown)
	}
	if short { // inet_rtm_valid_getroute_req
		fail(2, "Error: ipv4: %s.", orElse(from.bits == 0, "rtm_src_len and rtm_dst_len must be 32 for IPv4", "Invalid values in header for route get request"))
	}
	a := i.lookupRoute(q)
	i.begin()
	if connected && !from.given {
		i.routeAnswer(q, a)
		i.end()
		q.Src = a.Src
		a = i.lookupRoute(q)
		i.begin()
	}
	i.routeAnswer(q, a)
	i.end()
}

func (i *iproute) lookupRoute(q sim.RouteQuery) (a sim.RouteAnswer) {
	f := i.ask(i.node, func(k *sim.Netns) (f *op.Failure) {
		a, f = k.RouteGet(q)
		return f
	})
	i.answer(op.RouteAdd{}, f)
	return a
}

// routeAnswer prints the kernel's answer: a row of the old route cache.
func (i *iproute) routeAnswer(q sim.RouteQuery, a sim.RouteAnswer) {
	i.open("")
	if a.Type != "unicast" || i.details > 0 {
		i.str("type", "%s ", i.typeText(a.Type))
	}
	i.cstr(magenta, "dst", "%s ", q.Dst.String())
	if q.Src.IsValid() {
		i.cstr(magenta, "from", "from %s ", q.Src.String())
	}
	if q.TOS != 0 {
		i.str("tos", "tos %s ", i.tosText(int(q.TOS)))
	}
	if a.Via.IsValid() {
		i.via(a.Via.String())
	}
	if a.Dev != "" {
		i.dev("dev", a.Dev)
	}
	if a.Table != 0 && (a.Table != tableMain || i.details > 0) {
		i.str("table", "table %s ", i.tableText(a.Table))
	}
	if a.Src.IsValid() && !a.Src.IsUnspecified() {
		i.str("prefsrc", "", a.Src.String())
		i.text("src ")
		if !i.json {
			i.cstr(magenta, "", "%s ", a.Src.String())
		}
	}
	var flags []string
	if a.Type == "multicast" { // the two flags share a bit
		flags = []string{"rt_offload_failed"}
	}
	i.printer.list("flags", "%s ", flags)
	if q.Mark != 0 {
		if i.json {
			i.num("mark", "", int(q.Mark))
		} else {
			i.text(orElse(q.Mark >= 16, "mark 0x%x ", "mark %d "), q.Mark)
		}
	}
	if q.Iif == "" {
		i.num("uid", "uid %d ", 0)
	}
	i.text("%s    cache ", i.eol)
	if len(a.Cache) > 0 && !i.json {
		i.text("<")
		for n, c := range a.Cache {
			i.text("%s%s", c, orElse(n+1 < len(a.Cache), ",", "> "))
		}
	}
	i.printer.arrayOf("cache", a.Cache)
	if a.Expires != 0 {
		i.num("expires", "expires %dsec ", a.Expires)
	}
	if a.MTU != 0 {
		i.openArray("metrics")
		i.open("")
		i.num("mtu", orElse(a.Locked, "mtu lock %d ", "mtu %d "), a.MTU)
		i.close()
		i.closeArray()
	}
	if q.Iif != "" {
		i.dev("iif", q.Iif)
	}
	i.text("\n")
	i.close()
}
