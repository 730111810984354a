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
//	cmd > FILE      {cmd > FILE; «written»}    the write happens when FILE is closed; «written» has its status
//	x=$y, [[ … ]]   {x=$y; «written»}          what is no command meets the limits, too
//	while …; do B   while …; do :; B
//	cmd &           «background» cmd           interp alone forgets what it starts
//	{ …; } &        «group» '{ …; }'
//	A | B           {(A || :) > «pipe»; {B;} < «pipe»}
//	$(A)            $({A;} > «substitution»)   what it keeps is bounded
//
// A and B of a pipe run one after the other. Were they left to interp, each
// would be a goroutine of interp's, and a panic there the end of this process.
func parseProgram(text string) (program, error) {
	file, err := parseShell(text)
	if err != nil {
		return program{}, err
	}
	rewrite(file)
	return program{file.Stmts}, nil
}

// parseShell reads shell text and reports what is wrong with it.
func parseShell(text string) (*syntax.File, error) {
	if len(text) > maxLine {
		return nil, &SyntaxError{1, 1, fmt.Sprintf("a line may be %d KiB long; this one is %d", maxLine>>10, len(text)>>10)}
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return nil, &SyntaxError{1 + strings.Count(text[:i], "\n"), i - strings.LastIndexByte(text[:i], '\n'), "a NUL byte, expected text"}
	}
	if i := strings.Index(text, mark); i >= 0 {
		return nil, &SyntaxError{1 + strings.Count(text[:i], "\n"), i - strings.LastIndexByte(text[:i], '\n'), "a character for private use, expected text"}
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
	params, words, depth := 0, 0, 0
	syntax.Walk(file, func(n syntax.Node) bool {
		if n == nil {
			depth--
			return true
		}
		if depth++; depth > maxDepth {
			no(n, "commands may be nested %d deep; these go deeper", maxDepth)
		}
		switch n := n.(type) {
		case *syntax.ProcSubst:
			no(n, "<( ) and >( ) are not available here; use a pipe")
		case *syntax.CoprocClause:
			no(n, "coproc is not available here")
		case *syntax.DeclClause:
			for _, a := range n.Args {
				if a.Name != nil {
					continue
				}
				lit, ok := a.Value.Parts[0].(*syntax.Lit)
				if !ok || strings.HasPrefix(lit.Value, "-") && (len(a.Value.Parts) > 1 || strings.ContainsAny(lit.Value, "pf")) {
					no(a, "%s takes names and plain options here", n.Variant.Value)
				}
			}
		case *syntax.Stmt:
			if growth(n) > maxGrowth {
				no(n, "this command makes too much of its variables; use several")
			}
		case *syntax.ParamExp:
			if params++; params > maxParams {
				no(n, "a line may use %d variables; this one wants more", maxParams)
			}
			if n.Param != nil && (n.Param.Value == "$" || n.Param.Value == "PPID" || n.Param.Value == "BASHPID") {
				no(n, "$%s is not available here: this shell is no process of the lab's", n.Param.Value)
			}
			if n.Repl != nil && n.Repl.With != nil {
				switch k := litLen(n.Repl.With); {
				case k < 0:
					no(n, "${ / / } with another variable inside is not available here")
				case k > maxRepl:
					no(n, "${ / / } may put in %d letters; these are more", maxRepl)
				default:
					params += k
				}
			}
		case *syntax.Word:
			if k := braces(n); k > 1 {
				words += k
			}
			if words > maxWords {
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

// growth bounds how many times larger than the largest variable a variable can
// become by one command: x=$x$x makes it twice as large. Between commands
// Shell looks how large they are.
func growth(st *syntax.Stmt) int {
	total := 1
	times := func(n syntax.Node, more int) {
		own(n, func(n syntax.Node) {
			if p, ok := n.(*syntax.ParamExp); ok {
				more++
				if p.Repl != nil && p.Repl.With != nil {
					more += max(0, litLen(p.Repl.With))
				}
				if p.Exp != nil && p.Exp.Op == syntax.OtherParamOps {
					more += 4 // quotes
				}
			}
		})
		total = min(total*max(1, more), maxGrowth+1)
	}
	own(st, func(n syntax.Node) {
		switch n := n.(type) {
		case *syntax.Assign:
			if n.Append {
				times(n, 1)
			} else {
				times(n, 0)
			}
		case *syntax.ParamExp:
			if n.Exp != nil && (n.Exp.Op == syntax.AssignUnset || n.Exp.Op == syntax.AssignUnsetOrNull) {
				times(n, 0)
			}
		}
	})
	return total
}

// own visits a node and what is in it, but for commands within.
func own(top syntax.Node, visit func(syntax.Node)) {
	syntax.Walk(top, func(n syntax.Node) bool {
		if _, inner := n.(*syntax.Stmt); n == nil || inner && n != top {
			return false
		}
		visit(n)
		return true
	})
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

// rewrite changes file as parseProgram says.
func rewrite(file *syntax.File) {
	var stmts []*syntax.Stmt // before anything changes, outer ones first
	var substs []*syntax.CmdSubst
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Stmt:
			stmts = append(stmts, n)
		case *syntax.CmdSubst:
			substs = append(substs, n)
		case *syntax.WhileClause:
			n.Do = append([]*syntax.Stmt{callStmt(":")}, n.Do...)
		case *syntax.ForClause:
			n.Do = append([]*syntax.Stmt{callStmt(":")}, n.Do...)
		}
		return true
	})
	for _, st := range stmts {
		if st.Background || st.Disown {
			background(st)
		}
		if pipe, ok := st.Cmd.(*syntax.BinaryCmd); ok && (pipe.Op == syntax.Pipe || pipe.Op == syntax.PipeAll) {
			// «|| :» because set -e looks at the last command of a pipe only.
			from := redirected(&syntax.Subshell{Stmts: []*syntax.Stmt{{Cmd: &syntax.BinaryCmd{Op: syntax.OrStmt, X: pipe.X, Y: callStmt(":")}}}}, syntax.RdrOut, pipeFile)
			if pipe.Op == syntax.PipeAll {
				from.Redirs[0].Op = syntax.RdrAll
			}
			st.Cmd = &syntax.Block{Stmts: []*syntax.Stmt{from, redirected(&syntax.Block{Stmts: []*syntax.Stmt{pipe.Y}}, syntax.RdrIn, pipeFile)}}
		}
		if writes(st) || bare(st) {
			inner := *st
			inner.Negated, inner.Background, inner.Disown, inner.Comments = false, false, false, nil
			st.Redirs = nil
			st.Cmd = &syntax.Block{Stmts: []*syntax.Stmt{&inner, callStmt(afterWrite)}}
		}
	}
	for _, c := range substs {
		if len(c.Stmts) == 0 || len(c.Stmts) == 1 && c.Stmts[0].Cmd == nil { // $(< FILE), which open bounds
			continue
		}
		c.Stmts = []*syntax.Stmt{redirected(&syntax.Block{Stmts: c.Stmts}, syntax.RdrOut, substFile)}
	}
}

// background makes of «cmd &» a call of our own.
func background(st *syntax.Stmt) {
	st.Background, st.Disown = false, false
	if call, ok := st.Cmd.(*syntax.CallExpr); ok && len(call.Args) > 0 {
		call.Args = append([]*syntax.Word{word(inBackground)}, call.Args...)
		return
	}
	var text bytes.Buffer
	inner := *st
	inner.Comments = nil
	syntax.NewPrinter().Print(&text, &inner)
	st.Redirs, st.Negated = nil, false
	st.Cmd = &syntax.CallExpr{Args: []*syntax.Word{word(inGroup), {Parts: []syntax.WordPart{quoted(text.String())}}}}
}

// quoted is text as a part of a word, whatever is in it.
func quoted(text string) syntax.WordPart {
	return &syntax.SglQuoted{Dollar: true, Value: strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`).Replace(text)}
}

func redirected(c syntax.Command, op syntax.RedirOperator, name string) *syntax.Stmt {
	return &syntax.Stmt{Cmd: c, Redirs: []*syntax.Redirect{{Op: op, Word: word(name)}}}
}

// bare reports whether st is no command that Shell would be asked about.
func bare(st *syntax.Stmt) bool {
	switch c := st.Cmd.(type) {
	case *syntax.CallExpr:
		return len(c.Args) == 0
	case *syntax.DeclClause, *syntax.TestClause, *syntax.ArithmCmd, *syntax.LetClause, *syntax.CaseClause:
		return true
	}
	return false
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
