package pebble_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/pebble"
)

// A broken store leaves goroutines behind, to the end of the process. So what breaks one is tested in a process of its
// own, which runs the same test again, and is not looked at for leaks.
const childEnv = "BELDI_PEBBLE_TEST_CHILD"

func inChild(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childEnv) != "" {
		return true
	}
	if out, code := runChild(t, "test", "-test.run=^"+t.Name()+"$"); code != 0 {
		t.Errorf("exit %d:\n%s", code, out)
	}
	return false
}

func runChild(t *testing.T, role string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// A badDisk fails some operations while it is on.
type badDisk struct {
	fails func(op errorfs.Op) bool
	err   error
	on    atomic.Bool
}

func (d *badDisk) String() string { return "badDisk" }

func (d *badDisk) MaybeError(op errorfs.Op) error {
	if d.on.Load() && d.fails(op) {
		return d.err
	}
	return nil
}

func isLog(op errorfs.Op) bool      { return strings.HasSuffix(op.Path, ".log") }
func isTable(op errorfs.Op) bool    { return strings.HasSuffix(op.Path, ".sst") }
func isManifest(op errorfs.Op) bool { return strings.HasPrefix(filepath.Base(op.Path), "MANIFEST") }
func isWrite(op errorfs.Op) bool    { return op.Kind == errorfs.OpFileWrite }
func isCreate(op errorfs.Op) bool {
	return op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite
}

var failures = map[string]func(op errorfs.Op) bool{
	"log sync":       func(op errorfs.Op) bool { return isLog(op) && isSync(op) },
	"log write":      func(op errorfs.Op) bool { return isLog(op) && isWrite(op) },
	"log create":     func(op errorfs.Op) bool { return isLog(op) && isCreate(op) },
	"table create":   func(op errorfs.Op) bool { return isTable(op) && isCreate(op) },
	"table write":    func(op errorfs.Op) bool { return isTable(op) && isWrite(op) },
	"table sync":     func(op errorfs.Op) bool { return isTable(op) && isSync(op) },
	"manifest write": func(op errorfs.Op) bool { return isManifest(op) && isWrite(op) },
	"manifest sync":  func(op errorfs.Op) bool { return isManifest(op) && isSync(op) },
	"directory sync": func(op errorfs.Op) bool { return op.Path == "data" && isSync(op) },
}

// TestBroken: a disk that fails breaks the store for good, also if the disk recovers; what was answered is there for
// the next process.
func TestBroken(t *testing.T) {
	if !inChild(t) {
		return
	}
	for name, fails := range failures {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			disk := &badDisk{err: syscall.EIO, fails: fails}
			broken := make(chan error, 2)
			s := open(t, pebble.Options{
				Dir: "data", FS: errorfs.Wrap(mem, disk), OnBroken: func(err error) { broken <- err },
			})
			var l ledger
			if a := l.write(t, s, 1, 2, 3); a.Outcome != backends.Applied {
				t.Fatalf("healthy disk: %s %v", a.Outcome, a.Err)
			}
			disk.on.Store(true)
			a := l.writeOn(t, s, 4, 1)
			if a.Outcome != backends.Unknown || !errors.Is(a.Err, pebble.ErrBroken) || !errors.Is(a.Err, disk.err) {
				t.Errorf("bad disk: %s %v, want unknown with ErrBroken and %v", a.Outcome, a.Err, disk.err)
			}
			if err := <-broken; !errors.Is(err, pebble.ErrBroken) || !errors.Is(err, disk.err) {
				t.Errorf("OnBroken got %v", err)
			}
			disk.on.Store(false)
			if a := s.Apply(t.Context(), ledgerBatch(0)); a.Outcome != backends.Unknown || !errors.Is(a.Err, pebble.ErrBroken) {
				t.Errorf("the disk recovered: %s %v, want ErrBroken", a.Outcome, a.Err)
			}
			if row, err := s.Get(t.Context(), total); !errors.Is(err, pebble.ErrBroken) {
				t.Errorf("get: %v %v, want ErrBroken", row, err)
			}
			r := backends.Range{Kind: total.Kind, Part: total.Part, Limit: 1}
			if _, err := s.Query(t.Context(), r); !errors.Is(err, pebble.ErrBroken) {
				t.Errorf("query: %v, want ErrBroken", err)
			}
			if err := s.Close(); !errors.Is(err, pebble.ErrBroken) {
				t.Errorf("close: %v, want ErrBroken", err)
			}
			if len(broken) > 0 {
				t.Error("OnBroken was called twice")
			}
			checkLedger(t, pebble.Options{Dir: "data", FS: mem.CrashClone(vfs.CrashCloneCfg{})}, l.acks())
		})
	}
}

// writeOn applies from, from+step, … until one is not applied.
func (l *ledger) writeOn(t *testing.T, s backends.Store, from, step int) backends.Answer {
	for n := from; ; n += step {
		if a := l.write(t, s, n); a.Outcome != backends.Applied {
			return a
		}
	}
}

// TestUnreadable: a read that fails is an error of its caller, and no more: nothing was written in doubt.
func TestUnreadable(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, pebble.Options{Dir: "data", FS: mem})
	var l ledger
	if a := l.write(t, s, 1, 2, 3); a.Outcome != backends.Applied {
		t.Fatalf("%s %v", a.Outcome, a.Err)
	}
	if err := s.Close(); err != nil { // the next one opens with tables
		t.Fatal(err)
	}
	disk := &badDisk{err: syscall.EIO, fails: func(op errorfs.Op) bool {
		return isTable(op) && op.Kind == errorfs.OpFileReadAt
	}}
	s = open(t, pebble.Options{Dir: "data", FS: errorfs.Wrap(mem, disk)})
	defer s.Close()
	disk.on.Store(true)
	if row, err := s.Get(t.Context(), total); !errors.Is(err, disk.err) {
		t.Errorf("get: %v %v, want %v", row, err, disk.err)
	}
	if a := s.Apply(t.Context(), ledgerBatch(4)); a.Outcome != backends.Unknown || !errors.Is(a.Err, disk.err) {
		t.Errorf("apply: %s %v, want unknown with %v", a.Outcome, a.Err, disk.err)
	}
	disk.on.Store(false)
	if a := l.write(t, s, 4); a.Outcome != backends.Applied {
		t.Errorf("the disk recovered: %s %v", a.Outcome, a.Err)
	}
}

// TestDiskFull lets the disk fill up at each of the first writes, whatever the file, in runs of their own.
func TestDiskFull(t *testing.T) {
	if !inChild(t) {
		return
	}
	for room := range 60 {
		mem := vfs.NewCrashableMem()
		var used atomic.Int64
		disk := &badDisk{err: syscall.ENOSPC, fails: func(op errorfs.Op) bool {
			return (isWrite(op) || isCreate(op)) && used.Add(1) > int64(room)
		}}
		s := open(t, pebble.Options{Dir: "data", FS: errorfs.Wrap(mem, disk)})
		disk.on.Store(true)
		var l ledger
		done := make(chan backends.Answer)
		const writers = 4
		for w := range writers {
			go func() { done <- l.writeOn(t, s, w, writers) }()
		}
		for range writers {
			if a := <-done; a.Outcome != backends.Unknown || !errors.Is(a.Err, syscall.ENOSPC) {
				t.Errorf("room for %d writes: %s %v", room, a.Outcome, a.Err)
			}
		}
		checkLedger(t, pebble.Options{Dir: "data", FS: mem.CrashClone(vfs.CrashCloneCfg{})}, l.acks())
	}
}

// TestOpenOnBadDisk: a disk that fails while the store is being opened is Open's error.
func TestOpenOnBadDisk(t *testing.T) {
	if !inChild(t) {
		return
	}
	for room := range 30 {
		var used int
		disk := &badDisk{err: syscall.EIO, fails: func(op errorfs.Op) bool {
			used++
			return used > room && op.Kind.ReadOrWrite() == errorfs.OpIsWrite
		}}
		disk.on.Store(true)
		s, err := pebble.Open(pebble.Options{Dir: "data", FS: errorfs.Wrap(vfs.NewMem(), disk)})
		if err == nil {
			disk.on.Store(false)
			if err := s.Close(); err != nil {
				t.Errorf("after %d operations: close: %v", room, err)
			}
		} else if !strings.Contains(err.Error(), disk.err.Error()) { // pebble formats some errors, so errors.Is would not do
			t.Errorf("after %d operations: %v, want %v", room, err, disk.err)
		}
	}
}

// TestExit: a process whose store breaks can end by itself; all that it was answered is in the directory.
func TestExit(t *testing.T) {
	for name := range failures {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			out, code := runChild(t, name, dir)
			var acked []int
			for line := range strings.Lines(out) {
				var n int
				if _, err := fmt.Sscanf(line, "acked %d", &n); err == nil {
					acked = append(acked, n)
				}
			}
			if code != exitBroken {
				t.Errorf("the process ended with %d, after %d batches:\n%s", code, len(acked), out)
			}
			checkLedger(t, pebble.Options{Dir: dir}, acked)
		})
	}
}

// Exit codes of a child that ended as it should.
const (
	exitBroken = 10 + iota
	exitLocked
)

// child is a process of TestExit or TestLocked.
func child(role, dir string) {
	disk := &badDisk{err: syscall.EIO, fails: func(op errorfs.Op) bool {
		op.Path = strings.Replace(op.Path, dir, "data", 1)
		return failures[role](op)
	}}
	s, err := pebble.Open(pebble.Options{
		Dir: dir, FS: errorfs.Wrap(vfs.Default, disk), OnBroken: func(err error) { os.Exit(exitBroken) },
	})
	if errors.Is(err, pebble.ErrLocked) {
		fmt.Println(err)
		os.Exit(exitLocked)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	disk.on.Store(true)
	for n := 1; ; n++ {
		if a := s.Apply(context.Background(), ledgerBatch(n)); a.Outcome == backends.Applied {
			fmt.Println("acked", n)
		}
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, pebble.Options{Dir: dir})
	pid := fmt.Sprintf("(pid %d)", os.Getpid())
	second, err := pebble.Open(pebble.Options{Dir: dir})
	if !errors.Is(err, pebble.ErrLocked) || !strings.Contains(err.Error(), pid) || second != nil {
		t.Errorf("open twice: %v, want ErrLocked with %s", err, pid)
	}
	if out, code := runChild(t, "second", dir); code != exitLocked || !strings.Contains(out, pid) {
		t.Errorf("open by another process: %s, want %s in it", out, pid)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, pebble.Options{Dir: dir}).Close(); err != nil {
		t.Error(err)
	}
}

func TestFormat(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, pebble.Options{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "beldi.format")
	for text, want := range map[string]error{"2\n": pebble.ErrNewer, "1\n": nil} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := pebble.Open(pebble.Options{Dir: dir})
		if !errors.Is(err, want) {
			t.Errorf("format %q: %v, want %v", text, err, want)
		}
		if err == nil {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pebble.Open(pebble.Options{Dir: dir}); err == nil {
		t.Error("a format that is no number was accepted")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := pebble.Open(pebble.Options{Dir: dir}); err == nil {
		t.Error("another's database was accepted")
	}
}

func TestBadOptions(t *testing.T) {
	for name, o := range map[string]pebble.Options{
		"no directory":       {},
		"a negative cache":   {Dir: t.TempDir(), CacheBytes: -1},
		"a negative reserve": {Dir: t.TempDir(), Reserve: -1},
		"a file":             {Dir: os.Args[0]},
	} {
		if _, err := pebble.Open(o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestNoFsync: without syncs a batch is in the kernel's hands when it is answered, so the process's death loses nothing.
func TestNoFsync(t *testing.T) {
	dir, left := t.TempDir(), t.TempDir()
	s := open(t, pebble.Options{Dir: dir, NoFsync: true})
	defer s.Close()
	var l ledger
	if a := l.write(t, s, 1, 2, 3, 4, 5); a.Outcome != backends.Applied {
		t.Fatalf("%s %v", a.Outcome, a.Err)
	}
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	checkLedger(t, pebble.Options{Dir: left}, l.acks())
}
