package tools

import (
	"strings"

	"vethlab/sim"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// bridge(8), iproute2's: the ports of bridges, and forwarding tables. Unlike
// ip it ends with 255 where the kernel refuses, too.

func init() { programs["bridge"] = runBridge }

func runBridge(c *call) op.Result {
	i := &iproute{call: c, words: words{rest: c.argv[1:]}, printer: printer{b: &c.out, eol: "\n"}}
	usage := func() { fail(255, "Usage: bridge …; see bridge(8)") }
	for i.more() && strings.HasPrefix(i.peek(), "-") {
		o := i.take()
		if o == "--" {
			break
		}
		if strings.HasPrefix(o, "--") {
			o = o[1:]
		}
		color, colored := colorOption(o)
		switch {
		case matches(o, "-help"):
			usage()
		case matches(o, "-Version"):
			c.out.WriteString("bridge utility, 6.1.0\n")
			quit(0)
		case matches(o, "-stats"), matches(o, "-statistics"):
			notSimulated("bridge -s")
		case matches(o, "-details"):
			i.details++
		case matches(o, "-oneline"):
			i.oneline, i.eol = true, `\`
		case matches(o, "-timestamp"):
		case matches(o, "-family"):
			if i.family = readFamily(i.next()); i.family == "" {
				usage()
			}
		case o == "-4":
			i.family = "inet"
		case o == "-6":
			i.family = "inet6"
		case matches(o, "-netns"):
			i.enter(i.next())
		case colored && len(o) > 2:
			i.color = color
		case matches(o, "-compressvlans"):
		case matches(o, "-force"):
			i.force = true
		case matches(o, "-json"):
			i.json = true
		case matches(o, "-pretty"):
			i.pretty = true
		case matches(o, "-batch"):
			notSimulated("bridge -batch")
		default:
			fail(255, `Option "%s" is unknown, try "bridge help".`, o)
		}
	}
	i.color = i.color && !i.json
	if !i.more() {
		usage()
	}
	switch word := i.take(); {
	case matches(word, "link"):
		i.bridgeLink()
	case matches(word, "fdb"):
		i.bridgeFDB()
	case matches(word, "mdb"), matches(word, "vlan"), matches(word, "vni"), matches(word, "monitor"):
		notSimulated("bridge %s", word)
	case matches(word, "help"):
		usage()
	default:
		fail(255, `Object "%s" is unknown, try "bridge help".`, word)
	}
	return c.done(0)
}

// bridgeVerb is verb for bridge.
func (i *iproute) bridgeVerb(object string, names ...string) string {
	if !i.more() {
		return "show"
	}
	word := i.take()
	for _, n := range names {
		if exact, ok := strings.CutPrefix(n, "="); ok && word == exact || !ok && matches(word, n) {
			return strings.TrimPrefix(n, "=")
		}
	}
	fail(255, `Command "%s" is unknown, try "bridge %s help".`, word, object)
	return ""
}

// refused ends bridge with what the kernel said.
func (i *iproute) refused(f *op.Failure) {
	defer func() {
		if e, ok := recover().(exit); ok {
			panic(exit{e.stderr, 255})
		}
	}()
	i.answer(op.RouteAdd{}, f)
}

func (i *iproute) bridgeLink() {
	switch i.bridgeVerb("link", "set", "change", "show", "lst", "list", "help") {
	case "set", "change":
		i.bridgeLinkSet()
	case "help":
		fail(255, "Usage: bridge link …; see bridge(8)")
	default:
		i.bridgeLinkShow()
	}
}

func (i *iproute) bridgeLinkShow() {
	dev := ""
	for i.more() {
		if i.take() == "dev" {
			v := i.next()
			if dev != "" {
				duparg("dev", v)
			}
			dev = v
		}
	}
	if dev != "" && i.index(dev) == 0 {
		fail(255, `Cannot find device "%s"`, dev)
	}
	i.begin()
	for k := range i.state().Links {
		l := &i.state().Links[k]
		if l.Port == nil || dev != "" && l.Index != i.index(dev) {
			continue
		}
		i.open("")
		i.num("ifindex", "%d: ", l.Index)
		mdown := i.portName(l)
		i.linkFlags(l, mdown)
		i.num("mtu", "mtu %d ", l.MTU)
		i.str("master", "master %s ", l.Master)
		i.str("state", "state %s ", l.Port.State)
		i.num("priority", "priority %d ", 32)
		i.num("cost", "cost %d ", pathCost(l))
		if i.details > 0 {
			i.text("%s    ", i.eol)
			for _, f := range []struct {
				key string
				on  bool
			}{{"hairpin", l.Port.Hairpin}, {"guard", false}, {"root_block", false}, {"fastleave", false}, {"learning", l.Port.Learning},
				{"flood", l.Port.Flood}, {"mcast_flood", true}, {"bcast_flood", true}} {
				i.onOff(f.key, f.key+" %s ", f.on)
			}
			i.num("mcast_router", "mcast_router %d ", 1)
			for _, f := range []struct {
				key string
				on  bool
			}{{"mcast_to_unicast", false}, {"neigh_suppress", false}, {"vlan_tunnel", false}, {"isolated", l.Port.Isolated}, {"locked", false}} {
				i.onOff(f.key, f.key+" %s ", f.on)
			}
		}
		i.text("\n")
		i.close()
	}
	i.end()
}

// portName is nameAndLink for a port. The kernel does not say here in which
// namespace its other end is: bridge looks for that number in this one.
func (i *iproute) portName(l *state.Link) (down bool) {
	if l.Type != "veth" || l.PeerNode == i.node {
		return i.nameAndLink("%s: ", l)
	}
	name, other := l.Name, "if"+itoa(l.PeerIndex)
	if l.PeerIndex == l.Index { // it says so only where the numbers differ (br_fill_ifinfo)
		i.cstr(cyan, "ifname", "%s: ", name)
		return false
	}
	if o := i.indexed(l.PeerIndex); o != nil {
		other, down = o.Name, !o.Up
	}
	if i.str("link", "", other); !i.json {
		name += "@" + other
	}
	i.cstr(cyan, "ifname", "%s: ", name)
	return down
}

func (i *iproute) bridgeLinkSet() {
	var r sim.LinkRequest
	dev, unknown := "", ""
	onOff := func(key string) *bool {
		v := onOffWord(key, i.next(), 256-einval)
		return &v
	}
	for i.more() {
		switch word := i.take(); word {
		case "dev":
			dev = i.next()
		case "hairpin":
			r.Hairpin = onOff(word)
		case "learning":
			r.Learning = onOff(word)
		case "flood":
			r.Flood = onOff(word)
		case "isolated":
			r.Isolated = onOff(word)
		case "guard", "fastleave", "root_block", "learning_sync", "mcast_flood", "bcast_flood", "mcast_to_unicast", "neigh_suppress", "vlan_tunnel", "locked":
			onOff(word)
			unknown = word
		case "mcast_router", "cost", "priority", "state":
			i.next()
			unknown = word
		case "hwmode":
			if v := i.next(); v != "vepa" && v != "veb" {
				fail(255, `Mode argument must be "vepa" or "veb".`)
			}
			unknown = word
		case "self":
			unknown = word
		case "master":
		case "backup_port":
			if v := i.next(); i.index(v) == 0 {
				fail(255, "Error: device %s does not exist", v)
			}
			unknown = word
		case "nobackup_port":
			unknown = word
		default:
			fail(255, "Usage: bridge link …; see bridge(8)")
		}
	}
	if dev == "" {
		fail(255, "Device is a required argument.")
	}
	if i.index(dev) == 0 {
		fail(255, `Cannot find bridge device "%s"`, dev)
	}
	if unknown != "" {
		notSimulated("bridge link set %s", unknown)
	}
	l := i.indexed(i.index(dev))
	if l == nil {
		fail(255, "Error: unknown ifindex.") // rtnl_bridge_setlink
	}
	if l.Master == "" {
		fail(255, "RTNETLINK answers: Operation not supported") // rtnl_bridge_setlink
	}
	r.Name = l.Name
	i.refused(i.ask(i.node, func(k *sim.Netns) *op.Failure { return k.LinkChange(r) }))
}

func (i *iproute) bridgeFDB() {
	switch i.bridgeVerb("fdb", "add", "append", "replace", "delete", "get", "show", "lst", "list", "=flush", "help") {
	case "add":
		i.fdbModify(sim.Add)
	case "append":
		i.fdbModify(sim.Append)
	case "replace":
		i.fdbModify(sim.Replace)
	case "delete":
		i.fdbModify(sim.Delete)
	case "get", "flush":
		notSimulated("bridge fdb get")
	case "help":
		fail(255, "Usage: bridge fdb …; see bridge(8)")
	default:
		i.fdbShow()
	}
}

// fdbRow is a row of a forwarding table as bridge shows it.
type fdbRow struct {
	state.FDB
	master string // the bridge whose table it is in; "" is the device's own
}

// fdb lists all rows in the order of the kernel's dump: device by device, the
// bridge's about a port before its own (rtnl_fdb_dump, net/core/rtnetlink.c).
func (i *iproute) fdb() (rows []fdbRow) {
	n := i.state()
	for _, l := range n.Links {
		own := func() {
			for _, f := range n.FDB {
				if f.Dev == l.Name {
					rows = append(rows, fdbRow{f, orElse(l.Type == "bridge", l.Name, l.Master)})
				}
			}
		}
		if l.Type == "vxlan" {
			for _, f := range n.FDB {
				if f.Dev == l.Name && f.Dst == "" && l.Master != "" {
					rows = append(rows, fdbRow{f, l.Master})
				}
			}
			for _, f := range n.FDB {
				if f.Dev == l.Name && f.Dst != "" {
					rows = append(rows, fdbRow{f, ""})
				}
			}
			continue
		}
		if l.Type != "bridge" {
			own()
		}
		if l.Type != "loopback" {
			for _, mac := range i.heard(&l) {
				rows = append(rows, fdbRow{state.FDB{MAC: mac, Dev: l.Name, Local: true}, ""})
			}
		}
		if l.Type == "bridge" {
			own()
		}
	}
	return rows
}

// heard are the addresses beside its own that a device takes frames for: those
// of macvlans on it, and the multicast groups the kernel joins by itself
// (ndo_dflt_fdb_dump).
func (i *iproute) heard(l *state.Link) (macs []string) {
	for _, o := range i.state().Links {
		if o.Type == "macvlan" && o.Parent == l.Name && o.Up {
			macs = append(macs, o.MAC)
		}
	}
	if l.MTU >= ipv6MTU {
		macs = append(macs, "33:33:00:00:00:01")
	}
	if l.Up && l.Type == "bridge" {
		macs = append(macs, "01:00:5e:00:00:6a")
		if l.MTU >= ipv6MTU {
			macs = append(macs, "33:33:00:00:00:6a")
		}
	}
	if l.Up {
		macs = append(macs, "01:00:5e:00:00:01")
	}
	return macs
}

func (i *iproute) fdbShow() {
	dev, br, states, dynamic := "", "", 0, false
	for i.more() {
		switch word := i.take(); {
		case word == "brport" || word == "dev":
			dev = i.next()
		case word == "br":
			br = i.next()
		case word == "vlan":
			if n, _, _ := strtoul(i.next(), 10); n != 0 {
				notSimulated("bridge fdb show vlan")
			}
		case word == "state":
			v := i.next()
			n, ok := fdbState(v)
			if !ok {
				invarg("invalid state", v)
			}
			states |= n
		case word == "dynamic":
			dynamic = true
		case matches(word, "help"):
			fail(255, "Usage: bridge fdb …; see bridge(8)")
		}
	}
	if br != "" && i.index(br) == 0 {
		fail(255, `Cannot find bridge device "%s"`, br)
	}
	if dev != "" && i.index(dev) == 0 {
		fail(255, `Cannot find device "%s"`, dev)
	}
	i.begin()
	for _, f := range i.fdb() {
		l := i.state().Link(f.Dev)
		bits := 0x02 // reachable
		switch {
		case f.Local:
			bits = 0x80
		case f.Static:
			bits = 0x40
		}
		if dev != "" && l.Index != i.index(dev) || br != "" && (f.Dev != br || l.Type != "bridge") && l.Master != br || states != 0 && bits&states == 0 || dynamic && f.Local {
			continue
		}
		i.open("")
		i.cstr(yellow, "mac", "%s ", f.MAC)
		if dev == "" {
			i.text("dev ")
			i.cstr(cyan, "ifname", "%s ", f.Dev)
		}
		if f.Dst != "" {
			i.text("dst ")
			i.cstr(magenta, "dst", "%s ", f.Dst)
			if l.VXLAN != nil && f.Dst == l.VXLAN.Remote && f.MAC == "00:00:00:00:00:00" && l.Parent != "" {
				i.str("viaIf", "via %s ", l.Parent)
			}
			if l.VXLAN != nil && l.VXLAN.Node != "" { // vxlan_fdb_info
				if id, ok := i.nsid(l.VXLAN.Node); ok {
					i.num("linkNetNsId", "link-netnsid %d ", id)
				}
			}
		}
		i.printer.list("flags", "%s ", orElse(f.master == "", []string{"self"}, nil))
		if f.master != "" {
			i.str("master", "master %s ", f.master)
		}
		i.str("state", "%s\n", map[int]string{0x80: "permanent", 0x40: "static", 0x02: ""}[bits])
		i.close()
	}
	i.end()
}

// fdbState reads the state of a row (state_a2n, bridge/fdb.c).
func fdbState(s string) (int, bool) {
	for _, t := range []struct {
		name string
		bits int
	}{{"permanent", 0x80}, {"static", 0x40}, {"temp", 0x40}, {"stale", 0x04}, {"reachable", 0x02}, {"dynamic", 0x02}} {
		if matches(s, t.name) {
			return t.bits, true
		}
	}
	if s == "all" {
		return 0xff, true
	}
	n, ok := unsigned(s, 1<<32-1)
	return int(n), ok
}

func (i *iproute) fdbModify(mode sim.Mode) {
	r := sim.FDBRequest{Mode: mode}
	mac, dev, unknown := "", "", ""
	permanent, reachable, dynamic := false, false, false
	for i.more() {
		word := i.take()
		switch {
		case word == "dev":
			dev = i.next()
		case word == "dst":
			v := i.next()
			if r.Dst.IsValid() {
				duparg2("dst", v)
			}
			a := addr(v, i.family)
			ipv6(a.family)
			r.Dst = a.addr
		case word == "nhid":
			u32(i.next(), "\"id\" value is invalid\n")
			unknown = word
		case word == "port":
			r.Port = number(i.next(), "invalid port\n", 65535)
		case word == "vni", word == "src_vni":
			n := number(i.next(), orElse(word == "vni", "invalid VNI\n", "invalid src VNI\n"), 1<<24-1)
			if r.VNI = n; word == "src_vni" {
				unknown = word
			}
		case word == "via":
			v := i.next()
			if i.index(v) == 0 {
				fail(255, `Cannot find device "%s"`, v)
			}
			r.Via = v
		case word == "self":
			r.Self = true
		case matches(word, "master"):
			r.Master = true
		case matches(word, "router"):
			unknown = "router"
		case matches(word, "local"), matches(word, "permanent"):
			permanent = true
		case matches(word, "temp"), matches(word, "static"):
			reachable = true
		case matches(word, "dynamic"):
			reachable, dynamic = true, true
		case matches(word, "vlan"):
			i.next()
			unknown = "vlan"
		case matches(word, "use"):
			unknown = "use"
		case matches(word, "extern_learn"), matches(word, "sticky"):
			unknown = word
		default:
			if word == "to" {
				word = i.next()
			}
			if matches(word, "help") {
				fail(255, "Usage: bridge fdb …; see bridge(8)")
			}
			if mac != "" {
				duparg2("to", word)
			}
			mac = word
		}
	}
	if dev == "" || mac == "" {
		fail(255, "Device and address are required arguments.")
	}
	parts := strings.Split(mac, ":")
	for n := range 6 {
		ok := n < len(parts)
		if ok {
			var v uint64
			var rest string
			v, rest, ok = strtoul(parts[n], 16)
			r.MAC = r.MAC<<8 | sim.MAC(byte(v))
			ok = ok && (rest == "" || n == 5)
		}
		if !ok {
			fail(255, "Invalid mac address %s", mac)
		}
	}
	if i.index(dev) == 0 {
		fail(255, `Cannot find device "%s"`, dev)
	}
	if unknown != "" {
		notSimulated("bridge fdb … %s", unknown)
	}
	l := i.indexed(i.index(dev))
	if l == nil {
		fail(255, "Error: unknown ifindex.")
	}
	if !r.Self && !r.Master {
		r.Self = true
	}
	if r.Self && l.Type != "bridge" && l.Type != "vxlan" {
		notSimulated("bridge fdb … self of a device that is no bridge")
	}
	switch {
	case permanent || !reachable:
		r.State = "permanent"
	case dynamic:
		r.State = "reachable"
	default:
		r.State = "static"
	}
	r.Dev = l.Name
	i.refused(i.ask(i.node, func(k *sim.Netns) *op.Failure { return k.FDBChange(r) }))
}
