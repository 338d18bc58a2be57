package daal_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
)

// put stores a value under a key, in several rows if the layout has them.
func put(t interface{ Fatalf(string, ...any) }, c *daal.Cells, table, key, value string, writes int, step ...string) {
	for i := range writes {
		e := daal.Effect{
			ID: daal.LogID{Instance: "i", Step: daal.Step(fmt.Sprint(key, i, step))}, Gen: 10, Kind: daal.Write, Value: daal.JSON(value),
			At: daal.Address{Service: "hotel", Table: table, Key: key},
		}
		if _, err := c.Apply(ctx, &e); err != nil {
			t.Fatalf("write %q: %v", key, err)
		}
	}
}

// pages lists a table page by page.
func pages(t interface{ Fatalf(string, ...any) }, c *daal.Cells, table, prefix string, limit int) []string {
	var keys []string
	for after := ""; ; {
		list, next, err := c.List(ctx, "hotel", table, prefix, after, limit, true)
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		if len(list) > limit {
			t.Fatalf("a page of %d with limit %d", len(list), limit)
		}
		for _, l := range list {
			keys = append(keys, l.Address.Key+"="+string(l.Value.Data))
		}
		if next == "" {
			return keys
		}
		after = next
	}
}

// D5, D6: a listing shows each cell once, with its tail's value, whatever rows it has and wherever pages end; deleted ones not at all.
func TestList(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		c := cells(s)
		for i := range 7 {
			put(t, c, "rooms", fmt.Sprint("k", i), fmt.Sprint(i), 1+3*(i%3))
		}
		put(t, c, "roomservice", "k1", "9", 1)
		e := remove("gone", 10)
		e.At.Key = "k4"
		apply(t, c, e)
		want := "[k0=0 k1=1 k2=2 k3=3 k5=5 k6=6]"
		for limit := 1; limit <= 8; limit++ {
			if got := fmt.Sprint(pages(t, c, "rooms", "", limit)); got != want {
				t.Errorf("limit %d: %s, want %s", limit, got, want)
			}
		}
		if got := pages(t, c, "rooms", "k1", 5); fmt.Sprint(got) != "[k1=1]" {
			t.Errorf("with a prefix: %v", got)
		}
		if got := pages(t, c, "none", "", 5); got != nil {
			t.Errorf("an unknown table: %v", got)
		}
	})
}

// H27: keys are any bytes, and no two cells meet, however alike their names are when put together.
func TestNastyKeys(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := open(t)
				defer s.Close()
				c := cells(s)
				part := rapid.StringOfN(rapid.SampledFrom([]rune{'a', 0, 1, 0xff, '/', '#', 'e', 0x10ffff}), 1, 4, -1)
				want := map[[2]string]string{}
				for i := range rapid.IntRange(1, 12).Draw(rt, "cells") {
					k := [2]string{part.Draw(rt, "table"), part.Draw(rt, "key")}
					want[k] = fmt.Sprint(i)
					put(rt, c, k[0], k[1], want[k], 1, fmt.Sprint(i))
				}
				tables := map[string][]string{}
				for k, v := range want {
					got, found, err := c.Read(ctx, daal.Address{Service: "hotel", Table: k[0], Key: k[1]})
					if err != nil || !found || string(got.Data) != v {
						rt.Fatalf("%q holds %s (%v, %v), want %s", k, got.Data, found, err, v)
					}
					tables[k[0]] = append(tables[k[0]], k[1]+"="+v)
				}
				for table, keys := range tables {
					got := pages(rt, c, table, "", 2)
					slices.SortFunc(keys, func(a, b string) int {
						return strings.Compare(a[:strings.LastIndex(a, "=")], b[:strings.LastIndex(b, "=")])
					})
					if !slices.Equal(got, keys) {
						rt.Fatalf("table %q lists %q, want %q", table, got, keys)
					}
				}
			})
		})
	}
}
