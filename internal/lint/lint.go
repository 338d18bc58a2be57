// Package lint holds the rules of ARCHITECTURE.md that a compiler does not know, as tests: what may import what, where time comes from, who
// may write logs, how long a file gets.
package lint
