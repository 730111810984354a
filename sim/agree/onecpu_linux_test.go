package agree_test

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

var nextCPU atomic.Uint32

// onOneCPU leaves a lab's processes one CPU, each lab the next. What the kernel
// keeps for each CPU by itself, as a tunnel's way to its far end (dst_cache), would
// make it chance which of the programs in a lab knows what.
func onOneCPU(pid int) {
	var all, one unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil || all.Count() < 2 {
		return
	}
	k := int(nextCPU.Add(1)) % all.Count()
	for cpu := 0; ; cpu++ {
		if all.IsSet(cpu) {
			if k--; k < 0 {
				one.Set(cpu)
				break
			}
		}
	}
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range threads { // what they start takes after them
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.SchedSetaffinity(tid, &one)
		}
	}
}
