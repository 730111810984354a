package lessons

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// prose is one language's file of a lesson:
//
//	# Title of the lesson
//
//	What it is about.
//
//	## step-id: Title of the step
//
//	What is to be done, and why. Addresses and commands in `backquotes`.
//
//	### predict: Which source will `203.0.113.10` see?
//
//	#### option-id: `172.18.0.8`, the container's own
//
//	What this answer overlooks, or why it is right.
//
//	### after
//
//	What the packets did, and why.
type prose struct {
	title string
	intro []Doc
	steps []*proseStep
	file  string
	ends  [2]int // line and column of the end of the file
	// mentions are the addresses that the text names.
	mentions []mention
}

type proseStep struct {
	id, title    string
	at           [2]int // line, column
	prose, after []Doc
	question     string
	predictAt    [2]int
	options      []*proseOption
	hasAfter     bool
}

type proseOption struct {
	id, label string
	at        [2]int
	why       []Doc
}

type mention struct {
	text string
	addr netip.Addr
	at   [2]int
}

// proseReader turns one Markdown file into prose.
type proseReader struct {
	src      []byte
	file     string
	problems *Problems
	out      *prose
}

func readProse(file string, src []byte, problems *Problems) *prose {
	r := &proseReader{src: src, file: file, problems: problems, out: &prose{file: file}}
	r.out.ends[0], r.out.ends[1] = lineCol(src, len(src))
	doc := goldmark.DefaultParser().Parse(text.NewReader(src))

	var step *proseStep
	into := &r.out.intro // where the blocks that follow belong
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		h, ok := n.(*ast.Heading)
		if !ok {
			if d, ok := r.block(n); ok {
				if into == nil {
					r.wrong(n.Pos(), "expected an option (#### option-id: label) after the question")
					continue
				}
				*into = append(*into, d)
			}
			continue
		}
		at := r.at(h.Pos())
		words := r.heading(h)
		id, rest, _ := strings.Cut(words, ":")
		id, rest = strings.TrimSpace(id), strings.TrimSpace(rest)
		switch {
		case h.Level == 1:
			if r.out.title != "" || step != nil {
				r.wrong(h.Pos(), "expected one title (# Title), at the top")
			}
			r.out.title, into = words, &r.out.intro
		case h.Level == 2:
			if !isID(id) || rest == "" {
				r.wrong(h.Pos(), "expected a step: ## step-id: Title of the step")
			}
			step = &proseStep{id: id, title: rest, at: at}
			r.out.steps = append(r.out.steps, step)
			into = &step.prose
		case step == nil:
			r.wrong(h.Pos(), "expected a step (## step-id: Title) before this heading")
		case h.Level == 3 && words == "after":
			if step.hasAfter {
				r.wrong(h.Pos(), "step %s has two \"### after\"", step.id)
			}
			step.hasAfter, into = true, &step.after
		case h.Level == 3 && id == "predict" && rest != "":
			if step.question != "" {
				r.wrong(h.Pos(), "step %s asks two questions", step.id)
			}
			step.question, step.predictAt, into = rest, at, nil
		case h.Level == 4 && isID(id) && rest != "" && step.question != "":
			o := &proseOption{id: id, label: rest, at: at}
			step.options = append(step.options, o)
			into = &o.why
		default:
			r.wrong(h.Pos(), "expected \"### after\", \"### predict: Question\" or, below a question, \"#### option-id: label\"")
		}
	}
	if r.out.title == "" {
		r.wrong(0, "expected the lesson's title at the top: # Title")
	}
	return r.out
}

var idForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func isID(s string) bool { return idForm.MatchString(s) }

func (r *proseReader) at(offset int) [2]int {
	line, col := lineCol(r.src, offset)
	return [2]int{line, col}
}

func (r *proseReader) wrong(offset int, format string, args ...any) {
	line, col := lineCol(r.src, offset)
	*r.problems = append(*r.problems, Problem{File: r.file, Line: line, Col: col, Text: fmt.Sprintf(format, args...)})
}

// heading returns a heading's own text, backquotes kept.
func (r *proseReader) heading(h *ast.Heading) string {
	lines := h.Lines()
	if lines.Len() == 0 {
		return ""
	}
	seg := lines.At(0)
	s := strings.TrimSpace(string(seg.Value(r.src)))
	if strings.Count(s, "`")%2 != 0 {
		r.wrong(seg.Start, "expected backquotes in pairs")
	}
	r.mention(s, seg.Start)
	return s
}

// block turns a paragraph, list or code block into a Doc.
func (r *proseReader) block(n ast.Node) (Doc, bool) {
	switch n := n.(type) {
	case *ast.Paragraph, *ast.TextBlock:
		return Doc{T: "p", C: r.inlines(n)}, true
	case *ast.List:
		if n.IsOrdered() {
			r.wrong(n.Pos(), "expected a list with dashes: numbered lists are not part of the page's prose")
			return Doc{}, false
		}
		ul := Doc{T: "ul"}
		for li := n.FirstChild(); li != nil; li = li.NextSibling() {
			item := Doc{T: "li"}
			for c := li.FirstChild(); c != nil; c = c.NextSibling() {
				switch c.(type) {
				case *ast.Paragraph, *ast.TextBlock:
					item.C = append(item.C, r.inlines(c)...)
				default:
					r.wrong(c.Pos(), "expected only text in a list item")
				}
			}
			ul.C = append(ul.C, item)
		}
		return ul, true
	case *ast.FencedCodeBlock, *ast.CodeBlock:
		var b strings.Builder
		for i := range n.Lines().Len() {
			seg := n.Lines().At(i)
			b.Write(seg.Value(r.src))
			r.mention(string(seg.Value(r.src)), seg.Start)
		}
		return Doc{T: "pre", S: strings.TrimRight(b.String(), "\n")}, true
	}
	r.wrong(n.Pos(), "expected a paragraph, a list with dashes or a code block, not %s", n.Kind())
	return Doc{}, false
}

func (r *proseReader) inlines(parent ast.Node) []Doc {
	var out []Doc
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Text:
			raw := string(n.Segment.Value(r.src))
			if i := strings.IndexAny(raw, "`*{}"); i >= 0 && (i == 0 || raw[i-1] != '\\') {
				if raw[i] == '{' || raw[i] == '}' {
					r.wrong(n.Segment.Start+i, "expected %q in backquotes: prose has no blanks to fill in", raw[i])
				} else {
					r.wrong(n.Segment.Start+i, "expected %q in pairs, or escaped with a backslash", raw[i])
				}
			}
			r.mention(raw, n.Segment.Start)
			s := string(util.ResolveEntityNames(util.ResolveNumericReferences(util.UnescapePunctuations([]byte(raw)))))
			if n.HardLineBreak() {
				r.wrong(n.Segment.Stop, "expected no line break inside a paragraph")
			}
			if n.SoftLineBreak() && !cjkBreak(s, r.src[n.Segment.Stop:]) {
				s += " "
			}
			if k := len(out); k > 0 && out[k-1].T == "text" {
				out[k-1].S += s
			} else if s != "" {
				out = append(out, Doc{T: "text", S: s})
			}
		case *ast.CodeSpan:
			var b strings.Builder
			for c := n.FirstChild(); c != nil; c = c.NextSibling() {
				t := c.(*ast.Text)
				b.Write(t.Segment.Value(r.src))
				r.mention(string(t.Segment.Value(r.src)), t.Segment.Start)
			}
			out = append(out, Doc{T: "code", S: b.String()})
		case *ast.Emphasis:
			out = append(out, Doc{T: map[int]string{1: "em", 2: "strong"}[n.Level], C: r.inlines(n)})
		case *ast.Link:
			href := string(n.Destination)
			if u, err := url.Parse(href); err != nil || u.Scheme != "https" || u.Host == "" {
				r.wrong(n.Pos(), "expected an https:// address in the link, not %q", href)
			}
			out = append(out, Doc{T: "a", Href: href, C: r.inlines(n)})
		default:
			r.wrong(n.Pos(), "expected text, `code`, *emphasis*, **strong** or a [link](https://…), not %s", n.Kind())
		}
	}
	return out
}

// cjkBreak reports whether a line break falls between two characters of a
// script that puts no spaces between words.
func cjkBreak(before string, after []byte) bool {
	a, _ := utf8.DecodeLastRuneInString(before)
	b, _ := utf8.DecodeRune(bytes.TrimLeft(after, " \t\r\n"))
	return wide(a) && wide(b)
}

func wide(r rune) bool {
	return unicode.Is(unicode.Han, r) || r >= 0x3000 && r <= 0x303f || r >= 0xff00 && r <= 0xffef
}

var ipv4 = regexp.MustCompile(`\d{1,3}(?:\.\d{1,3}){3}`)

func (r *proseReader) mention(s string, offset int) {
	for _, m := range ipv4.FindAllStringIndex(s, -1) {
		addr, err := netip.ParseAddr(s[m[0]:m[1]])
		if err != nil {
			r.wrong(offset+m[0], "expected an IPv4 address, not %q", s[m[0]:m[1]])
			continue
		}
		r.out.mentions = append(r.out.mentions, mention{s[m[0]:m[1]], addr, r.at(offset + m[0])})
	}
}
