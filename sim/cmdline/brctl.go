package cmdline

import (
	"strings"

	"vethlab/sim/op"
)

// brctl(8). delbr and delif stay the tool's own: it refuses a bridge that is
// up, what is no bridge, and what is no port of it, which LinkDel and LinkSet
// would not.
func parseBrctl(_ *Command, args []string) (op.Op, error) {
	for _, a := range args {
		if !ifname(a) {
			return nil, nil // brctl cuts long names short without a word
		}
	}
	switch {
	case len(args) == 2 && args[0] == "addbr":
		return op.LinkAdd{Name: args[1], Kind: "bridge"}, nil
	case len(args) == 3 && args[0] == "addif":
		return op.LinkSet{Name: args[2], Master: args[1], Free: true}, nil
	}
	return nil, nil
}

// brctlFailure has the sentences of brctl/brctl_cmd.c; every one exits 1.
func (c Command) brctlFailure(f *op.Failure) (string, int) {
	switch o := c.Op.(type) {
	case op.LinkAdd:
		if f.Errno == eexist {
			return "device " + o.Name + " already exists; can't create bridge with the same name", 1
		}
		return "add bridge failed: " + op.Strerror(f.Errno), 1
	case op.LinkSet:
		bridge := o.Master
		switch {
		case f.What == op.NoDevice && f.Name == bridge && bridge != o.Name:
			return "bridge " + bridge + " does not exist!", 1
		case f.What == op.NoDevice:
			return "interface " + o.Name + " does not exist!", 1
		case f.Errno == ebusy:
			return "device " + o.Name + " is already a member of a bridge; can't add it to bridge " + bridge + ".", 1
		case strings.Contains(f.Message, "enslave a bridge") || f.Errno == eloop:
			return "device " + o.Name + " is a bridge device itself; can't add a bridge device to a bridge device.", 1
		case f.What == op.NotBridge:
			return "can't add " + o.Name + " to bridge " + bridge + ": " + op.Strerror(eopnotsupp), 1
		}
		return "can't add " + o.Name + " to bridge " + bridge + ": " + op.Strerror(f.Errno), 1
	}
	return "brctl: " + plain(f), 1
}
