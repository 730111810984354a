package main

import (
	"encoding/binary"
	"net"
	"strconv"
	"time"
)

// packetSender, as the first argument, makes the test binary send UDP packets:
// ADDRESS:PORT RATE DURATION.
const packetSender = "send-packets"

// sendPackets sends at a rate, several at once where the clock is too coarse.
// Each packet is numbered.
func sendPackets(args []string) error {
	to, err := net.ResolveUDPAddr("udp4", args[0])
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp4", nil) // not connected: a refusal would cost the next packet
	if err != nil {
		return err
	}
	rate, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	length, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	total := int(length.Seconds() * float64(rate))
	begin := time.Now()
	for sent := 0; sent < total; {
		for due := int(time.Since(begin).Seconds()*float64(rate)) + 1; sent < min(due, total); sent++ {
			if _, err := conn.WriteTo(binary.BigEndian.AppendUint32(nil, uint32(sent)), to); err != nil {
				return err
			}
		}
		time.Sleep(time.Second / time.Duration(max(rate, 1)))
	}
	return nil
}
