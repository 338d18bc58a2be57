package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// jsonCodec is the JSON of the REST interface: protobuf's own, but that a Payload stands as the JSON that it holds, byte for byte. A
// payload of another content type is {"$contentType": …, "$bytes": base64}.
//
// protojson cannot be told that, so messages of beldi.v1 are written and read field by field here, and everything else in them by protojson.
// Fields with their zero value are written; messages that are not set are not.
type jsonCodec struct{}

var _ runtime.Marshaler = jsonCodec{}

const (
	keyContentType = "$contentType"
	keyBytes       = "$bytes"
)

func (jsonCodec) ContentType(any) string { return "application/json" }

func (jsonCodec) Marshal(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return json.Marshal(v)
	}
	return appendMessage(nil, m.ProtoReflect())
}

func (jsonCodec) Unmarshal(data []byte, v any) error {
	switch m := v.(type) {
	case **beldiv1.Payload: // the field that is the body
		p, err := parsePayload(data)
		*m = p
		return err
	case proto.Message:
		if err := asError(checkJSON("the body", data)); err != nil {
			return err
		}
		return parseMessage(data, m.ProtoReflect())
	}
	return fmt.Errorf("server: cannot decode JSON into %T", v)
}

func (c jsonCodec) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if p, ok := v.(**beldiv1.Payload); ok {
			if b, ok := r.(*body); ok && b.contentType != "" {
				*p = &beldiv1.Payload{Data: data, ContentType: b.contentType}
				return nil
			}
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return io.EOF // an empty request
		}
		return c.Unmarshal(data, v)
	})
}

func (c jsonCodec) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		data, err := c.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
}

// ours tells messages that are written here from those that protojson writes.
func ours(d protoreflect.MessageDescriptor) bool {
	return d.ParentFile().Package() == "beldi.v1"
}

const (
	anyName    = "google.protobuf.Any"
	statusName = "google.rpc.Status"
)

func appendMessage(b []byte, m protoreflect.Message) ([]byte, error) {
	switch x := m.Interface().(type) {
	case *beldiv1.Payload:
		return appendPayload(b, x), nil
	case *anypb.Any:
		return appendAny(b, x)
	}
	if !ours(m.Descriptor()) && m.Descriptor().FullName() != statusName {
		return protojson.MarshalOptions{}.MarshalAppend(b, m.Interface())
	}
	return appendFields(append(b, '{'), m)
}

// appendFields writes the fields and the closing brace.
func appendFields(b []byte, m protoreflect.Message) ([]byte, error) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.HasPresence() && !m.Has(f) {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, f.JSONName()), ':')
		var err error
		switch v := m.Get(f); {
		case f.IsMap():
			b, err = appendMap(b, v.Map())
		case f.IsList():
			b, err = appendList(b, f, v.List())
		default:
			b, err = appendValue(b, f, v)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.FullName(), err)
		}
	}
	return append(b, '}'), nil
}

func appendList(b []byte, f protoreflect.FieldDescriptor, list protoreflect.List) ([]byte, error) {
	b = append(b, '[')
	for i := range list.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(b, f, list.Get(i)); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// appendMap writes a map of strings, the only kind that beldi.v1 has, by key.
func appendMap(b []byte, m protoreflect.Map) ([]byte, error) {
	text := map[string]string{}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		text[k.String()] = v.String()
		return true
	})
	out, err := json.Marshal(text)
	return append(b, out...), err
}

func appendValue(b []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) ([]byte, error) {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return appendMessage(b, v.Message())
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool()), nil
	case protoreflect.Int32Kind:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case protoreflect.Int64Kind: // a string, as protobuf has it: JavaScript would round the number
		return append(strconv.AppendInt(append(b, '"'), v.Int(), 10), '"'), nil
	case protoreflect.DoubleKind:
		out, err := json.Marshal(v.Float())
		return append(b, out...), err
	case protoreflect.StringKind:
		return appendText(b, v.String())
	case protoreflect.EnumKind:
		if e := f.Enum().Values().ByNumber(v.Enum()); e != nil {
			return strconv.AppendQuote(b, string(e.Name())), nil
		}
		return strconv.AppendInt(b, int64(v.Enum()), 10), nil
	}
	return nil, fmt.Errorf("server: no JSON for a field of kind %s", f.Kind())
}

// appendText writes a string without escaping <, > and &, which only matters in HTML.
func appendText(b []byte, s string) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, err
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...), nil
}

func appendPayload(b []byte, p *beldiv1.Payload) []byte {
	switch {
	case p.GetContentType() != "":
		b = append(b, `{"`+keyContentType+`":`...)
		b = append(strconv.AppendQuoteToASCII(b, p.GetContentType()), `,"`+keyBytes+`":"`...)
		b = base64.StdEncoding.AppendEncode(b, p.GetData())
		return append(b, `"}`...)
	case len(p.GetData()) == 0:
		return append(b, "null"...)
	}
	return append(b, p.GetData()...)
}

// appendAny writes the message inside with its type.
func appendAny(b []byte, a *anypb.Any) ([]byte, error) {
	m, err := a.UnmarshalNew()
	if err != nil {
		return nil, err
	}
	b = append(b, `{"@type":`...)
	b = strconv.AppendQuote(b, a.GetTypeUrl())
	r := m.ProtoReflect()
	if ours(r.Descriptor()) {
		return appendFields(b, r)
	}
	inside, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	if string(inside) == "{}" {
		return append(b, '}'), nil
	}
	return append(append(b, ','), inside[1:]...), nil
}

// parsePayload makes a payload of JSON. The two keys together, and nothing else, say that it is another content type.
func parsePayload(data []byte) (*beldiv1.Payload, error) {
	data = bytes.TrimSpace(data)
	if !bytes.Contains(data, []byte(keyContentType)) || data[0] != '{' {
		return &beldiv1.Payload{Data: data}, nil // checked by valueOf
	}
	var other struct {
		ContentType *string `json:"$contentType"`
		Bytes       []byte  `json:"$bytes"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var all map[string]json.RawMessage
	if json.Unmarshal(data, &all) != nil || len(all) != 2 || all[keyContentType] == nil || all[keyBytes] == nil {
		return &beldiv1.Payload{Data: data}, nil
	}
	if err := d.Decode(&other); err != nil || other.ContentType == nil {
		return nil, malformed("%s must be a string and %s base64: %v", keyContentType, keyBytes, err)
	}
	return &beldiv1.Payload{Data: other.Bytes, ContentType: *other.ContentType}, nil
}

// parseMessage reads an object. Fields that are, or hold, messages of ours are read here, the others go to protojson as an object of their own.
func parseMessage(data []byte, m protoreflect.Message) error {
	if !ours(m.Descriptor()) {
		return protojson.Unmarshal(data, m.Interface())
	}
	fields, err := splitObject(data)
	if err != nil {
		return err
	}
	plain := []byte{'{'}
	var special []jsonField
	for _, f := range fields {
		f.d = m.Descriptor().Fields().ByJSONName(f.name)
		if f.d == nil {
			f.d = m.Descriptor().Fields().ByTextName(f.name)
		}
		if f.d != nil && f.d.Kind() == protoreflect.MessageKind && !f.d.IsMap() && ours(f.d.Message()) {
			special = append(special, f)
			continue
		}
		if len(plain) > 1 {
			plain = append(plain, ',')
		}
		if plain, err = appendText(plain, f.name); err != nil {
			return err
		}
		plain = append(append(plain, ':'), f.value...)
	}
	if err := protojson.Unmarshal(append(plain, '}'), m.Interface()); err != nil {
		return malformed("%s: %v", m.Descriptor().Name(), err)
	}
	for _, f := range special {
		if m.Has(f.d) {
			return malformed("field %q stands twice", f.name)
		}
		if err := parseField(f, m); err != nil {
			return err
		}
	}
	return nil
}

func parseField(f jsonField, m protoreflect.Message) error {
	if !f.d.IsList() {
		v := m.NewField(f.d)
		if err := parseInto(f.value, v.Message()); err != nil {
			return err
		}
		if string(f.value) != "null" || isPayload(v.Message()) { // null is a payload, but no message
			m.Set(f.d, v)
		}
		return nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(f.value, &items); err != nil {
		return malformed("field %q must be a list", f.name)
	}
	list := m.Mutable(f.d).List()
	for _, item := range items {
		v := list.NewElement()
		if err := parseInto(item, v.Message()); err != nil {
			return err
		}
		list.Append(v)
	}
	return nil
}

func isPayload(m protoreflect.Message) bool {
	_, ok := m.Interface().(*beldiv1.Payload)
	return ok
}

func parseInto(data []byte, m protoreflect.Message) error {
	if !isPayload(m) {
		if string(data) == "null" {
			return nil
		}
		return parseMessage(data, m)
	}
	p, err := parsePayload(data)
	if err != nil {
		return err
	}
	target := m.Interface().(*beldiv1.Payload)
	target.Data, target.ContentType = p.GetData(), p.GetContentType()
	return nil
}

type jsonField struct {
	name  string
	value json.RawMessage
	d     protoreflect.FieldDescriptor
}

// splitObject takes a valid JSON object apart, in its order, values untouched.
func splitObject(data []byte) ([]jsonField, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	start, err := d.Token()
	if err != nil {
		return nil, malformed("the body is not JSON: %v", err)
	}
	if start != json.Delim('{') {
		return nil, malformed("%s… is no JSON object", cut(string(data), 32))
	}
	var fields []jsonField
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, malformed("the body is not JSON: %v", err)
		}
		var f jsonField
		f.name = name.(string)
		if err := d.Decode(&f.value); err != nil {
			return nil, malformed("the body is not JSON: %v", err)
		}
		f.value = slices.Clone(bytes.TrimSpace(f.value))
		fields = append(fields, f)
	}
	return fields, nil
}
