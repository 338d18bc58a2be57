package pebble

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Files of ours beside pebble's own.
const (
	pidFile    = "beldi.pid"    // the process that holds the lock, for messages only
	formatFile = "beldi.format" // the version of what this package writes, as a decimal number
)

// format is the version of keys and rows that this package writes, and the newest it reads.
const format = 1

var (
	// ErrLocked: another process, or another Store of this one, has the directory open.
	ErrLocked = errors.New("the directory is in use")
	// ErrNewer: a newer version of Beldi wrote the directory.
	ErrNewer = errors.New("the directory was written by a newer version")
)

// lockDir makes the directory if need be, locks it, and makes sure that we understand what is in it.
func lockDir(fs vfs.FS, dir string) (*pebbledb.Lock, error) {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := pebbledb.LockDirectory(dir, fs)
	if err != nil {
		if isLocked(err) {
			return nil, fmt.Errorf("%w: another sidecar (pid %s) uses it", ErrLocked, readPid(fs, dir))
		}
		return nil, err
	}
	err = checkFormat(fs, dir)
	if err == nil {
		err = writeFile(fs, dir, pidFile, strconv.Itoa(os.Getpid()))
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// isLocked tells a lock that is taken from one that cannot be had: vfs returns EAGAIN if another process has it, and an
// error that is no system error if this one has.
func isLocked(err error) bool {
	var errno syscall.Errno
	return !errors.As(err, &errno) || errno == syscall.EAGAIN
}

func readPid(fs vfs.FS, dir string) string {
	pid, err := readFile(fs, dir, pidFile)
	if err != nil || pid == "" {
		return "unknown"
	}
	return pid
}

// checkFormat reads the format file, or writes it into a directory that has no database yet.
func checkFormat(fs vfs.FS, dir string) error {
	text, err := readFile(fs, dir, formatFile)
	if errors.Is(err, os.ErrNotExist) {
		desc, err := pebbledb.Peek(dir, fs)
		if err != nil {
			return err
		}
		if desc.Exists {
			return errors.New("it holds a pebble database that is not Beldi's")
		}
		return writeFile(fs, dir, formatFile, strconv.Itoa(format))
	}
	if err != nil {
		return err
	}
	found, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("read %s: %w", formatFile, err)
	}
	if found > format {
		return fmt.Errorf("%w: its format is %d, and this version reads formats up to %d", ErrNewer, found, format)
	}
	return nil
}

func readFile(fs vfs.FS, dir, name string) (string, error) {
	f, err := fs.Open(fs.PathJoin(dir, name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64))
	return strings.TrimSpace(string(b)), err
}

// writeFile replaces a file such that a crash leaves the old one or the new one.
func writeFile(fs vfs.FS, dir, name, text string) error {
	path := fs.PathJoin(dir, name)
	f, err := fs.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text + "\n"))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
