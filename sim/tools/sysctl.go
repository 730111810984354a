package tools

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"vethlab/sim"
	"vethlab/sim/cmdline"
	"vethlab/sim/op"
)

// sysctl(8), procps 4.0. The settings are those the model has; another that a
// real machine has is refused by name, one that no machine has as procps does.

func init() { programs["sysctl"] = runSysctl }

type sysctl struct {
	*call
	names, values, binary, quiet, ignore, write, dry bool
	status                                           int
}

func runSysctl(c *call) op.Result {
	s := &sysctl{call: c}
	var args []string
	all, load, file, pattern := false, false, "", ""
	rest := c.argv[1:]
	for len(rest) > 0 {
		a := rest[0]
		rest = rest[1:]
		if a == "--" {
			args = append(args, rest...)
			break
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			args = append(args, a)
			continue
		}
		if long, ok := strings.CutPrefix(a, "--"); ok {
			name, value, _ := strings.Cut(long, "=")
			switch name {
			case "all":
				all = true
			case "deprecated":
			case "dry-run":
				s.dry = true
			case "binary":
				s.binary, s.values = true, true
			case "ignore":
				s.ignore = true
			case "names":
				s.names = true
			case "values":
				s.values = true
			case "load":
				load, file = true, value
			case "system":
				return c.done(0) // a lab's machines have no files of settings
			case "pattern":
				if value == "" && len(rest) > 0 {
					value, rest = rest[0], rest[1:]
				}
				pattern = value
			case "quiet":
				s.quiet = true
			case "write":
				s.write = true
			case "version":
				c.out.WriteString("sysctl from procps-ng 4.0.2\n")
				return c.done(0)
			default:
				if name != "help" {
					c.warn("sysctl: unrecognized option '%s'", a)
				}
				c.out.WriteString(sysctlUsage)
				return c.done(0)
			}
			continue
		}
		for k, o := range a[1:] {
			switch o {
			case 'a', 'A', 'X':
				all = true
			case 'b':
				s.binary, s.values = true, true
			case 'e':
				s.ignore = true
			case 'N':
				s.names = true
			case 'n':
				s.values = true
			case 'p', 'f':
				load = true
			case 'q':
				s.quiet = true
			case 'w':
				s.write = true
			case 'o', 'x':
			case 'r':
				pattern = a[2+k:]
				if pattern == "" && len(rest) > 0 {
					pattern, rest = rest[0], rest[1:]
				}
			case 'V':
				c.out.WriteString("sysctl from procps-ng 4.0.2\n")
				return c.done(0)
			default:
				if o != 'h' && o != 'd' {
					c.warn("sysctl: invalid option -- '%c'", o)
				}
				c.out.WriteString(sysctlUsage)
				return c.done(0)
			}
			if o == 'r' {
				break
			}
		}
	}
	var match *regexp.Regexp
	if pattern != "" {
		var err error
		if match, err = regexp.CompilePOSIX(pattern); err != nil {
			fail(1, "sysctl: %v", err)
		}
	}
	switch {
	case all:
		for _, key := range s.settings() {
			if match == nil || match.MatchString(key) {
				s.print(key, s.value(key))
			}
		}
	case load:
		if file != "" {
			args = append([]string{file}, args...)
		}
		for _, f := range args {
			s.load(f, match)
		}
	case len(args) == 0 && (s.write || s.quiet || s.names || s.values || s.ignore):
		fail(1, "sysctl: no variables specified\nTry `sysctl --help' for more information.")
	case len(args) == 0:
		fail(1, "%s", strings.TrimSuffix(sysctlUsage, "\n"))
	}
	if !all && !load {
		for _, a := range args {
			if strings.Contains(a, "=") || s.write {
				s.assign(a, "command line(0)")
			} else {
				s.read(a)
			}
		}
	}
	return c.done(s.status & 255)
}

const sysctlUsage = "\nUsage:\n sysctl [options] [variable[=value] ...]\n\nFor more details see sysctl(8).\n"

// settings are the keys of all settings the model has, in the order of the
// directories of /proc/sys.
func (c *call) settings() (keys []string) {
	c.locked(func() {
		if n := c.lab.world.Node(c.node); n != nil {
			keys = n.SysctlKeys()
		}
	})
	slices.SortFunc(keys, func(a, b string) int { return slices.Compare(strings.Split(a, "."), strings.Split(b, ".")) })
	return keys
}

// setting reads one setting; ok is false when the model has none of that name.
func (c *call) setting(key string) (value string, ok bool) {
	c.locked(func() {
		if n := c.lab.world.Node(c.node); n != nil {
			var f *op.Failure
			value, f = n.SysctlGet(key)
			ok = f == nil
		}
	})
	return value, ok
}

func (s *sysctl) value(key string) string {
	v, _ := s.setting(key)
	return v
}

func (s *sysctl) print(key, value string) {
	switch {
	case s.names:
		fmt.Fprintln(&s.out, key)
	case s.binary:
		s.out.WriteString(value)
	case s.values:
		fmt.Fprintln(&s.out, value)
	default:
		fmt.Fprintf(&s.out, "%s = %s\n", key, value)
	}
}

// missing says that there is no such setting.
func (s *sysctl) missing(path string) {
	if s.ignore {
		return
	}
	why := "No such file or directory"
	for k := strings.TrimPrefix(path, "/proc/sys/"); strings.Contains(k, "/"); {
		k = k[:strings.LastIndex(k, "/")]
		if _, file := s.setting(cmdline.SysctlKey(k)); file {
			why = "Not a directory"
		}
	}
	s.warn("sysctl: cannot stat %s: %s", path, why)
}

// read prints a setting, or all below a directory (ReadSetting, src/sysctl.c).
func (s *sysctl) read(name string) {
	if name == "" {
		s.warn(`sysctl: "" is an unknown key`)
		s.status--
		return
	}
	key := sysctlKey(name)
	if v, ok := s.setting(key); ok {
		s.print(key, v)
		return
	}
	if known(key, s.devices()) {
		notSimulated("sysctl %s", key)
	}
	below := slices.DeleteFunc(s.settings(), func(k string) bool { return !strings.HasPrefix(k, key+".") })
	if len(below) == 0 {
		if s.missing(sysctlPath(name)); !s.ignore {
			s.status++
		}
		return
	}
	for _, k := range below {
		s.print(k, s.value(k))
	}
}

// assign sets what KEY=VALUE says (parse_setting_line, WriteSetting).
func (s *sysctl) assign(text, where string) {
	if line := strings.TrimSpace(text); len(line) < 2 || line[0] == '#' || line[0] == ';' { // not worth a word
		s.status |= 1
		return
	}
	key, value, ok := strings.Cut(text, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	name := key
	if where != "command line(0)" && strings.HasPrefix(name, "-") {
		name = name[1:]
	}
	if !ok {
		if where != "command line(0)" && strings.HasPrefix(key, "-") {
			return
		}
		s.warn("sysctl: %s: invalid syntax, continuing...", where)
		s.status |= 1
		return
	}
	if name == "" {
		s.warn("sysctl: Path is not under /proc/sys/: /proc/sys/")
		s.status |= 1
		return
	}
	name = sysctlKey(name)
	if _, ok := s.setting(name); !ok && name != sim.RouteFlush {
		if known(name, s.devices()) {
			notSimulated("sysctl -w %s", name)
		}
		if slices.ContainsFunc(s.settings(), func(k string) bool { return strings.HasPrefix(k, name+".") }) {
			s.warn(`sysctl: setting key "%s": Invalid argument`, name)
			return
		}
		if s.missing(sysctlPath(strings.TrimPrefix(key, "-"))); !s.ignore {
			s.status |= 1
		}
		return
	}
	if !s.dry {
		o := op.SysctlSet{Key: name, Value: value}
		if r := s.apply(s.node, o); r.Failure != nil || r.Status != 0 {
			r = cmdline.Command{Tool: "sysctl", Op: o}.Finish(r)
			s.err.WriteString(r.Stderr)
			s.status |= r.Status
			return
		}
	}
	if !s.quiet {
		s.print(name, value)
	}
}

// load sets what a file says, or standard input.
func (s *sysctl) load(file string, match *regexp.Regexp) {
	text := s.stdin
	if file != "-" {
		var ok bool
		if text, ok = s.readFile(file); !ok {
			s.warn(`sysctl: cannot open "%s": No such file or directory`, file)
			s.status = 1
			return
		}
	}
	for n, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if key, _, _ := strings.Cut(line, "="); match == nil || match.MatchString(strings.TrimSpace(key)) {
			s.assign(line, fmt.Sprintf("%s(%d)", file, n+1))
		}
	}
}

// sysctlKey gives a key its dots: net/ipv4/ip_forward is one, too. What is no
// key is given back as it is.
func sysctlKey(name string) string {
	if k := cmdline.SysctlKey(name); k != "" {
		return k
	}
	return name
}

// sysctlPath is the file procps looks for.
func sysctlPath(name string) string {
	if k := cmdline.SysctlKey(name); k != "" {
		return cmdline.SysctlPath(k)
	}
	return "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
}

// devices are the names below net.ipv4.conf.
func (c *call) devices() []string {
	names := []string{"all", "default"}
	for _, l := range c.state().Links {
		names = append(names, l.Name)
	}
	return names
}

// known reports whether a machine has a setting of that name.
func known(key string, devices []string) bool {
	parts := strings.Split(key, ".")
	if len(parts) < 2 {
		return slices.Contains(strings.Fields("abi debug dev fs kernel net user vm"), key)
	}
	switch parts[0] {
	case "abi", "debug", "dev", "fs", "kernel", "user", "vm":
		return true
	case "net":
	default:
		return false
	}
	last := parts[len(parts)-1]
	switch {
	case parts[1] != "ipv4":
		return slices.Contains(strings.Fields("core ipv6 unix mptcp netfilter bridge"), parts[1]) && len(parts) > 2 && parts[1] != "bridge" ||
			parts[1] == "bridge" && strings.HasPrefix(last, "bridge-nf-")
	case len(parts) == 5 && parts[2] == "conf":
		return slices.Contains(devices, parts[3]) && slices.Contains(confNames, last)
	case len(parts) == 5 && parts[2] == "neigh":
		return slices.Contains(devices[2:], parts[3]) && slices.Contains(neighNames, last)
	case len(parts) == 4 && parts[2] == "route":
		return slices.Contains(strings.Fields("flush gc_elasticity gc_interval gc_min_interval gc_thresh gc_timeout max_size min_adv_mss min_pmtu mtu_expires"), last)
	case len(parts) == 3:
		return slices.Contains(ipv4Names, last) || strings.HasPrefix(last, "tcp_") && slices.Contains(tcpNames, last[4:])
	}
	return false
}

// Names of /proc/sys/net/ipv4 (ip-sysctl.rst in the kernel's documentation).
var (
	confNames = strings.Fields("accept_local accept_redirects accept_source_route arp_accept arp_announce arp_evict_nocarrier arp_filter " +
		"arp_ignore arp_notify bc_forwarding bootp_relay disable_policy disable_xfrm drop_gratuitous_arp drop_unicast_in_l2_multicast " +
		"force_igmp_version forwarding igmpv2_unsolicited_report_interval igmpv3_unsolicited_report_interval ignore_routes_with_linkdown " +
		"log_martians mc_forwarding medium_id promote_secondaries proxy_arp proxy_arp_pvlan route_localnet rp_filter secure_redirects " +
		"send_redirects shared_media src_valid_mark tag")
	neighNames = strings.Fields("anycast_delay app_solicit base_reachable_time_ms delay_first_probe_time gc_stale_time interval_probe_time_ms " +
		"locktime mcast_resolicit mcast_solicit proxy_delay proxy_qlen retrans_time_ms ucast_solicit unres_qlen unres_qlen_bytes " +
		"base_reachable_time retrans_time gc_interval gc_thresh1 gc_thresh2 gc_thresh3")
	ipv4Names = strings.Fields("fib_multipath_hash_fields fib_multipath_hash_policy fib_multipath_hash_seed fib_multipath_use_neigh " +
		"fib_notify_on_flag_change fwmark_reflect icmp_echo_enable_probe icmp_echo_ignore_all icmp_echo_ignore_broadcasts " +
		"icmp_errors_use_inbound_ifaddr icmp_ignore_bogus_error_responses icmp_msgs_burst icmp_msgs_per_sec icmp_ratelimit icmp_ratemask " +
		"igmp_link_local_mcast_reports igmp_max_memberships igmp_max_msf igmp_qrv ip_autobind_reuse ip_default_ttl ip_dynaddr ip_early_demux " +
		"ip_forward ip_forward_update_priority ip_forward_use_pmtu ip_local_port_range ip_local_reserved_ports ip_no_pmtu_disc ip_nonlocal_bind " +
		"ip_unprivileged_port_start ipfrag_high_thresh ipfrag_low_thresh ipfrag_max_dist ipfrag_time nexthop_compat_mode ping_group_range " +
		"raw_l3mdev_accept udp_child_hash_entries udp_early_demux udp_hash_entries udp_l3mdev_accept udp_rmem_min udp_wmem_min xfrm4_gc_thresh")
	tcpNames = strings.Fields("abort_on_overflow adv_win_scale app_win autocorking base_mss challenge_ack_limit congestion_control dsack " +
		"early_demux early_retrans ecn ecn_fallback fack fastopen fastopen_key fin_timeout frto fwmark_accept keepalive_intvl keepalive_probes " +
		"keepalive_time l3mdev_accept max_reordering max_syn_backlog max_tw_buckets mem min_snd_mss min_tso_segs moderate_rcvbuf mtu_probing " +
		"no_metrics_save orphan_retries reordering retrans_collapse retries1 retries2 rfc1337 rmem sack slow_start_after_idle stdurg syn_retries " +
		"synack_retries syncookies timestamps tw_reuse window_scaling wmem workaround_signed_windows")
)

// unmodelledSetting reports whether an operation sets what a machine has and
// the model has not.
func (c *call) unmodelledSetting(o op.Op) (op.Result, bool) {
	s, ok := o.(op.SysctlSet)
	if !ok {
		return op.Result{}, false
	}
	if _, has := c.setting(s.Key); has || s.Key == sim.RouteFlush || !known(s.Key, c.devices()) {
		return op.Result{}, false
	}
	return sim.NotSimulated("sysctl " + s.Key), true
}
