package capture

import (
	"slices"
	"strconv"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// A bridge drops in silence what it will not send on; which of its ports would
// not have it follows from its table and the ports' settings (br_handle_frame,
// net/bridge/br_input.c; should_deliver, net/bridge/br_forward.c).

// bridgeOf returns the bridge that an interface is a port of, or nil.
func bridgeOf(n *state.Node, dev string) *state.Link {
	if n == nil {
		return nil
	}
	l := n.Link(dev)
	if l == nil || l.Master == "" {
		return nil
	}
	if m := n.Link(l.Master); m != nil && m.Type == "bridge" {
		return m
	}
	return nil
}

// switched reports whether a bridge had the frame last: it came in by a port,
// or out of the bridge itself, and left by none. It returns the bridge, the port
// it came by, if any, and the sighting.
func (p *pass) switched(n *state.Node) (br, from *state.Link, s *Sighting) {
	if n == nil {
		return nil, nil, nil
	}
	if k := len(p.rx); k > 0 {
		if br = bridgeOf(n, p.rx[k-1].Dev); br != nil {
			from, s = n.Link(p.rx[k-1].Dev), &p.rx[k-1]
		}
	}
	switch k := len(p.tx); {
	case k == 0:
		return br, from, s
	case k > 1:
		return nil, nil, nil
	}
	s = &p.tx[0]
	out := n.Link(s.Dev)
	if out == nil || out.Type != "bridge" || br != nil && br != out {
		return nil, nil, nil
	}
	return out, from, s
}

// in returns the interface by which a packet came to the IP stack: with
// br_netfilter, the bridge.
func (p *pass) in() string {
	for _, h := range p.hooks {
		if h.Iif != "" {
			return h.Iif
		}
	}
	if k := len(p.rx); k > 0 {
		return p.rx[k-1].Dev
	}
	return ""
}

// translated reports whether the hooks gave a packet that came by an interface a
// new destination: br_netfilter then routes it, whomever the frame was for.
func (p *pass) translated() bool {
	k, r := len(p.hooks), len(p.rx)
	return k > 0 && r > 0 && p.hooks[k-1].Header.Dst != p.rx[r-1].Header.Dst
}

// endSwitched says why a bridge did not send a frame on. It reports whether it
// knows.
func (b *builder) endSwitched(n *state.Node, last *pass, set setter) bool {
	code, port := last.unbridged(n)
	switch code {
	case "":
		return false
	case trace.CodeUnclaimed:
		set(trace.Unclaimed, trace.Explained, code)
	case trace.CodeTooBig:
		set(trace.TooBig, trace.Explained, code, "dev", port.Name, "mtu", strconv.Itoa(port.MTU))
	default:
		set(trace.Unbridged, trace.Explained, code, "dev", port.Name)
	}
	return true
}

// held reports whether a bridge is known to have kept a frame that somebody wanted.
func (p *pass) held(v View) bool {
	code, _ := p.unbridged(v.Node(p.node))
	return code != "" && code != trace.CodeUnclaimed
}

// unbridged returns the code of why a bridge did not send a frame on, and the
// port that the code is about; "" when nobody knows.
func (p *pass) unbridged(n *state.Node) (code string, port *state.Link) {
	br, from, s := p.switched(n)
	if br == nil {
		return "", nil
	}
	if from != nil && from.Port != nil && !forwards(from) {
		return trace.CodePortState, from
	}
	if !br.Up {
		return "", nil
	}
	mac := s.Header.DstMAC
	if k := len(p.hooks); !s.Out && p.translated() {
		// A new destination on the same bridge: the frame is addressed to it (br_nf_pre_routing_finish_bridge).
		mac = ""
		for _, nb := range n.Neighs {
			if nb.Dev == br.Name && nextHop(n, br.Name, p.hooks[k-1].Header.Dst, nb.IP) {
				mac = nb.MAC
			}
		}
	}
	if group, err := strconv.ParseUint(mac[:min(2, len(mac))], 16, 8); err != nil || group&1 == 1 {
		return "", nil // to everybody, or nobody knows
	}
	i := slices.IndexFunc(n.FDB, func(f state.FDB) bool {
		l := n.Link(f.Dev)
		return f.MAC == mac && l != nil && (l == br || l.Master == br.Name)
	})
	if i < 0 { // it was flooded
		code = trace.CodeUnclaimed
		for k := range n.Links {
			to := &n.Links[k]
			switch {
			case to.Master != br.Name || to.Port == nil || !to.Port.Flood || refusal(to, from) != "":
			case !tooLarge(s.Header, to):
				return "", nil
			default:
				code, port = trace.CodeTooBig, to
			}
		}
		return code, port
	}
	to := n.Link(n.FDB[i].Dev)
	switch {
	case n.FDB[i].Local || to.Port == nil:
		return "", nil
	case refusal(to, from) != "":
		return refusal(to, from), to
	case tooLarge(s.Header, to):
		return trace.CodeTooBig, to
	}
	return "", nil
}

// tooLarge reports whether a packet is too large for a link to take from a bridge
// or from the other end of its wire: there is room for a VLAN tag beside its MTU
// (is_skb_forwardable, net/core/dev.c). ARP is never.
func tooLarge(h trace.Header, to *state.Link) bool {
	const tag = 4
	return h.Proto != "arp" && outermost(h).Len > to.MTU+tag
}

// refusal returns the code of why a frame that came in by from, or out of the
// bridge itself, may not leave by to; "" when it may.
func refusal(to, from *state.Link) string {
	switch {
	case from != nil && to.Name == from.Name && !to.Port.Hairpin:
		return trace.CodeHairpin
	case !forwards(to):
		return trace.CodePortState
	case from != nil && from.Port != nil && from.Port.Isolated && to.Port.Isolated:
		return trace.CodeIsolated
	}
	return ""
}

func forwards(port *state.Link) bool { return port.Port.State == "forwarding" }
