package lessons

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/shell"

	"vethlab/sim/cmdline"
	"vethlab/sim/op"
	"vethlab/sim/state"
)

// The form of a world's file: its nodes, and the commands that furnish them.
type worldFile struct {
	Nodes []placed[nodeFile] `yaml:"nodes"`
	Setup placed[string]     `yaml:"setup"`
}

type nodeFile struct {
	Name string     `yaml:"name"`
	Kind state.Kind `yaml:"kind"`
}

func loadWorld(fsys fs.FS, name string) (op.World, error) {
	if !slices.Contains(worldNames(fsys), name) {
		return op.World{}, &NotFoundError{"world", name, worldNames(fsys)}
	}
	world := op.World{Name: name}
	file := path.Join("worlds", name+".yaml")
	data, err := fs.ReadFile(fsys, file)
	if err != nil {
		return world, err
	}
	var f worldFile
	src := &source{yaml: file}
	if !readYAML(file, data, &f, &src.problems) {
		return world, src.problems
	}
	var names []string
	for _, n := range f.Nodes {
		w := src.wrongs(n.node)
		if !isID(n.v.Name) || slices.Contains(names, n.v.Name) {
			w.at("name", "expected name: letters, digits and dashes, no name twice")
		}
		if n.v.Kind != state.Machine && n.v.Kind != state.Switch {
			w.at("kind", "expected kind: machine or switch")
		}
		names = append(names, n.v.Name)
		world.Nodes = append(world.Nodes, op.NodeSpec{Name: n.v.Name, Kind: n.v.Kind})
	}
	if len(names) == 0 {
		src.problems = append(src.problems, Problem{File: file, Line: 1, Col: 1, Text: "expected nodes"})
	}
	if strings.TrimSpace(f.Setup.v) != "" {
		w := src.wrongs(f.Setup.node)
		lines, err := readTranscript(file, data, f.Setup)
		src.addError(w, "", err)
		for _, l := range lines {
			o, err := setupOp(l, names)
			if err != nil {
				src.addError(w, "", fmt.Errorf("%s: %w", l.Pos, err))
				continue
			}
			world.Setup = append(world.Setup, o)
		}
	}
	if len(src.problems) > 0 {
		src.problems.sort()
		return world, src.problems
	}
	return world, nil
}

// setupOp turns a line of a world's setup into an operation. Such a line is one
// plain command: a world is made before there is a shell.
func setupOp(l Line, nodes []string) (op.Line, error) {
	argv, err := shell.Fields(strings.TrimSuffix(strings.TrimSpace(l.Text), "&"), func(string) string { return "" })
	if err != nil {
		return op.Line{}, err
	}
	c, err := cmdline.Parse(argv)
	if err != nil {
		return op.Line{}, err
	}
	if c.Node != "" {
		l.Node = c.Node
	}
	if !slices.Contains(nodes, l.Node) {
		return op.Line{}, fmt.Errorf("expected one of the world's nodes (%s), not %q", strings.Join(nodes, ", "), l.Node)
	}
	return op.Line{Node: l.Node, Op: c.Op}, nil
}
