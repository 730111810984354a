package sim

import "net/netip"

// Link is a network device (struct net_device).
type Link struct {
	ns    *Netns
	index int
	name  string
	kind  linkKind
	mac   MAC
	mtu   int
	up    bool // IFF_UP

	addrs []ifAddr // in the order the kernel keeps them: primaries first within a scope
	conf  devConf  // net.ipv4.conf.NAME

	peer   *Link       // veth: the other end
	parent *Link       // macvlan, vxlan: the device beneath
	master *Link       // the bridge it is a port of
	port   *bridgePort // with a master: its settings there
	bridge *bridge     // when it is a bridge itself
	vxlan  *vxlan
}

// linkKind is the sort of device, as `ip -d link` names it.
type linkKind string

const (
	kindLoopback linkKind = "loopback"
	kindVeth     linkKind = "veth"
	kindBridge   linkKind = "bridge"
	kindMacvlan  linkKind = "macvlan"
	kindVXLAN    linkKind = "vxlan"
)

// ifAddr is an address on a link (struct in_ifaddr).
type ifAddr struct {
	prefix    netip.Prefix // not masked
	ip        IP
	bits      int
	broadcast IP // 0: none
	scope     string
	label     string
	secondary bool
}

// devConf are the settings of net.ipv4.conf.{all,default,DEV} that the model
// knows (struct ipv4_devconf). Which of "all" and DEV counts differs from
// setting to setting: see IN_DEV_* in include/linux/inetdevice.h.
type devConf struct {
	forwarding    int
	rpFilter      int
	routeLocalnet int
	arpIgnore     int
	arpAnnounce   int
	arpFilter     int
	arpAccept     int
	arpNotify     int
	proxyARP      int
	acceptLocal   int
	srcValidMark  int
	sendRedirects int
}
