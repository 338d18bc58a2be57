package pebble_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/pebble"
)

// gauge is a disk that says how full it is as it is told to.
type gauge struct {
	vfs.FS
	free, total atomic.Uint64
}

func (g *gauge) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: g.free.Load(), TotalBytes: g.total.Load(), UsedBytes: g.total.Load() - g.free.Load()}, nil
}

func (g *gauge) Unwrap() vfs.FS { return g.FS }

// fill writes until the store says that it is full.
func (l *ledger) fill(t *testing.T, s backends.Store, from int) (next int) {
	t.Helper()
	for n := from; ; n++ {
		if a := l.write(t, s, n); a.Outcome != backends.Applied {
			if !errors.Is(a.Err, backends.ErrFull) || errors.Is(a.Err, pebble.ErrBroken) {
				t.Fatalf("a full disk: %s %v, want unknown with ErrFull", a.Outcome, a.Err)
			}
			return n
		}
	}
}

// drain repeats a batch until there is room for it.
func (l *ledger) drain(t *testing.T, s backends.Store, n int) {
	t.Helper()
	for {
		a := l.write(t, s, n)
		if a.Outcome == backends.Applied {
			return
		}
		if !errors.Is(a.Err, backends.ErrFull) {
			t.Fatalf("%s %v", a.Outcome, a.Err)
		}
	}
}

// TestReserve: below the reserve writes are refused, reads are not; with room again the same writes go through.
func TestReserve(t *testing.T) {
	for name, c := range map[string]struct{ reserve, total, least uint64 }{
		"default":             {0, 1 << 40, 64 << 20},
		"small file system":   {0, 100 << 20, 25 << 20},
		"given":               {1 << 20, 1 << 40, 1 << 20},
		"larger than default": {1 << 30, 1 << 40, 1 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			disk := &gauge{FS: vfs.NewMem()}
			disk.total.Store(c.total)
			disk.free.Store(c.least)
			o := pebble.Options{Dir: "data", FS: disk, Reserve: int64(c.reserve)}
			s := open(t, o)
			var l ledger
			if a := l.write(t, s, 1, 2, 3); a.Outcome != backends.Applied {
				t.Fatalf("as much is free as is kept: %s %v", a.Outcome, a.Err)
			}
			disk.free.Store(c.least - 1)
			next := l.fill(t, s, 4)
			if row, err := s.Get(t.Context(), total); err != nil || row.Int("n") != int64(next-1) {
				t.Errorf("get on a full disk: %v %v, want %d", row, err, next-1)
			}
			left, _ := halves(1)
			page, err := s.Query(t.Context(), backends.Range{Kind: left.Kind, Part: left.Part, Limit: 1})
			if err != nil || len(page) != 1 {
				t.Errorf("query on a full disk: %v %v", page, err)
			}
			exists := []backends.Update{{Key: left, When: []backends.Cond{{Test: backends.Exists}}}}
			if a := s.Apply(t.Context(), exists); a.Outcome != backends.Applied {
				t.Errorf("a batch that only asks, on a full disk: %s %v", a.Outcome, a.Err)
			}
			if a := s.Apply(t.Context(), []backends.Update{{Key: left, Delete: true}}); !errors.Is(a.Err, backends.ErrFull) {
				t.Errorf("a deletion on a full disk: %s %v, want ErrFull", a.Outcome, a.Err)
			}
			disk.free.Store(c.least)
			l.drain(t, s, next)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			checkLedger(t, o, l.acks())
		})
	}
}

// TestReserveWhileWriting: a disk that fills up within an instant is noticed by what has been written, not only by the clock.
func TestReserveWhileWriting(t *testing.T) {
	disk := &gauge{FS: vfs.NewMem()}
	disk.total.Store(1 << 40)
	disk.free.Store(1 << 40)
	s := open(t, pebble.Options{Dir: "data", FS: disk})
	defer s.Close()
	key := backends.Key{Kind: backends.KindCell, Part: "p"}
	write := func(bytes int) backends.Answer {
		set := []backends.Change{{Field: "v", Set: backends.Bytes(make([]byte, bytes))}}
		return s.Apply(t.Context(), []backends.Update{{Key: key, Do: set}})
	}
	if a := write(1); a.Outcome != backends.Applied {
		t.Fatalf("%s %v", a.Outcome, a.Err)
	}
	disk.free.Store(0)
	write(5 << 20)
	if a := write(1); !errors.Is(a.Err, backends.ErrFull) {
		t.Errorf("after 5 MiB: %s %v, want ErrFull", a.Outcome, a.Err)
	}
}
