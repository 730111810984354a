package exec

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	mnl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"vethlab/sim/state"
)

// listeners returns the sockets of the node that wait for others; owners holds
// the command lines of its servers by their sockets' inodes.
func (n *node) listeners(owners map[string][]string) (ls []state.Listener) {
	if c, err := n.diag.open(n); err == nil {
		if ls, err = diagListeners(c, owners); err == nil {
			return ls
		}
	}
	_ = n.enter(func() error { // a node that is going has none
		ls = procListeners(owners)
		return nil
	})
	return ls
}

// diag is a node's socket for such questions.
type diag struct {
	mu   sync.Mutex
	conn *mnl.Conn
}

func (d *diag) open(n *node) (c *mnl.Conn, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil {
		d.conn, err = mnl.Dial(unix.NETLINK_SOCK_DIAG, &mnl.Config{NetNS: int(n.ns.Fd())})
	}
	return d.conn, err
}

func (d *diag) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		d.conn.Close()
	}
}

// diagListeners asks the kernel for them (sock_diag(7)). It looks only where
// such sockets are, while to print /proc/net/tcp it walks through the machine's
// whole table of connections, bucket by bucket.
func diagListeners(c *mnl.Conn, owners map[string][]string) (ls []state.Listener, err error) {
	const (
		byFamily       = 20 // SOCK_DIAG_BY_FAMILY
		onlyV6         = 11 // INET_DIAG_SKV6ONLY
		closed, listen = 1 << 7, 1 << 10
		reqLen, msgLen = 56, 72 // struct inet_diag_req_v2, inet_diag_msg
	)
	for _, q := range []struct {
		family, proto byte
		name          string
		states        uint32
	}{
		{unix.AF_INET, unix.IPPROTO_TCP, "tcp", listen}, {unix.AF_INET, unix.IPPROTO_UDP, "udp", closed},
		{unix.AF_INET6, unix.IPPROTO_TCP, "tcp", listen}, {unix.AF_INET6, unix.IPPROTO_UDP, "udp", closed},
	} {
		req := make([]byte, reqLen)
		req[0], req[1] = q.family, q.proto
		binary.NativeEndian.PutUint32(req[4:], q.states)
		msgs, err := c.Execute(mnl.Message{Header: mnl.Header{Type: byFamily, Flags: mnl.Request | mnl.Dump}, Data: req})
		if err != nil {
			if q.family == unix.AF_INET6 {
				continue // a kernel without IPv6
			}
			return nil, err
		}
		for _, m := range msgs {
			if len(m.Data) < msgLen {
				continue
			}
			addr, _ := netip.AddrFromSlice(m.Data[8:24])
			if q.family == unix.AF_INET {
				addr, _ = netip.AddrFromSlice(m.Data[8:12])
			} else if addr.IsUnspecified() && !hasByte(m.Data[msgLen:], onlyV6) {
				addr = netip.IPv4Unspecified() // it takes IPv4's connections too (IPV6_V6ONLY, ipv6(7))
			}
			if addr = addr.Unmap(); !addr.Is4() {
				continue
			}
			inode := binary.NativeEndian.Uint32(m.Data[68:])
			l := state.Listener{Proto: q.name, Addr: addr, Port: binary.BigEndian.Uint16(m.Data[4:])}
			ls = addListener(ls, l, owners[strconv.Itoa(int(inode))])
		}
	}
	return ls, nil
}

// hasByte reports whether an attribute of that type is there and not 0.
func hasByte(attrs []byte, kind uint16) bool {
	d, err := mnl.NewAttributeDecoder(attrs)
	if err != nil {
		return false
	}
	for d.Next() {
		if d.Type() == kind && d.Uint8() != 0 {
			return true
		}
	}
	return false
}

// procListeners reads /proc/net/tcp, udp, tcp6 and udp6 (proc_net(5)) of the
// calling thread's namespace.
func procListeners(owners map[string][]string) (ls []state.Listener) {
	for _, file := range []string{"tcp", "udp", "tcp6", "udp6"} {
		f, err := os.Open("/proc/thread-self/net/" + file)
		if err != nil {
			continue
		}
		proto := file[:3]
		waits := map[string]string{"tcp": "0A", "udp": "07"}[proto] // TCP_LISTEN, TCP_CLOSE
		sc := bufio.NewScanner(f)
		for sc.Scan() {
			// sl local_address rem_address st … inode: " 0: 00000000:1F40 00000000:0000 0A …"
			w := strings.Fields(sc.Text())
			if len(w) < 10 || w[3] != waits {
				continue
			}
			host, port, _ := strings.Cut(w[1], ":")
			addr, ok := procAddr(host)
			p, err := strconv.ParseUint(port, 16, 16)
			if !ok || err != nil {
				continue
			}
			l := state.Listener{Proto: proto, Addr: addr, Port: uint16(p)}
			ls = addListener(ls, l, owners[w[9]])
		}
		f.Close()
	}
	return ls
}

// procAddr reads an address of /proc/net: 32-bit words in the machine's byte
// order. A socket of IPv6 on :: takes IPv4's connections too (IPV6_V6ONLY,
// ipv6(7), is not told there); one on any other address of IPv6 does not.
func procAddr(hexWords string) (netip.Addr, bool) {
	b, err := hex.DecodeString(hexWords)
	if err != nil || len(b)%4 != 0 {
		return netip.Addr{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	addr, _ := netip.AddrFromSlice(b)
	if addr == netip.IPv6Unspecified() {
		addr = netip.IPv4Unspecified()
	}
	addr = addr.Unmap()
	return addr, addr.Is4()
}

// addListener adds l, whose owner's command line is argv, unless it is there.
func addListener(ls []state.Listener, l state.Listener, argv []string) []state.Listener {
	if slices.ContainsFunc(ls, func(m state.Listener) bool { return m.Proto == l.Proto && m.Addr == l.Addr && m.Port == l.Port }) {
		return ls
	}
	if len(argv) > 0 {
		l.Process = argv[0]
	}
	l.To = proxied(argv)
	var served []string
	for _, a := range argv {
		// --address=/NAME/ADDRESS, as op.DNSServe writes it
		if f := strings.Split(a, "/"); f[0] == "--address=" && len(f) == 3 {
			served = append(served, f[1]+"="+f[2])
		}
	}
	l.Names = strings.Join(served, ",")
	return append(ls, l)
}
