// Package storetest is the conformance suite for adapters of backends.Store. An adapter's own test is
//
//	func TestStore(t *testing.T) { storetest.Run(t, func(t *testing.T) backends.Store { … }) }
//
// The suite reads the store's Capabilities and asks only for what they promise. Its tests cite the invariants B1 to B5
// of package backends. Each test works in partitions of its own, under a random prefix, so the stores that it is given
// may share tables, and may hold rows of earlier runs.
package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/beldi/beldi/backends"
)

// Option adds to what Run knows of an adapter.
type Option func(*suite)

// Reopen tells how to close a store and open its data again; Run then tests that they are all there (B5).
func Reopen(reopen func(t *testing.T, s backends.Store) backends.Store) Option {
	return func(su *suite) { su.reopen = reopen }
}

type suite struct {
	open   func(t *testing.T) backends.Store
	reopen func(t *testing.T, s backends.Store) backends.Store
}

// Run tests the adapter. It calls open for each test, and closes what it got.
func Run(t *testing.T, open func(t *testing.T) backends.Store, options ...Option) {
	su := &suite{open: open}
	for _, o := range options {
		o(su)
	}
	tests := []struct {
		name string
		run  func(t *testing.T, e *env)
	}{
		{"Conditions", testConditions},
		{"Changes", testChanges},
		{"Values", testValues},
		{"Delete", testDelete},
		{"Refused", testRefused},
		{"Replace", testReplace},
		{"BatchOrder", testBatchOrder},
		{"SameRowTwice", testSameRowTwice},
		{"TooWide", testTooWide},
		{"Keys", testKeys},
		{"Kinds", testKinds},
		{"Query", testQuery},
		{"QueryPrefix", testQueryPrefix},
		{"Scan", testScan},
		{"Projection", testProjection},
		{"PageAfterDeleted", testPageAfterDeleted},
		{"BadPages", testBadPages},
		{"Model", testModel},
		{"Counter", testCounter},
		{"Register", testRegister},
		{"Transfers", testTransfers},
		{"ReadYourWrites", testReadYourWrites},
		{"CancelledContext", testCancelledContext},
		{"Closed", testClosed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, su.env(t)) })
	}
	if su.reopen != nil {
		t.Run("Reopen", func(t *testing.T) { testReopen(t, su) })
	}
}

func (su *suite) env(t *testing.T) *env {
	s := su.open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return newEnv(t, s)
}

// failer is what the suite needs of a *testing.T and of a *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// env is one test's view of a store: calls that must succeed, on rows that are its own.
type env struct {
	failer
	store backends.Store
	caps  backends.Capabilities
	space string // begins each Part
}

func newEnv(t failer, s backends.Store) *env {
	return &env{failer: t, store: s, caps: s.Capabilities(), space: "storetest/" + rand.Text() + "/"}
}

func (e *env) ctx() context.Context { return context.Background() }

func (e *env) key(part, sort string) backends.Key {
	return backends.Key{Kind: backends.KindCell, Part: e.space + part, Sort: sort}
}

// get reads a row.
func (e *env) get(k backends.Key) backends.Row {
	e.Helper()
	row, err := e.store.Get(e.ctx(), k)
	if err != nil {
		e.Fatalf("Get(%s): %v", k, err)
	}
	return row
}

// wantRow checks that a Get returns the row; nil: that there is none.
func (e *env) wantRow(k backends.Key, want backends.Row) {
	e.Helper()
	if got := e.get(k); !sameRow(got, want) {
		e.Fatalf("Get(%s) = %s, want %s", k, show(got), show(want))
	}
}

// apply applies a batch that must be applied.
func (e *env) apply(batch ...backends.Update) {
	e.Helper()
	if a := e.store.Apply(e.ctx(), batch); a.Outcome != backends.Applied {
		e.Fatalf("Apply(%s) = %s, want applied", showBatch(batch), showAnswer(a))
	}
}

// refuse applies a batch that must be refused by its update number index, as that row was (B2, B3).
func (e *env) refuse(index int, row backends.Row, batch ...backends.Update) {
	e.Helper()
	a := e.store.Apply(e.ctx(), batch)
	if a.Outcome != backends.Refused || a.Index != index || !sameRow(a.Row, row) {
		e.Fatalf("Apply(%s) = %s, want refused by %d with %s", showBatch(batch), showAnswer(a), index, show(row))
	}
}

// put makes a row of exactly these fields, whatever was there.
func (e *env) put(k backends.Key, row backends.Row) {
	e.Helper()
	if old := e.get(k); old.Exists() {
		e.apply(backends.Update{Key: k, Delete: true})
	}
	e.apply(backends.Update{Key: k, Do: sets(row)})
}

// sets are changes that make a row's fields.
func sets(row backends.Row) []backends.Change {
	if len(row) == 0 { // an update without changes makes no row, one that removes nothing does
		return []backends.Change{{Field: "none"}}
	}
	var do []backends.Change
	for _, f := range row {
		do = append(do, backends.Change{Field: f.Name, Set: f.Value})
	}
	return do
}

// fits says whether the store promises to apply the batch; a test leaves out what it does not.
func (e *env) fits(batch ...backends.Update) bool { return e.caps.Fits(batch) }

// int1 is a row of one integer field, n.
func int1(n int64) backends.Row { return backends.Row{{Name: "n", Value: backends.Int(n)}} }

func when(test backends.Test, field string, v backends.Value) []backends.Cond {
	return []backends.Cond{{Test: test, Field: field, Value: v}}
}

func sameRow(a, b backends.Row) bool {
	return a.Exists() == b.Exists() && slices.EqualFunc(a, b, func(f, g backends.Field) bool {
		return f.Name == g.Name && f.Value.Equal(g.Value)
	})
}

func sameEntries(a, b []backends.Entry) bool {
	return slices.EqualFunc(a, b, func(x, y backends.Entry) bool { return x.Key == y.Key && sameRow(x.Row, y.Row) })
}

func show(r backends.Row) string {
	if !r.Exists() {
		return "no row"
	}
	parts := make([]string, len(r))
	for i, f := range r {
		parts[i] = f.Name + "=" + showValue(f.Value)
	}
	return "{" + strings.Join(parts, " ") + "}"
}

func showValue(v backends.Value) string {
	switch {
	case v.IsInt():
		return fmt.Sprint(v.Int)
	case v.IsBytes() && len(v.Bytes) > 40:
		return fmt.Sprintf("%d bytes", len(v.Bytes))
	case v.IsBytes():
		return fmt.Sprintf("%q", v.Bytes)
	}
	return "absent"
}

func showAnswer(a backends.Answer) string {
	switch a.Outcome {
	case backends.Refused:
		return fmt.Sprintf("refused by %d with %s", a.Index, show(a.Row))
	case backends.Unknown:
		return fmt.Sprintf("unknown: %v", a.Err)
	}
	return a.Outcome.String()
}

func showBatch(batch []backends.Update) string {
	parts := make([]string, len(batch))
	for i, u := range batch {
		parts[i] = fmt.Sprintf("%s when %v do %v delete %t", u.Key, u.When, u.Do, u.Delete)
	}
	return strings.Join(parts, "; ")
}

func showEntries(entries []backends.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "\n\t%s %s", e.Key, show(e.Row))
	}
	return b.String()
}

func showRange(r backends.Range, scan bool) string {
	verb := "Query"
	if scan {
		verb = "Scan"
	}
	return fmt.Sprintf("%s(%s %q prefix %q after %s limit %d fields %q descending %t)",
		verb, r.Kind, r.Part, r.Prefix, r.After, r.Limit, r.Fields, r.Descending)
}
