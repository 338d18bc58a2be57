package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"

	"github.com/beldi/beldi/clients/conformance/functions"
	beldi "github.com/beldi/beldi/clients/go"
)

// request is a line of the client mode.
type request struct {
	Call     string          `json:"call"`
	Target   string          `json:"target"`
	Input    json.RawMessage `json:"input"`
	Key      string          `json:"key"`
	Instance beldi.Instance  `json:"instance"`
}

// client answers each line of in by one on out.
func client(ctx context.Context, in io.Reader, out io.Writer) error {
	c, err := beldi.NewClient("")
	if err != nil {
		return err
	}
	defer c.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 4<<20)
	answers := json.NewEncoder(out)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("read request %q: %w", lines.Text(), err)
		}
		if err := answers.Encode(answer(ctx, c, r)); err != nil {
			return err
		}
	}
	return lines.Err()
}

func answer(ctx context.Context, c *beldi.Client, r request) any {
	var options []beldi.CallOption
	if r.Key != "" {
		options = append(options, beldi.Key(r.Key))
	}
	var (
		result functions.Object
		err    error
	)
	switch r.Call {
	case "invoke":
		var output json.RawMessage
		output, err = beldi.Call[json.RawMessage](ctx, c, r.Target, r.Input, options...)
		result = functions.Object{"output": output}
	case "start":
		var id beldi.Instance
		id, err = c.Start(ctx, r.Target, r.Input, options...)
		result = functions.Object{"instance": id}
	case "await":
		var output json.RawMessage
		output, err = beldi.Result[json.RawMessage](ctx, c, r.Instance)
		result = functions.Object{"output": output}
	default:
		err = fmt.Errorf("no such call %q", r.Call)
	}
	if err != nil {
		return functions.Object{"error": describe(err)}
	}
	return result
}

func describe(err error) functions.Object {
	var failure *functions.Failure
	if errors.As(inward(err), &failure) {
		return functions.Object{"code": codes.FailedPrecondition, "reason": "FUNCTION_FAILED", "message": failure.Message,
			"failure": functions.Object{"message": failure.Message, "code": failure.Code, "details": failure.Details}}
	}
	var e *beldi.Error
	if errors.As(err, &e) {
		return functions.Object{"code": e.Code, "reason": e.Reason, "message": e.Message}
	}
	return functions.Object{"message": err.Error()}
}
