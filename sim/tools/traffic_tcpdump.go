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
	"vethlab/sim/state"
)

// tcpdump(8), 4.99.3 with libpcap 1.10.3: what a packet socket of the node sees,
// in text. tcpdump_filter.go chooses, tcpdump_print.go writes a packet.

// tcpdump is one run of the program.
type tcpdump struct {
	*call
	dev     string // "": any
	count   int
	filter  pcapTest
	verbose bool
	link    bool // -e
	numeric bool
	quiet   bool
	stamp   int // how many -t
	seqs    bool
	number  bool
	inOut   string
	names   map[sim.IP]string

	p                  *sim.Process
	captured, received int
	last               int64
	conversations      map[conversation]*[2]uint32
	ended              bool
	status             int
}

var tcpdumpLong = map[string]string{"--interface": "-i", "--direction": "-Q", "--absolute-tcp-sequence-numbers": "-S", "--number": "-#",
	"--snapshot-length": "-s", "--no-promiscuous-mode": "-p"}

func runTcpdump(c *call) op.Result {
	t := &tcpdump{call: c, conversations: map[conversation]*[2]uint32{}}
	argv := []string{c.argv[0]}
	for _, a := range c.argv[1:] {
		name, value, has := strings.Cut(a, "=")
		switch short := tcpdumpLong[name]; {
		case short != "" && has:
			argv = append(argv, short, value)
		case short != "":
			argv = append(argv, short)
		case a == "--immediate-mode":
		case strings.HasPrefix(a, "--"):
			notSimulated("tcpdump %s", a)
		default:
			argv = append(argv, a)
		}
	}
	opts, operands, wrong := getopt(argv, "neqtvlUSpKNL#AxXDhHIJOdfub", "cisQZrwBCEFGjMTVWyz")
	if wrong != "" {
		notSimulated("tcpdump %s", strings.Join(c.argv[1:], " "))
	}
	named := false
	for _, o := range opts {
		switch o.name {
		case 'i':
			t.dev, named = o.value, true
		case 'c':
			n, err := strconv.Atoi(o.value)
			if err != nil || n <= 0 {
				fail(1, "tcpdump: invalid packet count %s", o.value)
			}
			t.count = n
		case 'n':
			t.numeric = true
		case 'e':
			t.link = true
		case 'q':
			t.quiet = true
		case 't':
			t.stamp++
		case 'v':
			if t.verbose {
				notSimulated("tcpdump -vv")
			}
			t.verbose = true
		case 'S':
			t.seqs = true
		case '#':
			t.number = true
		case 'Q':
			if t.inOut = o.value; t.inOut != "in" && t.inOut != "out" && t.inOut != "inout" {
				fail(1, "tcpdump: unknown capture direction `%s'", o.value)
			}
		case 'l', 'U', 'p', 'K', 's', 'Z', 'B': // nothing of what the model shows depends on them
		default:
			notSimulated("tcpdump -%c", o.name)
		}
	}
	t.names = t.known()
	t.filter = c.pcapFilter(strings.Join(operands, " "))
	links := c.state().Links
	if !named {
		t.dev = "lo"
		for _, l := range links {
			if l.Up && l.Name != "lo" {
				t.dev = l.Name
				break
			}
		}
	}
	if n, err := strconv.Atoi(t.dev); err == nil {
		notSimulated("tcpdump -i %d", n)
	}
	if t.dev == "any" {
		t.dev = ""
	} else {
		i := slices.IndexFunc(links, func(l state.Link) bool { return l.Name == t.dev })
		switch {
		case i < 0:
			fail(1, "tcpdump: %s: No such device exists\n(No such device exists)", t.dev)
		case !links[i].Up:
			fail(1, "tcpdump: %s: That device is not up", t.dev)
		}
	}
	listening := "listening on " + t.dev + ", link-type EN10MB (Ethernet)"
	if t.dev == "" {
		listening = "listening on any, link-type LINUX_SLL2 (Linux cooked v2)"
		c.warn("tcpdump: data link type LINUX_SLL2")
	}
	if t.verbose {
		c.warn("tcpdump: %s, snapshot length 262144 bytes", listening)
	} else {
		c.warn("tcpdump: verbose output suppressed, use -v[v]... for full protocol decode\n%s, snapshot length 262144 bytes", listening)
	}
	interrupted := c.process(func(n *sim.Netns) *sim.Process {
		t.p = n.Start(c.argv...)
		t.p.OnInterrupt(func() { t.out.WriteByte('\n'); t.finish() })
		t.p.OnTerminate(func() { t.out.WriteByte('\n'); t.finish() })
		t.p.Tap(t.dev, t.seen) // an errno is a link that is gone, which was looked up just now
		return t.p
	})
	return c.ended(c.out.String(), c.err.String(), t.status, interrupted)
}

// finish says what it has done, and ends.
func (t *tcpdump) finish() {
	if t.ended {
		return
	}
	t.ended = true
	plural := "s"
	if t.captured == 1 {
		plural = ""
	}
	received := "s"
	if t.received == 1 {
		received = ""
	}
	t.warn("%d packet%s captured\n%d packet%s received by filter\n0 packets dropped by kernel", t.captured, plural, t.received, received)
	t.p.Exit()
}

// seen is called for every frame.
func (t *tcpdump) seen(f sim.Frame) {
	if !t.filter(&f) {
		return
	}
	if t.inOut == "in" && f.Out || t.inOut == "out" && !f.Out {
		return
	}
	t.received++
	// Everything on lo goes out and comes in; libpcap shows only one of the two.
	if f.Dev == "lo" && f.Out || t.count > 0 && t.captured >= t.count || t.ended {
		return
	}
	t.captured++
	t.print(&f)
	if t.captured == t.count {
		t.p.After(0, t.finish)
	}
}

// print writes a frame as a line, or several.
func (t *tcpdump) print(f *sim.Frame) {
	b := &t.out
	if t.number {
		fmt.Fprintf(b, "%5d  ", t.captured)
	}
	at := time.Unix(0, f.At).UTC()
	switch t.stamp {
	case 0:
		b.WriteString(at.Format("15:04:05.000000 "))
	case 1:
	case 2:
		fmt.Fprintf(b, "%d.%06d ", at.Unix(), at.Nanosecond()/1000)
	case 3, 5:
		if t.last == 0 {
			t.last = f.At
		}
		d := time.Duration(f.At - t.last)
		if t.stamp == 3 {
			t.last = f.At
		}
		fmt.Fprintf(b, " %02d:%02d:%02d.%06d ", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60, d.Microseconds()%1e6)
	default:
		b.WriteString(at.Format("2006-01-02 15:04:05.000000 "))
	}
	arp := f.Header.Proto == "arp"
	name, number, length := "IPv4", 0x0800, f.Header.Len
	if arp {
		name, number, length = "ARP", 0x0806, arpLen
	}
	switch {
	case t.dev == "": // sll2_if_print
		way := [...]string{"In", "B", "M", "P"}[f.For]
		if f.Out {
			way = "Out"
		}
		fmt.Fprintf(b, "%-5s %-3s ", f.Dev, way)
		if t.link {
			fmt.Fprintf(b, "ifindex %d %s ethertype %s (0x%04x), length %d: ", f.Index, sentFrom(f), name, number, length+20)
		}
	case t.link: // ether_print
		fmt.Fprintf(b, "%s > %s, ethertype %s (0x%04x), length %d: ", sentFrom(f), sentTo(f), name, number, length+14)
	}
	t.network(f, !t.link)
	b.WriteByte('\n')
}

const (
	arpLen = 28
	noMAC  = "00:00:00:00:00:00"
)

func sentFrom(f *sim.Frame) string { return cmp.Or(f.Header.SrcMAC, noMAC) }
func sentTo(f *sim.Frame) string   { return cmp.Or(f.Header.DstMAC, noMAC) }

// known are the names of addresses in the machine's /etc/hosts.
func (t *tcpdump) known() map[sim.IP]string {
	m := map[sim.IP]string{}
	for line := range strings.Lines(t.written()["/etc/hosts"]) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) >= 2 {
			if ip, ok := address(f[0]); ok && m[ip] == "" {
				m[ip] = f[1]
			}
		}
	}
	return m
}
