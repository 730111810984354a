package lessons

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected problems in testdata/problems")

func TestContent(t *testing.T) {
	found, n := Lint(Content())
	if n == 0 {
		t.Fatal("no lessons")
	}
	for _, p := range found {
		t.Error(p)
	}
	for _, name := range Worlds() {
		if _, err := LoadWorld(name); err != nil {
			t.Errorf("world %s:\n%s", name, err)
		}
	}
}

// TestProblems holds what is wrong with each lesson of testdata/problems
// against what its "want" says. A case has only the files that differ from
// those of good.txtar; an empty file is one that is missing.
func TestProblems(t *testing.T) {
	good := readArchive(t, "testdata/good.txtar")
	if found, _ := Lint(good); len(found) > 0 {
		t.Fatalf("good.txtar:\n%s", found.Error())
	}
	files, err := filepath.Glob("testdata/problems/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			fsys := readArchive(t, "testdata/good.txtar")
			for name, f := range readArchive(t, file) {
				fsys[name] = f
				if len(f.Data) == 0 {
					delete(fsys, name)
				}
			}
			want := ""
			if f := fsys["want"]; f != nil {
				want = string(f.Data)
			}
			found, _ := Lint(fsys)
			got := found.Error() + "\n"
			if _, err := LoadFS(fsys, "tiny"); (err == nil) != (len(readLesson(fsys, "tiny").problems.Errors()) == 0) {
				t.Errorf("LoadFS: %v", err)
			}
			if got == want {
				return
			}
			if !*update {
				t.Fatalf("got\n%swant\n%s", got, want)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			a := txtar.Parse(data)
			for i := range a.Files {
				if a.Files[i].Name == "want" {
					a.Files = append(a.Files[:i], a.Files[i+1:]...)
					break
				}
			}
			a.Files = append(a.Files, txtar.File{Name: "want", Data: []byte(got)})
			if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func readArchive(t *testing.T, file string) fstest.MapFS {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for _, f := range txtar.Parse(data).Files {
		fsys[f.Name] = &fstest.MapFile{Data: f.Data, Mode: fs.FileMode(0o644)}
	}
	return fsys
}

func TestLoaded(t *testing.T) {
	l, err := LoadFS(readArchive(t, "testdata/good.txtar"), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	if l.World != "pair" || len(l.Start.Nodes) != 2 || len(l.Start.Setup) != 4 {
		t.Errorf("world %s: %+v", l.World, l.Start)
	}
	s := l.Steps[0]
	if got, want := s.Commands[0].Pos, "tiny/lesson.yaml:6:13"; got != want {
		t.Errorf("the first command is at %s, not %s", got, want)
	}
	if got, want := s.Focus, (Focus{Tab: "commands", Command: 0, Node: "left"}); got != want {
		t.Errorf("focus %+v, not %+v", got, want)
	}
	want := []Doc{
		{T: "p", C: []Doc{{T: "text", S: "Type "}, {T: "code", S: "ip netns add ns1"}, {T: "text", S: ". See "},
			{T: "strong", C: []Doc{{T: "text", S: "this"}}}, {T: "text", S: ":"}}},
		{T: "ul", C: []Doc{{T: "li", C: []Doc{{T: "text", S: "one"}}}, {T: "li", C: []Doc{{T: "text", S: "two"}}}}},
	}
	if got := s.Prose["en"]; !reflect.DeepEqual(got, want) {
		t.Errorf("prose:\n%+v, not\n%+v", got, want)
	}
	p := l.Steps[1].Predict
	if p.Question["zh-TW"] != "到哪裡？" || p.Options[1].Label["zh-CN"] != "那里" || p.Options[1].Value != "right" {
		t.Errorf("prediction %+v", p)
	}
	if _, err := LoadFS(fstest.MapFS{}, "tiny"); err == nil || err.Error() != `there is no lesson "tiny", nor any other` {
		t.Errorf("a lesson that is not there: %v", err)
	}
}

func TestProseLineBreaks(t *testing.T) {
	var ps Problems
	p := readProse("x.md", []byte("# T\n\none\ntwo `a`\n三\n四 &amp; \\*五\n"), &ps)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	want := []Doc{{T: "p", C: []Doc{{T: "text", S: "one two "}, {T: "code", S: "a"}, {T: "text", S: " 三四 & *五"}}}}
	if !reflect.DeepEqual(p.intro, want) {
		t.Errorf("%+v, not %+v", p.intro, want)
	}
}
