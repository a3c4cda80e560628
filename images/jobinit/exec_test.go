package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// execRunner is this binary as the runner of a program that lies where only a job puts it.
func execRunner(root string) string {
	program := filepath.Join(root, "executor/in/program")
	return "exec env " + asMain + "=1 OWN=kept BOTH=own " + must(os.Executable()) + " exec " + program
}

// place writes the program once the container waits, as it would be for one started ahead.
func (r *running) place(program string, mode os.FileMode) {
	os.WriteFile(filepath.Join(r.root, "executor/in/program"), []byte(program), mode)
}

func startExec(t *testing.T) *running {
	how := setup{}
	how.prepare = func(root string) {
		os.WriteFile(filepath.Join(root, "executor/run.sh"), []byte(execRunner(root)), 0o500)
	}
	how.runner = `exec sh ../executor/run.sh`
	return how.start(t)
}

// It is ready before there is a program; then it becomes that, with the job's environment,
// the result channel, and no other descriptor.
func TestExec(t *testing.T) {
	const program = `#!/bin/sh
echo "$OWN $BOTH $GIVEN" $$; ls /proc/self/fd | tr '\n' ' '; printf '{"result":"%s"}' "$GIVEN" >&3
`
	for name, mode := range map[string]os.FileMode{"executable": 0o555, "not executable where it lies": 0o444} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startExec(t)
			if f := r.next(); f == nil || f.Type != "ready" {
				t.Fatalf("not ready: %+v", f)
			}
			r.place(program, mode)
			r.sendJob("", map[string]any{"env": map[string]string{"GIVEN": "a = b", "BOTH": "job's"}})
			done := r.finish()
			done.mustExit(t, "0")
			done.mustGive(t, `"a = b"`)
			if !strings.HasPrefix(done.stdout, "kept job's a = b ") || !strings.HasSuffix(done.stdout, "\n0 1 2 3 4 ") {
				t.Errorf("%q", done.stdout) // 4 is the folder that ls lists
			}
		})
	}
}

// What cannot be executed fails as in a shell, and says so.
func TestExecOfNoProgram(t *testing.T) {
	cases := []struct{ name, program, ended, says string }{
		{"missing", "", "127", "no such file"},
		{"no program", "neither a binary nor a script", "126", "exec format error"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := startExec(t)
			if c.program != "" {
				r.place(c.program, 0o555)
			}
			r.sendJob("", nil)
			done := r.finish()
			done.mustExit(t, c.ended)
			if !strings.Contains(done.stderr, c.says) {
				t.Errorf("%q", done.stderr)
			}
		})
	}
}

// The end of the job channel without a job ends the runner with its container.
func TestExecWithoutAJob(t *testing.T) {
	r := startExec(t)
	r.next()
	r.stdin.Close()
	if done := r.finish(); len(done.types) > 0 {
		t.Error(done.types)
	}
}

// The job's variables are put over one's own; odd records are left out.
func TestMergedEnvironment(t *testing.T) {
	got := mergedEnvironment([]string{"A=1", "B=2", "E=3"}, []byte("B=x=y\x00E=\x00C=line 1\nline 2\x00=no\x00neither\x00"))
	if want := []string{"B=x=y", "E=", "C=line 1\nline 2", "A=1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}
