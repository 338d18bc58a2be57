package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/beldi/beldi/internal/config"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// target is where a client command finds its sidecar.
type target struct {
	Address string `help:"Sidecar to talk to: unix:///path or host:port. Default: the user's socket, else 127.0.0.1:7401." env:"BELDI_ADDRESS" placeholder:"ADDR"`
	Token   string `help:"Bearer token, if the sidecar asks for one." env:"BELDI_TOKEN" placeholder:"TOKEN"`
}

func (t target) address() string {
	if t.Address != "" {
		return t.Address
	}
	if socket := config.DefaultSocket(); exists(socket) {
		return "unix://" + socket
	}
	return config.Default().GRPC
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (t target) dial() (*grpc.ClientConn, error) {
	return dial(t.address(), t.Token)
}

func dial(address, token string) (*grpc.ClientConn, error) {
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20)),
	}
	if token != "" {
		bearer := metadata.Pairs("authorization", "Bearer "+token)
		opts = append(opts, grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any,
			cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
			return invoke(metadata.NewOutgoingContext(ctx, bearer), method, req, reply, cc, o...)
		}))
	}
	conn, err := grpc.NewClient(address, opts...)
	if err != nil {
		return nil, usage{fmt.Errorf("connect to %s: %w", address, err)}
	}
	return conn, nil
}

const contentJSON = "application/json"

// wrapped is how a payload that is not JSON stands in JSON, here and in REST.
type wrapped struct {
	ContentType string `json:"$contentType"`
	Bytes       string `json:"$bytes"`
}

// valueJSON is the payload as JSON: itself if it is JSON.
func valueJSON(p *beldiv1.Payload) json.RawMessage {
	if p == nil {
		return nil
	}
	if t := p.GetContentType(); t != "" && t != contentJSON {
		out, err := json.Marshal(wrapped{t, base64.StdEncoding.EncodeToString(p.GetData())})
		if err != nil {
			panic(err) // two strings
		}
		return out
	}
	return p.GetData()
}

// payload is the inverse of valueJSON. The sidecar would refuse what is no JSON, too, but not say where in a file it stood.
func payload(text []byte) (*beldiv1.Payload, error) {
	text = bytes.TrimSpace(text)
	var any json.RawMessage
	if err := json.Unmarshal(text, &any); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	var w wrapped
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if strict.Decode(&w) == nil && w.ContentType != "" {
		data, err := base64.StdEncoding.DecodeString(w.Bytes)
		if err != nil {
			return nil, fmt.Errorf("$bytes: %w", err)
		}
		return &beldiv1.Payload{Data: data, ContentType: w.ContentType}, nil
	}
	return &beldiv1.Payload{Data: text}, nil
}

// argument reads a JSON argument: itself, @file, or - for standard input.
func argument(e *env, text string) (*beldiv1.Payload, error) {
	data, from := []byte(text), "input"
	var err error
	if text == "-" {
		from = "standard input"
		data, err = io.ReadAll(e.stdin)
	} else if file, ok := strings.CutPrefix(text, "@"); ok {
		from = file
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, usage{fmt.Errorf("read %s: %w", from, err)}
	}
	p, err := payload(data)
	if err != nil {
		return nil, coded{fmt.Errorf("%s: %w", from, err), exitUsage, "texts need quotes of their own: '\"h1\"'"}
	}
	return p, nil
}
