package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// This file turns messages into operations, checking them on the way, and outcomes into messages. Worker streams and the Steps service
// share it.

func readOp(m *beldiv1.ReadRequest) (intent.Op, *fault) {
	return intent.Op{Kind: intent.OpRead, Table: m.GetTable(), Key: m.GetKey()}, checkCell(m.GetTable(), m.GetKey())
}

func writeOp(m *beldiv1.WriteRequest) (op intent.Op, f *fault) {
	op = intent.Op{Kind: intent.OpWrite, Table: m.GetTable(), Key: m.GetKey()}
	if f = checkCell(op.Table, op.Key); f == nil {
		op.Value, f = valueOf("value", m.GetValue(), maxValue)
	}
	return op, f
}

func deleteOp(m *beldiv1.DeleteRequest) (intent.Op, *fault) {
	return intent.Op{Kind: intent.OpDelete, Table: m.GetTable(), Key: m.GetKey()}, checkCell(m.GetTable(), m.GetKey())
}

func condWriteOp(m *beldiv1.CondWriteRequest) (op intent.Op, f *fault) {
	op = intent.Op{Kind: intent.OpCondWrite, Table: m.GetTable(), Key: m.GetKey(), Expr: m.GetCondition()}
	if f = checkCell(op.Table, op.Key); f != nil {
		return op, f
	}
	if op.Value, f = valueOf("value", m.GetValue(), maxValue); f != nil {
		return op, f
	}
	_, err := daal.CompileCondition(op.Expr)
	return op, faultOf(err)
}

func updateOp(m *beldiv1.UpdateRequest) (op intent.Op, f *fault) {
	op = intent.Op{Kind: intent.OpUpdate, Table: m.GetTable(), Key: m.GetKey(), Expr: m.GetExpression()}
	if f = checkCell(op.Table, op.Key); f != nil {
		return op, f
	}
	if op.Value, f = valueOf("input", m.GetInput(), maxValue); f != nil {
		return op, f
	}
	_, err := daal.CompileExpression(op.Expr)
	return op, faultOf(err)
}

func listOp(m *beldiv1.ListRequest) (op intent.Op, f *fault) {
	op = intent.Op{Kind: intent.OpList, Table: m.GetTable(), Key: m.GetPrefix(), After: m.GetAfter(), Values: m.GetValues()}
	if f = checkText("table", op.Table, maxName); f != nil {
		return op, f
	}
	if f = checkPrefix("prefix", op.Key); f != nil {
		return op, f
	}
	if f = checkPrefix("after", op.After); f != nil {
		return op, f
	}
	op.Limit, f = checkLimit(m.GetLimit())
	return op, f
}

// functionOf resolves a reference: without a service it is the asking function's own.
func functionOf(own string, m *beldiv1.FunctionRef) (intent.Function, *fault) {
	fn := intent.Function{Service: m.GetService(), Name: m.GetFunction()}
	if fn.Service == "" {
		fn.Service = own
	}
	return fn, checkFunction(fn)
}

func checkFunction(fn intent.Function) *fault {
	if f := checkName("service", fn.Service); f != nil {
		return f
	}
	return checkName("function", fn.Name)
}

func invokeOp(own string, kind intent.OpKind, target *beldiv1.FunctionRef, input *beldiv1.Payload) (op intent.Op, f *fault) {
	op.Kind = kind
	if op.Target, f = functionOf(own, target); f == nil {
		op.Value, f = valueOf("input", input, maxInput)
	}
	return op, f
}

func awaitOp(m *beldiv1.AwaitStep) (intent.Op, *fault) {
	return intent.Op{Kind: intent.OpAwait, Instance: daal.InstanceID(m.GetInstance())}, checkInstance(m.GetInstance())
}

func beginRecordOp(m *beldiv1.BeginRecordRequest) (intent.Op, *fault) {
	op := intent.Op{Kind: intent.OpBeginRecord, Key: m.GetName()}
	if op.Key == "" { // the name only guards against a changed program
		return op, nil
	}
	return op, checkText("record name", op.Key, maxStep)
}

func endRecordOp(m *beldiv1.EndRecordRequest) (op intent.Op, f *fault) {
	op.Kind = intent.OpEndRecord
	if m.GetFailure() != nil {
		if m.GetValue() != nil {
			return op, malformed("a record ends with a value or a failure, not with both")
		}
		op.Failure, f = failureOf(m.GetFailure())
		return op, f
	}
	op.Value, f = valueOf("value", m.GetValue(), maxValue)
	return op, f
}

func completeOp(m *beldiv1.CompleteRequest) (op intent.Op, f *fault) {
	op.Kind = intent.OpComplete
	op.Value, f = valueOf("result", m.GetOutput(), maxInput)
	return op, f
}

func failOp(m *beldiv1.FailRequest) (op intent.Op, f *fault) {
	op.Kind = intent.OpFail
	op.Failure, f = failureOf(m.GetFailure())
	return op, f
}

func crashOp(message, trace string) intent.Op {
	return intent.Op{Kind: intent.OpCrash, Message: cut(message, maxFailureText), Trace: cut(trace, maxTrace)}
}

// streamOp makes the operation of a step on a worker stream.
func streamOp(own string, s *beldiv1.Step) (intent.Op, *fault) {
	switch m := s.GetOp().(type) {
	case *beldiv1.Step_Read:
		return readOp(m.Read)
	case *beldiv1.Step_Write:
		return writeOp(m.Write)
	case *beldiv1.Step_Delete:
		return deleteOp(m.Delete)
	case *beldiv1.Step_CondWrite:
		return condWriteOp(m.CondWrite)
	case *beldiv1.Step_Update:
		return updateOp(m.Update)
	case *beldiv1.Step_List:
		return listOp(m.List)
	case *beldiv1.Step_Invoke:
		return invokeOp(own, intent.OpInvoke, m.Invoke.GetTarget(), m.Invoke.GetInput())
	case *beldiv1.Step_Start:
		return invokeOp(own, intent.OpStart, m.Start.GetTarget(), m.Start.GetInput())
	case *beldiv1.Step_Await:
		return awaitOp(m.Await)
	case *beldiv1.Step_BeginRecord:
		return beginRecordOp(m.BeginRecord)
	case *beldiv1.Step_EndRecord:
		return endRecordOp(m.EndRecord)
	case *beldiv1.Step_Now:
		return intent.Op{Kind: intent.OpNow}, nil
	case *beldiv1.Step_Random:
		return intent.Op{Kind: intent.OpRandom}, nil
	case *beldiv1.Step_Uuid:
		return intent.Op{Kind: intent.OpUUID}, nil
	case *beldiv1.Step_Complete:
		return completeOp(m.Complete)
	case *beldiv1.Step_Fail:
		return failOp(m.Fail)
	case *beldiv1.Step_Crash:
		return crashOp(m.Crash.GetMessage(), m.Crash.GetTrace()), nil
	}
	return intent.Op{}, malformed("step %q has no operation that this sidecar knows", s.GetName())
}

// silent operations are answered on a stream only if they are refused.
func silent(k intent.OpKind) bool {
	return k == intent.OpWrite || k == intent.OpDelete || k == intent.OpEndRecord
}

// ends returns whether an operation is the last of its attempt.
func ends(k intent.OpKind) bool {
	return k == intent.OpComplete || k == intent.OpFail || k == intent.OpCrash
}

func payload(v daal.Value) *beldiv1.Payload {
	if len(v.Data) == 0 && v.IsJSON() {
		return &beldiv1.Payload{Data: []byte("null")}
	}
	return &beldiv1.Payload{Data: v.Data, ContentType: v.Type}
}

func readResponse(o *intent.Outcome) *beldiv1.ReadResponse {
	if !o.OK {
		return &beldiv1.ReadResponse{}
	}
	return &beldiv1.ReadResponse{Found: true, Value: payload(o.Value)}
}

func updateResponse(o *intent.Outcome) *beldiv1.UpdateResponse {
	if !o.OK {
		return &beldiv1.UpdateResponse{TooLarge: true}
	}
	return &beldiv1.UpdateResponse{Value: payload(o.Value)}
}

func listResponse(o *intent.Outcome) *beldiv1.ListResponse {
	out := &beldiv1.ListResponse{Next: o.Next, Entries: make([]*beldiv1.ListEntry, len(o.Entries))}
	for i := range o.Entries {
		e := &beldiv1.ListEntry{Key: o.Entries[i].Key}
		if v := o.Entries[i].Value; v.Data != nil || v.Type != "" { // values were asked for
			e.Value = payload(v)
		}
		out.Entries[i] = e
	}
	return out
}

// beginRecordResponse answers with the value or the failure that is recorded, if any. A recorded failure is an answer, not an error.
func beginRecordResponse(a *intent.Attempt, step daal.Step, o *intent.Outcome) *beldiv1.BeginRecordResponse {
	out := &beldiv1.BeginRecordResponse{Recorded: o.OK, Token: string(a.Instance) + "/" + string(step), Step: string(step)}
	var failure *intent.Failure
	switch {
	case errors.As(o.Err, &failure):
		out.Recorded, out.Failure = true, failureMessage(failure)
	case o.OK:
		out.Value = payload(o.Value)
	}
	return out
}

// stepError is why a step has no response, nil if it has one.
func stepError(kind intent.OpKind, o *intent.Outcome) *fault {
	if o.Err == nil {
		return listError(o)
	}
	if _, recorded := o.Err.(*intent.Failure); recorded && kind == intent.OpBeginRecord {
		return nil
	}
	return faultOf(o.Err)
}

// listError refuses a page that no client would take. Its result is recorded, so a replay is refused as well.
func listError(o *intent.Outcome) *fault {
	if size := listSize(o); size > maxAnswer {
		return tooLarge("the page (ask for fewer keys, or none of the values)", size, maxAnswer)
	}
	return nil
}

func listSize(o *intent.Outcome) int {
	size := 0
	for i := range o.Entries {
		size += len(o.Entries[i].Key) + len(o.Entries[i].Value.Data) + len(o.Entries[i].Value.Type) + 16
	}
	return size
}

func nowResponse(o *intent.Outcome) (*beldiv1.NowResponse, error) {
	text := strings.Trim(string(o.Value.Data), `"`)
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil, fmt.Errorf("server: recorded time %q: %w", text, err)
	}
	return &beldiv1.NowResponse{Time: timestamppb.New(t)}, nil
}

func randomResponse(o *intent.Outcome) (*beldiv1.RandomResponse, error) {
	x, err := strconv.ParseFloat(string(o.Value.Data), 64)
	if err != nil {
		return nil, fmt.Errorf("server: recorded random number: %w", err)
	}
	return &beldiv1.RandomResponse{Value: x}, nil
}

func uuidResponse(o *intent.Outcome) (*beldiv1.UuidResponse, error) {
	var id string
	if err := json.Unmarshal(o.Value.Data, &id); err != nil {
		return nil, fmt.Errorf("server: recorded UUID: %w", err)
	}
	return &beldiv1.UuidResponse{Uuid: id}, nil
}
