package sim

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"vethlab/sim/op"
)

// The settings of /proc/sys/net that the model knows: where each is kept, what
// may be written into it, and what follows from that.

// devConf are the settings of net.ipv4.conf.{all,default,DEV} that the model
// follows (struct ipv4_devconf). Which of "all" and DEV counts differs from
// setting to setting: see IN_DEV_* in include/linux/inetdevice.h.
type devConf struct {
	forwarding, rpFilter, routeLocalnet, acceptLocal, srcValidMark           int
	arpIgnore, arpAnnounce, arpFilter, arpAccept, arpNotify, proxyARP        int
	sendRedirects, acceptRedirects, secureRedirects, sharedMedia             int
	acceptSourceRoute, ignoreLinkdown, promoteSecondaries, logMartians       int
	dropGratuitousARP, dropUnicastInMulticast, arpEvictNocarrier, bootpRelay int

	set uint32 // one bit for each setting that somebody wrote (cnf->state)
}

// defaultConf is what a namespace begins with (ipv4_devconf, net/ipv4/devinet.c).
var defaultConf = devConf{sendRedirects: 1, acceptRedirects: 1, secureRedirects: 1, sharedMedia: 1, acceptSourceRoute: 1, arpEvictNocarrier: 1}

// confKeys are the settings of a devConf; a key's place is its bit in set.
var confKeys = []struct {
	name string
	at   func(*devConf) *int
}{
	{"forwarding", func(c *devConf) *int { return &c.forwarding }},
	{"rp_filter", func(c *devConf) *int { return &c.rpFilter }},
	{"route_localnet", func(c *devConf) *int { return &c.routeLocalnet }},
	{"accept_local", func(c *devConf) *int { return &c.acceptLocal }},
	{"src_valid_mark", func(c *devConf) *int { return &c.srcValidMark }},
	{"arp_ignore", func(c *devConf) *int { return &c.arpIgnore }},
	{"arp_announce", func(c *devConf) *int { return &c.arpAnnounce }},
	{"arp_filter", func(c *devConf) *int { return &c.arpFilter }},
	{"arp_accept", func(c *devConf) *int { return &c.arpAccept }},
	{"arp_notify", func(c *devConf) *int { return &c.arpNotify }},
	{"proxy_arp", func(c *devConf) *int { return &c.proxyARP }},
	{"send_redirects", func(c *devConf) *int { return &c.sendRedirects }},
	{"accept_redirects", func(c *devConf) *int { return &c.acceptRedirects }},
	{"secure_redirects", func(c *devConf) *int { return &c.secureRedirects }},
	{"shared_media", func(c *devConf) *int { return &c.sharedMedia }},
	{"accept_source_route", func(c *devConf) *int { return &c.acceptSourceRoute }},
	{"ignore_routes_with_linkdown", func(c *devConf) *int { return &c.ignoreLinkdown }},
	{"promote_secondaries", func(c *devConf) *int { return &c.promoteSecondaries }},
	{"log_martians", func(c *devConf) *int { return &c.logMartians }},
	{"drop_gratuitous_arp", func(c *devConf) *int { return &c.dropGratuitousARP }},
	{"drop_unicast_in_l2_multicast", func(c *devConf) *int { return &c.dropUnicastInMulticast }},
	{"arp_evict_nocarrier", func(c *devConf) *int { return &c.arpEvictNocarrier }},
	{"bootp_relay", func(c *devConf) *int { return &c.bootpRelay }},
}

// netConf are the settings that a namespace has once (struct netns_ipv4, and
// br_netfilter's).
type netConf struct {
	defaultTTL                                        int
	portLow, portHigh, unprivPort, pingLow, pingHigh  int
	noPMTUDisc, fwdUsePMTU, minPMTU, mtuExpires       int
	echoIgnoreAll, echoIgnoreBroadcasts               int
	icmpRatelimit, icmpRatemask                       int // milliseconds between two errors to one host; a bit for each type
	icmpMsgsPerSec, icmpMsgsBurst, icmpIgnoreBogus    int
	nonlocalBind, dynaddr, earlyDemux                 int
	tcpSynRetries, tcpSynackRetries, tcpRetries1      int
	tcpRetries2, tcpFinTimeout, tcpSyncookies         int
	tcpTimestamps, tcpKeepaliveTime, tcpTwReuse       int
	ipfragTime, somaxconn                             int
	bridgeCallARPtables, bridgeCallIP6tables          int
	bridgeFilterPPPoE, bridgeFilterVLAN, bridgeVLANIn int

	icmpErrorsUseInbound, fwmarkReflect, bridgeCallIptables bool
}

var defaultNetConf = netConf{defaultTTL: 64, portLow: 32768, portHigh: 60999, unprivPort: 1024, minPMTU: 552, mtuExpires: 600,
	echoIgnoreBroadcasts: 1, icmpRatelimit: 1000, icmpRatemask: 0x1818, icmpMsgsPerSec: 1000, icmpMsgsBurst: 50, icmpIgnoreBogus: 1,
	earlyDemux: 1, tcpSynRetries: 6, tcpSynackRetries: 5, tcpRetries1: 3, tcpRetries2: 15, tcpFinTimeout: 60, tcpSyncookies: 1,
	tcpTimestamps: 1, tcpKeepaliveTime: 7200, tcpTwReuse: 2, ipfragTime: 30, somaxconn: 4096,
	bridgeCallARPtables: 1, bridgeCallIP6tables: 1, bridgeCallIptables: true}

// setting is a file below /proc/sys: what is read from it, and what a write
// does. A nil write means that nobody may.
type setting struct {
	read  func() string
	write func(value string) (errno int)
}

const maxInt32, minInt32 = 1<<31 - 1, -1 << 31

// number is a setting that holds one number (proc_dointvec_minmax).
func number(v *int, min, max int) setting {
	return setting{
		read: func() string { return strconv.Itoa(*v) },
		write: func(s string) int {
			x, _, ok := readInt(s)
			if !ok || x < min || x > max {
				return einval
			}
			*v = x
			return 0
		}}
}

// anyNumber takes all that an int can hold (proc_dointvec).
func anyNumber(v *int) setting { return number(v, minInt32, maxInt32) }

// flag is a setting that is 0 or 1.
func flag(v *bool) setting {
	return setting{
		read: func() string { return map[bool]string{false: "0", true: "1"}[*v] },
		write: func(s string) int {
			x, _, ok := readInt(s)
			if !ok || x != 0 && x != 1 {
				return einval
			}
			*v = x == 1
			return 0
		}}
}

// jiffy is the kernel's unit of time where settings are in milliseconds: they
// are rounded up to it (CONFIG_HZ=250).
const jiffy = 4 * time.Millisecond

// duration is a setting in units of time (proc_dointvec_jiffies; of
// milliseconds proc_dointvec_ms_jiffies_minmax).
func duration(v *time.Duration, unit time.Duration) setting {
	return setting{
		read: func() string { return strconv.Itoa(int(*v / unit)) },
		write: func(s string) int {
			x, _, ok := readInt(s)
			if !ok || unit == time.Millisecond && x < 0 {
				return einval
			}
			d := time.Duration(x) * unit
			if unit == time.Millisecond {
				d = (d + jiffy - 1) / jiffy * jiffy
			}
			*v = d
			return 0
		}}
}

// readInt reads the first number of a written value, as the kernel does: in any
// base C knows, and with white space before it (proc_get_long, kernel/sysctl.c).
func readInt(s string) (v int, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	end := strings.IndexAny(s, " \t\n\v\f\r")
	if end < 0 {
		end = len(s)
	}
	word := s[:end]
	digits := strings.TrimPrefix(word, "-")
	if digits == "" || digits[0] < '0' || digits[0] > '9' || strings.ContainsAny(digits, "_oObB") {
		return 0, "", false
	}
	x, err := strconv.ParseInt(word, 0, 64)
	if err != nil || x < minInt32 || x > maxInt32 {
		return 0, "", false
	}
	return int(x), s[end:], true
}

// SysctlSet writes a setting. Its key has the form net.ipv4.ip_forward.
func (n *Netns) SysctlSet(key, value string) *op.Failure {
	if !strings.HasPrefix(key, "net.") {
		return &op.Failure{What: op.NoSysctl, Name: key, Errno: eacces}
	}
	if key == RouteFlush {
		n.inet.exceptions = nil
		n.fibChanged()
		return nil
	}
	s, ok := n.setting(key)
	if !ok {
		return &op.Failure{What: op.NoSysctl, Name: key, Errno: enoent}
	}
	if s.write == nil {
		return &op.Failure{Name: key, Errno: eacces}
	}
	old := s.read()
	if errno := s.write(value); errno != 0 {
		return &op.Failure{Name: key, Errno: errno}
	}
	n.keepSysctl(key)
	if s.read() != old && slices.Contains(flushing, key[strings.LastIndexByte(key, '.')+1:]) {
		n.fibChanged()
	}
	return nil
}

// flushing are the settings that make void what was looked up before
// (devinet_sysctl_forward, devinet_conf_proc; net/ipv4/devinet.c).
var flushing = []string{"ip_forward", "forwarding", "accept_local", "route_localnet", "promote_secondaries", "disable_policy", "disable_xfrm"}

// RouteFlush is no setting but a command, whatever is written to it: forget what
// ICMP told of paths (ipv4_sysctl_rtcache_flush, net/ipv4/route.c).
const RouteFlush = "net.ipv4.route.flush"

// keepSysctl has snapshots tell a setting from now on.
func (n *Netns) keepSysctl(key string) {
	if n.written == nil {
		n.written = map[string]bool{}
	}
	n.written[key] = true
}

// SysctlGet reads a setting.
func (n *Netns) SysctlGet(key string) (string, *op.Failure) {
	s, ok := n.setting(key)
	if !ok {
		return "", &op.Failure{What: op.NoSysctl, Name: key, Errno: enoent}
	}
	return s.read(), nil
}

// SysctlKeys are the settings that SysctlGet knows, in order.
func (n *Netns) SysctlKeys() []string {
	var keys []string
	for _, c := range confKeys {
		keys = append(keys, "net.ipv4.conf.all."+c.name, "net.ipv4.conf.default."+c.name)
		for _, l := range n.links {
			keys = append(keys, "net.ipv4.conf."+swapDots(l.name)+"."+c.name)
		}
	}
	for name := range neighKeys {
		for _, l := range n.links {
			keys = append(keys, "net.ipv4.neigh."+swapDots(l.name)+"."+name)
		}
	}
	for key := range netKeys {
		keys = append(keys, key)
	}
	for _, key := range ctSysctlKeys {
		keys = append(keys, conntrackPrefix+key)
	}
	slices.Sort(keys)
	return keys
}

// swapDots writes a link's name as a part of a key: eth0.5 is eth0/5.
func swapDots(s string) string { return strings.NewReplacer(".", "/", "/", ".").Replace(s) }

const conntrackPrefix = "net.netfilter.nf_conntrack_"

// setting finds the file of a key.
func (n *Netns) setting(key string) (setting, bool) {
	if make := netKeys[key]; make != nil {
		return make(n), true
	}
	if rest, ok := strings.CutPrefix(key, "net.ipv4.conf."); ok {
		dev, name, _ := cutLast(rest)
		return n.confSetting(swapDots(dev), name)
	}
	if rest, ok := strings.CutPrefix(key, "net.ipv4.neigh."); ok {
		dev, name, _ := cutLast(rest)
		l := n.byName[swapDots(dev)]
		if make := neighKeys[name]; make != nil && l != nil {
			return make(&l.arp), true
		}
	}
	if rest, ok := strings.CutPrefix(key, conntrackPrefix); ok {
		if rest == "tcp_be_liberal" || rest == "tcp_loose" || rest == "tcp_ignore_invalid_rst" {
			return number(n.ct.sysctl(rest), 0, 1), true
		}
		if rest == "tcp_max_retrans" {
			return number(n.ct.sysctl(rest), 0, 255), true
		}
		if v := n.ct.sysctl(rest); v != nil {
			return anyNumber(v), true
		}
	}
	return setting{}, false
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// confSetting is a file of net.ipv4.conf.
func (n *Netns) confSetting(dev, name string) (setting, bool) {
	i := slices.IndexFunc(confKeys, func(k struct {
		name string
		at   func(*devConf) *int
	}) bool {
		return k.name == name
	})
	if i < 0 {
		return setting{}, false
	}
	c := n.confOf(dev)
	if l := n.byName[dev]; c == nil || l != nil && l.mtu < minMTU {
		return setting{}, false
	}
	if name == "forwarding" {
		return n.forwarding(c), true
	}
	at := confKeys[i].at
	s := anyNumber(at(c))
	write := s.write
	s.write = func(value string) int {
		if errno := write(value); errno != 0 {
			return errno
		}
		c.set |= 1 << i
		if dev == "default" { // devinet_copy_dflt_conf: links where nobody wrote it
			for _, l := range n.links {
				if l.conf.set&(1<<i) == 0 {
					*at(&l.conf) = *at(&n.dflt)
				}
			}
		}
		return 0
	}
	return s, true
}

// forwarding is net.ipv4.conf.*.forwarding (devinet_sysctl_forward). What is
// written for all, by this name or as ip_forward, is written for every link and
// for those to come (inet_forward_change).
func (n *Netns) forwarding(c *devConf) setting {
	s := anyNumber(&c.forwarding)
	write := s.write
	s.write = func(value string) int {
		before := c.forwarding
		if errno := write(value); errno != 0 {
			return errno
		}
		if c != &n.conf || c.forwarding == before {
			return 0
		}
		n.conf.acceptRedirects = 1
		if n.conf.forwarding != 0 {
			n.conf.acceptRedirects = 0
		}
		n.dflt.forwarding = n.conf.forwarding
		for _, l := range n.links {
			l.conf.forwarding = n.conf.forwarding
		}
		return 0
	}
	return s
}

// neighKeys are the settings of net.ipv4.neigh.DEV (neigh_sysctl_table,
// net/core/neighbour.c). Two of them can be two faces of one.
var neighKeys = map[string]func(*neighConf) setting{
	"retrans_time":           func(c *neighConf) setting { return duration(&c.retrans, time.Second/userHZ) },
	"retrans_time_ms":        func(c *neighConf) setting { return duration(&c.retrans, time.Millisecond) },
	"base_reachable_time":    func(c *neighConf) setting { return duration(&c.reachable, time.Second) },
	"base_reachable_time_ms": func(c *neighConf) setting { return duration(&c.reachable, time.Millisecond) },
	"delay_first_probe_time": func(c *neighConf) setting { return duration(&c.delayFirst, time.Second) },
	"gc_stale_time":          func(c *neighConf) setting { return duration(&c.gcStale, time.Second) },
	"interval_probe_time_ms": func(c *neighConf) setting { return duration(&c.probeInterval, time.Millisecond) },
	"anycast_delay":          func(c *neighConf) setting { return duration(&c.anycastDelay, time.Second/userHZ) },
	"proxy_delay":            func(c *neighConf) setting { return duration(&c.proxyDelay, time.Second/userHZ) },
	"locktime":               func(c *neighConf) setting { return duration(&c.lockTime, time.Second/userHZ) },
	"mcast_solicit":          func(c *neighConf) setting { return number(&c.mcastSolicit, 0, maxInt32) },
	"ucast_solicit":          func(c *neighConf) setting { return number(&c.ucastSolicit, 0, maxInt32) },
	"app_solicit":            func(c *neighConf) setting { return number(&c.appSolicit, 0, maxInt32) },
	"mcast_resolicit":        func(c *neighConf) setting { return number(&c.mcastResolicit, 0, maxInt32) },
	"proxy_qlen":             func(c *neighConf) setting { return number(&c.proxyQlen, 0, maxInt32) },
	"unres_qlen_bytes":       func(c *neighConf) setting { return number(&c.queueBytes, 0, maxInt32) },
	"unres_qlen":             unresQlen,
}

// userHZ is the unit in which the kernel tells some times (USER_HZ).
const userHZ = 100

// unresQlen is unres_qlen_bytes in packets of the largest size
// (proc_unres_qlen).
func unresQlen(c *neighConf) setting {
	const packet = 2112 // SKB_TRUESIZE(ETH_FRAME_LEN)
	return setting{
		read: func() string { return strconv.Itoa((c.queueBytes + packet - 1) / packet) },
		write: func(s string) int {
			v, _, ok := readInt(s)
			if !ok || v < 0 || v > maxInt32/packet {
				return einval
			}
			c.queueBytes = v * packet
			return 0
		}}
}

// netKeys are the settings that a namespace has once.
var netKeys = func() map[string]func(*Netns) setting {
	const u8 = 255
	m := map[string]func(*Netns) setting{
		"net.ipv4.ip_forward":                     func(n *Netns) setting { return n.forwarding(&n.conf) },
		"net.ipv4.ip_local_port_range":            func(n *Netns) setting { return pair(&n.sys.portLow, &n.sys.portHigh, portRange) },
		"net.ipv4.ping_group_range":               func(n *Netns) setting { return pair(&n.sys.pingLow, &n.sys.pingHigh, groupRange) },
		"net.ipv4.icmp_errors_use_inbound_ifaddr": func(n *Netns) setting { return flag(&n.sys.icmpErrorsUseInbound) },
		"net.ipv4.fwmark_reflect":                 func(n *Netns) setting { return flag(&n.sys.fwmarkReflect) },
		"net.ipv4.icmp_ratelimit":                 icmpRatelimit,
		"net.bridge.bridge-nf-call-iptables": func(n *Netns) setting { // brnf_sysctl_call_tables: what is not 0 is 1
			s := flag(&n.sys.bridgeCallIptables)
			s.write = func(value string) int {
				v, _, ok := readInt(value)
				if !ok {
					return einval
				}
				n.sys.bridgeCallIptables = v != 0
				return 0
			}
			return s
		},
		"net.netfilter.nf_conntrack_count": func(n *Netns) setting {
			return setting{read: func() string { return strconv.Itoa(len(n.w.snapConns(n))) }}
		},
		"net.netfilter.nf_conntrack_max": func(*Netns) setting { // the machine's, not the namespace's
			return setting{read: func() string { return "262144" }}
		},
	}
	for _, k := range []struct {
		key      string
		at       func(*netConf) *int
		min, max int
	}{
		{"net.ipv4.ip_default_ttl", func(c *netConf) *int { return &c.defaultTTL }, 1, u8},
		{"net.ipv4.ip_unprivileged_port_start", func(c *netConf) *int { return &c.unprivPort }, 0, 65535},
		{"net.ipv4.ip_no_pmtu_disc", func(c *netConf) *int { return &c.noPMTUDisc }, 0, u8},
		{"net.ipv4.ip_forward_use_pmtu", func(c *netConf) *int { return &c.fwdUsePMTU }, 0, u8},
		{"net.ipv4.ip_nonlocal_bind", func(c *netConf) *int { return &c.nonlocalBind }, 0, u8},
		{"net.ipv4.ip_dynaddr", func(c *netConf) *int { return &c.dynaddr }, 0, u8},
		{"net.ipv4.ip_early_demux", func(c *netConf) *int { return &c.earlyDemux }, 0, u8},
		{"net.ipv4.route.min_pmtu", func(c *netConf) *int { return &c.minPMTU }, 68, maxInt32},
		{"net.ipv4.route.mtu_expires", func(c *netConf) *int { return &c.mtuExpires }, minInt32, maxInt32},
		{"net.ipv4.icmp_echo_ignore_all", func(c *netConf) *int { return &c.echoIgnoreAll }, 0, 1},
		{"net.ipv4.icmp_echo_ignore_broadcasts", func(c *netConf) *int { return &c.echoIgnoreBroadcasts }, 0, 1},
		{"net.ipv4.icmp_ignore_bogus_error_responses", func(c *netConf) *int { return &c.icmpIgnoreBogus }, 0, 1},
		{"net.ipv4.icmp_ratemask", func(c *netConf) *int { return &c.icmpRatemask }, minInt32, maxInt32},
		{"net.ipv4.icmp_msgs_per_sec", func(c *netConf) *int { return &c.icmpMsgsPerSec }, 0, maxInt32},
		{"net.ipv4.icmp_msgs_burst", func(c *netConf) *int { return &c.icmpMsgsBurst }, 0, maxInt32},
		{"net.ipv4.tcp_syn_retries", func(c *netConf) *int { return &c.tcpSynRetries }, 1, 127},
		{"net.ipv4.tcp_synack_retries", func(c *netConf) *int { return &c.tcpSynackRetries }, 0, u8},
		{"net.ipv4.tcp_retries1", func(c *netConf) *int { return &c.tcpRetries1 }, 0, u8},
		{"net.ipv4.tcp_retries2", func(c *netConf) *int { return &c.tcpRetries2 }, 0, u8},
		{"net.ipv4.tcp_fin_timeout", func(c *netConf) *int { return &c.tcpFinTimeout }, minInt32, maxInt32},
		{"net.ipv4.tcp_syncookies", func(c *netConf) *int { return &c.tcpSyncookies }, 0, u8},
		{"net.ipv4.tcp_timestamps", func(c *netConf) *int { return &c.tcpTimestamps }, 0, u8},
		{"net.ipv4.tcp_keepalive_time", func(c *netConf) *int { return &c.tcpKeepaliveTime }, minInt32, maxInt32},
		{"net.ipv4.tcp_tw_reuse", func(c *netConf) *int { return &c.tcpTwReuse }, 0, 2},
		{"net.ipv4.ipfrag_time", func(c *netConf) *int { return &c.ipfragTime }, minInt32, maxInt32},
		{"net.core.somaxconn", func(c *netConf) *int { return &c.somaxconn }, 0, maxInt32},
		{"net.bridge.bridge-nf-call-arptables", func(c *netConf) *int { return &c.bridgeCallARPtables }, minInt32, maxInt32},
		{"net.bridge.bridge-nf-call-ip6tables", func(c *netConf) *int { return &c.bridgeCallIP6tables }, minInt32, maxInt32},
		{"net.bridge.bridge-nf-filter-pppoe-tagged", func(c *netConf) *int { return &c.bridgeFilterPPPoE }, minInt32, maxInt32},
		{"net.bridge.bridge-nf-filter-vlan-tagged", func(c *netConf) *int { return &c.bridgeFilterVLAN }, minInt32, maxInt32},
		{"net.bridge.bridge-nf-pass-vlan-input-dev", func(c *netConf) *int { return &c.bridgeVLANIn }, minInt32, maxInt32},
	} {
		m[k.key] = func(n *Netns) setting {
			s := number(k.at(&n.sys), k.min, k.max)
			if strings.HasPrefix(k.key, "net.bridge.") {
				write := s.write
				s.write = func(value string) int {
					errno := write(value)
					if v := k.at(&n.sys); *v != 0 {
						*v = 1
					}
					return errno
				}
			}
			return s
		}
	}
	return m
}()

// icmpRatelimit is in milliseconds, rounded up to jiffies.
func icmpRatelimit(n *Netns) setting {
	d := time.Duration(n.sys.icmpRatelimit) * time.Millisecond
	s := duration(&d, time.Millisecond)
	write := s.write
	s.write = func(value string) int {
		errno := write(value)
		n.sys.icmpRatelimit = int(d / time.Millisecond)
		return errno
	}
	return s
}

// pair is a setting of two numbers; a value with one of them leaves the other.
func pair(a, b *int, check func(low, high *int) int) setting {
	return setting{
		read: func() string { return strconv.Itoa(*a) + "\t" + strconv.Itoa(*b) },
		write: func(s string) int {
			low, high := *a, *b
			v, rest, ok := readInt(s)
			if !ok {
				return einval
			}
			low = v
			if strings.TrimSpace(rest) != "" {
				if v, _, ok = readInt(rest); !ok {
					return einval
				}
				high = v
			}
			if errno := check(&low, &high); errno != 0 {
				return errno
			}
			*a, *b = low, high
			return 0
		}}
}

// portRange: ipv4_local_port_range, net/ipv4/sysctl_net_ipv4.c. The kernel
// wants the range above ip_unprivileged_port_start; here it is not asked for.
func portRange(low, high *int) int {
	if *low < 1024 || *high > 65535 || *high < *low { // ip_unprivileged_port_start
		return einval
	}
	return 0
}

// groupRange: ipv4_ping_group_range. A range the wrong way round is nobody.
func groupRange(low, high *int) int {
	if *low < 0 || *high < 0 {
		return einval
	}
	if *high < *low {
		*low, *high = 1, 0
	}
	return 0
}
