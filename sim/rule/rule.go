// Package rule is what one iptables rule says: the words of a command become a
// Rule, and a Rule prints itself as iptables-save would.
//
//	-s 172.17.0.0/16 ! -o docker0 -p tcp -m tcp --dport 80 -j MASQUERADE
//	└──────── Src ─┘ └──── Out ─┘ └Proto┘└──── Matches ──┘ └── Target ─┘
//	      words ──Parse──▶ Rule ──String──▶ the words iptables-save prints
//	                │
//	                └─▶ *Error: the sentence and the exit status of iptables 1.8.9
//
// A packet matches a rule when Src, Dst, In, Out, Proto and Fragment match and
// every one of Matches does; then Target says what becomes of it. The values are
// plain numbers, ready to be compared; package sim does the comparing.
//
// Match and Target are closed sets. What iptables knows and this package does
// not is refused by name, never guessed: see Error and NotSimulated.
//
// Files: rule.go, match.go and target.go hold the types; parse.go, parse_match.go
// and parse_target.go read words; print.go writes them; command.go reads a whole
// command line of iptables; where.go says where a target may stand.
package rule

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// Rule is one rule of a chain. The zero Rule matches every packet and does nothing.
type Rule struct {
	Src, Dst Net
	In, Out  Iface
	Proto    uint8 // IP protocol number; 0 is any
	NotProto bool
	Fragment Fragment
	Matches  []Match
	Target   Target // nil: the rule only counts
}

// Net is an IPv4 address under a mask. The mask need not be a prefix:
// 10.0.0.1/255.0.0.255 is a net, too. The zero Net is every address.
type Net struct {
	Addr, Mask uint32 // in host order: 10.0.0.1 is 0x0a000001
	Not        bool
}

// NetOf makes the Net of a prefix.
func NetOf(p netip.Prefix) Net {
	mask := uint32(uint64(0xffffffff) << (32 - p.Bits()))
	return Net{Addr: Uint32(p.Addr()) & mask, Mask: mask}
}

// Uint32 is an IPv4 address as a number in host order; any other address is 0.
func Uint32(a netip.Addr) uint32 {
	if !a.Is4() {
		return 0
	}
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// Addr is the address that Uint32 made a number of.
func Addr(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// Any reports whether n matches every address.
func (n Net) Any() bool { return n.Mask == 0 && !n.Not }

// Contains reports whether a rule with n matches the address.
func (n Net) Contains(a uint32) bool { return ((a^n.Addr)&n.Mask == 0) != n.Not }

// Iface is an interface's name as a rule gives it: "eth0", or "br-+" for every
// name that begins with "br-". The zero Iface is every interface, and none.
type Iface struct {
	Name string
	Not  bool
}

// Any reports whether i matches whatever the interface is.
func (i Iface) Any() bool { return i == Iface{} }

// Contains reports whether a rule with i matches a packet on the interface of
// that name, or on none ("": what INPUT has for an outgoing interface).
func (i Iface) Contains(name string) bool {
	if i.Name == "" {
		return !i.Not
	}
	if prefix, ok := strings.CutSuffix(i.Name, "+"); ok {
		return strings.HasPrefix(name, prefix) != i.Not
	}
	return (name == i.Name) != i.Not
}

// Fragment is what -f asks for.
type Fragment uint8

// Kinds of packets that -f tells apart.
const (
	AnyFragment   Fragment = iota
	LaterFragment          // -f: second and further fragments
	NotFragment            // ! -f: first fragments and whole packets
)

// Match is what one -m adds to a rule. The set is closed.
type Match interface {
	Name() string // as after -m
	print(*words)
}

// Target is what follows -j or -g. The set is closed.
type Target interface {
	Name() string // as after -j
	print(*words)
}

// Span is a range of numbers, both ends included.
type Span struct {
	Lo, Hi uint32
	Not    bool
}

// Contains reports whether a match on s matches n.
func (s Span) Contains(n uint32) bool { return (n >= s.Lo && n <= s.Hi) != s.Not }
