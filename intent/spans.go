package intent

import (
	"context"
	"encoding/hex"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/beldi/beldi/daal"
)

// spans traces one attempt: a span for it, one for each step. The trace context is kept with the instance, so all attempts, callees and languages of a
// workflow share a trace. Where nothing records, it costs a nil check.
type spans struct {
	ctx  context.Context
	span trace.Span // nil: not recorded

	mu   sync.Mutex
	open map[daal.Step]stepSpan
}

type stepSpan struct {
	begun time.Time
	span  trace.Span // made early for an invoke: the callee's parent
}

var propagator = propagation.TraceContext{}

// start begins the attempt's span.
func (s *spans) start(a *Attempt) {
	parent := propagator.Extract(context.Background(), propagation.MapCarrier{"traceparent": a.inst.Trace})
	ctx, span := a.rt.o.Tracer.Start(parent, a.Function.String(), trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(a.active))
	if !span.IsRecording() {
		a.Traceparent = a.inst.Trace
		return
	}
	s.ctx, s.span = ctx, span
	span.SetAttributes(
		attribute.String("beldi.instance", string(a.Instance)),
		attribute.String("beldi.service", a.Function.Service),
		attribute.String("beldi.function", a.Function.Name),
		attribute.Int("beldi.attempt", a.Number))
	a.Traceparent = traceparent(span.SpanContext())
	if a.inst.Trace == "" {
		// The first attempt of a root gives all later ones their trace.
		a.inst.mu.Lock()
		a.inst.Trace = a.Traceparent
		a.inst.mu.Unlock()
		if a.m.registration != nil {
			a.m.registration.Trace = a.Traceparent
		}
	}
	s.open = map[daal.Step]stepSpan{}
}

func traceparent(c trace.SpanContext) string {
	t, i := c.TraceID(), c.SpanID()
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, t[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, i[:])
	return string(append(b, "-01"...))
}

// begin notes that a step was asked for.
func (s *spans) begin(step daal.Step, now time.Time) {
	if s.span == nil {
		return
	}
	s.mu.Lock()
	if _, again := s.open[step]; !again {
		s.open[step] = stepSpan{begun: now}
	}
	s.mu.Unlock()
}

// child returns the trace context for what a step invokes: the step's own span.
func (s *spans) child(a *Attempt, e *entry) string {
	if s.span == nil {
		return a.Traceparent
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	open := s.open[e.Step]
	if open.span == nil {
		open.span = s.step(a, e, open.begun)
		s.open[e.Step] = open
	}
	return traceparent(open.span.SpanContext())
}

func (s *spans) step(a *Attempt, e *entry, begun time.Time) trace.Span {
	_, span := a.rt.o.Tracer.Start(s.ctx, e.Kind.String()+" "+e.Target, trace.WithTimestamp(begun))
	span.SetAttributes(attribute.String("beldi.step", string(e.Step)), attribute.String("beldi.operation", e.Kind.String()))
	return span
}

// end makes the span of a step that was answered.
func (s *spans) end(a *Attempt, e *entry, o *Outcome) {
	if s.span == nil {
		return
	}
	s.mu.Lock()
	open, ok := s.open[e.Step]
	delete(s.open, e.Step)
	s.mu.Unlock()
	if !ok {
		return
	}
	span := open.span
	if span == nil {
		span = s.step(a, e, open.begun)
	}
	if o.Replayed {
		span.SetAttributes(attribute.Bool("beldi.replayed", true))
	}
	if o.Err != nil {
		span.SetStatus(codes.Error, o.Err.Error())
	}
	span.End(trace.WithTimestamp(a.rt.o.Now()))
}

// finish ends the attempt's span.
func (s *spans) finish(a *Attempt, result *Result, err error) {
	if s.span == nil {
		return
	}
	if err == nil && result != nil {
		err = result.Err()
	}
	if err != nil {
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End(trace.WithTimestamp(a.rt.o.Now()))
}
