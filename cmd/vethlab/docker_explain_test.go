//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"vethlab/lessons"
	"vethlab/sim/state"
)

// What docker … --explain lists, typed by hand, leaves the same as the command.
func TestDockerExplained(t *testing.T) {
	t.Parallel()
	const daemon, web = "dockerd &\n", "docker run -d --name web -p 8088:80 nginx\n"
	const net = daemon + "docker network create --subnet 10.5.0.0/24 net1\n"
	const swarm = daemon + "docker swarm init --advertise-addr 10.24.254.11\n"
	const overlay = swarm + "docker network create -d overlay --attachable --subnet 10.5.0.0/24 ov\n"
	const far = "client: docker run -d --name far --net ov nginx\n"
	for _, c := range []struct{ name, before, command string }{
		{"dockerd", "", "dockerd"},
		{"run", daemon, "docker run -d --name web nginx"},
		{"publish", daemon, "docker run -d --name web -p 8088:80 -p 5353:53/udp nginx"},
		{"without proxy", "dockerd --userland-proxy=false &\n", "docker run -d --name web -p 8088:80 nginx"},
		{"none", daemon, "docker run -d --name web --net none nginx"},
		{"host", daemon, "docker run -d --name web --net host nginx"},
		{"container", daemon + web, "docker run -d --name app --net container:web busybox"},
		{"network create", daemon, "docker network create net1"},
		{"internal", daemon, "docker network create --internal net1"},
		{"own network", net, "docker run -d --name web --net net1 --ip 10.5.0.9 --network-alias www nginx"},
		{"connect", net + web, "docker network connect net1 web"},
		{"disconnect", net + web + "docker network connect net1 web\n", "docker network disconnect bridge web"},
		{"stop", daemon + web, "docker stop web"},
		{"start", daemon + web + "docker stop web\n", "docker start web"},
		{"remove", daemon + web, "docker rm -f web"},
		{"network rm", net, "docker network rm net1"},
		{"swarm init", daemon, "docker swarm init --advertise-addr 10.24.254.11"},
		{"overlay", overlay + far, "docker run -d --name web --net ov -p 8088:80 nginx"},
		{"overlay gone", overlay + far + "docker run -d --name web --net ov -p 8088:80 nginx\n", "docker rm -f web"},
		{"swarm leave", overlay + far + web + "docker network connect ov web\n", "docker swarm leave --force"},
	} {
		for _, on := range []string{onSim, onKernel} {
			t.Run(c.name+"/"+on, func(t *testing.T) {
				t.Parallel()
				done, sh := explainLab(t, on)
				must(t, sh, c.before+c.command)
				lab, sh := explainLab(t, on)
				must(t, sh, c.before)
				first, rest, _ := strings.Cut(c.command+" ", " ") // before a container's own command
				if strings.HasPrefix(rest, "run ") || strings.HasPrefix(rest, "network ") {
					verb, more, _ := strings.Cut(rest, " ")
					if verb == "network" {
						v2, more2, _ := strings.Cut(more, " ")
						verb, more = verb+" "+v2, more2
					}
					rest = verb + " --explain " + more
				} else {
					rest += " --explain"
				}
				told := must(t, sh, first+" "+rest)
				lines, err := lessons.ParseTranscript("explained", told)
				if err != nil || len(lines) < 2 {
					t.Fatalf("explained: %v\n%s", err, told)
				}
				for _, l := range lines {
					out, err := sh.Run(t.Context(), l.Node, l.Text, nil)
					if err != nil || out.Status != 0 {
						t.Errorf("%s# %s: status %d, %v\n%s", l.Node, l.Text, out.Status, err, out.Stderr)
					}
				}
				var ds []state.Difference
				for range 1200 { // a namespace dies in the background
					if ds = state.Diff(snapshotOf(t, done), snapshotOf(t, lab)); len(ds) == 0 {
						break
					}
					time.Sleep(25 * time.Millisecond)
				}
				for _, d := range ds {
					t.Errorf("%s (by the command, by hand)", d)
				}
				if t.Failed() {
					t.Log(told)
				}
			})
		}
	}
}

func explainLab(t *testing.T, on string) (lessons.Backend, *lessons.Shell) {
	t.Helper()
	world, err := lessons.LoadWorld("docker-host")
	if err != nil {
		t.Fatal(err)
	}
	open := openSim
	if on == onKernel {
		open = openKernel
	}
	lab, err := open(t.Context(), world)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	sh := lessons.NewShell(lab)
	t.Cleanup(sh.Close)
	return lab, sh
}

func must(t *testing.T, sh *lessons.Shell, lines string) string {
	t.Helper()
	if lines == "" {
		return ""
	}
	if before, rest, ok := strings.Cut(lines, "client: "); ok { // another machine joins the swarm
		line, after, _ := strings.Cut(rest, "\n")
		token := strings.TrimSpace(must(t, sh, before+"docker swarm join-token -q worker\n"))
		token = token[strings.LastIndex(token, "SWMTKN"):]
		out, err := sh.Run(t.Context(), "client", "dockerd &\ndocker swarm join --token "+token+" 10.24.254.11\n"+line, nil)
		if err != nil || out.Status != 0 {
			t.Fatalf("%s: status %d, %v\n%s", line, out.Status, err, out.Stderr)
		}
		return must(t, sh, after)
	}
	out, err := sh.Run(t.Context(), "host", lines, nil)
	if err != nil || out.Status != 0 {
		t.Fatalf("%s: status %d, %v\n%s", lines, out.Status, err, out.Stderr)
	}
	return out.Stdout
}

func snapshotOf(t *testing.T, lab lessons.Backend) *state.Snapshot {
	t.Helper()
	s, err := lab.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Canonical()
}
