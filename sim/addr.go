package sim

import (
	"net/netip"
	"slices"
	"strings"

	"vethlab/sim/op"
)

// ifAddr is an address on a link (struct in_ifaddr).
type ifAddr struct {
	ip        IP // ifa_local
	peer      IP // ifa_address: the far end's, or the same
	bits      int
	broadcast IP // 0: none
	scope     uint8
	label     string
	metric    uint32 // of the connected route
	secondary bool
	noRoute   bool // IFA_F_NOPREFIXROUTE
}

// in reports whether ip is in the address's network (inet_ifa_match).
func (a *ifAddr) in(ip IP) bool { return (a.peer^ip)&mask(a.bits) == 0 }

// sameNet reports whether two addresses are of one network.
func (a *ifAddr) sameNet(b *ifAddr) bool { return a.bits == b.bits && a.in(b.peer) }

// prefix is the address as `ip addr` writes it.
func (a *ifAddr) prefix() netip.Prefix { return netip.PrefixFrom(a.ip.Addr(), a.bits) }

// AddrAdd gives a link an address, with what `ip addr add` fills in
// (ipaddr_modify, iproute2's ip/ipaddress.c).
func (n *Netns) AddrAdd(o op.AddrAdd) *op.Failure {
	r := AddrRequest{Dev: o.Dev, Prefix: o.Prefix, Label: o.Label}
	switch o.Broadcast {
	case "":
	case "+": // the network's last address, where it has one
		if bits := o.Prefix.Bits(); bits < 31 {
			r.Broadcast = (ipOf(o.Prefix.Addr()) | ^mask(bits)).Addr()
		}
	default:
		a, err := netip.ParseAddr(o.Broadcast)
		if err != nil || !a.Is4() {
			return fail(einval, "")
		}
		r.Broadcast = a
	}
	return n.AddrChange(r)
}

// AddrDel takes an address from a link.
func (n *Netns) AddrDel(o op.AddrDel) *op.Failure {
	return n.AddrChange(AddrRequest{Mode: Delete, Dev: o.Dev, Prefix: o.Prefix})
}

// AddrFlush takes all addresses from a link, as `ip addr flush dev` does.
func (n *Netns) AddrFlush(dev string) *op.Failure {
	l, f := n.find(dev)
	if f != nil {
		return f
	}
	for _, a := range slices.Clone(l.addrs) {
		if slices.Contains(l.addrs, a) { // a primary takes its secondaries along
			n.delAddr(l, a)
		}
	}
	return nil
}

// AddrChange adds, replaces or deletes an address (inet_rtm_newaddr and
// inet_rtm_deladdr, net/ipv4/devinet.c).
func (n *Netns) AddrChange(r AddrRequest) *op.Failure {
	l, f := n.find(r.Dev)
	if f != nil {
		return f
	}
	if !r.Prefix.IsValid() || !r.Prefix.Addr().Is4() {
		return fail(einval, "")
	}
	a := &ifAddr{ip: ipOf(r.Prefix.Addr()), bits: r.Prefix.Bits(), broadcast: ipOf(r.Broadcast), label: r.Label,
		metric: uint32(r.Metric), noRoute: r.NoRoute}
	if a.peer = a.ip; r.Peer.IsValid() {
		a.peer = ipOf(r.Peer)
	}
	if a.label == "" {
		a.label = l.name
	}
	if r.Mode == Delete {
		return n.deleteAddr(l, a, r)
	}
	switch scope, ok := scopeNumber(r.Scope); {
	case r.Scope == "" && a.ip.loopback(): // default_scope, ip/ipaddress.c
		a.scope = scopeHost
	case ok:
		a.scope = scope
	default:
		return fail(einval, "")
	}
	if l.mtu < minMTU { // it has no IP settings
		return fail(enobufs, "ipv4: Device does not support IPv4") // in_dev is NULL
	}
	l.conf.set = allSet
	if a.ip == 0 {
		return nil // __inet_insert_ifa takes it for no address at all
	}
	for _, b := range l.addrs { // find_matching_ifa
		if b.bits == a.bits && b.in(a.peer) && b.ip == a.ip {
			if r.Mode != Replace && r.Mode != Change {
				return fail(eexist, "ipv4: Address already assigned")
			}
			if b.metric != a.metric || b.noRoute != a.noRoute {
				n.changeAddrMetric(l, b, a)
			}
			return nil
		}
	}
	return n.insertAddr(l, a)
}

// allSet: a link that was once given an address no longer follows what is
// written for default (ipv4_devconf_setall).
const allSet = 1<<32 - 1

// insertAddr puts an address on a link: __inet_insert_ifa, net/ipv4/devinet.c.
func (n *Netns) insertAddr(l *Link, a *ifAddr) *op.Failure {
	lastPrimary := 0
	for i, b := range l.addrs {
		if !b.secondary && a.scope <= b.scope {
			lastPrimary = i + 1
		}
		if b.sameNet(a) {
			if b.scope != a.scope {
				return fail(einval, "ipv4: Invalid scope value")
			}
			a.secondary = true
		}
	}
	if a.secondary {
		lastPrimary = len(l.addrs)
	}
	l.addrs = slices.Insert(l.addrs, lastPrimary, a)
	n.addAddrRoutes(l, a)
	n.fibChanged()
	n.addrAdded(l, a)
	return nil
}

// deleteAddr: the loop of inet_rtm_deladdr finds the address that is meant.
func (n *Netns) deleteAddr(l *Link, want *ifAddr, r AddrRequest) *op.Failure {
	for _, a := range l.addrs {
		if a.ip != want.ip || r.Label != "" && a.label != r.Label || !r.Any && (a.bits != want.bits || !a.in(want.peer)) {
			continue
		}
		n.delAddr(l, a)
		return nil
	}
	return fail(eaddrnotavail, "ipv4: Address not found")
}

// delAddr takes an address off a link: __inet_del_ifa. A primary's secondaries
// go with it, unless promote_secondaries makes the first of them the primary.
func (n *Netns) delAddr(l *Link, a *ifAddr) {
	var promote *ifAddr
	if !a.secondary {
		for i := slices.Index(l.addrs, a) + 1; i < len(l.addrs); {
			b := l.addrs[i]
			switch {
			case !b.secondary || !b.sameNet(a):
				i++
			case n.conf.promoteSecondaries != 0 || l.conf.promoteSecondaries != 0:
				promote = b
				i = len(l.addrs)
			default:
				l.addrs = slices.Delete(l.addrs, i, i+1)
				n.delAddrRoutes(l, b, nil)
				n.addrGone(l, b)
			}
		}
	}
	if promote != nil { // all that had a for their source lose their routes, and get them back below
		for _, b := range l.addrs[slices.Index(l.addrs, promote):] {
			if b.sameNet(a) {
				n.delAddrRoutes(l, b, a)
			}
		}
	}
	at := slices.Index(l.addrs, a)
	l.addrs = slices.Delete(l.addrs, at, at+1)
	n.delAddrRoutes(l, a, nil)
	if len(l.addrs) == 0 {
		n.routesDown(l, true) // IP is off on this link (fib_disable_ip)
		n.w.neighFlush(l, true)
	}
	n.addrGone(l, a)
	if promote != nil {
		i := slices.Index(l.addrs, promote)
		rest := slices.Clone(l.addrs[i+1:])
		l.addrs = slices.Delete(l.addrs, i, i+1)
		to := at // after the last primary of no wider scope
		for j, b := range l.addrs {
			if !b.secondary && a.scope <= b.scope && j >= at {
				to = j + 1
			}
		}
		promote.secondary = false
		l.addrs = slices.Insert(l.addrs, to, promote)
		n.addAddrRoutes(l, promote)
		for _, b := range rest {
			if b.sameNet(a) {
				n.addAddrRoutes(l, b)
			}
		}
	}
	n.fibChanged()
}

// inetdevDestroy takes all addresses and routes from a link
// (inetdev_destroy, fib_disable_ip).
func (n *Netns) inetdevDestroy(l *Link) {
	for len(l.addrs) > 0 {
		a := l.addrs[0]
		l.addrs = l.addrs[1:]
		n.delAddrRoutes(l, a, nil)
		n.addrGone(l, a)
	}
	n.routesDown(l, true)
}

// byPrefix finds the primary address of a network (inet_ifa_byprefix).
func (l *Link) byPrefix(net IP, bits int) *ifAddr {
	for _, a := range l.addrs {
		if a.bits == bits && a.in(net) {
			return a
		}
	}
	return nil
}

var scopeNames = map[string]uint8{"": scopeUniverse, "global": scopeUniverse, "universe": scopeUniverse, "site": scopeSite,
	"link": scopeLink, "host": scopeHost, "nowhere": scopeNowhere}

// scopeNumber reads a scope: a name, or a number as iproute2 reads it.
func scopeNumber(s string) (uint8, bool) {
	if v, ok := scopeNames[s]; ok {
		return v, true
	}
	return number8(s)
}

func scopeName(s uint8) string {
	switch s {
	case scopeUniverse:
		return "global"
	case scopeSite:
		return "site"
	case scopeLink:
		return "link"
	case scopeHost:
		return "host"
	case scopeNowhere:
		return "nowhere"
	}
	return decimal(s)
}

// labelled returns the label where it says more than the link's name.
func (a *ifAddr) labelled(l *Link) string {
	if a.label == l.name {
		return ""
	}
	return strings.Clone(a.label)
}
