package tools

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"vethlab/sim"
	"vethlab/sim/op"
)

// traceroute(8), Debian's 2.1.2: UDP to a port that nobody listens on, one port
// for each probe, or echo requests (-I).

// probe is one question, with a time to live of its own.
type probe struct {
	sock  *sim.Socket
	sent  int64 // 0: not yet
	back  int64 // when the answer came; 0: none
	from  sim.IP
	done  bool
	final bool
	err   string
}

// tracer is one run of traceroute.
type tracer struct {
	*call
	p       *sim.Process
	host    string
	dst     sim.IP
	icmp    bool
	fixed   bool // -U: every probe goes to the same port
	numeric bool
	hops    int
	first   int
	perHop  int
	atOnce  int
	wait    time.Duration
	port    int
	size    int // of the whole packet
	tos     uint8
	df      bool
	source  sim.IP
	dev     string

	probes     []probe
	start, end int // the first that is not printed, and where to stop
	ping       *sim.Socket
	timer      *sim.Timer
	sending    bool
	names      map[sim.IP]string
	status     int
}

func runTraceroute(c *call) op.Result {
	t := &tracer{call: c, hops: 30, first: 1, perHop: 3, atOnce: 16, wait: 5 * time.Second, port: 33434, size: 60}
	argv := []string{c.argv[0]}
	long := map[string]string{"--icmp": "-I", "--max-hops": "-m", "--queries": "-q", "--wait": "-w", "--sim-queries": "-N", "--first": "-f",
		"--udp": "-U", "--module": "-M", "--port": "-p", "--source": "-s", "--interface": "-i", "--tos": "-t", "--dont-fragment": "-F"}
	for _, a := range c.argv[1:] {
		if name, value, has := strings.Cut(a, "="); strings.HasPrefix(a, "--") {
			if long[name] == "" {
				notSimulated("traceroute %s", name)
			}
			a = long[name]
			if has {
				a += value
			}
		}
		argv = append(argv, a)
	}
	opts, operands, wrong := getopt(argv, "n4IFU", "mqwNfpsitM")
	if wrong != "" {
		notSimulated("traceroute %s", strings.Join(c.argv[1:], " "))
	}
	named := false // a port
	method := func(name string) {
		t.icmp, t.fixed = name == "icmp", name == "udp"
		if port, ok := map[string]int{"icmp": 1, "udp": 53, "default": 33434}[name]; !ok {
			notSimulated("traceroute -M %s", name)
		} else if !named {
			t.port = port
		}
	}
	for _, f := range opts {
		number := func(lo, hi int, wrong string) int {
			n, err := strconv.Atoi(f.value)
			if err != nil {
				fail(2, "Cannot handle `-%c' option with arg `%s' (argc %d)", f.name, f.value, 1)
			}
			if n < lo || n > hi {
				fail(2, "%s", wrong)
			}
			return n
		}
		switch f.name {
		case 'n':
			t.numeric = true
		case 'I':
			method("icmp")
		case 'U':
			method("udp")
		case 'M':
			method(f.value)
		case 'F':
			t.df = true
		case 'm':
			if t.hops = number(0, 255, "max hops cannot be more than 255"); t.hops == 0 {
				fail(2, "first hop out of range")
			}
		case 'f':
			t.first = number(1, t.hops, "first hop out of range")
		case 'q':
			t.perHop = number(1, 10, "no more than 10 probes per hop")
		case 'N':
			t.atOnce = number(1, 1000, "N must be positive")
		case 'p':
			t.port, named = number(1, 65535, "port out of range"), true
		case 't':
			t.tos = uint8(number(0, 255, "tos out of range"))
		case 'w':
			s, err := strconv.ParseFloat(f.value, 64)
			if err != nil {
				notSimulated("traceroute -w %s", f.value)
			}
			t.wait = time.Duration(s * 1e9)
		case 's':
			ip, ok := address(f.value)
			if !ok {
				notSimulated("traceroute -s %s", f.value)
			}
			t.source = ip
		case 'i':
			t.dev = f.value
		}
	}
	switch len(operands) {
	case 0:
		notSimulated("traceroute's help")
	case 1:
	case 2:
		n, err := strconv.Atoi(operands[1])
		if err != nil || n > 65000 {
			notSimulated("traceroute with the packet length %s", operands[1])
		}
		t.size = max(n, 28)
	default:
		notSimulated("traceroute with so many words")
	}
	t.host = operands[0]
	c.resolver()
	interrupted := c.process(t.begin)
	return c.ended(c.out.String(), c.err.String(), t.status, interrupted)
}

func (t *tracer) begin(n *sim.Netns) *sim.Process {
	t.p = n.Start(t.argv...)
	if ip, ok := address(t.host); ok {
		t.dst = ip
		t.trace()
		return t.p
	}
	t.p.Lookup(t.host, func(ip sim.IP, errno int) {
		if errno != 0 {
			t.warn("%s: %s\nCannot handle \"host\" cmdline arg `%s' on position 1 (argc %d)", t.host, gaiText(errno), t.host, len(t.argv)-1)
			t.status = 2
			t.p.Exit()
			return
		}
		t.dst = ip
		t.trace()
	})
	return t.p
}

func (t *tracer) trace() {
	if t.icmp { // one socket for all, connected before anything is said (mod-icmp.c)
		s, ok := t.socket()
		if !ok {
			return
		}
		if errno := s.Connect(t.dst, 0); errno != 0 {
			t.fatal("connect: " + op.Strerror(errno))
			return
		}
		t.ping = s
	}
	fmt.Fprintf(&t.out, "traceroute to %s (%s), %d hops max, %d byte packets", t.host, t.dst, t.hops, t.size)
	t.probes = make([]probe, t.hops*t.perHop)
	t.start, t.end = t.skipped(), len(t.probes)
	t.p.OnInterrupt(func() { t.print(); t.p.Exit() })
	t.round(t.start, 0, 0)
}

// round looks at the probes from n on: prints those that are done, sends those
// whose turn it is, and then waits (do_it). next is when the oldest expires.
func (t *tracer) round(n, flying int, next int64) {
	t.sending = true
	now := t.p.Now()
	for ; n < t.end && flying < t.atOnce; n++ {
		b := &t.probes[n]
		if n == t.start && !b.done && b.sent != 0 {
			if at := b.sent + int64(t.timeout(n)); now >= at {
				b.done = true
				t.expired(n)
			} else {
				next = at
			}
		}
		if b.done {
			if n == t.start {
				t.start++
			}
			if b.final {
				t.end = (n/t.perHop + 1) * t.perHop
			}
			continue
		}
		flying++
		if b.sent == 0 {
			if !t.send(n) {
				return
			}
			// What it causes happens before the next is sent.
			n, flying, next := n, flying, next
			t.p.After(0, func() { t.round(n+1, flying, next) })
			return
		}
	}
	t.sending = false
	if t.start >= t.end {
		t.finish()
		return
	}
	if next == 0 {
		if b := &t.probes[t.start]; b.sent != 0 && !b.done {
			next = b.sent + int64(t.timeout(t.start))
		}
	}
	t.timer.Stop()
	t.timer = t.p.After(max(0, time.Duration(next-t.p.Now())), t.again)
}

func (t *tracer) again() {
	if !t.sending {
		t.round(t.start, 0, 0)
	}
}

// woken takes answers; those that come while probes go out are seen afterwards.
func (t *tracer) woken() {
	if !t.sending {
		t.timer.Stop()
		t.timer = t.p.After(0, t.again)
	}
}

// timeout is how long to wait for a probe: not much longer than others took
// (get_timeout).
func (t *tracer) timeout(n int) time.Duration {
	slow := func(b *probe, factor time.Duration) time.Duration {
		return min((time.Duration(b.back-b.sent)+time.Millisecond)*factor, t.wait)
	}
	hop := n - n%t.perHop
	for i := hop; i < hop+t.perHop; i++ {
		if b := &t.probes[i]; b.done && b.back > b.sent {
			return slow(b, 3)
		}
	}
	for i := n + 1; i < len(t.probes); i++ {
		if b := &t.probes[i]; b.done {
			if b.back > b.sent {
				return slow(b, 10)
			}
			break
		}
	}
	return t.wait
}

// expired: a probe of the last hop may be lost too (check_expired).
func (t *tracer) expired(n int) {
	hop := n - n%t.perHop
	before := false
	for i := hop; i < n; i++ {
		if !t.probes[i].done || !t.probes[i].final {
			return
		}
		before = true
	}
	for i := n + 1; i < len(t.probes) && t.probes[i].sent != 0; i++ {
		if b := &t.probes[i]; b.done {
			if b.final && (before || i < hop+t.perHop) {
				t.probes[n].final = true
			}
			return
		}
	}
}

// socket makes what probes leave by.
func (t *tracer) socket() (s *sim.Socket, ok bool) {
	if t.icmp {
		s = t.p.Ping()
	} else {
		s = t.p.UDP()
	}
	s.RecvErr, s.TOS = true, t.tos
	s.PMTU = sim.PMTUDont
	if t.df {
		s.PMTU = sim.PMTUDo
	}
	if t.dev != "" {
		if errno := s.BindDevice(t.dev); errno != 0 {
			return nil, t.fatal("setsockopt SO_BINDTODEVICE: " + op.Strerror(errno))
		}
	}
	if t.source != 0 {
		if errno := s.Bind(t.source, 0); errno != 0 {
			return nil, t.fatal("bind: " + op.Strerror(errno))
		}
	}
	s.Wake = func() { t.receive(s) }
	return s, true
}

func (t *tracer) send(n int) bool {
	b := &t.probes[n]
	ttl := uint8(n/t.perHop + 1)
	s := t.ping
	if s == nil {
		var ok bool
		if s, ok = t.socket(); !ok {
			return false
		}
	}
	b.sock = s
	s.TTL = ttl
	var errno int
	if t.icmp {
		if errno = s.Connect(t.dst, 0); errno == 0 {
			b.sent = t.p.Now()
			errno = s.SendEcho(t.dst, uint16(n-t.skipped()+1), t.size-28)
		}
	} else if errno = s.Connect(t.dst, uint16(t.port+orElse(t.fixed, 0, n-t.skipped()))); errno == 0 {
		b.sent = t.p.Now()
		errno = s.SendTo(0, 0, make([]byte, t.size-28))
	}
	switch {
	case b.sent == 0:
		return t.fatal("connect: " + op.Strerror(errno))
	case errno != 0 && errno != emsgsize && errno != ehostunreach:
		return t.fatal("send: " + op.Strerror(errno))
	}
	return true
}

// skipped is how many probes -f leaves out: the ports are those of the probes
// that are sent, one after another.
func (t *tracer) skipped() int { return (t.first - 1) * t.perHop }

const (
	emsgsize     = 90
	ehostunreach = 113
)

func (t *tracer) fatal(text string) bool {
	t.print()
	t.warn("\n%s", text)
	t.status = 1
	t.p.Exit()
	return false
}

// receive takes what came to a probe's socket.
func (t *tracer) receive(s *sim.Socket) {
	s.Err()
	for e, ok := s.RecvError(); ok; e, ok = s.RecvError() {
		if e.Type == 5 { // a redirect
			continue
		}
		n := slices.IndexFunc(t.probes, func(b probe) bool { return b.sock == s })
		if t.icmp {
			n = int(e.Seq) - 1 + t.skipped()
		}
		if n < 0 || n >= len(t.probes) || t.probes[n].done || t.probes[n].sent == 0 {
			continue
		}
		b := &t.probes[n]
		b.done = true
		if e.Local {
			b.err = fmt.Sprintf("!F-%d", e.Info)
			b.final = true
			continue
		}
		b.from, b.back = e.From, e.At
		if e.Type == 3 {
			b.final = true
			b.err = unreachMark(e)
		}
	}
	for d, ok := s.Recv(); ok; d, ok = s.Recv() {
		for n := range t.probes {
			b := &t.probes[n]
			if !b.done && b.sock == s && (!t.icmp || int(d.Seq) == n-t.skipped()+1) {
				b.done, b.final, b.from, b.back = true, true, d.Src, d.At
				break
			}
		}
	}
	t.woken()
}

// unreachMark is what traceroute prints behind the time.
func unreachMark(e sim.SocketError) string {
	switch e.Code {
	case 0:
		return "!N"
	case 1:
		return "!H"
	case 2:
		return "!P"
	case 3:
		return ""
	case 4:
		return fmt.Sprintf("!F-%d", e.Info)
	case 5:
		return "!S"
	case 9, 10, 13:
		return "!X"
	case 14:
		return "!V"
	case 15:
		return "!C"
	}
	return fmt.Sprintf("!<%d>", e.Code)
}

// finish finds the names of those who answered, and prints.
func (t *tracer) finish() {
	if t.names == nil {
		t.names = map[sim.IP]string{}
	}
	if !t.numeric {
		for n := range t.start {
			ip := t.probes[n].from
			if _, ok := t.names[ip]; ip != 0 && !ok {
				t.names[ip] = ip.String()
				t.p.LookupAddr(ip, func(name string, _ int) {
					t.names[ip] = cmp.Or(name, ip.String())
					t.finish()
				})
				return
			}
		}
	}
	t.print()
	t.out.WriteByte('\n')
	t.p.Exit()
}

// print prints the probes up to the first that is not done (print_probe).
func (t *tracer) print() {
	for n := t.skipped(); n < t.start; n++ {
		b := &t.probes[n]
		if n%t.perHop == 0 {
			fmt.Fprintf(&t.out, "\n%2d ", n/t.perHop+1)
		}
		if b.from == 0 {
			if b.err == "" {
				t.out.WriteString(" *")
			} else {
				t.out.WriteString(" " + b.err)
			}
			continue
		}
		last := sim.IP(0)
		for i := n - n%t.perHop; i < n; i++ {
			if t.probes[i].from != 0 {
				last = t.probes[i].from
			}
		}
		if b.from != last {
			if t.numeric {
				fmt.Fprintf(&t.out, " %s", b.from)
			} else {
				fmt.Fprintf(&t.out, " %s (%s)", t.names[b.from], b.from)
			}
		}
		us := float64(b.back-b.sent) / 1e6
		fmt.Fprintf(&t.out, "  %.3f ms", us)
		if b.err != "" {
			t.out.WriteString(" " + b.err)
		}
	}
}
