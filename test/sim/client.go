package sim

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// patience is how long a client waits for one sidecar before it asks another.
const patience = 4 * time.Second

// client asks for an instance until it has a result, of whichever sidecar lives.
type client struct {
	w       *World
	req     intent.Request
	starts  bool // it starts the instance, and then waits for it
	started atomic.Bool
	asked   int
	number  int
}

// asker is the key under which a context says who asks: it tells calls of several clients apart.
type asker struct{}

// request lets a client ask. Every third one starts its instance first.
func (w *World) request(id daal.InstanceID, fn string, input daal.Value, number int) {
	w.mu.Lock()
	w.pending++
	w.requests++
	w.mu.Unlock()
	c := &client{w: w, number: w.requests, starts: number%3 == 2, req: intent.Request{ID: id, Function: intent.Function{Service: "svc", Name: fn}, Input: input}}
	w.clients.Go(func() {
		c.run(number)
		w.mu.Lock()
		w.pending--
		w.mu.Unlock()
		w.kick()
	})
}

func (c *client) run(first int) {
	for n := first; ; n++ {
		c.w.mu.Lock()
		node := c.w.Nodes[n%len(c.w.Nodes)]
		rt, dead, closed := node.rt, node.dead || node.rt == nil, c.w.closed
		c.w.mu.Unlock()
		if closed {
			return
		}
		if dead {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		result, err := c.ask(rt)
		switch {
		case err == nil:
			c.w.history.result(c.w, c.req.ID, result)
			return
		case errors.Is(err, intent.ErrKeyReused), c.started.Load() && errors.Is(err, intent.ErrNoSuchInstance):
			c.w.history.fail(fmt.Errorf("request %s: %w", c.req.ID, err))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// ask asks one sidecar, and gives up after a while: one that has stopped does not even time out.
func (c *client) ask(rt *intent.Runtime) (result intent.Result, err error) {
	c.asked++
	ctx := context.WithValue(context.Background(), asker{}, fmt.Sprintf("client %d.%d ", c.number, c.asked))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	type answer struct {
		result intent.Result
		err    error
	}
	ch := make(chan answer, 1)
	c.w.clients.Go(func() {
		r, err := c.call(ctx, rt)
		ch <- answer{r, err}
	})
	select {
	case a := <-ch:
		return a.result, a.err
	case <-time.After(patience + time.Second):
		return intent.Result{}, intent.ErrInvokeWait
	}
}

func (c *client) call(ctx context.Context, rt *intent.Runtime) (intent.Result, error) {
	if !c.starts {
		return rt.Invoke(ctx, c.req)
	}
	if !c.started.Load() {
		if err := rt.Start(ctx, c.req); err != nil {
			return intent.Result{}, err
		}
		c.started.Store(true)
	}
	return rt.Await(ctx, c.req.ID)
}
