package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"runtime/debug"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
	"github.com/beldi/beldi/server/apipage"
	"github.com/beldi/beldi/server/openapi"
)

// passedHeaders go from HTTP requests into metadata, and back.
var passedHeaders = map[string]string{
	textproto.CanonicalMIMEHeaderKey(mdIdempotencyKey): mdIdempotencyKey,
	textproto.CanonicalMIMEHeaderKey(mdAttempt):        mdAttempt,
	textproto.CanonicalMIMEHeaderKey(mdTraceparent):    mdTraceparent,
}

// newGateway makes the REST side: the services are called in this process, without a connection between.
func (s *Server) newGateway(ctx context.Context) (http.Handler, error) {
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, jsonCodec{}),
		runtime.WithIncomingHeaderMatcher(func(key string) (string, bool) {
			name, ok := passedHeaders[key]
			return name, ok
		}),
		runtime.WithOutgoingHeaderMatcher(func(key string) (string, bool) {
			return "Beldi-Instance", key == mdInstance
		}),
		runtime.WithOutgoingTrailerMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithErrorHandler(s.restError),
		runtime.WithRoutingErrorHandler(routingError),
		// A POST is a POST, whatever its headers say.
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
	)
	for _, err := range []error{
		// What is registered later is tried first: instances/{id}:await must come before instances/{id}.
		beldiv1.RegisterAdminHandlerServer(ctx, mux, adminService{Server: s}),
		beldiv1.RegisterFunctionsHandlerServer(ctx, mux, functionsService{Server: s}),
		beldiv1.RegisterStepsHandlerServer(ctx, mux, stepsService{Server: s}),
		beldiv1.RegisterWorkersHandlerServer(ctx, mux, workersService{Server: s}),
	} {
		if err != nil {
			return nil, err
		}
	}
	description, err := openapi.Document(s.o.Info.Version)
	if err != nil {
		return nil, err
	}
	pages := apipage.New(description)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.recoverHTTP(w, r)
		switch {
		case r.URL.Path == "/healthz":
			s.serveHealth(w)
		case !strings.HasPrefix(r.URL.Path, "/v1/"), r.URL.Path == "/v1/openapi.json":
			pages.ServeHTTP(w, r)
		default:
			if f := s.admitHTTP(w, r); f != nil {
				writeFault(w, f)
				return
			}
			mux.ServeHTTP(w, r)
		}
	}), nil
}

// admitHTTP lets a request in: who asks, from where, and how much.
func (s *Server) admitHTTP(w http.ResponseWriter, r *http.Request) *fault {
	if f := s.checkBearer(r.Header.Get("Authorization")); f != nil {
		return f
	}
	// Pages of other sites, open in a browser on this machine, can reach loopback. A browser says where a request comes from; a name
	// that is made to point here (DNS rebinding) shows in Host.
	if err := s.crossOrigin.Check(r); err != nil {
		return refuse(reasonNotAllowed, "%v", err)
	}
	if s.o.Token == "" && !isAddress(r.Host) {
		return refuse(reasonNotAllowed, "host %q: without a token only localhost and IP addresses are served", r.Host)
	}
	return readBody(w, r)
}

func isAddress(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// body is a request's body, read in full. contentType is set if it is something else than JSON.
type body struct {
	*bytes.Reader
	contentType string
}

func (*body) Close() error { return nil }

// bodyLimit is how long a client may take to send a body.
const bodyLimit = time.Minute

// readBody reads the body before the gateway does, which could not tell TOO_LARGE from MALFORMED.
func readBody(w http.ResponseWriter, r *http.Request) *fault {
	conn := http.NewResponseController(w)
	err := conn.SetReadDeadline(time.Now().Add(bodyLimit))
	var data []byte
	if err == nil {
		data, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	}
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return refuse(reasonTooLarge, "the body is over the limit of %d bytes", maxMessage)
	case err != nil:
		return malformed("read the body: %v", err)
	}
	b := &body{Reader: bytes.NewReader(data)}
	// curl -d says that its body is a form; nobody sends JSON functions a form.
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && kind != "application/json" && kind != "application/x-www-form-urlencoded" {
		b.contentType = r.Header.Get("Content-Type")
	}
	r.Body = b
	return nil
}

func (s *Server) recoverHTTP(w http.ResponseWriter, r *http.Request) {
	if p := recover(); p != nil {
		s.log.Error("panic", "request", r.Method+" "+r.URL.Path, "panic", p, "stack", string(debug.Stack()))
		writeFault(w, refuse(reasonInternal, "the sidecar has a bug; its log has more"))
	}
}

func (s *Server) serveHealth(w http.ResponseWriter) {
	if s.isDraining() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	w.Write([]byte("ok\n"))
}

// restError writes the error of a call.
func (s *Server) restError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	if md, ok := runtime.ServerMetadataFromContext(ctx); ok {
		if id := md.HeaderMD.Get(mdInstance); len(id) > 0 {
			w.Header().Set("Beldi-Instance", id[0])
		}
	}
	var f *fault
	if !errors.As(err, &f) {
		f = gatewayFault(err)
	}
	s.logInternal(f)
	writeFault(w, f)
}

// gatewayFault is for errors that the gateway makes itself: it could not decode the request.
func gatewayFault(err error) *fault {
	var httpErr *runtime.HTTPStatusError
	if errors.As(err, &httpErr) {
		err = httpErr.Err
	}
	if st, ok := status.FromError(err); ok {
		if st.Code() == codes.InvalidArgument {
			return malformed("%s", st.Message())
		}
		return refuse(reasonInternal, "%s", st.Message())
	}
	return malformed("%v", err)
}

// routingError: no such path, or not with this method.
func routingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	f := malformed("%s %s: %s; / lists what there is", r.Method, r.URL.Path, strings.ToLower(http.StatusText(code)))
	writeStatus(w, f, code)
}

func writeFault(w http.ResponseWriter, f *fault) { writeStatus(w, f, f.httpStatus()) }

func writeStatus(w http.ResponseWriter, f *fault, code int) {
	text, err := jsonCodec{}.Marshal(f.GRPCStatus().Proto())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	w.Write(text)
}
