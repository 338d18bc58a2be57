package server_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/beldi/beldi/internal/wiring"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// echo answers attempts by f over a stream: the input is the result.
func echo(w *worker) {
	for {
		m, err := w.stream.Recv()
		if err != nil {
			return
		}
		for _, a := range m.GetAttempts() {
			step := complete(a.GetAttempt(), "")
			step.GetComplete().Output = a.GetInput()
			if w.stream.Send(&beldiv1.FromWorker{Steps: []*beldiv1.Step{step}}) != nil {
				return
			}
		}
	}
}

func TestREST(t *testing.T) {
	s := start(t)
	go echo(s.worker("f"))
	const invoke = "/v1/services/svc/functions/f:invoke"
	for _, c := range []struct {
		method, path, body string
		headers            []string
		code               int
		want               string // all of the body, or with … a part
	}{
		// Values are JSON itself, to the last digit.
		{"POST", invoke, `{"hotel": "h1"}`, nil, 200, `{"hotel": "h1"}`},
		{"POST", invoke, `9007199254740993`, nil, 200, `9007199254740993`},
		{"POST", invoke, ` 1e400 `, nil, 200, `1e400`},
		{"POST", invoke, `-0`, nil, 200, `-0`},
		{"POST", invoke, ``, nil, 200, `null`},
		{"POST", invoke, `1`, []string{"Content-Type: application/x-www-form-urlencoded"}, 200, `1`},
		{"POST", invoke, `1`, []string{"Content-Type: application/json; charset=utf-8"}, 200, `1`},
		{"POST", invoke, "\x89PNG", []string{"Content-Type: image/png"}, 200, `{"$contentType":"image/png","$bytes":"iVBORw=="}`},
		{"POST", invoke, `{"$contentType":"image/png","$bytes":"iVBORw=="}`, nil, 200, `{"$contentType":"image/png","$bytes":"iVBORw=="}`},
		{"POST", invoke + "?wait=5s", `1`, nil, 200, `1`},
		// Bad input.
		{"POST", invoke, `{"a":}`, nil, 400, `…"reason":"MALFORMED"`},
		{"POST", invoke, "\"\xff\"", nil, 400, `…"reason":"MALFORMED"`},
		{"POST", invoke + "?wait=never", `1`, nil, 400, `…"reason":"MALFORMED"`},
		{"POST", invoke + "?wait=2h", `1`, nil, 400, `…"reason":"MALFORMED"`},
		{"POST", invoke + "?no=1", `1`, nil, 200, `1`},
		{"POST", invoke, `"` + strings.Repeat("x", 1<<20-2) + `"`, nil, 200, "…xxx"},
		{"POST", invoke, `"` + strings.Repeat("x", 1<<20-1) + `"`, nil, 400, `…"reason":"TOO_LARGE"`},
		{"POST", invoke, strings.Repeat(" ", 4<<20+1), nil, 400, `…"reason":"TOO_LARGE"`},
		{"POST", "/v1/services/svc/functions/none:invoke", `1`, nil, 404, `…"reason":"NO_SUCH_FUNCTION"`},
		{"POST", "/v1/services/%FF/functions/f:invoke", `1`, nil, 400, `…"reason":"MALFORMED"`},
		{"POST", "/v1/services/a%00b/functions/f:invoke", `1`, nil, 400, `…"reason":"MALFORMED"`},
		{"GET", "/v1/instances/nobody:await", ``, nil, 404, `…"reason":"NO_SUCH_INSTANCE"`},
		{"GET", "/v1/instances/nobody", ``, nil, 404, `…"reason":"NO_SUCH_INSTANCE"`},
		{"GET", "/v1/instances?limit=1001", ``, nil, 400, `…"reason":"MALFORMED"`},
		{"GET", "/v1/instances?limit=x", ``, nil, 400, `…"reason":"MALFORMED"`},
		{"POST", "/v1/cells:put", `{"cells": [], "no": 1}`, nil, 400, `…unknown field`},
		{"POST", "/v1/steps:read", `{"table": "t", "key": "k"}`, nil, 401, `…"reason":"BAD_TOKEN"`},
		{"POST", "/v1/steps:read", `{"table": "t", "key": "k"}`, []string{"Beldi-Attempt: forged"}, 401, `…"reason":"BAD_TOKEN"`},
		{"GET", "/v1/nothing", ``, nil, 404, `…"reason":"MALFORMED"`},
		{"GET", invoke, ``, nil, 405, `…"reason":"MALFORMED"`},
		// A POST stays one.
		{"POST", "/v1/info", ``, []string{"X-HTTP-Method-Override: GET"}, 405, `…`},
		// Browsers of other sites, and names that point here.
		{"POST", invoke, `1`, []string{"Origin: http://evil.example", "Sec-Fetch-Site: cross-site"}, 403, `…"reason":"NOT_ALLOWED"`},
		{"GET", "/v1/info", ``, []string{"Host: evil.example:7400"}, 403, `…"reason":"NOT_ALLOWED"`},
		{"GET", "/v1/info", ``, []string{"Host: localhost:7400"}, 200, `…"version":"test"`},
		{"GET", "/v1/info", ``, []string{"Host: [::1]:7400"}, 200, `…"store":"memory"`},
		{"GET", "/v1/functions", ``, nil, 200, `{"functions":[{"service":"svc","function":"f","workers":1}]}`},
		// Pages.
		{"GET", "/healthz", ``, nil, 200, "ok\n"},
		{"GET", "/", ``, nil, 200, "…<h1>Beldi</h1>"},
		{"GET", "/docs", ``, nil, 200, "…swagger-ui"},
		{"GET", "/swagger-ui.js", ``, nil, 200, "…SwaggerUIBundle"},
		{"POST", "/docs", ``, nil, 405, "…"},
		{"GET", "/nothing", ``, nil, 404, "…"},
		{"GET", "/v1/openapi.json", ``, nil, 200, `…"v1Payload":{"description":"Any JSON value`},
	} {
		r := s.rest(c.method, c.path, c.body, c.headers...)
		body := strings.ReplaceAll(r.body, `": "`, `":"`) // protojson's random spaces, in error details
		part, isPart := strings.CutPrefix(c.want, "…")
		if r.code != c.code || isPart && !strings.Contains(body, part) || !isPart && r.body != c.want {
			t.Errorf("%s %s %.40q %v: %d %.300s, want %d %s", c.method, c.path, c.body, c.headers, r.code, r.body, c.code, c.want)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := start(t)
	go echo(s.worker("f"))
	const invoke = "/v1/services/svc/functions/f:invoke"
	first := s.rest("POST", invoke, `1`, "Idempotency-Key: k")
	id := first.header.Get("Beldi-Instance")
	if first.code != 200 || id == "" {
		t.Fatalf("%v", first)
	}
	for _, c := range []struct {
		path, body string
		headers    []string
		code       int
		same       bool
	}{
		{invoke, `1`, []string{"Idempotency-Key: k"}, 200, true},
		{invoke + "?idempotencyKey=k", `1`, nil, 200, true},
		{invoke + "?idempotency_key=k", `1`, []string{"Idempotency-Key: k"}, 200, true},
		{invoke, `2`, []string{"Idempotency-Key: k"}, 409, true},
		{invoke + "?idempotencyKey=other", `1`, []string{"Idempotency-Key: k"}, 400, false},
		{invoke, `1`, []string{"Idempotency-Key: other"}, 200, false},
		{invoke, `1`, nil, 200, false},
		{invoke, `1`, []string{"Idempotency-Key: " + strings.Repeat("k", 256)}, 200, false},
		{invoke, `1`, []string{"Idempotency-Key: " + strings.Repeat("k", 257)}, 400, false},
	} {
		r := s.rest("POST", c.path, c.body, c.headers...)
		if r.code != c.code || (r.header.Get("Beldi-Instance") == id) != c.same {
			t.Errorf("%s %s %v: %d, instance %q, want %d, same %v", c.path, c.body, c.headers, r.code, r.header.Get("Beldi-Instance"), c.code, c.same)
		}
	}
	if r := s.rest("GET", "/v1/instances/"+id+":await", ""); r.code != 200 || r.body != `1` {
		t.Errorf("await: %v", r)
	}
	if r := s.rest("GET", "/v1/instances/"+id, ""); r.code != 200 || !strings.Contains(r.body, `"state":"INSTANCE_STATE_SUCCEEDED"`) ||
		!strings.Contains(r.body, `"input":1,"output":1`) {
		t.Errorf("instance: %v", r)
	}
	if r := s.rest("POST", "/v1/services/svc/functions/f:start", `7`); r.code != 200 || !strings.Contains(r.body, r.header.Get("Beldi-Instance")) {
		t.Errorf("start: %v", r)
	}
}

// Whoever does not get a result in time learns whom to ask for it.
func TestInvokeWait(t *testing.T) {
	s := start(t)
	w := s.worker("f")
	r := s.rest("POST", "/v1/services/svc/functions/f:invoke?wait=0.01s", `1`)
	id := r.header.Get("Beldi-Instance")
	if r.code != 504 || id == "" || !strings.Contains(r.body, "INVOKE_WAIT") || !strings.Contains(r.body, id) {
		t.Errorf("%v", r)
	}
	w.steps(complete(w.attempt().GetAttempt(), "2"))
	if r := s.rest("GET", "/v1/instances/"+id+":await", ""); r.code != 200 || r.body != "2" {
		t.Errorf("await: %v", r)
	}
}

func TestCells(t *testing.T) {
	s := start(t)
	const keys = `a/b|a%2Fb|ü -#?:put|..|x:invoke`
	body := []string{}
	for _, key := range strings.Split(keys, "|") {
		body = append(body, `{"service":"svc","table":"t","key":"`+key+`","value":{"free": 3}}`)
	}
	put := `{"cells":[` + strings.Join(body, ",") + `]}`
	for range 2 { // once, and again
		if r := s.rest("POST", "/v1/cells:put", put, "Idempotency-Key: k"); r.code != 200 || r.body != `{"written":"5"}` {
			t.Fatalf("put: %v", r)
		}
	}
	if r := s.rest("POST", "/v1/cells:put", `{"cells":[`+body[0]+`]}`, "Idempotency-Key: k"); r.code != 409 {
		t.Errorf("same key, other cells: %v", r)
	}
	for _, key := range strings.Split(keys, "|") {
		if r := s.rest("GET", "/v1/services/svc/tables/t/cells/"+url.PathEscape(key), ""); r.body != `{"found":true,"value":{"free": 3}}` {
			t.Errorf("key %q: %v", key, r)
		}
	}
	if r := s.rest("GET", "/v1/services/svc/tables/t/cells/a/b", ""); r.body != `{"found":true,"value":{"free": 3}}` {
		t.Errorf("key a/b: %v", r)
	}
	if r := s.rest("POST", "/v1/cells:put", `{"cells":[{"service":"svc","table":"t","key":"a/b"}]}`); r.code != 200 {
		t.Errorf("delete: %v", r)
	}
	if r := s.rest("GET", "/v1/services/svc/tables/t/cells/a/b", ""); r.body != `{"found":false}` {
		t.Errorf("after delete: %v", r)
	}
	if r := s.rest("POST", "/v1/cells:put", `{"cells":[{"service":"svc","table":"t","key":""}]}`); r.code != 400 || !strings.Contains(r.body, "cell 1: key is empty") {
		t.Errorf("empty key: %v", r)
	}
	// Operators' writes are no functions that callers see.
	if r := s.rest("GET", "/v1/functions", ""); r.body != `{"functions":[]}` {
		t.Errorf("functions: %v", r)
	}
	if r := s.rest("POST", "/v1/services/svc/functions/$cells:invoke", `{}`); r.code != 400 {
		t.Errorf("invoke of $cells: %v", r)
	}
}

func TestListCells(t *testing.T) {
	s := start(t)
	big := `"` + strings.Repeat("x", 256<<10-2) + `"`
	var cells []string
	for _, at := range []string{"b/1", "a/1", "a/2", "b/2", "b/3"} {
		table, key, _ := strings.Cut(at, "/")
		cells = append(cells, `{"service":"svc","table":"`+table+`","key":"`+key+`","value":`+big+`}`)
	}
	if r := s.rest("POST", "/v1/cells:put", `{"cells":[`+strings.Join(cells, ",")+`]}`); r.code != 200 {
		t.Fatalf("put: %v", r)
	}
	pages := func(query string) (seen []string) {
		t.Helper()
		after := ""
		for {
			r := s.rest("GET", "/v1/services/svc/cells?"+query+"&after="+after, "")
			if r.code != 200 || len(r.body) > 4<<20 {
				t.Fatalf("list %s: %d, %d bytes", query, r.code, len(r.body))
			}
			for _, part := range strings.Split(r.body, `"table":"`)[1:] {
				seen = append(seen, part[:1]+"/"+strings.SplitAfter(part, `"key":"`)[1][:1])
			}
			_, next, _ := strings.Cut(r.body, `"next":"`)
			if after = strings.TrimSuffix(next, `"}`); after == "" {
				return seen
			}
		}
	}
	for query, want := range map[string]string{
		"": "a/1 a/2 b/1 b/2 b/3", "limit=1": "a/1 a/2 b/1 b/2 b/3", "limit=5": "a/1 a/2 b/1 b/2 b/3",
		"table=b": "b/1 b/2 b/3", "table=b&prefix=2": "b/2", "table=c": "", "table=a&limit=1": "a/1 a/2",
	} {
		if got := strings.Join(pages(query), " "); got != want {
			t.Errorf("list %q: %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{"prefix=x", "after=!", "after=eA", "limit=-1"} {
		if r := s.rest("GET", "/v1/services/svc/cells?"+query, ""); r.code != 400 {
			t.Errorf("list %q: %v", query, r)
		}
	}
}

func TestToken(t *testing.T) {
	s := start(t, func(o *wiring.Options) { o.Token = "secret" })
	for header, code := range map[string]int{
		"": 401, "Bearer wrong": 401, "secret": 401, "Bearer secret": 200,
	} {
		if r := s.rest("GET", "/v1/info", "", "Authorization: "+header); r.code != code {
			t.Errorf("authorization %q: %v, want %d", header, r, code)
		}
	}
	if r := s.rest("GET", "/healthz", ""); r.code != 200 {
		t.Errorf("health: %v", r)
	}
}
