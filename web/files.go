package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// mimeTypes is ours so that it does not depend on the machine's tables, which
// with nosniff would decide whether a script runs.
var mimeTypes = map[string]string{
	".html":  "text/html; charset=utf-8",
	".css":   "text/css; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".mjs":   "text/javascript; charset=utf-8",
	".json":  "application/json",
	".map":   "application/json",
	".svg":   "image/svg+xml",
	".png":   "image/png",
	".ico":   "image/x-icon",
	".woff2": "font/woff2",
	".wasm":  "application/wasm",
	".txt":   "text/plain; charset=utf-8",
	".md":    "text/plain; charset=utf-8",
}

// file is a file of the page.
type file struct {
	body []byte
	kind string
	etag string
}

// files holds the page's files by path. They are read once: the set is small,
// and is embedded in the program.
type files map[string]file

func readFiles(fsys fs.FS) (files, error) {
	set := files{}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		kind, ok := mimeTypes[path.Ext(p)]
		if !ok {
			if path.Base(p) != "LICENSE" {
				return nil // not a part of the page: Go source, a tool's settings
			}
			kind = mimeTypes[".txt"]
		}
		body, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		set[p] = file{body, kind, `"` + hex.EncodeToString(sum[:12]) + `"`}
		return nil
	})
	return set, err
}

// serve answers with one file. The browser asks each time whether its copy is
// still good, and gets 304 if so: a new version of vethlab is seen at once.
func (s files) serve(w http.ResponseWriter, r *http.Request, name string) {
	f, ok := s[name]
	if !ok {
		http.Error(w, "no such file: "+name, http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.etag)
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}
