package storetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/beldi/beldi/backends"
)

// testCounter lets many writers count one field up by compare-and-set: no increment is lost or made twice.
func testCounter(t *testing.T, e *env) {
	const writers, each = 50, 4
	k := e.key("counter", "")
	e.put(k, int1(0))
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			row := int1(0)
			for done := 0; done < each; {
				n := row.Int("n")
				a := e.store.Apply(e.ctx(), []backends.Update{{
					Key: k, When: when(backends.Equal, "n", backends.Int(n)), Do: sets(int1(n + 1)),
				}})
				switch a.Outcome {
				case backends.Applied:
					done++
					row = int1(n + 1)
				case backends.Refused:
					row = a.Row
				default:
					t.Errorf("compare-and-set: %s", showAnswer(a))
					return
				}
			}
		})
	}
	wg.Wait()
	e.wantRow(k, int1(writers*each))
}

// registerInput is one operation on a register: a read if both are 0, else a compare-and-set.
type registerInput struct{ from, to int64 }

type registerOutput struct {
	value   int64
	applied bool
}

// register is the sequential meaning of the operations of testRegister.
var register = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		in, out, now := input.(registerInput), output.(registerOutput), state.(int64)
		switch {
		case in == registerInput{}:
			return out.value == now, now
		case out.applied:
			return in.from == now, in.to
		default: // refused, with the value that it was judged by
			return in.from != now && out.value == now, now
		}
	},
	DescribeOperation: func(input, output any) string {
		in, out := input.(registerInput), output.(registerOutput)
		if in == (registerInput{}) {
			return fmt.Sprintf("read %d", out.value)
		}
		return fmt.Sprintf("%d to %d: applied %t, now %d", in.from, in.to, out.applied, out.value)
	},
}

// testRegister records what several clients see of one row, and asks for an order of it that explains all (B3, B4).
// Each value is written at most once, so a wrong one names its writer.
func testRegister(t *testing.T, e *env) {
	const clients, each = 8, 30
	k := e.key("register", "")
	e.put(k, int1(0))
	var (
		mu      sync.Mutex
		history []porcupine.Operation
		wg      sync.WaitGroup
		start   = time.Now()
	)
	for client := range clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(client)))
			var known int64
			for i := range each {
				var in registerInput
				if rng.IntN(3) > 0 {
					in = registerInput{from: known, to: int64(client*1000 + i + 1)}
				}
				call := time.Since(start)
				out, err := registerOp(e, k, in)
				ret := time.Since(start)
				if err != nil {
					t.Errorf("client %d: %v", client, err)
					return
				}
				known = out.value
				mu.Lock()
				history = append(history, porcupine.Operation{
					ClientId: client, Input: in, Call: int64(call), Output: out, Return: int64(ret),
				})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if !porcupine.CheckOperations(register, history) {
		t.Error("the history of one row is not linearizable:")
		for _, op := range history {
			t.Logf("client %d, %d to %d ns: %s", op.ClientId, op.Call, op.Return, register.DescribeOperation(op.Input, op.Output))
		}
	}
}

func registerOp(e *env, k backends.Key, in registerInput) (registerOutput, error) {
	if in == (registerInput{}) {
		row, err := e.store.Get(e.ctx(), k)
		return registerOutput{value: row.Int("n")}, err
	}
	a := e.store.Apply(e.ctx(), []backends.Update{{
		Key: k, When: when(backends.Equal, "n", backends.Int(in.from)), Do: sets(int1(in.to)),
	}})
	switch a.Outcome {
	case backends.Applied:
		return registerOutput{value: in.to, applied: true}, nil
	case backends.Refused:
		return registerOutput{value: a.Row.Int("n")}, nil
	}
	return registerOutput{}, fmt.Errorf("compare-and-set: %s", showAnswer(a))
}

// testTransfers moves money between rows by batches of two updates; the sum stays, and no account is overdrawn (B1).
func testTransfers(t *testing.T, e *env) {
	const accounts, workers, each, money = 6, 10, 20, 5
	key := func(i int) backends.Key { return e.key("transfers", fmt.Sprint(i)) }
	if !e.fits(backends.Update{Key: key(0)}, backends.Update{Key: key(1)}) {
		t.Skipf("a store of %s scope without transactions applies no batch of two rows", e.caps.Scope)
	}
	for i := range accounts {
		e.put(key(i), int1(money))
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(w)))
			for range each {
				from := rng.IntN(accounts)
				to := (from + 1 + rng.IntN(accounts-1)) % accounts
				amount := rng.Int64N(money) + 1
				row, err := e.store.Get(e.ctx(), key(from))
				if err != nil {
					t.Errorf("read an account: %v", err)
					return
				}
				if row.Int("n") < amount {
					continue
				}
				a := e.store.Apply(e.ctx(), []backends.Update{
					{Key: key(to), Do: []backends.Change{{Field: "n", Add: amount}}},
					{Key: key(from), When: when(backends.Equal, "n", row.Get("n")), Do: []backends.Change{{Field: "n", Add: -amount}}},
				})
				if a.Outcome == backends.Unknown || a.Outcome == backends.Refused && a.Index != 1 {
					t.Errorf("transfer: %s", showAnswer(a))
					return
				}
			}
		})
	}
	wg.Wait()
	var sum int64
	for i := range accounts {
		n := e.get(key(i)).Int("n")
		if n < 0 {
			t.Errorf("account %d is overdrawn: %d", i, n)
		}
		sum += n
	}
	if sum != accounts*money {
		t.Errorf("the accounts sum up to %d, want %d", sum, accounts*money)
	}
}

// testReadYourWrites tests B4 across goroutines: what was answered, others see, by every kind of read.
func testReadYourWrites(t *testing.T, e *env) {
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			part := fmt.Sprintf("own%d", w)
			for i := range each {
				k := e.key(part, fmt.Sprintf("%03d", i))
				a := e.store.Apply(e.ctx(), []backends.Update{{Key: k, Do: sets(int1(int64(i)))}})
				if a.Outcome != backends.Applied {
					t.Errorf("write: %s", showAnswer(a))
					return
				}
				seen := make(chan string)
				go func() { seen <- staleRead(e, k, i) }()
				if stale := <-seen; stale != "" {
					t.Error(stale)
					return
				}
			}
		})
	}
	wg.Wait()
}

func staleRead(e *env, k backends.Key, i int) string {
	row, err := e.store.Get(e.ctx(), k)
	if err != nil || !sameRow(row, int1(int64(i))) {
		return fmt.Sprintf("Get(%s) after its write = %s, %v", k, show(row), err)
	}
	r := backends.Range{Kind: k.Kind, Part: k.Part, Limit: 1, Descending: true}
	page, err := e.store.Query(e.ctx(), r)
	if err != nil || len(page) != 1 || page[0].Key != k {
		return fmt.Sprintf("%s after the write of %s:%s, %v", showRange(r, false), k, showEntries(page), err)
	}
	r = backends.Range{Kind: k.Kind, Part: k.Part, Limit: i + 1}
	page, err = e.store.Scan(e.ctx(), r)
	if err != nil || len(page) != i+1 || page[i].Key != k {
		return fmt.Sprintf("%s after the write of %s:%s, %v", showRange(r, true), k, showEntries(page), err)
	}
	return ""
}
