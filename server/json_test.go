package server

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

func js(s string) *beldiv1.Payload { return &beldiv1.Payload{Data: []byte(s)} }

// What goes out, byte for byte, and comes in again the same.
func TestJSONRoundTrip(t *testing.T) {
	image := &beldiv1.Payload{Data: []byte("\x89PNG"), ContentType: "image/png"}
	for _, c := range []struct {
		m    proto.Message
		want string
	}{
		{js(`9007199254740993`), `9007199254740993`},
		{js(`1e400`), `1e400`},
		{js(`-0`), `-0`},
		{js(`{"b": 1.50, "a": "<&>\u00e9"}`), `{"b": 1.50, "a": "<&>\u00e9"}`},
		{js(`{"$contentType": "x"}`), `{"$contentType": "x"}`},
		{image, `{"$contentType":"image/png","$bytes":"iVBORw=="}`},
		{&beldiv1.ReadResponse{}, `{"found":false}`},
		{&beldiv1.ReadResponse{Found: true, Value: js("null")}, `{"found":true,"value":null}`},
		{&beldiv1.WriteRequest{Table: "t", Key: "a/\"\x00\n<é", Value: js(`[1, 2]`), Step: "3/1.2"},
			`{"table":"t","key":"a/\"\u0000\n<é","value":[1, 2],"step":"3/1.2"}`},
		{&beldiv1.PutCellsRequest{Cells: []*beldiv1.Cell{{Service: "s", Table: "t", Key: "k", Value: js("-0.0")}, {Service: "s", Table: "t", Key: "gone"}}},
			`{"cells":[{"service":"s","table":"t","key":"k","value":-0.0},{"service":"s","table":"t","key":"gone"}],"idempotencyKey":""}`},
		{&beldiv1.InvokeStep{Target: &beldiv1.FunctionRef{Function: "f"}, Input: image},
			`{"target":{"service":"","function":"f"},"input":{"$contentType":"image/png","$bytes":"iVBORw=="},"step":""}`},
		{&beldiv1.NowResponse{Time: timestamppb.New(time.Unix(1, 5).UTC())}, `{"time":"1970-01-01T00:00:01.000000005Z"}`},
		{&beldiv1.RandomResponse{Value: 0.25}, `{"value":0.25}`},
		{&beldiv1.JournalRecord{Position: 1 << 60, Kind: "done"}, `{"position":"1152921504606846976","kind":"done","generation":"0","entries":[]}`},
		{&beldiv1.Instance{State: beldiv1.InstanceState_INSTANCE_STATE_FAILED, Attempts: 2},
			`{"id":"","service":"","function":"","state":"INSTANCE_STATE_FAILED","attempts":2,"caller":"","callerStep":"","traceId":"","note":""}`},
		{&beldiv1.Error{Code: 9, Reason: "FUNCTION_FAILED", Metadata: map[string]string{"b": "2", "a": "1"}, Failure: &beldiv1.Failure{Message: "m", Details: js(`{"x":1}`)}},
			`{"code":9,"reason":"FUNCTION_FAILED","message":"","metadata":{"a":"1","b":"2"},"failure":{"message":"m","code":"","details":{"x":1}}}`},
	} {
		got, err := jsonCodec{}.Marshal(c.m)
		if err != nil || string(got) != c.want {
			t.Errorf("%v\n is %s\nwant %s (%v)", c.m, got, c.want, err)
			continue
		}
		back := c.m.ProtoReflect().New().Interface()
		if _, isPayload := back.(*beldiv1.Payload); isPayload {
			var p *beldiv1.Payload
			err = jsonCodec{}.Unmarshal(got, &p)
			back = p
		} else {
			err = jsonCodec{}.Unmarshal(got, back)
		}
		if err != nil || !proto.Equal(back, c.m) {
			t.Errorf("%s\n gives %v\n want %v (%v)", got, back, c.m, err)
		}
	}
}

func TestJSONIn(t *testing.T) {
	for _, c := range []struct {
		text string
		want *beldiv1.BeginRecordResponse
	}{
		{`{"recorded": true, "value": null, "step": null}`, &beldiv1.BeginRecordResponse{Recorded: true, Value: js("null")}},
		{`{"failure": null}`, &beldiv1.BeginRecordResponse{}},
		{` {"failure" : {"message" : "x"} } `, &beldiv1.BeginRecordResponse{Failure: &beldiv1.Failure{Message: "x"}}},
		{`{"recorded": 1}`, nil},
		{`{"no": 1}`, nil},
		{`{"value": 1, "value": 2}`, nil},
		{`{"token": "a", "token": "b"}`, nil},
		{`{"failure": []}`, nil},
		{`{"failure": {"no": 1}}`, nil},
		{`{"value": {"$contentType": 1, "$bytes": "eA=="}}`, nil},
		{`{"value": {"$contentType": "a/b", "$bytes": "!"}}`, nil},
		{`{"value": `, nil},
		{`[]`, nil},
		{`"x"`, nil},
		{"{\"token\": \"\xff\"}", nil},
		{`{"token": "\ud800"}`, nil},
	} {
		m := &beldiv1.BeginRecordResponse{}
		err := jsonCodec{}.Unmarshal([]byte(c.text), m)
		switch {
		case c.want == nil:
			if f := faultOf(err); f == nil || f.reason != reasonMalformed {
				t.Errorf("%s: %v, %v, want MALFORMED", c.text, m, err)
			}
		case err != nil || !proto.Equal(m, c.want):
			t.Errorf("%s: %v, %v, want %v", c.text, m, err, c.want)
		}
	}
	m := &beldiv1.InvokeRequest{}
	if err := (jsonCodec{}).Unmarshal([]byte(`{"wait": "1.5s", "idempotency_key": "k"}`), m); err != nil ||
		!proto.Equal(m, &beldiv1.InvokeRequest{Wait: durationpb.New(1500 * time.Millisecond), IdempotencyKey: "k"}) {
		t.Errorf("%v, %v", m, err)
	}
}

func TestErrorBody(t *testing.T) {
	f := faultOf(&intent.Failure{Message: "sold out", Code: "SOLD_OUT", Details: daal.JSON(`{"left":0}`)})
	got, err := jsonCodec{}.Marshal(f.GRPCStatus().Proto())
	want := `{"code":9,"message":"SOLD_OUT: sold out","details":[` +
		`{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"FUNCTION_FAILED","domain":"beldi"},` +
		`{"@type":"type.googleapis.com/beldi.v1.Failure","message":"sold out","code":"SOLD_OUT","details":{"left":0}}]}`
	if err != nil || compactSpaces(got) != want {
		t.Errorf("%s\nwant %s (%v)", got, want, err)
	}
}

// compactSpaces undoes the spaces that protojson puts in at random.
func compactSpaces(b []byte) string {
	var out []byte
	quoted := false
	for _, c := range b {
		if c == '"' {
			quoted = !quoted
		}
		if c != ' ' || quoted {
			out = append(out, c)
		}
	}
	return string(out)
}
