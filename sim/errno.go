package sim

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
