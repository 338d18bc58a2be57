package server

import (
	"encoding/json"
	"errors"
	"mime"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// Limits in bytes. They are the same on every store unless the store is tighter.
const (
	maxKey            = 1 << 10
	maxValue          = daal.MaxValue
	maxInput          = 1 << 20 // an instance's input or result
	maxStep           = 256
	maxName           = 128 // services, functions, tables
	maxIdempotencyKey = 256
	maxInstance       = 512
	maxContentType    = 255
	maxTrace          = 8 << 10 // stack traces are cut, not refused
	maxFailureText    = 8 << 10 // a failure's message; its code is a name
	maxMessage        = 4 << 20 // one gRPC message or HTTP body
	maxAnswer         = 3 << 20 // one answer, so that it fits into a message
	maxList           = 1000
	defaultList       = 100
)

func limits() *beldiv1.Limits {
	return &beldiv1.Limits{Key: maxKey, Value: maxValue, Input: maxInput, StepName: maxStep}
}

// checkName checks a name of a service or a function. '/' is refused because these names stand in URLs, a leading '$' because such names
// are the sidecar's own.
func checkName(what, s string) *fault {
	if f := checkText(what, s, maxName); f != nil {
		return f
	}
	if i := strings.IndexByte(s, '/'); i >= 0 {
		return malformed("%s %q has a '/' at byte %d", what, s, i)
	}
	if s[0] == '$' {
		return malformed("%s %q begins with '$', as only the sidecar's own do", what, s)
	}
	return nil
}

// checkText: 1 to limit bytes of UTF-8 without control characters.
func checkText(what, s string, limit int) *fault {
	if f := checkLength(what, s, limit); f != nil {
		return f
	}
	for i, r := range s {
		if unicode.IsControl(r) {
			return malformed("%s %q has a control character at byte %d", what, s, i)
		}
	}
	return nil
}

// checkLength: 1 to limit bytes of UTF-8.
func checkLength(what, s string, limit int) *fault {
	switch {
	case s == "":
		return malformed("%s is empty", what)
	case len(s) > limit:
		return tooLarge(what, len(s), limit)
	case !utf8.ValidString(s):
		return malformed("%s is not valid UTF-8", what)
	}
	return nil
}

// checkCell checks where a value is. Keys are free: NUL, '-', '/', '#' are as good as any other character.
func checkCell(table, key string) *fault {
	if f := checkText("table", table, maxName); f != nil {
		return f
	}
	return checkLength("key", key, maxKey)
}

func checkPrefix(what, s string) *fault {
	if s == "" {
		return nil
	}
	return checkLength(what, s, maxKey)
}

// checkStep checks the name of a step.
func checkStep(s string) *fault { return checkLength("step name", s, maxStep) }

func checkInstance(s string) *fault { return checkLength("instance", s, maxInstance) }

// checkLimit turns the limit of a listing into one that can be used.
func checkLimit(n int32) (int, *fault) {
	switch {
	case n == 0:
		return defaultList, nil
	case n < 0 || n > maxList:
		return 0, malformed("limit is %d, it must be between 1 and %d, or 0 for %d", n, maxList, defaultList)
	}
	return int(n), nil
}

// valueOf checks a payload and makes it a value. No payload, or an empty JSON one, is JSON null.
//
// JSON must be JSON as in RFC 8259, in UTF-8. It is kept byte by byte, so numbers keep their digits and object keys their order; a
// repeated object key is allowed (expressions see its last value), because refusing it would need a second pass over every value.
func valueOf(what string, p *beldiv1.Payload, limit int) (daal.Value, *fault) {
	data, kind := p.GetData(), p.GetContentType()
	if len(data) > limit {
		return daal.Value{}, tooLarge(what, len(data), limit)
	}
	if kind != "" && kind != "application/json" {
		var f *fault
		if kind, f = contentType(what, kind); f != nil {
			return daal.Value{}, f
		}
		if kind != "" {
			return daal.Value{Data: data, Type: kind}, nil
		}
	}
	if len(data) == 0 {
		return daal.JSON("null"), nil
	}
	if f := checkJSON(what, data); f != nil {
		return daal.Value{}, f
	}
	return daal.Value{Data: data}, nil
}

// contentType checks a content type; JSON with parameters (charset=utf-8) is plain JSON, which is "".
func contentType(what, s string) (string, *fault) {
	if f := checkText("content type of "+what, s, maxContentType); f != nil {
		return "", f
	}
	media, _, err := mime.ParseMediaType(s)
	if err != nil {
		return "", malformed("content type %q of %s: %v", s, what, err)
	}
	if media == "application/json" {
		return "", nil
	}
	return s, nil
}

func checkJSON(what string, data []byte) *fault {
	if json.Valid(data) && utf8.Valid(data) {
		return nil
	}
	if !utf8.Valid(data) {
		return malformed("%s is not valid UTF-8, as JSON must be", what)
	}
	// The slow way tells where.
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return malformed("%s is not JSON: %v at byte %d", what, err, syntax.Offset)
	}
	return malformed("%s is not JSON: %v", what, err)
}

func failureOf(m *beldiv1.Failure) (*intent.Failure, *fault) {
	if len(m.GetMessage()) > maxFailureText {
		return nil, tooLarge("failure message", len(m.GetMessage()), maxFailureText)
	}
	if m.GetCode() != "" {
		if f := checkText("failure code", m.GetCode(), maxName); f != nil {
			return nil, f
		}
	}
	out := &intent.Failure{Message: m.GetMessage(), Code: m.GetCode()}
	if m.GetDetails() != nil {
		v, f := valueOf("failure details", m.GetDetails(), maxValue)
		if f != nil {
			return nil, f
		}
		out.Details = v
	}
	return out, nil
}

// checkEndpoint checks the URL of an HTTP endpoint.
func checkEndpoint(text string) (*url.URL, *fault) {
	if f := checkLength("url", text, maxKey); f != nil {
		return nil, f
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, malformed("url: %v", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, malformed("url %q must be http://host… or https://host…", text)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, malformed("url %q must not have a user, a query or a fragment", text)
	}
	return u, nil
}

// cut shortens text for people to at most n bytes, at a character's border.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
