package main

import (
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer is what a test binary is started as to be the name server of the
// outside world beside a real Docker daemon.
const nameServer = "vethlab-test-name-server"

// serveNames answers for NAME=ADDRESS, and "no such name" for the rest, until it
// fails.
func serveNames(pairs []string) error {
	names := map[string]netip.Addr{}
	for _, kv := range pairs {
		name, addr, _ := strings.Cut(kv, "=")
		a, err := netip.ParseAddr(addr)
		if err != nil {
			return err
		}
		names[name+"."] = a
	}
	c, err := net.ListenPacket("udp4", "0.0.0.0:53")
	if err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		var q dnsmessage.Message
		if q.Unpack(buf[:n]) != nil || len(q.Questions) != 1 {
			continue
		}
		q.Response, q.Authoritative, q.Answers, q.Additionals = true, true, nil, nil
		a, known := names[strings.ToLower(q.Questions[0].Name.String())]
		switch {
		case !known:
			q.RCode = dnsmessage.RCodeNameError
		case q.Questions[0].Type == dnsmessage.TypeA:
			q.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
				Body:   &dnsmessage.AResource{A: a.As4()},
			}}
		}
		if b, err := q.Pack(); err == nil {
			_, _ = c.WriteTo(b, from) // who asked may be gone
		}
	}
}
