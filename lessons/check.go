package lessons

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vethlab/sim/state"
)

// Check is one thing that holds when a step is done. It looks at the lab's
// state or at what the step's packets did, never at how a command was written:
// any commands that get there will do. Exactly one field is set.
//
// In lesson.yaml, under a step's "checks":
//
//   - netns: {name: ns1, mounted: true}
//   - link: {node: host, name: veth0, up: true, master: br-demo, peer: ns1/veth1}
//   - addr: {node: host, dev: br-demo, prefix: 172.18.0.1/16}
//   - route: {node: ns1, dst: default, via: 172.18.0.1}
//   - sysctl: {node: host, key: net.ipv4.ip_forward, value: 1}
//   - policy: {node: host, chain: FORWARD, is: DROP}
//   - rule: {node: host, table: nat, chain: POSTROUTING, spec: "…", packets: 1}
//   - neigh: {node: host, ip: 172.18.0.8, mac-of: ns1/veth1}
//   - fdb: {node: host, dev: veth0, mac-of: ns1/veth1}
//   - listener: {node: ns1, port: 8000}
//   - conn: {node: host, proto: icmp, src: 172.18.0.8, dst: 203.0.113.10, reply-dst: 10.24.254.11}
//   - command: {node: client, text: curl, status: 0, prints: hello}
//   - packet: {sent-by: ns1, dst: 203.0.113.10, ends-at: host, ends: dropped, passes: […], avoids: […]}
//
// netns, link, addr, route, rule and conn take "absent: true": no such thing
// is there.
type Check struct {
	Netns    *NetnsCheck    `yaml:"netns"`
	Link     *LinkCheck     `yaml:"link"`
	Addr     *AddrCheck     `yaml:"addr"`
	Route    *RouteCheck    `yaml:"route"`
	Sysctl   *SysctlCheck   `yaml:"sysctl"`
	Policy   *PolicyCheck   `yaml:"policy"`
	Rule     *RuleCheck     `yaml:"rule"`
	Neigh    *NeighCheck    `yaml:"neigh"`
	FDB      *FDBCheck      `yaml:"fdb"`
	Listener *ListenerCheck `yaml:"listener"`
	Conn     *ConnCheck     `yaml:"conn"`
	Command  *CommandCheck  `yaml:"command"`
	Packet   *PacketCheck   `yaml:"packet"`
}

// NetnsCheck: a network namespace of that name is there, as a node of the lab.
type NetnsCheck struct {
	Name    string `yaml:"name"`
	Mounted *bool  `yaml:"mounted"` // whether /run/netns/NAME still names it
	Absent  bool   `yaml:"absent"`
}

// LinkCheck: a node has a link, and it is so.
type LinkCheck struct {
	Node    string `yaml:"node"`
	Name    string `yaml:"name"`
	Type    string `yaml:"type"`
	Up      *bool  `yaml:"up"`
	Carrier *bool  `yaml:"carrier"`
	Master  string `yaml:"master"`
	Peer    string `yaml:"peer"` // NODE/LINK
	Absent  bool   `yaml:"absent"`
}

// AddrCheck: a link has an address.
type AddrCheck struct {
	Node   string `yaml:"node"`
	Dev    string `yaml:"dev"`
	Prefix string `yaml:"prefix"`
	Absent bool   `yaml:"absent"`
}

// RouteCheck: table main has a route.
type RouteCheck struct {
	Node   string `yaml:"node"`
	Dst    string `yaml:"dst"` // a prefix, or "default"
	Via    string `yaml:"via"`
	Dev    string `yaml:"dev"`
	Absent bool   `yaml:"absent"`
}

// SysctlCheck: a kernel setting has a value.
type SysctlCheck struct {
	Node  string `yaml:"node"`
	Key   string `yaml:"key"`
	Value string `yaml:"value"`
}

// PolicyCheck: a built-in chain has a policy.
type PolicyCheck struct {
	Node  string `yaml:"node"`
	Table string `yaml:"table"` // "" is filter
	Chain string `yaml:"chain"`
	Is    string `yaml:"is"`
}

// RuleCheck: a chain holds a rule that says the same as Spec, however it was
// written, and counted so many packets.
type RuleCheck struct {
	Node    string  `yaml:"node"`
	Table   string  `yaml:"table"` // "" is filter
	Chain   string  `yaml:"chain"`
	Spec    string  `yaml:"spec"`
	Packets *uint64 `yaml:"packets"`
	Absent  bool    `yaml:"absent"`
}

// NeighCheck: a node knows the MAC address that belongs to an IP address.
type NeighCheck struct {
	Node  string `yaml:"node"`
	IP    string `yaml:"ip"`
	Dev   string `yaml:"dev"`
	MACOf string `yaml:"mac-of"` // NODE/LINK
}

// FDBCheck: a bridge has learned behind which port a MAC address lives.
type FDBCheck struct {
	Node  string `yaml:"node"`
	Dev   string `yaml:"dev"`    // the port
	MACOf string `yaml:"mac-of"` // NODE/LINK
}

// ListenerCheck: a socket waits on a port.
type ListenerCheck struct {
	Node   string `yaml:"node"`
	Proto  string `yaml:"proto"` // "" is tcp
	Port   uint16 `yaml:"port"`
	Absent bool   `yaml:"absent"`
}

// ConnCheck: conntrack has an entry with these tuples.
type ConnCheck struct {
	Node     string `yaml:"node"`
	Proto    string `yaml:"proto"`
	Src      string `yaml:"src"` // of the original direction
	Dst      string `yaml:"dst"`
	DstPort  uint16 `yaml:"dport"`
	ReplySrc string `yaml:"reply-src"`
	ReplyDst string `yaml:"reply-dst"`
	Replied  *bool  `yaml:"replied"`
	Absent   bool   `yaml:"absent"`
}

// CommandCheck: one of the commands that ran in Node, whose text holds Text,
// ended so.
type CommandCheck struct {
	Node   string `yaml:"node"`
	Text   string `yaml:"text"`
	Status *int   `yaml:"status"`
	Failed *bool  `yaml:"failed"` // any status but 0
	Prints string `yaml:"prints"` // standard output or standard error holds this
}

// PacketCheck: one of the packets chosen by PacketSelector went this way.
type PacketCheck struct {
	PacketSelector `yaml:",inline"`
	Ends           string  `yaml:"ends"` // a disposition
	EndsAt         string  `yaml:"ends-at"`
	Code           string  `yaml:"code"`   // a reason: trace.Code…
	Passes         []Place `yaml:"passes"` // in this order, others between them or not
	Avoids         []Place `yaml:"avoids"`
}

// PacketSelector chooses journeys among those of a step's packets. Fields that
// are not set choose all.
type PacketSelector struct {
	SentBy  string `yaml:"sent-by"` // the node it started in
	Is      string `yaml:"is"`      // its summary holds this: "echo request", "SYN"
	Proto   string `yaml:"proto"`
	Src     string `yaml:"src"` // as the packet was sent
	Dst     string `yaml:"dst"`
	DstPort uint16 `yaml:"dport"`
	Reply   *bool  `yaml:"reply"`
	// Command counts from 1: only packets of the step's command of that number.
	Command int `yaml:"command"`
	// Nth counts from 1 among the packets that fit; 0 means any of them.
	Nth int `yaml:"nth"`
}

// Place describes a step of a journey. Fields that are not set fit any step.
type Place struct {
	Node    string `yaml:"node"`
	Point   string `yaml:"point"`
	Dev     string `yaml:"dev"`
	Table   string `yaml:"table"`
	Chain   string `yaml:"chain"`
	Verdict string `yaml:"verdict"`
	Rule    string `yaml:"rule"`    // the rule that decided says the same as this
	Rewrite string `yaml:"rewrite"` // the field it rewrote: src, dst, sport, dport
	From    string `yaml:"from"`
	To      string `yaml:"to"`
	Cause   string `yaml:"cause"` // the cause of the rewrite holds this
	Src     string `yaml:"src"`   // as it left this place
	Dst     string `yaml:"dst"`
	DstPort uint16 `yaml:"dport"`
	TTL     uint8  `yaml:"ttl"`
}

// CheckResult is what became of a check.
type CheckResult struct {
	OK   bool   `json:"ok"`
	Text string `json:"text"`          // what was looked at: "ns1: default via 172.18.0.1"
	Got  string `json:"got,omitempty"` // what was there instead
	// Says is Text in parts, for translation.
	Says []Phrase `json:"-"`
}

// Evaluate holds a step's checks against the lab's state and against what the
// step's commands came to. Before they have run, ran is empty.
func Evaluate(s *Step, snap *state.Snapshot, ran []Ran) []CheckResult {
	out := make([]CheckResult, len(s.Checks))
	for i := range s.Checks {
		k := s.Checks[i].kind()
		got := k.look(scene{snap, ran})
		says := k.says()
		out[i] = CheckResult{OK: got == "", Text: english(says), Got: got, Says: says}
	}
	return out
}

// kind is what the checks have in common.
type kind interface {
	look(scene) (got string) // "" when the check holds
	says() []Phrase
	wrong(w *wrongs)
}

// kind returns the one field that is set, or nil.
func (c *Check) kind() kind {
	var set []kind
	add := func(k kind, ok bool) {
		if ok {
			set = append(set, k)
		}
	}
	add(c.Netns, c.Netns != nil)
	add(c.Link, c.Link != nil)
	add(c.Addr, c.Addr != nil)
	add(c.Route, c.Route != nil)
	add(c.Sysctl, c.Sysctl != nil)
	add(c.Policy, c.Policy != nil)
	add(c.Rule, c.Rule != nil)
	add(c.Neigh, c.Neigh != nil)
	add(c.FDB, c.FDB != nil)
	add(c.Listener, c.Listener != nil)
	add(c.Conn, c.Conn != nil)
	add(c.Command, c.Command != nil)
	add(c.Packet, c.Packet != nil)
	if len(set) != 1 {
		return nil
	}
	return set[0]
}

// ofState reports whether the check looks at the lab's state, not at packets
// and commands, which are past.
func (c *Check) ofState() bool { return c.Command == nil && c.Packet == nil }

// scene is what checks look at.
type scene struct {
	snap *state.Snapshot
	ran  []Ran
}

// nothing is what a check got when nothing of the kind was there.
const nothing = "nothing of the kind"

func (sc scene) node(name string) (*state.Node, string) {
	if n := sc.snap.Node(name); n != nil {
		return n, ""
	}
	return nil, "no node " + name
}

func (sc scene) mac(nodeLink string) string {
	node, link, _ := strings.Cut(nodeLink, "/")
	if n := sc.snap.Node(node); n != nil {
		if l := n.Link(link); l != nil {
			return l.MAC
		}
	}
	return ""
}

// presence turns "found" and "should be absent" into what a check got.
func presence(found, absent bool, what string) string {
	switch {
	case found && absent:
		return "it is there"
	case !found && !absent:
		return cmp.Or(what, nothing)
	}
	return ""
}

func (c *NetnsCheck) says() []Phrase {
	ps := []Phrase{phrase(unless(c.Absent, "netns"), "name", c.Name)}
	if c.Mounted != nil {
		ps = append(ps, phrase(map[bool]string{true: "named", false: "unnamed"}[*c.Mounted]))
	}
	return ps
}

func (c *NetnsCheck) look(sc scene) string {
	n := sc.snap.Node(c.Name)
	if got := presence(n != nil, c.Absent, ""); got != "" || n == nil {
		return got
	}
	if c.Mounted != nil && n.Mounted != *c.Mounted {
		return map[bool]string{true: "/run/netns names it", false: "/run/netns does not name it"}[n.Mounted]
	}
	return ""
}

func (c *LinkCheck) says() []Phrase {
	ps := []Phrase{phrase(unless(c.Absent, "link"), "node", c.Node, "name", c.Name)}
	if c.Type != "" {
		ps = append(ps, phrase("is-a", "type", c.Type))
	}
	if c.Up != nil {
		ps = append(ps, phrase(upDown(*c.Up)))
	}
	if c.Carrier != nil {
		ps = append(ps, phrase(unless(!*c.Carrier, "carrier")))
	}
	if c.Master != "" {
		ps = append(ps, phrase("port-of", "bridge", c.Master))
	}
	if c.Peer != "" {
		ps = append(ps, phrase("other-end", "peer", c.Peer))
	}
	return ps
}

func upDown(up bool) string { return map[bool]string{true: "up", false: "down"}[up] }

func (c *LinkCheck) look(sc scene) string {
	n := sc.snap.Node(c.Node)
	if n == nil {
		return presence(false, c.Absent, "no node "+c.Node)
	}
	l := n.Link(c.Name)
	if got := presence(l != nil, c.Absent, "no such link"); got != "" || l == nil {
		return got
	}
	switch peer := l.PeerNode + "/" + l.PeerName; {
	case c.Type != "" && l.Type != c.Type:
		return l.Type
	case c.Up != nil && l.Up != *c.Up:
		return upDown(l.Up)
	case c.Carrier != nil && l.Carrier != *c.Carrier:
		return map[bool]string{true: "carrier", false: "no carrier"}[l.Carrier]
	case c.Master != "" && l.Master != c.Master:
		return "port of " + cmp.Or(l.Master, "nothing")
	case c.Peer != "" && peer != c.Peer:
		return "other end " + peer
	}
	return ""
}

func (c *AddrCheck) says() []Phrase {
	return []Phrase{phrase(unless(c.Absent, "addr"), "node", c.Node, "prefix", c.Prefix, "dev", c.Dev)}
}

func (c *AddrCheck) look(sc scene) string {
	var have []string
	if n := sc.snap.Node(c.Node); n != nil {
		if l := n.Link(c.Dev); l != nil {
			for _, a := range l.Addrs {
				have = append(have, a.Prefix.String())
			}
		}
	}
	return presence(slices.Contains(have, c.Prefix), c.Absent, strings.Join(have, ", "))
}

func (c *RouteCheck) says() []Phrase {
	route := c.Dst
	if c.Via != "" {
		route += " via " + c.Via
	}
	if c.Dev != "" {
		route += " dev " + c.Dev
	}
	return []Phrase{phrase(unless(c.Absent, "route"), "node", c.Node, "route", route)}
}

func (c *RouteCheck) look(sc scene) string {
	n, got := sc.node(c.Node)
	if n == nil {
		return presence(false, c.Absent, got)
	}
	dst, _ := routeDst(c.Dst)
	found := slices.ContainsFunc(n.Routes, func(r state.Route) bool {
		return r.Table == 254 && r.Dst == dst && fits(c.Via, r.Via) && fits(c.Dev, r.Dev)
	})
	return presence(found, c.Absent, "no such route")
}

func routeDst(s string) (netip.Prefix, error) {
	if s == "default" {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	return netip.ParsePrefix(s)
}

func (c *SysctlCheck) says() []Phrase {
	return []Phrase{phrase("sysctl", "node", c.Node, "key", c.Key, "value", c.Value)}
}

func (c *SysctlCheck) look(sc scene) string {
	n, got := sc.node(c.Node)
	if n == nil {
		return got
	}
	if v, ok := n.Sysctls[c.Key]; !ok || v != c.Value {
		return cmp.Or(v, "unknown")
	}
	return ""
}

func (c *PolicyCheck) says() []Phrase {
	return []Phrase{phrase("policy", "node", c.Node, "chain", chainName(c.Table, c.Chain), "policy", c.Is)}
}

func chainName(table, chain string) string { return cmp.Or(table, "filter") + " " + chain }

func (c *PolicyCheck) look(sc scene) string {
	n, got := sc.node(c.Node)
	if n == nil {
		return got
	}
	is := "ACCEPT" // of a chain nobody has touched
	if ch := chain(n, c.Table, c.Chain); ch != nil {
		is = ch.Policy
	}
	if is != c.Is {
		return is
	}
	return ""
}

func chain(n *state.Node, table, name string) *state.Chain {
	if t := n.Table(cmp.Or(table, "filter")); t != nil {
		return t.Chain(name)
	}
	return nil
}

func (c *RuleCheck) says() []Phrase {
	ps := []Phrase{phrase(unless(c.Absent, "rule"), "node", c.Node, "chain", chainName(c.Table, c.Chain), "rule", c.Spec)}
	if c.Packets != nil {
		ps = append(ps, phrase("packets", "n", strconv.FormatUint(*c.Packets, 10)))
	}
	return ps
}

func (c *RuleCheck) find(sc scene) *state.Rule {
	n := sc.snap.Node(c.Node)
	if n == nil {
		return nil
	}
	if ch := chain(n, c.Table, c.Chain); ch != nil {
		want := normalRule(c.Spec)
		for i := range ch.Rules {
			if normalRule(ch.Rules[i].Spec) == want {
				return &ch.Rules[i]
			}
		}
	}
	return nil
}

func (c *RuleCheck) look(sc scene) string {
	r := c.find(sc)
	if got := presence(r != nil, c.Absent, "no such rule"); got != "" || r == nil {
		return got
	}
	if c.Packets != nil && r.Packets != *c.Packets {
		return fmt.Sprintf("packets %d", r.Packets)
	}
	return ""
}

func (c *NeighCheck) says() []Phrase {
	return []Phrase{phrase("neigh", "node", c.Node, "ip", c.IP, "of", c.MACOf)}
}

func (c *NeighCheck) look(sc scene) string {
	n, got := sc.node(c.Node)
	if n == nil {
		return got
	}
	mac := sc.mac(c.MACOf)
	for _, e := range n.Neighs {
		if e.IP.String() != c.IP || !fits(c.Dev, e.Dev) {
			continue
		}
		if e.MAC != "" && e.MAC == mac {
			return ""
		}
		got = strings.TrimSpace(e.MAC + " " + e.State)
	}
	return cmp.Or(got, "no entry")
}

func (c *FDBCheck) says() []Phrase {
	return []Phrase{phrase("fdb", "node", c.Node, "of", c.MACOf, "dev", c.Dev)}
}

func (c *FDBCheck) look(sc scene) string {
	n, got := sc.node(c.Node)
	if n == nil {
		return got
	}
	mac := sc.mac(c.MACOf)
	for _, e := range n.FDB {
		if mac != "" && e.MAC == mac && !e.Local {
			if e.Dev == c.Dev {
				return ""
			}
			got = "behind " + e.Dev
		}
	}
	return cmp.Or(got, "not learned")
}

func (c *ListenerCheck) says() []Phrase {
	return []Phrase{phrase(unless(c.Absent, "listener"), "node", c.Node, "proto", cmp.Or(c.Proto, "tcp"), "port", strconv.Itoa(int(c.Port)))}
}

func (c *ListenerCheck) look(sc scene) string {
	n, got := sc.node(c.Node)
	if n == nil {
		return presence(false, c.Absent, got)
	}
	found := slices.ContainsFunc(n.Listeners, func(l state.Listener) bool {
		return l.Proto == cmp.Or(c.Proto, "tcp") && l.Port == c.Port
	})
	return presence(found, c.Absent, "no such socket")
}

func (c *ConnCheck) says() []Phrase {
	entry := c.Proto
	for _, f := range []struct{ k, v string }{{"src", c.Src}, {"dst", c.Dst}, {"dport", port(c.DstPort)}, {"reply src", c.ReplySrc}, {"reply dst", c.ReplyDst}} {
		if f.v != "" {
			entry += " " + f.k + "=" + f.v
		}
	}
	ps := []Phrase{phrase(unless(c.Absent, "conn"), "node", c.Node, "entry", entry)}
	if c.Replied != nil {
		ps = append(ps, phrase(map[bool]string{true: "replied", false: "unreplied"}[*c.Replied]))
	}
	return ps
}

func (c *ConnCheck) look(sc scene) string {
	n, got := sc.node(c.Node)
	if n == nil {
		return presence(false, c.Absent, got)
	}
	found := slices.ContainsFunc(n.Conns, func(e state.Conn) bool {
		return fits(c.Proto, e.Proto) && fits(c.Src, e.Orig.Src.String()) && fits(c.Dst, e.Orig.Dst.String()) &&
			fits(c.DstPort, e.Orig.DstPort) && fits(c.ReplySrc, e.Reply.Src.String()) &&
			fits(c.ReplyDst, e.Reply.Dst.String()) && (c.Replied == nil || *c.Replied == e.Replied)
	})
	return presence(found, c.Absent, "no such entry")
}

// fits reports whether got is what was asked for; the zero value asks for nothing.
func fits[T comparable](want, got T) bool {
	var any T
	return want == any || want == got
}

func port(p uint16) string {
	if p == 0 {
		return ""
	}
	return strconv.Itoa(int(p))
}

var longOptions = map[string]string{
	"--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d", "--protocol": "-p", "--proto": "-p",
	"--in-interface": "-i", "--out-interface": "-o", "--jump": "-j", "--goto": "-g", "--match": "-m",
	"--source-port": "--sport", "--destination-port": "--dport", "--state": "--ctstate",
}

// normalRule brings a rule's text into one form, so that two ways to write the
// same rule compare equal: options in alphabetical order, the target last,
// short names, no "/32", and without the "-m tcp" that "-p tcp" implies.
func normalRule(spec string) string {
	var matches, target []string
	words := strings.Fields(spec)
	for i := 0; i < len(words); {
		var group []string
		if words[i] == "!" {
			group, i = append(group, "!"), i+1
		}
		for first := true; i < len(words) && (first || !strings.HasPrefix(words[i], "-") && words[i] != "!"); i++ {
			w := words[i]
			if first {
				w = cmp.Or(longOptions[w], w)
			} else {
				w = normalValue(w)
			}
			group, first = append(group, w), false
		}
		g := strings.Join(group, " ")
		switch {
		case g == "-m tcp" || g == "-m udp" || g == "-m icmp":
		case g == "-m state":
			matches = append(matches, "-m conntrack")
		case len(target) > 0 || strings.HasPrefix(g, "-j ") || strings.HasPrefix(g, "-g "):
			target = append(target, g)
		default:
			matches = append(matches, g)
		}
	}
	slices.Sort(matches)
	return strings.Join(append(matches, target...), " ")
}

func normalValue(w string) string {
	if ip, mask, ok := strings.Cut(w, "/"); ok {
		if m, err := netip.ParseAddr(mask); err == nil && m.Is4() {
			bits := 0
			for _, b := range m.As4() {
				for ; b&0x80 != 0; b <<= 1 {
					bits++
				}
			}
			w = fmt.Sprintf("%s/%d", ip, bits)
		}
		return strings.TrimSuffix(w, "/32")
	}
	if strings.Contains(w, ",") {
		parts := strings.Split(w, ",")
		slices.Sort(parts)
		return strings.Join(parts, ",")
	}
	return w
}
