package docker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// What dockerd is told: by flags, and by a file (moby, cmd/dockerd,
// daemon/config). The file wins nothing over a flag: a setting that both name is
// an error.

// Config is what dockerd was told. The names are the file's.
type Config struct {
	BIP           string     `json:"bip"`
	FixedCIDR     string     `json:"fixed-cidr"`
	Bridge        string     `json:"bridge"`
	ICC           bool       `json:"icc"`
	IPForward     bool       `json:"ip-forward"`
	IPTables      bool       `json:"iptables"`
	IPMasq        bool       `json:"ip-masq"`
	UserlandProxy bool       `json:"userland-proxy"`
	MTU           int        `json:"mtu"`
	DNS           []string   `json:"dns"`
	DNSSearch     []string   `json:"dns-search"`
	DNSOptions    []string   `json:"dns-opts"`
	IP            string     `json:"ip"` // where -p binds
	Gateway       string     `json:"default-gateway"`
	Pools         []PoolBase `json:"default-address-pools"`

	DisableBridge bool `json:"disable-bridge,omitempty"` // --bridge none
}

func newConfig() Config {
	return Config{ICC: true, IPForward: true, IPTables: true, IPMasq: true, UserlandProxy: true}
}

const configFile = "/etc/docker/daemon.json"

// fileNames are the settings whose name in the file is not the flag's.
var fileNames = map[string]string{"dns-opt": "dns-opts", "default-address-pool": "default-address-pools", "label": "labels",
	"storage-opt": "storage-opts", "exec-opt": "exec-opts", "host": "hosts", "log-opt": "log-opts", "insecure-registry": "insecure-registries",
	"registry-mirror": "registry-mirrors", "authorization-plugin": "authorization-plugins", "default-ulimit": "default-ulimits",
	"cluster-store-opt": "cluster-store-opts", "node-generic-resource": "node-generic-resources"}

// daemonFlags are dockerd's.
func daemonFlags() *flagSet {
	f := newFlags("dockerd", "[OPTIONS]", "A self-sufficient runtime for containers.", 0, 0)
	for _, name := range []string{"bip", "fixed-cidr"} {
		f.text(name, "")
	}
	f.text("bridge", "b")
	for _, name := range []string{"icc", "ip-forward", "iptables", "ip-masq", "userland-proxy"} {
		f.boolean(name, "").value = "true"
	}
	f.add(intKind, "mtu", "").value = "0"
	f.list("dns", "").check = checkIP
	f.list("dns-search", "").check = checkSearch
	f.list("dns-opt", "")
	f.text("ip", "").check = checkIP
	f.text("default-gateway", "").check = checkIP
	f.list("default-address-pool", "").check = func(v string) (string, error) { _, err := readPool(v); return v, err }
	f.text("config-file", "").value = configFile
	// What changes nothing that is here.
	deaf := func(g *flag) { g.deaf = true }
	for name, short := range map[string]string{"data-root": "", "graph": "g", "exec-root": "", "pidfile": "p", "storage-driver": "s", "group": "G",
		"log-level": "l", "log-driver": "", "containerd": "", "cgroup-parent": "", "userland-proxy-path": "", "seccomp-profile": "", "default-runtime": "",
		"shutdown-timeout": "", "default-ipc-mode": "", "default-cgroupns-mode": "", "init-path": "", "metrics-addr": "", "tlscacert": "", "tlscert": "", "tlskey": ""} {
		deaf(f.text(name, short))
	}
	for name, short := range map[string]string{"host": "H", "label": "", "storage-opt": "", "log-opt": "", "exec-opt": "", "insecure-registry": "",
		"registry-mirror": "", "default-ulimit": "", "add-runtime": ""} {
		deaf(f.list(name, short))
	}
	for name, short := range map[string]string{"debug": "D", "live-restore": "", "selinux-enabled": "", "experimental": "", "raw-logs": "", "init": "",
		"no-new-privileges": "", "tls": "", "tlsverify": "", "ip6tables": "", "ipv6": "", "rootless": ""} {
		deaf(f.boolean(name, short))
	}
	f.boolean("version", "v")
	f.boolean("explain", "")
	return f
}

func checkIP(v string) (string, error) {
	v = strings.TrimSpace(v)
	if _, err := netip.ParseAddr(v); err != nil {
		return v, fmt.Errorf("%s is not an ip address", v)
	}
	return v, nil
}

func checkSearch(v string) (string, error) {
	if v = strings.Trim(v, " "); v == "." || domain(v) {
		return v, nil
	}
	return v, fmt.Errorf("%s is not a valid domain", v)
}

// domain reports whether s is a name that opts.validateDomain takes.
func domain(s string) bool {
	if strings.Trim(s, ".") == "" || len(s) > 255 {
		return false
	}
	for _, label := range strings.Split(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}

// readPool reads base=NETWORK,size=BITS (opts.PoolsOpt).
func readPool(v string) (p PoolBase, err error) {
	for _, field := range strings.Split(v, ",") {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return p, fmt.Errorf("invalid field '%s' must be a key=value pair", field)
		}
		switch key = strings.ToLower(key); key {
		case "base":
			p.Base = value
		case "size":
			if p.Size, err = strconv.Atoi(value); err != nil {
				return p, fmt.Errorf("invalid size value: %q (must be integer): %v", value, err)
			}
		default:
			return p, fmt.Errorf("unexpected key '%s' in '%s'", key, field)
		}
	}
	return p, nil
}

// configure makes a configuration of dockerd's flags and of its file.
func (c *call) configure(f *flagSet) (Config, error) {
	cfg := newConfig()
	file := f.named("config-file")
	text, there, err := c.read(file.value)
	if err != nil {
		return cfg, err
	}
	if !there && file.set {
		return cfg, fmt.Errorf("unable to configure the Docker daemon with file %s: open %s: no such file or directory", file.value, file.value)
	}
	if there {
		if err := readFile(&cfg, f, text); err != nil {
			return cfg, fmt.Errorf("unable to configure the Docker daemon with file %s: %v", file.value, err)
		}
	}
	for _, g := range f.flags {
		if g.set {
			cfg.take(g)
		}
	}
	cfg.IPMasq = cfg.IPMasq && cfg.IPTables
	cfg.DisableBridge = cfg.Bridge == "none"
	return cfg, nil
}

// verify refuses settings that exclude each other (verifyDaemonSettings).
func (cfg *Config) verify() error {
	switch {
	case cfg.Bridge != "" && cfg.BIP != "":
		return errors.New("You specified -b & --bip, mutually exclusive options. Please specify only one") //nolint:staticcheck // the daemon's words
	case !cfg.IPTables && !cfg.ICC:
		return errors.New("You specified --iptables=false with --icc=false. ICC=false uses iptables to function. Please set --icc or --iptables to true") //nolint:staticcheck
	}
	return nil
}

// readFile reads the text of the file into cfg: getConflictFreeConfiguration.
func readFile(cfg *Config, f *flagSet, text string) error {
	var all map[string]interface{}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&all); err != nil {
		return err
	}
	var unknown, both []string
	byName := map[string]*flag{}
	for _, g := range f.flags {
		name := g.name
		if n := fileNames[name]; n != "" {
			name = n
		}
		byName[name] = g
	}
	delete(byName, "explain")
	delete(byName, "version")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		g := byName[name]
		switch {
		case g == nil && !otherSettings[name]:
			unknown = append(unknown, name)
		case g != nil && g.set && name != "default-runtime":
			v := g.value
			if g.kind == listKind {
				v = fmt.Sprint(g.list)
			}
			both = append(both, fmt.Sprintf("%s: (from flag: %s, from file: %v)", name, v, all[name]))
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("the following directives don't match any configuration option: %s", strings.Join(unknown, ", "))
	}
	if len(both) > 0 {
		return fmt.Errorf("the following directives are specified both as a flag and in the configuration file: %s", strings.Join(both, ", "))
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(cfg); err != nil {
		return err
	}
	for _, a := range cfg.DNS {
		if _, err := checkIP(a); err != nil {
			return fmt.Errorf("configuration validation from file failed: %v", err)
		}
	}
	for _, a := range cfg.DNSSearch {
		if _, err := checkSearch(a); err != nil {
			return fmt.Errorf("configuration validation from file failed: %v", err)
		}
	}
	return nil
}

// otherSettings may stand in the file, and change nothing that is here.
var otherSettings = map[string]bool{"runtimes": true, "features": true, "builder": true, "default-shm-size": true, "max-concurrent-downloads": true,
	"max-concurrent-uploads": true, "max-download-attempts": true, "userns-remap": true, "oom-score-adjust": true, "fixed-cidr-v6": true,
	"allow-nondistributable-artifacts": true, "host-gateway-ip": true, "swarm-default-advertise-addr": true, "network-control-plane-mtu": true,
	"cpu-rt-period": true, "cpu-rt-runtime": true, "api-cors-header": true, "storage-opts": true, "default-gateway-v6": true}

// take takes a flag's value in.
func (cfg *Config) take(g *flag) {
	switch g.name {
	case "bip":
		cfg.BIP = g.value
	case "fixed-cidr":
		cfg.FixedCIDR = g.value
	case "bridge":
		cfg.Bridge = g.value
	case "icc":
		cfg.ICC = g.on()
	case "ip-forward":
		cfg.IPForward = g.on()
	case "iptables":
		cfg.IPTables = g.on()
	case "ip-masq":
		cfg.IPMasq = g.on()
	case "userland-proxy":
		cfg.UserlandProxy = g.on()
	case "mtu":
		cfg.MTU = g.int()
	case "dns":
		cfg.DNS = g.list
	case "dns-search":
		cfg.DNSSearch = g.list
	case "dns-opt":
		cfg.DNSOptions = g.list
	case "ip":
		cfg.IP = g.value
	case "default-gateway":
		cfg.Gateway = g.value
	case "default-address-pool":
		cfg.Pools = nil
		for _, v := range g.list {
			p, _ := readPool(v) // checked when it was read
			cfg.Pools = append(cfg.Pools, p)
		}
	}
}
