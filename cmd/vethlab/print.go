package main

import (
	"encoding/json"
	"io"

	"vethlab/lessons"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// printer is where a command prints, for people or as JSON Lines.
type printer struct {
	stdout, stderr io.Writer
	colour         bool // for people, on a terminal
	json           bool
	lost           error // the first event that could not be written
}

// The colours of a terminal (ECMA-48, Select Graphic Rendition).
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	blue  = "34"
)

func (p *printer) paint(sgr, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

// What --json prints, one a line. Step is set by `vethlab lesson run` only.
type (
	commandEvent struct {
		Event   string `json:"event"` // command
		Backend string `json:"backend"`
		Step    string `json:"step,omitempty"`
		Node    string `json:"node"`
		Text    string `json:"text"`
		Status  int    `json:"status"`
		Stdout  string `json:"stdout"`
		Stderr  string `json:"stderr"`
		// Operations are what a docker command consisted of, as lines of a transcript.
		Operations []op.Deed `json:"operations,omitempty"`
	}
	traceEvent struct {
		Event   string      `json:"event"` // trace
		Backend string      `json:"backend"`
		Step    string      `json:"step,omitempty"`
		Trace   trace.Trace `json:"trace"`
	}
	stateEvent struct {
		Event    string          `json:"event"` // state
		Backend  string          `json:"backend"`
		Snapshot *state.Snapshot `json:"snapshot"`
	}
)

func (p *printer) event(v any) {
	enc := json.NewEncoder(p.stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil && p.lost == nil {
		p.lost = err
	}
}

// ranEvents prints a command that ended on a backend, and the journeys of its
// packets.
func (p *printer) ranEvents(backend, step string, l lessons.Line, out lessons.Outcome) {
	p.event(commandEvent{"command", backend, step, l.Node, l.Text, out.Status, out.Stdout, out.Stderr, out.Deeds()})
	for _, t := range out.Traces {
		p.event(traceEvent{"trace", backend, step, t})
	}
}
