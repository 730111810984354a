package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"vethlab/exec/sandbox"
)

func TestMain(m *testing.M) {
	for name, prepare := range conditions {
		sandbox.Register("test-"+name, func() {
			if err := prepare(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			json.NewEncoder(os.Stdout).Encode(Check(context.Background()))
		})
	}
	sandbox.Main()
	os.Exit(m.Run())
}

// This machine must be able to run labs: otherwise half of what is tested in
// this repository is not.
func TestThisMachine(t *testing.T) {
	probes := Check(t.Context())
	if !Ready(probes) {
		var b bytes.Buffer
		Print(&b, probes)
		t.Fatal(b.String())
	}
	if p := find(t, probes, "uidmap"); os.Getuid() == 0 && p.Detail != fmt.Sprintf("0 inside is %d outside", sandbox.FirstUID) {
		t.Errorf("as root: %s", p.Detail)
	}
}

func TestAsNobody(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else; TestThisMachine is unprivileged already")
	}
	probes := under(t, "nothing", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
	if !Ready(probes) {
		t.Fatalf("%+v", probes)
	}
	if p := find(t, probes, "uidmap"); p.Detail != "0 inside is 65534 outside" {
		t.Errorf("uid map: %s", p.Detail)
	}
}

// conditions make a machine on which something fails, for the process that
// calls them and its children.
var conditions = map[string]func() error{
	"nothing": func() error { return nil },
	// The limit belongs to the user namespace of whoever writes it (namespaces(7)).
	"no-userns": func() error { return os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0) },
	"masked-proc": func() error {
		return unix.Mount("/dev/null", "/proc/keys", "", unix.MS_BIND, "")
	},
	"no-tools": func() error {
		for _, name := range []string{"iptables", "ping"} {
			file, err := filepath.EvalSymlinks(look(name))
			if err != nil {
				return err
			}
			if err := unix.Mount("/dev/null", file, "", unix.MS_BIND, ""); err != nil {
				return err
			}
		}
		return nil
	},
	// As Docker mounts it.
	"read-only-sys": func() error {
		if err := unix.Mount("/sys", "/sys", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		return unix.Mount("", "/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RELATIME, "")
	},
	// Docker's default filter answers clone with a namespace flag like this.
	"seccomp": func() error {
		const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},                             // the number of the call
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE, Jf: 3},        //
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16},                            // its first argument
			{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: namespaces, Jf: 1},           //
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}, //
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},                      //
		}
		prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
		if errno != 0 {
			return errno
		}
		return nil
	},
}

// Real failures, each made in a user namespace where it harms nobody.
func TestInducedFailures(t *testing.T) {
	tests := []struct{ condition, id, errno, cause, fix string }{
		{"no-userns", "userns", "ENOSPC", "user.max_user_namespaces is 0", "sudo sysctl -w user.max_user_namespaces=15000"},
		{"masked-proc", "mount-proc", "EPERM", "parts of it are hidden here (/proc/keys", ""},
		{"no-tools", "iptables", "ENOENT", "the program is missing", ""},
		{"no-tools", "ping", "ENOENT", "the program is missing", ""},
		{"seccomp", "userns", "EPERM", "seccomp filter", ""},
	}
	for _, tt := range tests {
		t.Run(tt.condition+" "+tt.id, func(t *testing.T) {
			probes := under(t, tt.condition, privileged())
			p := find(t, probes, tt.id)
			if p.State != Failed || p.Errno != tt.errno || !strings.Contains(p.Cause, tt.cause) || !strings.Contains(p.Fix, tt.fix) {
				t.Errorf("got %+v\nwant %s, a cause with %q and a fix with %q", p, tt.errno, tt.cause, tt.fix)
			}
			if Ready(probes) {
				t.Error("Ready, though it is not")
			}
		})
	}
}

// Where only a read-only /sys may be mounted, `ip netns exec` still works.
func TestReadOnlySys(t *testing.T) {
	probes := under(t, "read-only-sys", privileged())
	if p := find(t, probes, "mount-sysfs"); p.State != OK || !strings.HasPrefix(p.Detail, "read-only") {
		t.Errorf("%+v", p)
	}
	if p := find(t, probes, "ip"); p.State != OK {
		t.Errorf("%+v", p)
	}
}

// privileged begins an ordinary user's process in a user and a mount namespace
// of its own, in which it may mount and set limits.
func privileged() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_RESOURCE},
	}
}

// under runs Check in another process, after a condition was made there.
func under(t *testing.T, condition string, attr *syscall.SysProcAttr) []Probe {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := sandbox.Self("test-"+condition, "vethlab-doctor-test")
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &out, &stderr
	cmd.SysProcAttr = attr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var probes []Probe
	if err := json.Unmarshal(out.Bytes(), &probes); err != nil {
		t.Fatalf("%v in %q", err, &out)
	}
	return probes
}

func TestReadMounts(t *testing.T) {
	const docker = `577 474 0:47 / / rw,relatime master:254 - overlay overlay rw,lowerdir=/a
578 577 0:62 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
581 577 0:65 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
475 578 0:62 /bus /proc/bus ro,nosuid,nodev,noexec,relatime - proc proc rw
480 578 0:66 / /proc/acpi ro,relatime - tmpfs tmpfs ro
481 578 0:63 /null /proc/kcore rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
486 581 0:67 / /sys/firmware ro,relatime - tmpfs tmpfs ro
`
	proc, sys, chroot := readMounts(docker)
	if want := []string{"/proc/bus", "/proc/acpi", "/proc/kcore"}; !reflect.DeepEqual(proc, want) || chroot {
		t.Errorf("masked: %v, chroot %v", proc, chroot)
	}
	if want := []string{"/sys/firmware"}; !reflect.DeepEqual(sys, want) {
		t.Errorf("masked: %v", sys)
	}
	const plain = `22 27 0:21 / /proc rw,relatime - proc proc rw
30 22 0:28 / /proc/sys/fs/binfmt_misc rw,relatime shared:14 - autofs systemd-1 rw
`
	if proc, sys, chroot := readMounts(plain); proc != nil || sys != nil || !chroot {
		t.Errorf("plain, without a root: %v %v %v", proc, sys, chroot)
	}
}

func TestPackages(t *testing.T) {
	for _, tt := range []struct{ release, install, conntrack string }{
		{"ID=debian\n", "apt-get install -y", "conntrack"},
		{"NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get install -y", "conntrack"},
		{"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install -y", "conntrack-tools"},
		{"ID=alpine\n", "apk add", "conntrack-tools"},
		{"ID=plan9\n", "", "conntrack"},
	} {
		install, names := packages(tt.release)
		if install != tt.install || names["conntrack"] != tt.conntrack {
			t.Errorf("%q: %q, %q", tt.release, install, names["conntrack"])
		}
	}
}
