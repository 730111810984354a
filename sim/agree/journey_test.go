package agree_test

import (
	"net/netip"
	"testing"
	"time"

	"vethlab/sim/agree"
	"vethlab/sim/trace"
)

// A SYN that is repeated after a second counts once; one that is repeated
// sooner is another.
func TestRepeatedSYN(t *testing.T) {
	h := trace.Header{Proto: "tcp", Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), SrcPort: 40000, DstPort: 80, TCPFlags: "SYN", TTL: 64, Len: 60}
	syn := func(at time.Duration) trace.Trace {
		return trace.Trace{Start: int64(at), Flow: "tcp 1", Node: "a", Disposition: trace.Vanished, Code: trace.CodeVanished,
			Hops: []trace.Hop{{Node: "a", Steps: []trace.Step{{Point: trace.Output, Verdict: trace.Pass, Before: h, After: h}}}}}
	}
	for _, c := range []struct {
		again time.Duration
		want  int
	}{{1020 * time.Millisecond, 1}, {200 * time.Millisecond, 2}} {
		rec := agree.NewRenderer().Command("nc -w1 10.0.0.2 80", agree.Outcome{Traces: []trace.Trace{syn(0), syn(c.again)}})
		if len(rec.Journeys) != c.want {
			t.Errorf("repeated after %v: %d journeys, not %d: %q", c.again, len(rec.Journeys), c.want, rec.Journeys)
		}
	}
}
