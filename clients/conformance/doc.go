// Package conformance runs one set of scenarios against every SDK: README.md describes the functions that an SDK's app serves, and
// the tests here start a real sidecar and the app, and compare what comes out.
package conformance
