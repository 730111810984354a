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

// blocked reports whether a frame came in by a bridge's port that does not forward.
func (p *pass) blocked(v View) bool {
	n := v.Node(p.node)
	br, from, _ := p.switched(n)
	return br != nil && from != nil && from.Port != nil && !forwards(from)
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
	br, from, s := last.switched(n)
	if br == nil {
		return false
	}
	because := func(code string, port *state.Link) bool {
		set(trace.Unbridged, trace.Explained, code, "dev", port.Name)
		return true
	}
	if from != nil && from.Port != nil && !forwards(from) {
		return because(trace.CodePortState, from)
	}
	if !br.Up {
		return false
	}
	mac := s.Header.DstMAC
	if k := len(last.hooks); !s.Out && last.translated() {
		// A new destination on the same bridge: the frame is addressed to it (br_nf_pre_routing_finish_bridge).
		mac = ""
		for _, nb := range n.Neighs {
			if nb.Dev == br.Name && nextHop(n, br.Name, last.hooks[k-1].Header.Dst, nb.IP) {
				mac = nb.MAC
			}
		}
	}
	if group, err := strconv.ParseUint(mac[:min(2, len(mac))], 16, 8); err != nil || group&1 == 1 {
		return false // to everybody, or nobody knows
	}
	i := slices.IndexFunc(n.FDB, func(f state.FDB) bool {
		l := n.Link(f.Dev)
		return f.MAC == mac && l != nil && (l == br || l.Master == br.Name)
	})
	if i < 0 { // it was flooded
		for k := range n.Links {
			if to := &n.Links[k]; to.Master == br.Name && to.Port != nil && to.Port.Flood && refusal(to, from) == "" {
				return false
			}
		}
		set(trace.Unclaimed, trace.Explained, trace.CodeUnclaimed)
		return true
	}
	to := n.Link(n.FDB[i].Dev)
	if n.FDB[i].Local || to.Port == nil {
		return false
	}
	code := refusal(to, from)
	return code != "" && because(code, to)
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
