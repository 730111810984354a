package exec

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
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

	hostsDirVar = "VETHLAB_HOSTSDIR"
	forwardVar  = "VETHLAB_FORWARD"
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
	var dir string
	if o.HostsDir != "" {
		root, rest := sandbox.MachineFile(n.machine, filepath.Clean(o.HostsDir)+"/")
		dir = filepath.Join(root, rest)
	}
	listen := o.Listen
	if !listen.IsValid() {
		listen = netip.IPv4Unspecified()
	}
	var forward []string
	for _, a := range o.Forward {
		forward = append(forward, a.String())
	}
	return in.background(n, roleDNS, strings.Fields(strings.TrimSuffix(o.String(), " &")), []string{namesVar + "=" + strings.Join(names, ","),
		addrVar + "=" + netip.AddrPortFrom(listen, uint16(cmp.Or(o.Port, 53))).String(), hostsDirVar + "=" + dir, forwardVar + "=" + strings.Join(forward, ",")})
}

// ready tells whoever started this process that it listens, or why not.
func ready(err error) {
	w := os.NewFile(sandbox.Control, "ready")
	defer w.Close()
	if err == nil {
		fmt.Fprint(w, "ready")
		return
	}
	fmt.Fprint(w, refusal(err))
	os.Exit(1)
}

// refusal is what a server says of an error.
func refusal(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) { // in Python's words: the name is Python's
		return fmt.Sprintf("OSError: [Errno %d] %s\n", errno, sentence(errno.Error()))
	}
	return err.Error() + "\n"
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

// runDNS answers for the names it was given, or asks others; if there are none,
// it says "no such name" for the rest.
func runDNS() {
	d := nameServer{names: map[string]netip.Addr{}, dir: os.Getenv(hostsDirVar), forward: strings.FieldsFunc(os.Getenv(forwardVar), func(r rune) bool { return r == ',' })}
	for _, kv := range strings.Split(os.Getenv(namesVar), ",") {
		name, addr, _ := strings.Cut(kv, "=")
		if a, err := netip.ParseAddr(addr); err == nil {
			d.names[strings.ToLower(strings.TrimSuffix(name, "."))+"."] = a
		}
	}
	listen := os.Getenv(addrVar)
	c, err := net.ListenPacket("udp4", listen)
	if err == nil && !strings.HasPrefix(listen, "0.0.0.0:") {
		var ln net.Listener
		if ln, err = net.Listen("tcp4", listen); err == nil {
			go d.serveTCP(ln)
		}
	}
	ready(err)
	named("dnsmasq")
	signal.Ignore(unix.SIGHUP, unix.SIGINT)
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		query := slices.Clone(buf[:n])
		answer := func() {
			if b := d.answer(query); b != nil {
				_, _ = c.WriteTo(b, from) // who asked may be gone
			}
		}
		if len(d.forward) > 0 {
			go answer() // it may take a while
		} else {
			answer()
		}
	}
}

// nameServer is a built-in name server.
type nameServer struct {
	names   map[string]netip.Addr // with the dot at the end
	dir     string                // whose files are read for every question
	forward []string
}

// answer answers a question, nil if there is nothing to say.
func (d *nameServer) answer(query []byte) []byte {
	names, hosts := d.names, map[netip.Addr]string{}
	if d.dir != "" {
		names = maps.Clone(names)
		files, _ := os.ReadDir(d.dir) // none is as good as an empty one
		for _, f := range files {
			text, err := os.ReadFile(filepath.Join(d.dir, f.Name()))
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(text)) {
				w := strings.Fields(line)
				if len(w) < 2 {
					continue
				}
				if a, err := netip.ParseAddr(w[0]); err == nil {
					if hosts[a] == "" {
						hosts[a] = w[1] + "."
					}
					for _, name := range w[1:] {
						names[strings.ToLower(name)+"."] = a
					}
				}
			}
		}
	}
	b, known, err := answerDNS(query, names, hosts)
	if err != nil {
		return nil
	}
	if known {
		return b
	}
	for _, server := range d.forward {
		c, err := net.DialTimeout("udp4", net.JoinHostPort(server, "53"), time.Second)
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(4 * time.Second)) // libnetwork, extIOTimeout
		reply := make([]byte, 1500)
		k := 0
		if _, err = c.Write(query); err == nil {
			k, err = c.Read(reply)
		}
		c.Close()
		if err == nil {
			return reply[:k]
		}
	}
	if len(d.forward) > 0 {
		return nil
	}
	return b
}

// serveTCP answers questions that come with their length before them (RFC 1035,
// 4.2.2).
func (d *nameServer) serveTCP(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			size := make([]byte, 2)
			for {
				if _, err := io.ReadFull(c, size); err != nil {
					return
				}
				q := make([]byte, int(size[0])<<8|int(size[1]))
				if _, err := io.ReadFull(c, q); err != nil {
					return
				}
				b := d.answer(q)
				if b == nil {
					return
				}
				_, _ = c.Write(append([]byte{byte(len(b) >> 8), byte(len(b))}, b...))
			}
		}()
	}
}

// arpaAddr is the address that a name under in-addr.arpa stands for, zero for
// any other.
func arpaAddr(name string) netip.Addr {
	text, ok := strings.CutSuffix(name, ".in-addr.arpa.")
	if !ok {
		return netip.Addr{}
	}
	bytes := strings.Split(text, ".")
	slices.Reverse(bytes)
	a, _ := netip.ParseAddr(strings.Join(bytes, ".")) // zero when it is none
	return a
}

// answerDNS makes an answer, and says whether the name is known: to whom names
// lead, or what an address is called (RFC 1035, 3.5).
func answerDNS(query []byte, names map[string]netip.Addr, hosts map[netip.Addr]string) (b []byte, ok bool, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil, false, errors.New("not a query")
	}
	q, err := p.Question()
	if err != nil {
		return nil, false, err
	}
	name := strings.ToLower(q.Name.String())
	addr, ok := names[name]
	host := hosts[arpaAddr(name)]
	ok = ok || host != ""
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionDesired: h.RecursionDesired},
		Questions: []dnsmessage.Question{q},
	}
	switch {
	case !ok:
		m.RCode = dnsmessage.RCodeNameError
	case host != "" && q.Type == dnsmessage.TypePTR:
		called, err := dnsmessage.NewName(host)
		if err != nil {
			return nil, false, err
		}
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.PTRResource{PTR: called},
		}}
	case host == "" && q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: addr.As4()},
		}}
	}
	b, err = m.Pack()
	return b, ok, err
}
