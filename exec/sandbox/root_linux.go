package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// programs are the machine's directories a lab sees, read-only. Of /etc it
// sees etcFiles only; of the rest of the machine nothing.
var programs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/gnu"}

var etcFiles = []string{"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "iproute2",
	"protocols", "services", "ethertypes", "xtables", "terminfo", "localtime", "static"}

// ownFiles are the files of /etc a lab has instead of the machine's.
// tcpdump looks its user up; "hosts: files" keeps programs from asking a name
// server that is not there.
var ownFiles = map[string]string{
	"passwd":        "root:x:0:0:root:/root:/bin/bash\ntcpdump:x:0:0:tcpdump:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
	"group":         "root:x:0:\ntcpdump:x:0:\nnogroup:x:65534:\n",
	"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\nservices: files\n",
	"host.conf":     "multi on\n",
	"hosts":         "127.0.0.1\tlocalhost\n",
}

// MachineRun is the directory that is /run to the programs of a machine.
func MachineRun(machine string) string { return "/machines/" + machine + "/run" }

// ownDirs are the directories that each machine has for itself, beside /run.
var ownDirs = []string{"/etc/docker", "/var/lib/docker"}

// MachineFile is where a file that a machine's programs see is, in the
// sandbox's own view: a directory and the path within.
func MachineFile(machine, name string) (dir, rest string) {
	for _, own := range append([]string{"/run"}, ownDirs...) {
		if rest, ok := strings.CutPrefix(name, own+"/"); ok {
			return "/machines/" + machine + own, rest
		}
	}
	return "/", strings.TrimPrefix(name, "/")
}

// makeRoot builds the sandbox's root directory and moves into it. It is called
// once, by the sandbox's init. iptables chooses its form, "nft" or "legacy", where
// the machine has both; empty leaves the machine's choice.
//
//	/        tmpfs     usr, bin, lib …   the machine's, read-only
//	/etc     tmpfs     a few of the machine's files, a few of our own
//	/proc    of the new pid namespace
//	/dev     null zero full random urandom tty, pts
//	/run /tmp /root /var   tmpfs, empty
//	/machines/NAME/run     what is /run to machine NAME; so are ownDirs
func makeRoot(iptables string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	exe := findProgram()
	defer unix.Close(exe)
	// Any directory will do to build on; what was there is out of sight from now.
	const root = "/tmp"
	if err := unix.Mount("lab", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=64m,nr_inodes=16k"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	for _, dir := range []string{"etc", "proc", "sys", "dev/pts", "dev/shm", "run/netns", "tmp", "root", "var/lib", "var/log", "machines", "old"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(root+"/tmp", 0o1777); err != nil {
		return err
	}
	for _, dir := range programs {
		if err := show(dir, root+dir, true); err != nil {
			return err
		}
	}
	for _, name := range etcFiles {
		if err := show("/etc/"+name, root+"/etc/"+name, true); err != nil {
			return err
		}
	}
	if err := showProgram(exe, root+program); err != nil {
		return err
	}
	if err := alternatives(root+"/etc/alternatives", iptables); err != nil {
		return err
	}
	for name, text := range ownFiles {
		if err := os.WriteFile(root+"/etc/"+name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Symlink("../run", root+"/var/run"); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := show("/dev/"+name, root+"/dev/"+name, false); err != nil {
			return err
		}
	}
	if err := unix.Mount("devpts", root+"/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
		return fmt.Errorf("mount devpts: %w", err)
	}
	for link, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(to, root+"/dev/"+link); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	// Each tool sees the /sys of its own namespace (EnterMachine); the kernel
	// allows that mount only where one is to be seen already (mount_too_revealing).
	if err := mountSys(root + "/sys"); err != nil {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	if err := unix.PivotRoot(root, root+"/old"); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the machine's root: %w", err)
	}
	return os.Remove("/old")
}

// show makes a file or directory of the machine visible at dst. What the
// machine does not have is left out; a symbolic link is copied.
func show(src, dst string, readonly bool) error {
	info, err := os.Lstat(src)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		to, err := os.Readlink(src)
		if err != nil {
			return err
		}
		if strings.HasPrefix(src, "/etc/") { // it may point where the lab cannot see
			if to, err = filepath.EvalSymlinks(src); err != nil {
				return nil
			}
			src = to
			if info, err = os.Lstat(src); err != nil {
				return nil
			}
		} else {
			return os.Symlink(to, dst)
		}
	}
	return bind(src, dst, info.IsDir(), readonly)
}

// bind mounts a file or directory at dst.
func bind(src, dst string, dir, readonly bool) (err error) {
	if dir {
		err = os.MkdirAll(dst, 0o755)
	} else {
		err = os.WriteFile(dst, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(src, dst, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("show %s: %w", src, err)
	}
	if !readonly {
		return nil
	}
	err = unix.MountSetattr(-1, dst, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID})
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.12
		err = unix.Mount("", dst, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID, "")
	}
	if err != nil {
		return fmt.Errorf("make %s read-only: %w", src, err)
	}
	return nil
}

// program is what a sandbox runs this program from.
const program = "/machines/.vethlab"

// findProgram opens this program by its name, if that is still its name. A file
// descriptor of it stays good when the sandbox's root covers /tmp.
func findProgram() int {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return -1
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	var running, named unix.Stat_t
	if unix.Stat("/proc/self/exe", &running) == nil && unix.Fstat(fd, &named) == nil &&
		named.Dev == running.Dev && named.Ino == running.Ino {
		return fd
	}
	unix.Close(fd)
	return -1
}

// showProgram makes this program visible at dst, read-only. Run as
// /proc/self/exe it would be a file on the machine's own mount, which a lab
// reaches through /proc/PID/exe; and where the learner's root is the person who
// owns the file, it could chmod it or, once nobody runs it, write to it.
//
// Where the file cannot be found by name any more (it was replaced, or stands
// behind a directory of root's), the sandbox gets a copy, unless it could not
// change the file anyway.
func showProgram(exe int, dst string) error {
	if exe >= 0 {
		return bind(fmt.Sprintf("/proc/self/fd/%d", exe), dst, false, true)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &st); err != nil || st.Uid != 0 { // not the learner's root's
		return err
	}
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return os.WriteFile(dst, data, 0o555)
}

// alternatives shows the machine's /etc/alternatives (update-alternatives(1)),
// through which Debian's iptables is either form, or makes a copy that chooses
// another form than the machine did.
func alternatives(dir, iptables string) error {
	if iptables == "" {
		return show("/etc/alternatives", dir, true)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir("/etc/alternatives")
	if err != nil {
		return nil // not a Debian: iptables is what it is
	}
	for _, e := range entries {
		to, err := os.Readlink("/etc/alternatives/" + e.Name())
		if err != nil {
			continue
		}
		if suffix, ok := strings.CutPrefix(e.Name(), "iptables"); ok && iptables != "" && (suffix == "" || suffix == "-save" || suffix == "-restore") {
			to = "/usr/sbin/iptables-" + iptables + suffix
			if _, err := os.Stat(to); err != nil {
				return fmt.Errorf("iptables in the form %q: %w", iptables, err)
			}
		}
		if err := os.Symlink(to, filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// MakeMachine prepares what a machine's programs see as their own: /run.
// The mount is shared, so that a namespace which a program pins there
// (ip netns add) is seen by all of the sandbox.
func MakeMachine(name string) error {
	run := MachineRun(name)
	if err := os.MkdirAll(run, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("run", run, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=8m,nr_inodes=4k"); err != nil {
		return fmt.Errorf("mount %s: %w", run, err)
	}
	if err := unix.Mount("", run, "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share %s: %w", run, err)
	}
	for _, dir := range ownDirs {
		for _, d := range []string{dir, "/machines/" + name + dir} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return err
			}
		}
	}
	netns := run + "/netns"
	if err := os.Mkdir(netns, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(netns, netns, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", netns, err)
	}
	return unix.Mount("", netns, "", unix.MS_SHARED, "")
}

// EnterMachine gives this process the machine's view: its /run, its hostname,
// and the /sys of the network namespace it is in. The process must be in mount
// and uts namespaces of its own.
func EnterMachine(machine, hostname string) error {
	if err := unix.Mount(MachineRun(machine), "/run", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("enter %s: /run: %w", machine, err)
	}
	for _, dir := range ownDirs {
		if err := unix.Mount("/machines/"+machine+dir, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("enter %s: %s: %w", machine, dir, err)
		}
	}
	if err := mountSys("/sys"); err != nil {
		return fmt.Errorf("enter %s: /sys: %w", machine, err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	return nil
}

// mountSys mounts a sysfs of the network namespace this thread is in. Where
// the machine's own is read-only (a container), the kernel allows no other.
func mountSys(dir string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err := unix.Mount("sysfs", dir, "sysfs", flags, "")
	if errors.Is(err, unix.EPERM) {
		err = unix.Mount("sysfs", dir, "sysfs", flags|unix.MS_RDONLY, "")
	}
	return err
}
