package op

import (
	"strconv"

	"vethlab/sim/trace"
)

// Result is what an operation came to, as a shell would see it.
type Result struct {
	// Output and Stderr are what the tool printed. For operations that print
	// nothing themselves, Stderr is filled in from Failure by sim/cmdline.
	Output string        `json:"output,omitempty"`
	Stderr string        `json:"stderr,omitempty"`
	Status int           `json:"status"` // exit status; 0 is success
	Traces []trace.Trace `json:"traces,omitempty"`
	// Failure says why the kernel refused. Its wording is the tool's business.
	Failure *Failure `json:"failure,omitempty"`
	// Deeds are the operations a command consisted of, in their order, where it
	// was more than one: those of docker and dockerd.
	Deeds []Deed `json:"deeds,omitempty"`
}

// Failure is a refusal, before a tool has put it in words.
type Failure struct {
	Errno int     `json:"errno,omitempty"` // as in errno(3): 17 is EEXIST
	What  Missing `json:"what,omitempty"`  // set when something named was not there, or was there already
	Name  string  `json:"name,omitempty"`  // its name
	// Message is the kernel's own sentence (NLMSGERR_ATTR_MSG), if it gave one.
	Message string `json:"message,omitempty"`
}

// Missing names the kind of thing a Failure is about.
type Missing string

// Kinds of things that a tool looks up by name before it asks the kernel.
const (
	NoDevice  Missing = "device" // no such interface
	NoNetns   Missing = "netns"  // no such name in /run/netns
	NetnsUsed Missing = "netns-exists"
	NotBridge Missing = "not-a-bridge"
	NoSysctl  Missing = "sysctl" // no such file in /proc/sys
	NoTool    Missing = "tool"   // the machine lacks the program
)

func (f *Failure) Error() string {
	if f.Message != "" {
		return f.Message
	}
	switch f.What {
	case NoDevice, NoNetns, NoSysctl:
		return "no " + string(f.What) + " " + f.Name
	case NetnsUsed:
		return "there is a netns " + f.Name + " already"
	case NotBridge:
		return f.Name + " is not a bridge"
	case NoTool:
		return f.Name + " is not installed"
	}
	return "errno " + strconv.Itoa(f.Errno)
}
