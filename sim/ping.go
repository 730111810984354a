package sim

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"vethlab/sim/op"
)

// Ping returns a new socket for echo requests (socket(2), SOCK_DGRAM with
// IPPROTO_ICMP: net/ipv4/ping.c). Its port is the identifier.
func (p *Process) Ping() *Socket { return p.socket(protoICMP) }

// SendEcho sends an echo request with so many bytes of data (ping_v4_sendmsg).
func (s *Socket) SendEcho(dst IP, seq uint16, size int) int {
	n, w := s.ns, s.ns.w
	if s.err != 0 {
		return s.Err()
	}
	if !s.bound {
		s.bound = true
		if s.lport == 0 {
			s.lport = n.freeEchoID()
		}
		n.socks.ping = append(n.socks.ping, s)
	}
	r, errno := n.routeOutput(dst, s.local, s.dev, s.Mark, s.TOS)
	if errno != 0 {
		return errno
	}
	if r.typ == rtnBroadcast && !s.Broadcast {
		return eacces
	}
	p := w.newPacket()
	p.src, p.dst, p.sport, p.dport, p.icmpType, p.icmpSeq = s.local, dst, s.lport, s.lport, icmpEcho, seq
	if p.src == 0 {
		p.src = r.src
	}
	p.len = int32(28 + size)
	if errno := s.prepare(p, protoICMP, &r); errno != 0 {
		w.discard(p)
		return errno
	}
	f, reply := s.flowTo(p.src, dst, 0)
	w.depart(p, f, reply)
	return w.send(s, n, p, r)
}

// freeEchoID takes the next identifier that is free. The whole machine counts
// them together, so that none comes twice soon (ping_port_rover, ping_get_port).
func (n *Netns) freeEchoID() uint16 {
	w := n.w
	if w.lastEchoID == 0 {
		w.lastEchoID = uint16(w.random.Uint32())
	}
	for {
		w.lastEchoID++
		id := w.lastEchoID
		if id == 0 {
			continue
		}
		if !slices.ContainsFunc(n.socks.ping, func(s *Socket) bool { return s.lport == id }) {
			return id
		}
	}
}

// pingSocket finds the socket that sends with an identifier (ping_lookup).
func (n *Netns) pingSocket(local IP, id uint16) *Socket {
	for _, s := range n.socks.ping {
		if s.lport == id && (s.local == 0 || s.local == local) {
			return s
		}
	}
	return nil
}

func (w *World) pingRcv(n *Netns, p *packet, e ending) {
	d := Datagram{Src: p.src, Dst: p.dst, TTL: p.ttl, Seq: p.icmpSeq, Len: int(p.len) - 20, At: w.now}
	s := n.pingSocket(p.dst, p.sport)
	if s != nil && !s.fits(p.iif()) {
		s = nil
	}
	w.end(p, e)
	if s != nil {
		s.deliver(d)
	}
}

// pingError takes an ICMP error about an echo request, which came in by a
// device (ping_err); iif is the one that counts (inet_iif).
func (n *Netns) pingError(q *header, e SocketError, in, iif *Link) {
	s := n.pingSocket(q.src, q.sport)
	if s == nil || !s.fits(iif) {
		return
	}
	n.wayTold(q, &e, in, s)
	if e.Type == icmpDestUnreach && e.Code == icmpFragNeeded && s.PMTU == PMTUDont {
		return
	}
	if s.RecvErr {
		s.errors = append(s.errors, e)
	}
	s.fail(e.Errno)
}

// PingOptions are what ping(8) was asked to do.
type PingOptions struct {
	Host      string // as it was written
	Named     bool   // it is a name
	Numeric   bool   // -n: nobody is asked for names of addresses
	Dst       IP
	Count     int           // -c; 0: until it is interrupted
	Interval  time.Duration // -i; 0 means a second
	Wait      time.Duration // -W; 0 means ten seconds
	Deadline  time.Duration // -w
	Size      int           // -s: bytes of data
	TTL       int           // -t; 0 leaves it to the system
	TOS       uint8         // -Q
	Mark      uint32        // -m
	From      string        // -I: an address or an interface
	PMTU      PMTUMode      // -M
	Want      bool          // -M want: PMTUWant was asked for
	Quiet     bool          // -q
	Stamp     bool          // -D
	Broadcast bool          // -b
	Pending   bool          // -O
	Preload   int           // -l; 0 means 1
	ID        uint16        // -e: the identifier; 0 leaves it to the kernel
}

// Pinger is ping(8), of iputils 20221126, with its texts.
type Pinger struct {
	Process *Process
	Out     strings.Builder
	Err     strings.Builder
	Status  int

	o         PingOptions
	s         *Socket
	next      *Timer
	lingering bool

	start, last     int64 // when the first and the last request went out
	tokens          time.Duration
	sent, received  int
	repeats, errors int
	acked           uint16
	pipe            int
	seen            map[uint16]bool
	sentAt          map[uint16]int64
	min, max        int64 // round trips, in microseconds
	sum             int64
	sum2            float64
	refused         int // the errno of a request that could not be sent just now
	full            int // how often in a row a device took no packet (ENOBUFS)
	multicast       bool

	// What waits for the name of an address (pr_addr), and the address; nothing
	// else is done meanwhile.
	waiting func(name string)
	from    IP
}

// ping does op.Ping.
func (w *World) ping(n *Netns, o op.Ping) op.Result {
	po := PingOptions{Host: o.Dst.String(), Dst: ipOf(o.Dst), Count: o.Count, Wait: o.Wait, Size: o.Size, TTL: o.TTL, From: o.From}
	if po.Wait == 0 {
		po.Wait = time.Second
	}
	if po.Size == 0 {
		po.Size = 56
	}
	switch {
	case o.DF:
		po.PMTU = PMTUDo
	case o.NoDF:
		po.PMTU = PMTUDont
	}
	g := n.Ping(po, "ping", po.Host)
	w.finish(g.Process, maxWait)
	return op.Result{Output: g.Out.String(), Stderr: g.Err.String(), Status: g.Status}
}

// maxWait bounds how long an operation may wait for a program that ends by itself.
const maxWait = 24 * time.Hour

// finish lets time pass until a process has ended. One that has not by then, or
// when the operation is given up, is interrupted as by Ctrl-C.
func (w *World) finish(p *Process, limit time.Duration) (interrupted bool) {
	w.run(w.now+int64(limit), func() bool { return p.ended })
	if p.ended {
		return false
	}
	p.Interrupt()
	if !p.ended {
		p.Exit()
	}
	return true
}

// Ping starts ping(8). What it prints and its exit status are complete when its
// process has ended.
func (n *Netns) Ping(o PingOptions, args ...string) *Pinger {
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.Wait == 0 {
		o.Wait = 10 * time.Second
	}
	if o.Preload == 0 {
		o.Preload = 1
	}
	g := &Pinger{Process: n.Start(args...), o: o, min: math.MaxInt64, pipe: -1, seen: map[uint16]bool{}, sentAt: map[uint16]int64{}}
	if g.open() {
		g.Process.OnInterrupt(g.finish)
		g.start = n.w.now
		g.last = g.start
		g.tokens = o.Interval * time.Duration(o.Preload)
		if o.Deadline > 0 {
			g.Process.After(o.Deadline, g.finish)
		}
		g.loop()
	}
	return g
}

// fatal is error(3) with exit status 2.
func (g *Pinger) fatal(text string) bool {
	g.Err.WriteString("ping: " + text + "\n")
	g.Status = 2
	g.Process.Exit()
	return false
}

// open makes the socket, and prints the first line (ping4_run, ping/ping.c).
func (g *Pinger) open() bool {
	o := &g.o
	g.s = g.Process.Ping()
	g.s.TTL, g.s.TOS, g.s.Mark, g.s.RecvErr, g.s.Broadcast = uint8(o.TTL), o.TOS, o.Mark, true, o.Broadcast
	g.s.lport = o.ID // ping_get_port
	source, device := parseIP(o.From), ""
	if o.From != "" && source == 0 {
		device = o.From
	}
	if source == 0 {
		probe := g.Process.UDP()
		probe.TOS, probe.Mark = o.TOS, o.Mark
		defer probe.Close()
		if device != "" {
			if probe.BindDevice(device) != 0 {
				return g.fatal("SO_BINDTODEVICE " + device + ": No such device")
			}
			g.s.BindDevice(device)
		}
		errno := probe.Connect(o.Dst, 1025)
		if errno == eacces {
			if !o.Broadcast {
				return g.fatal("Do you want to ping broadcast? Then -b. If not, check your local firewall rules")
			}
			g.Err.WriteString("WARNING: pinging broadcast address\n")
			probe.Broadcast = true
			errno = probe.Connect(o.Dst, 1025)
		}
		if errno != 0 {
			return g.fatal("connect: " + op.Strerror(errno))
		}
		source, _ = probe.Local()
		if device != "" && !slices.ContainsFunc(g.s.dev.addrs, func(a *ifAddr) bool { return a.ip == source }) {
			g.Err.WriteString("ping: Warning: source address might be selected on device other than: " + device + "\n")
		}
	} else if errno := g.s.Bind(source, 0); errno != 0 {
		return g.fatal("bind: " + op.Strerror(errno))
	}
	if o.Dst == 0 {
		o.Dst = source
	}
	g.multicast = o.Broadcast || o.Dst.multicast()
	switch {
	case o.Want || o.PMTU != PMTUWant:
		g.s.PMTU = o.PMTU
	case g.multicast: // what is for many is not to be split
		g.s.PMTU = PMTUDo
	}
	fmt.Fprintf(&g.Out, "PING %s (%s) ", o.Host, o.Dst)
	if o.From != "" {
		fmt.Fprintf(&g.Out, "from %s %s: ", source, device)
	}
	fmt.Fprintf(&g.Out, "%d(%d) bytes of data.\n", o.Size, o.Size+28)
	g.s.Wake = g.woken
	return true
}

// loop sends what is due and sets the alarm for what comes next (main_loop,
// ping/ping_common.c).
func (g *Pinger) loop() {
	g.next.Stop()
	for {
		switch {
		case g.Process.ended, g.waiting != nil:
			return
		case g.o.Count > 0 && g.received+g.errors >= g.o.Count, g.o.Deadline > 0 && g.errors > 0:
			g.finish()
			return
		}
		wait := g.probe()
		if g.o.Count > 0 && g.sent >= g.o.Count && g.o.Deadline == 0 && !g.lingering {
			g.lingering = true
			linger := g.o.Wait
			if g.received > 0 {
				linger = max(2*time.Duration(g.max)*time.Microsecond, g.o.Interval)
			}
			g.Process.After(linger, g.finish)
		}
		if g.lingering {
			return
		}
		if wait > 0 {
			g.next = g.Process.After(wait, g.loop)
			return
		}
	}
}

// probe sends the next request if it is time, and says how long to wait for
// the one after (pinger).
func (g *Pinger) probe() time.Duration {
	w := g.Process.w
	if g.o.Count > 0 && g.sent >= g.o.Count && g.o.Deadline == 0 {
		return time.Second
	}
	if g.sent > 0 {
		have := min(time.Duration(w.now-g.last)+g.tokens, g.o.Interval*time.Duration(g.o.Preload))
		if have < g.o.Interval {
			return g.o.Interval - have + wakeTime
		}
		g.tokens = have
	} else {
		g.start = w.now
	}
	g.last = w.now
	g.tokens -= g.o.Interval
	if g.o.Pending && g.sent > 0 && !g.seen[uint16(g.sent)] {
		g.stamp()
		fmt.Fprintf(&g.Out, "no answer yet for icmp_seq=%d\n", g.sent%0x10000)
	}
	seq := uint16(g.sent + 1)
	delete(g.seen, seq)
	g.sentAt[seq] = w.now
	errno := g.s.SendEcho(g.o.Dst, seq, g.o.Size)
	if errno == enobufs {
		g.tokens = 0
		again := min(max(g.o.Interval/2, 10*time.Millisecond), 500*time.Millisecond)
		if g.full++; time.Duration(g.full)*again < g.o.Wait {
			return again
		}
		if !g.o.Quiet {
			g.Err.WriteString("ping: sendmsg: " + op.Strerror(errno) + "\n")
		}
		g.sent++
		return g.o.Interval
	}
	g.full = 0
	g.sent++
	if uint16(g.sent)-g.acked > 0x7fff {
		g.acked = uint16(g.sent) + 1
	}
	if errno != 0 {
		g.refused = errno
		g.readErrors()
		g.Process.After(0, func() { g.refused = 0; g.loop() }) // an ICMP error about it is there by then
		g.tokens = 0
	}
	return g.o.Interval - g.tokens + wakeTime
}

// wakeTime is how late a program is woken by its alarm.
const wakeTime = time.Millisecond

// woken takes what has arrived.
func (g *Pinger) woken() {
	if g.waiting != nil {
		return
	}
	g.s.Err()
	g.readErrors()
	for g.waiting == nil {
		d, ok := g.s.Recv()
		if !ok {
			break
		}
		g.named(d.Src, func(name string) { g.reply(d, name) })
	}
	g.loop()
}

// readErrors reads the error queue (ping4_receive_error_msg).
func (g *Pinger) readErrors() {
	for g.waiting == nil {
		e, ok := g.s.RecvError()
		if !ok {
			return
		}
		if !e.Local && e.Dst != g.o.Dst { // somebody translated the request, and not its error
			continue
		}
		if e.Local && g.o.Quiet {
			continue
		}
		g.errors++
		if e.Local {
			if e.Errno == emsgsize {
				fmt.Fprintf(&g.Err, "ping: local error: message too long, mtu=%d\n", e.Info)
			} else {
				fmt.Fprintf(&g.Err, "ping: local error: %s\n", op.Strerror(e.Errno))
			}
			continue
		}
		g.acknowledge(e.Seq)
		if g.o.Quiet {
			continue
		}
		g.stamp()
		refused := g.refused
		g.refused = 0
		g.named(e.From, func(name string) {
			fmt.Fprintf(&g.Out, "From %s icmp_seq=%d %s\n", name, e.Seq, icmpSentence(e))
			if refused != 0 {
				g.Err.WriteString("ping: sendmsg: " + op.Strerror(refused) + "\n")
			}
		})
	}
}

// icmpSentence is ping's wording of an ICMP error (pr_icmph).
func icmpSentence(e SocketError) string {
	if e.Type == icmpTimeExceeded {
		switch e.Code {
		case 0:
			return "Time to live exceeded"
		case 1:
			return "Frag reassembly time exceeded"
		}
		return fmt.Sprintf("Time exceeded, Bad Code: %d", e.Code)
	}
	if e.Type == icmpRedirect {
		return fmt.Sprintf("Redirect %s(New nexthop: %s)", [4]string{"Network", "Host", "Type of Service and Network", "Type of Service and Host"}[e.Code&3], IP(e.Info))
	}
	if e.Code == icmpFragNeeded {
		return fmt.Sprintf("Frag needed and DF set (mtu = %d)", e.Info)
	}
	if int(e.Code) < len(unreachSentences) {
		return unreachSentences[e.Code]
	}
	return fmt.Sprintf("Dest Unreachable, Bad Code: %d", e.Code)
}

var unreachSentences = [...]string{"Destination Net Unreachable", "Destination Host Unreachable", "Destination Protocol Unreachable",
	"Destination Port Unreachable", "", "Source Route Failed", "Destination Net Unknown", "Destination Host Unknown", "Source Host Isolated",
	"Destination Net Prohibited", "Destination Host Prohibited", "Destination Net Unreachable for Type of Service",
	"Destination Host Unreachable for Type of Service", "Packet filtered", "Precedence Violation", "Precedence Cutoff"}

func (g *Pinger) stamp() {
	if g.o.Stamp {
		now := g.Process.w.now
		fmt.Fprintf(&g.Out, "[%d.%06d] ", now/1e9, now%1e9/1e3)
	}
}

func (g *Pinger) acknowledge(seq uint16) {
	sent := uint16(g.sent)
	diff := sent - seq
	if diff > 0x7fff {
		return
	}
	g.pipe = max(g.pipe, int(diff)+1)
	if int16(seq-g.acked) > 0 || sent-g.acked > 0x7fff {
		g.acked = seq
	}
}

// named goes on with how an address is written. When a name was given, ping
// first asks what it is called, each time anew (pr_addr).
func (g *Pinger) named(ip IP, then func(string)) {
	if !g.o.Named || g.o.Numeric {
		then(ip.String())
		return
	}
	g.waiting, g.from = then, ip
	atOnce := true
	g.Process.LookupAddr(ip, func(name string, errno int) {
		if g.waiting == nil { // it was interrupted
			return
		}
		g.waiting = nil
		if errno == 0 {
			then(fmt.Sprintf("%s (%s)", name, ip))
		} else {
			then(ip.String())
		}
		if !atOnce {
			g.woken()
		}
	})
	atOnce = false
}

// timed reports whether a request has room for the time it was sent at (struct
// timeval).
func (g *Pinger) timed() bool { return g.o.Size >= 16 }

// reply prints an answer (gather_statistics).
func (g *Pinger) reply(d Datagram, from string) {
	g.acknowledge(d.Seq)
	trip := (d.At - g.sentAt[d.Seq]) / 1000
	if g.timed() {
		g.sum += trip
		g.sum2 += float64(trip) * float64(trip)
		g.min, g.max = min(g.min, trip), max(g.max, trip)
	}
	dup := g.seen[d.Seq]
	if dup {
		g.repeats++
	} else {
		g.received++
		g.seen[d.Seq] = true
	}
	if g.o.Quiet {
		return
	}
	g.stamp()
	fmt.Fprintf(&g.Out, "%d bytes from %s: icmp_seq=%d ttl=%d", d.Len, from, d.Seq, d.TTL)
	if g.timed() {
		switch {
		case trip >= 100000-50:
			fmt.Fprintf(&g.Out, " time=%d ms", (trip+500)/1000)
		case trip >= 10000-5:
			fmt.Fprintf(&g.Out, " time=%d.%01d ms", (trip+50)/1000, (trip+50)%1000/100)
		case trip >= 1000:
			fmt.Fprintf(&g.Out, " time=%d.%02d ms", (trip+5)/1000, (trip+5)%1000/10)
		default:
			fmt.Fprintf(&g.Out, " time=%d.%03d ms", trip/1000, trip%1000)
		}
	}
	if dup && !g.multicast {
		g.Out.WriteString(" (DUP!)")
	}
	if !g.multicast && d.Src != g.o.Dst {
		g.Out.WriteString(" (DIFFERENT ADDRESS!)")
	}
	g.Out.WriteByte('\n')
}

// finish prints the statistics and ends.
func (g *Pinger) finish() {
	if g.Process.ended {
		return
	}
	if then := g.waiting; then != nil { // out of getnameinfo(3) by longjmp(3)
		g.waiting = nil
		then(g.from.String())
	}
	fmt.Fprintf(&g.Out, "\n--- %s ping statistics ---\n%d packets transmitted, %d received", g.o.Host, g.sent, g.received)
	if g.repeats > 0 {
		fmt.Fprintf(&g.Out, ", +%d duplicates", g.repeats)
	}
	if g.errors > 0 {
		fmt.Fprintf(&g.Out, ", +%d errors", g.errors)
	}
	if g.sent > 0 {
		loss := float32(float64(g.sent-g.received) * 100 / float64(g.sent))
		fmt.Fprintf(&g.Out, ", %s%% packet loss, time %dms", strconv.FormatFloat(float64(loss), 'g', 6, 32), (g.last-g.start+500000)/1000000)
	}
	g.Out.WriteByte('\n')
	comma := ""
	if g.received > 0 && g.timed() {
		total := int64(g.received + g.repeats)
		avg := g.sum / total
		variance := int64(g.sum2-float64(g.sum*g.sum/total)) / total
		dev := int64(math.Sqrt(float64(max(0, variance))))
		ms := func(us int64) string { return fmt.Sprintf("%d.%03d", us/1000, us%1000) }
		fmt.Fprintf(&g.Out, "rtt min/avg/max/mdev = %s/%s/%s/%s ms", ms(g.min), ms(avg), ms(g.max), ms(dev))
		comma = ", "
	}
	if g.pipe > 1 {
		fmt.Fprintf(&g.Out, "%spipe %d", comma, g.pipe)
	}
	g.Out.WriteByte('\n')
	if g.received == 0 || g.o.Deadline > 0 && g.received < g.o.Count {
		g.Status = 1
	}
	g.Process.Exit()
}
