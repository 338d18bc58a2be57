package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"runtime"
	"strings"
	"time"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/callback"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// Node is a sidecar with its functions.
type Node struct {
	w       *World
	ID      int
	rt      *intent.Runtime
	at      *intent.Attachment
	worker  *worker
	dead    bool
	paused  bool
	until   time.Time // when a dead or paused one comes back
	skew    time.Duration
	cancel  context.CancelFunc
	stopped chan struct{}
}

// boot starts a sidecar.
func (n *Node) boot() {
	local := &callback.Local{}
	rt, err := intent.New(&simStore{n.w.store, n}, intent.Options{
		Invoker: local, Daal: daal.Options{RowCapacity: n.w.Capacity},
		Lease: 2 * time.Second, RetryMin: 10 * time.Millisecond, RetryMax: 100 * time.Millisecond, MaxAttempts: 1000,
		Now:    func() time.Time { return time.Now().Add(n.skew) },
		Random: n.random,
	})
	if err != nil {
		panic(err)
	}
	local.Bind(rt)
	n.w.mu.Lock()
	n.rt, n.at, n.dead, n.paused = rt, nil, false, false
	n.worker = newWorker(n)
	n.w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.stopped = cancel, make(chan struct{})
	stopped := n.stopped
	go func() {
		defer close(stopped)
		n.attach(rt)
		rt.Run(ctx)
	}()
}

// random is the sidecar's random source. What a trace can show – pauses, results, the names of sidecars and callees – depends on the scheduler's step and nothing else: goroutines that
// run side by side between two steps would draw from a stream in an order that no seed decides. All others are names, of records and revisions, which no trace shows and which
// must be different.
func (n *Node) random() uint64 {
	h := fnv.New64a()
	var b [32]byte
	binary.BigEndian.PutUint64(b[:], n.w.Seed)
	binary.BigEndian.PutUint64(b[8:], uint64(n.ID))
	binary.BigEndian.PutUint64(b[16:], uint64(n.w.now()))
	if !shown() {
		binary.BigEndian.PutUint64(b[24:], n.w.names.Add(1))
	}
	h.Write(b[:])
	x := h.Sum64()
	x ^= x >> 29 // the low bits of FNV are poor, and jitter takes a remainder
	x *= 0xbf58476d1ce4e5b9
	return x ^ x>>32
}

// shown tells whether what is drawn now can be seen in the trace, by who draws it.
func shown() bool {
	var pc [8]uintptr
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc[:])])
	for range 3 {
		f, more := frames.Next()
		switch f.Function[strings.LastIndexByte(f.Function, '.')+1:] {
		case "New", "sleep", "Run", "Sweep", "draw", "submit", "callee":
			return true
		}
		if !more {
			break
		}
	}
	return false
}

func (n *Node) attach(rt *intent.Runtime) {
	n.w.mu.Lock()
	k := n.worker
	n.w.mu.Unlock()
	at, err := rt.Attach("svc", functionNames, 0, k)
	if err == nil {
		n.w.mu.Lock()
		n.at = at
		n.w.mu.Unlock()
	}
}

// crash kills a sidecar and its functions. Called by the scheduler.
func (n *Node) crash() {
	n.w.mu.Lock()
	n.dead, n.paused = true, false
	var woken []*Call
	keep := n.w.parked[:0]
	for _, c := range n.w.parked {
		if c.Node == n {
			woken = append(woken, c)
		} else {
			keep = append(keep, c)
		}
	}
	n.w.parked = keep
	n.w.mu.Unlock()
	n.worker.killAll()
	n.cancel()
	for _, c := range woken {
		c.wake <- dead
	}
	rt := n.rt
	go rt.Close()
}

// killFunctions kills the function process of a sidecar; another one comes at once.
func (n *Node) killFunctions() {
	n.w.mu.Lock()
	at, old, rt := n.at, n.worker, n.rt
	if at == nil { // it has not come up yet
		n.w.mu.Unlock()
		return
	}
	n.at, n.worker = nil, newWorker(n)
	n.w.mu.Unlock()
	old.killAll()
	go func() {
		at.Detach()
		n.attach(rt)
	}()
}

// park waits until the scheduler lets a call go. The scheduler carries it out.
func (n *Node) park(kind CallKind, label string, carryOut func()) Verdict {
	w := n.w
	w.mu.Lock()
	if n.dead || w.closed {
		w.mu.Unlock()
		return dead
	}
	c := &Call{Node: n, Kind: kind, Label: fmt.Sprintf("%d %s", n.ID, label), carryOut: carryOut, wake: make(chan Verdict, 1)}
	w.parked = append(w.parked, c)
	w.mu.Unlock()
	w.kick()
	return <-c.wake
}

// simStore is a sidecar's way to the store.
type simStore struct {
	*memory.Store
	n *Node
}

var errNoAnswer = errors.New("sim: no answer")

func (s *simStore) Apply(ctx context.Context, batch []backends.Update) backends.Answer {
	var a backends.Answer
	if s.n.park(Write, by(ctx)+"apply "+describeBatch(batch), func() { a = s.n.w.apply(batch) }) != Go {
		return backends.Answer{Err: errNoAnswer}
	}
	return a
}

func (s *simStore) Get(ctx context.Context, k backends.Key) (row backends.Row, err error) {
	if s.n.park(Read, by(ctx)+"get "+k.String(), func() { row, err = s.Store.Get(context.Background(), k) }) != Go {
		return nil, errNoAnswer
	}
	return row, err
}

func (s *simStore) Query(ctx context.Context, r backends.Range) (page []backends.Entry, err error) {
	label := fmt.Sprintf("query %s[%q] after %q", r.Kind, r.Part, r.After.Sort)
	if s.n.park(Read, label, func() { page, err = s.Store.Query(context.Background(), r) }) != Go {
		return nil, errNoAnswer
	}
	return page, err
}

func (s *simStore) Scan(ctx context.Context, r backends.Range) (page []backends.Entry, err error) {
	label := fmt.Sprintf("scan %s[%q] after %q, %d", r.Kind, r.Part, r.After, r.Limit)
	if s.n.park(Read, label, func() { page, err = s.Store.Scan(context.Background(), r) }) != Go {
		return nil, errNoAnswer
	}
	return page, err
}

// by tells who asks, if it is a client.
func by(ctx context.Context) string {
	who, _ := ctx.Value(asker{}).(string)
	return who
}

func describeBatch(batch []backends.Update) string {
	var b strings.Builder
	for i := range batch {
		fmt.Fprintf(&b, "%s", batch[i].Key)
		for _, c := range batch[i].Do {
			if c.Field == "v" {
				fmt.Fprintf(&b, "=%s", c.Set.Bytes)
			}
		}
		b.WriteString(" ")
	}
	return b.String()
}

// apply carries out a batch, and notices an effect that is applied a second time: its name enters a log that had it before. Logs of cells only: where the store is one
// scope, effects stand in the journal, and check looks there.
func (w *World) apply(batch []backends.Update) backends.Answer {
	a := w.store.Apply(context.Background(), batch)
	if a.Outcome != backends.Applied {
		return a
	}
	for i := range batch {
		u := &batch[i]
		if u.Key.Kind != backends.KindCell || u.Delete {
			continue
		}
		for _, c := range u.Do {
			name := ""
			switch {
			case c.Set.Absent():
			case strings.HasPrefix(u.Key.Sort, "e"):
				name = u.Key.Sort[1:]
			case strings.HasPrefix(c.Field, "#"):
				name = c.Field[1:]
			}
			if name == "" {
				continue
			}
			if w.Diverges { // the name may stand for two operations, on two cells
				name = u.Key.Part + name
			}
			if w.logged[name]++; w.logged[name] > 1 {
				w.history.fail(fmt.Errorf("effect %q was applied %d times", name, w.logged[name]))
			}
		}
	}
	return a
}
