package lessons

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// A transcript is what lessons, tests and exports write commands in:
//
//	# build the pair
//	host# ip link add veth0 type veth \
//	        peer name veth1
//	host# for dev in veth0 veth1; do
//	        ip link set $dev up
//	      done
//	ns1$ ping -c1 172.18.0.1
//
// A line is NODE# COMMAND (or NODE$). A backslash at its end continues it, and
// so does a quote, a loop or a here-document that is still open. A line that
// begins with # is a comment.

var prompt = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.-]*)[#$](?:[ \t]+|$)`)

// ParseTranscript reads a transcript; name is the file's, for messages. The
// error is of the form FILE:LINE:COL: what was expected.
func ParseTranscript(name, src string) ([]Line, error) {
	rows := strings.Split(strings.ReplaceAll(src, "\r\n", "\n"), "\n")
	if len(rows) > 0 && rows[len(rows)-1] == "" {
		rows = rows[:len(rows)-1]
	}
	var lines []Line
	for i := 0; i < len(rows); {
		row := rows[i]
		if t := strings.TrimSpace(row); t == "" || strings.HasPrefix(t, "#") {
			i++
			continue
		}
		m := prompt.FindStringSubmatch(row)
		if m == nil {
			col := 1 + len(row) - len(strings.TrimLeft(row, " \t"))
			return nil, fmt.Errorf(`%s:%d:%d: expected "NODE# COMMAND", a comment or an empty line`, name, i+1, col)
		}
		text := row[len(m[0]):]
		if strings.TrimSpace(text) == "" {
			return nil, fmt.Errorf("%s:%d:%d: expected a command after the prompt", name, i+1, len(m[0])+1)
		}
		first := i
		i++
		var err error
		for {
			if strings.HasSuffix(text, `\`) && i >= len(rows) {
				return nil, fmt.Errorf("%s:%d:%d: expected the rest of the command after the backslash", name, i, len(rows[i-1]))
			}
			_, err = parseShell(text)
			if !Incomplete(text) || i >= len(rows) || prompt.MatchString(rows[i]) {
				break
			}
			text += "\n" + rows[i]
			i++
		}
		if se, ok := errors.AsType[*SyntaxError](err); ok {
			line, col := first+se.Line, se.Col
			if se.Line == 1 {
				col += len(m[0])
			}
			return nil, fmt.Errorf("%s:%d:%d: %s", name, line, col, se.Text)
		} else if err != nil {
			return nil, fmt.Errorf("%s:%d:%d: %w", name, first+1, len(m[0])+1, err)
		}
		lines = append(lines, Line{Node: m[1], Text: strings.TrimRight(text, " \t\n"), Pos: fmt.Sprintf("%s:%d:%d", name, first+1, len(m[0])+1)})
	}
	return lines, nil
}

// Incomplete reports whether a command goes on in the next line: it ends in a
// backslash, or a quote, a group or a here-document is still open.
func Incomplete(text string) bool {
	if strings.HasSuffix(text, `\`) {
		return true
	}
	_, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	return err != nil && (syntax.IsIncomplete(err) || strings.Contains(err.Error(), "unclosed here-document"))
}

// SplitPrompt cuts NODE# COMMAND in two.
func SplitPrompt(line string) (node, command string, ok bool) {
	m := prompt.FindStringSubmatch(line)
	if m == nil {
		return "", line, false
	}
	return m[1], line[len(m[0]):], true
}
