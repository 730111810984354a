package doctor

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// simulated is a machine where one thing fails.
type simulated struct {
	m    machine
	fail result
}

func (s simulated) machine() machine { return s.m }

func (s simulated) try(context.Context) map[string]result {
	results := map[string]result{}
	for _, c := range checks {
		if c.id == s.fail.ID {
			results[c.id] = s.fail
			if c.try == "parent" {
				break // nothing after it gets its turn
			}
			continue
		}
		results[c.id] = result{ID: c.id}
	}
	return results
}

func plain(change func(*machine)) machine {
	m := machine{
		UID: 1000, Exe: "/usr/local/bin/vethlab", UsernsClone: -1, AppArmorUserns: -1,
		MaxNS:   map[string]int{"user": 15000, "mnt": 15000, "pid": 15000, "net": 15000, "ipc": 15000, "uts": 15000, "cgroup": 15000},
		Install: "apt-get install -y", Packages: map[string]string{"ping": "iputils-ping"},
	}
	change(&m)
	return m
}

func TestKnownCauses(t *testing.T) {
	docker := func(m *machine) { m.Container, m.Seccomp = "docker", true }
	tests := []struct {
		name       string
		m          func(*machine)
		id         string
		errno      syscall.Errno
		missing    string
		cause, fix string // words that must appear
	}{
		{"user namespaces switched off", func(m *machine) { m.MaxNS["user"] = 0 }, "userns", syscall.ENOSPC, "",
			"user.max_user_namespaces is 0", "sudo sysctl -w user.max_user_namespaces=15000"},
		{"user namespaces used up", func(m *machine) {}, "userns", syscall.ENOSPC, "",
			"the limit of namespaces (15000) is used up", "lsns -t user"},
		{"network namespaces switched off", func(m *machine) { m.MaxNS["net"] = 0 }, "netns", syscall.ENOSPC, "",
			"user.max_net_namespaces is 0", "sudo sysctl -w user.max_net_namespaces=15000"},
		{"pid namespaces switched off", func(m *machine) { m.MaxNS["pid"] = 0 }, "namespaces", syscall.ENOSPC, "",
			"user.max_pid_namespaces is 0", "sudo sysctl -w user.max_pid_namespaces=15000"},
		{"Debian's switch", func(m *machine) { m.UsernsClone = 0 }, "userns", syscall.EPERM, "",
			"kernel.unprivileged_userns_clone is 0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{"Debian's switch does not bind root", func(m *machine) { m.UsernsClone, m.UID = 0, 0 }, "userns", syscall.EPERM, "",
			"a security module or a seccomp filter", "dmesg"},
		{"Ubuntu: the uid map is refused", func(m *machine) { m.AppArmorUserns = 1 }, "uidmap", syscall.EACCES, "",
			"apparmor_restrict_unprivileged_userns is 1", `profile vethlab "/usr/local/bin/vethlab" flags=(unconfined) {\n  userns,`},
		{"Ubuntu: the first mount is refused", func(m *machine) { m.AppArmorUserns = 1 }, "mount-tmpfs", syscall.EACCES, "",
			"apparmor_restrict_unprivileged_userns is 1", "apparmor_parser -r /etc/apparmor.d/vethlab"},
		{"Ubuntu: the network is refused", func(m *machine) { m.AppArmorUserns = 1 }, "netns", syscall.EPERM, "",
			"apparmor_restrict_unprivileged_userns is 1", "apparmor_parser"},
		{"Docker's seccomp", docker, "userns", syscall.EPERM, "",
			"seccomp filter forbids clone and unshare", "--security-opt seccomp=unconfined"},
		{"Docker's AppArmor profile", docker, "mount-tmpfs", syscall.EACCES, "",
			"docker-default", "--security-opt apparmor=unconfined"},
		{"Docker masks /proc", func(m *machine) {
			docker(m)
			m.MaskedProc = []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/scsi"}
		}, "mount-proc", syscall.EPERM, "",
			"parts of it are hidden here (/proc/acpi, /proc/kcore, /proc/keys, …)", "--security-opt systempaths=unconfined"},
		{"/proc masked by hand", func(m *machine) { m.MaskedProc = []string{"/proc/keys"} }, "mount-proc", syscall.EPERM, "",
			"parts of it are hidden here (/proc/keys)", "sudo umount /proc/keys"},
		{"Podman", func(m *machine) { m.Container = "podman" }, "namespaces", syscall.EPERM, "",
			"seccomp", "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL"},
		{"Kubernetes", func(m *machine) { m.Container = "kubernetes" }, "userns", syscall.EPERM, "",
			"procMount Unmasked", ""},
		{"a service's own filter", func(m *machine) { m.Seccomp = true }, "userns", syscall.EPERM, "",
			"a seccomp filter is on for this process", ""},
		{"a chroot", func(m *machine) { m.Chroot = true }, "userns", syscall.EPERM, "",
			"this is a chroot", "systemd-nspawn"},
		{"a kernel without user namespaces", func(m *machine) {}, "userns", syscall.EINVAL, "",
			"CONFIG_USER_NS", "grep"},
		{"root of a user namespace only", func(m *machine) { m.UID, m.LacksUID = 0, true }, "uidmap", syscall.EPERM, "",
			"root of a user namespace only", "setpriv"},
		{"SELinux", func(m *machine) {}, "userns", syscall.EACCES, "",
			"SELinux", "ausearch"},
		{"no veth in the kernel", func(m *machine) {}, "veth", syscall.EOPNOTSUPP, "",
			"the kernel lacks a part of it", "sudo modprobe -a veth"},
		{"no ip_tables in the kernel", func(m *machine) {}, "iptables-legacy", syscall.ENOENT, "",
			"the kernel lacks a part of it", "sudo modprobe -a ip_tables"},
		{"no iptables", func(m *machine) {}, "iptables", syscall.ENOENT, "iptables",
			"the program is missing", "sudo apt-get install -y iptables"},
		{"no ping, for root", func(m *machine) { m.UID = 0 }, "ping", syscall.ENOENT, "ping",
			"the program is missing", "apt-get install -y iputils-ping"},
		{"no curl, on an unknown distribution", func(m *machine) { m.Install = "" }, "curl", syscall.ENOENT, "curl",
			"the program is missing", ""},
		{"both forms of rules", func(m *machine) {}, "one-iptables", 0, "",
			"tools of both forms put rules here", "iptables-legacy-save"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := "refused"
			if tt.errno != 0 {
				text = tt.errno.Error()
			}
			probes := examine(t.Context(), simulated{plain(tt.m), result{ID: tt.id, Error: text, Errno: tt.errno, Missing: tt.missing}})
			p := find(t, probes, tt.id)
			if p.State != Failed || !strings.Contains(p.Cause, tt.cause) || !strings.Contains(p.Fix, tt.fix) || p.Cost == "" {
				t.Errorf("got %+v\nwant a cause with %q and a fix with %q", p, tt.cause, tt.fix)
			}
			if tt.fix == "" && p.Fix != "" {
				t.Errorf("fix is %q, but no single command mends this", p.Fix)
			}
			if Ready(probes) == p.Needed {
				t.Errorf("Ready is %v, though %s (needed: %v) failed", Ready(probes), p.ID, p.Needed)
			}
			reason, fix := Reason(probes)
			if p.Needed && (!strings.Contains(reason, p.Cause) || fix != p.Fix) || !p.Needed && reason != "" {
				t.Errorf("Reason = %q, %q", reason, fix)
			}
		})
	}
}

// What builds on a failed probe was not tried, and says on what it waits.
func TestSkipped(t *testing.T) {
	probes := examine(t.Context(), simulated{plain(func(*machine) {}), result{ID: "uidmap", Error: "operation not permitted", Errno: syscall.EPERM}})
	if p := find(t, probes, "userns"); p.State != OK {
		t.Errorf("userns: %+v", p)
	}
	for _, id := range []string{"namespaces", "veth", "curl"} {
		if p := find(t, probes, id); p.State != Skipped || p.Detail != "not tried: it needs uid map" {
			t.Errorf("%s: %+v", id, p)
		}
	}
}

// A probe nobody reported on (its process died) is a failure, not a pass.
func TestSilence(t *testing.T) {
	probes := examine(t.Context(), simulated{plain(func(*machine) {}), result{ID: "namespaces"}})
	if p := find(t, probes, "netns"); p.State != Failed || Ready(probes) {
		t.Errorf("netns: %+v, ready %v", p, Ready(probes))
	}
}

func TestPrint(t *testing.T) {
	var b bytes.Buffer
	Print(&b, examine(t.Context(), simulated{plain(func(m *machine) { m.MaxNS["user"] = 0 }),
		result{ID: "userns", Error: "clone: no space left on device", Errno: syscall.ENOSPC}}))
	for _, want := range []string{
		"  ✗ user namespace                               ENOSPC, clone: no space left on device\n",
		"      costs    no lab can start: lessons can be read, not run\n",
		"      mend     sudo sysctl -w user.max_user_namespaces=15000\n",
		"  · veth pair                                    not tried: it needs user namespace\n",
		"1 thing a lab needs does not work. Begin with this one: user namespace: ENOSPC",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("missing %q in\n%s", want, &b)
		}
	}
}

// Tools give the errno as text only.
func TestErrnoIn(t *testing.T) {
	for text, want := range map[string]syscall.Errno{
		"iptables v1.8.9 (legacy): can't initialize iptables table `nat': Permission denied (you must be root)":           syscall.EACCES,
		"iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Operation not permitted (you must be root)": syscall.EPERM,
		"iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist (do you need to insmod?)":  syscall.ENOENT,
		"iptables: Protocol not available.":                           syscall.ENOPROTOOPT,
		"RTNETLINK answers: Operation not supported":                  syscall.EOPNOTSUPP,
		"a packet was sent, but no message came in 2 s":               0,
		"ping -c 1 -W 2 127.0.0.1: 1 packets transmitted, 0 received": 0,
		fmt.Sprintf("socket(AF_PACKET): %v", syscall.EAFNOSUPPORT):    syscall.EAFNOSUPPORT,
	} {
		if got := errnoIn(text); got != want {
			t.Errorf("errnoIn(%q) = %v, want %v", text, got, want)
		}
	}
}

func find(t *testing.T, probes []Probe, id string) Probe {
	t.Helper()
	for _, p := range probes {
		if p.ID == id {
			return p
		}
	}
	t.Fatalf("no probe %q in %+v", id, probes)
	return Probe{}
}
