// Package apipage serves the pages for people: what this is, and the REST interface to read and try.
//
// swagger-ui-bundle.js.gz and swagger-ui.css.gz are from swagger-ui-dist 5.35.0, compressed and otherwise unchanged (Apache-2.0, see NOTICE).
package apipage

import (
	"bytes"
	_ "embed"
	"net/http"
	"strconv"
	"strings"
)

var (
	//go:embed index.html
	index []byte
	//go:embed docs.html
	docs []byte
	//go:embed docs.js
	script []byte
	//go:embed swagger-ui-bundle.js.gz
	bundle []byte
	//go:embed swagger-ui.css.gz
	style []byte
)

type file struct {
	kind    string
	data    []byte
	gzipped bool
}

// New serves the pages, and the description of the interface at /v1/openapi.json.
func New(openapi []byte) http.Handler {
	files := map[string]file{
		"/":                {"text/html; charset=utf-8", index, false},
		"/docs":            {"text/html; charset=utf-8", docs, false},
		"/docs.js":         {"text/javascript", script, false},
		"/swagger-ui.js":   {"text/javascript", bundle, true},
		"/swagger-ui.css":  {"text/css", style, true},
		"/v1/openapi.json": {"application/json", openapi, false},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.kind)
		h.Set("X-Content-Type-Options", "nosniff")
		// Nothing from elsewhere, and no inline script. Swagger UI styles elements, and has its icons as data.
		h.Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'")
		if f.gzipped {
			h.Set("Content-Encoding", "gzip")
			if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				http.Error(w, "this file is only there in gzip", http.StatusNotAcceptable)
				return
			}
		}
		h.Set("Content-Length", strconv.Itoa(len(f.data)))
		if r.Method == http.MethodGet {
			bytes.NewReader(f.data).WriteTo(w)
		}
	})
}
