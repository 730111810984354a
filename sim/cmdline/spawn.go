package cmdline

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"vethlab/sim/op"
)

// Processes in the background that keep a namespace, or listen for another one:
//
//	env NODE=web unshare --net sleep infinity &
//	unshare --net --uts --mount sh -c 'hostname web && mount --bind FILE /etc/hosts && exec sleep infinity' &
//	docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8088 -container-ip 172.17.0.2 -container-port 80 &
//
// Like the servers', their operations return as soon as the process is there.

// env NODE=NAME unshare …; any other env is the machine's own.
func parseEnv(c *Command, args []string) (op.Op, error) {
	if len(args) < 2 || path.Base(args[1]) != "unshare" {
		return nil, nil
	}
	name, ok := strings.CutPrefix(args[0], "NODE=")
	if !ok || !nodeName(name) {
		return nil, nil
	}
	o, _ := parseUnshare(c, args[2:])
	s, ok := o.(op.Spawn)
	if !ok || !s.NewNet {
		return nil, nil
	}
	s.Node = name
	c.Tool = "unshare"
	return s, nil
}

// nodeName reports whether a process may call its node so.
func nodeName(s string) bool {
	return hostname(s) && len(s) <= 128
}

// unshare(1): what runs must be something that stays.
func parseUnshare(_ *Command, args []string) (op.Op, error) {
	long := map[string]byte{"--net": 'n', "--uts": 'u', "--mount": 'm', "--fork": 'f'}
	seen := ""
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		letters := strings.TrimPrefix(args[0], "-")
		if b, ok := long[args[0]]; ok {
			letters = string(b)
		}
		if letters == "" || strings.Trim(letters, "numf") != "" {
			return nil, nil
		}
		seen += letters
		args = args[1:]
	}
	if len(args) == 0 {
		return nil, nil
	}
	s := op.Spawn{NewNet: strings.Contains(seen, "n"), Argv: slices.Clone(args)}
	if path.Base(args[0]) != "sh" {
		if !s.NewNet {
			return nil, nil
		}
	} else {
		if len(args) != 3 || args[1] != "-c" || !script(&s, args[2], strings.Contains(seen, "u"), strings.Contains(seen, "m")) {
			return nil, nil
		}
	}
	if !stays(s.Argv) {
		return nil, nil
	}
	return s, nil
}

// script reads what op.Spawn writes for its hostname and files.
func script(s *op.Spawn, text string, uts, mount bool) bool {
	w, err := op.Words(text)
	if err != nil || strings.ContainsAny(text, ";|<>$`") {
		return false
	}
	for len(w) > 0 && w[0] != "exec" {
		switch {
		case len(w) > 3 && uts && w[0] == "hostname" && w[2] == "&&" && s.Hostname == "":
			s.Hostname, w = w[1], w[3:]
		case len(w) > 5 && mount && w[0] == "mount" && w[1] == "--bind" && w[4] == "&&":
			if s.Files == nil {
				s.Files = map[string]string{}
			}
			s.Files[w[3]], w = w[2], w[5:]
		default:
			return false
		}
	}
	if len(w) < 2 || slices.Contains(w, "&&") {
		return false
	}
	s.Argv = w[1:]
	return true
}

// stays reports whether a command is one that a namespace is kept by.
func stays(argv []string) bool {
	switch path.Base(argv[0]) {
	case "sleep":
		_, err := parseSleep(nil, argv[1:])
		return len(argv) == 2 && (argv[1] == "infinity" || err == nil)
	case "python3":
		o, _ := parsePython(nil, argv[1:])
		return o != nil
	}
	return false
}

// docker-proxy(1)
func parseProxy(_ *Command, args []string) (op.Op, error) {
	want := map[string]bool{"-proto": false, "-host-ip": false, "-host-port": false, "-container-ip": false, "-container-port": false}
	for i := 0; i+1 < len(args); i += 2 {
		seen, known := want[args[i]]
		if !known || seen {
			return nil, nil
		}
		v, ok := args[i+1], true
		switch args[i] {
		case "-proto":
			ok = v == "tcp" || v == "udp"
		case "-host-ip", "-container-ip":
			a, err := netip.ParseAddr(v)
			ok = err == nil && a.Is4()
		default:
			_, ok = within(v, 1, 65535)
		}
		if !ok {
			return nil, nil
		}
		want[args[i]] = true
	}
	for _, seen := range want {
		if !seen {
			return nil, nil
		}
	}
	if len(args) != 2*len(want) {
		return nil, nil
	}
	return op.Spawn{Argv: append([]string{"docker-proxy"}, args...)}, nil
}
