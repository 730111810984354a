package trace

import (
	"fmt"
	"strings"
)

// Reason is the English sentence for a Code and its Args; the page has its own
// in each language.
func Reason(code string, a map[string]string) string {
	switch code {
	case CodeDelivered:
		return "delivered to " + a["node"]
	case CodeRefused:
		return fmt.Sprintf("delivered to %s, where nobody listens on port %s", a["node"], a["port"])
	case CodeRuleDrop:
		return fmt.Sprintf("dropped in %s by rule %s of %s in table %s: %s", a["node"], a["rule"], a["chain"], a["table"], a["text"])
	case CodeRuleReject:
		return fmt.Sprintf("rejected in %s by rule %s of %s in table %s: %s", a["node"], a["rule"], a["chain"], a["table"], a["text"])
	case CodePolicyDrop:
		return fmt.Sprintf("dropped in %s by the policy of %s in table %s", a["node"], a["chain"], a["table"])
	case CodeForwardingOff:
		return fmt.Sprintf("%s is not an address of %s, and %s does not forward: net.ipv4.ip_forward is 0", a["dst"], a["node"], a["node"])
	case CodeNoRoute:
		return fmt.Sprintf("%s has no route to %s", a["node"], a["dst"])
	case CodeNoWayBack:
		return fmt.Sprintf("%s got it, but has no route back to %s", a["node"], a["dst"])
	case CodeMartianSource:
		return fmt.Sprintf("%s refuses the source %s on %s: such a packet cannot come from there", a["node"], a["src"], a["dev"])
	case CodeMartianDest:
		return fmt.Sprintf("%s refuses the destination %s on %s: 127/8 stays inside a machine", a["node"], a["dst"], a["dev"])
	case CodeLoopbackReroute:
		return fmt.Sprintf("rewritten in OUTPUT, it has to be routed anew, and the source %s may not leave %s by %s: route_localnet is 0", a["src"], a["node"], a["dev"])
	case CodeReversePath:
		return fmt.Sprintf("%s would answer %s by another interface than %s: rp_filter drops it", a["node"], a["src"], a["dev"])
	case CodeNoNeighbour:
		return fmt.Sprintf("nobody answered who has %s on %s of %s", a["ip"], a["dev"], a["node"])
	case CodeTTLExceeded:
		return "its time to live ran out in " + a["node"]
	case CodeTooBig:
		return fmt.Sprintf("larger than the %s bytes that %s of %s can send, and may not be split", a["mtu"], a["dev"], a["node"])
	case CodeNoCarrier:
		return fmt.Sprintf("%s of %s is down at this end or the other", a["dev"], a["node"])
	case CodeUnclaimed:
		return "nobody wanted it; last seen in " + a["node"]
	case CodeHairpin:
		return fmt.Sprintf("the bridge in %s does not send it back out of %s, where it came from: hairpin is off there", a["node"], a["dev"])
	case CodeIsolated:
		return fmt.Sprintf("the bridge in %s keeps the port it came in by and %s apart: both are isolated", a["node"], a["dev"])
	case CodePortState:
		return fmt.Sprintf("%s of %s is a bridge's port that does not forward", a["dev"], a["node"])
	case CodeNoTunnel:
		return fmt.Sprintf("%s of %s has no tunnel end for it", a["dev"], a["node"])
	case CodeBlackhole:
		return fmt.Sprintf("%s has a blackhole route for %s: dropped without a word", a["node"], a["dst"])
	case CodeUnreachable:
		return fmt.Sprintf("%s has a route that says %s is unreachable", a["node"], a["dst"])
	case CodeProhibit:
		return fmt.Sprintf("%s has a route that prohibits %s", a["node"], a["dst"])
	case CodeReassembly:
		return "a fragment; the others did not all come to " + a["node"]
	case CodeReassembled:
		return a["node"] + " put it together with the other fragments"
	case CodeFragmented:
		return a["node"] + " sent it on in fragments, and nobody put them together again"
	case CodeLooped:
		return "it went round in circles; stopped in " + a["node"]
	}
	return fmt.Sprintf("last seen in %s at %s", a["node"], a["point"])
}

// icmpNames are the messages of RFC 792 and RFC 1812 that a lab sees, by type
// and code; code −1 is any.
var icmpNames = map[[2]int]string{
	{0, -1}: "echo reply", {8, -1}: "echo request", {5, -1}: "redirect",
	{3, 0}: "network unreachable", {3, 1}: "host unreachable", {3, 2}: "protocol unreachable", {3, 3}: "port unreachable",
	{3, 4}: "fragmentation needed", {3, 9}: "network prohibited", {3, 10}: "host prohibited", {3, 13}: "communication prohibited",
	{11, 0}: "time to live exceeded", {11, 1}: "reassembly time exceeded", {12, -1}: "parameter problem",
}

// Summary names the packet in a few words: "ICMP echo request", "TCP SYN".
func (h Header) Summary() string {
	if h.Fragment() {
		return "fragment of " + strings.ToUpper(h.Proto)
	}
	switch h.Proto {
	case "arp":
		if h.ARPOp == "reply" {
			return fmt.Sprintf("ARP %s is-at %s", h.Src, h.ARPMAC)
		}
		return fmt.Sprintf("ARP who-has %s", h.Dst)
	case "icmp":
		for _, code := range []int{-1, int(h.ICMPCode)} {
			if name := icmpNames[[2]int{int(h.ICMPType), code}]; name != "" {
				return "ICMP " + name
			}
		}
		return fmt.Sprintf("ICMP type %d code %d", h.ICMPType, h.ICMPCode)
	case "tcp":
		if data := h.Len - 40; data > 20 && strings.Contains(h.TCPFlags, "PSH") {
			return "TCP data"
		}
		return "TCP " + h.TCPFlags
	case "udp":
		return fmt.Sprintf("UDP to port %d", h.DstPort)
	}
	return "IP protocol " + h.Proto
}

// StepNote is the English of a step's Code and Args.
func StepNote(code string, a map[string]string) string {
	switch code {
	case CodeEcho:
		return "the kernel answers (icmp_echo)"
	case CodeListens:
		return "port " + a["port"] + " has a listener"
	case CodeRefused:
		return "nobody listens on port " + a["port"]
	case CodeMartianSource:
		return "martian source"
	case CodeMartianDest:
		return "martian destination"
	case CodeForwardingOff:
		return "ip_forward is 0"
	case CodeNoRoute, CodeBlackhole, CodeUnreachable, CodeProhibit:
		return "no route to " + a["dst"]
	case CodeNoWayBack:
		return "the answer has no route to " + a["dst"]
	case CodeReversePath:
		return "rp_filter"
	case CodeLoopbackReroute:
		return fmt.Sprintf("%s may not leave by %s: route_localnet is 0", a["src"], a["dev"])
	}
	return ""
}
