package pebble

import (
	"fmt"
	"time"

	"github.com/beldi/beldi/backends"
)

const (
	// defaultReserve is room for what pebble has taken and not yet put into tables (memTables*memTableBytes), the log
	// that it makes ahead of its use, and a compaction, which needs the room of its result before it gives back that of its input.
	defaultReserve = 64 << 20
	// The disk is asked again after so much time or so many bytes: others use it, too.
	spaceInterval = 100 * time.Millisecond
	spaceBytes    = 4 << 20
)

// space keeps a reserve of the disk free. To go on until a write fails would be simpler, but a failed write breaks the
// store (see disk), and a disk that is full must do no more than refuse.
//
// Only the committer uses it.
type space struct {
	disk    *disk
	dir     string
	reserve int64 // 0 stands for the default
	asked   time.Time
	written int // since asked
	full    error
}

// check returns an error that wraps backends.ErrFull while less than the reserve is free.
func (s *space) check() error {
	if now := time.Now(); now.Sub(s.asked) >= spaceInterval || s.written >= spaceBytes {
		s.asked, s.written, s.full = now, 0, s.ask()
	}
	return s.full
}

func (s *space) ask() error {
	u, err := s.disk.GetDiskUsage(s.dir)
	if err != nil { // not every file system can tell; one that fails shows it at the next write
		return nil
	}
	reserve := uint64(s.reserve)
	if reserve == 0 {
		reserve = min(defaultReserve, u.TotalBytes/4)
	}
	if u.AvailBytes >= reserve {
		return nil
	}
	return fmt.Errorf("%w: the file system of %s has %d bytes left, and %d are kept in reserve", backends.ErrFull, s.dir, u.AvailBytes, reserve)
}

// changes returns whether a batch would need room.
func changes(batch []backends.Update) bool {
	for i := range batch {
		if len(batch[i].Do) > 0 || batch[i].Delete { // to delete is to write a tombstone
			return true
		}
	}
	return false
}
