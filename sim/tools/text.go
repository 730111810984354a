package tools

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"vethlab/sim/op"
)

// What people put behind a pipe: grep 3.8, and head, tail, wc, sort and uniq of
// coreutils 9.1, in their usual forms.

func init() {
	for name, p := range map[string]program{"grep": grep, "egrep": grep, "fgrep": grep, "head": head, "tail": head, "wc": wc, "sort": sortLines, "uniq": uniq} {
		programs[name] = p
		delete(unmodelled, name)
	}
}

// texts are the files that are named, or what comes through the pipe; a file
// that is not there is told of, and ok is false.
func (c *call) texts(names []string) (found []namedText, ok bool) {
	if len(names) == 0 {
		return []namedText{{"-", c.stdin}}, true
	}
	ok = true
	for _, name := range names {
		if name == "-" {
			found = append(found, namedText{"-", c.stdin})
			continue
		}
		f, there := c.at(name)
		switch {
		case !there || f.dangling:
			c.warn("%s: %s: No such file or directory", c.argv[0], name)
			ok = false
		case f.dir:
			c.warn("%s: %s: Is a directory", c.argv[0], name)
			ok = false
		default:
			found = append(found, namedText{name, f.text})
		}
	}
	return found, ok
}

type namedText struct{ name, text string }

// linesOf are a text's lines without their ends.
func linesOf(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func grep(c *call) op.Result {
	argv := []string{c.argv[0]}
	long := map[string]string{"--invert-match": "-v", "--ignore-case": "-i", "--count": "-c", "--line-number": "-n", "--quiet": "-q", "--silent": "-q",
		"--only-matching": "-o", "--word-regexp": "-w", "--extended-regexp": "-E", "--fixed-strings": "-F", "--line-regexp": "-x", "--no-messages": "-s"}
	for _, a := range c.argv[1:] {
		switch name, _, _ := strings.Cut(a, "="); {
		case name == "--color" || name == "--colour" || name == "--line-buffered":
		case long[a] != "":
			argv = append(argv, long[a])
		case strings.HasPrefix(a, "--") && a != "--":
			notSimulated("grep %s", name)
		default:
			argv = append(argv, a)
		}
	}
	opts, operands, wrong := getopt(argv, "vicnqowEFGxshH", "eABCm")
	if wrong != "" {
		notSimulated("grep %s", strings.Join(c.argv[1:], " "))
	}
	set := map[byte]bool{'E': c.argv[0] == "egrep", 'F': c.argv[0] == "fgrep"}
	var patterns []string
	before, after, most := 0, 0, -1
	for _, o := range opts {
		set[o.name] = true
		if o.name == 'e' {
			patterns = append(patterns, o.value)
			continue
		}
		n, err := strconv.Atoi(cmp.Or(o.value, "0"))
		if err != nil || n < 0 {
			notSimulated("grep -%c %s", o.name, o.value)
		}
		switch o.name {
		case 'A':
			after = n
		case 'B':
			before = n
		case 'C':
			before, after = n, n
		case 'm':
			most = n
		}
	}
	if len(patterns) == 0 {
		if len(operands) == 0 {
			fail(2, "Usage: grep [OPTION]... PATTERNS [FILE]...\nTry 'grep --help' for more information.")
		}
		patterns, operands = operands[:1], operands[1:]
	}
	var alternatives []string
	for _, p := range patterns {
		for p := range strings.SplitSeq(p, "\n") {
			switch {
			case set['F']:
				p = regexp.QuoteMeta(p)
			case !set['E']:
				p = fromBasic(p)
			}
			alternatives = append(alternatives, "(?:"+p+")")
		}
	}
	pattern := strings.Join(alternatives, "|")
	if set['w'] {
		pattern = `\b(?:` + pattern + `)\b`
	}
	if set['x'] {
		pattern = "^(?:" + pattern + ")$"
	}
	if set['i'] {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		notSimulated("grep with the pattern %q", patterns[0])
	}
	files, ok := c.texts(operands)
	some := false
	for _, f := range files {
		prefix := ""
		if (len(operands) > 1 || set['H']) && !set['h'] {
			prefix = orElse(f.name == "-", "(standard input)", f.name)
		}
		lines := linesOf(f.text)
		count, printed := 0, -1
		show := func(i int, sep string) {
			s := ""
			if prefix != "" {
				s = prefix + sep
			}
			if set['n'] {
				s += strconv.Itoa(i+1) + sep
			}
			if set['o'] && sep == ":" {
				for _, m := range re.FindAllString(lines[i], -1) {
					if m != "" {
						c.out.WriteString(s + m + "\n")
					}
				}
			} else {
				c.out.WriteString(s + lines[i] + "\n")
			}
			printed = i
		}
		left := 0
		for i, line := range lines {
			switch {
			case re.MatchString(line) != set['v'] && (most < 0 || count < most):
				count++
				if set['q'] || set['c'] {
					continue
				}
				from := max(printed+1, i-before)
				if printed >= 0 && from > printed+1 && before+after > 0 {
					c.out.WriteString("--\n")
				}
				for k := from; k < i; k++ {
					show(k, "-")
				}
				show(i, ":")
				left = after
			case left > 0:
				left--
				show(i, "-")
			}
		}
		if set['c'] {
			fmt.Fprintf(&c.out, "%s%d\n", orElse(prefix != "", prefix+":", ""), count)
		}
		some = some || count > 0
	}
	switch {
	case some && (ok || set['q']):
		return c.done(0)
	case !ok:
		return c.done(2)
	}
	return c.done(1)
}

// fromBasic writes a basic regular expression (regex(7)) as an extended one.
func fromBasic(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		switch ch := p[i]; {
		case ch == '\\' && i+1 < len(p):
			i++
			if strings.IndexByte("|(){}+?", p[i]) >= 0 {
				b.WriteByte(p[i])
			} else {
				b.WriteString(`\` + p[i:i+1])
			}
		case ch == '[':
			end := i + 1
			if end < len(p) && p[end] == '^' {
				end++
			}
			if end < len(p) && p[end] == ']' {
				end++
			}
			for end < len(p) && p[end] != ']' {
				end++
			}
			b.WriteString(p[i:min(len(p), end+1)])
			i = end
		case strings.IndexByte("|(){}+?", ch) >= 0, ch == '*' && i == 0:
			b.WriteString(`\` + string(ch))
		default:
			b.WriteByte(ch)
		}
	}
	return b.String()
}

// head is head(1), and tail(1).
func head(c *call) op.Result {
	argv := []string{c.argv[0]}
	for _, a := range c.argv[1:] { // -5 is -n 5
		if len(a) > 1 && a[0] == '-' && strings.Trim(a[1:], "0123456789") == "" {
			argv = append(argv, "-n", a[1:])
		} else {
			argv = append(argv, a)
		}
	}
	opts, operands, wrong := getopt(argv, "q", "n")
	if wrong != "" {
		notSimulated("%s %s", c.argv[0], strings.Join(c.argv[1:], " "))
	}
	n, sign := 10, ""
	for _, o := range opts {
		if o.name == 'n' {
			text := strings.TrimLeft(o.value, "+-")
			sign = o.value[:len(o.value)-len(text)]
			var err error
			if n, err = strconv.Atoi(text); err != nil {
				fail(1, "%s: invalid number of lines: ‘%s’", c.argv[0], o.value)
			}
		}
	}
	files, ok := c.texts(operands)
	if len(files) > 1 {
		notSimulated("%s of several files", c.argv[0])
	}
	for _, f := range files {
		lines := strings.SplitAfter(f.text, "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		from, to := 0, len(lines)
		switch {
		case c.argv[0] == "head" && sign == "-":
			to = max(0, to-n)
		case c.argv[0] == "head":
			to = min(to, n)
		case sign == "+":
			from = min(to, max(0, n-1))
		default:
			from = max(0, to-n)
		}
		c.out.WriteString(strings.Join(lines[from:to], ""))
	}
	return c.done(orElse(ok, 0, 1))
}

func wc(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "lwc")
	files, ok := c.texts(args)
	if len(files) > 1 {
		notSimulated("wc of several files")
	}
	for _, f := range files {
		counts := map[rune]int{'l': strings.Count(f.text, "\n"), 'w': len(strings.Fields(f.text)), 'c': len(f.text)}
		var columns []string
		for _, o := range "lwc" {
			if options == "" || strings.ContainsRune(options, o) {
				columns = append(columns, strconv.Itoa(counts[o]))
			}
		}
		if len(columns) > 1 { // as wide as the file is long, or 7 of what has no length
			width := orElse(f.name == "-", 7, len(strconv.Itoa(len(f.text))))
			for i := range columns {
				columns[i] = fmt.Sprintf("%*s", width, columns[i])
			}
		}
		fmt.Fprintln(&c.out, strings.Join(columns, " ")+orElse(f.name == "-", "", " "+f.name))
	}
	return c.done(orElse(ok, 0, 1))
}

func sortLines(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "nru")
	files, ok := c.texts(args)
	var lines []string
	for _, f := range files {
		lines = append(lines, linesOf(f.text)...)
	}
	number := func(s string) float64 {
		s = strings.TrimLeft(s, " \t")
		end := 0
		for end < len(s) && strings.IndexByte("0123456789.-", s[end]) >= 0 {
			end++
		}
		f, _ := strconv.ParseFloat(s[:end], 64) // what is no number sorts as 0
		return f
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		order := 0
		if strings.Contains(options, "n") {
			order = cmp.Compare(number(a), number(b))
		}
		if order = cmp.Or(order, cmp.Compare(a, b)); strings.Contains(options, "r") {
			return -order
		}
		return order
	})
	if strings.Contains(options, "u") {
		lines = slices.Compact(lines)
	}
	for _, l := range lines {
		c.out.WriteString(l + "\n")
	}
	return c.done(orElse(ok, 0, 2))
}

func uniq(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "c")
	files, ok := c.texts(args)
	if len(files) > 1 {
		notSimulated("uniq into a file")
	}
	for _, f := range files {
		lines := linesOf(f.text)
		for i := 0; i < len(lines); {
			n := 1
			for i+n < len(lines) && lines[i+n] == lines[i] {
				n++
			}
			c.out.WriteString(orElse(options != "", fmt.Sprintf("%7d ", n), "") + lines[i] + "\n")
			i += n
		}
	}
	return c.done(orElse(ok, 0, 1))
}
