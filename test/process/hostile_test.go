package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	beldi "github.com/beldi/beldi/clients/go"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// fine checks that the sidecar serves an ordinary request.
func (w *world) fine(after string) {
	w.t.Helper()
	if got, err := w.call("shop/echo", after, ""); err != nil || got != `"`+after+`"` {
		w.t.Errorf("a request after %s: %s %v", after, got, err)
	}
}

// TestBadFunctions: what a function does wrong is its caller's error, and nobody else's.
func TestBadFunctions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--attempt-timeout", "1s", "--max-attempts", "3")
	w.sidecar()
	w.app("shop")

	var failure *beldi.Failure
	if _, err := w.call("shop/fail", nil, "fail"); !errors.As(err, &failure) || failure.Code != "SOLD_OUT" {
		t.Errorf("a function that fails: %v, want its failure", err)
	}
	for function, why := range map[string]string{
		"panic": "a mistake in the function",
		"hang":  "time",
		"exit":  "crashed 3 times",
	} {
		ended := make(chan struct{})
		go func() { // exit takes the process with it
			defer close(ended)
			var e *beldi.Error
			_, err := w.call("shop/"+function, nil, function)
			if !errors.As(err, &e) || e.Reason != "ATTEMPTS_EXHAUSTED" || !strings.Contains(e.Message, why) {
				t.Errorf("a function that does %s: %v, want ATTEMPTS_EXHAUSTED with %q", function, err, why)
			}
		}()
		app := w.app("shop")
		for over := false; !over; {
			select {
			case <-ended:
				over = true
			case <-app.ended:
				app = w.start("app", "shop")
			case <-time.After(patience):
				t.Fatalf("%s: no answer", function)
			}
		}
		w.fine(function)
	}
}

// TestBadWorker speaks the workers' protocol wrongly: it answers twice, and for an attempt that it was never given.
func TestBadWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sidecar()
	w.app("shop")
	conn, err := grpc.NewClient(w.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := beldiv1.NewWorkersClient(conn).Work(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send := func(m *beldiv1.FromWorker) {
		t.Helper()
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	receive := func(wanted func(*beldiv1.ToWorker) bool) {
		t.Helper()
		for {
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if wanted(m) {
				return
			}
		}
	}
	send(&beldiv1.FromWorker{Hello: &beldiv1.Hello{Service: "raw", Functions: []string{"f"}}})
	receive(func(m *beldiv1.ToWorker) bool { return m.GetWelcome() != nil })
	result := make(chan string, 1)
	go func() {
		got, err := w.call("raw/f", nil, "once")
		if err != nil {
			got = err.Error()
		}
		result <- got
	}()
	var attempt uint64
	receive(func(m *beldiv1.ToWorker) bool {
		for _, a := range m.GetAttempts() {
			attempt = a.GetAttempt()
		}
		return attempt != 0
	})
	complete := func(output string) *beldiv1.Step {
		return &beldiv1.Step{Attempt: attempt, Op: &beldiv1.Step_Complete{
			Complete: &beldiv1.CompleteRequest{Output: &beldiv1.Payload{Data: []byte(output)}}}}
	}
	read := func(attempt uint64) *beldiv1.Step {
		return &beldiv1.Step{Attempt: attempt, Name: "1", Op: &beldiv1.Step_Read{Read: &beldiv1.ReadRequest{Table: "t", Key: "k"}}}
	}
	send(&beldiv1.FromWorker{Steps: []*beldiv1.Step{complete("1"), complete("2")}})
	send(&beldiv1.FromWorker{Steps: []*beldiv1.Step{complete("3"), read(attempt), read(attempt + 1000)}})
	receive(func(m *beldiv1.ToWorker) bool {
		for _, a := range m.GetAnswers() {
			if a.GetAttempt() == attempt+1000 {
				if got := a.GetError().GetReason(); got != "MALFORMED" {
					t.Errorf("a step of a foreign attempt: %v, want MALFORMED", a)
				}
				return true
			}
		}
		return false
	})
	if got := <-result; got != "1" {
		t.Errorf("the result is %s, want that of the first answer", got)
	}
	if got, err := w.call("raw/f", nil, "once"); got != "1" || err != nil {
		t.Errorf("the result, asked for again, is %s %v", got, err)
	}
	w.fine("a worker that answers twice")
}

// TestGarbage sends what is no request. The sidecar answers with the documented error or hangs up, and goes on.
func TestGarbage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sidecar := w.sidecar()
	w.app("shop")

	garbage := bytes.Repeat([]byte{0, 0xff, 0x16, 0x03, 0x01, '\n', 0x80}, 20_000)
	for name, address := range map[string]string{"gRPC": w.tcp, "REST": strings.TrimPrefix(w.url, "http://")} {
		for _, prefix := range []string{"", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /v1/info HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(append([]byte(prefix), garbage...)) // it may hang up while we speak
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
			w.fine("garbage at the " + name + " port")
		}
	}

	const invoke = "/v1/services/shop/functions/echo:invoke"
	for name, c := range map[string]struct {
		path, body string
		header     http.Header
		status     int
		reason     string
	}{
		"malformed JSON":      {invoke, `{"a": `, nil, 400, "MALFORMED"},
		"a step without end":  {"/v1/steps:read", `{"table": "t"`, nil, 400, "MALFORMED"},
		"a step of nobody":    {"/v1/steps:read", `{"table": "t", "key": "k"}`, http.Header{"Beldi-Attempt": {"made up"}}, 401, "BAD_TOKEN"},
		"no such function":    {"/v1/services/shop/functions/none:invoke", `1`, nil, 404, "NO_SUCH_FUNCTION"},
		"huge headers":        {invoke, `1`, http.Header{"X-Large": {strings.Repeat("x", 4<<20)}}, 431, ""},
		"an input that large": {invoke, `"` + strings.Repeat("x", 2<<20) + `"`, nil, 400, "TOO_LARGE"},
	} {
		status, reason, err := w.post(c.path, c.body, c.header)
		if err != nil || status != c.status || reason != c.reason {
			t.Errorf("%s: %d %s %v, want %d %s", name, status, reason, err, c.status, c.reason)
		}
		w.fine(name)
	}
	if sidecar.says("msg=panic") {
		t.Errorf("the sidecar has panicked:\n%s", sidecar.log.tail())
	}
}

// post sends a request by REST, and returns the status and the reason of its answer.
func (w *world) post(path, body string, header http.Header) (status int, reason string, err error) {
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if header != nil {
		r.Header = header.Clone()
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	var said struct {
		Details []struct{ Reason string }
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, "", err
	}
	if json.Unmarshal(text, &said) == nil {
		for _, d := range said.Details {
			reason += d.Reason
		}
	}
	return answer.StatusCode, reason, nil
}
