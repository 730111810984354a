package sim

import "vethlab/sim/op"

// The routes that follow from addresses and links (net/ipv4/fib_frontend.c).

// addAddrRoutes adds an address's own routes (fib_add_ifaddr): in table local
// the address itself and the network's broadcast address, in main the way to
// its network.
func (n *Netns) addAddrRoutes(l *Link, a *ifAddr) {
	prim := a
	net := a.peer & mask(a.bits)
	if a.secondary {
		if prim = l.byPrefix(net, a.bits); prim == nil {
			return
		}
	}
	n.magic(true, rtnLocal, a.ip, 32, l, prim, 0)
	if !l.up {
		return
	}
	if a.broadcast != 0 && !a.broadcast.broadcast() {
		n.magic(true, rtnBroadcast, a.broadcast, 32, l, prim, 0)
	}
	if !net.zeronet() && !a.secondary && (net != a.ip || a.bits < 32) {
		if !a.noRoute {
			n.magic(true, l.networkType(), net, a.bits, l, prim, a.metric)
		}
		if a.bits < 31 {
			n.magic(true, rtnBroadcast, net|^mask(a.bits), 32, l, prim, 0)
		}
	}
}

// networkType is the type of the route to a link's network: all of 127.0.0.0/8
// is the node itself.
func (l *Link) networkType() rtType {
	if l.kind == kindLoopback {
		return rtnLocal
	}
	return rtnUnicast
}

// delAddrRoutes takes away what no other address of the link needs
// (fib_del_ifaddr). With prim, secondaries of its network are being promoted,
// and do not count.
func (n *Netns) delAddrRoutes(l *Link, a, iprim *ifAddr) {
	prim := a
	brd, any := a.peer|^mask(a.bits), a.peer&mask(a.bits)
	subnet := false
	if a.secondary {
		if prim = l.byPrefix(any, a.bits); prim == nil || iprim != nil && iprim != prim {
			return
		}
	} else if !any.zeronet() && (any != a.ip || a.bits < 32) {
		if !a.noRoute {
			n.magic(false, l.networkType(), any, a.bits, l, prim, 0)
		}
		subnet = true
	}
	var others stillNeeded
	if !a.noRoute {
		others = l.stillNeeded(a, prim, iprim, brd, any)
	}
	if !others.broadcast {
		n.magic(false, rtnBroadcast, a.broadcast, 32, l, prim, 0)
	}
	if subnet && a.bits < 31 {
		if !others.last {
			n.magic(false, rtnBroadcast, brd, 32, l, prim, 0)
		}
		if !others.first {
			n.magic(false, rtnBroadcast, any, 32, l, prim, 0)
		}
	}
	if others.local {
		return
	}
	n.magic(false, rtnLocal, a.ip, 32, l, prim, 0)
	if !others.same && n.addrTypeIn(a.ip, tableLocal, nil) != rtnLocal {
		// Routes of table main that prefer the address go (fib_sync_down_addr).
		n.flushRoutes(func(r *fibRow) bool { return r.prefsrc == a.ip && r.table == tableMain })
	}
}

// stillNeeded says which routes of an address that goes other addresses of its
// link need.
type stillNeeded struct {
	same                          bool // the address is on the link yet: it is being promoted
	local, broadcast, first, last bool
}

func (l *Link) stillNeeded(a, prim, iprim *ifAddr, brd, any IP) (ok stillNeeded) {
	var prim1 *ifAddr
	samePrefsrc := false
	for _, b := range l.addrs {
		switch {
		case b == a:
			ok.same = true
			continue
		case iprim != nil && b.sameNet(iprim):
			continue
		case b.secondary:
			if b.bits == prim.bits && prim.in(b.peer) {
				prim1 = prim
				break
			}
			if !samePrefsrc {
				continue
			}
			if prim1 == nil || !b.sameNet(prim1) {
				prim1 = l.byPrefix(b.peer, b.bits)
			}
			if prim1 == nil || prim1.ip != prim.ip {
				continue
			}
		default:
			if prim.ip != b.ip {
				continue
			}
			prim1 = b
			samePrefsrc = samePrefsrc || prim != prim1
		}
		ok.local = ok.local || a.ip == b.ip
		ok.broadcast = ok.broadcast || a.broadcast == b.broadcast
		ok.last = ok.last || brd == b.broadcast
		ok.first = ok.first || any == b.broadcast
		if prim1 == b && b.bits < 31 {
			brd1, any1 := b.peer|^mask(b.bits), b.peer&mask(b.bits)
			if !any1.zeronet() {
				ok.broadcast = ok.broadcast || a.broadcast == brd1 || a.broadcast == any1
				ok.last = ok.last || brd == brd1 || brd == any1
				ok.first = ok.first || any == brd1 || any == any1
			}
		}
	}
	return ok
}

// magic adds or deletes a route of the kernel's own (fib_magic).
func (n *Netns) magic(add bool, typ rtType, dst IP, bits int, l *Link, prim *ifAddr, metric uint32) {
	c := fibConfig{table: tableLocal, dst: dst, bits: bits, typ: typ, scope: scopeLink, proto: protKernel, metric: metric,
		prefsrc: prim.ip, dev: l, create: true, append: true}
	if typ == rtnUnicast {
		c.table = tableMain
	}
	if typ == rtnLocal {
		c.scope = scopeHost
	}
	if add {
		_ = n.fibInsert(&c) // one that is there already is as good
	} else {
		_ = n.fibDelete(&c)
	}
}

// changeAddrMetric gives an address's network route another metric, or takes
// the route away (fib_modify_prefix_metric, inet_rtm_newaddr).
func (n *Netns) changeAddrMetric(l *Link, a, to *ifAddr) {
	if a.noRoute != to.noRoute || a.metric != to.metric {
		old := *a
		a.metric, a.noRoute = to.metric, to.noRoute
		net := a.peer & mask(a.bits)
		if !l.up || a.secondary || net.zeronet() || net == a.ip && a.bits == 32 {
			return
		}
		if !a.noRoute {
			n.magic(true, l.networkType(), net, a.bits, l, a, a.metric)
		}
		if !old.noRoute {
			n.magic(false, l.networkType(), net, a.bits, l, a, old.metric)
		}
	}
}

// addrsUp is what an interface that came up gives back to IP (inetdev_event,
// fib_netdev_event).
func (n *Netns) addrsUp(l *Link) {
	if l.mtu < minMTU {
		return
	}
	if l.kind == kindLoopback && len(l.addrs) == 0 {
		l.conf.set = allSet
		_ = n.insertAddr(l, &ifAddr{ip: 0x7f000001, peer: 0x7f000001, bits: 8, scope: scopeHost, label: l.name}) // cannot clash
	}
	for _, a := range l.addrs {
		n.addAddrRoutes(l, a)
	}
	n.fibChanged()
}

// routesDown removes the routes by way of a link that went down
// (fib_sync_down_dev, fib_flush). The node's own addresses stay its own, unless
// all is true: IP is off on the link.
func (n *Netns) routesDown(l *Link, all bool) {
	n.flushRoutes(func(r *fibRow) bool { return r.dev == l && (all || r.nhScope != scopeNowhere) })
	n.fibChanged()
}

// linkdown marks the routes by way of a link whose carrier came or went
// (fib_sync_down_dev with NETDEV_CHANGE, fib_sync_up). The kernel uses them all
// the same unless ignore_routes_with_linkdown is set.
func (n *Netns) linkdown(l *Link, down bool) {
	for _, t := range n.fib.tables {
		for _, m := range t.rows {
			for _, rows := range m {
				for _, r := range rows {
					if r.dev == l && r.nhScope != scopeNowhere {
						r.linkdown = down
					}
				}
			}
		}
	}
	n.fibChanged()
}

// ignoresLinkdown: ip_ignore_linkdown, include/linux/inetdevice.h.
func (l *Link) ignoresLinkdown() bool {
	return l.ns.conf.ignoreLinkdown != 0 || l.conf.ignoreLinkdown != 0
}

// NeighFlush forgets what ARP learned on a link: `ip neigh flush dev`.
func (n *Netns) NeighFlush(dev string) *op.Failure {
	l, f := n.find(dev)
	if f != nil {
		return f
	}
	n.w.neighFlush(l, false)
	return nil
}
