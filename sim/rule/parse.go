package rule

// Error is a refusal, as iptables puts it.
type Error struct {
	Text   string // what iptables prints to stderr, ends with a newline
	Status int    // exit status: 2 for a wrong word, 1 for what the kernel refused, 4 for a wrong use of the tables
}

func (e *Error) Error() string { return e.Text }

// NotSimulated is the Status of an Error for what iptables has and this
// package has not.
const NotSimulated = 95
