package beldi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	beldi "github.com/beldi/beldi/clients/go"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// fake is a gRPC server that speaks the worker stream, for tests of what this package sends. It keeps cells in memory and replays
// nothing: the conformance suite runs the same package against the real sidecar.
type fake struct {
	beldiv1.UnimplementedWorkersServer
	beldiv1.UnimplementedFunctionsServer

	address string
	limits  *beldiv1.Limits
	// answer, if set, answers a step instead of the fake; nil falls through.
	answer func(*beldiv1.Step) *beldiv1.Answer

	hellos   chan *beldiv1.Hello
	messages chan *beldiv1.FromWorker // all but the first of a stream
	ends     chan *beldiv1.Step       // complete, fail, crash
	tokens   chan string

	mu       sync.Mutex
	cells    map[string]*beldiv1.Payload
	attempts uint64
	streams  []*fakeStream
}

type fakeStream struct {
	mu     sync.Mutex
	stream beldiv1.Workers_WorkServer
	broken chan struct{}
}

func (s *fakeStream) send(m *beldiv1.ToWorker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.stream.Send(m)
}

func startFake() (*fake, func(), error) {
	dir, err := os.MkdirTemp("", "beldi")
	if err != nil {
		return nil, nil, err
	}
	socket := filepath.Join(dir, "s")
	f := &fake{
		address:  "unix://" + socket,
		limits:   &beldiv1.Limits{Key: 1 << 10, Value: 256 << 10, Input: 1 << 20, StepName: 256},
		hellos:   make(chan *beldiv1.Hello, 16),
		messages: make(chan *beldiv1.FromWorker, 1024),
		ends:     make(chan *beldiv1.Step, 128),
		tokens:   make(chan string, 16),
		cells:    make(map[string]*beldiv1.Payload),
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, nil, err
	}
	server := grpc.NewServer()
	beldiv1.RegisterWorkersServer(server, f)
	beldiv1.RegisterFunctionsServer(server, f)
	go server.Serve(listener)
	return f, func() { server.Stop(); os.RemoveAll(dir) }, nil
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f, stop, err := startFake()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return f
}

// run runs the service against the fake until the test ends, and waits for its Hello.
func (f *fake) run(t *testing.T, s *beldi.Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	<-f.hellos
}

// quiet discards the log lines of a service.
var quiet = beldi.Log(slog.New(slog.DiscardHandler))

func (f *fake) Work(stream beldiv1.Workers_WorkServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	md, _ := metadata.FromIncomingContext(stream.Context())
	f.tokens <- strings.Join(md.Get("authorization"), ",")
	s := &fakeStream{stream: stream, broken: make(chan struct{})}
	s.send(&beldiv1.ToWorker{Welcome: &beldiv1.Welcome{Version: "fake", Limits: f.limits}})
	f.mu.Lock()
	f.streams = append(f.streams, s)
	f.mu.Unlock()
	f.hellos <- first.GetHello()
	received := make(chan error, 1)
	go func() { received <- f.receive(s) }()
	select {
	case err := <-received:
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	case <-s.broken:
		return status.Error(codes.Unavailable, "broken by the test")
	}
}

func (f *fake) receive(s *fakeStream) error {
	for {
		m, err := s.stream.Recv()
		if err != nil {
			return err
		}
		f.messages <- m
		var answers []*beldiv1.Answer
		for _, step := range m.GetSteps() {
			var a *beldiv1.Answer
			if f.answer != nil {
				a = f.answer(step)
			}
			if a == nil {
				a = f.serve(step)
			}
			if a != nil {
				a.Attempt, a.Step = step.GetAttempt(), step.GetName()
				answers = append(answers, a)
			}
		}
		if answers != nil {
			s.send(&beldiv1.ToWorker{Answers: answers})
		}
	}
}

func (f *fake) serve(step *beldiv1.Step) *beldiv1.Answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch op := step.GetOp().(type) {
	case *beldiv1.Step_Write:
		f.cells[op.Write.GetTable()+"/"+op.Write.GetKey()] = op.Write.GetValue()
	case *beldiv1.Step_Delete:
		delete(f.cells, op.Delete.GetTable()+"/"+op.Delete.GetKey())
	case *beldiv1.Step_Read:
		v, found := f.cells[op.Read.GetTable()+"/"+op.Read.GetKey()]
		return &beldiv1.Answer{Result: &beldiv1.Answer_Read{Read: &beldiv1.ReadResponse{Found: found, Value: v}}}
	case *beldiv1.Step_BeginRecord:
		return &beldiv1.Answer{Result: &beldiv1.Answer_BeginRecord{BeginRecord: &beldiv1.BeginRecordResponse{Token: "token-" + step.GetName()}}}
	case *beldiv1.Step_Now:
		return &beldiv1.Answer{Result: &beldiv1.Answer_Now{Now: &beldiv1.NowResponse{Time: &timestamppb.Timestamp{Seconds: 1}}}}
	case *beldiv1.Step_Random:
		return &beldiv1.Answer{Result: &beldiv1.Answer_Random{Random: &beldiv1.RandomResponse{Value: 0.5}}}
	case *beldiv1.Step_Complete, *beldiv1.Step_Fail, *beldiv1.Step_Crash:
		f.ends <- step
	}
	return nil
}

// start sends an attempt to the latest stream and returns its number.
func (f *fake) start(function, input string) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts++
	f.streams[len(f.streams)-1].send(&beldiv1.ToWorker{Attempts: []*beldiv1.Attempt{{
		Attempt: f.attempts, Instance: "i1", Function: function, Number: 1, Input: &beldiv1.Payload{Data: []byte(input)}}}})
	return f.attempts
}

func (f *fake) cancel(attempt uint64, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams[len(f.streams)-1].send(&beldiv1.ToWorker{Cancels: []*beldiv1.Cancel{{
		Attempt: attempt, Error: &beldiv1.Error{Code: int32(codes.Aborted), Reason: reason, Message: "the test says so"}}}})
}

func (f *fake) breakStream() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.streams[len(f.streams)-1].broken)
}

// Invoke runs the function on the latest stream, for examples. Only one call at a time.
func (f *fake) Invoke(_ context.Context, r *beldiv1.InvokeRequest) (*beldiv1.InvokeResponse, error) {
	f.start(r.GetFunction(), string(r.GetInput().GetData()))
	switch op := (<-f.ends).GetOp().(type) {
	case *beldiv1.Step_Complete:
		return &beldiv1.InvokeResponse{Output: op.Complete.GetOutput(), Instance: "i1"}, nil
	case *beldiv1.Step_Fail:
		s, err := status.New(codes.FailedPrecondition, op.Fail.GetFailure().GetMessage()).WithDetails(
			&errdetails.ErrorInfo{Reason: "FUNCTION_FAILED", Domain: "beldi"}, op.Fail.GetFailure())
		if err != nil {
			return nil, err
		}
		return nil, s.Err()
	}
	return nil, status.Error(codes.Unavailable, "crashed")
}

func (f *fake) Await(context.Context, *beldiv1.AwaitRequest) (*beldiv1.AwaitResponse, error) {
	s, err := status.New(codes.DeadlineExceeded, "the result is not there yet").WithDetails(
		&errdetails.ErrorInfo{Reason: "INVOKE_WAIT", Domain: "beldi", Metadata: map[string]string{"instance": "i1"}})
	if err != nil {
		return nil, err
	}
	return nil, s.Err()
}

func (f *fake) put(cell string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cells[cell] = &beldiv1.Payload{Data: data}
}
