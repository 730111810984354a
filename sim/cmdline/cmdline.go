// Package cmdline turns the words of a command into an operation, and what an
// operation came to into the words of the tool that was typed.
//
//	argv ──Parse──▶ Command{Node, Op} ──(a backend)──▶ op.Result ──Finish──▶ op.Result with Stderr and Status
//
//	ip link add br0 type bridge ┐
//	brctl addbr br0             ┴─▶ op.LinkAdd{Name: br0, Kind: bridge}
//	ip netns exec ns1 ping -c1 10.0.0.1 ─▶ Node ns1, op.Ping{Dst: 10.0.0.1, Count: 1}
//	iptables -nvL                       ─▶ op.Tool{Argv: …}, for the machine's own tool
//
// The rule that decides: a form becomes an operation only when the operation
// means the same to the last detail. Everything else, be it a listing, an
// option nobody modelled or nonsense, becomes op.Tool, and the machine's own
// tool answers it in its own way. Where a tool refuses before it asks the
// kernel, and a backend without tools should say the same, Parse returns a
// *UsageError with the tool's text and exit status.
//
// Texts and exit statuses are those of iproute2 6.1, iptables 1.8.9,
// bridge-utils 1.7, net-tools 2.10, procps 4.0 and iputils 20221126 (Debian
// 12); TestRealTools holds them against the machine's own.
package cmdline

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"vethlab/sim/op"
)

// Command is one parsed simple command.
type Command struct {
	Tool string // the tool that was typed: ip, brctl, iptables, …
	Node string // the node it names (ip netns exec, ip -n, nsenter); "" is where it was typed
	Op   op.Op

	enter string   // what named the node: "ip netns exec", "ip -n", "nsenter"
	argv  []string // the tool's words, for its sentences
	quiet bool     // sysctl -q
	depth int      // how many wrappers (sudo, ip netns exec) it came out of
}

// Argv is the command without what chose its node.
func (c Command) Argv() []string { return slices.Clone(c.argv) }

// UsageError is a refusal that needs no lab: what the tool prints when it does
// not accept its arguments, and its exit status.
type UsageError struct {
	Stderr string // ends with a newline
	Status int
}

func (e *UsageError) Error() string { return strings.TrimSuffix(e.Stderr, "\n") }

func usage(status int, format string, args ...any) *UsageError {
	return &UsageError{Stderr: fmt.Sprintf(format, args...) + "\n", Status: status}
}

// parser reads the words after the tool's name. It returns nil, nil for a
// form that has no operation.
type parser func(c *Command, args []string) (op.Op, error)

var tools map[string]parser

func init() { // not a literal: parsers of wrappers (ip netns exec) call Parse
	tools = map[string]parser{
		"ip":       parseIP,
		"brctl":    parseBrctl,
		"ifconfig": parseIfconfig,
		"route":    parseRoute,
		"iptables": parseIptables,
		"sysctl":   parseSysctl,
		"ping":     parsePing,
		"curl":     parseCurl,
		"python3":  parsePython,
		"dnsmasq":  parseDnsmasq,
		"pkill":    parseKill,
		"killall":  parseKill,
		"sleep":    parseSleep,
		"nsenter":  parseNsenter,
		"sudo":     parseSudo,
		"env":      parseEnv,
		"unshare":  parseUnshare,

		"docker-proxy": parseProxy,
	}
}

// Parse reads one simple command, already split into words by a shell. The
// error, if any, is a *UsageError.
func Parse(argv []string) (Command, error) { return parse(argv, 0) }

func parse(argv []string, depth int) (Command, error) {
	if len(argv) == 0 {
		return Command{}, usage(127, "bash: no command")
	}
	c := Command{Tool: argv[0], argv: argv, depth: depth}
	name := argv[0]
	if dir, base := path.Split(name); slices.Contains(programDirs, dir) {
		name = base
	}
	text := !slices.ContainsFunc(argv, func(a string) bool { return !utf8.ValidString(a) || strings.ContainsRune(a, 0) })
	if p := tools[name]; p != nil && depth < maxDepth && text {
		c.Tool = name
		o, err := p(&c, argv[1:])
		if err != nil {
			return c, err
		}
		if o != nil {
			c.Op = o
			return c, nil
		}
		c.Node, c.enter = "", ""
	}
	c.Op = op.Tool{Argv: slices.Clone(argv)}
	return c, nil
}

const maxDepth = 8

var programDirs = []string{"/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"}

// inner makes c what the command in argv is, run in a node (or, for sudo, here).
func (c *Command) inner(node, enter string, argv []string) (op.Op, error) {
	in, err := parse(argv, c.depth+1)
	if in.Node != "" && node != "" {
		return nil, nil // a node within a node: the machine's own tools know what that means
	}
	if err != nil {
		return nil, nil // the node is looked for first
	}
	if node == "" {
		node, enter = in.Node, in.enter
	}
	*c = in
	c.Node, c.enter = node, enter
	return in.Op, err
}

// nsenter --net=/run/netns/NAME CMD…, nsenter -t PID -n [-m -u] CMD…
// (util-linux, nsenter(1)). A process's namespace is the node /proc/PID/ns/net.
func parseNsenter(c *Command, args []string) (op.Op, error) {
	file, pid := "", ""
	net, mount := false, false
	rest := args
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		a := rest[0]
		rest = rest[1:]
		if a == "--" {
			break
		}
		if v, ok := strings.CutPrefix(a, "--net="); ok {
			file = v
			continue
		}
		if v, ok := strings.CutPrefix(a, "-n"); ok && strings.HasPrefix(v, "/") {
			file = v
			continue
		}
		if v, ok := strings.CutPrefix(a, "--target="); ok {
			pid = v
			continue
		}
		switch a {
		case "-t", "--target":
			if len(rest) == 0 {
				return nil, nil
			}
			pid, rest = rest[0], rest[1:]
		case "--net":
			net = true
		case "--mount":
			mount = true
		case "--uts":
		default:
			letters := strings.TrimPrefix(a, "-")
			if v, ok := strings.CutPrefix(letters, "t"); ok && isPid(v) {
				pid = v
				continue
			}
			if letters == "" || strings.Trim(letters, "num") != "" {
				return nil, nil
			}
			net = net || strings.Contains(letters, "n")
			mount = mount || strings.Contains(letters, "m")
		}
	}
	if len(rest) == 0 || (file == "") == !net {
		return nil, nil
	}
	if file == "" {
		if !isPid(pid) {
			return nil, nil
		}
		node := "/proc/" + pid + "/ns/net"
		o, err := c.inner(node, "nsenter "+node, rest)
		if _, tool := o.(op.Tool); tool && !mount {
			return nil, nil // it sees the files of where it was typed
		}
		return o, err
	}
	if p, ok := strings.CutPrefix(file, "/proc/"); ok && pid == "" {
		if p, ok = strings.CutSuffix(p, "/ns/net"); ok && isPid(p) {
			o, err := c.inner(file, "nsenter "+file, rest)
			if _, tool := o.(op.Tool); tool {
				return nil, nil
			}
			return o, err
		}
	}
	dir, name := path.Split(file)
	if pid != "" || mount || dir != "/run/netns/" && dir != "/var/run/netns/" || name == "" {
		return nil, nil
	}
	return c.inner(name, "nsenter "+file, rest)
}

func isPid(s string) bool { return s != "" && len(s) < 10 && strings.Trim(s, "0123456789") == "" }

// sudo CMD…: in a lab everybody is root already.
func parseSudo(c *Command, args []string) (op.Op, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") || strings.Contains(args[0], "=") {
		return nil, nil
	}
	return c.inner("", "", args)
}
