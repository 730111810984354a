package cmdline

import (
	"strings"

	"vethlab/sim/op"
)

// sysctl(8): one setting, with or without -w.
func parseSysctl(c *Command, args []string) (op.Op, error) {
	for len(args) > 1 && (args[0] == "-w" || args[0] == "--write" || args[0] == "-q" || args[0] == "--quiet" || args[0] == "-qw" || args[0] == "-wq") {
		if strings.Contains(args[0], "q") {
			c.quiet = true
		}
		args = args[1:]
	}
	if len(args) != 1 || strings.HasPrefix(args[0], "-") {
		return nil, nil
	}
	key, value, ok := strings.Cut(args[0], "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || value == "" || strings.ContainsAny(key, " \t\n*?[]\"'\\") || strings.Contains(value, "\n") || strings.HasPrefix(key, "-") {
		return nil, nil
	}
	if key = SysctlKey(key); key == "" {
		return nil, nil
	}
	return op.SysctlSet{Key: key, Value: value}, nil
}

// SysctlKey gives the form net.ipv4.ip_forward for a key whose parts are set
// apart by dots or by slashes; which of the two is decided by what comes
// first, and the other one then belongs to a name, as in
// net.ipv4.conf.eth0/100.forwarding. The empty string means s is no key.
func SysctlKey(s string) string {
	i := strings.IndexAny(s, "./")
	if i >= 0 && s[i] == '/' {
		s = swap(s)
	}
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || part == "/" || part == "//" { // no part may be empty, "." or ".."
			return ""
		}
	}
	if strings.HasPrefix(s, "/") || i < 0 || strings.IndexAny(s, "./") != strings.Index(s, ".") {
		return ""
	}
	return s
}

// SysctlPath gives the file of a key: /proc/sys/net/ipv4/ip_forward.
func SysctlPath(key string) string { return "/proc/sys/" + swap(key) }

var swapper = strings.NewReplacer(".", "/", "/", ".")

func swap(s string) string { return swapper.Replace(s) }

// sysctlFailure: procps 4 (src/sysctl.c); every failure exits 1.
func (c Command) sysctlFailure(f *op.Failure) (string, int) {
	o, ok := c.Op.(op.SysctlSet)
	switch {
	case !ok:
		return "sysctl: " + plain(f), 1
	case f.What == op.NoSysctl || f.Errno == enoent:
		return "sysctl: cannot stat " + SysctlPath(o.Key) + ": No such file or directory", 1
	case f.Errno == 13:
		return `sysctl: permission denied on key "` + o.Key + `"`, 1
	}
	return `sysctl: setting key "` + o.Key + `": ` + op.Strerror(f.Errno), 1
}
