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
var groups = map[string]string{"container": "Manage containers", "network": "Manage networks", "swarm": "Manage Swarm", "node": "Manage Swarm nodes"}

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
	switch {
	case name == "network" && path == "docker":
		return c.network(args[1:])
	case name == "swarm" && path == "docker":
		return c.grouped("docker swarm", groups[name], swarmCommands, args[1:])
	case name == "node" && path == "docker":
		return c.grouped("docker node", groups[name], nodeCommands, args[1:])
	case name == "container" && path == "docker":
		if len(args) == 1 || args[1] == "--help" {
			fmt.Fprint(&c.out, group(path+" "+name, groups[name]))
			return 0, nil
		}
		switch args[1] {
		case "ls", "list":
			args[1] = "ps"
		}
		if commands[args[1]] == nil || args[1] == "version" {
			if slices.Contains(elsewhere, args[1]) || args[1] == "prune" {
				return c.elsewhere("docker container " + args[1])
			}
			fmt.Fprint(&c.errs, group(path+" "+name, groups[name]))
			return 1, nil
		}
		return commands[args[1]](c, "docker container "+args[1], args[2:])
	case commands[name] != nil:
		return commands[name](c, path+" "+name, args[1:])
	case slices.Contains(elsewhere, name):
		return c.elsewhere("docker " + name)
	}
	fmt.Fprintf(&c.errs, "docker: '%s' is not a docker command.\nSee 'docker --help'\n", name)
	return 1, nil
}

// group is the usage of a command that only has commands of its own.
func group(path, short string) string {
	return fmt.Sprintf("\nUsage:  %s COMMAND\n\n%s\n\nRun '%s COMMAND --help' for more information on a command.\n", path, short, path)
}

func (c *call) list() string {
	names := []string{"container", "network", "swarm", "node"}
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
// was done is printed, what was not is said at the end.
func (c *call) each(args []string, do func(string) error) (int, error) {
	var wrong []string
	for _, a := range args {
		err := do(a)
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
