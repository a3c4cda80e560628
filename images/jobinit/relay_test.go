package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

// notes remembers what a relay reports, neighbouring texts of a kind joined.
type notes struct {
	kinds []string
	texts []string
	calls int
}

func (n *notes) log(stream string, text []byte) { n.add(stream, text) }
func (n *notes) stream(text []byte)             { n.add("stream", text) }

func (n *notes) add(kind string, text []byte) {
	n.calls++
	if last := len(n.kinds) - 1; last >= 0 && n.kinds[last] == kind {
		n.texts[last] += string(text)
	} else if len(text) > 0 {
		n.kinds, n.texts = append(n.kinds, kind), append(n.texts, string(text))
	}
}

func (n *notes) String() string {
	var all []string
	for i := range n.kinds {
		all = append(all, fmt.Sprintf("%s:%q", n.kinds[i], n.texts[i]))
	}
	return strings.Join(all, " ")
}

func relayed(marked bool, writes ...string) *notes {
	var seen notes
	r := relay{name: "stdout", marked: marked, to: &seen}
	for _, text := range writes {
		r.write([]byte(text))
	}
	r.close()
	return &seen
}

// Marked lines of standard output go to the stream, everything else to the log.
func TestRelayTellsStreamFromLog(t *testing.T) {
	cases := []struct{ text, want string }{
		{"", ""},
		{"plain\n", `stdout:"plain\n"`},
		{"WM_STREAM: a\n", `stream:"a"`},
		{"WM_STREAM: a", `stream:"a"`},
		{"WM_STREAM: \n", ``},
		{"WM_STREAM:\n", `stdout:"WM_STREAM:\n"`},
		{"WM_STREAM", `stdout:"WM_STREAM"`},
		{"x WM_STREAM: a\n", `stdout:"x WM_STREAM: a\n"`},
		{"a\nWM_STREAM: b\nc", `stdout:"a\n" stream:"b" stdout:"c"`},
		{"WM_STREAM: a\nWM_STREAM: b\n", `stream:"ab"`},
		{"WM_STREAM: WM_STREAM: a\n", `stream:"WM_STREAM: a"`},
		{"WM_WM_STREAM: a\n", `stdout:"WM_WM_STREAM: a\n"`},
		{"\n\nWM_STREAM: a\\nb\\\\n\n", "stdout:\"\\n\\n\" stream:\"a\\nb\\\\\\n\""},
		{"WM_STREAM: caf\xc3\xa9\xff\n", `stream:"café�"`},
		{"a\x00b\xffc", `stdout:"a�b�c"`},
		{"cut \xe2\x82", `stdout:"cut ��"`},
	}
	for _, c := range cases {
		if got := relayed(true, c.text).String(); got != c.want {
			t.Errorf("%q: got %s, want %s", c.text, got, c.want)
		}
	}
	if got := relayed(false, "WM_STREAM: a\n").String(); got != `stdout:"WM_STREAM: a\n"` {
		t.Errorf("on an unmarked stream: %s", got)
	}
}

// Where the reads cut the bytes makes no difference.
func TestRelayDoesNotDependOnReads(t *testing.T) {
	text := "ä€😀 first\nWM_STREAM: s\\n€\\\nWM_STREAMx\nWM_STREAM: \xff\x00end\n\xf0\x9f no\nlast WM_STREAM: \nWM_STREAM: tail\\"
	want := relayed(true, text).String()
	for cut := range text {
		if got := relayed(true, text[:cut], text[cut:]).String(); got != want {
			t.Errorf("cut at %d: got %s, want %s", cut, got, want)
		}
	}
	if got := relayed(true, strings.Split(text, "")...).String(); got != want {
		t.Errorf("cut everywhere: got %s, want %s", got, want)
	}
	random := rand.New(rand.NewSource(4))
	for range 200 {
		var writes []string
		for rest := text; rest != ""; {
			size := 1 + random.Intn(len(rest))
			writes, rest = append(writes, rest[:size]), rest[size:]
		}
		if got := relayed(true, writes...).String(); got != want {
			t.Errorf("%q: got %s, want %s", writes, got, want)
		}
	}
}

// A prompt without a line break is sent at once; only a possible mark waits.
func TestRelaySendsPartOfALine(t *testing.T) {
	var seen notes
	r := relay{name: "stdout", marked: true, to: &seen}
	steps := []struct{ write, sent string }{
		{"Name? ", `stdout:"Name? "`},
		{"WM_", `stdout:"Name? WM_"`},
		{"\nWM_", `stdout:"Name? WM_\n"`},
		{"STREAM", `stdout:"Name? WM_\n"`},
		{"!", `stdout:"Name? WM_\nWM_STREAM!"`},
	}
	for _, step := range steps {
		r.write([]byte(step.write))
		if got := seen.String(); got != step.sent {
			t.Errorf("after %q: %s", step.write, got)
		}
	}
}

// Text that arrives together is sent together, however many lines it has.
func TestRelayKeepsLinesTogether(t *testing.T) {
	for _, line := range []string{"line\n", "WM_STREAM: x\n", "\n"} {
		if seen := relayed(true, strings.Repeat(line, 1000)); seen.calls > 3 {
			t.Errorf("%q: %d reports", line, seen.calls)
		}
	}
}

// A stream line without an end is not gathered in memory.
func TestRelayBoundsAStreamLine(t *testing.T) {
	var seen notes
	r := relay{name: "stdout", marked: true, to: &seen}
	r.write([]byte("WM_STREAM: "))
	for range 1000 {
		r.write([]byte(strings.Repeat("x", 9998) + `\n`))
		if len(r.streamLine)+len(r.streamText) > 2*logTextBytes {
			t.Fatalf("%d bytes are held back", len(r.streamLine))
		}
	}
	r.close()
	want := strings.Repeat(strings.Repeat("x", 9998)+"\n", 1000)
	if len(seen.texts) != 1 || seen.texts[0] != want {
		t.Error("another text came out")
	}
}

func newTestBook(limit int64) (book *logBook, out *bytes.Buffer, overflows *int) {
	out, overflows = &bytes.Buffer{}, new(int)
	book = &logBook{
		frames:   &frameWriter{out: out, abandon: func() { panic("abandoned") }},
		overflow: func() { *overflows++ },
	}
	book.begin(limit, 100)
	return book, out, overflows
}

// Text up to the limit is sent, cut at a character; then the overflow is told once.
func TestLogBookStopsAtTheLimit(t *testing.T) {
	book, out, overflows := newTestBook(7)
	book.log("stdout", []byte("abc"))
	book.stream([]byte("de"))
	book.log("stderr", []byte("f"))
	if *overflows != 0 {
		t.Error("told too early")
	}
	book.log("stdout", []byte("€uro"))
	book.log("stderr", []byte("x"))
	book.stream([]byte("x"))
	want := `{"type":"log","stream":"stdout","text":"abc"}
{"type":"stream","text":"de"}
{"type":"log","stream":"stderr","text":"f"}
`
	if out.String() != want || *overflows != 1 {
		t.Errorf("told %d times, sent %s", *overflows, out.String())
	}
	book, _, overflows = newTestBook(3)
	if book.log("stdout", []byte("abc")); *overflows != 0 {
		t.Error("exactly the limit is not over it")
	}
}

// The last line is the last one that is not empty, without the space around it.
func TestLastLine(t *testing.T) {
	cases := []struct{ text, want string }{
		{"", ""},
		{"\n\n", ""},
		{"a", "a"},
		{"a\n", "a"},
		{"a\nb", "b"},
		{"a\n b c \n\n\n", "b c"},
		{"a\r\n\r\n", "a"},
		{"a\n   \n", ""},
		{"{\"a\": 1}\n", `{"a": 1}`},
		{strings.Repeat("x", 300) + "\nshort\n", "short"},
	}
	for _, c := range cases {
		for _, size := range []int{1, 2, 1000} {
			lines := lastLine{limit: 100}
			for rest := c.text; rest != ""; {
				piece := rest[:min(size, len(rest))]
				lines.write([]byte(piece))
				rest = rest[len(piece):]
			}
			if got, tooLong := lines.text(); string(got) != c.want || tooLong {
				t.Errorf("%.40q by %d: got %q, %v", c.text, size, got, tooLong)
			}
		}
	}
	lines := lastLine{limit: 100}
	lines.write([]byte("short\n" + strings.Repeat("x", 101)))
	if _, tooLong := lines.text(); !tooLong || len(lines.last) > 101 {
		t.Error("a line over the limit must be noticed and not kept")
	}
}
