package rule

import "strings"

// This file reads numbers and addresses as the C library and libxtables do.

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// strtoul reads a number at the beginning of s, with a base of 0 (0x, 0, or
// decimal) or 10, as strtoul(3). ok is false when there is none, or it does not
// fit in 64 bits. A minus sign is not a number's.
func strtoul(s string, base int) (n uint64, rest string, ok bool) {
	t := s
	for t != "" && isSpace(t[0]) {
		t = t[1:]
	}
	if t != "" && t[0] == '-' {
		return 0, s, false
	}
	t = strings.TrimPrefix(t, "+")
	if base == 0 {
		base = 10
		if t != "" && t[0] == '0' {
			base = 8
			if len(t) > 2 && (t[1] == 'x' || t[1] == 'X') && digit(t[2]) < 16 {
				base, t = 16, t[2:]
			}
		}
	}
	i, fits := 0, true
	for ; i < len(t) && digit(t[i]) < base; i++ {
		d := uint64(digit(t[i]))
		if n > (^uint64(0)-d)/uint64(base) {
			fits = false
		}
		n = n*uint64(base) + d
	}
	if i == 0 {
		return 0, s, false
	}
	return n, t[i:], fits
}

func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'z':
		return int(c|0x20-'a') + 10
	}
	return 99
}

// number reads all of s as a number within bounds: xtables_strtoui without an
// end (libxtables/xtables.c). A max of 0 is none.
func number(s string, min, max uint64) (uint64, bool) {
	n, rest, ok := numberPrefix(s, min, max)
	return n, ok && rest == ""
}

// numberPrefix reads a number within bounds at the beginning of s.
func numberPrefix(s string, min, max uint64) (n uint64, rest string, ok bool) {
	n, rest, ok = strtoul(s, 0)
	return n, rest, ok && n >= min && (max == 0 || n <= max)
}

// scan reads what sscanf(3) takes for %llu: leading space and a sign allowed,
// anything after ignored.
func scan(s string) (uint64, bool) {
	t := strings.TrimLeft(s, " \t\n\v\f\r")
	neg := strings.HasPrefix(t, "-")
	if neg {
		t = t[1:]
	}
	if t == "" || t[0] < '0' && t[0] != '+' || t[0] > '9' {
		return 0, false
	}
	n, _, ok := strtoul(t, 10)
	switch {
	case !ok && n == 0 && (t == "+" || t[0] == '+' && (len(t) < 2 || digit(t[1]) > 9)):
		return 0, false
	case !ok:
		return ^uint64(0), true
	case neg:
		return -n, true
	}
	return n, true
}

// atoi is atoi(3).
func atoi(s string) int32 {
	t := strings.TrimLeft(s, " \t\n\v\f\r")
	neg := strings.HasPrefix(t, "-")
	if neg {
		t = t[1:]
	} else {
		t = strings.TrimPrefix(t, "+")
	}
	if t == "" || digit(t[0]) > 9 {
		return 0
	}
	n, _, ok := strtoul(t, 10)
	if !ok || n > 1<<63-1 {
		n = 1<<63 - 1
		if neg {
			n = 1 << 63
			return int32(uint32(n))
		}
	}
	if neg {
		n = -n
	}
	return int32(uint32(n))
}

// dotted reads an address of up to four numbers, of which missing ones are 0:
// xtables_numeric_to_ipaddr. As a mask, it must have four.
func dotted(s string, mask bool) (uint32, bool) {
	if len(s) > 19 {
		s = s[:19]
	}
	var a uint32
	for i := range 4 {
		part, rest, more := strings.Cut(s, ".")
		if i == 3 {
			part, more = s, true
		}
		if !more && mask {
			return 0, false
		}
		n, ok := number(part, 0, 255)
		if !ok {
			return 0, false
		}
		a |= uint32(n) << (24 - 8*i)
		if !more {
			break
		}
		s = rest
	}
	return a, true
}

// aton reads an address as inet_aton(3): one to four numbers, the last of which
// fills all the bytes that are left.
func aton(s string) (uint32, bool) {
	var a uint32
	for i := range 4 {
		if s == "" || digit(s[0]) > 9 {
			return 0, false
		}
		n, rest, ok := strtoul(s, 0)
		if !ok || n > 0xffffffff {
			return 0, false
		}
		if rest != "" && rest[0] == '.' {
			if i == 3 || n > 255 {
				return 0, false
			}
			a |= uint32(n) << (24 - 8*i)
			s = rest[1:]
			continue
		}
		if rest != "" && !isSpace(rest[0]) || n > 0xffffffff>>(8*i) {
			return 0, false
		}
		return a | uint32(n), true
	}
	return 0, false
}

// pton reads four decimal numbers: inet_pton(3).
func pton(s string) (uint32, bool) {
	var a uint32
	for i := range 4 {
		part, rest, more := strings.Cut(s, ".")
		if more != (i < 3) || part == "" || len(part) > 3 || len(part) > 1 && part[0] == '0' {
			return 0, false
		}
		n := 0
		for _, c := range []byte(part) {
			if c < '0' || c > '9' {
				return 0, false
			}
			n = n*10 + int(c-'0')
		}
		if n > 255 {
			return 0, false
		}
		a |= uint32(n) << (24 - 8*i)
		s = rest
	}
	return a, true
}

// host is the address of a name or number: getaddrinfo(3).
func host(s string) (uint32, bool) {
	if a, ok := aton(s); ok {
		return a, true
	}
	a, ok := hosts[strings.ToLower(s)]
	return a, ok
}

// prefixLen is the number of leading ones of a mask, or -1 when it has gaps.
func prefixLen(mask uint32) int {
	for i := range 33 {
		if mask == uint32(^uint64(0)<<(32-i)) {
			return i
		}
	}
	return -1
}
