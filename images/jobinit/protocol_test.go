package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A job goes in, its logs, its stream, its result and its end come out, in this order.
func TestJob(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		how.prepare = func(root string) {
			os.WriteFile(filepath.Join(root, "shared/file"), []byte("shared"), 0o600)
		}
		done := how.run(t, `cat env.txt args.json shared/file; echo; printf '%s\n' 'WM_STREAM: a\nb'
			echo problem >&2; sleep 0.1; printf '{"result":\n{"n": 1.50}}\n' >&3`,
			map[string]any{"args": json.RawMessage(`{"n":1.50}`), "env": map[string]string{"B": "2 3", "A": "1"}})
		done.mustGive(t, `{"n": 1.50}`)
		done.mustExit(t, "0")
		if done.stdout != "A=1\nB=2 3\n{\"n\":1.50}shared\n" || done.stderr != "problem\n" || done.stream != "a\nb" {
			t.Errorf("%+v", done)
		}
		if done.types[0] != "ready" || done.types[len(done.types)-2] != "result" {
			t.Error(done.types)
		}
		if done.exit.WallMs < 100 || done.exit.WallMs > 10000 {
			t.Errorf("%+v", done.exit)
		}
	})
}

// A runner boots before there is a job, and says when it has.
func TestReadyComesBeforeTheJob(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		r := how.start(t)
		if f := r.next(); f == nil || f.Type != "ready" {
			t.Fatal("not ready")
		}
		r.send(map[string]any{"type": "later"})
		r.send(map[string]any{"type": "signal", "signal": "SIGTERM"}) // nothing to signal yet
		r.sendJob(`echo '{"result":1}' >&3`, nil)
		r.finish().mustGive(t, "1")
	})
}

// When the input ends without a job, nobody needs this container.
func TestEndOfInputBeforeAJob(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		nap := napping()
		how.runner = nap + " & echo >&3; " + nap
		r := how.start(t)
		r.next()
		r.stdin.Close()
		if done := r.finish(); len(done.types) > 0 {
			t.Error(done.types)
		}
		mustBeGone(t, nap)
	})
}

// What keeps a job from beginning is trouble of ours, and says so.
func TestNoJobCanBegin(t *testing.T) {
	t.Run("malformed job", func(t *testing.T) {
		r := setup{}.start(t)
		r.send(map[string]any{"type": "job", "script": 1})
		done := r.finish()
		done.mustFail(t, "infrastructure", "job frame")
		done.mustExit(t, "SIGKILL")
	})
	t.Run("something in the way", func(t *testing.T) {
		how := setup{prepare: func(root string) { os.Symlink("/etc/passwd", filepath.Join(root, "job/args.json")) }}
		done := how.run(t, "echo no", nil)
		done.mustFail(t, "infrastructure", "args.json")
		done.mustExit(t, "SIGKILL")
		if done.exit.WallMs != 0 {
			t.Errorf("a job that never began took %d ms", done.exit.WallMs)
		}
	})
	t.Run("no job directory", func(t *testing.T) {
		how := setup{prepare: func(root string) { os.Remove(filepath.Join(root, "job")) }}
		done := how.run(t, "echo no", nil)
		done.mustFail(t, "infrastructure", "cannot start the runner")
	})
	t.Run("runner that dies", func(t *testing.T) {
		r := setup{runner: "echo some trouble >&2; exit 3"}.start(t)
		done := r.finish()
		done.mustFail(t, "infrastructure", "exit code 3, last log lines:\nsome trouble")
		done.mustExit(t, "3")
	})
	t.Run("missing arguments file", func(t *testing.T) {
		done := setup{}.run(t, "echo no", map[string]any{"args_file": "args.json"})
		done.mustFail(t, "infrastructure", "args.json")
	})
}

// Big arguments lie outside the job directory and look the same to the script.
func TestArgsFile(t *testing.T) {
	how := setup{prepare: func(root string) {
		os.WriteFile(filepath.Join(root, "executor/in/args.json"), []byte(`{"a":1}`), 0o600)
	}}
	how.run(t, `{ printf '{"result":'; cat args.json; echo '}'; } >&3`,
		map[string]any{"args_file": "args.json"}).mustGive(t, `{"a":1}`)
}

// The channel carries one document; what it may be, and what follows if it is not that.
func TestResultChannel(t *testing.T) {
	cases := []struct{ name, script, value, reason, says, ended string }{
		{"error", `echo '{"error":{"name":"E","message":"m"}}' >&3; exit 1`, "", "script_error", "m", "1"},
		{"no result", `exit 0`, "", "result_not_json", "without a result", "0"},
		{"only space", `echo >&3`, "", "result_not_json", "without a result", "0"},
		{"failed without result", `exit 3`, "", "", "", "3"},
		{"own signal", `kill -SEGV $$`, "", "", "", "SIGSEGV"},
		{"own kill", `kill -KILL $$`, "", "", "", "SIGKILL"},
		{"own termination", `kill -TERM $$`, "", "", "", "SIGTERM"},
		{"two results", `echo '{"result":1}{"result":2}' >&3`, "", "result_not_json", "only one", "0"},
		{"two results, failed", `echo '{"result":1}{"result":2}' >&3; exit 4`, "", "", "", "4"},
		{"half a result", `printf '{"result":[1,' >&3`, "", "result_not_json", "too early", "0"},
		{"half a result, failed", `printf '{"result":[1,' >&3; exit 4`, "", "", "", "4"},
		{"not UTF-8", `printf '{"result":"\377"}' >&3`, "", "result_not_json", "UTF-8", "0"},
		{"NUL", `printf '{"result":1\000}' >&3`, "", "result_not_json", "byte 12", "0"},
		{"result, then failed", `echo '{"result":1}' >&3; exit 5`, "1", "", "", "5"},
		{"closed early", `exec 3>&-; echo hi`, "", "result_not_json", "without a result", "0"},
		{"from a child", `(echo '{"result":1}' >&3)`, "1", "", "", "0"},
		{"late child", `(sleep 5; echo '{"result":1}' >&3) & exit 0`, "", "result_not_json", "without", "0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			done := setup{}.run(t, c.script, nil)
			done.mustExit(t, c.ended)
			if c.reason != "" {
				done.mustFail(t, c.reason, c.says)
			} else {
				done.mustGive(t, c.value)
			}
		})
	}
}

// A value arrives as it was written, up to the limit; beyond it the job is stopped.
func TestResultSize(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		script := `{ printf '{"result":"'; head -c $(cat env.txt | cut -d= -f2) /dev/zero | tr '\0' x; echo '"}'; } >&3; echo end`
		size := func(letters string, limit int) map[string]any {
			more := limited("result_bytes", limit)
			more["env"] = map[string]string{"N": letters}
			return more
		}
		how.run(t, script, size("5000000", 8<<20)).mustGive(t, `"`+strings.Repeat("x", 5000000)+`"`)
		how.run(t, script, size("998", 1000)).mustGive(t, `"`+strings.Repeat("x", 998)+`"`)
		how.run(t, script, size("999", 1000)).mustExit(t, "0 result_too_large")
		how.run(t, script+"; sleep 15", size("1000000", 1000)).mustExit(t, "SIGKILL result_too_large")
	})
}

// A script whose result is its output: files first, then the last line.
func TestResultFromOutput(t *testing.T) {
	cases := []struct{ name, script, value, reason, ended string }{
		{"last line", `echo one; echo " two words "; echo`, `"two words"`, "", "0"},
		{"number", `echo 42`, `"42"`, "", "0"},
		{"no line break", `printf 'a\nb'`, `"b"`, "", "0"},
		{"no output", `:`, `""`, "", "0"},
		{"stderr last", `echo out; echo err >&2`, `"err"`, "", "0"},
		{"stderr before", `echo err >&2; echo out`, `"out"`, "", "0"},
		{"stream last", `echo out; echo "WM_STREAM: s"`, `"out"`, "", "0"},
		{"odd bytes", `printf 'a\377\000\n'`, `"a` + "\uFFFD\uFFFD" + `"`, "", "0"},
		{"result.json", `printf '{"a":\n 1}\n' >result.json; echo x >result.out; echo y`, `{"a":  1}`, "", "0"},
		{"broken result.json", `echo '{"a"' >result.json; echo y`, "", "result_not_json", "0"},
		{"two documents", `echo '1 2' >result.json`, "", "result_not_json", "0"},
		{"empty result.json", `: >result.json; printf ' x\n\n' >result.out; echo y`, `" x\n\n"`, "", "0"},
		{"empty files", `: >result.json; : >result.out; echo y`, `"y"`, "", "0"},
		{"result.out with odd bytes", `printf '\377"' >result.out`, `"` + "\uFFFD" + `\""`, "", "0"},
		{"link", `ln -s /etc/passwd result.json; ln -s /etc/passwd result.out; echo y`, `"y"`, "", "0"},
		{"pipes", `mkfifo result.json result.out; echo y`, `"y"`, "", "0"},
		{"folders", `mkdir result.json result.out; echo y`, `"y"`, "", "0"},
		{"big result.json", `truncate -s 2001 result.json`, "", "", "0 result_too_large"},
		{"big result.out", `truncate -s 2G result.out`, "", "", "0 result_too_large"},
		{"result.out that grows", `head -c 500 /dev/zero >result.out`, "", "", "0 result_too_large"},
		{"long line", `head -c 2001 /dev/zero | tr '\0' x`, "", "", "0 result_too_large"},
		{"failed", `echo 1 >result.json; exit 3`, "", "", "3"},
		{"channel does not count", `echo '{"result":1}' >&3; echo y`, `"y"`, "", "0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			how := setup{flags: "--result output --merge-stderr"}
			done := how.run(t, c.script, limited("result_bytes", 2000))
			done.mustExit(t, c.ended)
			if c.reason != "" {
				done.mustFail(t, c.reason, "result.json is not valid JSON")
			} else {
				done.mustGive(t, c.value)
			}
		})
	}
}

// With both outputs in one pipe their order is kept, and both are the stream "stdout".
func TestMergedStderr(t *testing.T) {
	script := "for i in 1 2 3 4 5 6 7 8; do echo o$i; echo e$i >&2; done; echo '{\"result\":1}' >&3"
	done := setup{flags: "--merge-stderr"}.run(t, script, nil)
	if done.stdout != "o1\ne1\no2\ne2\no3\ne3\no4\ne4\no5\ne5\no6\ne6\no7\ne7\no8\ne8\n" || done.stderr != "" {
		t.Errorf("%+v", done)
	}
}

// Logs are sent while the script runs, lines and parts of lines.
func TestLogsAreLive(t *testing.T) {
	inBothWays(t, func(t *testing.T, how setup) {
		r := how.start(t)
		r.sendJob(`printf 'name? '; sleep 25`, nil)
		begun := time.Now()
		var types []string
		for range 2 {
			types = append(types, r.next().Type)
		}
		if !reflect.DeepEqual(types, []string{"ready", "log"}) || time.Since(begun) > 15*time.Second {
			t.Errorf("%v after %v", types, time.Since(begun))
		}
		r.send(map[string]any{"type": "signal", "signal": "SIGKILL"})
		r.finish().mustExit(t, "SIGKILL cancelled")
	})
}
