package tools

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"vethlab/sim"
	"vethlab/sim/op"
)

// Programs that send and receive: each is a process of the world
// (sim.Process), which lives on between commands when it is in the background.
// One file each: traffic_ping.go, traffic_curl.go, traffic_nc.go, …

func init() {
	for name, p := range map[string]program{"ping": runPing, "curl": runCurl, "nc": runNC, "netcat": runNC, "traceroute": runTraceroute,
		"ss": runSS, "sleep": runSleep, "tcpdump": runTcpdump, "timeout": runTimeout, "kill": runKill} {
		programs[name] = p
		delete(unmodelled, name)
	}
}

// patience is how long a program in the foreground may run on the world's
// clock before it is interrupted: one that would never end is ended here.
const patience = 60 * time.Second

// tick is how often the world's clock follows the real one while a program in
// the background waits for its time to come.
const tick = 50 * time.Millisecond

// process runs a program to its end. start makes its process; nil means that it
// has come to nothing. It reports whether the program was interrupted.
func (c *call) process(start func(n *sim.Netns) *sim.Process) (interrupted bool) {
	c.kept = nil
	var p *sim.Process
	if !c.background {
		res, _ := c.lab.world.Do(c.ctx, c.node, func(n *sim.Netns) op.Result { // ends with ctx, which run reports
			if p = start(n); p != nil {
				c.limit.start(p)
				interrupted = p.Wait(patience)
			}
			return op.Result{}
		})
		c.traces = append(c.traces, res.Traces...)
		return interrupted
	}
	ended := make(chan struct{})
	c.locked(func() {
		res, _ := c.lab.world.Do(c.ctx, c.node, func(n *sim.Netns) op.Result {
			if p = start(n); p != nil && !p.Ended() {
				c.limit.start(p)
				p.OnEnd(func() { close(ended) })
			} else {
				close(ended)
			}
			return op.Result{}
		})
		c.lab.tell(res, false)
		if c.started != nil {
			c.started()
		}
	})
	if p == nil {
		return false
	}
	clock := time.NewTicker(tick)
	defer clock.Stop()
	for {
		select {
		case <-ended:
			return false
		case <-c.ctx.Done():
			c.locked(func() { p.Interrupt() })
			return true
		case <-c.lab.closed.Done():
			return true
		case <-clock.C:
			c.locked(func() {
				if p.Ended() || !p.Waits() {
					return
				}
				res, _ := c.lab.world.Do(c.ctx, c.node, func(*sim.Netns) op.Result {
					c.lab.world.Idle(tick)
					return op.Result{}
				})
				c.lab.tell(res, true)
			})
		}
	}
}

// ended is the result of a program that has printed what it had to.
func (c *call) ended(out, errs string, status int, interrupted bool) op.Result {
	if interrupted {
		return op.Result{Output: out, Stderr: errs + "interrupted\n", Status: 130} // as the kernel's lab says it
	}
	return op.Result{Output: out, Stderr: errs, Status: status}
}

// runSleep is sleep(1) in the background; in the foreground it is an operation.
func runSleep(c *call) op.Result {
	sum := time.Duration(0)
	for _, a := range c.argv[1:] {
		d, ok := interval(a)
		if !ok {
			fail(1, "sleep: invalid time interval ‘%s’\nTry 'sleep --help' for more information.", a)
		}
		sum += d
	}
	if len(c.argv) < 2 {
		fail(1, "sleep: missing operand\nTry 'sleep --help' for more information.")
	}
	interrupted := c.process(func(n *sim.Netns) *sim.Process {
		p := n.Start(c.argv...)
		p.After(sum, p.Exit)
		return p
	})
	return c.ended("", "", 0, interrupted)
}

// interval reads a time as sleep(1) and timeout(1) take it: 0.5, 2s, 1m.
func interval(text string) (d time.Duration, ok bool) {
	unit, number := time.Second, text
	if text != "" {
		if i := strings.IndexByte("smhd", text[len(text)-1]); i >= 0 {
			unit = []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}[i]
			number = text[:len(text)-1]
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	return time.Duration(min(f*float64(unit), math.MaxInt64/4)), err == nil && f >= 0
}

// runKill is kill(1) of processes by their numbers.
func runKill(c *call) op.Result {
	status, some := 0, false
	for k, a := range c.argv[1:] {
		if k == 0 && strings.HasPrefix(a, "-") {
			switch a {
			case "-9", "-KILL", "-SIGKILL", "-15", "-TERM", "-SIGTERM", "-2", "-INT", "-SIGINT":
				continue
			}
			notSimulated("kill %s", a)
		}
		some = true
		pid, err := strconv.Atoi(a)
		if err != nil {
			c.warn("bash: kill: %s: arguments must be process or job IDs", a)
			status = 1
			continue
		}
		var found *sim.Process
		c.locked(func() {
			for _, n := range c.lab.world.Nodes() {
				for _, p := range n.Processes() {
					if p.PID == pid {
						found = p
					}
				}
			}
			if found != nil {
				found.Terminate()
			}
		})
		if found == nil {
			c.warn("bash: kill: (%d) - No such process", pid)
			status = 1
		}
	}
	if !some {
		fail(2, "kill: usage: kill [-s sigspec | -n signum | -sigspec] pid | jobspec ... or kill -l [sigspec]")
	}
	return c.done(status)
}

// option is an option that getopt has read.
type option struct {
	name  byte
	value string
}

// getopt reads short options as getopt(3) does, anywhere among the operands.
// valued are those that take a value. wrong is what it says about an option
// that is not known, or has no value.
func getopt(argv []string, plain, valued string) (opts []option, operands []string, wrong string) {
	args := argv[1:]
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return opts, append(operands, args[i+1:]...), ""
		case len(a) < 2 || a[0] != '-':
			operands = append(operands, a)
			continue
		}
		for j := 1; j < len(a); j++ {
			o := a[j]
			if strings.IndexByte(valued, o) >= 0 {
				value := a[j+1:]
				if value == "" {
					if i++; i == len(args) {
						return opts, nil, fmt.Sprintf("%s: option requires an argument -- '%c'", argv[0], o)
					}
					value = args[i]
				}
				opts = append(opts, option{o, value})
				break
			}
			if strings.IndexByte(plain, o) < 0 {
				return opts, nil, fmt.Sprintf("%s: invalid option -- '%c'", argv[0], o)
			}
			opts = append(opts, option{o, ""})
		}
	}
	return opts, operands, ""
}

// address reads a dotted IPv4 address.
func address(s string) (sim.IP, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return 0, false
	}
	return sim.IPOf(a), true
}

// resolver tells a node whom to ask for names: what somebody wrote in the
// machine's /etc/resolv.conf and /etc/hosts.
func (c *call) resolver() {
	text := func(name string) string { // of the node's own, where it has one
		f, _ := c.at(name)
		return f.text
	}
	r := sim.Resolver{Hosts: map[string]sim.IP{}, Names: map[sim.IP]string{}}
	for line := range strings.Lines(text("/etc/resolv.conf")) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "nameserver" && len(r.Servers) < 3 {
			if ip, ok := address(f[1]); ok {
				r.Servers = append(r.Servers, ip)
			}
		}
	}
	for line := range strings.Lines(text("/etc/hosts")) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) >= 2 {
			if ip, ok := address(f[0]); ok {
				if r.Names[ip] == "" {
					r.Names[ip] = f[1]
				}
				for _, name := range f[1:] {
					if name = strings.ToLower(name); r.Hosts[name] == 0 {
						r.Hosts[name] = ip
					}
				}
			}
		}
	}
	c.locked(func() {
		if n := c.lab.world.Node(c.node); n != nil {
			n.SetResolver(r)
		}
	})
}
