package callback_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/beldi/beldi/callback"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// K1: the same step of the same life of the same caller names the same callee, and any other another one, however alike their parts are when put together.
func TestCalleeIDs(t *testing.T) {
	var l callback.Local
	text := rapid.StringOfN(rapid.SampledFrom([]rune{'a', '1', '/', 0, 1}), 0, 4, -1)
	rapid.Check(t, func(t *rapid.T) {
		type name struct {
			caller daal.InstanceID
			life   uint64
			step   daal.Step
		}
		draw := func() name {
			return name{daal.InstanceID(text.Draw(t, "caller")), rapid.Uint64Range(0, 20).Draw(t, "life"), daal.Step(text.Draw(t, "step"))}
		}
		a, b := draw(), draw()
		ida, idb := l.Callee(a.caller, a.life, a.step), l.Callee(b.caller, b.life, b.step)
		if (a == b) != (ida == idb) {
			t.Fatalf("%+v is %s, %+v is %s", a, ida, b, idb)
		}
		if len(ida) != 27 || ida[0] != 'c' {
			t.Fatalf("id %q", ida)
		}
	})
}

// runner notes what it is asked.
type runner struct {
	adopted []*intent.Registration
	results map[daal.InstanceID]intent.Result
}

func (r *runner) Adopt(g *intent.Registration) { r.adopted = append(r.adopted, g) }

func (r *runner) Await(_ context.Context, id daal.InstanceID) (intent.Result, error) {
	result, ok := r.results[id]
	if !ok {
		return result, intent.ErrNoSuchInstance
	}
	return result, nil
}

// K2: results come from the runner that was bound, again and again; what it does not know, no one does.
func TestResults(t *testing.T) {
	var l callback.Local
	r := &runner{results: map[daal.InstanceID]intent.Result{"c1": {Value: daal.JSON("5")}}}
	l.Bind(r)
	l.Launch(&intent.Registration{ID: "c1"})
	if len(r.adopted) != 1 || r.adopted[0].ID != "c1" {
		t.Errorf("launched %+v", r.adopted)
	}
	for range 2 {
		if got, err := l.Result(t.Context(), "c1"); err != nil || string(got.Value.Data) != "5" {
			t.Errorf("result %s, %v", got.Value.Data, err)
		}
	}
	if _, err := l.Result(t.Context(), "c2"); !errors.Is(err, intent.ErrNoSuchInstance) {
		t.Errorf("unknown callee: %v", err)
	}
}
