package sim

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vethlab/sim/op"
)

// Names: the server that plays dnsmasq, and the lookup that glibc's
// getaddrinfo(3) does. A message is a real one (RFC 1035), as far as a question
// for an address needs it.

const dnsPort = 53

// Types of question, and outcomes.
const (
	dnsA        = 1
	dnsPTR      = 12
	dnsAAAA     = 28
	dnsNXDomain = 3
)

// dnsServer answers for its names, and "no such name" for the rest, as the
// kernel lab's does (exec/service_linux.go).
type dnsServer struct {
	names   map[string]netip.Addr
	dir     string // op.DNSServe.HostsDir
	forward []netip.Addr
	proc    *Process
}

func (w *World) dnsServe(n *Netns, o op.DNSServe) op.Result {
	if errno := n.startDNS(o, strings.Fields(strings.TrimSuffix(o.String(), " &"))...); errno != 0 {
		return serverFailed(errno)
	}
	return op.Result{}
}

func (n *Netns) startDNS(o op.DNSServe, args ...string) int {
	port := uint16(dnsPort)
	if o.Port != 0 {
		port = uint16(o.Port)
	}
	var ip IP
	if o.Listen.IsValid() {
		ip = ipOf(o.Listen)
	}
	p := n.Start(args...)
	s := p.UDP()
	errno := s.Bind(ip, port)
	d := &dnsServer{names: map[string]netip.Addr{}, dir: o.HostsDir, forward: o.Forward, proc: p}
	if errno == 0 && ip != 0 {
		t := p.TCP()
		if errno = t.Bind(ip, port); errno == 0 {
			t.Listen(32)
			t.Wake = func() { d.overTCP(t) }
		}
	}
	if errno != 0 {
		p.Exit()
		return errno
	}
	for name, a := range o.Names {
		d.names[strings.ToLower(strings.TrimSuffix(name, "."))] = a
	}
	s.dns = d
	s.Wake = func() {
		s.Err()
		for m, ok := s.Recv(); ok; m, ok = s.Recv() {
			d.reply(m.Payload, func(b []byte) { s.SendTo(m.Src, m.SrcPort, b) })
		}
	}
	return 0
}

// overTCP answers questions that come with their length before them (RFC 1035,
// 4.2.2).
func (d *dnsServer) overTCP(l *Socket) {
	for c := l.Accept(); c != nil; c = l.Accept() {
		var held []byte
		c.Wake = func() {
			data, end := c.Read()
			held = append(held, data...)
			for len(held) > 2 && len(held) >= 2+int(binary.BigEndian.Uint16(held)) {
				size := int(binary.BigEndian.Uint16(held))
				d.reply(held[2:2+size], func(b []byte) { c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)) })
				held = held[2+size:]
			}
			if end {
				c.Close()
			}
		}
		c.Wake()
	}
}

// reply answers a question, or asks others what it does not know.
func (d *dnsServer) reply(q []byte, send func([]byte)) {
	b := d.answer(q)
	if b == nil || b[3] != dnsNXDomain || len(d.forward) == 0 {
		if b != nil {
			send(b)
		}
		return
	}
	if len(d.proc.socks) < dnsForwards {
		d.ask(slices.Clone(q), d.forward, send)
	}
}

// dnsForwards is how many questions a server has under way with others
// (dnsmasq --dns-forward-max): one that asks itself would otherwise never end.
const dnsForwards = 150

// dnsPatience is how long a server may take (libnetwork, extIOTimeout).
const dnsPatience = 4 * time.Second

// ask puts a question to the first of the servers, and to the next when that
// says nothing.
func (d *dnsServer) ask(q []byte, servers []netip.Addr, send func([]byte)) {
	if len(servers) == 0 {
		return
	}
	s := d.proc.UDP()
	var late *Timer
	next := func() {
		late.Stop()
		s.Close()
		d.ask(q, servers[1:], send)
	}
	if s.Connect(ipOf(servers[0]), dnsPort) != 0 {
		s.Close()
		d.ask(q, servers[1:], send)
		return
	}
	late = d.proc.After(dnsPatience, next)
	s.Wake = func() {
		if s.Err() != 0 {
			s.Wake = nil
			d.proc.After(0, next)
			return
		}
		if m, ok := s.Recv(); ok {
			late.Stop()
			s.Close()
			send(m.Payload)
		}
	}
	s.SendTo(0, 0, q)
}

// lookup is the address of a name.
func (d *dnsServer) lookup(name string) (netip.Addr, bool) {
	name = strings.ToLower(name)
	if a, ok := d.names[name]; ok || d.dir == "" {
		return a, ok
	}
	a, ok := d.fromFiles()[name]
	return a, ok
}

// fromFiles are the names of the server's directory of hosts files.
func (d *dnsServer) fromFiles() map[string]netip.Addr {
	w := d.proc.w
	if d.dir == "" || w.hostsDir == nil {
		return nil
	}
	names := map[string]netip.Addr{}
	for line := range strings.Lines(w.hostsDir(d.proc.ns.machine, d.dir)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if a, err := netip.ParseAddr(f[0]); err == nil {
			for _, name := range f[1:] {
				names[strings.ToLower(name)] = a
			}
		}
	}
	return names
}

// host is what the address is called that a name under in-addr.arpa stands for
// (RFC 1035, 3.5): the first of its names in the server's files.
func (d *dnsServer) host(name string) string {
	w := d.proc.w
	if d.dir == "" || w.hostsDir == nil || !strings.HasSuffix(strings.ToLower(name), arpa) {
		return ""
	}
	for line := range strings.Lines(w.hostsDir(d.proc.ns.machine, d.dir)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if a, err := netip.ParseAddr(f[0]); err == nil && a.Is4() && strings.EqualFold(arpaName(ipOf(a)), name) {
			return f[1]
		}
	}
	return ""
}

const arpa = ".in-addr.arpa"

func arpaName(ip IP) string {
	return fmt.Sprintf("%d.%d.%d.%d%s", byte(ip), byte(ip>>8), byte(ip>>16), byte(ip>>24), arpa)
}

// answer makes the answer to a question, or nil.
func (d *dnsServer) answer(q []byte) []byte {
	name, typ, end := dnsQuestion(q)
	if end == 0 || q[2]&0x80 != 0 {
		return nil
	}
	b := slices.Clone(q[:end])
	b[2], b[3] = 0x84|q[2]&1, 0 // an answer, authoritative; recursion desired as asked
	clear(b[6:12])
	host := d.host(name)
	a, ok := d.lookup(name)
	switch {
	case host != "":
		if typ == dnsPTR {
			b[7] = 1
			called := dnsLabels(nil, host)
			b = append(b, 0xc0, 12, 0, dnsPTR, 0, 1, 0, 0, 0, 60, byte(len(called)>>8), byte(len(called)))
			b = append(b, called...)
		}
	case !ok:
		b[3] = dnsNXDomain
	case typ == dnsA:
		b[7] = 1
		b = append(b, 0xc0, 12, 0, dnsA, 0, 1, 0, 0, 0, 60, 0, 4)
		a4 := a.As4()
		b = append(b, a4[:]...)
	}
	return b
}

// dnsQuestion reads a message's question, and says where it ends; 0 when there
// is none.
func dnsQuestion(b []byte) (name string, typ uint16, end int) {
	if len(b) < 17 || binary.BigEndian.Uint16(b[4:]) < 1 {
		return "", 0, 0
	}
	name, i := dnsName(b, 12)
	if i == 0 || i+4 > len(b) {
		return "", 0, 0
	}
	return name, binary.BigEndian.Uint16(b[i:]), i + 4
}

// dnsName reads the name that begins at i, and says where it ends; 0 when there
// is none.
func dnsName(b []byte, i int) (name string, end int) {
	var labels []string
	for i < len(b) && b[i] != 0 {
		k := int(b[i])
		if k > 63 || i+1+k >= len(b) {
			return "", 0
		}
		labels = append(labels, string(b[i+1:i+1+k]))
		i += 1 + k
	}
	return strings.Join(labels, "."), i + 1
}

// ask makes a question for a name; nil when it cannot be one.
func dnsAsk(id uint16, name string, typ uint16) []byte {
	b := dnsLabels([]byte{byte(id >> 8), byte(id), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, name)
	if b == nil {
		return nil
	}
	return append(b, byte(typ>>8), byte(typ), 0, 1)
}

// dnsLabels appends a name as a message has it; nil when it cannot be one.
func dnsLabels(b []byte, name string) []byte {
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return nil
		}
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

// What a lookup can end with (netdb.h).
const (
	EAINoName = -2
	EAIAgain  = -3
)

// Resolver says whom a node asks: the servers of its /etc/resolv.conf, and the
// names of its /etc/hosts, with the first of each address. Without a server it
// asks itself (resolv.conf(5)).
type Resolver struct {
	Servers []IP
	Hosts   map[string]IP
	Names   map[IP]string
}

// Lookup asks for the address of a name, as glibc does with
// `hosts: files dns`: both questions, for A and AAAA, from one socket, twice to
// each server, five seconds each time. done gets the address, or 0 and why.
func (p *Process) Lookup(name string, done func(IP, int)) {
	r := p.ns.resolver
	if ip, ok := r.Hosts[strings.ToLower(name)]; ok {
		done(ip, 0)
		return
	}
	servers := r.Servers
	if len(servers) == 0 {
		servers = []IP{loopbackIP}
	}
	l := &lookup{p: p, name: name, types: []uint16{dnsA, dnsAAAA}, done: done}
	l.begin(servers)
}

// LookupAddr asks for the name of an address (getnameinfo(3)). done gets the
// name; the address itself where nobody has one for it; or nothing, and why.
func (p *Process) LookupAddr(ip IP, done func(string, int)) {
	if name, ok := p.ns.resolver.Names[ip]; ok {
		done(name, 0)
		return
	}
	servers := p.ns.resolver.Servers
	if len(servers) == 0 {
		servers = []IP{loopbackIP}
	}
	l := &lookup{p: p, name: arpaName(ip), types: []uint16{dnsPTR}}
	l.done = func(_ IP, errno int) {
		if errno == EAINoName {
			l.host, errno = ip.String(), 0
		}
		done(l.host, errno)
	}
	l.begin(servers)
}

// lookup is one under way.
type lookup struct {
	p       *Process
	name    string
	types   []uint16 // of its questions
	servers []IP     // still to be asked
	done    func(IP, int)
	s       *Socket
	socks   map[IP]*Socket // by server: one that has not answered is asked again by the same (send_dg)
	timer   *Timer
	ids     [2]uint16
	found   IP
	host    string
	answers int
}

// again is how long glibc waits for a name server (RES_TIMEOUT).
const dnsAgain = 5 * time.Second

func (l *lookup) begin(servers []IP) {
	l.socks = map[IP]*Socket{}
	for i := range l.ids {
		l.ids[i] = uint16(l.p.w.random.Uint32())
	}
	for range 2 {
		l.servers = append(l.servers, servers...)
	}
	l.next(EAIAgain)
}

func (l *lookup) next(errno int) {
	if l.s != nil {
		l.s.Wake = nil
		l.timer.Stop()
	}
	if len(l.servers) == 0 {
		l.end(0, errno)
		return
	}
	server := l.servers[0]
	l.servers = l.servers[1:]
	l.answers, l.found = 0, 0
	l.s = l.socks[server]
	if l.s == nil {
		l.s = l.p.UDP()
		l.s.RecvErr = true
		if l.s.Connect(server, dnsPort) != 0 {
			l.s.Close()
			l.s = nil
			l.next(errno)
			return
		}
		l.socks[server] = l.s
	}
	for i, typ := range l.types {
		q := dnsAsk(l.ids[i], l.name, typ)
		if q == nil {
			l.end(0, EAINoName)
			return
		}
		if l.s.SendTo(0, 0, q) != 0 {
			break
		}
	}
	l.s.Wake = l.woken
	l.timer = l.p.After(dnsAgain, func() { l.next(EAIAgain) })
}

func (l *lookup) woken() {
	if l.s.Err() != 0 {
		maps.DeleteFunc(l.socks, func(_ IP, s *Socket) bool { return s == l.s })
		l.s.Wake = nil
		l.p.After(0, func() {
			l.s.Close()
			l.next(EAIAgain)
		})
		return
	}
	for d, ok := l.s.Recv(); ok; d, ok = l.s.Recv() {
		b := d.Payload
		_, typ, end := dnsQuestion(b)
		if end == 0 || !slices.Contains(l.ids[:], binary.BigEndian.Uint16(b)) {
			continue
		}
		l.answers++
		switch {
		case b[7] != 1:
		case typ == dnsA && len(b) >= end+16:
			l.found = IP(binary.BigEndian.Uint32(b[end+12:]))
		case typ == dnsPTR && len(b) > end+12:
			l.host, _ = dnsName(b, end+12)
		}
	}
	if l.answers < len(l.types) {
		return
	}
	l.timer.Stop()
	if l.found == 0 && l.host == "" {
		l.end(0, EAINoName)
		return
	}
	l.end(l.found, 0)
}

func (l *lookup) end(ip IP, errno int) {
	for _, s := range l.socks {
		s.Close()
	}
	l.done(ip, errno)
}

// SetResolver sets whom the node's programs ask for names.
func (n *Netns) SetResolver(r Resolver) { n.resolver = r }

// served are the names that a socket's server answers for, as a snapshot has them.
func (s *Socket) served() string {
	if s.dns == nil {
		return ""
	}
	all := maps.Clone(s.dns.names)
	maps.Copy(all, s.dns.fromFiles())
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		names = append(names, name+"="+all[name].String())
	}
	return strings.Join(names, ",")
}

// listening is where a server listens that has an address; zero is everywhere.
func listening(a netip.Addr) netip.Addr {
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// servedNames reads what served writes.
func servedNames(text string) map[string]netip.Addr {
	names := map[string]netip.Addr{}
	for kv := range strings.SplitSeq(text, ",") {
		name, addr, _ := strings.Cut(kv, "=")
		if a, err := netip.ParseAddr(addr); err == nil {
			names[name] = a
		}
	}
	return names
}
