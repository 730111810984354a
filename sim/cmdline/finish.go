package cmdline

import (
	"strings"

	"vethlab/sim/op"
)

// Finish puts what an operation came to in the words of the tool that was
// typed: Stderr and Status from Failure, and what the tool prints on success.
// A result that already has its words (from the machine's own tool) keeps them.
func (c Command) Finish(r op.Result) op.Result {
	f := r.Failure
	if f == nil {
		if r.Status == 0 {
			c.success(&r)
		}
		return r
	}
	if r.Stderr != "" {
		if r.Status == 0 {
			r.Status = 1
		}
		return r
	}
	text, status := c.words(f)
	if o, ok := c.Op.(op.LinkAdd); ok && c.noPort(o) && f.What != op.NoDevice {
		text = vxlanNoPort + "\n" + text // it says so before it asks the kernel
	}
	r.Stderr, r.Status = text+"\n", status
	return r
}

func (c Command) words(f *op.Failure) (text string, status int) {
	switch {
	case f.What == op.NoNetns && c.Node != "" && f.Name == c.Node:
		file, nsenter := strings.CutPrefix(c.enter, "nsenter ")
		if nsenter {
			return "nsenter: cannot open " + file + ": No such file or directory", 1
		}
		return `Cannot open network namespace "` + c.Node + `": No such file or directory`, 255
	case f.What == op.NoTool && c.enter == "ip netns exec":
		return `exec of "` + c.argv[0] + `" failed: No such file or directory`, 1
	case f.What == op.NoTool && c.enter != "" && c.enter != "ip -n":
		return "nsenter: failed to execute " + c.argv[0] + ": No such file or directory", 127
	case f.What == op.NoTool:
		if strings.Contains(c.argv[0], "/") {
			return "bash: " + c.argv[0] + ": No such file or directory", 127
		}
		return "bash: " + c.argv[0] + ": command not found", 127
	}
	if _, ok := c.Op.(op.Tool); ok {
		return c.argv[0] + ": " + plain(f), 1
	}
	switch c.Tool {
	case "ip":
		return c.ipFailure(f)
	case "brctl":
		return c.brctlFailure(f)
	case "ifconfig":
		return c.ifconfigFailure(f)
	case "route":
		return c.routeFailure(f)
	case "iptables":
		return c.iptablesFailure(f)
	case "sysctl":
		return c.sysctlFailure(f)
	case "ping":
		return c.pingFailure(f)
	}
	return c.Tool + ": " + plain(f), 1
}

// success adds what a tool prints when all went well, where the operation
// itself prints nothing.
func (c Command) success(r *op.Result) {
	switch o := c.Op.(type) {
	case op.SysctlSet:
		if c.Tool == "sysctl" && !c.quiet && r.Output == "" {
			r.Output = o.Key + " = " + o.Value + "\n"
		}
	case op.LinkAdd:
		if c.noPort(o) && r.Stderr == "" {
			r.Stderr = vxlanNoPort + "\n"
		}
	}
}

// plain says what happened when no tool's sentence fits.
func plain(f *op.Failure) string {
	switch {
	case f.Message != "":
		return f.Message
	case f.What == op.NoDevice:
		return "no device " + f.Name
	case f.What == op.NoNetns:
		return "no network namespace " + f.Name
	case f.What == op.NetnsUsed:
		return "a network namespace " + f.Name + " exists already"
	case f.What == op.NotBridge:
		return f.Name + " is not a bridge"
	case f.What == op.NoSysctl:
		return "no setting " + f.Name
	}
	return op.Strerror(f.Errno)
}

const (
	eperm      = 1
	enoent     = 2
	esrch      = 3
	ebusy      = 16
	eexist     = 17
	enodev     = 19
	einval     = 22
	e2big      = 7
	enotempty  = 39
	emlink     = 31
	eloop      = 40
	eopnotsupp = 95
)
