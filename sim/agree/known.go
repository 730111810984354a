package agree

import "strings"

// Known is the list of the differences between the model and the kernel that
// are known and remain, each with its cause. A difference that is none of these
// fails the tests.
var Known = []KnownDifference{
	{"a copy of a broadcast that nobody wanted at a tunnel's far end: the model's journey leaves it out, and what the packet around it did there with it", func(d Difference) bool {
		if d.What != "journey" || !strings.HasPrefix(d.Kernel, "udp\n") || !strings.Contains(d.Kernel, ":hash→") {
			return false
		}
		model, _, _ := strings.Cut(d.Model, "\nend: ")
		return strings.HasPrefix(shape(d.Kernel), shape(model)+"\n") && !strings.Contains(d.Model, "INPUT")
	}},
	{"a macvlan's broadcast: which copies count as unwanted", func(d Difference) bool {
		return d.What == "journey" && strings.HasPrefix(d.Kernel, "arp request ") && withoutCopies(d.Kernel) == withoutCopies(d.Model)
	}},
}

// withoutCopies returns a broadcast's journey without where it was only seen.
func withoutCopies(journey string) string {
	var kept []string
	for _, l := range strings.Split(journey, "\n") {
		if f := strings.Fields(l); len(f) > 1 && f[1] != "rx" && f[0] != "also:" {
			kept = append(kept, shape(l))
		}
	}
	return strings.Join(kept, "\n")
}

// KnownDifference is one of Known.
type KnownDifference struct {
	Cause string
	// is reports whether d is this difference, and nothing else.
	is func(d Difference) bool
}

func classify(d Difference) Difference {
	for _, k := range Known {
		if k.is(d) {
			d.Known = k.Cause
		}
	}
	return d
}
