package pebble

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system as pebble sees it. It does two things to it.
//
// It keeps failed writes and syncs from pebble once the store is open: the operation breaks the store, and does not
// return. Pebble would retry it for ever, or go on with what it cannot know, or panic with locks held that it does not
// hold, depending on the file; none of these is of use to a store that must stop.
//
// And with Options.NoFsync it leaves the syncs out. (pebble.NoSync would not do: it leaves the end of the log in the
// process's memory, and a killed process would lose it.)
type disk struct {
	vfs.FS
	noSync  bool
	guarded atomic.Bool // failures go to fail; before, while the store is being opened, they go to pebble
	fail    func(error)
}

// check is given the error of each operation that writes.
func (d *disk) check(err error) error {
	if err != nil && d.guarded.Load() {
		d.fail(err)
		select {}
	}
	return err
}

func (d *disk) Unwrap() vfs.FS { return d.FS }

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(d.FS.Create(name, c))
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.file(d.FS.OpenReadWrite(name, c, o...))
}

func (d *disk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(d.FS.ReuseForWrite(old, name, c))
}

func (d *disk) OpenDir(name string) (vfs.File, error) { return d.file(d.FS.OpenDir(name)) }

func (d *disk) Link(old, name string) error { return d.check(d.FS.Link(old, name)) }

func (d *disk) Rename(old, name string) error { return d.check(d.FS.Rename(old, name)) }

func (d *disk) file(f vfs.File, err error) (vfs.File, error) {
	if d.check(err) != nil {
		return nil, err
	}
	return diskFile{f, d}, nil
}

type diskFile struct {
	vfs.File
	disk *disk
}

func (f diskFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, f.disk.check(err)
}

func (f diskFile) WriteAt(b []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(b, at)
	return n, f.disk.check(err)
}

func (f diskFile) Sync() error {
	if f.disk.noSync {
		return nil
	}
	return f.disk.check(f.File.Sync())
}

func (f diskFile) SyncData() error {
	if f.disk.noSync {
		return nil
	}
	return f.disk.check(f.File.SyncData())
}

func (f diskFile) SyncTo(length int64) (bool, error) {
	if f.disk.noSync {
		return false, nil
	}
	full, err := f.File.SyncTo(length)
	return full, f.disk.check(err)
}

func (f diskFile) Close() error { return f.disk.check(f.File.Close()) }
