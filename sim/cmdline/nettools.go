package cmdline

import (
	"net/netip"
	"strings"

	"vethlab/sim/op"
)

// ifconfig(8): up and down. Setting an address also switches the interface on
// and takes the place of the address it had, so that form stays the tool's own.
func parseIfconfig(_ *Command, args []string) (op.Op, error) {
	if len(args) != 2 || !ifname(args[0]) || args[1] != "up" && args[1] != "down" {
		return nil, nil
	}
	up := args[1] == "up"
	return op.LinkSet{Name: args[0], Up: &up}, nil
}

func (c Command) ifconfigFailure(f *op.Failure) (string, int) {
	name := c.argv[1]
	if f.What == op.NoDevice || f.Errno == enodev {
		return name + ": ERROR while getting interface flags: No such device", 255
	}
	return "SIOCSIFFLAGS: " + op.Strerror(f.Errno), 255
}

// route(8): add and del with default, -net and -host.
func parseRoute(_ *Command, args []string) (op.Op, error) {
	if len(args) < 2 {
		return nil, nil
	}
	if args[0] != "del" {
		return nil, nil // add puts a route beside one that is there, as no operation does (rtentry_to_fib_config, net/ipv4/fib_frontend.c)
	}
	var r op.Route
	w := list{args: args[1:]}
	target, _ := w.next()
	switch target {
	case "default":
		r.Dst = defaultDst
	case "-net", "-host":
		dst, _ := w.next()
		if dst == "default" && target == "-net" {
			r.Dst = defaultDst
			break
		}
		p, ok := prefix(dst)
		if !ok || target == "-host" && strings.Contains(dst, "/") {
			return nil, nil
		}
		if target == "-net" && !strings.Contains(dst, "/") {
			if word, _ := w.next(); word != "netmask" {
				return nil, nil // a class of the old days: the tool knows
			}
			mask, _ := w.next()
			bits, ok := maskBits(mask)
			if !ok {
				return nil, nil
			}
			p = netip.PrefixFrom(p.Addr(), bits)
		}
		if p.Masked() != p || p.Bits() == 0 {
			return nil, nil
		}
		r.Dst = p
	default:
		return nil, nil
	}
	for w.more() && !w.bad {
		switch word, _ := w.next(); word {
		case "gw":
			w.addr(&r.Via)
		case "dev":
			w.name(&r.Dev)
		case "metric":
			w.int(&r.Metric, 1, 1<<15)
		default:
			if r.Dev != "" || w.more() || !ifname(word) || word == "reject" || word == "netmask" {
				return nil, nil
			}
			r.Dev = word
		}
	}
	if w.bad {
		return nil, nil
	}
	return op.RouteDel{Route: r}, nil
}

func maskBits(s string) (int, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return 0, false
	}
	for n := range 33 {
		p, _ := netip.MustParseAddr("255.255.255.255").Prefix(n)
		if p.Addr() == a {
			return n, true
		}
	}
	return 0, false
}

// routeFailure: the ioctl's errno alone, and exit status 7 (E_SOCK, lib/inet_sr.c).
func (c Command) routeFailure(f *op.Failure) (string, int) {
	errno := f.Errno
	if f.What == op.NoDevice {
		errno = enodev
	}
	return "SIOCDELRT: " + op.Strerror(errno), 7
}
