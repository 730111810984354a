package exec

import (
	"strings"
	"testing"

	"vethlab/sim/op"
)

// Each tool begins with the machine's view as it was, whatever the ones before
// did to theirs, and with the limits of a tool.
func TestView(t *testing.T) {
	b := open(t)
	b.do("a", sh("hostname mine && mount --bind /dev/null /etc/hosts && mount -t tmpfs none /usr/bin"))
	r := b.do("a", sh("hostname; cat /etc/hosts; ls -d /run/netns; ls /sys/class/net; ulimit -d; ulimit -Hd; cut -d' ' -f19 /proc/self/stat"))
	want := "a\n127.0.0.1\tlocalhost\n/run/netns\neth0\nlo\n1048576\n1048576\n19\n"
	if r.Output != want {
		t.Errorf("a tool sees\n%s\nwant\n%s", r.Output, want)
	}
	// A name given in one tool is there for all, and the view of another machine is another.
	b.do("a", sh("ip netns add c"))
	if r := b.do("a", sh("ls /run/netns")); r.Output != "c\n" {
		t.Errorf("the names on a: %q", r.Output)
	}
	if r := b.do("b", sh("ls /run/netns; hostname")); r.Output != "b\n" {
		t.Errorf("on b: %q", r.Output)
	}
	if r := b.do("c", sh("hostname; ls /sys/class/net")); r.Output != "c\nlo\n" {
		t.Errorf("in c: %q", r.Output)
	}
	b.do("a", op.NetnsDel{Name: "c"})
	if r := b.try("c", sh("true")); r.Failure == nil {
		t.Errorf("c is there yet: %+v", r)
	}
}

// A tool is root in the lab, and yet the lab's own process, with the thread that
// is in the views, is closed to it.
func TestViewClosed(t *testing.T) {
	b := open(t)
	for _, script := range []string{
		"readlink /proc/1/ns/mnt", "readlink /proc/1/fd/*", "head -c1 /proc/1/mem", "cat /proc/1/environ", "readlink /proc/1/exe",
		"for t in /proc/1/task/*; do readlink $t/ns/mnt $t/ns/uts $t/root && exit; readlink $t/fd/* && exit; done; false",
		"nsenter -t 1 -m true", "for t in $(ls /proc/1/task); do nsenter -t $t -m true && exit; done; false",
	} {
		if r := b.try("a", sh(script)); r.Status == 0 || strings.TrimSpace(r.Output) != "" {
			t.Errorf("%s: status %d, %s%s", script, r.Status, r.Output, r.Stderr)
		}
	}
	if r := b.do("a", sh("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; ls /proc/self/fd")); r.Output != "NoNewPrivs:\t1\nSeccomp:\t2\n0\n1\n2\n3\n" { // 3 is the directory that ls reads
		t.Errorf("a tool has %q", r.Output)
	}
}
