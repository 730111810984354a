package cmdline

import (
	"strings"

	"vethlab/sim/op"
)

// brctl(8). delbr stays the tool's own: it refuses a bridge that is up, and
// anything that is no bridge, which LinkDel would not.
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
		return op.LinkSet{Name: args[2], Master: args[1]}, nil
	case len(args) == 3 && args[0] == "delif":
		return op.LinkSet{Name: args[2], NoMaster: true}, nil
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
		return "add bridge failed: " + strerror(f.Errno), 1
	case op.LinkSet:
		verb, prep, bridge := "add", " to bridge ", o.Master
		if o.NoMaster {
			verb, prep, bridge = "delete", " from ", c.argv[2]
		}
		if f.What == op.NoDevice || f.Errno == enodev && f.What == "" {
			if f.Name == bridge && f.Name != o.Name {
				return "bridge " + bridge + " does not exist!", 1
			}
			return "interface " + o.Name + " does not exist!", 1
		}
		switch {
		case o.NoMaster:
			return "device " + o.Name + " is not a port of " + bridge, 1
		case f.Errno == ebusy:
			return "device " + o.Name + " is already a member of a bridge; can't add it to bridge " + bridge + ".", 1
		case strings.Contains(f.Message, "enslave a bridge") || f.Errno == 40:
			return "device " + o.Name + " is a bridge device itself; can't add a bridge device to a bridge device.", 1
		}
		errno := f.Errno
		if errno == 0 {
			errno = eopnotsupp // not a bridge
		}
		return "can't " + verb + " " + o.Name + prep + bridge + ": " + strerror(errno), 1
	}
	return "brctl: " + plain(f), 1
}
