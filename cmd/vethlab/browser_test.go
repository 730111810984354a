//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-rod/rod/lib/input"
	"golang.org/x/sys/unix"

	"vethlab/lessons"
)

// The page in a browser, driven by the keyboard. Each test has a server and a
// browser of its own, and they run side by side: most of a test is waiting.
// A key acts on what the page knows, which is drawn a moment later; so each key
// is followed by waiting until what it does is seen, never by a pause.

// The whole lesson by keyboard alone, in languages of the page, on the real
// kernel with the model's word beside. Screenshots are kept in .artefacts/.
func TestBrowserLesson(t *testing.T) {
	for _, lang := range []string{"en", "zh-CN"} {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			tab := openTab(t, serveAs(t, users()[0]), "")
			tab.speak(lang)
			tab.play("", nil)
			tab.clean()
		})
	}
}

// The whole lesson in the simulator: only "Simulated" is offered, and nothing is
// ever shown as if a kernel had done it.
func TestBrowserSimulated(t *testing.T) {
	t.Parallel()
	tab := openTab(t, startServer(t, vethlab("serve", "--listen", "127.0.0.1:0", "--backend", "sim")), "")
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
	t.Parallel()
	tab := openTab(t, serveAs(t, users()[0]), "masquerade")
	tab.reach("masquerade")
	const tabs = `() => JSON.stringify([...document.querySelectorAll('.tabs button')].map((e) => [e.id, e.getBoundingClientRect().x]))`
	uncounted := tab.value(tabs)
	tab.runStep("masquerade")
	tab.wait("both rows", `() => document.querySelectorAll('.hops tbody tr').length === 2 && document.querySelector('.hops tbody tr.sim')`)
	for n := 1; n <= 20 && !tab.is(`() => document.querySelector('.hops th.hot.here')`); n++ {
		tab.press(input.ArrowRight)
		tab.waitPoint(n)
	}
	tab.wait("the rewrite", `() => document.querySelector('.stage .gate.acted.now')`)
	if counted := tab.value(tabs); counted != uncounted {
		t.Errorf("counts move the tabs from %s to %s", uncounted, counted)
	}
	where := func() string {
		tab.waitStill()
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
		tab.wait(m.name+": none of "+m.not, fmt.Sprintf(`() => !document.querySelector(%q)`, m.not))
		if now := where(); now != before {
			t.Errorf("%s: something has moved\nfrom %s\nto   %s", m.name, before, now)
		}
		tab.shot("switch-" + strings.ToLower(m.name))
		tab.axe(m.name)
	}
	tab.clean()
}

// R runs a step again, ← takes it back, space moves the packet by itself.
func TestBrowserKeys(t *testing.T) {
	t.Parallel()
	s := serveAs(t, users()[0])
	steps := bridgeByHand(t).Steps
	ping := slices.IndexFunc(steps, func(s lessons.Step) bool { return s.Focus.Tab == "journey" })
	if ping < 0 {
		t.Fatal("no step of the lesson shows a journey")
	}
	tab, step := openTab(t, s, steps[ping].ID), steps[ping].ID
	tab.reach(step)
	tab.runStep(step)
	tab.wait("a journey", `() => document.querySelector('.journey .dot') && document.querySelector('.scrub input').max > 2`)

	tab.press(input.ArrowRight)
	tab.press(input.ArrowRight)
	tab.waitPoint(2)
	tab.press(input.ArrowLeft)
	tab.waitPoint(1)
	atEnd := `() => document.querySelector('.scrub input').value === document.querySelector('.scrub input').max`
	tab.press(input.Space)
	tab.wait("the packet to come to its end by itself", atEnd)

	tab.press(input.End) // the next journey is not to begin by itself
	tab.wait("the end of the journey", atEnd)
	tab.press(input.KeyR)
	tab.wait("the first point of the new journey, the step again done", fmt.Sprintf(
		`() => document.querySelector('.scrub input')?.value === '0' && document.querySelector('.actions .btn.p:not([disabled])') && document.querySelectorAll('.dots .dot')[%d].matches('.done')`, ping))

	tab.press(input.ArrowLeft)
	tab.wait("the step to be undone", fmt.Sprintf(`() => document.querySelectorAll('.dots .dot')[%d].matches('.next[aria-current=step]') && document.querySelector('.actions .btn.p:not([disabled])')`, ping))
	tab.runStep(step)

	tab.typeKey('?')
	tab.wait("the help", `() => document.querySelector('dialog[open]')`)
	tab.axe("help")
	tab.press(input.Escape)
	tab.wait("the help to close", `() => !document.querySelector('dialog[open]')`)
	const shown = `() => document.querySelector('.tabs [aria-selected=true]').id`
	first := tab.value(shown)
	for n := 1; ; n++ { // every tab of the drawer, and back to the first
		now := tab.value(shown)
		tab.press(input.KeyJ)
		tab.wait("another tab", fmt.Sprintf(`() => document.querySelector('.tabs [aria-selected=true]').id !== %q`, now))
		if now = tab.value(shown); now == first {
			if n < 9 {
				t.Errorf("J leads through %d tabs", n)
			}
			break
		}
		tab.axe("drawer, " + now)
	}

	tab.press(input.KeyT) // a command without an end, in the console, is stopped as in a terminal
	tab.wait("the console", `() => document.activeElement.id === 'console-input'`)
	if err := tab.page.InsertText("ping 10.24.254.93"); err != nil {
		t.Fatal(err)
	}
	tab.press(input.Enter)
	tab.wait("the command to run", `() => document.querySelector('.entry .spin') && document.querySelector('.console form [type=button]')`)
	tab.axe("a command runs")
	if err := tab.page.KeyActions().Press(input.ControlLeft).Type(input.KeyC).Do(); err != nil {
		t.Fatal(err)
	}
	tab.wait("the command to have been stopped", `() => !document.querySelector('.entry .spin') && document.querySelector('.entry .status')?.textContent.includes('130')`)
	tab.clean()
}

// A lab that is killed: the page says so, and B brings it back.
func TestBrowserLostLab(t *testing.T) {
	t.Parallel()
	s := serveAs(t, users()[0])
	tab := openTab(t, s, "")
	tab.at(0)
	tab.runStep(bridgeByHand(t).Steps[0].ID)
	killed := 0
	for pid, p := range processes() {
		if p.parent == s.cmd.Process.Pid {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
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

// play goes through the whole lesson by keyboard; seen, unless nil, is called
// after each step.
func (b *tab) play(prefix string, seen func(step string)) {
	b.t.Helper()
	lesson := bridgeByHand(b.t)
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
		if i == 0 {
			b.axe("before step " + step.ID)
		}
		b.runStep(step.ID)
		b.axe("after step " + step.ID)
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
		b.waitPoint(n + 1)
	}
	b.t.Errorf("step %s: the journey has no end", step)
	return snat, dnat
}
