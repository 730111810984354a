package sim

import (
	"context"
	"net/netip"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Requests are what a program can ask of the kernel by rtnetlink and no
// operation says: the less usual forms of ip(8) and bridge(8). Each is a method
// of Netns beside the operations' own, and answers as they do.
//
//	func (n *Netns) LinkChange(LinkRequest) *op.Failure
//	func (n *Netns) AddrChange(AddrRequest) *op.Failure
//	func (n *Netns) RouteChange(RouteRequest) *op.Failure
//	func (n *Netns) RouteGet(RouteQuery) (RouteAnswer, *op.Failure)
//	func (n *Netns) PolicyChange(PolicyRequest) *op.Failure
//	func (n *Netns) NeighChange(NeighRequest) *op.Failure
//	func (n *Netns) FDBChange(FDBRequest) *op.Failure
//	func (n *Netns) Neighbours() []state.Neigh    all of them, of whatever state
//	func (n *Netns) Routes() []state.Route    the rows of every table, local included, in the order of the kernel's dump

// Request makes requests of a node's kernel, as Apply does an operation.
func (w *World) Request(ctx context.Context, node string, fn func(*Netns) *op.Failure) (op.Result, error) {
	return w.Do(ctx, node, func(n *Netns) op.Result { return refused(fn(n)) })
}

// HasTable reports whether the node has a routing table: one is made with its
// first route (fib_new_table), and stays.
func (n *Netns) HasTable(id int) bool { return n.fib.has(id) }

// State is what the node holds.
func (n *Netns) State() state.Node { return n.snapshot() }

// NsidOf is the number by which the node's kernel knows another's namespace;
// ok is false when it never had to do with it.
func (n *Netns) NsidOf(node string) (id int, ok bool) {
	id, ok = n.nsids[n.w.byName[node]]
	return id, ok
}

// Mode says what a request does with what is there: the NLM_F_ flags of its
// message (netlink(7)).
type Mode uint8

// The modes, and how ip(8) calls them.
const (
	Add     Mode = iota // add: NLM_F_CREATE|NLM_F_EXCL
	Replace             // replace: NLM_F_CREATE|NLM_F_REPLACE
	Change              // change: NLM_F_REPLACE
	Append              // append: NLM_F_CREATE|NLM_F_APPEND
	Prepend             // prepend: NLM_F_CREATE
	Test                // test: NLM_F_EXCL
	Delete              // del
)

// LinkRequest sets what a link's operation does not (do_setlink,
// net/core/rtnetlink.c). A nil field is left as it is.
type LinkRequest struct {
	Name string
	// Of the port of a bridge (br_setport, net/bridge/br_netlink.c); a link
	// that is no port refuses them.
	Hairpin, Isolated, Learning, Flood *bool
	Ageing                             *int  // of a bridge: br_set_ageing_time, in hundredths of a second
	VXLANLearning                      *bool // of a vxlan device (vxlan_changelink)
	MTU                                *int  // where 0 or less is meant, which op.LinkSet takes for nothing (dev_validate_mtu)
}

// AddrRequest is an address as `ip addr` writes it (inet_rtm_newaddr and
// inet_rtm_deladdr, net/ipv4/devinet.c). Mode is Add, Replace, Change or Delete.
type AddrRequest struct {
	Mode   Mode
	Dev    string
	Prefix netip.Prefix // not masked; with a peer, its length is the peer's
	Peer   netip.Addr   // zero: none
	// Broadcast, zero: none.
	Broadcast netip.Addr
	Scope     string // "": global, or host for 127.0.0.0/8, as ip(8) fills it in
	Label     string
	Metric    int  // of the connected route
	NoRoute   bool // noprefixroute
	// Any, of a delete: the first address that equals Prefix's, whatever its length.
	Any bool
}

// RouteRequest is a route as `ip route` writes it (inet_rtm_newroute and
// inet_rtm_delroute, net/ipv4/fib_frontend.c). Nothing is filled in: a delete
// whose Type, Scope or Proto is empty takes any.
type RouteRequest struct {
	Mode   Mode
	Table  int    // 1 and up; main is 254
	Type   string // unicast, local, broadcast, throw, blackhole, unreachable, prohibit
	Scope  string // global, site, link, host, nowhere, or a number
	Proto  string // boot, static, kernel, … or a number
	Dst    netip.Prefix
	TOS    uint8
	Via    netip.Addr
	Dev    string
	NoDev  bool // instead of Dev: a device whose number no link has
	Src    netip.Addr
	Metric int
	Onlink bool
}

// RouteQuery asks which way a packet would go: `ip route get`
// (inet_rtm_getroute, net/ipv4/route.c).
type RouteQuery struct {
	Dst, Src netip.Addr // Src zero: not yet chosen
	Iif, Oif string
	NoOif    bool // instead of Oif: a device whose number no link has
	Mark     uint32
	TOS      uint8
	Proto    uint8 // ipproto
	SrcPort  uint16
	DstPort  uint16
}

// RouteAnswer is the kernel's answer to a RouteQuery.
type RouteAnswer struct {
	Type    string // unicast, local, broadcast, multicast
	Table   int
	Via     netip.Addr // zero: on the link
	Dev     string
	Src     netip.Addr // the source it would have, or with Iif the address it would be told by
	MTU     int        // 0 unless the route's cache holds one
	Locked  bool       // packets to there are split rather than told to find a smaller one
	Expires int        // seconds that MTU lasts
	// Cache holds the words in angle brackets after "cache": local, redirect, …
	Cache []string
}

// NeighRequest is a neighbour put in by hand (neigh_add and neigh_delete,
// net/core/neighbour.c).
type NeighRequest struct {
	Mode  Mode
	Dev   string
	IP    netip.Addr
	MAC   *MAC   // nil: not named
	State string // PERMANENT, REACHABLE, STALE, NOARP, …; "" means PERMANENT for Add and Replace, as ip(8) fills in
	Proxy bool   // answer ARP for it on Dev
}

// FDBRequest is a row of a forwarding table put in by hand (rtnl_fdb_add and
// rtnl_fdb_del, net/core/rtnetlink.c).
type FDBRequest struct {
	Mode   Mode
	Dev    string // the port, or the vxlan device
	MAC    MAC
	Master bool // in the table of the bridge that Dev is a port of
	Self   bool // in Dev's own: a vxlan's, or a bridge's for itself
	// State is permanent (local: the bridge takes its frames), static (never
	// ages) or reachable (ages: dynamic).
	State string
	Dst   netip.Addr // vxlan: the remote end
	VNI   int
	Port  int
	Via   string
}

// PolicyRequest adds a rule to the policy database, or deletes one
// (fib_newrule and fib_delrule, net/core/fib_rules.c). To delete, what is set
// has to be equal.
type PolicyRequest struct {
	state.Policy
	Delete           bool
	HasPriority      bool // Priority was named; without it the kernel takes one before the first
	HasMark, HasMask bool // Mark, Mask were named, even as 0
}
