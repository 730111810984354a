package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	osexec "os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vethlab/assets"
	"vethlab/lessons"
	"vethlab/web"
)

// serveCommand is `vethlab serve`: 0 when it was told to stop, 1 when it could
// not serve, 2 for a wrong flag.
func serveCommand(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	return serve(ctx, args, os.Stdout, os.Stderr)
}

func serve(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("vethlab serve", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	listen := flags.String("listen", "127.0.0.1:8642", "`ADDRESS:PORT` to serve on")
	backend := flags.String("backend", "auto", "where labs run: kernel, sim (a model of Linux networking, which shows what it says as `simulated`), or auto: the kernel where it works, else sim")
	open := flags.Bool("open", false, "open the page in a browser (xdg-open)")
	maxLabs := flags.Int("max-labs", 32, "labs at once; each takes about 3 MiB")
	idle := flags.Duration("idle", 30*time.Minute, "close a lab when no page has been open on it for this `time`; the page brings it back")
	var hosts []string
	flags.Func("host", "answer to this `NAME` too, beside localhost and the address listened on; may be repeated", func(name string) error {
		if name == "" || strings.ContainsAny(name, "/@ ") {
			return errors.New("want a name as it stands in the browser's address bar, without http://")
		}
		hosts = append(hosts, name)
		return nil
	})
	fail := func(status int, format string, args ...any) int {
		fmt.Fprintf(stderr, "vethlab serve: "+format+"\n", args...)
		return status
	}
	switch err := flags.Parse(args); {
	case err == flag.ErrHelp:
		fmt.Fprint(stdout, "usage: vethlab serve [flags]\n\nServes the lessons to a browser. Each browser gets a lab of its own; root is not needed.\n\n")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	case err != nil:
		return fail(2, "%v; see vethlab serve --help", err)
	case flags.NArg() > 0:
		return fail(2, "unexpected argument %q; see vethlab serve --help", flags.Arg(0))
	case *maxLabs < 1 || *idle <= 0:
		return fail(2, "--max-labs and --idle must be more than 0")
	}
	if wrong := wrongBackend(*backend, onAuto, onSim, onKernel); wrong != "" {
		return fail(2, "%s", wrong)
	}

	all, err := lessons.List()
	if err != nil {
		return fail(1, "%v", err)
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return fail(1, "%s", listenError(*listen, err))
	}
	defer ln.Close()
	srv, err := web.New(web.Config{
		Lessons: all, Assets: assets.FS, Version: versionText(),
		Listen: *listen, Hosts: hosts, MaxLabs: *maxLabs, Idle: *idle,
		Logf: log.New(stderr, "vethlab: ", log.LstdFlags).Printf,
	})
	if err != nil {
		return fail(1, "%v", err)
	}
	defer srv.Close()

	kernel := web.Backend{Name: onKernel, Open: ours.kernel, Model: ours.model}
	simulated := web.Backend{Name: onSim, Open: ours.sim}
	// Whether labs can run here: waited for only when nothing else will do.
	switch *backend {
	case onSim:
		srv.Use(simulated)
	case onKernel:
		if reason, fix := probe(ctx); reason != "" && ctx.Err() == nil {
			return fail(1, "the kernel backend cannot run here: %s\n  mend: %s\n  more: vethlab doctor\n--backend sim needs none of that.", reason, fix)
		}
		srv.Use(kernel)
	default:
		go func() {
			reason, fix := probe(ctx)
			if ctx.Err() != nil {
				return
			}
			if reason == "" {
				srv.Use(kernel)
				return
			}
			simulated.Reason, simulated.Fix = reason, fix
			srv.Use(simulated)
			fmt.Fprintf(stderr, "The kernel backend cannot run here, so the labs are simulated: the page shows what vethlab's model says, and says so.\n  why:  %s\n  mend: %s\n  more: vethlab doctor\n", reason, fix)
		}()
	}

	address := "http://" + browserHost(ln.Addr()) + "/"
	fmt.Fprintf(stdout, "vethlab is at %s\nCtrl-C stops it; every lab goes with it.\n", address)
	if note := exposure(ln.Addr(), hosts); note != "" {
		fmt.Fprintln(stderr, note)
	}

	hs := &http.Server{Handler: srv, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	failed := make(chan error, 1)
	go func() { failed <- hs.Serve(ln) }()
	if *open {
		browser := osexec.Command("xdg-open", address)
		go func() {
			if err := browser.Run(); err != nil && ctx.Err() == nil {
				fmt.Fprintf(stderr, "The browser could not be opened (xdg-open: %v): open %s yourself.\n", err, address)
			}
		}()
	}

	status := 0
	select {
	case <-ctx.Done():
	case err := <-failed:
		status = fail(1, "%v", err)
	}
	srv.Close() // labs and WebSockets, which Shutdown does not know of
	bye, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	hs.Shutdown(bye)
	return status
}

// probe opens a lab to see whether this machine can; if not, it has the doctor
// say why.
func probe(ctx context.Context) (reason, fix string) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	w, err := lessons.LoadWorld("docker-host")
	if err == nil {
		var lab lessons.Backend
		if lab, err = ours.kernel(ctx, w); err == nil {
			lab.Close()
			return "", ""
		}
	}
	return ours.why(ctx, err)
}

// listenError says what to do about an address that cannot be listened on.
func listenError(listen string, err error) string {
	host, port, _ := net.SplitHostPort(listen)
	n, _ := strconv.Atoi(port)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		other := n + 1
		if other > 65535 {
			other = 8642
		}
		return fmt.Sprintf("port %s is in use, perhaps by another vethlab. Choose another: vethlab serve --listen %s",
			port, net.JoinHostPort(host, strconv.Itoa(other)))
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("port %s needs root. Choose one from 1024 up: vethlab serve --listen %s", port, net.JoinHostPort(host, "8642"))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("%s is not an address of this machine. Choose one that is: vethlab serve --listen 127.0.0.1:%s", host, port)
	}
	return fmt.Sprintf("cannot listen on %q: %v. Want ADDRESS:PORT, as in --listen 127.0.0.1:8642", listen, err)
}

// browserHost is the address to type: the listener's, or loopback when it
// listens on every address.
func browserHost(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	if ap.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port()).String()
	}
	return ap.String()
}

// exposure says what it means to listen where others can reach.
func exposure(a net.Addr, hosts []string) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil || ap.Addr().Unmap().IsLoopback() {
		return ""
	}
	note := fmt.Sprintf("Listening on %s: whoever can reach this address gets a lab, in a sandbox on this machine. The connection is not encrypted.", ap)
	if len(hosts) == 0 {
		note += "\nBrowsers must use the address itself; to let them use a name, add --host NAME."
	}
	return note
}
