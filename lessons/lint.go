package lessons

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"

	"vethlab/sim/cmdline"
	"vethlab/sim/op"
)

// Lint looks for mistakes in all lessons and worlds of fsys: what the loader
// refuses, and what it lets pass but an author did not mean. It returns how
// many lessons it looked at.
func Lint(fsys fs.FS) (found Problems, lessons int) {
	for _, name := range worldNames(fsys) {
		_, err := loadWorld(fsys, name)
		var ps Problems
		if errors.As(err, &ps) {
			found = append(found, ps...)
		} else if err != nil {
			found = append(found, Problem{File: path.Join("worlds", name+".yaml"), Line: 1, Col: 1, Text: err.Error()})
		}
	}
	ids := lessonIDs(fsys)
	for _, id := range ids {
		src := readLesson(fsys, id)
		if len(src.problems.Errors()) == 0 {
			src.lint()
		}
		found = append(found, src.problems...)
	}
	found.sort()
	return slices.Compact(found), len(ids)
}

func (src *source) lint() {
	l := src.lesson
	nodes := map[string]bool{}
	addrs := map[netip.Addr]bool{}
	for _, n := range l.Start.Nodes {
		nodes[n.Name] = true
	}
	for _, s := range l.Start.Setup {
		collectAddrs(addrs, s.Op.String())
	}
	for i := range l.Steps {
		s, w := &l.Steps[i], src.wrongs(src.steps[i].node)
		for _, c := range s.Commands {
			collectAddrs(addrs, c.Text)
			if !nodes[c.Node] {
				src.atPos(c.Pos, "there is no node %s yet (there are: %s)", c.Node, joined(slices.Sorted(maps.Keys(nodes))))
			}
			src.lintCommand(c, nodes)
		}
		for _, c := range s.Checks {
			if c.Addr != nil {
				collectAddrs(addrs, c.Addr.Prefix)
			}
		}
		if len(s.Checks) == 0 {
			w.at("id", "expected checks in step %s: what holds once it is done", s.ID)
		}
		src.lintNodes(w, nodes)
		for _, lang := range Languages {
			t := src.prose[lang].steps[i]
			if strings.Contains(t.title, "`") {
				src.warn(lang, t.at, "a title is shown as it is: leave the backquotes out")
			}
			for name, docs := range map[string][]Doc{"the prose": t.prose, "the explanation": t.after} {
				if len(docs) > 4 {
					src.warn(lang, t.at, "%s of step %s has %d paragraphs: expected at most 4, to fit beside the stage", name, s.ID, len(docs))
				}
			}
		}
	}
	src.lintMentions(addrs)
}

// atPos reports an error at a place of the form file:line:col.
func (src *source) atPos(pos, format string, args ...any) {
	p, _, _ := splitPlace(pos)
	p.Text = fmt.Sprintf(format, args...)
	src.problems = append(src.problems, p)
}

func (src *source) warn(lang string, at [2]int, format string, args ...any) {
	src.problems = append(src.problems, Problem{File: src.prose[lang].file, Line: at[0], Col: at[1], Text: fmt.Sprintf(format, args...), Warning: true})
}

// lintCommand parses each simple command of a line whose words are plain, and
// notes the namespaces that it makes.
func (src *source) lintCommand(c Line, nodes map[string]bool) {
	file, err := parseShell(c.Text)
	if err != nil {
		src.atPos(c.Pos, "%v", err)
		return
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		argv, err := expand.Fields(&expand.Config{NoUnset: true}, call.Args...)
		if err != nil || len(argv) == 0 {
			return true // a variable, or the output of a command: known only when it runs
		}
		cmd, err := cmdline.Parse(argv)
		if err != nil {
			src.atPos(c.Pos, "%s", strings.TrimSpace(err.Error()))
			return true
		}
		if add, ok := cmd.Op.(op.NetnsAdd); ok {
			nodes[add.Name] = true
		}
		if len(argv) > 1 && argv[0] == "docker" { // docker run … --name NAME
			for i, a := range argv[:len(argv)-1] {
				if a == "--name" {
					nodes[argv[i+1]] = true
				}
			}
		}
		return true
	})
}

// lintNodes reports checks, predictions and a focus that name a node which
// there never is.
func (src *source) lintNodes(w *wrongs, nodes map[string]bool) {
	var walk func(w *wrongs)
	walk = func(w *wrongs) {
		for _, kv := range entries(w.node) {
			key := kv.Key.String()
			sub := &wrongs{w.file, kv.Value, w.problems}
			switch key {
			case "node", "sent-by", "ends-at":
				if name := kv.Value.String(); !nodes[name] {
					w.at(key, "there is no node %s (there are: %s)", name, joined(slices.Sorted(maps.Keys(nodes))))
				}
			case "peer", "mac-of":
				if name, _, _ := strings.Cut(kv.Value.String(), "/"); !nodes[name] {
					w.at(key, "there is no node %s (there are: %s)", name, joined(slices.Sorted(maps.Keys(nodes))))
				}
			}
			walk(sub)
		}
		for i := range w.length() {
			walk(w.item(i))
		}
	}
	for _, key := range []string{"focus", "predict", "checks"} {
		if sub := w.under(key); sub != w {
			walk(sub)
		}
	}
}

var plainAddr = regexp.MustCompile(`\d{1,3}(?:\.\d{1,3}){3}(?:/\d+)?`)

// collectAddrs adds the addresses in a command, and the networks that their
// prefix lengths name.
func collectAddrs(to map[netip.Addr]bool, text string) {
	for _, s := range plainAddr.FindAllString(text, -1) {
		if p, err := netip.ParsePrefix(s); err == nil {
			to[p.Addr()], to[p.Masked().Addr()] = true, true
		} else if a, err := netip.ParseAddr(s); err == nil {
			to[a] = true
		}
	}
}

// lintMentions warns of addresses in prose that are nowhere in the lesson, and
// of addresses that one language names more or less often than the first.
func (src *source) lintMentions(addrs map[netip.Addr]bool) {
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	count := func(p *prose) map[string]int {
		m := map[string]int{}
		for _, x := range p.mentions {
			m[x.text]++
		}
		return m
	}
	first := count(src.prose[Languages[0]])
	for _, lang := range Languages {
		p := src.prose[lang]
		for _, m := range p.mentions {
			if !addrs[m.addr] && !loopback.Contains(m.addr) {
				src.warn(lang, m.at, "%s is nowhere in this lesson", m.text)
			}
		}
		own := count(p)
		for _, addr := range slices.Sorted(maps.Keys(first)) {
			if own[addr] == 0 {
				src.warn(lang, p.ends, "%s, which %s names, is missing here", addr, Languages[0])
			}
		}
	}
}
