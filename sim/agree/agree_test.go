package agree_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vethlab/exec"
	"vethlab/lessons"
	"vethlab/sim/agree"
	"vethlab/sim/op"
)

var (
	seed    = flag.Uint64("seed", 0, "TestAgree: of the first case; 0 takes it from the clock")
	number  = flag.Int("n", 0, "TestAgree: how many cases")
	workers = flag.Int("workers", 12, "TestAgree: how many labs at once; most of the time they wait")
	keep    = flag.String("keep", "", "TestAgree: where to keep what differs, shrunk")
	talk    = flag.Bool("progress", false, "TestAgree: say how far it is")
	update  = flag.Bool("update", false, "TestKept: write down again what the kernel does")
	stop    = flag.Int("stop", 0, "TestAgree: give up after so many different differences; 0: never")
	small   = flag.Duration("shrink", 3*time.Second, "TestAgree: how long to look for the smallest transcript of a difference")
	file    = flag.String("case", "", "TestAgree: compare the case that this file keeps, instead of fresh ones")
)

type nodeSpec = op.NodeSpec

func TestMain(m *testing.M) {
	exec.Init()
	flag.Parse()
	debug.SetGCPercent(400) // it has the memory, and not the time
	os.Exit(m.Run())
}

func openKernel(ctx context.Context, w op.World) (lessons.Backend, error) {
	l, err := exec.Open(ctx, w)
	if err != nil {
		return nil, err
	}
	onOneCPU(l.Pid())
	return l, nil
}

// needsKernel skips a test where no lab can be made, with the reason.
func needsKernel(t *testing.T) {
	t.Helper()
	lab, err := exec.Open(t.Context(), op.World{Name: "none", Nodes: []op.NodeSpec{{Name: "a", Kind: "machine"}}})
	if err != nil {
		t.Skipf("no lab can be made here: %v", err)
	}
	lab.Close()
}

// fresh leaves out the differences that are known.
func fresh(ds []agree.Difference) []agree.Difference {
	return slices.DeleteFunc(slices.Clone(ds), func(d agree.Difference) bool { return d.Known != "" })
}

// differMost is how many cases in a hundred may differ before TestAgree fails.
// The goal is 0; the number only ever goes down. What still differs is printed,
// shrunk, and kept by make agree.
const differMost = 2

// chance is how many more may differ: of few cases a few more differ at times.
const chance = 5

// How many fresh cases a run of the tests compares: as root, and as anybody
// else, for whom it is the second time.
const casesRoot, casesUser = 1500, 300

// The model and the kernel agree: on fresh cases, made of a seed that is new
// each time.
func TestAgree(t *testing.T) {
	needsKernel(t)
	if *file != "" {
		compareFile(t, *file)
		return
	}
	n := *number
	if n == 0 {
		n = casesRoot
		if os.Getuid() != 0 {
			n = casesUser
		}
	}
	first := *seed
	if first == 0 {
		first = uint64(time.Now().Unix()) * 1_000_000
	}
	t.Logf("%d cases; to have them again: -seed %d", n, first)
	ctx, stopSignal := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stopSignal()
	s := &sweep{t: t, began: time.Now(), total: n, kinds: map[string][]uint64{}, known: map[string]int{}}
	ctx, s.cancel = context.WithCancel(ctx)
	defer s.cancel()
	if *talk {
		go s.report(ctx)
	}
	var wg sync.WaitGroup
	next := make(chan uint64)
	for range *workers {
		wg.Go(func() {
			for seed := range next {
				s.one(ctx, seed)
			}
		})
	}
	var enough <-chan time.Time
	if *number == 0 {
		enough = time.After(atMost())
	}
feed:
	for i := range n {
		select {
		case next <- first + uint64(i):
		case <-enough:
			t.Logf("time is up after %d cases", i)
			break feed
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	s.summary()
}

// compareFile runs a kept case on both sides, whatever outcome it holds.
func compareFile(t *testing.T, name string) {
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	k, err := parseKept(string(data))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	ds, _, err := k.compare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		if d.Known != "" {
			t.Logf("known, %s: %s", d.Known, d)
		} else {
			t.Error(d)
		}
	}
}

// atMost bounds TestAgree when nobody said how many cases it is to compare: a
// slow machine, which is no reason to fail, compares fewer.
func atMost() time.Duration {
	if os.Getuid() != 0 {
		return 15 * time.Second
	}
	return 6 * time.Minute
}

// sweep is a run over many cases.
type sweep struct {
	t      *testing.T
	began  time.Time
	total  int
	cancel context.CancelFunc

	mu       sync.Mutex
	done     int
	differ   int
	unsteady []uint64            // the kernel did not agree with itself, and once with the model
	kinds    map[string][]uint64 // kind of difference → seeds
	known    map[string]int      // cause → cases
	shrunk   int
}

// runs is how often the kernel runs a case that it does not do twice alike.
const runs = 3

// one compares one case. Where the two differ the kernel runs it again: a case
// that comes out otherwise then is not the model's fault as long as the model
// agrees with one of the runs. A case that comes out the same is.
func (s *sweep) one(ctx context.Context, seed uint64) {
	c := generate(seed)
	var ds []agree.Difference
	var before []*agree.Run
	for len(before) < runs {
		found, kernel, err := c.compare(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errEndless) { // the generator's fault: a probe is to wait for less
			s.differs(seed, errEndless.Error())
			s.t.Logf("seed %d: %v", seed, err)
			return
		}
		if err != nil {
			s.t.Errorf("seed %d: the kernel's lab: %v", seed, err)
			return
		}
		alike := slices.ContainsFunc(before, func(r *agree.Run) bool { return len(agree.CompareRecords(r, kernel)) == 0 })
		before = append(before, kernel)
		once := ds
		if ds = fresh(found); len(ds) == 0 {
			if len(once) > 0 {
				var text []string
				for _, d := range once {
					text = append(text, d.String())
				}
				s.t.Logf("seed %d: once only:\n%s", seed, strings.Join(text, "\n"))
			}
			s.agrees(seed, found, len(before) > 1)
			return
		}
		if alike {
			break
		}
	}
	if rationed(before[0]) {
		s.agrees(seed, []agree.Difference{{Known: "a node tells one sender of five missing routes at once, and then of one a second"}}, false)
		return
	}
	if !s.differs(seed, kindOf(ds[0])) {
		return // most likely the same again
	}
	c, ds = shrink(ctx, c, ds, *small)
	k := &kept{testCase: *c, about: []string{fmt.Sprintf("seed %d", seed)}}
	var text []string
	for _, d := range ds {
		text = append(text, d.String())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shrunk++
	if *keep != "" {
		k.about = append(k.about, strings.Split(strings.Join(text, "\n"), "\n")...)
		name := filepath.Join(*keep, fmt.Sprintf("%d.txt", seed))
		if err := os.MkdirAll(*keep, 0o755); err != nil {
			s.t.Error(err)
		} else if err := os.WriteFile(name, []byte(k.String()), 0o644); err != nil {
			s.t.Error(err)
		}
		s.t.Logf("seed %d: kept in %s\n%s", seed, name, strings.Join(text, "\n"))
		return
	}
	s.t.Logf("seed %d: the two differ\n%s\n%s", seed, k, strings.Join(text, "\n"))
}

// rationed reports whether in a run a node refused one sender's packets for want of
// a route so often that the clock decides of which it tells (ip_error,
// net/ipv4/route.c): nobody can set that, and it is in no snapshot.
func rationed(r *agree.Run) bool {
	const burst = 5
	refused := map[string]int{}
	for _, c := range r.Commands {
		for _, j := range c.Journeys {
			from := packetOf.FindStringSubmatch(j)
			by := refusedBy.FindStringSubmatch(j)
			if from == nil || by == nil || from[1] == by[1] {
				continue
			}
			if k := by[1] + " " + from[2]; refused[k] < burst {
				refused[k]++
			} else {
				return true
			}
		}
	}
	return false
}

var (
	packetOf  = regexp.MustCompile(`\n(\S+) .*  ([0-9.]+)(?::\S+)?→`) // the first node, and who sends
	refusedBy = regexp.MustCompile(`\nend: no-route at (\S+) `)
)

func TestRationed(t *testing.T) {
	ping := "icmp\nh3 route eth0 forward  10.0.3.11→10.0.2.11 type 8/0 id $i1 seq 1 ttl 64 len 84\nh3 tx eth0 $m1>$m2\nr2 rx p1 $m1>$m2\nend: no-route at r2 no-route dst=10.0.2.11"
	syn := "tcp\nh3 route eth0 forward  10.0.3.11:$p1→10.0.2.11:81 SYN ttl 64 len 60\nr2 rx p1 $m1>$m2\nend: no-route at r2 no-route dst=10.0.2.11"
	other := strings.ReplaceAll(ping, "10.0.3.11→", "10.0.3.12→")
	own := "icmp\nr2 OUTPUT pass  10.0.3.1→10.0.2.11 type 8/0 id $i1 seq 1 ttl 64 len 84\nend: no-route at r2 no-route dst=10.0.2.11"
	for _, c := range []struct {
		journeys []string
		want     bool
	}{
		{[]string{ping, ping, ping, syn, syn, syn}, true},
		{[]string{ping, ping, ping, syn, syn, other}, false},
		{[]string{own, own, own, own, own, own}, false},
	} {
		r := &agree.Run{}
		for _, j := range c.journeys {
			r.Commands = append(r.Commands, agree.Record{Journeys: []string{j}})
		}
		if got := rationed(r); got != c.want {
			t.Errorf("%v of %q", got, c.journeys)
		}
	}
}

// differs notes a case in which the two differ, and reports whether it is the
// first of its kind.
func (s *sweep) differs(seed uint64, kind string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	s.differ++
	s.kinds[kind] = append(s.kinds[kind], seed)
	if *stop > 0 && len(s.kinds) >= *stop {
		s.cancel()
	}
	return len(s.kinds[kind]) == 1
}

// agrees notes a case in which the two agree, but for what is known.
func (s *sweep) agrees(seed uint64, known []agree.Difference, unsteady bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	if unsteady {
		s.unsteady = append(s.unsteady, seed)
	}
	causes := map[string]bool{}
	for _, d := range known {
		causes[d.Known] = true
	}
	for c := range causes {
		s.known[c]++
	}
}

func (s *sweep) line() string {
	took := time.Since(s.began)
	rate := float64(s.done) / took.Seconds()
	text := fmt.Sprintf("%d of %d cases, %.1f/s, %d differ in %d ways, %d unsteady", s.done, s.total, rate, s.differ, len(s.kinds), len(s.unsteady))
	if s.done > 0 && s.done < s.total {
		text += fmt.Sprintf(", %s left", time.Duration(float64(s.total-s.done)/rate*float64(time.Second)).Round(time.Second))
	}
	return text
}

// report says every few seconds how far the sweep is.
func (s *sweep) report(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(3 * time.Second):
		}
		s.mu.Lock()
		fmt.Println(s.line())
		s.mu.Unlock()
	}
}

func (s *sweep) summary() {
	text := s.line()
	for _, cause := range slices.Sorted(maps.Keys(s.known)) {
		text += fmt.Sprintf("\n  known, in %d cases: %s", s.known[cause], cause)
	}
	if len(s.unsteady) > 0 {
		text += fmt.Sprintf("\n  unsteady seeds: %v", s.unsteady[:min(len(s.unsteady), 50)])
	}
	for _, kind := range slices.Sorted(maps.Keys(s.kinds)) {
		seeds := s.kinds[kind]
		text += fmt.Sprintf("\n  %d × %s: seeds %v", len(seeds), kind, seeds[:min(len(seeds), 5)])
	}
	if *talk {
		fmt.Println(text)
	} else {
		s.t.Log(text)
	}
	switch {
	case *talk && s.differ > 0: // somebody asked how many
		s.t.Errorf("%d of %d cases differ", s.differ, s.done)
	case s.differ > s.done*differMost/100+chance:
		s.t.Errorf("%d of %d cases differ, more than %d in a hundred", s.differ, s.done, differMost)
	}
}

// What is compared does not depend on the moment: the kernel does a case twice
// alike. A busy machine may spoil a run; then the case is run again, but a case
// that comes out otherwise every time is one that we cannot compare.
func TestKernelAgreesWithItself(t *testing.T) {
	needsKernel(t)
	n := *number
	if n == 0 {
		n = 24
	}
	first := *seed
	if first == 0 {
		first = uint64(time.Now().Unix()) * 1_000_000
	}
	t.Logf("first seed %d", first)
	var wg sync.WaitGroup
	next := make(chan uint64)
	for range *workers {
		wg.Go(func() {
			for seed := range next {
				alike(t, seed)
			}
		})
	}
	for i := range n {
		next <- first + uint64(i)
	}
	close(next)
	wg.Wait()
}

// alike reports as an error that no two of some runs of a case are alike.
func alike(t *testing.T, seed uint64) {
	const most = 4
	c := generate(seed)
	var before []*agree.Run
	var ds []agree.Difference
	for range most {
		run, _, err := c.runKernel(t.Context())
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			return
		}
		for _, r := range before {
			if ds = agree.CompareRecords(r, run); len(ds) == 0 {
				return
			}
		}
		before = append(before, run)
	}
	var text []string
	for _, d := range ds {
		text = append(text, d.String())
	}
	t.Errorf("seed %d: no two of %d runs are alike; of the last two:\n%s", seed, most, strings.Join(text, "\n"))
}

const keptDir = "../testdata/agree"

func keptCases(t *testing.T) map[string]*kept {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(keptDir, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]*kept{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		k, err := parseKept(string(data))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if k.outcome != nil {
			normal(k.outcome)
		}
		cases[strings.TrimSuffix(filepath.Base(f), ".txt")] = k
	}
	if len(cases) == 0 {
		t.Fatal("no kept cases in " + keptDir)
	}
	return cases
}

// The cases in which the two once differed: the model does what the kernel did.
func TestKept(t *testing.T) {
	for name, k := range keptCases(t) {
		t.Run(name, func(t *testing.T) {
			if *update {
				run, err := k.runWhole(t.Context(), openKernel, nil)
				if err != nil {
					t.Fatal(err)
				}
				k.outcome = run
				if err := os.WriteFile(filepath.Join(keptDir, name+".txt"), []byte(k.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if k.outcome == nil {
				t.Fatal("it holds no outcome; run the test with -update where a lab can be made")
			}
			run, err := k.runModel(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			normal(run)
			for _, d := range fresh(agree.CompareRecords(k.outcome, run)) {
				t.Error(d)
			}
		})
	}
}

// What the kept cases say of the kernel is so.
func TestKeptOnKernel(t *testing.T) {
	needsKernel(t)
	for name, k := range keptCases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for try := 1; ; try++ {
				run, err := k.runWhole(t.Context(), openKernel, nil)
				if err != nil {
					t.Fatal(err)
				}
				normal(run)
				ds := agree.CompareRecords(k.outcome, run)
				if len(ds) == 0 {
					return
				}
				if try == 3 {
					for _, d := range ds {
						t.Error(d)
					}
					return
				}
			}
		})
	}
}
