package beldi

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

const (
	// linger is how long a step without answer may wait for company. Ten writes and a return are one message; a function that
	// writes and then computes for an hour has its write on the way after this long. It is no shorter since a timer that fires
	// wakes a thread: at a millisecond, that was a fifth of the CPU of an instance.
	linger = 5 * time.Millisecond
	// maxBatch keeps messages below the 4 MiB that the sidecar takes: the largest step is about 1 MiB.
	maxBatch = 1 << 20
	// maxQueue is how many bytes may wait to be sent before operations wait, too.
	maxQueue = 8 << 20
	// stepOverhead stands for what a step costs beside its payload.
	stepOverhead = 64
)

// session is one worker stream and the attempts that run on it. One goroutine sends, one receives, each attempt has its own.
type session struct {
	service *Service
	// base has the values of the ctx of Run, but not its end: attempts go on while the service drains.
	base   context.Context
	stream beldiv1.Workers_WorkClient
	limits *beldiv1.Limits

	wake chan struct{} // to the sender: there is something to send

	mu        sync.Mutex
	room      sync.Cond // the queue has shrunk, or the session is over
	queue     []queued
	bytes     int // in queue
	hello     *beldiv1.Hello
	linger    *time.Timer
	lingering bool
	attempts  map[uint64]*attempt
	drained   chan struct{} // closed when draining and no attempt is left
	draining  bool
	over      bool
}

type queued struct {
	step *beldiv1.Step
	size int
}

// serve runs one session: connects, serves until the stream breaks or ctx ends, and drains in the latter case. It returns whether
// the sidecar had welcomed the worker.
func (s *Service) serve(ctx context.Context, addr string) (welcomed bool, err error) {
	conn, err := dial(addr, s.options.token)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	// Not a child of ctx: the stream outlives it while the attempts drain.
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	unhook := context.AfterFunc(ctx, cancel)
	stream, err := beldiv1.NewWorkersClient(conn).Work(streamCtx)
	if err != nil {
		return false, fromStatus(err)
	}
	if err := stream.Send(&beldiv1.FromWorker{Hello: s.hello(false)}); err != nil && !errors.Is(err, io.EOF) {
		return false, fromStatus(err)
	}
	first, err := stream.Recv()
	if err != nil {
		return false, fromStatus(err)
	}
	if !unhook() {
		return true, ctx.Err()
	}
	s.options.log.Info("beldi: serving", "service", s.name, "functions", len(s.functions), "address", addr, "sidecar", first.GetWelcome().GetVersion())

	ses := &session{
		service:  s,
		base:     context.WithoutCancel(ctx),
		stream:   stream,
		limits:   first.GetWelcome().GetLimits(),
		wake:     make(chan struct{}, 1),
		attempts: make(map[uint64]*attempt),
		drained:  make(chan struct{}),
	}
	ses.room.L = &ses.mu
	ses.linger = time.AfterFunc(time.Hour, ses.lingered)

	received := make(chan error, 1)
	go func() {
		ses.take(first)
		received <- ses.receive()
	}()
	sent := make(chan struct{})
	go func() {
		ses.send(streamCtx, cancel)
		close(sent)
	}()
	select {
	case err = <-received:
	case <-ctx.Done():
		err = ses.drain(received, s.options.drain)
	}
	ses.end(err)
	cancel()
	<-sent
	return true, err
}

// drain asks for no more attempts, lets the running ones end, and closes the stream in good order.
func (s *session) drain(received <-chan error, limit time.Duration) error {
	deadline := time.After(limit)
	s.mu.Lock()
	s.hello = s.service.hello(true)
	s.draining = true
	if len(s.attempts) == 0 {
		close(s.drained)
	}
	s.mu.Unlock()
	s.flush()
	select {
	case err := <-received:
		return err
	case <-deadline:
		s.service.options.log.Warn("beldi: attempts still run at the end of the drain time; they run again elsewhere", "service", s.service.name)
		return context.Canceled
	case <-s.drained:
	}
	// The sender closes its side once the queue is empty; the sidecar answers by ending the stream.
	s.flush()
	select {
	case err := <-received:
		return err
	case <-deadline:
		return context.Canceled
	}
}

func (s *session) receive() error {
	for {
		m, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return &Error{Code: codes.Unavailable, Message: "the sidecar ended the stream"}
		}
		if err != nil {
			return fromStatus(err)
		}
		s.take(m)
	}
}

func (s *session) take(m *beldiv1.ToWorker) {
	for _, a := range m.GetAttempts() {
		s.start(a)
	}
	for _, answer := range m.GetAnswers() {
		if a := s.attempt(answer.GetAttempt()); a != nil {
			a.answer(answer)
		}
	}
	for _, c := range m.GetCancels() {
		if a := s.attempt(c.GetAttempt()); a != nil {
			a.stop(fromMessage(c.GetError()))
		}
	}
}

func (s *session) start(m *beldiv1.Attempt) {
	a := newAttempt(s, m)
	s.mu.Lock()
	s.attempts[a.number] = a
	s.mu.Unlock()
	go a.run(m.GetInput())
}

func (s *session) attempt(number uint64) *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts[number]
}

func (s *session) finish(a *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.attempts, a.number)
	if s.draining && len(s.attempts) == 0 {
		select {
		case <-s.drained:
		default:
			close(s.drained)
		}
	}
}

// enqueue hands a step to the sender: at once, or – if nobody waits for an answer – with the next one that is, or after linger.
func (s *session) enqueue(step *beldiv1.Step, size int, now bool) {
	size += stepOverhead
	s.mu.Lock()
	for s.bytes > maxQueue && !s.over {
		s.room.Wait()
	}
	s.queue = append(s.queue, queued{step, size})
	s.bytes += size
	if !now && !s.lingering && !s.over {
		s.lingering = true
		s.linger.Reset(linger)
	}
	s.mu.Unlock()
	if now {
		s.flush()
	}
}

func (s *session) lingered() {
	s.mu.Lock()
	s.lingering = false
	s.mu.Unlock()
	s.flush()
}

func (s *session) flush() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// send is the sender. If it fails, it ends the stream: the receiver gets to know why.
func (s *session) send(ctx context.Context, end context.CancelFunc) {
	m := &beldiv1.FromWorker{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		// Other attempts that can run now get to add their steps: under load, one message carries those of many.
		runtime.Gosched()
		for s.batch(m) {
			if err := s.stream.Send(m); err != nil {
				if !errors.Is(err, io.EOF) {
					s.service.options.log.Error("beldi: send steps", "service", s.service.name, "error", err)
					end()
				}
				return
			}
		}
		select {
		case <-s.drained:
			if s.idle() {
				_ = s.stream.CloseSend()
				return
			}
		default:
		}
	}
}

// batch fills m with what is to be sent, up to maxBatch, and returns whether there is anything.
func (s *session) batch(m *beldiv1.FromWorker) bool {
	clear(m.Steps)
	m.Steps = m.Steps[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	m.Hello, s.hello = s.hello, nil
	n, size := 0, 0
	for n < len(s.queue) && (n == 0 || size+s.queue[n].size <= maxBatch) {
		size += s.queue[n].size
		m.Steps = append(m.Steps, s.queue[n].step)
		n++
	}
	rest := copy(s.queue, s.queue[n:])
	clear(s.queue[rest:])
	s.queue = s.queue[:rest]
	s.bytes -= size
	if n > 0 {
		s.room.Broadcast()
	}
	return n > 0 || m.Hello != nil
}

func (s *session) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) == 0
}

// end stops all attempts: they are lost with the stream.
func (s *session) end(why error) {
	s.mu.Lock()
	s.over = true
	s.linger.Stop()
	lost := make([]*attempt, 0, len(s.attempts))
	for _, a := range s.attempts {
		lost = append(lost, a)
	}
	s.room.Broadcast()
	s.mu.Unlock()
	for _, a := range lost {
		a.stop(why)
	}
}

func retryable(e *Error) bool {
	switch e.Code {
	case codes.InvalidArgument, codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented:
		return false
	}
	return true
}
