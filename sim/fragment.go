package sim

import (
	"time"

	"vethlab/sim/trace"
)

// Fragments: a packet too large for a link goes in pieces, and is put together
// where somebody has to see it whole: at its end, and in every node whose
// conntrack is at work (net/ipv4/ip_output.c ip_do_fragment, ip_fragment.c,
// netfilter/nf_defrag_ipv4.c).
//
// The pieces have journeys of their own. The packet's own journey pauses
// meanwhile, and goes on where it is whole again:
//
//	the packet   OUTPUT ─ POSTROUTING ┐                           ┌ INPUT ─ socket
//	its pieces                        └ tx eth0 ─ … ─ PREROUTING ─┘

// fragKey tells which fragments belong together (struct frag_v4_compare_key).
type fragKey struct {
	src, dst IP
	id       uint16
	proto    uint8
	hook     hookPoint // who puts it together (enum ip_defrag_users): conntrack at two hooks, and the node's own stack at INPUT
	vif      *Link     // on a bridge: which one (IP_DEFRAG_CONNTRACK_BRIDGE_IN)
}

// fragQueue holds the pieces of a packet that have come so far (struct ipq).
type fragQueue struct {
	pieces  []*packet // by offset
	timer   *timer
	largest int32
}

// wholePacket is a packet that is under way in pieces.
type wholePacket struct {
	p  *packet      // nil once it is whole again
	of *wholePacket // it is itself a piece of this one
	// carried is the frame inside, of which a piece tells nothing.
	carried *header
	// Once it is whole again: the journey it went on with. Pieces that a bridge flooded are put
	// together more than once.
	trail trail
	id    uint64
}

// fragmented is the end of a packet that nobody puts together again.
var fragmented = ending{disposition: trace.Fragmented, code: trace.CodeFragmented}

// pieceWaits tells of a packet's piece that nobody has seen yet how it would
// end: the whole ends so, too.
func (w *World) pieceWaits(p *packet, e ending) {
	if o := p.whole; o != nil && o.p != nil && len(p.journey.steps) == 0 {
		w.waits(o.p, e)
	}
}

// fragTime is how long a node waits for the missing pieces (net.ipv4.ipfrag_time).
const fragTime = 30 * time.Second

// fragment sends p in pieces of at most mtu bytes (ip_do_fragment).
func (w *World) fragment(p *packet, mtu int, send func(*packet)) {
	const head = 20
	room := int32(mtu-head) &^ 7
	if room <= 0 {
		w.vanish(p)
		return
	}
	whole := &wholePacket{p: p, of: p.whole, carried: p.carried}
	total := p.len - head
	pieces := make([]*packet, 0, total/room+1)
	for at := int32(0); at < total; at += room {
		f := w.newPacket()
		*f = *p
		f.payload, f.whole, f.sock, f.carried = nil, whole, nil, nil
		f.len = head + min(room, total-at)
		f.fragOffset = p.fragOffset + uint16(at)
		f.flags = p.flags & ipMF
		if at+room < total {
			f.flags |= ipMF
		}
		f.fragMax, f.mayFragment = 0, false
		w.depart(f, p.flow, p.reply)
		pieces = append(pieces, f)
	}
	w.waits(p, fragmented)
	drops := w.drops
	for _, f := range pieces {
		if w.drops > drops { // what one piece met is spared the others
			f.whole = nil
			w.vanish(f)
			continue
		}
		send(f)
	}
}

// hookDefrag puts a fragmented packet together before a hook, where conntrack
// is at work (ipv4_conntrack_defrag, at priority −400). It returns the packet
// to go on with; ok is false when more pieces have to come.
func (w *World) hookDefrag(h hookPoint, p *packet, dev *Link) (whole *packet, ok bool) {
	if p.flags&ipMF == 0 && p.fragOffset == 0 || !p.ns.defrags() {
		return p, true
	}
	p = w.defragFor(p.ns, p, h)
	return p, p != nil
}

// defrag puts together what is for the node itself (ip_defrag).
func (w *World) defrag(n *Netns, p *packet) *packet { return w.defragFor(n, p, hookInput) }

// defragFor takes in a piece (ip_defrag, ip_frag_queue). It returns the whole
// packet when that was the last one missing.
func (w *World) defragFor(n *Netns, p *packet, h hookPoint) *packet {
	k := fragKey{src: p.src, dst: p.dst, id: p.id, proto: p.proto, hook: h}
	if p.physIn != nil {
		k.vif = p.in
	}
	q := n.inet.frags[k]
	if q == nil {
		if n.inet.frags == nil {
			n.inet.frags = map[fragKey]*fragQueue{}
		}
		q = &fragQueue{}
		n.inet.frags[k] = q
		q.timer = w.after(fragTime, func() { w.fragExpired(n, k, q) })
	}
	if h != hookInput {
		w.note(p, point(h), nil).verdict = trace.Pass
	}
	w.waits(p, ending{disposition: trace.Vanished, code: trace.CodeReassembly})
	end := p.fragOffset + uint16(p.len-20)
	for _, f := range q.pieces {
		if fEnd := f.fragOffset + uint16(f.len-20); f.fragOffset < end && p.fragOffset < fEnd {
			// A piece that is there already is dropped; one that overlaps spoils all (ip_frag_queue).
			if f.fragOffset == p.fragOffset && fEnd == end {
				w.vanish(p)
				return nil
			}
			q.pieces = append(q.pieces, p)
			w.fragGiveUp(n, k, q)
			return nil
		}
	}
	q.largest = max(q.largest, p.len)
	at := 0
	for at < len(q.pieces) && q.pieces[at].fragOffset < p.fragOffset {
		at++
	}
	q.pieces = append(q.pieces, nil)
	copy(q.pieces[at+1:], q.pieces[at:])
	q.pieces[at] = p
	return w.reassemble(n, k, q, p)
}

// reassemble makes one packet of the pieces, if none is missing (ip_frag_reasm).
func (w *World) reassemble(n *Netns, k fragKey, q *fragQueue, last *packet) *packet {
	at := uint16(0)
	for _, f := range q.pieces {
		if f.fragOffset != at {
			return nil
		}
		at += uint16(f.len - 20)
	}
	if q.pieces[len(q.pieces)-1].flags&ipMF != 0 {
		return nil
	}
	q.timer.stop()
	delete(n.inet.frags, k)
	first := q.pieces[0]
	whole := w.newPacket()
	*whole = *first
	whole.whole = nil
	whole.in, whole.route, whole.routed, whole.typ = last.in, last.route, last.routed, last.typ
	whole.physIn, whole.physOut = last.physIn, last.physOut
	whole.len, whole.fragOffset = 20+int32(at), 0
	whole.flags &^= ipMF
	whole.fragMax = uint16(q.largest)
	w.resume(whole, first)
	for _, f := range q.pieces {
		w.end(f, ending{disposition: trace.Delivered, code: trace.CodeReassembled})
	}
	return whole
}

// resume lets a packet that was put together go on with the journey of the one
// that was split, whose first piece this is.
func (w *World) resume(whole, first *packet) {
	o := first.whole
	for o != nil && o.of != nil { // a piece that was split again
		o = o.of
	}
	if o != nil {
		whole.carried = o.carried
	}
	switch {
	case o == nil:
		w.depart(whole, first.flow, first.reply)
	case o.p != nil:
		whole.trail, whole.payload = o.p.trail, o.p.payload
		w.goesOn(whole)
		w.discard(o.p)
		o.p, o.trail, o.id = nil, whole.trail, whole.journey.id
	case o.trail.journey.id == o.id && !o.trail.journey.told:
		whole.trail = o.trail
		whole.trail = w.rec.fork(whole)
	default:
		w.depart(whole, first.flow, first.reply)
	}
	whole.seen = unseen
}

// fragExpired gives up on a packet of which a piece did not come, and tells its
// sender if the first did (ip_expire).
func (w *World) fragExpired(n *Netns, k fragKey, q *fragQueue) {
	if first := q.pieces[0]; first.fragOffset == 0 && k.hook == hookInput {
		w.icmpSend(first, icmpTimeExceeded, 1, 0)
	}
	w.fragGiveUp(n, k, q)
}

func (w *World) fragGiveUp(n *Netns, k fragKey, q *fragQueue) {
	q.timer.stop()
	delete(n.inet.frags, k)
	for _, f := range q.pieces {
		w.end(f, ending{disposition: trace.Vanished, code: trace.CodeReassembly})
	}
}

// defrags reports whether conntrack is at work in the namespace, which sees
// packets whole only.
func (n *Netns) defrags() bool { return n.ct.users > 0 }
