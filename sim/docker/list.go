package docker

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// docker ps, and what it shares with other tables.

// Row is what a format of docker ps can name.
type Row struct {
	ID, Names, Image, Command, CreatedAt, RunningFor, Ports, State, Status, Size, Labels, Mounts, LocalVolumes, Networks string
}

// Label is {{.Label "key"}}.
func (r Row) Label(name string) string {
	for _, kv := range strings.Split(r.Labels, ",") {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			return v
		}
	}
	return ""
}

// headers of a row's fields.
var psHeaders = Row{ID: "CONTAINER ID", Names: "NAMES", Image: "IMAGE", Command: "COMMAND", CreatedAt: "CREATED AT", RunningFor: "CREATED",
	Ports: "PORTS", State: "STATE", Status: "STATUS", Size: "SIZE", Labels: "LABELS", Mounts: "MOUNTS", LocalVolumes: "LOCAL VOLUMES", Networks: "NETWORKS"}

const psTable = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"

// clientTypes are what the client calls our rows, which an error of a template names.
var clientTypes = map[string]string{"docker.Row": "*formatter.ContainerContext", "docker.NetworkRow": "*network.networkContext", "docker.NodeRow": "*node.nodeContext"}

// table prints rows in a client's format: "table …" has headers and columns. A
// format of "" is the given one.
func table[T any](c *call, format, usual string, headers T, rows []T) (int, error) {
	if format == "" || format == "table" {
		format = usual
	}
	format, columns := strings.CutPrefix(format, "table ")
	if format == "json" {
		format = "{{json .}}"
	}
	format = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(strings.TrimSpace(format))
	t, err := c.newFormat(format)
	if err != nil {
		fmt.Fprintf(&c.errs, "template parsing error: %v\n", err)
		return 1, nil
	}
	var b strings.Builder
	if columns {
		rows = append([]T{headers}, rows...)
	}
	for _, r := range rows {
		if err := t.execute(&b, r); err != nil {
			fmt.Fprintf(&c.errs, "failed to execute template: %s\n", strings.ReplaceAll(err.Error(), fmt.Sprintf("type %T", r), "type "+clientTypes[fmt.Sprintf("%T", r)]))
			return 1, nil
		}
		b.WriteString("\n")
	}
	if !columns {
		c.out.WriteString(b.String())
		return 0, nil
	}
	w := tabwriter.NewWriter(&c.out, 10, 1, 3, ' ', 0)
	fmt.Fprint(w, b.String())
	return 0, w.Flush()
}

// status is what docker ps says about a container.
func (c *call) status(ct *Container) string {
	switch {
	case ct.Running:
		return "Up " + ago(c.now()-ct.StartedAt)
	case !ct.Ran:
		return "Created"
	}
	return fmt.Sprintf("Exited (%d) %s ago", ct.ExitCode, ago(c.now()-ct.EndedAt))
}

func (ct *Container) state() string {
	switch {
	case ct.Running:
		return "running"
	case !ct.Ran:
		return "created"
	}
	return "exited"
}

// commandLine is a container's command as it is shown.
func (ct *Container) commandLine() []string {
	if len(ct.Command) > 0 {
		if imageName(ct.Image) == "nginx" && ct.Command[0] != "/docker-entrypoint.sh" {
			return append([]string{"/docker-entrypoint.sh"}, ct.Command...)
		}
		return ct.Command
	}
	return imageCommand(ct.Image)
}

// ports are a container's ports as docker ps shows them (DisplayablePorts).
func (ct *Container) ports() string {
	if !ct.Running {
		return ""
	}
	type shown struct {
		Mapping
		open bool // only exposed
	}
	var all []shown
	for _, m := range ct.mappings() {
		all = append(all, shown{m, false})
	}
	if ct.NetworkMode != "host" {
		for _, p := range ct.Exposed {
			if !slices.ContainsFunc(all, func(s shown) bool { return s.Port == p }) {
				all = append(all, shown{Mapping{Port: p}, true})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b shown) int {
		if d := int(a.Port.Port) - int(b.Port.Port); d != 0 {
			return d
		}
		ip := func(s shown) string {
			if s.open {
				return ""
			}
			return s.HostIP.String()
		}
		if d := strings.Compare(ip(a), ip(b)); d != 0 {
			return d
		}
		if d := int(a.HostPort) - int(b.HostPort); d != 0 {
			return d
		}
		return strings.Compare(a.Proto, b.Proto)
	})
	type group struct {
		key         string
		first, last uint16
	}
	text := func(g group) string {
		r := fmt.Sprint(g.first)
		if g.last != g.first {
			r += fmt.Sprintf("-%d", g.last)
		}
		ip, proto, has := strings.Cut(g.key, "/")
		if !has {
			return r + "/" + ip
		}
		return fmt.Sprintf("%s:%s->%s/%s", ip, r, r, proto)
	}
	var groups []group
	var result, mapped []string
	for _, s := range all {
		key := s.Proto
		if !s.open {
			if s.HostPort != s.Port.Port {
				mapped = append(mapped, fmt.Sprintf("%s:%d->%s", s.HostIP, s.HostPort, s.Port))
				continue
			}
			key = s.HostIP.String() + "/" + s.Proto
		}
		i := slices.IndexFunc(groups, func(g group) bool { return g.key == key })
		switch {
		case i < 0:
			groups = append(groups, group{key, s.Port.Port, s.Port.Port})
		case groups[i].last+1 == s.Port.Port:
			groups[i].last = s.Port.Port
		default:
			result = append(result, text(groups[i]))
			groups[i].first, groups[i].last = s.Port.Port, s.Port.Port
		}
	}
	for _, g := range groups {
		result = append(result, text(g))
	}
	return strings.Join(append(result, mapped...), ", ")
}

func (c *call) cliList(path string, args []string) (int, error) {
	f := newFlags(path, "[OPTIONS]", "List containers", 0, 0)
	all := f.boolean("all", "a")
	filter := f.list("filter", "f")
	format := f.text("format", "")
	last := f.add(intKind, "last", "n")
	latest := f.boolean("latest", "l")
	full := f.boolean("no-trunc", "")
	quiet := f.boolean("quiet", "q")
	f.boolean("size", "s")
	if _, st, done := c.parse(f, args); done {
		return st, nil
	}
	for _, kv := range filter.list {
		if !strings.Contains(kv, "=") {
			fmt.Fprintf(&c.errs, "invalid argument %q for \"-f, --filter\" flag: bad format of filter (expected name=value)\nSee '%s --help'.\n", kv, path)
			return 125, nil
		}
	}
	if !c.connected() {
		return 1, nil
	}
	limit := -1
	if latest.on() {
		limit = 1
	} else if last.set && last.int() > 0 {
		limit = last.int()
	}
	var rows []Row
	for _, ct := range slices.Backward(c.d.Containers) {
		if !ct.Running && !all.on() && limit < 0 && !slices.ContainsFunc(filter.list, func(s string) bool { return strings.HasPrefix(s, "status=") }) {
			continue
		}
		ok, err := c.passes(ct, filter.list)
		if err != nil {
			return c.fail(err)
		}
		if !ok {
			continue
		}
		if limit == 0 {
			break
		}
		limit--
		id, command := ct.ID, strings.Join(ct.commandLine(), " ")
		if !full.on() {
			id = id[:12]
			if r := []rune(command); len(r) > 20 {
				command = string(r[:19]) + "…"
			}
		}
		var networks []string
		for _, ep := range ct.joined() {
			if n := c.d.networkByID(ep.Network); n != nil && !ep.Outward {
				networks = append(networks, n.Name)
			}
		}
		slices.Sort(networks)
		rows = append(rows, Row{ID: id, Names: ct.Name, Image: ct.Image, Command: `"` + command + `"`,
			CreatedAt: time.Unix(0, int64(ct.Created)).UTC().Format("2006-01-02 15:04:05 -0700 MST"), RunningFor: ago(c.now()-ct.Created) + " ago",
			Ports: ct.ports(), State: ct.state(), Status: c.status(ct), Size: "0B", Labels: strings.Join(ct.Labels, ","), Networks: strings.Join(networks, ",")})
	}
	if quiet.on() && format.value == "" {
		for _, r := range rows {
			fmt.Fprintln(&c.out, r.ID)
		}
		return 0, nil
	}
	return table(c, format.value, psTable, psHeaders, rows)
}

// passes reports whether a container is one that all filters ask for.
func (c *call) passes(ct *Container, filters []string) (bool, error) {
	groups := map[string][]string{}
	for _, kv := range filters {
		k, v, _ := strings.Cut(kv, "=")
		k = strings.ToLower(strings.TrimSpace(k))
		groups[k] = append(groups[k], strings.TrimSpace(v))
	}
	for key, values := range groups {
		one := false
		for _, v := range values {
			switch key {
			case "name":
				one = one || strings.Contains(ct.Name, strings.Trim(v, "^$/")) && (!strings.HasPrefix(v, "^") || strings.HasPrefix(ct.Name, strings.Trim(v, "^$/"))) && (!strings.HasSuffix(v, "$") || strings.HasSuffix(ct.Name, strings.Trim(v, "^$/")))
			case "id":
				one = one || strings.HasPrefix(ct.ID, v)
			case "status":
				one = one || ct.state() == v
			case "ancestor":
				one = one || imageName(ct.Image) == imageName(v)
			case "label":
				one = one || slices.ContainsFunc(ct.Labels, func(l string) bool { return l == v || strings.HasPrefix(l, v+"=") })
			case "network":
				n, err := c.findNetwork(v)
				one = one || err == nil && ct.endpoint(n) != nil
			case "publish", "expose", "exited", "before", "since", "health", "volume", "is-task":
				return false, refuse(Invalid, "not simulated: filter %s", key)
			default:
				return false, refuse(Invalid, "Invalid filter '%s'", key)
			}
		}
		if !one {
			return false, nil
		}
	}
	return true, nil
}
