package docker

import (
	"fmt"
	"net/netip"
	"slices"
)

// Pools of addresses, and the addresses of a pool (libnetwork, ipam,
// ipamutils): a network without a subnet gets the next of the predefined pools
// that is free; an address is the lowest of its pool that is free.

// PoolBase is a network that is cut into pools: --default-address-pool.
type PoolBase struct {
	Base string `json:"base"`
	Size int    `json:"size"`
}

// defaultPools are libnetwork's own, for networks of one machine.
var defaultPools = []PoolBase{{"172.17.0.0/16", 16}, {"172.18.0.0/16", 16}, {"172.19.0.0/16", 16},
	{"172.20.0.0/14", 16}, {"172.24.0.0/14", 16}, {"172.28.0.0/14", 16}, {"192.168.0.0/16", 20}}

// maxPools is how many pools a daemon may choose from.
const maxPools = 1 << 18

// predefined cuts the bases of pools.
func predefined(bases []PoolBase) (pools []netip.Prefix, err error) {
	for _, b := range bases {
		base, err := netip.ParsePrefix(b.Base)
		if err != nil || !base.Addr().Is4() {
			return nil, fmt.Errorf("invalid base pool %q: invalid CIDR address: %s", b.Base, b.Base)
		}
		base = base.Masked()
		if b.Size <= 0 || b.Size < base.Bits() || b.Size > 32 {
			return nil, fmt.Errorf("invalid pools size: %d", b.Size)
		}
		if bits := b.Size - base.Bits(); bits > 16 {
			return nil, fmt.Errorf("not simulated: more than 65536 pools of %s", base)
		} else if len(pools)+1<<bits > maxPools {
			return nil, fmt.Errorf("not simulated: more than %d pools", maxPools)
		}
		for i := range 1 << (b.Size - base.Bits()) {
			pools = append(pools, netip.PrefixFrom(nth(base, uint32(i)<<(32-b.Size)), b.Size))
		}
	}
	return pools, nil
}

// pools are the daemon's predefined ones.
func (d *Daemon) pools() []netip.Prefix {
	bases := d.Config.Pools
	if len(bases) == 0 {
		bases = defaultPools
	}
	p, _ := predefined(bases) // read when the daemon started
	return p
}

// reserved reports whether a subnet overlaps with a network's.
func (d *Daemon) reserved(p netip.Prefix) bool {
	return slices.ContainsFunc(d.Networks, func(n *Network) bool {
		return n.Driver != "overlay" && slices.ContainsFunc(n.Pools, func(q Pool) bool { return q.Subnet.Overlaps(p) })
	})
}

// routed reports whether the machine has a route to a part of p on one of its
// links, or a name server in it (netutils.CheckRouteOverlaps,
// CheckNameserverOverlaps).
func (c *call) routed(p netip.Prefix) (bool, error) {
	host, err := c.host()
	if err != nil {
		return false, err
	}
	for _, r := range host.Routes {
		if r.Scope == "link" && r.Table == 254 && r.Dst.Bits() > 0 && r.Dst.Overlaps(p) {
			return true, nil
		}
	}
	servers, err := c.nameservers()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(servers, p.Contains), nil
}

// freePool is the next predefined pool that nothing uses. The search goes on
// where the last one ended.
func (c *call) freePool() (netip.Prefix, error) {
	pools := c.d.pools()
	for i := range pools {
		at := (c.d.NextPool + i) % len(pools)
		if c.d.reserved(pools[at]) {
			continue
		}
		used, err := c.routed(pools[at])
		if err != nil {
			return netip.Prefix{}, err
		}
		if !used {
			c.d.NextPool = (at + 1) % len(pools)
			return pools[at], nil
		}
	}
	return netip.Prefix{}, refuse(NotFound, "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network")
}

// firstFree is the first predefined pool without a route: the default bridge's,
// unless it has an address (netutils.FindAvailableNetwork).
func (c *call) firstFree() (netip.Prefix, error) {
	pools := c.d.pools()
	for _, p := range pools {
		used, err := c.routed(p)
		if err != nil || !used {
			return p, err
		}
	}
	return netip.Prefix{}, fmt.Errorf("list bridge addresses failed: PredefinedLocalScopeDefaultNetworks List: %v: no available network", pools)
}

// nameservers are those of the machine's /etc/resolv.conf.
func (c *call) nameservers() (servers []netip.Addr, err error) {
	text, _, err := c.read("/etc/resolv.conf")
	if err != nil {
		return nil, err
	}
	for _, s := range fields(serverLine, text) {
		if a, err := netip.ParseAddr(s); err == nil {
			servers = append(servers, a)
		}
	}
	return servers, nil
}

// nth is the address so many after a prefix's first.
func nth(p netip.Prefix, n uint32) netip.Addr {
	a := p.Addr().As4()
	v := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	v += n
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// last is a prefix's last address, its broadcast address.
func last(p netip.Prefix) netip.Addr { return nth(p, 1<<(32-p.Bits())-1) }

// hostPart is an address without the network's bits.
func hostPart(a netip.Addr, p netip.Prefix) uint32 {
	b := a.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	return v & (1<<(32-p.Bits()) - 1)
}

// Errors of the IPAM service (libnetwork, ipamapi).
var (
	errUsed       = refuse(Forbid, "Address already in use")
	errNoAddress  = refuse(System, "No available addresses on this pool")
	errOutOfRange = refuse(Invalid, "Requested address is out of range")
)

// free reports whether an address may be given out. The first and the last of a
// pool never are.
func (p *Pool) free(a netip.Addr) bool {
	return a != p.Subnet.Addr() && a != last(p.Subnet) && !slices.Contains(p.Used, a)
}

// request takes an address out of the pool: want, or the lowest free one of its
// range.
func (p *Pool) request(want netip.Addr) (netip.Addr, error) {
	if want.IsValid() {
		switch {
		case !p.Subnet.Contains(want):
			return netip.Addr{}, errOutOfRange
		case !p.free(want):
			return netip.Addr{}, errUsed
		}
		p.take(want)
		return want, nil
	}
	// A range counts by the host's part of its addresses, whatever its network.
	low, high := uint32(0), uint32(1)<<(32-p.Subnet.Bits())-1
	if p.Range.IsValid() {
		low, high = hostPart(p.Range.Masked().Addr(), p.Subnet), min(high, hostPart(last(p.Range.Masked()), p.Subnet))
	}
	for i := low; i <= high; i++ {
		if a := nth(p.Subnet, i); p.free(a) {
			p.take(a)
			return a, nil
		}
	}
	return netip.Addr{}, errNoAddress
}

func (p *Pool) take(a netip.Addr) {
	i, there := slices.BinarySearchFunc(p.Used, a, netip.Addr.Compare)
	if !there {
		p.Used = slices.Insert(p.Used, i, a)
	}
}

// allocate takes an address for a container: want, or the next.
func (n *Network) allocate(want netip.Addr) (netip.Addr, error) {
	for i := range n.Pools {
		p := &n.Pools[i]
		if want.IsValid() && !p.Subnet.Contains(want) {
			continue
		}
		a, err := p.request(want)
		if err == nil {
			return a, nil
		}
		if err != errNoAddress || want.IsValid() {
			return netip.Addr{}, err
		}
	}
	if want.IsValid() {
		return netip.Addr{}, refuse(Invalid, "Invalid address %s: It does not belong to any of this network's subnets", want)
	}
	return netip.Addr{}, refuse(System, "no available IPv4 addresses on this network's address pools: %s (%s)", n.Name, n.ID)
}

// free gives a container's address back.
func (n *Network) free(a netip.Addr) {
	for i := range n.Pools {
		p := &n.Pools[i]
		if j, there := slices.BinarySearchFunc(p.Used, a, netip.Addr.Compare); there {
			p.Used = slices.Delete(p.Used, j, j+1)
		}
	}
}

// IPAMConfig is a subnet as somebody asked for it, and as docker network
// inspect shows it again.
type IPAMConfig struct {
	Subnet     string            `json:",omitempty"`
	IPRange    string            `json:",omitempty"`
	Gateway    string            `json:",omitempty"`
	AuxAddress map[string]string `json:"AuxiliaryAddresses,omitempty"`
}

// addressing gives a network its pool and its gateway: ipamAllocate.
func (c *call) addressing(n *Network) error {
	asked := n.IPAM
	if len(asked) == 0 {
		asked = []IPAMConfig{{}}
	}
	var pools []Pool
	for _, cfg := range asked {
		var p Pool
		if cfg.Subnet == "" {
			subnet, err := c.freePool()
			if err != nil {
				return err
			}
			p.Subnet = subnet
		} else {
			subnet, err := netip.ParsePrefix(cfg.Subnet)
			if err != nil || !subnet.Addr().Is4() {
				return refuse(System, "failed to parse pool request for address space \"LocalDefault\" pool %q subpool %q: Invalid Address Pool", cfg.Subnet, cfg.IPRange)
			}
			p.Subnet = subnet.Masked()
			if cfg.IPRange != "" {
				if p.Range, err = netip.ParsePrefix(cfg.IPRange); err != nil {
					return refuse(System, "failed to parse pool request for address space \"LocalDefault\" pool %q subpool %q: Invalid Address SubPool", cfg.Subnet, cfg.IPRange)
				}
			}
			if c.d.reserved(p.Subnet) || slices.ContainsFunc(pools, func(q Pool) bool { return q.Subnet.Overlaps(p.Subnet) }) {
				return refuse(Forbid, "Pool overlaps with other one on this address space")
			}
		}
		var gateway netip.Addr
		if cfg.Gateway != "" {
			gateway, _ = netip.ParseAddr(cfg.Gateway)
		}
		var err error
		if p.Gateway, err = p.request(gateway); err != nil {
			return refuse(System, "failed to allocate gateway (%s): %v", cfg.Gateway, err)
		}
		for name, text := range cfg.AuxAddress {
			a, err := netip.ParseAddr(text)
			switch {
			case err != nil:
				return refuse(Invalid, "non parsable secondary ip address (%s:%s) passed for network %s", name, text, n.Name)
			case !p.Subnet.Contains(a):
				return refuse(Forbid, "auxiliary address: (%s:%s) must belong to the master pool: %s", name, text, p.Subnet)
			}
			if _, err := p.request(a); err != nil {
				return refuse(System, "failed to allocate secondary ip address (%s:%s): %v", name, text, err)
			}
			if p.Aux == nil {
				p.Aux = map[string]netip.Addr{}
			}
			p.Aux[name] = a
		}
		pools = append(pools, p)
	}
	n.Pools = pools
	return nil
}
