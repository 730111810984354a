package capture

import (
	"net/netip"
	"slices"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// Fragments. A packet too large for a link goes on in pieces, and is put together
// where somebody has to see it whole: at its end, and where conntrack is at work
// (net/ipv4/ip_output.c ip_do_fragment, net/ipv4/netfilter/nf_defrag_ipv4.c). A
// packet socket sees the pieces only; netfilter's hooks see the packet before it
// was split, and where it is whole again:
//
//	the packet   OUTPUT ─ POSTROUTING ┐                           ┌ INPUT ─ socket
//	its pieces                        └ tx eth0 ─ … ─ PREROUTING ─┘
//
// Each has a journey of its own; a piece's ends where it was put together with
// the others. That they belong together their IP id tells, and their addresses.

// family is a packet that was split, and its pieces.
type family struct {
	whole  *journey // nil when no hook saw it
	pieces []*journey
	flow   string // the whole's conversation, once it is told
	reply  bool
}

// relate finds out which of the journeys under way belong together.
func (a *Assembler) relate() {
	type ident struct {
		proto string
		id    uint16
	}
	type between struct{ src, dst netip.Addr }
	families := map[ident]*family{}
	ends := map[between]bool{}
	for _, j := range a.open {
		j.family = nil
		if h := j.header(); h.Fragment() {
			is := ident{h.Proto, h.ID}
			if families[is] == nil {
				families[is] = new(family)
			}
			j.family = families[is]
			j.family.pieces = append(j.family.pieces, j)
			j.headers(func(h trace.Header) bool { ends[between{h.Src, h.Dst}] = true; return false })
		}
	}
	if len(families) == 0 {
		return
	}
	for _, j := range a.open {
		h := j.header()
		f := families[ident{h.Proto, h.ID}]
		if f == nil || h.Fragment() || f.whole != nil && f.whole.header().Len >= h.Len {
			continue
		}
		if j.headers(func(h trace.Header) bool { return ends[between{h.Src, h.Dst}] }) {
			f.whole, j.family = j, f
		}
	}
}

// header returns the header that was seen first.
func (j *journey) header() trace.Header {
	if len(j.sightings) > 0 {
		return j.sightings[0].Header
	}
	return j.hooks[0].Header
}

// headers calls fn with every header that was seen, until it returns true.
func (j *journey) headers(fn func(trace.Header) bool) bool {
	return slices.ContainsFunc(j.sightings, func(s Sighting) bool { return fn(s.Header) }) ||
		slices.ContainsFunc(j.hooks, func(h Hook) bool { return fn(h.Header) })
}

// split reports whether the journey is that of a packet which went on in pieces.
func (j *journey) split() bool { return j.family != nil && j.family.whole == j }

// pieces takes a piece's journey apart: where it was put together with the others
// and the whole was split again, the next piece is like it, byte for byte.
func (j *journey) pieces() []*journey {
	var whole *journey
	if j.family != nil {
		whole = j.family.whole
	}
	stays := map[string][][]Hook{} // in each node, from PREROUTING on
	for _, h := range j.hooks {
		at := stays[h.Node]
		if len(at) == 0 || h.Point == trace.Prerouting && h.Edge == First {
			at = append(at, nil)
		}
		at[len(at)-1] = append(at[len(at)-1], h)
		stays[h.Node] = at
	}
	inOrder(j.sightings)
	var parts []*journey
	kept := map[string]bool{}     // by the nodes whose conntrack waited for the others
	bridge := map[string]string{} // by whose port it came into a node
	for _, s := range j.sightings {
		if len(parts) == 0 || s.Out && kept[s.Node] && (whole == nil || whole.met(s.Node, trace.Postrouting)) {
			kept[s.Node] = false
			parts = append(parts, &journey{key: j.key, first: j.first, family: j.family})
		}
		p := parts[len(parts)-1]
		p.sightings = append(p.sightings, s)
		at := stays[s.Node]
		switch {
		case s.Out || len(at) == 0:
		case bridge[s.Node] == s.Dev: // and now to the bridge itself
			delete(bridge, s.Node)
		default:
			p.hooks = append(p.hooks, at[0]...)
			kept[s.Node] = (&pass{hooks: at[0]}).kept()
			if stays[s.Node] = at[1:]; at[0][0].Iif != s.Dev {
				bridge[s.Node] = at[0][0].Iif
			}
		}
	}
	if len(parts) == 0 {
		return []*journey{j}
	}
	last := parts[len(parts)-1]
	for _, h := range j.hooks { // of what no interface saw
		for at := stays[h.Node]; len(at) > 0; at = at[1:] {
			last.hooks = append(last.hooks, at[0]...)
		}
		delete(stays, h.Node)
	}
	return parts
}

// met reports whether the packet was at a hook of a node, whole: a piece of it
// may have been the first there.
func (j *journey) met(node string, at trace.Point) bool {
	return j != nil && slices.ContainsFunc(j.hooks, func(h Hook) bool { return h.Node == node && h.Point == at })
}

// belongs finds the conversation of a packet that was told. A piece tells nothing
// of it; it is the whole's, which was told before.
func (f flows) belongs(e tale) (flow string, reply bool) {
	t := &e.told[0]
	if e.family != nil && t.First().Fragment() && e.family.flow != "" {
		flow, reply = e.family.flow, e.family.reply
	} else {
		flow, reply = f.of(t.First(), t.Start)
	}
	for _, j := range e.all() {
		if j.split() {
			j.family.flow, j.family.reply = flow, reply
		}
	}
	return flow, reply
}

// reappears reports whether a packet that was split is whole again with a hook:
// it is the first since it came to the node.
func (j *journey) reappears(before []*pass, h Hook) bool {
	came := func(j *journey) bool {
		return slices.ContainsFunc(j.sightings, func(s Sighting) bool { return s.Node == h.Node && !s.Out })
	}
	if !j.split() || came(j) && !slices.ContainsFunc(j.family.pieces, came) { // it came whole
		return false
	}
	if len(before) == 0 {
		return true
	}
	hooks := before[len(before)-1].hooks
	order := []trace.Point{trace.Output, trace.Prerouting, trace.Input, trace.Forward, trace.Postrouting}
	return slices.Index(order, h.Point) < slices.Index(order, hooks[len(hooks)-1].Point)
}

// arrival is when the last piece of a packet came to a node for the nth time.
func (j *journey) arrival(node string, nth int) int64 {
	at := int64(0)
	if !j.split() {
		return at
	}
	for _, f := range j.family.pieces {
		n := 0
		for _, s := range f.sightings {
			if s.Node == node && !s.Out {
				if n == 0 || n <= nth {
					at = max(at, s.At)
				}
				n++
			}
		}
	}
	return at
}

// departure is when the first piece of a packet was seen, or 0.
func (f *family) departure() int64 {
	at := int64(0)
	for _, p := range f.pieces {
		for _, s := range p.sightings {
			if at == 0 || s.At < at {
				at = s.At
			}
		}
	}
	return at
}

// begin returns what a hook would have reported first of a packet that was put
// together there: it is as it was last, but for its age, which the pieces tell.
func (b *builder) begin(p *pass) Hook {
	h := p.hooks[0]
	if len(b.hops) > 0 {
		h.Header = b.last()
		if p.frame != nil {
			h.Header = outermost(h.Header)
		}
	}
	for _, f := range p.of.family.pieces {
		for _, k := range f.hooks {
			if k.Node == h.Node && k.Point == h.Point && k.Edge == First {
				h.Header.TTL = k.Header.TTL
			}
		}
	}
	h.Header.SrcMAC, h.Header.DstMAC = "", ""
	return Hook{Node: h.Node, Edge: First, Point: h.Point, Header: h.Header}
}

// joined reports whether a packet was put together in this pass by conntrack.
func (p *pass) joined() bool {
	return p.again && len(p.hooks) > 0 && p.hooks[0].Point == trace.Prerouting
}

// kept reports whether a piece came to PREROUTING, and waited there for the others.
func (p *pass) kept() bool {
	return len(p.hooks) == 1 && p.hooks[0].Point == trace.Prerouting && p.hooks[0].Edge == First
}

// bridged reports whether br_netfilter showed a whole packet to the hooks, and
// not the IP stack, which would have counted it as a hop.
func (p *pass) bridged() bool {
	if !p.joined() {
		return false
	}
	i := slices.IndexFunc(p.hooks, func(h Hook) bool { return h.Point == trace.Forward })
	return i >= 0 && p.hooks[i].Iif == p.hooks[i].Oif && p.hooks[i].Header.TTL == p.hooks[0].Header.TTL
}

// wentOnInPieces reports whether pieces of the packet, which came as far as
// POSTROUTING, were seen to leave.
func (p *pass) wentOnInPieces(h trace.Header) bool {
	if p.of == nil || p.of.family == nil {
		return false
	}
	return slices.ContainsFunc(p.of.family.pieces, func(j *journey) bool {
		f := j.header()
		return j.key != p.of.key && f.FragOffset >= h.FragOffset && f.FragOffset < h.FragOffset+h.Len &&
			slices.ContainsFunc(j.sightings, func(s Sighting) bool { return s.Node == p.node && s.Out })
	})
}

// endPiece says how a fragment ended that was for the node, or that its conntrack
// wanted to see whole. It reports whether it knows.
func (b *builder) endPiece(t *trace.Trace, last *pass, n *state.Node, h trace.Header, set setter) bool {
	var whole *journey
	if last.of != nil && last.of.family != nil {
		whole = last.of.family.whole
	}
	if last.kept() {
		if whole.met(last.node, trace.Prerouting) {
			set(trace.Delivered, trace.Reported, trace.CodeReassembled)
		} else {
			set(trace.Vanished, trace.Explained, trace.CodeReassembly)
		}
		return true
	}
	if len(last.tx) > 0 || !whole.met(last.node, trace.Input) {
		return false
	}
	b.append(t, trace.Step{Point: trace.RouteStep, Verdict: trace.Local, Before: h, After: h, Note: "local " + h.Dst.String(), Evidence: trace.Explained})
	set(trace.Delivered, trace.Reported, trace.CodeReassembled)
	return true
}

// lastSiblings is of how many packets a Siblings remembers the first piece: that
// of one that goes in circles comes by many times before the others.
const lastSiblings = 128

// Siblings mends the headers of later fragments. A router that puts a packet
// together and splits it again writes the new headers over the old pieces
// (ip_fraglist_prepare, net/ipv4/ip_output.c), and over what a packet socket has
// not read yet of them. The first piece keeps its own; at the same place the
// others had the same addresses and TTL.
type Siblings struct {
	firsts [lastSiblings]sibling
	next   int
}

type sibling struct {
	ifindex int
	out     bool
	header  trace.Header
	mended  []int // the places of the others that went with it
}

// Mend takes in a fragment that was seen at an interface.
func (s *Siblings) Mend(ifindex int, out bool, h *trace.Header) {
	if h.FragOffset == 0 {
		s.firsts[s.next] = sibling{ifindex: ifindex, out: out, header: *h}
		s.next = (s.next + 1) % lastSiblings
		return
	}
	var with *sibling // the oldest that none of this place went with, or the latest
	for i := range lastSiblings {
		f := &s.firsts[(s.next+i)%lastSiblings]
		if f.ifindex != ifindex || f.out != out || f.header.ID != h.ID || f.header.Proto != h.Proto {
			continue
		}
		with = f
		if !slices.Contains(f.mended, h.FragOffset) {
			break
		}
	}
	if with != nil {
		with.mended = append(with.mended, h.FragOffset)
		h.SrcMAC, h.DstMAC, h.Src, h.Dst, h.TTL = with.header.SrcMAC, with.header.DstMAC, with.header.Src, with.header.Dst, with.header.TTL
	}
}
