package server

import (
	"context"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that ours wraps
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
)

// guarded wraps the handlers of a service: who may call, what cannot be decoded, and what panics. Interceptors would do for the first and the
// last, but not for the second.
func (s *Server) guarded(d *grpc.ServiceDesc) *grpc.ServiceDesc {
	out := *d
	out.Methods = make([]grpc.MethodDesc, len(d.Methods))
	for i, m := range d.Methods {
		name, handle := "/"+d.ServiceName+"/"+m.MethodName, m.Handler
		m.Handler = func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (resp any, err error) {
			defer s.recoverCall(name, &err)
			if f := s.admitCall(ctx); f != nil {
				return nil, f
			}
			return handle(srv, ctx, func(m any) error { return receive(decode, m) }, nil)
		}
		out.Methods[i] = m
	}
	out.Streams = make([]grpc.StreamDesc, len(d.Streams))
	for i, m := range d.Streams {
		name, handle := "/"+d.ServiceName+"/"+m.StreamName, m.Handler
		m.Handler = func(srv any, stream grpc.ServerStream) (err error) {
			defer s.recoverCall(name, &err)
			if f := s.admitCall(stream.Context()); f != nil {
				return f
			}
			return handle(srv, guardedStream{stream})
		}
		out.Streams[i] = m
	}
	return &out
}

type guardedStream struct{ grpc.ServerStream }

func (s guardedStream) RecvMsg(m any) error { return receive(s.ServerStream.RecvMsg, m) }

// received is a message with what is wrong with it. grpc answers INTERNAL by itself, before the service sees anything, when a codec fails;
// so ours does not fail.
type received struct {
	m   any
	err error
}

func receive(recv func(any) error, m any) error {
	r := received{m: m}
	if err := recv(&r); err != nil {
		return err
	}
	if r.err != nil {
		return malformed("the message cannot be decoded: %v", r.err)
	}
	return nil
}

// codec is grpc's own for protobuf, but for received messages.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if r, ok := v.(*received); ok {
		r.err = c.CodecV2.Unmarshal(data, r.m)
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// admitCall: the Unix socket is guarded by its file mode, TCP by the token.
func (s *Server) admitCall(ctx context.Context) *fault {
	if s.o.Token == "" {
		return nil
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr.Network() == "unix" {
		return nil
	}
	return s.checkBearer(header(ctx, mdAuthorization))
}

// recoverCall keeps the sidecar up: a bug in one call is that call's.
func (s *Server) recoverCall(method string, err *error) {
	if p := recover(); p != nil {
		s.log.Error("panic", "call", method, "panic", p, "stack", string(debug.Stack()))
		*err = refuse(reasonInternal, "the sidecar has a bug; its log has more")
		return
	}
	if f, ok := (*err).(*fault); ok {
		s.logInternal(f)
	}
}

// logInternal: an error that nobody has classified is ours to look at.
func (s *Server) logInternal(f *fault) {
	if f.reason == reasonInternal {
		s.log.Error("unclassified error", "error", f.message)
	}
}
