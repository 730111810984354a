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
	// Unfollowed counts packets that were seen while there were too many to
	// follow each one's journey.
	Unfollowed uint64 `json:"unfollowed,omitempty"`
	Lost       string `json:"lost,omitempty"` // the lab died, and why; nothing follows
}
