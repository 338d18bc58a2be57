// Package faultstore wraps stores for tests: Wrap loses, holds or crashes chosen calls and keeps a trace of all; Count
// counts them; Narrow takes capabilities away.
//
// A test of every crash point of some work first runs it once to learn how many calls it makes, and then, for each n,
// on a fresh store:
//
//	fs := faultstore.Wrap(store, faultstore.Nth(n, faultstore.CrashAfter))
//	go work(ctx, fs)     // stops at call n, for good
//	<-fs.Crashed()
//	cancel()             // lets go of the calls of the dead process
//	work(ctx2, store)    // the next process, on what the dead one left
package faultstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/beldi/beldi/backends"
)

var (
	// ErrLost is the error of a call whose answer was lost.
	ErrLost = errors.New("the answer was lost")
	// ErrCrashed is the error of all calls of a process that has crashed, once they are let go.
	ErrCrashed = errors.New("the process has crashed")
)

// Method is a method of backends.Store that reads or writes.
type Method uint8

const (
	Get Method = iota + 1
	Apply
	Query
	Scan
)

func (m Method) String() string { return [...]string{"?", "get", "apply", "query", "scan"}[m] }

// Call is one call, before it is made.
type Call struct {
	N      int // calls are numbered from 1, in the order in which they came
	Method Method
	Key    backends.Key      // of Get
	Batch  []backends.Update // of Apply
	Range  backends.Range    // of Query and Scan
}

// Touches says whether the call reads or writes rows of the kind.
func (c Call) Touches(kind backends.Kind) bool {
	for i := range c.Batch {
		if c.Batch[i].Key.Kind == kind {
			return true
		}
	}
	return c.Key.Kind == kind || c.Range.Kind == kind
}

// Fault is what happens to a call. The zero Fault lets it pass.
type Fault struct {
	act  act
	gate <-chan struct{}
}

type act uint8

const (
	pass act = iota
	lost
	appliedLost
	hold
	holdAfter
	crashBefore
	crashAfter
)

var (
	Pass        = Fault{}
	Lost        = Fault{act: lost}        // the call is not made; its caller gets ErrLost (Apply: Unknown)
	AppliedLost = Fault{act: appliedLost} // the call is made; its caller gets ErrLost (Apply: Unknown)
	CrashBefore = Fault{act: crashBefore} // the process dies as it makes the call, which never happens
	CrashAfter  = Fault{act: crashAfter}  // the process dies after the call has happened, before its answer
)

// Hold makes the call wait until the channel is closed, and then makes it.
func Hold(release <-chan struct{}) Fault { return Fault{hold, release} }

// HoldAfter makes the call, and keeps its answer back until the channel is closed.
func HoldAfter(release <-chan struct{}) Fault { return Fault{holdAfter, release} }

// Plan decides what happens to a call. It is asked for one call at a time, in the order of their numbers, so it may
// remember things; it must not call the store.
type Plan func(Call) Fault

// Nth is a fault of the call number n only.
func Nth(n int, f Fault) Plan {
	return func(c Call) Fault {
		if c.N == n {
			return f
		}
		return Pass
	}
}

// When is a fault of each call that matches.
func When(match func(Call) bool, f Fault) Plan {
	return func(c Call) Fault {
		if match(c) {
			return f
		}
		return Pass
	}
}

// Once is the plan until it first decides on a fault; later calls pass.
func Once(p Plan) Plan {
	spent := false
	return func(c Call) Fault {
		if spent {
			return Pass
		}
		f := p(c)
		spent = f != Pass
		return f
	}
}

// First is the first plan's fault of those that do not let the call pass.
func First(plans ...Plan) Plan {
	return func(c Call) Fault {
		for _, p := range plans {
			if f := p(c); f != Pass {
				return f
			}
		}
		return Pass
	}
}

// Store is a store with a plan of faults: the store as one process sees it.
type Store struct {
	inner   backends.Store
	crashed chan struct{} // closed by a crash
	closed  chan struct{} // closed by Close

	mu    sync.Mutex
	plan  Plan
	trace []*line
}

// Wrap puts a plan before a store. A nil plan lets all calls pass, and only traces them.
func Wrap(s backends.Store, plan Plan) *Store {
	if plan == nil {
		plan = func(Call) Fault { return Pass }
	}
	return &Store{inner: s, plan: plan, crashed: make(chan struct{}), closed: make(chan struct{})}
}

// SetPlan replaces the plan. The numbers of calls go on.
func (s *Store) SetPlan(plan Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan = plan
}

// Calls is how many calls there have been.
func (s *Store) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.trace)
}

// Crashed is closed when the plan has crashed the process.
func (s *Store) Crashed() <-chan struct{} { return s.crashed }

func (s *Store) Capabilities() backends.Capabilities { return s.inner.Capabilities() }

func (s *Store) Get(ctx context.Context, k backends.Key) (backends.Row, error) {
	var row backends.Row
	err := s.call(ctx, Call{Method: Get, Key: k}, func() (string, error) {
		var err error
		row, err = s.inner.Get(ctx, k)
		return rowText(row), err
	})
	if err != nil {
		return nil, err
	}
	return row, nil
}

func (s *Store) Apply(ctx context.Context, batch []backends.Update) backends.Answer {
	var a backends.Answer
	err := s.call(ctx, Call{Method: Apply, Batch: batch}, func() (string, error) {
		a = s.inner.Apply(ctx, batch)
		return answerText(a), a.Err
	})
	if err != nil {
		return backends.Answer{Err: err}
	}
	return a
}

func (s *Store) Query(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	return s.page(ctx, Query, r, s.inner.Query)
}

func (s *Store) Scan(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	return s.page(ctx, Scan, r, s.inner.Scan)
}

func (s *Store) page(ctx context.Context, m Method, r backends.Range,
	read func(context.Context, backends.Range) ([]backends.Entry, error),
) ([]backends.Entry, error) {
	var entries []backends.Entry
	err := s.call(ctx, Call{Method: m, Range: r}, func() (string, error) {
		var err error
		entries, err = read(ctx, r)
		return fmt.Sprintf("%d entries", len(entries)), err
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// call makes a call as the plan says. do returns its answer for the trace.
func (s *Store) call(ctx context.Context, c Call, do func() (string, error)) error {
	f, l := s.begin(&c)
	err := s.perform(ctx, c, f, do, l)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		l.err = err
	}
	l.done = true
	return err
}

// begin numbers the call, and asks the plan.
func (s *Store) begin(c *Call) (Fault, *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.N = len(s.trace) + 1
	l := &line{call: *c}
	s.trace = append(s.trace, l)
	if s.dead() { // its calls reach nothing, and no plan needs to know of them
		return CrashBefore, l
	}
	l.fault = s.plan(*c)
	if l.fault.act == crashBefore {
		close(s.crashed)
	}
	return l.fault, l
}

func (s *Store) dead() bool {
	select {
	case <-s.crashed:
		return true
	default:
		return false
	}
}

func (s *Store) perform(ctx context.Context, c Call, f Fault, do func() (string, error), l *line) error {
	if f.act == lost {
		return fault(c, ErrLost)
	}
	if f.act == crashBefore {
		return s.stop(ctx, c)
	}
	if f.act == hold {
		if err := s.wait(ctx, c, f.gate); err != nil {
			return err
		}
	}
	answer, err := do()
	s.mu.Lock()
	l.answer = answer
	if f.act == crashAfter && !s.dead() {
		close(s.crashed)
	}
	s.mu.Unlock()
	if f.act == holdAfter {
		if err := s.wait(ctx, c, f.gate); err != nil {
			return err
		}
	}
	if s.dead() { // by this call, or by another while this one was under way
		return s.stop(ctx, c)
	}
	if f.act == appliedLost {
		return fault(c, ErrLost)
	}
	return err
}

func fault(c Call, err error) error {
	return fmt.Errorf("faultstore: call %d, %s: %w", c.N, c.Method, err)
}

// wait holds a call.
func (s *Store) wait(ctx context.Context, c Call, release <-chan struct{}) error {
	select {
	case <-release:
		return nil
	case <-s.crashed:
		return s.stop(ctx, c)
	case <-ctx.Done():
		return fault(c, ctx.Err())
	}
}

// stop keeps a call of a dead process, until its goroutine is told to end. To answer at once would not do: the caller
// would live on, and could tell somebody.
func (s *Store) stop(ctx context.Context, c Call) error {
	select {
	case <-ctx.Done():
	case <-s.closed:
	}
	return fault(c, ErrCrashed)
}

// Close closes the wrapped store, unless the process has crashed: then it lets go of the calls that wait, and the
// wrapped store stays open for the next process.
func (s *Store) Close() error {
	s.mu.Lock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	s.mu.Unlock()
	if s.dead() {
		return nil
	}
	return s.inner.Close()
}
