// Package server is the face of the sidecar: gRPC services, the workers' stream, HTTP endpoints, and REST.
//
// It checks what comes in (validate.go), turns messages into operations of package intent and answers back into messages, and holds
// the one map from errors to statuses (errors.go). It decides nothing about exactly-once: that is intent's and daal's.
package server
