package main

import (
	"bytes"
	"io"
	"sync"
)

// capture keeps a program's standard output, which is its result. What it streams goes to
// the book as everybody's does.
type capture struct {
	mutex    sync.Mutex
	room     []byte
	size     int
	book     *logBook
	tooLarge func() // called once, when more came than a result may have
}

func newCapture(limit int64, book *logBook, tooLarge func()) *capture {
	// Room for the most is taken at once: memory that is never written to costs nothing,
	// and growing would copy. One byte more than a result may have, and its line break.
	return &capture{room: make([]byte, limit+2), book: book, tooLarge: tooLarge}
}

func (c *capture) log(_ string, text []byte) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	kept := copy(c.room[c.size:], text)
	c.size += kept
	if kept < len(text) && c.tooLarge != nil {
		c.tooLarge()
		c.tooLarge = nil
	}
}

func (c *capture) stream(text []byte) { c.book.stream(text) }

// outcome is the output as JSON if all of it is that; else its last line that is not blank,
// as JSON or as text.
func (c *capture) outcome(limit int64) outcome {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	whole := bytes.TrimSpace(c.room[:c.size])
	if len(whole) > 0 && scanValue(whole) == nil {
		return valueWithin(whole, limit)
	}
	line := lastLineOf(c.room[:c.size])
	if len(line) > 0 && scanValue(line) == nil {
		return valueWithin(line, limit)
	}
	if quotedBytes(line) > limit {
		return outcome{tooLarge: true}
	}
	return outcome{value: func(out io.Writer) error { return writeQuoted(out, line) }}
}

func valueWithin(document []byte, limit int64) outcome {
	if int64(len(document)) > limit {
		return outcome{tooLarge: true}
	}
	return outcome{value: func(out io.Writer) error { return writeOnOneLine(out, document) }}
}

// lastLineOf is the last line that holds more than space, without its end.
func lastLineOf(text []byte) []byte {
	full := len(bytes.TrimRight(text, " \t\r\n\v\f"))
	if full == 0 {
		return nil
	}
	start := bytes.LastIndexByte(text[:full], '\n') + 1
	end := len(text)
	if size := bytes.IndexByte(text[full:], '\n'); size >= 0 {
		end = full + size
	}
	return bytes.TrimRight(text[start:end], "\r")
}
