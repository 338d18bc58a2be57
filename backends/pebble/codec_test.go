package pebble

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/beldi/beldi/backends"
)

var sampleRows = []backends.Row{
	{},
	{{Name: "n", Value: backends.Int(0)}},
	{{Name: "", Value: backends.Bytes(nil)}, {Name: "\x00", Value: backends.Int(math.MinInt64)}},
	{
		{Name: "#0199-1", Value: backends.String("ok")}, {Name: "rev", Value: backends.Int(math.MaxInt64)},
		{Name: "value", Value: backends.Bytes(bytes.Repeat([]byte{0xFF}, 300))},
	},
}

func sameRow(a, b backends.Row) bool {
	same := a.Exists() == b.Exists() && len(a) == len(b)
	for i := 0; same && i < len(a); i++ {
		same = a[i].Name == b[i].Name && a[i].Value.Equal(b[i].Value)
	}
	return same
}

func TestRowRoundTrip(t *testing.T) {
	for _, row := range sampleRows {
		b := appendRow(nil, row)
		if n := rowSize(row); n < len(b)/2 || n > 2*len(b)+16*len(row)+16 {
			t.Errorf("the size of %v is %d, about %d expected", row, len(b), n)
		}
		got, err := decodeRow(b)
		if err != nil || !sameRow(got, row) {
			t.Errorf("%v became %v, %v", row, got, err)
		}
		for i := range b {
			if got, err := decodeRow(b[:i]); err == nil {
				t.Errorf("the first %d bytes of %x were read as %v", i, b, got)
			}
		}
		if got, err := decodeRow(append(b, 0)); !errors.Is(err, errRow) {
			t.Errorf("%x with a byte behind it was read as %v, %v", b, got, err)
		}
	}
	if _, err := decodeRow([]byte{rowVersion + 1, 0, 0}); !errors.Is(err, errRow) {
		t.Errorf("a row of a later version: %v", err)
	}
}

// TestDecodedRowIsACopy: pebble takes its buffer back.
func TestDecodedRowIsACopy(t *testing.T) {
	b := appendRow(nil, sampleRows[3])
	got, err := decodeRow(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !sameRow(got, sampleRows[3]) {
		t.Errorf("the row changed with the buffer: %v", got)
	}
}

// FuzzDecodeRow: hostile bytes are refused or are a proper row: names rise, and it is written and read as itself.
func FuzzDecodeRow(f *testing.F) {
	for _, row := range sampleRows {
		f.Add(appendRow(nil, row))
	}
	f.Add([]byte{rowVersion, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		row, err := decodeRow(b)
		if err != nil {
			return
		}
		for i := 1; i < len(row); i++ {
			if row[i-1].Name >= row[i].Name {
				t.Errorf("names do not rise: %q, %q", row[i-1].Name, row[i].Name)
			}
		}
		if again, err := decodeRow(appendRow(nil, row)); err != nil || !sameRow(again, row) {
			t.Errorf("%v became %v, %v", row, again, err)
		}
	})
}

func FuzzRowRoundTrip(f *testing.F) {
	f.Add("a", int64(1), "b", []byte("x"))
	f.Add("", int64(math.MinInt64), "\x00", []byte(nil))
	f.Fuzz(func(t *testing.T, n1 string, i int64, n2 string, b []byte) {
		u := backends.Update{Do: []backends.Change{{Field: n1, Set: backends.Int(i)}, {Field: n2, Set: backends.Bytes(b)}}}
		row := backends.ApplyChanges(nil, &u)
		if got, err := decodeRow(appendRow(nil, row)); err != nil || !sameRow(got, row) {
			t.Errorf("%v became %v, %v", row, got, err)
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add("a", "b", "a\x00", "")
	f.Add("", "", "\xff\xff", "\x00\x01")
	f.Fuzz(func(t *testing.T, p1, s1, p2, s2 string) {
		a := backends.Key{Kind: backends.KindCell, Part: p1, Sort: s1}
		b := backends.Key{Kind: backends.KindCell, Part: p2, Sort: s2}
		ea, eb := encodeKey(a), encodeKey(b)
		if got, err := decodeKey(ea); err != nil || got != a {
			t.Errorf("%s became %s, %v", a, got, err)
		}
		want := strings.Compare(p1, p2)
		if want == 0 {
			want = strings.Compare(s1, s2)
		}
		if got := bytes.Compare(ea, eb); got != want {
			t.Errorf("%s and %s compare %d on disk, want %d", a, b, got, want)
		}
		for _, c := range []struct {
			name   string
			bounds func(backends.Range) (lo, hi []byte)
			r      backends.Range
			within bool
		}{
			{"query", queryBounds, backends.Range{Kind: a.Kind, Part: p1, Prefix: s1}, p2 == p1 && strings.HasPrefix(s2, s1)},
			{"scan", scanBounds, backends.Range{Kind: a.Kind, Part: p1}, strings.HasPrefix(p2, p1)},
			{"other kind", scanBounds, backends.Range{Kind: a.Kind + 1, Part: p1}, false},
		} {
			lo, hi := c.bounds(c.r)
			if got := bytes.Compare(lo, eb) <= 0 && bytes.Compare(eb, hi) < 0; got != c.within {
				t.Errorf("%s %v: %s within: %t, want %t", c.name, c.r, b, got, c.within)
			}
		}
	})
}

// FuzzDecodeKey: hostile bytes are refused, or are the key's own.
func FuzzDecodeKey(f *testing.F) {
	f.Add([]byte("\x01a\x00\xffb\x00\x01sort"))
	f.Add([]byte("\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := decodeKey(b); err == nil && !bytes.Equal(encodeKey(k), b) {
			t.Errorf("%q was read as %s, which is written %q", b, k, encodeKey(k))
		}
	})
}
