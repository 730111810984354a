// Package capture watches a network namespace and turns what it sees into
// journeys (trace.Trace).
//
//	packet socket ── Sighting ──┐
//	nft trace ────── Hook ──────┼─▶ Assembler ─▶ trace.Trace
//	conntrack ────── Conn ──────┘
//
// One packet socket per node sees every frame on every interface, with its
// direction and the kernel's timestamp (packet(7)). Which rule a packet hit is
// the kernel's own word: a table of ours sets nftrace on it, and nf_tables, or
// the legacy x_tables through nfnetlink_log, then report each chain it passes.
// What a rewrite was made by comes from conntrack's events. Nothing is inferred
// from what an author wrote.
package capture

import (
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// traceRate bounds how many packets a second are traced in a node: a trace
// costs some ten messages. Beyond it packets are captured, but their hooks are
// not reported.
const traceRate = 500

// Sighting is a frame that a packet socket saw.
type Sighting struct {
	Seq     uint64 // order among all sightings of the lab
	Node    string
	Dev     string
	Out     bool
	Other   bool  // the frame was for another machine (PACKET_OTHERHOST)
	At      int64 // kernel timestamp, nanoseconds since 1970
	Header  trace.Header
	Key     Key
	Payload []byte
	Carried *Carried // what is inside, if that may be a frame
}

// Hook is something netfilter reported of a packet.
type Hook struct {
	Node     string
	ID       uint32 // nft's trace id; 0 in the legacy form
	Edge     Edge   // set when this came from the table of ours
	Point    trace.Point
	Table    string // iptables' name of the table: nat, filter, …
	Chain    string
	Rule     int // from 1; 0 is the policy
	RuleText string
	Verdict  trace.Verdict
	Target   string // jump, goto: the chain
	Iif, Oif string
	Header   trace.Header
	Key      Key
	HasKey   bool // Header and Key are set; otherwise they are the last ones of the same ID
}

// Edge says that a Hook is the first or the last thing that happens at a hook.
type Edge uint8

// The edges.
const (
	NoEdge Edge = iota
	First
	Last
)

// ConnEvent is a change in a node's conntrack table.
type ConnEvent struct {
	Node string
	Kind string // new, update, destroy
	Conn state.Conn
}
