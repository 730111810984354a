package tools

import (
	"fmt"

	"vethlab/sim"
	"vethlab/sim/op"
)

// exit ends a program from wherever it is, as exit(3) does: what it says last
// on stderr, and its status. It is thrown by the functions below and caught by
// (*call).exec; what was printed until then is kept.
type exit struct {
	stderr string
	status int
}

// fail ends the program with a sentence on stderr; the newline is added.
func fail(status int, format string, args ...any) {
	panic(exit{fmt.Sprintf(format, args...) + "\n", status})
}

// quit ends the program without another word.
func quit(status int) { panic(exit{"", status}) }

// notSimulated ends the program because the model does not know what is asked.
func notSimulated(format string, args ...any) {
	r := sim.NotSimulated(fmt.Sprintf(format, args...))
	panic(exit{r.Stderr, r.Status})
}

// caught turns a thrown exit into the program's result.
func (c *call) caught(r *op.Result) {
	switch e := recover().(type) {
	case nil:
	case exit:
		*r = op.Result{Output: c.out.String(), Stderr: c.err.String() + e.stderr, Status: e.status}
	default:
		panic(e)
	}
}

// done is the result of a program that came to its end.
func (c *call) done(status int) op.Result {
	return op.Result{Output: c.out.String(), Stderr: c.err.String(), Status: status}
}

// warn says something on stderr and goes on.
func (c *call) warn(format string, args ...any) { fmt.Fprintf(&c.err, format+"\n", args...) }
