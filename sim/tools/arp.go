package tools

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"vethlab/sim"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// arp(8), net-tools 2.10.

func init() { programs["arp"] = arp }

func arp(c *call) op.Result {
	mode, verbose, takeFrom, dev := "", false, false, ""
	w := words{rest: c.argv[1:]}
	var rest []string // options stand anywhere (getopt_long(3))
	for w.more() {
		o := w.take()
		if !strings.HasPrefix(o, "-") || o == "-" {
			rest = append(rest, o)
			continue
		}
		switch o {
		case "--version", "-V":
			c.out.WriteString("net-tools 2.10\n")
			return c.done(0)
		case "--numeric":
			continue
		case "--verbose", "--use-device", "--device", "--set", "--delete", "--display", "--hw-type", "--protocol", "--file", "--help":
			notSimulated("arp %s", o)
		}
		if strings.HasPrefix(o, "--") {
			fail(3, "arp: unrecognized option '%s'\nUsage: arp …; see arp(8)", o)
		}
		for k, letter := range o[1:] {
			switch letter {
			case 'a':
				mode = "all"
			case 'e', 'n':
			case 'v':
				verbose = true
			case 'd':
				mode = "delete"
			case 's':
				mode = "set"
			case 'D':
				takeFrom = true
			case 'i':
				if dev = o[k+2:]; dev == "" {
					if !w.more() {
						fail(3, "arp: option requires an argument -- 'i'\nUsage: arp …; see arp(8)")
					}
					dev = w.take()
				}
			case 'f', 'H', 't', 'A':
				notSimulated("arp -%c", letter)
			case 'h', '?':
				c.out.WriteString("Usage: arp …; see arp(8)\n")
				return c.done(0)
			case 'V':
				c.out.WriteString("net-tools 2.10\n")
				return c.done(0)
			default:
				fail(3, "arp: invalid option -- '%c'\nUsage: arp …; see arp(8)", letter)
			}
			if letter == 'i' {
				break
			}
		}
	}
	w.rest = rest
	switch mode {
	case "delete":
		return c.arpDelete(w, dev)
	case "set":
		return c.arpSet(w, dev, takeFrom)
	}
	only := ""
	if w.more() {
		only = w.take()
		a, ok := host(only)
		if !ok {
			fail(255, "%s", unknownHost(only))
		}
		only = a.String()
	}
	var all, shown []state.Neigh
	for _, n := range c.state().Neighs {
		if n.State == "NOARP" {
			continue
		}
		all = append(all, n)
		if (only == "" || n.IP.String() == only) && (dev == "" || n.Dev == dev) {
			shown = append(shown, n)
		}
	}
	if mode == "" && len(shown) > 0 {
		c.out.WriteString("Address                  HWtype  HWaddress           Flags Mask            Iface\n")
	}
	for _, n := range shown {
		known := n.MAC != "" && n.State != "FAILED" && n.State != "INCOMPLETE"
		if mode == "all" {
			fmt.Fprintf(&c.out, "? (%s) at ", n.IP)
			if known {
				fmt.Fprintf(&c.out, "%s [ether] %s", n.MAC, orElse(n.State == "PERMANENT", "PERM ", ""))
			} else {
				c.out.WriteString("<incomplete> ")
			}
			fmt.Fprintf(&c.out, "on %s\n", n.Dev)
			continue
		}
		if known {
			fmt.Fprintf(&c.out, "%-23.23s  %-8s%-20s%-6s%-15s %s\n", n.IP, "ether", n.MAC, orElse(n.State == "PERMANENT", "CM", "C"), "", n.Dev)
		} else {
			fmt.Fprintf(&c.out, "%-23.23s  %-8s%-20s%-6s%-15s %s\n", n.IP, "", "(incomplete)", "", "", n.Dev)
		}
	}
	if verbose {
		fmt.Fprintf(&c.out, "Entries: %d\tSkipped: %d\tFound: %d\n", len(all), len(all)-len(shown), len(shown))
	}
	if len(shown) == 0 {
		switch {
		case only != "" && mode == "":
			fmt.Fprintf(&c.out, "%s (%s) -- no entry\n", rest[0], only)
		case only != "" || dev != "":
			fmt.Fprintf(&c.out, "arp: in %d entries no match found.\n", len(all))
		}
	}
	return c.done(0)
}

func (c *call) arpDelete(w words, dev string) op.Result {
	if !w.more() {
		fail(255, "arp: need host name")
	}
	name := w.take()
	a, ok := host(name)
	if !ok {
		fail(255, "%s", unknownHost(name))
	}
	for w.more() {
		switch word := w.take(); word {
		case "pub", "priv", "temp", "trail", "dontpub", "auto":
		case "dev":
			if w.more() {
				dev = w.take()
			}
		default:
			fail(3, "Usage: arp …; see arp(8)")
		}
	}
	dev = c.arpDevice("SIOCDARP(dontpub)", dev, a)
	for _, n := range c.state().Neighs {
		if n.IP == a && n.Dev == dev && n.State != "FAILED" {
			if f := c.ask(c.node, func(k *sim.Netns) *op.Failure {
				return k.NeighChange(sim.NeighRequest{Mode: sim.Delete, Dev: n.Dev, IP: a})
			}); f == nil {
				return c.done(0)
			}
		}
	}
	fmt.Fprintf(&c.out, "No ARP entry for %s\n", name)
	return c.done(255)
}

// arpDevice is the device that an entry is of: the one that is named, or the one
// by which a neighbour would be reached (arp_req_set, net/ipv4/arp.c).
func (c *call) arpDevice(request, dev string, a netip.Addr) string {
	if dev != "" && c.state().Link(dev) == nil {
		fail(255, "%s: No such device", request)
	}
	if dev != "" {
		return dev
	}
	if a.IsUnspecified() { // which leads to lo
		if request == "SIOCSARP" {
			notSimulated("arp -s 0.0.0.0")
		}
		return "lo"
	}
	if a.As4()[0] == 0 || a.IsMulticast() && !slices.ContainsFunc(c.routes(tableMain), func(r state.Route) bool { return r.Dst.Contains(a) && r.Via == "" && r.Type == "unicast" }) {
		fail(255, "%s: Network is unreachable", request)
	}
	var answer sim.RouteAnswer
	f := c.ask(c.node, func(k *sim.Netns) (f *op.Failure) {
		answer, f = k.RouteGet(sim.RouteQuery{Dst: a})
		return f
	})
	switch {
	case f == nil && (answer.Via.IsValid() || answer.Type == "broadcast" && a.As4() == [4]byte{255, 255, 255, 255}):
		f = &op.Failure{Errno: 101} // it is asked for what is on a link
	case f == nil && answer.Dev == "lo" && request == "SIOCSARP":
		f = &op.Failure{Errno: einval} // whose addresses are no Ethernet's
	}
	if f != nil {
		fail(255, "%s: %s", request, errnoText(f))
	}
	return answer.Dev
}

func (c *call) arpSet(w words, dev string, takeFrom bool) op.Result {
	if !w.more() {
		fail(255, "arp: need host name")
	}
	name := w.take()
	a, ok := host(name)
	if !ok {
		fail(255, "%s", unknownHost(name))
	}
	if !w.more() {
		fail(255, "arp: need hardware address")
	}
	text := w.take()
	if takeFrom {
		l := c.state().Link(text)
		if l == nil {
			fail(255, "arp: cant get HW-Address for `%s': No such device.", text)
		}
		if text = l.MAC; l.Type == "loopback" {
			notSimulated("arp -D … lo")
		}
	}
	mac, err := net.ParseMAC(etherAddr(text))
	if err != nil {
		fail(255, "arp: invalid hardware address")
	}
	r := sim.NeighRequest{Mode: sim.Replace, IP: a, State: "PERMANENT", Dev: dev}
	m := sim.MACOf(mac)
	r.MAC = &m
	for w.more() {
		switch word := w.take(); word {
		case "temp":
			r.State = "STALE"
		case "pub", "netmask", "trail", "priv", "dontpub", "auto", "only":
			notSimulated("arp -s … %s", word)
		case "dev":
			if w.more() {
				r.Dev = w.take()
			}
		default:
			fail(3, "Usage: arp …; see arp(8)")
		}
	}
	r.Dev = c.arpDevice("SIOCSARP", r.Dev, a)
	if r.Dev == "lo" { // arp_req_set: an address of another kind than the device's
		fail(255, "SIOCSARP: Invalid argument")
	}
	if f := c.ask(c.node, func(k *sim.Netns) *op.Failure { return k.NeighChange(r) }); f != nil {
		fail(255, "SIOCSARP: %s", errnoText(f))
	}
	return c.done(0)
}
