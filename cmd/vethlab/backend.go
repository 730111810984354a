package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"vethlab/exec"
	"vethlab/exec/doctor"
	"vethlab/lessons"
	"vethlab/sim/agree"
	"vethlab/sim/docker"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/tools"
)

// The backends, as flags and JSON name them.
const (
	onKernel = "kernel"
	onSim    = "sim"
	onBoth   = "both"
	onAuto   = "auto" // the kernel where it works, else the simulator
)

// backends make the labs of a command.
type backends struct {
	kernel, sim lessons.Opener
	model       lessons.Modeller
	// why says why no lab could be made on the kernel, given the error, and what
	// mends it.
	why func(ctx context.Context, err error) (reason, fix string)
}

var ours = backends{openKernel, openSim, modelOf, whyNoKernel}

// side is a lab on one backend, with the shell that runs lines in it.
type side struct {
	backend string
	lab     lessons.Backend
	sh      *lessons.Shell
	model   lessons.Modeller // foretells the kernel's steps; else nil
}

// sides are the labs that a command runs its lines in: one or, with "both", the
// simulator's and then the kernel's.
type sides []side

func (s sides) Close() {
	for _, x := range s {
		x.sh.Close()
		x.lab.Close()
	}
}

// judge is the side whose word counts: the kernel where it is there.
func (s sides) judge() side { return s[len(s)-1] }

// compare begins to hold two sides against each other; it is nil for one.
func (s sides) compare(ctx context.Context) (*agree.Comparison, error) {
	if len(s) < 2 {
		return nil, nil
	}
	snap, err := s.judge().lab.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	c := agree.New()
	c.Switches(snap)
	return c, nil
}

// open makes the labs for a backend's name. Where "auto" has to do with the
// simulator, it says so on stderr.
func (b backends) open(ctx context.Context, name string, w op.World, stderr io.Writer) (s sides, err error) {
	add := func(backend string, open lessons.Opener) error {
		lab, err := open(ctx, w)
		if err != nil {
			return err
		}
		x := side{backend: backend, lab: lab, sh: lessons.NewShell(lab)}
		if backend == onKernel && name != onBoth { // there the simulator plays from the beginning
			x.model = b.model
		}
		s = append(s, x)
		return nil
	}
	if name == onSim || name == onBoth {
		if err := add(onSim, b.sim); err != nil {
			return nil, fmt.Errorf("the simulated lab could not be made: %w", err)
		}
	}
	if name == onSim {
		return s, nil
	}
	err = add(onKernel, b.kernel)
	switch {
	case err == nil:
		return s, nil
	case name != onAuto || ctx.Err() != nil:
		s.Close()
		return nil, fmt.Errorf("the lab could not be made: %w\nRun vethlab doctor to see why, and what mends it; --backend sim needs none of that", err)
	}
	reason, fix := b.why(ctx, err)
	if err := add(onSim, b.sim); err != nil {
		return nil, fmt.Errorf("the simulated lab could not be made: %w", err)
	}
	fmt.Fprint(stderr, simulatedInstead(reason, fix))
	return s, nil
}

// simulatedInstead says that the simulator stands in for the kernel, and why.
func simulatedInstead(reason, fix string) string {
	text := "A lab on the kernel cannot be made here, so this one is simulated: what it shows is what vethlab's model says, not what a kernel did.\n  why:  " + reason + "\n"
	if fix != "" {
		text += "  mend: " + fix + "\n"
	}
	return text + "  more: vethlab doctor\n"
}

// wrongBackend is a sentence about a --backend that is not among those wanted,
// "" if it is.
func wrongBackend(name string, want ...string) string {
	if slices.Contains(want, name) {
		return ""
	}
	last := len(want) - 1
	return fmt.Sprintf("--backend %q: want %s or %s", name, strings.Join(want[:last], ", "), want[last])
}

func openKernel(ctx context.Context, w op.World) (lessons.Backend, error) {
	lab, err := exec.Open(ctx, w)
	if err != nil {
		return nil, err // not a nil *exec.Lab in an interface
	}
	return docker.Wrap(lab), nil
}

func openSim(ctx context.Context, w op.World) (b lessons.Backend, err error) {
	defer func() {
		if p := recover(); p != nil {
			b, err = nil, fmt.Errorf("the simulator met a defect of its own: %v", p)
		}
	}()
	lab, err := tools.Open(ctx, w)
	if err != nil {
		return nil, err
	}
	return docker.Wrap(simLab{lab}), nil
}

// modelOf makes a simulated lab from what another holds.
func modelOf(_ context.Context, s *state.Snapshot) (lessons.Backend, error) {
	lab, err := tools.FromSnapshot(s)
	if err != nil {
		return nil, err
	}
	return docker.Restore(simLab{lab}, s)
}

// simLab is a simulated lab in which a defect of the model is a command that is
// not simulated: it must not end a program that serves other labs.
type simLab struct{ *tools.Lab }

func (l simLab) Apply(ctx context.Context, node string, o op.Op) (res op.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			res, err = lessons.Defect(p), nil
		}
	}()
	return l.Lab.Apply(ctx, node, o)
}

// whyNoKernel asks the doctor why err came about.
func whyNoKernel(ctx context.Context, err error) (reason, fix string) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if reason, fix = doctor.Reason(doctor.Check(ctx)); reason != "" {
		return reason, fix
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "the lab was not made in time", "see whether the machine is overloaded"
	}
	return cmp.Or(err.Error(), "it failed"), "vethlab doctor finds nothing wrong; please report this as a defect."
}
