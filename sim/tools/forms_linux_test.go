package tools

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// The argument forms: command lines, valid and not, that are run one after
// another on this machine's own programs and on a simulated lab, which have to
// say the same and come to the same state.
//
//	go test ./sim/tools -run Forms -forms.n 50000 -forms.seed 7
var (
	formsN       = flag.Int("forms.n", 2500, "how many command lines each test of argument forms tries")
	formsSeed    = flag.Uint64("forms.seed", 1, "the seed of the first batch of forms; 0 takes one from the clock, to look for what is new")
	formsWorkers = flag.Int("forms.workers", 4, "how many batches of forms are tried at once, each on machines of its own")
	formsMost    = flag.Int("forms.most", 5, "after how many differences a test of argument forms stops")
	formsOnly    = flag.String("forms.only", "", "the one program of those in TestFormsIP whose forms are tried")
	// The words that could be typed have a long tail: of ip's, one in some ten
	// thousand was answered otherwise when this was written, of iptables' one in
	// thirty thousand. Every difference is shown; the goal is none.
	formsAllow = flag.Int("forms.allow", 1, "how many differences a test of argument forms lets pass")
)

// A formsBatch are forms that meet what their predecessors left, tried on a
// machine of each kind.
type formsBatch struct {
	tried, refused, unknown int    // unknown: not simulated, and tried on neither
	difference              string // "" when both said the same
}

// inBatches tries forms, batch after batch, until there were enough.
func inBatches(t *testing.T, try func(seed uint64) (formsBatch, error)) {
	t.Helper()
	first := *formsSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano() % 1_000_000_000)
	}
	var (
		mu   sync.Mutex
		sum  formsBatch
		diff int
		next = first
		wg   sync.WaitGroup
	)
	// more is the seed of the next batch, if there has to be one.
	more := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, sum.tried < *formsN && diff < *formsMost
	}
	for range *formsWorkers {
		wg.Go(func() {
			for seed, ok := more(); ok; seed, ok = more() {
				b, err := try(seed)
				mu.Lock()
				sum.tried, sum.refused, sum.unknown = sum.tried+b.tried, sum.refused+b.refused, sum.unknown+b.unknown
				if err != nil {
					diff++
					t.Errorf("-forms.seed %d: %v", seed, err)
				} else if b.difference != "" {
					diff++
					t.Logf("differs: -forms.seed %d\n%s", seed, b.difference)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if diff > *formsAllow {
		t.Errorf("%d forms are answered otherwise than by the machine: more than %d", diff, *formsAllow)
	}
	t.Logf("-forms.seed %d: %d forms, %d of them refused; %d more are not simulated", first, sum.tried, sum.refused, sum.unknown)
	if sum.unknown > sum.tried/10 {
		t.Errorf("%d of %d forms are not simulated: more than a tenth", sum.unknown, sum.tried+sum.unknown)
	}
}

// said is what a command line came to.
type said struct {
	stdout, stderr string
	status         int
}

// real is a machine of this kernel's: namespaces of their own, in which a
// shell runs one line after another.
type realMachine struct {
	cmd    *osexec.Cmd
	in     io.WriteCloser
	stdout *bufio.Reader
	stderr *bufio.Reader
}

// realShell runs the lines it reads, and says after each one its status. \036
// is the record separator of ASCII, which no tool prints.
const realShell = `mount --make-rprivate / ; mount -t tmpfs t /run ; mkdir -p /run/netns ; mount -t sysfs s /sys
printf "hosts: files\nnetworks: files\n" > /run/nsswitch.conf ; mount --bind /run/nsswitch.conf /etc/nsswitch.conf
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 ; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
echo 0 0 > /proc/sys/net/ipv4/ping_group_range
while IFS= read -r line; do eval "$line" </dev/null; printf '\036%d\036' $?; printf '\036' >&2; done`

// needPrograms skips a test where the machine has not what it takes.
func needPrograms(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range append([]string{"unshare", "sh"}, programs...) {
		if _, err := osexec.LookPath(name); err != nil {
			t.Skipf("this machine has no %s", name)
		}
	}
	m, err := newRealMachine()
	if err != nil {
		t.Skipf("no namespaces of one's own can be had here: %v", err)
	}
	m.close()
}

func newRealMachine() (*realMachine, error) {
	args := []string{"--net", "--mount", "--uts", "--pid", "--fork", "--kill-child"}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	m := &realMachine{cmd: osexec.Command("unshare", append(args, "--", "sh", "-c", realShell)...)}
	m.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "XTABLES_LOCKFILE=/run/xtables.lock"}
	var err error
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	errs, err := m.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	m.stdout, m.stderr = bufio.NewReader(out), bufio.NewReader(errs)
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	if s, err := m.try("true"); err != nil || s.status != 0 {
		m.close()
		return nil, fmt.Errorf("unshare: %v %v", s, err)
	}
	return m, nil
}

func (m *realMachine) close() {
	m.in.Close()
	_ = m.cmd.Wait() // killed by nobody; how it ended says nothing
}

func (m *realMachine) try(line string) (s said, err error) {
	if _, err = io.WriteString(m.in, line+"\n"); err != nil {
		return s, err
	}
	if s.stdout, err = m.stdout.ReadString('\036'); err != nil {
		return s, err
	}
	status, err := m.stdout.ReadString('\036')
	if err != nil {
		return s, err
	}
	if s.stderr, err = m.stderr.ReadString('\036'); err != nil {
		return s, err
	}
	s.stdout, s.stderr = strings.TrimSuffix(s.stdout, "\036"), strings.TrimSuffix(s.stderr, "\036")
	s.status, err = strconv.Atoi(strings.TrimSuffix(status, "\036"))
	return s, err
}

// run runs a command line.
func (m *realMachine) run(argv []string) (said, error) {
	s, err := m.try(op.Tool{Argv: argv}.String())
	if err != nil {
		return s, fmt.Errorf("%q: the machine is gone: %w", argv, err)
	}
	return s, nil
}

// newSimMachine is a lab of one machine, host, as bare as a real one.
func newSimMachine() (*Lab, error) {
	return Open(context.Background(), op.World{Name: "forms", Nodes: []op.NodeSpec{{Name: "host", Kind: state.Machine}}})
}

// typed runs a command line in a node as the lab's shell does (lessons/shell.go).
func (l *Lab) typed(node string, argv []string) said {
	cmd, err := cmdline.Parse(argv)
	if u, ok := err.(*cmdline.UsageError); ok {
		return said{stderr: u.Stderr, status: u.Status}
	}
	if cmd.Node != "" {
		node = cmd.Node
	}
	r, err := l.Apply(context.Background(), node, cmd.Op)
	if err != nil {
		return said{stderr: err.Error(), status: -1}
	}
	r = cmd.Finish(r)
	return said{r.Output, r.Stderr, r.Status}
}

func (s said) String() string {
	return fmt.Sprintf("status %d\n%s%s", s.status, indent("out: ", s.stdout), indent("err: ", s.stderr))
}

func indent(prefix, text string) string {
	if text == "" {
		return ""
	}
	return "      " + prefix + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n      "+prefix) + "\n"
}
