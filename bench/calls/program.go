package calls

import (
	"strconv"
	"sync"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// run is one run of a program. Like the SDKs, it sends operations without answer with the next one that has one, or with the end.
type run struct {
	attempt *intent.Attempt
	steps   int
	pending []intent.StepRequest
	crash   bool

	mu      sync.Mutex
	answers map[daal.Step]chan intent.Outcome // of steps that the program waits for
}

func (r *run) tell(op intent.Op) daal.Step {
	r.steps++
	step := daal.Step(strconv.Itoa(r.steps))
	r.pending = append(r.pending, intent.StepRequest{Step: step, Op: op})
	return step
}

func (r *run) ask(op intent.Op) {
	answer := make(chan intent.Outcome, 1)
	step := r.tell(op)
	r.mu.Lock()
	r.answers[step] = answer
	r.mu.Unlock()
	r.flush()
	<-answer
}

func (r *run) flush() {
	steps := r.pending
	r.pending = nil
	r.attempt.Submit(steps)
}

func nothing(*run) {}

func read(key string) program {
	return func(r *run) { r.ask(intent.Op{Kind: intent.OpRead, Table: "t", Key: key}) }
}

func write(key string) program {
	return func(r *run) { r.tell(intent.Op{Kind: intent.OpWrite, Table: "t", Key: key, Value: daal.JSON("1")}) }
}

func condWrite(key string) program {
	return func(r *run) {
		r.ask(intent.Op{Kind: intent.OpCondWrite, Table: "t", Key: key, Value: daal.JSON("2"), Expr: "value == 1 || !found"})
	}
}

func update(key string) program {
	return func(r *run) {
		r.ask(intent.Op{Kind: intent.OpUpdate, Table: "t", Key: key, Expr: "found ? value + 1 : 1"})
	}
}

func invoke(r *run) {
	r.ask(intent.Op{Kind: intent.OpInvoke, Target: intent.Function{Service: "s", Name: "callee"}, Value: daal.JSON("null")})
}

func sequence(programs ...program) program {
	return func(r *run) {
		for _, p := range programs {
			p(r)
		}
	}
}

func repeat(n int, p func(key string) program) program {
	return func(r *run) {
		for i := range n {
			p("k" + strconv.Itoa(i))(r)
		}
	}
}

// replayed crashes at its end in the first attempt, so that the second finds what was recorded.
func replayed(p program) program {
	return func(r *run) {
		p(r)
		r.crash = r.attempt.Number == 1
	}
}
