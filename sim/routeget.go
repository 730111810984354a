package sim

import (
	"vethlab/sim/op"
	"vethlab/sim/trace"
)

// RouteGet asks which way a packet would go: `ip route get`
// (inet_rtm_getroute, net/ipv4/route.c).
func (n *Netns) RouteGet(q RouteQuery) (RouteAnswer, *op.Failure) {
	fl := flowi{dst: ipOf(q.Dst), src: ipOf(q.Src), iif: n.lo, mark: q.Mark, tos: q.TOS, proto: q.Proto, sport: q.SrcPort, dport: q.DstPort}
	var f *op.Failure
	if q.NoOif {
		fl.oif = &Link{ns: n, gone: true}
	}
	if q.Oif != "" {
		if fl.oif, f = n.find(q.Oif); f != nil {
			return RouteAnswer{}, f
		}
	}
	if q.Iif != "" {
		if fl.iif, f = n.find(q.Iif); f != nil {
			return RouteAnswer{}, f
		}
		return n.routeGetInput(&fl)
	}
	r, errno := n.routeOutputFlow(&fl, false)
	if errno != 0 {
		return RouteAnswer{}, fail(errno, "")
	}
	a := n.answer(&r)
	if fl.dst == allHosts && r.typ == rtnMulticast {
		a.Cache = []string{"local", "mc"} // every device is of that group (ip_check_mc_rcu)
	}
	if !q.Src.IsValid() {
		a.Src = r.src.Addr()
	}
	if x := n.exception(r.row, fl.dst); x != nil && x.mtu != 0 {
		a.MTU, a.Locked, a.Expires = x.mtu, x.locked, int((x.expires-n.w.now)/1e9)
	}
	return a, nil
}

func (n *Netns) routeGetInput(fl *flowi) (RouteAnswer, *op.Failure) {
	p := &packet{header: header{etherType: ethIP, src: fl.src, dst: fl.dst, tos: fl.tos}, ns: n, in: fl.iif, mark: fl.mark}
	if no := n.routeInput(p, fl.iif); no != nil {
		errno := no.errno
		if errno == 0 {
			errno = einval // a martian, or one that came the wrong way
		}
		if no.disposition == trace.ForwardingOff {
			errno = ehostunreach
		}
		return RouteAnswer{}, fail(errno, "")
	}
	r := &p.route
	if r.typ == rtnBroadcast && !fl.dst.broadcast() {
		r.row, _ = n.fibLookup(fl)
	}
	a := n.answer(r)
	if r.typ == rtnMulticast { // what is let in is for the node (ip_route_input_mc)
		a.Cache = []string{"local", "mc"}
	}
	return a, nil
}

// answer is what rt_fill_info tells of a decision.
func (n *Netns) answer(r *route) RouteAnswer {
	a := RouteAnswer{Type: r.typ.String(), Table: tableMain, Dev: r.dev.name}
	if r.row != nil && n.fib.custom {
		a.Table = r.row.table
	}
	if r.gateway != 0 {
		a.Via = r.gateway.Addr()
	}
	switch r.typ {
	case rtnLocal:
		a.Cache = []string{"local"}
	case rtnUnicast:
		if r.dev == n.lo && !r.input { // __mkroute_output
			a.Cache = []string{"local"}
		}
	case rtnBroadcast:
		a.Cache = []string{"local", "brd"}
	case rtnMulticast:
		a.Cache = []string{"mc"}
	}
	if r.input && r.typ != rtnUnicast {
		a.Dev = n.lo.name
	}
	if r.redirect {
		a.Cache = append([]string{"redirect"}, a.Cache...)
	}
	return a
}
