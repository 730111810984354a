package lessons

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mvdan.cc/sh/v3/interp"

	"vethlab/sim/cmdline"
	"vethlab/sim/op"
)

// job is a command in the background.
type job struct {
	num    int
	text   string
	serves string // the process of a server, which outlives its command: python3, dnsmasq
	cancel context.CancelFunc
	done   chan struct{}

	// Set once done is closed.
	err            error
	stdout, stderr string
	ops            []Executed
}

// background starts a command and lets the line go on. A server's operation
// returns as soon as it listens, so that the next command finds it there;
// other commands run at their own pace.
func (n *nodeShell) background(ctx context.Context, hc interp.HandlerContext, args []string) error {
	j := &job{text: quoteArgs(args), done: make(chan struct{})}
	cmd, _ := cmdline.Parse(args)
	switch o := cmd.Op.(type) {
	case op.HTTPServe, op.DNSServe:
		j.serves = cmd.Tool
	case op.Spawn:
		j.serves = o.Argv[0]
	case op.Tool:
		if path.Base(o.Argv[0]) == "dockerd" {
			j.serves = "dockerd"
		}
	}
	if j.serves != "" {
		n.number(j)
		close(j.done)
		err := n.command(ctx, hc, args)
		if err != nil {
			n.drop(j)
		}
		return err
	}
	running := 0
	for _, k := range n.running() {
		if k.serves == "" {
			running++
		}
	}
	if running >= maxJobs {
		fmt.Fprintf(hc.Stderr, "bash: %d commands are in the background already; wait for them\n", running)
		return exitStatus(1)
	}
	var files []*fileWriter
	for _, w := range []io.Writer{hc.Stdout, hc.Stderr} {
		if f, ok := w.(*fileWriter); ok && !slices.Contains(files, f) {
			f.kept = make(chan struct{})
			files = append(files, f)
		}
	}
	n.number(j)
	p := n.prepare(hc, args, true) // now: the shell goes on and changes its variables
	toOut, toErr := hc.Stdout, hc.Stderr
	jctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // keeps the handlers' values, not the line's end
	stop := context.AfterFunc(n.s.ctx, cancel)
	j.cancel = cancel
	started := make(chan struct{})
	if t, ok := p.op.(op.Tool); ok {
		t.Started = sync.OnceFunc(func() { close(started) })
		p.op = t
	}
	go func() {
		defer close(j.done)
		defer stop()
		defer cancel()
		defer func() {
			if p := recover(); p != nil { // it must not end a program that serves other labs
				j.stderr = fmt.Sprintf("vethlab: this shell cannot do that (%.200s)\n", fmt.Sprint(p))
			}
		}()
		done := func(e Executed) { j.ops = append(j.ops, e) }
		r, err := n.apply(jctx, p, done)
		var stdout, stderr strings.Builder
		io.WriteString(elsewhere(toOut, &stdout), r.Output)
		io.WriteString(elsewhere(toErr, &stderr), r.Stderr)
		for _, f := range files {
			<-f.kept
			if werr := f.finish(jctx, &stderr, done); werr != nil && !errors.Is(werr, errNotWritten) && err == nil {
				err = werr
			}
		}
		if jctx.Err() != nil && n.s.ctx.Err() == nil {
			err = nil // somebody killed it
		}
		j.err, j.stdout, j.stderr = err, stdout.String(), stderr.String()
	}()
	select { // the next command finds it under way, if that can be told soon
	case <-started:
	case <-j.done:
	case <-time.After(startTime):
	}
	return nil
}

// startTime is how long a line waits for a command in the background to begin,
// where the lab does not tell when it has.
const startTime = 200 * time.Millisecond

// group runs commands in the background, in a copy of the shell. The line ends
// when they do.
func (n *nodeShell) group(ctx context.Context, hc interp.HandlerContext, text string) error {
	l := lineOf(ctx)
	l.mu.Lock()
	l.group++
	many := l.group > maxJobs
	l.mu.Unlock()
	if many {
		return l.stop("a line may put %d groups in the background; this one wants more", maxJobs)
	}
	if strandOf(ctx).group {
		return l.stop("a group in the background may hold no other")
	}
	prog, err := parseProgram(text)
	if err != nil {
		return err
	}
	r := n.runner.Subshell()
	if err := interp.StdIO(nil, hc.Stdout, hc.Stderr)(r); err != nil {
		return err
	}
	ctx = context.WithValue(ctx, strandKey{}, &strand{line: l, group: true})
	run := func() {
		if err := n.interpret(ctx, r, prog); err != nil && !isStatus(err) {
			l.cancel(err)
		}
	}
	if _, ok := hc.Stdout.(writerFunc); !ok { // a pipe or $( ) would wait for the group
		run()
		return nil
	}
	l.groups.Go(run)
	return nil
}

// elsewhere is w where w is a file, and the job's own output otherwise.
func elsewhere(w io.Writer, own *strings.Builder) io.Writer {
	switch w.(type) {
	case *fileWriter, null:
		return w
	}
	return own
}

func (n *nodeShell) number(j *job) {
	n.jobsMu.Lock()
	defer n.jobsMu.Unlock()
	j.num = 1
	if k := len(n.jobs); k > 0 {
		j.num = n.jobs[k-1].num + 1
	}
	n.jobs = append(n.jobs, j)
}

func (n *nodeShell) drop(j *job) {
	n.jobsMu.Lock()
	defer n.jobsMu.Unlock()
	n.jobs = slices.DeleteFunc(n.jobs, func(k *job) bool { return k == j })
}

func (n *nodeShell) running() []*job {
	n.jobsMu.Lock()
	defer n.jobsMu.Unlock()
	return slices.Clone(n.jobs)
}

// reap gives a line what ended in the background until now.
func (n *nodeShell) reap(l *line) {
	for _, j := range n.running() {
		if j.serves != "" {
			continue
		}
		select {
		case <-j.done:
			n.drop(j)
			l.write(&l.stdout, j.stdout)
			l.write(&l.stderr, j.stderr)
			for _, e := range j.ops {
				l.add(e)
			}
		default:
		}
	}
}

// waitJobs is the builtin wait. Servers are not waited for: they never end.
func (n *nodeShell) waitJobs(ctx context.Context) error {
	if st := strandOf(ctx); !st.group {
		st.line.groups.Wait()
	}
	for _, j := range n.running() {
		select {
		case <-j.done:
			if j.err != nil {
				return j.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	n.reap(lineOf(ctx))
	return nil
}

func (n *nodeShell) listJobs(w io.Writer) {
	for _, j := range n.running() {
		state := "Running"
		select {
		case <-j.done:
			if j.serves == "" {
				state = "Done"
			}
		default:
		}
		fmt.Fprintf(w, "[%d]  %-24s%s &\n", j.num, state, j.text)
	}
}

// kill ends jobs (%1, %%, %name); numbers are processes, and the node's own
// kill's business.
func (n *nodeShell) kill(ctx context.Context, hc interp.HandlerContext, args []string) error {
	if !slices.ContainsFunc(args[1:], func(a string) bool { return strings.HasPrefix(a, "%") }) {
		return n.command(ctx, hc, args)
	}
	status := 0
	for _, a := range args[1:] {
		if strings.HasPrefix(a, "-") {
			continue
		}
		j := n.find(a)
		if j == nil {
			fmt.Fprintf(hc.Stderr, "bash: kill: %s: no such job\n", a)
			status = 1
			continue
		}
		if j.serves == "" {
			j.cancel()
			<-j.done
			n.reap(lineOf(ctx))
			continue
		}
		n.drop(j)
		if err := n.command(ctx, hc, []string{"pkill", j.serves}); err != nil {
			return err
		}
	}
	return exitStatus(status)
}

func (n *nodeShell) find(spec string) *job {
	jobs := n.running()
	name := strings.TrimPrefix(spec, "%")
	for _, j := range slices.Backward(jobs) {
		switch num, err := strconv.Atoi(name); {
		case name == "" || name == "%" || name == "+":
			return j
		case err == nil && num == j.num:
			return j
		case err != nil && strings.HasPrefix(j.text, name):
			return j
		}
	}
	return nil
}
