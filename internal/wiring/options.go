package wiring

import (
	"log/slog"
	"time"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/server"
)

// Options configure a sidecar. Addresses that are "" are off; one of GRPC, HTTP and Socket must be set. Other zero values stand for
// the default that the field names.
type Options struct {
	// Realm is shown to operators; it has no other use while there is one realm.
	Realm string
	// Store is "memory" (default; gone with the process) or "pebble" (files in Dir).
	Store string
	// Dir is the directory of the pebble store; it is made if it does not exist.
	Dir string
	// Fsync: an answer waits until the disk has it. Without it a loss of power – not a crash of the process – may take back what was
	// answered. Pebble only.
	Fsync bool
	// Backend, if set, is used instead of Store (tests). Close closes it.
	Backend backends.Store
	// CacheBytes bounds the block cache of pebble; 0: 8 MiB.
	CacheBytes int64

	// GRPC and HTTP are host:port; port 0 picks one (see Sidecar.Addresses). Beyond loopback they need Token.
	GRPC string
	HTTP string
	// Socket is the path of a Unix socket for gRPC, made with mode 0600. A socket that a dead sidecar left there is replaced.
	Socket string
	// Token, if set, is the bearer token that every call over TCP must carry.
	Token string

	// Lease is how long an instance stays with a sidecar that says nothing more; 0: 10 s.
	Lease time.Duration
	// AttemptTimeout is how long one attempt may run; 0: 5 min.
	AttemptTimeout time.Duration
	// MaxAttempts is the number of crashed attempts after which an instance is parked; 0: 10.
	MaxAttempts int
	// DrainLimit is how long running attempts get when the sidecar stops; 0: 10 s.
	DrainLimit time.Duration

	// Services are functions behind HTTP endpoints that need not announce themselves.
	Services []server.Endpoint

	// OTLP is the address of an OpenTelemetry collector (gRPC), as host:port or URL. "": OTEL_EXPORTER_OTLP_ENDPOINT; without either
	// nothing is traced.
	OTLP string

	// Log gets the sidecar's messages; nil: slog.Default().
	Log *slog.Logger
	// Version is what GetInfo and workers are told.
	Version string
}
