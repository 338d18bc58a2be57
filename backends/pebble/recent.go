package pebble

import (
	"sync"

	"github.com/beldi/beldi/backends"
)

// recentBytes bounds what is remembered.
const recentBytes = 4 << 20

// recent holds the rows that batches have looked at or changed last, as they are on disk; of absent rows it knows that
// they are absent. Most batches and most reads are of rows that another has just changed, and a look into pebble costs
// more than all the rest.
//
// Only the committer puts rows, after their group is on disk and before anybody is told. So a row that is found here
// needs no look into pebble, and no wait for the group that is under way (P2).
//
// It forgets by halves: when the young half is full, it becomes the old one, and the old one goes. That keeps what is
// in use, and readers change nothing.
type recent struct {
	mu         sync.RWMutex
	young, old map[string]backends.Row
	bytes      int // of young
}

func (r *recent) get(key []byte) (backends.Row, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if row, ok := r.young[string(key)]; ok {
		return row, true
	}
	row, ok := r.old[string(key)]
	return row, ok
}

func (r *recent) put(rows []groupRow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range rows {
		if !row.loaded {
			continue // looked at by none, changed by a batch that was refused
		}
		if r.young == nil {
			r.young = map[string]backends.Row{}
		}
		r.young[row.key] = row.row
		r.bytes += len(row.key) + rowSize(row.row)
		if r.bytes > recentBytes/2 {
			r.young, r.old, r.bytes = nil, r.young, 0
		}
	}
}
