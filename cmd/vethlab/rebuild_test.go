//go:build linux

package main

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vethlab/exec"
	"vethlab/lessons"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// A lab that was killed and rebuilt holds what the dead one held: the steps'
// work and the learner's own.
func TestRebuiltLabIsTheSame(t *testing.T) {
	t.Parallel()
	lesson, err := lessons.Load(lessonID)
	if err != nil {
		t.Fatal(err)
	}
	var lab *exec.Lab
	s := lessons.NewSession(lesson, func(ctx context.Context, w op.World) (lessons.Backend, error) {
		l, err := exec.Open(ctx, w)
		lab = l
		return l, err
	}, nil, time.Minute, func(lessons.Update) {})
	defer s.Close()
	quiet := func(lessons.Update) {}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(s.Start(quiet))
	fresh, err := lab.Snapshot(t.Context())
	ok(err)
	for _, step := range lesson.Steps {
		if step.ID == "delete" {
			break
		}
		ok(s.Run(step.ID, quiet))
		if step.ID == "veth" {
			ok(s.Command("host", "ip link set dev veth0 mtu 1400 && echo 1 > /proc/sys/net/ipv4/conf/all/proxy_arp", quiet))
		}
	}
	ok(s.Command("client", "for i in 1 2 3; do ip route add 192.0.2.$i via 10.24.254.1; done", quiet))
	if n := len(s.Status().History.Own); n != 2 {
		t.Fatalf("%d commands of one's own, want 2", n)
	}
	before, err := lab.Snapshot(t.Context())
	ok(err)

	if len(state.Diff(fresh.Canonical(), before.Canonical())) == 0 {
		t.Fatal("the lesson changed nothing")
	}

	dead := lab
	ok(unix.Kill(lab.Pid(), unix.SIGKILL))
	for end := time.Now().Add(time.Minute); s.Status().State != lessons.LabLost; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the session does not notice that its lab died")
		}
	}
	ok(s.Rebuild(quiet))
	if lab == dead {
		t.Fatal("no new lab was made")
	}
	after, err := lab.Snapshot(t.Context())
	ok(err)
	for _, d := range state.Diff(before.Canonical(), after.Canonical()) {
		t.Errorf("dead, rebuilt: %s", d)
	}
	if got, want := s.Status().Next, "delete"; got != want {
		t.Errorf("next is %q, want %q", got, want)
	}
	ok(s.Run("delete", quiet))

	// Going back undoes the step, and what the learner did before it stays.
	ok(s.Goto("delete", false, quiet))
	back, err := lab.Snapshot(t.Context())
	ok(err)
	for _, d := range state.Diff(before.Canonical(), back.Canonical()) {
		t.Errorf("before the step, back before it: %s", d)
	}
}
