package rule

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// What iptables-save prints of a rule, and so what a rule comes to.
var saved = []struct{ typed, saved string }{
	{"-j ACCEPT", ""},
	{"-s 10.1.2.3/24 ! -o docker0 -j MASQUERADE", "-s 10.1.2.0/24 ! -o docker0 -j MASQUERADE"},
	{"-p tcp --dport 80 -j ACCEPT", "-p tcp -m tcp --dport 80 -j ACCEPT"},
	{"-p tcp -m tcp ! --dport http:https --syn -j DROP", "-p tcp -m tcp ! --dport 80:443 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP"},
	{"-p tcp -m tcp --sport :1023 --dport 1024:", "-p tcp -m tcp --sport 0:1023 --dport 1024:65535"},
	{"-p tcp ! --sport :1023", "-p tcp -m tcp --sport 1024:65535"}, // as nf_tables says it
	{"-p tcp -m tcp", ""},
	{"-p udp --dport domain -j ACCEPT", "-p udp -m udp --dport 53 -j ACCEPT"},
	{"-p icmp --icmp-type echo-request", "-p icmp -m icmp --icmp-type 8"},
	{"-p icmp -m icmp --icmp-type host-unreachable", "-p icmp -m icmp --icmp-type 3/1"},
	{"-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"},
	{"-m state --state NEW", ""},
	{"-m addrtype --dst-type LOCAL -j DOCKER", ""},
	{"-p tcp -m multiport --dports 80,443,8000:8010", ""},
	{"-m mark --mark 16/255", "-m mark --mark 0x10/0xff"},
	{"-m mac --mac-source AA:BB:CC:0:0:1", "-m mac --mac-source aa:bb:cc:00:00:01"},
	{`-m comment --comment docker`, ""},
	{"-m limit --limit 5/minute --limit-burst 10", "-m limit --limit 5/min --limit-burst 10"},
	{"-m limit", "-m limit --limit 3/hour"},
	{"-m iprange --src-range 10.0.0.1", "-m iprange --src-range 10.0.0.1-10.0.0.1"},
	{"-m physdev --physdev-is-bridged --physdev-in veth0", "-m physdev --physdev-in veth0 --physdev-is-bridged"},
	{"-m owner --uid-owner root", "-m owner --uid-owner 0"},
	{"-m statistic --mode nth --every 3 --packet 0", ""},
	{"-i + -j DROP", "-j DROP"},
	{"-p 47 -j ACCEPT", "-p gre -j ACCEPT"},
	{"-j REJECT", "-j REJECT --reject-with icmp-port-unreachable"},
	{"-p tcp -j REJECT --reject-with tcp-rst", "-p tcp -j REJECT --reject-with tcp-reset"},
	{"-j LOG --log-prefix x --log-level info", "-j LOG --log-prefix x --log-level 6"},
	{"-j MARK --set-mark 1", "-j MARK --set-xmark 0x1/0xffffffff"},
	{"-j MARK --or-mark 0x10", "-j MARK --set-xmark 0x10/0x10"},
	{"-j CONNMARK --save-mark", "-j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff"},
	{"-p tcp -j DNAT --to-destination 172.17.0.2:80", ""},
	{"-j SNAT --to-source 10.0.0.1-10.0.0.9 --persistent", ""},
	{"-p udp -j REDIRECT --to-ports 5353", ""},
	{"-j NETMAP --to 10.1.2.3/16", "-j NETMAP --to 10.1.0.0/16"},
	{"-g CHAIN", ""},
	{"-s 0.0.0.0/0 -j NOTRACK", "-j NOTRACK"},
}

func TestSaved(t *testing.T) {
	for _, tt := range saved {
		want := tt.saved
		if want == "" {
			want = tt.typed
		}
		r, err := Parse("filter", "FORWARD", strings.Fields(tt.typed), nil)
		if err != nil {
			t.Errorf("%s: %v", tt.typed, err)
			continue
		}
		if r.String() != want {
			t.Errorf("%s\n got  %s\n want %s", tt.typed, r, want)
		}
		again, err := Parse("filter", "FORWARD", r.Words(), nil)
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("%s: read again: %v %v", tt.typed, again, err)
		}
	}
}

// What iptables says of a rule it does not take, after its name and version.
var refused = []struct {
	typed, said string
	status      int
}{
	{"-p tcp --dport nope", "invalid port/service `nope' specified", 2},
	{"-p tpc", `unknown protocol "tpc" specified`, 2},
	{"--dport 80", `unknown option "--dport"`, 2},
	{"-p tcp --dport", `option "--dport" requires an argument`, 2},
	{"-m nope", "Couldn't load match `nope':No such file or directory\n", 2},
	{"-j", `option "-j" requires an argument`, 2},
	{"-m conntrack --ctstate OPEN", `Bad ctstate "OPEN"`, 2},
	{"-s 10.0.0.0/33", "invalid mask `33' specified", 2},
	{"-s nowhere", "host/network `nowhere' not found", 2},
	{"-i abcdefghijklmnop", "interface name `abcdefghijklmnop' must be shorter than IFNAMSIZ (15)", 2},
	{"-j DNAT", `DNAT: option "--to-destination" must be specified` + "\n", 2},
	{"-j SNAT --to-source 1.2.3.4:80", "Need TCP, UDP, SCTP or DCCP with port specification", 2},
	{"-p tcp -p udp", "multiple -p flags not allowed", 2},
	{"-m tcp --dport 80", "TCP match requires '-p tcp'", 2},
	{"-j NOPE", "Chain 'NOPE' does not exist", 2},
}

func TestRefused(t *testing.T) {
	for _, tt := range refused {
		_, err := Parse("filter", "FORWARD", strings.Fields(tt.typed), func(string) bool { return false })
		e, ok := err.(*Error)
		want := "iptables v" + Version + ": " + tt.said + "\n" + tryHelp("iptables")
		if !ok || e.Status != tt.status || e.Text != want {
			t.Errorf("%s\n got  %v\n want %s", tt.typed, err, want)
		}
	}
}

// What iptables has and the model has not is refused by name.
func TestNotSimulated(t *testing.T) {
	for typed, what := range map[string]string{
		"-m hashlimit --hashlimit 5":                               "-m hashlimit",
		"-j TPROXY --on-port 5":                                    "-j TPROXY",
		"-m statistic --mode random --probability 0.5 -j ACCEPT":   "-m statistic --mode random",
		"-j CT --zone 5":                                           "-j CT --zone",
		"-p sctp --dport 5":                                        "-m sctp",
		"-p tcp -m tcp --dport 80 -m tcp --dport 90:100 -j ACCEPT": "-m tcp twice for the same field",
	} {
		_, err := Parse("filter", "FORWARD", strings.Fields(typed), nil)
		if e, ok := err.(*Error); !ok || e.Status != NotSimulated || e.Text != "not simulated: "+what+"\n" {
			t.Errorf("%s: got %v", typed, err)
		}
	}
}

// FuzzParse reads any words: no panic; and a rule that was accepted prints
// itself as words that are the same rule.
func FuzzParse(f *testing.F) {
	for _, tt := range saved {
		f.Add(tt.typed)
	}
	for _, tt := range refused {
		f.Add(tt.typed)
	}
	f.Add(`-m comment --comment "it's \"quoted\" \\ so" -j LOG --log-prefix "a b: "`)
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00") {
			t.Skip("no argument of a program")
		}
		words, err := Split(text)
		if err != nil {
			return
		}
		r, err := Parse("filter", "FORWARD", words, nil)
		if err != nil {
			e, ok := err.(*Error)
			if !ok || e.Status == 0 || !strings.HasSuffix(e.Text, "\n") {
				t.Fatalf("%q: error %#v", words, err)
			}
			return
		}
		saved := r.String()
		if again, err := Parse("filter", "FORWARD", r.Words(), nil); err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%q\n printed %s\n read    %v %v", words, saved, again, err)
		}
		if strings.ContainsAny(saved, "\n") || unquoted(r.Words()) {
			return // iptables-save does not write it so that it can be read again
		}
		split, err := Split(saved)
		if err != nil || !reflect.DeepEqual(split, r.Words()) {
			t.Fatalf("%q\n saved %s\n split %q, not %q, %v", words, saved, split, r.Words(), err)
		}
		(&Table{Name: "filter", Chains: []Chain{{Name: "FORWARD", Policy: "ACCEPT", Rules: []Counted{{Rule: r}}}}}).Print(&Command{Verb: List})
	})
}

// unquoted reports whether a word that iptables-save writes without quotes, such
// as an interface's name, would need them.
func unquoted(words []string) bool {
	for i, w := range words {
		if strings.ContainsAny(w, " \t\"") && words[i-1] != "--comment" && words[i-1] != "--log-prefix" {
			return true
		}
	}
	return false
}

// Any words are a command line, or an error.
func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"-A INPUT -j ACCEPT", "-t nat -L -nv --line-numbers", "-P FORWARD DROP", "-I INPUT 3 -p tcp", "-D INPUT 1", "-Z", "-E A B"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCommand(append([]string{"iptables"}, strings.Fields(text)...))
		if (c == nil) == (err == nil) {
			t.Fatalf("%q: %v %v", text, c, err)
		}
	})
}
