package sim

import "time"

// ICMP errors: what a node tells a sender whose packet it could not take on
// (net/ipv4/icmp.c). deliver.go holds what becomes of them there.

const icmpPktFiltered = 13 // ICMP_PKT_FILTERED: communication administratively prohibited

// icmpIsError: the types that tell of a failure (icmp_pointers[].error).
func icmpIsError(typ uint8) bool {
	switch typ {
	case icmpDestUnreach, 4 /* source quench */, icmpRedirect, icmpTimeExceeded, 12 /* parameter problem */ :
		return true
	}
	return false
}

// icmpSend answers a packet with an ICMP error (__icmp_send). It sends nothing
// about packets to everybody, later fragments, and ICMP errors (RFC 1122,
// 3.2.2), and to one address not more than icmp_ratelimit allows. orig remains
// its holder's.
func (w *World) icmpSend(orig *packet, typ, code uint8, info uint32) {
	n := orig.ns
	if !orig.routed && orig.route.dev == nil || orig.typ != toHost || orig.fragOffset != 0 {
		return
	}
	if t := orig.route.typ; t == rtnBroadcast || t == rtnMulticast {
		return
	}
	if orig.proto == protoICMP && icmpIsError(orig.icmpType) || w.icmpSending {
		return
	}
	var src IP // 0: by the way out
	switch {
	case orig.route.local:
		src = orig.dst
	case orig.route.input && orig.in != nil && n.sys.icmpErrorsUseInbound:
		src = orig.in.selectAddr(orig.src, scopeLink)
	}
	p := w.newPacket()
	p.etherType, p.proto, p.ttl = ethIP, protoICMP, n.defaultTTL()
	p.tos = orig.tos&0x1e | 0xc0 // IPTOS_PREC_INTERNETCONTROL
	p.icmpType, p.icmpCode, p.icmpInfo = typ, code, info
	quoted := orig.header
	p.quoted = &quoted
	p.ns = n
	r, errno := n.icmpRoute(orig, src, p.tos)
	if errno != 0 || !n.icmpAllowed(orig.src, typ, code, r.dev) {
		w.discard(p)
		return
	}
	p.src, p.dst = r.src, orig.src
	if p.dst == 0 { // whoever has no address is the node itself
		p.dst = r.src
	}
	if p.src == 0 {
		p.src = dummyIP
	}
	// As much of the packet as fits in 576 bytes (RFC 1812, 4.3.2.3).
	p.len = min(28+orig.len, int32(min(n.pathMTU(&r, p.dst), 576)))
	p.route, p.routed = r, true
	p.attach(orig) // icmp_glue_bits
	w.depart(p, orig.flow, !orig.reply)
	w.icmpSending = true
	w.ipLocalOut(n, p)
	w.icmpSending = false
}

// dummyIP is the source of an error from a node without addresses (INADDR_DUMMY, RFC 7600).
const dummyIP IP = 192<<24 | 8

// icmpRoute finds the way back to the sender (icmp_route_lookup).
func (n *Netns) icmpRoute(orig *packet, src IP, tos uint8) (route, int) {
	mark := uint32(0)
	if n.sys.fwmarkReflect {
		mark = orig.mark
	}
	return n.routeOutput(orig.src, src, nil, mark, tos)
}

// peer is what a node remembers of an address it sends errors to (struct inet_peer).
type inetPeer struct {
	tokens    time.Duration // of the bucket below
	last      int64
	redirects int
}

// peer returns the entry for an address, made if need be. A new one has a full bucket.
func (n *Netns) peer(ip IP) *inetPeer {
	p := n.inet.peers[ip]
	if p == nil {
		if n.inet.peers == nil {
			n.inet.peers = map[IP]*inetPeer{}
		}
		p = &inetPeer{last: n.w.now - int64(time.Minute)}
		n.inet.peers[ip] = p
	}
	return p
}

// icmpAllowed asks the token bucket of the receiver: of what net.ipv4.icmp_ratemask
// names, one message each icmp_ratelimit, and six at once (icmpv4_xrlim_allow,
// inet_peer_xrlim_allow). Without a limit the peer is still noted, which a redirect
// to it waits for.
func (n *Netns) icmpAllowed(to IP, typ, code uint8, out *Link) bool {
	limit := time.Duration(n.sys.icmpRatelimit) * time.Millisecond
	if typ == icmpDestUnreach && code == icmpFragNeeded || typ > 18 || n.sys.icmpRatemask&(1<<typ) == 0 || out == n.lo {
		return true
	}
	p := n.peer(to)
	if n.w.now/int64(jiffy) == p.last/int64(jiffy) { // what it holds is not cut within a jiffy
		return p.take(n.w.now, limit, p.tokens+6*limit)
	}
	return p.take(n.w.now, limit, 6*limit)
}

// errorAllowed asks the same bucket for the errors of the routing decision,
// before icmpSend does: one a second, five at once (ip_error,
// net/ipv4/route.c).
func (n *Netns) errorAllowed(to IP) bool {
	return n.peer(to).take(n.w.now, time.Second, 5*time.Second)
}

func (p *inetPeer) take(now int64, cost, burst time.Duration) bool {
	p.tokens = min(p.tokens+time.Duration(now-p.last), burst)
	p.last = now
	if p.tokens < cost {
		return false
	}
	p.tokens -= cost
	return true
}

// How often a sender is told of a shorter way (ip_rt_redirect_load, _number,
// _silence): each time after twice the pause, nine times in all.
const (
	redirectLoad    = 20 * time.Millisecond
	redirectMost    = 9
	redirectSilence = redirectLoad << (redirectMost + 1)
)

// sendRedirect tells the sender of a packet that leaves where it came in of the
// shorter way (ip_rt_send_redirect).
func (w *World) sendRedirect(n *Netns, p *packet) {
	if n.conf.sendRedirects|p.route.dev.conf.sendRedirects == 0 {
		return
	}
	peer := n.peer(p.src)
	if w.now > peer.last+int64(redirectSilence) {
		peer.tokens, peer.redirects = 0, 0
	}
	switch {
	case peer.redirects >= redirectMost:
		peer.last = w.now
	case peer.redirects == 0 || w.now > peer.last+int64(redirectLoad<<peer.redirects):
		w.icmpSend(p, icmpRedirect, 1 /* ICMP_REDIR_HOST */, uint32(p.route.nextHop(p.dst)))
		peer.last = w.now
		peer.redirects++
	}
}
