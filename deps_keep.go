package vethlab

import (
	_ "github.com/coreos/go-iptables/iptables"
	_ "github.com/go-rod/rod"
	_ "github.com/goccy/go-yaml"
	_ "github.com/google/gopacket"
	_ "github.com/google/gopacket/layers"
	_ "github.com/google/gopacket/pcapgo"
	_ "github.com/google/nftables"
	_ "github.com/gorilla/websocket"
	_ "github.com/mdlayher/netlink"
	_ "github.com/vishvananda/netlink"
	_ "github.com/vishvananda/netns"
	_ "github.com/yuin/goldmark"
	_ "golang.org/x/net/bpf"
	_ "golang.org/x/net/dns/dnsmessage"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "mvdan.cc/sh/v3/interp"
)
