package docker

// Swarm is the machine's part in a swarm.
type Swarm struct{}

const noManager = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."

// swarm is docker swarm … and docker node …. There are no swarms yet, and so no
// overlay networks.
func (c *call) swarm() (int, error) {
	c.errs.WriteString("not simulated: docker swarm, docker node\n")
	return 95, nil
}

func (c *call) overlayCreate(*Network) (*Network, error) { return nil, refuse(System, "%s", noManager) }

func (c *call) overlayRemove(*Network) error { return nil }

func (c *call) joinOverlay(*Container, *Network, *Endpoint) error { return nil }

func (c *call) leaveOverlay(*Container, *Network, *Endpoint) error { return nil }
