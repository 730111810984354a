package sim

import (
	"time"

	"vethlab/sim/trace"
)

// ARP: who has this IP address? (net/ipv4/arp.c, RFC 826)

// arpSolicit asks for a neighbour: everybody, or when its MAC address is known
// and only to be confirmed, itself (arp_solicit). p is a packet that waits, whose
// source is the one to ask with, or nil.
func (w *World) arpSolicit(nb *neigh, p *packet) {
	dev := nb.dev
	n := dev.ns
	src := IP(0)
	switch announce := max(n.conf.arpAnnounce, dev.conf.arpAnnounce); announce {
	case 0:
		if p != nil && n.local(p.src) {
			src = p.src
		}
	case 1:
		if p != nil && n.local(p.src) && dev.onlink(nb.ip, p.src) {
			src = p.src
		}
	}
	if src == 0 {
		src = dev.selectAddr(nb.ip, scopeLink)
	}
	to := broadcastMAC
	if nb.probes < nb.conf().ucastSolicit {
		to = nb.mac
	}
	w.arpSend(dev, false, src, nb.ip, to)
}

// arpSend sends a question or an answer (arp_send_dst).
func (w *World) arpSend(dev *Link, reply bool, src, dst IP, to MAC) {
	p := w.newPacket()
	p.etherType, p.arpReply = ethARP, reply
	p.src, p.dst, p.arpMAC = src, dst, dev.mac
	p.srcMAC, p.dstMAC = dev.mac, to
	p.len = 28
	p.ns = dev.ns
	if reply {
		w.depart(p, arpFlow(dst, src), true)
	} else {
		w.depart(p, arpFlow(src, dst), false)
	}
	w.devXmit(dev, p)
}

// arpFlow names the conversation of a question and its answer.
func arpFlow(asker, asked IP) *flow {
	return &flow{id: "arp " + asker.String() + "→" + asked.String() + " #0"}
}

// arpRcv takes an ARP packet (arp_rcv, arp_process).
func (w *World) arpRcv(dev *Link, p *packet) {
	n := dev.ns
	delivered := ending{disposition: trace.Delivered, code: trace.CodeDelivered}
	unclaimed := ending{disposition: trace.Unclaimed, code: trace.CodeUnclaimed}
	if p.typ == toOther {
		w.end(p, unclaimed)
		return
	}
	sip, tip, sha := p.src, p.dst, p.arpMAC
	localnet := n.conf.routeLocalnet|dev.conf.routeLocalnet != 0
	ours := n.local(tip) && (localnet || !tip.loopback())
	e := unclaimed
	if ours || p.arpReply {
		e = delivered
	}
	request, direct := !p.arpReply, p.typ == toHost
	switch {
	case tip.multicast(), tip.loopback() && !localnet, sip == tip && n.conf.dropGratuitousARP|dev.conf.dropGratuitousARP != 0:
		w.end(p, e)
		return
	case sip == 0: // does somebody have this address? (RFC 5227)
		if request && ours && !n.arpIgnore(dev, sip, tip) {
			w.waits(p, e)
			w.arpSend(dev, true, tip, sip, sha)
		}
		w.end(p, e)
		return
	}
	if request {
		if r, refuse := n.routeARP(dev, sip, tip); refuse == nil {
			if r.typ == rtnLocal {
				w.waits(p, e)
				if !n.arpIgnore(dev, sip, tip) && !n.arpFilter(dev, sip, tip) {
					if nb := w.neighHeard(dev, sip, sha); nb != nil {
						w.arpSend(dev, true, tip, sip, sha)
					}
				}
				w.end(p, e)
				return
			}
			if dev.conf.forwarding != 0 && r.typ == rtnUnicast && r.dev != dev &&
				(n.conf.proxyARP|dev.conf.proxyARP != 0 || dev.proxies[tip]) {
				w.end(p, delivered)
				w.neighHeard(dev, sip, sha)
				reply := func() { w.arpSend(dev, true, tip, sip, sha) }
				if delay := dev.arp.proxyDelay; direct || delay == 0 {
					reply()
				} else { // pneigh_enqueue: by chance, so that several proxies do not answer at once
					w.after(time.Duration(w.random.Int64N(int64(delay))), func() {
						if dev.ns == n && dev.up {
							reply()
						}
					})
				}
				return
			}
		}
	}
	w.end(p, e)
	nb := dev.neighLookup(sip, false)
	garp := sip == tip && n.addrType(sip) == rtnUnicast // arp_is_garp; an answer's target MAC is the sender's
	if nb == nil && dev.arpAccepts(sip) && (garp || !request && n.addrType(sip) == rtnUnicast) {
		nb = dev.neighLookup(sip, true)
	}
	if nb == nil {
		return
	}
	to := nudReachable
	if request || !direct {
		to = nudStale
	}
	var flags neighFlags
	if garp || w.now > nb.updated+int64(nb.conf().lockTime) {
		flags = neighOverride
	}
	w.neighUpdate(nb, &sha, to, flags)
}

// neighHeard notes who asked (neigh_event_ns). It returns nil when the entry
// may not change.
func (w *World) neighHeard(dev *Link, ip IP, mac MAC) *neigh {
	nb := dev.neighLookup(ip, true)
	w.neighUpdate(nb, &mac, nudStale, neighOverride)
	return nb
}

// arpAccepts reports whether a link makes entries of what nobody asked
// (arp_accept): 1 of everything, 2 of what is in one of its networks.
func (l *Link) arpAccepts(sip IP) bool {
	switch max(l.ns.conf.arpAccept, l.conf.arpAccept) {
	case 1:
		return true
	case 2:
		for _, a := range l.addrs {
			if (a.ip^sip)&mask(a.bits) == 0 {
				return true
			}
		}
	}
	return false
}

// arpIgnore reports whether a question is not answered (arp_ignore).
func (n *Netns) arpIgnore(dev *Link, sip, tip IP) bool {
	switch max(n.conf.arpIgnore, dev.conf.arpIgnore) {
	case 1: // only for addresses of this link
		return !dev.confirmAddr(0, tip, scopeHost)
	case 2: // and to those in the same network
		return !dev.confirmAddr(sip, tip, scopeHost)
	case 3: // not for addresses of scope host
		for _, l := range n.links {
			if l.confirmAddr(0, tip, scopeLink) {
				return false
			}
		}
		return true
	case 8:
		return true
	}
	return false
}

// confirmAddr reports whether ip is an address of the link, of that scope or a
// wider one, and in one network with src when that is not 0 (confirm_addr_indev,
// net/ipv4/devinet.c).
func (l *Link) confirmAddr(src, ip IP, scope uint8) bool {
	for _, a := range l.addrs {
		if a.ip == ip && a.scope <= scope && (src == 0 || (a.ip^src)&mask(a.bits) == 0) {
			return true
		}
	}
	return false
}

// arpFilter reports whether the answer would go out elsewhere, and arp_filter
// forbids that.
func (n *Netns) arpFilter(dev *Link, sip, tip IP) bool {
	if n.conf.arpFilter|dev.conf.arpFilter == 0 {
		return false
	}
	r, errno := n.routeOutput(sip, tip, nil, 0, 0)
	return errno != 0 || r.dev != dev
}

// arpAnnounce sends a gratuitous ARP request for each address of a link that
// came up, where arp_notify asks for it (inetdev_send_gratuitous_arp).
func (w *World) arpAnnounce(l *Link) {
	if max(l.ns.conf.arpNotify, l.conf.arpNotify) == 0 || l.kind == kindLoopback {
		return
	}
	for _, a := range l.addrs {
		w.arpSend(l, false, a.ip, a.ip, broadcastMAC)
	}
}
