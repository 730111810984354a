package sim

// What is not written yet, so that the package compiles. Whoever writes the
// real one deletes it here; this file goes away.

import (
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// --- C: control plane
func (n *Netns) init()                                   {}
func (n *Netns) NetnsAdd(name string) *op.Failure        { return nil }
func (n *Netns) NetnsDel(name string) *op.Failure        { return nil }
func (n *Netns) LinkAdd(o op.LinkAdd) *op.Failure        { return nil }
func (n *Netns) LinkDel(name string) *op.Failure         { return nil }
func (n *Netns) LinkSet(o op.LinkSet) *op.Failure        { return nil }
func (n *Netns) AddrAdd(o op.AddrAdd) *op.Failure        { return nil }
func (n *Netns) AddrDel(o op.AddrDel) *op.Failure        { return nil }
func (n *Netns) AddrFlush(dev string) *op.Failure        { return nil }
func (n *Netns) RouteAdd(r op.Route) *op.Failure         { return nil }
func (n *Netns) RouteReplace(r op.Route) *op.Failure     { return nil }
func (n *Netns) RouteDel(r op.Route) *op.Failure         { return nil }
func (n *Netns) NeighFlush(dev string) *op.Failure       { return nil }
func (n *Netns) SysctlSet(key, value string) *op.Failure { return nil }
func (w *World) snapshot() *state.Snapshot               { return &state.Snapshot{Version: state.Version} }

// FromSnapshot makes a world from a snapshot.
func FromSnapshot(s *state.Snapshot, o Options) (*World, error) { return empty(o), nil }

type fib struct{}     // C: the tables' rows, with policies; D: lookup
type process struct{} // F

// --- D: data plane, layers 2 and 3
type neighTable struct{}
type bridge struct{}
type bridgePort struct{}
type vxlan struct{}

// route is the outcome of a lookup: struct rtable.
type route struct {
	dev     *Link
	gateway IP // 0: the destination itself is the next hop
	src     IP // the source a new packet gets
	local   bool
}

// receive: __netif_receive_skb_core, net/core/dev.c
func (w *World) receive(dev *Link, p *packet) {}

// devXmit: dev_queue_xmit
func (w *World) devXmit(dev *Link, p *packet) {}

// --- F: sockets and traffic
type sockets struct{}
type socket struct{}

func (w *World) ping(n *Netns, o op.Ping) op.Result           { return NotSimulated("ping") }
func (w *World) httpGet(n *Netns, o op.HTTPGet) op.Result     { return NotSimulated("curl") }
func (w *World) httpServe(n *Netns, o op.HTTPServe) op.Result { return NotSimulated("http.server") }
func (w *World) dnsServe(n *Netns, o op.DNSServe) op.Result   { return NotSimulated("dnsmasq") }
func (w *World) procKill(n *Netns, name string) op.Result     { return NotSimulated("pkill") }
