package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vethlab/exec/sandbox"
)

// The roles in which Check runs this program again; see sandbox.Main.
const (
	roleNothing = "doctor-nothing"
	roleUID     = "doctor-uid"
	roleLab     = "doctor-lab"
)

func init() {
	sandbox.Register(roleNothing, func() {})
	sandbox.Register(roleUID, func() {
		if os.Getuid() != 0 || os.Getgid() != 0 {
			fmt.Fprintf(os.Stderr, "uid is %d and gid %d instead of 0", os.Getuid(), os.Getgid())
			os.Exit(1)
		}
	})
	sandbox.Register(roleLab, func() {
		// Outside of namespaces of its own this would mount over the machine's /run.
		if os.Getpid() != 1 || wholeMachine() {
			fmt.Fprintln(os.Stderr, "vethlab doctor: this process is for a lab's namespaces only")
			os.Exit(2)
		}
		runtime.LockOSThread()
		child(json.NewEncoder(os.NewFile(sandbox.Control, "report")))
	})
}

// wholeMachine reports whether this is the machine's own user namespace.
func wholeMachine() bool {
	m, err := os.ReadFile("/proc/self/uid_map")
	return err != nil || strings.Join(strings.Fields(string(m)), " ") == "0 0 4294967295"
}

// child tries every probe of the child, and reports each when it is done.
func child(out *json.Encoder) {
	unix.CloseOnExec(sandbox.Control)
	failed := map[string]bool{}
	for _, c := range checks {
		if c.try != "child" {
			continue
		}
		if failed[c.after] {
			failed[c.id] = true
			continue
		}
		detail, err := tries[c.id]()
		failed[c.id] = err != nil
		if out.Encode(newResult(c.id, detail, err)) != nil {
			return // nobody listens any more
		}
	}
}

var tries = map[string]func() (string, error){
	"mount-tmpfs":      tryTmpfs,
	"mount-proc":       tryProc,
	"mount-bind":       tryBind,
	"netns":            tryNetns,
	"mount-sysfs":      trySysfs,
	"veth":             tryVeth,
	"bridge":           tryBridge,
	"iptables":         func() (string, error) { return tryIptables("iptables") },
	"iptables-nft":     func() (string, error) { return tryIptables("iptables-nft") },
	"iptables-legacy":  func() (string, error) { return tryIptables("iptables-legacy") },
	"packet-socket":    tryPacketSocket,
	"nft-trace":        tryNftTrace,
	"conntrack-events": tryConntrackEvents,
	"ip":               tryIP,
	"ping":             func() (string, error) { return tool("ping", "-c", "1", "-W", "2", "127.0.0.1") },
	"curl":             tryCurl,
	"conntrack":        func() (string, error) { return tool("conntrack", "-L") },
	"bridge-tool":      func() (string, error) { return tool("bridge", "fdb", "show") },
	"brctl":            func() (string, error) { return tool("brctl", "show") },
}

// tool runs one of the machine's programs and returns the first line it
// printed. Its error holds what the program said.
func tool(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := osexec.CommandContext(ctx, name, args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		var start *osexec.Error
		if errors.As(err, &start) {
			return "", err
		}
		if text == "" {
			text = err.Error()
		}
		return "", fmt.Errorf("%s: %s", strings.Join(append([]string{name}, args...), " "), lastLine(text))
	}
	return "", nil
}

func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }

func tryTmpfs() (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("making / private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return "", fmt.Errorf("mounting a tmpfs on /run: %w", err)
	}
	return "", os.Mkdir("/run/netns", 0o755)
}

func tryProc() (string, error) {
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return "", fmt.Errorf("mounting proc on /proc: %w", err)
	}
	return "", nil
}

// tryBind does what `ip netns add` does: it pins a namespace to a file.
func tryBind() (string, error) {
	const name = "/run/netns/doctor-bind"
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		return "", err
	}
	if err := unix.Mount("/proc/self/ns/net", name, "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("binding a namespace to a file: %w", err)
	}
	return "", unix.Unmount(name, unix.MNT_DETACH)
}

func tryNetns() (string, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return "", fmt.Errorf("unshare(CLONE_NEWNET): %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return "", fmt.Errorf("looking up lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return "", fmt.Errorf("switching lo on: %w", err)
	}
	return "", nil
}

// trySysfs mounts a sysfs of the new network namespace. Where the machine's own
// is read-only (a container), only a read-only one is allowed; and that one may
// not stay on /sys: `ip netns exec` unmounts what it finds there, mounts a
// writable one and is refused, but copes with the machine's, which it cannot
// unmount (iproute2 lib/namespace.c, netns_switch).
func trySysfs() (string, error) {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err := unix.Mount("sysfs", "/sys", "sysfs", flags, "")
	if errors.Is(err, unix.EPERM) && unix.Mount("sysfs", "/sys", "sysfs", flags|unix.MS_RDONLY, "") == nil {
		return "read-only, as the machine's own", unix.Unmount("/sys", unix.MNT_DETACH)
	}
	if err != nil {
		return "", fmt.Errorf("mounting sysfs on /sys: %w", err)
	}
	return "", nil
}

func tryVeth() (string, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "doctor0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "doctor1"}); err != nil {
		return "", fmt.Errorf("ip link add doctor0 type veth peer name doctor1: %w", err)
	}
	return "", nil
}

func tryBridge() (string, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "doctor-br"
	br := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(br); err != nil {
		return "", fmt.Errorf("ip link add doctor-br type bridge: %w", err)
	}
	port, err := netlink.LinkByName("doctor0")
	if err != nil {
		return "", nil // no veth to plug in; that probe says so
	}
	if err := netlink.LinkSetMaster(port, br); err != nil {
		return "", fmt.Errorf("ip link set doctor0 master doctor-br: %w", err)
	}
	return "", nil
}

// tryIptables adds the rules a lesson adds, and lists them. The other form's
// listing is not looked at: the two know nothing of each other.
func tryIptables(name string) (string, error) {
	version, err := osexec.Command(name, "--version").CombinedOutput()
	if err != nil {
		if _, e := tool(name, "--version"); e != nil {
			return "", e
		}
	}
	rules := [][]string{
		{"-t", "nat", "-A", "POSTROUTING", "-s", "172.18.0.0/16", "!", "-o", "doctor-br", "-j", "MASQUERADE"},
		{"-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-m", "tcp", "--dport", "8088", "-j", "DNAT", "--to-destination", "172.18.0.8:8000"},
		{"-A", "FORWARD", "-o", "doctor-br", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"},
	}
	for _, r := range rules {
		if _, err := tool(name, append([]string{"-w", "2"}, r...)...); err != nil {
			return "", err
		}
	}
	out, err := osexec.Command(name, "-w", "2", "-t", "nat", "-S", "POSTROUTING").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s -t nat -S POSTROUTING: %s", name, lastLine(strings.TrimSpace(string(out))))
	}
	if !strings.Contains(string(out), "-j MASQUERADE") {
		return "", fmt.Errorf("%s -S does not list the rule that was added: %s", name, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(version)), nil
}

// datagram sends one UDP packet over lo.
func datagram() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, []byte("doctor"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}})
}

func tryPacketSocket() (string, error) {
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		return "", fmt.Errorf("socket(AF_PACKET): %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return "", err
	}
	if err := datagram(); err != nil {
		return "", err
	}
	buf := make([]byte, 256)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return "", errors.New("a packet was sent over lo, but the packet socket saw none in 2 s")
		case err != nil:
			return "", err
		}
		if strings.HasSuffix(string(buf[:n]), "doctor") {
			return "", nil
		}
	}
}

// hook makes an nft table with one rule on what this node sends.
func hook(rule ...expr.Any) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Name: "doctor", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{Name: "output", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRaw})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule})
	return c.Flush()
}

// hear joins a group of netfilter's messages, and waits for one after a packet was sent.
func hear(group uint32, rule ...expr.Any) error {
	c, err := mdnetlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("socket(NETLINK_NETFILTER): %w", err)
	}
	defer c.Close()
	if err := c.JoinGroup(group); err != nil {
		return fmt.Errorf("joining the group: %w", err)
	}
	if err := hook(rule...); err != nil {
		return fmt.Errorf("adding an nft rule: %w", err)
	}
	if err := datagram(); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Receive(); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("a packet was sent, but no message came in 2 s")
	} else if err != nil {
		return err
	}
	return nil
}

func tryNftTrace() (string, error) {
	return "", hear(unix.NFNLGRP_NFTRACE,
		&expr.Immediate{Register: 1, Data: []byte{1}},
		&expr.Meta{Key: expr.MetaKeyNFTRACE, Register: 1, SourceRegister: true})
}

func tryConntrackEvents() (string, error) {
	return "", hear(unix.NFNLGRP_CONNTRACK_NEW, &expr.Ct{Key: expr.CtKeySTATE, Register: 1})
}

// tryIP makes a named namespace and looks into it, as a learner does.
func tryIP() (string, error) {
	if _, err := tool("ip", "netns", "add", "doctor"); err != nil {
		return "", err
	}
	if _, err := tool("ip", "netns", "exec", "doctor", "ip", "link", "show", "lo"); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join("/run/netns", "doctor")); err != nil {
		return "", err
	}
	return tool("ip", "netns", "del", "doctor")
}

func tryCurl() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") }))
	return tool("curl", "-sS", "-m", "5", "http://"+l.Addr().String()+"/")
}
