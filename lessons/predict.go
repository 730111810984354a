package lessons

import (
	"cmp"
	"strconv"
	"strings"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// Selector says where the capture, or the lab's state, holds the answer to a
// prediction. The author never writes the answer itself: each option has a
// value, and the right one is the option whose value the Selector reads.
//
//	answer: {packet: {sent-by: ns1, dst: 203.0.113.10}, at: {node: internet, point: rx}, field: src}
//	answer: {packet: {sent-by: ns1, dst: 203.0.113.10}, field: ends-at}
//	answer: {rule: {node: host, table: nat, chain: POSTROUTING, spec: "…"}, field: packets}
//
// One of packet, rule, link, command is set. The fields of each are in selectorFields.
type Selector struct {
	Packet  *PacketSelector `yaml:"packet"`
	At      *Place          `yaml:"at"` // packet: the place where its header is read
	Rule    *RuleCheck      `yaml:"rule"`
	Link    *LinkCheck      `yaml:"link"`
	Command *CommandCheck   `yaml:"command"`
	Field   string          `yaml:"field"`
}

// selectorFields are the fields each kind of Selector can read.
var selectorFields = map[string][]string{
	"packet with at": headerFields,
	"packet":         {"ends", "ends-at", "code", "last-point"},
	"rule":           {"packets"},
	"link":           {"place"}, // up, down, gone: whether it is there, and switched on
	"command":        {"status"},
}

func (s *Selector) kind() string {
	var set []string
	if s.Packet != nil {
		set = append(set, "packet")
		if s.At != nil {
			set[0] = "packet with at"
		}
	}
	if s.Rule != nil {
		set = append(set, "rule")
	}
	if s.Link != nil {
		set = append(set, "link")
	}
	if s.Command != nil {
		set = append(set, "command")
	}
	if len(set) != 1 {
		return ""
	}
	return set[0]
}

// answer finds the option that the capture proves right and the value it was
// read from. Both are empty when the step asks nothing or nothing was seen.
// explained says that the value was concluded, for nobody reported it.
func answer(s *Step, snap *state.Snapshot, ran []Ran) (option, observed string, explained bool) {
	if s.Predict == nil {
		return "", "", false
	}
	observed, explained = s.Predict.Answer.read(scene{snap, ran})
	for _, o := range s.Predict.Options {
		if observed != "" && o.Value == observed {
			return o.ID, observed, explained
		}
	}
	return "", observed, explained
}

// read returns what the lab shows where the selector points, "" if nothing is
// there, and whether that is an explanation (trace.Explained).
func (s *Selector) read(sc scene) (value string, explained bool) {
	switch s.kind() {
	case "packet", "packet with at":
		for _, t := range s.Packet.pick(sc) {
			if v := s.readPacket(t); v != "" {
				return v, s.At == nil && s.Field != "ends-at" && t.Evidence == trace.Explained
			}
		}
	case "rule":
		if r := s.Rule.find(sc); r != nil {
			return strconv.FormatUint(r.Packets, 10), false
		}
	case "link":
		n := sc.snap.Node(s.Link.Node)
		if n == nil {
			return "", false
		}
		if l := n.Link(s.Link.Name); l != nil {
			return upDown(l.Up), false
		}
		return "gone", false
	case "command":
		for _, r := range sc.ran {
			if s.Command.is(r) {
				return strconv.Itoa(r.Status), false
			}
		}
	}
	return "", false
}

func (s *Selector) readPacket(t *trace.Trace) string {
	if s.At == nil {
		switch s.Field {
		case "ends":
			return string(t.Disposition)
		case "ends-at":
			return t.Node
		case "code":
			return t.Code
		case "last-point":
			last := t.Hops[len(t.Hops)-1]
			p := last.Steps[len(last.Steps)-1]
			return strings.TrimSpace(last.Node + " " + cmp.Or(p.Chain, string(p.Point)))
		}
		return ""
	}
	for _, h := range t.Hops {
		for i := range h.Steps {
			if s.At.is(h.Node, &h.Steps[i]) {
				return headerField(h.Steps[i].After, s.Field)
			}
		}
	}
	return ""
}
