package server_test

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/beldi/beldi/internal/wiring"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// raw sends bytes as they are: messages that no client of ours would make.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (raw) Name() string                       { return "proto" }

func TestUndecodable(t *testing.T) {
	s := start(t)
	for what, message := range map[string]string{
		"garbage":   "\xff\xff\xff",
		"cut off":   "\x0a\x05ab",
		"not UTF-8": "\x0a\x01\xff",
	} {
		var out []byte
		err := s.conn.Invoke(t.Context(), "/beldi.v1.Functions/Invoke", []byte(message), &out, grpc.ForceCodec(raw{}))
		if err == nil {
			t.Errorf("%s: no error", what)
			continue
		}
		wantError(t, err, codes.InvalidArgument, "MALFORMED")
		stream, err := s.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/beldi.v1.Workers/Work", grpc.ForceCodec(raw{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.SendMsg([]byte("\x0a\x05" + message)); err != nil {
			t.Fatal(err)
		}
		wantError(t, stream.RecvMsg(&out), codes.InvalidArgument, "MALFORMED")
	}
}

// The socket is open to its owner, TCP to who has the token.
func TestTokenByGRPC(t *testing.T) {
	s := start(t, func(o *wiring.Options) { o.Token = "secret" })
	if _, err := s.admin.GetInfo(t.Context(), &beldiv1.GetInfoRequest{}); err != nil {
		t.Errorf("by the socket: %v", err)
	}
	tcp := beldiv1.NewAdminClient(dial(t, s.Addresses().GRPC))
	for header, ok := range map[string]bool{"": false, "Bearer wrong": false, "Bearer secret": true} {
		_, err := tcp.GetInfo(metadata.AppendToOutgoingContext(t.Context(), "authorization", header), &beldiv1.GetInfoRequest{})
		switch {
		case ok && err != nil:
			t.Errorf("authorization %q: %v", header, err)
		case !ok:
			wantError(t, err, codes.Unauthenticated, "BAD_TOKEN")
		}
	}
	stream, err := beldiv1.NewWorkersClient(dial(t, s.Addresses().GRPC)).Work(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantError(t, err, codes.Unauthenticated, "BAD_TOKEN")
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	live := filepath.Join(dir, "live")
	l, err := net.Listen("unix", live)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dead := filepath.Join(dir, "dead")
	if l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead}); err != nil {
		t.Fatal(err)
	} else {
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    wiring.Options
		want string
	}{
		{wiring.Options{}, "nothing to listen on"},
		{wiring.Options{GRPC: "0.0.0.0:0"}, "there is no token"},
		{wiring.Options{HTTP: "[::]:0"}, "there is no token"},
		{wiring.Options{HTTP: "no port"}, "missing port"},
		{wiring.Options{GRPC: "127.0.0.1:0", Socket: live}, "another sidecar"},
		{wiring.Options{Socket: file}, "address already in use"},
		{wiring.Options{Socket: dead}, ""},
		{wiring.Options{Socket: filepath.Join(dir, "new", "s")}, ""},
	} {
		c.o.Log = slog.New(slog.DiscardHandler)
		s, err := wiring.Start(t.Context(), c.o)
		if err == nil {
			if info, statErr := os.Stat(c.o.Socket); statErr != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%+v: socket %v, %v", c.o, info, statErr)
			}
			err = s.Close()
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}

// SIGTERM: what runs may end, new requests are refused, workers and health checks are told.
func TestDrain(t *testing.T) {
	s := start(t, func(o *wiring.Options) { o.DrainLimit = time.Minute })
	w := s.worker("f")
	done := s.invoke("f", "", "1")
	a := w.attempt()
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	if !w.welcome().GetDraining() {
		t.Error("welcome without draining")
	}
	wantError(t, (<-s.invoke("f", "", "2")).err, codes.Unavailable, "DRAINING")
	if r := s.rest("GET", "/healthz", ""); r.code != 503 {
		t.Errorf("health: %v", r)
	}
	h, err := healthv1.NewHealthClient(s.conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil || h.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health: %v, %v", h, err)
	}
	w.steps(complete(a.GetAttempt(), "1"))
	wantOutput(t, done, "1")
	wantError(t, w.end(), codes.Unavailable, "DRAINING")
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// What is still running when the time is over is given up, and its caller told to ask again.
func TestDrainLimit(t *testing.T) {
	s := start(t)
	w := s.worker("f")
	done := s.invoke("f", "", "1")
	w.attempt()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wantError(t, (<-done).err, codes.Unavailable, "DRAINING")
}
