package tools

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"vethlab/sim"
	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// brctl(8), bridge-utils 1.7. Every failure ends with status 1.

func init() { programs["brctl"] = brctl }

// brctlCommands are the commands with the number of their arguments, and what
// the usage says of them.
var brctlCommands = []struct {
	name  string
	least int
	usage string
	do    func(c *call, args []string) int
}{
	{"addbr", 1, "<bridge>\t\tadd bridge", brctlAddbr},
	{"delbr", 1, "<bridge>\t\tdelete bridge", brctlDelbr},
	{"addif", 2, "<bridge> <device>\tadd interface to bridge", brctlAddif},
	{"delif", 2, "<bridge> <device>\tdelete interface from bridge", brctlDelif},
	{"hairpin", 3, "<bridge> <port> {on|off}\tturn hairpin on/off", brctlHairpin},
	{"setageing", 2, "<bridge> <time>\t\tset ageing time", brctlSetageing},
	{"setbridgeprio", 2, "<bridge> <prio>\t\tset bridge priority", nil},
	{"setfd", 2, "<bridge> <time>\t\tset bridge forward delay", nil},
	{"sethello", 2, "<bridge> <time>\t\tset hello time", nil},
	{"setmaxage", 2, "<bridge> <time>\t\tset max message age", nil},
	{"setpathcost", 3, "<bridge> <port> <cost>\tset path cost", nil},
	{"setportprio", 3, "<bridge> <port> <prio>\tset port priority", nil},
	{"show", 0, "[ <bridge> ]\t\tshow a list of bridges", brctlShow},
	{"showmacs", 1, "<bridge>\t\tshow a list of mac addrs", brctlShowmacs},
	{"showstp", 1, "<bridge>\t\tshow bridge stp info", nil},
	{"stp", 2, "<bridge> {on|off}\tturn stp on/off", nil},
}

func brctl(c *call) op.Result {
	args := brctlOptions(c)
	if len(args) == 0 {
		brctlUsage(c)
		return c.done(1)
	}
	for _, cmd := range brctlCommands {
		if cmd.name != args[0] {
			continue
		}
		if len(args)-1 < cmd.least {
			fmt.Fprintf(&c.out, "Incorrect number of arguments for command\nUsage: brctl %s %s\n", cmd.name, cmd.usage)
			return c.done(1)
		}
		if cmd.do == nil {
			notSimulated("brctl %s", cmd.name)
		}
		return c.done(cmd.do(c, args[1:]))
	}
	brctlUsage(c)
	fail(1, "never heard of command [%s]", args[0])
	return op.Result{}
}

// brctlOptions takes the options out of the words, wherever they stand before
// a "--" (getopt_long(3)); each of them ends brctl.
func brctlOptions(c *call) (args []string) {
	for k, a := range c.argv[1:] {
		long, isLong := strings.CutPrefix(a, "--")
		switch {
		case a == "--":
			return append(args, c.argv[k+2:]...)
		case a == "-" || a == "" || a[0] != '-':
			args = append(args, a)
		case a[1] == 'h' || isLong && long != "" && matches(long, "help"):
			brctlUsage(c)
			quit(0)
		case a[1] == 'V' || isLong && long != "" && matches(long, "version"):
			c.out.WriteString("bridge-utils, 1.7\n")
			quit(0)
		default:
			brctlUsage(c)
			c.warn("%s", orElse(isLong, fmt.Sprintf("brctl: unrecognized option '%s'", a), fmt.Sprintf("brctl: invalid option -- '%c'", a[1])))
			fail(1, "Unknown option '?'")
		}
	}
	return args
}

func brctlUsage(c *call) {
	c.out.WriteString("Usage: brctl [commands]\ncommands:\n")
	for _, cmd := range brctlCommands {
		fmt.Fprintf(&c.out, "\t%-10s\t%s\n", cmd.name, cmd.usage)
	}
}

// cut is what is left of a name that is too long for an interface.
func cut(name string) string { return name[:min(len(name), 15)] }

// brctlDo does what cmdline has an operation and brctl's sentences for.
func brctlDo(c *call, o op.Op) int {
	r := cmdline.Command{Tool: "brctl", Op: o}.Finish(c.apply(c.node, o))
	c.err.WriteString(r.Stderr)
	return r.Status
}

func brctlAddbr(c *call, args []string) int {
	return brctlDo(c, op.LinkAdd{Name: cut(args[0]), Kind: "bridge"})
}

func brctlAddif(c *call, args []string) int {
	for _, dev := range args[1:] {
		if c.state().Link(cut(dev)) == nil {
			fail(1, "interface %s does not exist!", dev)
		}
		if st := brctlDo(c, op.LinkSet{Name: cut(dev), Master: cut(args[0]), Free: true}); st != 0 {
			return st
		}
	}
	return 0
}

func brctlDelbr(c *call, args []string) int {
	l := c.state().Link(cut(args[0]))
	switch {
	case l == nil:
		fail(1, "bridge %s doesn't exist; can't delete it", args[0])
	case l.Type != "bridge":
		fail(1, "can't delete bridge %s: Operation not permitted", args[0])
	case l.Up:
		fail(1, "bridge %s is still up; can't delete it", args[0])
	}
	return brctlDo(c, op.LinkDel{Name: l.Name})
}

func brctlDelif(c *call, args []string) int {
	for _, dev := range args[1:] {
		br, l := c.state().Link(cut(args[0])), c.state().Link(cut(dev))
		switch {
		case l == nil:
			fail(1, "interface %s does not exist!", dev)
		case br == nil:
			fail(1, "bridge %s does not exist!", args[0])
		case br.Type != "bridge":
			fail(1, "can't delete %s from %s: Operation not supported", dev, args[0])
		case l.Master != br.Name:
			fail(1, "device %s is not a port of %s", dev, args[0])
		}
		if st := brctlDo(c, op.LinkSet{Name: l.Name, NoMaster: true}); st != 0 {
			return st
		}
	}
	return 0
}

func brctlHairpin(c *call, args []string) int {
	on := false
	switch strings.ToLower(args[2]) {
	case "on", "yes", "1":
		on = true
	case "off", "no", "0":
	default:
		fail(1, "expect on/off for argument")
	}
	br, l := c.state().Link(cut(args[0])), c.state().Link(cut(args[1]))
	switch {
	case l == nil:
		fail(1, "interface %s does not exist!", args[1])
	case br == nil:
		fail(1, "bridge %s does not exist!", args[0])
	case l.Master == "" && br.Type != "bridge":
		fail(1, "can't set %s to hairpin on bridge %s: Operation not supported", args[1], args[0])
	case l.Master == "": // it asks of the port alone, whose bridge it may be
		fail(1, "can't set %s to hairpin on bridge %s: No such file or directory", args[1], args[0])
	}
	if f := c.ask(c.node, func(k *sim.Netns) *op.Failure { return k.LinkChange(sim.LinkRequest{Name: l.Name, Hairpin: &on}) }); f != nil {
		fail(1, "can't set %s to hairpin on bridge %s: %s", args[1], args[0], f)
	}
	return 0
}

func brctlSetageing(c *call, args []string) int {
	t, ok := seconds(args[1])
	if !ok {
		fail(1, "bad ageing time value")
	}
	br := c.state().Link(cut(args[0]))
	if br == nil {
		fail(1, "set ageing time failed: No such device")
	}
	if br.Type != "bridge" {
		fail(1, "set ageing time failed: Operation not supported")
	}
	n := int(t * 100)
	c.ask(c.node, func(k *sim.Netns) *op.Failure { return k.LinkChange(sim.LinkRequest{Name: br.Name, Ageing: &n}) })
	return 0
}

// seconds reads the number that a word begins with, as sscanf(3) does.
func seconds(s string) (float64, bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	for ; s != ""; s = s[:len(s)-1] {
		if t, err := strconv.ParseFloat(s, 64); err == nil {
			return t, true
		}
		if t, err := strconv.ParseFloat(s+"p0", 64); err == nil { // 0x10
			return t, true
		}
	}
	return 0, false
}

func brctlShow(c *call, args []string) int {
	n := c.state()
	status := 0
	header := func() { c.out.WriteString("bridge name\tbridge id\t\tSTP enabled\tinterfaces\n") }
	if len(args) == 0 {
		for _, l := range n.Links {
			if l.Type == "bridge" {
				args = append(args, l.Name)
			}
		}
		slices.Sort(args)
		if len(args) > 0 {
			header()
		}
	} else {
		headed := false
		args = slices.DeleteFunc(slices.Clone(args), func(name string) bool {
			l := n.Link(name)
			switch {
			case l == nil:
				c.warn("bridge %s does not exist!", name)
			case l.Type != "bridge":
				c.warn("device %s is not a bridge!", name)
			default:
				if !headed {
					headed = true
					header()
				}
				return false
			}
			status = 1
			return true
		})
	}
	for _, name := range args {
		id := strings.ReplaceAll(bridgeMAC(n, n.Link(name)), ":", "")
		fmt.Fprintf(&c.out, "%s\t\t8000.%s\tno\t\t", name, id)
		var ports []string
		for _, l := range n.Links {
			if l.Master == name {
				ports = append(ports, l.Name)
			}
		}
		slices.Sort(ports)
		c.out.WriteString(strings.Join(ports, "\n\t\t\t\t\t\t\t") + "\n")
	}
	return status
}

func brctlShowmacs(c *call, args []string) int {
	n := c.state()
	br := n.Link(cut(args[0]))
	if br == nil {
		fail(1, "read of forward table failed: No such device")
	}
	if br.Type != "bridge" {
		fail(1, "read of forward table failed: Operation not supported")
	}
	type row struct {
		port int
		f    state.FDB
	}
	var rows []row
	for _, f := range n.FDB {
		if l := n.Link(f.Dev); l != nil && l.Master == br.Name && f.Dst == "" {
			rows = append(rows, row{c.portNo(l), f})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.f.MAC, b.f.MAC) })
	c.out.WriteString("port no\tmac addr\t\tis local?\tageing timer\n")
	for _, r := range rows {
		age := 0.0
		if !r.f.Local && !r.f.Static {
			age = r.f.Age
		}
		fmt.Fprintf(&c.out, "%3d\t%s\t%s\t\t%4d.%02d\n", r.port, r.f.MAC, orElse(r.f.Local, "yes", "no"), int(age), int(age*100)%100)
	}
	return 0
}
