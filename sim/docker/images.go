package docker

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// Images are only names here: what runs in a container follows from its image's
// name, or from its command line. A web image runs the built-in web server, all
// others a sleeper.

// webImages are the ports of the images that serve pages, by the image's name
// without registry and tag.
var webImages = map[string]uint16{
	"nginx": 80, "httpd": 80, "caddy": 80, "traefik/whoami": 80, "containous/whoami": 80, "nginxdemos/hello": 80, "nginxinc/nginx-unprivileged": 8080,
	"kennethreitz/httpbin": 80, "crccheck/hello-world": 8000, "training/webapp": 5000, "tomcat": 8080, "jenkins/jenkins": 8080, "wordpress": 80,
	"php": 80, "apache": 80,
}

// exposed are ports that other images declare, and on which nothing listens here.
var exposed = map[string][]Port{
	"redis": {{"tcp", 6379}}, "mysql": {{"tcp", 3306}, {"tcp", 33060}}, "postgres": {{"tcp", 5432}}, "mongo": {{"tcp", 27017}}, "memcached": {{"tcp", 11211}},
}

// imageName is an image without registry, "library/", tag and digest.
func imageName(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	first, rest, has := strings.Cut(name, "/")
	if has && strings.ContainsAny(first, ".:") {
		name = rest
	}
	return strings.TrimPrefix(name, "library/")
}

// imagePorts are the ports that an image declares (EXPOSE).
func imagePorts(image string) []Port {
	name := imageName(image)
	if p, ok := webImages[name]; ok {
		return []Port{{"tcp", p}}
	}
	return slices.Clone(exposed[name])
}

// imageCommand is what `docker ps` shows for a container without a command.
func imageCommand(image string) []string {
	switch imageName(image) {
	case "nginx":
		return []string{"/docker-entrypoint.sh", "nginx", "-g", "daemon off;"}
	case "httpd":
		return []string{"httpd-foreground"}
	case "training/webapp":
		return []string{"python", "app.py"}
	case "busybox":
		return []string{"sh"}
	case "alpine":
		return []string{"/bin/sh"}
	case "ubuntu", "debian", "centos", "fedora":
		return []string{"/bin/bash"}
	case "redis":
		return []string{"docker-entrypoint.sh", "redis-server"}
	}
	return []string{"sh"}
}

// process is what runs in a container: one of the programs that this lab has.
func process(image string, command []string) []string {
	server := func(port uint16) []string {
		return []string{"python3", "-m", "http.server", strconv.Itoa(int(port))}
	}
	if len(command) > 0 {
		switch path.Base(command[0]) {
		case "sleep":
			if len(command) == 2 && strings.Trim(command[1], "0123456789.") == "" && command[1] != "" {
				return []string{"sleep", command[1]}
			}
		case "httpd": // busybox's
			port := uint16(80)
			for i, a := range command {
				v, ok := strings.CutPrefix(a, "-p")
				if ok && v == "" && i+1 < len(command) {
					v = command[i+1]
				}
				if ok {
					v = v[strings.LastIndexByte(v, ':')+1:]
					if k, err := strconv.ParseUint(v, 10, 16); err == nil && k > 0 {
						port = uint16(k)
					}
				}
			}
			return server(port)
		case "python", "python3", "python2":
			if len(command) >= 3 && command[1] == "-m" && (command[2] == "http.server" || command[2] == "SimpleHTTPServer") {
				port := uint16(8000)
				if len(command) > 3 {
					if k, err := strconv.ParseUint(command[3], 10, 16); err == nil && k > 0 {
						port = uint16(k)
					}
				}
				return server(port)
			}
			if imageName(image) == "training/webapp" {
				return server(5000)
			}
		case "nginx", "docker-entrypoint.sh", "httpd-foreground", "apache2-foreground":
			if p, ok := webImages[imageName(image)]; ok {
				return server(p)
			}
		}
		return []string{"sleep", "infinity"}
	}
	if p, ok := webImages[imageName(image)]; ok {
		return server(p)
	}
	return []string{"sleep", "infinity"}
}
