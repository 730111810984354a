package tools

import (
	"slices"
	"strings"

	"vethlab/sim"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// ip neighbour (ip/ipneigh.c).
func (i *iproute) doNeigh() {
	switch i.verb("neigh", "add", "change", "=chg", "replace", "delete", "get", "show", "lst", "list", "flush", "help") {
	case "add":
		i.neighModify(sim.Add)
	case "change", "chg":
		i.neighModify(sim.Change)
	case "replace":
		i.neighModify(sim.Replace)
	case "delete":
		i.neighModify(sim.Delete)
	case "get":
		i.neighGet()
	case "", "show", "lst", "list":
		i.neighList(false)
	case "flush":
		i.neighList(true)
	default:
		i.usage("neigh")
	}
}

// nudStates are the states of a neighbour (NUD_*, include/uapi/linux/neighbour.h).
var nudStates = []struct {
	bit   int
	name  string
	short bool
}{{0x80, "permanent", true}, {0x02, "reachable", true}, {0x40, "noarp", false}, {0, "none", false}, {0x04, "stale", false},
	{0x01, "incomplete", false}, {0x08, "delay", false}, {0x10, "probe", false}, {0x20, "failed", true}}

func nud(s string) (int, bool) {
	for _, n := range nudStates {
		if s == n.name || n.short && matches(s, n.name) {
			return n.bit, true
		}
	}
	n, ok := unsigned(s, 1<<32-1)
	return int(n), ok && n < 0x100 && n&(n-1) == 0
}

func nudName(bit int) string {
	for _, n := range nudStates {
		if n.bit == bit {
			return strings.ToUpper(n.name)
		}
	}
	return ""
}

func nudBit(s string) int {
	n, _ := nud(strings.ToLower(s))
	return n
}

// neighbours are all neighbours of the node.
func (c *call) neighbours() (all []state.Neigh) {
	c.locked(func() {
		if n := c.lab.world.Node(c.node); n != nil {
			all = n.Neighbours()
		}
	})
	return all
}

// nudShown is nudBit for a listing, which has a bit for no state, too.
func nudShown(s string) int {
	if n := nudBit(s); n != 0 {
		return n
	}
	return 0x100
}

// neighModify is ip neigh add, change, replace and delete (ipneigh_modify).
func (i *iproute) neighModify(mode sim.Mode) {
	r := sim.NeighRequest{Mode: mode}
	state, lla, dev, unknown := 0x80, "", "", ""
	llaSet, devSet, short := false, false, false
	var dst prefix
	for i.more() {
		word := i.take()
		switch {
		case matches(word, "lladdr"):
			v := i.next()
			if llaSet {
				duparg("lladdr", v)
			}
			lla, llaSet = v, true
		case word == "nud":
			v := i.next()
			n, ok := nud(v)
			if !ok {
				invarg("nud state is bad", v)
			}
			state = n
		case matches(word, "proxy"):
			dst, devSet, r.Proxy = i.proxyAddr(dst), true, true
		case word == "router" || word == "use" || word == "managed" || matches(word, "extern_learn"):
			unknown = word
		case word == "dev":
			dev, devSet = i.next(), true
		case matches(word, "protocol"):
			lookup(i.next(), "\"protocol\" value is invalid\n", readProto)
			unknown = "protocol"
		default:
			if word == "to" {
				word = i.next()
			}
			if matches(word, "help") {
				word = i.next()
			}
			if dst.given {
				duparg2("to", word)
			}
			dst = addr(word, i.family)
		}
	}
	if !devSet || !dst.given || dst.family == "" {
		fail(255, "Device and destination are required arguments.")
	}
	if lla != "" && lla != "null" {
		b := lladdr(lla)
		ipv6(dst.family)
		if len(b) >= 6 { // the kernel takes what it needs
			m := sim.MACOf(b)
			r.MAC = &m
		} else {
			short = mode != sim.Delete
		}
	}
	if dev != "" && i.index(dev) == 0 {
		nodev(dev)
	}
	ipv6(dst.family)
	if unknown != "" {
		notSimulated("ip neigh … %s", unknown)
	}
	if dev == "" || r.Proxy {
		notSimulated("ip neigh … proxy")
	}
	r.Dev, r.IP, r.State = i.device(dev).Name, dst.addr, nudName(state)
	if short {
		fail(2, "Error: Invalid link address.")
	}
	i.request(func(k *sim.Netns) *op.Failure { return k.NeighChange(r) })
}

// proxyAddr reads the address of a proxy entry; dst is the one read before, if any.
func (i *iproute) proxyAddr(dst prefix) prefix {
	v := i.next()
	if matches(v, "help") {
		i.usage("neigh")
	}
	if dst.given {
		duparg("address", v)
	}
	return addr(v, i.family)
}

// neighList is ip neigh show and flush (do_show_or_flush).
func (i *iproute) neighList(flush bool) {
	family, dev, master, nomaster := i.family, "", "", false
	states, given, proxy, never := 0xff&^0x40, false, false, false
	if flush {
		if !i.more() {
			fail(1, "Flush requires arguments.")
		}
		states = 0x1ff &^ (0x80 | 0x40)
	}
	var to prefix
	for i.more() {
		word := i.take()
		switch {
		case word == "dev":
			v := i.next()
			if dev != "" {
				duparg("dev", v)
			}
			dev = v
		case word == "master":
			v := i.next()
			if i.index(v) == 0 {
				invarg("Device does not exist\n", v)
			}
			master, nomaster = v, false
		case word == "vrf":
			invarg("Not a valid VRF name\n", i.next())
		case word == "nomaster":
			nomaster, master = true, ""
		case word == "unused":
			notSimulated("ip neigh … unused")
		case word == "nud":
			v := i.next()
			if !given {
				given, states = true, 0
			}
			n, ok := nud(v)
			switch {
			case !ok && v == "all":
				n = orElse(flush, 0x1ff&^0x40, 0x1ff)
			case !ok:
				invarg("nud state is bad", v)
			case n == 0:
				n = 0x100
			}
			states |= n
		case word == "proxy":
			proxy = true
		case matches(word, "protocol"):
			v := i.next()
			n, ok := readProto(v)
			if !ok && v != "all" {
				invarg("invalid \"protocol\"\n", v)
			}
			never = never || ok && n != 0
		default:
			if word == "to" {
				word = i.next()
			}
			if matches(word, "help") {
				i.usage("neigh")
			}
			to = prefixOf(word, family)
			if family == "" {
				family = to.family
			}
		}
	}
	if dev != "" {
		n := i.index(dev)
		if n == 0 {
			nodev(dev)
		}
		if l := i.indexed(n); l != nil {
			dev = l.Name
		}
	}
	chosen := slices.DeleteFunc(i.neighbours(), func(n state.Neigh) bool {
		l := i.state().Link(n.Dev)
		return proxy || never || family != "" && family != "inet" || dev != "" && n.Dev != dev || nudShown(n.State)&states == 0 ||
			to.given && !to.contains(n.IP) || l != nil && (master != "" && l.Master != master || nomaster && l.Master != "")
	})
	if flush {
		for _, n := range chosen {
			i.request(func(k *sim.Netns) *op.Failure {
				f := k.NeighChange(sim.NeighRequest{Mode: sim.Delete, Dev: n.Dev, IP: n.IP, State: n.State})
				if f != nil && f.Errno == enoent {
					return nil
				}
				return f
			})
		}
		return
	}
	i.begin()
	for _, n := range chosen {
		i.neigh(n, dev)
	}
	i.end()
}

// neigh prints a neighbour (print_neigh).
func (i *iproute) neigh(n state.Neigh, dev string) {
	i.open("")
	if i.brief {
		i.cstr(magenta, "dst", "%-39s ", n.IP.String())
		if dev == "" {
			i.cstr(cyan, "dev", "%-16s ", n.Dev)
		}
		if n.MAC != "" {
			i.cstr(yellow, "lladdr", "%s", n.MAC)
		}
		i.text("\n")
		i.close()
		return
	}
	i.cstr(magenta, "dst", "%s ", n.IP.String())
	if dev == "" {
		i.text("dev ")
		i.cstr(cyan, "dev", "%s ", n.Dev)
	}
	if n.MAC != "" {
		i.text("lladdr ")
		i.cstr(yellow, "lladdr", "%s ", n.MAC)
	}
	if n.State != "NONE" {
		i.printer.list("state", "%s ", []string{n.State})
	}
	i.text("\n")
	i.close()
}

// neighGet is ip neigh get (ipneigh_get).
func (i *iproute) neighGet() {
	var dst prefix
	dev, devSet, proxy := "", false, false
	for i.more() {
		word := i.take()
		switch {
		case word == "dev":
			dev, devSet = i.next(), true
		case matches(word, "proxy"):
			dst, devSet, proxy = i.proxyAddr(dst), true, true
		default:
			if word == "to" {
				word = i.next()
			}
			if matches(word, "help") {
				i.usage("neigh")
			}
			if dst.given {
				duparg2("to", word)
			}
			dst = addr(word, i.family)
		}
	}
	if !devSet || !dst.given || dst.family == "" {
		fail(1, "Device and address are required arguments.")
	}
	if dev != "" && i.index(dev) == 0 {
		nodev(dev)
	}
	ipv6(dst.family)
	if proxy {
		notSimulated("ip neigh get proxy")
	}
	l := i.indexed(i.index(dev))
	if l == nil {
		fail(2, "Error: Unknown device ifindex.")
	}
	for _, n := range i.neighbours() {
		if n.Dev == l.Name && n.IP == dst.addr {
			text := i.json
			i.json = false // ip neigh get opens no document
			i.neigh(n, "")
			i.json = text
			return
		}
	}
	fail(2, "Error: Neighbour entry not found.")
}
