package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

const (
	service = "conformance"
	peer    = "peer"
)

// language is how the app of an SDK is started.
type language struct {
	name    string
	command func(t *testing.T) []string
	sdk     bool
}

var languages = []language{
	{"go", func(t *testing.T) []string {
		return []string{build(t, "github.com/beldi/beldi/clients/conformance/goapp")}
	}, true},
	{"python", func(t *testing.T) []string {
		return []string{interpreter(t, "python3"), repository(t, "clients/python/conformance/app.py")}
	}, true},
	{"node", func(t *testing.T) []string {
		return []string{interpreter(t, "node"), repository(t, "clients/node/conformance/app.mjs")}
	}, true},
	{"http", func(t *testing.T) []string {
		return []string{build(t, "github.com/beldi/beldi/clients/conformance/httpapp")}
	}, false},
}

func repository(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

func interpreter(t *testing.T, name string) string {
	t.Helper()
	if name == "python3" {
		if venv := repository(t, ".venv/bin/python"); exec.Command(venv, "--version").Run() == nil {
			return venv
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("the toolchain is missing: %v", err)
	}
	return path
}

func TestConformance(t *testing.T) {
	only := os.Getenv("CONFORMANCE_LANGUAGES")
	for _, l := range languages {
		if only == "" || slices.Contains(strings.Split(only, ","), l.name) {
			t.Run(l.name, func(t *testing.T) { testLanguage(t, l) })
		}
	}
}

func testLanguage(t *testing.T, l language) {
	command := l.command(t)
	t.Run("scenarios", func(t *testing.T) {
		s := startSuite(t, command)
		var run []scenario
		for _, sc := range scenarios {
			if l.sdk || !sc.sdk {
				run = append(run, sc)
			}
		}
		t.Run("values", s.testValues)
		// First what leaves the app alive, all at the same time; then what kills it, one after the other.
		t.Run("whole", func(t *testing.T) {
			for _, sc := range run {
				t.Run(sc.title(), func(t *testing.T) {
					t.Parallel()
					s.test(t, sc, crash{})
					s.testREST(t, sc)
				})
			}
		})
		t.Run("raise", func(t *testing.T) { s.testCrashes(t, run, "raise", true) })
		t.Run("exit", func(t *testing.T) { s.testCrashes(t, run, "exit", false) })
		if l.sdk {
			t.Run("client", s.testClient)
		}
	})
	t.Run("impatient", func(t *testing.T) {
		s := startSuite(t, command, "--attempt-timeout", "1s", "--max-attempts", "3")
		for _, sc := range impatient {
			if l.sdk || !sc.sdk {
				t.Run(sc.title(), func(t *testing.T) { s.test(t, sc, crash{}) })
			}
		}
	})
}

func (s *suite) testCrashes(t *testing.T, run []scenario, how string, parallel bool) {
	for _, sc := range run {
		for _, n := range sc.crashes {
			t.Run(fmt.Sprintf("%s/%d", sc.title(), n), func(t *testing.T) {
				if parallel {
					t.Parallel()
				}
				s.test(t, sc, crash{Attempt: 1, After: n, How: how})
			})
		}
	}
}

func (sc *scenario) title() string {
	if sc.name != "" {
		return sc.name
	}
	return sc.function
}

// suite is a sidecar with the app under test and a peer.
type suite struct {
	*sidecar
	command []string
	dir     string        // of the files of recorded code
	deaths  *atomic.Int64 // of the app
}

func startSuite(t *testing.T, command []string, flags ...string) *suite {
	t.Helper()
	t.Setenv("CONFORMANCE_LISTEN", freeAddress(t)) // for httpapp
	s := &suite{sidecar: startSidecar(t, flags...), command: command, dir: t.TempDir()}
	s.supervise(t, languages[0].command(t), peer, s.dir)
	s.deaths = s.supervise(t, command, service, s.dir)
	s.waitFor(t, peer, 1)
	s.waitFor(t, service, 1)
	return s
}

type crash struct {
	Attempt int    `json:"attempt"`
	After   int    `json:"after"`
	How     string `json:"how"`
}

// run is one instance and what came of it.
type run struct {
	suite    *suite
	id       string
	crash    crash
	instance string
	output   *beldiv1.Payload
}

// test runs a scenario, and compares the outcome with that of a run without crash.
func (s *suite) test(t *testing.T, sc scenario, c crash) {
	r := &run{suite: s, id: strings.ReplaceAll(sc.title(), " ", "-") + "/" + "whole", crash: c}
	input := fmt.Sprintf(`{"id": %q`, r.id)
	if c.After > 0 {
		r.id = fmt.Sprintf("%s/%s-%d", sc.function, c.How, c.After)
		script, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		input = fmt.Sprintf(`{"id": %q, "crash": %s`, r.id, script)
	}
	if sc.extra != "" {
		input += ", " + sc.extra
	}
	input += "}"

	request := &beldiv1.InvokeRequest{Service: service, Function: sc.function, Input: &beldiv1.Payload{Data: []byte(input)},
		IdempotencyKey: r.id, Wait: durationpb.New(patience)}
	deaths := s.deaths.Load()
	response, err := s.functions.Invoke(t.Context(), request)
	r.judge(t, sc, response, err)
	if died := s.deaths.Load() - deaths; c.How == "exit" && died != 1 {
		t.Errorf("the app died %d times, want once", died)
	}
	if r.instance != "" {
		// An attempt that crashed before anything of it was durable leaves no trace.
		got, least, most := int(r.detail(t).GetInstance().GetAttempts()), max(sc.attempts, 1), max(sc.attempts, 1)
		if c.After > 0 {
			most++
		}
		if got < least || got > most {
			t.Errorf("%d attempts, want %d to %d", got, least, most)
		}
	}
	for cell, value := range sc.cells {
		r.cell(t, cell, value)
	}
	if sc.check != nil && !t.Failed() {
		sc.check(t, r)
	}
	// The same key again: the same instance, the same answer, nothing runs.
	again, err := s.functions.Invoke(t.Context(), request)
	if response != nil && (err != nil || again.GetInstance() != r.instance || !bytes.Equal(again.GetOutput().GetData(), response.GetOutput().GetData())) {
		t.Errorf("asked again: %v %v, before: %v", again, err, response)
	}
}

func (r *run) judge(t *testing.T, sc scenario, response *beldiv1.InvokeResponse, err error) {
	t.Helper()
	if sc.fails == "" && sc.reason == "" {
		if err != nil {
			t.Fatalf("invoke: %v", err)
		}
		r.instance, r.output = response.GetInstance(), response.GetOutput()
		if sc.want != "" {
			r.equal(t, sc.want)
		}
		return
	}
	if err == nil {
		t.Fatalf("invoke returned %s, want an error", response.GetOutput().GetData())
	}
	var reason, step string
	var failure *beldiv1.Failure
	for _, d := range status.Convert(err).Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			reason, step = d.GetReason(), d.GetMetadata()["step"]
			r.instance = d.GetMetadata()["instance"]
		case *beldiv1.Failure:
			failure = d
		}
	}
	if sc.reason != "" {
		if reason != sc.reason {
			t.Fatalf("invoke: %v (%s), want reason %s", err, reason, sc.reason)
		}
		if step == "" && reason == "NON_DETERMINISM" {
			t.Error("the error does not name the step")
		}
		return
	}
	if reason != "FUNCTION_FAILED" || failure == nil {
		t.Fatalf("invoke: %v (%s), want a failure", err, reason)
	}
	got := fmt.Sprintf(`{"message": %q, "code": %q, "details": %s}`, failure.GetMessage(), failure.GetCode(), failure.GetDetails().GetData())
	same(t, "the failure", got, sc.fails)
}

// testREST runs a scenario through REST: the JSON comes as it is.
func (s *suite) testREST(t *testing.T, sc scenario) {
	if sc.want == "" || sc.attempts > 1 {
		return
	}
	id := sc.function + "/rest"
	body := fmt.Sprintf(`{"id": %q`, id)
	if sc.extra != "" {
		body += ", " + sc.extra
	}
	code, output, header := s.post(t, fmt.Sprintf("/v1/services/%s/functions/%s:invoke", service, sc.function), id, "application/json", body+"}")
	if code != http.StatusOK {
		t.Fatalf("REST: %d %s", code, output)
	}
	same(t, "the output by REST", output, strings.ReplaceAll(sc.want, "$ID", id))
	if header.Get("Beldi-Instance") == "" {
		t.Error("REST: no header Beldi-Instance")
	}
}

func (s *suite) post(t *testing.T, path, key, contentType, body string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	output, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(output), answer.Header
}

// testValues sends values through echo, by gRPC and REST.
func (s *suite) testValues(t *testing.T) {
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(jsonValues), &list); err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		response, err := s.functions.Invoke(t.Context(), &beldiv1.InvokeRequest{Service: service, Function: "echo", Input: &beldiv1.Payload{Data: v}})
		if err != nil {
			t.Fatalf("echo %s: %v", v, err)
		}
		same(t, "the echo", string(response.GetOutput().GetData()), string(v))
		code, output, _ := s.post(t, "/v1/services/"+service+"/functions/echo:invoke", "", "application/json", string(v))
		if code != http.StatusOK {
			t.Fatalf("echo %s by REST: %d %s", v, code, output)
		}
		same(t, "the echo by REST", output, string(v))
	}
	raw := &beldiv1.Payload{Data: []byte{0, 1, 0xfe, 0xff}, ContentType: "application/octet-stream"}
	response, err := s.functions.Invoke(t.Context(), &beldiv1.InvokeRequest{Service: service, Function: "echo", Input: raw})
	if err != nil {
		t.Fatalf("echo bytes: %v", err)
	}
	if out := response.GetOutput(); !bytes.Equal(out.GetData(), raw.Data) || out.GetContentType() != raw.ContentType {
		t.Errorf("echo of bytes is %q of type %q", out.GetData(), out.GetContentType())
	}
}

// testClient talks to the app's client mode.
func (s *suite) testClient(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := s.sidecar.command(ctx, append(slices.Clone(s.command), "client"), service, s.dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	ask := func(format string, args ...any) string {
		t.Helper()
		if _, err := fmt.Fprintf(in, format+"\n", args...); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("read the answer to %s: %v", fmt.Sprintf(format, args...), err)
		}
		return line
	}
	type answer struct {
		Instance string
		Error    struct {
			Code    int
			Reason  string
			Failure json.RawMessage
		}
	}
	parse := func(line string) (a answer) {
		t.Helper()
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("parse %q: %v", line, err)
		}
		return a
	}

	same(t, "invoke", ask(`{"call": "invoke", "target": "%s/echo", "input": {"n": 9007199254740993}}`, service), `{"output": {"n": 9007199254740993}}`)
	for range 2 { // the key makes it one instance
		same(t, "invoke with a key", ask(`{"call": "invoke", "target": "%s/add", "input": {"id": "client/1", "by": 4}, "key": "client-1"}`, service), `{"output": 4}`)
	}
	started := parse(ask(`{"call": "start", "target": "%s/add", "input": {"id": "client/2", "by": 3}, "key": "client-2"}`, service))
	same(t, "await", ask(`{"call": "await", "instance": %q}`, started.Instance), `{"output": 3}`)
	if e := parse(ask(`{"call": "invoke", "target": "%s/add", "input": {"id": "client/3", "by": 4}, "key": "client-1"}`, service)).Error; e.Code != 6 || e.Reason != "KEY_REUSED" {
		t.Errorf("a key with another input: %+v", e)
	}
	if e := parse(ask(`{"call": "invoke", "target": "%s/nothing", "input": null}`, service)).Error; e.Code != 5 || e.Reason != "NO_SUCH_FUNCTION" {
		t.Errorf("an unknown function: %+v", e)
	}
	e := parse(ask(`{"call": "invoke", "target": "%s/fail", "input": {"id": "client/4"}}`, service)).Error
	if e.Code != 9 || e.Reason != "FUNCTION_FAILED" {
		t.Errorf("a failing function: %+v", e)
	} else {
		same(t, "the failure", string(e.Failure), soldOut)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the client ended with %v", err)
	}
}

func (s *suite) cell(t *testing.T, service, table, key string) *beldiv1.GetCellResponse {
	t.Helper()
	cell, err := s.admin.GetCell(t.Context(), &beldiv1.GetCellRequest{Service: service, Table: table, Key: key})
	if err != nil {
		t.Fatalf("get cell %s %s: %v", table, key, err)
	}
	return cell
}

// cell compares a cell, named "table key" or "peer:table key", with JSON; "" if it must have no value.
func (r *run) cell(t *testing.T, name, want string) {
	t.Helper()
	owner := service
	place, others := strings.CutPrefix(strings.ReplaceAll(name, "$ID", r.id), "peer:")
	if others {
		owner = peer
	}
	table, key, _ := strings.Cut(place, " ")
	cell := r.suite.cell(t, owner, table, key)
	if cell.GetFound() != (want != "") {
		t.Errorf("cell %s: found is %v", place, cell.GetFound())
		return
	}
	if want != "" {
		same(t, "cell "+place, string(cell.GetValue().GetData()), strings.ReplaceAll(want, "$ID", r.id))
	}
}

func (r *run) detail(t *testing.T) *beldiv1.GetInstanceResponse {
	t.Helper()
	detail, err := r.suite.admin.GetInstance(t.Context(), &beldiv1.GetInstanceRequest{Id: r.instance})
	if err != nil {
		t.Fatalf("get instance %s: %v", r.instance, err)
	}
	return detail
}

func (r *run) equal(t *testing.T, want string) {
	t.Helper()
	same(t, "the output", string(r.output.GetData()), strings.ReplaceAll(want, "$ID", r.id))
}

func (r *run) object(t *testing.T) map[string]any {
	t.Helper()
	v, ok := parseJSON(t, string(r.output.GetData())).(map[string]any)
	if !ok {
		t.Fatalf("the output is %s, want an object", r.output.GetData())
	}
	return v
}

// same compares JSON as values: numbers exactly, whatever way they are written.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if g, w := canonical(parseJSON(t, got)), canonical(parseJSON(t, want)); g != w {
		const most = 600
		t.Errorf("%s is\n  %.*s\nwant\n  %.*s", what, most, g, most, w)
	}
}

func parseJSON(t *testing.T, text string) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("parse %.200q: %v", text, err)
	}
	return v
}

func canonical(v any) string {
	switch v := v.(type) {
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok {
			return r.RatString()
		}
		return v.String()
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = canonical(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var parts []string
		for k := range v {
			parts = append(parts, fmt.Sprintf("%q: %s", k, canonical(v[k])))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprintf("%#v", v)
}
