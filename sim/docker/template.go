package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/template"
	"text/template/parse"
)

// The client's --format: text/template with the client's functions. A template is
// a program, and it runs in the process that serves everybody's labs: what it may
// do is bounded.

// A template may go so many times through the body of a loop or of a {{define}},
// and may make and print so many bytes.
const maxTurns, maxBytes = 20_000, 4 << 20

// format is a template, and what is left of its bounds.
type format struct {
	*template.Template
	ctx          context.Context
	turns, bytes int
}

// newFormat reads a template of the client's.
func (c *call) newFormat(text string) (*format, error) {
	f := &format{ctx: c.ctx, turns: maxTurns, bytes: maxBytes}
	t, err := template.New("").Funcs(f.functions()).Parse(text)
	if err != nil {
		return nil, err
	}
	turn := template.Must(template.New("").Funcs(f.functions()).Parse("{{turn}}")).Root.Nodes[0]
	for _, t := range t.Templates() {
		count(t.Root, turn)
		t.Root.Nodes = append([]parse.Node{turn}, t.Root.Nodes...)
	}
	f.Template = t
	return f, nil
}

// execute prints v by the template.
func (f *format) execute(w io.Writer, v any) error { return f.Execute(&bounded{f, w}, v) }

type bounded struct {
	f *format
	w io.Writer
}

func (b *bounded) Write(p []byte) (int, error) {
	if err := b.f.spend(len(p)); err != nil {
		return 0, err
	}
	return b.w.Write(p)
}

// count puts turn before the body of every loop.
func count(list *parse.ListNode, turn parse.Node) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.IfNode:
			inner(&n.BranchNode, turn)
		case *parse.WithNode:
			inner(&n.BranchNode, turn)
		case *parse.RangeNode:
			inner(&n.BranchNode, turn)
			n.List.Nodes = append([]parse.Node{turn}, n.List.Nodes...)
		}
	}
}

func inner(b *parse.BranchNode, turn parse.Node) {
	count(b.List, turn)
	count(b.ElseList, turn)
}

var errTooMuch = errors.New("the template does more than it may here")

func (f *format) turn() (string, error) {
	if f.turns--; f.turns < 0 {
		return "", errTooMuch
	}
	return "", f.ctx.Err()
}

// spend takes bytes off what is left.
func (f *format) spend(n int) error {
	if n < 0 || n > f.bytes {
		f.bytes = 0
		return errTooMuch
	}
	f.bytes -= n
	return f.ctx.Err()
}

// printed spends what values take in print, so many times.
func (f *format) printed(times int, values []any) error {
	for _, v := range values {
		n := 0
		if s, is := v.(string); is {
			n = len(s)
		} else {
			n = len(fmt.Sprint(v))
		}
		if err := f.spend(times * (n + 1)); err != nil {
			return err
		}
	}
	return nil
}

// wide is a width or precision of printf's that fills up to 1000 letters or more.
var wide = regexp.MustCompile(`%[^a-zA-Z%]*([0-9]{4}|\*)`)

// functions are the client's (docker/cli, templates), and those of text/template
// that make a text.
func (f *format) functions() template.FuncMap {
	letters := func(change func(string) string) func(string) (string, error) {
		return func(s string) (string, error) { return change(s), f.spend(2 * len(s)) }
	}
	// Escaping makes at most six letters of one.
	escape := func(change func(...any) string) func(...any) (string, error) {
		return func(values ...any) (string, error) {
			if err := f.printed(6, values); err != nil {
				return "", err
			}
			return change(values...), nil
		}
	}
	return template.FuncMap{
		"turn": f.turn,
		"json": func(v any) (string, error) {
			var b strings.Builder
			e := json.NewEncoder(&bounded{f, &b})
			e.SetEscapeHTML(false)
			err := e.Encode(v)
			return strings.TrimSpace(b.String()), err
		},
		"split": func(s, sep string) ([]string, error) {
			if err := f.spend(len(s) + 16*strings.Count(s, sep)); err != nil {
				return nil, err
			}
			return strings.Split(s, sep), nil
		},
		"join": func(list []string, sep string) (string, error) {
			for _, s := range list {
				if err := f.spend(len(s) + len(sep)); err != nil {
					return "", err
				}
			}
			return strings.Join(list, sep), nil
		},
		"title": letters(strings.ToTitle), "lower": letters(strings.ToLower), "upper": letters(strings.ToUpper),
		"pad": func(s string, before, after int) (string, error) {
			if s == "" {
				return s, nil
			}
			for _, n := range []int{before, after, len(s)} {
				if err := f.spend(n); err != nil {
					return "", err
				}
			}
			return strings.Repeat(" ", before) + s + strings.Repeat(" ", after), nil
		},
		"truncate": func(s string, n int) string { return s[:min(n, len(s))] },
		"print":    escape(fmt.Sprint), "println": escape(fmt.Sprintln),
		"html": escape(template.HTMLEscaper), "js": escape(template.JSEscaper), "urlquery": escape(template.URLQueryEscaper),
		"printf": func(text string, values ...any) (string, error) {
			verbs := strings.Count(text, "%")
			if wide.MatchString(text) {
				return "", errTooMuch
			}
			if err := f.spend(len(text) + 1000*verbs); err != nil {
				return "", err
			}
			if err := f.printed(verbs*10, values); err != nil { // %x and %#v write more than print
				return "", err
			}
			return fmt.Sprintf(text, values...), nil
		},
	}
}
