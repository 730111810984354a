// Package trace describes one packet's journey through a lab.
//
// A Trace is a list of hops, one for each node the packet came to; a hop is a
// list of steps, one for each point it passed there; a step holds the packet's
// header before and after. A journey ends with a disposition.
//
//	Trace  ping 172.18.0.8 → 203.0.113.10                        delivered
//	├── Hop ns1       OUTPUT ─ route ─ POSTROUTING ─ tx veth1
//	├── Hop host      rx veth0 ─ PREROUTING ─ route ─ FORWARD ─ POSTROUTING* ─ tx eth0
//	└── Hop internet  rx eth0 ─ PREROUTING ─ route ─ INPUT ─ socket      (* = a rewrite)
//
// What was captured, what was reported by the kernel and what was only
// concluded are kept apart: see Evidence.
package trace

import (
	"fmt"
	"net/netip"
)

// Trace is one packet's journey, from the socket that sent it to its end.
type Trace struct {
	ID      string `json:"id"`      // unique in its lab
	Summary string `json:"summary"` // "ICMP echo request", "TCP SYN", "ARP who-has 172.18.0.1"
	// Flow ties the packets of one conversation together, in both directions
	// and across NAT: equal for a ping and its reply.
	Flow  string `json:"flow"`
	Reply bool   `json:"reply"` // this packet goes back to whoever started the flow
	// Start is when the packet was first captured, in nanoseconds since 1970
	// by the kernel's clock (simulated: by the world's clock).
	Start int64 `json:"start"`
	Hops  []Hop `json:"hops"`
	// Also names the nodes that a bridge flooded a copy to, and that ignored it.
	Also []string `json:"also,omitempty"`

	Disposition Disposition `json:"disposition"`
	// Node is where the journey ended.
	Node string `json:"node"`
	// Reason says in English why it ended so; Code names the same reason for
	// translation ("forwarding-off"), Args fill the translation's blanks.
	Reason string            `json:"reason,omitempty"`
	Code   string            `json:"code,omitempty"`
	Args   map[string]string `json:"args,omitempty"`
	// Evidence for the disposition: captured, reported, or explained.
	Evidence Evidence `json:"evidence"`
	// Counters of the kernel that rose where the packet died ("IpInAddrErrors" → 1).
	Counters map[string]uint64 `json:"counters,omitempty"`
}

// Hop is the part of a journey that happened in one node.
type Hop struct {
	Node  string `json:"node"`
	Steps []Step `json:"steps"`
}

// Step is one point the packet passed.
type Step struct {
	Point Point  `json:"point"`
	Dev   string `json:"dev,omitempty"` // rx, tx, bridge: the interface; route: the way out
	// Table and Chain name a netfilter chain; Rule is the number of the rule
	// that decided, from 1, or 0 when none matched. RuleText is that rule as
	// iptables-save prints it.
	Table    string  `json:"table,omitempty"`
	Chain    string  `json:"chain,omitempty"`
	Rule     int     `json:"rule,omitempty"`
	RuleText string  `json:"ruleText,omitempty"`
	Verdict  Verdict `json:"verdict,omitempty"`
	// At is the time since Trace.Start in nanoseconds. Only rx and tx carry a
	// kernel timestamp; elsewhere Timed is false.
	At    int64 `json:"at"`
	Timed bool  `json:"timed"`
	// Before and After are equal unless this step rewrote the packet.
	Before Header `json:"before"`
	After  Header `json:"after"`
	// Cause says what rewrote the packet: the rule, or the conntrack entry.
	Cause string `json:"cause,omitempty"`
	// Note says in a few English words what Code and Args say for translation;
	// a route's row of the table has no Code: it is the same in every language.
	Code     string            `json:"code,omitempty"`
	Args     map[string]string `json:"args,omitempty"`
	Note     string            `json:"note,omitempty"` // route: the row of the table, "default via 172.18.0.1"
	Evidence Evidence          `json:"evidence"`
}

// Point names where in a node a step happened.
type Point string

// The points of a journey, in the order of the kernel's path.
const (
	RX          Point = "rx"     // arrived on a device
	Bridge      Point = "bridge" // handed over by a bridge
	Prerouting  Point = "PREROUTING"
	RouteStep   Point = "route"
	Input       Point = "INPUT"
	Socket      Point = "socket"
	Output      Point = "OUTPUT"
	Forward     Point = "FORWARD"
	Postrouting Point = "POSTROUTING"
	Conntrack   Point = "conntrack" // a rewrite made by an existing connection's entry
	Tunnel      Point = "tunnel"    // a vxlan device put the packet into another, or took it out
	TX          Point = "tx"        // left by a device
)

// Verdict is what a chain or the routing decision did with the packet.
type Verdict string

// The verdicts.
const (
	Pass     Verdict = "pass" // nothing here decided; the packet goes on
	Accept   Verdict = "ACCEPT"
	Drop     Verdict = "DROP"
	Reject   Verdict = "REJECT"
	Return   Verdict = "RETURN"
	Jump     Verdict = "jump"
	Goto     Verdict = "goto"
	Policy   Verdict = "policy ACCEPT"
	PolicyNo Verdict = "policy DROP"
	Snat     Verdict = "SNAT"
	Dnat     Verdict = "DNAT"
	Masq     Verdict = "MASQUERADE"
	Redirect Verdict = "REDIRECT"
	Local    Verdict = "local"   // route: the packet is for this node
	Forwards Verdict = "forward" // route: the packet goes on by Step.Dev
	NoRoute  Verdict = "no route"
	Unknown  Verdict = "other" // a target without a name of its own here (LOG, MARK, …)
)

// Evidence says how we know.
type Evidence string

// Kinds of evidence, strongest first.
const (
	Captured  Evidence = "captured"  // a packet socket saw these bytes
	Reported  Evidence = "reported"  // netfilter's trace or conntrack's events said so
	Explained Evidence = "explained" // concluded from the state; nobody reported it
	Simulated Evidence = "simulated" // the model's prediction
)

// Disposition is how a journey ended.
type Disposition string

// The ways a journey can end.
const (
	Delivered     Disposition = "delivered"      // a socket, or the node's own stack, took it
	Dropped       Disposition = "dropped"        // by a rule or a policy
	Rejected      Disposition = "rejected"       // by a rule, and the sender was told
	ForwardingOff Disposition = "forwarding-off" // not for this node, and ip_forward is 0
	NoRouteTo     Disposition = "no-route"       // the table has no way to the destination
	NoWayBack     Disposition = "no-way-back"    // delivered, but the answer has no route
	Martian       Disposition = "martian"        // an address that may not appear here
	ReversePath   Disposition = "reverse-path"   // rp_filter
	NoNeighbour   Disposition = "no-neighbour"   // nobody answered the ARP request
	TTLExceeded   Disposition = "ttl-exceeded"
	TooBig        Disposition = "too-big"
	NoCarrier     Disposition = "no-carrier" // the way out is down
	Looped        Disposition = "looped"
	Fragmented    Disposition = "fragmented" // it went on in pieces, which have journeys of their own, and was whole nowhere again
	Unbridged     Disposition = "unbridged"  // a bridge or tunnel knew where to, and would not send it there
	Unclaimed     Disposition = "unclaimed"  // a broadcast or flooded frame nobody here wanted
	Vanished      Disposition = "vanished"   // seen last at its last step, and nothing explains it
)

// Header holds the fields of a packet that a lesson talks about. A zero value
// means the packet has no such field.
type Header struct {
	SrcMAC  string     `json:"srcMAC,omitempty"`
	DstMAC  string     `json:"dstMAC,omitempty"`
	Proto   string     `json:"proto"`        // arp, icmp, tcp, udp, or the protocol's number
	Src     netip.Addr `json:"src,omitzero"` // ARP: the sender's address
	Dst     netip.Addr `json:"dst,omitzero"` // ARP: the address asked for
	SrcPort uint16     `json:"sport,omitempty"`
	DstPort uint16     `json:"dport,omitempty"`
	TTL     uint8      `json:"ttl,omitempty"`
	ID      uint16     `json:"id,omitempty"`  // IP identification
	Len     int        `json:"len,omitempty"` // bytes of the IP packet

	// Of a fragment: where in the packet it belongs, and whether another comes
	// after it. Of what is inside, a fragment tells nothing.
	FragOffset    int  `json:"fragOffset,omitempty"` // bytes
	MoreFragments bool `json:"moreFragments,omitempty"`

	ICMPType uint8  `json:"icmpType,omitempty"`
	ICMPCode uint8  `json:"icmpCode,omitempty"`
	ICMPID   uint16 `json:"icmpID,omitempty"`
	ICMPSeq  uint16 `json:"icmpSeq,omitempty"`

	TCPFlags string `json:"tcpFlags,omitempty"` // "SYN", "SYN,ACK", …
	TCPSeq   uint32 `json:"tcpSeq,omitempty"`
	TCPAck   uint32 `json:"tcpAck,omitempty"`

	ARPOp  string `json:"arpOp,omitempty"`  // request, reply
	ARPMAC string `json:"arpMAC,omitempty"` // reply: the answer

	// Outer is the header of the packet that carries this one (VXLAN, RFC 7348).
	Outer *Header `json:"outer,omitempty"`
}

// Fragment reports whether the header is of a piece of a packet.
func (h Header) Fragment() bool { return h.MoreFragments || h.FragOffset > 0 }

// Rewritten reports whether the step changed what NAT can change: of a packet
// that travels inside another, of that one.
func (s *Step) Rewritten() bool {
	b, a := &s.Before, &s.After
	for b.Outer != nil && a.Outer != nil {
		b, a = b.Outer, a.Outer
	}
	return b.Src != a.Src || b.Dst != a.Dst || b.SrcPort != a.SrcPort || b.DstPort != a.DstPort
}

// First returns the header the journey began with.
func (t *Trace) First() Header { return t.Hops[0].Steps[0].Before }

// Last returns the header as it was last seen.
func (t *Trace) Last() Header {
	h := t.Hops[len(t.Hops)-1]
	return h.Steps[len(h.Steps)-1].After
}

var points = map[Point]bool{RX: true, Bridge: true, Prerouting: true, RouteStep: true, Input: true,
	Socket: true, Output: true, Forward: true, Postrouting: true, Conntrack: true, Tunnel: true, TX: true}

var dispositions = map[Disposition]bool{Delivered: true, Dropped: true, Rejected: true, ForwardingOff: true,
	NoRouteTo: true, NoWayBack: true, Martian: true, ReversePath: true, NoNeighbour: true, TTLExceeded: true,
	TooBig: true, NoCarrier: true, Looped: true, Fragmented: true, Unbridged: true, Unclaimed: true, Vanished: true}

// Validate reports what makes t no journey: an empty hop, an unknown point or
// disposition, a step that does not begin as the one before it ended.
func (t *Trace) Validate() error {
	if len(t.Hops) == 0 {
		return fmt.Errorf("trace %s: no hops", t.ID)
	}
	if !dispositions[t.Disposition] {
		return fmt.Errorf("trace %s: unknown disposition %q", t.ID, t.Disposition)
	}
	for i, h := range t.Hops {
		if h.Node == "" || len(h.Steps) == 0 {
			return fmt.Errorf("trace %s: hop %d is empty", t.ID, i)
		}
		for j, s := range h.Steps {
			if !points[s.Point] {
				return fmt.Errorf("trace %s: hop %d step %d: unknown point %q", t.ID, i, j, s.Point)
			}
			if s.Evidence == "" {
				return fmt.Errorf("trace %s: hop %d step %d: no evidence", t.ID, i, j)
			}
			if j > 0 {
				prev := h.Steps[j-1].After
				if prev.Src != s.Before.Src || prev.Dst != s.Before.Dst {
					return fmt.Errorf("trace %s: hop %d (%s) step %d (%s): begins with %s→%s, but the step before ended with %s→%s",
						t.ID, i, h.Node, j, s.Point, s.Before.Src, s.Before.Dst, prev.Src, prev.Dst)
				}
			}
		}
	}
	return nil
}
