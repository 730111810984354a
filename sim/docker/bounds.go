package docker

// What a daemon keeps of containers and networks is kept by the process that
// serves everybody's labs, and goes into every snapshot: it is bounded.

// maxKept is how many bytes that may be: some 2,000 containers that were made by
// short lines.
const maxKept = 2 << 20

// size is what the command line takes that makes a container or a network.
func (c *call) size() (n int) {
	for _, w := range c.argv {
		n += len(w)
	}
	return n
}

// kept is about how many bytes a daemon keeps.
func (d *Daemon) kept() (n int) {
	for _, ct := range d.Containers {
		n += 1024 + ct.Size
		for _, ep := range ct.Endpoints {
			n += 256
			for _, alias := range ep.Aliases {
				n += len(alias)
			}
		}
	}
	for _, net := range d.Networks {
		n += 512 + net.Size
	}
	return n
}

// room refuses what would have to be kept where there is no room for it.
func (c *call) room() error {
	if c.d.kept()+c.size() > maxKept {
		return refuse(System, "not simulated: more containers and networks than there is room for; docker rm or docker network rm makes room")
	}
	return nil
}
