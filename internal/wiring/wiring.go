// Package wiring puts a sidecar together: a store, the runtime over it, and the server in front. It is the one place, with cmd,
// that names store adapters.
package wiring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/backends/pebble"
	"github.com/beldi/beldi/callback"
	"github.com/beldi/beldi/intent"
	"github.com/beldi/beldi/observability"
	"github.com/beldi/beldi/server"
)

// Sidecar is one that runs in this process.
type Sidecar struct {
	o          Options
	log        *slog.Logger
	store      backends.Store
	runtime    *intent.Runtime
	background sync.WaitGroup
	stop       context.CancelFunc // background work
	server     *server.Server
	flush      func(context.Context) error // traces
	close      func() error
	done       chan struct{}
	broken     error // set before done is closed
}

// Start starts a sidecar. ctx bounds only the start: end it with Close, which drains.
func Start(ctx context.Context, o Options) (*Sidecar, error) {
	s := &Sidecar{o: o, log: o.Log, done: make(chan struct{})}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.o.DrainLimit == 0 {
		s.o.DrainLimit = 10 * time.Second
	}
	s.close = sync.OnceValue(s.shut)
	if err := s.start(ctx); err != nil {
		s.o.DrainLimit = time.Nanosecond // nobody works with it yet
		return nil, errors.Join(fmt.Errorf("start the sidecar: %w", err), s.Close())
	}
	at := s.Addresses()
	s.log.Info("sidecar is up", "version", o.Version, "realm", o.Realm, "store", s.store.Capabilities().Name, "dir", o.Dir, "fsync", s.fsync(),
		"grpc", at.GRPC, "http", at.HTTP, "socket", at.Socket)
	return s, nil
}

func (s *Sidecar) start(ctx context.Context) (err error) {
	provider, flush, err := observability.Traces(ctx, observability.Options{Endpoint: s.o.OTLP, Version: s.o.Version, Realm: s.o.Realm})
	if err != nil {
		return err
	}
	s.flush = flush
	if s.store, err = s.open(); err != nil {
		return err
	}
	local := &callback.Local{}
	s.runtime, err = intent.New(s.store, intent.Options{
		Invoker:        local,
		Lease:          s.o.Lease,
		AttemptTimeout: s.o.AttemptTimeout,
		MaxAttempts:    s.o.MaxAttempts,
		Tracer:         provider.Tracer("github.com/beldi/beldi"),
	})
	if err != nil {
		return err
	}
	local.Bind(s.runtime)
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.background.Go(func() {
		if err := s.runtime.Run(background); err != nil {
			s.log.Error("background work ended", "error", err)
		}
	})
	s.server, err = server.Start(ctx, server.Options{
		Runtime:   s.runtime,
		GRPC:      s.o.GRPC,
		HTTP:      s.o.HTTP,
		Socket:    s.o.Socket,
		Token:     s.o.Token,
		Endpoints: s.o.Services,
		Info: server.Info{
			Version: s.o.Version,
			Realm:   s.o.Realm,
			Store:   s.store.Capabilities().Name,
			Fsync:   s.fsync(),
			Started: time.Now(),
		},
		Log: s.log,
	})
	return err
}

func (s *Sidecar) open() (backends.Store, error) {
	if s.o.Backend != nil {
		return s.o.Backend, nil
	}
	switch s.o.Store {
	case "", "memory":
		return memory.New(memory.Options{}), nil
	case "pebble":
		store, err := pebble.Open(pebble.Options{
			Dir:        s.o.Dir,
			NoFsync:    !s.o.Fsync,
			CacheBytes: s.o.CacheBytes,
			OnBroken:   s.fail, // once
		})
		if err != nil {
			return nil, err
		}
		return store, nil
	}
	return nil, fmt.Errorf("store %q is unknown: it can be memory or pebble", s.o.Store)
}

func (s *Sidecar) fsync() bool { return s.o.Store == "pebble" && s.o.Fsync }

// fail is called when the store can neither read nor write any more. What was answered is safe, and nothing more will be answered.
func (s *Sidecar) fail(err error) {
	s.log.Error("the store is broken", "dir", s.o.Dir, "error", err)
	s.broken = fmt.Errorf("the store is broken: %w", err)
	close(s.done)
}

// Done is closed when the sidecar cannot go on (a failing disk). The process should end: Close says why.
func (s *Sidecar) Done() <-chan struct{} { return s.done }

// Addresses returns where the sidecar listens.
func (s *Sidecar) Addresses() server.Addresses { return s.server.Addresses() }

// Close drains and stops: no new attempts, running ones get DrainLimit, then what is left is given up – the next sidecar goes on with it.
func (s *Sidecar) Close() error { return s.close() }

// answerLimit is for answers on their way when everything else has stopped.
const answerLimit = time.Second

func (s *Sidecar) shut() error {
	var errs []error
	select {
	case <-s.done:
		errs = append(errs, s.broken)
		s.o.DrainLimit = time.Nanosecond // nothing can be finished
	default:
	}
	if s.server != nil {
		s.log.Info("sidecar drains", "limit", s.o.DrainLimit)
		s.server.Drain()
		ctx, cancel := context.WithTimeout(context.Background(), s.o.DrainLimit)
		if err := s.runtime.Drain(ctx); err != nil {
			s.log.Warn("attempts were cut off; they run again", "error", err)
		}
		cancel()
		s.server.EndWorkers()
	}
	if s.runtime != nil {
		// Callers that still wait are told to ask again.
		errs = append(errs, s.runtime.Close())
		if s.stop != nil {
			s.stop()
		}
		s.background.Wait()
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	if s.server != nil {
		errs = append(errs, s.server.Stop(ctx))
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.flush != nil {
		if err := s.flush(ctx); err != nil {
			s.log.Warn("the last traces were not sent", "error", err)
		}
	}
	if s.server != nil {
		s.log.Info("sidecar is down")
	}
	return errors.Join(errs...)
}
