// Package doctor tries, for real, each thing that a lab on the kernel needs.
//
//	this process ── clone ──► a child that does nothing:        userns, uidmap
//	             └─ clone ──► a child in a lab's namespaces:    all that follows
//	                            └─ reports each probe through a pipe
//	machine's settings ──┐
//	probe failed: errno ─┴─► diagnose: cause, what it costs, the command that mends it
//
// Nothing is changed outside the child's namespaces, and they vanish with it.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	osexec "os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Probe is one thing that was tried, and what came of it.
type Probe struct {
	ID     string `json:"id"`   // a stable name: "userns", "iptables", …
	What   string `json:"what"` // the same in words
	Needed bool   `json:"needed"`
	State  State  `json:"state"`
	Detail string `json:"detail,omitempty"` // ok: what was found; skipped: what it waited for

	// The rest is set when the probe failed.
	Errno string `json:"errno,omitempty"` // by name: "EPERM"
	Error string `json:"error,omitempty"` // as the kernel or the tool said it
	Cost  string `json:"cost,omitempty"`  // what the learner loses
	Cause string `json:"cause,omitempty"`
	Fix   string `json:"fix,omitempty"` // one command
	Or    string `json:"or,omitempty"`  // a second-best command
}

// State is what came of a probe.
type State string

// The states of a probe.
const (
	OK      State = "ok"
	Failed  State = "failed"
	Skipped State = "skipped" // not tried: something it builds on failed
)

// Ready reports whether a lab can run: everything needed was tried and works.
func Ready(probes []Probe) bool {
	for _, p := range probes {
		if p.Needed && p.State != OK {
			return false
		}
	}
	return len(probes) > 0
}

// Reason says in one sentence why a lab cannot run, and the command that mends
// it. Both are empty when it can.
func Reason(probes []Probe) (reason, fix string) {
	for _, p := range probes {
		if !p.Needed || p.State != Failed {
			continue
		}
		why := p.Cause
		if why == "" {
			why = p.Error
		}
		if p.Errno != "" {
			return p.What + ": " + p.Errno + " (" + why + ")", p.Fix
		}
		return p.What + ": " + why, p.Fix
	}
	return "", ""
}

// check describes a probe: what it is for, and what must work before it.
type check struct {
	id, what string
	needed   bool
	after    string // the id of the probe it builds on
	cost     string
	try      string // which process tries it: "parent", "child", "machine"
}

const (
	noLab     = "no lab can start: lessons can be read, not run"
	noWire    = "nodes cannot be wired together, so no lab can start"
	noJourney = "packets cannot be followed: steps run, but the stage stays empty"
)

// checks are all probes in the order they are tried and shown.
var checks = []check{
	{"userns", "user namespace", true, "", noLab, "parent"},
	{"uidmap", "uid map", true, "userns", noLab, "parent"},
	{"namespaces", "mount, pid, ipc and uts namespaces", true, "uidmap", noLab, "parent"},
	{"mount-tmpfs", "mount tmpfs", true, "namespaces", noLab, "child"},
	{"mount-proc", "mount proc", true, "mount-tmpfs", noLab, "child"},
	{"mount-bind", "bind mount", true, "mount-tmpfs", "a namespace cannot be given a name: `ip netns add` fails", "child"},
	{"netns", "network namespace", true, "namespaces", noLab, "child"},
	{"mount-sysfs", "mount sysfs", true, "netns", "`ip netns exec` fails", "child"},
	{"veth", "veth pair", true, "netns", noWire, "child"},
	{"bridge", "bridge", true, "netns", noWire, "child"},
	{"iptables", "iptables, the form this machine uses", true, "mount-tmpfs", "the steps with rules (forwarding, SNAT, DNAT) fail", "child"},
	{"iptables-nft", "iptables, nf_tables form", false, "mount-tmpfs", "nothing, as long as `iptables` itself works", "child"},
	{"iptables-legacy", "iptables, legacy form", false, "mount-tmpfs", "nothing, as long as `iptables` itself works", "child"},
	{"packet-socket", "packet socket", true, "netns", noJourney, "child"},
	{"nft-trace", "nft trace", true, "netns", "which rule a packet hit cannot be shown", "child"},
	{"conntrack-events", "conntrack events", true, "netns", "the conntrack table stays empty, and a rewritten reply cannot be explained", "child"},
	{"ip", "ip", true, "mount-tmpfs", "the learner's own `ip` commands and every listing of them fail", "child"},
	{"ping", "ping", true, "netns", "steps that ping fail", "child"},
	{"curl", "curl", true, "netns", "steps that fetch a page fail", "child"},
	{"conntrack", "conntrack", true, "netns", "`conntrack -L` fails; the page still shows the table", "child"},
	{"bridge-tool", "bridge (the tool)", true, "bridge", "`bridge fdb show` fails; the page still shows what a bridge learned", "child"},
	{"brctl", "brctl", true, "bridge", "`brctl show` fails; `brctl addbr` and `addif` in lessons work without it", "child"},
	{"one-iptables", "iptables rules kept in one form only", false, "", "labs are not touched by it; on this machine itself a packet meets both sets of rules, and each tool lists only its own", "machine"},
}

// result is what trying a probe came to, before anyone has judged it.
type result struct {
	ID     string
	Detail string        `json:",omitempty"`
	Error  string        `json:",omitempty"`
	Errno  syscall.Errno `json:",omitempty"`
	// Missing names a program that is not installed.
	Missing string `json:",omitempty"`
}

func (r result) failed() bool { return r.Error != "" }

// newResult makes a result of what a probe returned.
func newResult(id, detail string, err error) result {
	r := result{ID: id, Detail: detail}
	if err == nil {
		return r
	}
	r.Error = err.Error()
	var tool *osexec.Error
	switch {
	case errors.As(err, &tool) && (errors.Is(err, osexec.ErrNotFound) || errors.Is(err, fs.ErrNotExist)):
		r.Missing = tool.Name
		r.Errno = syscall.ENOENT
		r.Error = tool.Name + " is not installed"
	case errors.As(err, &r.Errno):
	default:
		r.Errno = errnoIn(r.Error)
	}
	return r
}

// errnoIn finds the errno whose text (strerror) a tool printed; 0 if none.
func errnoIn(text string) syscall.Errno {
	text = strings.ToLower(text)
	if strings.Contains(text, "do you need to insmod") { // libiptc's words for ENOENT
		return syscall.ENOENT
	}
	for e := syscall.Errno(1); e < 134; e++ {
		if unix.ErrnoName(e) != "" && strings.Contains(text, strings.ToLower(e.Error())) {
			return e
		}
	}
	return 0
}

// prober tries probes and reads the machine's settings. Tests bring their own.
type prober interface {
	try(ctx context.Context) map[string]result // by id; a probe that was not tried is missing
	machine() machine
}

// Check tries everything and says what came of it. It takes some 0.2 s. The
// program that calls it must call sandbox.Main first.
func Check(ctx context.Context) []Probe { return examine(ctx, newProber()) }

func examine(ctx context.Context, p prober) []Probe {
	m := p.machine()
	results := p.try(ctx)
	var probes []Probe
	failed := map[string]string{} // id → the id of the failure at its root
	for _, c := range checks {
		r, tried := results[c.id]
		probe := Probe{ID: c.id, What: c.what, Needed: c.needed}
		switch {
		case !tried && c.try == "machine":
			continue // nothing to look at here
		case failed[c.after] != "" && c.after != "":
			failed[c.id] = failed[c.after]
			probe.State, probe.Detail = Skipped, "not tried: it needs "+word(failed[c.after])
		case !tried:
			failed[c.id] = c.id
			probe.State, probe.Error, probe.Cost = Failed, "the process that tries it ended before", c.cost
		case r.failed():
			failed[c.id] = c.id
			probe.State, probe.Error, probe.Cost = Failed, r.Error, c.cost
			probe.Errno = unix.ErrnoName(r.Errno)
			d := diagnose(r, m)
			probe.Cause, probe.Fix, probe.Or = d.cause, d.fix, d.or
			probe.Cost = cmp.Or(d.cost, c.cost)
		default:
			probe.State, probe.Detail = OK, r.Detail
		}
		probes = append(probes, probe)
	}
	return probes
}

func word(id string) string {
	for _, c := range checks {
		if c.id == id {
			return c.what
		}
	}
	return id
}
