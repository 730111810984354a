package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"vethlab/exec/sandbox"
)

// toolPath is where tools are looked for on the machine itself: an
// unprivileged user's own PATH often lacks the sbin directories.
const toolPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// real tries everything on this machine.
type real struct{}

func newProber() prober { return real{} }

func (real) try(ctx context.Context) map[string]result {
	// Pdeathsig is tied to the thread that starts a child, not to the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	results := map[string]result{}
	add := func(r result) bool { results[r.ID] = r; return !r.failed() }

	if r, tried := mixedRules(ctx); tried {
		add(r)
	}
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	if !add(newResult("userns", "", start(ctx, roleNothing, attr, nil))) {
		return results
	}
	attr = sandbox.Namespaces()
	attr.Cloneflags = unix.CLONE_NEWUSER
	inside := fmt.Sprintf("0 inside is %d outside", attr.UidMappings[0].HostID)
	if !add(newResult("uidmap", inside, start(ctx, roleUID, attr, nil))) {
		return results
	}
	var report bytes.Buffer
	err := start(ctx, roleLab, sandbox.Namespaces(), &report)
	dec := json.NewDecoder(&report)
	began := false
	for {
		var r result
		if dec.Decode(&r) != nil {
			break
		}
		began = true
		add(r)
	}
	if began {
		err = nil // it got there; what it could not do, it reported
	}
	add(newResult("namespaces", "", err))
	return results
}

// mapped reports whether this process's user namespace knows a uid.
func mapped(uid int) bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		var inside, outside, n int
		if _, err := fmt.Sscan(line, &inside, &outside, &n); err == nil && uid >= inside && uid < inside+n {
			return true
		}
	}
	return false
}

// start runs this program again in a role, and waits for it. What it reports
// on its Control descriptor goes to report.
func start(ctx context.Context, role string, attr *syscall.SysProcAttr, report io.Writer) error {
	var stderr bytes.Buffer
	cmd := sandbox.Self(role, "vethlab-doctor")
	cmd.Dir = "/"
	cmd.Stderr = &stderr
	attr.Pdeathsig = unix.SIGKILL
	cmd.SysProcAttr = attr
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w} // becomes sandbox.Control
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	if report == nil {
		report = io.Discard
	}
	if _, err := io.Copy(report, r); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		if s := strings.TrimSpace(stderr.String()); s != "" {
			return errors.New(s)
		}
		return err
	}
	return nil
}

// mixedRules looks, and only looks, whether this machine's own network
// namespace holds rules of both forms. Only root may see that.
func mixedRules(ctx context.Context) (result, bool) {
	// The kernel lists the legacy tables in use here; iptables-nft warns by the same file.
	names, err := os.ReadFile("/proc/net/ip_tables_names")
	if err != nil || os.Geteuid() != 0 {
		return result{}, false
	}
	r := result{ID: "one-iptables"}
	if len(bytes.TrimSpace(names)) == 0 {
		return r, true
	}
	legacy, ok1 := countRules(ctx, "iptables-legacy-save")
	nft, ok2 := countRules(ctx, "iptables-nft-save")
	if !ok1 || !ok2 {
		return result{}, false
	}
	if legacy > 0 && nft > 0 {
		r.Error = fmt.Sprintf("%d rules are in the legacy form and %d in the nf_tables form", legacy, nft)
	}
	return r, true
}

func countRules(ctx context.Context, tool string) (int, bool) {
	cmd := osexec.CommandContext(ctx, look(tool))
	out, err := cmd.Output()
	return bytes.Count(out, []byte("\n-A ")), err == nil
}

// look finds a program on toolPath; "" if it is not there.
func look(name string) string {
	for _, dir := range strings.Split(toolPath, ":") {
		p := path.Join(dir, name)
		if unix.Access(p, unix.X_OK) == nil {
			return p
		}
	}
	return ""
}

func (real) machine() machine {
	exe, err := os.Executable()
	if err != nil {
		exe = "/usr/local/bin/vethlab"
	}
	m := machine{
		UID:            os.Geteuid(),
		Exe:            exe,
		MaxNS:          map[string]int{},
		UsernsClone:    setting("/proc/sys/kernel/unprivileged_userns_clone"),
		AppArmorUserns: setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
		LacksUID:       os.Geteuid() == 0 && !mapped(sandbox.FirstUID),
	}
	for _, k := range []string{"user", "mnt", "pid", "net", "ipc", "uts"} {
		m.MaxNS[k] = setting("/proc/sys/user/max_" + k + "_namespaces")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil {
		m.MaskedProc, m.MaskedSys, m.Chroot = readMounts(string(mounts))
	}
	m.Container = container(string(mounts))
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		m.Seccomp = strings.Contains(string(status), "\nSeccomp:\t2")
	}
	osRelease, err := os.ReadFile("/etc/os-release")
	if err != nil {
		osRelease, _ = os.ReadFile("/usr/lib/os-release") // none: no install command is named
	}
	m.Install, m.Packages = packages(string(osRelease))
	return m
}

// setting reads a number from a file of the kernel's; -1 if there is none.
func setting(file string) int {
	data, err := os.ReadFile(file)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return -1
	}
	return n
}

// readMounts finds in /proc/self/mountinfo (proc_pid_mountinfo(5)) what hides
// parts of /proc and /sys, and whether / itself is missing.
func readMounts(mountinfo string) (proc, sys []string, chroot bool) {
	chroot = true
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 1 {
			continue
		}
		point, fstype := f[4], g[0]
		switch {
		case point == "/":
			chroot = false
		// The kernel lets pass what covers only an empty directory made for
		// the purpose: binfmt_misc, and most of what is mounted below /sys.
		case strings.HasPrefix(point, "/proc/") && fstype != "binfmt_misc" && fstype != "autofs":
			proc = append(proc, point)
		case strings.HasPrefix(point, "/sys/firmware") && fstype == "tmpfs", strings.HasPrefix(point, "/sys/devices/virtual/powercap"):
			sys = append(sys, point)
		}
	}
	return proc, sys, chroot
}

// container names the engine whose container this process is in; "" if none.
func container(mountinfo string) string {
	exists := func(file string) bool { return unix.Access(file, unix.F_OK) == nil }
	switch {
	case os.Getenv("KUBERNETES_SERVICE_HOST") != "":
		return "kubernetes"
	case exists("/run/.containerenv"):
		return "podman"
	// Images carry /.dockerenv out of containers; only inside one are these files mounts.
	case exists("/.dockerenv") && strings.Contains(mountinfo, " /etc/hostname "):
		return "docker"
	case exists("/dev/lxd"), exists("/dev/incus"):
		return "lxc"
	}
	cgroup, _ := os.ReadFile("/proc/1/cgroup") // unreadable: not a sign of a container
	for _, c := range [][2]string{{"kubepods", "kubernetes"}, {"docker", "docker"}, {"libpod", "podman"}, {"lxc", "lxc"}, {"containerd", "container"}} {
		if strings.Contains(string(cgroup), c[0]) {
			return c[1]
		}
	}
	return ""
}

// packages names, for a distribution (os-release(5)), the command that
// installs packages and the packages that hold the tools.
func packages(osRelease string) (install string, names map[string]string) {
	var ids string
	for line := range strings.Lines(osRelease) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && (k == "ID" || k == "ID_LIKE") {
			ids += " " + strings.Trim(v, `"'`) + " "
		}
	}
	names = map[string]string{"ip": "iproute2", "bridge": "iproute2", "ping": "iputils-ping", "curl": "curl", "conntrack": "conntrack",
		"brctl": "bridge-utils", "iptables": "iptables", "iptables-nft": "iptables", "iptables-legacy": "iptables"}
	use := func(pairs ...string) {
		for i := 0; i < len(pairs); i += 2 {
			names[pairs[i]] = pairs[i+1]
		}
	}
	is := func(id string) bool { return strings.Contains(ids, " "+id+" ") }
	switch {
	case is("debian"), is("ubuntu"):
		return "apt-get install -y", names
	case is("fedora"), is("rhel"), is("centos"):
		use("ip", "iproute", "bridge", "iproute", "ping", "iputils", "conntrack", "conntrack-tools", "iptables", "iptables-nft", "iptables-nft", "iptables-nft", "iptables-legacy", "iptables-legacy")
		return "dnf install -y", names
	case is("arch"):
		use("ping", "iputils", "conntrack", "conntrack-tools")
		return "pacman -S --noconfirm", names
	case is("alpine"):
		use("ping", "iputils", "conntrack", "conntrack-tools", "iptables-legacy", "iptables-legacy")
		return "apk add", names
	case is("suse"), is("opensuse"):
		use("ping", "iputils", "conntrack", "conntrack-tools")
		return "zypper install -y", names
	}
	return "", names
}
