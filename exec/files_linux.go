package exec

import (
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"vethlab/exec/sandbox"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// fileTool does what a tool does with a file of a machine, where that needs no
// process: cat FILE, mkdir -p DIRECTORY. It reports whether it did; what is out
// of the ordinary, and what fails, is left to the tool and its words.
func fileTool(n *node, o op.Tool) (op.Result, bool) {
	if n.kind != state.Machine || o.Background || len(o.Argv) < 2 {
		return op.Result{}, false
	}
	name := o.Argv[len(o.Argv)-1]
	if !filepath.IsAbs(name) || filepath.Clean(name) != name {
		return op.Result{}, false
	}
	dir, rest := sandbox.MachineFile(n.machine, name)
	switch {
	case rest == "":
	case o.Argv[0] == "cat" && len(o.Argv) == 2:
		text, err := readPlain(dir, rest)
		return op.Result{Output: text}, err == nil
	case o.Argv[0] == "mkdir" && len(o.Argv) == 3 && o.Argv[1] == "-p":
		root, err := os.OpenRoot(dir)
		if err != nil {
			break
		}
		defer root.Close()
		return op.Result{}, root.MkdirAll(rest, 0o755) == nil
	}
	return op.Result{}, false
}

// readPlain reads a small file beneath a directory: by no symbolic link and in
// no other mount, or it might be one of /proc that says of this process what no
// tool may know.
func readPlain(dir, name string) (string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	defer d.Close()
	fd, err := unix.Openat2(int(d.Fd()), name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV})
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > outputLimit/2) {
		err = unix.EINVAL
	}
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, outputLimit))
	return string(b), err
}
