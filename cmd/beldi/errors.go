package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/beldi/beldi/internal/config"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitLocked      = 4
	exitTimeout     = 5
)

// usage marks an error of the command line itself.
type usage struct{ error }

// coded is an error that knows its exit code and what to do about it.
type coded struct {
	error
	code int
	hint string
}

func (c coded) Unwrap() error { return c.error }

// hints say what to do about a reason. Reasons without a hint explain themselves.
var hints = map[string]string{
	"NO_SUCH_FUNCTION":   "`beldi functions` lists what has announced itself; is the function's process running?",
	"NO_SUCH_INSTANCE":   "`beldi instances list` lists what there is; an instance is forgotten some time after it is done",
	"KEY_REUSED":         "a key stands for one request: take another key, or send the input it was first used with",
	"INVOKE_WAIT":        "the instance runs on; ask again with the same --key, or look at `beldi instances show`",
	"ATTEMPTS_EXHAUSTED": "`beldi instances show` prints the last crash",
	"NON_DETERMINISM":    "the function took another step than its journal says; `beldi instances show` prints both",
	"BAD_TOKEN":          "set BELDI_TOKEN to the sidecar's token, or use its Unix socket",
	"STORE_UNREACHABLE":  "nothing is lost: ask again with the same --key",
	"STORE_FULL":         "nothing is lost: free some disk space, then ask again with the same --key",
	"OVERLOADED":         "ask again in a moment, with the same --key",
	"DRAINING":           "ask again with the same --key when it is back",
}

// report prints the error, if any, and gives the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	code, hint := exitFailed, ""
	var c coded
	var u usage
	var mistakes config.Mistakes
	switch {
	case errors.As(err, &c):
		code, hint = c.code, c.hint
	case errors.As(err, &u):
		code, hint = exitUsage, "`beldi --help` lists commands, `beldi COMMAND --help` their flags"
	case errors.As(err, &mistakes):
		fmt.Fprintln(w, mistakes)
		return exitUsage
	}
	fmt.Fprintf(w, "beldi: %s\n", err)
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
	return code
}

// failed turns an RPC's error into words: what was attempted, why, and the reason's name.
func failed(what string, err error) error {
	s, ok := status.FromError(err)
	if !ok || err == nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if s.Code() == codes.Canceled && errors.Is(err, context.Canceled) {
		return coded{fmt.Errorf("%s: interrupted", what), exitFailed, ""}
	}
	reason := ""
	var failure *beldiv1.Failure
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			reason = d.Reason
		case *beldiv1.Failure:
			failure = d
		}
	}
	if failure != nil {
		return coded{functionFailed(what, failure), exitFailed, ""}
	}
	if reason == "" {
		return withoutReason(what, s)
	}
	code := exitFailed
	switch s.Code() {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.Unauthenticated:
		code = exitUsage
	case codes.Unavailable:
		code = exitUnreachable
	case codes.DeadlineExceeded:
		code = exitTimeout
	}
	return coded{fmt.Errorf("%s: %s (%s)", what, s.Message(), reason), code, hints[reason]}
}

func functionFailed(what string, f *beldiv1.Failure) error {
	text := f.GetMessage()
	if text == "" {
		text = "the function failed"
	}
	if d := f.GetDetails(); len(d.GetData()) > 0 {
		text += " " + string(valueJSON(d))
	}
	reason := f.GetCode()
	if reason == "" {
		reason = "FUNCTION_FAILED"
	}
	return fmt.Errorf("%s: %s (%s)", what, text, reason)
}

// withoutReason is for statuses that gRPC made itself: no sidecar there, or not one of ours.
func withoutReason(what string, s *status.Status) error {
	switch s.Code() {
	case codes.Unavailable:
		why := s.Message()
		if i := strings.LastIndex(why, "desc = "); i >= 0 {
			why = why[i+len("desc = "):]
		}
		why = strings.Trim(strings.TrimPrefix(why, "connection error: "), `"`)
		return coded{fmt.Errorf("%s: the sidecar cannot be reached: %s", what, why), exitUnreachable,
			"start one with `beldi run -- COMMAND` or `beldi serve`, or say where it is: --address"}
	case codes.DeadlineExceeded:
		return coded{fmt.Errorf("%s: timed out", what), exitTimeout, ""}
	case codes.Unimplemented:
		return coded{fmt.Errorf("%s: the sidecar does not know this request (%s)", what, s.Message()), exitFailed,
			"is it an older version? `beldi version` and `beldi functions` tell"}
	}
	return fmt.Errorf("%s: %s (%s)", what, s.Message(), s.Code())
}
