package sim

import (
	"slices"
	"strconv"

	"vethlab/sim/op"
)

// fibConfig is a route as somebody wants it (struct fib_config,
// include/net/ip_fib.h).
type fibConfig struct {
	table   int
	dst     IP
	bits    int
	tos     uint8
	typ     rtType // delete: rtnUnspec takes any
	scope   uint8  // delete: scopeNowhere takes any
	proto   uint8  // delete: 0 takes any
	metric  uint32
	prefsrc IP
	gateway IP
	dev     *Link
	onlink  bool

	create, excl, replace, append bool // NLM_F_*
}

// RouteAdd adds a route.
func (n *Netns) RouteAdd(r op.Route) *op.Failure { return n.routeOp(r, Add) }

// RouteReplace adds a route or takes the place of one.
func (n *Netns) RouteReplace(r op.Route) *op.Failure { return n.routeOp(r, Replace) }

// RouteDel removes a route.
func (n *Netns) RouteDel(r op.Route) *op.Failure { return n.routeOp(r, Delete) }

// routeOp fills in what `ip route` does (iproute_modify, ip/iproute.c).
func (n *Netns) routeOp(r op.Route, mode Mode) *op.Failure {
	q := RouteRequest{Mode: mode, Table: r.Table, Type: r.Type, Scope: r.Scope, Dst: r.Dst, Via: r.Via, Dev: r.Dev, Src: r.Src,
		Metric: r.Metric, Onlink: r.Onlink}
	if mode != Delete {
		if q.Type == "" {
			q.Type = "unicast"
		}
		q.Proto = "boot"
		if q.Scope == "" && q.Type == "unicast" && !q.Via.IsValid() {
			q.Scope = "link"
		}
	}
	return n.RouteChange(q)
}

// RouteChange adds, replaces or deletes a route (inet_rtm_newroute and
// inet_rtm_delroute, net/ipv4/fib_frontend.c).
func (n *Netns) RouteChange(r RouteRequest) *op.Failure {
	c := fibConfig{table: r.Table, tos: r.TOS, metric: uint32(r.Metric), prefsrc: ipOf(r.Src), gateway: ipOf(r.Via), onlink: r.Onlink}
	if r.Dev != "" {
		var f *op.Failure
		if c.dev, f = n.find(r.Dev); f != nil {
			return f
		}
	}
	if r.NoDev {
		c.dev = &Link{ns: n, gone: true}
	}
	if !r.Dst.IsValid() || !r.Dst.Addr().Is4() {
		return fail(einval, "")
	}
	c.dst, c.bits = ipOf(r.Dst.Addr()), r.Dst.Bits()
	if c.table == 0 {
		c.table = tableMain
	}
	var ok bool
	if c.typ, ok = typeNumber(r.Type); !ok {
		return fail(einval, "Invalid route type")
	}
	if c.proto, ok = protNumber(r.Proto); !ok {
		return fail(einval, "")
	}
	if c.scope, ok = scopeNumber(r.Scope); !ok {
		return fail(einval, "")
	}
	if r.Mode == Delete && r.Scope == "" {
		c.scope = scopeNowhere
	}
	if c.tos&3 != 0 {
		return fail(einval, "Invalid dsfield (tos): ECN bits must be 0")
	}
	if r.Mode == Delete {
		if f := c.keyError(); f != nil {
			return f
		}
		if n.fib.tables[c.table] == nil {
			return fail(esrch, "FIB table does not exist")
		}
		return n.fibDelete(&c)
	}
	switch r.Mode {
	case Add:
		c.create, c.excl = true, true
	case Replace:
		c.create, c.replace = true, true
	case Change:
		c.replace = true
	case Append:
		c.create, c.append = true, true
	case Prepend:
		c.create = true
	case Test:
		c.excl = true
	}
	return n.fibInsert(&c)
}

// fibInsert puts a route into its table: fib_table_insert, net/ipv4/fib_trie.c.
func (n *Netns) fibInsert(c *fibConfig) *op.Failure {
	t := n.fib.newTable(c.table)
	if f := c.keyError(); f != nil {
		return f
	}
	r, f := n.createInfo(c)
	if f != nil {
		return f
	}
	rows := t.at(r.dst, r.bits)
	at := findAlias(rows, r.tos, r.metric)
	if at < len(rows) && rows[at].tos == r.tos && rows[at].metric == r.metric {
		if c.excl {
			return fail(eexist, "")
		}
		end, match := at, -1
		for ; end < len(rows) && rows[end].tos == r.tos && rows[end].metric == r.metric; end++ {
			if rows[end].same(r) {
				match = end
				break
			}
		}
		switch {
		case c.replace && match == at:
			return nil
		case match >= 0:
			return fail(eexist, "")
		case c.replace:
			rows[at] = r
			n.fibChanged()
			return nil
		case c.append:
			at = end
		}
	}
	if !c.create {
		return fail(enoent, "")
	}
	t.set(r.dst, r.bits, slices.Insert(rows, at, r))
	n.fibChanged()
	return nil
}

// fibDelete removes the first route that is as c says: fib_table_delete.
func (n *Netns) fibDelete(c *fibConfig) *op.Failure {
	t := n.fib.tables[c.table]
	rows := t.at(c.dst, c.bits)
	for i := findAlias(rows, c.tos, 0); i < len(rows) && rows[i].tos == c.tos; i++ {
		r := rows[i]
		if (c.typ == rtnUnspec || r.typ == c.typ) && (c.scope == scopeNowhere || r.scope == c.scope) &&
			(c.prefsrc == 0 || r.prefsrc == c.prefsrc) && (c.proto == 0 || r.proto == c.proto) &&
			(c.metric == 0 || r.metric == c.metric) && // fib_nh_match, from here on
			(c.dev == nil || r.dev == c.dev) && (c.gateway == 0 || r.gateway == c.gateway) {
			t.set(c.dst, c.bits, slices.Delete(rows, i, i+1))
			n.fibChanged()
			return nil
		}
	}
	return fail(esrch, "")
}

// findAlias returns the place of the first route of that TOS whose metric is
// no smaller, or where one would go (fib_find_alias).
func findAlias(rows []*fibRow, tos uint8, metric uint32) int {
	for i, r := range rows {
		if r.tos < tos || r.tos == tos && r.metric >= metric {
			return i
		}
	}
	return len(rows)
}

// same reports whether two rows share their fib_info (fib_find_info).
func (r *fibRow) same(s *fibRow) bool {
	return r.typ == s.typ && r.scope == s.scope && r.proto == s.proto && r.metric == s.metric && r.prefsrc == s.prefsrc &&
		r.dev == s.dev && r.gateway == s.gateway && r.nhScope == s.nhScope && r.onlink == s.onlink
}

// keyError: fib_valid_key_len.
func (c *fibConfig) keyError() *op.Failure {
	if c.dst&^mask(c.bits) != 0 {
		return fail(einval, "Invalid prefix for given prefix length")
	}
	return nil
}

// createInfo checks a route, and fills in what follows from it:
// fib_create_info, net/ipv4/fib_semantics.c.
func (n *Netns) createInfo(c *fibConfig) (*fibRow, *op.Failure) {
	if minScope[c.typ] > c.scope {
		return nil, fail(einval, "Invalid scope")
	}
	r := &fibRow{table: c.table, dst: c.dst, bits: c.bits, tos: c.tos, typ: c.typ, scope: c.scope, proto: c.proto,
		metric: c.metric, prefsrc: c.prefsrc, dev: c.dev, gateway: c.gateway, onlink: c.onlink}
	if c.typ.errno() != 0 {
		if c.gateway != 0 || c.dev != nil {
			return nil, fail(einval, "Gateway, device and multipath can not be specified for this route type")
		}
		return r, nil
	}
	switch c.typ {
	case rtnUnicast, rtnLocal, rtnBroadcast, rtnAnycast, rtnMulticast:
	default:
		return nil, fail(einval, "Invalid route type")
	}
	switch {
	case c.scope > scopeHost:
		return nil, fail(einval, "Invalid scope")
	case c.scope == scopeHost:
		if c.gateway != 0 {
			return nil, fail(einval, "Route with host scope can not have a gateway")
		}
		r.nhScope = scopeNowhere
		if c.dev == nil || c.dev.gone {
			return nil, fail(enodev, "")
		}
	case c.gateway != 0:
		if f := n.checkGateway(c, r); f != nil {
			return nil, f
		}
	default: // fib_check_nh_nongw
		switch {
		case c.onlink:
			return nil, fail(einval, "Invalid flags for nexthop - PERVASIVE and ONLINK can not be set")
		case c.dev == nil || c.dev.mtu < minMTU:
			return nil, fail(enodev, "")
		case !c.dev.up:
			return nil, fail(enetdown, "Device for nexthop is not up")
		}
		r.nhScope = scopeHost
		r.linkdown = !c.dev.carrierOn
	}
	if c.prefsrc != 0 && !n.validPrefsrc(c) {
		return nil, fail(einval, "Invalid prefsrc address")
	}
	return r, nil
}

// minScope is the widest scope that a route of a type can have (fib_props).
var minScope = [...]uint8{rtnUnspec: scopeNowhere, rtnLocal: scopeHost, rtnBroadcast: scopeLink, rtnAnycast: scopeLink, rtnThrow: scopeUniverse,
	10: scopeNowhere, 11: scopeNowhere} // RTN_NAT and RTN_XRESOLVE, which nothing uses any more

// checkGateway finds the way to a next hop: fib_check_nh_v4_gw.
func (n *Netns) checkGateway(c *fibConfig, r *fibRow) *op.Failure {
	if c.onlink {
		switch {
		case c.scope >= scopeLink:
			return fail(einval, "Nexthop has invalid scope")
		case c.dev == nil || c.dev.gone:
			return fail(enodev, "Nexthop device required for onlink")
		case !c.dev.up:
			return fail(enetdown, "Nexthop device is not up")
		case n.addrType(c.gateway) != rtnUnicast: // on whatever link (inet_addr_type_dev_table)
			return fail(einval, "Nexthop has invalid gateway")
		}
		r.linkdown, r.nhScope = !c.dev.carrierOn, scopeLink
		return nil
	}
	fl := flowi{dst: c.gateway, oif: c.dev, iif: n.lo, scope: max(c.scope+1, scopeLink), ignoreLinkstate: true}
	var hop *fibRow
	errno := eagain
	if c.table != tableMain && n.fib.tables[c.table] != nil {
		hop, errno = n.fib.tableLookup(c.table, &fl)
	}
	if errno != 0 {
		hop, errno = n.fibLookup(&fl)
	}
	switch {
	case errno != 0:
		return fail(errno, "Nexthop has invalid gateway")
	case hop.typ != rtnUnicast && hop.typ != rtnLocal:
		return fail(einval, "Nexthop has invalid gateway")
	case !hop.dev.up:
		return fail(enetdown, "")
	}
	r.nhScope, r.dev, r.linkdown = hop.scope, hop.dev, !hop.dev.carrierOn
	return nil
}

// validPrefsrc reports whether the node owns a route's preferred source
// (fib_valid_prefsrc).
func (n *Netns) validPrefsrc(c *fibConfig) bool {
	if c.typ == rtnLocal && c.dst != 0 && c.prefsrc == c.dst {
		return true
	}
	return c.table != tableMain && n.addrTypeIn(c.prefsrc, c.table, nil) == rtnLocal || n.addrType(c.prefsrc) == rtnLocal
}

// typeNumber reads a route's type: a name, or a number as iproute2 reads it.
func typeNumber(s string) (rtType, bool) {
	if s == "" {
		return rtnUnspec, true
	}
	if i := slices.Index(rtTypeNames[:], s); i > 0 {
		return rtType(i), true
	}
	v, ok := number8(s)
	return rtType(v), ok && int(v) < len(rtTypeNames)
}

var protNames = map[uint8]string{0: "unspec", 1: "redirect", protKernel: "kernel", protBoot: "boot", 4: "static", 8: "gated", 9: "ra", 10: "mrt",
	11: "zebra", 12: "bird", 13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 18: "keepalived", 42: "babel", 99: "openr",
	186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp"}

func protName(p uint8) string {
	if s := protNames[p]; s != "" {
		return s
	}
	return decimal(p)
}

// protNumber reads who made a route, as /etc/iproute2/rt_protos names them.
func protNumber(s string) (uint8, bool) {
	if s == "" {
		return 0, true
	}
	for p, name := range protNames {
		if name == s {
			return p, true
		}
	}
	return number8(s)
}

func number8(s string) (uint8, bool) {
	v, err := strconv.ParseUint(s, 0, 8)
	return uint8(v), err == nil
}

func decimal(v uint8) string { return strconv.Itoa(int(v)) }
