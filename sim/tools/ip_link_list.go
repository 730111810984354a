package tools

import (
	"fmt"
	"slices"
	"strings"

	"vethlab/sim/state"
)

// The listings of ip link and, without the addresses themselves, of ip address
// (print_linkinfo in ip/ipaddress.c, and print_opt of each type's own file).

// list is ip link show and ip address show.
func (i *iproute) list(linkOnly bool) {
	object := orElse(linkOnly, "link", "addr")
	f := i.readFilter(object, false)
	i.begin()
	for k := range i.state().Links {
		l := &i.state().Links[k]
		if f.dev != "" && l.Name != f.dev {
			continue
		}
		answered, shown := f.link(l)
		if !answered {
			continue
		}
		matching := slices.ContainsFunc(l.Addrs, func(a state.Addr) bool { return f.addr(l, a) })
		if f.family != "link" && !matching && (len(l.Addrs) > 0 || f.family != "") {
			continue // ipaddr_filter
		}
		i.open("")
		noLink := f.oneline && f.family != "link" && !i.brief
		switch {
		case shown && f.label == "" && !noLink:
			i.linkInfo(l, f, linkOnly)
		case shown:
		default:
		}
		if shown && f.family != "link" || noLink && f.family != "link" {
			i.addrInfos(l, f)
		}
		i.close()
	}
	i.end()
}

// linkInfo prints a link (print_linkinfo).
func (i *iproute) linkInfo(l *state.Link, f addrFilter, linkOnly bool) {
	if i.brief {
		mdown := i.nameAndLink("%-16s ", l)
		i.cstr(operColor(l.State), "operstate", "%-14s ", l.State)
		if f.family == "link" {
			i.cstr(yellow, "address", "%s ", macText(l))
			i.linkFlags(l, mdown)
			i.text("\n")
		}
		return
	}
	i.num("ifindex", "%d: ", l.Index)
	mdown := i.nameAndLink("%s: ", l)
	i.linkFlags(l, mdown)
	i.num("mtu", "mtu %d ", l.MTU)
	i.str("qdisc", "qdisc %s ", qdisc(l))
	if l.Master != "" {
		i.str("master", "master %s ", l.Master)
	}
	i.text("state ")
	i.cstr(operColor(l.State), "operstate", "%s ", l.State)
	if linkOnly {
		i.str("linkmode", "mode %s ", "DEFAULT")
	}
	i.str("group", "group %s ", orElse(i.numeric, "0", "default"))
	i.num("txqlen", "qlen %d", 1000)
	if f.family == "" || f.family == "link" || i.details > 0 {
		i.nl()
		loop := l.Type == "loopback"
		i.str("link_type", "    link/%s ", orElse(loop, "loopback", "ether"))
		i.cstr(yellow, "address", "%s", macText(l))
		i.text(" brd ")
		i.cstr(yellow, "broadcast", "%s", orElse(loop, "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"))
	}
	switch {
	case l.Type == "veth" && l.PeerNode != i.node:
		i.linkNetns(l.PeerNode, l.PeerNsid)
	case l.Type == "macvlan" && l.ParentNode != "":
		id, _ := i.nsid(l.ParentNode)
		i.linkNetns(l.ParentNode, &id)
	case l.VXLAN != nil && l.VXLAN.Node != "":
		id, _ := i.nsid(l.VXLAN.Node)
		i.linkNetns(l.VXLAN.Node, &id)
	}
	if i.details > 0 {
		i.linkDetails(l, linkOnly)
	}
	i.text("\n")
}

// macText is a link's address; that of the loopback device is all zeros.
func macText(l *state.Link) string { return orDefault(l.MAC, "00:00:00:00:00:00") }

// qdisc is the link's queueing discipline; where it is not known, that of a
// link that was never up, if it is down.
func qdisc(l *state.Link) string {
	if l.Qdisc != "" {
		return l.Qdisc
	}
	return orElse(l.Up, "noqueue", "noop")
}

func operColor(s string) string {
	return map[string]string{"UP": green, "DOWN": red}[s]
}

// nameAndLink prints a link's name and, after an @, the link it belongs to;
// it reports whether that one is down (print_name_and_link).
func (i *iproute) nameAndLink(format string, l *state.Link) (down bool) {
	name, other := l.Name, ""
	switch {
	case l.Type == "veth" && l.PeerNode != i.node:
		if i.json {
			i.num("link_index", "", l.PeerIndex)
		}
		other = "if" + itoa(l.PeerIndex)
	case l.Type == "veth":
		other = l.PeerName
	case l.Type == "macvlan" && l.ParentNode != "":
		index := 0
		if n := i.other(l.ParentNode); n != nil && n.Link(l.Parent) != nil {
			index = n.Link(l.Parent).Index
		}
		if i.json {
			i.num("link_index", "", index)
		}
		other = "if" + itoa(index)
	case l.Type == "macvlan":
		other = l.Parent
	case l.VXLAN != nil && l.VXLAN.Node != "": // it names itself (dev_get_iflink)
		if i.json {
			i.num("link_index", "", l.Index)
		}
		other = "if" + itoa(l.Index)
	}
	if other != "" && !i.json {
		name += "@" + other
	}
	if o := i.state().Link(other); o != nil && (l.Type == "macvlan" && l.ParentNode == "" || l.PeerNode == i.node) {
		i.str("link", "", o.Name)
		down = !o.Up
	}
	i.cstr(cyan, "ifname", format, name)
	return down
}

func linkFlagNames(l *state.Link) (words []string) {
	if l.Up && !l.Carrier {
		words = append(words, "NO-CARRIER")
	}
	if l.Type == "loopback" {
		words = append(words, "LOOPBACK")
	} else {
		words = append(words, "BROADCAST", "MULTICAST")
	}
	if l.Up {
		words = append(words, "UP")
	}
	if l.Up && l.Carrier {
		words = append(words, "LOWER_UP")
	}
	return words
}

func (i *iproute) linkFlags(l *state.Link, mdown bool) {
	words := linkFlagNames(l)
	if mdown {
		words = append(words, orElse(i.json, ",M-DOWN", "M-DOWN"))
		if i.json {
			words[len(words)-1] = "M-DOWN"
		}
	}
	if i.json {
		i.printer.list("flags", "", words)
		return
	}
	i.text("<%s> ", strings.Join(words, ","))
}

// linkNetns prints where the other end of a veth pair is, or what a macvlan is on.
func (i *iproute) linkNetns(node string, nsid *int) {
	id := 0
	if nsid != nil {
		id = *nsid
	}
	i.num("link_netnsid", "", id)
	if i.json {
		return
	}
	if i.named(node) == node && node != "" {
		i.text(" link-netns %s", node)
		return
	}
	i.text(" link-netnsid %d", id)
}

// linkDetails prints what ip -d adds. Numbers that do not vary in a lab are
// the kernel's defaults.
func (i *iproute) linkDetails(l *state.Link, linkOnly bool) {
	port := l.Port != nil
	i.num("promiscuity", " promiscuity %d ", i.promiscuity(l))
	i.num("allmulti", " allmulti %d ", orElse(port, 1, 0))
	loop := l.Type == "loopback"
	i.num("min_mtu", "minmtu %d ", orElse(loop, 0, 68))
	i.num("max_mtu", "maxmtu %d ", orElse(loop, 0, 65535))
	if !loop {
		i.open("linkinfo")
		i.nl()
		i.str("info_kind", "    %s ", l.Type)
		switch {
		case l.Type == "bridge":
			i.bridgeDetails(l)
		case l.Type == "macvlan":
			i.open("info_data")
			i.str("mode", "mode %s ", "bridge")
			i.num("bcqueuelen", "bcqueuelen %d ", 1000)
			i.num("usedbcqueuelen", "usedbcqueuelen %d ", 1000)
			i.close()
		case l.VXLAN != nil:
			i.vxlanDetails(l)
		}
		if port {
			i.nl()
			i.str("info_slave_kind", "    %s_slave ", "bridge")
			i.open("info_slave_data")
			i.portDetails(l)
			i.close()
		}
		i.close()
	}
	if linkOnly && (l.MTU >= ipv6MTU || loop) {
		i.str("inet6_addr_gen_mode", "addrgenmode %s ", "eui64")
	}
	queues := orElse(l.Type == "veth", 2, 1)
	i.num("num_tx_queues", "numtxqueues %d ", queues)
	i.num("num_rx_queues", "numrxqueues %d ", queues)
	i.num("gso_max_size", "gso_max_size %d ", 65536)
	i.num("gso_max_segs", "gso_max_segs %d ", 65535)
	alone := l.VXLAN != nil && l.Parent == "" ||
		l.Type == "bridge" && !slices.ContainsFunc(i.state().Links, func(p state.Link) bool { return p.Master == l.Name })
	i.num("tso_max_size", "tso_max_size %d ", orElse(alone, 65536, 524280))
	i.num("tso_max_segs", "tso_max_segs %d ", 65535)
	i.num("gro_max_size", "gro_max_size %d ", 65536)
}

// ipv6MTU is the least MTU with which a link has anything of IPv6
// (IPV6_MIN_MTU).
const ipv6MTU = 1280

// promiscuity counts who wants a link to take every frame: the bridge it is a
// port of, and, as a veth cannot filter by more than its own address, each
// macvlan on it that is up with another (__dev_set_rx_mode, net/core/dev.c).
func (i *iproute) promiscuity(l *state.Link) (n int) {
	if l.Port != nil {
		n++
	}
	for _, o := range i.state().Links {
		if o.Type == "macvlan" && o.Parent == l.Name && o.Up {
			return n + 1
		}
	}
	return n
}

// bridgeMAC is the address in a bridge's id: none until it has a port, unless
// somebody chose one (br_stp_recalculate_bridge_id).
func bridgeMAC(n *state.Node, l *state.Link) string {
	if l.MACSet || slices.ContainsFunc(n.Links, func(p state.Link) bool { return p.Master == l.Name }) {
		return l.MAC
	}
	return "00:00:00:00:00:00"
}

// bridgeID is how ip writes the id of a bridge: its priority, and its address
// without leading zeros (br_dump_bridge_id).
func bridgeID(n *state.Node, l *state.Link) string {
	if l == nil {
		return ""
	}
	parts := strings.Split(bridgeMAC(n, l), ":")
	for i, p := range parts {
		if parts[i] = strings.TrimPrefix(p, "0"); parts[i] == "" {
			parts[i] = "0"
		}
	}
	return "8000." + strings.Join(parts, ":")
}

func (i *iproute) bridgeDetails(l *state.Link) {
	i.open("info_data")
	id := bridgeID(i.state(), l)
	for _, f := range []struct {
		key string
		n   int
	}{{"forward_delay", 1500}, {"hello_time", 200}, {"max_age", 2000}, {"ageing_time", ageing(l)}, {"stp_state", 0}, {"priority", 32768},
		{"vlan_filtering", 0}} {
		i.num(f.key, f.key+" %d ", f.n)
	}
	i.str("bridge_id", "bridge_id %s ", id)
	i.str("root_id", "designated_root %s ", id)
	for _, key := range []string{"root_port", "root_path_cost", "topology_change", "topology_change_detected"} {
		i.num(key, key+" %d ", 0)
	}
	for _, key := range []string{"hello_timer", "tcn_timer", "topology_change_timer", "gc_timer"} {
		i.timer(key)
	}
	i.hex("group_fwd_mask", "group_fwd_mask %s ", 0)
	i.str("group_addr", "group_address %s ", "01:80:c2:00:00:00")
	for _, f := range []struct {
		key, text string
		n         int
	}{{"mcast_snooping", "", 1}, {"no_linklocal_learn", "", 0}, {"mcast_vlan_snooping", "", 0}, {"mcast_router", "", 1},
		{"mcast_query_use_ifaddr", "", 0}, {"mcast_querier", "", 0}, {"mcast_hash_elasticity", "", 16}, {"mcast_hash_max", "", 4096},
		{"mcast_last_member_cnt", "mcast_last_member_count", 2}, {"mcast_startup_query_cnt", "mcast_startup_query_count", 2},
		{"mcast_last_member_intvl", "mcast_last_member_interval", 100}, {"mcast_membership_intvl", "mcast_membership_interval", 26000},
		{"mcast_querier_intvl", "mcast_querier_interval", 25500}, {"mcast_query_intvl", "mcast_query_interval", 12500},
		{"mcast_query_response_intvl", "mcast_query_response_interval", 1000},
		{"mcast_startup_query_intvl", "mcast_startup_query_interval", 3124}, {"mcast_stats_enabled", "", 0},
		{"mcast_igmp_version", "", 2}, {"mcast_mld_version", "", 1}, {"nf_call_iptables", "", 0}, {"nf_call_ip6tables", "", 0},
		{"nf_call_arptables", "", 0}} {
		i.num(f.key, orDefault(f.text, f.key)+" %d ", f.n)
	}
	i.close()
}

// ageing is a bridge's ageing time in hundredths of a second.
func ageing(l *state.Link) int {
	if l.Ageing != nil {
		return int(uint32(*l.Ageing)) // which is all that rtnetlink tells
	}
	return 30000
}

// timer prints a timer of the spanning tree, which a lab's bridges do not use.
func (i *iproute) timer(key string) { i.raw(key, "0.00", key+"    0.00 ") }

func (i *iproute) vxlanDetails(l *state.Link) {
	v := l.VXLAN
	i.open("info_data")
	i.num("id", "id %d ", v.ID)
	if v.Remote != "" {
		i.str("remote", "remote %s ", v.Remote)
	}
	if v.Local != "" {
		i.str("local", "local %s ", v.Local)
	}
	if l.Parent != "" {
		i.str("link", "dev %s ", l.Parent)
	}
	i.open("port_range")
	i.num("low", "srcport %d ", 0)
	i.num("high", "%d ", 0)
	i.close()
	i.num("port", "dstport %d ", v.Port)
	if i.json {
		i.raw("learning", fmt.Sprint(v.Learning), "")
	} else if !v.Learning {
		i.text("nolearning ")
	}
	for _, f := range []struct {
		key string
		on  bool
	}{{"proxy", v.Proxy}, {"l2miss", v.L2Miss}, {"l3miss", v.L3Miss}} {
		if f.on {
			i.raw(f.key, "true", f.key+" ")
		}
	}
	if i.json {
		i.num("ttl", "", 0)
		i.str("df", "", "unset")
	}
	i.text("ttl auto ")
	i.num("ageing", "ageing %d ", 300)
	i.raw("udp_csum", "true", "udpcsum ")
	i.raw("udp_zero_csum6_tx", "false", "noudp6zerocsumtx ")
	i.raw("udp_zero_csum6_rx", "false", "noudp6zerocsumrx ")
	i.close()
}

// pathCost is what a bridge takes a way by a port to cost: that of its speed, or
// the default where it has none of its own (port_cost, net/bridge/br_if.c).
func pathCost(l *state.Link) int {
	if l.VXLAN != nil && l.Parent == "" {
		return 100
	}
	return 2
}

func (i *iproute) portDetails(l *state.Link) {
	p := l.Port
	no := i.portNo(l)
	master := bridgeID(i.state(), i.state().Link(l.Master))
	i.str("state", "state %s ", p.State)
	i.num("priority", "priority %d ", 32)
	i.num("cost", "cost %d ", pathCost(l))
	i.onOff("hairpin", "hairpin %s ", p.Hairpin)
	i.onOff("guard", "guard %s ", false)
	i.onOff("root_block", "root_block %s ", false)
	i.onOff("fastleave", "fastleave %s ", false)
	i.onOff("learning", "learning %s ", p.Learning)
	i.onOff("flood", "flood %s ", p.Flood)
	i.hex("id", "port_id %s ", uint64(0x8000|no))
	i.hex("no", "port_no %s ", uint64(no))
	i.num("designated_port", "designated_port %d ", 0x8000|no)
	i.num("designated_cost", "designated_cost %d ", 0)
	i.str("bridge_id", "designated_bridge %s ", master)
	i.str("root_id", "designated_root %s ", master)
	i.timer("hold_timer")
	i.timer("message_age_timer")
	i.timer("forward_delay_timer")
	i.num("topology_change_ack", "topology_change_ack %d ", 0)
	i.num("config_pending", "config_pending %d ", 0)
	i.onOff("proxy_arp", "proxy_arp %s ", false)
	i.onOff("proxy_arp_wifi", "proxy_arp_wifi %s ", false)
	i.num("multicast_router", "mcast_router %d ", 1)
	i.text("mcast_fast_leave off ")
	i.onOff("mcast_flood", "mcast_flood %s ", true)
	i.onOff("bcast_flood", "bcast_flood %s ", true)
	i.onOff("mcast_to_unicast", "mcast_to_unicast %s ", false)
	i.onOff("neigh_suppress", "neigh_suppress %s ", false)
	i.hex("group_fwd_mask", "group_fwd_mask %s ", 0)
	i.str("group_fwd_mask_str", "group_fwd_mask_str %s ", "0x0")
	i.onOff("vlan_tunnel", "vlan_tunnel %s ", false)
	i.onOff("isolated", "isolated %s ", p.Isolated)
	i.onOff("locked", "locked %s ", false)
}

// portNo is the number of a bridge's port, from 1 (find_portno, net/bridge/br_if.c).
func (c *call) portNo(l *state.Link) int {
	if l.Port != nil && l.Port.No > 0 {
		return l.Port.No
	}
	n := 0
	for _, o := range c.state().Links {
		if o.Master == l.Master {
			n++
		}
		if o.Index == l.Index {
			break
		}
	}
	return n
}
