// Package op is the closed set of operations a lab can be asked to do.
//
// An operation is what a command means, whichever tool wrote it: `brctl addbr
// br0` and `ip link add br0 type bridge` are the same LinkAdd. String
// gives the canonical command. Both backends take operations and nothing else.
package op

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Op is one operation. The set is closed: only this package can add to it.
type Op interface {
	fmt.Stringer // the canonical command
	op()
}

// NetnsAdd makes a named network namespace: ip netns add.
type NetnsAdd struct{ Name string }

// NetnsDel takes the name away: ip netns del. The namespace itself dies when
// nothing else uses it.
type NetnsDel struct{ Name string }

// LinkAdd makes a link: ip link add.
type LinkAdd struct {
	Name      string
	Kind      string     // veth, bridge, macvlan, vxlan
	Peer      string     `json:",omitempty"` // veth: the name of the other end ("" lets the kernel choose)
	PeerNetns string     `json:",omitempty"` // veth: the node the other end is put in
	Parent    string     `json:",omitempty"` // macvlan: link; vxlan: dev
	MAC       string     `json:",omitempty"`
	MTU       int        `json:",omitempty"` // bytes
	VNI       int        `json:",omitempty"` // vxlan
	Port      int        `json:",omitempty"` // vxlan: UDP port
	Local     netip.Addr `json:",omitzero"`
	Remote    netip.Addr `json:",omitzero"`
	// vxlan: it answers ARP requests itself, of the neighbours it knows (Proxy);
	// L2Miss and L3Miss tell whoever listens of a MAC or IP address it does not know.
	Proxy, L2Miss, L3Miss bool `json:",omitempty"`
}

// LinkDel removes a link, and a veth's peer with it: ip link del.
type LinkDel struct{ Name string }

// LinkSet changes a link: ip link set. Zero fields are left as they are.
type LinkSet struct {
	Name     string
	Up       *bool  `json:",omitempty"`
	NewName  string `json:",omitempty"`
	MAC      string `json:",omitempty"`
	MTU      int    `json:",omitempty"` // bytes
	Master   string `json:",omitempty"`
	NoMaster bool   `json:",omitempty"`
	// Free, with Master, refuses with EBUSY a link that has a master already, as
	// brctl addif does (br_add_if, net/bridge/br_if.c); ip link set moves it.
	Free  bool   `json:",omitempty"`
	Netns string `json:",omitempty"` // a name, or a pid in digits
}

// AddrAdd gives a link an address: ip addr add.
type AddrAdd struct {
	Dev       string
	Prefix    netip.Prefix // not masked: 172.18.0.1/16
	Broadcast string       `json:",omitempty"` // an address, or "+"
	Label     string       `json:",omitempty"`
}

// AddrDel takes an address from a link: ip addr del.
type AddrDel struct {
	Dev    string
	Prefix netip.Prefix
}

// AddrFlush takes all addresses from a link: ip addr flush dev.
type AddrFlush struct{ Dev string }

// Route is a row of a routing table as a command names it.
type Route struct {
	Type   string       `json:",omitempty"` // "" means unicast; blackhole, unreachable, prohibit
	Dst    netip.Prefix // 0.0.0.0/0 is "default"
	Via    netip.Addr   `json:",omitzero"`
	Dev    string       `json:",omitempty"`
	Src    netip.Addr   `json:",omitzero"`
	Metric int          `json:",omitempty"`
	Table  int          `json:",omitempty"` // 0 means main
	Scope  string       `json:",omitempty"`
	Onlink bool         `json:",omitempty"`
}

// RouteAdd adds a route: ip route add.
type RouteAdd struct{ Route }

// RouteReplace adds a route or takes the place of one: ip route replace.
type RouteReplace struct{ Route }

// RouteDel removes a route: ip route del.
type RouteDel struct{ Route }

// NeighFlush forgets what ARP learned on a link: ip neigh flush dev.
type NeighFlush struct{ Dev string }

// SysctlSet sets a kernel setting: sysctl -w, or a write to /proc/sys.
type SysctlSet struct{ Key, Value string } // Key in the form net.ipv4.ip_forward

// RuleAppend puts a rule at the end of a chain: iptables -A.
type RuleAppend struct {
	Table, Chain string
	Spec         []string
}

// RuleInsert puts a rule at a place in a chain, from 1: iptables -I.
type RuleInsert struct {
	Table, Chain string
	Pos          int
	Spec         []string
}

// RuleDelete removes a rule by its text: iptables -D CHAIN SPEC.
type RuleDelete struct {
	Table, Chain string
	Spec         []string
}

// RuleDeleteAt removes a rule by its number, from 1: iptables -D CHAIN N.
type RuleDeleteAt struct {
	Table, Chain string
	Pos          int
}

// RuleCheck asks whether a rule exists: iptables -C.
type RuleCheck struct {
	Table, Chain string
	Spec         []string
}

// ChainNew makes a user's chain: iptables -N.
type ChainNew struct{ Table, Chain string }

// ChainDel removes an empty user's chain: iptables -X.
type ChainDel struct{ Table, Chain string }

// ChainFlush removes all rules of a chain, or of all chains of the table when
// Chain is empty: iptables -F.
type ChainFlush struct{ Table, Chain string }

// ChainZero sets counters to zero: iptables -Z.
type ChainZero struct{ Table, Chain string }

// PolicySet sets a built-in chain's policy: iptables -P.
type PolicySet struct{ Table, Chain, Policy string }

// Ping sends ICMP echo requests and waits for the answers.
type Ping struct {
	Dst   netip.Addr
	Count int           // ≥ 1
	Wait  time.Duration `json:",omitempty"` // for each answer; 0 means one second
	Size  int           `json:",omitempty"` // bytes of payload; 0 means 56
	TTL   int           `json:",omitempty"`
	From  string        `json:",omitempty"` // -I: an address or an interface
	NoDF  bool          `json:",omitempty"`
	DF    bool          `json:",omitempty"` // -M do
}

// HTTPGet fetches a page: curl.
type HTTPGet struct {
	URL     string
	Silent  bool          `json:",omitempty"` // -s
	Timeout time.Duration `json:",omitempty"` // -m; 0 means five seconds
	// Head asks for the headers only (-I), Verbose for what curl -v prints.
	Head    bool `json:",omitempty"`
	Verbose bool `json:",omitempty"`
}

// HTTPServe runs a web server in the background: python3 -m http.server PORT &.
type HTTPServe struct {
	Port int
	Bind netip.Addr `json:",omitzero"` // zero listens on every address
}

// DNSServe runs a name server in the background that answers for Names:
// dnsmasq --address=/NAME/ADDRESS &.
type DNSServe struct {
	Names map[string]netip.Addr
	// Listen and Port, with which it also takes TCP, are where it listens; zero
	// is every address, port 53.
	Listen netip.Addr `json:",omitzero"`
	Port   int        `json:",omitempty"`
	// HostsDir is a directory whose files, in the form of hosts(5), it also
	// answers from, as they are when it is asked.
	HostsDir string `json:",omitempty"`
	// Forward are the servers it asks what it does not know.
	Forward []netip.Addr `json:",omitempty"`
}

// ProcKill ends the background processes a node started by name: pkill, or
// kill %1. An empty Name means all.
type ProcKill struct{ Name string }

// Sleep lets time pass: sleep.
type Sleep struct{ Duration time.Duration }

// Tool is a command only the machine's own tool can answer: a listing
// (`ip addr`, `iptables -L`, `conntrack -L`), or a form this package has no
// operation for. It may change the lab; whoever runs it looks afterwards.
type Tool struct {
	Argv  []string
	Stdin string `json:",omitempty"`
	// Background lets other operations be done while this one runs, as with
	// `tcpdump &`. Its result still comes when it ends, and has no Traces.
	Background bool `json:",omitempty"`
	// Started, where it is set, is called once a tool in the background is under
	// way; a backend that cannot tell does not call it.
	Started func() `json:"-"`
}

func (NetnsAdd) op()     {}
func (NetnsDel) op()     {}
func (LinkAdd) op()      {}
func (LinkDel) op()      {}
func (LinkSet) op()      {}
func (AddrAdd) op()      {}
func (AddrDel) op()      {}
func (AddrFlush) op()    {}
func (RouteAdd) op()     {}
func (RouteReplace) op() {}
func (RouteDel) op()     {}
func (NeighFlush) op()   {}
func (SysctlSet) op()    {}
func (RuleAppend) op()   {}
func (RuleInsert) op()   {}
func (RuleDelete) op()   {}
func (RuleDeleteAt) op() {}
func (RuleCheck) op()    {}
func (ChainNew) op()     {}
func (ChainDel) op()     {}
func (ChainFlush) op()   {}
func (ChainZero) op()    {}
func (PolicySet) op()    {}
func (Ping) op()         {}
func (HTTPGet) op()      {}
func (HTTPServe) op()    {}
func (DNSServe) op()     {}
func (ProcKill) op()     {}
func (Sleep) op()        {}
func (Tool) op()         {}

var all = []Op{NetnsAdd{}, NetnsDel{}, LinkAdd{}, LinkDel{}, LinkSet{}, AddrAdd{}, AddrDel{}, AddrFlush{},
	RouteAdd{}, RouteReplace{}, RouteDel{}, NeighFlush{}, SysctlSet{}, RuleAppend{}, RuleInsert{}, RuleDelete{},
	RuleDeleteAt{}, RuleCheck{}, ChainNew{}, ChainDel{}, ChainFlush{}, ChainZero{}, PolicySet{},
	Ping{}, HTTPGet{}, HTTPServe{}, DNSServe{}, ProcKill{}, Sleep{}, Tool{}, Spawn{}, FileWrite{}}

var byName = func() map[string]reflect.Type {
	m := make(map[string]reflect.Type, len(all))
	for _, o := range all {
		t := reflect.TypeOf(o)
		m[t.Name()] = t
	}
	return m
}()

type envelope struct {
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args"`
}

// Marshal writes an operation as JSON: {"op":"NetnsAdd","args":{"Name":"ns1"}}.
func Marshal(o Op) ([]byte, error) {
	args, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{reflect.TypeOf(o).Name(), args})
}

// Unmarshal reads what Marshal wrote.
func Unmarshal(data []byte) (Op, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("operation: %w", err)
	}
	t, ok := byName[e.Op]
	if !ok {
		return nil, fmt.Errorf("operation: unknown name %q", e.Op)
	}
	v := reflect.New(t)
	if err := json.Unmarshal(e.Args, v.Interface()); err != nil {
		return nil, fmt.Errorf("operation %s: %w", e.Op, err)
	}
	return v.Elem().Interface().(Op), nil
}

// Probe reports whether o only sends traffic or looks, so that a lab can be
// rebuilt to the same state without it.
func Probe(o Op) bool {
	switch o := o.(type) {
	case Ping, HTTPGet, RuleCheck, Sleep:
		return true
	case Tool:
		return len(o.Argv) > 0 && reader(o.Argv)
	}
	return false
}

// reader reports whether a tool's command line only lists. What it does not
// know is taken to change something: a listing too many, in a lab that is
// rebuilt, does no harm.
func reader(argv []string) bool {
	args := argv[1:]
	switch argv[0] {
	case "ls", "cat", "ss", "tcpdump", "iptables-save", "ps", "id", "uname", "hostname", "lsns", "readlink", "pwd", "true", "false":
		return true
	case "iptables", "iptables-legacy", "iptables-nft":
		lists := false
		for _, a := range args {
			short := ""
			if strings.HasPrefix(a, "-") {
				short = strings.TrimLeft(a[1:], "nvxw") // as in -nvL
			}
			switch {
			case strings.HasPrefix(short, "Z") || a == "--zero":
				return false
			case strings.HasPrefix(short, "L") || short == "S" || a == "--list" || a == "--list-rules":
				lists = true
			}
		}
		return lists
	case "ip", "bridge":
		for len(args) > 0 && strings.HasPrefix(args[0], "-") {
			if !slices.Contains(ipListingFlags, args[0]) {
				return false // -batch FILE changes; -n NAME hides where the words begin
			}
			args = args[1:]
		}
		if len(args) < 2 {
			return true
		}
		switch args[1] {
		case "show", "list", "lst", "sh", "ls", "l", "get":
			return true
		case "s":
			return !strings.HasPrefix("link", args[0]) // there it is short for set
		}
		return args[0] == "netns" && (args[1] == "identify" || args[1] == "pids")
	case "brctl":
		return len(args) > 0 && strings.HasPrefix(args[0], "show")
	case "conntrack":
		return len(args) > 0 && (args[0] == "-L" || args[0] == "--dump" || args[0] == "-C")
	case "docker":
		if len(args) > 1 && (args[0] == "network" || args[0] == "container") {
			args = args[1:]
		}
		return len(args) > 0 && slices.Contains([]string{"ps", "ls", "list", "port", "inspect", "version"}, args[0])
	case "arp", "sysctl":
		for _, a := range args {
			if strings.Contains(a, "=") || strings.HasPrefix(a, "-") && strings.Trim(a[1:], "aenv") != "" {
				return false
			}
		}
		return true
	}
	return false
}

// ipListingFlags are options of ip(8) and bridge(8) that take no value and
// change only how a listing looks.
var ipListingFlags = []string{"-4", "-br", "-brief", "-c", "-color", "-d", "-details", "-h", "-human", "-j", "-json",
	"-N", "-Numeric", "-o", "-oneline", "-p", "-pretty", "-r", "-resolve", "-s", "-ss", "-stats", "-statistics", "-t", "-timestamp"}

func (o NetnsAdd) String() string { return "ip netns add " + quote(o.Name) }
func (o NetnsDel) String() string { return "ip netns del " + quote(o.Name) }

func (o LinkAdd) String() string {
	b := words{"ip", "link", "add"}
	if o.Parent != "" && o.Kind == "macvlan" {
		b.add("link", o.Parent)
	}
	b.add("name", o.Name)
	b.opt("address", o.MAC)
	b.num("mtu", o.MTU)
	b.add("type", o.Kind)
	switch o.Kind {
	case "veth":
		if o.Peer != "" || o.PeerNetns != "" {
			b.add("peer")
			b.opt("name", o.Peer)
			b.opt("netns", o.PeerNetns)
		}
	case "macvlan":
		b.add("mode", "bridge")
	case "vxlan":
		b.num("id", o.VNI)
		b.opt("dev", o.Parent)
		b.addr("local", o.Local)
		b.addr("remote", o.Remote)
		b.num("dstport", o.Port)
		for _, f := range []struct {
			word string
			on   bool
		}{{"proxy", o.Proxy}, {"l2miss", o.L2Miss}, {"l3miss", o.L3Miss}} {
			if f.on {
				b.add(f.word)
			}
		}
	}
	return b.String()
}

func (o LinkDel) String() string { return "ip link del dev " + quote(o.Name) }

func (o LinkSet) String() string {
	if o.Free {
		return words{"brctl", "addif", o.Master, o.Name}.String()
	}
	b := words{"ip", "link", "set", "dev", o.Name}
	b.opt("name", o.NewName)
	b.opt("address", o.MAC)
	b.num("mtu", o.MTU)
	b.opt("master", o.Master)
	if o.NoMaster {
		b.add("nomaster")
	}
	b.opt("netns", o.Netns)
	if o.Up != nil {
		b.add(map[bool]string{true: "up", false: "down"}[*o.Up])
	}
	return b.String()
}

func (o AddrAdd) String() string {
	b := words{"ip", "addr", "add", o.Prefix.String()}
	b.opt("broadcast", o.Broadcast)
	b.opt("label", o.Label)
	b.add("dev", o.Dev)
	return b.String()
}

func (o AddrDel) String() string {
	return words{"ip", "addr", "del", o.Prefix.String(), "dev", o.Dev}.String()
}
func (o AddrFlush) String() string { return words{"ip", "addr", "flush", "dev", o.Dev}.String() }

func (r Route) words() words {
	var b words
	if r.Type != "" {
		b.add(r.Type)
	}
	switch {
	case r.Dst.Bits() == 0:
		b.add("default")
	case r.Dst.IsSingleIP():
		b.add(r.Dst.Addr().String())
	default:
		b.add(r.Dst.String())
	}
	b.addr("via", r.Via)
	b.opt("dev", r.Dev)
	b.addr("src", r.Src)
	b.num("metric", r.Metric)
	b.num("table", r.Table)
	b.opt("scope", r.Scope)
	if r.Onlink {
		b.add("onlink")
	}
	return b
}

func (o RouteAdd) String() string {
	return append(words{"ip", "route", "add"}, o.words()...).String()
}
func (o RouteReplace) String() string {
	return append(words{"ip", "route", "replace"}, o.words()...).String()
}
func (o RouteDel) String() string {
	return append(words{"ip", "route", "del"}, o.words()...).String()
}
func (o NeighFlush) String() string { return words{"ip", "neigh", "flush", "dev", o.Dev}.String() }
func (o SysctlSet) String() string {
	return words{"sysctl", "-w", o.Key + "=" + o.Value}.String()
}

func iptables(table string, args ...string) words {
	b := words{"iptables"}
	if table != "" && table != "filter" {
		b.add("-t", table)
	}
	return append(b, args...)
}

func (o RuleAppend) String() string {
	return append(iptables(o.Table, "-A", o.Chain), o.Spec...).String()
}
func (o RuleInsert) String() string {
	return append(iptables(o.Table, "-I", o.Chain, strconv.Itoa(o.Pos)), o.Spec...).String()
}
func (o RuleDelete) String() string {
	return append(iptables(o.Table, "-D", o.Chain), o.Spec...).String()
}
func (o RuleDeleteAt) String() string {
	return iptables(o.Table, "-D", o.Chain, strconv.Itoa(o.Pos)).String()
}
func (o RuleCheck) String() string { return words(o.Argv()).String() }

// Argv is the command as words.
func (o RuleCheck) Argv() []string  { return append(iptables(o.Table, "-C", o.Chain), o.Spec...) }
func (o ChainNew) String() string   { return iptables(o.Table, "-N", o.Chain).String() }
func (o ChainDel) String() string   { return iptables(o.Table, chainArg("-X", o.Chain)...).String() }
func (o ChainFlush) String() string { return words(o.Argv()).String() }

// Argv is the command as words.
func (o ChainFlush) Argv() []string { return iptables(o.Table, chainArg("-F", o.Chain)...) }
func (o ChainZero) String() string  { return words(o.Argv()).String() }

// Argv is the command as words.
func (o ChainZero) Argv() []string { return iptables(o.Table, chainArg("-Z", o.Chain)...) }
func (o PolicySet) String() string { return iptables(o.Table, "-P", o.Chain, o.Policy).String() }

func chainArg(flag, chain string) []string {
	if chain == "" {
		return []string{flag}
	}
	return []string{flag, chain}
}

func (o Ping) String() string { return words(o.Argv()).String() }

// Argv is the command line of ping(8), iputils' form.
func (o Ping) Argv() []string {
	b := words{"ping", "-c", strconv.Itoa(o.Count)}
	if o.Wait > 0 {
		b.add("-W", seconds(o.Wait))
	}
	b.num("-s", o.Size)
	b.num("-t", o.TTL)
	b.opt("-I", o.From)
	if o.DF {
		b.add("-M", "do")
	}
	if o.NoDF {
		b.add("-M", "dont")
	}
	b.add(o.Dst.String())
	return b
}

func (o HTTPGet) String() string { return words(o.Argv()).String() }

// Argv is the command line of curl(1).
func (o HTTPGet) Argv() []string {
	b := words{"curl"}
	if o.Silent {
		b.add("-s")
	}
	if o.Verbose {
		b.add("-v")
	}
	if o.Head {
		b.add("-I")
	}
	if o.Timeout > 0 {
		b.add("-m", seconds(o.Timeout))
	}
	b.add(o.URL)
	return b
}

func (o HTTPServe) String() string {
	b := words{"python3", "-m", "http.server", strconv.Itoa(o.Port)}
	b.addr("--bind", o.Bind)
	return b.String() + " &"
}

func (o DNSServe) String() string {
	b := words{"dnsmasq"}
	if o.Listen.IsValid() {
		b.add("--listen-address="+o.Listen.String(), "--bind-interfaces")
	}
	if o.Port != 0 {
		b.add("--port=" + strconv.Itoa(o.Port))
	}
	if o.HostsDir != "" || len(o.Forward) > 0 || o.Listen.IsValid() {
		b.add("--no-resolv", "--no-hosts")
	}
	if o.HostsDir != "" {
		b.add("--hostsdir=" + o.HostsDir)
	}
	for _, a := range o.Forward {
		b.add("--server=" + a.String())
	}
	for _, name := range slices.Sorted(maps.Keys(o.Names)) {
		b.add("--address=/" + name + "/" + o.Names[name].String())
	}
	return b.String() + " &"
}

func (o ProcKill) String() string {
	if o.Name == "" {
		return "pkill ."
	}
	return words{"pkill", o.Name}.String()
}
func (o Sleep) String() string { return "sleep " + seconds(o.Duration) }
func (o Tool) String() string {
	if o.Background {
		return words(o.Argv).String() + " &"
	}
	return words(o.Argv).String()
}

func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

// words is a command line being put together.
type words []string

func (w *words) add(s ...string) { *w = append(*w, s...) }

func (w *words) opt(key, value string) {
	if value != "" {
		w.add(key, value)
	}
}

func (w *words) num(key string, n int) {
	if n != 0 {
		w.add(key, strconv.Itoa(n))
	}
}

func (w *words) addr(key string, a netip.Addr) {
	if a.IsValid() {
		w.add(key, a.String())
	}
}

func (w words) String() string {
	q := make([]string, len(w))
	for i, s := range w {
		q[i] = quote(s)
	}
	return strings.Join(q, " ")
}

// quote writes s so that a shell reads it as one word.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./-_", r) || r == '!' && s == "!")
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
