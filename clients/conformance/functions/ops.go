// Package functions are the functions of the conformance app (see ../README.md), written once for the apps in Go: over the SDK
// (goapp) and over plain HTTP (httpapp). An app gives the operations.
package functions

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Object is a JSON object.
type Object map[string]any

// Entry is a key and its value. As JSON it is an array of the two.
type Entry struct {
	Key   string
	Value any
}

// MarshalJSON makes the array.
func (e Entry) MarshalJSON() ([]byte, error) { return json.Marshal([]any{e.Key, e.Value}) }

// Ops are the operations of an attempt. A value is what encoding/json makes of JSON in an `any`, with json.Number for numbers, or
// a []byte; nil stands for what is absent.
type Ops interface {
	Service() string
	Function() string
	Instance() string
	Attempt() int
	// Done is closed when the attempt is over.
	Done() <-chan struct{}

	Read(table, key string) (any, error)
	Write(table, key string, value any) error
	Delete(table, key string) error
	CondWrite(table, key string, value any, condition string) (bool, error)
	Update(table, key, expression string, input any) (any, error)
	List(table, prefix, after string, limit int) (page []Entry, next string, err error)
	Keys(table, prefix string, limit int) iter.Seq2[string, error]
	Invoke(target string, input any) (any, error)
	Start(target string, input any) (instance string, err error)
	Await(instance string) (any, error)
	Record(name string, code func(token string) (any, error)) (any, error)
	Now() (time.Time, error)
	Random() (float64, error)
	UUID() (string, error)
	// Fork runs branches at the same time, and returns the error of the first in the list that has one.
	Fork(branches ...func(Ops) error) error
}

// ErrAttemptOver is what operations of an attempt that is over return.
var ErrAttemptOver = errors.New("conformance: the attempt is over")

// Failure is that of a function that failed for good.
type Failure struct {
	Message string
	Code    string
	Details any
}

func (f *Failure) Error() string { return f.Message }

// Refused is an error of the sidecar.
type Refused struct {
	Reason  string
	Message string
}

func (r *Refused) Error() string { return fmt.Sprintf("%s (%s)", r.Message, r.Reason) }

// inc counts a cell up.
func inc(o Ops, table, key string) (any, error) {
	return o.Update(table, key, "found ? value + 1 : 1", nil)
}

// reason returns what the app reports of an error that it expects.
func reason(err error) string {
	var r *Refused
	if errors.As(err, &r) {
		return r.Reason
	}
	return fmt.Sprint(err)
}
