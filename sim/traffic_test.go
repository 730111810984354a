package sim

import (
	"strings"
	"testing"

	"vethlab/sim/trace"
)

// twoHosts is two machines on one wire.
const twoHosts = `
	a# ip link add e0 type veth peer name e0 netns b
	a# ip link set e0 up
	b# ip link set e0 up
	a# ip addr add 10.0.0.1/24 dev e0
	b# ip addr add 10.0.0.2/24 dev e0`

// TestPingTexts: what ping prints, and its exit status, by how it ends.
func TestPingTexts(t *testing.T) {
	for _, c := range []struct {
		command string
		status  int
		out     []string // in Output or Stderr
	}{
		{"ping -c 2 10.0.0.2", 0, []string{"PING 10.0.0.2 (10.0.0.2) 56(84) bytes of data.\n64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=0.",
			"\n\n--- 10.0.0.2 ping statistics ---\n2 packets transmitted, 2 received, 0% packet loss, time 1001ms\nrtt min/avg/max/mdev = 0."}},
		{"ping -c 3 -W 4 10.0.0.9", 1, []string{"From 10.0.0.1 icmp_seq=1 Destination Host Unreachable\n", "+3 errors, 100% packet loss, time 2002ms\npipe 3\n"}},
		{"ping -c 1 10.9.9.9", 2, []string{"ping: connect: Network is unreachable\n"}},
		{"ping -c 1 10.0.0.255", 2, []string{"ping: Do you want to ping broadcast? Then -b. If not, check your local firewall rules\n"}},
		{"ping -c 1 -I 10.0.0.7 10.0.0.2", 2, []string{"ping: bind: Cannot assign requested address\n"}},
		{"ping -c 1 -I nope 10.0.0.2", 2, []string{"ping: SO_BINDTODEVICE nope: No such device\n"}},
		{"ping -c 1 -s 2000 -M do 10.0.0.2", 1, []string{"ping: local error: message too long, mtu=1500\n", "0 received, +1 errors"}},
		{"ping -c 1 -s 65507 10.0.0.2", 0, []string{"65515 bytes from 10.0.0.2"}},
		{"ping -c 1 -I e0 10.0.0.2", 0, []string{"PING 10.0.0.2 (10.0.0.2) from 10.0.0.1 e0: 56(84) bytes of data.\n"}},
	} {
		l := newLab(t, "a b", twoHosts)
		r := l.try(t, "a# "+c.command)
		if r.Status != c.status {
			t.Errorf("%s: status %d, not %d", c.command, r.Status, c.status)
		}
		for _, want := range c.out {
			if !strings.Contains(r.Output, want) && !strings.Contains(r.Stderr, want) {
				t.Errorf("%s: no %q in\n%s%s", c.command, want, r.Output, r.Stderr)
			}
		}
	}
}

// summaries are the packets of a result without ARP.
func summaries(ts []trace.Trace) string {
	var all []string
	for _, tr := range ts {
		if !strings.HasPrefix(tr.Summary, "ARP") {
			all = append(all, strings.TrimPrefix(tr.Summary, "TCP "))
		}
	}
	return strings.Join(all, " ")
}

// TestPage: the segments of a page, in the order the kernel sends them.
func TestPage(t *testing.T) {
	l := newLab(t, "a b", twoHosts)
	l.run("b# python3 -m http.server 80")
	r := l.try(t, "a# curl -s http://10.0.0.2/")
	if r.Output != "b:80 says hello to 10.0.0.1\n" || r.Status != 0 {
		t.Errorf("curl printed %q, status %d", r.Output, r.Status)
	}
	if got, want := summaries(r.Traces), "SYN SYN,ACK ACK data ACK data ACK FIN,ACK FIN,ACK ACK"; got != want {
		t.Errorf("the segments were %s, not %s", got, want)
	}
	if r := l.try(t, "b# python3 -m http.server 80"); r.Stderr != "OSError: [Errno 98] Address already in use\n" || r.Status != 1 {
		t.Errorf("a second server: %q, status %d", r.Stderr, r.Status)
	}
	l.run("b# pkill python3")
	r = l.try(t, "a# curl http://10.0.0.2/")
	if r.Status != 7 || !strings.HasSuffix(r.Stderr, "curl: (7) Failed to connect to 10.0.0.2 port 80 after 0 ms: Couldn't connect to server\n") {
		t.Errorf("refused: status %d, %q", r.Status, r.Stderr)
	}
	if got := summaries(r.Traces); got != "SYN RST,ACK" {
		t.Errorf("a refusal was %s", got)
	}
}

// TestSynAgain: a SYN that gets no answer is sent again each second, five times
// (net.ipv4.tcp_syn_linear_timeouts), then at growing intervals.
func TestSynAgain(t *testing.T) {
	l := newLab(t, "a b", twoHosts+`
		b# iptables -A INPUT -p tcp -j DROP`)
	r := l.try(t, "a# curl -s -m 12 http://10.0.0.2/")
	var at []int64
	for _, tr := range r.Traces {
		if tr.Summary == "TCP SYN" {
			at = append(at, (tr.Start-r.Traces[0].Start+5e8)/1e9)
		}
	}
	want := []int64{0, 1, 2, 3, 4, 5, 7, 11}
	if r.Status != 28 || len(at) != len(want) {
		t.Fatalf("status %d, SYNs at %v", r.Status, at)
	}
	for i := range want {
		if at[i] != want[i] {
			t.Errorf("SYNs at %v, not %v", at, want)
			break
		}
	}
}

// TestNames: a name is asked for in the node's own port 53.
func TestNames(t *testing.T) {
	l := newLab(t, "a b", twoHosts)
	l.run(`
		b# python3 -m http.server 80
		a# dnsmasq --address=/example.test/10.0.0.2`)
	if r := l.try(t, "a# curl -s http://example.test/"); r.Output != "b:80 says hello to 10.0.0.1\n" {
		t.Errorf("by name: %q, status %d", r.Output, r.Status)
	}
	if r := l.try(t, "a# curl http://other.test/"); r.Status != 6 || !strings.HasSuffix(r.Stderr, "curl: (6) Could not resolve host: other.test\n") {
		t.Errorf("no such name: status %d, %q", r.Status, r.Stderr)
	}
}

// With ip_nonlocal_bind a socket may take an address that is not the node's; a
// packet from it finds no route all the same, and ping says nothing of that.
func TestNonlocalBind(t *testing.T) {
	l := newLab(t, "a b", `
		a# ip link add eth0 type veth peer name eth0 netns b
		a# ip link set eth0 up
		b# ip link set eth0 up
		a# ip addr add 10.0.1.1/24 dev eth0`)
	if res := l.run("a# ping -c1 -W1 -I 10.0.1.9 10.0.1.2"); res.Status != 2 {
		t.Errorf("bound to a foreign address: status %d", res.Status)
	}
	res := l.run("a# sysctl -qw net.ipv4.ip_nonlocal_bind=1\na# ping -c1 -W1 -I 10.0.1.9 10.0.1.2")
	if res.Status != 1 || res.Stderr != "" || len(res.Traces) != 0 {
		t.Errorf("status %d, %q, %d journeys", res.Status, res.Stderr, len(res.Traces))
	}
}

// Of the errors of the routing decision a sender gets five at once, and then one
// a second; icmp_ratelimit 0 does not change that (ip_error, inet_peer_xrlim_allow).
func TestRouteErrorsAreLimited(t *testing.T) {
	l := newLab(t, "a r", `
		a# ip link add eth0 type veth peer name eth0 netns r
		a# ip link set eth0 up
		r# ip link set eth0 up
		a# ip addr add 10.0.1.1/24 dev eth0
		r# ip addr add 10.0.1.2/24 dev eth0
		a# ip route add default via 10.0.1.2
		r# sysctl -qw net.ipv4.ip_forward=1
		r# sysctl -qw net.ipv4.icmp_ratelimit=0`)
	told := 0
	for range 8 {
		if res := l.run("a# ping -c1 -W0.1 198.51.100.7"); strings.Contains(res.Output, "Destination Net Unreachable") {
			told++
		}
	}
	if told < 5 || told > 7 {
		t.Errorf("told of %d errors", told)
	}
}

// ping does not let a message for many be split.
func TestBroadcastPingIsNotSplit(t *testing.T) {
	l := newLab(t, "a b", `
		a# ip link add eth0 type veth peer name eth0 netns b
		a# ip link set eth0 up
		b# ip link set eth0 up
		a# ip addr add 10.0.1.1/24 dev eth0`)
	n := l.Node("a")
	g := n.Ping(PingOptions{Host: "10.0.1.9", Dst: ipAt("10.0.1.9"), Count: 1, Wait: 1e8, Size: 1473, Broadcast: true}, "ping")
	g.Process.Wait(1e10)
	if want := "ping: local error: message too long, mtu=1500\n"; g.Err.String() != want {
		t.Errorf("%q, not %q", g.Err.String(), want)
	}
}
