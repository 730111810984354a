package tools

import (
	"context"
	"fmt"
	"strings"
	"testing"

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
