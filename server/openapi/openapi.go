// Package openapi holds the description of the REST interface: beldi.swagger.json, generated from the protos.
package openapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

//go:embed beldi.swagger.json
var generated []byte

// Document is the description as it is served. The generator knows the protos but not how values stand in JSON: as themselves.
func Document(version string) ([]byte, error) {
	var doc map[string]any
	if err := json.Unmarshal(generated, &doc); err != nil {
		return nil, fmt.Errorf("openapi: beldi.swagger.json: %w", err)
	}
	doc["info"] = map[string]any{
		"title":       "Beldi",
		"description": "Exactly-once stateful functions. Errors carry a google.rpc.ErrorInfo whose reason says what is wrong.",
		"version":     version,
	}
	definitions, ok := doc["definitions"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("openapi: beldi.swagger.json has no definitions")
	}
	// A schema without a type is any JSON.
	definitions["v1Payload"] = map[string]any{
		"description": "Any JSON value, as itself. A value of another content type is {\"$contentType\": \"image/png\", \"$bytes\": \"<base64>\"}.",
	}
	return json.Marshal(doc)
}
