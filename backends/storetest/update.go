package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/beldi/beldi/backends"
)

// testConditions judges every Test on a missing row, on one without fields, and on a full one.
func testConditions(t *testing.T, e *env) {
	full := backends.Row{
		{Name: "b", Value: backends.String("x")},
		{Name: "e", Value: backends.String("")},
		{Name: "n", Value: backends.Int(5)},
		{Name: "z", Value: backends.Int(0)},
	}
	cases := []struct {
		cond                 backends.Cond
		missing, empty, full bool
	}{
		{backends.Cond{Test: backends.Exists}, false, true, true},
		{backends.Cond{Test: backends.Missing}, true, false, false},
		{backends.Cond{Test: backends.Absent, Field: "n"}, true, true, false},
		{backends.Cond{Test: backends.Absent, Field: "e"}, true, true, false},
		{backends.Cond{Test: backends.Absent, Field: "other"}, true, true, true},
		{backends.Cond{Test: backends.Equal, Field: "n", Value: backends.Int(5)}, false, false, true},
		{backends.Cond{Test: backends.Equal, Field: "n", Value: backends.Int(6)}, false, false, false},
		{backends.Cond{Test: backends.Equal, Field: "n", Value: backends.String("5")}, false, false, false},
		{backends.Cond{Test: backends.Equal, Field: "z", Value: backends.Int(0)}, false, false, true},
		{backends.Cond{Test: backends.Equal, Field: "b", Value: backends.String("x")}, false, false, true},
		{backends.Cond{Test: backends.Equal, Field: "b", Value: backends.String("xx")}, false, false, false},
		{backends.Cond{Test: backends.Equal, Field: "e", Value: backends.String("")}, false, false, true},
		{backends.Cond{Test: backends.Equal, Field: "n", Value: backends.Value{}}, true, true, false},
		{backends.Cond{Test: backends.AtMost, Field: "n", Value: backends.Int(4)}, true, true, false},
		{backends.Cond{Test: backends.AtMost, Field: "n", Value: backends.Int(5)}, true, true, true},
		{backends.Cond{Test: backends.AtMost, Field: "n", Value: backends.Int(0)}, true, true, false},
		{backends.Cond{Test: backends.AtMost, Field: "n", Value: backends.Int(-1)}, false, false, false},
		{backends.Cond{Test: backends.LessThan, Field: "n", Value: backends.Int(5)}, true, true, false},
		{backends.Cond{Test: backends.LessThan, Field: "n", Value: backends.Int(6)}, true, true, true},
		{backends.Cond{Test: backends.LessThan, Field: "n", Value: backends.Int(0)}, false, false, false},
		{backends.Cond{Test: backends.LessThan, Field: "n", Value: backends.Int(1)}, true, true, false},
	}
	for i, c := range cases {
		for _, on := range []struct {
			name string
			row  backends.Row
			want bool
		}{{"missing", nil, c.missing}, {"empty", backends.Row{}, c.empty}, {"full", full, c.full}} {
			k := e.key("conditions", fmt.Sprintf("%02d-%s", i, on.name))
			if on.row.Exists() {
				e.put(k, on.row)
			}
			u := backends.Update{Key: k, When: []backends.Cond{c.cond}, Do: []backends.Change{{Field: "seen", Set: backends.Int(1)}}}
			a := e.store.Apply(e.ctx(), []backends.Update{u})
			switch {
			case on.want && a.Outcome != backends.Applied, !on.want && a.Outcome != backends.Refused:
				t.Errorf("%+v on a row that is %s: %s, want it to hold: %t", c.cond, on.name, showAnswer(a), on.want)
			case on.want:
				e.wantRow(k, backends.ApplyChanges(on.row, &u))
			default:
				if !sameRow(a.Row, on.row) {
					t.Errorf("%+v on a row that is %s: refused with %s", c.cond, on.name, show(a.Row))
				}
				e.wantRow(k, on.row)
			}
		}
	}

	k := e.key("conditions", "several")
	e.put(k, full)
	both := append(when(backends.Equal, "n", backends.Int(5)), when(backends.Absent, "b", backends.Value{})...)
	e.refuse(0, full, backends.Update{Key: k, When: both, Do: sets(int1(9))})
	e.wantRow(k, full)
}

func testChanges(_ *testing.T, e *env) {
	k := e.key("changes", "")
	change := func(c backends.Change, want backends.Row) {
		e.Helper()
		e.apply(backends.Update{Key: k, Do: []backends.Change{c}})
		e.wantRow(k, want)
	}
	e.apply(backends.Update{Key: k})
	e.wantRow(k, nil) // an update without changes only checks
	change(backends.Change{Field: "none"}, backends.Row{})
	change(backends.Change{Field: "n", Add: 3}, int1(3))
	change(backends.Change{Field: "n", Add: -5}, int1(-2))
	change(backends.Change{Field: "n", Set: backends.Int(7)}, int1(7))
	change(backends.Change{Field: "other"}, int1(7)) // removes what is absent
	change(backends.Change{Field: "n", Set: backends.String("text")}, backends.Row{{Name: "n", Value: backends.String("text")}})
	change(backends.Change{Field: "n"}, backends.Row{})

	e.apply(backends.Update{Key: k, Do: []backends.Change{
		{Field: "#i/2", Set: backends.String("late")},
		{Field: "z", Add: 1},
		{Field: "a", Set: backends.Int(1)},
	}})
	e.wantRow(k, backends.Row{
		{Name: "#i/2", Value: backends.String("late")},
		{Name: "a", Value: backends.Int(1)},
		{Name: "z", Value: backends.Int(1)},
	})
	e.apply(backends.Update{Key: k, Do: []backends.Change{{Field: "a"}, {Field: "#i/1", Set: backends.Int(2)}, {Field: "z", Add: 1}}})
	e.wantRow(k, backends.Row{
		{Name: "#i/1", Value: backends.Int(2)},
		{Name: "#i/2", Value: backends.String("late")},
		{Name: "z", Value: backends.Int(2)},
	})
}

func testValues(_ *testing.T, e *env) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	big := 300 << 10
	if e.caps.MaxRow > 0 {
		big = min(big, e.caps.MaxRow/2)
	}
	for i, v := range []backends.Value{
		backends.Int(0), backends.Int(-1), backends.Int(math.MaxInt64), backends.Int(math.MinInt64),
		backends.Bytes(nil), backends.Bytes(all), backends.String("ä€𝄞"), backends.Bytes(bytes.Repeat(all, big/256)),
	} {
		k := e.key("values", fmt.Sprint(i))
		row := backends.Row{{Name: "v", Value: v}}
		e.put(k, row)
		e.wantRow(k, row)
		e.apply(backends.Update{Key: k, When: when(backends.Equal, "v", v)})
		e.wantRow(k, row)
	}
}

func testDelete(_ *testing.T, e *env) {
	k := e.key("delete", "row")
	e.apply(backends.Update{Key: k, Delete: true}) // deleting nothing is not refused
	e.wantRow(k, nil)
	e.refuse(0, nil, backends.Update{Key: k, When: when(backends.Exists, "", backends.Value{}), Delete: true})
	e.put(k, int1(1))
	e.refuse(0, int1(1), backends.Update{Key: k, When: when(backends.Equal, "n", backends.Int(2)), Delete: true})
	e.wantRow(k, int1(1))
	e.apply(backends.Update{Key: k, When: when(backends.Equal, "n", backends.Int(1)), Delete: true})
	e.wantRow(k, nil)
	e.apply(backends.Update{Key: k, Do: []backends.Change{{Field: "n", Add: 4}}}) // nothing is left of the old row
	e.wantRow(k, int1(4))
}

// testRefused tests B1 and B3 on a batch whose condition fails in its middle.
func testRefused(_ *testing.T, e *env) {
	a, b, c := e.key("refused", "a"), e.key("refused", "b"), e.key("refused", "c")
	batch := []backends.Update{
		{Key: a, Do: sets(int1(10))},
		{Key: b, When: when(backends.Equal, "n", backends.Int(0)), Do: sets(int1(11))},
		{Key: c, When: when(backends.Exists, "", backends.Value{}), Do: sets(int1(12))},
	}
	e.put(a, int1(1))
	e.put(b, int1(2))
	e.refuse(0, int1(2), batch[1])
	e.wantRow(b, int1(2))
	if !e.fits(batch...) {
		return
	}
	e.refuse(1, int1(2), batch...)
	e.wantRow(a, int1(1))
	e.wantRow(b, int1(2))
	e.wantRow(c, nil)

	e.put(b, int1(0))
	e.refuse(2, nil, batch...)
	e.wantRow(a, int1(1))
	e.wantRow(b, int1(0))

	e.put(c, int1(3))
	e.refuse(1, int1(0), batch[0], backends.Update{Key: b, When: when(backends.Missing, "", backends.Value{})}, batch[2])
	e.wantRow(a, int1(1)) // an update that only checks can refuse its batch
	e.apply(batch...)
	for i, k := range []backends.Key{a, b, c} {
		e.wantRow(k, int1(int64(10+i)))
	}
}

// testBatchOrder tests that each partition-wide or store-wide batch is applied whole, deletions too.
// testReplace tests that a replaced row holds what the update says and nothing else, also for who looks at it next in the same batch,
// and that a batch that is refused later leaves it as it was.
func testReplace(_ *testing.T, e *env) {
	k, other := e.key("replace", "a"), e.key("replace", "b")
	e.apply(backends.Update{Key: k, Do: []backends.Change{{Field: "old", Set: backends.Int(1)}, {Field: "n", Set: backends.Int(7)}}})
	replace := backends.Update{Key: k, Replace: true, Do: []backends.Change{{Field: "n", Add: 2}}}
	e.apply(replace)
	e.wantRow(k, int1(2))
	add := backends.Update{Key: k, When: when(backends.Equal, "n", backends.Int(2)), Do: []backends.Change{{Field: "n", Add: 1}}}
	want := int1(2)
	if e.fits(replace, add) {
		e.apply(replace, add)
		want = int1(3)
		e.wantRow(k, want)
	}
	refused := backends.Update{Key: other, When: when(backends.Exists, "", backends.Value{}), Do: []backends.Change{{Field: "n", Add: 1}}}
	if e.fits(replace, refused) {
		e.refuse(1, nil, replace, refused)
		e.wantRow(k, want)
	}
}

func testBatchOrder(_ *testing.T, e *env) {
	var batch []backends.Update
	for i := range 20 {
		batch = append(batch, backends.Update{Key: e.key("order", fmt.Sprint(i)), Do: []backends.Change{{Field: "n", Add: int64(i + 1)}}})
	}
	for !e.fits(batch...) {
		batch = batch[:len(batch)-1]
	}
	e.apply(batch...)
	e.apply(batch...)
	for i, u := range batch {
		e.wantRow(u.Key, int1(int64(2*i+2)))
	}
	if len(batch) > 2 {
		batch[0] = backends.Update{Key: batch[0].Key, When: when(backends.Equal, "n", backends.Int(2)), Delete: true}
		e.apply(batch...)
		e.wantRow(batch[0].Key, nil)
		e.wantRow(batch[1].Key, int1(6))
	}
}

// testSameRowTwice tests that an update sees those before it in its batch (B1), and that a refusal shows the row as it
// was judged, though it never became so (B3).
func testSameRowTwice(t *testing.T, e *env) {
	k := e.key("twice", "row")
	is := func(n int64) []backends.Cond { return when(backends.Equal, "n", backends.Int(n)) }
	add := []backends.Change{{Field: "n", Add: 1}}
	batch := []backends.Update{
		{Key: k, When: when(backends.Missing, "", backends.Value{}), Do: add},
		{Key: k, When: is(1), Do: add},
		{Key: k, When: is(2), Delete: true},
		{Key: k, When: when(backends.Missing, "", backends.Value{}), Do: sets(int1(8))},
		{Key: k, When: is(8), Do: add},
	}
	if !e.fits(batch...) {
		t.Skipf("a store of %s scope applies no batch that names a row twice", e.caps.Scope)
	}
	e.apply(batch...)
	e.wantRow(k, int1(9))
	e.refuse(1, int1(10), backends.Update{Key: k, Do: add}, backends.Update{Key: k, When: is(9), Do: add})
	e.wantRow(k, int1(9))
	e.refuse(1, nil, backends.Update{Key: k, Delete: true}, backends.Update{Key: k, When: is(9), Do: add})
	e.wantRow(k, int1(9))
}

func testTooWide(t *testing.T, e *env) {
	if e.caps.Scope == backends.ScopeStore {
		t.Skip("no batch is too wide for a store of store scope")
	}
	var batch []backends.Update
	for i := range e.caps.MaxTransaction + 2 {
		batch = append(batch, backends.Update{Key: e.key(fmt.Sprintf("wide%d", i), ""), Do: sets(int1(1))})
	}
	a := e.store.Apply(e.ctx(), batch)
	if a.Outcome != backends.Unknown || !errors.Is(a.Err, backends.ErrTooWide) {
		t.Fatalf("a batch over %d partitions: %s, want unknown with ErrTooWide", len(batch), showAnswer(a))
	}
	for _, u := range batch {
		e.wantRow(u.Key, nil)
	}
}

// testCancelledContext tests that a call without time left ends, and says nothing that is not so.
func testCancelledContext(t *testing.T, e *env) {
	ctx, cancel := context.WithCancel(e.ctx())
	cancel()
	k := e.key("cancelled", "")
	switch a := e.store.Apply(ctx, []backends.Update{{Key: k, Do: sets(int1(1))}}); {
	case a.Outcome == backends.Applied:
		e.wantRow(k, int1(1))
	case a.Outcome != backends.Unknown || a.Err == nil:
		t.Errorf("Apply with a cancelled context = %s, want unknown with its reason", showAnswer(a))
	}
	e.get(k) // the store is still of use to others
}

func testClosed(t *testing.T, e *env) {
	k := e.key("closed", "")
	e.apply(backends.Update{Key: k, Do: sets(int1(1))})
	if err := e.store.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if row, err := e.store.Get(e.ctx(), k); err == nil {
		t.Errorf("Get after Close = %s, want an error", show(row))
	}
	if a := e.store.Apply(e.ctx(), []backends.Update{{Key: k}}); a.Outcome != backends.Unknown || a.Err == nil {
		t.Errorf("Apply after Close = %s, want unknown with its reason", showAnswer(a))
	}
	page := backends.Range{Kind: k.Kind, Part: k.Part, Limit: 1}
	if _, err := e.store.Query(e.ctx(), page); err == nil {
		t.Error("Query after Close: no error")
	}
	if _, err := e.store.Scan(e.ctx(), page); err == nil {
		t.Error("Scan after Close: no error")
	}
}

func testReopen(t *testing.T, su *suite) {
	s := su.open(t)
	e := newEnv(t, s)
	const rows = 500
	for i := range rows {
		k := e.key(fmt.Sprintf("reopen%d", i%7), fmt.Sprint(i))
		e.apply(backends.Update{Key: k, Do: sets(int1(int64(i)))})
		if i%5 == 0 {
			e.apply(backends.Update{Key: k, Delete: true})
		}
	}
	e.store = su.reopen(t, s)
	t.Cleanup(func() {
		if err := e.store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	for i := range rows {
		want := int1(int64(i))
		if i%5 == 0 {
			want = nil
		}
		e.wantRow(e.key(fmt.Sprintf("reopen%d", i%7), fmt.Sprint(i)), want)
	}
	e.apply(backends.Update{Key: e.key("reopen0", "new"), Do: sets(int1(1))})
}
