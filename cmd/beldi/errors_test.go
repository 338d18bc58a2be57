package main

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// Each status that a sidecar may answer with, as the user sees it.
func TestReport(t *testing.T) {
	reason := func(code codes.Code, reason string, more ...protoadapt.MessageV1) error {
		details := append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: "beldi"}}, more...)
		s, err := status.New(code, "why").WithDetails(details...)
		if err != nil {
			t.Fatal(err)
		}
		return failed("do it", s.Err())
	}
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{reason(codes.FailedPrecondition, "FUNCTION_FAILED", &beldiv1.Failure{Message: "sold out", Code: "SOLD_OUT"}), 1, "beldi: do it: sold out (SOLD_OUT)\n"},
		{reason(codes.FailedPrecondition, "FUNCTION_FAILED", &beldiv1.Failure{Details: &beldiv1.Payload{Data: []byte("[1]")}}), 1,
			"beldi: do it: the function failed [1] (FUNCTION_FAILED)\n"},
		{reason(codes.FailedPrecondition, "ATTEMPTS_EXHAUSTED"), 1, "beldi: do it: why (ATTEMPTS_EXHAUSTED)\nhint: " + hints["ATTEMPTS_EXHAUSTED"] + "\n"},
		{reason(codes.InvalidArgument, "TOO_LARGE"), 2, "beldi: do it: why (TOO_LARGE)\n"},
		{reason(codes.Unauthenticated, "BAD_TOKEN"), 2, "beldi: do it: why (BAD_TOKEN)\nhint: " + hints["BAD_TOKEN"] + "\n"},
		{reason(codes.Unavailable, "STORE_FULL"), 3, "beldi: do it: why (STORE_FULL)\nhint: " + hints["STORE_FULL"] + "\n"},
		{reason(codes.DeadlineExceeded, "INVOKE_WAIT"), 5, "beldi: do it: why (INVOKE_WAIT)\nhint: " + hints["INVOKE_WAIT"] + "\n"},
		{failed("do it", status.Error(codes.DeadlineExceeded, "x")), 5, "beldi: do it: timed out\n"},
		{failed("do it", status.Error(codes.Internal, "x")), 1, "beldi: do it: x (Internal)\n"},
		{usage{errors.New("what?")}, 2, "beldi: what?\nhint: `beldi --help` lists commands, `beldi COMMAND --help` their flags\n"},
		{coded{errors.New("locked"), exitLocked, "h"}, 4, "beldi: locked\nhint: h\n"},
	} {
		var b bytes.Buffer
		if code := report(&b, c.err); code != c.code || b.String() != c.text {
			t.Errorf("report(%v) = %d, %q; want %d, %q", c.err, code, b.String(), c.code, c.text)
		}
	}
}
