package agree_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"vethlab/lessons"
	"vethlab/sim/agree"
)

// shrink looks for the smallest transcript that still shows the difference, for
// at most so long: lines are taken away, many at once as long as that works,
// then one by one (Zeller's delta debugging).
func shrink(ctx context.Context, c *testCase, ds []agree.Difference, most time.Duration) (*testCase, []agree.Difference) {
	deadline := time.Now().Add(most)
	wanted := kindOf(ds[0])
	shows := func(d *testCase) bool {
		if ctx.Err() != nil || time.Now().After(deadline) {
			return false
		}
		found, _, err := d.compare(ctx)
		if err != nil {
			return false
		}
		found = fresh(found)
		for _, f := range found {
			if kindOf(f) == wanted {
				ds = found
				return true
			}
		}
		return false
	}
	if c.Half > 0 {
		d := *c
		if d.Half = 0; shows(&d) {
			c = &d
		}
	}
	for size := len(c.Lines) / 2; size >= 1; size /= 2 {
		for again := true; again; {
			again = false
			for to := len(c.Lines); to > 0; to -= size {
				from := max(0, to-size)
				if d := c.without(from, to); len(d.Lines) > 0 && shows(d) {
					c, again = d, size == 1
				}
			}
		}
	}
	// What of the world is left over.
	for i := len(c.Setup) - 1; i >= 0; i-- {
		d := *c
		d.Setup = slices.Delete(slices.Clone(c.Setup), i, i+1)
		if d.buildable() && shows(&d) {
			c = &d
		}
	}
	for i := len(c.Nodes) - 1; i > 0; i-- {
		d := *c
		d.Nodes = slices.Delete(slices.Clone(c.Nodes), i, i+1)
		if d.buildable() && shows(&d) {
			c = &d
		}
	}
	return c, ds
}

// buildable reports whether no line is for a node that is not there. A node
// that a line makes is there.
func (c *testCase) buildable() bool {
	text := strings.Join(slices.Concat(c.Setup, c.Lines), "\n")
	for _, l := range slices.Concat(c.Setup, c.Lines) {
		node, _, _ := lessons.SplitPrompt(l)
		made := strings.Contains(text, "netns add "+node)
		for _, n := range c.Nodes {
			made = made || n.Name == node
		}
		if !made {
			return false
		}
	}
	for _, m := range regexp.MustCompile(`(?m)peer name \S+ netns (\S+)$`).FindAllStringSubmatch(strings.Join(c.Setup, "\n"), -1) {
		if !slices.ContainsFunc(c.Nodes, func(n nodeSpec) bool { return n.Name == m[1] }) {
			return false
		}
	}
	return true
}

var numbers = regexp.MustCompile(`[0-9a-f:.]*[0-9][0-9a-f:.]*`)

// kindOf is what two differences have in common that most likely have one
// cause.
func kindOf(d agree.Difference) string {
	tool, _, _ := strings.Cut(d.Text, " ")
	if tool == "echo" {
		tool = "nc"
	}
	k, m := strings.Split(d.Kernel, "\n"), strings.Split(d.Model, "\n")
	for len(k) > 0 && len(m) > 0 && k[0] == m[0] {
		k, m = k[1:], m[1:]
	}
	line := func(s []string) string {
		if len(s) == 0 {
			return ""
		}
		return numbers.ReplaceAllString(s[0], "#")
	}
	words := func(s string) string { // without the node's name
		_, rest, _ := strings.Cut(s, " ")
		return rest
	}
	return d.What + " | " + tool + " | " + words(line(k)) + " | " + words(line(m))
}
