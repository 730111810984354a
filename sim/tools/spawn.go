package tools

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"vethlab/sim/op"
)

// What processes that keep a namespace need of a machine's files: directories,
// files made for them, and symbolic links in /run/netns to the namespaces of
// processes. Other symbolic links are not known here.

// netnsLinks are the symbolic links in the machine's /run/netns.
func (c *call) netnsLinks() (links map[string]string) {
	c.locked(func() {
		if n := c.lab.world.Node(c.node); n != nil {
			links = maps.Clone(n.NetnsLinks())
		}
	})
	return links
}

func (c *call) linkNetns(name, to string) {
	c.locked(func() {
		if n := c.lab.world.Node(c.node); n != nil {
			n.LinkNetns(name, to)
		}
	})
}

// made reports whether a directory was made on this machine.
func (c *call) made(dir string) bool {
	_, ok := c.written()[dir+"/"]
	return ok
}

// maxPath is PATH_MAX (include/uapi/linux/limits.h).
const maxPath = 4096

// mkdirAll makes a directory and those it is in.
func (c *call) mkdirAll(dir string) (wrong string) {
	var missing []string // innermost first
	size := 0
	for d := dir; !slices.Contains(directories, d) && !c.made(d); d = path.Dir(d) {
		if f, ok := c.at(d); ok && !f.dir {
			return "File exists"
		}
		if strings.HasPrefix(d, "/proc/") || strings.HasPrefix(d, "/sys/") {
			return "No such file or directory"
		}
		if len(d) >= maxPath {
			return "File name too long"
		}
		missing = append(missing, d)
		size += len(d) + entrySize
	}
	w := c.written()
	if len(missing) > 0 && size+used(w) > maxFiles {
		return "No space left on device"
	}
	for _, d := range missing {
		w[d+"/"] = ""
	}
	return ""
}

// put is op.FileWrite.
func (c *call) put(o op.FileWrite) (r op.Result) {
	exists := c.lab.world.Node(c.node) != nil
	if !exists {
		return op.Result{Status: 1, Failure: &op.Failure{What: op.NoNetns, Name: c.node, Errno: enoent}}
	}
	defer c.caught(&r)
	full := c.fullPath(o.Path)
	wrong := c.mkdirAll(path.Dir(full))
	if wrong == "" {
		c.outside = true // full is the machine's already
		wrong = c.writeFile(full, o.Text, false)
	}
	if wrong != "" {
		fail(1, "bash: %s: %s", o.Path, wrong)
	}
	return c.done(0)
}

// lacking says what a process would say that cannot be shown the files it is to
// have.
func (c *call) lacking(o op.Spawn) (r op.Result) {
	defer c.caught(&r)
	c.outside = true
	for _, at := range slices.Sorted(maps.Keys(o.Files)) {
		if f, ok := c.at(o.Files[at]); !ok || f.dir {
			fail(32, "mount: %s: special device %s does not exist.", at, o.Files[at])
		}
	}
	return c.done(0)
}

func mkdir(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "p")
	if len(args) == 0 {
		fail(1, "mkdir: missing operand\nTry 'mkdir --help' for more information.")
	}
	status := 0
	for _, a := range args {
		full := c.fullPath(a)
		wrong := ""
		if strings.Contains(options, "p") {
			wrong = c.mkdirAll(full)
		} else if _, ok := c.at(a); ok {
			wrong = "File exists"
		} else if parent := path.Dir(full); !slices.Contains(directories, parent) && !c.made(parent) {
			wrong = "No such file or directory"
		} else {
			wrong = c.mkdirAll(full)
		}
		if wrong != "" {
			c.warn("mkdir: cannot create directory ‘%s’: %s", a, wrong)
			status = 1
		}
	}
	return c.done(status)
}

// ln -s TARGET /run/netns/NAME
func ln(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "sfnT")
	if len(args) != 2 || !strings.Contains(options, "s") {
		notSimulated("ln %s", strings.Join(c.argv[1:], " "))
	}
	full := c.fullPath(args[1])
	if full == "/run/netns" {
		full = path.Join(full, path.Base(args[0]))
	}
	name, ok := strings.CutPrefix(full, "/run/netns/")
	if !ok || strings.Contains(name, "/") {
		notSimulated("ln -s to anything but /run/netns/NAME")
	}
	if _, there := c.at(full); there {
		if !strings.Contains(options, "f") || c.netnsLinks()[name] == "" {
			fail(1, "ln: failed to create symbolic link '%s': File exists", args[1])
		}
	}
	c.linkNetns(name, args[0])
	return c.done(0)
}

// findDangling is find -L DIR -type l: with -L, what is still a symbolic link
// is one that leads nowhere (find(1)).
func (c *call) findDangling(dir string, remove bool) op.Result {
	if f, ok := c.at(dir); !ok || !f.dir {
		fail(1, "find: '%s': No such file or directory", dir)
	}
	if c.fullPath(dir) != "/run/netns" {
		return c.done(0) // there are no symbolic links elsewhere
	}
	for _, name := range c.entries(dir) {
		if f, ok := c.at(path.Join("/run/netns", name)); ok && f.dangling {
			if remove {
				c.linkNetns(name, "")
			} else {
				fmt.Fprintln(&c.out, path.Join(dir, name))
			}
		}
	}
	return c.done(0)
}
