package sim

import "testing"

// Conntrack runs only where a rule needs it; `-j CT --notrack` keeps packets
// from it and needs nothing (xt_ct_tg_check).
func TestNotrackNeedsNoConntrack(t *testing.T) {
	l := newLab(t, "a", "")
	for _, c := range []struct {
		line string
		want int
	}{
		{"a# iptables -t raw -A OUTPUT -d 10.0.0.9 -j CT --notrack", 0},
		{"a# iptables -A FORWARD -m conntrack --ctstate NEW", 1},
	} {
		l.run(c.line + "\n" + "a# ping -c1 127.0.0.1")
		if got := len(l.Node("a").Conns()); got != c.want {
			t.Errorf("after %s there are %d entries, not %d", c.line, got, c.want)
		}
	}
}
