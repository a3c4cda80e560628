package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"unsafe"
)

// What a script may not call, on top of the engine's own profile. No language needs it, and
// each has been a way out, or into this process, which runs as the same user.
//
// The filter is a program of the kernel's classic packet filter (seccomp(2)). It sees a system
// call's number, architecture and arguments as plain words, in the order of seccomp_data.
const (
	loadWord     = 0x20 // BPF_LD | BPF_W | BPF_ABS
	jumpIfEqual  = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	jumpIfAbove  = 0x35 // BPF_JMP | BPF_JGE | BPF_K
	answer       = 0x06 // BPF_RET | BPF_K
	allow        = 0x7fff0000
	refuse       = 0x00050000 | uint32(syscall.EPERM)
	absent       = 0x00050000 | uint32(syscall.ENOSYS)
	numberAt     = 0
	archAt       = 4
	firstArgAt   = 16
	otherABI     = 0x40000000 // x32's bit in a number; above every number of a native call
	firstUnknown = 463        // a kernel that has more calls than we looked at opens none of them
	noNewPrivs   = 38
	setFilter    = 22
	filterMode   = 2
	instructions = 64
)

type instruction struct {
	code    uint16
	yes, no uint8 // how many instructions to skip
	value   uint32
}

type program struct {
	length uint16
	first  *instruction
}

// Since call 424 every architecture has the same numbers. An engine's profile goes by names, and
// its library may be older than these.
var refusedEverywhere = []uint32{
	425, 426, 427, // io_uring_setup, io_uring_enter, io_uring_register
	457, 458,           // statmount, listmount
	459, 460, 461, // lsm_get_self_attr, lsm_set_self_attr, lsm_list_modules
}

// refusals is the filter: calls of another architecture, the calls in `refused`, and limits set
// on process 1. Calls that came later are answered as by a kernel without them, so that libraries
// take the older way.
func refusals(arch uint32, refused []uint32, setLimit uint32) []instruction {
	code := []instruction{
		{loadWord, 0, 0, archAt},
		{jumpIfEqual, 1, 0, arch},
		{answer, 0, 0, refuse},
		{loadWord, 0, 0, numberAt},
		{jumpIfAbove, 0, 1, otherABI},
		{answer, 0, 0, refuse},
		{jumpIfAbove, 0, 1, firstUnknown},
		{answer, 0, 0, absent},
	}
	for _, number := range slices.Concat(refused, refusedEverywhere) {
		code = append(code, instruction{jumpIfEqual, 0, 1, number}, instruction{answer, 0, 0, refuse})
	}
	return append(code,
		instruction{jumpIfEqual, 0, 3, setLimit},
		instruction{loadWord, 0, 0, firstArgAt},
		instruction{jumpIfEqual, 0, 1, 1},
		instruction{answer, 0, 0, refuse},
		instruction{answer, 0, 0, allow},
	)
}

// restricted runs start in a thread that may not make the refused calls, and neither may what
// it starts. The thread serves for nothing else and ends.
func restricted(start func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the filter cannot be taken off again
		if err := refuseCalls(); err != nil {
			done <- err
			return
		}
		done <- start()
	}()
	return <-done
}

// refuseCalls puts the filter on this thread. A kernel that has none is no reason not to run:
// the engine's profile, if there is any, is what holds then.
func refuseCalls() error {
	code := refusals(nativeArch, refusedCalls, syscall.SYS_PRLIMIT64)
	if len(code) > instructions {
		return errors.New("the filter is too long")
	}
	if _, _, failed := syscall.RawSyscall6(syscall.SYS_PRCTL, noNewPrivs, 1, 0, 0, 0, 0); failed != 0 {
		return fmt.Errorf("no_new_privs: %w", failed)
	}
	filter := program{uint16(len(code)), &code[0]}
	_, _, failed := syscall.RawSyscall(syscall.SYS_PRCTL, setFilter, filterMode, uintptr(unsafe.Pointer(&filter)))
	if failed != 0 && failed != syscall.EINVAL && failed != syscall.ENOSYS {
		return fmt.Errorf("system call filter: %w", failed)
	}
	return nil
}
