package cmdline

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vethlab/sim/op"
)

// ip(8). Words may be abbreviated as iproute2 allows: the first name in its
// own order that begins with what was typed (matches(), lib/utils.c).
var (
	ipObjects = []string{"address", "addrlabel", "maddress", "route", "rule", "neighbor", "neighbour", "ntable", "ntbl", "link",
		"l2tp", "fou", "ila", "macsec", "tunnel", "tunl", "tuntap", "tap", "token", "tcpmetrics", "tcp_metrics", "monitor",
		"xfrm", "mroute", "mrule", "netns", "netconf", "vrf", "sr", "nexthop", "mptcp", "ioam", "stats", "help"}
	linkVerbs  = []string{"add", "set", "change", "replace", "delete", "show", "lst", "list", "xstats", "afstats", "property", "help"}
	addrVerbs  = []string{"add", "change", "chg", "replace", "delete", "show", "lst", "list", "flush", "save", "showdump", "restore", "help"}
	routeVerbs = []string{"list", "show", "lst", "get", "add", "change", "chg", "replace", "prepend", "append", "test", "delete", "save", "restore", "showdump", "flush", "help"}
	neighVerbs = []string{"add", "change", "chg", "replace", "delete", "get", "show", "lst", "list", "flush", "help"}
	netnsVerbs = []string{"list", "show", "lst", "list-id", "help", "add", "set", "delete", "identify", "pids", "exec", "monitor", "attach"}
)

func abbrev(word string, names []string) string {
	if word == "" {
		return ""
	}
	for _, n := range names {
		if strings.HasPrefix(n, word) {
			return n
		}
	}
	return ""
}

func parseIP(c *Command, args []string) (op.Op, error) {
	var node string
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch o := args[0]; {
		case o == "-4":
			args = args[1:]
		case (o == "-n" || o == "-net" || o == "-netns") && len(args) > 1 && node == "" && args[1] != "":
			node, args = args[1], args[2:]
		default:
			return nil, nil
		}
	}
	if node != "" {
		return c.inner(node, "ip -n", append([]string{"ip"}, args...))
	}
	if len(args) < 2 {
		return nil, nil
	}
	verb, rest := args[1], args[2:]
	switch abbrev(args[0], ipObjects) {
	case "netns":
		return parseNetns(c, abbrev(verb, netnsVerbs), rest)
	case "link":
		switch abbrev(verb, linkVerbs) {
		case "add":
			return parseLinkAdd(rest)
		case "set", "change":
			return parseLinkSet(rest)
		case "delete":
			named := len(rest) == 2 && rest[0] == "dev"
			if named {
				rest = rest[1:]
			}
			if len(rest) == 1 && ifname(rest[0]) && (named || bareName(rest[0])) {
				return op.LinkDel{Name: rest[0]}, nil
			}
		}
	case "address":
		return parseAddr(abbrev(verb, addrVerbs), rest)
	case "route":
		var r op.Route
		var err error
		v := abbrev(verb, routeVerbs)
		if v == "add" || v == "replace" || v == "delete" {
			var ok bool
			if v == "delete" && len(rest) > 0 && rest[0] == "unicast" {
				return nil, nil // of no other type, which an operation cannot say
			}
			if r, ok, err = parseIPRoute(rest); !ok {
				return nil, err
			}
		}
		switch v {
		case "add":
			return op.RouteAdd{Route: r}, nil
		case "replace":
			return op.RouteReplace{Route: r}, nil
		case "delete":
			return op.RouteDel{Route: r}, nil
		}
	case "neighbor":
		if abbrev(verb, neighVerbs) == "flush" && len(rest) == 2 && rest[0] == "dev" && ifname(rest[1]) {
			return op.NeighFlush{Dev: rest[1]}, nil
		}
	}
	return nil, nil
}

func parseNetns(c *Command, verb string, args []string) (op.Op, error) {
	switch verb {
	case "add", "delete":
		if len(args) == 0 {
			return nil, usage(1, "No netns name specified")
		}
		if n := args[0]; n == "" || n == "." || n == ".." || strings.Contains(n, "/") {
			return nil, usage(255, "Invalid netns name \"%s\"", n)
		}
		if len(args) > 1 || !netnsName(args[0]) {
			return nil, nil
		}
		if verb == "add" {
			return op.NetnsAdd{Name: args[0]}, nil
		}
		return op.NetnsDel{Name: args[0]}, nil
	case "exec":
		if len(args) == 0 {
			return nil, usage(1, "No netns name specified")
		}
		if len(args) == 1 {
			return nil, usage(1, "No command specified")
		}
		if !netnsName(args[0]) {
			return nil, nil
		}
		return c.inner(args[0], "ip netns exec", args[1:])
	}
	return nil, nil
}

// parseLinkAdd reads what comes after `ip link add` (iplink_parse, ip/iplink.c).
func parseLinkAdd(args []string) (op.Op, error) {
	var o op.LinkAdd
	w := list{args: args}
	for o.Kind == "" {
		word, ok := w.next()
		if !ok {
			return nil, nil
		}
		switch {
		case word == "link":
			w.name(&o.Parent)
		case word == "name" || word == "dev":
			w.name(&o.Name)
		case word == "mtu":
			w.int(&o.MTU, 68, 65535)
		case word == "type":
			o.Kind, _ = w.next()
			if o.Kind == "" {
				return nil, nil
			}
		case len(word) > 2 && strings.HasPrefix("address", word):
			w.mac(&o.MAC)
		case o.Name == "" && bareName(word):
			o.Name = word
		default:
			return nil, nil
		}
		if w.bad {
			return nil, nil
		}
	}
	if o.Name == "" || o.Parent != "" && o.Kind != "macvlan" {
		return nil, nil
	}
	switch o.Kind {
	case "veth":
		if word, ok := w.next(); ok {
			if word != "peer" {
				return nil, nil
			}
			for {
				word, ok := w.next()
				if !ok {
					break
				}
				switch {
				case word == "name" || word == "dev":
					w.name(&o.Peer)
				case word == "netns":
					w.netns(&o.PeerNetns)
				case o.Peer == "" && bareName(word):
					o.Peer = word
				default:
					return nil, nil
				}
			}
		}
	case "bridge":
	case "macvlan":
		mode := ""
		if word, ok := w.next(); ok && word == "mode" {
			mode, _ = w.next()
		}
		if o.Parent == "" || mode != "bridge" {
			return nil, nil
		}
	case "vxlan":
		id := false
		for {
			word, ok := w.next()
			if !ok {
				break
			}
			switch word {
			case "id", "vni":
				id = true
				w.int(&o.VNI, 1, 1<<24-1)
			case "dev":
				w.name(&o.Parent)
			case "local":
				w.addr(&o.Local)
			case "remote":
				w.addr(&o.Remote)
			case "dstport":
				w.int(&o.Port, 1, 65535)
			case "proxy":
				o.Proxy = true
			case "l2miss":
				o.L2Miss = true
			case "l3miss":
				o.L3Miss = true
			default:
				return nil, nil
			}
		}
		if !id || o.Remote.IsMulticast() || o.Local.IsMulticast() {
			return nil, nil
		}
	default:
		return nil, nil
	}
	if w.bad || w.more() {
		return nil, nil
	}
	return o, nil
}

// iproute2 says so before it asks the kernel (vxlan_parse_opt, ip/iplink_vxlan.c).
const vxlanNoPort = "vxlan: destination port not specified\n" +
	"Will use Linux kernel default (non-standard value)\n" +
	"Use 'dstport 4789' to get the IANA assigned value\n" +
	"Use 'dstport 0' to get default and quiet this message"

func (c Command) noPort(o op.LinkAdd) bool { return c.Tool == "ip" && o.Kind == "vxlan" && o.Port == 0 }

func parseLinkSet(args []string) (op.Op, error) {
	var o op.LinkSet
	w := list{args: args}
	for w.more() && !w.bad {
		word, _ := w.next()
		switch {
		case word == "up" || word == "down":
			if o.Up != nil {
				return nil, nil
			}
			up := word == "up"
			o.Up = &up
		case word == "dev":
			w.name(&o.Name)
		case word == "name":
			if len(w.args) > 0 && len(w.args[0]) > 15 {
				return nil, usage(255, `Error: argument "%s" is wrong: "name" not a valid ifname`, w.args[0])
			}
			w.name(&o.NewName)
		case word == "mtu":
			if len(w.args) > 0 {
				if n, err := strconv.ParseInt(w.args[0], 0, 32); err != nil {
					return nil, usage(255, "Error: argument \"%s\" is wrong: Invalid \"mtu\" value\n", w.args[0])
				} else if n <= 0 {
					return nil, nil // the kernel has its say
				}
			}
			w.int(&o.MTU, 1, 1<<31-1)
		case word == "master":
			w.name(&o.Master)
		case word == "nomaster":
			if o.NoMaster {
				return nil, nil
			}
			o.NoMaster = true
		case word == "netns":
			w.netns(&o.Netns)
		case len(word) > 2 && strings.HasPrefix("address", word):
			w.mac(&o.MAC)
		case o.Name == "" && bareName(word):
			o.Name = word
		default:
			return nil, nil
		}
	}
	if w.bad || o.Name == "" || o.Master != "" && o.NoMaster || o == (op.LinkSet{Name: o.Name}) {
		return nil, nil
	}
	return o, nil
}

func parseAddr(verb string, args []string) (op.Op, error) {
	if verb == "flush" {
		if len(args) == 2 && args[0] == "dev" && ifname(args[1]) {
			return op.AddrFlush{Dev: args[1]}, nil
		}
		return nil, nil
	}
	if verb != "add" && verb != "delete" {
		return nil, nil
	}
	var o op.AddrAdd
	w := list{args: args}
	for w.more() && !w.bad {
		word, _ := w.next()
		switch word {
		case "dev":
			w.name(&o.Dev)
		case "broadcast", "brd":
			b, _ := w.next()
			if a, err := netip.ParseAddr(b); b != "+" && (err != nil || !a.Is4()) || o.Broadcast != "" {
				return nil, nil
			}
			o.Broadcast = b
		case "label":
			if o.Label != "" {
				return nil, nil
			}
			o.Label, _ = w.next()
			if o.Label == "" || len(o.Label) > 15 {
				return nil, nil
			}
		case "local":
			if !w.more() {
				return nil, nil
			}
			word, _ = w.next()
			fallthrough
		default:
			short := func(name string) bool { return strings.HasPrefix(name, word) }
			if slices.Contains(addrWords, word) || o.Prefix.IsValid() || slices.ContainsFunc(shortAddrWords, short) {
				return nil, nil
			}
			p, ok := prefix(word)
			if !ok {
				if strings.Contains(word, ":") || abbreviated(word) {
					return nil, nil // IPv6, or 10/8
				}
				return nil, usage(1, `Error: any valid prefix is expected rather than "%s".`, word)
			}
			o.Prefix = p
		}
	}
	if w.bad {
		return nil, nil
	}
	if o.Dev == "" && o.Prefix.IsValid() && o.Broadcast == "" && o.Label == "" {
		return nil, usage(1, `Not enough information: "dev" argument is required.`)
	}
	if o.Dev == "" || !o.Prefix.IsValid() || !strings.HasPrefix(o.Label, o.Dev) && o.Label != "" {
		return nil, nil
	}
	if verb == "add" {
		return o, nil
	}
	if o.Broadcast != "" || o.Label != "" || !strings.Contains(strings.Join(args, " "), "/") {
		return nil, nil // without a length ip deletes the first that fits, with a warning
	}
	return op.AddrDel{Dev: o.Dev, Prefix: o.Prefix}, nil
}

var addrWords = []string{"peer", "remote", "anycast", "scope", "home", "valid_lft", "preferred_lft", "mngtmpaddr", "nodad",
	"noprefixroute", "autojoin", "metric", "proto", "help", "secondary", "primary", "deprecated", "tentative", "dadfailed", "optimistic"}

// shortAddrWords may be shortened to any length (ipaddr_modify, ip/ipaddress.c).
var shortAddrWords = []string{"broadcast", "valid_lft", "preferred_lft", "metric", "priority", "preference", "help"}

var defaultDst = netip.MustParsePrefix("0.0.0.0/0")

func parseIPRoute(args []string) (r op.Route, ok bool, err error) {
	w := list{args: args}
	named := false // the destination is called default
	if w.more() {
		switch t := w.args[0]; t {
		case "blackhole", "unreachable", "prohibit":
			r.Type = t
			w.next()
		case "unicast":
			w.next()
		}
	}
	for w.more() && !w.bad {
		word, _ := w.next()
		switch word {
		case "via":
			if len(w.args) > 0 && w.args[0] == "inet" {
				w.next()
			}
			if len(w.args) > 0 && !strings.Contains(w.args[0], ":") && !abbreviated(w.args[0]) {
				if a, aerr := netip.ParseAddr(w.args[0]); aerr != nil && w.args[0] != "inet6" || a.Is6() {
					// What follows a destination has to be of its family.
					family := "any valid"
					if r.Dst.IsValid() && !named {
						family = "inet"
					}
					return r, false, usage(1, `Error: %s address is expected rather than "%s".`, family, w.args[0])
				}
			}
			w.addr(&r.Via)
		case "dev":
			w.name(&r.Dev)
		case "src":
			w.addr(&r.Src)
		case "metric", "priority", "preference":
			if len(w.args) > 0 {
				if _, perr := strconv.ParseUint(w.args[0], 0, 32); perr != nil {
					return r, false, usage(255, "Error: argument \"%s\" is wrong: \"metric\" value is invalid\n", w.args[0])
				}
			}
			w.int(&r.Metric, 1, 1<<31-1)
		case "table":
			t, _ := w.next()
			if n, named := tables[t]; named {
				t = n
			}
			n, perr := strconv.Atoi(t)
			if perr != nil || n < 1 || n > 1<<31-1 || r.Table != 0 || strconv.Itoa(n) != t {
				return r, false, nil
			}
			if n != 254 {
				r.Table = n
			}
		case "scope":
			s, _ := w.next()
			if r.Scope != "" || s != "global" && s != "link" && s != "host" {
				return r, false, nil
			}
			r.Scope = s
		case "onlink":
			r.Onlink = true
		case "to":
			word, _ = w.next()
			fallthrough
		default:
			if r.Dst.IsValid() {
				return r, false, nil
			}
			switch word {
			case "default", "any", "all":
				r.Dst, named = defaultDst, true
			default:
				p, valid := prefix(word)
				if !valid || p.Bits() == 0 && p != defaultDst {
					return r, false, nil
				}
				r.Dst = p
			}
		}
	}
	return r, !w.bad && r.Dst.IsValid(), nil
}

var tables = map[string]string{"main": "254", "local": "255", "default": "253"}

// ipFailure: rtnl_talk prints the kernel's extended ack as "Error: …", its
// errno as "RTNETLINK answers: …" (lib/libnetlink.c); names are looked up
// before the kernel is asked. (The empty line after "… is wrong: …" is ip's own.)
func (c Command) ipFailure(f *op.Failure) (string, int) {
	switch f.What {
	case op.NoDevice:
		switch o := c.Op.(type) {
		case op.AddrFlush:
			return `Device "` + f.Name + `" does not exist.`, 1
		case op.LinkSet:
			if f.Name == o.Master {
				return `Error: argument "` + f.Name + `" is wrong: Device does not exist` + "\n", 255
			}
		case op.LinkAdd:
			if o.Kind == "vxlan" {
				return `Cannot find device "` + f.Name + `"`, 255
			}
		}
		return `Cannot find device "` + f.Name + `"`, 1
	case op.NetnsUsed:
		return `Cannot create namespace file "/run/netns/` + f.Name + `": File exists`, 1
	case op.NoNetns:
		if _, ok := c.Op.(op.NetnsDel); ok {
			return `Cannot remove namespace file "/run/netns/` + f.Name + `": No such file or directory`, 1
		}
		return `Error: argument "` + f.Name + `" is wrong: Invalid "netns" value` + "\n", 255
	}
	if f.Message != "" {
		return "Error: " + strings.TrimSuffix(f.Message, ".") + ".", 2
	}
	if f.What == op.NotBridge && f.Errno == 0 {
		return "RTNETLINK answers: " + op.Strerror(eopnotsupp), 2
	}
	return "RTNETLINK answers: " + op.Strerror(f.Errno), 2
}

// list walks over words; bad is set when a value is missing, given twice, or
// not what it should be.
type list struct {
	args []string
	bad  bool
}

func (w *list) more() bool { return len(w.args) > 0 }

func (w *list) next() (string, bool) {
	if len(w.args) == 0 {
		return "", false
	}
	s := w.args[0]
	w.args = w.args[1:]
	return s, true
}

func (w *list) name(to *string) {
	s, _ := w.next()
	if !ifname(s) || *to != "" {
		w.bad = true
	}
	*to = s
}

func (w *list) netns(to *string) {
	s, _ := w.next()
	if !netnsName(s) || *to != "" {
		w.bad = true
	}
	*to = s
}

func (w *list) mac(to *string) {
	s, _ := w.next()
	m, err := net.ParseMAC(s)
	if err != nil || len(m) != 6 || *to != "" {
		w.bad = true
		return
	}
	*to = m.String()
}

func (w *list) addr(to *netip.Addr) {
	s, _ := w.next()
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() || to.IsValid() {
		w.bad = true
		return
	}
	*to = a
}

func (w *list) int(to *int, min, max int64) {
	s, _ := w.next()
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil || n < min || n > max || *to != 0 {
		w.bad = true
		return
	}
	*to = int(n)
}

// prefix reads A.B.C.D or A.B.C.D/LEN.
func prefix(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		return netip.PrefixFrom(a, 32), err == nil && a.Is4()
	}
	p, err := netip.ParsePrefix(s)
	return p, err == nil && p.Addr().Is4()
}

// abbreviated reports whether s may be one of iproute2's short or odd forms of
// an address (10/8, 10.5, default, any), or one with a netmask, which are left
// to it.
func abbreviated(s string) bool {
	a, mask, _ := strings.Cut(s, "/")
	if a == "default" || a == "any" || a == "all" || strings.Contains(mask, ".") {
		return true
	}
	for _, part := range strings.Split(a, ".") {
		if n, err := strconv.ParseUint(part, 0, 16); err != nil || n > 255 {
			return false
		}
	}
	return strings.Count(a, ".") < 3
}

// ifname reports whether s can name an interface and is no word of ip's own
// (dev_valid_name, net/core/dev.c).
func ifname(s string) bool {
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.HasPrefix(s, "-") || slices.Contains(ipWords, s) {
		return false
	}
	if n, ok := strings.CutPrefix(s, "if"); ok && n != "" && n[0] >= '0' && n[0] <= '9' {
		return false // if3 may stand for the interface of index 3 (ll_idx_a2n, lib/ll_map.c)
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r == '/' || r == ':' || r <= ' ' || r >= 0x7f || r == '%' || r == '"' || r == '\''
	})
}

// bareName reports whether a word of ip link that stands alone names an
// interface: it does not where it begins one of the words that may be shortened.
func bareName(s string) bool {
	return ifname(s) && !slices.ContainsFunc(shortLinkWords, func(w string) bool { return strings.HasPrefix(w, s) })
}

// shortLinkWords may be shortened to any length (iplink_parse, ip/iplink.c).
var shortLinkWords = []string{"link", "address", "broadcast", "txqueuelen", "txqlen", "dynamic", "master", "nomaster", "type", "alias",
	"numtxqueues", "numrxqueues", "addrgenmode", "link-netns", "link-netnsid", "help"}

var ipWords = []string{"dev", "name", "link", "type", "group", "up", "down", "peer", "netns", "master", "nomaster", "address",
	"addr", "mtu", "index", "help", "vf", "alias", "promisc", "arp", "multicast", "dynamic", "to", "via", "src", "default",
	"add", "addre", "addres", "label", "broadcast", "brd", "local", "txqueuelen", "qlen", "txqlen", "numtxqueues", "numrxqueues"}

// netnsName reports what ip netns accepts (invalid_name, ip/ipnetns.c).
func netnsName(s string) bool {
	return s != "" && len(s) < 256 && !strings.Contains(s, "/") && s != "." && s != ".." &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0xfffd })
}
