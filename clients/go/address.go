package beldi

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const defaultTCP = "127.0.0.1:7401"

// address returns where the sidecar is: what was given, else BELDI_ADDRESS, else the socket that a sidecar on this machine
// makes by default, else its TCP port. Asked again at every connection, since a sidecar may come up later.
func address(given string) string {
	if given != "" {
		return given
	}
	if env := os.Getenv("BELDI_ADDRESS"); env != "" {
		return env
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "beldi-"+strconv.Itoa(os.Getuid()))
	}
	socket := filepath.Join(dir, "beldi.sock")
	if _, err := os.Stat(socket); err == nil {
		return "unix://" + socket
	}
	return defaultTCP
}

func dial(addr, token string) (*grpc.ClientConn, error) {
	target := addr
	if !strings.Contains(addr, ":/") {
		target = "passthrough:///" + addr
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// Fixed windows: the estimator that grpc would run otherwise sends a ping with nearly every message of a quiet stream.
		grpc.WithInitialWindowSize(1 << 20),
		grpc.WithInitialConnWindowSize(4 << 20),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		// A sidecar that is stopped, or whose machine is gone, closes no connection: without pings nobody would notice.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	}
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(token)))
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("beldi: connect to %s: %w", addr, err)
	}
	return conn, nil
}

// maxMessage is above what the sidecar may send at once: answers for many attempts, each up to 1 MiB.
const maxMessage = 64 << 20

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }
