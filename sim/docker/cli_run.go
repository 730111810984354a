package docker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
)

// docker run and docker create: the client's flags and what it makes of them
// (docker/cli, cli/command/container/opts.go).

// runFlags are the flags that mean something here; deafFlags are read, and
// change nothing: a container here has no such thing.
type runFlags struct {
	*flagSet
	name, hostname, domainname, ip, mac, restart, entrypoint *flag
	detach, rm, publishAll, interactive, tty                 *flag
	publish, expose, network, alias, link, dns, dnsSearch    *flag
	dnsOption, addHost, env, label, attach                   *flag
}

var deafFlags = map[string]string{
	"add": "cap-add cap-drop device device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops env-file group-add label-file log-opt mount security-opt storage-opt sysctl tmpfs ulimit volumes-from blkio-weight-device",
	"text": "cgroup-parent cgroupns cidfile cpuset-cpus cpuset-mems detach-keys gpus health-cmd ip6 ipc isolation log-driver memory-reservation memory-swap pid platform pull " +
		"runtime shm-size stop-signal userns uts volume-driver cpus kernel-memory blkio-weight cpu-period cpu-quota cpu-rt-period cpu-rt-runtime memory-swappiness oom-score-adj " +
		"pids-limit health-interval health-retries health-start-period health-timeout stop-timeout",
	"bool": "disable-content-trust init no-healthcheck oom-kill-disable privileged read-only sig-proxy",
}

func newRunFlags(path, short string) *runFlags {
	r := &runFlags{flagSet: newFlags(path, "[OPTIONS] IMAGE [COMMAND] [ARG...]", short, 1, -1)}
	r.strict = true
	r.addHost = r.list("add-host", "")
	r.addHost.check = extraHost
	r.attach = r.list("attach", "a")
	r.attach.check = func(v string) (string, error) {
		if s := strings.ToLower(v); s == "stdin" || s == "stdout" || s == "stderr" {
			return s, nil
		}
		return v, errors.New("valid streams are STDIN, STDOUT and STDERR")
	}
	r.dns = r.list("dns", "")
	r.dns.check = func(v string) (string, error) {
		if ip := net.ParseIP(strings.TrimSpace(v)); ip != nil {
			return ip.String(), nil
		}
		return v, fmt.Errorf("%s is not an ip address", v)
	}
	r.dnsOption = r.list("dns-option", "")
	r.dnsSearch = r.list("dns-search", "")
	r.dnsSearch.check = dnsSearch
	r.domainname = r.text("domainname", "")
	r.entrypoint = r.text("entrypoint", "")
	r.env = r.list("env", "e")
	r.expose = r.list("expose", "")
	r.hostname = r.text("hostname", "h")
	r.interactive = r.boolean("interactive", "i")
	r.ip = r.text("ip", "")
	r.label = r.list("label", "l")
	r.link = r.list("link", "")
	r.link.check = linkText
	r.mac = r.text("mac-address", "")
	r.name = r.text("name", "")
	r.network = r.list("network", "")
	r.alias = r.list("network-alias", "")
	r.publish = r.list("publish", "p")
	r.publishAll = r.boolean("publish-all", "P")
	r.restart = r.text("restart", "")
	r.rm = r.boolean("rm", "")
	r.tty = r.boolean("tty", "t")
	for kind, names := range deafFlags {
		for _, name := range strings.Fields(names) {
			r.add(map[string]string{"add": listKind, "text": textKind, "bool": boolKind}[kind], name, "").deaf = true
		}
	}
	for _, f := range []struct{ kind, name, short string }{{listKind, "volume", "v"}, {textKind, "user", "u"}, {textKind, "workdir", "w"}, {textKind, "memory", "m"}, {textKind, "cpu-shares", "c"}} {
		r.add(f.kind, f.name, f.short).deaf = true
	}
	r.named("sig-proxy").value = "true"
	// Older names of the same flags.
	r.same("net", r.network)
	r.same("net-alias", r.alias)
	r.same("dns-opt", r.dnsOption)
	return r
}

// same makes name another name of a flag.
func (f *flagSet) same(name string, of *flag) {
	g := f.add(of.kind, name, "")
	g.deaf = true
	g.check = func(v string) (string, error) {
		return v, of.assign(v)
	}
}

func extraHost(v string) (string, error) { // opts.ValidateExtraHost
	name, ip, ok := strings.Cut(v, ":")
	if !ok || name == "" {
		return v, fmt.Errorf("bad format for add-host: %q", v)
	}
	if ip != "host-gateway" && net.ParseIP(ip) == nil {
		return v, fmt.Errorf("invalid IP address in add-host: %q", ip)
	}
	return v, nil
}

var searchDomain = regexp.MustCompile(`^(:?(:?[a-zA-Z0-9]|(:?[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9]))(:?\.(:?[a-zA-Z0-9]|(:?[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])))*)\.?\s*$`)

func dnsSearch(v string) (string, error) { // opts.ValidateDNSSearch
	v = strings.Trim(v, " ")
	if v == "." {
		return v, nil
	}
	if strings.Trim(v, "0123456789.-") == "" || len(v) >= 255 || !searchDomain.MatchString(v) {
		return v, fmt.Errorf("%s is not a valid searchDomain", v)
	}
	return strings.TrimSpace(v), nil
}

func linkText(v string) (string, error) { // opts.ValidateLink
	parts := strings.Split(v, ":")
	switch {
	case v == "":
		return v, errors.New("empty string specified for links")
	case len(parts) > 2:
		return v, fmt.Errorf("bad format for links: %s", v)
	}
	return v, nil
}

// runSpec is what the client makes of its flags before it asks the daemon
// (parse, opts.go). Its errors are the client's own.
func (r *runFlags) spec(args []string) (*spec, error) {
	s := &spec{name: r.name.value}
	ct := &s.Container
	ct.Image, ct.Command = args[0], args[1:]
	if r.entrypoint.value != "" {
		ct.Command = append([]string{r.entrypoint.value}, ct.Command...)
	}
	ct.Hostname, ct.Domainname = r.hostname.value, r.domainname.value
	exposed, bindings, err := parsePublish(r.publish.list)
	if err != nil {
		return nil, err
	}
	ct.Exposed, ct.Bindings, ct.PublishAll = exposed, bindings, r.publishAll.on()
	for _, e := range r.expose.list {
		ports, err := exposeText(e)
		if err != nil {
			return nil, err
		}
		if len(ct.Exposed)+len(ports) > maxPorts {
			return nil, errManyPorts
		}
		for _, p := range ports {
			if !slices.Contains(ct.Exposed, p) {
				ct.Exposed = append(ct.Exposed, p)
			}
		}
	}
	if ct.Restart, err = restartText(r.restart.value); err != nil {
		return nil, err
	}
	if mac := r.mac.value; mac != "" {
		hw, err := net.ParseMAC(strings.TrimSpace(mac))
		if err != nil {
			return nil, fmt.Errorf("%s is not a valid mac address", mac)
		}
		ct.MAC = hw.String()
	}
	ct.AutoRemove = r.rm.on()
	ct.DNS, ct.DNSSearch, ct.DNSOptions, ct.ExtraHosts = r.dns.list, r.dnsSearch.list, r.dnsOption.list, r.addHost.list
	ct.Env, ct.Labels = r.env.list, r.label.list
	s.links, s.aliases, s.ip = r.link.list, r.alias.list, r.ip.value
	var ours, named bool
	for _, text := range r.network.list {
		name := text
		if strings.Contains(text, "=") { // name=NET,alias=…,ip=…
			name = ""
			for _, kv := range strings.Split(text, ",") {
				k, v, ok := strings.Cut(kv, "=")
				if !ok {
					return nil, fmt.Errorf("invalid field %s", kv)
				}
				switch strings.ToLower(strings.TrimSpace(k)) {
				case "name":
					name = v
				case "alias":
					s.aliases = append(s.aliases, v)
				case "ip":
					s.ip = v
				case "driver-opt":
				default:
					return nil, errors.New("invalid field key " + k)
				}
			}
			if name == "" {
				return nil, errors.New("network name/id is not specified")
			}
		}
		if strings.TrimSpace(name) == "" {
			return nil, errors.New("no name set for network")
		}
		if slices.Contains(s.networks, name) {
			return nil, fmt.Errorf("network %q is specified multiple times", name)
		}
		if userDefined(name) {
			named = true
		} else {
			ours = true
		}
		s.networks = append(s.networks, name)
	}
	if len(s.networks) > 0 {
		ct.NetworkMode = s.networks[0]
		if !userDefined(s.networks[0]) { // parseNetworkAttachmentOpt
			if len(s.aliases) > 0 {
				return nil, errors.New("network-scoped aliases are only supported for user-defined networks")
			}
			if len(s.links) > 0 && !strings.HasPrefix(s.networks[0], "container") {
				return nil, errors.New("links are only supported for user-defined networks")
			}
		}
	}
	if ours && named {
		return nil, errors.New("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
	}
	return s, nil
}

// restartText reads --restart (opts.ParseRestartPolicy).
func restartText(v string) (string, error) {
	_, count, has := strings.Cut(v, ":")
	if has && (count == "" || strings.Trim(count, "0123456789") != "") {
		return "", fmt.Errorf("invalid restart policy format: maximum retry count must be an integer")
	}
	return v, nil // whether there is such a policy the daemon says
}

// parseIPv4 reads --ip.
func parseIPv4(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return netip.Addr{}, refuse(Invalid, "invalid IPv4 address: %s", s)
	}
	return a, nil
}

// image is what the client looks at before the daemon: the reference's form.
var imageForm = regexp.MustCompile(`^(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::[0-9]+)?/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$`)

func imageError(image string) error {
	switch {
	case imageForm.MatchString(image):
		return nil
	case imageForm.MatchString(strings.ToLower(image)):
		return errors.New("invalid reference format: repository name must be lowercase")
	}
	return errors.New("invalid reference format")
}

// prepare reads docker run's or docker create's line and has the daemon create
// the container. over is set when that ended the command.
func (c *call) prepare(r *runFlags, verb string, args []string) (ct *Container, status int, over bool, err error) {
	usage := func(text string) (*Container, int, bool, error) {
		fmt.Fprintf(&c.errs, "docker: %s.\nSee 'docker %s --help'.\n", strings.TrimSuffix(text, "."), verb)
		return nil, 125, true, nil
	}
	s, err := r.spec(args)
	if err != nil {
		return usage(err.Error())
	}
	if r.detach != nil && r.detach.on() && len(r.attach.list) > 0 {
		fmt.Fprintln(&c.errs, "docker: Conflicting options: -a and -d.\nSee 'docker run --help'.")
		return nil, 125, true, nil
	}
	wrong := imageError(s.Image)
	if wrong == nil && !c.d.Running {
		wrong = errNoDaemon
	} else if wrong == nil {
		for _, ip := range s.DNS {
			if a, err := netip.ParseAddr(ip); err == nil && a.IsLoopback() {
				fmt.Fprintf(&c.errs, "WARNING: Localhost DNS setting (--dns=%s) may fail in containers.\n", ip)
				break
			}
		}
		if ct, err = c.create(s); err == nil {
			return ct, 0, false, nil
		}
		if l := (lost{}); errors.As(err, &l) {
			return nil, 1, true, err
		}
		wrong = errors.New(c.said(err))
	}
	if verb == "create" {
		fmt.Fprintln(&c.errs, wrong)
		return nil, 1, true, nil
	}
	return usage(wrong.Error())
}

func (c *call) cliCreate(path string, args []string) (int, error) {
	r := newRunFlags(path, "Create a new container")
	operands, st, done := c.parse(r.flagSet, args)
	if done {
		return st, nil
	}
	ct, st, over, err := c.prepare(r, "create", operands)
	if over {
		return st, err
	}
	fmt.Fprintln(&c.out, ct.ID)
	return 0, nil
}

func (c *call) cliRun(at string, args []string) (int, error) {
	r := newRunFlags(at, "Run a command in a new container")
	r.detach = r.boolean("detach", "d")
	operands, st, done := c.parse(r.flagSet, args)
	if done {
		return st, nil
	}
	// In the foreground a command runs to its end; one that has none would hold
	// the line for ever.
	foreground := !r.detach.on()
	var inside []string
	if foreground && len(operands) > 0 {
		inside = operands[1:]
		if len(inside) == 0 || stays(operands[0], inside) || r.tty.on() && slices.Contains([]string{"sh", "bash", "ash"}, path.Base(inside[0])) && len(inside) == 1 {
			if c.d.Running && imageError(operands[0]) == nil {
				fmt.Fprintln(&c.errs, "not simulated: docker run in the foreground of what does not end by itself; add -d")
				return 95, nil
			}
		}
		operands = append(operands[:1:1], inside...)
	}
	ct, st, over, err := c.prepare(r, "run", operands)
	if over {
		return st, err
	}
	if err := c.start(ct); err != nil {
		if l := (lost{}); errors.As(err, &l) {
			return 125, err
		}
		if !foreground {
			fmt.Fprintln(&c.out, ct.ID)
		}
		fmt.Fprintf(&c.errs, "docker: %s.\n", strings.TrimSuffix(c.said(err), "."))
		code := 125
		if e, is := err.(*Error); is && e.Code != 0 {
			code = e.Code
		}
		if ct.AutoRemove {
			if err := c.forget(ct); err != nil {
				return code, err
			}
		}
		return code, nil
	}
	if !foreground {
		fmt.Fprintln(&c.out, ct.ID)
		return 0, nil
	}
	status, err := c.inside(ct, inside)
	if err != nil {
		return status, err
	}
	if !ct.Running { // somebody stopped it meanwhile
		return status, nil
	}
	if err := c.stopAs(ct, status); err != nil {
		return status, err
	}
	return status, nil
}

// stays reports whether a command of a container is one that goes on.
func stays(image string, command []string) bool {
	p := process(image, command)
	return p[0] == "python3" || path.Base(command[0]) == "sleep" && p[1] == "infinity"
}

// stopAs ends a container whose command came to an end with a status.
func (c *call) stopAs(ct *Container, status int) error {
	if err := c.do("kill -9 %s", ct.pid()); err != nil {
		if _, refused := err.(*Refused); !refused {
			return err
		}
	}
	if err := c.gone(ct); err != nil {
		return err
	}
	ct.Stopped = true
	return c.exited(ct, status)
}
