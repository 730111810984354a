package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "vethlab"
	root   = "../.."
)

// arrows say which parts of this repository a part may import, beside itself.
// A part is the longest of these names that a package's path begins with.
var arrows = map[string][]string{
	"cmd":         {"web", "lessons", "sim", "sim/tools", "sim/agree", "sim/docker", "sim/cmdline", "sim/op", "sim/state", "sim/trace", "exec", "assets"},
	"web":         {"lessons", "assets", "sim/cmdline", "sim/op", "sim/state", "sim/trace"},
	"lessons":     {"sim/agree", "sim/cmdline", "sim/op", "sim/state", "sim/trace"},
	"sim":         {"sim/rule", "sim/op", "sim/state", "sim/trace"},
	"sim/rule":    {},
	"sim/agree":   {"sim/op", "sim/state", "sim/trace"},
	"sim/tools":   {"sim", "sim/rule", "sim/cmdline", "sim/op", "sim/state", "sim/trace"},
	"sim/docker":  {"sim/cmdline", "sim/op", "sim/state", "sim/trace"},
	"exec":        {"sim/op", "sim/state", "sim/trace"},
	"sim/cmdline": {"sim/op"},
	"sim/op":      {"sim/state", "sim/trace"},
	"sim/state":   {},
	"sim/trace":   {},
	"assets":      {},
}

// standardOnly are parts that import nothing but the standard library.
var standardOnly = []string{"sim", "sim/rule", "sim/state", "sim/trace", "sim/op", "sim/docker"}

// forbidden reports why the package from, a path in this module, may not
// import the package to; "" if it may.
func forbidden(from, to string) string {
	part := partOf(from)
	if part == "" {
		return "it belongs to no part of the design"
	}
	dir, ours := strings.CutPrefix(to, module+"/")
	if !ours {
		if slices.Contains(standardOnly, part) && strings.Contains(strings.SplitN(to, "/", 2)[0], ".") {
			return part + " uses the standard library only"
		}
		return ""
	}
	if other := partOf(dir); other != part && !slices.Contains(arrows[part], other) {
		return part + " may import only " + strings.Join(arrows[part], ", ")
	}
	return ""
}

func partOf(dir string) string {
	best := ""
	for part := range arrows {
		if (dir == part || strings.HasPrefix(dir, part+"/")) && len(part) > len(best) {
			best = part
		}
	}
	return best
}

// Every file is read, whatever system it is built for. Tests may look across:
// only they see both backends.
func TestImportDirections(t *testing.T) {
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if why := forbidden(filepath.ToSlash(filepath.Dir(rel)), to); why != "" {
				t.Errorf("%s imports %s: %s", rel, to, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Errorf("only %d files were read: is the root of the repository still %s?", files, root)
	}
}

// The rule itself is held against arrows that must and must not be.
func TestForbidden(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		ok       bool
	}{
		{"cmd/vethlab", "vethlab/exec/doctor", true},
		{"cmd/vethlab", "vethlab/sim", true},
		{"web", "vethlab/lessons", true},
		{"web", "vethlab/sim/op", true},
		{"web", "vethlab/exec", false},
		{"web", "vethlab/sim", false},
		{"lessons", "vethlab/lessons/content", true},
		{"lessons", "vethlab/web", false},
		{"lessons", "vethlab/exec", false},
		{"sim", "vethlab/exec", false},
		{"sim", "vethlab/sim/cmdline", false},
		{"sim", "vethlab/sim/rule", true},
		{"sim", "golang.org/x/sys/unix", false},
		{"sim/rule", "vethlab/sim/op", false},
		{"sim/tools", "vethlab/sim", true},
		{"sim/tools", "vethlab/sim/cmdline", true},
		{"sim/tools", "vethlab/lessons", false},
		{"exec", "vethlab/exec/sandbox", true},
		{"exec/capture", "vethlab/sim/trace", true},
		{"exec/capture", "vethlab/sim", false},
		{"exec", "vethlab/sim/cmdline", false},
		{"sim/cmdline", "vethlab/sim/op", true},
		{"sim/cmdline", "vethlab/sim/state", false},
		{"sim/cmdline", "mvdan.cc/sh/v3/syntax", true},
		{"sim/op", "vethlab/sim/state", true},
		{"sim/op", "vethlab/sim/cmdline", false},
		{"sim/state", "net/netip", true},
		{"sim/state", "vethlab/sim/trace", false},
		{"sim/trace", "golang.org/x/sys/unix", false},
		{"assets", "embed", true},
		{"assets", "vethlab/web", false},
		{"tools", "fmt", false},
	} {
		if why := forbidden(tt.from, tt.to); (why == "") != tt.ok {
			t.Errorf("%s imports %s: allowed %v, want %v (%s)", tt.from, tt.to, why == "", tt.ok, why)
		}
	}
}

// The house has these folders and no others.
func TestTopFolders(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"assets", "cmd", "exec", "lessons", "sim", "web"}
	var got []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && e.Name() != "node_modules" {
			got = append(got, e.Name())
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("top folders are %v, want %v", got, want)
	}
}
