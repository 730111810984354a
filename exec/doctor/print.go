package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Print writes the probes for a person to read, and ends with what to do.
func Print(w io.Writer, probes []Probe) {
	fmt.Fprint(w, "What a lab on the real kernel needs, tried the way a lab does it:\n\n")
	var needed, broken int
	for _, p := range probes {
		if p.Needed {
			needed++
		}
		mark := "✓"
		switch {
		case p.State == Skipped:
			mark = "·"
		case p.State == Failed && p.Needed:
			mark = "✗"
			broken++
		case p.State == Failed:
			mark = "!"
		}
		if p.State == OK && p.Detail == "" {
			fmt.Fprintf(w, "  %s %s\n", mark, p.What)
			continue
		}
		says := p.Detail
		if p.State == Failed {
			says = p.Error
			if p.Errno != "" {
				says = p.Errno + ", " + p.Error
			}
		}
		fmt.Fprintf(w, "  %s %-43s  %s\n", mark, p.What, says)
		line := func(label, text string) {
			if text != "" {
				fmt.Fprintf(w, "      %-8s %s\n", label, text)
			}
		}
		line("costs", p.Cost)
		line("because", p.Cause)
		line("mend", p.Fix)
		line("or", p.Or)
	}
	fmt.Fprintln(w)
	if Ready(probes) {
		fmt.Fprintf(w, "All %d needed things work: `vethlab serve` runs its labs on the real kernel.\n", needed)
		return
	}
	reason, fix := Reason(probes)
	what := "thing a lab needs does not work"
	if broken != 1 {
		what = "things a lab needs do not work"
	}
	fmt.Fprintf(w, "%d %s. Begin with this one: %s.\n", broken, what, strings.TrimSuffix(reason, "."))
	if fix != "" {
		fmt.Fprintf(w, "\n  %s\n\nThen run `vethlab doctor` again.\n", fix)
	}
}
