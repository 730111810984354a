package agree_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"vethlab/lessons"
	"vethlab/sim/agree"
	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// testCase is a world and a transcript.
//
// When Half is not 0, the model does not run the lines before it: it is made
// from the kernel's snapshot at that point.
type testCase struct {
	Nodes []op.NodeSpec
	Setup []string // "a# ip link add …": makes the world
	Lines []string // the transcript
	Half  int
}

// world returns what the case begins with.
func (c *testCase) world() (op.World, error) {
	w := op.World{Name: "case", Nodes: c.Nodes}
	for _, l := range c.Setup {
		node, text, ok := lessons.SplitPrompt(l)
		if !ok {
			return w, fmt.Errorf("%s: expected NODE# COMMAND", l)
		}
		cmd, err := cmdline.Parse(strings.Fields(text))
		if err != nil {
			return w, fmt.Errorf("%s: %w", l, err)
		}
		w.Setup = append(w.Setup, op.Line{Node: node, Op: cmd.Op})
	}
	return w, nil
}

// side is one of the two that run a case.
type side struct {
	lab   lessons.Backend
	shell *lessons.Shell
	r     *agree.Renderer
	run   agree.Run
}

func newSide(ctx context.Context, lab lessons.Backend, r *agree.Renderer) (*side, error) {
	s := &side{lab: lab, shell: lessons.NewShell(lab), r: r}
	snap, err := lab.Snapshot(ctx)
	if err != nil {
		s.close()
		return nil, err
	}
	s.r.Switches(snap)
	return s, nil
}

func (s *side) close() {
	s.shell.Close()
	s.lab.Close()
}

// line runs a line of the transcript.
func (s *side) line(ctx context.Context, l string) error {
	node, text, ok := lessons.SplitPrompt(l)
	if !ok {
		return fmt.Errorf("%s: expected NODE# COMMAND", l)
	}
	out, err := s.shell.Run(ctx, node, text, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", l, err)
	}
	rec := s.r.Command(text, agree.Outcome{Status: out.Status, Stdout: out.Stdout, Stderr: out.Stderr, Traces: out.Traces})
	rec.Node = node
	s.run.Commands = append(s.run.Commands, rec)
	return nil
}

func (s *side) end(ctx context.Context) error {
	snap, err := s.lab.Snapshot(ctx)
	if err != nil {
		return err
	}
	s.run.State = s.r.State(snap)
	return nil
}

// runWhole runs all lines, in one lab or, with a remake, from Half on in one
// made from the first one's snapshot.
func (c *testCase) runWhole(ctx context.Context, open lessons.Opener, remake func(*state.Snapshot) (lessons.Backend, error)) (*agree.Run, error) {
	w, err := c.world()
	if err != nil {
		return nil, err
	}
	lab, err := open(ctx, w)
	if err != nil {
		return nil, err
	}
	s, err := newSide(ctx, lab, agree.NewRenderer())
	if err != nil {
		return nil, err
	}
	defer func() { s.close() }()
	for i, l := range c.Lines {
		if remake != nil && c.Half > 0 && i == c.Half {
			snap, err := s.lab.Snapshot(ctx)
			if err != nil {
				return nil, err
			}
			lab, err := remake(snap)
			if err != nil {
				return nil, err
			}
			run := s.run
			s.close()
			if s, err = newSide(ctx, lab, s.r); err != nil {
				return nil, err
			}
			s.run = run
		}
		if err := s.line(ctx, l); err != nil {
			return nil, err
		}
	}
	return &s.run, s.end(ctx)
}

// patience bounds what the model may take for one case: it knows no waiting.
const patience = 20 * time.Second

// runModel is runWhole on the model, to which it must not matter what it is given.
func (c *testCase) runModel(ctx context.Context) (run *agree.Run, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			run, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return c.runWhole(ctx, openModel, modelFrom)
}

// longest bounds what the kernel may take for one case: no command of one waits
// for long.
const longest = 2 * time.Minute

var errEndless = errors.New("a command does not end")

// compare runs the case on both sides and returns where they differ, and what
// the kernel did. The error is the kernel lab's: the model's is a difference.
func (c *testCase) compare(ctx context.Context) ([]agree.Difference, *agree.Run, error) {
	kernel, middle, err := c.runKernel(ctx)
	if err != nil {
		return nil, nil, err
	}
	w, err := c.world()
	if err != nil {
		return nil, nil, err
	}
	model, err := c.follow(ctx, w, middle)
	if err != nil {
		return []agree.Difference{{Event: "difference", What: "model", Model: err.Error()}}, kernel, nil
	}
	same := *kernel
	same.Commands = same.Commands[len(same.Commands)-len(model.Commands):]
	return agree.CompareRecords(&same, model), kernel, nil
}

// runKernel runs the case on the kernel. middle is the state at Half, if there
// is one.
func (c *testCase) runKernel(ctx context.Context) (run *agree.Run, middle *state.Snapshot, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, longest, errEndless)
	defer cancel()
	w, err := c.world()
	if err != nil {
		return nil, nil, err
	}
	lab, err := openKernel(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	k, err := newSide(ctx, lab, agree.NewRenderer())
	if err != nil {
		return nil, nil, err
	}
	defer k.close()
	for i, l := range c.Lines {
		if c.Half > 0 && i == c.Half {
			if middle, err = k.lab.Snapshot(ctx); err != nil {
				return nil, nil, err
			}
		}
		if err := k.line(ctx, l); err != nil {
			return nil, nil, errors.Join(err, context.Cause(ctx))
		}
	}
	if err := k.end(ctx); err != nil {
		return nil, nil, err
	}
	return &k.run, middle, nil
}

// follow runs on the model what the kernel ran: all of it, or what came after
// the snapshot.
func (c *testCase) follow(ctx context.Context, w op.World, middle *state.Snapshot) (run *agree.Run, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			run, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	var lab lessons.Backend
	lines, r := c.Lines, agree.NewRenderer()
	if middle == nil {
		lab, err = openModel(ctx, w)
	} else {
		lab, err = modelFrom(middle)
		for _, l := range lines[:c.Half] {
			r.Ask(l)
		}
		lines = lines[c.Half:]
	}
	if err != nil {
		return nil, err
	}
	s, err := newSide(ctx, lab, r)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if middle != nil { // what makes the kernel fast, and no chance, is in no snapshot
		for _, l := range slices.Concat(c.Setup, c.Lines[:c.Half]) {
			if strings.Contains(l, "sysctl -qw net.ipv4.") {
				if err := s.line(ctx, l); err != nil {
					return nil, err
				}
			}
		}
		s.run = agree.Run{}
	}
	for _, l := range lines {
		if err := s.line(ctx, l); err != nil {
			return nil, err
		}
	}
	return &s.run, s.end(ctx)
}

// The form of a kept case: the world, the transcript, and what came of it on
// the kernel.
//
//	# why it is kept
//	world a b lan:switch
//	a# ip link add eth0 type veth peer name eth0 netns b
//
//	-- transcript
//	a# ping -c1 10.0.1.2
//
//	-- from here on the model is made from the snapshot
//	a# ping -c1 10.0.1.2
//
//	-- outcome
//	a# ping -c1 10.0.1.2
//	= 1
//	> PING 10.0.1.2 …                   standard output
//	! connect: Network is unreachable   standard error
//	* icmp                              a journey
//	  a OUTPUT pass 10.0.1.1→10.0.1.2 …
//
//	-- state
//	a link eth0 veth mtu 1500 up carrier peer b/eth0
type kept struct {
	about []string
	testCase
	outcome *agree.Run
}

const (
	transcriptMark = "-- transcript"
	halfMark       = "-- from here on the model is made from the snapshot"
	outcomeMark    = "-- outcome"
	stateMark      = "-- state"
)

func (k *kept) String() string {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, l := range k.about {
		put("%s", strings.TrimRight("# "+l, " "))
	}
	world := "world"
	for _, n := range k.Nodes {
		world += " " + n.Name
		if n.Kind != state.Machine {
			world += ":" + string(n.Kind)
		}
	}
	put("%s", world)
	for _, l := range k.Setup {
		put("%s", l)
	}
	put("\n%s", transcriptMark)
	for i, l := range k.Lines {
		if i == k.Half && i > 0 {
			put("\n%s", halfMark)
		}
		put("%s", l)
	}
	if k.outcome == nil {
		return b.String()
	}
	put("\n%s", outcomeMark)
	for _, c := range k.outcome.Commands {
		put("%s# %s", c.Node, c.Text)
		if c.Status != 0 {
			put("= %d", c.Status)
		}
		for _, out := range []struct{ mark, text string }{{">", c.Stdout}, {"!", c.Stderr}} {
			if out.text == "" {
				continue
			}
			for _, l := range strings.Split(out.text, "\n") {
				put("%s", strings.TrimRight(out.mark+" "+l, " "))
			}
		}
		for _, j := range c.Journeys {
			first, rest, _ := strings.Cut(j, "\n")
			put("* %s", first)
			for _, l := range strings.Split(rest, "\n") {
				put("  %s", l)
			}
		}
	}
	put("\n%s", stateMark)
	for _, l := range k.outcome.State {
		put("%s", l)
	}
	return b.String()
}

// parseKept reads what String wrote.
func parseKept(text string) (*kept, error) {
	k := &kept{}
	part := ""
	var cmd *agree.Record
	for i, l := range strings.Split(text, "\n") {
		bad := func() error { return fmt.Errorf("line %d: %q is out of place", i+1, l) }
		switch {
		case strings.HasPrefix(l, "-- "):
			part = l
			switch l {
			case halfMark:
				k.Half = len(k.Lines)
			case outcomeMark:
				k.outcome = &agree.Run{}
			case transcriptMark, stateMark:
			default:
				return nil, bad()
			}
		case part == outcomeMark:
			mark, rest, _ := strings.Cut(l, " ")
			switch {
			case l == "":
			case strings.HasPrefix(l, "  ") && cmd != nil && len(cmd.Journeys) > 0:
				cmd.Journeys[len(cmd.Journeys)-1] += "\n" + l[2:]
			case mark == "=" && cmd != nil:
				if _, err := fmt.Sscan(rest, &cmd.Status); err != nil {
					return nil, bad()
				}
			case mark == ">" && cmd != nil:
				cmd.Stdout = more(cmd.Stdout, rest)
			case mark == "!" && cmd != nil:
				cmd.Stderr = more(cmd.Stderr, rest)
			case mark == "*" && cmd != nil:
				cmd.Journeys = append(cmd.Journeys, rest)
			default:
				node, text, ok := lessons.SplitPrompt(l)
				if !ok {
					return nil, bad()
				}
				k.outcome.Commands = append(k.outcome.Commands, agree.Record{Node: node, Text: text})
				cmd = &k.outcome.Commands[len(k.outcome.Commands)-1]
			}
		case l == "":
		case part == "" && strings.HasPrefix(l, "#"):
			k.about = append(k.about, strings.TrimPrefix(strings.TrimPrefix(l, "#"), " "))
		case part == "" && strings.HasPrefix(l, "world "):
			for _, w := range strings.Fields(l)[1:] {
				name, kind, _ := strings.Cut(w, ":")
				if kind == "" {
					kind = string(state.Machine)
				}
				k.Nodes = append(k.Nodes, op.NodeSpec{Name: name, Kind: state.Kind(kind)})
			}
		case part == "":
			k.Setup = append(k.Setup, l)
		case part == transcriptMark || part == halfMark:
			k.Lines = append(k.Lines, l)
		case part == stateMark && k.outcome != nil:
			k.outcome.State = append(k.outcome.State, l)
		default:
			return nil, bad()
		}
	}
	if len(k.Nodes) == 0 || len(k.Lines) == 0 {
		return nil, fmt.Errorf("expected a world and a transcript")
	}
	return k, nil
}

// more adds a line to a text. A text's trailing newline is an empty line here.
func more(text, line string) string {
	if text == "" {
		return line + "\x00" // so that a first line that is empty counts
	}
	return strings.TrimSuffix(text, "\x00") + "\n" + line
}

// normal takes away what only the form adds.
func normal(r *agree.Run) {
	for i := range r.Commands {
		c := &r.Commands[i]
		for _, s := range []*string{&c.Stdout, &c.Stderr} {
			lines := strings.Split(strings.TrimSuffix(*s, "\x00"), "\n")
			for i, l := range lines {
				lines[i] = strings.TrimRight(l, " ")
			}
			*s = strings.Join(lines, "\n")
		}
	}
}

// without returns the case without some of its lines.
func (c *testCase) without(from, to int) *testCase {
	d := *c
	d.Lines = slices.Delete(slices.Clone(c.Lines), from, to)
	switch {
	case c.Half >= to:
		d.Half -= to - from
	case c.Half > from:
		d.Half = from
	}
	if d.Half >= len(d.Lines) {
		d.Half = 0
	}
	return &d
}
