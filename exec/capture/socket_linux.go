package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/net/bpf" // assembles the socket's filter; BSD-3
	"golang.org/x/sys/unix"
)

// Socket is a packet socket that sees every interface of a network namespace.
type Socket struct {
	queue
	dec      *Decoder
	inner    *Decoder // of frames inside packets
	siblings Siblings
	buf, oob []byte
	name     func(ifindex int) string
	fn       func(Sighting)
}

// snapLen is how much of a frame is read: headers, and the beginning of the data.
const snapLen = 512

// NewSocket opens a packet socket in the namespace of the calling thread. name
// gives an interface's name; fn is called for each frame, one at a time.
func NewSocket(name func(ifindex int) string, fn func(Sighting)) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	if err := setup(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	s := &Socket{dec: NewDecoder(), inner: NewDecoder(), buf: make([]byte, 2048), oob: make([]byte, 128), name: name, fn: fn}
	s.f, s.one = os.NewFile(uintptr(fd), "packet"), s.recv
	return s, nil
}

func setup(fd int) error {
	// IPv4 and ARP only, cut to snapLen.
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: snapLen},
	})
	if err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return err
	}
	// As much as net.core.rmem_max allows; SO_RCVBUFFORCE is denied in a user namespace.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL)})
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (s *Socket) recv(fd int) bool {
	n, oobn, _, from, err := unix.Recvmsg(fd, s.buf, s.oob, unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EINTR) {
		return true
	}
	if errors.Is(err, unix.ENETDOWN) { // an interface that others still see went down
		return true
	}
	if err != nil {
		return false
	}
	ll, ok := from.(*unix.SockaddrLinklayer)
	if !ok {
		return true
	}
	h, key, payload, ok := s.dec.Frame(s.buf[:n])
	if !ok {
		return true
	}
	if h.Fragment() {
		s.siblings.Mend(ll.Ifindex, ll.Pkttype == unix.PACKET_OUTGOING, &h)
	}
	var carried *Carried
	if h.Proto == "udp" {
		carried = s.inner.Carried(payload)
	}
	s.fn(Sighting{
		Dev: s.name(ll.Ifindex), Out: ll.Pkttype == unix.PACKET_OUTGOING, Other: ll.Pkttype == unix.PACKET_OTHERHOST,
		At: timestamp(s.oob[:oobn]), Header: h, Key: key, Payload: append([]byte(nil), payload[:min(len(payload), 256)]...),
		Carried: carried,
	})
	return true
}

// timestamp finds SCM_TIMESTAMPNS, a struct timespec, among the control messages.
func timestamp(oob []byte) int64 {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return int64(binary.NativeEndian.Uint64(m.Data))*1e9 + int64(binary.NativeEndian.Uint64(m.Data[8:]))
		}
	}
	return 0
}

// Lost returns how many frames the kernel dropped for want of room since the
// last call (PACKET_STATISTICS).
func (s *Socket) Lost() uint64 {
	var lost uint64
	s.control(func(fd int) {
		if st, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			lost = uint64(st.Drops)
		}
	})
	return lost
}
