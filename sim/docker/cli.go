package docker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The docker command line: which command is meant, and what all commands share.

// command is one of docker's.
type command func(c *call, path string, args []string) (int, error)

// commands are those of a machine without images or volumes. The same command
// goes by two names: docker run and docker container run.
var commands map[string]command

func init() { // not a literal: some of them look commands up
	commands = map[string]command{
		"run": (*call).cliRun, "create": (*call).cliCreate, "start": (*call).cliStart, "stop": (*call).cliStop, "kill": (*call).cliKill,
		"restart": (*call).cliRestart, "rm": (*call).cliRemove, "ps": (*call).cliList, "port": (*call).cliPort, "exec": (*call).cliExec,
		"inspect": (*call).cliInspect, "rename": (*call).cliRename, "version": (*call).cliVersion,
	}
}

// elsewhere are commands of docker's that work on what is not here: images, a
// container's files and output.
var elsewhere = strings.Fields(`attach build builder commit config context cp diff events export history image images import info load login logout
	logs manifest pause plugin pull push rmi save search secret service stack stats system tag top trust unpause update volume wait`)

// groups are commands that only have commands of their own.
var groups = []struct {
	name, short string
	commands    func() []subcommand
}{
	{"container", "Manage containers", containerCommands},
	{"network", "Manage networks", func() []subcommand { return networkCommands }},
	{"swarm", "Manage Swarm", func() []subcommand { return swarmCommands }},
	{"node", "Manage Swarm nodes", func() []subcommand { return nodeCommands }},
}

// containerCommands are those of docker container: docker's own, by another name.
func containerCommands() []subcommand {
	all := []subcommand{
		{name: "attach", short: "Attach local standard input, output, and error streams to a running container"},
		{name: "commit", short: "Create a new image from a container's changes"},
		{name: "cp", short: "Copy files/folders between a container and the local filesystem"},
		{name: "create", short: "Create a new container"},
		{name: "diff", short: "Inspect changes to files or directories on a container's filesystem"},
		{name: "exec", short: "Run a command in a running container"},
		{name: "export", short: "Export a container's filesystem as a tar archive"},
		{name: "inspect", short: "Display detailed information on one or more containers"},
		{name: "kill", short: "Kill one or more running containers"},
		{name: "logs", short: "Fetch the logs of a container"},
		{name: "ls", short: "List containers", run: commands["ps"]},
		{name: "pause", short: "Pause all processes within one or more containers"},
		{name: "port", short: "List port mappings or a specific mapping for the container"},
		{name: "prune", short: "Remove all stopped containers"},
		{name: "rename", short: "Rename a container"},
		{name: "restart", short: "Restart one or more containers"},
		{name: "rm", short: "Remove one or more containers"},
		{name: "run", short: "Run a command in a new container"},
		{name: "start", short: "Start one or more stopped containers"},
		{name: "stats", short: "Display a live stream of container(s) resource usage statistics"},
		{name: "stop", short: "Stop one or more running containers"},
		{name: "top", short: "Display the running processes of a container"},
		{name: "unpause", short: "Unpause all processes within one or more containers"},
		{name: "update", short: "Update configuration of one or more containers"},
		{name: "wait", short: "Block until one or more containers stop, then print their exit codes"},
	}
	for i := range all {
		if all[i].run == nil {
			all[i].run = commands[all[i].name]
		}
	}
	return all
}

// docker is the command docker.
func (c *call) docker() (int, error) {
	global := newFlags("docker", "[OPTIONS] COMMAND", "A self-sufficient runtime for containers", 0, -1)
	global.strict = true
	host := global.list("host", "H")
	version := global.boolean("version", "v")
	global.boolean("debug", "D")
	global.text("log-level", "l")
	args, status, done := c.parse(global, c.argv[1:])
	switch {
	case done:
		return status, nil
	case version.on():
		fmt.Fprintln(&c.out, "Docker version "+clientVersion+", build 297e128")
		return 0, nil
	case len(args) == 0:
		c.out.WriteString(global.help() + c.list())
		return 0, nil
	case len(host.list) > 0 && !slices.Contains([]string{"unix:///var/run/docker.sock", "unix:///run/docker.sock"}, host.list[0]):
		fmt.Fprintf(&c.errs, "Cannot connect to the Docker daemon at %s. Is the docker daemon running?\n", host.list[0])
		return 1, nil
	}
	return c.subcommand("docker", args)
}

func (c *call) subcommand(path string, args []string) (int, error) {
	name := args[0]
	for _, g := range groups {
		if g.name == name {
			return c.grouped(path+" "+name, g.short, g.commands(), args[1:])
		}
	}
	switch {
	case commands[name] != nil:
		return commands[name](c, path+" "+name, args[1:])
	case slices.Contains(elsewhere, name):
		return c.elsewhere("docker " + name)
	}
	fmt.Fprintf(&c.errs, "docker: '%s' is not a docker command.\nSee 'docker --help'\n", name)
	return 1, nil
}

// subcommand is a command that belongs to another: docker network create.
type subcommand struct {
	name, short string
	run         command // nil: not here
}

// grouped does one of the commands that a command has.
func (c *call) grouped(path, short string, commands []subcommand, args []string) (int, error) {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch {
	case name == "list", name == "ps" && path == "docker container":
		name = "ls"
	case name == "remove":
		name = "rm"
	case strings.HasPrefix(name, "-") && name != "--help":
		fmt.Fprintf(&c.errs, "unknown flag: %s\nSee '%s --help'.\n", name, path)
		return 125, nil
	}
	width := 11
	for _, cmd := range commands {
		width = max(width, len(cmd.name))
		if cmd.name != name {
			continue
		}
		if cmd.run == nil {
			fmt.Fprintf(&c.errs, "not simulated: %s %s\n", path, name)
			return 95, nil
		}
		return cmd.run(c, path+" "+name, args[1:])
	}
	text := fmt.Sprintf("\nUsage:  %s COMMAND\n\n%s\n\nCommands:\n", path, short)
	for _, cmd := range commands {
		text += fmt.Sprintf("  %-*s %s\n", width, cmd.name, cmd.short)
	}
	text += fmt.Sprintf("\nRun '%s COMMAND --help' for more information on a command.\n", path)
	if name == "--help" {
		c.out.WriteString(text)
		return 0, nil
	}
	c.errs.WriteString(text)
	if name != "" {
		return 1, nil
	}
	return 0, nil
}

func (c *call) list() string {
	var names []string
	for _, g := range groups {
		names = append(names, g.name)
	}
	for name := range commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return "\nCommands here:\n  " + strings.Join(names, "\n  ") + "\n\nRun 'docker COMMAND --help' for more information on a command.\n"
}

// elsewhere says of a command that this Docker does not have it.
func (c *call) elsewhere(what string) (int, error) {
	fmt.Fprintf(&c.errs, "not simulated: %s (a container here is a network namespace, without an image, a file system or output of its own)\n", what)
	return 95, nil
}

// Versions are the reference's.
const clientVersion = "20.10.24+dfsg1"

const noDaemon = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"

// fail says in the client's words what the daemon refused.
func (c *call) fail(err error) (int, error) {
	if l := (lost{}); errors.As(err, &l) {
		return 1, err
	}
	fmt.Fprintln(&c.errs, c.said(err))
	return 1, nil
}

// said is a refusal as the client prints it.
func (c *call) said(err error) string {
	if err == errNoDaemon {
		return noDaemon
	}
	if n, is := err.(noSuchNode); is {
		return n.Error()
	}
	return "Error response from daemon: " + err.Error()
}

var errNoDaemon = errors.New(noDaemon)

// connected reports whether there is a daemon to talk to; where not it says so.
func (c *call) connected() bool {
	if !c.d.Running {
		fmt.Fprintln(&c.errs, noDaemon)
	}
	return c.d.Running
}

func (c *call) cliVersion(path string, args []string) (int, error) {
	if _, st, done := c.parse(newFlags(path, "[OPTIONS]", "Show the Docker version information", 0, 0), args); done {
		return st, nil
	}
	fmt.Fprintf(&c.out, "Client:\n Version:           %s\n API version:       1.41\n", clientVersion)
	if !c.connected() {
		return 1, nil
	}
	fmt.Fprintf(&c.out, "\nServer:\n Engine:\n  Version:          %s\n  API version:      1.41 (minimum version 1.12)\n", clientVersion)
	return 0, nil
}

// each does something with every operand, as docker stop and others do: what
// was done is printed, what was not is said at the end. Without a daemon nothing is.
func (c *call) each(args []string, do func(string) error) (int, error) {
	var wrong []string
	for _, a := range args {
		err := errNoDaemon
		if c.d.Running {
			err = do(a)
		}
		if l := (lost{}); errors.As(err, &l) {
			return 1, err
		}
		if err != nil {
			wrong = append(wrong, c.said(err))
			continue
		}
		fmt.Fprintln(&c.out, a)
	}
	if len(wrong) > 0 {
		fmt.Fprintln(&c.errs, strings.Join(wrong, "\n"))
		return 1, nil
	}
	return 0, nil
}
