package server

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// Metadata of calls; by REST they are HTTP headers.
const (
	mdIdempotencyKey = "idempotency-key"
	mdInstance       = "beldi-instance"
	mdAttempt        = "beldi-attempt"
	mdTraceparent    = "traceparent"
	mdAuthorization  = "authorization"
)

// How long a caller waits for a result.
const (
	defaultWait = time.Minute
	maxWait     = time.Hour
)

type functionsService struct {
	beldiv1.UnimplementedFunctionsServer
	*Server
}

func (s functionsService) Invoke(ctx context.Context, m *beldiv1.InvokeRequest) (*beldiv1.InvokeResponse, error) {
	req, f := s.request(ctx, m.GetService(), m.GetFunction(), m.GetIdempotencyKey(), m.GetInput())
	if f != nil {
		return nil, f
	}
	ctx, cancel, f := waiting(ctx, m.GetWait())
	if f != nil {
		return nil, f
	}
	defer cancel()
	s.sendInstance(ctx, req.ID)
	result, err := s.o.Runtime.Invoke(ctx, req)
	if err == nil {
		err = result.Err()
	}
	if err != nil {
		return nil, about(err, req.ID)
	}
	return &beldiv1.InvokeResponse{Output: payload(result.Value), Instance: string(req.ID)}, nil
}

func (s functionsService) Start(ctx context.Context, m *beldiv1.StartRequest) (*beldiv1.StartResponse, error) {
	req, f := s.request(ctx, m.GetService(), m.GetFunction(), m.GetIdempotencyKey(), m.GetInput())
	if f != nil {
		return nil, f
	}
	s.sendInstance(ctx, req.ID)
	if err := s.o.Runtime.Start(ctx, req); err != nil {
		return nil, about(err, req.ID)
	}
	return &beldiv1.StartResponse{Instance: string(req.ID)}, nil
}

func (s functionsService) Await(ctx context.Context, m *beldiv1.AwaitRequest) (*beldiv1.AwaitResponse, error) {
	if f := checkInstance(m.GetInstance()); f != nil {
		return nil, f
	}
	ctx, cancel, f := waiting(ctx, m.GetWait())
	if f != nil {
		return nil, f
	}
	defer cancel()
	id := daal.InstanceID(m.GetInstance())
	s.sendInstance(ctx, id)
	result, err := s.o.Runtime.Await(ctx, id)
	if err == nil {
		err = result.Err()
	}
	if err != nil {
		return nil, about(err, id)
	}
	return &beldiv1.AwaitResponse{Output: payload(result.Value), Instance: string(id)}, nil
}

func (s functionsService) ListFunctions(ctx context.Context, _ *beldiv1.ListFunctionsRequest) (*beldiv1.ListFunctionsResponse, error) {
	list, err := s.o.Runtime.Functions(ctx)
	if err != nil {
		return nil, storeFault(err)
	}
	out := &beldiv1.ListFunctionsResponse{}
	for _, fn := range list {
		if fn.Function.Name == cellsFunction {
			continue
		}
		out.Functions = append(out.Functions, &beldiv1.FunctionStatus{
			Service:  fn.Function.Service,
			Function: fn.Function.Name,
			Workers:  int32(fn.Workers),
		})
	}
	return out, nil
}

// request makes the request of a caller outside.
func (s functionsService) request(ctx context.Context, service, function, key string, input *beldiv1.Payload) (req intent.Request, f *fault) {
	if s.isDraining() {
		return req, errDraining
	}
	req.Function = intent.Function{Service: service, Name: function}
	if f = checkFunction(req.Function); f != nil {
		return req, f
	}
	if req.Input, f = valueOf("input", input, maxInput); f != nil {
		return req, f
	}
	if key, f = idempotencyKey(ctx, key); f != nil {
		return req, f
	}
	if key == "" {
		req.Fresh = true
		id := uuid.Must(uuid.NewV7())
		req.ID = daal.InstanceID("i" + hex.EncodeToString(id[:]))
	} else {
		req.ID = keyedInstance(req.Function, key)
	}
	req.Trace = header(ctx, mdTraceparent)
	return req, nil
}

// idempotencyKey is the key of a call: the field, or the header.
func idempotencyKey(ctx context.Context, field string) (string, *fault) {
	key := header(ctx, mdIdempotencyKey)
	switch {
	case key == "":
		key = field
	case field != "" && field != key:
		return "", malformed("the idempotency key is %q in the request and %q in its header", field, key)
	}
	if key == "" {
		return "", nil
	}
	return key, checkLength("idempotency key", key, maxIdempotencyKey)
}

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// keyedInstance is the instance of an idempotency key: 130 bits of a hash, so that keys – which may be secrets, or long – stand nowhere in
// the store. Callers have no identities yet; theirs is the empty one.
func keyedInstance(fn intent.Function, key string) daal.InstanceID {
	const caller = ""
	sum := sha256.Sum256([]byte(backends.Tuple(caller, fn.Service, fn.Name, key)))
	return daal.InstanceID("k" + strings.ToLower(idEncoding.EncodeToString(sum[:]))[:26])
}

// header is a call's metadata value, "" if there is none.
func header(ctx context.Context, name string) string {
	if v := metadata.ValueFromIncomingContext(ctx, name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// sendInstance tells the caller the instance, however the call ends.
func (s *Server) sendInstance(ctx context.Context, id daal.InstanceID) {
	if err := grpc.SetHeader(ctx, metadata.Pairs(mdInstance, string(id))); err != nil {
		s.log.Debug("instance header not sent", "error", err) // the caller is gone
	}
}

// about adds the instance to an error.
func about(err error, id daal.InstanceID) error {
	f := *faultOf(err) // a copy: some faults are shared
	f.meta = maps.Clone(f.meta)
	return f.with("instance", string(id))
}

// waiting bounds how long a caller waits. The caller's own deadline counts as well.
func waiting(ctx context.Context, wait *durationpb.Duration) (context.Context, context.CancelFunc, *fault) {
	d := defaultWait
	if wait != nil {
		d = wait.AsDuration()
		if wait.CheckValid() != nil || d < 0 || d > maxWait {
			return nil, nil, malformed("wait is %s, it must be between 0s and %s", d, maxWait)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, cancel, nil
}
