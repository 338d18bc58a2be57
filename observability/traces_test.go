package observability_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/beldi/beldi/internal/wiring"
	"github.com/beldi/beldi/observability"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// collector is an OTLP receiver: what Jaeger would get.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer
	address string

	mu       sync.Mutex
	spans    []*tracev1.Span
	resource map[string]string
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{address: l.Addr().String(), resource: map[string]string{}}
	g := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(g, c)
	served := make(chan error)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *collector) Export(_ context.Context, m *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range m.GetResourceSpans() {
		for _, a := range r.GetResource().GetAttributes() {
			c.resource[a.GetKey()] = a.GetValue().GetStringValue()
		}
		for _, s := range r.GetScopeSpans() {
			c.spans = append(c.spans, s.GetSpans()...)
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func attributes(s *tracev1.Span) string {
	var out []string
	for _, a := range s.GetAttributes() {
		switch a.GetKey() {
		case "beldi.attempt":
			out = append(out, fmt.Sprintf("attempt=%d", a.GetValue().GetIntValue()))
		case "beldi.replayed":
			out = append(out, "replayed")
		}
	}
	if s.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR {
		out = append(out, "error")
	}
	return strings.Join(out, " ")
}

// tree draws the spans below parent as people see them in Jaeger, in order of their beginning.
func (c *collector) tree(parent string, indent string) string {
	var below []*tracev1.Span
	for _, s := range c.spans {
		if string(s.GetParentSpanId()) == parent {
			below = append(below, s)
		}
	}
	slices.SortStableFunc(below, func(a, b *tracev1.Span) int {
		return int(int64(a.GetStartTimeUnixNano()) - int64(b.GetStartTimeUnixNano()))
	})
	out := ""
	for _, s := range below {
		out += strings.TrimRight(indent+s.GetName()+" "+attributes(s), " ") + "\n" + c.tree(string(s.GetSpanId()), indent+"  ")
	}
	return out
}

// play runs function by function over one worker stream: trip invokes hotel; trip crashes after that, once.
func play(t *testing.T, stream grpc.BidiStreamingClient[beldiv1.FromWorker, beldiv1.ToWorker]) {
	functions := map[uint64]*beldiv1.Attempt{}
	send := func(a *beldiv1.Attempt, s *beldiv1.Step) {
		s.Attempt = a.GetAttempt()
		if err := stream.Send(&beldiv1.FromWorker{Steps: []*beldiv1.Step{s}}); err != nil {
			t.Errorf("send: %v", err)
		}
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return
		}
		for _, a := range m.GetAttempts() {
			functions[a.GetAttempt()] = a
			if a.GetTraceparent() == "" {
				t.Errorf("attempt %v without trace context", a)
			}
			if a.GetFunction() == "hotel" {
				send(a, &beldiv1.Step{Op: &beldiv1.Step_Complete{Complete: &beldiv1.CompleteRequest{}}})
				continue
			}
			send(a, &beldiv1.Step{Name: "1", Op: &beldiv1.Step_Invoke{Invoke: &beldiv1.InvokeStep{Target: &beldiv1.FunctionRef{Function: "hotel"}}}})
		}
		for _, x := range m.GetAnswers() {
			a := functions[x.GetAttempt()]
			switch {
			case x.GetInvoke() != nil:
				send(a, &beldiv1.Step{Name: "2", Op: &beldiv1.Step_Update{Update: &beldiv1.UpdateRequest{Table: "t", Key: "k", Expression: "1"}}})
			case a.GetNumber() == 1:
				send(a, &beldiv1.Step{Op: &beldiv1.Step_Crash{Crash: &beldiv1.Crash{Message: "boom"}}})
			default:
				send(a, &beldiv1.Step{Op: &beldiv1.Step_Complete{Complete: &beldiv1.CompleteRequest{}}})
			}
		}
	}
}

// One trace holds a workflow with all its attempts; what a second attempt replays is marked and leads to no second callee.
func TestOneTrace(t *testing.T) {
	c := startCollector(t)
	s, err := wiring.Start(t.Context(), wiring.Options{GRPC: "127.0.0.1:0", OTLP: c.address, Version: "1.2.3", Realm: "here", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(s.Addresses().GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := beldiv1.NewWorkersClient(conn).Work(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&beldiv1.FromWorker{Hello: &beldiv1.Hello{Service: "svc", Functions: []string{"trip", "hotel"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // welcome
		t.Fatal(err)
	}
	go play(t, stream)
	done, err := beldiv1.NewFunctionsClient(conn).Invoke(t.Context(), &beldiv1.InvokeRequest{Service: "svc", Function: "trip"})
	if err != nil {
		t.Fatal(err)
	}
	instance, err := beldiv1.NewAdminClient(conn).GetInstance(t.Context(), &beldiv1.GetInstanceRequest{Id: done.GetInstance()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // sends what is left
		t.Fatal(err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	want := `svc/trip attempt=1 error
  invoke svc/hotel
    svc/hotel attempt=1
  update t
  svc/trip attempt=2
    invoke svc/hotel replayed
    update t replayed
`
	if got := c.tree("", ""); got != want {
		t.Errorf("the trace is\n%swant\n%s", got, want)
	}
	for _, span := range c.spans {
		if !bytes.Equal(span.GetTraceId(), c.spans[0].GetTraceId()) {
			t.Errorf("span %s is of another trace", span.GetName())
		}
	}
	if c.resource["service.name"] != "beldi" || c.resource["service.version"] != "1.2.3" || c.resource["beldi.realm"] != "here" {
		t.Errorf("resource %v", c.resource)
	}
	// Operators find the trace from the instance.
	if id := hex.EncodeToString(c.spans[0].GetTraceId()); instance.GetInstance().GetTraceId() != id {
		t.Errorf("the instance shows trace %q, the trace is %q", instance.GetInstance().GetTraceId(), id)
	}
}

func TestNoCollector(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	p, stop, err := observability.Traces(t.Context(), observability.Options{})
	if _, isNoop := p.(noop.TracerProvider); err != nil || !isNoop {
		t.Errorf("%T, %v, want a provider that does nothing", p, err)
	}
	if err := stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLogsNameTraces(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(observability.NewHandler(slog.NewTextHandler(&out, nil))).With("a", 1)
	log.InfoContext(t.Context(), "without")
	if strings.Contains(out.String(), "trace_id") {
		t.Errorf("%s", &out)
	}
	c := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{15: 1}, SpanID: trace.SpanID{7: 2}})
	log.InfoContext(trace.ContextWithSpanContext(t.Context(), c), "with")
	if !strings.Contains(out.String(), "a=1 trace_id=00000000000000000000000000000001 span_id=0000000000000002") {
		t.Errorf("%s", &out)
	}
}
