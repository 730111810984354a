package sim

// How conntrack follows a TCP connection (net/netfilter/nf_conntrack_proto_tcp.c).
// It sits in the middle and guesses from the flags that go by what state the
// two ends are in:
//
//	SYN_SENT ─SYN,ACK─▶ SYN_RECV ─ACK─▶ ESTABLISHED ─FIN─▶ FIN_WAIT ─ACK─▶ CLOSE_WAIT
//	                                                                           │ FIN
//	         CLOSE ◀─RST from anywhere            TIME_WAIT ◀─ACK─ LAST_ACK ◀──┘
//
// It does not model windows: a segment of the model is always within its own.
// What the kernel derives from sequence numbers besides (is this reset the
// peer's? is there data that nobody has acknowledged?) it does.

// ctTCPState is what conntrack takes a connection to be in (enum tcp_conntrack).
type ctTCPState uint8

const (
	ctTCPNone ctTCPState = iota
	ctTCPSynSent
	ctTCPSynRecv
	ctTCPEstablished
	ctTCPFinWait
	ctTCPCloseWait
	ctTCPLastAck
	ctTCPTimeWait
	ctTCPClose
	ctTCPSynSent2 // SYNs crossed
	ctTCPStates
	ctTCPIgnored // not a state: the packet may be valid or not, and changes nothing
	ctTCPInvalid // not a state
)

var ctTCPNames = [ctTCPStates]string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}

// tcpKind is what a segment is by its flags (get_conntrack_index).
type tcpKind uint8

const (
	tcpIsSyn tcpKind = iota
	tcpIsSynAck
	tcpIsFin
	tcpIsAck
	tcpIsRst
	tcpIsNone
)

func kindOf(flags uint8) tcpKind {
	switch {
	case flags&tcpRST != 0:
		return tcpIsRst
	case flags&(tcpSYN|tcpACK) == tcpSYN|tcpACK:
		return tcpIsSynAck
	case flags&tcpSYN != 0:
		return tcpIsSyn
	case flags&tcpFIN != 0:
		return tcpIsFin
	case flags&tcpACK != 0:
		return tcpIsAck
	}
	return tcpIsNone
}

const (
	sNO = ctTCPNone
	sSS = ctTCPSynSent
	sSR = ctTCPSynRecv
	sES = ctTCPEstablished
	sFW = ctTCPFinWait
	sCW = ctTCPCloseWait
	sLA = ctTCPLastAck
	sTW = ctTCPTimeWait
	sCL = ctTCPClose
	sS2 = ctTCPSynSent2
	sIG = ctTCPIgnored
	sIV = ctTCPInvalid
)

// tcpNext is the state that a segment leads to (tcp_conntracks), by direction,
// kind and the state before: NONE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT
// CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE SYN_SENT2.
var tcpNext = [2][6][ctTCPStates]ctTCPState{
	original: {
		tcpIsSyn:    {sSS, sSS, sIG, sIG, sIG, sIG, sIG, sSS, sSS, sS2},
		tcpIsSynAck: {sIV, sIV, sSR, sIV, sIV, sIV, sIV, sIV, sIV, sSR},
		tcpIsFin:    {sIV, sIV, sFW, sFW, sLA, sLA, sLA, sTW, sCL, sIV},
		tcpIsAck:    {sES, sIV, sES, sES, sCW, sCW, sTW, sTW, sCL, sIV},
		tcpIsRst:    {sIV, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL},
		tcpIsNone:   {sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV},
	},
	reply: {
		tcpIsSyn:    {sIV, sS2, sIV, sIV, sIV, sIV, sIV, sSS, sIV, sS2},
		tcpIsSynAck: {sIV, sSR, sIG, sIG, sIG, sIG, sIG, sIG, sIG, sSR},
		tcpIsFin:    {sIV, sIV, sFW, sFW, sLA, sLA, sLA, sTW, sCL, sIV},
		tcpIsAck:    {sIV, sIG, sSR, sES, sCW, sCW, sTW, sTW, sCL, sIG},
		tcpIsRst:    {sIV, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL},
		tcpIsNone:   {sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV},
	},
}

// tcpTrack is what an entry remembers of a TCP connection (struct ip_ct_tcp).
type tcpTrack struct {
	state    ctTCPState
	seen     [2]tcpSide
	last     tcpKind
	lastDir  direction
	lastSeq  uint32
	lastAck  uint32
	lastEnd  uint32
	retrans  int
	crossed  bool // IP_CT_TCP_SIMULTANEOUS_OPEN
	expected bool // IP_CT_EXP_CHALLENGE_ACK
}

// tcpSide is one end of the connection (struct ip_ct_tcp_state).
type tcpSide struct {
	end        uint32 // the sequence number after the last byte it sent
	maxAck     uint32 // the highest it acknowledged
	known      bool   // something of it was seen
	ackKnown   bool   // IP_CT_TCP_FLAG_MAXACK_SET
	unacked    bool   // IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED
	closedHere bool   // IP_CT_TCP_FLAG_CLOSE_INIT
}

// restore makes what it can of the name of a state.
func (t *tcpTrack) restore(state string) {
	for i, name := range ctTCPNames {
		if name == state {
			t.state = ctTCPState(i)
		}
	}
	t.last = tcpIsAck
	switch t.state {
	case ctTCPSynSent:
		t.last = tcpIsSyn
	case ctTCPSynRecv:
		t.last, t.lastDir = tcpIsSynAck, reply
	case ctTCPFinWait, ctTCPCloseWait, ctTCPLastAck, ctTCPTimeWait:
		t.seen[original].closedHere = true
	case ctTCPClose:
		t.last = tcpIsRst
	}
}

func seqAfter(a, b uint32) bool { return int32(a-b) > 0 }

// tcpValidFlags are the sets of flags that a segment may have (tcp_valid_flags);
// PSH goes with all of them.
func tcpValidFlags(flags uint8) bool {
	switch flags &^ tcpPSH {
	case tcpSYN, tcpSYN | tcpURG, tcpSYN | tcpACK, tcpRST, tcpRST | tcpACK,
		tcpFIN | tcpACK, tcpFIN | tcpACK | tcpURG, tcpACK, tcpACK | tcpURG:
		return true
	}
	return false
}

// segmentEnd is the sequence number that follows the segment (segment_seq_plus_len).
func segmentEnd(p *packet) uint32 {
	end := p.seq + uint32(len(p.payload))
	if p.tcpFlags&tcpSYN != 0 {
		end++
	}
	if p.tcpFlags&tcpFIN != 0 {
		end++
	}
	return end
}

// tcpPacket tells the connection of a segment (nf_conntrack_tcp_packet).
func (n *Netns) tcpPacket(p *packet, c *conn, info ctInfo) ctVerdict {
	set := n.ct.settings()
	if !tcpValidFlags(p.tcpFlags) {
		return ctInvalid
	}
	t, kind, dir := &c.tcp, kindOf(p.tcpFlags), info.dir()
	if c.status&ctConfirmed == 0 && !t.begin(p, kind, set) {
		return ctInvalid
	}
	old := t.state
	next := tcpNext[dir][kind][old]
	skip := false // the checks that need sequence numbers
	switch next {
	case ctTCPSynSent:
		if old < ctTCPTimeWait {
			break
		}
		// Reopened (RFC 1122): the entry is of a connection that is over.
		if t.seen[0].closedHere || t.seen[1].closedHere || t.lastDir == dir && t.last == tcpIsRst {
			n.ctKill(c)
			return ctRepeat
		}
		t.ignore(p, kind, dir, old)
		return ctAccept
	case ctTCPIgnored:
		if kind == tcpIsSynAck && t.last == tcpIsSyn && t.lastDir != dir && p.ack == t.lastEnd {
			// It answers a SYN that was ignored: both ends are in step, and we are not.
			old, next = ctTCPSynSent, ctTCPSynRecv
			t.seen[t.lastDir] = tcpSide{end: t.lastEnd, known: true}
			t.seen[dir] = tcpSide{}
			t.expected = false
			break
		}
		t.ignore(p, kind, dir, old)
		return ctAccept
	case ctTCPInvalid:
		return ctInvalid
	case ctTCPTimeWait:
		if old == ctTCPLastAck && kind == tcpIsAck && t.lastDir != dir && t.last == tcpIsSyn && t.expected {
			t.expected = false // a challenge ACK (RFC 5961) does not end the connection
			return ctAccept
		}
	case ctTCPSynSent2:
		t.crossed = true
	case ctTCPSynRecv:
		if dir == reply && kind == tcpIsAck && t.crossed {
			next = ctTCPEstablished
		}
	case ctTCPClose:
		if kind != tcpIsRst {
			break
		}
		var ok bool
		if next, skip, ok = t.reset(p, c, dir, old, set); !ok {
			return ctInvalid
		}
	}
	if !skip {
		t.follow(p, kind, dir)
	}
	t.last, t.lastDir, t.state = kind, dir, next
	if old != next && next == ctTCPFinWait {
		t.seen[dir].closedHere = true
	}
	timeout := t.timeout(kind, next, set)
	switch {
	case c.status&ctSeenReply == 0:
		// Nothing came back yet, or this is the first that does: a connection
		// that was refused needs no entry any more.
		if kind == tcpIsRst {
			n.ctKill(c)
			return ctAccept
		}
		if kind == tcpIsSyn && old == ctTCPSynSent {
			return ctAccept // a SYN sent again does not make the entry live longer
		}
		if next == ctTCPEstablished {
			timeout = min(timeout, set.tcpUnack)
		}
	case c.status&ctAssured == 0 && (old == ctTCPSynRecv || old == ctTCPEstablished) && next == ctTCPEstablished:
		c.status |= ctAssured
	}
	n.refresh(c, timeout)
	return ctAccept
}

// begin starts to follow a connection with its first segment (tcp_new). One
// that is under way already is picked up unless tcp_loose is 0.
func (t *tcpTrack) begin(p *packet, kind tcpKind, set *ctSysctls) bool {
	next := tcpNext[original][kind][ctTCPNone]
	if next >= ctTCPStates || next != ctTCPSynSent && set.loose == 0 {
		return false
	}
	*t = tcpTrack{last: tcpIsNone}
	t.seen[original] = tcpSide{end: segmentEnd(p), known: true}
	return true
}

// ignore notes a segment that may mean that we are out of step.
func (t *tcpTrack) ignore(p *packet, kind tcpKind, dir direction, old ctTCPState) {
	t.last, t.lastDir, t.lastSeq, t.lastEnd = kind, dir, p.seq, segmentEnd(p)
	if kind == tcpIsSyn && dir == original {
		t.expected = old == ctTCPLastAck
	}
	if old == ctTCPSynSent && kind == tcpIsAck && dir == reply {
		t.lastAck = p.ack
	}
}

// reset says what an RST does. skip means that its sequence number says nothing.
func (t *tcpTrack) reset(p *packet, c *conn, dir direction, old ctTCPState, set *ctSysctls) (next ctTCPState, skip, ok bool) {
	switch old {
	case ctTCPFinWait, ctTCPLastAck, ctTCPTimeWait, ctTCPClose, ctTCPCloseWait: // tcp_can_early_drop
		return ctTCPClose, true, true
	}
	established := old == ctTCPEstablished && c.status&ctAssured != 0 // nf_conntrack_tcp_established
	other := &t.seen[1-dir]
	next = ctTCPClose
	if other.ackKnown && t.last != tcpIsSyn {
		switch {
		case p.seq == 0 && !established:
			return ctTCPClose, false, true
		case seqAfter(other.maxAck, p.seq) && set.ignoreInvalidRST == 0:
			return old, false, false
		case !established || p.seq == other.maxAck,
			t.last == tcpIsAck && t.lastDir == dir && p.seq == t.lastEnd:
			return ctTCPClose, false, true
		}
		next = old // perhaps a challenge ACK follows
	}
	if (c.status&ctSeenReply != 0 && t.last == tcpIsSyn || c.status&ctAssured == 0 && t.last == tcpIsAck) && p.ack == t.lastEnd {
		return next, true, true
	}
	if old == ctTCPSynSent && t.last == tcpIsAck && t.lastDir == reply && p.seq == t.lastAck {
		return next, true, true
	}
	return next, false, true
}

// follow keeps the sequence numbers (what remains of tcp_in_window).
func (t *tcpTrack) follow(p *packet, kind tcpKind, dir direction) {
	sender, receiver := &t.seen[dir], &t.seen[1-dir]
	end := segmentEnd(p)
	if !sender.known || p.tcpFlags&tcpSYN != 0 && seqAfter(end, sender.end) && (t.state == ctTCPSynSent || t.state == ctTCPSynRecv) {
		*sender = tcpSide{end: end, known: true, closedHere: sender.closedHere}
		if p.tcpFlags&tcpSYN == 0 && !receiver.known {
			receiver.end = p.ack
		}
	}
	if kind == tcpIsRst && p.seq == 0 && t.state == ctTCPSynSent {
		end = sender.end
	}
	if seqAfter(end, sender.end) {
		sender.end, sender.unacked = end, true
	}
	ack := receiver.end
	if p.tcpFlags&tcpACK != 0 {
		ack = p.ack
		if !sender.ackKnown || seqAfter(ack, sender.maxAck) {
			sender.maxAck, sender.ackKnown = ack, true
		}
	}
	if ack == receiver.end {
		receiver.unacked = false
	}
	if kind != tcpIsAck {
		return
	}
	if t.lastDir == dir && t.lastSeq == p.seq && t.lastAck == ack && t.lastEnd == end {
		t.retrans++
		return
	}
	t.lastDir, t.lastSeq, t.lastAck, t.lastEnd, t.retrans = dir, p.seq, ack, end, 0
}

// timeout is how long the entry lives without another packet.
func (t *tcpTrack) timeout(kind tcpKind, next ctTCPState, set *ctSysctls) int {
	s := set.tcp[next]
	switch {
	case t.retrans >= set.maxRetrans && s > set.tcpRetrans:
		return set.tcpRetrans
	case kind == tcpIsRst:
		return set.tcp[ctTCPClose]
	case (t.seen[0].unacked || t.seen[1].unacked) && s > set.tcpUnack:
		return set.tcpUnack
	}
	return s
}

// ctTCPClosing notes that the node itself resets the connection
// (nf_conntrack_tcp_set_closing).
func (n *Netns) ctTCPClosing(c *conn) {
	if c == nil || c.status&ctConfirmed == 0 || c.tuples[original].proto != protoTCP || c.tcp.state == ctTCPClose {
		return
	}
	c.tcp.state = ctTCPClose
	n.refresh(c, n.ct.settings().tcp[ctTCPClose])
}
