//go:build linux

package main

import (
	"strings"
	"testing"

	"vethlab/exec"
	"vethlab/lessons"
	"vethlab/sim/op"
)

// Each line is typed twice: in our shell, where commands become operations,
// and in the machine's own bash with the machine's own tools. Both labs begin
// alike, so both must print the same and end with the same status.
var twice = []string{
	`ip netns add ns1 && ip link add veth0 type veth peer name veth1 && ip link set veth1 netns ns1`,
	`ip netns add ns1; ip netns del nope; ip link add veth0 type veth peer name veth1`,
	`brctl addbr br-demo && brctl addif br-demo veth0; brctl addif br-demo veth0; brctl addif br-demo nope; brctl addif nope veth0; brctl addbr br-demo`,
	`ip addr add 172.18.0.1/16 dev br-demo; ip addr add 172.18.0.1/16 dev br-demo; ip addr add 172.18.0.1/33 dev br-demo; ip addr add 1.1.1.1/32 dev nope`,
	`for d in br-demo veth0; do ip link set $d up; done; echo "status $?"`,
	`ip netns exec ns1 ip addr add 172.18.0.8/16 dev veth1 && ip -n ns1 link set veth1 up`,
	`ip -n nope link set lo up; echo $?; ip netns exec nope true; echo $?; ip netns exec ns1 nosuch; echo $?`,
	`ip -n ns1 route add default via 9.9.9.9; ip -n ns1 route add default via 172.18.0.1; ip -n ns1 route add default via 172.18.0.1; ip -n ns1 route`,
	`ip link set veth0 mtu 20; ip link set veth0 name abcdefghijklmnop; ip link set nope up; ip link set veth0 netns nope; ip link set veth0 master nope`,
	`echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward; sysctl -w net.ipv4.ip_forward=0; sysctl -n net.ipv4.ip_forward`,
	`echo abc > /proc/sys/net/ipv4/ip_forward; echo "status $?"`,
	`sysctl -w net.ipv4.nope=1; sysctl -w net.ipv4.ip_forward=abc; sysctl net/ipv4/conf/veth0/rp_filter=2`,
	`iptables -N MINE; iptables -N MINE; iptables -A MINE -j ACCEPT; iptables -X MINE; echo $?; iptables -A NOPE -j ACCEPT; iptables -D FORWARD -j DROP; iptables -P NOPE DROP`,
	`iptables -A FORWARD -m comment --comment "two  words, 'quoted'" -j ACCEPT && iptables -S FORWARD; iptables -C FORWARD -m comment --comment "two  words, 'quoted'" -j ACCEPT; echo $?`,
	`iptables -A FORWARD -i abcdefghijklmnop -j ACCEPT; iptables -t nope -L; iptables -t nat -A POSTROUTING -j NOPE; echo $?`,
	`iptables -I FORWARD 9 -j DROP; iptables -F NOPE; iptables -Z FORWARD; iptables -F FORWARD; iptables -S`,
	`cd /tmp && pwd && echo hello > f && cat f && cat < f && echo more >> f && wc -l < f; ls f *.none; test -f f && echo file; cd - > /dev/null; pwd`,
	`echo x > /nonexistent/file; echo "status $?"; read y < /nonexistent/file; echo "status $?"`,
	`x='a  b'; echo "$x" $x ${x#a} $((6*7)) {1..3} $(echo sub | tr a-z A-Z)`,
	`printf '%s\n' c a b | sort | head -2; yes | head -1`,
	"cat <<EOF\nhome $HOME, user $USER\nEOF",
	`true && ! false || echo never; false; echo $?; nosuch; echo $?`,
	`(cd /tmp; nosuch; echo $?; ./nosuch; echo $?); FOO=bar nosuch x; echo $?; env nosuch; echo $?`,
	`f() { local n=$1; echo "f $n"; return 3; }; f one; echo $?`,
	`ip route add 10.9.0.0/16 via 10.24.254.93 metric 5 && ip route show 10.9.0.0/16; ip route del 10.9.0.0/16; ip route del 10.9.0.0/16`,
	`ifconfig nope up; echo $?; route add default gw 9.9.9.9; echo $?; ip link del nope; brctl delbr br-demo; echo $?`,
	`ip link set br-demo down && brctl delbr br-demo && ip netns del ns1 && ip netns`,
	`FOO=bar env | grep FOO; echo "[$FOO]"; (cd /; pwd); pwd`,
}

func TestShellAgainstBash(t *testing.T) {
	t.Parallel()
	world, err := lessons.LoadWorld("docker-host")
	if err != nil {
		t.Fatal(err)
	}
	var labs [2]*exec.Lab
	for i := range labs {
		if labs[i], err = exec.Open(t.Context(), world); err != nil {
			t.Skipf("no lab on the kernel can be had here: %v", err)
		}
		defer labs[i].Close()
	}
	sh := lessons.NewShell(labs[0])
	defer sh.Close()
	for _, line := range twice {
		ours, err := sh.Run(t.Context(), "host", line, nil)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		// Each in the directory and with the environment that ours has.
		bash, err := labs[1].Apply(t.Context(), "host", op.Tool{Argv: []string{"env", "-C", "/root", "HOME=/root", "USER=root", "bash", "-c", line}})
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if ours.Stdout != bash.Output || ours.Status != bash.Status {
			t.Errorf("%s\n ours status %d, %q\n bash status %d, %q", line, ours.Status, ours.Stdout, bash.Status, bash.Output)
		}
		// bash -c names itself with the number of the line.
		if want := strings.ReplaceAll(bash.Stderr, "bash: line 1: ", "bash: "); ours.Stderr != want {
			t.Errorf("%s\n ours %q\n bash %q", line, ours.Stderr, want)
		}
	}
}
