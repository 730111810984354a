package lessons

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/trace"
)

// Shell runs command lines in a lab. The shell's language is mvdan.cc/sh's;
// every simple command that is not a builtin becomes an operation:
//
//	line ─▶ mvdan.cc/sh ─▶ argv ─▶ cmdline.Parse ─▶ Backend.Apply ─▶ Finish ─▶ stdout, stderr, status
//	        │ quotes, variables, &&, ||, |, $( ), loops, here-documents, functions
//	        └ > /proc/sys/… ─▶ op.SysctlSet        > FILE, < FILE, globs, test -f ─▶ tools in the node
//
// Each node has a shell of its own whose variables, functions and directory
// last from line to line; exit ends it, and the next line begins a new one.
// Nothing a line says touches the file system of the process that runs Shell:
// its shell would be a way out of the lab otherwise. See handlers in files.go.
//
// A command in the background (cmd &) runs while other lines do. What it
// printed belongs to the first line of its node that ends after it.
type Shell struct {
	b      Backend
	ctx    context.Context // ends with Close: the life of commands in the background
	cancel context.CancelFunc

	mu    sync.Mutex
	nodes map[string]*nodeShell
}

// Limits of one line. They bound what it can make this process do or hold; a
// line that meets one ends with a sentence that says which.
const (
	maxLine   = 16 << 10 // bytes of a line
	maxOutput = 1 << 20  // bytes of stdout, and of stderr
	maxCalls  = 10_000   // commands, builtins included
	maxVars   = 256 << 10
	maxWords  = 10_000   // words that one pair of braces may become
	maxParams = 200      // $NAME and the like
	maxRepl   = 64       // bytes of the text in ${NAME//pattern/text}
	maxGrowth = 64       // times a variable may grow by one command
	maxDepth  = 200      // nodes of the syntax tree within each other
	maxFrames = 5_000    // calls within each other in this process, some ten for each of a function's
	maxHeld   = 32 << 20 // bytes of what a line's commands print, wherever it goes
	maxJobs   = 50       // commands of a node in the background
)

// Executed is one operation that a line came to.
type Executed struct {
	Node   string
	Op     op.Op
	Text   string // the command as it was typed, once the shell had expanded it
	Result op.Result
}

// Outcome is what a line came to.
type Outcome struct {
	Status         int
	Stdout, Stderr string
	Ops            []Executed // in the order they ended
	Traces         []trace.Trace
}

// Deeds are the operations that the line's commands consisted of, where they
// were more than one.
func (o Outcome) Deeds() (deeds []op.Deed) {
	for _, e := range o.Ops {
		deeds = append(deeds, e.Result.Deeds...)
	}
	return deeds
}

// SyntaxError is a line that the shell cannot read.
type SyntaxError struct {
	Line, Col int // within the text, from 1
	Text      string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Text) }

// NewShell returns a shell for the nodes of a lab.
func NewShell(b Backend) *Shell {
	s := &Shell{b: b, nodes: map[string]*nodeShell{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends the commands that still run in the background. It does not close
// the Backend.
func (s *Shell) Close() { s.cancel() }

// Run runs a line, which may hold several, in a node's shell. It calls seen,
// if not nil, after each operation, from one goroutine at a time. Lines of one
// node run one after another, lines of different nodes at the same time.
//
// The error is a *SyntaxError, what ended ctx, or a failure of the lab itself;
// a command that fails is an Outcome with a Status. With an error, Outcome
// holds what had happened until then.
func (s *Shell) Run(ctx context.Context, node, text string, seen func(Executed)) (Outcome, error) {
	prog, err := parseProgram(text)
	if err != nil {
		return Outcome{Status: 2}, err
	}
	s.mu.Lock()
	n := s.nodes[node]
	if n == nil {
		n = &nodeShell{s: s, name: node}
		s.nodes[node] = n
	}
	s.mu.Unlock()
	return n.run(ctx, prog, seen)
}

type nodeShell struct {
	s    *Shell
	name string

	mu     sync.Mutex // held while a line runs
	runner *interp.Runner

	current atomic.Pointer[line]   // where the runner's own words go
	last    atomic.Pointer[string] // $!

	jobsMu sync.Mutex
	jobs   []*job
}

// line is a line that is running. Handlers find it in their context.
type line struct {
	seen   func(Executed)
	cancel context.CancelCauseFunc
	groups sync.WaitGroup // { …; } & of this line, which ends with them

	mu     sync.Mutex
	out    Outcome
	stdout capped
	stderr capped
	calls  int
	held   int
	group  int // how many groups there were
}

// strand is what of a line goes on by itself: its commands, or a group of them
// in the background.
type strand struct {
	line    *line
	group   bool
	writing error  // why the redirection that was just closed failed
	piped   string // what went into the pipe that was just closed
}

type strandKey struct{}

func strandOf(ctx context.Context) *strand { return ctx.Value(strandKey{}).(*strand) }
func lineOf(ctx context.Context) *line     { return strandOf(ctx).line }

// stop ends the line: it wants too much.
func (l *line) stop(format string, args ...any) error {
	err := limitError(fmt.Sprintf(format, args...))
	l.cancel(err)
	return err
}

// count counts a command, or a question to the node.
func (l *line) count() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls++; l.calls > maxCalls {
		return l.stop("a line may run %d commands; this one wants more", maxCalls)
	}
	return nil
}

// hold counts what a command printed.
func (l *line) hold(bytes int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held += bytes; l.held > maxHeld {
		return l.stop("a line's commands may print %d MiB; these want more", maxHeld>>20)
	}
	return nil
}

func (n *nodeShell) run(ctx context.Context, prog program, seen func(Executed)) (Outcome, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &line{seen: seen}
	lctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.cancel = cancel
	n.current.Store(l)
	defer n.current.Store(nil)
	if n.runner == nil {
		r, err := n.newRunner()
		if err != nil {
			return Outcome{}, err
		}
		n.runner = r
	}
	err := n.interpret(context.WithValue(lctx, strandKey{}, &strand{line: l}), n.runner, prog)
	if n.runner.Exited() || err != nil && !isStatus(err) {
		cancel(nil)
	}
	l.groups.Wait()
	status := 0
	if st, ok := errors.AsType[interp.ExitStatus](err); ok {
		status, err = int(st), nil
	}
	if lim, ok := errors.AsType[limitError](context.Cause(lctx)); ok {
		err = lim
	}
	again := n.runner.Exited() || err != nil || ctx.Err() != nil // the next line begins anew
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if lim, ok := errors.AsType[limitError](err); ok {
		l.write(&l.stderr, "vethlab: "+lim.Error()+"\n")
		status, err = 1, nil
	}
	if ctx.Err() != nil {
		status = 130 // as after Ctrl-C
	} else if err != nil {
		status = 1
	}
	if again {
		n.runner = nil
	}
	n.reap(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.Status = status
	l.out.Stdout, l.out.Stderr = l.stdout.String(), l.stderr.String()
	return l.out, err
}

// interpret runs a program to its end. What interp has no answer to but a
// panic ends the line, and no more.
func (n *nodeShell) interpret(ctx context.Context, r *interp.Runner, prog program) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = limitError(fmt.Sprintf("this shell cannot do that (%.200s)", fmt.Sprint(p)))
		}
	}()
	for _, stmt := range prog.stmts {
		if err = r.Run(ctx, stmt); r.Exited() || ctx.Err() != nil || err != nil && !isStatus(err) {
			break
		}
	}
	return err
}

func isStatus(err error) bool {
	_, ok := errors.AsType[interp.ExitStatus](err)
	return ok
}

// limitError ends a line that asks for too much.
type limitError string

func (e limitError) Error() string { return string(e) }

const home = "/root"

// environment is what a command sees; nothing of the server's own is in it.
// TMPDIR leads nowhere, for the shell makes its fifos there by itself.
var environment = []string{
	"HOME=" + home, "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "TERM=dumb", "LANG=C.UTF-8",
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"UID=0", "EUID=0", "GID=0", "TMPDIR=/proc/self/none",
}

// homes answers for ~NAME in place of this machine's /etc/passwd, with what
// NAME was written as: the node has no users but root.
//
// And for $!, the process that was started last in the background.
type homes struct {
	expand.Environ
	last *atomic.Pointer[string]
}

func (h homes) Get(name string) expand.Variable {
	if pid := h.last.Load(); name == "!" && pid != nil {
		return expand.Variable{Set: true, Kind: expand.String, Str: *pid}
	}
	if user, ok := strings.CutPrefix(name, "HOME "); ok {
		if user == "root" {
			return expand.Variable{Set: true, Kind: expand.String, Str: home}
		}
		return expand.Variable{Set: true, Kind: expand.String, Str: "~" + user}
	}
	return h.Environ.Get(name)
}

func (n *nodeShell) newRunner() (*interp.Runner, error) {
	stdout := writerFunc(func(p []byte) {
		if l := n.current.Load(); l != nil {
			l.write(&l.stdout, string(p))
		}
	})
	stderr := writerFunc(func(p []byte) {
		if l := n.current.Load(); l != nil {
			l.write(&l.stderr, string(p))
		}
	})
	r, err := interp.New(
		interp.Env(homes{expand.ListEnviron(environment...), &n.last}),
		interp.Dir("/"),
		interp.StdIO(nil, stdout, stderr),
		interp.CallHandler(n.call),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return n.exec }),
		interp.OpenHandler(n.open),
		interp.ReadDirHandler2(n.readDir),
		interp.StatHandler(n.stat),
		interp.AccessHandler(n.access),
	)
	if err != nil {
		return nil, err
	}
	r.Dir = home
	return r, nil
}

// mark begins the words for what the rewritten program asks of us. It is a
// character for private use; no line can contain it.
const mark = "\uE000"

const (
	inBackground = mark + "background"   // run the rest in the background
	inGroup      = mark + "group"        // run the commands that follow as a text in the background
	afterWrite   = mark + "written"      // did the redirection just closed succeed?
	ours         = mark + "builtin"      // a builtin that is ours rather than interp's
	pipeFile     = mark + "pipe"         // what is between the commands of a pipe
	substFile    = mark + "substitution" // what becomes of what a command in $( ) prints
)

// call sees every simple command, builtins included, before it runs: it keeps
// the limits, and takes the builtins that would look at this process's own
// machine away from interp.
func (n *nodeShell) call(ctx context.Context, args []string) ([]string, error) {
	l := lineOf(ctx)
	if args[0] != afterWrite {
		if err := l.count(); err != nil {
			return nil, err
		}
	}
	if runtime.Callers(maxFrames, make([]uintptr, 1)) > 0 {
		return nil, l.stop("functions may call each other some hundred times; these want more")
	}
	size := 0
	interp.HandlerCtx(ctx).Env.Each(func(name string, v expand.Variable) bool {
		size += len(name) + len(v.Str)
		for _, s := range v.List {
			size += len(s) + 16
		}
		for k, s := range v.Map {
			size += len(k) + len(s) + 32
		}
		return true
	})
	for _, a := range args {
		size += len(a)
	}
	if size > maxVars {
		return nil, l.stop("variables and arguments may hold %d KiB; this line wants more", maxVars>>10)
	}
	for len(args) > 1 && (args[0] == "builtin" || args[0] == "command") && interp.IsBuiltin(args[1]) {
		args = args[1:]
	}
	switch args[0] {
	case "wait":
		if err := n.waitJobs(ctx); err != nil {
			return nil, err
		}
		return args[:1], nil // and interp waits for groups in the background
	case "type", "jobs", "kill", "source", ".", "fg", "bg", "disown", "ulimit", "umask", "newgrp",
		"alias", "pushd", "popd", "dirs": // alias has a parser of its own; the others keep and print without limit
		return append([]string{ours}, args...), nil
	case "command":
		if len(args) > 1 && (args[1] == "-v" || args[1] == "-V") {
			return append([]string{ours}, args...), nil
		}
	case "exec":
		if len(args) == 1 {
			return append([]string{ours}, args...), nil
		}
	case "pwd":
		return args[:1], nil // -P would ask this machine about symbolic links
	case "eval":
		src, err := rewriteText(strings.Join(args[1:], " "))
		if err != nil {
			return []string{ours, "eval", err.Error()}, nil
		}
		return []string{"eval", src}, nil
	case "set", "shopt":
		if slices.Contains(args, "pipefail") {
			return []string{ours, args[0]}, nil
		}
	case "printf":
		if len(args) > 1 && fills(args[1]) {
			return nil, l.stop("printf may fill up to %d letters; this one wants more", 999)
		}
	case "trap":
		if len(args) > 1 && args[1] == "--" {
			args = slices.Delete(slices.Clone(args), 1, 2)
		}
		switch {
		case len(args) < 2:
			return []string{ours, args[0]}, nil
		case len(args) > 2 && !strings.HasPrefix(args[1], "-"):
			src, err := rewriteText(args[1])
			if err != nil {
				return []string{ours, "trap", err.Error()}, nil
			}
			return append([]string{"trap", src}, args[2:]...), nil
		case len(args) > 2 && (args[1] != "-" || len(args) > 3): // "trap - TEXT EXIT" sets TEXT
			return []string{ours, args[0]}, nil
		}
	}
	return args, nil
}

// fills reports whether a format of printf(1) fills up to 1000 letters or more.
func fills(format string) bool {
	for {
		_, spec, ok := strings.Cut(format, "%")
		if !ok {
			return false
		}
		rest := strings.TrimLeft(spec, "-+ #0123456789.*")
		width := spec[:len(spec)-len(rest)]
		if strings.Contains(width, "*") || slices.ContainsFunc(strings.FieldsFunc(width, func(r rune) bool { return r < '0' || r > '9' }), func(n string) bool { return len(n) > 3 }) {
			return true
		}
		format = rest
		if width == "" && strings.HasPrefix(rest, "%") {
			format = rest[1:]
		}
	}
}

// exec runs a command that is neither builtin nor function.
func (n *nodeShell) exec(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	switch args[0] {
	case afterWrite:
		st := strandOf(ctx)
		err := st.writing
		st.writing = nil
		switch {
		case errors.Is(err, errNotWritten):
			return interp.ExitStatus(1)
		case err != nil:
			return err
		case hc.LastExitStatus != 0:
			return interp.ExitStatus(uint8(hc.LastExitStatus))
		}
		return nil
	case ours:
		return n.builtin(ctx, hc, args[1:])
	case inBackground:
		return n.background(ctx, hc, args[1:])
	case inGroup:
		return n.group(ctx, hc, args[1])
	}
	return n.command(ctx, hc, args)
}

func (n *nodeShell) command(ctx context.Context, hc interp.HandlerContext, args []string) error {
	l := lineOf(ctx)
	res, err := n.apply(ctx, n.prepare(hc, args, false), l.add)
	if lim := l.hold(len(res.Output) + len(res.Stderr) + 4096*len(res.Traces)); err == nil {
		err = lim
	}
	if pid, ok := spawned(res, args); ok {
		n.last.Store(&pid)
		res.Output = ""
	}
	io.WriteString(hc.Stdout, res.Output)
	io.WriteString(hc.Stderr, res.Stderr)
	if err != nil {
		return err
	}
	return exitStatus(res.Status)
}

// spawned returns the number of the process that a command has left behind.
func spawned(res op.Result, args []string) (pid string, ok bool) {
	cmd, _ := cmdline.Parse(args)
	if _, ok := cmd.Op.(op.Spawn); !ok || res.Status != 0 {
		return "", false
	}
	return strings.TrimSpace(res.Output), true
}

func exitStatus(status int) error {
	if status == 0 {
		return nil
	}
	return interp.ExitStatus(uint8(status))
}

// prepared is a command that is ready for the lab.
type prepared struct {
	cmd   cmdline.Command
	op    op.Op
	node  string
	args  []string
	stdin io.Reader           // of a tool; nil when it is to have none
	usage *cmdline.UsageError // not nil: it is wrong already
}

// prepare takes from the shell all that a command needs; later it may change.
func (n *nodeShell) prepare(hc interp.HandlerContext, args []string, background bool) prepared {
	p := prepared{node: n.name, args: args}
	cmd, err := cmdline.Parse(args)
	if err != nil {
		p.usage = err.(*cmdline.UsageError)
		return p
	}
	if cmd.Node != "" {
		p.node = op.At(n.name, cmd.Node)
	}
	p.cmd, p.op = cmd, cmd.Op
	if background {
		switch p.op.(type) {
		case op.Ping, op.HTTPGet, op.Sleep: // an operation would hold up the others while it lasts
			p.op = op.Tool{Argv: cmd.Argv()}
		}
	}
	if t, ok := p.op.(op.Tool); ok {
		if hc.Stdin != nil && readsInput(t.Argv) {
			p.stdin = hc.Stdin
		}
		t.Argv, t.Background = append(surroundings(hc), t.Argv...), background
		p.op = t
	}
	return p
}

// apply takes one command to the lab and back.
func (n *nodeShell) apply(ctx context.Context, p prepared, done func(Executed)) (op.Result, error) {
	if p.usage != nil {
		return op.Result{Stderr: p.usage.Stderr, Status: p.usage.Status}, nil
	}
	if t, ok := p.op.(op.Tool); ok && p.stdin != nil {
		in, err := io.ReadAll(io.LimitReader(p.stdin, maxOutput))
		if err != nil {
			return op.Result{}, err
		}
		t.Stdin = string(in)
		p.op = t
	}
	res, err := n.s.b.Apply(ctx, p.node, p.op)
	if t, ok := p.op.(op.Tool); ok && err == nil && t.Argv[0] == "env" && p.args[0] != "env" && res.Status == 127 &&
		strings.HasPrefix(res.Stderr, "env: ") && strings.HasSuffix(res.Stderr, ": No such file or directory\n") && strings.Count(res.Stderr, "\n") == 1 {
		// it is the shell that does not find the program, not an env that nobody typed
		res.Stderr, res.Failure = "", &op.Failure{What: op.NoTool, Name: p.args[0]}
	}
	_, node := op.SplitAt(p.node)
	if err != nil {
		if res.Output != "" || res.Traces != nil {
			done(Executed{Node: node, Op: p.op, Text: quoteArgs(p.args), Result: res})
		}
		return res, err
	}
	if f := res.Failure; f != nil && f.What == op.NoNetns && f.Name == n.name && p.cmd.Node == "" && !names(p.op, f.Name) {
		res.Stderr, res.Status = fmt.Sprintf("vethlab: there is no node %q here\n", n.name), 1
	} else {
		res = p.cmd.Finish(res)
	}
	done(Executed{Node: node, Op: p.op, Text: quoteArgs(p.args), Result: res})
	return res, nil
}

// names reports whether an operation itself names a namespace.
func names(o op.Op, netns string) bool {
	switch o := o.(type) {
	case op.NetnsDel:
		return o.Name == netns
	case op.NetnsAdd:
		return o.Name == netns
	case op.LinkSet:
		return o.Netns == netns
	case op.LinkAdd:
		return o.PeerNetns == netns
	}
	return false
}

// surroundings are the words that give a tool the directory and the variables
// that the line has set: env -C DIR NAME=VALUE….
func surroundings(hc interp.HandlerContext) []string {
	var words []string
	if hc.Dir != home {
		words = append(words, "-C", hc.Dir)
	}
	hc.Env.Each(func(name string, v expand.Variable) bool {
		if v.Exported && v.Kind == expand.String && name != "PWD" && name != "OLDPWD" && !slices.Contains(environment, name+"="+v.Str) {
			words = append(words, name+"="+v.Str)
		}
		return true
	})
	if words == nil {
		return nil
	}
	return append([]string{"env"}, words...)
}

// readsInput reports whether a tool is to be given the line's standard input.
// One that does not read it must leave it to the others, as ip does in
// `while read dev; do ip link show $dev; done`.
func readsInput(argv []string) bool {
	switch path.Base(argv[0]) {
	case "ip", "bridge", "sysctl", "tcpdump":
		return slices.Contains(argv, "-")
	case "docker":
		return slices.Contains(argv, "-i") || slices.Contains(argv, "-it")
	case "dockerd":
		return false
	case "brctl", "ifconfig", "route", "iptables", "iptables-save", "ping", "curl", "ss", "ls", "arp", "conntrack", "nft",
		"sleep", "ps", "pkill", "killall", "kill", "stat", "find", "test", "date", "id", "uname", "hostname", "lsns",
		"traceroute", "tracepath", "ethtool", "mkdir", "rm", "touch", "true", "false", "which", "python3", "dnsmasq":
		return false
	}
	return true
}

func quoteArgs(args []string) string {
	q := make([]string, len(args))
	for i, a := range args {
		s, err := syntax.Quote(a, syntax.LangBash)
		if err != nil {
			s = fmt.Sprintf("%q", a)
		}
		q[i] = s
	}
	return strings.Join(q, " ")
}

func (l *line) add(e Executed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.Ops = append(l.out.Ops, e)
	l.out.Traces = append(l.out.Traces, e.Result.Traces...)
	if l.seen != nil {
		l.seen(e)
	}
}

func (l *line) write(to *capped, s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to.add(s)
}

// capped keeps the first maxOutput bytes.
type capped struct {
	strings.Builder
	full bool
}

func (c *capped) add(s string) {
	if c.full {
		return
	}
	if c.Len()+len(s) > maxOutput {
		c.WriteString(s[:maxOutput-c.Len()])
		c.WriteString("\n[vethlab: the rest is not kept; it was more than 1 MiB]\n")
		c.full = true
		return
	}
	c.WriteString(s)
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }
