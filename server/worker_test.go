package server_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/beldi/beldi/internal/wiring"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

func TestWorker(t *testing.T) {
	s := start(t)
	w := s.worker("f")
	done := s.invoke("f", "k1", `{"n": 1}`)
	a := w.attempt()
	if a.GetFunction() != "f" || a.GetService() != "svc" || string(a.GetInput().GetData()) != `{"n": 1}` || a.GetNumber() != 1 {
		t.Errorf("attempt %v", a)
	}
	n := a.GetAttempt()
	w.steps(read(n, "1", "k"))
	if x := w.answer(); x.GetStep() != "1" || x.GetRead() == nil || x.GetRead().GetFound() {
		t.Errorf("first read: %v", x)
	}
	w.steps(write(n, "2", "k", "5"), read(n, "3", "k"))
	if x := w.answer(); x.GetStep() != "3" || string(x.GetRead().GetValue().GetData()) != "5" {
		t.Errorf("second read: %v", x)
	}
	w.steps(complete(n, `"ok"`))
	wantOutput(t, done, `"ok"`)
	// The same key gives the same result, without an attempt.
	wantOutput(t, s.invoke("f", "k1", `{"n": 1}`), `"ok"`)
	wantError(t, (<-s.invoke("f", "k1", `{"n": 2}`)).err, codes.AlreadyExists, "KEY_REUSED")
}

func TestStepsOfAllKinds(t *testing.T) {
	s := start(t)
	w := s.worker("f", "g")
	done := s.invoke("f", "", "null")
	n := w.attempt().GetAttempt()
	step := func(name string, op *beldiv1.Step) *beldiv1.Answer {
		t.Helper()
		op.Attempt, op.Name = n, name
		w.steps(op)
		x := w.answer()
		if x.GetStep() != name || x.GetError() != nil {
			t.Fatalf("step %s: %v", name, x)
		}
		return x
	}
	if !step("cond", &beldiv1.Step{Op: &beldiv1.Step_CondWrite{CondWrite: &beldiv1.CondWriteRequest{
		Table: "t", Key: "a", Value: text("7"), Condition: "!found"}}}).GetCondWrite().GetApplied() {
		t.Error("condition !found did not hold")
	}
	if x := step("update", &beldiv1.Step{Op: &beldiv1.Step_Update{Update: &beldiv1.UpdateRequest{
		Table: "t", Key: "a", Expression: "value + input", Input: text("3")}}}); string(x.GetUpdate().GetValue().GetData()) != "10" {
		t.Errorf("update: %v", x)
	}
	if x := step("list", &beldiv1.Step{Op: &beldiv1.Step_List{List: &beldiv1.ListRequest{Table: "t", Values: true}}}).GetList(); len(x.GetEntries()) != 1 ||
		x.GetEntries()[0].GetKey() != "a" || string(x.GetEntries()[0].GetValue().GetData()) != "10" {
		t.Errorf("list: %v", x)
	}
	if x := step("keys", &beldiv1.Step{Op: &beldiv1.Step_List{List: &beldiv1.ListRequest{Table: "t"}}}).GetList(); len(x.GetEntries()) != 1 ||
		x.GetEntries()[0].GetValue() != nil {
		t.Errorf("list of keys: %v", x)
	}
	if x := step("now", &beldiv1.Step{Op: &beldiv1.Step_Now{Now: &beldiv1.NowRequest{}}}).GetNow().GetTime().AsTime(); time.Since(x).Abs() > time.Hour {
		t.Errorf("now is %s", x)
	}
	if x := step("random", &beldiv1.Step{Op: &beldiv1.Step_Random{Random: &beldiv1.RandomRequest{}}}).GetRandom().GetValue(); x < 0 || x >= 1 {
		t.Errorf("random is %v", x)
	}
	if x := step("uuid", &beldiv1.Step{Op: &beldiv1.Step_Uuid{Uuid: &beldiv1.UuidRequest{}}}).GetUuid().GetUuid(); len(x) != 36 {
		t.Errorf("uuid is %q", x)
	}
	begin := step("record", &beldiv1.Step{Op: &beldiv1.Step_BeginRecord{BeginRecord: &beldiv1.BeginRecordRequest{Name: "mail"}}}).GetBeginRecord()
	if begin.GetRecorded() || begin.GetToken() == "" || begin.GetStep() != "record" {
		t.Errorf("begin record: %v", begin)
	}
	w.steps(&beldiv1.Step{Attempt: n, Name: "record", Op: &beldiv1.Step_EndRecord{EndRecord: &beldiv1.EndRecordRequest{Value: text("1")}}})
	started := step("start", &beldiv1.Step{Op: &beldiv1.Step_Start{Start: &beldiv1.StartStep{Target: &beldiv1.FunctionRef{Function: "g"}}}}).GetStart()
	g := w.attempt()
	if g.GetInstance() != started.GetInstance() || string(g.GetInput().GetData()) != "null" {
		t.Errorf("started %v, attempt %v", started, g)
	}
	w.steps(complete(g.GetAttempt(), "42"))
	if x := step("await", &beldiv1.Step{Op: &beldiv1.Step_Await{Await: &beldiv1.AwaitStep{Instance: started.GetInstance()}}}); string(x.GetAwait().GetOutput().GetData()) != "42" {
		t.Errorf("await: %v", x)
	}
	w.steps(&beldiv1.Step{Attempt: n, Name: "invoke", Op: &beldiv1.Step_Invoke{Invoke: &beldiv1.InvokeStep{Target: &beldiv1.FunctionRef{Function: "g"}, Input: text("1")}}})
	w.steps(fail(w.attempt().GetAttempt(), "NO", "not today"))
	if e := w.answer().GetError(); e.GetReason() != "FUNCTION_FAILED" || e.GetFailure().GetCode() != "NO" || e.GetCode() != int32(codes.FailedPrecondition) {
		t.Errorf("failed invoke: %v", e)
	}
	w.steps(complete(n, "null"))
	wantOutput(t, done, "null")
}

// A crash leads to another attempt, which replays.
func TestCrashReplays(t *testing.T) {
	s := start(t)
	w := s.worker("f")
	done := s.invoke("f", "", "null")
	n := w.attempt().GetAttempt()
	w.steps(read(n, "1", "k"))
	w.answer()
	update := func() *beldiv1.Step {
		return &beldiv1.Step{Attempt: n, Name: "2", Op: &beldiv1.Step_Update{Update: &beldiv1.UpdateRequest{
			Table: "t", Key: "k", Expression: "found ? value + 1 : 1"}}}
	}
	w.steps(update())
	w.answer()
	w.steps(crash(n, "boom"))
	a := w.attempt()
	if a.GetNumber() != 2 || a.GetAttempt() == n {
		t.Errorf("second attempt: %v", a)
	}
	n = a.GetAttempt()
	w.steps(read(n, "1", "k"), update())
	if x := w.answer(); !x.GetReplayed() || x.GetRead().GetFound() {
		t.Errorf("replayed read: %v", x)
	}
	if x := w.answer(); !x.GetReplayed() || string(x.GetUpdate().GetValue().GetData()) != "1" {
		t.Errorf("replayed update: %v", x)
	}
	w.steps(complete(n, "null"))
	wantOutput(t, done, "null")
}

// A page ends before it is too large for a message, which would end the stream, and that of the next attempt as well.
func TestLargeList(t *testing.T) {
	s := start(t)
	w := s.worker("f")
	done := s.invoke("f", "", "null")
	n := w.attempt().GetAttempt()
	for i := range 13 {
		w.steps(write(n, fmt.Sprint(i), fmt.Sprint("k", i), `"`+strings.Repeat("x", 256<<10-2)+`"`))
	}
	// A page ends where it would not fit into a message, however many entries were asked for.
	seen, after := 0, ""
	for page := 1; page == 1 || after != ""; page++ {
		w.steps(&beldiv1.Step{Attempt: n, Name: fmt.Sprint("list", page), Op: &beldiv1.Step_List{
			List: &beldiv1.ListRequest{Table: "t", After: after, Values: true}}})
		x := w.answer()
		got := len(x.GetList().GetEntries())
		if got == 0 || got > 8 {
			t.Fatalf("page %d: error %v, %d entries", page, x.GetError(), got)
		}
		seen, after = seen+got, x.GetList().GetNext()
	}
	if seen != 13 {
		t.Errorf("the pages have %d entries, want 13", seen)
	}
	w.steps(complete(n, "1"))
	wantOutput(t, done, "1")
}

// An attempt whose process is gone runs again elsewhere at once.
func TestWorkerLost(t *testing.T) {
	s := start(t)
	first := s.worker("f")
	done := s.invoke("f", "", "null")
	first.attempt()
	second := s.worker("f")
	if err := first.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := first.end(); !errors.Is(err, io.EOF) {
		t.Errorf("stream ended with %v, want EOF", err)
	}
	second.steps(complete(second.attempt().GetAttempt(), "1"))
	wantOutput(t, done, "1")
}

func TestRefusedSteps(t *testing.T) {
	s := start(t)
	w := s.worker("f")
	done := s.invoke("f", "", "null")
	n := w.attempt().GetAttempt()
	for _, c := range []struct {
		what   string
		step   *beldiv1.Step
		reason string
	}{
		{"no name", read(n, "", "k"), "MALFORMED"},
		{"long name", read(n, strings.Repeat("x", 257), "k"), "TOO_LARGE"},
		{"no operation", &beldiv1.Step{Attempt: n, Name: "1"}, "MALFORMED"},
		{"empty key", read(n, "1", ""), "MALFORMED"},
		{"no such attempt", read(n+1, "1", "k"), "MALFORMED"},
		{"attempt 0", read(0, "1", "k"), "MALFORMED"},
		{"expression", &beldiv1.Step{Attempt: n, Name: "1", Op: &beldiv1.Step_Update{Update: &beldiv1.UpdateRequest{Table: "t", Key: "k", Expression: "1 +"}}}, "BAD_EXPRESSION"},
		{"type", &beldiv1.Step{Attempt: n, Name: "1", Op: &beldiv1.Step_CondWrite{CondWrite: &beldiv1.CondWriteRequest{Table: "t", Key: "k", Condition: "1"}}}, "BAD_EXPRESSION"},
		{"end without begin", &beldiv1.Step{Attempt: n, Name: "1", Op: &beldiv1.Step_EndRecord{EndRecord: &beldiv1.EndRecordRequest{}}}, "MALFORMED"},
		{"two ends", &beldiv1.Step{Attempt: n, Name: "1", Op: &beldiv1.Step_EndRecord{EndRecord: &beldiv1.EndRecordRequest{Value: text("1"), Failure: &beldiv1.Failure{}}}}, "MALFORMED"},
	} {
		w.steps(c.step)
		if x := w.answer(); x.GetError().GetReason() != c.reason || x.GetStep() != c.step.GetName() {
			t.Errorf("%s: %v, want %s", c.what, x, c.reason)
		}
	}
	// The function did not wait for the end of the record, which was refused: it must not complete, and runs again.
	w.steps(complete(n, "1"))
	if x := w.cancelled(); x.GetAttempt() != n || x.GetError().GetReason() != "MALFORMED" {
		t.Errorf("cancel: %v", x)
	}
	a := w.attempt()
	if a.GetNumber() != 2 {
		t.Errorf("attempt %v, want the second", a)
	}
	// A result that is too large is a crash, too.
	w.steps(complete(a.GetAttempt(), `"`+strings.Repeat("x", 1<<20)+`"`))
	if x := w.cancelled(); x.GetError().GetReason() != "TOO_LARGE" {
		t.Errorf("cancel: %v", x)
	}
	a = w.attempt()
	// Steps of an attempt that is over are ignored, the second end of one as well.
	w.steps(read(n, "9", "k"), complete(a.GetAttempt(), "2"), complete(a.GetAttempt(), "3"))
	wantOutput(t, done, "2")
}

func TestNonDeterminism(t *testing.T) {
	s := start(t, func(o *wiring.Options) { o.MaxAttempts = 2 })
	w := s.worker("f")
	done := s.invoke("f", "", "null")
	n := w.attempt().GetAttempt()
	w.steps(&beldiv1.Step{Attempt: n, Name: "1", Op: &beldiv1.Step_CondWrite{CondWrite: &beldiv1.CondWriteRequest{Table: "t", Key: "a", Value: text("1"), Condition: "true"}}})
	w.answer()
	w.steps(crash(n, "boom"))
	n = w.attempt().GetAttempt()
	w.steps(read(n, "1", "other"))
	e := w.answer().GetError()
	if e.GetReason() != "NON_DETERMINISM" || e.GetMetadata()["step"] != "1" || !strings.Contains(e.GetMetadata()["recorded"], "condWrite") {
		t.Errorf("error %v", e)
	}
	wantError(t, (<-done).err, codes.FailedPrecondition, "NON_DETERMINISM")
}

func TestHello(t *testing.T) {
	s := start(t)
	for what, first := range map[string]*beldiv1.FromWorker{
		"no hello":             {},
		"no service":           {Hello: &beldiv1.Hello{Functions: []string{"f"}}},
		"no functions":         {Hello: &beldiv1.Hello{Service: "svc"}},
		"slash":                {Hello: &beldiv1.Hello{Service: "svc", Functions: []string{"a/b"}}},
		"own name":             {Hello: &beldiv1.Hello{Service: "svc", Functions: []string{"$cells"}}},
		"negative concurrency": {Hello: &beldiv1.Hello{Service: "svc", Functions: []string{"f"}, Concurrency: -1}},
	} {
		stream, err := s.workers.Work(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(first); err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		if err == nil {
			t.Errorf("%s: no error", what)
			continue
		}
		wantError(t, err, codes.InvalidArgument, "MALFORMED")
	}
	w := s.worker("f")
	w.send(&beldiv1.FromWorker{Hello: &beldiv1.Hello{Service: "svc", Functions: []string{"f"}}})
	wantError(t, w.end(), codes.InvalidArgument, "MALFORMED")
}

// A worker that drains gets no new attempts; those under way go on.
func TestWorkerDrains(t *testing.T) {
	s := start(t)
	w := s.workerWith(&beldiv1.Hello{Service: "svc", Functions: []string{"f", "f"}, Concurrency: 1})
	first := s.invoke("f", "", "1")
	a := w.attempt()
	w.send(&beldiv1.FromWorker{Hello: &beldiv1.Hello{Draining: true}, Steps: []*beldiv1.Step{complete(a.GetAttempt(), "1")}})
	wantOutput(t, first, "1")
	second := s.invoke("f", "", "2")
	other := s.worker("f")
	other.steps(complete(other.attempt().GetAttempt(), "2"))
	wantOutput(t, second, "2")
}

// Steps of many attempts in one message, in any order.
func TestInterleavedAttempts(t *testing.T) {
	s := start(t)
	w := s.worker("f")
	one, two := s.invoke("f", "", "1"), s.invoke("f", "", "2")
	a, b := w.attempt(), w.attempt()
	if string(a.GetInput().GetData()) == "2" {
		a, b = b, a
	}
	x, y := a.GetAttempt(), b.GetAttempt()
	w.steps(write(x, "1", "a", "1"), write(y, "1", "b", "2"), read(x, "2", "a"), read(y, "2", "b"), complete(y, "20"), complete(x, "10"))
	wantOutput(t, one, "10")
	wantOutput(t, two, "20")
}
