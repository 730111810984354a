package sim

import (
	"cmp"
	"net/netip"
	"slices"
)

// SocketInfo is a socket as the kernel tells of it (sock_diag(7)).
type SocketInfo struct {
	Proto         string         // tcp, udp
	State         string         // as ss(8) writes it: LISTEN, ESTAB, UNCONN, …
	Local, Remote netip.AddrPort // Remote of a socket that has none: 0.0.0.0:0
	Device        string         // it is bound to
	// RecvQ and SendQ are bytes that nobody has read, and that nobody has
	// acknowledged; of a listener, connections nobody has accepted, and how many
	// of those there may be.
	RecvQ, SendQ int
	Process      *Process // nil for the kernel's own, and once it has none
	FD           int      // by which the process knows it
}

// Sockets lists the namespace's sockets in the order of ss(8): UDP, then TCP
// that listens, then connections. The kernel's own order within each is that of
// its hash tables.
func (n *Netns) Sockets() []SocketInfo {
	var udp, tcp []SocketInfo
	for _, s := range n.socks.udp {
		i := s.info("udp")
		i.State = "UNCONN"
		if s.remote != 0 {
			i.State = "ESTAB"
		}
		for _, d := range s.queue {
			i.RecvQ += d.Len
		}
		udp = append(udp, i)
	}
	for _, m := range n.w.nodes {
		for _, l := range m.links {
			if v := l.vxlan; v != nil && v.ns == n && l.up && !slices.ContainsFunc(udp, func(i SocketInfo) bool { return i.Process == nil && i.Local.Port() == v.port }) {
				udp = append(udp, SocketInfo{Proto: "udp", State: "UNCONN", Local: netip.AddrPortFrom(IP(0).Addr(), v.port), Remote: netip.AddrPortFrom(IP(0).Addr(), 0)})
			}
		}
	}
	slices.Reverse(udp)
	for _, s := range n.socks.listen {
		i := s.info("tcp")
		i.RecvQ, i.SendQ = len(s.accept), s.limit
		tcp = append(tcp, i)
	}
	slices.Reverse(tcp)
	listening := len(tcp)
	for _, s := range n.socks.conns {
		i := s.info("tcp")
		if s.tcp.state != tcpTimeWait {
			i.RecvQ, i.SendQ = len(s.tcp.in), s.Unacked()
		} else {
			i.Process = nil // tcp_time_wait: the socket proper has gone
		}
		tcp = append(tcp, i)
	}
	slices.SortFunc(tcp[listening:], func(a, b SocketInfo) int {
		waits := func(i SocketInfo) int {
			if i.State == "TIME-WAIT" {
				return 1
			}
			return 0
		}
		return cmp.Or(waits(a)-waits(b), a.Local.Compare(b.Local), a.Remote.Compare(b.Remote))
	})
	return append(udp, tcp...)
}

func (s *Socket) info(proto string) SocketInfo {
	i := SocketInfo{Proto: proto, State: s.State(), Local: netip.AddrPortFrom(s.local.Addr(), s.lport), Remote: netip.AddrPortFrom(s.remote.Addr(), s.rport)}
	if s.dev != nil {
		i.Device = s.dev.name
	}
	if s.proc != nil && !s.closed {
		i.Process = s.proc
		i.FD = 3 + slices.Index(s.proc.socks, s) // after stdin, stdout and stderr
	}
	return i
}
