//go:build !linux

package doctor

import (
	"context"
	"runtime"
)

type nowhere struct{}

func newProber() prober { return nowhere{} }

func (nowhere) machine() machine { return machine{} }

func (nowhere) try(context.Context) map[string]result {
	return map[string]result{"userns": {ID: "userns", Error: "labs run on the Linux kernel; this is " + runtime.GOOS}}
}
