// Command vethlab teaches how containers reach each other and the world, on the
// real kernel: see vethlab help.
package main

import (
	"fmt"
	"os"
	"strings"

	"vethlab/exec"
)

// commands are what vethlab can be asked to do. Each takes the arguments after
// its name and returns the exit status.
var commands = []struct {
	name, usage, text string
	run               func(args []string) int
}{
	{"serve", "serve [--listen 127.0.0.1:8642] [--backend auto|sim|kernel] [--open]", "serve the lessons to a browser", serveCommand},
	{"shell", "shell [--backend auto|sim|kernel|both] [--world NAME] [--json] [FILE]", "run a transcript in a fresh lab, on the kernel, in the simulator or both: from FILE, standard input, or a prompt", shellCommand},
	{"lesson", "lesson list | run ID [--backend auto|sim|kernel|both] | lint [DIR] | script ID", "list, run or check lessons, or print one as a bash script", lessonCommand},
	{"doctor", "doctor [--json]", "try each thing that a lab on the real kernel needs", doctorCommand},
	{"version", "version", "say which vethlab this is", versionCommand},
}

func main() {
	exec.Init() // a lab is this program, run again: then this does not return
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, help())
		return 2
	}
	name := args[0]
	switch name {
	case "help", "-h", "-help", "--help":
		if len(args) > 1 && name == "help" {
			return run([]string{args[1], "--help"})
		}
		fmt.Print(help())
		return 0
	case "-v", "--version":
		name = "version"
	}
	var names []string
	for _, c := range commands {
		if c.name == name {
			return c.run(args[1:])
		}
		names = append(names, c.name)
	}
	fmt.Fprintf(os.Stderr, "vethlab: there is no command %q", name)
	if guess := nearest(name, append(names, "help")); guess != "" {
		fmt.Fprintf(os.Stderr, "; did you mean %q?", guess)
	}
	fmt.Fprintf(os.Stderr, "\nThe commands are %s and help.\n", strings.Join(names, ", "))
	return 2
}

func help() string {
	var b strings.Builder
	b.WriteString("vethlab teaches container networking on the real kernel, in namespaces of its own: no root, and nothing on this machine is changed. Where that cannot be, a model of the kernel stands in.\n\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  vethlab %s\n      %s\n", c.usage, c.text)
	}
	b.WriteString("\nBegin with: vethlab serve --open\nEach command explains itself with --help.\n")
	return b.String()
}

// nearest returns the name that is at most two edits from word (a third of its
// letters, if that is less), or "".
func nearest(word string, names []string) string {
	best, guess := min(2, (len(word)+2)/3)+1, ""
	for _, n := range names {
		if d := distance(word, n); d < best || len(word) >= 2 && guess == "" && strings.HasPrefix(n, word) {
			best, guess = min(d, best), n
		}
	}
	return guess
}

// distance is the number of letters to insert, delete or change (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
