package agree

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// Renderer writes down what one side did. It numbers that side's values.
type Renderer struct {
	number map[string]map[string]int // kind → value → number
	// asked are the ports that the transcript names: they are no accident.
	asked map[uint16]bool
	// began are the TCP conversations of the commands so far: a packet that comes
	// after its command is over belongs to none.
	began map[string]bool
	// moved are counters that packets of an established TCP connection moved.
	moved    map[string]bool
	switches map[string]bool
	tunnels  map[uint16]bool // ports of vxlan
}

// NewRenderer begins a run.
func NewRenderer() *Renderer {
	return &Renderer{number: map[string]map[string]int{}, asked: map[uint16]bool{}, began: map[string]bool{}, moved: map[string]bool{},
		switches: map[string]bool{}, tunnels: map[uint16]bool{4789: true}}
}

func (r *Renderer) name(kind, value string) string {
	m := r.number[kind]
	if m == nil {
		m = map[string]int{}
		r.number[kind] = m
	}
	if m[value] == 0 {
		m[value] = len(m) + 1
	}
	return fmt.Sprintf("$%s%d", kind, m[value])
}

func (r *Renderer) mac(s string) string {
	switch s {
	case "", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00":
		return s
	}
	return r.name("m", s)
}

// port names a port: by its number when somebody asked for it, else by the
// range that NAT keeps it in (nf_nat_l4proto_unique_tuple, net/netfilter/nf_nat_core.c).
func (r *Renderer) port(p uint16) string {
	switch {
	case r.asked[p] || p < 512:
		return fmt.Sprint(p)
	case p < 1024:
		return r.name("low", fmt.Sprint(p))
	}
	return r.name("p", fmt.Sprint(p))
}

// Patterns of what no two runs print alike.
var masks = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`time=[0-9.]+ ms`), "time=… ms"},
	{regexp.MustCompile(`time [0-9]+ms`), "time …ms"},
	{regexp.MustCompile(`(rtt|round-trip) min/avg/max/(mdev|stddev) = [0-9./]+ ms(, pipe [0-9]+)?`), "rtt …"},
	{regexp.MustCompile(`(, |(?m)^)pipe [0-9]+`), ""},
	{regexp.MustCompile(`after [0-9]+ (m?s\b|milliseconds)`), "after … ms"},
	{regexp.MustCompile(`[0-9]+\.[0-9]+ ms`), "… ms"},
	{regexp.MustCompile(`Date: [^\r\n]+`), "Date: …"},
}

var (
	macText = regexp.MustCompile(`\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b`)
	digits  = regexp.MustCompile(`[0-9]+`)
	// As conntrack(8) prints a connection.
	portText    = regexp.MustCompile(`\b(sport|dport)=([0-9]+)`)
	idText      = regexp.MustCompile(`\bid=([0-9]+)`)
	timeoutText = regexp.MustCompile(`(?m)^([a-z]+ +[0-9]+ )([0-9]+) `)
)

func (r *Renderer) output(s string) string {
	for _, m := range masks {
		s = m.re.ReplaceAllString(s, m.to)
	}
	s = portText.ReplaceAllStringFunc(s, func(m string) string {
		var p uint16
		key, value, _ := strings.Cut(m, "=")
		fmt.Sscan(value, &p)
		return key + "=" + r.port(p)
	})
	s = idText.ReplaceAllStringFunc(s, func(m string) string { return "id=" + r.name("i", m[3:]) })
	s = timeoutText.ReplaceAllString(s, "$1~$2 ")
	return macText.ReplaceAllStringFunc(s, r.mac)
}

// Ask takes note of the ports that a command names. Command does so, too: this
// is for commands that this side did not run.
func (r *Renderer) Ask(text string) {
	for _, w := range digits.FindAllString(text, -1) {
		var p int
		if fmt.Sscan(w, &p); p > 0 && p < 65536 {
			r.asked[uint16(p)] = true
		}
	}
	for _, m := range dstport.FindAllStringSubmatch(text, -1) {
		var p uint16
		fmt.Sscan(m[1], &p)
		r.tunnels[p] = true
	}
}

// Command writes down what a command came to.
func (r *Renderer) Command(text string, o Outcome) Record {
	r.Ask(text)
	if strings.HasPrefix(text, "conntrack ") { // a hash table's order
		lines := strings.SplitAfter(o.Stdout, "\n")
		key := func(l string) string { return timeoutText.ReplaceAllString(portText.ReplaceAllString(l, ""), "$1") }
		slices.SortFunc(lines, func(a, b string) int { return cmp.Compare(key(a), key(b)) })
		o.Stdout = strings.Join(lines, "")
	}
	rec := Record{Text: text, Status: o.Status, Stdout: r.output(o.Stdout), Stderr: r.output(o.Stderr)}
	if strings.HasPrefix(text, "conntrack ") { // now by the names of what only names tell apart
		lines := strings.SplitAfter(rec.Stdout, "\n")
		slices.Sort(lines)
		rec.Stdout = strings.Join(lines, "")
	}
	began := map[string]bool{}
	opens := map[string]int64{} // when a SYN went that way first
	traces := slices.Clone(o.Traces)
	slices.SortStableFunc(traces, func(a, b trace.Trace) int { return cmp.Compare(a.Start, b.Start) })
	for i := range traces {
		t := &traces[i]
		h, ok := first(t)
		if !ok {
			continue
		}
		if h.Proto == "tcp" && t.Flow != "" {
			if h.TCPFlags == "SYN" && !r.began[t.Flow] {
				began[t.Flow] = true
			}
			if !began[t.Flow] {
				r.count(t) // a latecomer of a conversation that is over
				continue
			}
		}
		text := r.journey(t)
		if text == "" {
			continue
		}
		if opened, again := opens[text]; again && t.Start-opened >= synAgain {
			r.count(t)
			continue
		} else if h.TCPFlags == "SYN" && !again {
			opens[text] = t.Start
		}
		if settled(h) || h.Proto == "arp" { // a tunnel's packet around it may meet rules
			r.count(t)
			if slices.Contains(rec.Journeys, text) {
				continue
			}
		}
		rec.Journeys = append(rec.Journeys, text)
	}
	maps.Copy(r.began, began)
	return rec
}

// synAgain is about when a SYN is repeated that nobody answers: after a second.
// That is also when `nc -w1` gives up; which of the two comes first depends on
// how busy the machine is.
const synAgain = int64(900 * time.Millisecond)

func first(t *trace.Trace) (h trace.Header, ok bool) {
	for _, hop := range t.Hops {
		for _, s := range hop.Steps {
			return s.Before, true
		}
	}
	return h, false
}

// settled reports whether a packet belongs to an established TCP connection,
// where it depends on the moment how many there are.
func settled(h trace.Header) bool {
	return h.Proto == "tcp" && !strings.Contains(h.TCPFlags, "SYN") && !strings.Contains(h.TCPFlags, "RST")
}

// tunnel reports whether a packet carries another.
func (r *Renderer) tunnel(proto string, dport uint16) bool { return proto == "udp" && r.tunnels[dport] }

// hash names the source port of a packet that carries another: a hash of what is
// inside, with a seed of the kernel's own (udp_flow_src_port, include/net/udp.h).
// Which conversations share one is compared, for each sender by itself.
func (r *Renderer) hash(src netip.Addr, port uint16) string {
	return r.name("h", fmt.Sprint(src, " ", port))
}

var dstport = regexp.MustCompile(`\bdstport ([0-9]+)`)

// count notes the counters that a packet moved.
func (r *Renderer) count(t *trace.Trace) {
	for _, hop := range t.Hops {
		for _, s := range hop.Steps {
			switch {
			case s.Table != "" && s.Rule > 0:
				r.moved[ruleKey(hop.Node, s.Table, s.Chain, s.RuleText)] = true
			case s.Table != "":
				r.moved[ruleKey(hop.Node, s.Table, s.Chain, "")] = true
			}
		}
	}
}

func ruleKey(node, table, chain, text string) string {
	return node + " " + table + " " + chain + " " + text
}

// journey writes a journey down, point by point, or nothing when it happened
// where nobody looks.
func (r *Renderer) journey(t *trace.Trace) string {
	var lines []string
	var last string // the packet as it was written last
	h, _ := first(t)
	title := h.Proto
	if t.Reply && !(h.Proto == "icmp" && h.ICMPType != 0) { // whose an error is, the kernel does not say
		title += " back"
	}
	if h.Proto == "arp" { // one frame, that nothing changes
		last = r.packet(h)
		title += " " + last
	}
	also := slices.DeleteFunc(slices.Clone(t.Also), func(n string) bool { return r.switches[n] })
	for i, hop := range t.Hops {
		if r.switches[hop.Node] {
			continue
		}
		for k, s := range hop.Steps {
			line, ok := r.step(hop.Node, &s)
			if !ok {
				continue
			}
			// The kernel tells of a decision by the hook that comes after it.
			if s.Point == trace.RouteStep && i == len(t.Hops)-1 && k == len(hop.Steps)-1 {
				continue
			}
			if h.Proto == "arp" { // the order of a broadcast's copies is chance
				line += r.around(s.Before.Outer)
				if s.Rewritten() || s.Before.Outer == nil && s.After.Outer != nil {
					line += "  ⇒" + r.around(s.After.Outer)
				}
				lines = append(lines, line)
				continue
			}
			if p := r.packet(s.Before); p != last {
				line += "  " + p
				last = p
			}
			if p := r.packet(s.After); p != last {
				line += "  ⇒  " + p
				last = p
			}
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	if h.Proto == "arp" {
		slices.Sort(lines)
	}
	slices.Sort(also)
	if also = slices.Compact(also); len(also) > 0 {
		lines = append(lines, "also: "+strings.Join(also, " "))
	}
	return title + "\n" + strings.Join(lines, "\n") + "\n" + r.end(t)
}

// step writes a point down. ok is false for one the kernel cannot report.
func (r *Renderer) step(node string, s *trace.Step) (line string, ok bool) {
	w := []string{node, string(s.Point)}
	add := func(f ...string) {
		for _, x := range f {
			if x != "" {
				w = append(w, x)
			}
		}
	}
	switch s.Point {
	case trace.Bridge:
		return "", false
	case trace.RX, trace.TX:
		add(s.Dev)
		h := &s.Before
		if h.Outer != nil {
			h = h.Outer
		}
		if s.Dev != "lo" && h.SrcMAC != "" {
			add(r.mac(h.SrcMAC) + ">" + r.mac(h.DstMAC))
		}
	case trace.RouteStep:
		if s.Verdict == trace.NoRoute {
			return "", false // explained, and said again by the end
		}
		if s.Verdict != trace.Local {
			add(s.Dev)
		}
		add(string(s.Verdict))
	case trace.Conntrack:
		add(s.Chain)
	case trace.Socket:
		if s.Code == "" {
			return "", false
		}
		add(s.Code)
	default:
		add(s.Table, s.Chain)
		if s.Rule > 0 {
			add(fmt.Sprint(s.Rule))
		}
		add(string(s.Verdict))
	}
	return strings.Join(w, " "), true
}

// around writes down the packet that carries another.
func (r *Renderer) around(outer *trace.Header) string {
	if outer == nil {
		return ""
	}
	return "  in " + r.packet(*outer)
}

// packet writes the fields of a header that are compared.
func (r *Renderer) packet(h trace.Header) string {
	if h.Proto == "arp" {
		s := fmt.Sprintf("%s %s→%s", h.ARPOp, h.Src, h.Dst)
		if h.ARPMAC != "" {
			s += " " + r.mac(h.ARPMAC)
		}
		return s
	}
	if h.Fragment() {
		s := fmt.Sprintf("%s→%s bytes %d to %d", h.Src, h.Dst, h.FragOffset, h.FragOffset+h.Len-20)
		if h.MoreFragments {
			s += ", more to come,"
		}
		s += fmt.Sprintf(" ttl %d", h.TTL)
		if h.Outer != nil {
			s += r.around(h.Outer)
		}
		return s
	}
	from := r.endpoint(h.Src, h.SrcPort, h.Proto)
	if r.tunnel(h.Proto, h.DstPort) {
		from = h.Src.String() + ":" + r.hash(h.Src, h.SrcPort)
	}
	s := fmt.Sprintf("%s→%s", from, r.endpoint(h.Dst, h.DstPort, h.Proto))
	switch h.Proto {
	case "icmp":
		s += fmt.Sprintf(" type %d/%d", h.ICMPType, h.ICMPCode)
		if h.ICMPType == 8 || h.ICMPType == 0 {
			s += fmt.Sprintf(" id %s seq %d", r.name("i", fmt.Sprint(h.ICMPID)), h.ICMPSeq)
		}
	case "tcp":
		if settled(h) {
			s += " established"
		} else {
			s += " " + h.TCPFlags
		}
	}
	s += fmt.Sprintf(" ttl %d", h.TTL)
	if !settled(h) {
		s += fmt.Sprintf(" len %d", h.Len)
	}
	if h.Outer != nil {
		around := r.around(h.Outer)
		if settled(h) {
			around, _, _ = strings.Cut(around, " len ")
		}
		s += around
	}
	return s
}

func (r *Renderer) endpoint(a netip.Addr, port uint16, proto string) string {
	if proto != "tcp" && proto != "udp" {
		return a.String()
	}
	return a.String() + ":" + r.port(port)
}

func (r *Renderer) end(t *trace.Trace) string {
	if t.Disposition == trace.Unclaimed { // by everybody
		return "end: unclaimed"
	}
	s := fmt.Sprintf("end: %s at %s", t.Disposition, t.Node)
	if t.Code == trace.CodeVanished || t.Disposition == trace.Vanished {
		return s + unexplained
	}
	s += " " + t.Code
	for _, k := range blanks[t.Code] {
		s += " " + k + "=" + t.Args[k]
	}
	return s
}

// blanks are what the codes of a journey's end tell beside the node (see the
// constants of package trace); a rule's text is compared with the rules.
var blanks = map[string][]string{
	trace.CodeRefused:         {"port"},
	trace.CodeRuleDrop:        {"table", "chain", "rule"},
	trace.CodeRuleReject:      {"table", "chain", "rule"},
	trace.CodePolicyDrop:      {"table", "chain"},
	trace.CodeForwardingOff:   {"dst"},
	trace.CodeNoRoute:         {"dst"},
	trace.CodeNoWayBack:       {"dst"},
	trace.CodeMartianSource:   {"src", "dev"},
	trace.CodeMartianDest:     {"dst", "dev"},
	trace.CodeLoopbackReroute: {"src", "dev"},
	trace.CodeReversePath:     {"src", "dev"},
	trace.CodeNoNeighbour:     {"ip", "dev"},
	trace.CodeTooBig:          {"dev", "mtu"},
	trace.CodeNoCarrier:       {"dev"},
}

// Switches tells which nodes of a world are only wiring: nobody captures there.
func (r *Renderer) Switches(s *state.Snapshot) {
	for _, n := range s.Nodes {
		if n.Kind == state.Switch {
			r.switches[n.Name] = true
		}
	}
}
