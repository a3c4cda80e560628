package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

func newTestFrames() (*frameWriter, *bytes.Buffer) {
	var out bytes.Buffer
	return &frameWriter{out: &out, abandon: func() { panic("abandoned") }}, &out
}

// The host relies on the exact bytes of these lines.
func TestFramesOnTheWire(t *testing.T) {
	frames, out := newTestFrames()
	code, stopped := 0, "timeout"
	frames.ready()
	frames.log("stderr", []byte("é <&>\n\"\\"))
	frames.stream([]byte("s"))
	frames.result(func(out io.Writer) error { return writeOnOneLine(out, []byte("{\"a\":\n1.50}")) })
	frames.failure(errorFrame{Name: "E<x>", Message: "m", Extra: json.RawMessage("{\n\"a\": 1}"), Reason: "script_error"})
	frames.exit(exitFrame{Code: &code, WallMs: 1})
	frames.exit(exitFrame{Stopped: &stopped})
	want := `{"type":"ready"}
{"type":"log","stream":"stderr","text":"é <&>\n\"\\"}
{"type":"stream","text":"s"}
{"type":"result","value":{"a": 1.50}}
{"type":"error","name":"E<x>","message":"m","extra":{"a":1},"reason":"script_error"}
{"type":"exit","code":0,"signal":null,"stopped":null,"wall_ms":1,"cpu_ms":0,"memory_peak_bytes":0,"oom_kills":0}
{"type":"exit","code":null,"signal":null,"stopped":"timeout","wall_ms":0,"cpu_ms":0,"memory_peak_bytes":0,"oom_kills":0}
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

// Long text goes out in frames of at most 64 KiB, cut at characters.
func TestFramesAreBounded(t *testing.T) {
	frames, out := newTestFrames()
	text := strings.Repeat("€uro", 100000)
	frames.log("stdout", []byte(text))
	var joined strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var frame struct{ Text string }
		if err := json.Unmarshal([]byte(line), &frame); err != nil || len(frame.Text) > logTextBytes {
			t.Fatalf("%d bytes, %v", len(frame.Text), err)
		}
		joined.WriteString(frame.Text)
	}
	if joined.String() != text {
		t.Error("another text came out")
	}
}

// Frames from several goroutines never mix.
func TestFramesDoNotMix(t *testing.T) {
	frames, out := newTestFrames()
	var writers sync.WaitGroup
	for range 4 {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for range 50 {
				frames.log("stdout", bytes.Repeat([]byte("x"), 3*copyBytes))
			}
		}()
	}
	writers.Wait()
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Fatalf("%.80q", line)
		}
	}
}

// What a job gave comes with its end: who reads is woken once. A big value does not wait in memory.
func TestFramesGoTogether(t *testing.T) {
	var writes countingWriter
	frames := &frameWriter{out: &writes, abandon: func() { panic("abandoned") }}
	small := func(out io.Writer) error { return writeOnOneLine(out, []byte("[1,\n2]")) }
	frames.result(small)
	frames.exit(exitFrame{})
	if writes.count != 1 || !strings.HasPrefix(writes.String(), "{\"type\":\"result\",\"value\":[1, 2]}\n{\"type\":\"exit\"") {
		t.Errorf("%d writes: %s", writes.count, writes.String())
	}
	writes = countingWriter{}
	big := []byte(`"` + strings.Repeat("x", 5*copyBytes) + `"`)
	frames.result(func(out io.Writer) error { return writeOnOneLine(out, big) })
	if cap(frames.gathered) > 2*copyBytes || writes.count < 5 {
		t.Errorf("%d bytes gathered, %d writes", cap(frames.gathered), writes.count)
	}
	frames.exit(exitFrame{})
	if result, _, _ := strings.Cut(writes.String(), "\n"); result != `{"type":"result","value":`+string(big)+`}` {
		t.Errorf("%.80q", result)
	}
}

type countingWriter struct {
	bytes.Buffer
	count int
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.count++
	return w.Buffer.Write(p)
}

type closedWriter struct{}

func (closedWriter) Write([]byte) (int, error) { return 0, errors.New("closed") }

// Without a listener everything ends.
func TestFramesAbandon(t *testing.T) {
	abandoned := 0
	frames := &frameWriter{out: closedWriter{}, abandon: func() { abandoned++ }}
	if frames.ready(); abandoned != 1 {
		t.Errorf("abandoned %d times", abandoned)
	}
}

// A reader that stands still counts as gone, one that is only slow does not.
func TestFramesAbandonAStuckReader(t *testing.T) {
	reader, writer := io.Pipe()
	taken := 0
	go func() {
		for range 4 {
			time.Sleep(20 * time.Millisecond)
			n, _ := reader.Read(make([]byte, copyBytes))
			taken += n
		}
	}()
	frames := &frameWriter{out: writer, stuckAfter: time.Second, abandon: func() { writer.Close() }}
	frames.log("stdout", make([]byte, copyBytes)) // each NUL takes six bytes
	if taken != 4*copyBytes {
		t.Errorf("abandoned after %d bytes", taken)
	}
}

// What a runner says of an error is taken as far as it has the right form.
func TestScriptFailure(t *testing.T) {
	cases := []struct{ value, want string }{
		{`{"name":"KeyError","message":"'a'","stack":"at 1","extra":{"n":1},"reason":"bad_input"}`,
			`{"type":"error","name":"KeyError","message":"'a'","stack":"at 1","extra":{"n":1},"reason":"bad_input"}`},
		{`{"message":"m"}`, `{"type":"error","name":"Error","message":"m","reason":"script_error"}`},
		{`{"name":"E","message":"m","extra":[1],"reason":"timeout"}`,
			`{"type":"error","name":"E","message":"m","reason":"script_error"}`},
		{`"text"`, `{"type":"error","name":"ExecutionErr","message":"the error that the runner gave has the wrong form","reason":"result_not_json"}`},
		{`{"name":1}`, `{"type":"error","name":"ExecutionErr","message":"the error that the runner gave has the wrong form","reason":"result_not_json"}`},
		{`null`, `{"type":"error","name":"ExecutionErr","message":"the error that the runner gave has the wrong form","reason":"result_not_json"}`},
	}
	for _, c := range cases {
		frames, out := newTestFrames()
		frames.failure(*scriptFailure([]byte(c.value)))
		frames.exit(exitFrame{})
		got, _, _ := strings.Cut(out.String(), "\n")
		if got != c.want {
			t.Errorf("%s: got %s", c.value, got)
		}
	}
	long := scriptFailure([]byte(`{"message":"` + strings.Repeat("ä", errorTextBytes) + `"}`))
	if len(long.Message) > errorTextBytes+10 || !strings.HasSuffix(long.Message, "ä\n[cut]") {
		t.Error("a long message must be cut, and the cut shown")
	}
}
