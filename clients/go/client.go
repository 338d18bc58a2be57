package beldi

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// Client invokes functions from outside: from a program that is no function itself. It is safe for concurrent use.
type Client struct {
	conn *grpc.ClientConn
	rpc  beldiv1.FunctionsClient
}

// NewClient makes a client of the sidecar at the address, of which "" stands for the default (see [Address]). It connects when it
// is first used.
func NewClient(addr string, given ...Option) (*Client, error) {
	o := newOptions(given)
	if addr == "" {
		addr = address(o.address)
	}
	conn, err := dial(addr, o.token)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, rpc: beldiv1.NewFunctionsClient(conn)}, nil
}

// Close closes the connection. Functions that were invoked run on.
func (c *Client) Close() error { return c.conn.Close() }

// CallOption changes one call of a [Client].
type CallOption func(*callOptions)

type callOptions struct {
	key  string
	wait time.Duration
}

// Key sets the idempotency key, at most 256 bytes. Calls of a function with the same key and input are one instance, so a call
// that failed with UNAVAILABLE can be repeated; the same key with another input is an [*Error] with the reason KEY_REUSED.
func Key(key string) CallOption { return func(o *callOptions) { o.key = key } }

// Wait sets how long the sidecar waits for a result; then the error is an [*Error] with the reason INVOKE_WAIT and the metadata
// "instance", and the function runs on. Default: 60 s.
func Wait(d time.Duration) CallOption { return func(o *callOptions) { o.wait = d } }

func newCallOptions(given []CallOption) callOptions {
	var o callOptions
	for _, option := range given {
		option(&o)
	}
	return o
}

func (o callOptions) duration() *durationpb.Duration {
	if o.wait == 0 {
		return nil
	}
	return durationpb.New(o.wait)
}

// Call runs the function "service/function" exactly once for its key, and waits for its result. The error is a [*Failure] if the
// function failed for good, else an [*Error].
func Call[T any](ctx context.Context, c *Client, target string, input any, options ...CallOption) (T, error) {
	var none T
	p, err := encode(input)
	if err != nil {
		return none, err
	}
	o, to := newCallOptions(options), ref(target)
	answer, err := c.rpc.Invoke(ctx, &beldiv1.InvokeRequest{
		Service: to.Service, Function: to.Function, Input: p, IdempotencyKey: o.key, Wait: o.duration()})
	if err != nil {
		return none, fromStatus(err)
	}
	return decode[T](answer.GetOutput())
}

// Start makes an instance durable and returns; the function runs to its end whatever dies. [Result] waits for it.
func (c *Client) Start(ctx context.Context, target string, input any, options ...CallOption) (Instance, error) {
	p, err := encode(input)
	if err != nil {
		return "", err
	}
	o, to := newCallOptions(options), ref(target)
	answer, err := c.rpc.Start(ctx, &beldiv1.StartRequest{Service: to.Service, Function: to.Function, Input: p, IdempotencyKey: o.key})
	if err != nil {
		return "", fromStatus(err)
	}
	return Instance(answer.GetInstance()), nil
}

// Result waits for the result of an instance. Errors are those of [Call].
func Result[T any](ctx context.Context, c *Client, instance Instance, options ...CallOption) (T, error) {
	answer, err := c.rpc.Await(ctx, &beldiv1.AwaitRequest{Instance: string(instance), Wait: newCallOptions(options).duration()})
	if err != nil {
		var none T
		return none, fromStatus(err)
	}
	return decode[T](answer.GetOutput())
}
