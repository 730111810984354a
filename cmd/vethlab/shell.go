package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/term"

	"vethlab/lessons"
	"vethlab/sim/agree"
	"vethlab/sim/state"
)

const shellUsage = `usage: vethlab shell [--backend auto|sim|kernel|both] [--world NAME] [--json] [FILE]

Runs a transcript in a fresh lab, and prints what each command printed and the
journey of each packet it sent. The transcript comes from FILE, from standard
input, or from a prompt when that is a terminal.

  --world NAME    the topology to begin with (docker-host)
  --json          print JSON Lines: command, trace, difference, and last state
  --backend NAME  kernel  a sandbox of real namespaces
                  sim     a model of Linux networking, which needs no kernel lab
                  both    each line on the two; prints what the kernel did, and
                          every difference
                  auto    the kernel where it works, else the simulator (default)

A transcript's lines are NODE# COMMAND:

  host# ip netns add ns1
  host# ip netns exec ns1 ip link set lo up
  client# ping -c1 10.24.254.11

Exit status: 0 the transcript ran (commands in it may have failed), 1 the lab
could not be made or was lost, 2 wrong usage or syntax, 3 the backends differ.
`

const promptHelp = `  COMMAND          run it in the node of the prompt: ip, bridge, brctl, iptables, sysctl,
                   ping, curl, ss, tcpdump, conntrack, docker, … and all that a shell can do
  NODE# COMMAND    run it in another node, and stay there
  node NODE        go to another node
  nodes            list the nodes
  COMMAND &        run it in the background; its output comes with a later line, or at wait
  Ctrl-C           stop what is running
  exit or Ctrl-D   leave; the lab and all that is in it is gone then

A namespace that "ip netns add NAME" makes is a node of that name.
`

// shellCommand is `vethlab shell`.
func shellCommand(args []string) int {
	c := shellCmd{printer: printer{stdout: os.Stdout, stderr: os.Stderr}, stdin: os.Stdin, on: ours}
	c.terminal = term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
	c.colour = term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""
	return c.run(args)
}

type shellCmd struct {
	printer
	stdin    io.Reader
	on       backends
	terminal bool // a person types

	sides sides
	held  *agree.Comparison // of the two sides
	found int               // differences
}

func (c *shellCmd) run(args []string) int {
	flags := flag.NewFlagSet("vethlab shell", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	backend := flags.String("backend", onAuto, "")
	world := flags.String("world", "docker-host", "")
	flags.BoolVar(&c.json, "json", false, "")
	var files []string
	for ; ; args = flags.Args()[1:] { // flags may stand after FILE
		switch err := flags.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprint(c.stdout, shellUsage)
			return 0
		case err != nil:
			return c.fail(2, "%v; see vethlab shell --help", err)
		}
		if flags.NArg() == 0 {
			break
		}
		files = append(files, flags.Arg(0))
	}
	if len(files) > 1 {
		return c.fail(2, "one FILE at a time; %q is one too many", files[1])
	}
	if wrong := wrongBackend(*backend, onAuto, onSim, onKernel, onBoth); wrong != "" {
		return c.fail(2, "%s", wrong)
	}
	w, err := lessons.LoadWorld(*world)
	if missing := (*lessons.NotFoundError)(nil); errors.As(err, &missing) {
		return c.fail(2, "there is no world %q%s; there are: %s", *world, guess(*world, missing.Have), strings.Join(missing.Have, ", "))
	}
	if err != nil {
		return c.fail(1, "%v", err)
	}

	prompt := len(files) == 0 && c.terminal && !c.json
	var lines []lessons.Line
	if !prompt {
		name, src, err := "standard input", []byte(nil), error(nil)
		if len(files) == 1 && files[0] != "-" {
			name = files[0]
			src, err = os.ReadFile(name)
		} else {
			src, err = io.ReadAll(c.stdin)
		}
		if err != nil {
			return c.fail(2, "%v", err)
		}
		if lines, err = lessons.ParseTranscript(name, string(src)); err != nil {
			fmt.Fprintln(c.stderr, err)
			return 2
		}
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.sides, err = c.on.open(ctx, *backend, w, c.stderr); err != nil {
		return c.fail(1, "%v", err)
	}
	defer c.sides.Close()
	if c.held, err = c.sides.compare(ctx); err != nil {
		return c.fail(1, "%v", err)
	}
	if prompt {
		stop() // from here on, Ctrl-C stops a command, not us
		return c.prompt(w.Nodes[0].Name)
	}
	for i, l := range lines {
		if !c.json {
			if i > 0 {
				fmt.Fprintln(c.stdout)
			}
			fmt.Fprintf(c.stdout, "%s %s\n", c.paint(green, l.Node+"#"), c.paint(bold, l.Text))
		}
		if err := c.line(ctx, l); err != nil {
			return c.fail(1, "%s: %v", l.Pos, err)
		}
	}
	if err := c.end(ctx); err != nil {
		return c.fail(1, "%v", err)
	}
	switch {
	case c.lost != nil:
		return c.fail(1, "%v", c.lost)
	case c.found > 0:
		return 3
	}
	return 0
}

// line runs a line on every side, and prints what it came to and where the
// sides differ.
func (c *shellCmd) line(ctx context.Context, l lessons.Line) error {
	outs := make([]lessons.Outcome, len(c.sides))
	for i, s := range c.sides {
		out, err := s.sh.Run(ctx, l.Node, l.Text, nil)
		switch syntax := (*lessons.SyntaxError)(nil); {
		case errors.As(err, &syntax): // at the prompt; a transcript's are found when it is read
		case c.json:
			c.ranEvents(s.backend, "", l, out)
		case i == len(c.sides)-1 || err != nil:
			if ctx.Err() != nil && c.terminal {
				fmt.Fprintln(c.stdout) // after the terminal's own ^C
			}
			c.print(out)
		}
		if err != nil {
			return err
		}
		outs[i] = out
	}
	if len(outs) == 2 {
		c.found += c.differ(c.stdout, "", outs[1].Compare(c.held, l, outs[0]))
	}
	return nil
}

// end looks at what the labs hold once all lines have run.
func (c *shellCmd) end(ctx context.Context) error {
	if !c.json && len(c.sides) < 2 {
		return nil
	}
	snaps := make([]*state.Snapshot, len(c.sides))
	for i, s := range c.sides {
		snap, err := s.lab.Snapshot(ctx)
		if err != nil {
			return err
		}
		snaps[i] = snap
	}
	if len(snaps) == 2 {
		c.found += c.differ(c.stdout, "", c.held.State(snaps[1], snaps[0]))
		if !c.json {
			c.verdict(c.found)
		}
	}
	for i, s := range c.sides {
		if c.json {
			c.event(stateEvent{"state", s.backend, snaps[i]})
		}
	}
	return nil
}

// print shows a person what a line came to.
func (c *shellCmd) print(out lessons.Outcome) {
	for _, text := range []string{out.Stdout, out.Stderr} {
		io.WriteString(c.stdout, text)
		if text != "" && !strings.HasSuffix(text, "\n") {
			fmt.Fprintln(c.stdout)
		}
	}
	if out.Status != 0 {
		fmt.Fprintln(c.stdout, c.paint(dim, fmt.Sprintf("(status %d)", out.Status)))
	}
	if len(out.Traces) == 0 {
		return
	}
	var text bytes.Buffer
	lessons.WriteTraces(&text, out.Traces)
	fmt.Fprintln(c.stdout)
	for row := range strings.Lines(text.String()) {
		row = strings.TrimSuffix(row, "\n")
		switch t := strings.TrimLeft(row, " "); {
		case strings.HasPrefix(t, "✗"):
			row = c.paint(red, row)
		case strings.HasPrefix(t, "✓"):
			row = c.paint(green, row)
		case strings.HasPrefix(t, "└"):
			row = c.paint(blue, row)
		case t == row && t != "":
			row = c.paint(bold, row)
		}
		fmt.Fprintln(c.stdout, row)
	}
}

// prompt reads lines from a person until they leave.
func (c *shellCmd) prompt(node string) int {
	fd := int(os.Stdin.Fd())
	pressed := &keys{r: c.stdin}
	tty := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{pressed, c.stdout}, "")
	tty.History = &history{}
	fmt.Fprintf(c.stdout, "A fresh lab: %s. Type help, or any command; Ctrl-D leaves.\n", strings.Join(c.nodes(), ", "))
	var text string // of a command that goes on
	for {
		ask := node + "# "
		if text != "" {
			ask = "> "
		}
		if width, height, err := term.GetSize(fd); err == nil && width > 0 {
			_ = tty.SetSize(width, height) // errors only for sizes it cannot have
		}
		tty.SetPrompt(c.paint(green, ask))
		typed, err := readLine(tty, fd)
		if pressed.interrupted {
			pressed.interrupted, text = false, ""
			continue
		}
		if errors.Is(err, io.EOF) {
			fmt.Fprintln(c.stdout)
			return 0
		}
		if err != nil && !errors.Is(err, term.ErrPasteIndicator) {
			return c.fail(1, "%v", err)
		}
		if text != "" {
			typed = text + "\n" + typed
			text = ""
		} else {
			typed = strings.TrimSpace(typed)
			target, command, switches := lessons.SplitPrompt(typed)
			switch words := strings.Fields(typed); {
			case typed == "" || strings.HasPrefix(typed, "#"):
				continue
			case typed == "help" || typed == "?":
				fmt.Fprint(c.stdout, promptHelp)
				continue
			case typed == "exit" || typed == "quit" || typed == "logout":
				return 0
			case typed == "nodes":
				fmt.Fprintln(c.stdout, strings.Join(c.nodes(), "  "))
				continue
			case words[0] == "node" && len(words) == 2:
				target, command, switches = words[1], "", true
			}
			if switches {
				if nodes := c.nodes(); !slices.Contains(nodes, target) {
					fmt.Fprintf(c.stdout, "There is no node %q%s\nThe nodes are %s.\n", target, guess(target, nodes), strings.Join(nodes, ", "))
					continue
				}
				node, typed = target, command
				if typed == "" {
					continue
				}
			}
		}
		if lessons.Incomplete(typed) {
			text = typed
			continue
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		err = c.line(ctx, lessons.Line{Node: node, Text: typed})
		stopped := ctx.Err() != nil
		stop()
		var bad *lessons.SyntaxError
		if errors.As(err, &bad) {
			fmt.Fprintf(c.stdout, "bash: %v\n", bad)
			continue
		}
		if err != nil && !stopped {
			return c.fail(1, "%v", err)
		}
	}
}

func (c *shellCmd) nodes() []string {
	snap, err := c.sides.judge().lab.Snapshot(context.Background())
	if err != nil {
		return nil // the next command says why
	}
	var names []string
	for _, n := range snap.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// readLine reads one line, with the terminal in raw mode only meanwhile, so
// that Ctrl-C stops a command that runs.
func readLine(tty *term.Terminal, fd int) (string, error) {
	old, err := term.MakeRaw(fd)
	if err != nil {
		return tty.ReadLine()
	}
	defer term.Restore(fd, old)
	return tty.ReadLine()
}

// history keeps what was typed, without the empty lines and the repetitions.
type history struct{ lines []string }

func (h *history) Add(line string) {
	if line != "" && (h.Len() == 0 || h.At(0) != line) {
		h.lines = append(h.lines, line)
	}
}
func (h *history) Len() int        { return len(h.lines) }
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }

// keys makes of Ctrl-C, at which term.Terminal would end, what bash makes of
// it: the line typed so far is given up.
type keys struct {
	r           io.Reader
	typed       []byte // not handed on yet
	interrupted bool
}

const ctrlC = 3

func (k *keys) Read(p []byte) (int, error) {
	if len(k.typed) == 0 {
		buf := make([]byte, 256)
		n, err := k.r.Read(buf)
		if n == 0 {
			return 0, err
		}
		k.typed = buf[:n]
	}
	i := bytes.IndexByte(k.typed, ctrlC)
	if i == 0 {
		k.interrupted = true
		k.typed = k.typed[1:]
		return copy(p, "\x05\x15\r"), nil // to the end, erase to the beginning, enter
	}
	if i < 0 {
		i = len(k.typed)
	}
	n := copy(p, k.typed[:i])
	k.typed = k.typed[n:]
	return n, nil
}

func (c *shellCmd) fail(status int, format string, args ...any) int {
	fmt.Fprintf(c.stderr, "vethlab shell: "+format+"\n", args...)
	return status
}
