package docker

import "vethlab/sim/op"

// quoted is a command line as a shell reads it.
func quoted(argv []string) string { return op.Tool{Argv: argv}.String() }
