package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"golang.org/x/term"

	"vethlab/lessons"
	"vethlab/sim/state"
)

const lessonUsage = `usage: vethlab lesson list
       vethlab lesson run ID [--backend kernel] [--lang en|zh-CN|zh-TW] [--json]
       vethlab lesson lint [DIR]
       vethlab lesson script ID [--lang en|zh-CN|zh-TW]

list    the lessons that come with vethlab
run     play a lesson in a fresh lab, and check each step; status 1 if a check did not hold
lint    look for mistakes in a directory of lessons, or in the ones that come with vethlab
script  print a lesson's commands as a bash script that needs root and nothing of vethlab
`

// lessonCommand is `vethlab lesson`: 0 when all is well, 1 when a check did not
// hold, the linter found an error or the lab was lost, 2 for wrong usage.
func lessonCommand(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	c := lessonCmd{printer: printer{stdout: os.Stdout, stderr: os.Stderr}, ctx: ctx, open: openKernel}
	c.colour = term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""
	return c.run(args)
}

type lessonCmd struct {
	printer
	ctx  context.Context
	open lessons.Opener
	lang string
}

func (c *lessonCmd) run(args []string) int {
	names := []string{"list", "run", "lint", "script"}
	if len(args) == 0 {
		fmt.Fprint(c.stderr, lessonUsage)
		return 2
	}
	verb := args[0]
	if verb == "-h" || verb == "--help" || verb == "-help" || verb == "help" {
		fmt.Fprint(c.stdout, lessonUsage)
		return 0
	}
	if !slices.Contains(names, verb) {
		return c.fail(2, "there is no \"lesson %s\"%s; there are: %s", verb, guess(verb, names), strings.Join(names, ", "))
	}
	flags := flag.NewFlagSet("vethlab lesson "+verb, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	backend := "kernel"
	if verb == "run" {
		flags.StringVar(&backend, "backend", "kernel", "")
		flags.BoolVar(&c.json, "json", false, "")
	}
	if verb == "run" || verb == "script" {
		flags.StringVar(&c.lang, "lang", "en", "")
	}
	var rest []string
	for args = args[1:]; ; args = flags.Args()[1:] { // flags may stand after the ID
		switch err := flags.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprint(c.stdout, lessonUsage)
			return 0
		case err != nil:
			return c.fail(2, "%v; see vethlab lesson --help", err)
		}
		if flags.NArg() == 0 {
			break
		}
		rest = append(rest, flags.Arg(0))
	}
	if c.lang != "" && !slices.Contains(lessons.Languages, c.lang) {
		return c.fail(2, "--lang %q: want %s", c.lang, strings.Join(lessons.Languages, ", "))
	}
	switch backend {
	case "kernel":
	case "sim", "both":
		return c.fail(1, "this version has no simulator yet; use --backend kernel")
	default:
		return c.fail(2, "--backend %q: want kernel", backend)
	}
	most := map[string]int{"list": 0, "run": 1, "lint": 1, "script": 1}[verb]
	if len(rest) > most {
		return c.fail(2, "unexpected argument %q; see vethlab lesson --help", rest[most])
	}
	switch verb {
	case "list":
		return c.list()
	case "lint":
		return c.lint(rest)
	}
	if len(rest) == 0 {
		return c.fail(2, "which lesson? %s", lessonsThere())
	}
	l, err := lessons.Load(rest[0])
	if missing := (*lessons.NotFoundError)(nil); errors.As(err, &missing) {
		return c.fail(2, "there is no lesson %q%s; %s", rest[0], guess(rest[0], missing.Have), lessonsThere())
	}
	if err != nil {
		return c.fail(1, "%v", err)
	}
	if verb == "script" {
		if err := lessons.WriteScript(c.stdout, l, c.lang); err != nil {
			return c.fail(1, "%v", err)
		}
		return 0
	}
	return c.play(l)
}

func (c *lessonCmd) fail(status int, format string, args ...any) int {
	fmt.Fprintf(c.stderr, "vethlab lesson: "+format+"\n", args...)
	return status
}

func guess(word string, names []string) string {
	if near := nearest(word, names); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

func lessonsThere() string {
	all, err := lessons.List()
	if err != nil {
		return err.Error()
	}
	ids := make([]string, len(all))
	for i, l := range all {
		ids[i] = l.ID
	}
	return "there are: " + strings.Join(ids, ", ")
}

func (c *lessonCmd) list() int {
	all, err := lessons.List()
	if err != nil {
		return c.fail(1, "%v", err)
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, l := range all {
		fmt.Fprintf(w, "%s\t%d steps\t%s\n", l.ID, len(l.Steps), l.Title["en"])
	}
	w.Flush()
	return 0
}

func (c *lessonCmd) lint(args []string) int {
	fsys, where := lessons.Content(), "the lessons that come with vethlab"
	if len(args) == 1 {
		if info, err := os.Stat(args[0]); err != nil {
			return c.fail(2, "%v", err)
		} else if !info.IsDir() {
			return c.fail(2, "%s is not a directory; want one that holds lessons (each a directory with lesson.yaml)", args[0])
		}
		fsys, where = fs.FS(os.DirFS(args[0])), args[0]
	}
	found, n := lessons.Lint(fsys)
	for _, p := range found {
		if len(args) == 1 {
			p.File = filepath.Join(args[0], p.File) // as an editor opens it
		}
		fmt.Fprintln(c.stdout, p)
	}
	if n == 0 {
		return c.fail(2, "no lesson in %s: want directories with lesson.yaml", where)
	}
	if errs := found.Errors(); len(errs) > 0 {
		return c.fail(1, "%d errors, %d warnings in %s", len(errs), len(found)-len(errs), where)
	}
	fmt.Fprintf(c.stdout, "%d lessons, %d warnings\n", n, len(found))
	return 0
}

// play runs a lesson's steps one after the other.
func (c *lessonCmd) play(l *lessons.Lesson) int {
	lab, err := c.open(c.ctx, l.Start)
	if err != nil {
		return c.fail(1, "the lab could not be made: %v\nRun vethlab doctor to see why, and what mends it.", err)
	}
	defer lab.Close()
	sh := lessons.NewShell(lab)
	defer sh.Close()
	c.title(l)
	failed, right := 0, 0
	var last *state.Snapshot
	for i := range l.Steps {
		s := &l.Steps[i]
		c.stepTitle(i+1, s)
		out, err := lessons.RunStep(c.ctx, sh, lab, s, lessons.Observer{End: func(_ int, r lessons.Ran) { c.command(s, r) }})
		if err != nil {
			return c.fail(1, "step %s: %v", s.ID, err)
		}
		c.result(&out)
		if out.OK() {
			right++
		} else {
			failed++
		}
		last = out.Snapshot
	}
	if c.json {
		c.event(stateEvent{"state", "kernel", last})
	} else {
		fmt.Fprintf(c.stdout, "%s\n", c.paint(bold, fmt.Sprintf("%d of %d steps did what they promise.", right, len(l.Steps))))
	}
	if c.lost != nil {
		return c.fail(1, "%v", c.lost)
	}
	if failed > 0 {
		return 1
	}
	return 0
}

func (c *lessonCmd) title(l *lessons.Lesson) {
	if c.json {
		c.event(map[string]any{"event": "lesson", "lesson": l.ID, "world": l.World})
		return
	}
	t := l.Title[c.lang]
	fmt.Fprintf(c.stdout, "%s\n\n", c.paint(bold, t))
}

func (c *lessonCmd) stepTitle(n int, s *lessons.Step) {
	if c.json {
		return
	}
	fmt.Fprintf(c.stdout, "%s\n\n", c.paint(bold+";"+blue, fmt.Sprintf("%d. %s", n, s.Title[c.lang])))
}

func (c *lessonCmd) command(s *lessons.Step, r lessons.Ran) {
	if c.json {
		c.ranEvents(s.ID, r.Line, r.Outcome)
		return
	}
	fmt.Fprintf(c.stdout, "  %s %s\n", c.paint(green, r.Node+"#"), c.paint(bold, r.Text))
	for _, out := range []string{r.Stdout, r.Stderr} {
		for line := range strings.Lines(out) {
			fmt.Fprintf(c.stdout, "  %s\n", strings.TrimRight(line, "\n"))
		}
	}
	if r.Status != 0 {
		meant := ""
		if slices.ContainsFunc(s.Fails, func(i int) bool { return s.Commands[i] == r.Line }) {
			meant = ", as it should be"
		}
		fmt.Fprintf(c.stdout, "  %s\n", c.paint(dim, fmt.Sprintf("(status %d%s)", r.Status, meant)))
	}
	fmt.Fprintln(c.stdout)
	if len(r.Traces) > 0 {
		w := indenter{c.stdout, true}
		lessons.WriteTraces(&w, r.Traces)
		fmt.Fprintln(c.stdout)
	}
}

type lessonStep struct {
	Event    string                `json:"event"`
	Step     string                `json:"step"`
	OK       bool                  `json:"ok"`
	Checks   []lessons.CheckResult `json:"checks"`
	Answer   string                `json:"answer,omitempty"`
	Observed string                `json:"observed,omitempty"`
}

func (c *lessonCmd) result(o *lessons.StepOutcome) {
	if c.json {
		c.event(lessonStep{"step", o.Step.ID, o.OK(), o.Checks, o.Answer, o.Observed})
		return
	}
	for _, r := range o.Checks {
		mark := c.paint(green, "✓")
		if !r.OK {
			mark = c.paint(red, "✗")
		}
		fmt.Fprintf(c.stdout, "  %s %s\n", mark, r.Text)
		if !r.OK {
			fmt.Fprintf(c.stdout, "      %s %s\n", c.paint(red, "got:"), r.Got)
		}
	}
	if p := o.Step.Predict; p != nil {
		fmt.Fprintf(c.stdout, "\n  %s\n", plain(p.Question[c.lang]))
		for _, opt := range p.Options {
			mark := " "
			if opt.ID == o.Answer {
				mark = c.paint(green, "●")
			}
			fmt.Fprintf(c.stdout, "  %s %s\n", mark, plain(opt.Label[c.lang]))
		}
		if o.Answer == "" {
			fmt.Fprintf(c.stdout, "    %s\n", c.paint(red, fmt.Sprintf("none of these: the kernel shows %q", o.Observed)))
		}
	}
	fmt.Fprintln(c.stdout)
}

// plain takes the backquotes out of a line of prose.
func plain(s string) string { return strings.ReplaceAll(s, "`", "") }

// indenter writes lines with four spaces before each.
type indenter struct {
	w     io.Writer
	fresh bool // at the beginning of a line
}

func (in *indenter) Write(p []byte) (int, error) {
	for _, b := range p {
		if in.fresh && b != '\n' {
			if _, err := io.WriteString(in.w, "    "); err != nil {
				return 0, err
			}
		}
		in.fresh = b == '\n'
		if _, err := in.w.Write([]byte{b}); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
