package capture

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/mdlayher/netlink" // messages and attributes; MIT

	"vethlab/sim/state"
)

// Attributes of ctnetlink (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctaTupleOrig, ctaTupleReply, ctaStatus, ctaProtoinfo, ctaTimeout, ctaMark, ctaID = 1, 2, 3, 4, 7, 8, 12

	ctaTupleIP, ctaTupleProto                                       = 1, 2
	ctaIPv4Src, ctaIPv4Dst                                          = 1, 2
	ctaProtoNum, ctaProtoSrcPort, ctaProtoDstPort, ctaICMPID        = 1, 2, 3, 4
	ctaICMPType                                                     = 5
	ctaProtoinfoTCP, ctaProtoinfoTCPState                           = 1, 1
	ipsSeenReply, ipsAssured, ipsSrcNAT, ipsDstNAT           uint32 = 1 << 1, 1 << 2, 1 << 4, 1 << 5
)

// tcpStates are the names `conntrack -L` prints (enum tcp_conntrack).
var tcpStates = []string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}

// ParseConn reads a ctnetlink message without its nfgenmsg header.
func ParseConn(attrs []byte) (state.Conn, error) {
	var c state.Conn
	d, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		return c, err
	}
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		switch d.Type() {
		case ctaTupleOrig:
			d.Nested(parseTuple(&c, &c.Orig))
		case ctaTupleReply:
			d.Nested(parseTuple(&c, &c.Reply))
		case ctaStatus:
			st := d.Uint32()
			c.Replied, c.Assured = st&ipsSeenReply != 0, st&ipsAssured != 0
			c.SrcNAT, c.DstNAT = st&ipsSrcNAT != 0, st&ipsDstNAT != 0
		case ctaProtoinfo:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					if d.Type() == ctaProtoinfoTCP {
						d.Nested(func(d *netlink.AttributeDecoder) error {
							for d.Next() {
								if d.Type() == ctaProtoinfoTCPState {
									if n := int(d.Uint8()); n < len(tcpStates) {
										c.State = tcpStates[n]
									}
								}
							}
							return nil
						})
					}
				}
				return nil
			})
		case ctaTimeout:
			c.Timeout = int(d.Uint32())
		case ctaMark:
			c.Mark = d.Uint32()
		case ctaID:
			c.ID = d.Uint32()
		}
	}
	return c, d.Err()
}

func parseTuple(c *state.Conn, t *state.Tuple) func(*netlink.AttributeDecoder) error {
	return func(d *netlink.AttributeDecoder) error {
		for d.Next() {
			switch d.Type() {
			case ctaTupleIP:
				d.Nested(func(d *netlink.AttributeDecoder) error {
					for d.Next() {
						switch d.Type() {
						case ctaIPv4Src:
							t.Src, _ = netip.AddrFromSlice(d.Bytes())
						case ctaIPv4Dst:
							t.Dst, _ = netip.AddrFromSlice(d.Bytes())
						}
					}
					return nil
				})
			case ctaTupleProto:
				d.Nested(func(d *netlink.AttributeDecoder) error {
					for d.Next() {
						switch d.Type() {
						case ctaProtoNum:
							n := d.Uint8()
							c.Proto = cmp.Or(map[uint8]string{1: "icmp", 6: "tcp", 17: "udp"}[n], strconv.Itoa(int(n)))
						case ctaProtoSrcPort, ctaICMPID:
							t.SrcPort = d.Uint16()
						case ctaProtoDstPort:
							t.DstPort = d.Uint16()
						case ctaICMPType:
							t.ICMPType = d.Uint8()
						}
					}
					return nil
				})
			}
		}
		return nil
	}
}
