package docker_test

import (
	"context"
	"strings"
	"testing"
)

// Something is in the way of a network's tunnel, or has the name of one of its
// namespaces: dockerd 20.10 goes on without, and tries again.
func TestSwarmInTheWay(t *testing.T) {
	_, do := newEngine(t)
	ok := func(words string) string {
		t.Helper()
		res := do(false, words)
		if res.Status != 0 {
			t.Errorf("%s: status %d, %q", words, res.Status, res.Stderr)
		}
		return res.Output
	}
	ok("dockerd")
	ok("ip link add vx9 type vxlan id 4096 dstport 4789")
	ok("docker swarm init --advertise-addr 10.0.0.1")
	if names := ok("ip netns"); names != "" {
		t.Errorf("what could not be made left %q", names)
	}
	ok("docker network inspect ingress")
	ok("ip link del vx9")
	ok("docker network create -d overlay --attachable ov")
	before := ok("ip netns")
	if !strings.Contains(before, "ingress_sbox") {
		t.Errorf("no ingress network: %q", before)
	}

	ok("ip link add vx9 type vxlan id 4097 dstport 4789")
	res := do(false, "docker run -d --name web --net ov nginx")
	if res.Status != 125 || !strings.Contains(res.Stderr, "attaching to network failed") {
		t.Errorf("status %d, %q", res.Status, res.Stderr)
	}
	if after := ok("ip netns"); after != before {
		t.Errorf("what could not be made left %q, not %q", after, before)
	}
	ok("docker network inspect ov")
	ok("ip link del vx9")
	ok("docker start web")
	ok("docker rm -f web")
	ok("docker network rm ov")
	ok("docker swarm leave --force")
	if names := ok("ip netns"); names != "" {
		t.Errorf("the swarm left %q", names)
	}

	ok("ip netns add ingress_sbox")
	ok("docker swarm init --advertise-addr 10.0.0.1")
	ok("docker network inspect ingress")
	ok("docker swarm leave --force")
	if names := ok("ip netns"); names != "ingress_sbox\n" {
		t.Errorf("somebody's own namespace: %q", names)
	}
}

// A swarm that nobody is in any more is forgotten.
func TestSwarmForgotten(t *testing.T) {
	e, do := newEngine(t)
	do(false, "dockerd")
	sizes := map[int]bool{}
	for range 3 {
		do(false, "docker swarm init --advertise-addr 10.0.0.1")
		do(false, "docker swarm leave --force")
		s, err := e.Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		sizes[strings.Count(string(s.Docker), "SWMTKN")] = true
	}
	if len(sizes) != 1 || !sizes[0] {
		t.Errorf("tokens in snapshots: %v", sizes)
	}
}

// What a client and a daemon say of what they do not take.
func TestRefusals(t *testing.T) {
	_, do := newEngine(t)
	do(false, "dockerd")
	do(false, "docker run -d --name web nginx")
	for _, c := range []struct{ words, says string }{
		{"docker network create -o com.docker.network.bridge.name=x/y n", "Error response from daemon: invalid argument\n"},
		{"docker run -d --name own --net container:own busybox", "docker: Error response from daemon: cannot join own network.\n"},
		{"docker run -d --link :x busybox", "docker: Error response from daemon: could not get container for : invalid name or ID supplied: \"\".\nSee 'docker run --help'.\n"},
		{"docker run -d --expose 90-80 busybox", "docker: invalid range format for --expose: 90-80, error: Invalid range specified for the Port: 90-80.\nSee 'docker run --help'.\n"},
		{"docker run -d --net bridge --network-alias x busybox", "docker: network-scoped aliases are only supported for user-defined networks.\nSee 'docker run --help'.\n"},
		{"docker kill none", "Error response from daemon: Cannot kill container: none: No such container: none\n"},
		{"docker rename none other", "Error response from daemon: No such container: none\nError: failed to rename container named none\n"},
		{"docker port web x", "strconv.ParseUint: parsing \"x\": invalid syntax\n"},
		{"docker ps --format {{.Nonsense}}", "failed to execute template: template: :1:2: executing \"\" at <.Nonsense>: can't evaluate field Nonsense in type *formatter.ContainerContext\n"},
	} {
		if res := do(false, c.words); res.Status == 0 || res.Stderr != c.says {
			t.Errorf("%s: status %d, %q, want %q", c.words, res.Status, res.Stderr, c.says)
		}
	}
	res := do(false, "docker run -d --name mac --mac-address 01:00:00:00:00:01 busybox")
	if !strings.Contains(res.Stderr, `error setting interface \"veth`) || !strings.Contains(res.Stderr, "cannot assign requested address\": unknown.\n") {
		t.Errorf("a group's address for a card: %q", res.Stderr)
	}
	do(false, "docker run -d --name box busybox")
	for _, words := range []string{"docker exec -d box sleep infinity", "docker exec -d box python3 -m http.server 80", "docker restart box", "docker rm -f box"} {
		if res := do(false, words); res.Status != 0 || res.Stderr != "" {
			t.Errorf("%s: %q", words, res.Stderr)
		}
	}
	if out := do(false, "docker ps -a --filter name=box -q").Output; out != "" {
		t.Errorf("box is still there: %q", out)
	}
	long := strings.Repeat("n", 200)
	if res := do(false, "docker run -d --name "+long+" nginx"); res.Status != 0 {
		t.Errorf("a long name: %q", res.Stderr)
	}
	do(false, "docker rm -f "+long)
	do(false, "docker network create -o com.docker.network.driver.mtu=20 small")
	res = do(false, "docker run -d --name tight --net small busybox")
	if !strings.Contains(res.Stderr, "failed to create endpoint tight on network small: failed to set MTU on host interface veth") || !strings.HasSuffix(res.Stderr, ": invalid argument.\n") {
		t.Errorf("an MTU too small: %q", res.Stderr)
	}
	if out := do(false, "docker ps -n 0 -q").Output; strings.Count(out, "\n") != 1 {
		t.Errorf("docker ps -n 0: %q", out)
	}
}
