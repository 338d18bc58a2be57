package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beldi/beldi/clients/conformance/functions"
)

// sidecar is where the REST interface is.
type sidecar struct {
	url    string
	client *http.Client
}

// post sends JSON, and stores the JSON that comes back in `into`, if that is not nil.
func (s *sidecar) post(ctx context.Context, path, token string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Beldi-Attempt", token)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	d := json.NewDecoder(answer.Body)
	d.UseNumber()
	if answer.StatusCode != http.StatusOK {
		var status status
		if err := d.Decode(&status); err != nil {
			return fmt.Errorf("%s: %s", path, answer.Status)
		}
		return status.err()
	}
	if into == nil {
		return nil
	}
	return d.Decode(into)
}

// status is the body of an error.
type status struct {
	Message string `json:"message"`
	Details []struct {
		Type    string `json:"@type"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
		Code    string `json:"code"`
		Details any    `json:"details"`
	} `json:"details"`
}

func (s *status) err() error {
	refused := &functions.Refused{Message: s.Message}
	for _, d := range s.Details {
		switch {
		case strings.HasSuffix(d.Type, "/beldi.v1.Failure"):
			return &functions.Failure{Message: d.Message, Code: d.Code, Details: d.Details}
		case strings.HasSuffix(d.Type, "/google.rpc.ErrorInfo"):
			refused.Reason = d.Reason
		}
	}
	if refused.Reason == "SUPERSEDED" {
		return fmt.Errorf("%w: %s", functions.ErrAttemptOver, s.Message)
	}
	return refused
}

// rest gives the operations by REST. It names the steps itself, since branches send theirs in parallel.
type rest struct {
	*sidecar
	ctx                                context.Context
	token, service, function, instance string
	attempt                            int
	prefix                             string
	steps                              atomic.Int64
}

type fields map[string]any

func (r *rest) next() string { return r.prefix + strconv.FormatInt(r.steps.Add(1), 10) }

func (r *rest) step(operation string, body fields, into any) error {
	body["step"] = r.next()
	return r.post(r.ctx, "/v1/steps:"+operation, r.token, body, into)
}

// encode writes bytes as REST wants them.
func encode(v any) any {
	if data, raw := v.([]byte); raw {
		return fields{"$contentType": "application/octet-stream", "$bytes": data}
	}
	return v
}

// decode reads them.
func decode(v any) (any, error) {
	o, object := v.(map[string]any)
	if text, raw := o["$bytes"].(string); object && raw {
		return base64.StdEncoding.DecodeString(text)
	}
	return v, nil
}

func (r *rest) Service() string       { return r.service }
func (r *rest) Function() string      { return r.function }
func (r *rest) Instance() string      { return r.instance }
func (r *rest) Attempt() int          { return r.attempt }
func (r *rest) Done() <-chan struct{} { return r.ctx.Done() }

func (r *rest) Read(table, key string) (any, error) {
	var answer struct{ Value any }
	if err := r.step("read", fields{"table": table, "key": key}, &answer); err != nil {
		return nil, err
	}
	return decode(answer.Value)
}

func (r *rest) Write(table, key string, value any) error {
	return r.step("write", fields{"table": table, "key": key, "value": encode(value)}, nil)
}

func (r *rest) Delete(table, key string) error {
	return r.step("delete", fields{"table": table, "key": key}, nil)
}

func (r *rest) CondWrite(table, key string, value any, condition string) (bool, error) {
	var answer struct{ Applied bool }
	err := r.step("condWrite", fields{"table": table, "key": key, "value": encode(value), "condition": condition}, &answer)
	return answer.Applied, err
}

func (r *rest) Update(table, key, expression string, input any) (any, error) {
	var answer struct{ Value any }
	err := r.step("update", fields{"table": table, "key": key, "expression": expression, "input": input}, &answer)
	return answer.Value, err
}

type listed struct {
	Entries []functions.Entry
	Next    string
}

func (r *rest) list(table, prefix, after string, limit int, values bool) (answer listed, err error) {
	err = r.step("list", fields{"table": table, "prefix": prefix, "after": after, "limit": limit, "values": values}, &answer)
	return answer, err
}

func (r *rest) List(table, prefix, after string, limit int) ([]functions.Entry, string, error) {
	page, err := r.list(table, prefix, after, limit, true)
	return page.Entries, page.Next, err
}

func (r *rest) Keys(table, prefix string, limit int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for after, first := "", true; first || after != ""; first = false {
			page, err := r.list(table, prefix, after, limit, false)
			if err != nil {
				yield("", err)
				return
			}
			for _, e := range page.Entries {
				if !yield(e.Key, nil) {
					return
				}
			}
			after = page.Next
		}
	}
}

func target(name string) fields {
	service, function, both := strings.Cut(name, "/")
	if !both {
		return fields{"function": name}
	}
	return fields{"service": service, "function": function}
}

func (r *rest) Invoke(name string, input any) (any, error) {
	var answer struct{ Output any }
	err := r.step("invoke", fields{"target": target(name), "input": input}, &answer)
	return answer.Output, err
}

func (r *rest) Start(name string, input any) (string, error) {
	var answer struct{ Instance string }
	err := r.step("start", fields{"target": target(name), "input": input}, &answer)
	return answer.Instance, err
}

func (r *rest) Await(instance string) (any, error) {
	var answer struct{ Output any }
	err := r.step("await", fields{"instance": instance}, &answer)
	return answer.Output, err
}

func (r *rest) Record(name string, code func(string) (any, error)) (any, error) {
	var begun struct {
		Recorded    bool
		Value       any
		Token, Step string
		Failure     *functions.Failure
	}
	if err := r.step("beginRecord", fields{"name": name}, &begun); err != nil {
		return nil, err
	}
	switch {
	case begun.Failure != nil:
		return nil, begun.Failure
	case begun.Recorded:
		return begun.Value, nil
	}
	value, err := code(begun.Token)
	end := fields{"step": begun.Step, "value": encode(value)}
	failure, failed := err.(*functions.Failure)
	switch {
	case failed:
		end = fields{"step": begun.Step, "failure": fields{"message": failure.Message, "code": failure.Code, "details": failure.Details}}
	case err != nil:
		return nil, err
	}
	if err := r.post(r.ctx, "/v1/steps:endRecord", r.token, end, nil); err != nil {
		return nil, err
	}
	return value, err
}

func (r *rest) Now() (time.Time, error) {
	var answer struct{ Time time.Time }
	err := r.step("now", fields{}, &answer)
	return answer.Time, err
}

func (r *rest) Random() (float64, error) {
	var answer struct{ Value float64 }
	err := r.step("random", fields{}, &answer)
	return answer.Value, err
}

func (r *rest) UUID() (string, error) {
	var answer struct{ UUID string }
	err := r.step("uuid", fields{}, &answer)
	return answer.UUID, err
}

func (r *rest) Fork(branches ...func(functions.Ops) error) error {
	fork := r.next()
	errs := make([]error, len(branches))
	var wait sync.WaitGroup
	for i, branch := range branches {
		c := &rest{sidecar: r.sidecar, ctx: r.ctx, token: r.token, service: r.service, function: r.function,
			instance: r.instance, attempt: r.attempt, prefix: fmt.Sprintf("%s/%d.", fork, i+1)}
		wait.Go(func() { errs[i] = branch(c) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
