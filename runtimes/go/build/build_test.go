package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// here is the toolchain that the image gets, of which the image's build tells.
func here(t *testing.T) toolchain {
	packages := os.Getenv("BUILD_TEST_PACKAGES")
	if packages == "" {
		t.Skip("BUILD_TEST_PACKAGES does not say where packages.sh has put the packages")
	}
	tools := filepath.Join(runtime.GOROOT(), "pkg/tool", runtime.GOOS+"_"+runtime.GOARCH)
	return toolchain{tools: tools, packages: packages, work: filepath.Join(t.TempDir(), "work")}
}

// built is what became of a script: the program, or the error with what the compiler said.
func built(t *testing.T, text string) (program, said string, err error) {
	t.Helper()
	with := here(t)
	t.Chdir(t.TempDir())
	os.WriteFile(source, []byte(text), 0o600)
	reader, writer, _ := os.Pipe()
	stderr := os.Stderr
	os.Stderr = writer
	program, err = build(with)
	os.Stderr = stderr
	writer.Close()
	heard, _ := io.ReadAll(reader)
	return program, string(heard), err
}

// ran is what a program did with its arguments.
type ran struct{ document, output string }

func run(t *testing.T, program, args string) (did ran) {
	t.Helper()
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "args.json"), []byte(args), 0o600)
	reader, writer, _ := os.Pipe()
	var output bytes.Buffer
	command := exec.Command(program)
	command.Dir, command.Stdout, command.Stderr, command.ExtraFiles = dir, &output, &output, []*os.File{writer}
	err := command.Start()
	writer.Close()
	if err != nil {
		t.Fatal(err)
	}
	document, _ := io.ReadAll(reader)
	if err := command.Wait(); err != nil {
		output.WriteString(err.Error())
	}
	return ran{strings.TrimSpace(strings.ReplaceAll(string(document), "\n", "")), output.String()}
}

// A script's names, however odd, do not meet those of the code beside it.
func TestProgram(t *testing.T) {
	cases := []struct{ name, text, args, document, output string }{
		{"plain", "package inner\nfunc main(a int, b string) (string, error) { return b, nil }", `{"a":1,"b":"x","c":2}`, `{"result":"x"}`, ""},
		{"no results", "package inner\nfunc main() {}", `{}`, `{"result":null}`, ""},
		{"only an error", "package inner\nfunc main(fail bool) error { return nil }", `{}`, `{"result":null}`, ""},
		{"error", "package inner\nimport \"errors\"\nfunc main() (int, error) { return 1, errors.New(\"boom\") }", `{}`, ``, "boom\nexit status 1"},
		{"odd parameters", "package inner\nfunc main(_ int, a, ключ *int, rest ...string) int { return len(rest) + *ключ }", `{"ключ":5,"rest":["a","b"]}`, `{"result":7}`, ""},
		{"unnamed parameters", "package inner\nfunc main(int, string) int { return 3 }", `{}`, `{"result":3}`, ""},
		{"own types", "package inner\ntype T struct{ A int `json:\"a\"` }\nfunc main(t T, m map[string]T) []T { return []T{t, m[\"x\"]} }", `{"t":{"a":1},"m":{"x":{"a":2}}}`, `{"result":[{"a":1},{"a":2}]}`, ""},
		{"names of ours", "package inner\nfunc Executor_start() int { return executor_bind0() }\nfunc executor_bind0() int { return executor_call }\nvar executor_call = 5\nfunc main() int { return Executor_start() }", `{}`, `{"result":5}`, ""},
		{"names of the language", "package inner\ntype string int\ntype any int\ntype P0 bool\nvar nil = 1\nvar json = 2\nfunc take(string) string { return 1 }\nfunc main(n string, p P0) (any, P0, string) { return 0, p, n }", `{"_ENTRYPOINT_OVERRIDE":"take"}`, `{"result":1}`, ""},
		{"too many results", "package inner\nfunc main() (int, int) { return 1, 2 }", `{}`, `{"error":{"message":"the function must return a value, an error, a value and an error, or nothing","name":"ExecutionErr","reason":"script_error"}}`, "the function must return a value, an error, a value and an error, or nothing\nexit status 1"},
		{"other entry", "package inner\nfunc main() {}\nfunc other(n int) int { return n }", `{"n":2,"_ENTRYPOINT_OVERRIDE":"other"}`, `{"result":2}`, ""},
		{"not callable", "package inner\ntype T int\nfunc (T) main() {}\nfunc init() {}\nfunc _() {}\nfunc f[X any](x X) {}\nfunc g() {}", `{}`, `{"error":{"message":"main.go has no func main that can be called; it has: g","name":"ExecutionErr","reason":"script_error"}}`, "main.go has no func main that can be called; it has: g\nexit status 1"},
		{"nothing there", "package inner", `{}`, `{"error":{"message":"main.go has no func main, nor any other function","name":"ExecutionErr","reason":"script_error"}}`, "main.go has no func main, nor any other function\nexit status 1"},
		{"wrong argument", "package inner\nfunc main(n int) int { return n }", `{"n":"x"}`, `{"error":{"message":"argument \"n\": a JSON string is no Go int","name":"ExecutionErr","reason":"bad_input"}}`, "argument \"n\": a JSON string is no Go int\nexit status 1"},
		{"no JSON", "package inner\nimport \"math\"\nfunc main() any { return math.NaN() }", `{}`, `{"error":{"message":"the result cannot be written as JSON: unsupported value: NaN","name":"ExecutionErr","reason":"result_not_json"}}`, "the result cannot be written as JSON: unsupported value: NaN\nexit status 1"},
		{"whole library", "package inner\nimport (\"net/http\"; \"html/template\"; \"unsafe\"; _ \"time/tzdata\")\nfunc main() string { _ = template.New; _ = unsafe.Sizeof(1); return http.MethodGet }", `{}`, `{"result":"GET"}`, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			program, said, err := built(t, c.text)
			if err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			if did := run(t, program, c.args); did.document != c.document || did.output != c.output {
				t.Errorf("%+v", did)
			}
		})
	}
}

// What goes wrong is said with the place in the script.
func TestNoProgram(t *testing.T) {
	cases := []struct{ name, text, reason, says string }{
		{"unknown name", "package inner\n\nfunc main() int {\n\treturn n\n}\n", "", "main.go:4:9: undefined: n\n"},
		{"unused import", "package inner\n\nimport \"os\"\n\nfunc main() {}\n", "", "main.go:3:8: \"os\" imported and not used\n"},
		{"syntax", "package inner\n\nfunc main() {\n\tif\n}\n", "", "main.go:5:1: syntax error: unexpected }, expected expression\n"},
		{"no package", "func main() {}\n", "", "main.go:1:1: syntax error: package statement must be first\n"},
		{"empty", "", "", "main.go:1:1: syntax error: package statement must be first\n"},
		{"no Go", "\x00\xff", "", "main.go:1:1: invalid character U+0000\n"},
		{"package main", "package main\n\nfunc main() {}\n", "", "main.go:1:9: the package must be called inner, not main"},
		{"no body", "package inner\n\nfunc main()\n", "", "main.go:3:6: missing function body\n"},
		{"cgo", "package inner\n\nimport \"C\"\n\nfunc main() {}\n", "", "main.go:3:8: import \"C\": there is no cgo here"},
		{"embedding", "package inner\n\nimport _ \"embed\"\n\nfunc main() {}\n", "", "main.go:3:8: import \"embed\": a script is one file"},
		{"internal", "package inner\n\nimport \"internal/abi\"\n\nfunc main() {}\n", "", "main.go:3:8: use of internal package internal/abi not allowed"},
		{"module", "package inner\n\nimport \"github.com/a/b/internal\"\n\nfunc main() {}\n", "dependency_error", "main.go:3:8: package github.com/a/b/internal is not in the standard library"},
		{"vendored", "package inner\n\nimport _ \"vendor/golang.org/x/net/idna\"\n\nfunc main() {}\n", "dependency_error", "main.go:3:8: package vendor/golang.org/x/net/idna is not"},
		{"other path", "package inner\n\nimport \"../../etc\"\n\nfunc main() {}\n", "dependency_error", "main.go:3:8: package ../../etc is not"},
		{"ours", "package inner\n\nimport \"executor/call\"\n\nfunc main() {}\n", "dependency_error", "main.go:3:8: package executor/call is not"},
		{"pinned", "package inner\n\n//require  github.com/a/b v1.2.3 \r\nfunc main() {}\n", "dependency_error", "//require github.com/a/b v1.2.3: Installing dependencies is not available"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, said, err := built(t, c.text)
			if err == nil {
				t.Fatal("it compiled")
			}
			if !errors.Is(err, errFailed) {
				said += err.Error()
			}
			if !strings.HasPrefix(said, c.says) {
				t.Errorf("%q", said)
			}
			var refused refusal
			if errors.As(err, &refused); refused.reason != c.reason {
				t.Errorf("%q", refused.reason)
			}
		})
	}
}

// A trace shows the script's own lines.
func TestTrace(t *testing.T) {
	program, said, err := built(t, "package inner\n\nfunc main(list []int) int {\n\treturn list[3]\n}\n")
	if err != nil {
		t.Fatal(said)
	}
	output := run(t, program, `{}`).output
	if !strings.Contains(output, "index out of range [3]") || !strings.Contains(output, "\n\tmain.go:4\n") ||
		!strings.HasSuffix(output, "exit status 2") || len(output) > 600 {
		t.Error(output)
	}
}

func TestRefusal(t *testing.T) {
	var told struct {
		Error struct{ Name, Message, Reason string }
	}
	json.Unmarshal(refusal{"dependency_error", `a "b"`}.document(), &told)
	if told.Error.Name != "ExecutionErr" || told.Error.Message != `a "b"` || told.Error.Reason != "dependency_error" {
		t.Error(told)
	}
}

func TestHandOver(t *testing.T) {
	file := filepath.Join(t.TempDir(), "program")
	os.WriteFile(file, []byte("a program"), 0o500)
	var out bytes.Buffer
	if err := handOver(&out, file); err != nil || out.String() != `{"result":"YSBwcm9ncmFt"}` {
		t.Error(out.String(), err)
	}
}
