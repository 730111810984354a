package lessons

import (
	"context"
	"fmt"
	"io"

	"mvdan.cc/sh/v3/interp"

	"vethlab/sim/op"
)

// What a lab's shell does itself, where mvdan.cc/sh leaves it undone or would do it
// on the wrong machine.

// builtin does what interp leaves undone, or would do on the wrong machine.
func (n *nodeShell) builtin(ctx context.Context, hc interp.HandlerContext, args []string) error {
	say := func(status int, format string, a ...any) error {
		fmt.Fprintf(hc.Stderr, "bash: "+args[0]+": "+format+"\n", a...)
		return exitStatus(status)
	}
	switch args[0] {
	case "type", "command":
		names := args[1:]
		if args[0] == "command" {
			names = names[1:]
		}
		status := 0
		for _, name := range names {
			if interp.IsBuiltin(name) {
				if args[0] == "type" {
					name += " is a shell builtin"
				}
				fmt.Fprintln(hc.Stdout, name)
				continue
			}
			r, err := n.look(ctx, "which", name)
			switch {
			case err != nil:
				return err
			case r.Status != 0 && args[0] == "type":
				status = 1
				say(1, "%s: not found", name)
			case r.Status != 0:
				status = 1
			case args[0] == "type":
				fmt.Fprintf(hc.Stdout, "%s is %s", name, r.Output)
			default:
				io.WriteString(hc.Stdout, r.Output)
			}
		}
		return exitStatus(status)
	case "jobs":
		n.listJobs(hc.Stdout)
		return nil
	case "kill":
		return n.kill(ctx, hc, args)
	case "fg", "bg", "disown":
		return say(1, "no job control")
	case "source", ".":
		return say(1, "not available here; run the file with: bash FILE")
	case "exec":
		return say(1, "not available here without a command")
	case "eval", "trap":
		if len(args) > 1 {
			return say(1, "%s", args[1])
		}
	case "set", "shopt":
		return say(1, "pipefail is not available here")
	}
	return say(1, "not available here")
}

// look asks the node something without showing it as a command of the line's.
func (n *nodeShell) look(ctx context.Context, argv ...string) (op.Result, error) {
	l := lineOf(ctx)
	if err := l.count(); err != nil {
		return op.Result{}, err
	}
	res, err := n.s.b.Apply(ctx, n.name, op.Tool{Argv: argv})
	if lim := l.hold(len(res.Output) + len(res.Stderr)); err == nil {
		err = lim
	}
	return res, err
}
