package tools

import (
	"strconv"
	"strings"
)

// What iproute2 calls the kernel's numbers: /etc/iproute2 as Debian 12 has it,
// and lib/rt_names.c.

var scopeNames = map[int]string{0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}

var protoNames = map[int]string{0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 8: "gated", 9: "ra", 10: "mrt",
	11: "zebra", 12: "bird", 13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 18: "keepalived", 42: "babel", 99: "openr",
	186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp"}

var tableNames = map[int]string{0: "unspec", tableDefault: "default", tableMain: "main", tableLocal: "local"}

const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

var tosNames = map[int]string{0: "default", 0x28: "AF11", 0x30: "AF12", 0x38: "AF13", 0x48: "AF21", 0x50: "AF22", 0x58: "AF23",
	0x68: "AF31", 0x70: "AF32", 0x78: "AF33", 0x88: "AF41", 0x90: "AF42", 0x98: "AF43", 0x20: "CS1", 0x40: "CS2", 0x60: "CS3",
	0x80: "CS4", 0xa0: "CS5", 0xc0: "CS6", 0xe0: "CS7", 0xb8: "EF"}

// Types of a route (RTN_*, include/uapi/linux/rtnetlink.h).
var typeNames = []string{"none", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit",
	"throw", "nat", "xresolve"}

// byName reads a number by its name, or as a number of at most max.
func byName(s string, names map[int]string, base, max uint64) (int, bool) {
	for n, name := range names {
		if name == s {
			return n, true
		}
	}
	n, rest, ok := strtoul(s, base)
	return int(n), ok && rest == "" && n <= max
}

func readScope(s string) (int, bool) { return byName(s, scopeNames, 0, 255) }
func readProto(s string) (int, bool) { return byName(s, protoNames, 0, 255) }
func readTable(s string) (int, bool) { return byName(s, tableNames, 0, 1<<32-1) }
func readTOS(s string) (int, bool)   { return byName(s, tosNames, 16, 255) }

// readType reads the type of a route; some of them may be abbreviated.
func readType(s string) (int, bool) {
	for _, t := range []struct {
		name  string
		short bool
	}{{"local", false}, {"nat", false}, {"broadcast", true}, {"anycast", true}, {"multicast", true}, {"prohibit", true},
		{"unreachable", true}, {"blackhole", true}, {"xresolve", true}, {"unicast", true}, {"throw", false}} {
		if s == t.name || t.short && matches(s, t.name) || t.name == "broadcast" && s == "brd" {
			for i, name := range typeNames {
				if name == t.name {
					return i, true
				}
			}
		}
	}
	n, ok := unsigned(s, 255)
	return int(n), ok
}

// name gives a number its name, or writes it as a number.
func name(n int, names map[int]string) string {
	if s, ok := names[n]; ok {
		return s
	}
	return strconv.Itoa(n)
}

func typeName(n int) string {
	if n < len(typeNames) {
		return typeNames[n]
	}
	return strconv.Itoa(n)
}

// matches reports whether word is short for name (lib/utils.c; the empty word
// is short for everything).
func matches(word, name string) bool { return strings.HasPrefix(name, word) }
