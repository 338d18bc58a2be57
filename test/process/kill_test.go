package process

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// orders asks for orders from several callers at once until it is told to end, and keeps what each key was answered.
type orders struct {
	w       *world
	mu      sync.Mutex
	results map[string]string
	ended   atomic.Bool
	callers sync.WaitGroup
}

func (w *world) orders(callers int) *orders {
	o := &orders{w: w, results: map[string]string{}}
	for n := range callers {
		o.callers.Go(func() {
			c := caller{address: w.address}
			defer c.close()
			for i := 0; !o.ended.Load() && !w.t.Failed(); i++ {
				key := fmt.Sprintf("%d-%d", n, i)
				result, err := c.call("shop/order", key, key)
				if err != nil {
					w.t.Errorf("order %s: %v", key, err)
				}
				o.mu.Lock()
				o.results[key] = result
				o.mu.Unlock()
			}
		})
	}
	return o
}

func (o *orders) done() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.results)
}

func (o *orders) end() {
	o.ended.Store(true)
	o.callers.Wait()
}

// audit checks that each order was done once, and is answered again as it was answered before.
func (o *orders) audit() {
	t, w := o.w.t, o.w
	t.Helper()
	shop, bank := w.cells("shop"), w.cells("bank")
	n := len(o.results)
	tickets, ids, tokens := map[int]bool{}, map[string]bool{}, w.outside()
	payments := map[int]bool{}
	again := caller{address: w.address}
	defer again.close()
	for key, result := range o.results {
		if got, err := again.call("shop/order", key, key); err != nil || got != result {
			t.Errorf("order %s was answered %s, and again: %s %v", key, result, got, err)
		}
		var r struct {
			Ticket, Paid, Noted int
			Token, ID           string
		}
		if err := json.Unmarshal([]byte(result), &r); err != nil {
			t.Fatalf("order %s: %v in %q", key, err, result)
		}
		tickets[r.Ticket], ids[r.ID] = true, true
		payments[r.Paid], payments[r.Noted] = true, true
		if tokens[r.Token] == 0 {
			t.Errorf("order %s: its recorded code never ran", key)
		}
		for table, want := range map[string]string{"orders": fmt.Sprint(r.Ticket), "once": fmt.Sprint(r.Ticket)} {
			if got := string(shop[table][key]); got != want {
				t.Errorf("order %s: table %s has %q, want %s", key, table, got, want)
			}
		}
		for _, k := range []string{key, key + " note"} {
			if got := string(bank["payments"][k]); got != "1" {
				t.Errorf("order %s: it was paid %q times, want 1", k, got)
			}
		}
	}
	for what, got := range map[string]int{
		"distinct tickets": len(tickets), "distinct UUIDs": len(ids), "distinct tokens outside": len(tokens),
		"rows in orders": len(shop["orders"]), "rows in once": len(shop["once"]),
	} {
		if got != n {
			t.Errorf("%d %s, want %d", got, what, n)
		}
	}
	if len(payments) != 2*n || len(bank["payments"]) != 2*n {
		t.Errorf("%d distinct payments, %d rows, want %d", len(payments), len(bank["payments"]), 2*n)
	}
	if got := string(shop["count"]["orders"]); got != fmt.Sprint(n) {
		t.Errorf("%s orders were counted, want %d", got, n)
	}
	if got := string(bank["count"]["payments"]); got != fmt.Sprint(2*n) {
		t.Errorf("%s payments were counted, want %d", got, 2*n)
	}
}

// TestKill kills functions, the sidecar, or all of them at once, over and over, while callers order.
func TestKill(t *testing.T) {
	kills := 100
	switch {
	case testing.Short():
		kills = 15
	case *full:
		kills = 3000
	}
	rng := rand.New(rand.NewPCG(*seed, 1))
	w := newWorld(t)
	start := map[string]func() *process{
		"sidecar": w.sidecar,
		"shop 1":  func() *process { return w.start("app", "shop") },
		"shop 2":  func() *process { return w.start("app", "shop") },
		"bank":    func() *process { return w.start("app", "bank") },
	}
	victims := [][]string{
		{"sidecar"}, {"shop 1"}, {"shop 2"}, {"bank"}, {"shop 1", "shop 2"}, {"shop 1", "shop 2", "bank"},
		{"sidecar", "shop 1"}, {"sidecar", "shop 1", "shop 2", "bank"},
	}
	running := map[string]*process{"sidecar": w.sidecar(), "shop 1": w.app("shop"), "shop 2": w.app("shop"), "bank": w.app("bank")}
	o := w.orders(8)
	w.until("the first order is done", func() bool { return o.done() > 0 })
	for n := 0; n < kills && !t.Failed(); n++ {
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		names := slices.Clone(victims[rng.IntN(len(victims))])
		rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			running[name].kill()
		}
		for _, name := range names {
			running[name] = start[name]()
		}
		if n%10 == 9 { // it is not enough that nothing is doubled
			before := o.done()
			w.until("another order is done", func() bool { return o.done() > before || t.Failed() })
		}
	}
	o.end()
	o.audit()
	t.Logf("%d kills (seed %d), %d orders done once", kills, *seed, o.done())
}
