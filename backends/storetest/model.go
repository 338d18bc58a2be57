package storetest

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/beldi/beldi/backends"
)

// model is the meaning of a store, without a thought for speed.
type model map[backends.Key]backends.Row

func (m model) apply(batch []backends.Update) backends.Answer {
	after := model{}
	row := func(k backends.Key) backends.Row {
		if r, ok := after[k]; ok {
			return r
		}
		return m[k]
	}
	for i := range batch {
		u := &batch[i]
		if !u.Judge(row(u.Key)) {
			return backends.Answer{Outcome: backends.Refused, Index: i, Row: row(u.Key)}
		}
		after[u.Key] = backends.ApplyChanges(row(u.Key), u)
	}
	for k, r := range after {
		m[k] = r
		if !r.Exists() {
			delete(m, k)
		}
	}
	return backends.Answer{Outcome: backends.Applied}
}

// page is what a Query or Scan returns.
func (m model) page(r backends.Range, scan bool) []backends.Entry {
	var out []backends.Entry
	for k, row := range m {
		in := k.Part == r.Part && strings.HasPrefix(k.Sort, r.Prefix)
		if scan {
			in = strings.HasPrefix(k.Part, r.Part)
		}
		if in && k.Kind == r.Kind {
			out = append(out, backends.Entry{Key: k, Row: row})
		}
	}
	slices.SortFunc(out, byKey)
	if r.Descending {
		slices.Reverse(out)
	}
	if r.After != (backends.Key{}) {
		out = slices.DeleteFunc(out, func(e backends.Entry) bool {
			c := byKey(e, backends.Entry{Key: r.After})
			return r.Descending && c >= 0 || !r.Descending && c <= 0
		})
	}
	return out[:min(len(out), r.Limit)]
}

// testModel compares the store with the model, through random batches and pages over few keys.
func testModel(t *testing.T, e *env) {
	rapid.Check(t, func(rt *rapid.T) {
		e := newEnv(rt, e.store)
		m := model{}
		rt.Repeat(map[string]func(*rapid.T){
			"apply": func(rt *rapid.T) {
				batch := drawBatch(rt, e)
				got, want := e.store.Apply(e.ctx(), batch), m.apply(batch)
				if got.Outcome != want.Outcome || got.Index != want.Index || !sameRow(got.Row, want.Row) {
					rt.Fatalf("Apply(%s) = %s, want %s", showBatch(batch), showAnswer(got), showAnswer(want))
				}
			},
			"get": func(rt *rapid.T) {
				k := drawKey(rt, e)
				e.wantRow(k, m[k])
			},
			"query": func(rt *rapid.T) {
				k := drawKey(rt, e)
				r := backends.Range{
					Kind: k.Kind, Part: k.Part, Limit: rapid.IntRange(1, 5).Draw(rt, "limit"),
					Prefix: rapid.SampledFrom(modelPrefixes).Draw(rt, "prefix"), Descending: rapid.Bool().Draw(rt, "descending"),
				}
				if rapid.Bool().Draw(rt, "paged") {
					r.After = backends.Key{Kind: k.Kind, Part: k.Part, Sort: rapid.SampledFrom(modelSorts).Draw(rt, "after")}
				}
				comparePage(rt, e, m, r, false)
			},
			"scan": func(rt *rapid.T) {
				k := drawKey(rt, e)
				r := backends.Range{Kind: k.Kind, Part: k.Part, Limit: rapid.IntRange(1, 5).Draw(rt, "limit")}
				if rapid.Bool().Draw(rt, "paged") {
					r.After = drawKey(rt, e)
				}
				comparePage(rt, e, m, r, true)
			},
		})
	})
}

func comparePage(rt *rapid.T, e *env, m model, r backends.Range, scan bool) {
	read := e.store.Query
	if scan {
		read = e.store.Scan
	}
	got, err := read(e.ctx(), r)
	if want := m.page(r, scan); err != nil || !sameEntries(got, want) {
		rt.Fatalf("%s:%s\n%v\nwant:%s", showRange(r, scan), showEntries(got), err, showEntries(want))
	}
}

// Few keys, so that operations meet; nasty ones.
var (
	modelParts    = []string{"", "p", "p\x00", "p\xff"}
	modelSorts    = []string{"", "\x00", "a", "a\x00", "a\xff", "b", "\xff"}
	modelPrefixes = []string{"", "a", "\x00", "\xff"}
)

func drawKey(rt *rapid.T, e *env) backends.Key {
	return e.key(rapid.SampledFrom(modelParts).Draw(rt, "part"), rapid.SampledFrom(modelSorts).Draw(rt, "sort"))
}

// drawBatch draws updates, as many as fit.
func drawBatch(rt *rapid.T, e *env) []backends.Update {
	var batch []backends.Update
	for range rapid.IntRange(1, 6).Draw(rt, "updates") {
		u := drawUpdate(rt, drawKey(rt, e))
		if len(batch) > 0 && rapid.Bool().Draw(rt, "same partition") {
			u.Key.Part = batch[0].Key.Part
		}
		if wider := append(batch, u); e.fits(wider...) {
			batch = wider
		}
	}
	return batch
}

// drawUpdate draws an update over fields n and m, which hold integers, and b and #1, which hold either kind. What Add,
// AtMost and LessThan mean for bytes is nobody's business, and so is one field changed twice in one update.
func drawUpdate(rt *rapid.T, k backends.Key) backends.Update {
	u := backends.Update{Key: k}
	if rapid.Bool().Draw(rt, "conditional") {
		u.When = append(u.When, drawCond(rt))
	}
	if rapid.IntRange(0, 4).Draw(rt, "delete") == 0 {
		u.Delete = true
		return u
	}
	u.Replace = rapid.Bool().Draw(rt, "replace")
	for _, name := range []string{"n", "b", "#1", "m"} {
		c := backends.Change{Field: name}
		switch rapid.SampledFrom([]string{"keep", "int", "add or bytes", "remove"}).Draw(rt, name) {
		case "keep":
			continue
		case "int":
			c.Set = backends.Int(rapid.Int64Range(-3, 3).Draw(rt, "int"))
		case "add or bytes":
			if name == "n" || name == "m" {
				c.Add = rapid.SampledFrom([]int64{-2, -1, 1, 2}).Draw(rt, "add")
			} else {
				c.Set = backends.String(rapid.SampledFrom([]string{"", "x", "\x00"}).Draw(rt, "bytes"))
			}
		}
		u.Do = append(u.Do, c)
	}
	return u
}

func drawCond(rt *rapid.T) backends.Cond {
	ints := rapid.SampledFrom([]string{"n", "m"})
	fields := rapid.SampledFrom([]string{"n", "m", "b", "#1"})
	small := rapid.Int64Range(-3, 3)
	test := rapid.SampledFrom([]backends.Test{
		backends.Exists, backends.Missing, backends.Absent, backends.Equal, backends.AtMost, backends.LessThan,
	}).Draw(rt, "test")
	c := backends.Cond{Test: test}
	switch test {
	case backends.Absent:
		c.Field = fields.Draw(rt, "field")
	case backends.Equal:
		c.Field = fields.Draw(rt, "field")
		switch rapid.IntRange(0, 2).Draw(rt, "kind of value") {
		case 0:
			c.Value = backends.Int(small.Draw(rt, "value"))
		case 1:
			c.Value = backends.String(rapid.SampledFrom([]string{"", "x", "\x00"}).Draw(rt, "value"))
		}
	case backends.AtMost, backends.LessThan:
		c.Field = ints.Draw(rt, "field")
		c.Value = backends.Int(small.Draw(rt, "value"))
	}
	return c
}
