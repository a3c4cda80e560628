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
	result  *readPipe
	jobPipe *os.File
}

// startRunner starts the command with descriptors 0 (nothing), 1 and 2 (the log), 3 (the
// result, to write) and 4 (the job, to read).
func startRunner(chosen options, score oomScore) (*runner, error) {
	command := withHeapSize(chosen.runner, cgroup{root: "/"}.memoryLimitBytes())
	path, err := exec.LookPath(command[0])
	if err != nil {
		return nil, err
	}
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	var out, problems, result, jobs [2]int
	for _, pipe := range []*[2]int{&out, &problems, &result, &jobs} {
		if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); err != nil {
			return nil, fmt.Errorf("pipe: %w", err)
		}
	}
	if chosen.mergeStderr {
		syscall.Close(problems[0])
		syscall.Close(problems[1])
		problems[1] = out[1]
	}
	attributes := &syscall.ProcAttr{
		Dir:   chosen.jobDir(),
		Env:   os.Environ(),
		Files: []uintptr{nothing.Fd(), uintptr(out[1]), uintptr(problems[1]), uintptr(result[1]), uintptr(jobs[0])},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	var pid int
	err = restricted(func() (failed error) {
		score.whileWorst(func() { pid, failed = syscall.ForkExec(path, command, attributes) })
		return failed
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	nothing.Close()
	for _, fd := range []int{out[1], result[1], jobs[0]} {
		syscall.Close(fd)
	}
	started := &runner{pid: pid, stdout: newReadPipe(out[0]), result: newReadPipe(result[0])}
	if !chosen.mergeStderr {
		syscall.Close(problems[1])
		started.stderr = newReadPipe(problems[0])
	}
	syscall.SetNonblock(jobs[1], true)
	started.jobPipe = os.NewFile(uintptr(jobs[1]), "job channel")
	return started, nil
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
