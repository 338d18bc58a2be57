package beldi

import (
	"bytes"
	"encoding/json"
	"fmt"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

const (
	jsonType  = "application/json"
	bytesType = "application/octet-stream"
)

// Value is a value as it is stored: bytes with a content type. Wherever this package takes or gives a value, a Value passes
// through unchanged.
type Value struct {
	Data []byte
	// ContentType "" means application/json.
	ContentType string
}

// IsJSON returns whether the value is JSON.
func (v Value) IsJSON() bool { return v.ContentType == "" || v.ContentType == jsonType }

// Decode stores the value in what `into` points to: a []byte, a Value, or anything that encoding/json decodes.
func (v Value) Decode(into any) error {
	switch into := into.(type) {
	case *Value:
		*into = v
		return nil
	case *[]byte:
		switch {
		case !v.IsJSON():
			*into = v.Data
		case len(v.Data) == 0 || string(v.Data) == "null":
			*into = nil
		default:
			return fmt.Errorf("beldi: decode value: it is JSON, not bytes; use json.RawMessage for its text")
		}
		return nil
	}
	if !v.IsJSON() {
		return fmt.Errorf("beldi: decode value into %T: its content type is %s; use []byte or beldi.Value", into, v.ContentType)
	}
	if len(v.Data) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(v.Data))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("beldi: decode value into %T: %w", into, err)
	}
	return nil
}

func decode[T any](p *beldiv1.Payload) (T, error) {
	var v T
	err := fromPayload(p).Decode(&v)
	return v, err
}

func fromPayload(p *beldiv1.Payload) Value {
	return Value{Data: p.GetData(), ContentType: p.GetContentType()}
}

func encode(v any) (*beldiv1.Payload, error) {
	switch v := v.(type) {
	case Value:
		return &beldiv1.Payload{Data: v.Data, ContentType: v.ContentType}, nil
	case []byte:
		if v == nil {
			return &beldiv1.Payload{Data: []byte("null")}, nil
		}
		return &beldiv1.Payload{Data: v, ContentType: bytesType}, nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("beldi: encode value of type %T: %w", v, err)
	}
	return &beldiv1.Payload{Data: data}, nil
}
