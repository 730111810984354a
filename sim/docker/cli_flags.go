package docker

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Flags as the client reads them (spf13/pflag), with its words when they are
// wrong.

// flag is one option of a command.
type flag struct {
	name  string
	short byte // 0: none
	kind  string
	value string   // of what is no list
	list  []string // of a list
	set   bool
	check func(string) (string, error) // of each value; nil takes any
	// deaf: a container here has no such thing (a volume, a limit of memory); the
	// flag is read, and changes nothing.
	deaf bool
}

// Kinds of values, as usage names them.
const (
	boolKind = ""
	textKind = "string"
	listKind = "list"
	intKind  = "int"
)

// flagSet is a command's options and how it is used.
type flagSet struct {
	path, use, short string
	min, max         int  // operands; max < 0: any number
	strict           bool // options end at the first operand
	flags            []*flag
}

// newFlags describes a command: its name, what follows that in its usage, what
// it is for, and how many operands it takes.
func newFlags(path, use, short string, min, max int) *flagSet {
	return &flagSet{path: path, use: use, short: short, min: min, max: max}
}

func (f *flagSet) add(kind, name, short string) *flag {
	g := &flag{name: name, kind: kind}
	if short != "" {
		g.short = short[0]
	}
	f.flags = append(f.flags, g)
	return g
}

func (f *flagSet) boolean(name, short string) *flag { return f.add(boolKind, name, short) }
func (f *flagSet) text(name, short string) *flag    { return f.add(textKind, name, short) }
func (f *flagSet) list(name, short string) *flag    { return f.add(listKind, name, short) }

func (g *flag) on() bool { return g.value == "true" }

func (g *flag) int() int {
	n, _ := strconv.Atoi(g.value) // read already
	return n
}

// assign takes a value in.
func (g *flag) assign(v string) error {
	var err error
	switch g.kind {
	case boolKind:
		var b bool
		if b, err = strconv.ParseBool(v); err == nil {
			v = strconv.FormatBool(b)
		}
	case intKind:
		_, err = strconv.ParseInt(v, 0, 64)
	case "duration":
		_, err = time.ParseDuration(v)
	}
	if err == nil && g.check != nil {
		v, err = g.check(v)
	}
	if err != nil {
		name := "--" + g.name
		if g.short != 0 {
			name = "-" + string(g.short) + ", " + name
		}
		return fmt.Errorf("invalid argument %q for %q flag: %v", v, name, err)
	}
	g.set = true
	if g.kind == listKind {
		g.list = append(g.list, v)
	} else {
		g.value = v
	}
	return nil
}

func (f *flagSet) named(name string) *flag {
	for _, g := range f.flags {
		if g.name == name {
			return g
		}
	}
	return nil
}

func (f *flagSet) lettered(b byte) *flag {
	for _, g := range f.flags {
		if g.short == b {
			return g
		}
	}
	return nil
}

// errHelp asks for the usage.
var errHelp = fmt.Errorf("help requested")

// read takes the options out of args.
func (f *flagSet) read(args []string) (operands []string, err error) {
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		switch {
		case a == "--":
			return append(operands, args...), nil
		case len(a) < 2 || a[0] != '-':
			operands = append(operands, a)
			if f.strict {
				return append(operands, args...), nil
			}
		case strings.HasPrefix(a, "--"):
			name, v, has := strings.Cut(a[2:], "=")
			if name == "" || name[0] == '-' {
				return nil, fmt.Errorf("bad flag syntax: %s", a)
			}
			g := f.named(name)
			switch {
			case g == nil && name == "help":
				return nil, errHelp
			case g == nil:
				return nil, fmt.Errorf("unknown flag: --%s", name)
			case has:
			case g.kind == boolKind:
				v = "true"
			case len(args) == 0:
				return nil, fmt.Errorf("flag needs an argument: %s", a)
			default:
				v, args = args[0], args[1:]
			}
			if err := g.assign(v); err != nil {
				return nil, err
			}
		default:
			for letters := a[1:]; letters != ""; {
				g := f.lettered(letters[0])
				switch {
				case g == nil && letters[0] == 'h':
					return nil, errHelp
				case g == nil:
					return nil, fmt.Errorf("unknown shorthand flag: %q in -%s", letters[0], letters)
				}
				v := "true"
				switch {
				case len(letters) > 2 && letters[1] == '=':
					v, letters = letters[2:], ""
				case g.kind == boolKind:
					letters = letters[1:]
				case len(letters) > 1:
					v, letters = letters[1:], ""
				case len(args) == 0:
					return nil, fmt.Errorf("flag needs an argument: %q in -%s", letters[0], letters)
				default:
					v, args, letters = args[0], args[1:], ""
				}
				if err := g.assign(v); err != nil {
					return nil, err
				}
			}
		}
	}
	return operands, nil
}

// parse reads a command's options. When it is over with that, done is set and
// status is the client's.
func (c *call) parse(f *flagSet, args []string) (operands []string, status int, done bool) {
	if f.named("explain") == nil {
		f.boolean("explain", "")
	}
	operands, err := f.read(args)
	switch {
	case err == errHelp:
		c.out.WriteString(f.help())
		return nil, 0, true
	case err != nil:
		fmt.Fprintf(&c.errs, "%v\nSee '%s --help'.\n", err, f.path)
		return nil, 125, true
	}
	n := len(operands)
	wrong := ""
	switch {
	case n >= f.min && (n <= f.max || f.max < 0):
		if f.named("explain").on() && !c.explain {
			c.tell = true // it begins again; see Apply
			return nil, 0, true
		}
		return operands, 0, false
	case f.max == 0:
		wrong = "accepts no arguments."
	case f.min == f.max:
		wrong = fmt.Sprintf("requires exactly %s.", arguments(f.min))
	case f.max < 0:
		wrong = fmt.Sprintf("requires at least %s.", arguments(f.min))
	case f.min == 0:
		wrong = fmt.Sprintf("requires at most %s.", arguments(f.max))
	default:
		wrong = fmt.Sprintf("requires at least %d and at most %s.", f.min, arguments(f.max))
	}
	fmt.Fprintf(&c.errs, "%q %s\nSee '%s --help'.\n\nUsage:  %s\n\n%s\n", f.path, wrong, f.path, f.usage(), f.short)
	return nil, 1, true
}

func arguments(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return strconv.Itoa(n) + " arguments"
}

func (f *flagSet) usage() string { return strings.TrimSpace(f.path + " " + f.use) }

// help is what --help prints. The options' descriptions are left to docker's
// own manual.
func (f *flagSet) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nUsage:  %s\n\n%s\n", f.usage(), f.short)
	head := "\nOptions:\n"
	for _, g := range f.flags {
		if g.deaf {
			continue
		}
		short := "    "
		if g.short != 0 {
			short = "-" + string(g.short) + ", "
		}
		what := ""
		if g.name == "explain" {
			what = "        Print the operations, as lines to be typed by hand, and do nothing"
		}
		b.WriteString(head + strings.TrimRight(fmt.Sprintf("  %s--%s %s%s", short, g.name, g.kind, what), " ") + "\n")
		head = ""
	}
	return b.String()
}
