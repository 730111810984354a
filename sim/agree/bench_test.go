package agree_test

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"vethlab/exec"
	"vethlab/sim/op"
)

// BenchmarkAgree compares cases as TestAgree does: always the same ones, each
// once. CPU time is this process's and its labs', the tools they run included;
// what the kernel does in work queues of its own (taking namespaces back) is in
// the cases a second alone.
func BenchmarkAgree(b *testing.B) {
	lab, err := exec.Open(b.Context(), op.World{Name: "none"})
	if err != nil {
		b.Skipf("no lab can be made here: %v", err)
	}
	lab.Close()
	const cases = 60
	for b.Loop() {
		began, spent := time.Now(), cpu()
		var wg sync.WaitGroup
		next := make(chan uint64)
		for range *workers {
			wg.Go(func() {
				for seed := range next {
					if _, _, err := generate(seed).compare(b.Context()); err != nil {
						b.Errorf("seed %d: %v", seed, err)
					}
				}
			})
		}
		for seed := range uint64(cases) {
			next <- seed
		}
		close(next)
		wg.Wait()
		took, spent := time.Since(began), cpu()-spent
		began, alone := time.Now(), cpu()
		for seed := range uint64(cases) {
			c := generate(seed)
			c.Half = 0
			if _, err := c.runModel(b.Context()); err != nil {
				b.Errorf("seed %d: the model: %v", seed, err)
			}
		}
		model := time.Since(began)
		alone = cpu() - alone
		each := func(d time.Duration) float64 { return d.Seconds() * 1000 / cases }
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(cases/took.Seconds(), "cases/s")
		b.ReportMetric(each(spent), "cpu-ms/case")
		b.ReportMetric(each(spent)/each(alone), "case/model-alone")
		b.Logf("agreement: %.1f cases compared a second, %d at once. One costs %.0f times the processor time that the model alone takes for it: %.0f ms, and %.1f; alone, one after another, it runs %.0f cases a second",
			cases/took.Seconds(), *workers, each(spent)/each(alone), each(spent), each(alone), cases/model.Seconds())
	}
}

// cpu is how long this process and the children it waited for have had a processor.
func cpu() (d time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			d += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return d
}
