package agree_test

import (
	"context"
	"fmt"
	"strings"

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

func newSide(ctx context.Context, lab lessons.Backend) (*side, error) {
	s := &side{lab: lab, shell: lessons.NewShell(lab), r: agree.NewRenderer()}
	snap, err := lab.Snapshot(ctx)
	if err != nil {
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

// runWhole runs all lines in one lab.
func (c *testCase) runWhole(ctx context.Context, open lessons.Opener) (*agree.Run, error) {
	w, err := c.world()
	if err != nil {
		return nil, err
	}
	lab, err := open(ctx, w)
	if err != nil {
		return nil, err
	}
	s, err := newSide(ctx, lab)
	if err != nil {
		lab.Close()
		return nil, err
	}
	defer s.close()
	for _, l := range c.Lines {
		if err := s.line(ctx, l); err != nil {
			return nil, err
		}
	}
	return &s.run, s.end(ctx)
}

var _ = state.Version
