package intent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
)

// Invoker names callees, runs them and waits for them (package callback).
type Invoker interface {
	// Callee returns the id of the instance that a step of the caller, in this life of it, invokes: always the same.
	Callee(caller daal.InstanceID, life uint64, step daal.Step) daal.InstanceID
	// Launch runs a callee that is registered.
	Launch(g *Registration)
	// Result waits for an instance to end. ErrNoSuchInstance if it is not in the store.
	Result(ctx context.Context, id daal.InstanceID) (Result, error)
}

// Options of a Runtime. The zero value works, but for Invoker.
type Options struct {
	Invoker Invoker
	// Lease is how long this sidecar may be silent before others take over its instances. Default 10 s.
	Lease time.Duration
	// AttemptTimeout is how long a function may compute between two steps. Default 5 min.
	AttemptTimeout time.Duration
	// MaxAttempts is how many times a function may crash before its instance is parked. Default 10.
	MaxAttempts int
	// RetryMin and RetryMax bound the pause after a crash, which doubles each time. Default 100 ms and 10 s.
	RetryMin, RetryMax time.Duration
	// RegisterAfter: an instance that has no effect for so long is registered all the same, so that it shows and survives. Default 100 ms.
	RegisterAfter time.Duration
	// MaxInstances bounds the instances under way here; requests from outside over it are ErrOverloaded. Default 20,000.
	MaxInstances int
	Daal         daal.Options
	Tracer       trace.Tracer
	// Now and Random replace the clock and the random source (simulation).
	Now    func() time.Time
	Random func() uint64
}

func (o *Options) defaults() error {
	if o.Invoker == nil {
		return errors.New("intent: Options.Invoker is missing")
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"Lease", &o.Lease, 10 * time.Second}, {"AttemptTimeout", &o.AttemptTimeout, 5 * time.Minute},
		{"RetryMin", &o.RetryMin, 100 * time.Millisecond}, {"RetryMax", &o.RetryMax, 10 * time.Second},
		{"RegisterAfter", &o.RegisterAfter, 100 * time.Millisecond},
	} {
		if *d.value < 0 {
			return fmt.Errorf("intent: Options.%s is %s, must not be negative", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if o.MaxAttempts < 0 {
		return fmt.Errorf("intent: Options.MaxAttempts is %d, must not be negative", o.MaxAttempts)
	}
	if o.MaxAttempts == 0 {
		o.MaxAttempts = 10
	}
	if o.MaxInstances < 0 {
		return fmt.Errorf("intent: Options.MaxInstances is %d, must not be negative", o.MaxInstances)
	}
	if o.MaxInstances == 0 {
		o.MaxInstances = 20_000
	}
	if o.Tracer == nil {
		o.Tracer = otel.Tracer("beldi")
	}
	if o.Now == nil {
		o.Now = systemClock
	}
	if o.Random == nil {
		o.Random = new(entropy).next
	}
	return nil
}

// Runtime runs instances over a store.
type Runtime struct {
	store backends.Store
	cells *daal.Cells
	o     Options
	clock hlc
	// incarnation names this run of this sidecar: it owns instances, its liveness row is their lease.
	incarnation string

	ctx    context.Context
	cancel context.CancelCauseFunc
	tasks  tasks

	mu        sync.Mutex
	instances map[daal.InstanceID]*instance
	functions map[Function]*functionQueue
	draining  bool
	ended     endedRing
}

// New makes a Runtime. It does no I/O: Run starts the background work.
func New(store backends.Store, o Options) (*Runtime, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	r := &Runtime{
		store: store, cells: daal.New(store, o.Daal), o: o, clock: hlc{now: o.Now},
		instances: map[daal.InstanceID]*instance{}, functions: map[Function]*functionQueue{},
	}
	r.incarnation = newUUID(o.Random(), o.Random())
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	return r, nil
}

// Cells gives operators' tools the cells.
func (r *Runtime) Cells() *daal.Cells { return r.cells }

func (r *Runtime) random() uint64 { return r.o.Random() }

// tasks counts goroutines, so that Close can wait for them.
type tasks struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // closed when closed and n is 0
}

// spawn runs f in a goroutine that Close waits for; not at all once the runtime is closed.
func (r *Runtime) spawn(f func()) {
	t := &r.tasks
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.n++
	t.mu.Unlock()
	go func() {
		defer t.done()
		f()
	}()
}

func (t *tasks) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.closed && t.n == 0 {
		close(t.idle)
	}
}

// Close stops all attempts and waits until nothing of the runtime runs. What was under way is taken up by the next sidecar.
func (r *Runtime) Close() error {
	r.cancel(ErrClosing)
	t := &r.tasks
	t.mu.Lock()
	already := t.closed
	if !already {
		t.closed, t.idle = true, make(chan struct{})
		if t.n == 0 {
			close(t.idle)
		}
	}
	idle := t.idle
	t.mu.Unlock()
	<-idle
	return nil
}

// Invoke runs an instance, or joins the one of that id, and waits for its result.
func (r *Runtime) Invoke(ctx context.Context, req Request) (Result, error) {
	for pause := r.backoff(); ; {
		i, err := r.submit(ctx, &req, false)
		if err != nil {
			return Result{}, err
		}
		result, err := i.wait(ctx)
		if !errors.Is(err, ErrNoSuchInstance) {
			return result, err
		}
		// It was joined as its row was withdrawn. A request never ends so: it is registered anew.
		if err := pause.sleep(ctx); err != nil {
			return Result{}, ErrInvokeWait
		}
	}
}

// Start makes an instance durable, and returns while it runs.
func (r *Runtime) Start(ctx context.Context, req Request) error {
	_, err := r.submit(ctx, &req, true)
	return err
}

// Await waits for the result of an instance.
func (r *Runtime) Await(ctx context.Context, id daal.InstanceID) (Result, error) {
	r.mu.Lock()
	i := r.instances[id]
	result, ended := r.ended.find(id)
	r.mu.Unlock()
	if ended {
		return result, nil
	}
	if i == nil {
		row, err := loadRow(ctx, r.store, id)
		if err != nil {
			return Result{}, fmt.Errorf("%w: %w", ErrStore, err)
		}
		if row == nil {
			return Result{}, ErrNoSuchInstance
		}
		i = r.join(row, nil)
	}
	return i.wait(ctx)
}

// submit finds or makes the instance of a request. With durable set it is in the store on return.
func (r *Runtime) submit(ctx context.Context, req *Request, durable bool) (*instance, error) {
	r.mu.Lock()
	draining, full := r.draining, len(r.instances) >= r.o.MaxInstances
	i := r.instances[req.ID]
	r.mu.Unlock()
	if draining {
		return nil, ErrClosing
	}
	if full && i == nil {
		return nil, ErrOverloaded
	}
	if i == nil && !req.Fresh {
		row, err := loadRow(ctx, r.store, req.ID)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStore, err)
		}
		if row != nil {
			if row.Function != req.Function || !bytes.Equal(row.digest, digestValue(req.Input)) {
				return nil, ErrKeyReused
			}
			i := r.join(row, req)
			if durable {
				return i, r.settle(ctx, i)
			}
			return i, nil
		}
	}
	if i == nil {
		if ok, err := r.known(ctx, req.Function); err != nil {
			return nil, err
		} else if !ok {
			return nil, &NoSuchFunction{req.Function}
		}
		fresh := r.newInstance(Registration{ID: req.ID, Function: req.Function, Input: req.Input, Created: r.o.Now(), Trace: req.Trace, CallerGen: r.clock.next(0), Life: r.random()})
		fresh.fresh, fresh.eager, fresh.request = true, durable, true
		var made bool
		if i, made = r.enter(fresh); made {
			if durable {
				if err := r.insert(ctx, i); err != nil {
					return nil, err
				}
				return i, nil
			}
			r.schedule(i)
			return i, nil
		}
	}
	if !i.take(req) {
		return nil, ErrKeyReused
	}
	if durable {
		return i, r.settle(ctx, i)
	}
	return i, nil
}

// take joins a request to the instance, if that is what it asks for. Should the instance's row be withdrawn (R11), the request is still here.
func (i *instance) take(req *Request) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	same := i.Function == req.Function
	if i.digest != nil {
		same = same && bytes.Equal(i.digest, digestValue(req.Input))
	} else {
		same = same && i.Input.Type == req.Input.Type && bytes.Equal(i.Input.Data, req.Input.Data)
	}
	if same && i.Caller == "" {
		i.Input, i.request = req.Input, true
	}
	return same
}

// enter puts an instance into the table, or returns the one that is there.
func (r *Runtime) enter(i *instance) (in *instance, made bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.instances[i.ID]; old != nil {
		return old, false
	}
	r.instances[i.ID] = i
	return i, true
}

// insert registers an instance before it runs (Start): its row, with an attempt record that its first attempt takes up. It goes on when
// the caller has left: a row that got in nevertheless would have nobody who runs it.
func (r *Runtime) insert(ctx context.Context, i *instance) error {
	var failed error
	inserted := make(chan struct{})
	r.spawn(func() {
		defer close(inserted)
		failed = r.insertNow(i)
	})
	if err := i.waitFor(ctx, inserted); err != nil {
		return err
	}
	return failed
}

func (r *Runtime) insertNow(i *instance) error {
	at, err := r.insertRow(r.ctx, i)
	for errors.Is(err, errWithdrawn) {
		at, err = r.insertRow(r.ctx, i)
	}
	switch {
	case err != nil:
		if r.ctx.Err() != nil {
			err = ErrClosing
		} else {
			err = fmt.Errorf("%w: %w", ErrStore, err)
		}
		r.end(i, Result{}, err)
		return err
	case at == tip{}: // another sidecar was faster
		r.spawn(func() { r.follow(i) })
		return nil
	}
	i.mu.Lock()
	i.fresh, i.at = false, at
	i.mu.Unlock()
	r.schedule(i)
	return nil
}

// insertRow tries once, and returns the journal's tip, or none if the instance was there before. After errWithdrawn the request has a later generation.
func (r *Runtime) insertRow(ctx context.Context, i *instance) (tip, error) {
	rec := r.firstRecord(&i.Registration)
	fused := r.cells.Layout() == daal.LayoutBare
	updates, at := appendUpdates(i.ID, tip{}, rec, &i.Registration, r.incarnation, fused)
	if fused {
		updates = append(updates, openUpdate(i.ID, true))
	} else if err := r.applyBlind(ctx, i, openUpdate(i.ID, true)); err != nil {
		return tip{}, err
	}
	err := r.appendOnce(ctx, i, updates, rec.Nonce)
	if errors.Is(err, errExists) {
		at, err = tip{}, nil
	}
	if err != nil || fused {
		return at, err
	}
	g := i.Registration
	g.at = at
	fence, err := r.admit(ctx, i, &g)
	if errors.Is(err, errWithdrawn) {
		i.mu.Lock()
		i.CallerGen = r.clock.next(fence)
		i.mu.Unlock()
	}
	return at, err
}

// settle waits until an instance that this caller did not insert is in the store to stay.
func (r *Runtime) settle(ctx context.Context, i *instance) error {
	for wait := r.backoff(); ; {
		i.mu.Lock()
		i.eager = true
		a := i.current
		i.mu.Unlock()
		row, err := loadRow(ctx, r.store, i.ID)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrStore, err)
		}
		if row != nil {
			// Who inserted it may be gone, and its row be withdrawn: it counts when it is admitted.
			if r.cells.Layout() == daal.LayoutBare {
				return nil
			}
			g := row.Registration
			g.at = row.tip
			if _, err := r.admit(ctx, i, &g); !errors.Is(err, errWithdrawn) {
				return err
			}
		}
		if err := i.inTheWay(); err != nil {
			return err
		}
		if a != nil {
			a.tell(func(m *machine) { m.eager = true })
		}
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
}

// firstRecord makes the record that registers an instance whose first attempt begins with it.
func (r *Runtime) firstRecord(g *Registration) *record {
	return &record{Kind: recAttempt, Gen: r.clock.next(0), Nonce: r.random(), Input: &g.Input}
}

// join returns the instance of a row that is not in the table: it is watched, or taken over if nobody runs it.
func (r *Runtime) join(row *instanceRow, req *Request) *instance {
	n := r.newInstance(row.Registration)
	n.digest = row.digest
	if req != nil { // should the row be withdrawn (R11), the request is still here
		n.Input, n.request = req.Input, true
	}
	i, made := r.enter(n)
	if made {
		r.spawn(func() { r.follow(i) })
	}
	return i
}

// end settles an instance: whoever waits is told, and it leaves the table.
func (r *Runtime) end(i *instance, result Result, err error) {
	r.mu.Lock()
	if r.instances[i.ID] == i {
		delete(r.instances, i.ID)
	}
	if err == nil && i.Caller != "" {
		r.ended.add(i.ID, result)
	}
	r.mu.Unlock()
	i.result, i.err = result, err
	close(i.done)
}

// callee makes the registration of an instance that a step invokes.
func (r *Runtime) callee(a *Attempt, e *effect) *Registration {
	return &Registration{
		ID: r.o.Invoker.Callee(a.Instance, a.life, e.entry.Step), Function: e.op.Target, Input: e.op.Value, Created: r.o.Now(),
		Trace: a.spans.child(a, e.entry), Caller: a.Instance, CallerStep: e.entry.Step, Life: r.random(),
	}
}

// Adopt runs an instance that is registered: at once if this sidecar has just inserted it, otherwise as whoever owns it is found to live or not.
func (r *Runtime) Adopt(g *Registration) {
	i, made := r.enter(r.newInstance(*g))
	switch {
	case !made:
	case g.at != tip{}:
		r.schedule(i)
	default:
		r.spawn(func() { r.follow(i) })
	}
}
