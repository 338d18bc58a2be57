// Package callback makes one function's call of another exactly-once: callee ids are derived, registration is the caller's effect, and the result is
// handed over from the callee's journal (protocol.md R10, R11; in one realm the callee's row is the authority).
//
// Invariants:
//
//	K1  The id of a callee depends on the caller's instance, its life and the step alone: a replay invokes the same instance, and a caller whose
//	    key is used again after it was forgotten does not get the results of its former life (docs/model, F/call-same-id).
//	K2  A result that was handed over once is handed over again, the same, as long as the callee's row is there.
package callback

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// Runner runs registered instances and waits for them: an *intent.Runtime.
type Runner interface {
	Adopt(*intent.Registration)
	Await(context.Context, daal.InstanceID) (intent.Result, error)
}

// Local invokes functions of the same realm, whose instances lie in the same store.
type Local struct {
	runner Runner
}

// Bind says which runtime runs the callees. It must be called before the first invoke: runtime and Local know each other.
func (l *Local) Bind(r Runner) { l.runner = r }

var encoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// Callee implements intent.Invoker (K1).
func (l *Local) Callee(caller daal.InstanceID, life uint64, step daal.Step) daal.InstanceID {
	h := sha256.Sum256([]byte(backends.Tuple("callee", string(caller), strconv.FormatUint(life, 16), string(step))))
	return daal.InstanceID("c" + strings.ToLower(encoding.EncodeToString(h[:])[:26]))
}

// Launch implements intent.Invoker.
func (l *Local) Launch(g *intent.Registration) { l.runner.Adopt(g) }

// Result implements intent.Invoker (K2).
func (l *Local) Result(ctx context.Context, id daal.InstanceID) (intent.Result, error) {
	return l.runner.Await(ctx, id)
}
