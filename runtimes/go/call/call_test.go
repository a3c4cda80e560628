package call

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

type server struct {
	Host string
	Port int `json:"port"`
}

// An argument becomes what its parameter's type makes of it; null and nothing are the zero value.
func TestDecode(t *testing.T) {
	args, err := parse([]byte(`{"n": 3, "f": 0.5, "s": "ü", "list": [1, 2], "Upper": 1, "zero": null,
		"server": {"host": "h", "port": 1, "more": true}, "any": {"a": [1, "b", null]}}`))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var f float64
	var s string
	var list []int8
	var upper, absent uint
	zero := 7
	var one *server
	var anything any
	for name, variable := range map[string]any{
		"n": &n, "f": &f, "s": &s, "list": &list, "upper": &upper, "absent": &absent, "zero": &zero, "server": &one, "any": &anything,
	} {
		if err := args.decode(name, variable); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n != 3 || f != 0.5 || s != "ü" || !reflect.DeepEqual(list, []int8{1, 2}) || upper != 1 || absent != 0 || zero != 7 {
		t.Error(n, f, s, list, upper, absent, zero)
	}
	if one == nil || *one != (server{"h", 1}) {
		t.Error(one)
	}
	if !reflect.DeepEqual(anything, map[string]any{"a": []any{1.0, "b", nil}}) {
		t.Error(anything)
	}
}

// A value that does not fit is named, down to the place in it.
func TestDecodeRefuses(t *testing.T) {
	args, _ := parse([]byte(`{"n": "3", "small": 300, "server": {"port": "80"}, "when": "yesterday", "half": 1.5}`))
	var small int8
	for _, c := range []struct {
		name     string
		variable any
		says     string
	}{
		{"n", new(int), `argument "n": a JSON string is no Go int`},
		{"small", &small, `argument "small": a JSON number 300 is no Go int8`},
		{"half", new(int), `argument "half": a JSON number 1.5 is no Go int`},
		{"server", new(server), `argument "server.port": a JSON string is no Go int`},
		{"when", new(time.Time), `argument "when": `},
	} {
		if err := args.decode(c.name, c.variable); err == nil || !strings.HasPrefix(err.Error(), c.says) {
			t.Errorf("%v, not %s", err, c.says)
		}
	}
	for _, text := range []string{`[]`, `1`, ``, `{"a":}`} {
		if _, err := parse([]byte(text)); err == nil {
			t.Error(text)
		}
	}
}

func TestEntryPoint(t *testing.T) {
	for text, want := range map[string]string{`"other"`: "other", `null`: "", `3`: ""} {
		if got := (arguments{override: []byte(text)}).entryPoint(); got != want {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// A function returns nothing, a value, an error, or a value and an error.
func TestSplit(t *testing.T) {
	boom := errors.New("boom")
	var none error
	one, typed := 1, &time.ParseError{}
	for _, c := range []struct {
		results Results
		value   any
		failure error
		fits    bool
	}{
		{nil, nil, nil, true},
		{Results{&one}, &one, nil, true},
		{Results{&none}, nil, nil, true},
		{Results{&boom}, nil, boom, true},
		{Results{&typed}, &typed, nil, true}, // its type is not `error`: a value
		{Results{&one, &none}, &one, nil, true},
		{Results{&one, &boom}, &one, boom, true},
		{Results{&one, &one}, nil, nil, false},
		{Results{&one, &one, &none}, nil, nil, false},
	} {
		value, failure, err := split(c.results)
		if value != c.value || failure != c.failure || (err == nil) != c.fits {
			t.Errorf("%v: %v, %v, %v", c.results, value, failure, err)
		}
	}
}

func TestEncode(t *testing.T) {
	if text, err := encode("result", "<ü&\u2028>"); err != nil || string(text) != "{\"result\":\"<ü&\\u2028>\"\n}" {
		t.Errorf("%s %v", text, err)
	}
	for _, wrong := range []any{math.NaN(), math.Inf(1), make(chan int), func() {}} {
		if _, err := encode("result", wrong); err == nil {
			t.Errorf("%v is JSON", wrong)
		}
	}
}
