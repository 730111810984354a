package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf" // assembles the seccomp filter; BSD-3
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx" // makes a system call in every thread, with and without cgo; BSD-3
)

// Tasks is how many processes and threads a sandbox may have, and Files how many
// files each process may have open, but for its init: it sets these limits for
// what it starts, and so has always some left itself.
const Tasks, Files = 512, 1024

// harden takes from the calling thread, and so from all that it execs and starts,
// what no lesson needs and a lab could do harm with.
func harden() error {
	// What a lab eats up, it dies of before others do.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return err
	}
	if !raceDetector {
		if err := unix.Setrlimit(unix.RLIMIT_DATA, &toolMemory); err != nil {
			return fmt.Errorf("setrlimit: %w", err)
		}
	}
	for what, most := range map[int]uint64{
		unix.RLIMIT_CORE:   0,
		unix.RLIMIT_NOFILE: 4 * Files, // a dozen for each namespace
		unix.RLIMIT_FSIZE:  64 << 20,  // bytes
		unix.RLIMIT_NPROC:  2 * Tasks, // of this user namespace, since Linux 5.14
	} {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("setrlimit: %w", err)
		}
	}
	// No user namespace within: most holes of the last years began with one.
	for name, most := range map[string]string{"max_user_namespaces": "0", "max_cgroup_namespaces": "0", "max_net_namespaces": "200", "max_mnt_namespaces": "400"} {
		if err := os.WriteFile("/proc/sys/user/"+name, []byte(most), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return dropPrivileges()
}

// kept are the capabilities that ip, iptables, tcpdump, ping and our own
// mounts need. Without CAP_SYS_RESOURCE the limits above cannot be raised again.
var kept = map[uintptr]bool{
	unix.CAP_CHOWN: true, unix.CAP_DAC_OVERRIDE: true, unix.CAP_DAC_READ_SEARCH: true, unix.CAP_FOWNER: true, unix.CAP_KILL: true,
	unix.CAP_SETUID: true, unix.CAP_SETGID: true, unix.CAP_SETPCAP: true, unix.CAP_NET_ADMIN: true, unix.CAP_NET_RAW: true,
	unix.CAP_NET_BIND_SERVICE: true, unix.CAP_NET_BROADCAST: true, unix.CAP_SYS_CHROOT: true, unix.CAP_SYS_PTRACE: true,
	unix.CAP_SYS_ADMIN: true, unix.CAP_SETFCAP: true,
}

// families are the kinds of sockets a lab may open; others (AF_VSOCK, AF_XDP,
// AF_ALG, AF_BLUETOOTH …) reach past the network namespace or are rarely looked at.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET}

// denied are system calls no lesson needs.
var denied = []uint32{
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME,
	// The newer ways to mount can make a read-only mount writable; so can mount
	// with MS_REMOUNT, which the filter sees by its flags.
	unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR,
	unix.SYS_SYSLOG, unix.SYS_FANOTIFY_INIT, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_MOVE_PAGES, unix.SYS_MIGRATE_PAGES, unix.SYS_VHANGUP,
}

// arch is the AUDIT_ARCH that native system calls have. The filter refuses all
// others: int $0x80 numbers them differently.
var arch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]

// x32 marks the calls of amd64's third ABI, which has numbers of its own.
const x32 = 0x40000000

// Offsets in struct seccomp_data (seccomp(2)); arguments are 64 bits wide, and
// both architectures are little-endian.
const offNR, offArch, offArg0, offArg3 = 0, 4, 16, 40

func filter() ([]bpf.RawInstruction, error) {
	eperm := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	enosys := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}
	unsupported := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)}
	pass := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1},
		enosys,
		bpf.LoadAbsolute{Off: offNR, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32, SkipTrue: 1},
		enosys,
	}
	for _, nr := range denied {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: nr, SkipTrue: 1}, eperm)
	}
	p = append(p,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_MOUNT, SkipTrue: 4},
		bpf.LoadAbsolute{Off: offArg3, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: unix.MS_REMOUNT, SkipTrue: 1},
		eperm,
		pass,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_SOCKET, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_SOCKETPAIR, SkipTrue: 1},
		pass,
		bpf.LoadAbsolute{Off: offArg0, Size: 4},
	)
	for _, f := range families {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: f, SkipTrue: 1}, pass)
	}
	return bpf.Assemble(append(p, unsupported))
}

// dropPrivileges narrows the bounding set and installs the filter, for the
// calling thread and what it execs.
func dropPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if kept[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: older kernels have fewer
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if arch == 0 {
		return nil // the filter knows amd64 and arm64
	}
	raw, err := filter()
	if err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(raw)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(raw)
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// toolMemory bounds, in bytes, the memory of its own that a process of the
// sandbox may map (RLIMIT_DATA). Not RLIMIT_AS: Go reserves more address space
// than it uses.
var toolMemory = unix.Rlimit{Cur: 1 << 30, Max: 1 << 30}

// LimitTool bounds a tool that has just been exec'ed, and what it may have
// started by now: a lab's tools have less of the processor than the server and
// the labs' own processes. Its memory is bounded since before.
func LimitTool(pid int) {
	_ = unix.Setpriority(unix.PRIO_PGRP, pid, 19) // it may have ended
	if raceDetector {
		_ = unix.Prlimit(pid, unix.RLIMIT_DATA, &toolMemory, nil)
	}
}

// ShieldInit makes the calling process, a sandbox's init, one that nothing it
// starts can trace, read, or take file descriptors of: it holds a capability
// that its children lose (ptrace(2), "Ptrace access mode checking"). Without it
// a lab could speak to the server in init's name, and outlive it.
func ShieldInit() error {
	if _, _, errno := psx.Syscall3(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, unix.CAP_SYS_PTRACE, 0); errno != 0 {
		return fmt.Errorf("drop CAP_SYS_PTRACE: %w", errno)
	}
	return nil
}
