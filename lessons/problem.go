package lessons

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is something wrong in a lesson's files, and where.
type Problem struct {
	File      string
	Line, Col int // from 1
	Text      string
	Warning   bool // the lesson can be played all the same
}

func (p Problem) String() string {
	s := fmt.Sprintf("%s:%d:%d: ", p.File, p.Line, p.Col)
	if p.Warning {
		s += "warning: "
	}
	return s + p.Text
}

// Problems is what a lesson's files have wrong with them, in the order of the files.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Errors leaves the warnings out.
func (ps Problems) Errors() Problems {
	return slices.DeleteFunc(slices.Clone(ps), func(p Problem) bool { return p.Warning })
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
}

// lineCol turns an offset in a file into a line and a column in bytes, from 1.
func lineCol(src []byte, offset int) (line, col int) {
	offset = min(max(offset, 0), len(src))
	before := src[:offset]
	return 1 + bytes.Count(before, []byte("\n")), offset - bytes.LastIndexByte(before, '\n')
}
