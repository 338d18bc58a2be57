package beldi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"sort"
	"syscall"
	"time"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// Version is the version of this package, as the sidecar is told.
const Version = "0.1.0"

// handler runs a function on an encoded input.
type handler func(*Context, *beldiv1.Payload) (*beldiv1.Payload, error)

// Service is a set of functions that share tables.
type Service struct {
	name      string
	functions map[string]handler
	options   options
}

type options struct {
	address     string
	token       string
	concurrency int
	drain       time.Duration
	log         *slog.Logger
}

// Option changes how a [Service] or a [Client] works.
type Option func(*options)

// Address sets where the sidecar is: "unix:///path/to/socket" or "host:port". By default the environment variable BELDI_ADDRESS
// decides, then the socket $XDG_RUNTIME_DIR/beldi.sock or /tmp/beldi-UID/beldi.sock if there is one, then 127.0.0.1:7401.
func Address(address string) Option { return func(o *options) { o.address = address } }

// Token sets the bearer token for sidecars that ask for one. Default: the environment variable BELDI_TOKEN.
func Token(token string) Option { return func(o *options) { o.token = token } }

// Concurrency limits how many attempts a service takes at once. Default: no limit.
func Concurrency(attempts int) Option { return func(o *options) { o.concurrency = attempts } }

// DrainTime sets how long [Service.Run] lets running attempts go on when it is told to end. Default: 10 s.
func DrainTime(d time.Duration) Option { return func(o *options) { o.drain = d } }

// Log sets where connections, lost connections and panics are reported. Default: slog.Default().
func Log(log *slog.Logger) Option { return func(o *options) { o.log = log } }

func newOptions(given []Option) options {
	o := options{token: os.Getenv("BELDI_TOKEN"), drain: 10 * time.Second, log: slog.Default()}
	for _, option := range given {
		option(&o)
	}
	return o
}

// NewService makes a service without functions.
func NewService(name string, options ...Option) *Service {
	return &Service{name: name, functions: make(map[string]handler), options: newOptions(options)}
}

// Handle adds a function to a service, before it runs. The input that a caller sends is decoded into an In; one that cannot be
// is the caller's mistake, and fails for good with the code BAD_INPUT. Handle panics if the service has a function of that name.
func Handle[In, Out any](s *Service, name string, fn func(ctx *Context, input In) (Out, error)) {
	if _, taken := s.functions[name]; taken {
		panic(fmt.Sprintf("beldi: service %s has two functions %q", s.name, name))
	}
	s.functions[name] = func(ctx *Context, p *beldiv1.Payload) (*beldiv1.Payload, error) {
		input, err := decode[In](p)
		if err != nil {
			return nil, Fail(err.Error(), Code("BAD_INPUT"))
		}
		output, err := fn(ctx, input)
		if err != nil {
			return nil, err
		}
		return encode(output)
	}
}

// Run serves the functions until ctx ends or the process gets SIGTERM or SIGINT. It then takes no new attempts, lets the running
// ones go on for the drain time, and returns nil. A sidecar that is not there, or goes away, is waited for.
func (s *Service) Run(ctx context.Context) error {
	if len(s.functions) == 0 {
		return fmt.Errorf("beldi: run service %s: it has no functions", s.name)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()

	const first, most = 50 * time.Millisecond, time.Second
	wait, waiting := first, false
	for {
		addr := address(s.options.address)
		welcomed, err := s.serve(ctx, addr)
		if ctx.Err() != nil {
			return nil
		}
		if refused := (*Error)(nil); errors.As(err, &refused) && refused.Reason != "" && !retryable(refused) {
			return fmt.Errorf("beldi: run service %s at %s: %w", s.name, addr, err)
		}
		if welcomed {
			wait, waiting = first, false
		}
		if !waiting {
			s.options.log.Warn("beldi: no sidecar, trying again", "service", s.name, "address", addr, "error", err)
			waiting = true
		}
		select {
		case <-ctx.Done():
			return nil
		// Jitter, lest the workers of one sidecar all come back at once.
		case <-time.After(wait/2 + rand.N(wait)/2):
		}
		wait = min(2*wait, most)
	}
}

func (s *Service) hello(draining bool) *beldiv1.Hello {
	h := &beldiv1.Hello{Service: s.name, Sdk: "go/" + Version, Concurrency: int32(s.options.concurrency), Draining: draining}
	for name := range s.functions {
		h.Functions = append(h.Functions, name)
	}
	sort.Strings(h.Functions)
	return h
}
