// Package sim runs the real core – runtime, attempts, cells, collector – over a simulated store, network and clock, and judges what comes out.
//
// Everything runs in one synctest bubble: time is virtual, and between two moments at which every goroutine is blocked the World decides, by a seeded
// random source, which store call or message goes on, and whether it is lost, applied without an answer, applied much later, or the death or pause of
// a sidecar or a function. So a seed names a run (TestSeedRepeats).
//
// What is checked (check.go): every request ends, with one result for all who ask; every step of every finished instance took effect exactly once, in an order
// that is linearizable for each cell (porcupine); nothing else ever touched a cell.
package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/callback"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// Config of a run.
type Config struct {
	Seed     uint64
	Scope    backends.Scope
	Sidecars int
	// Capacity of a cell's row, for the row scope.
	Capacity int
	// Faults per 1,000 decisions, by kind.
	Lose, AppliedLost, Late   int
	Crash, KillFunction, Stop int
	Prune, Fence              int
	// Skew of each sidecar's clock, at most.
	Skew time.Duration
	// Plan, if set, replaces chance: it is asked for each parked call, with its number, and says what becomes of it.
	Plan func(n int, c *Call) Verdict
	// MaxSteps of the scheduler; then the run is stuck.
	MaxSteps int
}

// Verdict is what becomes of a call.
type Verdict uint8

const (
	Go            Verdict = iota // it is carried out and answered
	Lose                         // not carried out, not answered (unknown)
	AppliedLost                  // carried out, not answered
	Late                         // not answered now, carried out later
	CrashBefore                  // the sidecar dies, the call was not carried out
	CrashAfter                   // the sidecar dies, the call was carried out
	PauseHere                    // the sidecar stops before it, and wakes when another has finished the instance
	KillFunction_                // the function's process dies
	dead                         // the sidecar is dead
)

// Call is a store call or a message, waiting to be let go.
type Call struct {
	Node  *Node
	Label string
	Write bool // an Apply
	Msg   bool // a function's message
	wake  chan Verdict
}

// World is one run.
type World struct {
	Config
	rng   *rand.Rand
	store *memory.Store

	mu     sync.Mutex
	parked []*Call
	steps  int64
	calls  int
	late   []func()
	closed bool

	Nodes   []*Node
	hash    uint64
	Trace   []string
	history *history
	pending int // clients that still wait
	failed  error
	cells   []daal.Address
}

// Node is a sidecar with its functions.
type Node struct {
	w       *World
	ID      int
	rt      *intent.Runtime
	at      *intent.Attachment
	worker  *worker
	dead    bool
	paused  bool
	until   time.Time
	skew    time.Duration
	rng     *rand.Rand
	cancel  context.CancelFunc
	stopped chan struct{}
}

func newWorld(c Config) *World {
	if c.MaxSteps == 0 {
		c.MaxSteps = 40_000
	}
	w := &World{Config: c, rng: rand.New(rand.NewPCG(c.Seed, 1)), history: newHistory()}
	max := 100
	if c.Scope == backends.ScopePartition {
		max = 0
	}
	w.store = memory.New(memory.Options{Scope: c.Scope, MaxTransaction: max, Shared: true})
	for i := range c.Sidecars {
		n := &Node{w: w, ID: i, rng: rand.New(rand.NewPCG(c.Seed, uint64(100+i)))}
		if c.Skew > 0 {
			n.skew = time.Duration(w.rng.Int64N(int64(2*c.Skew))) - c.Skew
		}
		w.Nodes = append(w.Nodes, n)
	}
	return w
}

func (w *World) note(format string, args ...any) {
	line := fmt.Sprintf("%5d ", w.steps) + fmt.Sprintf(format, args...)
	w.Trace = append(w.Trace, line)
	h := fnv.New64a()
	fmt.Fprintf(h, "%x %s", w.hash, line)
	w.hash = h.Sum64()
}

// boot starts a sidecar.
func (n *Node) boot() {
	local := &callback.Local{}
	var mu sync.Mutex
	rt, err := intent.New(&simStore{n.w.store, n}, intent.Options{
		Invoker: local, Daal: daal.Options{RowCapacity: n.w.Capacity},
		Lease: 2 * time.Second, RetryMin: 10 * time.Millisecond, RetryMax: 100 * time.Millisecond, MaxAttempts: 1000,
		Now: func() time.Time { return time.Now().Add(n.skew) },
		Random: func() uint64 {
			mu.Lock()
			defer mu.Unlock()
			return n.rng.Uint64()
		},
	})
	if err != nil {
		panic(err)
	}
	local.Bind(rt)
	n.w.mu.Lock()
	n.rt, n.dead, n.paused = rt, false, false
	n.worker = &worker{node: n, running: map[*intent.Attempt]*Ctx{}}
	n.w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.stopped = cancel, make(chan struct{})
	stopped := n.stopped
	go func() {
		defer close(stopped)
		n.attach()
		rt.Run(ctx)
	}()
}

func (n *Node) attach() {
	at, err := n.rt.Attach("svc", functionNames, 0, n.worker)
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
	for _, c := range woken {
		c.wake <- dead
	}
	n.cancel()
	n.worker.killAll()
	rt := n.rt
	go rt.Close()
}

// killFunctions kills the function process of a sidecar; it comes back at once.
func (n *Node) killFunctions() {
	n.worker.killAll()
	at := n.at
	if at == nil {
		return
	}
	n.at = nil
	n.worker = &worker{node: n, running: map[*intent.Attempt]*Ctx{}}
	go func() {
		at.Detach()
		n.attach()
	}()
}

// park waits until the scheduler lets a call go.
func (n *Node) park(label string, write, msg bool) Verdict {
	n.w.mu.Lock()
	if n.dead || n.w.closed {
		n.w.mu.Unlock()
		return dead
	}
	c := &Call{Node: n, Label: fmt.Sprintf("%d %s", n.ID, label), Write: write, Msg: msg, wake: make(chan Verdict, 1)}
	n.w.parked = append(n.w.parked, c)
	n.w.mu.Unlock()
	return <-c.wake
}

// run schedules until all clients are answered. It must be called in a synctest bubble.
func (w *World) run() error {
	for _, n := range w.Nodes {
		n.boot()
	}
	idle := 0
	for w.failed == nil {
		synctest.Wait()
		w.mu.Lock()
		done := w.pending == 0
		var ready []*Call
		for _, c := range w.parked {
			if !c.Node.paused {
				ready = append(ready, c)
			}
		}
		w.mu.Unlock()
		if done {
			break
		}
		if w.steps++; w.steps > int64(w.MaxSteps) {
			w.failed = errors.New("stuck: not all requests were answered")
			break
		}
		w.wakeSleepers(len(ready) == 0)
		if len(ready) == 0 {
			idle++
			time.Sleep(5 * time.Millisecond)
			continue
		}
		sort.SliceStable(ready, func(i, j int) bool { return ready[i].Label < ready[j].Label })
		if w.Plan == nil && w.chance(w.Crash+w.KillFunction+w.Stop+w.Prune+w.Fence) {
			w.disturb()
			continue
		}
		if w.Plan == nil && w.chance(30) { // let time pass while calls wait
			time.Sleep(time.Duration(w.rng.IntN(20)) * time.Millisecond)
			continue
		}
		if len(w.late) > 0 && w.chance(50) {
			i := w.rng.IntN(len(w.late))
			f := w.late[i]
			w.late = append(w.late[:i], w.late[i+1:]...)
			w.note("a late call arrives")
			f()
			continue
		}
		c := ready[0]
		if w.Plan == nil {
			c = ready[w.rng.IntN(len(ready))]
		}
		w.let(c)
	}
	w.shutdown()
	return w.failed
}

func (w *World) chance(perThousand int) bool { return w.rng.IntN(1000) < perThousand }

// let decides what becomes of a call.
func (w *World) let(c *Call) {
	w.calls++
	v := Go
	switch {
	case w.Plan != nil:
		v = w.Plan(w.calls, c)
	case c.Write && w.chance(w.Lose):
		v = Lose
	case c.Write && w.chance(w.AppliedLost):
		v = AppliedLost
	case c.Write && w.chance(w.Late):
		v = Late
	case !c.Write && !c.Msg && w.chance(w.Lose):
		v = Lose
	}
	w.note("%d %s: %d", w.calls, c.Label, v)
	if v == PauseHere {
		w.stop(c.Node, 20*time.Second)
		return
	}
	if v == KillFunction_ {
		c.Node.killFunctions()
		return
	}
	w.mu.Lock()
	for i := range w.parked {
		if w.parked[i] == c {
			w.parked = append(w.parked[:i], w.parked[i+1:]...)
			break
		}
	}
	w.mu.Unlock()
	c.wake <- v
	if v == CrashBefore || v == CrashAfter {
		if v == CrashAfter {
			synctest.Wait()
		}
		w.reboot(c.Node)
	}
}

// disturb kills, stops, prunes or fences.
func (w *World) disturb() {
	n := w.Nodes[w.rng.IntN(len(w.Nodes))]
	x := w.rng.IntN(w.Crash + w.KillFunction + w.Stop + w.Prune + w.Fence)
	switch {
	case x < w.Crash:
		if !n.dead {
			w.reboot(n)
		}
	case x < w.Crash+w.KillFunction:
		if !n.dead && !n.paused {
			w.note("functions of sidecar %d die", n.ID)
			n.killFunctions()
		}
	case x < w.Crash+w.KillFunction+w.Stop:
		if !n.dead && !n.paused {
			w.stop(n, time.Duration(w.rng.IntN(8000))*time.Millisecond)
		}
	case x < w.Crash+w.KillFunction+w.Stop+w.Prune:
		if len(w.cells) > 0 && !n.dead && !n.paused {
			a := w.cells[w.rng.IntN(len(w.cells))]
			w.note("sidecar %d prunes %s", n.ID, a)
			rt := n.rt
			go rt.PruneCell(context.Background(), a)
		}
	default:
		// Forgetting some other instance raises the registry fence of a shard to about now.
		shard := fmt.Sprintf("%02x", w.rng.IntN(16))
		g := time.Now().UnixMilli() << 16
		w.note("registry fence of shard %s", shard)
		k := backends.Key{Kind: backends.KindFence, Part: shard, Sort: "registry"}
		w.store.Apply(context.Background(), []backends.Update{{Key: k, Do: []backends.Change{{Field: "g", Set: backends.Int(g)}}}})
	}
}

func (w *World) reboot(n *Node) {
	w.note("sidecar %d dies", n.ID)
	n.crash()
	n.until = time.Now().Add(time.Duration(50+w.rng.IntN(3000)) * time.Millisecond)
}

// stop pauses a sidecar with its functions, as SIGSTOP would: a zombie when it wakes.
func (w *World) stop(n *Node, d time.Duration) {
	w.note("sidecar %d stops", n.ID)
	n.paused = true
	n.until = time.Now().Add(d)
}

func (w *World) wakeSleepers(idle bool) {
	for _, n := range w.Nodes {
		switch {
		case time.Now().Before(n.until):
		case n.dead:
			w.note("sidecar %d starts", n.ID)
			n.boot()
		case n.paused:
			w.note("sidecar %d goes on", n.ID)
			n.paused = false
		}
	}
}

// shutdown ends all goroutines of the bubble.
func (w *World) shutdown() {
	w.mu.Lock()
	w.closed = true
	parked := w.parked
	w.parked = nil
	w.mu.Unlock()
	for _, c := range parked {
		c.wake <- dead
	}
	for _, n := range w.Nodes {
		n.cancel()
		n.worker.killAll()
		n.rt.Close()
		<-n.stopped
	}
	synctest.Wait()
}

// simStore is a sidecar's way to the store.
type simStore struct {
	*memory.Store
	n *Node
}

var errNoAnswer = errors.New("sim: no answer")

func (s *simStore) Apply(ctx context.Context, batch []backends.Update) backends.Answer {
	v := s.n.park("apply "+describeBatch(batch), true, false)
	ctx = context.WithoutCancel(ctx)
	switch v {
	case Go:
		return s.Store.Apply(ctx, batch)
	case AppliedLost, CrashAfter:
		s.Store.Apply(ctx, batch)
	case Late:
		s.n.w.mu.Lock()
		s.n.w.late = append(s.n.w.late, func() { s.Store.Apply(ctx, batch) })
		s.n.w.mu.Unlock()
	}
	return backends.Answer{Err: errNoAnswer}
}

func (s *simStore) Get(ctx context.Context, k backends.Key) (backends.Row, error) {
	if s.n.park("get "+k.String(), false, false) != Go {
		return nil, errNoAnswer
	}
	return s.Store.Get(context.WithoutCancel(ctx), k)
}

func (s *simStore) Query(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	if s.n.park(fmt.Sprintf("query %s[%q] after %q", r.Kind, r.Part, r.After.Sort), false, false) != Go {
		return nil, errNoAnswer
	}
	return s.Store.Query(context.WithoutCancel(ctx), r)
}

func (s *simStore) Scan(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	if s.n.park(fmt.Sprintf("scan %s[%q] after %q", r.Kind, r.Part, r.After), false, false) != Go {
		return nil, errNoAnswer
	}
	return s.Store.Scan(context.WithoutCancel(ctx), r)
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
