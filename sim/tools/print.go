package tools

import (
	"fmt"
	"strconv"
	"strings"
)

// printer writes what a listing holds either as text or as JSON, as
// iproute2's lib/json_print.c does: each call names the JSON field and the
// text's format, and only one of the two is written. An empty key is for the
// text alone, an empty format for JSON alone.
type printer struct {
	json, pretty, color bool
	eol                 string // of a line of text: "\n", or "\\" with -o

	b     *strings.Builder
	depth int
	sep   byte // what goes before the next value; 0 for nothing
}

// Colours of ip -c (lib/color.c).
const (
	cyan    = "\x1b[36m" // an interface
	yellow  = "\x1b[33m" // a MAC address
	magenta = "\x1b[35m" // an address of IPv4
	green   = "\x1b[32m" // up
	red     = "\x1b[31m" // down
	plain   = "\x1b[0m"
)

// text writes text, when it is text that is wanted.
func (p *printer) text(format string, args ...any) {
	if !p.json {
		fmt.Fprintf(p.b, format, args...)
	}
}

// nl ends a line that belongs to the same entry.
func (p *printer) nl() { p.text("%s", p.eol) }

// str writes a string.
func (p *printer) str(key, format, v string) { p.cstr("", key, format, v) }

// cstr writes a string in a colour.
func (p *printer) cstr(color, key, format, v string) {
	switch {
	case p.json && key != "":
		p.name(key)
		p.item(quoteJSON(v))
	case p.json || format == "":
	case p.color && color != "":
		p.b.WriteString(color + fmt.Sprintf(format, v) + plain)
	default:
		fmt.Fprintf(p.b, format, v)
	}
}

// num writes a number.
func (p *printer) num(key, format string, v int) {
	switch {
	case p.json && key != "":
		p.name(key)
		p.item(strconv.Itoa(v))
	case !p.json && format != "":
		fmt.Fprintf(p.b, format, v)
	}
}

// raw writes a JSON value that is written otherwise in text.
func (p *printer) raw(key, value, text string) {
	if p.json {
		p.name(key)
		p.item(value)
		return
	}
	p.b.WriteString(text)
}

// hex writes a number that JSON too has as a string: 0x1f.
func (p *printer) hex(key, format string, v uint64) {
	s := "0"
	if v != 0 {
		s = fmt.Sprintf("0x%x", v)
	}
	p.str(key, format, s)
}

// onOff writes a switch: on or off, in JSON true or false.
func (p *printer) onOff(key, format string, v bool) {
	if p.json {
		p.raw(key, strconv.FormatBool(v), "")
		return
	}
	p.text(format, map[bool]string{true: "on", false: "off"}[v])
}

// flag writes a word that is there or not; in JSON it is true.
func (p *printer) flag(key, text string) { p.raw(key, "true", text) }

// null writes a word that is there or not; in JSON it is null.
func (p *printer) null(key, text string) { p.raw(key, "null", text) }

// list writes words in a row; in JSON an array.
func (p *printer) list(key, format string, words []string) {
	p.openArray(key)
	for _, w := range words {
		if p.json {
			p.item(quoteJSON(w))
		} else {
			fmt.Fprintf(p.b, format, w)
		}
	}
	p.closeArray()
}

// begin begins the document, and end ends it; text has neither.
func (p *printer) begin() { p.openArray("") }

func (p *printer) end() {
	p.closeArray()
	if p.json {
		p.b.WriteByte('\n')
		p.sep = 0
	}
}

func (p *printer) open(key string) { p.bracket(key, '{') }
func (p *printer) close()          { p.unbracket('}') }

func (p *printer) openArray(key string) {
	p.bracket(key, '[')
	if p.json && p.pretty {
		p.b.WriteByte(' ')
	}
}

func (p *printer) closeArray() {
	if !p.json {
		return
	}
	if p.pretty && p.sep != 0 {
		p.b.WriteByte(' ')
	}
	p.sep = 0
	p.unbracket(']')
}

func (p *printer) bracket(key string, c byte) {
	if !p.json {
		return
	}
	if key != "" {
		p.name(key)
	}
	p.item(string(c))
	p.depth++
	p.sep = 0
}

func (p *printer) unbracket(c byte) {
	if !p.json {
		return
	}
	p.depth--
	if p.sep != 0 {
		p.line()
	}
	p.b.WriteByte(c)
	p.sep = ','
}

// name writes the name of a field.
func (p *printer) name(key string) {
	if key == "" {
		return
	}
	if p.sep != 0 {
		p.b.WriteByte(p.sep)
	}
	p.line()
	p.b.WriteString(quoteJSON(key) + ":")
	if p.pretty {
		p.b.WriteByte(' ')
	}
	p.sep = 0
}

// item writes a value, or the bracket that begins one.
func (p *printer) item(s string) {
	if p.sep != 0 {
		p.b.WriteByte(p.sep)
	}
	p.b.WriteString(s)
	p.sep = ','
}

func (p *printer) line() {
	if p.pretty {
		p.b.WriteString("\n" + strings.Repeat("    ", p.depth))
	}
}

var jsonEscapes = strings.NewReplacer("\t", `\t`, "\n", `\n`, "\r", `\r`, "\f", `\f`, "\b", `\b`, `\`, `\\`, `"`, `\"`)

func quoteJSON(s string) string { return `"` + jsonEscapes.Replace(s) + `"` }

// arrayOf writes an array of words that text has in its own way.
func (p *printer) arrayOf(key string, words []string) {
	if p.json {
		p.list(key, "", words)
	}
}
