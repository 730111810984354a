// Package exec runs a lab on the real kernel.
//
//	 server                          sandbox (its own user, pid, mount … namespaces)
//	┌─────────┐   one socket pair   ┌──────────────────────────────────────────┐
//	│ Lab     │◀── wire messages ──▶│ inside ─┬─ node host      netns          │
//	│         │                     │         ├─ node client    netns          │
//	└─────────┘                     │         └─ …                             │
//	                                │  each: one netlink handle, one packet    │
//	                                │  socket, one netfilter socket            │
//	                                └──────────────────────────────────────────┘
//
// A Lab outside passes operations in; the process inside applies each in a
// thread that has entered the node, and sends back results, sightings,
// journeys and snapshots. Operations go through netlink, iptables and files
// (apply_linux.go, restore_linux.go); the machine's own tools run as processes
// in the node (process_linux.go, view_linux.go). What a snapshot holds is read from the kernel
// (snapshot_linux.go), when netlink says that something changed.
package exec

import (
	"encoding/json"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Options say how to make labs.
type Options struct {
	// Iptables chooses the form of iptables in the labs: "nft" or "legacy".
	// Empty takes the one the machine has chosen.
	Iptables string
}

// The messages between a Lab and its sandbox are JSON values on a stream.
// wireVersion is in the first; a change of meaning raises it.
const wireVersion = 1

// request goes in. Method: open, apply, cancel, snapshot, watch.
type request struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	V      int             `json:"v,omitempty"`
	World  *wireWorld      `json:"world,omitempty"` // open
	Node   string          `json:"node,omitempty"`  // apply
	Op     json.RawMessage `json:"op,omitempty"`
	Of     int             `json:"of,omitempty"` // cancel: the request to give up
}

// response comes out: the answer to a request, or (ID 0) an event.
type response struct {
	ID       int             `json:"id,omitempty"`
	Result   *op.Result      `json:"result,omitempty"`
	Snapshot *state.Snapshot `json:"snapshot,omitempty"`
	Err      string          `json:"err,omitempty"`
	Event    *op.Event       `json:"event,omitempty"`
}

// wireWorld is an op.World in JSON.
type wireWorld struct {
	Name  string        `json:"name"`
	Nodes []op.NodeSpec `json:"nodes"`
	Setup []wireLine    `json:"setup"`
}

type wireLine struct {
	Node string          `json:"node"`
	Op   json.RawMessage `json:"op"`
}

func toWire(w op.World) (*wireWorld, error) {
	ww := &wireWorld{Name: w.Name, Nodes: w.Nodes}
	for _, l := range w.Setup {
		b, err := op.Marshal(l.Op)
		if err != nil {
			return nil, err
		}
		ww.Setup = append(ww.Setup, wireLine{l.Node, b})
	}
	return ww, nil
}
