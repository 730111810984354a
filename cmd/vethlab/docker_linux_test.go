//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vethlab/lessons"
	"vethlab/sim/op"
)

// A Docker sequence is a file of testdata/docker: what it is about in a comment,
// a transcript, and after "-- dockerd --" what Debian's dockerd 20.10 made of it.
//
//	host# dockerd --userland-proxy=false &
//	host# docker run -d --name web -p 8088:80 nginx
//	client# curl -s -m 2 http://10.24.254.11:8088/
//	-- dockerd --
//	host# dockerd --userland-proxy=false &
//	status 0
//	  host nat POSTROUTING: -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
//	…
//
// After each command stands what it printed, and the parts of the state that it
// changed, whole. Names, MAC addresses and ids that are chosen at random are
// numbered in the order they appear.
//
// TestDocker plays the transcript on the daemon itself, in namespaces of its
// own (testdata/docker/reference.sh), on the simulator and on the kernel; all
// three must come to the same text. -update writes down what the daemon does;
// -docker-recorded takes its word from the file, and needs no daemon.
var (
	dockerRecorded = flag.Bool("docker-recorded", false, "hold docker against what was recorded of dockerd, and do not run it")
	dockerUpdate   = flag.Bool("docker-update", false, "record what dockerd does")
)

const recordedMark = "\n-- dockerd --\n"

type sequence struct {
	name       string
	transcript string
	lines      []lessons.Line
	world      string // two-hosts, where a host1 acts
	recorded   string
}

func readSequences(t testing.TB) (all []*sequence) {
	t.Helper()
	files, err := filepath.Glob("testdata/docker/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sequences: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := &sequence{name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		s.transcript, s.recorded, _ = strings.Cut(string(data), recordedMark)
		if s.lines, err = lessons.ParseTranscript(file, s.transcript); err != nil {
			t.Fatal(err)
		}
		s.world = "docker-host"
		if slices.ContainsFunc(s.lines, func(l lessons.Line) bool { return l.Node == "host1" }) {
			s.world = "two-hosts"
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b *sequence) int { return strings.Compare(b.world, a.world) }) // those of two machines take longest
	return all
}

func TestDocker(t *testing.T) {
	worlds := map[string]op.World{}
	for _, name := range []string{"docker-host", "two-hosts"} {
		w, err := lessons.LoadWorld(name)
		if err != nil {
			t.Fatal(err)
		}
		worlds[name] = w
	}
	var ref *reference
	if !*dockerRecorded {
		if os.Geteuid() != 0 {
			t.Skip("dockerd needs root; -docker-recorded holds docker against what was recorded of it")
		}
		for _, program := range []string{"dockerd", "docker", "containerd", "runc"} {
			if _, err := osexec.LookPath(program); err != nil {
				t.Fatal(err, "\nmake test installs docker.io")
			}
		}
		if out, err := osexec.Command("/usr/sbin/dockerd", "--version").Output(); err != nil || !strings.HasPrefix(string(out), "Docker version 20.10.") {
			t.Skipf("the reference is dockerd 20.10; here is %q (%v). -docker-recorded needs none", out, err)
		}
		ref = newReference(t, worlds["docker-host"])
	}
	for _, s := range readSequences(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			want := s.recorded
			if ref != nil {
				got := render(s.lines, ref.play(t, worlds[s.world], s.lines))
				if *dockerUpdate {
					text := strings.TrimRight(s.transcript, "\n") + "\n" + recordedMark + got
					if err := os.WriteFile("testdata/docker/"+s.name+".txt", []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				if got != want && s.world == "two-hosts" { // on a busy machine what one daemon tells the other may come after the look
					t.Logf("once more, as this differs from what was recorded:\n%s", lineDiff(want, got))
					got = render(s.lines, ref.play(t, worlds[s.world], s.lines))
				}
				if got != want {
					t.Errorf("dockerd does something else than was recorded (recorded -, now +):\n%s", lineDiff(want, got))
				}
				want = got
			}
			for _, backend := range []string{onSim, onKernel} {
				t.Run(backend, func(t *testing.T) {
					if got := render(s.lines, playDocker(t, worlds[s.world], backend, s.lines)); got != want {
						t.Errorf("docker on %s is not as dockerd (dockerd -, here +):\n%s", backend, lineDiff(want, got))
					}
				})
			}
		})
	}
}

// outcome is what a line came to, and the state after it.
type outcome struct {
	status         int
	stdout, stderr string
	took           time.Duration
	state          picture // nil: not looked at
}

// render writes outcomes as text.
func render(lines []lessons.Line, outcomes []outcome) string {
	var b strings.Builder
	before := picture{}
	for i, o := range outcomes {
		fmt.Fprintf(&b, "%s# %s\n", lines[i].Node, lines[i].Text)
		if strings.HasPrefix(lines[i].Text, "docker port ") { // the client's order is that of a Go map
			o.stdout = strings.Join(slices.Sorted(strings.Lines(o.stdout)), "")
		}
		for _, s := range []struct{ mark, text string }{{"", o.stdout}, {"! ", o.stderr}} {
			for line := range strings.Lines(s.text) {
				fmt.Fprintf(&b, "| %s%s\n", s.mark, strings.TrimSuffix(line, "\n"))
			}
		}
		if o.status != 0 {
			fmt.Fprintf(&b, "status %d\n", o.status)
		}
		if o.state != nil {
			keys := slices.Collect(maps.Keys(o.state))
			for k := range before {
				if _, ok := o.state[k]; !ok {
					keys = append(keys, k)
				}
			}
			slices.Sort(keys)
			for _, k := range keys {
				now, there := o.state[k]
				if was, ok := before[k]; ok && there && slices.Equal(was, now) {
					continue
				}
				if len(now) == 0 {
					if len(before[k]) > 0 {
						fmt.Fprintf(&b, "  %s: nothing\n", k)
					}
					continue
				}
				fmt.Fprintf(&b, "  %s:\n", k)
				for _, l := range now {
					fmt.Fprintf(&b, "    %s\n", l)
				}
			}
			before = o.state
		}
	}
	return byRole(b.String())
}

var (
	randomID   = regexp.MustCompile(`\b(veth|br-|sha256:)?([0-9a-f]{64}|[0-9a-f]{12}|[0-9a-f]{7})\b`)
	swarmID    = regexp.MustCompile(`\b[0-9a-z]{25}\b`)
	swarmToken = regexp.MustCompile(`SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}`)
	randomPort = regexp.MustCompile(`\b(tcp|udp)\b(.*(?:127\.0\.0\.11:|--sport ))(\d+)`)
	anyDigit   = regexp.MustCompile(`\d`)
	anyLetter  = regexp.MustCompile(`[a-f]`)
	greeting   = regexp.MustCompile(`(?m)^\S* says hello to (?:\[::ffff:)?([0-9.]+)\]?`)
	ago        = regexp.MustCompile(`(About an?|Less than a|\d+) (second|minute)s?( ago)?`)
	exited     = regexp.MustCompile(`Exited \(\d+\)`) // busybox has no way to end as the real images do
	stamp      = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 UTC|\+00:00)`)
)

// byRole numbers what was chosen at random.
func byRole(s string) string {
	ids, veths, ports := map[string]int{}, map[string]int{}, map[string]int{}
	number := func(m map[string]int, k string) int {
		if m[k] == 0 {
			m[k] = len(m) + 1
		}
		return m[k]
	}
	s = swarmToken.ReplaceAllString(s, "TOKEN")
	for i, id := range unique(swarmID.FindAllString(s, -1)) { // a list shows twelve of its letters
		s = strings.ReplaceAll(strings.ReplaceAll(s, id, fmt.Sprintf("SWARM%d", i+1)), id[:12], fmt.Sprintf("SWARM%d", i+1))
	}
	s = randomID.ReplaceAllStringFunc(s, func(x string) string {
		m := randomID.FindStringSubmatch(x)
		switch {
		case m[1] == "veth":
			return fmt.Sprintf("veth-%d", number(veths, m[2]))
		case len(m[2]) < 12 || !anyDigit.MatchString(m[2]) || !anyLetter.MatchString(m[2]):
			return x
		}
		return fmt.Sprintf("%sID%d", m[1], number(ids, m[2][:12]))
	})
	s = randomPort.ReplaceAllStringFunc(s, func(x string) string {
		m := randomPort.FindStringSubmatch(x)
		return fmt.Sprintf("%s%sPORT%d", m[1], m[2], number(ports, m[1]+m[3]))
	})
	s = stamp.ReplaceAllString(s, "TIME")
	s = exited.ReplaceAllString(s, "Exited (…)")
	return ago.ReplaceAllString(s, "a moment$3")
}

// unique are the words that differ, in order.
func unique(words []string) (all []string) {
	for _, w := range words {
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	return all
}

// playDocker plays lines in a lab of ours, on the kernel or simulated.
func playDocker(t testing.TB, w op.World, backend string, lines []lessons.Line) []outcome {
	t.Helper()
	open := map[string]lessons.Opener{onKernel: ours.kernel, onSim: ours.sim}[backend]
	lab, err := open(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	sh := lessons.NewShell(lab)
	defer sh.Close()
	for _, n := range w.Nodes {
		if !dockerHosts[n.Name] {
			continue
		}
		if res, err := lab.Apply(t.Context(), n.Name, op.FileWrite{Path: "/etc/resolv.conf", Text: "nameserver 10.24.254.1\n"}); err != nil || res.Status != 0 {
			t.Fatal(err, res.Stderr)
		}
	}
	outcomes := make([]outcome, len(lines))
	for i, l := range lines {
		text := l.Text
		if strings.HasPrefix(text, "dockerd") { // what it says is wanted before the next line
			text = strings.TrimSuffix(text, " &")
		}
		if strings.Contains(text, "$WORKER") {
			out, err := sh.Run(t.Context(), "host1", "docker swarm join-token -q worker", nil)
			if err != nil {
				t.Fatal(err)
			}
			text = strings.ReplaceAll(text, "$WORKER", strings.TrimSpace(out.Stdout))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		begin := time.Now()
		out, err := sh.Run(ctx, l.Node, text, nil)
		took := time.Since(begin)
		cancel()
		if err != nil {
			t.Fatalf("%s# %s: %v", l.Node, l.Text, err)
		}
		outcomes[i] = outcome{took: took, status: out.Status, stdout: greeting.ReplaceAllString(out.Stdout, "hello to $1"), stderr: out.Stderr}
		if lookAfter(l).now(out.Status) {
			outcomes[i].state = lookAtLab(t, backend, lab)
		}
	}
	return outcomes
}

// lookWhen says whether the state is looked at after a line.
type lookWhen string

const (
	always    lookWhen = "always"
	ifItWent  lookWhen = "if-it-went"
	neverLook lookWhen = "never"
)

func (w lookWhen) now(status int) bool { return w == always || w == ifItWent && status == 0 }

func lookAfter(l lessons.Line) lookWhen {
	switch {
	case !strings.Contains(l.Text, "docker"):
		return neverLook
	case l.Node != "host1" && l.Node != "host2":
		return always
	case onlyTells.MatchString(l.Text): // of two machines there is much to look at
		return neverLook
	}
	return ifItWent
}

var onlyTells = regexp.MustCompile(`^docker (network|node) (ls|inspect)`)

// lineDiff is a diff by lines, with the command above each difference.
func lineDiff(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	// The longest common subsequence, from the end.
	lcs := make([][]int, len(x)+1)
	for i := range lcs {
		lcs[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				lcs[i][j] = lcs[i+1][j+1] + 1
			} else {
				lcs[i][j] = max(lcs[i+1][j], lcs[i][j+1])
			}
		}
	}
	var out strings.Builder
	var context []string // what stands above a difference and was not yet shown
	say := func(mark, line string) {
		for _, c := range context {
			fmt.Fprintf(&out, "  %s\n", c)
		}
		context = nil
		fmt.Fprintf(&out, "%s %s\n", mark, line)
	}
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			switch {
			case strings.Contains(x[i], "# ") && !strings.HasPrefix(x[i], " "):
				context = []string{x[i]}
			case strings.HasPrefix(x[i], "  ") && !strings.HasPrefix(x[i], "   ") && len(context) < 2:
				context = append(context, x[i])
			}
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && lcs[i+1][j] >= lcs[i][j+1]:
			say("-", x[i])
			i++
		default:
			say("+", y[j])
			j++
		}
	}
	return out.String()
}
