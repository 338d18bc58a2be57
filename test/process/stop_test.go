package process

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
)

// A place is where a function is held: before a step, after it, or – where the step runs code – inside.
type place struct{ op, point string }

var places = func() []place {
	all := []place{{"complete", "before"}, {"record", "inside"}}
	for _, op := range []string{"read", "write", "condWrite", "update", "invoke", "start", "await", "record"} {
		all = append(all, place{op, "before"}, place{op, "after"})
	}
	return all
}()

// held is a run of one instance for each place, whose first attempts are held there.
type held struct {
	w       *world
	callers sync.WaitGroup
	free    chan struct{} // closed when they may go on

	mu      sync.Mutex
	here    int
	ended   []gate // first attempts
	results map[place]string
}

// hold returns when the first attempts are where they are to be held.
func (w *world) hold() *held {
	w.t.Helper()
	h := &held{w: w, free: make(chan struct{}), results: map[place]string{}}
	w.gates(func(g gate) {
		h.mu.Lock()
		if g.Point == "end" && g.Attempt == 1 {
			h.ended = append(h.ended, g)
		}
		wanted := g.Attempt == 1 && g.Point == g.Wanted
		if wanted {
			h.here++
		}
		h.mu.Unlock()
		if wanted {
			<-h.free
		}
	})
	for _, at := range places {
		h.callers.Go(func() {
			result, err := w.call("shop/steps", map[string]string{"Op": at.op, "Point": at.point, "Key": at.key()}, at.key())
			if err != nil {
				w.t.Errorf("%s: %v", at.key(), err)
			}
			h.mu.Lock()
			h.results[at] = result
			h.mu.Unlock()
		})
	}
	w.until("all are held", func() bool { return h.count(func() int { return h.here }) == len(places) })
	return h
}

func (p place) key() string { return p.op + " " + p.point }

func (h *held) count(n func() int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return n()
}

// overtaken waits until the first attempts have ended, and checks that they were told that they no longer count.
func (h *held) overtaken() {
	t := h.w.t
	t.Helper()
	h.w.until("the first attempts have ended", func() bool { return h.count(func() int { return len(h.ended) }) == len(places) })
	for _, g := range h.ended {
		if g.Op == "complete" { // it had nothing more to ask
			continue
		}
		if !g.Over {
			t.Errorf("the first attempt of %s %s went on to its end: %q", g.Op, g.Wanted, g.Error)
		}
	}
}

// audit waits for the results, and checks that each instance did everything once.
func (h *held) audit() {
	t, w := h.w.t, h.w
	t.Helper()
	h.callers.Wait()
	shop, bank := w.cells("shop"), w.cells("bank")
	tokens := w.outside()
	for _, at := range places {
		key, result := at.key(), h.results[at]
		again, err := w.call("shop/steps", map[string]string{"Op": at.op, "Point": at.point, "Key": key}, key)
		if err != nil || again != result {
			t.Errorf("%s was answered %s, and again: %s %v", key, result, again, err)
		}
		want := map[string]string{"begun": "1", "ended": "1"}
		text := map[string]string{
			"read": "1 true", "write": "written", "condWrite": "true", "update": "1", "invoke": "paid", "start": "started",
			"await": "paid", "complete": "done",
		}[at.op]
		switch at.op {
		case "write", "condWrite":
			want["written"] = `"value"`
		case "update":
			want["updated"] = "1"
		case "invoke", "start", "await":
			// What was started may still run; asked with its own key it would be another, so its table is waited for.
			w.until(key+" is paid", func() bool { return string(w.cells("bank")["payments"][key]) != "" })
			if got := string(w.cells("bank")["payments"][key]); got != "1" {
				t.Errorf("%s: paid %s times", key, got)
			}
		}
		for table, value := range want {
			if got := string(shop[table][key]); got != value {
				t.Errorf("%s: table %s has %q, want %s", key, table, got, value)
			}
		}
		if at.op == "record" {
			if len(result) < 2 || tokens[result[1:len(result)-1]] == 0 {
				t.Errorf("%s: %s is no token that was left outside: %v", key, result, tokens)
			}
		} else if result != fmt.Sprintf("%q", text) {
			t.Errorf("%s: the result is %s, want %q", key, result, text)
		}
	}
	if len(tokens) != 3 { // one for each place of record
		t.Errorf("tokens outside: %v, want 3 different ones", tokens)
	}
	if n := len(bank["payments"]); n > 6 {
		t.Errorf("%d keys were paid, want 6", n)
	}
}

// TestStoppedFunction stops a process in the middle of instances. The sidecar notices, another process takes them over, and the one that
// wakes up does no harm.
func TestStoppedFunction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sidecar()
	w.app("bank")
	first := w.app("shop")
	h := w.hold()
	first.stop()
	close(h.free)
	w.app("shop")
	h.callers.Wait() // though nobody asked for the first process's end
	first.signal(syscall.SIGCONT)
	h.overtaken()
	h.audit()
}

// TestStoppedAlone is TestStoppedFunction without another process: the one that was stopped takes its instances up again.
func TestStoppedAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sidecar := w.sidecar()
	w.app("bank")
	first := w.app("shop")
	h := w.hold()
	first.stop()
	close(h.free)
	w.until("the sidecar misses the process", func() bool { return sidecar.says(`msg="worker is gone" service=shop`) })
	first.signal(syscall.SIGCONT)
	h.overtaken()
	h.audit()
}

// TestStoppedSidecar stops the sidecar in the middle of instances, and lets the functions run into it.
func TestStoppedSidecar(t *testing.T) {
	for name, end := range map[string]func(w *world, h *held, sidecar *process){
		"goes on at once": func(w *world, h *held, sidecar *process) {
			sidecar.signal(syscall.SIGCONT)
		},
		"goes on when the function has given up": func(w *world, h *held, sidecar *process) {
			h.overtaken()
			sidecar.signal(syscall.SIGCONT)
		},
		"is killed": func(w *world, h *held, sidecar *process) {
			sidecar.kill()
			w.sidecar()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			sidecar := w.sidecar()
			w.app("bank")
			w.app("shop")
			h := w.hold()
			sidecar.stop()
			close(h.free)
			end(w, h, sidecar)
			h.audit()
		})
	}
}
