package lessons

import (
	"regexp"
	"strings"
)

// Phrase is a part of what a check says, for translation: Code names it, Args
// fill its blanks. Phrases are written one after another; each brings the comma
// before it. The page has the same codes in its languages (assets/js/i18n).
type Phrase struct {
	Code string            `json:"code"`
	Args map[string]string `json:"args,omitempty"`
}

// phrase makes a Phrase from names and values in turn.
func phrase(code string, args ...string) Phrase {
	p := Phrase{Code: code}
	if len(args) > 0 {
		p.Args = map[string]string{}
	}
	for i := 0; i+1 < len(args); i += 2 {
		p.Args[args[i]] = args[i+1]
	}
	return p
}

// unless is code, or no-CODE where the check wants the thing to be absent.
func unless(absent bool, code string) string {
	if absent {
		return "no-" + code
	}
	return code
}

// phrases are the codes in English.
var phrases = map[string]string{
	"netns":       "network namespace {name}",
	"no-netns":    "no network namespace {name}",
	"named":       ", named in /run/netns",
	"unnamed":     ", no longer named in /run/netns",
	"link":        "{node}: link {name}",
	"no-link":     "{node}: no link {name}",
	"is-a":        ", a {type}",
	"up":          ", up",
	"down":        ", down",
	"carrier":     ", carrier",
	"no-carrier":  ", no carrier",
	"port-of":     ", a port of {bridge}",
	"other-end":   ", other end {peer}",
	"addr":        "{node}: address {prefix} on {dev}",
	"no-addr":     "{node}: no address {prefix} on {dev}",
	"route":       "{node}: route {route}",
	"no-route":    "{node}: no route {route}",
	"sysctl":      "{node}: {key} = {value}",
	"policy":      "{node}: {chain} policy {policy}",
	"rule":        "{node}: {chain} rule {rule}",
	"no-rule":     "{node}: no {chain} rule {rule}",
	"packets":     ", packets {n}",
	"neigh":       "{node}: {ip} is at the MAC address of {of}",
	"fdb":         "{node}: bridge has learned the MAC address of {of} behind {dev}",
	"listener":    "{node}: socket listening on {proto} port {port}",
	"no-listener": "{node}: no socket listening on {proto} port {port}",
	"conn":        "{node}: conntrack entry {entry}",
	"no-conn":     "{node}: no conntrack entry {entry}",
	"replied":     ", replied",
	"unreplied":   ", unreplied",
	"command":     "{node}# …{text}…",
	"status":      " ends with status {n}",
	"fails":       " fails",
	"succeeds":    " succeeds",
	"prints":      " prints {text}",
	"packet":      "{packet}",
	"back":        " (on the way back)",
	"from":        " from {from}",
	"to":          " to {to}",
	"at":          "; {place}",
	"never":       "; never {place}",
	"rewrites":    " rewrites {change}",
	"because":     " because of {cause}",
	"ends":        "; ends",
	"ends-at":     " at {node}",
	"ends-how":    ": {how}",
}

var blank = regexp.MustCompile(`\{(\w+)\}`)

// english writes phrases out.
func english(ps []Phrase) string {
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(blank.ReplaceAllStringFunc(phrases[p.Code], func(name string) string { return p.Args[name[1:len(name)-1]] }))
	}
	return b.String()
}
