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
	"vethlab/sim/agree"
	"vethlab/sim/state"
)

const lessonUsage = `usage: vethlab lesson list
       vethlab lesson run ID [--backend auto|sim|kernel|both] [--lang en|zh-CN|zh-TW] [--json]
       vethlab lesson lint [DIR]
       vethlab lesson script ID [--lang en|zh-CN|zh-TW]

list    the lessons that come with vethlab
run     play a lesson in a fresh lab, and check each step; status 1 if a check did not hold.
        On the kernel, the model foretells each step first, and what came otherwise is said;
        with --backend both it plays a lesson of its own beside: status 3 if the two differ
lint    look for mistakes in a directory of lessons, or in the ones that come with vethlab
script  print a lesson's commands as a bash script that needs root and nothing of vethlab
`

// lessonCommand is `vethlab lesson`: 0 when all is well, 1 when a check did not
// hold, the linter found an error or the lab was lost, 2 for wrong usage.
func lessonCommand(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	c := lessonCmd{printer: printer{stdout: os.Stdout, stderr: os.Stderr}, ctx: ctx, on: ours}
	c.colour = term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""
	return c.run(args)
}

type lessonCmd struct {
	printer
	ctx  context.Context
	on   backends
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
	backend := onAuto
	if verb == "run" {
		flags.StringVar(&backend, "backend", onAuto, "")
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
	if wrong := wrongBackend(backend, onAuto, onSim, onKernel, onBoth); wrong != "" {
		return c.fail(2, "%s", wrong)
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
	return c.play(l, backend)
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

// play runs a lesson's steps one after the other, on one backend or both.
func (c *lessonCmd) play(l *lessons.Lesson, backend string) int {
	all, err := c.on.open(c.ctx, backend, l.Start, c.stderr)
	if err != nil {
		return c.fail(1, "%v", err)
	}
	defer all.Close()
	compared, err := all.compare(c.ctx)
	if err != nil {
		return c.fail(1, "%v", err)
	}
	c.title(l)
	failed, right, differences := 0, 0, 0
	last := make([]*state.Snapshot, len(all))
	for i := range l.Steps {
		s := &l.Steps[i]
		c.stepTitle(i+1, s)
		outs := make([]lessons.StepOutcome, len(all))
		held := true
		for k, side := range all {
			judge := k == len(all)-1
			forecast := side.model.ForeseeStep(c.ctx, side.lab, s)
			out, err := lessons.RunStep(c.ctx, side.sh, side.lab, s, lessons.Observer{End: func(_ int, r lessons.Ran) {
				if c.json || judge {
					c.command(side.backend, s, r)
				}
			}})
			if err != nil {
				return c.fail(1, "step %s: %v", s.ID, err)
			}
			if c.json || judge || !out.OK() {
				c.result(side.backend, &out)
			}
			c.foretold(s, forecast.Compared(&out))
			held = held && out.OK()
			outs[k], last[k] = out, out.Snapshot
		}
		if held {
			right++
		} else {
			failed++
		}
		if len(all) == 2 {
			differences += c.stepDiffers(compared, &outs[0], &outs[1])
		}
	}
	for k, side := range all {
		if c.json {
			c.event(stateEvent{"state", side.backend, last[k]})
		}
	}
	if !c.json {
		fmt.Fprintf(c.stdout, "%s\n", c.paint(bold, fmt.Sprintf("%d of %d steps did what they promise.", right, len(l.Steps))))
		if len(all) == 2 {
			c.verdict(differences)
		}
	}
	switch {
	case c.lost != nil:
		return c.fail(1, "%v", c.lost)
	case failed > 0:
		return 1
	case differences > 0:
		return 3
	}
	return 0
}

// stepDiffers prints where a step came to something else on the two backends.
func (c *lessonCmd) stepDiffers(with *agree.Comparison, sim, kernel *lessons.StepOutcome) (n int) {
	w := &indenter{c.stdout, true}
	for i := range min(len(sim.Ran), len(kernel.Ran)) {
		k := kernel.Ran[i]
		n += c.differ(w, kernel.Step.ID, k.Compare(with, k.Line, sim.Ran[i].Outcome))
	}
	n += c.differ(w, kernel.Step.ID, with.State(kernel.Snapshot, sim.Snapshot))
	if n > 0 && !c.json {
		fmt.Fprintln(c.stdout)
	}
	return n
}

type forecastEvent struct {
	Event       string             `json:"event"` // forecast
	Step        string             `json:"step"`
	Missing     string             `json:"missing,omitempty"` // why the model did not go through all of the step
	Answer      string             `json:"answer,omitempty"`
	Differences []agree.Difference `json:"differences"`
}

// foretold says whether the step came as the model had said.
func (c *lessonCmd) foretold(s *lessons.Step, f *lessons.Forecast) {
	if f == nil {
		return
	}
	ds := f.Differences()
	if c.json {
		c.event(forecastEvent{"forecast", s.ID, f.Missing, f.Answer, append([]agree.Difference{}, ds...)})
		return
	}
	switch {
	case f.Missing != "":
		fmt.Fprintf(c.stdout, "  %s\n\n", c.paint(dim, "No forecast: "+f.Missing))
	case len(ds) == 0:
		fmt.Fprintf(c.stdout, "  %s\n\n", c.paint(dim, "As the model had said."))
	default:
		fmt.Fprintf(c.stdout, "  %s\n", c.paint(red, "Not as the model had said:"))
		c.differ(&indenter{c.stdout, true}, s.ID, ds)
		fmt.Fprintln(c.stdout)
	}
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

func (c *lessonCmd) command(backend string, s *lessons.Step, r lessons.Ran) {
	if c.json {
		c.ranEvents(backend, s.ID, r.Line, r.Outcome)
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
	Backend  string                `json:"backend"`
	Step     string                `json:"step"`
	OK       bool                  `json:"ok"`
	Checks   []lessons.CheckResult `json:"checks"`
	Answer   string                `json:"answer,omitempty"`
	Observed string                `json:"observed,omitempty"`
}

func (c *lessonCmd) result(backend string, o *lessons.StepOutcome) {
	if c.json {
		c.event(lessonStep{"step", backend, o.Step.ID, o.OK(), o.Checks, o.Answer, o.Observed})
		return
	}
	if backend == onSim {
		fmt.Fprintf(c.stdout, "  %s\n", c.paint(dim, "simulated:"))
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
			fmt.Fprintf(c.stdout, "    %s\n", c.paint(red, fmt.Sprintf("none of these: %s shows %q", map[string]string{onKernel: "the kernel", onSim: "the model"}[backend], o.Observed)))
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
