package op

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// Deed is one operation that a command consists of, as a line of a transcript:
// NODE# TEXT. `docker run` is a row of them.
type Deed struct {
	Node   string `json:"node"`
	Text   string `json:"text"`
	Status int    `json:"status"`
}

// Spawn starts a process in the background. Its result's Output is the
// process's number and a newline.
//
// The processes of a lab that were started so have the numbers 10001, 10002, …,
// where the kernel lets somebody choose: a lab that is built again has the same.
//
// A namespace that no name in /run/netns pins, but a process keeps, is a node
// too: of the name that the process has in its variable NODE, else pid-N.
type Spawn struct {
	Argv   []string
	NewNet bool   `json:",omitempty"` // in a new network namespace: unshare --net
	Node   string `json:",omitempty"` // with NewNet: its variable NODE
	// Hostname and Files are what the process sees and, with NewNet, those who enter
	// its node: at each path of Files the file of the machine that it names
	// (unshare --uts --mount, hostname, mount --bind).
	Hostname string            `json:",omitempty"`
	Files    map[string]string `json:",omitempty"`
}

// FileWrite writes a file of a machine, and makes the directories to it:
// printf TEXT > PATH.
type FileWrite struct{ Path, Text string }

// FirstSpawn is the number before that of the first process.
const FirstSpawn = 10000

func (Spawn) op()     {}
func (FileWrite) op() {}

func (o Spawn) String() string {
	if !o.NewNet && o.Hostname == "" && len(o.Files) == 0 {
		return words(o.Argv).String() + " &"
	}
	var b words
	if o.NewNet && o.Node != "" {
		b.add("env", "NODE="+o.Node)
	}
	b.add("unshare")
	if o.NewNet {
		b.add("--net")
	}
	if o.Hostname == "" && len(o.Files) == 0 {
		return append(b, o.Argv...).String() + " &"
	}
	var script []string
	if o.Hostname != "" {
		b.add("--uts")
		script = append(script, words{"hostname", o.Hostname}.String())
	}
	if len(o.Files) > 0 {
		b.add("--mount")
	}
	for _, at := range slices.Sorted(maps.Keys(o.Files)) {
		script = append(script, words{"mount", "--bind", o.Files[at], at}.String())
	}
	script = append(script, "exec "+words(o.Argv).String())
	b.add("sh", "-c", strings.Join(script, " && "))
	return b.String() + " &"
}

// inFormat writes a text as printf(1)'s format.
var inFormat = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\t", `\t`, "%", "%%")

func (o FileWrite) String() string {
	return "printf " + quote(inFormat.Replace(o.Text)) + " > " + quote(o.Path)
}

// ParseFileWrite reads what FileWrite.String writes.
func ParseFileWrite(line string) (o FileWrite, ok bool) {
	w, err := Words(line)
	if err != nil || len(w) != 4 || w[0] != "printf" || w[2] != ">" {
		return o, false
	}
	o.Path = w[3]
	var b strings.Builder
	for f := w[1]; f != ""; {
		escape, r := false, f[:1]
		if (f[0] == '\\' || f[0] == '%') && len(f) > 1 {
			escape, r = true, f[:2]
		}
		f = f[len(r):]
		switch {
		case !escape:
			b.WriteString(r)
		case r == `\n`:
			b.WriteByte('\n')
		case r == `\t`:
			b.WriteByte('\t')
		case r == `\\`, r == "%%":
			b.WriteByte(r[0])
		default:
			return o, false
		}
	}
	o.Text = b.String()
	return o, true
}

// Words splits a simple command into its words, as a shell does that knows only
// spaces, quotes and backslashes.
func Words(line string) ([]string, error) {
	var all []string
	var word strings.Builder
	begun := false
	var in rune // the quote we are within
	escaped := false
	for _, r := range line {
		switch {
		case escaped:
			if in == '"' && !strings.ContainsRune("\"\\$`", r) {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && in != '\'':
			escaped, begun = true, true
		case in != 0 && r == in:
			in = 0
		case in != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			in, begun = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if begun {
				all = append(all, word.String())
				word.Reset()
			}
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if in != 0 || escaped {
		return nil, errors.New("bash: the line ends within quotes")
	}
	if begun {
		all = append(all, word.String())
	}
	return all, nil
}

// At names the namespace that NAME is in the /run/netns of a node's machine: what
// `ip netns exec NAME` means there. Two machines may each have one of that name.
// A lab's Apply takes it for a node; where the machine has no such name, it is
// the node NAME.
func At(node, name string) string { return node + at + name }

const at = ">"

// SplitAt takes apart what At made; of any other name, node is "".
func SplitAt(s string) (node, name string) {
	if node, name, ok := strings.Cut(s, at); ok && node != "" {
		return node, name
	}
	return "", s
}
