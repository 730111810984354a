package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vethlab/lessons"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// look is what programs print, and files say, of a network namespace.
type look struct {
	Label   string            // a machine, a container, MACHINE/1-NETWORK
	IP      string            // ip -d -j: addresses, then routes
	Rules   string            // iptables-save
	Sockets [][3]string       // that wait for others: protocol, address, process
	FDB     string            // of an overlay's namespace, as are Neighs
	Neighs  string            //
	Sysctls map[string]string // of a machine; a container has those of the machine's first namespace
	Files   map[string]string // of a container
}

// askIP is what ip -batch is to list.
const askIP = "addr\nroute\n"

// The tunnel of an overlay network.
var (
	askFDB    = []string{"bridge", "fdb", "show", "dev", "vxlan0"}
	askNeighs = []string{"ip", "neigh", "show", "nud", "permanent"}
)

// lookAtLab looks at a lab of ours.
func lookAtLab(t testing.TB, backend string, lab lessons.Backend) picture {
	t.Helper()
	s, err := lab.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := picture{}
	for _, n := range s.Nodes {
		if n.Kind != state.Container && !dockerHosts[n.Name] {
			continue
		}
		ask := func(stdin string, argv ...string) string { return askLab(t, lab, n.Name, stdin, argv...) }
		l := look{Label: n.Name, Rules: ask("", "iptables-save"), Sysctls: n.Sysctls}
		overlay := overlayNetns.MatchString(n.Name)
		if overlay {
			l.Label = n.Machine + "/" + networkBehind(n.NetnsName(), askLab(t, lab, n.Machine, "", listNetworks...))
		}
		for _, s := range n.Listeners {
			l.Sockets = append(l.Sockets, [3]string{s.Proto, netip.AddrPortFrom(s.Addr, s.Port).String(), s.Process})
		}
		if hasTunnel(l.Label) {
			l.FDB, l.Neighs = ask("", askFDB...), ask("", askNeighs...)
		}
		l.Files = map[string]string{}
		switch files := n.Kind == state.Container && !overlay; backend {
		case onKernel: // where a process takes longer than what it does
			l.IP = ask(askIP, "ip", "-d", "-j", "-batch", "-")
			if files {
				for line := range strings.Lines(ask("", append([]string{"grep", ""}, containerFiles...)...)) {
					file, text, _ := strings.Cut(line, ":")
					l.Files[file] += text
				}
			}
		case onSim: // which has no grep, and no -batch
			l.IP = ask("", "ip", "-d", "-j", "addr") + ask("", "ip", "-j", "route")
			if files {
				for _, file := range containerFiles {
					l.Files[file] = ask("", "cat", file)
				}
			}
		}
		p.take(t, l)
	}
	return p
}

// askLab runs a program that only looks, so that the lab need not see after it
// what changed.
func askLab(t testing.TB, lab lessons.Backend, node, stdin string, argv ...string) string {
	t.Helper()
	res, err := lab.Apply(t.Context(), node, op.Tool{Argv: argv, Stdin: stdin, Background: true})
	if err != nil {
		t.Fatal(err)
	}
	if res.Status != 0 {
		t.Fatalf("%s# %v: %s", node, argv, res.Stderr)
	}
	return res.Output
}

// dockerHosts are the machines of the worlds on which Docker runs.
var dockerHosts = map[string]bool{"host": true, "host1": true, "host2": true}

// overlayNetns are the namespaces that the daemon has for overlay networks.
var overlayNetns = regexp.MustCompile(`^(1-|lb_|ingress_sbox)`)

var listNetworks = []string{"docker", "network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}"}

// networkBehind names such a namespace by its network's name, not its ID, of
// what listNetworks says.
func networkBehind(netns, list string) string {
	for line := range strings.Lines(list) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch netns {
		case "1-" + id[:10]:
			return "1-" + name
		case "lb_" + id[:9]:
			return "lb_" + name
		}
	}
	return netns
}

// hasTunnel reports whether a label is that of a namespace with an overlay
// network's tunnel, vxlan0.
func hasTunnel(label string) bool { return strings.Contains(label, "/1-") }

var containerFiles = []string{"/etc/hosts", "/etc/resolv.conf", "/etc/hostname"}

// picture is the state, as lines of text by part.
type picture map[string][]string

func (p picture) add(node, part, line string) { p[node+" "+part] = append(p[node+" "+part], line) }

// take adds what a look saw.
func (p picture) take(t testing.TB, l look) {
	t.Helper()
	ip := json.NewDecoder(strings.NewReader(l.IP))
	p.links(t, l.Label, ip)
	p.routes(t, l.Label, ip)
	p.rules(l.Label, l.Rules)
	p.sockets(l.Label, l.Sockets)
	p.sysctls(l.Label, l.Sysctls)
	p.tunnel(l.Label, l.FDB, l.Neighs)
	for file, text := range l.Files {
		p.file(l.Label, file, text)
	}
}

func (p picture) links(t testing.TB, node string, ip *json.Decoder) {
	t.Helper()
	var links []struct {
		Ifindex, Link_index  int
		Ifname, Master, Link string
		Address              string
		MTU                  int
		Flags                []string
		Linkinfo             struct {
			Info_kind       string
			Info_slave_data struct{ Hairpin, Isolated bool }
			Info_data       struct {
				ID, Port        int
				Learning, Proxy bool
				L2miss, L3miss  bool
			}
		}
		Addr_info []struct {
			Family, Local, Broadcast, Scope string
			Prefixlen                       int
		}
	}
	if err := ip.Decode(&links); err != nil {
		t.Fatalf("ip addr: %v", err)
	}
	for _, l := range links {
		text := []string{l.Ifname + ":", cmp.Or(l.Linkinfo.Info_kind, "loopback")}
		for _, f := range []string{"UP", "LOWER_UP", "PROMISC"} {
			if slices.Contains(l.Flags, f) {
				text = append(text, f)
			}
		}
		text = append(text, fmt.Sprintf("mtu %d", l.MTU))
		if l.Master != "" {
			text = append(text, "master "+l.Master)
		}
		switch {
		case l.Linkinfo.Info_kind == "bridge" && strings.HasPrefix(l.Address, "02:42:"):
			text = append(text, "02:42:…")
		case strings.HasPrefix(l.Ifname, "eth") && !dockerHosts[node]:
			text = append(text, l.Address)
		}
		if s := l.Linkinfo.Info_slave_data; s.Hairpin {
			text = append(text, "hairpin")
		} else if s.Isolated {
			text = append(text, "isolated")
		}
		if d := l.Linkinfo.Info_data; l.Linkinfo.Info_kind == "vxlan" {
			text = append(text, fmt.Sprintf("vni %d port %d learning %v proxy %v l2miss %v l3miss %v", d.ID, d.Port, d.Learning, d.Proxy, d.L2miss, d.L3miss))
		}
		for _, a := range l.Addr_info {
			if a.Family == "inet" {
				text = append(text, fmt.Sprintf("%s/%d", a.Local, a.Prefixlen))
				if a.Broadcast != "" {
					text = append(text, "brd "+a.Broadcast)
				}
				text = append(text, a.Scope)
			}
		}
		p.add(node, "links", strings.Join(text, " "))
	}
}

func (p picture) routes(t testing.TB, node string, ip *json.Decoder) {
	t.Helper()
	var routes []struct{ Type, Dst, Gateway, Dev, Protocol, Scope, Prefsrc string }
	if err := ip.Decode(&routes); err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("ip route: %v", err)
	}
	for _, r := range routes {
		text := strings.TrimSpace(strings.TrimPrefix(r.Type+" "+r.Dst, "unicast "))
		for _, f := range [][2]string{{"via", r.Gateway}, {"dev", r.Dev}, {"proto", r.Protocol}, {"scope", r.Scope}, {"src", r.Prefsrc}} {
			if f[1] != "" && f[1] != "boot" && f[1] != "global" { // which ip says only with -d
				text += " " + f[0] + " " + f[1]
			}
		}
		p.add(node, "routes", text)
	}
	slices.Sort(p[node+" routes"])
}

var chainLine = regexp.MustCompile(`^:(\S+) (\S+)`)

func (p picture) rules(node, save string) {
	table := ""
	untouched := map[string]bool{} // a table that iptables only looked at
	for line := range strings.Lines(save) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
			untouched[table] = true
		case strings.HasPrefix(line, ":"):
			m := chainLine.FindStringSubmatch(line)
			p.add(node, table+" chains", strings.TrimSuffix(m[1]+" "+m[2], " -"))
			if m[2] != "ACCEPT" {
				untouched[table] = false
			}
		case strings.HasPrefix(line, "-A "):
			chain, spec, _ := strings.Cut(line[3:], " ")
			p.add(node, table+" "+chain, spec)
			untouched[table] = false
		}
	}
	for t, yes := range untouched {
		if yes {
			delete(p, node+" "+t+" chains")
		}
	}
}

// sockets are {protocol, address, process}; those of the containers' own
// servers are left out.
func (p picture) sockets(node string, all [][3]string) {
	for _, s := range all {
		if s[2] == "docker-proxy" || strings.HasPrefix(s[1], "127.0.0.11:") {
			p.add(node, "sockets", s[0]+" "+s[1])
		}
	}
	slices.Sort(p[node+" sockets"])
}

func (p picture) sysctls(node string, all map[string]string) {
	if !dockerHosts[node] {
		return // a container's are the machine's first namespace's
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if k == "net.ipv4.ip_forward" || k == "net.bridge.bridge-nf-call-iptables" ||
			strings.HasPrefix(k, "net.ipv4.conf.") && strings.HasSuffix(k, ".route_localnet") && all[k] != "0" {
			p.add(node, "sysctls", k+" = "+all[k])
		}
	}
}

var aboutNetns = regexp.MustCompile(` link-netnsid \d+`)

// tunnel is what a tunnel's device was told: whose MAC address is behind which
// machine, and which MAC address an IP address has.
func (p picture) tunnel(node, fdb, neighs string) {
	for line := range strings.Lines(fdb) {
		if strings.Contains(line, "dst ") {
			p.add(node, "fdb", strings.TrimSpace(aboutNetns.ReplaceAllString(line, "")))
		}
	}
	for line := range strings.Lines(neighs) {
		p.add(node, "neighbours", strings.TrimSpace(line))
	}
	slices.Sort(p[node+" fdb"])
	slices.Sort(p[node+" neighbours"])
}

func (p picture) file(node, name, text string) {
	for line := range strings.Lines(text) {
		p.add(node, name, strings.TrimSuffix(line, "\n"))
	}
}
