package tools

import (
	"strings"
	"testing"
)

// route gives networks the names of /etc/networks, and hosts those of /etc/hosts.
func TestRouteNames(t *testing.T) {
	needPrograms(t, "ip", "route")
	var lines [][]string
	for _, dst := range []string{"127.0.0.0/12", "127.0.0.0/32", "127.1.0.0/16", "127.0.0.1/32", "169.254.0.0/15", "169.254.0.0/32", "169.254.1.0/24", "0.0.0.0/8"} {
		lines = append(lines, strings.Fields("ip route add "+dst+" dev a0"))
	}
	lines = append(lines, []string{"route"}, []string{"route", "-n"})
	p, err := play(lines, false)
	if err != nil {
		t.Fatal(err)
	}
	if p.differs != p.of {
		t.Error(p.describe(lines))
	}
}
