package docker

import "encoding/json"

// docker … --explain: the operations as lines to be typed by hand, and nothing
// done. Random names are chosen as usual; a process's number is $pid.

// copy is an engine in the same state, to try something on.
func (e *Engine) copy() (*Engine, error) {
	b, err := json.Marshal(kept{Daemons: e.daemons, Clusters: e.clusters})
	if err != nil {
		return nil, err
	}
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, err
	}
	if k.Clusters == nil {
		k.Clusters = map[string]*Cluster{}
	}
	return &Engine{lab: e.lab, daemons: k.Daemons, clusters: k.Clusters, random: e.random, source: e.source}, nil
}

// explained runs a command of ours on a copy of the daemons, without doing
// anything in the lab, and prints its operations.
func (c *call) explained(run func(*call) (int, error)) (int, error) {
	engine, err := c.engine.copy()
	if err != nil {
		return 1, lost{err}
	}
	e := &call{ctx: c.ctx, engine: engine, node: c.node, d: engine.daemons[c.d.Machine], argv: c.argv, stdin: c.stdin, explain: true}
	status, err := run(e)
	if err != nil || status != 0 && len(e.deeds) == 0 {
		c.out.WriteString(e.out.String())
		c.errs.WriteString(e.errs.String())
		return status, err
	}
	for _, deed := range e.deeds {
		c.out.WriteString(deed.Node + "# " + deed.Text + "\n")
	}
	c.errs.WriteString(e.errs.String())
	return status, nil
}
