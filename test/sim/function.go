package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// worker is a function process: it runs attempts as goroutines.
type worker struct {
	node    *Node
	mu      sync.Mutex
	killed  bool
	running map[*intent.Attempt]*Ctx
}

// Ctx is what a simulated function works with.
type Ctx struct {
	w    *World
	n    *Node
	a    *intent.Attempt
	log  *attemptLog
	path string
	next *int
	proc *process
}

// process is the state of one attempt that its branches share.
type process struct {
	mu      sync.Mutex
	waiting map[daal.Step]chan intent.Outcome
	over    chan struct{}
	ended   bool
}

var errOver = errors.New("sim: the attempt is over")

func (k *worker) Run(a *intent.Attempt) {
	c := &Ctx{w: k.node.w, n: k.node, a: a, next: new(int), proc: &process{waiting: map[daal.Step]chan intent.Outcome{}, over: make(chan struct{})}}
	c.log = c.w.history.attempt(a)
	k.mu.Lock()
	if k.killed {
		k.mu.Unlock()
		return
	}
	k.running[a] = c
	k.mu.Unlock()
	go c.main()
}

func (k *worker) find(a *intent.Attempt) *Ctx {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.running[a]
}

func (k *worker) Answer(a *intent.Attempt, step daal.Step, o intent.Outcome) {
	c := k.find(a)
	if c == nil {
		return
	}
	if step == "" {
		c.proc.end()
		return
	}
	c.proc.mu.Lock()
	ch := c.proc.waiting[step]
	delete(c.proc.waiting, step)
	c.proc.mu.Unlock()
	if ch != nil {
		c.w.history.answered(c.w, c.log, step, o)
		ch <- o
	}
}

func (k *worker) Cancel(a *intent.Attempt, why error) {
	if c := k.find(a); c != nil {
		var nd *intent.NonDeterminism
		if errors.As(why, &nd) {
			c.w.history.diverged(why)
		}
		c.proc.end()
	}
}

func (p *process) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.ended = true
		close(p.over)
	}
}

func (k *worker) killAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.killed = true
	for _, c := range k.running {
		c.proc.end()
	}
}

func (c *Ctx) main() {
	defer func() {
		if r := recover(); r != nil && r != errOver {
			panic(r)
		}
	}()
	f := functions[c.a.Function.Name]
	result, failure := f(c)
	req := intent.StepRequest{Op: intent.Op{Kind: intent.OpComplete, Value: result}}
	if failure != nil {
		req.Op = intent.Op{Kind: intent.OpFail, Failure: failure}
	}
	c.w.history.completes(c.log, result, failure)
	if c.n.park(fmt.Sprintf("fn %s/%d ends", c.a.Instance, c.a.Number), false, true) == Go {
		c.a.Submit([]intent.StepRequest{req})
	}
}

// name gives the next step its name.
func (c *Ctx) name() daal.Step {
	*c.next++
	return daal.Step(c.path + strconv.Itoa(*c.next))
}

// Do issues a step and waits for its answer.
func (c *Ctx) Do(op intent.Op) intent.Outcome {
	step := c.name()
	return c.do(step, op)
}

func (c *Ctx) do(step daal.Step, op intent.Op) intent.Outcome {
	ch := make(chan intent.Outcome, 1)
	c.proc.mu.Lock()
	c.proc.waiting[step] = ch
	c.proc.mu.Unlock()
	if c.n.park(fmt.Sprintf("fn %s/%d step %s %s", c.a.Instance, c.a.Number, step, op.Kind), false, true) != Go {
		panic(errOver)
	}
	c.w.history.issued(c.w, c.log, step, op)
	c.a.Submit([]intent.StepRequest{{Step: step, Op: op}})
	select {
	case o := <-ch:
		return o
	case <-c.proc.over:
		panic(errOver)
	}
}

// Fork runs branches side by side.
func (c *Ctx) Fork(branches ...func(*Ctx)) {
	*c.next++
	var wg sync.WaitGroup
	var over bool
	var mu sync.Mutex
	for i, f := range branches {
		b := *c
		b.next = new(int)
		b.path = fmt.Sprintf("%s%d/%d.", c.path, *c.next, i+1)
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if r := recover(); r != nil {
					if r != errOver {
						panic(r)
					}
					mu.Lock()
					over = true
					mu.Unlock()
				}
			}()
			f(&b)
		}()
	}
	wg.Wait()
	if over {
		panic(errOver)
	}
}

// ---- functions

// functions of the zoo. Each is deterministic in its input and its results.
var functions = map[string]func(*Ctx) (daal.Value, *intent.Failure){
	"random": randomProgram,
	"leaf":   randomProgram,
	"script": scripted,
}

var functionNames = []string{"random", "leaf", "script"}

const tables = "t"

func cellName(i int) string { return "k" + strconv.Itoa(i) }

const cellCount = 3

// randomProgram does a few operations; which, depends on its input (a seed) and on all results so far. Its result is a hash of them.
func randomProgram(c *Ctx) (daal.Value, *intent.Failure) {
	h := fnv.New64a()
	h.Write(c.a.Input.Data)
	h.Write([]byte(c.a.Function.Name))
	mix := func(o intent.Outcome) { fmt.Fprint(h, describeOutcome(o)) }
	steps := 1 + int(h.Sum64()%6)
	for i := 0; i < steps; i++ {
		fmt.Fprint(h, i)
		rng := rand.New(rand.NewPCG(h.Sum64(), 7))
		if c.a.Function.Name == "random" && rng.IntN(8) == 0 {
			n := 2 + rng.IntN(2)
			outs := make([]intent.Outcome, n)
			branches := make([]func(*Ctx), n)
			for b := range branches {
				r2 := rand.New(rand.NewPCG(h.Sum64(), uint64(b)))
				branches[b] = func(c *Ctx) { outs[b] = c.Do(randomOp(c, r2)) }
			}
			c.Fork(branches...)
			for _, o := range outs {
				mix(o)
			}
			continue
		}
		op := randomOp(c, rng)
		if op.Kind == intent.OpBeginRecord {
			mix(record(c, op))
			continue
		}
		mix(c.Do(op))
	}
	out := daal.JSON(strconv.FormatUint(h.Sum64(), 10))
	if h.Sum64()%11 == 0 {
		return daal.Value{}, &intent.Failure{Message: string(out.Data), Code: "ODD"}
	}
	return out, nil
}

// record runs outside code: it counts how often, and returns something different each time.
func record(c *Ctx, op intent.Op) intent.Outcome {
	step := c.name()
	o := c.do(step, op)
	if o.Err != nil || o.OK {
		return intent.Outcome{Value: o.Value, OK: true}
	}
	v := daal.JSON(strconv.Itoa(c.w.history.ran(c.a.Instance, step)))
	c.do(step, intent.Op{Kind: intent.OpEndRecord, Value: v})
	return intent.Outcome{Value: v, OK: true}
}

func randomOp(c *Ctx, rng *rand.Rand) intent.Op {
	key := cellName(rng.IntN(cellCount))
	unique := daal.JSON(strconv.FormatUint(rng.Uint64()>>12, 10))
	switch x := rng.IntN(20); {
	case x < 4:
		return intent.Op{Kind: intent.OpRead, Table: tables, Key: key}
	case x < 8:
		return intent.Op{Kind: intent.OpWrite, Table: tables, Key: key, Value: unique}
	case x < 9:
		return intent.Op{Kind: intent.OpDelete, Table: tables, Key: key}
	case x < 12:
		return intent.Op{Kind: intent.OpCondWrite, Table: tables, Key: key, Value: unique, Expr: "!found || value % 2 == 0"}
	case x < 15:
		return intent.Op{Kind: intent.OpUpdate, Table: tables, Key: key, Expr: "found ? value + 1 : 1"}
	case x < 16:
		return intent.Op{Kind: intent.OpBeginRecord, Key: "code"}
	case x < 17:
		return intent.Op{Kind: intent.OpUUID}
	default:
		if c.a.Function.Name == "leaf" {
			return intent.Op{Kind: intent.OpRead, Table: tables, Key: key}
		}
		return intent.Op{Kind: intent.OpInvoke, Target: intent.Function{Service: "svc", Name: "leaf"}, Value: unique}
	}
}

func describeOutcome(o intent.Outcome) string {
	err := ""
	if o.Err != nil {
		err = o.Err.Error()
	}
	return fmt.Sprintf("{%v %s %s}", o.OK, o.Value.Data, err)
}

// ---- clients

// request asks for an instance until it has a result, of whichever sidecar lives.
func (w *World) request(id daal.InstanceID, fn string, input daal.Value, first int) {
	w.mu.Lock()
	w.pending++
	w.mu.Unlock()
	go func() {
		defer func() {
			w.mu.Lock()
			w.pending--
			w.mu.Unlock()
		}()
		for n := first; ; n++ {
			w.mu.Lock()
			node := w.Nodes[n%len(w.Nodes)]
			rt, dead, closed := node.rt, node.dead || node.rt == nil, w.closed
			w.mu.Unlock()
			if closed {
				return
			}
			if dead {
				time.Sleep(20 * time.Millisecond)
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			result, err := rt.Invoke(ctx, intent.Request{ID: id, Function: intent.Function{Service: "svc", Name: fn}, Input: input})
			cancel()
			if err == nil {
				w.history.result(w, id, fn, input, result)
				return
			}
			if errors.Is(err, intent.ErrKeyReused) {
				w.history.fail(fmt.Errorf("request %s: %w", id, err))
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
}
