package tools

import (
	"cmp"
	"context"
	"slices"

	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// Watch calls fn for every event from now on, one at a time. In a simulated
// lab things happen only while an operation is done, so events come before
// Apply returns: what was sent, the journeys, and then the state if it may
// have changed.
func (l *Lab) Watch(fn func(op.Event)) {
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	l.watch = append(l.watch, fn)
}

// tell tells those who watch what an operation came to. It wants l.mu.
func (l *Lab) tell(r op.Result, probe bool) {
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	if len(l.watch) == 0 {
		return
	}
	var s *state.Snapshot
	if !probe || len(r.Traces) > 0 {
		s, _ = l.world.Snapshot(context.Background()) // fails only when its context has ended
	}
	seen := sightings(r.Traces)
	for i := range seen {
		l.seen++
		seen[i].Seq = l.seen
	}
	for _, fn := range l.watch {
		if len(seen) > 0 {
			fn(op.Event{Packets: seen})
		}
		for i := range r.Traces {
			fn(op.Event{Trace: &r.Traces[i]})
		}
		if s != nil {
			fn(op.Event{Snapshot: s})
		}
	}
}

// sightings are what packet sockets would have seen of journeys: each time a
// packet came in or left by a device.
func sightings(ts []trace.Trace) []trace.Packet {
	var seen []trace.Packet
	for _, t := range ts {
		for _, h := range t.Hops {
			for _, s := range h.Steps {
				if s.Point == trace.RX || s.Point == trace.TX {
					seen = append(seen, trace.Packet{Node: h.Node, Dev: s.Dev, Out: s.Point == trace.TX, At: t.Start + s.At,
						Header: s.After, Summary: t.Summary, Trace: t.ID})
				}
			}
		}
	}
	slices.SortStableFunc(seen, func(a, b trace.Packet) int { return cmp.Compare(a.At, b.At) })
	return seen
}
