package beldi

import (
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// ErrAttemptOver is wrapped by what every operation of an attempt returns once the attempt is over: another one has taken over,
// it ran out of time, or the connection to the sidecar is lost. Return it; nothing that the code does now counts.
var ErrAttemptOver = errors.New("beldi: the attempt is over")

// ErrNotReturned is what [Update] returns when the update was made, but its new value is over 1 KiB and therefore did not come back.
var ErrNotReturned = errors.New("beldi: the value was updated, but is too large to be returned: use Context.Update and Read")

// Failure is a function's own word that it failed for good: a result, not a crash. Its caller gets it exactly once.
type Failure struct {
	Message string
	// Code is a short name that callers can switch on. May be empty.
	Code    string
	Details Value
}

func (f *Failure) Error() string {
	if f.Code == "" {
		return f.Message
	}
	return f.Code + ": " + f.Message
}

// FailOption adds to a failure.
type FailOption func(*Failure) error

// Fail makes the error by which a handler fails for good. It is a *[Failure].
func Fail(message string, options ...FailOption) error {
	f := &Failure{Message: message}
	for _, option := range options {
		if err := option(f); err != nil {
			return fmt.Errorf("beldi: fail with %q: %w", message, err)
		}
	}
	return f
}

// Code sets [Failure].Code.
func Code(code string) FailOption {
	return func(f *Failure) error {
		f.Code = code
		return nil
	}
}

// Details sets [Failure].Details to a value, encoded as values are.
func Details(v any) FailOption {
	return func(f *Failure) error {
		p, err := encode(v)
		f.Details = fromPayload(p)
		return err
	}
}

func (f *Failure) message() *beldiv1.Failure {
	m := &beldiv1.Failure{Message: text(f.Message), Code: text(f.Code)}
	if f.Details.Data != nil {
		m.Details = &beldiv1.Payload{Data: f.Details.Data, ContentType: f.Details.ContentType}
	}
	return m
}

func failureFrom(m *beldiv1.Failure) *Failure {
	return &Failure{Message: m.GetMessage(), Code: m.GetCode(), Details: fromPayload(m.GetDetails())}
}

// Error is what the sidecar refused, or could not do. docs/errors.md lists the reasons.
type Error struct {
	Code codes.Code
	// Reason is a name to switch on: TOO_LARGE, BAD_EXPRESSION, KEY_REUSED…; empty if the error is not the sidecar's (it is not there).
	Reason   string
	Message  string
	Metadata map[string]string
}

func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("beldi: %s (%s)", e.Message, e.Code)
	}
	return fmt.Sprintf("beldi: %s (%s)", e.Message, e.Reason)
}

const reasonFailed = "FUNCTION_FAILED"

// fromMessage returns a *Failure or an *Error.
func fromMessage(m *beldiv1.Error) error {
	if m.GetReason() == reasonFailed {
		return failureFrom(m.GetFailure())
	}
	return &Error{Code: codes.Code(m.GetCode()), Reason: m.GetReason(), Message: m.GetMessage(), Metadata: m.GetMetadata()}
}

// fromStatus returns a *Failure or an *Error for what a call returned.
func fromStatus(err error) error {
	s := status.Convert(err)
	e := &Error{Code: s.Code(), Message: s.Message()}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *beldiv1.Failure:
			return failureFrom(d)
		case *errdetails.ErrorInfo:
			e.Reason, e.Metadata = d.GetReason(), d.GetMetadata()
		}
	}
	return e
}

func tooLarge(what string, size int, limit int64) error {
	return &Error{
		Code:     codes.InvalidArgument,
		Reason:   "TOO_LARGE",
		Message:  fmt.Sprintf("%s has %d bytes, the limit is %d", what, size, limit),
		Metadata: map[string]string{"limit": fmt.Sprint(limit)},
	}
}
