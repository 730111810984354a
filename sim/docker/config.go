package docker

// Config is what dockerd was told: by flags, and by /etc/docker/daemon.json.
type Config struct{}
