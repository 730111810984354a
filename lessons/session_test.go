package lessons_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vethlab/lessons"
	"vethlab/lessons/labtest"
)

// pupil is a session with a note of all it told.
type pupil struct {
	*lessons.Session
	labs *labtest.Labs

	mu   sync.Mutex
	told []lessons.Update
}

func newPupil(t *testing.T, limit time.Duration) *pupil {
	t.Helper()
	p := &pupil{labs: &labtest.Labs{}}
	p.Session = lessons.NewSession(labtest.Lesson(), p.labs.Open, nil, limit, p.tell)
	t.Cleanup(p.Close)
	return p
}

func (p *pupil) tell(u lessons.Update) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, u)
}

// states lists the lab's states as they were told, repeats left out.
func (p *pupil) states() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var s []string
	for _, u := range p.told {
		if u.Status != nil {
			s = append(s, string(u.Status.State))
		}
	}
	return strings.Join(slices.Compact(s), " ")
}

// place sums up where the session is: "one:done two:done > slow".
func (p *pupil) place() string {
	st := p.Status()
	var s []string
	for _, t := range st.History.Steps {
		s = append(s, t.ID+":"+string(t.State))
	}
	return strings.TrimSpace(strings.Join(s, " ") + " > " + st.Next)
}

func (p *pupil) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s; states: %s", what, p.states())
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func code(err error) string {
	if err == nil {
		return ""
	}
	if r, ok := errors.AsType[*lessons.Refusal](err); ok {
		if r.Text == "" || r.Do == "" {
			return r.Code + " without words"
		}
		return r.Code
	}
	return err.Error()
}

// A word is one request; what the session is like after the last one, and what
// its lab was asked to do, must be as told.
func TestSessionGoesToAndFro(t *testing.T) {
	const (
		one  = "host# ip netns add ns1"
		ping = "host# ping -c 1 10.0.0.1"
		two  = "host# ip netns add ns2"
		own  = "host# ip netns add own"
		fwd  = "host# sysctl -w net.ipv4.ip_forward=1"
	)
	for _, c := range []struct {
		requests string // STEP runs it; again:, goto:, done: STEP; own:; rebuild
		place    string
		did      []string // by the last lab
		labs     int
		last     string // code of the last request's error
	}{
		{"one", "one:done > two", []string{one, ping}, 1, ""},
		{"one one", "one:done > two", []string{one, ping}, 1, "already-run"},
		{"two", "> one", nil, 1, "out-of-order"},
		{"nix", "> one", nil, 1, "unknown-step"},
		{"one again:one", "one:done > two", []string{one, ping}, 2, ""},
		{"one two again:one", "one:done > two", []string{one, ping}, 2, ""},
		{"again:two", "> one", nil, 1, "out-of-order"},
		{"one rebuild", "one:done > two", []string{one}, 2, ""},
		{"one two goto:two", "one:done > two", []string{one}, 2, ""},
		{"one two done:one", "one:done > two", []string{one}, 2, ""},
		{"one two goto:one", "> one", nil, 2, ""},
		{"goto:slow", "one:skipped two:skipped > slow", []string{one, two}, 2, ""},
		{"one done:two", "one:done two:skipped > slow", []string{one, two}, 2, ""},
		{"goto:slow goto:two", "one:skipped > two", []string{one}, 3, ""},
		{"goto:nix", "> one", nil, 1, "unknown-step"},
		{"one own: rebuild", "one:done > two", []string{one, own}, 2, ""},
		{"one own: done:one", "one:done > two", []string{one}, 2, ""},
		{"one own: two goto:two", "one:done > two", []string{one, own}, 2, ""},
		{"one own: two again:one", "one:done > two", []string{one, ping}, 2, ""},
		{"done:two done:slow", "one:skipped two:skipped slow:skipped > four", []string{one, two, fwd}, 3, ""},
		{"done:slow four four", "one:skipped two:skipped slow:skipped four:done >", []string{one, two, fwd, "host# ip netns add ns4"}, 2, "already-run"},
	} {
		t.Run(c.requests, func(t *testing.T) {
			p := newPupil(t, time.Minute)
			must(t, p.Start(p.tell))
			words := strings.Fields(c.requests)
			for i, w := range words {
				verb, step, _ := strings.Cut(w, ":")
				var err error
				switch verb {
				case "again":
					err = p.Again(step, p.tell)
				case "goto":
					err = p.Goto(step, false, p.tell)
				case "done":
					err = p.Goto(step, true, p.tell)
				case "own":
					err = p.Command("host", "ip netns add own", p.tell)
				case "rebuild":
					err = p.Rebuild(p.tell)
				default:
					err = p.Run(w, p.tell)
				}
				want := ""
				if i == len(words)-1 {
					want = c.last
				}
				if got := code(err); got != want {
					t.Fatalf("%s: error %q, want %q", w, got, want)
				}
			}
			if got := p.place(); got != c.place {
				t.Errorf("place %q, want %q", got, c.place)
			}
			made := p.labs.Made()
			if len(made) != c.labs {
				t.Errorf("%d labs were made, want %d", len(made), c.labs)
			}
			if got := p.labs.Last().Done(); !slices.Equal(got, c.did) {
				t.Errorf("the lab did %q, want %q", got, c.did)
			}
			for _, old := range made[:len(made)-1] {
				p.wait(t, "old labs are closed", old.Closed)
			}
		})
	}
}

func TestSessionTellsHowAStepGoes(t *testing.T) {
	p := newPupil(t, time.Minute)
	must(t, p.Start(p.tell))
	p.told = nil
	must(t, p.Run("one", p.tell))
	var got []string
	for _, u := range p.told {
		switch {
		case u.Status != nil:
			got = append(got, string(u.Status.State))
		case u.Begin != nil:
			got = append(got, "begin "+u.Begin.Line.Text)
		case u.Ran != nil:
			got = append(got, "ran "+u.Ran.Text)
		case u.Snapshot != nil:
			got = append(got, "snapshot")
		case u.Step != nil:
			got = append(got, "step "+string(u.Step.State))
			if n := len(u.Step.Ran[1].Traces); n != 1 {
				t.Errorf("the ping has %d traces, want 1", n)
			}
			if len(u.Step.Check) != 1 || !u.Step.Check[0].OK {
				t.Errorf("checks %+v, want one that holds", u.Step.Check)
			}
		}
	}
	want := []string{"running", "begin ip netns add ns1", "ran ip netns add ns1", "snapshot",
		"begin ping -c 1 10.0.0.1", "ran ping -c 1 10.0.0.1", "snapshot", "step done", "snapshot", "ready"}
	if !slices.Equal(got, want) {
		t.Errorf("told %q\nwant %q", got, want)
	}
}

// A step whose check does not hold is over all the same: its learner may go on,
// or back.
func TestSessionFailedCheck(t *testing.T) {
	p := newPupil(t, time.Minute)
	must(t, p.Start(p.tell))
	must(t, p.Command("host", "ip netns add ns1; ip netns del ns1; true", p.tell))
	lesson := labtest.Lesson()
	lesson.Steps[0].Commands = lesson.Steps[0].Commands[1:] // no ns1, so its check fails
	q := &pupil{labs: &labtest.Labs{}}
	q.Session = lessons.NewSession(lesson, q.labs.Open, nil, time.Minute, q.tell)
	defer q.Close()
	must(t, q.Start(q.tell))
	must(t, q.Run("one", q.tell))
	if got, want := q.place(), "one:failed > two"; got != want {
		t.Errorf("place %q, want %q", got, want)
	}
}

// inTheMiddle starts step "slow" and returns once it sleeps.
func (p *pupil) inTheMiddle(t *testing.T) <-chan error {
	t.Helper()
	must(t, p.Start(p.tell))
	must(t, p.Run("one", p.tell))
	must(t, p.Predict("two", "b"))
	must(t, p.Run("two", p.tell))
	end := make(chan error, 1)
	go func() { end <- p.Run("slow", p.tell) }()
	p.wait(t, "the step sleeps", func() bool {
		d := p.labs.Last().Done()
		return len(d) > 0 && d[len(d)-1] == "host# sleep 1000"
	})
	return end
}

func TestSessionIsBusy(t *testing.T) {
	p := newPupil(t, time.Minute)
	end := p.inTheMiddle(t)
	for name, err := range map[string]error{
		"run":     p.Run("slow", p.tell),
		"again":   p.Again("one", p.tell),
		"goto":    p.Goto("one", false, p.tell),
		"rebuild": p.Rebuild(p.tell),
		"command": p.Command("host", "true", p.tell),
	} {
		if code(err) != "busy" {
			t.Errorf("%s while a step runs: %v, want busy", name, err)
		}
	}
	if p.Sleep() {
		t.Error("the lab was put to sleep in the middle of a step")
	}
	p.Stop()
	if got := code(<-end); got != "stopped" {
		t.Errorf("the stopped step's error is %q, want stopped", got)
	}
}

// A stopped step is undone: the lab is a fresh one as it was before the step.
func TestSessionStop(t *testing.T) {
	p := newPupil(t, time.Minute)
	end := p.inTheMiddle(t)
	p.Stop()
	<-end
	if got, want := p.place(), "one:done two:done slow:broken > slow"; got != want {
		t.Errorf("place %q, want %q", got, want)
	}
	if got, want := p.labs.Last().Done(), []string{"host# ip netns add ns1", "host# ip netns add ns2"}; !slices.Equal(got, want) {
		t.Errorf("the new lab did %q, want %q", got, want)
	}
	must(t, p.Goto("slow", true, p.tell))
	if got, want := p.place(), "one:done two:done slow:skipped > four"; got != want {
		t.Errorf("place %q, want %q", got, want)
	}
}

// A command of one's own that is stopped ends as with Ctrl-C: what it printed
// is told, what it did stays.
func TestSessionStopOwn(t *testing.T) {
	p := newPupil(t, time.Minute)
	must(t, p.Start(p.tell))
	end := make(chan error, 1)
	go func() { end <- p.Command("host", "ip netns add own; echo half; sleep 1000; echo whole", p.tell) }()
	p.wait(t, "it sleeps", func() bool { return len(p.labs.Last().Done()) == 2 })
	p.Stop()
	must(t, <-end)
	if own := p.Status().History.Own; len(own) != 1 || own[0].Status != 130 || own[0].Stdout != "half\n" {
		t.Errorf("own commands %+v, want status 130 and half of the output", own)
	}
	if p.Snapshot().Node("own") == nil {
		t.Error("the snapshot after it does not show what it did")
	}
	must(t, p.Rebuild(p.tell))
	if got, want := p.labs.Last().Done(), []string{"host# ip netns add own"}; !slices.Equal(got, want) {
		t.Errorf("the new lab did %q, want %q", got, want)
	}
}

// A tool in the background lives beyond the limit for an operation, and a
// rebuild does not wait for it.
func TestSessionBackground(t *testing.T) {
	const limit = 500 * time.Millisecond
	p := newPupil(t, limit)
	must(t, p.Start(p.tell))
	must(t, p.Command("host", "frob --forever &", p.tell))
	first := p.labs.Last()
	p.wait(t, "it runs", func() bool { return slices.Contains(first.Done(), "host# frob --forever &") })
	time.Sleep(limit + 200*time.Millisecond)
	if n := first.Ended(); n != 0 {
		t.Error("the tool was ended")
	}
	must(t, p.Rebuild(p.tell))
	if got := p.labs.Last().Done(); len(got) != 0 {
		t.Errorf("the new lab did %q, want nothing", got)
	}
	p.wait(t, "it ends with its lab", func() bool { return first.Ended() == 1 })
}

func TestSessionTimeout(t *testing.T) {
	p := newPupil(t, 500*time.Millisecond)
	end := p.inTheMiddle(t)
	if got := code(<-end); got != "timeout" {
		t.Errorf("error %q, want timeout", got)
	}
	if got, want := p.place(), "one:done two:done slow:broken > slow"; got != want {
		t.Errorf("place %q, want %q", got, want)
	}
	must(t, p.Command("host", "true", p.tell))
	if got := code(p.Command("host", "sleep 1000", p.tell)); got != "timeout-own" {
		t.Errorf("the learner's own: error %q, want timeout-own", got)
	}
}

// A lab killed in the middle of a step: nothing is lost but the step.
func TestSessionLostInAStep(t *testing.T) {
	p := newPupil(t, time.Minute)
	end := p.inTheMiddle(t)
	p.labs.Last().Kill()
	if got := code(<-end); got != "lost" {
		t.Errorf("error %q, want lost", got)
	}
	st := p.Status()
	if st.State != lessons.LabLost || !strings.Contains(st.Why, "killed") {
		t.Errorf("the lab is %s (%q), want lost, and why", st.State, st.Why)
	}
	if got := code(p.Run("slow", p.tell)); got != "lost" {
		t.Errorf("a step in a lost lab: %q, want lost", got)
	}
	must(t, p.Rebuild(p.tell))
	if got, want := p.place(), "one:done two:done slow:broken > slow"; got != want {
		t.Errorf("place %q, want %q", got, want)
	}
	if got, want := p.labs.Last().Done(), []string{"host# ip netns add ns1", "host# ip netns add ns2"}; !slices.Equal(got, want) {
		t.Errorf("the new lab did %q, want %q", got, want)
	}
	if st = p.Status(); st.State != lessons.LabReady || st.Guesses["two"] != "b" || st.History.Steps[1].Guess != "b" {
		t.Errorf("after the rebuild: %+v; want ready, and the guess kept", st)
	}
	p.labs.Made()[0].Kill() // late news of the old lab
	if st = p.Status(); st.State != lessons.LabReady {
		t.Errorf("an old lab's death made the new one %s", st.State)
	}
}

// Who is told of a lab's death may ask for it again at once, however long the
// step that died with it takes to end.
func TestSessionRebuiltAtOnce(t *testing.T) {
	p := newPupil(t, time.Minute)
	must(t, p.Start(p.tell))
	must(t, p.Goto("slow", false, p.tell))
	ending, end := make(chan struct{}), make(chan struct{})
	go p.Run("slow", func(u lessons.Update) {
		if u.Step != nil {
			close(ending)
			<-end
		}
	})
	p.wait(t, "the step sleeps", func() bool { return slices.Contains(p.labs.Last().Done(), "host# sleep 1000") })
	p.labs.Last().Kill()
	<-ending
	rebuilt := make(chan error, 1)
	go func() { rebuilt <- p.Rebuild(p.tell) }()
	select {
	case err := <-rebuilt:
		close(end)
		t.Fatalf("the answer was %v before the step had ended", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(end)
	must(t, <-rebuilt)
	if st := p.Status().State; st != lessons.LabReady {
		t.Errorf("the lab is %s, want ready", st)
	}
}

// A lab that dies while nothing runs is told at once.
func TestSessionLostAtRest(t *testing.T) {
	p := newPupil(t, time.Minute)
	must(t, p.Start(p.tell))
	must(t, p.Run("one", p.tell))
	p.labs.Last().Kill()
	if got := p.states(); !strings.HasSuffix(got, "ready lost") {
		t.Errorf("states %q, want lost at the end", got)
	}
	must(t, p.Again("one", p.tell))
	if got, want := p.place(), "one:done > two"; got != want {
		t.Errorf("place %q, want %q", got, want)
	}
}

func TestSessionCannotBeMade(t *testing.T) {
	p := newPupil(t, time.Minute)
	p.labs.Fail = errors.New("clone: operation not permitted")
	err := p.Start(p.tell)
	if code(err) != "lost" || !strings.Contains(err.Error(), "operation not permitted") {
		t.Errorf("error %v, want lost with the reason", err)
	}
	p.labs.Fail = nil
	must(t, p.Rebuild(p.tell))
	must(t, p.Run("one", p.tell))
}

func TestSessionSleeps(t *testing.T) {
	p := newPupil(t, time.Minute)
	must(t, p.Start(p.tell))
	must(t, p.Run("one", p.tell))
	first := p.labs.Last()
	if !p.Sleep() {
		t.Fatal("it did not go to sleep")
	}
	p.wait(t, "the lab is closed", first.Closed)
	must(t, p.Start(p.tell))
	if got, want := p.place(), "one:done > two"; got != want {
		t.Errorf("place %q, want %q", got, want)
	}
	if got, want := p.labs.Last().Done(), []string{"host# ip netns add ns1"}; !slices.Equal(got, want) {
		t.Errorf("the new lab did %q, want %q", got, want)
	}
}

func TestSessionPredict(t *testing.T) {
	p := newPupil(t, time.Minute)
	must(t, p.Start(p.tell))
	for _, c := range []struct{ step, option, want string }{
		{"two", "a", ""}, {"two", "b", ""}, {"two", "c", "unknown-option"}, {"one", "a", "unknown-option"}, {"nix", "a", "unknown-step"},
	} {
		if got := code(p.Predict(c.step, c.option)); got != c.want {
			t.Errorf("predict %s %s: %q, want %q", c.step, c.option, got, c.want)
		}
	}
	must(t, p.Run("one", p.tell))
	must(t, p.Run("two", p.tell))
	if got := p.Status().History.Steps[1].Guess; got != "b" {
		t.Errorf("guess %q, want b, the last one made", got)
	}
	if got := code(p.Predict("two", "a")); got != "already-run" {
		t.Errorf("a guess after the answer: %q, want already-run", got)
	}
	must(t, p.Again("two", p.tell))
	if got := p.Status().History.Steps[1].Guess; got != "b" {
		t.Errorf("guess %q after “again”, want b", got)
	}
	must(t, p.Goto("two", false, p.tell))
	if g := p.Status().Guesses; len(g) != 0 {
		t.Errorf("guesses %v after going back, want none", g)
	}
}

func TestSessionOwnCommand(t *testing.T) {
	p := newPupil(t, time.Minute)
	must(t, p.Start(p.tell))
	for _, c := range []struct{ node, text, want string }{
		{"host", "ip netns add x", ""}, {"nix", "true", "unknown-node"}, {"host", "  ", "bad-message"}, {"host", "echo (", ""},
	} {
		if got := code(p.Command(c.node, c.text, p.tell)); got != c.want {
			t.Errorf("%s# %s: %q, want %q", c.node, c.text, got, c.want)
		}
	}
	own := p.Status().History.Own
	if len(own) != 2 || own[1].Status != 2 || !strings.Contains(own[1].Stderr, "syntax error at 1:") {
		t.Errorf("own commands %+v, want two, the second refused with the place of its error", own)
	}
}

// What a page that joins late is told of the learner's own commands is bounded;
// what a rebuild needs is not forgotten with it.
func TestSessionForgetsOldCommands(t *testing.T) {
	p := newPupil(t, time.Minute)
	must(t, p.Start(p.tell))
	must(t, p.Command("host", "ip netns add own", p.tell))
	for range 55 {
		must(t, p.Command("host", "echo x", p.tell))
	}
	if n := len(p.Status().History.Own); n != 50 {
		t.Errorf("%d commands remembered, want 50", n)
	}
	long := "x=xxxxxxxxxxxxxxxx; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do x=$x$x; done; echo $x; echo $x; echo $x; echo $x"
	for range 8 {
		must(t, p.Command("host", long, p.tell))
	}
	if n := len(p.Status().History.Own); n < 1 || n > 4 {
		t.Errorf("%d commands remembered after long outputs, want few", n)
	}
	must(t, p.Rebuild(p.tell))
	if got, want := p.labs.Last().Done(), []string{"host# ip netns add own"}; !slices.Equal(got, want) {
		t.Errorf("the new lab did %q, want %q", got, want)
	}
}

// What a rebuild needs is bounded: a tool's input is kept with it.
func TestSessionLogIsBounded(t *testing.T) {
	p := newPupil(t, time.Minute)
	must(t, p.Start(p.tell))
	long := "x=xxxxxxxxxxxxxxxx; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do x=$x$x; done; for i in {1..80}; do echo $x > f || break; done"
	for range 2 {
		must(t, p.Command("host", long, p.tell))
	}
	own := p.Status().History.Own
	if last := own[len(own)-1]; !strings.Contains(last.Stderr, "could not be rebuilt") {
		t.Errorf("10 MiB of input are kept: %.200q", last.Stderr)
	}
}

// A guess may be made while a command of the learner's own runs.
func TestSessionPredictMeanwhile(t *testing.T) {
	p := newPupil(t, time.Minute)
	must(t, p.Start(p.tell))
	must(t, p.Run("one", p.tell))
	end := make(chan error, 1)
	go func() { end <- p.Command("host", "sleep 1000", p.tell) }()
	p.wait(t, "it sleeps", func() bool { return len(p.labs.Last().Done()) == 3 })
	if got := code(p.Predict("two", "a")); got != "" {
		t.Errorf("a guess while a command of one's own runs: %q", got)
	}
	p.Stop()
	<-end
}
