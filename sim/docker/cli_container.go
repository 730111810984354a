package docker

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// docker start, stop, restart, kill, rm, rename, exec, port.

func (c *call) cliStart(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] CONTAINER [CONTAINER...]", "Start one or more stopped containers", 1, -1)
	f.boolean("attach", "a")
	f.boolean("interactive", "i")
	args, st, done := c.parse(f, args)
	if done {
		return st, nil
	}
	var failed []string
	for _, name := range args {
		if !c.d.Running {
			fmt.Fprintln(&c.errs, noDaemon)
			failed = append(failed, name)
			continue
		}
		ct, err := c.lookup(name)
		if err == nil {
			err = c.start(ct)
		}
		if l := (lost{}); errors.As(err, &l) {
			return 1, err
		}
		if err != nil {
			fmt.Fprintln(&c.errs, c.said(err))
			failed = append(failed, name)
			continue
		}
		fmt.Fprintln(&c.out, name)
	}
	if len(failed) > 0 {
		fmt.Fprintln(&c.errs, "Error: failed to start containers: "+strings.Join(failed, ", "))
		return 1, nil
	}
	return 0, nil
}

// some does something with every container that a command names.
func (c *call) some(f *flagSet, args []string, do func(*Container) error) (int, error) {
	args, st, done := c.parse(f, args)
	if done {
		return st, nil
	}
	return c.each(args, func(name string) error {
		ct, err := c.lookup(name)
		if err != nil {
			return err
		}
		return do(ct)
	})
}

func (c *call) cliStop(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] CONTAINER [CONTAINER...]", "Stop one or more running containers", 1, -1)
	f.add(intKind, "time", "t")
	return c.some(f, args, func(ct *Container) error { return c.stop(ct, false) })
}

func (c *call) cliRestart(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] CONTAINER [CONTAINER...]", "Restart one or more containers", 1, -1)
	f.add(intKind, "time", "t")
	return c.some(f, args, func(ct *Container) error {
		auto := ct.AutoRemove
		ct.AutoRemove = false // it is not removed when it stops to start again
		err := c.stop(ct, false)
		ct.AutoRemove = auto
		if err == nil {
			err = c.start(ct)
		}
		if e, is := err.(*Error); is {
			return refuse(e.Kind, "Cannot restart container %s: %s", ct.Name, e.Text)
		}
		return err
	})
}

func (c *call) cliKill(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] CONTAINER [CONTAINER...]", "Kill one or more running containers", 1, -1)
	signal := f.text("signal", "s")
	args, st, done := c.parse(f, args)
	if done {
		return st, nil
	}
	return c.each(args, func(name string) error {
		ct, err := c.lookup(name)
		if err != nil {
			return refuse(NotFound, "Cannot kill container: %s: %v", name, err)
		}
		if !ct.Running {
			return refuse(Conflict, "Cannot kill container: %s: Container %s is not running", ct.Name, ct.ID)
		}
		switch strings.TrimPrefix(strings.ToUpper(signal.value), "SIG") {
		case "", "KILL", "9":
			return c.stop(ct, true)
		case "TERM", "15", "INT", "2", "QUIT", "3":
			if process(ct.Image, ct.Command)[0] == "sleep" {
				return nil // the first process of a pid namespace has no handler for it
			}
			return c.stop(ct, false)
		case "HUP", "1", "USR1", "USR2", "WINCH":
			return nil
		}
		return refuse(Invalid, "Invalid signal: %s", signal.value)
	})
}

func (c *call) cliRemove(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] CONTAINER [CONTAINER...]", "Remove one or more containers", 1, -1)
	force := f.boolean("force", "f")
	link := f.boolean("link", "l")
	f.boolean("volumes", "v").deaf = true
	args, st, done := c.parse(f, args)
	if done {
		return st, nil
	}
	if link.on() {
		return c.elsewhere("docker rm --link")
	}
	status := 0
	for _, name := range args {
		err := error(nil)
		if !c.d.Running {
			err = errNoDaemon
		} else {
			var ct *Container
			if ct, err = c.lookup(strings.Trim(name, "/")); err == nil {
				err = c.remove(ct, force.on())
			}
		}
		if l := (lost{}); errors.As(err, &l) {
			return 1, err
		}
		if err == nil {
			fmt.Fprintln(&c.out, name)
			continue
		}
		if e, is := err.(*Error); is && e.Kind == NotFound {
			fmt.Fprintln(&c.errs, "Error: "+e.Text)
			if force.on() {
				continue
			}
		} else {
			fmt.Fprintln(&c.errs, c.said(err))
		}
		status = 1
	}
	return status, nil
}

func (c *call) cliRename(path string, args []string) (int, error) {
	f := newFlags(path, "CONTAINER NEW_NAME", "Rename a container", 2, 2)
	args, st, done := c.parse(f, args)
	if done {
		return st, nil
	}
	if !c.connected() {
		return 1, nil
	}
	from, to := strings.TrimSpace(args[0]), strings.TrimSpace(args[1])
	if from == "" || to == "" {
		fmt.Fprintln(&c.errs, "Error: Neither old nor new names may be empty")
		return 1, nil
	}
	if err := c.rename(from, to); err != nil {
		fmt.Fprintf(&c.errs, "%s\nError: failed to rename container named %s\n", c.said(err), from)
		return 1, nil
	}
	return 0, nil
}

// rename gives a container another name ((*Daemon).ContainerRename).
func (c *call) rename(from, to string) error {
	ct, err := c.lookup(from)
	if err != nil {
		return err
	}
	if ct.Name == to {
		return refuse(Invalid, "Renaming a container with the same name as its current name")
	}
	if err := c.reserve(ct, to); err != nil {
		return refuse(System, "Error when allocating new name: %v", err)
	}
	return nil
}

func (c *call) cliExec(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS] CONTAINER COMMAND [ARG...]", "Run a command in a running container", 2, -1)
	f.strict = true
	detach := f.boolean("detach", "d")
	f.boolean("interactive", "i")
	f.boolean("tty", "t")
	f.boolean("privileged", "")
	for _, name := range []string{"detach-keys", "user", "workdir"} {
		short := map[string]string{"user": "u", "workdir": "w"}[name]
		f.text(name, short).deaf = true
	}
	f.list("env", "e").deaf = true
	f.list("env-file", "").deaf = true
	args, st, done := c.parse(f, args)
	if done {
		return st, nil
	}
	if !c.connected() {
		return 1, nil
	}
	ct, err := c.lookup(args[0])
	if err != nil {
		if e, is := err.(*Error); is && e.Kind == NotFound {
			fmt.Fprintln(&c.errs, "Error: "+e.Text)
			return 1, nil
		}
		return c.fail(err)
	}
	if !ct.Running {
		return c.fail(refuse(Conflict, "Container %s is not running", ct.ID))
	}
	if detach.on() {
		res, err := c.result(c.d.Machine, "nsenter -t "+ct.pid()+" -m -u -n "+quoted(args[1:])+" &")
		if pid, wrong := strconv.Atoi(strings.TrimSpace(res.Output)); err == nil && wrong == nil {
			ct.Execs = append(ct.Execs, pid)
		}
		if _, refused := err.(*Refused); refused {
			return c.fail(refuse(System, "OCI runtime exec failed: exec failed: unable to start container process: exec: %q: executable file not found in $PATH: unknown", args[1]))
		}
		return 0, err
	}
	return c.inside(ct, args[1:])
}

// inside runs a command in a container: what it prints is the command's own.
func (c *call) inside(ct *Container, argv []string) (int, error) {
	line := "nsenter -t " + ct.pid() + " -m -u -n " + quoted(argv)
	res, err := c.aside(c.d.Machine, line)
	if _, refused := err.(*Refused); err != nil && !refused {
		return 1, err
	}
	if strings.HasPrefix(res.Stderr, "nsenter: failed to execute") && res.Status == 127 {
		fmt.Fprintf(&c.out, "OCI runtime exec failed: exec failed: unable to start container process: exec: %q: executable file not found in $PATH: unknown\r\n", argv[0])
		return 126, nil
	}
	c.out.WriteString(res.Output)
	c.errs.WriteString(res.Stderr)
	return res.Status, nil
}

func (c *call) cliPort(path string, args []string) (int, error) {
	f := newFlags(path, "CONTAINER [PRIVATE_PORT[/PROTO]]", "List port mappings or a specific mapping for the container", 1, 2)
	args, st, done := c.parse(f, args)
	if done {
		return st, nil
	}
	if !c.connected() {
		return 1, nil
	}
	ct, err := c.lookup(args[0])
	if err != nil {
		if e, is := err.(*Error); is && e.Kind == NotFound {
			fmt.Fprintln(&c.errs, "Error: "+e.Text)
			return 1, nil
		}
		return c.fail(err)
	}
	if len(args) == 1 {
		for _, m := range ct.mappings() {
			fmt.Fprintf(&c.out, "%s -> %s:%d\n", m.Port, m.HostIP, m.HostPort)
		}
		return 0, nil
	}
	port, proto, _ := strings.Cut(args[1], "/")
	if proto == "" {
		proto = "tcp"
	}
	k, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		fmt.Fprintln(&c.errs, err) // nat.NewPort
		return 1, nil
	}
	some := false
	for _, m := range ct.mappings() {
		if m.Port == (Port{proto, uint16(k)}) {
			fmt.Fprintf(&c.out, "%s:%d\n", m.HostIP, m.HostPort)
			some = true
		}
	}
	if !some {
		fmt.Fprintf(&c.errs, "Error: No public port '%s/%s' published for %s\n", port, proto, args[0])
		return 1, nil
	}
	return 0, nil
}

// mappings are the container's published ports, by port.
func (ct *Container) mappings() (ms []Mapping) {
	for _, ep := range ct.Endpoints {
		ms = append(ms, ep.Mappings...)
	}
	slices.SortStableFunc(ms, func(a, b Mapping) int {
		if a.Port.Port != b.Port.Port {
			return int(a.Port.Port) - int(b.Port.Port)
		}
		return strings.Compare(a.Proto, b.Proto)
	})
	return ms
}

// ago is a time in the client's words (go-units, HumanDuration).
func ago(d time.Duration) string {
	seconds := int(d.Seconds())
	switch minutes, hours := int(d.Minutes()), int(d.Hours()+0.5); {
	case seconds < 1:
		return "Less than a second"
	case seconds == 1:
		return "1 second"
	case seconds < 60:
		return fmt.Sprintf("%d seconds", seconds)
	case minutes == 1:
		return "About a minute"
	case minutes < 60:
		return fmt.Sprintf("%d minutes", minutes)
	case hours == 1:
		return "About an hour"
	case hours < 48:
		return fmt.Sprintf("%d hours", hours)
	case hours < 24*14:
		return fmt.Sprintf("%d days", hours/24)
	case hours < 24*60:
		return fmt.Sprintf("%d weeks", hours/24/7)
	case hours < 24*365*2:
		return fmt.Sprintf("%d months", hours/24/30)
	}
	return fmt.Sprintf("%d years", int(d.Hours())/24/365)
}
