package intent

import (
	"context"
	"fmt"

	"github.com/beldi/beldi/daal"
)

// PruneCell removes from a cell's log what journals cover, and raises the cell's fence accordingly (R8). It returns how many entries went. Bare cells have
// no log. Entries of instances that are not done and have not covered them, and of instances that are gone (R12), stay.
func (r *Runtime) PruneCell(ctx context.Context, a daal.Address) (int, error) {
	if r.cells.Layout() == daal.LayoutBare {
		return 0, nil
	}
	log, err := r.cells.Log(ctx, a)
	if err != nil {
		return 0, err
	}
	journals := map[daal.InstanceID]*journal{}
	var ids []daal.LogID
	fence := daal.Generation(0)
	for _, id := range log {
		j, ok := journals[id.Instance]
		if !ok {
			if j, err = loadJournal(ctx, r.store, id.Instance); err != nil {
				return 0, fmt.Errorf("intent: prune %s: %w", a, err)
			}
			journals[id.Instance] = j
		}
		if j == nil {
			continue
		}
		if g, ok := j.covers(id.Step); ok {
			ids = append(ids, id)
			fence = max(fence, g)
		}
	}
	if len(ids) == 0 {
		return 0, nil
	}
	done, err := r.cells.Prune(ctx, a, ids, fence)
	if !done || err != nil {
		return 0, err
	}
	return len(ids), nil
}

// covers returns the generation of the first record that covers an effect (R7).
func (j *journal) covers(step daal.Step) (daal.Generation, bool) {
	for _, rec := range j.records {
		if rec.Kind == recDone {
			return rec.Gen, true
		}
		for i := range rec.Entries {
			if e := rec.Entries[i]; e.Step == step && e.Effect {
				return rec.Gen, true
			}
		}
	}
	return 0, false
}
