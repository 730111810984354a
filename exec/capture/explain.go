package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// end finds out how a journey ended. What netfilter or a capture says comes
// first; where the kernel says nothing (it drops in silence between two hooks)
// the node's state explains it, and the trace says that it is an explanation.
func (b *builder) end(t *trace.Trace, last *pass) {
	b.dispose(t, last)
	if t.Evidence == trace.Explained && t.Disposition != trace.Delivered {
		t.Counters = b.view.Counters(t.Node)
	}
}

func (b *builder) dispose(t *trace.Trace, last *pass) {
	node := last.node
	n := b.view.Node(node)
	b.frame = last.frame
	h := last.left
	t.Node = node
	set := ends(t)

	if d := last.died; d != nil {
		place := []string{"table", d.Table, "chain", d.Chain, "rule", strconv.Itoa(d.Rule), "text", d.RuleText}
		switch d.Verdict {
		case trace.Drop:
			set(trace.Dropped, trace.Reported, trace.CodeRuleDrop, place...)
			return
		case trace.PolicyNo:
			set(trace.Dropped, trace.Reported, trace.CodePolicyDrop, place...)
			return
		case trace.Reject:
			set(trace.Rejected, trace.Reported, trace.CodeRuleReject, place...)
			return
		}
	}

	var input, postrouting, output bool // the hooks that the packet left again
	for _, k := range last.hooks {
		if k.Edge == Last {
			input = input || k.Point == trace.Input
			postrouting = postrouting || k.Point == trace.Postrouting
		}
		output = output || k.Point == trace.Output
	}
	if s := last.unwrapped(b.view); s != nil && !last.wanted(b.view) {
		b.notWrapped(t, n, s, set)
		return
	}
	if !input && !postrouting && !output && !(h.Fragment() && last.kept()) && b.endSwitched(n, last, set) {
		return
	}
	if h.Proto == "arp" {
		b.endARP(t, last, n, h, set)
		return
	}
	switch {
	case h.Fragment() && b.endPiece(t, last, n, h, set):
	case input && last.frame != nil && n != nil:
		b.notUnwrapped(t, n, last, h, set)
	case input && last.taken: // a broadcast's copy: told in its place
		set(trace.Delivered, trace.Reported, trace.CodeDelivered)
	case input:
		b.delivered(t, n, h, set)
	case n == nil:
		set(trace.Vanished, trace.Explained, trace.CodeVanished, "point", lastPoint(t))
	case len(last.tx) > 0:
		dev := last.tx[len(last.tx)-1].Dev
		if l := n.Link(dev); l != nil && (!l.Up || !l.Carrier) {
			set(trace.NoCarrier, trace.Explained, trace.CodeNoCarrier, "dev", dev)
			return
		}
		if code, _ := last.unbridged(n); code == trace.CodeTooBig {
			b.endSwitched(n, last, set)
			return
		}
		if far, ok := b.farEnd(n, dev); ok && tooLarge(h, far) {
			t.Node = n.Link(dev).PeerNode
			set(trace.TooBig, trace.Explained, trace.CodeTooBig, "dev", far.Name, "mtu", strconv.Itoa(far.MTU))
			return
		}
		set(trace.Vanished, trace.Captured, trace.CodeVanished, "point", lastPoint(t))
	case postrouting && last.wentOnInPieces(h):
		set(trace.Fragmented, trace.Captured, trace.CodeFragmented)
	case postrouting:
		if code, _ := last.unbridged(n); code == trace.CodeTooBig {
			b.endSwitched(n, last, set)
			return
		}
		dev := outDev(last)
		if l := n.Link(dev); l != nil && (!l.Up || !l.Carrier) {
			set(trace.NoCarrier, trace.Explained, trace.CodeNoCarrier, "dev", dev)
			return
		}
		if ip, ok := unanswered(n, dev, h, last.in()); ok {
			set(trace.NoNeighbour, trace.Explained, trace.CodeNoNeighbour, "ip", ip.String(), "dev", dev)
			return
		}
		set(trace.Vanished, trace.Explained, trace.CodeVanished, "point", lastPoint(t))
	case output:
		b.diedInOutput(t, n, h, set)
	case len(last.rx) > 0 && last.rx[len(last.rx)-1].Other && !last.translated():
		set(trace.Unclaimed, trace.Captured, trace.CodeUnclaimed)
	case len(last.hooks) == 0 && len(last.rx) > 0 && n.LocalAddr(h.Dst):
		// Beyond the trace's rate: arrived where it wanted to go.
		set(trace.Delivered, trace.Captured, trace.CodeDelivered)
	default:
		b.diedInRouting(t, n, last, h, set)
	}
}

// farEnd returns the link at the other end of a veth's wire.
func (b *builder) farEnd(n *state.Node, dev string) (*state.Link, bool) {
	l := n.Link(dev)
	if l == nil || l.PeerName == "" {
		return nil, false
	}
	far := b.view.Node(l.PeerNode)
	if far == nil {
		return nil, false
	}
	end := far.Link(l.PeerName)
	return end, end != nil
}

// unanswered returns the neighbour that a packet which left by dev was to be
// handed to, if it does not answer: by the routes, or by whatever else the
// node was told.
func unanswered(n *state.Node, dev string, h trace.Header, iif string) (netip.Addr, bool) {
	var silent []netip.Addr
	for _, nb := range n.Neighs {
		if nb.Dev == dev && (nb.State == "INCOMPLETE" || nb.State == "FAILED") {
			silent = append(silent, nb.IP)
		}
	}
	if r := n.Route(state.Query{Dst: h.Dst, Src: h.Src, Iif: iif}); r != nil && r.Dev == dev {
		next := h.Dst
		if via, err := netip.ParseAddr(r.Via); err == nil {
			next = via
		}
		if slices.Contains(silent, next) {
			return next, true
		}
	}
	i := slices.IndexFunc(silent, func(ip netip.Addr) bool { return nextHop(n, dev, h.Dst, ip) })
	if i < 0 {
		return netip.Addr{}, false
	}
	return silent[i], true
}

// nextHop reports whether a packet to dst may have been handed to ip: dst itself,
// or the gateway of a route to it.
func nextHop(n *state.Node, dev string, dst, ip netip.Addr) bool {
	return ip == dst || slices.ContainsFunc(n.Routes, func(r state.Route) bool {
		return r.Dev == dev && r.Dst.Contains(dst) && r.Via == ip.String()
	})
}

// ephemeral is the first port of net.ipv4.ip_local_port_range: from here on a
// UDP packet may be an answer to a socket that listed itself nowhere.
const ephemeral = 32768

// refuse corrects the end of a UDP packet that came to a port nobody has, once
// it is known to be no answer (a first packet of traceroute's, say).
func refuse(t *trace.Trace, v View) {
	h, n := t.Last(), v.Node(t.Node)
	if t.Code != trace.CodeDelivered || h.Proto != "udp" || h.DstPort < ephemeral || h.Outer != nil || n == nil || listens(n, h) {
		return
	}
	b := builder{view: v, start: t.Start, hops: t.Hops, asked: true}
	b.delivered(t, n, h, ends(t))
}

type setter func(d trace.Disposition, e trace.Evidence, code string, args ...string)

// ends returns what notes in a trace how it ended, at its node.
func ends(t *trace.Trace) setter {
	return func(d trace.Disposition, e trace.Evidence, code string, args ...string) {
		t.Disposition, t.Evidence, t.Code = d, e, code
		t.Args = map[string]string{"node": t.Node}
		for i := 0; i+1 < len(args); i += 2 {
			t.Args[args[i]] = args[i+1]
		}
		t.Reason = trace.Reason(code, t.Args)
	}
}

// delivered says what became of a packet that passed INPUT.
func (b *builder) delivered(t *trace.Trace, n *state.Node, h trace.Header, set setter) {
	set(trace.Delivered, trace.Reported, trace.CodeDelivered)
	if n == nil {
		return
	}
	s := b.socket(n, h)
	if s.Code == trace.CodeRefused {
		set(trace.Delivered, trace.Explained, trace.CodeRefused, "port", s.Args["port"])
	}
	b.append(t, s)
	if s.Code != "" {
		b.wayBack(t, n, h, set)
	}
}

// socket says who took a packet that passed INPUT, and with its Code that it is answered.
func (b *builder) socket(n *state.Node, h trace.Header) trace.Step {
	opens := h.Proto == "tcp" && h.TCPFlags == "SYN"
	port := map[string]string{"port": strconv.Itoa(int(h.DstPort))}
	s := trace.Step{Point: trace.Socket, Before: h, After: h, Evidence: trace.Explained}
	switch {
	case h.Proto == "icmp" && h.ICMPType == 8:
		if n.Sysctls["net.ipv4.icmp_echo_ignore_all"] != "1" && (!toAll(n, h.Dst) || n.Sysctls["net.ipv4.icmp_echo_ignore_broadcasts"] == "0") {
			s.Code, s.Note = trace.CodeEcho, "the kernel answers (icmp_echo)"
		}
	case h.Proto != "icmp" && toAll(n, h.Dst): // nobody is refused what is for everybody
	case h.Proto == "udp" && (h.DstPort < ephemeral || b.asked) && !listens(n, h):
		// The sender is told: ICMP port unreachable (__udp4_lib_rcv, net/ipv4/udp.c).
		s.Code, s.Args, s.Note = trace.CodeRefused, port, fmt.Sprintf("nobody listens on udp/%d", h.DstPort)
	case opens && listens(n, h):
		s.Code, s.Args, s.Note = trace.CodeListens, port, fmt.Sprintf("tcp/%d has a listener", h.DstPort)
	case opens:
		s.Code, s.Args, s.Note = trace.CodeRefused, port, fmt.Sprintf("nobody listens on tcp/%d", h.DstPort)
	}
	return s
}

// wayBack explains that a packet was for the node and its answer has nowhere to go.
func (b *builder) wayBack(t *trace.Trace, n *state.Node, h trace.Header, set setter) {
	if n.LocalAddr(h.Src) {
		return
	}
	r := n.Route(state.Query{Dst: h.Src, Src: h.Dst})
	if r == nil || r.Type != "unicast" || h.Dst.IsLoopback() && r.Dev != "lo" && !routesLocalnet(n, r.Dev) { // __mkroute_output
		set(trace.NoWayBack, trace.Explained, trace.CodeNoWayBack, "dst", h.Src.String())
		b.append(t, trace.Step{Point: trace.RouteStep, Verdict: trace.NoRoute, Before: h, After: h, Evidence: trace.Explained,
			Code: trace.CodeNoWayBack, Args: map[string]string{"dst": h.Src.String()}, Note: "the answer has no route to " + h.Src.String()})
	}
}

// routesLocalnet reports whether addresses of 127/8 may come and go by a link
// (IN_DEV_NET_ROUTE_LOCALNET, include/linux/inetdevice.h).
func routesLocalnet(n *state.Node, dev string) bool {
	return n.Sysctls["net.ipv4.conf.all.route_localnet"] == "1" || n.Sysctls["net.ipv4.conf."+dev+".route_localnet"] == "1"
}

// everybody is the address of all who share a link.
var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// toAll reports whether an address is for everybody: a network's last one.
func toAll(n *state.Node, ip netip.Addr) bool {
	return ip == everybody || ip.IsMulticast() || slices.ContainsFunc(n.Links, func(l state.Link) bool {
		return slices.ContainsFunc(l.Addrs, func(a state.Addr) bool {
			return a.Broadcast == ip.String() || a.Prefix.Bits() < 31 && last(a.Prefix) == ip
		})
	})
}

// last returns a network's last address.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|uint32(1<<(32-p.Bits())-1))
	return netip.AddrFrom4(b)
}

// listens reports whether somebody in a node has the port that a packet is for.
func listens(n *state.Node, h trace.Header) bool {
	return slices.ContainsFunc(n.Listeners, func(l state.Listener) bool {
		return l.Proto == h.Proto && l.Port == h.DstPort && (l.Addr.IsUnspecified() || l.Addr == h.Dst)
	})
}

func (b *builder) append(t *trace.Trace, s trace.Step) {
	b.hops = t.Hops
	b.add(t.Node, s)
	t.Hops = b.hops
}

func (b *builder) endARP(t *trace.Trace, last *pass, n *state.Node, h trace.Header, set setter) {
	if n == nil || len(last.rx) == 0 {
		set(trace.Unclaimed, trace.Captured, trace.CodeUnclaimed)
		return
	}
	if in := last.rx[len(last.rx)-1]; in.Other || h.ARPOp == "request" && !answersFor(n, in.Dev, h) {
		set(trace.Unclaimed, trace.Captured, trace.CodeUnclaimed)
		return
	}
	set(trace.Delivered, trace.Captured, trace.CodeDelivered)
}

// answersFor reports whether an ARP request that came in by a link is for the
// node: for an address of its own, or for one that it answers for in another's
// place, as packets to it would leave by another link (arp_fwd_proxy,
// net/ipv4/arp.c).
func answersFor(n *state.Node, dev string, h trace.Header) bool {
	if h.Dst.IsLoopback() && !routesLocalnet(n, dev) { // arp_process
		return false
	}
	if n.LocalAddr(h.Dst) {
		return true
	}
	if n.Sysctls["net.ipv4.conf.all.proxy_arp"] != "1" && n.Sysctls["net.ipv4.conf."+dev+".proxy_arp"] != "1" ||
		n.Sysctls["net.ipv4.conf."+dev+".forwarding"] != "1" {
		return false
	}
	r := n.Route(state.Query{Dst: h.Dst, Src: h.Src, Iif: dev})
	return r != nil && r.Type == "unicast" && r.Dev != dev && !n.LocalAddr(h.Src) && !reversePath(n, dev, h)
}

// diedInRouting explains a packet that passed PREROUTING and nothing after it:
// the routing decision for what came in (ip_route_input_slow, net/ipv4/route.c)
// refuses in this order: loopback addresses, no forwarding, no route, sources
// that are our own or fail rp_filter; then ip_forward (net/ipv4/ip_forward.c): TTL and size.
func (b *builder) diedInRouting(t *trace.Trace, n *state.Node, last *pass, h trace.Header, set setter) {
	dev := last.in()
	routeLocal := routesLocalnet(n, dev)
	refuse := func(code, note string) {
		b.append(t, trace.Step{Point: trace.RouteStep, Verdict: trace.NoRoute, Before: h, After: h, Evidence: trace.Explained,
			Code: code, Args: map[string]string{"dst": h.Dst.String()}, Note: note})
	}
	r := n.Route(state.Query{Dst: h.Dst, Src: h.Src, Iif: dev})
	ours := n.LocalAddr(h.Dst) || toAll(n, h.Dst)
	switch {
	case last.hooks == nil:
		set(trace.Vanished, trace.Captured, trace.CodeVanished, "point", lastPoint(t))
	case h.Src.IsMulticast() || h.Src == everybody || h.Src.IsUnspecified() && h.Dst != everybody,
		dev != "lo" && h.Src.IsLoopback() && !h.Dst.IsLoopback() && !routeLocal:
		refuse(trace.CodeMartianSource, "martian source")
		set(trace.Martian, trace.Explained, trace.CodeMartianSource, "src", h.Src.String(), "dev", dev)
	case dev != "lo" && h.Dst.IsLoopback() && !routeLocal:
		refuse(trace.CodeMartianDest, "martian destination")
		set(trace.Martian, trace.Explained, trace.CodeMartianDest, "dst", h.Dst.String(), "dev", dev)
	case !ours && n.Sysctls["net.ipv4.conf."+dev+".forwarding"] == "0":
		refuse(trace.CodeForwardingOff, "ip_forward is 0")
		set(trace.ForwardingOff, trace.Explained, trace.CodeForwardingOff, "dst", h.Dst.String())
	case !ours && (r == nil || r.Type != "unicast"):
		refuse(noRoute(r), "no route to "+h.Dst.String())
		set(trace.NoRouteTo, trace.Explained, noRoute(r), "dst", h.Dst.String())
	case dev != "lo" && n.LocalAddr(h.Src): // fib_validate_source, as rp_filter
		refuse(trace.CodeMartianSource, "martian source")
		set(trace.Martian, trace.Explained, trace.CodeMartianSource, "src", h.Src.String(), "dev", dev)
	case reversePath(n, dev, h):
		refuse(trace.CodeReversePath, "rp_filter")
		set(trace.ReversePath, trace.Explained, trace.CodeReversePath, "src", h.Src.String(), "dev", dev)
	case !ours && h.TTL <= 1:
		b.explainRoute(t, n, h, r)
		set(trace.TTLExceeded, trace.Explained, trace.CodeTTLExceeded)
	default:
		if r != nil {
			if out := n.Link(r.Dev); out != nil && h.Len > out.MTU {
				b.explainRoute(t, n, h, r)
				set(trace.TooBig, trace.Explained, trace.CodeTooBig, "dev", out.Name, "mtu", strconv.Itoa(out.MTU))
				return
			}
		}
		set(trace.Vanished, trace.Explained, trace.CodeVanished, "point", lastPoint(t))
	}
}

// noRoute is the code for a lookup that found nothing, or a route that refuses.
func noRoute(r *state.Route) string {
	if r != nil {
		switch r.Type {
		case "blackhole":
			return trace.CodeBlackhole
		case "unreachable":
			return trace.CodeUnreachable
		case "prohibit":
			return trace.CodeProhibit
		}
	}
	return trace.CodeNoRoute
}

// explainRoute adds the decision that was made before the packet was found to
// be too old or too large to go that way.
func (b *builder) explainRoute(t *trace.Trace, n *state.Node, h trace.Header, r *state.Route) {
	if r == nil {
		return
	}
	b.append(t, trace.Step{Point: trace.RouteStep, Dev: r.Dev, Verdict: trace.Forwards, Before: h, After: h, Note: r.String(), Evidence: trace.Explained})
}

// reversePath reports whether strict rp_filter refuses the packet: the way back
// to its source leads by another interface (fib_validate_source).
func reversePath(n *state.Node, dev string, h trace.Header) bool {
	if max(n.Sysctls["net.ipv4.conf.all.rp_filter"], n.Sysctls["net.ipv4.conf."+dev+".rp_filter"]) != "1" {
		return false
	}
	r := n.Route(state.Query{Dst: h.Src, Src: h.Dst})
	return r == nil || r.Dev != dev
}

// diedInOutput explains a packet that a rule in OUTPUT gave a new destination
// and that was never seen again: it has to be routed anew, and an address of
// 127/8 may not leave by another interface than lo unless route_localnet says
// so (__mkroute_output, net/ipv4/route.c).
func (b *builder) diedInOutput(t *trace.Trace, n *state.Node, h trace.Header, set setter) {
	steps := t.Hops[len(t.Hops)-1].Steps
	last := steps[len(steps)-1]
	// Nobody saw the packet after the rule: what became of it is the rule's word.
	if to, ok := newDestination(&steps[len(steps)-1]); ok {
		h.Dst = to.Addr()
		if to.Port() != 0 {
			h.DstPort = to.Port()
		}
		s := &steps[len(steps)-1]
		s.After, s.Cause, s.Evidence = b.frame.with(h), fmt.Sprintf("%s %s rule %d: %s", last.Table, last.Chain, last.Rule, last.Verdict), trace.Explained
	}
	if c := b.translates(n, h); c != nil && last.Point == trace.Output && last.Table == "" {
		h.Dst, h.DstPort = c.Orig.Src, c.Orig.SrcPort
		steps[len(steps)-1] = trace.Step{Point: trace.Conntrack, Chain: string(trace.Output), At: last.At, Before: last.Before, After: b.frame.with(h),
			Cause: "conntrack: " + connText(*c), Evidence: trace.Explained}
	}
	dev := ""
	if r := n.Route(state.Query{Dst: h.Dst, Src: h.Src}); r != nil {
		dev = r.Dev
	}
	if h.Src.IsLoopback() && !h.Dst.IsLoopback() && !routesLocalnet(n, dev) {
		b.append(t, trace.Step{Point: trace.RouteStep, Dev: dev, Verdict: trace.NoRoute, Before: h, After: h, Evidence: trace.Explained,
			Code: trace.CodeLoopbackReroute, Args: map[string]string{"src": h.Src.String(), "dev": dev},
			Note: fmt.Sprintf("%s may not leave by %s: route_localnet is 0", h.Src, dev)})
		set(trace.Martian, trace.Explained, trace.CodeLoopbackReroute, "src", h.Src.String(), "dev", dev)
		return
	}
	if r := n.Route(state.Query{Dst: h.Dst, Src: h.Src}); r == nil && !n.LocalAddr(h.Dst) {
		set(trace.NoRouteTo, trace.Explained, trace.CodeNoRoute, "dst", h.Dst.String())
		return
	}
	set(trace.Vanished, trace.Explained, trace.CodeVanished, "point", lastPoint(t))
}

// translates returns the connection that gives an answer of its TCP or UDP another
// destination, as its first packet had another source; nil when there is none.
func (b *builder) translates(n *state.Node, h trace.Header) *state.Conn {
	for _, c := range b.view.Conns(n.Name) {
		if c.Proto == h.Proto && h.Proto != "icmp" && endOf(h) == tupleEnd(c.Proto, c.Reply) && c.Orig.Src != h.Dst {
			return &c
		}
	}
	return nil
}

func lastPoint(t *trace.Trace) string {
	steps := t.Hops[len(t.Hops)-1].Steps
	s := steps[len(steps)-1]
	if s.Dev != "" {
		return string(s.Point) + " " + s.Dev
	}
	return string(s.Point)
}

func outDev(p *pass) string {
	for i := len(p.hooks) - 1; i >= 0; i-- {
		if p.hooks[i].Oif != "" {
			return p.hooks[i].Oif
		}
	}
	return ""
}

// newDestination returns the address that a rule of OUTPUT rewrites to, with
// its port or 0: what DNAT names, or for REDIRECT the node itself
// (nf_nat_redirect_ipv4, net/netfilter/nf_nat_redirect.c).
func newDestination(s *trace.Step) (netip.AddrPort, bool) {
	switch s.Verdict {
	case trace.Dnat:
		to, ok := option(s.RuleText, "--to-destination")
		if ap, err := netip.ParseAddrPort(to); err == nil {
			return ap, ok
		}
		a, err := netip.ParseAddr(to)
		return netip.AddrPortFrom(a, 0), err == nil
	case trace.Redirect:
		port := uint64(0)
		if to, ok := option(s.RuleText, "--to-ports"); ok {
			var err error
			if port, err = strconv.ParseUint(to, 10, 16); err != nil {
				return netip.AddrPort{}, false // a range: the kernel's choice
			}
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)), true
	}
	return netip.AddrPort{}, false
}

// option returns the word that follows an option in a rule's text.
func option(rule, name string) (string, bool) {
	_, rest, ok := strings.Cut(rule, name+" ")
	word, _, _ := strings.Cut(rest, " ")
	return word, ok
}
