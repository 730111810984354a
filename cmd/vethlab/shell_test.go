package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vethlab/lessons/labtest"
)

// runShell runs vethlab shell with a lab that does as it is told.
func runShell(t *testing.T, labs *labtest.Labs, stdin string, terminal bool, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	c := shellCmd{printer: printer{stdout: &out, stderr: &errs}, stdin: strings.NewReader(stdin), on: backends{kernel: labs.Open}, terminal: terminal}
	status = c.run(args)
	for _, l := range labs.Made() {
		if !l.Closed() {
			t.Error("a lab was left open")
		}
	}
	return status, out.String(), errs.String()
}

func TestShellTranscript(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.txt")
	src := "# two namespaces\nhost# ip netns add ns1 && ip netns add ns1\nns1# ping -c1 10.0.0.1\nnope# ping -c1 10.0.0.1\n"
	if err := os.WriteFile(file, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{file}, {"-"}, {}, {"--world", "docker-host", file}} {
		labs := &labtest.Labs{}
		status, out, errs := runShell(t, labs, src, false, args...)
		if status != 0 || errs != "" {
			t.Fatalf("%v: status %d, stderr %q", args, status, errs)
		}
		for _, want := range []string{
			"host# ip netns add ns1 && ip netns add ns1\nCannot create namespace file \"/run/netns/ns1\": File exists\n(status 1)\n",
			"ns1# ping -c1 10.0.0.1\n1 received\n\n1  ICMP echo request\n  ns1  OUTPUT",
			"nope# ping -c1 10.0.0.1\nvethlab: there is no node \"nope\" here\n(status 1)\n",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%v: no %q in\n%s", args, want, out)
			}
		}
	}
}

func TestShellJSON(t *testing.T) {
	labs := &labtest.Labs{}
	status, out, errs := runShell(t, labs, "host# echo '<&>'; false\nhost# ping -c1 10.0.0.1\n", true, "--json")
	if status != 0 || errs != "" {
		t.Fatalf("status %d, stderr %q", status, errs)
	}
	var events []string
	for line := range strings.Lines(out) {
		var e struct {
			Event, Backend string
			Trace          struct{ Summary string }
			Snapshot       struct{ Nodes []struct{ Name string } }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		events = append(events, strings.TrimSpace(e.Event+" "+e.Backend+" "+e.Trace.Summary))
	}
	if want := []string{"command kernel", "command kernel", "trace kernel ICMP echo request", "state kernel"}; !slices.Equal(events, want) {
		t.Errorf("got %q, want %q", events, want)
	}
	if first, _, _ := strings.Cut(out, "\n"); first != `{"event":"command","backend":"kernel","node":"host","text":"echo '<&>'; false","status":1,"stdout":"<&>\n","stderr":""}` {
		t.Errorf("got %s", first)
	}
}

// JSON that could not be written whole is not passed off as whole.
func TestShellJSONLost(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	var errs bytes.Buffer
	labs := &labtest.Labs{}
	c := shellCmd{printer: printer{stdout: full, stderr: &errs}, stdin: strings.NewReader("host# ip netns add ns1\n"), on: backends{kernel: labs.Open}}
	if status := c.run([]string{"--json"}); status != 1 || !strings.Contains(errs.String(), "no space left on device") {
		t.Errorf("status %d, %q", status, errs.String())
	}
}

func TestShellRefusals(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		stdin  string
		fail   error
		status int
		want   string
	}{
		{"syntax", nil, "host# ip a\nip a\n", nil, 2, `standard input:2:1: expected "NODE# COMMAND", a comment or an empty line`},
		{"shell syntax", nil, "host# echo 'a\n", nil, 2, "standard input:1:12: reached EOF without closing quote"},
		{"no file", []string{"/nonexistent/x"}, "", nil, 2, "/nonexistent/x: no such file"},
		{"two files", []string{"a", "b"}, "", nil, 2, `"b" is one too many`},
		{"flag", []string{"--nope"}, "", nil, 2, "see vethlab shell --help"},
		{"world", []string{"--world", "docker-hots"}, "", nil, 2, `did you mean "docker-host"?`},
		{"backend", []string{"--backend=x"}, "", nil, 2, `--backend "x": want auto, sim, kernel or both`},
		{"no lab", []string{"--backend=kernel"}, "host# ip a\n", errors.New("unshare: operation not permitted"), 1, "unshare: operation not permitted\nRun vethlab doctor"},
	}
	for _, tt := range tests {
		labs := &labtest.Labs{Fail: tt.fail}
		status, out, errs := runShell(t, labs, tt.stdin, false, tt.args...)
		if status != tt.status || !strings.Contains(errs, tt.want) || out != "" {
			t.Errorf("%s: status %d, stdout %q, stderr %q; want %d and %q", tt.name, status, out, errs, tt.status, tt.want)
		}
		if tt.status == 2 && len(labs.Made()) > 0 {
			t.Errorf("%s: a lab was made for nothing", tt.name)
		}
	}
	if status, out, _ := runShell(t, &labtest.Labs{}, "", false, "--help"); status != 0 || out != shellUsage {
		t.Errorf("--help: status %d, %q", status, out)
	}
}

func TestShellLabLost(t *testing.T) {
	labs := &labtest.Labs{}
	var out, errs bytes.Buffer
	c := shellCmd{printer: printer{stdout: &out, stderr: &errs}, stdin: strings.NewReader("host# ip netns add ns1\nhost# sleep 1000\n"), on: backends{kernel: labs.Open}}
	done := make(chan int)
	go func() { done <- c.run(nil) }()
	for len(labs.Made()) == 0 || !slices.Contains(labs.Last().Done(), "host# sleep 1000") {
		select {
		case status := <-done:
			t.Fatalf("ended with %d: %s", status, errs.String())
		default:
		}
	}
	labs.Last().Kill()
	if status := <-done; status != 1 || !strings.Contains(errs.String(), "standard input:2:7: the lab's process ended") {
		t.Errorf("status %d, stderr %q", status, errs.String())
	}
}

// At the prompt, Enter is a carriage return and Ctrl-C and Ctrl-D are bytes.
func TestShellPrompt(t *testing.T) {
	const up, ctrlC, ctrlD = "\x1b[A", "\x03", "\x04"
	keys := strings.Join([]string{
		"help", "ip netns add ns1", "client# echo one", "echo $((1+1))", "node ns1", "echo 'a", "b'", "node nowhere", "node clien",
		"echo typed by mistake" + ctrlC, "echo 'never closed" + ctrlC, "nodes", up + up + up, "# a comment", "echo )", "ip netns add ns1",
	}, "\r") + "\r" + ctrlD
	labs := &labtest.Labs{}
	status, out, errs := runShell(t, labs, keys, true)
	if status != 0 || errs != "" {
		t.Fatalf("status %d, stderr %q", status, errs)
	}
	for _, want := range []string{
		"A fresh lab: host, client, internet, lan.", "NODE# COMMAND", "\none\n", "\n2\n", "\na\nb\n",
		`There is no node "nowhere"`, `did you mean "client"?`, "\nhost  client  internet  lan  ns1\n",
		"bash: 1:6: ", "File exists\n(status 1)",
	} {
		if !strings.Contains(strings.ReplaceAll(out, "\r", ""), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if got, want := labs.Last().Done(), []string{"host# ip netns add ns1", "ns1# ip netns add ns1"}; !slices.Equal(got, want) {
		t.Errorf("operations %q, want %q", got, want)
	}
}

func TestShellPromptLeaves(t *testing.T) {
	for _, word := range []string{"exit", "quit", "logout"} {
		if status, _, errs := runShell(t, &labtest.Labs{}, word+"\recho on\r", true); status != 0 || errs != "" {
			t.Errorf("%s: status %d, %q", word, status, errs)
		}
	}
}
