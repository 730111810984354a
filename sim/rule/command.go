package rule

import (
	"fmt"
	"slices"
	"strings"
)

// Command is a whole command line of iptables: do_parse (iptables/xshared.c).
type Command struct {
	Prog string // as it calls itself in its messages: iptables, iptables-restore
	Line int    // of the file that iptables-restore reads; 0 on a command line
	Verb Verb
	// Table is filter unless -t says otherwise.
	Table string
	Chain string
	Named bool // the command names a chain, even if its name is ""
	Num   int  // a rule's number in Chain, from 1; 0 when the command names none
	// Rules are those of -A, -I, -R, -D and -C: one for each pair of a source and
	// a destination, in that order.
	Rules   []*Rule
	NewName string // of -E
	Policy  string // of -P
	Then    Verb   // Zero or ZeroNum beside List or ListRules; else 0
	// Packets and Bytes are what -c sets the counters of a new rule to.
	Packets, Bytes uint64

	Verbose                     int // how often -v was there
	Numeric, Exact, LineNumbers bool

	// Done says that there is nothing left to do but to print Output (-V).
	Done   bool
	Output string
	Notes  string // what iptables says to stderr without failing
}

// Verb is what a Command does.
type Verb uint32

// The verbs (enum of CMD_ in iptables/xshared.h): -I, -D with a rule or a number,
// -R, -A, -L, -F, -Z, -N, -X, -P, -E, -S, -Z with a number, -C.
const (
	Insert Verb = 1 << iota
	Delete
	DeleteNum
	Replace
	Append
	List
	Flush
	Zero
	NewChain
	DeleteChain
	SetPolicy
	Rename
	ListRules
	ZeroNum
	Check
)

const verbLetters = "IDDRALFZNXPESZC"

// letter is the option that asks for the highest verb of v: cmd2char.
func (v Verb) letter() string {
	i := 0
	for v > 1 {
		v >>= 1
		i++
	}
	return verbLetters[i : i+1]
}

// maxName is how long the name of a chain may be (XT_EXTENSION_MAXNAMELEN).
const maxName = 29

// Hook is a point on a packet's way through IP (enum nf_inet_hooks).
type Hook uint8

// The hooks in the order of their numbers, in which iptables lists built-in chains.
const (
	Prerouting Hook = iota
	Input
	Forward
	Output
	Postrouting
)

var hookNames = [...]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// String is the name of the hook's built-in chains.
func (h Hook) String() string { return hookNames[h] }

// Tables are iptables' tables in the order that iptables-save has, each with the
// hooks of its built-in chains (xtables_ipv4, iptables/nft.c).
var Tables = []struct {
	Name  string
	Hooks []Hook
}{
	{"mangle", []Hook{Prerouting, Input, Forward, Output, Postrouting}},
	{"security", []Hook{Input, Forward, Output}},
	{"raw", []Hook{Prerouting, Output}},
	{"filter", []Hook{Input, Forward, Output}},
	{"nat", []Hook{Prerouting, Input, Output, Postrouting}},
}

// Hooks are the hooks of a table's built-in chains, nil if there is no such table.
func Hooks(table string) []Hook {
	for _, t := range Tables {
		if t.Name == table {
			return t.Hooks
		}
	}
	return nil
}

// Builtin finds the hook of a built-in chain of a table.
func Builtin(table, chain string) (Hook, bool) {
	for _, h := range Hooks(table) {
		if h.String() == chain {
			return h, true
		}
	}
	return 0, false
}

// ParseCommand reads a command line; argv[0] is the program. The error is an *Error.
func ParseCommand(argv []string) (*Command, error) { return ParseLine(argv, 0) }

// ParseLine reads a line of what iptables-restore is given, split into words;
// argv[0] is the program. With line 0 it is ParseCommand.
func ParseLine(argv []string, line int) (c *Command, err error) {
	p := &parser{getopt: getopt{argv: slices.Clone(argv), optind: 1}}
	p.Prog, p.Line, p.Table = argv[0], line, "filter"
	defer func() {
		if e, ok := recover().(*Error); ok {
			e.Text = p.notes.String() + e.Text
			c, err = nil, e
		}
	}()
	for i := range p.argv { // C strings end at their first zero byte
		p.argv[i], _, _ = strings.Cut(p.argv[i], "\x00")
	}
	p.read()
	p.Notes = p.notes.String()
	return &p.Command, nil
}

// NoChain is the refusal of a rule that names a chain which does not exist.
func (c *Command) NoChain(name string) *Error {
	return failure(c.Prog, c.Line, wrongWords, "Chain '"+name+"' does not exist")
}

// Refused is the refusal of a command by the kernel, in the words of
// nft_strerror (iptables/nft.c).
func (c *Command) Refused(text string) *Error {
	if c.Line > 0 {
		return &Error{Text: fmt.Sprintf("%s: line %d failed: %s.\n", c.Prog, c.Line, text), Status: other}
	}
	return &Error{Text: c.Prog + ": " + text + ".\n", Status: other}
}

// Incompatible is what is said of a chain that cannot be listed because it is
// not there.
func (c *Command) Incompatible() *Error {
	return failure(c.Prog, c.Line, other, "chain `"+c.Chain+"' in table `"+c.Table+"' is incompatible, use 'nft' tool.")
}

// Batch is the refusal of a message of a transaction by the kernel
// (mnl_append_error, iptables/nft.c): of what, as "RULE_APPEND" or "CHAIN_DEL",
// with the errno's text, concerning "rule in chain INPUT".
func Batch(prog string, refusals ...Refusal) *Error {
	var msg strings.Builder
	for _, r := range refusals {
		if r.Line > 0 {
			fmt.Fprintf(&msg, "\nline %d:", r.Line)
		}
		fmt.Fprintf(&msg, " %s failed (%s): %s", r.Message, r.Errno, r.About)
	}
	return failure(prog, 0, noResource, msg.String())
}

// Refusal is one message of a transaction that the kernel did not take.
type Refusal struct {
	Line    int    // of the file, 0 on a command line
	Message string // RULE_APPEND, CHAIN_DEL, …
	Errno   string // its text
	About   string // rule in chain INPUT, chain MINE
}

func (p *parser) read() {
	not := false
	for {
		g := p.next()
		if g == nil {
			break
		}
		again, done := p.take(g, &not)
		if done {
			return
		}
		if !again {
			not = false
		}
	}
	p.afterwards(not)
}

// take acts on one option. again: it is to be read once more, or was a "!".
func (p *parser) take(g *got, not *bool) (again, done bool) {
	switch g.letter {
	case 'A', 'C', 'D', 'R', 'I', 'L', 'S', 'F', 'Z', 'N', 'X', 'E', 'P':
		p.verb(g.letter, *not)
	case 'h':
		panic(notSimulated("%s -h", p.Prog))
	case 'p':
		p.option('p', *not)
		p.protocol = strings.ToLower(p.last())
		p.argv[p.optind-1] = p.protocol
		p.rule.Proto, p.rule.NotProto = p.protoNumber(p.protocol), *not
		if p.rule.Proto == 0 && p.rule.NotProto {
			p.wrong("rule would never match protocol")
		}
	case 's':
		p.option('s', *not)
		p.src, p.notSrc = new(p.last()), *not
	case 'd':
		p.option('d', *not)
		p.dst, p.notDst = new(p.last()), *not
	case 'g':
		p.option('j', *not)
		p.isGoto = true
		p.jump = p.targetName(p.optarg)
	case 'j':
		p.option('j', *not)
		p.jump = p.targetName(p.last())
		e := targets[p.jump]
		if e == nil && otherTargets[p.jump] {
			panic(notSimulated("-j %s", p.jump))
		}
		if e != nil {
			p.target = p.load(e)
			p.extend(p.target)
		}
	case 'i', 'o':
		if p.optarg == "" {
			p.wrong("Empty interface is likely to be undesired")
		}
		p.option(g.letter, *not)
		f := p.iface(p.last(), *not)
		if g.letter == 'i' {
			p.rule.In = f
		} else {
			p.rule.Out = f
		}
	case 'f':
		p.option('f', *not)
		p.rule.Fragment = LaterFragment
		if *not {
			p.rule.Fragment = NotFragment
		}
	case 'v':
		if p.Verbose == 0 {
			p.option('v', *not)
		}
		p.Verbose++
	case 'm':
		if *not {
			p.wrong("unexpected ! flag before --match")
		}
		p.useMatch(p.optarg, true)
	case 'n':
		p.option('n', *not)
		p.Numeric = true
	case 't':
		if *not {
			p.wrong("unexpected ! flag before --table")
		}
		if p.Line > 0 && strings.Contains(p.options, "t") {
			p.wrong("The -t option cannot be used in %s.\n", p.Prog)
		}
		p.options += "t"
		p.Table = p.optarg
	case 'x':
		p.option('x', *not)
		p.Exact = true
	case 'V':
		p.Done = true
		p.Output = p.Prog + " v" + Version + "\n"
		if *not {
			p.Output = "Not " + Version + " ;-)\n"
		}
		return false, true
	case 'w':
		p.wait()
	case 'W':
		p.waitInterval()
	case '0':
		p.option('0', *not)
		p.LineNumbers = true
	case 'M', '4':
	case 'c':
		p.option('c', *not)
		p.counters()
	case '6':
		if p.Line > 0 {
			p.Done = true // a line for ip6tables-restore
			return false, true
		}
		panic(&Error{Text: tryHelp(p.Prog), Status: wrongWords})
	case 1: // no option
		if p.optarg != "!" {
			panic(&Error{Text: "Bad argument `" + p.optarg + "'\n" + p.lineNote() + tryHelp(p.Prog), Status: wrongWords})
		}
		if *not {
			p.wrong("multiple consecutive ! not allowed")
		}
		*not = true
		p.argv[p.optind-1] = ""
		return true, false
	default:
		return p.extensionOption(g, *not), false
	}
	return false, false
}

func (p *parser) lineNote() string {
	if p.Line > 0 {
		return fmt.Sprintf("Error occurred at line: %d\n", p.Line)
	}
	return ""
}

// verb is one of the options that say what to do.
func (p *parser) verb(letter byte, not bool) {
	verbs := map[byte]Verb{'A': Append, 'C': Check, 'D': Delete, 'R': Replace, 'I': Insert, 'L': List, 'S': ListRules,
		'F': Flush, 'Z': Zero, 'N': NewChain, 'X': DeleteChain, 'E': Rename, 'P': SetPolicy}
	v := verbs[letter]
	if letter == 'N' {
		p.CheckName(p.optarg)
	}
	var with Verb
	switch letter {
	case 'L', 'S':
		with = Zero | ZeroNum
	case 'Z':
		with = List | ListRules
	}
	if not {
		p.wrong("unexpected '!' flag")
	}
	if clash := p.Verb &^ with; clash != 0 {
		p.wrong("Cannot use -%s with -%s", v.letter(), clash.letter())
	}
	p.Verb |= v
	number := func() bool {
		if !p.hasArg() {
			return false
		}
		w := p.word()
		n, ok := number(w, 1, 1<<31-1)
		if !ok {
			p.wrong("Invalid rule number `%s'", w)
		}
		p.Num = int(n)
		return true
	}
	switch letter {
	case 'A', 'C', 'N':
		p.Chain, p.Named = p.optarg, true
	case 'D':
		p.Chain, p.Named = p.optarg, true
		if number() {
			p.Verb = DeleteNum
		}
	case 'R':
		p.Chain, p.Named = p.optarg, true
		if !number() {
			p.wrong("-R requires a rule number")
		}
	case 'I':
		p.Chain, p.Named = p.optarg, true
		if !number() {
			p.Num = 1
		}
	case 'L', 'S', 'F', 'Z', 'X':
		if p.given {
			p.Chain, p.Named = p.optarg, true
		} else if p.hasArg() {
			p.Chain, p.Named = p.word(), true
		}
		if (letter == 'L' || letter == 'S') && number() || letter == 'Z' && number() {
			if letter == 'Z' {
				p.Verb = ZeroNum
			}
		}
	case 'E':
		p.Chain, p.Named = p.optarg, true
		if !p.hasArg() {
			p.wrong("-E requires old-chain-name and new-chain-name")
		}
		p.NewName = p.word()
	case 'P':
		p.Chain, p.Named = p.optarg, true
		if !p.hasArg() {
			p.wrong("-P requires a chain and a policy")
		}
		p.Policy, p.policy = p.word(), true
	}
}

// CheckName refuses what cannot be the name of a new chain: assert_valid_chain_name.
func (p *parser) CheckName(name string) {
	if msg := badChainName(name); msg != "" {
		p.wrong("%s", msg)
	}
}

func badChainName(name string) string {
	switch {
	case len(name) >= maxName:
		return fmt.Sprintf("chain name `%s' too long (must be under %d chars)", name, maxName)
	case name != "" && (name[0] == '-' || name[0] == '!'):
		return fmt.Sprintf("chain name not allowed to start with `%c'", name[0])
	case isTarget(name):
		return "chain name may not clash with target name"
	case strings.ContainsAny(name, " \t\n\v\f\r"):
		return "Invalid chain name `" + name + "'"
	}
	return ""
}

// BadChain is the refusal of a line of iptables-restore that declares a chain
// of a name that cannot be one; nil when it can.
func BadChain(prog string, line int, name string) *Error {
	if msg := badChainName(name); msg != "" {
		return failure(prog, line, wrongWords, msg)
	}
	return nil
}

func (p *parser) targetName(name string) string {
	switch {
	case name == "":
		p.wrong("Invalid target name (too short)")
	case len(name) >= maxName:
		p.wrong("Invalid target name `%s' (%d chars max)", name, maxName-1)
	case strings.ContainsAny(name, " \t\n\v\f\r"):
		p.wrong("Invalid target name `%s'", name)
	}
	return name
}

// useMatch loads a match: command_match, xtables_find_match.
func (p *parser) useMatch(name string, must bool) *loaded {
	if len(name) >= maxName {
		p.wrong("Invalid match name \"%s\" (%d chars max)", name, maxName-1)
	}
	e := matches[name]
	if e == nil && otherMatches[name] {
		panic(notSimulated("-m %s", name))
	}
	if e == nil {
		if must {
			p.wrong("Couldn't load match `%s':No such file or directory\n", name)
		}
		return nil
	}
	known := false
	for _, m := range p.matches {
		if m.ext == e {
			m.completed, known = true, true
		}
	}
	l := p.load(e)
	p.matches = append(p.matches, l)
	if !known {
		p.extend(l)
	}
	return l
}

// extend puts an extension's options before those of the others loaded.
func (p *parser) extend(l *loaded) {
	var more []longOption
	for i := range l.ext.opts {
		o := &l.ext.opts[i]
		arg := 0
		if o.arg {
			arg = 1
		}
		more = append(more, longOption{name: o.name, arg: arg, ext: l.ext, opt: o})
	}
	p.long = append(more, p.long...)
}

// extensionOption hands an option to the target or match that has it, or loads
// the match of the protocol and reads the option again: command_default.
func (p *parser) extensionOption(g *got, not bool) (again bool) {
	if g.opt != nil {
		if p.target != nil && p.target.ext == g.ext {
			p.apply(p.target, g.opt, not)
			return false
		}
		for _, m := range p.matches {
			if m.ext == g.ext && !m.completed {
				p.apply(m, g.opt, not)
				return false
			}
		}
	}
	if p.protocol != "" && !p.protoUsed {
		name := p.protocol
		if n, ok := number(name, 0, 255); ok {
			name = ProtocolName(uint8(n), p.Numeric)
		}
		if name != "" && p.useMatch(name, false) != nil {
			p.protoUsed = true
			p.optind--
			return true
		}
	}
	switch g.letter {
	case ':':
		p.wrong("option \"%s\" requires an argument", p.last())
	case '?':
		p.wrong("unknown option \"%s\"", p.last())
	}
	arg := p.optarg
	if !p.given {
		arg = "(null)"
	}
	p.wrong("Unknown arg \"%s\"", arg)
	return false
}

// optionLetters are the options whose use with a verb is restricted; legal has
// for each verb those it takes.
const optionLetters = "nsdpjvxio0cf"

var legal = map[Verb]string{Insert: "sdpjviocf", Delete: "sdpjviof", DeleteNum: "v", Replace: "sdpjviocf", Append: "sdpjviocf",
	List: "nvx0", Flush: "v", Zero: "v", NewChain: "v", DeleteChain: "v", SetPolicy: "vc", Rename: "v", ListRules: "v", ZeroNum: "v",
	Check: "sdpjviof"}

// option notes that a generic option was given: set_option.
func (p *parser) option(letter byte, not bool) {
	if strings.IndexByte(p.options, letter) >= 0 {
		p.wrong("multiple -%c flags not allowed", letter)
	}
	p.options += string(letter)
	if not && !strings.ContainsRune("sdpiof", rune(letter)) {
		p.wrong("cannot have ! before -%c", letter)
	}
}

// last is the word before the next: argv[optind - 1].
func (p *parser) last() string { return p.argv[p.optind-1] }

// hasArg reports whether the next word may belong to the option before it: xs_has_arg.
func (p *parser) hasArg() bool {
	return p.optind < len(p.argv) && !strings.HasPrefix(p.argv[p.optind], "-") && !strings.HasPrefix(p.argv[p.optind], "!")
}

func (p *parser) word() string {
	p.optind++
	return p.argv[p.optind-1]
}

func (p *parser) wait() {
	if p.Line > 0 {
		p.wrong("You cannot use `-w' from iptables-restore")
	}
	p.options += "w"
	s := p.optarg
	if !p.given {
		if !p.hasArg() {
			return
		}
		s = p.word()
	}
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	n, _, ok := strtoul(strings.TrimPrefix(s, "-"), 0)
	if !ok && n == 0 {
		p.wrong("wait seconds not numeric")
	}
	if uint32(n) == 0 {
		p.options = strings.ReplaceAll(p.options, "w", "")
	}
}

func (p *parser) waitInterval() {
	if p.Line > 0 {
		p.wrong("You cannot use `-W' from iptables-restore")
	}
	s := p.optarg
	if !p.given {
		if !p.hasArg() {
			p.wrong("wait interval value required")
		}
		s = p.word()
	}
	n, ok := scan(s)
	if !ok {
		p.wrong("wait interval not numeric")
	}
	if uint32(n) > 999999 {
		p.wrong("too long usec wait %d > 999999 usec", uint32(n))
	}
	p.notes.WriteString("Ignoring deprecated --wait-interval option.\n")
	p.options += "W"
}

func (p *parser) counters() {
	packets, bytes := p.optarg, ""
	i := -1
	if len(packets) > 1 {
		i = strings.IndexByte(packets[1:], ',')
	}
	switch {
	case i >= 0:
		bytes = packets[i+2:]
	case p.hasArg():
		bytes = p.word()
	default:
		p.wrong("-c requires packet and byte counter")
	}
	var ok bool
	if p.Packets, ok = scan(packets); !ok {
		p.wrong("-c packet counter not numeric")
	}
	if p.Bytes, ok = scan(bytes); !ok {
		p.wrong("-c byte counter not numeric")
	}
}

// afterwards checks what is to be checked when all words are read, and makes the rules.
func (p *parser) afterwards(not bool) {
	if p.Table == "nat" && (p.policy && p.Policy == "DROP" || p.jump == "DROP") {
		p.wrong("\nThe \"nat\" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n")
	}
	if strings.Contains(p.options, "W") && !strings.Contains(p.options, "w") {
		p.wrong("--wait-interval only makes sense with --wait\n")
	}
	for _, m := range p.matches {
		p.finish(m)
	}
	if p.target != nil {
		p.finish(p.target)
	}
	switch {
	case p.optind < len(p.argv):
		p.wrong("unknown arguments found on commandline")
	case p.Verb == 0:
		p.wrong("no command specified")
	case not:
		p.wrong("nothing appropriate following !")
	}
	const ofRules = Append | Insert | Replace | Delete | Check
	all := []Net{{}}
	srcs, dsts := all, all
	if p.src != nil {
		srcs = p.nets(*p.src)
	}
	if p.dst != nil {
		dsts = p.nets(*p.dst)
	}
	if (len(srcs) > 1 || len(dsts) > 1) && (p.notSrc || p.notDst) {
		p.wrong("! not allowed with multiple source or destination IP addresses")
	}
	if p.Verb == Replace && (len(srcs) != 1 || len(dsts) != 1) {
		p.wrong("Replacement rule does not specify a unique address")
	}
	for _, o := range optionLetters {
		if !strings.ContainsRune(p.options, o) {
			continue
		}
		ok := false
		for v, takes := range legal {
			ok = ok || p.Verb&v != 0 && strings.ContainsRune(takes, o)
		}
		if !ok {
			p.wrong("Illegal option `-%c' with this command", o)
		}
	}
	if len(p.Chain) >= maxName {
		p.wrong("chain name `%s' too long (must be under %d chars)", p.Chain, maxName)
	}
	if p.Verb&(ofRules|DeleteNum) != 0 {
		switch {
		case (p.Chain == "PREROUTING" || p.Chain == "INPUT") && strings.Contains(p.options, "o"):
			p.wrong("Can't use -o with %s\n", p.Chain)
		case (p.Chain == "POSTROUTING" || p.Chain == "OUTPUT") && strings.Contains(p.options, "i"):
			p.wrong("Can't use -i with %s\n", p.Chain)
		}
	}
	if Hooks(p.Table) == nil {
		p.fail(wrongTable, "table '%s' does not exist", p.Table)
	}
	if p.Verb&(List|ListRules) != 0 {
		p.Then = p.Verb & (Zero | ZeroNum)
		p.Verb &^= p.Then
	}
	if p.Verb&ofRules == 0 {
		return
	}
	for _, s := range srcs {
		s.Not = p.notSrc
		for _, d := range dsts {
			d.Not = p.notDst
			r := p.rule
			r.Src, r.Dst = s, d
			p.makeRule(&r)
			p.Rules = append(p.Rules, &r)
		}
	}
}

// nets reads a list of addresses: xtables_ipparse_multiple.
func (p *parser) nets(list string) (nets []Net) {
	for w := range strings.SplitSeq(list, ",") {
		w = strings.TrimLeft(w, " \t\n\v\f\r")
		if len(w) > 255 {
			p.wrong("Hostname too long")
		}
		name := w
		mask := uint32(0xffffffff)
		if i := strings.LastIndexByte(w, '/'); i >= 0 {
			name = w[:i]
			var ok bool
			if mask, ok = dotted(w[i+1:], true); !ok {
				bits, ok := number(w[i+1:], 0, 32)
				if !ok {
					p.wrong("invalid mask `%s' specified", w[i+1:])
				}
				mask = uint32(^uint64(0) << (32 - bits))
			}
		}
		if mask == 0 {
			name = "0.0.0.0"
		}
		a, ok := dotted(name, false)
		if !ok {
			a, ok = networks[name]
		}
		if !ok {
			a, ok = host(name)
		}
		if !ok {
			p.wrong("host/network `%s' not found", name)
		}
		nets = append(nets, Net{Addr: a & mask, Mask: mask})
	}
	return nets
}
