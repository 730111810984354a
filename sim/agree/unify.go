package agree

import (
	"regexp"
	"strconv"
	"strings"
)

// Names stand for values that two runs do not have in common: $m1 is a MAC
// address, $p1 a port, $i1 an ICMP id, ~30 a number of seconds. Each side
// numbers its own in the order they appear; which belongs to which is found by
// comparing.
var name = regexp.MustCompile(`\$[a-z]+[0-9]+|~[0-9]+|\$any`)

// slack is how far two times may lie apart, in seconds.
const slack = 5

// names are the pairs of names that were found to be one and the same.
type names struct{ there, back map[string]string }

func newNames() names { return names{map[string]string{}, map[string]string{}} }

// shape is a text with its names taken out.
func shape(s string) string {
	return name.ReplaceAllStringFunc(s, func(w string) string {
		if w[0] == '~' {
			return "~"
		}
		return strings.TrimRight(w, "0123456789")
	})
}

// unify reports whether two texts say the same under the pairs known so far,
// and if so notes those it brings.
func (n *names) unify(a, b string) bool {
	ok, fresh := n.try(a, b)
	if ok {
		for _, p := range fresh {
			n.there[p[0]], n.back[p[1]] = p[1], p[0]
		}
	}
	return ok
}

func (n *names) try(a, b string) (ok bool, fresh [][2]string) {
	a, b = relax(a, b)
	// Most texts differ before their first name, or have none.
	i, j := strings.IndexAny(a, "$~"), strings.IndexAny(b, "$~")
	if i < 0 || i != j {
		return a == b, nil
	}
	if a[:i] != b[:i] || shape(a) != shape(b) {
		return false, nil
	}
	as, bs := name.FindAllString(a, -1), name.FindAllString(b, -1)
	there, back := map[string]string{}, map[string]string{}
	for i, x := range as {
		y := bs[i]
		if x[0] == '~' {
			p, _ := strconv.Atoi(x[1:])
			q, _ := strconv.Atoi(y[1:])
			if p-q > slack || q-p > slack {
				return false, nil
			}
			continue
		}
		px, okx := n.there[x]
		qy, oky := n.back[y]
		if !okx {
			px, okx = there[x]
		}
		if !oky {
			qy, oky = back[y]
		}
		if okx != oky || okx && (px != y || qy != x) {
			return false, nil
		}
		if !okx {
			there[x], back[y] = y, x
			fresh = append(fresh, [2]string{x, y})
		}
	}
	return true, fresh
}

// relax gives the model's lines what the kernel's leave open: a line that ends
// in "?" for an end nobody could explain matches any end.
func relax(a, b string) (string, string) {
	if !strings.Contains(a, unexplained) && !strings.Contains(a, some) && !strings.Contains(b, some) {
		return a, b
	}
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	if len(as) != len(bs) {
		return a, b
	}
	for i := range as {
		if strings.HasPrefix(as[i], "end: ") && strings.HasSuffix(as[i], unexplained) && strings.HasPrefix(bs[i], "end: ") {
			bs[i] = as[i]
		}
		if x, y := counted.FindString(as[i]), counted.FindString(bs[i]); x != y && (x == some || y == some) {
			as[i], bs[i] = strings.Replace(as[i], x, some, 1), strings.Replace(bs[i], y, some, 1)
		}
	}
	return strings.Join(as, "\n"), strings.Join(bs, "\n")
}

const (
	unexplained = " (unexplained)"
	some        = "[some]"
)

var counted = regexp.MustCompile(`\[(some|[0-9]+:[0-9]+)\]`)

type pairing struct{ a, b string }

// pair matches the texts of two lists and returns what is left over, the most
// alike side by side. The order within a list means nothing beyond this: the
// first that fits is taken.
func (n *names) pair(as, bs []string) []pairing {
	used := make([]bool, len(bs))
	var left []string
	// First those that fit by names already known, so that a guess takes
	// nothing away from a certainty.
	matched := make([]bool, len(as))
	for _, certain := range []bool{true, false} {
		for i, a := range as {
			if matched[i] {
				continue
			}
			for j, b := range bs {
				if used[j] {
					continue
				}
				ok, fresh := n.try(a, b)
				if ok && (!certain || len(fresh) == 0) {
					n.unify(a, b)
					used[j], matched[i] = true, true
					break
				}
			}
		}
	}
	for i, a := range as {
		if !matched[i] {
			left = append(left, a)
		}
	}
	var ps []pairing
	for _, a := range left {
		best, likeness := -1, 0
		for j, b := range bs {
			if !used[j] {
				if l := alike(a, b); l > likeness {
					best, likeness = j, l
				}
			}
		}
		if best < 0 {
			ps = append(ps, pairing{a, ""})
			continue
		}
		used[best] = true
		ps = append(ps, pairing{a, bs[best]})
	}
	for j, b := range bs {
		if !used[j] {
			ps = append(ps, pairing{"", b})
		}
	}
	return ps
}

// alike tells how much two texts that are not equal have in common; 0 means
// that they are about different things.
func alike(a, b string) int {
	x, y := strings.Fields(shape(a)), strings.Fields(shape(b))
	k := 0
	for k < len(x) && k < len(y) && x[k] == y[k] {
		k++
	}
	if k < 2 {
		return 0
	}
	seen := map[string]int{}
	for _, w := range x {
		seen[w]++
	}
	common := 0
	for _, w := range y {
		if seen[w] > 0 {
			seen[w]--
			common++
		}
	}
	return k*100 + common
}
