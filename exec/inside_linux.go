package exec

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vethlab/exec/capture"
	"vethlab/exec/sandbox"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// role is what the sandbox's init is re-executed as.
const role = "lab"

// Init runs what this process was re-executed for and never returns; in any
// other process it returns at once. Call it first in main, and in TestMain.
func Init() {
	sandbox.Register(role, runInside)
	sandbox.Register(roleHTTP, runHTTP)
	sandbox.Register(roleDNS, runDNS)
	sandbox.Register(roleProxy, runProxy)
	sandbox.Main()
}

// inside is the lab as the init of its sandbox holds it.
type inside struct {
	asm *capture.Assembler
	iptables
	starter starter

	apply    sync.Mutex // one operation at a time
	flushing sync.Mutex
	scan     sync.Mutex // one look for namespaces at a time

	mu       sync.Mutex
	nodes    []*node // in the order they came to be
	procs    map[int]*process
	tools    map[int]*process // those of the machine's that run just now
	cancels  map[int]context.CancelFunc
	started  map[int]bool // children that somebody waits for
	collect  *[]trace.Trace
	room     int   // steps of journeys that collect still takes
	from     int64 // journeys that began before do not belong to the running command
	seq      uint64
	building bool // the world is being made: links may reach into any node

	out   chan response
	wake  chan struct{}  // something changed
	queue []trace.Packet // sightings not yet sent
	tell  chan struct{}  // queue has something
	busy  chan struct{}  // a journey may be under way
	watch bool

	spawned  atomic.Int64 // processes started by op.Spawn
	settling atomic.Bool  // an operation waits until all that it caused was seen

	dropped uint64 // sightings that queue had no room for
	unheard uint64 // how often netfilter's reports had no room: at least one packet each
}

func runInside() {
	if err := sandbox.ShieldInit(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	debug.SetGCPercent(200) // of some 3 MB that live: half as often
	conn := sandbox.OpenControl()
	in := &inside{
		procs: map[int]*process{}, tools: map[int]*process{}, cancels: map[int]context.CancelFunc{}, started: map[int]bool{},
		out: make(chan response, 64), wake: make(chan struct{}, 1), tell: make(chan struct{}, 1), busy: make(chan struct{}, 1),
	}
	in.asm = capture.NewAssembler(in, in.journey)
	go in.write(conn)
	dec := json.NewDecoder(conn)
	for {
		var r request
		if err := dec.Decode(&r); err != nil {
			os.Exit(0) // the server is gone, or let go of us; the kernel does the rest
		}
		switch r.Method {
		case "open":
			if r.V != wireVersion {
				in.out <- response{ID: r.ID, Err: fmt.Sprintf("the server speaks version %d, the lab %d", r.V, wireVersion)}
				continue
			}
			in.answer(r.ID, response{}, in.open(r))
		case "apply":
			ctx, cancel := context.WithCancel(context.Background())
			in.mu.Lock()
			in.cancels[r.ID] = cancel
			in.mu.Unlock()
			go func() {
				res, err := in.Apply(ctx, r.Node, r.Op)
				in.mu.Lock()
				delete(in.cancels, r.ID)
				in.mu.Unlock()
				cancel()
				in.answer(r.ID, response{Result: &res}, err)
			}()
		case "cancel":
			in.mu.Lock()
			if cancel := in.cancels[r.Of]; cancel != nil {
				cancel()
			}
			in.mu.Unlock()
		case "snapshot":
			go func() {
				in.rescan()
				s := in.snapshot(true)
				in.out <- response{ID: r.ID, Snapshot: s}
			}()
		case "watch":
			in.mu.Lock()
			in.watch = true
			in.mu.Unlock()
			in.out <- response{ID: r.ID}
		}
	}
}

func (in *inside) answer(id int, r response, err error) {
	r.ID = id
	if err != nil {
		r = response{ID: id, Err: err.Error()}
	}
	in.out <- r
}

// write sends what is to be said, all that has queued in one write.
func (in *inside) write(w io.Writer) {
	b := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(b)
	for {
		select {
		case r := <-in.out:
			in.flushPackets(enc)
			if enc.Encode(r) != nil {
				os.Exit(0)
			}
		case <-in.tell:
			in.flushPackets(enc)
		}
		if len(in.out) == 0 && b.Flush() != nil {
			os.Exit(0)
		}
	}
}

// flushPackets sends the sightings that have queued.
func (in *inside) flushPackets(enc *json.Encoder) {
	in.mu.Lock()
	q := in.queue
	in.queue = nil
	in.mu.Unlock()
	if len(q) > 0 {
		_ = enc.Encode(response{Event: &op.Event{Packets: q}}) // the next write finds the same error
	}
}

// event tells those who watch. It waits while the server does not read.
func (in *inside) event(e op.Event) {
	in.mu.Lock()
	watch := in.watch
	in.mu.Unlock()
	if watch {
		in.out <- response{Event: &e}
	}
}

// maxSteps bounds how many journeys a command's result holds, by their steps;
// a flood goes on for longer. Those who watch are told of all.
const maxSteps = 20_000

// maxQueue bounds the sightings that wait to be sent.
const maxQueue = 20000

// open makes the world.
func (in *inside) open(r request) error {
	nl.EnableErrorMessageReporting = true // the kernel's own sentences (NLMSGERR_ATTR_MSG)
	var err error
	if limbo, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	go in.reap()
	for _, spec := range r.World.Nodes {
		if err := sandbox.MakeMachine(spec.Name); err != nil {
			return err
		}
		ns, err := newNS("")
		if err != nil {
			return err
		}
		n, err := in.openNode(spec.Name, spec.Kind, spec.Name, ns)
		if err != nil {
			return err
		}
		in.nodes = append(in.nodes, n)
	}
	in.building = true
	for _, l := range r.World.Setup {
		res, err := in.Apply(context.Background(), l.Node, l.Op)
		if err == nil && res.Status != 0 {
			err = fmt.Errorf("%s%s", res.Stderr, res.Output)
			if res.Failure != nil {
				err = res.Failure
			}
		}
		if err != nil {
			o, _ := op.Unmarshal(l.Op)
			return fmt.Errorf("%s# %s: %w", l.Node, o, err)
		}
	}
	in.building = false
	in.syncCarriers()
	in.settle(context.Background())
	go in.tick()
	go in.follow()
	return nil
}

// node returns the node of that name, or nil.
func (in *inside) node(name string) *node {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.nodeLocked(name)
}

func (in *inside) nodeLocked(name string) *node {
	for _, n := range in.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

func (in *inside) all() []*node {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.nodes)
}

// sighting takes in a frame that a packet socket saw.
func (in *inside) sighting(n *node, s capture.Sighting) {
	s.Node = n.name
	in.mu.Lock()
	in.seq++
	s.Seq = in.seq
	switch {
	case !in.watch:
	case len(in.queue) == maxQueue:
		in.dropped++
	default:
		in.queue = append(in.queue, trace.Packet{Seq: s.Seq, Node: s.Node, Dev: s.Dev, Out: s.Out, At: s.At, Header: s.Header,
			Summary: s.Header.Summary(), Payload: printable(s.Header, s.Payload)})
	}
	in.mu.Unlock()
	signalTo(in.tell)
	in.asm.Sighting(s)
	signalTo(in.busy)
}

// printable returns the data of a TCP or UDP packet where it is text.
func printable(h trace.Header, b []byte) string {
	if h.Proto != "tcp" && h.Proto != "udp" {
		return ""
	}
	for i, c := range b {
		if c >= 0x7f || c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			b = b[:i]
			break
		}
	}
	if len(b) < 4 {
		return ""
	}
	return string(b)
}

// handlers are told what netfilter does in a node.
func (in *inside) handlers(n *node) capture.Handlers {
	return capture.Handlers{
		Hook: func(h capture.Hook) {
			h.Node = n.name
			in.asm.Hook(h)
			signalTo(in.busy)
		},
		Conn: func(ev capture.ConnEvent) {
			ev.Node = n.name
			in.asm.Conn(ev)
			n.mu.Lock()
			n.traffic, n.connsOK = true, false
			n.mu.Unlock()
			signalTo(in.wake)
		},
		Rules: func() {
			n.mu.Lock()
			n.tablesOK = false
			n.mu.Unlock()
			in.touch(n)
		},
		Tables: func() []state.Table { return in.tables(n) },
		Name:   n.linkName,
		Lost: func() {
			in.mu.Lock()
			in.unheard++
			in.mu.Unlock()
		},
	}
}

// journey takes in a journey that ended.
func (in *inside) journey(t trace.Trace) {
	in.mu.Lock()
	if in.collect != nil && t.Start >= in.from && in.room > 0 {
		*in.collect = append(*in.collect, t)
		for _, h := range t.Hops {
			in.room -= len(h.Steps)
		}
	}
	in.mu.Unlock()
	in.event(op.Event{Trace: &t})
}

// Node implements capture.View.
func (in *inside) Node(name string) *state.Node {
	n := in.node(name)
	if n == nil {
		return nil
	}
	return in.fresh(n)
}

// Tunnel implements capture.View.
func (in *inside) Tunnel(port uint16) bool {
	for _, n := range in.all() {
		if s := in.fresh(n); s != nil && slices.ContainsFunc(s.Links, func(l state.Link) bool { return l.VXLAN != nil && l.VXLAN.Port == int(port) }) {
			return true
		}
	}
	return false
}

// Counters implements capture.View.
func (in *inside) Counters(name string) map[string]uint64 {
	n := in.node(name)
	if n == nil {
		return nil
	}
	now := n.readCounters()
	n.mu.Lock()
	defer n.mu.Unlock()
	rose := map[string]uint64{}
	for k, v := range now {
		if before, ok := n.counters[k]; ok && v > before {
			rose[k] = v - before
		}
	}
	if len(rose) == 0 {
		return nil
	}
	return rose
}

// touch notes that something changed in a node.
func (in *inside) touch(n *node) {
	n.mu.Lock()
	n.dirty, n.settings, n.traffic = true, true, true
	n.mu.Unlock()
	signalTo(in.wake)
}

// signalTo leaves a token in a channel that holds one, unless one is there.
func signalTo(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tick ends journeys that went quiet, and tells what could not be taken in. A
// lab without traffic sleeps.
func (in *inside) tick() {
	const pause, report = 5 * time.Millisecond, 500 * time.Millisecond
	reported := time.Now()
	for {
		select {
		case <-in.busy:
		case <-time.After(report):
		}
		for {
			if in.settling.Load() { // which does the same, and more often
				time.Sleep(pause)
				continue
			}
			left, next := in.flush()
			if left == 0 {
				break
			}
			time.Sleep(max(next, pause))
			if time.Since(reported) > report {
				in.reportLoss()
				reported = time.Now()
			}
		}
		in.reportLoss()
	}
}

// reportLoss tells what the sockets and the queue had no room for, and what was
// too much to follow.
func (in *inside) reportLoss() {
	in.mu.Lock()
	lost, unfollowed := in.dropped, in.unheard
	in.dropped, in.unheard = 0, 0
	in.mu.Unlock()
	for _, n := range in.all() {
		if n.packet != nil {
			lost += n.packet.Lost()
		}
	}
	if lost > 0 {
		in.event(op.Event{Dropped: lost})
	}
	if unfollowed += in.asm.Skipped(); unfollowed > 0 {
		in.event(op.Event{Unfollowed: unfollowed})
	}
}

// follow tells those who watch of every change, a few times a second at most.
func (in *inside) follow() {
	for range in.wake {
		time.Sleep(40 * time.Millisecond) // changes come in bursts
		in.mu.Lock()
		watch := in.watch
		in.mu.Unlock()
		if watch {
			in.rescan()
			in.event(op.Event{Snapshot: in.snapshot(false)})
		}
	}
}

// flush ends the journeys that went quiet. The sockets are read first, so that
// nothing that has queued is missing; it reports how many are still under way,
// and after how long the next of them may end.
// One flush at a time: when it returns, every journey that ended was taken in.
func (in *inside) flush() (left int, next time.Duration) {
	in.flushing.Lock()
	defer in.flushing.Unlock()
	for _, n := range in.all() {
		n.drain()
	}
	return in.asm.Flush(time.Now(), false)
}

// settle waits until all that the last operation caused has been seen: the
// sockets are empty and no journey is under way.
func (in *inside) settle(ctx context.Context) {
	const most = 600 * time.Millisecond // traffic that never stops is not waited for
	in.settling.Store(true)
	defer in.settling.Store(false)
	for deadline := time.Now().Add(most); ; {
		left, next := in.flush()
		if left == 0 || time.Now().After(deadline) || ctx.Err() != nil {
			return
		}
		time.Sleep(min(max(next, time.Millisecond), capture.Idle))
	}
}

// rescan finds the namespaces that were given a name or lost it since the last
// look, by whomever.
func (in *inside) rescan() {
	in.scan.Lock()
	defer in.scan.Unlock()
	type found struct {
		machine, name string
		inode         uint64
	}
	var names []found
	for _, m := range in.all() {
		if m.kind == state.Container {
			continue
		}
		entries, err := os.ReadDir(netnsDir(m.name))
		if err != nil {
			continue
		}
		links := map[string]string{}
		for _, e := range entries {
			if e.Type()&os.ModeSymlink != 0 { // it names a process's namespace, and pins nothing
				if to, err := os.Readlink(netnsDir(m.name) + "/" + e.Name()); err == nil {
					links[e.Name()] = to
				}
				continue
			}
			if ino, err := inodeOf(netnsDir(m.name) + "/" + e.Name()); err == nil {
				names = append(names, found{m.name, e.Name(), ino})
			}
		}
		m.mu.Lock()
		changed := !maps.Equal(m.links, links)
		m.links = links
		m.mu.Unlock()
		if changed {
			in.touch(m)
		}
	}
	ks := keepers()
	for _, n := range in.all() {
		if n.kind != state.Container {
			continue
		}
		i := slices.IndexFunc(names, func(f found) bool { return f.inode == n.inode })
		in.mu.Lock()
		was := n.mounted
		n.mounted = i >= 0
		in.mu.Unlock()
		if i >= 0 {
			names = slices.Delete(names, i, i+1)
			continue
		}
		if was {
			in.touch(n)
		}
		k := slices.IndexFunc(ks, func(k keeper) bool { return k.inode == n.inode })
		if k < 0 {
			in.remove(n)
			continue
		}
		stays := slices.ContainsFunc(ks, func(k keeper) bool { return k.pid == n.keeper && k.inode == n.inode })
		if !stays {
			n.keeper = ks[k].pid
			in.touch(n)
		}
	}
	for _, f := range names {
		if in.owns(f.inode) {
			continue
		}
		path := netnsDir(f.machine) + "/" + f.name
		ns, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // of a fifo it waits for no writer
		if err != nil {
			continue
		}
		var fs unix.Statfs_t
		if unix.Fstatfs(int(ns.Fd()), &fs) != nil || fs.Type != unix.NSFS_MAGIC {
			ns.Close() // a file that a half-done `ip netns add` left
			continue
		}
		n, err := in.openNode(in.freeName(f.name), state.Container, f.machine, ns)
		if err != nil {
			fmt.Fprintln(os.Stderr, err) // tried again at the next look
			continue
		}
		in.mu.Lock()
		in.nodes = append(in.nodes, n)
		in.mu.Unlock()
		in.touch(n)
	}
	in.adopt(ks)
}

func (in *inside) owns(inode uint64) bool {
	return slices.ContainsFunc(in.all(), func(n *node) bool { return n.inode == inode })
}

// remove forgets a node whose namespace nobody uses any more, and waits until
// the kernel has taken it away: cleanup_net runs in a work queue, and only then
// do the far ends of its veth pairs disappear. Its other links answer until then,
// and have no far end: they get company that has one.
func (in *inside) remove(n *node) {
	in.mu.Lock()
	in.nodes = slices.DeleteFunc(in.nodes, func(m *node) bool { return m == n })
	in.mu.Unlock()
	type far struct {
		at   *netlink.Handle
		link string
	}
	var peers []far
	if s := in.fresh(n); s != nil {
		alone := false
		for _, l := range s.Links {
			if m := in.node(l.PeerNode); m != nil {
				peers = append(peers, far{m.handle, l.PeerName})
			}
			alone = alone || l.Type == "macvlan" || l.Type == "vxlan"
		}
		if alone && len(peers) == 0 {
			peer := fmt.Sprintf("gone%d", n.inode)
			if h, err := netlink.NewHandleAt(netns.NsHandle(limbo.Fd()), unix.NETLINK_ROUTE); err == nil {
				defer h.Close()
				company := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: peer}, PeerName: peer, PeerNamespace: netlink.NsFd(int(limbo.Fd()))}
				if n.handle.LinkAdd(company) == nil {
					peers = append(peers, far{h, peer})
				}
			}
		}
	}
	n.close()
	for deadline := time.Now().Add(2 * time.Second); len(peers) > 0 && time.Now().Before(deadline); {
		peers = slices.DeleteFunc(peers, func(p far) bool {
			_, err := p.at.LinkByName(p.link)
			return err != nil
		})
		time.Sleep(2 * time.Millisecond)
	}
	in.syncCarriers()
	for _, m := range in.all() {
		in.touch(m)
	}
}
