package faultstore

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/beldi/beldi/backends"
)

// Narrow makes a store claim no more than the capabilities: it refuses what they do not allow. So the layouts for lesser
// stores can be tested on any. The capabilities must be ones that the store has.
func Narrow(s backends.Store, caps backends.Capabilities) backends.Store {
	if caps.Name == "" {
		caps.Name = fmt.Sprintf("%s as %s", s.Capabilities().Name, caps.Scope)
	}
	return narrowed{s, caps}
}

type narrowed struct {
	backends.Store
	caps backends.Capabilities
}

func (n narrowed) Capabilities() backends.Capabilities { return n.caps }

func (n narrowed) Apply(ctx context.Context, batch []backends.Update) backends.Answer {
	if !n.caps.Fits(batch) {
		return backends.Answer{Err: fmt.Errorf("%s: apply %d updates: %w", n.caps.Name, len(batch), backends.ErrTooWide)}
	}
	return n.Store.Apply(ctx, batch)
}

// Counts says how often each method was called, and how many updates the batches had together.
type Counts struct {
	Get, Apply, Query, Scan, Updates int64
}

// Calls is the number of all calls.
func (c Counts) Calls() int64 { return c.Get + c.Apply + c.Query + c.Scan }

// Sub is what came since an earlier count.
func (c Counts) Sub(earlier Counts) Counts {
	return Counts{
		Get:     c.Get - earlier.Get,
		Apply:   c.Apply - earlier.Apply,
		Query:   c.Query - earlier.Query,
		Scan:    c.Scan - earlier.Scan,
		Updates: c.Updates - earlier.Updates,
	}
}

// Counter counts the calls of a store. It is cheap enough for benchmarks.
type Counter struct {
	inner                            backends.Store
	get, apply, query, scan, updates atomic.Int64
}

// Count puts a counter before a store.
func Count(s backends.Store) *Counter { return &Counter{inner: s} }

// Counts reads the counters, one after another.
func (c *Counter) Counts() Counts {
	return Counts{
		Get: c.get.Load(), Apply: c.apply.Load(), Query: c.query.Load(), Scan: c.scan.Load(), Updates: c.updates.Load(),
	}
}

func (c *Counter) Capabilities() backends.Capabilities { return c.inner.Capabilities() }

func (c *Counter) Get(ctx context.Context, k backends.Key) (backends.Row, error) {
	c.get.Add(1)
	return c.inner.Get(ctx, k)
}

func (c *Counter) Apply(ctx context.Context, batch []backends.Update) backends.Answer {
	c.apply.Add(1)
	c.updates.Add(int64(len(batch)))
	return c.inner.Apply(ctx, batch)
}

func (c *Counter) Query(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	c.query.Add(1)
	return c.inner.Query(ctx, r)
}

func (c *Counter) Scan(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	c.scan.Add(1)
	return c.inner.Scan(ctx, r)
}

func (c *Counter) Close() error { return c.inner.Close() }
