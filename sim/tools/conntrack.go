package tools

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vethlab/sim"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// conntrack(8), conntrack-tools 1.4.7: -L, -D, -F and -C of the node's
// connections, with the filters that name what an entry is.

func init() { programs["conntrack"] = runConntrack }

// connFilter chooses entries.
type connFilter []func(*state.Conn) bool

func (f connFilter) match(c state.Conn) bool {
	return !slices.ContainsFunc(f, func(ok func(*state.Conn) bool) bool { return !ok(&c) })
}

func runConntrack(c *call) op.Result {
	command := byte(0)
	var f connFilter
	long := map[string]string{"--dump": "-L", "--delete": "-D", "--flush": "-F", "--count": "-C", "--proto": "-p", "--src": "-s", "--orig-src": "-s",
		"--dst": "-d", "--orig-dst": "-d", "--reply-src": "-r", "--reply-dst": "-q", "--src-nat": "-n", "--dst-nat": "-g", "--mark": "-m",
		"--sport": "1", "--orig-port-src": "1", "--dport": "2", "--orig-port-dst": "2", "--state": "3"}
	args := c.argv[1:]
	for k := 0; k < len(args); k++ {
		a := args[k]
		name, value, has := strings.Cut(a, "=")
		if short, ok := long[name]; ok && (has || name == a) {
			a = short
		}
		operand := func() string {
			if has {
				return value
			}
			if k++; k == len(args) {
				notSimulated("conntrack %s without its value", a)
			}
			return args[k]
		}
		addr := func(of func(*state.Conn) netip.Addr) {
			text := operand()
			p, err := netip.ParsePrefix(text)
			if one, e := netip.ParseAddr(text); e == nil && one.Is4() {
				p, err = netip.PrefixFrom(one, 32), nil
			}
			if err != nil {
				notSimulated("conntrack with the address %q", text)
			}
			f = append(f, func(e *state.Conn) bool { return p.Contains(of(e)) })
		}
		port := func(of func(*state.Conn) uint16) {
			n, err := strconv.ParseUint(operand(), 10, 16)
			if err != nil {
				notSimulated("conntrack with the port %q", args[k])
			}
			f = append(f, func(e *state.Conn) bool { return of(e) == uint16(n) })
		}
		switch a {
		case "-L", "-D", "-F", "-C":
			command = a[1]
			if k+1 < len(args) && args[k+1] == "conntrack" {
				k++
			}
		case "-p":
			proto := operand()
			f = append(f, func(e *state.Conn) bool { return e.Proto == proto })
		case "-s":
			addr(func(e *state.Conn) netip.Addr { return e.Orig.Src })
		case "-d":
			addr(func(e *state.Conn) netip.Addr { return e.Orig.Dst })
		case "-r":
			addr(func(e *state.Conn) netip.Addr { return e.Reply.Src })
		case "-q":
			addr(func(e *state.Conn) netip.Addr { return e.Reply.Dst })
		case "-n":
			f = append(f, func(e *state.Conn) bool { return e.SrcNAT })
		case "-g":
			f = append(f, func(e *state.Conn) bool { return e.DstNAT })
		case "-m":
			n, err := strconv.ParseUint(operand(), 0, 32)
			if err != nil {
				notSimulated("conntrack with the mark %q", args[k])
			}
			f = append(f, func(e *state.Conn) bool { return uint64(e.Mark) == n })
		case "1":
			port(func(e *state.Conn) uint16 { return e.Orig.SrcPort })
		case "2":
			port(func(e *state.Conn) uint16 { return e.Orig.DstPort })
		case "3":
			want := operand()
			f = append(f, func(e *state.Conn) bool { return e.State == want })
		default:
			notSimulated("conntrack %s", a)
		}
	}
	say := func(format string, args ...any) { c.warn("conntrack v1.4.7 (conntrack-tools): "+format, args...) }
	var found []state.Conn
	c.kept = nil
	c.locked(func() {
		n := c.lab.world.Node(c.node)
		switch {
		case n == nil:
		case command == 'D':
			found = n.ConnsDelete(f.match)
		case command == 'F':
			n.ConnsFlush()
		default:
			found = slices.DeleteFunc(n.Conns(), func(e state.Conn) bool { return !f.match(e) })
		}
	})
	switch command {
	case 'F':
		say("connection tracking table has been emptied.")
		return c.done(0)
	case 'C':
		fmt.Fprintln(&c.out, len(found))
		return c.done(0)
	case 0:
		return sim.NotSimulated("conntrack " + strings.Join(args, " "))
	}
	for k := range found {
		c.out.WriteString(connLine(&found[k]))
	}
	if command == 'D' {
		say("%d flow entries have been deleted.", len(found))
		return c.done(orElse(len(found) == 0, 1, 0))
	}
	say("%d flow entries have been shown.", len(found))
	return c.done(0)
}

// connLine writes an entry as the library prints it (snprintf_default.c,
// libnetfilter_conntrack).
func connLine(e *state.Conn) string {
	number := map[string]int{"icmp": 1, "tcp": 6, "udp": 17}[e.Proto]
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %d %d ", e.Proto, number, e.Timeout)
	if e.State != "" {
		b.WriteString(e.State + " ")
	}
	tuple := func(t state.Tuple) {
		fmt.Fprintf(&b, "src=%s dst=%s ", t.Src, t.Dst)
		if e.Proto == "icmp" {
			fmt.Fprintf(&b, "type=%d code=0 id=%d ", t.ICMPType, t.SrcPort)
		} else {
			fmt.Fprintf(&b, "sport=%d dport=%d ", t.SrcPort, t.DstPort)
		}
	}
	tuple(e.Orig)
	if !e.Replied {
		b.WriteString("[UNREPLIED] ")
	}
	tuple(e.Reply)
	if e.Assured {
		b.WriteString("[ASSURED] ")
	}
	fmt.Fprintf(&b, "mark=%d use=1\n", e.Mark)
	return b.String()
}
