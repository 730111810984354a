package docker

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestParsePublish(t *testing.T) {
	for spec, want := range map[string]string{
		"80":                   "80/tcp 0-0 any",
		"8088:80/udp":          "80/udp 8088-8088 any",
		"127.0.0.1:8089:80":    "80/tcp 8089-8089 127.0.0.1",
		"127.0.0.1::80":        "80/tcp 0-0 127.0.0.1",
		"8000-8002:80":         "80/tcp 8000-8002 any",
		"8000-8001:80-81":      "80/tcp 8000-8000 any, 81/tcp 8001-8001 any",
		":80":                  "80/tcp 0-0 any",
		"nonsense":             "Invalid containerPort: nonsense",
		"8088:":                "No port specified: 8088:<empty>",
		"9002-9001:80":         "Invalid hostPort: 9002-9001",
		"80:80/icmp":           "Invalid proto: icmp",
		"1.2.3:80:80":          "Invalid ip address: 1.2.3",
		"8000-8002:80-81":      "Invalid ranges specified for container and host Ports: 80-81 and 8000-8002",
		"a:b:c:d":              "Invalid ip address a:b: address a:b:: too many colons in address",
		"":                     "No port specified: <empty>",
		"99999999999999999999": "Invalid containerPort: 99999999999999999999",
	} {
		_, bs, err := parsePublish([]string{spec})
		got := ""
		for i, b := range bs {
			if i > 0 {
				got += ", "
			}
			ip := "any"
			if b.HostIP.IsValid() {
				ip = b.HostIP.String()
			}
			got += fmt.Sprintf("%s %d-%d %s", b.Port, b.HostLow, b.HostEnd, ip)
		}
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("-p %s: %s, want %s", spec, got, want)
		}
	}
}

// The ports that a container may have are bounded.
func TestParsePublishMany(t *testing.T) {
	for _, specs := range [][]string{{"1-65535:1-65535"}, {"1-1000:1-1000", "1-25:1-25/udp"}} {
		if ports, _, err := parsePublish(specs); err != errManyPorts {
			t.Errorf("-p %v: %d ports, %v", specs, len(ports), err)
		}
	}
	if ports, _, err := parsePublish([]string{"1-1000:1-1000", "1-24:1-24/udp"}); len(ports) != maxPorts || err != nil {
		t.Errorf("%d ports, %v", len(ports), err)
	}
}

// A random port is the next after the last one given out; a fixed one is had
// once for each address.
func TestTakePort(t *testing.T) {
	var d Daemon
	all := netip.IPv4Unspecified()
	for _, want := range []uint16{32768, 32769} {
		if p, err := d.takePort(all, "tcp", 0, 0); err != nil || p != want {
			t.Errorf("%d, %v, want %d", p, err, want)
		}
	}
	d.releasePort(Mapping{Port: Port{"tcp", 80}, HostIP: all, HostPort: 32768})
	if p, _ := d.takePort(all, "tcp", 0, 0); p != 32770 {
		t.Errorf("%d is not the next", p)
	}
	if _, err := d.takePort(all, "tcp", 8088, 8088); err != nil {
		t.Error(err)
	}
	if _, err := d.takePort(all, "tcp", 8088, 8088); err == nil || err.Error() != "Bind for 0.0.0.0:8088 failed: port is already allocated" {
		t.Error(err)
	}
	if _, err := d.takePort(netip.MustParseAddr("127.0.0.1"), "tcp", 8088, 8088); err != nil {
		t.Error("the daemon's allocator knows each address by itself:", err)
	}
	for _, want := range []uint16{9000, 9001} {
		if p, err := d.takePort(all, "udp", 9000, 9001); err != nil || p != want {
			t.Errorf("%d, %v, want %d", p, err, want)
		}
	}
	if _, err := d.takePort(all, "udp", 9000, 9001); err == nil {
		t.Error("a port out of a full range")
	}
}
