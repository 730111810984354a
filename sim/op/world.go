package op

import "vethlab/sim/state"

// World is a starting topology: the nodes, and the operations that furnish them.
type World struct {
	Name  string
	Nodes []NodeSpec
	Setup []Line
}

// NodeSpec is a node a world begins with.
type NodeSpec struct {
	Name string
	Kind state.Kind
}

// Line is an operation and the node it is for.
type Line struct {
	Node string
	Op   Op
}
