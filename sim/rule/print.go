package rule

import (
	"fmt"
	"strconv"
	"strings"
)

// words is a rule being written.
type words []string

func (w *words) add(s ...string) { *w = append(*w, s...) }

// opt adds an option with its value, and a "!" before it if need be.
func (w *words) opt(not bool, s ...string) {
	if not {
		w.add("!")
	}
	w.add(s...)
}

// Words is the rule as the words of a command, in the order of iptables-save.
func (r *Rule) Words() []string {
	var w words
	w.net("-s", r.Src)
	w.net("-d", r.Dst)
	w.iface("-i", r.In)
	w.iface("-o", r.Out)
	if r.Proto != 0 {
		name := ProtocolName(r.Proto, false)
		if name == "" {
			name = strconv.Itoa(int(r.Proto))
		}
		w.opt(r.NotProto, "-p", name)
	}
	switch r.Fragment {
	case LaterFragment:
		w.add("-f")
	case NotFragment:
		w.add("!", "-f")
	}
	for _, m := range r.Matches {
		w.add("-m", m.Name())
		m.print(&w)
	}
	if r.Target != nil {
		letter := "-j"
		if j, ok := r.Target.(*Jump); ok && j.Goto {
			letter = "-g"
		}
		w.add(letter, r.Target.Name())
		r.Target.print(&w)
	}
	return w
}

// Split is where String puts what stands between the matches and the target
// (the counters of -S -v): the words before it, and the target's.
func (r *Rule) Split() (before, target string) {
	t := r.Target
	if t == nil {
		return r.String(), ""
	}
	s := *r
	s.Target = nil
	before = s.String()
	return before, strings.TrimPrefix(strings.TrimPrefix(r.String(), before), " ")
}

// String writes the rule as iptables-save does, without "-A CHAIN".
func (r *Rule) String() string {
	var b strings.Builder
	quote := false
	for i, word := range r.Words() {
		if i > 0 {
			b.WriteByte(' ')
		}
		if quote {
			b.WriteString(saveString(word))
		} else {
			b.WriteString(word)
		}
		quote = word == "--comment" || word == "--log-prefix"
	}
	return b.String()
}

// saveString quotes text as xtables_save_string (libxtables/xtables.c) does.
func saveString(s string) string {
	plain := s != ""
	for _, c := range []byte(s) {
		if c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			plain = false
		}
	}
	if plain {
		return s
	}
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, `'`, `\'`).Replace(s) + `"`
}

func (w *words) net(opt string, n Net) {
	if n == (Net{}) {
		return
	}
	w.opt(n.Not, opt, Addr(n.Addr).String()+"/"+maskText(n.Mask))
}

func maskText(mask uint32) string {
	if bits := prefixLen(mask); bits >= 0 {
		return strconv.Itoa(bits)
	}
	return Addr(mask).String()
}

// hostText is an address with its mask, unless that is /32.
func (n Net) hostText() string {
	if n.Mask == 0xffffffff {
		return Addr(n.Addr).String()
	}
	return Addr(n.Addr).String() + "/" + maskText(n.Mask)
}

func (w *words) iface(opt string, i Iface) {
	if i != (Iface{}) {
		w.opt(i.Not, opt, i.Name)
	}
}

func u(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func hex(n uint32) string { return "0x" + strconv.FormatUint(uint64(n), 16) }

func (s Span) text() string {
	if s.Lo == s.Hi {
		return u(s.Lo)
	}
	return u(s.Lo) + ":" + u(s.Hi)
}

func (p Ports) text() string { return Span{Lo: uint32(p.Lo), Hi: uint32(p.Hi)}.text() }

func markText(value, mask uint32) string {
	if mask != 0xffffffff {
		return hex(value) + "/" + hex(mask)
	}
	return hex(value)
}

func (w *words) ports(opt string, p Ports) {
	if p != AllPorts {
		w.opt(p.Not, opt, p.text())
	}
}

func flagsText(f uint8) string {
	var names []string
	for i, n := range tcpFlagNames {
		if f&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if names == nil {
		return "NONE"
	}
	return strings.Join(names, ",")
}

func (m *TCP) print(w *words) {
	w.ports("--sport", m.Src)
	w.ports("--dport", m.Dst)
	if m.Option != 0 {
		w.opt(m.NotOption, "--tcp-option", u(uint32(m.Option)))
	}
	if m.FlagMask != 0 || m.NotFlags {
		w.opt(m.NotFlags, "--tcp-flags", flagsText(m.FlagMask), flagsText(m.Flags))
	}
}

func (m *UDP) print(w *words) {
	w.ports("--sport", m.Src)
	w.ports("--dport", m.Dst)
}

func (m *ICMP) print(w *words) {
	t := "any"
	if m.Type != AnyICMP {
		t = u(uint32(m.Type))
		if m.CodeLo != 0 || m.CodeHi != 255 {
			t += "/" + u(uint32(m.CodeLo))
		}
	}
	w.opt(m.Not, "--icmp-type", t)
}

// stateOrder is the order in which states are listed.
var stateOrder = []CTStates{Invalid, New, Related, Established, Untracked, SNATed, DNATed}

func (s CTStates) text() string {
	var names []string
	for _, b := range stateOrder {
		if s&b == 0 {
			continue
		}
		for i, n := range ctStateNames {
			if b == 1<<i {
				names = append(names, n)
			}
		}
	}
	return strings.Join(names, ",")
}

func (s CTStatus) text() string {
	var names []string
	for i, n := range ctStatusNames[1:] {
		if s&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if names == nil {
		return ctStatusNames[0]
	}
	return strings.Join(names, ",")
}

func (m *Conntrack) print(w *words) {
	if s := m.States; s != nil {
		w.opt(s.Not, "--ctstate", s.States.text())
	}
	if p := m.Proto; p != nil {
		w.opt(p.Not, "--ctproto", u(uint32(p.Proto)))
	}
	for _, n := range []struct {
		opt string
		net *Net
	}{{"--ctorigsrc", m.OrigSrc}, {"--ctorigdst", m.OrigDst}, {"--ctreplsrc", m.ReplSrc}, {"--ctrepldst", m.ReplDst}} {
		if n.net != nil {
			w.opt(n.net.Not, n.opt, n.net.hostText())
		}
	}
	for _, p := range []struct {
		opt   string
		ports *Ports
	}{{"--ctorigsrcport", m.OrigSrcPort}, {"--ctorigdstport", m.OrigDstPort}, {"--ctreplsrcport", m.ReplSrcPort}, {"--ctrepldstport", m.ReplDstPort}} {
		if p.ports != nil {
			w.opt(p.ports.Not, p.opt, p.ports.text())
		}
	}
	if s := m.Status; s != nil {
		w.opt(s.Not, "--ctstatus", s.Status.text())
	}
	if e := m.Expire; e != nil {
		w.opt(e.Not, "--ctexpire", e.text())
	}
	switch m.Dir {
	case Original:
		w.add("--ctdir", "ORIGINAL")
	case Reply:
		w.add("--ctdir", "REPLY")
	}
}

func (m *State) print(w *words) { w.opt(m.Not, "--state", m.States.text()) }

func (t AddrTypes) text() string {
	var names []string
	for i, n := range addrTypeNames {
		if t&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, ",")
}

func (m *AddrType) print(w *words) {
	if m.Src != 0 {
		w.opt(m.NotSrc, "--src-type", m.Src.text())
	}
	if m.Dst != 0 {
		w.opt(m.NotDst, "--dst-type", m.Dst.text())
	}
	if m.LimitIn {
		w.add("--limit-iface-in")
	}
	if m.LimitOut {
		w.add("--limit-iface-out")
	}
}

func (m *Multiport) print(w *words) {
	list := make([]string, len(m.Ports))
	for i, p := range m.Ports {
		list[i] = p.text()
	}
	w.opt(m.Not, "--"+m.Side.text(), strings.Join(list, ","))
}

func (s PortSide) text() string {
	switch s {
	case SrcPort:
		return "sports"
	case DstPort:
		return "dports"
	}
	return "ports"
}

func (m *MarkMatch) print(w *words)     { w.opt(m.Not, "--mark", markText(m.Value, m.Mask)) }
func (m *ConnmarkMatch) print(w *words) { w.opt(m.Not, "--mark", markText(m.Value, m.Mask)) }
func (m *MAC) print(w *words)           { w.opt(m.Not, "--mac-source", m.text()) }
func (m *Comment) print(w *words)       { w.add("--comment", m.Text) }

func (m *MAC) text() string {
	s := m.Source
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", s[0], s[1], s[2], s[3], s[4], s[5])
}

// text is the rate as print_rate (extensions/libxt_limit.c) has it.
func (m *Limit) text() string {
	rate, unit := limitRate(limitScale * m.Unit / m.Rate)
	for _, l := range limitUnits {
		if l.seconds == unit {
			return u(rate) + "/" + l.short
		}
	}
	return ""
}

func (m *Limit) print(w *words) {
	w.add("--limit", m.text())
	if m.Burst != 5 {
		w.add("--limit-burst", u(m.Burst))
	}
}

func (s AddrSpan) text() string { return Addr(s.Lo).String() + "-" + Addr(s.Hi).String() }

func (m *IPRange) print(w *words) {
	if m.Src != nil {
		w.opt(m.Src.Not, "--src-range", m.Src.text())
	}
	if m.Dst != nil {
		w.opt(m.Dst.Not, "--dst-range", m.Dst.text())
	}
}

func (w *words) ask(opt string, a Ask) {
	if a != NotAsked {
		w.opt(a == No, opt)
	}
}

func (m *Physdev) print(w *words) {
	w.ask("--physdev-is-in", m.IsIn)
	w.iface("--physdev-in", m.In)
	w.ask("--physdev-is-out", m.IsOut)
	w.iface("--physdev-out", m.Out)
	w.ask("--physdev-is-bridged", m.Bridged)
}

// idText is a range of ids.
func (s Span) idText() string {
	if s.Lo == s.Hi {
		return u(s.Lo)
	}
	return u(s.Lo) + "-" + u(s.Hi)
}

func (m *Owner) print(w *words) {
	w.ask("--socket-exists", m.Socket)
	if m.UID != nil {
		w.opt(m.UID.Not, "--uid-owner", m.UID.idText())
	}
	if m.GID != nil {
		w.opt(m.GID.Not, "--gid-owner", m.GID.idText())
	}
	if m.SupplGroups {
		w.add("--suppl-groups")
	}
}

func (m *RPFilter) flags() (f []string) {
	for _, o := range []struct {
		name string
		set  bool
	}{{"loose", m.Loose}, {"validmark", m.ValidMark}, {"accept-local", m.AcceptLocal}, {"invert", m.Invert}} {
		if o.set {
			f = append(f, o.name)
		}
	}
	return f
}

func (m *RPFilter) print(w *words) {
	for _, f := range m.flags() {
		w.add("--" + f)
	}
}

func (m *Nth) print(w *words) {
	w.add("--mode", "nth")
	w.opt(m.Not, "--every", u(m.Every), "--packet", u(m.Packet))
}

func (t PacketType) text() string { return packetTypes[t].name }

func (m *PktType) print(w *words) { w.opt(m.Not, "--pkt-type", m.Type.text()) }
func (m *Length) print(w *words)  { w.opt(m.Not, "--length", m.text()) }

func (m *TTL) print(w *words) {
	switch m.Op {
	case TTLLess:
		w.add("--ttl-lt")
	case TTLGreater:
		w.add("--ttl-gt")
	default:
		w.opt(m.Op == TTLNot, "--ttl-eq")
	}
	w.add(u(uint32(m.Value)))
}

func (Verdict) print(*words) {}
func (*Jump) print(*words)   {}

func (t RejectWith) text() string { return rejectNames[t].name }

func (t *Reject) print(w *words) { w.add("--reject-with", t.With.text()) }

func (t *Log) print(w *words) {
	if t.Prefix != "" {
		w.add("--log-prefix", t.Prefix)
	}
	if t.Level != 4 {
		w.add("--log-level", u(uint32(t.Level)))
	}
	for i, n := range []string{"--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid", "", "--log-macdecode"} {
		if n != "" && t.Flags&(1<<i) != 0 {
			w.add(n)
		}
	}
}

func (t *Mark) print(w *words) { w.add("--set-xmark", hex(t.Value)+"/"+hex(t.Mask)) }

func (t *Connmark) print(w *words) {
	switch t.Op {
	case SetConnmark:
		w.add("--set-xmark", hex(t.Value)+"/"+hex(t.CTMask))
	case SaveConnmark:
		w.add("--save-mark", "--nfmask", hex(t.NFMask), "--ctmask", hex(t.CTMask))
	case RestoreConnmark:
		w.add("--restore-mark", "--nfmask", hex(t.NFMask), "--ctmask", hex(t.CTMask))
	}
}

// text is the range as sprint_range (extensions/libxt_NAT.c) has it.
func (r NATRange) text() string {
	s := ""
	if r.HasAddr {
		s = Addr(r.MinAddr).String()
		if r.MaxAddr != r.MinAddr {
			s += "-" + Addr(r.MaxAddr).String()
		}
	}
	if r.HasPort {
		s += ":" + u(uint32(r.MinPort))
		if r.MaxPort != r.MinPort {
			s += "-" + u(uint32(r.MaxPort))
		}
		if r.HasBase {
			s += "/" + u(uint32(r.BasePort))
		}
	}
	return s
}

func (r NATRange) flags() (f []string) {
	for _, o := range []struct {
		name string
		set  bool
	}{{"random", r.Random}, {"random-fully", r.RandomFully}, {"persistent", r.Persistent}} {
		if o.set {
			f = append(f, o.name)
		}
	}
	return f
}

func (w *words) nat(opt string, r NATRange) {
	s := r.text()
	if opt == "--to-ports" {
		s = strings.TrimPrefix(s, ":")
	}
	if s != "" {
		w.add(opt, s)
	}
	for _, f := range r.flags() {
		w.add("--" + f)
	}
}

func (t *SNAT) print(w *words)       { w.nat("--to-source", t.NATRange) }
func (t *DNAT) print(w *words)       { w.nat("--to-destination", t.NATRange) }
func (t *Masquerade) print(w *words) { w.nat("--to-ports", t.NATRange) }
func (t *Redirect) print(w *words)   { w.nat("--to-ports", t.NATRange) }

func (t *Netmap) print(w *words) { w.add("--to", Addr(t.To.Addr).String()+"/"+maskText(t.To.Mask)) }

func (t *CT) print(w *words) {
	if t.Notrack {
		w.add("--notrack")
	}
}

func (*Notrack) print(*words) {}
func (*Trace) print(*words)   {}
