package rule

import (
	"math"
	"strings"
)

// targets are the -j that this package knows.
var targets map[string]*extension

// otherTargets are the -j that iptables has besides.
var otherTargets = setOf("AUDIT CHECKSUM CLASSIFY CLUSTERIP CONNSECMARK DSCP ECN HMARK IDLETIMER LED NFLOG NFQUEUE RATEEST SECMARK SET " +
	"SYNPROXY TCPMSS TCPOPTSTRIP TEE TOS TPROXY TTL ULOG")

func init() {
	targets = map[string]*extension{}
	for _, e := range []*extension{standard(Accept), standard(Drop), standard(Return), standard(Queue), rejectTarget, logTarget,
		markTarget, connmarkTarget, snatTarget, dnatTarget, masqueradeTarget, redirectTarget, netmapTarget, ctTarget,
		{name: "NOTRACK", begin: func() any { return &Notrack{} }}, {name: "TRACE", begin: func() any { return &Trace{} }}} {
		targets[e.name] = e
	}
}

// isTarget reports whether a name is one of iptables' targets, so that no chain
// may have it.
func isTarget(name string) bool {
	return name == "" || targets[name] != nil || otherTargets[name]
}

func standard(v Verdict) *extension {
	return &extension{name: v.Name(), begin: func() any { return v }}
}

var rejectNames = []struct{ name, alias string }{{"icmp-net-unreachable", "net-unreach"}, {"icmp-host-unreachable", "host-unreach"},
	{"icmp-proto-unreachable", "proto-unreach"}, {"icmp-port-unreachable", "port-unreach"}, {"icmp-net-prohibited", "net-prohib"},
	{"icmp-host-prohibited", "host-prohib"}, {"tcp-reset", "tcp-rst"}, {"icmp-admin-prohibited", "admin-prohib"}}

var rejectTarget = &extension{name: "REJECT", begin: func() any { return &Reject{PortUnreachable} }, opts: []option{
	{name: "reject-with", arg: true, set: func(c *given) {
		for i, n := range rejectNames {
			if abbreviates(c.arg, n.name) || abbreviates(c.arg, n.alias) {
				c.v.(*Reject).With = RejectWith(i)
				return
			}
		}
		if abbreviates(c.arg, "echo-reply") || abbreviates(c.arg, "echoreply") {
			c.notes.WriteString("--reject-with echo-reply no longer supported\n")
		}
		c.wrong("unknown reject type \"%s\"", c.arg)
	}},
}}

// maxLogPrefix is how much of a prefix the kernel keeps, in bytes.
const maxLogPrefix = 29

var logLevels = []string{"emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"}

func logFlag(f LogFlags) func(*given) { return func(c *given) { c.v.(*Log).Flags |= f } }

var logTarget = &extension{name: "LOG", begin: func() any { return &Log{Level: 4} }, opts: []option{
	{name: "log-level", id: 6, arg: true, set: func(c *given) {
		l := c.v.(*Log)
		if n, ok := number(c.arg, 0, 7); ok {
			l.Level = uint8(n)
			return
		}
		for i, n := range logLevels {
			if c.arg == n {
				l.Level = uint8(i)
				return
			}
		}
		if c.arg != "panic" {
			c.wrong("log level \"%s\" unknown\n", c.arg)
		}
		l.Level = 0
	}},
	{name: "log-prefix", id: 7, arg: true, set: func(c *given) {
		if c.arg == "" {
			c.wrong("Argument must have a minimum length of 1 characters\n")
		}
		if strings.Contains(c.arg, "\n") {
			c.wrong("Newlines not allowed in --log-prefix")
		}
		c.v.(*Log).Prefix = cut(c.arg, maxLogPrefix)
	}},
	{name: "log-tcp-sequence", id: 0, set: logFlag(LogTCPSequence)},
	{name: "log-tcp-options", id: 1, set: logFlag(LogTCPOptions)},
	{name: "log-ip-options", id: 2, set: logFlag(LogIPOptions)},
	{name: "log-uid", id: 3, set: logFlag(LogUID)},
	{name: "log-macdecode", id: 5, set: logFlag(LogMACDecode)},
}}

const markOps = bit0 | bit1 | bit2 | bit3 | bit4

var markTarget = &extension{name: "MARK", begin: func() any { return &Mark{} },
	check: func(p *parser, v any, seen uint32) {
		if seen == 0 {
			p.wrong("MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required")
		}
	},
	opts: []option{
		{name: "set-xmark", id: 4, arg: true, excl: markOps, set: func(c *given) { c.setMark(c.markMask()) }},
		{name: "set-mark", id: 0, arg: true, excl: markOps, set: func(c *given) {
			v, m := c.markMask()
			c.setMark(v, v|m)
		}},
		{name: "and-mark", id: 1, arg: true, excl: markOps, set: func(c *given) { c.setMark(0, ^c.bits()) }},
		{name: "or-mark", id: 2, arg: true, excl: markOps, set: func(c *given) {
			b := c.bits()
			c.setMark(b, b)
		}},
		{name: "xor-mark", id: 3, arg: true, excl: markOps, set: func(c *given) { c.setMark(c.bits(), 0) }},
	}}

func (c *given) bits() uint32 { return uint32(c.uint(0, math.MaxUint32)) }

func (c *given) setMark(value, mask uint32) {
	m := c.v.(*Mark)
	m.Value, m.Mask = value, mask
}

const (
	connSet = 1 << iota
	connSave
	connRestore
	connAnd
	connOr
	connXor
	_ // shifts
	_
	connSetX
	connCTMask
	connNFMask
	connMask
	connOps = connSet | connSave | connRestore | connAnd | connOr | connXor | connSetX
)

var connmarkTarget = &extension{name: "CONNMARK",
	begin: func() any { return &Connmark{CTMask: math.MaxUint32, NFMask: math.MaxUint32} },
	check: func(p *parser, v any, seen uint32) {
		if seen&connOps == 0 {
			p.wrong("CONNMARK target: No operation specified")
		}
		if c := v.(*Connmark); c.Op == SetConnmark {
			c.NFMask = math.MaxUint32 // unused, and not listed
		}
	},
	opts: []option{
		{name: "set-xmark", id: 8, arg: true, excl: connOps, set: func(c *given) { c.setConnmark(c.markMask()) }},
		{name: "set-mark", id: 0, arg: true, excl: connOps, set: func(c *given) {
			v, m := c.markMask()
			c.setConnmark(v, v|m)
		}},
		{name: "and-mark", id: 3, arg: true, excl: connOps, set: func(c *given) { c.setConnmark(0, ^c.bits()) }},
		{name: "or-mark", id: 4, arg: true, excl: connOps, set: func(c *given) {
			b := c.bits()
			c.setConnmark(b, b)
		}},
		{name: "xor-mark", id: 5, arg: true, excl: connOps, set: func(c *given) { c.setConnmark(c.bits(), 0) }},
		{name: "save-mark", id: 1, excl: connOps, set: func(c *given) { c.v.(*Connmark).Op = SaveConnmark }},
		{name: "restore-mark", id: 2, excl: connOps, set: func(c *given) { c.v.(*Connmark).Op = RestoreConnmark }},
		{name: "left-shift-mark", id: 6, arg: true, set: connShift},
		{name: "right-shift-mark", id: 7, arg: true, set: connShift},
		{name: "ctmask", id: 9, arg: true, excl: connMask, set: func(c *given) { c.v.(*Connmark).CTMask = c.bits() }},
		{name: "nfmask", id: 10, arg: true, excl: connMask, set: func(c *given) { c.v.(*Connmark).NFMask = c.bits() }},
		{name: "mask", id: 11, arg: true, excl: connCTMask | connNFMask, set: func(c *given) {
			m := c.v.(*Connmark)
			m.CTMask = c.bits()
			m.NFMask = m.CTMask
		}},
	}}

func connShift(c *given) {
	c.uint(0, 32)
	panic(notSimulated("-j CONNMARK --%s", c.name))
}

func (c *given) setConnmark(value, mask uint32) {
	m := c.v.(*Connmark)
	m.Op, m.Value, m.CTMask = SetConnmark, value, mask
}

// The options of the NAT targets (extensions/libxt_NAT.c).
const (
	natTo = iota
	natPorts
	natRandom
	natFully
	natPersistent
)

func natOpts(to string, flags ...int) []option {
	var opts []option
	switch to {
	case "to-ports":
		opts = []option{{name: to, id: natPorts, arg: true, set: func(c *given) { c.natPorts(c.nat(), c.arg) }}}
	default:
		opts = []option{{name: to, id: natTo, arg: true, must: true, set: func(c *given) { c.natTo(c.nat(), c.arg) }}}
	}
	for _, f := range flags {
		opts = append(opts, []option{
			natRandom:     {name: "random", id: natRandom, set: func(c *given) { c.nat().Random = true }},
			natFully:      {name: "random-fully", id: natFully, set: func(c *given) { c.nat().RandomFully = true }},
			natPersistent: {name: "persistent", id: natPersistent, set: func(c *given) { c.nat().Persistent = true }},
		}[f])
	}
	return opts
}

func (c *given) nat() *NATRange {
	switch t := c.v.(type) {
	case *SNAT:
		return &t.NATRange
	case *DNAT:
		return &t.NATRange
	case *Masquerade:
		return &t.NATRange
	}
	return &c.v.(*Redirect).NATRange
}

var snatTarget = &extension{name: "SNAT", begin: func() any { return &SNAT{} },
	opts:  natOpts("to-source", natRandom, natFully, natPersistent),
	check: func(p *parser, v any, seen uint32) { noShift(v.(*SNAT).NATRange) }}

var dnatTarget = &extension{name: "DNAT", begin: func() any { return &DNAT{} },
	opts: natOpts("to-destination", natRandom, natPersistent)}

var masqueradeTarget = &extension{name: "MASQUERADE", begin: func() any { return &Masquerade{} },
	opts:  natOpts("to-ports", natRandom, natFully),
	check: func(p *parser, v any, seen uint32) { noShift(v.(*Masquerade).NATRange) }}

var redirectTarget = &extension{name: "REDIRECT", begin: func() any { return &Redirect{} },
	opts: natOpts("to-ports", natRandom),
	check: func(p *parser, v any, seen uint32) {
		if v.(*Redirect).HasBase {
			p.wrong("Shifted portmap ranges not supported with this kernel")
		}
	}}

// noShift refuses what iptables takes and the kernel's form has no room for.
func noShift(r NATRange) {
	if r.HasBase {
		panic(notSimulated("a shifted range of ports for a source"))
	}
}

// natPorts reads PORT, PORT-PORT or PORT-PORT/BASE: parse_ports.
func (c *given) natPorts(r *NATRange, arg string) {
	switch c.rule.Proto {
	case 6, 17, 132, 33, 1:
	default:
		c.wrong("Need TCP, UDP, SCTP or DCCP with port specification")
	}
	r.HasPort = true
	n, rest, ok := numberPrefix(arg, 0, 65535)
	if !ok {
		port, ok := servicePort(arg, "")
		if !ok {
			c.wrong("Port `%s' not valid", arg)
		}
		n, rest = uint64(port), ""
	}
	r.MinPort, r.MaxPort = uint16(n), uint16(n)
	switch {
	case rest == "":
		return
	case rest[0] == ':':
		c.wrong("Invalid port:port syntax - use dash")
	case rest[0] != '-':
		c.wrong("Garbage after port value: `%s'", rest)
	}
	arg = rest[1:]
	high, rest, ok := numberPrefix(arg, 0, 65535)
	switch {
	case !ok:
		c.wrong("Port `%s' not valid", arg)
	case high < n:
		c.wrong("Port range `%s' funky", arg)
	}
	r.MaxPort = uint16(high)
	switch {
	case rest == "":
		return
	case rest[0] != '/':
		c.wrong("Garbage after port range: `%s'", rest)
	}
	arg = rest[1:]
	base, _, ok := numberPrefix(arg, 1, 65535)
	if !ok {
		port, ok := servicePort(arg, "")
		if !ok {
			c.wrong("Port `%s' not valid", arg)
		}
		base = uint64(port)
	}
	r.HasBase, r.BasePort = true, uint16(base)
}

// natTo reads [ADDRESS[-ADDRESS]][:PORTS]: parse_to.
func (c *given) natTo(r *NATRange, arg string) {
	if strings.Contains(arg, "[") {
		c.wrong("Invalid address format")
	}
	addrs, ports, hasPorts := strings.Cut(arg, ":")
	if hasPorts && strings.Contains(ports, ":") {
		addrs, hasPorts = arg, false
	}
	if hasPorts {
		c.natPorts(r, ports)
		if addrs == "" || len(addrs) == 2 {
			return
		}
	}
	r.HasAddr = true
	from, to, isRange := strings.Cut(addrs, "-")
	read := func(s string) uint32 {
		a, ok := pton(s)
		if !ok {
			c.wrong("Bad IP address \"%s\"", s)
		}
		return a
	}
	r.MinAddr = read(from)
	r.MaxAddr = r.MinAddr
	if isRange {
		r.MaxAddr = read(to)
	}
}

var netmapTarget = &extension{name: "NETMAP", begin: func() any { return &Netmap{} }, opts: []option{
	{name: "to", arg: true, must: true, set: func(c *given) {
		n := c.net()
		n.Addr &= n.Mask
		c.v.(*Netmap).To = *n
	}},
}}

var ctTarget = &extension{name: "CT", begin: func() any { return &CT{} }, opts: []option{
	{name: "notrack", id: 0, set: func(c *given) { c.v.(*CT).Notrack = true }},
	{name: "helper", id: 1, arg: true, set: ctOther},
	{name: "timeout", id: 2, arg: true, set: ctOther},
	{name: "ctevents", id: 3, arg: true, set: ctOther},
	{name: "expevents", id: 4, arg: true, set: ctOther},
	{name: "zone-orig", id: 6, arg: true, set: ctOther},
	{name: "zone-reply", id: 7, arg: true, set: ctOther},
	{name: "zone", id: 5, arg: true, set: ctOther},
}}

func ctOther(c *given) { panic(notSimulated("-j CT --%s", c.name)) }
