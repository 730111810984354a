package tools

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"vethlab/sim"
	"vethlab/sim/op"
)

// route(8), net-tools 2.10.

func init() { programs["route"] = routeTool }

func routeTool(c *call) op.Result {
	args := c.argv[1:]
	extend, numeric, help := 0, false, false
	var rest []string // options stand anywhere (getopt_long(3))
	for k := 0; k < len(args); k++ {
		a := args[k]
		if a == "-net" || a == "-host" || a == "-" || !strings.HasPrefix(a, "-") {
			rest = append(rest, a)
			continue
		}
		switch a {
		case "--version":
			c.out.WriteString("net-tools 2.10\n")
			return c.done(0)
		case "--family", "--inet6":
			notSimulated("route %s", a)
		case "--inet", "--verbose":
			continue
		case "--extend":
			extend++
			continue
		case "--numeric", "--symbolic":
			numeric = a == "--numeric"
			continue
		case "--help":
			help = true
			continue
		}
		if strings.HasPrefix(a, "--") {
			c.warn("route: unrecognized option '%s'", a)
			help = true
			continue
		}
		for _, letter := range a[1:] {
			switch letter {
			case 'n':
				numeric = true
			case 'e':
				extend++
			case 'v', 'F', '4':
			case 'N':
				numeric = false
			case 'V':
				c.out.WriteString("net-tools 2.10\n")
				return c.done(0)
			case 'A', 'C', '6':
				notSimulated("route -%c", letter)
			case 'h', '?':
				help = true
			default:
				c.warn("route: invalid option -- '%c'", letter)
				help = true
			}
		}
	}
	if help {
		c.out.WriteString("Usage: route …; see route(8)\n")
		return c.done(0)
	}
	if len(rest) == 0 {
		c.routeTable(extend, numeric)
		return c.done(0)
	}
	r := &netRoute{call: c, words: words{rest: rest[1:]}}
	switch rest[0] {
	case "add":
		return r.change(true)
	case "del":
		return r.change(false)
	case "flush":
		fail(3, "Flushing `inet' routing table not supported\nUsage: inet_route …; see route(8)")
	}
	fail(3, "Usage: route …; see route(8)")
	return op.Result{}
}

// networks are the names of Debian's /etc/networks (package netbase, or its
// installer's); "default" is route's own.
var networks = map[string]string{"127.0.0.0": "loopback", "169.254.0.0": "link-local"}

// routeTable lists table main as /proc/net/route tells it.
func (c *call) routeTable(extend int, numeric bool) {
	c.out.WriteString("Kernel IP routing table\n")
	switch extend {
	case 0:
		c.out.WriteString("Destination     Gateway         Genmask         Flags Metric Ref    Use Iface\n")
	case 1:
		c.out.WriteString("Destination     Gateway         Genmask         Flags   MSS Window  irtt Iface\n")
	default:
		c.out.WriteString("Destination     Gateway         Genmask         Flags Metric Ref    Use Iface    MSS   Window irtt\n")
	}
	if !c.hasTable(tableMain) {
		quit(1) // there is not even a headline to read
	}
	for _, r := range c.routes(tableMain) {
		gw, flags, dev := orDefault(r.Via, "0.0.0.0"), "U", orDefault(r.Dev, "*")
		if r.Via != "" {
			flags += "G"
		}
		if r.Dst.Bits() == 32 {
			flags += "H"
		}
		reject := r.Type == "unreachable" || r.Type == "prohibit"
		if reject {
			gw, flags, dev = "-", "!"+strings.TrimPrefix(flags, "U"), "-"
		}
		dst := r.Dst.Addr().String()
		if !numeric {
			switch name := networks[dst]; {
			case r.Dst.Bits() == 0:
				dst = "default"
			case name != "" && r.Dst.Bits() < 32:
				dst = name
			case dst == "127.0.0.1":
				dst = "localhost" // the one name that /etc/hosts has everywhere
			}
			if gw == "127.0.0.1" {
				gw = "localhost"
			}
		}
		fmt.Fprintf(&c.out, "%-15s %-15s %-15s %-5s ", dst, gw, netmask(r.Dst.Bits()), flags)
		dash := func(format string, n int) string {
			if reject {
				return fmt.Sprintf(strings.ReplaceAll(format, "d", "s"), "-")
			}
			return fmt.Sprintf(format, n)
		}
		switch extend {
		case 0:
			fmt.Fprintf(&c.out, "%-6d %s %7d %s\n", r.Metric, dash("%-2d", 0), 0, dev)
		case 1:
			fmt.Fprintf(&c.out, "%s %s %s %s\n", dash("%5d", 0), dash("%-5d", 0), dash("%6d", 0), dev)
		default:
			fmt.Fprintf(&c.out, "%-6d %s %7d %-8.6s %s %s %s\n", r.Metric, dash("%-2d", 0), 0, dev, dash("%-5d", 0), dash("%-6d", 0), dash("%d", 0))
		}
	}
}

// netRoute reads route add and del (INET_setroute, lib/inet_sr.c).
type netRoute struct {
	*call
	words
}

func (r *netRoute) usage(say string) {
	if say != "" {
		say += "\n"
	}
	fail(3, "%sUsage: inet_route …; see route(8)", say)
}

func (r *netRoute) change(add bool) op.Result {
	if !r.more() {
		r.out.WriteString("Usage: inet_route …; see route(8)\n")
		return r.done(0)
	}
	kind := ""
	if r.peek() == "-net" || r.peek() == "-host" {
		if kind = r.take(); !r.more() {
			r.usage("")
		}
	}
	target := r.take()
	text, length, slash := strings.Cut(target, "/")
	dst, ok := host(text)
	if !ok {
		if text == "-net" || text == "-host" {
			text = "#" + text[1:] // what the program writes over them, for getopt's sake
		}
		fail(6, "%s", unknownHost(text))
	}
	netMask := uint32(0) // none
	if slash {
		n, rest, _ := strtoul(length, 10)
		if rest != "" {
			r.usage("")
		}
		netMask = ^(^uint32(0) >> (n % 32)) // of 32 nothing is left over
	}
	isHost := kind == "-host" || kind == "" && target != "default"
	q := sim.RouteRequest{Mode: orElse(add, sim.Prepend, sim.Delete), Table: tableMain}
	reject, mask := false, ""
	for r.more() {
		word := r.take()
		need := func() string {
			if !r.more() {
				r.usage("")
			}
			return r.take()
		}
		switch word {
		case "metric":
			v := need()
			n, rest, ok := strtoul(v, 0)
			if !ok || rest != "" {
				r.usage("")
			}
			q.Metric = max(0, int(int16(n+1))-1) // a short, and one more than is meant (struct rtentry)
		case "netmask":
			v := need()
			if netMask != 0 {
				r.usage("")
			}
			m, ok := host(v)
			if !ok {
				fail(6, "%s", unknownHost(v))
			}
			b := m.As4()
			netMask, mask = binary.BigEndian.Uint32(b[:]), v
		case "gw", "gateway":
			v := need()
			if q.Via.IsValid() {
				r.usage("")
			}
			gw, ok := host(v)
			if !ok {
				fail(6, "%s", unknownHost(v))
			}
			if v == "default" {
				r.usage("route: default: cannot use a NETWORK as gateway!")
			}
			q.Via = gw
		case "mss", "mtu", "window", "irtt":
			v := need()
			if n, _, _ := strtoul(v, 10); strings.HasPrefix(word, "m") && (n < 64 || n > 65536) {
				r.usage("route: Invalid MSS/MTU.")
			}
			notSimulated("route … %s", word)
		case "reject":
			reject = true
		case "mod", "dyn", "reinstate":
		case "device", "dev":
			if q.Dev != "" {
				r.usage("")
			}
			q.Dev = cut(need())
		default:
			if q.Dev != "" || r.more() {
				r.usage("")
			}
			q.Dev = cut(word)
		}
	}
	if netMask != 0 {
		b := dst.As4()
		switch rest := ^netMask; {
		case isHost:
			r.usage(fmt.Sprintf("route: netmask %08x doesn't make sense with host route", rest))
		case rest&(rest+1) != 0:
			r.usage("route: bogus netmask " + mask)
		case binary.BigEndian.Uint32(b[:])&rest != 0:
			r.usage("route: netmask doesn't match route address")
		}
	}
	// What the kernel makes of it (rtentry_to_fib_config, net/ipv4/fib_frontend.c).
	ioctl := orElse(add, "SIOCADDRT", "SIOCDELRT")
	refuse := func(errno int) op.Result {
		r.warn("%s: %s", ioctl, errnoText(&op.Failure{Errno: errno}))
		return r.done(7)
	}
	length32 := 32
	if !isHost {
		length32 = bits.OnesCount32(netMask)
	}
	if q.Dst = netip.PrefixFrom(dst, length32); q.Dst.Masked() != q.Dst {
		return refuse(einval)
	}
	if reject { // whatever the gateway and the device
		q.Type, q.Scope, q.Proto, q.Via, q.Dev = "unreachable", "host", "boot", netip.Addr{}, ""
	} else if strings.Contains(q.Dev, ":") {
		notSimulated("route … dev %s", q.Dev)
	}
	if q.Dev != "" && r.state().Link(q.Dev) == nil {
		return refuse(19)
	}
	via := q.Via.IsValid()
	if q.Via.IsUnspecified() {
		q.Via = netip.Addr{}
	}
	switch {
	case reject:
	case add && via && !q.Via.IsValid():
		return refuse(einval)
	case add:
		q.Type, q.Scope, q.Proto = "unicast", "link", "boot"
		if q.Via.IsValid() && !q.Via.IsMulticast() {
			q.Scope = "global"
		}
	case q.Via.IsValid():
		q.Type, q.Scope = "unicast", "global"
	}
	f := r.ask(r.node, func(k *sim.Netns) *op.Failure { return k.RouteChange(q) })
	if f != nil {
		return refuse(f.Errno)
	}
	return r.done(0)
}
