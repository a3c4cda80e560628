package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
)

const (
	// envelopeBytes is what the runner may write around a value.
	envelopeBytes = 4 << 10
	// errorTextBytes and errorExtraBytes bound an error frame, whatever a script writes on
	// the runner's channel. Runners themselves cut their texts shorter and say so.
	errorTextBytes  = 80 << 10
	errorExtraBytes = 512 << 10
)

// resultChannel reads what the runner writes on its descriptor 3: a line break when it
// has booted, later one JSON document.
type resultChannel struct {
	pipe     *readPipe
	ignored  bool       // the result is taken from the output
	limit    chan int64 // the largest value allowed, once there is a job; closed without one
	text     []byte
	tooLarge func()
}

// read goes on until the channel's end, or until it holds too much.
func (c *resultChannel) read(booted func()) {
	first := make([]byte, 1)
	if n, _ := c.pipe.Read(first); n == 0 {
		return
	}
	if first[0] == '\n' {
		booted()
	}
	if c.ignored {
		io.CopyBuffer(struct{ io.Writer }{io.Discard}, c.pipe, make([]byte, 4<<10))
		return
	}
	limit, begun := <-c.limit
	if !begun {
		return
	}
	// Room for the most is taken at once: memory that is never written to costs nothing,
	// and growing would copy.
	room := make([]byte, limit+envelopeBytes)
	size := copy(room, first)
	for size < len(room) {
		n, err := c.pipe.Read(room[size:])
		size += n
		if err != nil {
			c.text = room[:size]
			return
		}
	}
	c.tooLarge()
}

// outcome is what a job that nobody stopped gave: a value, a failure, or neither, when
// the way in which the process ended says it all.
type outcome struct {
	value    func(out io.Writer) error
	failure  *errorFrame
	tooLarge bool
}

// channelOutcome judges what came over the result channel. Half a document of a process
// that failed only shows when it failed.
func channelOutcome(text []byte, succeeded bool, limit int64) outcome {
	if len(bytes.TrimSpace(text)) == 0 {
		if succeeded {
			return outcome{failure: notJSON("the process ended without a result")}
		}
		return outcome{}
	}
	name, value, err := scanEnvelope(text)
	switch {
	case err != nil && succeeded:
		return outcome{failure: notJSON("the result is not valid JSON: it " + err.Error())}
	case err != nil:
		return outcome{}
	case int64(len(value)) > limit:
		return outcome{tooLarge: true}
	case name == "error":
		return outcome{failure: scriptFailure(value)}
	}
	return outcome{value: func(out io.Writer) error { return writeOnOneLine(out, value) }}
}

// outputOutcome takes the result from where a shell script leaves it: ./result.json,
// ./result.out, or the last line of its output.
func outputOutcome(jobDir string, book *logBook, limit int64) outcome {
	document, err := mapFile(filepath.Join(jobDir, "result.json"), limit)
	if errors.Is(err, errTooLarge) {
		return outcome{tooLarge: true}
	}
	if len(document) > 0 {
		if err := scanValue(document); err != nil {
			return outcome{failure: notJSON("result.json is not valid JSON: it " + err.Error())}
		}
		return outcome{value: func(out io.Writer) error { return writeOnOneLine(out, document) }}
	}
	text, err := mapFile(filepath.Join(jobDir, "result.out"), limit)
	tooLarge := errors.Is(err, errTooLarge)
	if len(text) == 0 && !tooLarge {
		text, tooLarge = book.lastLine()
	}
	if tooLarge || quotedBytes(text) > limit {
		return outcome{tooLarge: true}
	}
	return outcome{value: func(out io.Writer) error { return writeQuoted(out, text) }}
}

func notJSON(message string) *errorFrame {
	return &errorFrame{Name: "ExecutionErr", Message: message, Reason: "result_not_json"}
}

func ownTrouble(message string) *errorFrame {
	return &errorFrame{Name: "InternalError", Message: message, Reason: "infrastructure"}
}

// scriptReasons are those that a runner may give; all others are not its to judge.
var scriptReasons = map[string]bool{
	"script_error": true, "dependency_error": true, "bad_input": true, "result_not_json": true,
}

// scriptFailure reads the runner's account of an error.
func scriptFailure(value []byte) *errorFrame {
	var frame errorFrame
	if err := json.Unmarshal(value, &frame); err != nil || value[0] != '{' {
		return notJSON("the error that the runner gave has the wrong form")
	}
	if frame.Name == "" {
		frame.Name = "Error"
	}
	for _, text := range []*string{&frame.Name, &frame.Message, &frame.Stack} {
		if len(*text) > errorTextBytes {
			*text = string(cutText([]byte(*text), errorTextBytes)) + "\n[cut]"
		}
	}
	if len(frame.Extra) > errorExtraBytes || len(frame.Extra) > 0 && frame.Extra[0] != '{' {
		frame.Extra = nil
	}
	if !scriptReasons[frame.Reason] {
		frame.Reason = "script_error"
	}
	return &frame
}
