package main

import (
	"slices"
	"strings"
	"syscall"
	"testing"
)

// decide runs the filter's program as the kernel does, on one call.
func decide(t *testing.T, code []instruction, arch, number, firstArg uint32) uint32 {
	t.Helper()
	words := map[uint32]uint32{archAt: arch, numberAt: number, firstArgAt: firstArg}
	var loaded uint32
	for at := 0; at < len(code); at++ {
		step := code[at]
		holds := false
		switch step.code {
		case loadWord:
			loaded = words[step.value]
			continue
		case answer:
			return step.value
		case jumpIfEqual:
			holds = loaded == step.value
		case jumpIfAbove:
			holds = loaded >= step.value
		}
		if holds {
			at += int(step.yes)
		} else {
			at += int(step.no)
		}
	}
	t.Fatal("the program does not end")
	return 0
}

func TestFilterRefusesWhatItShouldAndNothingElse(t *testing.T) {
	code := refusals(nativeArch, refusedCalls, syscall.SYS_PRLIMIT64)
	refused := map[uint32]bool{}
	for _, number := range slices.Concat(refusedCalls, refusedEverywhere) {
		refused[number] = true
	}
	for number := uint32(0); number < 600; number++ {
		want := uint32(allow)
		if refused[number] {
			want = refuse
		} else if number >= firstUnknown {
			want = absent
		}
		if got := decide(t, code, nativeArch, number, 0); got != want {
			t.Errorf("call %d: %#x", number, got)
		}
	}
	for what, got := range map[string]uint32{
		"limits of process 1":     decide(t, code, nativeArch, syscall.SYS_PRLIMIT64, 1),
		"another architecture":    decide(t, code, nativeArch^1, syscall.SYS_GETPID, 0),
		"another ABI of this one": decide(t, code, nativeArch, otherABI|1, 0),
	} {
		if got != refuse {
			t.Errorf("%s: %#x", what, got)
		}
	}
	if got := decide(t, code, nativeArch, syscall.SYS_PRLIMIT64, 2); got != allow {
		t.Errorf("limits of other processes: %#x", got)
	}
}

func TestScriptIsFilteredAndCannotLimitProcessOne(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		done := how.run(t, `grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status
			prlimit --pid 1 --nofile=3:3 >/dev/null 2>&1 && echo limited
			prlimit --nofile=100:100 sh -c 'ulimit -n'; `+give, nil)
		done.mustGive(t, `"real"`)
		seen := strings.Join(strings.Fields(done.stdout), " ")
		if seen != "NoNewPrivs: 1 Seccomp: 2 100" {
			t.Errorf("the script saw %q", seen)
		}
	})
}
