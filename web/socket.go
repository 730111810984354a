package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"vethlab/lessons"
)

const (
	maxMessage = 64 << 10 // bytes of one Request
	writeWait  = 10 * time.Second
	pingEvery  = 25 * time.Second
	pongWait   = 60 * time.Second
	// A page that asks faster than this is read more slowly; nothing is lost.
	requestRate, requestBurst = 20, 60
	// maxPages is how many pages may be open on one lab, and, times MaxLabs, on
	// the server; maxRooms, times MaxLabs, how many labs it remembers, most of
	// them asleep.
	maxPages, maxRooms = 20, 10
)

// client is one page's connection. serve reads, write writes.
type client struct {
	srv     *Server
	learner string
	conn    *websocket.Conn
	queue   *queue
	room    *room // after open; only serve's goroutine uses it
}

func (s *Server) socket(w http.ResponseWriter, r *http.Request) {
	id, cookie := learner(r)
	h := http.Header{}
	if cookie != nil {
		h.Set("Set-Cookie", cookie.String())
	}
	up := websocket.Upgrader{CheckOrigin: sameOrigin, HandshakeTimeout: writeWait,
		Error: func(w http.ResponseWriter, r *http.Request, status int, reason error) {
			text := reason.Error()
			if status == http.StatusForbidden {
				text = fmt.Sprintf("The WebSocket is for this server's own page: Origin must be %s://%s.", scheme(r), r.Host)
			}
			http.Error(w, text, status)
		}}
	conn, err := up.Upgrade(w, r, h)
	if err != nil {
		return // Upgrade has answered
	}
	c := &client{srv: s, learner: id, conn: conn, queue: newQueue()}
	if !s.enter(c) {
		c.bye(websocket.CloseTryAgainLater, "too many pages are open")
		conn.Close()
		return
	}
	defer s.exit(c)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.write(ctx) })
	c.serve(ctx)
	cancel()
	conn.Close()
	wg.Wait()
}

// serve reads requests until the page is gone.
func (c *client) serve(ctx context.Context) {
	defer func() {
		if c.room != nil {
			c.room.leave(c)
		}
	}()
	c.send(Message{Type: "hello", Hello: c.srv.hello(ctx)})
	c.conn.SetReadLimit(maxMessage)
	alive := func() { c.conn.SetReadDeadline(time.Now().Add(pongWait)) }
	c.conn.SetPongHandler(func(string) error { alive(); return nil })
	limit := rate.NewLimiter(requestRate, requestBurst)
	for {
		alive()
		kind, data, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		limit.Wait(ctx)
		req, err := decode(kind, data)
		if err != nil {
			c.fail(req.ID, err)
			continue
		}
		c.handle(req)
	}
}

// decode reads a Request, and says what is wrong with one that is none.
func decode(kind int, data []byte) (Request, error) {
	var req Request
	bad := func(format string, args ...any) (Request, error) {
		return req, &lessons.Refusal{Code: "bad-message", Text: fmt.Sprintf(format, args...), Do: "Reload the page."}
	}
	if kind != websocket.TextMessage {
		return bad("The message is binary; a request is one JSON object as text.")
	}
	err := json.Unmarshal(data, &req)
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return bad("The message is no JSON: %v, at byte %d.", err, syntax.Offset)
	case errors.As(err, &wrong) && wrong.Field == "":
		return bad("The message is a JSON %s; a request is a JSON object.", wrong.Value)
	case errors.As(err, &wrong):
		return bad("The field %q holds a JSON %s instead of a %s.", wrong.Field, wrong.Value, wrong.Type)
	case err != nil:
		return bad("The message cannot be read: %v.", err)
	}
	want := map[string]string{}
	switch req.Type {
	case "open":
		want["lesson"] = req.Lesson
	case "run", "again", "goto":
		want["step"] = req.Step
	case "predict":
		want["step"], want["option"] = req.Step, req.Option
	case "command":
		want["node"], want["text"] = req.Node, req.Text
	case "rebuild", "stop":
	case "":
		return bad("The message has no type.")
	default:
		return bad("There is no request of type %q.", req.Type)
	}
	for _, field := range []string{"lesson", "step", "option", "node", "text"} {
		if v, needed := want[field]; needed && v == "" {
			return bad("A request of type %q needs %q.", req.Type, field)
		}
	}
	return req, nil
}

// handle does what a request asks. What takes long goes on by itself, so that
// "stop" can be read.
func (c *client) handle(req Request) {
	if req.Type == "open" {
		c.open(req)
		return
	}
	r := c.room
	if r == nil {
		c.fail(req.ID, &lessons.Refusal{Code: "not-open", Text: "No lesson is open on this connection.", Do: "Send “open” first."})
		return
	}
	s := r.session
	switch req.Type {
	case "predict":
		err := s.Predict(req.Step, req.Option)
		if err == nil {
			r.mu.Lock()
			r.tellTabs(nil)
			r.mu.Unlock()
		}
		c.answer(req.ID, err)
	case "stop":
		s.Stop()
		c.answer(req.ID, nil)
	case "run":
		c.begin(r, req.ID, func(tell teller) error { return s.Run(req.Step, tell) })
	case "again":
		c.begin(r, req.ID, func(tell teller) error { return s.Again(req.Step, tell) })
	case "goto":
		c.begin(r, req.ID, func(tell teller) error { return s.Goto(req.Step, req.Done, tell) })
	case "rebuild":
		c.begin(r, req.ID, func(tell teller) error { return s.Rebuild(tell) })
	case "command":
		c.begin(r, req.ID, func(tell teller) error { return s.Command(req.Node, req.Text, tell) })
	}
}

type teller = func(lessons.Update)

// open joins the lab of this browser for a lesson, and starts it if need be.
func (c *client) open(req Request) {
	if req.V != ProtocolVersion {
		c.fail(req.ID, &lessons.Refusal{Code: "version", Text: fmt.Sprintf("The page speaks version %d of the protocol, the server %d.", req.V, ProtocolVersion), Do: "Reload the page."})
		return
	}
	r, err := c.srv.room(c.learner, req.Lesson, c)
	if err != nil {
		c.fail(req.ID, err)
		return
	}
	if c.room != nil && c.room != r {
		c.room.leave(c)
	}
	c.room = r
	r.join(c, req.ID)
	c.begin(r, req.ID, r.session.Start)
}

// begin starts a request, and returns when it has been refused or is on its
// way: whatever is read next finds it so.
func (c *client) begin(r *room, id int, do func(teller) error) {
	under := make(chan struct{})
	var once sync.Once
	started := func() { once.Do(func() { close(under) }) }
	c.srv.jobs.Go(func() {
		defer started()
		var err error
		defer func() {
			if p := recover(); p != nil {
				c.srv.cfg.Logf("lab %s: %v\n%s", r.id, p, debug.Stack())
				err = fmt.Errorf("vethlab met a defect of its own: %v", p)
			}
			c.answer(id, err)
		}()
		err = do(func(u lessons.Update) { r.tell(c, id, u); started() })
	})
	<-under
}

func (c *client) send(m Message) { c.queue.put(encode(m)) }

func (c *client) answer(id int, err error) {
	if err != nil {
		c.fail(id, err)
		return
	}
	c.send(Message{Type: "done", ID: id, Done: true})
}

func (c *client) fail(id int, err error) {
	e := &Error{Code: "internal", Text: err.Error(), Do: "Rebuild the lab; if it happens again, it is a defect of vethlab."}
	if r := (*lessons.Refusal)(nil); errors.As(err, &r) {
		e = &Error{Code: r.Code, Text: r.Text, Do: r.Do}
	}
	c.send(Message{Type: "error", ID: id, Error: e})
}

// write sends what has queued, until ctx ends or the page is too slow.
func (c *client) write(ctx context.Context) {
	defer c.conn.Close() // serve's read ends too
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.srv.closing:
			c.bye(websocket.CloseGoingAway, "the server stops")
			return
		case <-ping.C:
			if c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWait)) != nil {
				return
			}
		case <-c.queue.ready:
			for {
				body, ok := c.queue.take()
				if !ok {
					c.bye(websocket.CloseTryAgainLater, "the page fell too far behind; connect again")
					return
				}
				if body == nil {
					break
				}
				c.conn.SetWriteDeadline(time.Now().Add(writeWait))
				if c.conn.WriteMessage(websocket.TextMessage, body) != nil {
					return
				}
			}
		}
	}
}

func (c *client) bye(code int, text string) {
	c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(time.Second))
}
