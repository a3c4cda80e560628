package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// runner is the language's process, the main process of the container, and this side's
// ends of what connects it. It has no descriptor of this process's own.
type runner struct {
	pid     int
	stdout  *readPipe
	stderr  *readPipe // nil if joined to stdout
	result  *readPipe // nil for a program
	jobPipe *os.File  // of a program its standard input
}

// startRunner starts the command with descriptors 0 (nothing), 1 and 2 (the log), 3 (the
// result, to write) and 4 (the job, to read).
func startRunner(chosen options, memoryBytes int64, score oomScore) (*runner, error) {
	command := withHeapSize(chosen.runner, memoryBytes)
	path, err := exec.LookPath(command[0])
	if err != nil {
		return nil, err
	}
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer nothing.Close()
	made, err := makePipes(4)
	if err != nil {
		return nil, err
	}
	out, problems, result, jobs := made[0], made[1], made[2], made[3]
	if chosen.mergeStderr {
		problems.close()
		problems = pipe{-1, out.write}
	}
	started := &runner{}
	files := []uintptr{nothing.Fd(), uintptr(out.write), uintptr(problems.write), uintptr(result.write), uintptr(jobs.read)}
	if started.pid, err = launch(path, command, chosen.jobDir(), os.Environ(), files, score); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, fd := range []int{out.write, result.write, jobs.read} {
		syscall.Close(fd)
	}
	started.stdout, started.result = newReadPipe(out.read), newReadPipe(result.read)
	if !chosen.mergeStderr {
		syscall.Close(problems.write)
		started.stderr = newReadPipe(problems.read)
	}
	started.jobPipe = newWritePipe(jobs.write)
	return started, nil
}

// startProgram starts the job's own program with descriptors 0 (the arguments), 1 and 2, and
// no other: it knows nothing of us.
func startProgram(chosen options, environment []string, score oomScore) (*runner, error) {
	dir := chosen.dir
	if dir == "" {
		dir = chosen.jobDir()
	}
	if err := os.Chdir(dir); err != nil { // also for a path that is relative to it
		return nil, fmt.Errorf("the working directory: %w", err)
	}
	path, err := exec.LookPath(chosen.runner[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, err
	}
	made, err := makePipes(3)
	if err != nil {
		return nil, err
	}
	in, out, problems := made[0], made[1], made[2]
	started := &runner{}
	files := []uintptr{uintptr(in.read), uintptr(out.write), uintptr(problems.write)}
	started.pid, err = launch(path, chosen.runner, dir, environment, files, score)
	for _, fd := range []int{in.read, out.write, problems.write} {
		syscall.Close(fd)
	}
	if err != nil {
		for _, fd := range []int{in.write, out.read, problems.read} {
			syscall.Close(fd)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	started.stdout, started.stderr = newReadPipe(out.read), newReadPipe(problems.read)
	started.jobPipe = newWritePipe(in.write)
	return started, nil
}

// launch starts the main process, in a session of its own and with calls refused to it.
func launch(path string, command []string, dir string, environment []string, files []uintptr, score oomScore) (pid int, err error) {
	attributes := &syscall.ProcAttr{Dir: dir, Env: environment, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
	err = restricted(func() (failed error) {
		score.whileWorst(func() { pid, failed = syscall.ForkExec(path, command, attributes) })
		return failed
	})
	return pid, err
}

// pipe is both ends of one.
type pipe struct{ read, write int }

func (p pipe) close() {
	syscall.Close(p.read)
	syscall.Close(p.write)
}

func makePipes(count int) ([]pipe, error) {
	made := make([]pipe, count)
	for i := range made {
		var ends [2]int
		if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
			return nil, fmt.Errorf("pipe: %w", err)
		}
		made[i] = pipe{ends[0], ends[1]}
	}
	return made, nil
}

// newWritePipe is a pipe's writing end, on which a writer may wait without holding a thread.
func newWritePipe(fd int) *os.File {
	syscall.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "pipe")
}

// withHeapSize puts three quarters of the memory limit, in MiB, where a runtime wants to
// be told how big its heap may grow.
func withHeapSize(command []string, memoryBytes int64) []string {
	heap := strconv.FormatInt(max(1, memoryBytes/4*3>>20), 10)
	var filled []string
	for _, item := range command {
		filled = append(filled, strings.ReplaceAll(item, "{heap_mb}", heap))
	}
	return filled
}

// finishReading makes the readers of all pipes take what is there and end, whoever may
// still hold the other ends.
func (r *runner) finishReading() {
	if r == nil {
		return
	}
	for _, pipe := range []*readPipe{r.stdout, r.stderr, r.result} {
		if pipe != nil {
			pipe.finish()
		}
	}
}

// readPipe is the reading end of a pipe.
type readPipe struct {
	fd   int
	file *os.File
	left atomic.Int64 // what may still be read after finish
}

func newReadPipe(fd int) *readPipe {
	syscall.SetNonblock(fd, true)
	return &readPipe{fd: fd, file: os.NewFile(uintptr(fd), "pipe")}
}

// finish ends the waiting for more. A full pipe is the most that the main process can
// have written before it ended without its being read.
func (p *readPipe) finish() {
	const getPipeSize = 1032
	size, _, failed := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(p.fd), getPipeSize, 0)
	if failed != 0 {
		size = 1 << 20
	}
	p.left.Store(int64(size))
	p.file.SetReadDeadline(time.Unix(1, 0))
}

// Read waits for data; after finish it takes what is there, without waiting.
func (p *readPipe) Read(buffer []byte) (int, error) {
	n, err := p.file.Read(buffer)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	for {
		n, err = syscall.Read(p.fd, buffer[:min(int64(len(buffer)), p.left.Load())])
		if err == syscall.EINTR {
			continue
		}
		if n <= 0 {
			return 0, io.EOF
		}
		p.left.Add(int64(-n))
		return n, nil
	}
}
