// Package web serves the page and the labs behind it.
//
//	browser ── GET / ───────────▶ guard ─▶ files          the page, embedded
//	        ── GET /api/lessons ─▶ guard ─▶ the lessons as JSON
//	        ── /ws ─────────────▶ guard ─▶ client ─▶ room ─▶ lessons.Session ─▶ a lab
//	                                         ▲  queue  │
//	                                         └─────────┘  what happens in the lab
//
// A room is one browser's lab for one lesson; a client is one page open on it.
// The messages are in message.go.
package web

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"vethlab/lessons"
)

// Config says what to serve. A zero duration or count means its default.
type Config struct {
	Lessons []*lessons.Lesson
	Assets  fs.FS  // the page; index.html at its root
	Version string // of vethlab

	Listen string   // the address listened on, which the server answers to
	Hosts  []string // further names it answers to

	MaxLabs int           // labs at once; 32
	Idle    time.Duration // without a page, until a lab sleeps; 30 minutes
	Forget  time.Duration // asleep, until it is forgotten; 24 hours
	Limit   time.Duration // for one operation; one minute

	Logf func(format string, args ...any) // for the person who serves; may be nil
}

// Backend is what the labs of a server run on.
type Backend struct {
	Name string // kernel or sim; none where there is neither
	Open lessons.Opener
	// Model foretells what each step does before it runs; nil where nothing
	// does.
	Model lessons.Modeller
	// Reason says why Name is not "kernel", and Fix what to do; empty when that
	// was asked for.
	Reason, Fix string
}

// Server answers HTTP requests. Close it to close its labs.
type Server struct {
	cfg     Config
	files   files
	byID    map[string]*lessons.Lesson
	list    []byte            // the lessons' IDs and titles as JSON
	bodies  map[string][]byte // the lessons as JSON, by ID
	handler http.Handler
	closing chan struct{}
	jobs    sync.WaitGroup

	known   chan struct{} // closed once backend is known
	chosen  sync.Once
	backend Backend

	mu      sync.Mutex
	closed  bool
	rooms   map[roomKey]*room
	awake   int // rooms with a lab
	clients map[*client]bool
}

// New makes a server. Until Use is called, a page that connects waits.
func New(cfg Config) (*Server, error) {
	cfg.MaxLabs = cmp.Or(cfg.MaxLabs, 32)
	cfg.Idle = cmp.Or(cfg.Idle, 30*time.Minute)
	cfg.Forget = cmp.Or(cfg.Forget, 24*time.Hour)
	cfg.Limit = cmp.Or(cfg.Limit, time.Minute)
	if cfg.Logf == nil {
		cfg.Logf = func(string, ...any) {}
	}
	s := &Server{cfg: cfg, byID: map[string]*lessons.Lesson{}, bodies: map[string][]byte{},
		closing: make(chan struct{}), known: make(chan struct{}),
		rooms: map[roomKey]*room{}, clients: map[*client]bool{}}
	var err error
	if s.files, err = readFiles(cfg.Assets); err != nil {
		return nil, fmt.Errorf("reading the page's files: %w", err)
	}
	type entry struct {
		ID    string                   `json:"id"`
		Title lessons.Text             `json:"title"`
		Intro map[string][]lessons.Doc `json:"intro"` // its first paragraph
		Steps int                      `json:"steps"`
	}
	list := []entry{}
	for _, l := range cfg.Lessons {
		intro := map[string][]lessons.Doc{}
		for lang, docs := range l.Intro {
			intro[lang] = docs[:min(1, len(docs))]
		}
		list = append(list, entry{l.ID, l.Title, intro, len(l.Steps)})
		s.byID[l.ID] = l
		if s.bodies[l.ID], err = json.Marshal(l); err != nil {
			return nil, fmt.Errorf("lesson %s: %w", l.ID, err)
		}
	}
	if s.list, err = json.Marshal(list); err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /lesson/{id}", s.page)
	mux.HandleFunc("GET /{id}", s.page)
	mux.HandleFunc("GET /assets/{path...}", func(w http.ResponseWriter, r *http.Request) {
		s.files.serve(w, r, r.PathValue("path"))
	})
	mux.HandleFunc("GET /api/lessons", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, s.list)
	})
	mux.HandleFunc("GET /api/lessons/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		if body, ok := s.bodies[id]; ok {
			writeJSON(w, http.StatusOK, body)
			return
		}
		body, _ := json.Marshal(s.unknownLesson(id))
		writeJSON(w, http.StatusNotFound, body)
	})
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /ws", s.socket)
	s.handler = guard(newHostList(cfg.Listen, cfg.Hosts), mux)
	return s, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Use tells what labs run on here. Only the first call counts.
func (s *Server) Use(b Backend) {
	s.chosen.Do(func() {
		s.backend = b
		close(s.known)
	})
}

// Close says goodbye to every page and closes every lab.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	close(s.closing)
	var rooms []*room
	for _, r := range s.rooms {
		rooms = append(rooms, r)
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, r := range rooms {
		wg.Go(r.session.Close)
	}
	wg.Wait()
	s.jobs.Wait()
}

// page answers with the page. Of an address that is none of its lessons it
// says, with status 404, which there are.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	if id := r.PathValue("id"); id != "" && s.byID[id] == nil {
		w = &notFound{w}
	}
	s.files.serve(w, r, "index.html")
}

// notFound turns an answer's status 200 into 404.
type notFound struct{ http.ResponseWriter }

func (w *notFound) WriteHeader(status int) {
	if status == http.StatusOK {
		status = http.StatusNotFound
	}
	w.ResponseWriter.WriteHeader(status)
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n, pages := s.awake, len(s.clients)
	s.mu.Unlock()
	body, _ := json.Marshal(map[string]any{"ok": true, "version": s.cfg.Version, "labs": n, "maxLabs": s.cfg.MaxLabs, "pages": pages})
	writeJSON(w, http.StatusOK, body)
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	w.Write(body)
}

func (s *Server) hello(ctx context.Context) *Hello {
	select {
	case <-s.known:
	case <-ctx.Done():
		return &Hello{V: ProtocolVersion, Version: s.cfg.Version, Backend: "none"}
	}
	b := &s.backend
	return &Hello{V: ProtocolVersion, Version: s.cfg.Version, Backend: b.Name, Model: b.Model != nil, Reason: b.Reason, Fix: b.Fix}
}

// room returns the room of a learner for a lesson, made if need be, with a
// place among the server's labs. c keeps it from being put to sleep before it
// has joined.
func (s *Server) room(learner, lesson string, c *client) (*room, error) {
	l := s.byID[lesson]
	if l == nil {
		e := s.unknownLesson(lesson)
		return nil, &lessons.Refusal{Code: e.Code, Text: e.Text, Do: e.Do}
	}
	if s.backend.Open == nil { // hello has waited for it
		return nil, &lessons.Refusal{Code: "no-kernel", Text: "This machine cannot run the lab: " + s.backend.Reason, Do: s.backend.Fix}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, &lessons.Refusal{Code: "lost", Text: "The server stops.", Do: "Start it again: vethlab serve"}
	}
	key := roomKey{learner, lesson}
	r := s.rooms[key]
	if (r == nil || !r.awake) && s.awake >= s.cfg.MaxLabs {
		return nil, &lessons.Refusal{Code: "too-many-labs", Text: fmt.Sprintf("All %d labs of this server are taken.", s.cfg.MaxLabs),
			Do: fmt.Sprintf("A lab is freed %v after its last page was closed. Or start the server with more: vethlab serve --max-labs %d", s.cfg.Idle, 2*s.cfg.MaxLabs)}
	}
	if r != nil && !r.joins(c) {
		return nil, &lessons.Refusal{Code: "too-many-pages", Text: fmt.Sprintf("This lab is open in %d pages already.", maxPages), Do: "Close some of them."}
	}
	if r == nil {
		s.forget()
		var id [2]byte
		rand.Read(id[:])
		r = &room{srv: s, key: key, id: hex.EncodeToString(id[:]), clients: map[*client]bool{}}
		r.session = lessons.NewSession(l, s.backend.Open, s.backend.Model, s.cfg.Limit, func(u lessons.Update) { r.tell(nil, 0, u) })
		s.rooms[key] = r
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[c] = true
	if !r.awake {
		r.awake = true
		s.awake++
	}
	return r, nil
}

// forget makes way for a new room where too many are remembered: the one that
// has been asleep the longest goes. It wants mu.
func (s *Server) forget() {
	if len(s.rooms) < maxRooms*s.cfg.MaxLabs {
		return
	}
	var oldest *room
	for _, r := range s.rooms {
		if !r.awake && (oldest == nil || r.slept.Before(oldest.slept)) {
			oldest = r
		}
	}
	if oldest != nil {
		delete(s.rooms, oldest.key)
		go oldest.session.Close()
	}
}

func (s *Server) unknownLesson(id string) *Error {
	var names []string
	for _, l := range s.cfg.Lessons {
		names = append(names, l.ID)
	}
	return &Error{Code: "unknown-lesson", Text: fmt.Sprintf("There is no lesson %q.", id), Do: "The lessons are: " + strings.Join(names, ", ") + "."}
}

// enter counts a page in, unless there are too many or the server is stopping.
func (s *Server) enter(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.clients) >= maxPages*s.cfg.MaxLabs {
		return false
	}
	s.clients[c] = true
	return true
}

func (s *Server) exit(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
}
