package daal_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/faultstore"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/daal"
)

// revision: no two batches have the same.
var revision atomic.Int64

// commit applies effects in one batch until the store takes it, as the runtime does (D7), and returns the outcomes.
func commit(t *testing.T, c *daal.Cells, s backends.Store, effects ...*daal.Effect) []daal.Outcome {
	t.Helper()
	list := make([]daal.Effect, len(effects))
	for i, e := range effects {
		list[i] = *e
	}
	b := c.NewBatch(list)
	defer b.Close()
	for {
		updates, outcomes, err := b.Build(ctx, revision.Add(1))
		if err != nil {
			t.Fatal(err)
		}
		switch a := s.Apply(ctx, updates); a.Outcome {
		case backends.Applied:
			b.Applied()
			return outcomes
		case backends.Refused:
			b.Refresh(a.Index, a.Row)
		default:
			t.Fatal(a.Err)
		}
	}
}

// D7: effects of a batch see those before them, and their outcomes are those of one after the other.
func TestBatchInOrder(t *testing.T) {
	s := memory.New(memory.Options{})
	c := daal.New(s, daal.Options{})
	out := commit(t, c, s, write("1", 1, "5"), count(t, "2", 1), condWrite(t, "3", 1, "9", "value == 5"), condWrite(t, "4", 1, "7", "value == 6"), count(t, "5", 1))
	if !out[0].Applied || string(out[1].Value.Data) != "6" || out[2].Applied || !out[3].Applied || string(out[4].Value.Data) != "8" {
		t.Errorf("outcomes %+v", out)
	}
	wantValue(t, c, "8")
	commit(t, c, s, remove("6", 1), condWrite(t, "7", 1, "1", "found"))
	wantValue(t, c, "")
}

// A batch over a value that another sidecar has changed is refused, and judged again over what the store holds.
func TestBatchOverStaleCache(t *testing.T) {
	s := memory.New(memory.Options{Shared: true})
	a, b := daal.New(s, daal.Options{}), daal.New(s, daal.Options{})
	commit(t, a, s, count(t, "1", 1))
	commit(t, b, s, write("2", 1, "10"))
	if out := commit(t, a, s, count(t, "3", 1)); string(out[0].Value.Data) != "11" {
		t.Errorf("outcome %s, want 11", out[0].Value.Data)
	}
	commit(t, b, s, remove("4", 1))
	if out := commit(t, a, s, condWrite(t, "5", 1, "1", "found")); out[0].Applied {
		t.Error("a condition held over a value that was deleted")
	}
}

// A cached cell costs a conditional effect one store call, a cold one two; a blind effect costs one.
func TestStoreCallsOfABatch(t *testing.T) {
	counter := faultstore.Count(memory.New(memory.Options{}))
	c := daal.New(counter, daal.Options{})
	calls := func(e *daal.Effect) int64 {
		before := counter.Counts()
		commit(t, c, counter, e)
		return counter.Counts().Sub(before).Calls()
	}
	if n := calls(count(t, "1", 1)); n != 2 {
		t.Errorf("update of a cold cell: %d calls, want 2", n)
	}
	if n := calls(condWrite(t, "2", 1, "5", "value == 1")); n != 1 {
		t.Errorf("condWrite of a cached cell: %d calls, want 1", n)
	}
	if n := calls(write("3", 1, "7")); n != 1 {
		t.Errorf("write: %d calls, want 1", n)
	}
}

// A batch may be built over what another one will have made of the cell. If that one never arrives, this one is refused and judged again.
func TestBatchOverOneThatIsLost(t *testing.T) {
	s := memory.New(memory.Options{})
	c := daal.New(s, daal.Options{})
	commit(t, c, s, write("1", 1, "5"))
	lost := c.NewBatch([]daal.Effect{*count(t, "2", 1)})
	if _, out, err := lost.Build(ctx, revision.Add(1)); err != nil || string(out[0].Value.Data) != "6" {
		t.Fatalf("%+v, %v", out, err)
	}
	next := c.NewBatch([]daal.Effect{*count(t, "3", 1)})
	updates, out, err := next.Build(ctx, revision.Add(1))
	if err != nil || string(out[0].Value.Data) != "7" {
		t.Fatalf("%+v, %v: want it to build on the batch before", out, err)
	}
	a := s.Apply(ctx, updates)
	if a.Outcome != backends.Refused {
		t.Fatalf("%s: a batch was applied over one that was not", a.Outcome)
	}
	next.Close()
	lost.Close()
	if out := commit(t, c, s, count(t, "3", 1)); string(out[0].Value.Data) != "6" {
		t.Errorf("outcome %s, want 6", out[0].Value.Data)
	}
}

// H29, for a store of one scope.
func TestConcurrentBatches(t *testing.T) {
	s := memory.New(memory.Options{Shared: true})
	var wg sync.WaitGroup
	const sidecars, each = 5, 10
	for i := range sidecars {
		c := daal.New(s, daal.Options{})
		for k := range each {
			e := count(t, strconv.Itoa(i*each+k), 1)
			wg.Go(func() { commit(t, c, s, e) })
		}
	}
	wg.Wait()
	wantValue(t, daal.New(s, daal.Options{}), strconv.Itoa(sidecars*each))
}
