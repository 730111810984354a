package lessons

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"unicode/utf8"

	"vethlab/sim/trace"
)

// WriteTraces writes journeys as text. A packet that went the same way as one
// before it, and met the same rules there, gets one line.
func WriteTraces(w io.Writer, traces []trace.Trace) {
	first := map[string]int{}
	short := true // no blank line before the first
	for i := range traces {
		t := &traces[i]
		if len(t.Hops) == 0 {
			continue
		}
		key := way(t)
		if n, ok := first[key]; ok && t.Disposition == trace.Delivered {
			if !short {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "%s: the same way as packet %d\n", title(t, i+1), n)
			short = true
			continue
		}
		if i > 0 {
			fmt.Fprintln(w)
		}
		first[key] = i + 1
		writeTrace(w, t, title(t, i+1))
		short = false
	}
}

func title(t *trace.Trace, n int) string {
	h := t.First()
	s := fmt.Sprintf("%d  %s", n, t.Summary)
	if h.Src.IsValid() && h.Dst.IsValid() && h.Proto != "arp" {
		s += "  " + endpoints(h)
	}
	return s
}

// way is what two journeys have in common that went the same way.
func way(t *trace.Trace) string {
	var b strings.Builder
	fmt.Fprint(&b, t.First().Proto, t.Disposition, t.Code, t.Node, t.First().Src, t.First().Dst)
	for _, h := range t.Hops {
		for _, s := range h.Steps {
			fmt.Fprint(&b, "|", h.Node, s.Point, s.Dev, s.Table, s.Chain, s.Rule, s.Verdict, s.Cause != "", s.After.Src, s.After.Dst)
		}
	}
	return b.String()
}

// writeTrace writes one journey as a table: a row for each point it passed,
// with the packet as it came there, and beneath it what changed.
//
//	1  ICMP echo request  172.18.0.8 → 203.0.113.10
//	  host      rx veth0                                 172.18.0.8 → 203.0.113.10    ttl 64    +12 µs
//	            PREROUTING   no rule                     172.18.0.8 → 203.0.113.10    ttl 64
//	            route        default via 10.24.254.1 …   172.18.0.8 → 203.0.113.10    ttl 64
//	            POSTROUTING  nat rule 1 MASQUERADE       172.18.0.8 → 203.0.113.10    ttl 63
//	                         └ src 172.18.0.8 → 10.24.254.11  (nat POSTROUTING rule 1: MASQUERADE)
//	            tx eth0                                  10.24.254.11 → 203.0.113.10  ttl 63    +36 µs
//	  ✓ delivered to internet
//
// What nobody captured or reported, but follows from the state, is marked
// "(explained)".
func writeTrace(w io.Writer, t *trace.Trace, title string) {
	fmt.Fprintln(w, title)
	var rows [][4]string // node, point, what, packet
	for _, h := range t.Hops {
		for i, s := range h.Steps {
			node := ""
			if i == 0 {
				node = h.Node
			}
			point := string(s.Point)
			if s.Dev != "" && s.Point != trace.RouteStep {
				point += " " + s.Dev
			}
			rows = append(rows, [4]string{node, point, what(s), endpoints(s.Before)})
		}
	}
	var width [4]int
	for _, r := range rows {
		for i, cell := range r {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	k := 0
	for _, h := range t.Hops {
		for _, s := range h.Steps {
			line := "  "
			for i, cell := range rows[k] {
				line += cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2)
			}
			k++
			if s.Before.TTL != 0 {
				line += fmt.Sprintf("ttl %-4d", s.Before.TTL)
			} else {
				line += "        "
			}
			if s.Timed {
				line += since(s.At)
			}
			fmt.Fprintln(w, strings.TrimRight(line, " "))
			beneath := func(text string) {
				fmt.Fprintf(w, "  %*s└ %s\n", width[0]+width[1]+4, "", text)
			}
			if s.RuleText != "" {
				beneath(s.RuleText)
			}
			if s.Rewritten() {
				beneath(rewrites(s))
			}
		}
	}
	end := t.Reason
	if end == "" {
		end = string(t.Disposition)
		if t.Node != "" {
			end += " at " + t.Node
		}
	}
	if t.Evidence == trace.Explained {
		end += "  (" + string(t.Evidence) + ")"
	}
	mark := "✗"
	if t.Disposition == trace.Delivered && t.Code != trace.CodeRefused {
		mark = "✓"
	}
	fmt.Fprintf(w, "  %s %s\n", mark, end)
}

// what says what happened at a point.
func what(s trace.Step) string {
	var words []string
	if s.Table != "" {
		words = append(words, s.Table)
	}
	if s.Chain != "" && s.Chain != string(s.Point) {
		words = append(words, s.Chain)
	}
	if s.Rule > 0 {
		words = append(words, fmt.Sprintf("rule %d", s.Rule))
	}
	switch {
	case s.Point == trace.RouteStep && s.Note != "" && s.Verdict != trace.NoRoute:
		words = append(words, s.Note)
	case s.Point == trace.RouteStep && s.Note != "":
		words = append(words, "nowhere: "+s.Note)
	case s.Verdict == trace.Pass:
		words = append(words, "no rule")
	case s.Verdict != "":
		words = append(words, string(s.Verdict))
		fallthrough
	default:
		if s.Note != "" {
			words = append(words, s.Note)
		}
	}
	if s.Point == trace.Socket && s.Note == "" {
		words = append(words, "arrived")
	}
	if s.Evidence == trace.Explained {
		words = append(words, "(explained)")
	}
	return strings.Join(words, " ")
}

// rewrites says what a step changed, and why.
func rewrites(s trace.Step) string {
	var parts []string
	change := func(name string, before, after netip.Addr, bp, ap uint16) {
		switch {
		case before == after && bp == ap:
		case bp == ap:
			parts = append(parts, fmt.Sprintf("%s %s → %s", name, before, after))
		default:
			parts = append(parts, fmt.Sprintf("%s %s → %s", name, endpoint(before, bp), endpoint(after, ap)))
		}
	}
	change("src", s.Before.Src, s.After.Src, s.Before.SrcPort, s.After.SrcPort)
	change("dst", s.Before.Dst, s.After.Dst, s.Before.DstPort, s.After.DstPort)
	text := strings.Join(parts, ", ")
	if s.Cause != "" {
		text += "  (" + s.Cause + ")"
	}
	return text
}

func endpoints(h trace.Header) string {
	if !h.Src.IsValid() && !h.Dst.IsValid() {
		return ""
	}
	return endpoint(h.Src, h.SrcPort) + " → " + endpoint(h.Dst, h.DstPort)
}

func endpoint(a netip.Addr, port uint16) string {
	if !a.IsValid() {
		return "?"
	}
	if port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}

func since(ns int64) string {
	switch {
	case ns < 10_000_000:
		return fmt.Sprintf("+%d µs", ns/1000)
	case ns < 10_000_000_000:
		return fmt.Sprintf("+%d ms", ns/1_000_000)
	}
	return fmt.Sprintf("+%.1f s", float64(ns)/1e9)
}
