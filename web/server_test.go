package web

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"vethlab/lessons"
	"vethlab/lessons/labtest"
)

var pageFiles = fstest.MapFS{
	"index.html":       {Data: []byte("<!doctype html><title>vethlab</title>")},
	"js/app.js":        {Data: []byte("export {};")},
	"vendor/p.mjs":     {Data: []byte("export {};")},
	"css/app.css":      {Data: []byte("body{}")},
	"vendor/p/LICENSE": {Data: []byte("MIT")},
	"assets.go":        {Data: []byte("package assets")},
}

// start serves a Server whose labs obey; change may change the Config.
func start(t *testing.T, change func(*Config)) (*httptest.Server, *Server, *labtest.Labs) {
	t.Helper()
	labs := &labtest.Labs{}
	cfg := Config{Lessons: []*lessons.Lesson{labtest.Lesson()}, Assets: pageFiles,
		Version: "test", Listen: "127.0.0.1:8642", Logf: t.Logf}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Use(Backend{Name: "kernel", Open: labs.Open})
	hs := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		hs.Close()
	})
	return hs, s, labs
}

func get(t *testing.T, s http.Handler, path string, change func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequest("GET", "http://127.0.0.1:8642"+path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFiles(t *testing.T) {
	_, s, _ := start(t, nil)
	for _, c := range []struct {
		path   string
		status int
		kind   string
		has    string
	}{
		{"/", 200, "text/html; charset=utf-8", "<title>vethlab"},
		{"/lesson/test", 200, "text/html; charset=utf-8", "<title>vethlab"},
		{"/test", 200, "text/html; charset=utf-8", "<title>vethlab"},
		{"/lesson/nix", 404, "text/html; charset=utf-8", "<title>vethlab"}, // the page says so in the learner's language
		{"/nix", 404, "text/html; charset=utf-8", "<title>vethlab"},
		{"/assets/js/app.js", 200, "text/javascript; charset=utf-8", "export"},
		{"/assets/vendor/p.mjs", 200, "text/javascript; charset=utf-8", "export"},
		{"/assets/css/app.css", 200, "text/css; charset=utf-8", "body"},
		{"/assets/vendor/p/LICENSE", 200, "text/plain; charset=utf-8", "MIT"},
		{"/assets/assets.go", 404, "text/plain; charset=utf-8", "no such file"},
		{"/assets/js/", 404, "text/plain; charset=utf-8", "no such file"},
		{"/assets/js/nix.js", 404, "text/plain; charset=utf-8", "no such file"},
		{"/assets/%2e%2e/server.go", 404, "text/plain; charset=utf-8", "no such file"},
		{"/api/lessons", 200, "application/json", `[{"id":"test","title":{"en":"A test"},"intro":{},"steps":4}]`},
		{"/api/lessons/test", 200, "application/json", `"commands":[{"node":"host","text":"ip netns add ns1"}`},
		{"/api/lessons/nix", 404, "application/json", `"code":"unknown-lesson"`},
		{"/healthz", 200, "application/json", `"labs":0`},
	} {
		r := get(t, s, c.path, nil)
		if b := body(t, r); r.StatusCode != c.status || r.Header.Get("Content-Type") != c.kind || !strings.Contains(b, c.has) {
			t.Errorf("%s: %d %s %q\nwant %d %s with %q", c.path, r.StatusCode, r.Header.Get("Content-Type"), b, c.status, c.kind, c.has)
		}
	}
}

func TestFilesAreAskedForAgain(t *testing.T) {
	_, s, _ := start(t, nil)
	r := get(t, s, "/assets/js/app.js", nil)
	tag := r.Header.Get("ETag")
	if tag == "" || r.Header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("ETag %q, Cache-Control %q", tag, r.Header.Get("Cache-Control"))
	}
	for given, want := range map[string]int{tag: 304, `"other"`: 200} {
		r := get(t, s, "/assets/js/app.js", func(r *http.Request) { r.Header.Set("If-None-Match", given) })
		if r.StatusCode != want {
			t.Errorf("If-None-Match %s: %d, want %d", given, r.StatusCode, want)
		}
	}
}

// Every answer carries the security headers, refusals too.
func TestHeaders(t *testing.T) {
	_, s, _ := start(t, nil)
	for _, path := range []string{"/", "/assets/js/app.js", "/api/lessons", "/nix", "/ws", "/healthz"} {
		for _, host := range []string{"127.0.0.1:8642", "evil.example"} {
			r := get(t, s, path, func(r *http.Request) { r.Host = host })
			for name, want := range headers {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s from %s: %s is %q, want %q", path, host, name, got, want)
				}
			}
		}
	}
	policy := map[string]string{}
	for _, d := range strings.Split(contentPolicy, "; ") {
		name, value, _ := strings.Cut(d, " ")
		policy[name] = value
	}
	for name, want := range map[string]string{"default-src": "'none'", "script-src": "'self'", "style-src": "'self'",
		"connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'", "require-trusted-types-for": "'script'"} {
		if policy[name] != want {
			t.Errorf("Content-Security-Policy: %s is %q, want %q", name, policy[name], want)
		}
	}
	if strings.Contains(contentPolicy, "unsafe") {
		t.Error("Content-Security-Policy allows something unsafe")
	}
}

// A name that is not ours may be a hostile site's, made to resolve to this
// machine (DNS rebinding).
func TestHost(t *testing.T) {
	for _, c := range []struct {
		listen string
		host   string
		want   bool
	}{
		{"127.0.0.1:8642", "127.0.0.1:8642", true},
		{"127.0.0.1:8642", "127.0.0.1", true},
		{"127.0.0.1:8642", "127.0.0.1:9999", true}, // forwarded from another port
		{"127.0.0.1:8642", "127.9.9.9:8642", true},
		{"127.0.0.1:8642", "localhost:8642", true},
		{"127.0.0.1:8642", "LOCALHOST.:8642", true},
		{"127.0.0.1:8642", "[::1]:8642", true},
		{"127.0.0.1:8642", "lab.example:8642", true}, // --host
		{"127.0.0.1:8642", "evil.example:8642", false},
		{"127.0.0.1:8642", "localhost.evil.example", false},
		{"127.0.0.1:8642", "127.0.0.1.evil.example", false},
		{"127.0.0.1:8642", "127.0.0.1@evil.example", false},
		{"127.0.0.1:8642", "192.0.2.7:8642", false},
		{"127.0.0.1:8642", "", false},
		{"192.0.2.7:8642", "192.0.2.7:8642", true},
		{"192.0.2.7:8642", "192.0.2.8:8642", false},
		{"lab.internal:8642", "lab.internal:8642", true},
		{"0.0.0.0:8642", "192.0.2.8:8642", true}, // any address of ours; none of them is a name
		{"[::]:8642", "[2001:db8::1]:8642", true},
		{":8642", "192.0.2.8:8642", true},
		{":8642", "evil.example:8642", false},
	} {
		_, s, _ := start(t, func(cfg *Config) { cfg.Listen, cfg.Hosts = c.listen, []string{"lab.example"} })
		for _, path := range []string{"/", "/ws", "/api/lessons"} {
			r := get(t, s, path, func(r *http.Request) { r.Host = c.host })
			if got := r.StatusCode != http.StatusForbidden; got != c.want {
				t.Errorf("listening on %s: Host %q for %s answered %d, want allowed: %v", c.listen, c.host, path, r.StatusCode, c.want)
			}
			if b := body(t, r); !c.want && !strings.Contains(b, "--host") {
				t.Errorf("the refusal of %q does not say what to do: %q", c.host, b)
			}
		}
	}
}

func TestCrossOriginRequests(t *testing.T) {
	_, s, _ := start(t, nil)
	for _, c := range []struct {
		site string
		want int
	}{{"cross-site", 403}, {"same-site", 403}, {"same-origin", 405}} {
		r := get(t, s, "/api/lessons", func(r *http.Request) {
			r.Method = "POST"
			r.Header.Set("Sec-Fetch-Site", c.site)
		})
		if r.StatusCode != c.want {
			t.Errorf("POST from %s: %d, want %d", c.site, r.StatusCode, c.want)
		}
	}
}

func TestHealth(t *testing.T) {
	hs, s, _ := start(t, nil)
	p := dial(t, hs, nil)
	p.open(t)
	var h struct {
		OK          bool
		Labs, Pages int
	}
	if err := json.Unmarshal([]byte(body(t, get(t, s, "/healthz", nil))), &h); err != nil || !h.OK || h.Labs != 1 || h.Pages != 1 {
		t.Errorf("health %+v (%v), want one lab and one page", h, err)
	}
}
