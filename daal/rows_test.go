package daal_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/daal"
)

func rowStore() *memory.Store {
	return memory.New(memory.Options{Scope: backends.ScopeRow, MaxTransaction: 2})
}

// interrupted is a store that does something before call number n.
type interrupted struct {
	backends.Store
	calls, n int
	do       func()
}

func (s *interrupted) step() {
	if s.calls++; s.calls == s.n {
		s.do()
	}
}

func (s *interrupted) Get(ctx context.Context, k backends.Key) (backends.Row, error) {
	s.step()
	return s.Store.Get(ctx, k)
}

func (s *interrupted) Apply(ctx context.Context, batch []backends.Update) backends.Answer {
	s.step()
	return s.Store.Apply(ctx, batch)
}

func (s *interrupted) Query(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	s.step()
	return s.Store.Query(ctx, r)
}

// rows lists the numbers of a cell's rows.
func rows(t *testing.T, s backends.Store) []int {
	page, err := s.Query(ctx, backends.Range{Kind: backends.KindCell, Part: daal.Part(room), Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for _, e := range page {
		numbers = append(numbers, int(e.Key.Sort[3])|int(e.Key.Sort[2])<<8)
	}
	return numbers
}

// D1–D5: whatever another sidecar does between two calls – fill the cell, roll it over several times, prune what is below, delete the value – an effect is applied once, at
// the tail, and its outcome stays what it was. (H19, H21–H23.)
func TestInterruptedAtEveryCall(t *testing.T) {
	others := map[string]func(t *testing.T, c *daal.Cells){
		"one write":        func(t *testing.T, c *daal.Cells) { apply(t, c, count(t, "o1", 10)) },
		"two roll-overs":   func(t *testing.T, c *daal.Cells) { counts(t, c, "o", 5) },
		"a prune":          func(t *testing.T, c *daal.Cells) { prune(t, c, 9, "0", "1", "2") },
		"roll-over, prune": func(t *testing.T, c *daal.Cells) { counts(t, c, "o", 4); prune(t, c, 9, "0", "1", "2") },
		"a deletion":       func(t *testing.T, c *daal.Cells) { apply(t, c, remove("o1", 10)); apply(t, c, write("o2", 10, "100")) },
		"the same effect":  func(t *testing.T, c *daal.Cells) { apply(t, c, count(t, "x", 10)) },
	}
	for name, other := range others {
		for before := range 6 { // so full is the cell when it begins
			for _, warm := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/%v", name, before, warm), func(t *testing.T) {
					for n := 1; ; n++ {
						s := &interrupted{Store: rowStore()}
						counts(t, cells(s.Store), "", before)
						c := cells(s)
						if warm {
							apply(t, c, count(t, "warm", 10))
						}
						ran := false
						s.calls, s.n = 0, n
						s.do = func() {
							ran = true
							if name != "a prune" && name != "roll-over, prune" || before >= 3 {
								other(t, cells(s.Store))
							}
						}
						first := apply(t, c, count(t, "x", 10))
						if !ran {
							return
						}
						again := apply(t, cells(s.Store), count(t, "x", 11))
						if string(first.Value.Data) != string(again.Value.Data) || !again.Repeated {
							t.Fatalf("before call %d: outcome %s, and later %s (repeated: %v)", n, first.Value.Data, again.Value.Data, again.Repeated)
						}
						checkSum(t, s.Store, name, before, warm)
					}
				})
			}
		}
	}
}

// counts applies n effects that count.
func counts(t *testing.T, c *daal.Cells, prefix string, n int) {
	for i := range n {
		apply(t, c, count(t, prefix+strconv.Itoa(i), 10))
	}
}

// checkSum: nothing was lost or done twice, and no row was made again.
func checkSum(t *testing.T, s backends.Store, name string, before int, warm bool) {
	t.Helper()
	want := before + 1
	if warm {
		want++
	}
	v, _, err := cells(s).Read(ctx, room)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := strconv.Atoi(string(v.Data))
	switch name {
	case "one write":
		want++
	case "two roll-overs":
		want += 5
	case "roll-over, prune":
		if before >= 3 {
			want += 4
		}
	case "a deletion":
		if got == 100 || got == 101 { // x came before the value was replaced, or after
			return
		}
		want = 100
	}
	if got != want {
		t.Fatalf("the cell holds %d, want %d; rows %v", got, want, rows(t, s))
	}
}

// D1: a query that shows the tail as frozen was overtaken by a roll-over (a query is no snapshot): ask again.
func TestFrozenTailIsAskedAgain(t *testing.T) {
	s := &torn{Store: rowStore()}
	counts(t, cells(s.Store), "", 3)
	s.overtake = func() { counts(t, cells(s.Store), "o", 4) }
	wantValue(t, cells(s), "7")
	if s.overtake != nil {
		t.Fatal("the query was not overtaken")
	}
}

// torn is a store whose query finds the highest row, and reads it after something else has happened.
type torn struct {
	backends.Store
	overtake func()
}

func (s *torn) Query(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	page, err := s.Store.Query(ctx, r)
	if f := s.overtake; f != nil && r.Descending && len(page) == 1 {
		s.overtake = nil
		f()
		page[0].Row, err = s.Store.Get(ctx, page[0].Key)
	}
	return page, err
}

// D2: an update at a row that was deleted meanwhile does not make it again (H22).
func TestDeletedRowIsNotMadeAgain(t *testing.T) {
	s := rowStore()
	stale := cells(s)
	counts(t, stale, "", 3) // remembers row 1 as the tail
	other := cells(s)
	counts(t, other, "o", 4)
	prune(t, other, 9, "0", "1", "2", "o0", "o1", "o2")
	before := rows(t, s)
	if fmt.Sprint(before) != "[0 3]" {
		t.Fatalf("rows %v after the prune, want [0 3]", before)
	}
	apply(t, stale, write("x", 10, "42"))
	if after := rows(t, s); fmt.Sprint(after) != "[0 3]" && fmt.Sprint(after) != "[0 3 4]" {
		t.Errorf("rows %v after the write of a stale sidecar", after)
	}
	wantValue(t, cells(s), "42")
}

// D3: value, fence and revision go along into the new row (H20).
func TestRollOverCarriesTheFence(t *testing.T) {
	s := rowStore()
	c := cells(s)
	counts(t, c, "", 2)
	prune(t, c, 50, "0", "1")
	for i := range 3 {
		apply(t, c, count(t, "n"+strconv.Itoa(i), 60))
	}
	if got := rows(t, s); fmt.Sprint(got) != "[0 1]" {
		t.Fatalf("rows %v, want a roll-over", got)
	}
	for _, c := range []*daal.Cells{c, cells(s)} {
		wantFenced(t, c, count(t, "0", 10), 50, "the roll-over lost the fence: a duplicate of what was pruned before it")
	}
	wantValue(t, c, "5")
}

// D4: a sidecar that meets a cell for the first time, or remembers an older tail, finds what stands in frozen rows.
func TestEffectInAFrozenRowIsFound(t *testing.T) {
	s := rowStore()
	stale, busy := cells(s), cells(s)
	counts(t, stale, "", 1)
	counts(t, busy, "o", 9)
	for who, c := range map[string]*daal.Cells{"cold": cells(s), "stale": stale, "busy": busy} {
		for i := range 9 {
			if o := apply(t, c, count(t, "o"+strconv.Itoa(i), 11)); !o.Repeated {
				t.Errorf("%s: effect o%d was applied again", who, i)
			}
		}
	}
	wantValue(t, cells(s), "10")
}

// D5: rows whose effects are all covered go; row 0 stays as a stub, and what is left of the log still answers.
func TestFrozenRowsAreReclaimed(t *testing.T) {
	s := rowStore()
	c := cells(s)
	counts(t, c, "", 9) // rows 0 to 4
	prune(t, c, 9, "0", "1", "2", "3", "4")
	if got := rows(t, s); fmt.Sprint(got) != "[0 2 3 4]" {
		t.Errorf("rows %v, want [0 2 3 4]: row 2 has an entry that is not covered", got)
	}
	prune(t, c, 9, "5", "6", "7", "4")
	if got := rows(t, s); fmt.Sprint(got) != "[0 4]" {
		t.Errorf("rows %v, want [0 4]", got)
	}
	if o := apply(t, cells(s), count(t, "8", 10)); !o.Repeated {
		t.Error("the entry in the tail is gone")
	}
	wantFenced(t, cells(s), count(t, "3", 9), 9, "a duplicate of what stood in a deleted row")
	wantValue(t, c, "9")
}
