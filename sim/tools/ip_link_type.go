package tools

import (
	"net/netip"
	"strings"

	"vethlab/sim"
	"vethlab/sim/op"
)

// The options of each type of link that ip link add takes (parse_opt of
// ip/iplink_bridge.c, iplink_macvlan.c, iplink_vxlan.c, iplink_bridge_slave.c).

// parseBridge reads the options of a bridge. Of them the model has only the
// ageing time.
func (i *iproute) parseBridge() (after []func(string)) {
	for i.more() {
		word := i.take()
		switch {
		case matches(word, "forward_delay"), matches(word, "hello_time"), matches(word, "max_age"):
			key := "forward_delay"
			for _, k := range []string{"max_age", "hello_time", "forward_delay"} {
				if matches(word, k) {
					key = k
				}
			}
			u32(i.next(), "invalid "+key)
			notSimulated("ip link … type bridge %s", key)
		case matches(word, "ageing_time"):
			n := u32(i.next(), "invalid ageing_time")
			after = append(after, func(name string) {
				i.request(func(k *sim.Netns) *op.Failure { return k.LinkChange(sim.LinkRequest{Name: name, Ageing: &n}) })
			})
		case matches(word, "help"):
			fail(1, "Usage: ip link … type bridge …; see ip-link(8)")
		default:
			for _, k := range bridgeOptions {
				if matches(word, k) {
					notSimulated("ip link … type bridge %s", k)
				}
			}
			fail(1, "bridge: unknown command \"%s\"?\nUsage: ip link … type bridge …; see ip-link(8)", word)
		}
	}
	return after
}

var bridgeOptions = strings.Fields("stp_state priority vlan_filtering vlan_protocol group_fwd_mask group_address no_linklocal_learn " +
	"fdb_flush vlan_default_pvid vlan_stats_enabled vlan_stats_per_port mcast_router mcast_snooping mcast_vlan_snooping " +
	"mcast_query_use_ifaddr mcast_querier mcast_hash_elasticity mcast_hash_max mcast_last_member_count mcast_startup_query_count " +
	"mcast_last_member_interval mcast_membership_interval mcast_querier_interval mcast_query_interval mcast_query_response_interval " +
	"mcast_startup_query_interval mcast_stats_enabled mcast_igmp_version mcast_mld_version nf_call_iptables nf_call_ip6tables nf_call_arptables")

func (i *iproute) parseMacvlan() {
	mode := ""
	for i.more() {
		word := i.take()
		switch {
		case matches(word, "mode"):
			switch mode = i.next(); mode {
			case "private", "vepa", "bridge", "passthru", "source":
			default:
				fail(1, `Error: argument of "mode" must be "private", "vepa", "bridge", "passthru" or "source", not "%s"`, mode)
			}
		case matches(word, "flag"):
			switch f := i.next(); f {
			case "nopromisc", "nodst", "null":
				notSimulated("ip link … type macvlan flag")
			default:
				fail(1, `Error: argument of "flag" must be "nopromisc", "nodst" or "null", not "%s"`, f)
			}
		case matches(word, "macaddr"), matches(word, "nopromisc"), matches(word, "nodst"), matches(word, "bcqueuelen"):
			notSimulated("ip link … type macvlan %s", word)
		case matches(word, "help"):
			fail(1, "Usage: ip link … type macvlan …; see ip-link(8)")
		default:
			fail(1, "macvlan: unknown option \"%s\"?\nUsage: ip link … type macvlan …; see ip-link(8)", word)
		}
	}
	if mode != "bridge" {
		notSimulated("a macvlan of mode %s", orDefault(mode, "vepa"))
	}
}

func (i *iproute) parseVXLAN(o *op.LinkAdd) (after []func(string)) {
	seen := map[string]bool{}
	once := func(key, value string) {
		if seen[key] {
			duparg2(key, value)
		}
		seen[key] = true
	}
	unknown, empty := "", false
	multicast := func(a netip.Addr) bool { return a.IsMulticast() }
	family := func(other netip.Addr) string {
		if other.IsValid() {
			return "inet"
		}
		return ""
	}
	// end reads an end of the tunnel; other is the one that was read before.
	end := func(key, v string, other netip.Addr) netip.Addr {
		a := addr(v, family(other))
		if a.any && a.family == "" || multicast(a.addr) {
			invarg("invalid "+key+" address", v)
		}
		ipv6(a.family)
		empty = empty || a.empty()
		return a.addr
	}
	for i.more() {
		word := i.take()
		switch {
		case matches(word, "id"), matches(word, "vni"):
			v := i.next()
			once("id", v)
			o.VNI = number(v, "invalid id", 1<<24-1)
		case matches(word, "group"):
			if o.Remote.IsValid() {
				fail(1, "vxlan: both group and remote cannot be specified")
			}
			v := i.next()
			once("group", v)
			if a := addr(v, family(o.Local)); !multicast(a.addr) {
				invarg("invalid group address", v)
			}
			unknown = "group"
		case matches(word, "remote"):
			if unknown == "group" {
				fail(1, "vxlan: both group and remote cannot be specified")
			}
			v := i.next()
			once("group", v)
			o.Remote = end("remote", v, o.Local)
		case matches(word, "local"):
			v := i.next()
			once("local", v)
			o.Local = end("local", v, o.Remote)
		case matches(word, "dev"):
			v := i.next()
			once("dev", v)
			if i.index(v) == 0 {
				fail(255, `Cannot find device "%s"`, v)
			}
			o.Parent = i.device(v).Name
		case matches(word, "ttl"), matches(word, "hoplimit"):
			v := i.next()
			once("ttl", v)
			if v != "inherit" && v != "auto" && number(v, "invalid TTL", 1<<32-1) > 255 {
				invarg("TTL must be <= 255", v)
			}
			if v != "auto" {
				unknown = "ttl"
			}
		case matches(word, "ageing"):
			v := i.next()
			once("ageing", v)
			if n := 0; v == "none" || func() bool { n = u32(v, "ageing timer"); return n != 300 }() {
				unknown = "ageing"
			}
		case matches(word, "dstport"):
			v := i.next()
			once("dstport", v)
			o.Port = number(v, "dst port", 65535)
		case matches(word, "nolearning"), matches(word, "learning"):
			once(word, word)
			if matches(word, "nolearning") {
				off := false
				after = append(after, func(name string) {
					i.request(func(k *sim.Netns) *op.Failure { return k.LinkChange(sim.LinkRequest{Name: name, VXLANLearning: &off}) })
				})
			}
		case matches(word, "proxy") && !matches(word, "port"):
			once(word, word)
			o.Proxy = true
		case matches(word, "l2miss"):
			once(word, word)
			o.L2Miss = true
		case matches(word, "l3miss"):
			once(word, word)
			o.L3Miss = true
		case matches(word, "help"):
			fail(1, "Usage: ip link … type vxlan …; see ip-link(8)")
		default:
			for _, k := range vxlanOptions {
				if matches(word, k) {
					notSimulated("ip link … type vxlan %s", k)
				}
			}
			fail(1, "vxlan: unknown command \"%s\"?\nUsage: ip link … type vxlan …; see ip-link(8)", word)
		}
	}
	if !seen["id"] {
		fail(1, "vxlan: missing virtual network identifier")
	}
	if unknown == "group" && !seen["dev"] {
		fail(1, "vxlan: 'group' requires 'dev' to be specified")
	}
	if !seen["dstport"] {
		i.warn("%s", vxlanNoPort)
	}
	if empty {
		policyFailed()
	}
	if unknown != "" {
		notSimulated("ip link … type vxlan %s", unknown)
	}
	return after
}

const vxlanNoPort = "vxlan: destination port not specified\n" +
	"Will use Linux kernel default (non-standard value)\n" +
	"Use 'dstport 4789' to get the IANA assigned value\n" +
	"Use 'dstport 0' to get default and quiet this message"

var vxlanOptions = strings.Fields("tos dsfield df label flowlabel maxaddress port srcport noproxy proxy norsc rsc nol2miss l2miss nol3miss " +
	"l3miss udpcsum noudpcsum udp6zerocsumtx noudp6zerocsumtx udp6zerocsumrx noudp6zerocsumrx remcsumtx noremcsumtx remcsumrx " +
	"noremcsumrx external noexternal gbp gpe vnifilter novnifilter")

// parsePort reads the options of a bridge's port: type bridge_slave.
func (i *iproute) parsePort() []func(string) {
	r, given := sim.LinkRequest{}, false
	for i.more() {
		word := i.take()
		flag := func(key string, to **bool) {
			v := onOffWord(key, i.next(), 1)
			*to, given = &v, true
		}
		switch {
		case matches(word, "fdb_flush"), matches(word, "guard"), matches(word, "root_block"), matches(word, "mcast_flood"),
			matches(word, "bcast_flood"), matches(word, "mcast_to_unicast"), matches(word, "proxy_arp"), matches(word, "proxy_arp_wifi"),
			matches(word, "mcast_router"), matches(word, "mcast_fast_leave"), matches(word, "neigh_suppress"), matches(word, "group_fwd_mask"),
			matches(word, "vlan_tunnel"), matches(word, "locked"), matches(word, "backup_port"), matches(word, "nobackup_port"):
			notSimulated("ip link set … type bridge_slave %s", word)
		case matches(word, "state"):
			number(i.next(), "state is invalid", 255)
			notSimulated("ip link set … type bridge_slave state")
		case matches(word, "priority"):
			number(i.next(), "priority is invalid", 65535)
			notSimulated("ip link set … type bridge_slave priority")
		case matches(word, "cost"):
			number(i.next(), "cost is invalid", 1<<32-1)
			notSimulated("ip link set … type bridge_slave cost")
		case matches(word, "hairpin"):
			flag("hairpin", &r.Hairpin)
		case matches(word, "fastleave"):
			notSimulated("ip link set … type bridge_slave fastleave")
		case matches(word, "learning"):
			flag("learning", &r.Learning)
		case matches(word, "flood"):
			flag("flood", &r.Flood)
		case matches(word, "isolated"):
			flag("isolated", &r.Isolated)
		case matches(word, "help"):
			fail(1, "Usage: ip link … type bridge_slave …; see ip-link(8)")
		default:
			fail(1, "bridge_slave: unknown option \"%s\"?\nUsage: ip link … type bridge_slave …; see ip-link(8)", word)
		}
	}
	if !given {
		return nil
	}
	return []func(string){func(name string) {
		r.Name = name
		i.request(func(k *sim.Netns) *op.Failure { return k.LinkChange(r) })
	}}
}
