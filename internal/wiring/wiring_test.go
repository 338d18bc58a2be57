package wiring

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/backends/pebble"
	"github.com/beldi/beldi/callback"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o Options) (*Sidecar, *grpc.ClientConn) {
	t.Helper()
	o.GRPC, o.DrainLimit, o.Log = "127.0.0.1:0", time.Millisecond, slog.New(slog.DiscardHandler)
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // tests look at the error where it matters; Close may be repeated
	conn, err := grpc.NewClient(s.Addresses().GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return s, conn
}

// attach announces svc/f and returns its stream, whose first message was taken.
func attach(t *testing.T, conn *grpc.ClientConn) grpc.BidiStreamingClient[beldiv1.FromWorker, beldiv1.ToWorker] {
	t.Helper()
	stream, err := beldiv1.NewWorkersClient(conn).Work(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&beldiv1.FromWorker{Hello: &beldiv1.Hello{Service: "svc", Functions: []string{"f"}}}); err != nil {
		t.Fatal(err)
	}
	return stream
}

func next(t *testing.T, stream grpc.BidiStreamingClient[beldiv1.FromWorker, beldiv1.ToWorker]) *beldiv1.Attempt {
	t.Helper()
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(m.GetAttempts()) > 0 {
			return m.GetAttempts()[0]
		}
	}
}

// An instance that was started outlives its sidecar.
func TestRestart(t *testing.T) {
	o := Options{Store: "pebble", Dir: t.TempDir(), Fsync: true}
	s, conn := start(t, o)
	stream := attach(t, conn)
	request := &beldiv1.StartRequest{Service: "svc", Function: "f", Input: &beldiv1.Payload{Data: []byte("7")}, IdempotencyKey: "k"}
	if _, err := stream.Recv(); err != nil { // the function is known
		t.Fatal(err)
	}
	started, err := beldiv1.NewFunctionsClient(conn).Start(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	first := next(t, stream)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	_, conn = start(t, o)
	stream = attach(t, conn)
	a := next(t, stream)
	if a.GetInstance() != started.GetInstance() || a.GetInstance() != first.GetInstance() || string(a.GetInput().GetData()) != "7" || a.GetNumber() != 2 {
		t.Errorf("attempt %v, want the second of %s", a, started.GetInstance())
	}
	end := &beldiv1.Step{Attempt: a.GetAttempt(), Op: &beldiv1.Step_Complete{Complete: &beldiv1.CompleteRequest{Output: a.GetInput()}}}
	if err := stream.Send(&beldiv1.FromWorker{Steps: []*beldiv1.Step{end}}); err != nil {
		t.Fatal(err)
	}
	done, err := beldiv1.NewFunctionsClient(conn).Await(t.Context(), &beldiv1.AwaitRequest{Instance: started.GetInstance()})
	if err != nil || string(done.GetOutput().GetData()) != "7" {
		t.Errorf("%v, %v", done, err)
	}
}

// A second sidecar on the same directory does not start, and says who has it.
func TestLocked(t *testing.T) {
	o := Options{Store: "pebble", Dir: t.TempDir()}
	start(t, o)
	o.GRPC, o.Log = "127.0.0.1:0", slog.New(slog.DiscardHandler)
	if _, err := Start(t.Context(), o); !errors.Is(err, pebble.ErrLocked) || !strings.Contains(err.Error(), "pid") {
		t.Errorf("%v, want ErrLocked", err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Store: "paper", GRPC: "127.0.0.1:0"}, `"paper" is unknown`},
		{Options{Store: "pebble", GRPC: "127.0.0.1:0"}, "directory"},
		{Options{}, "nothing to listen on"},
		{Options{GRPC: "127.0.0.1:0", Lease: -1}, "Lease"},
	} {
		c.o.Log = slog.New(slog.DiscardHandler)
		s, err := Start(t.Context(), c.o)
		if s != nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.o, err, c.want)
		}
	}
}

// A store that broke ends the sidecar, which says why.
func TestBroken(t *testing.T) {
	s, _ := start(t, Options{})
	select {
	case <-s.Done():
		t.Fatal("done before anything happened")
	default:
	}
	s.fail(errors.New("bad disk"))
	<-s.Done()
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "bad disk") {
		t.Errorf("close: %v", err)
	}
}

// idle takes attempts and does nothing.
type idle struct{}

func (idle) Run(*intent.Attempt)                               {}
func (idle) Answer(*intent.Attempt, daal.Step, intent.Outcome) {}
func (idle) Cancel(*intent.Attempt, error)                     {}

// An operator's write that a sidecar did not finish is finished by the next one, though nobody announces the function of such writes.
func TestUnfinishedPut(t *testing.T) {
	store := memory.New(memory.Options{})
	local := &callback.Local{}
	r, err := intent.New(store, intent.Options{Invoker: local})
	if err != nil {
		t.Fatal(err)
	}
	local.Bind(r)
	fn := intent.Function{Service: "svc", Name: "$cells"}
	if _, err := r.Attach(fn.Service, []string{fn.Name}, 0, idle{}); err != nil {
		t.Fatal(err)
	}
	input := daal.JSON(`{"request": "r", "cells": [{"table": "t", "key": "k", "data": "Nw=="}]}`)
	if err := r.Start(t.Context(), intent.Request{ID: "put", Function: fn, Input: input}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}

	_, conn := start(t, Options{Backend: store})
	if _, err := beldiv1.NewFunctionsClient(conn).Await(t.Context(), &beldiv1.AwaitRequest{Instance: "put"}); err != nil {
		t.Fatal(err)
	}
	cell, err := beldiv1.NewAdminClient(conn).GetCell(t.Context(), &beldiv1.GetCellRequest{Service: "svc", Table: "t", Key: "k"})
	if err != nil || string(cell.GetValue().GetData()) != "7" {
		t.Errorf("%v, %v", cell, err)
	}
}
