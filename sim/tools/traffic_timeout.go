package tools

import (
	"fmt"
	"strings"
	"time"

	"vethlab/sim"
	"vethlab/sim/op"
)

// timeout(1), coreutils 9.1: it runs a program and sends it a signal when it
// has run so long on the world's clock.

// limit is what timeout does to the program that it runs.
type limit struct {
	after  time.Duration // 0: nothing
	signal string        // TERM, INT, KILL
	struck bool
}

// start has the limit strike a process.
func (l *limit) start(p *sim.Process) {
	if l == nil || l.after == 0 || p == nil || p.Ended() {
		return
	}
	t := p.After(l.after, func() {
		l.struck = true
		switch l.signal {
		case "INT":
			p.Interrupt()
		case "KILL":
			p.Exit()
		default:
			p.Terminate()
		}
	})
	p.OnEnd(t.Stop)
}

var signals = map[string]struct {
	name   string
	number int
}{"TERM": {"TERM", 15}, "15": {"TERM", 15}, "INT": {"INT", 2}, "2": {"INT", 2}, "KILL": {"KILL", 9}, "9": {"KILL", 9}}

const timeoutHelp = "Try 'timeout --help' for more information."

func runTimeout(c *call) op.Result {
	l := &limit{signal: "TERM"}
	number, preserve := 15, false
	args := c.argv[1:]
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		a := args[0]
		args = args[1:]
		if a == "--" {
			break
		}
		name, value, has := strings.Cut(a, "=")
		operand := func() string {
			switch {
			case has:
			case strings.HasPrefix(a, "--") || len(a) == 2:
				if len(args) == 0 {
					fail(125, "timeout: option requires an argument -- '%s'\n%s", strings.TrimLeft(a, "-"), timeoutHelp)
				}
				value = args[0]
				args = args[1:]
			default:
				value = a[2:]
			}
			return value
		}
		switch {
		case a == "--preserve-status" || a == "-p":
			preserve = true
		case a == "--foreground" || a == "--verbose" || a == "-v":
			if a != "--foreground" {
				notSimulated("timeout %s", a)
			}
		case name == "--kill-after" || strings.HasPrefix(a, "-k"):
			timeoutAfter(operand()) // no program of the model outlives its signal
		case name == "--signal" || strings.HasPrefix(a, "-s"):
			s, ok := signals[strings.TrimPrefix(strings.ToUpper(operand()), "SIG")]
			if !ok {
				notSimulated("timeout -s %s", value)
			}
			l.signal, number = s.name, s.number
		default:
			notSimulated("timeout %s", a)
		}
	}
	if len(args) < 2 {
		fail(125, "%s", timeoutHelp)
	}
	l.after = timeoutAfter(args[0])
	c.argv, c.limit = args[1:], l
	res := c.exec()
	if res.Failure != nil && res.Failure.What == op.NoTool {
		return op.Result{Stderr: fmt.Sprintf("timeout: failed to run command ‘%s’: No such file or directory\n", c.argv[0]), Status: 127}
	}
	switch {
	case l.struck && preserve && l.signal != "INT":
		res.Status = 128 + number
	case l.struck && l.signal == "KILL":
		res.Status = 137
	case l.struck && !preserve:
		res.Status = 124
	}
	return res
}

func timeoutAfter(text string) time.Duration {
	d, ok := interval(text)
	if !ok {
		fail(125, "timeout: invalid time interval ‘%s’\n%s", text, timeoutHelp)
	}
	return d
}
