package docker

// Swarm is the machine's part in a swarm.
type Swarm struct{}
