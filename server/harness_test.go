package server_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/beldi/beldi/internal/wiring"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// sidecar is a real one over the memory store, with clients.
type sidecar struct {
	*wiring.Sidecar
	t         testing.TB
	conn      *grpc.ClientConn
	functions beldiv1.FunctionsClient
	steps     beldiv1.StepsClient
	workers   beldiv1.WorkersClient
	admin     beldiv1.AdminClient
	url       string
}

func start(t testing.TB, change ...func(*wiring.Options)) *sidecar {
	t.Helper()
	o := wiring.Options{
		GRPC:       "127.0.0.1:0",
		HTTP:       "127.0.0.1:0",
		Socket:     filepath.Join(t.TempDir(), "s"),
		DrainLimit: time.Millisecond, // tests that drain say how long
		Log:        slog.New(slog.DiscardHandler),
		Version:    "test",
	}
	for _, f := range change {
		f(&o)
	}
	running, err := wiring.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := running.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	s := &sidecar{Sidecar: running, t: t, url: "http://" + running.Addresses().HTTP}
	s.conn = dial(t, "unix:"+o.Socket)
	s.functions = beldiv1.NewFunctionsClient(s.conn)
	s.steps = beldiv1.NewStepsClient(s.conn)
	s.workers = beldiv1.NewWorkersClient(s.conn)
	s.admin = beldiv1.NewAdminClient(s.conn)
	return s
}

func dial(t testing.TB, target string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// worker is a process at the other end of a stream, played by the test.
type worker struct {
	t      testing.TB
	stream grpc.BidiStreamingClient[beldiv1.FromWorker, beldiv1.ToWorker]
	// What came and was not asked for yet.
	attempts []*beldiv1.Attempt
	answers  []*beldiv1.Answer
	cancels  []*beldiv1.Cancel
	welcomes []*beldiv1.Welcome
}

func (s *sidecar) worker(functions ...string) *worker {
	s.t.Helper()
	return s.workerWith(&beldiv1.Hello{Service: "svc", Functions: functions})
}

func (s *sidecar) workerWith(h *beldiv1.Hello) *worker {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	stream, err := s.workers.Work(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	w := &worker{t: s.t, stream: stream}
	w.send(&beldiv1.FromWorker{Hello: h})
	w.welcome()
	return w
}

func (w *worker) send(m *beldiv1.FromWorker) {
	w.t.Helper()
	if err := w.stream.Send(m); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

func (w *worker) steps(steps ...*beldiv1.Step) {
	w.t.Helper()
	w.send(&beldiv1.FromWorker{Steps: steps})
}

func (w *worker) recv() {
	w.t.Helper()
	m, err := w.stream.Recv()
	if err != nil {
		w.t.Fatalf("receive: %v", err)
	}
	w.attempts = append(w.attempts, m.GetAttempts()...)
	w.answers = append(w.answers, m.GetAnswers()...)
	w.cancels = append(w.cancels, m.GetCancels()...)
	if m.GetWelcome() != nil {
		w.welcomes = append(w.welcomes, m.GetWelcome())
	}
}

// next takes the first of a list, receiving until there is one.
func next[T any](w *worker, list *[]T) T {
	w.t.Helper()
	for len(*list) == 0 {
		w.recv()
	}
	first := (*list)[0]
	*list = (*list)[1:]
	return first
}

func (w *worker) attempt() *beldiv1.Attempt  { w.t.Helper(); return next(w, &w.attempts) }
func (w *worker) answer() *beldiv1.Answer    { w.t.Helper(); return next(w, &w.answers) }
func (w *worker) cancelled() *beldiv1.Cancel { w.t.Helper(); return next(w, &w.cancels) }
func (w *worker) welcome() *beldiv1.Welcome  { w.t.Helper(); return next(w, &w.welcomes) }

// end waits for the end of the stream.
func (w *worker) end() error {
	for {
		if _, err := w.stream.Recv(); err != nil {
			return err
		}
	}
}

func text(s string) *beldiv1.Payload { return &beldiv1.Payload{Data: []byte(s)} }

func read(a uint64, name, key string) *beldiv1.Step {
	return &beldiv1.Step{Attempt: a, Name: name, Op: &beldiv1.Step_Read{Read: &beldiv1.ReadRequest{Table: "t", Key: key}}}
}

func write(a uint64, name, key, value string) *beldiv1.Step {
	return &beldiv1.Step{Attempt: a, Name: name, Op: &beldiv1.Step_Write{Write: &beldiv1.WriteRequest{Table: "t", Key: key, Value: text(value)}}}
}

func complete(a uint64, output string) *beldiv1.Step {
	return &beldiv1.Step{Attempt: a, Op: &beldiv1.Step_Complete{Complete: &beldiv1.CompleteRequest{Output: text(output)}}}
}

func fail(a uint64, code, message string) *beldiv1.Step {
	return &beldiv1.Step{Attempt: a, Op: &beldiv1.Step_Fail{Fail: &beldiv1.FailRequest{Failure: &beldiv1.Failure{Code: code, Message: message}}}}
}

func crash(a uint64, message string) *beldiv1.Step {
	return &beldiv1.Step{Attempt: a, Op: &beldiv1.Step_Crash{Crash: &beldiv1.Crash{Message: message}}}
}

// outcome is what an Invoke returned.
type outcome struct {
	output string
	err    error
}

// invoke calls a function from outside, in the background.
func (s *sidecar) invoke(function, key, input string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		m, err := s.functions.Invoke(s.t.Context(), &beldiv1.InvokeRequest{Service: "svc", Function: function, Input: text(input), IdempotencyKey: key})
		done <- outcome{string(m.GetOutput().GetData()), err}
	}()
	return done
}

func wantOutput(t *testing.T, done <-chan outcome, want string) {
	t.Helper()
	if o := <-done; o.err != nil || o.output != want {
		t.Errorf("output %q, error %v, want %q", o.output, o.err, want)
	}
}

// info is the ErrorInfo of an error.
func info(t *testing.T, err error) *errdetails.ErrorInfo {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return i
		}
	}
	t.Fatalf("error %v has no ErrorInfo", err)
	return nil
}

func wantError(t *testing.T, err error, code codes.Code, reason string) *errdetails.ErrorInfo {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("error %v, want %s %s", err, code, reason)
	}
	i := info(t, err)
	if i.GetReason() != reason || i.GetDomain() != "beldi" {
		t.Fatalf("error %v is %s of %s, want %s", err, i.GetReason(), i.GetDomain(), reason)
	}
	return i
}

// response is what came by REST.
type response struct {
	code   int
	body   string
	header http.Header
}

// rest does a request; headers stand as "Name: value".
func (s *sidecar) rest(method, path, body string, headers ...string) response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Error(err) // no Fatal: functions call this, too
		return response{}
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Error(err)
		return response{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Error(err)
		return response{}
	}
	return response{resp.StatusCode, string(text), resp.Header}
}
