package web

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// contentPolicy lets a page of ours load our own files and talk to us, and
// nothing else. connect-src 'self' includes the WebSocket of the same origin
// (CSP Level 3, section 6.7.2.8).
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'"

var headers = map[string]string{
	"Content-Security-Policy":      contentPolicy,
	"X-Content-Type-Options":       "nosniff",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cross-Origin-Embedder-Policy": "require-corp",
	"Permissions-Policy":           "camera=(), microphone=(), geolocation=(), usb=(), serial=(), payment=()",
}

// guard stands before every request, the WebSocket's too: it adds the security
// headers, and refuses what another site's page could have sent.
func guard(hosts hostList, next http.Handler) http.Handler {
	next = http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for k, v := range headers {
			w.Header().Set(k, v)
		}
		if !hosts.allow(r.Host) {
			name := hostName(r.Host)
			http.Error(w, fmt.Sprintf("vethlab does not answer to the name %q.\nIf that is this server's name, start it with: vethlab serve --host %s\n", name, name), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostList is the names this server answers to. A page on a hostile site can
// make its own name resolve to 127.0.0.1 and so reach us as its "own" origin
// (DNS rebinding); what it cannot change is the name in Host.
type hostList struct {
	names map[string]bool
	// anyAddr: we listen on every address of the machine. An address in Host
	// is no name, so nobody can have rebound it.
	anyAddr bool
}

// newHostList allows the loopback names and addresses, the address listened
// on, and names.
func newHostList(listen string, names []string) hostList {
	l := hostList{names: map[string]bool{"localhost": true}}
	for _, n := range names {
		l.names[hostName(n)] = true
	}
	if listen == "" {
		return l
	}
	host := hostName(listen)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		l.anyAddr = true
	} else {
		l.names[host] = true
	}
	return l
}

func (l hostList) allow(hostport string) bool {
	host := hostName(hostport)
	if ip, err := netip.ParseAddr(host); err == nil && (l.anyAddr || ip.Unmap().IsLoopback()) {
		return true
	}
	return l.names[host]
}

// hostName takes the port, brackets and final dot from HOST[:PORT].
func hostName(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// sameOrigin reports whether the page that opens a WebSocket is one of ours.
// Browsers always send Origin with a WebSocket, and no script can forge it.
func sameOrigin(r *http.Request) bool {
	return r.Host != "" && r.Header.Get("Origin") == scheme(r)+"://"+r.Host
}

// scheme is the scheme the browser used: a proxy that ends TLS says so in
// X-Forwarded-Proto, which no page can set on a WebSocket.
func scheme(r *http.Request) string {
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		return "https"
	}
	return "http"
}

// cookieName names the cookie that tells one browser's labs from another's.
const cookieName = "vethlab"

// learner returns who this browser is, and a cookie to set when it is new.
//
// Only the WebSocket handshake sets it: a SameSite=Strict cookie is absent from
// a navigation that began on another site, and answering that one with a new
// cookie would take the learner's lab away.
func learner(r *http.Request) (string, *http.Cookie) {
	if c, err := r.Cookie(cookieName); err == nil && len(c.Value) == 32 {
		if _, err := hex.DecodeString(c.Value); err == nil {
			return c.Value, nil
		}
	}
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand
	id := hex.EncodeToString(b[:])
	return id, &http.Cookie{Name: cookieName, Value: id, Path: "/", HttpOnly: true,
		SameSite: http.SameSiteStrictMode, Secure: scheme(r) == "https", MaxAge: 30 * 24 * 3600}
}
