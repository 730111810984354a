package op

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// fill sets every field of a value to something that is not its zero.
func fill(v reflect.Value) {
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("172.18.0.8")))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("172.18.0.8/16")))
		return
	case time.Duration:
		v.Set(reflect.ValueOf(1500 * time.Millisecond))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("it's x")
	case reflect.Int:
		v.SetInt(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Map:
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(k)
		fill(e)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(k, e)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

// Every operation survives the way to a lab, with every field.
func TestMarshal(t *testing.T) {
	for name, typ := range byName {
		v := reflect.New(typ).Elem()
		fill(v)
		o := v.Interface().(Op)
		b, err := Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Unmarshal(b)
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%s: %#v became %#v (%v)", name, o, got, err)
		}
		if o.String() == "" {
			t.Errorf("%s has no command", name)
		}
	}
	for _, bad := range []string{`{`, `{"op":"Nothing","args":{}}`, `{"op":"Ping","args":{"Count":"x"}}`} {
		if o, err := Unmarshal([]byte(bad)); err == nil {
			t.Errorf("%s became %v", bad, o)
		}
	}
}

// A rebuilt lab leaves probes out, and must not leave out a change.
func TestProbe(t *testing.T) {
	for line, want := range map[string]bool{
		"ls /run/netns": true, "ip link": true, "ip -br addr show": true, "ip route get 1.1.1.1": true, "iptables -L -nv": true,
		"iptables -t nat -S": true, "conntrack -L": true, "sysctl net.ipv4.ip_forward": true, "bridge fdb show": true, "brctl show": true,
		"ip link add x type bridge": false, "iptables -F": false, "conntrack -F": false, "sysctl -w a=1": false, "sysctl a=1": false,
		"iptables -nvL -Z": false, "iptables -nvxL FORWARD": true, "iptables -A SL -j ACCEPT": false, "iptables -N LIST": false, "iptables -vS": true,
		"ip link s dev x promisc on": false, "ip a s": true, "ip -n ns1 l set x promisc on": false, "ip -batch file": false, "ip -s -d link": true,
		"arp -n": true, "arp -s 1.2.3.4 02:00:00:00:00:01": false, "arp -d 1.2.3.4": false, "sysctl -p": false, "sysctl -a": true, "sysctl --system": false,
		"brctl delbr x": false, "sh -c true": false, "ip netns add x": false, "ip addr flush dev x": false,
	} {
		if got := Probe(Tool{Argv: strings.Fields(line)}); got != want {
			t.Errorf("%s: probe is %v", line, got)
		}
	}
	if !Probe(Ping{}) || Probe(NetnsAdd{}) {
		t.Error("a ping only looks; a new namespace is a change")
	}
}

func TestFailureJSON(t *testing.T) {
	r := Result{Status: 2, Failure: &Failure{Errno: 17}}
	b, err := json.Marshal(r)
	if err != nil || string(b) != `{"status":2,"failure":{"errno":17}}` {
		t.Errorf("%s, %v", b, err)
	}
}
