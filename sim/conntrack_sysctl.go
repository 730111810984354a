package sim

// ctSysctls are the settings of net.netfilter.nf_conntrack_*, in seconds where
// they are times. A namespace begins with the kernel's own
// (nf_conntrack_tcp_init_net and its like), whatever others have set.
type ctSysctls struct {
	icmp, udp, udpStream, generic int
	tcp                           [ctTCPStates]int
	tcpRetrans, tcpUnack          int
	loose, beLiberal, maxRetrans  int
	ignoreInvalidRST              int
}

func (c *conntrack) settings() *ctSysctls {
	if c.sysctls == nil {
		c.sysctls = &ctSysctls{icmp: 30, udp: 30, udpStream: 120, generic: 600, tcp: [ctTCPStates]int{
			ctTCPSynSent: 120, ctTCPSynRecv: 60, ctTCPEstablished: 432000, ctTCPFinWait: 120, ctTCPCloseWait: 60,
			ctTCPLastAck: 30, ctTCPTimeWait: 120, ctTCPClose: 10, ctTCPSynSent2: 120,
		}, tcpRetrans: 300, tcpUnack: 300, loose: 1, maxRetrans: 3}
	}
	return c.sysctls
}

// ctSysctlKeys are the settings that a namespace has of its own, without
// "net.netfilter.nf_conntrack_".
var ctSysctlKeys = []string{
	"generic_timeout", "icmp_timeout", "tcp_be_liberal", "tcp_ignore_invalid_rst", "tcp_loose", "tcp_max_retrans",
	"tcp_timeout_close", "tcp_timeout_close_wait", "tcp_timeout_established", "tcp_timeout_fin_wait", "tcp_timeout_last_ack",
	"tcp_timeout_max_retrans", "tcp_timeout_syn_recv", "tcp_timeout_syn_sent", "tcp_timeout_time_wait",
	"tcp_timeout_unacknowledged", "udp_timeout", "udp_timeout_stream",
}

// sysctl returns where a setting of ctSysctlKeys is kept, or nil.
func (c *conntrack) sysctl(key string) *int {
	s := c.settings()
	switch key {
	case "generic_timeout":
		return &s.generic
	case "icmp_timeout":
		return &s.icmp
	case "tcp_be_liberal":
		return &s.beLiberal
	case "tcp_ignore_invalid_rst":
		return &s.ignoreInvalidRST
	case "tcp_loose":
		return &s.loose
	case "tcp_max_retrans":
		return &s.maxRetrans
	case "tcp_timeout_close":
		return &s.tcp[ctTCPClose]
	case "tcp_timeout_close_wait":
		return &s.tcp[ctTCPCloseWait]
	case "tcp_timeout_established":
		return &s.tcp[ctTCPEstablished]
	case "tcp_timeout_fin_wait":
		return &s.tcp[ctTCPFinWait]
	case "tcp_timeout_last_ack":
		return &s.tcp[ctTCPLastAck]
	case "tcp_timeout_max_retrans":
		return &s.tcpRetrans
	case "tcp_timeout_syn_recv":
		return &s.tcp[ctTCPSynRecv]
	case "tcp_timeout_syn_sent":
		return &s.tcp[ctTCPSynSent]
	case "tcp_timeout_time_wait":
		return &s.tcp[ctTCPTimeWait]
	case "tcp_timeout_unacknowledged":
		return &s.tcpUnack
	case "udp_timeout":
		return &s.udp
	case "udp_timeout_stream":
		return &s.udpStream
	}
	return nil
}
