package tools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vethlab/sim/op"
)

// TestFormsIptables holds iptables of a simulated lab against the machine's: the
// same words must be accepted or refused with the same status and sentences,
// listings must be the same, and iptables-save afterwards.
func TestFormsIptables(t *testing.T) {
	needPrograms(t, "iptables", "iptables-save", "iptables-restore")
	needIptables(t)
	inBatches(t, func(seed uint64) (b formsBatch, err error) {
		forms, ours, err := iptablesForms(rand.New(rand.NewPCG(seed, 2)), 40)
		if err != nil {
			return b, err
		}
		theirs, err := askMachine(forms, ours)
		if err != nil {
			return b, err
		}
		for k, f := range forms {
			o, m := ours[k], theirs[k]
			if o.status == 95 {
				b.unknown++
				continue
			}
			b.tried++
			if m.status != 0 {
				b.refused++
			}
			if o != m {
				b.difference = fmt.Sprintf("%s\n  $ %s\n machine: %v\n model:   %v", history(forms[:k], ours), f, m, o)
				break // what follows met other tables
			}
		}
		return b, nil
	})
}

// needIptables skips a test where iptables has other words.
func needIptables(t *testing.T) {
	t.Helper()
	if v, _ := exec.Command("iptables", "--version").Output(); !bytes.Contains(v, []byte("v1.8.9 (nf_tables)")) {
		t.Skipf("the words are those of iptables v1.8.9 (nf_tables), this machine has %s", bytes.TrimSpace(v))
	}
}

// typedForm is a command line, and what the program reads.
type typedForm struct {
	argv  []string
	stdin string
}

// String is the form as a shell reads it.
func (f typedForm) String() string {
	s := ""
	for _, w := range f.argv {
		s += "'" + strings.ReplaceAll(w, "'", `'\''`) + "' "
	}
	if f.stdin != "" {
		s += "<<'END'\n" + f.stdin + "END"
	}
	return s
}

// history are the forms before one that changed something.
func history(forms []typedForm, ours []answer) string {
	s := ""
	for k, f := range forms {
		if ours[k].save != "" && (k == 0 || ours[k].save != ours[k-1].save) {
			s += "\n  # " + f.String()
		}
	}
	return s
}

// answer is what a program answered to a form, and iptables-save after it.
type answer struct {
	status      int
	out, stderr string
	save        string // "" when a command line was refused
}

func (a answer) String() string {
	return fmt.Sprintf("%d %q %q\n%s", a.status, a.out, a.stderr, a.save)
}

func ask(lab *Lab, f typedForm) (answer, error) {
	r := lab.typed("host", f.argv)
	if f.stdin != "" {
		res, err := lab.Apply(context.Background(), "host", op.Tool{Argv: f.argv, Stdin: f.stdin})
		if err != nil {
			return answer{}, err
		}
		r = said{res.Output, res.Stderr, res.Status}
	}
	a := answer{status: r.status, out: r.stdout, stderr: r.stderr}
	if a.status == 0 || f.stdin != "" { // of a table before the one that failed, all was done
		a.save = withoutDates(lab.typed("host", []string{"iptables-save", "-c"}).stdout)
	}
	return a, nil
}

func withoutDates(s string) string {
	var b strings.Builder
	for l := range strings.Lines(s) {
		if !strings.HasPrefix(l, "#") {
			b.WriteString(l)
		}
	}
	return b.String()
}

// mark ends an answer in the streams.
const endMark = "\x1e"

// askMachine has the machine's programs answer in a namespace of their own, all
// but the forms that the model does not know.
func askMachine(forms []typedForm, ours []answer) ([]answer, error) {
	var script strings.Builder
	for k, f := range forms {
		if ours[k].status == 95 {
			continue
		}
		saves := "[ $s != 0 ] ||"
		if f.stdin != "" {
			saves = ""
		}
		fmt.Fprintf(&script, "%s\ns=$?\nprintf '\\036%%d\\036' $s; printf '\\036' >&2; %s iptables-save -c; printf '\\036'\n", f, saves)
	}
	out, stderr, err := inNetns(script.String())
	if err != nil {
		return nil, fmt.Errorf("the machine's answers: %w %s", err, stderr)
	}
	outs, errs := strings.Split(out, endMark), strings.Split(stderr, endMark)
	answers := make([]answer, len(forms))
	for k := range forms {
		if ours[k].status == 95 {
			continue
		}
		if len(outs) < 4 || len(errs) < 2 {
			return nil, fmt.Errorf("the machine answered no more at %s: %q", forms[k], stderr)
		}
		status, err := strconv.Atoi(outs[1])
		if err != nil {
			return nil, err
		}
		answers[k] = answer{status: status, out: outs[0], stderr: unsaid.Replace(errs[0]), save: withoutDates(outs[2])}
		outs, errs = outs[3:], errs[1:]
	}
	return answers, nil
}

// unsaid are sentences that do not depend on the words alone: which of two the
// machine says depends on its resolver, and of -Z CHAIN N, where CHAIN is not
// there, on an errno that iptables left over from something else.
var unsaid = strings.NewReplacer("Temporary failure in name resolution", "Name or service not known",
	"Incompatible with this kernel.", "Bad rule (does a matching rule exist in that chain?).")

// inNetns runs a script of the shell in a fresh network namespace.
func inNetns(script string) (stdout, stderr string, err error) {
	args := []string{"--net"}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	cmd := exec.Command("unshare", append(args, "--", "sh")...)
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "XTABLES_LOCKFILE=/dev/null"}
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); ok && o.Len() > 0 {
		err = nil // of the last command
	}
	return o.String(), e.String(), err
}

// gen makes forms.
type gen struct{ *rand.Rand }

// iptablesForms makes n forms, and asks a lab each in turn. Of those that it
// refuses most are dropped, lest there be little else.
func iptablesForms(r *rand.Rand, n int) (forms []typedForm, ours []answer, err error) {
	g := gen{r}
	lab, err := newSimMachine()
	if err != nil {
		return nil, nil, err
	}
	defer lab.Close()
	for _, c := range []string{"-N A", "-t nat -N A", "-N B", "-N DOCKER", "-t nat -N DOCKER", "-t mangle -N A"} {
		if g.chance(50) {
			f := typedForm{argv: append([]string{"iptables"}, strings.Fields(c)...)}
			a, err := ask(lab, f)
			if err != nil {
				return nil, nil, err
			}
			forms, ours = append(forms, f), append(ours, a)
		}
	}
	for len(forms) < n {
		f := g.form(forms)
		a, err := ask(lab, f)
		if err != nil {
			return nil, nil, err
		}
		if a.status == 0 || f.stdin != "" || g.chance(25) {
			forms, ours = append(forms, f), append(ours, a)
		}
	}
	return forms, ours, nil
}

func (g gen) of(s ...string) string      { return s[g.IntN(len(s))] }
func (g gen) chance(percent int) bool    { return g.IntN(100) < percent }
func (g gen) words(s ...string) []string { return strings.Fields(g.of(s...)) }
func (g gen) not(s ...string) []string {
	if g.chance(20) {
		return append([]string{"!"}, s...)
	}
	return s
}

// form is any form; earlier are those before it.
func (g gen) form(earlier []typedForm) typedForm {
	switch n := g.IntN(100); {
	case n < 6 && len(earlier) > 0: // a rule that may be there
		f := earlier[g.IntN(len(earlier))]
		if f.stdin != "" {
			return f
		}
		argv := slices.Clone(f.argv)
		for i, w := range argv {
			if w == "-A" || w == "--append" {
				argv[i] = g.of("-D", "-C", "-C")
			}
		}
		return typedForm{argv: argv}
	case n < 12:
		return g.restore()
	}
	return typedForm{argv: append([]string{"iptables"}, g.command()...)}
}

// restore is something for iptables-restore to read.
func (g gen) restore() typedForm {
	f := typedForm{argv: append([]string{"iptables-restore"}, g.words("", "", "-n", "-n", "-c", "-t", "-v", "-n -c", "--noflush", "-T nat", "-w 5")...)}
	var b strings.Builder
	for range 1 + g.IntN(2) {
		table := g.of("filter", "filter", "nat", "mangle", "raw")
		b.WriteString("*" + table + "\n")
		chains := map[string][]string{"filter": {"INPUT", "FORWARD", "OUTPUT"}, "nat": {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"},
			"mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}, "raw": {"PREROUTING", "OUTPUT"}}[table]
		for _, c := range append(chains, "A", "C") {
			if g.chance(50) {
				fmt.Fprintf(&b, ":%s %s [%d:%d]\n", c, g.of("ACCEPT", "ACCEPT", "-", "DROP", "X"), g.IntN(9), g.IntN(9000))
			}
		}
		for range g.IntN(4) {
			if g.chance(30) {
				fmt.Fprintf(&b, "[%d:%d] ", g.IntN(9), g.IntN(9000))
			}
			b.WriteString(g.of("-A", "-A", "-A", "-I") + " " + g.of(append(chains, "A", "C")...))
			for _, w := range g.rule(table) {
				switch {
				case w == "" || strings.ContainsAny(w, " \n\"\\'"):
					b.WriteString(` "` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\n", "").Replace(w) + `"`)
				default:
					b.WriteString(" " + w)
				}
			}
			b.WriteByte('\n')
		}
		if g.chance(5) {
			b.WriteString(g.of("-F\n", "-F\n", "# a comment\n", "\n", "-N A\n", "-X A\n", "-P INPUT DROP\n", "nonsense\n", ":\n", "-D INPUT 1\n"))
		}
		if g.chance(97) {
			b.WriteString("COMMIT\n")
		}
	}
	f.stdin = b.String()
	return f
}

// command is a command line after the program's name.
func (g gen) command() []string {
	var w []string
	table := g.of("filter", "filter", "filter", "nat", "nat", "mangle", "raw")
	if table != "filter" || g.chance(20) {
		w = append(w, "-t", table)
	}
	if g.chance(1) {
		w = append(w, "-t", g.of("nope", "filter", ""))
	}
	builtin := map[string][]string{"filter": {"INPUT", "FORWARD", "OUTPUT"}, "nat": {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"},
		"mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}, "raw": {"PREROUTING", "OUTPUT"}}[table]
	chain := func() string {
		switch {
		case g.chance(60):
			return g.of(builtin...)
		case g.chance(92):
			return g.of("A", "B", "DOCKER")
		}
		return g.of("NOPE", "FORWARD", "POSTROUTING", "averyveryverylongchainname1234", "", "a b")
	}
	switch n := g.IntN(100); {
	case n < 55:
		w = append(w, g.of("-A", "-A", "-A", "--append"), chain())
		w = append(w, g.rule(table)...)
	case n < 62:
		w = append(w, "-I", chain())
		if g.chance(50) {
			w = append(w, g.of("1", "2", "1", "3", "0", "9", "x", "0x1"))
		}
		w = append(w, g.rule(table)...)
	case n < 64:
		w = append(w, "-R", chain(), g.of("1", "2", "7"))
		w = append(w, g.rule(table)...)
	case n < 66:
		w = append(w, g.of("-D", "-C"), chain())
		w = append(w, g.rule(table)...)
	case n < 67:
		w = append(w, "-D", chain(), g.of("1", "2", "9"))
	case n < 75:
		w = append(w, "-N", g.of("A", "B", "DOCKER", "C", "INPUT", "ACCEPT", "-x", "!x", "a b", "averyveryverylongchainname1234", "tcp"))
	case n < 76:
		w = append(w, "-X")
		if g.chance(70) {
			w = append(w, chain())
		}
	case n < 77:
		w = append(w, "-F")
		if g.chance(70) {
			w = append(w, chain())
		}
	case n < 79:
		w = append(w, "-Z")
		if g.chance(70) {
			w = append(w, chain())
		}
		if g.chance(20) {
			w = append(w, g.of("1", "2", "9"))
		}
	case n < 83:
		w = append(w, "-P", chain())
		w = append(w, g.words("ACCEPT", "DROP", "ACCEPT", "REJECT", "", "RETURN")...)
	case n < 85:
		w = append(w, "-E", g.of("A", "B", "C", "NOPE"), g.of("A", "B", "C", "D", "INPUT"))
	default:
		w = append(w, g.of("-L", "-L", "-S", "--list"))
		if g.chance(40) {
			w = append(w, chain())
			if g.chance(20) {
				w = append(w, g.of("1", "2", "9"))
			}
		}
		w = append(w, g.words("", "-n", "-v", "-nv", "-nvx", "--line-numbers", "-n --line-numbers", "-vx", "-n -v --line-numbers -x")...)
		if g.chance(5) {
			w = append(w, "-Z")
		}
	}
	if g.chance(3) {
		w = append(w, g.words("-v", "-w", "-w 5", "-n", "-x", "-V", "-4", "-6", "--wait=3", "-c 5 6", "-c 5,6", "-c x", "-W 3")...)
	}
	if g.chance(8) {
		w = g.spoil(w)
	}
	return w
}

// spoil makes a command line that somebody mistyped.
func (g gen) spoil(w []string) []string {
	w = slices.Clone(w)
	i := g.IntN(len(w))
	switch g.IntN(8) {
	case 0:
		return slices.Delete(w, i, i+1)
	case 1:
		return slices.Insert(w, i, w[i])
	case 2:
		j := g.IntN(len(w))
		w[i], w[j] = w[j], w[i]
	case 3:
		return slices.Insert(w, i, "!")
	case 4:
		w[i] = g.of("", "!", "-", "--", "x", "-z", "--nope", "0", "65536", "-1")
	case 5:
		if len(w[i]) > 3 {
			w[i] = w[i][:len(w[i])-1-g.IntN(2)]
		}
	case 6:
		if i+1 < len(w) {
			w[i] += g.of("=", "", ",", ":") + w[i+1]
			return slices.Delete(w, i+1, i+2)
		}
	case 7:
		w[i] = strings.ToUpper(w[i])
	}
	return w
}

func (g gen) addr() string {
	return g.of("10.0.0.1", "10.0.0.0/8", "172.17.0.0/16", "172.17.0.2/32", "192.168.1.0/255.255.255.0", "10.1.2.3/24", "0.0.0.0/0", "0/0",
		"10", "10.1", "127.0.0.1", "localhost", "10.0.0.0/0.0.255.0", "1.2.3.4,5.6.7.8", "10.0.0.0/33", "nope", "256.1.1.1", "1.2.3.4/x",
		"1.2.3", "0x7f.1", "loopback", "0.0.0.0", "10.0.0.1/31", "1.2.3.4/", "10.0.0.0/8,", "1.2.3.256")
}

func (g gen) dev() string {
	return g.of("eth0", "docker0", "br-+", "lo", "veth+", "+", "", "averyverylonginterface", "a/b", "exactly15chars1")
}

func (g gen) port() string {
	return g.of("80", "443", "8000", "53", "22", "0", "65535", "65536", "http", "domain", "ssh", "nope", "0x50", "010", "80x", "-1", "", "1")
}

func (g gen) portRange() string {
	return g.of("80:90", "1024:65535", ":100", "100:", ":", "0:65535", "90:80", "http:https", "80:90:100", "80:x", "0:0", "5:5")
}

func (g gen) ports() string {
	if g.chance(35) {
		return g.portRange()
	}
	return g.port()
}

func (g gen) mark() string {
	return g.of("1", "0x1", "0x10/0xff", "0xffffffff", "0", "0/0", "1/2/3", "x", "0x100000000", "5/", "010", "1/0", "0xff/0xff")
}

// rule is a rule's words.
func (g gen) rule(table string) []string {
	var parts [][]string
	proto := ""
	if g.chance(70) {
		proto = g.of("tcp", "tcp", "tcp", "udp", "udp", "icmp", "all", "6", "17", "sctp", "gre", "nope", "256", "TCP", "igmp", "0", "58", "vrrp", "253")
		parts = append(parts, g.not("-p", proto))
		if proto = strings.ToLower(proto); proto == "6" {
			proto = "tcp"
		}
	}
	if g.chance(30) {
		parts = append(parts, g.not(g.of("-s", "--source", "--src"), g.addr()))
	}
	if g.chance(30) {
		parts = append(parts, g.not(g.of("-d", "--destination", "--dst"), g.addr()))
	}
	if g.chance(15) {
		parts = append(parts, g.not("-i", g.dev()))
	}
	if g.chance(15) {
		parts = append(parts, g.not("-o", g.dev()))
	}
	if g.chance(3) {
		parts = append(parts, g.not("-f"))
	}
	switch {
	case proto == "tcp" && g.chance(60):
		parts = append(parts, g.tcp()...)
	case (proto == "udp" || proto == "17") && g.chance(60):
		parts = append(parts, g.udp()...)
	case proto == "icmp" && g.chance(60):
		if g.chance(50) {
			parts = append(parts, []string{"-m", "icmp"})
		}
		parts = append(parts, g.not("--icmp-type", g.of("8", "0", "echo-request", "ping", "any", "3/1", "3", "destination-unreachable", "host-u",
			"e", "3/x", "256", "redirect", "8/0", "net", "1:2", "fragmentation-needed", "11/1", "router", "255", "3/", "")))
	case g.chance(10):
		parts = append(parts, g.tcp()...)
	}
	for g.chance(35) {
		parts = append(parts, g.match()...)
	}
	if g.chance(92) {
		parts = append(parts, g.target(table)...)
	}
	if g.chance(5) {
		i, j := 0, 0
		if len(parts) > 1 {
			i, j = g.IntN(len(parts)), g.IntN(len(parts))
			parts[i], parts[j] = parts[j], parts[i]
		}
	}
	return slices.Concat(parts...)
}

func (g gen) tcp() (parts [][]string) {
	if g.chance(40) {
		parts = append(parts, []string{"-m", "tcp"})
	}
	if g.chance(70) {
		parts = append(parts, g.not(g.of("--dport", "--dport", "--destination-port"), g.ports()))
	}
	if g.chance(30) {
		parts = append(parts, g.not(g.of("--sport", "--source-port"), g.ports()))
	}
	if g.chance(15) {
		parts = append(parts, g.not("--syn"))
	}
	if g.chance(8) {
		parts = append(parts, g.not("--tcp-flags", g.of("SYN,ACK", "ALL", "NONE", "fin,Syn", "SYN,X", ""), g.of("SYN", "NONE", "ALL", "ACK,FIN", "-x")))
	}
	if g.chance(4) {
		parts = append(parts, g.not("--tcp-option", g.of("5", "0", "2", "256", "x")))
	}
	return parts
}

func (g gen) udp() (parts [][]string) {
	if g.chance(40) {
		parts = append(parts, []string{"-m", "udp"})
	}
	if g.chance(70) {
		parts = append(parts, g.not("--dport", g.ports()))
	}
	if g.chance(30) {
		parts = append(parts, g.not("--sport", g.ports()))
	}
	return parts
}

// match is an -m with its options.
func (g gen) match() (parts [][]string) {
	add := func(s ...string) { parts = append(parts, s) }
	some := func(percent int, s ...string) {
		if g.chance(percent) {
			parts = append(parts, g.not(s...))
		}
	}
	switch g.IntN(20) {
	case 0, 1, 2:
		add("-m", "conntrack")
		some(80, "--ctstate", g.of("NEW", "RELATED,ESTABLISHED", "ESTABLISHED,RELATED", "INVALID", "new", "EST", "DNAT", "SNAT,DNAT,UNTRACKED", "NOPE",
			"NEW,", ",NEW", "", "INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED,SNAT,DNAT"))
		some(8, "--ctproto", g.of("tcp", "6", "0", "nope", "udp"))
		some(8, g.of("--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst"), g.of("10.0.0.1", "10.1.2.3/8", "10.0.0.0/255.255.0.0",
			"1.2.3.4/33", "0.0.0.0/0", "localhost", "1.2.3.4/255.0.255.0", "10"))
		some(8, g.of("--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport"), g.of("80", "80:90", ":100", "http", "1:2:3", "x"))
		some(8, "--ctstatus", g.of("NONE", "ASSURED", "EXPECTED,SEEN_REPLY", "CONFIRMED", "X", "NONE,ASSURED", "confirmed,assured"))
		some(5, "--ctexpire", g.of("10", "10:20", ":5", "5:", "x", "1:2:3", "4294967296", "1x"))
		some(5, "--ctdir", g.of("ORIGINAL", "REPLY", "reply", "x"))
	case 3:
		add("-m", "state")
		some(90, "--state", g.of("NEW", "RELATED,ESTABLISHED", "INVALID", "SNAT", "", "NEW,", "UNTRACKED"))
	case 4, 5:
		add("-m", "addrtype")
		some(70, "--dst-type", g.of("LOCAL", "UNICAST,LOCAL", "BROADCAST", "local", "X", "LOCAL,X", "", "MULTICAST", "UN"))
		some(25, "--src-type", g.of("LOCAL", "UNICAST", "ANYCAST", "Y,LOCAL"))
		some(12, g.of("--limit-iface-in", "--limit-iface-out"))
		some(3, "--limit-iface-in")
	case 6, 7:
		add("-m", "multiport")
		some(85, g.of("--dports", "--sports", "--ports", "--destination-ports", "--source-ports"), g.of("80,443", "80", "22,80:90,443", "http,https",
			"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15:16",
			"90:80", "80:80", "", "x", "80,", "1:2,3:4", "65536"))
		some(4, "--dports", "1")
	case 8:
		add("-m", "mark")
		some(90, "--mark", g.mark())
	case 9:
		add("-m", "connmark")
		some(90, "--mark", g.mark())
	case 10:
		add("-m", "mac")
		some(90, "--mac-source", g.of("aa:bb:cc:dd:ee:ff", "AA:BB:CC:DD:EE:0F", "a:b:c:d:e:f", "aa:bb", "xx:bb:cc:dd:ee:ff", "aa:bb:cc:dd:ee:fff"))
	case 11, 12:
		add("-m", "comment")
		if g.chance(92) {
			add("--comment", g.of("hello", "two words", `it's "quoted" \ so`, "", "-A", strings.Repeat("long ", 60), "docker-proxy", "ünïcödé"))
		}
	case 13:
		add("-m", "limit")
		some(80, "--limit", g.of("5/min", "10/sec", "1/hour", "3/h", "1/day", "5/s", "5", "0/s", "5/x", "20000/s", "7/min", "333/second", "", "x/s", "5/", "100/m", "1/minute", "10000/sec", "-1/s"))
		some(40, "--limit-burst", g.of("1", "10", "0", "10000", "10001", "x", "5"))
	case 14:
		add("-m", "iprange")
		some(70, "--src-range", g.of("10.0.0.1-10.0.0.9", "10.0.0.1", "10.0.0.9-10.0.0.1", "10.0.0.1-x", "1-2", "10.0.0.1-10.0.0.2-10.0.0.3"))
		some(30, "--dst-range", g.of("10.0.0.1-10.0.0.9", "1.2.3.4-1.2.3.4", ""))
	case 15:
		add("-m", "physdev")
		some(40, "--physdev-in", g.dev())
		some(40, "--physdev-out", g.dev())
		some(30, g.of("--physdev-is-in", "--physdev-is-out", "--physdev-is-bridged"))
	case 16:
		add("-m", "owner")
		some(60, "--uid-owner", g.of("0", "root", "0-0", "nope", "0:0", "-1", "4294967295", "0x"))
		some(20, "--gid-owner", g.of("0", "root", "x"))
		some(15, "--socket-exists")
		some(8, "--suppl-groups")
	case 17:
		add("-m", "rpfilter")
		for _, o := range []string{"--loose", "--validmark", "--accept-local", "--invert"} {
			if g.chance(35) {
				add(o)
			}
		}
	case 18:
		add("-m", "statistic")
		some(85, "--mode", g.of("nth", "nth", "nth", "random", "x"))
		some(75, "--every", g.of("2", "3", "1", "0", "x"))
		some(70, "--packet", g.of("0", "0", "1", "2", "5"))
	case 19:
		switch g.IntN(4) {
		case 0:
			add("-m", "pkttype")
			some(90, "--pkt-type", g.of("broadcast", "UNICAST", "multicast", "host", "x", "otherhost"))
		case 1:
			add("-m", "length")
			some(90, "--length", g.of("100", "100:200", ":50", "1500:", "x", "65536", "200:100", ":"))
		case 2:
			add("-m", "ttl")
			some(80, g.of("--ttl-eq", "--ttl-lt", "--ttl-gt", "--ttl"), g.of("64", "1", "0", "255", "256", "x"))
			some(10, "--ttl-lt", "5")
		case 3:
			add("-m", g.of("nope", "TCP", "MARK", "tcp", "udp", "icmp", "averyveryverylongmatchname12345", ""))
		}
	}
	return parts
}

// target is a -j or -g with its options.
func (g gen) target(table string) (parts [][]string) {
	add := func(s ...string) { parts = append(parts, s) }
	some := func(percent int, s ...string) {
		if g.chance(percent) {
			parts = append(parts, s)
		}
	}
	flags := func() {
		some(12, "--random")
		some(8, "--random-fully")
		some(8, "--persistent")
	}
	to := func() string {
		return g.of("1.2.3.4", "1.2.3.4:80", "172.17.0.2:8000", ":8000", "1.2.3.4-1.2.3.9", "1.2.3.4-1.2.3.9:80-90", "1.2.3.4:90-80", "1.2.3.4:80-",
			"1.2.3.4:x", "x", "1.2.3.4:http", "1.2.3.4:80:90", "[1.2.3.4]:80", "", "1.2.3.4:70000", "1.2.3.4:8000-8010/80", "01.2.3.4", "1.2.3.4/24", "1.2.3.4:80x")
	}
	if g.chance(10) {
		add(g.of("-g", "-j"), g.of("A", "B", "DOCKER", "NOPE", "FORWARD", "INPUT", "ACCEPT", "", "averyveryverylongchainname1234", "a b"))
		return parts
	}
	n := g.IntN(100)
	if table == "nat" {
		n = 60 + g.IntN(45)
	}
	switch {
	case n < 35:
		add(g.of("-j", "-j", "-j", "--jump"), g.of("ACCEPT", "ACCEPT", "DROP", "RETURN", "accept", "QUEUE"))
	case n < 45:
		add("-j", "REJECT")
		some(50, "--reject-with", g.of("icmp-port-unreachable", "icmp-host-unreachable", "tcp-reset", "tcp-rst", "icmp-net-unreachable", "port-unreach",
			"icmp-admin-prohibited", "x", "icmp", "host-prohib", "echo-reply", "", "icmp-proto-unreachable", "ICMP-HOST-PROHIBITED"))
	case n < 50:
		add("-j", "LOG")
		some(50, "--log-prefix", g.of("DROP: ", "x", "", "a very long prefix that is cut somewhere", `quo"te`, "two\nlines"))
		some(30, "--log-level", g.of("4", "info", "7", "8", "debug", "x", "error", "warn", "warning", "panic"))
		some(20, g.of("--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid", "--log-macdecode"))
		some(10, "--log-uid")
	case n < 55:
		add("-j", "MARK")
		some(90, g.of("--set-mark", "--set-xmark", "--or-mark", "--and-mark", "--xor-mark"), g.mark())
		some(5, "--set-mark", "2")
	case n < 60:
		add("-j", "CONNMARK")
		some(60, g.of("--set-mark", "--set-xmark", "--or-mark", "--and-mark", "--xor-mark"), g.mark())
		some(35, g.of("--save-mark", "--restore-mark"))
		some(15, g.of("--mask", "--nfmask", "--ctmask"), g.of("0xff", "0", "0xffffffff", "x"))
		some(5, "--mask", "0xf")
	case n < 70:
		add("-j", "DNAT")
		some(95, "--to-destination", to())
		flags()
	case n < 78:
		add("-j", "SNAT")
		some(95, "--to-source", to())
		flags()
	case n < 86:
		add("-j", "MASQUERADE")
		some(30, "--to-ports", g.of("1024-65535", "80", "90-80", "x", "1-2/3", ":80", "80:90"))
		flags()
	case n < 92:
		add("-j", "REDIRECT")
		some(60, "--to-ports", g.of("8080", "8080-8090", "http", "x", "", "70000", "80-90/7"))
		flags()
	case n < 96:
		add("-j", "NETMAP")
		some(95, "--to", g.of("10.0.0.0/8", "192.168.1.0/24", "1.2.3.4", "10.1.2.3/255.255.0.0", "x", "10.0.0.0/33", "10.0.0.0/255.0.255.0", "1"))
	case n < 98:
		add("-j", g.of("CT", "NOTRACK", "TRACE"))
		some(50, "--notrack")
	default:
		add("-j", g.of("ACCEPT", "DROP", "RETURN", "LOG"))
	}
	return parts
}
