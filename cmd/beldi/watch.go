package main

import (
	"context"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"
)

// What counts as source. Data files do not: functions write some themselves, and would restart for ever.
var sourceFiles = []string{
	".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx", ".go", ".rb", ".php", ".java", ".kt",
	".scala", ".cs", ".ex", ".exs", ".rs", ".c", ".cc", ".cpp", ".h", ".swift", ".lua", ".pl", ".sh", ".toml",
}

var ignoredDirs = []string{"node_modules", ".git", ".beldi", "__pycache__", ".venv", "venv", "dist", "build", "target"}

type fileState struct {
	modified time.Time
	size     int64
}

// snapshot lists the source files below dir. What cannot be read is left out: it may be going away just now.
func snapshot(dir string) map[string]fileState {
	files := map[string]fileState{}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil
		case d.IsDir():
			if path != dir && slices.Contains(ignoredDirs, d.Name()) {
				return fs.SkipDir
			}
		case slices.Contains(sourceFiles, filepath.Ext(path)):
			if info, err := d.Info(); err == nil {
				files[path] = fileState{info.ModTime(), info.Size()}
			}
		}
		return nil
	})
	return files
}

// watch calls changed with one of the files that changed, appeared or went. It looks instead of asking the kernel: a
// tree of sources is small, and inotify needs a watch for each directory and misses network file systems.
func watch(ctx context.Context, dir string, every time.Duration, changed func(file string)) {
	before := snapshot(dir)
	for {
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
		now := snapshot(dir)
		if file, ok := difference(before, now); ok {
			changed(file)
		}
		before = now
	}
}

func difference(before, now map[string]fileState) (string, bool) {
	for _, file := range slices.Sorted(maps.Keys(now)) {
		if old, ok := before[file]; !ok || old != now[file] {
			return file, true
		}
	}
	for _, file := range slices.Sorted(maps.Keys(before)) {
		if _, ok := now[file]; !ok {
			return file, true
		}
	}
	return "", false
}
