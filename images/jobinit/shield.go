package main

import (
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"unsafe"
)

const (
	prSetDumpable       = 4
	prSetChildSubreaper = 36
	sysCloseRange       = 436 // the same on all architectures; package syscall has no name for it
	closeRangeCloexec   = 4
	// threadsReserved is how many goroutines may be in a system call at once: those that
	// read input, relay two streams, read the result, write the job, and the supervisor.
	// The runtime keeps some threads more for itself.
	threadsReserved = 6
	memoryReserved  = 1 << 20
)

// shieldProcess makes this process one that a script can neither read nor end.
func shieldProcess() {
	// Not dumpable: a script of the same user can then open nothing below /proc/1, above
	// all not this process's standard output.
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0)
	keepDescriptors()
	// Signals are taken and dropped rather than ignored, because what is ignored stays so
	// in the runner, and a script must be able to get its SIGINT.
	signal.Notify(make(chan os.Signal, 1))
	forgetIgnored()
	if os.Getpid() != 1 {
		// By hand or in a test: keep the runner's orphans, which process 1 has anyway.
		syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
	}
}

// forgetIgnored resets the signals that Go's runtime leaves alone because C libraries use
// them: an engine that was started with one ignored hands that down to every script.
func forgetIgnored() {
	const first, last, setSize = 32, 33, 8
	var standard [64]byte // a struct sigaction of zeros: the default action
	for number := uintptr(first); number <= last; number++ {
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, number, uintptr(unsafe.Pointer(&standard)), 0, setSize, 0, 0)
	}
}

// keepDescriptors makes sure that no descriptor but the given ones gets into the runner.
func keepDescriptors() {
	_, _, failed := syscall.RawSyscall(sysCloseRange, 3, ^uintptr(0)>>32, closeRangeCloexec)
	if failed == 0 {
		return
	}
	for fd := 3; fd < 4096; fd++ { // an older kernel
		syscall.CloseOnExec(fd)
	}
}

// settleRuntime makes the Go runtime small, because its threads and its memory count as
// the job's. It takes some milliseconds, in which the runner boots already.
func settleRuntime() {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)
	reserveThreads(threadsReserved)
	rehearseSignals()
}

// reserveThreads makes the runtime start its threads now. A script may use up all the
// container's processes, threads included, and a runtime that then cannot start a
// thread aborts. Threads that have nothing to do stay for later.
func reserveThreads(count int) {
	release := make(chan struct{})
	var holding, released sync.WaitGroup
	holding.Add(count)
	released.Add(count)
	for range count {
		go func() {
			runtime.LockOSThread() // while it is locked, no other goroutine gets this thread
			holding.Done()
			<-release
			runtime.UnlockOSThread()
			released.Done()
		}()
	}
	holding.Wait()
	close(release)
	released.Wait()
}

// rehearseSignals makes each thread handle a signal once, so that the memory in which it
// does so is there. The news of the main process's end may have to come when the
// container's memory is full.
func rehearseSignals() {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, thread := range threads {
		if id, err := strconv.Atoi(thread.Name()); err == nil {
			syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(os.Getpid()), uintptr(id), uintptr(syscall.SIGWINCH))
		}
	}
}

// reserveMemory takes memory that is given back when everything else has ended. A script
// can leave the container's memory full of files; without it the report of that job
// would be the next that does not fit, and this process the only one left to be ended.
func reserveMemory() []byte {
	// Populated: only pages that were written to are really there, and one call does it for all.
	reserve, err := syscall.Mmap(-1, 0, memoryReserved, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANONYMOUS|syscall.MAP_POPULATE)
	if err != nil {
		return nil
	}
	return reserve
}

// oomScore is this process's rank for the kernel's choice of what to end when memory
// runs out. Its file must be opened before this process is shielded, which hides it.
type oomScore struct {
	file   *os.File
	before []byte
}

func openOOMScore() oomScore {
	file, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err != nil {
		return oomScore{}
	}
	before := make([]byte, 16)
	n, _ := file.ReadAt(before, 0)
	return oomScore{file, before[:n]}
}

// whileWorst runs act with the highest score. A process born meanwhile keeps it, so that
// the kernel prefers the runner and its children from their first moment on.
func (s oomScore) whileWorst(act func()) {
	if s.file == nil {
		act()
		return
	}
	s.file.WriteAt([]byte("1000"), 0)
	act()
	s.file.WriteAt(s.before, 0)
	s.file.Close()
}
