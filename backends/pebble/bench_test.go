package pebble_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/pebble"
)

// stepBatch is what a step writes: a journal record, the instance row's new tip, and a cell.
func stepBatch(instance string, n int64) []backends.Update {
	row := backends.Key{Kind: backends.KindInstance, Part: instance}
	record := row
	record.Sort = string(binary.BigEndian.AppendUint64([]byte("r"), uint64(n)))
	cell := backends.Key{Kind: backends.KindCell, Part: backends.Tuple("accounts", fmt.Sprintf("%s-%d", instance, n%100))}
	value := make([]byte, 256)
	return []backends.Update{
		{
			Key:  row,
			When: []backends.Cond{{Test: backends.Equal, Field: "tip", Value: tip(n - 1)}},
			Do:   []backends.Change{{Field: "tip", Set: tip(n)}, {Field: "status", Set: backends.String("open")}},
		},
		{
			Key:  record,
			When: []backends.Cond{{Test: backends.Missing}},
			Do:   []backends.Change{{Field: "body", Set: backends.Bytes(value)}, {Field: "gen", Set: backends.Int(n)}},
		},
		{
			Key:  cell,
			When: []backends.Cond{{Test: backends.LessThan, Field: "fence", Value: backends.Int(n)}},
			Do: []backends.Change{
				{Field: "value", Set: backends.Bytes(value)}, {Field: "rev", Add: 1}, {Field: "#" + instance, Set: backends.Int(n)},
			},
		},
	}
}

// tip is absent at 0.
func tip(n int64) backends.Value {
	if n == 0 {
		return backends.Value{}
	}
	return backends.Int(n)
}

// BenchmarkApply writes steps from so many goroutines at once. With one writer, ns/op is the latency of a step; with
// more, it is the reverse of the throughput.
func BenchmarkApply(b *testing.B) {
	for _, noFsync := range []bool{false, true} {
		for _, writers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("fsync=%t/writers=%d", !noFsync, writers), func(b *testing.B) {
				s := openBench(b, pebble.Options{NoFsync: noFsync})
				benchWriters(b, s, writers)
			})
		}
	}
}

func benchWriters(b *testing.B, s *pebble.Store, writers int) {
	var left, failed atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	done := make(chan struct{})
	for w := range writers {
		go func() {
			instance := fmt.Sprintf("0199a3f2-5b6c-7d8e-9f00-%012d", w)
			for n := int64(1); left.Add(-1) >= 0; n++ {
				if a := s.Apply(b.Context(), stepBatch(instance, n)); a.Outcome != backends.Applied {
					failed.Add(1)
				}
			}
			done <- struct{}{}
		}()
	}
	for range writers {
		<-done
	}
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
	if failed.Load() > 0 {
		b.Fatalf("%d steps were not applied", failed.Load())
	}
}

// cpuTime is what the process has used up, in the kernel too, by all its threads: compactions and the collector count.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func openBench(b *testing.B, o pebble.Options) *pebble.Store {
	b.Helper()
	o.Dir = b.TempDir()
	s, err := pebble.Open(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func BenchmarkGet(b *testing.B) {
	s := openBench(b, pebble.Options{NoFsync: true})
	const rows = 20000
	for n := int64(1); n <= rows; n++ {
		if a := s.Apply(b.Context(), stepBatch("i", n)); a.Outcome != backends.Applied {
			b.Fatal(a)
		}
	}
	for _, c := range []struct {
		name string
		key  func(i int) backends.Key
		hit  bool
	}{
		{"hit", func(i int) backends.Key { return stepBatch("i", int64(i%rows)+1)[1].Key }, true},
		{"miss", func(i int) backends.Key { return stepBatch("i", int64(i)+rows+1)[1].Key }, false},
	} {
		keys := make([]backends.Key, 10000)
		for i := range keys {
			keys[i] = c.key(i * 7919)
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				row, err := s.Get(b.Context(), keys[i%len(keys)])
				if err != nil || row.Exists() != c.hit {
					b.Fatal(row, err)
				}
			}
		})
	}
}

// BenchmarkTenSyncedPuts is the yardstick of this machine: ten synced puts in a row, by pebble alone. p50-µs is the
// median of the ten together.
func BenchmarkTenSyncedPuts(b *testing.B) {
	db, err := pebbledb.Open(b.TempDir(), &pebbledb.Options{Logger: quiet{}})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	value := make([]byte, 256)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		for j := range 10 {
			if err := db.Set(fmt.Appendf(nil, "key-%09d-%d", i, j), value, pebbledb.Sync); err != nil {
				b.Fatal(err)
			}
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
}

type quiet struct{}

func (quiet) Infof(string, ...any)         {}
func (quiet) Errorf(string, ...any)        {}
func (quiet) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
