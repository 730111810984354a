package op

import (
	"strings"
	"syscall"
	"testing"
)

// The sentences are those that Go has of Linux, but for their case; it knows none of
// the last, EHWPOISON.
func TestStrerror(t *testing.T) {
	for errno, s := range glibc {
		if errno == 133 {
			continue
		}
		theirs := syscall.Errno(errno).Error()
		if !strings.EqualFold(s, theirs) {
			t.Errorf("%d: %q, not %q", errno, s, theirs)
		}
	}
}
