package rule

// This file holds the matches: one type for each -m. The comment names what the
// kernel evaluates it with.

// Ports is a range of ports. AllPorts matches every one.
type Ports struct {
	Lo, Hi uint16
	Not    bool
}

// AllPorts is what a rule without --sport (--dport) has.
var AllPorts = Ports{0, 65535, false}

// Contains reports whether a match on p matches the port.
func (p Ports) Contains(port uint16) bool { return (port >= p.Lo && port <= p.Hi) != p.Not }

// TCP is -m tcp (tcp_mt, net/netfilter/xt_tcpudp.c). It never matches a later
// fragment.
type TCP struct {
	Src, Dst Ports
	// The packet's flags under FlagMask must be Flags (--tcp-flags; --syn is
	// FIN,SYN,RST,ACK SYN). FlagMask 0 with NotFlags unset asks nothing.
	FlagMask, Flags uint8
	NotFlags        bool
	Option          uint8 // the header must hold this option (--tcp-option); 0 asks nothing
	NotOption       bool
}

// TCP flags, as bits of the header's byte 13.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// Ports reports whether the ports of a segment match. iptables-nft makes one
// comparison of two excluded ports: "! --sport 1 ! --dport 2" excludes 1 to 2, no more.
func (m *TCP) Ports(src, dst uint16) bool { return matchPorts(m.Src, m.Dst, src, dst) }

// UDP is -m udp (udp_mt, net/netfilter/xt_tcpudp.c).
type UDP struct{ Src, Dst Ports }

// Ports reports whether the ports of a datagram match, as TCP.Ports does.
func (m *UDP) Ports(src, dst uint16) bool { return matchPorts(m.Src, m.Dst, src, dst) }

// AnyICMP is ICMP.Type for every type.
const AnyICMP = 255

// ICMP is -m icmp (icmp_match, net/ipv4/netfilter/ip_tables.c).
type ICMP struct {
	Type           uint8 // or AnyICMP
	CodeLo, CodeHi uint8
	Not            bool
}

// CTStates is a set of connection states.
type CTStates uint16

// What a packet is to conntrack; SNAT and DNAT are properties of its connection.
const (
	Invalid CTStates = 1 << iota
	New
	Established
	Related
	Untracked
	SNATed
	DNATed
)

// CTStatus is a set of properties of a connection (enum ip_conntrack_status,
// include/uapi/linux/netfilter/nf_conntrack_common.h).
type CTStatus uint16

// The properties --ctstatus can ask for.
const (
	Expected  CTStatus = 1 << 0
	SeenReply CTStatus = 1 << 1
	Assured   CTStatus = 1 << 2
	Confirmed CTStatus = 1 << 3
)

// CTDir is a direction of a connection.
type CTDir uint8

// Directions for --ctdir.
const (
	AnyDir CTDir = iota
	Original
	Reply
)

// Conntrack is -m conntrack (conntrack_mt, net/netfilter/xt_conntrack.c). A nil
// field asks nothing. A packet without a connection matches States only.
type Conntrack struct {
	States                             *CTStateSet
	Proto                              *CTProto
	OrigSrc, OrigDst, ReplSrc, ReplDst *Net
	OrigSrcPort, OrigDstPort           *Ports
	ReplSrcPort, ReplDstPort           *Ports
	Status                             *CTStatusSet
	Expire                             *Span // seconds left
	Dir                                CTDir
}

// CTStateSet matches packets whose state is one of States.
type CTStateSet struct {
	States CTStates
	Not    bool
}

// CTStatusSet matches connections that have one of the properties of Status; an
// empty Status (NONE) those that have none at all.
type CTStatusSet struct {
	Status CTStatus
	Not    bool
}

// CTProto matches connections of a protocol.
type CTProto struct {
	Proto uint8
	Not   bool
}

// State is -m state: conntrack's States under its old name.
type State struct{ CTStateSet }

// AddrTypes is a set of address types; bit n is the route type n (RTN_UNICAST
// and so on, include/uapi/linux/rtnetlink.h).
type AddrTypes uint16

// Address types.
const (
	Unspec AddrTypes = 1 << iota
	Unicast
	Local
	Broadcast
	Anycast
	Multicast
	Blackhole
	Unreachable
	Prohibit
	Throw
	NATType
	XResolve
)

// AddrType is -m addrtype (addrtype_mt_v1, net/netfilter/xt_addrtype.c): what
// the routing tables make of an address. An empty set asks nothing.
type AddrType struct {
	Src, Dst          AddrTypes
	NotSrc, NotDst    bool
	LimitIn, LimitOut bool // look at the incoming (outgoing) interface's routes only
}

// PortSide says which ports a multiport looks at.
type PortSide uint8

// Sides of a packet.
const (
	SrcPort    PortSide = iota + 1 // --sports
	DstPort                        // --dports
	EitherPort                     // --ports
)

// Multiport is -m multiport (multiport_mt, net/netfilter/xt_multiport.c): up to
// 15 ports, a range counting twice.
type Multiport struct {
	Side  PortSide
	Ports []Ports // Not is unset in each
	Not   bool
}

// MarkMatch is -m mark (mark_mt, net/netfilter/xt_mark.c).
type MarkMatch struct {
	Value, Mask uint32
	Not         bool
}

// ConnmarkMatch is -m connmark (connmark_mt, net/netfilter/xt_connmark.c). A
// packet without a connection never matches.
type ConnmarkMatch struct {
	Value, Mask uint32
	Not         bool
}

// MAC is -m mac --mac-source (mac_mt, net/netfilter/xt_mac.c): the Ethernet
// source of a received frame.
type MAC struct {
	Source [6]byte
	Not    bool
}

// Comment is -m comment. It matches everything.
type Comment struct{ Text string }

// Limit is -m limit (nft_limit_eval, net/netfilter/nft_limit.c): a bucket that
// holds Burst packets and is filled with Rate of them in every Unit.
type Limit struct {
	Rate  uint32
	Unit  uint32 // seconds: 1, 60, 3600 or 86400
	Burst uint32
}

// AddrSpan is a range of addresses in host order, both ends included.
type AddrSpan struct {
	Lo, Hi uint32
	Not    bool
}

// Contains reports whether a match on s matches the address.
func (s AddrSpan) Contains(a uint32) bool { return (a >= s.Lo && a <= s.Hi) != s.Not }

// IPRange is -m iprange (iprange_mt4, net/netfilter/xt_iprange.c). A nil field
// asks nothing.
type IPRange struct{ Src, Dst *AddrSpan }

// Physdev is -m physdev (physdev_mt, net/netfilter/xt_physdev.c): the bridge
// ports of a packet that a bridge handed to netfilter.
type Physdev struct {
	In, Out Iface
	IsIn    Ask // arrived through a bridge port
	IsOut   Ask // leaves through one
	Bridged Ask // goes from port to port, and is not routed
}

// Ask is a question that a rule may put, or put the other way round.
type Ask uint8

// Ways to ask.
const (
	NotAsked Ask = iota
	Yes
	No // with a "!"
)

// Owner is -m owner (owner_mt, net/netfilter/xt_owner.c): the socket that a
// packet came from. A nil field asks nothing.
type Owner struct {
	UID, GID    *Span
	Socket      Ask
	SupplGroups bool // GID may be one of the supplementary groups
}

// RPFilter is -m rpfilter (rpfilter_mt, net/ipv4/netfilter/ipt_rpfilter.c): a
// route back to the source leads out of the interface the packet came in by.
type RPFilter struct{ Loose, ValidMark, AcceptLocal, Invert bool }

// Nth is -m statistic --mode nth (statistic_mt, net/netfilter/xt_statistic.c).
// Every rule counts for itself, from Packet.
type Nth struct {
	Every  uint32 // ≥ 1
	Packet uint32 // < Every
	Not    bool
}

// PktType is -m pkttype (pkttype_mt, net/netfilter/xt_pkttype.c).
type PktType struct {
	Type PacketType
	Not  bool
}

// PacketType is what a frame's destination was to the receiver (PACKET_HOST and
// so on, include/uapi/linux/if_packet.h).
type PacketType uint8

// Packet types.
const (
	ToHost PacketType = iota
	ToBroadcast
	ToMulticast
	ToOther
)

// Length is -m length (length_mt, net/netfilter/xt_length.c): the bytes of the IP packet.
type Length struct{ Span }

// TTL is -m ttl (ttl_mt, net/netfilter/xt_hl.c).
type TTL struct {
	Op    TTLOp
	Value uint8
}

// TTLOp compares a packet's TTL with a rule's.
type TTLOp uint8

// Comparisons (IPT_TTL_EQ and so on, include/uapi/linux/netfilter_ipv4/ipt_ttl.h).
const (
	TTLEqual TTLOp = iota
	TTLNot
	TTLLess
	TTLGreater
)

// Name is what stands after -m.
func (*TCP) Name() string           { return "tcp" }
func (*UDP) Name() string           { return "udp" }
func (*ICMP) Name() string          { return "icmp" }
func (*Conntrack) Name() string     { return "conntrack" }
func (*State) Name() string         { return "state" }
func (*AddrType) Name() string      { return "addrtype" }
func (*Multiport) Name() string     { return "multiport" }
func (*MarkMatch) Name() string     { return "mark" }
func (*ConnmarkMatch) Name() string { return "connmark" }
func (*MAC) Name() string           { return "mac" }
func (*Comment) Name() string       { return "comment" }
func (*Limit) Name() string         { return "limit" }
func (*IPRange) Name() string       { return "iprange" }
func (*Physdev) Name() string       { return "physdev" }
func (*Owner) Name() string         { return "owner" }
func (*RPFilter) Name() string      { return "rpfilter" }
func (*Nth) Name() string           { return "statistic" }
func (*PktType) Name() string       { return "pkttype" }
func (*Length) Name() string        { return "length" }
func (*TTL) Name() string           { return "ttl" }
