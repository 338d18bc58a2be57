package server

import (
	"context"
	"reflect"
	"strconv"
	"sync"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// call is one attempt at an HTTP endpoint, which sends its steps one by one, with the attempt's token.
type call struct {
	*intent.Attempt
	token  string
	cancel context.CancelCauseFunc
	over   chan struct{} // closed when no step is served any more
	late   *fault        // then: what late steps are told
	ok     bool          // then: the end that the function asked for is durable

	// order makes the order of numbers the order of submission. Not mu: answers may come while Submit runs.
	order    sync.Mutex
	numbered int
	named    bool // some step was named with a number by the function
	ending   bool // Complete, Fail or Crash has been submitted

	mu    sync.Mutex
	steps map[stepName]*pendingStep
}

// stepName: BeginRecord and EndRecord share a step's name.
type stepName struct {
	step daal.Step
	end  bool
}

// pendingStep is kept to the end of the attempt: an HTTP client that lost the answer asks again.
type pendingStep struct {
	op      intent.Op
	outcome intent.Outcome
	done    chan struct{} // closed when outcome is there
}

func (p *pendingStep) answered() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// do submits a step and waits for its outcome. Without a name it gets the next number.
func (c *call) do(ctx context.Context, step string, op intent.Op) (daal.Step, *intent.Outcome, error) {
	name, p, f := c.submit(step, op)
	if f != nil {
		return "", nil, f
	}
	select {
	case <-p.done:
	case <-c.over:
		if !p.answered() {
			return "", nil, c.late
		}
	case <-ctx.Done():
		return "", nil, faultOf(context.Cause(ctx))
	}
	return name, &p.outcome, asError(stepError(op.Kind, &p.outcome))
}

func (c *call) submit(step string, op intent.Op) (daal.Step, *pendingStep, *fault) {
	c.order.Lock()
	defer c.order.Unlock()
	step, f := c.name(step, op.Kind)
	if f != nil {
		return "", nil, f
	}
	name := stepName{daal.Step(step), op.Kind == intent.OpEndRecord}
	c.mu.Lock()
	p := c.steps[name]
	known := p != nil
	if !known {
		p = &pendingStep{op: op, done: make(chan struct{})}
		c.steps[name] = p
	}
	c.mu.Unlock()
	switch {
	case !known:
		c.Submit([]intent.StepRequest{{Step: name.step, Op: op}})
	case !reflect.DeepEqual(p.op, op):
		return "", nil, refuse(reasonNonDeterminism, "step %s was another operation, or had other arguments, earlier in this attempt", step).with("step", step)
	}
	return name.step, p, nil
}

// name checks a step's name, or gives it the next number.
func (c *call) name(step string, kind intent.OpKind) (string, *fault) {
	if kind == intent.OpEndRecord {
		if step == "" {
			return "", malformed("the end of a record must name the step of its begin")
		}
		return step, checkStep(step)
	}
	_, err := strconv.ParseUint(step, 10, 64)
	isNumber := err == nil
	if step == "" && c.named || isNumber && c.numbered > 0 {
		return "", malformed("step %q: a function that names steps with numbers must name all its steps", step)
	}
	if step == "" {
		c.numbered++
		return strconv.Itoa(c.numbered), nil
	}
	c.named = c.named || isNumber
	return step, checkStep(step)
}

func (c *call) answer(step daal.Step, o intent.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.steps[stepName{step, true}]
	if p == nil || p.answered() {
		p = c.steps[stepName{step, false}]
	}
	if p != nil && !p.answered() {
		p.outcome = o
		close(p.done)
	}
}

// finish submits how the attempt ends, unless it has said so before.
func (c *call) finish(op intent.Op) bool {
	c.order.Lock()
	defer c.order.Unlock()
	if c.ending {
		return false
	}
	c.ending = true
	c.Submit([]intent.StepRequest{{Op: op}})
	return true
}

// end: the attempt is over; why is nil if its result is durable.
func (c *call) end(why error) *fault {
	c.ok = why == nil
	switch c.late = faultOf(why); {
	case c.ok:
		c.late = refuse(reasonSuperseded, "the attempt has ended: its result is recorded")
	case c.late.reason == reasonInternal: // it crashed
		c.late = refuse(reasonSuperseded, "the attempt is over: %s", c.late.message)
	}
	close(c.over)
	return c.late
}

// tokens finds attempts by their token. The last retired ones are remembered, to tell a late step from a forged one.
type tokens struct {
	mu      sync.Mutex
	live    map[string]*call
	retired map[string]*fault
	order   []string // of retired
}

// maxRetired bounds what is remembered; older tokens count as bad.
const maxRetired = 4096

func (t *tokens) add(c *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live[c.token] = c
}

func (t *tokens) retire(token string, why *fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, token)
	t.retired[token] = why
	t.order = append(t.order, token)
	if len(t.order) > maxRetired {
		delete(t.retired, t.order[0])
		t.order = t.order[1:]
	}
}

func (t *tokens) find(token string) (*call, *fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.live[token]; c != nil {
		return c, nil
	}
	if why := t.retired[token]; why != nil {
		return nil, why
	}
	if token == "" {
		return nil, refuse(reasonBadToken, "a step needs the attempt's token: metadata or HTTP header Beldi-Attempt")
	}
	return nil, refuse(reasonBadToken, "no attempt here has this token")
}

type stepsService struct {
	beldiv1.UnimplementedStepsServer
	*Server
}

// answered is a step with its outcome.
type answered struct {
	*intent.Outcome
	attempt *intent.Attempt
	step    daal.Step
}

// do is the common part of all steps; f is what is wrong with its message.
func (s stepsService) do(ctx context.Context, step string, op intent.Op, f *fault) (answered, error) {
	c, bad := s.tokens.find(header(ctx, mdAttempt))
	if bad != nil {
		return answered{}, bad
	}
	if f != nil {
		return answered{}, f
	}
	name, o, err := c.do(ctx, step, op)
	return answered{o, c.Attempt, name}, err
}

func (s stepsService) Read(ctx context.Context, m *beldiv1.ReadRequest) (*beldiv1.ReadResponse, error) {
	op, f := readOp(m)
	o, err := s.do(ctx, m.GetStep(), op, f)
	if err != nil {
		return nil, err
	}
	return readResponse(o.Outcome), nil
}

func (s stepsService) Write(ctx context.Context, m *beldiv1.WriteRequest) (*beldiv1.WriteResponse, error) {
	op, f := writeOp(m)
	if _, err := s.do(ctx, m.GetStep(), op, f); err != nil {
		return nil, err
	}
	return &beldiv1.WriteResponse{}, nil
}

func (s stepsService) Delete(ctx context.Context, m *beldiv1.DeleteRequest) (*beldiv1.DeleteResponse, error) {
	op, f := deleteOp(m)
	if _, err := s.do(ctx, m.GetStep(), op, f); err != nil {
		return nil, err
	}
	return &beldiv1.DeleteResponse{}, nil
}

func (s stepsService) CondWrite(ctx context.Context, m *beldiv1.CondWriteRequest) (*beldiv1.CondWriteResponse, error) {
	op, f := condWriteOp(m)
	o, err := s.do(ctx, m.GetStep(), op, f)
	if err != nil {
		return nil, err
	}
	return &beldiv1.CondWriteResponse{Applied: o.OK}, nil
}

func (s stepsService) Update(ctx context.Context, m *beldiv1.UpdateRequest) (*beldiv1.UpdateResponse, error) {
	op, f := updateOp(m)
	o, err := s.do(ctx, m.GetStep(), op, f)
	if err != nil {
		return nil, err
	}
	return updateResponse(o.Outcome), nil
}

func (s stepsService) List(ctx context.Context, m *beldiv1.ListRequest) (*beldiv1.ListResponse, error) {
	op, f := listOp(m)
	o, err := s.do(ctx, m.GetStep(), op, f)
	if err != nil {
		return nil, err
	}
	return listResponse(o.Outcome), nil
}

func (s stepsService) Invoke(ctx context.Context, m *beldiv1.InvokeStep) (*beldiv1.InvokeStepResponse, error) {
	c, f := s.tokens.find(header(ctx, mdAttempt))
	if f != nil {
		return nil, f
	}
	op, f := invokeOp(c.Function.Service, intent.OpInvoke, m.GetTarget(), m.GetInput())
	o, err := s.do(ctx, m.GetStep(), op, f)
	if err != nil {
		return nil, err
	}
	return &beldiv1.InvokeStepResponse{Output: payload(o.Value), Instance: string(o.Instance)}, nil
}

func (s stepsService) Start(ctx context.Context, m *beldiv1.StartStep) (*beldiv1.StartStepResponse, error) {
	c, f := s.tokens.find(header(ctx, mdAttempt))
	if f != nil {
		return nil, f
	}
	op, f := invokeOp(c.Function.Service, intent.OpStart, m.GetTarget(), m.GetInput())
	o, err := s.do(ctx, m.GetStep(), op, f)
	if err != nil {
		return nil, err
	}
	return &beldiv1.StartStepResponse{Instance: string(o.Instance)}, nil
}

func (s stepsService) Await(ctx context.Context, m *beldiv1.AwaitStep) (*beldiv1.AwaitStepResponse, error) {
	op, f := awaitOp(m)
	o, err := s.do(ctx, m.GetStep(), op, f)
	if err != nil {
		return nil, err
	}
	return &beldiv1.AwaitStepResponse{Output: payload(o.Value)}, nil
}

func (s stepsService) BeginRecord(ctx context.Context, m *beldiv1.BeginRecordRequest) (*beldiv1.BeginRecordResponse, error) {
	op, f := beginRecordOp(m)
	o, err := s.do(ctx, m.GetStep(), op, f)
	if err != nil {
		return nil, err
	}
	return beginRecordResponse(o.attempt, o.step, o.Outcome), nil
}

func (s stepsService) EndRecord(ctx context.Context, m *beldiv1.EndRecordRequest) (*beldiv1.EndRecordResponse, error) {
	op, f := endRecordOp(m)
	if _, err := s.do(ctx, m.GetStep(), op, f); err != nil {
		return nil, err
	}
	return &beldiv1.EndRecordResponse{}, nil
}

func (s stepsService) Now(ctx context.Context, m *beldiv1.NowRequest) (*beldiv1.NowResponse, error) {
	o, err := s.do(ctx, m.GetStep(), intent.Op{Kind: intent.OpNow}, nil)
	if err != nil {
		return nil, err
	}
	return nowResponse(o.Outcome)
}

func (s stepsService) Random(ctx context.Context, m *beldiv1.RandomRequest) (*beldiv1.RandomResponse, error) {
	o, err := s.do(ctx, m.GetStep(), intent.Op{Kind: intent.OpRandom}, nil)
	if err != nil {
		return nil, err
	}
	return randomResponse(o.Outcome)
}

func (s stepsService) Uuid(ctx context.Context, m *beldiv1.UuidRequest) (*beldiv1.UuidResponse, error) {
	o, err := s.do(ctx, m.GetStep(), intent.Op{Kind: intent.OpUUID}, nil)
	if err != nil {
		return nil, err
	}
	return uuidResponse(o.Outcome)
}

func (s stepsService) Complete(ctx context.Context, m *beldiv1.CompleteRequest) (*beldiv1.CompleteResponse, error) {
	op, f := completeOp(m)
	if err := s.finish(ctx, op, f); err != nil {
		return nil, err
	}
	return &beldiv1.CompleteResponse{}, nil
}

func (s stepsService) Fail(ctx context.Context, m *beldiv1.FailRequest) (*beldiv1.FailResponse, error) {
	op, f := failOp(m)
	if err := s.finish(ctx, op, f); err != nil {
		return nil, err
	}
	return &beldiv1.FailResponse{}, nil
}

// finish ends an attempt and waits until that is durable.
func (s stepsService) finish(ctx context.Context, op intent.Op, f *fault) error {
	c, bad := s.tokens.find(header(ctx, mdAttempt))
	switch {
	case bad != nil:
		return bad
	case f != nil:
		return f
	case !c.finish(op):
		return refuse(reasonSuperseded, "the attempt has said before how it ends")
	}
	select {
	case <-c.over:
	case <-ctx.Done():
		return faultOf(context.Cause(ctx))
	}
	if !c.ok {
		return c.late
	}
	return nil
}
