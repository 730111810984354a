package capture

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// A packet inside another (VXLAN, RFC 7348): the frame's way and that of the
// packet around it are one journey.
//
//	the frame          … ─ tx vx0 ┐                                              ┌ rx vx0 ─ …
//	the packet around             └ OUTPUT ─ POSTROUTING ─ tx eth0 ┄ … ─ INPUT ──┘
//
// Which frame a packet carries is read from the packet where a socket saw it. Of
// one that died before, in OUTPUT for example, only its size and its place tell.
// A frame that is sent to several tunnel ends has a packet around it for each; and
// one that a packet around it leaves by may be a tunnel's device again.

// Carried is the frame inside a packet.
type Carried struct {
	VNI    uint32 // which tunnel it is of (VXLAN Network Identifier)
	Header trace.Header
	Key    Key
}

// vxlanHeader is the length of the header between UDP's and the frame; what all
// of them add to the frame's IP packet is overhead.
const (
	vxlanHeader = 8
	overhead    = 14 + vxlanHeader + 8 + 20
)

// Carried decodes the frame inside a UDP packet's payload, which may have been
// cut off. Whether the packet is of a tunnel at all its port must tell.
func (d *Decoder) Carried(payload []byte) *Carried {
	if len(payload) < vxlanHeader || payload[0] != 0x08 { // only the flag "the VNI is valid"
		return nil
	}
	h, k, _, ok := d.Frame(payload[vxlanHeader:])
	if !ok {
		return nil
	}
	return &Carried{binary.BigEndian.Uint32(payload[4:]) >> 8, h, k}
}

// whole is a journey that is told, with those of the packets around it.
type whole struct{ *journey }

// wholes sorts the journeys under way by what carries what.
func (a *Assembler) wholes() []whole {
	var frames, seen, unseen []*journey
	for _, j := range a.open {
		j.inside, j.around = nil, nil
	}
	into := func(frame, o *journey) { o.inside, frame.around = frame, append(frame.around, o) }
	for k, j := range a.open {
		switch in := j.carries(a.view); {
		case in != nil && in.Key != k && a.open[in.Key] != nil && !a.open[in.Key].within(j):
			into(a.open[in.Key], j)
			seen = append(seen, j)
		case len(j.sightings) == 0 && tunnelled(j.hooks[0].Header, a.view):
			unseen = append(unseen, j)
		default:
			frames = append(frames, j)
			seen = append(seen, j)
		}
	}
	slices.SortFunc(unseen, func(x, y *journey) int { return x.first.Compare(y.first) })
	for _, o := range unseen {
		var frame *journey // the first that fits
		for _, j := range seen {
			if (frame == nil || j.start() < frame.start()) && o.first.After(j.first.Add(-Patience)) && o.first.Before(j.touched.Add(Patience)) && j.fits(o, a.view) {
				frame = j
			}
		}
		if frame == nil {
			frames = append(frames, o)
		} else {
			into(frame, o)
		}
	}
	ws := make([]whole, 0, len(frames))
	for _, j := range frames {
		ws = append(ws, whole{j})
	}
	return ws
}

// all returns the journey, those of the packets around it, and around these.
func (j *journey) all() []*journey {
	js := []*journey{j}
	for _, o := range j.around {
		js = append(js, o.all()...)
	}
	return js
}

// within reports whether o is inside j, or inside what is.
func (j *journey) within(o *journey) bool {
	for ; j != nil; j = j.inside {
		if j == o {
			return true
		}
	}
	return false
}

// strand is what a frame did, or a packet around it: its passes, and which part of
// the whole they are told in.
type strand struct {
	passes []*pass
	part   int
}

// traces tells a whole: once, or when the same frame was sent again, each time.
func (w whole) traces(v View) (ts []trace.Trace) {
	var starts []int64
	var parts [][]*pass
	var frames []strand // all passes, also those that came out of a tunnel
	for i, part := range split(w.journey) {
		ps := passes(part, v)
		frames = append(frames, strand{ps, i})
		parts, starts = append(parts, slices.Clone(ps)), append(starts, part.start())
	}
	var wrap func(frames []strand, around []*journey)
	wrap = func(frames []strand, around []*journey) {
		slices.SortFunc(around, func(a, b *journey) int { return cmp.Compare(a.start(), b.start()) })
		for _, o := range around {
			ps := passes(o, v)
			part, ok := thread(frames, parts, ps, o, v)
			if !ok {
				part = len(parts)
				parts, starts = append(parts, slices.Clone(ps)), append(starts, o.start())
			}
			wrap([]strand{{ps, part}}, o.around)
			bypass(ps, v)
		}
	}
	wrap(frames, w.around)
	for i, ps := range parts {
		inTime(ps, v)
		if i < len(frames) {
			bypass(frames[i].passes, v)
		}
		if t, ok := assemble(ps, starts[i], v); ok {
			ts = append(ts, t)
		}
	}
	return ts
}

// tunnelled reports whether a packet is one that a tunnel of the lab makes.
func tunnelled(h trace.Header, v View) bool { return h.Proto == "udp" && v.Tunnel(h.DstPort) }

// carries returns the frame inside a journey's packet, or nil. NAT may have given
// the packet another port before somebody saw it, but not before OUTPUT.
func (j *journey) carries(v View) *Carried {
	if len(j.sightings) == 0 || j.sightings[0].Carried == nil {
		return nil
	}
	if !j.tunnelled {
		j.tunnelled = j.headers(func(h trace.Header) bool { return tunnelled(h, v) })
	}
	if !j.tunnelled {
		return nil
	}
	return j.sightings[0].Carried
}

// fits reports whether a packet that nobody saw may be the one around a frame:
// the frame went into a tunnel of the same node more often than packets around it
// are known, and has the right size.
func (j *journey) fits(o *journey, v View) bool {
	out := slices.IndexFunc(o.hooks, func(h Hook) bool { return h.Point == trace.Output })
	if out < 0 {
		return false
	}
	size := 28 // of an ARP packet
	if len(j.sightings) > 0 && j.sightings[0].Header.Proto != "arp" {
		size = j.sightings[0].Header.Len
	}
	if size+overhead != o.hooks[out].Header.Len {
		return false
	}
	free := -len(j.around)
	for _, s := range j.sightings {
		if x, under := vxlanOf(v, s.Node, s.Dev); s.Out && x != nil && under == o.hooks[out].Node {
			free++
		}
	}
	return free > 0
}

// vxlanOf returns a device's settings when it is of vxlan, and the node whose
// addresses and routes its tunnel uses.
func vxlanOf(v View, node, dev string) (*state.VXLAN, string) {
	n := v.Node(node)
	if n == nil {
		return nil, ""
	}
	l := n.Link(dev)
	if l == nil || l.VXLAN == nil {
		return nil, ""
	}
	return l.VXLAN, cmp.Or(l.VXLAN.Node, node)
}

// thread puts the packet o around a frame where the frame went into its tunnel,
// and where it came out of it what the frame did then. ps are o's passes, frames
// the frame's, and parts those that follow from no other: to these o's are added,
// and what a frame did that came out is taken away. It reports whether there is
// such a place, and in which part.
func thread(frames []strand, parts [][]*pass, ps []*pass, o *journey, v View) (part int, ok bool) {
	if len(ps) == 0 || !ps[0].local {
		return 0, false
	}
	c := o.carries(v)
	var at *pass // where it went in: the last time before it was seen, or, unseen, the first that nothing came of
	var f strand
	tx := 0
	for _, s := range frames {
		for _, p := range s.passes {
			for k, seen := range p.tx {
				x, under := vxlanOf(v, p.node, seen.Dev)
				if x == nil || under != ps[0].node {
					continue
				}
				if c != nil && uint32(x.ID) == c.VNI && seen.At <= o.start() && (at == nil || seen.At >= at.tx[tx].At) || c == nil && at == nil && !p.wrapped(k) {
					at, f, tx = p, s, k
				}
			}
		}
	}
	if at == nil {
		return 0, false
	}
	in, _ := vxlanOf(v, at.node, at.tx[tx].Dev)
	frame := &Carried{VNI: uint32(in.ID), Header: at.frame.with(at.tx[tx].Header)}
	for i, p := range ps {
		p.frame, p.onward = frame, i < len(ps)-1
	}
	at.comes(tx)
	at.around[tx] = append(at.around[tx], ps[0])
	last := ps[len(ps)-1]
	for _, p := range parts[f.part] {
		if p == at || !slices.Contains(f.passes, p) || len(p.rx) == 0 || p.start() < last.start() {
			continue
		}
		if x, under := vxlanOf(v, p.node, p.rx[0].Dev); x != nil && x.ID == in.ID && under == last.node {
			last.out = p
			parts[f.part] = slices.DeleteFunc(parts[f.part], func(q *pass) bool { return q == p })
			break
		}
	}
	parts[f.part] = append(parts[f.part], ps[1:]...)
	return f.part, true
}

// bypass finds the frames that were for a tunnel of the same node, and came in by
// its device without a packet around them (encap_bypass_if_local).
func bypass(ps []*pass, v View) {
	for _, p := range ps {
		for k, s := range p.tx {
			out, under := vxlanOf(v, p.node, s.Dev)
			if out == nil || p.wrapped(k) {
				continue
			}
			for _, q := range ps {
				if len(q.rx) == 0 || q.start() < s.At {
					continue
				}
				if in, at := vxlanOf(v, q.node, q.rx[0].Dev); in != nil && in.ID == out.ID && at == under {
					p.comes(k)
					break
				}
			}
		}
	}
}

// comes notes that it is known what came of the frame that left by tx: first of
// all, no packet around it.
func (p *pass) comes(tx int) {
	if p.around == nil {
		p.around = make([][]*pass, len(p.tx))
	}
	if p.around[tx] == nil {
		p.around[tx] = []*pass{}
	}
}

// wrapped reports whether it is known what came of the frame that left by tx.
func (p *pass) wrapped(tx int) bool { return p.around != nil && p.around[tx] != nil }

// header returns the header with which a pass begins.
func (p *pass) header() trace.Header {
	if len(p.hooks) > 0 {
		return p.hooks[0].Header
	}
	return p.tx[0].Header
}

// unwrapped returns the sighting of a frame that went into a tunnel, when no
// packet came of it.
func (p *pass) unwrapped(v View) *Sighting {
	for i := range p.tx {
		if x, _ := vxlanOf(v, p.node, p.tx[i].Dev); x != nil && !p.wrapped(i) {
			return &p.tx[i]
		}
	}
	return nil
}

// notWrapped explains a frame that went into a tunnel and was in no packet
// afterwards: the device has no end to send it to, or the node no way there
// (vxlan_xmit, vxlan_xmit_one; drivers/net/vxlan/vxlan_core.c).
func (b *builder) notWrapped(t *trace.Trace, n *state.Node, s *Sighting, set setter) {
	if n == nil {
		set(trace.Vanished, trace.Captured, trace.CodeVanished, "point", lastPoint(t))
		return
	}
	if l := n.Link(s.Dev); s.Header.Proto == "arp" && l != nil && l.VXLAN != nil && l.VXLAN.Proxy { // arp_reduce
		if s.Header.ARPOp == "request" && slices.ContainsFunc(n.Neighs, func(nb state.Neigh) bool {
			return nb.IP == s.Header.Dst && nb.Dev == s.Dev && slices.Contains([]string{"PERMANENT", "NOARP", "REACHABLE"}, nb.State)
		}) {
			set(trace.Delivered, trace.Explained, trace.CodeDelivered)
			return
		}
		set(trace.Unbridged, trace.Explained, trace.CodeNoTunnel, "dev", s.Dev)
		return
	}
	var known, unknown string
	for _, e := range n.FDB {
		switch {
		case e.Dev != s.Dev || e.Dst == "":
		case e.MAC == s.Header.DstMAC:
			known = e.Dst
		case e.MAC == "00:00:00:00:00:00":
			unknown = e.Dst
		}
	}
	to := cmp.Or(known, unknown)
	if to == "" {
		set(trace.Unbridged, trace.Explained, trace.CodeNoTunnel, "dev", s.Dev)
		return
	}
	x, under := vxlanOf(b.view, n.Name, s.Dev)
	if u := b.view.Node(under); u != nil {
		far, _ := netip.ParseAddr(to)
		near, err := netip.ParseAddr(x.Local)
		r := u.Route(state.Query{Dst: far, Src: near})
		if (r == nil || r.Type != "unicast") && !u.LocalAddr(far) || err == nil && !u.LocalAddr(near) {
			set(trace.NoRouteTo, trace.Explained, trace.CodeNoRoute, "dst", to)
			return
		}
		// A bridge's frame that may not be split is answered in the tunnel's stead
		// (skb_tunnel_check_pmtu, net/ipv4/ip_tunnel_core.c).
		if r != nil && bridgeOf(n, s.Dev) != nil {
			if out := u.Link(r.Dev); out != nil && s.Header.Len > out.MTU-overhead {
				set(trace.TooBig, trace.Explained, trace.CodeTooBig, "dev", s.Dev, "mtu", strconv.Itoa(out.MTU-overhead))
				return
			}
		}
	}
	set(trace.Vanished, trace.Captured, trace.CodeVanished, "point", lastPoint(t))
}

// refused writes down that nobody has the port which a packet around a frame was for.
func (b *builder) refused(p *pass, n *state.Node) {
	if h := outermost(b.last()); p.met(trace.Input, Last) && p.out == nil && n != nil && !listens(n, h) {
		port := map[string]string{"port": strconv.Itoa(int(h.DstPort))}
		b.add(p.node, trace.Step{Point: trace.Socket, Before: h, After: h, Evidence: trace.Explained,
			Code: trace.CodeRefused, Args: port, Note: trace.StepNote(trace.CodeRefused, port)})
	}
}

// met reports whether the packet was at an edge of a hook in this pass.
func (p *pass) met(at trace.Point, e Edge) bool {
	return slices.ContainsFunc(p.hooks, func(h Hook) bool { return h.Point == at && h.Edge == e })
}

// notUnwrapped explains a packet that passed INPUT and whose frame did not come
// out: there is no tunnel's end, or not of this tunnel (vxlan_rcv, vxlan_vs_find_vni).
func (b *builder) notUnwrapped(t *trace.Trace, n *state.Node, last *pass, h trace.Header, set setter) {
	switch {
	case !listens(n, h):
		set(trace.Delivered, trace.Explained, trace.CodeRefused, "port", strconv.Itoa(int(h.DstPort)))
		b.wayBack(t, n, h, set)
	case slices.ContainsFunc(n.Links, func(l state.Link) bool {
		return l.VXLAN != nil && uint32(l.VXLAN.ID) == last.frame.VNI && l.VXLAN.Port == int(h.DstPort) && l.Up
	}):
		set(trace.Vanished, trace.Captured, trace.CodeVanished, "point", lastPoint(t))
	default:
		set(trace.Unbridged, trace.Explained, trace.CodeNoTunnel, "dev", last.rx[0].Dev)
	}
}

// last returns the header as it was at the last step.
func (b *builder) last() trace.Header {
	steps := b.hops[len(b.hops)-1].Steps
	return steps[len(steps)-1].After
}

// tunnel writes down that a vxlan device put the frame into a packet, or took it out.
func (b *builder) tunnel(node, dev string, before, after trace.Header) {
	b.add(node, trace.Step{Point: trace.Tunnel, Dev: dev, Before: before, After: after, Evidence: trace.Captured})
}

// with writes a frame's header with that of the packet around it, around what is
// around it already; without a frame it returns the packet's.
func (c *Carried) with(around trace.Header) trace.Header {
	if c == nil {
		return around
	}
	return wrapped(c.Header, around)
}

func wrapped(h, around trace.Header) trace.Header {
	if h.Outer != nil {
		around = wrapped(*h.Outer, around)
	}
	h.Outer = &around
	return h
}

// depth is how many packets are around one.
func depth(h trace.Header) (n int) {
	for ; h.Outer != nil; h = *h.Outer {
		n++
	}
	return n
}

// outermost returns the header that the point a packet was at last was about.
func outermost(h trace.Header) trace.Header {
	for h.Outer != nil {
		h = *h.Outer
	}
	return h
}
