package exec

import (
	"net/netip"

	mnl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
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

// portStates are the states of a bridge's port (BR_STATE_*, include/uapi/linux/if_bridge.h).
var portStates = [...]string{"disabled", "listening", "learning", "forwarding", "blocking"}

// readPorts reads a node's bridge ports, by the index of their link. netlink's
// Protinfo leaves out the state, which does not follow from the link: a port of
// a bridge that is down forwards nothing.
func (n *node) readPorts() map[int]*state.BridgePort {
	c, err := mnl.Dial(unix.NETLINK_ROUTE, &mnl.Config{NetNS: int(n.ns.Fd())})
	if err != nil {
		return nil
	}
	defer c.Close()
	req := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msgs, err := c.Execute(mnl.Message{Header: mnl.Header{Type: unix.RTM_GETLINK, Flags: mnl.Request | mnl.Dump}, Data: req.Serialize()})
	if err != nil {
		return nil
	}
	ports := map[int]*state.BridgePort{}
	for _, m := range msgs {
		if len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		index := int(nl.DeserializeIfInfomsg(m.Data).Index)
		d, err := mnl.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
		if err != nil {
			continue
		}
		for d.Next() {
			if d.Type() == unix.IFLA_PROTINFO {
				d.Nested(func(d *mnl.AttributeDecoder) error {
					ports[index] = readPort(d)
					return nil
				})
			}
		}
	}
	return ports
}

func readPort(d *mnl.AttributeDecoder) *state.BridgePort {
	p := &state.BridgePort{State: portStates[0]}
	for d.Next() {
		switch d.Type() {
		case unix.IFLA_BRPORT_STATE:
			if s := d.Uint8(); int(s) < len(portStates) {
				p.State = portStates[s]
			}
		case unix.IFLA_BRPORT_NO:
			p.No = int(d.Uint16())
		case unix.IFLA_BRPORT_MODE:
			p.Hairpin = d.Uint8() != 0
		case unix.IFLA_BRPORT_ISOLATED:
			p.Isolated = d.Uint8() != 0
		case unix.IFLA_BRPORT_LEARNING:
			p.Learning = d.Uint8() != 0
		case unix.IFLA_BRPORT_UNICAST_FLOOD:
			p.Flood = d.Uint8() != 0
		}
	}
	return p
}
