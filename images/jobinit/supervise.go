package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// patience is how long a killed process may take to be gone before this process ends
// without it, which ends it too.
const patience = 3 * time.Second

// supervisor sees one job through. All its fields belong to the goroutine that runs it;
// the readers of input and pipes only send it messages.
type supervisor struct {
	options
	in     io.Reader
	frames *frameWriter
	book   *logBook
	cgroup cgroup

	reserve  []byte // memory kept for the end
	score    oomScore
	runner   *runner  // nil until it has started
	written  *capture // what a program writes on standard output, if that is the result
	channel  *resultChannel
	reading  sync.WaitGroup // the pipes' readers
	inputs   chan input
	children chan os.Signal
	stops    chan string // a limit was struck; says which

	job      *job // nil until it came
	began    time.Time
	before   usage
	deadline <-chan time.Time
	overdue  <-chan time.Time // the main process was killed and should be gone by then
	stopped  string           // who ended the job, if not itself
	refusal  *errorFrame      // why there is no job to be done
	silent   bool             // nobody listens: no job came and none will
	over     *mainEnd         // the end of a main process that never was
}

func newSupervisor(chosen options, in io.Reader, out io.Writer) *supervisor {
	s := &supervisor{
		options:  chosen,
		in:       in,
		cgroup:   openCgroup("/"),
		inputs:   make(chan input),
		children: make(chan os.Signal, 1),
		stops:    make(chan string, 4),
		channel:  &resultChannel{limit: make(chan int64, 1)},
	}
	s.frames = &frameWriter{out: out, stuckAfter: patienceWithReader, abandon: func() {
		killOthers()
		os.Exit(1)
	}}
	s.book = &logBook{frames: s.frames, overflow: func() { s.stops <- "output_limit" }}
	s.book.begin(defaultLimits.LogBytes, 0)
	return s
}

// run returns this process's exit status.
func (s *supervisor) run(score oomScore) int {
	signal.Notify(s.children, syscall.SIGCHLD)
	s.score = score
	if !s.argsOnStdin {
		started, err := startRunner(s.options, s.cgroup.memoryLimitBytes(), score)
		if err != nil {
			s.frames.failure(*ownTrouble("cannot start the runner: " + err.Error()))
			s.frames.exit(exitFrame{})
			return 0
		}
		s.runner = started
	}
	settleRuntime()
	s.reserve = reserveMemory()
	if s.runner == nil {
		s.frames.ready()
	} else {
		s.readPipes()
	}
	go readInput(s.in, s.inputs)
	s.conclude(s.watch())
	return 0
}

// readPipes starts the readers of the runner's pipes.
func (s *supervisor) readPipes() {
	tooLarge := func() { s.stops <- "result_too_large" }
	if s.runner.result != nil {
		s.channel.pipe, s.channel.ignored, s.channel.tooLarge = s.runner.result, s.fromOutput || s.fromStdout, tooLarge
		s.reading.Add(1)
		go func() {
			defer s.reading.Done()
			s.channel.read(s.frames.ready)
		}()
	}
	output := &relay{name: "stdout", marked: true, to: s.book}
	if s.fromStdout {
		s.written = newCapture(s.job.Limits.ResultBytes, s.book, tooLarge)
		output.to = s.written
	}
	s.relay(s.runner.stdout, output)
	if s.runner.stderr != nil {
		s.relay(s.runner.stderr, &relay{name: "stderr", to: s.book})
	}
}

func (s *supervisor) relay(from *readPipe, by *relay) {
	s.reading.Add(1)
	go func() {
		defer s.reading.Done()
		buffer := make([]byte, logTextBytes)
		for {
			n, err := from.Read(buffer)
			by.write(buffer[:n])
			if err != nil {
				by.close()
				return
			}
		}
	}()
}

// watch handles what happens until the main process has ended.
func (s *supervisor) watch() mainEnd {
	for {
		if s.over != nil {
			return *s.over
		}
		select {
		case <-s.children:
			if end := s.reap(); end.gone {
				return end
			}
		case message := <-s.inputs:
			s.take(message)
		case which := <-s.stops:
			s.stop(which)
		case <-s.deadline:
			s.stop("timeout")
		case <-s.overdue:
			return mainEnd{}
		}
	}
}

// reap takes in all who ended, orphans too; only the main process matters.
func (s *supervisor) reap() (end mainEnd) {
	for {
		var status syscall.WaitStatus
		var used syscall.Rusage
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, &used)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return end
		}
		if s.runner != nil && pid == s.runner.pid {
			end = mainEnd{true, status, used}
		}
	}
}

func (s *supervisor) take(message input) {
	switch {
	case message.job != nil && s.job == nil:
		s.begin(message.job)
	case message.signal != 0 && s.job != nil:
		s.blame("cancelled")
		signalGroup(s.runner.pid, message.signal)
	case message.wrong != nil && s.job == nil:
		s.refuse(message.wrong)
	case message.ended && s.job == nil:
		s.silent = s.refusal == nil
		s.kill()
	case message.ended && s.job.Attached:
		s.stop("cancelled")
	}
}

// begin hands the job to the runner.
func (s *supervisor) begin(j *job) {
	s.job = j
	if err := placeJob(s.options, j); err != nil {
		s.refuse(fmt.Errorf("cannot place the job: %w", err))
		return
	}
	big := len(*j.Script)+len(j.Args) > 1<<20
	j.Script, j.Args = nil, nil
	if big {
		debug.FreeOSMemory() // the container's memory is the script's
	}
	s.book.begin(j.Limits.LogBytes, j.Limits.ResultBytes)
	s.before = s.used()
	s.began = time.Now()
	s.deadline = time.After(j.Limits.timeout())
	s.channel.limit <- j.Limits.ResultBytes
	if s.argsOnStdin {
		s.startProgram()
		return
	}
	go func() {
		// A runner that never reads keeps this waiting, and nothing else.
		s.runner.jobPipe.Write(environmentRecords(j.Env))
		s.runner.jobPipe.Close()
	}()
}

// startProgram starts the job's own program, and gives it the arguments to read. One that
// cannot be started has ended as a shell would say it.
func (s *supervisor) startProgram() {
	args, err := os.Open(filepath.Join(s.jobDir(), "args.json"))
	if err != nil {
		s.refuse(fmt.Errorf("cannot read the arguments: %w", err))
		return
	}
	environment := mergedEnvironment(os.Environ(), environmentRecords(s.job.Env))
	started, err := startProgram(s.options, environment, s.score)
	if err != nil {
		args.Close()
		s.book.log("stderr", []byte("cannot start the program: "+err.Error()+"\n"))
		s.over = &mainEnd{gone: true, status: exitedWith(exitNotExecutable)}
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			s.over.status = exitedWith(exitNoProgram)
		}
		return
	}
	s.runner = started
	s.readPipes()
	go func() {
		// A program that never reads keeps this waiting, and nothing else.
		io.CopyBuffer(struct{ io.Writer }{s.runner.jobPipe}, struct{ io.Reader }{args}, make([]byte, copyBytes))
		s.runner.jobPipe.Close()
		args.Close()
	}()
}

// refuse ends everything because there is no job that could be done.
func (s *supervisor) refuse(why error) {
	s.refusal = ownTrouble(why.Error())
	s.kill()
}

// stop ends the job for a reason that lies outside the script.
func (s *supervisor) stop(which string) {
	s.blame(which)
	s.kill()
}

// blame remembers who ended the job; the first one counts.
func (s *supervisor) blame(which string) {
	if s.stopped == "" {
		s.stopped = which
	}
}

func (s *supervisor) kill() {
	if s.runner == nil {
		s.over = &mainEnd{}
		return
	}
	killOthers()
	s.overdue = time.After(patience)
}
