package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/beldi/beldi/internal/wiring"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
	"github.com/beldi/beldi/server"
)

// attempt is what an endpoint gets.
type attempt struct {
	w http.ResponseWriter
	*http.Request
	s     *sidecar
	input string
}

// step makes a step by REST.
func (a *attempt) step(op, body string) response {
	return a.s.rest("POST", "/v1/steps:"+op, body, "Beldi-Attempt: "+a.token())
}

func (a *attempt) token() string { return a.Header.Get("Beldi-Attempt") }

func (a *attempt) answer(code int, body string) {
	a.w.WriteHeader(code)
	fmt.Fprint(a.w, body)
}

// endpoint announces function f of service svc, played by run.
func (s *sidecar) endpoint(run func(a *attempt)) *httptest.Server {
	s.t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			s.t.Errorf("read the attempt: %v", err)
		}
		w.Header().Set("Content-Type", "application/json")
		run(&attempt{w, r, s, string(body)})
	}))
	s.t.Cleanup(web.Close)
	if _, err := s.workers.Announce(s.t.Context(), &beldiv1.AnnounceRequest{Service: "svc", Functions: []string{"f"}, Url: web.URL + "/fn/"}); err != nil {
		s.t.Fatal(err)
	}
	return web
}

func TestEndpoint(t *testing.T) {
	s := start(t)
	s.endpoint(func(a *attempt) {
		if a.URL.Path != "/fn/f" || a.input != `{"n": 1}` || a.Header.Get("Beldi-Function") != "f" || a.Header.Get("Beldi-Attempt-Number") != "1" ||
			a.Header.Get("Beldi-Instance") == "" || a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("attempt: %v, input %s", a.Request, a.input)
		}
		for _, c := range []struct{ op, body, want string }{
			{"read", `{"table":"t","key":"k"}`, `{"found":false}`},
			{"write", `{"table":"t","key":"k","value":5}`, `{}`},
			{"update", `{"table":"t","key":"k","expression":"value + input","input":2}`, `{"value":7,"tooLarge":false}`},
			{"condWrite", `{"table":"t","key":"k","value":0,"condition":"value > 7"}`, `{"applied":false}`},
			{"list", `{"table":"t","values":true}`, `{"entries":[{"key":"k","value":7}],"next":""}`},
			{"beginRecord", `{"name":"mail"}`, `"recorded":false`},
			{"endRecord", `{"step":"6","value":{"sent":true}}`, `{}`},
			{"delete", `{"table":"t","key":"k"}`, `{}`},
			{"now", `{}`, `{"time":"`},
			{"random", `{}`, `{"value":0.`},
			{"uuid", `{}`, `{"uuid":"`},
			// The same step again: the same answer.
			{"update", `{"table":"t","key":"n","expression":"found ? value + 1 : 1","step":"mine"}`, `{"value":1,"tooLarge":false}`},
			{"update", `{"table":"t","key":"n","expression":"found ? value + 1 : 1","step":"mine"}`, `{"value":1,"tooLarge":false}`},
			{"read", `{"table":"t","key":"n"}`, `{"found":true,"value":1}`},
			// Bad ones.
			{"read", `{"table":"t","key":"n","step":"mine"}`, `NON_DETERMINISM`},
			{"read", `{"table":"t","key":"n","step":"99"}`, `MALFORMED`},
			{"endRecord", `{"value":1}`, `MALFORMED`},
			{"read", `{"table":"t"}`, `MALFORMED`},
			{"update", `{"table":"t","key":"n","expression":"1 +"}`, `BAD_EXPRESSION`},
			{"invoke", `{"target":{"function":"none"}}`, `NO_SUCH_FUNCTION`},
			{"await", `{"instance":"nobody"}`, `NO_SUCH_INSTANCE`},
		} {
			if c.op == "invoke" {
				continue // an invoke of a function that is not there waits for it
			}
			if r := a.step(c.op, c.body); !strings.Contains(r.body, c.want) {
				t.Errorf("%s %s: %v, want %s", c.op, c.body, r, c.want)
			}
		}
		a.answer(201, `{"done": true}`)
	})
	wantOutput(t, s.invoke("f", "", `{"n": 1}`), `{"done": true}`)
}

// How a response ends an attempt.
func TestEndpointVerdicts(t *testing.T) {
	for _, c := range []struct {
		code       int
		kind, body string
		// What the caller gets; "again" for another attempt.
		want string
	}{
		{200, "application/json", `1`, "1"},
		{204, "", ``, "null"},
		{200, "text/plain", `hello`, "hello"},
		{200, "application/json", `{`, "again"},
		{200, "application/json", `"` + strings.Repeat("x", 1<<20) + `"`, "again"},
		{400, "", `{"message": "sold out", "code": "SOLD_OUT"}`, "SOLD_OUT: sold out"},
		{409, "", `{"error": "no"}`, "no"},
		{404, "", ` plain text `, "plain text"},
		{403, "", ``, "Forbidden"},
		{422, "", "\xff", "�"},
		{408, "", ``, "again"},
		{425, "", ``, "again"},
		{429, "", ``, "again"},
		{500, "", ``, "again"},
		{503, "", ``, "again"},
		{302, "", ``, "again"},
	} {
		s := start(t)
		s.endpoint(func(a *attempt) {
			if a.Header.Get("Beldi-Attempt-Number") != "1" {
				a.answer(200, `"again"`)
				return
			}
			a.w.Header().Set("Content-Type", c.kind)
			a.w.Header().Set("Location", "/elsewhere")
			a.answer(c.code, c.body)
		})
		o := <-s.invoke("f", "", "null")
		switch {
		case o.err != nil:
			wantError(t, o.err, codes.FailedPrecondition, "FUNCTION_FAILED")
			if !strings.Contains(o.err.Error(), c.want) {
				t.Errorf("%d %s: %v, want %s", c.code, c.body, o.err, c.want)
			}
		case strings.Trim(o.output, `"`) != c.want:
			t.Errorf("%d %.40s: %s, want %s", c.code, c.body, o.output, c.want)
		}
	}
}

// A process that dies while it works, and one that says the end by the steps' interface.
func TestEndpointDiesAndCompletes(t *testing.T) {
	s := start(t)
	var first string
	finished := make(chan struct{})
	s.endpoint(func(a *attempt) {
		if a.Header.Get("Beldi-Attempt-Number") == "1" {
			first = a.token()
			if r := a.step("update", `{"table":"t","key":"k","expression":"found ? value + 1 : 1"}`); r.body != `{"value":1,"tooLarge":false}` {
				t.Errorf("update: %v", r)
			}
			panic(http.ErrAbortHandler)
		}
		if r := a.step("update", `{"table":"t","key":"k","expression":"found ? value + 1 : 1"}`); r.body != `{"value":1,"tooLarge":false}` {
			t.Errorf("replayed update: %v", r)
		}
		// The token of the first attempt is no good any more, for whatever is left of that process.
		if r := s.rest("POST", "/v1/steps:read", `{"table":"t","key":"k"}`, "Beldi-Attempt: "+first); r.code != 409 || !strings.Contains(r.body, "SUPERSEDED") {
			t.Errorf("step of the first attempt: %v", r)
		}
		if r := a.step("complete", `{"output":`+strings.Repeat("1", 1<<20+1)+`}`); r.code != 400 || !strings.Contains(r.body, "TOO_LARGE") {
			t.Errorf("large complete: %v", r)
		}
		if r := a.step("complete", `{"output":"by step"}`); r.code != 200 {
			t.Errorf("complete: %v", r)
		}
		for _, op := range []string{"complete", "fail", "read"} {
			body := `{}`
			if op == "read" {
				body = `{"table":"t","key":"k"}`
			}
			if r := a.step(op, body); r.code != 409 {
				t.Errorf("%s after the end: %v", op, r)
			}
		}
		a.answer(200, `"by response"`)
		close(finished)
	})
	wantOutput(t, s.invoke("f", "", "null"), `"by step"`)
	<-finished
}

// Steps by unary gRPC, from a function that invokes another one.
func TestStepsByGRPC(t *testing.T) {
	s := start(t)
	s.endpoint(func(a *attempt) {
		ctx := metadata.AppendToOutgoingContext(a.Context(), "beldi-attempt", a.token())
		var input struct{ Depth int }
		if err := json.Unmarshal([]byte(a.input), &input); err != nil {
			t.Error(err)
		}
		if input.Depth == 0 {
			if _, err := s.steps.Fail(ctx, &beldiv1.FailRequest{Failure: &beldiv1.Failure{Message: "deep enough", Code: "DEEP"}}); err != nil {
				t.Errorf("fail: %v", err)
			}
			return
		}
		_, err := s.steps.Invoke(ctx, &beldiv1.InvokeStep{Target: &beldiv1.FunctionRef{Function: "f"}, Input: text(`{"Depth": 0}`)})
		wantError(t, err, codes.FailedPrecondition, "FUNCTION_FAILED")
		started, err := s.steps.Start(ctx, &beldiv1.StartStep{Target: &beldiv1.FunctionRef{Function: "f"}, Input: text(`{"Depth": 0}`)})
		if err != nil {
			t.Errorf("start: %v", err)
		}
		_, err = s.steps.Await(ctx, &beldiv1.AwaitStep{Instance: started.GetInstance()})
		wantError(t, err, codes.FailedPrecondition, "FUNCTION_FAILED")
		a.answer(200, "1")
	})
	wantOutput(t, s.invoke("f", "", `{"Depth": 1}`), "1")
	for _, token := range []string{"", "forged"} {
		_, err := s.steps.Read(metadata.AppendToOutgoingContext(t.Context(), "beldi-attempt", token), &beldiv1.ReadRequest{Table: "t", Key: "k"})
		wantError(t, err, codes.Unauthenticated, "BAD_TOKEN")
	}
}

// An endpoint that does not listen yet is waited for; that is no crash.
func TestEndpointStartsLate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s := start(t, func(o *wiring.Options) {
		o.Services = []server.Endpoint{{Service: "svc", URL: "http://" + address, Functions: []string{"f"}}}
		o.MaxAttempts = 1
	})
	done := s.invoke("f", "", "null")
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	web := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "1")
	})}}
	web.Start()
	defer web.Close()
	wantOutput(t, done, "1")
}

func TestAnnounce(t *testing.T) {
	s := start(t, func(o *wiring.Options) {
		o.Services = []server.Endpoint{{Service: "far", URL: "http://192.0.2.1/fn", Functions: []string{"f"}}}
	})
	for _, c := range []struct {
		service, url string
		functions    []string
		reason       string
	}{
		{"svc", "http://127.0.0.1:1/fn", []string{"f"}, ""},
		{"svc", "http://127.0.0.1:1/fn", []string{"f"}, ""},
		{"svc", "http://127.0.0.1:1/fn", []string{"f", "g"}, ""},
		{"far", "http://192.0.2.1/fn", []string{"f", "g"}, ""},
		{"far", "http://192.0.2.2/fn", []string{"f"}, "NOT_ALLOWED"},
		{"svc", "http://192.0.2.1/fn", []string{"f"}, "NOT_ALLOWED"},
		{"svc", "http://localhost.example.org/fn", []string{"f"}, "NOT_ALLOWED"},
		{"svc", "http://127.0.0.1:1/fn", nil, "MALFORMED"},
		{"svc", "/fn", []string{"f"}, "MALFORMED"},
	} {
		_, err := s.workers.Announce(t.Context(), &beldiv1.AnnounceRequest{Service: c.service, Url: c.url, Functions: c.functions})
		switch {
		case c.reason == "" && err != nil:
			t.Errorf("%v: %v", c, err)
		case c.reason != "" && (err == nil || info(t, err).GetReason() != c.reason):
			t.Errorf("%v: %v", c, err)
		}
	}
	list, err := s.functions.ListFunctions(t.Context(), &beldiv1.ListFunctionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, f := range list.GetFunctions() {
		got += fmt.Sprintf("%s/%s %d, ", f.GetService(), f.GetFunction(), f.GetWorkers())
	}
	if want := "far/f 1, far/g 1, svc/f 1, svc/g 1, "; got != want {
		t.Errorf("functions: %s, want %s", got, want)
	}
}
