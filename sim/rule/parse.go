package rule

import (
	"fmt"
	"strings"
)

// Version is the iptables whose words this package reads and writes.
const Version = "1.8.9 (nf_tables)"

// Exit statuses of iptables (enum xtables_exittype, include/xtables.h).
const (
	other      = 1
	wrongWords = 2
	wrongTable = 3
	noResource = 4
)

// NotSimulated is the Status of an Error for what iptables has and this
// package has not.
const NotSimulated = 95

// Error is a refusal, as iptables puts it.
type Error struct {
	Text   string // what iptables prints to stderr, ends with a newline
	Status int    // its exit status, or NotSimulated
}

func (e *Error) Error() string { return strings.TrimSuffix(e.Text, "\n") }

// Parse reads a rule that is to go into a chain: the words after "iptables -A
// CHAIN". isChain, unless nil, says whether a chain exists that -j or -g names.
// The error is an *Error.
func Parse(table, chain string, args []string, isChain func(string) bool) (*Rule, error) {
	c, err := ParseCommand(append([]string{"iptables", "-t", table, "-A", chain}, args...))
	if err != nil {
		return nil, err
	}
	if c.Done || len(c.Rules) == 0 {
		return nil, notSimulated("%s", strings.Join(args, " "))
	}
	if len(c.Rules) > 1 {
		return nil, notSimulated("several rules in one")
	}
	r := c.Rules[0]
	if j, ok := r.Target.(*Jump); ok && isChain != nil && !isChain(j.Chain) {
		return nil, c.NoChain(j.Chain)
	}
	return r, nil
}

func notSimulated(format string, args ...any) *Error {
	return &Error{Text: "not simulated: " + fmt.Sprintf(format, args...) + "\n", Status: NotSimulated}
}

// failure words a refusal as xtables_error does (basic_exit_err,
// libxtables/xtables.c). line is 0 outside iptables-restore.
func failure(prog string, line, status int, msg string) *Error {
	text := prog + " v" + Version + ": " + msg + "\n"
	switch status {
	case wrongWords:
		if line > 0 {
			text += fmt.Sprintf("Error occurred at line: %d\n", line)
		}
		text += tryHelp(prog)
	case wrongTable:
		text += "Perhaps " + prog + " or your kernel needs to be upgraded.\n"
	}
	return &Error{Text: text, Status: status}
}

func tryHelp(prog string) string {
	return "Try `" + prog + " -h' or '" + prog + " --help' for more information.\n"
}

// parser reads one command line. Its methods leave by panic with an *Error;
// ParseCommand catches it.
type parser struct {
	Command
	getopt
	options string // of generic ones, those given: letters of optionLetters
	// The words that wait for the others: xtables_args, include/xtables.h.
	protocol string
	src, dst *string
	rule     Rule // what all rules of the command share
	notSrc   bool
	notDst   bool
	policy   bool
	jump     string // cs.jumpto
	isGoto   bool
	matches  []*loaded
	target   *loaded
	// protoUsed: the protocol's match was loaded without -m, by an option of its.
	protoUsed bool
	notes     strings.Builder
}

func (p *parser) fail(status int, format string, args ...any) {
	panic(failure(p.Prog, p.Line, status, fmt.Sprintf(format, args...)))
}

// wrong refuses a word.
func (p *parser) wrong(format string, args ...any) { p.fail(wrongWords, format, args...) }

// extension is a match or a target that iptables loads by name.
type extension struct {
	name  string
	opts  []option
	begin func() any // what its options fill in
	// check refuses combinations; given has bit id set for each option that was there.
	check func(p *parser, v any, given uint32)
	// match (target) makes the Match (Target) of what begin made, when the
	// whole command is read; nil when it is one already.
	match func(p *parser, v any) Match
	old   bool // reads its options itself, and by other rules: only tcp
}

// option is one --option of an extension.
type option struct {
	name       string
	id         int
	arg        bool
	not        bool // may have a "!"
	must       bool // has to be there
	excl, also uint32
	set        func(c *given)
}

// given is an option met on the command line.
type given struct {
	*parser
	*option
	ext  string
	v    any
	arg  string
	not  bool
	seen uint32
}

// loaded is an extension in use by this command.
type loaded struct {
	ext       *extension
	v         any
	seen      uint32 // bits of the options given
	completed bool   // a later -m of the same name has taken over
}

func (p *parser) load(e *extension) *loaded {
	l := &loaded{ext: e}
	if e.begin != nil {
		l.v = e.begin()
	}
	return l
}

// apply reads an option for the extension l: xtables_option_parse
// (libxtables/xtoptions.c).
func (p *parser) apply(l *loaded, o *option, not bool) {
	o = l.ext.byID(o.id) // of several names for the same, the first is meant
	bit := uint32(1) << o.id
	name := l.ext.name
	if !l.ext.old {
		switch {
		case l.seen&bit != 0:
			p.wrong("%s: option \"--%s\" can only be used once.\n", name, o.name)
		case not && !o.not:
			p.wrong("%s: option \"--%s\" cannot be inverted.\n", name, o.name)
		}
	}
	if o.set != nil {
		o.set(&given{parser: p, option: o, ext: name, v: l.v, arg: p.optarg, not: not, seen: l.seen})
	}
	l.seen |= bit
}

// finish checks the options of an extension against each other:
// xtables_option_mfcall and xtables_options_fcheck.
func (p *parser) finish(l *loaded) {
	e := l.ext
	if e.check != nil {
		e.check(p, l.v, l.seen)
	}
	if e.old {
		return
	}
	for i := range e.opts {
		o := &e.opts[i]
		if l.seen&(1<<o.id) == 0 {
			if o.must {
				p.wrong("%s: option \"--%s\" must be specified\n", e.name, o.name)
			}
			continue
		}
		for id := range 32 {
			with := e.byID(id)
			if id == o.id || with == nil {
				continue
			}
			switch {
			case o.also&(1<<id) != 0 && l.seen&(1<<id) == 0:
				p.wrong("%s: option \"--%s\" also requires \"--%s\".\n", e.name, o.name, with.name)
			case o.excl&(1<<id) != 0 && l.seen&(1<<id) != 0:
				p.wrong("%s: option \"--%s\" cannot be used together with \"--%s\".\n", e.name, o.name, with.name)
			}
		}
	}
}

func (e *extension) byID(id int) *option {
	for i := range e.opts {
		if e.opts[i].id == id {
			return &e.opts[i]
		}
	}
	return nil
}

// uint reads a number: XTTYPE_UINT8, 16 and 32.
func (c *given) uint(min, max uint64) uint64 {
	n, ok := number(c.arg, min, max)
	if !ok {
		c.wrong("%s: bad value for option \"--%s\", or out of range (%d-%d).\n", c.ext, c.name, min, max)
	}
	return n
}

// span reads NUMBER or [NUMBER]:[NUMBER]: XTTYPE_UINT16RC and 32RC.
func (c *given) span(max uint64) Span {
	var v [2]uint64
	arg, n := c.arg, 0
	for {
		if n == 2 {
			c.wrong("%s: Too many components for option \"--%s\" (max: %d)\n", c.ext, c.name, 2)
		}
		rest := arg
		if arg == "" || arg[0] == ':' {
			if n == 1 {
				v[n] = max
			}
		} else {
			var ok bool
			if v[n], rest, ok = numberPrefix(arg, 0, max); !ok {
				c.wrong("%s: bad value for option \"--%s\" near \"%s\", or out of range (0-%d).\n", c.ext, c.name, arg, max)
			}
			if rest != "" && rest[0] != ':' {
				c.wrong("%s: Argument to \"--%s\" has unexpected characters near \"%s\".\n", c.ext, c.name, rest)
			}
		}
		n++
		if rest == "" {
			break
		}
		arg = rest[1:]
	}
	s := Span{Lo: uint32(v[0]), Hi: uint32(v[0]), Not: c.not}
	if n == 2 {
		s.Hi = uint32(v[1])
	}
	return s
}

// ports reads PORT or [PORT]:[PORT]: XTTYPE_PORTRC.
func (c *given) ports() Ports {
	v := [2]uint16{0, 65535}
	parts := strings.Split(c.arg, ":")
	for i, s := range parts {
		if i == 2 {
			c.wrong("%s: Too many components for option \"--%s\" (max: %d)\n", c.ext, c.name, 2)
		}
		if s == "" {
			continue
		}
		n, ok := portByName(s)
		if !ok {
			c.wrong("Port \"%s\" does not resolve to anything.\n", s)
		}
		v[i] = n
	}
	if len(parts) == 1 {
		v[1] = v[0]
	}
	return Ports{Lo: v[0], Hi: v[1], Not: c.not}
}

// portByName reads a port as getaddrinfo(3) reads a service: a number is
// decimal, and of a large one the low 16 bits are taken.
func portByName(s string) (uint16, bool) {
	if n, rest, ok := strtoul(s, 10); ok && rest == "" && int32(uint32(n)) >= 0 {
		return uint16(n), true
	}
	for _, proto := range []string{"tcp", "udp"} {
		if n, ok := servicePort(s, proto); ok {
			return n, true
		}
	}
	return 0, false
}

// port reads a port as xtables_parse_port does.
func (p *parser) port(s, proto string) uint16 {
	if n, ok := number(s, 0, 65535); ok {
		return uint16(n)
	}
	n, ok := servicePort(s, proto)
	if !ok {
		p.wrong("invalid port/service `%s' specified", s)
	}
	return n
}

// markMask reads VALUE or VALUE/MASK: XTTYPE_MARKMASK32.
func (c *given) markMask() (value, mask uint32) {
	bad := func() { c.wrong("%s: bad integer value for option \"--%s\", or out of range.\n", c.ext, c.name) }
	v, rest, ok := numberPrefix(c.arg, 0, 0xffffffff)
	if !ok {
		bad()
	}
	m := uint64(0xffffffff)
	if rest != "" && rest[0] == '/' {
		if m, rest, ok = numberPrefix(rest[1:], 0, 0xffffffff); !ok {
			bad()
		}
	}
	if rest != "" {
		c.wrong("%s: trailing garbage after value for option \"--%s\".\n", c.ext, c.name)
	}
	return uint32(v), uint32(m)
}

// net reads ADDRESS or ADDRESS/MASK: XTTYPE_HOSTMASK. The address is not masked.
func (c *given) net() *Net {
	addr, mask, slash := strings.Cut(c.arg, "/")
	a, ok := host(addr)
	if !ok {
		c.wrong("getaddrinfo: Name or service not known\n")
	}
	n := &Net{Addr: a, Mask: 0xffffffff, Not: c.not}
	if !slash {
		return n
	}
	if bits, ok := number(mask, 0, 32); ok {
		n.Mask = uint32(^uint64(0) << (32 - bits))
	} else if m, ok := aton(mask); ok {
		if prefixLen(m) >= 0 { // a mask with gaps is taken for 255.255.255.255
			n.Mask = m
		}
	} else {
		c.wrong("%s: bad value for option \"--%s\", neither a valid network mask nor valid CIDR (%d-%d).\n", c.ext, c.name, 0, 32)
	}
	return n
}

// mac reads six bytes: XTTYPE_ETHERMAC.
func (c *given) mac() (m [6]byte) {
	s := c.arg
	for i := range m {
		j := 0
		n := 0
		for j < len(s) && digit(s[j]) < 16 {
			n = n*16 + digit(s[j])
			j++
		}
		sep := i < 5 && j < len(s) && s[j] == ':' || i == 5 && j == len(s)
		if !sep || j > 2 {
			c.wrong("Invalid MAC address specified.")
		}
		m[i] = byte(n)
		if i < 5 {
			s = s[j+1:]
		}
	}
	return m
}

// badValue is xtables_param_act(XTF_BAD_VALUE).
func (c *given) badValue(opt, s string) {
	c.wrong("%s: Bad value for \"--%s\" option: \"%s\"", c.ext, opt, s)
}

// iface reads an interface's name: xtables_parse_interface.
func (p *parser) iface(s string, not bool) Iface {
	if len(s) > 15 {
		p.wrong("interface name `%s' must be shorter than IFNAMSIZ (15)", s)
	}
	if strings.ContainsAny(s, "/ ") {
		fmt.Fprintf(&p.notes, "Warning: weird character in interface `%s' ('/' and ' ' are not allowed by the kernel).\n", s)
	}
	return Iface{Name: s, Not: not}
}

// abbreviates reports whether s is the beginning of name, in any case.
func abbreviates(s, name string) bool {
	return len(s) <= len(name) && strings.EqualFold(s, name[:len(s)])
}

// names reads a comma-separated list of abbreviated names and returns the
// index of each. bad is called with what is left of the list.
func nameList(arg string, all []string, bad func(rest string)) (found []int) {
	for {
		word, rest, more := strings.Cut(arg, ",")
		i := 0
		for i < len(all) && !abbreviates(word, all[i]) {
			i++
		}
		if word == "" || i == len(all) {
			bad(arg)
		}
		found = append(found, i)
		if !more {
			return found
		}
		arg = rest
	}
}
