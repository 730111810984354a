package capture

import (
	"fmt"
	"maps"
	"net/netip"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// flows knows which packets belong to one conversation, across NAT: a
// connection's two tuples, as conntrack reported them, lead to one flow.
type flows map[end]*flow

// end is a pair of addresses with ports, in the direction of the first packet.
type end struct {
	proto    string
	src, dst netip.AddrPort
}

type flow struct {
	id    string
	first end
	used  int64 // when a packet was last found to belong to it
}

// flowAge is after how many nanoseconds of silence the same addresses and
// ports are taken to be a new conversation.
const flowAge = int64(120e9)

func endOf(h trace.Header) end {
	sport, dport := h.SrcPort, h.DstPort
	if h.Proto == "icmp" {
		sport, dport = h.ICMPID, h.ICMPID
	}
	return end{h.Proto, netip.AddrPortFrom(h.Src, sport), netip.AddrPortFrom(h.Dst, dport)}
}

func (e end) reversed() end { return end{e.proto, e.dst, e.src} }

func tupleEnd(proto string, t state.Tuple) end {
	if proto == "icmp" {
		return end{proto, netip.AddrPortFrom(t.Src, t.SrcPort), netip.AddrPortFrom(t.Dst, t.SrcPort)}
	}
	return end{proto, netip.AddrPortFrom(t.Src, t.SrcPort), netip.AddrPortFrom(t.Dst, t.DstPort)}
}

// conn ties a connection's tuples together.
func (f flows) conn(c state.Conn) {
	orig, reply := tupleEnd(c.Proto, c.Orig), tupleEnd(c.Proto, c.Reply).reversed()
	if back := f[orig.reversed()]; c.Proto == "tcp" && f[orig] == nil && f[reply] == nil && back != nil {
		orig, reply = orig.reversed(), reply.reversed() // picked up in the middle (nf_conntrack_tcp_loose), from an answer
	}
	fl := f[orig]
	if fl == nil {
		fl = f[reply]
	}
	if fl == nil {
		fl = newFlow(orig)
	}
	f[orig], f[reply] = fl, fl
	f.forget()
}

func newFlow(e end) *flow {
	id := fmt.Sprintf("%s %s→%s", e.proto, e.src, e.dst)
	if e.proto == "icmp" || e.proto == "arp" {
		id = fmt.Sprintf("%s %s→%s #%d", e.proto, e.src.Addr(), e.dst.Addr(), e.src.Port())
	}
	return &flow{id: id, first: e}
}

// of returns the flow a header belongs to, and whether it goes back to whoever
// began it.
func (f flows) of(h trace.Header, at int64) (id string, reply bool) {
	e := endOf(h)
	if h.Proto == "arp" {
		if h.ARPOp == "reply" {
			return newFlow(e.reversed()).id, true
		}
		return newFlow(e).id, false
	}
	switch { // conntrack may know it from an answer on, where rules keep the question from it
	case h.Proto == "tcp" && h.TCPFlags == "SYN":
		f.turn(e)
	case h.Proto == "tcp" && h.TCPFlags == "SYN,ACK":
		f.turn(e.reversed())
	}
	if fl := f[e]; fl != nil && (fl.used == 0 || at-fl.used < flowAge) {
		fl.used = at
		return fl.id, h.Proto == "icmp" && h.ICMPType == 0 && !h.Fragment() && e == e.reversed() // a node that pings itself
	}
	if fl := f[e.reversed()]; fl != nil && (fl.used == 0 || at-fl.used < flowAge) {
		fl.used = at
		return fl.id, true
	}
	reply = h.Proto == "icmp" && h.ICMPType == 0 && !h.Fragment() // the question nobody saw
	if reply {
		e = e.reversed()
	}
	fl := newFlow(e)
	fl.used = at
	f[e] = fl
	f.forget()
	return fl.id, reply
}

// turn has a flow that is known the other way round begin as e does.
func (f flows) turn(e end) {
	fl := f[e.reversed()]
	if fl == nil || f[e] != nil {
		return
	}
	turned := newFlow(e)
	for k, other := range maps.Clone(f) {
		if other == fl {
			delete(f, k)
			f[k.reversed()] = turned
		}
	}
}

// knows reports whether a header is known to belong to a flow.
func (f flows) knows(h trace.Header) bool {
	e := endOf(h)
	return h.Proto == "arp" || f[e] != nil || f[e.reversed()] != nil
}

// forget keeps the map small: conversations are short, and a lab lives for hours.
func (f flows) forget() {
	if len(f) > 8192 {
		clear(f)
	}
}
