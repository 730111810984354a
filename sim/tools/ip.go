package tools

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"

	"vethlab/sim"
	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// ip(8), iproute2 6.1. Its words are read as it reads them, one file for each
// object: ip_link.go, ip_addr.go, ip_route.go, ip_rule.go, ip_neigh.go,
// ip_netns.go. What it refuses itself ends with status 1 or 255, what the
// kernel refuses with 2.

// iproute is one run of ip, or of bridge, which reads and prints as ip does.
type iproute struct {
	*call
	words
	printer

	family              string // inet, inet6, bridge, link; "" is any
	stats, details      int
	brief, oneline      bool
	numeric, all, force bool
}

// ipObjects in the order in which an abbreviation is looked up (ip/ip.c).
var ipObjects = []struct {
	name string
	do   func(*iproute)
}{
	{"address", (*iproute).doAddr}, {"addrlabel", nil}, {"maddress", nil}, {"route", (*iproute).doRoute}, {"rule", (*iproute).doRule},
	{"neighbor", (*iproute).doNeigh}, {"neighbour", (*iproute).doNeigh}, {"ntable", nil}, {"ntbl", nil}, {"link", (*iproute).doLink},
	{"l2tp", nil}, {"fou", nil}, {"ila", nil}, {"macsec", nil}, {"tunnel", nil}, {"tunl", nil}, {"tuntap", nil}, {"tap", nil},
	{"token", nil}, {"tcpmetrics", nil}, {"tcp_metrics", nil}, {"monitor", nil}, {"xfrm", nil}, {"mroute", nil}, {"mrule", nil},
	{"netns", (*iproute).doNetns}, {"netconf", nil}, {"vrf", nil}, {"sr", nil}, {"nexthop", nil}, {"mptcp", nil}, {"ioam", nil},
	{"help", func(i *iproute) { i.usage() }}, {"stats", nil},
}

func init() { programs["ip"] = runIP }

func runIP(c *call) op.Result {
	i := &iproute{call: c, words: words{rest: c.argv[1:]}, printer: printer{b: &c.out, eol: "\n"}}
	batch, isBatch := i.options()
	if isBatch {
		return c.done(i.batch(batch))
	}
	if !i.more() {
		i.usage()
	}
	i.object()
	return c.done(0)
}

// options reads what comes before the object (main, ip/ip.c).
func (i *iproute) options() (batch string, isBatch bool) {
	for i.more() && strings.HasPrefix(i.peek(), "-") {
		o := i.take()
		if o == "--" {
			break
		}
		o = strings.TrimPrefix(o, "-")
		if !strings.HasPrefix(o, "-") {
			o = "-" + o
		}
		color, colored := colorOption(o)
		switch {
		case matches(o, "-loops"), matches(o, "-rcvbuf"):
			if !i.more() {
				i.usage()
			}
			n := i.take()
			if _, ok := unsigned(n, 1<<32-1); !ok && matches(o, "-rcvbuf") && !matches(o, "-loops") {
				fail(255, "Invalid rcvbuf size '%s'", n)
			}
		case matches(o, "-family"):
			if !i.more() || i.peek() == "help" {
				i.usage()
			}
			f := i.take()
			if i.family = readFamily(f); i.family == "" {
				invarg("invalid protocol family", f)
			}
		case o == "-4":
			i.family = "inet"
		case o == "-6":
			i.family = "inet6"
		case o == "-0":
			i.family = "link"
		case o == "-M":
			i.family = "mpls"
		case o == "-B":
			i.family = "bridge"
		case matches(o, "-human"), matches(o, "-human-readable"), matches(o, "-iec"), matches(o, "-timestamp"), matches(o, "-tshort"),
			matches(o, "-resolve"):
			// They change nothing of what a simulated lab lists: it has no counters and no names.
		case matches(o, "-stats"), matches(o, "-statistics"):
			i.stats++
		case matches(o, "-details"):
			i.details++
		case matches(o, "-oneline"):
			i.oneline = true
		case matches(o, "-Version"):
			i.out.WriteString("ip utility, iproute2-6.1.0, libbpf 1.1.2\n")
			quit(0)
		case matches(o, "-force"):
			i.force = true
		case matches(o, "-batch"):
			if !i.more() {
				i.usage()
			}
			batch, isBatch = i.take(), true
		case matches(o, "-brief"):
			i.brief = true
		case matches(o, "-json"):
			i.json = true
		case matches(o, "-pretty"):
			i.pretty = true
		case colored:
			i.color = color
		case matches(o, "-help"):
			i.usage()
		case matches(o, "-netns"):
			if !i.more() {
				i.enter("(null)")
			}
			i.enter(i.take())
		case matches(o, "-Numeric"):
			i.numeric = true
		case matches(o, "-all"):
			i.all = true
		case o == "-echo":
			notSimulated("ip -echo")
		default:
			fail(255, `Option "%s" is unknown, try "ip -help".`, o)
		}
	}
	if i.oneline {
		i.eol = `\`
	}
	i.color = i.color && !i.json
	return batch, isBatch
}

// colorOption reads -c, -color[=always|auto|never] (matches_color, lib/color.c).
// A simulated lab has no terminal: auto is never.
func colorOption(o string) (on, ok bool) {
	name, when, _ := strings.Cut(o, "=")
	if !matches(name, "-color") {
		return false, false
	}
	switch when {
	case "", "always":
		return true, true
	case "auto", "never":
		return false, true
	}
	return false, false
}

func readFamily(s string) string {
	switch s {
	case "inet", "inet6", "link", "mpls", "bridge":
		return s
	}
	return ""
}

// object does one command: an object's name and the words for it.
func (i *iproute) object() {
	word := i.take()
	for _, o := range ipObjects {
		if !matches(word, o.name) {
			continue
		}
		if o.do == nil {
			notSimulated("ip %s", o.name)
		}
		if i.stats > 0 && o.name != "rule" && o.name != "netns" {
			notSimulated("ip -s")
		}
		o.do(i)
		return
	}
	fail(1, `Object "%s" is unknown, try "ip help".`, word)
}

// batch does the commands of a file, or of standard input (do_batch, lib/utils.c).
func (i *iproute) batch(file string) int {
	text := i.stdin
	if file != "-" {
		var ok bool
		if text, ok = i.readFile(file); !ok {
			fail(1, `Cannot open file "%s" for reading: No such file or directory`, file)
		}
	}
	status, family := 0, i.family
	for n, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if i.words = (words{rest: splitWords(line)}); !i.more() {
			continue
		}
		i.family = family
		if st := i.guarded(i.object); st != 0 {
			i.warn("Command failed %s:%d", file, n+1)
			if status = 1; !i.force {
				break
			}
		}
	}
	return status
}

// guarded runs fn and returns the status it ended with. Where ip itself would
// have ended with exit(3), so does the batch.
func (i *iproute) guarded(fn func()) (status int) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case exit:
			if e.status == 255 || e.status == 95 {
				panic(e)
			}
			i.err.WriteString(e.stderr)
			status = e.status
		default:
			panic(e)
		}
	}()
	fn()
	return 0
}

// splitWords splits a line of a batch (makeargs, lib/utils.c).
func splitWords(line string) (words []string) {
	for {
		line = strings.TrimLeft(line, " \t\r\n")
		if line == "" {
			return words
		}
		if q := line[0]; q == '\'' || q == '"' {
			word, rest, ok := strings.Cut(line[1:], string(q))
			if !ok {
				fail(1, "Unterminated quoted string")
			}
			words, line = append(words, word), rest
			continue
		}
		n := strings.IndexAny(line, " \t\r\n")
		if n < 0 {
			n = len(line)
		}
		words, line = append(words, line[:n]), line[n:]
	}
}

// enter makes the rest happen in a named namespace (netns_switch, lib/namespace.c).
func (i *iproute) enter(name string) {
	node := i.named(name)
	if node == "" {
		fail(255, `Cannot open network namespace "%s": No such file or directory`, name)
	}
	i.call.node, i.kept = node, nil
}

// usage ends ip as its own does: with status 255. The text is not ip's, which
// has pages of it.
func (i *iproute) usage(object ...string) {
	page, what := "ip", ""
	if len(object) > 0 {
		page, what = "ip-"+object[0], " "+object[0]
		if object[0] == "neigh" {
			page = "ip-neighbour"
		}
		if object[0] == "addr" {
			page = "ip-address"
		}
	}
	fail(255, "Usage: ip%s …; see %s(8)", what, page)
}

// verb takes the command's name and finds which of names it is short for; ""
// is no word at all. A name that begins with "=" may not be shortened.
func (i *iproute) verb(object string, names ...string) string {
	if !i.more() {
		return ""
	}
	word := i.take()
	for _, n := range names {
		if exact, ok := strings.CutPrefix(n, "="); ok && word == exact || !ok && matches(word, n) {
			return strings.TrimPrefix(n, "=")
		}
	}
	fail(255, `Command "%s" is unknown, try "ip %s help".`, word, object)
	return ""
}

// words is a command line that is being read.
type words struct {
	rest []string
}

func (w *words) more() bool   { return len(w.rest) > 0 }
func (w *words) peek() string { return w.rest[0] }

// take takes the next word, which is there.
func (w *words) take() string {
	s := w.rest[0]
	w.rest = w.rest[1:]
	return s
}

// next takes the word that has to follow (NEXT_ARG, include/utils.h).
func (w *words) next() string {
	if !w.more() {
		fail(255, `Command line is not complete. Try option "help"`)
	}
	return w.take()
}

// The ways iproute2 refuses an argument (lib/utils.c).

func invarg(msg, arg string) { fail(255, `Error: argument "%s" is wrong: %s`, arg, msg) }
func duparg(key, arg string) {
	fail(255, `Error: duplicate "%s": "%s" is the second value.`, key, arg)
}
func duparg2(key, arg string) {
	fail(255, `Error: either "%s" is duplicate, or "%s" is a garbage.`, key, arg)
}
func nodev(name string) { fail(1, `Cannot find device "%s"`, name) }

// policyFailed is what the kernel says of an attribute that is not of the form
// it expects (NLMSGERR_ATTR_MSG of lib/nlattr.c).
func policyFailed() { fail(2, "Error: Attribute failed policy validation.") }

// addr reads an address, or ends ip (get_addr).
func addr(s, family string) prefix {
	p, ok := readAddr(s, family)
	if !ok {
		fail(1, `Error: %s address is expected rather than "%s".`, cmp.Or(family, "any valid"), s)
	}
	return p
}

// prefixOf reads a prefix, or ends ip (get_prefix).
func prefixOf(s, family string) prefix {
	if family == "link" {
		fail(1, `Error: "%s" may be inet prefix, but it is not allowed in this context.`, s)
	}
	p, ok := readPrefix(s, family)
	if !ok {
		fail(1, `Error: %s prefix is expected rather than "%s".`, cmp.Or(family, "any valid"), s)
	}
	return p
}

// u32 reads a number of 32 bits, or ends ip with msg.
func u32(s, msg string) int {
	n, ok := unsigned(s, 1<<32-1)
	if !ok {
		invarg(msg, s)
	}
	return int(n)
}

func number(s, msg string, max uint64) int {
	n, ok := unsigned(s, max)
	if !ok {
		invarg(msg, s)
	}
	return int(n)
}

// named reads a number that may have a name, or ends ip with msg.
func lookup(s, msg string, read func(string) (int, bool)) int {
	n, ok := read(s)
	if !ok {
		invarg(msg, s)
	}
	return n
}

// lladdr reads a MAC address (ll_addr_a2n, lib/ll_addr.c): parts of one byte
// in hexadecimal, of any number, or an address of IPv4.
func lladdr(s string) []byte {
	bad := func() { fail(1, `"%s" is invalid lladdr.`, s) }
	if strings.Contains(s, ".") {
		p, ok := readAddr(s, "inet")
		if !ok {
			bad()
		}
		return p.addr.AsSlice()
	}
	var b []byte
	parts := strings.Split(s, ":")
	for _, part := range parts {
		n, _, ok := strtoul(part, 16)
		if !ok || int32(n) < 0 || int32(n) > 255 {
			fail(1, `"%s" is invalid lladdr.`, part)
		}
		if b = append(b, byte(n)); len(b) == 32 {
			break
		}
	}
	return b
}

// mac is lladdr for what can only be an Ethernet address.
func macOf(b []byte) string {
	if len(b) != 6 {
		return ""
	}
	return net.HardwareAddr(b).String()
}

// onOffWord reads "on" or "off", either of which may be shortened (parse_on_off).
func onOffWord(name, s string, status int) bool {
	switch {
	case matches(s, "off"):
		return false
	case matches(s, "on"):
		return true
	}
	fail(status, `Error: argument of "%s" must be one of "off", "on", not "%s"`, name, s)
	return false
}

// validName reports what iproute2 accepts as the name of an interface (check_ifname).
func validName(s string) bool { return len(s) < 16 && validAltName(s) }

func validAltName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r == '/' || strings.ContainsRune(" \t\n\v\f\r", r) })
}

// index finds an interface by its name; "if7" is the one of index 7, if there
// is none of that name (ll_name_to_index). 0 means there is none.
func (c *call) index(name string) int {
	if l := c.state().Link(name); l != nil {
		return l.Index
	}
	if before, _, alias := strings.Cut(name, ":"); alias && c.state().Link(before) != nil {
		return c.state().Link(before).Index // if_nametoindex(3): the kernel takes eth0:1 for eth0 (dev_ioctl)
	}
	if s, ok := strings.CutPrefix(name, "if"); ok {
		if n, _, ok := strtoul(s, 10); ok {
			return int(uint32(n))
		}
	}
	return 0
}

// indexed returns the interface of that index, or nil.
func (c *call) indexed(n int) *state.Link {
	links := c.state().Links
	if i := slices.IndexFunc(links, func(l state.Link) bool { return l.Index == n }); i >= 0 {
		return &links[i]
	}
	return nil
}

// device finds an interface or ends ip.
func (i *iproute) device(name string) *state.Link {
	n := i.index(name)
	if n == 0 {
		nodev(name)
	}
	l := i.indexed(n)
	if l == nil {
		fail(2, "RTNETLINK answers: No such device")
	}
	return l
}

// named finds the node that /run/netns/NAME of this machine is; "" is none.
func (c *call) named(name string) (node string) {
	c.locked(func() {
		s, err := c.lab.world.Snapshot(c.ctx)
		if err != nil {
			return
		}
		here := s.Node(c.node)
		for _, n := range s.Nodes {
			if here != nil && n.NetnsName() == name && n.Mounted && n.Kind == state.Container && n.Machine == machineOf(here) {
				node = n.Name
			}
		}
		if w := c.lab.world; node == "" && w.Node(c.node) != nil && w.Node(c.node).NetnsLinks()[name] != "" {
			if n := w.Named(name); n != nil {
				node = n.Name()
			}
		}
	})
	return node
}

// machineOf is the machine a node lives in: itself, unless it is a container.
func machineOf(n *state.Node) string { return cmp.Or(n.Machine, n.Name) }

// answer ends ip when the kernel refused, in the words ip has for it.
func (i *iproute) answer(o op.Op, f *op.Failure) {
	if f == nil {
		return
	}
	r := cmdline.Command{Tool: "ip", Op: o}.Finish(op.Result{Status: 1, Failure: f})
	panic(exit{strings.TrimPrefix(r.Stderr, vxlanNoPort+"\n"), r.Status}) // which was said already
}

// do does an operation, and ends ip when it fails.
func (i *iproute) do(node string, o op.Op) {
	r := i.apply(node, o)
	if r.Failure != nil {
		i.answer(o, r.Failure)
	}
	if r.Status != 0 {
		panic(exit{r.Stderr, r.Status})
	}
}

// ask makes a request of the kernel that no operation says.
func (c *call) ask(node string, fn func(*sim.Netns) *op.Failure) (f *op.Failure) {
	c.kept = nil
	c.locked(func() {
		r, err := c.lab.world.Request(c.ctx, node, fn)
		if err != nil {
			f = &op.Failure{Errno: 4} // EINTR: its context ended
			return
		}
		c.traces = append(c.traces, r.Traces...)
		f = r.Failure
	})
	return f
}

// request is ask for ip, which ends when the kernel refuses.
func (i *iproute) request(fn func(*sim.Netns) *op.Failure) {
	i.answer(op.RouteAdd{}, i.ask(i.node, fn))
}

// ipv6 ends ip where a request is about IPv6, which a simulated lab has not.
func ipv6(family string) {
	switch family {
	case "inet6", "mpls", "bridge":
		notSimulated("%s", map[string]string{"inet6": "IPv6", "mpls": "ip -M", "bridge": "ip -B"}[family])
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
