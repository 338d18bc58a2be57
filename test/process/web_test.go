package process

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// TestEndpoint kills a function without SDK, behind an HTTP endpoint, in the middle of its attempts. The tokens of attempts that are over
// open nothing any more.
func TestEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sidecar()
	const n, deaths = 10, 3
	var (
		mu      sync.Mutex
		tokens  []string
		waiting int
		free    = make(chan struct{})
	)
	w.gates(func(g gate) {
		mu.Lock()
		tokens = append(tokens, g.Token)
		waiting++
		mu.Unlock()
		<-free
	})
	web := w.app("web")
	var callers sync.WaitGroup
	results := make([]string, n)
	for i := range n {
		callers.Go(func() {
			var err error
			if results[i], err = w.call("web/order", fmt.Sprint(i), fmt.Sprint(i)); err != nil {
				t.Errorf("order %d: %v", i, err)
			}
		})
	}
	for range deaths {
		w.until("all attempts are in the middle", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return waiting == n
		})
		mu.Lock()
		waiting = 0
		mu.Unlock()
		web.kill()
		web = w.app("web")
	}
	close(free)
	callers.Wait()

	for _, token := range tokens {
		status, reason, err := w.post("/v1/steps:write", `{"table": "ended", "key": "0", "value": "harm"}`, map[string][]string{"Beldi-Attempt": {token}})
		if err != nil || reason != "SUPERSEDED" && reason != "BAD_TOKEN" || status != 409 && status != 401 {
			t.Errorf("a step of an attempt that is over: %d %s %v, want 409 SUPERSEDED or 401 BAD_TOKEN", status, reason, err)
		}
	}
	cells := w.cells("web")
	tickets := map[string]bool{}
	for i, result := range results {
		result = strings.TrimSpace(result)
		key := fmt.Sprint(i)
		if b, e := cells["begun"][key], cells["ended"][key]; string(b)+string(e) != "11" {
			t.Errorf("order %s began %s and ended %s times", key, b, e)
		}
		if again, err := w.call("web/order", key, key); err != nil || strings.TrimSpace(again) != result {
			t.Errorf("order %s was answered %s, and again: %s %v", key, result, again, err)
		}
		tickets[result] = true
	}
	if got := string(cells["count"]["orders"]); got != fmt.Sprint(n) || len(tickets) != n {
		t.Errorf("%s orders were counted, with %d different tickets, want %d", got, len(tickets), n)
	}
}
