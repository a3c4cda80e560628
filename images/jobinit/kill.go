package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// killOthers ends every other process of the container at once.
//
// Only process 1 of a container may say "all processes": anywhere else that would be
// the whole machine. Run by hand or in a test it ends its own descendants instead.
func killOthers() {
	if os.Getpid() == 1 {
		syscall.Kill(-1, syscall.SIGKILL)
		return
	}
	killDescendants()
}

// killDescendants ends what this process begot. Orphans among it come back to this
// process, its subreaper, so that repeating finds also what was born meanwhile.
func killDescendants() {
	for range 200 {
		alive := 0
		for _, child := range descendants(os.Getpid()) {
			if child.pid > 1 && child.pid != os.Getpid() {
				syscall.Kill(child.pid, syscall.SIGKILL)
			}
			if child.state != "Z" && child.state != "X" {
				alive++
			}
		}
		if alive == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// process is a line of the process table.
type process struct {
	pid, parent int
	state       string
}

// descendants lists the children of a process, their children, and so on.
func descendants(ancestor int) []process {
	children := map[int][]process{}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + entry.Name() + "/stat")
		// The name in brackets may hold anything, brackets too.
		words := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(words) < 2 {
			continue
		}
		parent, err := strconv.Atoi(words[1])
		if err == nil {
			children[parent] = append(children[parent], process{pid, parent, words[0]})
		}
	}
	var found []process
	for next := []int{ancestor}; len(next) > 0; next = next[1:] {
		for _, child := range children[next[0]] {
			found = append(found, child)
			next = append(next, child.pid)
		}
	}
	return found
}

// signalGroup sends a signal to the process group that the main process leads.
func signalGroup(leader int, number syscall.Signal) {
	if leader > 1 { // 0 and 1 would mean other processes than that group
		syscall.Kill(-leader, number)
	}
}

var signalNames = strings.Fields(`
	SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV
	SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN
	SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS`)

func signalName(number syscall.Signal) string {
	if i := int(number) - 1; i >= 0 && i < len(signalNames) {
		return signalNames[i]
	}
	return "SIG" + strconv.Itoa(int(number))
}
