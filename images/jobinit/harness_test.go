package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// asMain makes the test binary behave as jobinit itself.
const asMain = "JOBINIT_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		os.Unsetenv(asMain)
		main()
	}
	os.Exit(m.Run())
}

// shellRunner is the smallest runner: it boots, takes the environment, runs the script.
const shellRunner = `echo >&3; tr '\0' '\n' <&4 >env.txt; exec 4<&-; exec sh ./main.sh`

// asProcessOne starts jobinit as process 1 of a process namespace of its own.
var asProcessOne = []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}

var mayBeProcessOne = sync.OnceValue(func() bool {
	return exec.Command(asProcessOne[0], append(asProcessOne[1:], "true")...).Run() == nil
})

// inBothWays runs a test with jobinit as an ordinary process, and as process 1 where
// this machine allows it.
func inBothWays(t *testing.T, test func(t *testing.T, how setup)) {
	t.Run("ordinary", func(t *testing.T) { t.Parallel(); test(t, setup{}) })
	t.Run("process 1", func(t *testing.T) {
		t.Parallel()
		if !mayBeProcessOne() {
			t.Skip("no process namespaces here")
		}
		test(t, setup{processOne: true})
	})
}

// setup is how a test starts jobinit; its zero value is the usual way.
type setup struct {
	processOne bool
	flags      string
	runner     string // a shell script
	program    string // what runs instead of it
	prepare    func(root string)
}

// running is a started jobinit.
type running struct {
	t       *testing.T
	root    string
	command *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
	output  io.Closer
	stderr  bytes.Buffer
}

func (how setup) start(t *testing.T) *running {
	t.Helper()
	r := &running{t: t, root: t.TempDir()}
	for _, dir := range []string{"job", "shared", "executor/in"} {
		os.MkdirAll(filepath.Join(r.root, dir), 0o700)
	}
	if how.prepare != nil {
		how.prepare(r.root)
	}
	runner := how.runner
	if runner == "" {
		runner = shellRunner
	}
	line := []string{must(os.Executable()), "--root", r.root, "--source", "main.sh"}
	line = append(append(line, strings.Fields(how.flags)...), "--")
	if how.program != "" {
		line = append(line, how.program)
	} else {
		line = append(line, "sh", "-c", runner)
	}
	if how.processOne {
		line = append(append([]string{}, asProcessOne...), line...)
	}
	r.command = exec.Command(line[0], line[1:]...)
	r.command.Env = append(os.Environ(), asMain+"=1")
	r.command.Stderr = &r.stderr
	r.stdin = must(r.command.StdinPipe())
	output := must(r.command.StdoutPipe())
	r.stdout, r.output = bufio.NewReader(output), output
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	fuse := time.AfterFunc(60*time.Second, func() { r.command.Process.Kill() })
	t.Cleanup(func() { fuse.Stop(); r.command.Process.Kill() })
	return r
}

// frame is any line that jobinit prints.
type frame struct {
	Type, Stream, Text    string
	Value                 json.RawMessage
	Name, Message, Reason string
	Code                  *int
	Signal, Stopped       *string
	WallMs                int64 `json:"wall_ms"`
}

// send writes one line of input, from JSON values by name.
func (r *running) send(line map[string]any) {
	r.stdin.Write(append(must(json.Marshal(line)), '\n'))
}

// next reads one frame; nil at the end.
func (r *running) next() *frame {
	line, err := r.stdout.ReadBytes('\n')
	if err != nil {
		if len(line) > 0 {
			r.t.Errorf("the last line is cut: %.200q", line)
		}
		return nil
	}
	var f frame
	if err := json.Unmarshal(line, &f); err != nil {
		r.t.Errorf("no frame: %.200q: %v", line, err)
	}
	return &f
}

// report is all that came out of a job.
type report struct {
	types                  []string // in order, without repetition
	stdout, stderr, stream string
	value                  string
	failure                *frame
	exit                   *frame
}

// finish reads what is left and checks what always holds.
func (r *running) finish() (done report) {
	r.t.Helper()
	for f := r.next(); f != nil; f = r.next() {
		if len(done.types) == 0 || done.types[len(done.types)-1] != f.Type {
			done.types = append(done.types, f.Type)
		}
		if done.exit != nil {
			r.t.Errorf("a frame after the exit frame: %+v", f)
		}
		switch f.Type {
		case "log":
			if f.Stream == "stdout" {
				done.stdout += f.Text
			} else {
				done.stderr += f.Text
			}
		case "stream":
			done.stream += f.Text
		case "result":
			done.value = string(f.Value)
		case "error":
			done.failure = f
		case "exit":
			done.exit = f
		}
	}
	if err := r.command.Wait(); err != nil || r.stderr.Len() > 0 {
		r.t.Errorf("jobinit ended with %v: %s", err, r.stderr.String())
	}
	return done
}

// run sends a job, whose other fields more gives, and waits for its end.
func (how setup) run(t *testing.T, script string, more map[string]any) report {
	t.Helper()
	r := how.start(t)
	r.sendJob(script, more)
	return r.finish()
}

func (r *running) sendJob(script string, more map[string]any) {
	line := map[string]any{"type": "job", "script": script}
	for name, value := range more {
		line[name] = value
	}
	r.send(line)
}

func limited(name string, value any) map[string]any {
	return map[string]any{"limits": map[string]any{name: value}}
}

// mustExit checks the exit frame: the code or signal, and who stopped the job.
func (d report) mustExit(t *testing.T, how string) {
	t.Helper()
	if d.exit == nil {
		t.Fatal("no exit frame")
	}
	got := "none"
	if d.exit.Code != nil {
		got = fmt.Sprint(*d.exit.Code)
	}
	if d.exit.Signal != nil {
		got = *d.exit.Signal
	}
	if d.exit.Stopped != nil {
		got += " " + *d.exit.Stopped
	}
	if got != how {
		t.Errorf("ended with %q, not %q", got, how)
	}
	if d.exit.Stopped != nil && (d.value != "" || d.failure != nil) {
		t.Error("a stopped job must have neither result nor error")
	}
}

// mustEndWith checks only who stopped the job.
func (d report) mustEndWith(t *testing.T, stopped string) {
	t.Helper()
	if d.exit == nil || d.exit.Stopped == nil || *d.exit.Stopped != stopped || d.value != "" {
		t.Errorf("not stopped by %s: %+v", stopped, d.exit)
	}
}

func (d report) mustFail(t *testing.T, reason, says string) {
	t.Helper()
	if d.failure == nil || d.failure.Reason != reason || !strings.Contains(d.failure.Message, says) {
		t.Errorf("failed with %+v, not %s, %s", d.failure, reason, says)
	}
	if d.value != "" {
		t.Errorf("there is a result too: %.80s", d.value)
	}
}

func (d report) mustGive(t *testing.T, value string) {
	t.Helper()
	if d.value != value || d.failure != nil {
		t.Errorf("gave %.80q, not %.80q; error %+v", d.value, value, d.failure)
	}
}

// napping is a command that no other test runs, by which its process can be found.
func napping() string { return fmt.Sprintf("sleep 30.%015d", rand.Int63n(1e15)) }

// mustBeGone checks that nobody on this machine still runs the command.
func mustBeGone(t *testing.T, command string) {
	t.Helper()
	for range 500 {
		if !isRunning(command) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s still runs", command)
}

func isRunning(command string) bool {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		line, _ := os.ReadFile(path)
		if strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " ")) == command {
			return true
		}
	}
	return false
}

// awaitRunning waits until the command runs.
func awaitRunning(t *testing.T, command string) {
	t.Helper()
	for range 1000 {
		if isRunning(command) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%s does not run", command)
}
