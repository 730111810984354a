package sim

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
)

// The routing tables: their rows, and what a lookup in one finds.
//
// The kernel keeps a table as a trie of prefixes (net/ipv4/fib_trie.c). Here it
// is a map per prefix length, searched from the longest, which finds the same.
// Table local (255) holds what is derived from the addresses: the node's own,
// and the broadcast ones.

// rtType is a route's type (RTN_*, include/uapi/linux/rtnetlink.h).
type rtType uint8

const (
	rtnUnspec      rtType = 0
	rtnUnicast     rtType = 1
	rtnLocal       rtType = 2
	rtnBroadcast   rtType = 3
	rtnAnycast     rtType = 4
	rtnMulticast   rtType = 5
	rtnBlackhole   rtType = 6
	rtnUnreachable rtType = 7
	rtnProhibit    rtType = 8
	rtnThrow       rtType = 9
)

var rtTypeNames = [...]string{"none", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat", "xresolve"}

func (t rtType) String() string { return rtTypeNames[t] }

// errno is what a lookup that ends at a route of this type answers (fib_props,
// net/ipv4/fib_semantics.c).
func (t rtType) errno() int {
	switch t {
	case rtnBlackhole, 10, 11: // RTN_NAT and RTN_XRESOLVE, which nothing uses any more
		return einval
	case rtnUnreachable:
		return ehostunreach
	case rtnProhibit:
		return eacces
	case rtnThrow:
		return eagain
	}
	return 0
}

// Scopes: how far away a destination is (RT_SCOPE_*).
const (
	scopeUniverse uint8 = 0
	scopeSite     uint8 = 200
	scopeLink     uint8 = 253
	scopeHost     uint8 = 254
	scopeNowhere  uint8 = 255
)

// Tables that the kernel makes itself (RT_TABLE_*).
const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

// Who made a route (RTPROT_*).
const (
	protKernel uint8 = 2
	protBoot   uint8 = 3
)

// fib is a namespace's routing: tables, and the policies that choose among them.
type fib struct {
	tables   map[int]*fibTable
	local    *fibTable // the two of them that every packet asks
	main     *fibTable
	used     bool     // main is there: it has had a route, or local has
	home     bool     // local is there: the node has had an address
	policies []policy // in the order they are tried
	// custom is set with the first policy somebody adds or deletes
	// (fib_has_custom_rules). Until then tables local and main are one trie
	// (fib_unmerge), and the longest prefix of both counts.
	custom bool
	gen    uint32 // grows with every change: what was looked up before is void (rt_genid)
}

// fibTable is one routing table (struct fib_table).
type fibTable struct {
	id   int
	made int                  // how many there were when it was made
	rows [33]map[IP][]*fibRow // by prefix length, then by network
	lens uint64               // bit n: there are rows of length n
}

// fibRow is a route: struct fib_alias and the struct fib_info it shares with
// others. Rows of one prefix are in the order in which they are tried: higher
// TOS first, then lower metric.
type fibRow struct {
	table    int
	dst      IP
	bits     int
	tos      uint8
	typ      rtType
	scope    uint8
	proto    uint8
	metric   uint32
	prefsrc  IP    // 0: chosen at each use
	dev      *Link // nil for a type that only refuses
	gateway  IP    // 0: on the link
	nhScope  uint8 // of the next hop
	onlink   bool
	linkdown bool // RTNH_F_LINKDOWN: dev has no carrier
}

// nextHop is the row's gateway as packets are handed to it. One that is an
// address of the node's own is none: the destination is taken to be on the link
// (rt_set_nexthop, net/ipv4/route.c, asks for nhc_scope == RT_SCOPE_LINK).
func (r *fibRow) nextHop() IP {
	if r.nhScope != scopeLink {
		return 0
	}
	return r.gateway
}

// init gives a namespace the tables and policies that every one begins with
// (fib_net_init, net/ipv4/fib_frontend.c; fib_default_rules_init, fib_rules.c).
func (f *fib) init() {
	f.local, f.main = &fibTable{id: tableLocal}, &fibTable{id: tableMain}
	f.tables = map[int]*fibTable{tableLocal: f.local, tableMain: f.main}
	f.policies = []policy{
		{priority: 0, table: tableLocal, suppress: -1, proto: protKernel},
		{priority: 32766, table: tableMain, suppress: -1, proto: protKernel},
		{priority: 32767, table: tableDefault, suppress: -1, proto: protKernel},
	}
}

// fibChanged makes void what was looked up before (rt_cache_flush).
func (n *Netns) fibChanged() { n.fib.gen++ }

// newTable returns a routing table, made if need be (fib_new_table).
func (f *fib) newTable(id int) *fibTable {
	t := f.tables[id]
	f.used = f.used || id == tableMain || id == tableLocal
	f.home = f.home || id == tableLocal
	if t == nil {
		t = &fibTable{id: id, made: len(f.tables)}
		f.tables[id] = t
	}
	return t
}

// has reports whether a table was ever made: those that init makes are none before
// somebody puts a route into them (fib_get_table).
func (f *fib) has(id int) bool {
	switch id {
	case tableLocal:
		return f.home
	case tableMain:
		return f.used
	}
	return f.tables[id] != nil
}

// ids are the tables in the order of their numbers.
func (f *fib) ids() []int {
	ids := make([]int, 0, len(f.tables))
	for id := range f.tables {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b int) int { // by bucket, the newest first (inet_dump_fib)
		return cmp.Or(cmp.Compare(a&255, b&255), cmp.Compare(f.tables[b].made, f.tables[a].made))
	})
	return ids
}

// at returns the rows of one prefix.
func (t *fibTable) at(dst IP, length int) []*fibRow {
	if t == nil || t.rows[length] == nil {
		return nil
	}
	return t.rows[length][dst]
}

func (t *fibTable) set(dst IP, length int, rows []*fibRow) {
	m := t.rows[length]
	if m == nil {
		m = map[IP][]*fibRow{}
		t.rows[length] = m
	}
	if len(rows) == 0 {
		delete(m, dst)
	} else {
		m[dst] = rows
	}
	t.lens &^= 1 << length
	if len(m) > 0 {
		t.lens |= 1 << length
	}
}

// all returns the rows in the order in which the kernel lists them: by
// network, and of one network the longest prefix first (fib_table_dump walks
// the trie from the lowest key).
func (t *fibTable) all() []*fibRow {
	var rows []*fibRow
	for _, m := range t.rows {
		for _, at := range m {
			rows = append(rows, at...)
		}
	}
	// Rows of one prefix come from one list, and stay in its order.
	slices.SortStableFunc(rows, func(a, b *fibRow) int {
		if a.dst != b.dst {
			if a.dst < b.dst {
				return -1
			}
			return 1
		}
		return b.bits - a.bits
	})
	return rows
}

// flush removes the rows that gone picks, and reports whether there were any
// (fib_table_flush).
func (t *fibTable) flush(gone func(*fibRow) bool) bool {
	any := false
	for length, m := range t.rows {
		for dst, rows := range m {
			if !slices.ContainsFunc(rows, gone) {
				continue
			}
			any = true
			t.set(dst, length, slices.DeleteFunc(rows, gone))
		}
	}
	return any
}

// flushRoutes removes the rows that gone picks from all tables (fib_flush).
func (n *Netns) flushRoutes(gone func(*fibRow) bool) {
	any := false
	for _, t := range n.fib.tables {
		any = t.flush(gone) || any
	}
	if any {
		n.fibChanged()
	}
}

// flowi is what a lookup knows of a packet (struct flowi4).
type flowi struct {
	dst, src        IP
	iif, oif        *Link // iif of a packet made here is lo; a nil oif takes any
	mark            uint32
	tos             uint8
	scope           uint8 // rows of a wider scope do not count
	proto           uint8
	sport, dport    uint16
	ignoreLinkstate bool // FIB_LOOKUP_IGNORE_LINKSTATE
}

// lookup finds the row for a packet: the longest prefix, and among the rows of
// one prefix the first that fits (fib_table_lookup). The errno of a table that
// says nothing is EAGAIN.
func (t *fibTable) lookup(fl *flowi) (*fibRow, int) {
	if t == nil {
		return nil, eagain
	}
	for lens := t.lens; lens != 0; {
		length := bits.Len64(lens) - 1
		lens &^= 1 << length
		if r := pick(t.rows[length][fl.dst&mask(length)], fl); r != nil {
			return r, r.typ.errno()
		}
	}
	return nil, eagain
}

// tableLookup is what fib_table_lookup finds in a table: in local and main
// that of both, as long as they are one trie.
func (f *fib) tableLookup(id int, fl *flowi) (*fibRow, int) {
	if !f.custom && (id == tableLocal || id == tableMain) {
		return lookupMerged(f.local, f.main, fl)
	}
	return f.tables[id].lookup(fl)
}

// lookupMerged is lookup in local and main together, as long as no policy was
// touched: of one length, local comes first.
func lookupMerged(local, main *fibTable, fl *flowi) (*fibRow, int) {
	for lens := local.lens | main.lens; lens != 0; {
		length := bits.Len64(lens) - 1
		lens &^= 1 << length
		key := fl.dst & mask(length)
		if local.lens&(1<<length) != 0 {
			if r := pick(local.rows[length][key], fl); r != nil {
				return r, r.typ.errno()
			}
		}
		if main.lens&(1<<length) != 0 {
			if r := pick(main.rows[length][key], fl); r != nil {
				return r, r.typ.errno()
			}
		}
	}
	return nil, eagain
}

func pick(rows []*fibRow, fl *flowi) *fibRow {
	for _, r := range rows {
		if r.tos != 0 && r.tos != fl.tos&0x1c || r.scope < fl.scope {
			continue
		}
		if r.typ.errno() != 0 {
			return r
		}
		// fib_lookup_good_nhc
		if r.linkdown && !fl.ignoreLinkstate && r.dev.ignoresLinkdown() || fl.oif != nil && fl.oif != r.dev {
			continue
		}
		return r
	}
	return nil
}

// addrType says what an address is to this node, by its table local
// (inet_addr_type, net/ipv4/fib_frontend.c).
func (n *Netns) addrType(ip IP) rtType { return n.addrTypeIn(ip, tableLocal, nil) }

// addrTypeIn asks a table, and with dev counts only rows of that link. Where there
// is no such table, as none is local before the first address, any address is
// broadcast.
func (n *Netns) addrTypeIn(ip IP, table int, dev *Link) rtType {
	switch {
	case ip.zeronet() || ip.broadcast():
		return rtnBroadcast
	case ip.multicast():
		return rtnMulticast
	}
	if !n.fib.has(table) {
		return rtnBroadcast
	}
	r, errno := n.fib.tableLookup(table, &flowi{dst: ip})
	if errno == 0 && (dev == nil || r.dev == dev) {
		return r.typ
	}
	return rtnUnicast
}

// prefix is the row's destination.
func (r *fibRow) prefix() netip.Prefix { return netip.PrefixFrom(r.dst.Addr(), r.bits) }

// String writes the row as `ip route` prints it.
func (r *fibRow) String() string {
	var b strings.Builder
	if r.typ != rtnUnicast {
		b.WriteString(r.typ.String() + " ")
	}
	switch r.bits {
	case 0:
		b.WriteString("default")
	case 32:
		b.WriteString(r.dst.String())
	default:
		fmt.Fprintf(&b, "%v/%d", r.dst, r.bits)
	}
	if r.gateway != 0 {
		b.WriteString(" via " + r.gateway.String())
	}
	if r.dev != nil {
		b.WriteString(" dev " + r.dev.name)
	}
	if r.prefsrc != 0 {
		b.WriteString(" src " + r.prefsrc.String())
	}
	return b.String()
}
