package main

import (
	"bytes"
	"sync"
)

// logBook bounds what is logged and remembers its end.
type logBook struct {
	mutex    sync.Mutex
	frames   *frameWriter
	left     int64 // bytes of text that may still be sent
	full     bool
	overflow func() // called once, when more came than may be sent
	tail     []byte
	lines    lastLine // of standard output
}

// tailBytes is how much of the log's end is kept for a message.
const tailBytes = 2000

func (b *logBook) log(stream string, text []byte) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if text = b.spend(text); len(text) > 0 {
		b.frames.log(stream, text)
		b.tail = append(b.tail, text[max(0, len(text)-tailBytes):]...)
		b.tail = append(b.tail[:0], b.tail[max(0, len(b.tail)-tailBytes):]...)
		if stream == "stdout" {
			b.lines.write(text)
		}
	}
	b.complain()
}

func (b *logBook) stream(text []byte) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if text = b.spend(text); len(text) > 0 {
		b.frames.stream(text)
	}
	b.complain()
}

// begin sets the job's limits. What the runner printed while it booted does not count.
func (b *logBook) begin(logBytes, lineBytes int64) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.left = logBytes
	b.lines = lastLine{limit: lineBytes}
}

// lastLine is the last line of standard output that is not empty.
func (b *logBook) lastLine() (line []byte, tooLong bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.lines.text()
}

// lastText is the end of the log.
func (b *logBook) lastText() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	text, _ := appendText(nil, b.tail, true)
	return string(bytes.TrimSpace(text))
}

// spend returns what of text may be sent.
func (b *logBook) spend(text []byte) []byte {
	if b.full {
		return nil
	}
	if int64(len(text)) > b.left {
		text = cutText(text, int(b.left))
		b.full = true
	}
	b.left -= int64(len(text))
	return text
}

func (b *logBook) complain() {
	if b.full && b.overflow != nil {
		b.overflow()
		b.overflow = nil
	}
}

// lastLine keeps the last line of a text that is not empty.
type lastLine struct {
	limit   int64 // a longer line is not kept, only noticed
	current []byte
	last    []byte
	tooLong bool // of last
}

func (l *lastLine) write(text []byte) {
	for {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			l.extend(text)
			return
		}
		l.extend(text[:end])
		l.finish()
		text = text[end+1:]
	}
}

// extend keeps one byte over the limit, by which finish sees that there was more.
func (l *lastLine) extend(text []byte) {
	room := max(0, l.limit+1-int64(len(l.current)))
	l.current = append(l.current, text[:min(room, int64(len(text)))]...)
}

// finish makes the current line the last one, unless it is empty.
func (l *lastLine) finish() {
	if len(bytes.TrimRight(l.current, "\r")) > 0 {
		l.last, l.current = l.current, l.last
		l.tooLong = int64(len(l.last)) > l.limit
	}
	l.current = l.current[:0]
}

// text is the line without the space around it.
func (l *lastLine) text() (line []byte, tooLong bool) {
	l.finish()
	return bytes.TrimSpace(l.last), l.tooLong
}
