//go:build linux

package main

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"vethlab/lessons"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// A Docker sequence is a file of testdata/docker: what it is about in a comment,
// a transcript, and after "-- dockerd --" what Debian's dockerd 20.10 made of it.
//
//	host# dockerd --userland-proxy=false &
//	host# docker run -d --name web -p 8088:80 nginx
//	client# curl -s -m 2 http://10.24.254.11:8088/
//	-- dockerd --
//	host# dockerd --userland-proxy=false &
//	status 0
//	  host nat POSTROUTING: -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
//	…
//
// After each command stands what it printed, and the parts of the state that it
// changed, whole. Names, MAC addresses and ids that are chosen at random are
// numbered in the order they appear.
//
// TestDocker plays the transcript on the daemon itself, in namespaces of its
// own (testdata/docker/reference.sh), on the simulator and on the kernel; all
// three must come to the same text. -update writes down what the daemon does;
// -docker-recorded takes its word from the file, and needs no daemon.
var (
	dockerRecorded = flag.Bool("docker-recorded", false, "hold docker against what was recorded of dockerd, and do not run it")
	dockerUpdate   = flag.Bool("docker-update", false, "record what dockerd does")
)

const recordedMark = "\n-- dockerd --\n"

type sequence struct {
	name       string
	transcript string
	lines      []lessons.Line
	world      string // two-hosts, where a host1 acts
	recorded   string
}

func readSequences(t testing.TB) (all []*sequence) {
	t.Helper()
	files, err := filepath.Glob("testdata/docker/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sequences: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := &sequence{name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		s.transcript, s.recorded, _ = strings.Cut(string(data), recordedMark)
		if s.lines, err = lessons.ParseTranscript(file, s.transcript); err != nil {
			t.Fatal(err)
		}
		s.world = "docker-host"
		if slices.ContainsFunc(s.lines, func(l lessons.Line) bool { return l.Node == "host1" }) {
			s.world = "two-hosts"
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b *sequence) int { return strings.Compare(b.world, a.world) }) // those of two machines take longest
	return all
}

func TestDocker(t *testing.T) {
	worlds := map[string]op.World{}
	for _, name := range []string{"docker-host", "two-hosts"} {
		w, err := lessons.LoadWorld(name)
		if err != nil {
			t.Fatal(err)
		}
		worlds[name] = w
	}
	var ref *reference
	if !*dockerRecorded {
		if os.Geteuid() != 0 {
			t.Skip("dockerd needs root; -docker-recorded holds docker against what was recorded of it")
		}
		for _, program := range []string{"dockerd", "docker", "containerd", "runc"} {
			if _, err := osexec.LookPath(program); err != nil {
				t.Fatal(err, "\nmake test installs docker.io")
			}
		}
		if out, err := osexec.Command("/usr/sbin/dockerd", "--version").Output(); err != nil || !strings.HasPrefix(string(out), "Docker version 20.10.") {
			t.Skipf("the reference is dockerd 20.10; here is %q (%v). -docker-recorded needs none", out, err)
		}
		ref = newReference(t, worlds["docker-host"])
	}
	for _, s := range readSequences(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			want := s.recorded
			if ref != nil {
				got := render(s.lines, ref.play(t, worlds[s.world], s.lines))
				if *dockerUpdate {
					text := strings.TrimRight(s.transcript, "\n") + "\n" + recordedMark + got
					if err := os.WriteFile("testdata/docker/"+s.name+".txt", []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				if got != want && s.world == "two-hosts" { // on a busy machine what one daemon tells the other may come after the look
					t.Logf("once more, as this differs from what was recorded:\n%s", lineDiff(want, got))
					got = render(s.lines, ref.play(t, worlds[s.world], s.lines))
				}
				if got != want {
					t.Errorf("dockerd does something else than was recorded (recorded -, now +):\n%s", lineDiff(want, got))
				}
				want = got
			}
			for _, b := range []struct {
				name string
				open lessons.Opener
			}{{"simulator", ours.sim}, {"kernel", ours.kernel}} {
				t.Run(b.name, func(t *testing.T) {
					if got := render(s.lines, playDocker(t, worlds[s.world], b.open, s.lines)); got != want {
						t.Errorf("docker on the %s is not as dockerd (dockerd -, here +):\n%s", b.name, lineDiff(want, got))
					}
				})
			}
		})
	}
}

// outcome is what a line came to, and the state after it.
type outcome struct {
	status         int
	stdout, stderr string
	took           time.Duration
	state          map[string][]string // by part: "host nat POSTROUTING"; nil: not looked at
}

// render writes outcomes as text.
func render(lines []lessons.Line, outcomes []outcome) string {
	var b strings.Builder
	before := map[string][]string{}
	for i, o := range outcomes {
		fmt.Fprintf(&b, "%s# %s\n", lines[i].Node, lines[i].Text)
		if strings.HasPrefix(lines[i].Text, "docker port ") { // the client's order is that of a Go map
			o.stdout = strings.Join(slices.Sorted(strings.Lines(o.stdout)), "")
		}
		for _, s := range []struct{ mark, text string }{{"", o.stdout}, {"! ", o.stderr}} {
			for line := range strings.Lines(s.text) {
				fmt.Fprintf(&b, "| %s%s\n", s.mark, strings.TrimSuffix(line, "\n"))
			}
		}
		if o.status != 0 {
			fmt.Fprintf(&b, "status %d\n", o.status)
		}
		if o.state != nil {
			keys := slices.Collect(maps.Keys(o.state))
			for k := range before {
				if _, ok := o.state[k]; !ok {
					keys = append(keys, k)
				}
			}
			slices.Sort(keys)
			for _, k := range keys {
				now, there := o.state[k]
				if was, ok := before[k]; ok && there && slices.Equal(was, now) {
					continue
				}
				if len(now) == 0 {
					if len(before[k]) > 0 {
						fmt.Fprintf(&b, "  %s: nothing\n", k)
					}
					continue
				}
				fmt.Fprintf(&b, "  %s:\n", k)
				for _, l := range now {
					fmt.Fprintf(&b, "    %s\n", l)
				}
			}
			before = o.state
		}
	}
	return byRole(b.String())
}

var (
	randomID   = regexp.MustCompile(`\b(veth|br-|sha256:)?([0-9a-f]{64}|[0-9a-f]{12}|[0-9a-f]{7})\b`)
	swarmID    = regexp.MustCompile(`\b[0-9a-z]{25}\b`)
	swarmToken = regexp.MustCompile(`SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}`)
	randomPort = regexp.MustCompile(`\b(tcp|udp)\b(.*(?:127\.0\.0\.11:|--sport ))(\d+)`)
	anyDigit   = regexp.MustCompile(`\d`)
	anyLetter  = regexp.MustCompile(`[a-f]`)
	greeting   = regexp.MustCompile(`(?m)^\S* says hello to (?:\[::ffff:)?([0-9.]+)\]?`)
	ago        = regexp.MustCompile(`(About an?|Less than a|\d+) (second|minute)s?( ago)?`)
	exited     = regexp.MustCompile(`Exited \(\d+\)`) // busybox has no way to end as the real images do
	stamp      = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 UTC|\+00:00)`)
)

// byRole numbers what was chosen at random.
func byRole(s string) string {
	ids, veths, ports := map[string]int{}, map[string]int{}, map[string]int{}
	number := func(m map[string]int, k string) int {
		if m[k] == 0 {
			m[k] = len(m) + 1
		}
		return m[k]
	}
	s = swarmToken.ReplaceAllString(s, "TOKEN")
	for i, id := range unique(swarmID.FindAllString(s, -1)) { // a list shows twelve of its letters
		s = strings.ReplaceAll(strings.ReplaceAll(s, id, fmt.Sprintf("SWARM%d", i+1)), id[:12], fmt.Sprintf("SWARM%d", i+1))
	}
	s = randomID.ReplaceAllStringFunc(s, func(x string) string {
		m := randomID.FindStringSubmatch(x)
		switch {
		case m[1] == "veth":
			return fmt.Sprintf("veth-%d", number(veths, m[2]))
		case len(m[2]) < 12 || !anyDigit.MatchString(m[2]) || !anyLetter.MatchString(m[2]):
			return x
		}
		return fmt.Sprintf("%sID%d", m[1], number(ids, m[2][:12]))
	})
	s = randomPort.ReplaceAllStringFunc(s, func(x string) string {
		m := randomPort.FindStringSubmatch(x)
		return fmt.Sprintf("%s%sPORT%d", m[1], m[2], number(ports, m[1]+m[3]))
	})
	s = stamp.ReplaceAllString(s, "TIME")
	s = exited.ReplaceAllString(s, "Exited (…)")
	return ago.ReplaceAllString(s, "a moment$3")
}

// unique are the words that differ, in order.
func unique(words []string) (all []string) {
	for _, w := range words {
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	return all
}

// lineDiff is a diff by lines, with the command above each difference.
func lineDiff(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	// The longest common subsequence, from the end.
	lcs := make([][]int, len(x)+1)
	for i := range lcs {
		lcs[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				lcs[i][j] = lcs[i+1][j+1] + 1
			} else {
				lcs[i][j] = max(lcs[i+1][j], lcs[i][j+1])
			}
		}
	}
	var out strings.Builder
	var context []string // what stands above a difference and was not yet shown
	say := func(mark, line string) {
		for _, c := range context {
			fmt.Fprintf(&out, "  %s\n", c)
		}
		context = nil
		fmt.Fprintf(&out, "%s %s\n", mark, line)
	}
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			switch {
			case strings.Contains(x[i], "# ") && !strings.HasPrefix(x[i], " "):
				context = []string{x[i]}
			case strings.HasPrefix(x[i], "  ") && !strings.HasPrefix(x[i], "   ") && len(context) < 2:
				context = append(context, x[i])
			}
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && lcs[i+1][j] >= lcs[i][j+1]:
			say("-", x[i])
			i++
		default:
			say("+", y[j])
			j++
		}
	}
	return out.String()
}

// playDocker plays lines in a lab of ours.
func playDocker(t testing.TB, w op.World, open lessons.Opener, lines []lessons.Line) []outcome {
	t.Helper()
	lab, err := open(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	sh := lessons.NewShell(lab)
	defer sh.Close()
	for _, n := range w.Nodes {
		if !dockerHosts[n.Name] {
			continue
		}
		if res, err := lab.Apply(t.Context(), n.Name, op.FileWrite{Path: "/etc/resolv.conf", Text: "nameserver 10.24.254.1\n"}); err != nil || res.Status != 0 {
			t.Fatal(err, res.Stderr)
		}
	}
	outcomes := make([]outcome, len(lines))
	for i, l := range lines {
		text := l.Text
		if strings.HasPrefix(text, "dockerd") { // what it says is wanted before the next line
			text = strings.TrimSuffix(text, " &")
		}
		if strings.Contains(text, "$WORKER") {
			out, err := sh.Run(t.Context(), "host1", "docker swarm join-token -q worker", nil)
			if err != nil {
				t.Fatal(err)
			}
			text = strings.ReplaceAll(text, "$WORKER", strings.TrimSpace(out.Stdout))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		begin := time.Now()
		out, err := sh.Run(ctx, l.Node, text, nil)
		took := time.Since(begin)
		cancel()
		if err != nil {
			t.Fatalf("%s# %s: %v", l.Node, l.Text, err)
		}
		outcomes[i] = outcome{took: took, status: out.Status, stdout: greeting.ReplaceAllString(out.Stdout, "hello to $1"), stderr: out.Stderr}
		if lookAfter(l, out.Status) {
			outcomes[i].state = lookAtLab(t, lab)
		}
	}
	return outcomes
}

// lookAfter reports whether the state is looked at after a line.
func lookAfter(l lessons.Line, status int) bool {
	if l.Node == "host1" || l.Node == "host2" { // there is much to look at
		return strings.Contains(l.Text, "docker") && status == 0 && !onlyTells.MatchString(l.Text)
	}
	return strings.Contains(l.Text, "docker")
}

var onlyTells = regexp.MustCompile(`^docker (network|node) (ls|inspect)`)

func lookAtLab(t testing.TB, lab lessons.Backend) map[string][]string {
	t.Helper()
	s, err := lab.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := picture{}
	for _, n := range s.Nodes {
		label, overlay := n.Name, false
		switch {
		case n.Kind != state.Container:
			if !dockerHosts[n.Name] {
				continue
			}
		case overlayNetns.MatchString(n.Name):
			overlay = true
			label = n.Machine + "/" + byNetwork(t, lab, n.Machine, n.NetnsName())
		}
		run := func(argv ...string) string {
			res, err := lab.Apply(t.Context(), n.Name, op.Tool{Argv: argv})
			if err != nil {
				t.Fatal(err)
			}
			if res.Status != 0 {
				t.Fatalf("%s# %v: %s", n.Name, argv, res.Stderr)
			}
			return res.Output
		}
		p.links(t, label, run("ip", "-d", "-j", "addr"))
		p.routes(t, label, run("ip", "-j", "route"))
		p.rules(label, run("iptables-save"))
		if strings.Contains(label, "/1-") {
			p.tunnel(label, run("bridge", "fdb", "show", "dev", "vxlan0"), run("ip", "neigh", "show", "nud", "permanent"))
		}
		var sockets [][3]string
		for _, l := range n.Listeners {
			sockets = append(sockets, [3]string{l.Proto, netip.AddrPortFrom(l.Addr, l.Port).String(), l.Process})
		}
		p.sockets(label, sockets)
		p.sysctls(label, n.Sysctls)
		if n.Kind == state.Container && !overlay {
			for _, file := range containerFiles {
				p.file(label, file, run("cat", file))
			}
		}
	}
	return p
}

// dockerHosts are the machines of the worlds on which Docker runs.
var dockerHosts = map[string]bool{"host": true, "host1": true, "host2": true}

// overlayNetns are the namespaces that the daemon has for overlay networks.
var overlayNetns = regexp.MustCompile(`^(1-|lb_|ingress_sbox)`)

// byNetwork names such a namespace by its network's name, not its ID.
func byNetwork(t testing.TB, lab lessons.Backend, machine, netns string) string {
	t.Helper()
	res, err := lab.Apply(t.Context(), machine, op.Tool{Argv: []string{"docker", "network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}"}})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(res.Output) {
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

var containerFiles = []string{"/etc/hosts", "/etc/resolv.conf", "/etc/hostname"}

// picture is the state, as lines of text by part.
type picture map[string][]string

func (p picture) add(node, part, line string) { p[node+" "+part] = append(p[node+" "+part], line) }

func (p picture) links(t testing.TB, node, ipJSON string) {
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
	if err := json.Unmarshal([]byte(ipJSON), &links); err != nil {
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

func (p picture) routes(t testing.TB, node, ipJSON string) {
	t.Helper()
	var routes []struct{ Type, Dst, Gateway, Dev, Protocol, Scope, Prefsrc string }
	if err := json.Unmarshal([]byte(ipJSON), &routes); err != nil && strings.TrimSpace(ipJSON) != "" {
		t.Fatalf("ip route: %v", err)
	}
	for _, r := range routes {
		text := strings.TrimSpace(r.Type + " " + r.Dst)
		for _, f := range [][2]string{{"via", r.Gateway}, {"dev", r.Dev}, {"proto", r.Protocol}, {"scope", r.Scope}, {"src", r.Prefsrc}} {
			if f[1] != "" {
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

// reference is Debian's Docker daemon.
type reference struct {
	dir  string // image.tar, root.tar
	room chan struct{}
}

// newReference makes the images, and the data of a daemon that has them.
func newReference(t testing.TB, w op.World) *reference {
	t.Helper()
	r := &reference{dir: t.TempDir(), room: make(chan struct{}, runtime.NumCPU())}
	if err := writeImage(filepath.Join(r.dir, "image.tar")); err != nil {
		t.Fatal(err)
	}
	r.run(t, w, "", func(string, []byte) {})
	if _, err := os.Stat(filepath.Join(r.dir, "root.tar")); err != nil {
		t.Fatal("the images could not be made: ", err)
	}
	return r
}

// referenceWorld is a world as a shell script that defines its nodes.
func referenceWorld(w op.World) string {
	servers := func(l op.Line) bool { return isServer(l.Op) }
	bare := w
	bare.Setup = slices.DeleteFunc(slices.Clone(w.Setup), servers)
	script := strings.Replace(asScript(bare, nil), "mount -t tmpfs none /run\n", "", 1)
	var s strings.Builder
	for _, n := range w.Nodes {
		fmt.Fprintf(&s, "ip netns add %s\nnsenter --net=/run/netns/%s bash -c '", n.Name, n.Name)
		for _, kv := range [][2]string{{"ipv6/conf/all/disable_ipv6", "1"}, {"ipv6/conf/default/disable_ipv6", "1"}, {"ipv4/ip_forward", "0"},
			{"ipv4/conf/all/rp_filter", "0"}, {"ipv4/conf/default/rp_filter", "0"}, {"ipv4/conf/all/route_localnet", "0"}} {
			fmt.Fprintf(&s, "echo %s >/proc/sys/net/%s; ", kv[1], kv[0])
		}
		s.WriteString("'\n")
	}
	for line := range strings.Lines(script) {
		if !strings.HasPrefix(line, "ip netns add ") {
			s.WriteString(strings.ReplaceAll(line, "ip netns exec ", "nsenter --net=/run/netns/"))
		}
	}
	for _, l := range w.Setup {
		if o, ok := l.Op.(op.DNSServe); ok {
			fmt.Fprintf(&s, "nsenter --net=/run/netns/%s \"$SELF\" %s", l.Node, nameServer)
			for name, a := range o.Names {
				fmt.Fprintf(&s, " %s=%s", name, a)
			}
			s.WriteString(" 3>&- &\n")
		}
		if o, ok := l.Op.(op.HTTPServe); ok {
			fmt.Fprintf(&s, "nsenter --net=/run/netns/%s busybox httpd -p %d -h \"$dir/own/www\"\n", l.Node, o.Port)
		}
	}
	return s.String()
}

// greeter is what a web server of the reference answers with.
const greeter = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho \"$HOSTNAME says hello to $REMOTE_ADDR\"\n"

// writeImage writes the root directory of every image: busybox, and a first
// process that ends when it is told to.
func writeImage(file string) error {
	path, err := osexec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w: make test installs busybox-static", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	names, err := osexec.Command(path, "--list").Output()
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	add := func(h tar.Header, data string) {
		h.Size = int64(len(data))
		err = errors.Join(err, w.WriteHeader(&h))
		if err == nil {
			_, err = w.Write([]byte(data))
		}
	}
	for _, dir := range []string{"bin", "etc", "tmp", "proc", "sys", "dev", "www", "www/cgi-bin"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, "")
	}
	add(tar.Header{Name: "bin/busybox", Mode: 0o755}, string(program))
	for _, name := range strings.Fields(string(names)) {
		if name != "busybox" {
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox"}, "")
		}
	}
	add(tar.Header{Name: "bin/main", Mode: 0o755}, "#!/bin/sh\ntrap 'exit 143' TERM\n\"$@\" &\nwait\n")
	add(tar.Header{Name: "www/cgi-bin/index.cgi", Mode: 0o755}, greeter)
	return errors.Join(err, w.Close(), f.Close())
}

// run runs reference.sh with lines on its standard input, and calls part for
// each part of what it tells.
func (r *reference) run(t testing.TB, w op.World, lines string, part func(name string, data []byte)) {
	t.Helper()
	r.room <- struct{}{}
	defer func() { <-r.room }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cgroup := fmt.Sprintf("/vethlab-test-%d-%s", os.Getpid(), filepath.Base(t.TempDir())+filepath.Base(filepath.Dir(t.TempDir())))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "world.sh"), []byte(referenceWorld(w)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"image.tar", "root.tar"} {
		if err := os.Link(filepath.Join(r.dir, f), filepath.Join(dir, f)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	script, err := filepath.Abs("testdata/docker/reference.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.CommandContext(ctx, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--uts", "--ipc",
		"bash", script, dir)
	cmd.Stdin = strings.NewReader(lines)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "CGROUP="+cgroup, "SELF="+self)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			break
		}
		name, data, _ := strings.Cut(strings.TrimSpace(line), " ")
		b, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			t.Fatalf("the reference said %q: %v", line, err)
		}
		part(name, b)
	}
	err = cmd.Wait()
	removeCgroup(t, cgroup)
	if err != nil {
		t.Fatalf("the reference: %v\n%s", err, errs.String())
	}
	if _, err := os.Stat(filepath.Join(r.dir, "root.tar")); err != nil {
		if err := os.Rename(filepath.Join(dir, "root.tar"), filepath.Join(r.dir, "root.tar")); err != nil {
			t.Fatalf("%v\n%s", err, errs.String())
		}
	}
	if errs.Len() > 0 {
		t.Logf("the reference: %s", errs.String())
	}
}

// removeCgroup removes a cgroup of every hierarchy, which nothing is in any more.
func removeCgroup(t testing.TB, name string) {
	t.Helper()
	tops, err := filepath.Glob("/sys/fs/cgroup/*" + name)
	if err != nil {
		t.Fatal(err)
	}
	for _, top := range append(tops, "/sys/fs/cgroup"+name) {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error { // gone is as good
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, d := range slices.Backward(dirs) {
			for end := time.Now().Add(2 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				err := os.Remove(d)
				if err == nil || errors.Is(err, os.ErrNotExist) {
					break
				}
				if time.Now().After(end) {
					t.Errorf("left behind: %v", err)
					break
				}
			}
		}
	}
}

var socketLine = regexp.MustCompile(`^(\S+)\s+\S+\s+\S+\s+\S+\s+(\S+)\s+\S+\s*(?:users:\(\("([^"]*)")?`)

// play plays lines on the daemon.
func (r *reference) play(t testing.TB, w op.World, lines []lessons.Line) []outcome {
	t.Helper()
	var in strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&in, "%s %s\n", l.Node, base64.StdEncoding.EncodeToString([]byte(l.Text)))
	}
	var outcomes []outcome
	var o outcome
	p := picture{}
	fdb := ""
	r.run(t, w, in.String(), func(name string, data []byte) {
		text := string(data)
		node, what, ok := strings.Cut(name, ":")
		if !ok {
			switch name {
			case "us":
				var us int64
				if _, err := fmt.Sscan(text, &us); err != nil {
					t.Fatal(err)
				}
				o.took = time.Duration(us) * time.Microsecond
			case "stdout":
				o.stdout = greeting.ReplaceAllString(text, "hello to $1")
			case "stderr":
				o.stderr = text
			case "status":
				if _, err := fmt.Sscan(text, &o.status); err != nil {
					t.Fatal(err)
				}
				if lookAfter(lines[len(outcomes)], o.status) {
					o.state = p
				}
				outcomes = append(outcomes, o)
				o, p = outcome{}, picture{}
			}
			return
		}
		switch what {
		case "addr":
			p.links(t, node, text)
		case "fdb":
			fdb = text
		case "neigh":
			p.tunnel(node, fdb, text)
		case "route":
			p.routes(t, node, text)
		case "rules":
			p.rules(node, text)
		case "sockets":
			var all [][3]string
			for line := range strings.Lines(text) {
				if m := socketLine.FindStringSubmatch(line); m != nil {
					all = append(all, [3]string{m[1], m[2], m[3]})
				}
			}
			p.sockets(node, all)
		case "sysctls":
			all := map[string]string{}
			for line := range strings.Lines(text) {
				file, v, _ := strings.Cut(strings.TrimSpace(line), ":")
				all[strings.ReplaceAll(strings.TrimPrefix(file, "/proc/sys/"), "/", ".")] = v
			}
			p.sysctls(node, all)
		default:
			p.file(node, what, text)
		}
	})
	if len(outcomes) != len(lines) {
		t.Fatalf("dockerd did %d of %d lines", len(outcomes), len(lines))
	}
	return outcomes
}
