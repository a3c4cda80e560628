package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lineBytesMax bounds one line of input; the host sends big arguments as a file.
const lineBytesMax = 128 << 20

// job is what to run.
type job struct {
	Type     string            `json:"type"`
	Script   *string           `json:"script"`
	Args     json.RawMessage   `json:"args"`
	ArgsFile string            `json:"args_file"`
	Env      map[string]string `json:"env"`
	Limits   limits            `json:"limits"`
	Attached bool              `json:"attached"` // the end of input then cancels the job
}

// limits are at which points the job is stopped.
type limits struct {
	TimeoutS    float64 `json:"timeout_s"`
	LogBytes    int64   `json:"log_bytes"`
	ResultBytes int64   `json:"result_bytes"`
}

var defaultLimits = limits{TimeoutS: 300, LogBytes: 1 << 20, ResultBytes: 8 << 20}

// timeout is the limit as a duration, bounded so that it cannot overflow one.
func (l limits) timeout() time.Duration {
	return time.Duration(min(l.TimeoutS, 1e9) * float64(time.Second))
}

// signals are those that the host may ask for.
var signals = map[string]syscall.Signal{
	"SIGHUP": syscall.SIGHUP, "SIGINT": syscall.SIGINT, "SIGQUIT": syscall.SIGQUIT,
	"SIGTERM": syscall.SIGTERM, "SIGUSR1": syscall.SIGUSR1, "SIGUSR2": syscall.SIGUSR2,
	"SIGKILL": syscall.SIGKILL,
}

// input is one thing that standard input said: exactly one field is set.
type input struct {
	job    *job
	signal syscall.Signal
	wrong  error // what came is no frame
	ended  bool
}

// readInput passes on the frames of in until its end. Frames of an unknown type are
// for a later jobinit and passed over.
func readInput(in io.Reader, to chan<- input) {
	lines := bufio.NewReaderSize(in, 4<<10)
	for {
		line, err := readLine(lines)
		if len(bytes.TrimSpace(line)) > 0 {
			if frame, known := parseFrame(line); known {
				to <- frame
			}
		}
		if errors.Is(err, errLineTooLong) {
			to <- input{wrong: err}
		}
		if err != nil {
			to <- input{ended: true}
			return
		}
	}
}

var errLineTooLong = fmt.Errorf("a line of input is over %d bytes", lineBytesMax)

func readLine(lines *bufio.Reader) (line []byte, err error) {
	for {
		piece, err := lines.ReadSlice('\n')
		if len(line)+len(piece) > lineBytesMax {
			return nil, errLineTooLong
		}
		line = append(line, piece...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// parseFrame reads one line, unless its type is unknown.
func parseFrame(line []byte) (frame input, known bool) {
	var head struct{ Type, Signal string }
	if err := json.Unmarshal(line, &head); err != nil {
		return input{wrong: fmt.Errorf("a line of input is no frame: %w", err)}, true
	}
	switch head.Type {
	case "job":
		parsed, err := parseJob(line)
		if err != nil {
			return input{wrong: fmt.Errorf("the job frame is wrong: %w", err)}, true
		}
		return input{job: parsed}, true
	case "signal":
		number, possible := signals[head.Signal]
		if !possible {
			return input{wrong: fmt.Errorf("the signal %q is unknown", head.Signal)}, true
		}
		return input{signal: number}, true
	}
	return input{}, false
}

func parseJob(line []byte) (*job, error) {
	parsed := &job{Limits: defaultLimits}
	if err := json.Unmarshal(line, parsed); err != nil {
		return nil, err
	}
	if parsed.Script == nil {
		return nil, errors.New("script is missing")
	}
	if parsed.Args == nil || string(parsed.Args) == "null" {
		parsed.Args = []byte("{}")
	}
	if parsed.Args[0] != '{' {
		return nil, errors.New("args is no object")
	}
	if parsed.ArgsFile != "" && (filepath.Base(parsed.ArgsFile) != parsed.ArgsFile || parsed.ArgsFile == "..") {
		return nil, fmt.Errorf("args_file %q is no plain file name", parsed.ArgsFile)
	}
	for name, value := range parsed.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return nil, fmt.Errorf("env has the impossible variable %q", name)
		}
	}
	limits := parsed.Limits
	if !(limits.TimeoutS > 0) || limits.LogBytes <= 0 || limits.ResultBytes <= 0 {
		return nil, errors.New("limits must be positive numbers")
	}
	return parsed, nil
}
