package op

import (
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// Event is what a lab tells without being asked. Exactly one field is set.
type Event struct {
	Packets  []trace.Packet  `json:"packets,omitempty"`  // seen just now, in the order of their timestamps
	Trace    *trace.Trace    `json:"trace,omitempty"`    // a journey came to its end
	Snapshot *state.Snapshot `json:"snapshot,omitempty"` // something changed, whoever changed it
	Dropped  uint64          `json:"dropped,omitempty"`  // so many more sightings were lost, for want of room
	Lost     string          `json:"lost,omitempty"`     // the lab died, and why; nothing follows
}
