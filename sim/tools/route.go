package tools

import (
	"fmt"
	"net/netip"
	"strings"

	"vethlab/sim"
	"vethlab/sim/op"
)

// route(8), net-tools 2.10.

func init() { programs["route"] = routeTool }

func routeTool(c *call) op.Result {
	args := c.argv[1:]
	extend, numeric := 0, false
	var rest []string
	for k := 0; k < len(args); k++ {
		a := args[k]
		if len(rest) > 0 || !strings.HasPrefix(a, "-") {
			rest = append(rest, a)
			continue
		}
		switch a {
		case "-V", "--version":
			c.out.WriteString("net-tools 2.10\n")
			return c.done(0)
		case "-A", "--family":
			if k++; k >= len(args) || args[k] != "inet" {
				notSimulated("route -A")
			}
		case "-4", "--inet":
		case "-6":
			notSimulated("IPv6")
		case "-h", "--help", "-?":
			c.out.WriteString("Usage: route …; see route(8)\n")
			return c.done(0)
		default:
			if strings.Trim(a[1:], "neFv") != "" {
				if strings.Contains(a, "C") {
					notSimulated("route -C")
				}
				fail(3, "route: invalid option -- '%c'\nUsage: route …; see route(8)", strings.Trim(a[1:], "neFv")[0])
			}
			extend += strings.Count(a, "e")
			numeric = numeric || strings.Contains(a, "n")
		}
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
		if r.Dst.Bits() == 0 && !numeric {
			dst = "default"
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
			fmt.Fprintf(&c.out, "%s %s  %s %s\n", dash("%5d", 0), dash("%-5d", 0), dash("%6d", 0), dev)
		default:
			fmt.Fprintf(&c.out, "%-6d %s %7d %-8s %s %s %s\n", r.Metric, dash("%-3d", 0), 0, dev, dash("%-5d", 0), dash("%-6d", 0), dash("%d", 0))
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
		fail(6, "%s", orElse(strings.Trim(text, "0123456789.") == "", text+": Unknown host", text+": Host name lookup failure"))
	}
	bits, masked := 32, false
	if slash {
		n, ok := unsigned(length, 1<<31)
		if !ok || n > 32 {
			r.usage("route: netmask doesn't match route address")
		}
		if bits, masked = int(n), true; kind == "-host" && n != 32 {
			b := netmask(bits).As4()
			r.usage(fmt.Sprintf("route: netmask %02x%02x%02x%02x doesn't make sense with host route", b[3], b[2], b[1], b[0]))
		}
		if kind == "" {
			kind = "-net"
		}
	}
	if target == "default" {
		kind, bits, masked = "-net", 0, true
	}
	q := sim.RouteRequest{Mode: orElse(add, sim.Add, sim.Delete), Table: tableMain}
	reject := false
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
			n, rest, ok := strtoul(v, 10)
			if !ok || rest != "" {
				r.usage("")
			}
			q.Metric = int(n)
		case "netmask":
			v := need()
			m, ok := host(v)
			if !ok || masked {
				r.usage("")
			}
			if bits = maskBits(m); bits < 0 {
				r.usage("route: bogus netmask " + v)
			}
			masked = true
		case "gw", "gateway":
			v := need()
			if q.Via.IsValid() {
				r.usage("")
			}
			gw, ok := host(v)
			if !ok {
				fail(6, "%s: Unknown host", v)
			}
			q.Via = gw
		case "mss", "window", "irtt":
			need()
			notSimulated("route … %s", word)
		case "reject":
			reject = true
		case "mod", "dyn", "reinstate":
		case "device", "dev":
			q.Dev = cut(need())
		default:
			if q.Dev = cut(word); r.more() {
				r.usage("")
			}
		}
	}
	if !masked && kind == "-net" {
		bits = max(0, classBits(dst))
	}
	q.Dst = netip.PrefixFrom(dst, bits)
	// What the kernel makes of it (rtentry_to_fib_config, net/ipv4/fib_frontend.c).
	ioctl := orElse(add, "SIOCADDRT", "SIOCDELRT")
	refuse := func(errno int) op.Result {
		r.warn("%s: %s", ioctl, errnoText(&op.Failure{Errno: errno}))
		return r.done(7)
	}
	if q.Dst.Masked() != q.Dst {
		return refuse(einval)
	}
	if q.Dev != "" && r.state().Link(q.Dev) == nil {
		return refuse(19)
	}
	q.Type, q.Scope, q.Proto = "unicast", "link", "boot"
	if q.Via.IsValid() && !q.Via.IsUnspecified() {
		q.Scope = "global"
	} else {
		q.Via = netip.Addr{}
	}
	switch {
	case reject:
		q.Type, q.Scope = "unreachable", "host"
	case !add:
		q.Type, q.Scope, q.Proto = "", "", ""
		if q.Via.IsValid() {
			q.Type, q.Scope = "unicast", "global"
		}
	}
	f := r.ask(r.node, func(k *sim.Netns) *op.Failure { return k.RouteChange(q) })
	if f != nil {
		return refuse(f.Errno)
	}
	return r.done(0)
}
