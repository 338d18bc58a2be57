package beldi

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// attempt is one run of a function.
type attempt struct {
	session  *session
	number   uint64 // on this stream
	message  *beldiv1.Attempt
	ctx      context.Context
	cancel   context.CancelCauseFunc
	mu       sync.Mutex
	calls    []*call // steps that wait for their answers: few, so a list
	rejected error   // a step without answer was refused: the attempt cannot complete
}

type call struct {
	step   string
	answer chan *beldiv1.Answer
}

var calls = sync.Pool{New: func() any { return &call{answer: make(chan *beldiv1.Answer, 1)} }}

func newAttempt(s *session, m *beldiv1.Attempt) *attempt {
	a := &attempt{session: s, number: m.GetAttempt(), message: m}
	a.ctx, a.cancel = context.WithCancelCause(s.base)
	return a
}

func (a *attempt) run(input *beldiv1.Payload) {
	defer a.session.finish(a)
	defer a.cancel(context.Canceled)
	output, err := a.call(input)
	a.end(output, err)
}

func (a *attempt) call(input *beldiv1.Payload) (output *beldiv1.Payload, err error) {
	fn := a.session.service.functions[a.message.GetFunction()]
	if fn == nil {
		return nil, fmt.Errorf("beldi: service %s has no function %q", a.session.service.name, a.message.GetFunction())
	}
	err = protect(func() error {
		output, err = fn(&Context{Context: a.ctx, attempt: a}, input)
		return err
	})
	var failure *Failure
	if err == nil {
		err = checkSize("the result", len(output.GetData()), a.session.limits.GetInput())
	} else if errors.As(err, &failure) {
		if large := checkSize("the detail of the failure", len(failure.Details.Data), a.session.limits.GetValue()); large != nil {
			err = large
		}
	}
	return output, err
}

// end tells the sidecar how the code ended, unless the attempt is over anyway.
func (a *attempt) end(output *beldiv1.Payload, err error) {
	a.mu.Lock()
	rejected := a.rejected
	a.mu.Unlock()
	if rejected != nil {
		err = rejected
	} else if a.ctx.Err() != nil {
		return
	}
	step := &beldiv1.Step{Attempt: a.number}
	var failure *Failure
	switch {
	case err == nil:
		step.Op = &beldiv1.Step_Complete{Complete: &beldiv1.CompleteRequest{Output: output}}
	case errors.As(err, new(*panicError)) || !errors.As(err, &failure):
		step.Op = &beldiv1.Step_Crash{Crash: a.crash(err)}
	default:
		step.Op = &beldiv1.Step_Fail{Fail: &beldiv1.FailRequest{Failure: failure.message()}}
	}
	a.session.enqueue(step, len(output.GetData()), true)
}

// maxText is how much of messages and stack traces is sent: 8 KiB are allowed, and a character that is cut may grow.
const maxText = 8<<10 - 3

func (a *attempt) crash(err error) *beldiv1.Crash {
	c := &beldiv1.Crash{Message: text(err.Error())}
	var panicked *panicError
	if errors.As(err, &panicked) {
		a.session.service.options.log.Error("beldi: a function panicked", "function", a.message.GetFunction(),
			"instance", a.message.GetInstance(), "panic", panicked.value, "stack", string(panicked.stack))
		c.Trace = text(string(panicked.stack))
	}
	return c
}

// text makes text fit for a message: protobuf refuses what is not UTF-8.
func text(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxText)], "\uFFFD") }

// ask sends a step and waits for its answer.
func (a *attempt) ask(step *beldiv1.Step, size int) (*beldiv1.Answer, error) {
	c := calls.Get().(*call)
	c.step = step.Name
	a.mu.Lock()
	a.calls = append(a.calls, c)
	a.mu.Unlock()
	a.session.enqueue(step, size, true)
	select {
	case answer := <-c.answer:
		calls.Put(c)
		if m := answer.GetError(); m != nil {
			return nil, a.judge(m)
		}
		return answer, nil
	case <-a.ctx.Done():
		// c stays out of the pool: its answer may be on the way.
		return nil, a.over()
	}
}

// judge returns the error of an answer, and ends the attempt if it is one after which no step is served.
func (a *attempt) judge(m *beldiv1.Error) error {
	err := fromMessage(m)
	switch m.GetReason() {
	case "SUPERSEDED", "NON_DETERMINISM", "CANCELLED", "ATTEMPT":
		a.stop(err)
		return a.over()
	}
	return err
}

func (a *attempt) answer(m *beldiv1.Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, c := range a.calls {
		if c.step == m.GetStep() {
			last := len(a.calls) - 1
			a.calls[i] = a.calls[last]
			a.calls[last] = nil
			a.calls = a.calls[:last]
			c.answer <- m
			return
		}
	}
	if m.GetError() != nil && a.rejected == nil {
		a.rejected = fmt.Errorf("step %s: %w", m.GetStep(), fromMessage(m.GetError()))
		a.cancel(a.rejected)
	}
}

func (a *attempt) stop(why error) { a.cancel(why) }

// over returns the error of operations of an attempt that is over.
func (a *attempt) over() error { return fmt.Errorf("%w: %w", ErrAttemptOver, context.Cause(a.ctx)) }

// panicError is a panic of a handler or branch, as an error with its stack.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// protect calls fn and returns its panic as an error.
func protect(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			if p, branch := v.(*panicError); branch {
				err = p
				return
			}
			err = &panicError{v, debug.Stack()}
		}
	}()
	return fn()
}

func checkSize(what string, size int, limit int64) error {
	if limit > 0 && int64(size) > limit {
		return tooLarge(what, size, limit)
	}
	return nil
}

func checkText(what, text string) error {
	if !utf8.ValidString(text) {
		return malformed("%s %q is not UTF-8", what, text)
	}
	return nil
}

func malformed(format string, args ...any) error {
	return &Error{Code: codes.InvalidArgument, Reason: "MALFORMED", Message: fmt.Sprintf(format, args...)}
}
