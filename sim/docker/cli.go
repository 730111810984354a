package docker

// docker is the command docker.
func (c *call) docker() (int, error) { return c.todo() }
