package main

import (
	"bytes"
	"io"
	"unicode/utf8"
)

const (
	hexDigits = "0123456789abcdef"
	// copyBytes is the piece in which big values are worked on, so that a value of
	// 64 MiB never exists twice in a small container.
	copyBytes = 32 << 10
)

// appendText appends raw to out as valid UTF-8: bytes that are none become U+FFFD.
// A character whose end may still follow is returned in rest, unless ended says that
// nothing follows.
func appendText(out, raw []byte, ended bool) (text, rest []byte) {
	for len(raw) > 0 {
		plain := 0
		for plain < len(raw) && raw[plain] < utf8.RuneSelf {
			plain++
		}
		out, raw = append(out, raw[:plain]...), raw[plain:]
		if len(raw) == 0 {
			break
		}
		if !ended && !utf8.FullRune(raw) {
			return out, raw
		}
		char, size := utf8.DecodeRune(raw)
		out, raw = utf8.AppendRune(out, char), raw[size:]
	}
	return out, nil
}

// replaceNUL puts U+FFFD in the place of NUL, which many stores of text refuse.
func replaceNUL(text []byte) []byte {
	if bytes.IndexByte(text, 0) < 0 {
		return text
	}
	return bytes.ReplaceAll(text, []byte{0}, []byte("\uFFFD"))
}

// appendEscaped appends the inside of a JSON string.
func appendEscaped(out, text []byte) []byte {
	start := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		out = append(out, text[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\n':
			out = append(out, `\n`...)
		case '\r':
			out = append(out, `\r`...)
		case '\t':
			out = append(out, `\t`...)
		default:
			out = append(out, `\u00`...)
			out = append(out, hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(out, text[start:]...)
}

// writeQuoted writes any bytes as one JSON string, piece by piece.
func writeQuoted(out io.Writer, raw []byte) error {
	most := min(len(raw), copyBytes)
	text := make([]byte, 0, most)
	quoted := append(make([]byte, 0, most+2), '"')
	for len(raw) > 0 {
		size := min(len(raw), copyBytes)
		var rest []byte
		text, rest = appendText(text[:0], raw[:size], size == len(raw))
		raw = raw[size-len(rest):]
		quoted = appendEscaped(quoted, text)
		if _, err := out.Write(quoted); err != nil {
			return err
		}
		quoted = quoted[:0]
	}
	_, err := out.Write(append(quoted, '"'))
	return err
}

// writeOnOneLine writes a valid JSON document with a space in place of every raw line
// break and tab: within strings JSON allows none, so its meaning stays.
func writeOnOneLine(out io.Writer, document []byte) error {
	line := make([]byte, 0, min(len(document), copyBytes))
	for len(document) > 0 {
		size := min(len(document), copyBytes)
		line = append(line[:0], document[:size]...)
		for i, c := range line {
			if c < ' ' {
				line[i] = ' '
			}
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
		document = document[size:]
	}
	return nil
}

// byteCounter is a writer that only counts.
type byteCounter int64

func (c *byteCounter) Write(p []byte) (int, error) {
	*c += byteCounter(len(p))
	return len(p), nil
}

// quotedBytes is the length of raw as a JSON string.
func quotedBytes(raw []byte) int64 {
	var count byteCounter
	writeQuoted(&count, raw)
	return int64(count)
}

// cutText returns the longest beginning of text of at most size bytes that ends with a
// whole character.
func cutText(text []byte, size int) []byte {
	if size >= len(text) {
		return text
	}
	for size > 0 && !utf8.RuneStart(text[size]) {
		size--
	}
	return text[:size]
}
