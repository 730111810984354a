package exec

import (
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vethlab/sim/op"
)

// A link that loses its carrier is out of use only when the kernel's link watch
// has looked at it: then its routes are marked linkdown, its neighbours
// forgotten, its macvlans and its bridge told. That is at once, or, where the
// link has the same index as its peer, up to a second later, and depends on all
// other links of the machine (linkwatch_urgent_event, linkwatch_schedule_work,
// net/core/link_watch.c). So that a command's consequences are there when the
// command is done, we have it look: whoever asks for a single link makes the
// kernel do so first (rtnl_getlink, linkwatch_sync_dev).

// movesCarriers reports whether an operation may give or take a carrier.
func movesCarriers(o op.Op) bool {
	switch o.(type) {
	case op.LinkSet, op.LinkDel, op.NetnsDel, op.ProcKill, op.Tool: // with a namespace its links die
		return true
	}
	return false
}

// syncCarriers has the kernel look at each link whose operational state is not
// yet what its carrier says. One may bring the next: a macvlan follows its parent.
func (in *inside) syncCarriers() {
	for again, rounds := true, 0; again && rounds < 4; rounds++ {
		again = false
		for _, n := range in.all() {
			links, err := retry(n.handle.LinkList)
			if err != nil {
				continue
			}
			for _, l := range links {
				a := l.Attrs()
				if a.RawFlags&unix.IFF_UP == 0 || (a.RawFlags&unix.IFF_LOWER_UP != 0) == (a.OperState == netlink.OperUp) {
					continue
				}
				// A device that has no such state stays unknown; a pair's end is so only
				// until the first look, and lets nothing out until then (noop_qdisc).
				if a.OperState == netlink.OperUnknown && l.Type() != "veth" {
					continue
				}
				n.handle.LinkByIndex(a.Index)
				in.touch(n)
				again = true
			}
		}
	}
}
