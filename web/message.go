package web

import (
	"vethlab/lessons"
	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// ProtocolVersion is the first thing both sides say. It grows when an old page
// could no longer talk to a new server.
const ProtocolVersion = 2

// Request is what the page sends. ID is the page's own number for it; every
// message that answers it carries the same number.
//
//	open     Lesson              begin or join the lab of this browser for a lesson
//	run      Step                run a step's commands
//	again    Step                go back to before the step, and run it again
//	goto     Step, Done          rebuild the lab to before the step, or (Done) to after it
//	rebuild                      make the lab anew, to the step where it was
//	predict  Step, Option        the learner's guess, before run
//	command  Node, Text          a command line of the learner's own
//	stop                         interrupt what is running: a step is undone and ends with the
//	                             error "stopped", a command of one's own ends with status 130
//
// A lab does one thing at a time: while it runs, everything but stop is
// answered with the error "busy". A request ends with one message "done" or
// "error" that carries its ID.
type Request struct {
	ID     int    `json:"id"`
	Type   string `json:"type"`
	V      int    `json:"v,omitempty"` // open: ProtocolVersion
	Lesson string `json:"lesson,omitempty"`
	Step   string `json:"step,omitempty"`
	Done   bool   `json:"done,omitempty"`
	Option string `json:"option,omitempty"`
	Node   string `json:"node,omitempty"`
	Text   string `json:"text,omitempty"`
}

// Message is what the server sends. Type names the one of the other fields
// that is set.
type Message struct {
	Type string `json:"type"`
	ID   int    `json:"id,omitempty"` // the Request this answers; 0 when nobody asked

	Hello      *Hello          `json:"hello,omitempty"`
	Lab        *Lab            `json:"lab,omitempty"`
	Snapshot   *state.Snapshot `json:"snapshot,omitempty"`
	Packets    []trace.Packet  `json:"packets,omitempty"`
	Trace      *trace.Trace    `json:"trace,omitempty"`
	Dropped    uint64          `json:"dropped,omitempty"`    // with packets: so many sightings before these were lost
	Unfollowed uint64          `json:"unfollowed,omitempty"` // so many sightings belong to journeys that were not followed
	Begin      *Begin          `json:"begin,omitempty"`
	Command    *Command        `json:"command,omitempty"`
	Forecast   *Forecast       `json:"forecast,omitempty"`
	Step       *Step           `json:"step,omitempty"`
	Error      *Error          `json:"error,omitempty"`
	Done       bool            `json:"done,omitempty"` // Type "done": the request ended well
}

// Hello is the first message on a connection.
type Hello struct {
	V       int    `json:"v"`
	Version string `json:"version"` // of vethlab
	// Backend is what labs run on: "kernel"; "sim", a model of Linux networking,
	// whose journeys all have the evidence "simulated"; or "none".
	Backend string `json:"backend"`
	// Model: the steps of a kernel lab are foretold by the model (see Forecast).
	Model bool `json:"model,omitempty"`
	// Reason says why the kernel backend cannot run, and Fix what to do.
	Reason string `json:"reason,omitempty"`
	Fix    string `json:"fix,omitempty"`
}

// Lab tells how the lab is. It comes after open, and again whenever it changes.
type Lab struct {
	ID      string `json:"id"`    // four hex digits, to tell labs apart
	State   string `json:"state"` // starting, ready, running, rebuilding, lost, none
	Lesson  string `json:"lesson"`
	Variant string `json:"variant,omitempty"` // nf_tables or legacy
	Text    string `json:"text,omitempty"`    // lost: why
	// Steps holds what is known of each step of the lesson that was run, in
	// order, so that a page that joins late shows the same. It is absent when
	// only State changed: keep what you have, and the "step" messages since.
	Steps []Step `json:"steps,omitzero"`
	// Own holds the learner's own commands, in order; absent like Steps.
	Own []Command `json:"own,omitzero"`
	// Guesses are the options chosen so far, by step: always all of them.
	Guesses map[string]string `json:"guesses"`
	// Next is the step to run next; empty when the lesson is done.
	Next string `json:"next,omitempty"`
	Tabs int    `json:"tabs"` // pages open on this lab
}

// Begin says that a command of a step (or of the learner) begins.
type Begin struct {
	Step  string `json:"step,omitempty"`
	Index int    `json:"index"` // which of the step's commands, from 0
	Total int    `json:"total"`
	Node  string `json:"node"`
	Text  string `json:"text"`
}

// Command is a command that ended, with what it printed and sent.
type Command struct {
	Step   string        `json:"step,omitempty"` // empty for a command of the learner's own
	Index  int           `json:"index"`
	Node   string        `json:"node"`
	Text   string        `json:"text"`
	Status int           `json:"status"`
	Stdout string        `json:"stdout,omitempty"`
	Stderr string        `json:"stderr,omitempty"`
	Traces []trace.Trace `json:"traces,omitempty"` // journeys of the packets it sent
	// Operations are what a docker command consisted of, as lines of a transcript.
	Operations []op.Deed `json:"operations,omitempty"`
	// Missing, in a Forecast, is a listing that the model does not know.
	Missing string `json:"missing,omitempty"`
	// Differs, in the Forecast of a step that was run, names in what the command
	// came otherwise: status, stdout, stderr, journey. Where it does not name
	// journeys, they are the same as far as the kernel tells.
	Differs []string `json:"differs,omitempty"`
}

// Step is a step of the lesson that was run.
type Step struct {
	ID string `json:"id"`
	// State: done; failed (its check did not hold); broken (the lab failed or
	// the step was stopped: it is the next to run); skipped (after goto: its
	// commands were replayed without the ones that only send packets or look).
	State    string    `json:"state"`
	Commands []Command `json:"commands"`
	// Checks tell what held, in the order of the lesson's checks.
	Checks []Check `json:"checks"`
	// Guess is the option the learner chose; Answer the one that the capture
	// shows; Observed the value it was read from.
	Guess    string `json:"guess,omitempty"`
	Answer   string `json:"answer,omitempty"`
	Observed string `json:"observed,omitempty"`
	// Explained: Observed was concluded from the state; nobody reported it.
	Explained bool `json:"explained,omitempty"`
	// Forecast is what the model had said of the step, with Differences.
	Forecast *Forecast `json:"forecast,omitempty"`
}

// Forecast is what the model says a step will do. It is made from the kernel's
// own state just before the step, and sent before the step's first "begin".
// What it says is never the kernel's: its journeys have the evidence
// "simulated", and IDs of their own.
type Forecast struct {
	Step string `json:"step"`
	// Commands as the model ran them; fewer than the step has when Missing says
	// why it did not go on.
	Commands []Command `json:"commands"`
	Missing  string    `json:"missing,omitempty"` // "not simulated: …"
	// Answer and Observed answer the step's question as the model sees it.
	Answer   string `json:"answer,omitempty"`
	Observed string `json:"observed,omitempty"`
	// Differences are what the lab, after the step, held otherwise than the model
	// expected; of a command see Command.Differs.
	Differences []Difference `json:"differences,omitempty"`
}

// Difference is something in the lab's state, as sim/agree writes it down.
type Difference struct {
	What   string `json:"what"`            // rule, route, conntrack, …
	Model  string `json:"model"`           // empty: the model has nothing like it
	Kernel string `json:"kernel"`          // empty: the kernel has nothing like it
	Known  string `json:"known,omitempty"` // the cause, when it is a known defect
}

// Check is one thing a step promised.
type Check struct {
	OK   bool   `json:"ok"`
	Text string `json:"text"` // what was looked at: "route in ns1: default via 172.18.0.1"
	Got  string `json:"got,omitempty"`
	// Says is Text in parts, for translation: the page's words are check.CODE.
	Says []lessons.Phrase `json:"says"`
}

// Error says what went wrong and what to do about it.
type Error struct {
	// Code: bad-message, version, unknown-lesson, unknown-step, unknown-option,
	// unknown-node, busy, not-open, lost, no-kernel, too-many-labs, too-many-pages,
	// already-run, out-of-order, stopped, timeout, timeout-own (the learner's own command), internal
	Code string `json:"code"`
	Text string `json:"text"`
	Do   string `json:"do,omitempty"`
}
