// Command build compiles one script: it is the runner of the containers in which Go programs are
// made, and the program in base64 is its result.
//
// The other side is jobinit, process 1 of the container. Descriptor 3 takes one newline when this
// has booted and later exactly one JSON document; descriptor 4 ends when there is a job. By then
// ./main.go is in place. What the compiler complains about goes to the log. The one argument is
// how many MiB the heap of the compiler may take.
//
// Compiler and linker are called directly, with the standard library compiled ahead: the go
// command would look at every package again, which takes longer than both.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

const (
	source  = "main.go"
	bytesOf = 1 << 20
)

func main() {
	runtime.GOMAXPROCS(1) // the cores are the compiler's
	if len(os.Args) == 2 {
		os.Setenv("GOMEMLIMIT", os.Args[1]+"MiB") // from there on it collects more, rather than die
	}
	channel := os.NewFile(3, "result channel")
	channel.WriteString("\n")
	jobs := os.NewFile(4, "job channel")
	io.Copy(io.Discard, jobs)
	jobs.Close()
	program, err := build(installed)
	if err == nil {
		err = handOver(channel, program)
	}
	var refused refusal
	switch {
	case err == nil:
	case errors.As(err, &refused):
		fmt.Fprintln(os.Stderr, refused.message)
		channel.Write(refused.document())
		os.Exit(1)
	case errors.Is(err, errFailed):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// build compiles ./main.go and gives the program's path. The compiler has then said on stderr
// what is wrong, and the error only that something is.
func build(with toolchain) (program string, err error) {
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	if err := with.prepare(); err != nil {
		return "", err
	}
	script, err := parse(text)
	if err != nil {
		return "", with.explain(err)
	}
	if err := script.check(with); err != nil {
		return "", err
	}
	return with.make(script)
}

// handOver writes {"result": "…"}.
func handOver(channel io.Writer, program string) error {
	file, err := os.Open(program)
	if err != nil {
		return err
	}
	defer file.Close()
	out := bufio.NewWriterSize(channel, bytesOf)
	out.WriteString(`{"result":"`)
	encoder := base64.NewEncoder(base64.StdEncoding, out)
	if _, err := io.Copy(encoder, file); err != nil {
		return err
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	out.WriteString(`"}`)
	return out.Flush()
}

// refusal is a failure that has a reason of its own.
type refusal struct{ reason, message string }

func (r refusal) Error() string { return r.message }

func (r refusal) document() []byte {
	document, _ := json.Marshal(map[string]any{
		"error": map[string]string{"name": "ExecutionErr", "message": r.message, "reason": r.reason},
	})
	return document
}
