package daal_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/faultstore"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/backends/pebble"
	"github.com/beldi/beldi/daal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ctx  = context.Background()
	room = daal.Address{Service: "hotel", Table: "rooms", Key: "101"}
)

// stores makes an empty store for each way in which logged cells can lie.
var stores = map[string]func(t *testing.T) backends.Store{
	"entries": func(*testing.T) backends.Store { return memory.New(memory.Options{Scope: backends.ScopePartition}) },
	"rows": func(*testing.T) backends.Store {
		return memory.New(memory.Options{Scope: backends.ScopeRow, MaxTransaction: 2})
	},
	"rows over pebble": func(t *testing.T) backends.Store {
		s, err := pebble.Open(pebble.Options{Dir: t.TempDir(), NoFsync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return faultstore.Narrow(s, backends.Capabilities{Scope: backends.ScopeRow, MaxTransaction: 2})
	},
}

// each runs a test for each store.
func each(t *testing.T, test func(t *testing.T, s backends.Store)) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func cells(s backends.Store) *daal.Cells { return daal.New(s, daal.Options{RowCapacity: 2}) }

// named gives an effect its name: instance "i", the step, and a digest that depends on what it does.
func named(step string, gen daal.Generation, e daal.Effect) *daal.Effect {
	e.ID, e.Gen, e.At = daal.LogID{Instance: "i", Step: daal.Step(step)}, gen, room
	for _, b := range []byte(fmt.Sprint(e.Kind, string(e.Value.Data))) {
		e.Digest = e.Digest*31 + uint64(b)
	}
	return &e
}

func write(step string, gen daal.Generation, v string) *daal.Effect {
	return named(step, gen, daal.Effect{Kind: daal.Write, Value: daal.JSON(v)})
}

func remove(step string, gen daal.Generation) *daal.Effect {
	return named(step, gen, daal.Effect{Kind: daal.Delete})
}

func condWrite(t *testing.T, step string, gen daal.Generation, v, expr string) *daal.Effect {
	p, err := daal.CompileCondition(expr)
	if err != nil {
		t.Fatal(err)
	}
	return named(step, gen, daal.Effect{Kind: daal.CondWrite, Value: daal.JSON(v), Program: p})
}

func update(t *testing.T, step string, gen daal.Generation, expr string) *daal.Effect {
	p, err := daal.CompileExpression(expr)
	if err != nil {
		t.Fatal(err)
	}
	return named(step, gen, daal.Effect{Kind: daal.Update, Program: p})
}

func count(t *testing.T, step string, gen daal.Generation) *daal.Effect {
	return update(t, step, gen, "found ? value + 1 : 1")
}

// apply applies an effect that nothing hinders.
func apply(t *testing.T, c *daal.Cells, e *daal.Effect) daal.Outcome {
	t.Helper()
	o, err := c.Apply(ctx, e)
	if err != nil {
		t.Fatalf("apply %s: %v", e.ID, err)
	}
	return o
}

// wantFenced applies an effect that the fence must refuse.
func wantFenced(t *testing.T, c *daal.Cells, e *daal.Effect, fence daal.Generation, why string) {
	t.Helper()
	var fenced *daal.Fenced
	if o, err := c.Apply(ctx, e); !errors.As(err, &fenced) || fenced.Fence != fence {
		t.Fatalf("%s: got outcome %+v, error %v; want fenced at %d", why, o, err, fence)
	}
}

func wantValue(t *testing.T, c *daal.Cells, want string) {
	t.Helper()
	v, found, err := c.Read(ctx, room)
	if err != nil || string(v.Data) != want || found != (want != "") {
		t.Fatalf("the cell holds %q (found %v, error %v), want %q", v.Data, found, err, want)
	}
}

func prune(t *testing.T, c *daal.Cells, fence daal.Generation, steps ...string) {
	t.Helper()
	var ids []daal.LogID
	for _, s := range steps {
		ids = append(ids, daal.LogID{Instance: "i", Step: daal.Step(s)})
	}
	if done, err := c.Prune(ctx, room, ids, fence); err != nil || !done {
		t.Fatalf("prune: %v, %v", done, err)
	}
}
