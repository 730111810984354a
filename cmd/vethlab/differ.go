package main

import (
	"fmt"
	"io"
	"strings"

	"vethlab/sim/agree"
)

// differenceEvent is a difference as --json prints it; what counts as one is
// package agree's business.
type differenceEvent struct {
	agree.Difference
	Step string `json:"step,omitempty"`
}

// differ prints differences, and returns how many there are.
func (p *printer) differ(w io.Writer, step string, ds []agree.Difference) int {
	for _, d := range ds {
		if p.json {
			p.event(differenceEvent{d, step})
			continue
		}
		what := d.What
		if d.Text == "" {
			what += ", afterwards"
		}
		if d.Known != "" {
			what += "  (known: " + d.Known + ")"
		}
		fmt.Fprintln(w, p.paint(red, "≠ "+what))
		p.block(w, "kernel", d.Kernel)
		p.block(w, "model", d.Model)
	}
	return len(ds)
}

// block prints what one side says, beneath its name.
func (p *printer) block(w io.Writer, name, text string) {
	if text == "" {
		text = "–"
	}
	for i, row := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(w, "    %-8s%s\n", name, row)
	}
}

// verdict ends a run on both backends.
func (p *printer) verdict(n int) {
	text := p.paint(green, "The simulator and the kernel agree.")
	switch {
	case n == 1:
		text = p.paint(red, "The simulator and the kernel differ in 1 place.")
	case n > 1:
		text = p.paint(red, fmt.Sprintf("The simulator and the kernel differ in %d places.", n))
	}
	fmt.Fprintf(p.stdout, "\n%s\n", text)
}
