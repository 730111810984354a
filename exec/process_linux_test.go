package exec

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// What prints for ever is cut, and told so: its pipe breaks.
func TestOutputIsCapped(t *testing.T) {
	c := &capped{}
	if _, err := io.Copy(c, forever{}); !errors.Is(err, errCut) {
		t.Errorf("got %v, want %v", err, errCut)
	}
	if s := c.String(); len(s) < outputLimit || len(s) > outputLimit+100 || !strings.Contains(s, "left out") {
		t.Errorf("%d bytes were kept", len(s))
	}
}

type forever struct{}

func (forever) Read(p []byte) (int, error) { return len(p), nil }
