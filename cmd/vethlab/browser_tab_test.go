//go:build linux

package main

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/input"
	"github.com/go-rod/rod/lib/launcher"
	"github.com/go-rod/rod/lib/proto"

	"vethlab/lessons"
)

// tab is a page in a browser.
type tab struct {
	t    *testing.T
	page *rod.Page
	lang string
	url  string

	mu       sync.Mutex
	problems []string // errors in the console, refused by CSP, failed requests
}

// openTab opens the lesson in a browser of its own, at a step unless that is "".
func openTab(t *testing.T, s *server, step string) *tab {
	t.Helper()
	bin, err := osexec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium; make test installs it")
	}
	dir, err := os.MkdirTemp("", "vethlab-browser-")
	if err != nil {
		t.Fatal(err)
	}
	l := launcher.New().Bin(bin).Leakless(false).Headless(true).UserDataDir(dir).
		NoSandbox(os.Getuid() == 0).Set("disable-dev-shm-usage").Set("force-device-scale-factor", "1").Set("lang", "en-US")
	control, err := l.Launch()
	if err != nil {
		os.RemoveAll(dir)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Kill()
		l.Cleanup() // dir goes when the browser is gone, which t.TempDir would not wait for
	})
	browser := rod.New().ControlURL(control)
	if err := browser.Connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { browser.Close() })
	page, err := browser.Page(proto.TargetCreateTarget{URL: "about:blank"})
	if err != nil {
		t.Fatal(err)
	}
	b := &tab{t: t, page: page, lang: "en", url: s.url}
	if err := page.SetViewport(&proto.EmulationSetDeviceMetricsOverride{Width: 1440, Height: 900, DeviceScaleFactor: 1}); err != nil {
		t.Fatal(err)
	}
	go page.EachEvent(func(e *proto.RuntimeConsoleAPICalled) {
		if e.Type == proto.RuntimeConsoleAPICalledTypeError || e.Type == proto.RuntimeConsoleAPICalledTypeWarning {
			b.problem("console %s: %v", e.Type, e.Args)
		}
	}, func(e *proto.RuntimeExceptionThrown) {
		b.problem("exception: %s", e.ExceptionDetails.Text)
	}, func(e *proto.LogEntryAdded) { // a violated CSP and a failed request come this way
		if e.Entry.Level == proto.LogLogEntryLevelError || e.Entry.Level == proto.LogLogEntryLevelWarning {
			b.problem("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}, func(e *proto.NetworkRequestWillBeSent) {
		if !strings.HasPrefix(e.Request.URL, s.url+"/") && !strings.HasPrefix(e.Request.URL, "data:") {
			b.problem("a request to elsewhere: %s", e.Request.URL)
		}
	})()
	if err := page.Navigate(s.url + "/lesson/" + lessonID + "#" + step); err != nil {
		t.Fatal(err)
	}
	b.wait("the lab to be ready", `() => document.querySelector('.tag:not(.bad):not(.wait):not(.warn)') && document.querySelectorAll('.dots .dot').length > 5`)
	return b
}

func (b *tab) problem(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

// clean fails the test if the console said anything.
func (b *tab) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.t.Error(p)
	}
}

// is reports whether a function of the page's gives something true.
func (b *tab) is(js string) bool {
	b.t.Helper()
	v, err := b.page.Eval("() => Boolean((" + js + ")())")
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v.Value.Bool()
}

// value is what a function of the page's gives, as text.
func (b *tab) value(js string) string {
	b.t.Helper()
	v, err := b.page.Eval(js)
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v.Value.Str()
}

func (b *tab) text(selector string) string {
	b.t.Helper()
	v, err := b.page.Eval("sel => document.querySelector(sel)?.textContent ?? ''", selector)
	if err != nil {
		b.t.Fatal(err)
	}
	return v.Value.Str()
}

// patience is far more than anything takes on a machine that is not stuck.
const patience = 2 * time.Minute

// wait waits until a function of the page's gives something true.
func (b *tab) wait(what, js string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for !b.is(js) {
		if time.Now().After(deadline) {
			b.shot("timeout-" + b.t.Name())
			b.clean()
			b.t.Fatalf("waited %v for %s; the page says: %s", patience, what, b.text("#app"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// press types a key.
func (b *tab) press(key input.Key) {
	b.t.Helper()
	if err := b.page.Keyboard.Type(key); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) typeKey(r rune) {
	b.t.Helper()
	b.press(input.Key(r))
}

// waitPoint waits until the packet is at point n of its journey, from 0.
func (b *tab) waitPoint(n int) {
	b.t.Helper()
	b.wait(fmt.Sprintf("the packet at point %d", n), fmt.Sprintf(`() => document.querySelector('.scrub input').value === '%d'`, n))
}

// waitStill waits until nothing moves or fades any more.
func (b *tab) waitStill() {
	b.t.Helper()
	b.wait("everything to stand still", `() => document.getAnimations().every((a) => a.playState !== 'running' || a.effect.getTiming().iterations === Infinity)`)
}

// speak turns the page to a language by the key L.
func (b *tab) speak(lang string) {
	b.t.Helper()
	const spoken = `() => document.querySelector('.seg button[lang][aria-pressed=true]').lang`
	for range 3 {
		now := b.value(spoken)
		if now == lang {
			b.lang = lang
			return
		}
		b.press(input.KeyL)
		b.wait("another language", fmt.Sprintf(`() => document.querySelector('.seg button[lang][aria-pressed=true]').lang !== %q`, now))
	}
	b.t.Fatalf("the key L does not lead to %s", lang)
}

// at waits until step i is on the page and can be run.
func (b *tab) at(i int) {
	b.t.Helper()
	b.wait(fmt.Sprintf("step %d", i+1), fmt.Sprintf(`() => document.querySelectorAll('.dots .dot')[%d].getAttribute('aria-current') === 'step' && document.querySelector('.actions .btn.p:not([disabled])')`, i))
}

// reach presses Enter at a step that the address named, and waits until the lab
// has been brought to before it.
func (b *tab) reach(id string) {
	b.t.Helper()
	i := b.indexOf(id)
	b.at(i)
	b.press(input.Enter)
	b.wait("the lab before step "+id, fmt.Sprintf(`() => document.querySelectorAll('.dots .dot')[%d].matches('.next[aria-current=step]') && document.querySelector('.actions .btn.p:not([disabled])')`, i))
}

// runStep presses Enter and waits until the step on the page has ended well.
func (b *tab) runStep(id string) {
	b.t.Helper()
	i := b.indexOf(id)
	b.press(input.Enter)
	b.wait("step "+id+" to end", fmt.Sprintf(`() => document.querySelector('.outcome') && document.querySelectorAll('.dots .dot')[%d].matches('.done, .failed')`, i))
	if b.is(fmt.Sprintf(`() => document.querySelectorAll('.dots .dot')[%d].matches('.failed')`, i)) {
		b.shot("failed-" + id)
		b.t.Fatalf("step %s failed: %s", id, b.text(".checks"))
	}
}

func (b *tab) indexOf(id string) int {
	b.t.Helper()
	i := slices.IndexFunc(bridgeByHand(b.t).Steps, func(s lessons.Step) bool { return s.ID == id })
	if i < 0 {
		b.t.Fatalf("the lesson has no step %s", id)
	}
	return i
}

func bridgeByHand(t *testing.T) *lessons.Lesson {
	t.Helper()
	l, err := lessons.Load(lessonID)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// axe fails the test for every rule of accessibility that the page breaks. The
// script is put in by the debugger, so the page's policy stays as it is.
func (b *tab) axe(when string) {
	b.t.Helper()
	file := os.Getenv("VETHLAB_AXE")
	if file == "" {
		b.t.Log("accessibility is not checked: VETHLAB_AXE does not name axe.min.js (make browser sets it)")
		return
	}
	if !b.is(`() => window.axe`) {
		src, err := os.ReadFile(file)
		if err != nil {
			b.t.Fatal(err)
		}
		if _, err := (proto.RuntimeEvaluate{Expression: string(src)}).Call(b.page); err != nil {
			b.t.Fatal(err)
		}
	}
	b.waitStill() // what fades in is pale while it does
	v, err := b.page.Eval(`async () => (await axe.run(document, { resultTypes: ['violations'] })).violations
		.map((v) => v.id + ': ' + v.help + '\n' + v.nodes.slice(0, 2).map((n) => '    ' + n.target.join(' ') + ' ' + n.failureSummary.split('\n').slice(1, 2)).join('\n'))`)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, violation := range v.Value.Arr() {
		b.t.Errorf("%s, %s: %s", b.lang, when, violation.Str())
	}
}

// shot keeps a picture of the page.
func (b *tab) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("VETHLAB_ARTEFACTS")
	if dir == "" {
		dir = filepath.Join(root, ".artefacts")
	}
	dir = filepath.Join(dir, "browser")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	png, err := b.page.Screenshot(false, &proto.PageCaptureScreenshot{Format: proto.PageCaptureScreenshotFormatPng, OptimizeForSpeed: true})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, b.lang+"-"+strings.ReplaceAll(name, "/", "-")+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
