package agree_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"vethlab/exec"
	"vethlab/lessons"
	"vethlab/sim/agree"
	"vethlab/sim/op"
)

var (
	seed    = flag.Uint64("seed", 0, "of the first case; 0 takes it from the clock")
	number  = flag.Int("n", 0, "how many cases")
	workers = flag.Int("workers", 6, "how many labs at once")
)

func TestMain(m *testing.M) {
	exec.Init()
	flag.Parse()
	os.Exit(m.Run())
}

func openKernel(ctx context.Context, w op.World) (lessons.Backend, error) {
	l, err := exec.Open(ctx, w)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// The kernel agrees with itself: what is compared does not depend on the moment.
func TestKernelAgreesWithItself(t *testing.T) {
	n := *number
	if n == 0 {
		n = 20
	}
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	t.Logf("first seed %d", first)
	began := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan uint64)
	for range *workers {
		wg.Go(func() {
			for s := range next {
				c := generate(s)
				a, err := c.runWhole(t.Context(), openKernel)
				if err != nil {
					t.Errorf("seed %d: %v", s, err)
					continue
				}
				b, err := c.runWhole(t.Context(), openKernel)
				if err != nil {
					t.Errorf("seed %d: %v", s, err)
					continue
				}
				if ds := agree.CompareRecords(a, b); len(ds) > 0 {
					var text []string
					for _, d := range ds {
						text = append(text, d.String())
					}
					mu.Lock()
					t.Errorf("seed %d:\n%s", s, strings.Join(text, "\n"))
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		next <- first + uint64(i)
	}
	close(next)
	wg.Wait()
	fmt.Printf("%d cases in %.1f s: %.1f/s\n", n, time.Since(began).Seconds(), 2*float64(n)/time.Since(began).Seconds())
}

func TestGenerate(t *testing.T) {
	c := generate(*seed)
	fmt.Println(strings.Join(c.Setup, "\n"))
	fmt.Println("--", c.Half)
	fmt.Println(strings.Join(c.Lines, "\n"))
}

// Where the time goes.
func TestTimes(t *testing.T) {
	c := generate(*seed)
	w, _ := c.world()
	began := time.Now()
	lab, err := openKernel(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("open", time.Since(began))
	began = time.Now()
	s, _ := newSide(t.Context(), lab)
	fmt.Println("snapshot", time.Since(began))
	for _, l := range c.Lines {
		began = time.Now()
		if err := s.line(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		fmt.Println(time.Since(began), l)
	}
	began = time.Now()
	s.end(t.Context())
	fmt.Println("snapshot", time.Since(began))
	began = time.Now()
	s.close()
	fmt.Println("close", time.Since(began))
}
