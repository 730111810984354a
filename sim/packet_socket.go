package sim

import (
	"slices"

	"vethlab/sim/trace"
)

// Frame is what a packet socket sees of a frame that comes in or goes out by a
// device (packet(7)).
type Frame struct {
	At     int64  // on the world's clock
	Dev    string // and its number
	Index  int
	Out    bool
	For    FrameFor
	Header trace.Header

	// What a journey does not tell of the packet.
	TOS     uint8
	DF      bool
	Payload []byte // of TCP or UDP, where anybody looks at it
	DataLen int    // bytes of it
	MTU     uint32 // of "fragmentation needed"
	Gateway IP     // of a redirect
	// Of a TCP segment.
	Window      uint16
	MSS, WScale int // of a SYN
	Stamp, Echo uint32
	Options     int // bytes of options
	// About is the packet that an ICMP error is about.
	About *Frame
	// Inner is the frame in a tunnel's packet, VNI the tunnel's number.
	Inner *Frame
	VNI   int
}

// FrameFor says for whom a frame is that comes in (sll_pkttype).
type FrameFor uint8

// Whom a frame is for.
const (
	ForHost FrameFor = iota
	ForAll
	ForGroup
	ForOther
)

// tap is a packet socket.
type tap struct {
	dev  *Link // nil: every device of the namespace
	seen func(Frame)
}

// Tap has the process see the frames of a device, or with "" of all devices of
// its namespace, until it ends. It returns an errno.
func (p *Process) Tap(dev string, seen func(Frame)) int {
	t := &tap{seen: seen}
	if dev != "" {
		if t.dev = p.ns.link(dev); t.dev == nil {
			return enodev
		}
	}
	n := p.ns
	n.taps = append(n.taps, t)
	p.OnEnd(func() { n.taps = slices.DeleteFunc(slices.Clone(n.taps), func(o *tap) bool { return o == t }) })
	return 0
}

// tapped shows a frame to the packet sockets (dev_queue_xmit_nit on the way
// out, the ptype_all list of __netif_receive_skb_core on the way in).
func (w *World) tapped(dev *Link, p *packet, out bool) {
	for _, t := range dev.ns.taps {
		if t.dev == nil || t.dev == dev {
			f := p.frame()
			f.At, f.Dev, f.Index, f.Out = w.now, dev.name, dev.index, out
			t.seen(f)
		}
	}
}

func (p *packet) frame() Frame {
	f := frameOf(&p.header)
	f.Payload = p.payload
	switch p.typ {
	case toBroadcast:
		f.For = ForAll
	case toMulticast:
		f.For = ForGroup
	case toOther:
		f.For = ForOther
	}
	if p.proto == protoTCP && p.opts != nil {
		f.Window, f.Stamp, f.Echo = p.opts.window, p.opts.stamp, p.opts.echo
		if f.MSS = int(p.opts.mss); f.MSS != 0 {
			f.WScale = tcpScale
		}
	}
	if p.proto == protoTCP {
		f.DataLen = len(p.payload)
		f.Options = int(p.len) - 40 - len(p.payload)
	}
	if p.quoted != nil {
		about := frameOf(p.quoted)
		f.About = &about
	}
	if p.inner != nil {
		inner := p.inner.frame()
		f.Inner, f.VNI = &inner, int(p.vni)
	}
	return f
}

func frameOf(h *header) Frame {
	f := Frame{Header: h.public(), TOS: h.tos, DF: h.flags&ipDF != 0}
	if h.first() && h.flags&ipMF != 0 { // a journey tells nothing of what is inside a fragment
		whole := *h
		whole.flags &^= ipMF
		f.Header = whole.public()
		f.Header.MoreFragments = true
	}
	if h.proto == protoUDP {
		f.DataLen = int(h.len) - 28
	}
	if h.proto == protoICMP {
		f.MTU, f.Gateway = h.icmpInfo, IP(h.icmpInfo)
	}
	return f
}
