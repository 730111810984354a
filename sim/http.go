package sim

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"vethlab/sim/op"
)

// The web server that plays `python3 -m http.server`. It is the same as the
// kernel lab's (exec/service_linux.go): every page is one line that names both
// ends.

// How long the server thinks, and how long after its answer it closes. They
// stand for no measurement: they only put the segments in the order in which a
// real server's go out.
const (
	httpThink = 600 * time.Microsecond
	httpClose = 200 * time.Microsecond
	httpWait  = 5 * time.Second // for a request's header
)

func (w *World) httpServe(n *Netns, o op.HTTPServe) op.Result {
	if errno := n.startHTTP(ipOf(o.Bind), uint16(o.Port), strings.Fields(strings.TrimSuffix(o.String(), " &"))...); errno != 0 {
		return serverFailed(errno)
	}
	return op.Result{}
}

// serverFailed is in Python's words, as the name is Python's.
func serverFailed(errno int) op.Result {
	return op.Result{Status: 1, Stderr: fmt.Sprintf("OSError: [Errno %d] %s\n", errno, op.Strerror(errno))}
}

func (n *Netns) startHTTP(ip IP, port uint16, args ...string) int {
	p := n.Start(args...)
	l := p.TCP()
	if errno := l.Bind(ip, port); errno != 0 {
		p.Exit()
		return errno
	}
	l.Listen(4096)
	l.Wake = func() {
		for c := l.Accept(); c != nil; c = l.Accept() {
			(&httpConn{p: p, c: c, node: n.name}).serve()
		}
	}
	return 0
}

// httpConn is a conversation with a client.
type httpConn struct {
	p        *Process
	c        *Socket
	node     string
	request  []byte
	answered bool
	late     *Timer
}

func (h *httpConn) serve() {
	h.late = h.p.After(httpWait, h.c.Close)
	h.c.Wake = h.read
	h.read()
}

func (h *httpConn) read() {
	data, end := h.c.Read()
	h.request = append(h.request, data...)
	if h.answered {
		return
	}
	if head, ok := h.head(end); ok {
		h.answered = true
		h.late.Stop()
		h.p.After(httpThink, func() {
			if !h.c.Established() {
				h.c.Close()
				return
			}
			h.c.Write(h.answer(head))
			h.p.After(httpClose, h.c.Close)
		})
		return
	}
	if end || h.c.Err() != 0 {
		h.late.Stop()
		h.p.After(httpClose, h.c.Close)
	}
}

// head returns the lines of a request's head, once nothing more is needed to answer
// it: all of it has come, or a first line that is none. end says that nothing more
// will come.
func (h *httpConn) head(end bool) (lines []string, ok bool) {
	for line := range bytes.Lines(h.request) {
		text, whole := strings.CutSuffix(string(line), "\n")
		if !whole && !end {
			return nil, false
		}
		if text = strings.TrimSuffix(text, "\r"); text == "" && len(lines) > 0 {
			return lines, true
		}
		if lines = append(lines, text); len(lines) == 1 {
			if _, _, ok := requestLine(text); !ok {
				return lines, true
			}
		}
	}
	if end && len(lines) > 0 { // cut off
		lines[0] = ""
		return lines, true
	}
	return nil, false
}

// requestLine returns the method and the version of "GET / HTTP/1.1".
func requestLine(line string) (method, version string, ok bool) {
	method, rest, ok1 := strings.Cut(line, " ")
	_, version, ok2 := strings.Cut(rest, " ")
	return method, version, ok1 && ok2 && (version == "HTTP/1.1" || version == "HTTP/1.0")
}

// answer is what Go's net/http says, which the kernel lab's server is made of.
func (h *httpConn) answer(head []string) []byte {
	method, version, ok := requestLine(head[0])
	host := false
	for _, f := range head[1:] {
		name, _, _ := strings.Cut(f, ":")
		host = host || strings.EqualFold(name, "host")
	}
	bad := ""
	switch {
	case !ok:
		bad = "400 Bad Request"
	case version == "HTTP/1.1" && !host:
		bad = "400 Bad Request: missing required Host header"
	}
	if bad != "" {
		return []byte("HTTP/1.1 " + bad + "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" + bad)
	}
	from, _ := h.c.Remote()
	_, port := h.c.Local()
	body := fmt.Sprintf("%s:%d says hello to %s\n", h.node, port, from)
	date := time.Unix(0, h.p.Now()).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	text := fmt.Sprintf("%s 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nDate: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
		version, date, len(body))
	if version == "HTTP/1.0" {
		text = strings.Replace(text, "Connection: close\r\n", "", 1)
	}
	if method != "HEAD" {
		text += body
	}
	return []byte(text)
}

// HTTPOptions are what curl(1) was asked to do.
type HTTPOptions struct {
	URL     string
	Silent  bool          // -s
	Errors  bool          // -S: errors even so
	Head    bool          // -I
	Verbose bool          // -v
	Timeout time.Duration // -m
	Fail    bool          // -f
	Include bool          // -i
	Output  string        // -o: "" prints
	Write   string        // -w
	Method  string        // -X
	Fields  []string      // -H, each
	Agent   *string       // -A
	Data    *string       // -d
}

// Fetcher is curl(1) 7.88.1, with its texts.
type Fetcher struct {
	Process *Process
	Out     strings.Builder
	Err     strings.Builder
	Status  int

	o          HTTPOptions
	host, path string
	ip         IP
	port       uint16
	s          *Socket
	began      int64
	got        []byte
	head       []byte // of the answer, once it is there
	length     int    // of the page; −1 until it is known
	shownYet   bool
	body       int // bytes of it
	code       int // of the answer
	file       []byte
	sent       int // bytes of -d
	speeds     []speed
}

type speed struct{ at, bytes int64 }

func (w *World) httpGet(n *Netns, o op.HTTPGet) op.Result {
	ho := HTTPOptions{URL: o.URL, Silent: o.Silent, Head: o.Head, Verbose: o.Verbose, Timeout: o.Timeout}
	if ho.Timeout == 0 {
		ho.Timeout = 5 * time.Second
	}
	f := n.Fetch(ho)
	w.finish(f.Process, maxWait)
	return op.Result{Output: f.Out.String(), Stderr: f.Err.String(), Status: f.Status}
}

// Fetch starts curl. What it prints and its exit status are complete when its
// process has ended.
func (n *Netns) Fetch(o HTTPOptions) *Fetcher {
	f := &Fetcher{Process: n.Start("curl", o.URL), o: o, length: -1, began: n.w.now}
	rest := o.URL
	if _, r, ok := strings.Cut(rest, "://"); ok {
		rest = r
	}
	var at string
	f.host, at = rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		f.host, at = rest[:i], rest[i:]
	}
	if i := strings.IndexByte(at, '#'); i >= 0 {
		at = at[:i]
	}
	if !strings.HasPrefix(at, "/") {
		at = "/" + at
	}
	f.path, f.port = at, 80
	if i := strings.LastIndexByte(f.host, '@'); i >= 0 {
		f.host = f.host[i+1:]
	}
	if name, port, ok := strings.Cut(f.host, ":"); ok {
		f.host = name
		if port != "" {
			k, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return f.end(3, "URL using bad/illegal format or missing URL")
			}
			f.port = uint16(k)
		}
	}
	if f.host == "" {
		return f.end(3, "URL using bad/illegal format or missing URL")
	}
	f.meter(false)
	if o.Timeout > 0 {
		f.Process.After(o.Timeout+wakeTime, f.timeout)
	}
	f.tick()
	if ip, ok := inetAton(f.host); ok {
		if strings.Count(f.host, ".") < 3 { // curl writes it out (ipv4_normalize, lib/urlapi.c)
			f.host = ip.String()
		}
		f.connect(ip)
		return f
	}
	if strings.EqualFold(f.host, "localhost") || strings.HasSuffix(strings.ToLower(f.host), ".localhost") {
		f.connect(loopbackIP) // Curl_resolv does not ask for it
		return f
	}
	f.Process.Lookup(f.host, func(ip IP, _ int) {
		if ip == 0 {
			text := "Could not resolve host: " + f.host
			f.note(text)
			f.note(text) // Curl_resolver_is_resolved and its caller both say so
			f.end(6, text)
			return
		}
		f.connect(ip)
	})
	return f
}

// inetAton reads an address as inet_aton(3) does: with one to four numbers.
func inetAton(s string) (IP, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return 0, false
	}
	var ip uint64
	for i, p := range parts {
		k, err := strconv.ParseUint(p, 0, 32)
		if err != nil || strings.ContainsAny(p, "_+-oObB") {
			return 0, false
		}
		if i == len(parts)-1 {
			if k >= 1<<(8*(4-i)) {
				return 0, false
			}
			return IP(ip<<(8*(4-i)) | k), true
		}
		if k > 255 {
			return 0, false
		}
		ip = ip<<8 | k
	}
	return 0, false
}

// note is a line that -v prints.
func (f *Fetcher) note(text string) {
	if f.o.Verbose {
		f.Err.WriteString("* " + text + "\n")
	}
}

func (f *Fetcher) connect(ip IP) {
	f.ip = ip
	f.note(fmt.Sprintf("  Trying %s:%d...", ip, f.port))
	f.s = f.Process.TCP()
	f.s.Wake = f.woken
	if errno := f.s.Connect(ip, f.port); errno != 0 {
		f.note(fmt.Sprintf("Immediate connect fail for %s: %s", ip, op.Strerror(errno)))
		f.cannotConnect()
	}
}

func (f *Fetcher) cannotConnect() {
	if strings.EqualFold(f.host, "localhost") { // it is ::1 too, and the nodes have no IPv6
		f.note(fmt.Sprintf("  Trying [::1]:%d...", f.port))
		f.note("Immediate connect fail for ::1: " + op.Strerror(eaddrnotavail))
	}
	text := fmt.Sprintf("Failed to connect to %s port %d after %d ms: Couldn't connect to server", f.host, f.port, f.spent()/1e6)
	f.note(text)
	f.last()
	f.end(7, text)
}

func (f *Fetcher) spent() int64 { return f.Process.w.now - f.began }

func (f *Fetcher) woken() {
	if f.Process.ended {
		return
	}
	if errno := f.s.Err(); errno != 0 {
		if f.got == nil && !f.s.Established() && len(f.head) == 0 && f.request() == 0 {
			f.note(fmt.Sprintf("connect to %s port %d failed: %s", f.ip, f.port, op.Strerror(errno)))
			f.cannotConnect()
			return
		}
		text := "Recv failure: " + op.Strerror(errno)
		f.note(text)
		f.last()
		f.end(56, text)
		return
	}
	if f.s.Established() && f.request() == 0 {
		if errno := f.s.SoError(); errno != 0 { // verifyconnect, lib/cf-socket.c
			f.note(fmt.Sprintf("connect to %s port %d failed: %s", f.ip, f.port, op.Strerror(errno)))
			f.cannotConnect()
			return
		}
		f.ask()
	}
	data, end := f.s.Read()
	f.got = append(f.got, data...)
	f.answer(end)
}

// asked is set on a socket whose request has been written.
func (f *Fetcher) request() int {
	if f.s.tcp == nil {
		return 0
	}
	return f.s.tcp.asked
}

// ask writes the request.
func (f *Fetcher) ask() {
	f.note(fmt.Sprintf("Connected to %s (%s) port %d (#0)", f.host, f.ip, f.port))
	text := f.o.request(f.host, f.port, f.path)
	f.s.tcp.asked = len(text)
	data := ""
	if f.o.Data != nil {
		data = *f.o.Data
	}
	f.sent = len(data)
	f.s.Write([]byte(text + data))
	f.verbose('>', text)
	if data != "" && f.o.Verbose {
		fmt.Fprintf(&f.Err, "} [%d bytes data]\n", len(data))
	}
}

// request writes the head of a request (Curl_http, lib/http.c). A field that was
// asked for stands in for curl's own of that name, and one without a value takes
// curl's own away.
func (o *HTTPOptions) request(host string, port uint16, path string) string {
	if port != 80 {
		host += ":" + strconv.Itoa(int(port))
	}
	agent := "curl/7.88.1"
	if o.Agent != nil {
		agent = *o.Agent
	}
	method := "GET"
	own := []string{"Host: " + host, "User-Agent: " + agent, "Accept: */*"}
	var after []string
	switch {
	case o.Head:
		method = "HEAD"
	case o.Data != nil:
		method = "POST"
		after = []string{"Content-Length: " + strconv.Itoa(len(*o.Data)), "Content-Type: application/x-www-form-urlencoded"}
	}
	if o.Method != "" {
		method = o.Method
	}
	var fields []string
	asked := map[string]string{}
	for _, f := range o.Fields {
		name, value, ok := strings.Cut(f, ":")
		bare := strings.TrimSpace(value) == ""
		if !ok {
			if name, ok = strings.CutSuffix(f, ";"); !ok {
				continue
			}
			f, bare = name+":", false
		}
		key := strings.ToLower(name)
		asked[key] = f
		if !bare && key != "host" {
			fields = append(fields, f)
		}
	}
	var b strings.Builder
	line := func(f string) { b.WriteString(f + "\r\n") }
	line(method + " " + path + " HTTP/1.1")
	for _, f := range own {
		name, value, _ := strings.Cut(f, ": ")
		instead, has := asked[strings.ToLower(name)]
		switch {
		case has && name == "Host" && !strings.HasSuffix(instead, ":"):
			line(instead)
		case !has && value != "":
			line(f)
		}
	}
	for _, f := range fields {
		line(f)
	}
	for _, f := range after {
		name, _, _ := strings.Cut(f, ":")
		if _, has := asked[strings.ToLower(name)]; !has {
			line(f)
		}
	}
	line("")
	return b.String()
}

// verbose prints a header line by line, as -v does.
func (f *Fetcher) verbose(mark byte, text string) {
	if !f.o.Verbose {
		return
	}
	for line := range strings.SplitAfterSeq(text, "\r\n") {
		if line != "" {
			fmt.Fprintf(&f.Err, "%c %s", mark, line)
		}
	}
}

// answer reads what the server has said so far.
func (f *Fetcher) answer(end bool) {
	if f.head == nil {
		i := bytes.Index(f.got, []byte("\r\n\r\n"))
		if i < 0 {
			if !end {
				return
			}
			if len(f.got) == 0 && f.request() > 0 {
				f.note("Empty reply from server")
				f.last()
				f.end(52, "Empty reply from server")
			} else if len(f.got) > 0 {
				f.note("Received HTTP/0.9 when not allowed")
				f.last()
				f.end(1, "Received HTTP/0.9 when not allowed")
			}
			return
		}
		f.head, f.got = f.got[:i+4], f.got[i+4:]
		if !bytes.HasPrefix(f.head, []byte("HTTP/")) {
			f.note("Received HTTP/0.9 when not allowed")
			f.last()
			f.end(1, "Received HTTP/0.9 when not allowed")
			return
		}
		f.verbose('<', string(f.head))
		_, code, _ := strings.Cut(string(f.head), " ")
		f.code, _ = strconv.Atoi(code[:min(3, len(code))])
		if f.o.Fail && f.code >= 400 {
			text := fmt.Sprintf("The requested URL returned error: %d", f.code)
			f.note(text)
			f.last()
			f.end(22, text)
			return
		}
		for line := range strings.SplitSeq(string(f.head), "\r\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "content-length") {
				if k, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && k >= 0 {
					f.length = k
				}
			}
		}
		if f.o.Head || f.o.Include {
			f.Out.Write(f.head)
		}
	}
	if f.o.Head {
		f.complete()
		return
	}
	if len(f.got) > 0 {
		if f.o.Verbose {
			fmt.Fprintf(&f.Err, "{ [%d bytes data]\n", len(f.got))
		}
		if f.o.Output == "" || f.o.Output == "-" {
			f.Out.Write(f.got)
		} else {
			f.file = append(f.file, f.got...)
		}
		f.body += len(f.got)
		f.got = f.got[:0]
	}
	switch {
	case f.length >= 0 && f.body >= f.length:
		// It looks at the connection once more, and finds that the other side has
		// closed it, before it closes its own.
		if end {
			f.complete()
		} else {
			f.Process.After(2*httpClose, f.complete)
		}
	case end && f.length > f.body:
		text := fmt.Sprintf("transfer closed with %d bytes remaining to read", f.length-f.body)
		f.note(text)
		f.last()
		f.end(18, text)
	case end:
		f.complete()
	}
}

func (f *Fetcher) complete() {
	if f.Process.ended {
		return
	}
	f.last()
	f.end(0, "")
}

// Body is the page, where -o keeps it.
func (f *Fetcher) Body() string { return string(f.file) }

// written is what -w prints at the end.
func (f *Fetcher) written() string {
	return strings.NewReplacer(`\n`, "\n", `\t`, "\t", "%{http_code}", fmt.Sprintf("%03d", f.code), "%{response_code}", fmt.Sprintf("%03d", f.code),
		"%{remote_ip}", ipText(f.ip), "%{remote_port}", strconv.Itoa(int(f.port)), "%{size_download}", strconv.Itoa(f.body),
		"%{time_total}", fmt.Sprintf("%d.%06d", f.spent()/1e9, f.spent()%1e9/1e3)).Replace(f.o.Write)
}

func ipText(ip IP) string {
	if ip == 0 {
		return ""
	}
	return ip.String()
}

func (f *Fetcher) timeout() {
	ms := f.spent() / 1e6
	text := fmt.Sprintf("Connection timed out after %d milliseconds", ms)
	switch {
	case f.s == nil:
		text = fmt.Sprintf("Resolving timed out after %d milliseconds", ms)
	case f.request() > 0 && f.length >= 0:
		text = fmt.Sprintf("Operation timed out after %d milliseconds with %d out of %d bytes received", ms, f.body, f.length)
	case f.request() > 0:
		text = fmt.Sprintf("Operation timed out after %d milliseconds with %d bytes received", ms, f.body)
	}
	f.note(text)
	f.last()
	f.end(28, text)
}

// end ends curl, with what it says of a failure.
func (f *Fetcher) end(status int, text string) *Fetcher {
	if f.Process.ended {
		return f
	}
	if f.s != nil || status == 6 {
		f.note("Closing connection 0")
	}
	f.Out.WriteString(f.written())
	if status != 0 && (!f.o.Silent || f.o.Errors) {
		fmt.Fprintf(&f.Err, "curl: (%d) %s\n", status, text)
	}
	f.Status = status
	f.Process.Exit()
	return f
}

// last prints the progress meter's last line.
func (f *Fetcher) last() {
	f.meter(true)
	if !f.o.Silent {
		f.Err.WriteByte('\n')
	}
}

// tick prints the progress meter again each second (Curl_pgrsUpdate).
func (f *Fetcher) tick() {
	f.Process.After(time.Second, func() {
		f.meter(false)
		f.tick()
	})
}

// meter prints a line of the progress meter (progress_meter, lib/progress.c).
func (f *Fetcher) meter(last bool) {
	if f.o.Silent {
		return
	}
	if !f.shownYet {
		f.shownYet = true
		f.Err.WriteString("  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n" +
			"                                 Dload  Upload   Total   Spent    Left  Speed\n")
	}
	us := max(1, f.spent()/1000)
	average := int64(f.body) * 1000000 / us
	now := speed{f.Process.w.now, int64(f.body + f.sent)}
	f.speeds = append(f.speeds, now)
	up, upload := 0, int64(f.sent)*1000000/us
	if f.sent > 0 {
		up = 100
	}
	current := average + upload
	if len(f.speeds) > 1 {
		first := f.speeds[max(0, len(f.speeds)-6)]
		current = (now.bytes - first.bytes) * 1000 / max(1, (now.at-first.at)/1e6)
	}
	page := max(f.length, f.body)
	percent, down := 0, 0
	estimate := int64(0)
	if page > 0 && f.length >= 0 {
		down = f.body * 100 / page
		percent = (f.body + f.sent) * 100 / (page + f.sent)
		if average > 0 {
			estimate = int64(f.length) / average
		}
	}
	left := int64(0)
	if estimate > 0 {
		left = estimate - us/1000000
	}
	fmt.Fprintf(&f.Err, "\r%3d %s  %3d %s  %3d %s  %s  %s %s %s %s %s", percent, max5(int64(page+f.sent)), down, max5(int64(f.body)), up, max5(int64(f.sent)),
		max5(average), max5(upload), clock(estimate), clock(us/1000000), clock(left), max5(current))
}

// clock is time2str of lib/progress.c.
func clock(s int64) string {
	if s <= 0 {
		return "--:--:--"
	}
	return fmt.Sprintf("%2d:%02d:%02d", s/3600, s/60%60, s%60)
}

// max5 writes a number of bytes in five columns (max5data).
func max5(b int64) string {
	switch {
	case b < 100000:
		return fmt.Sprintf("%5d", b)
	case b < 10000<<10:
		return fmt.Sprintf("%4dk", b>>10)
	case b < 100<<20:
		return fmt.Sprintf("%2d.%dM", b>>20, b%(1<<20)/(1<<20/10))
	}
	return fmt.Sprintf("%4dM", b>>20)
}

// parseIP reads a dotted address; 0 when it is none.
func parseIP(s string) IP {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return 0
	}
	return ipOf(a)
}
