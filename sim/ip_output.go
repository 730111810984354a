package sim

// What goes out (net/ipv4/ip_output.c).

// ipLocalOut sends a packet made here (ip_local_out). Its route is decided:
//
//	p.route ─ OUTPUT ─ a new route, if a rule changed what the first was for ─ ipOutput
func (w *World) ipLocalOut(n *Netns, p *packet) {
	p.ns = n
	if p.id == 0 {
		p.writable().id = n.nextID()
	}
	w.noteRoute(p, p.route.local)
	if p.hash == 0 { // nft's trace asks for it at the first hook: whatever NAT does, it stays
		hash, l4 := p.flowHash()
		p.hash, p.weakHash = hash, !l4
	}
	dst, dev := p.dst, p.route.dev
	p, ok := w.hookDefrag(hookOutput, p, nil)
	if !ok || !w.hook(hookOutput, p, nil, dev) {
		return
	}
	if p.dst != dst {
		w.noteRoute(p, p.route.local)
	}
	w.ipOutput(n, p)
}

// nextID numbers a node's packets (ip_select_ident; the kernel's numbers begin
// by chance, and are counted for each destination).
func (n *Netns) nextID() uint16 {
	n.ipID++
	if n.ipID == 0 {
		n.ipID = 1
	}
	return n.ipID
}

// ipOutput takes a packet past POSTROUTING (ip_output, ip_mc_output). A
// broadcast or multicast one also comes back to the node itself.
func (w *World) ipOutput(n *Netns, p *packet) {
	out := p.route.dev
	if !p.route.input && out != n.lo && (p.route.typ == rtnBroadcast || p.route.typ == rtnMulticast && p.dst == allHosts) {
		back := w.clone(p)
		if w.hook(hookPostrouting, back, nil, out) {
			back.setMACs(0, 0)
			back.typ = toLoopback
			back.journey.branches[back.branch].own = true
			back.route.input, back.route.local = true, true
			w.receive(out, back) // dev_loopback_xmit; netif_rx ends with the softirq
		}
	}
	if w.hook(hookPostrouting, p, nil, out) {
		w.ipFinishOutput(n, p)
	}
}

// ipFinishOutput splits what is too large, and finds the next hop's MAC address
// (ip_finish_output, ip_finish_output2).
func (w *World) ipFinishOutput(n *Netns, p *packet) {
	mtu := n.outputMTU(p)
	if int(p.len) > mtu || p.fragMax != 0 {
		if int(p.len) > mtu && p.flags&ipDF != 0 && (p.fragMax == 0 && !p.mayFragment || int(p.fragMax) > mtu) {
			w.tooBig(p, p.route.dev, mtu)
			return
		}
		if p.fragMax != 0 {
			mtu = min(mtu, int(p.fragMax))
		}
		if int(p.len) > mtu {
			w.fragment(p, mtu, w.ipFinishOutput2)
			return
		}
	}
	w.ipFinishOutput2(p)
}

func (w *World) ipFinishOutput2(p *packet) {
	out := p.route.dev
	if out.kind == kindLoopback {
		out.neighLookup(0, true) // only a listing shows it
		p.setMACs(0, 0)
		w.devXmit(out, p)
		return
	}
	w.neighSend(out.neighLookup(p.route.nextHop(p.dst), true), p)
}

// defaultTTL is what a packet made here begins with.
func (n *Netns) defaultTTL() uint8 { return uint8(n.sys.defaultTTL) }
