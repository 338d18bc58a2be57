package pebble_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/pebble"
)

// A ledger is a workload whose batches can be told whole from half after a crash: each writes its number into two
// partitions, and counts.
type ledger struct {
	mu    sync.Mutex
	acked []int // numbers of batches that were answered Applied, or that a read has shown
}

var total = backends.Key{Kind: backends.KindFence, Part: "total"}

// halves are the rows of batch n.
func halves(n int) (a, b backends.Key) {
	sort := fmt.Sprintf("%06d", n)
	return backends.Key{Kind: backends.KindCell, Part: "left", Sort: sort},
		backends.Key{Kind: backends.KindInstance, Part: fmt.Sprint("right", n%10), Sort: sort}
}

// padding makes a workload of a few hundred batches long enough that pebble makes tables of it.
var padding = make([]byte, 4096)

func ledgerBatch(n int) []backends.Update {
	a, b := halves(n)
	set := []backends.Change{{Field: "n", Set: backends.Int(int64(n))}, {Field: "pad", Set: backends.Bytes(padding)}}
	missing := []backends.Cond{{Test: backends.Missing}}
	return []backends.Update{
		{Key: a, When: missing, Do: set},
		{Key: total, Do: []backends.Change{{Field: "n", Add: 1}}},
		{Key: b, When: missing, Do: set},
	}
}

func (l *ledger) ack(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked = append(l.acked, n)
}

func (l *ledger) acks() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.acked)
}

// write applies batches until one is not applied, and returns that answer.
func (l *ledger) write(t *testing.T, s backends.Store, numbers ...int) backends.Answer {
	for _, n := range numbers {
		a := s.Apply(t.Context(), ledgerBatch(n))
		if a.Outcome != backends.Applied {
			return a
		}
		l.ack(n)
	}
	return backends.Answer{Outcome: backends.Applied}
}

// check opens what is left, and checks that each batch is there whole or not at all, and each of want is there.
func checkLedger(t *testing.T, o pebble.Options, want []int) {
	t.Helper()
	s := open(t, o)
	defer s.Close()
	left, err := s.Scan(t.Context(), backends.Range{Kind: backends.KindCell, Limit: 1 << 20, Fields: []string{"n"}})
	if err != nil {
		t.Fatal(err)
	}
	right, err := s.Scan(t.Context(), backends.Range{Kind: backends.KindInstance, Limit: 1 << 20, Fields: []string{"n"}})
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]bool{}
	for _, e := range left {
		found[int(e.Row.Int("n"))] = true
	}
	for _, e := range right {
		if n := int(e.Row.Int("n")); !found[n] {
			t.Errorf("batch %d is there by half", n)
		}
	}
	row, err := s.Get(t.Context(), total)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != len(right) || row.Int("n") != int64(len(left)) {
		t.Errorf("%d left halves, %d right halves, %d counted", len(left), len(right), row.Int("n"))
	}
	for _, n := range want {
		if !found[n] {
			t.Errorf("batch %d was answered or shown, and is lost", n)
		}
	}
}

// TestPowerLoss tests B1, B4 and B5: whatever the disk keeps of what was not synced, all that was answered or read
// before the power went is there afterwards.
func TestPowerLoss(t *testing.T) {
	for _, unsynced := range []int{0, 50, 100} {
		t.Run(fmt.Sprintf("%d%% of unsynced data kept", unsynced), func(t *testing.T) {
			disk := vfs.NewCrashableMem()
			s := open(t, pebble.Options{Dir: "data", FS: slow(disk)})
			defer s.Close()
			var l ledger
			var wg sync.WaitGroup
			const writers, each = 6, 60
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						if a := l.write(t, s, w*each+i); a.Outcome != backends.Applied {
							t.Errorf("write: %s %v", a.Outcome, a.Err)
						}
					}
				})
			}
			for r := range 2 {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(3, uint64(r)))
					for range 200 {
						n := rng.IntN(writers * each)
						a, _ := halves(n)
						if row, err := s.Get(t.Context(), a); err != nil {
							t.Errorf("read: %v", err)
						} else if row.Exists() {
							l.ack(n)
						}
						page, err := s.Query(t.Context(), backends.Range{
							Kind: a.Kind, Part: a.Part, After: a, Limit: 3, Fields: []string{"n"},
						})
						if err != nil {
							t.Errorf("read: %v", err)
						}
						for _, e := range page {
							l.ack(int(e.Row.Int("n")))
						}
					}
				})
			}
			rng := rand.New(rand.NewPCG(4, uint64(unsynced)))
			running := make(chan struct{})
			go func() { wg.Wait(); close(running) }()
			for more := true; more; {
				select {
				case <-running:
					more = false
				default:
				}
				want := l.acks() // before the crash
				clone := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rng})
				checkLedger(t, pebble.Options{Dir: "data", FS: clone}, want)
			}
			checkLedger(t, pebble.Options{Dir: "data", FS: disk.CrashClone(vfs.CrashCloneCfg{})}, l.acks())
		})
	}
}

// slow is a file system whose syncs take long enough for others to look at what is not on disk yet.
func slow(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isSync(op) {
			for range 20 {
				runtime.Gosched()
			}
		}
		return nil
	}))
}

func isSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
}

// TestReadsWaitForSync tests P2 one read at a time, while a sync hangs.
func TestReadsWaitForSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gate syncGate
		o := pebble.Options{Dir: "data", FS: errorfs.Wrap(vfs.NewMem(), &gate)}
		s := open(t, o)
		key := func(sort string) backends.Key { return backends.Key{Kind: backends.KindCell, Part: "p", Sort: sort} }
		set := func(sort string) backends.Update {
			return backends.Update{Key: key(sort), Do: []backends.Change{{Field: "n", Add: 1}}}
		}
		apply := func(batch ...backends.Update) {
			if a := s.Apply(t.Context(), batch); a.Outcome != backends.Applied {
				t.Errorf("apply: %s %v", a.Outcome, a.Err)
			}
		}
		apply(set("old"), set("cold"), set("gone"))
		if err := s.Close(); err != nil { // the next one remembers no rows
			t.Fatal(err)
		}
		s = open(t, o)
		defer s.Close()
		apply(set("hot"))

		release := gate.shut()
		go apply(set("new"), set("cold"), set("hot"), backends.Update{Key: key("gone"), Delete: true})
		synctest.Wait()
		go apply(set("later")) // the next group
		synctest.Wait()

		get := func(sort string, want int64) func() {
			return func() {
				if row, err := s.Get(t.Context(), key(sort)); err != nil || row.Int("n") != want {
					t.Errorf("get %s: %v %v, want %d", sort, row, err, want)
				}
			}
		}
		query := func(prefix string) func() {
			r := backends.Range{Kind: backends.KindCell, Part: "p", Prefix: prefix, Limit: 5}
			return func() { _, _ = s.Query(t.Context(), r) }
		}
		scan := func(part string) func() {
			r := backends.Range{Kind: backends.KindCell, Part: part, Limit: 5}
			return func() { _, _ = s.Scan(t.Context(), r) }
		}
		var waiting []chan struct{}
		for _, c := range []struct {
			name  string
			read  func()
			waits bool
		}{
			{"get of a row that the group made", get("new", 1), true},
			{"get of a row that the group changed", get("cold", 2), true},
			{"get of a row that the group deleted", get("gone", 0), true},
			{"get of a row that the store remembers from before the group", get("hot", 1), false},
			{"get of another row", get("old", 1), false},
			{"get of a row of the next group", get("later", 0), false},
			{"query over the group's rows", query(""), true},
			{"query beside the group's rows", query("o"), false},
			{"scan over the group's rows", scan(""), true},
			{"scan beside the group's rows", scan("q"), false},
		} {
			done := make(chan struct{})
			go func() { c.read(); close(done) }()
			synctest.Wait()
			select {
			case <-done:
				if c.waits {
					t.Errorf("%s does not wait for the sync", c.name)
				}
			default:
				if !c.waits {
					t.Errorf("%s waits for the sync", c.name)
				}
				waiting = append(waiting, done)
			}
		}
		release()
		for _, done := range waiting {
			<-done
		}
	})
}

// syncGate lets syncs of the log wait.
type syncGate struct {
	mu     sync.Mutex
	closed chan struct{}
}

// shut closes the gate until the function that it returns is called.
func (g *syncGate) shut() (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	closed := make(chan struct{})
	g.closed = closed
	return func() { close(closed) }
}

func (*syncGate) String() string { return "syncGate" }

func (g *syncGate) MaybeError(op errorfs.Op) error {
	if !isSync(op) {
		return nil
	}
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		<-closed
	}
	return nil
}
