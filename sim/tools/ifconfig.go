package tools

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// ifconfig(8), net-tools 2.10: ioctls one after another, as its words come.

func init() { programs["ifconfig"] = ifconfig }

func ifconfig(c *call) op.Result {
	args := c.argv[1:]
	all, short := false, false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-a":
			all = true
		case "-s":
			short = true
		case "-v":
		case "-V", "--version":
			c.out.WriteString("net-tools 2.10\n")
			return c.done(0)
		case "-h", "-?", "--help":
			c.out.WriteString("Usage: ifconfig …; see ifconfig(8)\n")
			return c.done(0)
		default:
			fail(1, "ifconfig: option `%s' not recognised.\nifconfig: `--help' gives usage information.", args[0])
		}
		args = args[1:]
	}
	if len(args) < 2 {
		name := ""
		if len(args) == 1 {
			name = cut(args[0])
		}
		return c.ifconfigList(name, all, short)
	}
	i := &ifc{call: c, name: cut(args[0])}
	i.set(args[1:])
	return c.done(i.status)
}

// ifconfigList prints interfaces by name, those that are up or all.
func (c *call) ifconfigList(name string, all, short bool) op.Result {
	links := slices.Clone(c.state().Links)
	slices.SortFunc(links, func(a, b state.Link) int { return naturally(a.Name, b.Name) })
	if short {
		c.out.WriteString("Iface      MTU    RX-OK RX-ERR RX-DRP RX-OVR    TX-OK TX-ERR TX-DRP TX-OVR Flg\n")
	}
	found := false
	base, _, _ := strings.Cut(name, ":")
	for k := range links {
		l := &links[k]
		if name == "" && !all && !l.Up || name != "" && name != l.Name && !strings.HasPrefix(name, l.Name+":") {
			continue
		}
		if short {
			if name == "" || name == l.Name {
				found = true
				c.ifconfigShort(l)
			}
			for _, a := range l.Addrs {
				if a.Label != "" && a.Label != l.Name && (name == "" || name == a.Label) {
					found = true
					fmt.Fprintf(&c.out, "%-15.15s%6d      - no statistics available -                        %s\n", a.Label, l.MTU, shortFlags(l))
				}
			}
			continue
		}
		if name == "" || name == l.Name {
			found = true
			c.ifconfigShow(l, l.Name)
		}
		for _, a := range l.Addrs {
			if a.Label != "" && a.Label != l.Name && (name == "" || name == a.Label) {
				found = true
				c.ifconfigShow(l, a.Label)
			}
		}
	}
	if l := c.state().Link(base); name != base && !found && l != nil { // the ioctls look no further than the colon
		found = true
		if short {
			fmt.Fprintf(&c.out, "%-15.15s%6d      - no statistics available -                        %s\n", name, l.MTU, shortFlags(l))
		} else {
			c.ifconfigShow(l, name)
		}
	}
	if name != "" && !found {
		fail(1, "%s: error fetching interface information: Device not found", name)
	}
	return c.done(0)
}

// naturally compares names so that eth2 comes before eth10, as net-tools sorts
// interfaces (nstrcmp, lib/util.c).
func naturally(a, b string) int {
	ta, tb := strings.TrimRight(a, "0123456789"), strings.TrimRight(b, "0123456789")
	if ta == tb {
		na, _, _ := strtoul(a[len(ta):], 10)
		nb, _, _ := strtoul(b[len(tb):], 10)
		if na != nb {
			return orElse(na < nb, -1, 1)
		}
	}
	return strings.Compare(a, b)
}

// ifFlags are an interface's flags as a number and in words (IFF_*,
// include/uapi/linux/if.h).
func ifFlags(l *state.Link) (n int, words []string) {
	for _, f := range []struct {
		bit  int
		name string
		on   bool
	}{{1, "UP", l.Up}, {2, "BROADCAST", l.Type != "loopback"}, {8, "LOOPBACK", l.Type == "loopback"}, {0x40, "RUNNING", l.Up && l.Carrier},
		{0x1000, "MULTICAST", l.Type != "loopback"}} {
		if f.on {
			n |= f.bit
			words = append(words, f.name)
		}
	}
	return n, words
}

func (c *call) ifconfigShow(l *state.Link, label string) {
	n, words := ifFlags(l)
	fmt.Fprintf(&c.out, "%s: flags=%d<%s>  mtu %d\n", label, n, strings.Join(words, ","), l.MTU)
	for _, a := range l.Addrs {
		if orDefault(a.Label, l.Name) != label {
			continue
		}
		fmt.Fprintf(&c.out, "        inet %s  netmask %s", a.Prefix.Addr(), netmask(a.Prefix.Bits()))
		if l.Type != "loopback" {
			fmt.Fprintf(&c.out, "  broadcast %s", orDefault(a.Broadcast, "0.0.0.0"))
		}
		c.out.WriteString("\n")
		break
	}
	if l.Type == "loopback" {
		c.out.WriteString("        loop  txqueuelen 1000  (Local Loopback)\n")
	} else {
		fmt.Fprintf(&c.out, "        ether %s  txqueuelen 1000  (Ethernet)\n", l.MAC)
	}
	if label == l.Name {
		fmt.Fprintf(&c.out, "        RX packets %d  bytes %d (%s)\n        RX errors 0  dropped 0  overruns 0  frame 0\n", l.RX.Packets, l.RX.Bytes, size(l.RX.Bytes))
		fmt.Fprintf(&c.out, "        TX packets %d  bytes %d (%s)\n        TX errors 0  dropped 0 overruns 0  carrier 0  collisions 0\n", l.TX.Packets, l.TX.Bytes, size(l.TX.Bytes))
	}
	c.out.WriteString("\n")
}

// size writes bytes with a unit of a thousand, cut off after one digit.
func size(n uint64) string {
	unit, div := "B", uint64(1)
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n/div < 1024 {
			break
		}
		unit, div = u, div*1024
	}
	return fmt.Sprintf("%d.%d %s", n/div, n%div*10/div, unit)
}

func (c *call) ifconfigShort(l *state.Link) {
	fmt.Fprintf(&c.out, "%-15.15s%6d %8d %6d %6d %-6d %8d %6d %6d %6d %s\n", l.Name, l.MTU, l.RX.Packets, 0, 0, 0, l.TX.Packets, 0, 0, 0, shortFlags(l))
}

func shortFlags(l *state.Link) string {
	return orElse(l.Type == "loopback", "L", "BM") + orElse(l.Up && l.Carrier, "R", "") + orElse(l.Up, "U", "")
}

func netmask(bits int) netip.Addr {
	m := ^uint32(0)
	if bits < 32 {
		m = ^(m >> bits)
	}
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)})
}

// classBits is the length an address had in the days of classes
// (inet_abc_len, net/ipv4/devinet.c).
func classBits(a netip.Addr) int {
	switch b := a.As4(); {
	case a.IsUnspecified() || b == [4]byte{255, 255, 255, 255}:
		return 0
	case b[0] < 128:
		return 8
	case b[0] < 192:
		return 16
	case b[0] < 224:
		return 24
	case b[0] >= 240:
		return 32
	}
	return -1
}

// ifc is an interface that ifconfig changes.
type ifc struct {
	*call
	name   string
	status int
}

// said notes that an ioctl was refused; ifconfig goes on.
func (i *ifc) said(ioctl string, f *op.Failure, status int) {
	if f == nil {
		return
	}
	i.warn("%s: %s", ioctl, errnoText(f))
	i.status |= status // 255 is a perror's -1
}

// errnoText is what perror says of a refusal by ioctl, which has no sentence
// of the kernel's.
func errnoText(f *op.Failure) string {
	switch f.Errno {
	case 1:
		return "Operation not permitted"
	case enoent:
		return "No such file or directory"
	case 3:
		return "No such process"
	case 13:
		return "Permission denied"
	case 16:
		return "Device or resource busy"
	case 17:
		return "File exists"
	case 19:
		return "No such device"
	case einval:
		return "Invalid argument"
	case 95:
		return "Operation not supported"
	case 99:
		return "Cannot assign requested address"
	case 100:
		return "Network is down"
	case 101:
		return "Network is unreachable"
	case 113:
		return "No route to host"
	}
	return f.Error()
}

// host reads an address as inet_aton(3) and then the resolver would: a lab has
// no names.
func host(s string) (netip.Addr, bool) {
	if s == "default" {
		return netip.IPv4Unspecified(), true
	}
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	sum := uint64(0)
	for k, p := range parts {
		most := uint64(255)
		if k == len(parts)-1 { // the last fills what is left
			most = 1<<(8*(5-len(parts))) - 1
		}
		n, rest, ok := strtoul(p, 0)
		if !ok || rest != "" || n > most || p[0] < '0' || p[0] > '9' {
			return netip.Addr{}, false
		}
		if k < len(parts)-1 {
			n <<= 8 * (3 - k)
		}
		sum |= n
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}

func unknownHost(s string) string { return s + ": Unknown host" }

// own is the address that carries the interface's name as its label, or nil.
func (i *ifc) own() (*state.Link, *state.Addr) {
	base, _, _ := strings.Cut(i.name, ":")
	l := i.state().Link(base)
	if l == nil {
		return nil, nil
	}
	for k := range l.Addrs {
		if orDefault(l.Addrs[k].Label, l.Name) == i.name {
			return l, &l.Addrs[k]
		}
	}
	return l, nil
}

func (i *ifc) set(args []string) {
	w := words{rest: args}
	usage := func() { fail(3, "Usage: ifconfig …; see ifconfig(8)") }
	next := func() string {
		if !w.more() {
			usage()
		}
		return w.take()
	}
	var mask netip.Addr // of ADDRESS/LENGTH: set when all else is done
	for w.more() {
		switch word := w.take(); word {
		case "up", "down":
			i.up(word == "up")
		case "mtu":
			n, _, _ := strtoul(next(), 10)
			if f := i.link(op.LinkSet{MTU: int(n)}); f != nil {
				i.status = 0 // its status is this one's alone
				i.said("SIOCSIFMTU", f, 1)
			}
		case "netmask":
			v := next()
			m, ok := host(v)
			if !ok {
				i.warn("%s", unknownHost(v))
				i.status |= 1
				continue
			}
			i.netmask(m)
		case "broadcast":
			if w.more() {
				v := w.take()
				b, ok := host(v)
				if !ok {
					i.warn("%s", unknownHost(v))
					i.status |= 1
					continue
				}
				i.broadcast(b)
			}
			i.flag()
		case "-broadcast":
			i.flag()
			if l, _ := i.own(); l != nil && l.Type == "loopback" {
				continue
			} else if l != nil {
				i.warn("Warning: Interface %s still in BROADCAST mode.", i.name)
			} else {
				i.warn("%s: ERROR while testing interface flags: No such device", i.name)
			}
		case "hw":
			k := next()
			if strings.Contains(" ax25 ARCnet netrom infiniband ", " "+k+" ") {
				notSimulated("ifconfig hw %s", k)
			}
			if k != "ether" {
				usage()
			}
			v := next()
			b := etherAddr(v)
			if b == "" {
				i.warn("%s: invalid ether address.", v)
				i.status |= 1
				continue
			}
			if l, _ := i.own(); l != nil && l.Type == "loopback" { // another kind of address (dev_set_mac_address)
				i.said("SIOCSIFHWADDR", &op.Failure{Errno: einval}, 1)
				continue
			}
			i.said("SIOCSIFHWADDR", i.link(op.LinkSet{MAC: b}), 1)
		case "inet":
		case "arp", "-promisc", "-allmulti", "multicast", "dynamic", "-dynamic", "trailers", "-trailers":
			i.flag() // as it is already
			if l, _ := i.own(); l == nil && word[0] == '-' {
				i.warn("%s: ERROR while testing interface flags: No such device", i.name)
			}
		case "add", "del", "promisc", "-arp", "allmulti", "-multicast", "txqueuelen", "pointopoint", "-pointopoint", "dstaddr", "name", "inet6", "tunnel",
			"media", "irq", "io_addr", "mem_start", "outfill", "keepalive":
			notSimulated("ifconfig %s", word)
		default:
			if m, ok := i.address(word, usage); ok {
				mask = m
			}
		}
	}
	if mask.IsValid() {
		i.netmask(mask)
	}
}

// etherAddr reads up to six bytes in hexadecimal, and no further (in_ether,
// lib/ether.c); "" is none.
func etherAddr(s string) string {
	b := make([]byte, 6)
	for k := 0; k < len(b); k++ {
		if s == "" {
			notSimulated("an Ethernet address of fewer than six bytes, of which the rest is chance")
		}
		n := 1
		if len(s) > 1 && s[1] != ':' {
			n = 2
		}
		v, rest, ok := strtoul(s[:n], 16)
		if !ok || rest != "" || strings.ContainsAny(s[:n], "+- xX") {
			return ""
		}
		b[k] = byte(v)
		s = strings.TrimPrefix(s[n:], ":")
	}
	return macOf(b)
}

// link changes the interface, of which the name may be an alias.
func (i *ifc) link(o op.LinkSet) *op.Failure {
	o.Name, _, _ = strings.Cut(i.name, ":")
	if i.state().Link(o.Name) == nil {
		return &op.Failure{Errno: 19}
	}
	if o.MTU == 0 && o.MAC == "" && o.Up == nil {
		return &op.Failure{Errno: einval}
	}
	return i.apply(i.node, o).Failure
}

// flag sets a flag that the model has nothing for. To an alias all flags say the
// same: whether its address stays, which it does while the interface is up
// (SIOCSIFFLAGS, devinet_ioctl).
func (i *ifc) flag() {
	if l, a := i.own(); i.flagged() && i.name != l.Name && !l.Up {
		i.delete(l, *a)
	}
}

// flagged reports whether flags can be set at all.
func (i *ifc) flagged() bool {
	l, a := i.own()
	switch {
	case l == nil:
		i.warn("%s: ERROR while getting interface flags: No such device", i.name)
		i.status |= 255
		return false
	case strings.Contains(i.name, ":") && a == nil:
		i.said("SIOCSIFFLAGS", &op.Failure{Errno: 99}, 255)
		return false
	}
	return true
}

func (i *ifc) up(up bool) {
	if !i.flagged() {
		return
	}
	if l, a := i.own(); i.name != l.Name {
		if !up {
			i.delete(l, *a)
		}
		return
	}
	i.said("SIOCSIFFLAGS", i.link(op.LinkSet{Up: &up}), 255)
}

func (i *ifc) delete(l *state.Link, a state.Addr) {
	i.apply(i.node, op.AddrDel{Dev: l.Name, Prefix: a.Prefix})
}

// address gives the interface an address in place of the one it has
// (SIOCSIFADDR, devinet_ioctl), and switches it on. It returns the mask that
// came with it.
func (i *ifc) address(word string, usage func()) (mask netip.Addr, ok bool) {
	text, length, slash := strings.Cut(word, "/")
	a, known := host(text)
	if slash {
		n, rest, _ := strtoul(length, 10)
		if rest != "" {
			usage()
		}
		mask = netmask(int(n % 32)) // the program shifts by the length, and the processor takes that modulo 32
	}
	if !known {
		fail(1, "%s\nifconfig: `--help' gives usage information.", unknownHost(text))
	}
	l, old := i.own()
	bits := classBits(a)
	switch {
	case l == nil:
		i.said("SIOCSIFADDR", &op.Failure{Errno: 19}, 1)
	case bits < 0:
		i.said("SIOCSIFADDR", &op.Failure{Errno: einval}, 1)
	case old == nil || old.Prefix.Addr() != a:
		if old != nil {
			i.delete(l, *old)
		}
		if !a.IsUnspecified() {
			i.add(l, netip.PrefixFrom(a, bits), lastOf(l, netip.PrefixFrom(a, bits)))
		}
	}
	if !a.IsUnspecified() || !strings.Contains(i.name, ":") {
		i.up(true)
	}
	return mask, slash
}

// lastOf is the broadcast address the kernel computes; the zero Addr is none.
func lastOf(l *state.Link, p netip.Prefix) netip.Addr {
	if l.Type == "loopback" || p.Bits() >= 31 {
		return netip.Addr{}
	}
	b, m := p.Addr().As4(), netmask(p.Bits()).As4()
	for k := range b {
		b[k] |= ^m[k]
	}
	return netip.AddrFrom4(b)
}

func (i *ifc) add(l *state.Link, p netip.Prefix, broadcast netip.Addr) {
	i.said("SIOCSIFADDR", i.insert(l, p, broadcast), 1)
}

func (i *ifc) insert(l *state.Link, p netip.Prefix, broadcast netip.Addr) *op.Failure {
	o := op.AddrAdd{Dev: l.Name, Prefix: p}
	if broadcast.IsValid() {
		o.Broadcast = broadcast.String()
	}
	if i.name != l.Name {
		o.Label = i.name
	}
	return i.apply(i.node, o).Failure
}

// netmask changes the length of the interface's address (SIOCSIFNETMASK).
func (i *ifc) netmask(m netip.Addr) {
	l, a := i.own()
	bits := maskBits(m)
	switch {
	case l == nil:
		i.said("SIOCSIFNETMASK", &op.Failure{Errno: 19}, 1)
	case a == nil:
		i.said("SIOCSIFNETMASK", &op.Failure{Errno: 99}, 1)
	case bits < 0:
		i.said("SIOCSIFNETMASK", &op.Failure{Errno: einval}, 1)
	case bits != a.Prefix.Bits():
		b, _ := netip.ParseAddr(a.Broadcast)
		p := netip.PrefixFrom(a.Prefix.Addr(), bits)
		if b == lastOf(l, a.Prefix) && bits < 31 {
			b = lastOf(l, p)
		}
		i.delete(l, *a)
		i.insert(l, p, b) // that it is there already nobody is told
	}
}

// broadcast changes the broadcast address (SIOCSIFBRDADDR).
func (i *ifc) broadcast(b netip.Addr) {
	l, a := i.own()
	switch {
	case l == nil:
		i.said("SIOCSIFBRDADDR", &op.Failure{Errno: 19}, 1)
	case a == nil:
		i.said("SIOCSIFBRDADDR", &op.Failure{Errno: 99}, 1)
	case a.Broadcast != b.String():
		old := *a
		i.delete(l, old)
		i.insert(l, old.Prefix, b)
	}
}
