package rule

// This file holds the targets: one type for each -j. The comment names what the
// kernel carries it out with.

// Verdict is a target that ends the chain and needs no module.
type Verdict uint8

// Verdicts.
const (
	Accept Verdict = iota + 1
	Drop
	Return // back to the chain that called; in a built-in chain, its policy
	Queue  // iptables has it, no kernel of today takes it
)

// Jump is -j CHAIN, or -g CHAIN: a RETURN there goes on after the last -j.
type Jump struct {
	Chain string
	Goto  bool
}

// Reject is -j REJECT (reject_tg, net/ipv4/netfilter/ipt_REJECT.c): drop, and
// tell the sender. It may stand in INPUT, FORWARD and OUTPUT of table filter.
type Reject struct{ With RejectWith }

// RejectWith is what a REJECT sends (enum ipt_reject_with,
// include/uapi/linux/netfilter_ipv4/ipt_REJECT.h).
type RejectWith uint8

// What a REJECT can send. All but TCPReset are ICMP destination unreachable.
const (
	NetUnreachable  RejectWith = iota // code 0
	HostUnreachable                   // code 1
	ProtUnreachable                   // code 2
	PortUnreachable                   // code 3, the default
	NetProhibited                     // code 9
	HostProhibited                    // code 10
	TCPReset                          // needs -p tcp
	AdminProhibited                   // code 13
)

// Log is -j LOG (log_tg, net/netfilter/xt_LOG.c). The packet goes on.
type Log struct {
	Prefix string
	Level  uint8 // as in syslog(2): 4 is warning
	Flags  LogFlags
}

// LogFlags is a set of things a LOG writes besides.
type LogFlags uint8

// Things to write (NF_LOG_*, include/uapi/linux/netfilter/nf_log.h).
const (
	LogTCPSequence LogFlags = 1 << iota
	LogTCPOptions
	LogIPOptions
	LogUID
	_
	LogMACDecode
)

// Mark is -j MARK (mark_tg, net/netfilter/xt_mark.c):
// mark = mark &^ Mask ^ Value. The packet goes on.
type Mark struct{ Value, Mask uint32 }

// ConnmarkOp is what a CONNMARK does.
type ConnmarkOp uint8

// Operations of CONNMARK.
const (
	SetConnmark     ConnmarkOp = iota // connmark = connmark &^ CTMask ^ Value
	SaveConnmark                      // connmark = connmark &^ CTMask ^ mark & NFMask
	RestoreConnmark                   // mark = mark &^ NFMask ^ connmark & CTMask
)

// Connmark is -j CONNMARK (connmark_tg, net/netfilter/xt_connmark.c). The packet
// goes on. A packet without a connection is left alone.
type Connmark struct {
	Op             ConnmarkOp
	Value          uint32
	CTMask, NFMask uint32
}

// NATRange is what an address or a port may become (struct nf_nat_range2,
// include/uapi/linux/netfilter/nf_nat.h).
type NATRange struct {
	HasAddr          bool
	MinAddr, MaxAddr uint32 // in host order
	HasPort          bool
	MinPort, MaxPort uint16
	// HasBase: port n becomes MinPort + (n - BasePort) (DNAT's /BASE).
	HasBase  bool
	BasePort uint16
	// Random and RandomFully choose the port at random; Persistent gives a
	// client the same address each time.
	Random, RandomFully, Persistent bool
}

// SNAT is -j SNAT (xt_snat_target_v2, net/netfilter/xt_nat.c): nat INPUT and POSTROUTING.
type SNAT struct{ NATRange }

// DNAT is -j DNAT (xt_dnat_target_v2, net/netfilter/xt_nat.c): nat PREROUTING and OUTPUT.
type DNAT struct{ NATRange }

// Masquerade is -j MASQUERADE (nf_nat_masquerade_ipv4,
// net/netfilter/nf_nat_masquerade.c): nat POSTROUTING. It has no address.
type Masquerade struct{ NATRange }

// Redirect is -j REDIRECT (nf_nat_redirect_ipv4, net/netfilter/nf_nat_redirect.c):
// nat PREROUTING and OUTPUT. It has no address.
type Redirect struct{ NATRange }

// Netmap is -j NETMAP (netmap_tg4, net/netfilter/xt_NETMAP.c): the net's bits
// are replaced, the host's stay. The destination in nat PREROUTING and OUTPUT,
// the source in INPUT and POSTROUTING.
type Netmap struct{ To Net }

// CT is -j CT (xt_ct_target_v1, net/netfilter/xt_CT.c) in table raw.
type CT struct {
	Notrack bool
}

// Notrack is -j NOTRACK, the old name of CT --notrack.
type Notrack struct{}

// Trace is -j TRACE (trace_tg, net/netfilter/xt_TRACE.c) in table raw.
type Trace struct{}

// Name is what stands after -j (or -g).
func (v Verdict) Name() string {
	switch v {
	case Accept:
		return "ACCEPT"
	case Drop:
		return "DROP"
	case Return:
		return "RETURN"
	case Queue:
		return "QUEUE"
	}
	return ""
}
func (t *Jump) Name() string     { return t.Chain }
func (*Reject) Name() string     { return "REJECT" }
func (*Log) Name() string        { return "LOG" }
func (*Mark) Name() string       { return "MARK" }
func (*Connmark) Name() string   { return "CONNMARK" }
func (*SNAT) Name() string       { return "SNAT" }
func (*DNAT) Name() string       { return "DNAT" }
func (*Masquerade) Name() string { return "MASQUERADE" }
func (*Redirect) Name() string   { return "REDIRECT" }
func (*Netmap) Name() string     { return "NETMAP" }
func (*CT) Name() string         { return "CT" }
func (*Notrack) Name() string    { return "NOTRACK" }
func (*Trace) Name() string      { return "TRACE" }
