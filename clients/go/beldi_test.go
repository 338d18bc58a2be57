package beldi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	beldi "github.com/beldi/beldi/clients/go"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs one function "f" against a fake.
func serve[In, Out any](t *testing.T, f *fake, fn func(*beldi.Context, In) (Out, error)) {
	t.Helper()
	s := beldi.NewService("svc", beldi.Address(f.address), quiet)
	beldi.Handle(s, "f", fn)
	f.run(t, s)
}

func names(m *beldiv1.FromWorker) (list []string) {
	for _, s := range m.GetSteps() {
		list = append(list, s.GetName())
	}
	return list
}

func TestWritesTravelWithTheResult(t *testing.T) {
	f := newFake(t)
	serve(t, f, func(ctx *beldi.Context, _ any) (string, error) {
		for i := range 10 {
			if err := ctx.Write("t", fmt.Sprint("k", i), i); err != nil {
				return "", err
			}
		}
		return "done", nil
	})
	f.start("f", "null")
	end := <-f.ends
	if got := string(end.GetComplete().GetOutput().GetData()); got != `"done"` {
		t.Errorf("output %s", got)
	}
	var got []string
	for !slices.Contains(got, "") {
		got = append(got, names(<-f.messages)...)
	}
	if want := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", ""}; !slices.Equal(got, want) {
		t.Errorf("steps %q, want %q", got, want)
	}
}

// A write goes out even though the function asks for nothing more.
func TestWriteDoesNotWaitForTheFunction(t *testing.T) {
	f := newFake(t)
	release := make(chan struct{})
	serve(t, f, func(ctx *beldi.Context, _ any) (any, error) {
		if err := ctx.Write("t", "k", 1); err != nil {
			return nil, err
		}
		<-release
		return nil, nil
	})
	f.start("f", "null")
	if got := names(<-f.messages); !slices.Equal(got, []string{"1"}) {
		t.Errorf("steps %q", got)
	}
	close(release)
	<-f.ends
}

func TestStepNames(t *testing.T) {
	f := newFake(t)
	serve(t, f, func(ctx *beldi.Context, _ any) (any, error) {
		if _, _, err := beldi.Read[any](ctx, "t", "k"); err != nil {
			return nil, err
		}
		g := ctx.Group()
		for range 2 {
			g.Go(func(c *beldi.Context) error {
				if err := c.Write("t", "k", 1); err != nil {
					return err
				}
				inner := c.Group()
				inner.Go(func(c *beldi.Context) error {
					_, err := c.Now()
					return err
				})
				if err := inner.Wait(); err != nil {
					return err
				}
				_, err := c.Random()
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		return nil, ctx.Delete("t", "k")
	})
	f.start("f", "null")
	<-f.ends
	var got []string
	for !slices.Contains(got, "") {
		got = append(got, names(<-f.messages)...)
	}
	slices.Sort(got)
	want := []string{"", "1", "2/1.1", "2/1.2/1.1", "2/1.3", "2/2.1", "2/2.2/1.1", "2/2.3", "3"}
	if !slices.Equal(got, want) {
		t.Errorf("steps %q, want %q", got, want)
	}
}

func TestGroupReturnsTheFirstBranchsError(t *testing.T) {
	f := newFake(t)
	serve(t, f, func(ctx *beldi.Context, _ any) (any, error) {
		second := make(chan struct{})
		g := ctx.Group()
		g.Go(func(*beldi.Context) error { <-second; return beldi.Fail("first") })
		g.Go(func(*beldi.Context) error { defer close(second); return beldi.Fail("second") })
		return nil, g.Wait()
	})
	f.start("f", "null")
	if got := (<-f.ends).GetFail().GetFailure().GetMessage(); got != "first" {
		t.Errorf("failure %q, want that of the first branch", got)
	}
}

func TestHowAnAttemptEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		fn   func(*beldi.Context) (any, error)
		want string
	}{
		{"nil", func(*beldi.Context) (any, error) { return nil, nil }, "complete null"},
		{"bytes", func(*beldi.Context) (any, error) { return []byte("raw"), nil }, "complete raw application/octet-stream"},
		{"failure", func(*beldi.Context) (any, error) {
			return nil, beldi.Fail("no", beldi.Code("N"), beldi.Details(map[string]int{"a": 1}))
		}, `fail no N {"a":1}`},
		{"wrapped failure", func(*beldi.Context) (any, error) {
			return nil, fmt.Errorf("while booking: %w", beldi.Fail("no"))
		}, "fail no  "},
		{"error", func(*beldi.Context) (any, error) { return nil, errors.New("oops") }, "crash oops"},
		{"panic", func(*beldi.Context) (any, error) { panic("oops") }, "crash panic: oops (with trace)"},
		{"panic in a branch", func(c *beldi.Context) (any, error) {
			g := c.Group()
			g.Go(func(*beldi.Context) error { panic("oops") })
			return nil, g.Wait()
		}, "crash panic: oops (with trace)"},
		{"not encodable", func(*beldi.Context) (any, error) { return func() {}, nil },
			"crash beldi: encode value of type func(): json: unsupported type: func()"},
		{"not UTF-8", func(c *beldi.Context) (any, error) {
			return nil, fmt.Errorf("\xff: %w", c.Delete("\xff", "k"))
		}, "crash \uFFFD: beldi: the table \"\\xff\" is not UTF-8 (MALFORMED)"},
		{"too much detail", func(*beldi.Context) (any, error) {
			return nil, beldi.Fail("no", beldi.Details(strings.Repeat("x", 256<<10)))
		}, "crash beldi: the detail of the failure has 262146 bytes, the limit is 262144 (TOO_LARGE)"},
		{"too large", func(*beldi.Context) (any, error) { return strings.Repeat("x", 1<<20), nil },
			"crash beldi: the result has 1048578 bytes, the limit is 1048576 (TOO_LARGE)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			serve(t, f, func(ctx *beldi.Context, _ any) (any, error) { return test.fn(ctx) })
			f.start("f", "null")
			if got := describe(<-f.ends); got != test.want {
				t.Errorf("ended with %q, want %q", got, test.want)
			}
		})
	}
}

func describe(s *beldiv1.Step) string {
	switch op := s.GetOp().(type) {
	case *beldiv1.Step_Complete:
		return strings.TrimSpace(fmt.Sprintf("complete %s %s", op.Complete.GetOutput().GetData(), op.Complete.GetOutput().GetContentType()))
	case *beldiv1.Step_Fail:
		failure := op.Fail.GetFailure()
		return fmt.Sprintf("fail %s %s %s", failure.GetMessage(), failure.GetCode(), failure.GetDetails().GetData())
	case *beldiv1.Step_Crash:
		if strings.Contains(op.Crash.GetTrace(), "beldi_test.go") {
			return "crash " + op.Crash.GetMessage() + " (with trace)"
		}
		return "crash " + op.Crash.GetMessage()
	}
	return s.String()
}

func TestBadInputFailsForGood(t *testing.T) {
	f := newFake(t)
	serve(t, f, func(*beldi.Context, int) (any, error) { return nil, nil })
	f.start("f", `"text"`)
	if got := (<-f.ends).GetFail().GetFailure().GetCode(); got != "BAD_INPUT" {
		t.Errorf("code %q", got)
	}
}

func TestIntegersInInterfacesAreExact(t *testing.T) {
	f := newFake(t)
	serve(t, f, func(_ *beldi.Context, in map[string]any) (map[string]any, error) {
		if in["n"] != json.Number("9007199254740993") {
			return nil, fmt.Errorf("got %#v", in["n"])
		}
		return in, nil
	})
	f.start("f", `{"n":9007199254740993}`)
	if got := describe(<-f.ends); got != `complete {"n":9007199254740993}` {
		t.Error(got)
	}
}

// What is over a limit fails at its own line, is not sent, and takes no step.
func TestLimits(t *testing.T) {
	f := newFake(t)
	f.limits = &beldiv1.Limits{Key: 4, Value: 6, Input: 8, StepName: 8}
	serve(t, f, func(ctx *beldi.Context, _ any) (string, error) {
		var got []string
		see := func(err error) {
			var e *beldi.Error
			switch {
			case errors.As(err, &e) && e.Code == codes.InvalidArgument:
				got = append(got, e.Reason)
			default:
				got = append(got, fmt.Sprint(err))
			}
		}
		see(ctx.Write("t", "kkkk", "vvvv"))
		see(ctx.Write("t", "kkkkk", 1))
		see(ctx.Write("t", "", 1))
		see(ctx.Write("t", "\xff", 1))
		see(ctx.Write("t", "k", "vvvvv"))
		_, err := ctx.Start("f", "iiiiiii")
		see(err)
		_, err = ctx.Random()
		see(err)
		if s := strings.Join(got, " "); s != "<nil> TOO_LARGE MALFORMED MALFORMED TOO_LARGE TOO_LARGE <nil>" {
			return "", errors.New(s)
		}
		return "ok", nil
	})
	f.start("f", "null")
	if got := describe(<-f.ends); got != `complete "ok"` {
		t.Fatal(got)
	}
	if got := names(<-f.messages); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("steps %q", got)
	}
}

func TestRecord(t *testing.T) {
	f := newFake(t)
	runs := 0
	fn := func(ctx *beldi.Context, _ any) (string, error) {
		return beldi.Record(ctx, "pay", func(token string) (string, error) {
			runs++
			return token, nil
		})
	}
	serve(t, f, fn)
	f.start("f", "null")
	if got := describe(<-f.ends); got != `complete "token-1"` {
		t.Error(got)
	}
	f.answer = func(s *beldiv1.Step) *beldiv1.Answer {
		if s.GetBeginRecord().GetName() != "pay" {
			return nil
		}
		return &beldiv1.Answer{Result: &beldiv1.Answer_BeginRecord{BeginRecord: &beldiv1.BeginRecordResponse{
			Recorded: true, Failure: &beldiv1.Failure{Message: "declined"}}}}
	}
	f.start("f", "null")
	if got := describe(<-f.ends); got != "fail declined  " {
		t.Error(got)
	}
	if runs != 1 {
		t.Errorf("the code ran %d times, want 1", runs)
	}
}

func TestCancelStopsTheAttempt(t *testing.T) {
	f := newFake(t)
	started, stopped := make(chan struct{}), make(chan error, 1)
	serve(t, f, func(ctx *beldi.Context, wait bool) (any, error) {
		if !wait {
			return "next", nil
		}
		close(started)
		<-ctx.Done()
		_, _, err := beldi.Read[any](ctx, "t", "k")
		stopped <- err
		return nil, err
	})
	attempt := f.start("f", "true")
	<-started
	f.cancel(attempt, "SUPERSEDED")
	err := <-stopped
	var cause *beldi.Error
	if !errors.Is(err, beldi.ErrAttemptOver) || !errors.As(err, &cause) || cause.Reason != "SUPERSEDED" {
		t.Errorf("read returned %v", err)
	}
	// The end of another attempt is the first that arrives: that of the cancelled one is not told.
	f.start("f", "false")
	if got := describe(<-f.ends); got != `complete "next"` {
		t.Error(got)
	}
}

func TestSupersededAnswerEndsTheAttempt(t *testing.T) {
	f := newFake(t)
	f.answer = func(s *beldiv1.Step) *beldiv1.Answer {
		if s.GetRead() == nil {
			return nil
		}
		return &beldiv1.Answer{Result: &beldiv1.Answer_Error{Error: &beldiv1.Error{Reason: "SUPERSEDED"}}}
	}
	errs := make(chan error, 2)
	serve(t, f, func(ctx *beldi.Context, _ any) (any, error) {
		_, _, err := beldi.Read[any](ctx, "t", "k")
		errs <- err
		errs <- ctx.Write("t", "k", 1)
		return nil, nil
	})
	f.start("f", "null")
	for range 2 {
		if err := <-errs; !errors.Is(err, beldi.ErrAttemptOver) {
			t.Errorf("got %v", err)
		}
	}
}

// A write that the sidecar refuses at the door has nobody who waits for it; the attempt must not complete.
func TestRefusedWriteCrashesTheAttempt(t *testing.T) {
	f := newFake(t)
	f.answer = func(s *beldiv1.Step) *beldiv1.Answer {
		if s.GetWrite() == nil {
			return nil
		}
		return &beldiv1.Answer{Result: &beldiv1.Answer_Error{Error: &beldiv1.Error{Reason: "MALFORMED", Message: "bad table"}}}
	}
	serve(t, f, func(ctx *beldi.Context, _ any) (any, error) {
		if err := ctx.Write("\x00", "k", 1); err != nil {
			return nil, err
		}
		<-ctx.Done()
		return "ignored", nil
	})
	f.start("f", "null")
	if got := describe(<-f.ends); got != "crash step 1: beldi: bad table (MALFORMED)" {
		t.Error(got)
	}
}

func TestReconnect(t *testing.T) {
	f := newFake(t)
	lost := make(chan error, 1)
	serve(t, f, func(ctx *beldi.Context, wait bool) (any, error) {
		if wait {
			f.breakStream()
			<-ctx.Done()
			lost <- ctx.Write("t", "k", 1)
		}
		return "here", nil
	})
	f.start("f", "true")
	if err := <-lost; !errors.Is(err, beldi.ErrAttemptOver) {
		t.Errorf("write on the lost stream: %v", err)
	}
	<-f.hellos
	f.start("f", "false")
	if got := describe(<-f.ends); got != `complete "here"` {
		t.Error(got)
	}
}

func TestDrain(t *testing.T) {
	f := newFake(t)
	started, release := make(chan struct{}), make(chan struct{})
	s := beldi.NewService("svc", beldi.Address(f.address), quiet, beldi.Token("secret"), beldi.Concurrency(3))
	beldi.Handle(s, "f", func(ctx *beldi.Context, _ any) (any, error) {
		close(started)
		<-release
		if err := ctx.Write("t", "k", 1); err != nil {
			return nil, err
		}
		_, _, err := beldi.Read[int](ctx, "t", "k")
		return "drained", err
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if got := <-f.tokens; got != "Bearer secret" {
		t.Errorf("authorization %q", got)
	}
	if h := <-f.hellos; h.GetService() != "svc" || h.GetConcurrency() != 3 || !slices.Equal(h.GetFunctions(), []string{"f"}) || h.GetDraining() {
		t.Errorf("hello %v", h)
	}
	f.start("f", "null")
	<-started
	cancel()
	if h := (<-f.messages).GetHello(); !h.GetDraining() {
		t.Errorf("hello %v, want draining", h)
	}
	close(release)
	if got := describe(<-f.ends); got != `complete "drained"` {
		t.Error(got)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRunRefusesAServiceWithoutFunctions(t *testing.T) {
	if err := beldi.NewService("svc").Run(context.Background()); err == nil {
		t.Error("no error")
	}
}

func TestTwoFunctionsOfOneName(t *testing.T) {
	s := beldi.NewService("svc")
	fn := func(*beldi.Context, any) (any, error) { return nil, nil }
	beldi.Handle(s, "f", fn)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	beldi.Handle(s, "f", fn)
}

func TestClientErrors(t *testing.T) {
	f := newFake(t)
	c, err := beldi.NewClient(f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = beldi.Result[any](context.Background(), c, "i1")
	var e *beldi.Error
	if !errors.As(err, &e) || e.Code != codes.DeadlineExceeded || e.Reason != "INVOKE_WAIT" || e.Metadata["instance"] != "i1" {
		t.Errorf("got %#v", err)
	}
}

func TestValueDecode(t *testing.T) {
	var (
		text   string
		raw    []byte
		number any
	)
	for _, test := range []struct {
		value beldi.Value
		into  any
		fails bool
	}{
		{beldi.Value{Data: []byte(`"x"`)}, &text, false},
		{beldi.Value{Data: []byte(`"x"`)}, &raw, true},
		{beldi.Value{Data: []byte(`null`)}, &raw, false},
		{beldi.Value{Data: []byte{0, 1}, ContentType: "image/png"}, &raw, false},
		{beldi.Value{Data: []byte{0, 1}, ContentType: "image/png"}, &text, true},
		{beldi.Value{Data: []byte(`12345678901234567890`)}, &number, false},
		{beldi.Value{}, &text, false},
		{beldi.Value{Data: []byte(`{`)}, &number, true},
	} {
		if err := test.value.Decode(test.into); (err != nil) != test.fails {
			t.Errorf("decode %s %q into %T: %v", test.value.ContentType, test.value.Data, test.into, err)
		}
	}
	if number != json.Number("12345678901234567890") {
		t.Errorf("number is %#v", number)
	}
}
