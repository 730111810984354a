package sim

import "vethlab/sim/op"

// Up, down and carrier: what follows when a link is switched on or off, or when
// its cable is.

// setUp switches a link on (__dev_open, net/core/dev.c, and each kind's open).
func (n *Netns) setUp(l *Link) *op.Failure {
	if l.up {
		return nil
	}
	if l.kind == kindMacvlan && (l.parent == nil || l.parent.macTaken(l.mac)) { // macvlan_open
		return fail(eaddrinuse, "")
	}
	l.up, l.everUp = true, true
	if l.bridge != nil { // br_stp_enable_bridge
		for _, p := range l.bridge.ports {
			n.w.portState(p)
		}
		if len(l.bridge.ports) > 0 {
			n.w.selectPortState(l)
		}
	}
	// veth_open: both ends have carrier when both are up
	if l.peer != nil && l.peer.up {
		l.carrierTo(true)
		l.peer.carrierTo(true)
	}
	n.addrsUp(l)
	if l.carrierOn {
		n.linkdown(l, false)
	}
	n.linkUp(l)
	n.w.portChanged(l)
	for _, u := range l.uppers {
		u.followCarrier()
	}
	return nil
}

// setDown switches a link off (__dev_close_many). Its addresses stay; routes
// by way of it go (fib_netdev_event).
func (n *Netns) setDown(l *Link) {
	if !l.up {
		return
	}
	l.up = false
	if l.bridge != nil { // br_stp_disable_bridge
		for _, p := range l.bridge.ports {
			n.w.portState(p)
		}
		if len(l.bridge.ports) > 0 {
			n.w.selectPortState(l)
		}
	}
	if l.kind == kindVeth { // veth_close
		l.carrierTo(false)
		if l.peer != nil {
			l.peer.carrierTo(false)
		}
	}
	n.routesDown(l, false)
	n.linkDown(l)
	n.w.portChanged(l)
	for _, u := range l.uppers {
		u.followCarrier()
	}
}

// carrier reports whether the link is up and has a carrier (IFF_LOWER_UP).
func (l *Link) carrier() bool { return l.up && l.carrierOn }

// carrierOff is how some kinds begin (netif_carrier_off).
func (l *Link) carrierOff() { l.carrierOn, l.watched = false, true }

// carrierTo switches the carrier, with what follows (linkwatch_do_dev, and
// NETDEV_CHANGE where the link is up).
func (l *Link) carrierTo(on bool) {
	if l.carrierOn == on {
		return
	}
	l.carrierOn, l.watched = on, true
	n := l.ns
	if l.up {
		n.linkdown(l, !on)
		n.carrierChanged(l)
	}
	n.w.portChanged(l)
	for _, u := range l.uppers {
		u.followCarrier()
	}
}

// followCarrier gives a macvlan its parent's carrier
// (netif_stacked_transfer_operstate).
func (l *Link) followCarrier() {
	if l.kind == kindMacvlan && l.parent != nil {
		l.carrierTo(l.parent.carrierOn)
	}
}

// portChanged has a bridge look at a port whose link changed (br_device_event).
func (w *World) portChanged(l *Link) {
	if l.master == nil {
		return
	}
	before := l.port.state
	w.portState(l)
	if l.port.state != before {
		w.selectPortState(l.master)
	}
}

// selectPortState gives a bridge carrier as long as a port forwards
// (br_port_state_selection). A bridge that never had a port nor a chosen
// address has carrier all the same: nobody has looked yet.
func (w *World) selectPortState(br *Link) {
	live := false
	for _, p := range br.bridge.ports {
		live = live || p.port.state == portForwarding
	}
	br.carrierTo(live)
}

// operstate is the state of RFC 2863, as `ip link` prints it
// (default_operstate, net/core/link_watch.c).
func (l *Link) operstate() string {
	switch {
	case !l.up:
		return "DOWN"
	case !l.watched:
		return "UNKNOWN"
	case l.carrierOn:
		return "UP"
	}
	if b := l.beneath(); b != nil {
		// The kernel looks the index up in the link's own namespace, wherever
		// the device beneath is.
		if x := l.ns.linkAt(b.index); x != nil && x != l && !x.carrierOn {
			return "LOWERLAYERDOWN"
		}
	}
	return "DOWN"
}
