package daal

import (
	"context"
	"fmt"

	"github.com/beldi/beldi/backends"
)

// Apply applies one logged effect (R3) and returns its outcome, whether now or ever before. Errors: *Fenced, *OtherOperation; anything
// else (ErrUnknown, a failed read, a context that ended) leaves open whether it was applied: call again with the same effect.
func (c *Cells) Apply(ctx context.Context, e *Effect) (Outcome, error) {
	unlock := c.lock([]Address{e.At})
	defer unlock()
	switch c.layout {
	case LayoutEntries:
		return c.applyEntries(ctx, e)
	case LayoutRows:
		return c.applyRows(ctx, e)
	}
	panic("daal: effects on a store of one scope go by Batch (D7)")
}

func unknown(e *Effect, err error) error {
	return fmt.Errorf("%w: %s on %s: %w", ErrUnknown, e.ID, e.At, err)
}

// ---- entries: head row and log rows in one partition

// entrySort is the Sort of a log entry's row; the head's is "".
func entrySort(id LogID) string { return "e" + backends.Tuple(string(id.Instance), string(id.Step)) }

const fEntry = "o"

func (c *Cells) applyEntries(ctx context.Context, e *Effect) (Outcome, error) {
	part := Part(e.At)
	var h head
	if e.conditional() {
		if known, ok := c.cache.get(e.At); ok {
			h = known.head
		} else {
			var err error
			if h, err = c.load(ctx, e.At); err != nil {
				return Outcome{}, unknown(e, err)
			}
		}
	}
	for {
		s := judge(e, h)
		entry := backends.Update{
			Key:  backends.Key{Kind: backends.KindCell, Part: part, Sort: entrySort(e.ID)},
			When: []backends.Cond{{Test: backends.Missing}},
			Do:   []backends.Change{{Field: fEntry, Set: encodeEntry(e.Digest, s.outcome)}},
		}
		value := backends.Update{
			Key:  backends.Key{Kind: backends.KindCell, Part: part},
			When: []backends.Cond{{Test: backends.LessThan, Field: fFence, Value: backends.Int(int64(e.Gen))}},
		}
		if planted("ignore-fence") {
			value.When = nil
		}
		if e.conditional() {
			value.When = append(value.When, revisionIs(h.rev))
		}
		if s.changes {
			value.Do = append(valueChanges(s.value, s.found), backends.Change{Field: fRev, Add: 1})
		}
		answer := c.store.Apply(ctx, []backends.Update{entry, value})
		switch answer.Outcome {
		case backends.Applied:
			if e.conditional() {
				if s.changes {
					h = head{value: s.value, found: s.found, rev: h.rev + 1}
				}
				c.cache.put(e.At, cached{head: h})
			} else {
				c.cache.drop(e.At)
			}
			return s.outcome, nil
		case backends.Refused:
			if answer.Index == 0 {
				return decodeEntry(e, answer.Row.Get(fEntry))
			}
			if fence := Generation(answer.Row.Int(fFence)); fence >= e.Gen {
				return Outcome{}, &Fenced{fence}
			}
			h = headOf(answer.Row) // the value has changed since: judge again
		default:
			c.cache.drop(e.At)
			if planted("unknown-is-refused") && e.Kind == CondWrite {
				return Outcome{Applied: false}, nil
			}
			return Outcome{}, unknown(e, answer.Err)
		}
		if err := ctx.Err(); err != nil {
			return Outcome{}, unknown(e, err)
		}
	}
}
