package main

import (
	"bytes"
	"encoding/json"
	"math/rand"
	"strings"
	"testing"
	"unicode/utf8"
)

// Bytes that are no UTF-8 become U+FFFD; what may still become a character is kept.
func TestAppendText(t *testing.T) {
	cases := []struct{ raw, text, rest string }{
		{"plain", "plain", ""},
		{"a\xffb", "a\uFFFDb", ""},
		{"gr\u00fc\u00df", "gr\u00fc\u00df", ""},
		{"half \xe2\x82", "half ", "\xe2\x82"},
		{"\xe2\x28", "\uFFFD(", ""},
		{"\xf0\x9f\x98", "", "\xf0\x9f\x98"},
		{"\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD", ""}, // a surrogate
		{"\xc0\x80", "\uFFFD\uFFFD", ""},           // an overlong NUL
		{"\uFFFD", "\uFFFD", ""},
	}
	for _, c := range cases {
		text, rest := appendText(nil, []byte(c.raw), false)
		if string(text) != c.text || string(rest) != c.rest {
			t.Errorf("%q: got %q, rest %q", c.raw, text, rest)
		}
	}
	text, rest := appendText(nil, []byte("end \xe2\x82"), true)
	if string(text) != "end \uFFFD\uFFFD" || len(rest) > 0 {
		t.Errorf("at the end: got %q, rest %q", text, rest)
	}
}

// A quoted text decodes to itself, whatever is in it and wherever pieces are cut.
func TestWriteQuoted(t *testing.T) {
	var all []byte
	for c := range rune(0x300) {
		all = utf8.AppendRune(all, c)
	}
	for _, text := range []string{"", "a\"\\\n\r\t\x00\x1f\x7f\u2028", string(all), strings.Repeat("xé€😀", copyBytes/3)} {
		var out bytes.Buffer
		if err := writeQuoted(&out, []byte(text)); err != nil {
			t.Fatal(err)
		}
		var decoded string
		if err := json.Unmarshal(out.Bytes(), &decoded); err != nil || decoded != text {
			t.Errorf("%.40q became %.40q (%v)", text, decoded, err)
		}
		if quotedBytes([]byte(text)) != int64(out.Len()) {
			t.Errorf("%.40q: counted %d, wrote %d", text, quotedBytes([]byte(text)), out.Len())
		}
	}
}

// Any bytes become one valid JSON string.
func TestWriteQuotedTakesAnyBytes(t *testing.T) {
	random := rand.New(rand.NewSource(3))
	raw := make([]byte, 3*copyBytes)
	for range 20 {
		random.Read(raw)
		var out bytes.Buffer
		writeQuoted(&out, raw)
		var decoded string
		if err := json.Unmarshal(out.Bytes(), &decoded); err != nil {
			t.Fatal(err)
		}
		if want, _ := appendText(nil, raw, true); decoded != string(want) {
			t.Fatal("another text came out")
		}
	}
}

// A document loses its line breaks and nothing else.
func TestWriteOnOneLine(t *testing.T) {
	document := "{\r\n\t\"a\" : [1,\n2], \"b\": \"x\\ny \u2028\"}\n" + strings.Repeat("\n ", copyBytes)
	var out bytes.Buffer
	if err := writeOnOneLine(&out, []byte(document)); err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(out.Bytes(), "\r\n\t") || out.Len() != len(document) {
		t.Errorf("%.60q", out.String())
	}
	var before, after any
	json.Unmarshal([]byte(document), &before)
	json.Unmarshal(out.Bytes(), &after)
	if first, _ := json.Marshal(before); !bytes.Equal(first, must(json.Marshal(after))) {
		t.Error("another value came out")
	}
}

// Text is cut at a character, never within one.
func TestCutText(t *testing.T) {
	for size, want := range []string{"", "a", "a", "aß", "aß", "aß", "aß€", "aß€"} {
		if got := cutText([]byte("aß€"), size); string(got) != want {
			t.Errorf("%d: %q", size, got)
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
