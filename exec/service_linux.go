package exec

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage" // reads and writes DNS messages; BSD-3
	"golang.org/x/sys/unix"

	"vethlab/exec/sandbox"
	"vethlab/sim/op"
)

// The built-in servers are processes of the node, with real sockets. They play
// `python3 -m http.server` and dnsmasq, so that a lesson needs neither.
const (
	roleHTTP = "http"
	roleDNS  = "dns"

	addrVar  = "VETHLAB_ADDR"
	namesVar = "VETHLAB_NAMES"
)

func (in *inside) serveHTTP(n *node, o op.HTTPServe) (op.Result, error) {
	bind := o.Bind
	if !bind.IsValid() {
		bind = netip.IPv4Unspecified()
	}
	return in.background(n, roleHTTP, strings.Fields(strings.TrimSuffix(o.String(), " &")),
		[]string{addrVar + "=" + netip.AddrPortFrom(bind, uint16(o.Port)).String()})
}

func (in *inside) serveDNS(n *node, o op.DNSServe) (op.Result, error) {
	var names []string
	for name, addr := range o.Names {
		names = append(names, name+"="+addr.String())
	}
	return in.background(n, roleDNS, strings.Fields(strings.TrimSuffix(o.String(), " &")), []string{namesVar + "=" + strings.Join(names, ",")})
}

// ready tells whoever started this process that it listens, or why not.
func ready(err error) {
	w := os.NewFile(sandbox.Control, "ready")
	defer w.Close()
	var errno syscall.Errno
	switch {
	case err == nil:
		fmt.Fprint(w, "ready")
		return
	case errors.As(err, &errno): // in Python's words: the name is Python's
		fmt.Fprintf(w, "OSError: [Errno %d] %s\n", errno, sentence(errno.Error()))
	default:
		fmt.Fprintln(w, err)
	}
	os.Exit(1)
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// named sets the name that ps and pkill see (PR_SET_NAME, prctl(2)).
func named(name string) { _ = os.WriteFile("/proc/self/comm", []byte(name), 0) }

// runHTTP answers every request with one line that names both ends.
func runHTTP() {
	named("python3")
	ln, err := net.Listen("tcp4", os.Getenv(addrVar))
	ready(err)
	port := ln.Addr().(*net.TCPAddr).Port
	node := os.Getenv(nodeVar)
	srv := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from, err := netip.ParseAddrPort(r.RemoteAddr)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			fmt.Fprintf(w, "%s:%d says hello to %s\n", node, port, from.Addr().Unmap())
		}),
	}
	srv.SetKeepAlivesEnabled(false) // a conversation ends with its page
	signal.Ignore(unix.SIGHUP, unix.SIGINT)
	_ = srv.Serve(ln)
}

// runDNS answers for the names it was given, and "no such name" for the rest.
func runDNS() {
	names := map[string]netip.Addr{}
	for _, kv := range strings.Split(os.Getenv(namesVar), ",") {
		name, addr, _ := strings.Cut(kv, "=")
		if a, err := netip.ParseAddr(addr); err == nil {
			names[strings.ToLower(strings.TrimSuffix(name, "."))+"."] = a
		}
	}
	c, err := net.ListenPacket("udp4", "0.0.0.0:"+strconv.Itoa(53))
	ready(err)
	named("dnsmasq")
	signal.Ignore(unix.SIGHUP, unix.SIGINT)
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if b, err := answerDNS(buf[:n], names); err == nil {
			_, _ = c.WriteTo(b, from) // who asked may be gone
		}
	}
}

func answerDNS(query []byte, names map[string]netip.Addr) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil, errors.New("not a query")
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	addr, ok := names[strings.ToLower(q.Name.String())]
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionDesired: h.RecursionDesired},
		Questions: []dnsmessage.Question{q},
	}
	switch {
	case !ok:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: addr.As4()},
		}}
	}
	return m.Pack()
}
