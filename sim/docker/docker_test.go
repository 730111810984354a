package docker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"vethlab/sim/docker"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/tools"
)

// slow is a lab in which a command in the background lasts until it is ended.
type slow struct{ *tools.Lab }

func (l slow) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	if t, ok := o.(op.Tool); ok && t.Background && t.Argv[0] == "sleep" {
		<-ctx.Done()
		return op.Result{Status: 130}, ctx.Err()
	}
	return l.Lab.Apply(ctx, node, o)
}

func newEngine(t *testing.T) (*docker.Engine, func(background bool, words string) op.Result) {
	lab, err := tools.Open(context.Background(), op.World{Nodes: []op.NodeSpec{{Name: "host", Kind: state.Machine}}})
	if err != nil {
		t.Fatal(err)
	}
	e := docker.Wrap(slow{lab})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return e, func(background bool, words string) op.Result {
		res, err := e.Apply(ctx, "host", op.Tool{Argv: strings.Fields(words), Background: background})
		if err != nil && !background {
			t.Errorf("%s: %v", words, err)
		}
		return res
	}
}

// A command in a container that runs on in the background holds up nobody, and
// who waits for something that does not end can be told to stop.
func TestEngineBackground(t *testing.T) {
	e, do := newEngine(t)
	do(false, "dockerd")
	do(false, "docker run -d --name web nginx")
	for _, words := range []string{"docker exec web sleep 1000", "docker run --name idle alpine sleep 1000"} {
		go do(true, words)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // until both are under way
		if out := do(false, "docker ps -q").Output; strings.Count(out, "\n") == 2 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("docker ps -q: %q", out)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := e.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	if out := do(false, "docker rm -f idle"); out.Status != 0 {
		t.Errorf("docker rm -f idle: %+v", out)
	}
}

// A name that a line could not hold is refused, and leaves nothing behind.
func TestOddNames(t *testing.T) {
	e, do := newEngine(t)
	do(false, "dockerd")
	do(false, "docker network create n")
	do(false, "docker run -d --name web nginx")
	for _, argv := range [][]string{
		{"docker", "run", "-d", "--hostname", "a\nhost# reboot", "nginx"},
		{"docker", "run", "-d", "--hostname", "$(id)", "nginx"},
		{"docker", "run", "-d", "--domainname", "`id`", "nginx"},
		{"docker", "run", "-d", "--network", "n", "--network-alias", "a\x1b[2J", "nginx"},
		{"docker", "network", "connect", "--alias", "<b>", "n", "web"},
	} {
		res, err := e.Apply(context.Background(), "host", op.Tool{Argv: argv})
		if err != nil || res.Status == 0 || len(res.Deeds) > 0 || !strings.Contains(res.Stderr, "not simulated: the name") {
			t.Errorf("%q: %v, %+v", argv, err, res)
		}
	}
	if out := do(false, "docker ps -aq").Output; strings.Count(out, "\n") != 1 {
		t.Errorf("containers: %q", out)
	}
}

// What a command tells of its deeds is bounded.
func TestDeedsBounded(t *testing.T) {
	_, do := newEngine(t)
	do(false, "dockerd")
	do(false, "docker network create n")
	size := 0
	for range 6 {
		res := do(false, "docker run -d --network n --network-alias "+strings.Repeat("a", 40_000)+" alpine sleep infinity")
		size = 0
		for _, d := range res.Deeds {
			size += len(d.Text)
		}
		if size > 1<<20+100 {
			t.Fatalf("%d bytes of deeds", size)
		}
	}
	if size < 1<<19 {
		t.Errorf("%d bytes of deeds: too few to tell", size)
	}
}
