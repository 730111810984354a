package tools

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// What one lab makes the process hold that serves all of them is bounded.
func TestBounds(t *testing.T) {
	lab, err := Open(context.Background(), op.World{Nodes: []op.NodeSpec{{Name: "host", Kind: state.Machine}}})
	if err != nil {
		t.Fatal(err)
	}
	// do repeats an operation until it is refused.
	do := func(most int, next func(i int) op.Op) (times int, said string) {
		for i := range most {
			r, err := lab.Apply(context.Background(), "host", next(i))
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != 0 {
				if r.Failure != nil {
					return i, r.Failure.Error()
				}
				return i, r.Stderr
			}
		}
		return most, ""
	}
	tool := func(words ...string) op.Tool { return op.Tool{Argv: words} }
	for _, tt := range []struct {
		what     string
		low, top int
		said     string
		next     func(i int) op.Op
	}{
		{"deep directories", 1, 20, "No space left on device", func(i int) op.Op { return tool("mkdir", "-p", fmt.Sprintf("/tmp/%d/%s", i, strings.Repeat("a/", 500))) }},
		{"deeper than PATH_MAX", 0, 0, "File name too long", func(i int) op.Op { return tool("mkdir", "-p", "/tmp/"+strings.Repeat("a/", 2050)) }},
		{"a long name", 0, 0, "File name too long", func(i int) op.Op { return op.FileWrite{Path: "/tmp/" + strings.Repeat("a", 5000)} }},
		{"processes", 2000, 2048, "Resource temporarily unavailable", func(i int) op.Op { return op.Spawn{Argv: []string{"sleep", "infinity"}} }},
		{"namespaces", 1000, 1024, "", func(i int) op.Op { return op.NetnsAdd{Name: fmt.Sprint("ns", i)} }},
	} {
		if n, said := do(tt.top+1, tt.next); n < tt.low || n > tt.top || !strings.Contains(said, tt.said) {
			t.Errorf("%s: %d, then %q", tt.what, n, said)
		}
	}
	if used := used(lab.files["host"]); used > maxFiles {
		t.Errorf("%d bytes of files", used)
	}
}

// Proxies that lead to each other, or to themselves, come to an end: they have no
// more files to open. So does a name server that asks itself.
func TestCircles(t *testing.T) {
	up := true
	lab, err := Open(context.Background(), op.World{Nodes: []op.NodeSpec{{Name: "host", Kind: state.Machine}},
		Setup: []op.Line{{Node: "host", Op: op.LinkSet{Name: "lo", Up: &up}}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	do := func(o op.Op) {
		t.Helper()
		if r, err := lab.Apply(ctx, "host", o); err != nil {
			t.Fatalf("%s: %v, %+v", o, err, r.Stderr)
		}
	}
	for _, p := range [][3]string{{"tcp", "8088", "8088"}, {"udp", "1000", "2000"}, {"udp", "2000", "1000"}} {
		do(op.Spawn{Argv: []string{"docker-proxy", "-proto", p[0], "-host-ip", "0.0.0.0", "-host-port", p[1], "-container-ip", "127.0.0.1", "-container-port", p[2]}})
	}
	do(op.DNSServe{Listen: netip.MustParseAddr("127.0.0.1"), Port: 53, Forward: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	do(op.FileWrite{Path: "/etc/resolv.conf", Text: "nameserver 127.0.0.1\n"})
	do(op.HTTPGet{URL: "http://nobody.example/", Silent: true, Timeout: 3 * time.Second})
	do(op.HTTPGet{URL: "http://127.0.0.1:8088/", Silent: true, Timeout: time.Second})
	do(op.Tool{Argv: []string{"nc", "-u", "-w", "1", "127.0.0.1", "1000"}, Stdin: "hello\n"})
}
