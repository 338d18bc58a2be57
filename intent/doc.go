// Package intent runs instances of functions exactly once: the intent table, journals, attempts, replay and takeover (Beldi, OSDI'20, sections 3
// and 4; docs/protocol.md R1–R9, R11, R13, R15, L1).
//
// machine.go is the protocol: what one attempt does with the messages it gets. It has no I/O. attempt.go carries out what a machine asks for, commit.go
// writes the store, runtime.go and lifecycle.go hold the instances of this sidecar, workers.go the workers that run their code, collector.go
// finds instances whose sidecar is gone. clock.go is the only contact with time and chance.
//
// Invariants, tested by name:
//
//	R1   Results are buffered; R2: and appended before an effect leaves, by a compare-and-set of the journal's tip.
//	R4   A replay gets what is recorded; another path parks the instance.
//	R5   The last record of a journal says how the instance ended.
//	R6   Whoever takes over wrongly is superseded, or supersedes: never both go on.
//	R7   A record covers effects that were answered, with their outcomes.
//	R9   A refused effect is issued again under a new generation that a record carries.
//	R11  No effect of an instance that is not admitted.
//	R13  Queued effects are applied in program order, before anything that observes.
//	L1   The first append inserts the instance; a run that is refused there has had no effect.
//	I1   Every instance in the table leaves it by end, once; whoever waits is told.
//	I2   A worker hears of an attempt by Run, then Answers, and at most one Cancel or end.
package intent
