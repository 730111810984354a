package cmdline

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"vethlab/sim/op"
)

// flags splits what getopt(3) would: short options, some of which take a
// value, in clusters (-sSm2), anywhere among the operands. ok is false for an
// option that is not in known.
func flags(args []string, plain, valued string, long map[string]byte) (opts []option, operands []string, ok bool) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return opts, append(operands, args[i+1:]...), true
		case strings.HasPrefix(a, "--"):
			name, value, has := strings.Cut(a, "=")
			o, known := long[name]
			if !known || has && !strings.ContainsRune(valued, rune(o)) {
				return nil, nil, false
			}
			if strings.IndexByte(valued, o) >= 0 && !has {
				if i++; i == len(args) {
					return nil, nil, false
				}
				value = args[i]
			}
			opts = append(opts, option{o, value})
		case len(a) > 1 && a[0] == '-':
			for j := 1; j < len(a); j++ {
				o := a[j]
				if strings.IndexByte(plain, o) >= 0 {
					opts = append(opts, option{o, ""})
					continue
				}
				if strings.IndexByte(valued, o) < 0 {
					return nil, nil, false
				}
				value := a[j+1:]
				if value == "" {
					if i++; i == len(args) {
						return nil, nil, false
					}
					value = args[i]
				}
				opts = append(opts, option{o, value})
				break
			}
		default:
			operands = append(operands, a)
		}
	}
	return opts, operands, true
}

type option struct {
	name  byte
	value string
}

// ping(8), with a numeric destination and a count: without one it would go on
// for ever, and a name is for the machine's resolver.
func parsePing(_ *Command, args []string) (op.Op, error) {
	opts, operands, ok := flags(args, "n4", "cWstIM", nil)
	if !ok || len(operands) != 1 {
		return nil, nil
	}
	dst, err := netip.ParseAddr(operands[0])
	if err != nil || !dst.Is4() {
		return nil, nil
	}
	o := op.Ping{Dst: dst}
	seen := ""
	for _, f := range opts {
		if strings.IndexByte(seen, f.name) >= 0 && f.name != 'n' && f.name != '4' {
			return nil, nil
		}
		seen += string(f.name)
		ok := true
		switch f.name {
		case 'c':
			o.Count, ok = within(f.value, 1, 1<<31-1)
		case 's':
			o.Size, ok = within(f.value, 1, 65507)
		case 't':
			o.TTL, ok = within(f.value, 1, 255)
		case 'W':
			o.Wait, ok = seconds(f.value)
		case 'I':
			o.From = f.value
			if a, err := netip.ParseAddr(f.value); err == nil {
				ok = a.Is4()
			} else {
				ok = ifname(f.value)
			}
		case 'M':
			switch f.value {
			case "do":
				o.DF = true
			case "dont":
				o.NoDF = true
			default:
				ok = false
			}
		}
		if !ok {
			return nil, nil
		}
	}
	if o.Count == 0 {
		return nil, nil
	}
	return o, nil
}

// pingFailure: what ping says when it cannot even send (ping/ping.c, iputils).
func (c Command) pingFailure(f *op.Failure) (string, int) {
	o, ok := c.Op.(op.Ping)
	switch {
	case ok && f.What == op.NoDevice:
		return "ping: unknown iface: " + o.From, 2
	case f.Errno == 99 && ok:
		return "ping: bind: Cannot assign requested address", 2
	case f.Errno != 0:
		return "ping: connect: " + op.Strerror(f.Errno), 2
	}
	return "ping: " + plain(f), 2
}

// curl(1), for one http URL.
func parseCurl(_ *Command, args []string) (op.Op, error) {
	opts, operands, ok := flags(args, "svI4", "m\x01", map[string]byte{"--silent": 's', "--verbose": 'v', "--head": 'I',
		"--max-time": 'm', "--connect-timeout": 1, "--ipv4": '4'})
	if !ok || len(operands) != 1 {
		return nil, nil
	}
	o := op.HTTPGet{URL: operands[0]}
	scheme, rest, has := strings.Cut(o.URL, "://")
	if has && scheme != "http" || has && rest == "" || o.URL == "" || o.URL[0] == '-' || strings.ContainsAny(o.URL, "[]{} \t\n\"'") {
		return nil, nil
	}
	for _, f := range opts {
		switch f.name {
		case 's':
			o.Silent = true
		case 'v':
			o.Verbose = true
		case 'I':
			o.Head = true
		case 'm', 1: // one limit is enough for a lab: the shorter
			d, ok := seconds(f.value)
			if !ok {
				return nil, nil
			}
			if o.Timeout == 0 || d < o.Timeout {
				o.Timeout = d
			}
		}
	}
	return o, nil
}

// python3 -m http.server [PORT] [--bind ADDRESS]
func parsePython(_ *Command, args []string) (op.Op, error) {
	if len(args) < 2 || args[0] != "-m" || args[1] != "http.server" {
		return nil, nil
	}
	o := op.HTTPServe{Port: 8000}
	opts, operands, ok := flags(args[2:], "", "b", map[string]byte{"--bind": 'b'})
	if !ok || len(operands) > 1 || len(opts) > 1 {
		return nil, nil
	}
	if len(opts) == 1 {
		a, err := netip.ParseAddr(opts[0].value)
		if err != nil || !a.Is4() {
			return nil, nil
		}
		o.Bind = a
	}
	if len(operands) == 1 {
		if o.Port, ok = within(operands[0], 1, 65535); !ok {
			return nil, nil
		}
	}
	return o, nil
}

// dnsmasq --address=/NAME/ADDRESS …, and what op.DNSServe writes beside that.
func parseDnsmasq(_ *Command, args []string) (op.Op, error) {
	opts, operands, ok := flags(args, "dkRhz", "AapSH", map[string]byte{"--address": 'A', "--no-daemon": 'd',
		"--keep-in-foreground": 'k', "--no-resolv": 'R', "--no-hosts": 'h', "--bind-interfaces": 'z',
		"--listen-address": 'a', "--port": 'p', "--server": 'S', "--hostsdir": 'H'})
	if !ok || len(operands) > 0 {
		return nil, nil
	}
	o := op.DNSServe{Names: map[string]netip.Addr{}}
	for _, f := range opts {
		switch f.name {
		case 'A':
		case 'a', 'S':
			a, err := netip.ParseAddr(f.value)
			if err != nil || !a.Is4() || f.name == 'a' && o.Listen.IsValid() {
				return nil, nil
			}
			if f.name == 'a' {
				o.Listen = a
			} else {
				o.Forward = append(o.Forward, a)
			}
			continue
		case 'p':
			if o.Port, ok = within(f.value, 1, 65535); !ok {
				return nil, nil
			}
			continue
		case 'H':
			if o.HostsDir = f.value; !strings.HasPrefix(f.value, "/") || strings.ContainsAny(f.value, " ,\t\n") {
				return nil, nil
			}
			continue
		default:
			continue
		}
		parts := strings.Split(f.value, "/")
		if len(parts) < 3 || parts[0] != "" {
			return nil, nil
		}
		a, err := netip.ParseAddr(parts[len(parts)-1])
		if err != nil || !a.Is4() {
			return nil, nil
		}
		for _, name := range parts[1 : len(parts)-1] {
			if !hostname(name) {
				return nil, nil
			}
			o.Names[name] = a
		}
	}
	if len(o.Names) == 0 && o.HostsDir == "" {
		return nil, nil
	}
	return o, nil
}

func hostname(s string) bool {
	return s != "" && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	})
}

// pkill [-f] NAME, killall NAME. A dot matches every name.
func parseKill(c *Command, args []string) (op.Op, error) {
	if len(args) > 0 && args[0] == "-f" && c.Tool == "pkill" {
		args = args[1:]
	}
	if len(args) != 1 || args[0] == "" || strings.HasPrefix(args[0], "-") {
		return nil, nil
	}
	if args[0] == "." {
		return op.ProcKill{}, nil
	}
	return op.ProcKill{Name: args[0]}, nil
}

// sleep NUMBER[smhd]… (GNU coreutils adds several up)
func parseSleep(_ *Command, args []string) (op.Op, error) {
	if len(args) == 0 {
		return nil, nil
	}
	var sum time.Duration
	for _, a := range args {
		unit := time.Second
		if a != "" {
			if i := strings.IndexByte("smhd", a[len(a)-1]); i >= 0 {
				unit = []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}[i]
				a = a[:len(a)-1]
			}
		}
		d, err := duration(a, unit)
		if err {
			return nil, nil
		}
		if sum += d; sum < 0 || sum > maxSeconds*time.Second {
			return nil, nil
		}
	}
	return op.Sleep{Duration: sum}, nil
}

// maxSeconds keeps a duration's text exact: nanoseconds up to here survive a float64.
const maxSeconds = 1 << 22

func duration(s string, unit time.Duration) (d time.Duration, bad bool) {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' }) {
		return 0, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f > maxSeconds {
		return 0, true
	}
	return time.Duration(math.Round(f * float64(unit))), false
}

func seconds(s string) (time.Duration, bool) {
	d, bad := duration(s, time.Second)
	return d, !bad && d > 0
}

func within(s string, min, max int) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= min && n <= max && strconv.Itoa(n) == s
}
