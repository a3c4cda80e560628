package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// aProgram is a job's own program as the main process, here a shell.
func aProgram(line string) setup {
	return setup{flags: "--stdin args --result stdout", runner: line}
}

func inEnv(variables map[string]string) map[string]any { return map[string]any{"env": variables} }

// A program starts with the job and not before, finds its arguments on its standard input, the
// job's variables over the image's, and no descriptor of ours. Its output is the result.
func TestProgram(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		how.flags = "--stdin args --result stdout"
		how.runner = `touch began; cat; echo; echo "$GIVEN ${PATH:+path}" $(ls /proc/self/fd) >&2; pwd >&2`
		r := how.start(t)
		if f := r.next(); f == nil || f.Type != "ready" {
			t.Fatalf("not ready: %+v", f)
		}
		time.Sleep(50 * time.Millisecond)
		if _, err := os.Stat(filepath.Join(r.root, "job/began")); err == nil {
			t.Error("it began without a job")
		}
		args := json.RawMessage(`{"n":1.50,"b":[2,{"c":"ü"}]}`)
		r.sendJob("", map[string]any{"args": args, "env": map[string]string{"GIVEN": "a = b"}})
		done := r.finish()
		done.mustGive(t, string(args))
		done.mustExit(t, "0")
		if done.stdout != "" || done.stderr != "a = b path 0 1 2 3\n"+filepath.Join(r.root, "job")+"\n" {
			t.Errorf("stdout %q, stderr %q", done.stdout, done.stderr) // 3 is the folder that ls lists
		}
	})
}

// What a program writes is a result: all of it as JSON, or its last line as JSON or as text.
func TestOutputAsResult(t *testing.T) {
	cases := []struct{ name, script, value string }{
		{"nothing", "true", `""`},
		{"only space", `printf ' \n\r\n\t'`, `""`},
		{"a document of several lines", `printf '\n{"a":\n [1,\r\n2.50]}\n\n'`, `{"a":  [1,  2.50]}`},
		{"a bare number", "echo 007 >/dev/null; echo 42", "42"},
		{"the last line is JSON", `printf 'working\n42%%\n{"a":1}\n\n'`, `{"a":1}`},
		{"two documents", `printf '1\n2\n'`, "2"},
		{"the last line is text", `printf '{}\n  two words  \r\n \n'`, `"  two words  "`},
		{"without a line break", `printf 'a\nb"\\c'`, `"b\"\\c"`},
		{"bytes that are no text", `printf 'a\377b'`, `"a�b"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			done := aProgram(c.script).run(t, "", nil)
			done.mustGive(t, c.value)
			done.mustExit(t, "0")
			if done.stdout+done.stderr != "" {
				t.Errorf("the log has %q", done.stdout+done.stderr)
			}
		})
	}
}

// Streamed lines are no part of the result.
func TestProgramStreams(t *testing.T) {
	done := aProgram(`printf 'WM_STREAM: one\\n\n{"a":\nWM_STREAM: two\n1}\n'; echo log >&2`).run(t, "", nil)
	done.mustGive(t, `{"a": 1}`)
	if done.stream != "one\ntwo" || done.stderr != "log\n" {
		t.Errorf("%+v", done)
	}
}

// A result is bounded where it is gathered; the largest one still goes through.
func TestProgramOutputLimit(t *testing.T) {
	write := func(size string) setup { return aProgram(`head -c ` + size + ` /dev/zero | tr '\0' 1; echo`) }
	done := write("1000").run(t, "", limited("result_bytes", 1000))
	done.mustGive(t, strings.Repeat("1", 1000))
	for _, size := range []string{"1001", "1002", "5000000"} {
		write(size).run(t, "", limited("result_bytes", 1000)).mustEndWith(t, "result_too_large")
	}
	aProgram(`yes`).run(t, "", limited("result_bytes", 1000)).mustExit(t, "SIGKILL result_too_large")
	aProgram(`yes >&2`).run(t, "", limited("log_bytes", 1000)).mustExit(t, "SIGKILL output_limit")
}

// A program need not read its arguments, however many they are, or may close them at once.
func TestProgramThatDoesNotRead(t *testing.T) {
	args := map[string]any{"args": map[string]string{"big": strings.Repeat("x", 5<<20)}}
	for _, script := range []string{"echo 1", "exec <&-; sleep 0.1; echo 1", "sleep 30 & echo 1", "head -c 9 >&2; echo 1"} {
		began := time.Now()
		done := aProgram(script).run(t, "", args)
		done.mustGive(t, "1")
		if time.Since(began) > 5*time.Second {
			t.Errorf("%s: took %s", script, time.Since(began))
		}
	}
	done := aProgram("wc -c").run(t, "", args)
	done.mustGive(t, "5242890")
}

// Arguments that came as a file are read from there.
func TestProgramReadsFile(t *testing.T) {
	how := aProgram("cat")
	how.prepare = func(root string) {
		os.WriteFile(filepath.Join(root, "executor/in/args.json"), []byte(`{"from":"file"}`), 0o444)
	}
	how.run(t, "", map[string]any{"args_file": "args.json"}).mustGive(t, `{"from":"file"}`)
}

// A program that fails has no result; the log tells why. What cannot be started ends as in a shell.
func TestProgramFails(t *testing.T) {
	done := aProgram("echo 42; echo why >&2; exit 3").run(t, "", nil)
	done.mustExit(t, "3")
	if done.value != "" || done.stderr != "why\n" {
		t.Errorf("%+v", done)
	}
	cases := []struct{ name, dir, program, ended, says string }{
		{"no such program", "/", "no-such-program", "127", `"no-such-program": executable file not found`},
		{"no such file", "/", "/no/such", "127", "no such file"},
		{"no program", "/", "/etc/passwd", "126", "permission denied"},
		{"no such directory", "/no/such", "true", "127", "working directory"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			how := setup{flags: "--stdin args --result stdout --dir " + c.dir, program: c.program}
			done := how.run(t, "", nil)
			done.mustExit(t, c.ended)
			if !strings.Contains(done.stderr, "cannot start the program: ") || !strings.Contains(done.stderr, c.says) {
				t.Errorf("%q", done.stderr)
			}
		})
	}
}

// A path without a leading slash is one from the program's own directory.
func TestProgramDirectory(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "here"), []byte("#!/bin/sh\npwd\n"), 0o700)
	how := setup{flags: "--stdin args --result stdout --dir " + dir, program: "./here"}
	how.run(t, "", nil).mustGive(t, `"`+dir+`"`)
}

// Signals, limits and the end of the connection reach a program as they reach a runner.
func TestProgramIsEnded(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		nap := napping()
		how.flags = "--stdin args --result stdout"
		how.runner = `trap 'echo bye >&2; exit 4' INT; ` + nap + ` & wait`
		r := how.start(t)
		r.sendJob("", nil)
		awaitRunning(t, nap)
		time.Sleep(50 * time.Millisecond)
		r.send(map[string]any{"type": "signal", "signal": "SIGINT"})
		done := r.finish()
		done.mustExit(t, "4 cancelled")
		if done.stderr != "bye\n" {
			t.Errorf("%q", done.stderr)
		}
		mustBeGone(t, nap)
		how.runner = nap
		how.run(t, "", limited("timeout_s", 0.2)).mustExit(t, "SIGKILL timeout")
		mustBeGone(t, nap)
	})
}

// Without a job there is no program, and nothing to wait for.
func TestProgramWithoutAJob(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		how.flags = "--stdin args --result stdout"
		r := how.start(t)
		r.next()
		began := time.Now()
		r.stdin.Close()
		if done := r.finish(); len(done.types) > 0 || time.Since(began) > time.Second {
			t.Error(done.types, time.Since(began))
		}
		r = how.start(t)
		r.send(map[string]any{"type": "job", "script": 1})
		done := r.finish()
		done.mustFail(t, "infrastructure", "job frame")
	})
}

// The environment is the image's with the job's on top.
func TestProgramEnvironment(t *testing.T) {
	done := aProgram(`echo "$HOME|$A"`).run(t, "", inEnv(map[string]string{"HOME": "/job's", "A": ""}))
	done.mustGive(t, `"/job's|"`)
}
