package daal

import "fmt"

// InstanceID names one intended execution of a function. Ids from outside are made by the gateway, those of callees are
// derived from the caller's id and step.
type InstanceID string

// Step is the name of an operation of an instance: its place in the program ("1", "2", "3/1.2"), or a name that the
// function chose. At most 256 bytes.
type Step string

// LogID names one effect, for ever.
type LogID struct {
	Instance InstanceID
	Step     Step
}

func (id LogID) String() string { return fmt.Sprintf("%s#%s", id.Instance, id.Step) }

// Generation is a hybrid logical timestamp: milliseconds of the epoch in the upper bits, a counter in the lower 16.
// Every record of a journal carries its attempt's; they rise strictly along attempts and renewals.
type Generation int64

// Value is what a cell holds, a function gets, or a function returns: bytes with a content type.
// The zero Value is JSON null's stand-in for "nothing".
type Value struct {
	Data []byte
	// Type is the content type; "" means application/json.
	Type string
}

// JSON makes a JSON value of text that is known to be valid JSON.
func JSON(text string) Value { return Value{Data: []byte(text)} }

// IsJSON returns whether CEL may look into the value.
func (v Value) IsJSON() bool { return v.Type == "" || v.Type == "application/json" }

// Address names a cell.
type Address struct {
	Service string
	Table   string
	Key     string
}

func (a Address) String() string { return fmt.Sprintf("%s/%s[%q]", a.Service, a.Table, a.Key) }
