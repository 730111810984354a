package exec

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vethlab/sim/state"
)

// readPolicy: netlink does not tell what a rule that looks no table up does
// instead, but for goto.
func readPolicy(r netlink.Rule) state.Policy {
	p := state.Policy{Priority: max(0, r.Priority), Table: r.Table, Iif: r.IifName, Oif: r.OifName, Not: r.Invert, TOS: int(r.Tos),
		Mark: r.Mark}
	if r.Mask != nil && *r.Mask != ^uint32(0) {
		p.Mask = *r.Mask
	}
	if r.Goto >= 0 {
		p.Action, p.Goto = "goto", r.Goto
	}
	if r.SuppressPrefixlen >= 0 {
		p.Suppress = &r.SuppressPrefixlen
	}
	if r.Protocol != unix.RTPROT_UNSPEC {
		p.Proto = netlink.RouteProtocol(r.Protocol).String()
	}
	if r.Src != nil {
		p.From = r.Src.String()
	}
	if r.Dst != nil {
		p.To = r.Dst.String()
	}
	return p
}

// addrRest reads what only some addresses have.
func addrRest(a netlink.Addr, s *state.Addr) {
	s.Secondary = a.Flags&unix.IFA_F_SECONDARY != 0
	s.NoRoute = a.Flags&unix.IFA_F_NOPREFIXROUTE != 0
	if a.Peer == nil || a.Peer.IP.Equal(a.IP) {
		return
	}
	if ip, ok := netip.AddrFromSlice(a.Peer.IP.To4()); ok {
		ones, _ := a.Peer.Mask.Size()
		s.Peer, s.Prefix = ip, netip.PrefixFrom(s.Prefix.Addr(), ones)
	}
}

// ageing is a bridge's ageing time in hundredths of a second, where it is not
// the kernel's own (USER_HZ is 100).
func ageing(b *netlink.Bridge) *int {
	if b.AgeingTime == nil || *b.AgeingTime == 30000 {
		return nil
	}
	n := int(*b.AgeingTime)
	return &n
}
