package main

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/beldi/beldi/clients/conformance/functions"
	beldi "github.com/beldi/beldi/clients/go"
)

// sdk gives the operations of the Go SDK.
type sdk struct{ ctx *beldi.Context }

func (s sdk) Service() string       { return s.ctx.Service() }
func (s sdk) Function() string      { return s.ctx.Function() }
func (s sdk) Instance() string      { return string(s.ctx.Instance()) }
func (s sdk) Attempt() int          { return s.ctx.Attempt() }
func (s sdk) Done() <-chan struct{} { return s.ctx.Done() }

func (s sdk) Read(table, key string) (any, error) {
	v, found, err := beldi.Read[beldi.Value](s.ctx, table, key)
	if err != nil || !found {
		return nil, inward(err)
	}
	return value(v)
}

// value decodes JSON, and leaves bytes.
func value(v beldi.Value) (decoded any, err error) {
	if !v.IsJSON() {
		return bytes.Clone(v.Data), nil
	}
	err = v.Decode(&decoded)
	return decoded, err
}

func (s sdk) Write(table, key string, value any) error {
	return inward(s.ctx.Write(table, key, value))
}

func (s sdk) Delete(table, key string) error { return inward(s.ctx.Delete(table, key)) }

func (s sdk) CondWrite(table, key string, value any, condition string) (bool, error) {
	applied, err := s.ctx.CondWrite(table, key, value, condition)
	return applied, inward(err)
}

func (s sdk) Update(table, key, expression string, input any) (any, error) {
	v, err := beldi.Update[any](s.ctx, table, key, expression, input)
	return v, inward(err)
}

func (s sdk) List(table, prefix, after string, limit int) (page []functions.Entry, next string, err error) {
	entries, next, err := beldi.List[any](s.ctx, table, beldi.Query{Prefix: prefix, After: after, Limit: limit})
	for _, e := range entries {
		page = append(page, functions.Entry(e))
	}
	return page, next, inward(err)
}

func (s sdk) Keys(table, prefix string, limit int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for key, err := range s.ctx.Keys(table, beldi.Query{Prefix: prefix, Limit: limit}) {
			if !yield(key, inward(err)) {
				return
			}
		}
	}
}

func (s sdk) Invoke(target string, input any) (any, error) {
	v, err := beldi.Invoke[any](s.ctx, target, input)
	return v, inward(err)
}

func (s sdk) Start(target string, input any) (string, error) {
	id, err := s.ctx.Start(target, input)
	return string(id), inward(err)
}

func (s sdk) Await(instance string) (any, error) {
	v, err := beldi.Await[any](s.ctx, beldi.Instance(instance))
	return v, inward(err)
}

func (s sdk) Record(name string, code func(string) (any, error)) (any, error) {
	v, err := beldi.Record(s.ctx, name, func(token string) (any, error) {
		v, err := code(token)
		return v, outward(err)
	})
	return v, inward(err)
}

func (s sdk) Now() (time.Time, error) {
	v, err := s.ctx.Now()
	return v, inward(err)
}

func (s sdk) Random() (float64, error) {
	v, err := s.ctx.Random()
	return v, inward(err)
}

func (s sdk) UUID() (string, error) {
	v, err := s.ctx.UUID()
	return v, inward(err)
}

func (s sdk) Fork(branches ...func(functions.Ops) error) error {
	g := s.ctx.Group()
	for _, branch := range branches {
		g.Go(func(c *beldi.Context) error { return branch(sdk{c}) })
	}
	return g.Wait()
}

// inward makes the SDK's errors those of package functions.
func inward(err error) error {
	var failure *beldi.Failure
	var refused *beldi.Error
	switch {
	case errors.Is(err, beldi.ErrAttemptOver):
		return fmt.Errorf("%w: %w", functions.ErrAttemptOver, err)
	case errors.As(err, &failure):
		f := &functions.Failure{Message: failure.Message, Code: failure.Code}
		if err := failure.Details.Decode(&f.Details); err != nil {
			return err
		}
		return f
	case errors.As(err, &refused):
		return &functions.Refused{Reason: refused.Reason, Message: refused.Message}
	}
	return err
}

// outward makes a failure of package functions the SDK's.
func outward(err error) error {
	var f *functions.Failure
	if errors.As(err, &f) {
		return beldi.Fail(f.Message, beldi.Code(f.Code), beldi.Details(f.Details))
	}
	return err
}
