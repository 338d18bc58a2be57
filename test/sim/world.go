// Package sim runs the real core – runtime, attempts, cells, collector – over a simulated store, network and clock, and judges what comes out.
//
// Everything runs in one synctest bubble: time is virtual, and between two moments at which every goroutine is blocked the World decides, by a seeded
// random source or by a plan, which store call or message goes on, and whether it is lost, applied without an answer, applied much later, or the death or
// pause of a sidecar or a function. So a seed names a run (TestSeedRepeats).
//
// What is checked (check.go): every request ends, with one result for all who ask; every step of every finished instance took effect exactly once, in an order
// that is linearizable for each cell (porcupine); nothing else ever touched a cell – not even what was stopped or delayed until all was over.
package sim

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/memory"
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
	// Plan, if set, replaces chance: it is asked for each call that goes on, with its number from 1, and says what becomes of it.
	// Calls go on in the order of their labels.
	Plan func(n int, c *Call) Verdict
	// MaxSteps of the scheduler; then the run is stuck.
	MaxSteps int64
	// Trouble is how many steps chance makes faults; then everything must come to an end.
	Trouble int64
	// Diverges: the functions are not deterministic, and the core will say so.
	Diverges bool
}

// Verdict is what becomes of a call.
type Verdict uint8

const (
	Go           Verdict = iota // it is carried out and answered
	Lose                        // not carried out, not answered (unknown)
	AppliedLost                 // carried out, not answered
	Late                        // not answered; carried out later
	CrashBefore                 // the sidecar dies, the call was not carried out
	CrashAfter                  // the sidecar dies, the call was carried out
	PauseHere                   // the sidecar stops before it, and wakes when all requests have been answered
	KillFunction                // the function's process dies
	dead                        // the sidecar is dead
)

func (v Verdict) String() string {
	return [...]string{"go", "lose", "applied-lost", "late", "crash-before", "crash-after", "pause", "kill-function", "dead"}[v]
}

// CallKind tells store calls and messages apart.
type CallKind uint8

const (
	Message CallKind = iota + 1 // of a function to its sidecar
	Read
	Write
)

// ways are the verdicts that can befall a call.
func (k CallKind) ways() []Verdict {
	switch k {
	case Message: // a stream loses nothing while it lasts
		return []Verdict{CrashBefore, PauseHere, KillFunction}
	case Read:
		return []Verdict{Lose, CrashBefore, PauseHere, KillFunction}
	}
	return []Verdict{Lose, AppliedLost, Late, CrashBefore, CrashAfter, PauseHere, KillFunction}
}

// Call is a store call or a message, waiting to be let go.
type Call struct {
	Node     *Node
	Kind     CallKind
	Label    string
	carryOut func()
	wake     chan Verdict
}

// World is one run.
type World struct {
	Config
	rng   *rand.Rand
	store *memory.Store
	steps atomic.Int64
	names atomic.Uint64
	calls int
	// callsToEnd is how many calls had been made when the last client was answered.
	callsToEnd int

	mu       sync.Mutex
	parked   []*Call
	pending  int // clients that still wait
	requests int // clients so far
	clients  sync.WaitGroup
	closed   bool
	kicked   chan struct{} // somebody has parked, or a client is done

	Nodes    []*Node
	late     []func()
	settling bool      // all clients are answered
	rest     time.Time // settling goes on at least until then
	woken    int       // sidecars that were stopped while the last request was answered
	hash     uint64
	Trace    []string
	history  *history
	logged   map[string]int // how often an effect's name entered a cell's log
	coverage map[covered]int
	failed   error
	// undecided counts cells whose history was too long to judge.
	undecided int
	cells     []daal.Address
}

// covered is a fault that met an operation under way.
type covered struct {
	op    intent.OpKind
	fault string
}

// newWorld makes a world whose sidecars are booting. It must be called in a synctest bubble.
func newWorld(c Config) *World {
	if c.MaxSteps == 0 {
		c.MaxSteps = 40_000
	}
	if c.Trouble == 0 {
		c.Trouble = 2_500
	}
	w := &World{
		Config: c, rng: rand.New(rand.NewPCG(c.Seed, 1)), history: newHistory(), kicked: make(chan struct{}, 1),
		logged: map[string]int{}, coverage: map[covered]int{},
	}
	max := 100
	if c.Scope == backends.ScopePartition {
		max = 0
	}
	w.store = memory.New(memory.Options{Scope: c.Scope, MaxTransaction: max, Shared: true})
	for i := range c.Sidecars {
		n := &Node{w: w, ID: i}
		if c.Skew > 0 {
			n.skew = time.Duration(w.rng.Int64N(int64(2*c.Skew))) - c.Skew
		}
		w.Nodes = append(w.Nodes, n)
	}
	for i := range cellCount {
		w.cells = append(w.cells, daal.Address{Service: "svc", Table: tables, Key: cellName(i)})
	}
	for _, n := range w.Nodes {
		n.boot()
	}
	return w
}

func (w *World) now() int64 { return w.steps.Load() }

func (w *World) note(format string, args ...any) {
	line := fmt.Sprintf("%5d ", w.now()) + fmt.Sprintf(format, args...)
	w.Trace = append(w.Trace, line)
	h := fnv.New64a()
	fmt.Fprintf(h, "%x %s", w.hash, line)
	w.hash = h.Sum64()
}

// traced returns where in the trace a line stands that contains s, or -1.
func (w *World) traced(s string) int {
	return slices.IndexFunc(w.Trace, func(line string) bool { return strings.Contains(line, s) })
}

func (w *World) kick() {
	select {
	case w.kicked <- struct{}{}:
	default:
	}
}

// run schedules until all clients are answered and everything has come to rest. It must be called in a synctest bubble.
func (w *World) run() error {
	for w.failed == nil {
		synctest.Wait()
		if w.steps.Add(1) > w.MaxSteps {
			w.failed = fmt.Errorf("stuck after %d steps: %d clients wait", w.MaxSteps, w.pending)
			break
		}
		if w.wakeSleepers() {
			continue
		}
		ready := w.ready()
		if !w.settling && w.pending == 0 {
			w.settle()
			continue
		}
		if w.settling && len(ready) == 0 && len(w.late) == 0 && !time.Now().Before(w.rest) && w.allEnded() {
			break
		}
		w.decide(ready)
	}
	w.shutdown()
	return w.failed
}

// ready are the calls that may go on, by label.
func (w *World) ready() []*Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ready []*Call
	for _, c := range w.parked {
		if !c.Node.paused {
			ready = append(ready, c)
		}
	}
	sort.SliceStable(ready, func(i, j int) bool { return ready[i].Label < ready[j].Label })
	return ready
}

// decide does one thing.
func (w *World) decide(ready []*Call) {
	chaos := w.chaos()
	switch {
	case len(w.late) > 0 && (w.chance(8) && !w.settling || len(ready) == 0):
		i := w.rng.IntN(len(w.late))
		f := w.late[i]
		w.late = append(w.late[:i], w.late[i+1:]...)
		w.note("a late call arrives")
		f()
	case len(ready) == 0:
		w.idle()
	case chaos && w.chance(w.Crash+w.KillFunction+w.Stop+w.Prune+w.Fence):
		w.disturb()
	case chaos && w.chance(30): // let time pass while calls wait
		time.Sleep(time.Duration(w.rng.IntN(20)) * time.Millisecond)
	case w.Plan == nil:
		w.let(ready[w.rng.IntN(len(ready))])
	default:
		w.let(ready[0])
	}
}

// chaos tells whether chance makes faults now.
func (w *World) chaos() bool { return w.Plan == nil && !w.settling && w.now() < w.Trouble }

func (w *World) chance(perThousand int) bool { return w.rng.IntN(1000) < perThousand }

// idle lets time pass until something happens or somebody comes back.
func (w *World) idle() {
	next := time.Now().Add(time.Second)
	for _, n := range w.Nodes {
		if (n.dead || n.paused) && n.until.Before(next) {
			next = n.until
		}
	}
	t := time.NewTimer(time.Until(next))
	defer t.Stop()
	select {
	case <-w.kicked:
	case <-t.C:
	}
}

// settle begins the end: whoever sleeps or is dead comes back, what is late arrives, and instances that nobody waits for finish. None of that may change anything that
// a client or a finished instance has seen.
func (w *World) settle() {
	w.note("all requests are answered")
	w.settling, w.callsToEnd = true, w.calls
	w.rest = time.Now().Add(3 * time.Second)
	for _, n := range w.Nodes {
		if n.paused {
			w.woken++
		}
		n.until = time.Now()
	}
	// What is covered is forgotten now, so that the fences must hold against what still comes.
	for _, n := range w.Nodes {
		if !n.dead && !n.paused {
			for _, a := range w.cells {
				go n.rt.PruneCell(context.Background(), a)
			}
			break
		}
	}
}

func (w *World) allEnded() bool {
	list, err := instances(w.store)
	if err != nil {
		w.failed = err
		return true
	}
	for _, in := range list {
		if in.result == nil {
			return false
		}
	}
	return true
}

// let decides what becomes of a call.
func (w *World) let(c *Call) {
	w.calls++
	v := Go
	switch {
	case w.Plan != nil:
		v = w.Plan(w.calls, c)
	case !w.chaos():
	case c.Kind == Write && w.chance(w.Lose):
		v = Lose
	case c.Kind == Write && w.chance(w.AppliedLost):
		v = AppliedLost
	case c.Kind == Write && w.chance(w.Late):
		v = Late
	case c.Kind == Read && w.chance(w.Lose):
		v = Lose
	}
	w.note("%d %s: %s", w.calls, c.Label, v)
	if v != Go {
		w.cover(c.Node, v.String())
	}
	switch v {
	case PauseHere:
		w.stop(c.Node, 1000*time.Hour)
		return
	case KillFunction:
		c.Node.killFunctions()
		return
	case CrashAfter:
		c.carryOut()
		w.reboot(c.Node)
		return
	case CrashBefore:
		w.reboot(c.Node)
		return
	}
	for _, c := range w.unpark(c) {
		switch {
		case v == Late:
			w.late = append(w.late, c.carryOut)
		case v != Lose && c.carryOut != nil:
			c.carryOut()
		}
		c.wake <- v
	}
}

// unpark takes a call out of those that wait, and the reads that are like it: which of them came first, no seed decides.
func (w *World) unpark(c *Call) []*Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out, keep []*Call
	for _, p := range w.parked {
		if p == c || c.Kind == Read && p.Label == c.Label {
			out = append(out, p)
		} else {
			keep = append(keep, p)
		}
	}
	w.parked = keep
	return out
}

// cover counts a fault for each operation that is under way at a sidecar.
func (w *World) cover(n *Node, fault string) {
	for _, op := range n.worker.underWay() {
		w.coverage[covered{op, fault}]++
	}
}

// disturb kills, stops, prunes or fences.
func (w *World) disturb() {
	n := w.Nodes[w.rng.IntN(len(w.Nodes))]
	x := w.rng.IntN(w.Crash + w.KillFunction + w.Stop + w.Prune + w.Fence)
	switch {
	case x < w.Crash:
		if !n.dead {
			w.cover(n, "crash")
			w.reboot(n)
		}
	case x < w.Crash+w.KillFunction:
		if !n.dead && !n.paused {
			w.note("functions of sidecar %d die", n.ID)
			w.cover(n, KillFunction.String())
			n.killFunctions()
		}
	case x < w.Crash+w.KillFunction+w.Stop:
		if !n.dead && !n.paused {
			w.cover(n, "stop")
			w.stop(n, time.Duration(w.rng.IntN(8000))*time.Millisecond)
		}
	case x < w.Crash+w.KillFunction+w.Stop+w.Prune:
		if !n.dead && !n.paused {
			a := w.cells[w.rng.IntN(len(w.cells))]
			w.note("sidecar %d prunes %s", n.ID, a)
			w.cover(n, "prune")
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

// wakeSleepers lets come back whose time has come, and tells if anybody did.
func (w *World) wakeSleepers() (any bool) {
	for _, n := range w.Nodes {
		switch {
		case time.Now().Before(n.until):
		case n.dead:
			w.note("sidecar %d starts", n.ID)
			n.boot()
			any = true
		case n.paused:
			w.note("sidecar %d goes on", n.ID)
			n.paused = false
			any = true
		}
	}
	return any
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
	w.clients.Wait()
	synctest.Wait()
}
