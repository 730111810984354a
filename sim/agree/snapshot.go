package agree

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vethlab/sim/state"
)

// State writes a snapshot down: each line begins with the node and the part it
// is of.
func (r *Renderer) State(s *state.Snapshot) []string {
	r.Switches(s)
	var lines []string
	canonical := s.Canonical()
	for i := range canonical.Nodes {
		n := &canonical.Nodes[i]
		raw := s.Node(n.Name)
		add := func(part, format string, args ...any) {
			lines = append(lines, strings.TrimSpace(n.Name+" "+part+" "+fmt.Sprintf(format, args...)))
		}
		add("node", "%s%s%s", n.Kind, opt(" of ", n.Machine), flag(" mounted", n.Mounted))
		for _, l := range n.Links {
			r.link(&l, raw, add)
		}
		for _, t := range n.Routes {
			add("route", "table %d %s%s proto %s scope %s%s%s", t.Table, t.String(), "", t.Proto, t.Scope, num(" metric ", t.Metric), flag(" onlink", t.Onlink))
		}
		for _, p := range n.Policies {
			add("policy", "%d:%s%s%s%s table %d", p.Priority, opt(" from ", p.From), opt(" to ", p.To), opt(" iif ", p.Iif), num(" mark ", int(p.Mark)), p.Table)
		}
		for _, key := range slices.Sorted(maps.Keys(n.Sysctls)) {
			if recorded(key) {
				add("sysctl", "%s=%s", key, n.Sysctls[key])
			}
		}
		for _, t := range n.Tables {
			was := raw.Table(t.Name)
			for _, c := range t.Chains {
				counts := was.Chain(c.Name)
				head := c.Name
				if c.Policy != "" {
					head += " " + c.Policy + " " + r.counter(counts.Packets, counts.Bytes, ruleKey(n.Name, t.Name, c.Name, ""))
				}
				add("chain", "%s %s", t.Name, head)
				for k, rule := range c.Rules {
					add("rule", "%s %s %d %s %s", t.Name, c.Name, k+1, r.counter(counts.Rules[k].Packets, counts.Rules[k].Bytes, ruleKey(n.Name, t.Name, c.Name, rule.Spec)), rule.Spec)
				}
			}
		}
		for _, l := range n.Listeners {
			if l.Proto == "udp" && r.tunnels[l.Port] { // the kernel's own, for a vxlan device
				continue
			}
			add("listener", "%s %s:%d %s", l.Proto, l.Addr, l.Port, l.Process)
		}
		if n.Kind == state.Switch {
			continue
		}
		for _, e := range raw.Neighs {
			st := "resolved"
			switch e.State {
			case "INCOMPLETE", "FAILED":
				st = "unresolved"
			case "PERMANENT":
				st = "permanent"
			}
			if st == "unresolved" {
				continue // the kernel forgets it when it likes
			}
			add("neigh", "%s dev %s %s %s", e.IP, e.Dev, r.mac(e.MAC), st)
		}
		for _, e := range raw.FDB {
			if !e.Local { // the ports' own addresses follow from the links
				add("fdb", "%s dev %s%s%s", r.mac(e.MAC), e.Dev, flag(" static", e.Static), opt(" dst ", e.Dst))
			}
		}
		conns := slices.Clone(raw.Conns)
		slices.SortStableFunc(conns, func(a, b state.Conn) int { return cmp.Compare(a.ID, b.ID) })
		for _, c := range conns {
			if c.Proto == "2" { // IGMP is the kernel's own housekeeping of multicast
				continue
			}
			r.conn(&c, add)
		}
	}
	return lines
}

// recorded reports whether every snapshot has a setting; see state.Sysctls. The
// model's has more, for itself.
func recorded(key string) bool {
	if slices.Contains(state.Sysctls, key) {
		return true
	}
	f := strings.Split(key, ".")
	return len(f) == 5 && f[2] == "conf" && f[3] != "all" && f[3] != "default" &&
		slices.Contains([]string{"forwarding", "rp_filter", "route_localnet", "arp_ignore", "proxy_arp"}, f[4])
}

func (r *Renderer) link(l *state.Link, raw *state.Node, add func(part, format string, args ...any)) {
	add("link", "%s %s mtu %d%s%s%s%s%s", l.Name, l.Type, l.MTU, flag(" up", l.Up), flag(" carrier", l.Carrier), opt(" master ", l.Master), opt(" parent ", l.Parent),
		opt(" peer ", strings.Trim(l.PeerNode+"/"+l.PeerName, "/")))
	if rl := raw.Link(l.Name); rl != nil && l.Port == nil && l.Type != "loopback" { // a bridge takes the lowest of its ports'
		add("mac", "%s %s", l.Name, r.mac(rl.MAC))
	}
	for _, a := range l.Addrs {
		add("addr", "%s %s scope %s%s%s", l.Name, a.Prefix, a.Scope, opt(" brd ", a.Broadcast), opt(" label ", a.Label))
	}
	if p := l.Port; p != nil {
		add("port", "%s %s%s%s%s%s", l.Name, p.State, flag(" hairpin", p.Hairpin), flag(" isolated", p.Isolated), flag(" learning", p.Learning), flag(" flood", p.Flood))
	}
	if v := l.VXLAN; v != nil {
		add("vxlan", "%s id %d port %d%s%s%s", l.Name, v.ID, v.Port, opt(" local ", v.Local), opt(" remote ", v.Remote), flag(" learning", v.Learning))
	}
}

// conn writes a connection down. What state TCP is in while it closes depends
// on the moment; that it closes does not.
func (r *Renderer) conn(c *state.Conn, add func(part, format string, args ...any)) {
	tuple := func(t state.Tuple) string {
		switch {
		case !r.tunnel(c.Proto, c.Orig.DstPort):
		case t == c.Orig:
			return fmt.Sprintf("%s:%s→%s:%d", t.Src, r.hash(t.Src, t.SrcPort), t.Dst, t.DstPort)
		default:
			return fmt.Sprintf("%s:%d→%s:%s", t.Src, t.SrcPort, t.Dst, r.hash(t.Dst, t.DstPort))
		}
		switch c.Proto {
		case "tcp", "udp":
			return fmt.Sprintf("%s:%s→%s:%s", t.Src, r.port(t.SrcPort), t.Dst, r.port(t.DstPort))
		case "icmp":
			return fmt.Sprintf("%s→%s type %d id %s", t.Src, t.Dst, t.ICMPType, r.name("i", fmt.Sprint(t.SrcPort)))
		}
		return fmt.Sprintf("%s→%s", t.Src, t.Dst)
	}
	st, timeout := c.State, fmt.Sprintf(" ~%d", c.Timeout)
	switch c.State {
	case "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT":
		st, timeout = "closing", ""
	case "ESTABLISHED": // a retransmission nobody answers shortens it
		timeout = ""
	}
	add("conntrack", "%s %s reply %s%s%s%s%s%s%s%s", c.Proto, tuple(c.Orig), tuple(c.Reply), opt(" ", st), flag(" replied", c.Replied), flag(" assured", c.Assured),
		flag(" snat", c.SrcNAT), flag(" dnat", c.DstNAT), num(" mark ", int(c.Mark)), timeout)
}

func (r *Renderer) counter(packets, bytes uint64, key string) string {
	if r.moved[key] && packets > 0 {
		return some
	}
	return fmt.Sprintf("[%d:%d]", packets, bytes)
}

func opt(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

func num(before string, n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(before, n)
}

func flag(s string, on bool) string {
	if on {
		return s
	}
	return ""
}
