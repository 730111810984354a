//go:build linux

package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vethlab/lessons"
)

// What programs print in a simulated lab is what the machine's own programs
// print in one of the kernel, word for word: the transcripts below, of testdata,
// are played in both. What the kernel chooses by chance (MAC addresses, ports,
// identifiers) or by the clock is not compared, nor the order in which it lists
// what its hash tables hold.
func TestListings(t *testing.T) {
	t.Parallel()
	for _, play := range []struct{ world, before, file string }{
		{"docker-host", "", "listings"},
		{"empty", "two-containers", "captures"},
		{"empty", "two-containers", "traffic"},
	} {
		t.Run(play.file, func(t *testing.T) {
			t.Parallel()
			if play.file == "captures" && os.Getuid() != 0 {
				t.Skip("tcpdump gives up root by setgroups(2), which the user namespace of an ordinary user lacks")
			}
			transcript := readTranscript(t, play.file)
			if play.before != "" {
				transcript = slices.Concat(readTranscript(t, play.before), transcript)
			}
			world, err := lessons.LoadWorld(play.world)
			if err != nil {
				t.Fatal(err)
			}
			var printed [2][]lessons.Outcome
			for i, open := range []lessons.Opener{openKernel, openSim} {
				lab, err := open(t.Context(), world)
				if err != nil {
					t.Fatal(err)
				}
				sh := lessons.NewShell(lab)
				for _, l := range transcript {
					out, err := sh.Run(t.Context(), l.Node, l.Text, nil)
					if err != nil {
						t.Fatalf("%s# %s: %v", l.Node, l.Text, err)
					}
					printed[i] = append(printed[i], out)
				}
				sh.Close()
				lab.Close()
			}
			for i, l := range transcript {
				kernel, model := printed[0][i], printed[1][i]
				for _, x := range []struct{ what, kernel, model string }{
					{"prints", kernel.Stdout, model.Stdout},
					{"prints as errors", kernel.Stderr, model.Stderr},
					{"has the status", fmt.Sprint(kernel.Status), fmt.Sprint(model.Status)},
				} {
					if k, m := chancesAway(l.Text, x.kernel), chancesAway(l.Text, x.model); k != m {
						t.Errorf("%s: %s# %s\non the kernel it %s:\n%s\nin the simulator:\n%s", l.Pos, l.Node, l.Text, x.what, k, m)
					}
				}
			}
		})
	}
}

func readTranscript(t *testing.T, name string) []lessons.Line {
	t.Helper()
	name = "testdata/" + name + ".txt"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := lessons.ParseTranscript(name, string(data))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// chances are what no two runs have in common, and what stands for it.
var chances = []struct {
	what *regexp.Regexp
	text string
}{
	{regexp.MustCompile(`\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b`), "MAC"},
	{regexp.MustCompile(`\b8000\.[0-9a-f:]{12,}`), "8000.MAC"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT`), "DATE"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{6}`), "TIME"},
	{regexp.MustCompile(`pid=\d+,fd=\d+`), "pid=P,fd=F"},
	{regexp.MustCompile(`(?m)Process +$`), "Process"}, // ss pads it to the width of the pids
	// Of two FINs that cross on two CPUs the kernel tells at once (nf_ct_deliver_cached_events).
	{regexp.MustCompile(`(?m)^ *\[UPDATE\] tcp .* FIN_WAIT .*\n`), ""},
	{regexp.MustCompile(`\d+ flow events`), "flow events"},
	{regexp.MustCompile(`portid=\d+( progname=\S+)?`), "portid=P"},
	{regexp.MustCompile(`time[= ][\d.]+ ?ms`), "time=T"},
	{regexp.MustCompile(`after \d+ ms`), "after T ms"},
	{regexp.MustCompile(`\d+ packets? received by filter`), "packets received by filter"}, // also those after the last that it wanted
	{regexp.MustCompile(`  [\d.]+ ms`), "  T ms"},
	{regexp.MustCompile(`= [\d.]+/[\d.]+/[\d.]+/[\d.]+ ms`), "= RTT"},
	{regexp.MustCompile(`_timer +[\d.]+`), "_timer T"},
	{regexp.MustCompile(`\bid[ =]\d+`), "id=N"},
	{regexp.MustCompile(`TS val \d+ ecr \d+`), "TS"},
	{regexp.MustCompile(`\b(seq|ack) \d{5,}`), "$1 N"},
	{regexp.MustCompile(`win \d+`), "win N"},
	{regexp.MustCompile(`wscale \d+`), "wscale N"},
	{regexp.MustCompile(`cksum 0x\w+ \([^)]*\)`), "cksum"},
	{regexp.MustCompile(`\b(tcp|udp|icmp)( +\d+) \d+ `), "$1$2 T "}, // how long an entry of conntrack has to live
	{regexp.MustCompile(`\b(3[2-9]|4\d|5\d|60)\d{3}\b`), "PORT"},
}

// unordered are the listings that follow the kernel's hash tables.
var unordered = regexp.MustCompile(`^(ip (-\S+ )*neigh|arp|conntrack -L|ss|bridge fdb)\b`)

func chancesAway(command, text string) string {
	for _, c := range chances {
		text = c.what.ReplaceAllString(text, c.text)
	}
	if unordered.MatchString(command) {
		lines := strings.Split(text, "\n")
		slices.Sort(lines)
		text = strings.Join(lines, "\n")
	}
	return text
}
