package sim

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The path drawn at the top of the package names functions, and the files they
// are in.
func TestPathIsDrawnAsItIs(t *testing.T) {
	text, err := os.ReadFile("sim.go")
	if err != nil {
		t.Fatal(err)
	}
	drawn, _, _ := strings.Cut(string(text), "\npackage sim")
	named := regexp.MustCompile(`(\w+)[ ─]*\((\w+\.go)\)`).FindAllStringSubmatch(strings.ReplaceAll(drawn, "receive ──┐", "receive"), -1)
	if len(named) < 10 {
		t.Fatalf("only %d names found", len(named))
	}
	for _, m := range named {
		source, err := os.ReadFile(m[2])
		if err != nil {
			t.Errorf("%s: %v", m[1], err)
		} else if !regexp.MustCompile(`(?m)^func (\(\w+ \*?\w+\) )?` + m[1] + `\(`).Match(source) {
			t.Errorf("%s is not in %s", m[1], m[2])
		}
	}
}
