package lessons

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// program is a line that Shell has read and made ready to run.
type program struct{ stmts []*syntax.Stmt }

// parseProgram reads a line, refuses what Shell cannot do honestly, and
// rewrites it so that Shell sees what interp would keep to itself:
//
//	cmd > FILE      {cmd > FILE; «written»}   the write happens when FILE is closed; «written» has its status
//	cmd &           «background» cmd          interp alone forgets what it starts
//	while …; do B   while …; do :; B          a loop without commands meets the limit on commands, too
//	{ …; } &        …, and wait at the line's end
func parseProgram(text string) (program, error) {
	file, err := parseShell(text)
	if err != nil {
		return program{}, err
	}
	stmts := file.Stmts
	if rewrite(file) {
		stmts = append(stmts, callStmt("wait"))
	}
	return program{stmts}, nil
}

// parseShell reads shell text and reports what is wrong with it.
func parseShell(text string) (*syntax.File, error) {
	if len(text) > maxLine {
		return nil, &SyntaxError{1, 1, fmt.Sprintf("a line may be %d KiB long; this one is %d", maxLine>>10, len(text)>>10)}
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return nil, &SyntaxError{1 + strings.Count(text[:i], "\n"), i - strings.LastIndexByte(text[:i], '\n'), "a NUL byte, expected text"}
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		if pe, ok := errors.AsType[syntax.ParseError](err); ok {
			return nil, &SyntaxError{int(pe.Pos.Line()), int(pe.Pos.Col()), pe.Text}
		}
		if le, ok := errors.AsType[syntax.LangError](err); ok {
			return nil, &SyntaxError{int(le.Pos.Line()), int(le.Pos.Col()), le.Feature + " is not part of bash"}
		}
		return nil, &SyntaxError{1, 1, err.Error()}
	}
	if err := refuse(file); err != nil {
		return nil, err
	}
	return file, nil
}

// rewriteText does for the text of eval and trap what parseProgram does for a line.
func rewriteText(text string) (string, error) {
	file, err := parseShell(text)
	if err != nil {
		return "", err
	}
	rewrite(file)
	var out bytes.Buffer
	if err := syntax.NewPrinter().Print(&out, file); err != nil {
		return "", err
	}
	return out.String(), nil
}

// refuse finds what would act on this process or its machine instead of the
// lab, and what would take its memory.
func refuse(file *syntax.File) error {
	var found *SyntaxError
	no := func(n syntax.Node, format string, args ...any) {
		if found == nil {
			found = &SyntaxError{int(n.Pos().Line()), int(n.Pos().Col()), fmt.Sprintf(format, args...)}
		}
	}
	params := 0
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.ProcSubst:
			no(n, "<( ) and >( ) are not available here; use a pipe")
		case *syntax.CoprocClause:
			no(n, "coproc is not available here")
		case *syntax.ParamExp:
			if params++; params > maxParams {
				no(n, "a line may use %d variables; this one wants more", maxParams)
			}
			if n.Param != nil && (n.Param.Value == "$" || n.Param.Value == "PPID" || n.Param.Value == "BASHPID") {
				no(n, "$%s is not available here: this shell is no process of the lab's", n.Param.Value)
			}
			if n.Repl != nil && n.Repl.With != nil && len(n.Repl.With.Lit()) != litLen(n.Repl.With) {
				no(n, "${ / / } with another variable inside is not available here")
			}
		case *syntax.Word:
			if w := braces(n); w > maxWords {
				no(n, "braces may make %d words; these make more", maxWords)
			}
		}
		return found == nil
	})
	if found != nil {
		return found
	}
	return nil
}

// litLen is -1 when a word is anything but literal text.
func litLen(w *syntax.Word) int {
	n := 0
	for _, p := range w.Parts {
		l, ok := p.(*syntax.Lit)
		if !ok {
			return -1
		}
		n += len(l.Value)
	}
	return n
}

// braces is how many words {a,b} and {1..9} make of w, or more than maxWords.
func braces(w *syntax.Word) int {
	c := *w
	if !syntax.SplitBraces(&c) {
		return 1
	}
	n := 1
	for _, p := range c.Parts {
		b, ok := p.(*syntax.BraceExp)
		if !ok {
			continue
		}
		k := 0
		if b.Sequence {
			from, err1 := strconv.ParseInt(b.Elems[0].Lit(), 10, 64)
			to, err2 := strconv.ParseInt(b.Elems[1].Lit(), 10, 64)
			switch {
			case err1 != nil || err2 != nil: // {a..z}
				k = 128
			case from-to > maxWords || to-from > maxWords || from < -1<<60 || from > 1<<60 || to < -1<<60 || to > 1<<60:
				return maxWords + 1
			default:
				k = int(max(from-to, to-from)) + 1
			}
		} else {
			for _, e := range b.Elems {
				k += braces(e)
			}
		}
		if n *= k; n > maxWords {
			return maxWords + 1
		}
	}
	return n
}

// rewrite changes file as parseProgram says, and reports whether a group of
// commands runs in the background.
func rewrite(file *syntax.File) (group bool) {
	var stmts []*syntax.Stmt // before anything changes
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Stmt:
			stmts = append(stmts, n)
		case *syntax.WhileClause:
			n.Do = append([]*syntax.Stmt{callStmt(":")}, n.Do...)
		case *syntax.ForClause:
			n.Do = append([]*syntax.Stmt{callStmt(":")}, n.Do...)
		}
		return true
	})
	for _, st := range stmts {
		if st.Background || st.Disown {
			call, ok := st.Cmd.(*syntax.CallExpr)
			if ok && len(call.Args) > 0 {
				st.Background, st.Disown = false, false
				call.Args = append([]*syntax.Word{word(inBackground)}, call.Args...)
			} else {
				group = true
			}
		}
		if writes(st) {
			inner := *st
			inner.Negated, inner.Background, inner.Disown, inner.Comments = false, false, false, nil
			st.Redirs = nil
			st.Cmd = &syntax.Block{Stmts: []*syntax.Stmt{&inner, callStmt(afterWrite)}}
		}
	}
	return group
}

func writes(st *syntax.Stmt) bool {
	for _, r := range st.Redirs {
		switch r.Op {
		case syntax.RdrOut, syntax.AppOut, syntax.RdrAll, syntax.AppAll:
			if r.Word.Lit() != devNull {
				return true
			}
		}
	}
	return false
}

const devNull = "/dev/null"

func word(s string) *syntax.Word {
	return &syntax.Word{Parts: []syntax.WordPart{&syntax.Lit{Value: s}}}
}

func callStmt(s string) *syntax.Stmt {
	return &syntax.Stmt{Cmd: &syntax.CallExpr{Args: []*syntax.Word{word(s)}}}
}
