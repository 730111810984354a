package agree

import (
	"fmt"
	"math"
	"testing"
	"time"

	"vethlab/sim/trace"
)

// Two texts say the same when one side's names stand for the other's throughout.
func TestUnify(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"a tx eth0 $m1>$m2", "a tx eth0 $m3>$m4", true},
		{"b tx eth0 $m2>$m1", "b tx eth0 $m4>$m3", true},
		{"b tx eth0 $m2>$m1", "b tx eth0 $m3>$m4", false}, // $m2 is $m4
		{"$m5", "$p5", false},
		{"no names", "no names", true},
		{"no names", "names", false},
		{"icmp ~29", "icmp ~26", true},
		{"icmp ~29", "icmp ~20", false},
		{"udp ~29 $p1", "udp $p1 ~29", false},
		{"a $p7", "a", false},
		{"", "", true},
		{"end: vanished at a" + unexplained, "end: unclaimed at a", true},
		{"rule 1 [3:180] -j DROP", "rule 1 [some] -j DROP", true},
		{"costs $5", "costs $5", true},
	} {
		n := newNames()
		n.unify("$m1 $m2", "$m3 $m4")
		if got := n.unify(c.a, c.b); got != c.same {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
	}
}

// conntrack lists connections in an order of chance; which is which its other
// words need not tell.
func TestConntrackOrder(t *testing.T) {
	list := func(ids ...string) Record {
		text := ""
		for i, id := range ids {
			text += fmt.Sprintf("icmp 1 ~%d src=10.0.0.1 id=%s\n", 29-i, id)
		}
		return Record{Stdout: text}
	}
	for _, c := range []struct {
		kernel, model Record
		same          bool
	}{
		{list("$i1", "$i2"), list("$i5", "$i4"), true}, // $i1 is $i4
		{list("$i1", "$i2"), list("$i5", "$i6"), false},
		{list("$i1", "$i2"), list("$i4"), false},
	} {
		n := newNames()
		n.unify("$i1", "$i4")
		if ds := n.command("a", "conntrack -L", c.kernel, c.model); (len(ds) == 0) != c.same {
			t.Errorf("%q and %q: %v", c.kernel.Stdout, c.model.Stdout, ds)
		}
	}
}

// What comes of a SYN's repetition is not compared: whether nc -w1 gives up before
// depends on how busy the machine is.
func TestRepetition(t *testing.T) {
	at := func(start int64, flags string) trace.Trace {
		h := trace.Header{Proto: "tcp", TCPFlags: flags}
		return trace.Trace{Start: start, Hops: []trace.Hop{{Steps: []trace.Step{{Before: h, After: h}}}}}
	}
	const began, second = int64(5e9), int64(time.Second)
	if got := repeated([]trace.Trace{at(began, "SYN"), at(began+second, "SYN"), at(began+second, "SYN,ACK")}); got <= began || got > began+second {
		t.Errorf("a SYN at %d is repeated from %d on", began, got)
	}
	if got := repeated([]trace.Trace{at(began, "SYN"), at(began+second, "FIN,ACK")}); got != math.MaxInt64 {
		t.Errorf("a connection that came about has repetitions from %d on", got)
	}
}

// What TCP still says of an earlier command's connection is not compared, nor how
// it is rejected.
func TestLatecomers(t *testing.T) {
	packet := func(start int64, h trace.Header, end trace.Disposition) trace.Trace {
		return trace.Trace{Flow: h.Proto, Start: start, Disposition: end, Node: "a", Hops: []trace.Hop{{Node: "a", Steps: []trace.Step{{Before: h, After: h}}}}}
	}
	tcp, refused := trace.Header{Proto: "tcp", TCPFlags: "SYN,ACK"}, trace.Header{Proto: "icmp", ICMPType: 3, ICMPCode: 3}
	late := NewRenderer().latecomers([]trace.Trace{packet(1e9, tcp, trace.Rejected), packet(1e9-1e6, refused, trace.Delivered),
		packet(2e9, refused, trace.Delivered), packet(1e9, trace.Header{Proto: "icmp", ICMPType: 8}, trace.Delivered)})
	if !late[0] || !late[1] || late[2] || late[3] {
		t.Errorf("late: %v", late)
	}
}

// conntrack's connections have no order, wherever it is run.
func TestProgramOf(t *testing.T) {
	for text, want := range map[string]string{"conntrack -L": "conntrack", "ip netns exec c1 conntrack -L": "conntrack",
		"nsenter --net=/run/netns/c1 ss -ltn": "ss", "ip route": "ip", "": ""} {
		if got := programOf(text); got != want {
			t.Errorf("%q runs %q", text, got)
		}
	}
}
