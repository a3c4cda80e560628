package main

import "bytes"

// streamMark at the beginning of a line of standard output makes the line part of the
// result's stream instead of the log.
const streamMark = "WM_STREAM: "

// journalist is told what the script wrote, in order, as valid text.
type journalist interface {
	log(stream string, text []byte)
	stream(text []byte)
}

// relay turns the bytes of one pipe into log and stream texts, as they arrive. Text is
// sent without waiting for the end of its line; only a character that is not whole yet
// and a line's beginning that may become the stream mark are held back.
type relay struct {
	name       string // "stdout" or "stderr"
	marked     bool   // whether the stream mark counts
	to         journalist
	rest       []byte // the beginning of a character
	text       []byte // scratch
	plain      []byte // log text gathered from one write
	held       []byte // a line's beginning that may become the mark
	midLine    bool
	inStream   bool
	streamLine []byte // what came of the stream line so far
	streamText []byte // stream text gathered from one write
}

// write takes what was read; raw may be used again afterwards.
func (r *relay) write(raw []byte) { r.take(raw, false) }

// close says that nothing follows.
func (r *relay) close() {
	r.take(nil, true)
	r.to.log(r.name, r.held)
	r.held = nil
	r.endStreamLine()
	r.send()
}

func (r *relay) take(raw []byte, ended bool) {
	if len(r.rest) > 0 {
		raw = append(r.rest, raw...)
	}
	var rest []byte
	r.text, rest = appendText(r.text[:0], raw, ended)
	r.rest = append([]byte(nil), rest...)
	text := replaceNUL(r.text)
	if !r.marked {
		r.to.log(r.name, text)
		return
	}
	for len(text) > 0 {
		switch {
		case r.inStream:
			text = r.takeStream(text)
		case r.midLine:
			text = r.takeLine(text)
		default:
			text = r.takeMark(text)
		}
	}
	r.send()
}

// takeMark compares a line's beginning with the mark.
func (r *relay) takeMark(text []byte) []byte {
	due := streamMark[len(r.held):]
	same := 0
	for same < len(due) && same < len(text) && text[same] == due[same] {
		same++
	}
	r.held = append(r.held, text[:same]...)
	text = text[same:]
	switch {
	case same == len(due):
		r.inStream = true
		if len(r.plain) > 0 {
			r.send() // what came before the mark goes out before it
		}
		r.held = r.held[:0]
	case len(text) > 0:
		if len(r.streamText) > 0 {
			r.send()
		}
		r.plain = append(r.plain, r.held...)
		r.midLine = true
		r.held = r.held[:0]
	}
	return text
}

// takeLine gathers log text up to the end of the line.
func (r *relay) takeLine(text []byte) []byte {
	size := bytes.IndexByte(text, '\n') + 1
	if size == 0 {
		r.plain = append(r.plain, text...)
		return nil
	}
	r.plain = append(r.plain, text[:size]...)
	r.midLine = false
	return text[size:]
}

// takeStream gathers stream text up to the end of the line; of a line without an end,
// what there is goes on when it is long.
func (r *relay) takeStream(text []byte) []byte {
	end := bytes.IndexByte(text, '\n')
	if end < 0 {
		r.streamLine = append(r.streamLine, text...)
		if len(r.streamLine) >= logTextBytes {
			r.splitStreamLine()
		}
		return nil
	}
	r.streamLine = append(r.streamLine, text[:end]...)
	r.endStreamLine()
	r.inStream = false
	return text[end+1:]
}

// endStreamLine adds a whole line, its written-out line breaks made real, to the text.
func (r *relay) endStreamLine() {
	text := bytes.ReplaceAll(r.streamLine, []byte(`\n`), []byte("\n"))
	r.streamText = append(r.streamText, text...)
	r.streamLine = r.streamLine[:0]
}

// splitStreamLine adds a line's beginning; a last backslash waits for what follows it.
func (r *relay) splitStreamLine() {
	waits := bytes.HasSuffix(r.streamLine, []byte(`\`))
	if waits {
		r.streamLine = r.streamLine[:len(r.streamLine)-1]
	}
	r.endStreamLine()
	if waits {
		r.streamLine = append(r.streamLine, '\\')
	}
}

// send passes on what was gathered; only one of both texts ever holds something.
func (r *relay) send() {
	if len(r.plain) > 0 {
		r.to.log(r.name, r.plain)
		r.plain = r.plain[:0]
	}
	if len(r.streamText) > 0 {
		r.to.stream(r.streamText)
		r.streamText = r.streamText[:0]
	}
}
