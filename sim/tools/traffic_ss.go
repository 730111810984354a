package tools

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vethlab/sim"
	"vethlab/sim/op"
)

// ss(8), iproute2 6.1: sockets of TCP and UDP. What else a node of the kernel
// has (netlink, packet, unix sockets) a simulated one has not, so a listing of
// all families is refused.

var ssLong = map[string]byte{"--numeric": 'n', "--all": 'a', "--listening": 'l', "--processes": 'p', "--tcp": 't', "--udp": 'u',
	"--ipv4": '4', "--no-header": 'H', "--oneline": 'O', "--raw": 'w', "--ipv6": '6', "--version": 'V'}

// ss's sets of states.
var (
	ssStates = []string{"ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING"}
	ssNames  = map[string][]string{"established": {"ESTAB"}, "syn-sent": {"SYN-SENT"}, "syn-recv": {"SYN-RECV"}, "fin-wait-1": {"FIN-WAIT-1"},
		"fin-wait-2": {"FIN-WAIT-2"}, "time-wait": {"TIME-WAIT"}, "unconnected": {"UNCONN"}, "closed": {"UNCONN"}, "close-wait": {"CLOSE-WAIT"},
		"last-ack": {"LAST-ACK"}, "listening": {"LISTEN"}, "listen": {"LISTEN"}, "closing": {"CLOSING"}, "all": ssStates,
		"connected":    {"ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "CLOSE-WAIT", "LAST-ACK", "CLOSING"},
		"synchronized": {"ESTAB", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "CLOSE-WAIT", "LAST-ACK", "CLOSING"},
		"bucket":       {"SYN-RECV", "TIME-WAIT"},
		"big":          {"ESTAB", "SYN-SENT", "FIN-WAIT-1", "FIN-WAIT-2", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING"}}
)

func runSS(c *call) op.Result {
	set := map[byte]bool{}
	args := c.argv[1:]
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		a := args[0]
		args = args[1:]
		if a == "--" {
			break
		}
		if b, ok := ssLong[a]; ok {
			set[b] = true
			continue
		}
		if strings.HasPrefix(a, "--") {
			notSimulated("ss %s", a)
		}
		for _, b := range []byte(a[1:]) {
			if !slices.Contains([]byte("nalptu4HO6wV"), b) {
				notSimulated("ss -%c", b)
			}
			set[b] = true
		}
	}
	if set['V'] {
		c.out.WriteString("ss utility, iproute2-6.1.0\n")
		return c.done(0)
	}
	if !set['t'] && !set['u'] && !set['w'] {
		notSimulated("ss without -t or -u: sockets of other families")
	}
	states := ssNames["connected"]
	switch {
	case set['a']:
		states = ssStates
	case set['l']:
		states = []string{"LISTEN", "UNCONN"}
	case !set['t']:
		states = []string{"ESTAB"} // what a socket without connections can be
	}
	f := ssFilter{call: c, filterWords: filterWords{ssWords(args)}}
	named := false
	for len(f.words) > 0 && (f.words[0] == "state" || f.words[0] == "exclude") {
		of := ssNames[strings.ToLower(f.word(1))]
		if of == nil {
			fail(255, "ss: wrong state name: %s", f.word(1))
		}
		switch {
		case f.words[0] == "exclude":
			states = slices.DeleteFunc(slices.Clone(states), func(s string) bool { return slices.Contains(of, s) })
		case named:
			states = append(states, of...)
		default:
			states, named = slices.Clone(of), true
		}
		f.words = f.words[2:]
	}
	keep := func(sim.SocketInfo) bool { return true }
	if len(f.words) > 0 {
		keep = f.or()
		if len(f.words) > 0 {
			notSimulated("ss with the filter %q", strings.Join(args, " "))
		}
	}
	var socks []sim.SocketInfo
	c.locked(func() { socks = c.lab.world.Node(c.node).Sockets() })
	t := ssTable{numeric: set['n'], processes: set['p'], header: !set['H']}
	for _, b := range []byte("tuw") {
		if set[b] {
			t.families++
		}
	}
	t.state = len(states) > 1
	for _, s := range socks {
		if set[s.Proto[0]] && !(set['6'] && !set['4']) && slices.Contains(states, s.State) && keep(s) {
			t.add(s)
		}
	}
	t.print(c)
	return c.done(0)
}

// ssTable is what ss prints, column by column (struct column, misc/ss.c).
type ssTable struct {
	numeric, processes, header, state bool
	families                          int
	rows                              [][]string
}

func (t *ssTable) add(s sim.SocketInfo) {
	end := func(a netip.AddrPort, dev string) (addr, port string) {
		addr, port = a.Addr().String(), strconv.Itoa(int(a.Port()))
		if dev != "" {
			addr += "%" + dev
		}
		if name := serviceName(a.Port(), s.Proto); name != "" && !t.numeric {
			port = name
		}
		if a.Port() == 0 {
			port = "*"
		}
		return addr + ":", port
	}
	la, lp := end(s.Local, s.Device)
	ra, rp := end(s.Remote, "")
	users := ""
	if t.processes && s.Process != nil {
		users = fmt.Sprintf(" users:((%q,pid=%d,fd=%d))", s.Process.Name, s.Process.PID, s.FD)
	}
	t.rows = append(t.rows, []string{s.Proto, s.State, strconv.Itoa(s.RecvQ), strconv.Itoa(s.SendQ), la, lp, ra, rp, users})
}

// The columns' headings, what goes before each, and those that are aligned to
// the right.
var (
	ssHeads  = []string{"Netid", "State", "Recv-Q", "Send-Q", "Local Address:", "Port", "Peer Address:", "Port", "Process"}
	ssBefore = []string{"", " ", " ", " ", " ", "", " ", "", ""}
	ssRight  = []bool{4: true, 6: true, 8: false}
)

func (t *ssTable) print(c *call) {
	rows := t.rows
	if t.header {
		rows = append([][]string{ssHeads}, rows...)
	}
	widths := make([]int, len(ssHeads))
	for i, r := range rows {
		for k, cell := range r {
			if i < len(rows)-1 || k < len(r)-1 { // the very last is not measured (render)
				widths[k] = max(widths[k], len(cell))
			}
		}
	}
	for _, r := range rows {
		first := true
		for k, cell := range r {
			if k == 0 && t.families < 2 || k == 1 && !t.state {
				continue
			}
			if !first {
				c.out.WriteString(ssBefore[k])
			}
			first = false
			if ssRight[k] {
				fmt.Fprintf(&c.out, "%*s", widths[k], cell)
			} else {
				fmt.Fprintf(&c.out, "%-*s", widths[k], cell)
			}
		}
		c.out.WriteByte('\n')
	}
}

// ssFilter reads an expression (misc/ssfilter.y).
type ssFilter struct {
	*call
	filterWords
}

type ssTest func(sim.SocketInfo) bool

// ssWords splits what is written together: parentheses and comparisons.
func ssWords(args []string) []string {
	text := strings.Join(args, " ")
	for _, s := range []string{"(", ")", "&&", "||"} {
		text = strings.ReplaceAll(text, s, " "+s+" ")
	}
	for _, s := range []string{"!=", "<=", ">=", "=="} {
		text = strings.ReplaceAll(text, s, " "+s+" ")
	}
	var words []string
	for _, w := range strings.Fields(text) {
		if len(w) > 1 && !slices.Contains([]string{"!=", "<=", ">=", "==", "&&", "||"}, w) {
			for _, s := range []string{"=", "<", ">", "!"} {
				w = strings.ReplaceAll(w, s, " "+s+" ")
			}
		}
		words = append(words, strings.Fields(w)...)
	}
	return words
}

func (f *ssFilter) or() ssTest {
	a := f.and()
	for f.take("or", "||", "|") {
		x, y := a, f.and()
		a = func(s sim.SocketInfo) bool { return x(s) || y(s) }
	}
	return a
}

func (f *ssFilter) and() ssTest {
	a := f.not()
	for len(f.words) > 0 && f.words[0] != ")" && f.words[0] != "or" && f.words[0] != "||" && f.words[0] != "|" {
		f.take("and", "&&", "&")
		x, y := a, f.not()
		a = func(s sim.SocketInfo) bool { return x(s) && y(s) }
	}
	return a
}

func (f *ssFilter) not() ssTest {
	if f.take("not", "!") {
		x := f.not()
		return func(s sim.SocketInfo) bool { return !x(s) }
	}
	if f.take("(") {
		x := f.or()
		if !f.take(")") {
			notSimulated("ss with an open parenthesis")
		}
		return x
	}
	what := f.word(0)
	switch what {
	case "sport", "dport", "src", "dst":
		f.words = f.words[1:]
	default:
		notSimulated("ss with the filter %q", what)
	}
	of := func(s sim.SocketInfo) netip.AddrPort { return s.Local }
	if what[0] == 'd' {
		of = func(s sim.SocketInfo) netip.AddrPort { return s.Remote }
	}
	rel := "="
	switch w := f.word(0); w {
	case "=", "==", "eq":
		f.words = f.words[1:]
	case "!=", "neq", "ne", "<", "lt", ">", "gt", "<=", "le", ">=", "ge":
		rel = w
		f.words = f.words[1:]
	}
	operand := f.word(0)
	f.take(operand)
	if what == "sport" || what == "dport" {
		want := f.port(strings.TrimPrefix(operand, ":"))
		return func(s sim.SocketInfo) bool { return ssCompare(int(of(s).Port()), rel, int(want(s.Proto))) }
	}
	addr, port, hasPort := strings.Cut(operand, ":")
	var p netip.Prefix
	if addr != "" && addr != "*" {
		var err error
		if p, err = netip.ParsePrefix(addr); err != nil {
			ip, err := netip.ParseAddr(addr)
			if err != nil || !ip.Is4() {
				notSimulated("ss with the host %q", addr)
			}
			p = netip.PrefixFrom(ip, 32)
		}
	}
	if rel != "=" && rel != "!=" {
		notSimulated("ss %s %s", what, rel)
	}
	want := func(string) uint16 { return 0 }
	if hasPort = hasPort && port != "*"; hasPort {
		want = f.port(port)
	}
	return func(s sim.SocketInfo) bool {
		is := (!p.IsValid() || p.Contains(of(s).Addr())) && (!hasPort || of(s).Port() == want(s.Proto))
		return is == (rel == "=")
	}
}

func (f *ssFilter) port(text string) func(proto string) uint16 {
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		return func(string) uint16 { return uint16(n) }
	}
	if _, ok := servicePort(text, "tcp"); !ok {
		if _, ok = servicePort(text, "udp"); !ok {
			fail(1, "Error: \"%s\" does not look like a port.\nCannot parse dst/src address.", text)
		}
	}
	return func(proto string) uint16 { n, _ := servicePort(text, proto); return n }
}

func ssCompare(a int, rel string, b int) bool {
	switch rel {
	case "!=", "neq", "ne":
		return a != b
	case "<", "lt":
		return a < b
	case ">", "gt":
		return a > b
	case "<=", "le":
		return a <= b
	case ">=", "ge":
		return a >= b
	}
	return a == b
}
