package docker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// docker inspect: the fields that people ask for, under the API's names
// (moby, api/types).

type inspected struct {
	ID      string `json:"Id"`
	Created string
	Path    string
	Args    []string
	State   struct {
		Status                                       string
		Running, Paused, Restarting, OOMKilled, Dead bool
		Pid, ExitCode                                int
		Error, StartedAt, FinishedAt                 string
	}
	Image           string
	ResolvConfPath  string
	HostnamePath    string
	HostsPath       string
	Name            string
	RestartCount    int
	Driver          string
	Platform        string
	HostConfig      hostConfig
	Config          config
	NetworkSettings networkSettings
}

type hostConfig struct {
	NetworkMode   string
	PortBindings  map[string][]hostPort
	RestartPolicy struct {
		Name              string
		MaximumRetryCount int
	}
	AutoRemove      bool
	DNS             []string `json:"Dns"`
	DNSOptions      []string `json:"DnsOptions"`
	DNSSearch       []string `json:"DnsSearch"`
	ExtraHosts      []string
	Links           []string
	PublishAllPorts bool
}

type config struct {
	Hostname, Domainname string
	ExposedPorts         map[string]struct{} `json:",omitempty"`
	Env                  []string
	Cmd                  []string
	Image                string
	MacAddress           string `json:",omitempty"`
	Labels               map[string]string
}

type hostPort struct{ HostIp, HostPort string }

type networkSettings struct {
	Bridge                 string
	SandboxID              string
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	Ports                  map[string][]hostPort
	SandboxKey             string
	SecondaryIPAddresses   []string
	SecondaryIPv6Addresses []string
	EndpointID             string
	Gateway                string
	GlobalIPv6Address      string
	GlobalIPv6PrefixLen    int
	IPAddress              string
	IPPrefixLen            int
	IPv6Gateway            string
	MacAddress             string
	Networks               map[string]*endpointSettings
}

type endpointSettings struct {
	IPAMConfig          *ipamConfig
	Links               []string
	Aliases             []string
	NetworkID           string
	EndpointID          string
	Gateway             string
	IPAddress           string
	IPPrefixLen         int
	IPv6Gateway         string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	MacAddress          string
	DriverOpts          map[string]string
}

type ipamConfig struct {
	IPv4Address string `json:",omitempty"`
}

// moment is a time as the API writes it.
func moment(d time.Duration) string {
	if d == 0 {
		return "0001-01-01T00:00:00Z"
	}
	return time.Unix(0, int64(d)).UTC().Format(time.RFC3339Nano)
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// inspect is what the daemon tells of a container.
func (c *call) inspect(ct *Container) *inspected {
	command := ct.commandLine()
	o := &inspected{ID: ct.ID, Created: moment(ct.Created), Path: command[0], Args: append([]string{}, command[1:]...), Image: ct.Image,
		ResolvConfPath: ct.file("resolv.conf"), HostnamePath: ct.file("hostname"), HostsPath: ct.file("hosts"), Name: "/" + ct.Name, Driver: "vfs", Platform: "linux"}
	o.State.Status, o.State.Running, o.State.Pid, o.State.ExitCode = ct.state(), ct.Running, ct.Pid, ct.ExitCode
	o.State.StartedAt, o.State.FinishedAt = moment(ct.StartedAt), moment(ct.EndedAt)
	h := &o.HostConfig
	h.NetworkMode, h.AutoRemove, h.PublishAllPorts, h.ExtraHosts = ct.NetworkMode, ct.AutoRemove, ct.PublishAll, ct.ExtraHosts
	h.DNS, h.DNSOptions, h.DNSSearch = list(ct.DNS), list(ct.DNSOptions), list(ct.DNSSearch)
	h.RestartPolicy.Name, _, _ = strings.Cut(ct.Restart, ":")
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = "no"
	}
	h.PortBindings = map[string][]hostPort{}
	for _, b := range ct.Bindings {
		p := ""
		if b.HostLow != 0 {
			p = fmt.Sprint(b.HostLow)
			if b.HostEnd > b.HostLow {
				p += fmt.Sprintf("-%d", b.HostEnd)
			}
		}
		h.PortBindings[b.Port.String()] = append(h.PortBindings[b.Port.String()], hostPort{text(b.HostIP), p})
	}
	for _, l := range ct.Links {
		h.Links = append(h.Links, "/"+l.Container+":/"+ct.Name+"/"+l.Alias)
	}
	g := &o.Config
	g.Hostname, g.Domainname, g.Env, g.Cmd, g.Image, g.MacAddress = ct.Hostname, ct.Domainname, list(ct.Env), list(ct.Command), ct.Image, ct.MAC
	g.Labels = map[string]string{}
	for _, kv := range ct.Labels {
		k, v, _ := strings.Cut(kv, "=")
		g.Labels[k] = v
	}
	for _, p := range ct.Exposed {
		if g.ExposedPorts == nil {
			g.ExposedPorts = map[string]struct{}{}
		}
		g.ExposedPorts[p.String()] = struct{}{}
	}
	s := &o.NetworkSettings
	s.Networks = map[string]*endpointSettings{}
	s.Ports = map[string][]hostPort{}
	if ct.Running {
		s.SandboxID = ct.ID
		s.SandboxKey = "/var/run/docker/netns/" + ct.ID[:12]
		if ct.NetworkMode == "host" {
			s.SandboxKey = "/var/run/docker/netns/default"
		} else {
			for _, p := range ct.Exposed {
				s.Ports[p.String()] = nil
			}
		}
		for _, m := range ct.mappings() {
			s.Ports[m.Port.String()] = append(s.Ports[m.Port.String()], hostPort{m.HostIP.String(), fmt.Sprint(m.HostPort)})
		}
	}
	for _, ep := range ct.joined() {
		n := c.d.networkByID(ep.Network)
		if n == nil || ep.Outward {
			continue
		}
		e := &endpointSettings{NetworkID: n.ID, Gateway: text(ep.Gateway), IPAddress: text(ep.IP), MacAddress: ep.MAC}
		if n.userDefined() {
			e.Aliases = ep.Aliases
		}
		if ct.Running {
			e.EndpointID = ep.ID
		}
		if ep.IP.IsValid() && len(n.Pools) > 0 {
			e.IPPrefixLen = n.Pools[0].Subnet.Bits()
		}
		if n.Driver == "overlay" && ep.IP.IsValid() { // the manager chose it
			e.IPAMConfig = &ipamConfig{ep.IP.String()}
		} else if ep.WantIP.IsValid() {
			e.IPAMConfig = &ipamConfig{ep.WantIP.String()}
		}
		for _, l := range ep.Links {
			e.Links = append(e.Links, l.Container+":"+l.Alias)
		}
		s.Networks[n.Name] = e
		if n.Name == "bridge" {
			s.EndpointID, s.Gateway, s.IPAddress, s.IPPrefixLen, s.MacAddress = e.EndpointID, e.Gateway, e.IPAddress, e.IPPrefixLen, e.MacAddress
		}
	}
	return o
}

// list is a list that JSON does not write as null.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// render prints what was found: as JSON, or each by a template. It is the
// client's inspect.Inspect; missing are the words for what was not found.
func (c *call) render(format string, found []any, missing []string) (int, error) {
	status := 0
	if len(missing) > 0 {
		status = 1
	}
	if format == "" || format == "json" {
		b := []byte("[]")
		if len(found) > 0 {
			var err error
			if b, err = json.MarshalIndent(found, "", "    "); err != nil {
				return 1, lost{err}
			}
		}
		c.out.Write(b)
		c.out.WriteString("\n")
	} else {
		t, err := c.newFormat(format)
		if err != nil {
			fmt.Fprintf(&c.errs, "template parsing error: %v\n", err)
			return 64, nil
		}
		for _, o := range found {
			var b bytes.Buffer
			if err := t.execute(&b, o); err != nil {
				// A name of the API's that the struct does not have: the client looks in the JSON.
				b.Reset()
				t.Option("missingkey=error")
				raw, jerr := json.Marshal(o)
				var m map[string]any
				d := json.NewDecoder(bytes.NewReader(raw))
				d.UseNumber()
				if jerr == nil {
					jerr = d.Decode(&m)
				}
				if jerr != nil {
					return 1, lost{jerr}
				}
				if err := t.execute(&b, m); err != nil {
					fmt.Fprintf(&c.errs, "template parsing error: %v\n", err)
					c.out.WriteString("\n")
					return 1, nil
				}
			}
			c.out.Write(b.Bytes())
			c.out.WriteString("\n")
		}
		if len(found) == 0 {
			c.out.WriteString("\n")
		}
	}
	for _, m := range missing {
		fmt.Fprintln(&c.errs, m)
	}
	return status, nil
}

func (c *call) cliInspect(path string, args []string) (int, error) {
	containers := strings.HasPrefix(path, "docker container")
	use, short := "[OPTIONS] NAME|ID [NAME|ID...]", "Return low-level information on Docker objects"
	if containers {
		use, short = "[OPTIONS] CONTAINER [CONTAINER...]", "Display detailed information on one or more containers"
	}
	f := newFlags(path, use, short, 1, -1)
	format := f.text("format", "f")
	f.boolean("size", "s")
	kind := f.text("type", "")
	args, st, done := c.parse(f, args)
	if done {
		return st, nil
	}
	if !c.d.Running {
		c.out.WriteString("[]\n")
		fmt.Fprintln(&c.errs, noDaemon)
		return 1, nil
	}
	switch kind.value {
	case "", "container", "network":
	case "image", "node", "plugin", "secret", "service", "task", "volume":
		return c.elsewhere("docker inspect --type " + kind.value)
	default:
		fmt.Fprintf(&c.errs, "%q is not a valid value for --type\n", kind.value)
		return 1, nil
	}
	var found []any
	var missing []string
	for _, name := range args {
		if kind.value != "network" {
			ct, err := c.lookup(name)
			if err == nil {
				found = append(found, c.inspect(ct))
				continue
			}
			if e, is := err.(*Error); is && e.Kind != NotFound {
				missing = append(missing, c.said(err))
				continue
			}
		}
		if !containers && kind.value != "container" {
			if n, err := c.findNetwork(name); err == nil {
				found = append(found, c.inspectNetwork(n))
				continue
			}
		}
		what := "object"
		if containers || kind.value == "container" {
			what = "container"
		}
		if kind.value == "network" {
			what = "network"
		}
		missing = append(missing, fmt.Sprintf("Error: No such %s: %s", what, name))
	}
	return c.render(format.value, found, missing)
}
