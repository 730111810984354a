package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vethlab/lessons"
	"vethlab/sim/op"
)

// reference is Debian's Docker daemon.
type reference struct {
	dir string // image.tar, root.tar
}

// newReference makes the images, and the data of a daemon that has them.
func newReference(t testing.TB, w op.World) *reference {
	t.Helper()
	r := &reference{dir: t.TempDir()}
	if err := writeImage(filepath.Join(r.dir, "image.tar")); err != nil {
		t.Fatal(err)
	}
	r.run(t, w, "", nil)
	if _, err := os.Stat(filepath.Join(r.dir, "root.tar")); err != nil {
		t.Fatal("the images could not be made: ", err)
	}
	return r
}

// referenceWorld is a world as a shell script that defines its nodes.
func referenceWorld(w op.World) string {
	servers := func(l op.Line) bool { return isServer(l.Op) }
	bare := w
	bare.Setup = slices.DeleteFunc(slices.Clone(w.Setup), servers)
	script := strings.Replace(asScript(bare, nil), "mount -t tmpfs none /run\n", "", 1)
	var s strings.Builder
	for _, n := range w.Nodes {
		fmt.Fprintf(&s, "ip netns add %s\nnsenter --net=/run/netns/%s bash -c '", n.Name, n.Name)
		for _, kv := range [][2]string{{"ipv6/conf/all/disable_ipv6", "1"}, {"ipv6/conf/default/disable_ipv6", "1"}, {"ipv4/ip_forward", "0"},
			{"ipv4/conf/all/rp_filter", "0"}, {"ipv4/conf/default/rp_filter", "0"}, {"ipv4/conf/all/route_localnet", "0"}} {
			fmt.Fprintf(&s, "echo %s >/proc/sys/net/%s; ", kv[1], kv[0])
		}
		s.WriteString("'\n")
	}
	for line := range strings.Lines(script) {
		if !strings.HasPrefix(line, "ip netns add ") {
			s.WriteString(strings.ReplaceAll(line, "ip netns exec ", "nsenter --net=/run/netns/"))
		}
	}
	for _, l := range w.Setup {
		if o, ok := l.Op.(op.DNSServe); ok {
			fmt.Fprintf(&s, "nsenter --net=/run/netns/%s \"$SELF\" %s", l.Node, nameServer)
			for name, a := range o.Names {
				fmt.Fprintf(&s, " %s=%s", name, a)
			}
			s.WriteString(" 3>&- &\n")
		}
		if o, ok := l.Op.(op.HTTPServe); ok {
			fmt.Fprintf(&s, "nsenter --net=/run/netns/%s busybox httpd -p %d -h \"$dir/own/www\"\n", l.Node, o.Port)
		}
	}
	return s.String()
}

// greeter is what a web server of the reference answers with.
const greeter = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho \"$HOSTNAME says hello to $REMOTE_ADDR\"\n"

// writeImage writes the root directory of every image: busybox, and a first
// process that ends when it is told to.
func writeImage(file string) error {
	path, err := osexec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w: make test installs busybox-static", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	names, err := osexec.Command(path, "--list").Output()
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	add := func(h tar.Header, data string) {
		h.Size = int64(len(data))
		err = errors.Join(err, w.WriteHeader(&h))
		if err == nil {
			_, err = w.Write([]byte(data))
		}
	}
	for _, dir := range []string{"bin", "etc", "tmp", "proc", "sys", "dev", "www", "www/cgi-bin"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, "")
	}
	add(tar.Header{Name: "bin/busybox", Mode: 0o755}, string(program))
	for _, name := range strings.Fields(string(names)) {
		if name != "busybox" {
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox"}, "")
		}
	}
	add(tar.Header{Name: "bin/main", Mode: 0o755}, "#!/bin/sh\ntrap 'exit 143' TERM\n\"$@\" &\nwait\n")
	add(tar.Header{Name: "www/cgi-bin/index.cgi", Mode: 0o755}, greeter)
	return errors.Join(err, w.Close(), f.Close())
}

// run runs reference.sh with commands on its standard input, and calls each with
// what it tells of one.
func (r *reference) run(t testing.TB, w op.World, commands string, each func(told)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cgroup := fmt.Sprintf("/vethlab-test-%d-%s", os.Getpid(), filepath.Base(t.TempDir())+filepath.Base(filepath.Dir(t.TempDir())))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "world.sh"), []byte(referenceWorld(w)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"image.tar", "root.tar"} {
		if err := os.Link(filepath.Join(r.dir, f), filepath.Join(dir, f)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	script, err := filepath.Abs("testdata/docker/reference.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.CommandContext(ctx, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--uts", "--ipc",
		"bash", script, dir)
	cmd.Stdin = strings.NewReader(commands)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "CGROUP="+cgroup, "SELF="+self, "LOOKS="+dockerLook)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, tells, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.ExtraFiles = []*os.File{tells}
	err = cmd.Start()
	tells.Close()
	if err != nil {
		t.Fatal(err)
	}
	for in := json.NewDecoder(out); ; {
		var x told
		if err := in.Decode(&x); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("the reference: %v", err)
			}
			break
		}
		each(x)
	}
	err = cmd.Wait()
	removeCgroup(t, cgroup)
	if err != nil {
		t.Fatalf("the reference: %v\n%s", err, errs.String())
	}
	if _, err := os.Stat(filepath.Join(r.dir, "root.tar")); err != nil {
		if err := os.Rename(filepath.Join(dir, "root.tar"), filepath.Join(r.dir, "root.tar")); err != nil {
			t.Fatalf("%v\n%s", err, errs.String())
		}
	}
	if errs.Len() > 0 {
		t.Logf("the reference: %s", errs.String())
	}
}

// removeCgroup removes a cgroup of every hierarchy, which nothing is in any more.
func removeCgroup(t testing.TB, name string) {
	t.Helper()
	tops, err := filepath.Glob("/sys/fs/cgroup/*" + name)
	if err != nil {
		t.Fatal(err)
	}
	for _, top := range append(tops, "/sys/fs/cgroup"+name) {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error { // gone is as good
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, d := range slices.Backward(dirs) {
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				err := os.Remove(d)
				if err == nil || errors.Is(err, os.ErrNotExist) {
					break
				}
				if time.Now().After(end) {
					t.Errorf("left behind: %v", err)
					break
				}
			}
		}
	}
}

// play plays lines on the daemon.
func (r *reference) play(t testing.TB, w op.World, lines []lessons.Line) []outcome {
	t.Helper()
	var in strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&in, "%s %s %s\x00", lookAfter(l), l.Node, l.Text)
	}
	var outcomes []outcome
	r.run(t, w, in.String(), func(x told) {
		o := outcome{status: x.Status, stdout: greeting.ReplaceAllString(x.Stdout, "hello to $1"), stderr: x.Stderr,
			took: time.Duration(x.Microseconds) * time.Microsecond}
		if x.Looks != nil {
			p := picture{}
			for _, l := range x.Looks {
				p.take(t, l)
			}
			o.state = p
		}
		outcomes = append(outcomes, o)
	})
	if len(outcomes) != len(lines) {
		t.Fatalf("dockerd did %d of %d lines", len(outcomes), len(lines))
	}
	return outcomes
}
