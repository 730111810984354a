package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"vethlab/exec/doctor"
)

// doctorCommand is `vethlab doctor [--json]`: 0 when a lab can run, else 1.
func doctorCommand(args []string) int {
	flags := flag.NewFlagSet("vethlab doctor", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	asJSON := flags.Bool("json", false, "print one JSON object")
	switch err := flags.Parse(args); {
	case err == flag.ErrHelp:
		fmt.Print("usage: vethlab doctor [--json]\n\nTries each thing that a lab on the real kernel needs; says what fails, why, and how to mend it.\nExit status: 0 when everything needed works, 1 when not, 2 for a wrong flag.\n\n")
		flags.SetOutput(os.Stdout)
		flags.PrintDefaults()
		return 0
	case err != nil:
		fmt.Fprintf(os.Stderr, "vethlab doctor: %v; see vethlab doctor --help\n", err)
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "vethlab doctor: unexpected argument %q; it takes only --json\n", flags.Arg(0))
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()

	probes := doctor.Check(ctx)
	ready := doctor.Ready(probes)
	if *asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		err := e.Encode(struct {
			Ready  bool           `json:"ready"`
			UID    int            `json:"uid"`
			Probes []doctor.Probe `json:"probes"`
		}{ready, os.Geteuid(), probes})
		if err != nil {
			fmt.Fprintln(os.Stderr, "vethlab doctor:", err)
			return 1
		}
	} else {
		doctor.Print(os.Stdout, probes)
	}
	if !ready {
		return 1
	}
	return 0
}
