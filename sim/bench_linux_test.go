package sim

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	osexec "os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BenchmarkForwarding sends packets of one connection through a docker-like
// host: in the model, recording each one's journey, and through namespaces of
// the kernel with nobody watching. Both have one core, and both count by the
// processor time that they had, so that whoever else uses the machine takes
// nothing from either. In the kernel that core does the work of host and web
// alone: the sender has another, sends many packets with one system call, and
// waits when the queue between them is full. In the model the core does the
// client's part too.
//
// A hop is a node that a packet passed, as in a trace. The goal is ten times
// as many simulated hops a second as the kernel forwards packets.
func BenchmarkForwarding(b *testing.B) {
	model := benchWorld(b)
	kernel := openKernelBench(b)
	defer kernel.close()
	for b.Loop() {
		const rounds = 5
		var moved []float64
		var packets, took, busy float64
		for range rounds {
			moved = append(moved, modelForwards(b, model))
			p, t, s := kernel.forwards(b)
			packets, took, busy = packets+p, took+t, busy+s
		}
		m, k, how := median(moved), packets/busy, fmt.Sprintf("sent from another core; this one was %.0f %% busy with them", busy/took*100)
		if !kernel.own {
			k, how = packets/took, "on the sender's core: only the machine's root can give it another"
		}
		r := m * benchHops / k
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(r, "hops/kernel-packet(goal≥10)")
		b.ReportMetric(m/k, "packets/kernel-packet")
		b.Logf("forwarding: %.1f hops of the model for each packet of the kernel (goal: 10), on one core each, through a docker-like host. In a second of processor time the model moves %.2f million packets by %d hops, each journey recorded; the kernel forwards %.2f million (%s)",
			r, m/1e6, benchHops, k/1e6, how)
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// forwardFor is how long each side forwards in a round.
const forwardFor = 600 * time.Millisecond

// modelForwards returns how many packets the model moves in a second of
// processor time.
func modelForwards(b *testing.B, s *sender) float64 {
	strict = false
	defer func() { strict = true }()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin, packets := threadTime(b), 0
	for {
		for range 1000 {
			s.onePacket()
		}
		packets += 1000
		if d := threadTime(b) - begin; d >= forwardFor {
			return float64(packets) / d.Seconds()
		}
	}
}

func threadTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// kernelBench is the docker-like world in namespaces of the kernel: a shell
// that sends for a while whenever it is given a line.
type kernelBench struct {
	sh   *osexec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	core int  // that forwards
	own  bool // and does nothing else
}

func openKernelBench(b *testing.B) *kernelBench {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	k := &kernelBench{core: runtime.NumCPU() - 1}
	var s strings.Builder
	s.WriteString("mount -t tmpfs none /run\n")
	for n := range strings.FieldsSeq(benchNodes) {
		fmt.Fprintf(&s, "ip netns add %s\n", n)
	}
	for _, line := range lines(dockerLike) {
		node, command, _ := strings.Cut(line, "# ")
		fmt.Fprintf(&s, "ip netns exec %s %s >/dev/null\n", node, command)
	}
	// Receive packet steering puts what comes in by the host's eth0 on another
	// core than the sender's. Only the machine's root may set it.
	fmt.Fprintf(&s, "steer() { [ %d -gt 0 ] && ip netns exec host sh -c 'echo %x >/sys/class/net/eth0/queues/rx-0/rps_cpus' 2>/dev/null; }\n", k.core, 1<<k.core)
	s.WriteString("received() { ip -n web -s -o link show eth0 | awk '{ for (i = 1; i <= NF; i++) if ($i == \"RX:\") { print $(i + 9); exit } }'; }\n")
	fmt.Fprintf(&s, "softirq() { awk '$1 == \"cpu%d\" { print $8 }' /proc/stat; }\n", k.core)
	fmt.Fprintf(&s, "sender=%d; steer && sender=0; echo $sender\n", k.core)
	fmt.Fprintf(&s, "while read -r; do a=$(received) b=$(softirq); ip netns exec client %s %s $sender; echo $(($(received) - a)) $(($(softirq) - b)); done\n", self, floodArg)
	args := []string{"--net", "--mount", "--pid", "--fork", "--mount-proc", "bash", "-euc", s.String()}
	if os.Getuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	k.sh = osexec.Command("unshare", args...)
	k.sh.Stderr = os.Stderr
	if k.in, err = k.sh.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := k.sh.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	k.out = bufio.NewReader(out)
	if err := k.sh.Start(); err != nil {
		b.Fatal(err)
	}
	k.own = k.line(b)[0] != float64(k.core)
	k.forwards(b) // ARP, and the connection's entry
	return k
}

// forwards has packets sent for a while. It returns how many came through to web,
// how many seconds that took, and for how many of them the core received packets.
func (k *kernelBench) forwards(b *testing.B) (packets, took, busy float64) {
	b.Helper()
	if _, err := io.WriteString(k.in, "\n"); err != nil {
		b.Fatal(err)
	}
	took = k.line(b)[0]
	l := k.line(b)
	return l[0], took, l[1] / 100 // USER_HZ
}

func (k *kernelBench) line(b *testing.B) (numbers []float64) {
	b.Helper()
	text, err := k.out.ReadString('\n')
	for f := range strings.FieldsSeq(text) {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			b.Fatalf("not understood: %s", text)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) == 0 {
		b.Fatal("the kernel's side ended: ", err)
	}
	return numbers
}

func (k *kernelBench) close() {
	k.in.Close()
	k.sh.Wait()
}

// floodArg, as the first argument, makes the test binary send packets to the
// published port for a while from the core that is named next, and print how
// many seconds that was.
const floodArg = "flood"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == floodArg {
		if err := flood(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func flood(core string) error {
	runtime.LockOSThread()
	c, err := strconv.Atoi(core)
	if err != nil {
		return err
	}
	var set unix.CPUSet
	set.Set(c)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	conn, err := net.DialUDP("udp4", &net.UDPAddr{Port: 40000}, &net.UDPAddr{IP: benchTo.Addr().AsSlice(), Port: benchPort})
	if err != nil {
		return err
	}
	f, err := conn.File()
	if err != nil {
		return err
	}
	var messages [64]struct { // struct mmsghdr, sendmmsg(2)
		unix.Msghdr
		sent uint32
	}
	payload := []byte("ping")
	part := unix.Iovec{Base: &payload[0]}
	part.SetLen(len(payload))
	for i := range messages {
		messages[i].Iov = &part
		messages[i].SetIovlen(1)
	}
	begin := time.Now()
	for time.Since(begin) < forwardFor {
		if _, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, f.Fd(), uintptr(unsafe.Pointer(&messages)), uintptr(len(messages)), 0, 0, 0); errno != 0 {
			return errno
		}
	}
	_, err = fmt.Println(time.Since(begin).Seconds())
	return err
}
