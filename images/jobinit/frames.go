package main

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
	"time"
)

const (
	// logTextBytes bounds the text of one log or stream frame.
	logTextBytes = 64 << 10
	// patienceWithReader is how long one piece may wait for a reader that takes nothing.
	patienceWithReader = 30 * time.Second
)

// frameWriter owns standard output. Each frame is one line, written under one lock, so
// that frames from several goroutines never mix.
type frameWriter struct {
	mutex    sync.Mutex
	out      io.Writer
	line     []byte
	gathered []byte // what was not written yet
	// stuckAfter is how long a reader may take nothing; without it, for ever.
	stuckAfter time.Duration
	// abandon is called when nobody listens any more: everything shall end at once.
	abandon func()
}

// errorFrame is why there is no result.
type errorFrame struct {
	Type    string          `json:"type"`
	Name    string          `json:"name"`
	Message string          `json:"message"`
	Stack   string          `json:"stack,omitempty"`
	Extra   json.RawMessage `json:"extra,omitempty"`
	Reason  string          `json:"reason"`
}

// exitFrame is how the main process ended, and what the job used.
type exitFrame struct {
	Type            string  `json:"type"`
	Code            *int    `json:"code"`
	Signal          *string `json:"signal"`
	Stopped         *string `json:"stopped"`
	WallMs          int64   `json:"wall_ms"`
	CPUMs           int64   `json:"cpu_ms"`
	MemoryPeakBytes int64   `json:"memory_peak_bytes"`
	OOMKills        int64   `json:"oom_kills"`
}

func (w *frameWriter) ready() {
	w.frame(func(out io.Writer) error {
		_, err := io.WriteString(out, `{"type":"ready"}`)
		return err
	})
}

// log sends text, which is valid UTF-8, of the stream "stdout" or "stderr".
func (w *frameWriter) log(stream string, text []byte) {
	w.text(`{"type":"log","stream":"`+stream+`","text":`, text)
}

// stream sends text that belongs to the result's stream.
func (w *frameWriter) stream(text []byte) {
	w.text(`{"type":"stream","text":`, text)
}

func (w *frameWriter) text(prefix string, text []byte) {
	for len(text) > 0 {
		piece := cutText(text, logTextBytes)
		text = text[len(piece):]
		w.frame(func(out io.Writer) error {
			w.line = append(append(w.line[:0], prefix...), '"')
			w.line = append(appendEscaped(w.line, piece), `"}`...)
			_, err := out.Write(w.line)
			return err
		})
	}
}

// result sends a value, with the frame that follows; write produces its JSON without line breaks.
func (w *frameWriter) result(write func(out io.Writer) error) {
	w.gather(func(out io.Writer) error {
		if _, err := io.WriteString(out, `{"type":"result","value":`); err != nil {
			return err
		}
		if err := write(out); err != nil {
			return err
		}
		_, err := io.WriteString(out, "}")
		return err
	})
}

// failure sends an error with the frame that follows.
func (w *frameWriter) failure(frame errorFrame) {
	frame.Type = "error"
	w.gather(object(frame))
}

func (w *frameWriter) exit(frame exitFrame) {
	frame.Type = "exit"
	w.frame(object(frame))
}

func object(frame any) func(io.Writer) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(frame); err != nil {
		panic("BUG: a frame that is no JSON: " + err.Error())
	}
	return func(out io.Writer) error {
		_, err := out.Write(bytes.TrimSuffix(line.Bytes(), []byte("\n")))
		return err
	}
}

// frame sends one line, and what was gathered before.
func (w *frameWriter) frame(write func(out io.Writer) error) {
	w.send(write, watchedWriter.flush)
}

// gather prepares one line, which goes with the next frame as far as it is small: who reads
// it is woken once for both.
func (w *frameWriter) gather(write func(out io.Writer) error) {
	w.send(write, func(watchedWriter) error { return nil })
}

func (w *frameWriter) send(write func(out io.Writer) error, then func(watchedWriter) error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	out := watchedWriter{w}
	err := write(out)
	if err == nil {
		_, err = out.Write([]byte{'\n'})
	}
	if err == nil {
		err = then(out)
	}
	if err != nil {
		w.abandon()
	}
}

// watchedWriter writes in pieces and expects each of them to be taken in time. A slow
// reader only slows the script down; one that stands still ends everything.
type watchedWriter struct {
	*frameWriter
}

func (w watchedWriter) Write(p []byte) (int, error) {
	if len(w.gathered)+len(p) <= copyBytes {
		w.gathered = append(w.gathered, p...)
		return len(p), nil
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	written := 0
	for written < len(p) {
		piece := p[written:min(len(p), written+copyBytes)]
		n, err := w.writePiece(piece)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// flush writes what was gathered.
func (w watchedWriter) flush() error {
	if len(w.gathered) == 0 {
		return nil
	}
	_, err := w.writePiece(w.gathered)
	w.gathered = w.gathered[:0]
	return err
}

func (w watchedWriter) writePiece(piece []byte) (int, error) {
	if w.stuckAfter > 0 {
		defer time.AfterFunc(w.stuckAfter, w.abandon).Stop()
	}
	return w.out.Write(piece)
}
