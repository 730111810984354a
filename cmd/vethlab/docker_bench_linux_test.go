package main

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"vethlab/lessons"
)

// What a docker run with a published port and a docker network create take here,
// on both backends, and on Debian's daemon. Of the daemon's run, the network's
// part is what it takes longer than one with --net=none.
func BenchmarkDocker(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("dockerd needs root")
	}
	world, err := lessons.LoadWorld("docker-host")
	if err != nil {
		b.Fatal(err)
	}
	b.Setenv("GOGC", "100") // dockerd as it is started elsewhere; the tests let it keep its garbage
	const rounds = 7
	kinds := []string{"run", "none", "create"}
	const rest = "host# sleep 0.3\n" // what a command leaves to be done is not the next one's
	text := "host# dockerd &\n"
	for i := range rounds {
		for _, command := range []string{"run -d --name run%d -p 80%[1]d:80 nginx", "run -d --name none%d --net none nginx", "network create create%d", "rm -f run%d none%[1]d", "network rm create%d"} {
			text += rest + "host# docker " + fmt.Sprintf(command, 10+i) + "\n"
		}
	}
	lines, err := lessons.ParseTranscript("bench", text)
	if err != nil {
		b.Fatal(err)
	}
	// medians are in milliseconds.
	medians := func(outcomes []outcome) map[string]float64 {
		all := map[string][]float64{}
		for i, o := range outcomes {
			if o.status != 0 {
				b.Fatalf("%s: %s", lines[i].Text, o.stderr)
			}
			if at := (i/2 - 1) % 5; i > 0 && i%2 == 0 && at < len(kinds) {
				all[kinds[at]] = append(all[kinds[at]], o.took.Seconds()*1000)
			}
		}
		m := map[string]float64{}
		for kind, ms := range all {
			slices.Sort(ms)
			m[kind] = ms[len(ms)/2]
		}
		return m
	}
	for b.Loop() {
		theirs := medians(newReference(b, world).play(b, world, lines))
		network := theirs["run"] - theirs["none"]
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(theirs["run"], "ms-dockerd-run")
		b.ReportMetric(network, "ms-its-network")
		b.ReportMetric(theirs["create"], "ms-dockerd-create")
		for _, backend := range []string{onKernel, onSim} {
			here := medians(playDocker(b, world, backend, lines))
			b.ReportMetric(here["run"], "ms-"+backend+"-run")
			b.ReportMetric(here["create"], "ms-"+backend+"-create")
			b.ReportMetric(network/here["run"], "its-network/"+backend+"-run")
			b.ReportMetric(theirs["create"]/here["create"], "dockerd/"+backend+"-create")
			b.Logf("docker, %s: run -d -p %.1f times as fast as the network's part of dockerd's (goal: 10), network create %.1f times: %.1f ms against %.0f of %.0f, and %.1f against %.0f",
				backend, network/here["run"], theirs["create"]/here["create"], here["run"], network, theirs["run"], here["create"], theirs["create"])
		}
	}
}
