// Package docker is the Docker daemon and its command line as operations: what
// `docker` and `dockerd` do to a machine's network, step by step.
//
//	op.Tool{docker run -d -p 8088:80 nginx}          any other operation
//	        │                                                │
//	        ▼                                                │
//	Engine.Apply ─ command line (cli*.go) ─ Daemon           │
//	        │   primitives: lines of a transcript            │
//	        │   iptables -t nat -A DOCKER …                  │
//	        │   ip link add veth… type veth peer name veth…  │
//	        ▼                                                ▼
//	cmdline.Parse ─ op.Op ──────────▶ Lab.Apply: the simulator, or the kernel
//
// Wrap puts an Engine around a lab. It answers the commands docker, dockerd,
// `systemctl … docker` and `service docker …`, and passes everything else on.
// Whatever it does to the lab it does by primitives, in the order in which
// dockerd does them; each is recorded as an op.Deed, and can be typed by hand.
// What the daemon only looks up (iptables -C, listings) it takes from the
// snapshot or from its own memory, and is no primitive.
//
// The reference is Debian's docker.io 20.10.24: its texts, exit statuses, the
// order of what it does. Each file is one subject:
//
//	docker.go    Engine, Daemon, Container, Network; dispatch      primitive.go  lines done in the lab
//	cli*.go      the docker command's flags, usage and errors      explain.go    --explain
//	config.go    dockerd's flags, daemon.json                      daemon.go     start, stop, restart
//	firewall.go  chains and rules                                  network.go    docker network …
//	bridge.go    the bridge driver                                 ipam.go       pools and addresses
//	container.go create, start, stop, rm                           endpoint.go   veth pair and sandbox
//	ports.go     -p, allocation, mapping, docker-proxy             files.go      hosts, resolv.conf, hostname
//	resolver.go  the embedded DNS server                           swarm.go      machines that share networks
//	overlay.go   the overlay driver                                gwbridge.go   docker_gwbridge
//	bounds.go    how much a daemon keeps
package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Lab is what an Engine acts on, and is itself: lessons.Backend in other words.
type Lab interface {
	Apply(ctx context.Context, node string, o op.Op) (op.Result, error)
	Snapshot(ctx context.Context) (*state.Snapshot, error)
	Close() error
}

// Engine is a lab in which Docker is installed on every machine.
type Engine struct {
	lab Lab

	turn     chan struct{}       // holds a token while somebody uses what follows
	daemons  map[string]*Daemon  // by machine
	clusters map[string]*Cluster // swarms, by ID
	random   *rand.Rand          // ids, MAC addresses and names: the same in every lab
	source   *rand.PCG           // its state
}

// Wrap installs Docker on the machines of a lab. No daemon runs yet.
func Wrap(lab Lab) *Engine {
	source := rand.NewPCG(0x0d0c, 0)
	return &Engine{lab: lab, turn: make(chan struct{}, 1), daemons: map[string]*Daemon{}, clusters: map[string]*Cluster{}, random: rand.New(source), source: source}
}

// Restore is Wrap for a lab that goes on from a snapshot: with the daemons that
// the snapshot's lab had.
func Restore(lab Lab, s *state.Snapshot) (*Engine, error) {
	e := Wrap(lab)
	if len(s.Docker) == 0 {
		return e, nil
	}
	var k kept
	if err := json.Unmarshal(s.Docker, &k); err != nil {
		return nil, fmt.Errorf("what Docker keeps: %w", err)
	}
	if err := e.source.UnmarshalBinary(k.Random); err != nil {
		return nil, fmt.Errorf("what Docker keeps: %w", err)
	}
	if k.Daemons != nil {
		e.daemons = k.Daemons
	}
	if k.Clusters != nil {
		e.clusters = k.Clusters
	}
	return e, nil
}

// kept is what a snapshot holds of an Engine.
type kept struct {
	Random   []byte
	Daemons  map[string]*Daemon
	Clusters map[string]*Cluster `json:",omitempty"`
}

// Snapshot returns the state of all nodes, and what the daemons keep.
func (e *Engine) Snapshot(ctx context.Context) (*state.Snapshot, error) {
	s, err := e.lab.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.lock(ctx); err != nil {
		return nil, err
	}
	defer e.unlock()
	k := kept{Daemons: map[string]*Daemon{}, Clusters: e.clusters}
	for machine, d := range e.daemons {
		if d.Running || len(d.Networks) > 0 {
			k.Daemons[machine] = d
		}
	}
	if len(k.Daemons) == 0 {
		return s, nil
	}
	if k.Random, err = e.source.MarshalBinary(); err == nil {
		s.Docker, err = json.Marshal(k)
	}
	return s, err
}

// lock waits until no other command of ours runs, or until ctx has ended.
func (e *Engine) lock(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) unlock() { <-e.turn }

// Close ends the lab.
func (e *Engine) Close() error { return e.lab.Close() }

// Watch calls fn for every event of a lab that tells of them.
func (e *Engine) Watch(fn func(op.Event)) {
	if l, ok := e.lab.(interface{ Watch(func(op.Event)) }); ok {
		l.Watch(fn)
	}
}

// Daemon is dockerd on one machine, and what it keeps on disk while it does not
// run. It is plain data: a copy of it is another daemon in the same state.
type Daemon struct {
	Machine string // the node it runs in
	Running bool
	Pid     int // of dockerd; 0 while it does not run

	Config     Config
	NextPool   int          // among the predefined pools, where the search for a free one goes on
	Ports      *PortsInUse  `json:",omitempty"`
	Networks   []*Network   // in the order they were made: bridge, host and none first
	Containers []*Container // in the order they were made
	Swarm      *Swarm       `json:",omitempty"`
}

// Container is a network namespace kept by a process, and what Docker knows of it.
type Container struct {
	ID      string // 64 hexadecimal digits
	Name    string // without the slash
	Image   string
	Command []string // "docker ps" shows it; what runs is the image's process, see images.go
	Created time.Duration

	Hostname, Domainname string
	Running              bool
	Pid                  int    // of the process that keeps the namespace; 0 while it does not run
	Node                 string // the lab's name for the namespace; the machine's with --net=host
	Box                  string `json:",omitempty"` // no container, but a sandbox of dockerd's own: its name in /run/netns
	StartedAt, EndedAt   time.Duration
	ExitCode             int
	AutoRemove           bool   // --rm
	Restart              string // --restart; "" is no

	NetworkMode string // default, bridge, host, none, container:ID, or a network's name
	MAC         string // --mac-address
	DNS         []string
	DNSSearch   []string
	DNSOptions  []string
	ExtraHosts  []string // --add-host NAME:ADDRESS
	Links       []Link   // --link, on the default bridge
	PublishAll  bool     // -P
	Exposed     []Port   // the image's and --expose's, sorted as dockerd has them
	Bindings    []Binding

	// Endpoints are one for each network, in the order of dockerd's sandbox once
	// the container runs: the first gives the default route.
	Endpoints []*Endpoint
	NextDev   int  // the number of the next interface: eth0, eth1
	Joins     int  // how many endpoints there were
	Stopped   bool // by somebody: --restart does not hold

	HostIPs []netip.Addr // its own lines of its hosts file

	Resolver int    // port of the embedded name server; 0: there is none
	Names    string // what it answers, as its file has it
	Ran      bool   // it has been started at some time
	Execs    []int  `json:",omitempty"` // what docker exec -d started in it
	// Spec is what `docker inspect` tells and nothing here needs.
	Env, Labels []string
	Size        int `json:",omitempty"` // bytes of the command line that made it
}

// Link is one --link of a container.
type Link struct {
	Container string // the other's name
	Alias     string
}

// Port is a port of a container: 80/tcp.
type Port struct {
	Proto string
	Port  uint16
}

func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Port, p.Proto) }

// Binding is what -p asks for: a port, or a range to choose from, of the host.
type Binding struct {
	Port             // the container's
	HostIP           netip.Addr
	HostLow, HostEnd uint16 // 0, 0: any free one
}

// Mapping is a published port as it came about.
type Mapping struct {
	Port
	HostIP   netip.Addr // 0.0.0.0: all
	HostPort uint16
	Proxy    int // pid of its docker-proxy; 0: none
}

// Endpoint is a container's place in a network.
type Endpoint struct {
	ID      string // 64 hexadecimal digits
	Network string // the network's ID
	Aliases []string
	Links   []Link     // names the embedded DNS server knows in this network only
	WantIP  netip.Addr `json:",omitzero"` // --ip
	Order   int        // in which the container's came to be
	Outward bool       `json:",omitempty"` // in docker_gwbridge, for the default route only

	// Set while the container runs.
	IP       netip.Addr `json:",omitzero"`
	MAC      string
	Gateway  netip.Addr `json:",omitzero"`
	HostDev  string     // the end of the pair that stays: veth1a2b3c4
	PeerDev  string     // the end that becomes Dev
	Dev      string     // inside: eth0
	Mappings []Mapping
}

// Network is a network as `docker network` shows it.
type Network struct {
	ID       string // 64 hexadecimal digits
	Name     string
	Driver   string // bridge, host, null, overlay
	Scope    string // local, swarm
	Created  time.Duration
	Internal bool
	Attach   bool              // --attachable
	Options  map[string]string // -o, as given
	Labels   map[string]string
	Pools    []Pool // IPAM, IPv4

	Bridge  string // the device: docker0, br-1a2b3c4d5e6f
	ICC     bool
	Masq    bool
	MTU     int
	HostIP  netip.Addr // -o com.docker.network.bridge.host_binding_ipv4: where -p binds; zero: everywhere
	VNI     int        // overlay
	Ingress bool

	Default   bool         // the network bridge, which dockerd makes anew at each start
	Size      int          `json:",omitempty"` // bytes of the command line that made it
	OwnSubnet bool         // somebody chose the subnet
	OwnBridge bool         // the driver made the device, and removes it
	SNAT      netip.Addr   // -o com.docker.network.host_ipv4: instead of MASQUERADE
	IPAM      []IPAMConfig // as somebody asked for it
}

// Pool is a network's subnet and the addresses given out of it.
type Pool struct {
	Subnet  netip.Prefix
	Range   netip.Prefix // --ip-range; zero: the subnet
	Gateway netip.Addr   // zero for an internal network without one
	Aux     map[string]netip.Addr
	Used    []netip.Addr // sorted
	Last    netip.Addr   // given out last: the search goes on after it
}

// networkByID returns the network of an ID, or nil.
func (d *Daemon) networkByID(id string) *Network {
	for _, n := range d.Networks {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// attached returns the containers that run and are in a network.
func (d *Daemon) attached(n *Network) (cs []*Container) {
	for _, c := range d.Containers {
		if c.Running && c.endpoint(n) != nil {
			cs = append(cs, c)
		}
	}
	return cs
}

// endpoint returns the container's place in a network, or nil.
func (c *Container) endpoint(n *Network) *Endpoint {
	for _, e := range c.Endpoints {
		if e.Network == n.ID {
			return e
		}
	}
	return nil
}

// Kind says what sort of refusal an Error is; the API's status follows from it
// (moby, errdefs).
type Kind int

// The kinds of refusal.
const (
	System   Kind = iota // 500
	Invalid              // 400
	NotFound             // 404
	Conflict             // 409
	Forbid               // 403
)

// Error is a refusal of the daemon's, in its own words, without the client's
// "Error response from daemon: ".
type Error struct {
	Kind Kind
	Text string
	Code int // of a container that could not be started: 126, 127, 128; else 0
}

func (e *Error) Error() string { return e.Text }

func refuse(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Text: fmt.Sprintf(format, args...)}
}

// lost is a failure of the lab itself: nothing more can be done in it.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

// Apply does an operation in a node: Docker's own commands here, all others in
// the lab.
func (e *Engine) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	t, ok := o.(op.Tool)
	if !ok {
		return e.lab.Apply(ctx, node, o)
	}
	argv := bare(t.Argv)
	if len(argv) == 0 {
		return e.lab.Apply(ctx, node, o)
	}
	run := e.program(argv)
	if run == nil {
		return e.lab.Apply(ctx, node, o)
	}
	if err := e.lock(ctx); err != nil {
		return op.Result{}, err
	}
	defer e.unlock()
	if in, _ := op.SplitAt(node); in != "" { // a namespace of that machine
		node = in
	}
	c := &call{ctx: ctx, engine: e, node: node, argv: argv, stdin: t.Stdin, background: t.Background}
	if err := c.begin(); err != nil {
		return op.Result{}, err
	}
	if c.d == nil { // no such node: the lab says so
		return e.lab.Apply(ctx, node, o)
	}
	if t.Started != nil {
		t.Started()
	}
	err := c.tend()
	status := 1
	if err == nil {
		status, err = run(c)
	}
	if err == nil && c.tell {
		status, err = c.explained(run)
	}
	res := op.Result{Output: c.out.String(), Stderr: c.errs.String(), Status: status, Deeds: c.deeds, Traces: c.traces}
	if l := (lost{}); errors.As(err, &l) {
		return res, l.error
	}
	if err != nil { // a program says everything else itself
		res.Stderr += err.Error() + "\n"
		res.Status = max(1, res.Status)
	}
	return res, nil
}

// bare takes `env -C DIR NAME=VALUE…`, with which a shell passes its
// surroundings on, off a command line.
func bare(argv []string) []string {
	if len(argv) == 0 || argv[0] != "env" {
		return argv
	}
	rest := argv[1:]
	for len(rest) > 0 && (rest[0] == "-C" || strings.Contains(rest[0], "=")) {
		if rest[0] == "-C" {
			rest = rest[1:]
		}
		rest = rest[min(1, len(rest)):]
	}
	return rest
}

// program returns the program of ours that a command line names, or nil. It
// reports an exit status; an error is a lost lab.
func (e *Engine) program(argv []string) func(*call) (int, error) {
	name := argv[0]
	if dir, base := path.Split(name); slices.Contains([]string{"/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/"}, dir) {
		name = base
	}
	switch {
	case name == "docker":
		return (*call).docker // cli.go
	case name == "dockerd":
		return (*call).dockerd // daemon.go
	case name == "systemctl" && slices.ContainsFunc(argv, isUnit), name == "service" && len(argv) > 1 && isUnit(argv[1]):
		return (*call).service // daemon.go
	}
	return nil
}

func isUnit(s string) bool { return s == "docker" || s == "docker.service" || s == "docker.socket" }
