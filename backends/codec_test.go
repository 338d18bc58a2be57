package backends_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/beldi/beldi/backends"
)

func FuzzTuple(f *testing.F) {
	f.Add("a", "b", "a", "b")
	f.Add("a", "", "a\x00", "")
	f.Add("", "\x00\x01", "\x00", "\x01")
	f.Add("a\x00\xff", "b", "a", "\xff\x00\x01b")
	f.Fuzz(func(t *testing.T, a1, a2, b1, b2 string) {
		a, b := []string{a1, a2}, []string{b1, b2}
		ta, tb := backends.Tuple(a...), backends.Tuple(b...)
		if got, err := backends.ParseTuple(ta); err != nil || !slices.Equal(got, a) {
			t.Errorf("%q became %q, %v", a, got, err)
		}
		if got, want := strings.Compare(ta, tb), slices.Compare(a, b); got != want {
			t.Errorf("tuples of %q and %q compare %d, want %d", a, b, got, want)
		}
		if ta != tb && strings.HasPrefix(tb, ta) {
			t.Errorf("the tuple of %q begins that of %q", a, b)
		}
		want := b1 == a1 && strings.HasPrefix(b2, a2)
		if got := strings.HasPrefix(tb, backends.TuplePrefix(a2, a1)); got != want {
			t.Errorf("the prefix (%q, %q…) takes %q in: %t, want %t", a1, a2, b, got, want)
		}
	})
}

func TestTupleOfNothing(t *testing.T) {
	if got := backends.Tuple(); got != "" {
		t.Errorf("Tuple() = %q", got)
	}
	if got, err := backends.ParseTuple(""); len(got) != 0 || err != nil {
		t.Errorf("ParseTuple of nothing: %q, %v", got, err)
	}
}

// FuzzParseTuple: what is not refused is what Tuple makes.
func FuzzParseTuple(f *testing.F) {
	for _, s := range []string{"", "a", "a\x00", "a\x00\x01", "a\x00\x02", "\x00\xff\x00\x01", "a\x00\x01b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parts, err := backends.ParseTuple(s)
		if err != nil {
			if !errors.Is(err, backends.ErrNotTuple) {
				t.Errorf("ParseTuple(%q): %v", s, err)
			}
			return
		}
		if got := backends.Tuple(parts...); got != s {
			t.Errorf("%q was read as %q, which is written %q", s, parts, got)
		}
	})
}
