//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"vethlab/assets"
	"vethlab/exec"
	"vethlab/lessons"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/web"
)

// From the kernel's timestamp of a sighting to the message that holds it at a
// page's WebSocket, while packets cross the LAN of the world docker-host from
// internet to host: two sightings and a journey each. Everything runs on this
// machine: the sender, the lab, the server and the page. The ratio is to the
// median at 10 packets a second.
func BenchmarkPacketToPage(b *testing.B) {
	for b.Loop() {
		base := 0.0
		for _, rate := range []int{10, 1000, 10000} {
			b.Run(fmt.Sprintf("%dpps", rate), func(b *testing.B) {
				for b.Loop() {
					late, dropped := packetsToPage(b, rate)
					median, p99 := late[len(late)/2], late[len(late)*99/100]
					if base == 0 {
						base = median
					}
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(median*1000, "µs-median")
					b.ReportMetric(p99*1000, "µs-p99")
					b.ReportMetric(median/base, "×median-at-10pps")
					b.ReportMetric(p99/base, "×p99-to-that")
					arrived := float64(len(late)) * 100 / float64(2*rate*int(sending.Seconds()))
					b.ReportMetric(arrived, "%arrived")
					b.ReportMetric(float64(dropped), "told-dropped")
					b.Logf("to the page: %.1f times the median at 10 packets a second, at %d: %.1f ms from the kernel's timestamp to the page, 99 of 100 within %.1f; %.0f %% arrived, and %d were told as dropped",
						median/base, rate, median, p99, arrived, dropped)
				}
			})
		}
	}
}

// sending is for how long packets are sent.
const sending = 2 * time.Second

// packetsToPage returns how late each sighting was, in milliseconds, sorted.
func packetsToPage(b *testing.B, rate int) (late []float64, dropped uint64) {
	b.Helper()
	var lab *exec.Lab
	lesson, err := lessons.Load(lessonID)
	if err != nil {
		b.Fatal(err)
	}
	srv, err := web.New(web.Config{Lessons: []*lessons.Lesson{lesson}, Assets: assets.FS})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Close()
	srv.Use(web.Backend{Name: onKernel, Open: func(ctx context.Context, w op.World) (lessons.Backend, error) {
		l, err := exec.Open(ctx, w)
		lab = l
		return l, err
	}})
	hs := httptest.NewServer(srv)
	defer hs.Close()
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(hs.URL, "http")+"/ws", http.Header{"Origin": {hs.URL}})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if err := conn.WriteJSON(web.Request{ID: 1, Type: "open", V: web.ProtocolVersion, Lesson: lessonID}); err != nil {
		b.Fatal(err)
	}
	for {
		var m web.Message
		if err := conn.ReadJSON(&m); err != nil {
			b.Fatal(err)
		}
		if m.Error != nil {
			b.Fatal(m.Error.Text)
		}
		if m.Type == "done" {
			break
		}
	}

	sender := inNode(b, lab, "10.24.254.1/24")
	send := osexec.Command("nsenter", "--preserve-credentials", "--user", "--net", "--target", sender, "--",
		executable(b), packetSender, "10.24.254.11:9", strconv.Itoa(rate), sending.String())
	if out, err := send.StderrPipe(); err != nil || send.Start() != nil {
		b.Fatal(err, out)
	}
	defer send.Wait()

	// Only what a page needs to take out of a message, and when it came.
	conn.SetReadDeadline(time.Now().Add(sending + 3*time.Second))
	for {
		_, body, err := conn.ReadMessage()
		now := time.Now().UnixNano()
		if err != nil {
			break // nothing came for a while
		}
		var m struct {
			Packets []struct {
				At     int64
				Header struct{ Proto string }
			}
			Dropped uint64
		}
		if err := json.Unmarshal(body, &m); err != nil {
			b.Fatal(err)
		}
		dropped += m.Dropped
		for _, p := range m.Packets {
			if p.Header.Proto == "udp" {
				late = append(late, float64(now-p.At)/1e6)
			}
		}
	}
	if len(late) < rate {
		b.Fatalf("only %d sightings reached the page", len(late))
	}
	slices.Sort(late)
	return late, dropped
}

// inNode finds a process of the lab in the network namespace that has an address.
func inNode(b *testing.B, lab *exec.Lab, prefix string) (pid string) {
	b.Helper()
	all := processes()
	for p := range all {
		if p == lab.Pid() || !descends(all, p, lab.Pid()) {
			continue
		}
		pid := strconv.Itoa(p)
		out, _ := osexec.Command("nsenter", "--preserve-credentials", "--user", "--net", "--target", pid, "--", "ip", "-o", "addr").Output()
		if strings.Contains(string(out), prefix) {
			return pid
		}
	}
	b.Fatalf("no process of the lab has %s", prefix)
	return ""
}

func executable(b *testing.B) string {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	return self
}

// What the lesson builds before it takes it down again, once through vethlab
// and once as a shell script of the same commands, each from nothing: the
// namespaces around it, the world docker-host, and the steps' changes. Servers
// are left out of both.
func BenchmarkBuild(b *testing.B) {
	lesson, err := lessons.Load(lessonID)
	if err != nil {
		b.Fatal(err)
	}
	_, end := lesson.Step("delete")
	var steps []*lessons.Step
	for i := range lesson.Steps[:end] {
		steps = append(steps, &lesson.Steps[i])
	}
	world := lesson.Start
	world.Setup = slices.DeleteFunc(slices.Clone(world.Setup), func(l op.Line) bool { return isServer(l.Op) })

	// What the steps come to, to be written as a script.
	note := &noted{}
	lab, err := openKernel(context.Background(), world)
	if err != nil {
		b.Fatal(err)
	}
	note.Backend = lab
	if err := lessons.Replay(context.Background(), note, steps); err != nil {
		b.Fatal(err)
	}
	lab.Close()
	script := asScript(world, note.lines)

	const rounds = 15
	var ours, theirs []float64
	for b.Loop() {
		for range rounds {
			begin := time.Now()
			lab, err := openKernel(context.Background(), world)
			if err != nil {
				b.Fatal(err)
			}
			for _, l := range note.lines {
				if res, err := lab.Apply(context.Background(), l.Node, l.Op); err != nil || res.Failure != nil {
					b.Fatal(l.Op, err, res.Failure)
				}
			}
			ours = append(ours, time.Since(begin).Seconds()*1000)
			lab.Close()
			time.Sleep(150 * time.Millisecond) // the kernel takes the old lab back meanwhile

			sh := osexec.Command("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--mount-proc", "bash", "-eu")
			sh.Stdin = strings.NewReader(script)
			begin = time.Now()
			out, err := sh.CombinedOutput()
			if err != nil {
				b.Fatalf("the script: %v\n%s\n%s", err, out, script)
			}
			theirs = append(theirs, time.Since(begin).Seconds()*1000)
			time.Sleep(150 * time.Millisecond)
		}
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	us, them := ours[len(ours)/2], theirs[len(theirs)/2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(us, "ms-vethlab")
	b.ReportMetric(them, "ms-script")
	b.ReportMetric(us/them, "vethlab/script")
	b.Logf("building: %.2f times as long as a shell script of the same commands: what the first lesson builds takes %.0f ms, and as a script %.0f", us/them, us, them)
}

func isServer(o op.Op) bool {
	switch o.(type) {
	case op.HTTPServe, op.DNSServe:
		return true
	}
	return false
}

// noted is a lab that notes what changes it.
type noted struct {
	lessons.Backend
	lines []op.Line
}

func (n *noted) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	if isServer(o) {
		return op.Result{}, nil
	}
	n.lines = append(n.lines, op.Line{Node: node, Op: o})
	return n.Backend.Apply(ctx, node, o)
}

// asScript writes a world and what is done in it as somebody at a shell would,
// each node a named namespace.
func asScript(w op.World, lines []op.Line) string {
	var s strings.Builder
	s.WriteString("mount -t tmpfs none /run\n")
	for _, n := range w.Nodes {
		fmt.Fprintf(&s, "ip netns add %s\n", n.Name)
		if n.Kind == state.Machine {
			fmt.Fprintf(&s, "ip -n %s link set lo up\n", n.Name)
		}
	}
	for _, l := range append(slices.Clone(w.Setup), lines...) {
		text := l.Op.String()
		switch words, isIP := strings.CutPrefix(text, "ip "); {
		case strings.HasPrefix(text, "ip netns "):
			fmt.Fprintln(&s, text)
		case isIP:
			fmt.Fprintf(&s, "ip -n %s %s\n", l.Node, words)
		default:
			fmt.Fprintf(&s, "ip netns exec %s %s >/dev/null\n", l.Node, text)
		}
	}
	return s.String()
}
