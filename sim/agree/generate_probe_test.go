package agree_test

import (
	"fmt"
	"slices"
)

// What random cases send, and what they look at.

// probe sends something; sometimes the same again, so that a connection's entry matters.
func (g *gen) probe() {
	if g.last != "" && g.one(4) {
		g.lines = append(g.lines, g.last)
		return
	}
	n := g.host()
	dst := g.ip()
	switch g.n(24) {
	case 0:
		dst = fmt.Sprintf("10.0.%d.%d", 1+g.n(g.nets), 200+g.n(50))
	case 1:
		dst = "198.51.100.7"
	case 2:
		dst = "127.0.0.1"
	case 3:
		dst = fmt.Sprintf("10.0.%d.255", 1+g.n(g.nets))
	case 4:
		dst = fmt.Sprintf("10.0.%d.%d", 1+g.n(g.nets), 1+g.n(21))
	}
	port := g.pick("80", "80", "80", "8080", "81")
	if g.one(2) { // somebody who serves something
		m := g.host()
		if len(m.ports) > 0 {
			port = fmt.Sprint(m.ports[g.n(len(m.ports))])
			if d := g.anyDev(m); d.net > 0 {
				dst = d.addr()
			}
		}
	}
	switch k := g.n(100); {
	case k < 38:
		g.ping(n, dst)
	case k < 66:
		g.curl(n, dst, port)
	case k < 80:
		g.nc(n, dst, port)
	case k < 88:
		w := fmt.Sprintf("traceroute -n -q1 -N1 -w0.2 -m%d", 2+g.n(3))
		switch g.n(8) {
		case 0, 1:
			w += " -I"
		case 2:
			w += " -f 2"
		case 3:
			w += " -s " + g.ip()
		case 4:
			w += " -p 53"
		}
		g.send(n, w+" "+dst)
	default:
		g.look(n, dst)
		return
	}
}

func (g *gen) send(n *gnode, text string) {
	g.do(n, "%s", text)
	g.last = g.lines[len(g.lines)-1]
}

func (g *gen) ping(n *gnode, dst string) {
	w := "ping -c1 -W0.2"
	if g.one(8) {
		w = fmt.Sprintf("ping -c%d -i0.05 -W0.2", 2+g.n(2))
	}
	if g.one(5) {
		w += fmt.Sprintf(" -s %d", []int{1, 8, 500, 1000, 1372, 1472, 1473, 3000}[g.n(8)])
	}
	if g.one(5) {
		w += " -M " + g.pick("do", "do", "dont", "want")
	}
	if g.one(8) {
		w += fmt.Sprintf(" -t %d", 1+g.n(3))
	}
	if g.one(8) {
		w += " -I " + g.pick(g.anyDev(n).name, g.ip())
	}
	if g.one(10) {
		w += g.pick(" -n", " -q", " -Q 0x10", " -b")
	}
	g.send(n, w+" "+dst)
}

func (g *gen) curl(n *gnode, dst, port string) {
	w := "curl -s -m0.3"
	if g.one(6) {
		w = g.pick("curl -sI -m0.3", "curl -sS -m0.3", "curl -si -m0.3", "curl -sv -m0.3", "curl -s -m0.3 -o /dev/null -w '%{http_code}'", "curl -sf -m0.5 --connect-timeout 0.3")
	}
	path := ""
	if g.one(10) {
		path = "index.html"
	}
	g.send(n, fmt.Sprintf("%s http://%s:%s/%s", w, dst, port, path))
}

// soon bounds nc over TCP by less than the second after which it sends again what
// nobody answered: which of the two is first is chance (nc -w1).
const soon = "timeout 0.4 "

func (g *gen) nc(n *gnode, dst, port string) {
	var to []string // "10.0.1.2 5000": where nc listens
	for _, m := range g.hosts() {
		for _, what := range m.nc {
			i := slices.IndexFunc(m.devs, func(d *gdev) bool { return d.net > 0 })
			to = append(to, m.devs[i].addr()+" "+what)
		}
	}
	pick := func(fallback string, udp bool) string {
		if g.one(3) {
			return fallback
		}
		for _, t := range to {
			var host, a, b string
			if k, _ := fmt.Sscan(t, &host, &a, &b); udp == (k == 3) {
				if udp {
					a = b
				}
				return host + " " + a
			}
		}
		return fallback
	}
	switch g.n(6) {
	case 0, 1, 2:
		w := "echo hello | nc -u -q0 -w1"
		switch {
		case g.one(4):
			w += " -p 5000"
		case g.one(8):
			w += " -s " + g.ip()
		}
		g.pipe(n, w+" "+pick(dst+" "+g.pick("53", "53", "5353"), true))
	case 3:
		w := "nc -z"
		if g.one(2) {
			w = "nc -nvz"
		}
		w = soon + w
		g.send(n, w+" "+pick(dst+" "+port, false))
	case 4:
		g.pipe(n, "echo hello | "+soon+"nc -N "+pick(dst+" 5000", false))
	case 5:
		g.pipe(n, `printf 'GET / HTTP/1.0\r\n\r\n' | `+soon+"nc "+dst+" "+port)
	}
}

// pipe is send for what only the node's own shell can run.
func (g *gen) pipe(n *gnode, text string) {
	g.lines = append(g.lines, n.name+"# "+text)
	g.last = g.lines[len(g.lines)-1]
}

// look lists something that packets or changes may have left.
func (g *gen) look(n *gnode, dst string) {
	switch g.n(10) {
	case 0, 1, 2:
		w := "ip route get " + dst
		switch g.n(6) {
		case 0:
			w += " mark 1"
		case 1:
			w += " from " + g.ip()
		case 2:
			w += " from " + g.ip() + " iif " + g.anyDev(n).name
		case 3:
			w += " oif " + g.anyDev(n).name
		}
		g.do(n, "%s", w)
	case 3, 4:
		g.do(n, "conntrack -L%s", g.pick("", "", " -p tcp", " -p icmp", " -p udp"))
	case 5:
		g.do(n, "iptables -t %s -S", g.pick("filter", "nat", "mangle", "raw"))
	case 6:
		g.do(n, "iptables -t %s -nL", g.pick("filter", "nat", "mangle", "raw"))
	case 7:
		g.do(n, "%s", g.pick("ss -ltn", "ip rule", "route -n"))
	case 8:
		g.do(n, "ip route%s", g.pick("", " show table all", " show table 100"))
	case 9:
		g.do(n, "%s", g.pick("cat /proc/sys/net/ipv4/ip_forward", "sysctl net.ipv4.ip_forward", "ip -br addr", "brctl show"))
	}
}
