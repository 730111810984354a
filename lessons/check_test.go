package lessons

import (
	"net/netip"
	"testing"

	"github.com/goccy/go-yaml"

	"vethlab/sim/state"
	"vethlab/sim/trace"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// aSnapshot is a lab as the lesson leaves it before its last steps, made by hand.
func aSnapshot() *state.Snapshot {
	return &state.Snapshot{Version: state.Version, Nodes: []state.Node{
		{
			Name: "host", Kind: state.Machine,
			Links: []state.Link{
				{Name: "br-demo", Type: "bridge", MAC: "02:00:00:00:00:01", Up: true, Carrier: true,
					Addrs: []state.Addr{{Prefix: netip.MustParsePrefix("172.18.0.1/16")}}},
				{Name: "veth0", Type: "veth", MAC: "02:00:00:00:00:02", Up: true, Carrier: true, Master: "br-demo", PeerNode: "ns1", PeerName: "veth1"},
			},
			Routes: []state.Route{
				{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: "10.24.254.1", Dev: "eth0"},
				{Table: 100, Dst: netip.MustParsePrefix("10.9.0.0/16"), Dev: "eth0"},
			},
			Neighs: []state.Neigh{
				{IP: addr("172.18.0.8"), MAC: "02:00:00:00:00:08", Dev: "br-demo", State: "REACHABLE"},
				{IP: addr("172.18.0.9"), Dev: "br-demo", State: "FAILED"},
			},
			FDB: []state.FDB{
				{MAC: "02:00:00:00:00:02", Dev: "veth0", Local: true},
				{MAC: "02:00:00:00:00:08", Dev: "veth0"},
			},
			Sysctls: map[string]string{"net.ipv4.ip_forward": "1"},
			Tables: []state.Table{
				{Name: "filter", Chains: []state.Chain{{Name: "FORWARD", Policy: "DROP", Rules: []state.Rule{
					{Spec: "-d 172.18.0.8/32 ! -i br-demo -o br-demo -p tcp -m tcp --dport 8000 -j ACCEPT", Packets: 2},
				}}}},
				{Name: "nat", Chains: []state.Chain{{Name: "POSTROUTING", Policy: "ACCEPT", Rules: []state.Rule{
					{Spec: "-s 172.18.0.0/16 ! -o br-demo -j MASQUERADE", Packets: 1},
				}}}},
			},
			Conns: []state.Conn{{Proto: "icmp", Replied: true,
				Orig:  state.Tuple{Src: addr("172.18.0.8"), Dst: addr("203.0.113.10")},
				Reply: state.Tuple{Src: addr("203.0.113.10"), Dst: addr("10.24.254.11")}}},
		},
		{
			Name: "ns1", Kind: state.Container, Machine: "host", Mounted: true,
			Links:     []state.Link{{Name: "veth1", Type: "veth", MAC: "02:00:00:00:00:08", PeerNode: "host", PeerName: "veth0"}},
			Listeners: []state.Listener{{Proto: "tcp", Addr: netip.IPv4Unspecified(), Port: 8000}},
		},
	}}
}

// someRan is a ping through a NAT and its reply, made by hand.
func someRan() []Ran {
	request := trace.Header{Proto: "icmp", Src: addr("172.18.0.8"), Dst: addr("203.0.113.10"), TTL: 64}
	aged := request
	aged.TTL = 63
	masked := aged
	masked.Src = addr("10.24.254.11")
	back := trace.Header{Proto: "icmp", Src: addr("203.0.113.10"), Dst: addr("10.24.254.11"), TTL: 64}
	home := back
	home.Dst = addr("172.18.0.8")
	const rule = "-s 172.18.0.0/16 ! -o br-demo -j MASQUERADE"
	out := trace.Trace{Summary: "ICMP echo request", Disposition: trace.Delivered, Node: "internet", Code: trace.CodeDelivered, Hops: []trace.Hop{
		{Node: "ns1", Steps: []trace.Step{{Point: trace.TX, Dev: "veth1", Before: request, After: request}}},
		{Node: "host", Steps: []trace.Step{
			{Point: trace.RouteStep, Dev: "eth0", Verdict: trace.Forwards, Before: request, After: request},
			{Point: trace.Forward, Table: "filter", Chain: "FORWARD", Rule: 1, RuleText: "-i br-demo -j ACCEPT", Verdict: trace.Accept, Before: aged, After: aged},
			{Point: trace.Postrouting, Table: "nat", Chain: "POSTROUTING", Rule: 1, RuleText: rule, Verdict: trace.Masq, Before: aged, After: masked, Cause: "nat POSTROUTING rule 1: MASQUERADE"},
		}},
		{Node: "internet", Steps: []trace.Step{{Point: trace.RX, Dev: "eth0", Before: masked, After: masked}}},
	}}
	reply := trace.Trace{Summary: "ICMP echo reply", Reply: true, Disposition: trace.Delivered, Node: "ns1", Code: trace.CodeDelivered, Hops: []trace.Hop{
		{Node: "internet", Steps: []trace.Step{{Point: trace.TX, Dev: "eth0", Before: back, After: back}}},
		{Node: "host", Steps: []trace.Step{{Point: trace.Conntrack, Before: back, After: home, Cause: "conntrack: icmp"}}},
		{Node: "ns1", Steps: []trace.Step{{Point: trace.RX, Dev: "veth1", Before: home, After: home}}},
	}}
	return []Ran{
		{Line{Node: "host", Text: "iptables -t nat -L"}, Outcome{Stdout: "Chain POSTROUTING\n"}},
		{Line{Node: "ns1", Text: "ping -c 1 203.0.113.10"}, Outcome{Status: 1, Stdout: "100% packet loss", Traces: []trace.Trace{out, reply}}},
	}
}

func TestEvaluate(t *testing.T) {
	for _, tt := range []struct{ check, got, text string }{
		{"netns: {name: ns1}", "", "network namespace ns1"},
		{"netns: {name: ns1, mounted: false}", "/run/netns names it", "network namespace ns1, no longer named in /run/netns"},
		{"netns: {name: ns1, absent: true}", "it is there", "no network namespace ns1"},
		{"netns: {name: ns2}", nothing, "network namespace ns2"},
		{"netns: {name: ns2, absent: true}", "", "no network namespace ns2"},
		{"link: {node: host, name: veth0, type: veth, up: true, carrier: true, master: br-demo, peer: ns1/veth1}", "",
			"host: link veth0, a veth, up, carrier, a port of br-demo, other end ns1/veth1"},
		{"link: {node: host, name: veth0, type: bridge}", "veth", ""},
		{"link: {node: host, name: veth0, up: false}", "up", ""},
		{"link: {node: ns1, name: veth1, carrier: true}", "no carrier", ""},
		{"link: {node: ns1, name: veth1, master: br-demo}", "port of nothing", ""},
		{"link: {node: ns1, name: veth1, peer: host/veth9}", "other end host/veth0", ""},
		{"link: {node: host, name: veth1}", "no such link", ""},
		{"link: {node: host, name: veth1, absent: true}", "", "host: no link veth1"},
		{"link: {node: ns9, name: lo}", "no node ns9", ""},
		{"link: {node: ns9, name: lo, absent: true}", "", ""},
		{"addr: {node: host, dev: br-demo, prefix: 172.18.0.1/16}", "", "host: address 172.18.0.1/16 on br-demo"},
		{"addr: {node: host, dev: br-demo, prefix: 172.18.0.1/24}", "172.18.0.1/16", ""},
		{"route: {node: host, dst: default, via: 10.24.254.1}", "", "host: route default via 10.24.254.1"},
		{"route: {node: host, dst: default, via: 10.24.254.2}", "no such route", ""},
		{"route: {node: host, dst: 10.9.0.0/16}", "no such route", ""}, // in another table
		{"sysctl: {node: host, key: net.ipv4.ip_forward, value: 1}", "", "host: net.ipv4.ip_forward = 1"},
		{"sysctl: {node: host, key: net.ipv4.ip_forward, value: 0}", "1", ""},
		{"sysctl: {node: ns1, key: net.ipv4.ip_forward, value: 0}", "unknown", ""},
		{"policy: {node: host, chain: FORWARD, is: DROP}", "", "host: filter FORWARD policy DROP"},
		{"policy: {node: ns1, chain: FORWARD, is: DROP}", "ACCEPT", ""}, // untouched
		{"rule: {node: host, table: nat, chain: POSTROUTING, spec: '! -o br-demo --source 172.18.0.0/255.255.0.0 --jump MASQUERADE', packets: 1}", "", ""},
		{"rule: {node: host, table: nat, chain: POSTROUTING, spec: -s 172.18.0.0/16 ! -o br-demo -j MASQUERADE, packets: 2}", "packets 1",
			"host: nat POSTROUTING rule -s 172.18.0.0/16 ! -o br-demo -j MASQUERADE, packets 2"},
		{"rule: {node: host, table: nat, chain: POSTROUTING, spec: -s 172.18.0.0/16 -o br-demo -j MASQUERADE}", "no such rule", ""},
		{"rule: {node: host, chain: FORWARD, spec: -p tcp --dport 8000 -d 172.18.0.8 -o br-demo ! -i br-demo -j ACCEPT}", "", ""},
		{"rule: {node: ns1, chain: FORWARD, spec: -j DROP, absent: true}", "", ""},
		{"neigh: {node: host, ip: 172.18.0.8, mac-of: ns1/veth1}", "", "host: 172.18.0.8 is at the MAC address of ns1/veth1"},
		{"neigh: {node: host, ip: 172.18.0.8, mac-of: host/veth0}", "02:00:00:00:00:08 REACHABLE", ""},
		{"neigh: {node: host, ip: 172.18.0.9, mac-of: ns9/veth1}", "FAILED", ""},
		{"fdb: {node: host, dev: veth0, mac-of: ns1/veth1}", "", "host: bridge has learned the MAC address of ns1/veth1 behind veth0"},
		{"fdb: {node: host, dev: veth0, mac-of: host/veth0}", "not learned", ""}, // its own is not learned
		{"fdb: {node: host, dev: veth7, mac-of: ns1/veth1}", "behind veth0", ""},
		{"listener: {node: ns1, port: 8000}", "", "ns1: socket listening on tcp port 8000"},
		{"listener: {node: ns1, proto: udp, port: 8000}", "no such socket", ""},
		{"conn: {node: host, proto: icmp, src: 172.18.0.8, reply-dst: 10.24.254.11, replied: true}", "", "host: conntrack entry icmp src=172.18.0.8 reply dst=10.24.254.11, replied"},
		{"conn: {node: host, proto: tcp}", "no such entry", ""},
		{"command: {node: ns1, text: ping, failed: true, prints: loss}", "", `ns1# …ping… fails prints "loss"`},
		{"command: {node: ns1, text: ping, status: 0}", "status 1", ""},
		{"command: {node: host, text: ping, status: 0}", "it has not run", ""},
		{"command: {node: host, text: nat -L, prints: MASQUERADE}", `"Chain POSTROUTING\n"`, ""},
		{"packet: {is: echo request, sent-by: ns1, ends: delivered, ends-at: internet}", "", "echo request from ns1; ends at internet: delivered"},
		{"packet: {is: echo request, ends: dropped}", "it ended at internet: delivered", ""},
		{"packet: {is: echo request, nth: 2, ends: delivered}", "no such packet", ""},
		{"packet: {command: 1, ends: delivered}", "no such packet", ""},
		{"packet: {reply: true, ends-at: ns1}", "", "packet (on the way back); ends at ns1"},
		{"packet: {dst: 203.0.113.10, passes: [{node: host, point: FORWARD, ttl: 63}, {node: host, rewrite: src, from: 172.18.0.8, to: 10.24.254.11, cause: rule 1}, {node: internet, point: rx, src: 10.24.254.11}]}", "", ""},
		{"packet: {dst: 203.0.113.10, passes: [{node: host, rule: -o br-demo -j MASQUERADE}]}", "it did not pass host rule -o br-demo -j MASQUERADE", ""},
		{"packet: {dst: 203.0.113.10, passes: [{node: host, rule: '! -o br-demo -s 172.18.0.0/16 -j MASQUERADE'}]}", "", ""},
		// Order counts: the source was rewritten after FORWARD.
		{"packet: {dst: 203.0.113.10, passes: [{node: host, rewrite: src}, {node: host, point: FORWARD}]}", "it did not pass host FORWARD", ""},
		// One step of a journey is one place.
		{"packet: {dst: 203.0.113.10, passes: [{node: host, point: FORWARD}, {node: host, point: FORWARD}]}", "it did not pass host FORWARD", ""},
		{"packet: {dst: 203.0.113.10, avoids: [{node: host, table: nat}]}", "it passed host nat", ""},
		{"packet: {reply: true, avoids: [{node: host, table: nat}], passes: [{rewrite: dst, cause: conntrack}]}", "", ""},
	} {
		var c Check
		if err := yaml.UnmarshalWithOptions([]byte(tt.check), &c, yaml.Strict()); err != nil {
			t.Fatalf("%s: %v", tt.check, err)
		}
		s := &Step{Checks: []Check{c}}
		r := Evaluate(s, aSnapshot(), someRan())[0]
		if r.Got != tt.got || r.OK != (tt.got == "") {
			t.Errorf("%s: ok %v, got %q, not %q", tt.check, r.OK, r.Got, tt.got)
		}
		if tt.text != "" && r.Text != tt.text {
			t.Errorf("%s: says %q, not %q", tt.check, r.Text, tt.text)
		}
		if !c.ofState() {
			if r := Evaluate(s, aSnapshot(), nil)[0]; r.OK && c.Packet != nil {
				t.Errorf("%s: holds before anything ran", tt.check)
			}
		}
	}
}

func TestNormalRule(t *testing.T) {
	for a, b := range map[string]string{
		"-p tcp --dport 80 -j ACCEPT":                           "-p tcp -m tcp --dport 80 -j ACCEPT",
		"-m state --state ESTABLISHED,RELATED -j ACCEPT":        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-s 10.0.0.1 ! -d 10.0.0.0/255.0.0.0 -j DROP":           "! --destination 10.0.0.0/8 --source 10.0.0.1/32 -j DROP",
		"-p tcp --destination-port 1 --in-interface e -g CHAIN": "-i e -p tcp --dport 1 -g CHAIN",
	} {
		if normalRule(a) != normalRule(b) {
			t.Errorf("%q is %q, but %q is %q", a, normalRule(a), b, normalRule(b))
		}
	}
	for a, b := range map[string]string{
		"-o e -j ACCEPT":             "! -o e -j ACCEPT",
		"-s 10.0.0.0/8 -j ACCEPT":    "-d 10.0.0.0/8 -j ACCEPT",
		"-j ACCEPT":                  "-j DROP",
		"-s 10.0.0.0/24 -j ACCEPT":   "-s 10.0.0.0/25 -j ACCEPT",
		"-p tcp --dport 1 -j ACCEPT": "-p udp --dport 1 -j ACCEPT",
	} {
		if normalRule(a) == normalRule(b) {
			t.Errorf("%q and %q are the same: %q", a, b, normalRule(a))
		}
	}
}

func TestAnswer(t *testing.T) {
	const rule = "spec: -s 172.18.0.0/16 ! -o br-demo -j MASQUERADE"
	for _, tt := range []struct{ selector, observed string }{
		{"{packet: {is: echo request}, at: {node: internet, point: rx}, field: src}", "10.24.254.11"},
		{"{packet: {is: echo request}, at: {node: host, point: FORWARD}, field: ttl}", "63"},
		{"{packet: {is: echo request}, at: {node: lan}, field: src}", ""},
		{"{packet: {is: echo reply}, field: ends-at}", "ns1"},
		{"{packet: {is: echo reply}, field: ends}", "delivered"},
		{"{packet: {is: echo reply}, field: code}", "delivered"},
		{"{packet: {is: echo request}, field: last-point}", "internet rx"},
		{"{packet: {is: TCP SYN}, field: ends}", ""},
		{"{rule: {node: host, table: nat, chain: POSTROUTING, " + rule + "}, field: packets}", "1"},
		{"{link: {node: host, name: veth0}, field: place}", "up"},
		{"{link: {node: ns1, name: veth1}, field: place}", "down"},
		{"{link: {node: host, name: veth1}, field: place}", "gone"},
		{"{command: {node: ns1, text: ping}, field: status}", "1"},
	} {
		var sel Selector
		if err := yaml.UnmarshalWithOptions([]byte(tt.selector), &sel, yaml.Strict()); err != nil {
			t.Fatalf("%s: %v", tt.selector, err)
		}
		s := &Step{Predict: &Predict{Answer: sel, Options: []Option{{ID: "wrong", Value: "else"}, {ID: "right", Value: tt.observed}, {ID: "empty", Value: ""}}}}
		want := "right"
		if tt.observed == "" {
			want = ""
		}
		if id, observed, _ := answer(s, aSnapshot(), someRan()); id != want || observed != tt.observed {
			t.Errorf("%s: option %q, observed %q, not %q", tt.selector, id, observed, tt.observed)
		}
	}
	// What no option says is shown all the same.
	s := &Step{Predict: &Predict{Options: []Option{{ID: "a", Value: "x"}},
		Answer: Selector{Link: &LinkCheck{Node: "host", Name: "veth0"}, Field: "place"}}}
	if id, observed, _ := answer(s, aSnapshot(), nil); id != "" || observed != "up" {
		t.Errorf("option %q, observed %q", id, observed)
	}
	// What was only concluded is said to be.
	for field, want := range map[string]bool{"ends": true, "code": true, "ends-at": false} {
		ran := someRan()
		for i := range ran {
			for j := range ran[i].Traces {
				ran[i].Traces[j].Evidence = trace.Explained
			}
		}
		s := &Step{Predict: &Predict{Answer: Selector{Packet: &PacketSelector{Is: "echo reply"}, Field: field}}}
		if _, observed, explained := answer(s, aSnapshot(), ran); observed == "" || explained != want {
			t.Errorf("%s: observed %q, explained %v", field, observed, explained)
		}
	}
	if id, observed, _ := answer(&Step{}, aSnapshot(), nil); id != "" || observed != "" {
		t.Errorf("a step without a prediction: option %q, observed %q", id, observed)
	}
}
