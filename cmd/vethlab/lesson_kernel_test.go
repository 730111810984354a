//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mvdan.cc/sh/v3/shell"

	"vethlab/exec"
	"vethlab/lessons"
	"vethlab/sim/cmdline"
	"vethlab/sim/docker"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// TestLessons plays every lesson on the kernel: each step's checks do not all
// hold before its commands, and do after; commands fail where the lesson says
// that they do, and nowhere else; each prediction finds its answer; the packets
// take the ways that journeys tells.
func TestLessons(t *testing.T) {
	all, err := lessons.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		for _, iptables := range []string{"nft", "legacy"} {
			t.Run(l.ID+"/"+iptables, func(t *testing.T) {
				t.Parallel()
				lab, sh := openLab(t, l, exec.Options{Iptables: iptables})
				ran := playLesson(t, l, lab, sh)
				if l.ID != lessonID {
					return
				}
				view := asTheyAre
				if iptables == "legacy" {
					view = decisive
				}
				checkJourneys(t, ran, view)
			})
		}
	}
}

// TestLessonFromAnyStep builds a lab to each step without the probes of the
// steps before it, as the page does when a learner jumps or a lab died, and
// plays that step.
func TestLessonFromAnyStep(t *testing.T) {
	fromAnyStep(t, func(t *testing.T, l *lessons.Lesson) (lessons.Backend, *lessons.Shell) {
		return openLab(t, l, exec.Options{})
	})
}

func openLab(t *testing.T, l *lessons.Lesson, o exec.Options) (lessons.Backend, *lessons.Shell) {
	t.Helper()
	kernel, err := o.Open(t.Context(), l.Start)
	if err != nil {
		t.Fatal(err)
	}
	lab := docker.Wrap(kernel)
	t.Cleanup(func() { lab.Close() })
	sh := lessons.NewShell(lab)
	t.Cleanup(sh.Close)
	return lab, sh
}

// TestSecondWay builds each lesson's states twice, once by operations and once
// by the machine's own ip, brctl, iptables and sysctl on the words of the
// transcript, and finds the snapshots equal after every step.
func TestSecondWay(t *testing.T) {
	all, err := lessons.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		t.Run(l.ID, func(t *testing.T) {
			if l.ID == "what-docker-run-does" {
				t.Skip("docker is the same either way; TestDockerExplained holds it against the lines it consists of")
			}
			t.Parallel()
			first, _ := openLab(t, l, exec.Options{})
			second, _ := openLab(t, l, exec.Options{})
			tools := 0
			for i := range l.Steps {
				s := &l.Steps[i]
				if err := lessons.Replay(t.Context(), first, []*lessons.Step{s}); err != nil {
					t.Fatal(err)
				}
				for _, c := range s.Commands {
					tools += byTool(t, second, c)
				}
				var ds []state.Difference
				for range 600 { // a namespace dies in the background
					ds = state.Diff(canonical(t, first), canonical(t, second))
					if len(ds) == 0 {
						break
					}
					time.Sleep(50 * time.Millisecond)
				}
				for _, d := range ds {
					t.Errorf("after step %s: %s (by operations, by the tools)", s.ID, d)
				}
			}
			if tools == 0 {
				t.Error("no command was run by a tool")
			}
		})
	}
}

func canonical(t *testing.T, lab lessons.Backend) *state.Snapshot {
	t.Helper()
	s, err := lab.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Canonical()
}

// byTool runs what a line changes by the machine's own tool, as it is written,
// and returns how many tools that took. Servers are the lab's own either way.
func byTool(t *testing.T, lab lessons.Backend, l lessons.Line) int {
	t.Helper()
	argv, err := shell.Fields(strings.TrimSuffix(l.Text, "&"), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := cmdline.Parse(argv)
	if err != nil {
		t.Fatal(err)
	}
	if op.Probe(cmd.Op) {
		return 0
	}
	switch cmd.Op.(type) {
	case op.HTTPServe, op.DNSServe, op.ProcKill:
		mustApply(t, lab, l.Node, cmd.Op)
		return 0
	}
	mustApply(t, lab, l.Node, op.Tool{Argv: argv})
	return 1
}

func mustApply(t *testing.T, lab lessons.Backend, node string, o op.Op) {
	t.Helper()
	r, err := lab.Apply(t.Context(), node, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != 0 || r.Failure != nil {
		t.Errorf("%s# %s: status %d, %v\n%s", node, o, r.Status, r.Failure, r.Stderr)
	}
}

// lookAround lists, by the real tools, what a lesson left in a node.
const lookAround = `ip -o -br addr; ip -br link; ip route; brctl show; iptables-save -t nat; iptables-save -t filter; ` +
	`sysctl net.ipv4.ip_forward net.ipv4.conf.all.route_localnet net.ipv4.conf.all.rp_filter; ss -Hltn`

// TestLessonScript runs the script of the lesson with nothing of vethlab, as
// root, and finds in the end what the lesson says.
func TestLessonScript(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the script needs root")
	}
	var script bytes.Buffer
	c := lessonCmd{printer: printer{stdout: &script, stderr: os.Stderr}, ctx: t.Context()}
	if status := c.run([]string{"script", "bridge-by-hand", "--lang", "zh-CN"}); status != 0 {
		t.Fatalf("lesson script: status %d", status)
	}
	const end = "\nexit $(( surprises > 0 ))\n"
	if strings.Count(script.String(), end) != 1 {
		t.Fatal("the script does not end as expected")
	}
	look := "\necho '=== host'; in_node host sh -c '" + lookAround + "'; echo '=== ns1'; ls /run/netns 2>/dev/null; echo '==='\n"
	text := strings.Replace(script.String(), end, look+end, 1)

	before := leftovers(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	// Its own namespaces around the script's: even its failure leaves nothing.
	cmd := osexec.CommandContext(ctx, "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash")
	cmd.Stdin = strings.NewReader(text)
	cmd.Env = append(os.Environ(), "PATH=/usr/bin:/bin") // as after su, without sbin
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, host, found := strings.Cut(string(out), "=== host\n")
	if !found {
		t.Fatalf("the script did not come to its end\n%s", out)
	}
	for _, want := range []string{
		"br-demo          DOWN           172.18.0.1/16",
		"172.18.0.0/16 dev br-demo proto kernel scope link src 172.18.0.1 linkdown",
		"-A FORWARD -i br-demo ! -o br-demo -j ACCEPT",
		"-A FORWARD -d 172.18.0.8/32 ! -i br-demo -o br-demo -p tcp -m tcp --dport 8000 -j ACCEPT",
		":FORWARD DROP",
		"-A PREROUTING -p tcp -m tcp --dport 8088 -j DNAT --to-destination 172.18.0.8:8000",
		"-A OUTPUT -p tcp -m tcp --dport 8088 -j DNAT --to-destination 172.18.0.8:8000",
		"-A POSTROUTING -s 172.18.0.0/16 ! -o br-demo -j MASQUERADE",
		"-A POSTROUTING -p tcp -m tcp --dport 8000 -j MASQUERADE",
		"net.ipv4.ip_forward = 1",
		"net.ipv4.conf.all.route_localnet = 1",
	} {
		if !strings.Contains(host, want) {
			t.Errorf("not there in the end: %s", want)
		}
	}
	for _, gone := range []string{"veth0", "veth1", "\nns1\n", ":8000 "} {
		if strings.Contains(host, gone) {
			t.Errorf("still there in the end: %s", gone)
		}
	}
	if t.Failed() {
		t.Logf("%s", host)
	}
	if after := leftovers(t); after != before {
		t.Errorf("the script left something:\nbefore\n%s\nafter\n%s", before, after)
	}
}

// leftovers is what the machine's own namespace holds that a script could have
// left there.
func leftovers(t *testing.T) string {
	t.Helper()
	out, err := osexec.Command("sh", "-c", "ip -br link | cut -d' ' -f1; ip netns list; ip route; iptables-save | grep -v '^#' | sed 's/\\[.*//'; sysctl net.ipv4.ip_forward").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestLessonScriptStopped interrupts and kills the script in the middle: no
// process of it is left, and so nothing else.
func TestLessonScriptStopped(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the script needs root")
	}
	var script bytes.Buffer
	c := lessonCmd{printer: printer{stdout: &script, stderr: os.Stderr}, ctx: t.Context()}
	if status := c.run([]string{"script", "bridge-by-hand"}); status != 0 {
		t.Fatalf("lesson script: status %d", status)
	}
	for _, tt := range []struct {
		name string
		kill func(pid int) error
	}{
		{"kill -9", func(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }},
		{"Ctrl-C", func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) }}, // to the whole group, as a terminal does
		{"hangup", func(pid int) error { return syscall.Kill(-pid, syscall.SIGHUP) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mark := "VETHLAB_TEST_SCRIPT=" + rand.Text()
			cmd := osexec.Command("bash")
			cmd.Env = append(os.Environ(), mark)
			cmd.Stdin = strings.NewReader(script.String())
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			reached := false
			for sc := bufio.NewScanner(out); sc.Scan() && !reached; {
				reached = strings.HasPrefix(sc.Text(), "── 7.")
			}
			if !reached || len(marked(mark)) == 0 {
				t.Fatalf("the script did not come to step 7 (%v)", reached)
			}
			if err := tt.kill(cmd.Process.Pid); err != nil {
				t.Fatal(err)
			}
			go io.Copy(io.Discard, out)
			cmd.Wait()
			var left []string
			for range 600 {
				if left = marked(mark); len(left) == 0 {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
			t.Errorf("still running: %v", left)
		})
	}
}

// marked lists the processes whose environment holds mark.
func marked(mark string) (found []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if env, err := os.ReadFile(f); err == nil && bytes.Contains(env, []byte(mark)) {
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
			found = append(found, filepath.Base(filepath.Dir(f))+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}
