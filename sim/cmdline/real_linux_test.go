package cmdline

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"vethlab/sim/op"
)

// scene furnishes a fresh network namespace, then runs the command it is given.
const scene = `set -e
mount --make-rprivate / ; mount -t tmpfs t /run ; mkdir -p /run/netns
{ ip netns add ns1
ip link add veth0 type veth peer name veth1
ip link set veth0 up ; ip link set veth1 up
ip addr add 10.0.0.1/24 dev veth0
ip route add 10.7.0.0/16 via 10.0.0.9
ip link add br0 type bridge
ip link add va type veth peer name vb
brctl addif br0 va
iptables -N MINE ; iptables -A MINE -j ACCEPT
} >/dev/null
set +e
exec "$@"`

// Each command fails; the failure is what a backend has to tell of it. The
// machine's own tools say what Finish must say, and exit as it must.
var refused = []struct {
	line    string
	failure *op.Failure // nil: the tool refuses by itself, and so does Parse
}{
	{"ip netns add ns1", &op.Failure{What: op.NetnsUsed, Name: "ns1", Errno: 17}},
	{"ip netns add", nil},
	{"ip netns add a/b", nil},
	{"ip netns del a/b", nil},
	{"ip netns add ''", nil},
	{"ip netns del nope", &op.Failure{What: op.NoNetns, Name: "nope"}},
	{"ip netns exec nope ip a", &op.Failure{What: op.NoNetns, Name: "nope"}},
	{"ip netns exec ns1 nosuch", &op.Failure{What: op.NoTool, Name: "nosuch"}},
	{"ip netns exec ns1", nil},
	{"ip netns exec", nil},
	{"ip -n nope link set lo up", &op.Failure{What: op.NoNetns, Name: "nope"}},
	{"nsenter --net=/var/run/netns/nope ip a", &op.Failure{What: op.NoNetns, Name: "nope"}},
	{"nsenter --net=/run/netns/ns1 nosuch", &op.Failure{What: op.NoTool, Name: "nosuch"}},

	{"ip link add veth0 type veth peer name veth1", &op.Failure{Errno: 17}},
	{"ip link add br0 type bridge", &op.Failure{Errno: 17}},
	{"ip link add x0 type veth peer name x1 netns nope", &op.Failure{What: op.NoNetns, Name: "nope"}},
	{"ip link add link nope name mv0 type macvlan mode bridge", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"ip link add vx0 type vxlan id 5 dstport 4789 dev nope", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"ip link set nope up", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"ip link set veth0 master nope", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"ip link set nope master br0", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"ip link set veth0 master veth1", &op.Failure{What: op.NotBridge, Name: "veth1", Errno: 95}},
	{"ip link set br0 master br0", &op.Failure{Errno: 40, Message: "Can not enslave a bridge to a bridge"}},
	{"ip link set veth0 netns nope", &op.Failure{What: op.NoNetns, Name: "nope"}},
	{"ip link set veth0 netns 999999", &op.Failure{Errno: 3}},
	{"ip link set veth0 name br0", &op.Failure{Errno: 17}},
	{"ip link set veth0 name abcdefghijklmnop", nil},
	{"ip link set veth0 mtu 20", &op.Failure{Errno: 22, Message: "mtu less than device minimum"}},
	{"ip link set veth0 mtu abc", nil},
	{"ip link set lo netns ns1", &op.Failure{Errno: 22, Message: "The interface netns is immutable"}},
	{"ip link del nope", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"ip link del lo", &op.Failure{Errno: 95}},

	{"ip addr add 10.0.0.1/24 dev nope", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"ip addr add 10.0.0.1/24 dev veth0", &op.Failure{Errno: 17, Message: "ipv4: Address already assigned"}},
	{"ip addr add x dev veth0", nil},
	{"ip addr add 10.0.0.300/24 dev veth0", nil},
	{"ip addr add 10.0.0.1/33 dev veth0", nil},
	{"ip addr add 10.0.0.1/24", nil},
	{"ip addr del 10.9.9.9/24 dev veth0", &op.Failure{Errno: 99, Message: "ipv4: Address not found"}},
	{"ip addr flush dev nope", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"ip route add default via 9.9.9.9", &op.Failure{Errno: 101, Message: "Nexthop has invalid gateway"}},
	{"ip route add 10.7.0.0/16 via 10.0.0.9", &op.Failure{Errno: 17}},
	{"ip route add 10.8.0.0/16 dev nope", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"ip route add 10.8.0.1/16 dev veth0", &op.Failure{Errno: 22, Message: "Invalid prefix for given prefix length"}},
	{"ip route add default via x", nil},
	{"ip route add default via 10.0.0.9 metric x", nil},
	{"ip route add default", &op.Failure{Errno: 19}},
	{"ip route del 10.77.0.0/16", &op.Failure{Errno: 3}},
	{"ip route add 10.8.0.0/16 dev veth0 src 1.2.3.4", &op.Failure{Errno: 22, Message: "Invalid prefsrc address"}},
	{"ip neigh flush dev nope", &op.Failure{What: op.NoDevice, Name: "nope"}},

	{"brctl addbr br0", &op.Failure{Errno: 17}},
	{"brctl addif br0 nope", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"brctl addif nope veth0", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"brctl addif veth1 veth0", &op.Failure{What: op.NotBridge, Name: "veth1", Errno: 95}},
	{"brctl addif br0 va", &op.Failure{Errno: 16}},
	{"brctl addif br0 br0", &op.Failure{Errno: 40, Message: "Can not enslave a bridge to a bridge"}},
	{"brctl addif br0 lo", &op.Failure{Errno: 22}},
	{"ifconfig nope up", &op.Failure{What: op.NoDevice, Name: "nope"}},
	{"route del default", &op.Failure{Errno: 3}},

	{"iptables -A NOPE -j ACCEPT", &op.Failure{Errno: 2}},
	{"iptables -D FORWARD -j ACCEPT", &op.Failure{Errno: 2}},
	{"iptables -D FORWARD 7", &op.Failure{Errno: 2}},
	{"iptables -C FORWARD -j ACCEPT", &op.Failure{Errno: 2}},
	{"iptables -I FORWARD 9 -j ACCEPT", &op.Failure{Errno: 7}},
	{"iptables -I NOPE -j ACCEPT", &op.Failure{Errno: 2}},
	{"iptables -N MINE", &op.Failure{Errno: 17}},
	{"iptables -X NOPE", &op.Failure{Errno: 2}},
	{"iptables -X MINE", &op.Failure{Errno: 16}},
	{"iptables -F NOPE", &op.Failure{Errno: 2}},
	{"iptables -Z NOPE", &op.Failure{Errno: 2}},
	{"iptables -P NOPE DROP", &op.Failure{Errno: 2}},
	{"iptables -P FORWARD REJECT", &op.Failure{Errno: 22}},

	{"sysctl -w net.ipv4.ip_forward=abc", &op.Failure{Errno: 22}},
	{"sysctl -w net.ipv4.nope=1", &op.Failure{What: op.NoSysctl, Name: "net.ipv4.nope"}},
	{"sysctl -w net/ipv4/conf/no.pe/rp_filter=1", &op.Failure{What: op.NoSysctl}},
	{"ping -c1 -W1 9.9.9.9", &op.Failure{Errno: 101}},
}

// Commands that succeed, and print something by the tool itself.
var accepted = []string{
	"sysctl -w net.ipv4.ip_forward=1", "sysctl net/ipv4/ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1",
	"sysctl -w net/ipv4/conf/veth0/rp_filter=2", "ip link add vx0 type vxlan id 5", "brctl addbr br7",
}

func TestRealTools(t *testing.T) {
	for _, name := range []string{"unshare", "ip", "brctl", "iptables", "ifconfig", "route", "sysctl", "nsenter", "ping"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("this machine has no %s", name)
		}
	}
	if stdout, stderr, status := inScene(t, "true"); status != 0 {
		t.Skipf("no namespace of one's own can be had here: status %d %s%s", status, stdout, stderr)
	}
	version, _ := exec.Command("iptables", "--version").Output()
	for _, tt := range refused {
		if strings.HasPrefix(tt.line, "iptables") && !bytes.Contains(version, []byte("v1.8.9 (nf_tables)")) {
			continue // other versions word it otherwise
		}
		argv := words(tt.line)
		c, err := Parse(argv)
		var ours op.Result
		if u, ok := errors.AsType[*UsageError](err); ok && tt.failure == nil {
			ours = op.Result{Stderr: u.Stderr, Status: u.Status}
		} else if err != nil || tt.failure == nil {
			t.Errorf("%s: Parse gave %v", tt.line, err)
			continue
		} else {
			ours = c.Finish(op.Result{Status: 1, Failure: tt.failure})
		}
		_, stderr, status := inScene(t, argv...)
		if stderr != ours.Stderr || status != ours.Status {
			t.Errorf("%s\n the tool %d %q\n ours     %d %q", tt.line, status, stderr, ours.Status, ours.Stderr)
		}
	}
	for _, line := range accepted {
		argv := words(line)
		c, err := Parse(argv)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		ours := c.Finish(op.Result{})
		stdout, stderr, status := inScene(t, argv...)
		if stdout != ours.Output || stderr != ours.Stderr || status != 0 {
			t.Errorf("%s\n the tool %d %q %q\n ours     %q %q", line, status, stdout, stderr, ours.Output, ours.Stderr)
		}
	}
}

// inScene runs a command in namespaces that end with it.
func inScene(t *testing.T, argv ...string) (stdout, stderr string, status int) {
	t.Helper()
	args := []string{"--net", "--mount", "--pid", "--fork", "--kill-child"}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	cmd := exec.Command("unshare", append(append(args, "--", "sh", "-c", scene, "sh"), argv...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "XTABLES_LOCKFILE=/run/xtables.lock"}
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		status = ee.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return o.String(), e.String(), status
}
