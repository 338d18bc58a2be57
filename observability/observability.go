// Package observability sets up telemetry: the OpenTelemetry SDK, which the core never sees, and a log handler that names traces.
//
// Without a collector there is no SDK: a no-op tracer costs the core a nil check per attempt.
package observability

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Options say where traces go, and what is said of their source.
type Options struct {
	// Endpoint of an OTLP/gRPC collector: "host:port" (not encrypted) or a URL. "": the environment's OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
	// OTEL_EXPORTER_OTLP_ENDPOINT; without those nothing is traced. The other OTEL_ variables of exporter and sampler hold, too.
	Endpoint string
	Version  string
	Realm    string
}

// Traces makes the tracer provider. Call stop at the end: it sends what is still here.
func Traces(ctx context.Context, o Options) (provider trace.TracerProvider, stop func(context.Context) error, err error) {
	if o.Endpoint == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
		return noop.NewTracerProvider(), func(context.Context) error { return nil }, nil
	}
	var options []otlptracegrpc.Option
	switch {
	case strings.Contains(o.Endpoint, "://"):
		options = append(options, otlptracegrpc.WithEndpointURL(o.Endpoint))
	case o.Endpoint != "":
		options = append(options, otlptracegrpc.WithEndpoint(o.Endpoint), otlptracegrpc.WithInsecure())
	}
	// It connects when there is something to send, so a collector that is down delays nothing.
	exporter, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("observability: export traces to %q: %w", o.Endpoint, err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(
			attribute.String("service.name", "beldi"),
			attribute.String("service.version", o.Version),
			attribute.String("beldi.realm", o.Realm),
		),
		resource.WithProcessPID(),
		resource.WithHost(),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(), // last: what the operator says counts
	)
	if err != nil {
		return nil, nil, fmt.Errorf("observability: describe this process: %w", err)
	}
	// The default sampler follows the caller's decision and records all traces that begin here; OTEL_TRACES_SAMPLER changes that.
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return p, p.Shutdown, nil
}

// NewHandler wraps a log handler: records that are logged with a context get its trace_id and span_id.
func NewHandler(h slog.Handler) slog.Handler { return traced{h} }

type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if c := trace.SpanContextFromContext(ctx); c.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", c.TraceID().String()), slog.String("span_id", c.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traced) WithAttrs(a []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(a)} }

func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }
