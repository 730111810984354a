package lessons

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vethlab/sim/op"
	"vethlab/sim/state"
	"vethlab/sim/trace"
)

// recorder is a lab that writes down what it is asked, and answers from
// answers (by the operation's canonical text), or with success.
type recorder struct {
	mu      sync.Mutex
	asked   []string
	answers map[string]op.Result
	hold    map[string]chan struct{} // an operation that ends when told
}

func (r *recorder) Apply(ctx context.Context, node string, o op.Op) (op.Result, error) {
	text := o.String()
	_, node = op.SplitAt(node)
	r.mu.Lock()
	line := node + "# " + text
	if t, ok := o.(op.Tool); ok && t.Stdin != "" {
		line += fmt.Sprintf(" <%q", t.Stdin)
	}
	r.asked = append(r.asked, line)
	res, ok := r.answers[text]
	hold := r.hold[text]
	r.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return op.Result{Output: "the half of it\n", Status: 130}, ctx.Err()
		}
	}
	if t, isTool := o.(op.Tool); isTool && !ok && t.Argv[0] == "cat" && len(t.Argv) == 1 {
		return op.Result{Output: t.Stdin}, nil
	}
	return res, ctx.Err()
}

func (r *recorder) Snapshot(context.Context) (*state.Snapshot, error) { return &state.Snapshot{}, nil }
func (r *recorder) Close() error                                      { return nil }

func (r *recorder) log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

var _ Backend = (*recorder)(nil)

func TestShell(t *testing.T) {
	dir := op.Result{Output: "41ed 4096 0\n"}
	answers := map[string]op.Result{
		"ip -br link": {Output: "lo\nveth0\n"},
		"ip link add name veth0 type veth peer name veth1": {Failure: &op.Failure{Errno: 17}},
		"ip netns add there":                 {Failure: &op.Failure{What: op.NetnsUsed, Name: "there"}},
		"nosuch":                             {Failure: &op.Failure{What: op.NoTool, Name: "nosuch"}},
		"cat -- /root/list":                  {Output: "veth0\nveth1\n"},
		"cat -- /etc/passwd":                 {Output: "the node's own\n"},
		"cat -- /root/gone":                  {Status: 1, Stderr: "cat: /root/gone: No such file or directory\n"},
		"dd of=/sys/x status=none":           {Status: 1, Stderr: "dd: failed to open '/sys/x': Permission denied\n"},
		"sysctl -w net.ipv4.nope=1":          {Failure: &op.Failure{What: op.NoSysctl}},
		"sysctl -w net.ipv4.ip_forward=abc":  {Failure: &op.Failure{Errno: 22}},
		"stat -Lc '%f %s %Y' -- /tmp":        dir,
		"stat -Lc '%f %s %Y' -- /etc/passwd": {Status: 1, Stderr: "no\n"},
		"find -H /root -mindepth 1 -maxdepth 1 -printf '%m %y %s %T@ %f\\0'": {Output: "644 f 1 0 a.txt\x00644 f 1 0 b.txt\x00755 d 1 0 sub\x00"},
		"which ip":                          {Output: "/usr/sbin/ip\n"},
		"which zzz":                         {Status: 1},
		"ping -c 1 10.0.0.9":                {Status: 1, Output: "1 packets transmitted, 0 received\n", Traces: []trace.Trace{{ID: "t1"}}},
		"ping -c 1 10.0.0.1":                {Output: "1 received\n", Traces: []trace.Trace{{ID: "t2"}}},
		"tcpdump -c 1 -ni veth0 &":          {Output: "one packet\n"},
		"ip link set dev gone up":           {Failure: &op.Failure{What: op.NoDevice, Name: "gone"}},
		"ip link set dev elsewhere up":      {Failure: &op.Failure{What: op.NoNetns, Name: "ns9"}},
		"iptables -A FORWARD -j ACCEPT":     {Status: 4, Stderr: "the tool's own words\n", Failure: &op.Failure{}},
		"ip route add default via 10.0.0.1": {Failure: &op.Failure{Errno: 101, Message: "Nexthop has invalid gateway"}},
	}
	tests := []struct {
		name   string
		text   string
		ops    []string // "node# canonical"; those of host without the node
		stdout string
		stderr string
		status int
	}{
		{name: "an operation", text: "ip l a veth9 type bridge", ops: []string{"ip link add name veth9 type bridge"}},
		{name: "quotes", text: `iptables -A INPUT -m comment --comment "a  'b' $HOME" -j DROP`,
			ops: []string{`iptables -A INPUT -m comment --comment 'a  '\''b'\'' /root' -j DROP`}},
		{name: "variables", text: "IF=veth0; ip link set $IF up", ops: []string{"ip link set dev veth0 up"}},
		{name: "and", text: "ip link add veth0 type veth peer name veth1 && ip link set veth0 up",
			ops: []string{"ip link add name veth0 type veth peer name veth1"}, stderr: "RTNETLINK answers: File exists\n", status: 2},
		{name: "or", text: "ip link add veth0 type veth peer name veth1 || echo $?",
			ops: []string{"ip link add name veth0 type veth peer name veth1"}, stdout: "2\n", stderr: "RTNETLINK answers: File exists\n"},
		{name: "substitution", text: "for i in $(ip -br link); do ip link set $i up; done",
			ops: []string{"ip -br link", "ip link set dev lo up", "ip link set dev veth0 up"}},
		{name: "loop over a file", text: "while read d; do ip link set $d up; done < list",
			ops: []string{"cat -- /root/list", "ip link set dev veth0 up", "ip link set dev veth1 up"}},
		{name: "a pipe's status", text: "set -e; false | ip link; echo $?", ops: []string{"ip link"}, stdout: "0\n"},
		{name: "a pipe into a loop", text: "printf 'v0\\nv1\\n' | while read x; do ip link set $x up; done", ops: []string{"ip link set dev v0 up", "ip link set dev v1 up"}},
		{name: "a pipe of both", text: "{ echo out; ls /nope; } |& { read a; echo $a; }", ops: []string{"ls /nope"}, stdout: "out\n"},
		{name: "pipes within pipes", text: "f() { echo a | { read x; echo $x$1; }; }; f 1 | { read y; f $y; }", stdout: "aa1\n"},
		{name: "eval of a pipe", text: `eval 'echo hi | { read x; echo $x > /tmp/f; }'`, ops: []string{`dd of=/tmp/f status=none <"hi\n"`}},
		{name: "status after an assignment", text: "false; x=$?; y=$(exit 3); echo $x $?", stdout: "1 3\n"},
		{name: "a user's directory", text: "echo ~root ~daemon/x", stdout: "/root ~daemon/x\n"},
		{name: "pipe", text: "ip -br link | grep veth", ops: []string{"ip -br link", `grep veth <"lo\nveth0\n"`}},
		{name: "here-document", text: "cat <<EOF\nhello $USER\nEOF", ops: []string{`cat <"hello root\n"`}, stdout: "hello root\n"},
		{name: "here-string", text: "cat <<< hi", ops: []string{`cat <"hi\n"`}, stdout: "hi\n"},
		{name: "in a node", text: "ip netns exec ns1 ip link set lo up", ops: []string{"ns1# ip link set dev lo up"}},
		{name: "ip -n", text: "ip -n ns1 addr add 10.0.0.1/24 dev lo", ops: []string{"ns1# ip addr add 10.0.0.1/24 dev lo"}},
		{name: "setting", text: "echo 1 > /proc/sys/net/ipv4/ip_forward", ops: []string{"sysctl -w net.ipv4.ip_forward=1"}},
		{name: "setting of a vlan", text: "echo 1 >/proc/sys/net/ipv4/conf/eth0.5/forwarding", ops: []string{"sysctl -w net.ipv4.conf.eth0/5.forwarding=1"}},
		{name: "no such setting", text: "echo 1 > /proc/sys/net/ipv4/nope && echo yes", ops: []string{"sysctl -w net.ipv4.nope=1"},
			stderr: "bash: /proc/sys/net/ipv4/nope: No such file or directory\n", status: 1},
		{name: "bad value", text: "echo abc > /proc/sys/net/ipv4/ip_forward", ops: []string{"sysctl -w net.ipv4.ip_forward=abc"},
			stderr: "bash: echo: write error: Invalid argument\n", status: 1},
		{name: "sysctl prints", text: "sysctl -w net.ipv4.ip_forward=1", ops: []string{"sysctl -w net.ipv4.ip_forward=1"}, stdout: "net.ipv4.ip_forward = 1\n"},
		{name: "file", text: "echo hi > f && echo more >> /tmp/g", ops: []string{`dd of=/root/f status=none <"hi\n"`, `dd of=/tmp/g status=none oflag=append conv=notrunc <"more\n"`}},
		{name: "file refused", text: "echo hi > /sys/x || echo no", ops: []string{`dd of=/sys/x status=none <"hi\n"`}, stdout: "no\n",
			stderr: "bash: /sys/x: Permission denied\n"},
		{name: "file keeps the status", text: "ping -c1 10.0.0.9 > out", ops: []string{"ping -c 1 10.0.0.9", `dd of=/root/out status=none <"1 packets transmitted, 0 received\n"`}, status: 1},
		{name: "null", text: "ping -c1 10.0.0.1 >/dev/null 2>&1", ops: []string{"ping -c 1 10.0.0.1"}},
		{name: "stderr", text: "echo oops >&2; echo again > /dev/stderr", stderr: "oops\nagain\n"},
		{name: "no such file", text: "read x < gone", ops: []string{"cat -- /root/gone"}, stderr: "bash: gone: No such file or directory\n", status: 1},
		{name: "the node's files, not ours", text: `read x < /etc/passwd; echo "$x"; test -f /etc/passwd || echo none`,
			ops: []string{"cat -- /etc/passwd", "stat -Lc '%f %s %Y' -- /etc/passwd"}, stdout: "the node's own\nnone\n"},
		{name: "glob", text: "echo *.txt", ops: []string{"find -H /root -mindepth 1 -maxdepth 1 -printf '%m %y %s %T@ %f\\0'"}, stdout: "a.txt b.txt\n"},
		{name: "cd", text: "cd /tmp && pwd && ls", ops: []string{"stat -Lc '%f %s %Y' -- /tmp", "test -x /tmp", "env -C /tmp ls"}, stdout: "/tmp\n"},
		{name: "environment", text: "FOO='a b' printenv FOO", ops: []string{"env 'FOO=a b' printenv FOO"}},
		{name: "type", text: "type ip echo zzz; command -v ip", ops: []string{"which ip", "which zzz", "which ip"},
			stdout: "ip is /usr/sbin/ip\necho is a shell builtin\n/usr/sbin/ip\n", stderr: "bash: type: zzz: not found\n"},
		{name: "not found", text: "nosuch", ops: []string{"nosuch"}, stderr: "bash: nosuch: command not found\n", status: 127},
		{name: "no such device", text: "ip link set gone up", ops: []string{"ip link set dev gone up"}, stderr: "Cannot find device \"gone\"\n", status: 1},
		{name: "no such node", text: "ip netns exec ns9 ip link set elsewhere up", ops: []string{"ns9# ip link set dev elsewhere up"},
			stderr: "Cannot open network namespace \"ns9\": No such file or directory\n", status: 255},
		{name: "kernel's sentence", text: "ip route add default via 10.0.0.1", ops: []string{"ip route add default via 10.0.0.1"},
			stderr: "Error: Nexthop has invalid gateway.\n", status: 2},
		{name: "the tool's own words stay", text: "iptables -A FORWARD -j ACCEPT", ops: []string{"iptables -A FORWARD -j ACCEPT"}, stderr: "the tool's own words\n", status: 4},
		{name: "usage", text: "ip addr add x dev lo", stderr: "Error: any valid prefix is expected rather than \"x\".\n", status: 1},
		{name: "server", text: "python3 -m http.server 8000 & curl -s http://10.0.0.1:8000/", ops: []string{"python3 -m http.server 8000 &", "curl -s http://10.0.0.1:8000/"}},
		{name: "kill a job", text: "python3 -m http.server 8000 & kill %1", ops: []string{"python3 -m http.server 8000 &", "pkill python3"}},
		{name: "a job's output", text: "tcpdump -c 1 -ni veth0 & wait", ops: []string{"tcpdump -c 1 -ni veth0 &"}, stdout: "one packet\n"},
		{name: "a probe as a job", text: "ip netns exec ns1 ping -c1 -q 10.0.0.1 & wait; ping -nc1 10.0.0.7 & wait", ops: []string{"ns1# ping -c1 -q 10.0.0.1 &", "ping -nc1 10.0.0.7 &"}},
		{name: "a job into a file", text: "tcpdump -c 1 -ni veth0 > cap & wait", ops: []string{"tcpdump -c 1 -ni veth0 &", `dd of=/root/cap status=none <"one packet\n"`}},
		{name: "a group in the background", text: "{ ip link set lo up; ip link set lo down; } & echo on", ops: []string{"ip link set dev lo up", "ip link set dev lo down"}, stdout: "on\n"},
		{name: "function", text: `up() { ip link set "$1" up; }; up v0; up v1`, ops: []string{"ip link set dev v0 up", "ip link set dev v1 up"}},
		{name: "command inside its own function", text: `ip() { command ip -n ns1 "$@"; }; ip link set lo up`, ops: []string{"ns1# ip link set dev lo up"}},
		{name: "exit", text: "exit 3; ip link set lo up", status: 3},
		{name: "errexit", text: "set -e; ip link set gone up; ip link set lo up", ops: []string{"ip link set dev gone up"}, stderr: "Cannot find device \"gone\"\n", status: 1},
		{name: "negation", text: "! ping -c1 10.0.0.9", ops: []string{"ping -c 1 10.0.0.9"}, stdout: "1 packets transmitted, 0 received\n"},
		{name: "negated write", text: "! echo 1 > /sys/x", ops: []string{`dd of=/sys/x status=none <"1\n"`}, stderr: "bash: /sys/x: Permission denied\n"},
		{name: "eval", text: `eval "ip link set lo up" '&& echo ok > /dev/null'`, ops: []string{"ip link set dev lo up"}},
		{name: "source", text: ". x", stderr: "bash: .: not available here; run the file with: bash FILE\n", status: 1},
		{name: "exec alone", text: "exec > /tmp/x", ops: []string{`dd of=/tmp/x status=none`}, stderr: "bash: exec: not available here without a command\n", status: 1},
		{name: "sudo", text: "sudo ip link set lo up", ops: []string{"ip link set dev lo up"}},
		{name: "continued", text: "ip link set \\\n  lo up", ops: []string{"ip link set dev lo up"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{answers: answers}
			s := NewShell(r)
			defer s.Close()
			var seen []Executed
			out, err := s.Run(context.Background(), "host", tt.text, func(e Executed) { seen = append(seen, e) })
			if err != nil {
				t.Fatal(err)
			}
			want := make([]string, len(tt.ops))
			for i, o := range tt.ops {
				want[i] = o
				if node, _, _ := strings.Cut(o, " "); !strings.HasSuffix(node, "#") {
					want[i] = "host# " + o
				}
			}
			if got := r.log(); !slices.Equal(got, want) {
				t.Errorf("operations\n got  %q\n want %q", got, want)
			}
			if out.Stdout != tt.stdout || out.Stderr != tt.stderr || out.Status != tt.status {
				t.Errorf("got  stdout %q stderr %q status %d\nwant stdout %q stderr %q status %d", out.Stdout, out.Stderr, out.Status, tt.stdout, tt.stderr, tt.status)
			}
			if len(seen) != len(out.Ops) {
				t.Errorf("seen was called %d times for %d operations", len(seen), len(out.Ops))
			}
		})
	}
}

func TestShellRemembers(t *testing.T) {
	r := &recorder{}
	s := NewShell(r)
	defer s.Close()
	run := func(node, text string) Outcome {
		t.Helper()
		out, err := s.Run(context.Background(), node, text, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	run("host", "X=1; f() { echo f$X; }")
	if got := run("host", "f").Stdout; got != "f1\n" {
		t.Errorf("a function and its variable were lost: %q", got)
	}
	if got := run("client", "echo [$X]").Stdout; got != "[]\n" {
		t.Errorf("a variable of host is known in client: %q", got)
	}
	run("host", "false")
	if got := run("host", "echo $?").Stdout; got != "1\n" {
		t.Errorf("$? of the line before: %q", got)
	}
	run("host", "exit")
	if got := run("host", "echo [$X]").Stdout; got != "[]\n" {
		t.Errorf("a variable outlived exit: %q", got)
	}
}

func TestShellBackground(t *testing.T) {
	r := &recorder{
		answers: map[string]op.Result{"tcpdump -c 1 &": {Output: "one packet\n"}},
		hold:    map[string]chan struct{}{"tcpdump -c 1 &": make(chan struct{})},
	}
	s := NewShell(r)
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	out, err := s.Run(ctx, "host", "tcpdump -c 1 & echo started; jobs", nil)
	if err != nil || out.Stdout != "started\n[1]  Running                 tcpdump -c 1 &\n" {
		t.Fatalf("got %q, %v", out.Stdout, err)
	}
	cancel() // a job outlives its line
	if out, err = s.Run(context.Background(), "client", "ping -c1 10.0.0.1", nil); err != nil || len(out.Ops) != 1 {
		t.Fatalf("a line beside a job: %v, %v", out.Ops, err)
	}
	close(r.hold["tcpdump -c 1 &"])
	out, err = s.Run(context.Background(), "host", "wait", nil)
	if err != nil || out.Stdout != "one packet\n" || len(out.Ops) != 1 {
		t.Fatalf("got %q, %v, %v", out.Stdout, out.Ops, err)
	}
}

func TestShellKillsJob(t *testing.T) {
	r := &recorder{hold: map[string]chan struct{}{"tcpdump &": make(chan struct{})}}
	s := NewShell(r)
	defer s.Close()
	out, err := s.Run(context.Background(), "host", "tcpdump & kill %1; wait; jobs; echo on", nil)
	if err != nil || out.Status != 0 || out.Stdout != "the half of it\non\n" || len(out.Ops) != 1 {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestShellEnds(t *testing.T) {
	r := &recorder{hold: map[string]chan struct{}{"ping 10.0.0.1": make(chan struct{})}}
	s := NewShell(r)
	defer s.Close()
	for _, text := range []string{"ping 10.0.0.1", "ping 10.0.0.1 | cat", "while ((1)); do ((1)); done & ping 10.0.0.1"} {
		ctx, cancel := context.WithCancel(context.Background())
		before := len(r.log())
		go func() {
			for len(r.log()) == before { // the ping is under way
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		out, err := s.Run(ctx, "host", text, nil)
		if !errors.Is(err, context.Canceled) || out.Status != 130 {
			t.Errorf("%s: status %d, %v, want the end", text, out.Status, err)
		}
		if text == "ping 10.0.0.1" && out.Stdout != "the half of it\n" {
			t.Errorf("what was done before the end is lost: %q", out.Stdout)
		}
	}
	if out, err := s.Run(context.Background(), "host", "echo again", nil); err != nil || out.Stdout != "again\n" {
		t.Errorf("the line after: %q, %v", out.Stdout, err)
	}
}

// A line is a learner's, and may be a hostile one.
func TestShellLimits(t *testing.T) {
	tests := []struct{ text, want string }{
		{"while true; do :; done", "10000 commands"},
		{"while ((1)); do ((1)); done", "10000 commands"},
		{"for ((;;)); do x=1; done", "10000 commands"},
		{"eval 'while ((1)); do ((1)); done'", "10000 commands"},
		{"f() { f; }; f", "some hundred"},
		{"x=aaaaaaaaaaaaaaaa; while ((1)); do x=$x$x; done", "256 KiB"},
		{"x=aaaaaaaaaaaaaaaa; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do x=$x$x; done; echo $x", "256 KiB"},
		{"x=aaaaaaaaaaaaaaaa; " + strings.Repeat("x=$x$x; ", 90), "256 KiB"},
		{"x=(a b); " + strings.Repeat("x=(${x[@]} ${x[@]}); ", 90), "256 KiB"},
		{"x=aaaaaaaaaaaaaaaa; " + strings.Repeat("declare x=$x$x; ", 90), "256 KiB"},
		{"x=aaaaaaaaaaaaaaaa; " + strings.Repeat("[[ -n ${y:=$x$x} ]]; unset y; x=$x$x; ", 40), "256 KiB"},
		{strings.Repeat("x=$x$x ", 90), "too much of its variables"},
		{"x=a; echo ${x//a/" + strings.Repeat("b", 100) + "}", "64 letters"},
		{"x=$(for i in {1..3000}; do cat; done)", "32 MiB"},
		{"for i in {1..3000}; do cat > /dev/null; done", "32 MiB"},
		{"x=$(while time; do time; done 2>&1)", "10000 commands"},
		{"x=$(printf '%99999999s')", "999 letters"},
		{"f() { " + strings.Repeat("{ ", 1500) + "f;" + strings.Repeat(" }; ", 1500) + "}; f", "deep"},
		{"f() { " + strings.Repeat("{ ", 90) + "f;" + strings.Repeat(" }; ", 90) + "}; f", "some hundred"},
		{"x='" + strings.Repeat("* ", 7000) + "'; echo $x $x", "32 MiB"},
		{"for i in {1..100}; do { :; } & done", "50 groups"},
		{"{ while :; do :; done; } &", "10000 commands"},
		{"set -o pipefail", "not available"},
		{"alias x='cat <(ip addr)'", "not available"},
		{"trap -- 'cat <(ip addr)' EXIT", "use a pipe"},
		{"trap - 'echo $$' EXIT", "not available"},
		{"declare -p HOME", "plain options"},
		{"echo \ue000", "private use"},
		{"echo {1..9999} {1..9999}", "braces"},
		{"echo {1..100000000}", "braces"},
		{"echo {1..999}{1..999}", "braces"},
		{"echo " + strings.Repeat("{a,b}", 20), "braces"},
		{"cat <(ip addr)", "use a pipe"},
		{"eval 'cat <(ip addr)'", "use a pipe"},
		{"echo $$", "not available"},
		{"echo " + strings.Repeat("$HOME", 300), "200 variables"},
		{strings.Repeat("x", 20_000), "16 KiB"},
		{"echo a\x00b", "NUL"},
	}
	for _, tt := range tests {
		s := NewShell(always{op.Result{Output: strings.Repeat("a", 1<<14)}})
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		out, err := s.Run(ctx, "host", tt.text, nil)
		cancel()
		s.Close()
		got := out.Stderr
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%.60s: got %.200q, want %q in it", tt.text, got, tt.want)
		}
	}
	s := NewShell(&recorder{answers: map[string]op.Result{"yes": {Output: strings.Repeat("y", 3<<20)}}})
	defer s.Close()
	out, err := s.Run(context.Background(), "host", "yes; yes", nil)
	if err != nil || len(out.Stdout) < maxOutput || len(out.Stdout) > maxOutput+100 || !strings.Contains(out.Stdout, "not kept") {
		t.Errorf("3 MiB of output: %d bytes, %v", len(out.Stdout), err)
	}
}

// What interp answers with a panic ends the line; the same in a pipe, a group or
// $( ) must not end the process.
func TestShellSurvives(t *testing.T) {
	s := NewShell(&recorder{})
	defer s.Close()
	for _, what := range []string{"shift -1", "declare -A x=(a b)", "unset ''", "[ -O /etc ]", "[[ -v '' ]]",
		"shopt -s extglob; p='" + strings.Repeat("@(", 1100) + "a" + strings.Repeat(")", 1100) + "'; [[ a == $p ]]; x=a; echo ${x##$p}; case a in $p) ;; esac; echo /$p"} {
		for _, form := range []string{"%s", "{ %s; } | cat", "echo a | { %s; }", "{ %s; } & echo b", "x=$({ %s; } & )", "( %s ) &", "trap '%s' EXIT; exit", "eval %q", "f() { %s; }; f | cat"} {
			text := strings.ReplaceAll(strings.ReplaceAll(form, "%s", what), "%q", "\""+what+"\"")
			if _, err := s.Run(context.Background(), "host", text, nil); err != nil {
				if _, ok := err.(*SyntaxError); !ok {
					t.Errorf("%.80s: %v", text, err)
				}
			}
		}
	}
	if out, err := s.Run(context.Background(), "host", "echo on", nil); err != nil || out.Stdout != "on\n" {
		t.Errorf("afterwards: %q, %v", out.Stdout, err)
	}
}

// A command in the background must not look at variables that the shell goes on
// to change. The race detector judges.
func TestShellBackgroundRace(t *testing.T) {
	r := &recorder{}
	s := NewShell(r)
	defer s.Close()
	for range 20 {
		if _, err := s.Run(context.Background(), "host", "for i in {1..40}; do export X$i=$i; sleep $i & done; { for j in {1..99}; do export Y$j=1; done; } & for j in {1..99}; do export Z$j=1; done; wait", nil); err != nil {
			t.Fatal(err)
		}
	}
}

// Nothing that a line says may reach the files of this process's machine.
func TestShellStaysInTheNode(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret.txt")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	none := op.Result{Status: 1, Stderr: "x: No such file or directory\n"}
	for _, text := range []string{
		"read x < " + secret + "; echo $x",
		"echo $(< " + secret + ")",
		"mapfile x < " + secret + "; echo ${x[0]}",
		"echo " + dir + "/*.txt",
		"test -e " + secret + " && echo secret",
		"[[ -r " + secret + " ]] && echo secret",
		"cd " + dir + " && echo secret",
		". " + secret, "source " + secret, "builtin source " + secret, "command . " + secret,
		"echo changed > " + secret,
		"echo changed >> " + secret,
		"> " + secret,
		"exec > " + secret + "; echo changed",
		"type " + secret, "type -P " + secret, "command -v " + secret, "builtin type -p " + secret, "command type " + secret,
		"trap -- '. " + secret + "' EXIT; exit",
		"eval 'read x < " + secret + "; echo $x'",
		"trap 'read x < " + secret + "; echo $x' EXIT; exit",
		"PWD=" + dir + "; pwd -P; builtin pwd -P",
		secret, "PATH=" + dir + " secret.txt",
	} {
		s := NewShell(always{none})
		out, err := s.Run(context.Background(), "host", text, nil)
		s.Close()
		if got := strings.ReplaceAll(out.Stdout, dir, ""); err == nil && strings.Contains(got, "secret") {
			t.Errorf("%s: printed %q", text, out.Stdout)
		}
		if data, _ := os.ReadFile(secret); string(data) != "secret\n" {
			t.Fatalf("%s: changed the file to %q", text, data)
		}
	}
}

type always struct{ r op.Result }

func (a always) Apply(context.Context, string, op.Op) (op.Result, error) { return a.r, nil }
func (always) Snapshot(context.Context) (*state.Snapshot, error)         { return nil, nil }
func (always) Close() error                                              { return nil }

func TestShellSyntax(t *testing.T) {
	tests := []struct{ text, want string }{
		{"echo 'a", "1:6: reached EOF without closing quote `'`"},
		{"ip a &&", "1:6: `&&` must be followed by a statement"},
		{"echo a\nfor x in", "2:1: `for foo [in words]` must be followed by `do`"},
		{")", "1:1: `)` can only be used to close a subshell"},
	}
	for _, tt := range tests {
		_, err := NewShell(&recorder{}).Run(context.Background(), "host", tt.text, nil)
		se, ok := errors.AsType[*SyntaxError](err)
		if !ok || se.Error() != tt.want {
			t.Errorf("%q: %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestShellLabLost(t *testing.T) {
	lost := errors.New("the lab died")
	_, err := NewShell(broken{lost}).Run(context.Background(), "host", "ip link set lo up; echo on", nil)
	if !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
	_, err = NewShell(broken{lost}).Run(context.Background(), "host", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo on", nil)
	if !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
}

type broken struct{ err error }

func (b broken) Apply(context.Context, string, op.Op) (op.Result, error) { return op.Result{}, b.err }
func (b broken) Snapshot(context.Context) (*state.Snapshot, error)       { return nil, b.err }
func (broken) Close() error                                              { return nil }

func TestParseTranscript(t *testing.T) {
	src := "# a comment\n\nhost# ip link add veth0 type veth \\\n    peer name veth1\n  # another\nns1$ ping -c1 10.0.0.1\n" +
		"host# for d in a b; do\n  ip link set $d up\ndone\nhost# cat <<EOF\n# not a comment\nEOF\nclient# true"
	lines, err := ParseTranscript("t.txt", src)
	if err != nil {
		t.Fatal(err)
	}
	want := []Line{
		{"host", "ip link add veth0 type veth \\\n    peer name veth1", "t.txt:3:7"},
		{"ns1", "ping -c1 10.0.0.1", "t.txt:6:6"},
		{"host", "for d in a b; do\n  ip link set $d up\ndone", "t.txt:7:7"},
		{"host", "cat <<EOF\n# not a comment\nEOF", "t.txt:10:7"},
		{"client", "true", "t.txt:13:9"},
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got  %q\nwant %q", lines, want)
	}
}

func TestParseTranscriptErrors(t *testing.T) {
	tests := []struct{ src, want string }{
		{"host# ip a\nip link", `t:2:1: expected "NODE# COMMAND", a comment or an empty line`},
		{"  host# ip a", `t:1:3: expected "NODE# COMMAND", a comment or an empty line`},
		{"host# ", "t:1:7: expected a command after the prompt"},
		{"host#", "t:1:6: expected a command after the prompt"},
		{"host# ip a \\", "t:1:12: expected the rest of the command after the backslash"},
		{"# c\nhost# echo 'a\nhost# ip a", "t:2:12: reached EOF without closing quote `'`"},
		{"host# ip a \\\n  | )", "t:2:3: `|` must be followed by a statement"},
		{"host# cat <(ls)", "t:1:11: <( ) and >( ) are not available here; use a pipe"},
		{"host# cat <<EOF\nx", "t:1:11: unclosed here-document `EOF`"},
	}
	for _, tt := range tests {
		_, err := ParseTranscript("t", tt.src)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q:\n got  %v\n want %s", tt.src, err, tt.want)
		}
	}
}

func FuzzParseTranscript(f *testing.F) {
	f.Add("host# ip a\n")
	f.Add("a# cat <<E\n$(( \\\nE\n")
	f.Fuzz(func(t *testing.T, src string) {
		lines, err := ParseTranscript("f", src)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("no position: %v", err)
			}
			return
		}
		for _, l := range lines {
			if _, err := parseShell(l.Text); err != nil {
				t.Errorf("%q: %v", l.Text, err)
			}
		}
	})
}
