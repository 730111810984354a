package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/nftables" // makes our table and lists rule handles; Apache-2.0
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// TableName is the nft table that switches tracing on. iptables lists no table
// but its own, so a learner sees it only with `nft list ruleset`.
const TableName = "vethlab"

// The table has two chains at each hook: before everything that can touch a
// packet there (defragmentation is at -400), and after all of it but
// conntrack's confirmation (at the largest int). What differs between the two
// was changed by the hook.
var hooks = []struct {
	point trace.Point
	hook  *nftables.ChainHook
}{
	{trace.Prerouting, nftables.ChainHookPrerouting},
	{trace.Input, nftables.ChainHookInput},
	{trace.Forward, nftables.ChainHookForward},
	{trace.Output, nftables.ChainHookOutput},
	{trace.Postrouting, nftables.ChainHookPostrouting},
}

const firstPriority, lastPriority nftables.ChainPriority = -500, 1000

// AddTable makes our table in the namespace that nsfd refers to.
func AddTable(nsfd int) error {
	add := func(limited bool) error {
		c, err := nftables.New(nftables.WithNetNSFd(nsfd))
		if err != nil {
			return err
		}
		t := c.AddTable(&nftables.Table{Name: TableName, Family: nftables.TableFamilyIPv4})
		for _, h := range hooks {
			for edge, prio := range map[string]nftables.ChainPriority{"first": firstPriority, "last": lastPriority} {
				ch := c.AddChain(&nftables.Chain{Name: string(h.point) + "-" + edge, Table: t, Type: nftables.ChainTypeFilter,
					Hooknum: h.hook, Priority: nftables.ChainPriorityRef(prio)})
				if edge == "first" && (h.point == trace.Prerouting || h.point == trace.Output) {
					on := []expr.Any{
						&expr.Immediate{Register: 1, Data: []byte{1}},
						&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: 1},
					}
					if limited {
						on = append([]expr.Any{&expr.Limit{Type: expr.LimitTypePkts, Rate: traceRate, Unit: expr.LimitTimeSecond, Burst: traceRate / 2}}, on...)
					}
					c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: on})
				}
			}
		}
		return c.Flush()
	}
	err := add(true)
	if errors.Is(err, unix.ENOENT) { // a kernel without nft_limit
		err = add(false)
	}
	if err != nil {
		return fmt.Errorf("nftables table %s: %w", TableName, err)
	}
	return nil
}

// Netfilter is a socket that hears what netfilter does in a network namespace,
// in the order in which it did it: rules changed, packets traced, connections
// tracked, packets logged.
type Netfilter struct {
	queue
	nsfd int
	buf  []byte
	dec  *Decoder
	on   Handlers

	now map[uint32]*passing // by trace id: what is known of a packet on its way
	// handles maps table, chain and rule handle to the rule's number; nil when
	// the rules changed since.
	handles map[string]map[uint64]int
}

// Handlers are told what a Netfilter hears, one call at a time.
type Handlers struct {
	Hook  func(Hook)
	Conn  func(ConnEvent)
	Rules func() // the rules changed
	// Tables returns the present rules, to put names to what is reported.
	Tables func() []state.Table
	Name   func(ifindex int) string
	Lost   func() // messages were dropped for want of room
}

type passing struct {
	point    trace.Point
	iif, oif string
	header   trace.Header
	key      Key
	hasKey   bool
}

// Multicast groups (include/uapi/linux/netfilter/nfnetlink.h).
var groups = []int{1, 2, 3 /* conntrack new, update, destroy */, 7 /* nftables */, 9 /* nftrace */}

// NewNetfilter listens in the namespace of the calling thread, which nsfd
// refers to as well.
func NewNetfilter(nsfd int, on Handlers) (*Netfilter, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("netfilter socket: %w", err)
	}
	n := &Netfilter{nsfd: nsfd, buf: make([]byte, 1<<16), dec: NewDecoder(), on: on, now: map[uint32]*passing{}}
	n.f, n.one = os.NewFile(uintptr(fd), "netfilter"), n.recv
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		n.Close()
		return nil, fmt.Errorf("netfilter socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20) // as much as allowed
	for _, g := range groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			n.Close()
			return nil, fmt.Errorf("netfilter group %d: %w", g, err)
		}
	}
	n.listenLog(fd)
	return n, nil
}

// listenLog asks for what x_tables' TRACE and LOG say: with nfnetlink_log as the
// logger for IPv4, it comes to group 0. A kernel without it costs us the rule
// hits of iptables-legacy, which then are told by counters alone.
func (n *Netfilter) listenLog(fd int) {
	if os.WriteFile("/proc/sys/net/netfilter/nf_log/2", []byte("nfnetlink_log"), 0) != nil {
		return
	}
	config := func(attr uint16, data ...byte) {
		b, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: attr, Data: data}})
		if err != nil {
			return
		}
		m := netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_ULOG<<8 | 1 /* NFULNL_MSG_CONFIG */, Flags: netlink.Request, Sequence: 1},
			Data:   append([]byte{unix.AF_INET, 0, 0, 0}, b...),
		}
		m.Header.Length = uint32(16 + len(m.Data))
		if raw, err := m.MarshalBinary(); err == nil {
			_ = unix.Sendto(fd, raw, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		}
	}
	config(1 /* NFULA_CFG_CMD */, 1 /* BIND */)
	config(2 /* NFULA_CFG_MODE */, 0, 0, 0, 128, 2 /* COPY_PACKET */, 0)
	config(5 /* NFULA_CFG_QTHRESH */, 0, 0, 0, 1) // tell at once: the order matters
}

func (n *Netfilter) recv(fd int) bool {
	size, _, err := unix.Recvfrom(fd, n.buf, unix.MSG_DONTWAIT)
	if errors.Is(err, unix.ENOBUFS) {
		n.on.Lost()
		return true
	}
	if err != nil {
		return errors.Is(err, unix.EINTR)
	}
	msgs, err := syscall.ParseNetlinkMessage(n.buf[:size])
	if err != nil {
		return true
	}
	for _, m := range msgs {
		if len(m.Data) < 4 {
			continue
		}
		attrs := m.Data[4:] // after struct nfgenmsg
		switch subsys, kind := m.Header.Type>>8, m.Header.Type&0xff; {
		case subsys == unix.NFNL_SUBSYS_NFTABLES && kind == unix.NFT_MSG_TRACE:
			n.traced(attrs)
		case subsys == unix.NFNL_SUBSYS_NFTABLES:
			n.handles = nil
			n.on.Rules()
		case subsys == unix.NFNL_SUBSYS_CTNETLINK && m.Data[0] == unix.AF_INET:
			c, err := ParseConn(attrs)
			if err != nil {
				continue
			}
			ev := ConnEvent{Conn: c, Kind: "update"}
			if kind == 2 { // IPCTNL_MSG_CT_DELETE
				ev.Kind = "destroy"
			} else if m.Header.Flags&(unix.NLM_F_CREATE|unix.NLM_F_EXCL) != 0 {
				ev.Kind = "new"
			}
			n.on.Conn(ev)
		case subsys == unix.NFNL_SUBSYS_ULOG && kind == 0:
			n.logged(attrs)
		}
	}
	return true
}

// Attributes of a trace message (enum nft_trace_attributes) and its types.
const (
	traceTable, traceChain, traceHandle, traceType, traceVerdict, traceID = 1, 2, 3, 4, 5, 6
	traceNetwork, traceTransport, traceIif, traceOif, traceFamily         = 8, 9, 10, 12, 15
	tracePolicy                                                           = 16

	typePolicy, typeReturn, typeRule = 1, 2, 3
)

// Verdicts (include/uapi/linux/netfilter.h, nf_tables.h).
const (
	nfDrop, nfAccept                               = 0, 1
	nftContinue, nftJump, nftGoto, nftReturn int32 = -1, -3, -4, -5
)

func (n *Netfilter) traced(attrs []byte) {
	d, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		return
	}
	d.ByteOrder = binary.BigEndian
	var (
		h                  Hook
		handle             uint64
		kind, family       uint32
		policy             uint32
		code               int32
		network, transport []byte
	)
	for d.Next() {
		switch d.Type() {
		case traceTable:
			h.Table = d.String()
		case traceChain:
			h.Chain = d.String()
		case traceHandle:
			handle = d.Uint64()
		case traceType:
			kind = d.Uint32()
		case traceID:
			h.ID = d.Uint32()
		case traceNetwork:
			network = d.Bytes()
		case traceTransport:
			transport = d.Bytes()
		case traceIif:
			h.Iif = n.on.Name(int(d.Uint32()))
		case traceOif:
			h.Oif = n.on.Name(int(d.Uint32()))
		case traceFamily:
			family = d.Uint32()
		case tracePolicy:
			policy = d.Uint32()
		case traceVerdict:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					switch d.Type() {
					case 1: // NFTA_VERDICT_CODE
						code = int32(d.Uint32())
					case 2: // NFTA_VERDICT_CHAIN
						h.Target = d.String()
					}
				}
				return nil
			})
		}
	}
	if d.Err() != nil || family != unix.NFPROTO_IPV4 {
		return
	}
	p := n.now[h.ID]
	if p == nil {
		if len(n.now) > 4096 { // packets that ended long ago
			clear(n.now)
		}
		p = new(passing)
		n.now[h.ID] = p
	}
	if network != nil {
		if hd, key, ok := n.dec.Packet(network, transport); ok {
			p.header, p.key, p.hasKey = hd, key, true
		}
		p.iif, p.oif = h.Iif, h.Oif // only a chain's first message has them, with the headers
	}
	h.Header, h.Key, h.HasKey, h.Iif, h.Oif = p.header, p.key, p.hasKey, p.iif, p.oif
	if h.Table == TableName {
		if kind != typePolicy {
			return
		}
		point, edge, _ := strings.Cut(h.Chain, "-")
		p.point = trace.Point(point)
		h.Table, h.Chain, h.Edge = "", "", First
		if edge == "last" {
			h.Edge = Last
		}
		h.Point, h.Verdict = p.point, trace.Pass
		n.on.Hook(h)
		return
	}
	if h.Point = p.point; h.Point == "" {
		return // from before our table was there
	}
	switch kind {
	case typeRule:
		if handle == 0 {
			return // the end of a chain, which the policy's message tells of
		}
		h.Rule = n.number(h.Table, h.Chain, handle)
		h.RuleText = ruleText(n.on.Tables(), h.Table, h.Chain, h.Rule)
		h.Verdict = verdict(code, h.RuleText)
	case typeReturn:
		h.Verdict = trace.Return
	case typePolicy:
		h.Verdict = trace.Policy
		if policy == nfDrop {
			h.Verdict = trace.PolicyNo
		}
	}
	n.on.Hook(h)
}

func verdict(code int32, rule string) trace.Verdict {
	switch code {
	case nftJump:
		return trace.Jump
	case nftGoto:
		return trace.Goto
	case nftReturn:
		return trace.Return
	}
	v := trace.Verdict(target(rule))
	switch {
	case v == trace.Reject:
		return v
	case code == nfDrop: // NAT's, too, where the link has no address to give (nf_nat_redirect_ipv4)
		return trace.Drop
	case isNAT(v):
		return v
	}
	switch code {
	case nfAccept:
		return trace.Accept
	}
	return trace.Unknown
}

// target returns what a rule in iptables-save's form jumps to.
func target(rule string) string {
	words := strings.Fields(rule)
	for i, w := range words[:max(0, len(words)-1)] {
		if w == "-j" || w == "-g" {
			return words[i+1]
		}
	}
	return ""
}

func ruleText(tables []state.Table, table, chain string, number int) string {
	for _, t := range tables {
		if t.Name == table {
			if c := t.Chain(chain); c != nil && number >= 1 && number <= len(c.Rules) {
				return c.Rules[number-1].Spec
			}
		}
	}
	return ""
}

// number returns a rule's place in its chain, from 1.
func (n *Netfilter) number(table, chain string, handle uint64) int {
	id := table + " " + chain
	if n.handles == nil {
		n.handles = map[string]map[uint64]int{}
	}
	if n.handles[id] == nil {
		n.handles[id] = map[uint64]int{}
		if c, err := nftables.New(nftables.WithNetNSFd(n.nsfd)); err == nil {
			t := &nftables.Table{Name: table, Family: nftables.TableFamilyIPv4}
			rules, err := c.GetRules(t, &nftables.Chain{Name: chain, Table: t})
			if err == nil {
				for i, r := range rules {
					n.handles[id][r.Handle] = i + 1
				}
			}
		}
	}
	return n.handles[id][handle]
}

// logged reads a message of nfnetlink_log: from x_tables' trace its prefix is
// "TRACE: nat:PREROUTING:rule:1 " (net/ipv4/netfilter/ip_tables.c, trace_packet).
func (n *Netfilter) logged(attrs []byte) {
	d, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		return
	}
	d.ByteOrder = binary.BigEndian
	var h Hook
	var prefix string
	var payload []byte
	for d.Next() {
		switch d.Type() {
		case 1: // NFULA_PACKET_HDR: __be16 hw_protocol, __u8 hook
			if b := d.Bytes(); len(b) >= 3 && int(b[2]) < 5 {
				h.Point = []trace.Point{trace.Prerouting, trace.Input, trace.Forward, trace.Output, trace.Postrouting}[b[2]]
			}
		case 4: // NFULA_IFINDEX_INDEV
			h.Iif = n.on.Name(int(d.Uint32()))
		case 5: // NFULA_IFINDEX_OUTDEV
			h.Oif = n.on.Name(int(d.Uint32()))
		case 9: // NFULA_PAYLOAD
			payload = d.Bytes()
		case 10: // NFULA_PREFIX
			prefix = d.String()
		}
	}
	words, ok := strings.CutPrefix(strings.TrimSpace(prefix), "TRACE: ")
	f := strings.Split(words, ":")
	if d.Err() != nil || !ok || len(f) != 4 || len(payload) < 20 {
		return
	}
	size := int(payload[0]&15) * 4
	if h.Header, h.Key, h.HasKey = n.dec.Packet(payload[:min(size, len(payload))], payload[min(size, len(payload)):min(size+20, len(payload))]); !h.HasKey {
		return
	}
	h.Table, h.Chain = f[0], f[1]
	tables := n.on.Tables()
	switch f[2] {
	case "rule":
		h.Rule, _ = strconv.Atoi(f[3])
		h.RuleText = ruleText(tables, h.Table, h.Chain, h.Rule)
		h.Target = target(h.RuleText)
		switch v := trace.Verdict(h.Target); v {
		case trace.Accept, trace.Drop, trace.Reject, trace.Return, trace.Snat, trace.Dnat, trace.Masq, trace.Redirect:
			h.Verdict = v
		default:
			h.Verdict = trace.Unknown
			for _, t := range tables {
				if t.Name == h.Table && t.Chain(h.Target) != nil {
					h.Verdict = trace.Jump
				}
			}
		}
	case "return":
		h.Verdict = trace.Return
	case "policy":
		h.Verdict = trace.Policy
		for _, t := range tables {
			if c := t.Chain(h.Chain); t.Name == h.Table && c != nil && c.Policy == "DROP" {
				h.Verdict = trace.PolicyNo
			}
		}
	}
	n.on.Hook(h)
}

// Conns lists the conntrack table of the namespace that nsfd refers to.
func Conns(nsfd int) ([]state.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: nsfd})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	msgs, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 /* IPCTNL_MSG_CT_GET */, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.AF_INET, 0, 0, 0},
	})
	if err != nil {
		return nil, fmt.Errorf("conntrack: %w", err)
	}
	var conns []state.Conn
	for _, m := range msgs {
		if len(m.Data) < 4 {
			continue
		}
		if conn, err := ParseConn(m.Data[4:]); err == nil && conn.Orig.Src != (netip.Addr{}) {
			conns = append(conns, conn)
		}
	}
	return conns, nil
}
