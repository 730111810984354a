package lessons

import (
	"net/netip"
	"slices"
	"strings"

	"vethlab/sim/trace"
)

// This file says what can be wrong with a check or a selector as it is written.

func (c *NetnsCheck) wrong(w *wrongs) { w.need("name", c.Name) }

func (c *LinkCheck) wrong(w *wrongs) {
	w.need("node", c.Node, "name", c.Name)
	w.nodeLink("peer", c.Peer, false)
}

func (c *AddrCheck) wrong(w *wrongs) {
	w.need("node", c.Node, "dev", c.Dev)
	if _, err := netip.ParsePrefix(c.Prefix); err != nil {
		w.at("prefix", "expected prefix: an address with its prefix length, as 172.18.0.1/16")
	}
}

func (c *RouteCheck) wrong(w *wrongs) {
	w.need("node", c.Node)
	if _, err := routeDst(c.Dst); err != nil {
		w.at("dst", "expected dst: a prefix, or default")
	}
	w.addr("via", c.Via)
}

func (c *SysctlCheck) wrong(w *wrongs) { w.need("node", c.Node, "key", c.Key, "value", c.Value) }

func (c *PolicyCheck) wrong(w *wrongs) {
	w.need("node", c.Node, "chain", c.Chain)
	w.table(c.Table)
	if c.Is != "ACCEPT" && c.Is != "DROP" {
		w.at("is", "expected is: ACCEPT or DROP")
	}
}

func (c *RuleCheck) wrong(w *wrongs) {
	w.need("node", c.Node, "chain", c.Chain, "spec", c.Spec)
	w.table(c.Table)
}

func (c *NeighCheck) wrong(w *wrongs) {
	w.need("node", c.Node, "ip", c.IP)
	w.addr("ip", c.IP)
	w.nodeLink("mac-of", c.MACOf, true)
}

func (c *FDBCheck) wrong(w *wrongs) {
	w.need("node", c.Node, "dev", c.Dev)
	w.nodeLink("mac-of", c.MACOf, true)
}

func (c *ListenerCheck) wrong(w *wrongs) {
	w.need("node", c.Node, "port", port(c.Port))
	w.oneOf("proto", c.Proto, "tcp", "udp")
}

func (c *ConnCheck) wrong(w *wrongs) {
	w.need("node", c.Node, "proto", c.Proto)
	w.oneOf("proto", c.Proto, "icmp", "tcp", "udp")
	w.addr("src", c.Src)
	w.addr("dst", c.Dst)
	w.addr("reply-src", c.ReplySrc)
	w.addr("reply-dst", c.ReplyDst)
}

func (c *CommandCheck) wrong(w *wrongs) {
	w.need("node", c.Node, "text", c.Text)
	if c.Status == nil && c.Failed == nil && c.Prints == "" {
		w.at("", "expected status, failed or prints")
	}
}

func (c *PacketCheck) wrong(w *wrongs) {
	c.PacketSelector.wrong(w)
	if c.Ends == "" && c.EndsAt == "" && c.Code == "" && len(c.Passes)+len(c.Avoids) == 0 {
		w.at("", "expected ends, ends-at, code, passes or avoids")
	}
	if c.Ends != "" && !slices.Contains(dispositions, trace.Disposition(c.Ends)) {
		w.at("ends", "expected ends: one of %s", joined(dispositions))
	}
	if c.Code != "" && !slices.Contains(codes, c.Code) {
		w.at("code", "expected code: one of %s", joined(codes))
	}
	for i := range c.Passes {
		c.Passes[i].wrong(w.under("passes").item(i))
	}
	for i := range c.Avoids {
		c.Avoids[i].wrong(w.under("avoids").item(i))
	}
}

func (p *PacketSelector) wrong(w *wrongs) {
	if *p == (PacketSelector{}) {
		w.at("", "expected something to know the packet by: sent-by, is, proto, src, dst, dport, reply, command")
	}
	w.addr("src", p.Src)
	w.addr("dst", p.Dst)
	w.oneOf("proto", p.Proto, "arp", "icmp", "tcp", "udp")
}

func (p *Place) wrong(w *wrongs) {
	if *p == (Place{}) {
		w.at("", "expected something to know the place by: node, point, table, …")
	}
	if p.Point != "" && !slices.Contains(points, trace.Point(p.Point)) {
		w.at("point", "expected point: one of %s", joined(points))
	}
	if p.Verdict != "" && !slices.Contains(verdicts, trace.Verdict(p.Verdict)) {
		w.at("verdict", "expected verdict: one of %s", joined(verdicts))
	}
	w.table(p.Table)
	w.oneOf("rewrite", p.Rewrite, "src", "dst", "sport", "dport")
	w.addr("src", p.Src)
	w.addr("dst", p.Dst)
}

func (s *Selector) wrong(w *wrongs) {
	kind := s.kind()
	if kind == "" {
		w.at("", "expected one of packet, rule, link and command")
		return
	}
	if !slices.Contains(selectorFields[kind], s.Field) {
		w.at("field", "expected field: one of %s (of a %s)", strings.Join(selectorFields[kind], ", "), kind)
	}
	if s.Packet != nil {
		s.Packet.wrong(w.under("packet"))
	}
	if s.At != nil {
		s.At.wrong(w.under("at"))
	}
	if s.Rule != nil {
		s.Rule.wrong(w.under("rule"))
	}
	if s.Link != nil {
		s.Link.wrong(w.under("link"))
	}
	if s.Command != nil {
		w.under("command").need("node", s.Command.Node, "text", s.Command.Text)
	}
}

func (w *wrongs) addr(key, value string) {
	if _, err := netip.ParseAddr(value); value != "" && err != nil {
		w.at(key, "expected %s: an address", key)
	}
}

func (w *wrongs) nodeLink(key, value string, needed bool) {
	node, link, _ := strings.Cut(value, "/")
	if (value != "" || needed) && (node == "" || link == "") {
		w.at(key, "expected %s: NODE/LINK", key)
	}
}

func (w *wrongs) table(value string) { w.oneOf("table", value, "raw", "mangle", "nat", "filter") }

func (w *wrongs) oneOf(key, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		w.at(key, "expected %s: one of %s", key, strings.Join(allowed, ", "))
	}
}

func joined[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}

var points = []trace.Point{trace.RX, trace.Bridge, trace.Prerouting, trace.RouteStep, trace.Input, trace.Socket,
	trace.Output, trace.Forward, trace.Postrouting, trace.Conntrack, trace.TX}

var verdicts = []trace.Verdict{trace.Pass, trace.Accept, trace.Drop, trace.Reject, trace.Return, trace.Jump, trace.Goto,
	trace.Policy, trace.PolicyNo, trace.Snat, trace.Dnat, trace.Masq, trace.Redirect, trace.Local, trace.Forwards,
	trace.NoRoute, trace.Unknown}

var dispositions = []trace.Disposition{trace.Delivered, trace.Dropped, trace.Rejected, trace.ForwardingOff,
	trace.NoRouteTo, trace.NoWayBack, trace.Martian, trace.ReversePath, trace.NoNeighbour, trace.TTLExceeded,
	trace.TooBig, trace.NoCarrier, trace.Looped, trace.Fragmented, trace.Unclaimed, trace.Vanished}

var codes = []string{trace.CodeDelivered, trace.CodeRefused, trace.CodeRuleDrop, trace.CodeRuleReject,
	trace.CodePolicyDrop, trace.CodeForwardingOff, trace.CodeNoRoute, trace.CodeNoWayBack, trace.CodeMartianSource,
	trace.CodeMartianDest, trace.CodeLoopbackReroute, trace.CodeReversePath, trace.CodeNoNeighbour,
	trace.CodeTTLExceeded, trace.CodeTooBig, trace.CodeNoCarrier, trace.CodeUnclaimed, trace.CodeVanished}
