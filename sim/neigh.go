package sim

import (
	"cmp"
	"slices"
	"time"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// Neighbours: which MAC address an IP address on a link has, and how sure the
// node is of it (net/core/neighbour.c). arp.go holds the asking and answering.
//
//	        a packet for it                       an answer
//	(none) ─────────────────▶ INCOMPLETE ──────────────────────▶ REACHABLE ◀────────┐
//	                              │ 3 questions, 1 s apart            │ 30 s        │ an answer
//	                              ▼                                   ▼             │
//	                           FAILED                               STALE           │
//	                                       a packet for it ──────▶ DELAY ── 5 s ─▶ PROBE
//	                                                                         3 questions, to it alone: FAILED
//
// What waits while a neighbour is INCOMPLETE is told "host unreachable" when
// it has FAILED.

// nudState is a neighbour's state (NUD_*, include/uapi/linux/neighbour.h).
type nudState uint8

const (
	nudNone       nudState = 0
	nudIncomplete nudState = 0x01
	nudReachable  nudState = 0x02
	nudStale      nudState = 0x04
	nudDelay      nudState = 0x08
	nudProbe      nudState = 0x10
	nudFailed     nudState = 0x20
	nudNoARP      nudState = 0x40
	nudPermanent  nudState = 0x80
)

var nudNames = map[nudState]string{nudNone: "NONE", nudIncomplete: "INCOMPLETE", nudReachable: "REACHABLE", nudStale: "STALE",
	nudDelay: "DELAY", nudProbe: "PROBE", nudFailed: "FAILED", nudNoARP: "NOARP", nudPermanent: "PERMANENT"}

func (s nudState) String() string { return nudNames[s] }

// connected: its MAC address is used without a thought (NUD_CONNECTED).
func (s nudState) connected() bool { return s&(nudPermanent|nudNoARP|nudReachable) != 0 }

// valid: there is a MAC address (NUD_VALID).
func (s nudState) valid() bool { return s&(nudProbe|nudStale|nudDelay) != 0 || s.connected() }

func (s nudState) timed() bool {
	return s&(nudIncomplete|nudReachable|nudDelay|nudProbe) != 0
}

// neigh is an entry of the neighbour table (struct neighbour).
type neigh struct {
	dev   *Link
	ip    IP
	mac   MAC
	state nudState

	probes  int
	updated int64 // when the MAC address or the state changed
	confirm int64 // when it was last heard of
	used    int64 // when something was last sent to it; 0 never
	queue   []*packet
	queued  int // bytes of them
	timer   *timer
	dead    bool
}

// neighConf are the settings of net.ipv4.neigh.DEV (struct neigh_parms).
type neighConf struct {
	retrans      time.Duration // between questions
	mcastSolicit int           // questions to everybody before FAILED
	ucastSolicit int           // questions to the neighbour alone before FAILED
	reachable    time.Duration // base_reachable_time; the kernel takes 0.5 to 1.5 of it, by chance
	delayFirst   time.Duration
	proxyDelay   time.Duration
	lockTime     time.Duration
	queueBytes   int

	// What the model only remembers.
	appSolicit, mcastResolicit, proxyQlen int
	gcStale, probeInterval, anycastDelay  time.Duration
}

// defaultNeighConf are the kernel's (arp_tbl, net/ipv4/arp.c).
var defaultNeighConf = neighConf{retrans: time.Second, mcastSolicit: 3, ucastSolicit: 3, reachable: 30 * time.Second,
	delayFirst: 5 * time.Second, proxyDelay: 800 * time.Millisecond, lockTime: time.Second, queueBytes: 212992,
	proxyQlen: 64, gcStale: time.Minute, probeInterval: 5 * time.Second, anycastDelay: time.Second}

// neighLookup returns the entry for an address, made if create says so
// (__neigh_lookup, __neigh_create, arp_constructor).
func (l *Link) neighLookup(ip IP, create bool) *neigh {
	nb := l.neighs[ip]
	if nb != nil || !create {
		return nb
	}
	if l.kind == kindLoopback && ip != 0 { // arp_constructor has one neighbour for all
		return l.neighLookup(0, true)
	}
	nb = &neigh{dev: l, ip: ip, updated: l.ns.w.now}
	switch t := l.ns.addrType(ip); {
	case l.kind == kindLoopback:
		nb.state = nudNoARP
	case t == rtnMulticast:
		nb.state, nb.mac = nudNoARP, 0x01005e<<24|MAC(ip&0x7fffff)
	case t == rtnBroadcast:
		nb.state, nb.mac = nudNoARP, broadcastMAC
	}
	if l.neighs == nil {
		l.neighs = map[IP]*neigh{}
	}
	l.neighs[ip] = nb
	return nb
}

// neighSend sends a packet to a neighbour, or lets it wait for the answer who
// that is (neigh_output, neigh_resolve_output).
func (w *World) neighSend(nb *neigh, p *packet) {
	if nb.state.connected() {
		nb.used = max(nb.used, 1)
	} else if nb.used = w.now; w.neighEvent(nb, p) {
		return
	}
	src := nb.dev.mac
	if p.bridgedDNAT { // its source comes back in brNfPreRoutingFinishSlow; packet sockets see it so already
		src = p.bridgedSrc
	}
	p.setMACs(src, nb.mac)
	w.devXmit(nb.dev, p)
}

// neighEvent tells a neighbour that somebody wants to send to it. It reports
// whether it kept the packet (__neigh_event_send). p may be nil.
func (w *World) neighEvent(nb *neigh, p *packet) bool {
	if nb.state.connected() || nb.state&(nudDelay|nudProbe) != 0 {
		return false
	}
	c := nb.conf()
	if nb.state == nudStale {
		nb.state, nb.updated = nudDelay, w.now
		w.neighTimer(nb, c.delayFirst)
		return false
	}
	probe := false
	if nb.state != nudIncomplete { // none, or FAILED
		if c.mcastSolicit == 0 {
			nb.state, nb.updated = nudFailed, w.now
			if p != nil {
				w.linkFailure(nb, p)
			}
			return true
		}
		nb.state, nb.updated, nb.probes = nudIncomplete, w.now, c.ucastSolicit
		w.neighTimer(nb, max(c.retrans, 10*time.Millisecond))
		probe = true
	}
	if p != nil {
		for size := truesize(p); len(nb.queue) > 0 && nb.queued+size > c.queueBytes; {
			old := nb.queue[0]
			nb.queue = slices.Delete(nb.queue, 0, 1)
			nb.queued -= truesize(old)
			w.end(old, w.unanswered(nb))
		}
		nb.queue = append(nb.queue, p)
		nb.queued += truesize(p)
		w.waits(p, w.unanswered(nb))
	}
	if probe {
		w.neighProbe(nb)
	}
	return true
}

// truesize is about what a packet takes of memory (skb->truesize).
func truesize(p *packet) int { return 768 + int(p.len) }

// unanswered is the end of a packet whose neighbour nobody knows.
func (w *World) unanswered(nb *neigh) ending {
	if !nb.dev.carrier() {
		return ending{disposition: trace.NoCarrier, code: trace.CodeNoCarrier, dev: nb.dev}
	}
	return ending{disposition: trace.NoNeighbour, code: trace.CodeNoNeighbour, ip: nb.ip, dev: nb.dev}
}

// linkFailure ends a packet whose neighbour did not answer, and tells its
// sender (arp_error_report, ipv4_link_failure).
func (w *World) linkFailure(nb *neigh, p *packet) {
	w.waits(p, w.unanswered(nb))
	w.icmpSend(p, icmpDestUnreach, icmpHostUnreach, 0)
	w.end(p, w.unanswered(nb))
}

func (nb *neigh) conf() *neighConf { return &nb.dev.arp }

// neighProbe asks once more (neigh_probe).
func (w *World) neighProbe(nb *neigh) {
	var p *packet
	if n := len(nb.queue); n > 0 {
		p = nb.queue[n-1]
	}
	w.arpSolicit(nb, p)
	nb.probes++
}

func (w *World) neighTimer(nb *neigh, d time.Duration) {
	nb.timer.stop()
	nb.timer = w.after(d, func() { w.neighExpired(nb) })
}

// neighExpired is when a neighbour's timer goes off (neigh_timer_handler).
func (w *World) neighExpired(nb *neigh) {
	if nb.dead || !nb.state.timed() {
		return
	}
	c := nb.conf()
	retrans := max(c.retrans, 10*time.Millisecond)
	next := retrans
	switch nb.state {
	case nudReachable:
		switch sure := nb.confirm + int64(c.reachable); {
		case w.now < sure:
			next = time.Duration(sure - w.now)
		case w.now <= nb.used+int64(c.delayFirst):
			nb.state, nb.updated, next = nudDelay, w.now, c.delayFirst
		default:
			nb.state, nb.updated = nudStale, w.now
			return
		}
	case nudDelay:
		if w.now <= nb.confirm+int64(c.delayFirst) {
			nb.state, next = nudReachable, c.reachable
		} else {
			nb.state, nb.updated, nb.probes = nudProbe, w.now, 0
		}
	}
	if nb.state&(nudIncomplete|nudProbe) != 0 {
		most := c.ucastSolicit
		if nb.state == nudIncomplete {
			most += c.mcastSolicit
		}
		if nb.probes >= most {
			nb.state = nudFailed
			w.neighInvalidate(nb)
			return
		}
	}
	w.neighTimer(nb, next)
	if nb.state&(nudIncomplete|nudProbe) != 0 {
		w.neighProbe(nb)
	}
}

// neighInvalidate gives up what waits (neigh_invalidate).
func (w *World) neighInvalidate(nb *neigh) {
	nb.updated = w.now
	for nb.state == nudFailed && len(nb.queue) > 0 {
		p := nb.dequeue()
		w.linkFailure(nb, p)
	}
}

func (nb *neigh) dequeue() *packet {
	p := nb.queue[0]
	nb.queue = slices.Delete(nb.queue, 0, 1)
	nb.queued -= truesize(p)
	return p
}

// How neighUpdate may treat what is there (NEIGH_UPDATE_F_*).
type neighFlags uint8

const (
	neighOverride neighFlags = 1 << iota // another MAC address replaces the one that is known
	neighAdmin                           // somebody's wish, not a packet's word
)

// neighUpdate takes in what was heard of a neighbour, or ordered by hand: a nil
// mac keeps the one that is known (__neigh_update). The errno is 0 when it did.
func (w *World) neighUpdate(nb *neigh, mac *MAC, to nudState, flags neighFlags) int {
	old := nb.state
	if flags&neighAdmin == 0 && old&(nudNoARP|nudPermanent) != 0 {
		return eperm
	}
	if !to.valid() {
		nb.timer.stop()
		nb.state = to
		if old&(nudIncomplete|nudProbe) != 0 && to == nudFailed {
			w.neighInvalidate(nb)
		}
		return 0
	}
	if mac == nil {
		if !old.valid() {
			return einval
		}
		mac = &nb.mac
	}
	same := *mac == nb.mac && old.valid()
	if to.connected() {
		nb.confirm = w.now
	}
	if old.valid() {
		if !same && flags&neighOverride == 0 {
			return 0
		}
		if same && to == nudStale && flags&neighAdmin == 0 {
			to = old
		}
	}
	if to != old || !same {
		nb.updated = w.now
	}
	if to != old {
		nb.timer.stop()
		nb.probes = 0
		if to.timed() {
			d := time.Duration(0)
			if to == nudReachable {
				d = nb.conf().reachable
			}
			w.neighTimer(nb, d)
		}
		nb.state = to
	}
	if !same {
		nb.mac = *mac
		if !to.connected() {
			nb.confirm = w.now - 2*int64(nb.conf().reachable)
		}
	}
	if !old.valid() {
		for nb.state.valid() && len(nb.queue) > 0 {
			p := nb.dequeue()
			w.goesOn(p)
			w.neighSend(nb, p)
		}
	}
	return 0
}

// neighDelete takes an entry away (neigh_remove_one). Packets that waited for
// it are gone.
func (w *World) neighDelete(nb *neigh) {
	nb.timer.stop()
	nb.dead = true
	delete(nb.dev.neighs, nb.ip)
	for len(nb.queue) > 0 {
		w.end(nb.dequeue(), w.unanswered(nb))
	}
}

// neighFlush forgets what is known on a link (neigh_flush_dev); what was put
// there by hand stays unless all says otherwise.
func (w *World) neighFlush(l *Link, all bool) {
	for _, nb := range l.sortedNeighs() {
		if all || nb.state != nudPermanent {
			w.neighDelete(nb)
		}
	}
}

func (l *Link) sortedNeighs() []*neigh {
	all := make([]*neigh, 0, len(l.neighs))
	for _, nb := range l.neighs {
		all = append(all, nb)
	}
	slices.SortFunc(all, func(a, b *neigh) int { return cmp.Compare(a.ip, b.ip) })
	return all
}

// snapNeighs lists the neighbours, but for those that need no ARP, as `ip neigh`.
func (n *Netns) snapNeighs() []state.Neigh {
	return slices.DeleteFunc(n.Neighbours(), func(r state.Neigh) bool { return r.State == "NOARP" || r.State == "NONE" })
}

// Neighbours lists all neighbours, as `ip neigh show nud all`.
func (n *Netns) Neighbours() []state.Neigh {
	var rows []state.Neigh
	for _, l := range n.links {
		for _, nb := range l.sortedNeighs() {
			row := state.Neigh{IP: nb.ip.Addr(), Dev: l.name, State: nb.state.String()}
			if nb.state.valid() {
				row.MAC = nb.mac.String()
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// restoreNeighs puts back what snapNeighs listed. How long each state has
// lasted is not in a snapshot: it begins anew; but that a neighbour has the address
// it has is older than what the kernel would not change at once (locktime).
func (n *Netns) restoreNeighs(rows []state.Neigh) {
	for _, r := range rows {
		l := n.link(r.Dev)
		if l == nil || !r.IP.Is4() {
			continue
		}
		nb := l.neighLookup(ipOf(r.IP), true)
		for s, name := range nudNames {
			if name == r.State {
				nb.state = s
			}
		}
		nb.mac, _ = parseMAC(r.MAC)
		nb.updated, nb.confirm, nb.used = n.w.now-int64(defaultNeighConf.lockTime)-1, n.w.now, n.w.now
		switch nb.state {
		case nudReachable:
			n.w.neighTimer(nb, nb.conf().reachable)
		case nudDelay:
			nb.confirm -= 2 * int64(nb.conf().reachable)
			n.w.neighTimer(nb, nb.conf().delayFirst)
		case nudProbe, nudIncomplete: // its questions are not repeated here
			nb.state = nudFailed
			if nb.mac != 0 {
				nb.state = nudStale
			}
		}
	}
}
