//go:build !linux

package exec

import (
	"context"
	"errors"

	"vethlab/sim/op"
	"vethlab/sim/state"
)

// Lab is a lab on the real kernel. There is none on this system.
type Lab struct{}

var errLinux = errors.New("the kernel backend needs Linux")

// Init does nothing here; on Linux it runs what the process was re-executed for.
func Init() {}

// Open fails: namespaces are Linux's.
func Open(context.Context, op.World) (*Lab, error) { return nil, errLinux }

// Open fails: namespaces are Linux's.
func (Options) Open(context.Context, op.World) (*Lab, error) { return nil, errLinux }

// Apply fails.
func (*Lab) Apply(context.Context, string, op.Op) (op.Result, error) { return op.Result{}, errLinux }

// Snapshot fails.
func (*Lab) Snapshot(context.Context) (*state.Snapshot, error) { return nil, errLinux }

// Watch does nothing.
func (*Lab) Watch(func(op.Event)) {}

// Pid is 0.
func (*Lab) Pid() int { return 0 }

// Close does nothing.
func (*Lab) Close() error { return nil }
