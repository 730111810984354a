package web

import (
	"encoding/json"
	"sync"

	"vethlab/sim/trace"
)

const (
	// maxPackets is how many packet sightings wait for a slow page before the
	// oldest are dropped: the page draws a few hundred.
	maxPackets = 4096
	// maxBytes is how much else waits before the page is given up. None of it is
	// dropped: a page that connects again is told all that counts.
	maxBytes = 16 << 20
	// maxFrame is how many sightings go into one message.
	maxFrame = 512
)

// queue holds what waits to be sent to one page. Whoever puts something in
// never waits, so a slow page stalls nobody.
//
// What is in the queue when the writer comes back goes out at once ("natural
// batching"): a fast page gets each sighting by itself, a slow one gets many
// in a message.
type queue struct {
	ready chan struct{} // holds a token while there is something to take

	mu      sync.Mutex
	items   []item
	packets int    // sightings in items
	dropped uint64 // sightings dropped and not told yet
	bytes   int    // of the encoded messages in items
	full    bool   // maxBytes was passed
}

// item is a message: encoded already (body), or sightings that still gather.
type item struct {
	body     []byte
	snapshot bool // a later snapshot takes its place
	packets  []trace.Packet
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

// put adds an encoded message.
func (q *queue) put(body []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(item{body: body})
}

// add wants mu.
func (q *queue) add(it item) {
	if q.bytes > 0 && q.bytes+len(it.body) > maxBytes {
		q.full = true
	} else {
		q.items = append(q.items, it)
		q.bytes += len(it.body)
	}
	q.wake()
}

// putSnapshot adds an encoded snapshot, and takes out one that still waits.
func (q *queue) putSnapshot(body []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.items {
		if q.items[i].snapshot {
			q.bytes -= len(q.items[i].body)
			q.items = append(q.items[:i], q.items[i+1:]...)
			break
		}
	}
	q.add(item{body: body, snapshot: true})
}

// putPackets adds sightings, after whatever is in the queue.
func (q *queue) putPackets(ps []trace.Packet, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped += dropped
	if n := len(q.items); n > 0 && q.items[n-1].packets != nil {
		q.items[n-1].packets = append(q.items[n-1].packets, ps...)
	} else if len(ps) > 0 || dropped > 0 {
		q.items = append(q.items, item{packets: append(make([]trace.Packet, 0, len(ps)), ps...)})
	}
	q.packets += len(ps)
	for i := 0; q.packets > maxPackets; i++ {
		it := &q.items[i]
		n := min(len(it.packets), q.packets-maxPackets)
		it.packets = it.packets[n:]
		q.packets -= n
		q.dropped += uint64(n)
	}
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take returns the next message to write, or nil when there is none. ok is
// false when the page fell so far behind that it has to connect again.
func (q *queue) take() (body []byte, ok bool) {
	q.mu.Lock()
	for len(q.items) > 0 && q.items[0].packets != nil && len(q.items[0].packets) == 0 && q.dropped == 0 {
		q.items = q.items[1:] // all its sightings were dropped
	}
	if q.full || len(q.items) == 0 {
		defer q.mu.Unlock()
		return nil, !q.full
	}
	it := &q.items[0]
	if it.packets == nil {
		defer q.mu.Unlock()
		body = it.body
		q.bytes -= len(body)
		q.items = q.items[1:]
		return body, true
	}
	n := min(len(it.packets), maxFrame)
	m := Message{Type: "packets", Packets: it.packets[:n:n], Dropped: q.dropped}
	if n == len(it.packets) {
		q.items = q.items[1:]
	} else {
		it.packets = it.packets[n:]
	}
	q.packets -= n
	q.dropped = 0
	q.mu.Unlock()
	return encode(m), true
}

func encode(m Message) []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic("web: a message that is no JSON: " + err.Error()) // only our own types
	}
	return b
}
