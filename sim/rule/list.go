package rule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// This file is what iptables prints of tables: -L, -S and iptables-save.

// Table is a table as it is listed: its built-in chains in the order of their
// hooks, whether anybody has made them or not, then the users' by name.
type Table struct {
	Name   string
	Chains []Chain
}

// Chain is a chain as it is listed.
type Chain struct {
	Name           string
	Policy         string // ACCEPT or DROP; "" for a user's chain
	Packets, Bytes uint64 // that met the policy
	References     int    // how many rules jump to it
	Rules          []Counted
}

// Counted is a rule with its counters.
type Counted struct {
	*Rule
	Packets, Bytes uint64
}

// Chain finds a chain by name.
func (t *Table) Chain(name string) *Chain {
	for i := range t.Chains {
		if t.Chains[i].Name == name {
			return &t.Chains[i]
		}
	}
	return nil
}

// Sort puts the users' chains, from index n on, in the order of their names.
func (t *Table) Sort(n int) {
	slices.SortFunc(t.Chains[n:], func(a, b Chain) int { return strings.Compare(a.Name, b.Name) })
}

// Save is the table as iptables-save prints it, without the comments that say
// when; with counters, as -c has it.
func (t *Table) Save(counters bool) string {
	var b strings.Builder
	b.WriteString("*" + t.Name + "\n")
	for _, c := range t.Chains {
		policy := c.Policy
		if policy == "" {
			policy = "-"
		}
		fmt.Fprintf(&b, ":%s %s [%d:%d]\n", c.Name, policy, c.Packets, c.Bytes)
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			if counters {
				fmt.Fprintf(&b, "[%d:%d] ", r.Packets, r.Bytes)
			}
			b.WriteString(spaced("-A "+c.Name, r.String()) + "\n")
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

func spaced(words ...string) string {
	words = slices.DeleteFunc(words, func(s string) bool { return s == "" })
	return strings.Join(words, " ")
}

// Print is what a List or ListRules command prints of its table. ok is false
// when the chain it names is not there.
func (t *Table) Print(c *Command) (out string, ok bool) {
	chains := t.Chains
	if c.Named {
		found := t.Chain(c.Chain)
		if found == nil {
			return "", false
		}
		chains = []Chain{*found}
	}
	num := c.Num
	var b strings.Builder
	if c.Verb == ListRules {
		if num == 0 {
			for _, ch := range chains {
				ch.spec(&b, c.Verbose > 0)
			}
		}
		for _, ch := range chains {
			for i, r := range ch.Rules {
				if num != 0 && num != i+1 {
					continue
				}
				counters := ""
				if c.Verbose > 0 {
					counters = fmt.Sprintf("-c %d %d", r.Packets, r.Bytes)
				}
				before, target := r.Split()
				b.WriteString(spaced("-A "+ch.Name, before, counters, target) + "\n")
			}
		}
		return b.String(), true
	}
	f := format{numeric: c.Numeric, exact: c.Exact, lines: c.LineNumbers, verbose: c.Verbose > 0}
	for i, ch := range chains {
		if num == 0 {
			if i > 0 {
				b.WriteByte('\n')
			}
			ch.header(&b, f)
		}
		for i, r := range ch.Rules {
			if num == 0 || num == i+1 {
				f.row(&b, i+1, r)
			}
		}
	}
	return b.String(), true
}

// spec is the chain's line of -S.
func (c *Chain) spec(b *strings.Builder, counters bool) {
	if c.Policy == "" {
		b.WriteString("-N " + c.Name + "\n")
		return
	}
	b.WriteString("-P " + c.Name + " " + c.Policy)
	if counters {
		fmt.Fprintf(b, " -c %d %d", c.Packets, c.Bytes)
	}
	b.WriteByte('\n')
}

// format is how -L prints.
type format struct {
	numeric, exact, lines, verbose bool
	single                         bool // a rule by itself, as -v shows one it added
}

// header is the chain's two lines before its rules: print_header (iptables/xshared.c).
func (c *Chain) header(b *strings.Builder, f format) {
	b.WriteString("Chain " + c.Name)
	if c.Policy == "" {
		fmt.Fprintf(b, " (%d references)\n", c.References)
	} else {
		b.WriteString(" (policy " + c.Policy)
		if f.verbose {
			fmt.Fprintf(b, " %s packets, %s bytes", f.amount(c.Packets), f.amount(c.Bytes))
		}
		b.WriteString(")\n")
	}
	if f.lines {
		b.WriteString("num  ")
	}
	if f.verbose && f.exact {
		fmt.Fprintf(b, "%8s %10s ", "pkts", "bytes")
	} else if f.verbose {
		fmt.Fprintf(b, "%5s %5s ", "pkts", "bytes")
	}
	b.WriteString("target     prot opt")
	if f.verbose {
		fmt.Fprintf(b, " %-6s %-6s ", "in", "out")
	}
	fmt.Fprintf(b, " %-19s  %-19s \n", "source", "destination")
}

// amount is a counter in thousands when it is large: xtables_print_num.
func (f format) amount(n uint64) string {
	if f.exact || n <= 99999 {
		return strconv.FormatUint(n, 10)
	}
	for _, unit := range "KMG" {
		n = (n + 500) / 1000
		if n <= 9999 {
			return strconv.FormatUint(n, 10) + string(unit)
		}
	}
	return strconv.FormatUint((n+500)/1000, 10) + "T"
}

// Verbose is the line that -v prints of a rule that was added, deleted or found.
func (r *Rule) Verbose() string {
	var b strings.Builder
	format{numeric: true, verbose: true, single: true}.row(&b, 0, Counted{Rule: r})
	return b.String()
}

// row is a rule's line of -L: nft_ipv4_print_rule (iptables/nft-ipv4.c).
func (f format) row(b *strings.Builder, number int, r Counted) {
	pad := func(width int, s string) {
		if !f.single {
			fmt.Fprintf(b, "%-*s ", width, s)
		} else {
			b.WriteString(s + " ")
		}
	}
	flag := func(not bool) {
		if not {
			b.WriteByte('!')
		} else {
			b.WriteByte(' ')
		}
	}
	if f.lines {
		fmt.Fprintf(b, "%-4d ", number)
	}
	switch {
	case f.single || !f.verbose:
	case f.exact:
		fmt.Fprintf(b, "%8d %8d ", r.Packets, r.Bytes)
	default:
		fmt.Fprintf(b, "%5s %5s ", f.amount(r.Packets), f.amount(r.Bytes))
	}
	name := ""
	switch t := r.Target.(type) {
	case nil:
	case *Notrack:
		name = "CT" // what the kernel calls it
	default:
		if name = t.Name(); t == Queue {
			name = "standard" // no verdict of nf_tables
		}
	}
	pad(9, name)
	flag(r.NotProto)
	proto := ProtocolName(r.Proto, f.numeric)
	if f.numeric && !f.single || proto == "" {
		proto = u(uint32(r.Proto))
	}
	pad(4, proto)
	if f.single {
		b.WriteString("opt ")
	}
	b.WriteString([]string{"-- ", "-f ", "!f "}[r.Fragment])
	if f.verbose {
		any := "any"
		if f.numeric {
			any = "*"
		}
		iface := func(i Iface) string {
			s := i.Name
			if s == "" {
				s = any
			}
			if i.Not {
				s = "!" + s
			}
			return s
		}
		if f.single {
			b.WriteString("in " + iface(r.In) + " out " + iface(r.Out) + " ")
		} else {
			fmt.Fprintf(b, " %-6s %-6s ", iface(r.In), iface(r.Out))
		}
	}
	flag(r.Src.Not)
	pad(19, f.net(r.Src))
	flag(r.Dst.Not)
	if f.single {
		b.WriteString("-> " + f.net(r.Dst) + "  ")
	} else {
		pad(19, f.net(r.Dst))
	}
	if j, ok := r.Target.(*Jump); ok && j.Goto {
		b.WriteString("[goto] ")
	}
	for _, m := range r.Matches {
		b.WriteString(f.match(m, r.Proto))
	}
	b.WriteString(f.target(r.Target))
	b.WriteByte('\n')
}

// net is an address with its mask: ipv4_addr_to_string.
func (f format) net(n Net) string {
	switch {
	case f.numeric && n.Mask == 0:
		return "0.0.0.0/0"
	case f.numeric:
		return n.hostText()
	case n.Mask == 0:
		return "anywhere"
	}
	return f.host(n)
}

// host is an address by name if it has one.
func (f format) host(n Net) string {
	_, mask, ok := strings.Cut(n.hostText(), "/")
	if ok {
		mask = "/" + mask
	}
	name := Addr(n.Addr).String()
	for k, a := range networks {
		if a == n.Addr {
			name = k
		}
	}
	for k, a := range hosts {
		if a == n.Addr {
			name = k
		}
	}
	return name + mask
}

func (f format) port(p uint16, proto string) string {
	if !f.numeric {
		if s := ServiceName(p, proto); s != "" {
			return s
		}
	}
	return u(uint32(p))
}

func mark(not bool) string {
	if not {
		return "!"
	}
	return ""
}

func spaceMark(not bool) string {
	if not {
		return " !"
	}
	return ""
}

func (f format) ports(name string, p Ports, proto string) string {
	switch {
	case p == AllPorts:
		return ""
	case p.Lo == p.Hi:
		return " " + name + ":" + mark(p.Not) + f.port(p.Lo, proto)
	}
	return " " + name + "s:" + mark(p.Not) + f.port(p.Lo, proto) + ":" + f.port(p.Hi, proto)
}

// match is what -L says of a match: the print functions of extensions/.
func (f format) match(m Match, proto uint8) string {
	switch m := m.(type) {
	case *TCP:
		s := " tcp" + f.ports("spt", m.Src, "tcp") + f.ports("dpt", m.Dst, "tcp")
		if m.Option != 0 {
			s += " option=" + mark(m.NotOption) + u(uint32(m.Option))
		}
		if m.FlagMask != 0 || m.NotFlags {
			s += " flags:" + mark(m.NotFlags)
			if f.numeric {
				s += fmt.Sprintf("0x%02X/0x%02X", m.FlagMask, m.Flags)
			} else {
				s += flagsText(m.FlagMask) + "/" + flagsText(m.Flags)
			}
		}
		return s
	case *UDP:
		return " udp" + f.ports("spt", m.Src, "udp") + f.ports("dpt", m.Dst, "udp")
	case *ICMP:
		return " icmp" + f.icmp(m)
	case *Conntrack:
		return f.conntrack(m)
	case *State:
		return spaceMark(m.Not) + " state " + m.States.text()
	case *AddrType:
		s := " ADDRTYPE match"
		if m.Src != 0 {
			s += " src-type " + mark(m.NotSrc) + m.Src.text()
		}
		if m.Dst != 0 {
			s += " dst-type " + mark(m.NotDst) + m.Dst.text()
		}
		if m.LimitIn {
			s += " limit-in"
		}
		if m.LimitOut {
			s += " limit-out"
		}
		return s
	case *Multiport:
		list := make([]string, len(m.Ports))
		name := ProtocolName(proto, false)
		for i, p := range m.Ports {
			list[i] = f.port(p.Lo, name)
			if p.Lo != p.Hi {
				list[i] += ":" + f.port(p.Hi, name)
			}
		}
		return " multiport " + m.Side.text() + " " + spaceMark(m.Not) + strings.Join(list, ",")
	case *MarkMatch:
		return " mark match" + spaceMark(m.Not) + " " + markText(m.Value, m.Mask)
	case *ConnmarkMatch:
		return " connmark match " + mark(m.Not) + " " + markText(m.Value, m.Mask)
	case *MAC:
		s := " MAC "
		if m.Not {
			s += "! "
		}
		return s + m.text()
	case *Comment:
		return " /* " + m.Text + " */"
	case *Limit:
		return " limit: avg " + m.text() + " burst " + u(m.Burst)
	case *IPRange:
		s := ""
		if m.Src != nil {
			s += " source IP range" + spaceMark(m.Src.Not) + " " + m.Src.text()
		}
		if m.Dst != nil {
			s += " destination IP range" + spaceMark(m.Dst.Not) + " " + m.Dst.text()
		}
		return s
	case *Physdev:
		var w words
		m.print(&w)
		return " PHYSDEV match " + strings.Join(w, " ")
	case *Owner:
		s := ""
		if m.Socket != NotAsked {
			s += spaceMark(m.Socket == No) + " owner socket exists"
		}
		if m.UID != nil {
			s += spaceMark(m.UID.Not) + " owner UID match " + f.id(m.UID, users)
		}
		if m.GID != nil {
			s += spaceMark(m.GID.Not) + " owner GID match " + f.id(m.GID, groups)
		}
		if m.SupplGroups {
			s += " incl. suppl. groups"
		}
		return s
	case *RPFilter:
		return spaced(" rpfilter", strings.Join(m.flags(), " "))
	case *Nth:
		s := " statistic mode nth" + spaceMark(m.Not) + " every " + u(m.Every)
		if m.Packet != 0 {
			s += " packet " + u(m.Packet)
		}
		return s
	case *PktType:
		return " PKTTYPE " + mark(m.Not) + "= " + m.Type.text()
	case *Length:
		return " length " + mark(m.Not) + m.text()
	case *TTL:
		return " TTL match TTL " + []string{TTLEqual: "==", TTLNot: "!=", TTLLess: "<", TTLGreater: ">"}[m.Op] + " " + u(uint32(m.Value))
	}
	return ""
}

func (f format) icmp(m *ICMP) string {
	if !f.numeric {
		for _, n := range icmpNames {
			if n.typ == m.Type && n.codeLo == m.CodeLo && n.codeHi == m.CodeHi {
				return " " + mark(m.Not) + n.name
			}
		}
	}
	s := spaceMark(m.Not) + "type " + u(uint32(m.Type))
	switch {
	case m.CodeLo == m.CodeHi:
		s += " code " + u(uint32(m.CodeLo))
	case m.CodeLo != 0 || m.CodeHi != 255:
		s += " codes " + u(uint32(m.CodeLo)) + "-" + u(uint32(m.CodeHi))
	}
	return s
}

func (f format) id(s *Span, names map[string]uint32) string {
	if s.Lo == s.Hi && !f.numeric {
		for name, id := range names {
			if id == s.Lo {
				return name
			}
		}
	}
	return s.idText()
}

// conntrack lists the match by the words of -S without their dashes
// (conntrack_dump, extensions/libxt_conntrack.c).
func (f format) conntrack(m *Conntrack) string {
	var w words
	m.print(&w)
	for i, word := range w {
		opt, isOpt := strings.CutPrefix(word, "--")
		if !isOpt {
			continue
		}
		w[i] = opt
		if f.numeric {
			continue
		}
		for name, n := range map[string]*Net{"ctorigsrc": m.OrigSrc, "ctorigdst": m.OrigDst, "ctreplsrc": m.ReplSrc, "ctrepldst": m.ReplDst} {
			switch {
			case name != opt:
			case n.Addr == 0:
				w[i+1] = "anywhere"
			default:
				w[i+1] = f.host(*n)
			}
		}
	}
	return " " + strings.Join(w, " ")
}

// logNames are the first names that syslog.h has for its levels.
var logNames = []string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"}

// target is what -L says of a target after the matches.
func (f format) target(t Target) string {
	switch t := t.(type) {
	case *Reject:
		return " reject-with " + t.With.text()
	case *Log:
		s := " LOG"
		if f.numeric {
			s += fmt.Sprintf(" flags %d level %d", t.Flags, t.Level)
		} else {
			s += " level " + logNames[t.Level]
			for i, n := range []string{"tcp-sequence", "tcp-options", "ip-options", "uid", "", "macdecode"} {
				if n != "" && t.Flags&(1<<i) != 0 {
					s += " " + n
				}
			}
		}
		if t.Prefix != "" {
			s += ` prefix "` + t.Prefix + `"`
		}
		return s
	case *Mark:
		return " MARK " + markWords(t.Value, t.Mask)
	case *Connmark:
		switch {
		case t.Op == SetConnmark:
			return " CONNMARK " + markWords(t.Value, t.CTMask)
		case t.Op == SaveConnmark:
			return " CONNMARK save" + maskWords(t, "nfmask", t.NFMask, "ctmask", t.CTMask)
		}
		return " CONNMARK restore" + maskWords(t, "ctmask", t.CTMask, "nfmask", t.NFMask)
	case *SNAT:
		return natWords("to:", t.NATRange)
	case *DNAT:
		return natWords("to:", t.NATRange)
	case *Masquerade:
		return natWords("masq ports: ", t.NATRange)
	case *Redirect:
		return natWords("redir ports ", t.NATRange)
	case *Netmap:
		return " to:" + Addr(t.To.Addr).String() + "/" + maskText(t.To.Mask)
	case *CT:
		if t.Notrack {
			return " CT notrack"
		}
		return " CT"
	case *Notrack:
		return " NOTRACK"
	}
	return ""
}

func markWords(value, mask uint32) string {
	switch {
	case value == 0:
		return "and " + hex(^mask)
	case value == mask:
		return "or " + hex(value)
	case mask == 0:
		return "xor " + hex(value)
	case mask == 0xffffffff:
		return "set " + hex(value)
	}
	return "xset " + hex(value) + "/" + hex(mask)
}

func maskWords(t *Connmark, first string, a uint32, second string, b uint32) string {
	switch {
	case t.NFMask == 0xffffffff && t.CTMask == 0xffffffff:
		return ""
	case t.NFMask == t.CTMask:
		return " mask " + hex(t.NFMask)
	}
	return " " + first + " " + hex(a) + " " + second + " ~" + hex(b)
}

func natWords(to string, r NATRange) string {
	s := r.text()
	if to != "to:" {
		s = strings.TrimPrefix(s, ":")
	}
	if s != "" {
		s = " " + to + s
	}
	for _, f := range r.flags() {
		s += " " + f
	}
	return s
}
