package lessons

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// WriteScript writes a lesson's transcript as a bash script that runs by
// itself on a root machine, with the real ip, brctl, iptables and so on. lang
// is the language of its comments.
//
// The script is two scripts: the outer one asks for new pid, mount and network
// namespaces, the inner one builds the world and plays the lesson in them. It
// prints each command before running it and ends with status 1 if one failed
// that should not have, or the other way round.
//
// A lesson that uses docker has no script: it would act on the machine's own
// daemon, which is in none of the script's namespaces.
func WriteScript(w io.Writer, l *Lesson, lang string) error {
	for _, st := range l.Steps {
		for _, c := range st.Commands {
			if words := strings.Fields(c.Text); slices.Contains([]string{"docker", "dockerd"}, words[0]) {
				return fmt.Errorf("%s has no script: it uses docker, and the script's would be the machine's own", l.ID)
			}
		}
	}
	b := bufio.NewWriter(w)
	s := scriptWriter{w: b, machines: map[string]bool{}}
	tools := map[string]bool{"ip": true, "unshare": true, "nsenter": true, "ss": true, "sysctl": true, "mount": true}
	for _, n := range l.Start.Nodes {
		s.machines[n.Name] = true
	}
	for _, st := range l.Steps {
		for _, c := range st.Commands {
			for _, t := range s.toolsOf(c.Text) {
				tools[t] = true
			}
		}
	}
	s.line("#!/usr/bin/env bash")
	s.line("# %s", l.Title[lang])
	s.line("#")
	s.line("# The commands of vethlab's lesson %s, by the machine's own tools.", l.ID)
	s.line("# Run it as root. It works in namespaces of its own, and the machine's network is")
	s.line("# not touched: when the script ends, however it ends, the kernel takes back every")
	s.line("# namespace, link, rule and process of it.")
	s.line("set -u")
	s.line("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin   # su keeps the PATH of a user who has none of these")
	s.line(`if [ "$(id -u)" != 0 ]; then echo "this script needs root" >&2; exit 1; fi`)
	s.line("for tool in %s; do", strings.Join(slices.Sorted(maps.Keys(tools)), " "))
	s.line(`	command -v "$tool" >/dev/null || { echo "this script needs $tool" >&2; exit 1; }`)
	s.line("done")
	s.line("exec unshare --net --mount --pid --fork --kill-child --mount-proc bash -s <<'LESSON'")
	b.WriteString(scriptPrelude)

	s.line("")
	s.line("# The world: %s", l.World)
	for _, n := range l.Start.Nodes {
		s.line("machine %s%s", n.Name, map[bool]string{true: "   # " + string(n.Kind)}[n.Kind == state.Switch])
	}
	for _, c := range l.Start.Setup {
		s.setup(c)
	}
	for i := range l.Steps {
		s.step(i, &l.Steps[i], lang)
	}
	s.line("")
	s.line(`exit $(( surprises > 0 ))`)
	s.line("LESSON")
	return b.Flush()
}

// scriptPrelude is what the inner script's commands are made of.
const scriptPrelude = `set -u
declare -A pid          # of each machine: its first process
declare -A home inode   # of each namespace made in a machine: the machine, and its inode
surprises=0
trap 'exit 130' INT TERM HUP   # process 1 of a pid namespace: when it goes, all others go

# machine NAME: a network namespace of its own, with its own /run/netns and /sys.
machine() {
	unshare --net --mount --propagation private sh -c '
		mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && mkdir -p /run/netns /run/lock /run/www &&
		echo "hello from $0" > /run/www/index.html && echo "hosts: files" > /run/nsswitch.conf &&
		{ [ ! -e /etc/nsswitch.conf ] || mount --bind /run/nsswitch.conf /etc/nsswitch.conf; } &&
		: > /run/ready && exec sleep infinity' "$1" </dev/null &
	pid[$1]=$!
	local i
	for i in {1..200}; do
		nsenter --net="/proc/${pid[$1]}/ns/net" --mount="/proc/${pid[$1]}/ns/mnt" test -e /run/ready && break
		sleep 0.02
	done
	[ "$i" != 200 ] || { echo "machine $1 could not be made" >&2; exit 1; }
	fresh "$1"
}

# in_node NODE COMMAND…: a machine, or a namespace that was made in host.
in_node() {
	local node=$1; shift
	if [ -z "${pid[$node]:-}" ]; then in_node "${home[$node]}" ip netns exec "$node" "$@"; return; fi
	nsenter --net="/proc/${pid[$node]}/ns/net" --mount="/proc/${pid[$node]}/ns/mnt" -- \
		sh -c 'cd /run/www && exec "$@"' sh "$@" </dev/null
}

# fresh NODE: a new namespace inherits settings from the machine's own; take the
# kernel's defaults instead, and leave IPv6 out of it.
fresh() {
	in_node "$1" sh -c '
		echo 0 > /proc/sys/net/ipv4/ip_forward
		for d in /proc/sys/net/ipv4/conf/*; do echo 0 > "$d/rp_filter"; echo 0 > "$d/route_localnet"; done
		for d in /proc/sys/net/ipv6/conf/*; do [ ! -e "$d/disable_ipv6" ] || echo 1 > "$d/disable_ipv6"; done'
}

# run NODE COMMAND…: it is meant to succeed. fails NODE COMMAND…: it is meant not to.
run() { show "$@"; in_node "$@" || surprise "$? (it should have succeeded)"; }
fails() { show "$@"; if in_node "$@"; then surprise "0 (it should have failed)"; else echo "(status $?, as it should be)"; fi; }
step() { printf '\n── %s\n' "$1"; }
show() { local node=$1; shift; printf '\n%s# %s\n' "$node" "$*"; }
surprise() { surprises=$((surprises+1)); echo "!!! status $1" >&2; }

# serve NODE PORT COMMAND…: in the background, until it listens.
serve() {
	local node=$1 port=$2; shift 2
	show "$node" "$@" '&'
	in_node "$node" "$@" >/dev/null 2>&1 &
	local i
	for i in {1..200}; do
		in_node "$node" ss -Hltun "sport = :$port" | grep -q . && return
		sleep 0.05
	done
	surprise "unknown: nothing listens on port $port of $node"
}

# born MACHINE NAME: a namespace was made.
born() { home[$2]=$1; inode[$2]=$(in_node "$1" stat -Lc %i "/run/netns/$2"); fresh "$2"; }

# stop NODE NAME: end the node's processes whose command line holds NAME. A
# namespace without a name can still be told by its inode.
stop() {
	local node=$1 name=$2 p some=1
	show "$node" pkill -f "$name"
	[ -n "${inode[$node]:-}" ] || inode[$node]=$(in_node "$node" stat -Lc %i /proc/self/ns/net)
	for _ in {1..100}; do
		some=
		for p in /proc/[0-9]*; do
			[ "$(readlink "$p/ns/net")" = "net:[${inode[$node]}]" ] || continue
			tr '\0' ' ' 2>/dev/null < "$p/cmdline" | grep -qF -- "$name" || continue
			kill "${p#/proc/}" 2>/dev/null; some=1
		done
		[ -n "$some" ] || break
		sleep 0.02
	done
	sleep 0.5   # the kernel takes a namespace apart in the background
}
`

type scriptWriter struct {
	w        *bufio.Writer
	machines map[string]bool
}

func (s *scriptWriter) line(format string, args ...any) { fmt.Fprintf(s.w, format+"\n", args...) }

// setup writes an operation of the world's.
func (s *scriptWriter) setup(c op.Line) {
	switch o := c.Op.(type) {
	case op.HTTPServe, op.DNSServe:
		s.serve(c.Node, o)
	case op.LinkAdd:
		// A machine is known by its process: no name of it is in another's /run/netns.
		machine := o.PeerNetns
		o.PeerNetns = ""
		text := o.String()
		if machine != "" {
			text += fmt.Sprintf(` netns "${pid[%s]}"`, machine)
		}
		s.line("in_node %s %s", c.Node, text)
	case op.SysctlSet:
		s.line("in_node %s sysctl -q -e -w %s=%s", c.Node, o.Key, o.Value)
	default:
		s.line("in_node %s %s", c.Node, o)
	}
}

func (s *scriptWriter) serve(node string, o op.Op) {
	switch o := o.(type) {
	case op.HTTPServe:
		s.line("serve %s %d %s", node, o.Port, strings.TrimSuffix(o.String(), " &"))
	case op.DNSServe:
		words := strings.TrimPrefix(strings.TrimSuffix(o.String(), " &"), "dnsmasq")
		s.line("if command -v dnsmasq >/dev/null; then")
		s.line("	serve %s 53 dnsmasq -k -C /dev/null -R -u root -x ''%s", node, words)
		s.line("fi")
	}
}

func (s *scriptWriter) step(i int, st *Step, lang string) {
	title := cmp.Or(st.Title[lang], st.Title[Languages[0]])
	s.line("")
	s.line("step %s", quoteArg(strconv.Itoa(i+1)+". "+title))
	for k, c := range st.Commands {
		s.command(c, slices.Contains(st.Fails, k))
	}
}

// command writes a line of the lesson's.
func (s *scriptWriter) command(c Line, fails bool) {
	verb := "run"
	if fails {
		verb = "fails"
	}
	words, ok := plainWords(c.Text)
	if !ok {
		s.line("%s %s bash -c %s", verb, c.Node, quoteArg(c.Text))
		return
	}
	cmd, err := cmdline.Parse(words)
	node := cmp.Or(cmd.Node, c.Node)
	if err == nil {
		switch o := cmd.Op.(type) {
		case op.HTTPServe, op.DNSServe:
			s.serve(node, o)
			return
		case op.ProcKill:
			s.line("stop %s %s", node, quoteArg(o.Name))
			return
		case op.NetnsAdd:
			s.line("%s %s %s", verb, c.Node, quoteArgs(words))
			s.line("born %s %s", c.Node, quoteArg(o.Name))
			return
		}
	}
	s.line("%s %s %s", verb, c.Node, quoteArgs(words))
}

func (s *scriptWriter) toolsOf(text string) (tools []string) {
	words, ok := plainWords(text)
	if !ok {
		return []string{"bash"}
	}
	if cmd, err := cmdline.Parse(words); err == nil {
		switch o := cmd.Op.(type) {
		case op.DNSServe, op.ProcKill:
			return nil
		case op.Tool:
			return []string{o.Argv[0]}
		}
		return []string{words[0], cmp.Or(cmd.Tool, words[0])}
	}
	return words[:1]
}

// plainWords splits a line that is one simple command without anything for a
// shell to do but quotes. A & at its end is allowed.
func plainWords(text string) ([]string, bool) {
	file, err := parseShell(text)
	if err != nil || len(file.Stmts) != 1 {
		return nil, false
	}
	st := file.Stmts[0]
	call, ok := st.Cmd.(*syntax.CallExpr)
	if !ok || st.Negated || len(st.Redirs) > 0 || len(call.Assigns) > 0 {
		return nil, false
	}
	var words []string
	for _, w := range call.Args {
		text, ok := literal(w.Parts)
		if !ok {
			return nil, false
		}
		words = append(words, text)
	}
	return words, len(words) > 0
}

// literal is the text of a word that needs no expansion.
func literal(parts []syntax.WordPart) (string, bool) {
	var b strings.Builder
	for _, p := range parts {
		switch p := p.(type) {
		case *syntax.Lit:
			if strings.ContainsAny(p.Value, `\*?[{~`) {
				return "", false
			}
			b.WriteString(p.Value)
		case *syntax.SglQuoted:
			if p.Dollar {
				return "", false
			}
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			text, ok := literal(p.Parts)
			if !ok || p.Dollar {
				return "", false
			}
			b.WriteString(text)
		default:
			return "", false
		}
	}
	return b.String(), true
}

// quoteArg writes s so that bash reads it as one word.
func quoteArg(s string) string {
	q, err := syntax.Quote(s, syntax.LangBash)
	if err != nil {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return q
}
