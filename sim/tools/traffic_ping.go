package tools

import (
	"strconv"
	"strings"
	"time"

	"vethlab/sim"
	"vethlab/sim/op"
)

// ping(8), iputils 20221126, in the forms that are no operation: without a
// count, with a name, with less usual options.
func runPing(c *call) op.Result {
	o := sim.PingOptions{Size: 56}
	opts, operands, wrong := getopt(c.argv, "4nqDbOvUaBLV", "cWwstIMiQmleS")
	if wrong != "" {
		for _, known := range "6AfRrhdC" {
			if strings.HasSuffix(wrong, "'"+string(known)+"'") {
				notSimulated("ping -%c", known)
			}
		}
		for _, known := range "TFNp" {
			if strings.HasSuffix(wrong, "'"+string(known)+"'") {
				notSimulated("ping -%c", known)
			}
		}
		return op.Result{Stderr: wrong + "\n" + pingUsage, Status: 2}
	}
	for _, f := range opts {
		switch f.name {
		case 'U', 'L', 'S': // nothing of what the model shows depends on them
		case 'V':
			c.out.WriteString("ping from iputils 20221126\nlibcap: yes, IDN: yes, NLS: no, error.h: yes, getrandom(): yes, __fpending(): yes\n")
			return c.done(0)
		case 'e':
			o.ID = uint16(pingNumber(f.value, 0, 65535))
		case 'v', 'a', 'B':
			notSimulated("ping -%c", f.name)
		case 'n':
			o.Numeric = true
		case 'q':
			o.Quiet = true
		case 'D':
			o.Stamp = true
		case 'b':
			o.Broadcast = true
		case 'O':
			o.Pending = true
		case 'c':
			o.Count = int(pingNumber(f.value, 1, 1<<63-1))
		case 's':
			o.Size = int(pingNumber(f.value, 0, 1<<31-1))
		case 't':
			o.TTL = int(pingNumber(f.value, 0, 255))
		case 'l':
			if o.Preload = int(pingNumber(f.value, 1, 65536)); o.Preload > 1000 {
				notSimulated("ping -l %d", o.Preload)
			}
		case 'w':
			o.Deadline = time.Duration(pingNumber(f.value, 0, 1<<31-1)) * time.Second
		case 'm':
			o.Mark = uint32(pingNumber(f.value, 0, 1<<32-1))
		case 'Q':
			n, err := strconv.ParseUint(f.value, 0, 8)
			if err != nil {
				notSimulated("ping -Q %s", f.value)
			}
			o.TOS = uint8(n)
		case 'I':
			if o.From = f.value; strings.Contains(f.value, ":") {
				notSimulated("ping -I %s", f.value)
			}
		case 'i':
			o.Interval = pingSeconds(f.value)
			if o.Interval < 2*time.Millisecond {
				notSimulated("ping -i %s", f.value)
			}
		case 'W':
			o.Wait = pingSeconds(f.value)
		case 'M':
			switch f.value {
			case "do":
				o.PMTU = sim.PMTUDo
			case "dont":
				o.PMTU = sim.PMTUDont
			case "want":
				o.Want = true
			default:
				fail(2, "ping: invalid -M argument: %s", f.value)
			}
		}
	}
	if len(operands) == 0 {
		fail(1, "ping: usage error: Destination address required")
	}
	if len(operands) > 1 {
		notSimulated("ping through several hosts")
	}
	o.Host = operands[0]
	c.resolver()
	var g *sim.Pinger
	unknown := 0
	interrupted := c.process(func(n *sim.Netns) *sim.Process {
		if ip, ok := address(o.Host); ok {
			o.Dst = ip
			g = n.Ping(o, c.argv...)
			return g.Process
		}
		p := n.Start(c.argv...)
		p.Lookup(o.Host, func(ip sim.IP, errno int) {
			if unknown = errno; errno != 0 {
				p.Exit()
				return
			}
			o.Dst, o.Named = ip, true
			g = n.Ping(o, c.argv...)
			g.Process.OnEnd(p.Exit)
			p.OnInterrupt(g.Process.Interrupt)
			p.OnTerminate(g.Process.Terminate)
			if g.Process.Ended() {
				p.Exit()
			}
		})
		return p
	})
	if g == nil {
		if unknown == 0 {
			return c.ended("", "", 130, interrupted)
		}
		fail(2, "ping: %s: %s", o.Host, gaiText(unknown))
	}
	return c.ended(g.Out.String(), g.Err.String(), g.Status, interrupted)
}

// gaiText is gai_strerror(3).
func gaiText(errno int) string {
	if errno == sim.EAIAgain {
		return "Temporary failure in name resolution"
	}
	return "Name or service not known"
}

// pingNumber is strtol_or_err of iputils.
func pingNumber(s string, lo, hi int64) int64 {
	n, err := strconv.ParseInt(strings.TrimLeft(s, " "), 10, 64)
	if err != nil {
		fail(1, "ping: invalid argument: '%s'", s)
	}
	if n < lo || n > hi {
		fail(1, "ping: invalid argument: '%s': out of range: %d <= value <= %d", s, lo, hi)
	}
	return n
}

func pingSeconds(s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 1<<31/1000 {
		notSimulated("ping with the time %q", s)
	}
	return time.Duration(f*1000) * time.Millisecond
}

const pingUsage = `
Usage
  ping [options] <destination>

Options:
  <destination>      dns name or ip address
  -a                 use audible ping
  -A                 use adaptive ping
  -B                 sticky source address
  -c <count>         stop after <count> replies
  -C                 call connect() syscall on socket creation
  -D                 print timestamps
  -d                 use SO_DEBUG socket option
  -e <identifier>    define identifier for ping session, default is random for
                     SOCK_RAW and kernel defined for SOCK_DGRAM
                     Imply using SOCK_RAW (for IPv4 only for identifier 0)
  -f                 flood ping
  -h                 print help and exit
  -I <interface>     either interface name or address
  -i <interval>      seconds between sending each packet
  -L                 suppress loopback of multicast packets
  -l <preload>       send <preload> number of packages while waiting replies
  -m <mark>          tag the packets going out
  -M <pmtud opt>     define mtu discovery, can be one of <do|dont|want>
  -n                 no dns name resolution
  -O                 report outstanding replies
  -p <pattern>       contents of padding byte
  -q                 quiet output
  -Q <tclass>        use quality of service <tclass> bits
  -s <size>          use <size> as number of data bytes to be sent
  -S <size>          use <size> as SO_SNDBUF socket option value
  -t <ttl>           define time to live
  -U                 print user-to-user latency
  -v                 verbose output
  -V                 print version and exit
  -w <deadline>      reply wait <deadline> in seconds
  -W <timeout>       time to wait for response

IPv4 options:
  -4                 use IPv4
  -b                 allow pinging broadcast
  -R                 record route
  -T <timestamp>     define timestamp, can be one of <tsonly|tsandaddr|tsprespec>

IPv6 options:
  -6                 use IPv6
  -F <flowlabel>     define flow label, default is random
  -N <nodeinfo opt>  use icmp6 node info query, try <help> as argument

For more details see ping(8).
`
