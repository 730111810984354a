package docker

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// The three files that Docker gives every container (libnetwork,
// sandbox_dns_unix.go, etchosts, resolvconf):
//
//	/var/lib/docker/containers/ID/{hosts,resolv.conf,hostname}   →   /etc/… in the container

// file is where a container's file is on the machine.
func (ct *Container) file(name string) string {
	return "/var/lib/docker/containers/" + ct.ID + "/" + name
}

// files are the places at which the container sees them.
func (ct *Container) files() map[string]string {
	return map[string]string{"/etc/hosts": ct.file("hosts"), "/etc/resolv.conf": ct.file("resolv.conf"), "/etc/hostname": ct.file("hostname")}
}

// standardHosts are the lines that every hosts file begins with.
const standardHosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"

// hosts is a container's /etc/hosts, with a line for each of its addresses.
func (c *call) hosts(ct *Container) (string, error) {
	if ct.NetworkMode == "host" && len(ct.ExtraHosts) == 0 {
		text, _, err := c.read("/etc/hosts")
		return text, err
	}
	var b strings.Builder
	b.WriteString(standardHosts)
	for _, h := range ct.ExtraHosts {
		name, ip, _ := strings.Cut(h, ":")
		if ip == "host-gateway" {
			if a := c.hostGateway(); a.IsValid() {
				ip = a.String()
			}
		}
		b.WriteString(ip + "\t" + name + "\n")
	}
	for _, l := range ct.Links {
		child := c.find(l.Container)
		if child == nil || !child.Running {
			continue
		}
		for _, ep := range child.Endpoints {
			if n := c.d.networkByID(ep.Network); n != nil && n.Name == "bridge" && ep.IP.IsValid() {
				b.WriteString(ep.IP.String() + "\t" + l.Alias + " " + child.Hostname)
				if l.Alias != child.Name {
					b.WriteString(" " + child.Name)
				}
				b.WriteString("\n")
			}
		}
	}
	for _, ip := range ct.HostIPs {
		b.WriteString(ip.String() + "\t" + ct.ownNames() + "\n")
	}
	return b.String(), nil
}

// ownNames are the names by which a container's hosts file calls itself.
func (ct *Container) ownNames() string {
	full := ct.Hostname
	if ct.Domainname != "" {
		full += "." + ct.Domainname
	}
	if short, _, ok := strings.Cut(full, "."); ok {
		return full + " " + short
	}
	return full
}

// joined are the container's endpoints in the order in which they came to be.
func (ct *Container) joined() []*Endpoint {
	eps := slices.Clone(ct.Endpoints)
	slices.SortStableFunc(eps, func(a, b *Endpoint) int { return a.Order - b.Order })
	return eps
}

// hostGateway is what host-gateway means: docker0's address.
func (c *call) hostGateway() netip.Addr {
	for _, n := range c.d.Networks {
		if n.Name == "bridge" && len(n.Pools) > 0 {
			return n.Pools[0].Gateway
		}
	}
	return netip.Addr{}
}

var (
	localServer = regexp.MustCompile(`(?m)^nameserver\s+(127\.([0-9]{1,3}\.){2}[0-9]{1,3}|::1)\s*\n*`)
	server6     = regexp.MustCompile(`(?m)^nameserver\s+([0-9A-Fa-f]{0,4}:){2,7}([0-9A-Fa-f]{0,4})(%\w+)?\s*\n*`)
	serverLine  = regexp.MustCompile(`(?m)^\s*nameserver\s*([0-9A-Fa-f.:]+)\s*$`)
	searchLine  = regexp.MustCompile(`(?m)^\s*search\s*(.*)$`)
	optionLine  = regexp.MustCompile(`(?m)^\s*options\s*(.*)$`)
)

func fields(re *regexp.Regexp, text string) (all []string) {
	for _, m := range re.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.Fields(m[1])...)
	}
	return all
}

// resolvConf is a container's /etc/resolv.conf, but for the embedded server, and
// the servers in it.
func (c *call) resolvConf(ct *Container) (text string, servers []string, err error) {
	text, _, err = c.read("/etc/resolv.conf")
	if err != nil {
		return "", nil, err
	}
	cfg := c.d.Config
	dns, search, options := ct.DNS, ct.DNSSearch, ct.DNSOptions
	if len(dns) == 0 {
		dns = cfg.DNS
	}
	if len(search) == 0 {
		search = cfg.DNSSearch
	}
	if len(options) == 0 {
		options = cfg.DNSOptions
	}
	if len(dns)+len(search)+len(options) > 0 {
		if len(dns) == 0 {
			dns = fields(serverLine, text)
		}
		if len(search) == 0 {
			search = fields(searchLine, text)
		}
		if len(options) == 0 {
			options = fields(optionLine, text)
		}
		return resolvText(dns, search, options), dns, nil
	}
	if ct.NetworkMode == "host" {
		return text, fields(serverLine, text), nil
	}
	text = localServer.ReplaceAllString(text, "")
	if len(serverLine.FindAllString(text, -1)) == 0 {
		text += "\nnameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844"
	}
	text = server6.ReplaceAllString(text, "")
	if len(serverLine.FindAllString(text, -1)) == 0 {
		text += "\nnameserver 8.8.8.8\nnameserver 8.8.4.4"
	}
	return text, fields(serverLine, text), nil
}

// resolvText is a resolv.conf that Docker writes.
func resolvText(dns, search, options []string) string {
	var b strings.Builder
	if s := strings.Join(search, " "); len(search) > 0 && strings.Trim(s, " ") != "." {
		b.WriteString("search " + s + "\n")
	}
	for _, a := range dns {
		b.WriteString("nameserver " + a + "\n")
	}
	if s := strings.Join(options, " "); strings.Trim(s, " ") != "" {
		b.WriteString("options " + s + "\n")
	}
	return b.String()
}

// writeHosts writes the container's hosts file anew.
func (c *call) writeHosts(ct *Container) error {
	text, err := c.hosts(ct)
	if err != nil {
		return err
	}
	return c.write(ct.file("hosts"), text)
}
