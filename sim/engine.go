package sim

import (
	"container/heap"
	"context"
	"time"
)

// engine is the world's clock, its timers, and the frames that wait to be
// received. Nothing happens but by it, in one order.
type engine struct {
	now      int64 // nanoseconds since 1970
	building bool  // the world is being furnished: nothing is recorded

	backlog []arrival // frames on their way between devices, oldest first (struct softnet_data)
	head    int
	xmits   int // devices that are sending right now, one by way of the other (softnet_data.xmit.recursion)
	// icmpSending says that a message of the kernel's own is on its way out: what
	// becomes of it there tells nobody of an error (icmp_xmit_lock, net/ipv4/icmp.c).
	icmpSending bool
	hashes      uint32 // how many sockets were given one
	timers      timers
	seq         uint64
	ctx         context.Context // of the operation under way
	free        []*packet
}

// arrival is a frame that a device is about to receive.
type arrival struct {
	dev *Link
	p   *packet
}

// stepTime is what the clock moves by at each point of a journey, so that what
// comes later has a later time. It stands for no measurement.
const stepTime = int64(time.Microsecond)

// opTime passes with every operation: a command takes about that long.
const opTime = int64(2 * time.Millisecond)

// timer is something that happens later.
type timer struct {
	at   int64
	seq  uint64 // timers of one moment go off in the order they were set
	fn   func()
	dead bool
}

type timers []*timer

func (t timers) Len() int      { return len(t) }
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t timers) Less(i, j int) bool {
	return t[i].at < t[j].at || t[i].at == t[j].at && t[i].seq < t[j].seq
}
func (t *timers) Push(x any) { *t = append(*t, x.(*timer)) }
func (t *timers) Pop() any {
	old := *t
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	return x
}

// after calls fn when d has passed.
func (e *engine) after(d time.Duration, fn func()) *timer {
	e.seq++
	t := &timer{at: e.now + int64(d), seq: e.seq, fn: fn}
	heap.Push(&e.timers, t)
	return t
}

// stop keeps a timer from going off. A nil timer is fine.
func (t *timer) stop() {
	if t != nil {
		t.dead = true
	}
}

// netifRx hands a frame to a device, to be received in its turn (netif_rx,
// net/core/dev.c). The packet belongs to the device from here on.
func (w *World) netifRx(dev *Link, p *packet) {
	w.backlog = append(w.backlog, arrival{dev, p})
}

// drain receives the waiting frames, and those that come of them.
func (w *World) drain() {
	for n := 1; w.head < len(w.backlog); n++ {
		if n%1024 == 0 && w.ctx != nil && w.ctx.Err() != nil { // it may never come to an end
			clear(w.backlog)
			w.backlog, w.head = w.backlog[:0], 0
			return
		}
		a := w.backlog[w.head]
		w.backlog[w.head] = arrival{}
		if w.head++; w.head == len(w.backlog) {
			w.backlog, w.head = w.backlog[:0], 0
		}
		w.receive(a.dev, a.p)
	}
}

// run lets time pass until done says so, or the deadline (on the world's
// clock) has come. A nil done waits for the deadline.
func (w *World) run(deadline int64, done func() bool) {
	for {
		w.drain()
		if done != nil && done() {
			return
		}
		if w.ctx != nil && w.ctx.Err() != nil {
			return
		}
		if len(w.timers) == 0 || w.timers[0].at > deadline {
			w.now = max(w.now, deadline)
			return
		}
		t := heap.Pop(&w.timers).(*timer)
		if !t.dead {
			w.now = max(w.now, t.at)
			t.fn()
		}
	}
}

// settle ends an operation: what it set in motion comes to rest. Time passes as
// in the kernel's lab, where a journey that came to no certain end is watched
// for a while (exec/capture: Patience; exec: settle), so that what comes of it
// is the operation's.
func (w *World) settle() {
	const most = 600 * time.Millisecond
	w.run(w.now+opTime, nil)
	for limit := w.now + int64(most); !w.building; {
		since := w.rec.uncertain()
		until := min(since+int64(patience), limit)
		if since == 0 || until <= w.now || w.ctx.Err() != nil {
			return
		}
		came := func() bool { return w.rec.uncertain() == 0 }
		if len(w.rec.journeys) > 64 {
			came = nil // a flood: looking at all of them again and again would take long
		}
		w.run(until, came)
	}
}

// patience is how long a journey may pause before nothing more is expected of it.
const patience = 200 * time.Millisecond

// sleep lets time pass.
func (w *World) sleep(d time.Duration) { w.run(w.now+int64(d), nil) }

// newPacket returns an empty packet, if possible one that was used before.
func (w *World) newPacket() *packet {
	if n := len(w.free); n > 0 {
		p := w.free[n-1]
		w.free = w.free[:n-1]
		*p = packet{}
		return p
	}
	return new(packet)
}

// discard gives a packet back: nobody may hold on to it (kfree_skb).
func (w *World) discard(p *packet) {
	if len(w.free) < 1024 {
		w.free = append(w.free, p)
	}
}

// maxSteps is how many points a journey may have before it counts as one that
// goes round in circles: more than a frame has that is flooded to every link.
func (w *World) maxSteps() int { return maxSteps + 4*w.links }
