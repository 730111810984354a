package sim

import (
	"slices"
	"strconv"
	"strings"

	"vethlab/sim/op"
)

// LinkSet changes a link, part by part in the kernel's order (do_setlink,
// net/core/rtnetlink.c). Like there, the parts before one that is refused stay.
func (n *Netns) LinkSet(o op.LinkSet) *op.Failure {
	// What ip(8) looks up before it asks the kernel, the link itself last; brctl(8)
	// the other way round.
	var target *Netns
	var master, l *Link
	var f, noMaster *op.Failure
	if o.Netns != "" {
		if target, f = n.netnsNamed(o.Netns); f != nil && f.What == op.NoNetns {
			return f
		}
	}
	noProcess := f // which the kernel says
	if o.Free {
		if _, f = n.find(o.Name); f != nil {
			return f
		}
	}
	if o.Master != "" {
		if master, f = n.find(o.Master); f != nil {
			index, numbered := indexIn(o.Master)
			if !numbered || o.Free {
				return f
			}
			if master = n.linkAt(index); master == nil {
				noMaster = fail(einval, "") // which the kernel says
			}
		}
	}
	if l, f = n.find(o.Name); f != nil {
		return f
	}
	if noProcess != nil {
		return noProcess
	}
	if o.Free && master != nil && master.bridge == nil {
		return notBridge(master)
	}
	if o.Free && master != nil && l.master != nil {
		return &op.Failure{Name: o.Name, Errno: ebusy}
	}
	if target != nil {
		if f := n.w.moveLink(l, target); f != nil {
			return f
		}
	}
	if o.MAC != "" {
		mac, f := parseMAC(o.MAC)
		if f == nil {
			f = l.setMAC(mac)
		}
		if f != nil {
			return f
		}
	}
	if o.MTU != 0 {
		if f := l.changeMTU(o.MTU); f != nil {
			return f
		}
	}
	if o.NewName != "" {
		if f := l.rename(o.NewName); f != nil {
			return f
		}
	}
	if master != nil || o.NoMaster || noMaster != nil {
		if f := n.w.setMaster(l, master); f != nil {
			return f
		}
		if noMaster != nil {
			return noMaster
		}
	}
	if o.Up != nil && *o.Up {
		return l.ns.setUp(l)
	}
	if o.Up != nil {
		l.ns.setDown(l)
	}
	return nil
}

// moveLink takes a link to another namespace (__dev_change_net_namespace,
// net/core/dev.c): it goes down, its addresses and routes are lost, and it
// keeps its index where that is free.
func (w *World) moveLink(l *Link, to *Netns) *op.Failure {
	n := l.ns
	if l.kind == kindLoopback || l.kind == kindBridge {
		return fail(einval, "The interface netns is immutable")
	}
	if n == to {
		return nil
	}
	if to.byName[l.name] != nil {
		return fail(eexist, "An interface with the same name exists in the target netns")
	}
	n.nsid(to) // for the message that says where it went
	n.withdraw(l)
	for _, u := range slices.Clone(l.uppers) { // vxlan_netdevice_event; a macvlan minds only an end
		if u.kind == kindVXLAN {
			u.ns.unregister(u)
		}
	}
	n.remove(l)
	l.everUp = false // dev_shutdown
	to.register(l, l.index)
	l.numberNamespaces()
	for _, u := range l.uppers {
		u.numberNamespaces()
	}
	return nil
}

// setMAC: dev_set_mac_address and the ndo_set_mac_address of each kind.
func (l *Link) setMAC(mac MAC) *op.Failure {
	switch {
	case mac == l.mac: // netif_set_mac_address asks the driver only for a change, but tells everybody
		if l.bridge != nil {
			l.ns.w.neighFlush(l, true)
		} else {
			l.ns.macChanged(l, mac)
		}
	case !mac.valid():
		return fail(eaddrnotavail, "")
	case l.kind == kindMacvlan && l.parent != nil && l.parent.macTaken(mac):
		return fail(eaddrinuse, "") // macvlan_set_mac_address
	}
	if l.bridge != nil {
		l.bridge.macSet = true
		if mac != l.mac {
			l.ns.w.changeBridgeID(l, mac)
		}
		return nil
	}
	if old := l.mac; old != mac {
		l.mac = mac
		l.ns.macChanged(l, old)
		if l.master != nil {
			l.ns.w.recalculateBridgeID(l.master)
		}
	}
	return nil
}

// macTaken reports whether a macvlan's parent, or another that is up on it,
// has the address (macvlan_addr_busy).
func (l *Link) macTaken(mac MAC) bool {
	if l.mac == mac {
		return true
	}
	return slices.ContainsFunc(l.uppers, func(u *Link) bool { return u.kind == kindMacvlan && u.up && u.mac == mac })
}

// changeMTU: dev_set_mtu_ext and the ndo_change_mtu of each kind.
func (l *Link) changeMTU(mtu int) *op.Failure {
	switch {
	case mtu == l.mtu:
		return nil
	case l.kind == kindLoopback && mtu >= 0:
	case mtu < minMTU:
		return fail(einval, "mtu less than device minimum")
	case mtu > maxMTU:
		return fail(einval, "mtu greater than device maximum")
	case l.kind == kindMacvlan && l.parent != nil && mtu > l.parent.mtu,
		l.kind == kindVXLAN && l.parent != nil && mtu > l.parent.mtu-vxlanHeadroom:
		return fail(einval, "")
	}
	if l.bridge != nil {
		l.bridge.mtuSet = true
	}
	l.setMTU(mtu)
	return nil
}

// setMTU sets the MTU with what follows from it (NETDEV_CHANGEMTU).
func (l *Link) setMTU(mtu int) {
	if l.mtu == mtu {
		return
	}
	l.mtu = mtu
	if l.master != nil {
		adjustBridgeMTU(l.master)
	}
	for _, u := range l.uppers {
		if u.kind == kindMacvlan && u.mtu > mtu { // macvlan_device_event
			u.setMTU(mtu)
		}
	}
	if mtu < minMTU {
		l.ns.inetdevDestroy(l) // too small for IP (inetdev_event)
	}
	l.ns.fibChanged()
}

// rename: dev_change_name. The link may be up.
func (l *Link) rename(name string) *op.Failure {
	n := l.ns
	if name == l.name {
		return nil
	}
	if len(name) > 15 || !validName(name) {
		return fail(einval, "")
	}
	name = n.freeName(name)
	if n.byName[name] != nil {
		return fail(eexist, "")
	}
	delete(n.byName, l.name)
	for i, a := range l.addrs { // inetdev_changename: all but the first keep what follows a colon, or get one
		old := a.label
		if a.label = name; i == 0 {
			continue
		}
		if colon := indexByte(old, ':'); colon >= 0 {
			old = old[colon:]
		} else {
			old = ":" + strconv.Itoa(i+1)
		}
		a.label = name[:min(len(name), 15-len(old))] + old
	}
	l.name = name
	n.byName[name] = l
	n.fibChanged()
	return nil
}

// validName: dev_valid_name, net/core/dev.c.
func validName(s string) bool {
	if s == "" || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '/' || c == ':' || c == ' ' || c >= '\t' && c <= '\r':
			return false
		}
	}
	return true
}

func indexByte(s string, c byte) int { return slices.Index([]byte(s), c) }

// indexIn returns the number that ip(8) takes a name like if9 for, where no link
// has that name (ll_idx_a2n).
func indexIn(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "if")
	n, err := strconv.ParseUint(digits, 10, 31)
	return int(n), ok && err == nil && n > 0
}

// setMaster makes a link a port of a bridge, or with nil of none (do_set_master).
func (w *World) setMaster(l, master *Link) *op.Failure {
	if l.master != nil {
		if l.master == master {
			return nil
		}
		w.leaveBridge(l)
	}
	if master == nil {
		return nil
	}
	if master.bridge == nil {
		return notBridge(master)
	}
	return w.joinBridge(master, l)
}

func notBridge(l *Link) *op.Failure {
	return &op.Failure{What: op.NotBridge, Name: l.name, Errno: eopnotsupp}
}

// maxPorts is how many ports a bridge can have (BR_MAX_PORTS).
const maxPorts = 1 << 10

// joinBridge: br_add_if, net/bridge/br_if.c.
func (w *World) joinBridge(br, l *Link) *op.Failure {
	switch {
	case l.kind == kindLoopback || !l.mac.valid():
		return fail(einval, "")
	case l.bridge != nil:
		return fail(eloop, "Can not enslave a bridge to a bridge")
	case slices.ContainsFunc(l.uppers, func(u *Link) bool { return u.kind == kindMacvlan }):
		return fail(ebusy, "") // its frames go to the macvlans already (netdev_rx_handler_register)
	}
	used := map[int]bool{}
	for _, p := range br.bridge.ports {
		used[p.port.no] = true
	}
	no := 1 // find_portno
	for used[no] {
		no++
	}
	if no >= maxPorts {
		return fail(exfull, "")
	}
	l.master, l.port = br, newBridgePort()
	l.port.no = no
	br.bridge.ports = slices.Insert(br.bridge.ports, 0, l)
	before := br.mac
	w.portAdded(br, l)
	w.recalculateBridgeID(br)
	if br.mac != before {
		br.watched = true // the kernel chooses it before the port forwards, and so looks at the carrier
	}
	w.selectPortState(br)
	adjustBridgeMTU(br)
	return nil
}

// leaveBridge: br_del_if.
func (w *World) leaveBridge(l *Link) {
	br := l.master
	br.bridge.ports = slices.DeleteFunc(br.bridge.ports, func(p *Link) bool { return p == l })
	w.portGone(br, l)
	l.master, l.port = nil, nil
	w.selectPortState(br)
	w.recalculateBridgeID(br)
	adjustBridgeMTU(br)
}

// recalculateBridgeID gives a bridge the lowest of its ports' addresses, unless
// somebody chose one (br_stp_recalculate_bridge_id).
func (w *World) recalculateBridgeID(br *Link) {
	if br.bridge.macSet {
		return
	}
	var lowest MAC
	for i, p := range br.bridge.ports {
		if i == 0 || p.mac < lowest {
			lowest = p.mac
		}
	}
	if lowest != br.mac {
		w.changeBridgeID(br, lowest)
	}
}

// changeBridgeID: br_stp_change_bridge_id, net/bridge/br_stp_if.c.
func (w *World) changeBridgeID(br *Link, mac MAC) {
	if old := br.mac; old != mac {
		br.mac = mac
		br.ns.macChanged(br, old)
	}
	w.selectPortState(br)
}

// adjustBridgeMTU follows the smallest of the ports' MTUs, unless somebody
// chose one (br_mtu_auto_adjust).
func adjustBridgeMTU(br *Link) {
	if br.bridge.mtuSet {
		return
	}
	mtu := 0
	for _, p := range br.bridge.ports {
		if mtu == 0 || p.mtu < mtu {
			mtu = p.mtu
		}
	}
	if mtu == 0 {
		mtu = ethDataLen
	}
	br.setMTU(mtu)
}
