package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// errorDomain is ErrorInfo.domain of every error.
const errorDomain = "beldi"

// reason is ErrorInfo.reason: what programs switch on.
type reason string

const (
	reasonMalformed         reason = "MALFORMED"
	reasonTooLarge          reason = "TOO_LARGE"
	reasonBadExpression     reason = "BAD_EXPRESSION"
	reasonNoSuchFunction    reason = "NO_SUCH_FUNCTION"
	reasonNoSuchInstance    reason = "NO_SUCH_INSTANCE"
	reasonKeyReused         reason = "KEY_REUSED"
	reasonFunctionFailed    reason = "FUNCTION_FAILED"
	reasonNonDeterminism    reason = "NON_DETERMINISM"
	reasonAttemptsExhausted reason = "ATTEMPTS_EXHAUSTED"
	reasonInvokeWait        reason = "INVOKE_WAIT"
	reasonAttempt           reason = "ATTEMPT"
	reasonSuperseded        reason = "SUPERSEDED"
	reasonCancelled         reason = "CANCELLED"
	reasonNotAllowed        reason = "NOT_ALLOWED"
	reasonBadToken          reason = "BAD_TOKEN"
	reasonOverloaded        reason = "OVERLOADED"
	reasonDraining          reason = "DRAINING"
	reasonStoreUnreachable  reason = "STORE_UNREACHABLE"
	reasonStoreFull         reason = "STORE_FULL"
	reasonInternal          reason = "INTERNAL"
)

// statusOf gives every reason of the contract its status. SDKs switch on reasons, so the list is complete from the first release on:
// the rows without a constant belong to locks, transactions, realms and quotas.
var statusOf = map[reason]codes.Code{
	reasonMalformed:         codes.InvalidArgument,
	reasonTooLarge:          codes.InvalidArgument,
	reasonBadExpression:     codes.InvalidArgument,
	reasonNoSuchFunction:    codes.NotFound,
	reasonNoSuchInstance:    codes.NotFound,
	reasonKeyReused:         codes.AlreadyExists,
	reasonFunctionFailed:    codes.FailedPrecondition,
	reasonNonDeterminism:    codes.FailedPrecondition,
	reasonAttemptsExhausted: codes.FailedPrecondition,
	reasonInvokeWait:        codes.DeadlineExceeded,
	reasonAttempt:           codes.DeadlineExceeded,
	reasonSuperseded:        codes.Aborted,
	reasonCancelled:         codes.Aborted,
	reasonNotAllowed:        codes.PermissionDenied,
	reasonBadToken:          codes.Unauthenticated,
	reasonOverloaded:        codes.ResourceExhausted,
	reasonDraining:          codes.Unavailable,
	reasonStoreUnreachable:  codes.Unavailable,
	reasonStoreFull:         codes.Unavailable,
	reasonInternal:          codes.Internal,

	"NOT_IN_TRANSACTION":  codes.FailedPrecondition,
	"LOCK_NOT_HELD":       codes.FailedPrecondition,
	"LIST_IN_TRANSACTION": codes.FailedPrecondition,
	"SCHEMA_NEWER":        codes.FailedPrecondition,
	"LOCK_TIMEOUT":        codes.DeadlineExceeded,
	"TRANSACTION_DIED":    codes.Aborted,
	"FOREIGN_TABLE":       codes.PermissionDenied,
	"BAD_CERTIFICATE":     codes.Unauthenticated,
	"QUOTA":               codes.ResourceExhausted,
	"CALLEE_UNREACHABLE":  codes.Unavailable,
}

// retryAfter is what RetryInfo asks of callers that met RESOURCE_EXHAUSTED.
const retryAfter = time.Second

// fault is an error as callers see it: a status with a reason.
type fault struct {
	reason  reason
	message string
	meta    map[string]string
	failure *intent.Failure
}

func (f *fault) Error() string { return f.message }

// GRPCStatus makes a fault a status wherever grpc looks for one.
func (f *fault) GRPCStatus() *status.Status {
	s := status.New(statusOf[f.reason], f.message)
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: string(f.reason), Domain: errorDomain, Metadata: f.meta}}
	if f.failure != nil {
		details = append(details, failureMessage(f.failure))
	}
	if statusOf[f.reason] == codes.ResourceExhausted {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	}
	full, err := s.WithDetails(details...)
	if err != nil { // cannot be: the messages are ours and valid UTF-8
		return s
	}
	return full
}

// inStream is the fault as a message of the workers' stream.
func (f *fault) inStream() *beldiv1.Error {
	e := &beldiv1.Error{Code: int32(statusOf[f.reason]), Reason: string(f.reason), Message: f.message, Metadata: f.meta}
	if f.failure != nil {
		e.Failure = failureMessage(f.failure)
	}
	return e
}

// httpStatus is the HTTP code of a fault. A function's own failure is no fault of the request: 422, not 400.
func (f *fault) httpStatus() int {
	if f.reason == reasonFunctionFailed {
		return http.StatusUnprocessableEntity
	}
	return runtime.HTTPStatusFromCode(statusOf[f.reason])
}

func refuse(r reason, format string, args ...any) *fault {
	return &fault{reason: r, message: fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) *fault { return refuse(reasonMalformed, format, args...) }

func (f *fault) with(key, value string) *fault {
	if f.meta == nil {
		f.meta = map[string]string{}
	}
	f.meta[key] = value
	return f
}

// faultOf is the one map from errors to statuses. It returns nil for nil.
func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	var (
		known   *fault
		failure *intent.Failure
		parked  *intent.ParkedError
		path    *intent.NonDeterminism
		wrong   *intent.Malformed
		large   *intent.TooLarge
		none    *intent.NoSuchFunction
		expr    *daal.BadExpression
	)
	text := strings.TrimPrefix(err.Error(), "intent: ") // callers need not know our packages
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &failure):
		return &fault{reason: reasonFunctionFailed, message: failure.Error(), failure: failure}
	case errors.As(err, &path):
		return refuse(reasonNonDeterminism, "%s", text).with("step", string(path.Step)).with("recorded", path.Recorded).with("repeated", path.Repeated)
	case errors.As(err, &parked):
		return refuse(reasonAttemptsExhausted, "%s", text)
	case errors.As(err, &wrong):
		return refuse(reasonMalformed, "%s", text)
	case errors.As(err, &large):
		return tooLarge(large.What, large.Size, large.Over)
	case errors.As(err, &none):
		return refuse(reasonNoSuchFunction, "%s", text).with("service", none.Function.Service).with("function", none.Function.Name)
	case errors.As(err, &expr):
		f := refuse(reasonBadExpression, "%s", text)
		if expr.Line > 0 {
			f.with("line", strconv.Itoa(expr.Line)).with("column", strconv.Itoa(expr.Column))
		}
		return f
	case errors.Is(err, intent.ErrNoSuchInstance):
		return refuse(reasonNoSuchInstance, "%s", text)
	case errors.Is(err, intent.ErrKeyReused):
		return refuse(reasonKeyReused, "%s", text)
	case errors.Is(err, intent.ErrSuperseded):
		return refuse(reasonSuperseded, "%s", text)
	case errors.Is(err, intent.ErrInvokeWait), errors.Is(err, context.DeadlineExceeded):
		return refuse(reasonInvokeWait, "%s; the instance runs on, await it or ask again with the same key", text)
	case errors.Is(err, intent.ErrAttemptTimeout):
		return refuse(reasonAttempt, "%s", text)
	case errors.Is(err, intent.ErrWorkerLost), errors.Is(err, context.Canceled):
		return refuse(reasonCancelled, "%s", text)
	case errors.Is(err, intent.ErrOverloaded):
		return refuse(reasonOverloaded, "%s", text)
	case errors.Is(err, intent.ErrClosing):
		return refuse(reasonDraining, "%s; ask again with the same key", text)
	case errors.Is(err, backends.ErrFull), errors.Is(err, syscall.ENOSPC): // the latter: it was too late for the former
		return refuse(reasonStoreFull, "%s; nothing is lost: ask again with the same key once there is space", text)
	case errors.Is(err, intent.ErrStore), errors.Is(err, daal.ErrUnknown):
		return refuse(reasonStoreUnreachable, "%s; nothing is lost: ask again with the same key", text)
	}
	return refuse(reasonInternal, "%s", text)
}

// storeFault is for reads that go to the store directly: whatever is wrong there, the store did not answer.
func storeFault(err error) *fault {
	f := faultOf(err)
	if f != nil && f.reason == reasonInternal {
		return refuse(reasonStoreUnreachable, "%v; nothing is lost: ask again", err)
	}
	return f
}

// asError turns a possibly nil fault into an error: a nil *fault in an error interface would not be nil.
func asError(f *fault) error {
	if f == nil {
		return nil
	}
	return f
}

func tooLarge(what string, size, limit int) *fault {
	return refuse(reasonTooLarge, "%s has %d bytes, the limit is %d", what, size, limit).
		with("size", strconv.Itoa(size)).with("limit", strconv.Itoa(limit))
}

func failureMessage(f *intent.Failure) *beldiv1.Failure {
	m := &beldiv1.Failure{Message: f.Message, Code: f.Code}
	if len(f.Details.Data) > 0 || f.Details.Type != "" {
		m.Details = payload(f.Details)
	}
	return m
}
