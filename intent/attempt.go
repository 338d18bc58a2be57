package intent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/beldi/beldi/daal"
)

// Attempt is one run of a function's code for an instance. Its worker runs the code and submits its steps; a machine decides, and this shell does the
// machine's I/O.
type Attempt struct {
	Instance    daal.InstanceID
	Function    Function
	Input       daal.Value
	Number      int
	Traceparent string
	// Quiet is for the worker to set in Run: Write, Delete and EndRecord are answered only if they are refused.
	Quiet bool

	rt     *Runtime
	inst   *instance
	at     *Attachment
	ctx    context.Context
	cancel context.CancelCauseFunc
	spans  spans
	// crashes of the instance when the attempt began.
	crashes int
	life    uint64
	// settled stops the timer that registers an instance without effects.
	settled func()

	mu         sync.Mutex
	m          *machine
	out        []action
	delivering bool
	ended      bool
	ran        bool      // the worker knows it
	active     time.Time // when the function was last heard of
	owing      int       // steps that it waits for
}

// crashed: the function raised something that nobody caught.
type crashed struct{ message, trace string }

func (e *crashed) Error() string { return "the function crashed: " + e.message }

// Submit takes steps of the function, in order and together: what they lead to is decided once. It keeps the slice. It never blocks; answers go to
// the worker, possibly before Submit returns.
func (a *Attempt) Submit(steps []StepRequest) {
	now := a.rt.o.Now()
	a.mu.Lock()
	a.active = now
	a.m.quiet = a.Quiet && a.spans.span == nil // a trace shows writes, too
	for i := range steps {
		if kind := steps[i].Op.Kind; kind < OpComplete && !a.m.over {
			if !a.m.quiet || kind != OpWrite && kind != OpDelete && kind != OpEndRecord {
				a.owing++
			}
			a.spans.begin(steps[i].Step, now)
		}
		a.m.step(&steps[i], a.draw)
	}
	a.m.plan()
	a.pump()
}

// draw gives the values of steps that ask for time or chance.
func (a *Attempt) draw(kind OpKind) daal.Value {
	switch kind {
	case OpNow:
		return daal.JSON(`"` + a.rt.o.Now().UTC().Format(time.RFC3339Nano) + `"`)
	case OpRandom:
		return daal.JSON(strconv.FormatFloat(float64(a.rt.random()>>11)/(1<<53), 'g', -1, 64))
	}
	return daal.JSON(`"` + newUUID(a.rt.random(), a.rt.random()) + `"`)
}

// newUUID makes a version 4 UUID of 128 random bits.
func newUUID(hi, lo uint64) string {
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xffff, lo>>48, lo&0xffffffffffff)
}

// tell sends the machine one message.
func (a *Attempt) tell(message func(m *machine)) {
	a.mu.Lock()
	message(a.m)
	a.m.plan()
	a.pump()
}

// pump carries out the machine's actions, in order, one goroutine at a time. Called with the lock held; returns without it.
func (a *Attempt) pump() {
	a.out = append(a.out, a.m.take()...)
	if a.delivering {
		a.mu.Unlock()
		return
	}
	a.delivering = true
	for len(a.out) > 0 {
		out := a.out
		a.out = nil
		for i := range out {
			if out[i].kind == actReply {
				a.owing--
			}
		}
		a.mu.Unlock()
		for i := range out {
			a.carryOut(&out[i])
		}
		a.mu.Lock()
	}
	a.delivering = false
	a.mu.Unlock()
}

func (a *Attempt) carryOut(x *action) {
	switch x.kind {
	case actReply:
		a.spans.end(a, x.entry, x.outcome)
		if x.outcome != accepted && x.outcome != acceptedBefore || !a.Quiet {
			a.at.worker.Answer(a, x.entry.Step, *x.outcome)
		}
	case actObserve:
		a.rt.spawn(func() { a.observe(x.entry, x.op) })
	case actWait:
		a.rt.spawn(func() { a.wait(x.entry, x.op) })
	case actLaunch:
		a.rt.o.Invoker.Launch(x.callee)
	case actCommit:
		a.rt.spawn(func() {
			r := a.perform(a.ctx, x.commit)
			a.tell(func(m *machine) { m.committed(x.commit, r) })
		})
	case actReadFence:
		a.rt.spawn(func() {
			fence, err := a.rt.readFence(a.ctx, a, a.Instance)
			a.tell(func(m *machine) { m.fenceRead(a.inst.callerGen(), fence, err) })
		})
	case actLinger:
		after(lingerTime, func() { a.tell((*machine).lingered) })
	case actEnd:
		a.finish(x.result, x.err)
	}
}

// lingerTime is how long queued writes wait for more, where one batch can take them (fused).
const lingerTime = 2 * time.Millisecond

// finish ends the attempt. The worker is told before the instance's next attempt can begin.
func (a *Attempt) finish(result *Result, err error) {
	a.mu.Lock()
	a.ended = true
	fresh := a.m.registration != nil && !a.m.busy
	a.mu.Unlock()
	if err != nil {
		a.cancel(err)
	} else {
		a.cancel(errEnded)
	}
	if a.settled != nil {
		a.settled()
	}
	a.spans.finish(a, result, err)
	if !a.ran {
		a.rt.attemptEnded(a, fresh, result, err)
		return
	}
	if err == nil && result.Parked == nil {
		a.at.worker.Answer(a, "", Outcome{OK: true})
	} else {
		why := err
		if why == nil {
			why = result.Err()
		}
		a.at.worker.Cancel(a, why)
	}
	a.rt.attemptEnded(a, fresh, result, err)
}

var errEnded = errors.New("intent: the attempt has ended")

// stop ends the attempt from outside.
func (a *Attempt) stop(why error) {
	a.tell(func(m *machine) { m.stop(why) })
}

// observe reads, until the store answers.
func (a *Attempt) observe(e *entry, op *Op) {
	for wait := a.rt.backoff(); ; {
		o, err := a.read(op)
		if err == nil {
			a.unblocked()
			a.tell(func(m *machine) { m.observed(e, &o) })
			return
		}
		if a.blocked(a.ctx, wait, err) != nil {
			return
		}
	}
}

// maxPage bounds the bytes of a List's page: it goes into the journal. What is left out comes with the next page.
const maxPage = 1 << 20

func (a *Attempt) read(op *Op) (Outcome, error) {
	if op.Kind == OpRead {
		v, found, err := a.rt.cells.Read(a.ctx, daal.Address{Service: a.Function.Service, Table: op.Table, Key: op.Key})
		return Outcome{OK: found, Value: v}, err
	}
	list, next, err := a.rt.cells.List(a.ctx, a.Function.Service, op.Table, op.Key, op.After, op.Limit, op.Values)
	o := Outcome{OK: true, Next: next}
	bytes := 0
	for i := range list {
		if bytes += len(list[i].Address.Key) + len(list[i].Value.Data); bytes > maxPage && i > 0 {
			o.Next = list[i-1].Address.Key
			break
		}
		o.Entries = append(o.Entries, ListEntry{Key: list[i].Address.Key, Value: list[i].Value})
	}
	return o, err
}

// wait waits for the result of an instance: one that this attempt invoked, or any (Await).
func (a *Attempt) wait(e *entry, op *Op) {
	id := e.Outcome.Instance
	result, err := a.rt.o.Invoker.Result(a.ctx, id)
	for wait := a.rt.backoff(); errors.Is(err, ErrStore) && a.blocked(a.ctx, wait, err) == nil; {
		result, err = a.rt.o.Invoker.Result(a.ctx, id)
	}
	switch {
	case errors.Is(err, ErrNoSuchInstance) && e.Kind == OpInvoke:
		a.tell(func(m *machine) { m.unregistered(e, op) })
	case errors.Is(err, ErrNoSuchInstance):
		// Not a result: the id may be of an instance that is still to be registered, or of nothing. The function is told and decides.
		a.tell(func(m *machine) { m.reply(e, &Outcome{Err: err}) })
	case err != nil: // the attempt has ended
	default:
		a.tell(func(m *machine) {
			m.observed(e, &Outcome{OK: true, Value: result.Value, Instance: id, Err: result.Err()})
		})
	}
}

// blockable is told when the store does not answer, and when it does again.
type blockable interface {
	blocked(ctx context.Context, wait *backoff, err error) error
	unblocked()
}

// blocked notes that the store is in the way, and pauses. It returns an error if the attempt is over.
func (a *Attempt) blocked(ctx context.Context, wait *backoff, err error) error {
	a.inst.block(err, wait.tries >= stuckAfter)
	return wait.sleep(ctx)
}

func (a *Attempt) unblocked() { a.inst.unblock() }

// stuckAfter tries without an answer (about a second), whoever waits for the instance outside is told that the store is unreachable.
const stuckAfter = 7
