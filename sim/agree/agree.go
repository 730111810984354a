// Package agree holds two runs of the same commands against each other: one on
// the kernel, which is right, and one on the model.
//
//	command ─┬─ kernel ─ Outcome ─ Render ─ lines ─┐
//	         └─ model ── Outcome ─ Render ─ lines ─┴─ Compare ─▶ Difference …
//
// What a side did is first written down as lines of text, without what no two
// runs have in common; then the lines are compared. So a difference is readable
// as it stands, and a run kept in a file is compared as a live one is.
//
// # What is compared
//
// Of a command its status, what it printed, and every journey at the points the
// kernel can report: the interfaces it was seen on, the hooks with table, chain,
// rule and verdict, each rewrite, the routing decision's way out, how it ended;
// with addresses, ports, TTL, ICMP type and TCP flags. Of the state all that a
// snapshot holds: links, addresses, routes, rules, counters, settings,
// neighbours, forwarding tables, connections, listeners.
//
// # What is not, and why
//
//   - Values that are drawn by lot or counted by the whole machine (MAC
//     addresses, ephemeral ports, ICMP ids, IP ids, sequence numbers) are
//     compared by role: $m1 of the one side is one and the same value of the
//     other, wherever it appears. See unify.
//   - Times. A timeout may differ by a few seconds; "time=0.05 ms" is "time=…".
//   - How often an unanswered ARP request was repeated, and how TCP cuts data,
//     acknowledgements and its end into packets: journeys of ARP, and of an
//     established TCP connection, that went the same way count once, and so does
//     a SYN that is repeated after a second; a counter that such packets moved is
//     "some".
//   - What the kernel keeps to itself: the decision of a bridge, and what
//     happens in a switch, which is not captured. Where our own account of a
//     kernel's silence does not name a cause ("vanished"), the model may.
package agree

import (
	"fmt"
	"strings"

	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// Outcome is what a side made of a command.
type Outcome struct {
	Status         int
	Stdout, Stderr string
	Traces         []trace.Trace
}

// OutcomeOf returns the outcome of one operation.
func OutcomeOf(r op.Result) Outcome {
	return Outcome{Status: r.Status, Stdout: r.Output, Stderr: r.Stderr, Traces: r.Traces}
}

// Difference is a place where the two sides do not agree.
type Difference struct {
	Event string `json:"event"` // "difference"
	Node  string `json:"node,omitempty"`
	Text  string `json:"text,omitempty"` // the command; empty for the state after all of them
	// What differs: status, stdout, stderr, journey, or the part of the state:
	// link, route, rule, conntrack, …
	What   string `json:"what"`
	Kernel string `json:"kernel"` // empty: the kernel has nothing like it
	Model  string `json:"model"`  // empty: the model has nothing like it
	// Known is the cause, when this difference is one of Known.
	Known string `json:"known,omitempty"`
}

func (d Difference) String() string {
	where := "afterwards"
	if d.Text != "" {
		where = d.Node + "# " + d.Text
	}
	k, m := d.Kernel, d.Model
	if strings.Contains(k, "\n") || strings.Contains(m, "\n") {
		return fmt.Sprintf("%s: %s\n%s", where, d.What, sideBySide(k, m))
	}
	none := func(s string) string {
		if s == "" {
			return "nothing"
		}
		return s
	}
	return fmt.Sprintf("%s: %s: kernel %s; model %s", where, d.What, none(k), none(m))
}

// sideBySide writes two texts as a diff of lines: " " both, "-" only the
// kernel's, "+" only the model's.
func sideBySide(kernel, model string) string {
	a, b := strings.Split(kernel, "\n"), strings.Split(model, "\n")
	if kernel == "" {
		a = nil
	}
	if model == "" {
		b = nil
	}
	// The longest common subsequence; the texts are short.
	n := make([][]int, len(a)+1)
	for i := range n {
		n[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if shape(a[i]) == shape(b[j]) {
				n[i][j] = n[i+1][j+1] + 1
			} else {
				n[i][j] = max(n[i+1][j], n[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && shape(a[i]) == shape(b[j]):
			out = append(out, "    "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && n[i+1][j] >= n[i][j+1]:
			out = append(out, "  - "+a[i])
			i++
		default:
			out = append(out, "  + "+b[j])
			j++
		}
	}
	return strings.Join(out, "\n")
}

// Comparison compares a transcript's commands one after another. It remembers
// which value of the one side is which of the other.
type Comparison struct {
	kernel, model *Renderer
	names         names
}

// New begins a comparison.
func New() *Comparison {
	return &Comparison{kernel: NewRenderer(), model: NewRenderer(), names: newNames()}
}

// Switches tells which nodes are only wiring, where nobody captures: call it
// with the labs' state before the first command.
func (c *Comparison) Switches(s *state.Snapshot) {
	c.kernel.Switches(s)
	c.model.Switches(s)
}

// Command compares what a command came to.
func (c *Comparison) Command(node, text string, kernel, model Outcome) []Difference {
	return c.names.command(node, text, c.kernel.Command(text, kernel), c.model.Command(text, model))
}

// State compares two snapshots, taken after the same commands.
func (c *Comparison) State(kernel, model *state.Snapshot) []Difference {
	return c.names.state(c.kernel.State(kernel), c.model.State(model))
}

// command compares two rendered commands.
func (n *names) command(node, text string, kernel, model Record) []Difference {
	var ds []Difference
	add := func(what, k, m string) {
		ds = append(ds, classify(Difference{Event: "difference", Node: node, Text: text, What: what, Kernel: k, Model: m}))
	}
	if kernel.Status != model.Status {
		add("status", fmt.Sprint(kernel.Status), fmt.Sprint(model.Status))
	}
	for _, out := range []struct{ what, k, m string }{{"stdout", kernel.Stdout, model.Stdout}, {"stderr", kernel.Stderr, model.Stderr}} {
		switch {
		case n.unify(out.k, out.m):
		case programOf(text) == "conntrack" && len(n.pair(strings.Split(out.k, "\n"), strings.Split(out.m, "\n"))) == 0:
			// The same connections: which comes first only their names would tell.
		default:
			add(out.what, out.k, out.m)
		}
	}
	for _, p := range n.pair(kernel.Journeys, model.Journeys) {
		add("journey", p.a, p.b)
	}
	return ds
}

func (n *names) state(kernel, model []string) []Difference {
	var ds []Difference
	for _, p := range n.pair(kernel, model) {
		some := p.a
		if some == "" {
			some = p.b
		}
		what := "state"
		if f := strings.Fields(some); len(f) > 1 {
			what = f[1]
		}
		ds = append(ds, classify(Difference{Event: "difference", What: what, Kernel: p.a, Model: p.b}))
	}
	return ds
}

// CompareRecords compares runs that were written down before: commands[i] is
// what kernel[i] and model[i] came to.
func CompareRecords(kernel, model *Run) []Difference {
	n := newNames()
	var ds []Difference
	for i := range min(len(kernel.Commands), len(model.Commands)) {
		ds = append(ds, n.command(kernel.Commands[i].Node, kernel.Commands[i].Text, kernel.Commands[i], model.Commands[i])...)
	}
	return append(ds, n.state(kernel.State, model.State)...)
}

// Run is a whole run, written down.
type Run struct {
	Commands []Record
	State    []string // after the last command
}

// Record is what a command came to, written down.
type Record struct {
	Node, Text     string
	Status         int
	Stdout, Stderr string
	Journeys       []string // each some lines
}
