package daal

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/beldi/beldi/backends"
)

// tail is the row that holds a cell's value, as it was when it was looked at.
type tail struct {
	number int64
	row    backends.Row // nil: the cell was never written
}

// frozenEntry is a log entry of a frozen row.
type frozenEntry = backends.Value

func rowSort(n int64) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(n)))
}

func rowNumber(sort string) (int64, error) {
	if len(sort) != 4 {
		return 0, fmt.Errorf("daal: row name %q is no number", sort)
	}
	return int64(binary.BigEndian.Uint32([]byte(sort))), nil
}

func (c *Cells) rowKey(a Address, n int64) backends.Key {
	return backends.Key{Kind: backends.KindCell, Part: Part(a), Sort: rowSort(n)}
}

func frozen(r backends.Row) bool { return !r.Get(fFrozen).Absent() }

func entryField(id LogID) string {
	return logMark + backends.Tuple(string(id.Instance), string(id.Step))
}

// findTail finds the tail (D1): the remembered one, or row 0, and if that has been frozen or deleted a query for the highest number. Where the
// frozen rows are not known (a cell met for the first time) only reads may use it; effects go through findLog.
func (c *Cells) findTail(ctx context.Context, a Address) (tail, error) {
	known, _ := c.cache.get(a)
	r, err := c.store.Get(ctx, c.rowKey(a, known.tail))
	if err != nil {
		return tail{}, err
	}
	if r.Exists() && !frozen(r) || known.tail == 0 && !r.Exists() {
		return tail{known.tail, r}, nil
	}
	return c.queryTail(ctx, a)
}

// queryTail asks for the row with the highest number. If that is frozen, a roll-over came between: ask again.
func (c *Cells) queryTail(ctx context.Context, a Address) (tail, error) {
	for {
		page, err := c.store.Query(ctx, backends.Range{Kind: backends.KindCell, Part: Part(a), Limit: 1, Descending: true})
		if err != nil {
			return tail{}, err
		}
		if len(page) == 0 {
			return tail{}, nil
		}
		n, err := rowNumber(page[0].Key.Sort)
		if err != nil {
			return tail{}, err
		}
		if !frozen(page[0].Row) {
			return tail{n, page[0].Row}, nil
		}
		if err := ctx.Err(); err != nil {
			return tail{}, err
		}
	}
}

const logPage = 64

// findLog finds the tail, then the log ids of the rows below it, in that order (D4, D6), and remembers both.
func (c *Cells) findLog(ctx context.Context, a Address) (tail, cached, error) {
	t, err := c.queryTail(ctx, a)
	if err != nil {
		return tail{}, cached{}, err
	}
	k := cached{tail: t.number, head: headOf(t.row)}
	after := backends.Key{}
	for t.number > 0 {
		page, err := c.store.Query(ctx, backends.Range{Kind: backends.KindCell, Part: Part(a), Limit: logPage, After: after})
		if err != nil {
			return tail{}, cached{}, err
		}
		for _, e := range page {
			n, err := rowNumber(e.Key.Sort)
			if err != nil {
				return tail{}, cached{}, err
			}
			if n >= t.number {
				continue
			}
			for _, f := range e.Row {
				if strings.HasPrefix(f.Name, logMark) {
					if k.frozen == nil {
						k.frozen = map[string]frozenEntry{}
					}
					k.frozen[f.Name] = f.Value
				}
			}
		}
		if len(page) < logPage {
			break
		}
		after = page[len(page)-1].Key
	}
	c.cache.put(a, k)
	return t, k, nil
}

// applyRows is R3 over rows (D2). The first try trusts what is remembered, or that the cell has one row: row 0 is never deleted, and
// while it is not frozen there are no others (D5). What is stale fails a condition and comes back with the row.
func (c *Cells) applyRows(ctx context.Context, e *Effect) (Outcome, error) {
	field := entryField(e.ID)
	known, ok := c.cache.get(e.At)
	if e.conditional() && (!ok || known.noHead) {
		t, err := c.findTail(ctx, e.At)
		if err != nil {
			return Outcome{}, unknown(e, err)
		}
		if t.number != known.tail { // rolled over since, or never met: its log must be known, too
			if t, known, err = c.findLog(ctx, e.At); err != nil {
				return Outcome{}, unknown(e, err)
			}
		}
		known.head, known.noHead = headOf(t.row), false
	}
	for {
		if err := ctx.Err(); err != nil {
			return Outcome{}, unknown(e, err)
		}
		if v, ok := known.frozen[field]; ok {
			return decodeEntry(e, v)
		}
		s := judge(e, known.head)
		u := backends.Update{
			Key: c.rowKey(e.At, known.tail),
			When: []backends.Cond{
				{Test: backends.Absent, Field: fFrozen},
				{Test: backends.Absent, Field: field},
				{Test: backends.LessThan, Field: fFence, Value: backends.Int(int64(e.Gen))},
				{Test: backends.LessThan, Field: fCount, Value: backends.Int(c.capacity)},
			},
		}
		if planted("ignore-fence") {
			u.When = append(u.When[:2], u.When[3:]...)
		}
		if known.tail > 0 {
			u.When = append(u.When, backends.Cond{Test: backends.Exists})
		}
		if e.conditional() {
			u.When = append(u.When, revisionIs(known.head.rev))
		}
		if s.changes {
			u.Do = valueChanges(s.value, s.found)
		}
		u.Do = append(u.Do,
			backends.Change{Field: field, Set: encodeEntry(e.Digest, s.outcome)},
			backends.Change{Field: fCount, Add: 1},
			backends.Change{Field: fRev, Add: 1})
		answer := c.store.Apply(ctx, []backends.Update{u})
		switch answer.Outcome {
		case backends.Applied:
			if e.conditional() {
				if s.changes {
					known.head.value, known.head.found = s.value, s.found
				}
				known.head.rev++
				c.cache.put(e.At, known)
			} else {
				known.noHead = true
				c.cache.put(e.At, known)
			}
			return s.outcome, nil
		case backends.Unknown:
			c.cache.drop(e.At)
			if planted("unknown-is-refused") && e.Kind == CondWrite {
				return Outcome{Applied: false}, nil
			}
			return Outcome{}, unknown(e, answer.Err)
		}
		// Refused: see what the row says, in the order of R3.
		row := answer.Row
		switch fence := Generation(row.Int(fFence)); {
		case frozen(row) || !row.Exists() && known.tail > 0:
			// Stale: the cell has rolled over. An entry in the frozen row is found with the others.
			_, k, err := c.findLog(ctx, e.At)
			if err != nil {
				return Outcome{}, unknown(e, err)
			}
			known = k
		case !row.Get(field).Absent():
			return decodeEntry(e, row.Get(field))
		case fence >= e.Gen && !planted("ignore-fence"):
			return Outcome{}, &Fenced{fence}
		case row.Int(fCount) >= c.capacity:
			k, err := c.rollOver(ctx, e, known, row)
			if err != nil {
				return Outcome{}, err
			}
			known = k
		default: // the value has changed since it was read
			known.head, known.noHead = headOf(row), false
		}
	}
}

// rollOver makes the next row (D3) and returns the log as it is then known. Whoever else rolls over meanwhile does the same work.
func (c *Cells) rollOver(ctx context.Context, e *Effect, known cached, row backends.Row) (cached, error) {
	h := headOf(row)
	next := backends.Update{
		Key: c.rowKey(e.At, known.tail+1),
		Do: append(valueChanges(h.value, h.found),
			backends.Change{Field: fRev, Set: backends.Int(h.rev)}),
	}
	if !planted("roll-over-forgets-fence") {
		next.Do = append(next.Do, backends.Change{Field: fFence, Set: backends.Int(row.Int(fFence))})
	}
	freeze := backends.Update{
		Key: c.rowKey(e.At, known.tail),
		When: []backends.Cond{
			{Test: backends.Exists},
			{Test: backends.Absent, Field: fFrozen},
			revisionIs(h.rev),
		},
		// The value lives on in the next row; what stays is the log.
		Do: []backends.Change{
			{Field: fFrozen, Set: backends.Int(1)},
			{Field: fValue}, {Field: fType},
			{Field: fRev, Add: 1},
		},
	}
	answer := c.store.Apply(ctx, []backends.Update{freeze, next})
	switch answer.Outcome {
	case backends.Unknown:
		c.cache.drop(e.At)
		return cached{}, unknown(e, answer.Err)
	case backends.Refused: // somebody was faster
		_, k, err := c.findLog(ctx, e.At)
		if err != nil {
			return cached{}, unknown(e, err)
		}
		return k, nil
	}
	k := cached{tail: known.tail + 1, head: h, frozen: map[string]frozenEntry{}}
	for id, v := range known.frozen {
		k.frozen[id] = v
	}
	for _, f := range row {
		if strings.HasPrefix(f.Name, logMark) {
			k.frozen[f.Name] = f.Value
		}
	}
	c.cache.put(e.At, k)
	return k, nil
}
