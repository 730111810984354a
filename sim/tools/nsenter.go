package tools

import (
	"path"
	"strings"

	"vethlab/sim/op"
)

// nsenter(1), util-linux 2.38: the network namespace of a file or a process.

func init() { programs["nsenter"] = nsenter }

func nsenter(c *call) op.Result {
	w := words{rest: c.argv[1:]}
	file, target, net, mount := "", "", false, false
	for w.more() && strings.HasPrefix(w.peek(), "-") {
		a := w.take()
		if a == "--" {
			break
		}
		switch {
		case strings.HasPrefix(a, "--net="):
			file, net = a[len("--net="):], true
		case a == "-n" || a == "--net":
			net = true
		case a == "-m" || a == "--mount":
			mount = true
		case a == "-u" || a == "--uts":
		case strings.HasPrefix(a, "-n"):
			file, net = a[2:], true
		case a == "-t" || a == "--target":
			if !w.more() {
				fail(1, "nsenter: option requires an argument -- 't'\nTry 'nsenter --help' for more information.")
			}
			target = w.take()
		case strings.HasPrefix(a, "--target="):
			target = a[len("--target="):]
		case strings.HasPrefix(a, "-t"):
			target = a[2:]
		default:
			notSimulated("nsenter %s", a)
		}
	}
	if !net {
		notSimulated("nsenter without --net")
	}
	node := ""
	switch {
	case file == "" && target == "":
		fail(1, "nsenter: no target PID specified") // err(EXIT_FAILURE, …)
	case file == "":
		if _, ok := unsigned(target, 1<<22); !ok {
			fail(1, "nsenter: failed to parse pid: '%s'", target)
		}
		file = "/proc/" + target + "/ns/net"
		fallthrough
	default:
		dir, name := path.Split(c.fullPath(file))
		if dir == "/run/netns/" {
			node = c.named(name)
		} else if pid, ok := strings.CutPrefix(c.fullPath(file), "/proc/"); ok && strings.HasSuffix(pid, "/ns/net") {
			if n := c.nodeOfPid(strings.TrimSuffix(pid, "/ns/net")); n != nil {
				node = n.Name
			}
		}
		if node == "" {
			fail(1, "nsenter: cannot open %s: No such file or directory", file)
		}
	}
	if !w.more() {
		notSimulated("nsenter without a command")
	}
	c.outside = !mount
	if st := c.within(node, w.rest, "nsenter: failed to execute "+w.peek()+": No such file or directory"); st != 0 {
		return c.done(st)
	}
	return c.done(0)
}
