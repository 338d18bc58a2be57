package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	beldi "github.com/beldi/beldi/clients/go"
)

// TestFullDisk fills the disk of a sidecar. Callers are told STORE_FULL, the sidecar stays up and answers reads, and when
// something else on the disk is removed, the same requests go through.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("THE FULL DISK IS NOT TESTED: a file system of its own can only be mounted by root")
	}
	w := newWorld(t)
	data := filepath.Join(w.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=128m"); err != nil {
		t.Skipf("THE FULL DISK IS NOT TESTED: mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(data, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	ballast := filepath.Join(data, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 60<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	sidecar := w.sidecar()
	w.app("shop")

	const callers = 4
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		results = map[string]string{}
		refused atomic.Int64 // callers that were told
		room    = make(chan struct{})
	)
	for n := range callers {
		wg.Go(func() {
			isFull := false
			c := caller{address: w.address, refused: func(e *beldi.Error) {
				if e.Reason != "STORE_FULL" {
					t.Errorf("a full disk: %v, want STORE_FULL", e)
				}
				if !isFull {
					isFull = true
					refused.Add(1)
					<-room
				}
			}}
			defer c.close()
			for i := 0; !isFull && !t.Failed(); i++ {
				key := fmt.Sprintf("%d-%d", n, i)
				result, err := c.call("shop/blob", map[string]any{"Key": key, "Size": 200 << 10}, key)
				if err != nil {
					t.Errorf("blob %s: %v", key, err)
				}
				mu.Lock()
				results[key] = result
				mu.Unlock()
			}
		})
	}
	w.until("the disk is full for all", func() bool { return refused.Load() == callers || t.Failed() })
	var usage syscall.Statfs_t
	if err := syscall.Statfs(data, &usage); err != nil {
		t.Fatal(err)
	}
	free := int64(usage.Bavail) * usage.Bsize
	c := caller{address: w.address}
	defer c.close()
	var e *beldi.Error
	if _, err := c.once(t.Context(), "shop/blob", map[string]any{"Key": "new", "Size": 1}, "new"); !errors.As(err, &e) || e.Reason != "STORE_FULL" {
		t.Errorf("a new request on a full disk: %v, want STORE_FULL", err)
	}
	// It is told likewise who only starts: nothing is durable yet.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := func() error {
		_, err := c.client.Start(ctx, "shop/blob", map[string]any{"Key": "started", "Size": 1}, beldi.Key("started"))
		return err
	}
	for range 2 {
		if err := start(); !errors.As(err, &e) || e.Reason != "STORE_FULL" {
			t.Errorf("a start on a full disk: %v, want STORE_FULL", err)
		}
	}
	mu.Lock()
	before := len(results)
	mu.Unlock()
	if got := len(w.cells("shop")["blobs"]); got < before {
		t.Errorf("%d blobs can be read on the full disk, %d were answered", got, before)
	}
	if sidecar.hasEnded() {
		t.Fatalf("the sidecar has ended:\n%s", sidecar.log.tail())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	close(room)
	wg.Wait()
	if _, err := w.call("shop/blob", map[string]any{"Key": "new", "Size": 1}, "new"); err != nil {
		t.Errorf("a request that was refused, again: %v", err)
	}

	w.until("a start that was refused goes through", func() bool { return start() == nil })
	if _, err := w.call("shop/blob", map[string]any{"Key": "started", "Size": 1}, "started"); err != nil {
		t.Errorf("what was started: %v", err)
	}

	n := len(results) + 2
	shop := w.cells("shop")
	if got := string(shop["count"]["blobs"]); got != fmt.Sprint(n) || len(shop["blobs"]) != n {
		t.Errorf("%s blobs were counted and %d are there, want %d", got, len(shop["blobs"]), n)
	}
	numbers := map[int]bool{}
	for key, result := range results {
		if again, err := w.call("shop/blob", map[string]any{"Key": key, "Size": 200 << 10}, key); err != nil || again != result {
			t.Errorf("blob %s was answered %s, and again: %s %v", key, result, again, err)
		}
		var number int
		if err := json.Unmarshal([]byte(result), &number); err != nil {
			t.Errorf("blob %s: %v", key, err)
		}
		numbers[number] = true
	}
	if len(numbers) != len(results) {
		t.Errorf("%d different numbers for %d blobs", len(numbers), len(results))
	}
	t.Logf("%d blobs, %d of them before the disk was full with %d MiB left", n, before, free>>20)
}
