package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"syscall"
)

// placeJob puts the script, its arguments and the way to the shared directory into the
// job directory. Nothing of the user's ran before, so whatever is in the way is wrong.
func placeJob(at options, j *job) error {
	if err := writeNew(filepath.Join(at.jobDir(), at.source), []byte(*j.Script)); err != nil {
		return err
	}
	args := filepath.Join(at.jobDir(), "args.json")
	if j.ArgsFile == "" {
		if err := writeNew(args, j.Args); err != nil {
			return err
		}
	} else {
		target := filepath.Join(at.inDir(), j.ArgsFile)
		if _, err := os.Stat(target); err != nil {
			return err
		}
		if err := os.Symlink(target, args); err != nil {
			return err
		}
	}
	if info, err := os.Stat(at.sharedDir()); err == nil && info.IsDir() {
		return os.Symlink(at.sharedDir(), filepath.Join(at.jobDir(), "shared"))
	}
	return nil
}

func writeNew(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	if _, err := file.Write(content); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// environmentRecords is what the runner reads from the job channel.
func environmentRecords(env map[string]string) []byte {
	names := make([]string, 0, len(env))
	for name := range env {
		names = append(names, name)
	}
	sort.Strings(names)
	var records []byte
	for _, name := range names {
		records = append(append(records, name+"="+env[name]...), 0)
	}
	return records
}

// mapFile shows the content of a file, if it is a regular one that is not empty, without
// reading it: it usually lies in the container's memory already, and a second copy might
// not fit. All who could cut it short meanwhile must have ended.
func mapFile(path string, bytesMax int64) (content []byte, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil // it isn't there, or is a link, which counts as nothing
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, nil
	}
	if info.Size() > bytesMax {
		return nil, errTooLarge
	}
	content, err = syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return io.ReadAll(io.LimitReader(file, bytesMax)) // a file system without mapping
	}
	return content, nil
}

var errTooLarge = fmt.Errorf("the result is too large")
