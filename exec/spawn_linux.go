package exec

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vethlab/exec/sandbox"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Processes that keep a namespace. A network namespace that no name in
// /run/netns pins, but a process keeps, is a node like any other: of the name
// that the process has in its variable NODE, else pid-N.

// roleProxy is what docker-proxy is re-executed as.
const roleProxy = "proxy"

// keeperVar is the variable that names a process's namespace.
const keeperVar = "NODE"

// spawn starts a process in the background, in the node or in a new namespace.
// It returns when the process is what it was to become.
func (in *inside) spawn(n *node, o op.Spawn) (op.Result, error) {
	if len(o.Argv) == 0 {
		return op.Result{}, nil
	}
	if in.crowded() {
		return unmade(unix.EAGAIN)
	}
	pid := op.FirstSpawn + int(in.spawned.Add(1))
	cmd, says, err := spawned(o.Argv, cmp.Or(o.Node, n.name))
	if err != nil {
		return op.Result{Status: 1, Stderr: refusal(err)}, nil
	}
	if !o.NewNet {
		v, err := in.viewOf(n)
		if err == nil && (len(o.Files) > 0 || o.Hostname != "") {
			if v, err = in.starter.newView(n.ns, n.machine, cmp.Or(o.Hostname, n.hostName()), o.Files); err == nil {
				defer v.close()
			}
		}
		if err != nil {
			return unmade(err)
		}
		return in.launch(n, cmd, o.Argv, says, func() error { return in.startIn(n.ns, v, cmd, func() error { return in.startAs(cmd, pid) }) }, nil)
	}
	if o.Node != "" {
		cmd.Env = append(cmd.Env, keeperVar+"="+o.Node)
	}
	ns, err := newNS("")
	if err != nil {
		return unmade(err)
	}
	v, err := in.starter.newView(ns, n.machine, cmp.Or(o.Hostname, n.hostName()), o.Files)
	if err != nil {
		ns.Close()
		return unmade(err)
	}
	in.scan.Lock() // else a look for namespaces finds this one half made
	defer in.scan.Unlock()
	opened := false
	res, err := in.launch(n, cmd, o.Argv, says, func() error { return in.startIn(ns, v, cmd, func() error { return in.startAs(cmd, pid) }) }, func(p *process) error {
		pid := cmd.Process.Pid
		m, err := in.openNode(in.freeName(cmp.Or(o.Node, "pid-"+strconv.Itoa(pid))), state.Container, n.machine, ns)
		if err != nil {
			return err
		}
		opened = true
		m.mounted, m.keeper, m.files, m.view, p.node = false, pid, o.Files, v, m.name
		m.hostname = o.Hostname
		in.mu.Lock()
		in.nodes = append(in.nodes, m)
		in.mu.Unlock()
		in.touch(m)
		return nil
	})
	if !opened {
		v.close()
		ns.Close()
	}
	return res, err
}

// spawned makes the command of a process that is started in the background, and
// tells whether it says when it is ready: our own programs do. Others are once
// they are exec'ed.
func spawned(argv []string, node string) (cmd *osexec.Cmd, says bool, err error) {
	switch {
	case argv[0] == "docker-proxy":
		return sandbox.Self(roleProxy, argv...), true, nil
	case len(argv) > 2 && argv[1] == "-m" && argv[2] == "http.server":
		port, bind := "8000", "0.0.0.0"
		for i := 3; i < len(argv); i++ {
			if (argv[i] == "--bind" || argv[i] == "-b") && i+1 < len(argv) {
				i++
				bind = argv[i]
			} else {
				port = argv[i]
			}
		}
		cmd = sandbox.Self(roleHTTP, argv...)
		cmd.Env = append(cmd.Env, nodeVar+"="+node, addrVar+"="+net.JoinHostPort(bind, port))
		return cmd, true, nil
	}
	path, err := osexec.LookPath(argv[0])
	return &osexec.Cmd{Path: path, Args: argv, Env: toolEnv()}, false, err
}

// unmade is what is said where the kernel refuses what a process is to see. That
// is no failure of the lab's: somebody asked for too much.
func unmade(err error) (op.Result, error) {
	if _, is := errors.AsType[syscall.Errno](err); is {
		return op.Result{Status: 1, Stderr: err.Error() + "\n"}, nil
	}
	return op.Result{}, err
}

// freeName is a name that no node has: other machines, or a nameless
// predecessor, may have it already.
func (in *inside) freeName(name string) string {
	for in.node(name) != nil {
		name += "'"
	}
	return name
}

// launch has a process started that, if it says anything, says on its control
// socket when it is ready. started, if not nil, is called once it is there.
func (in *inside) launch(n *node, cmd *osexec.Cmd, argv []string, says bool, start func() error, started func(*process) error) (op.Result, error) {
	var r *os.File
	if says {
		var w *os.File
		var err error
		if r, w, err = os.Pipe(); err != nil {
			return op.Result{}, err
		}
		defer r.Close()
		defer w.Close()
		cmd.ExtraFiles = []*os.File{w}
	}
	err := start()
	if refused, ok := errors.AsType[*os.PathError](err); ok && refused.Path == cmd.Path { // it cannot be exec'ed
		return op.Result{Status: 1, Stderr: refusal(refused.Err)}, nil
	}
	if err != nil {
		return op.Result{}, err
	}
	if says {
		cmd.ExtraFiles[0].Close()
	}
	p := &process{cmd: cmd, node: n.name, argv: argv, done: make(chan struct{})}
	if started != nil {
		err = started(p)
	}
	in.attend(n, p)
	if err != nil {
		_ = cmd.Process.Kill() // it may have ended by itself
		return unmade(err)
	}
	if says {
		said := make([]byte, 512)
		k, _ := r.Read(said) // the end of the pipe without a word means that it died
		if msg := string(said[:k]); msg != "ready" {
			<-p.done
			return op.Result{Status: 1, Stderr: cmp.Or(msg, argv[0]+": it ended at once\n")}, nil
		}
	}
	in.touch(n)
	return op.Result{Output: strconv.Itoa(cmd.Process.Pid) + "\n"}, nil
}

// lastPid is where the number after which a pid namespace looks for the next can
// be chosen (pid_ns_ctl_handler, kernel/pid_namespace.c).
const lastPid = "/proc/sys/kernel/ns_last_pid"

// startAs starts a child as process number pid, if that can be chosen and is
// free. Whoever starts something at the same moment may take it: then the child
// has another.
func (in *inside) startAs(cmd *osexec.Cmd, pid int) error {
	before, err := os.ReadFile(lastPid)
	if err != nil {
		return in.start(cmd)
	}
	for try := 0; ; try++ {
		again := *cmd
		if os.WriteFile(lastPid, []byte(strconv.Itoa(pid-1)), 0) != nil {
			return in.start(cmd)
		}
		if err := in.start(cmd); err != nil {
			return err
		}
		_ = os.WriteFile(lastPid, before, 0) // the others go on where they were
		if cmd.Process.Pid == pid || try == 3 {
			return nil
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		in.waited(cmd)
		*cmd = again
	}
}

// awaitKilled waits a moment for the end of processes that kill(1) was told to
// end, so that the next command finds their ports free.
func (in *inside) awaitKilled(argv []string) {
	if len(argv) == 0 || filepath.Base(argv[0]) != "kill" {
		return
	}
	for _, a := range argv[1:] {
		pid, err := strconv.Atoi(a)
		if err != nil || pid < 0 {
			continue
		}
		in.mu.Lock()
		p := in.procs[pid]
		in.mu.Unlock()
		if p != nil {
			select {
			case <-p.done:
			case <-time.After(time.Second): // it may not heed it; a busy machine is slow
			}
		}
	}
}

// bindFiles shows, at each path, a file of the machine instead of what is there.
func bindFiles(files map[string]string) error {
	for at, file := range files {
		if f, err := os.OpenFile(at, os.O_RDONLY|os.O_CREATE|unix.O_NONBLOCK, 0o644); err == nil { // there must be something to mount on
			f.Close()
		}
		if err := bindFile(file, at); err != nil {
			return fmt.Errorf("mount --bind %s %s: %w", file, at, err)
		}
	}
	return nil
}

// bindFile shows no file of /proc, and no namespace: this process may look at
// itself there (/proc/1/ns/mnt), and those it shows the file to may not.
func bindFile(file, at string) error {
	fd, err := unix.Open(file, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	if fs.Type == unix.PROC_SUPER_MAGIC || fs.Type == unix.NSFS_MAGIC {
		return unix.EPERM
	}
	return unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), at, "", unix.MS_BIND, "")
}

// proxyIdle is how long a client of docker-proxy's may be silent on UDP before
// its conversation is forgotten (libnetwork, UDPConnTrackTimeout).
const proxyIdle = 90 * time.Second

// runProxy is docker-proxy: it takes connections in its own namespace, and
// passes on what they say over connections of its own.
func runProxy() {
	args := os.Args[1:]
	flag := map[string]string{}
	for i := 0; i+1 < len(args); i += 2 {
		flag[args[i]] = args[i+1]
	}
	listen := net.JoinHostPort(flag["-host-ip"], flag["-host-port"])
	to := net.JoinHostPort(flag["-container-ip"], flag["-container-port"])
	named("docker-proxy")
	if flag["-proto"] == "udp" {
		c, err := net.ListenPacket("udp4", listen)
		ready(err)
		relayUDP(c, to)
		return
	}
	ln, err := net.Listen("tcp4", listen)
	ready(err)
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			out, err := net.Dial("tcp4", to)
			if err != nil {
				return
			}
			defer out.Close()
			relayTCP(c.(*net.TCPConn), out.(*net.TCPConn))
		}()
	}
}

// relayTCP passes bytes both ways, and each side's end on to the other.
func relayTCP(a, b *net.TCPConn) {
	done := make(chan struct{}, 2)
	pass := func(to, from *net.TCPConn) {
		_, _ = to.ReadFrom(from) // whichever end broke, the other is told
		_ = to.CloseWrite()
		_ = from.CloseRead()
		done <- struct{}{}
	}
	go pass(a, b)
	go pass(b, a)
	<-done
	<-done
}

// relayUDP has one socket towards the container for each client.
func relayUDP(c net.PacketConn, to string) {
	type client struct{ out net.Conn }
	clients := map[string]client{}
	gone := make(chan string)
	buf := make([]byte, 65507)
	datagrams := make(chan struct {
		data []byte
		from net.Addr
	})
	go func() {
		for {
			k, from, err := c.ReadFrom(buf)
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					close(datagrams)
					return
				}
				continue // an ICMP error of somebody who is gone
			}
			datagrams <- struct {
				data []byte
				from net.Addr
			}{slices.Clone(buf[:k]), from}
		}
	}()
	for {
		select {
		case d, ok := <-datagrams:
			if !ok {
				return
			}
			key := d.from.String()
			cl, ok := clients[key]
			if !ok {
				out, err := net.Dial("udp4", to)
				if err != nil {
					continue
				}
				cl = client{out}
				clients[key] = cl
				go func() {
					b := make([]byte, 65507)
					for {
						_ = out.SetReadDeadline(time.Now().Add(proxyIdle))
						k, err := out.Read(b)
						if errors.Is(err, unix.ECONNREFUSED) {
							continue
						}
						if err != nil {
							break
						}
						_, _ = c.WriteTo(b[:k], d.from)
					}
					gone <- key
				}()
			}
			_, _ = cl.out.Write(d.data)
		case key := <-gone:
			clients[key].out.Close()
			delete(clients, key)
		}
	}
}

// fileWrite writes a file that a machine's programs see, and makes the
// directories to it.
func (in *inside) fileWrite(n *node, o op.FileWrite) error {
	name := filepath.Clean("/" + o.Path)
	if n.keeper != 0 {
		if file, ok := n.files[name]; ok {
			name = file
		}
	}
	dir, rest := sandbox.MachineFile(n.machine, name)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(rest), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(rest, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK, 0o644) // of a fifo it waits for no reader
	if err != nil {
		return err
	}
	_, err = f.WriteString(o.Text)
	return errors.Join(err, f.Close())
}

// nodeIn returns the node of that name, the one that op.At names, or nodeAt's.
func (in *inside) nodeIn(name string) *node {
	if from, pin := op.SplitAt(name); from != "" {
		name = pin
		if m := in.node(from); m != nil && pin != "" && !strings.Contains(pin, "/") {
			if inode, err := inodeOf(filepath.Join(netnsDir(m.machine), pin)); err == nil {
				for _, n := range in.all() {
					if n.inode == inode {
						return n
					}
				}
			}
		}
	}
	if n := in.node(name); n != nil {
		return n
	}
	return in.nodeAt(name)
}

// nodeAt returns the node that a process is in: /proc/PID/ns/net; or the one
// that a symbolic link in a machine's /run/netns leads to.
func (in *inside) nodeAt(name string) *node {
	path := filepath.Clean(name)
	if !strings.HasPrefix(path, "/proc/") || !strings.HasSuffix(path, "/ns/net") {
		path = ""
		if strings.Contains(name, "/") || name == "" || name[0] == '.' {
			return nil
		}
		for _, m := range in.all() {
			link := filepath.Join(netnsDir(m.machine), name)
			if _, err := os.Readlink(link); m.kind != state.Container && err == nil {
				path = link
			}
		}
	}
	inode, err := inodeOf(path)
	if err != nil {
		return nil
	}
	for _, n := range in.all() {
		if n.inode == inode {
			return n
		}
	}
	return nil
}

// keeper is a process, and what it tells of the namespace it is in.
type keeper struct {
	pid     int
	inode   uint64 // of its network namespace
	node    string // its variable NODE
	machine string // whose /run it sees
	young   bool   // it may yet be on the way to somewhere else
}

// settled is the age from which a process is taken to stay in its namespace:
// ip netns add is in a namespace without a name for a moment.
const settled = 300 * time.Millisecond

// keepers are the processes of this sandbox but init, oldest first.
func keepers() (ks []keeper) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 {
			continue
		}
		if ino, err := inodeOf("/proc/" + e.Name() + "/ns/net"); err == nil {
			ks = append(ks, keeper{pid: pid, inode: ino})
		}
	}
	slices.SortFunc(ks, func(a, b keeper) int { return cmp.Compare(a.pid, b.pid) })
	return ks
}

// tell fills in what a process says about itself.
func (k *keeper) tell(machines []string) {
	dir := "/proc/" + strconv.Itoa(k.pid)
	if env, err := os.ReadFile(dir + "/environ"); err == nil {
		for _, kv := range strings.Split(string(env), "\x00") {
			if v, ok := strings.CutPrefix(kv, keeperVar+"="); ok && plainName(v) {
				k.node = v
			}
		}
	}
	if st, err := os.Stat(dir); err == nil {
		k.young = time.Since(st.ModTime()) < settled
	}
	ours, err := os.Stat(dir + "/root/run")
	if err != nil {
		return
	}
	for _, m := range machines {
		if theirs, err := os.Stat(sandbox.MachineRun(m)); err == nil && os.SameFile(ours, theirs) {
			k.machine = m
		}
	}
}

func plainName(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	})
}

// adopt makes nodes of the namespaces that only a process keeps. in.scan is held.
func (in *inside) adopt(ks []keeper) {
	var machines []string
	for _, m := range in.all() {
		if m.kind != state.Container {
			machines = append(machines, m.name)
		}
	}
	nobody, err := inodeOf(fmt.Sprintf("/proc/self/fd/%d", limbo.Fd()))
	if err != nil {
		return
	}
	for _, k := range ks {
		if k.inode == nobody || in.owns(k.inode) {
			continue
		}
		k.tell(machines)
		if k.machine == "" || k.node == "" && k.young {
			continue
		}
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", k.pid))
		if err != nil {
			continue
		}
		n, err := in.openNode(in.freeName(cmp.Or(k.node, "pid-"+strconv.Itoa(k.pid))), state.Container, k.machine, ns)
		if err != nil {
			continue // it has just gone
		}
		n.mounted, n.keeper = false, k.pid
		in.mu.Lock()
		in.nodes = append(in.nodes, n)
		in.mu.Unlock()
		in.touch(n)
	}
}

// proxied is where a docker-proxy's command line says that it passes things on to.
func proxied(argv []string) string {
	if len(argv) == 0 || argv[0] != "docker-proxy" {
		return ""
	}
	flag := map[string]string{}
	for i := 1; i+1 < len(argv); i += 2 {
		flag[argv[i]] = argv[i+1]
	}
	ip, err := netip.ParseAddr(flag["-container-ip"])
	if err != nil {
		return ""
	}
	return net.JoinHostPort(ip.String(), flag["-container-port"])
}
