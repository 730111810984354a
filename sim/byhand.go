package sim

import (
	"slices"
	"time"

	"vethlab/sim/op"
)

// What somebody puts in by hand where the kernel learns otherwise: neighbours,
// rows of forwarding tables, a port's settings.

// NeighChange adds, changes or deletes a neighbour (neigh_add and neigh_delete,
// net/core/neighbour.c).
func (n *Netns) NeighChange(r NeighRequest) *op.Failure {
	l, f := n.find(r.Dev)
	if f != nil {
		return f
	}
	ip := ipOf(r.IP)
	if r.Proxy {
		switch {
		case r.Mode == Delete && !l.proxies[ip]:
			return fail(enoent, "")
		case r.Mode == Delete:
			delete(l.proxies, ip)
		case l.proxies == nil:
			l.proxies = map[IP]bool{ip: true}
		default:
			l.proxies[ip] = true
		}
		return nil
	}
	nb := l.neighLookup(ip, false)
	if r.Mode == Delete {
		if nb == nil {
			return fail(enoent, "")
		}
		n.w.neighDelete(nb)
		return nil
	}
	state, ok := nudPermanent, r.State == ""
	for s, name := range nudNames {
		if name == r.State {
			state, ok = s, true
		}
	}
	if !ok {
		return fail(einval, "")
	}
	var flags neighFlags = neighAdmin
	switch {
	case nb == nil && (r.Mode == Change || r.Mode == Test):
		return fail(enoent, "")
	case nb == nil:
		nb = l.neighLookup(ip, true)
		flags |= neighOverride
	case r.Mode == Add || r.Mode == Test:
		return fail(eexist, "")
	case r.Mode == Replace || r.Mode == Change:
		flags |= neighOverride
	}
	if state.valid() && r.MAC == nil && !nb.state.valid() {
		return fail(einval, "No link layer address given")
	}
	if errno := n.w.neighUpdate(nb, r.MAC, state, flags); errno != 0 {
		return fail(errno, "")
	}
	return nil
}

// FDBChange adds or deletes a row of a forwarding table (rtnl_fdb_add and
// rtnl_fdb_del, net/core/rtnetlink.c).
func (n *Netns) FDBChange(r FDBRequest) *op.Failure {
	l, f := n.find(r.Dev)
	switch {
	case f != nil:
		return f
	case l.kind == kindLoopback && r.Mode == Delete:
		return fail(einval, "FDB delete only supported for Ethernet devices")
	case l.kind == kindLoopback:
		return fail(einval, "FDB add only supported for Ethernet devices")
	case r.Master && l.master == nil:
		return fail(eopnotsupp, "")
	case r.Master:
		f = l.master.fdbByHand(l, &r)
	}
	if f != nil || r.Master && !r.Self {
		return f
	}
	switch {
	case l.vxlan != nil:
		return l.vxlan.fdbByHand(&r)
	case l.bridge != nil:
		return l.fdbByHand(nil, &r)
	}
	if r.Mode != Delete && r.State != "" && r.State != "permanent" {
		return fail(einval, "") // ndo_dflt_fdb_add
	}
	return nil // an address that the device itself listens to, which makes no difference here
}

// fdbByHand: br_fdb_add and br_fdb_delete, net/bridge/br_fdb.c. A nil port is
// the bridge itself.
func (br *Link) fdbByHand(port *Link, r *FDBRequest) *op.Failure {
	fdb := br.bridge.fdb
	e := fdb[r.MAC]
	if r.Mode == Delete {
		if e == nil || e.port != port {
			return fail(enoent, "")
		}
		delete(fdb, r.MAC)
		return nil
	}
	local, static := r.State == "" || r.State == "permanent", r.State == "static"
	switch {
	case r.MAC == 0:
		return fail(einval, "")
	case port == nil && !local:
		return fail(einval, "") // "FDB entry towards bridge must be permanent", in the kernel's log
	case port != nil && !local && !static && port.port.state != portLearning && port.port.state != portForwarding:
		return fail(eperm, "")
	case e == nil && r.Mode == Change:
		return fail(enoent, "")
	case e != nil && r.Mode == Add:
		return fail(eexist, "")
	}
	br.newEntry(fdbEntry{mac: r.MAC, port: port, local: local, static: static, seen: br.ns.w.now})
	return nil
}

// fdbByHand: vxlan_fdb_add and vxlan_fdb_delete.
func (v *vxlan) fdbByHand(r *FDBRequest) *op.Failure {
	e, dst := v.fdb[r.MAC], ipOf(r.Dst)
	everybody := r.MAC.multicast() || r.MAC == 0
	if r.Mode == Delete {
		if e == nil {
			return fail(enoent, "")
		}
		if dst != 0 && len(e.remotes) > 1 {
			e.remotes, e.ways = slices.DeleteFunc(e.remotes, func(ip IP) bool { return ip == dst }), nil
		} else if dst == 0 || slices.Contains(e.remotes, dst) {
			delete(v.fdb, r.MAC)
		}
		return nil
	}
	switch {
	case dst == 0:
		return fail(einval, "")
	case e == nil && r.Mode == Change:
		return fail(enoent, "")
	case e != nil && r.Mode == Add:
		return fail(eexist, "")
	case e != nil && r.Mode == Append:
		if everybody && !slices.Contains(e.remotes, dst) {
			e.remotes = append(e.remotes, dst)
		}
		return nil
	case e != nil && everybody:
		return fail(eopnotsupp, "")
	}
	v.fdb[r.MAC] = &vxlanEntry{mac: r.MAC, remotes: []IP{dst}, permanent: r.State == "" || r.State == "permanent",
		static: r.State == "static", used: v.ns.w.now}
	return nil
}

// LinkChange sets what LinkSet does not.
func (n *Netns) LinkChange(r LinkRequest) *op.Failure {
	l, f := n.find(r.Name)
	if f != nil {
		return f
	}
	flags := []struct{ want, is *bool }{{r.Hairpin, nil}, {r.Isolated, nil}, {r.Learning, nil}, {r.Flood, nil}}
	if p := l.port; p != nil {
		flags[0].is, flags[1].is, flags[2].is, flags[3].is = &p.hairpin, &p.isolated, &p.learning, &p.flood
	}
	for _, x := range flags {
		if x.want != nil && x.is == nil {
			return fail(eopnotsupp, "")
		}
		if x.want != nil {
			*x.is = *x.want
		}
	}
	if r.Ageing != nil {
		if l.bridge == nil {
			return fail(eopnotsupp, "")
		}
		l.bridge.ageing = time.Duration(*r.Ageing*5/2) * jiffy // clock_t_to_jiffies
	}
	if r.VXLANLearning != nil {
		if l.vxlan == nil {
			return fail(eopnotsupp, "")
		}
		l.vxlan.learning = *r.VXLANLearning
	}
	if r.MTU != nil {
		return l.changeMTU(*r.MTU)
	}
	return nil
}
