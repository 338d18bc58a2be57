package daal

import (
	"context"
	"fmt"
	"strings"

	"github.com/beldi/beldi/backends"
)

// Log returns the effects in a cell's log, for the collector. Not for bare cells, which have none.
func (c *Cells) Log(ctx context.Context, a Address) ([]LogID, error) {
	var ids []LogID
	add := func(tuple string) error {
		parts, err := backends.ParseTuple(tuple)
		if err != nil || len(parts) != 2 {
			return fmt.Errorf("daal: log entry %q of %s is damaged", tuple, a)
		}
		ids = append(ids, LogID{InstanceID(parts[0]), Step(parts[1])})
		return nil
	}
	r := backends.Range{Kind: backends.KindCell, Part: Part(a), Limit: logPage}
	for {
		page, err := c.store.Query(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("daal: read the log of %s: %w", a, err)
		}
		for _, e := range page {
			if c.layout == LayoutEntries {
				if e.Key.Sort != "" {
					if err := add(e.Key.Sort[1:]); err != nil {
						return nil, err
					}
				}
				continue
			}
			for _, f := range e.Row {
				if strings.HasPrefix(f.Name, logMark) {
					if err := add(f.Name[len(logMark):]); err != nil {
						return nil, err
					}
				}
			}
		}
		if len(page) < logPage {
			return ids, nil
		}
		r.After = page[len(page)-1].Key
	}
}

// Prune removes entries of a cell's log and raises the cell's fence to at least `fence` (R8): the generation of the record that covers them. The
// caller answers for that. It returns whether it did; false without an error means that the cell changed meanwhile or a store call
// stayed unanswered: try again later, nothing is harmed.
func (c *Cells) Prune(ctx context.Context, a Address, ids []LogID, fence Generation) (bool, error) {
	unlock := c.lock([]Address{a})
	defer unlock()
	if planted("prune-without-fence") {
		fence = 0
	}
	if c.layout == LayoutEntries {
		return c.pruneEntries(ctx, a, ids, fence)
	}
	return c.pruneRows(ctx, a, ids, fence)
}

func (c *Cells) pruneEntries(ctx context.Context, a Address, ids []LogID, fence Generation) (bool, error) {
	part := Part(a)
	row, err := c.store.Get(ctx, backends.Key{Kind: backends.KindCell, Part: part})
	if err != nil {
		return false, fmt.Errorf("daal: prune %s: %w", a, err)
	}
	seen := row.Int(fFence)
	batch := []backends.Update{{
		Key:  backends.Key{Kind: backends.KindCell, Part: part},
		When: []backends.Cond{sameInt(fFence, seen)},
		Do:   []backends.Change{{Field: fFence, Set: backends.Int(max(seen, int64(fence)))}},
	}}
	for _, id := range ids {
		batch = append(batch, backends.Update{Key: backends.Key{Kind: backends.KindCell, Part: part, Sort: entrySort(id)}, Delete: true})
	}
	return c.store.Apply(ctx, batch).Outcome == backends.Applied, nil
}

func sameInt(field string, n int64) backends.Cond {
	if n == 0 {
		return backends.Cond{Test: backends.AtMost, Field: field, Value: backends.Int(0)}
	}
	return backends.Cond{Test: backends.Equal, Field: field, Value: backends.Int(n)}
}

// pruneRows raises the fence on the tail and takes its entries among ids out, in one update; then frozen rows of which all entries are among
// ids go, row 0 becomes a stub (D5). The fence on the tail comes first: it answers for what is deleted below.
func (c *Cells) pruneRows(ctx context.Context, a Address, ids []LogID, fence Generation) (bool, error) {
	t, err := c.queryTail(ctx, a)
	if err != nil {
		return false, fmt.Errorf("daal: prune %s: %w", a, err)
	}
	if !t.row.Exists() {
		return false, nil
	}
	covered := map[string]bool{}
	for _, id := range ids {
		covered[entryField(id)] = true
	}
	u := backends.Update{
		Key: c.rowKey(a, t.number),
		When: []backends.Cond{
			{Test: backends.Exists},
			{Test: backends.Absent, Field: fFrozen},
			revisionIs(t.row.Int(fRev)),
		},
		Do: []backends.Change{
			{Field: fFence, Set: backends.Int(max(t.row.Int(fFence), int64(fence)))},
			{Field: fRev, Add: 1},
		},
	}
	removed := int64(0)
	for _, f := range t.row {
		if covered[f.Name] {
			u.Do = append(u.Do, backends.Change{Field: f.Name})
			removed++
		}
	}
	if removed > 0 {
		u.Do = append(u.Do, backends.Change{Field: fCount, Add: -removed})
	}
	if c.store.Apply(ctx, []backends.Update{u}).Outcome != backends.Applied {
		return false, nil
	}
	c.cache.drop(a)
	after := backends.Key{}
	for t.number > 0 {
		page, err := c.store.Query(ctx, backends.Range{Kind: backends.KindCell, Part: Part(a), Limit: logPage, After: after})
		if err != nil {
			return false, fmt.Errorf("daal: prune %s: %w", a, err)
		}
		for _, e := range page {
			n, err := rowNumber(e.Key.Sort)
			if err != nil {
				return false, err
			}
			if n >= t.number {
				return true, nil
			}
			c.reclaim(ctx, e, n, covered)
		}
		if len(page) < logPage {
			break
		}
		after = page[len(page)-1].Key
	}
	return true, nil
}

// reclaim deletes a frozen row all of whose entries are covered, or empties row 0. A lost answer only leaves the row for the next pass.
func (c *Cells) reclaim(ctx context.Context, e backends.Entry, n int64, covered map[string]bool) {
	u := backends.Update{
		Key:  e.Key,
		When: []backends.Cond{{Test: backends.Exists}, {Test: backends.Equal, Field: fFrozen, Value: backends.Int(1)}},
	}
	entries := 0
	for _, f := range e.Row {
		if !strings.HasPrefix(f.Name, logMark) {
			continue
		}
		if !covered[f.Name] {
			return
		}
		entries++
		u.Do = append(u.Do, backends.Change{Field: f.Name})
	}
	if n > 0 {
		u.Do, u.Delete = nil, true
	} else if entries == 0 {
		return
	}
	c.store.Apply(ctx, []backends.Update{u})
}
