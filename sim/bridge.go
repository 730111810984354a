package sim

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// The bridge: a switch in software (net/bridge).
//
//	frame in by a port ─ brHandleFrame ─[PREROUTING]─ learn the source ─┬─ known, elsewhere ── brForward ──┐
//	                                                                    ├─ unknown, broadcast ── brFlood ──┤
//	                                                                    └─ for this node ── brPassUp       │
//	frame out of the bridge device itself ── brDevXmit ────────────────────────────────────────────────────┤
//	                                                     [FORWARD] ─ [POSTROUTING] ─ brPushXmit ─ out by the port
//
// The hooks in brackets are those of IP; br_netfilter.go lends them to bridged
// packets.

// bridge is what makes a link a bridge (struct net_bridge).
type bridge struct {
	ports          []*Link // newest first, the order in which frames are flooded (br->port_list)
	macSet, mtuSet bool    // somebody chose them; otherwise they follow from the ports
	ageing         time.Duration
	callIptables   bool // the bridge's own nf_call_iptables, beside the namespace's
	fdb            map[MAC]*fdbEntry
	made           int // how many entries it has had
}

// bridgePort holds the settings of a bridge's port (struct net_bridge_port).
type bridgePort struct {
	no                           int
	state                        portState
	hairpin, isolated            bool
	learning                     bool
	flood, bcastFlood, mcastFood bool // to the port: unknown unicast, broadcast, multicast
}

// portState is a port's state in the spanning tree (BR_STATE_*,
// include/uapi/linux/if_bridge.h).
type portState uint8

const (
	portDisabled portState = iota // down, or without carrier
	portListening
	portLearning
	portForwarding
	portBlocking
)

var portStates = [...]string{"disabled", "listening", "learning", "forwarding", "blocking"}

func (s portState) String() string { return portStates[s] }

// fdbEntry says behind which port a MAC address is (struct net_bridge_fdb_entry).
type fdbEntry struct {
	mac    MAC
	port   *Link // nil: the bridge itself
	local  bool  // frames for it go up to the node
	static bool  // put there by hand; does not age
	seen   int64 // when a frame last came from it
	nth    int   // of the entries the bridge has had; they are listed from the newest on
}

// newEntry puts an entry in the table in place of another that there may be.
func (br *Link) newEntry(e fdbEntry) {
	if old := br.bridge.fdb[e.mac]; old != nil {
		e.nth = old.nth
	} else {
		br.bridge.made++
		e.nth = br.bridge.made
	}
	br.bridge.fdb[e.mac] = &e
}

// bridgeAgeing is the default ageing time (BR_DEFAULT_AGEING_TIME).
const bridgeAgeing = 300 * time.Second

func newBridge(*Link) *bridge { return &bridge{ageing: bridgeAgeing, fdb: map[MAC]*fdbEntry{}} }

// newBridgePort returns a port's settings when it joins (new_nbp, net/bridge/br_if.c).
func newBridgePort() *bridgePort {
	return &bridgePort{learning: true, flood: true, bcastFlood: true, mcastFood: true}
}

// fdbFind returns the entry for a MAC address, or nil when there is none or it
// is too old (br_fdb_find_rcu; br_fdb_cleanup takes the old ones away).
func (br *Link) fdbFind(mac MAC) *fdbEntry {
	e := br.bridge.fdb[mac]
	if e == nil || br.expired(e) {
		return nil
	}
	return e
}

func (br *Link) expired(e *fdbEntry) bool {
	return !e.local && !e.static && br.ns.w.now-e.seen > int64(br.bridge.ageing)
}

// fdbUpdate learns that a MAC address is behind a port (br_fdb_update).
func (br *Link) fdbUpdate(port *Link, mac MAC) {
	e := br.bridge.fdb[mac]
	switch {
	case br.bridge.ageing == 0: // "some users want to always flood" (hold_time)
	case e == nil:
		br.newEntry(fdbEntry{mac: mac, port: port, seen: br.ns.w.now})
	case e.local: // "received packet with own address as source address"
	default:
		e.port, e.seen = port, br.ns.w.now // a station that moved, also when its entry is static
	}
}

// fdbLocal makes a MAC address one of the bridge's own (fdb_add_local).
func (br *Link) fdbLocal(port *Link, mac MAC) {
	if e := br.bridge.fdb[mac]; e != nil && e.local || !mac.valid() {
		return // the first to have it keeps it
	}
	br.newEntry(fdbEntry{mac: mac, port: port, local: true})
}

// fdbForgetLocal takes an own address of a port (or with nil of the bridge)
// away, and leaves it to another that has the same (fdb_delete_local).
func (br *Link) fdbForgetLocal(port *Link, mac MAC) {
	e := br.bridge.fdb[mac]
	if e == nil || !e.local || e.port != port {
		return
	}
	delete(br.bridge.fdb, mac)
	for _, p := range br.bridge.ports {
		if p != port && p.mac == mac {
			br.fdbLocal(p, mac)
			return
		}
	}
	if port != nil && br.mac == mac {
		br.fdbLocal(nil, mac)
	}
}

// fdbForgetPort takes away what is behind a port (br_fdb_delete_by_port); with
// all, also what was put there by hand.
func (br *Link) fdbForgetPort(port *Link, all bool) {
	for mac, e := range br.bridge.fdb {
		if e.port == port && !e.local && (all || !e.static) {
			delete(br.bridge.fdb, mac)
		}
	}
}

// portAdded makes l a port of br in the forwarding table (br_add_if).
func (w *World) portAdded(br, l *Link) {
	br.fdbLocal(l, l.mac)
	w.portState(l)
}

// portGone forgets l as a port (del_nbp).
func (w *World) portGone(br, l *Link) {
	br.fdbForgetPort(l, true)
	br.fdbForgetLocal(l, l.mac)
}

// portState follows the link's: without the spanning tree protocol a port
// forwards as soon as it and its bridge are up and it has carrier
// (br_stp_enable_port, br_stp_disable_port).
func (w *World) portState(l *Link) {
	br, p := l.master, l.port
	if br == nil || p == nil {
		return
	}
	switch on := l.up && l.carrier() && br.up; {
	case on && p.state == portDisabled:
		p.state = portForwarding
	case !on && p.state != portDisabled:
		p.state = portDisabled
		br.fdbForgetPort(l, false)
	}
}

// brHandleFrame takes a frame that came in by a port (br_handle_frame,
// net/bridge/br_input.c).
func (w *World) brHandleFrame(port *Link, p *packet) {
	br := port.master
	if p.srcMAC.multicast() || p.srcMAC == 0 {
		w.vanish(p)
		return
	}
	if s := port.port.state; s != portForwarding && s != portLearning {
		w.end(p, ending{disposition: trace.Unbridged, code: trace.CodePortState, dev: port})
		return
	}
	if p.dstMAC == br.mac {
		p.typ = toHost
	}
	if p.etherType == ethIP && w.brNfPreRouting(br, port, p) {
		return
	}
	w.brHandleFrameFinish(port, p)
}

// brHandleFrameFinish decides where a frame goes on (br_handle_frame_finish).
func (w *World) brHandleFrameFinish(port *Link, p *packet) {
	br := port.master
	if port.port.learning {
		br.fdbUpdate(port, p.srcMAC)
	}
	if port.port.state == portLearning {
		w.end(p, ending{disposition: trace.Unbridged, code: trace.CodePortState, dev: port})
		return
	}
	if !p.dstMAC.multicast() {
		e := br.fdbFind(p.dstMAC)
		switch {
		case e == nil:
			w.brFlood(br, p, port, nil)
		case e.local:
			w.brPassUp(br, p)
		default:
			w.brForward(br, e.port, p, port)
		}
		return
	}
	// Broadcast, and multicast as long as nobody asked for less: to every port
	// and to the bridge itself. Where it goes up is noted first, as the capture
	// of a node lists what came in before what went out.
	up := p
	flood := w.clone(p)
	w.arrive(br, up)
	w.brFlood(br, flood, port, up)
	w.received(br, up)
}

// brPassUp hands a frame to the bridge's own node (br_pass_frame_up).
func (w *World) brPassUp(br *Link, p *packet) {
	if !br.up {
		w.end(p, ending{disposition: trace.NoCarrier, code: trace.CodeNoCarrier, dev: br})
		return
	}
	w.arrive(br, p)
	w.received(br, p)
}

// undeliverable says why a frame that came in by from may not leave by to; an
// empty code means that it may (should_deliver, net/bridge/br_forward.c). from
// is nil for the bridge's own frames.
func undeliverable(to, from *Link) string {
	switch {
	case to == from && !to.port.hairpin:
		return trace.CodeHairpin
	case to.port.state != portForwarding:
		return trace.CodePortState
	case from != nil && from.port.isolated && to.port.isolated:
		return trace.CodeIsolated
	}
	return ""
}

// brForward sends a frame out of the port behind which its destination is.
func (w *World) brForward(br, to *Link, p *packet, from *Link) {
	if to == nil { // an own address of the bridge, asked for by its own node
		w.vanish(p)
		return
	}
	if code := undeliverable(to, from); code != "" {
		w.end(p, ending{disposition: trace.Unbridged, code: code, dev: to})
		return
	}
	if from != nil {
		w.note(p, atBridge, br)
	}
	w.brDeliver(br, to, p, from)
}

// brFlood sends a frame out of every port that takes it (br_flood). The port
// found last gets p itself, the others copies. up is the copy that goes to the
// bridge's own node, if any.
func (w *World) brFlood(br *Link, p *packet, from *Link, up *packet) {
	var prev *Link
	noted := from == nil || up != nil
	for _, to := range br.bridge.ports {
		switch {
		case p.dstMAC == broadcastMAC:
			if !to.port.bcastFlood && from != nil {
				continue
			}
		case p.dstMAC.multicast():
			if !to.port.mcastFood && from != nil {
				continue
			}
		case !to.port.flood:
			continue
		}
		if undeliverable(to, from) != "" {
			continue
		}
		if !noted {
			noted = true
			w.note(p, atBridge, br)
		}
		if prev != nil {
			w.brDeliver(br, prev, w.clone(p), from)
		}
		prev = to
	}
	if prev == nil {
		w.end(p, ending{disposition: trace.Unclaimed, code: trace.CodeUnclaimed})
		return
	}
	w.brDeliver(br, prev, p, from)
}

// brDeliver takes a frame past br_netfilter's FORWARD and POSTROUTING to its
// port (__br_forward, br_forward_finish, br_dev_queue_push_xmit).
func (w *World) brDeliver(br, to *Link, p *packet, from *Link) {
	if from != nil && p.physIn != nil && !w.brNfForward(br, to, p) {
		return
	}
	w.brPushXmit(to, p)
}

func (w *World) brPushXmit(to *Link, p *packet) {
	// is_skb_forwardable leaves room for a VLAN tag.
	if int(p.len) > to.mtu+4 {
		w.end(p, ending{disposition: trace.TooBig, code: trace.CodeTooBig, dev: to, mtu: to.mtu})
		return
	}
	w.devXmit(to, p)
}

// brDevXmit sends what leaves by the bridge device itself (br_dev_xmit,
// net/bridge/br_device.c).
func (w *World) brDevXmit(br *Link, p *packet) {
	if p.bridgedDNAT {
		w.brNfPreRoutingFinishSlow(p)
		return
	}
	if !p.dstMAC.multicast() {
		if e := br.fdbFind(p.dstMAC); e != nil {
			w.brForward(br, e.port, p, nil)
			return
		}
	}
	w.brFlood(br, p, nil, nil)
}

// snapFDB lists the forwarding tables of the node's bridges and vxlan devices.
func (n *Netns) snapFDB() []state.FDB {
	var rows []state.FDB
	for _, l := range n.links {
		if l.vxlan != nil {
			rows = append(rows, l.vxlan.snapFDB(l)...)
		}
		if l.bridge == nil {
			continue
		}
		for _, e := range slices.SortedFunc(maps.Values(l.bridge.fdb), func(a, b *fdbEntry) int { return b.nth - a.nth }) {
			if l.expired(e) {
				continue
			}
			row := state.FDB{MAC: e.mac.String(), Dev: l.name, Local: e.local, Static: e.static && !e.local}
			if e.port != nil {
				row.Dev = e.port.name
			}
			if !e.local && !e.static {
				row.Age = float64(n.w.now-e.seen) / 1e9
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// restoreFDB puts back what snapFDB listed. How old an entry is is not in a
// snapshot: its age begins anew.
func (n *Netns) restoreFDB(rows []state.FDB) {
	for _, r := range slices.Backward(rows) {
		mac, _ := parseMAC(r.MAC)
		l := n.link(r.Dev)
		switch {
		case l == nil:
		case r.Dst != "" && l.vxlan != nil:
			a, err := netip.ParseAddr(r.Dst)
			if err != nil {
				continue
			}
			e := l.vxlan.fdb[mac]
			if e == nil {
				e = &vxlanEntry{mac: mac, permanent: r.Local, static: r.Static, used: n.w.now}
				l.vxlan.fdb[mac] = e
			}
			e.remotes = append([]IP{ipOf(a)}, e.remotes...)
		case l.master != nil:
			l.master.newEntry(fdbEntry{mac: mac, port: l, local: r.Local, static: r.Static, seen: n.w.now})
		case l.bridge != nil:
			l.newEntry(fdbEntry{mac: mac, local: r.Local, static: r.Static, seen: n.w.now})
		}
	}
}
