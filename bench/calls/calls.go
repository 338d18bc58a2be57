// Package calls counts what steps ask of the store. The calls are counted between the runtime and an in-memory store that is atomic in
// one row only, as DynamoDB is, so that no call is saved by putting several into a batch; the batches of the embedded store apart.
//
// The cost of a step is a difference: what an instance with the step asks, less what the same instance asks without it. What the
// instance costs by itself is listed by its parts.
package calls

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/faultstore"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/backends/pebble"
	"github.com/beldi/beldi/callback"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// Cost is what something costs, and what it may.
type Cost struct {
	What  string
	Calls int
	// AtMost is 0 where there is no goal.
	AtMost int
}

// program is the code of a function.
type program func(*run)

// question asks what `with` costs, less what `without` costs; both after `before` has run on the same sidecar, which fills its cache.
type question struct {
	what                  string
	before, without, with program
	// counts selects calls; nil: all.
	counts func(faultstore.Call) bool
	atMost int
}

var questions = []question{
	{"a read", nothing, write("w"), sequence(read("k"), write("w")), nil, 1},
	{"a write", nothing, write("w"), sequence(write("w"), write("k")), nil, 1},
	{"a conditional write, cell cached", update("k"), write("w"), sequence(write("w"), condWrite("k")), nil, 1},
	{"a conditional write, cell not cached", nothing, write("w"), sequence(write("w"), condWrite("k")), nil, 2},
	{"an update, cell cached", update("k"), write("w"), sequence(write("w"), update("k")), nil, 1},
	{"an update, cell not cached", nothing, write("w"), sequence(write("w"), update("k")), nil, 2},
	{"ten reads, then a write", nothing, read("k"), sequence(repeat(11, read), write("k")), cells, 11},
	{"an invoke in one realm: registration and done", nothing, write("w"), sequence(write("w"), invoke), records, 2},
	{"an invoke in one realm: fence read for the callee", nothing, write("w"), sequence(write("w"), invoke), fences, 1},
	{"an invoke in one realm: index of open instances, in and out", nothing, write("w"), sequence(write("w"), invoke), index, 2},
	{"ten reads, recorded, and replayed once", nothing, replayed(condWrite("w")),
		replayed(sequence(repeat(10, read), condWrite("w"))), cells, 10},
	{"ten writes, covered, and replayed once", nothing, replayed(sequence(condWrite("v"), read("x"), condWrite("w"))),
		replayed(sequence(repeat(10, write), condWrite("v"), read("x"), condWrite("w"))), cells, 10},
	{"an instance with one write: registration, admitted, done", nothing, nil, write("w"), instances, 3},
	{"an instance with one write: fence read", nothing, nil, write("w"), fences, 1},
	{"an instance with one write: index of open instances, in and out", nothing, nil, write("w"), index, 2},
	{"an instance with one write: the write", nothing, nil, write("w"), cells, 1},
	{"an instance without effect: registration, done", nothing, nil, repeat(3, read), instances, 2},
}

func touches(kind backends.Kind) func(faultstore.Call) bool {
	return func(c faultstore.Call) bool { return c.Touches(kind) }
}

var (
	cells     = touches(backends.KindCell)
	instances = touches(backends.KindInstance)
	fences    = touches(backends.KindFence)
	index     = touches(backends.KindOpen)
	// records are writes of instance rows and journals. A caller whose callee has ended before it waits also reads them.
	records = func(c faultstore.Call) bool { return c.Method == faultstore.Apply && instances(c) }
)

// Measure counts the calls of steps and instances, and the synced batches of ten writes on the embedded store.
func Measure(ctx context.Context) (costs []Cost, err error) {
	open := func() (backends.Store, error) {
		return memory.New(memory.Options{Scope: backends.ScopeRow, MaxTransaction: 100}), nil
	}
	for _, q := range questions {
		n, err := q.answer(ctx, open)
		if err != nil {
			return nil, fmt.Errorf("count the calls of %s: %w", q.what, err)
		}
		costs = append(costs, Cost{q.what, n, q.atMost})
	}
	dir, err := os.MkdirTemp("", "beldi-calls")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var opened int
	open = func() (backends.Store, error) {
		opened++
		return pebble.Open(pebble.Options{Dir: fmt.Sprint(dir, "/", opened)})
	}
	batches := question{before: nothing, with: repeat(10, write), counts: func(c faultstore.Call) bool { return c.Method == faultstore.Apply }}
	n, err := batches.answer(ctx, open)
	return append(costs, Cost{"ten writes then return on the embedded store: synced batches in all", n, 3}), err
}

func (q *question) answer(ctx context.Context, open func() (backends.Store, error)) (int, error) {
	with, err := count(ctx, open, q.counts, q.before, q.with)
	if err != nil || q.without == nil {
		return with, err
	}
	without, err := count(ctx, open, q.counts, q.before, q.without)
	return with - without, err
}

// count runs programs, each as an instance, on a fresh sidecar, and returns what the last asked of the store.
func count(ctx context.Context, open func() (backends.Store, error), counts func(faultstore.Call) bool, programs ...program) (int, error) {
	inner, err := open()
	if err != nil {
		return 0, err
	}
	var n atomic.Int64
	store := faultstore.Wrap(inner, func(c faultstore.Call) faultstore.Fault {
		if counts == nil || counts(c) {
			n.Add(1)
		}
		return faultstore.Fault{}
	})
	before, after := int64(0), int64(0)
	err = play(ctx, store, programs, func() error {
		if err := settle(ctx, inner); err != nil {
			return err
		}
		before, after = after, n.Load()
		return nil
	})
	return int(after - before), errors.Join(err, store.Close())
}

// settle waits until no instance is open: the index is brought up to date a moment after the result is known.
func settle(ctx context.Context, s backends.Store) error {
	for {
		open, err := s.Scan(ctx, backends.Range{Kind: backends.KindOpen, Limit: 1})
		if err != nil || len(open) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// play runs programs one after another on a runtime without background work, and calls `ended` after each.
func play(ctx context.Context, store backends.Store, programs []program, ended func() error) error {
	local := &callback.Local{}
	runtime, err := intent.New(store, intent.Options{Invoker: local})
	if err != nil {
		return err
	}
	local.Bind(runtime)
	w := &worker{programs: map[string]program{"callee": nothing}, runs: make(map[*intent.Attempt]*run)}
	names := []string{"callee"}
	for i, p := range programs {
		name := "f" + strconv.Itoa(i)
		w.programs[name] = p
		names = append(names, name)
	}
	if _, err := runtime.Attach("s", names, 0, w); err != nil {
		return err
	}
	for _, name := range names[1:] {
		result, err := runtime.Invoke(ctx, intent.Request{
			ID: daal.InstanceID("i" + name), Function: intent.Function{Service: "s", Name: name}, Input: daal.JSON("null"), Fresh: true})
		if err == nil {
			err = result.Err()
		}
		if err == nil {
			err = ended()
		}
		if err != nil {
			return errors.Join(err, runtime.Close())
		}
	}
	return runtime.Close()
}

// worker is an intent.Worker in this process.
type worker struct {
	programs map[string]program

	mu   sync.Mutex
	runs map[*intent.Attempt]*run
}

func (w *worker) Run(a *intent.Attempt) {
	r := &run{attempt: a, answers: make(map[daal.Step]chan intent.Outcome)}
	w.mu.Lock()
	w.runs[a] = r
	w.mu.Unlock()
	go func() {
		w.programs[a.Function.Name](r)
		end := intent.Op{Kind: intent.OpComplete, Value: daal.JSON("null")}
		if r.crash {
			end = intent.Op{Kind: intent.OpCrash, Message: "on purpose"}
		}
		r.pending = append(r.pending, intent.StepRequest{Op: end})
		r.flush()
	}()
}

func (w *worker) Answer(a *intent.Attempt, step daal.Step, o intent.Outcome) {
	w.mu.Lock()
	r := w.runs[a]
	w.mu.Unlock()
	r.mu.Lock()
	waits := r.answers[step]
	r.mu.Unlock()
	if waits != nil {
		waits <- o
	}
}

func (w *worker) Cancel(*intent.Attempt, error) {}
