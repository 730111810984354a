//go:build linux

package main

import (
	"encoding/json"
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
	"golang.org/x/sys/unix"

	"vethlab/lessons"
)

// The whole lesson by keyboard alone, in languages of the page, on the real
// kernel with the model's word beside. Screenshots are kept in .artefacts/.
func TestBrowserLesson(t *testing.T) {
	for _, lang := range []string{"en", "zh-CN"} {
		t.Run(lang, func(t *testing.T) {
			tab := openTab(t, serveAs(t, users()[0]))
			tab.speak(lang)
			tab.play("", nil)
			tab.clean()
		})
	}
}

// The whole lesson in the simulator: only "Simulated" is offered, and nothing is
// ever shown as if a kernel had done it.
func TestBrowserSimulated(t *testing.T) {
	tab := openTab(t, startServer(t, vethlab("serve", "--listen", "127.0.0.1:0", "--backend", "sim")))
	tab.speak("zh-TW")
	tab.wait("a line on what it means", `() => document.querySelector('.note.sim')`)
	tab.shot("sim-00-begin")
	tab.play("sim-", func(step string) {
		if tab.is(`() => document.querySelector('.seg.modes button:not([disabled]):not([aria-pressed=true])')`) || !tab.is(`() => document.querySelector('.tag.sim') && document.querySelector('.agree.sim')`) {
			t.Errorf("step %s: the page does not say that it is simulated", step)
		}
		if tab.is(`() => document.querySelector('.hops tbody tr:not(.sim), .stage .journey:not(.sim), .ticket:not(.sim), .hops .ev, .ticket .ev')`) {
			t.Errorf("step %s: something is shown as the kernel's", step)
		}
	})
	tab.clean()
}

// S leads from the two side by side to the model's journeys, and to the
// kernel's: the packet stays where it is, and so does everything around it.
func TestBrowserSwitch(t *testing.T) {
	tab := openTab(t, serveAs(t, users()[0]))
	steps := tab.lesson().Steps
	ping := slices.IndexFunc(steps, func(s lessons.Step) bool { return s.ID == "masquerade" })
	for i := range ping + 1 {
		tab.at(i)
		tab.runStep(i, steps[i].ID)
		for n := 0; i < ping && tab.is(fmt.Sprintf(`() => document.querySelectorAll('.dots .dot')[%d].getAttribute('aria-current') === 'step'`, i)) && n < 20; n++ {
			tab.press(input.Enter)
			time.Sleep(50 * time.Millisecond)
		}
	}
	tab.wait("both rows", `() => document.querySelectorAll('.hops tbody tr').length === 2 && document.querySelector('.hops tbody tr.sim')`)
	for n := 0; n < 20 && !tab.is(`() => document.querySelector('.hops th.hot.here')`); n++ {
		tab.press(input.ArrowRight)
		time.Sleep(40 * time.Millisecond)
	}
	tab.wait("the rewrite", `() => document.querySelector('.stage .gate.acted.now')`)
	where := func() string {
		tab.wait("the page to stand still", `() => document.getAnimations().every((a) => a.playState !== 'running' || a.effect.getTiming().iterations === Infinity)`)
		return tab.value(`() => JSON.stringify([...document.querySelectorAll('.seg.modes, .lesson, .stage, .drawer, .tabs button, .scrub, .chips, .room.main, .gate.now')].map((e) => { const r = e.getBoundingClientRect(); return [e.className.baseVal ?? e.className.replace(/ .*/, ''), r.x, r.y, r.width, r.height].map((x) => (typeof x === 'number' ? Math.round(x) : x.split(' ')[0])); }))`) +
			tab.text(".hops th.here b") + tab.value(`() => document.querySelector('.scrub input').value`)
	}
	before := where()
	agreed := tab.is(`() => document.querySelector('.agree.yes')`)
	if agreed && (tab.is(`() => document.querySelector('.hops .off')`) || !tab.is(`() => document.querySelector('.ticket .model')`)) {
		t.Error("they agree, and yet something is marked, or the ticket does not say it")
	}
	if !agreed {
		t.Errorf("the model and the kernel do not agree: %s; %s", tab.text(".agree"), tab.text(".foretold"))
	}
	tab.shot("switch-both")
	tab.axe("both")
	for _, m := range []struct{ name, wants, not string }{
		{"Simulated", ".hops tr.sim, .ticket.sim, .stage .journey.sim", ".hops tbody tr:not(.sim), .ticket .model, .ticket:not(.sim), .stage .journey:not(.sim)"},
		{"Kernel", ".hops tbody tr:not(.sim), .ticket:not(.sim), .stage .journey:not(.sim)", ".hops tr.sim, .ticket .model, .ticket.sim, .stage .journey.sim, .agree, .foretold"},
		{"Both", ".hops tr.sim, .hops tbody tr:not(.sim), .ticket .model", ".ticket.sim, .stage .journey.sim"},
	} {
		tab.typeKey('s')
		tab.wait(m.name, fmt.Sprintf(`() => document.querySelector('.seg.modes [aria-pressed=true]').textContent === %q`, m.name))
		for _, sel := range strings.Split(m.wants, ", ") {
			tab.wait(m.name+": "+sel, fmt.Sprintf(`() => document.querySelector(%q)`, sel))
		}
		if tab.is(fmt.Sprintf(`() => document.querySelector(%q)`, m.not)) {
			t.Errorf("%s: there is one of %s", m.name, m.not)
		}
		if now := where(); now != before {
			t.Errorf("%s: something has moved\nfrom %s\nto   %s", m.name, before, now)
		}
		tab.shot("switch-" + strings.ToLower(m.name))
		tab.axe(m.name)
	}
	tab.clean()
}

// play goes through the whole lesson by keyboard; seen, unless nil, is called
// after each step.
func (b *tab) play(prefix string, seen func(step string)) {
	b.t.Helper()
	lesson := b.lesson()
	var snat, dnat, wrong, right bool
	for i, step := range lesson.Steps {
		b.at(i)
		if h1 := b.text("h1"); !strings.Contains(h1, step.Title[b.lang]) {
			b.t.Errorf("step %s: the heading is %q, without %q", step.ID, h1, step.Title[b.lang])
		}
		if step.Predict != nil {
			b.typeKey('1')
			b.wait("the first option to be chosen", `() => document.querySelector('.opt[aria-pressed=true]')`)
		}
		b.runStep(i, step.ID)
		if step.Predict != nil {
			b.wait("the answer", `() => document.querySelector('.verdict') && !document.querySelector('.verdict.none') && document.querySelector('.opt.y')`)
			if b.is(`() => document.querySelector('.opt.x')`) {
				wrong = true
				b.wait("the misconception in words", `() => document.querySelector('.mis')?.textContent.length > 40`)
			} else {
				right = true
			}
		}
		if len(step.Commands) > 0 && step.Focus.Tab == "journey" {
			b.wait("the journey's table", `() => document.querySelectorAll('.hops th[scope=col]').length > 2`)
			s, d := b.walk(step.ID)
			snat, dnat = snat || s, dnat || d
		}
		if seen != nil {
			seen(step.ID)
		}
		b.shot(fmt.Sprintf("%s%02d-%s", prefix, i+1, step.ID))
		if i < len(lesson.Steps)-1 {
			b.press(input.Enter) // on to the next
		}
	}
	b.wait("the end of the lesson", `() => document.querySelector('.finished')`)
	if !snat || !dnat || !wrong || !right {
		b.t.Errorf("not everything was seen: SNAT %v, DNAT %v, a wrong answer %v, a right one %v", snat, dnat, wrong, right)
	}
}

// R runs a step again, ← takes it back, space moves the packet by itself.
func TestBrowserKeys(t *testing.T) {
	tab := openTab(t, serveAs(t, users()[0]))
	steps := tab.lesson().Steps
	ping := slices.IndexFunc(steps, func(s lessons.Step) bool { return s.Focus.Tab == "journey" })
	if ping < 0 {
		t.Fatal("no step of the lesson shows a journey")
	}
	for i := range ping + 1 {
		tab.at(i)
		tab.runStep(i, steps[i].ID)
		if i < ping {
			tab.press(input.Enter)
		}
	}
	tab.wait("a journey", `() => document.querySelector('.journey .dot') && document.querySelector('.scrub input').max > 2`)

	tab.press(input.ArrowRight)
	tab.press(input.ArrowRight)
	tab.wait("the third point", `() => document.querySelector('.scrub input').value === '2'`)
	tab.press(input.ArrowLeft)
	tab.wait("the second point", `() => document.querySelector('.scrub input').value === '1'`)
	tab.press(input.Space)
	tab.wait("the packet to come to its end by itself", `() => document.querySelector('.scrub input').value === document.querySelector('.scrub input').max`)

	tab.press(input.KeyR)
	tab.wait("the step to be run again", `() => document.querySelector('.actions .btn.p[disabled]')`)
	tab.wait("the step again done", fmt.Sprintf(`() => document.querySelector('.actions .btn.p:not([disabled])') && document.querySelectorAll('.dots .dot')[%d].classList.contains('done')`, ping))
	tab.wait("the first point of the new journey", `() => document.querySelector('.scrub input')?.value === '0'`)

	for range 40 { // through the journeys, back to before the step
		if tab.is(fmt.Sprintf(`() => !document.querySelectorAll('.dots .dot')[%d].classList.contains('done')`, ping)) {
			break
		}
		tab.press(input.ArrowLeft)
		time.Sleep(50 * time.Millisecond)
	}
	tab.wait("the step to be undone", fmt.Sprintf(`() => document.querySelectorAll('.dots .dot')[%d].classList.contains('next') && document.querySelector('.actions .btn.p:not([disabled])')`, ping))
	tab.runStep(ping, steps[ping].ID)

	tab.typeKey('?')
	tab.wait("the help", `() => document.querySelector('dialog[open]')`)
	tab.axe("help")
	tab.press(input.Escape)
	tab.wait("the help to close", `() => !document.querySelector('dialog[open]')`)
	for i := range 9 { // every tab of the drawer, and back to the first
		tab.press(input.KeyJ)
		tab.axe(fmt.Sprintf("drawer tab %d", i))
	}
	tab.clean()
}

// A lab that is killed: the page says so, and B brings it back.
func TestBrowserLostLab(t *testing.T) {
	s := serveAs(t, users()[0])
	tab := openTab(t, s)
	steps := tab.lesson().Steps
	tab.at(0)
	tab.runStep(0, steps[0].ID)
	killed := 0
	all := processes()
	for pid, p := range all {
		if p.parent == s.cmd.Process.Pid {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			killed++
		}
	}
	if killed == 0 {
		t.Fatal("no lab was found to kill")
	}
	tab.wait("the page to say that the lab is lost", `() => document.querySelector('.tag.bad')`)
	tab.shot("lost")
	tab.axe("lost lab")
	tab.press(input.KeyB)
	tab.wait("the lab to be back", `() => document.querySelector('.tag:not(.bad):not(.wait):not(.warn)') && document.querySelector('.dots .dot').classList.contains('done')`)
	tab.clean()
}

// tab is a page in a browser.
type tab struct {
	t    *testing.T
	page *rod.Page
	lang string
	url  string

	mu       sync.Mutex
	problems []string // errors in the console, refused by CSP, failed requests
}

func openTab(t *testing.T, s *server) *tab {
	t.Helper()
	bin, err := osexec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium; make test installs it")
	}
	l := launcher.New().Bin(bin).Leakless(false).Headless(true).UserDataDir(t.TempDir()).
		NoSandbox(os.Getuid() == 0).Set("disable-dev-shm-usage").Set("force-device-scale-factor", "1").Set("lang", "en-US")
	control, err := l.Launch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Kill() })
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
	if err := page.Navigate(s.url + "/lesson/" + lessonID); err != nil {
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

func (b *tab) lesson() *lessons.Lesson {
	b.t.Helper()
	all, err := lessons.List()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, l := range all {
		if l.ID == lessonID {
			return l
		}
	}
	b.t.Fatalf("no lesson %s", lessonID)
	return nil
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

func (b *tab) wait(what, js string) {
	b.t.Helper()
	deadline := time.Now().Add(45 * time.Second)
	for !b.is(js) {
		if time.Now().After(deadline) {
			b.shot("timeout")
			b.clean()
			b.t.Fatalf("waited 45 s for %s; the page says: %s", what, b.text("#app"))
		}
		time.Sleep(15 * time.Millisecond)
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

func (b *tab) speak(lang string) {
	b.t.Helper()
	for range 5 {
		if b.is(fmt.Sprintf(`() => document.querySelector('.seg button[lang=%q][aria-pressed=true]')`, lang)) {
			b.lang = lang
			return
		}
		b.press(input.KeyL)
		time.Sleep(100 * time.Millisecond)
	}
	b.t.Fatalf("the key L does not lead to %s", lang)
}

// at waits until step i is on the page and can be run.
func (b *tab) at(i int) {
	b.t.Helper()
	b.wait(fmt.Sprintf("step %d", i+1), fmt.Sprintf(`() => document.querySelectorAll('.dots .dot')[%d].getAttribute('aria-current') === 'step' && document.querySelector('.actions .btn.p:not([disabled])')`, i))
}

// runStep presses Enter and waits until step i has ended well.
func (b *tab) runStep(i int, id string) {
	b.t.Helper()
	if i == 0 {
		b.axe("before step " + id)
	}
	b.press(input.Enter)
	b.wait("step "+id+" to end", fmt.Sprintf(`() => document.querySelector('.outcome') && document.querySelector('.dots .dot:nth-child(%d)').matches('.done, .failed')`, i+1))
	if b.is(fmt.Sprintf(`() => document.querySelector('.dots .dot:nth-child(%d)').matches('.failed')`, i+1)) {
		b.shot("failed-" + id)
		b.t.Fatalf("step %s failed: %s", id, b.text(".checks"))
	}
	b.axe("after step " + id)
}

// walk leads the packet with → to its end, and reports which rewrites it saw on
// the stage and, at the same moment, in the table.
func (b *tab) walk(step string) (snat, dnat bool) {
	b.t.Helper()
	b.wait("the packet at its first point", `() => document.querySelector('.scrub input').value === '0' && document.querySelector('.ticket')`)
	for n := range 200 {
		v, err := b.page.Eval(`() => {
			const gate = document.querySelector('.stage .gate.acted.now');
			const ticket = document.querySelector('.ticket');
			const flips = [...(ticket?.querySelectorAll('.flip') ?? [])].map((f) => [f.querySelector('s').textContent, f.querySelector('span.addr').textContent]);
			const colours = (el) => el && [...el.classList].find((c) => c.startsWith('c-'));
			const flip = ticket?.querySelector('.flip');
			return {
				gate: gate?.textContent ?? '', flips, why: ticket?.querySelector('.why')?.textContent ?? '',
				recoloured: Boolean(flip) && colours(flip.querySelector('s')) !== colours(flip.querySelector('span.addr')),
				row: document.querySelector('.hops td.hot.here')?.textContent ?? '',
				last: Boolean(ticket?.querySelector('.end')),
			};
		}`)
		if err != nil {
			b.t.Fatal(err)
		}
		var now struct {
			Gate, Why, Row   string
			Flips            [][2]string
			Recoloured, Last bool
		}
		if err := json.Unmarshal([]byte(v.Value.JSON("", "")), &now); err != nil {
			b.t.Fatal(err)
		}
		if len(now.Flips) > 0 {
			if now.Row == "" {
				b.t.Errorf("step %s, point %d: rewritten on the ticket (%v), but the table marks nothing", step, n, now.Flips)
			}
			if !now.Recoloured && now.Flips[0][0] != now.Flips[0][1] {
				b.t.Errorf("step %s, point %d: %v is rewritten without a change of colour", step, n, now.Flips)
			}
			if strings.Contains(now.Gate, "MASQUERADE") {
				snat = true
				b.wait("the packet on the stage to take the colour of its new source", `() => {
					const colours = (el) => el && [...el.classList].find((c) => c.startsWith('c-'));
					return colours(document.querySelector('.stage .journey .dot')) === colours(document.querySelector('.ticket .flip span.addr'));
				}`)
				b.shot("rewrite-" + step + "-masquerade")
			}
			if strings.Contains(now.Gate, "DNAT") {
				dnat = true
				b.shot("rewrite-" + step + "-dnat")
			}
		}
		if now.Last {
			return snat, dnat
		}
		b.press(input.ArrowRight)
		b.wait("the packet to move on", fmt.Sprintf(`() => document.querySelector('.scrub input').value === '%d'`, n+1))
	}
	b.t.Errorf("step %s: the journey has no end", step)
	return snat, dnat
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
	// What fades in is pale while it does.
	b.wait("everything to stand still", `() => document.getAnimations().every((a) => a.playState !== 'running' || a.effect.getTiming().iterations === Infinity)`)
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
	png, err := b.page.Screenshot(false, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, b.lang+"-"+name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
