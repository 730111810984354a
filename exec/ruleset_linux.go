package exec

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/mdlayher/netlink" // messages and attributes; MIT
	"golang.org/x/sys/unix"

	"vethlab/exec/capture"
	"vethlab/sim/state"
)

// What iptables-save prints changes with the rules, and they with the number
// that nf_tables counts its commits by (NFTA_GEN_ID); between two commits only
// the counters do. Those are had over netlink in a tenth of the time.

// ruleset is a node's socket to nf_tables, and what it was told last.
type ruleset struct {
	mu   sync.Mutex
	conn *netlink.Conn
	gen  uint32 // of saved; 0: none
	// saved is what iptables-save said at gen.
	saved []state.Table
}

// chainKey is a table's name and a chain's.
type chainKey struct{ table, chain string }

// chainSeen is what the kernel tells of a chain, and iptables-save does not all:
// it is there (iptables-nft makes a built-in one when a command needs it), and it
// has counters.
type chainSeen struct {
	counts bool
	policy counts
	rules  []counts
}

type counts struct{ packets, bytes uint64 }

// read returns the node's rules and counters; save runs iptables-save.
func (r *ruleset) read(nsfd int, save func() ([]state.Table, error)) ([]state.Table, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dial(nsfd) != nil {
		return save()
	}
	gen := r.generation()
	some, err := r.tables()
	if err != nil {
		return save()
	}
	if !some {
		return nil, nil // nobody used iptables here: iptables-save would say nothing
	}
	if gen == 0 || gen != r.gen {
		if r.saved, err = save(); err != nil {
			r.gen = 0
			return nil, err
		}
		if r.gen = gen; r.generation() != gen {
			r.gen = 0 // it changed meanwhile: the next look saves again
		}
	}
	chains, err := r.chains()
	if err == nil {
		if tables, ok := counted(r.saved, chains); ok {
			return tables, nil
		}
	}
	r.gen = 0
	return save()
}

// now is how many commits there were, 0 where the kernel does not tell.
func (r *ruleset) now(nsfd int) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dial(nsfd) != nil {
		return 0
	}
	return r.generation()
}

func (r *ruleset) dial(nsfd int) (err error) {
	if r.conn == nil {
		r.conn, err = netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: nsfd})
	}
	return err
}

func (r *ruleset) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		r.conn.Close()
	}
}

func (r *ruleset) generation() (gen uint32) {
	const none = 0
	msgs, err := r.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, 0, 0, 0},
	})
	if err != nil || len(msgs) != 1 || len(msgs[0].Data) < 4 {
		return none
	}
	d, err := netlink.NewAttributeDecoder(msgs[0].Data[4:])
	if err != nil {
		return none
	}
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		if d.Type() == unix.NFTA_GEN_ID {
			gen = d.Uint32()
		}
	}
	return gen
}

// tables tells whether IPv4 has a table beside the capture's own.
func (r *ruleset) tables() (some bool, err error) {
	err = r.dump(unix.NFT_MSG_GETTABLE, func(d *netlink.AttributeDecoder) {
		for d.Next() {
			some = some || d.Type() == unix.NFTA_TABLE_NAME && d.String() != capture.TableName
		}
	})
	return some, err
}

// chains reads the chains of IPv4's tables, with all counters, but for the
// capture's own.
func (r *ruleset) chains() (chains map[chainKey]*chainSeen, err error) {
	chains = map[chainKey]*chainSeen{}
	err = r.dump(unix.NFT_MSG_GETCHAIN, func(d *netlink.AttributeDecoder) {
		var key chainKey
		c := &chainSeen{}
		for d.Next() {
			switch d.Type() {
			case unix.NFTA_CHAIN_TABLE:
				key.table = d.String()
			case unix.NFTA_CHAIN_NAME:
				key.chain = d.String()
			case unix.NFTA_CHAIN_COUNTERS:
				c.counts = true
				d.Nested(c.policy.read)
			}
		}
		if key.table != capture.TableName {
			chains[key] = c
		}
	})
	if err != nil {
		return nil, err
	}
	err = r.dump(unix.NFT_MSG_GETRULE, func(d *netlink.AttributeDecoder) {
		var key chainKey
		var n counts
		for d.Next() {
			switch d.Type() {
			case unix.NFTA_RULE_TABLE:
				key.table = d.String()
			case unix.NFTA_RULE_CHAIN:
				key.chain = d.String()
			case unix.NFTA_RULE_EXPRESSIONS:
				d.Nested(n.find)
			}
		}
		if c := chains[key]; c != nil {
			c.rules = append(c.rules, n)
		}
	})
	return chains, err
}

// find looks for a rule's counter among its expressions.
func (n *counts) find(d *netlink.AttributeDecoder) error {
	for d.Next() { // NFTA_LIST_ELEM
		d.Nested(func(d *netlink.AttributeDecoder) error {
			counter := false
			for d.Next() {
				switch d.Type() {
				case unix.NFTA_EXPR_NAME:
					counter = d.String() == "counter"
				case unix.NFTA_EXPR_DATA:
					if counter {
						d.Nested(n.read)
					}
				}
			}
			return nil
		})
	}
	return nil
}

func (n *counts) read(d *netlink.AttributeDecoder) error {
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		switch d.Type() {
		case unix.NFTA_COUNTER_PACKETS:
			n.packets = d.Uint64()
		case unix.NFTA_COUNTER_BYTES:
			n.bytes = d.Uint64()
		}
	}
	return nil
}

// counted returns saved tables with these counters. It fails where the two are
// not of the same rules.
func counted(saved []state.Table, chains map[chainKey]*chainSeen) ([]state.Table, bool) {
	tables := slices.Clone(saved)
	for i := range tables {
		t := &tables[i]
		t.Chains = slices.Clone(t.Chains)
		for j := range t.Chains {
			c := &t.Chains[j]
			seen := chains[chainKey{t.Name, c.Name}]
			if seen == nil {
				c.Absent, c.Counts = true, false
				if len(c.Rules) > 0 {
					return nil, false
				}
				continue
			}
			if len(seen.rules) != len(c.Rules) {
				return nil, false
			}
			c.Absent, c.Counts = false, seen.counts
			c.Packets, c.Bytes = seen.policy.packets, seen.policy.bytes
			c.Rules = slices.Clone(c.Rules)
			for k := range c.Rules {
				c.Rules[k].Packets, c.Rules[k].Bytes = seen.rules[k].packets, seen.rules[k].bytes
			}
		}
	}
	return tables, true
}

// dump calls fn with the attributes of each thing that an nftables dump lists
// for IPv4.
func (r *ruleset) dump(what netlink.HeaderType, fn func(*netlink.AttributeDecoder)) error {
	msgs, err := r.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | what, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.NFPROTO_IPV4, 0, 0, 0},
	})
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if len(m.Data) < 4 {
			continue
		}
		if d, err := netlink.NewAttributeDecoder(m.Data[4:]); err == nil {
			fn(d)
		}
	}
	return nil
}
