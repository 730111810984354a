package state

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Canonical returns a copy of the snapshot without what differs between two
// labs that were built by the same commands: random MAC addresses, indexes and
// inodes, counters, timeouts, and what ARP and conntrack learned from traffic.
// Lists whose order means nothing are sorted; rules keep theirs.
func (s *Snapshot) Canonical() *Snapshot {
	c := &Snapshot{Version: s.Version}
	for _, n := range s.Nodes {
		n.Netns, n.Keeper, n.NetnsLinks = 0, 0, nil
		n.Neighs, n.FDB, n.Conns = nil, nil, nil
		n.Sysctls = maps.Clone(n.Sysctls)
		n.Links = slices.Clone(n.Links)
		for i := range n.Links {
			l := &n.Links[i]
			l.Index, l.PeerIndex, l.PeerNsid, l.MAC, l.Qdisc = 0, 0, nil, "", ""
			// The operational state lags behind the carrier (linkwatch, up to a second).
			l.State = ""
			l.RX, l.TX, l.MACSet = Count{}, Count{}, false
			if l.Port != nil {
				p := *l.Port
				p.No = 0
				l.Port = &p
			}
			l.Addrs = slices.Clone(l.Addrs)
			slices.SortFunc(l.Addrs, func(a, b Addr) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
		}
		slices.SortFunc(n.Links, func(a, b Link) int { return cmp.Compare(a.Name, b.Name) })
		n.Routes = slices.Clone(n.Routes)
		slices.SortFunc(n.Routes, func(a, b Route) int {
			return cmp.Or(cmp.Compare(a.Table, b.Table), a.Dst.Addr().Compare(b.Dst.Addr()), cmp.Compare(a.Dst.Bits(), b.Dst.Bits()),
				cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Dev, b.Dev))
		})
		for i := range n.Routes {
			n.Routes[i].Down = false // lags behind the carrier, too
		}
		n.Listeners = slices.Clone(n.Listeners)
		slices.SortFunc(n.Listeners, func(a, b Listener) int {
			return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port), a.Addr.Compare(b.Addr))
		})
		n.Tables = canonicalTables(n.Tables)
		c.Nodes = append(c.Nodes, n)
	}
	slices.SortFunc(c.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return c
}

// canonicalTables drops counters, and tables that are as if nobody had touched
// them: iptables makes a table when it first looks at it.
func canonicalTables(tables []Table) (kept []Table) {
	for _, t := range tables {
		t.Chains = slices.Clone(t.Chains)
		touched := false
		for i := range t.Chains {
			c := &t.Chains[i]
			c.Packets, c.Bytes = 0, 0
			c.Rules = slices.Clone(c.Rules)
			for j := range c.Rules {
				c.Rules[j].Packets, c.Rules[j].Bytes = 0, 0
			}
			touched = touched || len(c.Rules) > 0 || c.Policy != "ACCEPT"
		}
		if touched {
			slices.SortFunc(t.Chains, func(a, b Chain) int { return cmp.Compare(a.Name, b.Name) })
			kept = append(kept, t)
		}
	}
	slices.SortFunc(kept, func(a, b Table) int { return cmp.Compare(a.Name, b.Name) })
	return kept
}

// Difference is a place where two snapshots are not equal.
type Difference struct {
	Path string `json:"path"` // host.links.veth0.up
	A    string `json:"a"`    // empty: not there
	B    string `json:"b"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: %s, %s", d.Path, cmp.Or(d.A, "-"), cmp.Or(d.B, "-"))
}

// Diff returns the places where a and b differ, in order. Give it canonical
// snapshots to compare what the commands built.
func Diff(a, b *Snapshot) []Difference {
	x, y := map[string]string{}, map[string]string{}
	flatten(x, "", tree(a))
	flatten(y, "", tree(b))
	for k, v := range x {
		if y[k] == v {
			delete(x, k)
			delete(y, k)
		}
	}
	paths := slices.Collect(maps.Keys(x))
	for k := range y {
		if _, ok := x[k]; !ok {
			paths = append(paths, k)
		}
	}
	slices.Sort(paths)
	ds := make([]Difference, 0, len(paths))
	for _, k := range paths {
		ds = append(ds, Difference{strings.TrimPrefix(k, "."), x[k], y[k]})
	}
	return ds
}

func tree(s *Snapshot) any {
	b, err := json.Marshal(s.Nodes)
	if err != nil { // nothing in a Snapshot can fail to marshal
		panic(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err)
	}
	return v
}

// flatten writes a JSON value down leaf by leaf. An element of a list goes by
// its name, or by what else identifies it, so that an added one does not shift
// the others.
func flatten(out map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			flatten(out, path+"."+k, e)
		}
	case []any:
		used := make(map[string]bool, len(v))
		for i, e := range v {
			key := fmt.Sprint(i + 1)
			if m, ok := e.(map[string]any); ok {
				for _, id := range []string{"name", "dst", "prefix", "ip", "mac", "port", "priority"} {
					if s, ok := m[id]; ok {
						key = fmt.Sprint(s)
						break
					}
				}
			}
			p := path + "." + key
			for n := 2; used[p]; n++ {
				p = fmt.Sprintf("%s.%s#%d", path, key, n)
			}
			used[p] = true
			flatten(out, p, e)
		}
	case nil:
	default:
		out[path] = fmt.Sprint(v)
	}
}
