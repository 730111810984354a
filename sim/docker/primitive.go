package docker

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// call is one command of ours while it runs. What prints or acts is a method of
// it; d is the daemon of the machine it was typed in.
type call struct {
	ctx     context.Context
	engine  *Engine
	node    string
	d       *Daemon
	argv    []string
	stdin   string
	explain bool // nothing is done, only told
	tell    bool // --explain was found: that is what is wanted

	background bool // others of ours may run beside it: see aside
	held       int  // bytes of the deeds' texts

	out, errs strings.Builder
	deeds     []op.Deed
	traces    []trace.Trace
	snap      *state.Snapshot // as of the first look since the last primitive
	fw        firewall        // see (*call).firewall
}

// begin finds the machine's daemon; d stays nil where there is no such node.
func (c *call) begin() error {
	s, err := c.look()
	if err != nil {
		return err
	}
	n := s.Node(c.node)
	if n == nil {
		return nil
	}
	machine := n.Name
	if n.Machine != "" {
		machine = n.Machine
	}
	c.d = c.engine.daemons[machine]
	if c.d == nil {
		c.d = &Daemon{Machine: machine}
		c.engine.daemons[machine] = c.d
	}
	return nil
}

// do does a line of a transcript on the daemon's machine: one simple command,
// which may end in " &" or "> FILE". It is recorded, and its result returned.
// The error is a *Refused when the line failed, or a lost lab.
func (c *call) do(format string, args ...any) error {
	_, err := c.result(c.d.Machine, fmt.Sprintf(format, args...))
	return err
}

// within does a line in the namespace of a container:
// nsenter -t PID -n LINE.
func (c *call) within(ct *Container, format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	if ct.Box != "" {
		return c.in(ct.Box, "%s", line)
	}
	if ct.Pid != 0 || c.explain {
		line = "nsenter -t " + ct.pid() + " -n " + line
	}
	_, err := c.result(c.d.Machine, line)
	return err
}

// try does a line whose refusal does not matter, as dockerd ignores some.
func (c *call) try(format string, args ...any) error {
	err := c.do(format, args...)
	if _, refused := err.(*Refused); refused {
		return nil
	}
	return err
}

// Refused is a primitive that failed.
type Refused struct {
	op.Deed
	Result op.Result
}

// Error is the last line that the tool printed.
func (r *Refused) Error() string {
	text := strings.TrimSpace(r.Result.Stderr)
	if text == "" {
		text = strings.TrimSpace(r.Result.Output)
	}
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// result does a line in a node.
func (c *call) result(node, line string) (op.Result, error) {
	deed := op.Deed{Node: node, Text: line}
	if c.explain {
		c.record(deed)
		return op.Result{}, nil
	}
	c.snap = nil
	res, err := c.apply(node, line)
	return c.done(deed, res, err)
}

// maxDeeds is how many bytes of deeds a command tells; what it does is not bounded
// by that.
const maxDeeds = 1 << 20

func (c *call) record(d op.Deed) {
	switch {
	case c.held > maxDeeds:
		return
	case c.held+len(d.Text) > maxDeeds:
		d.Text, c.held = "# the rest is left out", maxDeeds+1
	default:
		c.held += len(d.Text) + 64
	}
	c.deeds = append(c.deeds, d)
}

// done takes in what came of a line.
func (c *call) done(deed op.Deed, res op.Result, err error) (op.Result, error) {
	deed.Status = res.Status
	c.record(deed)
	c.traces = append(c.traces, res.Traces...)
	res.Traces = nil
	if err != nil {
		return res, lost{err}
	}
	if res.Status != 0 {
		return res, &Refused{deed, res}
	}
	return res, nil
}

// aside is result for what may take as long as it likes: in the background, other
// commands of ours run meanwhile.
func (c *call) aside(node, line string) (op.Result, error) {
	argv, err := op.Words(line)
	if err != nil || c.explain || !c.background {
		return c.result(node, line)
	}
	cmd, err := cmdline.Parse(argv)
	if err != nil {
		return c.result(node, line)
	}
	switch cmd.Op.(type) {
	case op.Ping, op.HTTPGet, op.Sleep, op.Tool:
	default:
		return c.result(node, line)
	}
	at := node
	if cmd.Node != "" {
		at = op.At(node, cmd.Node)
	}
	c.engine.unlock()
	res, err := c.engine.lab.Apply(c.ctx, at, op.Tool{Argv: cmd.Argv(), Background: true})
	c.engine.turn <- struct{}{} // the others end by themselves, or with the lab
	c.snap = nil
	return c.done(op.Deed{Node: node, Text: line}, cmd.Finish(res), err)
}

// apply does a line in a node, without recording it.
func (c *call) apply(node, line string) (op.Result, error) {
	if o, ok := op.ParseFileWrite(line); ok {
		return c.engine.lab.Apply(c.ctx, node, o)
	}
	argv, err := op.Words(strings.TrimSuffix(line, " &"))
	if err != nil {
		return op.Result{Status: 2, Stderr: err.Error() + "\n"}, nil
	}
	cmd, err := cmdline.Parse(argv)
	if err != nil {
		u := err.(*cmdline.UsageError)
		return op.Result{Stderr: u.Stderr, Status: u.Status}, nil
	}
	if cmd.Node != "" {
		node = op.At(node, cmd.Node)
	}
	if strings.HasSuffix(line, " &") {
		switch cmd.Op.(type) { // a container without a namespace of its own
		case op.Sleep, op.HTTPServe, op.Tool:
			cmd.Op = op.Spawn{Argv: cmd.Argv()}
		}
	}
	res, err := c.engine.lab.Apply(c.ctx, node, cmd.Op)
	return cmd.Finish(res), err
}

// write puts text in a file of the machine, and makes the directories to it.
func (c *call) write(file, text string) error {
	return c.do("%s", op.FileWrite{Path: file, Text: text})
}

// read reads a file of the machine. It is no primitive.
func (c *call) read(file string) (text string, ok bool, err error) {
	res, err := c.engine.lab.Apply(c.ctx, c.d.Machine, op.Tool{Argv: []string{"cat", file}})
	if err != nil {
		return "", false, lost{err}
	}
	return res.Output, res.Status == 0, nil
}

// look is the state of the lab now.
func (c *call) look() (*state.Snapshot, error) {
	if c.snap == nil {
		s, err := c.engine.lab.Snapshot(c.ctx)
		if err != nil {
			return nil, lost{err}
		}
		c.snap = s
	}
	return c.snap, nil
}

// host is the state of the daemon's machine now.
func (c *call) host() (*state.Node, error) {
	s, err := c.look()
	if err != nil {
		return nil, err
	}
	n := s.Node(c.d.Machine)
	if n == nil {
		return nil, lost{fmt.Errorf("the node %s is gone", c.d.Machine)}
	}
	return n, nil
}

// pid is the container's process as a line names it: $pid where none was
// started, in an explanation. A sandbox of dockerd's own is named instead.
func (ct *Container) pid() string {
	if ct.Box != "" {
		return ct.Box
	}
	if ct.Pid <= 0 {
		return "$pid"
	}
	return strconv.Itoa(ct.Pid)
}

// hex returns a random text of n hexadecimal digits.
func (c *call) hex(n int) string {
	const digits = "0123456789abcdef"
	b := make([]byte, n)
	for i := range b {
		b[i] = digits[c.engine.random.IntN(16)]
	}
	return string(b)
}

// newID returns an ID that no container or network begins with, whose first 12
// digits are not all decimal (moby, pkg/stringid).
func (c *call) newID() string {
	for {
		id := c.hex(64)
		if strings.Trim(id[:12], "0123456789") != "" {
			return id
		}
	}
}

// ifname returns a random device name that is free on the machine: veth and
// seven digits (libnetwork, netutils.GenerateIfaceName).
func (c *call) ifname(prefix string, digits int) (string, error) {
	host, err := c.host()
	if err != nil {
		return "", err
	}
	for {
		if name := prefix + c.hex(digits); host.Link(name) == nil {
			return name, nil
		}
	}
}

// macOf is the MAC address that Docker makes of an IPv4 address: 02:42 and its
// four bytes (libnetwork, netutils.GenerateMACFromIP).
func macOf(ip netip.Addr) string {
	b := ip.As4()
	return fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

// randomMAC is one that begins with 02:42 (netutils.GenerateRandomMAC).
func (c *call) randomMAC() string {
	h := c.hex(8)
	return fmt.Sprintf("02:42:%s:%s:%s:%s", h[:2], h[2:4], h[4:6], h[6:])
}

// now is the lab's time, since 1970: of the lab's own clock where it has one.
func (c *call) now() time.Duration {
	if l, ok := c.engine.lab.(interface{ Now() time.Time }); ok {
		return time.Duration(l.Now().UnixNano())
	}
	return time.Duration(time.Now().UnixNano())
}
