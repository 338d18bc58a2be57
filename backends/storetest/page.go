package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/beldi/beldi/backends"
)

// nasty are strings that adapters have got wrong: prefixes of each other, separators, terminators, the ends of the order.
var nasty = []string{
	"", "\x00", "\x00\x00", "\x00\x01", "\x00\xff", "\x01", " ", "#", "-", "/", "a", "a\x00", "a\x00\x01", "a\x00\xff", "a\x01",
	"a#b", "a-b", "a/b", "aa", "ab", "a\xff", "a\xff\xff", "b", "é", "\xfe", "\xff", "\xff\x00", "\xff\xff",
}

// testKeys tests that keys of any bytes name different rows.
func testKeys(_ *testing.T, e *env) {
	row := func(p, s int) backends.Row { return int1(int64(p*100 + s)) }
	for p, part := range nasty {
		for s, sort := range nasty {
			e.apply(backends.Update{Key: e.key(part, sort), When: when(backends.Missing, "", backends.Value{}), Do: sets(row(p, s))})
		}
	}
	for p, part := range nasty {
		for s, sort := range nasty {
			e.wantRow(e.key(part, sort), row(p, s))
		}
	}
}

func testKinds(_ *testing.T, e *env) {
	for _, kind := range backends.Kinds {
		k := e.key("kinds", "row")
		k.Kind = kind
		e.apply(backends.Update{Key: k, When: when(backends.Missing, "", backends.Value{}), Do: sets(int1(int64(kind)))})
	}
	for _, kind := range backends.Kinds {
		k := e.key("kinds", "row")
		k.Kind = kind
		e.wantRow(k, int1(int64(kind)))
		e.wantPages(backends.Range{Kind: kind, Part: k.Part}, false, []backends.Entry{{Key: k, Row: int1(int64(kind))}})
		e.wantPages(backends.Range{Kind: kind, Part: e.space}, true, []backends.Entry{{Key: k, Row: int1(int64(kind))}})
	}
}

// fill makes a row in each of the partitions for each of the sort keys, and returns them in order.
func (e *env) fill(parts, sorts []string) []backends.Entry {
	var out []backends.Entry
	for _, p := range parts {
		for _, s := range sorts {
			entry := backends.Entry{Key: e.key(p, s), Row: int1(int64(len(out) + 1))}
			e.put(entry.Key, entry.Row)
			out = append(out, entry)
		}
	}
	slices.SortFunc(out, byKey)
	return out
}

func byKey(a, b backends.Entry) int {
	if c := strings.Compare(a.Key.Part, b.Key.Part); c != 0 {
		return c
	}
	return strings.Compare(a.Key.Sort, b.Key.Sort)
}

func only(all []backends.Entry, keep func(k backends.Key) bool) []backends.Entry {
	return slices.DeleteFunc(slices.Clone(all), func(e backends.Entry) bool { return !keep(e.Key) })
}

func reversed(all []backends.Entry) []backends.Entry {
	out := slices.Clone(all)
	slices.Reverse(out)
	return out
}

// pages reads all of a range, limit entries at a time.
func (e *env) pages(r backends.Range, scan bool, limit int) []backends.Entry {
	e.Helper()
	r.Limit = limit
	read := e.store.Query
	if scan {
		read = e.store.Scan
	}
	var out []backends.Entry
	for {
		page, err := read(e.ctx(), r)
		if err != nil {
			e.Fatalf("%s: %v", showRange(r, scan), err)
		}
		if len(page) > limit {
			e.Fatalf("%s: %d entries, more than the limit", showRange(r, scan), len(page))
		}
		out = append(out, page...)
		if len(page) < limit {
			return out
		}
		r.After = page[len(page)-1].Key
	}
}

// wantPages checks what a range holds, read in pages of several sizes.
func (e *env) wantPages(r backends.Range, scan bool, want []backends.Entry) {
	e.Helper()
	for _, limit := range []int{1, 2, 3, len(want), len(want) + 1, 1000} {
		if limit == 0 {
			continue
		}
		if got := e.pages(r, scan, limit); !sameEntries(got, want) {
			e.Fatalf("%s in pages of %d:%s\nwant:%s", showRange(r, scan), limit, showEntries(got), showEntries(want))
		}
	}
}

// neighbours are partitions that an adapter may take for one another.
var neighbours = []string{"p", "p\x00", "p\x00\x01", "p\x01", "p/", "pp", "p\xff", "q", ""}

func testQuery(_ *testing.T, e *env) {
	all := e.fill(neighbours, nasty)
	for _, p := range neighbours {
		k := e.key(p, "")
		want := only(all, func(o backends.Key) bool { return o.Part == k.Part })
		e.wantPages(backends.Range{Kind: k.Kind, Part: k.Part}, false, want)
		e.wantPages(backends.Range{Kind: k.Kind, Part: k.Part, Descending: true}, false, reversed(want))
	}
	e.wantPages(backends.Range{Kind: backends.KindCell, Part: e.space + "nothing"}, false, nil)
}

func testQueryPrefix(_ *testing.T, e *env) {
	all := e.fill([]string{"p", "p\x00", "pp"}, nasty)
	k := e.key("p", "")
	for _, prefix := range nasty {
		want := only(all, func(o backends.Key) bool { return o.Part == k.Part && strings.HasPrefix(o.Sort, prefix) })
		r := backends.Range{Kind: k.Kind, Part: k.Part, Prefix: prefix}
		e.wantPages(r, false, want)
		r.Descending = true
		e.wantPages(r, false, reversed(want))
	}
}

func testScan(_ *testing.T, e *env) {
	sorts := []string{"", "\x00", "a", "\xff"}
	all := e.fill(nasty, sorts)
	for _, prefix := range nasty {
		want := only(all, func(o backends.Key) bool { return strings.HasPrefix(o.Part, e.space+prefix) })
		e.wantPages(backends.Range{Kind: backends.KindCell, Part: e.space + prefix}, true, want)
	}
	e.wantPages(backends.Range{Kind: backends.KindCell, Part: e.space + "nothing"}, true, nil)
}

func testProjection(t *testing.T, e *env) {
	k := e.key("projection", "row")
	row := backends.Row{
		{Name: "#1", Value: backends.String("one")},
		{Name: "a", Value: backends.Int(1)},
		{Name: "b", Value: backends.String("x")},
	}
	e.put(k, row)
	for _, c := range []struct {
		fields []string
		want   backends.Row
	}{
		{nil, row},
		{[]string{}, backends.Row{}},
		{[]string{"none"}, backends.Row{}},
		{[]string{"b", "#1", "none"}, backends.Row{row[0], row[2]}},
	} {
		t.Run(fmt.Sprintf("%q", c.fields), func(*testing.T) {
			r := backends.Range{Kind: k.Kind, Part: k.Part, Fields: c.fields}
			e.wantPages(r, false, []backends.Entry{{Key: k, Row: c.want}})
			e.wantPages(r, true, []backends.Entry{{Key: k, Row: c.want}})
		})
	}
}

// testPageAfterDeleted tests that After is a place in the order, not a row: pages go on though it was deleted.
func testPageAfterDeleted(t *testing.T, e *env) {
	all := e.fill([]string{"p"}, []string{"a", "b", "c"})
	after := all[1].Key
	e.apply(backends.Update{Key: after, Delete: true})
	for _, c := range []struct {
		r    backends.Range
		scan bool
		want backends.Entry
	}{
		{backends.Range{}, false, all[2]},
		{backends.Range{}, true, all[2]},
		{backends.Range{Descending: true}, false, all[0]},
	} {
		c.r.Kind, c.r.Part, c.r.After = after.Kind, after.Part, after
		if got := e.pages(c.r, c.scan, 5); !sameEntries(got, []backends.Entry{c.want}) {
			t.Errorf("%s:%s\nwant %s", showRange(c.r, c.scan), showEntries(got), c.want.Key)
		}
	}
}

func testBadPages(t *testing.T, e *env) {
	for _, limit := range []int{0, -1} {
		r := backends.Range{Kind: backends.KindCell, Part: e.space, Limit: limit}
		if _, err := e.store.Query(e.ctx(), r); err == nil {
			t.Errorf("Query with limit %d: no error", limit)
		}
		if _, err := e.store.Scan(e.ctx(), r); err == nil {
			t.Errorf("Scan with limit %d: no error", limit)
		}
	}
	r := backends.Range{Kind: backends.KindCell, Part: e.space, Limit: 1, Descending: true}
	if _, err := e.store.Scan(e.ctx(), r); err == nil {
		t.Error("Scan downwards: no error")
	}
}
