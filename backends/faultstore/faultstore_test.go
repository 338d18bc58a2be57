package faultstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/faultstore"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/backends/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStore: a store that is wrapped without faults, counted or narrowed is a store.
func TestStore(t *testing.T) {
	for name, wrap := range map[string]func(backends.Store) backends.Store{
		"Wrap":  func(s backends.Store) backends.Store { return faultstore.Wrap(s, nil) },
		"Count": func(s backends.Store) backends.Store { return faultstore.Count(s) },
		"NarrowPartition": func(s backends.Store) backends.Store {
			return faultstore.Narrow(s, backends.Capabilities{Scope: backends.ScopePartition})
		},
		"NarrowRow": func(s backends.Store) backends.Store {
			return faultstore.Narrow(s, backends.Capabilities{Scope: backends.ScopeRow, MaxTransaction: 100})
		},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(*testing.T) backends.Store { return wrap(memory.New(memory.Options{})) })
		})
	}
}

var (
	alice = backends.Key{Kind: backends.KindCell, Part: backends.Tuple("accounts", "alice")}
	add1  = []backends.Update{{Key: alice, Do: []backends.Change{{Field: "n", Add: 1}}}}
)

// balance reads the row of the store below.
func balance(t *testing.T, s backends.Store) int64 {
	t.Helper()
	row, err := s.Get(context.Background(), alice)
	if err != nil {
		t.Fatal(err)
	}
	return row.Int("n")
}

func TestLost(t *testing.T) {
	inner := memory.New(memory.Options{})
	fs := faultstore.Wrap(inner, faultstore.First(
		faultstore.Nth(2, faultstore.Lost),
		faultstore.Nth(3, faultstore.AppliedLost),
		faultstore.When(func(c faultstore.Call) bool { return c.Method == faultstore.Query && c.Touches(backends.KindOpen) }, faultstore.Lost),
	))
	for i, want := range []struct {
		outcome backends.Outcome
		balance int64
	}{{backends.Applied, 1}, {backends.Unknown, 1}, {backends.Unknown, 2}, {backends.Applied, 3}} {
		a := fs.Apply(t.Context(), add1)
		if a.Outcome != want.outcome || (a.Outcome == backends.Unknown) != errors.Is(a.Err, faultstore.ErrLost) {
			t.Errorf("call %d: %s, %v, want %s", i+1, a.Outcome, a.Err, want.outcome)
		}
		if got := balance(t, inner); got != want.balance {
			t.Errorf("after call %d the row says %d, want %d", i+1, got, want.balance)
		}
	}
	if _, err := fs.Query(t.Context(), backends.Range{Kind: backends.KindOpen, Limit: 1}); !errors.Is(err, faultstore.ErrLost) {
		t.Errorf("query of a kind that is lost: %v", err)
	}
	if _, err := fs.Query(t.Context(), backends.Range{Kind: backends.KindCell, Limit: 1}); err != nil {
		t.Errorf("query of another kind: %v", err)
	}
}

func TestOnce(t *testing.T) {
	any := func(faultstore.Call) bool { return true }
	fs := faultstore.Wrap(memory.New(memory.Options{}), faultstore.Once(faultstore.When(any, faultstore.Lost)))
	for i, lost := range []bool{true, false, false} {
		if _, err := fs.Get(t.Context(), alice); errors.Is(err, faultstore.ErrLost) != lost {
			t.Errorf("call %d: %v, want it lost: %t", i+1, err, lost)
		}
	}
}

func TestHold(t *testing.T) {
	for name, c := range map[string]struct {
		fault  func(<-chan struct{}) faultstore.Fault
		during int64 // what the store holds while the call is held
	}{"before": {faultstore.Hold, 0}, "after": {faultstore.HoldAfter, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner, release := memory.New(memory.Options{}), make(chan struct{})
				fs := faultstore.Wrap(inner, faultstore.Nth(1, c.fault(release)))
				answer := make(chan backends.Answer, 1)
				go func() { answer <- fs.Apply(t.Context(), add1) }()
				synctest.Wait()
				if got := balance(t, inner); got != c.during || len(answer) > 0 {
					t.Errorf("while held: %d, %d answers, want %d and none", got, len(answer), c.during)
				}
				close(release)
				if a := <-answer; a.Outcome != backends.Applied || balance(t, inner) != 1 {
					t.Errorf("released: %s, %v", a.Outcome, a.Err)
				}
			})
		})
	}
}

// TestHoldCancelled: a held call gives up with its context, and what it did is unknown.
func TestHoldCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultstore.Wrap(memory.New(memory.Options{}), faultstore.Nth(1, faultstore.Hold(make(chan struct{}))))
		ctx, cancel := context.WithCancel(t.Context())
		answer := make(chan backends.Answer, 1)
		go func() { answer <- fs.Apply(ctx, add1) }()
		synctest.Wait()
		cancel()
		if a := <-answer; a.Outcome != backends.Unknown || !errors.Is(a.Err, context.Canceled) {
			t.Errorf("%s, %v", a.Outcome, a.Err)
		}
	})
}

// TestCrash: the call that crashes, one that is under way and one that comes later never answer while the process's
// context lives; the store below stays in use.
func TestCrash(t *testing.T) {
	for name, c := range map[string]struct {
		fault faultstore.Fault
		left  int64
	}{"before": {faultstore.CrashBefore, 0}, "after": {faultstore.CrashAfter, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := memory.New(memory.Options{})
				fs := faultstore.Wrap(inner, faultstore.First(
					faultstore.Nth(1, faultstore.Hold(make(chan struct{}))), faultstore.Nth(2, c.fault)))
				ctx, cancel := context.WithCancel(t.Context())
				answers := make(chan backends.Answer, 3)
				for range 3 {
					go func() { answers <- fs.Apply(ctx, add1) }()
					synctest.Wait()
				}
				<-fs.Crashed()
				if len(answers) > 0 {
					t.Errorf("%d calls of a dead process were answered", len(answers))
				}
				cancel()
				for range 3 {
					if a := <-answers; a.Outcome != backends.Unknown || !errors.Is(a.Err, faultstore.ErrCrashed) {
						t.Errorf("%s, %v", a.Outcome, a.Err)
					}
				}
				if err := fs.Close(); err != nil {
					t.Error(err)
				}
				if got := balance(t, inner); got != c.left {
					t.Errorf("the crash left %d, want %d", got, c.left)
				}
			})
		})
	}
}

// TestCrashClose: Close lets go of calls whose context lives on.
func TestCrashClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultstore.Wrap(memory.New(memory.Options{}), faultstore.Nth(1, faultstore.CrashBefore))
		failed := make(chan error)
		go func() {
			_, err := fs.Get(context.Background(), alice)
			failed <- err
		}()
		<-fs.Crashed()
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
		if err := <-failed; !errors.Is(err, faultstore.ErrCrashed) {
			t.Error(err)
		}
	})
}

func TestTrace(t *testing.T) {
	fs := faultstore.Wrap(memory.New(memory.Options{}), faultstore.Nth(3, faultstore.AppliedLost))
	row := backends.Key{Kind: backends.KindInstance, Part: "plain\x00", Sort: "s"}
	fs.Apply(t.Context(), []backends.Update{
		{Key: alice, When: []backends.Cond{{Test: backends.Missing}}, Do: []backends.Change{
			{Field: "rev", Add: 1}, {Field: "v", Set: backends.String("90")}, {Field: "old"},
		}},
		{Key: row, Delete: true},
	})
	fs.Apply(t.Context(), []backends.Update{{Key: alice, When: []backends.Cond{
		{Test: backends.Exists}, {Test: backends.Absent, Field: "#i"},
		{Test: backends.AtMost, Field: "rev", Value: backends.Int(4)}, {Test: backends.LessThan, Field: "rev", Value: backends.Int(1)},
		{Test: backends.Equal, Field: "v", Value: backends.String(strings.Repeat("x", 50))},
	}, Do: []backends.Change{{Field: "rev", Add: -1}}}})
	fs.Get(t.Context(), row)
	fs.Query(t.Context(), backends.Range{
		Kind: alice.Kind, Part: alice.Part, Prefix: "p", After: alice, Limit: 2, Fields: []string{"v"}, Descending: true,
	})
	want := `#1 apply cell["accounts" "alice"]/"" if missing do rev+1 v="90" -old; instance("plain\x00")/"s" delete -> applied
#2 apply cell["accounts" "alice"]/"" if exists and #i absent and rev<=4 and rev<1 and v="` + strings.Repeat("x", 48) +
		`"… (50 bytes) do rev-1 -> refused by 0: {rev=1 v="90"}
#3 get instance("plain\x00")/"s" [applied, lost] -> no row -> error: faultstore: call 3, get: the answer was lost
#4 query cell["accounts" "alice"] limit 2 prefix "p" after cell["accounts" "alice"]/"" fields ["v"] descending -> 0 entries
`
	if got := fs.Trace(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if fs.Calls() != 4 {
		t.Errorf("%d calls, want 4", fs.Calls())
	}
}

func TestCount(t *testing.T) {
	c := faultstore.Count(memory.New(memory.Options{}))
	c.Apply(t.Context(), append(add1, add1...))
	before := c.Counts()
	c.Apply(t.Context(), add1)
	for range 2 {
		if _, err := c.Get(t.Context(), alice); err != nil {
			t.Fatal(err)
		}
	}
	r := backends.Range{Kind: backends.KindCell, Limit: 1}
	if _, err := c.Query(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Scan(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Counts().Sub(before), (faultstore.Counts{Get: 2, Apply: 1, Query: 1, Scan: 1, Updates: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := c.Counts().Calls(); got != 6 {
		t.Errorf("%d calls, want 6", got)
	}
}
