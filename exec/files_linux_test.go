package exec

import (
	"testing"

	"vethlab/sim/op"
)

// A file that needs no process to be read says the same, and by no way leads to
// what belongs to the lab's own process.
func TestFileTool(t *testing.T) {
	b := open(t)
	b.do("a", sh(`echo one > /run/f; mkdir /etc/d; ln -s /proc/1/environ /etc/d/l; ln -s /proc/1 /etc/d/p; mkfifo /etc/d/fifo; echo two > /var/f; mkdir -p /var/lib/docker; echo three > /var/lib/docker/f`))
	cat := func(name string) op.Result { return b.try("a", op.Tool{Argv: []string{"cat", name}}) }
	for name, want := range map[string]string{"/run/f": "one\n", "/var/f": "two\n", "/var/lib/docker/f": "three\n", "/etc/hosts": "127.0.0.1\tlocalhost\n"} {
		if r := cat(name); r.Output != want || r.Status != 0 {
			t.Errorf("cat %s: %+v, want %q", name, r, want)
		}
	}
	for name, want := range map[string]string{
		"/etc/d/l": "cat: /etc/d/l: Permission denied\n", "/etc/d/p/environ": "cat: /etc/d/p/environ: Permission denied\n", "/proc/1/environ": "cat: /proc/1/environ: Permission denied\n",
		"/etc/d": "cat: /etc/d: Is a directory\n", "/etc/none": "cat: /etc/none: No such file or directory\n", "/machines": "cat: /machines: Is a directory\n",
	} {
		if r := cat(name); r.Status != 1 || r.Stderr != want || r.Output != "" {
			t.Errorf("cat %s: %+v, want %q", name, r, want)
		}
	}
	b.do("a", op.Tool{Argv: []string{"mkdir", "-p", "/var/lib/docker/x/y"}})
	if r := b.do("a", sh("stat -c '%a %F %u' /var/lib/docker/x/y")); r.Output != "755 directory 0\n" {
		t.Errorf("the directory: %q", r.Output)
	}
	if r := b.try("a", op.Tool{Argv: []string{"mkdir", "-p", "/var/f/z"}}); r.Status != 1 || r.Stderr != "mkdir: cannot create directory ‘/var/f’: Not a directory\n" {
		t.Errorf("mkdir beneath a file: %+v", r)
	}
}
