package sim

import "fmt"

// Errors that sockets meet (include/uapi/asm-generic/errno.h); netns.go has the rest.
const (
	epipe        = 32
	enonet       = 64
	edestaddrreq = 89
	emsgsize     = 90
	enoprotoopt  = 92
	econnreset   = 104
	enotconn     = 107
	ehostdown    = 112
	eremoteio    = 121
)

// Strerror is glibc's sentence for an error number that a socket can meet.
func Strerror(errno int) string {
	if s, ok := sentences[errno]; ok {
		return s
	}
	return fmt.Sprintf("Unknown error %d", errno)
}

var sentences = map[int]string{
	eperm: "Operation not permitted", enoent: "No such file or directory", eagain: "Resource temporarily unavailable",
	eacces: "Permission denied", enodev: "No such device", einval: "Invalid argument", epipe: "Broken pipe",
	enonet: "Machine is not on the network", edestaddrreq: "Destination address required", emsgsize: "Message too long",
	enoprotoopt: "Protocol not available", eopnotsupp: "Operation not supported",
	eaddrinuse: "Address already in use", eaddrnotavail: "Cannot assign requested address", enetdown: "Network is down",
	enetunreach: "Network is unreachable", enobufs: "No buffer space available", econnreset: "Connection reset by peer",
	enotconn: "Transport endpoint is not connected", etimedout: "Connection timed out", econnrefused: "Connection refused",
	ehostdown: "Host is down", enospc: "No space left on device", eremoteio: "Remote I/O error", ehostunreach: "No route to host",
}
