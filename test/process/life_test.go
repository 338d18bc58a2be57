package process

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	beldi "github.com/beldi/beldi/clients/go"
)

// TestRestart: a sidecar takes up what it had open when it died, though nobody asks for it and the lease lasts for longer than this
// test is patient.
func TestRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--lease", "10m")
	sidecar := w.sidecar()
	w.app("bank")
	shop := w.app("shop")
	const n = 20
	var (
		mu      sync.Mutex
		begun   = map[string]bool{}
		resumed = map[string]bool{}
		free    = make(chan struct{})
	)
	w.gates(func(g gate) {
		mu.Lock()
		if g.Attempt > 1 && g.Point == "end" && g.Error == "" {
			resumed[g.Wanted] = true
		}
		held := g.Attempt == 1 && g.Point == "before"
		if held {
			begun[g.Wanted] = true
		}
		mu.Unlock()
		if held {
			<-free
		}
	})
	client, err := beldi.NewClient(w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	started := map[string]beldi.Instance{}
	for i := range n {
		key := fmt.Sprint(i)
		id, err := client.Start(t.Context(), "shop/steps", map[string]string{"Op": "invoke", "Point": key, "Key": key}, beldi.Key(key))
		if err != nil {
			t.Fatal(err)
		}
		started[key] = id
	}
	all := func(m map[string]bool) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(m) == n
		}
	}
	w.until("all are under way", all(begun))
	sidecar.kill()
	shop.kill()
	close(free)
	w.sidecar()
	w.app("shop")
	w.until("all have ended", all(resumed))
	shopCells, bank := w.cells("shop"), w.cells("bank")
	for key := range started {
		if b, e, p := shopCells["begun"][key], shopCells["ended"][key], bank["payments"][key]; string(b)+string(e)+string(p) != "111" {
			t.Errorf("instance %s began %s, ended %s and paid %s times", key, b, e, p)
		}
	}
}

// TestRollingRestart ends the sidecar and the functions, one after another, as an upgrade does, and starts them again. Who repeats what was
// UNAVAILABLE sees nothing of it.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sidecar := w.sidecar()
	bank, shop := w.app("bank"), w.app("shop")
	other := w.app("shop")
	o := w.orders(6)
	more := func() {
		before := o.done()
		w.until("orders go on", func() bool { return o.done() > before+10 || t.Failed() })
	}
	for range 3 {
		more()
		sidecar.signal(syscall.SIGTERM)
		sidecar.exit(0)
		sidecar = w.sidecar()
		more()
		for _, p := range []**process{&bank, &shop, &other} {
			service := (*p).name
			(*p).signal(syscall.SIGTERM)
			(*p).exit(0)
			*p = w.app(service)
		}
	}
	o.end()
	o.audit()
}

// TestSecondSidecar: one process owns a directory; the second says who does, and does not disturb it.
func TestSecondSidecar(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.sidecar()
	w.app("shop")
	second := w.start("beldi", append(append([]string(nil), w.flags...), "--socket", "off")...)
	second.exit(4)
	if pid := fmt.Sprintf("pid %d", first.cmd.Process.Pid); !second.says(pid) {
		t.Errorf("the second sidecar does not name %s:\n%s", pid, second.log.tail())
	}
	if got, err := w.call("shop/echo", 1, "one"); err != nil || got != "1" {
		t.Errorf("the first sidecar, afterwards: %s %v", got, err)
	}
	first.signal(syscall.SIGTERM)
	first.exit(0)
}
