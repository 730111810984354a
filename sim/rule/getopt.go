package rule

import "strings"

// getopt takes a command line apart as getopt_long(3) of the C library does with
// an option string that begins with "-:": words that are no option come in
// their place, and a missing argument is told from an unknown option.
type getopt struct {
	argv   []string
	optind int    // of the next word
	rest   string // of a word of several letters
	optarg string
	given  bool // there is an optarg
	long   []longOption
}

// shortOptions: a colon for an argument, two for one that has to be attached
// (IPT_OPTSTRING, iptables/xshared.h).
const shortOptions = "A:C:D:E:F::I:L::M:N:P:VX::Z::c:d:i:j:o:p:s:t:R:S::W::46bfg:h::m:nvw::x"

// longOption is an entry of getopt_long's table: a generic option has a letter,
// an extension's its option.
type longOption struct {
	name   string
	arg    int // 0 none, 1 required, 2 optional
	letter byte
	ext    *extension
	opt    *option
}

// genericOptions come before those of extensions (original_opts, iptables/xtables.c).
var genericOptions = []longOption{{"append", 1, 'A', nil, nil}, {"delete", 1, 'D', nil, nil}, {"check", 1, 'C', nil, nil},
	{"insert", 1, 'I', nil, nil}, {"replace", 1, 'R', nil, nil}, {"list", 2, 'L', nil, nil}, {"list-rules", 2, 'S', nil, nil},
	{"flush", 2, 'F', nil, nil}, {"zero", 2, 'Z', nil, nil}, {"new-chain", 1, 'N', nil, nil}, {"delete-chain", 2, 'X', nil, nil},
	{"rename-chain", 1, 'E', nil, nil}, {"policy", 1, 'P', nil, nil}, {"source", 1, 's', nil, nil}, {"destination", 1, 'd', nil, nil},
	{"src", 1, 's', nil, nil}, {"dst", 1, 'd', nil, nil}, {"protocol", 1, 'p', nil, nil}, {"in-interface", 1, 'i', nil, nil},
	{"jump", 1, 'j', nil, nil}, {"table", 1, 't', nil, nil}, {"match", 1, 'm', nil, nil}, {"numeric", 0, 'n', nil, nil},
	{"out-interface", 1, 'o', nil, nil}, {"verbose", 0, 'v', nil, nil}, {"wait", 2, 'w', nil, nil}, {"wait-interval", 2, 'W', nil, nil},
	{"exact", 0, 'x', nil, nil}, {"fragments", 0, 'f', nil, nil}, {"version", 0, 'V', nil, nil}, {"help", 2, 'h', nil, nil},
	{"line-numbers", 0, '0', nil, nil}, {"modprobe", 1, 'M', nil, nil}, {"set-counters", 1, 'c', nil, nil}, {"goto", 1, 'g', nil, nil},
	{"ipv4", 0, '4', nil, nil}, {"ipv6", 0, '6', nil, nil}}

// same reports whether two entries stand for the same option.
func (a *longOption) same(b *longOption) bool {
	if a.arg != b.arg || a.letter != b.letter || a.ext != b.ext {
		return false
	}
	return a.opt == b.opt || a.opt != nil && b.opt != nil && a.opt.id == b.opt.id
}

// got is one thing that next found.
type got struct {
	letter byte // 1: a word that is no option; ':' and '?': errors; 0: opt is set
	ext    *extension
	opt    *option
}

// next finds the next option, nil at the end.
func (g *getopt) next() *got {
	g.optarg, g.given = "", false
	if g.rest == "" {
		if g.optind >= len(g.argv) {
			return nil
		}
		w := g.argv[g.optind]
		switch {
		case w == "--":
			g.optind++
			return nil
		case len(w) < 2 || w[0] != '-':
			g.optind++
			g.optarg, g.given = w, true
			return &got{letter: 1}
		case w[1] == '-':
			return g.longWord(w[2:])
		}
		g.rest = w[1:]
	}
	c := g.rest[0]
	g.rest = g.rest[1:]
	if g.rest == "" {
		g.optind++
	}
	i := strings.IndexByte(shortOptions, c)
	if i < 0 || c == ':' {
		return &got{letter: '?'}
	}
	switch after := shortOptions[i+1:]; {
	case strings.HasPrefix(after, "::"):
		if g.rest != "" {
			g.optarg, g.given = g.rest, true
			g.optind++
		}
		g.rest = ""
	case strings.HasPrefix(after, ":"):
		switch {
		case g.rest != "":
			g.optarg, g.given = g.rest, true
			g.optind++
		case g.optind >= len(g.argv):
			c = ':'
		default:
			g.optarg, g.given = g.argv[g.optind], true
			g.optind++
		}
		g.rest = ""
	}
	return &got{letter: c}
}

func (g *getopt) longWord(w string) *got {
	name, value, hasValue := strings.Cut(w, "=")
	var found *longOption
	exact, ambiguous := false, false
	for _, list := range [][]longOption{genericOptions, g.long} {
		for i := range list {
			o := &list[i]
			switch {
			case exact || !strings.HasPrefix(o.name, name):
			case o.name == name:
				found, exact = o, true
			case found == nil:
				found = o
			case !found.same(o):
				ambiguous = true
			}
		}
	}
	g.optind++
	if found == nil || ambiguous && !exact {
		return &got{letter: '?'}
	}
	switch {
	case hasValue && found.arg == 0:
		return &got{letter: '?'}
	case hasValue:
		g.optarg, g.given = value, true
	case found.arg == 1 && g.optind >= len(g.argv):
		return &got{letter: ':'}
	case found.arg == 1:
		g.optarg, g.given = g.argv[g.optind], true
		g.optind++
	}
	return &got{letter: found.letter, ext: found.ext, opt: found.opt}
}
