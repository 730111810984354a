package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dockerLook is what a test binary is started as to look at what a real Docker
// daemon did: by reference.sh, beside it, in the same namespaces. One process
// that goes into a network namespace and asks there costs a tenth of a shell
// that starts as many to do so.
//
// It is asked in lines and answers each with one, once it has done it:
//
//	listens NODE PORT    wait until a TCP port of a machine is listened at
//	settle               wait until daemons that tell each other of a change have done so
//	join MACHINE         the same, and before it for the network of the machine's swarm
//	tell STATUS US WHEN  tell on descriptor 3 what came of a command (a told), and
//	                     the state after it, if it is WHEN (a lookWhen)
const dockerLook = "vethlab-test-docker-look"

// told is what came of a command on the daemon.
type told struct {
	Status         int
	Microseconds   int64
	Stdout, Stderr string
	Looks          []look // one for each namespace; nil: not looked at
}

// lookout looks at the machines of one reference.
type lookout struct {
	dir      string // what reference.sh calls so
	machines []string
	networks map[string]string // the namespaces of overlay networks, by the networks' names
}

func init() { programs[dockerLook] = serveLooks }

// serveLooks looks in the reference of a directory.
func serveLooks(args []string) error {
	dir := args[0]
	l := &lookout{dir: dir, networks: map[string]string{}}
	for _, m := range slices.Sorted(maps.Keys(dockerHosts)) {
		if _, err := os.Stat("/run/nodes/" + m); err == nil {
			l.machines = append(l.machines, m)
		}
	}
	unix.CloseOnExec(3)
	out := json.NewEncoder(os.NewFile(3, "told"))
	asked := bufio.NewScanner(os.Stdin)
	for asked.Scan() {
		var err error
		switch words := strings.Fields(asked.Text()); words[0] {
		case "listens":
			await(asked.Text(), func() bool { return listens("/run/nodes/"+words[1], words[2]) })
		case "join":
			l.joined(words[1])
			l.settle()
		case "settle":
			l.settle()
		case "tell":
			var t told
			if t, err = l.tell(words[1:]); err == nil {
				err = out.Encode(t)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", asked.Text(), err)
		}
		fmt.Println("done")
	}
	return asked.Err()
}

func (l *lookout) tell(words []string) (t told, err error) {
	if t.Status, err = strconv.Atoi(words[0]); err != nil {
		return t, err
	}
	if t.Microseconds, err = strconv.ParseInt(words[1], 10, 64); err != nil {
		return t, err
	}
	for file, to := range map[string]*string{"out": &t.Stdout, "err": &t.Stderr} {
		b, err := os.ReadFile(filepath.Join(l.dir, "own", file))
		if err != nil {
			return t, err
		}
		*to = string(b)
	}
	if lookWhen(words[2]).now(t.Status) {
		t.Looks = []look{}
		for _, m := range l.machines {
			looks, err := l.machine(m)
			if err != nil {
				return t, err
			}
			t.Looks = append(t.Looks, looks...)
		}
	}
	return t, nil
}

// own is a machine's directory.
func (l *lookout) own(machine string) string {
	if machine == "host" { // which is alone
		return filepath.Join(l.dir, "own")
	}
	return filepath.Join(l.dir, "own", machine)
}

// machine looks at a machine, and at all that its daemon has.
func (l *lookout) machine(machine string) (all []look, err error) {
	add := func(s look, err error) error {
		all = append(all, s)
		return err
	}
	own := l.own(machine)
	node := "/run/nodes/" + machine
	s, err := lookInto(machine, node, true)
	if err == nil {
		s.Sysctls, err = sysctlsIn(node)
	}
	if err := add(s, err); err != nil {
		return nil, err
	}
	if _, err := os.Stat(own + "/pid"); err != nil {
		return all, nil // no daemon runs
	}
	pins, err := filepath.Glob(own + "/exec/netns/*")
	if err != nil {
		return nil, err
	}
	for _, pin := range pins { // of overlay networks
		var fs unix.Statfs_t
		if !overlayNetns.MatchString(filepath.Base(pin)) || unix.Statfs(pin, &fs) != nil || fs.Type != unix.NSFS_MAGIC {
			continue
		}
		name, err := l.byNetwork(machine, filepath.Base(pin))
		if err != nil {
			return nil, err
		}
		if err := add(lookInto(machine+"/"+name, pin, true)); err != nil {
			return nil, err
		}
	}
	var cs []aContainer
	await("containers do what they were started for", func() bool { // what has been started is yet to begin
		cs, err = containersOf(own + "/root")
		return err != nil || !slices.ContainsFunc(cs, func(c aContainer) bool { return !c.begun() })
	})
	if err != nil {
		return nil, err
	}
	for _, c := range cs {
		if !c.apart {
			continue
		}
		s, err := lookInto(c.name, c.netns(), false)
		if err != nil {
			return nil, err
		}
		s.Files = map[string]string{}
		for _, file := range containerFiles {
			b, err := os.ReadFile(filepath.Join(c.dir, filepath.Base(file)))
			if err != nil {
				return nil, err
			}
			s.Files[file] = string(b)
		}
		if err := add(s, nil); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// await waits until something is so, for as long as a busy machine may take, and
// complains if it is not so then.
func await(what string, so func() bool) {
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, "not after 20 s:", what)
			return
		}
	}
}

// aContainer is one that runs.
type aContainer struct {
	name, dir string
	pid       int
	apart     bool   // it has a network namespace of its own
	port      string // where it is to listen
}

// netns is a container's network namespace.
func (c aContainer) netns() string { return fmt.Sprintf("/proc/%d/ns/net", c.pid) }

// begun reports whether a container does what it was started for. One whose
// process is gone does not: the daemon has yet to hear of it.
func (c aContainer) begun() bool {
	_, err := os.Stat(c.netns())
	return err == nil && (c.port == "" || listens(c.netns(), c.port))
}

// containersOf reads of the daemon's own files what docker ps and docker inspect
// say, and take as long to say as all the rest of a look.
func containersOf(data string) (all []aContainer, err error) {
	dirs, err := filepath.Glob(data + "/containers/*")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		var config struct {
			Name  string
			State struct {
				Running bool
				Pid     int
			}
			Config struct{ Cmd []string }
		}
		var host struct{ NetworkMode string }
		for file, v := range map[string]any{"config.v2.json": &config, "hostconfig.json": &host} {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				continue // it goes, or has yet to come
			}
			if err := json.Unmarshal(b, v); err != nil {
				return nil, fmt.Errorf("%s/%s: %w", dir, file, err)
			}
		}
		if !config.State.Running {
			continue
		}
		c := aContainer{name: strings.TrimPrefix(config.Name, "/"), dir: dir, pid: config.State.Pid,
			apart: host.NetworkMode != "host" && !strings.HasPrefix(host.NetworkMode, "container:")}
		if cmd := config.Config.Cmd; slices.Contains(cmd, "httpd") {
			c.port = cmd[slices.Index(cmd, "-p")+1]
		}
		all = append(all, c)
	}
	return all, nil
}

// listens reports whether somebody in a network namespace listens at a TCP port
// (proc_net_tcp in the kernel's documentation: 0A is TCP_LISTEN).
func listens(file, port string) (yes bool) {
	n, err := strconv.Atoi(port)
	if err != nil {
		return true
	}
	there := regexp.MustCompile(fmt.Sprintf(`(?m)^ *\d+: [0-9A-F]+:%04X [0-9A-F]+:0000 0A `, n))
	_ = inNetns(file, func() error { // one that goes has nobody
		for _, list := range []string{"tcp", "tcp6"} {
			if b, err := os.ReadFile("/proc/thread-self/net/" + list); err == nil { // there may be no IPv6
				yes = yes || there.Match(b)
			}
		}
		return nil
	})
	return yes
}

// byNetwork names the namespace of an overlay network by the network's name, not
// its ID.
func (l *lookout) byNetwork(machine, netns string) (string, error) {
	if l.networks[netns] == "" {
		cmd := osexec.Command(listNetworks[0], listNetworks[1:]...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+l.own(machine)+"/docker.sock")
		list, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("docker network ls: %w", err)
		}
		l.networks[netns] = networkBehind(netns, string(list))
	}
	return l.networks[netns], nil
}

// lookInto looks at the network namespace that a file names. A bridge may have
// yet to hear of its ports' carrier: linkwatch tells it up to a second later.
func lookInto(label, file string, bridges bool) (s look, err error) {
	s.Label = label
	err = inNetns(file, func() (err error) {
		ask := func(stdin string, argv ...string) (text string) {
			if err != nil {
				return ""
			}
			var errs strings.Builder
			cmd := osexec.Command(argv[0], argv[1:]...)
			cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), &errs
			out, e := cmd.Output()
			if e != nil {
				err = fmt.Errorf("%s# %s: %w\n%s", label, strings.Join(argv, " "), e, errs.String())
			}
			return string(out)
		}
		await("bridges have the carrier of their ports", func() bool {
			s.IP = ask(askIP, "ip", "-d", "-j", "-batch", "-")
			return err != nil || !bridges || carried(s.IP)
		})
		s.Rules = ask("", "iptables-save")
		for line := range strings.Lines(ask("", "ss", "-Hltunp")) {
			if m := socketLine.FindStringSubmatch(line); m != nil {
				s.Sockets = append(s.Sockets, [3]string(m[1:]))
			}
		}
		if hasTunnel(label) {
			s.FDB, s.Neighs = ask("", askFDB...), ask("", askNeighs...)
		}
		return err
	})
	return s, err
}

var socketLine = regexp.MustCompile(`^(\S+)\s+\S+\s+\S+\s+\S+\s+(\S+)\s+\S+\s*(?:users:\(\("([^"]*)")?`)

// carried reports whether every bridge that is up has a carrier as its ports do.
func carried(ipJSON string) bool {
	var links []struct {
		Ifname, Master string
		Flags          []string
	}
	if json.NewDecoder(strings.NewReader(ipJSON)).Decode(&links) != nil {
		return true // whoever reads it says so
	}
	lives, ports := map[string]bool{}, map[string]bool{}
	for _, l := range links {
		if l.Master != "" {
			ports[l.Master] = true
			lives[l.Master] = lives[l.Master] || slices.Contains(l.Flags, "LOWER_UP")
		}
	}
	for _, l := range links {
		if ports[l.Ifname] && slices.Contains(l.Flags, "UP") && slices.Contains(l.Flags, "LOWER_UP") != lives[l.Ifname] {
			return false
		}
	}
	return true
}

// sysctlsIn reads a machine's settings that Docker changes.
func sysctlsIn(file string) (map[string]string, error) {
	all := map[string]string{}
	err := inNetns(file, func() error {
		files, err := filepath.Glob("/proc/sys/net/ipv4/conf/*/route_localnet")
		if err != nil {
			return err
		}
		for _, f := range append(files, "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/bridge/bridge-nf-call-iptables") {
			if b, err := os.ReadFile(f); err == nil { // a device may go meanwhile
				all[strings.ReplaceAll(strings.TrimPrefix(f, "/proc/sys/"), "/", ".")] = strings.TrimSpace(string(b))
			}
		}
		return nil
	})
	return all, err
}

// inNetns runs fn in a thread that is in the network namespace; so is what it
// starts.
func inNetns(file string, fn func() error) error {
	ns, err := os.Open(file)
	if err != nil {
		return err
	}
	defer ns.Close()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	runtime.LockOSThread()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s: %w", file, err)
	}
	defer func() {
		// A thread that cannot go back is thrown away: it stays locked.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return fn()
}

// settle waits until daemons that tell each other of a change have done so:
// until nothing has changed for a second.
func (l *lookout) settle() {
	now := func() string {
		var b bytes.Buffer
		list := func(file, what string) {
			_ = inNetns(file, func() error { // one that goes has nothing
				cmd := osexec.Command("ip", "-o", "-batch", "-")
				cmd.Stdin, cmd.Stdout = strings.NewReader(what), &b
				return cmd.Run()
			})
		}
		for _, m := range l.machines {
			list("/run/nodes/"+m, "link\n")
			pins, _ := filepath.Glob(l.own(m) + "/exec/netns/1-*") // of a pattern that is none
			for _, pin := range pins {
				list(pin, "neigh show nud permanent\n")
			}
		}
		return b.String()
	}
	before, since := now(), time.Now()
	for end := time.Now().Add(30 * time.Second); time.Since(since) < time.Second && time.Now().Before(end); {
		time.Sleep(200 * time.Millisecond)
		if s := now(); s != before {
			before, since = s, time.Now()
		}
	}
}

var defaultRoute = regexp.MustCompile(`(?m)^default `)

// joined waits until a machine has all of the network that swarms have of their
// own.
func (l *lookout) joined(machine string) {
	pin := l.own(machine) + "/exec/netns/ingress_sbox"
	await("the swarm's network is there", func() bool {
		var routes []byte
		_ = inNetns(pin, func() (err error) { // it may not be there yet
			routes, err = osexec.Command("ip", "route").Output()
			return err
		})
		return defaultRoute.Match(routes)
	})
}
