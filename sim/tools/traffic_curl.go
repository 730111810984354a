package tools

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"vethlab/sim"
	"vethlab/sim/op"
)

// curl(1) 7.88.1, in the forms that are no operation: in the background, and
// with options beside -s, -v, -I and -m.

// curlLong are the long names of the options that the model knows.
var curlLong = map[string]string{"--silent": "-s", "--show-error": "-S", "--verbose": "-v", "--head": "-I", "--max-time": "-m",
	"--connect-timeout": "-m", "--ipv4": "-4", "--fail": "-f", "--include": "-i", "--output": "-o", "--write-out": "-w",
	"--location": "-L", "--insecure": "-k", "--no-buffer": "-N", "--globoff": "-g",
	"--header": "-H", "--request": "-X", "--user-agent": "-A", "--data": "-d", "--data-ascii": "-d"}

// curlVars are what -w knows here.
var curlVars = strings.NewReplacer("%{http_code}", "", "%{response_code}", "", "%{remote_ip}", "", "%{remote_port}", "", "%{size_download}", "",
	"%{time_total}", "")

// curlToken is what a method and a field's name are made of.
var curlToken = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// curlField is a value of -H, whose meaning for the connection the model does not
// know.
func curlField(f string) string {
	name, _, _ := strings.Cut(strings.TrimSuffix(f, ";"), ":")
	switch strings.ToLower(name) {
	case "connection", "content-length", "transfer-encoding", "expect", "range", "upgrade", "te", "trailer":
		notSimulated("curl -H %s", f)
	}
	if !curlToken.MatchString(name) {
		notSimulated("curl -H %s", f)
	}
	return f
}

func runCurl(c *call) op.Result {
	o := sim.HTTPOptions{}
	argv := []string{c.argv[0]}
	for _, a := range c.argv[1:] {
		name, _, has := strings.Cut(a, "=")
		if short, ok := curlLong[name]; ok && !has {
			argv = append(argv, short)
			continue
		} else if strings.HasPrefix(a, "--") {
			notSimulated("curl %s", name)
		}
		argv = append(argv, a)
	}
	opts, operands, wrong := getopt(argv, "svI4SfiLkNg", "mowHXAd")
	if _, name, bare := strings.Cut(wrong, "requires an argument -- '"); bare {
		fail(2, "curl: option -%s: requires parameter\ncurl: try 'curl --help' or 'curl --manual' for more information", name[:1])
	}
	if wrong != "" {
		notSimulated("curl %s", strings.Join(c.argv[1:], " "))
	}
	for _, f := range opts {
		switch f.name {
		case 's':
			o.Silent = true
		case 'S':
			o.Errors = true
		case 'v':
			o.Verbose = true
		case 'I':
			o.Head = true
		case 'f':
			o.Fail = true
		case 'i':
			o.Include = true
		case 'o':
			o.Output = f.value
		case 'w':
			if o.Write = f.value; strings.Contains(curlVars.Replace(o.Write), "%{") {
				notSimulated("curl -w %s", f.value)
			}
		case 'H':
			o.Fields = append(o.Fields, curlField(f.value))
		case 'X':
			if o.Method = f.value; !curlToken.MatchString(o.Method) || o.Method == "HEAD" {
				notSimulated("curl -X %s", f.value)
			}
		case 'A':
			o.Agent = &f.value
		case 'd':
			if strings.HasPrefix(f.value, "@") || len(f.value) > 1<<16 {
				notSimulated("curl -d %.20s", f.value)
			}
			data := f.value
			if o.Data != nil { // several are joined
				data = *o.Data + "&" + data
			}
			o.Data = &data
		case 'L', 'k', 'N', 'g': // the model's servers send nobody elsewhere, and speak no TLS
		case 'm':
			s, err := strconv.ParseFloat(f.value, 64)
			if err != nil || s < 0 || s > 1<<22 {
				fail(2, "curl: expected a proper numerical parameter\ncurl: try 'curl --help' or 'curl --manual' for more information")
			}
			if d := time.Duration(s * 1e9); o.Timeout == 0 || d < o.Timeout {
				o.Timeout = d
			}
		}
	}
	if o.Head && o.Data != nil {
		notSimulated("curl -I -d")
	}
	if len(operands) == 0 {
		fail(2, "curl: no URL specified!\ncurl: try 'curl --help' or 'curl --manual' for more information")
	}
	if len(operands) > 1 {
		notSimulated("curl with several URLs")
	}
	o.URL = operands[0]
	if scheme, _, ok := strings.Cut(o.URL, "://"); ok && !strings.EqualFold(scheme, "http") {
		notSimulated("curl %s://", scheme)
	}
	if strings.ContainsAny(o.URL, "[]{}") {
		notSimulated("curl %s", o.URL)
	}
	c.resolver()
	var f *sim.Fetcher
	interrupted := c.process(func(n *sim.Netns) *sim.Process {
		f = n.Fetch(o)
		return f.Process
	})
	if f == nil {
		return op.Result{}
	}
	if o.Output != "" && o.Output != "/dev/null" && o.Output != "-" && f.Status == 0 {
		if why := c.writeFile(o.Output, f.Body(), false); why != "" {
			fail(23, "curl: (23) Failure writing output to destination")
		}
	}
	return c.ended(f.Out.String(), f.Err.String(), f.Status, interrupted)
}
