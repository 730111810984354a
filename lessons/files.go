package lessons

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"mvdan.cc/sh/v3/interp"

	"vethlab/sim/cmdline"
	"vethlab/sim/op"
)

// The shell's files are the node's. Each handler that interp would have go to
// this process's own file system asks a tool in the node instead.

// open serves redirections. Reading runs cat; writing gathers what is written
// and hands it over when the file is closed.
func (n *nodeShell) open(ctx context.Context, name string, flag int, _ os.FileMode) (io.ReadWriteCloser, error) {
	hc := interp.HandlerCtx(ctx)
	st := strandOf(ctx)
	switch {
	case name == pipeFile && flag&os.O_WRONLY != 0:
		return &pipeWriter{strand: st}, nil
	case name == pipeFile:
		text := st.piped
		st.piped = ""
		return reader{strings.NewReader(text)}, nil
	case name == substFile:
		return substitution{hc.Stdout, st.line}, nil
	}
	full := name
	if !path.IsAbs(full) {
		full = path.Join(hc.Dir, full)
	}
	full = path.Clean(full)
	fail := func(text string) error { // interp prints "bash: NAME: TEXT"
		return &os.PathError{Op: "bash:", Path: name, Err: errors.New(text)}
	}
	if name == "" {
		return nil, fail("No such file or directory")
	}
	switch {
	case full == devNull:
		return null{}, nil
	case full == "/dev/stdout" || full == "/dev/fd/1":
		return stream{hc.Stdout}, nil
	case full == "/dev/stderr" || full == "/dev/fd/2":
		return stream{hc.Stderr}, nil
	case strings.HasPrefix(full, "/dev/tcp/") || strings.HasPrefix(full, "/dev/udp/"):
		return nil, fail("not available here; use bash -c '…'")
	}
	if flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		r, err := n.look(ctx, "cat", "--", full)
		if err != nil {
			return nil, err
		}
		if r.Status != 0 {
			return nil, fail(lastWords(r))
		}
		return reader{strings.NewReader(r.Output)}, nil
	}
	return &fileWriter{n: n, ctx: ctx, strand: st, stderr: hc.Stderr, name: name, full: full, append: flag&os.O_APPEND != 0}, nil
}

// lastWords is the reason a tool gave: what follows the last colon.
func lastWords(r op.Result) string {
	text := strings.TrimSpace(r.Stderr)
	if text == "" && r.Failure != nil {
		return "not available here: " + r.Failure.Error()
	}
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

// fileWriter is a file of the node's, or a setting of its kernel, being written.
type fileWriter struct {
	n      *nodeShell
	ctx    context.Context
	strand *strand
	stderr io.Writer
	name   string // as it was typed
	full   string
	append bool

	mu   sync.Mutex
	data bytes.Buffer
	kept chan struct{} // not nil: a command in the background goes on writing; closed by Close
}

func (w *fileWriter) Read([]byte) (int, error) { return 0, io.EOF }

func (w *fileWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.data.Len()+len(p) > maxOutput {
		return 0, errors.New("more than 1 MiB")
	}
	return w.data.Write(p)
}

func (w *fileWriter) Close() error {
	if w.kept != nil {
		close(w.kept)
		return nil
	}
	w.strand.writing = w.finish(w.ctx, w.stderr, w.strand.line.add)
	return w.strand.writing
}

var errNotWritten = errors.New("not written")

// finish takes what was written to the node.
func (w *fileWriter) finish(ctx context.Context, stderr io.Writer, done func(Executed)) error {
	data := w.data.String()
	var o op.Op
	redirection := " > "
	if key, ok := strings.CutPrefix(w.full, "/proc/sys/"); ok && cmdline.SysctlKey(key) != "" {
		if data == "" {
			return nil // opening a setting changes nothing
		}
		o = op.SysctlSet{Key: cmdline.SysctlKey(key), Value: strings.TrimSpace(data)}
	} else {
		t := op.Tool{Argv: []string{"dd", "of=" + w.full, "status=none"}, Stdin: data}
		if w.append {
			redirection = " >> "
			t.Argv = append(t.Argv, "oflag=append", "conv=notrunc")
		}
		o = t
	}
	r, err := w.n.s.b.Apply(ctx, w.n.name, o)
	if err != nil {
		return err
	}
	r.Output = ""
	if set, ok := o.(op.SysctlSet); ok {
		if r.Failure != nil || r.Status != 0 {
			r.Stderr, r.Status = sysctlWriteError(w.name, set, r.Failure), 1
		}
	} else if r.Status != 0 || r.Failure != nil {
		r.Stderr, r.Status = fmt.Sprintf("bash: %s: %s\n", w.name, lastWords(r)), 1
	}
	text := strings.TrimSpace(data)
	if len(text) > 60 || strings.Contains(text, "\n") {
		text = "…"
	}
	done(Executed{Node: w.n.name, Op: o, Text: "echo " + quoteArgs([]string{text}) + redirection + w.name, Result: r})
	io.WriteString(stderr, r.Stderr)
	if r.Status != 0 {
		return errNotWritten
	}
	return nil
}

// sysctlWriteError: the shell cannot open a setting that is not there, and
// echo cannot write a value the kernel does not take.
func sysctlWriteError(name string, o op.SysctlSet, f *op.Failure) string {
	if f != nil && (f.What == op.NoSysctl || f.Errno == 2) {
		return "bash: " + name + ": No such file or directory\n"
	}
	c := cmdline.Command{Tool: "sysctl", Op: o}
	said := c.Finish(op.Result{Status: 1, Failure: f}).Stderr
	if f == nil {
		return "bash: " + name + ": the write failed\n"
	}
	i := strings.LastIndex(said, ": ")
	return "bash: echo: write error" + said[max(i, 0):]
}

// pipeWriter is the writing end of a pipe. Its other end is opened when it is closed.
type pipeWriter struct {
	strand *strand
	data   bytes.Buffer
}

func (w *pipeWriter) Read([]byte) (int, error) { return 0, io.EOF }

// Write drops what is more than a command reads.
func (w *pipeWriter) Write(p []byte) (int, error) {
	w.data.Write(p[:min(len(p), maxOutput-w.data.Len())])
	return len(p), nil
}

func (w *pipeWriter) Close() error {
	w.strand.piped = w.data.String()
	return nil
}

// substitution is what a command in $( ) prints to: the shell keeps it all.
type substitution struct {
	to   io.Writer
	line *line
}

func (substitution) Read([]byte) (int, error) { return 0, io.EOF }

func (s substitution) Write(p []byte) (int, error) {
	if err := s.line.hold(len(p)); err != nil {
		return 0, err
	}
	return s.to.Write(p)
}

func (substitution) Close() error { return nil }

type null struct{}

func (null) Read([]byte) (int, error)    { return 0, io.EOF }
func (null) Write(p []byte) (int, error) { return len(p), nil }
func (null) Close() error                { return nil }

type stream struct{ io.Writer }

func (stream) Read([]byte) (int, error) { return 0, io.EOF }
func (stream) Close() error             { return nil }

type reader struct{ io.Reader }

//lint:ignore ST1005 these are the shell's own words
func (reader) Write([]byte) (int, error) { return 0, errors.New("Bad file descriptor") }
func (reader) Close() error              { return nil }

// readDir lists a directory for *, ? and [ ].
func (n *nodeShell) readDir(ctx context.Context, dir string) ([]fs.DirEntry, error) {
	if !path.IsAbs(dir) {
		dir = path.Join(interp.HandlerCtx(ctx).Dir, dir)
	}
	r, err := n.look(ctx, "find", "-H", dir, "-mindepth", "1", "-maxdepth", "1", "-printf", `%m %y %s %T@ %f\0`)
	if err != nil {
		return nil, err
	}
	if r.Status != 0 {
		return nil, &os.PathError{Op: "open", Path: dir, Err: fs.ErrNotExist}
	}
	var entries []fs.DirEntry
	for rec := range strings.SplitSeq(strings.TrimSuffix(r.Output, "\x00"), "\x00") {
		f := strings.SplitN(rec, " ", 5)
		if len(f) != 5 {
			continue
		}
		perm, _ := strconv.ParseUint(f[0], 8, 32)
		size, _ := strconv.ParseInt(f[2], 10, 64)
		entries = append(entries, fs.FileInfoToDirEntry(info{f[4], size, fs.FileMode(perm&0o777) | kinds[f[1]], time.Time{}}))
	}
	return entries, nil
}

var kinds = map[string]fs.FileMode{"d": fs.ModeDir, "l": fs.ModeSymlink, "p": fs.ModeNamedPipe, "s": fs.ModeSocket,
	"b": fs.ModeDevice, "c": fs.ModeDevice | fs.ModeCharDevice}

// stat serves cd and test.
func (n *nodeShell) stat(ctx context.Context, name string, follow bool) (fs.FileInfo, error) {
	argv := []string{"stat", "-c", "%f %s %Y", "--", name}
	if follow {
		argv[1] = "-Lc"
	}
	r, err := n.look(ctx, argv...)
	if err != nil {
		return nil, err
	}
	var mode uint32
	var size, mtime int64
	if _, serr := fmt.Sscanf(r.Output, "%x %d %d", &mode, &size, &mtime); r.Status != 0 || serr != nil {
		return nil, &os.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	m := fs.FileMode(mode & 0o777)
	switch mode & 0o170000 { // stat(2): S_IFMT
	case 0o040000:
		m |= fs.ModeDir
	case 0o120000:
		m |= fs.ModeSymlink
	case 0o010000:
		m |= fs.ModeNamedPipe
	case 0o140000:
		m |= fs.ModeSocket
	case 0o060000:
		m |= fs.ModeDevice
	case 0o020000:
		m |= fs.ModeDevice | fs.ModeCharDevice
	}
	return info{path.Base(name), size, m, time.Unix(mtime, 0)}, nil
}

func (n *nodeShell) access(ctx context.Context, name string, mode interp.AccessMode) error {
	for flag, bit := range map[string]interp.AccessMode{"-r": interp.AccessRead, "-w": interp.AccessWrite, "-x": interp.AccessExec} {
		if mode&bit == 0 {
			continue
		}
		r, err := n.look(ctx, "test", flag, name)
		if err != nil {
			return err
		}
		if r.Status != 0 {
			return fs.ErrPermission
		}
	}
	return nil
}

type info struct {
	name  string
	size  int64
	mode  fs.FileMode
	mtime time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.mtime }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
