package intent

import (
	"errors"
	"fmt"
	"time"

	"github.com/beldi/beldi/daal"
)

// Function names a function of a service.
type Function struct {
	Service string
	Name    string
}

func (f Function) String() string { return f.Service + "/" + f.Name }

// Failure is a function's own word that it failed for good: a result, not a crash.
type Failure struct {
	Message string
	Code    string
	Details daal.Value
}

func (f *Failure) Error() string {
	if f.Code != "" {
		return f.Code + ": " + f.Message
	}
	return f.Message
}

// Result is how an instance ended: with Value, with Failure, or parked.
type Result struct {
	Value   daal.Value
	Failure *Failure
	// Parked is why the instance was given up: *ParkedError (too many crashes) or *NonDeterminism; nil if it was not.
	Parked error
}

// Err returns nil, *Failure, *ParkedError or *NonDeterminism.
func (r Result) Err() error {
	switch {
	case r.Failure != nil:
		return r.Failure
	case r.Parked != nil:
		return r.Parked
	}
	return nil
}

// OpKind is what a step does.
type OpKind uint8

const (
	OpRead OpKind = iota + 1
	OpWrite
	OpDelete
	OpCondWrite
	OpUpdate
	OpList
	OpInvoke
	OpStart
	OpAwait
	OpBeginRecord
	OpEndRecord
	OpNow
	OpRandom
	OpUUID
	// The last three end the attempt and have no step name.
	OpComplete
	OpFail
	OpCrash
)

var opNames = [...]string{"?", "read", "write", "delete", "condWrite", "update", "list", "invoke", "start", "await", "record", "endRecord", "now", "random", "uuid", "complete", "fail", "crash"}

func (k OpKind) String() string {
	if int(k) < len(opNames) {
		return opNames[k]
	}
	return fmt.Sprintf("op(%d)", k)
}

// Op is one operation, as the function asked for it; server has validated names and sizes. Fields not named for a kind are zero.
type Op struct {
	Kind OpKind
	// Read, Write, Delete, CondWrite, Update: table and key. List: table, and Key is the prefix. BeginRecord: Key is the name of the code.
	Table, Key string
	// Write, CondWrite: the new value. Update: the variable `input`. Invoke, Start: the input. EndRecord, Complete: the result.
	Value daal.Value
	// CondWrite: the condition; Update: the expression (CEL, already parsed once by server; see daal.CompileCondition, daal.CompileExpression).
	Expr string
	// List.
	Limit  int
	After  string
	Values bool
	// Invoke, Start.
	Target Function
	// Await.
	Instance daal.InstanceID
	// Fail; EndRecord (nil if the code returned a value).
	Failure *Failure
	// Crash: what was raised, and the stack trace.
	Message, Trace string
}

// StepRequest is an operation and its name.
type StepRequest struct {
	Step daal.Step
	Op   Op
}

// Outcome is the answer to a step. Which fields are set depends on the operation.
type Outcome struct {
	// Err: the step has no result. *Failure (an invoked function failed, or a recorded failure), *NonDeterminism, ErrSuperseded, ….
	Err error
	// Read: whether the key has a value. BeginRecord: whether the result is recorded (else the code must run). CondWrite: whether it was applied.
	// Update: whether Value is set (false: the new value is over 1 KiB).
	OK bool
	// Read, Update, Invoke, Await, BeginRecord. Now: RFC 3339 with nanoseconds, as a JSON string. Random: a JSON number. UUID: a JSON string.
	Value daal.Value
	// Invoke, Start.
	Instance daal.InstanceID
	// List.
	Entries []ListEntry
	Next    string
	// Replayed: an earlier attempt had recorded it.
	Replayed bool
}

// ListEntry is one key of a List.
type ListEntry struct {
	Key   string
	Value daal.Value
}

// Worker runs attempts: a worker stream, an HTTP endpoint, a simulated function. Its methods are called without any lock
// held, must not block for long, and may be called from any goroutine; calls about one attempt come one at a time, Run first.
type Worker interface {
	// Run starts the function's code for the attempt.
	Run(a *Attempt)
	// Answer answers a step. Write, Delete and EndRecord are answered as well (OK, or why they were refused at the door: workers may drop
	// the former). The end of the attempt (Complete, Fail) is answered under the name "" once it is durable.
	Answer(a *Attempt, step daal.Step, o Outcome)
	// Cancel says that the attempt is over: no step of it will be served or answered any more.
	Cancel(a *Attempt, why error)
}

// Request is a request from outside.
type Request struct {
	ID       daal.InstanceID
	Function Function
	Input    daal.Value
	// Fresh: the id was made for this request (a UUID); nobody can have used it before.
	Fresh bool
	// Trace is the W3C traceparent of the caller, or "".
	Trace string
}

// State of an instance.
type State uint8

const (
	StateRunning State = iota + 1
	StateSucceeded
	StateFailed
	StateParked
)

// InstanceInfo is what a listing shows of an instance.
type InstanceInfo struct {
	ID         daal.InstanceID
	Function   Function
	State      State
	Created    time.Time
	Attempts   int
	Caller     daal.InstanceID
	CallerStep daal.Step
	Trace      string
	// Note says what holds a running instance up.
	Note string
}

// InstanceDetail is one instance with its journal.
type InstanceDetail struct {
	InstanceInfo
	Input   daal.Value
	Result  *Result // nil while it runs
	Journal []RecordInfo
}

// RecordInfo is a journal record for people.
type RecordInfo struct {
	Position   int64
	Kind       string
	Generation daal.Generation
	Entries    []EntryInfo
}

// EntryInfo is one step in a record. Operation reads like `write rooms "h1"`.
type EntryInfo struct {
	Step      daal.Step
	Operation string
	Effect    bool
	Result    daal.Value
}

// InstanceFilter selects instances; zero fields select all.
type InstanceFilter struct {
	State    State
	Function Function // either part may be ""
	Limit    int
	After    daal.InstanceID
}

// FunctionStatus is a function that has announced itself.
type FunctionStatus struct {
	Function Function
	Workers  int // live ones, in this sidecar
}

// Errors that callers and functions see; server/errors.go maps each to a status and a reason.
var (
	ErrSuperseded     = errors.New("intent: superseded: another attempt of this instance has taken over")
	ErrNoSuchInstance = errors.New("intent: no such instance")
	ErrKeyReused      = errors.New("intent: the idempotency key was used with another input")
	ErrInvokeWait     = errors.New("intent: the result is not there yet")
	ErrAttemptTimeout = errors.New("intent: the attempt ran out of time")
	ErrWorkerLost     = errors.New("intent: the worker is gone")
	ErrClosing        = errors.New("intent: the sidecar is shutting down")
	ErrStore          = errors.New("intent: the store did not answer")
	ErrOverloaded     = errors.New("intent: too many instances are under way")
)

// NoSuchFunction: nobody has ever announced it.
type NoSuchFunction struct{ Function Function }

func (e *NoSuchFunction) Error() string {
	return fmt.Sprintf("intent: no function %s has announced itself", e.Function)
}

// ParkedError is the result of an instance that was given up.
type ParkedError struct{ Why string }

func (e *ParkedError) Error() string { return "intent: gave up: " + e.Why }

// NonDeterminism: the code took another path than an earlier attempt.
type NonDeterminism struct {
	Step               daal.Step
	Recorded, Repeated string
}

func (e *NonDeterminism) Error() string {
	return fmt.Sprintf("intent: step %s was `%s` in an earlier attempt and is `%s` now", e.Step, e.Recorded, e.Repeated)
}

// Malformed is an operation that makes no sense (an unknown step for EndRecord, a step name used twice).
type Malformed struct{ What string }

func (e *Malformed) Error() string { return "intent: " + e.What }

// TooLarge is a value over its limit that only the core can see (the result of an expression).
type TooLarge struct {
	What       string
	Size, Over int
}

func (e *TooLarge) Error() string {
	return fmt.Sprintf("intent: %s has %d bytes, the limit is %d", e.What, e.Size, e.Over)
}
