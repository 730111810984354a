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

// conntrack(8), conntrack-tools 1.4.7: -L, -D, -F, -C and -E of the node's
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
	form := connForm{}
	events := map[sim.ConnChange]bool{sim.ConnNew: true, sim.ConnUpdate: true, sim.ConnDestroy: true}
	long := map[string]string{"--dump": "-L", "--event": "-E", "--event-mask": "-e", "--output": "-o", "--delete": "-D", "--flush": "-F", "--count": "-C", "--proto": "-p", "--src": "-s", "--orig-src": "-s",
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
		case "-L", "-D", "-F", "-C", "-E":
			command = a[1]
			if k+1 < len(args) && args[k+1] == "conntrack" {
				k++
			}
		case "-p":
			proto := strings.ToLower(operand())
			if _, known := protocolNumbers[proto]; !known {
				if slices.Contains([]string{"udplite", "sctp", "dccp", "gre", "icmpv6"}, proto) {
					notSimulated("conntrack -p %s", proto)
				}
				fail(2, "conntrack v1.4.7 (conntrack-tools): `%s' unsupported protocol\nTry `conntrack -h' or 'conntrack --help' for more information.", proto)
			}
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
		case "-o":
			for o := range strings.SplitSeq(operand(), ",") {
				switch o {
				case "extended":
					form.extended = true
				case "id":
					form.id = true
				case "timestamp":
					form.timestamp = true
				default:
					notSimulated("conntrack -o %s", o)
				}
			}
		case "-e":
			clear(events)
			for e := range strings.SplitSeq(operand(), ",") {
				switch strings.ToUpper(e) {
				case "ALL":
					events = map[sim.ConnChange]bool{sim.ConnNew: true, sim.ConnUpdate: true, sim.ConnDestroy: true}
				case "NEW":
					events[sim.ConnNew] = true
				case "UPDATES":
					events[sim.ConnUpdate] = true
				case "DESTROY":
					events[sim.ConnDestroy] = true
				default:
					notSimulated("conntrack -e %s", e)
				}
			}
		default:
			notSimulated("conntrack %s", a)
		}
	}
	say := func(format string, args ...any) { c.warn("conntrack v1.4.7 (conntrack-tools): "+format, args...) }
	if command == 'C' && len(f) > 0 {
		notSimulated("conntrack -C with a filter")
	}
	if command == 'E' {
		return c.connEvents(form, events, f, say)
	}
	var found []state.Conn
	c.kept = nil
	c.locked(func() {
		n := c.lab.world.Node(c.node)
		switch {
		case n == nil:
		case command == 'D' || command == 'F':
			p := n.Start(c.argv...)
			if command == 'D' {
				found = n.ConnsDelete(p.PID, f.match)
			} else {
				n.ConnsFlush(p.PID)
			}
			p.Exit()
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
		c.out.WriteString(form.line(&found[k]))
	}
	if command == 'D' {
		say("%d flow entries have been deleted.", len(found))
		return c.done(orElse(len(found) == 0, 1, 0))
	}
	say("%d flow entries have been shown.", len(found))
	return c.done(0)
}

// connEvents shows events until it is ended.
func (c *call) connEvents(form connForm, wanted map[sim.ConnChange]bool, f connFilter, say func(string, ...any)) op.Result {
	shown := 0
	names := [...]string{sim.ConnNew: "    [NEW] ", sim.ConnUpdate: " [UPDATE] ", sim.ConnDestroy: "[DESTROY] "}
	interrupted := c.process(func(n *sim.Netns) *sim.Process {
		p := n.Start(c.argv...)
		end := func() { say("%d flow events have been shown.", shown); p.Exit() }
		p.OnInterrupt(end)
		p.OnTerminate(end)
		p.ConnEvents(func(e sim.ConnEvent) {
			if !wanted[e.Change] || !f.match(e.Conn) {
				return
			}
			shown++
			if form.timestamp {
				fmt.Fprintf(&c.out, "[%d.%06d]\t", e.At/1e9, e.At%1e9/1e3)
			}
			c.out.WriteString(names[e.Change])
			c.out.WriteString(strings.TrimSuffix(form.tuples(&e.Conn), " "))
			if e.Conn.Mark != 0 {
				fmt.Fprintf(&c.out, " mark=%d", e.Conn.Mark)
			}
			if e.By != 0 {
				fmt.Fprintf(&c.out, " [USERSPACE] portid=%d", e.By)
			}
			if form.id {
				fmt.Fprintf(&c.out, " id=%d", e.Conn.ID)
			}
			c.out.WriteByte('\n')
		})
		return p
	})
	return c.ended(c.out.String(), c.err.String(), 0, interrupted)
}

// connForm says what beside the usual -o wants of an entry.
type connForm struct{ extended, id, timestamp bool }

// line writes an entry as the library prints it (snprintf_default.c,
// libnetfilter_conntrack).
func (f connForm) line(e *state.Conn) string {
	s := f.tuples(e) + fmt.Sprintf("mark=%d use=1", e.Mark)
	if f.id {
		s += fmt.Sprintf(" id=%d", e.ID)
	}
	return s + "\n"
}

// tuples writes an entry up to its mark.
func (f connForm) tuples(e *state.Conn) string {
	var b strings.Builder
	if f.extended {
		b.WriteString("ipv4     2 ")
	}
	fmt.Fprintf(&b, "%-8s %d %d ", e.Proto, protocolNumbers[e.Proto], max(0, e.Timeout))
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
	return b.String()
}
