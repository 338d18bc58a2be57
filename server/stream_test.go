package server

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// deaf is a worker that takes nothing.
type deaf struct {
	grpc.ServerStream
	ctx context.Context
}

func (d deaf) Context() context.Context { return d.ctx }

func (d deaf) Send(*beldiv1.ToWorker) error {
	<-d.ctx.Done()
	return d.ctx.Err()
}

func TestStalledWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		st := newStream("svc", stallLimit)
		begun := time.Now()
		go st.write(deaf{ctx: ctx})
		time.Sleep(time.Hour) // nothing to send: it may be as silent as it likes
		st.welcome("test", false)
		if why := <-st.over; why.reason != reasonOverloaded {
			t.Errorf("cut off: %v", why)
		}
		if d := time.Since(begun); d != time.Hour+stallLimit {
			t.Errorf("after %s", d)
		}
	})
}

func newCall() *intent.Attempt {
	return &intent.Attempt{Instance: "i", Function: intent.Function{Service: "svc", Name: "f"}, Input: daal.Value{Data: make([]byte, maxInput)}}
}

// No message that a worker could not take, and no end of memory for one that does not read.
func TestFullStream(t *testing.T) {
	st := newStream("svc", stallLimit)
	const n = 63
	for range n {
		st.Run(newCall())
	}
	select {
	case why := <-st.over:
		t.Fatalf("cut off: %v", why)
	default:
	}
	st.Run(newCall())
	st.Run(newCall())
	if why := <-st.over; why.reason != reasonOverloaded {
		t.Errorf("cut off: %v", why)
	}
	seen := 0
	for m := st.take(); m != nil; m = st.take() {
		size := 0
		for _, a := range m.GetAttempts() {
			size += len(a.GetInput().GetData())
			seen++
		}
		if size > maxToWorker {
			t.Errorf("a message of %d bytes", size)
		}
	}
	if seen != n+2 || st.pending != 0 {
		t.Errorf("%d attempts, %d bytes left", seen, st.pending)
	}
}

// While much waits for the worker, nothing is read from it.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStream("svc", stallLimit)
		for range 5 {
			st.Run(newCall())
		}
		waited := make(chan error)
		go func() { waited <- st.waitForRoom(t.Context()) }()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("there was room")
		default:
		}
		for range 2 {
			st.take()
			signal(st.room)
		}
		if err := <-waited; err != nil {
			t.Error(err)
		}
	})
}

// A bug in one call is that call's.
func TestPanic(t *testing.T) {
	s := &Server{log: slog.New(slog.DiscardHandler)}
	d := s.guarded(&grpc.ServiceDesc{
		Methods: []grpc.MethodDesc{{MethodName: "M", Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) { panic("bug") }}},
		Streams: []grpc.StreamDesc{{StreamName: "S", Handler: func(any, grpc.ServerStream) error { panic("bug") }}},
	})
	_, err := d.Methods[0].Handler(nil, t.Context(), nil, nil)
	for _, err := range []error{err, d.Streams[0].Handler(nil, deaf{ctx: t.Context()})} {
		var f *fault
		if !errors.As(err, &f) || f.reason != reasonInternal || status.Code(err) != codes.Internal {
			t.Errorf("panic is %v", err)
		}
	}
}
