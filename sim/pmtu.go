package sim

import (
	"time"

	"vethlab/sim/trace"
)

// What a node has learned about the way to one destination: the largest packet
// that passes ("fragmentation needed", RFC 1191), and a nearer gateway (redirect).
// struct fib_nh_exception, net/ipv4/route.c.

// inetState is what a namespace's IPv4 remembers beside its tables.
type inetState struct {
	exceptions map[IP]*exception
	peers      map[IP]*inetPeer
	frags      map[fragKey]*fragQueue
}

// exception is what is known of one destination.
type exception struct {
	row     *fibRow // the route that it is an exception to
	mtu     int     // 0: as the link's
	locked  bool    // smaller than min_pmtu: packets are sent without DF instead
	gateway IP      // 0: as the route's
	expires int64
}

const redirectExpires = 5 * time.Minute // ip_rt_gc_timeout

func (n *Netns) exception(row *fibRow, dst IP) *exception {
	x := n.inet.exceptions[dst]
	if x == nil || x.row != row || n.w.now >= x.expires {
		return nil
	}
	return x
}

// except applies a redirect to a decision.
func (n *Netns) except(r *route, dst IP) {
	if x := n.exception(r.row, dst); x != nil && x.gateway != 0 {
		r.gateway = x.gateway
	}
}

func (n *Netns) learn(row *fibRow, dst IP) *exception {
	if n.inet.exceptions == nil {
		n.inet.exceptions = map[IP]*exception{}
	}
	x := n.exception(row, dst)
	if x == nil {
		x = &exception{row: row}
		n.inet.exceptions[dst] = x
	}
	return x
}

// updatePMTU takes in that packets that go this way may not be larger than mtu
// (__ip_rt_update_pmtu).
func (n *Netns) updatePMTU(fl flowi, mtu int) {
	dst := fl.dst
	r, errno := n.routeOutputFlow(&fl, false)
	if errno != 0 || r.row == nil || r.local {
		return
	}
	old := n.pathMTU(&r, dst)
	if old < mtu || n.mtuLocked(&r, dst) {
		return
	}
	x := n.learn(r.row, dst)
	if least := n.sys.minPMTU; mtu < least {
		x.locked, x.mtu = true, min(old, least)
	} else {
		x.locked, x.mtu = false, mtu
	}
	x.expires = n.w.now + int64(n.sys.mtuExpires)*int64(time.Second)
}

// pathMTU is the largest packet to dst that need not be split, as far as the
// node knows (dst_mtu).
func (n *Netns) pathMTU(r *route, dst IP) int {
	if len(n.inet.exceptions) > 0 {
		if x := n.exception(r.row, dst); x != nil && x.mtu != 0 {
			return x.mtu
		}
	}
	return min(r.dev.mtu, 0xffff)
}

// mtuLocked says that packets to dst are sent without DF (ip_mtu_locked).
func (n *Netns) mtuLocked(r *route, dst IP) bool {
	if len(n.inet.exceptions) == 0 {
		return false
	}
	x := n.exception(r.row, dst)
	return x != nil && x.locked
}

// forwardMTU is the largest packet that is forwarded whole: what ICMP says of
// the path does not count unless ip_forward_use_pmtu says so
// (ip_dst_mtu_maybe_forward).
func (n *Netns) forwardMTU(r *route, dst IP) int {
	if n.sys.fwdUsePMTU != 0 {
		return n.pathMTU(r, dst)
	}
	return min(r.dev.mtu, 0xffff)
}

func (n *Netns) outputMTU(p *packet) int {
	if p.route.input {
		return n.forwardMTU(&p.route, p.dst)
	}
	return n.pathMTU(&p.route, p.dst)
}

// redirected takes in a redirect: for packets that go this way there is a nearer
// gateway than the one that says so (__ip_do_redirect).
func (n *Netns) redirected(in *Link, from IP, fl flowi, gateway IP) {
	dst := fl.dst
	r, errno := n.routeOutputFlow(&fl, false)
	if errno != 0 || r.row == nil || r.gateway == 0 || r.gateway != from || gateway == from || !n.acceptsRedirects(in) {
		return
	}
	if gateway.multicast() || gateway.broadcast() || gateway.zeronet() {
		return
	}
	if n.conf.sharedMedia|in.conf.sharedMedia != 0 {
		if n.addrType(gateway) != rtnUnicast {
			return
		}
	} else if !in.onlink(gateway, from) {
		return
	}
	// Only a gateway that answers is used.
	nb := r.dev.neighLookup(gateway, true)
	if !nb.state.valid() {
		n.w.neighEvent(nb, nil)
		return
	}
	x := n.learn(r.row, dst)
	x.gateway, x.expires = gateway, n.w.now+int64(redirectExpires)
}

// acceptsRedirects is IN_DEV_RX_REDIRECTS: a router listens only when both
// settings say so, a host when one does.
func (n *Netns) acceptsRedirects(l *Link) bool {
	if l.conf.forwarding != 0 {
		return n.conf.acceptRedirects&l.conf.acceptRedirects != 0
	}
	return n.conf.acceptRedirects|l.conf.acceptRedirects != 0
}

// tunnelTooBig tells the sender of a bridged frame that it is too large for the
// tunnel it was about to enter, in the name of whoever it was for: bridges have no
// address to speak from (iptunnel_pmtud_check_icmp, iptunnel_pmtud_build_icmp,
// net/ipv4/ip_tunnel_core.c). It reports whether the frame has ended so.
func (w *World) tunnelTooBig(dev *Link, p *packet, mtu int) bool {
	if mtu < 576 || p.etherType != ethIP || p.flags != ipDF || p.fragOffset != 0 ||
		p.dst.broadcast() || p.dst.multicast() || p.src.zeronet() || p.src.loopback() || p.src.broadcast() || p.src.multicast() ||
		p.proto == protoICMP && icmpIsError(p.icmpType) {
		return false
	}
	e := w.newPacket()
	quoted := p.header
	e.etherType, e.proto, e.ttl, e.flags, e.quoted = ethIP, protoICMP, p.ttl, ipDF, &quoted // the old packet's TTL: iptunnel_pmtud_build_icmp
	e.srcMAC, e.dstMAC, e.src, e.dst = p.dstMAC, p.srcMAC, p.dst, p.src
	e.icmpType, e.icmpCode, e.icmpInfo = icmpDestUnreach, icmpFragNeeded, uint32(mtu)
	e.len = min(28+p.len, 576)
	e.id = dev.ns.nextID()
	w.depart(e, p.flow, !p.reply)
	w.end(p, ending{disposition: trace.TooBig, code: trace.CodeTooBig, dev: dev, mtu: mtu})
	w.netifRx(dev, e)
	return true
}
