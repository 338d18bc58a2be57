// Package wiring puts a sidecar together: a store, the runtime over it, and the server in front. It is the one place, with cmd,
// that names store adapters.
package wiring
