package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"unicode/utf8"
)

func nested(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

// The envelope holds exactly one member, whose value is found untouched.
func TestScanEnvelopeFindsTheValue(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	cases := []struct{ text, name, value string }{
		{`{"result":1}`, "result", "1"},
		{"\n {\t\"result\" : \r\n [1, 2] }\n\n", "result", "[1, 2] "},
		{`{"error":{"name":"E"}}`, "error", `{"name":"E"}`},
		{`{"result":null}`, "result", "null"},
		{`{"result":-0.5e+10}`, "result", "-0.5e+10"},
		{`{"result":12345678901234567890123}`, "result", "12345678901234567890123"},
		{`{"result":"a\u0000\\\"}"}`, "result", `"a\u0000\\\"}"`},
		{`{"result":"` + long + `"}`, "result", `"` + long + `"`},
		{`{"result":{"result":1,"result":2}}`, "result", `{"result":1,"result":2}`},
		{`{"result":` + nested(depthMax) + `}`, "result", nested(depthMax)},
	}
	for _, c := range cases {
		name, value, err := scanEnvelope([]byte(c.text))
		if err != nil || name != c.name || strings.TrimSpace(string(value)) != strings.TrimSpace(c.value) {
			t.Errorf("%.60q: got %q %.60q %v", c.text, name, value, err)
		}
	}
}

// refusedEnvelopes are what else a script may put on the channel.
var refusedEnvelopes = []struct{ text, says string }{
	{``, "ends too early"},
	{`1`, "no object"},
	{`[{"result":1}]`, "no object"},
	{`{}`, "a name in quotes"},
	{`{"result":1}{"result":2}`, "only one JSON document"},
	{"{\"result\":1}\n{\"result\":2}", "only one JSON document"},
	{`{"result":1} x`, "only one JSON document"},
	{"{\"result\":1}\x00", "only one JSON document"},
	{`{"result":1,"result":2}`, "more than one member"},
	{`{"result":1,"error":{}}`, "more than one member"},
	{`{"result":1,}`, "more than one member"},
	{`{"results":1}`, "another member"},
	{`{"Result":1}`, "another member"},
	{`{"\u0072esult":1}`, "another member"},
	{`{"result\"":1}`, "another member"},
	{`{"result"}`, ": should be"},
	{`{"result":}`, "a value should be"},
	{`{"result":1`, "ends too early"},
	{`{"result":"`, "ends inside a string"},
	{`{"result":"\`, "wrong escape"},
	{`{"result":"\u12`, "wrong escape"},
	{`{"result":"\x"}`, "wrong escape"},
	{"{\"result\":\"a\nb\"}", "control character"},
	{`{"result":NaN}`, "a value should be"},
	{`{"result":Infinity}`, "a value should be"},
	{`{"result":-}`, "a value should be"},
	{`{"result":01}`, "} should be"},
	{`{"result":1.}`, "a digit"},
	{`{"result":1e}`, "a digit"},
	{`{"result":'a'}`, "a value should be"},
	{`{"result":nul}`, "a value should be"},
	{`{"result":[1,]}`, "a value should be"},
	{`{"result":[1 2]}`, ", or ]"},
	{`{"result":{"a":1,}}`, "a name in quotes"},
	{`{"result":{a:1}}`, "a name in quotes"},
	{`{"result":[}`, "a value should be"},
	{`{"result":[1}`, ", or ]"},
	{"{\"result\":\"\xff\"}", "UTF-8"},
	{"\ufeff{\"result\":1}", "no object"},
	{`{"result":` + nested(depthMax+1) + `}`, "deeper than 500"},
	{`{"result":` + strings.Repeat(`{"a":`, 100000), "deeper than 500"},
	{`{"result":` + strings.Repeat("[", 1<<20), "deeper than 500"},
}

// What is no envelope is refused, with a message that says what is wrong.
func TestScanEnvelopeRefuses(t *testing.T) {
	for _, c := range refusedEnvelopes {
		_, _, err := scanEnvelope([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.60q: got %v, want ... %s", c.text, err, c.says)
		}
	}
}

// On any text the scanner and the standard library agree on what JSON is.
func TestScanValueAgreesWithTheStandardLibrary(t *testing.T) {
	pieces := []string{
		"{", "}", "[", "]", ",", ":", `"`, `"a"`, `"k":`, "1", "-", "0", ".5", "e3", "E+", "true", "false", "null",
		"nul", " ", "\n", "\t", `\`, `\u00e9`, `\ud800`, `\n`, "é", "\x00", "\x1f", "\xff", "\x7f", "[]", "{}", "01",
	}
	random := rand.New(rand.NewSource(1))
	agreed := 0
	for range 300000 {
		var text strings.Builder
		for range random.Intn(12) {
			text.WriteString(pieces[random.Intn(len(pieces))])
		}
		compareWithLibrary(t, []byte(text.String()))
		if json.Valid([]byte(text.String())) {
			agreed++
		}
	}
	if agreed < 1000 {
		t.Errorf("only %d of the texts were JSON", agreed)
	}
}

// The same for documents that were right and had some bytes changed.
func TestScanValueAgreesOnDamagedDocuments(t *testing.T) {
	random := rand.New(rand.NewSource(2))
	for range 30000 {
		text, err := json.Marshal(randomValue(random, 4))
		if err != nil {
			t.Fatal(err)
		}
		compareWithLibrary(t, text)
		for range 3 {
			at := random.Intn(len(text))
			switch random.Intn(3) {
			case 0:
				text[at] = byte(random.Intn(256))
			case 1:
				text = append(text[:at], text[at+1:]...)
			case 2:
				text = append(text[:at], append([]byte{"{}[],:\"\\ 1"[random.Intn(10)]}, text[at:]...)...)
			}
			compareWithLibrary(t, text)
			if len(text) == 0 {
				break
			}
		}
	}
}

func compareWithLibrary(t *testing.T, text []byte) {
	t.Helper()
	want := json.Valid(text) && utf8.Valid(text)
	if err := scanValue(text); (err == nil) != want {
		t.Fatalf("%q: the library says %v, the scanner %v", text, want, err)
	}
	_, value, err := scanEnvelope([]byte(fmt.Sprintf(`{"result":%s}`, text)))
	if want && (err != nil || strings.TrimSpace(string(value)) != strings.TrimSpace(string(text))) {
		t.Fatalf("%q in an envelope: %q %v", text, value, err)
	}
}

func randomValue(random *rand.Rand, depth int) any {
	switch kind := random.Intn(8); {
	case kind == 0:
		return nil
	case kind == 1:
		return random.Intn(2) == 0
	case kind == 2:
		return random.NormFloat64()
	case kind == 3 || depth == 0:
		return string([]rune{rune(random.Intn(0x3000)), '"', rune(random.Intn(128))})
	case kind < 6:
		list := []any{}
		for range random.Intn(4) {
			list = append(list, randomValue(random, depth-1))
		}
		return list
	}
	object := map[string]any{}
	for i := range random.Intn(4) {
		object[fmt.Sprint("key", i)] = randomValue(random, depth-1)
	}
	return object
}
