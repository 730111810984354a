package rule

import (
	"fmt"
	"strings"
)

// This file reads what iptables-restore is given.

// Verbs that only iptables-restore has.
const (
	ResetTable   = Check << (iota + 1) // *TABLE: the table begins anew
	DeclareChain                       // :CHAIN POLICY [PACKETS:BYTES]
)

// Split takes a line of iptables-save apart into words. Only double quotes join
// words, and a backslash means something only within them (add_param_to_argv,
// iptables/xshared.c). The error is an *Error.
func Split(line string) (words []string, err error) {
	const maxWord, maxWords = 1024, 250
	var b strings.Builder
	open, escaped := false, false
	done := func() {
		words = append(words, b.String())
		b.Reset()
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case escaped:
			b.WriteByte(c)
			escaped = false
		case open && c == '\\':
			escaped = true
		case c == '"' && open:
			open = false
			done()
		case c == '"':
			open = true
		case !open && (c == ' ' || c == '\t' || c == '\n'):
			if b.Len() > 0 {
				done()
			}
		default:
			b.WriteByte(c)
		}
		if b.Len() >= maxWord {
			return nil, &Error{Text: "Parameter too long!", Status: wrongWords}
		}
	}
	if b.Len() > 0 {
		done()
	}
	if len(words) > maxWords {
		return nil, &Error{Text: "Parser cannot handle more arguments", Status: wrongWords}
	}
	return words, nil
}

// Restore are the options of iptables-restore.
type Restore struct {
	Prog     string
	Counters bool   // -c
	NoFlush  bool   // -n
	Test     bool   // -t
	Verbose  int    // -v
	Table    string // -T: only this one
}

// Run reads what iptables-restore is given, and calls commit with the commands
// of each table, and the number of the line with its COMMIT (xtables_restore_parse,
// iptables/xtables-restore.c). out is what was printed, notes what was said to
// stderr without failing.
func (o Restore) Run(text string, commit func(line int, commands []*Command) (string, *Error)) (out, notes string, err *Error) {
	var b, said strings.Builder
	defer func() { out, notes = b.String(), said.String() }()
	var table string // the one its lines are for
	var commands []*Command
	inTable := false
	line := 0
	wrong := func(format string, args ...any) *Error {
		return failure(o.Prog, line, wrongWords, fmt.Sprintf(format, args...))
	}
	for text != "" {
		s, rest, _ := strings.Cut(text, "\n")
		text = rest
		line++
		var f []string
		switch {
		case s == "":
		case s[0] == '#':
			if o.Verbose > 0 {
				b.WriteString(s + "\n")
			}
		case inTable && s == "COMMIT":
			if !o.Test {
				out, err := commit(line, commands)
				b.WriteString(out)
				if err != nil {
					return "", "", err
				}
			}
			inTable, commands = false, nil
		case s[0] == '*' && !inTable:
			f = strings.FieldsFunc(s[1:], func(r rune) bool { return r == ' ' || r == '\t' })
			if len(f) == 0 {
				return "", "", wrong("%s: line %d table name invalid", o.Prog, line)
			}
			if Hooks(f[0]) == nil {
				return "", "", wrong("%s: line %d table name '%s' invalid", o.Prog, line, f[0])
			}
			table = f[0]
			if o.Table != "" && o.Table != table {
				continue
			}
			inTable = true
			c := Command{Prog: o.Prog, Line: line, Table: table}
			switch {
			case o.NoFlush:
			case o.Verbose > 0:
				flush, del := c, c
				flush.Verb, flush.Verbose = Flush, 1
				del.Verb, del.Verbose = DeleteChain, 1
				commands = append(commands, &flush, &del)
			default:
				c.Verb = ResetTable
				commands = append(commands, &c)
			}
		case s[0] == ':' && inTable:
			f = strings.FieldsFunc(s[1:], func(r rune) bool { return r == ' ' || r == '\t' })
			if len(f) == 0 {
				return "", "", wrong("%s: line %d chain name invalid", o.Prog, line)
			}
			if msg := badChainName(f[0]); msg != "" {
				return "", "", wrong("%s", msg)
			}
			if len(f) == 1 {
				return "", "", wrong("%s: line %d policy invalid", o.Prog, line)
			}
			c := &Command{Prog: o.Prog, Line: line, Table: table, Chain: f[0], Verb: DeclareChain}
			if _, ok := Builtin(table, c.Chain); ok {
				c.Policy = f[1]
				if o.Counters {
					if len(f) < 3 || !c.readCounters(f[2]) {
						return "", "", wrong("invalid policy counters for chain '%s'", c.Chain)
					}
				}
			}
			commands = append(commands, c)
		case inTable:
			argv := []string{o.Prog, "-t", table}
			for range o.Verbose {
				if !o.NoFlush {
					argv = append(argv, "-v")
				}
			}
			if s[0] == '[' {
				end := strings.IndexByte(s, ']')
				if end < 0 {
					return "", "", wrong("Bad line %d: need ]", line)
				}
				packets, bytes, ok := strings.Cut(strings.TrimLeft(s[1:end], ":"), ":")
				switch {
				case packets == "":
					return "", "", wrong("Bad line %d: need :", line)
				case !ok || bytes == "":
					return "", "", wrong("Bad line %d: need ]", line)
				}
				if o.Counters {
					argv = append(argv, "--set-counters", packets, bytes)
				}
				s = s[end+1:]
			}
			words, err := Split(s)
			if e, ok := err.(*Error); ok {
				return "", "", wrong("%s", e.Text)
			}
			c, err := ParseLine(append(argv, words...), line)
			if e, ok := err.(*Error); ok {
				return "", "", e
			}
			said.WriteString(c.Notes)
			if c.Done {
				b.WriteString(c.Output)
				if c.Output != "" {
					return "", "", nil
				}
				continue
			}
			if c.Verb&(List|ListRules) != 0 {
				return "", "", notSimulated("%s with -%s", o.Prog, c.Verb.letter()) // it lists what is not committed yet
			}
			commands = append(commands, c)
		case o.Table != "" && table != "" && table != o.Table:
		default:
			return "", "", &Error{Text: fmt.Sprintf("%s: line %d failed\n", o.Prog, line), Status: other}
		}
	}
	if inTable {
		return "", "", &Error{Text: fmt.Sprintf("%s: COMMIT expected at line %d\n", o.Prog, line+1), Status: other}
	}
	return "", "", nil
}

// readCounters reads [PACKETS:BYTES].
func (c *Command) readCounters(s string) bool {
	s, ok := strings.CutPrefix(s, "[")
	packets, bytes, colon := strings.Cut(s, ":")
	var ok1, ok2 bool
	c.Packets, ok1 = scan(packets)
	c.Bytes, ok2 = scan(bytes)
	return ok && colon && ok1 && ok2
}
