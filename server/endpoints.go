package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// Endpoint is a service whose functions are reached over HTTP: the attempt of function F is POSTed to URL + "/" + F.
type Endpoint struct {
	Service   string
	URL       string
	Functions []string
	// Concurrency is how many attempts it gets at once; 0: no limit.
	Concurrency int
}

// Headers of an attempt, beside mdAttempt (its token) and mdInstance.
const (
	headerFunction = "Beldi-Function"
	headerNumber   = "Beldi-Attempt-Number"
)

const (
	connectLimit = 5 * time.Second
	// An endpoint that does not listen may be starting: nothing has run, so it is asked again for a while before that counts as a crash.
	patience = 10 * time.Second
)

// newEndpointClient: attempts are not idempotent for http.Client, so it must neither follow redirects nor send anything twice.
func newEndpointClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: connectLimit}).DialContext,
			TLSHandshakeTimeout: connectLimit,
			MaxIdleConnsPerHost: 256,
			IdleConnTimeout:     90 * time.Second,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// endpoint is the intent.Worker for functions behind a URL.
type endpoint struct {
	Endpoint
	srv *Server
	at  *intent.Attachment

	mu       sync.Mutex
	attempts map[*intent.Attempt]*call
}

// attach starts to use an endpoint. One that is known already, with the same functions, is left alone.
func (s *Server) attach(e Endpoint) error {
	s.endpointsMu.Lock()
	defer s.endpointsMu.Unlock()
	at := slices.IndexFunc(s.endpoints, func(old *endpoint) bool { return old.Service == e.Service && old.URL == e.URL })
	if at >= 0 && slices.Equal(s.endpoints[at].Functions, e.Functions) {
		return nil
	}
	w := &endpoint{Endpoint: e, srv: s, attempts: map[*intent.Attempt]*call{}}
	var err error
	if w.at, err = s.o.Runtime.Attach(e.Service, e.Functions, e.Concurrency, w); err != nil {
		return err
	}
	if at >= 0 { // its running attempts go on
		s.endpoints[at].at.Drain()
		s.endpoints[at] = w
	} else {
		s.endpoints = append(s.endpoints, w)
	}
	s.log.Info("endpoint is here", "service", e.Service, "functions", e.Functions, "url", e.URL)
	return nil
}

// Announce registers an endpoint. Whoever reaches the sidecar could otherwise make it POST to any host, so an endpoint on another machine must
// stand in the configuration.
func (s workersService) Announce(_ context.Context, m *beldiv1.AnnounceRequest) (*beldiv1.AnnounceResponse, error) {
	functions, f := checkFunctions(m.GetService(), m.GetFunctions())
	if f != nil {
		return nil, f
	}
	text := strings.TrimSuffix(m.GetUrl(), "/")
	u, f := checkEndpoint(text)
	if f != nil {
		return nil, f
	}
	configured := func(e Endpoint) bool { return e.Service == m.GetService() && e.URL == text }
	if !isLoopback(u.Hostname()) && !slices.ContainsFunc(s.o.Endpoints, configured) {
		return nil, refuse(reasonNotAllowed, "endpoint %s is not on this machine: put it into the configuration", text)
	}
	if s.isDraining() {
		return nil, errDraining
	}
	if err := s.attach(Endpoint{Service: m.GetService(), URL: text, Functions: functions}); err != nil {
		return nil, faultOf(err)
	}
	return &beldiv1.AnnounceResponse{}, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Run implements intent.Worker.
func (e *endpoint) Run(a *intent.Attempt) {
	ctx, cancel := context.WithCancelCause(e.srv.ctx)
	c := &call{Attempt: a, token: rand.Text(), cancel: cancel, over: make(chan struct{}), steps: map[stepName]*pendingStep{}}
	e.mu.Lock()
	e.attempts[a] = c
	e.mu.Unlock()
	e.srv.tokens.add(c)
	e.srv.tasks.Go(func() {
		defer cancel(nil)
		c.finish(e.post(ctx, c))
	})
}

func (e *endpoint) forget(a *intent.Attempt) *call {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.attempts[a]
	delete(e.attempts, a)
	return c
}

// Answer implements intent.Worker.
func (e *endpoint) Answer(a *intent.Attempt, step daal.Step, o intent.Outcome) {
	if step == "" {
		if c := e.forget(a); c != nil {
			e.srv.tokens.retire(c.token, c.end(nil))
		}
		return
	}
	e.mu.Lock()
	c := e.attempts[a]
	e.mu.Unlock()
	if c != nil {
		c.answer(step, o)
	}
}

// Cancel implements intent.Worker.
func (e *endpoint) Cancel(a *intent.Attempt, why error) {
	if c := e.forget(a); c != nil {
		e.srv.tokens.retire(c.token, c.end(why))
		c.cancel(why)
	}
}

// post sends an attempt and returns how it ended.
func (e *endpoint) post(ctx context.Context, c *call) intent.Op {
	where := e.URL + "/" + url.PathEscape(c.Function.Name)
	deadline := time.Now().Add(patience)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		resp, err := e.send(ctx, where, c)
		if err == nil {
			return verdict(where, resp)
		}
		var dial *net.OpError
		if !errors.As(err, &dial) || dial.Op != "dial" || time.Now().After(deadline) {
			return crashOp(err.Error(), "")
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return crashOp(context.Cause(ctx).Error(), "")
		}
	}
}

func (e *endpoint) send(ctx context.Context, where string, c *call) (*http.Response, error) {
	in := payload(c.Input)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, where, bytes.NewReader(in.GetData()))
	if err != nil {
		return nil, err
	}
	kind := in.GetContentType()
	if kind == "" {
		kind = "application/json"
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set(mdAttempt, c.token)
	req.Header.Set(mdInstance, string(c.Instance))
	req.Header.Set(headerFunction, c.Function.Name)
	req.Header.Set(headerNumber, strconv.Itoa(c.Number))
	if c.Traceparent != "" {
		req.Header.Set(mdTraceparent, c.Traceparent)
	}
	return e.srv.client.Do(req)
}

// verdict is what a response says of its attempt.
func verdict(where string, resp *http.Response) intent.Op {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxInput+1))
	if err != nil {
		return crashOp(fmt.Sprintf("POST %s: read the response: %v", where, err), "")
	}
	code := resp.StatusCode
	switch {
	case code >= 200 && code < 300:
		out := &beldiv1.Payload{Data: body, ContentType: resp.Header.Get("Content-Type")}
		if len(body) == 0 {
			out = nil
		}
		op, f := completeOp(&beldiv1.CompleteRequest{Output: out})
		if f != nil {
			return crashOp(fmt.Sprintf("POST %s: %v", where, f), "")
		}
		return op
	case code >= 400 && code < 500 && code != http.StatusRequestTimeout && code != http.StatusTooEarly && code != http.StatusTooManyRequests:
		return intent.Op{Kind: intent.OpFail, Failure: failureFrom(code, body)}
	}
	return crashOp(fmt.Sprintf("POST %s: %s: %s", where, resp.Status, cut(strings.ToValidUTF8(string(body), "�"), 512)), "")
}

// failureFrom takes a failure from a 4xx response: {"message" or "error", "code"}, else its text.
func failureFrom(code int, body []byte) *intent.Failure {
	var said struct {
		Message string `json:"message"`
		Error   string `json:"error"`
		Code    string `json:"code"`
	}
	if json.Unmarshal(body, &said) == nil {
		if said.Message == "" {
			said.Message = said.Error
		}
	}
	if said.Message == "" {
		said.Message = strings.TrimSpace(strings.ToValidUTF8(string(body), "�"))
	}
	if said.Message == "" {
		said.Message = http.StatusText(code)
	}
	if checkText("code", said.Code, maxName) != nil {
		said.Code = ""
	}
	return &intent.Failure{Message: cut(said.Message, maxFailureText), Code: said.Code}
}
