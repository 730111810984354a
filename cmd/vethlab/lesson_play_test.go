package main

import (
	"maps"
	"slices"
	"testing"

	"vethlab/lessons"
	"vethlab/sim/trace"
)

// lessonID is the lesson that most tests take.
const lessonID = "bridge-by-hand"

// TestLessonsSimulated plays every lesson in the simulator, with what holds on
// the kernel (see TestLessons) expected of it; and all that it tells of packets
// it calls simulated.
func TestLessonsSimulated(t *testing.T) {
	for _, l := range allLessons(t) {
		t.Run(l.ID, func(t *testing.T) {
			lab, sh := openSimulated(t, l)
			ran := playLesson(t, l, lab, sh)
			if l.ID == lessonID {
				checkJourneys(t, ran, unmarked)
			}
			for _, r := range slices.Concat(slices.Collect(maps.Values(ran))...) {
				for _, tr := range r.Traces {
					if tr.Evidence != trace.Simulated {
						t.Errorf("%s# %s: %s has the evidence %q", r.Node, r.Text, tr.Summary, tr.Evidence)
					}
					for _, h := range tr.Hops {
						for _, s := range h.Steps {
							if s.Evidence != trace.Simulated {
								t.Errorf("%s# %s: %s: %s in %s has the evidence %q", r.Node, r.Text, tr.Summary, s.Point, h.Node, s.Evidence)
							}
						}
					}
				}
			}
		})
	}
}

// TestLessonFromAnyStepSimulated is TestLessonFromAnyStep in the simulator.
func TestLessonFromAnyStepSimulated(t *testing.T) { fromAnyStep(t, openSimulated) }

func openSimulated(t *testing.T, l *lessons.Lesson) (lessons.Backend, *lessons.Shell) {
	t.Helper()
	lab, err := openSim(t.Context(), l.Start)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	sh := lessons.NewShell(lab)
	t.Cleanup(sh.Close)
	return lab, sh
}

func allLessons(t *testing.T) []*lessons.Lesson {
	t.Helper()
	all, err := lessons.List()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// playLesson plays a lesson in a lab: each step's checks do not all hold before
// its commands, and do after. It returns what each command of each step came to.
func playLesson(t *testing.T, l *lessons.Lesson, lab lessons.Backend, sh *lessons.Shell) map[string][]lessons.Ran {
	t.Helper()
	ran := map[string][]lessons.Ran{}
	for i := range l.Steps {
		s := &l.Steps[i]
		before, err := lab.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held := lessons.Evaluate(s, before, nil)
		if !slices.ContainsFunc(held, func(c lessons.CheckResult) bool { return !c.OK }) {
			t.Errorf("step %s: all checks hold before its commands", s.ID)
		}
		ran[s.ID] = playStep(t, lab, sh, s)
	}
	return ran
}

// fromAnyStep brings a lab to before each step, without the probes of the steps
// before it, and plays that step.
func fromAnyStep(t *testing.T, open func(*testing.T, *lessons.Lesson) (lessons.Backend, *lessons.Shell)) {
	for _, l := range allLessons(t) {
		for i := range l.Steps {
			t.Run(l.ID+"/"+l.Steps[i].ID, func(t *testing.T) {
				t.Parallel()
				lab, sh := open(t, l)
				var before []*lessons.Step
				for k := range i {
					before = append(before, &l.Steps[k])
				}
				if err := lessons.Replay(t.Context(), lab, before); err != nil {
					t.Fatal(err)
				}
				playStep(t, lab, sh, &l.Steps[i])
			})
		}
	}
}

// playStep plays a step: its checks hold afterwards, its commands fail where
// the lesson says so and nowhere else, and its prediction finds its answer.
func playStep(t *testing.T, lab lessons.Backend, sh *lessons.Shell, s *lessons.Step) []lessons.Ran {
	t.Helper()
	out, err := lessons.RunStep(t.Context(), sh, lab, s, lessons.Observer{})
	if err != nil {
		t.Fatalf("step %s: %v", s.ID, err)
	}
	for _, c := range out.Checks {
		if !c.OK {
			t.Errorf("step %s: %s; got: %s", s.ID, c.Text, c.Got)
		}
	}
	for k, r := range out.Ran {
		if meant := slices.Contains(s.Fails, k); meant != (r.Status != 0) {
			t.Errorf("step %s: %s# %s: status %d, but meant to fail: %v\n%s%s", s.ID, r.Node, r.Text, r.Status, meant, r.Stdout, r.Stderr)
		}
	}
	if s.Predict != nil && out.Answer == "" {
		t.Errorf("step %s: no option has what the packets show: %q", s.ID, out.Observed)
	}
	return out.Ran
}
