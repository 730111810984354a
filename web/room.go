package web

import (
	"slices"
	"sync"
	"time"

	"vethlab/lessons"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// snapshotEvery is the least time between two snapshots that nobody asked for.
const snapshotEvery = 100 * time.Millisecond

// room is one browser's lab for one lesson, and the pages open on it. What
// happens in the lab goes to all of them; an answer carries the request's ID
// only to the page that asked.
type room struct {
	srv     *Server
	key     roomKey
	id      string
	session *lessons.Session

	mu      sync.Mutex
	clients map[*client]bool
	awake   bool        // it holds one of the server's places for labs; wants srv.mu, too, to change
	slept   time.Time   // since when it is not
	idle    *time.Timer // runs while no page is open
	variant string
	// Snapshots that come too fast: the last one waits for the timer.
	snapAt   time.Time
	snapWait *state.Snapshot
	snapTime *time.Timer
}

type roomKey struct{ learner, lesson string }

// joins reports whether there is room for a page.
func (r *room) joins(c *client) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clients[c] || len(r.clients) < maxPages
}

// join adds a page, and tells it all that is known.
func (r *room) join(c *client, id int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.idle != nil {
		r.idle.Stop()
		r.idle = nil
	}
	r.clients[c] = true
	c.queue.put(encode(Message{Type: "lab", ID: id, Lab: r.lab(r.session.Status())}))
	if snap := r.session.Snapshot(); snap != nil {
		c.queue.putSnapshot(encode(Message{Type: "snapshot", ID: id, Snapshot: snap}))
	}
	r.tellTabs(c)
}

func (r *room) leave(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.clients, c)
	r.tellTabs(nil)
	if len(r.clients) == 0 && r.idle == nil {
		r.idle = time.AfterFunc(r.srv.cfg.Idle, r.sleep)
	}
}

// tellTabs wants mu.
func (r *room) tellTabs(except *client) {
	st := r.session.Status()
	st.History = nil
	var body []byte
	for c := range r.clients {
		if c != except {
			if body == nil {
				body = encode(Message{Type: "lab", Lab: r.lab(st)})
			}
			c.queue.put(body)
		}
	}
}

// sleep closes the lab when no page has been open for a while; some time later
// it is forgotten altogether.
func (r *room) sleep() {
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.clients) > 0: // a page came back this very moment
	case !r.awake && r.srv.rooms[r.key] != r: // forgotten already
	case !r.awake:
		delete(r.srv.rooms, r.key)
		go r.session.Close()
	case r.session.Sleep():
		r.awake, r.slept = false, time.Now()
		r.srv.awake--
		r.idle = time.AfterFunc(r.srv.cfg.Forget, r.sleep)
	default: // a command is still running
		r.idle = time.AfterFunc(r.srv.cfg.Idle, r.sleep)
	}
}

// tell sends what the session says to every page; asker's copy carries id.
func (r *room) tell(asker *client, id int, u lessons.Update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.clients) == 0 {
		return
	}
	switch {
	case u.Status != nil:
		r.send(asker, id, Message{Type: "lab", Lab: r.lab(*u.Status)})
	case u.Begin != nil:
		r.send(asker, id, Message{Type: "begin", Begin: begun(u.Begin)})
	case u.Ran != nil:
		c := commandRan(u.Ran)
		r.send(asker, id, Message{Type: "command", Command: &c})
	case u.Forecast != nil:
		r.send(asker, id, Message{Type: "forecast", Forecast: forecast(u.Forecast.Step, u.Forecast.Forecast)})
	case u.Step != nil:
		s := taken(u.Step)
		r.send(asker, id, Message{Type: "step", Step: &s})
	case u.Snapshot != nil:
		r.sendSnapshot(asker, id, u.Snapshot)
	case u.Event != nil:
		r.event(u.Event)
	}
}

// event wants mu.
func (r *room) event(e *op.Event) {
	switch {
	case e.Packets != nil || e.Dropped > 0:
		for c := range r.clients {
			c.queue.putPackets(e.Packets, e.Dropped)
		}
	case e.Unfollowed > 0:
		r.send(nil, 0, Message{Type: "unfollowed", Unfollowed: e.Unfollowed})
	case e.Trace != nil:
		r.send(nil, 0, Message{Type: "trace", Trace: e.Trace})
	case e.Snapshot != nil:
		wait := snapshotEvery - time.Since(r.snapAt)
		if wait <= 0 && r.snapTime == nil {
			r.sendSnapshot(nil, 0, e.Snapshot)
			return
		}
		r.snapWait = e.Snapshot
		if r.snapTime == nil {
			r.snapTime = time.AfterFunc(wait, func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.snapTime = nil
				if r.snapWait != nil {
					r.sendSnapshot(nil, 0, r.snapWait)
				}
			})
		}
	}
}

// sendSnapshot wants mu.
func (r *room) sendSnapshot(asker *client, id int, snap *state.Snapshot) {
	r.snapAt, r.snapWait = time.Now(), nil
	for i := range snap.Nodes {
		if v := snap.Nodes[i].IptablesVariant; v != "" {
			r.variant = v
			break
		}
	}
	r.each(asker, id, Message{Type: "snapshot", Snapshot: snap}, (*queue).putSnapshot)
}

// send wants mu.
func (r *room) send(asker *client, id int, m Message) { r.each(asker, id, m, (*queue).put) }

func (r *room) each(asker *client, id int, m Message, put func(*queue, []byte)) {
	var body []byte
	for c := range r.clients {
		if c == asker {
			m.ID = id
			put(c.queue, encode(m))
			m.ID = 0
			continue
		}
		if body == nil {
			body = encode(m)
		}
		put(c.queue, body)
	}
}

// lab wants mu.
func (r *room) lab(st lessons.Status) *Lab {
	l := &Lab{ID: r.id, State: string(st.State), Lesson: r.key.lesson, Variant: r.variant, Text: st.Why,
		Next: st.Next, Guesses: st.Guesses, Tabs: len(r.clients)}
	if h := st.History; h != nil {
		l.Steps, l.Own = []Step{}, []Command{}
		for i := range h.Steps {
			l.Steps = append(l.Steps, taken(&h.Steps[i]))
		}
		for i := range h.Own {
			l.Own = append(l.Own, commandRan(&lessons.CommandRan{Ran: h.Own[i]}))
		}
	}
	return l
}

func begun(b *lessons.Begun) *Begin {
	return &Begin{Step: b.Step, Index: b.Index, Total: b.Total, Node: b.Line.Node, Text: b.Line.Text}
}

func commandRan(c *lessons.CommandRan) Command {
	return Command{Step: c.Step, Index: c.Index, Node: c.Node, Text: c.Text,
		Status: c.Status, Stdout: c.Stdout, Stderr: c.Stderr, Traces: c.Traces, Operations: c.Deeds()}
}

func taken(t *lessons.Taken) Step {
	s := Step{ID: t.ID, State: string(t.State), Commands: []Command{}, Checks: []Check{},
		Guess: t.Guess, Answer: t.Answer, Observed: t.Observed, Explained: t.Explained,
		Forecast: forecast(t.ID, t.Forecast)}
	for i, r := range t.Ran {
		s.Commands = append(s.Commands, commandRan(&lessons.CommandRan{Step: t.ID, Index: i, Ran: r}))
	}
	for _, c := range t.Check {
		s.Checks = append(s.Checks, Check{OK: c.OK, Text: c.Text, Got: c.Got, Says: c.Says})
	}
	return s
}

func forecast(step string, f *lessons.Forecast) *Forecast {
	if f == nil {
		return nil
	}
	w := &Forecast{Step: step, Commands: []Command{}, Missing: f.Missing, Answer: f.Answer, Observed: f.Observed}
	for i, r := range f.Ran {
		c := commandRan(&lessons.CommandRan{Step: step, Index: i, Ran: r.Ran})
		c.Missing = r.Missing
		for _, d := range r.Differences {
			if !slices.Contains(c.Differs, d.What) {
				c.Differs = append(c.Differs, d.What)
			}
		}
		w.Commands = append(w.Commands, c)
	}
	for _, d := range f.State {
		w.Differences = append(w.Differences, Difference{d.What, d.Model, d.Kernel, d.Known})
	}
	return w
}
