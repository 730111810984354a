package docker

import "encoding/json"

// docker … --explain: the operations as lines to be typed by hand, and nothing
// done. Random names are chosen as usual; a process's number is $pid.

// copy is a daemon in the same state, to try something on.
func (d *Daemon) copy() (*Daemon, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	other := new(Daemon)
	return other, json.Unmarshal(b, other)
}

// explained runs a command of ours on a copy of the daemon, without doing
// anything in the lab, and prints its operations.
func (c *call) explained(run func(*call) (int, error)) (int, error) {
	d, err := c.d.copy()
	if err != nil {
		return 1, lost{err}
	}
	e := &call{ctx: c.ctx, engine: c.engine, node: c.node, d: d, argv: c.argv, stdin: c.stdin, explain: true}
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
