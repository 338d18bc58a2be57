package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"syscall"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// Every error of the domain has its status, reason and HTTP code, in a call and in a stream alike.
func TestErrorMap(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   codes.Code
		reason reason
		http   int
		meta   map[string]string
	}{
		{malformed("x"), codes.InvalidArgument, reasonMalformed, 400, nil},
		{&intent.Malformed{What: "x"}, codes.InvalidArgument, reasonMalformed, 400, nil},
		{&intent.TooLarge{What: "value", Size: 3, Over: 2}, codes.InvalidArgument, reasonTooLarge, 400, map[string]string{"size": "3", "limit": "2"}},
		{&daal.BadExpression{Line: 1, Column: 5, Message: "x"}, codes.InvalidArgument, reasonBadExpression, 400, map[string]string{"line": "1", "column": "5"}},
		{&daal.BadExpression{Message: "at run time"}, codes.InvalidArgument, reasonBadExpression, 400, nil},
		{&intent.NoSuchFunction{Function: intent.Function{Service: "s", Name: "f"}}, codes.NotFound, reasonNoSuchFunction, 404, map[string]string{"service": "s", "function": "f"}},
		{intent.ErrNoSuchInstance, codes.NotFound, reasonNoSuchInstance, 404, nil},
		{intent.ErrKeyReused, codes.AlreadyExists, reasonKeyReused, 409, nil},
		{&intent.Failure{Message: "sold out", Code: "SOLD_OUT"}, codes.FailedPrecondition, reasonFunctionFailed, 422, nil},
		{&intent.NonDeterminism{Step: "3", Recorded: "a", Repeated: "b"}, codes.FailedPrecondition, reasonNonDeterminism, 400, map[string]string{"step": "3", "recorded": "a", "repeated": "b"}},
		{&intent.ParkedError{Why: "crashed"}, codes.FailedPrecondition, reasonAttemptsExhausted, 400, nil},
		{intent.ErrInvokeWait, codes.DeadlineExceeded, reasonInvokeWait, 504, nil},
		{context.DeadlineExceeded, codes.DeadlineExceeded, reasonInvokeWait, 504, nil},
		{intent.ErrAttemptTimeout, codes.DeadlineExceeded, reasonAttempt, 504, nil},
		{intent.ErrSuperseded, codes.Aborted, reasonSuperseded, 409, nil},
		{intent.ErrWorkerLost, codes.Aborted, reasonCancelled, 409, nil},
		{context.Canceled, codes.Aborted, reasonCancelled, 409, nil},
		{refuse(reasonNotAllowed, "x"), codes.PermissionDenied, reasonNotAllowed, 403, nil},
		{refuse(reasonBadToken, "x"), codes.Unauthenticated, reasonBadToken, 401, nil},
		{intent.ErrOverloaded, codes.ResourceExhausted, reasonOverloaded, 429, nil},
		{intent.ErrClosing, codes.Unavailable, reasonDraining, 503, nil},
		{intent.ErrStore, codes.Unavailable, reasonStoreUnreachable, 503, nil},
		{daal.ErrUnknown, codes.Unavailable, reasonStoreUnreachable, 503, nil},
		{fmt.Errorf("%w: %w", intent.ErrStore, syscall.ENOSPC), codes.Unavailable, reasonStoreFull, 503, nil},
		{fmt.Errorf("%w: %w", intent.ErrStore, backends.ErrFull), codes.Unavailable, reasonStoreFull, 503, nil},
		{errors.New("a surprise"), codes.Internal, reasonInternal, 500, nil},
	} {
		err := fmt.Errorf("while testing: %w", c.err)
		f := faultOf(err)
		s, ok := status.FromError(f)
		if !ok || s.Code() != c.code || f.httpStatus() != c.http {
			t.Errorf("%v: %s, HTTP %d, want %s, %d", err, s.Code(), f.httpStatus(), c.code, c.http)
		}
		info, retry := details(s)
		if info.GetReason() != string(c.reason) || info.GetDomain() != "beldi" || !maps.Equal(info.GetMetadata(), c.meta) {
			t.Errorf("%v: %v, want %s %v", err, info, c.reason, c.meta)
		}
		if (retry != nil) != (c.code == codes.ResourceExhausted) {
			t.Errorf("%v: RetryInfo %v", err, retry)
		}
		e := f.inStream()
		if codes.Code(e.GetCode()) != c.code || e.GetReason() != string(c.reason) || e.GetMessage() != s.Message() || !maps.Equal(e.GetMetadata(), c.meta) {
			t.Errorf("%v: in a stream %v", err, e)
		}
		if (e.GetFailure() != nil) != (c.reason == reasonFunctionFailed) {
			t.Errorf("%v: failure %v", err, e.GetFailure())
		}
	}
	if f := faultOf(nil); f != nil {
		t.Errorf("nil is %v", f)
	}
	if err := asError(nil); err != nil {
		t.Errorf("no fault is the error %v", err)
	}
}

func details(s *status.Status) (info *errdetails.ErrorInfo, retry *errdetails.RetryInfo) {
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d
		}
	}
	return info, retry
}

// A function's failure reaches callers whole.
func TestFailureDetail(t *testing.T) {
	f := faultOf(&intent.Failure{Message: "sold out", Code: "SOLD_OUT", Details: daal.JSON(`{"left": 0}`)})
	for _, d := range f.GRPCStatus().Details() {
		if m, ok := d.(*beldiv1.Failure); ok {
			if m.GetMessage() != "sold out" || m.GetCode() != "SOLD_OUT" || string(m.GetDetails().GetData()) != `{"left": 0}` {
				t.Errorf("failure %v", m)
			}
			return
		}
	}
	t.Error("no Failure among the details")
}

// The reasons of the contract, and the HTTP codes that they stand for. docs/errors.md shows the same.
func TestReasons(t *testing.T) {
	want := map[int][]reason{
		400: {"MALFORMED", "TOO_LARGE", "BAD_EXPRESSION", "NON_DETERMINISM", "NOT_IN_TRANSACTION", "LOCK_NOT_HELD", "LIST_IN_TRANSACTION", "ATTEMPTS_EXHAUSTED", "SCHEMA_NEWER"},
		401: {"BAD_TOKEN", "BAD_CERTIFICATE"},
		403: {"FOREIGN_TABLE", "NOT_ALLOWED"},
		404: {"NO_SUCH_FUNCTION", "NO_SUCH_INSTANCE"},
		409: {"KEY_REUSED", "SUPERSEDED", "TRANSACTION_DIED", "CANCELLED"},
		422: {"FUNCTION_FAILED"},
		429: {"QUOTA", "OVERLOADED"},
		500: {"INTERNAL"},
		503: {"STORE_UNREACHABLE", "STORE_FULL", "CALLEE_UNREACHABLE", "DRAINING"},
		504: {"INVOKE_WAIT", "ATTEMPT", "LOCK_TIMEOUT"},
	}
	n := 0
	for code, list := range want {
		for _, r := range list {
			n++
			if got := refuse(r, "x").httpStatus(); got != code {
				t.Errorf("%s is HTTP %d %s, want %d", r, got, http.StatusText(got), code)
			}
			if c := statusOf[r]; c == codes.OK {
				t.Errorf("%s has no status", r)
			}
		}
	}
	if n != len(statusOf) {
		t.Errorf("%d reasons, want %d", len(statusOf), n)
	}
}
