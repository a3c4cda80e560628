package main

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// depthMax is how deep a value may nest: deep enough for people, and far from where
// the JSON decoders that read it later give up.
const depthMax = 500

// scanner checks JSON text where it lies, without decoding it and without recursion,
// so that neither a big nor a deep value costs memory.
type scanner struct {
	text  []byte
	at    int
	open  []byte // the closing brackets that are still due
	limit int    // how many of them may be due at once
}

// scanValue says what keeps text from being exactly one JSON document.
func scanValue(text []byte) error {
	s := scanner{text: text, limit: depthMax}
	if !utf8.Valid(text) {
		return fmt.Errorf("is not valid UTF-8")
	}
	if err := s.value(); err != nil {
		return err
	}
	return s.end()
}

// scanEnvelope finds the one member of {"result": VALUE} or {"error": VALUE}.
func scanEnvelope(text []byte) (name string, value []byte, err error) {
	s := scanner{text: text, limit: depthMax}
	if !utf8.Valid(text) {
		return "", nil, fmt.Errorf("is not valid UTF-8")
	}
	if s.peek() != '{' {
		return "", nil, fmt.Errorf("is no object: %w", s.unexpected("{"))
	}
	s.at++
	s.skipSpace()
	start := s.at
	if err := s.key(); err != nil {
		return "", nil, err
	}
	switch {
	case bytes.HasPrefix(text[start:], []byte(`"result"`)):
		name = "result"
	case bytes.HasPrefix(text[start:], []byte(`"error"`)):
		name = "error"
	default:
		return "", nil, fmt.Errorf("has another member than result or error at byte %d", start)
	}
	s.skipSpace()
	start = s.at
	if err := s.value(); err != nil {
		return "", nil, err
	}
	value = text[start:s.at]
	if s.peek() == ',' {
		return "", nil, fmt.Errorf("has more than one member at byte %d", s.at)
	}
	if s.peek() != '}' {
		return "", nil, s.unexpected("}")
	}
	s.at++
	return name, value, s.end()
}

// value goes over one value and all that it holds.
func (s *scanner) value() error {
	for {
		inside, err := s.item()
		if err != nil {
			return err
		}
		if inside {
			continue
		}
		done, err := s.next()
		if err != nil || done {
			return err
		}
	}
}

// item goes over a scalar, an empty container, or the opening of a container; inside
// says that the container's first value is next.
func (s *scanner) item() (inside bool, err error) {
	switch c := s.peek(); c {
	case '{', '[':
		closing := c + 2 // in ASCII both closing brackets stand two after their opening ones
		if len(s.open) == s.limit {
			return false, fmt.Errorf("nests deeper than %d levels", s.limit)
		}
		s.at++
		if s.peek() == closing {
			s.at++
			return false, nil
		}
		s.open = append(s.open, closing)
		if c == '{' {
			return true, s.key()
		}
		return true, nil
	case '"':
		return false, s.stringText()
	case 't':
		return false, s.word("true")
	case 'f':
		return false, s.word("false")
	case 'n':
		return false, s.word("null")
	default:
		return false, s.number()
	}
}

// next goes over what follows a value, up to where another begins or all is closed.
func (s *scanner) next() (done bool, err error) {
	for len(s.open) > 0 {
		closing := s.open[len(s.open)-1]
		switch s.peek() {
		case closing:
			s.at++
			s.open = s.open[:len(s.open)-1]
		case ',':
			s.at++
			if closing == '}' {
				return false, s.key()
			}
			return false, nil
		default:
			return false, s.unexpected(", or " + string(closing))
		}
	}
	return true, nil
}

// key goes over a member's name and its colon.
func (s *scanner) key() error {
	if s.peek() != '"' {
		return s.unexpected("a name in quotes")
	}
	if err := s.stringText(); err != nil {
		return err
	}
	if s.peek() != ':' {
		return s.unexpected(":")
	}
	s.at++
	return nil
}

func (s *scanner) stringText() error {
	for i := s.at + 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			s.at = i + 1
			return nil
		case c < ' ':
			return fmt.Errorf("has a raw control character in a string at byte %d", i)
		case c == '\\':
			size := escapeBytes(s.text[i+1:])
			if size == 0 {
				return fmt.Errorf("has a wrong escape in a string at byte %d", i)
			}
			i += size
		}
	}
	return fmt.Errorf("ends inside a string")
}

// escapeBytes is the length of the escape that text begins with, after its backslash,
// or 0.
func escapeBytes(text []byte) int {
	if len(text) == 0 || strings.IndexByte(`"\/bfnrtu`, text[0]) < 0 {
		return 0
	}
	if text[0] != 'u' {
		return 1
	}
	if len(text) < 5 {
		return 0
	}
	for _, c := range text[1:5] {
		if strings.IndexByte("0123456789abcdefABCDEF", c) < 0 {
			return 0
		}
	}
	return 5
}

func (s *scanner) word(word string) error {
	if !bytes.HasPrefix(s.text[s.at:], []byte(word)) {
		return s.unexpected("a value")
	}
	s.at += len(word)
	return nil
}

func (s *scanner) number() error {
	start := s.at
	if s.has("-") {
		s.at++
	}
	switch {
	case s.has("0"):
		s.at++
	case s.digits() == 0:
		s.at = start
		return s.unexpected("a value")
	}
	if s.has(".") {
		s.at++
		if s.digits() == 0 {
			return s.unexpected("a digit")
		}
	}
	if s.has("eE") {
		s.at++
		if s.has("+-") {
			s.at++
		}
		if s.digits() == 0 {
			return s.unexpected("a digit")
		}
	}
	return nil
}

// has says whether the next byte is one of these.
func (s *scanner) has(wanted string) bool {
	return s.at < len(s.text) && strings.IndexByte(wanted, s.text[s.at]) >= 0
}

func (s *scanner) digits() (count int) {
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
		count++
	}
	return count
}

func (s *scanner) skipSpace() {
	for s.has(" \t\n\r") {
		s.at++
	}
}

// peek is the next byte that is no space, or 0 at the end.
func (s *scanner) peek() byte {
	s.skipSpace()
	if s.at == len(s.text) {
		return 0
	}
	return s.text[s.at]
}

func (s *scanner) end() error {
	s.skipSpace()
	if s.at < len(s.text) {
		return fmt.Errorf("goes on after its end at byte %d: only one JSON document is allowed", s.at)
	}
	return nil
}

func (s *scanner) unexpected(wanted string) error {
	if s.at >= len(s.text) {
		return fmt.Errorf("ends too early: %s should follow", wanted)
	}
	found, _ := utf8.DecodeRune(s.text[s.at:])
	return fmt.Errorf("has %q at byte %d where %s should be", found, s.at, wanted)
}
