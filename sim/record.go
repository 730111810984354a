package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// recorder keeps the journeys of an operation's packets as they happen, in a
// form that costs a copy and nothing else; traces writes them out afterwards.
type recorder struct {
	journeys []*journey // of the operation under way
	free     []*journey
	count    uint64
}

// flow is a conversation: its packets share it, in both directions and across NAT.
type flow struct{ id string }

// journey is what one packet did, with all its copies.
type journey struct {
	id       uint64
	flow     *flow
	reply    bool
	start    int64
	steps    []step
	looks    []look   // what steps say the packet looked like: most change nothing
	remarks  []remark // what few steps have to say
	branches []branch
	live     int  // copies that are under way
	told     bool // it is part of a result already
}

// branch is the way of one copy of a packet. Branch 0 is the packet itself.
type branch struct {
	parent int32
	from   int32 // how many steps the journey had when it parted
	end    ending
	own    bool // it is for the node that sent the packet (toLoopback)
}

// trail is a packet's place in the record.
type trail struct {
	journey *journey
	branch  int32
	seen    int32 // its header as it was noted last; unseen: it has changed since
}

const unseen int32 = -1

// step is a trace.Step before anybody has asked for it. It is small, as every
// point of every journey leaves one.
type step struct {
	ns     *Netns
	dev    *Link
	at     int64
	branch int32
	before int32 // of the journey's looks
	after  int32
	remark int32 // of the journey's remarks, from 1; 0: none
	// by is what decided: a *nfRule, or the *chain whose policy it was; the *conn
	// whose entry rewrote the packet; the *fibRow of a route.
	by      any
	verdict trace.Verdict
	rule    int32 // its number, from 1
	point   point
	hook    hookPoint // conntrack: where
}

// look is how a packet looked at a step.
type look struct {
	header
	carried *header // VXLAN: of the packet inside, when the header is of the one around it
}

// remark is one of trace's Codes, with what it needs.
type remark struct {
	code string
	ip   IP
	port uint16
}

// point is a trace.Point in a step: a hookPoint, or one of these.
type point uint8

const (
	atRX point = iota + point(hookPoints)
	atBridge
	atRoute
	atSocket
	atConntrack
	atTunnel
	atTX
)

// points are what a trace calls them.
var points = [...]trace.Point{trace.Prerouting, trace.Input, trace.Forward, trace.Output, trace.Postrouting,
	trace.RX, trace.Bridge, trace.RouteStep, trace.Socket, trace.Conntrack, trace.Tunnel, trace.TX}

// ending says how a packet, or one copy of it, came to its end. The fields
// after the code fill the blanks that the code has.
type ending struct {
	disposition trace.Disposition
	code        string
	ns          *Netns
	dev         *Link
	by          any // the *nfRule, or the *chain whose policy it was
	ip          IP  // src, dst or ip, as the code has it
	rule        int32
	mtu         int
	port        uint16
}

// maxSteps ends a journey that goes round in circles. The longest honest one
// has some hundred points.
const maxSteps = 2000

// begin forgets the journeys of the operation before. One whose packet still
// waits somewhere (for ARP) is left to it.
func (r *recorder) begin() {
	for i, j := range r.journeys {
		r.journeys[i] = nil
		if j.live == 0 && len(r.free) < 256 {
			j.steps, j.looks, j.remarks, j.branches = j.steps[:0], j.looks[:0], j.remarks[:0], j.branches[:0]
			r.free = append(r.free, j)
		}
	}
	r.journeys = r.journeys[:0]
}

// depart begins a packet's journey.
func (w *World) depart(p *packet, f *flow, reply bool) {
	r := &w.rec
	var j *journey
	if n := len(r.free); n > 0 {
		j = r.free[n-1]
		r.free = r.free[:n-1]
	} else {
		j = new(journey)
	}
	r.count++
	j.id, j.flow, j.reply, j.start, j.live, j.told = r.count, f, reply, w.now, 1, false
	j.branches = append(j.branches, branch{parent: -1})
	p.flow, p.reply, p.trail = f, reply, trail{journey: j, seen: unseen}
	r.journeys = append(r.journeys, j)
}

// fork gives a copy of p a branch of its own.
func (r *recorder) fork(p *packet) trail {
	j := p.journey
	j.live++
	j.branches = append(j.branches, branch{parent: p.branch, from: int32(len(j.steps))})
	return trail{j, int32(len(j.branches) - 1), p.seen}
}

// look is how p looks now, for steps to point to.
func (j *journey) look(p *packet) int32 {
	if p.seen == unseen {
		p.seen = j.keep(&p.header, p.carried)
	}
	return p.seen
}

// check panics when a header has changed that nobody had asked to be writable.
func (p *packet) check() {
	if p.journey == nil || p.seen == unseen {
		return
	}
	if h := p.journey.looks[p.seen].header; h != p.header {
		panic(fmt.Sprintf("a header changed behind the journey's back: %v became %v", h, p.header))
	}
}

// keep keeps a header, and what it carries.
func (j *journey) keep(h, carried *header) int32 {
	n := len(j.looks)
	if n < cap(j.looks) {
		j.looks = j.looks[:n+1]
	} else {
		j.looks = append(j.looks, look{})
	}
	l := &j.looks[n]
	l.header, l.carried = *h, carried
	return int32(n)
}

// strict is on in tests: packets are checked.
var strict bool

// note records that p is at a point. The caller fills in what else there is to
// say, before the next note. What rewrote the packet sets before.
func (w *World) note(p *packet, at point, dev *Link) *step {
	w.now += stepTime
	j := p.journey
	seen := j.look(p)
	n := len(j.steps)
	if n < cap(j.steps) {
		j.steps = j.steps[:n+1]
	} else {
		j.steps = append(j.steps, step{})
	}
	s := &j.steps[n]
	*s = step{}
	s.ns, s.dev, s.at, s.branch, s.before, s.after, s.point = p.ns, dev, w.now, p.branch, seen, seen, at
	return s
}

// remark has a step say more.
func (j *journey) remark(s *step, r remark) {
	j.remarks = append(j.remarks, r)
	s.remark = int32(len(j.remarks))
}

// end records how p ended. The packet is gone: nobody may use it afterwards.
func (w *World) end(p *packet, e ending) {
	if strict {
		p.check()
	}
	w.waits(p, e)
	p.journey.live--
	w.discard(p)
}

// waits records how p would end if nothing more happened to it.
func (w *World) waits(p *packet, e ending) {
	end := &p.journey.branches[p.branch].end
	if *end = e; e.ns == nil {
		end.ns = p.ns
	}
	if p.whole != nil {
		w.pieceWaits(p, *end)
	}
}

// goesOn takes back what waits said.
func (w *World) goesOn(p *packet) {
	p.journey.branches[p.branch].end = ending{}
	w.pieceWaits(p, fragmented)
}

// vanish ends p without a word of where: for what the model has no better name.
func (w *World) vanish(p *packet) {
	w.end(p, ending{disposition: trace.Vanished, code: trace.CodeVanished})
}

// uncertain is when the latest of the operation's journeys paused that something
// may follow after; 0 when there is none.
func (r *recorder) uncertain() (at int64) {
	for _, j := range r.journeys {
		if n := len(j.steps); n > 0 && j.steps[n-1].at > at && !slices.ContainsFunc(j.branches, branch.certain) {
			at = j.steps[n-1].at
		}
	}
	return at
}

// certain reports whether nothing can come after such an end.
func (b branch) certain() bool {
	switch b.end.disposition {
	case trace.Delivered, trace.NoWayBack, trace.Dropped, trace.Rejected:
		return true
	}
	return false
}

// traces writes the operation's journeys out, in the order they began.
func (r *recorder) traces() []trace.Trace {
	var ts []trace.Trace
	for _, j := range r.journeys {
		if !j.told && len(j.steps) > 0 {
			j.told = true
			ts = append(ts, j.trace())
		}
	}
	slices.SortStableFunc(ts, func(a, b trace.Trace) int { return cmp.Compare(a.Start, b.Start) })
	return ts
}

// visit is a stay of one copy in one node: what becomes a hop.
type visit struct {
	ns     *Netns
	branch int32
	steps  []*step
}

// trace writes a journey out as a trace: visit by visit, without the copies
// that a bridge flooded to those who did not want them. A switch only wires
// machines together; what happens in it is told, as on the kernel, of nobody
// but a packet that ends there.
func (j *journey) trace() trace.Trace {
	visits := j.visits()
	kept, also := prune(visits, j.branches)
	t := trace.Trace{ID: strconv.FormatUint(j.id, 10), Reply: j.reply, Start: j.seen(), Also: also}
	if j.flow != nil {
		t.Flow = j.flow.id
	}
	for i, v := range kept {
		if v.ns.kind == state.Switch && i < len(kept)-1 {
			continue
		}
		if len(t.Hops) == 0 || t.Hops[len(t.Hops)-1].Node != v.ns.name {
			t.Hops = append(t.Hops, trace.Hop{Node: v.ns.name})
		}
		h := &t.Hops[len(t.Hops)-1]
		for _, s := range v.steps {
			h.Steps = append(h.Steps, j.public(s, t.Start))
		}
	}
	t.Summary = t.First().Summary()
	last := kept[len(kept)-1]
	e := j.ending(kept)
	if e.disposition == "" {
		e = ending{disposition: trace.Vanished, code: trace.CodeVanished}
	}
	if e.ns == nil || e.disposition == trace.Unclaimed {
		e.ns = last.ns // not where the last copy that nobody wanted was
	}
	t.Disposition, t.Code, t.Evidence, t.Node = e.disposition, e.code, trace.Simulated, e.ns.name
	t.Args = e.args()
	if e.code == trace.CodeVanished {
		s := last.steps[len(last.steps)-1]
		t.Args["point"] = string(points[s.point])
		if s.dev != nil {
			t.Args["point"] += " " + s.dev.name
		}
	}
	t.Reason = trace.Reason(t.Code, t.Args)
	return t
}

// seen is when a packet socket would first have seen the packet.
func (j *journey) seen() int64 {
	for i := range j.steps {
		if s := &j.steps[i]; s.point == atTX || s.point == atRX {
			return s.at
		}
	}
	return j.steps[0].at
}

// visits sorts the steps by node and copy. A copy's first steps belong to the
// visit it parted from: a bridge sends several copies from one node.
func (j *journey) visits() []*visit {
	var all []*visit
	current := make([]*visit, len(j.branches)) // of each branch
	for i := range j.steps {
		s := &j.steps[i]
		v := current[s.branch]
		if v == nil {
			for b := s.branch; v == nil && j.branches[b].parent >= 0; {
				b = j.branches[b].parent
				v = current[b]
			}
			if v != nil && v.ns == s.ns && s.point != atRX {
				v.steps = append(v.steps, s)
				continue
			}
			v = nil
		}
		if v == nil || v.ns != s.ns {
			v = &visit{ns: s.ns, branch: s.branch}
			all = append(all, v)
			current[s.branch] = v
		}
		v.steps = append(v.steps, s)
	}
	return all
}

// ending says how a journey ended. A broadcast has many copies: it ended with the
// first that was for somebody; otherwise with the last that came to another end
// than that nobody wanted it; and only then with the sender's own.
func (j *journey) ending(visits []*visit) ending {
	if len(j.branches) == 1 {
		return j.branches[0].end
	}
	// The last step of each copy; of one that did nothing by itself, where it parted.
	last := make([]int, len(j.branches))
	for i := range j.branches {
		last[i] = int(j.branches[i].from) - 1
	}
	for i := range j.steps {
		last[j.steps[i].branch] = i
	}
	first, lost, own := -1, -1, -1
	for i := range j.branches {
		switch d := j.branches[i].end.disposition; {
		case d == trace.Unclaimed || d == "":
			continue
		case j.branches[i].own:
			own = i
			continue
		case d == trace.Delivered || d == trace.NoWayBack:
			if k := last[i]; k >= 0 && j.steps[k].branch == int32(i) && j.looks[j.steps[k].after].carried == nil && (first < 0 || k < last[first]) {
				first = i // and not the packet around it
			}
		}
		if lost < 0 || last[i] >= last[lost] {
			lost = i
		}
	}
	switch {
	case first >= 0:
		return j.branches[first].end
	case lost >= 0:
		return j.branches[lost].end
	case own >= 0:
		return j.branches[own].end
	}
	return j.branches[visits[len(visits)-1].branch].end
}

// prune takes away the visits of copies that nobody wanted and that were only
// seen to arrive, and names their nodes.
func prune(visits []*visit, branches []branch) (kept []*visit, also []string) {
	for i, v := range visits {
		if i > 0 && branches[v.branch].end.disposition == trace.Unclaimed && branches[v.branch].end.ns == v.ns && v.onlyArrived() {
			also = append(also, v.ns.name)
			continue
		}
		kept = append(kept, v)
	}
	return kept, also
}

// onlyArrived reports whether nothing happened to the packet in the node but
// that it was there.
func (v *visit) onlyArrived() bool {
	return !slices.ContainsFunc(v.steps, func(s *step) bool { return s.point != atRX })
}

func (j *journey) public(s *step, start int64) trace.Step {
	before, after := &j.looks[s.before], &j.looks[s.after]
	t := trace.Step{Point: points[s.point], Rule: int(s.rule), Verdict: s.verdict, At: max(0, s.at-start), Timed: s.point == atRX || s.point == atTX,
		Before: before.public(), After: after.public(), Evidence: trace.Simulated}
	if s.dev != nil {
		t.Dev = s.dev.name
	}
	own := t.Before // of the packet that is on its way, whatever it carries
	if after.carried != nil {
		t.Before, t.After = after.carried.inside(t.Before), after.carried.inside(t.After)
	}
	switch by := s.by.(type) {
	case *nfRule:
		t.Table, t.Chain, t.RuleText = by.chain.table.name(), by.chain.name, by.String()
		if t.Rewritten() {
			t.Cause = fmt.Sprintf("%s %s rule %d: %s", t.Table, t.Chain, s.rule, s.verdict)
		}
	case *chain:
		t.Table, t.Chain = by.table.name(), by.name
	case *conn:
		t.Chain = s.hook.String()
		if t.Rewritten() {
			t.Cause = "conntrack: " + by.String()
		}
	case *fibRow:
		switch by {
		case nil: // there was none
		case localRow:
			t.Note = "local " + own.Dst.String()
		default:
			t.Note = by.String()
		}
	}
	if s.remark > 0 {
		r := &j.remarks[s.remark-1]
		e := ending{code: r.code, dev: s.dev, ip: r.ip, port: r.port}
		t.Code, t.Args = r.code, e.args()
		t.Note = trace.StepNote(t.Code, t.Args)
	}
	return t
}

// within keeps p's header as it is inside another packet.
func (j *journey) within(p *packet, outer *header) int32 {
	h := p.header
	h.outer = outer
	return j.keep(&h, p.carried)
}

// inside writes a header with that of the packet around it: around the
// outermost, where it is a tunnel's packet in a tunnel.
func (h *header) inside(outer trace.Header) trace.Header {
	t := h.public()
	last := &t
	for last.Outer != nil {
		last = last.Outer
	}
	last.Outer = &outer
	return t
}

// carry is the header that a journey shows of what travels inside p: p's own,
// or that of what p carries with p's around it.
func (p *packet) carry() *header {
	own := p.header
	if p.carried == nil {
		return &own
	}
	first := *p.carried
	last := &first
	for last.outer != nil {
		next := *last.outer
		last.outer = &next
		last = &next
	}
	last.outer = &own
	return &first
}

// args fills the blanks of a code.
func (e *ending) args() map[string]string {
	a := map[string]string{}
	if e.ns != nil {
		a["node"] = e.ns.name
	}
	if e.dev != nil {
		a["dev"] = e.dev.name
	}
	switch e.code {
	case trace.CodeRuleDrop, trace.CodeRuleReject, trace.CodePolicyDrop:
		delete(a, "dev")
		a["rule"], a["text"] = strconv.Itoa(int(e.rule)), ""
		c, ok := e.by.(*chain)
		if !ok {
			r := e.by.(*nfRule)
			c, a["text"] = r.chain, r.String()
		}
		a["table"], a["chain"] = c.table.name(), c.name
	case trace.CodeRefused, trace.CodeListens:
		a["port"] = strconv.Itoa(int(e.port))
	case trace.CodeForwardingOff, trace.CodeNoRoute, trace.CodeNoWayBack, trace.CodeMartianDest, trace.CodeBlackhole, trace.CodeUnreachable, trace.CodeProhibit:
		a["dst"] = e.ip.String()
	case trace.CodeMartianSource, trace.CodeReversePath, trace.CodeLoopbackReroute:
		a["src"] = e.ip.String()
	case trace.CodeNoNeighbour:
		a["ip"] = e.ip.String()
	case trace.CodeTooBig:
		a["mtu"] = strconv.Itoa(e.mtu)
	}
	return a
}
