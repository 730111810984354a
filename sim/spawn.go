package sim

import (
	"net/netip"
	"strconv"
	"strings"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Spawn starts a process in the background, in the namespace or in a new one of
// its machine (clone(2) with CLONE_NEWNET). A namespace that a process keeps is
// a node called as op.Spawn says.
func (n *Netns) Spawn(o op.Spawn) op.Result {
	if len(o.Argv) == 0 {
		return op.Result{}
	}
	running := 0
	for _, m := range n.w.nodes {
		running += len(m.procs)
	}
	switch {
	case running >= maxSpawned:
		return serverFailed(eagain)
	case o.NewNet && len(n.w.nodes) >= maxNamespaces:
		return serverFailed(enospc)
	}
	at := n
	if o.NewNet {
		at = n.w.addNode(n.w.freeName(orElse(o.Node, "pid-"+strconv.Itoa(op.FirstSpawn+n.w.spawned+1))), state.Container, n.machine)
		at.hostname, at.files = o.Hostname, o.Files
	}
	n.w.spawned++
	p, errno := at.program(o.Argv)
	if errno != 0 {
		n.w.unused(at)
		return serverFailed(errno)
	}
	p.PID = op.FirstSpawn + n.w.spawned
	return op.Result{Output: strconv.Itoa(p.PID) + "\n"}
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}

// freeName is a name that no node has.
func (w *World) freeName(name string) string {
	for w.byName[name] != nil {
		name += "'"
	}
	return name
}

// program starts what runs in the background for good; errno says why a server
// does not.
func (n *Netns) program(argv []string) (p *Process, errno int) {
	switch {
	case argv[0] == "docker-proxy":
		return n.startProxy(argv)
	case len(argv) > 2 && argv[1] == "-m" && argv[2] == "http.server":
		port, bind := uint16(8000), IP(0)
		for i := 3; i < len(argv); i++ {
			if (argv[i] == "--bind" || argv[i] == "-b") && i+1 < len(argv) {
				i++
				if a, err := netip.ParseAddr(argv[i]); err == nil && a.Is4() {
					bind = ipOf(a)
				}
			} else if k, err := strconv.ParseUint(argv[i], 10, 16); err == nil {
				port = uint16(k)
			}
		}
		if errno := n.startHTTP(bind, port, argv...); errno != 0 {
			return nil, errno
		}
		return n.procs[len(n.procs)-1], 0
	}
	return n.Start(argv...), 0
}

// Hostname is what the programs in the node see as their machine's name, and
// Files which of their files are others of the machine.
func (n *Netns) Hostname() string         { return orElse(n.hostname, n.name) }
func (n *Netns) Files() map[string]string { return n.files }

// Named returns the node of that name, the one that op.At names, of the process in /proc/PID/ns/net, or
// the one that a symbolic link in a machine's /run/netns leads to; nil if there
// is none.
func (w *World) Named(name string) *Netns {
	if from, in := op.SplitAt(name); from != "" {
		name = in
		if m := w.byName[from]; m != nil && m.pinned(in) != nil {
			return m.pinned(in)
		}
	}
	if n := w.byName[name]; n != nil {
		return n
	}
	if n, ok := w.ofProcess(name); ok {
		return n
	}
	for _, m := range w.nodes {
		if to, ok := m.netnsLinks[name]; ok {
			n, _ := w.ofProcess(to)
			return n
		}
	}
	return nil
}

// ofProcess returns the namespace that /proc/PID/ns/net is.
func (w *World) ofProcess(path string) (n *Netns, ok bool) {
	text, ok := strings.CutPrefix(path, "/proc/")
	if !ok {
		return nil, false
	}
	pid, err := strconv.Atoi(strings.TrimSuffix(text, "/ns/net"))
	if err != nil {
		return nil, false
	}
	for _, m := range w.nodes {
		for _, p := range m.procs {
			if p.PID == pid {
				return m, true
			}
		}
	}
	return nil, true
}

// LinkNetns makes a symbolic link in the machine's /run/netns: ln -s TO
// /run/netns/NAME. An empty TO removes it.
func (n *Netns) LinkNetns(name, to string) {
	m := n.w.byName[n.machine]
	if m == nil {
		return
	}
	if m.netnsLinks == nil {
		m.netnsLinks = map[string]string{}
	}
	if to == "" {
		delete(m.netnsLinks, name)
		return
	}
	m.netnsLinks[name] = to
}

// NetnsLinks are the symbolic links in the machine's /run/netns.
func (n *Netns) NetnsLinks() map[string]string {
	if m := n.w.byName[n.machine]; m != nil {
		return m.netnsLinks
	}
	return nil
}

// proxyFiles is how many sockets a docker-proxy may have (RLIMIT_NOFILE). One that
// passes things on to itself would otherwise never end.
const proxyFiles = 1000

// startProxy is docker-proxy: it takes connections in its own namespace, and
// passes on what they say over connections of its own.
func (n *Netns) startProxy(argv []string) (*Process, int) {
	flag := map[string]string{}
	for i := 1; i+1 < len(argv); i += 2 {
		flag[argv[i]] = argv[i+1]
	}
	addr := func(ip, port string) (IP, uint16) {
		a, _ := netip.ParseAddr(flag[ip]) // cmdline has looked
		k, _ := strconv.ParseUint(flag[port], 10, 16)
		return ipOf(a), uint16(k)
	}
	ip, port := addr("-host-ip", "-host-port")
	to, toPort := addr("-container-ip", "-container-port")
	p := n.Start(argv...)
	var s *Socket
	if flag["-proto"] == "udp" {
		s = p.UDP()
	} else {
		s = p.TCP()
	}
	s.to = netip.AddrPortFrom(to.Addr(), toPort).String()
	if errno := s.Bind(ip, port); errno != 0 {
		p.Exit()
		return nil, errno
	}
	if flag["-proto"] == "udp" {
		relayUDP(p, s, to, toPort)
		return p, 0
	}
	s.Listen(4096)
	s.Wake = func() {
		for c := s.Accept(); c != nil; c = s.Accept() {
			if len(p.socks) >= proxyFiles {
				c.Close()
				continue
			}
			out := p.TCP()
			r := &relay{a: c, b: out}
			out.Wake, c.Wake = r.pass, r.pass
			if out.Connect(to, toPort) != 0 {
				c.Close()
				out.Close()
			}
		}
	}
	return p, 0
}

// relay passes bytes between a client and the container.
type relay struct {
	a, b         *Socket
	held         []byte // the client's, until the container has answered
	aEnded, bEnd bool
	closed       bool
}

func (r *relay) pass() {
	if r.closed {
		return
	}
	if r.a.Err() != 0 || r.b.Err() != 0 {
		r.close()
		return
	}
	data, end := r.a.Read()
	r.held = append(r.held, data...)
	r.aEnded = r.aEnded || end
	if !r.b.Established() {
		return
	}
	if len(r.held) > 0 {
		r.b.Write(r.held)
		r.held = nil
	}
	data, end = r.b.Read()
	if len(data) > 0 {
		r.a.Write(data)
	}
	if end && !r.bEnd {
		r.bEnd = true
		r.a.CloseWrite()
	}
	if r.aEnded && !r.closed {
		r.b.CloseWrite()
	}
	if r.aEnded && r.bEnd {
		r.close()
	}
}

func (r *relay) close() {
	r.closed = true
	r.a.Close()
	r.b.Close()
}

// relayUDP has one socket towards the container for each client.
func relayUDP(p *Process, s *Socket, to IP, toPort uint16) {
	type client struct {
		ip   IP
		port uint16
	}
	outs := map[client]*Socket{}
	s.Wake = func() {
		for d, ok := s.Recv(); ok; d, ok = s.Recv() {
			who := client{d.Src, d.SrcPort}
			out := outs[who]
			if out == nil {
				if len(p.socks) >= proxyFiles {
					continue
				}
				out = p.UDP()
				if out.Connect(to, toPort) != 0 {
					out.Close()
					continue
				}
				outs[who] = out
				out.Wake = func() {
					out.Err() // a port that nobody listens on
					for d, ok := out.Recv(); ok; d, ok = out.Recv() {
						s.SendTo(who.ip, who.port, d.Payload)
					}
				}
			}
			out.SendTo(0, 0, d.Payload)
		}
	}
}
