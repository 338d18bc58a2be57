package server

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// Options of a Server. One of GRPC, HTTP and Socket must be set.
type Options struct {
	Runtime *intent.Runtime
	// GRPC and HTTP are host:port. Beyond loopback they need Token.
	GRPC, HTTP string
	// Socket is the path of a Unix socket for gRPC.
	Socket string
	// Token, if set, is the bearer token of every call over TCP. The socket's file mode guards the socket.
	Token string
	// Endpoints that need not announce themselves.
	Endpoints []Endpoint
	Info      Info
	// Log; nil: slog.Default().
	Log *slog.Logger
}

// Addresses is where a server listens, "" for what is off.
type Addresses struct {
	GRPC, HTTP, Socket string
}

// Server serves a runtime. Make one with Start.
type Server struct {
	o           Options
	log         *slog.Logger
	stall       time.Duration
	ctx         context.Context // ends with Close
	cancel      context.CancelFunc
	tasks       sync.WaitGroup
	grpc        *grpc.Server
	http        *http.Server
	health      *health.Server
	crossOrigin *http.CrossOriginProtection
	client      *http.Client
	tokens      tokens
	cells       cellsAttachments
	addresses   Addresses

	mu       sync.Mutex
	draining bool
	streams  map[*stream]struct{}

	endpointsMu sync.Mutex
	endpoints   []*endpoint
}

// Start listens and serves until Close.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Server{
		o:           o,
		log:         o.Log,
		stall:       stallLimit,
		health:      health.NewServer(),
		crossOrigin: http.NewCrossOriginProtection(),
		client:      newEndpointClient(),
		tokens:      tokens{live: map[string]*call{}, retired: map[string]*fault{}},
		cells:       cellsAttachments{services: map[string]*intent.Attachment{}},
		streams:     map[*stream]struct{}{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for i := range s.o.Endpoints {
		if err := checkConfigured(&s.o.Endpoints[i]); err != nil {
			return nil, err
		}
	}
	if err := s.resumeCells(ctx); err != nil {
		return nil, err
	}
	s.grpc = s.newGRPC()
	gateway, err := s.newGateway(s.ctx)
	if err != nil {
		return nil, fmt.Errorf("server: REST gateway: %w", err)
	}
	s.http = newHTTP(gateway, s.log)
	if err := s.listen(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, e := range s.o.Endpoints {
		if err := s.attach(e); err != nil {
			return nil, errors.Join(fmt.Errorf("server: endpoint %s: %w", e.URL, err), s.Close())
		}
	}
	return s, nil
}

func checkConfigured(e *Endpoint) error {
	functions, f := checkFunctions(e.Service, e.Functions)
	if f == nil {
		_, f = checkEndpoint(e.URL)
	}
	if f != nil {
		return fmt.Errorf("server: endpoint %q of service %q: %w", e.URL, e.Service, f)
	}
	e.Functions = functions
	return nil
}

// Addresses returns where the server listens; ports that were 0 are known now.
func (s *Server) Addresses() Addresses { return s.addresses }

func newHTTP(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second, // for bodies see readBody: ReadTimeout would also end calls that wait
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func (s *Server) newGRPC() *grpc.Server {
	g := grpc.NewServer(
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxMessage),
		// A worker that was stopped (SIGSTOP) or cut off answers no ping: it is given up, and its attempts run elsewhere.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 5 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.MaxConcurrentStreams(10_000),
	)
	g.RegisterService(s.guarded(&beldiv1.Functions_ServiceDesc), functionsService{Server: s})
	g.RegisterService(s.guarded(&beldiv1.Steps_ServiceDesc), stepsService{Server: s})
	g.RegisterService(s.guarded(&beldiv1.Workers_ServiceDesc), workersService{Server: s})
	g.RegisterService(s.guarded(&beldiv1.Admin_ServiceDesc), adminService{Server: s})
	healthv1.RegisterHealthServer(g, s.health)
	reflection.Register(g)
	return g
}

// checkBearer checks an Authorization header.
func (s *Server) checkBearer(header string) *fault {
	if s.o.Token == "" || subtle.ConstantTimeCompare([]byte(header), []byte("Bearer "+s.o.Token)) == 1 {
		return nil
	}
	return refuse(reasonBadToken, "this sidecar needs its bearer token: authorization: Bearer …")
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

func (s *Server) addStream(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.streams[st] = struct{}{}
	return true
}

func (s *Server) removeStream(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
}

// Drain tells everybody that the sidecar goes: health checks, new callers, workers. What runs goes on.
func (s *Server) Drain() {
	s.health.Shutdown()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for st := range s.streams { // order does not matter: each is told for itself
		st.welcome(s.o.Info.Version, true)
	}
}

// EndWorkers ends the workers' streams; what still runs there is lost to this sidecar.
func (s *Server) EndWorkers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.streams { // order does not matter: each ends for itself
		st.end(errDraining)
	}
}

// Stop lets calls that are under way return – what they wait for has been drained, or given up – until ctx ends, and closes.
func (s *Server) Stop(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.grpc.GracefulStop()
	}()
	err := s.http.Shutdown(ctx)
	select {
	case <-stopped:
	case <-ctx.Done():
	}
	err = errors.Join(err, s.Close())
	<-stopped
	return err
}

// Close ends everything at once.
func (s *Server) Close() error {
	s.cancel()
	s.grpc.Stop()
	err := s.http.Close()
	s.tasks.Wait()
	s.client.CloseIdleConnections()
	return err
}

// serve runs a listener until it is closed.
func (s *Server) serve(l net.Listener, run func(net.Listener) error) {
	s.tasks.Go(func() {
		err := run(l)
		if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			s.log.Error("listener failed", "address", l.Addr().String(), "error", err)
		}
	})
}
