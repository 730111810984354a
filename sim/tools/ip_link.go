package tools

import (
	"fmt"
	"slices"
	"strings"

	"vethlab/sim"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// ip link: do_iplink and iplink_parse (ip/iplink.c). The options of each type are
// in ip_link_type.go, the listings in ip_link_list.go.
func (i *iproute) doLink() {
	switch i.verb("link", "add", "set", "change", "replace", "delete", "show", "lst", "list", "xstats", "afstats", "property", "help") {
	case "add":
		i.linkAdd("add")
	case "replace":
		i.linkAdd("replace")
	case "set", "change":
		i.linkSet()
	case "delete":
		i.linkDelete()
	case "", "show", "lst", "list":
		i.family = "link"
		i.list(true)
	case "xstats", "afstats":
		notSimulated("ip link xstats")
	case "property":
		notSimulated("ip link property")
	default:
		i.usage("link")
	}
}

// linkArgs is what iplink_parse reads of a link: of the one a command is
// about, or of the other end of a veth pair.
type linkArgs struct {
	name, dev string
	index     int
	link      string
	address   []byte
	mtu       *int
	up        *bool
	netns     string // a node, or a pid in digits
	master    string
	nomaster  bool
	group     bool
	kind      string
	hasKind   bool
	unknown   string // a word the model has nothing for
}

// linkFlags are switches of a link that take "on" or "off"; those the model
// has nothing for.
var linkFlags = []string{"multicast", "allmulticast", "promisc", "trailers", "arp"}

func (i *iproute) parseLink(create bool) (a linkArgs) {
	seen := map[string]bool{}
	once := func(key, value string) {
		if seen[key] {
			duparg(key, value)
		}
		seen[key] = true
	}
	for i.more() {
		word := i.take()
		switch {
		case word == "up" || word == "down":
			up := word == "up"
			a.up = &up
		case word == "name":
			v := i.next()
			if a.name != "" {
				duparg("name", v)
			}
			if !validName(v) {
				invarg(`"name" not a valid ifname`, v)
			}
			a.name = v
			if a.dev == "" {
				a.dev = v
			}
		case word == "index":
			v := i.next()
			if a.index != 0 {
				duparg("index", v)
			}
			n, _, _ := strtoul(v, 10)
			if a.index = int(int32(n)); a.index <= 0 {
				invarg(`Invalid "index" value`, v)
			}
			a.unknown = "index"
		case matches(word, "link"):
			a.link = i.next()
		case matches(word, "address"):
			a.address = lladdr(i.next())
		case matches(word, "broadcast") || word == "brd":
			lladdr(i.next())
			a.unknown = "broadcast"
		case matches(word, "txqueuelen") || word == "qlen" || matches(word, "txqlen"):
			v := i.next()
			once("txqueuelen", v)
			if _, ok := integer(v); !ok {
				invarg("Invalid \"txqueuelen\" value\n", v)
			}
			a.unknown = "txqueuelen"
		case word == "mtu":
			v := i.next()
			if a.mtu != nil && *a.mtu != -1 {
				duparg("mtu", v)
			}
			n, ok := integer(v)
			if !ok {
				invarg("Invalid \"mtu\" value\n", v)
			}
			a.mtu = &n
		case word == "xdp" || word == "xdpgeneric" || word == "xdpdrv" || word == "xdpoffload":
			notSimulated("ip link set %s", word)
		case word == "netns":
			v := i.next()
			once("netns", v)
			a.netns = i.netnsArg(v)
		case slices.Contains(linkFlags, word) || matches(word, "dynamic") && !matches(word, "link"):
			if !slices.Contains(linkFlags, word) {
				word = "dynamic"
			}
			if v := i.next(); v != "on" && v != "off" {
				fail(1, `Error: argument of "%s" must be "on" or "off", not "%s"`, word, v)
			}
			a.unknown = word
		case word == "carrier" || word == "protodown":
			onOffWord(word, i.next(), einval)
			a.unknown = word
		case word == "vf":
			if _, ok := integer(i.next()); !ok {
				invarg("Invalid \"vf\" value\n", word)
			}
			a.unknown = word
		case matches(word, "master"):
			v := i.next()
			n := i.index(v)
			if n == 0 {
				invarg("Device does not exist\n", v)
			}
			a.nomaster, a.master = false, v
			if l := i.indexed(n); l != nil {
				a.master = l.Name
			}
		case word == "vrf":
			invarg("Not a valid VRF name\n", i.next())
		case matches(word, "nomaster"):
			a.nomaster, a.master = true, ""
		case matches(word, "type"):
			a.kind, a.hasKind = i.next(), true
			return i.checkLink(a, create)
		case matches(word, "alias"):
			if v := i.next(); len(v) >= 256 {
				invarg("alias too long\n", v)
			}
			a.unknown = "alias"
		case word == "group":
			v := i.next()
			if a.group {
				duparg("group", v)
			}
			if n, ok := integer(v); v != "default" && (!ok || n < 0) {
				invarg("Invalid \"group\" value\n", v)
			}
			a.group = true
		case word == "mode":
			if v := i.next(); !strings.EqualFold(v, "default") && !strings.EqualFold(v, "dormant") {
				invarg("Invalid link mode\n", v)
			}
			a.unknown = word
		case word == "state":
			v := i.next()
			if !slices.ContainsFunc(operStates, func(s string) bool { return strings.EqualFold(s, v) }) {
				invarg("Invalid operstate\n", v)
			}
			a.unknown = word
		case matches(word, "numtxqueues"), matches(word, "numrxqueues"):
			key := "numtxqueues"
			if !matches(word, key) {
				key = "numrxqueues"
			}
			v := i.next()
			once(key, v)
			if _, ok := integer(v); !ok {
				invarg(fmt.Sprintf("Invalid \"%s\" value\n", key), v)
			}
			a.unknown = key
		case matches(word, "addrgenmode"):
			if v := strings.ToLower(i.next()); v != "eui64" && v != "none" && v != "stable_secret" && v != "random" {
				invarg("Invalid address generation mode\n", v)
			}
			a.unknown = "addrgenmode"
		case matches(word, "link-netns"), matches(word, "link-netnsid"), word == "protodown_reason", word == "gso_max_size",
			word == "gso_max_segs", word == "gro_max_size", word == "parentdev":
			i.next()
			a.unknown = word
		default:
			if matches(word, "help") {
				i.usage("link")
			}
			if word == "dev" {
				word = i.next()
			}
			if a.dev != a.name {
				duparg2("dev", word)
			}
			if !validAltName(word) {
				invarg(`"dev" not a valid ifname`, word)
			}
			a.dev = word
		}
	}
	return i.checkLink(a, create)
}

var operStates = []string{"UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP"}

// checkLink is what iplink_parse does when it has read all it reads.
func (i *iproute) checkLink(a linkArgs, create bool) linkArgs {
	if a.name == "" {
		a.name = a.dev
	} else if a.dev == "" {
		a.dev = a.name
	}
	if a.dev != "" && len(a.address) > 0 && !create && i.index(a.dev) != 0 { // nl_get_ll_addr_len
		switch l := i.indexed(i.index(a.dev)); {
		case l == nil:
			i.warn("RTNETLINK answers: No such device")
		case len(a.address) != 6:
			fail(1, "Invalid address length %d - must be 6 bytes", len(a.address))
		}
	}
	if a.index != 0 && !create && a.netns == "" {
		fail(255, "index can be used only when creating devices or when moving device to another netns.")
	}
	if a.group && a.dev == "" {
		if i.more() {
			fail(255, `Garbage instead of arguments "%s ...". Try "ip link help".`, i.peek())
		}
		if create {
			fail(255, "group cannot be used when creating devices.")
		}
		notSimulated("ip link set group")
	}
	if !create {
		if a.dev == "" {
			fail(255, `Not enough information: "dev" argument is required.`)
		}
		if i.index(a.dev) == 0 {
			nodev(a.dev)
		}
		if a.name == a.dev {
			a.name = ""
		}
		return a
	}
	if a.name != a.dev {
		fail(255, `both "name" and "dev" cannot be used when creating devices.`)
	}
	if a.link != "" && i.index(a.link) == 0 {
		nodev(a.link)
	}
	return a
}

// netnsArg reads the namespace a link is to go to: a name, a file that
// pins one, or a process (netns_get_fd, lib/namespace.c).
func (i *iproute) netnsArg(v string) string {
	name := v
	for _, dir := range []string{"/run/netns/", "/var/run/netns/"} {
		name = strings.TrimPrefix(name, dir)
	}
	if node := i.named(name); node != "" && !strings.Contains(name, "/") {
		return node
	}
	if n, ok := integer(v); ok {
		return itoa(n)
	}
	if pid, ok := strings.CutPrefix(v, "/proc/"); ok && strings.HasSuffix(pid, "/ns/net") {
		notSimulated("ip link set netns %s", v)
	}
	invarg("Invalid \"netns\" value\n", v)
	return ""
}

// linkTypes are the types that ip has words for (get_link_kind).
var linkTypes = strings.Fields("amt bareudp bond bond_slave bridge bridge_slave can dsa dummy erspan geneve gre gretap gtp hsr ifb " +
	"ip6erspan ip6gre ip6gretap ip6tnl ipip ipoib ipvlan ipvtap macsec macvlan macvtap netdevsim nlmon rmnet sit team team_slave " +
	"vcan veth vlan vrf vti vti6 vxcan vxlan wwan xfrm virt_wifi batadv")

func (i *iproute) linkAdd(verb string) {
	a := i.parseLink(true)
	if !a.hasKind {
		fail(1, `Not enough information: "type" argument is required`)
	}
	o := op.LinkAdd{Name: a.name, Kind: a.kind}
	var peer linkArgs
	var after []func(node string) // what the operation does not do
	bare := false                 // a vxlan without a word
	switch a.kind {
	case "veth":
		if i.more() {
			if i.take() != "peer" {
				i.out.WriteString("Usage: ip link … type veth [peer …]; see ip-link(8)\n")
				quit(1)
			}
			if peer = i.parseLink(true); peer.hasKind {
				duparg("type", peer.kind)
			}
		}
	case "bridge":
		after = i.parseBridge()
	case "macvlan":
		i.parseMacvlan()
	case "vxlan":
		if bare = !i.more(); !bare {
			after = i.parseVXLAN(&o)
		}
	default:
		i.otherKind("add", a)
		if len(a.name) > 15 {
			policyFailed()
		}
		if i.state().Link(a.name) != nil && verb == "add" {
			fail(2, "RTNETLINK answers: File exists")
		}
		// The kernel knows no such type (rtnl_newlink, net/core/rtnetlink.c).
		fail(2, "Error: Unknown device type.")
	}
	for _, x := range []linkArgs{a, peer} {
		if x.unknown != "" || x.group {
			notSimulated("ip link add %s", orDefault(x.unknown, "group"))
		}
	}
	if verb == "replace" {
		if i.indexed(i.index(a.name)) != nil {
			notSimulated("ip link replace of a link that exists")
		}
	}
	if len(a.name) > 15 {
		policyFailed()
	}
	i.checkMAC(a.address, a.kind)
	if a.mtu != nil && (*a.mtu < 68 || *a.mtu > 65535) {
		switch a.kind {
		case "veth": // veth_validate
			fail(2, "RTNETLINK answers: Invalid argument")
		case "vxlan": // vxlan_validate
			fail(2, "Error: MTU must be between 68 and 65535.")
		}
	}
	if bare {
		fail(2, "Error: Required attributes not provided to perform the operation.")
	}
	if len(peer.name) > 15 {
		policyFailed()
	}
	i.checkMAC(peer.address, a.kind)
	o.MAC = macOf(a.address)
	if a.mtu != nil {
		o.MTU = orElse(*a.mtu == 0, -1, *a.mtu) // 0 is no less wrong
	}
	if a.kind == "macvlan" || a.kind == "vxlan" && a.link != "" {
		if a.kind == "vxlan" {
			notSimulated("ip link add link … type vxlan")
		}
		if a.link == "" {
			fail(2, "RTNETLINK answers: Invalid argument")
		}
		o.Parent = i.device(a.link).Name
	}
	node := i.node
	if a.netns != "" {
		if node = i.nodeOf(a.netns); a.kind != "bridge" && a.kind != "veth" {
			notSimulated("ip link add … netns … type %s", a.kind)
		}
	}
	o.Peer, o.PeerNetns = peer.name, peer.netns
	if a.kind == "veth" && a.netns != "" && peer.netns == "" {
		// The other end stays here.
		o.Name, o.Peer, o.PeerNetns, node = orDefault(peer.name, i.freeName(i.node, "veth", o.Name)), o.Name, a.netns, i.node
		if o.Peer == "" {
			o.Peer = i.freeName(i.nodeOf(a.netns), "veth", "")
		}
	}
	if o.Name == "" {
		skip := ""
		if a.kind == "veth" && o.Peer == "" && o.PeerNetns == "" {
			skip = i.freeName(node, "veth", "") // the other end is made first
			o.Peer = skip
		}
		o.Name = i.freeName(node, a.kind, skip)
	}
	r := i.apply(node, o)
	if r.Failure != nil && a.netns == "" {
		i.answer(o, r.Failure)
	}
	if r.Failure != nil {
		i.answer(op.RouteAdd{}, r.Failure)
	}
	if r.Status != 0 {
		panic(exit{r.Stderr, r.Status})
	}
	if a.up == nil && a.master == "" && after == nil && peer.up == nil && peer.mtu == nil && peer.address == nil && peer.master == "" {
		return
	}
	// The rest of the message (rtnl_configure_link, rtnl_newlink_create): the
	// link goes again when any of it is refused.
	made, at := o.Name, node
	undo := func(f *op.Failure) {
		if f != nil {
			i.apply(at, op.LinkDel{Name: made})
			i.answer(op.RouteAdd{}, f)
		}
	}
	if a.kind == "veth" && a.netns != "" && peer.netns == "" {
		made, at = o.Peer, i.nodeOf(a.netns)
	}
	if a.kind == "veth" {
		pnode, pname := i.peerOf(at, made)
		set := op.LinkSet{Name: pname, MAC: macOf(peer.address), Up: peer.up, Master: peer.master}
		if peer.mtu != nil {
			set.MTU = *peer.mtu
		}
		if set.MAC != "" || set.Up != nil || set.MTU != 0 || set.Master != "" {
			undo(i.apply(pnode, set).Failure)
		}
	}
	if a.up != nil {
		undo(i.apply(at, op.LinkSet{Name: made, Up: a.up}).Failure)
	}
	for _, fn := range after {
		fn(made)
	}
	if a.master != "" {
		undo(i.apply(at, op.LinkSet{Name: made, Master: a.master}).Failure)
	}
}

// checkMAC is what the kernel does with the address of a new link before it
// looks at anything else (veth_validate and its like).
func (i *iproute) checkMAC(b []byte, kind string) {
	switch {
	case b == nil:
	case len(b) != 6 && kind == "vxlan":
		i.answer(op.RouteAdd{}, &op.Failure{Errno: einval, Message: "Provided link layer address is not Ethernet"})
	case len(b) != 6:
		i.answer(op.RouteAdd{}, &op.Failure{Errno: einval})
	case b[0]&1 == 1 || macOf(b) == "00:00:00:00:00:00":
		f := &op.Failure{Errno: 99}
		if kind == "vxlan" {
			f.Message = "Provided Ethernet address is not unicast"
		}
		i.answer(op.RouteAdd{}, f)
	}
}

// otherKind ends ip for a type whose words the model does not know, or that
// has none.
func (i *iproute) otherKind(verb string, a linkArgs) {
	if slices.Contains(linkTypes, a.kind) {
		notSimulated("ip link %s type %s", verb, a.kind)
	}
	if i.more() {
		if matches(i.peek(), "help") {
			i.usage("link")
		}
		fail(1, `Garbage instead of arguments "%s ...". Try "ip link help".`, i.peek())
	}
}

func (i *iproute) linkSet() {
	a := i.parseLink(false)
	var first []func(string) // what is done before the rest (rtnl_changelink)
	if a.hasKind {
		switch a.kind {
		case "bridge":
			first = i.parseBridge()
		case "bridge_slave":
			first = i.parsePort()
		case "macvlan":
			i.parseMacvlan()
		case "veth":
			if i.more() {
				fail(2, "RTNETLINK answers: Operation not supported")
			}
		case "vxlan":
			if i.more() {
				notSimulated("ip link set … type vxlan")
			}
		default:
			i.otherKind("set", a)
		}
	}
	l := i.device(a.dev)
	if a.unknown != "" || a.group {
		notSimulated("ip link set %s", orDefault(a.unknown, "group"))
	}
	if a.link != "" {
		notSimulated("ip link set link")
	}
	for _, fn := range first {
		fn(l.Name)
	}
	o := op.LinkSet{Name: l.Name, Up: a.up, NewName: a.name, MAC: macOf(a.address), Master: a.master, NoMaster: a.nomaster, Netns: a.netns}
	if a.mtu != nil {
		if o.MTU = *a.mtu; o.MTU <= 0 {
			n := *a.mtu
			if first := (op.LinkSet{Name: l.Name, MAC: o.MAC}); first.MAC != "" && o.Netns == "" {
				i.do(i.node, first)
			}
			i.request(func(k *sim.Netns) *op.Failure { return k.LinkChange(sim.LinkRequest{Name: l.Name, MTU: &n}) })
			o.MTU = 0
		}
	}
	if o == (op.LinkSet{Name: l.Name}) {
		return
	}
	i.do(i.node, o)
}

func (i *iproute) linkDelete() {
	a := i.parseLink(false)
	if a.hasKind && i.more() {
		notSimulated("ip link delete type %s", a.kind)
	}
	i.do(i.node, op.LinkDel{Name: i.device(a.dev).Name})
}

// other returns another node's state, or nil.
func (c *call) other(node string) (found *state.Node) {
	c.locked(func() {
		if n := c.lab.world.Node(node); n != nil {
			s := n.State()
			found = &s
		}
	})
	return found
}

// nodeOf is the node that a name or a pid stands for, as netnsArg gave it.
func (i *iproute) nodeOf(netns string) string {
	if i.other(netns) == nil {
		fail(2, "RTNETLINK answers: No such process")
	}
	return netns
}

// freeName is the first of veth0, veth1, … that no link of the node has
// (dev_alloc_name, net/core/dev.c).
func (i *iproute) freeName(node, stem, skip string) string {
	n := i.other(node)
	for k := 0; ; k++ {
		if s := stem + itoa(k); s != skip && (n == nil || n.Link(s) == nil) {
			return s
		}
	}
}

// peerOf is where the other end of a veth pair is, and its name.
func (i *iproute) peerOf(node, name string) (string, string) {
	if n := i.other(node); n != nil {
		if l := n.Link(name); l != nil {
			return l.PeerNode, l.PeerName
		}
	}
	return "", ""
}

func orDefault(s, other string) string { return orElse(s != "", s, other) }

func orElse[T any](cond bool, a, b T) T {
	if cond {
		return a
	}
	return b
}
