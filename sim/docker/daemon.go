package docker

import "vethlab/sim/op"

var _ op.Op = op.Tool{}

// dockerd is the command dockerd.
func (c *call) dockerd() (int, error) { return c.todo() }

// service is systemctl … docker, and service docker ….
func (c *call) service() (int, error) { return c.todo() }

func (c *call) todo() (int, error) {
	c.errs.WriteString("not simulated: " + c.argv[0] + "\n")
	return 95, nil
}
