// Package state describes what a lab holds at one moment: the nodes, and in
// each its links, addresses, routes, rules, neighbours and connections.
//
// Both backends answer with these types, so that a simulated world and a real
// one can be compared field by field, and one can be made from the other.
package state

import (
	"encoding/json"
	"net/netip"
	"strings"
)

// Version of the snapshot's JSON form. It grows when a field changes meaning.
const Version = 1

// Snapshot is the state of a whole lab.
type Snapshot struct {
	Version int    `json:"version"`
	Nodes   []Node `json:"nodes"` // in the order the world made them, then by age
	// Spawned is how many processes were started by op.Spawn.
	Spawned int `json:"spawned,omitempty"`
	// Docker is what daemons of Docker keep beside the kernel (sim/docker): their
	// networks and containers. A model of the lab goes on from it.
	Docker json.RawMessage `json:"docker,omitempty"`
}

// Kind says what part a node plays. It changes nothing in the kernel.
type Kind string

// The parts a node can play.
const (
	Machine   Kind = "machine"   // a computer: it has a /run/netns of its own
	Container Kind = "container" // a namespace somebody made inside a machine
	Switch    Kind = "switch"    // the wiring between machines; it only bridges
)

// Node is one network namespace and all it holds (IPv4).
type Node struct {
	Name    string `json:"name"`
	Kind    Kind   `json:"kind"`
	Machine string `json:"machine,omitempty"` // for a container: the machine it lives in
	// Mounted says that /run/netns/NAME still pins the namespace. A namespace
	// whose name was deleted lives on while a process uses it.
	Mounted bool `json:"mounted"`
	// Keeper is the oldest process in the namespace, where /run/netns does not pin
	// it: with that process's end it is gone.
	Keeper int    `json:"keeper,omitempty"`
	Netns  uint64 `json:"netns,omitempty"` // inode of the namespace, as in `ls -L -i`

	// NetnsLinks are the symbolic links in a machine's /run/netns: where each
	// name leads to.
	NetnsLinks map[string]string `json:"netnsLinks,omitempty"`

	Links     []Link            `json:"links"`
	Routes    []Route           `json:"routes"` // tables main and above; the local table is derived from the addresses
	Policies  []Policy          `json:"policies,omitempty"`
	Neighs    []Neigh           `json:"neighs,omitempty"`
	FDB       []FDB             `json:"fdb,omitempty"`
	Sysctls   map[string]string `json:"sysctls,omitempty"` // "net.ipv4.ip_forward" → "1"; see Sysctls
	Tables    []Table           `json:"tables,omitempty"`
	Conns     []Conn            `json:"conns,omitempty"`
	Listeners []Listener        `json:"listeners,omitempty"`
	// IptablesVariant is the form the rules are kept in: "nf_tables" or "legacy".
	IptablesVariant string `json:"iptablesVariant,omitempty"`
}

// NetnsName is what the /run/netns of its machine calls a node that it pins. A
// node whose name another one has already has it with primes.
func (n *Node) NetnsName() string { return strings.TrimRight(n.Name, "'") }

// Sysctls are the settings a snapshot records for every node, beside
// net.ipv4.conf.DEV.{forwarding,rp_filter,route_localnet,arp_ignore,proxy_arp}
// for every device, and those that somebody wrote with SysctlSet.
var Sysctls = []string{
	"net.ipv4.ip_forward",
	"net.ipv4.conf.default.forwarding",
	"net.ipv4.conf.all.rp_filter",
	"net.ipv4.conf.default.rp_filter",
	"net.ipv4.conf.all.route_localnet",
	"net.ipv4.conf.default.route_localnet",
	"net.ipv4.conf.all.arp_ignore",
	"net.ipv4.conf.all.proxy_arp",
	"net.bridge.bridge-nf-call-iptables",
}

// Link is a network interface.
type Link struct {
	Index   int    `json:"index"` // ifindex, unique in its node
	Name    string `json:"name"`
	Type    string `json:"type"` // as `ip -d link` prints it: veth, bridge, vxlan, macvlan, loopback
	MAC     string `json:"mac,omitempty"`
	MTU     int    `json:"mtu"`     // bytes of the largest IP packet
	Up      bool   `json:"up"`      // IFF_UP: somebody switched it on
	Carrier bool   `json:"carrier"` // IFF_LOWER_UP: the other side is there and up
	State   string `json:"state"`   // operstate: UP, DOWN, LOWERLAYERDOWN, UNKNOWN
	Master  string `json:"master,omitempty"`
	// Qdisc is the queueing discipline: noop until the link was first up, then
	// noqueue; "" when it is not known, as of the kernel's.
	Qdisc string `json:"qdisc,omitempty"`

	PeerNode  string `json:"peerNode,omitempty"` // veth: where the other end is
	PeerName  string `json:"peerName,omitempty"`
	PeerIndex int    `json:"peerIndex,omitempty"`
	// PeerNsid is the number by which this node's kernel knows the namespace the
	// other end is in (ip-netns(8)); nil when it is this one, or not known.
	PeerNsid *int   `json:"peerNsid,omitempty"`
	Parent   string `json:"parent,omitempty"` // macvlan, vxlan: the device beneath
	// ParentNode is where the parent is, when the link was moved away from it.
	ParentNode string `json:"parentNode,omitempty"`

	RX Count `json:"rx,omitzero"` // what it received and sent since it was made
	TX Count `json:"tx,omitzero"`

	Addrs []Addr      `json:"addrs,omitempty"`
	Port  *BridgePort `json:"port,omitempty"` // when it has a master that is a bridge
	// MACSet says that somebody chose a bridge's address; otherwise it follows its
	// ports. The kernel does not tell it: of its bridges those are known that an
	// operation gave an address.
	MACSet bool `json:"macSet,omitempty"`
	// Ageing is how long a bridge remembers a silent address, in hundredths of a
	// second; nil means 30000, the kernel's own.
	Ageing *int   `json:"ageing,omitempty"`
	VXLAN  *VXLAN `json:"vxlan,omitempty"` // when Type is vxlan
}

// Count counts frames, and their bytes without the checksum.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// BridgePort holds a bridge port's flags (`bridge -d link`).
type BridgePort struct {
	State    string `json:"state"`        // forwarding, blocking, disabled, …
	No       int    `json:"no,omitempty"` // its number, from 1; 0 when it is not known
	Hairpin  bool   `json:"hairpin"`
	Isolated bool   `json:"isolated"`
	Learning bool   `json:"learning"`
	Flood    bool   `json:"flood"`
}

// VXLAN holds the settings of a vxlan device.
type VXLAN struct {
	ID       int    `json:"id"`
	Port     int    `json:"port"`
	Local    string `json:"local,omitempty"`
	Remote   string `json:"remote,omitempty"`
	Learning bool   `json:"learning"`
	Proxy    bool   `json:"proxy,omitempty"` // it answers ARP requests itself
	L2Miss   bool   `json:"l2miss,omitempty"`
	L3Miss   bool   `json:"l3miss,omitempty"`
	Node     string `json:"node,omitempty"` // whose addresses and routes the tunnel uses, when the device was moved away
}

// Addr is an IPv4 address on a link.
type Addr struct {
	Prefix    netip.Prefix `json:"prefix"` // the address with its prefix length, not masked
	Broadcast string       `json:"broadcast,omitempty"`
	Scope     string       `json:"scope"` // global, link, host
	Label     string       `json:"label,omitempty"`
	// Secondary: another address of the same network came first (IFA_F_SECONDARY).
	Secondary bool `json:"secondary,omitempty"`
	// Peer is the far end's address, whose network the prefix's length is then of.
	Peer    netip.Addr `json:"peer,omitzero"`
	Metric  int        `json:"metric,omitempty"`        // of the connected route
	NoRoute bool       `json:"noprefixroute,omitempty"` // there is no connected route
}

// Route is a row of a routing table (`ip route show table all`, without table local).
type Route struct {
	Table  int          `json:"table"` // 254 is main
	Type   string       `json:"type"`  // unicast, blackhole, unreachable, prohibit
	Dst    netip.Prefix `json:"dst"`   // 0.0.0.0/0 is the default route
	Via    string       `json:"via,omitempty"`
	Dev    string       `json:"dev,omitempty"`
	Src    string       `json:"src,omitempty"` // preferred source
	Proto  string       `json:"proto"`         // kernel, boot, static
	Scope  string       `json:"scope"`         // global, link, host
	Metric int          `json:"metric,omitempty"`
	Onlink bool         `json:"onlink,omitempty"`
	TOS    int          `json:"tos,omitempty"`
	// Down: the route's link has no carrier (linkdown). It is used all the same,
	// unless ignore_routes_with_linkdown is 1.
	Down bool `json:"down,omitempty"`
}

// Policy is a rule of the policy database (`ip rule`).
type Policy struct {
	Priority int    `json:"priority"`
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`
	Iif      string `json:"iif,omitempty"`
	Oif      string `json:"oif,omitempty"`
	Not      bool   `json:"not,omitempty"` // it holds for what does not match
	TOS      int    `json:"tos,omitempty"`
	Mark     uint32 `json:"mark,omitempty"`
	Mask     uint32 `json:"mask,omitempty"` // of the mark; 0 means all bits
	// Action is what is done: "" looks the table up; blackhole, unreachable,
	// prohibit, nop, or goto the rule of priority Goto.
	Action string `json:"action,omitempty"`
	Goto   int    `json:"goto,omitempty"`
	Table  int    `json:"table"`
	// Suppress, if set, rejects what the table finds when its prefix is no
	// longer than that (suppress_prefixlength).
	Suppress *int   `json:"suppress,omitempty"`
	Proto    string `json:"proto,omitempty"` // who made it: kernel, static, …
}

// Neigh is an entry of the ARP cache.
type Neigh struct {
	IP    netip.Addr `json:"ip"`
	MAC   string     `json:"mac,omitempty"`
	Dev   string     `json:"dev"`
	State string     `json:"state"` // REACHABLE, STALE, DELAY, PROBE, FAILED, INCOMPLETE, PERMANENT, NOARP
}

// FDB is a row of a bridge's (or vxlan device's) forwarding table.
type FDB struct {
	MAC    string `json:"mac"`
	Dev    string `json:"dev"`              // the port behind which the address was seen
	Local  bool   `json:"local,omitempty"`  // the port's own address ("permanent")
	Static bool   `json:"static,omitempty"` // put there by hand
	Dst    string `json:"dst,omitempty"`    // vxlan: the remote tunnel end
	// Age is how many seconds ago it was last seen to send; 0 where the kernel
	// was not asked.
	Age float64 `json:"age,omitempty"`
}

// Table is an iptables table.
type Table struct {
	Name   string  `json:"name"` // raw, mangle, nat, filter
	Chains []Chain `json:"chains"`
}

// Chain is a chain of an iptables table with its rules in order.
type Chain struct {
	Name    string `json:"name"`
	Policy  string `json:"policy,omitempty"` // ACCEPT or DROP; empty for a user's chain
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Rules   []Rule `json:"rules,omitempty"`
	// Absent: iptables lists the built-in chain, but nobody has made it yet, and
	// no packet meets it.
	Absent bool `json:"absent,omitempty"`
	// Counts: packets that meet the policy are counted, since somebody set its
	// counters (iptables -P, -Z, iptables-restore). iptables-legacy always counts.
	Counts bool `json:"counts,omitempty"`
}

// Rule is one rule; its number is its place in the chain, from 1.
type Rule struct {
	// Spec is the rule as iptables-save prints it, without "-A CHAIN":
	// "-s 172.18.0.0/16 ! -o br-demo -j MASQUERADE".
	Spec    string `json:"spec"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Conn is a conntrack entry: two tuples, what was first seen and what the
// answer will look like. NAT is the difference between the two.
type Conn struct {
	ID      uint32 `json:"id,omitempty"`
	Proto   string `json:"proto"` // icmp, tcp, udp
	Orig    Tuple  `json:"orig"`
	Reply   Tuple  `json:"reply"`
	State   string `json:"state,omitempty"` // TCP: ESTABLISHED, TIME_WAIT, …
	Replied bool   `json:"replied"`         // a packet was seen in the reply direction
	Assured bool   `json:"assured"`
	SrcNAT  bool   `json:"srcNAT,omitempty"`
	DstNAT  bool   `json:"dstNAT,omitempty"`
	Mark    uint32 `json:"mark,omitempty"`
	Timeout int    `json:"timeout"` // seconds left
}

// Tuple is one direction of a connection. For ICMP, SrcPort is the echo id.
type Tuple struct {
	Src      netip.Addr `json:"src"`
	Dst      netip.Addr `json:"dst"`
	SrcPort  uint16     `json:"sport,omitempty"`
	DstPort  uint16     `json:"dport,omitempty"`
	ICMPType uint8      `json:"icmpType,omitempty"`
}

// Listener is a socket that waits for others: `ss -ltn`, `ss -lun`.
type Listener struct {
	Proto   string     `json:"proto"` // tcp, udp
	Addr    netip.Addr `json:"addr"`  // 0.0.0.0 listens on every address
	Port    uint16     `json:"port"`
	Process string     `json:"process,omitempty"`
	// Names are those a name server answers for, where its command line tells:
	// NAME=ADDRESS, with commas between.
	Names string `json:"names,omitempty"`
	// To is where a docker-proxy passes things on to: ADDRESS:PORT.
	To string `json:"to,omitempty"`
}

// Node returns the node of that name, or nil.
func (s *Snapshot) Node(name string) *Node {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i]
		}
	}
	return nil
}

// Link returns the link of that name, or nil.
func (n *Node) Link(name string) *Link {
	for i := range n.Links {
		if n.Links[i].Name == name {
			return &n.Links[i]
		}
	}
	return nil
}

// Table returns the iptables table of that name, or nil.
func (n *Node) Table(name string) *Table {
	for i := range n.Tables {
		if n.Tables[i].Name == name {
			return &n.Tables[i]
		}
	}
	return nil
}

// Chain returns the chain of that name, or nil.
func (t *Table) Chain(name string) *Chain {
	for i := range t.Chains {
		if t.Chains[i].Name == name {
			return &t.Chains[i]
		}
	}
	return nil
}

// LocalAddr reports whether the node owns ip, as the kernel's table "local" would.
func (n *Node) LocalAddr(ip netip.Addr) bool {
	for _, l := range n.Links {
		for _, a := range l.Addrs {
			if a.Prefix.Addr() == ip || l.Type == "loopback" && a.Prefix.Contains(ip) {
				return true
			}
		}
	}
	return false
}

// String writes the route as `ip route` would.
func (r *Route) String() string {
	s := "default"
	if r.Dst.Bits() != 0 {
		s = r.Dst.String()
	}
	if r.Type != "" && r.Type != "unicast" {
		s = r.Type + " " + s
	}
	for _, f := range [][2]string{{"via", r.Via}, {"dev", r.Dev}, {"src", r.Src}} {
		if f[1] != "" {
			s += " " + f[0] + " " + f[1]
		}
	}
	return s
}
