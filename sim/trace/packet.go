package trace

// Packet is one sighting of a packet by a packet socket: the raw material of
// traces, shown live.
type Packet struct {
	Seq     uint64 `json:"seq"` // counts the lab's sightings, from 1
	Node    string `json:"node"`
	Dev     string `json:"dev"`
	Out     bool   `json:"out"` // it was leaving by Dev; otherwise it arrived
	At      int64  `json:"at"`  // kernel timestamp, nanoseconds since 1970
	Header  Header `json:"header"`
	Summary string `json:"summary"`
	Payload string `json:"payload,omitempty"` // first bytes of TCP or UDP data that are printable text
	Trace   string `json:"trace,omitempty"`   // the journey it was found to belong to
}

// Codes of Trace.Code: why a journey ended as it did. The page translates
// them; Args holds the named blanks.
const (
	CodeDelivered       = "delivered"        // node
	CodeRefused         = "refused"          // node, port: delivered, but nobody listens there
	CodeRuleDrop        = "rule-drop"        // node, table, chain, rule, text
	CodeRuleReject      = "rule-reject"      // node, table, chain, rule, text
	CodePolicyDrop      = "policy-drop"      // node, table, chain
	CodeForwardingOff   = "forwarding-off"   // node, dst
	CodeNoRoute         = "no-route"         // node, dst
	CodeNoWayBack       = "no-way-back"      // node, dst
	CodeMartianSource   = "martian-source"   // node, src, dev
	CodeMartianDest     = "martian-dest"     // node, dst, dev
	CodeLoopbackReroute = "loopback-reroute" // node, src, dev: rewritten in OUTPUT, but 127/8 may not leave lo
	CodeReversePath     = "reverse-path"     // node, src, dev
	CodeNoNeighbour     = "no-neighbour"     // node, ip, dev
	CodeTTLExceeded     = "ttl-exceeded"     // node
	CodeTooBig          = "too-big"          // node, dev, mtu
	CodeNoCarrier       = "no-carrier"       // node, dev
	CodeUnclaimed       = "unclaimed"        // node
	CodeLooped          = "looped"           // node
	CodeVanished        = "vanished"         // node, point
	CodeHairpin         = "hairpin"          // node, dev: the port it came in by
	CodeIsolated        = "isolated"         // node, dev: the port it would have left by
	CodePortState       = "port-state"       // node, dev
	CodeNoTunnel        = "no-tunnel"        // node, dev
	CodeBlackhole       = "blackhole"        // node, dst
	CodeUnreachable     = "unreachable"      // node, dst
	CodeProhibit        = "prohibit"         // node, dst
	CodeReassembly      = "reassembly"       // node
	CodeReassembled     = "reassembled"      // node
	CodeFragmented      = "fragmented"       // node
)

// Codes of Step.Code that are not a journey's end.
const (
	CodeEcho    = "icmp-echo" // the kernel answers an echo request by itself
	CodeListens = "listens"   // port: somebody listens there
)
