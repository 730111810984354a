package sim

import (
	"slices"

	"vethlab/sim/state"
)

// What the kernel tells of its connections as they change
// (net/netfilter/nf_conntrack_ecache.c, NFNLGRP_CONNTRACK_*).

// ConnChange says what happened to a connection.
type ConnChange uint8

// What can happen.
const (
	ConnNew ConnChange = iota
	ConnUpdate
	ConnDestroy
)

// ConnEvent tells of a connection that changed.
type ConnEvent struct {
	At     int64
	Change ConnChange
	Conn   state.Conn
	// By is the process that asked for it, if it was one.
	By int
}

// ctListener is who is told.
type ctListener struct{ fn func(ConnEvent) }

// ctTold is what the listeners know of an entry: a change of it is an event
// (enum ip_conntrack_events).
type ctTold struct {
	status ctStatus
	state  ctTCPState
	mark   uint32
}

func (c *conn) telling() ctTold {
	return ctTold{c.status & (ctSeenReply | ctAssured), c.tcp.state, c.mark}
}

// ConnEvents has the process be told of its namespace's connections until it
// ends.
func (p *Process) ConnEvents(fn func(ConnEvent)) {
	n := p.ns
	l := &ctListener{fn}
	for _, c := range n.conns() {
		c.told = c.telling()
	}
	n.ct.listeners = append(n.ct.listeners, l)
	p.OnEnd(func() {
		n.ct.listeners = slices.DeleteFunc(slices.Clone(n.ct.listeners), func(o *ctListener) bool { return o == l })
	})
}

// changed tells of an entry, if there is anything to tell.
func (n *Netns) changed(c *conn, change ConnChange) {
	if now := c.telling(); change != ConnUpdate || c.told != now {
		c.told = now
		e := ConnEvent{At: n.w.now, Change: change, Conn: n.publicConn(c), By: n.ct.by}
		for _, l := range n.ct.listeners {
			l.fn(e)
		}
	}
}
