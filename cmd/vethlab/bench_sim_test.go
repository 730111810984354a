//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"vethlab/lessons"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/tools"
)

// Going back one step of a hundred: a lab is made that is where it was after 99.
// The simulator does it from the snapshot that was kept there; a lab on the
// kernel is built again and does the 99 anew, as lessons.Session has it.
func BenchmarkUndo(b *testing.B) {
	world := op.World{Name: "undo", Nodes: []op.NodeSpec{{Name: "host", Kind: state.Machine}}}
	steps := hundredSteps(b)
	for b.Loop() {
		var model, kernel []float64
		for range 3 {
			lab, err := openSim(b.Context(), world)
			if err != nil {
				b.Fatal(err)
			}
			do(b, lab, steps[:len(steps)-1])
			kept, err := lab.Snapshot(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			do(b, lab, steps[len(steps)-1:])
			begin := time.Now()
			back, err := tools.FromSnapshot(kept)
			model = append(model, time.Since(begin).Seconds()*1000)
			if err != nil {
				b.Fatal(err)
			}
			again, err := back.Snapshot(b.Context())
			if err != nil || len(again.Nodes) != len(kept.Nodes) || len(again.Nodes[0].Links) != len(kept.Nodes[0].Links) {
				b.Fatalf("that is not where it was: %v", err)
			}
			lab.Close()
			back.Close()

			begin = time.Now()
			real, err := openKernel(b.Context(), world)
			if err != nil {
				b.Fatal(err)
			}
			do(b, real, steps[:len(steps)-1])
			kernel = append(kernel, time.Since(begin).Seconds()*1000)
			real.Close()
		}
		m, k := middle(model), middle(kernel)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(m, "ms-simulator")
		b.ReportMetric(k, "ms-kernel")
		b.ReportMetric(k/m, "kernel/simulator")
		b.Logf("undo: %.0f times as fast in the simulator as on the kernel: back to step 99 of 100 takes %.2f ms from a snapshot, and %.0f ms where the steps are done again", k/m, m, k)
	}
}

// hundredSteps build ten containers at a bridge, with rules.
func hundredSteps(b *testing.B) []op.Line {
	b.Helper()
	text := "host# ip link add br0 type bridge\nhost# ip addr add 10.0.0.1/24 dev br0\nhost# ip link set br0 up\nhost# sysctl -w net.ipv4.ip_forward=1\n"
	for i := 1; i <= 10; i++ {
		text += fmt.Sprintf(`host# ip netns add c%[1]d
host# ip link add veth%[1]d type veth peer name eth0 netns c%[1]d
host# ip link set veth%[1]d master br0
host# ip link set veth%[1]d up
c%[1]d# ip addr add 10.0.0.%[2]d/24 dev eth0
c%[1]d# ip link set eth0 up
c%[1]d# ip route add default via 10.0.0.1
host# iptables -t nat -A PREROUTING -p tcp -m tcp --dport 80%[2]d -j DNAT --to-destination 10.0.0.%[2]d:80
host# iptables -A FORWARD -d 10.0.0.%[2]d/32 -j ACCEPT
`, i, i+10)
	}
	for i := range 6 {
		text += fmt.Sprintf("host# iptables -A INPUT -p udp -m udp --dport %d -j DROP\n", 1000+i)
	}
	lines, err := lessons.ParseTranscript("steps", text)
	if err != nil {
		b.Fatal(err)
	}
	var steps []op.Line
	note := &noted{Backend: nowhere{}}
	sh := lessons.NewShell(note)
	defer sh.Close()
	for _, l := range lines {
		if _, err := sh.Run(b.Context(), l.Node, l.Text, nil); err != nil {
			b.Fatal(err)
		}
	}
	if steps = note.lines; len(steps) != 100 {
		b.Fatalf("%d steps", len(steps))
	}
	return steps
}

// nowhere is a lab in which everything succeeds.
type nowhere struct{}

func (nowhere) Apply(context.Context, string, op.Op) (op.Result, error) { return op.Result{}, nil }
func (nowhere) Snapshot(context.Context) (*state.Snapshot, error)       { return &state.Snapshot{}, nil }
func (nowhere) Close() error                                            { return nil }

func do(b *testing.B, lab lessons.Backend, steps []op.Line) {
	b.Helper()
	for _, l := range steps {
		if res, err := lab.Apply(b.Context(), l.Node, l.Op); err != nil || res.Status != 0 || res.Failure != nil {
			b.Fatalf("%s# %s: %v %v %s", l.Node, l.Op, err, res.Failure, res.Stderr)
		}
	}
}

// A snapshot of fifty nodes at one bridge, each with an address, a route and a
// rule: of the model, and of the kernel by netlink and iptables-save.
func BenchmarkSnapshot50(b *testing.B) {
	const nodes = 50
	world := op.World{Name: "fifty", Nodes: []op.NodeSpec{{Name: "host", Kind: state.Machine}}}
	text := "host# ip link add br0 type bridge\nhost# ip link set br0 up\n"
	for i := 1; i < nodes; i++ {
		text += fmt.Sprintf(`host# ip netns add n%[1]d
host# ip link add veth%[1]d type veth peer name eth0 netns n%[1]d
host# ip link set veth%[1]d master br0
host# ip link set veth%[1]d up
n%[1]d# ip addr add 10.0.0.%[1]d/24 dev eth0
n%[1]d# ip link set eth0 up
n%[1]d# ip route add default via 10.0.0.254
n%[1]d# iptables -A INPUT -i eth0 -p icmp -j ACCEPT
`, i)
	}
	lines, err := lessons.ParseTranscript("fifty", text)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var took [2]float64
		for i, open := range []lessons.Opener{openSim, openKernel} {
			lab, err := open(b.Context(), world)
			if err != nil {
				b.Fatal(err)
			}
			sh := lessons.NewShell(lab)
			for _, l := range lines {
				if out, err := sh.Run(b.Context(), l.Node, l.Text, nil); err != nil || out.Status != 0 {
					b.Fatalf("%s# %s: %v %s", l.Node, l.Text, err, out.Stderr)
				}
			}
			var times []float64
			for range 9 {
				begin := time.Now()
				s, err := lab.Snapshot(b.Context())
				times = append(times, time.Since(begin).Seconds()*1000)
				if err != nil || len(s.Nodes) != nodes {
					b.Fatalf("%v", err)
				}
			}
			took[i] = middle(times)
			sh.Close()
			lab.Close()
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(took[0], "ms-simulator")
		b.ReportMetric(took[1], "ms-kernel")
		b.ReportMetric(took[1]/took[0], "kernel/simulator")
		b.Logf("snapshot: %.0f times as fast of the simulator as of the kernel: one of 50 nodes takes %.2f ms, and %.0f ms", took[1]/took[0], took[0], took[1])
	}
}

func middle(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
