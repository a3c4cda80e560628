package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// usage is what the container has used up to some moment.
type usage struct {
	cpuMicros, oomKills int64
}

// mainEnd is how the main process ended; the zero value if it would not.
type mainEnd struct {
	gone   bool
	status syscall.WaitStatus
	rusage syscall.Rusage
}

func (e mainEnd) succeeded() bool {
	return e.gone && e.status.Exited() && e.status.ExitStatus() == 0
}

// exitedWith is the status of a process that ended so.
func exitedWith(code int) syscall.WaitStatus { return syscall.WaitStatus(code << 8) }

// String is for people.
func (e mainEnd) String() string {
	switch {
	case !e.gone:
		return "killed"
	case e.status.Signaled():
		return "signal " + signalName(e.status.Signal())
	}
	return fmt.Sprintf("exit code %d", e.status.ExitStatus())
}

// conclude ends all that is left, takes in what the main process had written, and
// reports.
func (s *supervisor) conclude(end mainEnd) {
	wall := time.Since(s.began)
	s.giveBack(memoryReserved / 2) // even ending the others may take some
	killOthers()
	s.giveBack(memoryReserved)
	s.runner.finishReading()
	close(s.channel.limit)
	s.reading.Wait()
	if s.silent {
		return
	}
	for range len(s.stops) {
		s.blame(<-s.stops) // struck by what was still in the pipes
	}
	given := s.outcome(end)
	if given.tooLarge {
		s.blame("result_too_large")
	}
	if s.stopped == "" && given.failure != nil {
		s.frames.failure(*given.failure)
	}
	if s.stopped == "" && given.value != nil {
		s.frames.result(given.value)
	}
	report := s.measure(end)
	if !s.began.IsZero() {
		report.WallMs = wall.Milliseconds()
	}
	s.frames.exit(report)
}

// giveBack returns that much of the reserve to the container.
func (s *supervisor) giveBack(size int) {
	if s.reserve != nil {
		syscall.Madvise(s.reserve[:size], syscall.MADV_DONTNEED)
	}
}

// outcome is what came of the job.
func (s *supervisor) outcome(end mainEnd) outcome {
	switch {
	case s.refusal != nil:
		return outcome{failure: s.refusal}
	case s.job == nil:
		message := fmt.Sprintf("the runner ended before a job came: %v, last log lines:\n%s", end, s.book.lastText())
		return outcome{failure: ownTrouble(message)}
	case s.stopped != "":
		return outcome{}
	case s.fromStdout && end.succeeded():
		return s.written.outcome(s.job.Limits.ResultBytes)
	case s.fromStdout:
		return outcome{}
	case !s.fromOutput:
		return channelOutcome(s.channel.text, end.succeeded(), s.job.Limits.ResultBytes)
	case end.succeeded():
		s.awaitOthers()
		return outputOutcome(s.jobDir(), s.book, s.job.Limits.ResultBytes)
	}
	return outcome{}
}

// awaitOthers waits until all that was killed is gone and writes to no file any more.
func (s *supervisor) awaitOthers() {
	for limit := time.Now().Add(patience); time.Now().Before(limit); {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.ECHILD {
			return
		}
		if pid == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// measure says how the main process ended and what the job used.
func (s *supervisor) measure(end mainEnd) exitFrame {
	var report exitFrame
	switch {
	case end.gone && end.status.Exited():
		code := end.status.ExitStatus()
		report.Code = &code
	case end.gone:
		name := signalName(end.status.Signal())
		report.Signal = &name
	default:
		name := "SIGKILL"
		report.Signal = &name
	}
	if s.stopped != "" {
		report.Stopped = &s.stopped
	}
	report.CPUMs = (end.rusage.Utime.Nano() + end.rusage.Stime.Nano()) / 1e6
	report.MemoryPeakBytes = end.rusage.Maxrss << 10
	if os.Getpid() != 1 {
		return report // without a container the group's readings are not the job's alone
	}
	used := s.used()
	report.OOMKills = max(0, used.oomKills-s.before.oomKills)
	if used.cpuMicros >= 0 {
		report.CPUMs = (used.cpuMicros - s.before.cpuMicros) / 1000
	}
	if peak := s.cgroup.memoryPeakBytes(); peak >= 0 {
		report.MemoryPeakBytes = peak
	}
	return report
}

func (s *supervisor) used() usage {
	return usage{cpuMicros: s.cgroup.cpuMicros(), oomKills: s.cgroup.oomKills()}
}
