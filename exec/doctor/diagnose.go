package doctor

import (
	"fmt"
	"strings"
	"syscall"
)

// machine holds the settings that explain a failure. A setting that the
// kernel does not have is -1.
type machine struct {
	UID int // of whoever asks
	// Exe is the path of this program.
	Exe string
	// MaxNS are /proc/sys/user/max_*_namespaces, by "user", "mnt", "pid", …
	MaxNS map[string]int
	// UsernsClone is kernel.unprivileged_userns_clone, Debian's own switch.
	UsernsClone int
	// AppArmorUserns is kernel.apparmor_restrict_unprivileged_userns (Ubuntu 23.10 and later).
	AppArmorUserns int
	// Container is the engine whose container this is: "docker", "podman",
	// "kubernetes", "lxc" or "container"; "" on a plain machine.
	Container string
	// MaskedProc and MaskedSys name mounts that hide a part of /proc or /sys:
	// the kernel then refuses a fresh one in a user namespace
	// (mount_too_revealing, fs/namespace.c).
	MaskedProc, MaskedSys []string
	// Seccomp says that a system call filter is on.
	Seccomp bool
	// LacksUID says that root asks, in a user namespace that has no room for the
	// uids a lab gets from root.
	LacksUID bool
	// Chroot says that / is not the root of the mount namespace: clone(2)
	// then refuses CLONE_NEWUSER.
	Chroot bool
	// Install is the command that installs packages, Packages what they are called here.
	Install  string
	Packages map[string]string // program → package
}

// diagnosis is a cause in words and the command that removes it.
type diagnosis struct{ cause, fix, or, cost string }

// dockerFlags are what a container needs for a lab to run in it.
const dockerFlags = "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"

// diagnose says why a probe failed on this machine. It is a list of known
// causes, the surest first.
func diagnose(r result, m machine) diagnosis {
	if r.Missing != "" {
		return diagnosis{cause: "the program is missing", fix: m.install(r.Missing)}
	}
	switch r.ID {
	case "userns", "uidmap", "namespaces", "netns":
		return m.namespaces(r)
	case "mount-tmpfs", "mount-proc", "mount-sysfs", "mount-bind":
		return m.mounts(r)
	case "one-iptables":
		return diagnosis{
			cause: "tools of both forms put rules here; look at both, and have the program that made the fewer use the other form",
			fix:   "sudo sh -c 'iptables-legacy-save; iptables-nft-save'",
			or:    "sudo update-alternatives --config iptables   # chooses the form that plain `iptables` uses",
		}
	}
	refused := r.Errno == syscall.EPERM || r.Errno == syscall.EACCES
	if refused && m.restricted() {
		return m.appArmor()
	}
	if refused && m.Container != "" {
		return m.engine("the container engine's filter refuses it")
	}
	module, ok := modules[r.ID]
	if !ok {
		return diagnosis{cause: "an unknown cause", fix: ""}
	}
	switch r.Errno {
	case syscall.EOPNOTSUPP, syscall.ENOENT, syscall.ENOPROTOOPT, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT, syscall.EPERM:
		d := diagnosis{
			cause: "the kernel lacks a part of it, or may not load it for a user namespace",
			fix:   "sudo modprobe -a " + module,
		}
		if m.Container != "" {
			d.fix = "modprobe -a " + module
			d.cause += "; run this as root on the machine the container runs on"
		}
		return d
	}
	return diagnosis{cause: "an unknown cause"}
}

// modules are the kernel modules a probe needs, for modprobe -a.
var modules = map[string]string{
	"veth":             "veth",
	"bridge":           "bridge br_netfilter",
	"iptables":         "nf_tables nft_compat nft_chain_nat xt_MASQUERADE xt_conntrack",
	"iptables-nft":     "nf_tables nft_compat nft_chain_nat xt_MASQUERADE xt_conntrack",
	"iptables-legacy":  "ip_tables iptable_filter iptable_nat iptable_mangle iptable_raw xt_MASQUERADE xt_conntrack",
	"packet-socket":    "af_packet",
	"nft-trace":        "nf_tables",
	"conntrack-events": "nf_conntrack nf_conntrack_netlink nft_ct",
	"conntrack":        "nf_conntrack nf_conntrack_netlink",
}

// namespaces explains a refused clone, uid map or unshare.
func (m machine) namespaces(r result) diagnosis {
	kinds := map[string][]string{"userns": {"user"}, "uidmap": {"user"}, "netns": {"net"}, "namespaces": {"mnt", "pid", "ipc", "uts"}}[r.ID]
	switch {
	case r.Errno == syscall.ENOSPC || r.Errno == syscall.EUSERS:
		for _, k := range kinds {
			if m.MaxNS[k] != 0 {
				continue
			}
			key := "user.max_" + k + "_namespaces"
			d := diagnosis{
				cause: key + " is 0: somebody switched these namespaces off",
				fix:   "sudo sysctl -w " + key + "=15000",
				or:    "echo " + key + "=15000 | sudo tee /etc/sysctl.d/60-vethlab.conf   # from the next start on too",
			}
			if m.Container != "" {
				d.cause += "; set it on the machine the container runs on"
			}
			return d
		}
		return diagnosis{
			cause: fmt.Sprintf("the limit of namespaces (%d) is used up, or user namespaces are nested too deep (32)", m.MaxNS[kinds[0]]),
			fix:   "lsns -t " + kinds[0],
		}
	case r.Errno == syscall.EINVAL || r.Errno == syscall.ENOSYS:
		return diagnosis{
			cause: "this kernel was built without these namespaces (CONFIG_USER_NS, CONFIG_NET_NS, CONFIG_PID_NS), or they are switched off at its start",
			fix:   "grep -E 'CONFIG_(USER|NET|PID|IPC|UTS)_NS' /boot/config-$(uname -r)",
		}
	case r.Errno != syscall.EPERM && r.Errno != syscall.EACCES:
		return diagnosis{cause: "an unknown cause"}
	case r.ID == "uidmap" && m.LacksUID:
		return diagnosis{
			cause: "this root is root of a user namespace only (a rootless container, unshare -r), which has not the uids that labs get from root; an ordinary user's lab needs no uid but its own",
			fix:   "setpriv --reuid=65534 --regid=65534 --clear-groups vethlab serve",
		}
	case m.UsernsClone == 0 && m.UID != 0:
		return diagnosis{
			cause: "kernel.unprivileged_userns_clone is 0: only root may make user namespaces (Debian's switch)",
			fix:   "sudo sysctl -w kernel.unprivileged_userns_clone=1",
			or:    "echo kernel.unprivileged_userns_clone=1 | sudo tee /etc/sysctl.d/60-vethlab.conf   # from the next start on too",
		}
	case m.restricted():
		return m.appArmor()
	case m.Chroot:
		return diagnosis{
			cause: "this is a chroot, and the kernel makes no user namespace for a process in one (clone(2), EPERM)",
			fix:   "sudo systemd-nspawn -D /path/of/the/chroot",
		}
	case m.Container != "":
		return m.engine("the engine's default seccomp filter forbids clone and unshare with new namespaces")
	case m.Seccomp:
		return diagnosis{cause: "a seccomp filter is on for this process; whoever started it (a service, a sandbox, a snap) forbids namespaces"}
	case r.Errno == syscall.EACCES:
		return diagnosis{cause: "a security module (SELinux, AppArmor) forbids it", fix: "sudo ausearch -m avc -ts recent"}
	}
	return diagnosis{cause: "a security module or a seccomp filter forbids it", fix: "sudo dmesg | grep -iE 'apparmor|audit|avc' | tail"}
}

// mounts explains a refused mount in a mount namespace of our own.
func (m machine) mounts(r result) diagnosis {
	masked := map[string][]string{"mount-proc": m.MaskedProc, "mount-sysfs": m.MaskedSys}[r.ID]
	switch {
	case r.Errno == syscall.EPERM && len(masked) > 0:
		what := map[string]string{"mount-proc": "proc", "mount-sysfs": "sysfs"}[r.ID]
		cause := fmt.Sprintf("parts of it are hidden here (%s), and the kernel then refuses a fresh %s in a user namespace", some(masked), what)
		if m.Container != "" {
			return m.engine(cause + "; " + m.Container + " masks them unless told not to")
		}
		return diagnosis{cause: cause, fix: "sudo umount " + strings.Join(masked, " ")}
	case m.restricted() && (r.Errno == syscall.EPERM || r.Errno == syscall.EACCES):
		return m.appArmor()
	case m.Container != "" && (r.Errno == syscall.EPERM || r.Errno == syscall.EACCES):
		return m.engine("the engine's default profile (AppArmor docker-default, seccomp) forbids mount")
	case r.Errno == syscall.EACCES:
		return diagnosis{cause: "a security module (SELinux, AppArmor) forbids it", fix: "sudo ausearch -m avc -ts recent"}
	}
	return diagnosis{cause: "an unknown cause", fix: "sudo dmesg | tail"}
}

// restricted reports whether Ubuntu's AppArmor rule applies: a program without
// a profile of its own gets a user namespace in which it may do nothing.
func (m machine) restricted() bool { return m.AppArmorUserns == 1 && m.UID != 0 }

func (m machine) appArmor() diagnosis {
	return diagnosis{
		cause: "kernel.apparmor_restrict_unprivileged_userns is 1: AppArmor lets only programs with a profile use user namespaces (Ubuntu)",
		fix: fmt.Sprintf(`printf 'abi <abi/4.0>,\ninclude <tunables/global>\nprofile vethlab "%s" flags=(unconfined) {\n  userns,\n}\n' | sudo tee /etc/apparmor.d/vethlab && sudo apparmor_parser -r /etc/apparmor.d/vethlab`,
			m.Exe),
		or: "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0   # opens it for every program",
	}
}

func (m machine) engine(cause string) diagnosis {
	switch m.Container {
	case "kubernetes":
		return diagnosis{cause: cause + "; the pod needs hostUsers: false, and in its securityContext seccompProfile and appArmorProfile Unconfined, procMount Unmasked"}
	case "lxc":
		return diagnosis{cause: cause, fix: "lxc config set CONTAINER security.nesting=true"}
	case "podman":
		return diagnosis{cause: cause, fix: "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL -p 127.0.0.1:8642:8642 vethlab"}
	}
	return diagnosis{cause: cause, fix: "docker run " + dockerFlags + " -p 127.0.0.1:8642:8642 vethlab"}
}

func (m machine) install(program string) string {
	pkg := m.Packages[program]
	if pkg == "" {
		pkg = program
	}
	if m.Install == "" {
		return ""
	}
	cmd := m.Install + " " + pkg
	if m.UID != 0 {
		cmd = "sudo " + cmd
	}
	return cmd
}

// some names up to three of a list.
func some(list []string) string {
	if len(list) > 3 {
		return strings.Join(list[:3], ", ") + ", …"
	}
	return strings.Join(list, ", ")
}
