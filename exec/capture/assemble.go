package capture

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate" // a token bucket; BSD-3

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// View is what an Assembler knows of the lab beside the packets.
type View interface {
	// Node returns the node's present state without its connections, or nil
	// when it is gone.
	Node(name string) *state.Node
	// Conns returns the node's connections.
	Conns(name string) []state.Conn
	// Tunnel reports whether a vxlan device of the lab uses a UDP port.
	Tunnel(port uint16) bool
	// Counters returns by how much the node's error counters (/proc/net/snmp)
	// rose since the running command began.
	Counters(node string) map[string]uint64
}

// Assembler puts sightings and hooks together: all that carries one packet's
// key, in all nodes, becomes one journey when nothing more has come for Idle.
type Assembler struct {
	view View
	done func(trace.Trace)

	mu      sync.Mutex
	open    map[Key]*journey
	flows   flows
	count   uint64
	limit   *rate.Limiter
	skipped uint64
}

// Idle is how long a journey may pause before it is taken to have ended. A
// packet crosses a lab in well under a millisecond.
const Idle = 15 * time.Millisecond

// Patience is how long a journey may pause that has not come to an end anybody
// reported: on a busy machine the kernel may leave a packet lying for a while
// between two devices.
const Patience = 200 * time.Millisecond

// journeyRate bounds how many journeys a second are followed, as traceRate
// bounds the traces: a flood is seen packet by packet, but not told as tales.
const journeyRate = traceRate

type journey struct {
	key       Key
	first     time.Time
	touched   time.Time
	sightings []Sighting
	hooks     []Hook
	// open says that at the last look it had come to no certain end.
	open      bool
	tunnelled bool // the packet is known to have a frame inside
	inside    *journey
	around    []*journey
	family    *family
}

// NewAssembler returns an Assembler that calls done for each journey.
func NewAssembler(v View, done func(trace.Trace)) *Assembler {
	return &Assembler{view: v, done: done, open: map[Key]*journey{}, flows: flows{},
		limit: rate.NewLimiter(journeyRate, journeyRate)}
}

func (a *Assembler) journey(k Key) *journey {
	j := a.open[k]
	now := time.Now()
	if j == nil {
		if !a.limit.AllowN(now, 1) {
			return nil
		}
		j = &journey{key: k, first: now}
		a.open[k] = j
	}
	j.touched, j.open = now, false
	return j
}

// Skipped returns how many packets were seen but not followed, for there were
// too many, since the last call. A packet counts once for each sighting.
func (a *Assembler) Skipped() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.skipped
	a.skipped = 0
	return n
}

// Sighting adds a sighting.
func (a *Assembler) Sighting(s Sighting) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.journey(s.Key); j != nil {
		j.sightings = append(j.sightings, s)
	} else {
		a.skipped++
	}
}

// Hook adds what netfilter reported.
func (a *Assembler) Hook(h Hook) {
	if !h.HasKey {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.journey(h.Key); j != nil {
		j.hooks = append(j.hooks, h)
	}
}

// Conn adds a change in a conntrack table.
func (a *Assembler) Conn(ev ConnEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flows.conn(ev.Conn)
}

// Flush ends the journeys that have been idle for long enough at the given
// moment, or all of them. It reports how many are still under way, and after
// how long the next of them may end.
func (a *Assembler) Flush(now time.Time, all bool) (left int, next time.Duration) {
	a.mu.Lock()
	next = Patience
	a.relate()
	var idle []tale
	for _, w := range a.wholes() {
		since, enough := now.Sub(w.touched()), Idle
		if w.open() {
			enough = Patience
		}
		if !all && since < enough {
			next = min(next, enough-since)
			continue
		}
		ts := w.traces(a.view)
		w.journey.open = slices.ContainsFunc(ts, func(t trace.Trace) bool { return !certain(t.Disposition) })
		idle = append(idle, tale{w, ts})
	}
	var ended []tale
	for _, e := range idle {
		if since := now.Sub(e.touched()); e.open() && !all && since < Patience {
			next = min(next, Patience-since)
			continue
		}
		for _, j := range e.all() {
			delete(a.open, j.key)
		}
		for i := range e.told {
			ended = append(ended, tale{e.whole, e.told[i : i+1]})
		}
	}
	left = len(a.open)
	slices.SortFunc(ended, func(x, y tale) int { return cmp.Compare(x.told[0].Start, y.told[0].Start) })
	for _, e := range ended {
		t := &e.told[0]
		a.count++
		t.ID = fmt.Sprintf("p%d", a.count)
		a.asked(t)
		if t.Flow, t.Reply = a.flows.belongs(e); !t.Reply {
			refuse(t, a.view)
		}
	}
	a.mu.Unlock()
	for _, e := range ended {
		a.done(e.told[0])
	}
	return left, next
}

// asked finds what a packet answers among those that are still under way: what
// became of an answer may be known before what became of the question.
func (a *Assembler) asked(t *trace.Trace) {
	h := t.First()
	if a.flows.knows(h) || h.Fragment() {
		return
	}
	answered := endOf(h).reversed()
	for _, j := range a.open {
		if at := j.start(); at < t.Start && j.headers(func(h trace.Header) bool { return endOf(h) == answered }) {
			a.flows.of(j.departed(), at)
			return
		}
	}
}

// departed returns the header with which a packet set out, as far as that is known.
func (j *journey) departed() trace.Header {
	for _, h := range j.hooks {
		if h.Point == trace.Output && h.Edge == First && (len(j.sightings) == 0 || h.Node == j.sightings[0].Node) {
			return h.Header
		}
	}
	return j.header()
}

// tale is a whole as it is told.
type tale struct {
	whole
	told []trace.Trace
}

// touched is when something last came of it, or of a piece it went on in.
func (w whole) touched() time.Time {
	at := w.journey.touched
	for _, j := range w.kin() {
		if j.touched.After(at) {
			at = j.touched
		}
	}
	return at
}

// open reports whether something may come of it yet.
func (w whole) open() bool {
	return w.journey.open || slices.ContainsFunc(w.kin(), func(j *journey) bool { return j.open })
}

// kin returns the journeys that end together with this one: of the packet that it
// is a piece of, of its pieces, of the frame inside it and the packets around it;
// and theirs.
func (w whole) kin() []*journey {
	if w.family == nil && w.inside == nil && len(w.around) == 0 {
		return nil
	}
	kin := []*journey{w.journey}
	add := func(j *journey) {
		if j != nil && !slices.Contains(kin, j) {
			kin = append(kin, j)
		}
	}
	for i := 0; i < len(kin); i++ {
		j := kin[i]
		add(j.inside)
		for _, o := range j.around {
			add(o)
		}
		if f := j.family; f != nil {
			add(f.whole)
			for _, p := range f.pieces {
				add(p)
			}
		}
	}
	return kin[1:]
}

// split takes ARP's repetitions apart: one request is like the other, byte for
// byte. Where a frame leaves by the interface it left by first, the next begins.
func split(j *journey) []*journey {
	if j.header().Fragment() {
		return j.pieces()
	}
	if len(j.sightings) == 0 || j.sightings[0].Header.Proto != "arp" {
		return []*journey{j}
	}
	inOrder(j.sightings)
	var parts []*journey
	first := j.sightings[0]
	for _, s := range j.sightings {
		if len(parts) == 0 || s.Out && s.Node == first.Node && s.Dev == first.Dev {
			parts = append(parts, &journey{key: j.key, first: j.first})
		}
		p := parts[len(parts)-1]
		p.sightings = append(p.sightings, s)
	}
	return parts
}

func inOrder(ss []Sighting) {
	slices.SortStableFunc(ss, func(a, b Sighting) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq)) })
}

// certain reports whether nothing can come after such an end.
func certain(d trace.Disposition) bool {
	switch d {
	case trace.Delivered, trace.NoWayBack, trace.Dropped, trace.Rejected:
		return true
	}
	return false
}

func (j *journey) start() int64 {
	if j.split() {
		return j.family.departure() - 1
	}
	if len(j.sightings) == 0 {
		return j.first.UnixNano()
	}
	at := j.sightings[0].At
	for _, s := range j.sightings {
		at = min(at, s.At)
	}
	return at
}

// pass is a packet's way through one node, in by an interface or out of a
// socket:
//
//	rx ─ PREROUTING ─ route ─┬─ FORWARD ──────────────────┬─ POSTROUTING ─ tx
//	                         └─ INPUT ─ socket ─ OUTPUT ──┘
type pass struct {
	node   string
	local  bool // it begins at a socket
	rx, tx []Sighting
	hooks  []Hook
	died   *Hook        // the hook entry that ended it
	left   trace.Header // as it was when it left, or ended
	taken  bool         // it came to a socket here, as other copies did elsewhere
	copied bool         // what left is told by another pass: this was a copy for the node itself
	back   *pass        // of that one: where the copy came back
	of     *journey
	again  bool  // the packet is whole again, that had gone on in pieces
	at     int64 // when it began, if no interface saw that

	// Of a tunnel: the packets around the frame that each of tx put into one; of
	// such a packet the frame inside it, and what the frame did when it was out.
	around [][]*pass
	frame  *Carried
	onward bool // it went on elsewhere
	out    *pass
}

func (p *pass) start() int64 {
	switch {
	case len(p.rx) > 0:
		return p.rx[0].At
	case len(p.tx) > 0:
		return p.tx[0].At
	case p.local:
		return 0
	case p.at > 0:
		return p.at
	}
	return 1 << 62
}

// passes sorts what was seen of one packet into its ways through the nodes.
func passes(j *journey, v View) []*pass {
	inOrder(j.sightings)
	var nodes []string
	seen := map[string][]*pass{}
	hooked := map[string][]*pass{}
	note := func(node string) {
		if !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	for _, s := range j.sightings {
		note(s.Node)
		ps := seen[s.Node]
		var cur *pass
		if len(ps) > 0 {
			cur = ps[len(ps)-1]
		}
		switch {
		case s.Out && cur == nil:
			cur = &pass{node: s.Node, local: true, of: j}
			seen[s.Node] = append(ps, cur)
		case !s.Out && (cur == nil || len(cur.rx) == 0 || len(cur.tx) > 0 && !isMaster(v, s.Node, s.Dev, cur.rx)):
			cur = &pass{node: s.Node, of: j}
			seen[s.Node] = append(ps, cur)
		}
		if s.Out {
			cur.tx = append(cur.tx, s)
		} else {
			cur.rx = append(cur.rx, s)
		}
	}
	for _, h := range j.hooks {
		note(h.Node)
		ps := hooked[h.Node]
		if again := j.reappears(ps, h); again || h.Edge == First && (h.Point == trace.Prerouting || h.Point == trace.Output) {
			ps = append(ps, &pass{node: h.Node, local: h.Point == trace.Output, of: j, again: again, at: j.arrival(h.Node, len(ps))})
			hooked[h.Node] = ps
		}
		if k := len(ps); k > 1 && h.Point == trace.Postrouting && h.Edge == First && ps[k-2].local && ps[k-1].met(trace.Input, Last) && !ps[k-1].local {
			// What a node sends to everybody it copies for itself first (ip_mc_output).
			ps[k-2].copied = true
			ps = append(ps, &pass{node: h.Node, local: true, of: j, back: ps[k-1]})
			hooked[h.Node] = ps
		}
		if len(ps) > 0 {
			p := ps[len(ps)-1]
			p.hooks = append(p.hooks, h)
		}
	}
	var all []*pass
	for _, n := range nodes {
		hs := hooked[n]
		for _, p := range seen[n] {
			if i := slices.IndexFunc(hs, func(h *pass) bool { return h.local == p.local && !h.copied }); i >= 0 {
				if c := hs[i].back; c != nil {
					c.at = p.start() - 1
				}
				all = append(all, hs[:i]...)
				p.hooks, p.again, p.at, hs = hs[i].hooks, hs[i].again, hs[i].at, hs[i+1:]
			}
			all = append(all, p)
		}
		all = append(all, hs...)
	}
	slices.SortStableFunc(all, func(a, b *pass) int { return cmp.Compare(a.start(), b.start()) })
	return all
}

func isMaster(v View, node, dev string, ports []Sighting) bool {
	n := v.Node(node)
	return n != nil && slices.ContainsFunc(ports, func(s Sighting) bool {
		l := n.Link(s.Dev)
		return l != nil && l.Master == dev
	})
}

// assemble makes the trace of a journey from its passes, in the order of time. ok
// is false when there is nothing to show.
func assemble(all []*pass, start int64, v View) (t trace.Trace, ok bool) {
	all, t.Also = prune(all, v)
	if len(all) == 0 {
		return t, false
	}
	t.Start = start
	b := builder{view: v, start: t.Start}
	for _, p := range all {
		b.pass(p)
	}
	t.Hops = b.hops
	if len(t.Hops) == 0 {
		return t, false
	}
	t.Summary = t.First().Summary()
	b.end(&t, b.ending())
	return t, true
}

// ending returns the pass with which a journey ended. A broadcast has many: it
// ended with the first that was for somebody; otherwise with the last that came
// to another end than that nobody wanted it; and only then with the sender's own.
func (b *builder) ending() *pass {
	for _, p := range b.told {
		if p.wanted(b.view) {
			return p
		}
	}
	for _, p := range slices.Backward(b.told) {
		if p.lost(b.view) {
			return p
		}
	}
	for _, p := range b.told {
		if p.taken {
			return p
		}
	}
	return b.told[len(b.told)-1]
}

// wanted reports whether a pass ended with somebody whom the packet was for.
func (p *pass) wanted(v View) bool {
	if p.frame != nil || len(p.rx) == 0 {
		return false
	}
	if h := p.rx[0].Header; h.Proto == "arp" {
		n := v.Node(p.node)
		last := p.rx[len(p.rx)-1]
		if n == nil || last.Other {
			return false
		}
		if h.ARPOp == "reply" { // one that a vxlan device gave is for us in the eyes of the kernel, and is bridged all the same
			l := n.Link(last.Dev)
			return l == nil || l.VXLAN == nil || l.Port == nil
		}
		return answersFor(n, last.Dev, h)
	}
	return p.met(trace.Input, Last)
}

// lost reports whether a pass ended between two hooks, or within a tunnel or
// before it.
func (p *pass) lost(v View) bool {
	switch {
	case p.unwrapped(v) != nil:
		return true
	case p.frame != nil:
		return len(p.tx) == 0 && !p.onward && p.out == nil
	}
	return (len(p.rx) > 0 || p.again) && len(p.hooks) > 0 && len(p.tx) == 0
}

// prune takes away the copies of a frame that were only seen to arrive in a node
// which did not want them, and names those nodes.
func prune(all []*pass, v View) (kept []*pass, also []string) {
	for _, p := range all {
		back := len(kept) > 0 && kept[len(kept)-1].node == p.node && kept[len(kept)-1].of == p.of // to the node that sent it, by a wire of its own
		if p.ignored(v) && !back && !p.toMacvlan(all, v) && !p.held(v) {
			also = append(also, p.node)
		} else {
			kept = append(kept, p)
		}
	}
	if len(kept) == 0 {
		return all, nil
	}
	return kept, also
}

// ignored reports whether a frame was only seen to arrive, and was for somebody else.
func (p *pass) ignored(v View) bool {
	if p.local || len(p.tx) > 0 || len(p.hooks) > 0 || len(p.rx) == 0 {
		return false
	}
	last := p.rx[len(p.rx)-1]
	n := v.Node(p.node)
	if n != nil {
		if in := n.Link(last.Dev); in != nil && in.Port != nil && !forwards(in) {
			return false // whomever it was for, the bridge did not look
		}
	}
	return last.Other || last.Header.ARPOp == "request" && n != nil && !answersFor(n, last.Dev, last.Header)
}

// inTime sorts passes by when they began. A frame for a macvlan bears one time
// above and below.
func inTime(ps []*pass, v View) {
	slices.SortStableFunc(ps, func(a, b *pass) int { return cmp.Compare(a.start(), b.start()) })
	for i := 0; i+1 < len(ps); i++ {
		if a, b := ps[i], ps[i+1]; a.start() == b.start() && len(b.rx) > 0 && b.toMacvlan(ps[i:i+1], v) {
			ps[i], ps[i+1] = b, a
		}
	}
}

// toMacvlan reports whether a frame arrived on its way to a macvlan of another
// node, above the device it came by.
func (p *pass) toMacvlan(all []*pass, v View) bool {
	return slices.ContainsFunc(all, func(q *pass) bool {
		n := v.Node(q.node)
		if n == nil || len(q.rx) == 0 {
			return false
		}
		l := n.Link(q.rx[0].Dev)
		return l != nil && l.Type == "macvlan" && l.MAC == p.rx[0].Header.DstMAC && l.Parent == p.rx[0].Dev && cmp.Or(l.ParentNode, q.node) == p.node
	})
}

// builder writes passes down as hops and steps.
type builder struct {
	view  View
	start int64
	hops  []trace.Hop
	told  []*pass // those that are written down
	at    int64
	died  *Hook    // the hook entry that ended the last pass
	frame *Carried // what is inside the packet that is told of
	asked bool     // the packet is known to be no answer
}

func (b *builder) add(node string, s trace.Step) {
	if len(b.hops) == 0 || b.hops[len(b.hops)-1].Node != node {
		b.hops = append(b.hops, trace.Hop{Node: node})
	}
	h := &b.hops[len(b.hops)-1]
	s.Before, s.After = b.frame.with(s.Before), b.frame.with(s.After)
	if s.Timed {
		b.at = s.At
	} else {
		s.At = b.at
	}
	// A change that nothing reported (a packet beyond the trace's rate): say so
	// rather than let the header jump.
	if n := len(h.Steps); n > 0 && s.Point != trace.Conntrack {
		if prev := h.Steps[n-1].After; s.Point != trace.Tunnel && rewritten(outermost(prev), outermost(s.Before)) && depth(prev) == depth(s.Before) {
			h.Steps = append(h.Steps, trace.Step{Point: trace.Conntrack, At: b.at, Before: prev, After: s.Before,
				Cause: "seen changed; the hook was not reported", Evidence: trace.Captured})
		}
	}
	h.Steps = append(h.Steps, s)
}

func rewritten(a, b trace.Header) bool {
	return a.Src != b.Src || a.Dst != b.Dst || a.SrcPort != b.SrcPort || a.DstPort != b.DstPort ||
		a.Proto == "icmp" && b.Proto == "icmp" && a.ICMPID != b.ICMPID
}

func (b *builder) sighting(s Sighting) {
	p := trace.RX
	if s.Out {
		p = trace.TX
	}
	b.add(s.Node, trace.Step{Point: p, Dev: s.Dev, At: s.At - b.start, Timed: true, Before: s.Header, After: s.Header, Evidence: trace.Captured})
}

// pass writes one pass down.
func (b *builder) pass(p *pass) {
	b.told = append(b.told, p)
	b.frame, b.died = p.frame, nil
	n := b.view.Node(p.node)
	groups := group(p.hooks)
	bridge := ""
	if len(p.rx) > 0 && n != nil {
		if l := n.Link(p.rx[0].Dev); l != nil && l.Master != "" {
			if m := n.Link(l.Master); m != nil && m.Type == "bridge" {
				bridge = m.Name
			}
		}
	}
	up := slices.ContainsFunc(p.rx, func(s Sighting) bool { return s.Dev == bridge }) // the bridge took it for its own node
	rx := p.rx
	if p.joined() { // br_netfilter's conntrack put it together before the bridge took it
		if p.at > 0 {
			b.at = p.at - b.start
		}
		groups[0].hooks = append([]Hook{b.begin(p)}, groups[0].hooks...)
		b.group(p.node, groups[0])
		groups = groups[1:]
	}
	if len(rx) > 0 {
		b.sighting(rx[0])
		rx = rx[1:]
	}
	if bridge != "" && n.Sysctls["net.bridge.bridge-nf-call-iptables"] == "1" && len(groups) > 0 && groups[0].point == trace.Prerouting {
		// br_netfilter calls PREROUTING before the bridge decides (br_nf_pre_routing).
		b.group(p.node, groups[0])
		groups = groups[1:]
		b.bridge(p, n, bridge, up, rx)
	} else {
		b.bridge(p, n, bridge, up, rx)
		if len(groups) > 0 && groups[0].point == trace.Prerouting {
			b.group(p.node, groups[0])
			groups = groups[1:]
		}
	}
	sent := 0
	send := func() {
		i, s := sent, p.tx[sent]
		sent++
		b.sighting(s)
		p.left = s.Header
		if p.around == nil {
			return
		}
		for _, o := range p.around[i] {
			b.frame = nil
			b.tunnel(p.node, s.Dev, p.frame.with(s.Header), o.frame.with(o.header()))
			b.pass(o)
			b.frame = p.frame
		}
	}
	if bridge != "" && !up && len(p.tx) > 0 && p.tx[0].Dev == bridge {
		// It waited for the MAC address of its new destination: what neighbours wait
		// for leaves by the bridge device, and is bridged then (br_nf_dev_xmit).
		send()
	}
	copies := 0
	for _, g := range groups {
		if g.point == trace.Postrouting {
			copies++
		}
	}
	own := up && len(groups) > 0 && groups[len(groups)-1].point == trace.Input // the bridge's last copy is for its node
	flooded := (copies > 1 || own) && copies == len(p.tx)-sent
	died := b.died
	out := ""
	for i, g := range groups {
		if (bridge == "" || up) && !p.bridged() {
			switch {
			case g.point == trace.Input && p.again && !p.joined(): // put together after its pieces were routed
			case g.point == trace.Input:
				b.route(p.node, n, g.hooks[0].Header, "")
			case g.point == trace.Forward && bridge != "" && g.hooks[0].Iif == g.hooks[0].Oif && g.hooks[0].Header.TTL == p.rx[0].Header.TTL:
				// The bridge sends it on, as br_netfilter shows it; what is routed is a hop older.
			case g.point == trace.Forward || g.point == trace.Output:
				out = g.hooks[0].Oif
				b.route(p.node, n, g.hooks[0].Header, out)
			case g.point == trace.Postrouting && i > 0 && groups[i-1].point == trace.Output:
				// A new destination in OUTPUT is routed again (ip_route_me_harder).
				if prev := groups[i-1].hooks[0].Header; prev.Dst != g.hooks[0].Header.Dst {
					b.route(p.node, n, g.hooks[0].Header, g.hooks[0].Oif)
				}
			}
		}
		b.group(p.node, g)
		died = b.died
		if flooded && g.point == trace.Postrouting {
			send() // each copy goes its way before the next (br_flood)
		}
	}
	b.died = died
	if p.frame != nil {
		b.refused(p, n)
	}
	if p.died = b.died; len(b.hops) > 0 {
		p.left = outermost(b.last())
	}
	if p.frame == nil && n != nil && p.met(trace.Input, Last) && toAll(n, p.left.Dst) && !p.left.Fragment() {
		p.taken = true
		b.add(p.node, b.socket(n, p.left))
	}
	for sent < len(p.tx) {
		send()
	}
	if f := p.out; f != nil {
		last := b.last()
		b.frame = nil
		b.tunnel(p.node, f.rx[0].Dev, last, f.frame.with(f.rx[0].Header))
		b.pass(f)
	}
}

func (b *builder) bridge(p *pass, n *state.Node, bridge string, up bool, rx []Sighting) {
	forwarded := len(p.tx) > 0 || slices.ContainsFunc(p.hooks, func(h Hook) bool { return h.Point == trace.Forward })
	if bridge != "" && !up && forwarded {
		h := outermost(b.last()) // br_netfilter's PREROUTING may have changed it
		h.SrcMAC, h.DstMAC = p.rx[0].Header.SrcMAC, p.rx[0].Header.DstMAC
		b.add(p.node, trace.Step{Point: trace.Bridge, Dev: bridge, Before: h, After: h, Evidence: trace.Explained})
	}
	for _, s := range rx {
		b.sighting(s)
	}
}

// route writes the routing decision down. dev is the way out that the next
// hook saw; empty means the packet was for the node itself.
func (b *builder) route(node string, n *state.Node, h trace.Header, dev string) {
	// The next hook saw the header after the decision (a forwarded packet's TTL
	// is one less by then); what was decided on is what the step before saw.
	if k := len(b.hops) - 1; k >= 0 && b.hops[k].Node == node {
		if prev := outermost(b.last()); !rewritten(prev, h) {
			h = prev
		}
	}
	s := trace.Step{Point: trace.RouteStep, Dev: dev, Verdict: trace.Forwards, Before: h, After: h, Evidence: trace.Reported}
	switch {
	case dev == "":
		s.Verdict, s.Note = trace.Local, "local "+h.Dst.String()
	case n != nil && loopback(n, dev): // whatever ping -I lo asks for (RTCF_LOCAL, __mkroute_output)
		s.Verdict, s.Note = trace.Local, "local "+h.Dst.String()
	case n != nil:
		if r := n.Lookup(h.Dst); r != nil {
			s.Note = r.String()
		}
	}
	b.add(node, s)
}

func loopback(n *state.Node, dev string) bool {
	l := n.Link(dev)
	return l != nil && l.Type == "loopback"
}

type hookGroup struct {
	point trace.Point
	hooks []Hook
}

func group(hooks []Hook) (gs []hookGroup) {
	for _, h := range hooks {
		if len(gs) == 0 || gs[len(gs)-1].point != h.Point {
			gs = append(gs, hookGroup{point: h.Point})
		}
		g := &gs[len(gs)-1]
		g.hooks = append(g.hooks, h)
	}
	return gs
}

// group writes down what happened at one hook: each chain that was consulted,
// and each rewrite with the rule that asked for it or, when none did, with the
// connection's entry.
func (b *builder) group(node string, g hookGroup) {
	b.died = nil
	some := false
	for i, h := range g.hooks {
		var next *Hook
		if i+1 < len(g.hooks) {
			next = &g.hooks[i+1]
		}
		changed := next != nil && rewritten(h.Header, next.Header)
		if h.Edge == NoEdge {
			some = true
			s := trace.Step{Point: h.Point, Table: h.Table, Chain: h.Chain, Rule: h.Rule, RuleText: h.RuleText,
				Verdict: h.Verdict, Before: h.Header, After: h.Header, Evidence: trace.Reported}
			if changed && isNAT(h.Verdict) {
				s.After, changed = next.Header, false
				s.Cause = fmt.Sprintf("%s %s rule %d: %s", h.Table, h.Chain, h.Rule, h.Verdict)
			}
			b.add(node, s)
			if next == nil {
				b.died = &g.hooks[i]
			}
		}
		if changed {
			some = true
			b.add(node, trace.Step{Point: trace.Conntrack, Chain: string(h.Point), Before: h.Header, After: next.Header,
				Cause: "conntrack: " + b.entry(node, next.Header, h.Header), Evidence: trace.Reported})
		}
	}
	if last := g.hooks[len(g.hooks)-1]; !some {
		b.add(node, trace.Step{Point: g.point, Verdict: trace.Pass, Before: last.Header, After: last.Header, Evidence: trace.Reported})
	}
}

func isNAT(v trace.Verdict) bool {
	switch v {
	case trace.Snat, trace.Dnat, trace.Masq, trace.Redirect:
		return true
	}
	return false
}

// entry names the connection whose entry rewrote a packet.
func (b *builder) entry(node string, headers ...trace.Header) string {
	for _, c := range b.view.Conns(node) {
		for _, h := range headers {
			if matches(c, h) {
				return connText(c)
			}
		}
	}
	return "an existing connection"
}

// matches reports whether a packet belongs to a connection: as it came in, as
// it goes out, or between the two, when its destination is translated already
// and its source not yet.
func matches(c state.Conn, h trace.Header) bool {
	if c.Proto != h.Proto {
		return false
	}
	e := endOf(h)
	orig, reply := tupleEnd(c.Proto, c.Orig), tupleEnd(c.Proto, c.Reply)
	return e == orig || e == reply || e == reply.reversed() || e == orig.reversed() ||
		e.src == orig.src && e.dst == reply.src || e.src == reply.src && e.dst == orig.src
}

func connText(c state.Conn) string {
	if c.Proto == "icmp" {
		return fmt.Sprintf("icmp %s → %s, reply %s → %s", c.Orig.Src, c.Orig.Dst, c.Reply.Src, c.Reply.Dst)
	}
	return fmt.Sprintf("%s %s:%d → %s:%d, reply %s:%d → %s:%d", c.Proto, c.Orig.Src, c.Orig.SrcPort, c.Orig.Dst, c.Orig.DstPort,
		c.Reply.Src, c.Reply.SrcPort, c.Reply.Dst, c.Reply.DstPort)
}
