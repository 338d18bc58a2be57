package backends_test

import (
	"fmt"
	"testing"

	"github.com/beldi/beldi/backends"
)

func TestApplyChanges(t *testing.T) {
	before := backends.Row{{Name: "b", Value: backends.String("x")}, {Name: "n", Value: backends.Int(5)}}
	for name, c := range map[string]struct {
		row  backends.Row
		u    backends.Update
		want backends.Row
	}{
		"delete":            {before, backends.Update{Delete: true}, nil},
		"delete nothing":    {nil, backends.Update{Delete: true}, nil},
		"only check":        {before, backends.Update{}, before},
		"only check no row": {nil, backends.Update{}, nil},
		"make an empty row": {nil, do(backends.Change{Field: "b"}), backends.Row{}},
		"add":               {before, do(backends.Change{Field: "n", Add: -7}), backends.Row{before[0], field("n", -2)}},
		"add to none":       {nil, do(backends.Change{Field: "n", Add: 3}), backends.Row{field("n", 3)}},
		"remove":            {before, do(backends.Change{Field: "b"}), backends.Row{before[1]}},
		"remove last":       {before, do(backends.Change{Field: "n"}), backends.Row{before[0]}},
		"replace":           {before, do(backends.Change{Field: "b", Set: backends.Int(1)}), backends.Row{field("b", 1), before[1]}},
		"insert": {
			before,
			do(backends.Change{Field: "z", Set: backends.Int(3)}, backends.Change{Field: "a", Set: backends.Int(1)},
				backends.Change{Field: "m", Set: backends.Int(2)}),
			backends.Row{field("a", 1), before[0], field("m", 2), before[1], field("z", 3)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			was := fmt.Sprint(c.row)
			got := backends.ApplyChanges(c.row, &c.u)
			if got.Exists() != c.want.Exists() || fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if fmt.Sprint(c.row) != was { // rows are shared
				t.Errorf("it changed the row that it was given: %v, was %s", c.row, was)
			}
		})
	}
}

func do(changes ...backends.Change) backends.Update { return backends.Update{Do: changes} }

func field(name string, n int64) backends.Field {
	return backends.Field{Name: name, Value: backends.Int(n)}
}

func TestFits(t *testing.T) {
	at := func(part, sort string) backends.Update {
		return backends.Update{Key: backends.Key{Kind: backends.KindCell, Part: part, Sort: sort}}
	}
	one := []backends.Update{at("p", "1")}
	sameRow := []backends.Update{at("p", "1"), at("p", "1")}
	samePart := []backends.Update{at("p", "1"), at("p", "2")}
	otherPart := []backends.Update{at("p", "1"), at("q", "1")}
	three := []backends.Update{at("p", "1"), at("q", "1"), at("r", "1")}
	otherKind := []backends.Update{at("p", "1"), {Key: backends.Key{Kind: backends.KindOpen, Part: "p", Sort: "1"}}}

	row0 := backends.Capabilities{Scope: backends.ScopeRow}
	row2 := backends.Capabilities{Scope: backends.ScopeRow, MaxTransaction: 2}
	part := backends.Capabilities{Scope: backends.ScopePartition}
	all := backends.Capabilities{Scope: backends.ScopeStore}
	for _, c := range []struct {
		caps  backends.Capabilities
		name  string
		batch []backends.Update
		want  bool
	}{
		{row0, "nothing", nil, true},
		{row0, "one", one, true},
		{row0, "same partition", samePart, false},
		{row2, "same row", sameRow, false},
		{row2, "same partition", samePart, true},
		{row2, "other partition", otherPart, true},
		{row2, "three", three, false},
		{part, "same row", sameRow, true},
		{part, "same partition", samePart, true},
		{part, "other partition", otherPart, false},
		{part, "other kind", otherKind, false},
		{all, "same row", sameRow, true},
		{all, "three", three, true},
	} {
		if got := c.caps.Fits(c.batch); got != c.want {
			t.Errorf("%s scope, transactions of %d: %s fits: %t, want %t", c.caps.Scope, c.caps.MaxTransaction, c.name, got, c.want)
		}
	}
}
