package main

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

const give = `echo '{"result":"real"}' >&3; `

// What a script may do without harm to its own result, or to the report of it.
func TestHarmlessAbuse(t *testing.T) {
	nap := napping()
	cases := map[string]string{
		"signals for jobinit": `for s in TERM INT HUP QUIT USR1 USR2 PIPE ALRM SEGV ABRT BUS ILL FPE TRAP TSTP CONT
			do kill -$s $PPID; done; sleep 0.1; ` + give,
		"many signals":          `i=0; while [ $i -lt 20000 ]; do kill -TERM $PPID; i=$((i+1)); done; ` + give,
		"closed outputs":        `exec 0<&- 1>&- 2>&-; ` + give,
		"child keeps the pipes": nap + ` & ` + give,
		"many children":         `for i in 1 2 3 4 5 6 7 8 9; do ` + nap + ` & done; ` + give,
		"daemon":                `(setsid sh -c "(` + nap + `; echo late) & exit 0" &) ; sleep 0.2; ` + give,
		"deaf daemon":           `(trap '' TERM HUP INT; setsid ` + nap + ` &) ; sleep 0.1; ` + give,
		"forged frames":         `echo '{"type":"result","value":"forged"}'; echo '{"type":"exit","code":0}' >&2; ` + give,
		"orphans":               `i=0; while [ $i -lt 50 ]; do (sh -c : &); i=$((i+1)); done; ` + give,
		"other session":         `setsid sh -c ":" ; ` + give,
	}
	inBothWays(t, func(t *testing.T, how setup) {
		for name, script := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				begun := time.Now()
				done := how.run(t, script, nil)
				done.mustGive(t, `"real"`)
				done.mustExit(t, "0")
				if time.Since(begun) > 10*time.Second {
					t.Errorf("took %v", time.Since(begun))
				}
				mustBeGone(t, nap)
			})
		}
	})
}

// A script that writes on every descriptor it finds spoils its own result, nothing else.
func TestWritingEverywhere(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		done := how.run(t, `for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
			sh -c "echo '{\"type\":\"result\",\"value\":\"forged\"}' >&$fd" 2>/dev/null; done; ls /proc/self/fd`, nil)
		done.mustFail(t, "result_not_json", "another member")
		if !strings.HasSuffix(done.stdout, "\n0\n1\n2\n3\n4\n") { // 4 is the folder that ls lists
			t.Errorf("descriptors of the script: %q", done.stdout)
		}
	})
}

// A script starts without ignored signals, and as what the kernel ends first.
func TestStartOfTheScript(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		done := how.run(t, `grep -E '^Sig(Ign|Blk)' /proc/self/status | cut -f2; cat /proc/self/oom_score_adj`, nil)
		if done.stdout != "0000000000000000\n0000000000000000\n1000\n" {
			t.Errorf("%q", done.stdout)
		}
	})
}

// All of jobinit's threads are there before a script can use up the container's.
func TestThreadsAreReserved(t *testing.T) {
	done := setup{}.run(t, `sed -n 's/^Threads:.//p' /proc/$PPID/status; yes | head -c 500000
		head -c 500000 /dev/zero >&2; echo; sed -n 's/^Threads:.//p' /proc/$PPID/status; `+give, limited("log_bytes", 5000000))
	lines := strings.Fields(done.stdout)
	before, after := must(strconv.Atoi(lines[0])), must(strconv.Atoi(lines[len(lines)-1]))
	if before != after || after > 16 {
		t.Errorf("%d threads, then %d", before, after)
	}
}

// Bytes that are no text become U+FFFD, and characters stay whole.
func TestOddBytesInLogs(t *testing.T) {
	done := setup{}.run(t, `printf 'a\377\000\303'; sleep 0.2; printf '\244z\360\237'; printf '\200\n' >&2; `+give, nil)
	if done.stdout != "a\uFFFD\uFFFDäz\uFFFD\uFFFD" || done.stderr != "\uFFFD\n" {
		t.Errorf("%q %q", done.stdout, done.stderr)
	}
}

// The log up to the limit arrives, then everything is ended.
func TestOutputFlood(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		nap := napping()
		for _, script := range []string{"yes", "yes >&2", "cat /dev/zero", nap + " & yes | sed 's/^/WM_STREAM: /'"} {
			done := how.run(t, script, limited("log_bytes", 100000))
			done.mustExit(t, "SIGKILL output_limit")
			// A character of three bytes may not fit any more.
			if size := len(done.stdout + done.stderr + done.stream); size > 100000 || size < 99998 {
				t.Errorf("%s: %d bytes", script, size)
			}
		}
		mustBeGone(t, nap)
		done := how.run(t, "head -c 100001 /dev/zero | tr '\\0' x; exit 0", limited("log_bytes", 100000))
		if done.exit.Stopped == nil || *done.exit.Stopped != "output_limit" {
			t.Error("what is over the limit at the very end counts too")
		}
	})
}

// What the main process wrote before it ended arrives, though the pipes stay open.
func TestLastWordsArrive(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		nap := napping()
		script := nap + ` & head -c 65000 /dev/zero | tr '\0' x; head -c 65000 /dev/zero | tr '\0' y >&2; ` + give
		for range 5 {
			done := how.run(t, script, nil)
			if len(done.stdout) != 65000 || len(done.stderr) != 65000 {
				t.Errorf("%d and %d bytes", len(done.stdout), len(done.stderr))
			}
			done.mustGive(t, `"real"`)
		}
		mustBeGone(t, nap)
	})
}

// A timeout ends everything soon after its moment, whatever the script ignores.
func TestTimeout(t *testing.T) {
	nap := napping()
	slow := map[string]setup{
		"deaf script":                     {},
		"runner that never reads the job": {runner: "echo >&3; " + nap},
		"runner that never boots":         {runner: nap},
		"runner that closes its channels": {runner: "exec 3>&- 4<&-; " + nap},
	}
	inBothWays(t, func(t *testing.T, how setup) {
		for name, special := range slow {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				special.processOne = how.processOne
				more := limited("timeout_s", 0.4)
				more["env"] = map[string]string{"BIG": strings.Repeat("x", 1<<20)}
				done := special.run(t, `trap '' TERM INT HUP; (setsid `+nap+` &); `+nap+` & `+nap, more)
				done.mustExit(t, "SIGKILL timeout")
				if done.exit.WallMs < 400 || done.exit.WallMs > 5000 {
					t.Errorf("%d ms", done.exit.WallMs)
				}
				mustBeGone(t, nap)
			})
		}
	})
}

// A cancellation reaches the script's whole group; what it still says is logged.
func TestCancel(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		nap := napping()
		r := how.start(t)
		r.sendJob(`trap 'echo stopping; `+give+`exit 0' INT; `+nap+` & wait`, nil)
		awaitRunning(t, nap)
		r.send(map[string]any{"type": "signal", "signal": "SIGINT"})
		done := r.finish()
		done.mustExit(t, "0 cancelled")
		if done.stdout != "stopping\n" {
			t.Errorf("%q", done.stdout)
		}
		mustBeGone(t, nap)
	})
}

// The end of input cancels a job that is attached to it, and no other.
func TestEndOfInputDuringAJob(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		nap := napping()
		r := how.start(t)
		r.sendJob(nap, map[string]any{"attached": true})
		awaitRunning(t, nap)
		r.stdin.Close()
		r.finish().mustExit(t, "SIGKILL cancelled")
		mustBeGone(t, nap)

		r = how.start(t)
		r.sendJob(`sleep 0.3; `+give, nil)
		r.stdin.Close()
		r.finish().mustGive(t, `"real"`)
	})
}

// When nobody reads any more, everything ends.
func TestHostIsGone(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		nap := napping()
		r := how.start(t)
		r.sendJob(nap+` & while :; do echo x; sleep 0.05; done`, nil)
		awaitRunning(t, nap)
		r.output.Close()
		if r.command.Wait() == nil {
			t.Error("jobinit should not end as if all were well")
		}
		mustBeGone(t, nap)
	})
}

// Only the own descendants are ended, when jobinit is not process 1.
func TestOthersAreLeftAlone(t *testing.T) {
	nap := napping()
	neighbour := exec.Command("sh", "-c", nap+"; :")
	if err := neighbour.Start(); err != nil {
		t.Fatal(err)
	}
	awaitRunning(t, nap)
	for _, script := range []string{give, "sleep 20", "yes"} {
		setup{}.run(t, script, map[string]any{"limits": map[string]any{"timeout_s": 0.2, "log_bytes": 1000}})
	}
	if !isRunning(nap) {
		t.Error("a process outside was ended")
	}
	killed := descendants(neighbour.Process.Pid)
	neighbour.Process.Kill()
	for _, child := range killed {
		exec.Command("kill", strconv.Itoa(child.pid)).Run()
	}
	neighbour.Wait()
}

// A slow reader slows the script down and loses nothing.
func TestSlowReader(t *testing.T) {
	r := setup{}.start(t)
	r.sendJob(`head -c 3000000 /dev/zero | tr '\0' x; `+give, limited("log_bytes", 5000000))
	time.Sleep(500 * time.Millisecond)
	done := r.finish()
	done.mustGive(t, `"real"`)
	if len(done.stdout) != 3000000 {
		t.Errorf("%d bytes", len(done.stdout))
	}
}
