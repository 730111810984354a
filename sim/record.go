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
	headers  []header // what steps say the packet looked like: most change nothing
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

// step is a trace.Step before anybody has asked for it.
type step struct {
	branch  int32
	rule    int32 // its number, from 1; 0 is the policy
	ns      *Netns
	dev     *Link
	point   trace.Point
	chain   *chain
	met     *nfRule
	verdict trace.Verdict
	at      int64
	conn    *conn   // what rewrote the packet, when it was its connection's entry
	row     *fibRow // route: the row of the table
	carried *header // VXLAN: the packet inside the one that before and after are about
	code    string  // one of trace's Codes, with what it needs
	ip      IP
	port    uint16
	hook    hookPoint // conntrack: where
	before  int32     // of the journey's headers
	after   int32
}

// ending says how a packet, or one copy of it, came to its end. The fields
// after the code fill the blanks that the code has.
type ending struct {
	disposition trace.Disposition
	code        string
	ns          *Netns
	dev         *Link
	ip          IP // src, dst or ip, as the code has it
	port        uint16
	mtu         int
	table       string
	chain       string
	rule        int
	text        fmt.Stringer
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
			*j = journey{steps: j.steps[:0], headers: j.headers[:0], branches: j.branches[:0]}
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
	j.id, j.flow, j.reply, j.start, j.live = r.count, f, reply, w.now, 1
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

// keep keeps a header for steps to point to.
func (j *journey) keep(h *header) int32 {
	j.headers = append(j.headers, *h)
	return int32(len(j.headers) - 1)
}

// look keeps p's header as it is now, if it has changed since the last look.
func (j *journey) look(p *packet) int32 {
	if p.seen == unseen {
		p.seen = j.keep(&p.header)
	} else if strict && j.headers[p.seen] != p.header {
		panic("a header changed that nobody had asked to be writable")
	}
	return p.seen
}

// strict is on in tests.
var strict bool

// note records that p is at a point. The caller fills in what else there is to
// say, before the next note. What rewrote the packet sets before.
func (w *World) note(p *packet, point trace.Point, dev *Link) *step {
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
	s.branch, s.ns, s.dev, s.point, s.at, s.before, s.after, s.carried = p.branch, p.ns, dev, point, w.now, seen, seen, p.carried
	return s
}

// end records how p ended. The packet is gone: nobody may use it afterwards.
func (w *World) end(p *packet, e ending) {
	w.waits(p, e)
	p.journey.live--
	w.discard(p)
}

// waits records how p would end if nothing more happened to it.
func (w *World) waits(p *packet, e ending) {
	if e.ns == nil {
		e.ns = p.ns
	}
	p.journey.branches[p.branch].end = e
	w.pieceWaits(p, e)
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
		t.Args["point"] = string(s.point)
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
		if s := &j.steps[i]; s.point == trace.TX || s.point == trace.RX {
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
			if v != nil && v.ns == s.ns && s.point != trace.RX {
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
			if k := last[i]; k >= 0 && j.steps[k].branch == int32(i) && j.steps[k].carried == nil && (first < 0 || k < last[first]) {
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
	return !slices.ContainsFunc(v.steps, func(s *step) bool { return s.point != trace.RX })
}

func (j *journey) public(s *step, start int64) trace.Step {
	t := trace.Step{Point: s.point, Rule: int(s.rule), Verdict: s.verdict, At: max(0, s.at-start), Timed: s.point == trace.RX || s.point == trace.TX,
		Before: j.headers[s.before].public(), After: j.headers[s.after].public(), Evidence: trace.Simulated}
	switch {
	case s.chain != nil:
		t.Table, t.Chain = s.chain.table.name(), s.chain.name
	case s.conn != nil:
		t.Chain = string(hookTrace[s.hook])
	}
	if s.dev != nil {
		t.Dev = s.dev.name
	}
	own := t.Before // of the packet that is on its way, whatever it carries
	if s.carried != nil {
		t.Before, t.After = s.carried.inside(t.Before), s.carried.inside(t.After)
	}
	if s.met != nil {
		t.RuleText = s.met.String()
	}
	switch {
	case s.row == localRow:
		t.Note = "local " + own.Dst.String()
	case s.row != nil:
		t.Note = s.row.String()
	}
	if t.Rewritten() {
		switch {
		case s.conn != nil:
			t.Cause = "conntrack: " + s.conn.String()
		case s.rule > 0:
			t.Cause = fmt.Sprintf("%s %s rule %d: %s", t.Table, t.Chain, s.rule, s.verdict)
		}
	}
	if s.code != "" {
		e := ending{code: s.code, dev: s.dev, ip: s.ip, port: s.port}
		t.Code, t.Args = s.code, e.args()
		t.Note = trace.StepNote(t.Code, t.Args)
	}
	return t
}

// within keeps a header as it is inside another packet.
func (j *journey) within(h, outer *header) int32 {
	i := *h
	i.outer = outer
	return j.keep(&i)
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
		a["table"], a["chain"], a["rule"], a["text"] = e.table, e.chain, strconv.Itoa(e.rule), ""
		if e.text != nil {
			a["text"] = e.text.String()
		}
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
