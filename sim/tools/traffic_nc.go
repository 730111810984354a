package tools

import (
	"strconv"
	"strings"
	"time"

	"vethlab/sim"
	"vethlab/sim/op"
)

// nc(1), OpenBSD's in Debian's form (netcat-openbsd 1.219).

const ncUsage = `usage: nc [-46CDdFhklNnrStUuvZz] [-I length] [-i interval] [-M ttl]
	  [-m minttl] [-O length] [-P proxy_username] [-p source_port]
	  [-q seconds] [-s sourceaddr] [-T keyword] [-V rtable] [-W recvlimit]
	  [-w timeout] [-X proxy_protocol] [-x proxy_address[:port]]
	  [destination] [port]`

// netcat is one run of nc.
type netcat struct {
	*call
	p      *sim.Process
	listen bool          // -l
	keep   bool          // -k
	udp    bool          // -u
	scan   bool          // -z
	verb   bool          // -v
	nums   bool          // -n
	shut   bool          // -N: tell the other side when the input has ended
	quit   time.Duration // -q: go so long after the input's end; negative: never
	wait   time.Duration // -w; 0: for ever
	source sim.IP        // -s
	sport  uint16        // -p
	ttl    uint8         // -M
	input  string
	host   string
	ip     sim.IP
	ports  []uint16

	s      *sim.Socket // the conversation
	l      *sim.Socket // what it listens with
	idle   *sim.Timer
	status int
}

func runNC(c *call) op.Result {
	nc := &netcat{call: c, quit: -1, input: c.stdin}
	c.argv[0] = "nc"
	opts, operands, wrong := getopt(c.argv, "lkuzvnN4dhrCDtFSZU6", "wqpsiIMmOPTVWXx")
	if wrong != "" {
		fail(1, "%s\n%s", wrong, ncUsage)
	}
	number := func(s, what string, most int) int {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > most {
			fail(1, "nc: %s invalid: %s", what, s)
		}
		return n
	}
	for _, f := range opts {
		switch f.name {
		case 'l':
			nc.listen = true
		case 'k':
			nc.keep = true
		case 'u':
			nc.udp = true
		case 'z':
			nc.scan = true
		case 'v':
			nc.verb = true
		case 'n':
			nc.nums = true
		case 'N':
			nc.shut = true
		case '4':
		case 'd':
			nc.input = ""
		case 'w':
			nc.wait = time.Duration(number(f.value, "timeout", 1<<31/1000)) * time.Second
		case 'q':
			n, err := strconv.Atoi(f.value)
			if err != nil {
				fail(1, "nc: quit timer invalid: %s", f.value)
			}
			nc.quit = time.Duration(n) * time.Second
		case 'p':
			nc.sport = nc.port(f.value)
		case 's':
			ip, ok := address(f.value)
			if !ok {
				notSimulated("nc -s %s", f.value)
			}
			nc.source = ip
		case 'M':
			nc.ttl = uint8(number(f.value, "ttl", 255))
		default:
			notSimulated("nc -%c", f.name)
		}
	}
	nc.operands(operands)
	c.resolver()
	interrupted := c.process(nc.start)
	return c.ended(c.out.String(), c.err.String(), nc.status, interrupted)
}

// operands reads the destination and the ports.
func (nc *netcat) operands(words []string) {
	switch {
	case len(words) == 0 && !nc.listen:
		fail(1, "%s", ncUsage)
	case nc.listen && nc.source != 0:
		fail(1, "%s", ncUsage)
	case nc.listen && len(words) == 0 && nc.sport != 0:
		nc.ports = []uint16{nc.sport}
		return
	case len(words) == 0, len(words) == 1 && !nc.listen:
		fail(1, "nc: missing port number")
	case len(words) > 2:
		fail(1, "%s", ncUsage)
	}
	text := words[len(words)-1]
	if len(words) == 2 {
		nc.host = words[0]
	}
	if lo, hi, ok := strings.Cut(text, "-"); ok && !nc.listen {
		a, b := nc.port(lo), nc.port(hi)
		for p := int(min(a, b)); p <= int(max(a, b)); p++ {
			nc.ports = append(nc.ports, uint16(p))
		}
		return
	}
	nc.ports = []uint16{nc.port(text)}
}

func (nc *netcat) proto() string { return orElse(nc.udp, "udp", "tcp") }

func (nc *netcat) port(s string) uint16 {
	if p, ok := servicePort(s, nc.proto()); ok {
		return p
	}
	n, err := strconv.Atoi(s)
	switch {
	case err != nil:
		fail(1, "nc: port number invalid: %s", s)
	case n < 1:
		fail(1, "nc: port number too small: %s", s)
	case n > 65535:
		fail(1, "nc: port number too large: %s", s)
	}
	return uint16(n)
}

// start begins: it finds out who the host is.
func (nc *netcat) start(n *sim.Netns) *sim.Process {
	nc.p = n.Start(nc.argv...)
	if ip, ok := address(nc.host); ok || nc.host == "" {
		nc.ip = ip
		nc.begin()
		return nc.p
	}
	if nc.nums {
		nc.unknown("Name or service not known")
		return nc.p
	}
	nc.p.Lookup(nc.host, func(ip sim.IP, errno int) {
		if errno != 0 {
			nc.unknown(gaiText(errno))
			return
		}
		nc.ip = ip
		nc.begin()
	})
	return nc.p
}

func (nc *netcat) unknown(why string) {
	nc.warn("nc: getaddrinfo for host \"%s\" port %d: %s", nc.host, nc.ports[0], why)
	nc.exit(1)
}

func (nc *netcat) exit(status int) {
	nc.status = status
	nc.p.Exit()
}

func (nc *netcat) begin() {
	if nc.listen {
		nc.serve()
		return
	}
	nc.status = 1
	nc.next()
}

func (nc *netcat) socket() *sim.Socket {
	if nc.udp {
		return nc.p.UDP()
	}
	return nc.p.TCP()
}

// next tries the next port.
func (nc *netcat) next() {
	if len(nc.ports) == 0 {
		nc.p.Exit()
		return
	}
	port := nc.ports[0]
	nc.ports = nc.ports[1:]
	s := nc.socket()
	nc.s = s
	s.TTL = nc.ttl
	if nc.source != 0 || nc.sport != 0 {
		if errno := s.Bind(nc.source, nc.sport); errno != 0 {
			nc.warn("nc: bind failed: %s", op.Strerror(errno))
			nc.exit(1)
			return
		}
	}
	failed := func(errno int) {
		if nc.verb {
			nc.warn("nc: connect to %s port %d (%s) failed: %s", nc.host, port, nc.proto(), op.Strerror(errno))
		}
		s.Close()
		nc.next()
	}
	if nc.udp {
		if errno := s.Connect(nc.ip, port); errno != 0 {
			failed(errno)
			return
		}
		if nc.verb {
			nc.probe(port)
		} else {
			nc.connected(port)
		}
		return
	}
	var late *sim.Timer
	s.Wake = func() {
		late.Stop()
		if errno := s.SoError(); errno != 0 {
			failed(errno)
		} else if s.Established() {
			nc.connected(port)
		}
	}
	if errno := s.Connect(nc.ip, port); errno != 0 {
		failed(errno)
		return
	}
	if nc.wait > 0 {
		late = nc.p.After(nc.wait, func() {
			if nc.verb {
				nc.warn("nc: connect to %s port %d (tcp) timed out: Operation now in progress", nc.host, port)
			}
			s.Close()
			nc.next()
		})
	}
}

// probe asks by datagrams whether a port is closed: two at once, and one each
// second for three (udptest).
func (nc *netcat) probe(port uint16) {
	s := nc.s
	gone := func() {
		s.Close()
		nc.next()
	}
	if s.SendTo(0, 0, []byte("X")) != 0 {
		gone()
		return
	}
	left := 1 + 3
	if nc.wait > 0 {
		left = 1 + int(nc.wait/time.Second)
	}
	var again func()
	again = func() {
		if s.SendTo(0, 0, []byte("X")) == econnrefused {
			gone()
			return
		}
		if left--; left > 0 {
			nc.p.After(time.Second, again)
			return
		}
		nc.connected(port)
	}
	nc.p.After(time.Millisecond, again)
}

const econnrefused = 111

// connected goes on with an open conversation.
func (nc *netcat) connected(port uint16) {
	nc.status = 0
	if nc.verb {
		name := "*"
		if !nc.nums {
			if s := serviceName(port, nc.proto()); s != "" {
				name = s
			}
		}
		at := ""
		if ip := nc.ip.String(); !nc.nums && ip != nc.host {
			at = " (" + ip + ")"
		}
		nc.warn("Connection to %s%s %d port [%s/%s] succeeded!", nc.host, at, port, nc.proto(), name)
	}
	if nc.scan {
		nc.s.Close()
		nc.p.After(0, nc.next)
		return
	}
	nc.talk(func() { nc.s.Close(); nc.next() })
}

// serve waits for somebody.
func (nc *netcat) serve() {
	l := nc.socket()
	nc.l = l
	l.ReusePort = true
	if errno := l.Bind(nc.ip, nc.ports[0]); errno != 0 {
		nc.warn("nc: %s", op.Strerror(errno))
		nc.exit(1)
		return
	}
	if nc.udp {
		nc.report("Listening", nc.ip, nc.ports[0])
		nc.serveUDP()
		return
	}
	l.Listen(1)
	nc.report("Listening", nc.ip, nc.ports[0])
	nc.accept()
}

// report is what -v says of an address; without -n its name is looked up first.
func (nc *netcat) report(what string, ip sim.IP, port uint16) {
	if !nc.verb {
		return
	}
	if !nc.nums {
		nc.p.LookupAddr(ip, func(name string, errno int) {
			if errno != 0 {
				nc.warn("nc: getnameinfo: %s", gaiText(errno))
				return
			}
			nc.said(what, name, port)
		})
		return
	}
	nc.said(what, ip.String(), port)
}

func (nc *netcat) said(what, host string, port uint16) {
	if what == "Listening" {
		nc.warn("Listening on %s %d", host, port)
		return
	}
	nc.warn("Connection received on %s %d", host, port)
}

// accept takes the next connection.
func (nc *netcat) accept() {
	take := func() {
		c := nc.l.Accept()
		if c == nil {
			return
		}
		nc.l.Wake = nil
		ip, port := c.Remote()
		nc.report("Connection received", ip, port)
		nc.s = c
		nc.talk(func() {
			c.Close()
			if nc.keep {
				nc.accept()
				return
			}
			nc.exit(0)
		})
	}
	nc.l.Wake = take
	take()
}

// serveUDP talks with whoever sends the first datagram; with -k, everybody's
// are printed.
func (nc *netcat) serveUDP() {
	l := nc.l
	l.Wake = func() {
		d, ok := l.Recv()
		if !ok {
			return
		}
		nc.report("Connection received", d.Src, d.SrcPort)
		nc.print(d.Payload)
		if nc.keep {
			return
		}
		l.Connect(d.Src, d.SrcPort)
		nc.s = l
		nc.talk(func() { nc.exit(0) })
	}
}

// ncOutput bounds what is kept of what it prints, in bytes.
const ncOutput = 1 << 20

func (nc *netcat) print(b []byte) {
	if nc.out.Len() < ncOutput {
		nc.out.Write(b)
	}
}

// talk sends the input and prints what comes, until the other side has ended
// (readwrite).
func (nc *netcat) talk(done func()) {
	s := nc.s
	over := false
	end := func() {
		if !over {
			over = true
			nc.idle.Stop()
			s.Wake = nil
			done()
		}
	}
	rest := func() {
		nc.idle.Stop()
		if nc.wait > 0 {
			nc.idle = nc.p.After(nc.wait, end)
		}
	}
	s.Wake = func() {
		if nc.udp {
			for d, ok := s.Recv(); ok; d, ok = s.Recv() {
				nc.print(d.Payload)
				rest()
			}
			if s.Err() != 0 {
				end()
			}
			return
		}
		data, closed := s.Read()
		if len(data) > 0 {
			nc.print(data)
			rest()
		}
		if closed || s.Err() != 0 {
			end()
		}
	}
	rest()
	nc.write(s, end)
	if !over && s.Wake != nil {
		s.Wake()
	}
}

// write sends the input; then the input has ended.
func (nc *netcat) write(s *sim.Socket, end func()) {
	const most = 16384 // BUFSIZE: what one read of the input gives
	for at := 0; at < len(nc.input); at += most {
		piece := []byte(nc.input[at:min(at+most, len(nc.input))])
		if nc.udp {
			s.SendTo(0, 0, piece)
		} else {
			s.Write(piece)
		}
	}
	nc.input = ""
	if nc.shut && !nc.udp {
		nc.p.After(0, s.CloseWrite) // when what was written has gone out
	}
	if nc.quit >= 0 {
		nc.p.After(nc.quit, end)
	}
}
