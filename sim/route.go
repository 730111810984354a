package sim

import (
	"slices"

	"vethlab/sim/trace"
)

// The routing decision (net/ipv4/route.c): for what came in, routeInput; for
// what is made here, routeOutput. fib.go and policy.go hold the tables.

// route is the outcome of a decision (struct rtable).
type route struct {
	dev     *Link
	row     *fibRow
	gateway IP // 0: the destination itself is the next hop
	src     IP // the source a new packet gets
	local   bool
	typ     rtType // of the row; of a packet to everybody, rtnBroadcast or rtnMulticast
	input   bool   // decided for a packet that came in
	// redirect: the packet goes out where it came in, and its sender could have
	// sent it the shorter way (IPSKB_DOREDIRECT).
	redirect bool
}

// nextHop is the neighbour that a packet is handed to (rt_nexthop).
func (r *route) nextHop(dst IP) IP {
	if r.gateway != 0 {
		return r.gateway
	}
	return dst
}

// refusal says why a packet that came in has no route; nil means that it has one.
type refusal struct {
	disposition trace.Disposition
	code        string
	ip          IP
	errno       int // what the ICMP error follows from (ip_error); 0: none is sent
	row         *fibRow
}

// toAll reports whether the route is of a broadcast or multicast address.
func (r *route) toAll() bool { return r.typ == rtnBroadcast || r.typ == rtnMulticast }

// local reports whether ip is an address of the node.
func (n *Netns) local(ip IP) bool { return n.addrType(ip) == rtnLocal }

// routeInput decides where a packet that came in by dev goes, its p.route
// (ip_route_input_slow). The order of its questions is the kernel's.
func (n *Netns) routeInput(p *packet, dev *Link) *refusal {
	if p.dst.multicast() && !p.src.multicast() && !p.src.broadcast() {
		return n.routeInputMulticast(p, dev)
	}
	return n.routeInputFrom(&p.route, dev, p.src, p.dst, p.mark, p.tos, p)
}

// routeARP decides where the sender of an ARP request would be led who sent a
// packet to tip.
func (n *Netns) routeARP(dev *Link, sip, tip IP) (r route, no *refusal) {
	no = n.routeInputFrom(&r, dev, sip, tip, 0, 0, nil)
	return r, no
}

// routeInputFrom is routeInput for addresses alone; p is nil for an ARP packet.
func (n *Netns) routeInputFrom(r *route, dev *Link, src, dst IP, mark uint32, tos uint8, p *packet) *refusal {
	if src.multicast() || src.broadcast() {
		return martianSource(src)
	}
	if dst.broadcast() || src == 0 && dst == 0 {
		return n.routeInputBroadcast(r, dev, src, mark, tos, p)
	}
	switch {
	case src.zeronet():
		return martianSource(src)
	case dst.zeronet():
		return martianDest(dst)
	case dst.loopback() && !dev.routesLocalnet():
		return martianDest(dst)
	case !dst.loopback() && src.loopback() && !dev.routesLocalnet():
		return martianSource(src)
	}
	fl := flowi{dst: dst, src: src, iif: dev, mark: mark, tos: tos}
	if p != nil && p.first() {
		fl.proto, fl.sport, fl.dport = p.proto, p.sport, p.dport
	}
	row, errno := n.fibLookup(&fl)
	switch {
	case errno != 0 && dev.conf.forwarding == 0:
		return &refusal{disposition: trace.ForwardingOff, code: trace.CodeForwardingOff, ip: dst, row: row}
	case errno != 0:
		return noRoute(row, dst, errno)
	case row.typ == rtnBroadcast:
		return n.routeInputBroadcast(r, dev, src, mark, tos, p)
	case row.typ == rtnLocal:
		if _, no := n.validateSource(dev, nil, src, dst, mark, tos); no != nil {
			return no
		}
		*r = route{dev: n.lo, local: true, typ: rtnLocal, row: row, src: dst, input: true}
		return nil
	case dev.conf.forwarding == 0:
		return &refusal{disposition: trace.ForwardingOff, code: trace.CodeForwardingOff, ip: dst}
	case row.typ != rtnUnicast:
		return martianDest(dst)
	}
	// __mkroute_input
	direct, no := n.validateSource(dev, row.dev, src, dst, mark, tos)
	if no != nil {
		return no
	}
	*r = route{dev: row.dev, gateway: row.nextHop(), typ: rtnUnicast, row: row, input: true}
	if row.dev == dev && direct && n.conf.sendRedirects|dev.conf.sendRedirects != 0 && p != nil {
		r.redirect = n.conf.sharedMedia|dev.conf.sharedMedia != 0 || row.nextHop() == 0 || dev.onlink(src, row.nextHop())
	}
	if len(n.inet.exceptions) > 0 {
		n.except(r, dst)
	}
	return nil
}

func martianSource(src IP) *refusal {
	return &refusal{disposition: trace.Martian, code: trace.CodeMartianSource, ip: src}
}

func martianDest(dst IP) *refusal {
	return &refusal{disposition: trace.Martian, code: trace.CodeMartianDest, ip: dst}
}

// noRoute is the refusal of a lookup that failed, or found a row that refuses.
func noRoute(row *fibRow, dst IP, errno int) *refusal {
	no := &refusal{disposition: trace.NoRouteTo, code: trace.CodeNoRoute, ip: dst, errno: errno, row: row}
	if row != nil {
		switch row.typ {
		case rtnBlackhole:
			no.code = trace.CodeBlackhole
		case rtnUnreachable:
			no.code = trace.CodeUnreachable
		case rtnProhibit:
			no.code = trace.CodeProhibit
		}
	}
	return no
}

// routeInputBroadcast takes what is for everybody (brd_input).
func (n *Netns) routeInputBroadcast(r *route, dev *Link, src IP, mark uint32, tos uint8, p *packet) *refusal {
	if p == nil { // ARP
		return &refusal{disposition: trace.Unclaimed, code: trace.CodeUnclaimed}
	}
	if !src.zeronet() {
		if _, no := n.validateSource(dev, nil, src, 0, mark, tos); no != nil {
			return no
		}
	}
	*r = route{dev: n.lo, local: true, typ: rtnBroadcast, input: true}
	return nil
}

// routeInputMulticast takes what is for a group (ip_route_input_mc): every node
// is in 224.0.0.1, and in no other.
func (n *Netns) routeInputMulticast(p *packet, dev *Link) *refusal {
	if p.dst != allHosts {
		return &refusal{disposition: trace.Unclaimed, code: trace.CodeUnclaimed}
	}
	if p.src.loopback() && !dev.routesLocalnet() {
		return &refusal{disposition: trace.Martian, code: trace.CodeMartianSource, ip: p.src}
	}
	if _, no := n.validateSource(dev, nil, p.src, 0, p.mark, p.tos); no != nil {
		return no
	}
	p.route = route{dev: n.lo, local: true, typ: rtnMulticast, input: true}
	return nil
}

const allHosts IP = 224<<24 | 1

// validateSource asks whether a packet with that source may come in by dev: is
// it an address of our own, and with rp_filter, would the answer go out by dev
// too (fib_validate_source, net/ipv4/fib_frontend.c)? oif is where the packet
// would be forwarded to. direct says that the source is a neighbour.
func (n *Netns) validateSource(dev, oif *Link, src, dst IP, mark uint32, tos uint8) (direct bool, no *refusal) {
	rpf := max(n.conf.rpFilter, dev.conf.rpFilter)
	acceptLocal := n.conf.acceptLocal|dev.conf.acceptLocal != 0
	if rpf == 0 && (dev != oif || n.conf.sendRedirects|dev.conf.sendRedirects == 0) {
		if acceptLocal {
			return false, nil
		}
		if !n.fib.custom {
			if n.hasAddr(src) {
				return false, martianSource(src)
			}
			return false, nil
		}
	}
	iif := oif
	if iif == nil {
		iif = n.lo
	}
	fl := flowi{dst: src, src: dst, iif: iif, tos: tos}
	if n.conf.srcValidMark|dev.conf.srcValidMark != 0 {
		fl.mark = mark
	}
	row, errno := n.fibLookup(&fl)
	if errno == 0 {
		if row.typ != rtnUnicast && (row.typ != rtnLocal || !acceptLocal) {
			return false, martianSource(src)
		}
		if row.dev == dev || row.typ == rtnLocal && dev == n.lo {
			return row.nhScope >= scopeHost, nil
		}
		if len(dev.addrs) > 0 {
			if rpf == 1 {
				return false, &refusal{disposition: trace.ReversePath, code: trace.CodeReversePath, ip: src}
			}
			fl.oif, fl.ignoreLinkstate = dev, true
			row, errno = n.fibLookup(&fl)
			return errno == 0 && row.typ == rtnUnicast && row.nhScope >= scopeHost, nil
		}
	}
	if rpf != 0 {
		return false, &refusal{disposition: trace.ReversePath, code: trace.CodeReversePath, ip: src}
	}
	return false, nil
}

// hasAddr reports whether some link has that very address (inet_lookup_ifaddr_rcu).
func (n *Netns) hasAddr(ip IP) bool {
	for _, r := range n.fib.local.at(ip, 32) {
		if r.typ == rtnLocal {
			return true
		}
	}
	return false
}

// routeOutput decides where a packet made here goes (ip_route_output_key).
// With src 0 it also chooses the source; with oif it must leave by that link.
func (n *Netns) routeOutput(dst, src IP, oif *Link, mark uint32, tos uint8) (route, int) {
	fl := flowi{dst: dst, src: src, iif: n.lo, oif: oif, mark: mark, tos: tos}
	return n.routeOutputFlow(&fl, false)
}

// routeConnect is routeOutput for a socket that is to be connected: where the
// source is left open it asks twice, the second time with the source that the
// first answer brought, by which a policy rule may choose otherwise
// (ip_route_connect, include/net/route.h).
func (n *Netns) routeConnect(dst, src IP, oif *Link, mark uint32, tos uint8) (route, int) {
	r, errno := n.routeOutput(dst, src, oif, mark, tos)
	if errno != 0 || src != 0 && dst != 0 {
		return r, errno
	}
	return n.routeOutput(dst, r.src, oif, mark, tos)
}

// routeOutputFlow is routeOutput for whoever knows more of the packet. anySource
// allows a source that is not the node's (FLOWI_FLAG_ANYSRC).
func (n *Netns) routeOutputFlow(fl *flowi, anySource bool) (route, int) {
	var row *fibRow
	typ := rtnUnicast
	dev := fl.oif
	if fl.src != 0 {
		if fl.src.multicast() || fl.src.broadcast() || fl.src.zeronet() {
			return route{}, einval
		}
		if dev == nil && (fl.dst.multicast() || fl.dst.broadcast()) {
			if dev = n.devOf(fl.src); dev == nil {
				return route{}, enetunreach
			}
			return n.makeOutput(fl, dev, nil, typ)
		}
		if !anySource && n.devOf(fl.src) == nil {
			return route{}, enetunreach
		}
	}
	if dev != nil {
		switch {
		case dev.gone:
			return route{}, enodev
		case !dev.up:
			return route{}, enetunreach
		}
		if fl.dst&0xffffff00 == 224<<24 || fl.dst.broadcast() {
			if fl.src == 0 {
				fl.src = dev.selectAddr(0, scopeLink)
			}
			return n.makeOutput(fl, dev, nil, typ)
		}
		if fl.src == 0 {
			if fl.dst.multicast() {
				fl.src = dev.selectAddr(0, fl.scope)
			} else if fl.dst == 0 {
				fl.src = dev.selectAddr(0, scopeHost)
			}
		}
	}
	if fl.dst == 0 { // the node itself
		if fl.dst = fl.src; fl.dst == 0 {
			fl.dst, fl.src = loopbackIP, loopbackIP
		}
		return n.makeOutput(fl, n.lo, nil, rtnLocal)
	}
	row, errno := n.fibLookup(fl)
	switch {
	case errno != 0 && dev != nil:
		// "Apparently, routing tables are wrong. Assume, that the destination is on link."
		if fl.src == 0 {
			fl.src = dev.selectAddr(0, scopeLink)
		}
		return n.makeOutput(fl, dev, nil, rtnUnicast)
	case errno != 0:
		return route{row: row}, errno
	case row.typ == rtnLocal:
		if fl.src == 0 {
			if fl.src = row.prefsrc; fl.src == 0 {
				fl.src = fl.dst
			}
		}
		return n.makeOutput(fl, n.lo, row, rtnLocal)
	}
	if fl.src == 0 {
		if fl.src = row.prefsrc; fl.src == 0 { // fib_result_prefsrc
			fl.src = row.dev.selectAddr(row.gateway, row.scope)
		}
	}
	return n.makeOutput(fl, row.dev, row, row.typ)
}

const loopbackIP IP = 127<<24 | 1

// makeOutput is the last part of a decision for a packet made here
// (__mkroute_output).
func (n *Netns) makeOutput(fl *flowi, dev *Link, row *fibRow, typ rtType) (route, int) {
	r := route{dev: dev, src: fl.src, typ: typ, row: row, local: typ == rtnLocal || dev == n.lo}
	if dev.mtu < minMTU || fl.src.loopback() && dev != n.lo && !dev.routesLocalnet() { // a link so small has no IP settings
		return r, einval
	}
	switch {
	case fl.dst.broadcast():
		r.typ = rtnBroadcast
	case fl.dst.multicast():
		r.typ = rtnMulticast
	case fl.dst.zeronet():
		return r, einval
	}
	if row != nil && r.typ == rtnUnicast {
		r.gateway = row.nextHop()
	}
	if len(n.inet.exceptions) > 0 {
		n.except(&r, fl.dst)
	}
	return r, 0
}

// ipRouteMeHarder finds a packet made here a way again, after netfilter changed
// what the first was chosen by (ip_route_me_harder, net/ipv4/netfilter.c). It
// returns the link that the packet would have left by, also when it may not.
func (w *World) ipRouteMeHarder(p *packet) (*Link, int) {
	n := p.ns
	fl := flowi{dst: p.dst, src: p.src, iif: n.lo, mark: p.mark, tos: p.tos}
	if t := n.addrType(p.src); t != rtnLocal && t != rtnUnicast {
		fl.src = 0
	}
	if p.sock != nil {
		fl.oif = p.sock.dev
	}
	r, errno := n.routeOutputFlow(&fl, true)
	if errno == 0 {
		p.route, p.routed = r, true
	}
	return r.dev, errno
}

// devOf returns the link that has an address (__ip_dev_find), or nil.
func (n *Netns) devOf(ip IP) *Link {
	if len(n.fib.local.at(ip, 32)) == 0 { // its route may have been taken away (inet_lookup_ifaddr_rcu)
		for _, l := range n.links {
			if slices.ContainsFunc(l.addrs, func(a *ifAddr) bool { return a.ip == ip }) {
				return l
			}
		}
	}
	for _, r := range n.fib.local.at(ip, 32) {
		if r.typ == rtnLocal {
			return r.dev
		}
	}
	// An address inside a prefix that is local as a whole, as 127.0.0.0/8 is.
	if r, errno := n.fib.local.lookup(&flowi{dst: ip, ignoreLinkstate: true}); errno == 0 && r.typ == rtnLocal {
		return r.dev
	}
	return nil
}

// routesLocalnet reports whether 127/8 may come in and go out by the link
// (IN_DEV_NET_ROUTE_LOCALNET).
func (l *Link) routesLocalnet() bool {
	return l.ns.conf.routeLocalnet|l.conf.routeLocalnet != 0
}

// onlink reports whether two addresses are in one of the link's networks
// (inet_addr_onlink). With b 0, a alone.
func (l *Link) onlink(a, b IP) bool {
	for _, x := range l.addrs {
		if x.in(a) && (b == 0 || x.in(b)) {
			return true
		}
	}
	return false
}

// selectAddr chooses the source for a packet that leaves by the link: its first
// primary address in one network with dst, else its first, else one of another
// link (inet_select_addr, net/ipv4/devinet.c).
func (l *Link) selectAddr(dst IP, scope uint8) IP {
	localnet := scopeHost
	if l.ns.conf.routeLocalnet|l.conf.routeLocalnet != 0 {
		localnet = scopeLink
	}
	var ip IP
	for _, a := range l.addrs {
		if a.secondary || min(a.scope, localnet) > scope {
			continue
		}
		if dst == 0 || a.in(dst) {
			return a.ip
		}
		if ip == 0 {
			ip = a.ip
		}
	}
	if ip != 0 {
		return ip
	}
	for _, other := range l.ns.links {
		for _, a := range other.addrs {
			if !a.secondary && a.scope != scopeLink && a.scope <= scope {
				return a.ip
			}
		}
	}
	return 0
}
