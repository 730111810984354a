//go:build linux

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/gorilla/websocket"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vethlab/lessons"
	"vethlab/web"
)

// However a lab ends, nothing of it is left: no process, namespace, link,
// rule or file.
func TestKillServer(t *testing.T) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) {
			before := machineState(t)
			s := serveAs(t, u)
			p := join(t, s)
			p.amidStep(t)
			left := remainsOf(t, s, p)

			if err := s.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-s.gone
			left.check(t)
			before.check(t)
		})
	}
}

// A lab that is killed takes only itself away: the server says so, and brings
// it back to the same step when asked.
func TestKillLab(t *testing.T) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) {
			before := machineState(t)
			s := serveAs(t, u)
			p := join(t, s)
			step := p.amidStep(t)
			left := remainsOf(t, s, p)

			p.killed = true
			if err := unix.Kill(left.lab, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			lost := p.until(t, "the loss of the lab", func(m web.Message) bool { return m.Lab != nil && m.Lab.State == "lost" })
			if lost.Lab.Text == "" {
				t.Error("nothing says how the lab was lost")
			}
			left.check(t)

			p.ask(t, web.Request{Type: "rebuild"})
			again := p.until(t, "the lab again", func(m web.Message) bool { return m.Lab != nil && m.Lab.State == "ready" })
			if again.Lab.Next != step {
				t.Errorf("the rebuilt lab is before step %q, not %q", again.Lab.Next, step)
			}
			p.until(t, "the old namespace ns1 again", func(m web.Message) bool { return m.Snapshot != nil && m.Snapshot.Node("ns1") != nil })
			rebuilt := remainsOf(t, s, p)

			if err := s.cmd.Process.Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case <-s.gone:
			case <-time.After(time.Minute):
				t.Fatalf("the server is still there a minute after SIGTERM: %s", s.output())
			}
			if code := s.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit status %d after SIGTERM: %s", code, s.output())
			}
			rebuilt.check(t)
			before.check(t)
		})
	}
}

// page is a WebSocket connection as a browser's page holds one.
type page struct {
	conn  *websocket.Conn
	in    chan web.Message
	id    int
	netns []uint64 // of the nodes, as the last snapshot had them
	// killed: the lab was, so that what was under way ends with that error.
	killed bool
}

// join opens the lesson and waits until its lab is ready.
func join(t *testing.T, s *server) *page {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+"/ws", http.Header{"Origin": {s.url}})
	if err != nil {
		t.Fatalf("%v: %s", err, s.output())
	}
	t.Cleanup(func() { conn.Close() })
	p := &page{conn: conn, in: make(chan web.Message, 4096)}
	go func() {
		defer close(p.in)
		for {
			var m web.Message
			if conn.ReadJSON(&m) != nil {
				return
			}
			p.in <- m
		}
	}()
	hello := p.until(t, "hello", func(m web.Message) bool { return m.Hello != nil })
	if hello.Hello.Backend != "kernel" {
		t.Fatalf("no kernel backend: %s; %s", hello.Hello.Reason, hello.Hello.Fix)
	}
	p.ask(t, web.Request{Type: "open", V: web.ProtocolVersion, Lesson: lessonID})
	p.until(t, "a ready lab", func(m web.Message) bool { return m.Lab != nil && m.Lab.State == "ready" })
	return p
}

func (p *page) ask(t *testing.T, r web.Request) int {
	t.Helper()
	p.id++
	r.ID = p.id
	if err := p.conn.WriteJSON(r); err != nil {
		t.Fatal(err)
	}
	return p.id
}

// until reads messages up to the one that is wanted.
func (p *page) until(t *testing.T, what string, wanted func(web.Message) bool) web.Message {
	t.Helper()
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case m, ok := <-p.in:
			if !ok {
				t.Fatalf("the connection ended before %s came", what)
			}
			if m.Error != nil && !(p.killed && m.Error.Code == "lost") {
				t.Fatalf("waiting for %s: %s: %s %s", what, m.Error.Code, m.Error.Text, m.Error.Do)
			}
			if m.Snapshot != nil {
				p.netns = nil
				for _, n := range m.Snapshot.Nodes {
					p.netns = append(p.netns, n.Netns)
				}
			}
			if wanted(m) {
				return m
			}
		case <-timeout:
			t.Fatalf("%s did not come in two minutes", what)
		}
	}
}

// amidStep takes the lab to the first step that pings, with a web server of
// the learner's own in the background, begins the step, and returns its id.
func (p *page) amidStep(t *testing.T) string {
	t.Helper()
	all, err := lessons.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.ID != lessonID {
			continue
		}
		for _, step := range l.Steps {
			if !slices.ContainsFunc(step.Commands, func(c lessons.Line) bool { return strings.HasPrefix(c.Text, "ping ") }) {
				continue
			}
			done := func(id int) func(web.Message) bool {
				return func(m web.Message) bool { return m.Done && m.ID == id }
			}
			p.until(t, "the step", done(p.ask(t, web.Request{Type: "goto", Step: step.ID})))
			p.until(t, "the web server", done(p.ask(t, web.Request{Type: "command", Node: "ns1", Text: "python3 -m http.server 9 &"})))
			p.ask(t, web.Request{Type: "run", Step: step.ID})
			p.until(t, "the step's first command", func(m web.Message) bool { return m.Begin != nil && m.Begin.Step == step.ID })
			return step.ID
		}
	}
	t.Fatalf("lesson %s has no step that pings", lessonID)
	return ""
}

var namespaces = []string{"net", "mnt", "pid", "user", "uts", "ipc", "cgroup"}

// remains are the traces of one lab that must vanish with it.
type remains struct {
	lab   int            // pid of its first process
	procs map[int]string // pid → when it began and what it is called
	ns    map[string]bool
	tmp   string
}

// remainsOf looks at what a server's lab is made of.
func remainsOf(t *testing.T, s *server, p *page) remains {
	t.Helper()
	r := remains{procs: map[int]string{}, ns: map[string]bool{}, tmp: s.tmp}
	all := processes()
	own := map[string]bool{}
	for _, kind := range namespaces {
		own[namespaceOf("self", kind)] = true
	}
	for pid := range all {
		if !descends(all, pid, s.cmd.Process.Pid) {
			continue
		}
		r.procs[pid] = all[pid].name
		for _, kind := range namespaces {
			if ns := namespaceOf(strconv.Itoa(pid), kind); ns != "" && !own[ns] {
				r.ns[ns] = true
			}
		}
		if all[pid].parent == s.cmd.Process.Pid {
			r.lab = pid
		}
	}
	for _, inode := range p.netns {
		r.ns[fmt.Sprintf("net:[%d]", inode)] = true
	}
	// The lab's first process, and the server in the background.
	if len(r.procs) < 2 || len(r.ns) < len(namespaces) || len(p.netns) < 4 {
		t.Fatalf("this is no lab: processes %v, namespaces %v, nodes %v", r.procs, r.ns, p.netns)
	}
	return r
}

// check waits a little, for the kernel takes things back in the background.
func (r remains) check(t *testing.T) {
	t.Helper()
	var left []string
	deadline := time.Now().Add(time.Minute)
	for {
		left = nil
		for pid, p := range processes() {
			if r.procs[pid] == p.name {
				left = append(left, fmt.Sprintf("process %d %s", pid, p.name))
			}
			for _, kind := range namespaces {
				if ns := namespaceOf(strconv.Itoa(pid), kind); r.ns[ns] {
					left = append(left, fmt.Sprintf("namespace %s of process %d %s", ns, pid, p.name))
				}
			}
			mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid)) // it may be gone
			for ns := range r.ns {
				if strings.Contains(string(mounts), " "+ns+" ") {
					left = append(left, fmt.Sprintf("namespace %s, mounted where process %d sees it", ns, pid))
				}
			}
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left after a minute:\n  %s", strings.Join(left, "\n  "))
		}
		time.Sleep(20 * time.Millisecond)
	}
	files, err := os.ReadDir(r.tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Errorf("left in the server's TMPDIR: %s", f.Name())
	}
}

type process struct {
	parent int
	name   string // with its starting time, for pids are used again
}

func processes() map[int]process {
	all := map[int]process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, f := range files {
		stat, err := os.ReadFile(f)
		if err != nil {
			continue // it ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			continue
		}
		// proc_pid_stat(5): pid (comm) state ppid … starttime is the 22nd field.
		end := strings.LastIndexByte(string(stat), ')')
		fields := strings.Fields(string(stat[end+1:]))
		if len(fields) < 20 || fields[0] == "Z" && fields[1] != strconv.Itoa(os.Getpid()) {
			continue // a zombie holds nothing; whoever began it has yet to look
		}
		parent, _ := strconv.Atoi(fields[1]) // the kernel writes a number
		all[pid] = process{parent, string(stat[strings.IndexByte(string(stat), '('):end+1]) + " begun at " + fields[19]}
	}
	return all
}

func descends(all map[int]process, pid, from int) bool {
	for p, ok := all[pid]; ok; p, ok = all[p.parent] {
		if p.parent == from {
			return true
		}
	}
	return false
}

func namespaceOf(pid, kind string) string {
	ns, _ := os.Readlink("/proc/" + pid + "/ns/" + kind) // gone, or not ours to see
	return ns
}

// machine is what a lab must not touch: the machine's own links, rules and the
// places where network tools leave files.
type machine struct{ links, tables, files []string }

func machineState(t *testing.T) machine {
	t.Helper()
	var m machine
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		m.links = append(m.links, fmt.Sprintf("%d %s %s", l.Attrs().Index, l.Attrs().Name, l.Type()))
	}
	if os.Getuid() == 0 {
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		tables, err := c.ListTables()
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range tables {
			m.tables = append(m.tables, fmt.Sprint(x.Family, " ", x.Name))
		}
		legacy, err := os.ReadFile("/proc/net/ip_tables_names")
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(string(legacy)) {
			m.tables = append(m.tables, "legacy "+name)
		}
	}
	for _, dir := range []string{"/run/netns", "/run/lock", "/run/docker/netns"} {
		files, _ := os.ReadDir(dir) // it need not exist
		for _, f := range files {
			m.files = append(m.files, filepath.Join(dir, f.Name()))
		}
	}
	return m
}

func (m machine) check(t *testing.T) {
	t.Helper()
	now := machineState(t)
	for _, x := range []struct {
		what        string
		before, now []string
	}{{"links", m.links, now.links}, {"tables of rules", m.tables, now.tables}, {"files", m.files, now.files}} {
		if !slices.Equal(x.before, x.now) {
			t.Errorf("the machine's %s changed from %q to %q", x.what, x.before, x.now)
		}
	}
}
