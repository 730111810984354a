package tools

import (
	"math"
	"net/netip"
	"strings"
)

// strtoul reads a number as strtoul(3) does: white space, a sign, and with
// base 0 the prefixes 0x and 0. The rest is what follows the number; ok is
// false without a digit or when it does not fit 64 bits.
func strtoul(s string, base uint64) (n uint64, rest string, ok bool) {
	t := strings.TrimLeft(s, " \t\n\v\f\r")
	negative := false
	if t != "" && (t[0] == '-' || t[0] == '+') {
		negative, t = t[0] == '-', t[1:]
	}
	hex := len(t) > 2 && t[0] == '0' && (t[1] == 'x' || t[1] == 'X') && digit(t[2]) < 16
	switch {
	case (base == 0 || base == 16) && hex:
		base, t = 16, t[2:]
	case base == 0 && t != "" && t[0] == '0':
		base = 8
	case base == 0:
		base = 10
	}
	i := 0
	for ; i < len(t) && digit(t[i]) < base; i++ {
		d := digit(t[i])
		if n > (math.MaxUint64-d)/base {
			return 0, "", false
		}
		n = n*base + d
	}
	if i == 0 {
		return 0, s, false
	}
	if negative {
		n = -n
	}
	return n, t[i:], true
}

func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c >= 'a' && c <= 'z':
		return uint64(c-'a') + 10
	case c >= 'A' && c <= 'Z':
		return uint64(c-'A') + 10
	}
	return math.MaxUint64
}

// unsigned reads all of s as a number of at most max (get_unsigned and its
// kin, iproute2's lib/utils.c).
func unsigned(s string, max uint64) (uint64, bool) {
	n, rest, ok := strtoul(s, 0)
	return n, ok && rest == "" && n <= max
}

// integer reads all of s as a signed number of 32 bits (get_integer).
func integer(s string) (int, bool) {
	n, rest, ok := strtoul(s, 0)
	v := int64(n)
	if !strings.Contains(s, "-") && v < 0 {
		return 0, false
	}
	return int(v), ok && rest == "" && v >= math.MinInt32 && v <= math.MaxInt32
}

// prefix is an address as iproute2 reads it (inet_prefix). Its zero value is
// one that was not given.
type prefix struct {
	family string // inet, inet6; "" when it could be either
	addr   netip.Addr
	bits   int
	any    bool // "default", "any" or "all"
	// plen: a length was written, or "default".
	plen  bool
	given bool
}

// readAddr reads an address in iproute2's way: 10.8 is 10.8.0.0, each part may
// be hexadecimal or octal, and "any" is an address too (get_addr_1).
func readAddr(s, family string) (prefix, bool) {
	switch s {
	case "default", "any", "all":
		return prefix{family: family, any: true, plen: s == "default", given: true, addr: netip.IPv4Unspecified()}, true
	}
	if strings.Contains(s, ":") {
		a, err := netip.ParseAddr(s)
		return prefix{family: "inet6", addr: a, bits: 128, given: true}, err == nil && a.Is6() && a.Zone() == "" && (family == "" || family == "inet6")
	}
	if family != "" && family != "inet" {
		return prefix{}, false
	}
	var b [4]byte
	for i := range b {
		n, rest, ok := strtoul(s, 0)
		if !ok || n > 255 {
			return prefix{}, false
		}
		b[i] = byte(n)
		if rest == "" {
			return prefix{family: "inet", addr: netip.AddrFrom4(b), bits: 32, given: true}, true
		}
		if rest[0] != '.' {
			return prefix{}, false
		}
		s = rest[1:]
	}
	return prefix{}, false
}

// readPrefix reads ADDRESS/LENGTH or ADDRESS/NETMASK (get_prefix_1).
func readPrefix(s, family string) (prefix, bool) {
	a, length, slash := strings.Cut(s, "/")
	p, ok := readAddr(a, family)
	if !ok {
		return p, false
	}
	max := 32
	if p.family == "inet6" {
		max = 128
	}
	if !slash {
		if p.any {
			p.bits = 0
		}
		return p, true
	}
	if p.any {
		return p, false
	}
	n, ok := unsigned(length, math.MaxUint32)
	if !ok {
		m, ok := readAddr(length, "inet")
		if !ok {
			return p, false
		}
		bits := maskBits(m.addr)
		if bits < 0 {
			return p, false
		}
		n = uint64(bits)
	}
	p.bits, p.plen = int(n), true
	return p, n <= uint64(max)
}

// maskBits counts the bits of a netmask; -1 when it has a hole.
func maskBits(a netip.Addr) int {
	b := a.As4()
	m := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	if host := ^m; host&(host+1) != 0 {
		return -1
	}
	n := 0
	for ; m != 0; m <<= 1 {
		n++
	}
	return n
}

// netip is the prefix in the standard library's form, not masked.
func (p prefix) netip() netip.Prefix { return netip.PrefixFrom(p.addr, p.bits) }

// empty reports an address without bytes: "any" and "all", and "default" where
// no family is known yet. The kernel refuses it where it wants one.
func (p prefix) empty() bool { return p.any && (!p.plen || p.family == "") }

// contains reports whether a falls into p: inet_addr_match over p's length.
func (p prefix) contains(a netip.Addr) bool {
	return p.any || p.bits == 0 || p.addr.BitLen() == a.BitLen() && p.netip().Masked().Contains(a)
}
