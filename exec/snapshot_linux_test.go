package exec

import "testing"

func TestProcAddr(t *testing.T) {
	for in, want := range map[string]string{ // as an x86 or ARM machine prints them
		"00000000":                         "0.0.0.0",
		"080012AC":                         "172.18.0.8",
		"00000000000000000000000000000000": "0.0.0.0",
		"0000000000000000FFFF0000080012AC": "172.18.0.8",
		"00000000000000000000000001000000": "", // ::1
		"12AC":                             "",
		"":                                 "",
	} {
		got, ok := procAddr(in)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v, %v; want %q", in, got, ok, want)
		}
	}
}

// A server on :: answers IPv4 as well, so its port is not told to be closed.
func TestListenerOnIPv6(t *testing.T) {
	b := open(t)
	r := b.do("b", sh(`command -v python3 >/dev/null || { echo none; exit 0; }
		python3 -c 'import socket; s = socket.create_server(("::", 8000), family=socket.AF_INET6, dualstack_ipv6=True); print("on", flush=True); s.accept()' > /tmp/on &
		for i in $(seq 100); do grep -q on /tmp/on && exit 0; sleep 0.05; done; exit 1`))
	if r.Output == "none\n" {
		t.Skip("python3 is not there")
	}
	s, err := b.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range s.Node("b").Listeners {
		if l.Proto == "tcp" && l.Port == 8000 && l.Addr.String() == "0.0.0.0" {
			return
		}
	}
	t.Errorf("no listener on 8000 among %v", s.Node("b").Listeners)
}
