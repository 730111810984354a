package agree

// Known is the list of the differences between the model and the kernel that
// are known and remain, each with its cause. A difference that is none of these
// fails the tests.
var Known = []KnownDifference{}

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
