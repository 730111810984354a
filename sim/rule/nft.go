package rule

import "slices"

// This file turns what was typed into what the kernel keeps. iptables-nft says
// some matches in nf_tables' own words, and reads them back when it lists a rule;
// what the words cannot hold is lost on the way.

// makeRule completes r by the command's matches and target: nft_ipv4_add and
// add_match (iptables/nft.c).
func (p *parser) makeRule(r *Rule) {
	r.Matches = nil
	for _, l := range p.matches {
		v := l.v
		if l.ext.match != nil {
			v = l.ext.match(p, v)
		}
		switch m := v.(type) {
		case *TCP:
			p.addTCP(r, m)
		case *UDP:
			p.addUDP(r, m)
		default:
			r.Matches = append(r.Matches, v.(Match))
		}
	}
	if p.rule.In.Name == "" || p.rule.In == (Iface{Name: "+"}) {
		r.In = Iface{}
	}
	if p.rule.Out.Name == "" || p.rule.Out == (Iface{Name: "+"}) {
		r.Out = Iface{}
	}
	switch {
	case p.target != nil && p.isGoto:
	case p.target != nil:
		r.Target = p.target.v.(Target)
	}
	if p.target == nil && p.jump != "" {
		r.Target = &Jump{Chain: p.jump, Goto: p.isGoto}
	}
}

func (p *parser) addTCP(r *Rule, m *TCP) {
	t := *m
	if t.Option != 0 || t == (TCP{Src: AllPorts, Dst: AllPorts}) {
		if none := (Ports{0, 65535, true}); t.Src == none || t.Dst == none {
			panic(notSimulated("--tcp-option with no port at all")) // never matches, and is listed as if it did
		}
		r.Matches = append(r.Matches, &t) // kept as it was
		return
	}
	if r.Proto != 6 {
		p.wrong("TCP match requires '-p tcp'")
	}
	if t.FlagMask == 0 {
		t.Flags, t.NotFlags = 0, false
	}
	t.Src, t.Dst = nftPorts(t.Src, t.Dst)
	if t == (TCP{Src: AllPorts, Dst: AllPorts}) {
		return // nothing is left to be asked
	}
	for _, o := range r.Matches {
		if o, ok := o.(*TCP); ok && o.native() {
			if t.FlagMask != 0 && o.FlagMask != 0 || !joinPorts(&o.Src, t.Src) || !joinPorts(&o.Dst, t.Dst) {
				panic(notSimulated("-m tcp twice for the same field"))
			}
			if t.FlagMask != 0 {
				o.FlagMask, o.Flags, o.NotFlags = t.FlagMask, t.Flags, t.NotFlags
			}
			return
		}
	}
	r.Matches = append(r.Matches, &t)
}

// native reports whether nf_tables' own words hold the match.
func (m *TCP) native() bool {
	return m.Option == 0 && *m != TCP{Src: AllPorts, Dst: AllPorts}
}

func (p *parser) addUDP(r *Rule, m *UDP) {
	u := *m
	if u == (UDP{AllPorts, AllPorts}) {
		r.Matches = append(r.Matches, &u)
		return
	}
	if r.Proto != 17 {
		p.wrong("UDP match requires '-p udp'")
	}
	u.Src, u.Dst = nftPorts(u.Src, u.Dst)
	if u == (UDP{AllPorts, AllPorts}) {
		return
	}
	for _, o := range r.Matches {
		if o, ok := o.(*UDP); ok && *o != (UDP{AllPorts, AllPorts}) {
			if !joinPorts(&o.Src, u.Src) || !joinPorts(&o.Dst, u.Dst) {
				panic(notSimulated("-m udp twice for the same field"))
			}
			return
		}
	}
	r.Matches = append(r.Matches, &u)
}

// joinPorts lists two matches in a row as one: nft_tcp_match (iptables/nft-shared.c).
func joinPorts(o *Ports, p Ports) bool {
	switch {
	case p == AllPorts:
	case *o != AllPorts:
		return false
	default:
		*o = p
	}
	return true
}

// nftPorts is how ports are listed that nf_tables compares (expr_gen_range_cmp16).
func nftPorts(src, dst Ports) (Ports, Ports) {
	one := func(p Ports) Ports {
		switch {
		case p.Lo == 0 && p.Hi == 65535:
			return AllPorts
		case p.Lo == 0 && p.Hi > 0 && p.Not: // greater than
			return Ports{Lo: p.Hi + 1, Hi: 65535}
		}
		return p
	}
	return one(src), one(dst)
}

// paired reports whether both ports are compared at once, as one number of 32
// bits (add_nft_tcpudp): then "! --sport A ! --dport B" matches unless both are
// as given.
func paired(src, dst Ports) bool {
	return src.Lo != 0 && src.Lo == src.Hi && dst.Lo != 0 && dst.Lo == dst.Hi && src.Not && dst.Not
}

func matchPorts(src, dst Ports, sport, dport uint16) bool {
	if paired(src, dst) {
		return sport != src.Lo || dport != dst.Lo
	}
	return src.Contains(sport) && dst.Contains(dport)
}

// Equal reports whether two rules are the same to -C and -D.
func (r *Rule) Equal(s *Rule) bool { return slices.Equal(r.Words(), s.Words()) }
