package rule

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

// The machines of a simulated lab know the names that Debian's netbase lists in
// /etc/services, /etc/protocols and /etc/networks, and of hosts "localhost".

//go:embed services.txt
var servicesFile string

//go:embed protocols.txt
var protocolsFile string

type service struct {
	names []string // the official one first
	port  uint16
	proto string
}

var services = sync.OnceValue(func() []service {
	var all []service
	for line := range strings.Lines(servicesFile) {
		f := strings.Fields(line)
		port, proto, _ := strings.Cut(f[1], "/")
		n, _ := strconv.ParseUint(port, 10, 16)
		all = append(all, service{names: append(f[:1:1], f[2:]...), port: uint16(n), proto: proto})
	}
	return all
})

// servicePort finds a port by name, of a protocol or, with "", of any: getservbyname(3).
func servicePort(name, proto string) (uint16, bool) {
	for _, s := range services() {
		if proto != "" && s.proto != proto {
			continue
		}
		for _, n := range s.names {
			if n == name {
				return s.port, true
			}
		}
	}
	return 0, false
}

// ServiceName is what a port of tcp or udp is called, or "": getservbyport(3).
func ServiceName(port uint16, proto string) string {
	for _, s := range services() {
		if s.port == port && s.proto == proto {
			return s.names[0]
		}
	}
	return ""
}

type protocol struct {
	names []string
	num   uint8
}

var protocols = sync.OnceValue(func() []protocol {
	var all []protocol
	for line := range strings.Lines(protocolsFile) {
		f := strings.Fields(line)
		n, _ := strconv.ParseUint(f[1], 10, 8)
		all = append(all, protocol{names: append(f[:1:1], f[2:]...), num: uint8(n)})
	}
	return all
})

// chainProtos are the protocols that iptables itself has names for; of several
// for a number, it prints the first (xtables_chain_protos, libxtables/xtables.c).
var chainProtos = []struct {
	name string
	num  uint8
}{{"tcp", 6}, {"sctp", 132}, {"udp", 17}, {"udplite", 136}, {"icmp", 1}, {"ipv6-icmp", 58}, {"icmpv6", 58}, {"esp", 50}, {"ah", 51},
	{"mobility-header", 135}, {"ipv6-mh", 135}, {"mh", 135}, {"all", 0}}

// ProtocolName is the name of a protocol's number, or "". With builtin, only
// names that iptables knows by itself.
func ProtocolName(num uint8, builtin bool) string {
	for _, p := range chainProtos {
		if p.num == num {
			return p.name
		}
	}
	if num != 0 && !builtin {
		for _, p := range protocols() {
			if p.num == num {
				return p.names[0]
			}
		}
	}
	return ""
}

func protocolNumber(name string) (uint8, bool) {
	for _, p := range chainProtos {
		if p.name == name {
			return p.num, true
		}
	}
	for _, p := range protocols() {
		for _, n := range p.names {
			if n == name {
				return p.num, true
			}
		}
	}
	return 0, false
}

// networks is /etc/networks.
var networks = map[string]uint32{"default": 0, "loopback": 127 << 24, "link-local": 169<<24 | 254<<16}

// hosts is /etc/hosts, as far as every machine's is the same.
var hosts = map[string]uint32{"localhost": 127<<24 | 1}
