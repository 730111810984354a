package docker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// What a daemon keeps is bounded, also where nobody gives names: there are fewer
// of those than containers.
func TestKeptBounded(t *testing.T) {
	e, do := newEngine(t)
	do(false, "dockerd")
	do(false, "docker network create n")
	do(false, "docker swarm init --advertise-addr 10.0.0.1")
	long := strings.Repeat("a", 10_000)
	for _, c := range []struct {
		low, high int
		line      string
	}{
		{300, 2000, "docker create nginx"},
		{0, 200, "docker create --label " + long + " nginx"},
		{0, 4000, "docker network create -d overlay n%d"},
		{0, 200, "docker network connect --alias " + long + "%d n c%[1]d"},
	} {
		n, says := 0, ""
		for ; n <= c.high && says == ""; n++ {
			line := c.line
			if strings.Contains(line, "%") {
				line = fmt.Sprintf(line, n)
			}
			if strings.Contains(line, "connect") && n == 0 {
				for _, id := range strings.Fields(do(false, "docker ps -aq").Output)[:100] {
					do(false, "docker rm "+id)
				}
			}
			if strings.Contains(line, "connect") {
				do(false, fmt.Sprintf("docker create --name c%d nginx", n))
			}
			if res := do(false, line); res.Status != 0 {
				says = res.Stderr
			}
		}
		if n < c.low || n > c.high || !strings.Contains(says, "not simulated: more containers") {
			t.Errorf("%.40s…: %d, then %q", c.line, n, says)
		}
	}
	s, err := e.Snapshot(context.Background())
	if err != nil || len(s.Docker) > 8<<20 {
		t.Errorf("a snapshot with %d bytes of Docker: %v", len(s.Docker), err)
	}
	do(false, "docker rm "+strings.Fields(do(false, "docker ps -aq").Output)[0])
	if res := do(false, "docker create nginx"); res.Status != 0 {
		t.Errorf("after docker rm: %q", res.Stderr)
	}
}
