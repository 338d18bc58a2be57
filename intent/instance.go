package intent

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/beldi/beldi/daal"
)

// instance is an instance that this sidecar has to do with: it runs here, waits here, or is watched.
type instance struct {
	Registration
	rt   *Runtime
	done chan struct{}

	// Written before done is closed, read after.
	result Result
	err    error

	mu       sync.Mutex
	digest   []byte // of the input, where the input itself has not been loaded
	request  bool   // a request from outside, whole: it can be registered again
	diverged error  // why it is parked, if not for crashes
	attempts int
	crashes  int
	fresh    bool // not in the store, as far as known: its next attempt begins unregistered
	eager    bool
	current  *Attempt
	note     string
	cause    error         // why the store did not answer, last
	stuck    chan struct{} // closed while the store does not answer
	isStuck  bool
}

func (r *Runtime) newInstance(g Registration) *instance {
	return &instance{Registration: g, rt: r, done: make(chan struct{}), stuck: make(chan struct{})}
}

func (i *instance) say(note string) {
	i.mu.Lock()
	i.note = note
	i.mu.Unlock()
}

func (i *instance) block(err error, stuck bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.note, i.cause = fmt.Sprintf("the store does not answer: %v", err), err
	if stuck && !i.isStuck {
		i.isStuck = true
		close(i.stuck)
	}
}

func (i *instance) unblock() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.isStuck {
		i.isStuck, i.stuck = false, make(chan struct{})
	}
}

func (i *instance) callerGen() daal.Generation {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.CallerGen
}

func (i *instance) blocked(ctx context.Context, wait *backoff, err error) error {
	i.block(err, wait.tries >= stuckAfter)
	return wait.sleep(ctx)
}

func (i *instance) unblocked() { i.unblock() }

// wait waits for the instance's end.
func (i *instance) wait(ctx context.Context) (Result, error) {
	if err := i.waitFor(ctx, i.done); err != nil {
		return Result{}, err
	}
	return i.result, i.err
}

// inTheWay is the store's error while it does not answer this instance, or nil.
func (i *instance) inTheWay() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.isStuck {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrStore, i.cause)
}

// waitFor waits until done is closed, but not for a store that does not answer.
func (i *instance) waitFor(ctx context.Context, done <-chan struct{}) error {
	i.mu.Lock()
	stuck := i.stuck
	i.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-stuck:
		i.mu.Lock()
		defer i.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrStore, i.cause)
	case <-i.rt.ctx.Done():
		return ErrClosing
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return ErrInvokeWait
		}
		return ctx.Err()
	}
}

// endedRing remembers how the last callees ended: one that is faster than its caller's question would have to be read from the store. A result never
// changes once it is there.
type endedRing struct {
	ids     [64]daal.InstanceID
	results [64]Result
	next    int
}

// maxRemembered is the size of a result, in bytes, beyond which it is not remembered.
const maxRemembered = 4 << 10

func (e *endedRing) add(id daal.InstanceID, r Result) {
	if len(r.Value.Data) > maxRemembered || r.Failure != nil && len(r.Failure.Details.Data) > maxRemembered {
		return
	}
	e.ids[e.next], e.results[e.next] = id, r
	e.next = (e.next + 1) % len(e.ids)
}

func (e *endedRing) find(id daal.InstanceID) (Result, bool) {
	for i := range e.ids {
		if e.ids[i] == id {
			return e.results[i], true
		}
	}
	return Result{}, false
}
