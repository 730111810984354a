package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vethlab/lessons"
	"vethlab/sim/trace"
)

// The journeys of the packets of lesson bridge-by-hand on the real kernel, point by
// point, which are expected of the simulator, too: TestLessons and
// TestLessonsSimulated hold what they play against them. A line is a step: node, point, device or
// chain, verdict, TTL, and what it rewrote. What comes from the kernel alone is
// in the lines; what is only explained is marked with a "?".
var journeys = []struct {
	step    string
	command int // of the step, from 1
	packet  string
	nth     int // of the packets of that name, from 1
	end     string
	steps   string
}{
	{"default-route", 4, "ICMP echo request", 1, "forwarding-off at host (IpInAddrErrors +1)", `
		ns1 route veth1 forward 64
		ns1 OUTPUT pass 64
		ns1 POSTROUTING pass 64
		ns1 tx veth1 64
		host rx veth0 64
		host PREROUTING pass 64
		host rx br-demo 64
		host route no route 64 ?`},
	{"forwarding", 2, "ICMP echo request", 1, "dropped at host", `
		ns1 route veth1 forward 64
		ns1 OUTPUT pass 64
		ns1 POSTROUTING pass 64
		ns1 tx veth1 64
		host rx veth0 64
		host PREROUTING pass 64
		host rx br-demo 64
		host route eth0 forward 64
		host FORWARD filter FORWARD policy DROP 63`},
	{"forward-rules", 4, "ICMP echo request", 1, "no-way-back at internet", `
		ns1 route veth1 forward 64
		ns1 OUTPUT pass 64
		ns1 POSTROUTING pass 64
		ns1 tx veth1 64
		host rx veth0 64
		host PREROUTING pass 64
		host rx br-demo 64
		host route eth0 forward 64
		host FORWARD filter FORWARD 1 ACCEPT 63
		host POSTROUTING pass 63
		host tx eth0 63
		internet rx eth0 63
		internet PREROUTING pass 63
		internet route local 63
		internet INPUT pass 63
		internet socket 63 ?
		internet route no route 63 ?`},
	{"masquerade", 2, "ICMP echo request", 1, "delivered at internet", `
		ns1 route veth1 forward 64
		ns1 OUTPUT pass 64
		ns1 POSTROUTING pass 64
		ns1 tx veth1 64
		host rx veth0 64
		host PREROUTING pass 64
		host rx br-demo 64
		host route eth0 forward 64
		host FORWARD filter FORWARD 1 ACCEPT 63
		host POSTROUTING nat POSTROUTING 1 MASQUERADE 63 src 172.18.0.8 → 10.24.254.11
		host tx eth0 63
		internet rx eth0 63
		internet PREROUTING pass 63
		internet route local 63
		internet INPUT pass 63
		internet socket 63 ?`},
	{"masquerade", 2, "ICMP echo reply", 1, "delivered at ns1", `
		internet route eth0 forward 64
		internet OUTPUT pass 64
		internet POSTROUTING pass 64
		internet tx eth0 64
		host rx eth0 64
		host conntrack PREROUTING 64 dst 10.24.254.11 → 172.18.0.8
		host route br-demo forward 64
		host FORWARD filter FORWARD 3 ACCEPT 63
		host POSTROUTING pass 63
		host tx br-demo 63
		host tx veth0 63
		ns1 rx veth1 63
		ns1 PREROUTING pass 63
		ns1 route local 63
		ns1 INPUT pass 63
		ns1 socket 63 ?`},
	// The second packet of a flow: nat is not consulted, the entry rewrites.
	{"conntrack", 2, "ICMP echo request", 2, "delivered at internet", `
		ns1 route veth1 forward 64
		ns1 OUTPUT pass 64
		ns1 POSTROUTING pass 64
		ns1 tx veth1 64
		host rx veth0 64
		host PREROUTING pass 64
		host rx br-demo 64
		host route eth0 forward 64
		host FORWARD filter FORWARD 1 ACCEPT 63
		host conntrack POSTROUTING 63 src 172.18.0.8 → 10.24.254.11
		host tx eth0 63
		internet rx eth0 63
		internet PREROUTING pass 63
		internet route local 63
		internet INPUT pass 63
		internet socket 63 ?`},
	// DNAT comes before the routing decision.
	{"publish", 4, "TCP SYN", 1, "delivered at ns1", `
		client route eth0 forward 64
		client OUTPUT pass 64
		client POSTROUTING pass 64
		client tx eth0 64
		host rx eth0 64
		host PREROUTING nat PREROUTING 1 DNAT 64 dst 10.24.254.11:8088 → 172.18.0.8:8000
		host route br-demo forward 64
		host FORWARD filter FORWARD 4 ACCEPT 63
		host POSTROUTING nat POSTROUTING policy ACCEPT 63
		host tx br-demo 63
		host tx veth0 63
		ns1 rx veth1 63
		ns1 PREROUTING pass 63
		ns1 route local 63
		ns1 INPUT pass 63
		ns1 socket 63 ?`},
	{"publish", 4, "TCP SYN,ACK", 1, "delivered at client", `
		ns1 route veth1 forward 64
		ns1 OUTPUT pass 64
		ns1 POSTROUTING pass 64
		ns1 tx veth1 64
		host rx veth0 64
		host PREROUTING pass 64
		host rx br-demo 64
		host route eth0 forward 64
		host FORWARD filter FORWARD 1 ACCEPT 63
		host conntrack POSTROUTING 63 src 172.18.0.8:8000 → 10.24.254.11:8088
		host tx eth0 63
		client rx eth0 63
		client PREROUTING pass 63
		client route local 63
		client INPUT pass 63
		client socket 63 ?`},
	// From the host itself: OUTPUT, never PREROUTING's nat.
	{"from-the-host", 1, "TCP SYN", 1, "delivered at host", `
		host route lo local 64
		host OUTPUT pass 64
		host POSTROUTING nat POSTROUTING policy ACCEPT 64
		host tx lo 64
		host rx lo 64
		host PREROUTING pass 64
		host route local 64
		host INPUT pass 64
		host socket 64 ?`},
	{"output", 3, "TCP SYN", 1, "delivered at ns1", `
		host route lo local 64
		host OUTPUT nat OUTPUT 1 DNAT 64 dst 10.24.254.11:8088 → 172.18.0.8:8000
		host route br-demo forward 64
		host POSTROUTING nat POSTROUTING 2 MASQUERADE 64 src 10.24.254.11 → 172.18.0.1
		host tx br-demo 64
		host tx veth0 64
		ns1 rx veth1 64
		ns1 PREROUTING pass 64
		ns1 route local 64
		ns1 INPUT pass 64
		ns1 socket 64 ?`},
	{"localnet", 1, "TCP SYN", 1, "martian at host", `
		host route lo local 64
		host OUTPUT nat OUTPUT 1 DNAT 64 dst 127.0.0.1:8088 → 172.18.0.8:8000 ?
		host route br-demo no route 64 ?`},
	{"localnet", 3, "TCP SYN", 1, "delivered at ns1", `
		host route lo local 64
		host OUTPUT nat OUTPUT 1 DNAT 64 dst 127.0.0.1:8088 → 172.18.0.8:8000
		host route br-demo forward 64
		host POSTROUTING nat POSTROUTING 2 MASQUERADE 64 src 127.0.0.1 → 172.18.0.1
		host tx br-demo 64
		host tx veth0 64
		ns1 rx veth1 64
		ns1 PREROUTING pass 64
		ns1 route local 64
		ns1 INPUT pass 64
		ns1 socket 64 ?`},
}

// checkJourneys holds what was run against the table, both seen through view.
func checkJourneys(t *testing.T, ran map[string][]lessons.Ran, view func([]string) []string) {
	t.Helper()
	for _, j := range journeys {
		t.Run(fmt.Sprintf("%s-%d-%s-%d", j.step, j.command, strings.ReplaceAll(j.packet, " ", "-"), j.nth), func(t *testing.T) {
			tr := find(ran[j.step][j.command-1].Traces, j.packet, j.nth)
			if tr == nil {
				t.Fatalf("no such packet among %d", len(ran[j.step][j.command-1].Traces))
			}
			want := view(strings.Split(strings.TrimSpace(strings.ReplaceAll(j.steps, "\t", "")), "\n"))
			got := view(steps(*tr))
			if !slices.Equal(got, want) {
				t.Errorf("the journey was\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			end := j.end
			if tr.Evidence == trace.Simulated { // counters are the kernel's
				end, _, _ = strings.Cut(end, " (")
			}
			if got := ending(*tr); got != end {
				t.Errorf("it ended: %s, not: %s", got, end)
			}
		})
	}
	// What must hold of every journey.
	for _, commands := range ran {
		for _, c := range commands {
			for _, tr := range c.Traces {
				if err := tr.Validate(); err != nil {
					t.Error(err)
				}
				at := int64(0)
				for _, h := range tr.Hops {
					for _, s := range h.Steps {
						if s.At < at {
							t.Errorf("%s in %s: %s at %d ns, after %d", tr.Summary, h.Node, s.Point, s.At, at)
						}
						at = s.At
					}
				}
			}
		}
	}
}

func find(traces []trace.Trace, summary string, nth int) *trace.Trace {
	for i := range traces {
		if traces[i].Summary == summary {
			if nth--; nth == 0 {
				return &traces[i]
			}
		}
	}
	return nil
}

// asTheyAre leaves a journey's lines as they are.
func asTheyAre(lines []string) []string { return lines }

// unmarked takes off the marks of what is only explained: in the simulator all
// is known alike.
func unmarked(lines []string) (out []string) {
	for _, l := range lines {
		out = append(out, strings.TrimSuffix(l, " ?"))
	}
	return out
}

func ending(tr trace.Trace) string {
	s := fmt.Sprintf("%s at %s", tr.Disposition, tr.Node)
	if tr.Evidence == trace.Simulated {
		return s
	}
	for name, n := range tr.Counters {
		s += fmt.Sprintf(" (%s +%d)", name, n)
	}
	return s
}

// steps writes a journey as the table above does.
func steps(tr trace.Trace) (lines []string) {
	for _, h := range tr.Hops {
		for _, s := range h.Steps {
			w := []string{h.Node, string(s.Point)}
			for _, x := range []string{s.Dev, s.Table, s.Chain} {
				if x != "" {
					w = append(w, x)
				}
			}
			if s.Rule > 0 {
				w = append(w, fmt.Sprint(s.Rule))
			}
			if s.Verdict != "" {
				w = append(w, string(s.Verdict))
			}
			w = append(w, fmt.Sprint(s.Before.TTL))
			if from, to := address(s.Before.Src, s.After.Src, s.Before.SrcPort, s.After.SrcPort); from != to {
				w = append(w, "src", from, "→", to)
			}
			if from, to := address(s.Before.Dst, s.After.Dst, s.Before.DstPort, s.After.DstPort); from != to {
				w = append(w, "dst", from, "→", to)
			}
			if s.Evidence == trace.Explained {
				w = append(w, "?")
			}
			lines = append(lines, strings.Join(w, " "))
		}
	}
	return lines
}

// address writes an end before and after, with its port where that changed.
func address(a, b netip.Addr, p, q uint16) (from, to string) {
	if p == q {
		return a.String(), b.String()
	}
	return netip.AddrPortFrom(a, p).String(), netip.AddrPortFrom(b, q).String()
}

// decisive leaves out the chains where nothing decided: the two forms of
// iptables differ in which chains exist beside those with rules.
func decisive(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return strings.Contains(l, " pass ") || strings.Contains(l, " policy ACCEPT ")
	})
}
