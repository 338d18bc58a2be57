package beldi

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// Context is what a function works with. It is a [context.Context] that is cancelled when the attempt is over. It numbers the steps
// in the order of the calls, so one goroutine at a time may use it; goroutines that work at the same time each get one of
// their own from a [Group].
//
// Keys are text of 1 to 1024 bytes, values up to 256 KiB, inputs and results up to 1 MiB; what is larger is refused where it is
// called, by an [*Error] with the reason TOO_LARGE. A refused call is no step.
type Context struct {
	context.Context
	attempt *attempt
	prefix  string       // of step names: "" at the top, "3/1." in the first branch of a fork at step 3
	steps   atomic.Int64 // taken so far
}

// Instance names one intended run of a function, whatever number of attempts it takes.
type Instance string

// Instance returns the instance that this is an attempt of.
func (c *Context) Instance() Instance { return Instance(c.attempt.message.GetInstance()) }

// Service returns the name of the service.
func (c *Context) Service() string { return c.attempt.session.service.name }

// Function returns the name of the function.
func (c *Context) Function() string { return c.attempt.message.GetFunction() }

// Attempt returns 1 for the first attempt of an instance, then 2, 3… Only logs should depend on it.
func (c *Context) Attempt() int { return int(c.attempt.message.GetNumber()) }

// Traceparent returns the W3C trace context of the attempt, for spans of the function's own; "" without tracing.
func (c *Context) Traceparent() string { return c.attempt.message.GetTraceparent() }

// Write sets a value of a key in a table of the service. It does not wait: the write is applied, exactly once, before any later
// step observes and before the function's result is known. The error is that of a value that is too large or cannot be encoded.
func (c *Context) Write(table, key string, value any) error {
	p, err := c.value(table, key, value)
	if err != nil {
		return err
	}
	return c.tell(&beldiv1.Step{Op: &beldiv1.Step_Write{Write: &beldiv1.WriteRequest{Table: table, Key: key, Value: p}}}, len(p.Data))
}

// Delete removes a key. Like [Context.Write], it does not wait.
func (c *Context) Delete(table, key string) error {
	if err := c.cell(table, key); err != nil {
		return err
	}
	return c.tell(&beldiv1.Step{Op: &beldiv1.Step_Delete{Delete: &beldiv1.DeleteRequest{Table: table, Key: key}}}, len(key))
}

// CondWrite sets a value if a CEL condition holds, and returns whether it did. The condition sees `value` (the stored JSON value,
// null if absent), `found` (bool) and `new` (the value to be written): "!found", "value.free == 1". A condition that
// cannot be judged is an [*Error] with the reason BAD_EXPRESSION.
func (c *Context) CondWrite(table, key string, value any, condition string) (bool, error) {
	p, err := c.value(table, key, value)
	if err == nil {
		err = checkText("the condition", condition)
	}
	if err != nil {
		return false, err
	}
	answer, err := c.ask(&beldiv1.Step{Op: &beldiv1.Step_CondWrite{CondWrite: &beldiv1.CondWriteRequest{
		Table: table, Key: key, Value: p, Condition: condition}}}, len(p.Data))
	return answer.GetCondWrite().GetApplied(), err
}

// Update sets a key to the value of a CEL expression. The expression sees `value` (null if absent), `found` and `input`, which may be
// nil: "found ? value + input : input". The generic [Update] returns the new value, too.
func (c *Context) Update(table, key, expression string, input any) error {
	_, err := c.update(table, key, expression, input)
	return err
}

func (c *Context) update(table, key, expression string, input any) (*beldiv1.UpdateResponse, error) {
	p, err := c.value(table, key, input)
	if err == nil {
		err = checkText("the expression", expression)
	}
	if err != nil {
		return nil, err
	}
	answer, err := c.ask(&beldiv1.Step{Op: &beldiv1.Step_Update{Update: &beldiv1.UpdateRequest{
		Table: table, Key: key, Expression: expression, Input: p}}}, len(p.Data))
	return answer.GetUpdate(), err
}

// Start makes an instance of another function durable, exactly once, and returns without waiting for it: see [Await]. The target is
// "service/function", or the name of a function of the same service.
func (c *Context) Start(target string, input any) (Instance, error) {
	p, err := c.input(target, input)
	if err != nil {
		return "", err
	}
	answer, err := c.ask(&beldiv1.Step{Op: &beldiv1.Step_Start{Start: &beldiv1.StartStep{Target: ref(target), Input: p}}}, len(p.Data))
	return Instance(answer.GetStart().GetInstance()), err
}

// Now returns the time, in UTC. It never goes back within an attempt's results, and is the same in every attempt.
func (c *Context) Now() (time.Time, error) {
	answer, err := c.ask(&beldiv1.Step{Op: &beldiv1.Step_Now{Now: &beldiv1.NowRequest{}}}, 0)
	if err != nil {
		return time.Time{}, err
	}
	return answer.GetNow().GetTime().AsTime(), nil
}

// Random returns a number in [0, 1), the same in every attempt.
func (c *Context) Random() (float64, error) {
	answer, err := c.ask(&beldiv1.Step{Op: &beldiv1.Step_Random{Random: &beldiv1.RandomRequest{}}}, 0)
	return answer.GetRandom().GetValue(), err
}

// UUID returns a random UUID, the same in every attempt.
func (c *Context) UUID() (string, error) {
	answer, err := c.ask(&beldiv1.Step{Op: &beldiv1.Step_Uuid{Uuid: &beldiv1.UuidRequest{}}}, 0)
	return answer.GetUuid().GetUuid(), err
}

// Read returns the committed value of a key, and whether there is one. The function's own earlier writes are seen.
func Read[T any](c *Context, table, key string) (value T, found bool, err error) {
	if err := c.cell(table, key); err != nil {
		return value, false, err
	}
	answer, err := c.ask(&beldiv1.Step{Op: &beldiv1.Step_Read{Read: &beldiv1.ReadRequest{Table: table, Key: key}}}, len(key))
	if err != nil || !answer.GetRead().GetFound() {
		return value, false, err
	}
	value, err = decode[T](answer.GetRead().GetValue())
	return value, err == nil, err
}

// Update is [Context.Update] and returns the new value. The error is [ErrNotReturned] if that is over 1 KiB.
func Update[T any](c *Context, table, key, expression string, input any) (T, error) {
	answer, err := c.update(table, key, expression, input)
	if err == nil && answer.GetTooLarge() {
		err = ErrNotReturned
	}
	if err != nil {
		var none T
		return none, err
	}
	return decode[T](answer.GetValue())
}

// Invoke runs another function exactly once for this step, and waits for its result. The target is as for [Context.Start]. If that
// function failed for good, the error is its [*Failure].
func Invoke[T any](c *Context, target string, input any) (T, error) {
	var none T
	p, err := c.input(target, input)
	if err != nil {
		return none, err
	}
	answer, err := c.ask(&beldiv1.Step{Op: &beldiv1.Step_Invoke{Invoke: &beldiv1.InvokeStep{Target: ref(target), Input: p}}}, len(p.Data))
	if err != nil {
		return none, err
	}
	return decode[T](answer.GetInvoke().GetOutput())
}

// Await waits for the result of an instance that was started; errors are those of [Invoke].
func Await[T any](c *Context, instance Instance) (T, error) {
	answer, err := c.ask(&beldiv1.Step{Op: &beldiv1.Step_Await{Await: &beldiv1.AwaitStep{Instance: string(instance)}}}, len(instance))
	if err != nil {
		var none T
		return none, err
	}
	return decode[T](answer.GetAwait().GetOutput())
}

// Record runs code that reaches outside – a payment, an e-mail, an HTTP call – and logs what it returned. The code runs at least
// once, and never again once its result is durable; the token is the same at every run and unique to this step, for services
// that take an idempotency key. A [*Failure] is logged as well; any other error is not: return it, and the code
// runs again in the next attempt. The value may have up to 256 KiB. The name is part of the step's identity.
func Record[T any](c *Context, name string, code func(token string) (T, error)) (T, error) {
	var none T
	if err := checkText("the name of recorded code", name); err != nil {
		return none, err
	}
	begin := &beldiv1.Step{Op: &beldiv1.Step_BeginRecord{BeginRecord: &beldiv1.BeginRecordRequest{Name: name}}}
	answer, err := c.ask(begin, len(name))
	if err != nil {
		return none, err
	}
	begun := answer.GetBeginRecord()
	if begun.GetRecorded() {
		if f := begun.GetFailure(); f != nil {
			return none, failureFrom(f)
		}
		return decode[T](begun.GetValue())
	}
	value, err := code(begun.GetToken())
	return value, c.endRecord(begin.Name, value, err)
}

// ref reads "service/function" or "function".
func ref(target string) *beldiv1.FunctionRef {
	service, function, both := strings.Cut(target, "/")
	if !both {
		return &beldiv1.FunctionRef{Function: target}
	}
	return &beldiv1.FunctionRef{Service: service, Function: function}
}

func (c *Context) next() string { return c.prefix + strconv.FormatInt(c.steps.Add(1), 10) }

// ask names a step, sends it, and waits for its answer.
func (c *Context) ask(step *beldiv1.Step, size int) (*beldiv1.Answer, error) {
	if err := c.name(step); err != nil {
		return nil, err
	}
	return c.attempt.ask(step, size)
}

// tell names a step that gets no answer, and queues it.
func (c *Context) tell(step *beldiv1.Step, size int) error {
	if err := c.name(step); err != nil {
		return err
	}
	c.attempt.session.enqueue(step, size, false)
	return nil
}

func (c *Context) name(step *beldiv1.Step) error {
	if c.Err() != nil {
		return c.attempt.over()
	}
	step.Attempt = c.attempt.number
	step.Name = c.next()
	return checkSize("the step name", len(step.Name), c.attempt.session.limits.GetStepName())
}

func (c *Context) cell(table, key string) error {
	if err := checkText("the table", table); err != nil {
		return err
	}
	if key == "" {
		return malformed("the key is empty")
	}
	if err := checkText("the key", key); err != nil {
		return err
	}
	return checkSize("the key", len(key), c.attempt.session.limits.GetKey())
}

func (c *Context) value(table, key string, value any) (*beldiv1.Payload, error) {
	if err := c.cell(table, key); err != nil {
		return nil, err
	}
	p, err := encode(value)
	if err != nil {
		return nil, err
	}
	return p, checkSize("the value", len(p.Data), c.attempt.session.limits.GetValue())
}

func (c *Context) input(target string, input any) (*beldiv1.Payload, error) {
	if err := checkText("the target", target); err != nil {
		return nil, err
	}
	p, err := encode(input)
	if err != nil {
		return nil, err
	}
	return p, checkSize("the input of "+target, len(p.Data), c.attempt.session.limits.GetInput())
}

// endRecord logs what recorded code returned, and returns the error that the function is to see.
func (c *Context) endRecord(step string, value any, err error) error {
	end := &beldiv1.EndRecordRequest{}
	var failure *Failure
	switch {
	case errors.As(err, &failure):
		end.Failure = failure.message()
	case err != nil:
		return err
	default:
		p, err := encode(value)
		if err != nil {
			return err
		}
		if err := checkSize("the recorded value", len(p.Data), c.attempt.session.limits.GetValue()); err != nil {
			return err
		}
		end.Value = p
	}
	if c.Err() != nil {
		return c.attempt.over()
	}
	c.attempt.session.enqueue(&beldiv1.Step{Attempt: c.attempt.number, Name: step,
		Op: &beldiv1.Step_EndRecord{EndRecord: end}}, len(end.Value.GetData()), false)
	return err
}
