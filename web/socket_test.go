package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"vethlab/lessons"
	"vethlab/lessons/labtest"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// pageConn is a browser's page as the server sees it.
type pageConn struct {
	*websocket.Conn
	cookie string
	lastID int
}

// dial connects with the cookie of another page, if given.
func dial(t *testing.T, hs *httptest.Server, sibling *pageConn) *pageConn {
	t.Helper()
	h := http.Header{"Origin": {hs.URL}}
	if sibling != nil {
		h.Set("Cookie", sibling.cookie)
	}
	conn, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(hs.URL, "http")+"/ws", h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &pageConn{Conn: conn}
	if sibling != nil {
		p.cookie = sibling.cookie
	} else {
		p.cookie, _, _ = strings.Cut(resp.Header.Get("Set-Cookie"), ";")
	}
	if m := p.read(t); m.Type != "hello" || m.Hello.V != ProtocolVersion {
		t.Fatalf("the first message is %+v, want hello", m)
	}
	return p
}

func (p *pageConn) read(t *testing.T) Message {
	t.Helper()
	p.SetReadDeadline(time.Now().Add(30 * time.Second))
	var m Message
	if err := p.ReadJSON(&m); err != nil {
		t.Fatalf("reading: %v", err)
	}
	return m
}

// ask sends a request and returns its ID.
func (p *pageConn) ask(t *testing.T, r Request) int {
	t.Helper()
	p.lastID++
	r.ID = p.lastID
	if err := p.WriteJSON(r); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// until reads to the message for which ok holds, and returns all it read.
func (p *pageConn) until(t *testing.T, ok func(Message) bool) []Message {
	t.Helper()
	var all []Message
	for {
		m := p.read(t)
		all = append(all, m)
		if ok(m) {
			return all
		}
	}
}

func ends(id int) func(Message) bool {
	return func(m Message) bool { return m.ID == id && (m.Type == "done" || m.Type == "error") }
}

func last(all []Message) Message { return all[len(all)-1] }

// do asks, and reads until the request has ended.
func (p *pageConn) do(t *testing.T, r Request) []Message {
	t.Helper()
	return p.until(t, ends(p.ask(t, r)))
}

func (p *pageConn) open(t *testing.T) []Message {
	t.Helper()
	all := p.do(t, Request{Type: "open", V: ProtocolVersion, Lesson: "test"})
	if last(all).Type != "done" {
		t.Fatalf("open: %s", sum(last(all)))
	}
	return all
}

// sum puts a message in a few words.
func sum(m Message) string {
	s := m.Type
	switch {
	case m.Lab != nil:
		s += " " + m.Lab.State
	case m.Begin != nil:
		s += " " + m.Begin.Text
	case m.Command != nil:
		s += fmt.Sprintf(" %s = %d", m.Command.Text, m.Command.Status)
	case m.Step != nil:
		s += " " + m.Step.ID + " " + m.Step.State
	case m.Error != nil:
		s += " " + m.Error.Code
		if m.Error.Text == "" || m.Error.Do == "" {
			s += " without words"
		}
	}
	return s
}

// sums leaves snapshots out: when they come is a matter of time.
func sums(all []Message) []string {
	var s []string
	for _, m := range all {
		if m.Type != "snapshot" {
			s = append(s, sum(m))
		}
	}
	return s
}

func TestWebSocketOrigin(t *testing.T) {
	hs, _, _ := start(t, nil)
	host := strings.TrimPrefix(hs.URL, "http://")
	for _, c := range []struct {
		origin, host string
		proto        string
		want         bool
	}{
		{"http://" + host, host, "", true},
		{"http://localhost:1", "localhost:1", "", true},
		{"https://localhost", "localhost", "https", true}, // behind a proxy that ends TLS
		{"https://" + host, host, "", false},
		{"http://localhost", "localhost", "https", false},
		{"", host, "", false},
		{"null", host, "", false},
		{"http://evil.example", host, "", false},
		{"http://127.0.0.1:1", host, "", false}, // another server on this machine
		{"http://localhost" + host[strings.LastIndex(host, ":"):], host, "", false},
		{"http://evil.example:1", "evil.example:1", "", false}, // rebound
	} {
		h := http.Header{}
		if c.origin != "" {
			h.Set("Origin", c.origin)
		}
		if c.proto != "" {
			h.Set("X-Forwarded-Proto", c.proto)
		}
		h.Set("Host", c.host)
		conn, resp, err := websocket.DefaultDialer.Dial("ws://"+host+"/ws", h)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != c.want {
			t.Errorf("Origin %q for Host %q: connected %v, want %v", c.origin, c.host, err == nil, c.want)
		}
		if err != nil && resp.StatusCode != http.StatusForbidden {
			t.Errorf("Origin %q for Host %q: status %d, want 403", c.origin, c.host, resp.StatusCode)
		}
	}
}

func TestCookie(t *testing.T) {
	hs, s, _ := start(t, nil)
	if c := get(t, s, "/", nil).Header.Get("Set-Cookie"); c != "" {
		t.Errorf("the page itself sets %q; it would take the lab of a learner who follows a link", c)
	}
	h := http.Header{"Origin": {hs.URL}}
	url := "ws" + strings.TrimPrefix(hs.URL, "http") + "/ws"
	conn, resp, err := websocket.DefaultDialer.Dial(url, h)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	cookies := resp.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("cookies %v, want one", cookies)
	}
	c := cookies[0]
	if len(c.Value) != 32 || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
		t.Errorf("cookie %q, want 128 bits in hex, HttpOnly, SameSite=Strict, Path=/", resp.Header.Get("Set-Cookie"))
	}
	for value, again := range map[string]bool{c.Value: false, "x": true, strings.Repeat("z", 32): true} {
		h.Set("Cookie", c.Name+"="+value)
		conn, resp, err := websocket.DefaultDialer.Dial(url, h)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if got := resp.Header.Get("Set-Cookie") != ""; got != again {
			t.Errorf("with the cookie %q: a new one %v, want %v", value, got, again)
		}
	}
}

// What a page asks, and what it is answered, word for word.
func TestProtocol(t *testing.T) {
	run := func(step string) Request { return Request{Type: "run", Step: step} }
	for _, c := range []struct {
		name string
		do   []Request
		want []string // of the last request
	}{
		{"run", []Request{run("one")}, []string{"lab running", "begin ip netns add ns1", "command ip netns add ns1 = 0",
			"begin ping -c 1 10.0.0.1", "command ping -c 1 10.0.0.1 = 0", "step one done", "lab ready", "done"}},
		{"twice", []Request{run("one"), run("one")}, []string{"error already-run"}},
		{"too early", []Request{run("two")}, []string{"error out-of-order"}},
		{"unknown step", []Request{run("nix")}, []string{"error unknown-step"}},
		{"again", []Request{run("one"), {Type: "again", Step: "one"}}, []string{"lab rebuilding", "lab running", "begin ip netns add ns1",
			"command ip netns add ns1 = 0", "begin ping -c 1 10.0.0.1", "command ping -c 1 10.0.0.1 = 0", "step one done", "lab ready", "done"}},
		{"back", []Request{run("one"), {Type: "goto", Step: "one"}}, []string{"lab rebuilding", "lab ready", "lab ready", "done"}},
		{"forward", []Request{{Type: "goto", Step: "two", Done: true}}, []string{"lab rebuilding", "lab ready", "lab ready", "done"}},
		{"rebuild", []Request{run("one"), {Type: "rebuild"}}, []string{"lab rebuilding", "lab ready", "done"}},
		{"predict", []Request{{Type: "predict", Step: "two", Option: "a"}}, []string{"lab ready", "done"}},
		{"no such option", []Request{{Type: "predict", Step: "two", Option: "x"}}, []string{"error unknown-option"}},
		{"own command", []Request{{Type: "command", Node: "host", Text: "ip netns add own"}}, []string{"lab running", "begin ip netns add own",
			"command ip netns add own = 0", "lab ready", "done"}},
		{"own command fails", []Request{{Type: "command", Node: "host", Text: "false"}}, []string{"lab running", "begin false",
			"command false = 1", "lab ready", "done"}},
		{"unknown node", []Request{{Type: "command", Node: "nix", Text: "true"}}, []string{"error unknown-node"}},
		{"nothing to stop", []Request{{Type: "stop"}}, []string{"done"}},
		{"unknown lesson", []Request{{Type: "open", V: ProtocolVersion, Lesson: "nix"}}, []string{"error unknown-lesson"}},
		{"old page", []Request{{Type: "open", V: ProtocolVersion + 1, Lesson: "test"}}, []string{"error version"}},
		{"joined twice", []Request{{Type: "open", V: ProtocolVersion, Lesson: "test"}}, []string{"lab ready", "done"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			hs, _, _ := start(t, nil)
			p := dial(t, hs, nil)
			if got, want := sums(p.open(t)), []string{"lab none", "lab starting", "lab ready", "done"}; !slices.Equal(got, want) {
				t.Fatalf("open told %q, want %q", got, want)
			}
			var all []Message
			for _, r := range c.do {
				all = p.do(t, r)
			}
			if got := sums(all); !slices.Equal(got, c.want) {
				t.Errorf("told %q\nwant %q", got, c.want)
			}
			for _, m := range all {
				if m.ID != p.lastID && !(c.name == "predict" && m.Type == "lab") {
					t.Errorf("%s carries ID %d, want %d", sum(m), m.ID, p.lastID)
				}
			}
		})
	}
}

func TestNotOpen(t *testing.T) {
	hs, _, _ := start(t, nil)
	p := dial(t, hs, nil)
	if got := sum(last(p.do(t, Request{Type: "run", Step: "one"}))); got != "error not-open" {
		t.Errorf("%s, want error not-open", got)
	}
}

func TestStepMessage(t *testing.T) {
	hs, _, _ := start(t, nil)
	p := dial(t, hs, nil)
	p.open(t)
	p.do(t, Request{Type: "run", Step: "one"})
	p.do(t, Request{Type: "predict", Step: "two", Option: "b"})
	for _, m := range p.do(t, Request{Type: "run", Step: "two"}) {
		switch m.Type {
		case "command":
			if m.Command.Index == 1 && len(m.Command.Traces) != 1 {
				t.Errorf("the ping has %d traces, want 1", len(m.Command.Traces))
			}
		case "step":
			if m.Step.Guess != "b" || len(m.Step.Commands) != 2 || m.Step.Commands[1].Index != 1 || m.Step.Commands[1].Step != "two" {
				t.Errorf("step %+v", m.Step)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	hs, _, _ := start(t, nil)
	p := dial(t, hs, nil)
	for _, c := range []struct {
		kind int
		text string
		want string
		id   int
	}{
		{websocket.TextMessage, `{"type":`, "no JSON", 0},
		{websocket.TextMessage, `{"type":"run"} {}`, "no JSON", 0},
		{websocket.TextMessage, ``, "no JSON", 0},
		{websocket.TextMessage, `[]`, "a JSON array", 0},
		{websocket.TextMessage, `{"id":7,"type":3}`, `"type" holds a JSON number`, 7},
		{websocket.TextMessage, `{"id":"7","type":"run"}`, `"id" holds a JSON string`, 0},
		{websocket.TextMessage, `{"id":7}`, "no type", 7},
		{websocket.TextMessage, `{"id":7,"type":"dance"}`, `"dance"`, 7},
		{websocket.TextMessage, `{"id":7,"type":"run"}`, `needs "step"`, 7},
		{websocket.TextMessage, `{"id":7,"type":"open"}`, `needs "lesson"`, 7},
		{websocket.TextMessage, `{"id":7,"type":"predict","step":"two"}`, `needs "option"`, 7},
		{websocket.TextMessage, `{"id":7,"type":"command","text":"ls"}`, `needs "node"`, 7},
		{websocket.BinaryMessage, `{"id":7,"type":"run"}`, "binary", 0},
	} {
		if err := p.WriteMessage(c.kind, []byte(c.text)); err != nil {
			t.Fatal(err)
		}
		m := p.read(t)
		if m.Type != "error" || m.ID != c.id || m.Error.Code != "bad-message" || !strings.Contains(m.Error.Text, c.want) || m.Error.Do == "" {
			t.Errorf("%s: answered %d %+v, want bad-message with %q and ID %d", c.text, m.ID, m.Error, c.want, c.id)
		}
	}
	p.open(t) // the connection is as good as before
}

func TestTooLongAMessage(t *testing.T) {
	hs, _, _ := start(t, nil)
	p := dial(t, hs, nil)
	p.ask(t, Request{Type: "command", Node: "host", Text: strings.Repeat("x", maxMessage)})
	p.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, _, err := p.ReadMessage()
	if !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("reading: %v, want close 1009", err)
	}
	dial(t, hs, nil).open(t)
}

// busyPage is a page whose lab is in the middle of step "slow", and the ID of
// that request.
func busyPage(t *testing.T, hs *httptest.Server) (*pageConn, int) {
	t.Helper()
	p := dial(t, hs, nil)
	p.open(t)
	p.do(t, Request{Type: "goto", Step: "slow"})
	id := p.ask(t, Request{Type: "run", Step: "slow"})
	p.until(t, func(m Message) bool { return m.Type == "begin" && m.Begin.Text == "sleep 1000" })
	return p, id
}

func TestBusyAndStop(t *testing.T) {
	hs, _, _ := start(t, nil)
	p, slow := busyPage(t, hs)
	for _, r := range []Request{{Type: "run", Step: "slow"}, {Type: "again", Step: "one"}, {Type: "goto", Step: "one"}, {Type: "rebuild"},
		{Type: "command", Node: "host", Text: "true"}} {
		if got := sum(last(p.do(t, r))); got != "error busy" {
			t.Errorf("%s while a step runs: %s, want error busy", r.Type, got)
		}
	}
	stop := p.ask(t, Request{Type: "stop"})
	var stopped, ended bool
	all := p.until(t, func(m Message) bool {
		stopped = stopped || m.ID == stop && m.Type == "done"
		ended = ended || m.ID == slow && m.Type == "error" && m.Error.Code == "stopped"
		return stopped && ended
	})
	if !slices.Contains(sums(all), "step slow broken") {
		t.Errorf("told %q, want the step to be broken", sums(all))
	}
	if got := sum(last(p.do(t, Request{Type: "command", Node: "host", Text: "true"}))); got != "done" {
		t.Errorf("after stop: %s, want the lab to be usable", got)
	}
}

// Requests that arrive together are still taken in order.
func TestRequestsInOrder(t *testing.T) {
	hs, _, _ := start(t, nil)
	p := dial(t, hs, nil)
	p.open(t)
	for range 20 {
		run := p.ask(t, Request{Type: "command", Node: "host", Text: "sleep 1000"})
		p.ask(t, Request{Type: "stop"})
		all := p.until(t, ends(run))
		if !slices.Contains(sums(all), "command sleep 1000 = 130") || last(all).Type != "done" {
			t.Fatalf("told %q, want the command to end with status 130", sums(all))
		}
	}
}

func TestTwoTabs(t *testing.T) {
	hs, _, labs := start(t, nil)
	a := dial(t, hs, nil)
	a.open(t)
	a.do(t, Request{Type: "run", Step: "one"})
	b := dial(t, hs, a)
	all := b.open(t)
	if n := len(labs.Made()); n != 1 {
		t.Fatalf("%d labs were made, want one for both pages", n)
	}
	if l := all[0].Lab; l == nil || len(l.Steps) != 1 || l.Steps[0].ID != "one" || len(l.Steps[0].Commands) != 2 || l.Next != "two" || l.Tabs != 2 || l.Variant != "nf_tables" {
		t.Errorf("the second page was told %+v, want all that was done", l)
	}
	if !slices.ContainsFunc(all, func(m Message) bool { return m.Snapshot != nil && m.Snapshot.Node("ns1") != nil }) {
		t.Error("the second page was told no snapshot")
	}
	if m := last(a.until(t, func(m Message) bool { return m.Type == "lab" })); m.Lab.Tabs != 2 || m.ID != 0 {
		t.Errorf("the first page was told %+v, want two tabs", m.Lab)
	}

	id := b.ask(t, Request{Type: "run", Step: "two"})
	seenB := b.until(t, ends(id))
	seenA := a.until(t, func(m Message) bool { return m.Type == "lab" && m.Lab.State == "ready" })
	for _, m := range seenA {
		if m.ID != 0 {
			t.Errorf("the page that did not ask got %s with ID %d", sum(m), m.ID)
		}
	}
	if got, want := sums(seenA), sums(seenB[:len(seenB)-1]); !slices.Equal(got, want) {
		t.Errorf("the first page saw %q, the second %q", got, want)
	}

	c := dial(t, hs, nil) // another browser
	c.open(t)
	if n := len(labs.Made()); n != 2 {
		t.Errorf("%d labs, want another for another browser", n)
	}
	b.Close()
	a.until(t, func(m Message) bool { return m.Type == "lab" && m.Lab.Tabs == 1 })
}

func TestLostLabAndRebuild(t *testing.T) {
	hs, _, labs := start(t, nil)
	p, slow := busyPage(t, hs)
	labs.Last().Kill()
	all := p.until(t, ends(slow))
	if got := sum(last(all)); got != "error lost" {
		t.Errorf("the step ended with %s, want error lost", got)
	}
	i := slices.IndexFunc(all, func(m Message) bool { return m.Lab != nil && m.Lab.State == "lost" })
	if i < 0 || !strings.Contains(all[i].Lab.Text, "killed") {
		t.Errorf("told %q, want a lab that is lost and why", sums(all))
	}
	all = p.do(t, Request{Type: "rebuild"})
	l := all[len(all)-2].Lab
	if l == nil || l.State != "ready" || l.Next != "slow" || len(l.Steps) != 3 || l.Steps[2].State != "broken" {
		t.Errorf("after the rebuild: %+v, want the same step", l)
	}
	if got, want := labs.Last().Done(), []string{"host# ip netns add ns1", "host# ip netns add ns2"}; !slices.Equal(got, want) {
		t.Errorf("the new lab did %q, want %q", got, want)
	}
}

func TestNoKernel(t *testing.T) {
	s, err := New(Config{Assets: pageFiles, Lessons: []*lessons.Lesson{labtest.Lesson()}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	hs := httptest.NewServer(s)
	defer hs.Close()
	time.AfterFunc(20*time.Millisecond, func() {
		s.Use(Backend{Name: "none", Reason: "no user namespaces", Fix: "sysctl -w user.max_user_namespaces=1000"})
	})
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(hs.URL, "http")+"/ws", http.Header{"Origin": {hs.URL}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &pageConn{Conn: conn}
	if h := p.read(t).Hello; h == nil || h.Backend != "none" || h.Reason != "no user namespaces" || h.Fix == "" {
		t.Errorf("hello %+v, want why and what to do", h)
	}
	if got := sum(last(p.do(t, Request{Type: "open", V: ProtocolVersion, Lesson: "test"}))); got != "error no-kernel" {
		t.Errorf("open: %s, want error no-kernel", got)
	}
}

func TestTooManyLabs(t *testing.T) {
	hs, _, _ := start(t, func(c *Config) { c.MaxLabs, c.Idle = 2, 50*time.Millisecond })
	a, b, c := dial(t, hs, nil), dial(t, hs, nil), dial(t, hs, nil)
	a.open(t)
	b.open(t)
	open := Request{Type: "open", V: ProtocolVersion, Lesson: "test"}
	if m := last(c.do(t, open)); sum(m) != "error too-many-labs" || !strings.Contains(m.Error.Do, "--max-labs 4") {
		t.Errorf("the third lab: %s %+v, want error too-many-labs and the flag", sum(m), m.Error)
	}
	dial(t, hs, a).open(t) // a second page needs no further lab
	b.Close()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if sum(last(c.do(t, open))) == "done" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the lab nobody looks at was not given back")
		}
	}
}

func TestTooManyPages(t *testing.T) {
	hs, _, _ := start(t, func(c *Config) { c.MaxLabs = 2 })
	open := Request{Type: "open", V: ProtocolVersion, Lesson: "test"}
	a := dial(t, hs, nil)
	a.open(t)
	for range maxPages - 1 {
		dial(t, hs, a).open(t)
	}
	if m := last(dial(t, hs, a).do(t, open)); sum(m) != "error too-many-pages" {
		t.Errorf("page %d of a lab: %s", maxPages+1, sum(m))
	}
	for range maxPages - 1 {
		dial(t, hs, nil)
	}
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(hs.URL, "http")+"/ws", http.Header{"Origin": {hs.URL}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, _, err = conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseTryAgainLater) {
		t.Errorf("page %d of the server: %v", 2*maxPages+1, err)
	}
}

// However many browsers come and go, so many labs are remembered, and no more.
func TestForgetsOldestRoom(t *testing.T) {
	hs, s, _ := start(t, func(c *Config) { c.MaxLabs, c.Idle = 1, time.Millisecond })
	for i := range maxRooms + 5 {
		p := dial(t, hs, nil)
		for end := time.Now().Add(30 * time.Second); sum(last(p.do(t, Request{Type: "open", V: ProtocolVersion, Lesson: "test"}))) != "done"; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("browser %d got no lab", i)
			}
		}
		p.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rooms) > maxRooms {
		t.Errorf("%d labs are remembered, want %d", len(s.rooms), maxRooms)
	}
}

// A lab without a page goes to sleep, and a page that comes back finds it as it
// was; one that nobody comes back to is forgotten.
func TestIdle(t *testing.T) {
	hs, s, labs := start(t, func(c *Config) { c.Idle = 20 * time.Millisecond })
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited in vain until %s", what)
			}
		}
	}
	a := dial(t, hs, nil)
	a.open(t)
	a.do(t, Request{Type: "run", Step: "one"})
	time.Sleep(60 * time.Millisecond)
	if labs.Last().Closed() {
		t.Fatal("the lab was closed under an open page")
	}
	a.Close()
	wait("the lab is closed", labs.Last().Closed)
	b := dial(t, hs, a)
	b.open(t)
	if got, want := labs.Last().Done(), []string{"host# ip netns add ns1"}; len(labs.Made()) != 2 || !slices.Equal(got, want) {
		t.Errorf("the lab that came back did %q, want %q", got, want)
	}
	s.mu.Lock()
	s.cfg.Forget = 20 * time.Millisecond
	s.mu.Unlock()
	b.Close()
	wait("the room is forgotten", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.rooms) == 0 && s.awake == 0
	})
}

// Live events reach the page; snapshots are thinned out, and the last one comes.
func TestLive(t *testing.T) {
	hs, _, labs := start(t, nil)
	p := dial(t, hs, nil)
	p.open(t)
	lab := labs.Last()
	lab.Tell(op.Event{Packets: []trace.Packet{{Seq: 1, Node: "host", Summary: "<b>"}}, Dropped: 3})
	lab.Tell(op.Event{Trace: &trace.Trace{ID: "t9"}})
	for i := range 50 {
		lab.Tell(op.Event{Snapshot: &state.Snapshot{Version: i}})
	}
	var snapshots, dropped int
	var journey string
	p.until(t, func(m Message) bool {
		dropped += int(m.Dropped)
		if m.Trace != nil {
			journey = m.Trace.ID
		}
		if m.Snapshot != nil {
			snapshots++
		}
		return m.Snapshot != nil && m.Snapshot.Version == 49
	})
	if snapshots > 25 || dropped != 3 || journey != "t9" {
		t.Errorf("%d snapshots of 50, %d dropped, trace %q; want few, 3 and t9", snapshots, dropped, journey)
	}
}

// A page that does not read holds up neither the lab nor another page; it loses
// sightings, which are counted, but no journey.
func TestSlowPage(t *testing.T) {
	hs, _, labs := start(t, nil)
	slow := dial(t, hs, nil)
	slow.NetConn().(*net.TCPConn).SetReadBuffer(256 << 10)
	slow.open(t)
	quick := dial(t, hs, slow)
	quick.open(t)
	lab := labs.Last()

	const n, per = 300, 50 // 15 MB: more than the sockets and the queue hold
	got := make(chan [3]int, 1)
	go func() { got <- count(quick, n) }()
	begin := time.Now()
	for i := range n {
		packets := make([]trace.Packet, per)
		for j := range packets {
			packets[j] = trace.Packet{Seq: uint64(i*per + j + 1), Node: "host", Dev: "eth0", Summary: strings.Repeat("x", 1000)}
		}
		lab.Tell(op.Event{Packets: packets})
		if i%10 == 0 {
			lab.Tell(op.Event{Trace: &trace.Trace{ID: fmt.Sprint("t", i)}})
		}
	}
	lab.Tell(op.Event{Trace: &trace.Trace{ID: "end"}})
	if took := time.Since(begin); took > writeWait*8/10 {
		t.Errorf("telling took %v: the slow page holds up the lab", took)
	}
	select {
	case c := <-got:
		if c[0]+c[1] != n*per || c[2] != n/10 {
			t.Errorf("the quick page got %d sightings, %d dropped, %d journeys; want %d in all and %d", c[0], c[1], c[2], n*per, n/10)
		}
	case <-time.After(time.Minute):
		t.Fatal("the slow page holds up the quick one")
	}
	c := count(slow, n)
	if c[0]+c[1] != n*per || c[1] == 0 || c[2] != n/10 {
		t.Errorf("the slow page got %d sightings, %d dropped, %d journeys; want %d in all, some dropped, and %d", c[0], c[1], c[2], n*per, n/10)
	}
}

// count reads to the journey "end": sightings, dropped, journeys.
func count(p *pageConn, n int) (c [3]int) {
	p.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		var m Message
		_, b, err := p.ReadMessage()
		if err != nil || json.Unmarshal(b, &m) != nil {
			return c
		}
		c[0] += len(m.Packets)
		c[1] += int(m.Dropped)
		if m.Trace != nil {
			if m.Trace.ID == "end" {
				return c
			}
			c[2]++
		}
	}
}

func TestServerStops(t *testing.T) {
	hs, s, labs := start(t, nil)
	p, _ := busyPage(t, hs)
	s.Close()
	if !labs.Last().Closed() {
		t.Error("a lab outlived the server")
	}
	p.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		_, _, err := p.ReadMessage()
		if err == nil {
			continue
		}
		if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			t.Errorf("the page was told %v, want close 1001", err)
		}
		break
	}
	if _, err := s.room("x", "test", nil); err == nil || !errors.As(err, new(*lessons.Refusal)) {
		t.Errorf("a lab after the end: %v", err)
	}
}

// A page so far behind that messages it must have would pile up is told to
// connect again.
func TestQueueGivesUp(t *testing.T) {
	q := newQueue()
	q.put(make([]byte, maxBytes+1)) // whatever its size, one message may wait
	if body, ok := q.take(); !ok || len(body) != maxBytes+1 {
		t.Fatalf("took %d bytes, %v", len(body), ok)
	}
	for range 16 {
		q.put(make([]byte, maxBytes/16))
	}
	if _, ok := q.take(); !ok {
		t.Fatal("given up while everything fits")
	}
	q.put(make([]byte, maxBytes/8))
	if _, ok := q.take(); ok {
		t.Fatal("not given up")
	}
}

func TestQueueKeepsTheLastSnapshot(t *testing.T) {
	q := newQueue()
	q.putSnapshot([]byte("1"))
	q.put([]byte("step"))
	q.putSnapshot([]byte("2"))
	q.putPackets([]trace.Packet{{Seq: 1}}, 0)
	q.putPackets([]trace.Packet{{Seq: 2}}, 0)
	q.put([]byte("end"))
	var got []string
	for body, ok := q.take(); ok && body != nil; body, ok = q.take() {
		got = append(got, string(body))
	}
	if len(got) != 4 || got[0] != "step" || got[1] != "2" || strings.Count(got[2], "seq") != 2 || got[3] != "end" {
		t.Errorf("took %q; want the step, the later snapshot, both sightings in one message, the end", got)
	}
}

// Requests beyond the rate are answered later, not refused.
func TestRequestRate(t *testing.T) {
	hs, _, _ := start(t, nil)
	p := dial(t, hs, nil)
	begin := time.Now()
	const over = 10
	for range requestBurst + over {
		p.ask(t, Request{Type: "stop"})
	}
	all := p.until(t, ends(p.lastID))
	if len(all) != requestBurst+over {
		t.Errorf("%d answers to %d requests", len(all), requestBurst+over)
	}
	if took, least := time.Since(begin), time.Second*(over-2)/requestRate; took < least {
		t.Errorf("took %v, want at least %v", took, least)
	}
}
