package cmdline

import (
	"slices"
	"strconv"
	"strings"

	"vethlab/sim/op"
)

// iptables(8). The table's name and -w may stand anywhere; whatever is not
// part of the command itself is the rule, kept word for word in its order.
// iptables-legacy and iptables-nft choose a form of their own and so stay Tools.
func parseIptables(_ *Command, args []string) (op.Op, error) {
	table := ""
	var verb, chain, target string
	pos, hasPos := 1, false
	var spec []string
	w := list{args: args}
	for w.more() {
		word, _ := w.next()
		inverted := len(spec) > 0 && spec[len(spec)-1] == "!" // and so part of no rule: iptables says why
		if long, value, ok := strings.Cut(word, "="); ok && (long == "--table" || long == "--wait") {
			word = long
			w.args = append([]string{value}, w.args...)
		}
		switch {
		case slices.Contains(textOptions, word):
			v, ok := w.next()
			if !ok {
				return nil, nil
			}
			spec = append(spec, word, v)
			continue
		case word == "-t" || word == "--table":
			if table != "" || inverted {
				return nil, nil
			}
			table, _ = w.next()
			if !slices.Contains(tableNames, table) {
				return nil, nil
			}
			continue
		case strings.HasPrefix(word, "-t") && slices.Contains(tableNames, word[2:]) && table == "" && !inverted:
			table = word[2:]
			continue
		case (word == "-w" || word == "--wait") && len(spec) > 0 && strings.HasPrefix(spec[len(spec)-1], "-"):
			return nil, nil // it may be what the option before wants
		case word == "-w" || word == "--wait":
			if w.more() && digits(w.args[0]) {
				w.next()
			}
			continue
		case strings.HasPrefix(word, "-w") && digits(word[2:]):
			continue
		case slices.Contains(otherOptions, word):
			return nil, nil
		}
		v, attached := iptablesVerb(word)
		if v == "" {
			if strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "--") && len(word) > 2 && !strings.Contains("psdjiomg", word[1:2]) {
				return nil, nil // several letters in one word
			}
			spec = append(spec, word)
			continue
		}
		if verb != "" || inverted {
			return nil, nil
		}
		verb, chain = v, attached
		optional := v == "-X" || v == "-F" || v == "-Z"
		if chain == "" && w.more() && (!optional || !strings.HasPrefix(w.args[0], "-")) {
			if chain, _ = w.next(); chain == "" {
				return nil, nil // not the same as no chain
			}
		}
		if chain == "" && optional {
			continue
		}
		if chain == "" || strings.HasPrefix(chain, "-") || chain == "!" || len(chain) > 28 {
			return nil, nil
		}
		if (v == "-I" || v == "-D") && w.more() && digits(w.args[0]) {
			n, _ := w.next()
			p, err := strconv.Atoi(n)
			if err != nil || p < 1 {
				return nil, nil
			}
			pos, hasPos = p, true
		} else if (v == "-I" || v == "-D") && w.more() && !strings.HasPrefix(w.args[0], "-") && !strings.HasPrefix(w.args[0], "!") {
			return nil, nil // iptables takes it for a number
		}
		if v == "-P" {
			target, _ = w.next()
			if target == "" || strings.HasPrefix(target, "-") {
				return nil, nil
			}
		}
	}
	if table == "" {
		table = "filter"
	}
	if len(spec) > 0 && (hasPos && verb == "-D" || slices.Contains([]string{"-N", "-X", "-F", "-Z", "-P"}, verb)) {
		return nil, nil
	}
	if (verb == "-I" || verb == "-D") && len(spec) > 0 && !strings.HasPrefix(spec[0], "-") && !strings.HasPrefix(spec[0], "!") {
		return nil, nil // behind the chain it would be a number
	}
	switch verb {
	case "-A":
		return op.RuleAppend{Table: table, Chain: chain, Spec: spec}, nil
	case "-I":
		return op.RuleInsert{Table: table, Chain: chain, Pos: pos, Spec: spec}, nil
	case "-D":
		if hasPos {
			return op.RuleDeleteAt{Table: table, Chain: chain, Pos: pos}, nil
		}
		return op.RuleDelete{Table: table, Chain: chain, Spec: spec}, nil
	case "-C":
		return op.RuleCheck{Table: table, Chain: chain, Spec: spec}, nil
	case "-N":
		return op.ChainNew{Table: table, Chain: chain}, nil
	case "-X":
		return op.ChainDel{Table: table, Chain: chain}, nil
	case "-F":
		return op.ChainFlush{Table: table, Chain: chain}, nil
	case "-Z":
		return op.ChainZero{Table: table, Chain: chain}, nil
	case "-P":
		return op.PolicySet{Table: table, Chain: chain, Policy: target}, nil
	}
	return nil, nil
}

var (
	tableNames = []string{"filter", "nat", "mangle", "raw", "security"}
	// textOptions take any text, even one that looks like an option.
	textOptions = []string{"--comment", "--log-prefix", "--nflog-prefix", "--string", "--hex-string"}
	// otherOptions ask for something that no operation holds.
	otherOptions = []string{"-L", "--list", "-S", "--list-rules", "-R", "--replace", "-E", "--rename-chain", "-h", "--help",
		"-V", "--version", "-v", "--verbose", "-n", "--numeric", "-x", "--exact", "--line-numbers", "-c", "--set-counters",
		"-W", "--wait-interval", "-M", "--modprobe", "-6", "--ipv6", "-4", "--ipv4", "-f", "--fragment"}
	longVerbs = map[string]string{"--append": "-A", "--insert": "-I", "--delete": "-D", "--check": "-C", "--new-chain": "-N",
		"--new": "-N", "--delete-chain": "-X", "--flush": "-F", "--zero": "-Z", "--policy": "-P"}
)

// iptablesVerb reads -A, --append, -AFORWARD and --append=FORWARD.
func iptablesVerb(word string) (verb, chain string) {
	if long, value, ok := strings.Cut(word, "="); ok || strings.HasPrefix(word, "--") {
		return longVerbs[long], value
	}
	if len(word) > 1 && word[0] == '-' && strings.Contains("AIDCNXFZP", word[1:2]) {
		return word[:2], word[2:]
	}
	return "", ""
}

func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// iptablesFailure has the sentences of nft_strerror (iptables/nft.c), which
// the legacy form shares.
func (c Command) iptablesFailure(f *op.Failure) (string, int) {
	if f.Message != "" {
		return f.Message, 1
	}
	text := op.Strerror(f.Errno) + "."
	switch o := c.Op.(type) {
	case op.RuleDelete, op.RuleCheck:
		text = "Bad rule (does a matching rule exist in that chain?)."
	case op.RuleInsert:
		text = "No chain/target/match by that name."
		if f.Errno == e2big {
			text = "Index of insertion too big."
		}
	case op.RuleAppend, op.RuleDeleteAt, op.ChainFlush, op.ChainZero:
		text = "No chain/target/match by that name."
	case op.ChainNew:
		if f.Errno == eexist {
			text = "Chain already exists."
		}
	case op.ChainDel:
		if f.Errno == ebusy || f.Errno == enotempty || f.Errno == emlink {
			return "iptables v1.8.9 (nf_tables):  CHAIN_DEL failed (Device or resource busy): chain " + o.Chain, 4
		}
		text = "No chain/target/match by that name."
	case op.PolicySet:
		text = "Bad built-in chain name."
		if f.Errno == einval {
			text = "Bad policy name. Run `dmesg' for more information."
		}
	}
	return "iptables: " + text, 1
}
