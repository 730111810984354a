// Package lessons holds the lessons and what it takes to play them: the format
// and its loader, the checks and predictions, the shell that turns command
// lines into operations, and the runner.
//
// A lesson is a directory: lesson.yaml holds what has no language (the world,
// the steps' commands, checks and predictions), en.md, zh-CN.md and zh-TW.md
// hold the prose, by step. See content/bridge-by-hand for one, prose.go for
// the form of the prose and check.go for the checks.
package lessons

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"vethlab/sim/op"
)

//go:embed content
var embedded embed.FS

// Content returns the lessons and worlds that come with the program: a
// directory for each lesson, and worlds/.
func Content() fs.FS {
	sub, err := fs.Sub(embedded, "content")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}

// NotFoundError names a lesson or world that does not exist.
type NotFoundError struct {
	Kind, Name string // "lesson" or "world", and what was asked for
	Have       []string
}

func (e *NotFoundError) Error() string {
	if len(e.Have) == 0 {
		return fmt.Sprintf("there is no %s %q, nor any other", e.Kind, e.Name)
	}
	return fmt.Sprintf("there is no %s %q (there are: %s)", e.Kind, e.Name, strings.Join(e.Have, ", "))
}

// loaded keeps the program's own lessons, which do not change while it runs.
var loaded sync.Map // ID → *Lesson

// Load returns a lesson that comes with the program. Do not change it: all
// callers share one.
func Load(id string) (*Lesson, error) {
	if l, ok := loaded.Load(id); ok {
		return l.(*Lesson), nil
	}
	l, err := LoadFS(Content(), id)
	if err != nil {
		return nil, err
	}
	kept, _ := loaded.LoadOrStore(id, l)
	return kept.(*Lesson), nil
}

// List returns the lessons that come with the program, by ID.
func List() ([]*Lesson, error) {
	var out []*Lesson
	for _, id := range lessonIDs(Content()) {
		l, err := Load(id)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// LoadFS reads the lesson in the directory id of fsys. Its world is looked for
// in fsys's worlds/ first, then among the program's own. The error is a
// Problems or a *NotFoundError.
func LoadFS(fsys fs.FS, id string) (*Lesson, error) {
	if !slices.Contains(lessonIDs(fsys), id) {
		return nil, &NotFoundError{"lesson", id, lessonIDs(fsys)}
	}
	src := readLesson(fsys, id)
	if errs := src.problems.Errors(); len(errs) > 0 {
		return nil, errs
	}
	return src.lesson, nil
}

func lessonIDs(fsys fs.FS) []string {
	files, _ := fs.Glob(fsys, "*/lesson.yaml")
	for i := range files {
		files[i] = path.Dir(files[i])
	}
	return files
}

// LoadWorld returns a world that comes with the program.
func LoadWorld(name string) (op.World, error) { return loadWorld(Content(), name) }

// Worlds lists the worlds that come with the program.
func Worlds() []string { return worldNames(Content()) }

func worldNames(fsys fs.FS) []string {
	files, _ := fs.Glob(fsys, "worlds/*.yaml")
	for i := range files {
		files[i] = strings.TrimSuffix(path.Base(files[i]), ".yaml")
	}
	return files
}

// source is a lesson with what the linter needs to know of where it came from.
type source struct {
	lesson   *Lesson
	prose    map[string]*prose
	yaml     string // the name of lesson.yaml
	problems Problems
	steps    []placed[stepFile]
}

// The form of lesson.yaml.
type lessonFile struct {
	World placed[string]     `yaml:"world"`
	Steps []placed[stepFile] `yaml:"steps"`
}

type stepFile struct {
	ID      placed[string]       `yaml:"id"`
	Run     placed[string]       `yaml:"run"`
	Fails   placed[[]int]        `yaml:"fails"` // the commands that are meant to fail, from 1
	Focus   *placed[focusFile]   `yaml:"focus"`
	Predict *placed[predictFile] `yaml:"predict"`
	Checks  []placed[Check]      `yaml:"checks"`
}

type focusFile struct {
	Tab     string `yaml:"tab"`
	Command int    `yaml:"command"` // from 1; 0 for none
	Node    string `yaml:"node"`
}

type predictFile struct {
	Options []placed[optionFile] `yaml:"options"`
	Answer  placed[Selector]     `yaml:"answer"`
}

type optionFile struct {
	ID    string `yaml:"id"`
	Value string `yaml:"value"`
}

// placed is a value of a YAML file that remembers its node.
type placed[T any] struct {
	v    T
	node ast.Node
}

func (p *placed[T]) UnmarshalYAML(node ast.Node) error {
	p.node = node
	return yaml.NodeToValue(node, &p.v, yaml.Strict())
}

// tabs are the drawer's tabs that a step may open.
var tabs = []string{"journey", "packets", "iptables", "conntrack", "neighbours", "commands"}

func readLesson(fsys fs.FS, id string) *source {
	src := &source{lesson: &Lesson{ID: id, Title: Text{}, Intro: map[string][]Doc{}}, prose: map[string]*prose{}, yaml: path.Join(id, "lesson.yaml")}
	defer func() { src.problems.sort() }()
	data, err := fs.ReadFile(fsys, src.yaml)
	if err != nil {
		src.problems = append(src.problems, Problem{File: src.yaml, Line: 1, Col: 1, Text: err.Error()})
		return src
	}
	var file lessonFile
	if !readYAML(src.yaml, data, &file, &src.problems) {
		return src
	}
	src.steps = file.Steps
	src.world(fsys, file.World)
	for i := range file.Steps {
		src.step(&file.Steps[i], data)
	}
	if len(file.Steps) == 0 {
		src.problems = append(src.problems, Problem{File: src.yaml, Line: 1, Col: 1, Text: "expected steps"})
	}
	for _, lang := range Languages {
		src.language(fsys, lang)
	}
	return src
}

// readYAML reads a YAML file into v; what is wrong with it becomes a problem
// with its place.
func readYAML(name string, data []byte, v any, problems *Problems) bool {
	f, err := parser.ParseBytes(data, 0)
	if err == nil {
		if len(f.Docs) != 1 || f.Docs[0].Body == nil {
			*problems = append(*problems, Problem{File: name, Line: 1, Col: 1, Text: "expected one YAML document"})
			return false
		}
		err = yaml.NodeToValue(f.Docs[0].Body, v, yaml.Strict())
	}
	if err == nil {
		return true
	}
	p := Problem{File: name, Line: 1, Col: 1, Text: err.Error()}
	var ye yaml.Error
	if errors.As(err, &ye) {
		p.Text = inWords(ye)
		p.Line, p.Col = position(ye.GetToken())
	}
	*problems = append(*problems, p)
	return false
}

// inWords says what a YAML error expected.
func inWords(err yaml.Error) string {
	kind := func(k reflect.Kind) string {
		switch k {
		case reflect.String:
			return "a text"
		case reflect.Bool:
			return "true or false"
		case reflect.Slice:
			return "a list"
		case reflect.Struct, reflect.Map, reflect.Pointer:
			return "keys and values"
		}
		return "a number"
	}
	var wrongType *yaml.TypeError
	var wrongNode *yaml.UnexpectedNodeTypeError
	switch {
	case errors.As(err, &wrongType):
		return fmt.Sprintf("expected %s, not %s", kind(wrongType.DstType.Kind()), kind(wrongType.SrcType.Kind()))
	case errors.As(err, &wrongNode):
		return fmt.Sprintf("expected a %s, not a %s", strings.ToLower(wrongNode.Expected.String()), strings.ToLower(wrongNode.Actual.String()))
	}
	return strings.Replace(err.GetMessage(), "unknown field", "expected another key here, not", 1)
}

func position(t *token.Token) (line, col int) {
	if t == nil || t.Position == nil {
		return 1, 1
	}
	return t.Position.Line, t.Position.Column
}

// wrongs collects what is wrong with one mapping of a YAML file.
type wrongs struct {
	file     string
	node     ast.Node
	problems *Problems
}

// at reports a problem at the value of key, or at the mapping if it has no such key.
func (w *wrongs) at(key, format string, args ...any) {
	line, col := position(startToken(w.under(key).node))
	*w.problems = append(*w.problems, Problem{File: w.file, Line: line, Col: col, Text: fmt.Sprintf(format, args...)})
}

// need reports keys that are not set.
func (w *wrongs) need(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			w.at(pairs[i], "expected %s", pairs[i])
		}
	}
}

// under returns the same for the value of a key.
func (w *wrongs) under(key string) *wrongs {
	for _, kv := range entries(w.node) {
		if kv.Key.String() == key {
			return &wrongs{w.file, kv.Value, w.problems}
		}
	}
	return w
}

// item returns the same for an element of a list.
func (w *wrongs) item(i int) *wrongs {
	if s, ok := w.node.(*ast.SequenceNode); ok && i < len(s.Values) {
		return &wrongs{w.file, s.Values[i], w.problems}
	}
	return w
}

// length is how many elements a list has.
func (w *wrongs) length() int {
	if s, ok := w.node.(*ast.SequenceNode); ok {
		return len(s.Values)
	}
	return 0
}

func entries(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

// startToken returns the token a node begins with: a mapping's own token is a
// colon or a brace somewhere in it.
func startToken(n ast.Node) *token.Token {
	if n == nil {
		return nil
	}
	if m, ok := n.(*ast.MappingNode); ok && m.IsFlowStyle {
		return m.GetToken()
	}
	if e := entries(n); len(e) > 0 {
		return e[0].Key.GetToken()
	}
	return n.GetToken()
}

func (src *source) wrongs(n ast.Node) *wrongs { return &wrongs{src.yaml, n, &src.problems} }

func (src *source) world(fsys fs.FS, name placed[string]) {
	w := src.wrongs(name.node)
	if name.v == "" {
		w.at("", "expected world: the name of a world (%s)", strings.Join(Worlds(), ", "))
		return
	}
	from := fsys
	if !slices.Contains(worldNames(fsys), name.v) {
		from = Content()
	}
	world, err := loadWorld(from, name.v)
	var inFile Problems
	switch {
	case errors.As(err, &inFile):
		src.problems = append(src.problems, inFile...)
	case err != nil:
		w.at("", "%s", err)
	}
	src.lesson.World, src.lesson.Start = name.v, world
}

func (src *source) step(file *placed[stepFile], data []byte) {
	w := src.wrongs(file.node)
	f := file.v
	s := Step{ID: f.ID.v, Title: Text{}, Prose: map[string][]Doc{}, After: map[string][]Doc{}, Focus: Focus{Tab: "commands", Command: -1}}
	if !isID(s.ID) {
		w.at("id", "expected id: lower-case letters, digits and dashes")
	}
	if _, i := src.lesson.Step(s.ID); i >= 0 {
		w.at("id", "step %s is there twice", s.ID)
	}
	if strings.TrimSpace(f.Run.v) == "" {
		w.at("run", "expected run: the commands, one a line: node# command")
	} else {
		lines, err := readTranscript(src.yaml, data, f.Run)
		src.addError(w, "run", err)
		s.Commands = lines
	}
	for _, n := range f.Fails.v {
		if n < 1 || n > len(s.Commands) {
			w.at("fails", "expected numbers of the step's %d commands", len(s.Commands))
			continue
		}
		s.Fails = append(s.Fails, n-1)
	}
	if f.Focus != nil {
		fw := src.wrongs(f.Focus.node)
		if !slices.Contains(tabs, f.Focus.v.Tab) {
			fw.at("tab", "expected tab: one of %s", strings.Join(tabs, ", "))
		}
		if c := f.Focus.v.Command; c < 0 || c > len(s.Commands) {
			fw.at("command", "expected the number of one of the step's %d commands", len(s.Commands))
		}
		s.Focus = Focus{f.Focus.v.Tab, f.Focus.v.Command - 1, f.Focus.v.Node}
	}
	for _, c := range f.Checks {
		cw := src.wrongs(c.node)
		k := c.v.kind()
		if k == nil {
			cw.at("", "expected exactly one kind of check")
			continue
		}
		k.wrong(cw.only())
		s.Checks = append(s.Checks, c.v)
	}
	if f.Predict != nil {
		s.Predict = src.predict(f.Predict)
	}
	src.lesson.Steps = append(src.lesson.Steps, s)
}

// only returns the same for the value of a mapping's only key.
func (w *wrongs) only() *wrongs {
	if e := entries(w.node); len(e) == 1 {
		return &wrongs{w.file, e[0].Value, w.problems}
	}
	return w
}

func (src *source) predict(file *placed[predictFile]) *Predict {
	w := src.wrongs(file.node)
	p := &Predict{Question: Text{}, Answer: file.v.Answer.v}
	if len(file.v.Options) < 2 {
		w.at("options", "expected at least two options")
	}
	ids, values := map[string]bool{}, map[string]bool{}
	for _, o := range file.v.Options {
		ow := src.wrongs(o.node)
		switch {
		case !isID(o.v.ID):
			ow.at("id", "expected id: lower-case letters, digits and dashes")
		case ids[o.v.ID]:
			ow.at("id", "option %s is there twice", o.v.ID)
		case o.v.Value == "":
			ow.at("value", "expected value: what the capture shows if this option is right")
		case values[o.v.Value]:
			ow.at("value", "two options have the value %q", o.v.Value)
		}
		ids[o.v.ID], values[o.v.Value] = true, true
		p.Options = append(p.Options, Option{ID: o.v.ID, Value: o.v.Value, Label: Text{}, Why: map[string][]Doc{}})
	}
	if file.v.Answer.node == nil {
		w.at("answer", "expected answer: where the capture holds the answer")
	} else {
		p.Answer.wrong(src.wrongs(file.v.Answer.node))
	}
	return p
}

// addError adds an error that another part reported, with its own place if it
// has one.
func (src *source) addError(w *wrongs, key string, err error) {
	if err == nil {
		return
	}
	var ps Problems
	if errors.As(err, &ps) {
		src.problems = append(src.problems, ps...)
		return
	}
	if p, rest, ok := splitPlace(err.Error()); ok {
		p.Text = strings.TrimLeft(rest, ": ")
		src.problems = append(src.problems, p)
		return
	}
	w.at(key, "%s", err)
}

var place = regexp.MustCompile(`^([^:\n]*):(\d+):(\d+)`)

// splitPlace takes file:line:col from the beginning of a text.
func splitPlace(s string) (p Problem, rest string, ok bool) {
	m := place.FindStringSubmatch(s)
	if m == nil {
		return p, s, false
	}
	p.File = m[1]
	p.Line, _ = strconv.Atoi(m[2])
	p.Col, _ = strconv.Atoi(m[3])
	return p, s[len(m[0]):], true
}

// readTranscript parses a transcript inside a YAML file; its places are those
// of the file.
func readTranscript(name string, data []byte, t placed[string]) ([]Line, error) {
	line, col := position(t.node.GetToken())
	if lit, ok := t.node.(*ast.LiteralNode); ok {
		line, col = position(lit.Start)
		line++ // the text begins below the bar, as far to the right as its first line does
		for _, row := range strings.Split(string(data), "\n")[line-1:] {
			if text := strings.TrimLeft(row, " "); text != "" {
				col = 1 + len(row) - len(text)
				break
			}
		}
	}
	lines, err := ParseTranscript(name, strings.Repeat("\n", line-1)+t.v)
	for i := range lines {
		lines[i].Pos = shift(lines[i].Pos, col-1)
	}
	if err != nil {
		return lines, errors.New(shift(err.Error(), col-1))
	}
	return lines, nil
}

// shift adds to the column of a text that begins with file:line:col.
func shift(s string, by int) string {
	p, rest, ok := splitPlace(s)
	if !ok {
		return s
	}
	return fmt.Sprintf("%s:%d:%d%s", p.File, p.Line, p.Col+by, rest)
}

// language reads the prose in one language into the lesson.
func (src *source) language(fsys fs.FS, lang string) {
	l := src.lesson
	name := path.Join(l.ID, lang+".md")
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		src.problems = append(src.problems, Problem{File: name, Line: 1, Col: 1, Text: "expected the lesson's prose in this file: " + err.Error()})
		return
	}
	p := readProse(name, data, &src.problems)
	src.prose[lang] = p
	wrong := func(at [2]int, format string, args ...any) {
		src.problems = append(src.problems, Problem{File: name, Line: at[0], Col: at[1], Text: fmt.Sprintf(format, args...)})
	}
	l.Title[lang], l.Intro[lang] = p.title, p.intro
	at := p.ends // where a missing step would be expected
	k := 0
	for i := range l.Steps {
		s := &l.Steps[i]
		j := slices.IndexFunc(p.steps, func(t *proseStep) bool { return t.id == s.ID })
		if j < 0 {
			if k < len(p.steps) {
				at = p.steps[k].at
			}
			wrong(at, "expected step %s: ## %s: Title", s.ID, s.ID)
			continue
		}
		if j < k {
			wrong(p.steps[j].at, "step %s is out of order", s.ID)
		}
		k = j + 1
		t := p.steps[j]
		s.Title[lang], s.Prose[lang], s.After[lang] = t.title, t.prose, t.after
		if len(t.prose) == 0 {
			wrong(t.at, "expected prose below the title of step %s", s.ID)
		}
		if !t.hasAfter || len(t.after) == 0 {
			wrong(t.at, "expected an explanation in step %s, below ### after", s.ID)
		}
		readQuestion(s, t, lang, wrong)
	}
	for _, t := range p.steps {
		if _, i := l.Step(t.id); i < 0 {
			wrong(t.at, "lesson.yaml has no step %q", t.id)
		}
	}
}

func readQuestion(s *Step, t *proseStep, lang string, wrong func([2]int, string, ...any)) {
	switch {
	case s.Predict == nil && t.question != "":
		wrong(t.predictAt, "lesson.yaml has no predict in step %s", s.ID)
		return
	case s.Predict == nil:
		return
	case t.question == "":
		wrong(t.at, "expected ### predict: the question that step %s asks", s.ID)
		return
	}
	s.Predict.Question[lang] = t.question
	for i := range s.Predict.Options {
		o := &s.Predict.Options[i]
		j := slices.IndexFunc(t.options, func(p *proseOption) bool { return p.id == o.ID })
		if j < 0 {
			wrong(t.predictAt, "expected option %s: #### %s: label", o.ID, o.ID)
			continue
		}
		o.Label[lang], o.Why[lang] = t.options[j].label, t.options[j].why
		if len(o.Why[lang]) == 0 {
			wrong(t.options[j].at, "expected why below option %s: what it overlooks, or why it is right", o.ID)
		}
	}
	for _, p := range t.options {
		if !slices.ContainsFunc(s.Predict.Options, func(o Option) bool { return o.ID == p.id }) {
			wrong(p.at, "lesson.yaml has no option %q in step %s", p.id, s.ID)
		}
	}
}
