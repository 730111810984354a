package exec

import (
	"reflect"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// askForSentences has the kernel explain its refusals to h: "Nexthop has
// invalid gateway" beside ENETUNREACH (NETLINK_EXT_ACK, netlink(7)). The
// library asks only on the sockets of its package-level functions
// (nl.EnableErrorMessageReporting), and does not hand out a handle's socket.
// Where a later version of it hides them otherwise, the errno is all there is.
func askForSentences(h *netlink.Handle) {
	sockets := reflect.ValueOf(h).Elem().FieldByName("sockets")
	if !sockets.IsValid() || sockets.Type() != reflect.TypeFor[map[int]*nl.SocketHandle]() {
		return
	}
	for it := sockets.MapRange(); it.Next(); {
		s := (*nl.SocketHandle)(it.Value().UnsafePointer())
		_ = s.Socket.SetExtAck(true) // without it the errno is all there is
	}
}
