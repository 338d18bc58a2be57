package sim

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

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

func newWorker(n *Node) *worker { return &worker{node: n, running: map[*intent.Attempt]*Ctx{}} }

// Ctx is what a simulated function works with.
type Ctx struct {
	w    *World
	n    *Node
	a    *intent.Attempt
	log  *attemptLog
	path string
	next *int
	proc *process
	// run counts the attempts of the instance so far, this one included: what a deterministic function must not look at.
	run int
}

// process is the state of one attempt that its branches share.
type process struct {
	mu      sync.Mutex
	waiting map[daal.Step]chan intent.Outcome
	over    chan struct{}
	ended   bool
	last    intent.OpKind
}

var errOver = errors.New("sim: the attempt is over")

func (k *worker) Run(a *intent.Attempt) {
	c := &Ctx{w: k.node.w, n: k.node, a: a, next: new(int), proc: &process{waiting: map[daal.Step]chan intent.Outcome{}, over: make(chan struct{})}}
	c.log, c.run = c.w.history.attempt(a)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.killed {
		return
	}
	k.running[a] = c
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
		if errors.As(why, &nd) && !c.w.Diverges {
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

// underWay lists the last operation of each attempt that runs.
func (k *worker) underWay() []intent.OpKind {
	k.mu.Lock()
	defer k.mu.Unlock()
	var ops []intent.OpKind
	for _, c := range k.running {
		c.proc.mu.Lock()
		if !c.proc.ended && c.proc.last != 0 {
			ops = append(ops, c.proc.last)
		}
		c.proc.mu.Unlock()
	}
	return ops
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
	c.submit("ends", req)
}

// submit sends the sidecar one message.
func (c *Ctx) submit(label string, req intent.StepRequest) {
	if c.n.park(Message, fmt.Sprintf("fn %s/%d %s", c.a.Instance, c.run, label), nil) != Go {
		panic(errOver)
	}
	c.proc.mu.Lock()
	c.proc.last = req.Op.Kind
	c.proc.mu.Unlock()
	if req.Op.Kind < intent.OpComplete {
		c.w.history.issued(c.w, c.log, req.Step, req.Op)
	}
	c.a.Submit([]intent.StepRequest{req})
}

// name gives the next step its name.
func (c *Ctx) name() daal.Step {
	*c.next++
	return daal.Step(c.path + strconv.Itoa(*c.next))
}

// Do issues a step and waits for its answer. A record is its two steps.
func (c *Ctx) Do(op intent.Op) intent.Outcome {
	step := c.name()
	o := c.do(step, op)
	if op.Kind != intent.OpBeginRecord || o.OK || o.Err != nil {
		return o
	}
	// Outside code: it gives something different each time.
	end := intent.Op{Kind: intent.OpEndRecord, Value: daal.JSON(strconv.Itoa(c.w.history.ran(c.a.Instance, step)))}
	if strings.HasPrefix(op.Key, "failing") {
		end = intent.Op{Kind: intent.OpEndRecord, Failure: &intent.Failure{Message: "no", Code: "OUTSIDE"}}
	}
	c.do(step, end)
	o = intent.Outcome{OK: true, Value: end.Value}
	if end.Failure != nil {
		o.Err = end.Failure
	}
	return o
}

func (c *Ctx) do(step daal.Step, op intent.Op) intent.Outcome {
	ch := make(chan intent.Outcome, 1)
	c.proc.mu.Lock()
	c.proc.waiting[step] = ch
	c.proc.mu.Unlock()
	c.submit(fmt.Sprintf("step %s %s", step, op.Kind), intent.StepRequest{Step: step, Op: op})
	select {
	case o := <-ch:
		if errors.Is(o.Err, intent.ErrNoSuchInstance) {
			// No result, so nothing that a deterministic function may act upon: it lets its attempt fail.
			c.submit("crashes", intent.StepRequest{Op: intent.Op{Kind: intent.OpCrash, Message: o.Err.Error()}})
			panic(errOver)
		}
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
