package tools

import (
	"maps"
	"slices"
	"strings"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// ip netns (ip/ipnetns.c).
func (i *iproute) doNetns() {
	if len(i.rest) > 1 && !i.all {
		if n := i.rest[1]; n == "" || len(n) > 255 || n == "." || n == ".." || strings.Contains(n, "/") {
			fail(255, `Invalid netns name "%s"`, n)
		}
	}
	switch verb := i.verb("netns", "list", "show", "lst", "list-id", "help", "add", "set", "delete", "identify", "pids", "exec", "monitor", "attach"); verb {
	case "", "list", "show", "lst":
		i.netnsList()
	case "add":
		if !i.more() {
			fail(1, "No netns name specified")
		}
		i.do(i.node, op.NetnsAdd{Name: i.take()})
	case "delete":
		i.netnsDelete()
	case "exec":
		i.netnsExec()
	case "identify":
		i.netnsIdentify()
	case "pids":
		i.netnsPids()
	case "help":
		i.usage("netns")
	default:
		notSimulated("ip netns %s", verb)
	}
}

// mounted are the nodes that this machine has names for in /run/netns, newest
// first, as the directory of a tmpfs has them.
func (c *call) mounted() (nodes []state.Node) {
	c.locked(func() {
		s, err := c.lab.world.Snapshot(c.ctx)
		if err != nil {
			return
		}
		here := s.Node(c.node)
		for _, n := range s.Nodes {
			if here != nil && n.Mounted && n.Kind == state.Container && n.Machine == machineOf(here) {
				nodes = append(nodes, n)
			}
		}
	})
	slices.Reverse(nodes)
	return nodes
}

func (i *iproute) netnsList() {
	i.begin()
	type entry struct{ name, node string }
	var entries []entry
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(i.netnsLinks()))) {
		entries = append(entries, entry{name, i.named(name)})
	}
	for _, n := range i.mounted() {
		entries = append(entries, entry{n.NetnsName(), n.Name})
	}
	for _, e := range entries {
		i.open("")
		i.str("name", "%s", e.name)
		if id, ok := i.nsid(e.node); ok {
			i.num("id", " (id: %d)", id)
		}
		i.text("\n")
		i.close()
	}
	i.end()
}

// nsid is the number by which this node's kernel knows another namespace, if
// it had to do with it.
func (c *call) nsid(node string) (id int, ok bool) {
	c.locked(func() {
		if n := c.lab.world.Node(c.node); n != nil {
			id, ok = n.NsidOf(node)
		}
	})
	return id, ok
}

func (i *iproute) netnsDelete() {
	if !i.more() && !i.all {
		fail(1, "No netns name specified")
	}
	if i.all {
		for name := range i.netnsLinks() {
			i.do(i.node, op.NetnsDel{Name: name})
		}
		for _, n := range i.mounted() {
			i.do(i.node, op.NetnsDel{Name: n.NetnsName()})
		}
		return
	}
	i.do(i.node, op.NetnsDel{Name: i.take()})
}

func (i *iproute) netnsExec() {
	if !i.more() && !i.all {
		fail(1, "No netns name specified")
	}
	if len(i.rest) < 2 && !i.all || !i.more() {
		fail(1, "No command specified")
	}
	if i.all {
		for _, n := range i.mounted() {
			i.text("\nnetns: %s\n", n.NetnsName())
			i.within(n.Name, i.rest, "")
		}
		return
	}
	name := i.take()
	node := i.named(name)
	if node == "" {
		fail(255, `Cannot open network namespace "%s": No such file or directory`, name)
	}
	if st := i.within(node, i.rest, `exec of "`+i.rest[0]+`" failed: No such file or directory`); st != 0 {
		quit(st)
	}
}

// within runs a command line in a node, as part of this program. What missing
// says is said when the machine lacks the program.
func (c *call) within(node string, argv []string, missing string) int {
	in := &call{ctx: c.ctx, lab: c.lab, node: node, argv: argv, stdin: c.stdin, background: c.background, outside: c.outside}
	r := in.command()
	c.out.WriteString(r.Output)
	c.err.WriteString(r.Stderr)
	c.traces = append(c.traces, in.traces...)
	c.traces = append(c.traces, r.Traces...)
	c.kept = nil
	if r.Failure != nil && r.Failure.What == op.NoTool && r.Stderr == "" && missing != "" {
		c.err.WriteString(missing + "\n")
		return 1
	}
	return r.Status
}

func (i *iproute) netnsIdentify() {
	if len(i.rest) > 1 {
		fail(1, "extra arguments specified")
	}
	node := i.node
	if i.more() {
		pid := i.take()
		if strings.Trim(pid, "0123456789") != "" {
			fail(1, "Specified string '%s' is not a pid", pid)
		}
		n := i.nodeOfPid(pid)
		if n == nil {
			fail(1, "Cannot open network namespace: No such file or directory")
		}
		node = n.Name
	}
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(i.netnsLinks()))) {
		if i.named(name) == node {
			i.out.WriteString(name)
		}
	}
	for _, n := range i.mounted() {
		if n.Name == node {
			i.out.WriteString(n.NetnsName())
		}
	}
	i.out.WriteString("\n")
}

func (i *iproute) netnsPids() {
	if !i.more() {
		fail(1, "No netns name specified")
	}
	if len(i.rest) > 1 {
		fail(1, "extra arguments specified")
	}
	node := i.named(i.take())
	if node == "" {
		fail(1, "Cannot open network namespace: No such file or directory")
	}
	for _, pid := range i.pids(node) {
		i.out.WriteString(itoa(pid) + "\n")
	}
}

// pids are the processes that run in a node.
func (c *call) pids(node string) (pids []int) {
	c.locked(func() {
		if n := c.lab.world.Node(node); n != nil {
			for _, p := range n.Processes() {
				pids = append(pids, p.PID)
			}
		}
	})
	return pids
}
