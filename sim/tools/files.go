package tools

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"vethlab/sim"
	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// The files of a simulated machine are few: /run/netns, /proc/sys, what of
// /proc tells namespaces apart, and those that somebody wrote. The last are
// kept beside the world, for as long as the lab lives.

// files are what somebody wrote, by machine and path.
type files map[string]map[string]string

func init() {
	for name, p := range map[string]program{"cat": cat, "tee": tee, "dd": dd, "ls": ls, "readlink": readlink, "stat": stat, "test": test, "[": test,
		"find": find, "ln": ln, "mkdir": mkdir, "which": which, "rm": rm, "touch": touch, "echo": echo, "pwd": pwd, "hostname": hostname, "true": done0, "false": done1,
		"env": env, "sudo": sudo, "id": id, "whoami": whoami} {
		programs[name] = p
		delete(unmodelled, name)
	}
}

// directories that every machine has, and that show only what is known here.
var directories = []string{"/", "/etc", "/etc/docker", "/var/lib", "/var/lib/docker", "/home", "/proc", "/proc/sys", "/root", "/run", "/run/netns", "/sys", "/tmp", "/usr", "/var"}

// fullPath is the file a word means: relative to /root, where a shell begins.
// A node that a process keeps may have other files of the machine in places.
func (c *call) fullPath(name string) (full string) {
	defer func() {
		if c.outside {
			return
		}
		c.locked(func() {
			if n := c.lab.world.Node(c.node); n != nil {
				if at, ok := n.Files()[full]; ok {
					full = at
				}
			}
		})
	}()
	if !path.IsAbs(name) {
		name = path.Join("/root", name)
	}
	name = path.Clean(name)
	if rest, ok := strings.CutPrefix(name, "/var/run"); ok && (rest == "" || rest[0] == '/') {
		name = "/run" + rest
	}
	return name
}

// written are the files somebody wrote on this machine.
func (c *call) written() (m map[string]string) {
	machine := machineOf(c.state())
	c.locked(func() {
		if c.lab.files == nil {
			c.lab.files = files{}
		}
		if c.lab.files[machine] == nil {
			c.lab.files[machine] = map[string]string{"/etc/hosts": "127.0.0.1\tlocalhost\n"} // as exec/sandbox has it
		}
		m = c.lab.files[machine]
	})
	return m
}

// textsIn is the text of all files in a directory of a machine, one after the
// other; whoever calls holds the lab's lock, as the world does.
func (l *Lab) textsIn(machine, dir string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(l.files[machine])) {
		if path.Dir(name) == path.Clean(dir) && !strings.HasSuffix(name, "/") {
			b.WriteString(l.files[machine][name] + "\n")
		}
	}
	return b.String()
}

// file is what a path leads to.
type file struct {
	dir   bool
	text  string
	inode uint64
	kind  byte   // as ls shows it: -, d, l
	link  string // of a symbolic link

	dangling bool // the link leads nowhere
}

func (c *call) at(name string) (f file, ok bool) {
	full := c.fullPath(name)
	if text, ok := c.written()[full]; ok {
		return file{text: text, kind: '-'}, true
	}
	if _, ok := c.written()[full+"/"]; ok {
		return file{kind: 'd', dir: true}, true
	}
	if ns, ok := strings.CutPrefix(full, "/run/netns/"); ok {
		if to, ok := c.netnsLinks()[ns]; ok {
			f := file{kind: 'l', link: to, dangling: true}
			if pid, ok := strings.CutPrefix(to, "/proc/"); ok {
				if node := c.nodeOfPid(strings.TrimSuffix(pid, "/ns/net")); node != nil {
					f.inode, f.dangling = node.Netns, false
				}
			}
			return f, true
		}
		for _, n := range c.mounted() {
			if n.Name == ns {
				return file{kind: '-', inode: n.Netns}, true
			}
		}
		return file{}, false
	}
	if key, ok := strings.CutPrefix(full, "/proc/sys/"); ok {
		key = cmdline.SysctlKey(strings.TrimSuffix(key, "/"))
		if v, ok := c.setting(key); ok {
			return file{kind: '-', text: v + "\n"}, true
		}
		if key == "" {
			key = strings.TrimPrefix(full, "/proc/sys/")
		}
		if known(key, c.devices()) {
			notSimulated("/proc/sys/%s", strings.TrimPrefix(full, "/proc/sys/"))
		}
		dir := slices.ContainsFunc(c.settings(), func(k string) bool { return strings.HasPrefix(k, key+".") })
		return file{kind: 'd', dir: true}, dir
	}
	if pid, ok := strings.CutPrefix(full, "/proc/"); ok && strings.HasSuffix(pid, "/ns/net") {
		if node := c.nodeOfPid(strings.TrimSuffix(pid, "/ns/net")); node != nil {
			return file{kind: 'l', inode: node.Netns, link: fmt.Sprintf("net:[%d]", node.Netns)}, true
		}
		return file{}, false
	}
	if slices.Contains(directories, full) {
		return file{kind: 'd', dir: true}, true
	}
	if strings.HasPrefix(full, "/proc/") || strings.HasPrefix(full, "/sys/") {
		notSimulated("%s", full)
	}
	return file{}, false
}

// nodeOfPid is the node that a process of this machine runs in.
func (c *call) nodeOfPid(pid string) *state.Node {
	if pid == "self" || pid == "thread-self" || pid == "$$" {
		return c.state()
	}
	n, ok := unsigned(pid, 1<<22)
	if !ok {
		return nil
	}
	var names []string
	c.locked(func() {
		for _, n := range c.lab.world.Nodes() {
			names = append(names, n.Name())
		}
	})
	for _, name := range names {
		if slices.Contains(c.pids(name), int(n)) {
			return c.other(name)
		}
	}
	return nil
}

// readFile reads a file's text.
func (c *call) readFile(name string) (string, bool) {
	f, ok := c.at(name)
	return f.text, ok && !f.dir && !f.dangling
}

// writeFile writes a file, or a setting; it says what was refused.
func (c *call) writeFile(name, text string, add bool) string {
	full := c.fullPath(name)
	if key, ok := strings.CutPrefix(full, "/proc/sys/"); ok {
		key = cmdline.SysctlKey(key)
		if _, has := c.setting(key); !has && key != sim.RouteFlush {
			if known(key, c.devices()) {
				notSimulated("sysctl -w %s", key)
			}
			return "No such file or directory"
		}
		o := op.SysctlSet{Key: key, Value: strings.TrimSpace(text)}
		if r := c.apply(c.node, o); r.Failure != nil {
			said := cmdline.Command{Tool: "sysctl", Op: o}.Finish(r).Stderr
			return strings.TrimSpace(said[strings.LastIndex(said, ": ")+2:])
		}
		return ""
	}
	if slices.Contains(directories, full) {
		return "Is a directory"
	}
	if dir := path.Dir(full); !slices.Contains(directories, dir) && !c.made(dir) {
		return "No such file or directory"
	}
	if strings.HasPrefix(full, "/proc") || strings.HasPrefix(full, "/sys") || strings.HasPrefix(full, "/run/netns") {
		return "Permission denied"
	}
	w := c.written()
	if add {
		text = w[full] + text
	}
	if len(full) >= maxPath {
		return "File name too long"
	}
	size := used(w) + len(text) - len(w[full])
	if _, there := w[full]; !there {
		size += len(full) + entrySize
	}
	if size > maxFiles {
		return "No space left on device"
	}
	w[full] = text
	return ""
}

// maxFiles bounds what a machine's files and their names hold together, in bytes;
// entrySize is what a file takes beside.
const maxFiles, entrySize = 4 << 20, 100

// used is how many bytes files take.
func used(w map[string]string) (size int) {
	for name, text := range w {
		size += len(name) + len(text) + entrySize
	}
	return size
}

// operands are the words that are no options, and the letters of those.
func (c *call) operands() (args []string, options string) {
	for k, a := range c.argv[1:] {
		if a == "--" {
			return append(args, c.argv[k+2:]...), options
		}
		if strings.HasPrefix(a, "-") && a != "-" {
			options += a[1:]
			continue
		}
		args = append(args, a)
	}
	return args, options
}

// only ends the program when it is given an option it does not know here.
func (c *call) only(options, known string) {
	for _, o := range options {
		if !strings.ContainsRune(known, o) {
			notSimulated("%s -%c", c.argv[0], o)
		}
	}
}

func cat(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "u")
	if len(args) == 0 {
		args = []string{"-"}
	}
	status := 0
	for _, a := range args {
		if a == "-" {
			c.out.WriteString(c.stdin)
			continue
		}
		f, ok := c.at(a)
		switch {
		case !ok || f.dangling:
			c.warn("cat: %s: No such file or directory", a)
			status = 1
		case f.dir:
			c.warn("cat: %s: Is a directory", a)
			status = 1
		case f.inode != 0:
			c.warn("cat: %s: Invalid argument", a)
			status = 1
		default:
			c.out.WriteString(f.text)
		}
	}
	return c.done(status)
}

func tee(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "a")
	c.out.WriteString(c.stdin)
	status := 0
	for _, a := range args {
		if why := c.writeFile(a, c.stdin, strings.Contains(options, "a")); why != "" {
			c.warn("tee: %s: %s", a, why)
			status = 1
		}
	}
	return c.done(status)
}

// dd of=FILE status=none [oflag=append conv=notrunc] is how a shell's
// redirection arrives (lessons/files.go); no other form is known.
func dd(c *call) op.Result {
	of, add := "", false
	for _, a := range c.argv[1:] {
		key, v, _ := strings.Cut(a, "=")
		switch {
		case key == "of":
			of = v
		case a == "oflag=append":
			add = true
		case a == "status=none", a == "conv=notrunc":
		default:
			notSimulated("dd %s", a)
		}
	}
	if why := c.writeFile(of, c.stdin, add); why != "" {
		fail(1, "dd: failed to open '%s': %s", of, why)
	}
	return c.done(0)
}

// entries are the names in a directory.
func (c *call) entries(name string) (names []string) {
	full := c.fullPath(name)
	add := func(p string) {
		rest, ok := strings.CutPrefix(p, strings.TrimSuffix(full, "/")+"/")
		if !ok || rest == "" {
			return
		}
		first, _, _ := strings.Cut(rest, "/")
		if !slices.Contains(names, first) {
			names = append(names, first)
		}
	}
	if full == "/run/netns" {
		for _, n := range c.mounted() {
			names = append(names, n.Name)
		}
		for name := range c.netnsLinks() {
			names = append(names, name)
		}
	}
	if strings.HasPrefix(full, "/proc/sys") {
		for _, k := range c.settings() {
			add(cmdline.SysctlPath(k))
		}
	}
	for p := range c.written() {
		add(p)
	}
	slices.Sort(names)
	return names
}

func ls(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "lia1dLAF")
	if len(args) == 0 {
		args = []string{"."}
	}
	status := 0
	var plain, dirs []string
	for _, a := range args {
		f, ok := c.at(a)
		switch {
		case !ok:
			c.warn("ls: cannot access '%s': No such file or directory", a)
			status = 2
		case f.dir && !strings.Contains(options, "d"):
			dirs = append(dirs, a)
		default:
			plain = append(plain, a)
		}
	}
	for _, a := range plain {
		f, _ := c.at(a)
		c.entry(a, f, options)
	}
	for k, d := range dirs {
		if len(args) > 1 {
			if k > 0 || len(plain) > 0 {
				c.out.WriteString("\n")
			}
			fmt.Fprintf(&c.out, "%s:\n", d)
		}
		if full := c.fullPath(d); slices.Contains([]string{"/", "/etc", "/proc", "/sys", "/usr", "/var", "/run"}, full) {
			notSimulated("ls %s", full)
		}
		if strings.Contains(options, "l") {
			c.out.WriteString("total 0\n")
		}
		for _, name := range c.entries(d) {
			f, _ := c.at(path.Join(c.fullPath(d), name))
			c.entry(name, f, options)
		}
	}
	return c.done(status)
}

// entry prints a line of ls. A lab's files have no age: ls -l says the world's
// first day.
func (c *call) entry(name string, f file, options string) {
	if strings.Contains(options, "i") {
		fmt.Fprintf(&c.out, "%d ", f.inode)
	}
	if strings.Contains(options, "l") {
		mode, owner, size := "-rw-r--r--", "root root", len(f.text)
		switch {
		case f.kind == 'd':
			mode, size = "drwxr-xr-x", 0
		case f.kind == 'l':
			mode = "lrwxrwxrwx"
			if !strings.HasPrefix(f.link, "net:[") {
				size = len(f.link)
			}
			name += " -> " + f.link
		case f.inode != 0:
			mode, owner = "-r--r--r--", "nobody nogroup"
		case strings.HasPrefix(c.fullPath(name), "/proc/"):
			size = 0
		}
		fmt.Fprintf(&c.out, "%s 1 %s %d Jan  1 00:00 ", mode, owner, size)
	}
	fmt.Fprintln(&c.out, name)
}

func readlink(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "fne")
	if len(args) == 0 {
		fail(1, "readlink: missing operand\nTry 'readlink --help' for more information.")
	}
	status := 0
	for _, a := range args {
		if f, ok := c.at(a); ok && f.kind == 'l' {
			fmt.Fprintln(&c.out, f.link)
		} else {
			status = 1
		}
	}
	return c.done(status)
}

// stat knows the form that the lab's shell asks with (lessons/files.go).
func stat(c *call) op.Result {
	args, _ := c.operands()
	if len(args) != 2 || args[0] != "%f %s %Y" {
		notSimulated("stat")
	}
	f, ok := c.at(args[1])
	if !ok {
		fail(1, "stat: cannot statx '%s': No such file or directory", args[1])
	}
	mode := map[byte]uint32{'d': 0o040755, 'l': 0o120777}[f.kind]
	if mode == 0 {
		mode = 0o100644
	}
	fmt.Fprintf(&c.out, "%x %d %d\n", mode, len(f.text), start/1_000_000_000)
	return c.done(0)
}

func test(c *call) op.Result {
	args := c.argv[1:]
	if c.argv[0] == "[" && len(args) > 0 {
		args = args[:len(args)-1]
	}
	if len(args) != 2 || len(args[0]) != 2 || args[0][0] != '-' {
		notSimulated("test")
	}
	f, ok := c.at(args[1])
	if letter := args[0][1]; letter != 'L' && letter != 'h' {
		ok = ok && !f.dangling
	}
	switch args[0][1] {
	case 'e', 'r', 'w':
	case 'f':
		ok = ok && f.kind == '-'
	case 'd', 'x':
		ok = ok && f.dir
	case 's':
		ok = ok && f.text != ""
	case 'L', 'h':
		ok = ok && f.kind == 'l'
	default:
		notSimulated("test %s", args[0])
	}
	return c.done(orElse(ok, 0, 1))
}

// find knows the form that the lab's shell asks with (lessons/files.go).
func find(c *call) op.Result {
	a := c.argv[1:]
	if len(a) == 5 && a[0] == "-L" && a[2] == "-type" && a[3] == "l" && (a[4] == "-delete" || a[4] == "-print") ||
		len(a) == 4 && a[0] == "-L" && a[2] == "-type" && a[3] == "l" {
		return c.findDangling(a[1], a[len(a)-1] == "-delete")
	}
	if len(a) < 8 || a[0] != "-H" || a[len(a)-2] != "-printf" {
		notSimulated("find")
	}
	if f, ok := c.at(a[1]); !ok || !f.dir {
		fail(1, "find: '%s': No such file or directory", a[1])
	}
	for _, name := range c.entries(a[1]) {
		f, ok := c.at(path.Join(c.fullPath(a[1]), name))
		kind := orElse(!ok || f.dir, "d", "f")
		fmt.Fprintf(&c.out, "%s %s %d 0.0 %s\x00", orElse(kind == "d", "755", "644"), kind, len(f.text), name)
	}
	return c.done(0)
}

func which(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "a")
	status := 0
	for _, a := range args {
		name := path.Base(a)
		if programs[name] == nil && !unmodelled[name] || name == "sudo" {
			status = 1
			continue
		}
		dir := "/usr/bin/"
		if slices.Contains(strings.Fields("ip bridge brctl ifconfig route arp iptables iptables-save iptables-restore sysctl conntrack tc nft ethtool arptables ebtables"), name) {
			dir = "/usr/sbin/"
		}
		fmt.Fprintln(&c.out, dir+name)
	}
	return c.done(status)
}

func rm(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "frR")
	status := 0
	for _, a := range args {
		full := c.fullPath(a)
		if _, ok := c.written()[full]; ok {
			delete(c.written(), full)
			continue
		}
		if _, ok := c.written()[full+"/"]; ok && strings.ContainsAny(options, "rR") {
			for p := range c.written() {
				if strings.HasPrefix(p, full+"/") {
					delete(c.written(), p)
				}
			}
			continue
		}
		if name, ok := strings.CutPrefix(full, "/run/netns/"); ok && c.netnsLinks()[name] != "" {
			c.linkNetns(name, "")
			continue
		}
		if f, ok := c.at(a); ok {
			c.warn("rm: cannot remove '%s': %s", a, orElse(f.dir, "Is a directory", "Device or resource busy"))
			status = 1
		} else if !strings.Contains(options, "f") {
			c.warn("rm: cannot remove '%s': No such file or directory", a)
			status = 1
		}
	}
	return c.done(status)
}

func touch(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "c")
	status := 0
	for _, a := range args {
		if _, ok := c.at(a); ok {
			continue
		}
		if why := c.writeFile(a, "", true); why != "" {
			c.warn("touch: cannot touch '%s': %s", a, why)
			status = 1
		}
	}
	return c.done(status)
}

func echo(c *call) op.Result {
	args, nl := c.argv[1:], "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, nl = args[1:], ""
	}
	c.out.WriteString(strings.Join(args, " ") + nl)
	return c.done(0)
}

func pwd(c *call) op.Result {
	c.out.WriteString("/root\n")
	return c.done(0)
}

// hostname is the node's name.
func hostname(c *call) op.Result {
	args, options := c.operands()
	c.only(options, "s")
	if len(args) > 0 {
		notSimulated("hostname %s", args[0])
	}
	name := c.node
	c.locked(func() {
		if n := c.lab.world.Node(c.node); n != nil {
			name = n.Hostname()
		}
	})
	fmt.Fprintln(&c.out, name)
	return c.done(0)
}

func done0(c *call) op.Result { return c.done(0) }
func done1(c *call) op.Result { return c.done(1) }

func id(c *call) op.Result {
	if _, options := c.operands(); options == "u" {
		c.out.WriteString("0\n")
		return c.done(0)
	}
	c.out.WriteString("uid=0(root) gid=0(root) groups=0(root)\n")
	return c.done(0)
}

func whoami(c *call) op.Result {
	c.out.WriteString("root\n")
	return c.done(0)
}

// env NAME=VALUE… COMMAND: no program here heeds a variable.
func env(c *call) op.Result {
	args := c.argv[1:]
	for len(args) > 0 && (args[0] == "-C" || strings.Contains(args[0], "=")) {
		if args[0] == "-C" {
			args = args[1:]
		}
		args = args[min(1, len(args)):]
	}
	if len(args) == 0 {
		notSimulated("env")
	}
	return c.run(args)
}

// sudo COMMAND: in a lab everybody is root already.
func sudo(c *call) op.Result {
	if len(c.argv) < 2 || strings.HasPrefix(c.argv[1], "-") {
		return sim.NotSimulated("sudo")
	}
	return c.run(c.argv[1:])
}

// run runs another command line in place of this one.
func (c *call) run(argv []string) op.Result {
	if st := c.within(c.node, argv, ""); st != 0 {
		return c.done(st)
	}
	return c.done(0)
}
