package intent_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/faultstore"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/callback"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// code is a function of the tests.
type code func(c *call) (daal.Value, *intent.Failure)

// call is one attempt of a function.
type call struct {
	a       *intent.Attempt
	mu      sync.Mutex
	answers map[daal.Step]chan intent.Outcome
	over    chan struct{}
	once    sync.Once
	steps   int
}

// process is a worker that runs functions of the service "s" as goroutines.
type process struct {
	functions map[string]code
	mu        sync.Mutex
	calls     map[*intent.Attempt]*call
}

func (p *process) Run(a *intent.Attempt) {
	c := &call{a: a, answers: map[daal.Step]chan intent.Outcome{}, over: make(chan struct{})}
	p.mu.Lock()
	p.calls[a] = c
	p.mu.Unlock()
	go func() {
		defer func() {
			if r := recover(); r != nil && r != errOver {
				panic(r)
			}
		}()
		v, f := p.functions[a.Function.Name](c)
		op := intent.Op{Kind: intent.OpComplete, Value: v}
		if f != nil {
			op = intent.Op{Kind: intent.OpFail, Failure: f}
		}
		a.Submit([]intent.StepRequest{{Op: op}})
	}()
}

func (p *process) call(a *intent.Attempt) *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[a]
}

func (p *process) Answer(a *intent.Attempt, step daal.Step, o intent.Outcome) {
	c := p.call(a)
	c.mu.Lock()
	ch := c.answers[step]
	c.mu.Unlock()
	if ch != nil {
		ch <- o
	}
}

func (p *process) Cancel(a *intent.Attempt, _ error) {
	c := p.call(a)
	c.once.Do(func() { close(c.over) })
}

// kill ends the process, and with it all that runs in it.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		c.once.Do(func() { close(c.over) })
	}
}

var errOver = errors.New("the attempt is over")

// do issues the next step, and waits for its answer.
func (c *call) do(op intent.Op) intent.Outcome {
	c.steps++
	step := daal.Step(strconv.Itoa(c.steps))
	ch := make(chan intent.Outcome, 2)
	c.mu.Lock()
	c.answers[step] = ch
	c.mu.Unlock()
	c.a.Submit([]intent.StepRequest{{Step: step, Op: op}})
	select {
	case o := <-ch:
		return o
	case <-c.over:
		panic(errOver)
	}
}

// crash ends the attempt as an exception does.
func (c *call) crash(why string) {
	c.a.Submit([]intent.StepRequest{{Op: intent.Op{Kind: intent.OpCrash, Message: why}}})
	<-c.over
	panic(errOver)
}

// hang never comes back by itself.
func (c *call) hang() {
	<-c.over
	panic(errOver)
}

func (c *call) read(key string) intent.Outcome {
	return c.do(intent.Op{Kind: intent.OpRead, Table: "t", Key: key})
}

func (c *call) write(key, v string) {
	c.do(intent.Op{Kind: intent.OpWrite, Table: "t", Key: key, Value: daal.JSON(v)})
}

func (c *call) add(key string) intent.Outcome {
	return c.do(intent.Op{Kind: intent.OpUpdate, Table: "t", Key: key, Expr: "found ? value + 1 : 1"})
}

func (c *call) condWrite(key, v, expr string) intent.Outcome {
	return c.do(intent.Op{Kind: intent.OpCondWrite, Table: "t", Key: key, Value: daal.JSON(v), Expr: expr})
}

func (c *call) invoke(name string) intent.Outcome {
	return c.do(intent.Op{Kind: intent.OpInvoke, Target: intent.Function{Service: "s", Name: name}, Value: daal.JSON("null")})
}

// sidecar is a runtime with one worker.
type sidecar struct {
	*intent.Runtime
	at *intent.Attachment
	p  *process
}

func start(t *testing.T, s backends.Store, functions map[string]code, change ...func(*intent.Options)) *sidecar {
	t.Helper()
	local := &callback.Local{}
	o := intent.Options{Invoker: local, RetryMin: time.Millisecond, MaxAttempts: 3}
	for _, f := range change {
		f(&o)
	}
	rt, err := intent.New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	local.Bind(rt)
	sc := &sidecar{Runtime: rt}
	t.Cleanup(sc.stop)
	sc.attach(t, functions)
	return sc
}

func (s *sidecar) attach(t *testing.T, functions map[string]code) {
	t.Helper()
	s.p = &process{functions: functions, calls: map[*intent.Attempt]*call{}}
	var names []string
	for name := range functions {
		names = append(names, name)
	}
	at, err := s.Attach("s", names, 0, s.p)
	if err != nil {
		t.Fatal(err)
	}
	s.at = at
}

// stop ends the sidecar and its worker, as a crash would.
func (s *sidecar) stop() {
	s.Close()
	s.p.kill()
}

func request(id, fn, input string) intent.Request {
	return intent.Request{ID: daal.InstanceID(id), Function: intent.Function{Service: "s", Name: fn}, Input: daal.JSON(input)}
}

// invoke runs an instance and returns its result as text.
func (s *sidecar) invoke(id, fn string) string {
	r, err := s.Invoke(context.Background(), request(id, fn, "null"))
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return string(r.Value.Data)
}

func wantCell(t *testing.T, s backends.Store, key, want string) {
	t.Helper()
	v, _, err := daal.New(s, daal.Options{}).Read(context.Background(), daal.Address{Service: "s", Table: "t", Key: key})
	if err != nil || string(v.Data) != want {
		t.Errorf("cell %s holds %q (%v), want %q", key, v.Data, err, want)
	}
}

// each runs a test in a bubble over each kind of store.
func each(t *testing.T, test func(t *testing.T, s backends.Store)) {
	for name, o := range map[string]memory.Options{
		"store":     {Shared: true},
		"partition": {Scope: backends.ScopePartition, Shared: true},
		"row":       {Scope: backends.ScopeRow, MaxTransaction: 100, Shared: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, memory.New(o)) })
		})
	}
}

func value(v string) (daal.Value, *intent.Failure) { return daal.JSON(v), nil }

// What an operation costs, in store calls, on a store of one scope.
func TestStoreCalls(t *testing.T) {
	functions := map[string]code{
		"nothing": func(c *call) (daal.Value, *intent.Failure) { return value("1") },
		"read":    func(c *call) (daal.Value, *intent.Failure) { c.read("a"); return value("1") },
		"write":   func(c *call) (daal.Value, *intent.Failure) { c.write("a", "1"); return value("1") },
		"writes": func(c *call) (daal.Value, *intent.Failure) {
			for i := range 10 {
				c.write("a"+strconv.Itoa(i), "1")
			}
			return value("1")
		},
		"cold cond":   func(c *call) (daal.Value, *intent.Failure) { c.condWrite("b", "1", "!found"); return value("1") },
		"hot cond":    func(c *call) (daal.Value, *intent.Failure) { c.condWrite("b", "2", "value == 1"); return value("1") },
		"cold update": func(c *call) (daal.Value, *intent.Failure) { c.add("c"); return value("1") },
		"hot update":  func(c *call) (daal.Value, *intent.Failure) { c.add("c"); return value("1") },
		"ten reads": func(c *call) (daal.Value, *intent.Failure) {
			for i := range 10 {
				c.read("a" + strconv.Itoa(i))
			}
			c.write("a", "2")
			return value("1")
		},
		"invoke": func(c *call) (daal.Value, *intent.Failure) { c.invoke("nothing"); return value("1") },
	}
	synctest.Test(t, func(t *testing.T) {
		store := faultstore.Count(memory.New(memory.Options{}))
		s := start(t, store, functions)
		for _, test := range []struct {
			fn           string
			reads, write int64
			why          string
		}{
			{"nothing", 0, 1, "its completion"},
			{"read", 1, 1, "the read, and the completion"},
			{"write", 0, 1, "the write and the completion are one"},
			{"writes", 0, 1, "ten writes and the completion are one"},
			{"cold cond", 1, 2, "the value, the conditional write, the completion"},
			{"hot cond", 0, 2, "the conditional write, the completion"},
			{"cold update", 1, 2, "the value, the update, the completion"},
			{"hot update", 0, 2, "the update, the completion"},
			{"ten reads", 10, 1, "ten reads; the write and the completion are one"},
			{"invoke", 0, 3, "the registration, the callee's completion, its own"},
		} {
			before := store.Counts()
			req := request("i-"+test.fn, test.fn, "null")
			req.Fresh = true
			if _, err := s.Invoke(t.Context(), req); err != nil {
				t.Fatalf("%s: %v", test.fn, err)
			}
			synctest.Wait()
			n := store.Counts().Sub(before)
			if reads := n.Calls() - n.Apply; reads != test.reads || n.Apply != test.write {
				t.Errorf("%s: %d reads and %d writes, want %d and %d: %s", test.fn, reads, n.Apply, test.reads, test.write, test.why)
			}
		}
	})
}

// A replay costs what it takes to load the journal and to begin an attempt; recorded and covered steps cost nothing.
func TestStoreCallsOfAReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := faultstore.Count(memory.New(memory.Options{}))
		var before faultstore.Counts
		crashed := false
		s := start(t, store, map[string]code{"f": func(c *call) (daal.Value, *intent.Failure) {
			for i := range 5 {
				c.read(strconv.Itoa(i))
			}
			c.write("a", "1")
			c.add("b")
			if !crashed {
				crashed = true
				before = store.Counts()
				c.crash("boom")
			}
			return value("1")
		}})
		if got := s.invoke("i", "f"); got != "1" {
			t.Fatal(got)
		}
		n := store.Counts().Sub(before)
		if n.Get != 1 || n.Query != 1 || n.Apply != 2 {
			t.Errorf("%+v, want 1 get (the row), 1 query (the journal), 2 writes (the attempt, the completion)", n)
		}
		wantCell(t, store, "b", "1")
	})
}

// A request that is made again has the same result, and the function ran once; the same key for something else is refused.
func TestIdempotencyKeys(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		fs := map[string]code{
			"f": func(c *call) (daal.Value, *intent.Failure) { return c.add("n").Value, nil },
			"g": func(c *call) (daal.Value, *intent.Failure) { return value("0") },
		}
		a, b := start(t, s, fs), start(t, s, fs)
		for range 3 {
			for _, sc := range []*sidecar{a, b} {
				if got := sc.invoke("i", "f"); got != "1" {
					t.Fatalf("result %s, want 1", got)
				}
				if _, err := sc.Invoke(t.Context(), request("i", "f", "5")); !errors.Is(err, intent.ErrKeyReused) {
					t.Fatalf("another input: %v, want ErrKeyReused", err)
				}
				if r, err := sc.Invoke(t.Context(), request("i", "g", "null")); !errors.Is(err, intent.ErrKeyReused) {
					t.Fatalf("another function: %v, %s; want ErrKeyReused", err, r.Value.Data)
				}
			}
		}
		wantCell(t, s, "n", "1")
	})
}

// Many who ask for an instance at once wait for one run of it, in whatever sidecar.
func TestJoining(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		gate := make(chan struct{})
		fs := map[string]code{"f": func(c *call) (daal.Value, *intent.Failure) {
			v := c.add("n").Value
			<-gate
			return v, nil
		}}
		// b hears of the instance when a has made it durable.
		alive := func(o *intent.Options) { o.Lease = time.Hour }
		a, b := start(t, s, fs, alive), start(t, s, fs, alive)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go a.Run(ctx)
		synctest.Wait()
		results := make(chan string, 10)
		for i := range 10 {
			sc := []*sidecar{a, b}[i%2]
			go func() { results <- sc.invoke("i", "f") }()
			synctest.Wait()
		}
		close(gate)
		for range 10 {
			if got := <-results; got != "1" {
				t.Errorf("result %s, want 1", got)
			}
		}
		wantCell(t, s, "n", "1")
	})
}

// H13: a function that crashes every time is given up, says why, and its effects stand once.
func TestParkedAfterMaxAttempts(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		var runs atomic.Int32
		sc := start(t, s, map[string]code{"f": func(c *call) (daal.Value, *intent.Failure) {
			runs.Add(1)
			c.add("n")
			c.crash("boom")
			return daal.Value{}, nil
		}})
		for range 2 {
			if got := sc.invoke("i", "f"); !strings.Contains(got, "gave up") || !strings.Contains(got, "boom") {
				t.Fatalf("result %s, want that it was given up, and why", got)
			}
		}
		if runs.Load() != 3 {
			t.Errorf("%d attempts, want 3", runs.Load())
		}
		wantCell(t, s, "n", "1")
		d, err := sc.Instance(t.Context(), "i")
		if err != nil || d.State != intent.StateParked {
			t.Errorf("state %v, %v; want parked", d, err)
		}
	})
}

// An attempt that computes too long is ended; the next one goes on from what was recorded.
func TestAttemptTimeout(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		var runs atomic.Int32
		sc := start(t, s, map[string]code{"f": func(c *call) (daal.Value, *intent.Failure) {
			v := c.add("n").Value
			if runs.Add(1) == 1 {
				c.hang()
			}
			return v, nil
		}}, func(o *intent.Options) { o.AttemptTimeout = time.Minute })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go sc.Run(ctx)
		begin := time.Now()
		if got := sc.invoke("i", "f"); got != "1" || runs.Load() != 2 {
			t.Errorf("result %s after %d runs", got, runs.Load())
		}
		if d := time.Since(begin); d < time.Minute || d > 2*time.Minute {
			t.Errorf("ended after %s, want about a minute", d)
		}
		wantCell(t, s, "n", "1")
	})
}

// A worker that is lost: its attempts run again on the next one, at once, and what was recorded is not done again.
func TestLostWorkerIsReplaced(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		var runs atomic.Int32
		fs := map[string]code{"f": func(c *call) (daal.Value, *intent.Failure) {
			v := c.add("n").Value
			if runs.Add(1) == 1 {
				c.hang()
			}
			return v, nil
		}}
		sc := start(t, s, fs)
		result := make(chan string)
		go func() { result <- sc.invoke("i", "f") }()
		synctest.Wait()
		sc.p.kill()
		sc.at.Detach()
		sc.attach(t, fs)
		if got := <-result; got != "1" || runs.Load() != 2 {
			t.Errorf("result %s after %d runs", got, runs.Load())
		}
		wantCell(t, s, "n", "1")
	})
}

// Draining: nothing new begins, what runs goes on to its end.
func TestDrain(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		gate := make(chan struct{})
		sc := start(t, s, map[string]code{
			"f": func(c *call) (daal.Value, *intent.Failure) {
				<-gate
				return c.invoke("g").Value, nil
			},
			"g": func(c *call) (daal.Value, *intent.Failure) { return c.add("n").Value, nil },
		})
		result, drained := make(chan string), make(chan error)
		go func() { result <- sc.invoke("i", "f") }()
		synctest.Wait()
		go func() { drained <- sc.Drain(t.Context()) }()
		synctest.Wait()
		if got := sc.invoke("j", "f"); !strings.Contains(got, intent.ErrClosing.Error()) {
			t.Errorf("a new request: %s, want ErrClosing", got)
		}
		close(gate)
		if got := <-result; got != "1" {
			t.Errorf("result %s, want 1: callees of what still runs are part of it", got)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// R6: the instances of a sidecar that is gone are finished by another.
func TestTakeover(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		a := start(t, s, map[string]code{"f": func(c *call) (daal.Value, *intent.Failure) {
			c.add("n")
			c.hang()
			return daal.Value{}, nil
		}})
		for i := range 5 {
			if err := a.Start(t.Context(), request(fmt.Sprint("i", i), "f", "null")); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		a.stop()
		b := start(t, s, map[string]code{"f": func(c *call) (daal.Value, *intent.Failure) { return c.add("n").Value, nil }})
		rep, err := b.Sweep(t.Context())
		if err != nil || rep.Open != 5 || rep.TakenOver != 5 {
			t.Fatalf("%+v, %v; want 5 taken over", rep, err)
		}
		sum := 0
		for i := range 5 {
			r, err := b.Await(t.Context(), daal.InstanceID(fmt.Sprint("i", i)))
			if err != nil || r.Err() != nil {
				t.Fatal(err, r.Err())
			}
			n, _ := strconv.Atoi(string(r.Value.Data))
			sum += n
		}
		if sum != 1+2+3+4+5 {
			t.Errorf("the counts add up to %d, want 15", sum)
		}
		wantCell(t, s, "n", "5")
		if rep, err := b.Sweep(t.Context()); err != nil || rep.Open != 0 {
			t.Errorf("afterwards: %+v, %v; want nothing open", rep, err)
		}
	})
}

// A function that nobody has announced is refused; one whose worker is away is waited for.
func TestNoSuchFunction(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		fs := map[string]code{"f": func(c *call) (daal.Value, *intent.Failure) { return value("1") }}
		a := start(t, s, fs)
		_, err := a.Invoke(t.Context(), request("i", "unknown", "null"))
		var none *intent.NoSuchFunction
		if !errors.As(err, &none) || none.Function.Name != "unknown" {
			t.Errorf("%v, want NoSuchFunction", err)
		}
		b := start(t, s, map[string]code{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Invoke(ctx, request("j", "f", "null")); !errors.Is(err, intent.ErrInvokeWait) {
			t.Errorf("a function without a worker: %v, want ErrInvokeWait", err)
		}
		b.attach(t, fs)
		if got := b.invoke("j", "f"); got != "1" {
			t.Errorf("when the worker has come: %s", got)
		}
	})
}

// A callee's failure is the caller's to catch, and is remembered as its result.
func TestCalleeFails(t *testing.T) {
	each(t, func(t *testing.T, s backends.Store) {
		crashed := false
		sc := start(t, s, map[string]code{
			"f": func(c *call) (daal.Value, *intent.Failure) {
				var f *intent.Failure
				if o := c.invoke("g"); !errors.As(o.Err, &f) {
					return value("0")
				}
				c.add("n")
				if !crashed {
					crashed = true
					c.crash("after the callee")
				}
				return daal.Value{}, &intent.Failure{Message: "g said " + f.Message, Code: f.Code}
			},
			"g": func(c *call) (daal.Value, *intent.Failure) {
				c.add("m")
				return daal.Value{}, &intent.Failure{Message: "full", Code: "FULL"}
			},
		})
		if got := sc.invoke("i", "f"); got != "error: FULL: g said full" {
			t.Error(got)
		}
		wantCell(t, s, "n", "1")
		wantCell(t, s, "m", "1")
	})
}
