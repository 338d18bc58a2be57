package daal_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/faultstore"
	"github.com/beldi/beldi/daal"
)

// R3: first the log, then the fence, then the operation's own condition.
func TestLogThenFenceThenCondition(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		c := cells(s)
		apply(t, c, write("1", 10, "1"))
		apply(t, c, write("2", 10, "2"))
		prune(t, c, 20, "1")
		if o := apply(t, c, write("2", 10, "2")); !o.Repeated {
			t.Error("a logged effect is not answered from the log, its generation being below the fence")
		}
		wantFenced(t, c, condWrite(t, "3", 20, "3", "false"), 20, "a new effect at the fence, with a condition that fails")
		if o := apply(t, c, condWrite(t, "3", 21, "3", "value == 7")); o.Applied || o.Repeated {
			t.Errorf("above the fence: %+v, want the condition to decide", o)
		}
		wantValue(t, c, "2")
	})
}

// R3: "false" is an outcome: logged, and the same when the value would now say otherwise (H18).
func TestFalseIsLogged(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		c := cells(s)
		apply(t, c, write("1", 10, "1"))
		apply(t, c, condWrite(t, "2", 10, "9", "value == 2"))
		apply(t, c, write("3", 10, "2"))
		if o := apply(t, cells(s), condWrite(t, "2", 11, "9", "value == 2")); o.Applied || !o.Repeated {
			t.Errorf("replayed: %+v, want the logged false", o)
		}
		wantValue(t, c, "2")
	})
}

// R3: an expression that fails at run time is an outcome, too.
func TestFailureIsLogged(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		c := cells(s)
		failed := apply(t, c, update(t, "1", 10, "value.count + 1"))
		if failed.Failed == "" || failed.Applied {
			t.Fatalf("outcome %+v, want a failure", failed)
		}
		apply(t, c, write("2", 10, `{"count":1}`))
		if o := apply(t, cells(s), update(t, "1", 11, "value.count + 1")); o.Failed != failed.Failed || !o.Repeated {
			t.Errorf("replayed: %+v, want the logged failure", o)
		}
		wantValue(t, c, `{"count":1}`)
	})
}

// R4: the log knows an effect by its name and compares what it was.
func TestOtherOperationOfTheSameName(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		c := cells(s)
		apply(t, c, write("1", 10, "1"))
		for _, e := range []*daal.Effect{write("1", 10, "2"), remove("1", 10), count(t, "1", 10)} {
			var other *daal.OtherOperation
			if o, err := c.Apply(ctx, e); !errors.As(err, &other) {
				t.Errorf("another operation: %+v, %v", o, err)
			}
		}
		wantValue(t, c, "1")
	})
}

// R8: what was pruned is not applied again, however late it comes (H31); fences only rise.
func TestLateDuplicateAfterPrune(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		c := cells(s)
		apply(t, c, count(t, "1", 10))
		apply(t, c, count(t, "2", 12))
		prune(t, c, 15, "1", "2")
		wantFenced(t, c, count(t, "1", 10), 15, "a duplicate of what was pruned")
		prune(t, c, 3)
		wantFenced(t, cells(s), count(t, "2", 15), 15, "a duplicate, after a prune with a lower fence")
		wantValue(t, c, "2")
		if o := apply(t, c, count(t, "3", 16)); string(o.Value.Data) != "3" {
			t.Errorf("an effect above the fence: %+v", o)
		}
	})
}

// D5: a deleted value leaves a tombstone, which keeps the fence.
func TestTombstoneKeepsTheFence(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		c := cells(s)
		apply(t, c, write("1", 10, "1"))
		apply(t, c, remove("2", 10))
		prune(t, c, 10, "1", "2")
		wantValue(t, cells(s), "")
		wantFenced(t, cells(s), write("1", 10, "1"), 10, "the write of a value that was deleted since")
		wantValue(t, c, "")
	})
}

// R3, H17: the store does not say what became of a call. Issued again, the effect has the outcome that it had, and happened once.
func TestNoAnswerThenAgain(t *testing.T) {
	effects := map[string]func(t *testing.T) *daal.Effect{
		"write":     func(t *testing.T) *daal.Effect { return write("x", 10, "5") },
		"delete":    func(t *testing.T) *daal.Effect { return remove("x", 10) },
		"condWrite": func(t *testing.T) *daal.Effect { return condWrite(t, "x", 10, "5", "value == 4") },
		"update":    func(t *testing.T) *daal.Effect { return count(t, "x", 10) },
	}
	want := map[string]string{"write": "5", "delete": "", "condWrite": "5", "update": "5"}
	for name, effect := range effects {
		for lost, fault := range map[string]faultstore.Fault{"lost": faultstore.Lost, "applied": faultstore.AppliedLost} {
			for layout, open := range stores {
				t.Run(name+"/"+lost+"/"+layout, func(t *testing.T) {
					for n := 1; ; n++ {
						s := open(t)
						for i := range 4 { // the fourth fills a row: the next effect rolls over
							apply(t, cells(s), count(t, strconv.Itoa(i), 10))
						}
						fs := faultstore.Wrap(s, faultstore.Nth(n, fault))
						c := cells(fs)
						_, err := c.Apply(ctx, effect(t))
						if err == nil {
							return // it makes fewer calls
						}
						if !errors.Is(err, daal.ErrUnknown) {
							t.Fatalf("call %d lost: error %v, want ErrUnknown", n, err)
						}
						if o := apply(t, c, effect(t)); !o.Applied {
							t.Fatalf("call %d lost: outcome %+v", n, o)
						}
						wantValue(t, cells(s), want[name])
					}
				})
			}
		}
	}
}

// H29: conditional effects judge the value that they change.
func TestConcurrentUpdates(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		const sidecars, each = 5, 10
		var wg sync.WaitGroup
		for i := range sidecars {
			c := cells(s)
			for k := range each {
				e := count(t, strconv.Itoa(i*each+k), 10)
				wg.Go(func() {
					if _, err := c.Apply(ctx, e); err != nil {
						t.Errorf("%s: %v", e.ID, err)
					}
				})
			}
		}
		wg.Wait()
		wantValue(t, cells(s), strconv.Itoa(sidecars*each))
	})
}
