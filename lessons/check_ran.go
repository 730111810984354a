package lessons

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"vethlab/sim/trace"
)

// The checks of what a step ran, and of the packets it sent.

func (c *CommandCheck) says() []Phrase {
	ps := []Phrase{phrase("command", "node", c.Node, "text", c.Text)}
	if c.Status != nil {
		ps = append(ps, phrase("status", "n", strconv.Itoa(*c.Status)))
	}
	if c.Failed != nil {
		ps = append(ps, phrase(map[bool]string{true: "fails", false: "succeeds"}[*c.Failed]))
	}
	if c.Prints != "" {
		ps = append(ps, phrase("prints", "text", strconv.Quote(c.Prints)))
	}
	return ps
}

func (c *CommandCheck) look(sc scene) string {
	got := "it has not run"
	for _, r := range sc.ran {
		if !c.is(r) {
			continue
		}
		switch {
		case c.Status != nil && r.Status != *c.Status, c.Failed != nil && (r.Status != 0) != *c.Failed:
			got = fmt.Sprintf("status %d", r.Status)
		case !strings.Contains(r.Stdout, c.Prints) && !strings.Contains(r.Stderr, c.Prints):
			got = fmt.Sprintf("%.200q", r.Stdout+r.Stderr)
		default:
			return ""
		}
	}
	return got
}

func (c *CommandCheck) is(r Ran) bool {
	return fits(c.Node, r.Node) && strings.Contains(r.Text, c.Text)
}

// pick returns the journeys the selector chooses, in the order they began.
func (p *PacketSelector) pick(sc scene) []*trace.Trace {
	var out []*trace.Trace
	for i := range sc.ran {
		if p.Command != 0 && p.Command != i+1 {
			continue
		}
		for j := range sc.ran[i].Traces {
			if t := &sc.ran[i].Traces[j]; len(t.Hops) > 0 && p.is(t) {
				out = append(out, t)
			}
		}
	}
	if p.Nth > 0 {
		if p.Nth > len(out) {
			return nil
		}
		return out[p.Nth-1 : p.Nth]
	}
	return out
}

func (p *PacketSelector) is(t *trace.Trace) bool {
	h := t.First()
	return fits(p.SentBy, t.Hops[0].Node) && strings.Contains(t.Summary, p.Is) && fits(p.Proto, h.Proto) &&
		fits(p.Src, h.Src.String()) && fits(p.Dst, h.Dst.String()) && fits(p.DstPort, h.DstPort) &&
		(p.Reply == nil || *p.Reply == t.Reply)
}

func (p *PacketSelector) says() []Phrase {
	ps := []Phrase{phrase("packet", "packet", cmp.Or(p.Is, p.Proto, "packet"))}
	if p.Reply != nil && *p.Reply {
		ps = append(ps, phrase("back"))
	}
	if p.SentBy != "" || p.Src != "" {
		ps = append(ps, phrase("from", "from", strings.TrimSpace(p.SentBy+" "+p.Src)))
	}
	if p.Dst != "" || p.DstPort != 0 {
		to := p.Dst
		if p.DstPort != 0 {
			to += ":" + port(p.DstPort)
		}
		ps = append(ps, phrase("to", "to", to))
	}
	return ps
}

func (c *PacketCheck) says() []Phrase {
	ps := c.PacketSelector.says()
	for _, p := range c.Passes {
		ps = append(ps, p.says("at")...)
	}
	for _, p := range c.Avoids {
		ps = append(ps, p.says("never")...)
	}
	if c.Ends == "" && c.EndsAt == "" && c.Code == "" {
		return ps
	}
	ps = append(ps, phrase("ends"))
	if c.EndsAt != "" {
		ps = append(ps, phrase("ends-at", "node", c.EndsAt))
	}
	if how := cmp.Or(c.Code, c.Ends); how != "" {
		ps = append(ps, phrase("ends-how", "how", how))
	}
	return ps
}

func (c *PacketCheck) look(sc scene) string {
	got := "no such packet"
	for _, t := range c.pick(sc) {
		if got = c.lookAt(t); got == "" {
			return ""
		}
	}
	return got
}

func (c *PacketCheck) lookAt(t *trace.Trace) string {
	if !fits(c.Ends, string(t.Disposition)) || !fits(c.EndsAt, t.Node) || !fits(c.Code, t.Code) {
		return strings.TrimSpace(fmt.Sprintf("it ended at %s: %s %s", t.Node, t.Disposition, t.Reason))
	}
	todo := c.Passes
	for _, h := range t.Hops {
		for i := range h.Steps {
			for _, p := range c.Avoids {
				if p.is(h.Node, &h.Steps[i]) {
					return "it passed " + p.text()
				}
			}
			if len(todo) > 0 && todo[0].is(h.Node, &h.Steps[i]) {
				todo = todo[1:]
			}
		}
	}
	if len(todo) > 0 {
		return "it did not pass " + todo[0].text()
	}
	return ""
}

// is reports whether a step of a journey, in the node, is this place.
func (p *Place) is(node string, s *trace.Step) bool {
	if !fits(p.Node, node) || !fits(p.Point, string(s.Point)) || !fits(p.Dev, s.Dev) || !fits(p.Table, s.Table) ||
		!fits(p.Chain, s.Chain) || !fits(p.Verdict, string(s.Verdict)) || !fits(p.Src, s.After.Src.String()) ||
		!fits(p.Dst, s.After.Dst.String()) || !fits(p.DstPort, s.After.DstPort) || !fits(p.TTL, s.After.TTL) ||
		!strings.Contains(s.Cause, p.Cause) {
		return false
	}
	if p.Rule != "" && normalRule(p.Rule) != normalRule(s.RuleText) {
		return false
	}
	if p.Rewrite != "" {
		from, to := headerField(s.Before, p.Rewrite), headerField(s.After, p.Rewrite)
		return from != to && fits(p.From, from) && fits(p.To, to)
	}
	return true
}

// says names the place by code ("at", "never").
func (p *Place) says(code string) []Phrase {
	b := []string{p.Node}
	if p.Point != "" {
		b = append(b, p.Point)
	}
	if p.Table != "" || p.Chain != "" && p.Chain != p.Point {
		b = append(b, strings.TrimSpace(p.Table+" "+p.Chain))
	}
	for _, f := range []struct{ k, v string }{{"", p.Dev}, {"", p.Verdict}, {"rule ", p.Rule}, {"src ", p.Src}, {"dst ", p.Dst}, {"dport ", port(p.DstPort)}} {
		if f.v != "" {
			b = append(b, f.k+f.v)
		}
	}
	if p.TTL != 0 {
		b = append(b, fmt.Sprintf("ttl %d", p.TTL))
	}
	ps := []Phrase{phrase(code, "place", strings.TrimSpace(strings.Join(b, " ")))}
	if p.Rewrite != "" {
		ps = append(ps, phrase("rewrites", "change", strings.TrimSpace(fmt.Sprintf("%s %s → %s", p.Rewrite, p.From, p.To))))
	}
	if p.Cause != "" {
		ps = append(ps, phrase("because", "cause", p.Cause))
	}
	return ps
}

func (p *Place) text() string { return strings.TrimPrefix(english(p.says("at")), "; ") }

// headerFields are the fields of a packet that checks and predictions may name.
var headerFields = []string{"src", "dst", "sport", "dport", "ttl"}

func headerField(h trace.Header, name string) string {
	switch name {
	case "src":
		return h.Src.String()
	case "dst":
		return h.Dst.String()
	case "sport":
		return port(h.SrcPort)
	case "dport":
		return port(h.DstPort)
	case "ttl":
		return strconv.Itoa(int(h.TTL))
	}
	return ""
}
