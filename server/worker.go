package server

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// What a stream holds back for a worker that reads slowly.
const (
	// maxToWorker is where one message ends and the next begins; SDKs take messages of 4 MiB.
	maxToWorker = 2 << 20
	// With so many bytes waiting, no more steps are read from the worker.
	fullStream = 4 << 20
	// With so many (attempts come unasked), it is cut off.
	overfullStream = 64 << 20
	// So long may one message wait for a worker that does not read.
	stallLimit = 30 * time.Second
)

var (
	errStalled  = refuse(reasonOverloaded, "the worker reads nothing, or too slowly")
	errDraining = refuse(reasonDraining, "the sidecar is shutting down")
)

type workersService struct {
	beldiv1.UnimplementedWorkersServer
	*Server
}

// Work is the life of a worker.
func (s workersService) Work(g grpc.BidiStreamingServer[beldiv1.FromWorker, beldiv1.ToWorker]) error {
	first, err := g.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return malformed("the first message of a worker must have hello")
	}
	functions, f := checkHello(hello)
	if f != nil {
		return f
	}
	st := newStream(hello.GetService(), s.stall)
	if !s.addStream(st) {
		return errDraining
	}
	defer s.removeStream(st)
	st.welcome(s.o.Info.Version, false)
	// Attempts may come before Attach returns.
	at, err := s.o.Runtime.Attach(hello.GetService(), functions, int(hello.GetConcurrency()), st)
	if err != nil {
		return faultOf(err)
	}
	defer at.Detach()
	defer st.close()
	st.at = at
	log := s.log.With("service", hello.GetService(), "functions", functions, "sdk", cut(hello.GetSdk(), maxName))
	log.Info("worker is here")
	defer log.Info("worker is gone")

	// Reader and writer end with the stream's context, which ends when this method returns.
	done := make(chan error, 2)
	s.tasks.Go(func() { done <- st.write(g) })
	s.tasks.Go(func() { done <- st.read(g, first) })
	select {
	case err = <-done:
	case f := <-st.over:
		err = f
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func checkHello(h *beldiv1.Hello) ([]string, *fault) {
	if h.GetConcurrency() < 0 {
		return nil, malformed("concurrency is %d, it must be at least 0", h.GetConcurrency())
	}
	return checkFunctions(h.GetService(), h.GetFunctions())
}

// maxFunctions of one worker.
const maxFunctions = 1000

// checkFunctions returns the functions that a service announces, each once.
func checkFunctions(service string, names []string) ([]string, *fault) {
	if f := checkName("service", service); f != nil {
		return nil, f
	}
	if len(names) == 0 || len(names) > maxFunctions {
		return nil, malformed("%d functions announced, it must be 1 to %d", len(names), maxFunctions)
	}
	for _, name := range names {
		if f := checkName("function", name); f != nil {
			return nil, f
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names))), nil
}

// stream is the intent.Worker at the other end of a worker's stream. Whatever goes to the worker is collected, and leaves in one message as soon
// as the one before is on its way.
type stream struct {
	service string
	stall   time.Duration
	at      *intent.Attachment

	over chan *fault   // cut off, and why
	wake chan struct{} // for the writer: there is something to send
	room chan struct{} // for the reader: something was sent

	mu       sync.Mutex
	closed   bool
	last     uint64
	byNumber map[uint64]*streamAttempt
	of       map[*intent.Attempt]*streamAttempt
	out      []outgoing
	pending  int // bytes in out, about
}

type outgoing struct {
	m    *beldiv1.ToWorker
	size int
}

type streamAttempt struct {
	*intent.Attempt
	number uint64
	// asked holds the steps without answer, but for silent ones. A slice: there are rarely more than a few.
	asked []asked
	// refused is why a step that nobody waits for was refused. The function has moved on, so the attempt cannot complete.
	refused *fault
}

type asked struct {
	step daal.Step
	kind intent.OpKind
}

func newStream(service string, stall time.Duration) *stream {
	return &stream{
		service:  service,
		stall:    stall,
		over:     make(chan *fault, 1),
		wake:     make(chan struct{}, 1),
		room:     make(chan struct{}, 1),
		byNumber: map[uint64]*streamAttempt{},
		of:       map[*intent.Attempt]*streamAttempt{},
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is signalled already
	}
}

// end cuts the worker off.
func (st *stream) end(why *fault) {
	select {
	case st.over <- why:
	default:
	}
}

func (st *stream) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closed = true
	st.out = nil
}

// next is the message that something of about size bytes can be added to. Called with the lock held.
func (st *stream) next(size int) *beldiv1.ToWorker {
	n := len(st.out)
	if n == 0 || st.out[n-1].size+size > maxToWorker {
		st.out = append(st.out, outgoing{m: &beldiv1.ToWorker{}})
		n++
	}
	st.out[n-1].size += size
	st.pending += size
	if st.pending > overfullStream {
		st.end(errStalled)
	}
	signal(st.wake)
	return st.out[n-1].m
}

func (st *stream) welcome(version string, draining bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.next(64).Welcome = &beldiv1.Welcome{Version: version, Limits: limits(), Draining: draining}
}

// write sends what is pending until the stream ends.
func (st *stream) write(g grpc.ServerStreamingServer[beldiv1.ToWorker]) error {
	watchdog := time.AfterFunc(st.stall, func() { st.end(errStalled) })
	defer watchdog.Stop()
	for {
		watchdog.Stop()
		select {
		case <-st.wake:
		case <-g.Context().Done():
			return g.Context().Err()
		}
		for m := st.take(); m != nil; m = st.take() {
			watchdog.Reset(st.stall)
			if err := g.Send(m); err != nil {
				return err
			}
			signal(st.room)
		}
	}
}

func (st *stream) take() *beldiv1.ToWorker {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.out) == 0 {
		return nil
	}
	first := st.out[0]
	st.out[0] = outgoing{}
	st.out = st.out[1:]
	st.pending -= first.size
	return first.m
}

// read takes the worker's messages until the stream ends.
func (st *stream) read(g grpc.BidiStreamingServer[beldiv1.FromWorker, beldiv1.ToWorker], m *beldiv1.FromWorker) error {
	for first := true; ; first = false {
		if h := m.GetHello(); h != nil && h.GetDraining() {
			st.at.Drain()
		} else if h != nil && !first {
			return malformed("hello can only be repeated with draining")
		}
		st.steps(m.GetSteps())
		if err := st.waitForRoom(g.Context()); err != nil {
			return err
		}
		var err error
		if m, err = g.Recv(); err != nil {
			return err
		}
	}
}

func (st *stream) waitForRoom(ctx context.Context) error {
	for {
		st.mu.Lock()
		full := st.pending > fullStream
		st.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-st.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// steps hands the steps of one message over, those of an attempt together.
func (st *stream) steps(steps []*beldiv1.Step) {
	byAttempt := func(a, b *beldiv1.Step) int {
		switch {
		case a.GetAttempt() < b.GetAttempt():
			return -1
		case a.GetAttempt() > b.GetAttempt():
			return 1
		}
		return 0
	}
	if len(steps) > 1 && !slices.IsSortedFunc(steps, byAttempt) {
		slices.SortStableFunc(steps, byAttempt)
	}
	for len(steps) > 0 {
		n := 1
		for n < len(steps) && steps[n].GetAttempt() == steps[0].GetAttempt() {
			n++
		}
		st.submit(steps[:n])
		steps = steps[n:]
	}
}

func (st *stream) submit(steps []*beldiv1.Step) {
	number := steps[0].GetAttempt()
	st.mu.Lock()
	t := st.byNumber[number]
	if t == nil {
		if number == 0 || number > st.last {
			for _, s := range steps {
				st.refuse(number, s.GetName(), malformed("there is no attempt %d on this stream", number))
			}
		} // else it is over, and the worker will learn that, or knows
		st.mu.Unlock()
		return
	}
	st.mu.Unlock()

	requests := make([]intent.StepRequest, 0, len(steps))
	for _, s := range steps {
		op, f := streamOp(st.service, s)
		step := daal.Step(s.GetName())
		if ends(op.Kind) {
			step = ""
			op = st.ending(t, op, f)
		} else {
			if f == nil {
				f = checkStep(s.GetName())
			}
			if !st.ask(t, asked{step, op.Kind}, f) {
				continue
			}
		}
		requests = append(requests, intent.StepRequest{Step: step, Op: op})
	}
	t.Submit(requests)
}

// ask notes a step that is to be answered. It returns false, and answers, if the step was refused.
func (st *stream) ask(t *streamAttempt, s asked, f *fault) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if f == nil {
		if !silent(s.kind) {
			t.asked = append(t.asked, s)
		}
		return true
	}
	if silent(s.kind) && t.refused == nil {
		t.refused = f
	}
	st.refuse(t.number, string(s.step), f)
	return false
}

// ending judges how an attempt wants to end. A result that cannot be taken is a crash: the function believes that it returned something else.
func (st *stream) ending(t *streamAttempt, op intent.Op, f *fault) intent.Op {
	st.mu.Lock()
	defer st.mu.Unlock()
	if f == nil && op.Kind == intent.OpComplete {
		f = t.refused
	}
	if f != nil {
		st.cancel(t, f)
		op = crashOp(f.Error(), "")
	}
	if op.Kind == intent.OpCrash {
		st.forget(t) // nothing of it is worth an answer
	}
	return op
}

// refuse answers a step with an error. Called with the lock held.
func (st *stream) refuse(number uint64, step string, f *fault) {
	m := st.next(128 + len(f.message))
	m.Answers = append(m.Answers, &beldiv1.Answer{Attempt: number, Step: step, Result: &beldiv1.Answer_Error{Error: f.inStream()}})
}

func (st *stream) forget(t *streamAttempt) {
	delete(st.byNumber, t.number)
	delete(st.of, t.Attempt)
}

// Run implements intent.Worker.
func (st *stream) Run(a *intent.Attempt) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed { // Detach, which follows, stops it
		return
	}
	a.Quiet = true
	st.last++
	t := &streamAttempt{Attempt: a, number: st.last}
	st.byNumber[t.number] = t
	st.of[a] = t
	m := st.next(256 + len(a.Input.Data))
	m.Attempts = append(m.Attempts, &beldiv1.Attempt{
		Attempt:     t.number,
		Instance:    string(a.Instance),
		Service:     a.Function.Service,
		Function:    a.Function.Name,
		Input:       payload(a.Input),
		Number:      int32(a.Number),
		Traceparent: a.Traceparent,
	})
}

// Answer implements intent.Worker.
func (st *stream) Answer(a *intent.Attempt, step daal.Step, o intent.Outcome) {
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.of[a]
	switch {
	case t == nil || st.closed:
		return
	case step == "": // its end is durable
		st.forget(t)
		return
	}
	kind := t.answered(step)
	if kind == 0 { // a silent one
		if o.Err == nil {
			return
		}
		if t.refused == nil {
			t.refused = faultOf(o.Err)
		}
	}
	answer := &beldiv1.Answer{Attempt: t.number, Step: string(step), Replayed: o.Replayed}
	size := setResult(answer, kind, a, step, &o)
	m := st.next(size + 64 + len(step))
	m.Answers = append(m.Answers, answer)
}

// answered returns what was asked under a step's name, 0 if nothing was, and forgets it.
func (t *streamAttempt) answered(step daal.Step) intent.OpKind {
	for i := range t.asked {
		if t.asked[i].step == step {
			kind := t.asked[i].kind
			t.asked = slices.Delete(t.asked, i, i+1)
			return kind
		}
	}
	return 0
}

// Cancel implements intent.Worker.
func (st *stream) Cancel(a *intent.Attempt, why error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.of[a]
	if t == nil || st.closed {
		return
	}
	st.forget(t)
	st.cancel(t, faultOf(why))
}

func (st *stream) cancel(t *streamAttempt, f *fault) {
	m := st.next(128 + len(f.message))
	m.Cancels = append(m.Cancels, &beldiv1.Cancel{Attempt: t.number, Error: f.inStream()})
}

// setResult puts an outcome into an answer and returns its size, about.
func setResult(answer *beldiv1.Answer, kind intent.OpKind, a *intent.Attempt, step daal.Step, o *intent.Outcome) int {
	if f := stepError(kind, o); f != nil {
		answer.Result = &beldiv1.Answer_Error{Error: f.inStream()}
		return len(f.message)
	}
	size := len(o.Value.Data)
	var err error
	switch kind {
	case intent.OpRead:
		answer.Result = &beldiv1.Answer_Read{Read: readResponse(o)}
	case intent.OpCondWrite:
		answer.Result = &beldiv1.Answer_CondWrite{CondWrite: &beldiv1.CondWriteResponse{Applied: o.OK}}
	case intent.OpUpdate:
		answer.Result = &beldiv1.Answer_Update{Update: updateResponse(o)}
	case intent.OpList:
		answer.Result = &beldiv1.Answer_List{List: listResponse(o)}
		size = listSize(o)
	case intent.OpInvoke:
		answer.Result = &beldiv1.Answer_Invoke{Invoke: &beldiv1.InvokeStepResponse{Output: payload(o.Value), Instance: string(o.Instance)}}
	case intent.OpStart:
		answer.Result = &beldiv1.Answer_Start{Start: &beldiv1.StartStepResponse{Instance: string(o.Instance)}}
	case intent.OpAwait:
		answer.Result = &beldiv1.Answer_Await{Await: &beldiv1.AwaitStepResponse{Output: payload(o.Value)}}
	case intent.OpBeginRecord:
		answer.Result = &beldiv1.Answer_BeginRecord{BeginRecord: beginRecordResponse(a, step, o)}
	case intent.OpNow:
		var m *beldiv1.NowResponse
		m, err = nowResponse(o)
		answer.Result = &beldiv1.Answer_Now{Now: m}
	case intent.OpRandom:
		var m *beldiv1.RandomResponse
		m, err = randomResponse(o)
		answer.Result = &beldiv1.Answer_Random{Random: m}
	case intent.OpUUID:
		var m *beldiv1.UuidResponse
		m, err = uuidResponse(o)
		answer.Result = &beldiv1.Answer_Uuid{Uuid: m}
	}
	if err != nil {
		answer.Result = &beldiv1.Answer_Error{Error: faultOf(err).inStream()}
	}
	return size
}
